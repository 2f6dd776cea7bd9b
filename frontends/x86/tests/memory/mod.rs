//! Guest memory for tests: one flat piece.

use isamorph_ir::{FaultCause, MemFault, Memory};
use std::cell::RefCell;

/// Bytes from an address on; nothing is mapped elsewhere.
pub struct Flat {
    base: u64,
    bytes: RefCell<Vec<u8>>,
}

impl Flat {
    /// Memory at `base`.
    pub fn new(base: u64, bytes: Vec<u8>) -> Self {
        Flat { base, bytes: RefCell::new(bytes) }
    }
    /// The bytes.
    #[allow(dead_code)] // not every test file wants them back
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_inner()
    }
    fn range(&self, addr: u64, len: usize, write: bool) -> Result<std::ops::Range<usize>, MemFault> {
        let end = self.bytes.borrow().len();
        let at = usize::try_from(addr.wrapping_sub(self.base)).unwrap_or(usize::MAX);
        match at.checked_add(len) {
            Some(last) if last <= end => Ok(at..last),
            _ => {
                let addr = if at < end { self.base + end as u64 } else { addr };
                Err(MemFault { addr, write, cause: FaultCause::Unmapped })
            }
        }
    }
}

impl Memory for Flat {
    fn read(&self, addr: u64, out: &mut [u8]) -> Result<(), MemFault> {
        let range = self.range(addr, out.len(), false)?;
        out.copy_from_slice(&self.bytes.borrow()[range]);
        Ok(())
    }
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), MemFault> {
        let range = self.range(addr, data.len(), true)?;
        self.bytes.borrow_mut()[range].copy_from_slice(data);
        Ok(())
    }
    fn update(&self, addr: u64, bytes: u32, f: &mut dyn FnMut(u128) -> u128) -> Result<u128, MemFault> {
        let mut raw = [0; 16];
        self.read(addr, &mut raw[..bytes as usize])?;
        let old = u128::from_le_bytes(raw);
        self.write(addr, &f(old).to_le_bytes()[..bytes as usize])?;
        Ok(old)
    }
}
