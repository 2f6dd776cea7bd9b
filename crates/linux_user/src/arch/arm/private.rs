//! The calls that only Arm has (arch/arm/kernel/traps.c, `arm_syscall`).

use super::{get, set, svc_len};
use crate::errno::{EINVAL, NO_RESULT};
use crate::signal::info::SigInfo;
use crate::table::SysResult;
use crate::task::Cx;
use isamorph_arm::state::TPIDRURO;

/// `TRAP_BRKPT`.
const TRAP_BRKPT: i32 = 1;

/// A breakpoint: the signal of one, at the call.
///
/// # Errors
/// None.
pub fn breakpoint(cx: &mut Cx, _: [u64; 6]) -> SysResult {
    let pc = cx.state().pc();
    let at = pc.wrapping_sub(svc_len(pc));
    cx.state_mut().set_pc(at);
    cx.force(SigInfo::fault(libc::SIGTRAP, TRAP_BRKPT, at & !1));
    Err(NO_RESULT)
}

/// Tells the processor that code was written. Translations of what is written are dropped without that.
///
/// # Errors
/// `EINVAL` for flags, or an end before the start.
pub fn cacheflush(_: &mut Cx, [start, end, flags, ..]: [u64; 6]) -> SysResult {
    if end < start || flags != 0 { Err(EINVAL) } else { Ok(0) }
}

/// Sets the thread pointer.
///
/// # Errors
/// None.
pub fn set_tls(cx: &mut Cx, [pointer, ..]: [u64; 6]) -> SysResult {
    set(cx.state_mut(), TPIDRURO, pointer);
    Ok(0)
}

/// The thread pointer.
///
/// # Errors
/// None.
pub fn get_tls(cx: &mut Cx, _: [u64; 6]) -> SysResult {
    Ok(get(cx.state(), TPIDRURO))
}
