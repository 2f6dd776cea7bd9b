//! The pair of 8237A DMA controllers of a PC with their page registers.
//!
//! References: Intel 8237A datasheet (order number 231466).
//!
//! Software can program them and read back what it programmed. No device of the machine asks them for a transfer.

use isamorph_device::{BadState, Device, Exclusive, Snapshot};
use isamorph_space::{Io, IoError};
use std::sync::Arc;

/// Register numbers from 8 on; below are address and count of each channel.
mod reg {
    /// Status when it is read.
    pub const COMMAND: u64 = 8;
    pub const REQUEST: u64 = 9;
    pub const MASK_ONE: u64 = 10;
    pub const MODE: u64 = 11;
    pub const FIRST_BYTE: u64 = 12;
    /// The temporary register when it is read.
    pub const CLEAR: u64 = 13;
    pub const UNMASK: u64 = 14;
    pub const MASK_ALL: u64 = 15;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Channel {
    /// Address and count as they were written, and as they are.
    base: [u16; 2],
    current: [u16; 2],
    mode: u8,
}

/// One 8237A.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Chip {
    channels: [Channel; 4],
    command: u8,
    /// Channels that software asks a transfer for.
    requests: u8,
    mask: u8,
    /// The next byte of an address or a count is the high one.
    second: bool,
}

impl Chip {
    const fn new() -> Self {
        let channel = Channel { base: [0; 2], current: [0; 2], mode: 0 };
        Chip { channels: [channel; 4], command: 0, requests: 0, mask: 0xf, second: false }
    }
    /// Master clear: what the channels were programmed to stays.
    fn clear(&mut self) {
        *self = Chip { channels: self.channels, ..Chip::new() };
    }
    /// Whether the byte that is transferred now is the second one.
    fn toggle(&mut self) -> bool {
        self.second = !self.second;
        !self.second
    }
    fn read(&mut self, register: u64) -> u8 {
        match register {
            0..reg::COMMAND => {
                let value = self.channels[(register / 2) as usize].current[(register & 1) as usize];
                let second = self.toggle();
                value.to_le_bytes()[usize::from(second)]
            }
            // No channel has come to its end.
            reg::COMMAND => self.requests << 4,
            reg::MASK_ALL => self.mask | 0xf0,
            _ => 0,
        }
    }
    fn write(&mut self, register: u64, value: u8) {
        let (channel, bit) = (usize::from(value & 3), 1 << (value & 3));
        let with = |bits: u8| if value & 4 != 0 { bits | bit } else { bits & !bit };
        match register {
            0..reg::COMMAND => {
                let second = self.toggle();
                let (channel, which) = (&mut self.channels[(register / 2) as usize], (register & 1) as usize);
                let mut bytes = channel.base[which].to_le_bytes();
                bytes[usize::from(second)] = value;
                channel.base[which] = u16::from_le_bytes(bytes);
                channel.current[which] = channel.base[which];
            }
            reg::COMMAND => self.command = value,
            reg::REQUEST => self.requests = with(self.requests),
            reg::MASK_ONE => self.mask = with(self.mask),
            reg::MODE => self.channels[channel].mode = value & !3,
            reg::FIRST_BYTE => self.second = false,
            reg::CLEAR => self.clear(),
            reg::UNMASK => self.mask = 0,
            reg::MASK_ALL => self.mask = value & 0xf,
            _ => {}
        }
    }
}

/// What the registers are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    chips: [Chip; 2],
    /// Bits 23:16 of the addresses of some; the others only keep what is written, as firmware's progress codes.
    pages: [u8; 16],
}

impl State {
    const fn new() -> Self {
        State { chips: [Chip::new(), Chip::new()], pages: [0; 16] }
    }
}

/// The pair.
pub struct DmaPair(Exclusive<State>);

impl DmaPair {
    /// A pair with all channels masked.
    pub fn new() -> Arc<Self> {
        Arc::new(DmaPair(Exclusive::new(State::new())))
    }
    /// The registers of the first controller, 16 bytes at 0, or of the second, 32 bytes at 0xc0.
    pub fn ports(self: &Arc<Self>, which: usize) -> Arc<dyn Io> {
        Arc::new(Ports { pair: self.clone(), which: which & 1 })
    }
    /// The page registers: 16 bytes at 0x80.
    pub fn page_ports(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(Pages(self.clone()))
    }
    /// What was last written to port 0x80, where firmware shows how far it has come.
    pub fn progress(&self) -> u8 {
        self.0.enter().map_or(0, |state| state.pages[0])
    }
}

struct Ports {
    pair: Arc<DmaPair>,
    which: usize,
}

impl Ports {
    /// The second controller's registers are two ports apart.
    fn register(&self, offset: u64) -> u64 {
        offset >> self.which & 15
    }
}

impl Io for Ports {
    fn read(&self, offset: u64, _size: u32) -> Result<u64, IoError> {
        Ok(self.pair.0.enter()?.chips[self.which].read(self.register(offset)).into())
    }
    fn write(&self, offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        self.pair.0.enter()?.chips[self.which].write(self.register(offset), value as u8);
        Ok(())
    }
}

struct Pages(Arc<DmaPair>);

impl Io for Pages {
    fn read(&self, offset: u64, _size: u32) -> Result<u64, IoError> {
        Ok(self.0.0.enter()?.pages[(offset & 15) as usize].into())
    }
    fn write(&self, offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        self.0.0.enter()?.pages[(offset & 15) as usize] = value as u8;
        Ok(())
    }
}

impl Device for DmaPair {
    fn name(&self) -> &str {
        "i8257"
    }
    fn reset(&self) {
        if let Ok(mut state) = self.0.enter() {
            *state = State::new();
        }
    }
    fn drive(&self) {}
}

impl Snapshot for DmaPair {
    type State = State;
    fn save(&self) -> State {
        self.0.enter().map_or(State::new(), |state| state.clone())
    }
    fn restore(&self, saved: &State) -> Result<(), BadState> {
        BadState::unless(saved.chips.iter().all(|chip| chip.mask | chip.requests < 16), "channels")?;
        if let Ok(mut state) = self.0.enter() {
            state.clone_from(saved);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Registers, hammer};
    use isamorph_device::ManualClock;

    #[test]
    fn what_is_programmed_is_read_back() {
        let pair = DmaPair::new();
        for (which, step) in [(0, 1), (1, 2)] {
            let ports = pair.ports(which);
            ports.write(12 * step, 1, 0).unwrap();
            for (register, value) in [(2u64, 0x1234u64), (3, 0xabcd)] {
                ports.write(register * step, 1, value & 0xff).unwrap();
                ports.write(register * step, 1, value >> 8).unwrap();
                let read = ports.read(register * step, 1).unwrap() | ports.read(register * step, 1).unwrap() << 8;
                assert_eq!(read, value);
            }
            assert_eq!(ports.read(15 * step, 1), Ok(0xff));
            ports.write(10 * step, 1, 2).unwrap();
            assert_eq!(ports.read(15 * step, 1), Ok(0xfb));
            ports.write(9 * step, 1, 5).unwrap();
            assert_eq!(ports.read(8 * step, 1), Ok(0x20));
            ports.write(2 * step, 1, 0x77).unwrap();
            ports.write(13 * step, 1, 0).unwrap();
            assert_eq!((ports.read(15 * step, 1), ports.read(8 * step, 1)), (Ok(0xff), Ok(0)));
            assert_eq!(ports.read(2 * step, 1), Ok(0x77), "the first byte is next again");
        }
        pair.page_ports().write(0, 1, 0x42).unwrap();
        pair.page_ports().write(7, 1, 0x43).unwrap();
        assert_eq!((pair.progress(), pair.page_ports().read(7, 1)), (0x42, Ok(0x43)));
    }

    #[test]
    fn saved_state_comes_back() {
        let pair = DmaPair::new();
        pair.ports(0).write(2, 1, 0x42).unwrap();
        let mut saved = pair.save();
        pair.reset();
        pair.restore(&saved).unwrap();
        assert_eq!(pair.save(), saved);
        saved.chips[1].mask = 16;
        assert_eq!(pair.restore(&saved), Err(BadState("channels")));
    }

    #[test]
    fn random_accesses() {
        let pair = DmaPair::new();
        let registers = [
            Registers::new(pair.ports(0), 16, &[1]),
            Registers::new(pair.ports(1), 32, &[1]),
            Registers::new(pair.page_ports(), 16, &[1]),
        ];
        hammer(10, 50_000, &registers, &ManualClock::new(), |_| ());
        pair.restore(&pair.save()).unwrap();
    }
}
