//! ELF kernels with an entry point for hypervisors (Xen, docs/misc/pvh.pandoc), and plain ones.

use super::{
    Blob, Facts, INFO, INFO_END, INFO_HEAD, MAP_ENTRIES, MAP_ENTRY, Map, Plan, Role, Start, merge, place_initrd,
};
use crate::elf::Image;

/// `hvm_start_info`: its magic number, its size, and where the number of memory ranges is in it.
const MAGIC: u32 = 0x336e_c578;
const HEAD: u32 = 56;
const MAP_COUNT: u32 = 48;
/// An entry of the list of modules.
const MODULE: u32 = 32;

/// Plans to boot one.
pub(super) fn plan(image: &Image, initrd: Option<Vec<u8>>, line: &str, facts: &Facts) -> Result<Plan, String> {
    let kernel = merge(image, facts)?;
    let kernel_end = u64::from(kernel.addr) + kernel.content.len() as u64;
    let Some(entry) = image.pvh_entry else {
        if image.is_64 || initrd.is_some() || !line.is_empty() {
            return Err("it has no PVH ELF note".to_owned());
        }
        let entry = u32::try_from(image.entry).map_err(|_| "its entry point is above 4 GiB")?;
        return Ok(Plan { blobs: vec![kernel], start: Start::Protected { entry, eax: 0, ebx: 0, esi: 0 }, map: None });
    };
    let initrd_at = match &initrd {
        Some(initrd) => place_initrd(initrd.len() as u64, facts.end(), kernel_end)?,
        None => 0,
    };
    let modules = INFO_HEAD + HEAD;
    let line_at = modules + MODULE;
    if u64::from(line_at) + line.len() as u64 >= INFO_END.into() {
        return Err("its command line is too long".to_owned());
    }
    let mut info = vec![0; (line_at - INFO) as usize];
    let mut put = |addr: u32, words: &[u64]| {
        for (i, word) in words.iter().enumerate() {
            let at = (addr - INFO) as usize + 8 * i;
            info[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
    };
    let count = u64::from(initrd.is_some());
    put(INFO_HEAD, &[u64::from(MAGIC) | 1 << 32, count << 32, modules.into(), line_at.into(), facts.rsdp.unwrap_or(0)]);
    put(INFO_HEAD + MAP_COUNT - 8, &[INFO.into(), facts.map.as_ref().map_or(0, Vec::len).min(MAP_ENTRIES) as u64]);
    put(modules, &[initrd_at.into(), initrd.as_ref().map_or(0, Vec::len) as u64]);
    for (i, (start, len, kind)) in facts.map.iter().flatten().take(MAP_ENTRIES).enumerate() {
        put(INFO + (i * MAP_ENTRY) as u32, &[*start, *len, u64::from(*kind)]);
    }
    info.extend(line.bytes().chain([0]));
    let (at, count_at) = (INFO as u16, (INFO_HEAD + MAP_COUNT) as u16);
    let map = facts.map.is_none().then_some(Map { at, before: 0, after: 4, count_at, unit: 1 });
    let mut blobs = vec![Blob { role: Role::Setup, addr: INFO, content: info }, kernel];
    blobs.extend(initrd.map(|content| Blob { role: Role::Initrd, addr: initrd_at, content }));
    Ok(Plan { blobs, start: Start::Protected { entry, eax: 0, ebx: INFO_HEAD, esi: 0 }, map })
}
