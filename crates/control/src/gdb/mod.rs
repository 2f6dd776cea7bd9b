//! The gdb stub, of user mode and of machines.
//!
//! * [`Threads`] is where guest threads and the stub meet: threads come to it between instructions and wait there with
//!   a copy of their registers; the stub looks at the copies and tells the threads how to go on. When one stops, all
//!   do.
//! * `target` is the process as the `gdbstub` crate wants to see it, `registers` the tables of what gdb calls
//!   registers.
//! * `machine` does for a machine what `threads` and `target` do for a process.
//! * [`Server`] accepts the connection and speaks with gdb on a thread of its own.
//!
//! A thread that is inside a system call counts as stopped: its registers are those with which it made the call. It
//! stops when it comes back.

mod machine;
mod registers;
mod server;
mod target;
mod threads;

pub use machine::serve as serve_machine;
pub use server::{Address, Process, Server};
pub use threads::Threads;
