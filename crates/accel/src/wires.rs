//! What reaches a processor of a machine from outside.

use bitflags::bitflags;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

bitflags! {
    /// Signals to a processor.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Signals: u32 {
        /// An external interrupt is wanted: a level. The vector comes from [`Controller::acknowledge`].
        const INTERRUPT = 1;
        /// Not maskable: an edge.
        const NMI = 1 << 1;
        /// System management: an edge.
        const SMI = 1 << 2;
        /// INIT: an edge.
        const INIT = 1 << 3;
        /// Start-up, with [`Wires::start_vector`]: an edge. It has no effect on a processor that does not wait for it.
        const START = 1 << 4;
        /// Address line 20 is held low: a level.
        const LINE_20_LOW = 1 << 6;
        /// The machine wants the processor's thread: [`crate::Left::Attention`]. Stays until [`Wires::take`]n.
        const ATTENTION = 1 << 5;
    }
}

/// A processor's own interrupt controller, as its instructions reach it.
pub trait Controller: Send + Sync {
    /// Takes the interrupt that is most urgent; nothing if it has gone away.
    fn acknowledge(&self) -> Option<u8>;
    /// See `System::controller_read`.
    fn read(&self, register: u32) -> Option<u64>;
    /// See `System::controller_write`.
    fn write(&self, register: u32, value: u64) -> Option<()>;
}

/// Gets a vCPU out of whatever runs it, soon.
type Kick = Box<dyn Fn() + Send + Sync>;

/// The inputs of a processor. Devices and other processors set them; the processor looks at them when it is kicked, and
/// each time before it halts.
#[derive(Default)]
pub struct Wires {
    pending: AtomicU32,
    start_vector: AtomicU32,
    /// How often a signal was set that was not pending before.
    changes: AtomicU32,
    /// Of the vCPU that listens.
    kick: Mutex<Option<Kick>>,
    changed: Condvar,
    controller: OnceLock<Arc<dyn Controller>>,
}

impl Wires {
    /// Wires on which nothing is pending.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
    fn lock(&self) -> MutexGuard<'_, Option<Kick>> {
        self.kick.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Sets signals and gets the processor's attention.
    pub fn raise(&self, signals: Signals) {
        let before = self.pending.fetch_or(signals.bits(), Ordering::SeqCst);
        if before & signals.bits() != signals.bits() {
            self.changes.fetch_add(1, Ordering::SeqCst);
            let kick = self.lock();
            if let Some(kick) = &*kick {
                kick();
            }
            self.changed.notify_all();
        }
    }
    /// Takes signals back: a level that has gone.
    pub fn lower(&self, signals: Signals) {
        self.pending.fetch_and(!signals.bits(), Ordering::SeqCst);
    }
    /// What is pending.
    pub fn pending(&self) -> Signals {
        Signals::from_bits_truncate(self.pending.load(Ordering::SeqCst))
    }
    /// Takes those of the signals that are pending.
    pub fn take(&self, signals: Signals) -> Signals {
        Signals::from_bits_truncate(self.pending.fetch_and(!signals.bits(), Ordering::SeqCst)) & signals
    }
    /// Sends the start-up signal with its vector (SDM vol. 3, 9.4.3).
    pub fn start(&self, vector: u8) {
        self.start_vector.store(vector.into(), Ordering::SeqCst);
        self.raise(Signals::START);
    }
    /// The vector of the last start-up signal.
    pub fn start_vector(&self) -> u8 {
        self.start_vector.load(Ordering::SeqCst) as u8
    }
    /// From now on signals call `kick`, which must be quick and must not call back; nothing ends that. If signals are
    /// pending, it is called at once.
    pub fn attach(&self, kick: Option<Kick>) {
        let mut current = self.lock();
        if let Some(kick) = kick.as_ref().filter(|_| !self.pending().is_empty()) {
            kick();
        }
        *current = kick;
    }
    /// A number that is another one whenever a signal has become pending, for [`Wires::wait_for_change`].
    pub fn changes(&self) -> u32 {
        self.changes.load(Ordering::SeqCst)
    }
    /// Waits until a signal has become pending since [`Wires::changes`] gave that number, or that long. A processor
    /// that halts waits in this way: what is pending and did not wake it does not wake it now.
    pub fn wait_for_change(&self, since: u32, timeout: Duration) {
        let guard = self.lock();
        let waits = |_: &mut Option<Kick>| self.changes() == since;
        drop(self.changed.wait_timeout_while(guard, timeout, waits).unwrap_or_else(PoisonError::into_inner));
    }
    /// Waits until one of the signals is pending, or that long.
    pub fn wait(&self, signals: Signals, timeout: Duration) {
        let guard = self.lock();
        let waits = |_: &mut Option<Kick>| !self.pending().intersects(signals);
        drop(self.changed.wait_timeout_while(guard, timeout, waits).unwrap_or_else(PoisonError::into_inner));
    }
    /// Connects the interrupt controller; once, when the machine is built.
    pub fn connect(&self, controller: Arc<dyn Controller>) {
        // The first one stays.
        let _ = self.controller.set(controller);
    }
    /// The interrupt controller, if one is connected.
    pub fn controller(&self) -> Option<&Arc<dyn Controller>> {
        self.controller.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn a_halted_processor_waits_for_news() {
        let wires = Wires::new();
        wires.raise(Signals::INTERRUPT);
        let seen = wires.changes();
        wires.wait_for_change(seen, Duration::from_millis(1));
        assert_eq!(wires.changes(), seen, "what was pending is no news");
        std::thread::scope(|scope| {
            scope.spawn(|| wires.raise(Signals::NMI));
            wires.wait_for_change(seen, Duration::from_secs(60));
        });
        assert_ne!(wires.changes(), seen);
        let seen = wires.changes();
        wires.lower(Signals::INTERRUPT);
        wires.raise(Signals::INTERRUPT);
        assert_ne!(wires.changes(), seen, "a level that comes back is");
    }

    #[test]
    fn signals_kick_once_and_wake() {
        let (wires, kicks) = (Wires::new(), Arc::new(AtomicU32::new(0)));
        wires.raise(Signals::NMI);
        let counted = kicks.clone();
        wires.attach(Some(Box::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        })));
        assert_eq!(kicks.load(Ordering::SeqCst), 1, "pending before");
        wires.raise(Signals::INTERRUPT);
        wires.raise(Signals::INTERRUPT);
        assert_eq!(kicks.load(Ordering::SeqCst), 2);
        assert_eq!(wires.take(Signals::NMI | Signals::SMI), Signals::NMI);
        wires.lower(Signals::INTERRUPT);
        assert!(wires.pending().is_empty());
        std::thread::scope(|scope| {
            scope.spawn(|| wires.start(7));
            wires.wait(Signals::START, Duration::from_secs(60));
        });
        assert_eq!((wires.take(Signals::all()), wires.start_vector()), (Signals::START, 7));
    }
}
