//! Control from outside: the gdb stub, the human monitor, QMP.

pub mod gdb;
pub mod monitor;
pub mod qmp;
