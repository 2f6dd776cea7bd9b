//! What running code needs from its surroundings: memory, faults and helpers.

use crate::region::ExceptionCode;
use crate::state::{CpuState, RegId};

/// An access that guest memory refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemFault {
    /// First guest address that could not be accessed.
    pub addr: u64,
    /// Whether it was a write.
    pub write: bool,
    /// What was wrong.
    pub cause: FaultCause,
}

/// Why an access was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultCause {
    /// Nothing is mapped there.
    Unmapped,
    /// The mapping does not allow it.
    Protected,
    /// The mapping has no backing (past the end of a file).
    NoBacking,
    /// The address is not aligned as the access demands.
    Misaligned,
    /// The guest's own translation of addresses refuses it, with this exception in the guest's numbering.
    Guest {
        /// Which exception.
        code: ExceptionCode,
        /// Its argument (error code).
        arg: u64,
    },
}

/// Guest memory as the interpreter and helpers see it. Addresses are guest virtual addresses.
///
/// An access that crosses into a bad page fails as a whole, with the first bad address.
pub trait Memory {
    /// Reads `out.len()` bytes.
    fn read(&self, addr: u64, out: &mut [u8]) -> Result<(), MemFault>;
    /// Writes the bytes; translated code that they overlap is dropped.
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), MemFault>;
    /// Atomically replaces `bytes` (1, 2, 4, 8 or 16) little-endian bytes by `f` of them; returns the old value.
    fn update(&self, addr: u64, bytes: u32, f: &mut dyn FnMut(u128) -> u128) -> Result<u128, MemFault>;
    /// The machine that the memory is in; a user program sees none.
    fn system(&self) -> Option<&dyn System> {
        None
    }
}

/// A guest exception in the making.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trap {
    /// A memory access failed.
    Memory(MemFault),
    /// An exception of the guest's own numbering.
    Exception {
        /// Which one.
        code: ExceptionCode,
        /// Its argument (error code).
        arg: u64,
    },
    /// A divide error: division by zero or quotient overflow in a division op.
    Divide,
    /// An unmasked floating-point exception.
    Float(FloatUnit),
}

/// Whose floating-point exception it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FloatUnit {
    /// The x87 unit's: pending since an earlier instruction.
    X87,
    /// That of the unit for scalar and vector operations.
    Vector,
}

impl From<MemFault> for Trap {
    fn from(fault: MemFault) -> Self {
        Trap::Memory(fault)
    }
}

/// Which cached translations of guest addresses no longer hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flush {
    /// All.
    All,
    /// All but those that the guest marked as global.
    Local,
    /// Those of the page at that virtual address, global or not.
    Page(u64),
    /// None; but the privilege has changed with which addresses are looked up.
    Context,
}

/// The machine around a processor, as privileged instructions reach it. A guest program in user mode has none.
pub trait System {
    /// Reads guest virtual memory with the rights of the operating system, whatever the current privilege: descriptor
    /// tables, task states.
    fn read_privileged(&self, addr: u64, out: &mut [u8]) -> Result<(), MemFault>;
    /// Writes it; as [`Memory::write`].
    fn write_privileged(&self, addr: u64, data: &[u8]) -> Result<(), MemFault>;
    /// Reads guest physical memory; what is not there reads as the bus has it.
    fn read_physical(&self, addr: u64, out: &mut [u8]);
    /// Writes guest physical memory.
    fn write_physical(&self, addr: u64, data: &[u8]);
    /// Reads an I/O port; `bytes` is 1, 2 or 4.
    fn port_in(&self, port: u16, bytes: u32) -> u32;
    /// Writes an I/O port.
    fn port_out(&self, port: u16, bytes: u32, value: u32);
    /// Drops translations of addresses. Called before the instruction ends, after the state that decides them changed.
    fn flush(&self, state: &mut CpuState, what: Flush);
    /// Reads a register of the processor's own interrupt controller (x86: by MSR number, or [`CONTROLLER_PRIORITY`]).
    /// Nothing if there is no such register.
    fn controller_read(&self, register: u32) -> Option<u64>;
    /// Writes one; nothing if there is no such register or it refuses the value.
    fn controller_write(&self, register: u32, value: u64) -> Option<()>;
}

/// The number under which [`System::controller_read`] knows the task priority (x86: CR8).
pub const CONTROLLER_PRIORITY: u32 = u32::MAX;

/// What a helper gets: the state, synchronised as its descriptor says, and memory.
pub struct HelperCx<'a> {
    /// The vCPU's state.
    pub state: &'a mut CpuState,
    /// Guest memory.
    pub mem: &'a dyn Memory,
}

/// Number of a helper in its guest's helper table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HelperId(pub u16);

/// The code of a helper. A trap must leave the guest's registers as the manual says for a faulting instruction.
pub type HelperFn = fn(&mut HelperCx<'_>, [u64; 3]) -> Result<u64, Trap>;

/// A row of a guest's helper table.
#[derive(Clone, Copy, Debug)]
pub struct Helper {
    /// Name in the text form.
    pub name: &'static str,
    /// The code.
    pub run: HelperFn,
    /// Whether it reads or writes the FXSAVE image (x87, MMX, SSE registers, MXCSR); if not, those registers are
    /// merely preserved around it.
    pub fpu: bool,
    /// The string operation that it is, for hosts that have an instruction for it.
    pub string: Option<StringOp>,
}

/// A helper that copies or fills memory, one element after the other, and counts in registers. A fault leaves the
/// registers at the element that could not be accessed; the flags stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StringOp {
    /// Copies from where `source` points; else stores the low bytes of `source` itself.
    pub copy: bool,
    /// Size of an element: 1, 2, 4 or 8 bytes.
    pub bytes: u32,
    /// Points to the destination, and moves with it.
    pub destination: RegId,
    /// Points to the source and moves with it, or is what is stored.
    pub source: RegId,
    /// Elements left; 0 at the end.
    pub count: RegId,
    /// 1 for upward. Anything else is downward.
    pub direction: RegId,
}
