//! Base address registers (PCI 3.0, 6.2.5).

use super::config::{Template, get32};
use super::reg;
use isamorph_space::RegionId;

/// A base address register with the region that it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    pub(super) region: RegionId,
    /// Bytes; a power of two.
    pub(super) size: u64,
    pub(super) kind: Kind,
    /// Reads have no side effects.
    pub(super) prefetchable: bool,
}

/// What a base address register is an address of, and how wide it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Io,
    Memory32,
    Memory64,
    Rom,
}

impl Bar {
    fn new(region: RegionId, size: u64, least: u64, kind: Kind) -> Self {
        Bar { region, size: size.max(least).next_power_of_two(), kind, prefetchable: false }
    }
    /// Ports; `size` is rounded up to a power of two.
    pub fn io(region: RegionId, size: u64) -> Self {
        Bar::new(region, size, 4, Kind::Io)
    }
    /// Memory below 4 GiB.
    pub fn memory(region: RegionId, size: u64) -> Self {
        Bar::new(region, size, 16, Kind::Memory32)
    }
    /// Memory anywhere; takes two registers.
    pub fn memory64(region: RegionId, size: u64) -> Self {
        Bar::new(region, size, 16, Kind::Memory64)
    }
    /// The memory may be read ahead.
    #[must_use]
    pub fn prefetchable(mut self) -> Self {
        self.prefetchable = true;
        self
    }
    /// An expansion ROM.
    pub(super) fn rom(region: RegionId, size: u64) -> Self {
        Bar::new(region, size, 0x800, Kind::Rom)
    }
    /// Writes the registers' fixed bits and masks.
    pub(super) fn describe(&self, offset: usize, template: &mut Template) {
        let mask = !(self.size - 1);
        let prefetchable = u32::from(self.prefetchable) << 3;
        match self.kind {
            Kind::Io => template.set(offset, 4, 1, mask as u32 & !3),
            Kind::Memory32 => template.set(offset, 4, prefetchable, mask as u32),
            Kind::Memory64 => {
                template.set(offset, 4, 4 | prefetchable, mask as u32);
                template.set(offset + 4, 4, 0, (mask >> 32) as u32);
            }
            // Bit 0 is the decoder's own switch.
            Kind::Rom => template.set(offset, 4, 0, mask as u32 | 1),
        }
    }
    /// Where the region is, if it is anywhere: not while its space is off, nor at address 0, nor at the end of the
    /// space, where it is while software finds out its size.
    pub(super) fn place(&self, bytes: &[u8], offset: usize) -> Option<u64> {
        let command = u16::from_le_bytes([bytes[reg::COMMAND], bytes[reg::COMMAND + 1]]);
        let raw = get32(bytes, offset);
        let low = u64::from(raw) & !(self.size - 1);
        let (switch, base, limit) = match self.kind {
            Kind::Io => (reg::COMMAND_IO, low, 0x1_0000),
            Kind::Memory32 => (reg::COMMAND_MEMORY, low, 0xffff_ffff),
            Kind::Memory64 => {
                let high = u64::from(get32(bytes, offset + 4)) << 32;
                (reg::COMMAND_MEMORY, (high | u64::from(raw)) & !(self.size - 1), u64::MAX)
            }
            Kind::Rom if raw & 1 == 0 => return None,
            Kind::Rom => (reg::COMMAND_MEMORY, low, 0xffff_ffff),
        };
        let fits = base != 0 && base.checked_add(self.size).is_some_and(|end| end <= limit);
        (command & switch != 0 && fits).then_some(base)
    }
}
