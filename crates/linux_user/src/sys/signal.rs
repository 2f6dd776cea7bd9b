//! System calls about signals.

use crate::convert::record::Ulong;
use crate::convert::time::{Timespec, Timespec64};
use crate::convert::{Buffer, Model, Record};
use crate::errno::{EINTR, EINVAL, ENOMEM, EPERM, ERESTARTNOHAND, ERESTARTSYS, Errno};
use crate::kernel::call;
use crate::signal::deliver::canonical_alt_stack;
use crate::signal::info::{self, SigInfo};
use crate::signal::{AltStack, COUNT, OldSigAction, SigAction, SigSet, host, sa};
use crate::table::SysResult;
use crate::task::Cx;

/// Size of a signal set, which some calls take as an argument.
const SET_BYTES: u64 = 8;

fn check_size(size: u64) -> Result<(), Errno> {
    if size == SET_BYTES { Ok(()) } else { Err(EINVAL) }
}

fn read_set(cx: &Cx, addr: u64) -> Result<SigSet, Errno> {
    cx.read::<[u32; 2]>(addr).map(|[low, high]| SigSet(u64::from(low) | u64::from(high) << 32))
}

fn write_set(cx: &Cx, addr: u64, set: SigSet) -> Result<(), Errno> {
    cx.write(addr, &[set.0 as u32, (set.0 >> 32) as u32])
}

/// Changes what a signal does; returns what it did.
fn set_action(cx: &mut Cx, sig: u64, new: Option<SigAction>) -> Result<SigAction, Errno> {
    let sig = sig as i32;
    if !(1..=COUNT).contains(&sig) || new.is_some() && SigSet::UNBLOCKABLE.has(sig) {
        return Err(EINVAL);
    }
    let Some(mut new) = new else { return Ok(cx.task.sighand.get(sig)) };
    cx.hold_signals()?;
    let mask = new.blocks().without(SigSet::UNBLOCKABLE);
    new.mask = [mask.0 as u32, (mask.0 >> 32) as u32];
    let mut installed = Ok(());
    let old = cx.task.sighand.set(sig, new, || installed = host::install(sig, &new));
    installed.map(|()| old)
}

/// `rt_sigaction(2)`.
///
/// # Errors
/// As the manual page says.
pub fn rt_sigaction(cx: &mut Cx, [sig, new, old, size, ..]: [u64; 6]) -> SysResult {
    check_size(size)?;
    let new = cx.read_opt(new)?;
    let before = set_action(cx, sig, new)?;
    cx.write_opt(old, &before).map(|()| 0)
}

/// `sigaction(2)` with a one-word mask.
///
/// # Errors
/// As the manual page says.
pub fn sigaction(cx: &mut Cx, [sig, new, old, ..]: [u64; 6]) -> SysResult {
    let new = cx.read_opt::<OldSigAction>(new)?.map(|a| SigAction {
        handler: a.handler,
        flags: a.flags,
        restorer: a.restorer,
        mask: [a.mask.0 as u32, 0],
    });
    let a = set_action(cx, sig, new)?;
    let before =
        OldSigAction { handler: a.handler, mask: Ulong(a.mask[0].into()), flags: a.flags, restorer: a.restorer };
    cx.write_opt(old, &before).map(|()| 0)
}

/// `signal(2)`: a handler that is used once and does not block its signal.
///
/// # Errors
/// `EINVAL` for a signal that cannot be handled.
pub fn signal(cx: &mut Cx, [sig, handler, ..]: [u64; 6]) -> SysResult {
    let action =
        SigAction { handler: Ulong(handler), flags: Ulong(sa::RESETHAND | sa::NODEFER), ..SigAction::default() };
    set_action(cx, sig, Some(action)).map(|old| old.handler.0)
}

/// Changes the mask as `how` says; returns the old one.
fn change_mask(cx: &mut Cx, how: u64, set: Option<SigSet>) -> Result<SigSet, Errno> {
    let old = cx.task.signals.mask;
    let Some(set) = set else { return Ok(old) };
    let new = match how as i32 {
        libc::SIG_BLOCK => old.with(set),
        libc::SIG_UNBLOCK => old.without(set),
        libc::SIG_SETMASK => set,
        _ => return Err(EINVAL),
    };
    cx.hold_signals()?;
    cx.task.signals.set_mask(new);
    Ok(old)
}

/// `rt_sigprocmask(2)`.
///
/// # Errors
/// As the manual page says.
pub fn rt_sigprocmask(cx: &mut Cx, [how, set, old, size, ..]: [u64; 6]) -> SysResult {
    check_size(size)?;
    let set = if set == 0 { None } else { Some(read_set(cx, set)?) };
    let before = change_mask(cx, how, set)?;
    if old != 0 {
        write_set(cx, old, before)?;
    }
    Ok(0)
}

/// The mask with its first word replaced, for calls from when there were 32 signals.
fn with_low(mask: SigSet, low: u64) -> SigSet {
    SigSet(mask.0 >> 32 << 32 | low & 0xffff_ffff)
}

/// `sigprocmask(2)` with a one-word mask.
///
/// # Errors
/// As the manual page says.
pub fn sigprocmask(cx: &mut Cx, [how, set, old, ..]: [u64; 6]) -> SysResult {
    let word = if set == 0 { None } else { Some(cx.read_word(set)?) };
    // Setting leaves the signals that the word has no bits for as they are.
    let rest = if how as i32 == libc::SIG_SETMASK { cx.task.signals.mask } else { SigSet::EMPTY };
    let before = change_mask(cx, how, word.map(|w| with_low(rest, w)))?;
    if old != 0 {
        cx.write_word(old, before.0 & 0xffff_ffff)?;
    }
    Ok(0)
}

/// `sgetmask`.
///
/// # Errors
/// None.
pub fn sgetmask(cx: &mut Cx, _: [u64; 6]) -> SysResult {
    Ok(cx.task.signals.mask.0 & 0xffff_ffff)
}

/// `ssetmask`.
///
/// # Errors
/// None.
pub fn ssetmask(cx: &mut Cx, [word, ..]: [u64; 6]) -> SysResult {
    let old = change_mask(cx, libc::SIG_SETMASK as u64, Some(SigSet(word & 0xffff_ffff)))?;
    Ok(old.0 & 0xffff_ffff)
}

/// The signals that wait until they are unblocked: those the host keeps, and those it cannot block.
fn pending(cx: &Cx) -> SigSet {
    let kept = SigSet(isamorph_host::signal::pending());
    kept.with(cx.task.signals.pending().set()).without(SigSet(!cx.task.signals.mask.0))
}

/// `rt_sigpending(2)`.
///
/// # Errors
/// As the manual page says.
pub fn rt_sigpending(cx: &mut Cx, [set, size, ..]: [u64; 6]) -> SysResult {
    if size > SET_BYTES {
        return Err(EINVAL);
    }
    let bytes = pending(cx).0.to_le_bytes();
    cx.write_bytes(set, &bytes[..size as usize]).map(|()| 0)
}

/// `sigpending(2)` with a one-word mask.
///
/// # Errors
/// `EFAULT`.
pub fn sigpending(cx: &mut Cx, [set, ..]: [u64; 6]) -> SysResult {
    cx.write_word(set, pending(cx).0 & 0xffff_ffff).map(|()| 0)
}

/// Waits for a signal with another mask in force.
fn suspend(cx: &mut Cx, mask: SigSet) -> SysResult {
    cx.hold_signals()?;
    let mask = mask.without(SigSet::UNBLOCKABLE);
    if cx.task.signals.pending().set().without(mask) == SigSet::EMPTY {
        let host = cx.task.signals.host_mask(mask);
        // The host changes the mask and waits in one step; its handlers leave everything blocked.
        let _ = call(libc::SYS_rt_sigsuspend, [&raw const host as u64, SET_BYTES]);
    }
    cx.task.signals.suspend(mask);
    Err(ERESTARTNOHAND)
}

/// `rt_sigsuspend(2)`.
///
/// # Errors
/// `EINTR`, always.
pub fn rt_sigsuspend(cx: &mut Cx, [set, size, ..]: [u64; 6]) -> SysResult {
    check_size(size)?;
    let set = read_set(cx, set)?;
    suspend(cx, set)
}

/// `sigsuspend(2)` of i386: the mask is the third argument.
///
/// # Errors
/// `EINTR`, always.
pub fn sigsuspend(cx: &mut Cx, [_, _, mask, ..]: [u64; 6]) -> SysResult {
    suspend(cx, SigSet(mask & 0xffff_ffff))
}

/// `pause(2)`.
///
/// # Errors
/// `EINTR`, always.
pub fn pause(cx: &mut Cx, _: [u64; 6]) -> SysResult {
    cx.blocking_call(libc::SYS_pause, []).map_err(|_| ERESTARTNOHAND)
}

/// Continues an interrupted call. The host's kernel restarts calls itself, so that a program only gets here on its own.
///
/// # Errors
/// `EINTR`, always.
pub fn restart_syscall(_: &mut Cx, _: [u64; 6]) -> SysResult {
    Err(EINTR)
}

/// Sets the alternate stack.
///
/// # Errors
/// `EINVAL` for bad flags, `ENOMEM` when it is too small, `EPERM` when it is in use.
pub fn set_alt_stack(cx: &mut Cx, new: AltStack) -> Result<(), Errno> {
    const MIN_SIZE: u64 = 2048;
    let new = canonical_alt_stack(new).ok_or(EINVAL)?;
    if new == cx.task.signals.alt {
        return Ok(());
    }
    if cx.task.signals.on_alt_stack(cx.stack_pointer()) {
        return Err(EPERM);
    }
    if new.size.0 != 0 && new.size.0 < MIN_SIZE {
        return Err(ENOMEM);
    }
    cx.task.signals.alt = new;
    Ok(())
}

/// `sigaltstack(2)`.
///
/// # Errors
/// As the manual page says.
pub fn sigaltstack(cx: &mut Cx, [new, old, ..]: [u64; 6]) -> SysResult {
    let before = cx.task.signals.alt_stack(cx.stack_pointer());
    if let Some(new) = cx.read_opt(new)? {
        set_alt_stack(cx, new)?;
    }
    cx.write_opt(old, &before).map(|()| 0)
}

fn take_frame_down(cx: &mut Cx, rt: bool) -> SysResult {
    cx.hold_signals()?;
    match cx.abi().pop_frame(cx, rt) {
        Ok(value) => Ok(value),
        Err(_) => {
            cx.force(SigInfo::kernel(libc::SIGSEGV));
            Err(crate::errno::NO_RESULT)
        }
    }
}

/// Returns from a handler.
///
/// # Errors
/// None: a bad frame is a segmentation fault.
pub fn sigreturn(cx: &mut Cx, _: [u64; 6]) -> SysResult {
    take_frame_down(cx, false)
}

/// Returns from a handler that got a siginfo.
///
/// # Errors
/// None: a bad frame is a segmentation fault.
pub fn rt_sigreturn(cx: &mut Cx, _: [u64; 6]) -> SysResult {
    take_frame_down(cx, true)
}

/// A siginfo of the guest in the host's layout.
fn host_info(cx: &Cx, addr: u64, sig: u64) -> Result<[u8; info::SIZE], Errno> {
    let mut bytes = [0; info::SIZE];
    cx.read_bytes(addr, &mut bytes)?;
    let info = SigInfo { signo: sig as i32, ..SigInfo::decode(cx.model(), &bytes) };
    Ok(info.encode(Model::HOST))
}

/// `rt_sigqueueinfo(2)`.
///
/// # Errors
/// As the manual page says.
pub fn rt_sigqueueinfo(cx: &mut Cx, [pid, sig, info, ..]: [u64; 6]) -> SysResult {
    let info = host_info(cx, info, sig)?;
    call(libc::SYS_rt_sigqueueinfo, [pid, sig, info.as_ptr() as u64])
}

/// `rt_tgsigqueueinfo(2)`.
///
/// # Errors
/// As the manual page says.
pub fn rt_tgsigqueueinfo(cx: &mut Cx, [pid, tid, sig, info, ..]: [u64; 6]) -> SysResult {
    let info = host_info(cx, info, sig)?;
    call(libc::SYS_rt_tgsigqueueinfo, [pid, tid, sig, info.as_ptr() as u64])
}

/// `pidfd_send_signal(2)`.
///
/// # Errors
/// As the manual page says.
pub fn pidfd_send_signal(cx: &mut Cx, [fd, sig, info, flags, ..]: [u64; 6]) -> SysResult {
    let info = if info == 0 { None } else { Some(host_info(cx, info, sig)?) };
    let at = info.as_ref().map_or(0, |i| i.as_ptr() as u64);
    call(libc::SYS_pidfd_send_signal, [fd, sig, at, flags])
}

fn timed_wait<T: Record + Into<Timespec64>>(cx: &mut Cx, [set, info, timeout, size, ..]: [u64; 6]) -> SysResult {
    check_size(size)?;
    let set = read_set(cx, set)?.without(SigSet::UNBLOCKABLE);
    // A blocked signal that the host cannot block has been noted already.
    let noted = cx.task.signals.pending().take(SigSet(!set.0));
    let raw = match noted {
        Some(raw) => raw,
        None => {
            let time = cx.read_opt::<T>(timeout)?.map(Into::into);
            let mut time = time.map(|t: Timespec64| Buffer::host(&t));
            let at = time.as_mut().map_or(0, Buffer::addr);
            let mut raw = [0; info::SIZE];
            let args = [&raw const set.0 as u64, raw.as_mut_ptr() as u64, at, SET_BYTES];
            // The kernel does not restart this call after a handler.
            let interrupted = |e| if e == ERESTARTSYS { ERESTARTNOHAND } else { e };
            cx.blocking_call(libc::SYS_rt_sigtimedwait, args).map_err(interrupted)?;
            raw
        }
    };
    let found = SigInfo::decode(Model::HOST, &raw);
    if info != 0 {
        cx.write_bytes(info, &found.encode(cx.model()))?;
    }
    Ok(found.signo as u64)
}

/// `rt_sigtimedwait(2)` with the guest's `time_t`.
///
/// # Errors
/// As the manual page says.
pub fn rt_sigtimedwait_time32(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    timed_wait::<Timespec>(cx, args)
}

/// `rt_sigtimedwait(2)` with 64-bit times.
///
/// # Errors
/// As the manual page says.
pub fn rt_sigtimedwait_time64(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    timed_wait::<Timespec64>(cx, args)
}

/// `signalfd4(2)`. Signals that the host cannot block do not arrive there.
///
/// # Errors
/// As the manual page says.
pub fn signalfd4(cx: &mut Cx, [fd, set, size, flags, ..]: [u64; 6]) -> SysResult {
    check_size(size)?;
    let set = read_set(cx, set)?;
    call(libc::SYS_signalfd4, [fd, &raw const set.0 as u64, SET_BYTES, flags])
}

/// `signalfd(2)`.
///
/// # Errors
/// As the manual page says.
pub fn signalfd(cx: &mut Cx, [fd, set, size, ..]: [u64; 6]) -> SysResult {
    signalfd4(cx, [fd, set, size, 0, 0, 0])
}
