//! The tables in memory without a firmware that loads them: what firmware does with the loader's commands.

use super::loader::{self, Step};
use super::{acpi, smbios};
use isamorph_devices::fw_cfg::Items;
use std::collections::BTreeMap;

/// Tables that are ready for the guest.
pub(crate) struct Placed {
    /// Where ACPI's tables begin.
    pub rsdp: u64,
    /// Addresses, and what goes there.
    pub parts: Vec<(u64, Vec<u8>)>,
}

/// Places what needs to be found by its signature from `bios` on, which is between 0xf0000 and 0xfffff, and the rest
/// from `high` on; nothing if the items have no tables.
pub(crate) fn place(items: &Items, high: u64, bios: u64) -> Option<Placed> {
    let mut files: BTreeMap<String, (u64, Vec<u8>)> = BTreeMap::new();
    let (mut high, mut bios) = (high, bios);
    let mut allocate = |length: usize, alignment: u32, is_bios: bool| {
        let next = if is_bios { &mut bios } else { &mut high };
        let at = next.next_multiple_of(u64::from(alignment.max(1)));
        *next = at + length as u64;
        at
    };
    for step in loader::steps(items.file(super::LOADER)?) {
        match step? {
            Step::Allocate { file, alignment, is_bios } => {
                let content = items.file(&file)?.to_vec();
                files.insert(file, (allocate(content.len(), alignment, is_bios), content));
            }
            Step::Pointer { file, to, offset, size } => {
                let base = files.get(&to)?.0;
                let field = files.get_mut(&file)?.1.get_mut(offset..offset.checked_add(size)?)?;
                let mut raw = [0; 8];
                raw.get_mut(..size)?.copy_from_slice(field);
                let sum = u64::from_le_bytes(raw).wrapping_add(base);
                field.copy_from_slice(&sum.to_le_bytes()[..size]);
            }
            Step::Checksum { file, at, start, length } => {
                let content = &mut files.get_mut(&file)?.1;
                let sum = content.get(start..start.checked_add(length)?)?.iter().fold(0u8, |a, b| a.wrapping_add(*b));
                let byte = content.get_mut(at)?;
                *byte = byte.wrapping_sub(sum);
            }
        }
    }
    let rsdp = files.get(acpi::RSDP)?.0;
    let mut parts: Vec<_> = files.into_values().collect();
    let (mut anchor, tables) = (items.file(smbios::ANCHOR)?.to_vec(), items.file(smbios::TABLES)?.to_vec());
    let at = allocate(anchor.len(), 16, true);
    let tables_at = allocate(tables.len(), 16, true);
    smbios::finish(&mut anchor, tables_at as u32);
    parts.extend([(at, anchor), (tables_at, tables)]);
    Some(Placed { rsdp, parts })
}
