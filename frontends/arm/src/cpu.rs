//! Processor models: which instructions exist.

/// A processor model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cpu {
    /// ARM926EJ-S: Armv5TE, VFPv2.
    Arm926,
    /// ARM1176JZF-S: Armv6K, VFPv2.
    Arm1176,
    /// Cortex-A8: Armv7-A, VFPv3, Advanced SIMD.
    CortexA8,
    /// Cortex-A9: as Cortex-A8, with half-precision conversions.
    CortexA9,
    /// Cortex-A7: Armv7-A with division, VFPv4, Advanced SIMD with fused multiply-add.
    CortexA7,
    /// Cortex-A15: as Cortex-A7.
    CortexA15,
    /// Everything that is implemented, up to Armv8.
    Max,
}

/// An architecture version; each includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Arch {
    V5,
    V6,
    V6K,
    V6T2,
    V7,
    V8,
}

/// What a model has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Features {
    /// Architecture version.
    pub(crate) arch: Arch,
    /// SDIV and UDIV.
    pub(crate) divide: bool,
    /// Version of the floating-point extension.
    pub(crate) vfp: u32,
    /// Advanced SIMD and with it 32 doubleword registers.
    pub(crate) simd: bool,
}

impl Cpu {
    /// Every model, with the name that `-cpu` knows it by.
    pub const ALL: &'static [(&'static str, Cpu)] = &[
        ("arm926", Cpu::Arm926),
        ("arm1176", Cpu::Arm1176),
        ("cortex-a8", Cpu::CortexA8),
        ("cortex-a9", Cpu::CortexA9),
        ("cortex-a7", Cpu::CortexA7),
        ("cortex-a15", Cpu::CortexA15),
        ("max", Cpu::Max),
    ];
    /// The model with that name.
    pub fn by_name(name: &str) -> Option<Cpu> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, cpu)| *cpu)
    }
    pub(crate) const fn features(self) -> Features {
        match self {
            Cpu::Arm926 => Features { arch: Arch::V5, divide: false, vfp: 2, simd: false },
            Cpu::Arm1176 => Features { arch: Arch::V6K, divide: false, vfp: 2, simd: false },
            Cpu::CortexA8 | Cpu::CortexA9 => Features { arch: Arch::V7, divide: false, vfp: 3, simd: true },
            Cpu::CortexA7 | Cpu::CortexA15 => Features { arch: Arch::V7, divide: true, vfp: 4, simd: true },
            Cpu::Max => Features { arch: Arch::V8, divide: true, vfp: 5, simd: true },
        }
    }
    /// What Linux says of the model in `AT_HWCAP` (arch/arm/include/uapi/asm/hwcap.h).
    pub const fn hwcap(self) -> u32 {
        let f = self.features();
        // SWP (not since v8), HALF, THUMB, FAST_MULT, VFP, EDSP; TLS from v6K on, and for all the kernel helper.
        let mut bits = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 6 | 1 << 7;
        if (f.arch as u32) < Arch::V8 as u32 {
            bits |= 1;
        }
        if f.arch as u32 >= Arch::V6K as u32 {
            bits |= 1 << 15;
        }
        if f.vfp >= 3 {
            // VFPv3, VFPD32.
            bits |= 1 << 13 | 1 << 19;
        }
        if f.simd {
            bits |= 1 << 12;
        }
        if f.vfp >= 4 {
            bits |= 1 << 16;
        }
        if f.divide {
            // IDIVA, IDIVT.
            bits |= 1 << 17 | 1 << 18;
        }
        if f.arch as u32 >= Arch::V7 as u32 {
            // LPAE: 64-bit atomic accesses by LDRD and STRD.
            bits |= 1 << 20;
        }
        bits
    }
    /// What Linux says of the model in `AT_HWCAP2`.
    pub const fn hwcap2(self) -> u32 {
        // AES, PMULL, CRC32.
        if matches!(self, Cpu::Max) { 1 | 1 << 1 | 1 << 4 } else { 0 }
    }
    /// What Linux says of the model in `AT_PLATFORM`.
    pub const fn platform(self) -> &'static str {
        match self.features().arch {
            Arch::V5 => "v5l",
            Arch::V6 | Arch::V6K | Arch::V6T2 => "v6l",
            Arch::V7 => "v7l",
            Arch::V8 => "v8l",
        }
    }
}
