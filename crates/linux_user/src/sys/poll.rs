//! Waiting for several descriptors: `poll`, `select`, `epoll`.

use crate::convert::Buffer;
use crate::convert::misc::SigmaskArg;
use crate::convert::record::{Long, Ulong};
use crate::convert::time::{Timespec, Timespec64, Timeval};
use crate::errno::{EFAULT, EINVAL, Errno};
use crate::kernel::call;
use crate::memory::Access;
use crate::signal::SigSet;
use crate::table::SysResult;
use crate::task::Cx;

/// Size of the kernel's signal set.
const SIGSET_SIZE: u64 = 8;

/// The mask that a call takes for its duration.
fn sigmask(cx: &Cx, addr: u64, size: u64) -> Result<Option<SigSet>, Errno> {
    if addr == 0 {
        return Ok(None);
    }
    if size != SIGSET_SIZE {
        return Err(EINVAL);
    }
    Ok(Some(SigSet(cx.read(addr)?)))
}

/// How a guest gives a timeout, which the call replaces by the time that was left.
#[derive(Clone, Copy)]
enum Timeout {
    /// `struct timespec` of the guest's words.
    Spec,
    /// 64-bit `struct timespec`.
    Spec64,
    /// `struct timeval`.
    Micros,
}

/// A timeout in the host's form.
struct HostTimeout {
    kind: Timeout,
    addr: u64,
    host: Buffer,
}

impl HostTimeout {
    fn read(cx: &Cx, kind: Timeout, addr: u64) -> Result<Self, Errno> {
        let time: Timespec = match kind {
            _ if addr == 0 => Timespec::default(),
            Timeout::Spec => cx.read(addr)?,
            Timeout::Spec64 => cx.read::<Timespec64>(addr)?.into(),
            Timeout::Micros => normalised(cx.read(addr)?)?,
        };
        Ok(HostTimeout { kind, addr, host: Buffer::host(&time) })
    }
    /// The host's argument.
    fn arg(&mut self) -> u64 {
        if self.addr == 0 { 0 } else { self.host.addr() }
    }
    /// Tells the guest what was left. A timeout in read-only memory is no error, as for the kernel.
    fn write_back(&self, cx: &Cx) {
        let left: Timespec = self.host.read();
        let _ = match self.kind {
            _ if self.addr == 0 => Ok(()),
            Timeout::Spec => cx.write(self.addr, &left),
            Timeout::Spec64 => cx.write(self.addr, &Timespec64::from(left)),
            Timeout::Micros => cx.write(self.addr, &Timeval::from(left)),
        };
    }
}

/// `select` takes more than a million microseconds.
fn normalised(t: Timeval) -> Result<Timespec, Errno> {
    let carry = t.usec.0.div_euclid(1_000_000);
    let sec = t.sec.0.saturating_add(carry);
    if t.sec.0 < 0 || t.usec.0 < 0 {
        return Err(EINVAL);
    }
    Ok(Timespec { sec: Long(sec), nsec: Long(t.usec.0.rem_euclid(1_000_000) * 1000) })
}

/// `struct pollfd` is the same everywhere, and used in place.
fn pollfds(cx: &Cx, addr: u64, count: u64) -> SysResult {
    if count > i32::MAX as u64 / 8 {
        return Err(EINVAL);
    }
    cx.host_buffer(addr, count * 8, Access::Write)
}

/// `poll(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn poll(cx: &mut Cx, [fds, count, timeout, ..]: [u64; 6]) -> SysResult {
    let fds = pollfds(cx, fds, count)?;
    cx.blocking_call(libc::SYS_poll, [fds, count, timeout])
}

fn ppoll_with(cx: &mut Cx, kind: Timeout, [fds, count, timeout, mask, size, _]: [u64; 6]) -> SysResult {
    let fds = pollfds(cx, fds, count)?;
    let mask = sigmask(cx, mask, size)?;
    let mut time = HostTimeout::read(cx, kind, timeout)?;
    let timeout = time.arg();
    let result = cx.masked_call(mask, libc::SYS_ppoll, |m| [fds, count, timeout, m, SIGSET_SIZE, 0]);
    time.write_back(cx);
    result
}

/// `ppoll(2)` with the guest's `time_t`.
///
/// # Errors
/// What the kernel returns.
pub fn ppoll(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    ppoll_with(cx, Timeout::Spec, args)
}

/// `ppoll(2)` with 64-bit times.
///
/// # Errors
/// What the kernel returns.
pub fn ppoll_time64(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    ppoll_with(cx, Timeout::Spec64, args)
}

/// Most descriptors that a set of the C library has.
const FD_SETSIZE: u64 = 1024;

/// Entries of the process's descriptor table. The kernel looks at no more of a set than that, and programs rely on it:
/// they pass the limit of open files with sets of [`FD_SETSIZE`].
fn descriptor_table_size() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
    size.and_then(|s| s.trim().parse().ok()).unwrap_or(FD_SETSIZE)
}

/// A set of descriptors in the host's words. Bit n is in byte n / 8 whatever the word size on a little-endian machine;
/// only the rounding of the size differs.
struct FdSet {
    addr: u64,
    guest_len: usize,
    words: Vec<u64>,
}

impl FdSet {
    fn read(cx: &Cx, addr: u64, count: u64) -> Result<Self, Errno> {
        if addr == 0 {
            return Ok(FdSet { addr, guest_len: 0, words: Vec::new() });
        }
        let word = cx.model().long as u64;
        let guest_len = (count.div_ceil(8 * word) * word) as usize;
        let mut bytes = vec![0; guest_len.next_multiple_of(8)];
        cx.read_bytes(addr, &mut bytes[..guest_len])?;
        let words = bytes.chunks_exact(8).map(|c| c.iter().rev().fold(0, |w, b| w << 8 | u64::from(*b))).collect();
        Ok(FdSet { addr, guest_len, words })
    }
    fn arg(&mut self) -> u64 {
        if self.addr == 0 { 0 } else { self.words.as_mut_ptr() as u64 }
    }
    fn write_back(&self, cx: &Cx) -> Result<(), Errno> {
        let bytes: Vec<u8> = self.words.iter().flat_map(|w| w.to_le_bytes()).collect();
        cx.write_bytes(self.addr, &bytes[..self.guest_len])
    }
}

/// `select` in all its forms. `mask` is the signal mask for the duration.
fn select_with(
    cx: &mut Cx,
    kind: Timeout,
    [count, read, write, except, timeout, _]: [u64; 6],
    mask: Option<SigSet>,
) -> SysResult {
    if (count as i64) < 0 {
        return Err(EINVAL);
    }
    let count = if count > FD_SETSIZE { count.min(descriptor_table_size()) } else { count };
    let mut sets = [FdSet::read(cx, read, count)?, FdSet::read(cx, write, count)?, FdSet::read(cx, except, count)?];
    let mut time = HostTimeout::read(cx, kind, timeout)?;
    let timeout = time.arg();
    let [r, w, e] = sets.each_mut().map(FdSet::arg);
    let mut packed = [0, SIGSET_SIZE];
    let packed_addr = packed.as_mut_ptr() as u64;
    let result = cx.masked_call(mask, libc::SYS_pselect6, |m| {
        packed[0] = m;
        [count, r, w, e, timeout, packed_addr]
    });
    time.write_back(cx);
    let ready = result?;
    for set in sets.iter().filter(|s| s.addr != 0) {
        set.write_back(cx)?;
    }
    Ok(ready)
}

/// `select(2)` as `_newselect` makes it on 32-bit guests and `select` on 64-bit ones.
///
/// # Errors
/// What the kernel returns.
pub fn select(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    select_with(cx, Timeout::Micros, args, None)
}

/// `select(2)` of the first i386 kernels: its arguments are in a structure.
///
/// # Errors
/// What the kernel returns.
pub fn old_select(cx: &mut Cx, [block, ..]: [u64; 6]) -> SysResult {
    let [count, read, write, except, timeout] = cx.read::<[Ulong; 5]>(block)?.map(|w| w.0);
    select(cx, [count as i32 as u64, read, write, except, timeout, 0])
}

fn pselect6_with(cx: &mut Cx, kind: Timeout, args: [u64; 6]) -> SysResult {
    let mask = match cx.read_opt::<SigmaskArg>(args[5])? {
        Some(arg) => sigmask(cx, arg.set.0, arg.size.0)?,
        None => None,
    };
    select_with(cx, kind, args, mask)
}

/// `pselect6(2)` with the guest's `time_t`.
///
/// # Errors
/// What the kernel returns.
pub fn pselect6(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    pselect6_with(cx, Timeout::Spec, args)
}

/// `pselect6(2)` with 64-bit times.
///
/// # Errors
/// What the kernel returns.
pub fn pselect6_time64(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    pselect6_with(cx, Timeout::Spec64, args)
}

/// Size of the host's `struct epoll_event`, which is packed.
const HOST_EVENT: usize = 12;

/// Copies an event between layouts: the mask at the start, the data in the last 8 bytes.
fn copy_event(from: &[u8], to: &mut [u8]) {
    to[..4].copy_from_slice(&from[..4]);
    let at = to.len() - 8;
    to[at..].copy_from_slice(&from[from.len() - 8..]);
}

/// `epoll_ctl(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn epoll_ctl(cx: &mut Cx, [epoll, op, fd, event, ..]: [u64; 6]) -> SysResult {
    let mut host = [0u8; HOST_EVENT];
    let mut arg = 0;
    if event != 0 && op != libc::EPOLL_CTL_DEL as u64 {
        let mut guest = [0u8; 16];
        let size = cx.abi().layouts().epoll_event;
        cx.read_bytes(event, &mut guest[..size])?;
        copy_event(&guest[..size], &mut host);
        arg = host.as_mut_ptr() as u64;
    }
    call(libc::SYS_epoll_ctl, [epoll, op, fd, arg])
}

/// Waits with `make`, which gets the host address of room for the events, and hands them to the guest.
fn epoll_wait_with(cx: &mut Cx, events: u64, max: u64, make: impl FnOnce(&mut Cx, u64) -> SysResult) -> SysResult {
    let size = cx.abi().layouts().epoll_event;
    let count = usize::try_from(max as i32).ok().filter(|n| *n > 0 && *n < i32::MAX as usize / 16).ok_or(EINVAL)?;
    if size == HOST_EVENT {
        if events == 0 {
            return Err(EFAULT);
        }
        let room = cx.host_buffer(events, (count * HOST_EVENT) as u64, Access::Write)?;
        return make(cx, room);
    }
    let mut host = vec![0u8; count * HOST_EVENT];
    let ready = make(cx, host.as_mut_ptr() as u64)?;
    let mut guest = vec![0u8; ready as usize * size];
    for (from, to) in host.chunks_exact(HOST_EVENT).zip(guest.chunks_exact_mut(size)) {
        copy_event(from, to);
    }
    cx.write_bytes(events, &guest)?;
    Ok(ready)
}

/// `epoll_wait(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn epoll_wait(cx: &mut Cx, [epoll, events, max, timeout, ..]: [u64; 6]) -> SysResult {
    epoll_wait_with(cx, events, max, |cx, room| {
        cx.blocking_call(libc::SYS_epoll_pwait, [epoll, room, max, timeout, 0, SIGSET_SIZE])
    })
}

/// `epoll_pwait(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn epoll_pwait(cx: &mut Cx, [epoll, events, max, timeout, mask, size]: [u64; 6]) -> SysResult {
    let mask = sigmask(cx, mask, size)?;
    epoll_wait_with(cx, events, max, |cx, room| {
        cx.masked_call(mask, libc::SYS_epoll_pwait, |m| [epoll, room, max, timeout, m, SIGSET_SIZE])
    })
}

/// `epoll_pwait2(2)`: its timeout is a 64-bit `struct timespec` on every guest.
///
/// # Errors
/// What the kernel returns.
pub fn epoll_pwait2(cx: &mut Cx, [epoll, events, max, timeout, mask, size]: [u64; 6]) -> SysResult {
    let mask = sigmask(cx, mask, size)?;
    let mut time = HostTimeout::read(cx, Timeout::Spec64, timeout)?;
    let timeout = time.arg();
    epoll_wait_with(cx, events, max, |cx, room| {
        cx.masked_call(mask, libc::SYS_epoll_pwait2, |m| [epoll, room, max, timeout, m, SIGSET_SIZE])
    })
}

/// `epoll_create(2)`: its size has only to be positive.
///
/// # Errors
/// `EINVAL` for a bad size, and what the kernel returns.
pub fn epoll_create(_: &mut Cx, [size, ..]: [u64; 6]) -> SysResult {
    if size as i64 <= 0 { Err(EINVAL) } else { call(libc::SYS_epoll_create1, [0]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_change_their_layout() {
        let packed = [1, 0, 0, 0, 9, 8, 7, 6, 5, 4, 3, 2];
        let mut wide = [0; 16];
        copy_event(&packed, &mut wide);
        assert_eq!(wide, [1, 0, 0, 0, 0, 0, 0, 0, 9, 8, 7, 6, 5, 4, 3, 2]);
        let mut back = [0; 12];
        copy_event(&wide, &mut back);
        assert_eq!(back, packed);
    }

    #[test]
    fn select_normalises_microseconds() {
        let t = normalised(Timeval { sec: Long(1), usec: Long(2_500_000) });
        assert_eq!(t, Ok(Timespec { sec: Long(3), nsec: Long(500_000_000) }));
        assert_eq!(normalised(Timeval { sec: Long(-1), usec: Long(0) }), Err(EINVAL));
    }

    #[test]
    fn the_descriptor_table_has_a_size() {
        assert!(descriptor_table_size() >= 64);
    }
}
