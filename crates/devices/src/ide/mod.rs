//! IDE: a controller with two channels, ATA disks and ATAPI CD-ROM drives.
//!
//! References: ATA/ATAPI-7 (T13 1532D) volumes 1 and 2; MMC-3 and SPC-2 for packets; Programming Interface for Bus
//! Master IDE Controller 1.0; 82371SB (PIIX3) datasheet.
//!
//! A channel has one set of wires and up to two units. Commands that need the image are served by another thread; until
//! it answers, the unit is busy. A reset forgets the answer: every transfer has a number, and answers to another one
//! than the present are dropped.

mod bus_master;
mod channel;
mod command;
mod data;
mod identify;
mod packet;
mod piix;
mod saved;
#[cfg(test)]
mod tests;
mod transfer;
mod unit;

pub use channel::{Channel, Tray};
pub use piix::PiixIde;
pub use saved::{ChannelState, UnitState};
pub use unit::{Geometry, UnitConfig};

/// Bytes of a sector of a disk.
const SECTOR: u64 = 512;

/// Bits of the status register.
mod status {
    pub const ERROR: u8 = 0x01;
    pub const DATA_REQUEST: u8 = 0x08;
    /// Seek complete: always, as there is nothing to move.
    pub const SEEK: u8 = 0x10;
    pub const READY: u8 = 0x40;
    pub const BUSY: u8 = 0x80;
}

/// Bits of the error register.
mod error {
    pub const ABORTED: u8 = 0x04;
    /// The address is not there.
    pub const NOT_FOUND: u8 = 0x10;
    pub const UNCORRECTABLE: u8 = 0x40;
    /// What the register holds after a reset: all tests passed.
    pub const DIAGNOSTICS_PASSED: u8 = 0x01;
}

/// Bits of the device control register.
mod control {
    pub const NO_INTERRUPT: u8 = 0x02;
    pub const RESET: u8 = 0x04;
    /// Reads show the previous content of the registers that are two bytes deep.
    pub const HIGH_ORDER: u8 = 0x80;
}

/// Bits of the device register.
mod device {
    pub const LBA: u8 = 0x40;
    pub const SECOND: u8 = 0x10;
}
