//! What the board tells its firmware, and the kernel that the firmware boots.

use super::{Memory, direct};
use crate::boot::loader::{self, Transfer};
use crate::boot::{self, Role};
use crate::config::{Config, Firmware, Kernel};
use crate::firmware;
use crate::site::Site;
use isamorph_device::Dma;
use isamorph_devices::fw_cfg::{FwCfg, Items, key};
use isamorph_space::{Endian, IoRules, Sizes};

/// The expansion ROM that boots a kernel, as the firmware's list of boot devices names it.
const LOADER: &str = "genroms/loader.bin";
/// Most bytes of an expansion ROM.
const MAX_ROM: u64 = 128 << 10;

/// The items of a part of a kernel: its content, size and address.
const fn items_of(role: Role) -> (u16, u16, u16) {
    match role {
        Role::Setup => (key::SETUP, key::SETUP_SIZE, key::SETUP_ADDRESS),
        Role::CommandLine => (key::COMMAND_LINE, key::COMMAND_LINE_SIZE, key::COMMAND_LINE_ADDRESS),
        Role::Kernel => (key::KERNEL, key::KERNEL_SIZE, key::KERNEL_ADDRESS),
        Role::Initrd => (key::INITRD, key::INITRD_SIZE, key::INITRD_ADDRESS),
    }
}

fn add(items: &mut Items, name: &str, content: &[u8]) -> Result<(), String> {
    items.add_file(name, content).map_err(|e| format!("firmware file '{name}': {e:?}"))
}

/// Adds a kernel, and the program that the firmware boots it with.
fn add_kernel(items: &mut Items, config: &Config, kernel: &Kernel, memory: &Memory) -> Result<(), String> {
    let facts = boot::Facts { below_4g: memory.below_4g, map: None, rsdp: None };
    let plan = boot::plan(kernel, &config.search, &facts)?;
    let mut transfers = Vec::new();
    for blob in &plan.blobs {
        let (content, size, address) = items_of(blob.role);
        let len = blob.content.len() as u32;
        items.set(content, &blob.content);
        items.set(size, &len.to_le_bytes());
        items.set(address, &blob.addr.to_le_bytes());
        transfers.push(Transfer { item: content, addr: blob.addr, len });
    }
    add(items, LOADER, &loader::expansion_rom(&plan, &transfers))?;
    add(items, "bootorder", format!("/rom@{LOADER}\n\0").as_bytes())
}

/// Builds the interface to the firmware.
pub(super) fn build(site: &mut Site<'_>, config: &Config, memory: &Memory) -> Result<(), String> {
    let mut items = Items::new();
    let facts = firmware::Facts {
        below_4g: memory.below_4g,
        above_4g: memory.above_4g,
        topology: config.topology,
        apic_ids: config.processors.ids.clone(),
        processor_id: config.processors.identity,
        hpet: true,
        suspend: false,
        serials: std::array::from_fn(|n| config.serials.get(n).is_some_and(Option::is_some)),
        display: config.graphics,
        boot: &config.boot,
        uuid: config.uuid,
        manufacturer: "QEMU",
        product: config.board.description,
        version: config.board.name,
    };
    firmware::add_to(&facts, &mut items).map_err(|e| format!("firmware tables: {e:?}"))?;
    for path in &config.option_roms {
        let content = config.search.read(path, MAX_ROM)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("genroms/{name}");
        add(&mut items, &name, &content)?;
    }
    for (name, content) in &config.firmware_files {
        add(&mut items, name, content)?;
    }
    match (&config.kernel, &config.firmware) {
        (Some(kernel), Firmware::None) => direct::build(site, kernel, memory, &items)?,
        (None, Firmware::None) => return Err("without firmware there must be a kernel".to_owned()),
        (Some(kernel), _) => add_kernel(&mut items, config, kernel, memory)?,
        (None, _) => {}
    }
    let fw_cfg = FwCfg::new(items, Dma::new(site.memory.clone(), true));
    site.port("fwcfg", 0x510, 2, IoRules::exactly(1, 2), fw_cfg.ports());
    let wide = Sizes::new(1, 8);
    let rules = IoRules { valid: wide, implemented: wide, endian: Endian::Big };
    site.port("fwcfg.dma", 0x514, 8, rules, fw_cfg.dma_port());
    site.devices.push(fw_cfg);
    Ok(())
}
