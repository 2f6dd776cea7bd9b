//! `info mem` and `info tlb`: what the guest's page tables say (SDM vol. 3, chapter 4).

use super::Session;
use super::commands::Answer;
use isamorph_ir::CpuState;
use isamorph_space::AddressSpace;
use isamorph_x86::state::{AMD64, CR0, CR4, word};
use isamorph_x86::system::{cr0, cr4, efer};
use std::fmt::Write as _;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
/// Physical address bits of a wide entry.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Most mappings that are shown.
const MOST: usize = 200_000;

/// A mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Page {
    virt: u64,
    size: u64,
    /// The entry that maps it, with the rights of all levels.
    entry: u64,
    physical: u64,
}

/// How the levels of a table are laid out: the entry's size and, for each level, the shift of its index and its bits.
struct Layout {
    entry_bytes: u64,
    levels: &'static [(u32, u32)],
    /// Whether entries of the last but one level may map pages.
    large: bool,
}

fn layout(state: &CpuState) -> Option<Layout> {
    let (cr0, cr4) = (state.get(&AMD64, CR0), state.get(&AMD64, CR4));
    if cr0 & cr0::PG == 0 {
        return None;
    }
    Some(if word::EFER.get(state) & efer::LMA != 0 {
        Layout { entry_bytes: 8, levels: &[(39, 9), (30, 9), (21, 9), (12, 9)], large: true }
    } else if cr4 & cr4::PAE != 0 {
        Layout { entry_bytes: 8, levels: &[(30, 2), (21, 9), (12, 9)], large: true }
    } else {
        Layout { entry_bytes: 4, levels: &[(22, 10), (12, 10)], large: cr4 & cr4::PSE != 0 }
    })
}

struct Walk<'a> {
    memory: &'a AddressSpace,
    layout: Layout,
    pages: Vec<Page>,
}

impl Walk<'_> {
    fn level(&mut self, level: usize, table: u64, base: u64, rights: u64) {
        let Some(&(shift, bits)) = self.layout.levels.get(level) else { return };
        let bytes = self.layout.entry_bytes;
        for index in 0..1u64 << bits {
            let Ok(entry) = self.memory.load(table + index * bytes, bytes as u32) else { return };
            if entry & PRESENT == 0 {
                continue;
            }
            if self.pages.len() >= MOST {
                return;
            }
            let mut virt = base | index << shift;
            if shift == 39 && index >= 256 {
                virt |= 0xffff_0000_0000_0000;
            }
            // The page-directory pointers of PAE have no rights.
            let has_rights = !(self.layout.levels.len() == 3 && level == 0);
            let own = if has_rights { entry & (WRITABLE | USER) | !entry & NO_EXECUTE } else { u64::MAX };
            let rights = rights & own;
            let next = if bytes == 8 { entry & ADDRESS } else { entry & 0xffff_f000 };
            let last = shift == 12;
            let maps = last || self.layout.large && entry & LARGE != 0 && has_rights && shift < 39;
            if maps {
                let size = 1 << shift;
                let physical = next & !(size - 1);
                let kept = entry & !(WRITABLE | USER | NO_EXECUTE) | rights & (WRITABLE | USER);
                self.pages.push(Page { virt, size, entry: kept | !rights & NO_EXECUTE, physical });
            } else {
                self.level(level + 1, next, virt, rights);
            }
        }
    }
}

fn pages(session: &Session) -> Result<Vec<Page>, String> {
    let memory = session.machine().memory().clone();
    let job = move |p: &mut dyn isamorph_accel::Processor| {
        let state = p.state();
        let layout = layout(state).ok_or_else(|| "PG disabled".to_owned())?;
        // Tables of PAE begin at 32 bytes, the others at a page.
        let root = word::CR3.get(state) & if layout.levels.len() == 3 { 0xffff_ffe0 } else { ADDRESS };
        let mut walk = Walk { memory: &memory, layout, pages: Vec::new() };
        walk.level(0, root, 0, u64::MAX);
        Ok(walk.pages)
    };
    session.machine().with_processor(session.processor(), job).unwrap_or_else(|| Err("no such CPU".to_owned()))
}

/// Letters of an entry's bits, from the top: no-execute, global, page size, dirty, accessed, cache, through, user,
/// writable.
fn letters(entry: u64) -> String {
    let bits = [(63, 'X'), (8, 'G'), (7, 'P'), (6, 'D'), (5, 'A'), (4, 'C'), (3, 'T'), (2, 'U'), (1, 'W')];
    bits.iter().map(|(bit, letter)| if entry >> bit & 1 != 0 { *letter } else { '-' }).collect()
}

/// `info tlb`.
pub(super) fn tlb(session: &Session, _: &str) -> Answer {
    let mut text = String::new();
    for page in pages(session)? {
        let entry = if page.size == 4096 { page.entry & !LARGE } else { page.entry };
        let _ = writeln!(text, "{:016x}: {:016x} {}", page.virt, page.physical, letters(entry));
    }
    Ok(text)
}

/// `info mem`: neighbouring pages with the same rights together.
pub(super) fn mem(session: &Session, _: &str) -> Answer {
    let mut runs: Vec<(u64, u64, u64)> = Vec::new();
    for page in pages(session)? {
        let rights = page.entry & (USER | WRITABLE);
        match runs.last_mut() {
            Some((_, end, same)) if *end == page.virt && *same == rights => *end += page.size,
            _ => runs.push((page.virt, page.virt.wrapping_add(page.size), rights)),
        }
    }
    let mut text = String::new();
    for (start, end, rights) in runs {
        let letter = |bit, letter| if rights & bit != 0 { letter } else { '-' };
        let size = end.wrapping_sub(start);
        let _ = writeln!(text, "{start:016x}-{end:016x} {size:016x} {}r{}", letter(USER, 'u'), letter(WRITABLE, 'w'));
    }
    Ok(text)
}
