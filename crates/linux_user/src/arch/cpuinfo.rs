//! `/proc/cpuinfo` of Arm processors, where the host's tells nothing that their programs understand.

use std::fmt::Write;

/// What the file says about every processor.
pub struct Description {
    /// `model name`, on 32-bit Arm.
    pub model: Option<&'static str>,
    /// `CPU architecture`.
    pub architecture: u32,
    /// `CPU part`.
    pub part: u32,
}

/// Names of the bits of `AT_HWCAP` and `AT_HWCAP2` as the file has them, lowest first; the order is the kernel's.
pub type Names = [&'static [&'static str]; 2];

/// AArch64 (arch/arm64/kernel/cpuinfo.c).
pub const AARCH64: Names = [
    &[
        "fp", "asimd", "evtstrm", "aes", "pmull", "sha1", "sha2", "crc32", "atomics", "fphp", "asimdhp", "cpuid",
        "asimdrdm", "jscvt", "fcma", "lrcpc", "dcpop", "sha3", "sm3", "sm4", "asimddp", "sha512", "sve", "asimdfhm",
        "dit", "uscat", "ilrcpc", "flagm", "ssbs", "sb", "paca", "pacg",
    ],
    &["dcpodp", "sve2", "sveaes", "svepmull", "svebitperm", "svesha3", "svesm4", "flagm2", "frint"],
];

/// 32-bit Arm (arch/arm/kernel/setup.c).
pub const ARM: Names = [
    &[
        "swp", "half", "thumb", "26bit", "fastmult", "fpa", "vfp", "edsp", "java", "iwmmxt", "crunch", "thumbee",
        "neon", "vfpv3", "vfpv3d16", "tls", "vfpv4", "idiva", "idivt", "vfpd32", "lpae", "evtstrm",
    ],
    &["aes", "pmull", "sha1", "sha2", "crc32"],
];

/// The names of the bits that are set.
fn features(hwcap: [u64; 2], names: &Names) -> String {
    let set = |(bits, names): (u64, &&'static [&'static str])| {
        names.iter().enumerate().filter(move |(bit, _)| bits >> bit & 1 != 0).map(|(_, name)| *name)
    };
    hwcap.into_iter().zip(names).flat_map(set).collect::<Vec<_>>().join(" ")
}

/// The file for as many processors as the host offers.
pub fn text(description: &Description, hwcap: [u64; 2], names: &Names) -> String {
    let mut out = String::new();
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    for number in 0..count {
        let _ = writeln!(out, "processor\t: {number}");
        if let Some(model) = description.model {
            let _ = writeln!(out, "model name\t: {model}");
        }
        let _ = writeln!(out, "BogoMIPS\t: 100.00\nFeatures\t: {}", features(hwcap, names));
        let _ = writeln!(out, "CPU implementer\t: 0x00\nCPU architecture: {}", description.architecture);
        let _ = writeln!(out, "CPU variant\t: 0x0\nCPU part\t: {:#05x}\nCPU revision\t: 0\n", description.part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_named() {
        assert_eq!(features([1 | 1 << 8, 1 << 7], &AARCH64), "fp atomics flagm2");
        assert_eq!(features([1 << 12 | 1 << 31, 1], &ARM), "neon aes");
        let text = text(&Description { model: None, architecture: 8, part: 0x51 }, [3, 0], &AARCH64);
        assert!(text.starts_with("processor\t: 0\nBogoMIPS\t: 100.00\nFeatures\t: fp asimd\n"));
        assert!(text.contains("CPU part\t: 0x051\n"));
    }
}
