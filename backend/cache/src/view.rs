//! The code memory in terms of the cache's offsets.

use isamorph_host::Errno;
use isamorph_host::dual::{DualMap, Snapshot};

/// A doubly mapped memory object: bytes go in through the writable view, addresses come out in the executable one.
/// Its users hold the structure lock.
#[derive(Debug)]
pub struct View {
    map: DualMap,
}

impl View {
    /// Fresh memory.
    pub fn new(len: usize) -> Result<Self, Errno> {
        Ok(View { map: DualMap::new(len)? })
    }
    /// Host address of the executable view.
    pub fn base(&self) -> usize {
        self.map.rx_base()
    }
    /// Its length.
    pub fn len(&self) -> usize {
        self.map.len()
    }
    /// Copies code to where nothing is executed yet.
    pub fn write(&self, offset: u32, code: &[u8]) {
        self.map.write(offset as usize, code);
    }
    /// Makes a displacement, which counts from its own end, lead elsewhere. It may cross a 16-byte boundary, and
    /// nothing executes it yet.
    pub fn set_displacement(&self, at: u32, to: u32) {
        self.write(at, &Self::displacement(at, to).to_le_bytes());
    }
    /// The same with one store, for code that threads may be executing. It does not cross a 16-byte boundary. Neither
    /// the old nor the new value leads anywhere wrong.
    pub fn patch_displacement(&self, at: u32, to: u32) {
        self.map.store_u32(at as usize, Self::displacement(at, to));
    }
    fn displacement(at: u32, to: u32) -> u32 {
        to.wrapping_sub(at.wrapping_add(4))
    }
    /// Copies the first bytes for a child process.
    pub fn snapshot(&self, used: u32) -> Result<Snapshot, Errno> {
        self.map.snapshot(used as usize)
    }
    /// In the child: puts the copy in the place of the parent's memory.
    pub fn adopt(&self, snapshot: Snapshot) -> Result<(), Errno> {
        self.map.adopt(snapshot)
    }
}
