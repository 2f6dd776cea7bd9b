//! The display adapter of the PC.

use super::chipset::Chipset;
use crate::site::Site;
use isamorph_devices::pci::Devfn;
use isamorph_devices::vga::Vga;
use std::path::Path;

/// Its slot.
const SLOT: u8 = 2;
/// Its memory.
const VIDEO_MEMORY: u64 = 16 << 20;
/// Its firmware, and how large that may be.
const ROM: &str = "vgabios-stdvga.bin";
const MAX_ROM: u64 = 64 << 10;

/// Builds it. Without its firmware it still is there, for systems that have drivers for it.
pub(super) fn build(site: &mut Site<'_>, chipset: &Chipset) -> Result<(), String> {
    let memory = site.block("vga.vram", VIDEO_MEMORY, None)?;
    let vga = Vga::new(&site.map, memory);
    let rom = site.config.search.read(Path::new(ROM), MAX_ROM).ok();
    let rom = rom.map(|content| {
        let block = site.block("vga.rom", (content.len() as u64).next_power_of_two(), None)?;
        block.write(0, &content).map_err(|_| format!("'{ROM}' does not fit"))?;
        Ok::<_, String>(block)
    });
    let legacy = vga.legacy_memory();
    site.map.update(|tree| tree.add(chipset.pci, legacy, 0xa_0000, 1));
    let ports = vga.ports(&site.map);
    site.add_ports(&ports);
    let socket = chipset.bus.socket(Devfn::new(SLOT, 0));
    chipset.bus.plug(&socket, vga.layout(&site.map, rom.transpose()?));
    site.screens.push(vga.clone());
    site.devices.push(vga);
    Ok(())
}
