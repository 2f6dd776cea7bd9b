//! Tests that need more than one crate: whole programs under the finished emulator.

pub mod arch;
pub mod emulator;
pub mod guests;
pub mod native;
pub mod programs;
