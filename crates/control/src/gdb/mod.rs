//! The gdb stub of user mode.
//!
//! * [`Threads`] is where guest threads and the stub meet: threads come to it between instructions and wait there with
//!   a copy of their registers; the stub looks at the copies and tells the threads how to go on. When one stops, all
//!   do.
//! * `target` is the process as the `gdbstub` crate wants to see it, `registers` the tables of what gdb calls
//!   registers.
//! * [`Server`] accepts the connection and speaks with gdb on a thread of its own.
//!
//! A thread that is inside a system call counts as stopped: its registers are those with which it made the call. It
//! stops when it comes back.

mod registers;
mod server;
mod target;
mod threads;

pub use server::{Address, Process, Server};
pub use threads::Threads;
