//! Large tables of atomics that are zero at first and cost memory only where they are used.
#![allow(unsafe_code)] // the table is a slice over mapped memory

use crate::map::{self, Errno};
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

mod sealed {
    /// Types for which all-zero memory is a value and shared references allow mutation by atomic access only.
    pub trait Cell: Sync {}
}

impl sealed::Cell for AtomicU8 {}
impl sealed::Cell for AtomicU32 {}
impl sealed::Cell for AtomicU64 {}

/// A slice of `AtomicU8`, `AtomicU32` or `AtomicU64`, all zero at first.
#[derive(Debug)]
pub struct ZeroTable<T: sealed::Cell> {
    base: usize,
    len: usize,
    cells: PhantomData<T>,
}

impl<T: sealed::Cell> ZeroTable<T> {
    /// A table of `len` cells.
    pub fn new(len: usize) -> Result<Self, Errno> {
        let bytes = len.max(1).checked_mul(size_of::<T>()).ok_or(Errno(libc::ENOMEM))?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: not a fixed mapping.
        let base = unsafe { map::mmap(0, bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) }?;
        Ok(ZeroTable { base, len, cells: PhantomData })
    }
}

impl<T: sealed::Cell> Deref for ZeroTable<T> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the mapping holds `len` zero-initialised atomics and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.base as *const T, self.len) }
    }
}

impl<T: sealed::Cell> Drop for ZeroTable<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is the table's own, and no slice outlives the borrow of `self`.
        let _ = unsafe { map::munmap(self.base, self.len.max(1) * size_of::<T>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering::Relaxed;

    #[test]
    fn starts_zero_and_keeps_values() {
        let t = ZeroTable::<AtomicU32>::new(1 << 20).unwrap();
        assert_eq!((t.len(), t[(1 << 20) - 1].load(Relaxed)), (1 << 20, 0));
        t[77].store(5, Relaxed);
        assert_eq!((t[76].load(Relaxed), t[77].load(Relaxed)), (0, 5));
    }
}
