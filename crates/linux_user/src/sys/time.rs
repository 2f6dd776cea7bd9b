//! Clocks, sleeping and timers.

use super::forward::forward;
use crate::convert::Buffer;
use crate::convert::record::{Long, Record};
use crate::convert::time::{
    Itimerspec, Itimerspec64, Itimerval, SIGEVENT_SIZE, Sigevent, Timespec, Timespec64, Timeval, Timex, Timezone, Tms,
};
use crate::errno::{EINTR, EINVAL, Errno};
use crate::kernel::{call, clock_gettime as clock_gettime_host};
use crate::table::SysResult;
use crate::task::Cx;

forward! {
    /// `clock_settime(2)` with the guest's `time_t`.
    fn clock_settime = call SYS_clock_settime(Val, Get(Codec::of::<Timespec>()));
    /// `clock_settime(2)` with 64-bit times.
    fn clock_settime64 = call SYS_clock_settime(Val, Get(Codec::of::<Timespec64>()));
    /// `clock_getres(2)` with the guest's `time_t`.
    fn clock_getres = call SYS_clock_getres(Val, Put(Codec::of::<Timespec>()));
    /// `clock_getres(2)` with 64-bit times.
    fn clock_getres_time64 = call SYS_clock_getres(Val, Put(Codec::of::<Timespec64>()));
    /// `gettimeofday(2)`.
    fn gettimeofday = call SYS_gettimeofday(Put(Codec::of::<Timeval>()), Put(Codec::of::<Timezone>()));
    /// `settimeofday(2)`.
    fn settimeofday = call SYS_settimeofday(Get(Codec::of::<Timeval>()), Get(Codec::of::<Timezone>()));
    /// `times(2)`.
    fn times = call SYS_times(Put(Codec::of::<Tms>()));
    /// `getitimer(2)`.
    fn getitimer = call SYS_getitimer(Val, Put(Codec::of::<Itimerval>()));
    /// `setitimer(2)`.
    fn setitimer = call SYS_setitimer(Val, Get(Codec::of::<Itimerval>()), Put(Codec::of::<Itimerval>()));
    /// `timer_settime(2)` with the guest's `time_t`.
    fn timer_settime = call SYS_timer_settime(
        Val, Val, Get(Codec::of::<Itimerspec>()), Put(Codec::of::<Itimerspec>())
    );
    /// `timer_settime(2)` with 64-bit times.
    fn timer_settime64 = call SYS_timer_settime(
        Val, Val, Get(Codec::of::<Itimerspec64>()), Put(Codec::of::<Itimerspec64>())
    );
    /// `timer_gettime(2)` with the guest's `time_t`.
    fn timer_gettime = call SYS_timer_gettime(Val, Put(Codec::of::<Itimerspec>()));
    /// `timer_gettime(2)` with 64-bit times.
    fn timer_gettime64 = call SYS_timer_gettime(Val, Put(Codec::of::<Itimerspec64>()));
    /// `timerfd_settime(2)` with the guest's `time_t`.
    fn timerfd_settime = call SYS_timerfd_settime(
        Val, Val, Get(Codec::of::<Itimerspec>()), Put(Codec::of::<Itimerspec>())
    );
    /// `timerfd_settime(2)` with 64-bit times.
    fn timerfd_settime64 = call SYS_timerfd_settime(
        Val, Val, Get(Codec::of::<Itimerspec64>()), Put(Codec::of::<Itimerspec64>())
    );
    /// `timerfd_gettime(2)` with the guest's `time_t`.
    fn timerfd_gettime = call SYS_timerfd_gettime(Val, Put(Codec::of::<Itimerspec>()));
    /// `timerfd_gettime(2)` with 64-bit times.
    fn timerfd_gettime64 = call SYS_timerfd_gettime(Val, Put(Codec::of::<Itimerspec64>()));
    /// `adjtimex(2)`.
    fn adjtimex = call SYS_adjtimex(Update(Codec::of::<Timex>()));
    /// `clock_adjtime(2)` with the guest's words.
    fn clock_adjtime = call SYS_clock_adjtime(Val, Update(Codec::of::<Timex>()));
    /// `clock_adjtime(2)` with 64-bit fields, which is the host's structure.
    fn clock_adjtime64 = call SYS_clock_adjtime(Val, OutBytes(208));
}

/// `time(2)`.
///
/// # Errors
/// `EFAULT` when the result cannot be stored.
pub fn time(cx: &mut Cx, [out, ..]: [u64; 6]) -> SysResult {
    let now = call(libc::SYS_time, [0])?;
    cx.write_opt(out, &Long(now as i64))?;
    Ok(now)
}

/// `stime(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn stime(cx: &mut Cx, [time, ..]: [u64; 6]) -> SysResult {
    let sec: Long = cx.read(time)?;
    let mut host = Buffer::host(&Timespec { sec, nsec: Long(0) });
    call(libc::SYS_clock_settime, [libc::CLOCK_REALTIME as u64, host.addr()])
}

/// `alarm(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn alarm(_: &mut Cx, [seconds, ..]: [u64; 6]) -> SysResult {
    call(libc::SYS_alarm, [seconds])
}

/// A time that may be in the guest's words or in 64 bits.
trait Duration: Record + Into<Timespec> + From<Timespec> {}
impl Duration for Timespec {}
impl Duration for Timespec64 {}

fn read_clock<T: Duration>(cx: &Cx, clock: u64, out: u64) -> SysResult {
    let [sec, nsec] = clock_gettime_host(clock as i32)?;
    cx.write(out, &T::from(Timespec { sec: Long(sec), nsec: Long(nsec) }))?;
    Ok(0)
}

/// `clock_gettime(2)` with the guest's `time_t`.
///
/// # Errors
/// What the kernel returns.
pub fn clock_gettime(cx: &mut Cx, [clock, out, ..]: [u64; 6]) -> SysResult {
    read_clock::<Timespec>(cx, clock, out)
}

/// `clock_gettime(2)` with 64-bit times.
///
/// # Errors
/// What the kernel returns.
pub fn clock_gettime64(cx: &mut Cx, [clock, out, ..]: [u64; 6]) -> SysResult {
    read_clock::<Timespec64>(cx, clock, out)
}

/// Sleeps on a clock; what was left of a relative sleep is stored when a signal ends it.
fn sleep<T: Duration>(cx: &mut Cx, clock: u64, flags: u64, request: u64, remain: u64) -> SysResult {
    let mut time = Buffer::host::<Timespec>(&cx.read::<T>(request)?.into());
    let mut left = Buffer::default();
    let args = [clock, flags, time.addr(), left.addr()];
    let result = cx.blocking_call(libc::SYS_clock_nanosleep, args);
    if result == Err(EINTR) && flags & libc::TIMER_ABSTIME as u64 == 0 {
        cx.write_opt(remain, &T::from(left.read()))?;
    }
    result
}

/// `nanosleep(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn nanosleep(cx: &mut Cx, [request, remain, ..]: [u64; 6]) -> SysResult {
    // The kernel measures nanosleep on the monotonic clock.
    sleep::<Timespec>(cx, libc::CLOCK_MONOTONIC as u64, 0, request, remain)
}

/// `clock_nanosleep(2)` with the guest's `time_t`.
///
/// # Errors
/// What the kernel returns.
pub fn clock_nanosleep(cx: &mut Cx, [clock, flags, request, remain, ..]: [u64; 6]) -> SysResult {
    sleep::<Timespec>(cx, clock, flags, request, remain)
}

/// `clock_nanosleep(2)` with 64-bit times.
///
/// # Errors
/// What the kernel returns.
pub fn clock_nanosleep_time64(cx: &mut Cx, [clock, flags, request, remain, ..]: [u64; 6]) -> SysResult {
    sleep::<Timespec64>(cx, clock, flags, request, remain)
}

/// A `struct sigevent` of the guest in the host's layout, padded to its full size.
pub(crate) fn sigevent(cx: &Cx, addr: u64) -> Result<Buffer, Errno> {
    let event: Sigevent = cx.read(addr)?;
    if !(1..=64).contains(&event.signo) && event.notify & !libc::SIGEV_THREAD_ID == libc::SIGEV_SIGNAL {
        return Err(EINVAL);
    }
    const { assert!(SIGEVENT_SIZE <= crate::convert::record::MAX_RECORD) };
    Ok(Buffer::host(&event))
}

/// `timer_create(2)`. Without an event the value of the signal is the timer's id, which the kernel sees to.
///
/// # Errors
/// What the kernel returns.
pub fn timer_create(cx: &mut Cx, [clock, event, out, ..]: [u64; 6]) -> SysResult {
    let mut host = if event == 0 { None } else { Some(sigevent(cx, event)?) };
    let event = host.as_mut().map_or(0, Buffer::addr);
    let mut id = Buffer::default();
    call(libc::SYS_timer_create, [clock, event, id.addr()])?;
    let id: i32 = id.read();
    if let Err(e) = cx.write(out, &id) {
        let _ = call(libc::SYS_timer_delete, [id as u64]);
        return Err(e);
    }
    Ok(0)
}
