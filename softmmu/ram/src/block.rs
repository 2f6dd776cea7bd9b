//! RAM of a machine: named blocks of host memory, with a note per page of who still has to look at what was stored.

use crate::PAGE;
use bitflags::bitflags;
use isamorph_host::Errno;
use isamorph_host::map::Reservation;
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

bitflags! {
    /// Who wants to know of stores to a page.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Dirty: u8 {
        /// A display, which redraws what changed.
        const DISPLAY = 1;
        /// Whoever has translated code of the page.
        const CODE = 2;
        /// Migration and snapshots.
        const MIGRATION = 4;
    }
}

/// Where the memory of a block comes from.
#[derive(Debug)]
pub enum Backing {
    /// Zero pages of this process.
    Anonymous,
    /// A file from its start on; stores reach it if it is shared.
    File(File, bool),
}

/// Bytes that are not all inside a block, or whose file has become shorter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfBlock;

/// Memory of a machine. Processors, devices and their threads access it at the same time, as on real hardware; an
/// access of more than eight bytes may be seen in parts.
#[derive(Debug)]
pub struct RamBlock {
    name: String,
    memory: Reservation,
    size: u64,
    dirty: Box<[AtomicU8]>,
}

impl RamBlock {
    /// A block of `size` bytes.
    ///
    /// # Errors
    /// The host refuses the memory.
    pub fn new(name: &str, size: u64, backing: &Backing) -> Result<Arc<Self>, Errno> {
        let too_large = Errno(libc::ENOMEM);
        let room = usize::try_from(size).ok().and_then(|n| n.max(1).checked_next_multiple_of(PAGE as usize));
        let len = room.ok_or(too_large)?;
        let memory = Reservation::anywhere(len)?;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        match backing {
            Backing::Anonymous => {
                memory.map_anon(memory.start(), len, prot, libc::MAP_PRIVATE | libc::MAP_NORESERVE)?
            }
            Backing::File(file, shared) => {
                let flags = if *shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
                memory.map_file(memory.start(), len, prot, flags, file.as_raw_fd(), 0)?;
            }
        }
        let dirty = (0..len as u64 / PAGE).map(|_| AtomicU8::new(Dirty::all().bits())).collect();
        Ok(Arc::new(RamBlock { name: name.to_owned(), memory, size, dirty }))
    }
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Number of bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
    /// Host address of the first byte, for processors that access memory directly.
    pub fn host_addr(&self) -> usize {
        self.memory.start()
    }
    /// The host address of `len` bytes at an offset.
    fn at(&self, offset: u64, len: usize) -> Result<usize, OutOfBlock> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.size => Ok(self.memory.start() + offset as usize),
            _ => Err(OutOfBlock),
        }
    }
    /// Reads bytes.
    ///
    /// # Errors
    /// They are not all in the block.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), OutOfBlock> {
        self.memory.read(self.at(offset, out.len())?, out).map_err(|_| OutOfBlock)
    }
    /// Writes bytes, and notes it for everybody.
    ///
    /// # Errors
    /// They are not all in the block.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), OutOfBlock> {
        self.memory.write(self.at(offset, data.len())?, data).map_err(|_| OutOfBlock)?;
        self.set_dirty(offset..offset + data.len() as u64);
        Ok(())
    }
    fn pages(&self, bytes: Range<u64>) -> &[AtomicU8] {
        let count = self.dirty.len() as u64;
        let (first, last) = ((bytes.start / PAGE).min(count), bytes.end.div_ceil(PAGE).min(count));
        &self.dirty[first as usize..last.max(first) as usize]
    }
    /// Notes that bytes were stored to.
    pub fn set_dirty(&self, bytes: Range<u64>) {
        for page in self.pages(bytes) {
            page.store(Dirty::all().bits(), Ordering::Release);
        }
    }
    /// Whether a page of the bytes was stored to since somebody has looked.
    pub fn is_dirty(&self, bytes: Range<u64>, who: Dirty) -> bool {
        self.pages(bytes).iter().any(|page| page.load(Ordering::Acquire) & who.bits() != 0)
    }
    /// Whether somebody has to be told when one of the pages is stored to, so that the store must not go unnoticed.
    pub fn is_watched(&self, bytes: Range<u64>) -> bool {
        self.pages(bytes).iter().any(|page| page.load(Ordering::Acquire) != Dirty::all().bits())
    }
    /// The pages of the bytes that were stored to since the last call, by offset of their first byte.
    pub fn take_dirty(&self, bytes: Range<u64>, who: Dirty) -> Vec<u64> {
        let first = bytes.start / PAGE;
        let take = |(i, page): (usize, &AtomicU8)| {
            let old = page.fetch_and(!who.bits(), Ordering::AcqRel);
            (old & who.bits() != 0).then_some((first + i as u64) * PAGE)
        };
        self.pages(bytes).iter().enumerate().filter_map(take).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_stay_inside() {
        let block = RamBlock::new("ram", 0x1801, &Backing::Anonymous).unwrap();
        block.write(0x17ff, &[1, 2]).unwrap();
        assert_eq!(block.write(0x1800, &[1, 2]), Err(OutOfBlock));
        assert_eq!(block.read(u64::MAX, &mut [0; 2]), Err(OutOfBlock));
        let mut out = [0; 3];
        block.read(0x17fe, &mut out).unwrap();
        assert_eq!(out, [0, 1, 2]);
    }

    #[test]
    fn everybody_is_told_once() {
        let block = RamBlock::new("ram", 4 * PAGE, &Backing::Anonymous).unwrap();
        let all = 0..4 * PAGE;
        assert_eq!(block.take_dirty(all.clone(), Dirty::DISPLAY).len(), 4, "a new block is dirty");
        assert!(block.is_watched(all.clone()) && block.is_dirty(all.clone(), Dirty::CODE));
        block.write(PAGE - 1, &[1, 2]).unwrap();
        assert_eq!(block.take_dirty(all.clone(), Dirty::DISPLAY), [0, PAGE]);
        assert_eq!(block.take_dirty(all.clone(), Dirty::DISPLAY), []);
        assert_eq!(block.take_dirty(2 * PAGE..3 * PAGE, Dirty::CODE), [2 * PAGE]);
    }

    #[test]
    fn shared_files_get_the_stores() {
        let path = std::env::temp_dir().join(format!("isamorph-block-{}", std::process::id()));
        std::fs::write(&path, vec![7; PAGE as usize]).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let block = RamBlock::new("ram", PAGE, &Backing::File(file, true)).unwrap();
        block.write(3, b"x").unwrap();
        assert_eq!(std::fs::read(&path).unwrap()[2..5], [7, b'x', 7]);
        std::fs::remove_file(&path).unwrap();
    }
}
