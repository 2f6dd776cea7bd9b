//! Devices: register models of real chips.
//!
//! Each module is one chip. It is built with its wires and knows nothing of where they lead; what connects it to a bus
//! and to other chips is a board. `docs/how-to/add-a-device.md` shows the steps.

pub mod apic;
pub mod dma;
pub mod fw_cfg;
pub mod hpet;
pub mod i440fx;
pub mod i8042;
pub mod ide;
pub mod ioapic;
pub mod pci;
pub mod pic;
pub mod piix3;
pub mod piix4;
pub mod pit;
pub mod ports;
pub mod ps2;
pub mod rtc;
#[cfg(test)]
mod testing;
pub mod uart;
pub mod vga;
