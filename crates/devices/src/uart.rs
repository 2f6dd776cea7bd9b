//! The 16550A UART.
//!
//! References: National Semiconductor PC16550D datasheet (June 1995).
//!
//! A byte that is sent is sent at once: the line has no speed towards the host. Towards the guest only the receiver's
//! time-out has one, which tells it that no more bytes are coming.

use isamorph_chardev::{BackEnd, Event, FrontEnd};
use isamorph_device::{BadState, Clock, Device, Exclusive, Guard, Line, Snapshot, Timer};
use isamorph_space::{Io, IoError};
use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, Weak};

/// Length of the FIFOs.
const FIFO: usize = 16;
const SECOND: u64 = 1_000_000_000;
/// Bits per second with a divisor of 1 (a crystal of 1.8432 MHz, divided by 16).
const BASE_RATE: u64 = 115_200;

/// Interrupt enables.
mod ier {
    pub const RECEIVED: u8 = 1;
    pub const EMPTY: u8 = 2;
    pub const STATUS: u8 = 4;
    pub const MODEM: u8 = 8;
    pub const ALL: u8 = 15;
}

/// Interrupt identifications (table 4).
mod iir {
    pub const NONE: u8 = 1;
    pub const STATUS: u8 = 6;
    pub const RECEIVED: u8 = 4;
    pub const TIMEOUT: u8 = 0xc;
    pub const EMPTY: u8 = 2;
    pub const MODEM: u8 = 0;
    pub const FIFO: u8 = 0xc0;
}

/// FIFO control.
mod fcr {
    pub const ENABLE: u8 = 1;
    pub const CLEAR_RECEIVER: u8 = 2;
    pub const CLEAR_TRANSMITTER: u8 = 4;
    /// Enable, DMA mode and trigger level are kept; the others act once.
    pub const KEPT: u8 = 0xc9;
}

/// Line control: bit 7 shows the divisor in place of the first two registers.
const DIVISOR_ACCESS: u8 = 0x80;

/// Modem control.
mod mcr {
    pub const DTR: u8 = 1;
    pub const RTS: u8 = 2;
    pub const OUT1: u8 = 4;
    pub const OUT2: u8 = 8;
    pub const LOOP: u8 = 16;
    pub const ALL: u8 = 31;
}

/// Line status.
mod lsr {
    pub const READY: u8 = 1;
    pub const OVERRUN: u8 = 2;
    pub const BREAK: u8 = 16;
    /// Holding register empty, and nothing is being sent either.
    pub const EMPTY: u8 = 0x60;
    /// A byte in the FIFO came with an error.
    pub const FIFO_ERROR: u8 = 0x80;
    /// Cause an interrupt, and end when they are read.
    pub const ERRORS: u8 = 0x1e;
}

/// Modem status: changes in the low half, levels in the high one.
mod msr {
    pub const CTS: u8 = 0x10;
    pub const DSR: u8 = 0x20;
    pub const RI: u8 = 0x40;
    pub const DCD: u8 = 0x80;
    /// The ring indicator reports only its end.
    pub const RING_ENDED: u8 = 4;
    pub const CHANGES: u8 = 15;
    pub const LEVELS: u8 = 0xf0;
}

/// What the registers are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Received bytes, each with the errors it came with.
    received: VecDeque<(u8, u8)>,
    /// The last one that came while there was no FIFO: the holding register keeps it.
    held: u8,
    /// Bytes that the back end has had no room for.
    unsent: VecDeque<u8>,
    divisor: u16,
    ier: u8,
    fcr: u8,
    lcr: u8,
    mcr: u8,
    msr: u8,
    scratch: u8,
    overrun: bool,
    /// The transmitter has become empty and nobody has looked.
    empty_pending: bool,
    /// Bytes have waited below the trigger level for too long.
    timed_out: bool,
    /// When the last byte came or went.
    touched: u64,
}

impl State {
    fn new() -> Self {
        State {
            received: VecDeque::new(),
            held: 0,
            unsent: VecDeque::new(),
            divisor: 12,
            ier: 0,
            fcr: 0,
            lcr: 0,
            mcr: 0,
            msr: msr::CTS | msr::DSR | msr::DCD,
            scratch: 0,
            overrun: false,
            empty_pending: false,
            timed_out: false,
            touched: 0,
        }
    }
    fn has_fifo(&self) -> bool {
        self.fcr & fcr::ENABLE != 0
    }
    fn depth(&self) -> usize {
        if self.has_fifo() { FIFO } else { 1 }
    }
    /// How many received bytes cause an interrupt.
    fn trigger(&self) -> usize {
        if self.has_fifo() { [1, 4, 8, 14][usize::from(self.fcr >> 6)] } else { 1 }
    }
    /// Nanoseconds that four characters take on the line.
    fn timeout(&self) -> u64 {
        let bits = 7 + u64::from(self.lcr & 3) + u64::from(self.lcr >> 2 & 1) + u64::from(self.lcr >> 3 & 1);
        4 * bits * SECOND * u64::from(self.divisor.max(1)) / BASE_RATE
    }
    /// When received bytes below the trigger level are reported, if there are any.
    fn timeout_at(&self) -> Option<u64> {
        let waits = self.has_fifo() && !self.received.is_empty() && !self.timed_out;
        waits.then(|| self.touched.saturating_add(self.timeout()))
    }
    fn line_status(&self) -> u8 {
        let first = self.received.front().map_or(0, |(_, errors)| lsr::READY | errors);
        let overrun = if self.overrun { lsr::OVERRUN } else { 0 };
        let empty = if self.unsent.is_empty() { lsr::EMPTY } else { 0 };
        let in_fifo = self.has_fifo() && self.received.iter().any(|(_, errors)| *errors != 0);
        first | overrun | empty | if in_fifo { lsr::FIFO_ERROR } else { 0 }
    }
    /// The most urgent interrupt.
    fn interrupt(&self) -> Option<u8> {
        let on = |enable: u8| self.ier & enable != 0;
        if on(ier::STATUS) && self.line_status() & lsr::ERRORS != 0 {
            Some(iir::STATUS)
        } else if on(ier::RECEIVED) && self.received.len() >= self.trigger() {
            Some(iir::RECEIVED)
        } else if on(ier::RECEIVED) && self.timed_out {
            Some(iir::TIMEOUT)
        } else if on(ier::EMPTY) && self.empty_pending {
            Some(iir::EMPTY)
        } else if on(ier::MODEM) && self.msr & msr::CHANGES != 0 {
            Some(iir::MODEM)
        } else {
            None
        }
    }
    fn receive(&mut self, byte: u8, errors: u8, now: u64) {
        if self.received.len() >= self.depth() {
            self.overrun = true;
            // Without a FIFO the new byte takes the place of the old one (LSR bit 1).
            if self.has_fifo() {
                return;
            }
            self.received.clear();
        }
        if !self.has_fifo() {
            self.held = byte;
        }
        self.received.push_back((byte, errors));
        self.touched = now;
    }
    fn take_received(&mut self, now: u64) -> u8 {
        self.timed_out = false;
        self.touched = now;
        let empty = if self.has_fifo() { 0 } else { self.held };
        self.received.pop_front().map_or(empty, |(byte, _)| byte)
    }
    fn read_line_status(&mut self) -> u8 {
        let status = self.line_status();
        self.overrun = false;
        if let Some((_, errors)) = self.received.front_mut() {
            *errors = 0;
        }
        status
    }
    fn write_ier(&mut self, value: u8) {
        let rises = value & !self.ier & ier::EMPTY != 0;
        self.ier = value & ier::ALL;
        // Enabling the interrupt while the transmitter is empty causes one.
        if rises && self.unsent.is_empty() {
            self.empty_pending = true;
        }
    }
    fn write_fcr(&mut self, value: u8) {
        let switched = (value ^ self.fcr) & fcr::ENABLE != 0;
        if switched || value & fcr::CLEAR_RECEIVER != 0 {
            self.received.clear();
            self.timed_out = false;
        }
        if switched || value & fcr::CLEAR_TRANSMITTER != 0 {
            self.unsent.clear();
            self.empty_pending = true;
        }
        // The other bits can only be written together with the enable.
        self.fcr = if value & fcr::ENABLE != 0 { value & fcr::KEPT } else { 0 };
    }
    fn write_mcr(&mut self, value: u8) {
        self.mcr = value & mcr::ALL;
        let wired = [(mcr::RTS, msr::CTS), (mcr::DTR, msr::DSR), (mcr::OUT1, msr::RI), (mcr::OUT2, msr::DCD)];
        let levels = if value & mcr::LOOP != 0 {
            wired.iter().filter(|(from, _)| value & from != 0).map(|(_, to)| to).sum()
        } else {
            msr::CTS | msr::DSR | msr::DCD
        };
        let changed = (self.msr ^ levels) & msr::LEVELS;
        let mut changes = changed >> 4;
        if levels & msr::RI != 0 {
            changes &= !msr::RING_ENDED;
        }
        self.msr = levels | (self.msr & msr::CHANGES) | changes;
    }
    fn read(&mut self, register: u64, now: u64) -> u8 {
        let shows_divisor = self.lcr & DIVISOR_ACCESS != 0;
        match register {
            0 if shows_divisor => self.divisor as u8,
            1 if shows_divisor => (self.divisor >> 8) as u8,
            0 => self.take_received(now),
            1 => self.ier,
            2 => {
                let which = self.interrupt().unwrap_or(iir::NONE);
                if which == iir::EMPTY {
                    self.empty_pending = false;
                }
                which | if self.has_fifo() { iir::FIFO } else { 0 }
            }
            3 => self.lcr,
            4 => self.mcr,
            5 => self.read_line_status(),
            6 => {
                let status = self.msr;
                self.msr &= msr::LEVELS;
                status
            }
            _ => self.scratch,
        }
    }
}

/// A UART. It is its own registers, eight bytes.
pub struct Uart {
    state: Exclusive<State>,
    clock: Arc<dyn Clock>,
    line: Line,
    back: Arc<dyn BackEnd>,
    timer: OnceLock<Timer>,
}

impl Uart {
    /// A UART on a back end; the line is its interrupt.
    pub fn new(clock: &Arc<dyn Clock>, line: Line, back: Arc<dyn BackEnd>) -> Arc<Self> {
        let (state, clock) = (Exclusive::new(State::new()), clock.clone());
        let uart = Arc::new(Uart { state, clock, line, back, timer: OnceLock::new() });
        let weak: Weak<Uart> = Arc::downgrade(&uart);
        let _ = uart.timer.set(Timer::new(&uart.clock, move || {
            weak.upgrade().into_iter().for_each(|uart| uart.drive());
        }));
        let front: Weak<Uart> = Arc::downgrade(&uart);
        uart.back.attach(front);
        uart
    }
    /// The registers: eight bytes.
    pub fn ports(self: &Arc<Self>) -> Arc<dyn Io> {
        self.clone()
    }
    fn change<R>(&self, f: impl FnOnce(&mut State, u64) -> R) -> Result<R, IoError> {
        let mut state = self.state.enter()?;
        let now = self.clock.now();
        let was_full = state.received.len() >= state.depth();
        let result = f(&mut state, now);
        self.update(&mut state, now);
        if was_full && state.received.len() < state.depth() {
            self.back.accept();
        }
        Ok(result)
    }
    /// Drives the line and arms the timer.
    fn update(&self, state: &mut Guard<'_, State>, now: u64) {
        let due = state.timeout_at();
        state.timed_out |= due.is_some_and(|at| at <= now);
        if let Some(timer) = self.timer.get() {
            match due.filter(|at| *at > now) {
                Some(at) => timer.set(at),
                None => timer.cancel(),
            }
        }
        self.line.set(state.interrupt().is_some());
    }
    fn write_register(&self, state: &mut State, register: u64, value: u8, now: u64) {
        let shows_divisor = state.lcr & DIVISOR_ACCESS != 0;
        match register {
            0 if shows_divisor => state.divisor = state.divisor & 0xff00 | u16::from(value),
            1 if shows_divisor => state.divisor = state.divisor & 0xff | u16::from(value) << 8,
            0 => self.send(state, value, now),
            1 => state.write_ier(value),
            2 => state.write_fcr(value),
            3 => state.lcr = value,
            4 => {
                let left_loop = state.mcr & !value & mcr::LOOP != 0;
                state.write_mcr(value);
                if left_loop {
                    self.back.accept();
                }
            }
            7 => state.scratch = value,
            // Line and modem status are read-only.
            _ => {}
        }
    }
    fn send(&self, state: &mut State, byte: u8, now: u64) {
        // The interrupt line falls, and rises again when the byte has gone.
        state.empty_pending = false;
        self.line.set(state.interrupt().is_some());
        if state.mcr & mcr::LOOP != 0 {
            state.receive(byte, 0, now);
            state.empty_pending = true;
            return;
        }
        if state.unsent.len() >= state.depth() {
            state.unsent.pop_back();
        }
        state.unsent.push_back(byte);
        self.drain(state);
    }
    /// Sends what the back end takes.
    fn drain(&self, state: &mut State) {
        let waited = !state.unsent.is_empty();
        let taken = self.back.write(state.unsent.make_contiguous());
        state.unsent.drain(..taken.min(state.unsent.len()));
        state.empty_pending |= waited && state.unsent.is_empty();
    }
}

impl Io for Uart {
    fn read(&self, offset: u64, _size: u32) -> Result<u64, IoError> {
        self.change(|state, now| state.read(offset & 7, now).into())
    }
    fn write(&self, offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        self.change(|state, now| self.write_register(state, offset & 7, value as u8, now))
    }
}

impl FrontEnd for Uart {
    fn room(&self) -> usize {
        // The receiver of a looped line is not connected.
        let room = |state: Guard<'_, State>| {
            let looped = state.mcr & mcr::LOOP != 0;
            if looped { 0 } else { state.depth().saturating_sub(state.received.len()) }
        };
        self.state.enter().map_or(0, room)
    }
    fn receive(&self, data: &[u8]) {
        // The back end holds no lock of the guest's.
        let _ = self.change(|state, now| data.iter().for_each(|byte| state.receive(*byte, 0, now)));
    }
    fn event(&self, event: Event) {
        let _ = self.change(|state, now| match event {
            Event::Break => state.receive(0, lsr::BREAK, now),
            Event::Writable => self.drain(state),
            Event::Opened | Event::Closed | Event::Focused => {}
        });
    }
}

impl Device for Uart {
    fn name(&self) -> &str {
        "serial"
    }
    fn reset(&self) {
        if let Ok(mut state) = self.state.enter() {
            *state = State::new();
        }
    }
    fn drive(&self) {
        let _ = self.change(|_, _| ());
        self.back.accept();
    }
}

impl Snapshot for Uart {
    type State = State;
    fn save(&self) -> State {
        self.state.enter().map_or_else(|_| State::new(), |state| state.clone())
    }
    fn restore(&self, state: &State) -> Result<(), BadState> {
        BadState::unless(state.received.len() <= FIFO, "received bytes")?;
        BadState::unless(state.unsent.len() <= FIFO, "bytes to send")?;
        BadState::unless(state.ier & !ier::ALL == 0 && state.fcr & !fcr::KEPT == 0, "control registers")?;
        if let Ok(mut current) = self.state.enter() {
            current.clone_from(state);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
