//! Tests of the adapter: registers, memory against a model of all write and read modes, pictures.

use super::*;
use crate::pci::{Devfn, PciBus, Pins};
use crate::testing::{Random, Registers as Target, hammer};
use isamorph_device::{Line, ManualClock};
use isamorph_ram::Backing;
use isamorph_space::{AddressSpace, WHOLE};
use std::collections::BTreeMap;

const MEMORY: u64 = 1 << 20;

/// Registers of the BIOS's 80 by 25 text mode.
const TEXT: Mode = Mode {
    misc: 0x67,
    seq: [3, 0, 3, 0, 2],
    crtc: *b"\x5f\x4f\x50\x82\x55\x81\xbf\x1f\0\x4f\x0d\x0e\0\0\0\0\x9c\x8e\x8f\x28\x1f\x96\xb9\xa3\xff",
    gc: [0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff],
    attr: *b"\x00\x01\x02\x03\x04\x05\x14\x07\x38\x39\x3a\x3b\x3c\x3d\x3e\x3f\x0c\0\x0f\x08\0",
};
/// 640 by 480 in sixteen colours.
const PLANES: Mode = Mode {
    misc: 0xe3,
    seq: [3, 1, 15, 0, 6],
    crtc: *b"\x5f\x4f\x50\x82\x54\x80\x0b\x3e\0\x40\0\0\0\0\0\0\xea\x8c\xdf\x28\0\xe7\x04\xe3\xff",
    gc: [0, 0, 0, 0, 0, 0, 5, 15, 0xff],
    attr: *b"\x00\x01\x02\x03\x04\x05\x14\x07\x38\x39\x3a\x3b\x3c\x3d\x3e\x3f\x01\0\x0f\0\0",
};
/// 320 by 200 in 256 colours.
const BYTES: Mode = Mode {
    misc: 0x63,
    seq: [3, 1, 15, 0, 14],
    crtc: *b"\x5f\x4f\x50\x82\x54\x80\xbf\x1f\0\x41\0\0\0\0\0\0\x9c\x8e\x8f\x28\x40\x96\xb9\xa3\xff",
    gc: [0, 0, 0, 0, 0, 0x40, 5, 15, 0xff],
    attr: *b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x41\0\x0f\0\0",
};

struct Mode {
    misc: u8,
    seq: [u8; 5],
    crtc: [u8; 25],
    gc: [u8; 9],
    attr: [u8; 21],
}

struct Rig {
    vga: Arc<Vga>,
    ports: Arc<AddressSpace>,
    memory: Arc<AddressSpace>,
    vram: Arc<RamBlock>,
}

impl Rig {
    fn new() -> Self {
        let map = Map::new();
        let vram = RamBlock::new("vga.vram", MEMORY, &Backing::Anonymous).unwrap();
        let vga = Vga::new(&map, vram.clone());
        let places = vga.ports(&map);
        let (io, root) = map.update(|tree| {
            let (io, root) = (tree.container("io", 0x1_0000), tree.container("memory", WHOLE));
            places.into_iter().for_each(|(port, region)| tree.add(io, region, port.into(), 0));
            tree.add(root, vga.legacy_memory(), 0xa0000, 1);
            tree.add(root, vga.regions.framebuffer, 0xe000_0000, 0);
            (io, root)
        });
        Rig { vga, ports: map.space("I/O", io), memory: map.space("memory", root), vram }
    }
    fn out(&self, port: u16, value: u8) {
        self.ports.store(port.into(), 1, value.into()).unwrap();
    }
    fn input(&self, port: u16) -> u8 {
        self.ports.load(port.into(), 1).unwrap() as u8
    }
    fn set(&self, index_port: u16, index: u8, value: u8) {
        // Both with one word, as software likes to do it.
        self.ports.store(index_port.into(), 2, u64::from(value) << 8 | u64::from(index)).unwrap();
    }
    fn set_attribute(&self, index: u8, value: u8) {
        self.input(0x3da);
        self.out(0x3c0, index);
        self.out(0x3c0, value);
    }
    fn set_mode(&self, mode: &Mode) {
        self.out(0x3c2, mode.misc);
        self.set(0x3d4, 0x11, 0);
        let all = |port: u16, values: &[u8]| {
            values.iter().enumerate().for_each(|(i, value)| self.set(port, i as u8, *value));
        };
        all(0x3c4, &mode.seq);
        all(0x3d4, &mode.crtc);
        all(0x3ce, &mode.gc);
        mode.attr.iter().enumerate().for_each(|(i, value)| self.set_attribute(i as u8, *value));
        self.out(0x3c0, 0x20);
        // A palette in which every colour says its number.
        self.out(0x3c8, 0);
        (0..=255u8).for_each(|i| [i & 63, i >> 6, 63].into_iter().for_each(|part| self.out(0x3c9, part)));
    }
    fn vbe(&self, index: u16, value: u16) {
        self.ports.store(0x1ce, 2, index.into()).unwrap();
        self.ports.store(0x1cf, 2, value.into()).unwrap();
    }
    fn read_vbe(&self, index: u16) -> u16 {
        self.ports.store(0x1ce, 2, index.into()).unwrap();
        self.ports.load(0x1cf, 2).unwrap() as u16
    }
}

/// What colour `index` of the palette above looks like.
fn color(index: u8) -> [u8; 3] {
    [index & 63, index >> 6, 63].map(|c| c << 2 | c >> 4)
}

#[test]
fn registers_read_back_what_they_have() {
    let rig = Rig::new();
    rig.set_mode(&TEXT);
    assert_eq!((rig.input(0x3cc), rig.input(0x3b4)), (0x67, 0xff), "the ports of a colour adapter");
    for (index, value) in TEXT.crtc.iter().enumerate() {
        rig.out(0x3d4, index as u8);
        assert_eq!(rig.input(0x3d5), *value, "CRTC {index:#x}");
    }
    rig.set(0x3d4, 0, 0);
    assert_eq!(rig.input(0x3d5), 0x5f, "protected");
    rig.input(0x3da);
    rig.out(0x3c0, 0x30);
    assert_eq!(rig.input(0x3c1), 0x0c);
    rig.out(0x3c7, 65);
    assert_eq!([0; 4].map(|_: u8| rig.input(0x3c9)), [1, 1, 63, 2]);
    let (first, second) = (rig.input(0x3da), rig.input(0x3da));
    assert_eq!(first ^ second, 9, "retrace comes and goes");
}

/// The graphics controller as the manual says it, bit by bit.
struct Model {
    gc: [u8; 9],
    seq: [u8; 5],
    latch: [u8; 4],
    cells: BTreeMap<u64, [u8; 4]>,
}

impl Model {
    fn place(&self, addr: u64) -> Option<(u64, [bool; 4])> {
        let window =
            [(0, 0x20000), (0, 0x10000), (0x10000, 0x8000), (0x18000, 0x8000)][usize::from(self.gc[6] >> 2 & 3)];
        let at = addr.checked_sub(window.0).filter(|at| *at < window.1)?;
        Some(if self.seq[4] & 8 != 0 {
            (at / 4, std::array::from_fn(|plane| plane as u64 == at % 4))
        } else if self.seq[4] & 4 == 0 {
            (at / 2, std::array::from_fn(|plane| plane as u64 % 2 == at % 2))
        } else {
            (at, [true; 4])
        })
    }
    fn write(&mut self, addr: u64, value: u8) {
        let Some((cell, planes)) = self.place(addr) else { return };
        let bytes = self.cells.entry(cell).or_default();
        let bit_of = |byte: u8, bit: u32| byte >> bit & 1 != 0;
        for plane in (0..4).filter(|p| planes[*p] && bit_of(self.seq[2], *p as u32)) {
            let mut result = 0;
            for bit in 0..8 {
                let rotated = bit_of(value, (bit + u32::from(self.gc[3] & 7)) % 8);
                let set_reset = bit_of(self.gc[0], plane as u32);
                let latch = bit_of(self.latch[plane], bit);
                let (source, mut mask) = match self.gc[5] & 3 {
                    0 if bit_of(self.gc[1], plane as u32) => (set_reset, bit_of(self.gc[8], bit)),
                    0 => (rotated, bit_of(self.gc[8], bit)),
                    1 => (latch, true),
                    2 => (bit_of(value, plane as u32), bit_of(self.gc[8], bit)),
                    _ => (set_reset, bit_of(self.gc[8], bit) && rotated),
                };
                let mixed = match self.gc[3] >> 3 & 3 {
                    _ if self.gc[5] & 3 == 1 => latch,
                    0 => source,
                    1 => source && latch,
                    2 => source || latch,
                    _ => source != latch,
                };
                mask |= self.gc[5] & 3 == 1;
                result |= u8::from(if mask { mixed } else { latch }) << bit;
            }
            bytes[plane] = result;
        }
    }
    fn read(&mut self, addr: u64) -> u8 {
        let Some((cell, planes)) = self.place(addr) else { return 0xff };
        let bytes = self.cells.get(&cell).copied().unwrap_or_default();
        self.latch = bytes;
        if self.gc[5] & 8 != 0 {
            let bit_of = |byte: u8, bit: usize| byte >> bit & 1;
            let same = |bit: usize| {
                (0..4).all(|p| bit_of(self.gc[7], p) == 0 || bit_of(bytes[p], bit) == bit_of(self.gc[2], p))
            };
            return (0..8).fold(0, |value, bit| value | u8::from(same(bit)) << bit);
        }
        let chosen = usize::from(self.gc[4] & 3);
        match planes.iter().filter(|p| **p).count() {
            4 => bytes[chosen],
            2 => bytes[chosen & 2 | usize::from(planes[1])],
            _ => bytes[planes.iter().position(|p| *p).unwrap()],
        }
    }
}

#[test]
fn every_write_and_read_mode_does_what_the_manual_says() {
    let rig = Rig::new();
    let mut random = Random::new(5);
    let mut model = Model { gc: PLANES.gc, seq: PLANES.seq, latch: [0; 4], cells: BTreeMap::new() };
    rig.set_mode(&PLANES);
    for step in 0..40_000 {
        if random.below(6) == 0 {
            let (index, value) = (random.below(9) as usize, random.next() as u8);
            let value = value & [15, 15, 15, 0x1f, 3, 0x0b, 0x0d, 15, 0xff][index];
            // Usually the bits are all written.
            model.gc[index] = if index == 8 && random.below(2) == 0 { 0xff } else { value };
            rig.set(0x3ce, index as u8, model.gc[index]);
            (model.seq[2], model.seq[4]) = (random.below(16) as u8, [6, 2, 14, 6][random.below(4) as usize]);
            rig.set(0x3c4, 2, model.seq[2]);
            rig.set(0x3c4, 4, model.seq[4]);
        }
        let addr = random.below(3) * 0xc000 + random.below(12);
        if random.below(2) == 0 {
            let value = random.next() as u8;
            model.write(addr, value);
            rig.memory.store(0xa0000 + addr, 1, value.into()).unwrap();
        } else {
            let expected = model.read(addr);
            let direct = rig.vga.regions.shown.lock().unwrap().is_some();
            let read = rig.memory.load(0xa0000 + addr, 1);
            if model.place(addr).is_some() {
                assert_eq!(read, Ok(expected.into()), "step {step}, {addr:#x}");
            }
            if direct {
                // Plain memory leaves the latch alone: load it in both, as no software can rely on it.
                model.latch = [0; 4];
                rig.vga.change(|state| state.latch = [0; 4]).unwrap();
            }
        }
    }
}

#[test]
fn text_is_drawn_with_its_font_and_cursor() {
    let rig = Rig::new();
    rig.set_mode(&PLANES);
    // A font in plane 2: 'A' has its number of row, 0xc4 a line with its last pixel set.
    rig.set(0x3c4, 2, 4);
    for row in 0..16 {
        rig.memory.store(0xa0000 + 0x41 * 32 + row, 1, row).unwrap();
        rig.memory.store(0xa0000 + 0xc4 * 32 + row, 1, 0x81).unwrap();
    }
    rig.set_mode(&TEXT);
    rig.memory.write(0xb8000, &[0x41, 0x1e, 0xc4, 0x07, b' ', 0x70]).unwrap();
    rig.set(0x3d4, 0x0f, 2);
    let picture = rig.vga.picture();
    assert_eq!((picture.width(), picture.height()), (720, 400));
    let [yellow, blue, white, black] = [0x3e, 1, 7, 0].map(color);
    let row: Vec<_> = picture.row(5)[..27].to_vec();
    assert_eq!(row[..9], [blue, blue, blue, blue, blue, yellow, blue, yellow, blue]);
    assert_eq!(row[9..18], [white, black, black, black, black, black, black, white, white], "the ninth goes on");
    assert_eq!(row[18..27], [white; 9], "background, and no cursor in this row");
    // The cursor is in rows 13 and 14, in the foreground's colour.
    assert_eq!((picture.row(13)[18], picture.row(14)[25], picture.row(15)[18]), (black, black, white));
    rig.set(0x3d4, 0x0a, 0x2d);
    assert_eq!(rig.vga.picture().row(13)[18], white, "switched off");
    rig.set(0x3c4, 1, 0x20);
    assert!(rig.vga.picture().row(13).iter().all(|pixel| *pixel == [0; 3]), "the screen is off");
}

#[test]
fn planes_make_sixteen_colours() {
    let rig = Rig::new();
    rig.set_mode(&PLANES);
    for (plane, bits) in [0b1010_1010u64, 0b1100_1100, 0b1111_0000, 0xff].into_iter().enumerate() {
        rig.set(0x3c4, 2, 1 << plane);
        rig.memory.store(0xa0000 + 80 * 3 + 1, 1, bits).unwrap();
    }
    let picture = rig.vga.picture();
    assert_eq!((picture.width(), picture.height()), (640, 480));
    let expected: Vec<_> = (8..16).rev().map(|i| color(PLANES.attr[i])).collect();
    assert_eq!(picture.row(3)[8..16], expected);
    // Start one line further down, and again from the top after line 1.
    rig.set(0x3d4, 0x0d, 80 * 2);
    rig.set(0x3d4, 0x18, 1);
    rig.set(0x3d4, 0x07, PLANES.crtc[7] & !0x10);
    rig.set(0x3d4, 0x09, 0);
    let picture = rig.vga.picture();
    assert_eq!((&picture.row(1)[8..16], &picture.row(5)[8..16]), (&expected[..], &expected[..]));
}

#[test]
fn chained_bytes_are_plain_memory() {
    let rig = Rig::new();
    rig.set_mode(&BYTES);
    let range = rig.memory.view().find(0xa0000).unwrap().clone();
    assert!(matches!(range.target, isamorph_space::Target::Ram(_)) && range.len == 0x1_0000);
    rig.memory.write(0xa0000 + 320 * 7 + 5, &[0x12, 0x34]).unwrap();
    let picture = rig.vga.picture();
    assert_eq!((picture.width(), picture.height()), (640, 400));
    assert_eq!(picture.row(15)[10..14], [color(0x12), color(0x12), color(0x34), color(0x34)]);
    rig.set(0x3ce, 5, 0x41);
    let range = rig.memory.view().find(0xa0000).unwrap().clone();
    assert!(matches!(range.target, isamorph_space::Target::Io(..)), "write mode 1 is no plain memory");
}

#[test]
fn vbe_modes_are_linear() {
    let rig = Rig::new();
    assert_eq!((rig.read_vbe(0), rig.read_vbe(10)), (0xb0c5, 16));
    [0xb0c6, 0xb0c2, 0x1234].into_iter().for_each(|version| rig.vbe(0, version));
    assert_eq!(rig.read_vbe(0), 0xb0c2, "the version that software wants, if it is there");
    rig.vram.write(0, &[9; 64]).unwrap();
    for (depth, bytes, pixel, expected) in [
        (15, 2, vec![0x00, 0x7c], [255, 0, 0]),
        (16, 2, vec![0x00, 0xf8], [255, 0, 0]),
        (24, 3, vec![1, 2, 3], [3, 2, 1]),
        (32, 4, vec![1, 2, 3, 0], [3, 2, 1]),
    ] {
        rig.vbe(4, 0);
        [(1, 320), (2, 200), (3, depth), (4, 0x41)].into_iter().for_each(|(i, value)| rig.vbe(i, value));
        assert_eq!((rig.read_vbe(6), rig.read_vbe(7)), (320, (MEMORY / (320 * bytes)) as u16));
        rig.memory.write(0xe000_0000 + (320 * 3 + 7) * bytes, &pixel).unwrap();
        let picture = rig.vga.picture();
        assert_eq!((picture.width(), picture.height(), picture.row(3)[7]), (320, 200, expected), "{depth} bits");
        assert_eq!(picture.row(0)[0], [0; 3], "the memory was cleared");
        rig.vbe(8, 7);
        rig.vbe(9, 3);
        assert_eq!(rig.vga.picture().row(0)[0], expected);
    }
    // The window at 0xa0000 shows a bank of 64 KiB.
    rig.set(0x3ce, 8, 0xff);
    rig.vbe(5, 3);
    rig.memory.store(0xa0010, 1, 0x77).unwrap();
    let mut byte = [0];
    rig.vram.read(0x3_0010, &mut byte).unwrap();
    assert_eq!(byte, [0x77]);
    // What does not fit is made to.
    [(1, 9999), (2, 9999), (6, 16000)].into_iter().for_each(|(i, value)| rig.vbe(i, value));
    let (width, height) = (rig.read_vbe(1), rig.read_vbe(2));
    assert!(u64::from(width) * 4 * u64::from(height) <= MEMORY);
    rig.vbe(4, 2);
    assert_eq!([1, 2, 3].map(|i| rig.read_vbe(i)), [16000, 12000, 32]);
}

#[test]
fn a_display_hears_of_what_has_changed() {
    let rig = Rig::new();
    [(1, 64), (2, 16), (3, 32), (4, 0x41)].into_iter().for_each(|(i, value)| rig.vbe(i, value));
    let mut picture = Picture::default();
    assert_eq!(rig.vga.refresh(&mut picture), 0..16);
    assert_eq!(rig.vga.refresh(&mut picture), 0..0);
    rig.memory.write(0xe000_0000 + 64 * 4 * 5, &[1, 2, 3]).unwrap();
    assert_eq!((rig.vga.refresh(&mut picture), picture.row(5)[0]), (5..6, [3, 2, 1]));
    rig.vbe(9, 5);
    assert_eq!(rig.vga.refresh(&mut picture), 0..6);
    rig.vbe(2, 8);
    assert_eq!((rig.vga.refresh(&mut picture), picture.height()), (0..8, 8));
}

#[test]
fn monitors_data_has_its_checksum() {
    let edid = edid::block(1280, 800);
    assert_eq!(edid.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    assert_eq!((u16::from(edid[58]) & 0xf0) << 4 | u16::from(edid[56]), 1280);
    assert_eq!((u16::from(edid[61]) & 0xf0) << 4 | u16::from(edid[59]), 800);
}

#[test]
fn the_function_has_a_framebuffer_registers_and_a_rom() {
    let rig = Rig::new();
    let map = rig.vga.map.clone();
    let (root, ports) = map.update(|tree| (tree.container("memory", WHOLE), tree.container("io", 0x1_0000)));
    let space = map.space("PCI", root);
    let pins = Pins { lines: [0; 4].map(|_: u8| Line::unconnected()), first: 0 };
    let bus = PciBus::new(&map, root, ports, space.clone(), pins);
    let rom = RamBlock::new("vga.rom", 0x1_0000, &Backing::Anonymous).unwrap();
    rom.write(0, &[0x55, 0xaa]).unwrap();
    let function = bus.plug(&bus.socket(Devfn::new(2, 0)), rig.vga.layout(&map, Some(rom)));
    assert_eq!((function.read(0, 4), function.read(8, 4)), (Ok(0x1111_1234), Ok(0x0300_0002)));
    for (register, value) in [(0x10, 0xe000_0000), (0x18, 0xf000_0000), (0x30, 0xf001_0001), (0x04, 2)] {
        function.write(register, 4, value).unwrap();
    }
    assert_eq!(space.load(0xf001_0000, 2), Ok(0xaa55));
    // The monitor's data, the version of the VBE registers, the byte order.
    assert_eq!(space.load(0xf000_0000, 8), Ok(0x00ff_ffff_ffff_ff00));
    assert_eq!((space.load(0xf000_0500, 2), space.load(0xf000_0604, 4)), (Ok(0xb0c5), Ok(0x1e1e_1e1e)));
    for (register, value) in [(1, 64), (2, 32), (3, 32), (4, 0x41)] {
        space.store(0xf000_0500 + register * 2, 2, value).unwrap();
    }
    // A colour of the palette, as a driver sets it.
    [(8, 1), (9, 1), (9, 2), (9, 3)].into_iter().for_each(|(port, value)| {
        space.store(0xf000_0400 + port, 1, value).unwrap();
    });
    space.store(0xe000_0000 + 64 * 4, 4, 0x01_0203).unwrap();
    let picture = rig.vga.picture();
    assert_eq!((picture.width(), picture.height(), picture.row(1)[0]), (64, 32, [1, 2, 3]));
}

#[test]
fn state_comes_back_and_bad_state_does_not() {
    let rig = Rig::new();
    rig.set_mode(&BYTES);
    [(1, 320), (2, 200), (3, 16), (4, 0xc1)].into_iter().for_each(|(i, value)| rig.vbe(i, value));
    let (state, picture) = (rig.vga.save(), rig.vga.picture());
    rig.vga.reset();
    assert_ne!(rig.vga.save(), state);
    rig.vga.restore(&state).unwrap();
    assert_eq!((rig.vga.save(), rig.vga.picture()), (state.clone(), picture));
    let mut bad = state;
    bad.vbe = vbe::Vbe::new(MEMORY * 2);
    assert!(rig.vga.restore(&bad).is_err());
}

#[test]
fn nonsense_does_no_harm() {
    let rig = Rig::new();
    let map = rig.vga.map.clone();
    let rom = RamBlock::new("vga.rom", 0x1_0000, &Backing::Anonymous).unwrap();
    let _layout = rig.vga.layout(&map, Some(rom));
    let window = Arc::new(memory::Window(Arc::downgrade(&rig.vga)));
    let port = |base| Arc::new(Ports { vga: rig.vga.clone(), base });
    let registers = [
        Target::new(port(0x3c0), 16, &[1]),
        Target::new(port(0x3d0), 16, &[1]),
        Target::new(Arc::new(vbe::Ports(rig.vga.clone())), 4, &[2]),
        Target::new(window, WINDOW, &[1, 2, 4, 8]),
    ];
    let mut shown = 0;
    hammer(3, 60_000, &registers, &ManualClock::new(), |random| {
        // Large pictures take their time.
        let small = rig.vga.save().vbe.mode().is_none_or(|mode| mode.width * mode.height < 1 << 16);
        if random.below(40) == 0 && small {
            let picture = rig.vga.picture();
            shown += usize::from(picture.width() * picture.height() > 0);
        }
        if random.below(400) == 0 {
            rig.vga.reset();
        }
    });
    assert!(shown > 0);
}
