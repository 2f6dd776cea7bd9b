//! What a guest architecture must offer to run in a machine: translation of addresses, exceptions and interrupts.

use crate::Guest;
use isamorph_ir::{CpuState, HelperCx, MemFault, Trap};
use std::sync::Arc;

/// What an access is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessKind {
    /// Reading data.
    Read,
    /// Writing data, or reading it in order to write it.
    Write,
    /// Fetching instructions.
    Fetch,
}

/// An access whose address is to be translated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// What it is for.
    pub kind: AccessKind,
    /// The context in whose name it is made, see [`SystemGuest::context`].
    pub context: usize,
}

/// A translation, valid for the page of 4 KiB that holds the address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Physical address of the first byte of that page of 4 KiB.
    pub page: u64,
    /// log2 of the size of the guest's page that it is a part of, at least 12. An invalidation of one address drops
    /// all of that page.
    pub size_shift: u32,
    /// What else the page may be used for in the same context without asking again: a page that has not been written
    /// yet is not `writable` if its dirty bit still has to be set.
    pub readable: bool,
    /// See `readable`.
    pub writable: bool,
    /// See `readable`.
    pub executable: bool,
    /// Whether it survives [`isamorph_ir::Flush::Local`].
    pub global: bool,
}

/// Physical memory as page walks see it. What is not RAM reads as the bus has it.
pub trait Physical {
    /// Reads a little-endian word of 4 or 8 bytes at an aligned address.
    fn load(&self, addr: u64, bytes: u32) -> u64;
    /// Sets bits in the word atomically if it still is `old`; tells whether it was.
    fn set_bits(&self, addr: u64, bytes: u32, old: u64, bits: u64) -> bool;
}

/// Something that happens to a processor between instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The instruction at the program counter faulted, or the one before it trapped.
    Trap(Trap),
    /// An external interrupt with that vector was acknowledged.
    Interrupt(u8),
    /// Not maskable.
    Nmi,
    /// System management.
    Smi,
    /// INIT: the processor starts again, or waits to be started.
    Init {
        /// Whether it is the one that starts the machine.
        boot: bool,
    },
    /// Start-up, with its vector.
    Start(u8),
    /// Address line 20 is driven (`true`) or held low, as the first PCs' software wants it.
    AddressLine20(bool),
}

/// What became of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivered {
    /// The state says where to go on.
    Done,
    /// The processor cannot go on: only a reset helps.
    Shutdown,
}

/// What a processor takes notice of at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wake {
    /// External interrupts.
    pub interrupt: bool,
    /// NMI.
    pub nmi: bool,
    /// SMI.
    pub smi: bool,
    /// Whether it waits for INIT and start-up and runs nothing until then.
    pub waits_for_start: bool,
    /// What the last instruction left to be raised before the next one (x86: single step, data breakpoints).
    pub trap: Option<Trap>,
}

/// A guest architecture with all that an operating system needs. It is a bundle of [`Guest`]s that share one layout of
/// the CPU state: one for each register table that its modes want. Everything about a processor is in its [`CpuState`].
pub trait SystemGuest: Send + Sync {
    /// The guests.
    fn lanes(&self) -> &[Arc<dyn Guest>];
    /// Which of them runs the code at the program counter. An instruction that may change it ends its region with a
    /// `Resync` exit.
    fn lane(&self, state: &CpuState) -> usize;
    /// How many contexts there are in which addresses may mean something else at the same time.
    fn contexts(&self) -> usize;
    /// The context of ordinary accesses: privilege as far as it decides what may be accessed.
    fn context(&self, state: &CpuState) -> usize;
    /// The context of accesses with the rights of the operating system.
    fn privileged_context(&self, state: &CpuState) -> usize;
    /// Translates an address, and notes in the guest's tables that it was used.
    ///
    /// # Errors
    /// What the guest sees instead of the access: a fault with `FaultCause::Guest`.
    fn translate(
        &self,
        state: &CpuState,
        memory: &dyn Physical,
        addr: u64,
        access: Access,
    ) -> Result<Mapping, MemFault>;
    /// Has the processor take an event: pushes frames, changes privilege, follows gates. Whatever goes wrong on the way
    /// is dealt with in here (x86: double and triple faults).
    fn deliver(&self, cx: &mut HelperCx<'_>, event: Event) -> Delivered;
    /// What the processor takes notice of.
    fn wake(&self, state: &CpuState) -> Wake;
    /// Puts a processor into the state after power-on; `index` is its number.
    fn reset(&self, state: &mut CpuState, index: u32);
}
