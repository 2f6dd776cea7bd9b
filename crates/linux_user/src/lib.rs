//! Linux user mode: runs a Linux program of another architecture as a process of this kernel.
//!
//! * [`table`] is the format of the system-call tables, `arch` has one per architecture, [`sys`] the handlers that they
//!   share, [`convert`] the conversions between the guest's and the host's structures.
//! * [`task`] has processes, threads and the context [`task::Cx`] that a system call works on; [`memory`] its access
//!   to guest memory, [`kernel`] its calls of the host kernel.
//! * [`elf`] and [`stack`] set a program up; [`run`] starts it, [`cpu_loop`] serves what its code asks for.
//! * [`signal`] carries signals in both directions.
//!
//! A guest thread is a host thread and a guest process a host process; signals are blocked, queued and sent by the host
//! kernel. The layer adds what differs: layouts, numbers, frames, and the restart of interrupted calls.

pub mod abi;
pub mod arch;
pub mod convert;
pub mod cpu_loop;
pub mod debug;
pub mod elf;
pub mod errno;
pub mod kernel;
pub mod memory;
pub mod run;
pub mod signal;
pub mod stack;
pub mod strace;
pub mod sync;
pub mod sys;
pub mod table;
pub mod task;
#[cfg(test)]
pub(crate) mod testing;

pub use errno::Errno;
pub use run::{Options, StartError, run};
