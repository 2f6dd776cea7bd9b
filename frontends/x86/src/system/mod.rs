//! The system architecture: what an operating system sees of the processor.
//!
//! Everything is a function on the CPU state and the machine around it: helpers that lifted code calls for privileged
//! and rare instructions, the delivery of exceptions and interrupts, and translation of addresses. References are to
//! the SDM, volume 3, unless another is named.

pub(crate) mod control;
mod cpu;
pub(crate) mod debug;
mod deliver;
mod descriptor;
pub(crate) mod entry;
pub(crate) mod fast;
pub(crate) mod flags;
pub mod io;
pub mod msr;
mod reset;
pub(crate) mod smm;
mod stack;
pub(crate) mod tables;
mod task;
mod time;
mod transfer;
mod walk;

pub use cpu::{cr0, cr4, efer};
pub use time::{FREQUENCY, ticks};

use crate::X86;
use crate::model::{Feature, FeatureSet, MODELS, Model, ModelError};
use crate::state::{self, AMD64, EFLAGS_REST, ES_ATTR, ES_LIMIT, SHADOW, eflag, rights, word};
use cpu::Cpu;
use isamorph_guest::{Access, Delivered, Event, Guest, Mapping, Physical, SystemGuest, Wake};
use isamorph_ir::{CpuState, Flush, HelperCx, MemFault, RegId, Trap};
use std::sync::Arc;

/// How the processors of a machine are grouped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Topology {
    /// Threads of a core.
    pub threads: u16,
    /// Cores of a package.
    pub cores: u16,
    /// Packages.
    pub sockets: u16,
}

/// Bits that numbers below `count` need.
fn width(count: u16) -> u32 {
    u16::BITS - count.saturating_sub(1).leading_zeros()
}

impl Topology {
    /// Packages of one processor.
    pub const fn flat(count: u16) -> Self {
        Topology { threads: 1, cores: 1, sockets: count }
    }
    fn word(self) -> u64 {
        u64::from(self.threads) | u64::from(self.cores) << 16 | u64::from(self.sockets) << 32
    }
    pub(crate) fn of(state: &CpuState) -> Self {
        let word = word::TOPOLOGY.get(state);
        Topology { threads: word as u16, cores: (word >> 16) as u16, sockets: (word >> 32) as u16 }
    }
    /// The APIC id of a processor: thread, core and package have bits of their own (SDM vol. 3, 8.9.1).
    pub fn apic_id(self, index: u32) -> u32 {
        let (threads, cores) = (u32::from(self.threads.max(1)), u32::from(self.cores.max(1)));
        let (thread, core, package) = (index % threads, index / threads % cores, index / threads / cores);
        // More processors than 32 bits can number are not told apart.
        thread | core << self.thread_bits() | package.checked_shl(self.package_shift()).unwrap_or(0)
    }
    /// Threads of a package.
    pub(crate) fn package_threads(self) -> u32 {
        (u32::from(self.threads) * u32::from(self.cores)).max(1)
    }
    pub(crate) fn thread_bits(self) -> u32 {
        width(self.threads)
    }
    pub(crate) fn package_shift(self) -> u32 {
        width(self.threads) + width(self.cores)
    }
}

/// The processors of a PC.
pub struct Machine {
    lanes: [Arc<dyn Guest>; 2],
    model: Model,
    model_index: u32,
    topology: Topology,
}

/// The bit of [`SHADOW`] that a load of SS sets besides that of `sti`.
const SHADOW_OF_STACK: u64 = 2;

/// Numbers of the lanes: the register tables.
const NARROW: usize = 0;
const LONG: usize = 1;

impl Machine {
    /// Processors of a model, perhaps with features added or removed (`Nehalem,+aes,-popcnt`). With `bits` 32 they
    /// have no 64-bit mode.
    ///
    /// # Errors
    /// There is no such model or feature.
    pub fn new(text: &str, bits: u32, topology: Topology) -> Result<Self, ModelError> {
        let mut model = crate::model::parse(crate::mode::Mode::USER_32, text)?;
        if bits == 32 {
            for feature in [Feature::Lm, Feature::Syscall, Feature::LahfLm, Feature::Pdpe1gb, Feature::Pcid] {
                model.features = model.features.edit(feature, false);
            }
        }
        if !model.features.has(Feature::Pcid) {
            model.features = model.features.edit(Feature::Invpcid, false);
        }
        let model_index = MODELS.iter().position(|m| m.name == model.name).unwrap_or(0) as u32;
        let lanes: [Arc<dyn Guest>; 2] = [Arc::new(X86::narrow(model)), Arc::new(X86::long(model))];
        Ok(Machine { lanes, model, model_index, topology })
    }
    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }
    /// The grouping.
    pub fn topology(&self) -> Topology {
        self.topology
    }
}

/// The features of a machine's processor.
pub(crate) fn features(state: &CpuState) -> FeatureSet {
    FeatureSet::from_words([word::FEATURES.get(state), word::FEATURES.at(1).get(state)])
}

/// The model of a machine's processor.
pub(crate) fn model(state: &CpuState) -> &'static Model {
    &MODELS[(word::MODEL.get(state) as usize).min(MODELS.len() - 1)]
}

impl SystemGuest for Machine {
    fn lanes(&self) -> &[Arc<dyn Guest>] {
        &self.lanes
    }
    fn lane(&self, state: &CpuState) -> usize {
        if state::long_mode(state) { LONG } else { NARROW }
    }
    fn contexts(&self) -> usize {
        walk::context::COUNT
    }
    fn context(&self, state: &CpuState) -> usize {
        walk::context(state)
    }
    fn privileged_context(&self, state: &CpuState) -> usize {
        walk::privileged_context(state)
    }
    fn translate(
        &self,
        state: &CpuState,
        memory: &dyn Physical,
        addr: u64,
        access: Access,
    ) -> Result<Mapping, MemFault> {
        walk::translate(state, memory, addr, access)
    }
    fn deliver(&self, cx: &mut HelperCx<'_>, event: Event) -> Delivered {
        if let Event::Init { boot } = event {
            self.init(cx, boot);
            return Delivered::Done;
        }
        let Ok(mut cpu) = Cpu::new(cx) else { return Delivered::Shutdown };
        if word::SHUT_DOWN.get(cpu.state) != 0 && !matches!(event, Event::AddressLine20(_)) {
            return Delivered::Shutdown;
        }
        match event {
            Event::Trap(trap) => cpu.raise(trap),
            Event::Interrupt(vector) => cpu.external(vector),
            Event::Nmi => {
                word::NMI_BLOCKED.set(cpu.state, 1);
                cpu.external(2)
            }
            Event::Smi => {
                cpu.enter_smm();
                Delivered::Done
            }
            Event::Start(vector) => {
                cpu.start(vector);
                Delivered::Done
            }
            Event::AddressLine20(high) => {
                word::LINE_20_LOW.set(cpu.state, u64::from(!high));
                cpu.flush(Flush::All);
                Delivered::Done
            }
            Event::Init { .. } => Delivered::Done,
        }
    }
    fn wake(&self, state: &CpuState) -> Wake {
        let shadow = state.get(&AMD64, SHADOW);
        // `sti` holds interrupts back, a load of SS everything (SDM vol. 3, 6.8.3).
        let (open, quiet) = (shadow == 0, shadow & SHADOW_OF_STACK == 0);
        let flags = state.get(&AMD64, EFLAGS_REST) as u32;
        let waits = word::WAITS_FOR_START.get(state) != 0;
        let due = if word::SHUT_DOWN.get(state) != 0 {
            Some(cpu::fault(crate::exception::DF, 0))
        } else {
            debug::due(state).filter(|_| quiet && !waits)
        };
        Wake {
            interrupt: open && !waits && flags & eflag::IF != 0,
            nmi: quiet && !waits && word::NMI_BLOCKED.get(state) == 0,
            smi: quiet && !waits && word::IN_SMM.get(state) == 0,
            waits_for_start: waits,
            trap: due,
        }
    }
    fn reset(&self, state: &mut CpuState, index: u32) {
        self.power_on(state, index);
    }
}

/// Checks an access to a segment that is not flat: its kind, its limits (SDM vol. 3, 5.3 and 5.4).
///
/// # Errors
/// #SS for the stack segment, #GP for the others.
pub fn check_segment(state: &CpuState, number: u32, offset: u64, bytes: u32, write: bool) -> Result<(), Trap> {
    let row = |first: RegId| state.get(&AMD64, RegId(first.0 + number.min(5) as u16));
    let refused = if number == descriptor::number::SS.into() { cpu::ss(0) } else { cpu::gp(0) };
    if state::long_mode(state) {
        return Ok(());
    }
    let (limit, attr) = (row(ES_LIMIT), row(ES_ATTR) as u32);
    let protected = state.get(&AMD64, state::CR0) & cr0::PE != 0;
    let code = attr & rights::CODE != 0;
    if protected && state.get(&AMD64, EFLAGS_REST) as u32 & eflag::VM == 0 {
        let flag = attr & rights::WRITABLE != 0;
        let allowed = if write { !code && flag } else { !code || flag };
        if attr & rights::PRESENT == 0 || !allowed {
            return Err(refused);
        }
    }
    let last = offset.saturating_add(u64::from(bytes.max(1)) - 1);
    let inside = if !code && attr & rights::DOWN != 0 {
        offset > limit && last <= if attr & rights::BIG != 0 { cpu::mask(4) } else { 0xffff }
    } else {
        last <= limit
    };
    if inside { Ok(()) } else { Err(refused) }
}
