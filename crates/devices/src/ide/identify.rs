//! The data of IDENTIFY DEVICE and IDENTIFY PACKET DEVICE (ATA/ATAPI-7, 6.17 and 6.18).

use super::data::put_text;
use super::unit::{Geometry, Unit};
use super::{SECTOR, device};

/// Sectors between interrupts at most.
pub const MAX_MULTIPLE: u8 = 16;

/// Sectors of ranges that one TRIM has at most.
pub const MAX_TRIM_BLOCKS: u16 = 8;

/// Words of the data with their values; what is not here is 0.
struct Words([u16; 256]);

impl Words {
    fn set(&mut self, at: usize, value: u16) {
        self.0[at] = value;
    }
    fn set_all(&mut self, values: &[(usize, u16)]) {
        values.iter().for_each(|(at, value)| self.set(*at, *value));
    }
    fn set32(&mut self, at: usize, value: u32) {
        self.set(at, value as u16);
        self.set(at + 1, (value >> 16) as u16);
    }
    /// Two characters in a word, the first one in its upper half.
    fn text(&mut self, at: usize, words: usize, text: &str) {
        let mut bytes = vec![b' '; words * 2];
        put_text(&mut bytes, text);
        for (i, pair) in bytes.chunks_exact(2).enumerate() {
            self.set(at + i, u16::from_be_bytes([pair[0], pair[1]]));
        }
    }
    fn names(&mut self, unit: &Unit) {
        self.text(10, 10, &unit.config.serial);
        self.text(23, 4, &unit.config.firmware);
        self.text(27, 20, &unit.config.model);
    }
    /// Which DMA modes there are, and which is selected.
    fn dma(&mut self, unit: &Unit) {
        // Words 54 to 58, 64 to 70 and 88 are valid.
        self.set(53, 7);
        self.set(63, 0x07 | u16::from(unit.dma_modes[0]) << 8);
        // PIO modes 3 and 4.
        self.set(64, 3);
        self.set(88, 0x3f | u16::from(unit.dma_modes[1]) << 8);
        // Device 0 or 1 as the cable says; 80 wires.
        let second = unit.file.device & device::SECOND != 0;
        self.set(93, if second { 0x6b00 } else { 0x600b });
    }
    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

/// The data of a disk.
pub fn disk(unit: &Unit) -> Vec<u8> {
    let mut words = Words([0; 256]);
    let default = Geometry::of(unit.total);
    words.set_all(&[
        // Fixed, not removable.
        (0, 0x0040),
        (1, default.cylinders),
        (3, default.heads.into()),
        (4, u16::from(default.sectors) * SECTOR as u16),
        (5, SECTOR as u16),
        (6, default.sectors.into()),
        // A buffer of 256 sectors, and four bytes more for READ LONG: long obsolete, and still looked at.
        (20, 3),
        (21, 512),
        (22, 4),
        (47, 0x8000 | u16::from(MAX_MULTIPLE)),
        // Doubleword transfers.
        (48, 1),
        // IORDY, LBA, DMA.
        (49, 0x0b00),
        (51, 0x0200),
        (52, 0x0200),
        (54, unit.geometry.cylinders),
        (55, unit.geometry.heads.into()),
        (56, unit.geometry.sectors.into()),
        (59, if unit.multiple > 0 { 0x0100 | u16::from(unit.multiple) } else { 0 }),
        (62, 0x0007),
        (65, 120),
        (66, 120),
        (67, 120),
        (68, 120),
        // ATA-4 to ATA/ATAPI-7.
        (80, 0x00f0),
        (81, 0x0016),
        // Power management, write cache; flush, flush ext, 48-bit addresses; write FUA.
        (82, 0x0028),
        (83, 0x7400),
        (84, 0x4040),
        (85, 0x0008 | u16::from(unit.write_cache) << 5),
        (86, 0x3400),
        (87, 0x4040),
        (105, MAX_TRIM_BLOCKS),
        // TRIM.
        (169, 1),
    ]);
    words.set32(57, unit.geometry.capacity().min(u32::MAX.into()) as u32);
    words.set32(60, unit.total.min(0x0fff_ffff) as u32);
    let total = unit.total.min(1 << 48);
    words.set32(100, total as u32);
    words.set32(102, (total >> 32) as u32);
    words.names(unit);
    words.dma(unit);
    words.bytes()
}

/// The data of a CD-ROM drive.
pub fn cdrom(unit: &Unit) -> Vec<u8> {
    let mut words = Words([0; 256]);
    words.set_all(&[
        // ATAPI, CD-ROM, removable, packets of 12 bytes within 50 µs.
        (0, 0x85c0),
        (20, 3),
        (21, 512),
        (22, 4),
        (48, 1),
        // IORDY, LBA, DMA.
        (49, 0x0b00),
        (62, 0x0007),
        (65, 180),
        (66, 180),
        (67, 180),
        (68, 180),
        (71, 30),
        (72, 30),
        (80, 0x001e),
        // Device reset, packets.
        (82, 0x0210),
        (83, 0x4000),
        (84, 0x4000),
        (85, 0x0210),
        (87, 0x4000),
    ]);
    words.names(unit);
    words.dma(unit);
    words.bytes()
}
