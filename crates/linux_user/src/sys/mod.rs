//! The handlers of system calls, by subject. They take canonical arguments (see [`crate::table::Arg`]) and work for
//! every guest architecture.

pub mod emulator;
pub mod exec;
pub mod forward;
pub mod fs;
pub mod futex;
pub mod ident;
pub mod io;
pub mod ioctl;
pub mod ioctl_table;
pub mod ipc;
pub mod limits;
pub mod misc;
pub mod mm;
pub mod net;
pub mod poll;
pub mod proc_files;
pub mod process;
pub mod sched;
pub mod seccomp;
pub mod signal;
pub mod time;

#[cfg(test)]
mod process_tests;
#[cfg(test)]
mod tests;
