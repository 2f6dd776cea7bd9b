//! Guest memory as an instruction sees it that must not change the code it belongs to.

use isamorph_cache::Range;
use isamorph_ir::{FaultCause, MemFault, Memory};
use isamorph_ram::UserSpace;
use std::cell::Cell;

/// What must not be stored to.
pub enum Code<'a> {
    /// These bytes.
    Ranges(&'a [Range]),
    /// Every page that holds translated code.
    Pages,
}

/// Guest memory that refuses a store into code. The instruction has no effect then; it starts again alone, and the next
/// one is made from what it stored.
pub struct Guarded<'a> {
    space: &'a UserSpace,
    code: Code<'a>,
    refused: Cell<bool>,
}

impl<'a> Guarded<'a> {
    /// Memory without that code.
    pub fn new(space: &'a UserSpace, code: Code<'a>) -> Self {
        Guarded { space, code, refused: Cell::new(false) }
    }
    /// Whether a store was refused.
    pub fn has_refused(&self) -> bool {
        self.refused.get()
    }
    fn check(&self, addr: u64, len: u64) -> Result<(), MemFault> {
        let hit = match self.code {
            Code::Ranges(ranges) => ranges.iter().any(|r| r.overlaps(addr, len)),
            Code::Pages => {
                len != 0 && Range { start: addr, len: len as u32 }.pages(12).any(|p| self.space.is_code(p << 12))
            }
        };
        if hit {
            self.refused.set(true);
            return Err(MemFault { addr, write: true, cause: FaultCause::Protected });
        }
        Ok(())
    }
}

impl Memory for Guarded<'_> {
    fn read(&self, addr: u64, out: &mut [u8]) -> Result<(), MemFault> {
        self.space.read(addr, out)
    }
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), MemFault> {
        self.check(addr, data.len() as u64)?;
        self.space.write(addr, data)
    }
    fn update(&self, addr: u64, bytes: u32, f: &mut dyn FnMut(u128) -> u128) -> Result<u128, MemFault> {
        self.check(addr, u64::from(bytes))?;
        self.space.update(addr, bytes, f)
    }
}
