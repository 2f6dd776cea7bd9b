//! The I/O APIC: interrupt lines become messages to local APICs.
//!
//! References: Intel 82093AA datasheet (order number 290566); the EOI register is that of its successors (version
//! 0x20, Intel ICH datasheets).

use crate::apic::{ApicBus, Delivery, Destination, EoiListener, Message};
use isamorph_device::{BadState, Device, Exclusive, Line, LineSink, Snapshot};
use isamorph_space::{Io, IoError};
use std::sync::{Arc, Weak};

/// Inputs.
pub const INPUTS: usize = 24;
const VERSION: u32 = 0x20;

/// Bits of a redirection entry.
mod entry {
    pub const LOGICAL: u64 = 1 << 11;
    pub const STATUS: u64 = 1 << 12;
    pub const REMOTE_IRR: u64 = 1 << 14;
    pub const LEVEL: u64 = 1 << 15;
    pub const MASKED: u64 = 1 << 16;
    /// Status and remote IRR are the chip's.
    pub const WRITABLE: u64 = 0xff00_0000_0001_ffff & !(STATUS | REMOTE_IRR);
}

/// Register numbers.
mod reg {
    pub const ID: u8 = 0;
    pub const VERSION: u8 = 1;
    pub const ARBITRATION: u8 = 2;
    pub const TABLE: u8 = 0x10;
}

/// What the registers are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    id: u8,
    /// The register that the window shows.
    select: u8,
    table: [u64; INPUTS],
    /// Levels of the inputs.
    levels: u32,
    /// Requests that have not been delivered, and levels that are there.
    irr: u32,
}

impl State {
    const fn new() -> Self {
        State { id: 0, select: 0, table: [entry::MASKED; INPUTS], levels: 0, irr: 0 }
    }
    /// Where in the table the selected register is: number of the entry, upper half.
    fn selected_entry(&self) -> Option<(usize, bool)> {
        let number = self.select.checked_sub(reg::TABLE)?;
        Some((usize::from(number / 2), number & 1 != 0)).filter(|(at, _)| *at < INPUTS)
    }
    fn read(&self) -> u32 {
        match (self.select, self.selected_entry()) {
            (reg::ID | reg::ARBITRATION, _) => u32::from(self.id) << 24,
            (reg::VERSION, _) => VERSION | (INPUTS as u32 - 1) << 16,
            (_, Some((at, upper))) => (self.table[at] >> if upper { 32 } else { 0 }) as u32,
            _ => 0,
        }
    }
    fn write(&mut self, value: u32) {
        if self.select == reg::ID {
            self.id = (value >> 24 & 15) as u8;
        }
        let Some((at, upper)) = self.selected_entry() else { return };
        let old = self.table[at];
        let written = match upper {
            true => old & 0xffff_ffff | u64::from(value) << 32,
            false => old & !0xffff_ffff | u64::from(value),
        };
        let mut new = written & entry::WRITABLE | old & entry::REMOTE_IRR;
        if new & entry::LEVEL == 0 {
            // An edge has no end that anybody waits for: software that changes the mode back and forth clears it.
            new &= !entry::REMOTE_IRR;
        } else {
            let level = self.levels & 1 << at;
            self.irr = self.irr & !(1 << at) | level;
        }
        self.table[at] = new;
    }
    /// The message of an input that has one to send. Sending it is up to the caller.
    fn take(&mut self, input: usize) -> Option<Message> {
        let row = self.table[input];
        let is_level = row & entry::LEVEL != 0;
        let busy = is_level && row & entry::REMOTE_IRR != 0;
        if self.irr & 1 << input == 0 || row & entry::MASKED != 0 || busy {
            return None;
        }
        if is_level {
            self.table[input] |= entry::REMOTE_IRR;
        } else {
            self.irr &= !(1 << input);
        }
        let to = Destination { address: (row >> 56) as u32, logical: row & entry::LOGICAL != 0, wide: false };
        Some(Message { to, delivery: Delivery::from_bits(row >> 8)?, vector: row as u8, level: is_level })
    }
    fn set_input(&mut self, input: usize, level: bool) {
        let (bit, row) = (1 << input, self.table[input]);
        let rises = level && self.levels & bit == 0;
        self.levels = if level { self.levels | bit } else { self.levels & !bit };
        if row & entry::LEVEL != 0 {
            self.irr = if level { self.irr | bit } else { self.irr & !bit };
        } else if rises && row & entry::MASKED == 0 {
            // Edges on a masked input are lost (section 3.2.4, bit 16).
            self.irr |= bit;
        }
    }
    fn end_of_interrupt(&mut self, vector: u8) {
        for row in &mut self.table {
            if *row as u8 == vector && *row & entry::LEVEL != 0 {
                *row &= !entry::REMOTE_IRR;
            }
        }
    }
}

/// An I/O APIC.
pub struct IoApic {
    state: Exclusive<State>,
    bus: Arc<ApicBus>,
}

impl IoApic {
    /// An I/O APIC on that bus.
    pub fn new(bus: &Arc<ApicBus>) -> Arc<Self> {
        let chip = Arc::new(IoApic { state: Exclusive::new(State::new()), bus: bus.clone() });
        let listener: Weak<IoApic> = Arc::downgrade(&chip);
        bus.listen(listener);
        chip
    }
    /// A wire to an input, 0 to 23.
    pub fn input(self: &Arc<Self>, number: u32) -> Line {
        Line::new(self.clone(), number)
    }
    /// The registers: 4 KiB, accessed four bytes at a time.
    pub fn registers(self: &Arc<Self>) -> Arc<dyn Io> {
        self.clone()
    }
    /// The redirection table and the requests, as the monitor shows them.
    pub fn table(&self) -> ([u64; INPUTS], u32) {
        self.state.enter().map_or(([0; INPUTS], 0), |state| (state.table, state.irr))
    }
    /// Changes the state and sends what is to be sent.
    fn change<R>(&self, f: impl FnOnce(&mut State) -> R) -> Result<R, IoError> {
        let mut state = self.state.enter()?;
        let result = f(&mut state);
        for input in 0..INPUTS {
            // The local APICs never call back while they take a message.
            if let Some(message) = state.take(input) {
                self.bus.send(&message);
            }
        }
        Ok(result)
    }
}

impl LineSink for IoApic {
    fn set(&self, input: u32, level: bool) {
        if (input as usize) < INPUTS {
            // No line of the machine is driven by this chip.
            let _ = self.change(|state| state.set_input(input as usize, level));
        }
    }
}

impl EoiListener for IoApic {
    fn end_of_interrupt(&self, vector: u8) {
        let _ = self.change(|state| state.end_of_interrupt(vector));
    }
}

impl Io for IoApic {
    fn read(&self, offset: u64, _size: u32) -> Result<u64, IoError> {
        let state = self.state.enter()?;
        Ok(match offset {
            0 => state.select.into(),
            0x10 => state.read().into(),
            _ => 0,
        })
    }
    fn write(&self, offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        self.change(|state| match offset {
            0 => state.select = value as u8,
            0x10 => state.write(value as u32),
            0x40 => state.end_of_interrupt(value as u8),
            _ => {}
        })
    }
}

impl Device for IoApic {
    fn name(&self) -> &str {
        "ioapic"
    }
    fn reset(&self) {
        if let Ok(mut state) = self.state.enter() {
            *state = State { levels: state.levels, ..State::new() };
        }
    }
    fn drive(&self) {
        let _ = self.change(|_| ());
    }
}

impl Snapshot for IoApic {
    type State = State;
    fn save(&self) -> State {
        self.state.enter().map_or(State::new(), |state| state.clone())
    }
    fn restore(&self, saved: &State) -> Result<(), BadState> {
        let valid = entry::WRITABLE | entry::REMOTE_IRR;
        BadState::unless(saved.table.iter().all(|row| row & !valid == 0), "redirection table")?;
        BadState::unless((saved.levels | saved.irr) >> INPUTS == 0 && saved.id < 16, "inputs")?;
        if let Ok(mut state) = self.state.enter() {
            state.clone_from(saved);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apic::{Options, Processor};
    use crate::testing::{Registers, hammer};
    use isamorph_accel::{Signals, Wires};
    use isamorph_device::{Clock, ManualClock};

    struct Rig {
        clock: Arc<ManualClock>,
        wires: Arc<Wires>,
        bus: Arc<ApicBus>,
        chip: Arc<IoApic>,
    }

    impl Rig {
        fn new() -> Self {
            let (clock, wires) = (ManualClock::new(), Wires::new());
            let processors = vec![Processor { id: 0, wires: wires.clone() }];
            let options = Options { x2apic: false, tsc_deadline: None };
            let bus = ApicBus::new(&(clock.clone() as Arc<dyn Clock>), processors, &options);
            bus.mmio().write(0xf0, 4, 0x1ff).unwrap();
            let chip = IoApic::new(&bus);
            Rig { clock, wires, bus, chip }
        }
        fn write(&self, register: u64, value: u64) {
            self.chip.registers().write(0, 4, register).unwrap();
            self.chip.registers().write(0x10, 4, value).unwrap();
        }
        fn read(&self, register: u64) -> u64 {
            self.chip.registers().write(0, 4, register).unwrap();
            self.chip.registers().read(0x10, 4).unwrap()
        }
        fn take(&self) -> Option<u8> {
            let wanted = self.wires.pending().contains(Signals::INTERRUPT);
            wanted.then(|| self.wires.controller().unwrap().acknowledge())?
        }
        fn eoi(&self) {
            self.bus.mmio().write(0xb0, 4, 0).unwrap();
        }
    }

    #[test]
    fn registers_after_reset() {
        let rig = Rig::new();
        rig.write(0, 0xffff_ffff);
        assert_eq!((rig.read(0), rig.read(1), rig.read(2)), (0x0f00_0000, 0x0017_0020, 0x0f00_0000));
        assert_eq!((rig.read(0x10), rig.read(0x3e), rig.read(0x40), rig.read(3)), (0x10000, 0x10000, 0, 0));
        rig.write(0x12, 0xffff_ffff);
        rig.write(0x13, 0xffff_ffff);
        assert_eq!((rig.read(0x12), rig.read(0x13)), (0x1_afff, 0xff00_0000));
        rig.chip.reset();
        assert_eq!((rig.read(0x12), rig.read(0)), (0x10000, 0));
    }

    #[test]
    fn an_edge_is_one_interrupt() {
        let rig = Rig::new();
        rig.chip.input(4).pulse();
        rig.write(0x18, 0x34);
        assert_eq!(rig.take(), None, "edges on masked inputs are lost");
        rig.chip.input(4).raise();
        rig.chip.input(4).raise();
        assert_eq!(rig.take(), Some(0x34));
        rig.eoi();
        assert_eq!(rig.take(), None);
    }

    #[test]
    fn a_level_interrupts_until_it_falls() {
        let rig = Rig::new();
        rig.chip.input(11).raise();
        rig.write(0x26, 0x8051);
        assert_eq!((rig.take(), rig.read(0x26)), (Some(0x51), 0xc051));
        assert_eq!(rig.take(), None, "one at a time");
        rig.eoi();
        assert_eq!(rig.take(), Some(0x51));
        rig.chip.input(11).lower();
        rig.eoi();
        assert_eq!((rig.take(), rig.read(0x26)), (None, 0x8051));
    }

    #[test]
    fn the_end_can_be_written_to_the_chip() {
        let rig = Rig::new();
        rig.write(0x26, 0x8051);
        rig.chip.input(11).raise();
        rig.chip.input(11).lower();
        rig.chip.registers().write(0x40, 4, 0x51).unwrap();
        assert_eq!(rig.read(0x26), 0x8051);
        rig.chip.input(11).raise();
        rig.write(0x26, 0x1_0051);
        assert_eq!(rig.read(0x26), 0x1_0051, "an edge has no remote request");
    }

    #[test]
    fn other_deliveries() {
        let rig = Rig::new();
        rig.write(0x14, 0x400);
        rig.chip.input(2).raise();
        assert_eq!(rig.wires.take(Signals::NMI), Signals::NMI);
        rig.bus.set_pic(|| 0x77);
        rig.write(0x10, 0x700);
        rig.chip.input(0).raise();
        assert_eq!(rig.take(), Some(0x77));
    }

    #[test]
    fn saved_state_comes_back() {
        let rig = Rig::new();
        rig.write(0x26, 0x1_8051);
        rig.chip.input(11).raise();
        let mut state = rig.chip.save();
        let other = Rig::new();
        other.chip.restore(&state).unwrap();
        other.write(0x26, 0x8051);
        assert_eq!(other.take(), Some(0x51));
        state.table[3] = entry::STATUS;
        assert!(other.chip.restore(&state).is_err());
    }

    #[test]
    fn random_accesses() {
        let rig = Rig::new();
        let registers =
            [Registers::new(rig.chip.registers(), 0x44, &[4]), Registers::new(rig.chip.registers(), 0x14, &[4])];
        hammer(5, 50_000, &registers, &rig.clock, |random| {
            rig.chip.input(random.below(30) as u32).set(random.below(2) == 0);
            rig.take();
            rig.eoi();
        });
        rig.chip.restore(&rig.chip.save()).unwrap();
    }
}
