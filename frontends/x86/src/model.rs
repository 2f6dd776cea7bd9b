//! Processor models: names, signatures, and the features that each has.
//!
//! A feature is claimed by CPUID exactly if its instructions are lifted; an instruction whose feature the model lacks
//! raises #UD. Models whose defining features are not lifted (AVX and later) are not in the table.

// tidy: table

use crate::mode::Mode;
use iced_x86::{CpuidFeature, Instruction};

/// A register of a CPUID leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// Leaf 1, EDX.
    Leaf1Edx,
    /// Leaf 1, ECX.
    Leaf1Ecx,
    /// Leaf 7, EBX.
    Leaf7Ebx,
    /// Leaf 7, ECX.
    Leaf7Ecx,
    /// Leaf 7, EDX.
    Leaf7Edx,
    /// Leaf 0Dh, subleaf 1, EAX.
    LeafDEax,
    /// Leaf 8000_0001h, EDX.
    ExtendedEdx,
    /// Leaf 8000_0001h, ECX.
    ExtendedEcx,
    /// Leaf 8000_0007h, EDX.
    PowerEdx,
}

macro_rules! features {
    ($($name:ident $text:literal $place:ident $bit:literal;)*) => {
        /// A feature that a processor may have (SDM vol. 2, CPUID).
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs)] // the names are the manual's
        pub enum Feature { $($name),* }
        /// Every feature: itself, its name on the command line, and its bit.
        pub(crate) const FEATURES: &[(Feature, &str, Place, u32)] =
            &[$((Feature::$name, $text, Place::$place, $bit)),*];
    };
}
features! {
    Fpu "fpu" Leaf1Edx 0; Tsc "tsc" Leaf1Edx 4; Cx8 "cx8" Leaf1Edx 8; Cmov "cmov" Leaf1Edx 15;
    Clflush "clflush" Leaf1Edx 19; Mmx "mmx" Leaf1Edx 23; Fxsr "fxsr" Leaf1Edx 24; Sse "sse" Leaf1Edx 25;
    Sse2 "sse2" Leaf1Edx 26;
    Sse3 "sse3" Leaf1Ecx 0; Pclmulqdq "pclmulqdq" Leaf1Ecx 1; Ssse3 "ssse3" Leaf1Ecx 9; Cx16 "cx16" Leaf1Ecx 13;
    Sse41 "sse4.1" Leaf1Ecx 19; Sse42 "sse4.2" Leaf1Ecx 20; Movbe "movbe" Leaf1Ecx 22; Popcnt "popcnt" Leaf1Ecx 23;
    Aes "aes" Leaf1Ecx 25; Xsave "xsave" Leaf1Ecx 26; Osxsave "osxsave" Leaf1Ecx 27; Rdrand "rdrand" Leaf1Ecx 30;
    FsGsBase "fsgsbase" Leaf7Ebx 0; Bmi1 "bmi1" Leaf7Ebx 3; Bmi2 "bmi2" Leaf7Ebx 8; Erms "erms" Leaf7Ebx 9;
    Rdseed "rdseed" Leaf7Ebx 18; Adx "adx" Leaf7Ebx 19; ClflushOpt "clflushopt" Leaf7Ebx 23; Clwb "clwb" Leaf7Ebx 24;
    Sha "sha-ni" Leaf7Ebx 29; Rdpid "rdpid" Leaf7Ecx 22; Fsrm "fsrm" Leaf7Edx 4;
    XsaveOpt "xsaveopt" LeafDEax 0; Xsavec "xsavec" LeafDEax 1; Xgetbv1 "xgetbv1" LeafDEax 2;
    Syscall "syscall" ExtendedEdx 11; Nx "nx" ExtendedEdx 20; Rdtscp "rdtscp" ExtendedEdx 27; Lm "lm" ExtendedEdx 29;
    LahfLm "lahf-lm" ExtendedEcx 0; Lzcnt "abm" ExtendedEcx 5; Prefetchw "3dnowprefetch" ExtendedEcx 8;
    De "de" Leaf1Edx 2; Pse "pse" Leaf1Edx 3; Msr "msr" Leaf1Edx 5; Pae "pae" Leaf1Edx 6; Mce "mce" Leaf1Edx 7;
    Apic "apic" Leaf1Edx 9; Sep "sep" Leaf1Edx 11; Mtrr "mtrr" Leaf1Edx 12; Pge "pge" Leaf1Edx 13;
    Mca "mca" Leaf1Edx 14; Pat "pat" Leaf1Edx 16; Pse36 "pse36" Leaf1Edx 17;
    Monitor "monitor" Leaf1Ecx 3; Pcid "pcid" Leaf1Ecx 17; X2apic "x2apic" Leaf1Ecx 21;
    TscDeadline "tsc-deadline" Leaf1Ecx 24; Hypervisor "hypervisor" Leaf1Ecx 31;
    TscAdjust "tsc-adjust" Leaf7Ebx 1; Smep "smep" Leaf7Ebx 7; Invpcid "invpcid" Leaf7Ebx 10; Smap "smap" Leaf7Ebx 20;
    SpecCtrl "spec-ctrl" Leaf7Edx 26; ArchCapabilities "arch-capabilities" Leaf7Edx 29;
    Pdpe1gb "pdpe1gb" ExtendedEdx 26; Invtsc "invtsc" PowerEdx 8;
}

/// The first feature that only an operating system can use; programs are not told of it and of those that follow.
const FIRST_PRIVILEGED: Feature = Feature::De;

/// A set of features.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FeatureSet(u128);

impl FeatureSet {
    const fn of(list: &[Feature]) -> Self {
        let (mut bits, mut i) = (0, 0);
        while i < list.len() {
            bits |= 1 << list[i] as u32;
            i += 1;
        }
        FeatureSet(bits)
    }
    const fn with(self, list: &[Feature]) -> Self {
        FeatureSet(self.0 | Self::of(list).0)
    }
    /// What of it programs are told of, as a number, for [`FeatureSet::from_bits`].
    pub(crate) const fn bits(self) -> u64 {
        self.0 as u64 & ((1 << FIRST_PRIVILEGED as u32) - 1)
    }
    /// The set with that number.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        FeatureSet(bits as u128)
    }
    /// The whole set as two words.
    pub(crate) const fn words(self) -> [u64; 2] {
        [self.0 as u64, (self.0 >> 64) as u64]
    }
    /// The set of two words.
    pub(crate) const fn from_words(words: [u64; 2]) -> Self {
        FeatureSet(words[0] as u128 | (words[1] as u128) << 64)
    }
    /// Whether the feature is in the set.
    pub const fn has(self, feature: Feature) -> bool {
        self.0 >> feature as u32 & 1 != 0
    }
    /// The set with the feature added or removed.
    pub const fn edit(self, feature: Feature, present: bool) -> Self {
        let bit = 1 << feature as u32;
        FeatureSet(if present { self.0 | bit } else { self.0 & !bit })
    }
    /// Every feature.
    pub(crate) const ALL: Self = FeatureSet((1 << FEATURES.len()) - 1);
    /// The bits of a CPUID register.
    pub(crate) fn register(self, place: Place) -> u32 {
        FEATURES.iter().filter(|(f, _, p, _)| *p == place && self.has(*f)).fold(0, |bits, (.., bit)| bits | 1 << bit)
    }
    /// Whether a processor with these features has the instruction.
    pub(crate) fn allows(self, insn: &Instruction) -> bool {
        insn.cpuid_features().iter().all(|f| NEEDS[*f as usize] & !self.0 == 0)
    }
}

/// What each of the decoder's extensions needs, by its number: bits of a [`FeatureSet`]. Those that are not lifted need
/// a bit that no set has.
static NEEDS: [u128; 256] = needs();

const NEVER: u128 = 1 << 127;

const fn needs() -> [u128; 256] {
    use CpuidFeature as C;
    use Feature as F;
    let mut table = [NEVER; 256];
    // What every model has, and encodings that processors without the extension take for something else.
    let base = [
        C::INTEL8086,
        C::INTEL8086_ONLY,
        C::INTEL186,
        C::INTEL286,
        C::INTEL286_ONLY,
        C::INTEL386,
        C::INTEL486,
        C::X64,
        C::CPUID,
        C::MULTIBYTENOP,
        C::PAUSE,
        C::CET_IBT,
        C::CET_SS,
        C::CLDEMOTE,
        C::PREFETCHITI,
        C::PREFETCHW,
        C::PREFETCHWT1,
        C::SMM,
        C::WBNOINVD,
        C::RDPMC,
        C::D3NOW,
        C::MONITOR,
    ];
    let mut i = 0;
    while i < base.len() {
        table[base[i] as usize] = 0;
        i += 1;
    }
    let known = [
        (C::FPU, F::Fpu),
        (C::FPU287, F::Fpu),
        (C::FPU387, F::Fpu),
        (C::TSC, F::Tsc),
        (C::CX8, F::Cx8),
        (C::CMOV, F::Cmov),
        (C::CLFSH, F::Clflush),
        (C::MMX, F::Mmx),
        (C::FXSR, F::Fxsr),
        (C::SSE, F::Sse),
        (C::SSE2, F::Sse2),
        (C::SSE3, F::Sse3),
        (C::PCLMULQDQ, F::Pclmulqdq),
        (C::SSSE3, F::Ssse3),
        (C::CMPXCHG16B, F::Cx16),
        (C::SSE4_1, F::Sse41),
        (C::SSE4_2, F::Sse42),
        (C::MOVBE, F::Movbe),
        (C::POPCNT, F::Popcnt),
        (C::AES, F::Aes),
        (C::XSAVE, F::Xsave),
        (C::XSAVEC, F::Xsavec),
        (C::XSAVEOPT, F::XsaveOpt),
        (C::RDRAND, F::Rdrand),
        (C::FSGSBASE, F::FsGsBase),
        (C::BMI1, F::Bmi1),
        (C::BMI2, F::Bmi2),
        (C::RDSEED, F::Rdseed),
        (C::ADX, F::Adx),
        (C::CLFLUSHOPT, F::ClflushOpt),
        (C::CLWB, F::Clwb),
        (C::SHA, F::Sha),
        (C::RDPID, F::Rdpid),
        (C::RDTSCP, F::Rdtscp),
        (C::LZCNT, F::Lzcnt),
        (C::SYSCALL, F::Syscall),
        (C::MSR, F::Msr),
        (C::SEP, F::Sep),
        (C::SMAP, F::Smap),
        (C::INVPCID, F::Invpcid),
    ];
    let mut i = 0;
    while i < known.len() {
        table[known[i].0 as usize] = 1 << known[i].1 as u32;
        i += 1;
    }
    table
}

/// A processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Model {
    /// Name on the command line.
    pub name: &'static str,
    /// Name as CPUID tells it, at most 47 characters.
    pub brand: &'static str,
    /// Whose processor it is.
    pub(crate) vendor: Vendor,
    /// Family, model and stepping as leaf 1 has them in EAX.
    pub(crate) signature: u32,
    /// What it has.
    pub features: FeatureSet,
}

/// The maker of a processor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Vendor {
    Intel,
    Amd,
}

const I486: FeatureSet = FeatureSet::of(&[Feature::Fpu]);
const I586: FeatureSet = I486.with(&[
    Feature::Tsc,
    Feature::Cx8,
    Feature::De,
    Feature::Pse,
    Feature::Msr,
    Feature::Mce,
    Feature::Apic,
    Feature::Hypervisor,
]);
const I686: FeatureSet = I586.with(&[
    Feature::Cmov,
    Feature::Mmx,
    Feature::Fxsr,
    Feature::Pae,
    Feature::Sep,
    Feature::Mtrr,
    Feature::Pge,
    Feature::Mca,
    Feature::Pat,
    Feature::Pse36,
]);
const P3: FeatureSet = I686.with(&[Feature::Sse]);
const P4: FeatureSet = P3.with(&[Feature::Sse2, Feature::Clflush]);
const YONAH: FeatureSet = P4.with(&[Feature::Sse3, Feature::Nx]);
const K8: FeatureSet = P4.with(&[Feature::Sse3, Feature::Nx, Feature::Lm, Feature::Syscall]);
const CORE2: FeatureSet = K8.with(&[Feature::Ssse3, Feature::Cx16, Feature::LahfLm]);
const PENRYN: FeatureSet = CORE2.with(&[Feature::Sse41]);
const NEHALEM: FeatureSet = PENRYN.with(&[Feature::Sse42, Feature::Popcnt]);
const WESTMERE: FeatureSet = NEHALEM.with(&[Feature::Aes, Feature::Pclmulqdq]);
const GOLDMONT: FeatureSet = WESTMERE.with(&[
    Feature::Movbe,
    Feature::Rdrand,
    Feature::Rdseed,
    Feature::Sha,
    Feature::FsGsBase,
    Feature::Erms,
    Feature::Rdtscp,
    Feature::Prefetchw,
    Feature::ClflushOpt,
    Feature::Xsave,
    Feature::Osxsave,
    Feature::XsaveOpt,
    Feature::Xsavec,
    Feature::Xgetbv1,
    Feature::X2apic,
    Feature::TscDeadline,
    Feature::TscAdjust,
    Feature::Smep,
    Feature::Smap,
    Feature::Pdpe1gb,
]);
const MAX: FeatureSet = GOLDMONT.edit(Feature::Sha, false).with(&[
    Feature::Lzcnt,
    Feature::Bmi1,
    Feature::Bmi2,
    Feature::Adx,
    Feature::Clwb,
    Feature::Rdpid,
    Feature::Fsrm,
    Feature::Pcid,
    Feature::Invpcid,
    Feature::SpecCtrl,
    Feature::ArchCapabilities,
    Feature::Invtsc,
]);

macro_rules! models {
    ($($name:literal $vendor:ident $signature:literal $features:expr, $brand:literal;)*) => {
        /// The models, in alphabetical order as far as they are named after processors.
        pub static MODELS: &[Model] = &[$(Model {
            name: $name, brand: $brand, vendor: Vendor::$vendor, signature: $signature, features: $features,
        }),*];
    };
}
models! {
    "486" Intel 0x0480 I486, "Intel 486";
    "Conroe" Intel 0x006f3 CORE2, "Intel Celeron_4x0 (Conroe/Merom Class Core 2)";
    "Denverton" Intel 0x506f1 GOLDMONT, "Intel Atom Processor (Denverton)";
    "Nehalem" Intel 0x106a3 NEHALEM, "Intel Core i7 9xx (Nehalem Class Core i7)";
    "Opteron_G1" Amd 0x00f51 K8, "AMD Opteron 240 (Gen 1 Class Opteron)";
    "Opteron_G2" Amd 0x00f61 K8.with(&[Feature::Cx16, Feature::LahfLm]), "AMD Opteron 22xx (Gen 2 Class Opteron)";
    "Penryn" Intel 0x10677 PENRYN, "Intel Core 2 Duo P9xxx (Penryn Class Core 2)";
    "Snowridge" Intel 0x80661 GOLDMONT.with(&[Feature::Clwb, Feature::Rdpid]), "Intel Atom Processor (SnowRidge)";
    "Westmere" Intel 0x206c1 WESTMERE, "Westmere E56xx/L56xx/X56xx (Nehalem-C)";
    "athlon" Amd 0x00623 P3, "AMD Athlon";
    "core2duo" Intel 0x006fb CORE2, "Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz";
    "coreduo" Intel 0x006e8 YONAH, "Genuine Intel(R) CPU           T2600  @ 2.16GHz";
    "kvm32" Intel 0x00f61 P4.with(&[Feature::Sse3]), "Common 32-bit KVM processor";
    "kvm64" Intel 0x00f61 K8.with(&[Feature::Cx16]), "Common KVM processor";
    "n270" Intel 0x106c2 YONAH.with(&[Feature::Ssse3, Feature::Movbe]), "Intel(R) Atom(TM) CPU N270   @ 1.60GHz";
    "pentium" Intel 0x00543 I586, "Intel Pentium";
    "pentium2" Intel 0x00652 I686, "Intel Pentium II";
    "pentium3" Intel 0x00673 P3, "Intel Pentium III";
    "qemu32" Intel 0x00663 P4.with(&[Feature::Sse3]), "Virtual processor, 32 bits";
    "qemu64" Amd 0xf06b1 K8.with(&[Feature::Cx16, Feature::LahfLm]), "Virtual processor, 64 bits";
    "max" Intel 0x206c2 MAX, "Isamorph virtual processor";
}

/// The most capable model, which is the default. It has no SHA instructions: programs are faster with what they use
/// instead, because those are helpers.
pub(crate) const BEST: Model = MODELS[MODELS.len() - 1];

/// Why a model cannot be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ModelError {
    /// There is no model of that name.
    Unknown(String),
    /// There is no such feature, or it is not implemented.
    Feature(String),
    /// A 32-bit processor cannot run 64-bit programs.
    Narrow(&'static str),
}

impl std::fmt::Display for ModelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ModelError::Unknown(name) => write!(f, "unable to find CPU model '{name}'"),
            ModelError::Feature(name) => write!(f, "CPU feature '{name}' is not known or not implemented"),
            ModelError::Narrow(name) => write!(f, "CPU model '{name}' has no 64-bit mode"),
        }
    }
}

impl std::error::Error for ModelError {}

/// The model that a command line asks for: a name, then features to add or remove (`+f`, `-f`, `f=on`, `f=off`, `f`).
pub(crate) fn parse(mode: Mode, text: &str) -> Result<Model, ModelError> {
    let mut parts = text.split(',');
    let name = parts.next().unwrap_or_default();
    let plain = name.strip_suffix("-v1").unwrap_or(name);
    let mut model = *MODELS.iter().find(|m| m.name == plain).ok_or_else(|| ModelError::Unknown(name.to_string()))?;
    for part in parts {
        let (name, present) = edit(part);
        let feature = FEATURES.iter().find(|(_, text, ..)| *text == canonical(name));
        let (feature, ..) = feature.ok_or_else(|| ModelError::Feature(name.to_string()))?;
        model.features = model.features.edit(*feature, present);
    }
    if mode.is_long() && !model.features.has(Feature::Lm) {
        return Err(ModelError::Narrow(model.name));
    }
    Ok(model)
}

/// A feature's name and whether it is to be there.
fn edit(part: &str) -> (&str, bool) {
    if let Some(name) = part.strip_prefix('+') {
        return (name, true);
    }
    if let Some(name) = part.strip_prefix('-') {
        return (name, false);
    }
    match part.split_once('=') {
        Some((name, value)) => (name, value == "on"),
        None => (part, true),
    }
}

/// Other spellings of feature names.
fn canonical(name: &str) -> &str {
    match name {
        "sse4-1" | "sse4_1" => "sse4.1",
        "sse4-2" | "sse4_2" => "sse4.2",
        "pni" => "sse3",
        "lzcnt" => "abm",
        "sha_ni" => "sha-ni",
        "lahf_lm" => "lahf-lm",
        "i64" => "lm",
        "tsc_adjust" => "tsc-adjust",
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_have_valid_brands_and_fit_the_set() {
        assert!(FEATURES.len() < 127, "the last bit is that of what no model has");
        assert!((FIRST_PRIVILEGED as u32) < 64);
        for model in MODELS {
            assert!(model.brand.len() < 48, "{}", model.name);
            assert_eq!(model.features.0 & NEVER, 0);
        }
        assert_eq!(BEST.name, "max");
        for (n, (feature, ..)) in FEATURES.iter().enumerate() {
            assert_eq!(*feature as usize, n);
            let without = [Feature::Sha, Feature::Monitor];
            assert_eq!(BEST.features.has(*feature), !without.contains(feature), "{feature:?}");
        }
    }

    #[test]
    fn command_lines_add_and_remove_features() {
        let model = parse(Mode::USER_64, "Nehalem,+aes,-sse4_2,popcnt=off,bmi1=on,movbe").unwrap();
        let has = |f| model.features.has(f);
        assert!(has(Feature::Aes) && has(Feature::Bmi1) && has(Feature::Movbe));
        assert!(!has(Feature::Sse42) && !has(Feature::Popcnt));
        assert_eq!(parse(Mode::USER_64, "Nehalem-v1").map(|m| m.name), Ok("Nehalem"));
        assert_eq!(parse(Mode::USER_64, "z80"), Err(ModelError::Unknown("z80".into())));
        assert_eq!(parse(Mode::USER_64, "max,+avx"), Err(ModelError::Feature("avx".into())));
        assert_eq!(parse(Mode::USER_64, "pentium3"), Err(ModelError::Narrow("pentium3")));
        assert!(parse(Mode::USER_32, "pentium3").is_ok());
    }
}
