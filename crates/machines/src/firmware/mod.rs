//! What a PC's firmware and operating system are told about the board: memory, processors, ACPI and SMBIOS tables,
//! through the firmware configuration interface.
//!
//! The tables are those of QEMU 10's `pc` so far as this board has what they describe; `docs/machines/pc.md` lists the
//! differences.

mod acpi;
mod aml;
mod dsdt;
mod loader;
pub(crate) mod place;
mod smbios;
#[cfg(test)]
mod tests;

use crate::config::BootOrder;
use crate::topology::Topology;
use isamorph_devices::fw_cfg::{FileError, Items, key};

/// The commands by which firmware loads ACPI's tables.
const LOADER: &str = "etc/table-loader";
/// Ports of power management, where SeaBIOS puts them too, and of the general-purpose events.
const PM_PORT: u16 = 0x600;
pub(crate) const GPE_PORT: u16 = 0xafe0;
/// Interrupt of power management.
const SCI: u8 = 9;
const HPET: u32 = 0xfed0_0000;
/// Last address of PCI devices below 4 GiB.
const PCI_END: u32 = 0xfebf_ffff;

/// The board, as far as its firmware is concerned.
pub(crate) struct Facts<'a> {
    /// Bytes of RAM from address 0 on, and from 4 GiB on.
    pub below_4g: u64,
    pub above_4g: u64,
    /// How processors are grouped, and the numbers of the local interrupt controllers of those that are there.
    pub topology: Topology,
    pub apic_ids: Vec<u32>,
    /// What `cpuid` 1 says in `eax` and, in the upper half, in `edx`.
    pub processor_id: u64,
    pub hpet: bool,
    /// The guest can suspend the machine.
    pub suspend: bool,
    /// Which serial lines there are.
    pub serials: [bool; 4],
    /// There is a display.
    pub display: bool,
    pub boot: &'a BootOrder,
    pub uuid: [u8; 16],
    pub manufacturer: &'a str,
    pub product: &'a str,
    pub version: &'a str,
}

/// Adds what the firmware is told to what there is.
///
/// # Errors
/// Somebody else has added a file of that name.
pub(crate) fn add_to(facts: &Facts<'_>, items: &mut Items) -> Result<(), FileError> {
    let processors = facts.apic_ids.len() as u16;
    let most = facts.apic_ids.iter().max().map_or(1, |id| *id as u16 + 1);
    items.set(key::UUID, &facts.uuid);
    items.set(key::RAM_SIZE, &(facts.below_4g + facts.above_4g).to_le_bytes());
    items.set(key::NO_GRAPHICS, &u16::from(!facts.display).to_le_bytes());
    items.set(key::PROCESSORS, &processors.to_le_bytes());
    items.set(key::MOST_PROCESSORS, &most.to_le_bytes());
    items.set(key::BOOT_MENU, &u16::from(facts.boot.menu == Some(true)).to_le_bytes());
    items.set(key::IRQ0_OVERRIDE, &1u32.to_le_bytes());
    // No NUMA nodes: only their number, and what each processor belongs to.
    items.set(key::NUMA, &vec![0; 8 * (1 + usize::from(most))]);
    items.add_file("etc/e820", &e820(facts))?;
    items.add_file("etc/system-states", &system_states(facts))?;
    if let Some(wait) = facts.boot.splash_time {
        items.add_file("etc/boot-menu-wait", &(wait.min(0xffff) as u16).to_le_bytes())?;
    }
    if let Some(wait) = facts.boot.reboot_timeout {
        items.add_file("etc/boot-fail-wait", &(wait.min(0xffff) as u32).to_le_bytes())?;
    }
    let acpi::Files { tables, rsdp, loader } = acpi::files(facts);
    items.add_file(acpi::TABLES, &tables)?;
    items.add_file(acpi::RSDP, &rsdp)?;
    items.add_file(LOADER, &loader)?;
    let (anchor, tables) = smbios::files(facts);
    items.add_file(smbios::ANCHOR, &anchor)?;
    items.add_file(smbios::TABLES, &tables)
}

/// Where RAM is: addresses, lengths, and type 1.
fn e820(facts: &Facts<'_>) -> Vec<u8> {
    let rows = [(0, facts.below_4g), (1 << 32, facts.above_4g)];
    let row = |(start, length): (u64, u64)| [&start.to_le_bytes()[..], &length.to_le_bytes(), &[1, 0, 0, 0]].concat();
    rows.into_iter().filter(|(_, length)| *length > 0).flat_map(row).collect()
}

/// For each sleep state S0 to S5 whether it can be entered, and its sleep type.
fn system_states(facts: &Facts<'_>) -> [u8; 6] {
    const CAN: u8 = 0x80;
    [CAN, 0, 0, if facts.suspend { CAN | 1 } else { 1 }, CAN | 2, CAN]
}
