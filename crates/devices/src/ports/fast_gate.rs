//! System control port A of the PS/2 at 0x92: address line 20 and a reset without the keyboard controller.
//!
//! References: IBM Personal System/2 Hardware Interface Technical Reference (1988), system control port A.

use isamorph_device::{BadState, Device, Exclusive, Line, Request, Requests, Snapshot};
use isamorph_space::{Io, IoError};
use std::sync::Arc;

const RESET: u8 = 1;
const LINE_20: u8 = 2;

/// The port.
pub struct FastGate {
    state: Exclusive<u8>,
    line_20: Line,
    requests: Requests,
}

impl FastGate {
    /// A port that drives address line 20, low to hold it low, and asks for resets that way. Another chip may drive
    /// the line too: the last one that changed it has its way.
    pub fn new(line_20: Line, requests: Requests) -> Arc<Self> {
        Arc::new(FastGate { state: Exclusive::new(0), line_20, requests })
    }
}

impl Io for FastGate {
    fn read(&self, _offset: u64, _size: u32) -> Result<u64, IoError> {
        Ok((*self.state.enter()?).into())
    }
    fn write(&self, _offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        let mut state = self.state.enter()?;
        let before = std::mem::replace(&mut *state, value as u8);
        self.line_20.set(*state & LINE_20 != 0);
        if *state & !before & RESET != 0 {
            self.requests.send(Request::Reset);
        }
        Ok(())
    }
}

impl Device for FastGate {
    fn name(&self) -> &str {
        "port92"
    }
    fn reset(&self) {
        if let Ok(mut state) = self.state.enter() {
            *state = 0;
        }
    }
    /// The line is left to the keyboard controller, which enables it at reset.
    fn drive(&self) {}
}

impl Snapshot for FastGate {
    type State = u8;
    fn save(&self) -> u8 {
        self.state.enter().map_or(0, |state| *state)
    }
    fn restore(&self, saved: &u8) -> Result<(), BadState> {
        if let Ok(mut state) = self.state.enter() {
            *state = *saved;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isamorph_device::Probe;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn line_20_and_the_reset() {
        let ((probe, line), count) = (Probe::new(), Arc::new(AtomicU32::new(0)));
        let resets = count.clone();
        let port = FastGate::new(line, Requests::new(move |_| _ = resets.fetch_add(1, Ordering::Relaxed)));
        port.write(0, 1, 2).unwrap();
        assert_eq!((probe.is_high(), port.read(0, 1)), (true, Ok(2)));
        port.write(0, 1, 0).unwrap();
        assert!(!probe.is_high());
        port.write(0, 1, 3).unwrap();
        port.write(0, 1, 3).unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 1, "the bit must rise");
        let saved = port.save();
        port.reset();
        assert_eq!(port.read(0, 1), Ok(0));
        port.restore(&saved).unwrap();
        assert_eq!(port.read(0, 1), Ok(3));
    }
}
