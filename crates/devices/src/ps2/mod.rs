//! Keyboards and mice with a PS/2 plug, as state machines without wires: whatever controller has the socket owns them.
//!
//! References: IBM Personal System/2 Hardware Interface Technical Reference (1988), keyboard and mouse.

mod keyboard;
mod mouse;

pub use keyboard::Keyboard;
pub use mouse::Mouse;

use std::collections::VecDeque;

/// Bytes that wait to be sent; what has no room is lost, as in the devices' own memory.
const QUEUE: usize = 16;
/// Answers to commands that wait besides; software reads them before it sends more commands.
const ANSWERS: usize = 16;

/// Answers.
const ACKNOWLEDGE: u8 = 0xfa;
const RESEND: u8 = 0xfe;
const PASSED: u8 = 0xaa;

/// Bytes on their way to the controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Queue {
    bytes: VecDeque<u8>,
    /// These go first.
    answers: VecDeque<u8>,
    last: u8,
}

impl Queue {
    /// Adds what a user does, all of it or nothing.
    fn add(&mut self, bytes: &[u8]) -> bool {
        let fits = self.bytes.len() + bytes.len() <= QUEUE;
        if fits {
            self.bytes.extend(bytes);
        }
        fits
    }
    /// Answers a command: the controller waits for that before anything else.
    fn answer(&mut self, bytes: &[u8]) {
        let room = ANSWERS.saturating_sub(self.answers.len());
        self.answers.extend(bytes.iter().take(room));
    }
    fn take(&mut self) -> Option<u8> {
        let byte = self.answers.pop_front().or_else(|| self.bytes.pop_front())?;
        self.last = byte;
        Some(byte)
    }
    /// Sends the last byte again.
    fn repeat(&mut self) {
        self.answer(&[self.last]);
    }
    fn is_good(&self) -> bool {
        self.bytes.len() <= QUEUE && self.answers.len() <= ANSWERS
    }
}
