//! What is known about each guest page, readable without a lock.

use bitflags::bitflags;
use isamorph_host::Errno;
use isamorph_host::sparse::SparseBytes;
use isamorph_host::table::ZeroTable;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

/// Size of a page, of the guest and of the host.
pub const PAGE: u64 = 4096;

bitflags! {
    /// State of a guest page.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct PageFlags: u8 {
        /// The guest can read it.
        const READ = 1 << 0;
        /// The guest can write it.
        const WRITE = 1 << 1;
        /// The guest can execute it.
        const EXEC = 1 << 2;
        /// No file is behind it.
        const ANON = 1 << 3;
        /// It belongs to a shared mapping.
        const SHARED = 1 << 4;
        /// There may be translations of code in it.
        const CODE = 1 << 5;
        /// The guest could write it, but the host's protection makes stores fault.
        const HELD = 1 << 6;
        /// Something is mapped.
        const VALID = 1 << 7;
    }
}

impl PageFlags {
    /// The flags that a protection gives. Memory that can be written or executed can also be read, as on x86.
    pub(crate) fn from_prot(prot: i32) -> Self {
        let mut flags = PageFlags::empty();
        flags.set(PageFlags::READ, prot & (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) != 0);
        flags.set(PageFlags::WRITE, prot & libc::PROT_WRITE != 0);
        flags.set(PageFlags::EXEC, prot & libc::PROT_EXEC != 0);
        flags
    }

    /// The host's protection. Guest code is never executed by the host.
    pub(crate) fn host_prot(self) -> i32 {
        let write =
            if self.contains(PageFlags::WRITE) && !self.contains(PageFlags::HELD) { libc::PROT_WRITE } else { 0 };
        let read = if self.contains(PageFlags::READ) { libc::PROT_READ } else { 0 };
        read | write
    }

    /// Whether the guest can load from it, or store to it.
    pub fn allows(self, write: bool) -> bool {
        self.contains(PageFlags::VALID | if write { PageFlags::WRITE } else { PageFlags::READ })
    }

    /// The bits of a protection that [`from_prot`](Self::from_prot) decides.
    pub(crate) const ACCESS: PageFlags = PageFlags::READ.union(PageFlags::WRITE).union(PageFlags::EXEC);
    /// The bits that tell something about translations.
    pub(crate) const TRANSLATED: PageFlags = PageFlags::CODE.union(PageFlags::HELD);
}

/// Flags and generations of all pages of the window.
pub(crate) struct Pages {
    flags: SparseBytes,
    generations: ZeroTable<AtomicU32>,
}

/// Generations, at most: one for each page of 32 bits of addresses. Pages further apart may share one. That one of them
/// then seems to have changed with the other costs a repetition of what it was asked for.
const GENERATIONS: usize = 1 << 20;

fn index(addr: u64) -> usize {
    (addr / PAGE) as usize
}

impl Pages {
    /// Pages `0 .. count`, with nothing mapped.
    pub fn new(count: usize) -> Result<Self, Errno> {
        let generations = count.min(GENERATIONS).next_power_of_two();
        Ok(Pages { flags: SparseBytes::new(count)?, generations: ZeroTable::new(generations)? })
    }

    /// Flags of the page that contains `addr`; empty outside the window.
    #[inline]
    pub fn get(&self, addr: u64) -> PageFlags {
        PageFlags::from_bits_retain(self.flags.get(index(addr)))
    }

    /// Flags of the page that contains `addr`, and an address up to which all pages have them.
    fn run(&self, addr: u64) -> (PageFlags, u64) {
        let (flags, end) = self.flags.run(index(addr));
        (PageFlags::from_bits_retain(flags), (end as u64).saturating_mul(PAGE))
    }

    /// The pages of a range in runs with the same flags. Neighbours may have the same, too.
    pub fn runs(&self, range: Range<u64>) -> impl Iterator<Item = (Range<u64>, PageFlags)> {
        let mut at = range.start & !(PAGE - 1);
        std::iter::from_fn(move || {
            (at < range.end).then(|| {
                let (flags, end) = self.run(at);
                let run = at..end.min(page_up(range.end).unwrap_or(end));
                at = run.end;
                (run, flags)
            })
        })
    }

    /// Sets the flags of a page inside a mapping. Only under the map lock.
    pub fn set(&self, addr: u64, flags: PageFlags) -> Result<(), Errno> {
        self.flags.set(index(addr), flags.bits()).map(drop)
    }

    /// Makes sure that the flags of a range of pages can be changed.
    pub fn prepare(&self, range: &Range<u64>) -> Result<(), Errno> {
        self.flags.prepare(index(range.start)..index(range.end))
    }

    /// Sets the flags of all pages of a range, for which there is room. Only under the map lock.
    pub fn fill(&self, range: Range<u64>, flags: PageFlags) {
        self.flags.fill(index(range.start)..index(range.end), flags.bits());
    }

    fn cell(&self, addr: u64) -> &AtomicU32 {
        let page = index(addr);
        &self.generations[(page ^ page >> GENERATIONS.ilog2()) & (self.generations.len() - 1)]
    }

    /// Generation of the page that contains `addr`.
    pub fn generation(&self, addr: u64) -> u32 {
        self.cell(addr).load(Ordering::SeqCst)
    }

    /// Counts the page's generation up; returns the new one.
    pub fn bump(&self, addr: u64) -> u32 {
        self.cell(addr).fetch_add(1, Ordering::SeqCst).wrapping_add(1)
    }

    /// Whether a page of the range has one of the flags.
    pub fn any(&self, range: Range<u64>, flags: PageFlags) -> bool {
        self.runs(range).any(|(_, found)| found.intersects(flags))
    }

    /// The pages of the range with translations, and their flags.
    pub fn translated(&self, range: Range<u64>) -> impl Iterator<Item = (u64, PageFlags)> {
        let translated = |(_, flags): &(Range<u64>, PageFlags)| flags.intersects(PageFlags::TRANSLATED);
        self.runs(range).filter(translated).flat_map(|(run, flags)| pages(run).map(move |page| (page, flags)))
    }
}

/// Addresses of the pages that a range touches.
pub(crate) fn pages(range: Range<u64>) -> impl Iterator<Item = u64> {
    (range.start & !(PAGE - 1)..range.end).step_by(PAGE as usize)
}

/// Rounds up to whole pages; `None` if that overflows.
pub(crate) fn page_up(len: u64) -> Option<u64> {
    Some(len.checked_add(PAGE - 1)? & !(PAGE - 1))
}

/// Whether an address is that of a page.
pub(crate) fn is_page(addr: u64) -> bool {
    addr.is_multiple_of(PAGE)
}
