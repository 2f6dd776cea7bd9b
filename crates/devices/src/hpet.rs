//! The high precision event timer.
//!
//! References: IA-PC HPET Specification, revision 1.0a (October 2004).
//!
//! Nothing is counted: what the counter shows follows from the clock, and the host's timer is armed for the earliest
//! comparator. In legacy replacement mode the first two timers take the place of the PIT and the RTC on their interrupt
//! lines; so those chips drive inputs of this one.

use isamorph_device::{BadState, Clock, Device, Dma, Exclusive, Line, LineSink, Snapshot, Timer};
use isamorph_space::{Io, IoError};
use std::sync::{Arc, OnceLock, Weak};

/// Comparators.
const TIMERS: usize = 3;
/// Nanoseconds per tick.
const TICK: u64 = 10;
/// Period in femtoseconds; legacy replacement, 64 bits, three timers, revision 1.
const CAPABILITIES: u64 = (TICK * 1_000_000) << 32 | 0x8086_8000 | 1 << 13 | (TIMERS as u64 - 1) << 8 | 1;
/// A periodic timer that is faster than this, in ticks, would do nothing but interrupt: it ticks so often at most.
const SHORTEST_PERIOD: u64 = 1000;

/// Register offsets.
mod reg {
    pub const CAPABILITIES: u64 = 0;
    pub const CONFIG: u64 = 0x10;
    pub const STATUS: u64 = 0x20;
    pub const COUNTER: u64 = 0xf0;
    pub const TIMERS: u64 = 0x100;
    /// In a timer's block of 32 bytes.
    pub const TIMER_CONFIG: u64 = 0;
    pub const COMPARATOR: u64 = 8;
    pub const MESSAGE: u64 = 0x10;
}

/// Bits of the general configuration.
const ENABLED: u64 = 1;
const LEGACY: u64 = 2;

/// Bits of a timer's configuration.
mod config {
    pub const LEVEL: u64 = 1 << 1;
    pub const INTERRUPT: u64 = 1 << 2;
    pub const PERIODIC: u64 = 1 << 3;
    pub const CAN_REPEAT: u64 = 1 << 4;
    pub const HAS_64_BITS: u64 = 1 << 5;
    pub const SET_VALUE: u64 = 1 << 6;
    pub const IN_32_BITS: u64 = 1 << 8;
    pub const ROUTE: u64 = 0x3e00;
    pub const MESSAGE: u64 = 1 << 14;
    pub const CAN_MESSAGE: u64 = 1 << 15;
    pub const WRITABLE: u64 = LEVEL | INTERRUPT | PERIODIC | SET_VALUE | IN_32_BITS | ROUTE | MESSAGE;
}

/// One comparator.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Comparator {
    config: u64,
    value: u64,
    period: u64,
    /// Where its message goes: address above, data below.
    message: u64,
    /// When it matches next, on the clock.
    next: Option<u64>,
}

impl Comparator {
    fn is(&self, bit: u64) -> bool {
        self.config & bit != 0
    }
    fn width(&self) -> u64 {
        if self.is(config::IN_32_BITS) { u64::from(u32::MAX) } else { u64::MAX }
    }
    /// Finds the next match, `counter` being the counter at `now`.
    fn arm(&mut self, counter: u64, now: u64) {
        let ahead = self.value.wrapping_sub(counter) & self.width();
        self.next = ahead.checked_mul(TICK).and_then(|time| now.checked_add(time));
    }
    /// It has matched: finds the match after this one.
    fn advance(&mut self, counter: u64, now: u64) {
        if self.is(config::PERIODIC) {
            let period = self.period.max(SHORTEST_PERIOD);
            // Matches that nobody had time for are not made up for.
            let behind = counter.wrapping_sub(self.value) & self.width();
            let behind = if behind > self.width() / 2 { 0 } else { behind };
            let step = (behind / period + 1).wrapping_mul(period);
            self.value = self.value.wrapping_add(step) & self.width();
            self.arm(counter, now);
        } else {
            // One of 32 bits matches again when the counter has gone round.
            let round = self.is(config::IN_32_BITS).then_some((1u64 << 32) * TICK);
            self.next = self.next.zip(round).and_then(|(at, round)| at.checked_add(round));
        }
    }
}

/// What the registers are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    config: u64,
    status: u64,
    /// The counter at `since`, where it has stood since then or goes on from.
    counter: u64,
    since: u64,
    timers: [Comparator; TIMERS],
    /// Levels of the inputs from the PIT and the RTC.
    inputs: [bool; 2],
}

impl State {
    fn new(routes: u32, has_messages: bool) -> Self {
        let messages = if has_messages { config::CAN_MESSAGE } else { 0 };
        let config = u64::from(routes) << 32 | config::CAN_REPEAT | config::HAS_64_BITS | messages;
        let timer = Comparator { config, value: u64::MAX, period: 0, message: 0, next: None };
        let timers = std::array::from_fn(|_| timer.clone());
        State { config: 0, status: 0, counter: 0, since: 0, timers, inputs: [false; 2] }
    }
    fn counts(&self) -> bool {
        self.config & ENABLED != 0
    }
    fn is_legacy(&self) -> bool {
        self.config & LEGACY != 0
    }
    fn counter(&self, now: u64) -> u64 {
        let passed = if self.counts() { now.saturating_sub(self.since) / TICK } else { 0 };
        self.counter.wrapping_add(passed)
    }
    fn arm_all(&mut self, now: u64) {
        let (counter, counts) = (self.counter(now), self.counts());
        for timer in &mut self.timers {
            timer.next = None;
            if counts {
                timer.arm(counter, now);
            }
        }
    }
    fn timer_at(offset: u64) -> Option<(usize, u64)> {
        let at = offset.checked_sub(reg::TIMERS)?;
        Some(((at / 32) as usize, at & 0x18)).filter(|(number, _)| *number < TIMERS)
    }
    /// Reads a register of eight bytes.
    fn read(&self, offset: u64, now: u64) -> u64 {
        match (offset, Self::timer_at(offset)) {
            (reg::CAPABILITIES, _) => CAPABILITIES,
            (reg::CONFIG, _) => self.config,
            (reg::STATUS, _) => self.status,
            (reg::COUNTER, _) => self.counter(now),
            (_, Some((number, reg::TIMER_CONFIG))) => self.timers[number].config,
            (_, Some((number, reg::COMPARATOR))) => self.timers[number].value & self.timers[number].width(),
            (_, Some((number, reg::MESSAGE))) => self.timers[number].message,
            _ => 0,
        }
    }
    /// Writes the bits of `mask` in a register of eight bytes.
    fn write(&mut self, offset: u64, value: u64, mask: u64, now: u64) {
        match (offset, Self::timer_at(offset)) {
            (reg::CONFIG, _) => {
                self.counter = self.counter(now);
                self.since = now;
                let config = (self.config & !mask | value & mask) & (ENABLED | LEGACY);
                let before = std::mem::replace(&mut self.config, config);
                if (before ^ self.config) & ENABLED != 0 {
                    self.arm_all(now);
                }
            }
            // Written ones clear.
            (reg::STATUS, _) => self.status &= !(value & mask),
            (reg::COUNTER, _) => {
                self.counter = self.counter(now) & !mask | value & mask;
                self.since = now;
                self.arm_all(now);
            }
            (_, Some((number, register))) => self.write_timer(number, register, value, mask, now),
            _ => {}
        }
    }
    fn write_timer(&mut self, number: usize, register: u64, value: u64, mask: u64, now: u64) {
        let (counter, counts) = (self.counter(now), self.counts());
        let timer = &mut self.timers[number];
        match register {
            reg::TIMER_CONFIG => {
                let can_message = if timer.is(config::CAN_MESSAGE) { !0 } else { !config::MESSAGE };
                let mask = mask & config::WRITABLE & can_message;
                timer.config = timer.config & !mask | value & mask;
                let width = timer.width();
                (timer.value, timer.period) = (timer.value & width, timer.period & width);
            }
            reg::COMPARATOR => {
                let mask = mask & timer.width();
                let repeats = timer.is(config::PERIODIC);
                if !repeats || timer.is(config::SET_VALUE) {
                    timer.value = timer.value & !mask | value & mask;
                }
                if repeats {
                    timer.period = timer.period & !mask | value & mask;
                }
                timer.config &= !config::SET_VALUE;
            }
            reg::MESSAGE => timer.message = timer.message & !mask | value & mask,
            _ => return,
        }
        if counts && register != reg::MESSAGE {
            timer.arm(counter, now);
        }
    }
}

/// The timer block.
pub struct Hpet {
    state: Exclusive<State>,
    clock: Arc<dyn Clock>,
    lines: Vec<Line>,
    legacy: [Line; 2],
    messages: Option<Dma>,
    routes: u32,
    timer: OnceLock<Timer>,
}

impl Hpet {
    /// A timer block. `lines` are the inputs of the I/O APIC, of which those in the set `routes` can be chosen;
    /// `legacy` the lines of the PIT and of the RTC. Timers can send messages if there is a way for them.
    pub fn new(
        clock: &Arc<dyn Clock>,
        lines: Vec<Line>,
        routes: u32,
        legacy: [Line; 2],
        messages: Option<Dma>,
    ) -> Arc<Self> {
        let state = Exclusive::new(State::new(routes, messages.is_some()));
        let clock = clock.clone();
        let hpet = Arc::new(Hpet { state, clock, lines, legacy, messages, routes, timer: OnceLock::new() });
        let weak: Weak<Hpet> = Arc::downgrade(&hpet);
        let _ = hpet.timer.set(Timer::new(&hpet.clock, move || {
            weak.upgrade().into_iter().for_each(|hpet| hpet.drive());
        }));
        hpet
    }
    /// The registers: 1 KiB, accessed four or eight bytes at a time.
    pub fn registers(self: &Arc<Self>) -> Arc<dyn Io> {
        self.clone()
    }
    /// The wire for the PIT's output.
    pub fn pit_input(self: &Arc<Self>) -> Line {
        Line::new(self.clone(), 0)
    }
    /// The wire for the RTC's output.
    pub fn rtc_input(self: &Arc<Self>) -> Line {
        Line::new(self.clone(), 1)
    }
    fn change<R>(&self, f: impl FnOnce(&mut State, u64) -> R) -> Result<R, IoError> {
        let mut state = self.state.enter()?;
        let now = self.clock.now();
        let before = (state.is_legacy(), state.status);
        let result = f(&mut state, now);
        self.route(&state, before);
        self.run(&mut state, now);
        if let Some(timer) = self.timer.get() {
            let used = state.timers.iter().filter(|timer| timer.is(config::INTERRUPT));
            match used.filter_map(|timer| timer.next).min() {
                Some(at) => timer.set(at),
                None => timer.cancel(),
            }
        }
        Ok(result)
    }
    /// The line of a timer.
    fn line(&self, state: &State, number: usize) -> Option<&Line> {
        if state.is_legacy() && number < 2 {
            return Some(&self.legacy[number]);
        }
        let route = (state.timers[number].config & config::ROUTE) >> 9;
        self.lines.get(route as usize).filter(|_| self.routes >> route & 1 != 0)
    }
    /// Lowers lines whose reason has gone, and passes on what the PIT and the RTC say, or no longer.
    fn route(&self, state: &State, (was_legacy, status): (bool, u64)) {
        for number in (0..TIMERS).filter(|number| status & !state.status & 1 << number != 0) {
            self.line(state, number).into_iter().for_each(Line::lower);
        }
        if was_legacy != state.is_legacy() {
            let level = |input: bool| input && !state.is_legacy();
            self.legacy.iter().zip(state.inputs).for_each(|(line, input)| line.set(level(input)));
        }
    }
    /// Serves the comparators that have matched.
    fn run(&self, state: &mut State, now: u64) {
        let counter = state.counter(now);
        for number in 0..TIMERS {
            if state.timers[number].next.is_none_or(|at| at > now) {
                continue;
            }
            state.timers[number].advance(counter, now);
            self.interrupt(state, number);
        }
    }
    fn interrupt(&self, state: &mut State, number: usize) {
        let timer = &state.timers[number];
        if !timer.is(config::INTERRUPT) {
            return;
        }
        if timer.is(config::MESSAGE) {
            let (address, data) = (timer.message >> 32, timer.message as u32);
            // A message that nobody takes is lost, as on the bus.
            let _ = self.messages.as_ref().map(|way| way.write(address, &data.to_le_bytes()));
            return;
        }
        let level = timer.is(config::LEVEL);
        if level {
            state.status |= 1 << number;
        }
        if let Some(line) = self.line(state, number) {
            if level { line.raise() } else { line.pulse() }
        }
    }
}

impl LineSink for Hpet {
    fn set(&self, input: u32, level: bool) {
        if let Ok(mut state) = self.state.enter() {
            let input = (input & 1) as usize;
            state.inputs[input] = level;
            if !state.is_legacy() {
                self.legacy[input].set(level);
            }
        }
    }
}

impl Io for Hpet {
    fn read(&self, offset: u64, size: u32) -> Result<u64, IoError> {
        let state = self.state.enter()?;
        let value = state.read(offset & !7, self.clock.now()) >> (8 * (offset & 7));
        Ok(if size == 8 { value } else { value & 0xffff_ffff })
    }
    fn write(&self, offset: u64, size: u32, value: u64) -> Result<(), IoError> {
        let shift = 8 * (offset & 7);
        let mask = if size == 8 { u64::MAX } else { 0xffff_ffff << shift };
        self.change(|state, now| state.write(offset & !7, value << shift, mask, now))
    }
}

impl Device for Hpet {
    fn name(&self) -> &str {
        "hpet"
    }
    fn reset(&self) {
        if let Ok(mut state) = self.state.enter() {
            *state = State { inputs: state.inputs, ..State::new(self.routes, self.messages.is_some()) };
        }
    }
    fn drive(&self) {
        let _ = self.change(|_, _| ());
    }
}

impl Snapshot for Hpet {
    type State = State;
    fn save(&self) -> State {
        self.state.enter().map_or_else(|_| State::new(self.routes, false), |state| state.clone())
    }
    fn restore(&self, saved: &State) -> Result<(), BadState> {
        let fixed = State::new(self.routes, self.messages.is_some()).timers[0].config;
        let is_good = |timer: &Comparator| timer.config & !config::WRITABLE == fixed;
        BadState::unless(saved.timers.iter().all(is_good), "timer configuration")?;
        BadState::unless(saved.config < 4 && saved.status < 1 << TIMERS, "configuration")?;
        let messages = saved.timers.iter().any(|timer| timer.is(config::MESSAGE));
        BadState::unless(!messages || self.messages.is_some(), "messages")?;
        if let Ok(mut state) = self.state.enter() {
            state.clone_from(saved);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Registers, hammer};
    use isamorph_device::{ManualClock, Probe};

    struct Rig {
        clock: Arc<ManualClock>,
        hpet: Arc<Hpet>,
        /// Inputs 0 to 23 are the lines, 32 and 33 the legacy ones.
        probe: Arc<Probe>,
    }

    impl Rig {
        fn new() -> Self {
            let (clock, probe) = (ManualClock::new(), Arc::new(Probe::default()));
            let line = |n| Line::new(probe.clone(), n);
            let lines = (0..24).map(line).collect();
            let legacy = [line(32), line(33)];
            let hpet = Hpet::new(&(clock.clone() as Arc<dyn Clock>), lines, 0x104, legacy, None);
            Rig { clock, hpet, probe }
        }
        fn write(&self, offset: u64, value: u64) {
            self.hpet.registers().write(offset, 8, value).unwrap();
        }
        fn read(&self, offset: u64) -> u64 {
            self.hpet.registers().read(offset, 8).unwrap()
        }
    }

    #[test]
    fn registers_after_reset() {
        let rig = Rig::new();
        assert_eq!(rig.read(0), 0x0098_9680_8086_a201);
        assert_eq!(rig.hpet.registers().read(4, 4), Ok(10_000_000));
        assert_eq!((rig.read(0x10), rig.read(0xf0), rig.read(0x108)), (0, 0, u64::MAX));
        assert_eq!(rig.read(0x100), 0x104_0000_0030);
        rig.write(0x100, u64::MAX);
        assert_eq!(rig.read(0x100), 0x104_0000_3f7e, "no messages here");
    }

    #[test]
    fn the_counter_counts_while_enabled() {
        let rig = Rig::new();
        rig.clock.advance(1000);
        assert_eq!(rig.read(0xf0), 0);
        rig.write(0xf0, 50);
        rig.write(0x10, 1);
        rig.clock.advance(1000);
        assert_eq!(rig.read(0xf0), 150);
        rig.write(0x10, 0);
        rig.clock.advance(1000);
        assert_eq!(rig.read(0xf0), 150);
        rig.hpet.registers().write(0xf4, 4, 7).unwrap();
        assert_eq!(rig.read(0xf0), 7 << 32 | 150);
    }

    #[test]
    fn a_match_interrupts_once() {
        let rig = Rig::new();
        rig.write(0x100, 2 << 9 | config::INTERRUPT);
        rig.write(0x108, 100);
        rig.write(0x10, 1);
        rig.clock.advance(999);
        assert_eq!(rig.probe.edges(), 0);
        rig.clock.advance(1);
        assert_eq!((rig.probe.edges(), rig.probe.levels(), rig.read(0x20)), (1, 0, 0));
        rig.clock.advance(1_000_000_000);
        assert_eq!(rig.probe.edges(), 1);
        rig.write(0x120, 3 << 9 | config::INTERRUPT);
        rig.write(0x128, rig.read(0xf0) + 1);
        rig.clock.advance(100);
        assert_eq!(rig.probe.edges(), 1, "a route that it does not have");
    }

    #[test]
    fn levels_last_until_they_are_cleared() {
        let rig = Rig::new();
        rig.write(0x120, 8 << 9 | config::INTERRUPT | config::LEVEL);
        rig.write(0x128, 10);
        rig.write(0x10, 1);
        rig.clock.advance(100);
        assert_eq!((rig.probe.levels(), rig.read(0x20)), (1 << 8, 2));
        rig.write(0x20, 2);
        assert_eq!((rig.probe.levels(), rig.read(0x20)), (0, 0));
    }

    #[test]
    fn periodic_timers_repeat() {
        let rig = Rig::new();
        rig.write(0x10, 1);
        rig.write(0x100, 2 << 9 | config::INTERRUPT | config::PERIODIC | config::SET_VALUE | config::IN_32_BITS);
        rig.write(0x108, 5000);
        rig.write(0x108, 10_000);
        assert_eq!(rig.read(0x108), 5000);
        rig.clock.advance(50_000);
        assert_eq!((rig.probe.edges(), rig.read(0x108)), (1, 15_000));
        rig.clock.advance(1_000_000_000);
        assert_eq!(rig.probe.edges(), 10_001);
    }

    #[test]
    fn a_counter_of_32_bits_wraps() {
        let rig = Rig::new();
        rig.write(0xf0, 0xffff_ff00);
        rig.write(0x100, 2 << 9 | config::INTERRUPT | config::IN_32_BITS);
        rig.write(0x108, 0);
        rig.write(0x10, 1);
        rig.clock.advance(2560);
        assert_eq!(rig.probe.edges(), 1);
        rig.clock.advance((1 << 32) * TICK);
        assert_eq!(rig.probe.edges(), 2);
    }

    #[test]
    fn the_first_two_replace_pit_and_rtc() {
        let rig = Rig::new();
        let (pit, rtc) = (rig.hpet.pit_input(), rig.hpet.rtc_input());
        pit.raise();
        assert_eq!(rig.probe.levels(), 1 << 32);
        rig.write(0x10, 3);
        assert_eq!(rig.probe.levels(), 0);
        rtc.raise();
        assert_eq!(rig.probe.levels(), 0);
        let edges = rig.probe.edges();
        rig.write(0x100, config::INTERRUPT);
        rig.write(0x108, rig.read(0xf0) + 10);
        rig.clock.advance(100);
        assert_eq!(rig.probe.edges(), edges + 1);
        rig.write(0x10, 0);
        assert_eq!(rig.probe.levels(), 3 << 32);
    }

    #[test]
    fn messages_go_to_memory() {
        let map = isamorph_space::Map::new();
        let ram = isamorph_ram::RamBlock::new("ram", 4096, &isamorph_ram::Backing::Anonymous).unwrap();
        let root = map.update(|tree| tree.ram("ram", ram));
        let space = map.space("memory", root);
        let clock = ManualClock::new();
        let way = Dma::new(space.clone(), true);
        let hpet = Hpet::new(&(clock.clone() as Arc<dyn Clock>), vec![], 4, Default::default(), Some(way));
        hpet.write(0x100, 8, config::MESSAGE | config::INTERRUPT).unwrap();
        hpet.write(0x110, 8, 0x20 << 32 | 0x4041).unwrap();
        hpet.write(0x108, 8, 10).unwrap();
        hpet.write(0x10, 8, 1).unwrap();
        clock.advance(100);
        assert_eq!(space.load(0x20, 4), Ok(0x4041));
    }

    #[test]
    fn saved_state_comes_back() {
        let rig = Rig::new();
        rig.write(0x100, 2 << 9 | config::INTERRUPT);
        rig.write(0x108, 100);
        rig.write(0x10, 1);
        let mut state = rig.hpet.save();
        let other = Rig::new();
        other.hpet.restore(&state).unwrap();
        other.hpet.drive();
        other.clock.advance(1000);
        assert_eq!(other.probe.edges(), 1);
        state.timers[1].config = 0;
        assert_eq!(other.hpet.restore(&state), Err(BadState("timer configuration")));
    }

    #[test]
    fn random_accesses() {
        let rig = Rig::new();
        let registers = [Registers::new(rig.hpet.registers(), 0x160, &[4, 8])];
        let (pit, rtc) = (rig.hpet.pit_input(), rig.hpet.rtc_input());
        hammer(6, 20_000, &registers, &rig.clock, |random| {
            pit.set(random.below(2) == 0);
            rtc.set(random.below(2) == 0);
        });
        rig.hpet.restore(&rig.hpet.save()).unwrap();
    }
}
