//! The units of a channel: what software sees of a drive between commands.

use super::{SECTOR, device, error, status};
use isamorph_block::Drive;
use std::sync::Arc;

/// What a unit is and what it says of itself.
#[derive(Clone, Debug)]
pub struct UnitConfig {
    /// Where its bytes are.
    pub drive: Arc<Drive>,
    /// Whether it is a CD-ROM drive.
    pub is_cdrom: bool,
    /// Model, up to 40 characters.
    pub model: String,
    /// Serial number, up to 20 characters.
    pub serial: String,
    /// Firmware revision, up to 8 characters.
    pub firmware: String,
}

impl UnitConfig {
    /// A disk; it is the machine's drive of that number, counted from 1. Guests find disks again by these names, so
    /// they are those that an image has seen under QEMU.
    pub fn disk(drive: Arc<Drive>, number: u32) -> Self {
        Self::named(drive, false, "QEMU HARDDISK", number)
    }
    /// A CD-ROM drive.
    pub fn cdrom(drive: Arc<Drive>, number: u32) -> Self {
        Self::named(drive, true, "QEMU DVD-ROM", number)
    }
    fn named(drive: Arc<Drive>, is_cdrom: bool, model: &str, number: u32) -> Self {
        let (model, serial, firmware) = (model.to_owned(), format!("QM{number:05}"), "2.5+".to_owned());
        UnitConfig { drive, is_cdrom, model, serial, firmware }
    }
}

/// Cylinders, heads and sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    /// Cylinders.
    pub cylinders: u16,
    /// Heads.
    pub heads: u8,
    /// Sectors of a track.
    pub sectors: u8,
}

impl Geometry {
    /// That of a disk of so many sectors: 16 heads and 63 sectors, as far as there are cylinders for it.
    pub fn of(total: u64) -> Self {
        Geometry { cylinders: (total / (16 * 63)).clamp(2, 16383) as u16, heads: 16, sectors: 63 }
    }
    /// Sectors that can be addressed.
    pub fn capacity(self) -> u64 {
        u64::from(self.cylinders) * u64::from(self.heads) * u64::from(self.sectors)
    }
}

/// A register that is two bytes deep: the byte written last, and the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Deep {
    pub last: u8,
    pub previous: u8,
}

impl Deep {
    pub fn push(&mut self, value: u8) {
        *self = Deep { last: value, previous: self.last };
    }
    pub fn set(&mut self, value: u8) {
        *self = Deep { last: value, previous: 0 };
    }
}

/// The command block registers of a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TaskFile {
    pub feature: Deep,
    pub count: Deep,
    pub lba: [Deep; 3],
    pub device: u8,
    pub status: u8,
    pub error: u8,
}

impl TaskFile {
    /// Number of sectors; no sector means the most that the register could count.
    pub fn sectors(&self, extended: bool) -> u64 {
        match (extended, u64::from(self.count.last), u64::from(self.count.previous)) {
            (false, 0, _) => 256,
            (false, n, _) => n,
            (true, 0, 0) => 65536,
            (true, low, high) => high << 8 | low,
        }
    }
    fn lba_bytes(&self) -> u64 {
        self.lba.iter().rev().fold(0, |value, byte| value << 8 | u64::from(byte.last))
    }
    /// The first sector; nothing for an address that no disk has.
    pub fn address(&self, extended: bool, geometry: Geometry) -> Option<u64> {
        if extended {
            let high = self.lba.iter().rev().fold(0, |value, byte| value << 8 | u64::from(byte.previous));
            return Some(high << 24 | self.lba_bytes());
        }
        let top = u64::from(self.device & 15);
        if self.device & device::LBA != 0 {
            return Some(top << 24 | self.lba_bytes());
        }
        let (sector, cylinder) = (u64::from(self.lba[0].last), self.lba_bytes() >> 8);
        let in_range = sector >= 1 && sector <= geometry.sectors.into() && top < geometry.heads.into();
        let track = cylinder * u64::from(geometry.heads) + top;
        in_range.then(|| track * u64::from(geometry.sectors) + sector - 1)
    }
    /// Shows an address in the registers, as after an error.
    pub fn set_address(&mut self, address: u64, extended: bool, geometry: Geometry) {
        let raw = if extended || self.device & device::LBA != 0 {
            address
        } else {
            let (sectors, heads) = (u64::from(geometry.sectors.max(1)), u64::from(geometry.heads.max(1)));
            let track = address / sectors;
            (track % heads) << 24 | ((track / heads) & 0xffff) << 8 | (address % sectors + 1)
        };
        let bytes = raw.to_le_bytes();
        for (i, register) in self.lba.iter_mut().enumerate() {
            *register = Deep { last: bytes[i], previous: if extended { bytes[i + 3] } else { 0 } };
        }
        if !extended {
            self.device = self.device & 0xf0 | bytes[3] & 15;
        }
    }
}

/// What a CD-ROM drive remembers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CdState {
    /// Sense key, additional code and its qualifier.
    pub sense: [u8; 3],
    /// The medium that was there when software last looked: its number.
    pub medium: Option<u64>,
    pub tray_open: bool,
    pub locked: bool,
    /// Whether software has to be told that the medium was changed.
    pub attention: bool,
    /// Event that GET EVENT STATUS NOTIFICATION will report.
    pub event: u8,
}

/// A unit.
#[derive(Clone, Debug)]
pub struct Unit {
    pub config: UnitConfig,
    pub file: TaskFile,
    /// Sectors of the disk.
    pub total: u64,
    /// As INITIALIZE DEVICE PARAMETERS has set it.
    pub geometry: Geometry,
    /// Sectors between interrupts of READ and WRITE MULTIPLE; 0: not set.
    pub multiple: u8,
    /// Selected multiword and ultra DMA mode, as bits.
    pub dma_modes: [u8; 2],
    pub write_cache: bool,
    pub cd: CdState,
}

impl Unit {
    pub fn new(config: UnitConfig) -> Self {
        let bytes = config.drive.medium().map_or(0, |medium| medium.image.size());
        let total = bytes / SECTOR;
        let medium = config.drive.medium().map(|medium| medium.number);
        let mut unit = Unit {
            config,
            file: TaskFile::default(),
            total,
            geometry: Geometry::of(total),
            multiple: 0,
            dma_modes: [0; 2],
            write_cache: true,
            cd: CdState { medium, ..CdState::default() },
        };
        unit.power_on();
        unit
    }
    /// What power-on and a reset by the machine leave.
    pub fn power_on(&mut self) {
        self.geometry = Geometry::of(self.total);
        (self.multiple, self.write_cache) = (16, true);
        // Ultra DMA 5.
        self.dma_modes = [0, 0x20];
        self.cd = CdState { medium: self.config.drive.medium().map(|medium| medium.number), ..CdState::default() };
        self.software_reset();
    }
    /// What a software reset leaves.
    pub fn software_reset(&mut self) {
        self.file = TaskFile::default();
        self.sign();
    }
    /// The signature by which software knows what it is (ATA/ATAPI-7, 5.15).
    pub fn sign(&mut self) {
        let (middle, high, after) =
            if self.config.is_cdrom { (0x14, 0xeb, 0) } else { (0, 0, status::READY | status::SEEK) };
        self.file.count.set(1);
        for (register, value) in self.file.lba.iter_mut().zip([1, middle, high]) {
            register.set(value);
        }
        self.file.device &= device::SECOND;
        self.file.error = error::DIAGNOSTICS_PASSED;
        self.file.status = after;
    }
    /// The command has failed.
    pub fn fail(&mut self, why: u8) {
        self.file.error = why;
        self.file.status = status::READY | status::SEEK | status::ERROR;
    }
    /// The command has succeeded.
    pub fn succeed(&mut self) {
        self.file.error = 0;
        self.file.status = status::READY | status::SEEK;
    }
}
