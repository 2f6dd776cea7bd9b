//! State that one thread at a time may use, and that notices when that thread comes back.

use isamorph_space::IoError;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

thread_local! {
    /// Its address is a number that no other living thread has.
    static MARK: u8 = const { 0 };
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
    /// This thread has entered already: the device's own transfer leads back to it.
    pub fn enter(&self) -> Result<Guard<'_, T>, IoError> {
        // Only this thread ever stores its own mark, so that seeing it is never a race.
        if self.owner.load(Ordering::Relaxed) == this_thread() {
            return Err(IoError::Reentered);
        }
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.owner.store(this_thread(), Ordering::Relaxed);
        Ok(Guard { state, owner: &self.owner })
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
