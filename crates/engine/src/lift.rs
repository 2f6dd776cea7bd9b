//! Lifting guest code that may change at any moment.
//!
//! A page is protected against stores before its first byte is read. A store then waits in the fault handler until it
//! has dropped what was made from the page; whatever is being made from it finds the page's generation changed when it
//! is about to be published.

use isamorph_cache::Range;
use isamorph_guest::{CodeSource, Guest};
use isamorph_ir::Region;
use isamorph_ram::{PAGE, UserSpace};
use std::cell::RefCell;

/// What a region was made from.
#[derive(Debug, Default)]
pub struct Origin {
    /// Pages and their generations before the first read.
    pub pages: Vec<(u64, u32)>,
    /// Bytes on which the region depends.
    pub ranges: Vec<Range>,
}

impl Origin {
    fn watch(&mut self, space: &UserSpace, page: u64) {
        if !self.pages.iter().any(|&(p, _)| p == page)
            && let Some(generation) = space.protect_code(page)
        {
            self.pages.push((page, generation));
        }
    }
    /// Adds bytes, growing the range they continue.
    pub fn add(&mut self, start: u64, len: u64) {
        let end = start.saturating_add(len);
        for r in &mut self.ranges {
            let r_end = r.start + u64::from(r.len);
            if start <= r_end && end >= r.start {
                let (first, last) = (r.start.min(start), r_end.max(end));
                if let Ok(len) = u32::try_from(last - first) {
                    *r = Range { start: first, len };
                    return;
                }
            }
        }
        self.ranges.push(Range { start, len: len as u32 });
    }
    /// Drops the pages on which nothing depends.
    fn settle(&mut self) {
        let Origin { pages, ranges } = self;
        pages.retain(|&(page, _)| ranges.iter().any(|r| r.overlaps(page, PAGE)));
    }
}

/// Guest code whose pages are watched from the first read on.
pub struct Watched<'a> {
    space: &'a UserSpace,
    /// Where to pretend that code ends.
    end: u64,
    origin: RefCell<Origin>,
}

impl CodeSource for Watched<'_> {
    fn fetch(&self, pc: u64, out: &mut [u8]) -> usize {
        let len = out.len().min(usize::try_from(self.end.saturating_sub(pc)).unwrap_or(usize::MAX));
        let out = &mut out[..len];
        let Some(last) = (len as u64).checked_sub(1) else { return 0 };
        let mut origin = self.origin.borrow_mut();
        let (first_page, last_page) = (pc & !(PAGE - 1), pc.saturating_add(last) & !(PAGE - 1));
        (first_page..=last_page).step_by(PAGE as usize).for_each(|page| origin.watch(self.space, page));
        let got = self.space.fetch(pc, out);
        // Fetching reads ahead. Bytes on the next page count only if an instruction has them, or data that happens to
        // follow code would be watched.
        origin.add(pc, (got as u64).min(PAGE - (pc & (PAGE - 1))));
        got
    }
}

impl<'a> Watched<'a> {
    /// Code that ends before `end`.
    pub fn new(space: &'a UserSpace, end: u64) -> Self {
        Watched { space, end, origin: RefCell::default() }
    }
    /// What a region was made from.
    pub fn origin(self, guest: &dyn Guest, region: &Region) -> Origin {
        let mut origin = self.origin.into_inner();
        for insn in &region.insns {
            origin.add(guest.code_address(insn.pc), u64::from(insn.len));
        }
        origin.settle();
        origin
    }
}
