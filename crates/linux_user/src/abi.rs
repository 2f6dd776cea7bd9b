//! What the Linux interface of a guest architecture must say about itself. Everything else is shared.

use crate::convert::Model;
use crate::convert::misc::Layouts;
use crate::errno::Errno;
use crate::signal::frame::Delivery;
use crate::signal::info::SigInfo;
use crate::table::{SysResult, SyscallTable};
use crate::task::Cx;
use isamorph_guest::Guest;
use isamorph_ir::{CpuState, Trap};
use std::sync::Arc;

/// Where things are in a process's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// One past the highest address that a program may use.
    pub end: u64,
    /// Top of the initial stack.
    pub stack_top: u64,
    /// Where a position-independent program is loaded.
    pub pie_base: u64,
    /// Size of a page, bytes.
    pub page: u64,
    /// Smallest stack that a signal handler can run on (`AT_MINSIGSTKSZ`).
    pub signal_stack: u64,
}

/// A fault as signal frames and core files show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRecord {
    /// Number of the exception in the guest's own numbering.
    pub number: u32,
    /// Its error code.
    pub error: u32,
    /// The address of the last failed memory access.
    pub addr: u64,
}

/// A guest architecture as Linux sees it. Implementations are stateless.
pub trait Abi: Send + Sync {
    /// Name, as in `isamorph-NAME` and in `uname -m` style names of the command.
    fn name(&self) -> &'static str;
    /// `uname` machine.
    fn machine(&self) -> &'static str;
    /// The front end.
    fn guest(&self) -> Arc<dyn Guest>;
    /// The data model of structures.
    fn model(&self) -> Model {
        self.layouts().model
    }
    /// What its structures and flags look like.
    fn layouts(&self) -> &'static Layouts;
    /// ELF machine number of its programs (`e_machine`).
    fn elf_machine(&self) -> u16;
    /// Address-space layout.
    fn layout(&self) -> Layout;
    /// The system calls.
    fn calls(&self) -> &'static SyscallTable;
    /// Values of `AT_HWCAP` and `AT_HWCAP2`.
    fn hwcap(&self) -> [u64; 2];
    /// Value of `AT_PLATFORM`.
    fn platform(&self) -> &'static str;
    /// What `/proc/cpuinfo` says; none for what the host's says.
    fn cpuinfo(&self) -> Option<String> {
        None
    }
    /// Code of a page with the signal return trampolines of programs that bring none.
    fn trampoline(&self) -> &'static [u8];
    /// A page at a fixed address with code of the kernel that programs call, and what is in it.
    fn fixed_page(&self) -> Option<(u64, Vec<u8>)> {
        None
    }

    /// The state in which a program starts at `entry` with the stack at `sp`.
    fn start(&self, entry: u64, sp: u64) -> Box<CpuState>;
    /// Number and argument registers of the system call that instruction `code` makes, or `None` if that instruction
    /// is not the system-call instruction of Linux programs.
    fn syscall(&self, state: &CpuState, code: u32) -> Option<(u64, [u64; 6])>;
    /// Stores the result of a system call.
    fn set_result(&self, state: &mut CpuState, result: SysResult);
    /// Goes back to the system-call instruction, so that it makes call `nr` (again).
    fn restart(&self, state: &mut CpuState, nr: u64);
    /// The call number that makes an interrupted, restartable call continue (`restart_syscall`).
    fn restart_nr(&self) -> u64;
    /// The stack pointer.
    fn stack_pointer(&self, state: &CpuState) -> u64;
    /// Sets the stack pointer.
    fn set_stack_pointer(&self, state: &mut CpuState, sp: u64);
    /// Sets the thread pointer of a new thread as `CLONE_SETTLS` asks.
    ///
    /// # Errors
    /// The argument is a bad address, or what is there is not valid.
    fn set_tls(&self, cx: &Cx, state: &mut CpuState, arg: u64) -> Result<(), Errno>;
    /// The signal of an exception, with its siginfo. `last` is the record of the exception before, of which an
    /// exception without an address keeps the address.
    fn trap(&self, state: &CpuState, trap: Trap, last: FaultRecord) -> (SigInfo, FaultRecord);
    /// Serves a jump to an address at which the kernel has code that is not in the guest's memory; the program counter
    /// is there. `false` if there is none.
    fn enter_kernel_page(&self, _: &mut Cx) -> bool {
        false
    }
    /// Builds a signal frame on the guest's stack and enters the handler.
    ///
    /// # Errors
    /// The stack cannot be written.
    fn push_frame(&self, cx: &mut Cx, delivery: &Delivery) -> Result<(), Errno>;
    /// Takes the frame at the stack pointer down again and restores what it holds; `rt` says which kind it is. Returns
    /// the value that the result register must have.
    ///
    /// # Errors
    /// The stack cannot be read, or what is there is no valid frame.
    fn pop_frame(&self, cx: &mut Cx, rt: bool) -> SysResult;
}

/// The architecture of an ELF file by its `e_machine` and class.
pub fn by_elf(machine: u16, class: u8) -> Option<&'static dyn Abi> {
    crate::arch::ALL.iter().copied().find(|abi| {
        let bits = if abi.model().long == 8 { 2 } else { 1 };
        abi.elf_machine() == machine && bits == class
    })
}
