//! What a guest architecture must offer: registers, helpers, and lifting of its code to the IR.

mod system;

pub use system::{Access, AccessKind, Delivered, Event, Mapping, Physical, SystemGuest, Wake};

use isamorph_ir::{CpuState, Helper, RegTable, Region};

/// Where a front end reads guest code from.
pub trait CodeSource {
    /// Copies executable bytes at `pc` into `out`; returns how many could be read. Fewer than asked means that the
    /// next byte is not executable guest memory.
    fn fetch(&self, pc: u64, out: &mut [u8]) -> usize;
}

/// Bounds of one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most guest instructions; 1 makes a single step.
    pub max_insns: u32,
    /// Keep flags exact at every instruction that may fault, and do not look ahead at successors: the state that a
    /// fault shows is then exact in every bit. For debugging and differential tests.
    pub precise: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_insns: 64, precise: false }
    }
}

/// No byte at the program counter could be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchFault {
    /// The first address that could not be fetched.
    pub addr: u64,
}

/// A guest architecture. Implementations are stateless; everything about a vCPU is in its [`CpuState`].
pub trait Guest: Send + Sync {
    /// Registers and layout of the CPU state.
    fn table(&self) -> &'static RegTable;
    /// Helpers that lifted code calls; `HelperId` is the index.
    fn helpers(&self) -> &'static [Helper];
    /// What, besides the program counter, decides the meaning of the bytes there. An instruction that may change it
    /// ends its region with `ExitKind::Resync`.
    fn mode(&self, state: &CpuState) -> u64;
    /// The address of the instruction that a program counter names. Program counters may carry more than an address:
    /// bit 0 of an A32 one tells the instruction set.
    fn code_address(&self, pc: u64) -> u64 {
        pc
    }
    /// The bits of an address that a memory access looks at; the others are taken as zero. AArch64 ignores the top byte
    /// (DDI 0487, "Address tagging"); whether bit 55 is copied there makes no difference to a user program.
    fn address_mask(&self) -> u64 {
        u64::MAX
    }
    /// Lifts the code at `pc` into `region`. An encoding that is not lifted ends the region with the guest's
    /// undefined-instruction exception and is counted by name.
    ///
    /// # Errors
    /// The first instruction cannot be fetched.
    fn lift(
        &self,
        region: &mut Region,
        pc: u64,
        mode: u64,
        code: &dyn CodeSource,
        limits: Limits,
    ) -> Result<(), FetchFault>;
    /// Writes the instruction at the start of `bytes` as text; returns its length, at least 1.
    fn disassemble(&self, pc: u64, mode: u64, bytes: &[u8], out: &mut String) -> usize;
    /// Right shift of a program counter before it indexes the jump cache: log2 of the instruction alignment.
    fn pc_shift(&self) -> u32;
}
