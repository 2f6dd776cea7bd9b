//! Names of the guest's functions, for logs.

use isamorph_ram::UserSpace;
use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader as _, Sym as _};
use object::{LittleEndian, elf};
use std::path::Path;

/// A function.
#[derive(Debug, PartialEq, Eq)]
struct Symbol {
    start: u64,
    end: u64,
    name: String,
}

/// Functions of the program and its interpreter, by address.
#[derive(Debug, Default)]
pub struct Symbols {
    sorted: Vec<Symbol>,
}

impl Symbols {
    /// Reads the symbol tables of the files that are mapped now. Files that cannot be read have no symbols.
    pub fn of(space: &UserSpace) -> Self {
        let mut sorted = Vec::new();
        let mut previous = None;
        for region in space.regions() {
            let Some(name) = region.name.filter(|_| region.file.is_some()) else { continue };
            if previous.as_ref() != Some(&name) {
                let _ = add(Path::new(&*name), region.start, &mut sorted);
            }
            previous = Some(name);
        }
        sorted.sort_by_key(|symbol| symbol.start);
        Symbols { sorted }
    }

    /// The function at an address.
    pub fn find(&self, addr: u64) -> Option<&str> {
        let after = self.sorted.partition_point(|symbol| symbol.start <= addr);
        let symbol = &self.sorted[..after].last()?;
        (addr < symbol.end).then_some(&*symbol.name)
    }
}

/// Adds the functions of a file that is mapped from `start` on.
fn add(path: &Path, start: u64, symbols: &mut Vec<Symbol>) -> Result<(), Box<dyn std::error::Error>> {
    let data = &*std::fs::read(path)?;
    match object::FileKind::parse(data)? {
        object::FileKind::Elf64 => add_class::<FileHeader64<LittleEndian>>(data, start, symbols),
        _ => add_class::<FileHeader32<LittleEndian>>(data, start, symbols),
    }
}

/// The same for a file of one class.
fn add_class<H: FileHeader<Endian = LittleEndian>>(
    data: &[u8],
    start: u64,
    symbols: &mut Vec<Symbol>,
) -> Result<(), Box<dyn std::error::Error>> {
    let header = H::parse(data)?;
    let order = header.endian()?;
    let loads = header.program_headers(order, data)?.iter().filter(|p| p.p_type(order) == elf::PT_LOAD);
    let lowest = loads.map(|p| p.p_vaddr(order).into()).min().unwrap_or(0);
    // Bit 0 of an Arm function's address tells its instruction set (AAELF32, "Symbol values").
    let mask = if header.e_machine(order) == elf::EM_ARM { !1 } else { u64::MAX };
    let bias = start.wrapping_sub(lowest & !(isamorph_ram::PAGE - 1));
    let sections = header.sections(order, data)?;
    let mut table = sections.symbols(order, data, elf::SHT_SYMTAB)?;
    if table.is_empty() {
        table = sections.symbols(order, data, elf::SHT_DYNSYM)?;
    }
    for symbol in table.iter().filter(|s| s.st_type() == elf::STT_FUNC && !s.is_undefined(order)) {
        let start = bias.wrapping_add(symbol.st_value(order).into()) & mask;
        let end = start.saturating_add(symbol.st_size(order).into());
        let name = String::from_utf8_lossy(symbol.name(order, table.strings())?).into_owned();
        symbols.push(Symbol { start, end, name });
    }
    Ok(())
}
