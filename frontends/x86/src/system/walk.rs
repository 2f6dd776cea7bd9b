//! Translation of linear addresses (SDM vol. 3, chapter 4).

use super::cpu::{Cpu, canonical, cr0, cr4, efer, mask};
use crate::exception;
use crate::model::Feature;
use crate::state::{AMD64, CR0, CR4, eflag, word};
use isamorph_guest::{Access, AccessKind, Mapping, Physical};
use isamorph_ir::{CpuState, FaultCause, MemFault};

/// Bits of a physical address.
pub(super) const PHYSICAL_BITS: u32 = 40;

/// Contexts of accesses.
pub(super) mod context {
    /// Levels 0 to 2.
    pub(crate) const SUPERVISOR: usize = 0;
    /// Level 3.
    pub(crate) const USER: usize = 1;
    /// Levels 0 to 2 where they may not access pages of the user (SMAP).
    pub(crate) const PROTECTED_SUPERVISOR: usize = 2;
    /// How many there are.
    pub(crate) const COUNT: usize = 3;
}

/// Bits of entries.
mod entry {
    pub(super) const PRESENT: u64 = 1;
    pub(super) const WRITABLE: u64 = 1 << 1;
    pub(super) const USER: u64 = 1 << 2;
    pub(super) const ACCESSED: u64 = 1 << 5;
    pub(super) const DIRTY: u64 = 1 << 6;
    /// A page, where a table would be possible.
    pub(super) const LARGE: u64 = 1 << 7;
    pub(super) const GLOBAL: u64 = 1 << 8;
    pub(super) const NO_EXECUTE: u64 = 1 << 63;
}

/// Bits of the error code of a page fault.
mod error {
    pub(super) const PRESENT: u64 = 1;
    pub(super) const WRITE: u64 = 1 << 1;
    pub(super) const USER: u64 = 1 << 2;
    pub(super) const RESERVED: u64 = 1 << 3;
    pub(super) const FETCH: u64 = 1 << 4;
}

/// The context of the code that runs.
pub(super) fn context(state: &CpuState) -> usize {
    let smap = state.get(&AMD64, CR4) & cr4::SMAP != 0;
    match crate::state::cpl(state) {
        3 => context::USER,
        _ if smap && crate::state::eflags(state) & eflag::AC == 0 => context::PROTECTED_SUPERVISOR,
        _ => context::SUPERVISOR,
    }
}

/// The context of what the processor reads on its own: EFLAGS.AC does not open pages of the user to it (SDM vol. 3,
/// 4.6.1).
pub(super) fn privileged_context(state: &CpuState) -> usize {
    if state.get(&AMD64, CR4) & cr4::SMAP != 0 { context::PROTECTED_SUPERVISOR } else { context::SUPERVISOR }
}

/// Page-table formats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    /// Two levels of words of 4 bytes.
    Narrow,
    /// Two levels of words of 8 bytes below four pointers that are registers.
    Extended,
    /// Four levels of words of 8 bytes.
    Long,
}

/// A walk through the tables.
struct Walk<'w> {
    state: &'w CpuState,
    memory: &'w dyn Physical,
    addr: u64,
    access: Access,
    format: Format,
    cr0: u64,
    cr4: u64,
    efer: u64,
}

/// The last entry of a walk, and what all of them allow together.
struct Leaf {
    /// Entries on the way: address and content; the last one is the leaf.
    entries: [(u64, u64); 4],
    count: usize,
    /// log2 of the page's size.
    shift: u32,
    user: bool,
    writable: bool,
    executable: bool,
}

impl Leaf {
    fn entry(&self) -> u64 {
        self.entries[self.count - 1].1
    }
}

/// How often a walk is repeated because another processor changed an entry meanwhile. Tables in memory that cannot be
/// written would take forever.
const ATTEMPTS: u32 = 64;

/// The address on the bus: line 20 may be held low.
fn on_bus(state: &CpuState, addr: u64) -> u64 {
    if word::LINE_20_LOW.get(state) != 0 { addr & !(1 << 20) } else { addr }
}

/// See `SystemGuest::translate`.
pub(super) fn translate(
    state: &CpuState,
    memory: &dyn Physical,
    addr: u64,
    access: Access,
) -> Result<Mapping, MemFault> {
    let (cr0, cr4, efer) = (state.get(&AMD64, CR0), state.get(&AMD64, CR4), word::EFER.get(state));
    if cr0 & cr0::PG == 0 {
        let page = on_bus(state, addr & mask(4) & !0xfff);
        let all = true;
        return Ok(Mapping { page, size_shift: 12, readable: all, writable: all, executable: all, global: false });
    }
    let format = match () {
        _ if efer & efer::LMA != 0 => Format::Long,
        _ if cr4 & cr4::PAE != 0 => Format::Extended,
        _ => Format::Narrow,
    };
    if format == Format::Long && !canonical(addr) {
        let cause = FaultCause::Guest { code: exception::GP, arg: 0 };
        return Err(MemFault { addr, write: access.kind == AccessKind::Write, cause });
    }
    let addr = if format == Format::Long { addr } else { addr & mask(4) };
    let walk = Walk { state, memory, addr, access, format, cr0, cr4, efer };
    for _ in 1..ATTEMPTS {
        let leaf = walk.find()?;
        walk.check(&leaf)?;
        if walk.mark(&leaf) {
            return Ok(walk.mapping(&leaf));
        }
    }
    let leaf = walk.find()?;
    walk.check(&leaf)?;
    Ok(walk.mapping(&leaf))
}

impl Walk<'_> {
    fn fault(&self, bits: u64) -> MemFault {
        let write = self.access.kind == AccessKind::Write;
        let fetches = self.access.kind == AccessKind::Fetch;
        // The bit exists where fetches can be refused (SDM vol. 3, 4.7).
        let told = self.no_execute() || self.cr4 & cr4::SMEP != 0;
        let arg = bits
            | if write { error::WRITE } else { 0 }
            | if self.access.context == context::USER { error::USER } else { 0 }
            | if fetches && told { error::FETCH } else { 0 };
        MemFault { addr: self.addr, write, cause: FaultCause::Guest { code: exception::PF, arg } }
    }
    fn no_execute(&self) -> bool {
        self.efer & efer::NXE != 0 && self.format != Format::Narrow
    }
    fn load(&self, addr: u64) -> u64 {
        self.memory.load(on_bus(self.state, addr), if self.format == Format::Narrow { 4 } else { 8 })
    }
    /// The table at the top, and log2 of what its entries stand for.
    fn top(&self) -> Result<(u64, u32), MemFault> {
        let cr3 = word::CR3.get(self.state);
        match self.format {
            Format::Narrow => Ok((cr3 & 0xffff_f000, 22)),
            Format::Long => Ok((cr3 & ADDRESS, 39)),
            Format::Extended => {
                let pointer = word::PDPTE.at((self.addr >> 30) as u32 & 3).get(self.state);
                if pointer & entry::PRESENT == 0 { Err(self.fault(0)) } else { Ok((pointer & ADDRESS, 21)) }
            }
        }
    }
    fn find(&self) -> Result<Leaf, MemFault> {
        let (mut table, mut shift) = self.top()?;
        let bits = if self.format == Format::Narrow { 10 } else { 9 };
        let bytes = if self.format == Format::Narrow { 4 } else { 8 };
        let mut leaf = Leaf { entries: [(0, 0); 4], count: 0, shift, user: true, writable: true, executable: true };
        loop {
            let at = table + (self.addr >> shift & ((1 << bits) - 1)) * bytes;
            let value = self.load(at);
            if value & entry::PRESENT == 0 {
                return Err(self.fault(0));
            }
            leaf.entries[leaf.count] = (at, value);
            leaf.count += 1;
            leaf.shift = shift;
            let large = shift > 12 && value & entry::LARGE != 0 && self.allows_large(shift);
            if value & self.reserved(shift, large) != 0 {
                return Err(self.fault(error::PRESENT | error::RESERVED));
            }
            leaf.user &= value & entry::USER != 0;
            leaf.writable &= value & entry::WRITABLE != 0;
            leaf.executable &= !self.no_execute() || value & entry::NO_EXECUTE == 0;
            if large || shift == 12 {
                return Ok(leaf);
            }
            table = value & if self.format == Format::Narrow { 0xffff_f000 } else { ADDRESS };
            shift -= bits;
        }
    }
    /// Whether entries of that level can be pages.
    fn allows_large(&self, shift: u32) -> bool {
        match shift {
            22 => self.cr4 & cr4::PSE != 0,
            21 => true,
            30 => super::features(self.state).has(Feature::Pdpe1gb),
            _ => false,
        }
    }
    /// The bits of an entry that must be zero (SDM vol. 3, tables 4-4 to 4-20).
    fn reserved(&self, shift: u32, large: bool) -> u64 {
        let below = |bits: u32| (1u64 << bits) - 1;
        if self.format == Format::Narrow {
            // Bits 20:13 are the upper part of the address; 40 bits of it take all of them.
            return if large { 1 << 21 } else { 0 };
        }
        let ignored_top = if self.format == Format::Long { 52 } else { 63 };
        let mut bits = below(ignored_top) & !below(PHYSICAL_BITS);
        if !self.no_execute() {
            bits |= entry::NO_EXECUTE;
        }
        if large {
            bits |= below(shift) & !below(13);
        } else if shift > 21 {
            bits |= entry::LARGE;
        }
        bits
    }
    fn readable(&self, leaf: &Leaf) -> bool {
        match self.access.context {
            context::USER => leaf.user,
            context::PROTECTED_SUPERVISOR => !leaf.user,
            _ => true,
        }
    }
    fn writable(&self, leaf: &Leaf) -> bool {
        let ignores = self.access.context != context::USER && self.cr0 & cr0::WP == 0;
        self.readable(leaf) && (leaf.writable || ignores)
    }
    fn executable(&self, leaf: &Leaf) -> bool {
        let level =
            if self.access.context == context::USER { leaf.user } else { !leaf.user || self.cr4 & cr4::SMEP == 0 };
        level && leaf.executable
    }
    fn check(&self, leaf: &Leaf) -> Result<(), MemFault> {
        let allowed = match self.access.kind {
            AccessKind::Read => self.readable(leaf),
            AccessKind::Write => self.writable(leaf),
            AccessKind::Fetch => self.executable(leaf),
        };
        if allowed { Ok(()) } else { Err(self.fault(error::PRESENT)) }
    }
    /// Notes the access in every entry, the top one first; false if one of them is not what it was.
    fn mark(&self, leaf: &Leaf) -> bool {
        let bytes = if self.format == Format::Narrow { 4 } else { 8 };
        leaf.entries[..leaf.count].iter().enumerate().all(|(n, (at, value))| {
            let dirty = n + 1 == leaf.count && self.access.kind == AccessKind::Write;
            let bits = entry::ACCESSED | if dirty { entry::DIRTY } else { 0 };
            value & bits == bits || self.memory.set_bits(on_bus(self.state, *at), bytes, *value, bits)
        })
    }
    fn mapping(&self, leaf: &Leaf) -> Mapping {
        let value = leaf.entry();
        let inside = (1u64 << leaf.shift) - 1;
        let base = match self.format {
            Format::Narrow if leaf.shift == 22 => value & 0xffc0_0000 | (value >> 13 & 0xff) << 32,
            Format::Narrow => value & 0xffff_f000,
            _ => value & ADDRESS & !inside,
        };
        let dirty = value & entry::DIRTY != 0 || self.access.kind == AccessKind::Write;
        Mapping {
            page: on_bus(self.state, base | self.addr & inside & !0xfff),
            size_shift: leaf.shift,
            readable: self.readable(leaf),
            writable: dirty && self.writable(leaf),
            executable: self.executable(leaf),
            global: value & entry::GLOBAL != 0 && self.cr4 & cr4::PGE != 0,
        }
    }
}

/// The address in an entry of 8 bytes.
const ADDRESS: u64 = ((1 << PHYSICAL_BITS) - 1) & !0xfff;

/// The page-directory pointers of PAE paging; nothing if a reserved bit is set (SDM vol. 3, 4.4.1).
pub(super) fn read_pointers(cpu: &Cpu<'_>, cr3: u64) -> Option<[u64; 4]> {
    const RESERVED: u64 = !ADDRESS & !0xe19;
    let mut raw = [0; 32];
    cpu.sys.read_physical(on_bus(cpu.state, cr3 & 0xffff_ffe0), &mut raw);
    let mut pointers = [0; 4];
    for (pointer, bytes) in pointers.iter_mut().zip(raw.chunks_exact(8)) {
        *pointer = bytes.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b));
        if *pointer & entry::PRESENT != 0 && *pointer & RESERVED != 0 {
            return None;
        }
    }
    Some(pointers)
}
