//! A mutex that a `fork` may hold: its state is a word of its own, so that the child can release it, and take it again,
//! whoever waited for it in the parent. (A mutex that keeps its waiters in a table of the process leaves the child with
//! waiters that it does not have.) A panic elsewhere does not poison it.

use std::sync::{MutexGuard, PoisonError};

/// A mutex.
#[derive(Default, Debug)]
pub struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// A mutex that nobody holds.
    pub const fn new(value: T) -> Self {
        Mutex(std::sync::Mutex::new(value))
    }
    /// Waits for it and takes it.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
