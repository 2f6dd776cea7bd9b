//! A kernel without firmware: what firmware would do before it, and how the kernel is entered.

use super::Memory;
use super::chipset::SOUTH_BRIDGE;
use super::memory::HIGH_RAM;
use crate::boot::loader;
use crate::boot::{self, Blob};
use crate::config::Kernel;
use crate::firmware::place;
use crate::site::Site;
use isamorph_devices::fw_cfg::Items;
use isamorph_devices::pci::{Devfn, PciBus};
use std::sync::Arc;

/// Kinds of memory in the map (ACPI 6.4, 15.4).
const USABLE: u32 = 1;
const RESERVED: u32 = 2;
const TABLES: u32 = 3;

/// So much at the end of the low RAM has the tables.
const TABLES_SIZE: u64 = boot::FIRMWARE_TABLES;
/// Where those begin that are found by their signatures.
const SIGNATURES: u64 = 0xf_5000;
/// Where the program that enters the kernel is, and what is seen of it at the reset vector.
const PROGRAM: u64 = 0xf_0000;

/// Registers of the chipset as firmware leaves them: function, offset, size, value.
const CHIPSET: [(u8, u8, usize, usize, u32); 9] = [
    // RAM instead of ROM from 0xc0000 to 0xfffff.
    (0, 0, 0x59, 1, 0x30),
    (0, 0, 0x5a, 2, 0x3333),
    (0, 0, 0x5c, 4, 0x3333_3333),
    // PCI interrupts A to D at lines 10, 10, 11 and 11.
    (SOUTH_BRIDGE, 0, 0x60, 4, 0x0b0b_0a0a),
    // Power management: ports from 0x600 on, enabled.
    (SOUTH_BRIDGE, 3, 0x40, 4, 0x601),
    (SOUTH_BRIDGE, 3, 0x80, 1, 1),
    (SOUTH_BRIDGE, 3, 0x04, 2, 1),
    // IDE: both channels and bus mastering.
    (SOUTH_BRIDGE, 1, 0x40, 4, 0x8000_8000),
    (SOUTH_BRIDGE, 1, 0x04, 2, 5),
];
/// Lines 10 and 11 are sensitive to levels.
const ELCR_PORT: u64 = 0x4d1;
const ELCR: u64 = 0x0c;

/// The memory map of a board.
fn map(memory: &Memory) -> Vec<(u64, u64, u32)> {
    let end = memory.below_4g - TABLES_SIZE;
    let mut map = vec![
        (0, 0x9_fc00, USABLE),
        (0x9_fc00, 0x400, RESERVED),
        (PROGRAM, 0x1_0000, RESERVED),
        (1 << 20, end - (1 << 20), USABLE),
        (end, TABLES_SIZE, TABLES),
    ];
    if memory.above_4g != 0 {
        map.push((HIGH_RAM, memory.above_4g, USABLE));
    }
    map
}

/// Puts a kernel into memory, with a program at the reset vector that enters it.
pub(super) fn build(site: &mut Site<'_>, kernel: &Kernel, memory: &Memory, items: &Items) -> Result<(), String> {
    if memory.below_4g < 2 << 20 {
        return Err("at least 2 MiB of memory are needed".to_owned());
    }
    let placed = place::place(items, memory.below_4g - TABLES_SIZE, SIGNATURES).ok_or("no firmware tables")?;
    let end = placed.parts.iter().map(|(addr, content)| addr + content.len() as u64).max();
    if end.is_some_and(|end| end > memory.below_4g) {
        return Err("the firmware tables are too large".to_owned());
    }
    let facts = boot::Facts { below_4g: memory.below_4g, map: Some(map(memory)), rsdp: Some(placed.rsdp) };
    let plan = boot::plan(kernel, &site.config.search, &facts)?;
    let program = loader::firmware(&plan);
    let rom = site.block("pc.bios", program.len() as u64, None)?;
    let blobs = plan.blobs.into_iter().map(|Blob { addr, content, .. }| (u64::from(addr), content));
    let mut parts: Vec<_> = blobs.chain(placed.parts).collect();
    parts.insert(0, (PROGRAM, program[..loader::SIZE].to_vec()));
    rom.write(0, &program).map_err(|_| "the loader does not fit".to_owned())?;
    let size = rom.size();
    site.map.update(|tree| {
        let bios = tree.rom("pc.bios", rom);
        tree.add(memory.pci, bios, HIGH_RAM - size, 0);
    });
    let (ram, ports, bus) = (memory.block.clone(), site.ports.clone(), site.chips.bus.clone());
    site.on_reset.push(Box::new(move || {
        for (addr, content) in &parts {
            // All of them were placed below the end of the RAM.
            let _ = ram.write(*addr, content);
        }
        bus.iter().for_each(set_up);
        let _ = ports.store(ELCR_PORT, 1, ELCR);
    }));
    Ok(())
}

/// Does what firmware does with the chipset.
fn set_up(bus: &Arc<PciBus>) {
    for (slot, function, offset, size, value) in CHIPSET {
        if let Some(function) = bus.function(Devfn::new(slot, function)) {
            let _ = function.write(offset, size, value);
        }
    }
}
