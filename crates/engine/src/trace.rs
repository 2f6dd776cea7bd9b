//! What the engine can tell about its work, for `-d`.

use bitflags::bitflags;
use std::time::Duration;

bitflags! {
    /// Kinds of messages.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Trace: u32 {
        /// Guest instructions that are translated.
        const IN_ASM = 1;
        /// Regions as lifted.
        const OP = 2;
        /// Regions as optimised.
        const OP_OPT = 4;
        /// Code as emitted.
        const OUT_ASM = 8;
        /// Every region that is executed, which is why they are not chained.
        const EXEC = 16;
        /// The registers before every region that is executed, which are not chained either.
        const CPU = 32;
        /// No message: regions are not chained.
        const NOCHAIN = 64;
        /// Exceptions, interrupts and other events that a machine's processors take.
        const INT = 128;
    }
}

/// Emitted code with what a log needs to make sense of it.
#[derive(Debug)]
pub struct HostCode<'a> {
    /// Guest address of the region.
    pub pc: u64,
    /// Host address at which the code was placed.
    pub address: usize,
    /// The code as emitted: displacements that lead outside of it are not filled in.
    pub bytes: &'a [u8],
    /// Guest instructions: (address, length, offset of their code).
    pub insns: &'a [(u64, u8, u32)],
    /// What it took to make the code, from the first guest byte to its place in the cache.
    pub took: Duration,
}

/// Where messages go. Nothing is formatted for kinds that are not wanted.
pub trait TraceSink: Send + Sync {
    /// The wanted kinds; asked once, when the engine is made.
    fn wanted(&self) -> Trace;
    /// Whether messages of that kind are wanted about the region at this guest address.
    fn selects(&self, _kind: Trace, _pc: u64) -> bool {
        true
    }
    /// Name of the function at a guest address, if that is known.
    fn symbol(&self, _pc: u64) -> Option<&str> {
        None
    }
    /// Text of any kind but `OUT_ASM` and `NOCHAIN`, several lines at once.
    fn text(&self, kind: Trace, text: &str);
    /// Emitted code (`OUT_ASM`).
    fn host_code(&self, code: &HostCode<'_>);
}

/// Wants nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTrace;

impl TraceSink for NoTrace {
    fn wanted(&self) -> Trace {
        Trace::empty()
    }
    fn text(&self, _: Trace, _: &str) {}
    fn host_code(&self, _: &HostCode<'_>) {}
}
