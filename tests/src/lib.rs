//! Tests that need more than one crate: whole programs under the finished emulator.

pub mod emulator;
pub mod native;
pub mod programs;
