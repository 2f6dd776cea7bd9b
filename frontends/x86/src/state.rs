//! The i386 CPU state: register table, EFLAGS, segments, thread-local-storage descriptors.
//!
//! EFLAGS is kept in three registers so that each part is cheap where it is hot: the six arithmetic flags
//! ([`FLAGS`]), the direction as the step of string instructions ([`DF`]: +1 or −1), and everything else
//! ([`EFLAGS_REST`]). [`eflags`] and [`set_eflags`] assemble and split the architectural register.

use isamorph_ir::{CpuState, FlagSet, GUEST_OFFSET, Pin, RegDef, RegId, RegTable, Type};

/// Offset of the FXSAVE image (SDM vol. 1, 10.5.1): 16-aligned, after the integer registers.
const FXSAVE: u32 = GUEST_OFFSET + 128;
/// Bytes of an FXSAVE image.
pub const FXSAVE_BYTES: usize = 512;
/// Offset of the thread-local-storage descriptors, see [`TlsDescriptor`].
const TLS: u32 = GUEST_OFFSET + 76;

const fn int(name: &'static str, number: u8, rank: u8) -> RegDef {
    RegDef { name, ty: Type::I32, offset: GUEST_OFFSET + 4 * number as u32, pin: Pin::Int { rank, number } }
}
const fn word(name: &'static str, slot: u32) -> RegDef {
    RegDef { name, ty: Type::I32, offset: GUEST_OFFSET + 4 * slot, pin: Pin::State }
}
const fn xmm(name: &'static str, number: u8) -> RegDef {
    let offset = FXSAVE + 160 + 16 * number as u32;
    RegDef { name, ty: Type::V128, offset, pin: Pin::Vector { rank: number, number } }
}
const fn mm(name: &'static str, number: u8) -> RegDef {
    RegDef { name, ty: Type::V64, offset: FXSAVE + 32 + 16 * number as u32, pin: Pin::X87(number) }
}

/// The registers of an i386 in their table; [`RegId`] constants below name the rows.
pub static I386: RegTable = RegTable {
    arch: "i386",
    regs: &[
        int("eax", 0, 0),
        int("ecx", 1, 3),
        int("edx", 2, 2),
        int("ebx", 3, 4),
        int("esp", 4, 1),
        int("ebp", 5, 5),
        int("esi", 6, 6),
        int("edi", 7, 7),
        RegDef { name: "flags", ty: Type::Flags, offset: GUEST_OFFSET + 32, pin: Pin::Flags },
        word("df", 9),
        word("eflags_rest", 10),
        word("es", 11),
        word("cs", 12),
        word("ss", 13),
        word("ds", 14),
        word("fs", 15),
        word("gs", 16),
        word("fs_base", 17),
        word("gs_base", 18),
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
        RegDef { name: "mxcsr", ty: Type::I32, offset: FXSAVE + 24, pin: Pin::FpControl },
    ],
    size: FXSAVE + FXSAVE_BYTES as u32,
    addr_bits: 32,
    flags: Some(FLAGS),
    fxsave: Some(FXSAVE),
};

macro_rules! reg_ids {
    ($($(#[$doc:meta])* $name:ident = $n:literal;)*) => { $($(#[$doc])* pub const $name: RegId = RegId($n);)* };
}
reg_ids! {
    /// Accumulator; the eight integer registers follow in encoding order.
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
}

/// Bits of EFLAGS besides the arithmetic flags (SDM vol. 1, 3.4.3).
pub mod eflag {
    /// Reads as one.
    pub const FIXED: u32 = 1 << 1;
    /// Trap (single step).
    pub const TF: u32 = 1 << 8;
    /// Interrupts enabled.
    pub const IF: u32 = 1 << 9;
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
    /// CPUID available (writable).
    pub const ID: u32 = 1 << 21;
    /// What user code can change with `popf`, besides the arithmetic flags and DF.
    pub const USER: u32 = TF | NT | AC | ID;
}

/// Selectors of a 32-bit program under a 64-bit Linux kernel.
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
    state.bytes_mut(GUEST_OFFSET, (I386.size - GUEST_OFFSET) as usize).fill(0);
    set_eflags(state, eflag::FIXED | eflag::IF);
    for (reg, value) in
        [(CS, selector::USER32_CS), (SS, selector::USER_DS), (DS, selector::USER_DS), (ES, selector::USER_DS)]
    {
        state.set(&I386, reg, u64::from(value));
    }
    state.set(&I386, MXCSR, 0x1f80);
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

/// The architectural EFLAGS.
pub fn eflags(state: &CpuState) -> u32 {
    let arith = state.get(&I386, FLAGS) as u32 & FlagSet::all().bits();
    let direction = if state.get(&I386, DF) as i32 == -1 { eflag::DF } else { 0 };
    arith | direction | state.get(&I386, EFLAGS_REST) as u32 | eflag::FIXED
}

/// Sets the architectural EFLAGS, all bits.
pub fn set_eflags(state: &mut CpuState, bits: u32) {
    let arith = FlagSet::all().bits();
    let step: i32 = if bits & eflag::DF != 0 { -1 } else { 1 };
    state.set(&I386, FLAGS, u64::from(bits & arith));
    state.set(&I386, DF, u64::from(step as u32));
    state.set(&I386, EFLAGS_REST, u64::from(bits & !(arith | eflag::DF | eflag::FIXED)));
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
            state.set(&I386, base, u64::from(d.base));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_consistent() {
        let mut end = GUEST_OFFSET;
        for def in &I386.regs[..=usize::from(GS_BASE.0)] {
            assert_eq!(def.offset, end, "{}", def.name);
            end += def.ty.bytes();
        }
        assert_eq!(end, TLS);
        assert!(end + selector::TLS_COUNT * TLS_BYTES as u32 <= FXSAVE);
        assert_eq!(FXSAVE % 16, 0);
        let names =
            [(EAX, "eax"), (EDI, "edi"), (FLAGS, "flags"), (GS, "gs"), (XMM0, "xmm0"), (MM0, "mm0"), (MXCSR, "mxcsr")];
        for (reg, name) in names {
            assert_eq!(I386.def(reg).name, name);
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
