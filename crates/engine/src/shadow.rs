//! The shadow return stack: where compiled code's host stack pointer points.
//!
//! Calls push host return addresses, returns pop them. What lies below the stack pointer does not matter, so emptying
//! it is setting the pointer. The words from the empty position on hold the address of the underflow thunk, and a
//! guard page at the lower end catches overflow.

use isamorph_host::Errno;
use isamorph_host::map::{Reservation, page_size};

/// Room for return addresses.
const BYTES: usize = 1 << 20;
/// Words from the empty position on. One is popped before the thunk resets the pointer.
const ABOVE: usize = 8;
/// Readable and writable (`mmap(2)`).
const READ_WRITE: i32 = 1 | 2;
/// A private mapping without reserved swap space (`mmap(2)`).
const PRIVATE: i32 = 0x2 | 0x4000;

/// A shadow stack.
#[derive(Debug)]
pub struct ShadowStack {
    memory: Reservation,
    guard: usize,
}

impl ShadowStack {
    /// An empty one; `underflow` is the address of the thunk.
    pub fn new(underflow: usize) -> Result<Self, Errno> {
        let guard = page_size();
        let memory = Reservation::anywhere(guard + BYTES)?;
        memory.map_anon(memory.start() + guard, BYTES, READ_WRITE, PRIVATE)?;
        let stack = ShadowStack { memory, guard };
        for i in 0..ABOVE {
            let word = (underflow as u64).to_le_bytes();
            // The stack was just mapped; it cannot be bad memory.
            stack.memory.write(stack.top() + 8 * i, &word).map_err(|_| Errno(14))?;
        }
        Ok(stack)
    }
    /// The empty position.
    pub fn top(&self) -> usize {
        self.memory.start() + self.memory.len() - 8 * ABOVE
    }
    /// Whether an address is where a push lands that finds the stack full.
    pub fn is_overflow(&self, address: usize) -> bool {
        address.wrapping_sub(self.memory.start()) < self.guard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_position_leads_to_the_thunk() {
        isamorph_host::fault::install().unwrap();
        let stack = ShadowStack::new(0x1234_5678_9abc).unwrap();
        let mut word = [0; 8];
        stack.memory.read(stack.top(), &mut word).unwrap();
        assert_eq!(u64::from_le_bytes(word), 0x1234_5678_9abc);
        assert!(!stack.is_overflow(stack.top() - 8));
        assert!(stack.is_overflow(stack.memory.start() + 8));
        assert!(stack.memory.write(stack.memory.start() + 8, &word).is_err());
        assert!(stack.memory.write(stack.memory.start() + page_size(), &word).is_ok());
    }
}
