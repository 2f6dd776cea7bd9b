//! The mappings of an address space, in order.

use crate::flags::PAGE;
use crate::mapping::FileId;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// A mapping: a line of `/proc/self/maps`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Region {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// `PROT_` bits as the guest asked for them.
    pub prot: i32,
    /// Whether stores reach the file, or other processes.
    pub shared: bool,
    /// Whether it grows towards lower addresses when the guest accesses memory below it.
    pub grows_down: bool,
    /// Offset in the file, if there is one.
    pub offset: u64,
    /// Which file; none for anonymous memory.
    pub file: Option<FileId>,
    /// What to show for it: the file's path, or `[stack]` and the like.
    pub name: Option<Arc<str>>,
}

impl Region {
    /// Whether `next` continues this one, so that both can be one region.
    fn continues(&self, next: &Region) -> bool {
        let alike = |r: &Region| (r.prot, r.shared, r.grows_down, r.file);
        let offset_fits = self.file.is_none() || self.offset + (self.end - self.start) == next.offset;
        // Each anonymous shared mapping is an object of its own.
        let one_object = self.file.is_some() || !self.shared;
        self.end == next.start && alike(self) == alike(next) && self.name == next.name && offset_fits && one_object
    }

    /// The part of it inside `range`.
    fn part(&self, range: &Range<u64>) -> Region {
        let (start, end) = (self.start.max(range.start), self.end.min(range.end));
        let offset = if self.file.is_some() { self.offset + (start - self.start) } else { 0 };
        Region { start, end, offset, ..self.clone() }
    }
}

/// Distance that the kernel keeps below a mapping that grows down (`stack_guard_gap`).
pub(crate) const STACK_GAP: u64 = 256 * PAGE;

/// Regions by start; they do not overlap, and neighbours that could be one are one.
#[derive(Default)]
pub(crate) struct Regions {
    map: BTreeMap<u64, Region>,
}

impl Regions {
    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Region> {
        self.map.values()
    }

    /// The region that contains `addr`.
    pub fn at(&self, addr: u64) -> Option<&Region> {
        self.map.range(..=addr).next_back().map(|(_, r)| r).filter(|r| addr < r.end)
    }

    /// The first region that starts at `addr` or above.
    pub fn next_from(&self, addr: u64) -> Option<&Region> {
        self.map.range(addr..).next().map(|(_, r)| r)
    }

    /// The last region that ends at `addr` or below.
    pub fn last_below(&self, addr: u64) -> Option<&Region> {
        self.map.range(..addr).next_back().map(|(_, r)| r).filter(|r| r.end <= addr)
    }

    /// Regions that overlap `range`, in order.
    pub fn overlapping(&self, range: Range<u64>) -> impl Iterator<Item = &Region> {
        let first = self.at(range.start).map_or(range.start, |r| r.start);
        self.map.range(first..range.end.max(first)).map(|(_, r)| r)
    }

    /// The other ranges that show the same parts of shared files as `range` does.
    pub fn aliases(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut found = Vec::new();
        for part in self.parts(range).iter().filter(|p| p.shared && p.file.is_some()) {
            let part_end = part.offset + (part.end - part.start);
            for other in self.iter().filter(|r| r.shared && r.file == part.file) {
                let (first, last) =
                    (part.offset.max(other.offset), part_end.min(other.offset + (other.end - other.start)));
                let start = other.start + first.saturating_sub(other.offset);
                let is_itself = start == part.start + first.saturating_sub(part.offset);
                if first < last && !is_itself {
                    found.push(start..start + (last - first));
                }
            }
        }
        found
    }

    /// The parts of `range` that are mapped, cut to it, in order.
    pub fn parts(&self, range: Range<u64>) -> Vec<Region> {
        self.overlapping(range.clone()).map(|r| r.part(&range)).collect()
    }

    /// The parts of `range` that are not mapped, in order.
    pub fn holes(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut at = range.start;
        let mut holes = Vec::new();
        for region in self.overlapping(range.clone()) {
            holes.extend((at < region.start).then_some(at..region.start));
            at = region.end;
        }
        holes.extend((at < range.end).then_some(at..range.end));
        holes
    }

    /// Where the mapped memory that starts at `range.start` has its first hole, or the range's end.
    pub fn mapped_until(&self, range: Range<u64>) -> u64 {
        let reach = |end, r: &Region| if r.start <= end { r.end } else { end };
        self.overlapping(range.clone()).fold(range.start, reach).min(range.end)
    }

    /// Whether nothing is mapped in `range`.
    pub fn is_free(&self, range: Range<u64>) -> bool {
        self.overlapping(range).next().is_none()
    }

    /// Takes out what is mapped in `range`.
    pub fn remove(&mut self, range: Range<u64>) {
        let hit: Vec<Region> = self.overlapping(range.clone()).cloned().collect();
        for region in hit {
            self.map.remove(&region.start);
            for rest in [region.start..range.start, range.end..region.end] {
                if rest.start < rest.end {
                    self.map.insert(rest.start, region.part(&rest));
                }
            }
        }
    }

    /// Puts a region in, in place of what it overlaps, and joins it with its neighbours.
    pub fn insert(&mut self, mut region: Region) {
        self.remove(region.start..region.end);
        if let Some(next) = self.map.get(&region.end).filter(|next| region.continues(next)) {
            let end = next.end;
            self.map.remove(&region.end);
            region.end = end;
        }
        let before = self.map.range(..region.start).next_back().map(|(_, r)| r.clone());
        if let Some(before) = before.filter(|before| before.continues(&region)) {
            region = Region { end: region.end, ..before };
        }
        self.map.insert(region.start, region);
    }

    /// Changes the regions in `range`, splitting those at its ends.
    pub fn update(&mut self, range: Range<u64>, change: impl Fn(&mut Region)) {
        for mut part in self.parts(range) {
            change(&mut part);
            self.insert(part);
        }
    }

    /// The highest free range of `len` bytes, aligned, inside `window`.
    pub fn find_gap(&self, len: u64, window: Range<u64>, align: u64) -> Option<u64> {
        let mut top = window.end;
        let fits = |low: u64, top: u64| {
            let start = top.checked_sub(len)? & !(align - 1);
            (start >= low).then_some(start)
        };
        for region in self.map.range(..window.end).rev().map(|(_, r)| r) {
            if let Some(start) = fits(region.end.max(window.start), top) {
                return Some(start);
            }
            let gap = if region.grows_down { STACK_GAP } else { 0 };
            top = top.min(region.start.saturating_sub(gap));
            if top <= window.start {
                return None;
            }
        }
        fits(window.start, top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(start: u64, end: u64) -> Region {
        let (prot, shared, grows_down, offset, file, name) = (1, false, false, 0, None, None);
        Region { start, end, prot, shared, grows_down, offset, file, name }
    }

    fn file(start: u64, end: u64, offset: u64) -> Region {
        Region { offset, file: Some(FileId { dev: 1, inode: 2 }), ..region(start, end) }
    }

    fn spans(regions: &Regions) -> Vec<(u64, u64, u64)> {
        regions.iter().map(|r| (r.start, r.end, r.offset)).collect()
    }

    #[test]
    fn neighbours_join_only_if_alike() {
        let mut r = Regions::default();
        r.insert(region(10, 20));
        r.insert(region(30, 40));
        r.insert(region(20, 30));
        assert_eq!(spans(&r), [(10, 40, 0)]);
        r.update(15..20, |r| r.prot = 3);
        assert_eq!(spans(&r), [(10, 15, 0), (15, 20, 0), (20, 40, 0)]);
        r.update(0..50, |r| r.prot = 3);
        assert_eq!(spans(&r), [(10, 40, 0)]);
        let shared = |start, end| Region { shared: true, ..region(start, end) };
        r.insert(shared(50, 60));
        r.insert(shared(60, 70));
        assert_eq!(r.iter().count(), 3);
    }

    #[test]
    fn files_split_and_join_by_offset() {
        let mut r = Regions::default();
        r.insert(file(100, 200, 1000));
        r.remove(120..150);
        assert_eq!(spans(&r), [(100, 120, 1000), (150, 200, 1050)]);
        r.insert(file(120, 150, 7));
        assert_eq!(r.iter().count(), 3);
        r.insert(file(120, 150, 1020));
        assert_eq!(spans(&r), [(100, 200, 1000)]);
    }

    #[test]
    fn queries() {
        let mut r = Regions::default();
        r.insert(region(10, 20));
        r.insert(file(20, 30, 0));
        r.insert(region(40, 50));
        assert_eq!((r.mapped_until(12..60), r.mapped_until(5..60), r.mapped_until(12..25)), (30, 5, 25));
        assert!(r.is_free(30..40) && !r.is_free(29..31) && r.is_free(0..10) && !r.is_free(0..100));
        assert_eq!((r.at(19).map(|r| r.end), r.at(30).map(|r| r.end)), (Some(20), None));
        assert_eq!((r.last_below(40).map(|r| r.end), r.next_from(31).map(|r| r.start)), (Some(30), Some(40)));
        assert_eq!(
            r.parts(15..45).iter().map(|r| (r.start, r.end)).collect::<Vec<_>>(),
            [(15, 20), (20, 30), (40, 45)]
        );
        assert_eq!((r.holes(5..60), r.holes(12..18)), (vec![5..10, 30..40, 50..60], vec![]));
        assert_eq!(r.holes(5..45), [5..10, 30..40]);
    }

    #[test]
    fn gaps_are_found_from_the_top() {
        let mut r = Regions::default();
        assert_eq!(r.find_gap(8, 0..100, 1), Some(92));
        r.insert(region(90, 100));
        r.insert(region(40, 60));
        assert_eq!(r.find_gap(8, 0..100, 1), Some(82));
        assert_eq!(r.find_gap(8, 0..100, 16), Some(80));
        assert_eq!(r.find_gap(35, 0..100, 1), Some(5));
        assert_eq!(r.find_gap(8, 0..65, 1), Some(32));
        assert_eq!(r.find_gap(8, 0..50, 1), Some(32));
        assert_eq!(r.find_gap(41, 0..100, 1), None);
        assert_eq!(r.find_gap(8, 35..60, 1), None);
    }
}
