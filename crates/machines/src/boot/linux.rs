//! Linux kernels: bzImage (Linux, Documentation/arch/x86/boot.rst).

use super::{Blob, Facts, Plan, Role, Start, place_initrd};

/// Fields of the header, from the start of the file.
mod at {
    pub(super) const SETUP_SECTORS: usize = 0x1f1;
    pub(super) const VIDEO_MODE: usize = 0x1fa;
    pub(super) const JUMP: usize = 0x201;
    pub(super) const MAGIC: usize = 0x202;
    pub(super) const VERSION: usize = 0x206;
    pub(super) const LOADER: usize = 0x210;
    pub(super) const FLAGS: usize = 0x211;
    pub(super) const INITRD: usize = 0x218;
    pub(super) const INITRD_SIZE: usize = 0x21c;
    pub(super) const HEAP_END: usize = 0x224;
    pub(super) const COMMAND_LINE: usize = 0x228;
    pub(super) const INITRD_MOST: usize = 0x22c;
    pub(super) const EXTENDED_FLAGS: usize = 0x236;
    pub(super) const COMMAND_LINE_MOST: usize = 0x238;
    /// In the zero page only: where the ACPI tables begin, the number of memory ranges, and the ranges.
    pub(super) const RSDP: usize = 0x70;
    pub(super) const MAP_COUNT: usize = 0x1e8;
    pub(super) const MAP: usize = 0x2d0;
}

/// Where the real-mode part is, and where the protected-mode part.
const SETUP: u32 = 0x1_0000;
const KERNEL: u32 = 0x10_0000;
/// The command line ends here.
const COMMAND_LINE_END: u32 = 0x2_0000;
/// As a loader: QEMU, which kernels know.
const LOADER_ID: u8 = 0xb0;
/// The protected-mode part belongs at 1 MiB; the heap may be used.
const LOADED_HIGH: u8 = 1;
const CAN_USE_HEAP: u8 = 0x80;
/// The RAM disk may be anywhere below 4 GiB.
const INITRD_ANYWHERE: u16 = 2;
/// Most ranges of memory in the zero page.
const MOST_RANGES: usize = 128;

fn word(file: &[u8], at: usize) -> u16 {
    file.get(at..at + 2).map_or(0, |raw| u16::from_le_bytes([raw[0], raw[1]]))
}

fn long(file: &[u8], at: usize) -> u32 {
    u32::from(word(file, at)) | u32::from(word(file, at + 2)) << 16
}

/// Whether it is a bzImage.
pub(super) fn is_linux(file: &[u8]) -> bool {
    file.get(at::MAGIC..at::MAGIC + 4) == Some(b"HdrS")
}

/// Plans to boot one.
pub(super) fn plan(file: &[u8], initrd: Option<Vec<u8>>, line: &str, facts: &Facts) -> Result<Plan, String> {
    let version = word(file, at::VERSION);
    if version < 0x202 || file[at::FLAGS] & LOADED_HIGH == 0 {
        return Err(format!("boot protocol {}.{:02} is not supported", version >> 8, version & 0xff));
    }
    let sectors = match file[at::SETUP_SECTORS] {
        0 => 4,
        n => usize::from(n),
    };
    let setup_size = (sectors + 1) * 512;
    if setup_size >= file.len() {
        return Err("it is too short".to_owned());
    }
    let (setup, kernel) = file.split_at(setup_size);
    let most = if version >= 0x206 { long(file, at::COMMAND_LINE_MOST) } else { 255 };
    if line.len() as u64 > u64::from(most) {
        return Err(format!("its command line must not be longer than {most} bytes"));
    }
    let mut text = line.as_bytes().to_vec();
    text.resize((line.len() + 16) & !15, 0);
    let line_at = COMMAND_LINE_END.checked_sub(text.len() as u32);
    let line_at =
        line_at.filter(|at| *at >= SETUP + setup_size as u32 + 0x1000).ok_or("its command line is too long")?;
    let kernel_end = u64::from(KERNEL) + kernel.len() as u64;
    if kernel_end > facts.end() {
        return Err("it does not fit into memory".to_owned());
    }
    let limit = match version {
        _ if word(file, at::EXTENDED_FLAGS) & INITRD_ANYWHERE != 0 && version >= 0x20c => u64::from(u32::MAX),
        0x203.. => u64::from(long(file, at::INITRD_MOST)),
        _ => 0x37ff_ffff,
    };
    let initrd_at = match &initrd {
        Some(initrd) => place_initrd(initrd.len() as u64, (limit + 1).min(facts.end()), kernel_end)?,
        None => 0,
    };
    let mut setup = setup.to_vec();
    let mut put = |at: usize, bytes: &[u8]| setup[at..at + bytes.len()].copy_from_slice(bytes);
    put(at::LOADER, &[LOADER_ID]);
    put(at::FLAGS, &[file[at::FLAGS] | CAN_USE_HEAP]);
    put(at::HEAP_END, &((line_at - SETUP - 0x200) as u16).to_le_bytes());
    put(at::COMMAND_LINE, &line_at.to_le_bytes());
    put(at::INITRD, &initrd_at.to_le_bytes());
    put(at::INITRD_SIZE, &(initrd.as_ref().map_or(0, Vec::len) as u32).to_le_bytes());
    if let Some(mode) = video_mode(line) {
        put(at::VIDEO_MODE, &mode.to_le_bytes());
    }
    let (setup, start) = match &facts.map {
        None => {
            let sp = (line_at - SETUP - 16) as u16;
            (setup, Start::Real { segment: (SETUP >> 4) as u16, sp })
        }
        Some(map) => {
            (zero_page(&setup, map, facts.rsdp), Start::Protected { entry: KERNEL, eax: 0, ebx: 0, esi: SETUP })
        }
    };
    let mut blobs = vec![
        Blob { role: Role::Setup, addr: SETUP, content: setup },
        Blob { role: Role::CommandLine, addr: line_at, content: text },
        Blob { role: Role::Kernel, addr: KERNEL, content: kernel.to_vec() },
    ];
    blobs.extend(initrd.map(|content| Blob { role: Role::Initrd, addr: initrd_at, content }));
    Ok(Plan { blobs, start, map: None })
}

/// The video mode that the command line asks for.
fn video_mode(line: &str) -> Option<u16> {
    let value = line.split(' ').find_map(|word| word.strip_prefix("vga="))?;
    match value {
        "normal" => Some(0xffff),
        "ext" => Some(0xfffe),
        "ask" => Some(0xfffd),
        _ => value.strip_prefix("0x").map_or(value.parse().ok(), |hex| u16::from_str_radix(hex, 16).ok()),
    }
}

/// What a kernel gets that is entered in protected mode: the header in a page of zeros, and the memory map.
fn zero_page(setup: &[u8], map: &[(u64, u64, u32)], rsdp: Option<u64>) -> Vec<u8> {
    let mut page = vec![0; 4096];
    // The header ends where the jump at its start leads to.
    let end = (at::MAGIC + usize::from(setup[at::JUMP])).min(at::MAP).min(setup.len());
    page[at::SETUP_SECTORS..end].copy_from_slice(&setup[at::SETUP_SECTORS..end]);
    page[at::RSDP..at::RSDP + 8].copy_from_slice(&rsdp.unwrap_or(0).to_le_bytes());
    for (i, (start, len, kind)) in map.iter().take(MOST_RANGES).enumerate() {
        let at = at::MAP + 20 * i;
        page[at..at + 8].copy_from_slice(&start.to_le_bytes());
        page[at + 8..at + 16].copy_from_slice(&len.to_le_bytes());
        page[at + 16..at + 20].copy_from_slice(&kind.to_le_bytes());
    }
    page[at::MAP_COUNT] = map.len().min(MOST_RANGES) as u8;
    page
}
