//! The port by which a guest's operating system says that it has crashed (pvpanic).

use isamorph_device::{Device, Request, Requests};
use isamorph_space::{Io, IoError};
use std::sync::Arc;

/// It has crashed.
const PANICKED: u64 = 1;
/// It has crashed, and its crash kernel takes over; nothing is asked of the machine.
const CRASH_LOADED: u64 = 2;
/// It has shut down and wants to be switched off.
const SHUTDOWN: u64 = 4;

/// The port: one byte, usually at 0x505.
pub struct PanicPort(Requests);

impl PanicPort {
    /// A port that passes on what it is told that way.
    pub fn new(requests: Requests) -> Arc<Self> {
        Arc::new(PanicPort(requests))
    }
}

impl Io for PanicPort {
    fn read(&self, _offset: u64, _size: u32) -> Result<u64, IoError> {
        // What can be told.
        Ok(PANICKED | CRASH_LOADED | SHUTDOWN)
    }
    fn write(&self, _offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        if value & PANICKED != 0 {
            self.0.send(Request::Panicked);
        } else if value & SHUTDOWN != 0 {
            self.0.send(Request::Shutdown);
        }
        Ok(())
    }
}

impl Device for PanicPort {
    fn name(&self) -> &str {
        "pvpanic"
    }
    fn reset(&self) {}
    fn drive(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn what_is_told_is_passed_on() {
        let seen = Arc::new(Mutex::new(vec![]));
        let log = seen.clone();
        let port = PanicPort::new(Requests::new(move |request| log.lock().unwrap().push(request)));
        assert_eq!(port.read(0, 1), Ok(7));
        [1, 2, 4, 8].into_iter().for_each(|event| port.write(0, 1, event).unwrap());
        assert_eq!(*seen.lock().unwrap(), [Request::Panicked, Request::Shutdown]);
    }
}
