//! The keyboard controller of a PC, with a keyboard and a mouse.
//!
//! References: Intel 8042 datasheet; IBM Personal System/2 Hardware Interface Technical Reference (1988), keyboard and
//! auxiliary device controller.
//!
//! Commands are executed at once, so that the input buffer is never seen to be full. Bytes of the devices wait in the
//! devices until software has read the one before.

use crate::ps2::{Keyboard, Mouse};
use isamorph_device::{BadState, Device, Exclusive, Line, Request, Requests, Snapshot};
use isamorph_display::input::{KeyboardSink, PointerEvent, PointerSink};
use isamorph_display::keys::{Key, SET2_OF_SET1};
use isamorph_space::{Io, IoError};
use std::collections::VecDeque;
use std::sync::Arc;

/// Commands, as written to port 0x64.
mod command {
    pub const READ_MEMORY: u8 = 0x20;
    pub const WRITE_MEMORY: u8 = 0x60;
    pub const TEST_PASSWORD: u8 = 0xa4;
    pub const DISABLE_MOUSE: u8 = 0xa7;
    pub const ENABLE_MOUSE: u8 = 0xa8;
    pub const TEST_MOUSE: u8 = 0xa9;
    pub const SELF_TEST: u8 = 0xaa;
    pub const TEST_KEYBOARD: u8 = 0xab;
    pub const DISABLE_KEYBOARD: u8 = 0xad;
    pub const ENABLE_KEYBOARD: u8 = 0xae;
    pub const READ_INPUT: u8 = 0xc0;
    pub const READ_OUTPUT: u8 = 0xd0;
    pub const WRITE_OUTPUT: u8 = 0xd1;
    pub const FROM_KEYBOARD: u8 = 0xd2;
    pub const FROM_MOUSE: u8 = 0xd3;
    pub const TO_MOUSE: u8 = 0xd4;
    pub const DISABLE_LINE_20: u8 = 0xdd;
    pub const ENABLE_LINE_20: u8 = 0xdf;
    /// To 0xff: those of the four low output lines whose bit is clear go low for a moment.
    pub const PULSE: u8 = 0xf0;
}

/// Bits of the command byte, which is the first byte of memory.
mod mode {
    pub const KEYBOARD_INTERRUPT: u8 = 1;
    pub const MOUSE_INTERRUPT: u8 = 2;
    pub const SYSTEM: u8 = 4;
    pub const KEYBOARD_OFF: u8 = 0x10;
    pub const MOUSE_OFF: u8 = 0x20;
    pub const TRANSLATE: u8 = 0x40;
}

/// Bits of the status.
mod status {
    pub const OUTPUT_FULL: u8 = 1;
    pub const SYSTEM: u8 = 4;
    pub const COMMAND: u8 = 8;
    pub const UNLOCKED: u8 = 0x10;
    pub const FROM_MOUSE: u8 = 0x20;
}

/// Bits of the output port.
mod output {
    /// Low resets the machine.
    pub const RUN: u8 = 1;
    pub const LINE_20: u8 = 2;
    pub const KEYBOARD_FULL: u8 = 0x10;
    pub const MOUSE_FULL: u8 = 0x20;
    /// The lines to the devices.
    pub const OTHERS: u8 = 0xcc;
}

const TEST_PASSED: u8 = 0x55;
const NO_PASSWORD: u8 = 0xf1;
/// Controller answers that wait; software reads them one by one.
const ANSWERS: usize = 8;
/// Before the code of a key that is released, in sets 2 and 3.
const RELEASED: u8 = 0xf0;

/// Set 1 by code of set 2.
const TRANSLATION: [u8; 256] = {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = code as u8;
        code += 1;
    }
    let mut set1 = 0;
    while set1 < 128 {
        table[SET2_OF_SET1[set1] as usize] = set1 as u8;
        set1 += 1;
    }
    // Two codes above 0x7f: F7 and SysRq.
    table[0x83] = 0x41;
    table[0x84] = 0x54;
    table
};

/// What the registers are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    memory: [u8; 32],
    /// The last byte for software, and whether it is the mouse's.
    data: u8,
    from_mouse: bool,
    full: bool,
    tested: bool,
    /// The last write was a command.
    after_command: bool,
    /// The command whose parameter is next.
    expects: Option<u8>,
    output: u8,
    answers: VecDeque<(u8, bool)>,
    /// Of the codes being translated, the next one is that of a key that was released.
    released: bool,
    keyboard: Keyboard,
    mouse: Mouse,
}

impl State {
    fn new() -> Self {
        let mut memory = [0; 32];
        memory[0] = mode::KEYBOARD_INTERRUPT | mode::MOUSE_INTERRUPT;
        State {
            memory,
            data: 0,
            from_mouse: false,
            full: false,
            tested: false,
            after_command: false,
            expects: None,
            output: output::RUN | output::LINE_20 | output::OTHERS,
            answers: VecDeque::new(),
            released: false,
            keyboard: Keyboard::default(),
            mouse: Mouse::default(),
        }
    }
    fn is(&self, bit: u8) -> bool {
        self.memory[0] & bit != 0
    }
    fn set_mode(&mut self, bit: u8, on: bool) {
        self.memory[0] = if on { self.memory[0] | bit } else { self.memory[0] & !bit };
    }
    fn answer(&mut self, byte: u8, from_mouse: bool) {
        if self.answers.len() < ANSWERS {
            self.answers.push_back((byte, from_mouse));
        }
    }
    /// A byte of the keyboard, translated if that is wanted.
    fn take_key(&mut self) -> Option<u8> {
        while let Some(byte) = self.keyboard.take() {
            if !self.is(mode::TRANSLATE) {
                return Some(byte);
            }
            if byte == RELEASED {
                self.released = true;
                continue;
            }
            let released = std::mem::take(&mut self.released);
            return Some(TRANSLATION[usize::from(byte)] | if released { 0x80 } else { 0 });
        }
        None
    }
    /// Fills the output buffer if it is empty.
    fn fill(&mut self) {
        if self.full {
            return;
        }
        let mut next = self.answers.pop_front();
        if next.is_none() && !self.is(mode::KEYBOARD_OFF) {
            next = self.take_key().map(|byte| (byte, false));
        }
        if next.is_none() && !self.is(mode::MOUSE_OFF) {
            next = self.mouse.take().map(|byte| (byte, true));
        }
        if let Some((data, from_mouse)) = next {
            (self.data, self.from_mouse, self.full) = (data, from_mouse, true);
        }
    }
    fn status(&self) -> u8 {
        let full = if self.full { status::OUTPUT_FULL } else { 0 };
        let mouse = if self.full && self.from_mouse { status::FROM_MOUSE } else { 0 };
        let system = if self.tested || self.is(mode::SYSTEM) { status::SYSTEM } else { 0 };
        let command = if self.after_command { status::COMMAND } else { 0 };
        full | mouse | system | command | status::UNLOCKED
    }
    fn output_port(&self) -> u8 {
        let full = if !self.full {
            0
        } else if self.from_mouse {
            output::MOUSE_FULL
        } else {
            output::KEYBOARD_FULL
        };
        self.output | full
    }
    /// Executes a command; true if the machine is to be reset.
    fn command(&mut self, byte: u8) -> bool {
        (self.after_command, self.expects) = (true, None);
        match byte {
            command::READ_MEMORY..=0x3f => self.answer(self.memory[usize::from(byte & 31)], false),
            command::WRITE_MEMORY..=0x7f => self.expects = Some(byte),
            command::TEST_PASSWORD => self.answer(NO_PASSWORD, false),
            command::DISABLE_MOUSE | command::ENABLE_MOUSE => {
                self.set_mode(mode::MOUSE_OFF, byte == command::DISABLE_MOUSE);
            }
            command::TEST_MOUSE | command::TEST_KEYBOARD => self.answer(0, false),
            command::SELF_TEST => {
                self.tested = true;
                self.answer(TEST_PASSED, false);
            }
            command::DISABLE_KEYBOARD | command::ENABLE_KEYBOARD => {
                self.set_mode(mode::KEYBOARD_OFF, byte == command::DISABLE_KEYBOARD);
            }
            // The keyboard is not locked.
            command::READ_INPUT => self.answer(0x80, false),
            command::READ_OUTPUT => self.answer(self.output_port(), false),
            command::WRITE_OUTPUT | command::FROM_KEYBOARD | command::FROM_MOUSE | command::TO_MOUSE => {
                self.expects = Some(byte);
            }
            command::DISABLE_LINE_20 => self.output &= !output::LINE_20,
            command::ENABLE_LINE_20 => self.output |= output::LINE_20,
            command::PULSE.. => return byte & output::RUN == 0,
            // The others are not known, and without effect.
            _ => {}
        }
        false
    }
    /// A byte at the data port; true if the machine is to be reset.
    fn write_data(&mut self, byte: u8) -> bool {
        self.after_command = false;
        match self.expects.take() {
            None => {
                self.set_mode(mode::KEYBOARD_OFF, false);
                self.keyboard.write(byte);
            }
            Some(command @ command::WRITE_MEMORY..=0x7f) => self.memory[usize::from(command & 31)] = byte,
            Some(command::WRITE_OUTPUT) => {
                self.output = byte & (output::RUN | output::LINE_20) | output::RUN | output::OTHERS;
                return byte & output::RUN == 0;
            }
            Some(command::FROM_KEYBOARD) => self.answer(byte, false),
            Some(command::FROM_MOUSE) => self.answer(byte, true),
            _ => {
                self.set_mode(mode::MOUSE_OFF, false);
                self.mouse.write(byte);
            }
        }
        false
    }
}

/// Where the controller's outputs lead to.
#[derive(Debug)]
pub struct Wires {
    /// The keyboard's interrupt.
    pub keyboard: Line,
    /// The mouse's interrupt.
    pub mouse: Line,
    /// Address line 20: low holds it low.
    pub line_20: Line,
    /// Where a reset is asked for.
    pub requests: Requests,
}

/// The controller with its devices.
pub struct I8042 {
    state: Exclusive<State>,
    wires: Wires,
}

impl I8042 {
    /// A controller with a keyboard and a mouse.
    pub fn new(wires: Wires) -> Arc<Self> {
        Arc::new(I8042 { state: Exclusive::new(State::new()), wires })
    }
    /// The data port: one byte at 0x60.
    pub fn data_port(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(DataPort(self.clone()))
    }
    /// The command port: one byte at 0x64.
    pub fn command_port(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(CommandPort(self.clone()))
    }
    /// The keyboard's lights: Scroll Lock, Num Lock, Caps Lock from bit 0 on.
    pub fn leds(&self) -> u8 {
        self.state.enter().map_or(0, |state| state.keyboard.leds())
    }
    fn change<R>(&self, f: impl FnOnce(&mut State) -> R) -> Result<R, IoError> {
        let mut state = self.state.enter()?;
        let line_20 = state.output & output::LINE_20;
        let result = f(&mut state);
        state.fill();
        self.interrupt(&state);
        if state.output & output::LINE_20 != line_20 {
            self.wires.line_20.set(line_20 == 0);
        }
        Ok(result)
    }
    fn interrupt(&self, state: &State) {
        let wants = |from_mouse: bool, bit: u8| state.full && state.from_mouse == from_mouse && state.is(bit);
        self.wires.keyboard.set(wants(false, mode::KEYBOARD_INTERRUPT));
        self.wires.mouse.set(wants(true, mode::MOUSE_INTERRUPT));
    }
    fn write(&self, f: impl FnOnce(&mut State) -> bool) -> Result<(), IoError> {
        if self.change(f)? {
            self.wires.requests.send(Request::Reset);
        }
        Ok(())
    }
}

impl KeyboardSink for I8042 {
    fn key(&self, key: Key, down: bool) {
        // Users are not the guest: nobody holds the lock here.
        let _ = self.change(|state| state.keyboard.key(key, down));
    }
}

impl PointerSink for I8042 {
    fn is_absolute(&self) -> bool {
        false
    }
    fn pointer(&self, events: &[PointerEvent]) {
        let _ = self.change(|state| state.mouse.pointer(events));
    }
}

impl Device for I8042 {
    fn name(&self) -> &str {
        "i8042"
    }
    fn reset(&self) {
        if let Ok(mut state) = self.state.enter() {
            *state = State::new();
        }
    }
    fn drive(&self) {
        if let Ok(mut state) = self.state.enter() {
            state.fill();
            self.interrupt(&state);
            self.wires.line_20.set(state.output & output::LINE_20 != 0);
        }
    }
}

impl Snapshot for I8042 {
    type State = State;
    fn save(&self) -> State {
        self.state.enter().map_or_else(|_| State::new(), |state| state.clone())
    }
    fn restore(&self, saved: &State) -> Result<(), BadState> {
        BadState::unless(saved.keyboard.is_good(), "keyboard")?;
        BadState::unless(saved.mouse.is_good(), "mouse")?;
        BadState::unless(saved.answers.len() <= ANSWERS, "answers")?;
        if let Ok(mut state) = self.state.enter() {
            state.clone_from(saved);
        }
        Ok(())
    }
}

struct DataPort(Arc<I8042>);

impl Io for DataPort {
    fn read(&self, _offset: u64, _size: u32) -> Result<u64, IoError> {
        self.0.change(|state| {
            state.full = false;
            // The interrupt falls before the next byte raises it again.
            self.0.interrupt(state);
            // An empty buffer gives the last byte again.
            state.data.into()
        })
    }
    fn write(&self, _offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        self.0.write(|state| state.write_data(value as u8))
    }
}

struct CommandPort(Arc<I8042>);

impl Io for CommandPort {
    fn read(&self, _offset: u64, _size: u32) -> Result<u64, IoError> {
        Ok(self.0.state.enter()?.status().into())
    }
    fn write(&self, _offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        self.0.write(|state| state.command(value as u8))
    }
}

#[cfg(test)]
mod tests;
