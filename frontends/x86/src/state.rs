//! The CPU state: register tables, EFLAGS, segments, thread-local-storage descriptors.
//!
//! There is one layout. The table of 32-bit processors ([`I386`]) sees the low halves of the slots that the table of
//! 64-bit ones ([`AMD64`]) sees whole, and both have a register under the same [`RegId`]; so what does not depend on
//! the width serves both. Code for 32-bit processors neither reads nor writes the high halves.
//!
//! What only a machine's processor has is in the rows from [`ES_BASE`] on, as far as lifted code looks at it, and in
//! the words of [`word`]. User programs find zeros there.
//!
//! EFLAGS is kept in three registers so that each part is cheap where it is hot: the six arithmetic flags
//! ([`FLAGS`]), the direction as the step of string instructions ([`DF`]: +1 or −1), and everything else
//! ([`EFLAGS_REST`]). [`eflags`] and [`set_eflags`] assemble and split the architectural register.

mod machine;
pub mod word;

pub use machine::{bases_are_zero, cpl, debugged, long_mode, rights, segments_are_plain};

use crate::mode::Mode;
use isamorph_ir::{CpuState, Family, FlagSet, GUEST_OFFSET, Pin, RegDef, RegId, RegTable, Type};

/// Offset of the FXSAVE image (SDM vol. 1, 10.5.1): 16-aligned, after the integer registers.
const FXSAVE: u32 = GUEST_OFFSET + 256;
/// Bytes of an FXSAVE image.
pub const FXSAVE_BYTES: usize = 512;
/// Offset of the thread-local-storage descriptors, see [`TlsDescriptor`].
const TLS: u32 = GUEST_OFFSET + 192;

const fn int(name: &'static str, ty: Type, number: u8, rank: u8) -> RegDef {
    RegDef { name, ty, offset: GUEST_OFFSET + 8 * number as u32, pin: Pin::Int { rank, number } }
}
const fn word(name: &'static str, ty: Type, offset: u32) -> RegDef {
    RegDef { name, ty, offset: GUEST_OFFSET + offset, pin: Pin::State }
}
const fn xmm(name: &'static str, number: u8) -> RegDef {
    let offset = FXSAVE + 160 + 16 * number as u32;
    RegDef { name, ty: Type::V128, offset, pin: Pin::Vector { rank: number, number } }
}
const fn mm(name: &'static str, number: u8) -> RegDef {
    RegDef { name, ty: Type::V64, offset: FXSAVE + 32 + 16 * number as u32, pin: Pin::X87(number) }
}
const fn flags() -> RegDef {
    RegDef { name: "flags", ty: Type::Flags, offset: GUEST_OFFSET + 128, pin: Pin::Flags }
}
const fn mxcsr() -> RegDef {
    RegDef { name: "mxcsr", ty: Type::I32, offset: FXSAVE + 24, pin: Pin::FpControl }
}

/// The registers of a 32-bit processor; [`RegId`] constants below name the rows.
pub static I386: RegTable = RegTable {
    arch: "i386",
    family: Family::X86,
    regs: &[
        int("eax", Type::I32, 0, 0),
        int("ecx", Type::I32, 1, 3),
        int("edx", Type::I32, 2, 2),
        int("ebx", Type::I32, 3, 4),
        int("esp", Type::I32, 4, 1),
        int("ebp", Type::I32, 5, 5),
        int("esi", Type::I32, 6, 6),
        int("edi", Type::I32, 7, 7),
        flags(),
        word("df", Type::I32, 136),
        word("eflags_rest", Type::I32, 144),
        word("es", Type::I32, 148),
        word("cs", Type::I32, 152),
        word("ss", Type::I32, 156),
        word("ds", Type::I32, 160),
        word("fs", Type::I32, 164),
        word("gs", Type::I32, 168),
        word("fs_base", Type::I32, 176),
        word("gs_base", Type::I32, 184),
        xmm("xmm0", 0),
        xmm("xmm1", 1),
        xmm("xmm2", 2),
        xmm("xmm3", 3),
        xmm("xmm4", 4),
        xmm("xmm5", 5),
        xmm("xmm6", 6),
        xmm("xmm7", 7),
        mm("mm0", 0),
        mm("mm1", 1),
        mm("mm2", 2),
        mm("mm3", 3),
        mm("mm4", 4),
        mm("mm5", 5),
        mm("mm6", 6),
        mm("mm7", 7),
        mxcsr(),
        word("es_base", Type::I32, 768),
        word("cs_base", Type::I32, 776),
        word("ss_base", Type::I32, 784),
        word("ds_base", Type::I32, 792),
        word("es_limit", Type::I32, 800),
        word("cs_limit", Type::I32, 804),
        word("ss_limit", Type::I32, 808),
        word("ds_limit", Type::I32, 812),
        word("fs_limit", Type::I32, 816),
        word("gs_limit", Type::I32, 820),
        word("es_attr", Type::I32, 824),
        word("cs_attr", Type::I32, 828),
        word("ss_attr", Type::I32, 832),
        word("ds_attr", Type::I32, 836),
        word("fs_attr", Type::I32, 840),
        word("gs_attr", Type::I32, 844),
        word("cr0", Type::I32, 848),
        word("cr4", Type::I32, 856),
        word("shadow", Type::I32, 864),
    ],
    size: GUEST_OFFSET + word::END,
    addr_bits: 32,
    flags: Some(FLAGS),
    fxsave: Some(FXSAVE),
};

/// The registers of a 64-bit processor: those of [`I386`] under the same numbers, then the ones that came with 64-bit
/// mode.
pub static AMD64: RegTable = RegTable {
    arch: "x86_64",
    family: Family::X86,
    regs: &[
        int("rax", Type::I64, 0, 1),
        int("rcx", Type::I64, 1, 5),
        int("rdx", Type::I64, 2, 3),
        int("rbx", Type::I64, 3, 6),
        int("rsp", Type::I64, 4, 0),
        int("rbp", Type::I64, 5, 7),
        int("rsi", Type::I64, 6, 4),
        int("rdi", Type::I64, 7, 2),
        flags(),
        word("df", Type::I64, 136),
        word("eflags_rest", Type::I32, 144),
        word("es", Type::I32, 148),
        word("cs", Type::I32, 152),
        word("ss", Type::I32, 156),
        word("ds", Type::I32, 160),
        word("fs", Type::I32, 164),
        word("gs", Type::I32, 168),
        word("fs_base", Type::I64, 176),
        word("gs_base", Type::I64, 184),
        xmm("xmm0", 0),
        xmm("xmm1", 1),
        xmm("xmm2", 2),
        xmm("xmm3", 3),
        xmm("xmm4", 4),
        xmm("xmm5", 5),
        xmm("xmm6", 6),
        xmm("xmm7", 7),
        mm("mm0", 0),
        mm("mm1", 1),
        mm("mm2", 2),
        mm("mm3", 3),
        mm("mm4", 4),
        mm("mm5", 5),
        mm("mm6", 6),
        mm("mm7", 7),
        mxcsr(),
        word("es_base", Type::I64, 768),
        word("cs_base", Type::I64, 776),
        word("ss_base", Type::I64, 784),
        word("ds_base", Type::I64, 792),
        word("es_limit", Type::I32, 800),
        word("cs_limit", Type::I32, 804),
        word("ss_limit", Type::I32, 808),
        word("ds_limit", Type::I32, 812),
        word("fs_limit", Type::I32, 816),
        word("gs_limit", Type::I32, 820),
        word("es_attr", Type::I32, 824),
        word("cs_attr", Type::I32, 828),
        word("ss_attr", Type::I32, 832),
        word("ds_attr", Type::I32, 836),
        word("fs_attr", Type::I32, 840),
        word("gs_attr", Type::I32, 844),
        word("cr0", Type::I64, 848),
        word("cr4", Type::I64, 856),
        word("shadow", Type::I32, 864),
        int("r8", Type::I64, 8, 8),
        int("r9", Type::I64, 9, 13),
        int("r10", Type::I64, 10, 14),
        int("r11", Type::I64, 11, 15),
        int("r12", Type::I64, 12, 9),
        int("r13", Type::I64, 13, 10),
        int("r14", Type::I64, 14, 11),
        int("r15", Type::I64, 15, 12),
        xmm("xmm8", 8),
        xmm("xmm9", 9),
        xmm("xmm10", 10),
        xmm("xmm11", 11),
        xmm("xmm12", 12),
        xmm("xmm13", 13),
        xmm("xmm14", 14),
        xmm("xmm15", 15),
    ],
    size: GUEST_OFFSET + word::END,
    addr_bits: 64,
    flags: Some(FLAGS),
    fxsave: Some(FXSAVE),
};

macro_rules! reg_ids {
    ($($(#[$doc:meta])* $name:ident = $n:literal;)*) => { $($(#[$doc])* pub const $name: RegId = RegId($n);)* };
}
reg_ids! {
    /// Accumulator; the eight integer registers of 32-bit processors follow in encoding order. The names are those of
    /// the 32-bit registers; in [`AMD64`] the same numbers are the 64-bit ones.
    EAX = 0;
    /// Counter.
    ECX = 1;
    /// Data.
    EDX = 2;
    /// Base.
    EBX = 3;
    /// Stack pointer.
    ESP = 4;
    /// Frame pointer.
    EBP = 5;
    /// Source index.
    ESI = 6;
    /// Destination index.
    EDI = 7;
    /// The arithmetic flags C P A Z S O.
    FLAGS = 8;
    /// Direction of string instructions: 1 (EFLAGS.DF = 0) or −1 (EFLAGS.DF = 1).
    DF = 9;
    /// The other bits of EFLAGS: TF, IF, NT, AC, ID …
    EFLAGS_REST = 10;
    /// Segment selectors, in encoding order from here.
    ES = 11;
    /// Code segment selector.
    CS = 12;
    /// Stack segment selector.
    SS = 13;
    /// Data segment selector.
    DS = 14;
    /// FS selector.
    FS = 15;
    /// GS selector.
    GS = 16;
    /// Base of the FS segment.
    FS_BASE = 17;
    /// Base of the GS segment.
    GS_BASE = 18;
    /// The first of eight vector registers.
    XMM0 = 19;
    /// The first of eight MMX registers.
    MM0 = 27;
    /// SSE control and status.
    MXCSR = 35;
    /// Bases of ES, CS, SS and DS, in encoding order from here; zero in 64-bit mode. Those of FS and GS are above.
    ES_BASE = 36;
    /// Base of the code segment.
    CS_BASE = 37;
    /// Base of the stack segment.
    SS_BASE = 38;
    /// Base of the DS segment.
    DS_BASE = 39;
    /// Limits of the six segments in encoding order: the last offset (of an expand-down one, the last that is not in
    /// it), whatever the granularity.
    ES_LIMIT = 40;
    /// Limit of the code segment.
    CS_LIMIT = 41;
    /// Attributes of the six segments in encoding order, see [`rights`]. Zero after a null selector was loaded; but SS
    /// has the current privilege level as its own always.
    ES_ATTR = 46;
    /// Attributes of the code segment.
    CS_ATTR = 47;
    /// Attributes of the stack segment.
    SS_ATTR = 48;
    /// Control register 0.
    CR0 = 52;
    /// Control register 4.
    CR4 = 53;
    /// Bit 0 if the next instruction is run before interrupts are looked at (SDM vol. 3, 6.8.3): after `sti`, `mov ss`;
    /// bit 1 too after `mov ss`, which also holds back NMIs and debug traps.
    SHADOW = 54;
    /// The first of the eight integer registers that came with 64-bit mode.
    R8 = 55;
    /// The first of the eight vector registers that came with 64-bit mode.
    XMM8 = 63;
}

/// The registers of a processor in that mode.
pub(crate) fn table(mode: Mode) -> &'static RegTable {
    if mode.is_long() { &AMD64 } else { &I386 }
}

/// Integer register `number` (0 to 15, encoding order).
pub const fn gpr(number: u16) -> RegId {
    if number < 8 { RegId(EAX.0 + number) } else { RegId(R8.0 + (number & 7)) }
}

/// Vector register `number` (0 to 15).
pub const fn xmm_reg(number: u16) -> RegId {
    if number < 8 { RegId(XMM0.0 + number) } else { RegId(XMM8.0 + (number & 7)) }
}

/// Bits of EFLAGS besides the arithmetic flags (SDM vol. 1, 3.4.3).
pub mod eflag {
    /// Reads as one.
    pub const FIXED: u32 = 1 << 1;
    /// Trap (single step).
    pub const TF: u32 = 1 << 8;
    /// Interrupts enabled.
    pub const IF: u32 = 1 << 9;
    /// Shift of the I/O privilege level, two bits.
    pub const IOPL_SHIFT: u32 = 12;
    /// The I/O privilege level.
    pub const IOPL: u32 = 3 << IOPL_SHIFT;
    /// Direction.
    pub const DF: u32 = 1 << 10;
    /// Nested task.
    pub const NT: u32 = 1 << 14;
    /// Resume; `pushf` stores it as zero.
    pub const RF: u32 = 1 << 16;
    /// Virtual-8086 mode; `pushf` stores it as zero.
    pub const VM: u32 = 1 << 17;
    /// Alignment check.
    pub const AC: u32 = 1 << 18;
    /// Virtual interrupt flag.
    pub const VIF: u32 = 1 << 19;
    /// Virtual interrupt pending.
    pub const VIP: u32 = 1 << 20;
    /// CPUID available (writable).
    pub const ID: u32 = 1 << 21;
    /// What user code can change with `popf`, besides the arithmetic flags and DF.
    pub const USER: u32 = TF | NT | AC | ID;
}

/// Selectors of user programs under a 64-bit Linux kernel.
pub mod selector {
    /// Code segment of 32-bit user programs.
    pub const USER32_CS: u32 = 0x23;
    /// Data and stack segment of user programs.
    pub const USER_DS: u32 = 0x2b;
    /// Code segment of 64-bit user programs.
    pub const USER64_CS: u32 = 0x33;
    /// First descriptor-table entry for thread-local storage.
    pub const TLS_FIRST: u32 = 12;
    /// Number of descriptor-table entries for thread-local storage.
    pub const TLS_COUNT: u32 = 3;
}

/// Puts a vCPU into the state in which a 32-bit user program starts: flat segments, FPU and SSE initialised, all
/// other registers zero. The caller sets `pc` and `esp`.
pub fn reset_user(state: &mut CpuState) {
    reset(state);
    for (reg, value) in
        [(CS, selector::USER32_CS), (SS, selector::USER_DS), (DS, selector::USER_DS), (ES, selector::USER_DS)]
    {
        state.set(&I386, reg, u64::from(value));
    }
}

/// The same for a 64-bit user program: DS and ES are null, as Linux leaves them.
pub fn reset_user64(state: &mut CpuState) {
    reset(state);
    state.set(&AMD64, CS, u64::from(selector::USER64_CS));
    state.set(&AMD64, SS, u64::from(selector::USER_DS));
}

fn reset(state: &mut CpuState) {
    state.bytes_mut(GUEST_OFFSET, (AMD64.size - GUEST_OFFSET) as usize).fill(0);
    set_eflags(state, eflag::FIXED | eflag::IF);
    reset_float(state);
}

/// The floating-point units as they are at the start.
pub(crate) fn reset_float(state: &mut CpuState) {
    state.set(&AMD64, MXCSR, 0x1f80);
    state.bytes_mut(FXSAVE, 2).copy_from_slice(&0x037fu16.to_le_bytes());
    state.bytes_mut(FXSAVE + 28, 4).copy_from_slice(&MXCSR_MASK.to_le_bytes());
}

/// The bits of MXCSR that may be set (SDM vol. 1, 11.6.6).
pub const MXCSR_MASK: u32 = 0xffff;

/// The FXSAVE image of the state.
pub fn fxsave_image(state: &CpuState) -> &[u8] {
    state.bytes(FXSAVE, FXSAVE_BYTES)
}

/// The FXSAVE image of the state, writable.
pub fn fxsave_image_mut(state: &mut CpuState) -> &mut [u8] {
    state.bytes_mut(FXSAVE, FXSAVE_BYTES)
}

/// The FXSAVE image as instructions and signal frames store it. The pointers to the last x87 instruction and its
/// operand are left out: the host's would tell where compiled code lies, and the guest's are not kept.
pub fn saved_image(state: &CpuState) -> [u8; FXSAVE_BYTES] {
    let mut image = [0; FXSAVE_BYTES];
    image.copy_from_slice(fxsave_image(state));
    image[POINTERS].fill(0);
    image
}

/// Opcode, instruction pointer and operand pointer in an FXSAVE image.
const POINTERS: std::ops::Range<usize> = 6..24;

/// The architectural EFLAGS.
pub fn eflags(state: &CpuState) -> u32 {
    let arith = state.get(&I386, FLAGS) as u32 & FlagSet::all().bits();
    let direction = if state.get(&I386, DF) as i32 == -1 { eflag::DF } else { 0 };
    arith | direction | state.get(&I386, EFLAGS_REST) as u32 | eflag::FIXED
}

/// Sets the architectural EFLAGS, all bits.
pub fn set_eflags(state: &mut CpuState, bits: u32) {
    let arith = FlagSet::all().bits();
    let step: i64 = if bits & eflag::DF != 0 { -1 } else { 1 };
    state.set(&AMD64, FLAGS, u64::from(bits & arith));
    state.set(&AMD64, DF, step as u64);
    state.set(&AMD64, EFLAGS_REST, u64::from(bits & !(arith | eflag::DF | eflag::FIXED)));
}

/// A segment descriptor for thread-local storage as `set_thread_area` takes it, decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TlsDescriptor {
    /// Base address.
    pub base: u32,
    /// Limit, in the descriptor's granularity. Kept, but not enforced: user segments are flat.
    pub limit: u32,
    /// Flags in the layout of Linux's `struct user_desc` (bit 0 `seg_32bit` … bit 6 `useable`); 0 is an empty entry.
    pub flags: u32,
}

impl TlsDescriptor {
    /// `user_desc.seg_not_present`.
    pub const NOT_PRESENT: u32 = 1 << 5;
    /// Whether nothing was stored here.
    pub fn is_empty(&self) -> bool {
        self.flags == 0
    }
}

const TLS_BYTES: usize = 12;

fn tls_offset(index: u32) -> u32 {
    TLS + index.min(selector::TLS_COUNT - 1) * TLS_BYTES as u32
}

/// Thread-local-storage descriptor `index` (0 … 2, selector index 12 … 14).
pub fn tls(state: &CpuState, index: u32) -> TlsDescriptor {
    let raw = state.bytes(tls_offset(index), TLS_BYTES);
    let word = |i: usize| u32::from_le_bytes([raw[i], raw[i + 1], raw[i + 2], raw[i + 3]]);
    TlsDescriptor { base: word(0), limit: word(4), flags: word(8) }
}

/// Sets thread-local-storage descriptor `index`; segment registers that select it are loaded again.
pub fn set_tls(state: &mut CpuState, index: u32, d: TlsDescriptor) {
    let raw = state.bytes_mut(tls_offset(index), TLS_BYTES);
    for (slot, word) in raw.chunks_exact_mut(4).zip([d.base, d.limit, d.flags]) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    for (reg, base) in [(FS, FS_BASE), (GS, GS_BASE)] {
        if state.get(&I386, reg) as u32 >> 3 == selector::TLS_FIRST + index {
            state.set(&AMD64, base, u64::from(d.base));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isamorph_ir::state::GUEST_BYTES;

    /// Registers and descriptors do not overlap, and the narrow table is a part of the wide one.
    #[test]
    fn tables_are_consistent() {
        let mut spans: Vec<_> = AMD64.regs.iter().map(|d| (d.offset, d.offset + d.ty.bytes(), d.name)).collect();
        spans.push((TLS, TLS + selector::TLS_COUNT * TLS_BYTES as u32, "tls"));
        spans.extend(word::WORDS.iter().map(|(name, w, n)| (w.offset(), w.offset() + 8 * n, *name)));
        spans.sort_unstable();
        assert!(AMD64.size <= GUEST_OFFSET + GUEST_BYTES as u32);
        for pair in spans.windows(2) {
            assert!(pair[0].1 <= pair[1].0, "{pair:?}");
        }
        assert_eq!(FXSAVE % 16, 0);
        assert_eq!((I386.regs.len(), AMD64.size), (usize::from(R8.0), I386.size));
        for (narrow, wide) in I386.regs.iter().zip(AMD64.regs) {
            assert_eq!(narrow.offset, wide.offset, "{}", wide.name);
            assert!(narrow.ty.bytes() <= wide.ty.bytes(), "{}", wide.name);
        }
        let names = [
            (EAX, "rax"),
            (gpr(7), "rdi"),
            (gpr(8), "r8"),
            (gpr(15), "r15"),
            (FLAGS, "flags"),
            (GS, "gs"),
            (XMM0, "xmm0"),
            (xmm_reg(15), "xmm15"),
            (MM0, "mm0"),
            (MXCSR, "mxcsr"),
            (DS_BASE, "ds_base"),
            (CS_LIMIT, "cs_limit"),
            (SS_ATTR, "ss_attr"),
            (CR4, "cr4"),
            (SHADOW, "shadow"),
        ];
        for (reg, name) in names {
            assert_eq!(AMD64.def(reg).name, name);
        }
    }

    #[test]
    fn eflags_round_trip() {
        let mut s = CpuState::new();
        reset_user(&mut s);
        assert_eq!(eflags(&s), 0x202);
        for bits in [0x202, 0x0024_0ed7, 0x602, 0x4b47] {
            set_eflags(&mut s, bits);
            assert_eq!(eflags(&s), bits);
        }
        assert_eq!(s.get(&I386, MXCSR), 0x1f80);
    }

    #[test]
    fn tls_reloads_selected_segments() {
        let mut s = CpuState::new();
        reset_user(&mut s);
        s.set(&I386, GS, 0x63);
        set_tls(&mut s, 0, TlsDescriptor { base: 0x1234_5000, limit: 0xfffff, flags: 0x51 });
        assert_eq!(s.get(&I386, GS_BASE), 0x1234_5000);
        assert_eq!(s.get(&I386, FS_BASE), 0);
        assert_eq!(tls(&s, 0).base, 0x1234_5000);
        assert!(tls(&s, 1).is_empty());
    }
}
