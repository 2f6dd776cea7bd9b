//! Control from outside: the gdb stub.

pub mod gdb;
