//! A device for tests that run inside of the machine (pc-testdev): a port and memory that keep what is written, and
//! ports that drive interrupt lines.

use isamorph_device::{BadState, Device, Exclusive, Line, Snapshot};
use isamorph_space::{Io, IoError};
use std::sync::Arc;

/// Bytes of memory.
pub const MEMORY: usize = 64 << 10;

/// What the registers are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    value: u32,
    memory: Vec<u8>,
}

/// The device.
pub struct TestDevice {
    state: Exclusive<State>,
    lines: Vec<Line>,
}

impl TestDevice {
    /// A device that drives those lines.
    pub fn new(lines: Vec<Line>) -> Arc<Self> {
        let state = State { value: 0, memory: vec![0; MEMORY] };
        Arc::new(TestDevice { state: Exclusive::new(state), lines })
    }
    /// The value: four bytes at 0xe0, accessed in any size.
    pub fn value_port(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(Value(self.clone()))
    }
    /// The interrupt lines: a byte for each, at 0x2000.
    pub fn line_ports(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(Lines(self.clone()))
    }
    /// The memory: 64 KiB at 0xff000000, accessed in any size.
    pub fn memory(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(Memory(self.clone()))
    }
}

/// Where an access lies in `length` bytes.
fn bytes(offset: u64, size: u32, length: usize) -> Result<std::ops::Range<usize>, IoError> {
    let start = usize::try_from(offset).map_err(|_| IoError::Refused)?;
    let end = start.checked_add(size as usize).filter(|end| *end <= length && size <= 8).ok_or(IoError::Refused)?;
    Ok(start..end)
}

fn load(from: &[u8]) -> u64 {
    let mut value = [0; 8];
    value[..from.len()].copy_from_slice(from);
    u64::from_le_bytes(value)
}

struct Value(Arc<TestDevice>);

impl Io for Value {
    fn read(&self, offset: u64, size: u32) -> Result<u64, IoError> {
        let value = self.0.state.enter()?.value.to_le_bytes();
        Ok(load(&value[bytes(offset, size, 4)?]))
    }
    fn write(&self, offset: u64, size: u32, value: u64) -> Result<(), IoError> {
        let mut state = self.0.state.enter()?;
        let mut whole = state.value.to_le_bytes();
        whole[bytes(offset, size, 4)?].copy_from_slice(&value.to_le_bytes()[..size as usize]);
        state.value = u32::from_le_bytes(whole);
        Ok(())
    }
}

struct Lines(Arc<TestDevice>);

impl Io for Lines {
    fn read(&self, _offset: u64, _size: u32) -> Result<u64, IoError> {
        Ok(0)
    }
    fn write(&self, offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        self.0.lines.get(offset as usize).ok_or(IoError::Refused)?.set(value != 0);
        Ok(())
    }
}

struct Memory(Arc<TestDevice>);

impl Io for Memory {
    fn read(&self, offset: u64, size: u32) -> Result<u64, IoError> {
        Ok(load(&self.0.state.enter()?.memory[bytes(offset, size, MEMORY)?]))
    }
    fn write(&self, offset: u64, size: u32, value: u64) -> Result<(), IoError> {
        let range = bytes(offset, size, MEMORY)?;
        self.0.state.enter()?.memory[range].copy_from_slice(&value.to_le_bytes()[..size as usize]);
        Ok(())
    }
}

impl Device for TestDevice {
    fn name(&self) -> &str {
        "pc-testdev"
    }
    fn reset(&self) {
        if let Ok(mut state) = self.state.enter() {
            state.value = 0;
            state.memory.fill(0);
        }
    }
    fn drive(&self) {}
}

impl Snapshot for TestDevice {
    type State = State;
    fn save(&self) -> State {
        self.state.enter().map_or(State { value: 0, memory: vec![0; MEMORY] }, |state| state.clone())
    }
    fn restore(&self, saved: &State) -> Result<(), BadState> {
        BadState::unless(saved.memory.len() == MEMORY, "memory")?;
        if let Ok(mut state) = self.state.enter() {
            state.clone_from(saved);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Registers, hammer};
    use isamorph_device::{ManualClock, Probe};

    #[test]
    fn values_stay_and_lines_follow() {
        let probe = Arc::new(Probe::default());
        let device = TestDevice::new((0..24).map(|n| Line::new(probe.clone(), n)).collect());
        device.value_port().write(0, 4, 0x1122_3344).unwrap();
        device.value_port().write(1, 1, 0xff).unwrap();
        assert_eq!((device.value_port().read(0, 4), device.value_port().read(2, 2)), (Ok(0x1122_ff44), Ok(0x1122)));
        device.memory().write(8, 8, 0x0102_0304_0506_0708).unwrap();
        assert_eq!(device.memory().read(12, 2), Ok(0x0304));
        device.line_ports().write(5, 1, 1).unwrap();
        assert_eq!((probe.levels(), device.line_ports().write(24, 1, 1)), (1 << 5, Err(IoError::Refused)));
        let saved = device.save();
        device.reset();
        assert_eq!(device.memory().read(12, 2), Ok(0));
        device.restore(&saved).unwrap();
        assert_eq!(device.memory().read(12, 2), Ok(0x0304));
        assert!(device.restore(&State { value: 0, memory: vec![] }).is_err());
    }

    #[test]
    fn random_accesses() {
        let device = TestDevice::new(vec![Line::unconnected(); 3]);
        let registers = [
            Registers::new(device.value_port(), 8, &[1, 2, 4]),
            Registers::new(device.memory(), 0x1_0010, &[1, 2, 4, 8]),
            Registers::new(device.line_ports(), 24, &[1]),
        ];
        hammer(9, 20_000, &registers, &ManualClock::new(), |_| ());
    }
}
