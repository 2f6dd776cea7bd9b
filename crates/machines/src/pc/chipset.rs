//! The chipset of the PC: PCI, the bridges, power management.

use super::Memory;
use super::interrupts::{Driver, Interrupts};
use crate::site::{BYTES, Site};
use isamorph_devices::i440fx::{self, I440fx};
use isamorph_devices::pci::{ConfigPorts, PciBus, Pins};
use isamorph_devices::piix3::Piix3;
use isamorph_devices::piix4::{Piix4, Wires};
use isamorph_space::{IoRules, RegionId};
use std::sync::Arc;

/// The slot of the PIIX3 with its functions: ISA bridge, IDE, power management.
pub(super) const SOUTH_BRIDGE: u8 = 1;
/// PCI interrupt pin A of slot 0 is the fourth PCI interrupt of the chipset.
const FIRST_PIRQ: u8 = 3;
/// The interrupt line of power management.
const SCI: u32 = 9;

/// What other parts of the board are connected to.
pub(super) struct Chipset {
    pub bus: Arc<PciBus>,
    /// What is on the bus, in memory.
    pub pci: RegionId,
}

pub(super) fn build(site: &mut Site<'_>, memory: &Memory, interrupts: &Interrupts) -> Chipset {
    let piix3 = Piix3::new(interrupts.all(Driver::Pci), site.requests.clone());
    let pins = Pins { lines: piix3.pirqs(), first: FIRST_PIRQ };
    let bus = PciBus::new(&site.map, memory.pci, site.io, site.memory.clone(), pins);
    let Memory { ram, pci, .. } = *memory;
    I440fx::plug(&bus, &i440fx::Memory { system: site.system, pci, ram, block: memory.block.clone() });
    piix3.plug(&bus, SOUTH_BRIDGE);
    let config_ports = ConfigPorts::new(bus.clone());
    site.port("pci-conf-idx", 0xcf8, 4, IoRules::exactly(1, 4), config_ports.address());
    site.port("pci-conf-data", 0xcfc, 4, IoRules::exactly(1, 4), config_ports.data());
    site.map.update(|tree| {
        let reset = tree.io("piix-reset-control", 1, BYTES, piix3.reset_control());
        tree.add(site.io, reset, 0xcf9, 1);
    });
    let wires = Wires { sci: interrupts.irq(SCI, Driver::Sci), smi: None, requests: site.requests.clone() };
    let power = Piix4::plug(&bus, SOUTH_BRIDGE, &site.clock, wires);
    site.port("apm-io", 0xb2, 2, BYTES, power.command_ports());
    site.port("acpi-gpe0", 0xafe0, 4, IoRules::exactly(1, 4), power.event_ports());
    let button = power.clone();
    site.on_power_down.push(Box::new(move || button.press_power_button()));
    site.devices.extend([config_ports as Arc<dyn isamorph_device::Device>, bus.clone(), piix3, power]);
    Chipset { bus, pci }
}
