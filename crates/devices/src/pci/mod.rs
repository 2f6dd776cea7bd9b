//! PCI: functions, buses, bridges, and the way from a processor's ports to configuration space.
//!
//! References: PCI Local Bus Specification 3.0; PCI-to-PCI Bridge Architecture Specification 1.2.
//!
//! A function is added in three steps. [`PciBus::socket`] gives the wires of a place on the bus: an interrupt line and
//! a [`Dma`](isamorph_device::Dma) whose switch is the bus-master bit. The chip is built with them. Then
//! [`PciBus::plug`] puts it there, with a [`Layout`]: an [`Identity`], the regions behind its base address registers
//! ([`Bar`]), and [`Bank`]s for those registers of configuration space that are the chip's own.
//!
//! ```text
//! const IDENTITY: Identity = Identity::new("piix3-ide", 0x8086, 0x7010, 0x01_01_80);
//! let socket = bus.socket(Devfn::new(1, 1));
//! let ide = Ide::new(socket.dma(), …);
//! let master = map.update(|tree| tree.io("bus master", 16, IoRules::exactly(1, 4), ide.bus_master()));
//! let timing = Bank::new(0x40, &[0; 4]).writable(&[0xff; 4]);
//! bus.plug(&socket, Layout::new(IDENTITY).bar(4, Bar::io(master, 16)).bank(timing));
//! ```
//!
//! # Locks
//!
//! The lock of a function's configuration space comes before that of the chip: a bank's [`Registers`] may lock the chip
//! (and change the memory map), the chip never reads its own configuration space.

mod bar;
mod bridge;
mod bus;
mod config;
mod function;
mod msi;
mod msix;
mod ports;

#[cfg(test)]
mod tests;

pub use bar::Bar;
pub use bridge::bridge;
pub use bus::{Devfn, PciBus, Pins, Socket};
pub use config::{Bank, Registers};
pub use function::{Function, Identity, Layout};
pub use msi::{Message, Msi};
pub use msix::{Entry, MsiX};
pub use ports::ConfigPorts;

/// Offsets in configuration space and the bits of its registers (PCI 3.0, 6.1 and 6.2).
pub mod reg {
    /// Vendor.
    pub const VENDOR: usize = 0x00;
    /// Device.
    pub const DEVICE: usize = 0x02;
    /// Command.
    pub const COMMAND: usize = 0x04;
    /// Status.
    pub const STATUS: usize = 0x06;
    /// Revision; the three bytes of the class are above it.
    pub const REVISION: usize = 0x08;
    /// Header type.
    pub const HEADER: usize = 0x0e;
    /// First base address register.
    pub const BAR0: usize = 0x10;
    /// Subsystem vendor; the subsystem is above it.
    pub const SUBSYSTEM: usize = 0x2c;
    /// Base address of the expansion ROM of a device.
    pub const ROM: usize = 0x30;
    /// Base address of the expansion ROM of a bridge.
    pub const BRIDGE_ROM: usize = 0x38;
    /// Offset of the first capability.
    pub const CAPABILITIES: usize = 0x34;
    /// Interrupt line, which is software's, and the pin.
    pub const INTERRUPT: usize = 0x3c;

    /// Command: answers in the I/O space.
    pub const COMMAND_IO: u16 = 1 << 0;
    /// Command: answers in memory.
    pub const COMMAND_MEMORY: u16 = 1 << 1;
    /// Command: may transfer by itself.
    pub const COMMAND_MASTER: u16 = 1 << 2;
    /// Command: the interrupt pin stays silent.
    pub const COMMAND_NO_INTERRUPT: u16 = 1 << 10;
    /// Status: the function wants its interrupt pin.
    pub const STATUS_INTERRUPT: u16 = 1 << 3;
    /// Status: there are capabilities.
    pub const STATUS_CAPABILITIES: u16 = 1 << 4;
    /// Header type: the device has several functions.
    pub const MULTIFUNCTION: u8 = 0x80;
}
