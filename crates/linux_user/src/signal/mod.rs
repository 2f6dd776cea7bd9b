//! Signals.
//!
//! The host kernel does the queueing, the blocking and the sending: a guest thread's signal mask is its host thread's
//! signal mask, and a signal that the guest ignores or leaves at its default is so for the host too. Only for a signal
//! that the guest handles is a handler of ours installed ([`host`]): it notes the siginfo, blocks all further signals
//! and asks the processor to stop; then the thread builds the guest's frame ([`deliver`]) and sets the mask again.
//!
//! `SIGSEGV`, `SIGBUS`, `SIGFPE`, `SIGILL` and `SIGTRAP` differ: the host needs them to run guest code, so they are
//! never blocked on the host, and the guest's wish to block them is observed here.

pub mod deliver;
pub mod frame;
pub mod host;
pub mod info;

use crate::convert::record::{Ulong, record};
use crate::sync::Mutex;
use host::Pending;
use std::sync::atomic::AtomicU32;

/// Number of signals; they are numbered from 1.
pub const COUNT: i32 = 64;

/// A set of signals: bit n − 1 is signal n.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct SigSet(pub u64);

impl SigSet {
    /// No signal.
    pub const EMPTY: SigSet = SigSet(0);
    /// Every signal.
    pub const ALL: SigSet = SigSet(u64::MAX);
    /// Those that can be neither blocked nor handled.
    pub const UNBLOCKABLE: SigSet = SigSet::of(&[libc::SIGKILL, libc::SIGSTOP]);
    /// Those that the host must always be able to receive, because executing guest code raises them.
    pub const SYNCHRONOUS: SigSet =
        SigSet::of(&[libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP]);
    /// Those whose default action writes a core file.
    pub const CORE: SigSet = SigSet::of(&[
        libc::SIGQUIT,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGABRT,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGSEGV,
    ]);
    /// Those whose default action is to do nothing.
    pub const IGNORED: SigSet = SigSet::of(&[libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH]);
    /// Those whose default action stops the process.
    pub const STOPPING: SigSet = SigSet::of(&[libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU]);

    /// A set of the listed signals.
    pub const fn of(list: &[i32]) -> SigSet {
        let mut bits = 0;
        let mut i = 0;
        while i < list.len() {
            bits |= 1 << (list[i] - 1);
            i += 1;
        }
        SigSet(bits)
    }
    /// Whether the signal is in the set.
    pub const fn has(self, sig: i32) -> bool {
        sig >= 1 && sig <= COUNT && self.0 >> (sig - 1) & 1 != 0
    }
    /// The set with the signals of another.
    #[must_use]
    pub const fn with(self, other: SigSet) -> SigSet {
        SigSet(self.0 | other.0)
    }
    /// The set without the signals of another.
    #[must_use]
    pub const fn without(self, other: SigSet) -> SigSet {
        SigSet(self.0 & !other.0)
    }
    /// The signals in the set, lowest first.
    pub fn iter(self) -> impl Iterator<Item = i32> {
        (1..=COUNT).filter(move |sig| self.has(*sig))
    }
}

impl std::fmt::Debug for SigSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

record! {
    /// `struct sigaction` as `rt_sigaction` takes it. `mask` is two words so that it is not aligned to 8 anywhere; on a
    /// 64-bit guest the fields before it end at a multiple of 8 anyway.
    SigAction { handler: Ulong, flags: Ulong, restorer: Ulong, mask: [u32; 2], }
    /// `struct old_sigaction` of the first 32-bit architectures.
    OldSigAction { handler: Ulong, mask: Ulong, flags: Ulong, restorer: Ulong, }
    /// `stack_t`.
    AltStack { sp: Ulong, flags: i32, size: Ulong, }
}

/// Handler value: the default action.
pub const SIG_DFL: u64 = 0;
/// Handler value: nothing happens.
pub const SIG_IGN: u64 = 1;

/// Flags of `sigaction` in the generic numbering, which all supported guests use.
pub mod sa {
    /// No `SIGCHLD` when children stop.
    pub const NOCLDSTOP: u64 = 1;
    /// Children do not become zombies.
    pub const NOCLDWAIT: u64 = 2;
    /// The handler gets a siginfo and a context.
    pub const SIGINFO: u64 = 4;
    /// The restorer field is valid.
    pub const RESTORER: u64 = 0x0400_0000;
    /// Use the alternate stack.
    pub const ONSTACK: u64 = 0x0800_0000;
    /// Make interrupted calls again.
    pub const RESTART: u64 = 0x1000_0000;
    /// Do not block the signal in its handler.
    pub const NODEFER: u64 = 0x4000_0000;
    /// Back to the default when the handler is entered.
    pub const RESETHAND: u64 = 0x8000_0000;
}

impl SigAction {
    /// The signals that are blocked while the handler runs.
    pub fn blocks(&self) -> SigSet {
        SigSet(u64::from(self.mask[0]) | u64::from(self.mask[1]) << 32)
    }
    /// Whether a flag is set.
    pub fn has(&self, flag: u64) -> bool {
        self.flags.0 & flag != 0
    }
}

/// What the signals of a process do.
#[derive(Debug)]
pub struct Sighand {
    actions: Mutex<[SigAction; COUNT as usize]>,
}

impl Sighand {
    /// Everything at its default, but those of `ignored` ignored.
    pub fn new(ignored: SigSet) -> Self {
        let mut actions = [SigAction::default(); COUNT as usize];
        for sig in ignored.iter() {
            actions[sig as usize - 1].handler = Ulong(SIG_IGN);
        }
        Sighand { actions: Mutex::new(actions) }
    }
    /// A copy that is not shared.
    pub fn fork(&self) -> Self {
        Sighand { actions: Mutex::new(*self.actions.lock()) }
    }
    /// Runs `f` while nobody else can use the table.
    pub fn with_lock<R>(&self, f: impl FnOnce() -> R) -> R {
        let _guard = self.actions.lock();
        f()
    }
    /// The signals that are ignored.
    pub fn ignored(&self) -> SigSet {
        let actions = self.actions.lock();
        let ignored = (1..=COUNT).filter(|sig| actions[*sig as usize - 1].handler.0 == SIG_IGN);
        ignored.fold(SigSet::EMPTY, |set, sig| set.with(SigSet::of(&[sig])))
    }
    /// What signal `sig` (1 … 64) does.
    pub fn get(&self, sig: i32) -> SigAction {
        self.actions.lock().get((sig - 1) as usize).copied().unwrap_or_default()
    }
    /// Changes what it does, under the lock of the table; returns what it did. `install` makes the host's side follow.
    pub fn set(&self, sig: i32, action: SigAction, install: impl FnOnce()) -> SigAction {
        let mut actions = self.actions.lock();
        let old = actions.get_mut((sig - 1) as usize).map(|slot| std::mem::replace(slot, action)).unwrap_or_default();
        install();
        old
    }
    /// The action for a delivery; with `SA_RESETHAND` the signal is at its default afterwards. The host's disposition
    /// stays: the next delivery looks here.
    pub fn take_for_delivery(&self, sig: i32) -> SigAction {
        let mut actions = self.actions.lock();
        let Some(slot) = actions.get_mut((sig - 1) as usize) else { return SigAction::default() };
        let action = *slot;
        if action.has(sa::RESETHAND) && action.handler.0 > SIG_IGN {
            slot.handler = Ulong(SIG_DFL);
        }
        action
    }
}

/// Flag of the alternate stack: running on it.
pub const SS_ONSTACK: i32 = 1;
/// Flag of the alternate stack: there is none.
pub const SS_DISABLE: i32 = 2;
/// Flag of the alternate stack: it is disabled while a handler runs on it.
pub const SS_AUTODISARM: i32 = i32::MIN;

/// The signal state of a thread.
pub struct TaskSignals {
    /// The signals that the guest blocks.
    pub mask: SigSet,
    /// The mask to go back to after a call that changed it for its duration.
    saved: Option<SigSet>,
    /// The alternate stack.
    pub alt: AltStack,
    pending: Box<Pending>,
}

impl TaskSignals {
    /// The state of a new thread, which has no alternate stack.
    pub fn new(mask: SigSet) -> Self {
        TaskSignals { mask, saved: None, alt: AltStack::default(), pending: Pending::new() }
    }
    /// What the host thread blocks when the guest blocks `mask`.
    pub fn host_mask(&self, mask: SigSet) -> u64 {
        mask.without(SigSet::SYNCHRONOUS).0
    }
    /// The word that is not zero while a signal waits to be delivered.
    pub fn flag(&self) -> &AtomicU32 {
        self.pending.flag()
    }
    /// What waits to be delivered.
    pub fn pending(&self) -> &Pending {
        &self.pending
    }
    /// Sets the guest's mask; what can be neither blocked nor handled is left out. The host's mask follows when signals
    /// are delivered next, so call it with signals held (see [`crate::task::Cx::hold_signals`]).
    pub fn set_mask(&mut self, mask: SigSet) {
        self.mask = mask.without(SigSet::UNBLOCKABLE);
        self.pending.recheck();
    }
    /// Puts `mask` in force until the next delivery, whose frame goes back to the mask of now.
    pub fn suspend(&mut self, mask: SigSet) {
        self.saved.get_or_insert(self.mask);
        self.set_mask(mask);
    }
    /// The mask that a frame must save, which is not the one in force after [`TaskSignals::suspend`].
    pub fn take_saved(&mut self) -> Option<SigSet> {
        self.saved.take()
    }
    /// Whether `sp` is on the alternate stack.
    pub fn on_alt_stack(&self, sp: u64) -> bool {
        let AltStack { sp: low, size, flags } = self.alt;
        flags & SS_AUTODISARM == 0 && sp > low.0 && sp - low.0 <= size.0
    }
    /// The alternate stack as `sigaltstack` reports it to code that runs at `sp`.
    pub fn alt_stack(&self, sp: u64) -> AltStack {
        let mode = match self.alt.size.0 {
            0 => SS_DISABLE,
            _ if self.on_alt_stack(sp) => SS_ONSTACK,
            _ => 0,
        };
        AltStack { flags: mode | self.alt.flags & SS_AUTODISARM, ..self.alt }
    }
}

#[cfg(test)]
mod delivery_tests;
#[cfg(test)]
mod frame_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::{Model, Record};

    #[test]
    fn sets() {
        let s = SigSet::of(&[1, 64]);
        assert_eq!(s.0, 1 | 1 << 63);
        assert!(s.has(64) && !s.has(2) && !s.has(0) && !s.has(65));
        assert_eq!(s.without(SigSet::of(&[1])).iter().collect::<Vec<_>>(), [64]);
    }

    #[test]
    fn layouts_of_i386() {
        assert_eq!(SigAction::size(Model::I386), 20);
        assert_eq!(OldSigAction::size(Model::I386), 16);
        assert_eq!(AltStack::size(Model::I386), 12);
        assert_eq!(SigAction::size(Model::LP64), 32);
    }

    #[test]
    fn resethand_applies_once_and_not_to_ignored_signals() {
        let hand = Sighand::new(SigSet::of(&[2]));
        let action = SigAction { handler: Ulong(0x1000), flags: Ulong(sa::RESETHAND), ..SigAction::default() };
        hand.set(10, action, || {});
        assert_eq!(hand.take_for_delivery(10).handler.0, 0x1000);
        assert_eq!(hand.take_for_delivery(10).handler.0, SIG_DFL);
        assert_eq!(hand.take_for_delivery(2).handler.0, SIG_IGN);
        assert_eq!(hand.get(2).handler.0, SIG_IGN);
    }

    #[test]
    fn unblockable_signals_are_not_blocked() {
        let mut t = TaskSignals::new(SigSet::EMPTY);
        t.set_mask(SigSet::ALL);
        assert!(!t.mask.has(libc::SIGKILL) && !t.mask.has(libc::SIGSTOP) && t.mask.has(libc::SIGSEGV));
        assert!(!SigSet(t.host_mask(t.mask)).has(libc::SIGSEGV));
    }

    #[test]
    fn a_suspended_mask_remembers_the_first_one() {
        let mut t = TaskSignals::new(SigSet::of(&[3]));
        t.suspend(SigSet::EMPTY);
        t.suspend(SigSet::of(&[4]));
        assert_eq!(t.mask, SigSet::of(&[4]));
        assert_eq!(t.take_saved(), Some(SigSet::of(&[3])));
        assert_eq!(t.take_saved(), None);
    }
}
