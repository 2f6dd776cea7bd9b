//! Scheduling.

use super::forward::forward;
use crate::convert::time::{Timespec, Timespec64};
use crate::errno::EINVAL;
use crate::kernel::call;
use crate::memory::Access;
use crate::table::SysResult;
use crate::task::Cx;

forward! {
    /// `sched_setparam(2)`.
    fn sched_setparam = call SYS_sched_setparam(Val, InBytes(4));
    /// `sched_getparam(2)`.
    fn sched_getparam = call SYS_sched_getparam(Val, OutBytes(4));
    /// `sched_setscheduler(2)`.
    fn sched_setscheduler = call SYS_sched_setscheduler(Val, Val, InBytes(4));
    /// `sched_rr_get_interval(2)` with the guest's `time_t`.
    fn sched_rr_get_interval_time32 = call SYS_sched_rr_get_interval(Val, Put(Codec::of::<Timespec>()));
    /// `sched_rr_get_interval(2)` with 64-bit times.
    fn sched_rr_get_interval_time64 = call SYS_sched_rr_get_interval(Val, Put(Codec::of::<Timespec64>()));
    /// `sched_setaffinity(2)`.
    fn sched_setaffinity = call SYS_sched_setaffinity(Val, Val, In(1));
    /// `sched_getattr(2)`; the structure is the same everywhere.
    fn sched_getattr = call SYS_sched_getattr(Val, Out(2), Val, Val);
    /// `getcpu(2)`; its third argument has no meaning any more.
    fn getcpu = call SYS_getcpu(OutBytes(4), OutBytes(4), Skip);
}

/// `sched_setattr(2)`. The structure begins with its size; 0 stands for that of the first version.
///
/// # Errors
/// As the manual page says.
pub fn sched_setattr(cx: &mut Cx, [pid, attr, flags, ..]: [u64; 6]) -> SysResult {
    const FIRST: u32 = 48;
    let size = match cx.read::<u32>(attr)? {
        0 => FIRST,
        size => size.min(4096),
    };
    let attr = cx.host_ptr(attr, size.into(), Access::Read)?;
    call(libc::SYS_sched_setattr, [pid, attr, flags])
}

/// `sched_getaffinity(2)`: the size of a guest's mask is a multiple of the guest's word, not of the host's.
///
/// # Errors
/// As the manual page says.
pub fn sched_getaffinity(cx: &mut Cx, [pid, len, out, ..]: [u64; 6]) -> SysResult {
    let mut mask = [0u64; 128];
    let have = call(libc::SYS_sched_getaffinity, [pid, size_of_val(&mask) as u64, mask.as_mut_ptr() as u64])?;
    let used = mask.iter().rposition(|w| *w != 0).map_or(0, |i| (64 * i + 64 - mask[i].leading_zeros() as usize) / 8);
    if len % cx.model().long as u64 != 0 || len < used as u64 {
        return Err(EINVAL);
    }
    let len = len.min(have);
    let bytes: Vec<u8> = mask.iter().flat_map(|w| w.to_le_bytes()).take(len as usize).collect();
    cx.write_bytes(out, &bytes)?;
    Ok(len)
}

/// `nice(2)`.
///
/// # Errors
/// As the manual page says.
pub fn nice(_: &mut Cx, [increment, ..]: [u64; 6]) -> SysResult {
    const OFFSET: i64 = 20;
    // The call returns 20 − nice, so that it is never negative.
    let current = OFFSET - call(libc::SYS_getpriority, [0, 0])? as i64;
    let wanted = (current + (increment as i64).clamp(-40, 40)).clamp(-20, 19);
    call(libc::SYS_setpriority, [0, 0, wanted as u64])
}
