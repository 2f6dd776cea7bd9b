use super::*;
use crate::testing::{Registers, hammer};
use isamorph_device::{ManualClock, Probe};
use isamorph_display::input::{Axis, Button};
use std::sync::atomic::{AtomicU32, Ordering};

struct Rig {
    chip: Arc<I8042>,
    /// Input 0 is the keyboard's interrupt, 1 the mouse's, 2 address line 20.
    probe: Arc<Probe>,
    resets: Arc<AtomicU32>,
}

impl Rig {
    fn new() -> Self {
        let (probe, resets) = (Arc::new(Probe::default()), Arc::new(AtomicU32::new(0)));
        let (line, count) = (|n| Line::new(probe.clone(), n), resets.clone());
        let requests = Requests::new(move |request| {
            assert_eq!(request, Request::Reset);
            count.fetch_add(1, Ordering::Relaxed);
        });
        let chip = I8042::new(Wires { keyboard: line(0), mouse: line(1), line_20: line(2), requests });
        chip.drive();
        Rig { chip, probe, resets }
    }
    fn command(&self, byte: u8) {
        self.chip.command_port().write(0, 1, byte.into()).unwrap();
    }
    fn send(&self, byte: u8) {
        self.chip.data_port().write(0, 1, byte.into()).unwrap();
    }
    fn status(&self) -> u8 {
        self.chip.command_port().read(0, 1).unwrap() as u8
    }
    fn read(&self) -> u8 {
        self.chip.data_port().read(0, 1).unwrap() as u8
    }
    /// All that can be read, as the keyboard's and as the mouse's.
    fn drain(&self) -> (Vec<u8>, Vec<u8>) {
        let (mut keys, mut mouse) = (vec![], vec![]);
        while self.status() & 1 != 0 {
            let from_mouse = self.status() & 0x20 != 0;
            if from_mouse { mouse.push(self.read()) } else { keys.push(self.read()) }
        }
        (keys, mouse)
    }
    fn type_key(&self, name: &str) -> Vec<u8> {
        let key = Key::from_name(name).unwrap();
        self.chip.key(key, true);
        self.chip.key(key, false);
        self.drain().0
    }
}

#[test]
fn self_tests_pass() {
    let rig = Rig::new();
    assert_eq!(rig.status(), 0x10);
    rig.command(0xaa);
    assert_eq!((rig.status(), rig.read(), rig.status()), (0x1d, 0x55, 0x1c));
    for (command, answer) in [(0xab, 0), (0xa9, 0), (0xa4, 0xf1), (0xc0, 0x80), (0x20, 3)] {
        rig.command(command);
        assert_eq!(rig.drain().0, [answer], "{command:#x}");
    }
}

#[test]
fn keys_interrupt_and_are_translated() {
    let rig = Rig::new();
    rig.command(0x60);
    rig.send(0x41);
    let edges = rig.probe.edges();
    assert_eq!(rig.type_key("a"), [0x1e, 0x9e]);
    assert_eq!((rig.probe.edges() - edges, rig.probe.levels() & 1), (2, 0), "an edge for each byte");
    for (name, bytes) in [
        ("f7", vec![0x41, 0xc1]),
        ("left", vec![0xe0, 0x4b, 0xe0, 0xcb]),
        ("print", vec![0xe0, 0x2a, 0xe0, 0x37, 0xe0, 0xb7, 0xe0, 0xaa]),
        ("pause", vec![0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5]),
        ("lang1", vec![0xf2]),
        ("lang2", vec![0xf1]),
    ] {
        assert_eq!(rig.type_key(name), bytes, "{name}");
    }
    rig.send(0xf2);
    assert_eq!(rig.drain().0, [0xfa, 0xab, 0x41]);
    rig.command(0x60);
    rig.send(0x00);
    let edges = rig.probe.edges();
    assert_eq!((rig.type_key("a"), rig.probe.edges()), (vec![0x1c, 0xf0, 0x1c], edges));
}

#[test]
fn translation_inverts_the_table_for_every_key() {
    let rig = Rig::new();
    rig.command(0x60);
    rig.send(0x41);
    for name in Key::names() {
        let key = Key::from_name(name).unwrap();
        if let (Some(code), false) = (key.set1(), ["print", "pause", "lang1", "lang2"].contains(&key.name().unwrap())) {
            let low = code as u8;
            let plain = [vec![low], vec![low | 0x80]];
            let expected = if code > 0xff { plain.map(|byte| [vec![0xe0], byte].concat()) } else { plain };
            assert_eq!(rig.type_key(name), expected.concat(), "{name}");
        }
    }
}

#[test]
fn the_mouse_is_behind_a_command() {
    let rig = Rig::new();
    rig.command(0xd4);
    rig.send(0xf4);
    assert_eq!((rig.status() & 0x21, rig.probe.levels() & 2), (0x21, 2));
    assert_eq!(rig.drain().1, [0xfa]);
    rig.chip.pointer(&[PointerEvent::Move(Axis::X, 1), PointerEvent::Button(Button::Right, true)]);
    assert_eq!(rig.drain(), (vec![], vec![0x0a, 1, 0]));
    rig.command(0xa7);
    rig.chip.pointer(&[PointerEvent::Move(Axis::X, 1)]);
    assert_eq!(rig.status() & 1, 0, "off");
    rig.command(0xa8);
    assert_eq!(rig.drain().1, [0x0a, 1, 0]);
    rig.command(0xd3);
    rig.send(0x5a);
    assert_eq!(rig.drain().1, [0x5a]);
    rig.command(0xd2);
    rig.send(0xa5);
    assert_eq!(rig.drain().0, [0xa5]);
}

#[test]
fn a_keyboard_that_is_off_waits() {
    let rig = Rig::new();
    rig.command(0xad);
    rig.chip.key(Key::from_name("a").unwrap(), true);
    assert_eq!(rig.status() & 1, 0);
    rig.command(0x20);
    assert_eq!(rig.read(), 0x13);
    rig.command(0xae);
    assert_eq!(rig.read(), 0x1c);
    rig.command(0xad);
    rig.send(0xed);
    rig.send(5);
    assert_eq!((rig.drain().0, rig.chip.leds()), (vec![0xfa, 0xfa], 5), "sending a byte switches it on");
}

#[test]
fn the_output_port_has_address_line_20_and_the_reset() {
    let rig = Rig::new();
    assert_eq!(rig.probe.levels(), 4);
    rig.command(0xd0);
    assert_eq!(rig.read(), 0xcf);
    rig.command(0xd1);
    rig.send(0xdd);
    assert_eq!(rig.probe.levels(), 0);
    rig.command(0xdf);
    assert_eq!(rig.probe.levels(), 4);
    rig.command(0xdd);
    assert_eq!(rig.probe.levels(), 0);
    rig.command(0xff);
    rig.command(0xf1);
    assert_eq!(rig.resets.load(Ordering::Relaxed), 0);
    rig.command(0xfe);
    rig.command(0xd1);
    rig.send(0xfe);
    assert_eq!(rig.resets.load(Ordering::Relaxed), 2);
    rig.chip.reset();
    rig.chip.drive();
    assert_eq!(rig.probe.levels(), 4);
}

#[test]
fn memory_can_be_used() {
    let rig = Rig::new();
    rig.command(0x7f);
    rig.send(0x99);
    rig.command(0x3f);
    assert_eq!(rig.read(), 0x99);
    assert_eq!(rig.read(), 0x99, "an empty buffer gives the last byte");
}

#[test]
fn saved_state_comes_back() {
    let rig = Rig::new();
    rig.chip.key(Key::from_name("b").unwrap(), true);
    rig.command(0xdd);
    let mut state = rig.chip.save();
    let other = Rig::new();
    other.chip.restore(&state).unwrap();
    other.chip.drive();
    assert_eq!((other.probe.levels(), other.drain().0), (1, vec![0x32]));
    state.answers = std::iter::repeat_n((0, false), 100).collect();
    assert_eq!(other.chip.restore(&state), Err(BadState("answers")));
}

#[test]
fn random_accesses() {
    let rig = Rig::new();
    let registers = [
        Registers::new(rig.chip.data_port(), 1, &[1]),
        Registers::new(rig.chip.data_port(), 1, &[1]),
        Registers::new(rig.chip.command_port(), 1, &[1]),
    ];
    hammer(8, 100_000, &registers, &ManualClock::new(), |random| {
        if let Some(key) = Key::from_number(random.below(256) as u16) {
            rig.chip.key(key, random.below(2) == 0);
        }
        let step = random.next() as i32;
        rig.chip.pointer(&[PointerEvent::Move(Axis::X, step), PointerEvent::Move(Axis::Y, step)]);
        rig.chip.pointer(&[PointerEvent::Button(Button::WheelUp, true)]);
    });
    rig.chip.restore(&rig.chip.save()).unwrap();
}
