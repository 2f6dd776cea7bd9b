//! RAM of a machine: named blocks of host memory, with a note per page of who still has to look at what was stored.
//!
//! # Pages that hold translated code
//!
//! Processors store to memory directly while nobody wants to know. [`RamBlock::protect_code`] is called before the
//! first byte is read for translation: it notes the bytes, clears [`Dirty::CODE`], and has the [`Watcher`] take back
//! the processors' permission to store directly. From then on every store to the page goes through this type, which
//! tells the watcher if it hits a piece of [`GRANULE`] bytes of which some were translated.
//!
//! A translation is published under a lock that the watcher takes to drop it, and only if the page's generation is the
//! one that [`RamBlock::protect_code`] returned. A store first changes the bytes, then the generation, then has the
//! translations dropped. So either the translator has read the new bytes, or it finds the generation changed, or what
//! it has published is dropped. What remains is a processor that was stopped between its permission and its direct
//! store: nobody waits for it.

use crate::PAGE;
use bitflags::bitflags;
use isamorph_host::Errno;
use isamorph_host::map::Reservation;
use isamorph_host::table::ZeroTable;
use std::fs::File;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};

bitflags! {
    /// Who wants to know of stores to a page.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Dirty: u8 {
        /// A display, which redraws what changed.
        const DISPLAY = 1;
        /// Whoever has translated code of the page. Stores do not set it; [`RamBlock::release_code`] does.
        const CODE = 2;
        /// Migration and snapshots.
        const MIGRATION = 4;
    }
}

/// Bytes to which one bit of a page's map of code stands.
pub const GRANULE: u64 = PAGE / 64;

/// Hears of what concerns processors that access a block directly.
pub trait Watcher: Send + Sync {
    /// From now on stores to that host memory must not go unnoticed: forget that they may be made directly.
    fn withdraw(&self, host: Range<u64>);
    /// Bytes of host memory from which code may have been translated have been overwritten.
    fn code_changed(&self, host: Range<u64>);
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
pub struct RamBlock {
    name: String,
    memory: Reservation,
    size: u64,
    dirty: Box<[AtomicU8]>,
    /// Of each page, which of its granules hold bytes that were translated.
    code: ZeroTable<AtomicU64>,
    /// How often translations of each page were dropped.
    generations: ZeroTable<AtomicU32>,
    watcher: OnceLock<Arc<dyn Watcher>>,
    /// How many threads are taking back permissions for new pages of code.
    withdrawing: AtomicU32,
}

impl std::fmt::Debug for RamBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RamBlock").field("name", &self.name).field("size", &self.size).finish_non_exhaustive()
    }
}

/// The granules of one page that bytes of it lie in.
fn granules(bytes: &Range<u64>) -> u64 {
    let (first, last) = (bytes.start % PAGE / GRANULE, bytes.end.saturating_sub(1) % PAGE / GRANULE);
    (u64::MAX << first) & (u64::MAX >> (63 - last))
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
        let pages = len / PAGE as usize;
        let (code, generations) = (ZeroTable::new(pages)?, ZeroTable::new(pages)?);
        let (watcher, withdrawing) = (OnceLock::new(), AtomicU32::new(0));
        Ok(Arc::new(RamBlock { name: name.to_owned(), memory, size, dirty, code, generations, watcher, withdrawing }))
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
        self.stored(offset..offset + data.len() as u64);
        Ok(())
    }
    /// Atomically replaces 1, 2, 4, 8 or 16 little-endian bytes by `f` of them, and notes it for everybody; returns the
    /// old value.
    ///
    /// # Errors
    /// They are not all in the block.
    pub fn update(&self, offset: u64, bytes: u32, f: &mut dyn FnMut(u128) -> u128) -> Result<u128, OutOfBlock> {
        let old = self.memory.update(self.at(offset, bytes as usize)?, bytes, f).map_err(|_| OutOfBlock)?;
        self.stored(offset..offset + u64::from(bytes));
        Ok(old)
    }
    fn pages(&self, bytes: Range<u64>) -> &[AtomicU8] {
        let count = self.dirty.len() as u64;
        let (first, last) = ((bytes.start / PAGE).min(count), bytes.end.div_ceil(PAGE).min(count));
        &self.dirty[first as usize..last.max(first) as usize]
    }
    /// Notes that bytes were stored to, for everybody. [`RamBlock::write`] does it; who stores in other ways calls it
    /// afterwards.
    pub fn stored(&self, bytes: Range<u64>) {
        // The bytes are stored before the notes are read, see above.
        fence(Ordering::SeqCst);
        let lookers = (Dirty::all() - Dirty::CODE).bits();
        for (i, page) in self.pages(bytes.clone()).iter().enumerate() {
            let old = page.load(Ordering::SeqCst);
            if old & lookers != lookers {
                page.fetch_or(lookers, Ordering::SeqCst);
            }
            if old & Dirty::CODE.bits() == 0 {
                let start = (bytes.start / PAGE + i as u64) * PAGE;
                self.stored_to_code(bytes.start.max(start)..bytes.end.min(start + PAGE));
            }
        }
    }
    /// The same for bytes of one page that holds translated code.
    #[cold]
    fn stored_to_code(&self, bytes: Range<u64>) {
        if self.holds_code(bytes.clone()) {
            self.generations[(bytes.start / PAGE) as usize].fetch_add(1, Ordering::SeqCst);
            if let Some(watcher) = self.watcher.get() {
                watcher.code_changed(self.host(bytes));
            }
        }
    }
    /// Whether a page of the bytes was stored to since somebody has looked.
    pub fn is_dirty(&self, bytes: Range<u64>, who: Dirty) -> bool {
        self.pages(bytes).iter().any(|page| page.load(Ordering::Acquire) & who.bits() != 0)
    }
    /// Whether somebody has to be told when one of the pages is stored to, so that the store must not go unnoticed.
    pub fn is_watched(&self, bytes: Range<u64>) -> bool {
        self.pages(bytes).iter().any(|page| page.load(Ordering::SeqCst) != Dirty::all().bits())
    }
    /// The pages of the bytes that were stored to since the last call, by offset of their first byte.
    pub fn take_dirty(&self, bytes: Range<u64>, who: Dirty) -> Vec<u64> {
        let first = bytes.start / PAGE;
        let take = |(i, page): (usize, &AtomicU8)| {
            // Most pages have not been stored to, and an atomic change of each would be slow.
            let is_set = page.load(Ordering::SeqCst) & who.bits() != 0;
            is_set.then(|| page.fetch_and(!who.bits(), Ordering::SeqCst)).map(|_| (first + i as u64) * PAGE)
        };
        let taken: Vec<u64> = self.pages(bytes).iter().enumerate().filter_map(take).collect();
        if let (Some(watcher), Some(first), Some(last)) = (self.watcher.get(), taken.first(), taken.last()) {
            watcher.withdraw(self.host(*first..last + PAGE));
        }
        taken
    }
    fn host(&self, bytes: Range<u64>) -> Range<u64> {
        let start = self.memory.start() as u64;
        start + bytes.start..start + bytes.end
    }
}

/// Translated code.
impl RamBlock {
    /// Has a watcher told of the block; the first one stays.
    pub fn set_watcher(&self, watcher: &Arc<dyn Watcher>) {
        self.watcher.get_or_init(|| watcher.clone());
    }
    /// Notes that bytes of one page are about to be read for translation: stores to them do not go unnoticed from now
    /// on. Returns the page's generation.
    pub fn protect_code(&self, bytes: Range<u64>) -> u32 {
        let page = (bytes.start / PAGE) as usize;
        // Before the notes: whoever takes them back meanwhile changes it afterwards.
        let generation = self.generations[page].load(Ordering::SeqCst);
        let wanted = granules(&bytes);
        if self.code[page].load(Ordering::SeqCst) & wanted != wanted {
            self.code[page].fetch_or(wanted, Ordering::SeqCst);
        }
        self.withdraw_code(page);
        generation
    }
    /// Has permissions to store to a page taken back, unless they are already; they are at the end.
    fn withdraw_code(&self, page: usize) {
        let (code, dirty) = (Dirty::CODE.bits(), &self.dirty[page]);
        if dirty.load(Ordering::SeqCst) & code == 0 {
            // Another thread may be about to. It is quick.
            while self.withdrawing.load(Ordering::SeqCst) != 0 {
                std::hint::spin_loop();
            }
            return;
        }
        self.withdrawing.fetch_add(1, Ordering::SeqCst);
        dirty.fetch_and(!code, Ordering::SeqCst);
        if let Some(watcher) = self.watcher.get() {
            let start = page as u64 * PAGE;
            watcher.withdraw(self.host(start..start + PAGE));
        }
        self.withdrawing.fetch_sub(1, Ordering::SeqCst);
    }
    /// Ends that for the page of an offset, and has its translations dropped.
    pub fn release_code(&self, offset: u64) {
        let page = (offset / PAGE) as usize;
        let (Some(code), Some(dirty)) = (self.code.get(page), self.dirty.get(page)) else { return };
        code.store(0, Ordering::SeqCst);
        dirty.fetch_or(Dirty::CODE.bits(), Ordering::SeqCst);
        self.generations[page].fetch_add(1, Ordering::SeqCst);
        if let Some(watcher) = self.watcher.get() {
            let start = page as u64 * PAGE;
            watcher.code_changed(self.host(start..start + PAGE));
        }
    }
    /// Whether code may have been translated from one of the bytes.
    pub fn holds_code(&self, bytes: Range<u64>) -> bool {
        (bytes.start / PAGE..bytes.end.div_ceil(PAGE)).any(|page| {
            let start = page * PAGE;
            let part = bytes.start.max(start)..bytes.end.min(start + PAGE);
            self.code.get(page as usize).is_some_and(|map| map.load(Ordering::SeqCst) & granules(&part) != 0)
        })
    }
    /// How often translations of the page of an offset have been dropped, modulo 2³².
    pub fn generation(&self, offset: u64) -> u32 {
        self.generations.get((offset / PAGE) as usize).map_or(0, |g| g.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

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
        assert!(block.is_watched(all.clone()) && block.is_dirty(all.clone(), Dirty::MIGRATION));
        block.write(PAGE - 1, &[1, 2]).unwrap();
        assert_eq!(block.take_dirty(all.clone(), Dirty::DISPLAY), [0, PAGE]);
        assert_eq!(block.take_dirty(all.clone(), Dirty::DISPLAY), []);
        assert_eq!(block.take_dirty(2 * PAGE..3 * PAGE, Dirty::MIGRATION), [2 * PAGE]);
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<(char, Range<u64>)>>);

    impl Watcher for Heard {
        fn withdraw(&self, host: Range<u64>) {
            self.0.lock().unwrap().push(('w', host));
        }
        fn code_changed(&self, host: Range<u64>) {
            self.0.lock().unwrap().push(('c', host));
        }
    }

    #[test]
    fn stores_to_translated_bytes_are_told() {
        let block = RamBlock::new("ram", 4 * PAGE, &Backing::Anonymous).unwrap();
        let (heard, base) = (Arc::new(Heard::default()), block.host_addr() as u64);
        block.set_watcher(&(heard.clone() as Arc<dyn Watcher>));
        let taken = || std::mem::take(&mut *heard.0.lock().unwrap());
        let generation = block.protect_code(PAGE + 100..PAGE + 130);
        assert_eq!(taken(), [('w', base + PAGE..base + 2 * PAGE)]);
        assert_eq!(block.protect_code(PAGE + 500..PAGE + 510), generation, "nothing changed");
        assert!(taken().is_empty() && block.is_watched(PAGE..PAGE + 1) && !block.is_watched(0..PAGE));
        // Next to them, then over their end.
        block.write(PAGE + 192, &[0; 8]).unwrap();
        assert!(taken().is_empty() && block.generation(PAGE) == generation);
        block.update(PAGE + 124, 8, &mut |old| old + 1).unwrap();
        assert_eq!(taken(), [('c', base + PAGE + 124..base + PAGE + 132)]);
        assert_ne!(block.generation(PAGE), generation);
        // A transfer over three pages tells of the part in the page.
        block.write(0, &[0; 3 * PAGE as usize]).unwrap();
        assert_eq!(taken(), [('c', base + PAGE..base + 2 * PAGE)]);
        block.release_code(PAGE + 7);
        assert_eq!(taken(), [('c', base + PAGE..base + 2 * PAGE)]);
        block.write(PAGE, &[0; 200]).unwrap();
        assert!(taken().is_empty() && !block.is_watched(0..4 * PAGE));
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
