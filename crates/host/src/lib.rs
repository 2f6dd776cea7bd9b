//! The host: everything that needs raw host calls, host registers or host instructions lives here, behind interfaces
//! that are safe or whose contract is written down.
//!
//! The host is x86-64 Linux.

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("this host is not supported yet: x86-64 Linux only");

pub mod copy;
pub mod cpu;
pub mod dual;
pub mod fault;
pub mod fpexec;
pub mod fpu;
pub mod map;
pub mod signal;
pub mod sparse;
pub mod table;

pub use map::Errno;
