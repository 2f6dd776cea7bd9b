//! What the host's processor can do beyond baseline x86-64, and its segment base for generated code.
#![allow(unsafe_code)] // arch_prctl

use crate::map::Errno;
use std::arch::is_x86_feature_detected;

macro_rules! features {
    ($($field:ident = $name:tt : $what:literal),* $(,)?) => {
        /// Instruction set extensions of the host's processor (and operating system, where it must help).
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Features {
            $(#[doc = $what] pub $field: bool,)*
        }

        /// The host's features. The answer is cached by the standard library.
        pub fn features() -> Features {
            Features { $($field: is_x86_feature_detected!($name),)* }
        }
    };
}

features! {
    sse3 = "sse3": "SSE3",
    ssse3 = "ssse3": "SSSE3",
    sse41 = "sse4.1": "SSE4.1",
    sse42 = "sse4.2": "SSE4.2",
    popcnt = "popcnt": "POPCNT",
    aes = "aes": "AES-NI",
    pclmulqdq = "pclmulqdq": "PCLMULQDQ",
    cmpxchg16b = "cmpxchg16b": "CMPXCHG16B",
    movbe = "movbe": "MOVBE",
    lzcnt = "lzcnt": "LZCNT",
    bmi1 = "bmi1": "BMI1",
    bmi2 = "bmi2": "BMI2",
    adx = "adx": "ADX",
    avx = "avx": "AVX",
    avx2 = "avx2": "AVX2",
    fma = "fma": "FMA3",
    f16c = "f16c": "half-precision conversions",
    sha = "sha": "SHA",
    rdrand = "rdrand": "RDRAND",
    rdseed = "rdseed": "RDSEED",
}

const ARCH_SET_GS: i32 = 0x1001;
const ARCH_GET_GS: i32 = 0x1004;

/// Sets the calling thread's GS base. Rust code and libc use FS only.
pub fn set_gs_base(base: u64) -> Result<(), Errno> {
    // SAFETY: nothing but generated code uses GS.
    Errno::check(unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_SET_GS, base) } as i32)
}

/// The calling thread's GS base.
pub fn gs_base() -> Result<u64, Errno> {
    let mut base = 0u64;
    // SAFETY: the kernel fills in the word.
    Errno::check(unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_GET_GS, &mut base) } as i32)?;
    Ok(base)
}

#[cfg(test)]
mod tests {
    #[test]
    fn gs_base_is_used_by_segment_overrides() {
        let word = 0x1234_5678_9abc_def0u64;
        super::set_gs_base(&raw const word as u64).unwrap();
        assert_eq!(super::gs_base(), Ok(&raw const word as u64));
        let seen: u64;
        // SAFETY: reads `word`.
        unsafe { std::arch::asm!("mov {}, gs:[0]", out(reg) seen, options(nostack, readonly)) };
        super::set_gs_base(0).unwrap();
        assert_eq!(seen, word);
    }

    #[test]
    fn agrees_with_the_kernel() {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags: Vec<&str> =
            info.lines().find(|l| l.starts_with("flags")).map(|l| l.split_whitespace().collect()).unwrap_or_default();
        let f = super::features();
        for (name, have) in [("bmi2", f.bmi2), ("avx", f.avx), ("sse4_1", f.sse41), ("popcnt", f.popcnt)] {
            assert_eq!(flags.contains(&name), have, "{name}");
        }
    }
}
