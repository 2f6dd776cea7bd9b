//! The x86-64 back end: from a region to host code.
//!
//! [`analysis`] walks a region backward once; [`emit`] walks it forward once and selects, allocates and emits. Guest
//! registers are pinned to host registers ([`pins`]), guest flags live in EFLAGS, faults are made precise by a recovery
//! table. [`thunks`] is the code around regions. [`checker`] verifies each allocation in debug builds.

// `dynasm!` converts every register operand, whatever its type.
#![allow(clippy::useless_conversion)]

mod analysis;
mod asm;
mod checker;
mod emit;
mod frame;
mod operation;
mod pins;
mod thunks;

use isamorph_code::{Compiled, Thunks};
use isamorph_host::cpu::{Features, features};
use isamorph_ir::{Helper, RegId, RegTable, Region};
use pins::Pins;

pub use emit::{Access, Scratch};
pub use frame::Frame;

/// How emitted code gets from a guest address to memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuestMemory {
    /// The guest's memory is a window of the host's.
    Direct {
        /// Host address of guest address 0; not 0 makes memory operands relative to gs.
        base: u64,
    },
    /// Through the table of translations that [`isamorph_ir::Header::tlb`] points to. Code is reachable without being
    /// looked up only within its page.
    Translated,
}

/// What emitted code depends on.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How the guest's memory is accessed.
    pub memory: GuestMemory,
    /// Right shift of a program counter before it indexes the jump cache.
    pub pc_shift: u32,
    /// Use BMI2 (rorx, shlx …).
    pub bmi2: bool,
    /// Keep flags exact at every instruction that may fault.
    pub precise: bool,
}

/// Rust functions that compiled code calls, as host addresses.
#[derive(Clone, Copy, Debug)]
pub struct Entries {
    /// `extern "C" fn(state: *mut CpuState, id: u32) -> u64`: runs a helper; 0, or 1 if it trapped.
    pub helper: usize,
    /// `extern "C" fn(state: *mut CpuState, frame: *mut Frame, site: usize) -> u64`: an access found no translation.
    /// Its guest address is in the header's `exit_arg`, an [`Access`] in `exit_code`; `site` is the host address of its
    /// fault point. 0 to try again, or 1 to leave through [`isamorph_code::Thunk::Fault`] with the registers of the
    /// frame. Not called with direct memory.
    pub miss: usize,
}

/// A region that cannot be compiled; it is left to the interpreter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsupported {
    /// The op or combination.
    pub what: &'static str,
}

/// Compiles regions of one guest for this host.
#[derive(Debug)]
pub struct Backend {
    table: &'static RegTable,
    helpers: &'static [Helper],
    config: Config,
    host: Features,
    pins: Pins,
}

impl Backend {
    /// A back end for a guest's registers and helpers.
    pub fn new(table: &'static RegTable, helpers: &'static [Helper], config: Config) -> Self {
        Backend { table, helpers, config, host: features(), pins: Pins::new(table) }
    }
    /// The same for a host without instruction set extensions: what has no instruction there is computed out of line.
    pub fn without_extensions(mut self) -> Self {
        self.host = Features::default();
        self
    }
    /// The code around regions.
    pub fn thunks(&self, entries: Entries) -> Thunks {
        thunks::emit(self, entries)
    }
    /// Compiles a region into `out`.
    ///
    /// # Errors
    /// The region has something that this back end does not do.
    pub fn compile(&self, scratch: &mut Scratch, region: &Region, out: &mut Compiled) -> Result<(), Unsupported> {
        emit::compile(self, scratch, region, out)
    }
    /// The x86 number of the host register in which a pinned integer register lives.
    pub fn host_register(&self, reg: RegId) -> Option<u8> {
        self.pins.host(reg).filter(|h| *h < pins::VEC)
    }
    /// The number of the host register in which a pinned vector register lives.
    pub fn host_vector(&self, reg: RegId) -> Option<u8> {
        self.pins.host(reg)?.checked_sub(pins::VEC)
    }
}
