//! The 8254 interval timer of a PC, with port 0x61, which gates its third counter and the speaker.
//!
//! References: Intel 82C54 datasheet (order number 231244).
//!
//! A counter is not counted: what it shows follows from the time at which it was started. Only the first one, whose
//! output is an interrupt, has a timer of the host, armed for the output's next edge.

use isamorph_device::{BadState, Clock, Device, Exclusive, Line, Snapshot, Timer};
use isamorph_space::{Io, IoError};
use std::sync::{Arc, OnceLock, Weak};

/// Frequency of the counters, hertz.
pub const FREQUENCY: u64 = 1_193_182;
const SECOND: u64 = 1_000_000_000;

fn ticks(nanoseconds: u64) -> u64 {
    (u128::from(nanoseconds) * u128::from(FREQUENCY) / u128::from(SECOND)) as u64
}

/// The first time at which that many ticks have passed.
fn nanoseconds(ticks: u64) -> u64 {
    (u128::from(ticks) * u128::from(SECOND)).div_ceil(u128::from(FREQUENCY)) as u64
}

/// Which bytes of a count are transferred, in the encoding of the control word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Access {
    Low,
    High,
    Both,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Counter {
    mode: u8,
    bcd: bool,
    access: Access,
    /// The count, 1 to 0x10000 (10000 in BCD); 0 while none was written since the control word.
    count: u32,
    /// When counting began.
    start: u64,
    gate: bool,
    /// Of a two-byte count or value, the second byte is next.
    second_write: bool,
    second_read: bool,
    low: u8,
    latched: Option<u16>,
    status: Option<u8>,
}

impl Counter {
    const fn new(gate: bool) -> Self {
        Counter {
            mode: 3,
            bcd: false,
            access: Access::Both,
            count: 0x10000,
            start: 0,
            gate,
            second_write: false,
            second_read: false,
            low: 0,
            latched: None,
            status: None,
        }
    }
    fn set_control(&mut self, word: u8) {
        self.access = match word >> 4 & 3 {
            1 => Access::Low,
            2 => Access::High,
            _ => Access::Both,
        };
        // Modes 6 and 7 are 2 and 3 (table 3-1).
        self.mode = if word >> 1 & 7 > 5 { word >> 1 & 3 } else { word >> 1 & 7 };
        self.bcd = word & 1 != 0;
        self.count = 0;
        (self.second_read, self.second_write) = (false, false);
        (self.latched, self.status) = (None, None);
    }
    fn period(&self) -> u32 {
        if self.bcd { 10000 } else { 0x10000 }
    }
    fn load(&mut self, raw: u16, now: u64) {
        let value = if self.bcd { from_bcd(raw) } else { raw.into() };
        self.count = if value == 0 { self.period() } else { value };
        self.start = now;
    }
    /// A byte of a count.
    fn write(&mut self, byte: u8, now: u64) {
        match self.access {
            Access::Low => self.load(byte.into(), now),
            Access::High => self.load(u16::from(byte) << 8, now),
            Access::Both if self.second_write => {
                self.second_write = false;
                self.load(u16::from_le_bytes([self.low, byte]), now);
            }
            Access::Both => {
                self.second_write = true;
                self.low = byte;
            }
        }
    }
    fn read(&mut self, now: u64) -> u8 {
        if let Some(status) = self.status.take() {
            return status;
        }
        let value = self.latched.unwrap_or_else(|| self.value(now)).to_le_bytes();
        let (byte, done) = match self.access {
            Access::Low => (value[0], true),
            Access::High => (value[1], true),
            Access::Both if self.second_read => (value[1], true),
            Access::Both => (value[0], false),
        };
        self.second_read = !done;
        if done {
            self.latched = None;
        }
        byte
    }
    fn latch(&mut self, now: u64) {
        if self.latched.is_none() {
            self.latched = Some(self.value(now));
        }
    }
    fn latch_status(&mut self, now: u64) {
        let access = match self.access {
            Access::Low => 1,
            Access::High => 2,
            Access::Both => 3,
        };
        let output = u8::from(self.output(now)) << 7;
        let null = u8::from(self.count == 0) << 6;
        self.status.get_or_insert(output | null | access << 4 | self.mode << 1 | u8::from(self.bcd));
    }
    /// Ticks since counting began.
    fn elapsed(&self, now: u64) -> u64 {
        ticks(now.saturating_sub(self.start))
    }
    /// What the counter shows.
    fn value(&self, now: u64) -> u16 {
        let (count, passed) = (u64::from(self.count.max(1)), self.elapsed(now));
        let period = u64::from(self.period());
        let value = match self.mode {
            2 => count - passed % count,
            // Counts down by two, twice a period.
            3 => (count - (2 * passed) % count) & !1,
            _ => (count + period - passed % period) % period,
        };
        let raw = (value % period) as u32;
        if self.bcd { to_bcd(raw) } else { raw as u16 }
    }
    /// The level of the output.
    fn output(&self, now: u64) -> bool {
        let (count, passed) = (u64::from(self.count), self.elapsed(now));
        if self.count == 0 {
            return self.mode != 0;
        }
        match self.mode {
            0 | 1 => passed >= count,
            2 => !self.gate || passed % count != count - 1,
            3 => !self.gate || passed % count < count.div_ceil(2),
            _ => passed != count,
        }
    }
    /// When the output changes next.
    fn next_edge(&self, now: u64) -> Option<u64> {
        let (count, passed) = (u64::from(self.count), self.elapsed(now));
        if self.count == 0 || (!self.gate && matches!(self.mode, 2 | 3)) {
            return None;
        }
        let turn = passed - passed % count;
        let at = match self.mode {
            0 | 1 => (passed < count).then_some(count),
            2 if passed % count < count - 1 => Some(turn + count - 1),
            3 if passed % count < count.div_ceil(2) => Some(turn + count.div_ceil(2)),
            2 | 3 => Some(turn + count),
            _ => [count, count + 1].into_iter().find(|at| *at > passed),
        };
        at.map(|at| self.start + nanoseconds(at))
    }
    /// The gate: a rising one starts the modes that wait for it, a level enables the others.
    fn set_gate(&mut self, gate: bool, now: u64) {
        if gate && !self.gate && matches!(self.mode, 1 | 2 | 3 | 5) {
            self.start = now;
        }
        self.gate = gate;
    }
}

fn from_bcd(raw: u16) -> u32 {
    (0..4).rev().fold(0, |value, digit| value * 10 + u32::from(raw >> (4 * digit) & 15))
}

fn to_bcd(value: u32) -> u16 {
    (0..4).fold(0, |raw, digit| raw | ((value / 10u32.pow(digit) % 10) as u16) << (4 * digit))
}

/// What the registers are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    counters: [Counter; 3],
    /// Bit 1 of port 0x61: the speaker follows the third counter.
    speaker: bool,
    /// Bit 4 of port 0x61 changes with every refresh of memory, about 15 µs; software waits for it.
    refresh: bool,
    /// The level of the first counter's output as it was last driven, and when that was.
    output: bool,
    driven: u64,
}

impl State {
    fn new() -> Self {
        State {
            counters: [Counter::new(true), Counter::new(true), Counter::new(false)],
            speaker: false,
            refresh: false,
            output: false,
            driven: 0,
        }
    }
    fn control(&mut self, word: u8, now: u64) {
        match (word >> 6, word >> 4 & 3) {
            (3, _) => {
                for (_, counter) in self.counters.iter_mut().enumerate().filter(|(n, _)| word >> (n + 1) & 1 != 0) {
                    if word & 0x20 == 0 {
                        counter.latch(now);
                    }
                    if word & 0x10 == 0 {
                        counter.latch_status(now);
                    }
                }
            }
            (which, 0) => self.counters[usize::from(which)].latch(now),
            (which, _) => self.counters[usize::from(which)].set_control(word),
        }
    }
}

/// The timer.
pub struct Pit {
    state: Exclusive<State>,
    clock: Arc<dyn Clock>,
    line: Line,
    timer: OnceLock<Timer>,
}

impl Pit {
    /// A timer whose first counter's output is that line.
    pub fn new(clock: &Arc<dyn Clock>, line: Line) -> Arc<Self> {
        let pit =
            Arc::new(Pit { state: Exclusive::new(State::new()), clock: clock.clone(), line, timer: OnceLock::new() });
        let weak: Weak<Pit> = Arc::downgrade(&pit);
        let _ = pit.timer.set(Timer::new(clock, move || {
            weak.upgrade().into_iter().for_each(|pit| pit.drive());
        }));
        pit
    }
    /// Drives the output through what has happened since it was driven last: a pulse that is over by now is an edge
    /// all the same. Of more than two pulses the others are lost, as for an interrupt controller that is busy.
    fn catch_up(&self, state: &mut State, now: u64) {
        for _ in 0..4 {
            let counter = &state.counters[0];
            let Some(at) = counter.next_edge(state.driven).filter(|at| *at <= now) else { break };
            let level = counter.output(at);
            state.driven = at;
            if std::mem::replace(&mut state.output, level) != level {
                self.line.set(level);
            }
        }
        state.driven = now;
    }
    /// Changes the state, then drives the output and arms the timer.
    fn change<R>(&self, f: impl FnOnce(&mut State, u64) -> R) -> Result<R, IoError> {
        let mut state = self.state.enter()?;
        let now = self.clock.now();
        self.catch_up(&mut state, now);
        let result = f(&mut state, now);
        let counter = &state.counters[0];
        let level = counter.output(now);
        if let Some(timer) = self.timer.get() {
            match counter.next_edge(now) {
                Some(at) => timer.set(at),
                None => timer.cancel(),
            }
        }
        if std::mem::replace(&mut state.output, level) != level {
            self.line.set(level);
        }
        Ok(result)
    }
    /// Counters 0 to 2 and the control word: four bytes at 0x40.
    pub fn ports(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(Ports(self.clone()))
    }
    /// Port 0x61: one byte.
    pub fn speaker_port(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(SpeakerPort(self.clone()))
    }
    /// The frequency of the speaker in hertz, if it sounds.
    pub fn tone(&self) -> Option<u32> {
        let state = self.state.enter().ok()?;
        let counter = &state.counters[2];
        let sounds = state.speaker && counter.gate && matches!(counter.mode, 2 | 3) && counter.count > 1;
        sounds.then(|| FREQUENCY as u32 / counter.count)
    }
}

impl Device for Pit {
    fn name(&self) -> &str {
        "i8254"
    }
    fn reset(&self) {
        if let Ok(mut state) = self.state.enter() {
            let output = state.output;
            *state = State { output, ..State::new() };
            let now = self.clock.now();
            state.driven = now;
            state.counters.iter_mut().for_each(|counter| counter.start = now);
        }
    }
    fn drive(&self) {
        let _ = self.change(|_, _| ());
    }
}

impl Snapshot for Pit {
    type State = State;
    fn save(&self) -> State {
        self.state.enter().map_or_else(|_| State::new(), |state| state.clone())
    }
    fn restore(&self, saved: &State) -> Result<(), BadState> {
        for counter in &saved.counters {
            BadState::unless(counter.mode < 6 && counter.count <= counter.period(), "counter")?;
        }
        if let Ok(mut state) = self.state.enter() {
            state.clone_from(saved);
        }
        Ok(())
    }
}

struct Ports(Arc<Pit>);

impl Io for Ports {
    fn read(&self, offset: u64, _size: u32) -> Result<u64, IoError> {
        // The control word cannot be read.
        self.0
            .change(|state, now| state.counters.get_mut(offset as usize).map_or(0, |counter| counter.read(now).into()))
    }
    fn write(&self, offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        self.0.change(|state, now| match state.counters.get_mut(offset as usize) {
            Some(counter) => counter.write(value as u8, now),
            None => state.control(value as u8, now),
        })
    }
}

struct SpeakerPort(Arc<Pit>);

impl Io for SpeakerPort {
    fn read(&self, _offset: u64, _size: u32) -> Result<u64, IoError> {
        self.0.change(|state, now| {
            state.refresh = !state.refresh;
            let counter = &state.counters[2];
            let bits = [(counter.gate, 0), (state.speaker, 1), (state.refresh, 4), (counter.output(now), 5)];
            bits.into_iter().map(|(on, bit)| u64::from(on) << bit).sum()
        })
    }
    fn write(&self, _offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        self.0.change(|state, now| {
            state.speaker = value & 2 != 0;
            state.counters[2].set_gate(value & 1 != 0, now);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Registers, hammer};
    use isamorph_device::{ManualClock, Probe};

    struct Rig {
        clock: Arc<ManualClock>,
        pit: Arc<Pit>,
        output: Arc<Probe>,
    }

    impl Rig {
        fn new() -> Self {
            let (clock, (output, line)) = (ManualClock::new(), Probe::new());
            let pit = Pit::new(&(clock.clone() as Arc<dyn Clock>), line);
            Rig { clock, pit, output }
        }
        fn write(&self, offset: u64, value: u64) {
            self.pit.ports().write(offset, 1, value).unwrap();
        }
        fn read(&self, offset: u64) -> u64 {
            self.pit.ports().read(offset, 1).unwrap()
        }
        fn program(&self, counter: u64, mode: u64, count: u64) {
            self.write(3, counter << 6 | 0x30 | mode << 1);
            self.write(counter, count & 0xff);
            self.write(counter, count >> 8);
        }
        fn value(&self, counter: u64) -> u64 {
            self.write(3, counter << 6);
            self.read(counter) | self.read(counter) << 8
        }
    }

    #[test]
    fn a_square_wave_interrupts_at_its_frequency() {
        let rig = Rig::new();
        rig.program(0, 3, 1193);
        let before = rig.output.edges();
        rig.clock.advance(SECOND);
        let edges = rig.output.edges() - before;
        assert!((999..=1001).contains(&edges), "{edges} edges in a second");
    }

    #[test]
    fn a_rate_generator_has_a_short_low_pulse() {
        let rig = Rig::new();
        rig.program(0, 2, 100);
        let before = rig.output.edges();
        rig.clock.advance(nanoseconds(1000));
        assert_eq!(rig.output.edges() - before, 10);
        assert!(rig.output.is_high());
        rig.clock.advance(nanoseconds(1099) - nanoseconds(1000));
        assert!(!rig.output.is_high());
    }

    #[test]
    fn a_pulse_that_is_over_when_the_timer_runs_is_an_edge() {
        let (clock, (output, line)) = (ManualClock::new(), Probe::new());
        let rig = Rig { pit: Pit::new(&(clock.clone() as Arc<dyn Clock>), line), clock: ManualClock::new(), output };
        rig.program(0, 2, 1193);
        let before = rig.output.edges();
        // The callback comes a tenth of a period late, each time.
        for _ in 0..100 {
            clock.skip(1_000_000);
            rig.pit.drive();
        }
        assert!((99..=100).contains(&(rig.output.edges() - before)), "{}", rig.output.edges() - before);
    }

    #[test]
    fn a_single_count_interrupts_once() {
        let rig = Rig::new();
        rig.program(0, 0, 50);
        assert!(!rig.output.is_high());
        rig.clock.advance(nanoseconds(49));
        assert!(!rig.output.is_high());
        rig.clock.advance(SECOND);
        assert!(rig.output.is_high());
    }

    #[test]
    fn values_count_down_and_latch() {
        let rig = Rig::new();
        rig.program(2, 0, 1000);
        rig.clock.advance(nanoseconds(300));
        assert_eq!(rig.value(2), 700);
        rig.write(3, 0x80);
        rig.clock.advance(nanoseconds(100));
        assert_eq!(rig.read(2) | rig.read(2) << 8, 700, "latched");
        assert_eq!(rig.value(2), 600);
    }

    #[test]
    fn bcd_counts_are_decimal() {
        let rig = Rig::new();
        rig.write(3, 0xb1);
        rig.write(2, 0x34);
        rig.write(2, 0x12);
        rig.clock.advance(nanoseconds(35));
        assert_eq!(rig.value(2), 0x1199);
    }

    #[test]
    fn status_is_read_back() {
        let rig = Rig::new();
        rig.write(3, 0x36);
        rig.write(3, 0xe2);
        assert_eq!(rig.read(0) & 0x7f, 0x76, "no count yet, both bytes, mode 3");
        rig.write(0, 0);
        rig.write(0, 0);
        rig.write(3, 0xe2);
        assert_eq!(rig.read(0), 0xb6);
    }

    #[test]
    fn the_third_counter_can_be_waited_for() {
        let rig = Rig::new();
        let port = rig.pit.speaker_port();
        port.write(0, 1, 1).unwrap();
        rig.program(2, 0, 11932);
        assert_eq!(port.read(0, 1).unwrap() & 0x20, 0);
        rig.clock.advance(10_100_000);
        assert_eq!(port.read(0, 1).unwrap() & 0x21, 0x21);
        let first = port.read(0, 1).unwrap() & 0x10;
        assert_ne!(port.read(0, 1).unwrap() & 0x10, first, "refresh toggles");
    }

    #[test]
    fn the_speaker_sounds_while_both_bits_are_set() {
        let rig = Rig::new();
        rig.program(2, 3, 1193);
        let port = rig.pit.speaker_port();
        port.write(0, 1, 1).unwrap();
        assert_eq!(rig.pit.tone(), None);
        port.write(0, 1, 3).unwrap();
        assert_eq!(rig.pit.tone(), Some(1000));
    }

    #[test]
    fn saved_state_comes_back() {
        let rig = Rig::new();
        rig.program(0, 2, 1000);
        rig.clock.advance(nanoseconds(300));
        let mut state = rig.pit.save();
        let other = Rig::new();
        other.clock.advance(nanoseconds(300));
        other.pit.restore(&state).unwrap();
        other.pit.drive();
        assert_eq!(other.value(0), 700);
        state.counters[2].mode = 6;
        assert_eq!(other.pit.restore(&state), Err(BadState("counter")));
    }

    #[test]
    fn random_accesses() {
        let rig = Rig::new();
        let registers = [Registers::new(rig.pit.ports(), 4, &[1]), Registers::new(rig.pit.speaker_port(), 1, &[1])];
        hammer(12, 10_000, &registers, &rig.clock, |_| _ = rig.pit.tone());
        rig.pit.restore(&rig.pit.save()).unwrap();
    }
}
