//! Message-signalled interrupts (PCI 3.0, 6.8.1).

use super::config::{Bank, Registers, get16, get32};
use isamorph_device::Dma;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Control: messages are on, and the pin is silent.
const ENABLE: u16 = 1;
/// Control: the address has 64 bits; vectors can be masked one by one.
const WIDE: u16 = 1 << 7;
const MASKABLE: u16 = 1 << 8;

/// Offsets in the capability with a 64-bit address.
mod at {
    pub const CONTROL: usize = 2;
    pub const ADDRESS: usize = 4;
    pub const DATA: usize = 12;
    pub const MASK: usize = 16;
    pub const PENDING: usize = 20;
}

/// A write to memory that is an interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Message {
    /// Where to.
    pub address: u64,
    /// What.
    pub data: u32,
}

impl Message {
    /// Sends it. What nobody receives is lost, as on the bus.
    pub fn send(self, dma: &Dma) {
        let _ = dma.write(self.address & !3, &self.data.to_le_bytes());
    }
}

#[derive(Default)]
struct State {
    control: u16,
    message: Message,
    mask: u32,
    pending: u32,
}

impl State {
    /// Vectors that software has enabled.
    fn vectors(&self) -> u32 {
        1 << (self.control >> 4 & 7).min(5)
    }
    fn message(&self, vector: u32) -> Message {
        // The low bits of the data are the function's to change (6.8.1.6).
        let low = self.vectors() - 1;
        Message { data: self.message.data & !low | vector & low, ..self.message }
    }
    fn is_enabled(&self) -> bool {
        self.control & ENABLE != 0
    }
}

/// Up to 32 interrupts as messages, with masks and pending bits.
pub struct Msi {
    dma: Dma,
    vectors: u8,
    state: Mutex<State>,
}

impl Msi {
    /// Number of the capability.
    pub const ID: u8 = 5;

    /// A function's messages; `vectors` is rounded up to a power of two, 32 at most.
    pub fn new(dma: Dma, vectors: u8) -> Arc<Self> {
        Arc::new(Msi { dma, vectors: vectors.clamp(1, 32).next_power_of_two(), state: Mutex::default() })
    }
    /// Its registers, for [`Layout::capability`](super::Layout::capability).
    pub fn bank(self: &Arc<Self>) -> Bank {
        let (mut reset, mut writable) = ([0; 24], [0; 24]);
        let control = (self.vectors.trailing_zeros() as u16) << 1 | WIDE | MASKABLE;
        reset[at::CONTROL..at::CONTROL + 2].copy_from_slice(&control.to_le_bytes());
        writable[at::CONTROL] = 0x71;
        writable[at::ADDRESS] = 0xfc;
        writable[at::ADDRESS + 1..at::DATA + 2].fill(0xff);
        let all = u32::MAX >> (32 - u32::from(self.vectors));
        writable[at::MASK..at::MASK + 4].copy_from_slice(&all.to_le_bytes());
        Bank::new(0, &reset).writable(&writable).registers(self.clone())
    }
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Whether software has switched from the pin to messages.
    pub fn is_enabled(&self) -> bool {
        self.lock().is_enabled()
    }
    /// Sends the message of a vector, or notes that it is pending while it is masked; nothing while messages are off.
    pub fn notify(&self, vector: u8) {
        let message = {
            let mut state = self.lock();
            if !state.is_enabled() {
                return;
            }
            let vector = u32::from(vector) % state.vectors();
            if state.mask >> vector & 1 != 0 {
                state.pending |= 1 << vector;
                return;
            }
            state.message(vector)
        };
        message.send(&self.dma);
    }
}

impl Registers for Msi {
    fn written(&self, bytes: &mut [u8]) {
        let messages: Vec<_> = {
            let mut state = self.lock();
            state.control = get16(bytes, at::CONTROL);
            let address = u64::from(get32(bytes, at::ADDRESS)) | u64::from(get32(bytes, at::ADDRESS + 4)) << 32;
            state.message = Message { address, data: get16(bytes, at::DATA).into() };
            state.mask = get32(bytes, at::MASK);
            if !state.is_enabled() {
                state.pending = 0;
            }
            let due = state.pending & !state.mask;
            state.pending &= !due;
            (0..32).filter(|vector| due >> vector & 1 != 0).map(|vector| state.message(vector)).collect()
        };
        messages.into_iter().for_each(|message| message.send(&self.dma));
    }
    fn replaced(&self, bytes: &mut [u8]) {
        self.lock().pending = get32(bytes, at::PENDING);
        self.written(bytes);
    }
    fn refresh(&self, bytes: &mut [u8]) {
        bytes[at::PENDING..at::PENDING + 4].copy_from_slice(&self.lock().pending.to_le_bytes());
    }
}
