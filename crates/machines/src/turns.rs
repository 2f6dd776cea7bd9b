//! Processors that take turns: one runs at a time, as the first multi-processor emulators did it (`thread=single`).

use isamorph_accel::{Signals, Wires};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a processor runs while others wait.
const SLICE: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Inner {
    /// Who runs, and how often that has changed.
    current: Option<Arc<Wires>>,
    turn: u64,
    /// Those who wait, by number, first come, first served.
    queue: VecDeque<u32>,
    ended: bool,
}

/// Whose turn it is.
#[derive(Default)]
pub(crate) struct Turns {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Turns with a thread that ends each when it is time.
    pub(crate) fn new() -> Arc<Self> {
        let turns = Arc::<Turns>::default();
        let ticking = turns.clone();
        // Without the thread a processor runs until it halts.
        let _ = std::thread::Builder::new().name("turns".into()).spawn(move || ticking.tick());
        turns
    }
    fn tick(&self) {
        let mut inner = self.lock();
        while !inner.ended {
            let turn = inner.turn;
            let waits = |inner: &mut Inner| inner.queue.is_empty() && !inner.ended;
            inner = self.changed.wait_while(inner, waits).unwrap_or_else(PoisonError::into_inner);
            let same = |inner: &mut Inner| inner.turn == turn && !inner.ended;
            let slept = self.changed.wait_timeout_while(inner, SLICE, same);
            inner = slept.unwrap_or_else(PoisonError::into_inner).0;
            if let Some(wires) = inner.current.as_ref().filter(|_| inner.turn == turn && !inner.queue.is_empty()) {
                wires.raise(Signals::ATTENTION);
            }
        }
    }
    /// Waits for this processor's turn.
    pub(crate) fn begin(&self, index: u32, wires: &Arc<Wires>) {
        let mut inner = self.lock();
        inner.queue.push_back(index);
        self.changed.notify_all();
        let waits = |inner: &mut Inner| inner.current.is_some() || inner.queue.front() != Some(&index);
        let mut inner = self.changed.wait_while(inner, waits).unwrap_or_else(PoisonError::into_inner);
        inner.queue.pop_front();
        inner.current = Some(wires.clone());
        inner.turn += 1;
        self.changed.notify_all();
    }
    /// Ends its turn.
    pub(crate) fn end(&self) {
        self.lock().current = None;
        self.changed.notify_all();
    }
    /// No more turns.
    pub(crate) fn close(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn one_at_a_time_and_everybody_in_the_end() {
        let (turns, running, done) = (Turns::new(), AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for index in 0..4 {
                let (turns, running, done) = (&turns, &running, &done);
                scope.spawn(move || {
                    let wires = Wires::new();
                    turns.begin(index, &wires);
                    assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0);
                    if done.fetch_add(1, Ordering::SeqCst) < 3 {
                        wires.wait(Signals::ATTENTION, Duration::from_secs(60));
                        assert!(wires.pending().contains(Signals::ATTENTION), "the turn ends while others wait");
                    }
                    running.fetch_sub(1, Ordering::SeqCst);
                    turns.end();
                });
            }
        });
        turns.close();
        assert_eq!(done.into_inner(), 4);
    }
}
