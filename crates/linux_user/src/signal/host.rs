//! The host's side of signals: the handlers, what they leave for the thread, and dispositions.
#![allow(unsafe_code)] // signal handlers share memory with the thread they interrupt

use super::info::{HostInfo, SIZE};
use super::{COUNT, SIG_DFL, SIG_IGN, SigAction, SigSet, Sighand, sa};
use crate::errno::Errno;
use isamorph_host::fault::{self, FaultContext};
use isamorph_host::signal::{self as host, Disposition, MaskHow};
use std::cell::{Cell, UnsafeCell};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

/// Room for one signal of each number. More are not needed: after the first one the host blocks the others until it
/// has been delivered. (Those of [`SigSet::SYNCHRONOUS`], which are not blocked, do not queue.)
struct Slot {
    full: AtomicBool,
    info: UnsafeCell<HostInfo>,
}

/// What the signal handlers of a thread have noted for it.
pub struct Pending {
    flag: AtomicU32,
    exit_request: AtomicPtr<AtomicU32>,
    held: AtomicBool,
    slots: [Slot; COUNT as usize],
}

// SAFETY: a slot's contents are written by the owning thread's handler before `full` is set, and read by the owning
// thread after it has seen `full`; other threads do not touch them.
unsafe impl Sync for Pending {}

thread_local! {
    static CURRENT: Cell<*const Pending> = const { Cell::new(std::ptr::null()) };
}

impl Pending {
    /// Nothing noted.
    pub fn new() -> Box<Self> {
        Box::new(Pending {
            flag: AtomicU32::new(0),
            exit_request: AtomicPtr::new(std::ptr::null_mut()),
            held: AtomicBool::new(false),
            slots: std::array::from_fn(|_| Slot { full: AtomicBool::new(false), info: UnsafeCell::new([0; SIZE]) }),
        })
    }
    /// The word that is not zero while something may be deliverable.
    pub fn flag(&self) -> &AtomicU32 {
        &self.flag
    }
    /// Makes the owner look again, because its mask changed.
    pub fn recheck(&self) {
        self.flag.store(1, Ordering::Relaxed);
    }
    /// Starts a look at the slots: what arrives from here on sets the flag again.
    pub fn begin(&self) {
        self.flag.store(0, Ordering::SeqCst);
    }
    /// Takes a noted signal that is not in `blocked`; the synchronous ones first, then the lowest number.
    pub fn take(&self, blocked: SigSet) -> Option<HostInfo> {
        let first = SigSet::SYNCHRONOUS.iter();
        let sig = first.chain(1..=COUNT).find(|sig| !blocked.has(*sig) && self.has(*sig))?;
        let slot = &self.slots[sig as usize - 1];
        // SAFETY: the slot is full, so the handler does not write to it; this is the owning thread.
        let info = unsafe { *slot.info.get() };
        slot.full.store(false, Ordering::Release);
        Some(info)
    }
    /// The signals that are noted.
    pub fn set(&self) -> SigSet {
        (1..=COUNT).filter(|sig| self.has(*sig)).fold(SigSet::EMPTY, |set, sig| set.with(SigSet::of(&[sig])))
    }
    fn has(&self, sig: i32) -> bool {
        self.slots[sig as usize - 1].full.load(Ordering::Acquire)
    }
    /// Forgets everything except the signals of `keep`.
    pub fn clear_except(&self, keep: SigSet) {
        for sig in SigSet::ALL.without(keep).iter() {
            self.slots[sig as usize - 1].full.store(false, Ordering::Release);
        }
    }
    /// Whether the host blocks everything for this thread at present.
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }
    /// Blocks every signal that can be.
    pub fn hold(&self) {
        if !self.held.swap(true, Ordering::Relaxed) {
            host::sigprocmask(MaskHow::Set, SigSet::ALL.without(SigSet::SYNCHRONOUS).0);
        }
    }
    /// Notes that the calling thread has everything blocked already.
    pub fn assume_held(&self) {
        self.held.store(true, Ordering::Relaxed);
    }
    /// Sets the host's mask.
    pub fn release(&self, mask: u64) {
        // A signal that comes in after the next line sets the word again, in its handler.
        self.held.store(false, Ordering::Relaxed);
        host::sigprocmask(MaskHow::Set, mask);
    }
    /// Makes this the record of the calling thread, which runs the processor with that exit request.
    pub fn attach(&self, exit_request: *const AtomicU32) {
        self.exit_request.store(exit_request.cast_mut(), Ordering::Release);
        CURRENT.set(self);
    }
    /// The calling thread does not run guest code any more; call it with signals held.
    pub fn detach() {
        CURRENT.set(std::ptr::null());
    }

    /// Notes a signal. Runs in the handler.
    fn note(&self, sig: i32, info: &HostInfo) {
        let Some(slot) = self.slots.get((sig - 1) as usize) else { return };
        if !slot.full.load(Ordering::Acquire) {
            // SAFETY: the slot is empty, so the thread, which this handler interrupts, is not reading it.
            unsafe { *slot.info.get() = *info };
            slot.full.store(true, Ordering::Release);
        }
        self.flag.store(1, Ordering::SeqCst);
        let request = self.exit_request.load(Ordering::Acquire);
        if !request.is_null() {
            // SAFETY: `attach` got it from the vCPU, which lives until `detach`.
            unsafe { (*request).store(1, Ordering::SeqCst) };
        }
    }
}

/// The handler of every signal that a guest handles.
fn on_signal(cx: &mut FaultContext<'_>) {
    let sig = cx.signal();
    let current = CURRENT.get();
    if current.is_null() {
        return pass_on(cx, sig);
    }
    // SAFETY: a siginfo has 128 bytes, all of which the kernel writes.
    let info = unsafe { *std::ptr::from_ref(cx.siginfo()).cast::<HostInfo>() };
    // SAFETY: the pointer is reset before the record goes away.
    let pending = unsafe { &*current };
    pending.note(sig, &info);
    if !SigSet::SYNCHRONOUS.has(sig) {
        pending.held.store(true, Ordering::Relaxed);
        cx.set_mask(SigSet::ALL.without(SigSet::SYNCHRONOUS).0);
    }
    host::rewind_safe_syscall(cx);
}

/// A thread that does not run guest code got the signal: it blocks it and sends it to the process again.
fn pass_on(cx: &mut FaultContext<'_>, sig: i32) {
    cx.set_mask(cx.mask() | host::bit(sig));
    // SAFETY: no pointers.
    unsafe { host::syscall(libc::SYS_kill, [u64::from(std::process::id()), sig as u64, 0, 0, 0, 0]) };
}

/// Makes the host's disposition of a signal follow the guest's.
///
/// # Errors
/// The host refuses, for `SIGKILL` and `SIGSTOP`.
pub fn install(sig: i32, action: &SigAction) -> Result<(), Errno> {
    if SigSet::SYNCHRONOUS.has(sig) {
        return Ok(());
    }
    match action.handler.0 {
        SIG_IGN => host::set_ignored(sig),
        SIG_DFL if SigSet::CORE.has(sig) => host::install(sig, on_signal, HANDLER_MASK),
        SIG_DFL => host::set_default(sig),
        _ => host::install(sig, on_signal, HANDLER_MASK),
    }?;
    if sig == libc::SIGCHLD { child_flags(action) } else { Ok(()) }
}

/// Undoes what the host's C library did when it created its first thread: it installed a handler of its own for the
/// signal by which it makes all threads change their user ids. Our process does not use that, but the guest's C
/// library uses the same signal.
pub fn reclaim_library_signal(sighand: &Sighand) {
    const SIGSETXID: i32 = 33;
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = install(SIGSETXID, &sighand.get(SIGSETXID));
    });
}

const HANDLER_MASK: u64 = SigSet::ALL.without(SigSet::SYNCHRONOUS).0;

/// `struct kernel_sigaction` of the host.
#[repr(C)]
#[derive(Default)]
struct HostAction {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

/// Gives the host's `SIGCHLD` the flags that decide when it is sent and whether children become zombies.
fn child_flags(action: &SigAction) -> Result<(), Errno> {
    let flags = action.flags.0 & (sa::NOCLDSTOP | sa::NOCLDWAIT);
    if flags == 0 {
        return Ok(());
    }
    let mut current = HostAction::default();
    let addr = &raw mut current as u64;
    crate::kernel::call(libc::SYS_rt_sigaction, [libc::SIGCHLD as u64, 0, addr, 8])?;
    let new = HostAction { flags: current.flags | flags, ..current };
    crate::kernel::call(libc::SYS_rt_sigaction, [libc::SIGCHLD as u64, &raw const new as u64, 0, 8]).map(drop)
}

/// Prepares the process: the signals that were ignored when it started, and handlers for those whose default action
/// is to be reported. Returns the ignored ones.
pub fn prepare() -> SigSet {
    fault::set_sent_handler(on_signal);
    let mut ignored = SigSet::EMPTY;
    for sig in 1..=COUNT {
        if sig == libc::SIGPIPE {
            // The standard library ignores it before `main`.
            let was = ORIGINAL_SIGPIPE.load(Ordering::Relaxed);
            if was != libc::SIG_IGN as u32 {
                let _ = host::set_default(sig);
            }
        }
        if host::disposition(sig) == Ok(Disposition::Ignored) {
            ignored = ignored.with(SigSet::of(&[sig]));
        } else if SigSet::CORE.has(sig) {
            let _ = install(sig, &SigAction::default());
        }
    }
    ignored
}

/// Runs `exec` with the host ignoring those of `ignored` that it otherwise needs, so that a program which `exec`
/// executes finds them ignored; puts the handlers back when it returns.
pub fn with_ignored<R>(ignored: SigSet, exec: impl FnOnce() -> R) -> R {
    let list: Vec<i32> = SigSet::SYNCHRONOUS.iter().filter(|sig| ignored.has(*sig)).collect();
    let mut saved: Vec<HostAction> = list.iter().map(|_| HostAction::default()).collect();
    for (sig, old) in list.iter().zip(&mut saved) {
        let args = [*sig as u64, &raw const IGNORE as u64, &raw mut *old as u64, 8];
        let _ = crate::kernel::call(libc::SYS_rt_sigaction, args);
    }
    let result = exec();
    for (sig, old) in list.iter().zip(&saved) {
        let _ = crate::kernel::call(libc::SYS_rt_sigaction, [*sig as u64, &raw const *old as u64, 0, 8]);
    }
    result
}

/// Dies from a signal, as if it had never been handled. A core file would be the emulator's and is not written.
pub fn die(sig: i32) -> ! {
    let no_core = [0u64; 2];
    let _ = crate::kernel::call(libc::SYS_setrlimit, [libc::RLIMIT_CORE as u64, no_core.as_ptr() as u64]);
    let _ = crate::kernel::call(libc::SYS_rt_sigaction, [sig as u64, &raw const DEFAULT as u64, 0, 8]);
    host::sigprocmask(MaskHow::Unblock, host::bit(sig));
    let _ = host::tgkill(std::process::id() as i32, host::gettid(), sig);
    // Only a signal whose default action does not kill gets here.
    std::process::exit(128 + sig)
}

static DEFAULT: HostAction = HostAction { handler: SIG_DFL, flags: 0, restorer: 0, mask: 0 };
static IGNORE: HostAction = HostAction { handler: SIG_IGN, flags: 0, restorer: 0, mask: 0 };

/// The disposition of `SIGPIPE` that the process inherited.
static ORIGINAL_SIGPIPE: AtomicU32 = AtomicU32::new(libc::SIG_DFL as u32);

extern "C" fn record_sigpipe() {
    if host::disposition(libc::SIGPIPE) == Ok(Disposition::Ignored) {
        ORIGINAL_SIGPIPE.store(libc::SIG_IGN as u32, Ordering::Relaxed);
    }
}

// SAFETY: the section is an array of functions that are called before `main`; this one makes a system call and stores
// to an atomic.
#[used]
#[unsafe(link_section = ".init_array")]
static RECORD_SIGPIPE: extern "C" fn() = record_sigpipe;

#[cfg(test)]
mod tests {
    use super::*;

    fn info(sig: i32) -> HostInfo {
        let mut bytes = [0; SIZE];
        bytes[0] = sig as u8;
        bytes
    }

    #[test]
    fn noted_signals_come_out_in_order() {
        let p = Pending::new();
        for sig in [34, 10, 11, 2] {
            p.note(sig, &info(sig));
        }
        assert_eq!(p.flag().load(Ordering::Relaxed), 1);
        let blocked = SigSet::of(&[2]);
        let order: Vec<_> = std::iter::from_fn(|| p.take(blocked)).map(|i| i[0]).collect();
        assert_eq!(order, [11, 10, 34]);
        assert_eq!(p.set(), blocked);
        assert_eq!(p.take(SigSet::EMPTY).map(|i| i[0]), Some(2));
    }

    #[test]
    fn a_full_slot_keeps_the_first_signal() {
        let p = Pending::new();
        p.note(11, &info(11));
        let mut second = info(11);
        second[1] = 9;
        p.note(11, &second);
        assert_eq!(p.take(SigSet::EMPTY).map(|i| i[1]), Some(0));
        assert!(p.take(SigSet::EMPTY).is_none());
    }

    #[test]
    fn numbers_out_of_range_are_dropped() {
        let p = Pending::new();
        p.note(65, &info(65));
        p.note(0, &info(0));
        assert_eq!(p.set(), SigSet::EMPTY);
    }
}
