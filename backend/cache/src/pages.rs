//! Which blocks were made from which guest page.

use crate::table::FastMap;
use crate::tb::Range;

/// Log2 of the page size of the index. It need not be the guest's.
const SHIFT: u32 = 12;

/// The index: page number to blocks.
#[derive(Debug, Default)]
pub struct PageIndex {
    pages: FastMap<u64, Vec<u32>>,
}

impl PageIndex {
    /// Records the pages of a block.
    pub fn add(&mut self, tb: u32, ranges: &[Range]) {
        for page in ranges.iter().flat_map(|r| r.pages(SHIFT)) {
            let list = self.pages.entry(page).or_default();
            if list.last() != Some(&tb) {
                list.push(tb);
            }
        }
    }
    /// Forgets a block.
    pub fn remove(&mut self, tb: u32, ranges: &[Range]) {
        for page in ranges.iter().flat_map(|r| r.pages(SHIFT)) {
            if let Some(list) = self.pages.get_mut(&page) {
                list.retain(|t| *t != tb);
                if list.is_empty() {
                    self.pages.remove(&page);
                }
            }
        }
    }
    /// Appends the blocks that touch a page of `start .. start + len` to `out`, possibly more than once.
    pub fn collect(&self, start: u64, len: u64, out: &mut Vec<u32>) {
        if len == 0 {
            return;
        }
        let (first, last) = (start >> SHIFT, start.saturating_add(len - 1) >> SHIFT);
        // An unmapping of gigabytes must not look at every page of it.
        if last - first >= self.pages.len() as u64 {
            out.extend(self.pages.iter().filter(|(p, _)| (first..=last).contains(p)).flat_map(|(_, l)| l));
        } else {
            out.extend((first..=last).filter_map(|p| self.pages.get(&p)).flatten());
        }
    }
}
