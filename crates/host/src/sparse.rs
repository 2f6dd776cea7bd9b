//! A large table of bytes most of which are the same as their neighbours.
#![allow(unsafe_code)] // leaves are mapped memory, found through an address in an atomic

use crate::map::{self, Errno};
use crate::table::ZeroTable;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Cells of a leaf. The top table for 2³⁵ cells then takes 16 MiB of address space, and a run that covers a leaf costs
/// one store.
const LEAF: usize = 1 << LEAF_SHIFT;
const LEAF_SHIFT: u32 = 14;

/// The entry's leaf counts; otherwise all of its cells have the value in the low byte. The rest of an entry is the
/// address of a leaf, or 0: a leaf stays with its entry even while it does not count.
const SPLIT: u64 = 1 << 8;
const ADDRESS: u64 = !0xfff;

/// A table of atomic bytes, all 0 at first. Reading takes no lock, and setting a long run to one value takes neither
/// the time nor the memory of its cells.
#[derive(Debug)]
pub struct SparseBytes {
    top: ZeroTable<AtomicU64>,
    len: usize,
    /// Held by whoever changes an entry; the addresses of all leaves.
    leaves: Mutex<Vec<usize>>,
}

type Leaf = [AtomicU8; LEAF];

/// The leaf that counts for an entry.
fn leaf(entry: u64) -> Option<&'static Leaf> {
    // SAFETY: the address in an entry is that of a leaf, which is mapped until the table is dropped; the references
    // that this module makes do not outlive the borrow of the table.
    (entry & SPLIT != 0).then(|| unsafe { &*((entry & ADDRESS) as *const Leaf) })
}

impl SparseBytes {
    /// A table of `len` cells.
    ///
    /// # Errors
    /// The host has no room for the top table.
    pub fn new(len: usize) -> Result<Self, Errno> {
        Ok(SparseBytes { top: ZeroTable::new(len.div_ceil(LEAF))?, len, leaves: Mutex::default() })
    }

    /// The value of a cell; 0 outside the table.
    #[inline]
    pub fn get(&self, index: usize) -> u8 {
        let Some(entry) = self.top.get(index >> LEAF_SHIFT) else { return 0 };
        let entry = entry.load(Ordering::Acquire);
        leaf(entry).map_or(entry as u8, |leaf| leaf[index % LEAF].load(Ordering::Acquire))
    }

    /// A cell's value, and the end of the run of that value as far as it is known without looking at other cells.
    #[inline]
    pub fn run(&self, index: usize) -> (u8, usize) {
        let Some(entry) = self.top.get(index >> LEAF_SHIFT) else { return (0, usize::MAX) };
        let entry = entry.load(Ordering::Acquire);
        match leaf(entry) {
            Some(leaf) => (leaf[index % LEAF].load(Ordering::Acquire), index + 1),
            None => (entry as u8, (index | (LEAF - 1)) + 1),
        }
    }

    /// Sets a cell and returns what it was. Outside the table nothing happens.
    ///
    /// # Errors
    /// No memory for a leaf.
    pub fn set(&self, index: usize, value: u8) -> Result<u8, Errno> {
        let Some(slot) = self.top.get(index >> LEAF_SHIFT).filter(|_| index < self.len) else { return Ok(0) };
        let entry = slot.load(Ordering::Acquire);
        let entry =
            if entry & SPLIT == 0 && entry as u8 != value { self.split(&mut self.lock(), slot)? } else { entry };
        Ok(leaf(entry).map_or(value, |leaf| leaf[index % LEAF].swap(value, Ordering::AcqRel)))
    }

    /// Makes sure that [`fill`](Self::fill) of the range, with whatever value, has the memory that it needs.
    ///
    /// # Errors
    /// There is none.
    pub fn prepare(&self, range: Range<usize>) -> Result<(), Errno> {
        let mut leaves = self.lock();
        for end in [range.start, range.end] {
            if let Some(slot) = self.top.get(end >> LEAF_SHIFT).filter(|_| end % LEAF != 0) {
                self.split(&mut leaves, slot)?;
            }
        }
        Ok(())
    }

    /// Sets the cells of a range. Where that takes memory and there is none, they keep their values.
    pub fn fill(&self, range: Range<usize>, value: u8) {
        let mut leaves = self.lock();
        let (mut at, end) = (range.start, range.end.min(self.len));
        while at < end {
            let (slot, next) = (&self.top[at >> LEAF_SHIFT], ((at | (LEAF - 1)) + 1).min(end));
            let entry = slot.load(Ordering::Acquire);
            if next - at == LEAF {
                slot.store(entry & ADDRESS | u64::from(value), Ordering::Release);
            } else if entry & SPLIT != 0 || entry as u8 != value {
                let cells = self.split(&mut leaves, slot).ok().and_then(leaf).into_iter().flatten();
                cells.skip(at % LEAF).take(next - at).for_each(|cell| cell.store(value, Ordering::Release));
            }
            at = next;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<usize>> {
        self.leaves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an entry a leaf that counts, with the values that its cells have; returns the entry.
    fn split(&self, leaves: &mut Vec<usize>, slot: &AtomicU64) -> Result<u64, Errno> {
        let old = slot.load(Ordering::Acquire);
        if old & SPLIT != 0 {
            return Ok(old);
        }
        let mut new = old & ADDRESS | SPLIT;
        let fresh = new & ADDRESS == 0;
        if fresh {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: not a fixed mapping.
            let address = unsafe { map::mmap(0, LEAF, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) }?;
            leaves.push(address);
            new |= address as u64;
        }
        // Nobody else uses the leaf now, except who found it in the entry before it stopped to count.
        let value = old as u8;
        if !(fresh && value == 0) {
            leaf(new).into_iter().flatten().for_each(|cell| cell.store(value, Ordering::Relaxed));
        }
        slot.store(new, Ordering::Release);
        Ok(new)
    }
}

impl Drop for SparseBytes {
    fn drop(&mut self) {
        for address in std::mem::take(&mut *self.lock()) {
            // SAFETY: the leaf is the table's own, and no reference outlives the borrow of `self`.
            let _ = unsafe { map::munmap(address, LEAF) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_cells() {
        let table = SparseBytes::new(1 << 35).unwrap();
        assert_eq!((table.get(1 << 34), table.get(1 << 35), table.run(5)), (0, 0, (0, LEAF)));
        table.fill(100..1 << 34, 7);
        let far = (1 << 34) - 1;
        assert_eq!([99, 100, 5 * LEAF, far, far + 1].map(|i| table.get(i)), [0, 7, 7, 7, 0]);
        assert_eq!((table.run(5 * LEAF + 3), table.run(99), table.run(100)), ((7, 6 * LEAF), (0, 100), (7, 101)));
        assert_eq!(table.set(5 * LEAF + 3, 9), Ok(7));
        assert_eq!([2, 3, 4].map(|i| table.get(5 * LEAF + i)), [7, 9, 7]);
        table.fill(5 * LEAF..6 * LEAF, 1);
        assert_eq!((table.run(5 * LEAF + 3), table.get(6 * LEAF)), ((1, 6 * LEAF), 7));
        assert_eq!(table.set(6 * LEAF - 1, 2), Ok(1), "the leaf counts again, with the value of the run");
        assert_eq!([1, 2, 3].map(|i| table.get(6 * LEAF - i)), [2, 1, 1]);
        assert_eq!(table.lock().len(), 2, "a leaf for the first end, and one for the cells; the other end is whole");
    }

    #[test]
    fn ends_need_memory_once() {
        let table = SparseBytes::new(10 * LEAF + 10).unwrap();
        table.prepare(5..9 * LEAF + 5).unwrap();
        assert_eq!(table.lock().len(), 2);
        table.fill(5..9 * LEAF + 5, 3);
        table.fill(9 * LEAF..20 * LEAF, 4);
        assert_eq!([9 * LEAF - 1, 9 * LEAF, 10 * LEAF + 9, 10 * LEAF + 10].map(|i| table.get(i)), [3, 4, 4, 0]);
        assert_eq!((table.set(20 * LEAF, 1), table.set(10 * LEAF + 10, 1)), (Ok(0), Ok(0)));
    }
}
