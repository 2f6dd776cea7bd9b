//! Processor identification and the time-stamp counter.
//!
//! A program asks with the features that it may know of; in a machine, what else there is to tell is in the state.

use crate::model::{Feature, FeatureSet, MODELS, Place, Vendor};
use crate::state::{AMD64, CR4, EAX, EBX, ECX, EDX, FXSAVE_BYTES, word};
use crate::system::{self, Topology};
use isamorph_ir::{CpuState, HelperCx, Trap};
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
    /// The processor of a machine.
    place: Option<Processor>,
}

/// A processor among others.
#[derive(Clone, Copy)]
struct Processor {
    apic_id: u32,
    topology: Topology,
}

/// The name of whatever runs the machine, where Linux looks for it: that of QEMU's translator, whose guests know it.
const HYPERVISOR: &[u8; 12] = b"TCGTCGTCGTCG";
/// The register of the local APIC that says where and whether it is.
const APIC_BASE: u32 = 0x1b;
const APIC_ENABLED: u64 = 1 << 11;
/// What AMD's processors repeat in leaf 8000_0001h of leaf 1.
const AMD_ALIASES: u32 = 0x0183_f3ff;

fn text_word(text: &[u8], at: usize) -> u32 {
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
            _ if self.place.is_some() && self.has(Feature::X2apic) => 0x16,
            _ if self.has(Feature::Xsave) => 13,
            _ if leaf7 => 7,
            _ if self.has(Feature::Sse3) => 4,
            _ => 2,
        }
    }
    /// What leaf 1 tells in EBX and EDX about the processors of a machine.
    fn neighbours(&self) -> [u32; 2] {
        const HYPER_THREADING: u32 = 1 << 28;
        let Some(Processor { apic_id, topology }) = self.place else { return [0; 2] };
        let count = topology.package_threads();
        [count << 16 | apic_id << 24, if count > 1 { HYPER_THREADING } else { 0 }]
    }
    /// The extended topology (leaf 0Bh): shift to the next level, processors at this one, level, APIC id.
    fn level(&self) -> [u32; 4] {
        let Some(Processor { apic_id, topology }) = self.place else { return [0; 4] };
        match self.subleaf {
            0 => [topology.thread_bits(), topology.threads.into(), 1 << 8, apic_id],
            1 => [topology.package_shift(), topology.package_threads(), 2 << 8 | 1, apic_id],
            n => [0, 0, n & 0xff, apic_id],
        }
    }
    /// Leaves that say nothing to programs.
    fn machine_answer(&self) -> Option<[u32; 4]> {
        const ALWAYS_RUNNING_TIMER: u32 = 1 << 2;
        let Processor { topology, .. } = self.place?;
        let megahertz = (system::FREQUENCY / 1_000_000) as u32;
        let limit = self.max_leaf();
        match self.leaf {
            4 if limit >= 4 => {
                let [kind, shape, sets, more] = cache(self.subleaf);
                let sharing = if self.subleaf == 3 { topology.package_threads() } else { topology.threads.into() };
                let cores = u32::from(topology.cores).max(1) - 1;
                let shared = if kind == 0 { 0 } else { cores << 26 | (sharing.max(1) - 1) << 14 };
                Some([kind | shared, shape, sets, more])
            }
            6 if limit >= 6 => Some([ALWAYS_RUNNING_TIMER, 0, 0, 0]),
            0xb if limit >= 0xb => Some(self.level()),
            // The counter's frequency: that of a crystal, times 1/1; the processor's, in MHz.
            0x15 if limit >= 0x15 => Some([1, 1, system::FREQUENCY as u32, 0]),
            0x16 if limit >= 0x16 => Some([megahertz, megahertz, 100, 0]),
            0x4000_0000 if self.has(Feature::Hypervisor) => {
                Some([0x4000_0001, text_word(HYPERVISOR, 0), text_word(HYPERVISOR, 4), text_word(HYPERVISOR, 8)])
            }
            0x4000_0001 if self.has(Feature::Hypervisor) => Some([0; 4]),
            0x8000_0008 => Some([ADDRESS_BITS, 0, topology.package_threads() - 1, 0]),
            _ => None,
        }
    }
    /// EAX, EBX, ECX, EDX of the leaf.
    fn answer(&self) -> [u32; 4] {
        let model = &MODELS[self.model.min(MODELS.len() - 1)];
        let f = self.features;
        let vendor = VENDORS[usize::from(model.vendor == Vendor::Amd)];
        let vendor = [text_word(vendor, 0), text_word(vendor, 8), text_word(vendor, 4)];
        if let Some(answer) = self.machine_answer() {
            return answer;
        }
        let [ebx, edx] = self.neighbours();
        match self.leaf {
            0 => [self.max_leaf(), vendor[0], vendor[1], vendor[2]],
            1 => [model.signature, CLFLUSH_UNITS | ebx, f.register(Place::Leaf1Ecx), f.register(Place::Leaf1Edx) | edx],
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
            3 | 5..=0x16 if self.leaf <= self.max_leaf() => [0; 4],
            0x8000_0000 => [MAX_EXTENDED, vendor[0], vendor[1], vendor[2]],
            0x8000_0001 if self.place.is_some() && model.vendor == Vendor::Amd => {
                let aliases = f.register(Place::Leaf1Edx) & AMD_ALIASES;
                [model.signature, 0, f.register(Place::ExtendedEcx), f.register(Place::ExtendedEdx) | aliases]
            }
            0x8000_0001 => [0, 0, f.register(Place::ExtendedEcx), f.register(Place::ExtendedEdx)],
            part @ 0x8000_0002..=0x8000_0004 => {
                let at = 16 * (part - 0x8000_0002) as usize;
                std::array::from_fn(|i| text_word(model.brand.as_bytes(), at + 4 * i))
            }
            // First-level caches of AMD's processors: 32 KiB, 8 ways, one line a tag, 64 bytes.
            0x8000_0005 => [0, 0, 0x2008_0140, 0x2008_0140],
            // The second level: KiB, associativity code (8 is 16 ways), lines a tag, bytes a line.
            0x8000_0006 => [0, 0, 2048 << 16 | 8 << 12 | 1 << 8 | 64, 0],
            0x8000_0007 => [0, 0, 0, f.register(Place::PowerEdx)],
            0x8000_0008 => [ADDRESS_BITS, 0, 0, 0],
            // Leaves above the highest give the highest basic one (SDM vol. 2, CPUID).
            _ => Question { leaf: self.max_leaf(), ..*self }.answer(),
        }
    }
}

/// `cpuid(leaf and subleaf, features, model)`.
pub(super) fn cpuid(cx: &mut HelperCx<'_>, [which, features, model]: [u64; 3]) -> Result<u64, Trap> {
    let (leaf, subleaf) = (which as u32, (which >> 32) as u32);
    let question = if cx.mem.system().is_some() {
        machine_question(cx, leaf, subleaf)
    } else {
        let features = FeatureSet::from_bits(features);
        Question { leaf, subleaf, features, model: model as usize, place: None }
    };
    for (reg, value) in [EAX, EBX, ECX, EDX].into_iter().zip(question.answer()) {
        cx.state.set(&AMD64, reg, u64::from(value));
    }
    Ok(0)
}

/// What the processor of a machine is asked.
fn machine_question(cx: &HelperCx<'_>, leaf: u32, subleaf: u32) -> Question {
    let state: &CpuState = cx.state;
    // A local APIC can be turned off for good.
    let base = cx.mem.system().and_then(|system| system.controller_read(APIC_BASE)).unwrap_or(0);
    // The operating system says if it has enabled it.
    let enabled = state.get(&AMD64, CR4) & system::cr4::OSXSAVE != 0;
    let features = system::features(state);
    let features = features.edit(Feature::Osxsave, enabled && features.has(Feature::Xsave));
    let features = features.edit(Feature::Apic, base & APIC_ENABLED != 0 && features.has(Feature::Apic));
    let place = Processor { apic_id: word::INDEX.get(state) as u32, topology: Topology::of(state) };
    Question { leaf, subleaf, features, model: word::MODEL.get(state) as usize, place: Some(place) }
}

/// The time-stamp counter runs at 1 GHz from the first use on.
pub(super) fn rdtsc(_cx: &mut HelperCx<'_>, _args: [u64; 3]) -> Result<u64, Trap> {
    static START: OnceLock<Instant> = OnceLock::new();
    Ok(START.get_or_init(Instant::now).elapsed().as_nanos() as u64)
}
