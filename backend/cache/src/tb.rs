//! A placed region and everything that is known about it.

use crate::table::Key;
use isamorph_code::{Compiled, FaultPoint, LinkSite, Recipe};

/// Names a block. An identifier that outlives its block is recognised as stale.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TbId {
    pub(crate) index: u32,
    pub(crate) serial: u32,
}

/// A run of guest bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// First guest address.
    pub start: u64,
    /// Number of bytes.
    pub len: u32,
}

impl Range {
    /// Whether any byte lies in `start .. start + len`.
    pub fn overlaps(&self, start: u64, len: u64) -> bool {
        // Differences instead of ends, because an end may be 2^64.
        if start >= self.start { start - self.start < u64::from(self.len) } else { self.start - start < len }
    }
    /// The pages of `1 << shift` bytes that it touches.
    pub fn pages(&self, shift: u32) -> impl Iterator<Item = u64> + use<> {
        let last = self.start.saturating_add(u64::from(self.len.max(1)) - 1);
        self.start >> shift..=last >> shift
    }
}

/// A direct exit of a block.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Where it is in the code.
    pub site: LinkSite,
    /// The block it leads to, if it is linked.
    pub to: Option<u32>,
}

/// A direct exit, named from elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SiteRef {
    /// Index of its block.
    pub tb: u32,
    /// Index of the exit in the block.
    pub link: u32,
}

/// A host instruction that may fault, with the guest instruction it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Address of the guest instruction.
    pub pc: u64,
    /// Offset in the code.
    at: u32,
    recipe: u16,
    recipe_count: u8,
    /// Length of the guest instruction.
    pub len: u8,
}

/// A placed region.
#[derive(Debug)]
pub struct Tb {
    /// Distinguishes the blocks that used one slot.
    pub serial: u32,
    /// Whether it can still be found and linked.
    pub live: bool,
    /// What it is found by.
    pub key: Key,
    /// The guest bytes it was made from.
    pub ranges: Box<[Range]>,
    /// Offset of its code.
    pub code: u32,
    /// Length of its code.
    pub len: u32,
    /// Offset of its main entry.
    pub entry: u32,
    /// Offset of its entry for computed jumps.
    pub indirect: u32,
    /// Offset of its entry for backward exits.
    pub poll: u32,
    /// Its direct exits, in order of their stubs.
    pub links: Box<[Link]>,
    /// Direct exits of blocks that lead here.
    pub incoming: Vec<SiteRef>,
    faults: Box<[Fault]>,
    recipes: Box<[Recipe]>,
}

impl Fault {
    fn new(point: &FaultPoint, compiled: &Compiled) -> Self {
        let FaultPoint { at, insn, recipe, recipe_count } = *point;
        let (pc, len, _) = compiled.insns.get(usize::from(insn)).copied().unwrap_or_default();
        Fault { pc, at, recipe, recipe_count, len }
    }
}

impl Tb {
    /// A block whose code is placed at offset `at`.
    pub fn new(serial: u32, key: Key, ranges: &[Range], compiled: &Compiled, at: u32) -> Self {
        let mut links: Box<[Link]> = compiled.links.iter().map(|&site| Link { site, to: None }).collect();
        links.sort_unstable_by_key(|l| l.site.stub);
        Tb {
            serial,
            live: true,
            key,
            ranges: ranges.into(),
            code: at,
            len: compiled.code.len() as u32,
            entry: at + compiled.entry,
            indirect: at + compiled.indirect_entry,
            poll: at + compiled.poll_entry,
            links,
            incoming: Vec::new(),
            faults: compiled.faults.iter().map(|point| Fault::new(point, compiled)).collect(),
            recipes: compiled.recipes.as_slice().into(),
        }
    }
    /// Whether the code covers that offset.
    pub fn covers(&self, offset: u32) -> bool {
        offset.wrapping_sub(self.code) < self.len
    }
    /// The exit whose stub holds that offset.
    pub fn link_at(&self, offset: u32) -> Option<u32> {
        let inside = offset.checked_sub(self.code)?;
        let at = self.links.partition_point(|l| l.site.stub <= inside).checked_sub(1)?;
        (inside < self.links[at].site.stub_end).then_some(at as u32)
    }
    /// Offset of the displacement of an exit.
    pub fn displacement(&self, link: u32) -> u32 {
        self.code + self.links[link as usize].site.at
    }
    /// Offset of the stub of an exit.
    pub fn stub(&self, link: u32) -> u32 {
        self.code + self.links[link as usize].site.stub
    }
    /// The guest instruction and the recipes of the host instruction at that offset, if it may fault.
    pub fn fault_at(&self, offset: u32) -> Option<(Fault, &[Recipe])> {
        let inside = offset.checked_sub(self.code)?;
        let fault = self.faults[self.faults.binary_search_by_key(&inside, |f| f.at).ok()?];
        let first = usize::from(fault.recipe);
        Some((fault, self.recipes.get(first..first + usize::from(fault.recipe_count))?))
    }
    /// Whether any of its guest bytes lies in `start .. start + len`.
    pub fn overlaps(&self, start: u64, len: u64) -> bool {
        self.ranges.iter().any(|r| r.overlaps(start, len))
    }
}
