//! The registers of ACPI's fixed hardware (ACPI 4.8.3) and of the general-purpose events (4.8.4).

/// Frequency of the timer, and the bit whose changes it reports.
const HERTZ: u128 = 3_579_545;
const TIMER_BITS: u32 = 24;
const HALF: u64 = 1 << (TIMER_BITS - 1);
const SECOND: u128 = 1_000_000_000;

/// Bits of status and enable.
mod event {
    pub const TIMER: u16 = 1 << 0;
    pub const GLOBAL: u16 = 1 << 5;
    pub const POWER_BUTTON: u16 = 1 << 8;
    pub const CLOCK: u16 = 1 << 10;
    pub const WAKE: u16 = 1 << 15;
    /// Bits of the status register.
    pub const ALL: u16 = TIMER | 1 << 4 | GLOBAL | POWER_BUTTON | CLOCK | WAKE;
    /// Bits of the enable register.
    pub const INTERRUPTS: u16 = TIMER | GLOBAL | POWER_BUTTON | CLOCK;
}

/// Bits of the control register.
const ENABLED: u16 = 1;
const SLEEP: u16 = 1 << 13;
/// What can be stored in it: interrupts, bus-master reload, sleep type.
const STORED: u16 = ENABLED | 2 | 7 << 10;

/// What the sleep types of the tables' `_Sx` objects mean.
pub(super) const OFF: u16 = 0;
pub(super) const SUSPEND: u16 = 1;
pub(super) const HIBERNATE: u16 = 2;

/// A sleep that the guest enters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sleep {
    /// Power is off.
    Off,
    /// Memory keeps its content.
    Suspend,
}

/// The registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Acpi {
    status: u16,
    enable: u16,
    control: u16,
    /// The timer's count at which its status bit is set next.
    overflow: u64,
    event_status: u16,
    event_enable: u16,
    /// Causes of events that are still there.
    event_levels: u16,
}

/// The timer's count, with all its bits.
fn ticks(now: u64) -> u64 {
    (u128::from(now) * HERTZ / SECOND) as u64
}

/// The value of the bytes that an access reads, of registers that are one number.
fn part(image: u64, offset: u64, size: u32) -> u64 {
    let shifted = image.checked_shr(8 * offset as u32).unwrap_or(0);
    shifted & (u64::MAX >> (64 - 8 * size.clamp(1, 8)))
}

/// A 16-bit register at an offset of a block after a write, given which of its bits can be set; and what was written
/// to it, zeros elsewhere.
fn merged(old: u16, register: u64, offset: u64, size: u32, value: u64) -> (u16, u16) {
    let lanes = (u64::MAX >> (64 - 8 * size.clamp(1, 8))) << (8 * (offset & 7));
    let shift = 8 * (register & 7);
    let mask = (lanes >> shift) as u16;
    let written = ((value << (8 * (offset & 7))) >> shift) as u16 & mask;
    (old & !mask | written, written)
}

impl Acpi {
    /// Everything but the count of the timer, which runs on.
    pub(super) fn reset(&mut self) {
        let Acpi { overflow, event_levels, .. } = *self;
        // The cause of a wake-up survives the reset that it makes.
        let status = self.status & event::WAKE;
        *self = Acpi { status, overflow, event_levels, ..Acpi::default() };
    }
    /// Sets the timer's status if its top bit has changed.
    fn update(&mut self, now: u64) {
        if ticks(now) >= self.overflow {
            self.status |= event::TIMER;
        }
    }
    fn rearm(&mut self, now: u64) {
        self.overflow = (ticks(now) + HALF) & !(HALF - 1);
    }
    /// Whether the interrupt is wanted.
    pub(super) fn interrupt(&mut self, now: u64) -> bool {
        self.update(now);
        let fixed = self.status & self.enable & event::INTERRUPTS;
        // Without the switch they would be system management interrupts, which nobody enables.
        self.control & ENABLED != 0 && (fixed != 0 || self.event_status & self.event_enable != 0)
    }
    /// When the timer interrupts next.
    pub(super) fn next_event(&self) -> Option<u64> {
        let counts = self.enable & event::TIMER != 0 && self.status & event::TIMER == 0;
        counts.then(|| (u128::from(self.overflow) * SECOND).div_ceil(HERTZ) as u64)
    }
    pub(super) fn set_enabled(&mut self, on: bool) {
        self.control = self.control & !ENABLED | u16::from(on);
    }
    pub(super) fn press_power_button(&mut self) {
        self.status |= self.enable & event::POWER_BUTTON;
    }
    pub(super) fn wake(&mut self) {
        self.status |= event::WAKE | event::POWER_BUTTON;
    }
    pub(super) fn set_event(&mut self, number: u8, on: bool) {
        let bit = 1u16.checked_shl(number.into()).unwrap_or(0);
        self.event_levels = if on { self.event_levels | bit } else { self.event_levels & !bit };
        self.event_status |= self.event_levels;
    }
    /// Reads of the block: status and enable at 0, control at 4, timer at 8.
    pub(super) fn read(&mut self, offset: u64, size: u32, now: u64) -> u64 {
        self.update(now);
        let image = match offset & !7 {
            0 => u64::from(self.status) | u64::from(self.enable) << 16 | u64::from(self.control) << 32,
            8 => ticks(now) & ((1 << TIMER_BITS) - 1),
            // The other registers of the chip watch devices that are always awake.
            _ => 0,
        };
        part(image, offset & 7, size)
    }
    /// Writes to the block; the sleep that one of them enters.
    pub(super) fn write(&mut self, offset: u64, size: u32, value: u64, now: u64) -> Option<Sleep> {
        if offset >= 8 {
            return None;
        }
        self.update(now);
        let (_, cleared) = merged(0, 0, offset, size, value);
        if cleared & event::TIMER != 0 {
            self.rearm(now);
        }
        self.status &= !(cleared & event::ALL);
        self.enable = merged(self.enable, 2, offset, size, value).0 & event::INTERRUPTS;
        let (control, written) = merged(self.control, 4, offset, size, value);
        self.control = control & STORED;
        if written & SLEEP == 0 {
            return None;
        }
        match self.control >> 10 & 7 {
            OFF | HIBERNATE => Some(Sleep::Off),
            SUSPEND => Some(Sleep::Suspend),
            _ => None,
        }
    }
    pub(super) fn read_events(&self, offset: u64, size: u32) -> u64 {
        part(u64::from(self.event_status) | u64::from(self.event_enable) << 16, offset & 3, size)
    }
    pub(super) fn write_events(&mut self, offset: u64, size: u32, value: u64) {
        let offset = offset & 3;
        let (_, cleared) = merged(0, 0, offset, size, value);
        // What is still there happens again.
        self.event_status = self.event_status & !cleared | self.event_levels;
        self.event_enable = merged(self.event_enable, 2, offset, size, value).0;
    }
}
