//! Multiboot kernels (Multiboot Specification 0.6.96).

use super::{Blob, Facts, INFO, INFO_END, INFO_HEAD, MAP_ENTRIES, MAP_ENTRY, Map, Plan, Role, Start, merge};
use crate::config::{Kernel, MAX_FILE};
use crate::elf::{Image, Piece};
use crate::files::Search;
use std::path::Path;

const MAGIC: u32 = 0x1bad_b002;
/// What the kernel finds in EAX.
const LOADED: u32 = 0x2bad_b002;
/// The header is in the first bytes of the file.
const SEARCHED: usize = 8192;
/// The kernel's addresses are in the header.
const HAS_ADDRESSES: u32 = 1 << 16;
/// The kernel demands something that is not here: a video mode.
const WANTS_VIDEO: u32 = 1 << 2;

/// What the kernel is told: sizes of memory, the boot device, a command line, modules, a memory map, the loader's name.
const FLAGS: u32 = 1 | 2 | 4 | 8 | 1 << 6 | 1 << 9;
/// Size of the structure, and where the length of the memory map is in it.
const HEAD: u32 = 116;
const MAP_LENGTH: u32 = 44;
/// An entry of the list of modules.
const MODULE: u32 = 16;

/// The header of a kernel.
pub(super) struct Header {
    flags: u32,
    /// From the start of the file.
    offset: usize,
    /// Where header, text, data and their ends are, and the entry point.
    addresses: [u32; 5],
}

impl Header {
    /// Looks for one.
    pub(super) fn find(file: &[u8]) -> Option<Self> {
        let searched = &file[..file.len().min(SEARCHED)];
        let long = |at: usize| Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?));
        let is_header = |at: &usize| {
            let words = [long(*at), long(at + 4), long(at + 8)].map(|word| word.unwrap_or(1));
            words[0] == MAGIC && words.into_iter().fold(0, u32::wrapping_add) == 0
        };
        let offset = (0..searched.len()).step_by(4).find(is_header)?;
        let word = |i: usize| long(offset + 12 + 4 * i).unwrap_or(0);
        Some(Header { flags: long(offset + 4)?, offset, addresses: [0, 1, 2, 3, 4].map(word) })
    }
    /// What the file wants to be in memory.
    fn image(&self, file: &[u8]) -> Result<Image, String> {
        if self.flags & HAS_ADDRESSES == 0 {
            return Image::parse(file);
        }
        let [header, load, load_end, bss_end, entry] = self.addresses;
        let bad = || "its multiboot header contradicts itself".to_owned();
        let before = header.checked_sub(load).ok_or_else(bad)? as usize;
        let start = self.offset.checked_sub(before).ok_or_else(bad)?;
        let len = match load_end {
            0 => file.len() - start,
            end => end.checked_sub(load).ok_or_else(bad)? as usize,
        };
        let content = file.get(start..start.saturating_add(len)).ok_or_else(bad)?.to_vec();
        let size = u64::from(bss_end.saturating_sub(load)).max(content.len() as u64);
        let piece = Piece { addr: load.into(), content, size };
        Ok(Image { pieces: vec![piece], entry: entry.into(), pvh_entry: None, is_64: false })
    }
}

/// Files that the kernel gets besides itself: their names with arguments, and their contents.
fn modules(kernel: &Kernel, search: &Search) -> Result<Vec<(String, Vec<u8>)>, String> {
    let Some(list) = &kernel.initrd else { return Ok(Vec::new()) };
    let list = list.to_string_lossy().into_owned();
    let read = |text: &str| {
        let file = text.split(' ').next().unwrap_or_default();
        Ok((text.to_owned(), search.read(Path::new(file), MAX_FILE)?))
    };
    list.split(',').map(read).collect()
}

/// Plans to boot one.
pub(super) fn plan(
    file: &[u8],
    header: &Header,
    kernel: &Kernel,
    search: &Search,
    facts: &Facts,
) -> Result<Plan, String> {
    if header.flags & WANTS_VIDEO != 0 {
        return Err("multiboot knows VBE, which is not supported".to_owned());
    }
    let image = header.image(file)?;
    let entry = u32::try_from(image.entry).map_err(|_| "its entry point is above 4 GiB")?;
    let blob = merge(&image, facts)?;
    let start = (blob.addr as usize + blob.content.len()).next_multiple_of(4096);
    let (mut content, mut list) = (Vec::new(), Vec::new());
    for (text, module) in modules(kernel, search)? {
        content.resize(content.len().next_multiple_of(4096), 0);
        list.push((start + content.len(), module.len(), text));
        content.extend(module);
    }
    if (start + content.len()) as u64 > facts.end() {
        return Err("its modules do not fit into memory".to_owned());
    }
    let line = format!("{} {}", kernel.file.display(), kernel.command_line);
    let info = Info { line: line.trim_end(), modules: &list, facts }.bytes()?;
    let (at, count_at) = (INFO as u16, (INFO_HEAD + MAP_LENGTH) as u16);
    let map = facts.map.is_none().then_some(Map { at, before: 4, after: 0, count_at, unit: MAP_ENTRY as u16 });
    let mut blobs = vec![Blob { role: Role::Setup, addr: INFO, content: info }, blob];
    if !content.is_empty() {
        blobs.push(Blob { role: Role::Initrd, addr: start as u32, content });
    }
    Ok(Plan { blobs, start: Start::Protected { entry, eax: LOADED, ebx: INFO_HEAD, esi: 0 }, map })
}

/// What the kernel is told.
struct Info<'a> {
    line: &'a str,
    /// Address, length and text of each.
    modules: &'a [(usize, usize, String)],
    facts: &'a Facts,
}

impl Info<'_> {
    fn bytes(&self) -> Result<Vec<u8>, String> {
        let list = INFO_HEAD + HEAD;
        let strings = list + MODULE * self.modules.len() as u32;
        let texts = ["isamorph", self.line].into_iter().chain(self.modules.iter().map(|(.., text)| text.as_str()));
        let (mut bytes, mut places) = (vec![0; strings.saturating_sub(INFO) as usize], Vec::new());
        for text in texts {
            places.push(INFO + bytes.len() as u32);
            bytes.extend(text.bytes().chain([0]));
        }
        if INFO as usize + bytes.len() > INFO_END as usize {
            return Err("its command line is too long".to_owned());
        }
        let mut put = |addr: u32, words: &[u32]| {
            for (i, word) in words.iter().enumerate() {
                let at = (addr - INFO) as usize + 4 * i;
                bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }
        };
        let upper = (self.facts.below_4g >> 10).saturating_sub(1024) as u32;
        let known = self.facts.map.as_deref().unwrap_or_default();
        let known = &known[..known.len().min(MAP_ENTRIES)];
        // The disk from which it was booted is said to be the first one; the map's length comes from the firmware.
        let count = self.modules.len() as u32;
        put(INFO_HEAD, &[FLAGS, 640, upper, 0x8000_ffff, places[1], count, list]);
        put(INFO_HEAD + MAP_LENGTH, &[(known.len() * MAP_ENTRY) as u32, INFO]);
        put(INFO_HEAD + 64, &[places[0]]);
        for (i, (start, len, _)) in self.modules.iter().enumerate() {
            put(list + MODULE * i as u32, &[*start as u32, (start + len) as u32, places[2 + i]]);
        }
        for i in 0..MAP_ENTRIES {
            let (start, len, kind) = known.get(i).copied().unwrap_or_default();
            let words = [20, start as u32, (start >> 32) as u32, len as u32, (len >> 32) as u32, kind];
            put(INFO + (i * MAP_ENTRY) as u32, &words);
        }
        Ok(bytes)
    }
}
