//! The controller of the system management bus (PIIX4 datasheet, 7.3), with nobody on the bus.

/// Register offsets.
mod reg {
    pub const STATUS: u64 = 0;
    pub const CONTROL: u64 = 2;
    pub const COMMAND: u64 = 3;
    pub const ADDRESS: u64 = 4;
    pub const DATA0: u64 = 5;
    pub const DATA1: u64 = 6;
    pub const BLOCK: u64 = 7;
}

/// Status: nobody has acknowledged the address.
const DEVICE_ERROR: u8 = 0x04;
/// Status: a transfer was ended by software.
const FAILED: u8 = 0x10;
/// Bits of the status that software clears.
const CLEARABLE: u8 = 0x1e;
/// Control: begin, which is not stored; end now.
const START: u8 = 0x40;
const KILL: u8 = 0x02;
/// Bytes of the block buffer.
const BLOCK: usize = 32;

/// The controller's registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Smbus {
    status: u8,
    control: u8,
    command: u8,
    address: u8,
    data: [u8; 2],
    block: [u8; BLOCK],
    /// Next byte of the block.
    next: usize,
}

impl Smbus {
    /// Whether a controller can be in this state.
    pub(super) fn is_possible(&self) -> bool {
        self.next < BLOCK
    }
    pub(super) fn read(&mut self, offset: u64) -> u8 {
        match offset {
            reg::STATUS => self.status,
            reg::CONTROL => {
                // Reading it starts the block buffer from its beginning.
                self.next = 0;
                self.control
            }
            reg::COMMAND => self.command,
            reg::ADDRESS => self.address,
            reg::DATA0 => self.data[0],
            reg::DATA1 => self.data[1],
            reg::BLOCK => {
                let byte = self.block[self.next];
                self.next = (self.next + 1) % BLOCK;
                byte
            }
            _ => 0,
        }
    }
    pub(super) fn write(&mut self, offset: u64, value: u8) {
        match offset {
            reg::STATUS => self.status &= !(value & CLEARABLE),
            reg::CONTROL => {
                self.control = value & !START;
                if value & KILL != 0 {
                    self.status |= FAILED;
                } else if value & START != 0 {
                    self.status |= DEVICE_ERROR;
                }
            }
            reg::COMMAND => self.command = value,
            reg::ADDRESS => self.address = value,
            reg::DATA0 => self.data[0] = value,
            reg::DATA1 => self.data[1] = value,
            reg::BLOCK => {
                self.block[self.next] = value;
                self.next = (self.next + 1) % BLOCK;
            }
            _ => {}
        }
    }
}
