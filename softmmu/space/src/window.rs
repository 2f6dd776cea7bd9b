//! Translated ranges for structures that are touched all the time.

use crate::access::{AddressSpace, Failure};
use crate::flat::Target;
use isamorph_ram::RamBlock;
use std::sync::{Arc, Mutex, PoisonError};

/// A range of an address space, as a device's rings are, whose memory is looked up once and again only after the space
/// has changed. Where it is not plain memory, accesses go through the space.
pub struct Window {
    space: Arc<AddressSpace>,
    start: u64,
    len: u64,
    found: Mutex<Found>,
}

/// What was found, and in which generation of the space.
#[derive(Clone, Default)]
struct Found {
    generation: u64,
    /// The memory and the offset of the window in it, if the whole window is in one block.
    memory: Option<(Arc<RamBlock>, u64, bool)>,
}

impl Window {
    /// The `len` bytes at `start`.
    pub fn new(space: Arc<AddressSpace>, start: u64, len: u64) -> Self {
        Window { space, start, len, found: Mutex::default() }
    }
    /// Number of bytes.
    pub fn len(&self) -> u64 {
        self.len
    }
    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    fn memory(&self) -> Option<(Arc<RamBlock>, u64, bool)> {
        let generation = self.space.generation();
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.generation != generation {
            let view = self.space.view();
            let memory = view.find(self.start).and_then(|range| match &range.target {
                Target::Ram(block) if u128::from(self.start) + u128::from(self.len) <= range.end() => {
                    Some((block.clone(), range.offset_of(self.start), range.readonly))
                }
                _ => None,
            });
            *found = Found { generation, memory };
        }
        found.memory.clone()
    }
    /// Whether the bytes at an offset are in the window.
    fn check(&self, offset: u64, len: usize) -> Result<u64, Failure> {
        match offset.checked_add(len as u64) {
            Some(end) if end <= self.len => Ok(self.start.wrapping_add(offset)),
            _ => Err(Failure::Unassigned),
        }
    }
    /// Reads bytes at an offset of the window.
    ///
    /// # Errors
    /// They are not all in the window, or not all readable.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Failure> {
        let addr = self.check(offset, out.len())?;
        match self.memory() {
            Some((block, at, _)) => block.read(at + offset, out).map_err(|_| Failure::Refused),
            None => self.space.read(addr, out),
        }
    }
    /// Writes bytes at an offset of the window.
    ///
    /// # Errors
    /// They are not all in the window, or not all writable.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), Failure> {
        let addr = self.check(offset, data.len())?;
        match self.memory() {
            Some((block, at, false)) => block.write(at + offset, data).map_err(|_| Failure::Refused),
            Some((_, _, true)) => Ok(()),
            None => self.space.write(addr, data),
        }
    }
}
