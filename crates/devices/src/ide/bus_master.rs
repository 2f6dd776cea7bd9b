//! Bus-master DMA of a channel (Programming Interface for Bus Master IDE Controller 1.0).

use isamorph_device::{Dma, DmaError};

/// Bits of the command register.
mod command {
    pub const START: u8 = 0x01;
    /// To memory. The unit's command decides; a driver that says something else here would only hang real hardware.
    pub const WRITE: u8 = 0x08;
}

/// Bits of the status register.
mod status {
    pub const ACTIVE: u8 = 0x01;
    pub const ERROR: u8 = 0x02;
    pub const INTERRUPT: u8 = 0x04;
    /// Software notes here which units it has set up for DMA.
    pub const CAPABLE: u8 = 0x60;
}

/// Bytes of a descriptor table at most: it does not cross a 64 KiB boundary.
const TABLE: u32 = 0x1_0000;

/// Why bytes were not moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The descriptors are all used.
    Exhausted,
    /// Memory did not take part.
    Failed,
}

impl From<DmaError> for Stop {
    fn from(_: DmaError) -> Self {
        Stop::Failed
    }
}

/// The registers, and where in the table the transfer is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BusMaster {
    command: u8,
    status: u8,
    table: u32,
    /// Bytes of the table that have been read.
    read: u32,
    /// The present descriptor: where it goes on, what is left of it, whether it is the last one.
    at: u32,
    left: u32,
    last: bool,
}

impl BusMaster {
    /// Whether it is a state that the registers can have.
    pub fn is_good(&self) -> bool {
        self.left <= 0x1_0000 && self.read <= TABLE && self.table.is_multiple_of(4)
    }
    /// Whether software lets it transfer.
    pub fn is_started(&self) -> bool {
        self.command & command::START != 0 && self.status & status::ACTIVE != 0
    }
    pub fn read(&self, offset: u64) -> u8 {
        match offset {
            0 => self.command,
            2 => self.status,
            4..=7 => self.table.to_le_bytes()[offset as usize - 4],
            _ => 0,
        }
    }
    /// Software writes a byte. Whether the transfer was started or stopped by that.
    pub fn write(&mut self, offset: u64, value: u8) -> bool {
        match offset {
            0 => {
                let before = self.command;
                self.command = value & (command::START | command::WRITE);
                if (before ^ value) & command::START == 0 {
                    return false;
                }
                if value & command::START != 0 {
                    (self.read, self.left, self.last) = (0, 0, false);
                    self.status |= status::ACTIVE;
                } else {
                    self.status &= !status::ACTIVE;
                }
                return true;
            }
            2 => {
                let clear = value & (status::ERROR | status::INTERRUPT);
                let kept = self.status & !status::CAPABLE & !clear;
                self.status = kept | value & status::CAPABLE;
            }
            4..=7 => {
                let mut bytes = self.table.to_le_bytes();
                bytes[offset as usize - 4] = value;
                self.table = u32::from_le_bytes(bytes) & !3;
            }
            _ => {}
        }
        false
    }
    /// The unit has raised its interrupt.
    pub fn interrupted(&mut self) {
        self.status |= status::INTERRUPT;
    }
    /// The unit is done. The controller stays active if descriptors are left.
    pub fn finish(&mut self) {
        if self.left == 0 && self.last {
            self.status &= !status::ACTIVE;
        }
    }
    /// The transfer cannot go on.
    pub fn stop(&mut self, why: Stop) {
        self.status &= !status::ACTIVE;
        if why == Stop::Failed {
            self.status |= status::ERROR;
        }
    }
    /// Takes the next descriptor if the present one is used up.
    fn advance(&mut self, dma: &Dma) -> Result<(), Stop> {
        while self.left == 0 {
            if self.last || self.read >= TABLE {
                return Err(Stop::Exhausted);
            }
            let mut raw = [0; 8];
            dma.read(u64::from(self.table) + u64::from(self.read), &mut raw)?;
            self.read += 8;
            let [a0, a1, a2, a3, n0, n1, _, flags] = raw;
            self.at = u32::from_le_bytes([a0, a1, a2, a3]) & !1;
            let count = u32::from(u16::from_le_bytes([n0, n1]) & !1);
            self.left = if count == 0 { 0x1_0000 } else { count };
            self.last = flags & 0x80 != 0;
        }
        Ok(())
    }
    fn moved(&mut self, count: usize) {
        self.at = self.at.wrapping_add(count as u32);
        self.left -= count as u32;
    }
    /// Writes bytes to memory.
    pub fn scatter(&mut self, dma: &Dma, mut data: &[u8]) -> Result<(), Stop> {
        while !data.is_empty() {
            self.advance(dma)?;
            let count = data.len().min(self.left as usize);
            dma.write(self.at.into(), &data[..count])?;
            self.moved(count);
            data = &data[count..];
        }
        Ok(())
    }
    /// Reads bytes from memory.
    pub fn gather(&mut self, dma: &Dma, out: &mut [u8]) -> Result<(), Stop> {
        let mut done = 0;
        while done < out.len() {
            self.advance(dma)?;
            let count = (out.len() - done).min(self.left as usize);
            dma.read(self.at.into(), &mut out[done..done + count])?;
            self.moved(count);
            done += count;
        }
        Ok(())
    }
}
