//! RAM and ROM of the PC.

use crate::config::{Config, Firmware, MAX_FILE};
use crate::site::Site;
use isamorph_ram::RamBlock;
use isamorph_space::{RegionId, WHOLE};
use std::path::Path;
use std::sync::Arc;

/// RAM ends here at most where more of it is above 4 GiB: the rest belongs to PCI devices.
const LOW_RAM_LIMIT: u64 = 0xe000_0000;
/// And here, if there is that much: so that what is above begins at a multiple of 1 GiB.
const LOW_RAM_ALIGNED: u64 = 0xc000_0000;
/// Where RAM above the hole begins.
pub(crate) const HIGH_RAM: u64 = 1 << 32;
/// As much of the firmware is also seen below 1 MiB.
const ISA_BIOS: u64 = 128 << 10;
/// The usual firmware.
const USUAL_FIRMWARE: &str = "bios-256k.bin";

/// RAM and ROM of a PC.
pub(crate) struct Memory {
    /// Bytes of RAM below 4 GiB.
    pub below_4g: u64,
    /// Bytes of RAM above.
    pub above_4g: u64,
    /// All RAM: the part above 4 GiB follows the part below.
    pub ram: RegionId,
    /// Its memory.
    pub block: Arc<RamBlock>,
    /// What PCI devices answer: it is seen wherever nothing else is.
    pub pci: RegionId,
}

/// How much of the RAM is below 4 GiB, and how much above.
fn split(ram: u64) -> (u64, u64) {
    let limit = if ram >= LOW_RAM_LIMIT { LOW_RAM_ALIGNED } else { LOW_RAM_LIMIT };
    (ram.min(limit), ram.saturating_sub(limit))
}

/// Builds RAM and ROM.
pub(crate) fn build(site: &Site<'_>, config: &Config) -> Result<Memory, String> {
    let (below_4g, above_4g) = split(config.ram);
    if below_4g < 1 << 20 {
        return Err("at least 1 MiB of memory is needed".to_owned());
    }
    let block = site.block("pc.ram", config.ram, config.ram_file.as_deref())?;
    let (ram, pci) = site.map.update(|tree| {
        let ram = tree.ram("pc.ram", block.clone());
        let low = tree.alias("ram-below-4g", ram, 0, below_4g.into());
        tree.add(site.system, low, 0, 0);
        if above_4g != 0 {
            let high = tree.alias("ram-above-4g", ram, below_4g, above_4g.into());
            tree.add(site.system, high, HIGH_RAM, 0);
        }
        let pci = tree.container("pci", WHOLE);
        tree.add(site.system, pci, 0, -1);
        (ram, pci)
    });
    let memory = Memory { below_4g, above_4g, ram, block, pci };
    firmware(site, config, pci)?;
    Ok(memory)
}

/// Puts the firmware at the end of the first 4 GiB and its last part below 1 MiB.
fn firmware(site: &Site<'_>, config: &Config, pci: RegionId) -> Result<(), String> {
    let name = match &config.firmware {
        Firmware::Usual => Path::new(USUAL_FIRMWARE),
        Firmware::File(name) => name,
        Firmware::None => return Ok(()),
    };
    let content = config.search.read(name, MAX_FILE).map_err(|e| format!("{e} (firmware of the machine)"))?;
    let block = rom(site, "pc.bios", &content)?;
    let size = block.size();
    if size > 16 << 20 {
        return Err(format!("'{}' is too large for firmware", name.display()));
    }
    let seen = size.min(ISA_BIOS);
    site.map.update(|tree| {
        let bios = tree.rom("pc.bios", block);
        tree.add(pci, bios, HIGH_RAM - size, 0);
        let isa = tree.alias("isa-bios", bios, size - seen, seen.into());
        tree.add(pci, isa, (1 << 20) - seen, 1);
        let expansion = RamBlock::new("pc.rom", ISA_BIOS, &isamorph_ram::Backing::Anonymous);
        if let Ok(expansion) = expansion {
            let expansion = tree.rom("pc.rom", expansion);
            tree.add(pci, expansion, 0xc_0000, 1);
        }
    });
    Ok(())
}

/// Read-only memory with that content, which ends at a multiple of the page size.
fn rom(site: &Site<'_>, name: &str, content: &[u8]) -> Result<Arc<RamBlock>, String> {
    let size = (content.len() as u64).next_multiple_of(4096);
    if content.is_empty() {
        return Err(format!("{name} is empty"));
    }
    let block = site.block(name, size, None)?;
    let written = block.write(size - content.len() as u64, content);
    written.map_err(|_| format!("{name} does not fit"))?;
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_leaves_room_for_devices() {
        const M: u64 = 1 << 20;
        for (ram, expected) in [
            (128 * M, (128 * M, 0)),
            (3583 * M, (3583 * M, 0)),
            (3584 * M, (3072 * M, 512 * M)),
            (8192 * M, (3072 * M, 5120 * M)),
        ] {
            assert_eq!(split(ram), expected, "{ram:#x}");
        }
    }
}
