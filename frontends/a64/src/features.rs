//! What the processor says that it can do: identification registers as Linux lets programs read them, and the bits of
//! AT_HWCAP and AT_HWCAP2 (Linux, Documentation/arch/arm64/elf_hwcaps.rst and cpu-feature-registers.rst).
//!
//! One table; a row is there when every instruction of the extension is lifted, and worth using.

use crate::lift::system_register as number;

/// A field of an identification register, and what Linux makes of it.
struct Feature {
    register: u32,
    shift: u32,
    value: u64,
    /// Bits of AT_HWCAP.
    hwcap: u64,
    /// Bits of AT_HWCAP2.
    hwcap2: u64,
}

const PFR0: u32 = number(3, 0, 0, 4, 0);
const PFR1: u32 = number(3, 0, 0, 4, 1);
const ISAR0: u32 = number(3, 0, 0, 6, 0);
const ISAR1: u32 = number(3, 0, 0, 6, 1);
const MMFR0: u32 = number(3, 0, 0, 7, 0);
const MIDR: u32 = number(3, 0, 0, 0, 0);
const MPIDR: u32 = number(3, 0, 0, 0, 5);
const REVIDR: u32 = number(3, 0, 0, 0, 6);

const fn feature(register: u32, shift: u32, value: u64, hwcap: u64, hwcap2: u64) -> Feature {
    Feature { register, shift, value, hwcap, hwcap2 }
}

#[rustfmt::skip]
static FEATURES: &[Feature] = &[
    // FP and AdvSIMD: present. What is lifted to calls of helpers is not announced, because programs do better without
    // it: half-precision arithmetic and FHM, SHA1, SHA2, SM3, SM4, RDM, JSCVT, FRINTTS, BF16.
    feature(PFR0, 16, 0, 1 << 0, 0),
    feature(PFR0, 20, 0, 1 << 1, 0),
    // DIT, SSBS.
    feature(PFR0, 48, 1, 1 << 24, 0),
    feature(PFR1, 4, 2, 1 << 28, 0),
    // AES (with PMULL), CRC32, Atomic (LSE), SHA3, DP (dot product), TS (FlagM, FlagM2).
    feature(ISAR0, 4, 2, 1 << 3 | 1 << 4, 0),
    feature(ISAR0, 16, 1, 1 << 7, 0),
    feature(ISAR0, 20, 2, 1 << 8, 0),
    feature(ISAR0, 32, 1, 1 << 17, 0),
    feature(ISAR0, 44, 1, 1 << 20, 0),
    feature(ISAR0, 52, 2, 1 << 27, 1 << 7),
    // API and GPI: pointer authentication by an algorithm of our own.
    feature(ISAR1, 8, 1, 1 << 30, 0),
    feature(ISAR1, 28, 1, 1 << 31, 0),
    // FCMA, LRCPC (LDAPR, LDAPUR), SB, I8MM.
    feature(ISAR1, 16, 1, 1 << 14, 0),
    feature(ISAR1, 20, 2, 1 << 15 | 1 << 26, 0),
    feature(ISAR1, 36, 1, 1 << 29, 0),
    feature(ISAR1, 52, 1, 0, 1 << 13),
    // CPUID: the registers can be read.
    feature(MIDR, 0, 0, 1 << 11, 0),
];

/// MIDR_EL1: a Neoverse N1. Libraries choose by it; the C library then copies memory by vector registers, most of which
/// are host registers here (measured: four times as fast as by integer registers).
const MIDR_VALUE: u64 = 0x413f_d0c1;
/// MPIDR_EL1: bit 31 reads as one.
const MPIDR_VALUE: u64 = 1 << 31;

/// The value of an identification register; nothing for what is none. Linux traps the whole space op0 = 3, op1 = 0,
/// CRn = 0, CRm = 0 and 4 to 7, in which what has no meaning reads as zero.
pub(crate) fn id_register(reg: u32) -> Option<u64> {
    let of_features = FEATURES.iter().filter(|f| f.register == reg).fold(0, |v, f| v | f.value << f.shift);
    match reg {
        MIDR => Some(MIDR_VALUE),
        MPIDR => Some(MPIDR_VALUE),
        REVIDR => Some(0),
        // Linux tells programs that there is no support for granules, which are none of their business.
        MMFR0 => Some(0),
        _ if (number(3, 0, 0, 4, 0)..=number(3, 0, 0, 7, 7)).contains(&reg) => Some(of_features),
        _ => None,
    }
}

/// AT_HWCAP.
pub fn hwcap() -> u64 {
    FEATURES.iter().fold(0, |bits, f| bits | f.hwcap)
}

/// AT_HWCAP2.
pub fn hwcap2() -> u64 {
    FEATURES.iter().fold(0, |bits, f| bits | f.hwcap2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coverage::rows;

    /// A feature that is announced has rows, and all of them are lifted.
    #[test]
    fn what_is_announced_is_lifted() {
        let of = [
            (1 << 3, "aes"),
            (1 << 4, "pmull"),
            (1 << 5, "sha1"),
            (1 << 6, "sha256"),
            (1 << 7, "crc32"),
            (1 << 8, "cas"),
            (1 << 12, "qrdmlah"),
            (1 << 13, "fjcvtzs"),
            (1 << 14, "fcmla"),
            (1 << 15, "ldapr"),
            (1 << 17, "bcax"),
            (1 << 18, "sm3"),
            (1 << 19, "sm4"),
            (1 << 20, "dot"),
            (1 << 21, "sha512"),
            (1 << 23, "fmlal"),
            (1 << 26, "ldapur"),
            (1 << 27, "rmif"),
            (1 << 29, "sb"),
            (1 << 30, "aut"),
            (1 << 31, "pacga"),
        ];
        for (bit, prefix) in of {
            let of_feature = |name: &str| name == prefix || prefix.len() > 2 && name.starts_with(prefix);
            let mut found = rows().iter().filter(|row| of_feature(row.name)).peekable();
            let lifted = found.peek().is_some() && found.all(|row| row.implemented());
            assert!(hwcap() & bit == 0 || lifted, "{prefix}");
        }
    }
}
