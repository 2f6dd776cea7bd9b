//! Configuration space: bytes with masks, and registers that do something.

use std::sync::Arc;

/// Bytes of a configuration space.
pub(super) const SIZE: usize = 256;

/// What happens when software uses a bank of registers.
pub trait Registers: Send + Sync {
    /// Software wrote; `bytes` are the registers after it, in which more may change.
    fn written(&self, bytes: &mut [u8]);
    /// The function was reset, or a state was put in place: `bytes` say all, whatever was before.
    fn replaced(&self, bytes: &mut [u8]) {
        self.written(bytes);
    }
    /// Software is about to read; `bytes` are what it will see.
    fn refresh(&self, _bytes: &mut [u8]) {}
}

/// Consecutive registers of configuration space that are not in the common header.
#[derive(Clone)]
pub struct Bank {
    pub(super) offset: usize,
    pub(super) reset: Vec<u8>,
    pub(super) writable: Vec<u8>,
    pub(super) clearable: Vec<u8>,
    pub(super) registers: Option<Arc<dyn Registers>>,
}

impl Bank {
    /// Read-only registers from an offset on, with the values that they have after a reset.
    pub fn new(offset: u8, reset: &[u8]) -> Self {
        let none = vec![0; reset.len()];
        Bank { offset: offset.into(), reset: reset.to_vec(), writable: none.clone(), clearable: none, registers: None }
    }
    /// Bits that software can write, from the first register on.
    #[must_use]
    pub fn writable(mut self, mask: &[u8]) -> Self {
        self.writable.iter_mut().zip(mask).for_each(|(to, from)| *to = *from);
        self
    }
    /// Bits that software clears by writing ones.
    #[must_use]
    pub fn clearable(mut self, mask: &[u8]) -> Self {
        self.clearable.iter_mut().zip(mask).for_each(|(to, from)| *to = *from);
        self
    }
    /// What happens when they are used.
    #[must_use]
    pub fn registers(mut self, registers: Arc<dyn Registers>) -> Self {
        self.registers = Some(registers);
        self
    }
    pub(super) fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.reset.len()
    }
}

/// What each byte is after a reset, and which of its bits software can change.
#[derive(Clone)]
pub(super) struct Template {
    pub reset: [u8; SIZE],
    pub writable: [u8; SIZE],
    pub clearable: [u8; SIZE],
}

impl Template {
    pub(super) fn new() -> Self {
        Template { reset: [0; SIZE], writable: [0; SIZE], clearable: [0; SIZE] }
    }
    /// Sets the reset value of a field and the bits of it that software can write.
    pub(super) fn set(&mut self, offset: usize, size: usize, reset: u32, writable: u32) {
        self.reset[offset..offset + size].copy_from_slice(&reset.to_le_bytes()[..size]);
        self.writable[offset..offset + size].copy_from_slice(&writable.to_le_bytes()[..size]);
    }
    pub(super) fn add(&mut self, bank: &Bank) {
        self.reset[bank.range()].copy_from_slice(&bank.reset);
        self.writable[bank.range()].copy_from_slice(&bank.writable);
        self.clearable[bank.range()].copy_from_slice(&bank.clearable);
    }
    /// A byte after software has written a value to it.
    pub(super) fn merge(&self, at: usize, old: u8, value: u8) -> u8 {
        let writable = self.writable[at];
        (old & !writable | value & writable) & !(value & self.clearable[at])
    }
}

/// A little-endian field of 16 bits.
pub(super) fn get16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// A little-endian field of 32 bits.
pub(super) fn get32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Sets or clears bits of a 16-bit field.
pub(super) fn set_bits16(bytes: &mut [u8], at: usize, bits: u16, on: bool) {
    let old = get16(bytes, at);
    let new = if on { old | bits } else { old & !bits };
    bytes[at..at + 2].copy_from_slice(&new.to_le_bytes());
}
