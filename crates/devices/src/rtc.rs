//! The real-time clock of a PC with its battery-backed memory (MC146818 and the 128 bytes of its successors).
//!
//! References: Motorola MC146818A datasheet.
//!
//! The time is a number of seconds that belongs to an instant of the machine's clock; the registers are computed from
//! it. Alarms and interrupts have timers of the host only while software has enabled them or may look at their flags.

use isamorph_device::{BadState, Clock, Device, Exclusive, Line, Snapshot, Timer};
use isamorph_space::{Io, IoError};
use std::sync::{Arc, OnceLock, Weak};

const SECOND: u64 = 1_000_000_000;
/// How long before a second the update-in-progress bit is set (244 µs).
const UPDATE: u64 = 244_000;
/// Memory, bytes.
const SIZE: usize = 128;

/// Register numbers.
mod reg {
    pub const SECONDS: usize = 0;
    pub const SECONDS_ALARM: usize = 1;
    pub const MINUTES: usize = 2;
    pub const MINUTES_ALARM: usize = 3;
    pub const HOURS: usize = 4;
    pub const HOURS_ALARM: usize = 5;
    pub const WEEKDAY: usize = 6;
    pub const DAY: usize = 7;
    pub const MONTH: usize = 8;
    pub const YEAR: usize = 9;
    pub const A: usize = 10;
    pub const B: usize = 11;
    pub const C: usize = 12;
    pub const D: usize = 13;
    /// Where a PC keeps the century.
    pub const CENTURY: usize = 0x32;
}

/// Bits of register B.
mod b {
    pub const DAY_24: u8 = 0x02;
    pub const BINARY: u8 = 0x04;
    pub const UPDATE_INTERRUPT: u8 = 0x10;
    pub const ALARM_INTERRUPT: u8 = 0x20;
    pub const PERIODIC_INTERRUPT: u8 = 0x40;
    pub const SET: u8 = 0x80;
}

/// Bits of register C, at the places of their enables in register B.
const INTERRUPT: u8 = 0x80;
/// All ones in the two top bits of an alarm register: any value.
const ANY: u8 = 0xc0;

/// A date and a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Date {
    year: i64,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl Date {
    /// The date that is that many seconds after the beginning of 1970.
    fn from_seconds(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(86400), seconds.rem_euclid(86400));
        // Years that begin in March, in eras of 400 years: leap days come last.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Date {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as u8,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8,
            hour: (rest / 3600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
        }
    }
    /// Seconds since the beginning of 1970. Fields out of range carry over.
    fn to_seconds(self) -> i64 {
        let month = i64::from(self.month.clamp(1, 12));
        let year = self.year - i64::from(month <= 2);
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(self.day) - 1;
        let days = era * 146_097 + 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
        days * 86400 + i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second)
    }
    /// 1 for Sunday to 7.
    fn weekday(self) -> u8 {
        ((self.to_seconds().div_euclid(86400) + 4).rem_euclid(7) + 1) as u8
    }
}

fn to_bcd(value: u8) -> u8 {
    // What software sets may have more digits.
    value / 10 % 10 * 16 + value % 10
}

/// What the registers are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Registers A to C and memory; the bytes of the time are only used while the clock is being set.
    memory: [u8; SIZE],
    index: u8,
    /// Seconds since 1970 at instant `since`, which is the beginning of a second.
    seconds: i64,
    since: u64,
    /// When the flags of register C were last brought up to date.
    seen: u64,
}

impl State {
    fn register_b(&self, bit: u8) -> bool {
        self.memory[reg::B] & bit != 0
    }
    /// Whether time passes.
    fn runs(&self) -> bool {
        !self.register_b(b::SET) && self.memory[reg::A] >> 4 & 7 == 2
    }
    fn seconds_at(&self, now: u64) -> i64 {
        self.seconds + (now.saturating_sub(self.since) / SECOND) as i64
    }
    fn date(&self, now: u64) -> Date {
        Date::from_seconds(self.seconds_at(now))
    }
    fn encode(&self, value: u8) -> u8 {
        if self.register_b(b::BINARY) { value } else { to_bcd(value) }
    }
    fn decode(&self, raw: u8) -> u8 {
        if self.register_b(b::BINARY) { raw } else { (raw >> 4).wrapping_mul(10).wrapping_add(raw & 15) }
    }
    fn encode_hour(&self, hour: u8) -> u8 {
        match (self.register_b(b::DAY_24), hour % 12) {
            (true, _) => self.encode(hour),
            (false, twelfth) => {
                let shown = if twelfth == 0 { 12 } else { twelfth };
                self.encode(shown) | if hour >= 12 { 0x80 } else { 0 }
            }
        }
    }
    fn decode_hour(&self, raw: u8) -> u8 {
        if self.register_b(b::DAY_24) {
            return self.decode(raw);
        }
        self.decode(raw & 0x7f) % 12 + if raw & 0x80 != 0 { 12 } else { 0 }
    }
    /// Writes the time into the registers.
    fn show(&mut self, now: u64) {
        let date = self.date(now);
        let hour = self.encode_hour(date.hour);
        for (at, value) in [
            (reg::SECONDS, date.second),
            (reg::MINUTES, date.minute),
            (reg::WEEKDAY, date.weekday()),
            (reg::DAY, date.day),
            (reg::MONTH, date.month),
            (reg::YEAR, date.year.rem_euclid(100) as u8),
        ] {
            self.memory[at] = self.encode(value);
        }
        self.memory[reg::HOURS] = hour;
        let century = (date.year / 100) as u8;
        self.memory[reg::CENTURY] = to_bcd(century);
    }
    /// Takes the time from the registers; it begins with a new second.
    fn take(&mut self, now: u64) {
        let field = |at: usize| self.decode(self.memory[at]);
        let century = self.memory[reg::CENTURY];
        let date = Date {
            year: i64::from(century >> 4) * 1000 + i64::from(century & 15) * 100 + i64::from(field(reg::YEAR)),
            month: field(reg::MONTH),
            day: field(reg::DAY),
            hour: self.decode_hour(self.memory[reg::HOURS]),
            minute: field(reg::MINUTES),
            second: field(reg::SECONDS),
        };
        self.seconds = date.to_seconds();
        self.since = now;
        self.seen = now;
    }
    /// Length of a period of the periodic interrupt (table 5 of the datasheet).
    fn period(&self) -> Option<u64> {
        let rate = u32::from(self.memory[reg::A] & 15);
        let shift = match rate {
            0 => return None,
            1 | 2 => rate + 6,
            _ => rate - 1,
        };
        Some((SECOND << shift) / 32768)
    }
    /// Seconds from now to the next second at which the alarm matches; the alarm of a clock that shows nonsense never
    /// comes.
    fn alarm(&self, now: u64) -> Option<i64> {
        let wanted = [reg::SECONDS_ALARM, reg::MINUTES_ALARM, reg::HOURS_ALARM].map(|at| self.memory[at]);
        let matches = |raw: u8, value: u8| raw & ANY == ANY || raw == value;
        let base = self.seconds_at(now);
        (1..=86400).find(|ahead| {
            let date = Date::from_seconds(base + ahead);
            matches(wanted[2], self.encode_hour(date.hour))
                && matches(wanted[1], self.encode(date.minute))
                && matches(wanted[0], self.encode(date.second))
        })
    }
    /// The instant of a second from the one that is now.
    fn instant(&self, now: u64, ahead: i64) -> u64 {
        let passed = now.saturating_sub(self.since) / SECOND;
        self.since + (passed + ahead as u64) * SECOND
    }
    /// Sets the flags of what has happened since the last time.
    fn update_flags(&mut self, now: u64) {
        let before = std::mem::replace(&mut self.seen, now);
        if self.memory[reg::A] >> 4 & 7 == 2
            && let Some(period) = self.period()
            && now / period != before / period
        {
            self.memory[reg::C] |= b::PERIODIC_INTERRUPT;
        }
        if !self.runs() {
            return;
        }
        if self.seconds_at(now) != self.seconds_at(before) {
            self.memory[reg::C] |= b::UPDATE_INTERRUPT;
            if self.memory[reg::C] & b::ALARM_INTERRUPT == 0
                && self.alarm(before).is_some_and(|ahead| self.instant(before, ahead) <= now)
            {
                self.memory[reg::C] |= b::ALARM_INTERRUPT;
            }
        }
    }
    /// Whether the interrupt is wanted, after the flags are up to date.
    fn interrupt(&mut self) -> bool {
        let sources = b::UPDATE_INTERRUPT | b::ALARM_INTERRUPT | b::PERIODIC_INTERRUPT;
        let on = self.memory[reg::C] & self.memory[reg::B] & sources != 0;
        self.memory[reg::C] = self.memory[reg::C] & !INTERRUPT | if on { INTERRUPT } else { 0 };
        on
    }
    /// When an enabled interrupt comes next.
    fn next_event(&self, now: u64) -> Option<u64> {
        let periodic = self.period().filter(|_| self.register_b(b::PERIODIC_INTERRUPT)).map(|p| (now / p + 1) * p);
        let runs = self.runs();
        let update = (runs && self.register_b(b::UPDATE_INTERRUPT)).then(|| self.instant(now, 1));
        let alarm = if runs && self.register_b(b::ALARM_INTERRUPT) { self.alarm(now) } else { None };
        [periodic, update, alarm.map(|ahead| self.instant(now, ahead))].into_iter().flatten().min()
    }
    fn read(&mut self, now: u64) -> u8 {
        let at = usize::from(self.index);
        let runs = self.runs();
        if runs && (at <= reg::YEAR || at == reg::CENTURY) {
            self.show(now);
        }
        match at {
            reg::A => {
                let until = SECOND - now.saturating_sub(self.since) % SECOND;
                self.memory[reg::A] | if runs && until <= UPDATE { 0x80 } else { 0 }
            }
            reg::C => std::mem::take(&mut self.memory[reg::C]),
            // The battery is good.
            reg::D => 0x80,
            _ => self.memory[at],
        }
    }
    fn write(&mut self, value: u8, now: u64) {
        let at = usize::from(self.index);
        let is_time = matches!(at, reg::SECONDS | reg::MINUTES | reg::HOURS | reg::WEEKDAY..=reg::YEAR | reg::CENTURY);
        let ran = self.runs();
        match at {
            reg::C | reg::D => return,
            reg::A => self.memory[at] = value & 0x7f,
            // Setting it stops updates and the update interrupt.
            reg::B if value & b::SET != 0 => {
                if ran {
                    self.show(now);
                }
                self.memory[at] = value & !b::UPDATE_INTERRUPT;
            }
            _ if is_time && ran => {
                self.show(now);
                self.memory[at] = value;
                let fraction = now.saturating_sub(self.since) % SECOND;
                self.take(now - fraction);
                self.seen = now;
            }
            _ => self.memory[at] = value,
        }
        if !ran && self.runs() {
            self.take(now);
        }
    }
}

/// The clock.
pub struct Rtc {
    state: Exclusive<State>,
    clock: Arc<dyn Clock>,
    line: Line,
    timer: OnceLock<Timer>,
}

impl Rtc {
    /// A clock that shows `seconds` since the beginning of 1970, in whatever zone the guest expects it, with an
    /// interrupt line.
    pub fn new(clock: &Arc<dyn Clock>, seconds: i64, line: Line) -> Arc<Self> {
        let now = clock.now();
        let mut state = State { memory: [0; SIZE], index: 0, seconds, since: now, seen: now };
        // As a BIOS leaves it: 32768 Hz, 1024 interrupts a second, 24 hours, BCD.
        state.memory[reg::A] = 0x26;
        state.memory[reg::B] = b::DAY_24;
        let rtc = Arc::new(Rtc { state: Exclusive::new(state), clock: clock.clone(), line, timer: OnceLock::new() });
        let weak: Weak<Rtc> = Arc::downgrade(&rtc);
        let _ = rtc.timer.set(Timer::new(clock, move || {
            weak.upgrade().into_iter().for_each(|rtc| rtc.drive());
        }));
        rtc
    }
    /// Sets a byte of the memory that is not the clock's, as a board does for its firmware.
    pub fn set_memory(&self, at: u8, value: u8) {
        if let Ok(mut state) = self.state.enter() {
            state.memory[usize::from(at) % SIZE] = value;
        }
    }
    /// The index and data registers: two bytes at 0x70.
    pub fn ports(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(Ports(self.clone()))
    }
    fn change<R>(&self, f: impl FnOnce(&mut State, u64) -> R) -> Result<R, IoError> {
        let mut state = self.state.enter()?;
        let now = self.clock.now();
        state.update_flags(now);
        let result = f(&mut state, now);
        let level = state.interrupt();
        if let Some(timer) = self.timer.get() {
            // While the line is high nothing more can happen until software has read register C.
            match state.next_event(now).filter(|_| !level) {
                Some(at) => timer.set(at),
                None => timer.cancel(),
            }
        }
        self.line.set(level);
        Ok(result)
    }
}

impl Device for Rtc {
    fn name(&self) -> &str {
        "mc146818rtc"
    }
    fn reset(&self) {
        if let Ok(mut state) = self.state.enter() {
            // The pin clears the interrupt enables and flags; the battery keeps the rest.
            state.memory[reg::B] &= !(b::PERIODIC_INTERRUPT | b::ALARM_INTERRUPT | b::UPDATE_INTERRUPT | 0x08);
            state.memory[reg::C] = 0;
        }
    }
    fn drive(&self) {
        let _ = self.change(|_, _| ());
    }
}

impl Snapshot for Rtc {
    type State = State;
    fn save(&self) -> State {
        let blank = State { memory: [0; SIZE], index: 0, seconds: 0, since: 0, seen: 0 };
        self.state.enter().map_or(blank, |state| state.clone())
    }
    fn restore(&self, saved: &State) -> Result<(), BadState> {
        BadState::unless(usize::from(saved.index) < SIZE, "index")?;
        BadState::unless(saved.seconds.unsigned_abs() < 1 << 40, "time")?;
        if let Ok(mut state) = self.state.enter() {
            state.clone_from(saved);
        }
        Ok(())
    }
}

struct Ports(Arc<Rtc>);

impl Io for Ports {
    fn read(&self, offset: u64, _size: u32) -> Result<u64, IoError> {
        // The index cannot be read.
        if offset & 1 == 0 { Ok(0xff) } else { self.0.change(|state, now| state.read(now).into()) }
    }
    fn write(&self, offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        self.0.change(|state, now| {
            if offset & 1 == 0 {
                // The top bit of the port masks the NMI, which is the board's.
                state.index = value as u8 & 0x7f;
            } else {
                state.write(value as u8, now);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Registers, hammer};
    use isamorph_device::{ManualClock, Probe};

    /// 2024-02-28 23:59:58, a Wednesday.
    const START: i64 = 1_709_164_798;

    struct Rig {
        clock: Arc<ManualClock>,
        rtc: Arc<Rtc>,
        line: Arc<Probe>,
    }

    impl Rig {
        fn new() -> Self {
            let (clock, (line, wire)) = (ManualClock::new(), Probe::new());
            let rtc = Rtc::new(&(clock.clone() as Arc<dyn Clock>), START, wire);
            Rig { clock, rtc, line }
        }
        fn read(&self, at: usize) -> u8 {
            self.rtc.ports().write(0, 1, at as u64).unwrap();
            self.rtc.ports().read(1, 1).unwrap() as u8
        }
        fn write(&self, at: usize, value: u8) {
            self.rtc.ports().write(0, 1, at as u64).unwrap();
            self.rtc.ports().write(1, 1, value.into()).unwrap();
        }
        fn date(&self) -> [u8; 8] {
            [reg::CENTURY, reg::YEAR, reg::MONTH, reg::DAY, reg::WEEKDAY, reg::HOURS, reg::MINUTES, reg::SECONDS]
                .map(|at| self.read(at))
        }
    }

    #[test]
    fn dates_and_seconds_are_inverse() {
        for seconds in (-70_000_000_000..200_000_000_000).step_by(86_399 * 97) {
            assert_eq!(Date::from_seconds(seconds).to_seconds(), seconds);
        }
        let leap = Date::from_seconds(START);
        assert_eq!((leap.year, leap.month, leap.day, leap.weekday()), (2024, 2, 28, 4));
    }

    #[test]
    fn time_passes_into_a_leap_day() {
        let rig = Rig::new();
        assert_eq!(rig.date(), [0x20, 0x24, 0x02, 0x28, 4, 0x23, 0x59, 0x58]);
        rig.clock.advance(2 * SECOND);
        assert_eq!(rig.date(), [0x20, 0x24, 0x02, 0x29, 5, 0, 0, 0]);
    }

    #[test]
    fn binary_and_twelve_hours() {
        let rig = Rig::new();
        rig.write(reg::B, b::BINARY);
        assert_eq!(rig.date()[1..], [24, 2, 28, 4, 0x80 | 11, 59, 58]);
        rig.clock.advance(3 * SECOND);
        assert_eq!(rig.read(reg::HOURS), 12, "midnight is twelve");
    }

    #[test]
    fn setting_stops_the_clock() {
        let rig = Rig::new();
        rig.write(reg::B, b::SET | b::DAY_24);
        for (at, value) in [(reg::HOURS, 0x12), (reg::MINUTES, 0x34), (reg::SECONDS, 0x56), (reg::YEAR, 0x25)] {
            rig.write(at, value);
        }
        rig.clock.advance(10 * SECOND);
        assert_eq!(rig.read(reg::SECONDS), 0x56);
        rig.write(reg::B, b::DAY_24);
        rig.clock.advance(SECOND);
        assert_eq!(rig.date(), [0x20, 0x25, 0x02, 0x28, 6, 0x12, 0x34, 0x57]);
    }

    #[test]
    fn periodic_interrupts_come_at_their_rate() {
        let rig = Rig::new();
        rig.write(reg::B, b::PERIODIC_INTERRUPT | b::DAY_24);
        let mut count = 0;
        for _ in 0..4096 {
            rig.clock.advance(SECOND / 4096);
            if rig.line.is_high() {
                assert_eq!(rig.read(reg::C) & 0xc0, 0xc0);
                assert!(!rig.line.is_high(), "reading the flags lowers the line");
                count += 1;
            }
        }
        assert!((1020..=1024).contains(&count), "{count} interrupts at 1024 Hz");
    }

    #[test]
    fn the_alarm_comes_once_at_its_time() {
        let rig = Rig::new();
        for (at, value) in [(reg::HOURS_ALARM, 0xff), (reg::MINUTES_ALARM, 0x00), (reg::SECONDS_ALARM, 0x05)] {
            rig.write(at, value);
        }
        rig.write(reg::B, b::ALARM_INTERRUPT | b::DAY_24);
        rig.clock.advance(6 * SECOND);
        assert!(!rig.line.is_high());
        rig.clock.advance(SECOND);
        assert!(rig.line.is_high());
        let periodic = b::PERIODIC_INTERRUPT; // its flag is set whether it is enabled or not
        assert_eq!(rig.read(reg::C), INTERRUPT | b::ALARM_INTERRUPT | b::UPDATE_INTERRUPT | periodic);
        assert_eq!(rig.read(reg::C), 0);
    }

    #[test]
    fn updates_are_announced() {
        let rig = Rig::new();
        assert_eq!(rig.read(reg::A), 0x26);
        rig.clock.advance(SECOND - 100_000);
        assert_eq!(rig.read(reg::A), 0xa6);
        assert_eq!(rig.read(reg::D), 0x80);
    }

    #[test]
    fn memory_survives_a_reset() {
        let rig = Rig::new();
        rig.write(0x40, 0x5a);
        rig.rtc.set_memory(0x34, 7);
        rig.write(reg::B, b::UPDATE_INTERRUPT | b::DAY_24);
        rig.rtc.reset();
        rig.rtc.drive();
        assert_eq!((rig.read(0x40), rig.read(0x34), rig.read(reg::B)), (0x5a, 7, b::DAY_24));
    }

    #[test]
    fn saved_state_comes_back() {
        let rig = Rig::new();
        rig.write(0x40, 0x77);
        rig.clock.advance(5 * SECOND);
        let (mut state, date) = (rig.rtc.save(), rig.date());
        let other = Rig::new();
        other.clock.advance(5 * SECOND);
        other.rtc.restore(&state).unwrap();
        assert_eq!((other.date(), other.read(0x40)), (date, 0x77));
        state.index = 0x80;
        assert_eq!(other.rtc.restore(&state), Err(BadState("index")));
    }

    #[test]
    fn random_accesses() {
        let rig = Rig::new();
        hammer(13, 5_000, &[Registers::new(rig.rtc.ports(), 2, &[1])], &rig.clock, |random| {
            // Long enough for alarms and new days.
            rig.clock.advance(random.below(100_000) * SECOND / 1000);
        });
        rig.rtc.restore(&rig.rtc.save()).unwrap();
    }
}
