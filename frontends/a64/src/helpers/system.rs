//! System registers.

use crate::state;
use isamorph_ir::{HelperCx, Trap};
use std::sync::OnceLock;
use std::time::Instant;

/// Frequency of the generic timer, CNTFRQ_EL0: 1 GHz, which Armv8.6 demands.
pub(crate) const COUNTER_HZ: u64 = 1_000_000_000;

/// The generic timer counts nanoseconds from the first use on.
pub(super) fn counter(_cx: &mut HelperCx<'_>, _: [u64; 3]) -> Result<u64, Trap> {
    static START: OnceLock<Instant> = OnceLock::new();
    Ok(START.get_or_init(Instant::now).elapsed().as_nanos() as u64)
}

pub(super) fn read_fpsr(cx: &mut HelperCx<'_>, _: [u64; 3]) -> Result<u64, Trap> {
    Ok(u64::from(state::fpsr(cx.state)))
}

pub(super) fn write_fpsr(cx: &mut HelperCx<'_>, [value, ..]: [u64; 3]) -> Result<u64, Trap> {
    state::set_fpsr(cx.state, value as u32);
    Ok(0)
}

pub(super) fn write_fpcr(cx: &mut HelperCx<'_>, [value, ..]: [u64; 3]) -> Result<u64, Trap> {
    state::set_fpcr(cx.state, value as u32);
    Ok(0)
}
