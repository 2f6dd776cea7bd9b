//! The clock of the time-stamp counter.

use std::sync::OnceLock;
use std::time::Instant;

/// Frequency of the time-stamp counter, Hz.
pub const FREQUENCY: u64 = 1_000_000_000;

/// What every processor's counter counts, before its offset: nanoseconds since the first use.
pub fn ticks() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}
