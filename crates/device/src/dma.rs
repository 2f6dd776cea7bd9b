//! Memory as a device that transfers by itself sees it.

use crate::exclusive::in_transfer;
use isamorph_space::{AddressSpace, Failure};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why a transfer was not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DmaError {
    /// The bus does not let the device transfer.
    Disabled,
    /// Memory did not take part.
    Memory(Failure),
}

impl From<Failure> for DmaError {
    fn from(failure: Failure) -> Self {
        DmaError::Memory(failure)
    }
}

/// A device's way to memory. Clones share the switch that the bus controls.
#[derive(Clone)]
pub struct Dma {
    space: Arc<AddressSpace>,
    enabled: Arc<AtomicBool>,
}

impl Dma {
    /// A way to that space; whether it is open at first.
    pub fn new(space: Arc<AddressSpace>, enabled: bool) -> Self {
        Dma { space, enabled: Arc::new(AtomicBool::new(enabled)) }
    }
    /// Opens or closes it (the bus-master bit of a PCI function).
    pub fn set_enabled(&self, on: bool) {
        self.enabled.store(on, Ordering::Release);
    }
    fn space(&self) -> Result<&AddressSpace, DmaError> {
        if self.enabled.load(Ordering::Acquire) { Ok(&self.space) } else { Err(DmaError::Disabled) }
    }
    /// Reads bytes.
    ///
    /// # Errors
    /// The way is closed, or not all could be read.
    pub fn read(&self, addr: u64, out: &mut [u8]) -> Result<(), DmaError> {
        let space = self.space()?;
        Ok(in_transfer(|| space.read(addr, out))?)
    }
    /// Writes bytes.
    ///
    /// # Errors
    /// The way is closed, or not all could be written.
    pub fn write(&self, addr: u64, data: &[u8]) -> Result<(), DmaError> {
        let space = self.space()?;
        Ok(in_transfer(|| space.write(addr, data))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Exclusive;
    use isamorph_space::{Io, IoError, IoRules, Map};

    /// A device that copies a byte on command, wherever that leads.
    struct Copier {
        state: Exclusive<u64>,
        dma: std::sync::OnceLock<Dma>,
    }

    impl Io for Copier {
        fn read(&self, _offset: u64, _size: u32) -> Result<u64, IoError> {
            Ok(*self.state.enter()?)
        }
        fn write(&self, _offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
            let mut state = self.state.enter()?;
            let outcome = self.dma.get().map(|dma| dma.write(value, &[1]));
            *state = u64::from(outcome == Some(Err(DmaError::Memory(Failure::Reentered))));
            Ok(())
        }
    }

    #[test]
    fn a_transfer_into_the_device_itself_is_refused() {
        let (map, copier) = (Map::new(), Arc::new(Copier { state: Exclusive::new(0), dma: Default::default() }));
        let root = map.update(|t| t.io("copier", 16, IoRules::exactly(1, 4), copier.clone()));
        let space = map.space("memory", root);
        let dma = Dma::new(space.clone(), true);
        assert!(copier.dma.set(dma.clone()).is_ok());
        space.store(0, 1, 8).unwrap();
        assert_eq!(space.load(0, 1), Ok(1));
        dma.set_enabled(false);
        assert_eq!(dma.read(0, &mut [0]), Err(DmaError::Disabled));
    }
}
