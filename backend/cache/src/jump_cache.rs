//! The inline jump cache of a vCPU: what compiled code probes at computed jumps.

use isamorph_host::Errno;
use isamorph_host::table::ZeroTable;
use std::sync::atomic::{AtomicU32, Ordering};

/// Entries of a jump cache; the low bits of a shifted program counter are the index.
pub const JUMP_CACHE_ENTRIES: usize = 1 << 16;

/// Offsets of entries for computed jumps; 0 leads to the miss thunk.
#[derive(Debug)]
pub struct JumpCache {
    entries: ZeroTable<AtomicU32>,
    shift: u32,
}

impl JumpCache {
    /// An empty cache; `shift` is what a program counter is shifted right by.
    pub fn new(shift: u32) -> Result<Self, Errno> {
        Ok(JumpCache { entries: ZeroTable::new(JUMP_CACHE_ENTRIES)?, shift })
    }
    /// Its address, for compiled code.
    pub fn address(&self) -> usize {
        self.entries.as_ptr() as usize
    }
    fn entry(&self, pc: u64) -> &AtomicU32 {
        &self.entries[(pc >> self.shift) as usize % JUMP_CACHE_ENTRIES]
    }
    /// Makes computed jumps to `pc` go to the entry at `offset`.
    pub fn fill(&self, pc: u64, offset: u32) {
        self.entry(pc).store(offset, Ordering::Release);
    }
    /// Makes computed jumps to `pc` miss if they go to `offset` now.
    pub fn drop_entry(&self, pc: u64, offset: u32) {
        // Losing the exchange means that another entry is there, which is not ours to drop.
        let _ = self.entry(pc).compare_exchange(offset, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
    /// Makes all computed jumps miss.
    pub fn clear(&self) {
        self.entries.iter().for_each(|e| e.store(0, Ordering::Release));
    }
}
