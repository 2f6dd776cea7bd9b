//! The inline jump cache of a vCPU: what compiled code probes at computed jumps.

use isamorph_host::Errno;
use isamorph_host::table::ZeroTable;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicUsize, Ordering};

/// Entries of a jump cache; the low bits of a shifted program counter are the index.
pub const JUMP_CACHE_ENTRIES: usize = 1 << 16;

/// Offsets of entries for computed jumps; 0 leads to the miss thunk.
#[derive(Debug)]
pub struct JumpCache {
    entries: ZeroTable<AtomicU32>,
    shift: u32,
    /// How many entries were filled since all of them were empty, and which the first ones are.
    filled: AtomicUsize,
    first: [AtomicU16; FIRST],
}

/// So many entries are remembered: who changes the mode often, or forks, has filled few in between.
const FIRST: usize = 1024;

impl JumpCache {
    /// An empty cache; `shift` is what a program counter is shifted right by.
    pub fn new(shift: u32) -> Result<Self, Errno> {
        let first = std::array::from_fn(|_| AtomicU16::new(0));
        Ok(JumpCache { entries: ZeroTable::new(JUMP_CACHE_ENTRIES)?, shift, filled: AtomicUsize::new(0), first })
    }
    /// Its address, for compiled code.
    pub fn address(&self) -> usize {
        self.entries.as_ptr() as usize
    }
    fn index(&self, pc: u64) -> usize {
        (pc >> self.shift) as usize % JUMP_CACHE_ENTRIES
    }
    fn entry(&self, pc: u64) -> &AtomicU32 {
        &self.entries[self.index(pc)]
    }
    /// Makes computed jumps to `pc` go to the entry at `offset`. Only for the vCPU's own thread.
    pub fn fill(&self, pc: u64, offset: u32) {
        let filled = self.filled.fetch_add(1, Ordering::Relaxed);
        if let Some(first) = self.first.get(filled) {
            first.store(self.index(pc) as u16, Ordering::Relaxed);
        }
        self.entry(pc).store(offset, Ordering::Release);
    }
    /// Makes computed jumps to `pc` miss if they go to `offset` now.
    pub fn drop_entry(&self, pc: u64, offset: u32) {
        // Losing the exchange means that another entry is there, which is not ours to drop.
        let _ = self.entry(pc).compare_exchange(offset, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
    /// Makes all computed jumps miss. Only for the vCPU's own thread, or while it waits.
    pub fn clear(&self) {
        let empty = |entry: &AtomicU32| entry.store(0, Ordering::Release);
        match self.first.get(..self.filled.swap(0, Ordering::Relaxed)) {
            Some(first) => first.iter().for_each(|i| empty(&self.entries[usize::from(i.load(Ordering::Relaxed))])),
            None => self.entries.iter().for_each(empty),
        }
    }
}

/// So many jump caches a vCPU may have.
pub const JUMP_CACHES: usize = 8;

/// The jump caches of a vCPU, of which one is in use: a guest that changes its mode back and forth, as system calls do,
/// has one for each mode. They are made when they are first used.
#[derive(Debug)]
pub struct JumpCaches {
    caches: [OnceLock<JumpCache>; JUMP_CACHES],
    current: AtomicUsize,
    shift: u32,
}

impl JumpCaches {
    /// Empty ones, the first in use.
    pub fn new(shift: u32) -> Result<Self, Errno> {
        let caches = std::array::from_fn(|_| OnceLock::new());
        let caches = JumpCaches { caches, current: AtomicUsize::new(0), shift };
        caches.make(0)?;
        Ok(caches)
    }
    fn make(&self, index: usize) -> Result<(), Errno> {
        if self.caches[index].get().is_none() {
            let cache = JumpCache::new(self.shift)?;
            // Only the vCPU's own thread makes them.
            let _ = self.caches[index].set(cache);
        }
        Ok(())
    }
    /// The one in use.
    pub fn current(&self) -> &JumpCache {
        let current = &self.caches[self.current.load(Ordering::Relaxed)];
        current.get().expect("it was made before it was chosen")
    }
    /// Uses another one. Without memory for it the current one stays, and is emptied.
    pub fn choose(&self, index: usize) {
        let index = index % JUMP_CACHES;
        match self.make(index) {
            Ok(()) => self.current.store(index, Ordering::Relaxed),
            Err(_) => self.current().clear(),
        }
    }
    /// Makes computed jumps to `pc` miss if they go to `offset` now, in all of them.
    pub fn drop_entry(&self, pc: u64, offset: u32) {
        self.caches.iter().filter_map(OnceLock::get).for_each(|cache| cache.drop_entry(pc, offset));
    }
    /// Empties all of them.
    pub fn clear(&self) {
        self.caches.iter().filter_map(OnceLock::get).for_each(JumpCache::clear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_entries_are_cleared() {
        let cache = JumpCache::new(2).unwrap();
        for count in [1, FIRST as u64, FIRST as u64 + 1, 3] {
            (0..count).for_each(|n| cache.fill(n << 3, 5));
            assert!((0..count).all(|n| cache.entry(n << 3).load(Ordering::Relaxed) == 5));
            cache.clear();
            assert!(cache.entries.iter().all(|e| e.load(Ordering::Relaxed) == 0), "{count}");
        }
    }

    #[test]
    fn what_is_dropped_is_dropped_from_all() {
        let caches = JumpCaches::new(0).unwrap();
        let entry = |caches: &JumpCaches, pc| caches.current().entry(pc).load(Ordering::Relaxed);
        caches.current().fill(1, 5);
        caches.choose(3);
        assert_eq!(entry(&caches, 1), 0);
        caches.current().fill(1, 5);
        caches.current().fill(2, 6);
        caches.drop_entry(1, 5);
        assert_eq!((entry(&caches, 1), entry(&caches, 2)), (0, 6));
        caches.choose(0);
        assert_eq!(entry(&caches, 1), 0);
        caches.current().fill(4, 7);
        caches.clear();
        assert_eq!(entry(&caches, 4), 0);
        caches.choose(3);
        assert_eq!(entry(&caches, 2), 0);
    }
}
