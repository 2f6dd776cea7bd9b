//! Processes and threads of the guest, and the context that system calls get.

use crate::Options;
use crate::abi::{Abi, FaultRecord};
use crate::convert::Model;
use crate::convert::path::Sysroot;
use crate::debug::Going;
use crate::signal::{Sighand, TaskSignals};
use crate::sync::Mutex;
use crate::sys::seccomp;
use isamorph_accel::{Accel, Vcpu};
use isamorph_ir::{CpuState, RegTable};
use isamorph_ram::UserSpace;
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What the threads of a guest process share.
pub struct Process {
    /// What the command was asked for.
    pub options: Options,
    /// The architecture.
    pub abi: &'static dyn Abi,
    /// Guest memory.
    pub space: Arc<UserSpace>,
    /// Runs the code.
    pub accel: Arc<dyn Accel>,
    /// The program's file, absolute, as the guest sees it in `/proc/self/exe`.
    pub exe: PathBuf,
    /// Where files of the guest are looked for first.
    pub sysroot: Option<Sysroot>,
    /// The heap that `brk` moves the end of.
    pub brk: Mutex<Brk>,
    /// Address of the signal return trampolines.
    pub trampoline: u64,
    /// Bits of `personality` that the guest set; the host's stays as it is.
    pub personality: AtomicU64,
    /// Limits that are kept here instead of being set on the host, see [`crate::sys::limits`].
    pub limits: Mutex<[Option<(u64, u64)>; 2]>,
    /// Filters of system calls that a thread set for all.
    pub seccomp: seccomp::Shared,
    /// Threads that have not ended.
    pub threads: AtomicU32,
    /// Where the initial stack, arguments and environment are, for `/proc/self` files.
    pub image: ImageRanges,
}

/// Addresses that the kernel keeps about a program's image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageRanges {
    /// Stack pointer at the start.
    pub start_stack: u64,
    /// Lowest address of the initial stack's mapping.
    pub stack_low: u64,
    /// One past its highest.
    pub stack_high: u64,
    /// The auxiliary vector: start and length.
    pub auxv: (u64, u64),
    /// The argument strings: start and length.
    pub args: (u64, u64),
}

/// The program break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brk {
    /// Where the heap starts; it does not shrink below.
    pub start: u64,
    /// Its end.
    pub end: u64,
}

/// A guest thread; it is one host thread, with the same thread id.
pub struct Task {
    /// Thread id.
    pub tid: i32,
    /// Where a zero is written and a waiter woken when the thread exits; 0 for nowhere.
    pub clear_child_tid: u64,
    /// Head of the list of robust futexes; 0 for none.
    pub robust_list: u64,
    /// Signals: mask, alternate stack, what is pending.
    pub signals: TaskSignals,
    /// What signals do. Shared by the threads of a process; a `vfork` child has its own copy.
    pub sighand: Arc<Sighand>,
    /// Filters of its system calls.
    pub seccomp: seccomp::Own,
    /// The last exception.
    pub fault: FaultRecord,
    /// Whether this thread is a `vfork` child that borrows its parent's memory.
    pub vforked: bool,
    /// Memory that an `execve` needed; a `vfork` child leaves it to its parent to free.
    pub exec_memory: Vec<CString>,
    /// What its debugger told it.
    pub going: Going,
    /// The status with which the thread ends, once it has made its `exit` call.
    pub exited: Option<i32>,
}

impl Task {
    /// The calling thread.
    pub fn new(signals: TaskSignals, sighand: Arc<Sighand>) -> Self {
        Task {
            tid: isamorph_host::signal::gettid(),
            clear_child_tid: 0,
            robust_list: 0,
            signals,
            sighand,
            seccomp: seccomp::Own::default(),
            fault: FaultRecord::default(),
            vforked: false,
            exec_memory: Vec::new(),
            going: Going::default(),
            exited: None,
        }
    }
}

/// The thread that runs: everything a system call works on. Each host thread owns its own.
pub struct Cx {
    /// The process.
    pub process: Arc<Process>,
    /// The thread.
    pub task: Task,
    /// Its processor.
    pub vcpu: Box<dyn Vcpu>,
}

impl Process {
    /// Runs `fork`, with the locks held that a child would otherwise find taken by threads that it does not have.
    pub fn task_locks(&self, task: &Task, fork: impl FnOnce()) {
        task.sighand.with_lock(|| match &self.sysroot {
            Some(root) => root.with_lock(fork),
            None => fork(),
        });
    }
}

impl Cx {
    /// Makes this the guest thread of the calling host thread: signals for it are noted from here on.
    pub fn attach(&self) {
        self.task.signals.pending().attach(self.vcpu.exit_request());
    }
    /// The architecture.
    pub fn abi(&self) -> &'static dyn Abi {
        self.process.abi
    }
    /// The data model of the guest's structures.
    pub fn model(&self) -> Model {
        self.process.abi.model()
    }
    /// Guest memory.
    pub fn space(&self) -> &UserSpace {
        &self.process.space
    }
    /// The options of the run.
    pub fn options(&self) -> &Options {
        &self.process.options
    }
    /// The table of the processor's registers.
    pub fn state_table(&self) -> &'static RegTable {
        self.process.abi.guest().table()
    }
    /// The processor's registers.
    pub fn state(&self) -> &CpuState {
        self.vcpu.state()
    }
    /// The processor's registers, writable.
    pub fn state_mut(&mut self) -> &mut CpuState {
        self.vcpu.state_mut()
    }
    /// The guest's stack pointer.
    pub fn stack_pointer(&self) -> u64 {
        self.abi().stack_pointer(self.state())
    }
    /// The personality that the guest chose.
    pub fn personality(&self) -> u64 {
        self.process.personality.load(Ordering::Relaxed)
    }
}
