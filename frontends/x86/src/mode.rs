//! The operating mode of the processor, as far as it decides the meaning of code.

use crate::state::{
    self, CR0, CR4, CS_ATTR, CS_BASE, CS_LIMIT, EFLAGS_REST, ES_ATTR, ES_LIMIT, SHADOW, SS_ATTR, eflag,
};
use crate::state::{AMD64, cpl, debugged, rights, segments_are_plain};
use crate::system::efer;
use isamorph_ir::{CpuState, RegId};

/// A mode: everything besides the program counter that lifting looks at. Outside this crate it is a number. For user
/// programs that is the width of the code, 32 or 64; a machine's have [`Mode::MACHINE`] set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode(u64);

/// Width of the code in bits 1:0: 16 bits shifted left by that number.
const CODE_SIZE: u64 = 3;

macro_rules! mode_bits {
    ($($(#[$doc:meta])* $bit:ident = $n:literal, $has:ident;)*) => { $(
        const $bit: u64 = 1 << $n;
        impl Mode {
            $(#[$doc])*
            pub(crate) const fn $has(self) -> bool {
                self.0 & $bit != 0
            }
        }
    )* };
}
mode_bits! {
    /// Whether the stack pointer has 32 bits (SS.B); in 64-bit code it has 64.
    WIDE_STACK = 2, has_wide_stack;
    /// Whether protection is enabled (CR0.PE).
    PROTECTED = 3, is_protected;
    /// Whether it is virtual-8086 mode.
    VIRTUAL = 4, is_virtual;
    /// Whether CS, DS, ES and SS begin at 0, end at 4 GiB and are of the right kind: nothing to add, nothing to check.
    FLAT = 6, is_flat;
    /// Whether x87 and MMX instructions raise #NM (CR0.TS or CR0.EM).
    NO_FPU = 7, has_no_fpu;
    /// Whether SSE instructions exist (CR4.OSFXSR and not CR0.EM).
    SSE = 8, has_sse;
    /// Whether a trap follows every instruction (EFLAGS.TF).
    STEPS = 9, steps;
    /// Whether it is a machine's processor rather than a Linux program's.
    MACHINE = 10, in_machine;
    /// Whether the operating system has announced that it keeps extended state (CR4.OSXSAVE).
    OSXSAVE = 11, has_osxsave;
    /// Whether the code segment ends at 64 KiB.
    ENDS_AT_64K = 12, ends_at_64k;
    /// Whether the code segment ends neither at 64 KiB nor at 4 GiB.
    ENDS_ELSEWHERE = 13, ends_elsewhere;
    /// Whether interrupts and traps wait for the end of the next instruction (after `sti`, `mov ss`).
    SHADOWED = 14, is_shadowed;
    /// Whether the privilege level allows I/O and changes of the interrupt flag (CPL ≤ IOPL).
    IO = 15, allows_io;
    /// Whether misaligned accesses raise #AC (CR0.AM, EFLAGS.AC and CPL 3).
    ALIGNED = 17, checks_alignment;
    /// Whether the privilege level is that of the operating system, 0.
    KERNEL = 18, is_kernel;
    /// Whether there are breakpoints, or one is to be passed (EFLAGS.RF).
    DEBUGGED = 19, is_debugged;
    /// Whether a segment is expand-down, or may not be read and written.
    STRANGE = 20, has_strange_segments;
    /// Whether x87 instructions are emulated and MMX does not exist (CR0.EM).
    EMULATED = 21, emulates_fpu;
    /// Whether `wait` raises #NM (CR0.MP and CR0.TS).
    WAIT_TRAPS = 22, wait_traps;
    /// Whether instructions reach the bases of FS and GS (CR4.FSGSBASE).
    FSGSBASE = 23, has_fsgsbase;
}

/// Shift of the base of the code segment, if it is not 0.
const BASE_SHIFT: u32 = 32;

/// Bits of CR0 (SDM vol. 3, 2.5).
mod cr0 {
    pub(super) const PE: u64 = 1 << 0;
    pub(super) const MP: u64 = 1 << 1;
    pub(super) const EM: u64 = 1 << 2;
    pub(super) const TS: u64 = 1 << 3;
    pub(super) const AM: u64 = 1 << 18;
}

/// Bits of CR4.
mod cr4 {
    pub(super) const OSFXSR: u64 = 1 << 9;
    pub(super) const FSGSBASE: u64 = 1 << 16;
    pub(super) const OSXSAVE: u64 = 1 << 18;
}

const fn bit_if(condition: bool, bit: u64) -> u64 {
    if condition { bit } else { 0 }
}

impl Mode {
    /// A 32-bit user program.
    pub(crate) const USER_32: Self = Mode(1 | WIDE_STACK | PROTECTED | FLAT | SSE | OSXSAVE | FSGSBASE);
    /// A 64-bit user program.
    pub(crate) const USER_64: Self = Mode(2 | WIDE_STACK | PROTECTED | FLAT | SSE | OSXSAVE | FSGSBASE);

    /// The mode with that number ([`Mode::number`]).
    pub(crate) const fn from_number(number: u64) -> Self {
        match number {
            64 => Mode::USER_64,
            n if n & MACHINE != 0 => Mode(n),
            _ => Mode::USER_32,
        }
    }
    /// The number that stands for the mode outside this crate.
    pub(crate) const fn number(self) -> u64 {
        if self.in_machine() { self.0 } else { self.bits() as u64 }
    }
    /// The width of linear addresses, and of the registers that code sees.
    pub(crate) const fn bits(self) -> u32 {
        if self.is_long() { 64 } else { 32 }
    }
    /// The default width of operands and addresses of code that is not 64-bit code, or 64.
    pub(crate) const fn code_bits(self) -> u32 {
        16 << (self.0 & CODE_SIZE)
    }
    /// Whether this is 64-bit code.
    pub(crate) const fn is_long(self) -> bool {
        self.0 & CODE_SIZE == 2
    }
    /// Whether descriptors give segments their meaning: protected mode, but not virtual-8086 mode.
    pub(crate) const fn has_descriptors(self) -> bool {
        self.is_protected() && !self.is_virtual()
    }
    /// Whether a region may hold one instruction only.
    pub(crate) const fn is_single(self) -> bool {
        self.0 & (STEPS | SHADOWED | DEBUGGED | ENDS_ELSEWHERE) != 0
    }
    /// The mask of a program counter.
    pub(crate) const fn pc_mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }
    /// The base of the code segment.
    pub(crate) const fn code_base(self) -> u64 {
        if self.in_machine() { self.0 >> BASE_SHIFT } else { 0 }
    }
    /// The offset in the code segment of a linear address: the instruction pointer.
    pub(crate) const fn offset(self, pc: u64) -> u64 {
        pc.wrapping_sub(self.code_base()) & self.pc_mask()
    }
    /// The linear address of an offset in the code segment.
    pub(crate) const fn linear(self, offset: u64) -> u64 {
        offset.wrapping_add(self.code_base()) & self.pc_mask()
    }
    /// The last offset in the code segment, where it is known and matters.
    pub(crate) const fn last_offset(self) -> Option<u64> {
        if self.ends_at_64k() { Some(0xffff) } else { None }
    }

    /// The mode of a machine's processor in that state.
    pub(crate) fn of(state: &CpuState) -> Self {
        let word = |reg| state.get(&AMD64, reg);
        let rest = word(EFLAGS_REST) as u32;
        let flag = |mask| rest & mask != 0;
        let (cr0, cr4, cpl) = (word(CR0), word(CR4), cpl(state));
        let on = |register: u64, bits: u64| register & bits != 0;
        let iopl = (rest & eflag::IOPL) >> eflag::IOPL_SHIFT;
        let general = MACHINE
            | bit_if(on(cr0, cr0::PE), PROTECTED)
            | bit_if(flag(eflag::VM), VIRTUAL)
            | bit_if(cpl == 0, KERNEL)
            | bit_if(cpl <= iopl, IO)
            | bit_if(flag(eflag::TF), STEPS)
            | bit_if(word(SHADOW) != 0, SHADOWED)
            | bit_if(debugged(state), DEBUGGED)
            | bit_if(cpl == 3 && flag(eflag::AC) && on(cr0, cr0::AM), ALIGNED);
        let units = bit_if(on(cr0, cr0::EM | cr0::TS), NO_FPU)
            | bit_if(on(cr0, cr0::EM), EMULATED)
            | bit_if(cr0 & (cr0::MP | cr0::TS) == cr0::MP | cr0::TS, WAIT_TRAPS)
            | bit_if(on(cr4, cr4::OSFXSR) && !on(cr0, cr0::EM), SSE)
            | bit_if(on(cr4, cr4::OSXSAVE), OSXSAVE)
            | bit_if(on(cr4, cr4::FSGSBASE), FSGSBASE);
        Mode(general | units | Mode::segments(state))
    }
    /// The bits that the segment registers decide.
    fn segments(state: &CpuState) -> u64 {
        let word = |reg| state.get(&AMD64, reg);
        let code = word(CS_ATTR) as u32;
        if code & rights::LONG != 0 && state::word::EFER.get(state) & efer::LMA != 0 {
            return 2 | WIDE_STACK | FLAT;
        }
        // Without descriptors segments keep the types that they had, but nobody looks at them.
        let typed = word(CR0) & cr0::PE != 0 && word(EFLAGS_REST) as u32 & eflag::VM == 0;
        let limit = word(CS_LIMIT);
        let base = state.get(&state::I386, CS_BASE);
        u64::from(code & rights::BIG != 0)
            | bit_if(word(SS_ATTR) as u32 & rights::BIG != 0, WIDE_STACK)
            | bit_if(limit == 0xffff, ENDS_AT_64K)
            | bit_if(limit != 0xffff && limit != 0xffff_ffff, ENDS_ELSEWHERE)
            | if typed && !segments_are_plain(state) { STRANGE } else { bit_if(base == 0 && is_flat(state), FLAT) }
            | base << BASE_SHIFT
    }
}

/// Whether CS, DS, ES and SS, which are plain, span the whole address space.
fn is_flat(state: &CpuState) -> bool {
    let spans = |n: u16| {
        let [limit, attr] = [ES_LIMIT, ES_ATTR].map(|first| state.get(&AMD64, RegId(first.0 + n)) as u32);
        limit == u32::MAX && attr & rights::PRESENT != 0
    };
    state::bases_are_zero(state) && (0..4).all(spans)
}

impl std::fmt::Debug for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mode({:#x})", self.number())
    }
}
