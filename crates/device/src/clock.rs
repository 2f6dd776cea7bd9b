//! Time as devices see it, and timers.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Number of a timer of a clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TimerId(usize);

/// What a timer does when its time has come.
type Callback = Arc<dyn Fn() + Send + Sync>;

/// A clock with timers. Times are nanoseconds since the machine was made.
pub trait Clock: Send + Sync {
    /// The time.
    fn now(&self) -> u64;
    /// The clock's timers.
    fn schedule(&self) -> &Schedule;
}

/// Timers in the order of their deadlines.
#[derive(Default)]
pub struct Schedule {
    inner: Mutex<Timers>,
    /// Called when the first deadline has become earlier.
    wake: Mutex<Option<Callback>>,
}

#[derive(Default)]
struct Timers {
    callbacks: Vec<Option<Callback>>,
    deadlines: Vec<Option<u64>>,
    order: BTreeSet<(u64, TimerId)>,
}

impl Timers {
    fn arm(&mut self, id: TimerId, deadline: Option<u64>) {
        if let Some(old) = std::mem::replace(&mut self.deadlines[id.0], deadline) {
            self.order.remove(&(old, id));
        }
        self.order.extend(deadline.map(|at| (at, id)));
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().order.iter()).finish()
    }
}

impl Schedule {
    fn lock(&self) -> MutexGuard<'_, Timers> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Has `wake` called whenever whoever waits for [`Schedule::next_deadline`] waits for too long.
    pub fn set_wake(&self, wake: impl Fn() + Send + Sync + 'static) {
        *self.wake.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(wake));
    }
    fn add(&self, callback: Callback) -> TimerId {
        let mut timers = self.lock();
        timers.callbacks.push(Some(callback));
        timers.deadlines.push(None);
        TimerId(timers.callbacks.len() - 1)
    }
    fn remove(&self, id: TimerId) {
        let mut timers = self.lock();
        timers.arm(id, None);
        timers.callbacks[id.0] = None;
    }
    fn arm(&self, id: TimerId, deadline: Option<u64>) {
        let is_first = {
            let mut timers = self.lock();
            timers.arm(id, deadline);
            timers.order.first().is_some_and(|(_, first)| *first == id)
        };
        let wake = self.wake.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(wake) = wake.filter(|_| is_first) {
            wake();
        }
    }
    /// When the next timer is due.
    pub fn next_deadline(&self) -> Option<u64> {
        self.lock().order.first().map(|(at, _)| *at)
    }
    /// Runs the timers that are due at `now`, in the order of their deadlines, each with no lock held. A timer that is
    /// armed again by then for a time that has come runs again.
    pub fn run_due(&self, now: u64) {
        loop {
            let callback = {
                let mut timers = self.lock();
                let Some((_, id)) = timers.order.first().copied().filter(|(at, _)| *at <= now) else { return };
                timers.arm(id, None);
                timers.callbacks[id.0].clone()
            };
            if let Some(callback) = callback {
                callback();
            }
        }
    }
}

/// A timer of a device. It is gone when it is dropped.
pub struct Timer {
    clock: Arc<dyn Clock>,
    id: TimerId,
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timer").field(&self.id).finish()
    }
}

impl Timer {
    /// A timer that is not armed. The callback should hold its device weakly.
    pub fn new(clock: &Arc<dyn Clock>, callback: impl Fn() + Send + Sync + 'static) -> Self {
        let id = clock.schedule().add(Arc::new(callback));
        Timer { clock: clock.clone(), id }
    }
    /// Calls back once at that time, or as soon as possible if it has passed. Replaces what was set before.
    pub fn set(&self, deadline: u64) {
        self.clock.schedule().arm(self.id, Some(deadline));
    }
    /// Does not call back.
    pub fn cancel(&self) {
        self.clock.schedule().arm(self.id, None);
    }
    /// When it will call back.
    pub fn deadline(&self) -> Option<u64> {
        self.clock.schedule().lock().deadlines[self.id.0]
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.clock.schedule().remove(self.id);
    }
}

/// The guest's time: that of the host while the machine runs. It stands still while the machine is stopped.
#[derive(Debug)]
pub struct VirtualClock {
    state: Mutex<Running>,
    schedule: Schedule,
}

#[derive(Debug)]
struct Running {
    /// Time when `since` was taken, or the time at which the clock stands.
    base: u64,
    since: Option<Instant>,
}

impl VirtualClock {
    /// A clock that stands at 0.
    pub fn new() -> Arc<Self> {
        Arc::new(VirtualClock { state: Mutex::new(Running { base: 0, since: None }), schedule: Schedule::default() })
    }
    fn lock(&self) -> MutexGuard<'_, Running> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Lets it run.
    pub fn start(&self) {
        self.lock().since.get_or_insert_with(Instant::now);
    }
    /// Stops it.
    pub fn stop(&self) {
        let mut state = self.lock();
        if let Some(since) = state.since.take() {
            state.base += since.elapsed().as_nanos() as u64;
        }
    }
    /// How long to wait for the next timer: nothing if there is none or the clock stands.
    pub fn wait(&self) -> Option<Duration> {
        self.lock().since?;
        let deadline = self.schedule.next_deadline()?;
        Some(Duration::from_nanos(deadline.saturating_sub(self.now())))
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> u64 {
        let state = self.lock();
        state.base + state.since.map_or(0, |since| since.elapsed().as_nanos() as u64)
    }
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }
}

/// A clock that is moved by hand: for tests, fuzzing and deterministic runs.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: Mutex<u64>,
    schedule: Schedule,
}

impl ManualClock {
    /// A clock at 0.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
    /// Lets time pass; timers run at their own times on the way.
    pub fn advance(&self, nanoseconds: u64) {
        let end = self.now().saturating_add(nanoseconds);
        while let Some(deadline) = self.schedule.next_deadline().filter(|at| *at <= end) {
            self.set_now(deadline.max(self.now()));
            self.schedule.run_due(self.now());
        }
        self.set_now(end);
    }
    /// Lets time pass in which no timer runs: a host that is busy with something else.
    pub fn skip(&self, nanoseconds: u64) {
        self.set_now(self.now().saturating_add(nanoseconds));
    }
    fn set_now(&self, now: u64) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> u64 {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn schedule(&self) -> &Schedule {
        &self.schedule
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn counting(clock: &Arc<ManualClock>) -> (Timer, Arc<Mutex<Vec<u64>>>) {
        let (seen, times) = (Arc::new(Mutex::new(Vec::new())), clock.clone());
        let log = seen.clone();
        let timer = Timer::new(&(clock.clone() as Arc<dyn Clock>), move || log.lock().unwrap().push(times.now()));
        (timer, seen)
    }

    #[test]
    fn timers_run_once_at_their_time() {
        let clock = ManualClock::new();
        let (timer, seen) = counting(&clock);
        timer.set(100);
        clock.advance(99);
        assert_eq!((seen.lock().unwrap().len(), timer.deadline()), (0, Some(100)));
        clock.advance(1000);
        assert_eq!((seen.lock().unwrap().clone(), timer.deadline()), (vec![100], None));
    }

    #[test]
    fn a_later_setting_replaces_an_earlier_one() {
        let clock = ManualClock::new();
        let (timer, seen) = counting(&clock);
        timer.set(10);
        timer.set(50);
        let (cancelled, never) = counting(&clock);
        cancelled.set(20);
        cancelled.cancel();
        let (dropped, neither) = counting(&clock);
        dropped.set(20);
        drop(dropped);
        clock.advance(100);
        assert_eq!(*seen.lock().unwrap(), [50]);
        assert!(never.lock().unwrap().is_empty() && neither.lock().unwrap().is_empty());
    }

    #[test]
    fn whoever_waits_is_woken_for_an_earlier_deadline() {
        let (clock, woken) = (VirtualClock::new(), Arc::new(AtomicU64::new(0)));
        let count = woken.clone();
        clock.schedule().set_wake(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let as_clock = clock.clone() as Arc<dyn Clock>;
        let [first, second] = [0, 1].map(|_| Timer::new(&as_clock, || {}));
        first.set(1000);
        second.set(2000);
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        second.set(500);
        assert_eq!(woken.load(Ordering::Relaxed), 2);
        assert_eq!(clock.wait(), None, "a clock that stands has no deadlines");
        clock.start();
        assert!(clock.wait().is_some_and(|wait| wait <= Duration::from_nanos(500)));
        clock.stop();
        let stopped = clock.now();
        assert_eq!(clock.now(), stopped);
    }
}
