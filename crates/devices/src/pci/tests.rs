use super::*;
use crate::testing::{Registers as Target, hammer};
use isamorph_device::{Device, Dma, Line, ManualClock, Probe};
use isamorph_ram::{Backing, RamBlock};
use isamorph_space::{AddressSpace, Failure, Io, IoError, IoRules, Map, RegionId, WHOLE};
use std::sync::{Arc, Mutex};

const IDENTITY: Identity = Identity::new("test", 0x1234, 0x5678, 0x03_00_00).revision(7).pin(1);

/// Registers that read as a constant.
struct Constant(u8);

impl Io for Constant {
    fn read(&self, _offset: u64, _size: u32) -> Result<u64, IoError> {
        Ok(self.0.into())
    }
    fn write(&self, _offset: u64, _size: u32, _value: u64) -> Result<(), IoError> {
        Ok(())
    }
}

struct Rig {
    map: Arc<Map>,
    bus: Arc<PciBus>,
    memory: Arc<AddressSpace>,
    ports: Arc<AddressSpace>,
    lines: Arc<Probe>,
}

impl Rig {
    /// A bus with the configuration ports and 64 KiB of RAM at 0.
    fn new() -> Self {
        let map = Map::new();
        let block = RamBlock::new("ram", 0x1_0000, &Backing::Anonymous).unwrap();
        let (memory, io) = map.update(|tree| {
            let (memory, io) = (tree.container("memory", WHOLE), tree.container("io", 0x1_0000));
            let ram = tree.ram("ram", block);
            tree.add(memory, ram, 0, 0);
            (memory, io)
        });
        let (space, ports) = (map.space("memory", memory), map.space("I/O", io));
        let lines = Arc::new(Probe::default());
        let wires = [0, 1, 2, 3].map(|line| Line::new(lines.clone(), line));
        let bus = PciBus::new(&map, memory, io, space.clone(), Pins { lines: wires, first: 3 });
        let config = ConfigPorts::new(bus.clone());
        map.update(|tree| {
            let address = tree.io("address", 4, IoRules::exactly(1, 4), config.address());
            let data = tree.io("data", 4, IoRules::exactly(1, 4), config.data());
            tree.add(io, address, 0xcf8, 0);
            tree.add(io, data, 0xcfc, 0);
        });
        Rig { map, bus, memory: space, ports, lines }
    }
    fn constant(&self, value: u8, size: u64) -> RegionId {
        self.map.update(|tree| tree.io("constant", size.into(), IoRules::exactly(1, 4), Arc::new(Constant(value))))
    }
    fn select(&self, bus: u8, devfn: Devfn, at: u8) -> u64 {
        let address = 1 << 31 | u64::from(bus) << 16 | u64::from(devfn.byte()) << 8 | u64::from(at & 0xfc);
        self.ports.store(0xcf8, 4, address).unwrap();
        0xcfc + u64::from(at & 3)
    }
    fn read(&self, devfn: Devfn, at: u8, size: u32) -> u64 {
        let port = self.select(0, devfn, at);
        self.ports.load(port, size).unwrap()
    }
    fn write(&self, devfn: Devfn, at: u8, size: u32, value: u64) {
        let port = self.select(0, devfn, at);
        self.ports.store(port, size, value).unwrap();
    }
    fn plug(&self, devfn: Devfn, layout: Layout) -> Socket {
        let socket = self.bus.socket(devfn);
        self.bus.plug(&socket, layout);
        socket
    }
}

const SLOT: Devfn = Devfn::new(2, 0);

#[test]
fn the_header_has_fixed_and_writable_fields() {
    let rig = Rig::new();
    rig.plug(SLOT, Layout::new(IDENTITY));
    for at in (0..64).step_by(4) {
        rig.write(SLOT, at, 4, 0xffff_ffff);
    }
    // Offset, value after all ones were written.
    for (at, expected) in [
        (0x00, 0x5678_1234),
        (0x04, 0x0000_0507),
        (0x08, 0x0300_0007),
        (0x0c, 0x0000_00ff),
        (0x10, 0),
        (0x2c, 0x1100_1af4),
        (0x30, 0),
        (0x34, 0),
        (0x3c, 0x0000_01ff),
    ] {
        assert_eq!(rig.read(SLOT, at, 4), expected, "{at:#x}");
    }
    assert_eq!((rig.read(SLOT, 2, 2), rig.read(SLOT, 0x3d, 1)), (0x5678, 1), "parts of a register");
}

#[test]
fn nobody_answers_with_ones() {
    let rig = Rig::new();
    assert_eq!(rig.read(SLOT, 0, 4), 0xffff_ffff);
    rig.write(SLOT, 0x10, 4, 1);
    rig.plug(SLOT, Layout::new(IDENTITY));
    rig.select(0, SLOT, 0);
    rig.ports.store(0xcf8, 4, 0).unwrap();
    assert_eq!(rig.ports.load(0xcfc, 4), Ok(0xffff_ffff), "the window is closed");
    assert_eq!(rig.ports.load(0xcf8, 1), Err(Failure::Unassigned), "the address is a whole");
    assert_eq!(rig.ports.load(0xcf8, 4), Ok(0));
}

#[test]
fn bars_say_their_size_and_move_their_regions() {
    let rig = Rig::new();
    let layout = Layout::new(IDENTITY)
        .bar(0, Bar::memory(rig.constant(1, 0x1000), 0x1000).prefetchable())
        .bar(1, Bar::io(rig.constant(2, 32), 32))
        .bar(2, Bar::memory64(rig.constant(3, 0x2000), 0x2000))
        .rom(rig.constant(4, 0x800), 0x800);
    rig.plug(SLOT, layout);
    for (at, size) in [(0x10, 0xffff_f008), (0x14, 0xffff_ffe1), (0x18, 0xffff_e004), (0x1c, 0xffff_ffff)] {
        rig.write(SLOT, at, 4, 0xffff_ffff);
        assert_eq!(rig.read(SLOT, at, 4), size, "{at:#x}");
    }
    rig.write(SLOT, 0x30, 4, 0xffff_fffe);
    assert_eq!(rig.read(SLOT, 0x30, 4), 0xffff_f800);
    for (at, value) in [(0x10, 0x8000_0000), (0x14, 0xc000), (0x18, 0xa000_0000), (0x1c, 0x12), (0x30, 0x9000_0001)] {
        rig.write(SLOT, at, 4, value);
    }
    assert_eq!(rig.memory.load(0x8000_0000, 1), Err(Failure::Unassigned), "the spaces are off");
    rig.write(SLOT, 4, 2, 3);
    let all =
        |rig: &Rig| [0x8000_0000, 0x12_a000_1fff, 0x9000_07ff].map(|at| rig.memory.load(at, 1)).map(|r| r.unwrap_or(0));
    assert_eq!((all(&rig), rig.ports.load(0xc01f, 1)), ([1, 3, 4], Ok(2)));
    rig.write(SLOT, 0x14, 4, 0xd000);
    assert_eq!((rig.ports.load(0xc000, 1), rig.ports.load(0xd000, 1)), (Err(Failure::Unassigned), Ok(2)));
    // At 0, and while its size is asked for, a region is nowhere.
    rig.write(SLOT, 0x14, 4, 0xffff_ffff);
    rig.write(SLOT, 0x10, 4, 0);
    assert_eq!((rig.ports.load(0xffe0, 1), rig.memory.load(0, 1)), (Err(Failure::Unassigned), Ok(0)));
    rig.bus.reset();
    assert_eq!(all(&rig), [0; 3]);
    assert_eq!((rig.read(SLOT, 4, 2), rig.read(SLOT, 0x18, 4)), (0, 4));
}

#[test]
fn regions_that_overlap_come_back() {
    let rig = Rig::new();
    let slots = [Devfn::new(4, 0), Devfn::new(5, 0)];
    for (slot, value) in slots.into_iter().zip([1, 2]) {
        rig.plug(slot, Layout::new(IDENTITY).bar(0, Bar::memory(rig.constant(value, 0x1000), 0x1000)));
        rig.write(slot, 0x10, 4, 0x8000_0000);
        rig.write(slot, 4, 2, 2);
    }
    assert_eq!(rig.memory.load(0x8000_0000, 1), Ok(2), "the later one is seen");
    rig.write(slots[1], 4, 2, 0);
    assert_eq!(rig.memory.load(0x8000_0000, 1), Ok(1));
    // Above RAM, and RAM is there again afterwards.
    rig.memory.store(0x2000, 1, 9).unwrap();
    rig.write(slots[0], 0x10, 4, 0x2000);
    assert_eq!(rig.memory.load(0x2000, 1), Ok(1));
    rig.write(slots[0], 0x10, 4, 0x8000_0000);
    assert_eq!(rig.memory.load(0x2000, 1), Ok(9));
}

#[test]
fn bus_masters_need_the_bit() {
    let rig = Rig::new();
    let socket = rig.plug(SLOT, Layout::new(IDENTITY));
    assert!(socket.dma().write(0, &[1]).is_err());
    rig.write(SLOT, 4, 2, 4);
    assert!(socket.dma().write(0, &[1]).is_ok());
    rig.bus.reset();
    assert!(socket.dma().write(0, &[1]).is_err());
}

#[test]
fn interrupt_pins_are_swizzled_and_shared() {
    let rig = Rig::new();
    // Slot 1's pin A is line 0, as the PIIX3's routing has it, and so on.
    for (slot, pin, line) in [(1, 1, 0), (2, 1, 1), (3, 1, 2), (4, 1, 3), (5, 1, 0), (2, 4, 0), (31, 2, 3)] {
        let socket = rig.plug(Devfn::new(slot, 0), Layout::new(IDENTITY.pin(pin)));
        socket.interrupt().raise();
        assert_eq!(rig.lines.levels(), 1 << line, "slot {slot} pin {pin}");
        socket.interrupt().lower();
        assert_eq!(rig.lines.levels(), 0);
    }
    let sockets = [Devfn::new(2, 0), Devfn::new(2, 1), Devfn::new(6, 0)].map(|d| rig.plug(d, Layout::new(IDENTITY)));
    sockets.iter().for_each(|socket| socket.interrupt().raise());
    assert_eq!(rig.read(SLOT, 6, 2) & 8, 8, "the status shows it");
    rig.write(SLOT, 4, 2, 0x400);
    assert_eq!(rig.read(SLOT, 6, 2) & 8, 8, "also while the pin is off");
    sockets[1].interrupt().lower();
    assert_eq!(rig.lines.levels(), 2, "slot 6 is still there");
    sockets[2].interrupt().lower();
    assert_eq!(rig.lines.levels(), 0);
    rig.write(SLOT, 4, 2, 0);
    assert_eq!(rig.lines.levels(), 2, "the pin is on again");
    let silent = rig.plug(Devfn::new(9, 0), Layout::new(IDENTITY.pin(0)));
    sockets[0].interrupt().lower();
    silent.interrupt().raise();
    assert_eq!(rig.lines.levels(), 0);
}

/// Remembers what it was told, and shows a constant.
#[derive(Default)]
struct Spy(Mutex<Vec<Vec<u8>>>);

impl Registers for Spy {
    fn written(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap().push(bytes.to_vec());
    }
    fn refresh(&self, bytes: &mut [u8]) {
        bytes[3] = 0x5a;
    }
}

#[test]
fn banks_have_masks_and_effects() {
    let (rig, spy) = (Rig::new(), Arc::new(Spy::default()));
    let bank =
        Bank::new(0x40, &[1, 2, 0xff, 0]).writable(&[0xf0, 0, 0x0f]).clearable(&[0, 0, 0xf0]).registers(spy.clone());
    rig.plug(SLOT, Layout::new(IDENTITY).bank(bank));
    assert_eq!(rig.read(SLOT, 0x40, 4), 0x5aff_0201);
    rig.write(SLOT, 0x40, 4, 0xffff_ff3c);
    assert_eq!(rig.read(SLOT, 0x40, 4), 0x5a0f_0231);
    rig.write(SLOT, 0x44, 4, 0xffff_ffff);
    assert_eq!(rig.read(SLOT, 0x44, 4), 0, "nothing is there");
    let seen = spy.0.lock().unwrap().clone();
    assert_eq!(seen.len(), 2, "reset and one write");
    assert_eq!(seen[1][..3], [0x31, 2, 0x0f]);
}

#[test]
fn capabilities_are_a_list() {
    let rig = Rig::new();
    let layout = Layout::new(IDENTITY)
        .bank(Bank::new(0x40, &[0; 6]))
        .capability(9, Bank::new(0, &[0, 0, 7]))
        .capability(1, Bank::new(0, &[0; 8]));
    rig.plug(SLOT, layout);
    assert_eq!(rig.read(SLOT, 6, 2) & 0x10, 0x10);
    let first = rig.read(SLOT, 0x34, 1) as u8;
    assert_eq!((first, rig.read(SLOT, first, 1), rig.read(SLOT, first + 2, 1)), (0x48, 9, 7));
    let second = rig.read(SLOT, first + 1, 1) as u8;
    assert_eq!((second, rig.read(SLOT, second, 2)), (0x4c, 1), "the end of the list");
}

#[test]
fn messages_are_writes_to_memory() {
    let rig = Rig::new();
    let socket = rig.bus.socket(SLOT);
    let msi = Msi::new(socket.dma(), 4);
    rig.bus.plug(&socket, Layout::new(IDENTITY).capability(Msi::ID, msi.bank()));
    let message = |rig: &Rig| rig.memory.load(0x3000, 4).unwrap();
    assert_eq!(rig.read(SLOT, 0x42, 2), 0x184, "4 vectors, 64 bits, masks");
    rig.write(SLOT, 0x44, 4, 0x3000);
    rig.write(SLOT, 0x4c, 2, 0x41);
    msi.notify(0);
    assert_eq!((message(&rig), msi.is_enabled()), (0, false));
    // Enabled with four vectors: the low two bits are the vector.
    rig.write(SLOT, 0x42, 2, 0x21);
    msi.notify(2);
    assert_eq!(message(&rig), 0, "no bus master");
    rig.write(SLOT, 4, 2, 4);
    msi.notify(2);
    assert_eq!(message(&rig), 0x42);
    rig.write(SLOT, 0x50, 4, 0xffff_ffff);
    assert_eq!(rig.read(SLOT, 0x50, 4), 15);
    msi.notify(3);
    assert_eq!((message(&rig), rig.read(SLOT, 0x54, 4)), (0x42, 8));
    rig.write(SLOT, 0x50, 4, 0);
    assert_eq!((message(&rig), rig.read(SLOT, 0x54, 4)), (0x43, 0), "sent when the mask is gone");
}

#[test]
fn tables_of_messages() {
    let rig = Rig::new();
    let socket = rig.bus.socket(SLOT);
    let messages = MsiX::new(socket.dma(), 3);
    let region = rig.map.update(|tree| {
        let all = tree.container("msi-x", 0x1000);
        let table = tree.io("table", 48, IoRules::exactly(4, 4), messages.table());
        let pending = tree.io("pending", 8, IoRules::exactly(4, 4), messages.pending());
        tree.add(all, table, 0, 0);
        tree.add(all, pending, 0x800, 0);
        all
    });
    let layout = Layout::new(IDENTITY)
        .bar(1, Bar::memory(region, 0x1000))
        .capability(MsiX::ID, messages.bank((1, 0), (1, 0x800)));
    rig.bus.plug(&socket, layout);
    assert_eq!([0x42, 0x44, 0x48].map(|at| rig.read(SLOT, at, 2)), [2, 1, 0x801]);
    rig.write(SLOT, 0x14, 4, 0x8000_0000);
    rig.write(SLOT, 4, 2, 6);
    for (at, value) in [(16, 0x3000), (20, 0), (24, 0x77)] {
        rig.memory.store(0x8000_0000 + at, 4, value).unwrap();
    }
    assert_eq!(rig.memory.load(0x8000_001c, 4), Ok(1), "vectors start masked");
    rig.write(SLOT, 0x42, 2, 0x8000);
    messages.notify(1);
    assert_eq!((rig.memory.load(0x3000, 4), rig.memory.load(0x8000_0800, 4)), (Ok(0), Ok(2)));
    rig.write(SLOT, 0x42, 2, 0xc000);
    rig.memory.store(0x8000_001c, 4, 0).unwrap();
    assert_eq!(rig.memory.load(0x3000, 4), Ok(0), "the function is masked as a whole");
    rig.write(SLOT, 0x42, 2, 0x8000);
    assert_eq!((rig.memory.load(0x3000, 4), rig.memory.load(0x8000_0800, 4)), (Ok(0x77), Ok(0)));
    messages.notify(500);
}

#[test]
fn bridges_have_windows_numbers_and_pins() {
    let rig = Rig::new();
    let place = Devfn::new(3, 0);
    let identity = Identity::new("bridge", 0x1b36, 1, 0x06_04_00);
    let function = bridge(&rig.bus, &rig.bus.socket(place), identity);
    let behind = function.secondary().unwrap().clone();
    let socket = behind.socket(Devfn::new(1, 0));
    behind.plug(&socket, Layout::new(IDENTITY).bar(0, Bar::memory(rig.constant(6, 0x1000), 0x1000)));
    assert_eq!(rig.read(place, 0x0e, 1), 1);
    rig.write(place, 0x18, 4, 0x0002_0200);
    let there = |rig: &Rig, bus, at, value| {
        let port = rig.select(bus, Devfn::new(1, 0), at);
        rig.ports.store(port, 4, value).unwrap();
        rig.ports.load(port, 4).unwrap()
    };
    assert_eq!(there(&rig, 3, 0x10, 0), 0xffff_ffff, "no such bus");
    assert_eq!(there(&rig, 2, 0x10, 0x9000_0000), 0x9000_0000);
    let command = there(&rig, 2, 4, 2);
    assert_eq!(command, 2);
    assert!(rig.memory.load(0x9000_0000, 1).is_err(), "the window is closed");
    rig.write(place, 0x20, 4, 0x9000_9000);
    rig.write(place, 4, 2, 2);
    assert_eq!(rig.memory.load(0x9000_0000, 1), Ok(6));
    rig.write(place, 0x20, 4, 0x9010_9010);
    assert!(rig.memory.load(0x9000_0000, 1).is_err(), "the window is elsewhere");
    // Slot 1's pin A is the bridge's pin B, which in slot 3 is line 3.
    socket.interrupt().raise();
    assert_eq!(rig.lines.levels(), 8);
    rig.write(place, 0x3e, 2, 0x40);
    let port = rig.select(2, Devfn::new(1, 0), 0x10);
    assert_eq!(rig.ports.load(port, 4), Ok(0), "the bus behind was reset");
}

#[test]
fn random_accesses_do_no_harm() {
    let rig = Rig::new();
    let dma_socket = rig.bus.socket(SLOT);
    let dma: Dma = dma_socket.dma();
    let (msi, msix) = (Msi::new(dma.clone(), 32), MsiX::new(dma, 8));
    let layout = Layout::new(IDENTITY)
        .bar(0, Bar::memory(rig.constant(1, 0x1000), 0x1000))
        .bar(2, Bar::memory64(rig.constant(3, 0x2000), 0x2000))
        .bar(4, Bar::io(rig.constant(2, 32), 32))
        .rom(rig.constant(4, 0x800), 0x800)
        .capability(Msi::ID, msi.bank())
        .capability(MsiX::ID, msix.bank((0, 0), (0, 0x800)));
    rig.bus.plug(&dma_socket, layout);
    let place = Devfn::new(3, 0);
    bridge(&rig.bus, &rig.bus.socket(place), Identity::new("bridge", 0x1b36, 1, 0x06_04_00));
    let config = ConfigPorts::new(rig.bus.clone());
    let targets = [
        Target::new(config.data(), 4, &[1, 2, 4]),
        Target::new(config.address(), 4, &[4]),
        Target::new(msix.table(), 256, &[4]),
        Target::new(msix.pending(), 64, &[4]),
    ];
    hammer(1, 40_000, &targets, &ManualClock::new(), |random| {
        // An address at which somebody answers, or nearly any.
        let devfn = [SLOT, place][random.below(2) as usize].byte();
        let address = 1 << 31 | u64::from(devfn) << 8 | random.below(256) | random.below(3) << 16;
        config.address().write(0, 4, address).unwrap();
        msi.notify(random.below(256) as u8);
        msix.notify(random.below(16) as u16);
        let _ = rig.memory.load(random.value(), 4);
        let _ = rig.ports.load(random.below(0x1_0000), 1);
    });
    rig.bus.reset();
    assert_eq!(rig.read(SLOT, 0, 4), 0x5678_1234);
}
