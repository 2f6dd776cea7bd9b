//! Questions about a machine's processor that decide how code is lifted and run.

use super::{AMD64, CS_ATTR, DS_BASE, ES_ATTR, ES_BASE, SS_ATTR, word};
use isamorph_ir::{CpuState, RegId};

/// Bits of a segment's attributes, where `lar` shows them: the upper half of its descriptor (SDM vol. 3, 3.4.5).
pub mod rights {
    /// Of a code or data segment: it was loaded.
    pub const ACCESSED: u32 = 1 << 8;
    /// Data may be written, or code be read.
    pub const WRITABLE: u32 = 1 << 9;
    /// A data segment that expands down, or conforming code.
    pub const DOWN: u32 = 1 << 10;
    /// A code segment.
    pub const CODE: u32 = 1 << 11;
    /// A code or data segment, not a gate or another structure of the system.
    pub const ORDINARY: u32 = 1 << 12;
    /// Shift of the privilege level, two bits.
    pub const DPL_SHIFT: u32 = 13;
    /// It is there.
    pub const PRESENT: u32 = 1 << 15;
    /// For software.
    pub const AVAILABLE: u32 = 1 << 20;
    /// 64-bit code.
    pub const LONG: u32 = 1 << 21;
    /// 32-bit code or stack; an upper bound of 4 GiB.
    pub const BIG: u32 = 1 << 22;
    /// The limit counts pages.
    pub const PAGES: u32 = 1 << 23;
}

/// The current privilege level: that of the stack segment, whose attributes follow it in every mode.
pub fn cpl(state: &CpuState) -> u32 {
    state.get(&AMD64, SS_ATTR) as u32 >> rights::DPL_SHIFT & 3
}

/// Whether code at the program counter is 64-bit code.
pub fn long_mode(state: &CpuState) -> bool {
    word::EFER.get(state) & crate::system::efer::LMA != 0 && state.get(&AMD64, CS_ATTR) as u32 & rights::LONG != 0
}

/// Number of DS; FS and GS follow.
const NUMBER_DS: u16 = 3;

/// Whether each data segment is readable, writable, and from zero up to its limit; and the code segment is readable. If
/// not, accesses with a segment are checked by a helper. FS and GS may also be null, for most code has no use for them:
/// their limit of zero refuses accesses too.
pub fn segments_are_plain(state: &CpuState) -> bool {
    use rights::{CODE, DOWN, PRESENT, WRITABLE};
    (0..6).all(|number| {
        let attr = state.get(&AMD64, RegId(ES_ATTR.0 + number)) as u32;
        let code = number == CS_ATTR.0 - ES_ATTR.0;
        if number > NUMBER_DS && attr == 0 {
            return true;
        }
        let wanted = if code { PRESENT | WRITABLE | CODE } else { PRESENT | WRITABLE };
        attr & (PRESENT | WRITABLE | CODE | if code { 0 } else { DOWN }) == wanted
    })
}

/// Whether ES, CS, SS and DS begin at zero.
pub fn bases_are_zero(state: &CpuState) -> bool {
    (ES_BASE.0..=DS_BASE.0).all(|row| state.get(&AMD64, RegId(row)) == 0)
}

/// Whether breakpoints are to be looked for before each instruction. EFLAGS.RF is only kept then.
pub fn debugged(state: &CpuState) -> bool {
    word::DR7.get(state) & 0xff != 0
}
