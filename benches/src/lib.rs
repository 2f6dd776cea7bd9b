//! Benchmarks: how fast translated code runs (`exec`), and how fast it is translated (`translate`).

/// The table of the tests, on which this crate cannot depend.
#[path = "../../tests/src/arch.rs"]
pub mod arch;
pub mod exec;
pub mod translate;
