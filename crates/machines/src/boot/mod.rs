//! Kernels that are booted without a boot loader (`-kernel`).
//!
//! A [`Plan`] says what goes where in memory and how the kernel is entered; [`loader`] is the program that does it.
//! With firmware a Linux kernel is entered as by any boot loader, in real mode; multiboot kernels, kernels with a PVH
//! entry and plain ELF files in protected mode, with the firmware's memory map. Without firmware everything is entered
//! in protected mode, with the board's own map.

mod linux;
pub(crate) mod loader;
mod multiboot;
mod pvh;
#[cfg(test)]
mod tests;

use crate::config::{Kernel, MAX_FILE};
use crate::elf::Image;
use crate::files::Search;

/// What boot loaders must know of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Bytes of RAM below 4 GiB.
    pub below_4g: u64,
    /// Memory as a kernel without firmware is told: first address, length, type as firmware has it.
    pub map: Option<Vec<(u64, u64, u32)>>,
    /// Where the ACPI tables begin, if no firmware puts them anywhere.
    pub rsdp: Option<u64>,
}

/// Firmware uses so much at the end of the RAM below 4 GiB for its tables.
pub(crate) const FIRMWARE_TABLES: u64 = 0x2_8000;

impl Facts {
    /// Where kernels and RAM disks must end.
    fn end(&self) -> u64 {
        self.below_4g.saturating_sub(FIRMWARE_TABLES)
    }
}

/// What a part of a kernel is; each has its item in fw_cfg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// What is read in real mode, or the structure that a kernel is given.
    Setup,
    /// The command line.
    CommandLine,
    /// The kernel.
    Kernel,
    /// The RAM disk, or modules.
    Initrd,
}

/// Bytes that go somewhere in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub role: Role,
    pub addr: u32,
    pub content: Vec<u8>,
}

/// How a kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// In real mode, 0x200 bytes into a segment.
    Real { segment: u16, sp: u16 },
    /// In flat 32-bit protected mode.
    Protected { entry: u32, eax: u32, ebx: u32, esi: u32 },
}

/// Where the firmware's memory map goes: entries of 20 bytes with room before and after each, and a counter that grows
/// by `unit` with each. All in the first 64 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    pub at: u16,
    pub before: u16,
    pub after: u16,
    pub count_at: u16,
    pub unit: u16,
}

/// What goes where, and how the kernel is entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub blobs: Vec<Blob>,
    pub start: Start,
    pub map: Option<Map>,
}

/// Where structures for kernels in protected mode are: a memory map of as many entries, then everything else.
const INFO: u32 = 0x7000;
const MAP_ENTRIES: usize = 128;
/// Bytes of an entry, with what is around it.
const MAP_ENTRY: usize = 24;
/// Where the structure itself begins.
const INFO_HEAD: u32 = INFO + (MAP_ENTRIES * MAP_ENTRY) as u32;
/// Where it must end.
const INFO_END: u32 = 0x1_0000;

/// Plans to boot a kernel.
pub(crate) fn plan(kernel: &Kernel, search: &Search, facts: &Facts) -> Result<Plan, String> {
    let shown = kernel.file.display();
    let file = search.read(&kernel.file, MAX_FILE)?;
    let named = |e: String| format!("could not load kernel '{shown}': {e}");
    if linux::is_linux(&file) {
        let initrd = kernel.initrd.as_ref().map(|path| search.read(path, MAX_FILE)).transpose()?;
        return linux::plan(&file, initrd, &kernel.command_line, facts).map_err(named);
    }
    if let Some(header) = multiboot::Header::find(&file) {
        return multiboot::plan(&file, &header, kernel, search, facts).map_err(named);
    }
    let image = Image::parse(&file).map_err(|e| named(format!("invalid kernel header, {e}")))?;
    let initrd = kernel.initrd.as_ref().map(|path| search.read(path, MAX_FILE)).transpose()?;
    pvh::plan(&image, initrd, &kernel.command_line, facts).map_err(named)
}

/// One blob of the pieces of an ELF file.
fn merge(image: &Image, facts: &Facts) -> Result<Blob, String> {
    let start = image.pieces.iter().map(|piece| piece.addr).min().ok_or("it has nothing to load")?;
    let end = image.pieces.iter().map(|piece| piece.addr.saturating_add(piece.size)).max().unwrap_or(start);
    if end > facts.end() {
        return Err(format!("it needs memory up to {end:#x}"));
    }
    if start < INFO_END.into() {
        return Err(format!("it wants to be at {start:#x}, where the boot loader is"));
    }
    let mut content = vec![0; (end - start) as usize];
    for piece in &image.pieces {
        let at = (piece.addr - start) as usize;
        content[at..at + piece.content.len()].copy_from_slice(&piece.content);
    }
    Ok(Blob { role: Role::Kernel, addr: start as u32, content })
}

/// The highest page below `end` where so much fits, above the kernel.
fn place_initrd(len: u64, end: u64, kernel_end: u64) -> Result<u32, String> {
    let at = end.checked_sub(len).map(|at| at & !0xfff).filter(|at| *at >= kernel_end);
    at.map(|at| at as u32).ok_or_else(|| "the RAM disk does not fit into memory".to_owned())
}
