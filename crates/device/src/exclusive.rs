//! State that one thread at a time may use, and that notices when that thread comes back.

use isamorph_space::IoError;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// How long a transfer waits for a device. Two devices that transfer to each other at the same time would wait for
/// ever; any other wait is over long before.
const PATIENCE: Duration = Duration::from_secs(1);

thread_local! {
    /// Its address is a number that no other living thread has.
    static MARK: u8 = const { 0 };
    /// Transfers of devices that this thread is in the middle of.
    static TRANSFERS: Cell<u32> = const { Cell::new(0) };
}

/// Does something as a part of a device's transfer.
pub(crate) fn in_transfer<R>(transfer: impl FnOnce() -> R) -> R {
    TRANSFERS.set(TRANSFERS.get() + 1);
    let result = transfer();
    TRANSFERS.set(TRANSFERS.get() - 1);
    result
}

fn this_thread() -> usize {
    MARK.with(|mark| std::ptr::from_ref(mark).addr())
}

/// The state of a device behind a lock.
#[derive(Debug, Default)]
pub struct Exclusive<T> {
    state: Mutex<T>,
    /// Mark of the thread that holds the lock; 0 for none.
    owner: AtomicUsize,
}

impl<T> Exclusive<T> {
    /// State that nobody uses yet.
    pub const fn new(state: T) -> Self {
        Exclusive { state: Mutex::new(state), owner: AtomicUsize::new(0) }
    }
    /// Waits for other threads and enters.
    ///
    /// # Errors
    /// This thread has entered already: the device's own transfer leads back to it. Or a transfer leads to a device
    /// that does not answer, because it waits for the device that makes the transfer.
    pub fn enter(&self) -> Result<Guard<'_, T>, IoError> {
        // Only this thread ever stores its own mark, so that seeing it is never a race.
        if self.owner.load(Ordering::Relaxed) == this_thread() {
            return Err(IoError::Reentered);
        }
        let state = if TRANSFERS.get() == 0 {
            self.state.lock().unwrap_or_else(PoisonError::into_inner)
        } else {
            self.wait_for_transfer()?
        };
        self.owner.store(this_thread(), Ordering::Relaxed);
        Ok(Guard { state, owner: &self.owner })
    }
    fn wait_for_transfer(&self) -> Result<MutexGuard<'_, T>, IoError> {
        let start = Instant::now();
        loop {
            match self.state.try_lock() {
                Ok(state) => return Ok(state),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if start.elapsed() > PATIENCE => return Err(IoError::Reentered),
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
            }
        }
    }
}

/// Entered state.
#[derive(Debug)]
pub struct Guard<'a, T> {
    state: MutexGuard<'a, T>,
    owner: &'a AtomicUsize,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.state
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.state
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.owner.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_does_not_enter_twice() {
        let state = Exclusive::new(1);
        let guard = state.enter().unwrap();
        assert_eq!(state.enter().err(), Some(IoError::Reentered));
        drop(guard);
        *state.enter().unwrap() += 1;
        assert_eq!(*state.enter().unwrap(), 2);
    }

    #[test]
    fn a_transfer_does_not_wait_for_ever() {
        let state = Exclusive::new(0);
        let guard = state.enter().unwrap();
        let transfer = || in_transfer(|| state.enter().err());
        let outcome = std::thread::scope(|scope| scope.spawn(transfer).join().unwrap());
        assert_eq!(outcome, Some(IoError::Reentered));
        drop(guard);
        assert_eq!(in_transfer(|| state.enter().err()), None);
    }

    #[test]
    fn other_threads_wait() {
        let state = Exclusive::new(0u64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| *state.enter().unwrap() += 1));
            }
        });
        assert_eq!(*state.enter().unwrap(), 4000);
    }
}
