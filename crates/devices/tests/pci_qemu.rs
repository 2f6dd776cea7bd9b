//! The same accesses to the chipset of a PC here and in QEMU, which takes them from its test protocol while its
//! processor and its clock stand still. Skipped where QEMU is not installed.

use isamorph_device::{Clock, Dma, Line, ManualClock, Requests};
use isamorph_devices::fw_cfg::{FwCfg, Items};
use isamorph_devices::i440fx::{I440fx, Memory};
use isamorph_devices::pci::{ConfigPorts, PciBus, Pins};
use isamorph_devices::piix3::Piix3;
use isamorph_devices::piix4::{Piix4, Wires};
use isamorph_ram::{Backing, RamBlock};
use isamorph_space::{AddressSpace, Endian, IoRules, Map, Sizes, WHOLE};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

/// An access to a port: size, port, and what is written, if it is a write.
type Step = (u32, u16, Option<u32>);

struct Qemu {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Qemu {
    fn start() -> Option<Self> {
        let arguments = "-M pc -m 16 -accel tcg -nodefaults -display none -S -qtest stdio";
        let mut command = Command::new("qemu-system-x86_64");
        command.args(arguments.split(' ')).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().ok()?;
        let (input, output) = (process.stdin.take()?, BufReader::new(process.stdout.take()?));
        Some(Qemu { process, input, output })
    }
    fn run(&mut self, (size, port, value): Step) -> u64 {
        let letter = match size {
            1 => 'b',
            2 => 'w',
            _ => 'l',
        };
        match value {
            Some(value) => writeln!(self.input, "out{letter} {port:#x} {value:#x}").unwrap(),
            None => writeln!(self.input, "in{letter} {port:#x}").unwrap(),
        }
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let answer = line.trim().strip_prefix("OK").unwrap_or_else(|| panic!("{port:#x}: {line}")).trim();
        u64::from_str_radix(answer.trim_start_matches("0x"), 16).unwrap_or(0)
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It has nothing to lose.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The same chips, wired as on QEMU's board.
struct Board {
    ports: Arc<AddressSpace>,
}

impl Board {
    fn new() -> Self {
        let map = Map::new();
        let block = RamBlock::new("pc.ram", 16 << 20, &Backing::Anonymous).unwrap();
        let (system, pci, io, ram) = map.update(|tree| {
            let [system, pci] = ["system", "pci"].map(|name| tree.container(name, WHOLE));
            let (io, ram) = (tree.container("io", 0x1_0000), tree.ram("pc.ram", block.clone()));
            let low = tree.alias("ram-below-4g", ram, 0, 16 << 20);
            tree.add(system, low, 0, 0);
            tree.add(system, pci, 0, -1);
            (system, pci, io, ram)
        });
        let (memory, ports) = (map.space("memory", system), map.space("I/O", io));
        let requests = Requests::new(|_| ());
        let piix3 = Piix3::new(std::array::from_fn(|_| Line::unconnected()), requests.clone());
        let bus = PciBus::new(&map, pci, io, memory.clone(), Pins { lines: piix3.pirqs(), first: 3 });
        I440fx::plug(&bus, &Memory { system, pci, ram, block });
        piix3.plug(&bus, 1);
        let clock = ManualClock::new() as Arc<dyn Clock>;
        let wires = Wires { sci: Line::unconnected(), smi: Some(Line::unconnected()), requests };
        let power = Piix4::plug(&bus, 1, &clock, wires);
        let config = ConfigPorts::new(bus);
        let fw_cfg = FwCfg::new(Items::new(), Dma::new(memory, true));
        let wide = Sizes::new(1, 8);
        let big = IoRules { valid: wide, implemented: wide, endian: Endian::Big };
        let (bytes, words) = (IoRules::exactly(1, 1), IoRules::exactly(1, 4));
        map.update(|tree| {
            for (name, at, size, priority, rules, registers) in [
                ("address", 0xcf8, 4, 0, words, config.address()),
                ("data", 0xcfc, 4, 0, words, config.data()),
                ("reset", 0xcf9, 1, 1, bytes, piix3.reset_control()),
                ("command", 0xb2, 2, 0, bytes, power.command_ports()),
                ("events", 0xafe0, 4, 0, words, power.event_ports()),
                ("fwcfg", 0x510, 2, 0, IoRules::exactly(1, 2), fw_cfg.ports()),
                ("fwcfg.dma", 0x514, 8, 0, big, fw_cfg.dma_port()),
            ] {
                let region = tree.io(name, size, rules, registers);
                tree.add(io, region, at, priority);
            }
        });
        Board { ports }
    }
    fn run(&self, (size, port, value): Step) -> u64 {
        match value {
            Some(value) => self.ports.store(port.into(), size, value.into()).map_or(0, |()| 0),
            // Nobody answers: ones.
            None => self.ports.load(port.into(), size).unwrap_or(u64::MAX >> (64 - 8 * size)),
        }
    }
}

/// Both boards, and what happened so far.
struct Pair {
    qemu: Qemu,
    board: Board,
    log: Vec<Step>,
}

impl Pair {
    fn new() -> Option<Self> {
        let Some(qemu) = Qemu::start() else {
            eprintln!("skipped: qemu-system-x86_64 is not installed");
            return None;
        };
        Some(Pair { qemu, board: Board::new(), log: Vec::new() })
    }
    fn write(&mut self, size: u32, port: u16, value: u32) {
        let step = (size, port, Some(value));
        self.log.push(step);
        self.qemu.run(step);
        self.board.run(step);
    }
    fn compare(&mut self, size: u32, port: u16, ignored: u64) {
        let step = (size, port, None);
        self.log.push(step);
        let [theirs, ours] = [self.qemu.run(step), self.board.run(step)].map(|value| value & !ignored);
        let last = &self.log[self.log.len().saturating_sub(6)..];
        assert_eq!(ours, theirs, "{size} bytes at {port:#x} after {last:#x?}");
    }
    fn select(&mut self, devfn: u32, at: u32) -> u16 {
        self.write(4, 0xcf8, 1 << 31 | devfn << 8 | at & 0xfc);
        0xcfc + (at & 3) as u16
    }
}

/// Numbers that look random and are the same in every run (xorshift).
fn random(state: &mut u32) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    *state
}

/// Host bridge, ISA bridge, power management.
const FUNCTIONS: [u32; 3] = [0x00, 0x08, 0x0b];

/// Bits of a register that are not the same on purpose: what the two bases of power management say of themselves, and
/// ports that not every board has.
fn ignored(devfn: u32, at: u32) -> u64 {
    match (devfn, at) {
        (0x0b, 0x40 | 0x90) => 1,
        (0x0b, 0x64) => 0xff00_0000,
        _ => 0,
    }
}

#[test]
fn configuration_space_is_the_same() {
    let Some(mut pair) = Pair::new() else { return };
    for devfn in FUNCTIONS {
        for at in (0..256).step_by(4) {
            let port = pair.select(devfn, at);
            pair.compare(4, port, ignored(devfn, at));
        }
    }
    let mut state = 0x1234_5678;
    for _ in 0..6000 {
        let devfn = FUNCTIONS[random(&mut state) as usize % 3];
        let size = [1, 2, 4][random(&mut state) as usize % 3];
        let at = random(&mut state) & 0xff & !(size - 1);
        let mut value = random(&mut state) >> (32 - 8 * size);
        // QEMU stores the lock of the system management RAM and takes no notice of it.
        if devfn == 0 && (at..at + size).contains(&0x72) {
            value &= !(0x10 << (8 * (0x72 - at)));
        }
        // Ports that move over other ones would answer for them.
        let is_base = devfn == 0x0b && matches!(at & !3, 0x40 | 0x80 | 0x90 | 0xd0);
        let port = pair.select(devfn, at);
        if !is_base {
            pair.write(size, port, value);
        }
        let port = pair.select(devfn, at & !3);
        pair.compare(4, port, ignored(devfn, at & !3));
    }
    pair.select(0x1f << 3, 0);
    pair.compare(4, 0xcfc, 0);
    pair.write(4, 0xcf8, 0);
    pair.compare(4, 0xcfc, 0);
    pair.compare(1, 0xcf9, 0);
}

#[test]
fn power_management_is_the_same() {
    let Some(mut pair) = Pair::new() else { return };
    let port = pair.select(0x0b, 0x40);
    pair.write(4, port, 0x601);
    let port = pair.select(0x0b, 0x80);
    pair.write(1, port, 1);
    // QEMU's timer has run since its clock began; ours begins with the machine.
    const TIMER: u64 = 1;
    for (size, port, value) in [
        (2, 0x602, 0x0521),
        (2, 0x602, 0x0120),
        (2, 0x600, 0xffff),
        (2, 0x604, 0x0401),
        (1, 0xb2, 0xf1),
        (1, 0xb3, 0x5a),
        (1, 0xb2, 0xf0),
        (4, 0xafe0, 0xffff_ffff),
        (2, 0xafe2, 0x1234),
        (1, 0xafe3, 0x56),
    ] {
        pair.write(size, port, value);
        pair.compare(2, 0x600, TIMER);
        pair.compare(2, 0x602, 0);
        pair.compare(2, 0x604, 0);
        pair.compare(1, 0xb2, 0);
        pair.compare(1, 0xb3, 0);
        for byte in 0..4 {
            pair.compare(1, 0xafe0 + byte, 0);
        }
    }
}

#[test]
fn the_firmware_interface_is_the_same() {
    let Some(mut pair) = Pair::new() else { return };
    for (item, count) in [(0, 6), (1, 6), (0x7000, 2)] {
        pair.write(2, 0x510, item);
        (0..count).for_each(|_| pair.compare(1, 0x511, 0));
    }
    for (size, port) in [(4, 0x514), (4, 0x518), (1, 0x514), (1, 0x51b), (2, 0x516)] {
        pair.compare(size, port, 0);
    }
}
