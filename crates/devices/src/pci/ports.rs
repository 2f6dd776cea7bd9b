//! Configuration mechanism #1 (PCI 3.0, 3.2.2.3.2): an address register and a window to the register that it names.

use super::bus::{Devfn, PciBus};
use isamorph_device::{BadState, Device, Exclusive, Snapshot};
use isamorph_space::{Io, IoError};
use std::sync::Arc;

/// Bit of the address register without which the window is not one.
const ENABLE: u32 = 1 << 31;

/// The two registers of a host bridge.
pub struct ConfigPorts {
    bus: Arc<PciBus>,
    address: Exclusive<u32>,
}

impl ConfigPorts {
    /// The registers for a bus and those behind it.
    pub fn new(bus: Arc<PciBus>) -> Arc<Self> {
        Arc::new(ConfigPorts { bus, address: Exclusive::new(0) })
    }
    /// The address register: four bytes at 0xcf8, of which other chips use parts as bytes.
    pub fn address(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(Address(self.clone()))
    }
    /// The window: four bytes at 0xcfc.
    pub fn data(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(Data(self.clone()))
    }
    /// The function and the register that the window shows at an offset.
    fn target(&self, offset: u64) -> Result<Option<(Arc<super::Function>, usize)>, IoError> {
        let address = *self.address.enter()?;
        if address & ENABLE == 0 {
            return Ok(None);
        }
        let [register, devfn, bus, _] = address.to_le_bytes();
        let function = self.bus.find(bus, Devfn::from_byte(devfn));
        Ok(function.map(|function| (function, usize::from(register & 0xfc) + offset as usize)))
    }
}

impl Device for ConfigPorts {
    fn name(&self) -> &str {
        "pci-config"
    }
    fn reset(&self) {
        if let Ok(mut address) = self.address.enter() {
            *address = 0;
        }
    }
    fn drive(&self) {}
}

/// The address register.
impl Snapshot for ConfigPorts {
    type State = u32;
    fn save(&self) -> u32 {
        self.address.enter().map_or(0, |address| *address)
    }
    fn restore(&self, saved: &u32) -> Result<(), BadState> {
        *self.address.enter().map_err(|_| BadState("PCI address register"))? = *saved;
        Ok(())
    }
}

struct Address(Arc<ConfigPorts>);

impl Io for Address {
    fn read(&self, _offset: u64, _size: u32) -> Result<u64, IoError> {
        Ok((*self.0.address.enter()?).into())
    }
    fn write(&self, _offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        *self.0.address.enter()? = value as u32;
        Ok(())
    }
    /// Only as a whole; smaller accesses go to the ports behind it, of which there are none.
    fn accepts(&self, _offset: u64, size: u32, _write: bool) -> bool {
        size == 4
    }
}

struct Data(Arc<ConfigPorts>);

impl Io for Data {
    fn read(&self, offset: u64, size: u32) -> Result<u64, IoError> {
        match self.0.target(offset)? {
            Some((function, at)) => function.read(at, size as usize).map(u64::from),
            // Nobody answers: the host bridge gives ones (3.2.2.3.4).
            None => Ok(u64::MAX >> (64 - 8 * size)),
        }
    }
    fn write(&self, offset: u64, size: u32, value: u64) -> Result<(), IoError> {
        match self.0.target(offset)? {
            Some((function, at)) => function.write(at, size as usize, value as u32),
            None => Ok(()),
        }
    }
}
