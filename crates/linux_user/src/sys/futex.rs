//! Futexes and the list of robust ones.

use crate::convert::Record;
use crate::convert::record::{Ulong, record};
use crate::convert::time::{Timespec, Timespec64};
use crate::errno::{EINVAL, ENOSYS, EPERM, Errno};
use crate::kernel::call;
use crate::memory::Access;
use crate::table::SysResult;
use crate::task::Cx;
use isamorph_ir::Memory;

/// Operations as the kernel numbers them, without the modifiers.
mod op {
    pub const WAIT: u64 = 0;
    pub const WAKE: u64 = 1;
    pub const REQUEUE: u64 = 3;
    pub const CMP_REQUEUE: u64 = 4;
    pub const WAKE_OP: u64 = 5;
    pub const LOCK_PI: u64 = 6;
    pub const UNLOCK_PI: u64 = 7;
    pub const TRYLOCK_PI: u64 = 8;
    pub const WAIT_BITSET: u64 = 9;
    pub const WAKE_BITSET: u64 = 10;
    pub const WAIT_REQUEUE_PI: u64 = 11;
    pub const CMP_REQUEUE_PI: u64 = 12;
    pub const LOCK_PI2: u64 = 13;
    pub const MODIFIERS: u64 = 128 | 256;
}

/// What the fourth argument of an operation is, and the second address.
struct Shape {
    /// Whether the fourth argument is a time; else it is a number.
    timeout: bool,
    /// Whether there is a second futex.
    second: bool,
    /// Whether the kernel writes to the (last) futex.
    writes: bool,
}

fn shape(operation: u64) -> Option<Shape> {
    let (timeout, second, writes) = match operation {
        op::WAIT | op::WAIT_BITSET => (true, false, false),
        op::WAKE | op::WAKE_BITSET => (false, false, false),
        op::REQUEUE | op::CMP_REQUEUE => (false, true, false),
        op::WAKE_OP | op::CMP_REQUEUE_PI => (false, true, true),
        op::LOCK_PI | op::LOCK_PI2 => (true, false, true),
        op::UNLOCK_PI | op::TRYLOCK_PI => (false, false, true),
        op::WAIT_REQUEUE_PI => (true, true, true),
        _ => return None,
    };
    Some(Shape { timeout, second, writes })
}

fn futex<T: Record + Into<Timespec64>>(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    let [addr, operation, value, fourth, addr2, value3] = args;
    let shape = shape(operation & !op::MODIFIERS).ok_or(ENOSYS)?;
    let time = if shape.timeout { cx.read_opt::<T>(fourth)?.map(Into::into) } else { None };
    let time = time.map(|Timespec64 { sec, nsec }| [sec, nsec.0]);
    let fourth = match &time {
        Some(time) => time.as_ptr() as u64,
        None if shape.timeout => 0,
        None => fourth,
    };
    let access = |writes| if writes { Access::Write } else { Access::Read };
    let first = word(cx, addr, access(shape.writes && !shape.second))?;
    let second = if shape.second { word(cx, addr2, access(shape.writes))? } else { 0 };
    cx.blocking_call(libc::SYS_futex, [first, operation, value, fourth, second, value3])
}

/// The host address of a futex. A null pointer is an address like any other here.
fn word(cx: &Cx, addr: u64, access: Access) -> Result<u64, Errno> {
    if !addr.is_multiple_of(4) {
        return Err(EINVAL);
    }
    if addr == 0 { Err(crate::errno::EFAULT) } else { cx.host_ptr(addr, 4, access) }
}

/// `futex(2)` with the guest's `time_t`.
///
/// # Errors
/// As the manual page says.
pub fn futex_time32(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    futex::<Timespec>(cx, args)
}

/// `futex(2)` with 64-bit times.
///
/// # Errors
/// As the manual page says.
pub fn futex_time64(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    futex::<Timespec64>(cx, args)
}

record! {
    /// `struct futex_waitv`, the same on every architecture.
    Waiter { value: u64, addr: u64, flags: u32, reserved: u32, }
    /// `struct robust_list_head`.
    RobustHead { next: Ulong, offset: crate::convert::record::Long, pending: Ulong, }
}

/// `futex_waitv(2)`.
///
/// # Errors
/// As the manual page says.
pub fn futex_waitv(cx: &mut Cx, [list, count, flags, timeout, clock, _]: [u64; 6]) -> SysResult {
    const MOST: u64 = 128;
    if count == 0 || count > MOST {
        return Err(EINVAL);
    }
    let mut host: Vec<[u64; 3]> = Vec::new();
    for w in cx.read_array::<Waiter>(list, count)? {
        let flags = u64::from(w.flags) | u64::from(w.reserved) << 32;
        host.push([w.value, word(cx, w.addr, Access::Read)?, flags]);
    }
    let time = cx.read_opt::<Timespec64>(timeout)?.map(|t| [t.sec, t.nsec.0]);
    let time = time.as_ref().map_or(0, |t| t.as_ptr() as u64);
    cx.blocking_call(libc::SYS_futex_waitv, [host.as_ptr() as u64, count, flags, time, clock])
}

/// `set_robust_list(2)`. The host's kernel cannot walk a list of the guest's layout: see [`release_robust`].
///
/// # Errors
/// `EINVAL` for another size than that of the structure.
pub fn set_robust_list(cx: &mut Cx, [head, len, ..]: [u64; 6]) -> SysResult {
    if len != RobustHead::size(cx.model()) as u64 {
        return Err(EINVAL);
    }
    cx.task.robust_list = head;
    Ok(0)
}

/// `get_robust_list(2)`, for the calling thread only.
///
/// # Errors
/// `EPERM` for another thread, `EFAULT`.
pub fn get_robust_list(cx: &mut Cx, [tid, head, len, ..]: [u64; 6]) -> SysResult {
    if tid != 0 && tid as i32 != cx.task.tid {
        return Err(EPERM);
    }
    cx.write_word(head, cx.task.robust_list)?;
    cx.write_word(len, RobustHead::size(cx.model()) as u64)?;
    Ok(0)
}

/// Most entries of a list that are looked at, as it may be circular.
const ROBUST_LIMIT: usize = 2048;
const OWNER_DIED: u32 = 1 << 30;
const WAITERS: u32 = 1 << 31;
const TID: u32 = OWNER_DIED - 1;

/// Marks the robust futexes that the thread still holds as left by a dead owner and wakes a waiter of each, as the
/// kernel does when a thread ends. What cannot be read ends the walk.
pub fn release_robust(cx: &Cx) {
    let list = cx.task.robust_list;
    if list == 0 {
        return;
    }
    let Ok(head) = cx.read::<RobustHead>(list) else { return };
    let mask = cx.state_table().addr_mask();
    let futex = |entry: u64| (entry & !1).wrapping_add(head.offset.0 as u64) & mask;
    let mut entry = head.next.0;
    for _ in 0..ROBUST_LIMIT {
        if entry & !1 == list {
            break;
        }
        let Ok(next) = cx.read_word(entry & !1) else { break };
        if entry != head.pending.0 {
            release_one(cx, futex(entry), entry & 1 != 0);
        }
        entry = next;
    }
    if head.pending.0 != 0 {
        release_one(cx, futex(head.pending.0), head.pending.0 & 1 != 0);
    }
}

fn release_one(cx: &Cx, addr: u64, inherits: bool) {
    let tid = cx.task.tid as u32;
    let mine = |word: u32| word & TID == tid;
    let update = |word: u128| {
        let old = word as u32;
        u128::from(if mine(old) { old & WAITERS | OWNER_DIED } else { old })
    };
    if let Ok(old) = cx.space().update(addr, 4, &mut { update })
        && mine(old as u32)
        && old as u32 & WAITERS != 0
        && !inherits
    {
        wake(cx, addr, 1);
    }
}

/// Wakes threads that wait for a futex of this process or a shared one.
pub fn wake(cx: &Cx, addr: u64, count: u64) {
    if let Ok(host) = word(cx, addr, Access::Read) {
        let _ = call(libc::SYS_futex, [host, op::WAKE, count]);
    }
}
