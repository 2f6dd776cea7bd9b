//! `-device loader`: files and numbers that are in memory when the machine starts, and where processors start.

use super::Properties;
use crate::config::MAX_FILE;
use crate::elf::{Image, Piece};
use crate::machine::Entry;
use crate::site::Site;
use isamorph_ir::{RegId, RegTable};
use std::path::Path;

/// Adds one.
pub(super) fn attach(site: &mut Site<'_>, mut properties: Properties) -> Result<(), String> {
    let file = properties.take("file");
    let addr = properties.take_number("addr")?;
    let data = properties.take_number("data")?;
    let bytes = properties.take_number("data-len")?;
    let big = properties.take_switch("data-be")?.unwrap_or(false);
    let raw = properties.take_switch("force-raw")?.unwrap_or(false);
    let processor = properties.take_number("cpu-num")?;
    let registers_text = properties.take("registers");
    let (pieces, entry) = match (file, data) {
        (Some(_), Some(_)) => return Err("Specifying a file is not supported when loading memory values".to_owned()),
        (Some(file), None) => from_file(site, &file, addr, raw)?,
        (None, Some(data)) => {
            let bytes = bytes.ok_or("Both data and data-len must be set")?;
            if !(1..=8).contains(&bytes) {
                return Err("data-len must be at most 8".to_owned());
            }
            let addr = addr.ok_or("Both data and addr must be set")?;
            let mut value = data.to_le_bytes()[..bytes as usize].to_vec();
            if big {
                value.reverse();
            }
            (vec![piece(addr, value)], None)
        }
        (None, None) if processor.is_some() => (Vec::new(), addr),
        (None, None) => return Err("please include valid arguments".to_owned()),
    };
    if let Some(index) = processor {
        let index = u32::try_from(index).ok().filter(|index| *index < site.config.topology.count);
        let index = index.ok_or("Specified boot CPU is nonexistent")?;
        let addr = entry.or(addr).ok_or("addr is needed to start a processor")?;
        let registers = registers(site, &registers_text.unwrap_or_default())?;
        site.entries.push(Entry { processor: index, addr, registers });
    }
    let memory = site.memory.clone();
    site.on_reset.push(Box::new(move || {
        pieces.iter().for_each(|piece| piece.load(&memory));
    }));
    Ok(())
}

/// Registers with values, as in `rax:2/rbx:3`.
fn registers(site: &Site<'_>, text: &str) -> Result<Vec<(&'static RegTable, RegId, u64)>, String> {
    let lanes = site.config.processors.guest.lanes();
    let one = |part: &str| {
        let (name, value) = part.split_once(':')?;
        let found = lanes.iter().map(|lane| lane.table()).find_map(|table| Some((table, table.by_name(name)?)));
        let value =
            value.strip_prefix("0x").map_or_else(|| value.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok());
        found.zip(value).map(|((table, register), value)| (table, register, value))
    };
    let parts = text.split('/').filter(|part| !part.is_empty());
    parts.map(|part| one(part).ok_or_else(|| format!("'{part}' is no register with a value"))).collect()
}

fn piece(addr: u64, content: Vec<u8>) -> Piece {
    let size = content.len() as u64;
    Piece { addr, content, size }
}

/// What is loaded from a file, and where it is entered.
fn from_file(site: &Site<'_>, file: &str, addr: Option<u64>, raw: bool) -> Result<(Vec<Piece>, Option<u64>), String> {
    let content = site.config.search.read(Path::new(file), MAX_FILE)?;
    if !raw && content.starts_with(b"\x7fELF") {
        let image = Image::parse(&content).map_err(|e| format!("Cannot load specified image {file}: {e}"))?;
        return Ok((image.pieces, Some(image.entry)));
    }
    let addr = addr.ok_or("addr is needed to load a file that is no ELF file")?;
    Ok((vec![piece(addr, content)], Some(addr)))
}
