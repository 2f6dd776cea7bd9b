//! A port that ends the process, for tests that run inside of the machine.

use isamorph_device::{Device, Request, Requests};
use isamorph_space::{Io, IoError};
use std::sync::Arc;

/// The port.
pub struct ExitPort(Requests);

impl ExitPort {
    /// A port that asks that way.
    pub fn new(requests: Requests) -> Arc<Self> {
        Arc::new(ExitPort(requests))
    }
}

impl Io for ExitPort {
    fn read(&self, _offset: u64, _size: u32) -> Result<u64, IoError> {
        Ok(0)
    }
    fn write(&self, _offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        // Odd, so that it is told from the status of a machine that was switched off.
        self.0.send(Request::Exit((value as i32).wrapping_shl(1) | 1));
        Ok(())
    }
}

impl Device for ExitPort {
    fn name(&self) -> &str {
        "isa-debug-exit"
    }
    fn reset(&self) {}
    fn drive(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn the_status_is_odd() {
        let seen = Arc::new(Mutex::new(vec![]));
        let log = seen.clone();
        let port = ExitPort::new(Requests::new(move |request| log.lock().unwrap().push(request)));
        port.write(0, 1, 0).unwrap();
        port.write(0, 4, 0x10).unwrap();
        assert_eq!((port.read(0, 1), seen.lock().unwrap().clone()), (Ok(0), vec![Request::Exit(1), Request::Exit(33)]));
    }
}
