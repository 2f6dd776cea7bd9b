//! The inline jump cache of a vCPU: what compiled code probes at computed jumps.

use isamorph_host::Errno;
use isamorph_host::table::ZeroTable;
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
}
