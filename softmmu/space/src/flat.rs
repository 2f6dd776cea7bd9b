//! Flattening: what is seen at each address of a tree.

use crate::WHOLE;
use crate::region::{Content, Doorbell, Io, IoRules, RegionId, Tree};
use isamorph_ram::RamBlock;
use std::cmp::Ordering;
use std::sync::Arc;

/// What serves the accesses of a range.
#[derive(Clone)]
pub enum Target {
    /// Memory.
    Ram(Arc<RamBlock>),
    /// Device registers.
    Io(Arc<dyn Io>, IoRules),
    /// Memory for reads, a device for writes.
    RomDevice(Arc<RamBlock>, Arc<dyn Io>, IoRules),
}

impl PartialEq for Target {
    /// Whether it is the same memory and the same device.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Target::Ram(a), Target::Ram(b)) => Arc::ptr_eq(a, b),
            (Target::Io(a, ra), Target::Io(b, rb)) => Arc::ptr_eq(a, b) && ra == rb,
            (Target::RomDevice(a, ia, ra), Target::RomDevice(b, ib, rb)) => {
                Arc::ptr_eq(a, b) && Arc::ptr_eq(ia, ib) && ra == rb
            }
            _ => false,
        }
    }
}

/// A range of a view that one region serves.
#[derive(Clone)]
pub struct FlatRange {
    /// First address.
    pub start: u64,
    /// Number of bytes.
    pub len: u128,
    /// Offset of the first byte in the region, and in its memory.
    pub offset: u64,
    /// Who serves it.
    pub target: Target,
    /// Memory ignores writes.
    pub readonly: bool,
    /// Stores are logged for a display.
    pub logged: bool,
    pub(crate) region: RegionId,
    pub(crate) doorbells: Arc<[Doorbell]>,
}

impl FlatRange {
    /// One past the last address; 2^64 for the end of the space.
    pub fn end(&self) -> u128 {
        u128::from(self.start) + self.len
    }
    /// The region's offset that an address of the range stands for.
    pub fn offset_of(&self, addr: u64) -> u64 {
        self.offset.wrapping_add(addr - self.start)
    }
    /// Whether the other one continues this one.
    fn joins(&self, next: &Self) -> bool {
        self.end() == next.start.into()
            && self.region == next.region
            && u128::from(self.offset) + self.len == next.offset.into()
            && self.is_like(next)
    }
    /// Whether both serve their addresses in the same way.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.target == other.target && self.readonly == other.readonly && self.logged == other.logged
    }
}

/// What an address space looks like at one instant: disjoint ranges in order.
#[derive(Clone, Default)]
pub struct FlatView {
    ranges: Vec<FlatRange>,
}

impl FlatView {
    /// What is seen from that region.
    pub(crate) fn of(tree: &Tree, root: RegionId) -> Self {
        let mut view = FlatView::default();
        let clip = Span { start: 0, end: WHOLE as i128 };
        view.render(tree, root, 0, clip, Inherited::default());
        view.join();
        view
    }
    /// The ranges in order of their addresses.
    pub fn ranges(&self) -> &[FlatRange] {
        &self.ranges
    }
    /// The range that an address is in.
    pub fn find(&self, addr: u64) -> Option<&FlatRange> {
        let within = |range: &FlatRange| {
            if range.end() <= addr.into() {
                Ordering::Less
            } else if range.start > addr {
                Ordering::Greater
            } else {
                Ordering::Equal
            }
        };
        self.ranges.binary_search_by(within).ok().map(|at| &self.ranges[at])
    }
    /// The start of the first range above an address.
    pub fn next_start(&self, addr: u64) -> Option<u64> {
        self.ranges.get(self.ranges.partition_point(|range| range.start <= addr)).map(|range| range.start)
    }

    /// Adds what is seen of a region whose parent starts at `base`, in `clip` and where nothing is yet.
    fn render(&mut self, tree: &Tree, id: RegionId, base: i128, clip: Span, inherited: Inherited) {
        let region = tree.region(id);
        if !region.enabled {
            return;
        }
        let base = base + i128::from(region.offset);
        let clip = clip.intersect(Span { start: base, end: base + region.size as i128 });
        if clip.is_empty() {
            return;
        }
        let inherited =
            Inherited { readonly: inherited.readonly | region.readonly, logged: inherited.logged | region.logged };
        if let Content::Alias(of, from) = region.content {
            let origin = base - i128::from(from) - i128::from(tree.region(of).offset);
            // The alias shows the region as if it were enabled only if it is.
            return self.render(tree, of, origin, clip, inherited);
        }
        for child in &region.children {
            self.render(tree, *child, base, clip, inherited);
        }
        let target = match &region.content {
            Content::Container | Content::Alias(..) => return,
            Content::Ram(block) => Target::Ram(block.clone()),
            Content::Io(io, rules) => Target::Io(io.clone(), *rules),
            Content::RomDevice { memory, io, rules, direct: true } => {
                Target::RomDevice(memory.clone(), io.clone(), *rules)
            }
            Content::RomDevice { io, rules, direct: false, .. } => Target::Io(io.clone(), *rules),
        };
        let doorbells: Arc<[Doorbell]> = region.doorbells.clone().into();
        for hole in self.holes(clip) {
            let range = FlatRange {
                start: hole.start as u64,
                len: (hole.end - hole.start) as u128,
                offset: (hole.start - base) as u64,
                target: target.clone(),
                readonly: inherited.readonly,
                logged: inherited.logged,
                region: id,
                doorbells: doorbells.clone(),
            };
            let at = self.ranges.partition_point(|other| other.start < range.start);
            self.ranges.insert(at, range);
        }
    }
    /// The parts of a span where nothing is yet.
    fn holes(&self, span: Span) -> Vec<Span> {
        let mut holes = Vec::new();
        let mut at = span.start;
        let first = self.ranges.partition_point(|range| (range.end() as i128) <= span.start);
        for range in &self.ranges[first..] {
            let (start, end) = (i128::from(range.start), range.end() as i128);
            if start >= span.end {
                break;
            }
            if start > at {
                holes.push(Span { start: at, end: start });
            }
            at = at.max(end);
        }
        if at < span.end {
            holes.push(Span { start: at, end: span.end });
        }
        holes
    }
    /// Makes one range of those that continue each other.
    fn join(&mut self) {
        self.ranges.dedup_by(|next, range| {
            let joins = range.joins(next);
            if joins {
                range.len += next.len;
            }
            joins
        });
    }
}

/// What a region passes on to those in it.
#[derive(Clone, Copy, Default)]
struct Inherited {
    readonly: bool,
    logged: bool,
}

/// Addresses from `start` to below `end`; below zero where an alias begins inside its region.
#[derive(Clone, Copy)]
struct Span {
    start: i128,
    end: i128,
}

impl Span {
    fn intersect(self, other: Span) -> Span {
        Span { start: self.start.max(other.start), end: self.end.min(other.end) }
    }
    fn is_empty(self) -> bool {
        self.start >= self.end
    }
}
