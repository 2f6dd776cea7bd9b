//! The registers of a local APIC as a state machine.

use super::{Delivery, Destination};
use isamorph_device::BadState;

/// Shortest period of the timer, nanoseconds: a faster one would do nothing but interrupt. (A tick of the timer with a
/// divider of 1 is one nanosecond.)
const SHORTEST_PERIOD: u64 = 10_000;

/// Bits of `IA32_APIC_BASE`.
pub(super) mod base {
    pub const ADDRESS: u64 = 0xfee0_0000;
    pub const BOOTS: u64 = 1 << 8;
    pub const X2APIC: u64 = 1 << 10;
    pub const ENABLED: u64 = 1 << 11;
    /// What can be set: flags and an address of 52 bits.
    pub const VALID: u64 = 0x000f_ffff_ffff_f000 | BOOTS | X2APIC | ENABLED;
}

/// Bits of the spurious-interrupt vector register.
pub(super) mod svr {
    pub const ENABLED: u32 = 1 << 8;
    pub const NO_FOCUS: u32 = 1 << 9;
    pub const VALID: u32 = 0x3ff;
}

/// Bits of the error status register.
pub(super) mod esr {
    pub const REDIRECTABLE: u32 = 1 << 4;
    pub const SEND_VECTOR: u32 = 1 << 5;
    pub const RECEIVE_VECTOR: u32 = 1 << 6;
    pub const REGISTER: u32 = 1 << 7;
}

/// The local vector table, in the order of the registers.
pub(super) mod lvt {
    pub const TIMER: usize = 0;
    pub const LINT0: usize = 3;
    pub const LINT1: usize = 4;
    pub const ERROR: usize = 5;
    pub const COUNT: usize = 6;
    pub const MASKED: u32 = 1 << 16;
    pub const LEVEL: u32 = 1 << 15;
    pub const REMOTE_IRR: u32 = 1 << 14;
    /// What can be written: vector and mask; delivery mode; polarity and trigger; the timer's mode.
    pub const WRITABLE: [u32; COUNT] = [0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff];
}

/// How the timer runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Once,
    Periodic,
    Deadline,
}

/// A local pin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pin {
    Lint0,
    Lint1,
}

/// What the processor gets when it acknowledges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    Vector(u8),
    AskPic,
    Nothing,
}

/// 256 bits, one per vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Vectors(pub [u32; 8]);

impl Vectors {
    pub fn has(&self, vector: u8) -> bool {
        self.0[usize::from(vector >> 5)] >> (vector & 31) & 1 != 0
    }
    pub fn set(&mut self, vector: u8, on: bool) {
        let (word, bit) = (&mut self.0[usize::from(vector >> 5)], 1 << (vector & 31));
        *word = if on { *word | bit } else { *word & !bit };
    }
    pub fn highest(&self) -> Option<u8> {
        let word = self.0.iter().rposition(|word| *word != 0)?;
        Some((word * 32) as u8 + (31 - self.0[word].leading_zeros()) as u8)
    }
}

/// What the registers are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The number that the processor has by its wiring, and whether it is the one that boots.
    pub(super) wired_id: u32,
    first: bool,
    pub(super) base: u64,
    /// The number in xAPIC mode.
    pub(super) id: u8,
    pub(super) tpr: u8,
    pub(super) ldr: u8,
    /// The model bits, 15 for flat, 0 for clusters.
    pub(super) dfr: u8,
    pub(super) svr: u32,
    pub(super) isr: Vectors,
    pub(super) tmr: Vectors,
    pub(super) irr: Vectors,
    /// Errors since the register was last written, and those that it shows.
    pub(super) errors: u32,
    pub(super) esr: u32,
    pub(super) icr: u64,
    pub(super) lvt: [u32; lvt::COUNT],
    pub(super) initial: u32,
    pub(super) divide: u32,
    /// When the timer began to count.
    started: u64,
    /// When it ends next.
    next: Option<u64>,
    /// The time stamp that it waits for.
    pub(super) deadline: u64,
    pins: [bool; 2],
    /// A message has announced an interrupt of the PIC.
    external: bool,
}

impl State {
    /// The state after power-on.
    pub(super) fn new(wired_id: u32, first: bool) -> Self {
        let mut lvt = [lvt::MASKED; lvt::COUNT];
        if first {
            // The PIC's interrupts pass, as on a board whose firmware has just set the APIC up.
            lvt[lvt::LINT0] = 0x700;
        }
        State {
            wired_id,
            first,
            base: base::ADDRESS | base::ENABLED | if first { base::BOOTS } else { 0 },
            id: wired_id as u8,
            tpr: 0,
            ldr: 0,
            dfr: 15,
            svr: 0xff,
            isr: Vectors::default(),
            tmr: Vectors::default(),
            irr: Vectors::default(),
            errors: 0,
            esr: 0,
            icr: 0,
            lvt,
            initial: 0,
            divide: 0,
            started: 0,
            next: None,
            deadline: 0,
            pins: [false; 2],
            external: false,
        }
    }
    /// As after power-on; the levels of the pins are not the APIC's.
    pub(super) fn reset(&mut self) {
        *self = State { pins: self.pins, ..State::new(self.wired_id, self.first) };
    }
    /// INIT: as reset, but for base and number (section 11.4.7.3).
    pub(super) fn initialise(&mut self) {
        let State { base, id, pins, .. } = *self;
        *self = State { base, id, pins, ..State::new(self.wired_id, self.first) };
    }
    pub(super) fn is_enabled(&self) -> bool {
        self.base & base::ENABLED != 0
    }
    pub(super) fn is_x2apic(&self) -> bool {
        self.base & base::X2APIC != 0
    }
    /// Software has enabled it.
    fn accepts(&self) -> bool {
        self.is_enabled() && self.svr & svr::ENABLED != 0
    }
    /// The logical number in x2APIC mode (section 11.12.10.2).
    pub(super) fn logical_id(&self) -> u32 {
        if self.is_x2apic() {
            (self.wired_id >> 4) << 16 | 1 << (self.wired_id & 15)
        } else {
            u32::from(self.ldr) << 24
        }
    }
    /// Whether a message is for this processor (section 11.6.2).
    pub(super) fn is_addressed(&self, to: &Destination) -> bool {
        let everybody = if to.wide { u32::MAX } else { 0xff };
        if !self.is_enabled() {
            false
        } else if !to.logical {
            let own = if self.is_x2apic() { self.wired_id } else { self.id.into() };
            to.address == everybody || to.address == own
        } else if to.wide && to.address == everybody {
            true
        } else if self.is_x2apic() {
            let own = self.logical_id();
            own >> 16 == to.address >> 16 && own & to.address & 0xffff != 0
        } else if self.dfr == 15 {
            u32::from(self.ldr) & to.address & 0xff != 0
        } else {
            let (cluster, own) = (to.address >> 4 & 15, u32::from(self.ldr));
            (cluster == 15 || cluster == own >> 4) && own & to.address & 15 != 0
        }
    }
    /// The lower, the better is this processor for an interrupt that one of several gets.
    pub(super) fn rank(&self, vector: u8) -> u8 {
        let has_it = self.irr.has(vector) || self.isr.has(vector);
        if has_it && self.svr & svr::NO_FOCUS == 0 { 0 } else { self.priority().max(1) }
    }
    /// The processor priority register.
    pub(super) fn priority(&self) -> u8 {
        let serving = self.isr.highest().unwrap_or(0) & 0xf0;
        if self.tpr & 0xf0 >= serving { self.tpr } else { serving }
    }
    /// The interrupt that is to be delivered.
    fn pending(&self) -> Option<u8> {
        let vector = self.irr.highest().filter(|_| self.accepts())?;
        (vector & 0xf0 > self.priority() & 0xf0).then_some(vector)
    }
    /// An interrupt of the PIC is to be delivered.
    fn pic_pending(&self) -> bool {
        let pin = self.pins[Pin::Lint0 as usize];
        if !self.is_enabled() {
            // The pin is the processor's interrupt input then; only the one that boots has it wired.
            return pin && self.first;
        }
        self.external || pin && self.lvt[lvt::LINT0] & (lvt::MASKED | 0x700) == 0x700
    }
    pub(super) fn wants_processor(&self) -> bool {
        self.pending().is_some() || self.pic_pending()
    }
    pub(super) fn acknowledge(&mut self) -> Taken {
        if let Some(vector) = self.pending() {
            self.irr.set(vector, false);
            self.isr.set(vector, true);
            return Taken::Vector(vector);
        }
        if self.pic_pending() {
            self.external = false;
            return Taken::AskPic;
        }
        Taken::Nothing
    }
    /// An interrupt arrives.
    pub(super) fn accept(&mut self, vector: u8, level: bool) {
        if vector < 16 {
            self.fail(esr::RECEIVE_VECTOR);
        } else if self.accepts() {
            self.irr.set(vector, true);
            self.tmr.set(vector, level);
        }
    }
    /// The PIC has an interrupt for this processor.
    pub(super) fn expect_external(&mut self) {
        self.external = true;
    }
    /// The highest interrupt has been served. Gives its vector if it came from a level elsewhere.
    pub(super) fn end_of_interrupt(&mut self) -> Option<u8> {
        let vector = self.isr.highest()?;
        self.isr.set(vector, false);
        if !self.tmr.has(vector) {
            return None;
        }
        for (pin, entry) in [lvt::LINT0, lvt::LINT1].into_iter().enumerate() {
            if self.lvt[entry] & lvt::REMOTE_IRR != 0 && self.lvt[entry] as u8 == vector {
                self.lvt[entry] &= !lvt::REMOTE_IRR;
                // A level that is still there is the next interrupt.
                if self.pins[pin] {
                    self.deliver_local(entry);
                }
            }
        }
        Some(vector)
    }
    /// Records an error; the first of its kind interrupts.
    pub(super) fn fail(&mut self, error: u32) {
        if self.errors & error == 0 {
            self.errors |= error;
            let entry = self.lvt[lvt::ERROR];
            // A bad vector in this entry would fail again, and again.
            if entry & lvt::MASKED == 0 && entry as u8 >= 16 {
                self.accept(entry as u8, false);
            }
        }
    }
    /// Delivers what a local entry says. Signals that do not go through the APIC are given back.
    fn deliver_local(&mut self, which: usize) -> Option<Delivery> {
        let entry = self.lvt[which];
        if entry & lvt::MASKED != 0 {
            return None;
        }
        match Delivery::from_bits(u64::from(entry >> 8)) {
            Some(Delivery::Fixed) => {
                let level = entry & lvt::LEVEL != 0;
                if level {
                    self.lvt[which] |= lvt::REMOTE_IRR;
                }
                self.accept(entry as u8, level);
                None
            }
            signal @ Some(Delivery::Smi | Delivery::Nmi | Delivery::Init) => signal,
            _ => None,
        }
    }
    pub(super) fn set_pin(&mut self, pin: Pin, level: bool) -> Option<Delivery> {
        let before = std::mem::replace(&mut self.pins[pin as usize], level);
        let which = lvt::LINT0 + pin as usize;
        (level && !before && self.is_enabled()).then(|| self.deliver_local(which))?
    }
    pub(super) fn write_lvt(&mut self, which: usize, value: u32, now: u64) {
        let before = self.mode();
        // While software has not enabled the APIC the masks cannot be cleared (section 11.4.7.2).
        let mask = if self.svr & svr::ENABLED == 0 { lvt::MASKED } else { 0 };
        self.lvt[which] = value & lvt::WRITABLE[which] | self.lvt[which] & lvt::REMOTE_IRR | mask;
        if which == lvt::TIMER && self.mode() != before {
            if self.mode() == Mode::Deadline || before == Mode::Deadline {
                (self.initial, self.deadline, self.next) = (0, 0, None);
            } else {
                self.schedule(now);
            }
        }
    }
    pub(super) fn write_svr(&mut self, value: u32) {
        self.svr = value & svr::VALID;
        if value & svr::ENABLED == 0 {
            self.lvt.iter_mut().for_each(|entry| *entry |= lvt::MASKED);
        }
    }
    /// Writes `IA32_APIC_BASE`; nothing if that is not allowed (section 11.12.5).
    pub(super) fn write_base(&mut self, value: u64, has_x2apic: bool) -> Option<()> {
        let mode = |base: u64| base & (base::ENABLED | base::X2APIC);
        let reserved = value & !base::VALID != 0 || (value & base::X2APIC != 0 && !has_x2apic);
        let allowed = match (mode(self.base), mode(value)) {
            (_, base::X2APIC) => false,
            (0, to) => to != base::ENABLED | base::X2APIC,
            (from, to) if from & base::X2APIC != 0 => to != base::ENABLED,
            _ => true,
        };
        if reserved || !allowed {
            return None;
        }
        if mode(value) == 0 && self.is_enabled() {
            *self = State { pins: self.pins, ..State::new(self.wired_id, self.first) };
        }
        self.base = value;
        Some(())
    }
}

/// The timer (section 11.5.4).
impl State {
    pub(super) fn mode(&self) -> Mode {
        match self.lvt[lvt::TIMER] >> 17 & 3 {
            0 => Mode::Once,
            1 => Mode::Periodic,
            _ => Mode::Deadline,
        }
    }
    /// Log2 of the divider: bits 3, 1, 0 of its register.
    fn shift(&self) -> u32 {
        let code = self.divide >> 1 & 4 | self.divide & 3;
        (code + 1) & 7
    }
    fn period(&self) -> u64 {
        let period = u64::from(self.initial) << self.shift();
        if self.mode() == Mode::Periodic { period.max(SHORTEST_PERIOD) } else { period }
    }
    /// Finds the timer's next end after `now`.
    fn schedule(&mut self, now: u64) {
        let period = self.period();
        let passed = now.saturating_sub(self.started);
        self.next = match self.mode() {
            Mode::Once => (self.initial != 0 && passed < period).then(|| self.started.saturating_add(period)),
            Mode::Periodic if self.initial != 0 => {
                Some(self.started.saturating_add((passed / period + 1).saturating_mul(period)))
            }
            Mode::Periodic => None,
            Mode::Deadline => self.next,
        };
    }
    pub(super) fn write_initial(&mut self, value: u32, now: u64) {
        // Without effect in TSC-deadline mode (section 11.5.4.1).
        if self.mode() != Mode::Deadline {
            (self.initial, self.started) = (value, now);
            self.schedule(now);
        }
    }
    pub(super) fn write_divide(&mut self, value: u32, now: u64) {
        // The count goes on from where it is.
        let left = u64::from(self.current(now));
        self.divide = value & 0xb;
        if self.mode() != Mode::Deadline && self.initial != 0 {
            let counted = (u64::from(self.initial) - left.min(self.initial.into())) << self.shift();
            self.started = now.saturating_sub(counted);
            self.schedule(now);
        }
    }
    /// The current count.
    pub(super) fn current(&self, now: u64) -> u32 {
        let ticks = now.saturating_sub(self.started) >> self.shift();
        match (self.mode(), u64::from(self.initial)) {
            (Mode::Deadline, _) | (_, 0) => 0,
            (Mode::Once, initial) => initial.saturating_sub(ticks) as u32,
            (Mode::Periodic, initial) => (initial - ticks % initial) as u32,
        }
    }
    /// Waits for a time stamp, which the clock will have at `at`; 0 ends that.
    pub(super) fn write_deadline(&mut self, value: u64, at: u64) {
        if self.mode() == Mode::Deadline {
            self.deadline = value;
            self.next = (value != 0).then_some(at);
        }
    }
    pub(super) fn next_tick(&self) -> Option<u64> {
        self.next
    }
    /// The timer may have ended.
    pub(super) fn tick(&mut self, now: u64) {
        if self.next.is_none_or(|at| at > now) {
            return;
        }
        (self.next, self.deadline) = (None, 0);
        self.deliver_local(lvt::TIMER);
        if self.mode() == Mode::Periodic {
            self.schedule(now);
        }
    }
}

/// Saved state and the monitor.
impl State {
    /// Fails if no APIC can have this state.
    pub(super) fn check(&self, has_x2apic: bool) -> Result<(), BadState> {
        let mode = self.base & (base::ENABLED | base::X2APIC);
        BadState::unless(self.base & !base::VALID == 0 && mode != base::X2APIC, "APIC base")?;
        BadState::unless(has_x2apic || !self.is_x2apic(), "x2APIC mode")?;
        BadState::unless(self.dfr == 15 || self.dfr == 0, "destination format")?;
        let stray = |(entry, valid): (&u32, &u32)| entry & !(valid | lvt::REMOTE_IRR) != 0;
        BadState::unless(!self.lvt.iter().zip(&lvt::WRITABLE).any(stray), "local vector table")?;
        BadState::unless(self.svr & !svr::VALID == 0, "spurious vector")?;
        BadState::unless(self.divide & !0xb == 0, "timer divider")?;
        BadState::unless(self.irr.0[0] & 0xffff == 0 && self.isr.0[0] & 0xffff == 0, "reserved vectors")
    }
    pub(super) fn describe(&self, now: u64) -> String {
        use std::fmt::Write;
        let (mut out, id) = (String::new(), if self.is_x2apic() { self.wired_id } else { self.id.into() });
        let list = |vectors: &Vectors| {
            let set: Vec<String> = (0..=255u8).filter(|n| vectors.has(*n)).map(|n| n.to_string()).collect();
            if set.is_empty() { "(none)".to_owned() } else { set.join(" ") }
        };
        let _ = writeln!(out, "dumping local APIC state for CPU {id}\n");
        for (name, entry) in ["LVTT", "LVTTHMR", "LVTPC", "LVT0", "LVT1", "LVTERR"].iter().zip(self.lvt) {
            let masked = if entry & lvt::MASKED != 0 { " masked" } else { "" };
            let _ = writeln!(out, "{name:<8} 0x{entry:08x}{masked}");
        }
        let _ = writeln!(
            out,
            "Timer    DCR=0x{:x} initial_count={} current_count={}",
            self.divide,
            self.initial,
            self.current(now)
        );
        let _ =
            writeln!(out, "SPIV     0x{:08x} APIC {}", self.svr, if self.accepts() { "enabled" } else { "disabled" });
        let _ = writeln!(out, "ICR      0x{:016x}\nESR      0x{:08x}", self.icr, self.esr);
        let _ = writeln!(out, "ISR      {}\nIRR      {}", list(&self.isr), list(&self.irr));
        let _ = writeln!(
            out,
            "TPR 0x{:02x} PPR 0x{:02x} LDR 0x{:08x} DFR 0x{:x}",
            self.tpr,
            self.priority(),
            self.logical_id(),
            self.dfr
        );
        out
    }
}
