//! The window at 0xa0000: the sequencer's and the graphics controller's part in every access.

use super::Vga;
use super::registers::{Registers, gc, seq};
use isamorph_ram::RamBlock;
use isamorph_space::{Io, IoError};
use std::sync::Weak;

/// How an address of the window leads to a cell and its planes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cell {
    index: u64,
    /// The planes that the address alone selects, a bit each.
    planes: u8,
}

impl Registers {
    /// The cell of an address of the window, if it answers there.
    fn cell(&self, addr: u64) -> Option<Cell> {
        let (start, len) = self.window();
        let at = addr.checked_sub(start).filter(|at| *at < len)?;
        let at = at + self.vbe.bank_offset();
        let cell = if self.is_chained() {
            Cell { index: at >> 2, planes: 1 << (at & 3) }
        } else if self.seq[seq::MEMORY_MODE] & 4 == 0 {
            // Even addresses are planes 0 and 2, odd ones 1 and 3.
            Cell { index: at >> 1, planes: if at & 1 == 0 { 0b0101 } else { 0b1010 } }
        } else {
            Cell { index: at, planes: 0b1111 }
        };
        (cell.index < self.vbe.memory() / 4).then_some(cell)
    }
    /// What the graphics controller makes of the four bytes of a cell (`latch`) and a byte of the processor.
    fn combine(&self, value: u8) -> [u8; 4] {
        let mode = self.gc[gc::MODE] & 3;
        let rotated = value.rotate_right((self.gc[gc::ROTATE] & 7).into());
        let set_reset = self.gc[gc::SET_RESET];
        let mask = if mode == 3 { self.gc[gc::BIT_MASK] & rotated } else { self.gc[gc::BIT_MASK] };
        std::array::from_fn(|plane| {
            let latch = self.latch[plane];
            let spread = |bits: u8| if bits >> plane & 1 != 0 { 0xff } else { 0 };
            let source = match mode {
                0 if self.gc[gc::ENABLE_SET_RESET] >> plane & 1 != 0 => spread(set_reset),
                0 => rotated,
                1 => return latch,
                2 => spread(value),
                _ => spread(set_reset),
            };
            let mixed = match self.gc[gc::ROTATE] >> 3 & 3 {
                0 => source,
                1 => source & latch,
                2 => source | latch,
                _ => source ^ latch,
            };
            mixed & mask | latch & !mask
        })
    }
    /// Writes a byte.
    pub(super) fn write_memory(&self, memory: &RamBlock, addr: u64, value: u8) {
        let Some(cell) = self.cell(addr) else { return };
        let planes = cell.planes & self.seq[seq::MAP_MASK];
        let bytes = self.combine(value);
        // The index was checked.
        if planes == 0b1111 {
            let _ = memory.write(cell.index * 4, &bytes);
            return;
        }
        for plane in (0..4).filter(|plane| planes >> plane & 1 != 0) {
            let _ = memory.write(cell.index * 4 + plane as u64, &bytes[plane..=plane]);
        }
    }
    /// Reads a byte, and the cell into the latch.
    pub(super) fn read_memory(&mut self, memory: &RamBlock, addr: u64) -> u8 {
        let Some(cell) = self.cell(addr) else { return 0xff };
        let mut bytes = [0; 4];
        let _ = memory.read(cell.index * 4, &mut bytes);
        self.latch = bytes;
        if self.gc[gc::MODE] & 8 != 0 {
            // Read mode 1: which of the eight pixels have the colour.
            let (color, care) = (self.gc[gc::COLOR_COMPARE], self.gc[gc::COLOR_CARE]);
            let differs = (0..4).filter(|plane| care >> plane & 1 != 0).fold(0, |differs, plane| {
                let wanted = if color >> plane & 1 != 0 { 0xff } else { 0 };
                differs | (bytes[plane] ^ wanted)
            });
            return !differs;
        }
        let chosen = usize::from(self.gc[gc::READ_MAP] & 3);
        match cell.planes {
            0b1111 => bytes[chosen],
            // The address has the lowest bit, or both.
            0b0101 => bytes[chosen & 2],
            0b1010 => bytes[chosen & 2 | 1],
            one => bytes[one.trailing_zeros() as usize & 3],
        }
    }
}

/// The window as registers.
pub(super) struct Window(pub Weak<Vga>);

impl Io for Window {
    fn read(&self, offset: u64, size: u32) -> Result<u64, IoError> {
        let vga = self.0.upgrade().ok_or(IoError::Refused)?;
        let mut state = vga.state.enter()?;
        let byte = |i: u64| u64::from(state.read_memory(&vga.memory, offset + i)) << (8 * i);
        Ok((0..size.into()).map(byte).fold(0, |value, byte| value | byte))
    }
    fn write(&self, offset: u64, size: u32, value: u64) -> Result<(), IoError> {
        let vga = self.0.upgrade().ok_or(IoError::Refused)?;
        let state = vga.state.enter()?;
        for (i, byte) in value.to_le_bytes().into_iter().take(size as usize).enumerate() {
            state.write_memory(&vga.memory, offset + i as u64, byte);
        }
        Ok(())
    }
}
