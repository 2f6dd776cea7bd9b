//! Guest memory as the interpreter and helpers see it: by the guest's idea of an address, and, for an instruction that
//! must not change the code it belongs to, without that code.

use crate::world::Code;
use isamorph_cache::Range;
use isamorph_ir::{FaultCause, MemFault, Memory};
use isamorph_ram::UserSpace;
use std::cell::Cell;

/// Guest memory that refuses a store into code.
pub struct Guarded<'a> {
    space: &'a UserSpace,
    code: Code<'a>,
    address_mask: u64,
    refused: Cell<bool>,
}

impl<'a> Guarded<'a> {
    /// Memory without that code.
    pub fn new(space: &'a UserSpace, address_mask: u64, code: Code<'a>) -> Self {
        Guarded { space, code, address_mask, refused: Cell::new(false) }
    }
    /// Whether a store was refused.
    pub fn has_refused(&self) -> bool {
        self.refused.get()
    }
    /// The address of a store, unless it is refused.
    fn check(&self, addr: u64, len: u64) -> Result<u64, MemFault> {
        let addr = addr & self.address_mask;
        let hit = match self.code {
            Code::Nothing => false,
            Code::Ranges(ranges) => ranges.iter().any(|r| r.overlaps(addr, len)),
            Code::Pages => {
                len != 0 && Range { start: addr, len: len as u32 }.pages(12).any(|p| self.space.is_code(p << 12))
            }
        };
        if hit {
            self.refused.set(true);
            return Err(MemFault { addr, write: true, cause: FaultCause::Protected });
        }
        Ok(addr)
    }
}

impl Memory for Guarded<'_> {
    fn read(&self, addr: u64, out: &mut [u8]) -> Result<(), MemFault> {
        self.space.read(addr & self.address_mask, out)
    }
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), MemFault> {
        self.space.write(self.check(addr, data.len() as u64)?, data)
    }
    fn update(&self, addr: u64, bytes: u32, f: &mut dyn FnMut(u128) -> u128) -> Result<u128, MemFault> {
        self.space.update(self.check(addr, u64::from(bytes))?, bytes, f)
    }
}
