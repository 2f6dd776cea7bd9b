//! The contract between whatever runs guest code (JIT, interpreter, a hypervisor) and the loop that serves its exits.

mod wires;

pub use wires::{Controller, Signals, Wires};

use isamorph_ir::{CpuState, Trap};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// Why a vCPU stopped running guest code. The program counter in the state says where it goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// A system-call instruction; the program counter is after it. The code tells which instruction it was, in the
    /// guest's own numbering.
    Syscall(u32),
    /// An exception. For a fault the program counter is at the instruction, and no part of it took effect; for a trap
    /// it is after it.
    Trap(Trap),
    /// The exit request was set; it has been cleared.
    Interrupted,
    /// The program counter is at a breakpoint ([`Accel::set_breakpoint`]); its instruction has not run.
    Breakpoint,
    /// The processor halted until an interrupt; the program counter is after the instruction.
    Halt,
}

/// One virtual processor, owned by the host thread that runs it.
pub trait Vcpu {
    /// Runs guest code until something needs the caller.
    fn run(&mut self) -> Stop;
    /// Runs one instruction, breakpoint or not; nothing if nothing stopped it.
    fn step(&mut self) -> Option<Stop>;
    /// The state. All registers are in it except the floating-point ones, see [`Vcpu::sync_fpu`].
    fn state(&self) -> &CpuState;
    /// The state, writable; changes take effect at the next run.
    fn state_mut(&mut self) -> &mut CpuState;
    /// Brings x87, vector registers and the floating-point control register into the state's save image. Needed before
    /// the image is read or written; [`Vcpu::run`] loads the image again.
    fn sync_fpu(&mut self);
    /// The word that asks the vCPU to stop at its next safepoint when set to non-zero. It is valid as long as the vCPU
    /// is; signal handlers and other threads may store to it.
    fn exit_request(&self) -> *const AtomicU32;
}

/// Why a processor of a machine stopped running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// [`Signals::ATTENTION`] is pending.
    Attention,
    /// It halted, and nothing that would wake it is pending. Running it again goes on waiting or wakes up.
    Halted,
    /// The program counter is at a breakpoint; its instruction has not run.
    Breakpoint,
    /// It cannot go on (x86: triple fault); only a reset helps.
    Shutdown,
    /// Whatever runs it cannot go on, and said why on the log.
    Failed,
}

/// A processor of a machine, owned by the host thread that runs it. It takes interrupts and delivers the guest's
/// exceptions itself, and serves accesses to devices by the machine's address spaces.
pub trait Processor {
    /// Runs until something needs the caller.
    fn run(&mut self) -> Left;
    /// Runs one instruction, breakpoint or not, whether or not [`Signals::ATTENTION`] is pending; nothing if nothing
    /// stopped it.
    fn step(&mut self) -> Option<Left>;
    /// The state, complete.
    fn state(&mut self) -> &CpuState;
    /// The state, complete and writable; changes take effect at the next run, whatever they are.
    fn state_mut(&mut self) -> &mut CpuState;
    /// The physical address of a virtual one, as the processor would read it now; for debuggers, without any effect.
    fn translate(&mut self, addr: u64) -> Option<u64>;
}

/// Makes the processors of a machine.
pub trait Processors: Send + Sync {
    /// Processor `index` of the machine, for the calling thread, in that state.
    ///
    /// # Errors
    /// What the host refuses, as text.
    fn processor(&self, index: u32, state: Box<CpuState>, wires: Arc<Wires>) -> Result<Box<dyn Processor>, String>;
    /// From now on [`Processor::run`] stops before the instruction at that linear address, or no longer.
    fn set_breakpoint(&self, addr: u64, on: bool);
    /// What it has done so far, as the monitor shows it.
    fn describe(&self) -> String {
        format!("accelerator: {}\n", self.name())
    }
    /// Name, as `-accel` takes it.
    fn name(&self) -> &'static str;
}

/// Makes vCPUs and drops stale translations.
pub trait Accel: Send + Sync {
    /// A vCPU with that state, for the calling thread.
    fn vcpu(&self, state: Box<CpuState>) -> Box<dyn Vcpu>;
    /// Forgets translations of guest code in `start .. start + len`. Called after a mapping changed.
    fn invalidate(&self, start: u64, len: u64);
    /// From now on [`Vcpu::run`] stops before the instruction at that program counter, or no longer.
    fn set_breakpoint(&self, pc: u64, on: bool);
    /// Takes every internal lock around `fork`, so that the child finds consistent structures, and releases them.
    fn with_quiescence(&self, fork: &mut dyn FnMut());
    /// Name, as `-accel` takes it.
    fn name(&self) -> &'static str;
}
