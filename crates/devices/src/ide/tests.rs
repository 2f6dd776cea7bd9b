//! Tests of channels, disks, CD-ROM drives and the bus master, as a driver sees them.

use super::*;
use crate::testing::{Registers, hammer};
use isamorph_block::{Drive, Image, MemoryStorage, RawImage};
use isamorph_device::{Clock, Device, Dma, ManualClock, Probe, Snapshot};
use isamorph_ram::{Backing, RamBlock};
use isamorph_space::{Io, Map};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SECTORS: u64 = 4000;

fn image(bytes: Vec<u8>) -> Arc<dyn Image> {
    Arc::new(RawImage::new(MemoryStorage::new(bytes), false, false).unwrap())
}

/// A disk whose sectors are full of the low byte of their numbers.
fn disk() -> Arc<Drive> {
    let bytes = (0..SECTORS * SECTOR).map(|i| (i / SECTOR) as u8).collect();
    Drive::with_image("ide0-hd0", image(bytes))
}

fn cd(sectors: usize) -> Arc<dyn Image> {
    image((0..sectors * 2048).map(|i| (i / 2048 + 1) as u8).collect())
}

struct Rig {
    channel: Arc<Channel>,
    command: Arc<dyn Io>,
    control: Arc<dyn Io>,
    memory: Arc<RamBlock>,
    line: Arc<Probe>,
}

impl Rig {
    fn new(first: Option<UnitConfig>, second: Option<UnitConfig>) -> Self {
        let map = Map::new();
        let memory = RamBlock::new("ram", 1 << 20, &Backing::Anonymous).unwrap();
        let root = map.update(|tree| tree.ram("ram", memory.clone()));
        let dma = Dma::new(map.space("memory", root), true);
        let (line, wire) = Probe::new();
        let channel = Channel::new("ide0", [first, second], wire, Some(dma));
        let (command, control) = (channel.command_block(), channel.control_block());
        Rig { channel, command, control, memory, line }
    }
    fn with_disk() -> Self {
        Self::new(Some(UnitConfig::disk(disk(), 1)), None)
    }
    fn with_cd(medium: Option<Arc<dyn Image>>) -> (Self, Arc<Drive>) {
        let drive = Drive::new("ide0-cd0", medium, Default::default(), Default::default());
        (Self::new(Some(UnitConfig::cdrom(drive.clone(), 3)), None), drive)
    }
    fn read(&self, register: u64) -> u8 {
        self.command.read(register, 1).unwrap() as u8
    }
    fn write(&self, register: u64, value: u8) {
        self.command.write(register, 1, value.into()).unwrap();
    }
    fn status(&self) -> u8 {
        self.control.read(0, 1).unwrap() as u8
    }
    /// Waits as long as the unit is busy; gives its status.
    fn wait(&self) -> u8 {
        let start = Instant::now();
        while self.status() & status::BUSY != 0 {
            assert!(start.elapsed() < Duration::from_secs(10), "busy for ever");
            std::thread::yield_now();
        }
        self.status()
    }
    fn wait_interrupt(&self) -> u8 {
        let start = Instant::now();
        while !self.line.is_high() {
            assert!(start.elapsed() < Duration::from_secs(10), "no interrupt");
            std::thread::yield_now();
        }
        let status = self.read(7);
        assert!(!self.line.is_high(), "reading the status lowers the line");
        status
    }
    /// A command with an address of 28 bits.
    fn start(&self, opcode: u8, lba: u32, count: u8) {
        let [a, b, c, d] = lba.to_le_bytes();
        for (register, value) in [(6, 0x40 | d), (2, count), (3, a), (4, b), (5, c)] {
            self.write(register, value);
        }
        self.write(7, opcode);
    }
    /// One with an address of 48 bits.
    fn start_long(&self, opcode: u8, lba: u64, count: u16) {
        self.write(6, 0x40);
        let [low, high] = count.to_le_bytes();
        let bytes = lba.to_le_bytes();
        for (register, value) in [
            (2, high),
            (3, bytes[3]),
            (4, bytes[4]),
            (5, bytes[5]),
            (2, low),
            (3, bytes[0]),
            (4, bytes[1]),
            (5, bytes[2]),
        ] {
            self.write(register, value);
        }
        self.write(7, opcode);
    }
    fn take(&self, bytes: usize) -> Vec<u8> {
        (0..bytes / 2).flat_map(|_| (self.command.read(0, 2).unwrap() as u16).to_le_bytes()).collect()
    }
    fn give(&self, data: &[u8]) {
        for word in data.chunks_exact(4) {
            self.command.write(0, 4, u32::from_le_bytes(word.try_into().unwrap()).into()).unwrap();
        }
    }
    fn bus_master(&self, offset: u64) -> u8 {
        self.channel.read_bus_master(offset).unwrap()
    }
    /// Sets up descriptors: address and count.
    fn descriptors(&self, table: u32, entries: &[(u32, u32)]) {
        for (i, (addr, count)) in entries.iter().enumerate() {
            let last = if i + 1 == entries.len() { 0x8000_0000 } else { 0 };
            let raw = [addr.to_le_bytes(), (count & 0xffff | last).to_le_bytes()].concat();
            self.memory.write(u64::from(table) + i as u64 * 8, &raw).unwrap();
        }
        for (i, byte) in table.to_le_bytes().into_iter().enumerate() {
            self.channel.write_bus_master(4 + i as u64, byte).unwrap();
        }
        self.channel.write_bus_master(2, 0x66).unwrap();
    }
    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.memory.read(at, &mut out).unwrap();
        out
    }
    /// Sends a packet; gives the data and whether it has succeeded.
    fn packet(&self, packet: &[u8], limit: u16) -> Result<Vec<u8>, u8> {
        let [low, high] = limit.to_le_bytes();
        for (register, value) in [(6, 0), (1, 0), (4, low), (5, high)] {
            self.write(register, value);
        }
        self.write(7, 0xa0);
        assert_eq!((self.wait() & status::DATA_REQUEST, self.read(2)), (status::DATA_REQUEST, 1));
        let mut padded = packet.to_vec();
        padded.resize(12, 0);
        self.give(&padded);
        let mut data = Vec::new();
        loop {
            let status = self.wait_interrupt();
            if status & status::DATA_REQUEST == 0 {
                assert_eq!(self.read(2), 3);
                return if status & status::ERROR != 0 { Err(self.read(1) >> 4) } else { Ok(data) };
            }
            assert_eq!(self.read(2), 2);
            let len = usize::from(self.read(4)) | usize::from(self.read(5)) << 8;
            assert!(len > 0 && len <= usize::from(limit));
            data.extend(self.take(len.next_multiple_of(2)).into_iter().take(len));
        }
    }
    fn sense(&self) -> [u8; 3] {
        let data = self.packet(&[0x03, 0, 0, 0, 18], 18).unwrap();
        [data[2], data[12], data[13]]
    }
}

fn sector(number: u64) -> Vec<u8> {
    vec![number as u8; 512]
}

#[test]
fn a_disk_says_what_it_is() {
    let rig = Rig::with_disk();
    assert_eq!([2, 3, 4, 5].map(|r| rig.read(r)), [1, 1, 0, 0]);
    assert_eq!(rig.status(), 0x50);
    rig.start(0xec, 0, 0);
    assert_eq!(rig.wait_interrupt() & status::DATA_REQUEST, status::DATA_REQUEST);
    let words: Vec<u16> = rig.take(512).chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
    assert_eq!(rig.status(), 0x50);
    let text = |range: std::ops::Range<usize>| -> String {
        words[range].iter().flat_map(|w| w.to_be_bytes()).map(char::from).collect()
    };
    assert_eq!((text(27..47).trim(), text(10..20).trim()), ("QEMU HARDDISK", "QM00001"));
    assert_eq!(u64::from(words[60]) | u64::from(words[61]) << 16, SECTORS);
    assert_eq!((u64::from(words[100]), words[1], words[3], words[6]), (SECTORS, 3, 16, 63));
    assert_eq!((words[88], words[59]), (0x203f, 0x0110));
}

#[test]
fn sectors_go_through_the_data_register() {
    let rig = Rig::with_disk();
    rig.start(0x20, 0x105, 3);
    for i in 0..3 {
        rig.wait_interrupt();
        assert_eq!(rig.take(512), sector(5 + i));
    }
    assert_eq!((rig.wait(), rig.read(3), rig.line.edges()), (0x50, 7, 3));
    rig.start(0x30, 9, 2);
    assert!(!rig.line.is_high(), "the first block is asked for without an interrupt");
    for _ in 0..2 {
        assert_eq!(rig.wait() & status::DATA_REQUEST, status::DATA_REQUEST);
        rig.give(&[0xa5; 512]);
        rig.wait_interrupt();
    }
    rig.start_long(0x24, 10, 2);
    rig.wait_interrupt();
    assert_eq!(rig.take(512), [0xa5; 512]);
    rig.wait_interrupt();
    assert_eq!(rig.take(512), sector(11));
}

#[test]
fn several_sectors_come_with_one_interrupt() {
    let rig = Rig::with_disk();
    rig.start(0xc6, 0, 8);
    assert_eq!(rig.wait_interrupt(), 0x50);
    let before = rig.line.edges();
    rig.start(0xc4, 100, 20);
    for (first, count) in [(100, 8), (108, 8), (116, 4)] {
        rig.wait_interrupt();
        assert_eq!(rig.take(count * 512), (0..count as u64).flat_map(|i| sector(first + i)).collect::<Vec<_>>());
    }
    assert_eq!((rig.wait(), rig.line.edges() - before), (0x50, 3));
    rig.start(0xc6, 0, 3);
    assert_eq!((rig.wait_interrupt() & 1, rig.read(1)), (1, error::ABORTED));
}

#[test]
fn cylinders_heads_and_sectors_address_too() {
    let rig = Rig::with_disk();
    rig.write(6, 0x02);
    for (register, value) in [(2, 1), (3, 5), (4, 1), (5, 0)] {
        rig.write(register, value);
    }
    rig.write(7, 0x20);
    rig.wait_interrupt();
    assert_eq!(rig.take(512), sector((16 + 2) * 63 + 4));
    // Another geometry: 4 heads, 17 sectors.
    rig.write(6, 3);
    rig.write(2, 17);
    rig.write(7, 0x91);
    rig.wait_interrupt();
    rig.write(6, 1);
    for (register, value) in [(2, 1), (3, 17), (4, 2), (5, 0)] {
        rig.write(register, value);
    }
    rig.write(7, 0x20);
    rig.wait_interrupt();
    assert_eq!(rig.take(512), sector((2 * 4 + 1) * 17 + 16));
    rig.write(3, 18);
    rig.write(2, 1);
    rig.write(7, 0x20);
    assert_eq!((rig.wait_interrupt() & 1, rig.read(1)), (1, error::NOT_FOUND));
}

#[test]
fn what_is_not_there_is_an_error() {
    let rig = Rig::with_disk();
    for (opcode, lba, why) in [
        (0x20, SECTORS as u32, error::NOT_FOUND),
        (0xc8, SECTORS as u32 - 1, error::NOT_FOUND),
        (0xb0, 0, error::ABORTED),
    ] {
        rig.start(opcode, lba, 2);
        assert_eq!((rig.wait_interrupt() & 0x89, rig.read(1)), (1, why), "{opcode:#x}");
    }
    rig.write(6, device::SECOND);
    assert_eq!((rig.status(), rig.read(2)), (0, 0), "there is no second unit");
    rig.write(7, 0xec);
    assert!(!rig.line.is_high());
}

#[test]
fn the_bus_master_scatters_and_gathers() {
    let rig = Rig::with_disk();
    rig.descriptors(0x100, &[(0x2000, 100), (0x3000, 1000), (0x5000, 948)]);
    rig.start(0xc8, 50, 4);
    rig.channel.write_bus_master(0, 9).unwrap();
    assert_eq!(rig.wait_interrupt(), 0x50);
    assert_eq!(rig.bus_master(2), 0x64, "interrupt, not active any more");
    let all = [rig.bytes(0x2000, 100), rig.bytes(0x3000, 1000), rig.bytes(0x5000, 948)].concat();
    assert_eq!(all, (50..54).flat_map(sector).collect::<Vec<_>>());
    rig.channel.write_bus_master(0, 0).unwrap();
    rig.channel.write_bus_master(2, 0x64).unwrap();
    assert_eq!(rig.bus_master(2), 0x60);
    // Back to another place; started before the command comes.
    rig.descriptors(0x100, &[(0x3000, 1000), (0x2000, 24)]);
    rig.channel.write_bus_master(0, 1).unwrap();
    rig.start_long(0x35, 200, 2);
    rig.wait_interrupt();
    rig.start(0xe7, 0, 0);
    rig.wait_interrupt();
    rig.start(0x20, 200, 1);
    rig.wait_interrupt();
    assert_eq!(rig.take(512), rig.bytes(0x3000, 512));
}

#[test]
fn sectors_are_forgotten() {
    let bytes = vec![7; 64 << 10];
    let drive = Drive::new("hd", Some(image(bytes)), Default::default(), isamorph_block::Discard::Unmap);
    let rig = Rig::new(Some(UnitConfig::disk(drive.clone(), 1)), None);
    let range = |first: u64, count: u64| (first | count << 48).to_le_bytes();
    rig.memory.write(0x2000, &[range(3, 2), range(9, 0), range(100, 1)].concat()).unwrap();
    rig.descriptors(0x100, &[(0x2000, 512)]);
    rig.channel.write_bus_master(0, 1).unwrap();
    rig.write(1, 1);
    rig.start_long(0x06, 0, 1);
    rig.wait_interrupt();
    let mut all = vec![0; 64 << 10];
    drive.medium().unwrap().image.read_at(0, &mut all).unwrap();
    let zeros: Vec<_> = (0..128).filter(|i| all[i * 512..(i + 1) * 512] == [0; 512]).collect();
    assert_eq!(zeros, [3, 4, 100]);
    rig.write(1, 1);
    rig.start_long(0x06, 0, 9);
    assert_eq!((rig.wait_interrupt() & 1, rig.read(1)), (1, error::ABORTED));
}

#[test]
fn descriptors_may_be_too_many_or_too_few() {
    let rig = Rig::with_disk();
    rig.descriptors(0x100, &[(0x2000, 0), (0x1_2000, 512)]);
    rig.start(0xc8, 1, 1);
    rig.channel.write_bus_master(0, 9).unwrap();
    rig.wait_interrupt();
    assert_eq!(rig.bus_master(2), 0x65, "a count of 0 is 64 KiB, of which most is left");
    rig.channel.write_bus_master(0, 0).unwrap();
    rig.descriptors(0x100, &[(0x2000, 512)]);
    rig.start(0xc8, 1, 2);
    rig.channel.write_bus_master(0, 9).unwrap();
    let start = Instant::now();
    while rig.bus_master(2) & 1 != 0 && start.elapsed() < Duration::from_secs(10) {
        std::thread::yield_now();
    }
    assert_eq!((rig.bus_master(2), rig.line.is_high()), (0x60, false), "the unit waits for more");
    rig.descriptors(0x100, &[(0xffff_f000, 512)]);
    rig.control.write(0, 1, control::RESET.into()).unwrap();
    rig.control.write(0, 1, 0).unwrap();
    rig.start(0xc8, 1, 1);
    rig.channel.write_bus_master(0, 0).unwrap();
    rig.channel.write_bus_master(0, 9).unwrap();
    while rig.bus_master(2) & 1 != 0 && start.elapsed() < Duration::from_secs(10) {
        std::thread::yield_now();
    }
    assert_eq!(rig.bus_master(2), 0x62, "no memory there");
}

#[test]
fn a_reset_forgets_what_was_going_on() {
    let rig = Rig::with_disk();
    for round in 0..50 {
        rig.start(0x20, round, 200);
        rig.control.write(0, 1, control::RESET.into()).unwrap();
        assert_eq!(rig.status(), status::BUSY);
        rig.control.write(0, 1, control::NO_INTERRUPT.into()).unwrap();
        assert_eq!([1, 2, 3, 4, 5, 7].map(|r| rig.read(r)), [1, 1, 1, 0, 0, 0x50]);
    }
    let edges = rig.line.edges();
    rig.start(0xec, 0, 0);
    rig.wait();
    assert_eq!(rig.line.edges(), edges, "interrupts are off");
    rig.control.write(0, 1, 0).unwrap();
    assert!(rig.line.is_high(), "and were kept");
}

#[test]
fn an_image_that_fails_is_an_error_of_the_disk() {
    let drive = disk();
    let rig = Rig::new(Some(UnitConfig::disk(drive.clone(), 1)), None);
    drive.change(None);
    rig.start(0x20, 77, 1);
    assert_eq!((rig.wait_interrupt() & 1, rig.read(1), rig.read(3)), (1, error::UNCORRECTABLE, 77));
    rig.start(0x30, 77, 1);
    rig.give(&[0; 512]);
    assert_eq!((rig.wait_interrupt() & 1, rig.read(1)), (1, error::ABORTED));
}

#[test]
fn a_cdrom_drive_signs_and_says_what_it_is() {
    let (rig, _) = Rig::with_cd(Some(cd(16)));
    assert_eq!(([2, 3, 4, 5].map(|r| rig.read(r)), rig.status()), ([1, 1, 0x14, 0xeb], 0));
    rig.write(7, 0xec);
    assert_eq!((rig.wait_interrupt() & 1, rig.read(1), rig.read(4), rig.read(5)), (1, error::ABORTED, 0x14, 0xeb));
    rig.write(7, 0xa1);
    rig.wait_interrupt();
    assert_eq!(rig.take(512)[..2], 0x85c0u16.to_le_bytes());
    let inquiry = rig.packet(&[0x12, 0, 0, 0, 36], 36).unwrap();
    assert_eq!((&inquiry[..2], &inquiry[16..28]), (&[5, 0x80][..], &b"QEMU DVD-ROM"[..]));
    assert_eq!(rig.packet(&[0x12, 0, 0, 0, 5], 0xfffe).unwrap().len(), 5);
}

#[test]
fn a_cd_is_read_in_pieces_and_by_the_bus_master() {
    let (rig, _) = Rig::with_cd(Some(cd(16)));
    assert_eq!(rig.packet(&[0x25], 8).unwrap(), [0, 0, 0, 15, 0, 0, 8, 0]);
    let all: Vec<u8> = (3..6).flat_map(|i| vec![i + 1; 2048]).collect();
    for limit in [2048, 0xffff, 700, 3] {
        assert!(rig.packet(&[0x28, 0, 0, 0, 0, 3, 0, 0, 3], limit).unwrap() == all, "limit {limit}");
    }
    assert_eq!(rig.packet(&[0], 0), Ok(vec![]), "no data needs no room");
    assert_eq!((rig.packet(&[0x25], 0), rig.read(1)), (Err(0), error::ABORTED));
    assert_eq!(rig.packet(&[0xa8, 0, 0, 0, 0, 15, 0, 0, 0, 2], 2048), Err(5));
    assert_eq!(rig.sense(), [5, 0x21, 0]);
    assert_eq!(rig.sense(), [0, 0, 0], "told once");
    rig.descriptors(0x100, &[(0x4000, 6144)]);
    rig.write(1, 1);
    rig.write(7, 0xa0);
    rig.wait();
    rig.give(&[0x28, 0, 0, 0, 0, 3, 0, 0, 3, 0, 0, 0]);
    rig.channel.write_bus_master(0, 9).unwrap();
    assert_eq!((rig.wait_interrupt(), rig.read(2)), (0x50, 3));
    assert!(rig.bytes(0x4000, 6144) == all);
}

#[test]
fn media_come_and_go() {
    let (rig, drive) = Rig::with_cd(None);
    assert_eq!((rig.packet(&[0], 8), rig.sense()), (Err(2), [2, 0x3a, 0]));
    drive.change(Some(cd(4)));
    assert_eq!(rig.packet(&[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8], 8).unwrap(), [0, 4, 4, 0x10, 2, 2, 0, 0]);
    assert_eq!((rig.packet(&[0], 8), rig.sense()), (Err(6), [6, 0x28, 0]));
    assert_eq!(rig.packet(&[0], 8), Ok(vec![]));
    rig.packet(&[0x1e, 0, 0, 0, 1], 8).unwrap();
    assert_eq!((rig.packet(&[0x1b, 0, 0, 0, 2], 8), rig.sense()), (Err(5), [5, 0x53, 2]));
    assert_eq!(rig.channel.tray(0), Some(Tray { open: false, locked: true }));
    rig.packet(&[0x1e, 0, 0, 0, 0], 8).unwrap();
    rig.packet(&[0x1b, 0, 0, 0, 2], 8).unwrap();
    assert_eq!((rig.packet(&[0x25], 8), rig.sense()), (Err(2), [2, 0x3a, 2]));
    rig.packet(&[0x1b, 0, 0, 0, 3], 8).unwrap();
    assert_eq!((rig.packet(&[0], 8), rig.packet(&[0], 8)), (Err(6), Ok(vec![])));
}

#[test]
fn a_table_of_contents_has_one_track() {
    let (rig, _) = Rig::with_cd(Some(cd(1000)));
    let toc = rig.packet(&[0x43, 0, 0, 0, 0, 0, 0, 0, 100], 100).unwrap();
    assert_eq!(toc, [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa, 0, 0, 0, 3, 0xe8]);
    let toc = rig.packet(&[0x43, 2, 0, 0, 0, 0, 0xaa, 0, 100], 100).unwrap();
    // 1150 frames behind the beginning: 15 seconds and 25 frames.
    assert_eq!(toc, [0, 10, 1, 1, 0, 0x14, 0xaa, 0, 0, 0, 15, 25]);
    assert_eq!(rig.packet(&[0x43, 0, 1, 0, 0, 0, 0, 0, 12], 12).unwrap()[..6], [0, 10, 1, 1, 0, 0x14]);
    assert_eq!(rig.packet(&[0x43, 0, 2, 0, 0, 0, 0, 0, 255], 255).unwrap().len(), 48);
    assert_eq!((rig.packet(&[0x43, 0, 7, 0, 0, 0, 0, 0, 255], 255), rig.sense()), (Err(5), [5, 0x24, 0]));
    let configuration = rig.packet(&[0x46, 0, 0, 0, 0, 0, 0, 0, 255], 255).unwrap();
    assert_eq!((&configuration[6..8], configuration.len()), (&[0, 8][..], 56));
    let pages = rig.packet(&[0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 255], 255).unwrap();
    assert_eq!((pages[1], pages[8], pages.len()), (26, 0x2a, 28));
    assert_eq!(rig.packet(&[0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8], 8).unwrap().len(), 8);
    assert_eq!(rig.packet(&[0x51, 0, 0, 0, 0, 0, 0, 0, 255], 255).unwrap()[2..4], [0x0e, 1]);
    assert_eq!((rig.packet(&[0xa4], 8), rig.sense()), (Err(5), [5, 0x20, 0]));
}

#[test]
fn a_channel_goes_on_where_it_was_saved() {
    let rig = Rig::with_disk();
    rig.start(0xc4, 20, 40);
    rig.wait_interrupt();
    let mut first = rig.take(2000);
    let saved = rig.channel.save();
    let other = Rig::with_disk();
    other.channel.restore(&saved).unwrap();
    assert_eq!(other.channel.save(), saved);
    first.extend(other.take(40 * 512 - 2000));
    assert!(first == (20..60).flat_map(sector).collect::<Vec<_>>());
    rig.take(40 * 512 - 2000);
    // In the middle of asking the image.
    for _ in 0..20 {
        rig.start(0x20, 30, 1);
        let saved = rig.channel.save();
        other.channel.restore(&saved).unwrap();
        assert_eq!(other.wait() & status::DATA_REQUEST, status::DATA_REQUEST);
        assert_eq!((other.take(512), rig.wait_interrupt() & 8, rig.take(512)), (sector(30), 8, sector(30)));
    }
    let without = Rig::new(None, None);
    assert!(without.channel.restore(&saved).is_err(), "units are missing");
}

#[test]
fn two_units_share_the_wires() {
    let config = UnitConfig::cdrom(Drive::with_image("ide0-cd1", cd(4)), 2);
    let rig = Rig::new(Some(UnitConfig::disk(disk(), 1)), Some(config));
    rig.write(6, device::SECOND);
    assert_eq!((rig.read(4), rig.read(5), rig.read(6)), (0x14, 0xeb, 0xb0));
    rig.write(6, 0);
    assert_eq!((rig.read(4), rig.read(5), rig.read(6)), (0, 0, 0xa0));
    rig.write(7, 0x90);
    assert_eq!((rig.wait_interrupt(), rig.read(1)), (0x50, 1));
    rig.channel.reset();
    rig.channel.drive();
    assert!(!rig.line.is_high());
}

#[test]
fn nonsense_does_no_harm() {
    let clock = ManualClock::new();
    for seed in 0..4 {
        let drive = Drive::new("ide0-cd1", Some(cd(64)), Default::default(), Default::default());
        let disk_drive = disk();
        let second = (seed % 2 == 0).then(|| UnitConfig::cdrom(drive.clone(), 2));
        let rig = Rig::new(Some(UnitConfig::disk(disk_drive.clone(), 1)), second);
        let channel = rig.channel.clone();
        let piix = super::piix::bus_master_ports(&[channel.clone(), channel]);
        let registers = [
            Registers::new(rig.command.clone(), 8, &[1, 1, 1, 2, 4]),
            Registers::new(rig.control.clone(), 1, &[1]),
            Registers::new(piix, 8, &[1]),
        ];
        assert_eq!(clock.schedule().next_deadline(), None);
        hammer(seed + 1, 30_000, &registers, &clock, |random| match random.below(40) {
            0 => drive.change(random.below(2).eq(&0).then(|| cd(64))).map_or((), drop),
            1 => rig.channel.reset(),
            2 => rig.control.write(0, 1, 0).unwrap(),
            _ => {}
        });
        disk_drive.drain();
        drive.drain();
    }
}
