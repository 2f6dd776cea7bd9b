use super::*;
use crate::testing::{Registers, hammer};
use isamorph_chardev::testing::Recorder;
use isamorph_device::{ManualClock, Probe};

struct Rig {
    clock: Arc<ManualClock>,
    back: Arc<Recorder>,
    line: Arc<Probe>,
    uart: Arc<Uart>,
}

impl Rig {
    fn new() -> Self {
        let (clock, back, (line, to_line)) = (ManualClock::new(), Recorder::new(), Probe::new());
        let uart = Uart::new(&(clock.clone() as Arc<dyn Clock>), to_line, back.clone());
        Rig { clock, back, line, uart }
    }
    fn write(&self, register: u64, value: u8) {
        self.uart.ports().write(register, 1, value.into()).unwrap();
    }
    fn read(&self, register: u64) -> u8 {
        self.uart.ports().read(register, 1).unwrap() as u8
    }
}

#[test]
fn bytes_are_sent_at_once() {
    let rig = Rig::new();
    b"hi".iter().for_each(|byte| rig.write(0, *byte));
    assert_eq!((rig.back.take(), rig.read(5)), (b"hi".to_vec(), 0x60));
}

#[test]
fn a_full_back_end_shows_in_the_line_status() {
    let rig = Rig::new();
    rig.write(1, ier::EMPTY);
    rig.write(2, fcr::ENABLE);
    rig.back.set_room(1);
    rig.read(2);
    rig.write(0, b'a');
    assert_eq!(rig.read(2), 0xc2);
    rig.write(0, b'b');
    rig.write(0, b'c');
    assert_eq!((rig.read(5), rig.line.is_high()), (0, false));
    rig.back.set_room(100);
    assert_eq!((rig.back.take(), rig.read(5), rig.line.is_high()), (b"abc".to_vec(), 0x60, true));
}

#[test]
fn an_empty_transmitter_interrupts_until_it_is_identified() {
    let rig = Rig::new();
    rig.write(1, ier::EMPTY);
    assert!(rig.line.is_high(), "it is empty");
    assert_eq!((rig.read(2), rig.line.is_high()), (0x02, false));
    rig.write(0, b'a');
    let edges = rig.line.edges();
    rig.write(0, b'b');
    assert_eq!((rig.line.edges() - edges, rig.read(2), rig.read(2)), (1, 0x02, 0x01));
}

#[test]
fn the_receiver_without_fifo_holds_one_byte() {
    let rig = Rig::new();
    rig.write(1, ier::RECEIVED);
    rig.back.send(b"xy");
    assert_eq!((rig.back.waiting(), rig.read(2), rig.read(5)), (1, 0x04, 0x61));
    assert_eq!((rig.read(0), rig.line.is_high()), (b'x', false));
    rig.back.deliver();
    assert_eq!(rig.read(0), b'y');
}

#[test]
fn the_trigger_level_and_the_timeout() {
    let rig = Rig::new();
    rig.write(3, 3);
    rig.write(2, 0x81);
    rig.write(1, ier::RECEIVED);
    rig.back.send(b"1234567");
    assert!(!rig.line.is_high());
    // Four characters of ten bits at 9600 bits per second.
    rig.clock.advance(4_166_000);
    assert!(!rig.line.is_high());
    rig.clock.advance(1_000);
    assert_eq!((rig.line.is_high(), rig.read(2)), (true, 0xcc));
    assert_eq!((rig.read(0), rig.line.is_high()), (b'1', false), "reading ends it");
    rig.back.send(b"89");
    assert_eq!(rig.read(2), 0xc4, "eight bytes");
    rig.back.send(&[0; 20]);
    assert_eq!((rig.back.waiting(), rig.read(5) & 2), (12, 0), "flow control leaves nothing to overrun");
}

#[test]
fn breaks_and_overruns_are_errors() {
    let rig = Rig::new();
    rig.write(1, ier::STATUS | ier::RECEIVED);
    rig.back.event(Event::Break);
    assert_eq!((rig.read(2), rig.read(5)), (0x06, 0x71));
    assert_eq!((rig.read(2), rig.read(0)), (0x04, 0));
    rig.write(4, mcr::LOOP);
    rig.write(0, 1);
    rig.write(0, 2);
    assert_eq!((rig.read(2), rig.read(5), rig.read(0)), (0x06, 0x63, 2));
}

#[test]
fn the_loop_connects_modem_lines_too() {
    let rig = Rig::new();
    rig.write(4, mcr::LOOP | mcr::RTS | mcr::OUT1);
    assert_eq!(rig.read(6), msr::CTS | msr::RI | 0x0a, "DSR and DCD changed");
    rig.write(1, ier::MODEM);
    rig.write(4, mcr::LOOP | mcr::DTR);
    assert_eq!((rig.read(2), rig.read(6)), (0, msr::DSR | 1 | 2 | 4));
    rig.write(0, b'l');
    assert_eq!((rig.read(0), rig.back.take()), (b'l', vec![]));
    rig.back.send(b"o");
    assert_eq!(rig.back.waiting(), 1, "the line is not connected");
    rig.write(4, 0);
    rig.back.deliver();
    assert_eq!(rig.read(0), b'o');
}

#[test]
fn divisor_scratch_and_fifo_bits() {
    let rig = Rig::new();
    rig.write(3, 0x83);
    rig.write(0, 0x34);
    rig.write(1, 0x12);
    assert_eq!((rig.read(0), rig.read(1), rig.read(3)), (0x34, 0x12, 0x83));
    rig.write(3, 3);
    rig.write(7, 0x5a);
    assert_eq!((rig.read(1), rig.read(7), rig.read(2)), (0, 0x5a, 0x01));
    rig.write(2, 0xc8);
    assert_eq!(rig.read(2), 0x01, "nothing without the enable");
    rig.write(2, 1);
    rig.back.send(b"abc");
    rig.write(2, 3);
    assert_eq!((rig.read(2), rig.read(5)), (0xc1, 0x60));
}

#[test]
fn saved_state_comes_back() {
    let rig = Rig::new();
    rig.write(2, 1);
    rig.write(1, ier::RECEIVED);
    rig.back.send(b"abc");
    let state = rig.uart.save();
    let other = Rig::new();
    other.uart.restore(&state).unwrap();
    other.uart.drive();
    assert!(other.line.is_high());
    assert_eq!((other.read(0), other.read(0), other.read(0)), (b'a', b'b', b'c'));
    assert_eq!(other.uart.restore(&State { ier: 0x80, ..state }), Err(BadState("control registers")));
}

#[test]
fn random_accesses() {
    let rig = Rig::new();
    let registers = [Registers::new(rig.uart.ports(), 8, &[1])];
    hammer(1, 50_000, &registers, &rig.clock, |random| match random.below(4) {
        0 => rig.back.set_room(random.below(20) as usize),
        1 => rig.back.event(Event::Break),
        2 => rig.back.deliver(),
        _ => rig.back.send(&random.next().to_le_bytes()),
    });
    let state = rig.uart.save();
    rig.uart.restore(&state).unwrap();
}
