//! A port whose bytes go to a back end as they are: where firmware and small kernels write messages.

use isamorph_chardev::BackEnd;
use isamorph_device::Device;
use isamorph_space::{Io, IoError};
use std::sync::Arc;

/// The port: one byte.
pub struct DebugConsole {
    back: Arc<dyn BackEnd>,
    answer: u8,
}

impl DebugConsole {
    /// What software reads to find out that the port is there: the port number that Bochs gave it.
    pub const PRESENT: u8 = 0xe9;
    /// A port on that back end, which answers `answer` when it is read.
    pub fn new(back: Arc<dyn BackEnd>, answer: u8) -> Arc<Self> {
        Arc::new(DebugConsole { back, answer })
    }
}

impl Io for DebugConsole {
    fn read(&self, _offset: u64, _size: u32) -> Result<u64, IoError> {
        Ok(self.answer.into())
    }
    fn write(&self, _offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        // It has no way to make the guest wait: what the back end does not take is lost.
        self.back.write(&[value as u8]);
        Ok(())
    }
}

impl Device for DebugConsole {
    fn name(&self) -> &str {
        "isa-debugcon"
    }
    fn reset(&self) {}
    fn drive(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use isamorph_chardev::testing::Recorder;

    #[test]
    fn bytes_go_out() {
        let back = Recorder::new();
        let port = DebugConsole::new(back.clone(), DebugConsole::PRESENT);
        b"ok".iter().for_each(|byte| port.write(0, 1, (*byte).into()).unwrap());
        assert_eq!((back.take(), port.read(0, 1)), (b"ok".to_vec(), Ok(0xe9)));
    }
}
