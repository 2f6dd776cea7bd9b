//! The same accesses to devices of a PC here and in QEMU, which takes them from its test protocol while its processor
//! and its clock stand still. Skipped where QEMU is not installed.

use isamorph_device::{Clock, Device, Line, ManualClock, Requests};
use isamorph_devices::apic::{ApicBus, Options, Processor};
use isamorph_devices::{dma::DmaPair, hpet::Hpet, i8042, i8042::I8042, ioapic::IoApic, pic::Pic, uart::Uart};
use isamorph_display::{input::KeyboardSink, keys::Key};
use isamorph_space::Io;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Out(u16, u8),
    In(u16),
    Write(u64, u32),
    Read(u64),
}
use Step::{In, Out, Read, Write as Store};

struct Qemu {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Qemu {
    fn start(more: &[&str]) -> Option<Self> {
        let arguments = "-M pc -accel tcg -nodefaults -display none -serial null -qtest stdio";
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(arguments.split(' '))
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = command.spawn().ok()?;
        let (input, output) = (process.stdin.take()?, BufReader::new(process.stdout.take()?));
        Some(Qemu { process, input, output })
    }
    fn run(&mut self, step: Step) -> Option<u64> {
        let command = match step {
            Out(port, value) => format!("outb {port:#x} {value:#x}"),
            In(port) => format!("inb {port:#x}"),
            Store(address, value) => format!("writel {address:#x} {value:#x}"),
            Read(address) => format!("readl {address:#x}"),
        };
        writeln!(self.input, "{command}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let answer = line.trim().strip_prefix("OK").unwrap_or_else(|| panic!("{command}: {line}")).trim();
        let is_read = matches!(step, In(_) | Read(_));
        is_read.then(|| u64::from_str_radix(answer.trim_start_matches("0x"), 16).unwrap())
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // It has nothing to lose.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The same devices, wired as on QEMU's board.
struct Board {
    ports: Vec<(u16, u16, Arc<dyn Io>)>,
    memory: Vec<(u64, Arc<dyn Io>)>,
    keys: Arc<I8042>,
}

impl Board {
    fn new() -> Self {
        let time = ManualClock::new() as Arc<dyn Clock>;
        let wires = isamorph_accel::Wires::new();
        let options = Options { x2apic: false, tsc_deadline: None };
        let bus = ApicBus::new(&time, vec![Processor { id: 0, wires }], &options);
        let (pic, ioapic) = (Pic::new(bus.pic_output()), IoApic::new(&bus));
        let irq = |n: u32| {
            let pin = if n == 0 { 2 } else { n };
            let to_pic = if n < 16 { pic.input(n) } else { Line::unconnected() };
            Line::to_all(vec![to_pic, ioapic.input(pin)])
        };
        let hpet = Hpet::new(&time, (0..24).map(irq).collect(), 4, [irq(0), irq(8)], None);
        let requests = Requests::new(|_| ());
        let wires = i8042::Wires { keyboard: irq(1), mouse: irq(12), line_20: Line::unconnected(), requests };
        let (keys, uart) = (I8042::new(wires), Uart::new(&time, irq(4), isamorph_chardev::null()));
        let dma = DmaPair::new();
        let devices: [&dyn Device; 5] = [&*pic, &*hpet, &*keys, &*uart, &*dma];
        devices.iter().for_each(|device| device.reset());
        devices.iter().for_each(|device| device.drive());
        let ports = vec![
            (0x20, 2, pic.ports(0)),
            (0xa0, 2, pic.ports(1)),
            (0x4d0, 2, pic.level_ports()),
            (0x60, 1, keys.data_port()),
            (0x64, 1, keys.command_port()),
            (0x3f8, 8, uart.ports()),
            (0, 16, dma.ports(0)),
            (0xc0, 32, dma.ports(1)),
            (0x80, 16, dma.page_ports()),
        ];
        let memory = vec![(0xfec0_0000, ioapic.registers()), (0xfed0_0000, hpet.registers())];
        Board { ports, memory, keys }
    }
    fn port(&self, port: u16) -> (u64, &dyn Io) {
        let found = self.ports.iter().find(|(base, length, _)| (*base..base + length).contains(&port));
        found.map(|(base, _, io)| (u64::from(port - base), &**io)).unwrap()
    }
    fn memory(&self, address: u64) -> (u64, &dyn Io) {
        let found = self.memory.iter().find(|(base, _)| (*base..base + 0x1000).contains(&address));
        found.map(|(base, io)| (address - base, &**io)).unwrap()
    }
    fn run(&self, step: Step) -> Option<u64> {
        match step {
            Out(port, value) => {
                let (offset, io) = self.port(port);
                io.write(offset, 1, value.into()).unwrap();
                None
            }
            In(port) => {
                let (offset, io) = self.port(port);
                Some(io.read(offset, 1).unwrap())
            }
            Store(address, value) => {
                let (offset, io) = self.memory(address);
                io.write(offset, 4, value.into()).unwrap();
                None
            }
            Read(address) => {
                let (offset, io) = self.memory(address);
                Some(io.read(offset, 4).unwrap())
            }
        }
    }
}

/// Runs steps on both sides and compares what is read, but for the bits that `mask` says of a step.
fn compare(steps: &[Step], mask: impl Fn(Step) -> u64) {
    let Some(mut qemu) = Qemu::start(&["-S"]) else {
        eprintln!("skipped: qemu-system-x86_64 is not installed");
        return;
    };
    let board = Board::new();
    for (at, step) in steps.iter().enumerate() {
        let (here, there) = (board.run(*step), qemu.run(*step));
        let mask = mask(*step);
        let recent = &steps[at.saturating_sub(12)..=at];
        assert_eq!(here.map(|v| v & mask), there.map(|v| v & mask), "here, QEMU; step {at} of {recent:x?}");
    }
}

/// Numbers that look random (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % limit
    }
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

#[test]
fn dma_controllers() {
    let (mut random, mut steps) = (Random(1), vec![]);
    for _ in 0..3000 {
        let (base, step) = random.pick(&[(0, 1u16), (0xc0, 2)]);
        let register = random.below(16) as u16;
        let port = base + register * step;
        match register {
            // Both bytes of a word: QEMU takes no notice of a single one.
            0..8 if random.below(2) == 0 => {
                let bytes = [0, 1].map(|_| Out(port, random.below(256) as u8));
                steps.extend([Out(base + 12 * step, 0), bytes[0], bytes[1]]);
            }
            0..8 => steps.extend([Out(base + 12 * step, 0), In(port), In(port)]),
            8 => steps.push(In(port)),
            // Requests would make QEMU transfer something.
            9 => {}
            _ => steps.push(Out(port, random.below(256) as u8)),
        }
        let page = random.pick(&[0x81, 0x82, 0x83, 0x87, 0x89, 0x8a, 0x8b]);
        steps.push(if random.below(2) == 0 { In(page) } else { Out(page, random.below(256) as u8) });
    }
    compare(&steps, |_| 0xff);
}

#[test]
fn serial_line() {
    let (mut random, mut steps) = (Random(2), vec![]);
    for _ in 0..5000 {
        let register = random.below(8) as u16;
        match (random.below(3), register) {
            (0, _) => steps.push(In(0x3f8 + register)),
            (_, 4) => steps.push(Out(0x3fc, random.pick(&[0, 3, 8, 11, 0x10, 0x1b, 0x1f]))),
            (_, 2) => steps.push(Out(0x3fa, random.pick(&[0, 1, 3, 7, 0x41, 0x81, 0xc1]))),
            (_, 3) => steps.push(Out(0x3fb, random.pick(&[0x03, 0x83, 0x1b]))),
            // QEMU's modem lines do not change in the loop, so that they never interrupt.
            (_, 1) => steps.push(Out(0x3f9, random.below(8) as u8)),
            _ => steps.push(Out(0x3f8 + register, random.below(256) as u8)),
        }
        steps.extend([Out(0x20, 0x0a), In(0x20)]);
    }
    compare(&steps, |step| if step == In(0x3fe) { 0xf0 } else { 0xff });
}

#[test]
fn keyboard_controller() {
    // Parameters follow their commands, and rates come in the orders that make it another mouse: what else might be
    // sent is not defined.
    let (mut random, mut steps) = (Random(3), vec![]);
    let keyboard = [0xee, 0xf2, 0xf4, 0xf5, 0xf6, 0xff];
    let with_parameter = [(0xed, 7), (0xed, 0), (0xf3, 0x20), (0xf0, 0), (0xf0, 1), (0xf0, 2), (0xf0, 3)];
    let mouse = [0xe6, 0xe7, 0xe9, 0xea, 0xeb, 0xf2, 0xf4, 0xf5, 0xf6, 0xff];
    // QEMU's mouse has its defaults only after it was told to.
    steps.extend([Out(0x64, 0xd4), Out(0x60, 0xf6), In(0x60)]);
    let controller = [0x20, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xad, 0xae, 0xc0, 0xd0, 0xdd, 0xdf];
    for _ in 0..2000 {
        match random.below(7) {
            5 => {
                let (command, parameter) = random.pick(&with_parameter);
                steps.extend([Out(0x60, command), In(0x60), Out(0x60, parameter)]);
            }
            0 => steps.extend([Out(0x64, 0x60), Out(0x60, random.pick(&[0x03, 0x43, 0x47, 0x73, 0x00]))]),
            1 => steps.push(Out(0x64, random.pick(&controller))),
            2 => steps.extend([Out(0x64, 0xd4), Out(0x60, random.pick(&mouse))]),
            3 => {
                let rates: &[u8] = random.pick(&[&[200, 100, 80], &[200, 200, 80], &[60]]);
                for byte in rates.iter().flat_map(|rate| [0xf3, *rate]).chain([0xe8, 3]) {
                    steps.extend([Out(0x64, 0xd4), Out(0x60, byte), In(0x60)]);
                }
            }
            4 => steps.extend([Out(0x60, random.pick(&keyboard))]),
            _ => steps.extend([Out(0x64, random.pick(&[0xd2, 0xd3])), Out(0x60, random.below(256) as u8)]),
        }
        for _ in 0..8 {
            steps.extend([In(0x64), In(0x60), In(0x64)]);
        }
    }
    // In QEMU the last write is always a command, and the system flag is not that of the command byte.
    compare(&steps, |step| if step == In(0x64) { 0xf3 } else { 0xff });
}

#[test]
fn io_apic() {
    let (mut random, mut steps) = (Random(4), vec![]);
    const BASE: u64 = 0xfec0_0000;
    for _ in 0..3000 {
        let register = random.below(0x40) as u32;
        // QEMU keeps reserved bits of the table.
        let defined = if register < 0x10 || register % 2 == 1 { 0xff00_0000 } else { 0x1_ffff };
        steps.push(Store(BASE, register));
        steps.push(match random.below(3) {
            0 => Store(BASE + 0x10, (random.below(1 << 32) as u32 | 0x1_0000) & defined),
            _ => Read(BASE + 0x10),
        });
    }
    compare(&steps, |_| 0xff01_ffff);
}

#[test]
fn event_timer() {
    let (mut random, mut steps) = (Random(5), vec![]);
    const BASE: u64 = 0xfed0_0000;
    for _ in 0..3000 {
        let timer = BASE + 0x100 + 0x20 * random.below(3);
        match random.below(12) {
            0 => steps.push(Store(BASE + 0x10, random.below(4) as u32)),
            1 => steps.push(Store(BASE + 0x20, random.below(8) as u32)),
            2 => steps.push(Store(timer, random.pick(&[0x404, 0x406, 0x50c, 0x44c, 0x54c, 0x400]))),
            3 => steps.push(Store(timer + 8, random.below(1 << 20) as u32)),
            _ => {}
        }
        steps.extend([Read(timer), Read(timer + 4), Read(BASE + 0x10), Read(BASE + 0xf0), Read(BASE + 0x20)]);
        steps.extend([Out(0x20, 0x0a), In(0x20), Read(timer + 8)]);
    }
    // The PIT's input is not connected here.
    compare(&steps, |step| if step == In(0x20) { 0xfe } else { u64::MAX });
}

#[test]
fn interrupt_controllers() {
    let (mut random, mut steps) = (Random(6), vec![]);
    // The keyboard's interrupt is an edge at input 1. The second controller gets none: here the cascade is a level,
    // in QEMU an edge.
    steps.extend([Out(0x64, 0x60), Out(0x60, 3)]);
    for _ in 0..4000 {
        let (command, data) = random.pick(&[(0x20, 0x21), (0xa0, 0xa1)]);
        match random.below(12) {
            0 => {
                let icw1 = random.pick(&[0x11, 0x15]);
                let icw4 = random.pick(&[1, 3, 0x11, 0x13]);
                // Both, as all software does.
                for (command, data) in [(0xa0, 0xa1), (0x20, 0x21)] {
                    let base = random.below(256) as u8;
                    steps.extend([Out(command, icw1), Out(data, base), Out(data, 4), Out(data, icw4)]);
                }
            }
            // Ends of interrupts, rotations.
            1 | 2 => steps.push(Out(command, random.below(256) as u8 & 0xe7)),
            // Special mask, polling.
            3 => steps.extend([Out(command, random.pick(&[0x48, 0x68, 0x0c])), In(command)]),
            4 => steps.push(Out(data, random.below(256) as u8)),
            5 | 6 => steps.extend([In(0x60), Out(0x64, 0xd2), Out(0x60, 0)]),
            7 => steps.push(In(0x60)),
            8 => steps.push(Out(random.pick(&[0x4d0, 0x4d1]), random.below(256) as u8)),
            _ => {}
        }
        steps.extend([In(0x4d0), In(0x4d1), In(command), In(data)]);
        for (command, register) in [(0x20, 0x0a), (0x20, 0x0b), (0xa0, 0x0a), (0xa0, 0x0b)] {
            steps.extend([Out(command, register), In(command)]);
        }
    }
    compare(&steps, |_| 0xff);
}

/// QEMU with a processor that halts at once, so that time passes and users can type, and its QMP.
struct Typist {
    qemu: Qemu,
    qmp: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Typist {
    fn start() -> Option<Self> {
        let scratch = std::env::temp_dir().join(format!("isamorph-typist-{}", std::process::id()));
        let (bios, socket) = (scratch.with_extension("bios"), scratch.with_extension("qmp"));
        let mut image = vec![0xf4; 1 << 16];
        // The reset vector: cli, hlt, and again.
        image[0xfff0..0xfff4].copy_from_slice(&[0xfa, 0xf4, 0xeb, 0xfd]);
        std::fs::write(&bios, image).unwrap();
        let qmp = format!("unix:{},server=on,wait=off", socket.display());
        let mut qemu = Qemu::start(&["-bios", bios.to_str()?, "-qmp", &qmp])?;
        // Whatever it answers, it has made its sockets by then.
        qemu.run(In(0x64));
        let stream = UnixStream::connect(&socket).unwrap();
        [bios, socket].iter().for_each(|path| std::fs::remove_file(path).unwrap());
        let mut typist = Typist { qemu, answers: BufReader::new(stream.try_clone().unwrap()), qmp: stream };
        typist.execute("{\"execute\": \"qmp_capabilities\"}");
        Some(typist)
    }
    fn execute(&mut self, command: &str) {
        writeln!(self.qmp, "{command}").unwrap();
        let mut line = String::new();
        while !line.contains("\"return\"") {
            line.clear();
            assert_ne!(self.answers.read_line(&mut line).unwrap(), 0);
            assert!(!line.contains("\"error\""), "{command}: {line}");
        }
    }
    fn key(&mut self, name: &str, down: bool) {
        let key = format!("{{\"type\": \"qcode\", \"data\": \"{name}\"}}");
        let event = format!("{{\"type\": \"key\", \"data\": {{\"down\": {down}, \"key\": {key}}}}}");
        self.execute(&format!("{{\"execute\": \"input-send-event\", \"arguments\": {{\"events\": [{event}]}}}}"));
    }
    /// What a keyboard sends until nothing comes for a while: QEMU lets events wait for each other.
    fn drain(&mut self) -> Vec<u64> {
        let (mut bytes, mut quiet) = (vec![], 0);
        while quiet < 2 {
            if self.qemu.run(In(0x64)).is_some_and(|status| status & 1 != 0) {
                bytes.extend(self.qemu.run(In(0x60)));
                quiet = 0;
            } else {
                quiet += 1;
            }
        }
        bytes
    }
}

/// Keys for which QEMU sends nothing, or what no real keyboard does.
const DIFFERENT: &[&str] = &["unmapped", "lang1", "lang2"];

#[test]
fn keys() {
    let Some(mut typist) = Typist::start() else {
        eprintln!("skipped: qemu-system-x86_64 is not installed");
        return;
    };
    let board = Board::new();
    let mut compared = 0;
    for (set, mode) in [(1, 0), (2, 0), (3, 0), (2, 0x40)] {
        for step in [Out(0x64, 0x60), Out(0x60, mode), Out(0x60, 0xf0), In(0x60), Out(0x60, set), In(0x60)] {
            assert_eq!(board.run(step), typist.qemu.run(step));
        }
        for held in ["", "alt", "ctrl", "shift"] {
            let names = Key::names().filter(|name| held.is_empty() || ["print", "pause", "a"].contains(name));
            // QEMU's keyboard releases and presses Alt once more around SysRq.
            let different = |name: &str| DIFFERENT.contains(&name) || (held, name) == ("alt", "print");
            for name in names.filter(|name| !different(name)) {
                let events = [(held, true), (name, true), (name, false), (held, false)];
                for (name, down) in events.into_iter().filter(|(name, _)| !name.is_empty()) {
                    typist.key(name, down);
                    board.keys.key(Key::from_name(name).unwrap(), down);
                }
                let there = typist.drain();
                let full = || board.run(In(0x64)).is_some_and(|status| status & 1 != 0);
                let here: Vec<u64> = std::iter::from_fn(|| full().then(|| board.run(In(0x60)))?).collect();
                // There are keys for which it has no codes.
                if !there.is_empty() {
                    assert_eq!(here, there, "here, QEMU: {held} {name}, set {set}, mode {mode:#x}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 500, "{compared}");
}
