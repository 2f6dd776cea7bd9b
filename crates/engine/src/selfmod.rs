//! Pages whose code stores into its own page.
//!
//! A region that stores to its own page is found by the fault, and left, because the page is protected while it has
//! translations. But when another thread has just opened the page for a store of its own, a vCPU that is still in a
//! region of that page, dropped by now, stores without a fault and goes on with what it has overwritten. Such pages
//! give themselves away by the first kind of store, and from then on every store of their code ends its region: behind
//! it are only exits, which lead to the dispatcher once the region is dropped.

use isamorph_cache::Range;
use isamorph_ir::{Effects, Op, Region};
use std::sync::atomic::{AtomicU64, Ordering};

const ENTRIES: usize = 1024;
const PAGE_SHIFT: u32 = 12;

/// The pages. They are few, and forgetting one does little harm: a page replaces another with the same low bits.
pub struct SelfModifying {
    /// Page number plus one, or 0.
    pages: Box<[AtomicU64]>,
}

impl SelfModifying {
    /// No page.
    pub fn new() -> Self {
        SelfModifying { pages: (0..ENTRIES).map(|_| AtomicU64::new(0)).collect() }
    }
    fn entry(&self, page: u64) -> &AtomicU64 {
        &self.pages[page as usize % ENTRIES]
    }
    /// Notes the page that holds an address.
    pub fn note(&self, addr: u64) {
        let page = addr >> PAGE_SHIFT;
        self.entry(page).store(page + 1, Ordering::Relaxed);
    }
    /// Whether some byte of the ranges is in such a page.
    pub fn has(&self, ranges: &[Range]) -> bool {
        let mut pages = ranges.iter().flat_map(|r| r.pages(PAGE_SHIFT));
        pages.any(|page| self.entry(page).load(Ordering::Relaxed) == page + 1)
    }
}

/// Number of guest instructions up to the first that may store and is not the last; nothing if there is none.
pub fn first_store(region: &Region) -> Option<u32> {
    let mut count = 0;
    for inst in &region.insts {
        count += u32::from(inst.op == Op::Insn);
        if may_store(inst.op) {
            return (count < region.insns.len() as u32).then_some(count);
        }
    }
    None
}

fn may_store(op: Op) -> bool {
    op.effects().contains(Effects::STORE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_remembered_until_another_takes_the_place() {
        let pages = SelfModifying::new();
        let range = |start, len| [Range { start, len }];
        pages.note(0x5abc);
        assert!(pages.has(&range(0x4fff, 2)) && pages.has(&range(0x5000, 1)));
        assert!(!pages.has(&range(0x4fff, 1)) && !pages.has(&range(0, 1)) && !pages.has(&range(0x5000 + (1 << 22), 1)));
        pages.note(0x5000 + (1 << 22));
        assert!(!pages.has(&range(0x5000, 1)));
    }
}
