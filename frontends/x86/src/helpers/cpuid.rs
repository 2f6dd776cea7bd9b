//! Processor identification and the time-stamp counter.

use crate::model::{Feature, FeatureSet, MODELS, Place, Vendor};
use crate::state::{AMD64, EAX, EBX, ECX, EDX, FXSAVE_BYTES};
use isamorph_ir::{HelperCx, Trap};
use std::sync::OnceLock;
use std::time::Instant;

/// Size of a CLFLUSH line in 8-byte units, at its place in leaf 1, EBX; one logical processor.
const CLFLUSH_UNITS: u32 = 8 << 8;
/// Highest extended leaf.
const MAX_EXTENDED: u32 = 0x8000_0008;
/// Bytes of an XSAVE area that holds x87 and SSE state: the FXSAVE image and the header (SDM vol. 1, 13.4).
pub(crate) const XSAVE_BYTES: u32 = FXSAVE_BYTES as u32 + 64;
/// The state components that exist: x87 and SSE.
pub(crate) const XCR0: u32 = 3;
/// Linear and physical address bits (leaf 8000_0008h): 48 and 40.
const ADDRESS_BITS: u32 = 48 << 8 | 40;
const VENDORS: [&[u8; 12]; 2] = [b"GenuineIntel", b"AuthenticAMD"];

/// What a CPUID instruction asks about.
struct Question {
    leaf: u32,
    subleaf: u32,
    features: FeatureSet,
    /// Index of the model.
    model: usize,
}

fn word(text: &[u8], at: usize) -> u32 {
    text.iter().skip(at).take(4).rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// Deterministic cache parameters (leaf 4): type and level, then ways and sets of 64-byte lines.
fn cache(subleaf: u32) -> [u32; 4] {
    let [kind, level, ways, sets] = match subleaf {
        0 => [1, 1, 8, 64],
        1 => [2, 1, 8, 64],
        2 => [3, 2, 16, 2048],
        3 => [3, 3, 16, 16384],
        _ => return [0; 4],
    };
    [kind | level << 5 | 1 << 8, (ways - 1) << 22 | 63, sets - 1, 0]
}

impl Question {
    fn has(&self, feature: Feature) -> bool {
        self.features.has(feature)
    }
    /// The highest basic leaf.
    fn max_leaf(&self) -> u32 {
        let leaf7 = [Place::Leaf7Ebx, Place::Leaf7Ecx, Place::Leaf7Edx].iter().any(|p| self.features.register(*p) != 0);
        match () {
            _ if self.has(Feature::Xsave) => 13,
            _ if leaf7 => 7,
            _ if self.has(Feature::Sse3) => 4,
            _ => 2,
        }
    }
    /// EAX, EBX, ECX, EDX of the leaf.
    fn answer(&self) -> [u32; 4] {
        let model = &MODELS[self.model.min(MODELS.len() - 1)];
        let f = self.features;
        let vendor = VENDORS[usize::from(model.vendor == Vendor::Amd)];
        let vendor = [word(vendor, 0), word(vendor, 8), word(vendor, 4)];
        match self.leaf {
            0 => [self.max_leaf(), vendor[0], vendor[1], vendor[2]],
            1 => [model.signature, CLFLUSH_UNITS, f.register(Place::Leaf1Ecx), f.register(Place::Leaf1Edx)],
            // The descriptor 0xff: see leaf 4 (SDM vol. 2, table 3-12); before that: 4 KiB page TLBs 50h, 5Bh; 8 KiB
            // first-level 66h, 12 Kµop trace cache 70h, 256 KiB second-level 7Ah, no third-level cache 40h.
            2 if self.max_leaf() >= 4 => [0xff01, 0, 0, 0],
            2 => [0x665b_5001, 0, 0, 0x007a_7040],
            4 if self.max_leaf() >= 4 => cache(self.subleaf),
            7 if self.max_leaf() >= 7 && self.subleaf == 0 => {
                [0, f.register(Place::Leaf7Ebx), f.register(Place::Leaf7Ecx), f.register(Place::Leaf7Edx)]
            }
            13 if self.has(Feature::Xsave) => match self.subleaf {
                0 => [XCR0, XSAVE_BYTES, XSAVE_BYTES, 0],
                1 => [f.register(Place::LeafDEax), XSAVE_BYTES, 0, 0],
                _ => [0; 4],
            },
            3 | 5..=13 if self.leaf <= self.max_leaf() => [0; 4],
            0x8000_0000 => [MAX_EXTENDED, vendor[0], vendor[1], vendor[2]],
            0x8000_0001 => [0, 0, f.register(Place::ExtendedEcx), f.register(Place::ExtendedEdx)],
            part @ 0x8000_0002..=0x8000_0004 => {
                let at = 16 * (part - 0x8000_0002) as usize;
                std::array::from_fn(|i| word(model.brand.as_bytes(), at + 4 * i))
            }
            // First-level caches of AMD's processors: 32 KiB, 8 ways, one line a tag, 64 bytes.
            0x8000_0005 => [0, 0, 0x2008_0140, 0x2008_0140],
            // The second level: KiB, associativity code (8 is 16 ways), lines a tag, bytes a line.
            0x8000_0006 => [0, 0, 2048 << 16 | 8 << 12 | 1 << 8 | 64, 0],
            0x8000_0007 => [0; 4],
            0x8000_0008 => [ADDRESS_BITS, 0, 0, 0],
            // Leaves above the highest give the highest basic one (SDM vol. 2, CPUID).
            _ => Question { leaf: self.max_leaf(), ..*self }.answer(),
        }
    }
}

/// `cpuid(leaf and subleaf, features, model)`.
pub(super) fn cpuid(cx: &mut HelperCx<'_>, [which, features, model]: [u64; 3]) -> Result<u64, Trap> {
    let question = Question {
        leaf: which as u32,
        subleaf: (which >> 32) as u32,
        features: FeatureSet::from_bits(features),
        model: model as usize,
    };
    for (reg, value) in [EAX, EBX, ECX, EDX].into_iter().zip(question.answer()) {
        cx.state.set(&AMD64, reg, u64::from(value));
    }
    Ok(0)
}

/// The time-stamp counter runs at 1 GHz from the first use on.
pub(super) fn rdtsc(_cx: &mut HelperCx<'_>, _args: [u64; 3]) -> Result<u64, Trap> {
    static START: OnceLock<Instant> = OnceLock::new();
    Ok(START.get_or_init(Instant::now).elapsed().as_nanos() as u64)
}
