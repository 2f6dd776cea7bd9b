//! Message-signalled interrupts with a table (MSI-X; PCI 3.0, 6.8.2).

use super::config::{Bank, Registers, get16};
use super::msi::Message;
use isamorph_device::{BadState, Dma, Snapshot};
use isamorph_space::{Io, IoError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Control: on; all vectors masked.
const ENABLE: u16 = 1 << 15;
const MASK_ALL: u16 = 1 << 14;
/// Most vectors that a function can have.
const MOST: u16 = 2048;

/// An entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    message: Message,
    masked: bool,
    pending: bool,
}

impl Entry {
    const RESET: Entry = Entry { message: Message { address: 0, data: 0 }, masked: true, pending: false };

    fn word(&self, at: u64) -> u32 {
        match at & 3 {
            0 => self.message.address as u32,
            1 => (self.message.address >> 32) as u32,
            2 => self.message.data,
            _ => self.masked.into(),
        }
    }
    fn set_word(&mut self, at: u64, value: u32) {
        let Message { address, data } = &mut self.message;
        match at & 3 {
            0 => *address = *address & !0xffff_ffff | u64::from(value & !3),
            1 => *address = *address & 0xffff_ffff | u64::from(value) << 32,
            2 => *data = value,
            _ => self.masked = value & 1 != 0,
        }
    }
}

struct State {
    control: u16,
    table: Vec<Entry>,
}

impl State {
    fn is_open(&self) -> bool {
        self.control & (ENABLE | MASK_ALL) == ENABLE
    }
    /// The messages that wait for no mask any more.
    fn take_due(&mut self) -> Vec<Message> {
        if !self.is_open() {
            return Vec::new();
        }
        let due = self.table.iter_mut().filter(|entry| entry.pending && !entry.masked);
        due.map(|entry| {
            entry.pending = false;
            entry.message
        })
        .collect()
    }
}

/// Up to 2048 interrupts as messages, each with an address of its own.
pub struct MsiX {
    dma: Dma,
    state: Mutex<State>,
}

impl MsiX {
    /// Number of the capability.
    pub const ID: u8 = 0x11;

    /// A function's messages.
    pub fn new(dma: Dma, vectors: u16) -> Arc<Self> {
        let table = vec![Entry::RESET; vectors.clamp(1, MOST).into()];
        Arc::new(MsiX { dma, state: Mutex::new(State { control: 0, table }) })
    }
    /// Its registers, for [`Layout::capability`](super::Layout::capability): the numbers of the base address registers
    /// behind which the table and the pending bits are, and their offsets, multiples of 8.
    pub fn bank(self: &Arc<Self>, table: (u8, u32), pending: (u8, u32)) -> Bank {
        let mut reset = [0; 12];
        let last = self.lock().table.len() as u16 - 1;
        reset[2..4].copy_from_slice(&last.to_le_bytes());
        reset[4..8].copy_from_slice(&(table.1 & !7 | u32::from(table.0)).to_le_bytes());
        reset[8..12].copy_from_slice(&(pending.1 & !7 | u32::from(pending.0)).to_le_bytes());
        Bank::new(0, &reset).writable(&[0, 0, 0, 0xc0]).registers(self.clone())
    }
    /// The table: 16 bytes per vector, accessed in words of 4 bytes.
    pub fn table(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(Table(self.clone()))
    }
    /// The pending bits, in words of 4 bytes.
    pub fn pending(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(Pending(self.clone()))
    }
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Whether software has switched from the pin to messages.
    pub fn is_enabled(&self) -> bool {
        self.lock().control & ENABLE != 0
    }
    /// Sends the message of a vector, or notes that it is pending while it is masked; nothing while messages are off.
    pub fn notify(&self, vector: u16) {
        let message = {
            let mut state = self.lock();
            let (enabled, open) = (state.control & ENABLE != 0, state.is_open());
            match state.table.get_mut(usize::from(vector)).filter(|_| enabled) {
                Some(entry) if open && !entry.masked => entry.message,
                Some(entry) => return entry.pending = true,
                None => return,
            }
        };
        message.send(&self.dma);
    }
    fn change(&self, change: impl FnOnce(&mut State)) {
        let due = {
            let mut state = self.lock();
            change(&mut state);
            state.take_due()
        };
        due.into_iter().for_each(|message| message.send(&self.dma));
    }
}

impl Registers for MsiX {
    fn written(&self, bytes: &mut [u8]) {
        self.change(|state| state.control = get16(bytes, 2));
    }
    fn replaced(&self, bytes: &mut [u8]) {
        self.lock().table.fill(Entry::RESET);
        self.written(bytes);
    }
}

/// The table; whether messages are on is in configuration space.
impl Snapshot for MsiX {
    type State = Vec<Entry>;
    fn save(&self) -> Vec<Entry> {
        self.lock().table.clone()
    }
    fn restore(&self, table: &Vec<Entry>) -> Result<(), BadState> {
        let mut state = self.lock();
        BadState::unless(table.len() == state.table.len(), "size of the MSI-X table")?;
        state.table.clone_from(table);
        Ok(())
    }
}

struct Table(Arc<MsiX>);

impl Io for Table {
    fn read(&self, offset: u64, _size: u32) -> Result<u64, IoError> {
        let state = self.0.lock();
        Ok(state.table.get((offset / 16) as usize).map_or(0, |entry| entry.word(offset / 4)).into())
    }
    fn write(&self, offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        self.0.change(|state| {
            if let Some(entry) = state.table.get_mut((offset / 16) as usize) {
                entry.set_word(offset / 4, value as u32);
            }
        });
        Ok(())
    }
}

struct Pending(Arc<MsiX>);

impl Io for Pending {
    fn read(&self, offset: u64, _size: u32) -> Result<u64, IoError> {
        let state = self.0.lock();
        let first = (offset / 4 * 32) as usize;
        let bits = state.table.iter().skip(first).take(32).enumerate();
        Ok(bits.fold(0, |all, (bit, entry)| all | u64::from(entry.pending) << bit))
    }
    /// They are the function's.
    fn write(&self, _offset: u64, _size: u32, _value: u64) -> Result<(), IoError> {
        Ok(())
    }
}
