//! The pair of 8259A interrupt controllers of a PC, with the edge/level registers of PCI chipsets.
//!
//! References: Intel 8259A datasheet (order number 231468), Intel 82371 (PIIX) datasheet for ELCR.

use isamorph_device::{BadState, Device, Exclusive, Line, LineSink, Snapshot};
use isamorph_space::{Io, IoError};
use std::sync::Arc;

/// Input of the first controller that the second one's output is wired to.
const CASCADE: u8 = 2;

/// What the next write to the data port is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expect {
    /// The interrupt mask.
    Mask,
    /// ICW2: vector base.
    Base,
    /// ICW3: wiring of the cascade.
    Wiring,
    /// ICW4: mode.
    Mode,
}

/// One 8259A.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chip {
    /// Interrupt request register.
    irr: u8,
    /// In-service register.
    isr: u8,
    /// Interrupt mask register.
    imr: u8,
    /// Levels of the inputs.
    levels: u8,
    /// Inputs that are sensitive to the level instead of the edge.
    elcr: u8,
    /// Bits of `elcr` that can be set.
    elcr_mask: u8,
    /// Vector of input 0.
    base: u8,
    /// The input of highest priority.
    first: u8,
    expect: Expect,
    /// ICW1 announced an ICW4, and said that there is no cascade.
    has_mode_word: bool,
    single: bool,
    auto_eoi: bool,
    rotate_on_auto_eoi: bool,
    special_fully_nested: bool,
    special_mask: bool,
    /// Reads of the command port give the ISR instead of the IRR.
    read_isr: bool,
    /// The next read polls.
    poll: bool,
    /// It is the first of the pair.
    is_first: bool,
}

impl Chip {
    const fn new(is_first: bool) -> Self {
        Chip {
            irr: 0,
            isr: 0,
            imr: 0,
            levels: 0,
            elcr: 0,
            // The timer, the keyboard, the cascade, the clock and the coprocessor are edges whatever software says.
            elcr_mask: if is_first { 0xf8 } else { 0xde },
            base: 0,
            first: 0,
            expect: Expect::Mask,
            has_mode_word: false,
            single: false,
            auto_eoi: false,
            rotate_on_auto_eoi: false,
            special_fully_nested: false,
            special_mask: false,
            read_isr: false,
            poll: false,
            is_first,
        }
    }
    /// As after power-on; the levels of the inputs are not the chip's, and the level registers are the chipset's.
    fn reset(&mut self) {
        let Chip { levels, .. } = *self;
        *self = Chip { levels, ..Chip::new(self.is_first) };
        self.irr = self.levels & self.elcr;
    }
    /// Begins initialisation (ICW1).
    fn initialise(&mut self, word: u8) {
        let Chip { levels, elcr, .. } = *self;
        *self = Chip { levels, elcr, ..Chip::new(self.is_first) };
        self.irr = levels & elcr;
        self.expect = Expect::Base;
        self.has_mode_word = word & 1 != 0;
        self.single = word & 2 != 0;
    }
    fn set_input(&mut self, input: u8, level: bool) {
        let bit = 1 << input;
        let rises = level && self.levels & bit == 0;
        if self.elcr & bit != 0 {
            self.irr = if level { self.irr | bit } else { self.irr & !bit };
        } else if rises {
            self.irr |= bit;
        }
        self.levels = if level { self.levels | bit } else { self.levels & !bit };
    }
    /// Distance from the input of highest priority to the first set bit; 8 if none is set.
    fn priority(&self, bits: u8) -> u8 {
        bits.rotate_right(self.first.into()).trailing_zeros() as u8
    }
    /// The input whose interrupt is to be delivered.
    fn pending(&self) -> Option<u8> {
        let wanted = self.priority(self.irr & !self.imr);
        let mut serving = if self.special_mask { self.isr & !self.imr } else { self.isr };
        if self.special_fully_nested && self.is_first {
            serving &= !(1 << CASCADE);
        }
        (wanted < 8 && wanted < self.priority(serving)).then_some((wanted + self.first) & 7)
    }
    /// The processor takes the interrupt of an input.
    fn serve(&mut self, input: u8) {
        let bit = 1 << input;
        if !self.auto_eoi {
            self.isr |= bit;
        } else if self.rotate_on_auto_eoi {
            self.first = (input + 1) & 7;
        }
        if self.elcr & bit == 0 {
            self.irr &= !bit;
        }
    }
    fn write_command(&mut self, word: u8) {
        if word & 0x10 != 0 {
            self.initialise(word);
        } else if word & 8 != 0 {
            self.write_ocw3(word);
        } else {
            self.end_of_interrupt(word >> 5, word & 7);
        }
    }
    fn write_ocw3(&mut self, word: u8) {
        self.poll = word & 4 != 0;
        if word & 2 != 0 {
            self.read_isr = word & 1 != 0;
        }
        if word & 0x40 != 0 {
            self.special_mask = word & 0x20 != 0;
        }
    }
    /// OCW2.
    fn end_of_interrupt(&mut self, command: u8, level: u8) {
        match command {
            0 | 4 => self.rotate_on_auto_eoi = command == 4,
            1 | 5 => {
                let highest = self.priority(self.isr);
                if highest < 8 {
                    let input = (highest + self.first) & 7;
                    self.isr &= !(1 << input);
                    if command == 5 {
                        self.first = (input + 1) & 7;
                    }
                }
            }
            3 => self.isr &= !(1 << level),
            6 => self.first = (level + 1) & 7,
            7 => {
                self.isr &= !(1 << level);
                self.first = (level + 1) & 7;
            }
            _ => {}
        }
    }
    fn write_data(&mut self, word: u8) {
        self.expect = match self.expect {
            Expect::Mask => {
                self.imr = word;
                Expect::Mask
            }
            Expect::Base => {
                self.base = word & 0xf8;
                match (self.single, self.has_mode_word) {
                    (false, _) => Expect::Wiring,
                    (true, true) => Expect::Mode,
                    (true, false) => Expect::Mask,
                }
            }
            Expect::Wiring => {
                if self.has_mode_word {
                    Expect::Mode
                } else {
                    Expect::Mask
                }
            }
            Expect::Mode => {
                self.special_fully_nested = word & 0x10 != 0;
                self.auto_eoi = word & 2 != 0;
                Expect::Mask
            }
        };
    }
    fn read_command(&self) -> u8 {
        if self.read_isr { self.isr } else { self.irr }
    }
}

/// What the registers of both are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    chips: [Chip; 2],
}

impl Pair {
    const fn new() -> Self {
        Pair { chips: [Chip::new(true), Chip::new(false)] }
    }
    /// Passes the second controller's output on and gives the first one's. The cascade is a level: a request that is
    /// withdrawn behind it is withdrawn before it too.
    fn output(&mut self) -> bool {
        let cascade = u8::from(self.chips[1].pending().is_some()) << CASCADE;
        self.chips[0].irr = self.chips[0].irr & !(1 << CASCADE) | cascade;
        self.chips[0].pending().is_some()
    }
    /// The vector of the interrupt that the processor takes now. One that is gone by then is the spurious input 7.
    fn acknowledge(&mut self) -> u8 {
        let Some(input) = self.chips[0].pending() else { return self.chips[0].base | 7 };
        self.chips[0].serve(input);
        if input != CASCADE {
            return self.chips[0].base | input;
        }
        let Some(input) = self.chips[1].pending() else { return self.chips[1].base | 7 };
        self.chips[1].serve(input);
        self.chips[1].base | input
    }
    /// A poll takes an interrupt as the processor's acknowledgement would.
    fn poll(&mut self, which: usize) -> u8 {
        self.chips[which].poll = false;
        match self.chips[which].pending() {
            Some(input) => {
                self.chips[which].serve(input);
                0x80 | input
            }
            None => 0,
        }
    }
}

/// The pair. Inputs 0 to 7 are the first controller's, 8 to 15 the second's; input 2 is the cascade.
pub struct Pic {
    state: Exclusive<Pair>,
    output: Line,
}

impl Pic {
    /// A pair whose interrupt output is that line.
    pub fn new(output: Line) -> Arc<Self> {
        Arc::new(Pic { state: Exclusive::new(Pair::new()), output })
    }
    /// A wire to an input, 0 to 15.
    pub fn input(self: &Arc<Self>, number: u32) -> Line {
        Line::new(self.clone(), number)
    }
    fn change<R>(&self, f: impl FnOnce(&mut Pair) -> R) -> Result<R, IoError> {
        let mut pair = self.state.enter()?;
        let result = f(&mut pair);
        let level = pair.output();
        self.output.set(level);
        Ok(result)
    }
    /// The processor acknowledges: gives the vector to deliver.
    pub fn acknowledge(&self) -> u8 {
        self.change(Pair::acknowledge).unwrap_or(7)
    }
    /// The registers at 0x20 and 0xa0: two bytes each. `which` is 0 or 1.
    pub fn ports(self: &Arc<Self>, which: usize) -> Arc<dyn Io> {
        Arc::new(Ports { pic: self.clone(), which })
    }
    /// The edge/level registers at 0x4d0: two bytes.
    pub fn level_ports(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(LevelPorts(self.clone()))
    }
    /// Request, service and mask registers of both controllers, as the monitor shows them.
    pub fn registers(&self) -> [[u8; 4]; 2] {
        let show = |chip: &Chip| [chip.irr, chip.imr, chip.isr, chip.elcr];
        self.state.enter().map_or([[0; 4]; 2], |pair| [show(&pair.chips[0]), show(&pair.chips[1])])
    }
}

impl LineSink for Pic {
    fn set(&self, input: u32, level: bool) {
        // A line that is driven out of this chip's own output cannot lead back here.
        let _ = self.change(|pair| pair.chips[(input >> 3 & 1) as usize].set_input((input & 7) as u8, level));
    }
}

impl Device for Pic {
    fn name(&self) -> &str {
        "i8259"
    }
    fn reset(&self) {
        if let Ok(mut pair) = self.state.enter() {
            pair.chips.iter_mut().for_each(Chip::reset);
        }
    }
    fn drive(&self) {
        let _ = self.change(|_| ());
    }
}

impl Snapshot for Pic {
    type State = Pair;
    fn save(&self) -> Pair {
        self.state.enter().map_or(Pair::new(), |pair| pair.clone())
    }
    fn restore(&self, saved: &Pair) -> Result<(), BadState> {
        for (chip, fresh) in saved.chips.iter().zip(&Pair::new().chips) {
            let wired = chip.is_first == fresh.is_first && chip.elcr_mask == fresh.elcr_mask;
            BadState::unless(wired && chip.elcr & !chip.elcr_mask == 0, "level inputs")?;
            BadState::unless(chip.base & 7 == 0 && chip.first < 8, "vectors")?;
        }
        if let Ok(mut pair) = self.state.enter() {
            pair.clone_from(saved);
        }
        Ok(())
    }
}

struct Ports {
    pic: Arc<Pic>,
    which: usize,
}

impl Io for Ports {
    fn read(&self, offset: u64, _size: u32) -> Result<u64, IoError> {
        self.pic.change(|pair| {
            let chip = &pair.chips[self.which];
            u64::from(match offset {
                _ if chip.poll => pair.poll(self.which),
                0 => chip.read_command(),
                _ => chip.imr,
            })
        })
    }
    fn write(&self, offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        self.pic.change(|pair| {
            let chip = &mut pair.chips[self.which];
            if offset == 0 { chip.write_command(value as u8) } else { chip.write_data(value as u8) }
        })
    }
}

struct LevelPorts(Arc<Pic>);

impl Io for LevelPorts {
    fn read(&self, offset: u64, _size: u32) -> Result<u64, IoError> {
        Ok(self.0.state.enter()?.chips[(offset & 1) as usize].elcr.into())
    }
    fn write(&self, offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        self.0.change(|pair| {
            let chip = &mut pair.chips[(offset & 1) as usize];
            chip.elcr = value as u8 & chip.elcr_mask;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Registers, hammer};
    use isamorph_device::{ManualClock, Probe};

    struct Rig {
        pic: Arc<Pic>,
        output: Arc<Probe>,
    }

    impl Rig {
        /// A pair with vectors 0x08 and 0x70 as a BIOS sets them up, nothing masked.
        fn new() -> Self {
            let (output, line) = Probe::new();
            let rig = Rig { pic: Pic::new(line), output };
            for (which, base, wiring) in [(0, 0x08, 4), (1, 0x70, 2)] {
                rig.write(which, 0, 0x11);
                [base, wiring, 1, 0].into_iter().for_each(|word| rig.write(which, 1, word));
            }
            rig
        }
        fn write(&self, which: usize, offset: u64, value: u64) {
            self.pic.ports(which).write(offset, 1, value).unwrap();
        }
        fn read(&self, which: usize, offset: u64) -> u64 {
            self.pic.ports(which).read(offset, 1).unwrap()
        }
        /// The vectors that are delivered until nothing is pending.
        fn take_all(&self) -> Vec<u8> {
            std::iter::from_fn(|| self.output.is_high().then(|| self.pic.acknowledge())).collect()
        }
    }

    #[test]
    fn an_edge_is_delivered_once() {
        let rig = Rig::new();
        rig.pic.input(0).raise();
        assert_eq!(rig.take_all(), [0x08]);
        rig.write(0, 0, 0x20);
        assert_eq!(rig.take_all(), [0u8; 0]);
        rig.pic.input(0).lower();
        rig.pic.input(0).pulse();
        assert_eq!(rig.take_all(), [0x08]);
    }

    #[test]
    fn a_level_is_delivered_until_it_falls() {
        let rig = Rig::new();
        rig.pic.level_ports().write(1, 1, 0x08).unwrap();
        rig.pic.input(11).raise();
        for _ in 0..2 {
            assert_eq!(rig.take_all(), [0x73]);
            rig.write(1, 0, 0x20);
            rig.write(0, 0, 0x20);
        }
        rig.pic.input(11).lower();
        assert_eq!(rig.take_all(), [0u8; 0]);
    }

    #[test]
    fn lower_numbers_interrupt_higher_ones() {
        let rig = Rig::new();
        rig.pic.input(4).raise();
        assert_eq!(rig.take_all(), [0x0c]);
        rig.pic.input(5).raise();
        assert_eq!(rig.take_all(), [0u8; 0], "it waits for the end of the interrupt that is served");
        rig.pic.input(1).raise();
        rig.pic.input(8).raise();
        assert_eq!(rig.take_all(), [0x09], "the second controller is behind input 2");
        rig.write(0, 0, 0x20);
        assert_eq!(rig.take_all(), [0x70]);
        rig.write(0, 0, 0x62);
        assert_eq!(rig.read(0, 0), 0x20, "request 5 is left");
        rig.write(0, 0, 0x0b);
        assert_eq!(rig.read(0, 0), 0x10, "4 is in service");
    }

    #[test]
    fn masked_requests_wait() {
        let rig = Rig::new();
        rig.write(0, 1, 0x02);
        rig.pic.input(1).raise();
        assert!(!rig.output.is_high());
        rig.write(0, 1, 0);
        assert_eq!(rig.take_all(), [0x09]);
        assert_eq!(rig.read(0, 1), 0);
    }

    #[test]
    fn every_request_behind_the_cascade_arrives() {
        let rig = Rig::new();
        rig.write(0, 0, 0x11);
        [0x08, 4, 3, 0].into_iter().for_each(|word| rig.write(0, 1, word));
        rig.write(1, 0, 0x11);
        [0x70, 2, 3, 0].into_iter().for_each(|word| rig.write(1, 1, word));
        rig.pic.input(9).raise();
        rig.pic.input(12).raise();
        assert_eq!(rig.take_all(), [0x71, 0x74], "both end their interrupts by themselves");
    }

    #[test]
    fn a_request_that_is_gone_is_spurious() {
        let rig = Rig::new();
        rig.pic.level_ports().write(0, 1, 0x20).unwrap();
        rig.pic.input(5).raise();
        rig.pic.input(5).lower();
        assert_eq!(rig.pic.acknowledge(), 0x0f);
        rig.write(0, 0, 0x0b);
        assert_eq!(rig.read(0, 0), 0, "nothing is in service");
    }

    #[test]
    fn priorities_rotate() {
        let rig = Rig::new();
        rig.pic.input(3).raise();
        assert_eq!(rig.take_all(), [0x0b]);
        rig.write(0, 0, 0xa0);
        rig.pic.input(1).raise();
        rig.pic.input(6).raise();
        assert_eq!(rig.pic.acknowledge(), 0x0e, "4 is the first now");
    }

    #[test]
    fn some_inputs_are_edges_whatever_is_written() {
        let rig = Rig::new();
        let levels = rig.pic.level_ports();
        levels.write(0, 1, 0xff).unwrap();
        levels.write(1, 1, 0xff).unwrap();
        assert_eq!([levels.read(0, 1), levels.read(1, 1)], [Ok(0xf8), Ok(0xde)]);
    }

    #[test]
    fn polling_takes_the_interrupt() {
        let rig = Rig::new();
        rig.pic.input(6).raise();
        rig.write(0, 0, 0x0c);
        assert_eq!(rig.read(0, 0), 0x86);
        assert!(!rig.output.is_high());
        rig.write(0, 0, 0x0c);
        assert_eq!(rig.read(0, 0), 0);
    }

    #[test]
    fn reset_forgets_everything_but_the_levels() {
        let rig = Rig::new();
        rig.pic.input(4).raise();
        rig.pic.reset();
        rig.pic.drive();
        assert!(!rig.output.is_high());
        assert_eq!(rig.pic.registers(), [[0; 4]; 2]);
        rig.pic.input(4).raise();
        assert!(!rig.output.is_high(), "it was high before: no edge");
    }

    #[test]
    fn saved_state_comes_back() {
        let rig = Rig::new();
        rig.pic.input(5).raise();
        let mut state = rig.pic.save();
        let other = Rig::new();
        other.pic.restore(&state).unwrap();
        other.pic.drive();
        assert_eq!((other.pic.save(), other.take_all()), (state.clone(), vec![0x0d]));
        state.chips[1].first = 8;
        assert_eq!(other.pic.restore(&state), Err(BadState("vectors")));
    }

    #[test]
    fn random_accesses() {
        let rig = Rig::new();
        let registers =
            [rig.pic.ports(0), rig.pic.ports(1), rig.pic.level_ports()].map(|io| Registers::new(io, 2, &[1]));
        hammer(11, 50_000, &registers, &ManualClock::new(), |random| {
            rig.pic.input(random.below(20) as u32).set(random.below(2) == 0);
            rig.pic.acknowledge();
        });
        rig.pic.restore(&rig.pic.save()).unwrap();
    }
}
