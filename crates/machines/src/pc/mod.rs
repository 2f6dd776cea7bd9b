//! The PC of 1996: an i440FX host bridge, a PIIX3 with its ISA bus and IDE, PIIX4 power management.
//!
//! Memory below 4 GiB: RAM up to [`Memory::below_4g`], with a hole for the display and ROMs from 640 KiB to 1 MiB; PCI
//! devices; the I/O APIC, the HPET, the local APICs; the firmware at the end. The rest of the RAM is above 4 GiB.

mod chipset;
mod cmos;
mod direct;
pub(crate) mod disks;
mod display;
mod firmware;
mod interrupts;
mod isa;
mod memory;

use crate::config::Config;
use crate::machine::Chips;
use crate::site::Site;

pub(crate) use isa::SERIAL;
pub(crate) use memory::Memory;

/// Builds the board.
pub(crate) fn build(site: &mut Site<'_>, config: &Config) -> Result<(), String> {
    let memory = memory::build(site, config)?;
    let interrupts = interrupts::build(site);
    let chipset = chipset::build(site, &memory, &interrupts);
    isa::build(site, config, &memory, &interrupts)?;
    disks::build(site, config, &chipset, &interrupts)?;
    if config.vga {
        display::build(site, &chipset)?;
    }
    site.irqs = interrupts.all(interrupts::Driver::OtherIsa).to_vec();
    site.chips = Chips {
        bus: Some(chipset.bus),
        pic: Some(interrupts.pic),
        apics: Some(interrupts.apics),
        io_apic: Some(interrupts.io_apic),
    };
    firmware::build(site, config, &memory)
}
