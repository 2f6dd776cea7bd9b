//! Benchmarks: how fast translated code runs (`exec`), and how fast it is translated (`translate`).

pub mod exec;
pub mod translate;
