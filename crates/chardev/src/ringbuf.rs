//! A back end that keeps the last bytes in memory, for whoever asks for them.

use crate::{BackEnd, FrontEnd};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError, Weak};

/// Such a back end.
#[derive(Debug)]
pub struct Ringbuf {
    bytes: Mutex<VecDeque<u8>>,
    size: usize,
}

impl Ringbuf {
    /// A buffer for so many bytes.
    pub fn new(size: usize) -> Self {
        Ringbuf { bytes: Mutex::default(), size: size.max(1) }
    }
    /// Takes at most that many of the oldest bytes.
    pub fn read(&self, limit: usize) -> Vec<u8> {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let length = bytes.len().min(limit);
        bytes.drain(..length).collect()
    }
}

impl BackEnd for Ringbuf {
    fn attach(&self, _front: Weak<dyn FrontEnd>) {}
    fn write(&self, data: &[u8]) -> usize {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.extend(&data[data.len().saturating_sub(self.size)..]);
        let excess = bytes.len().saturating_sub(self.size);
        bytes.drain(..excess);
        data.len()
    }
    fn accept(&self) {}
    fn is_open(&self) -> bool {
        true
    }
    fn describe(&self) -> String {
        "ringbuf".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_bytes_are_lost() {
        let ring = Ringbuf::new(4);
        assert_eq!(ring.write(b"abc") + ring.write(b"def"), 6);
        assert_eq!(ring.read(2), b"cd");
        assert_eq!(ring.write(b"0123456789"), 10);
        assert_eq!(ring.read(100), b"6789");
    }
}
