//! The A32/T32 CPU state: register table, CPSR, FPSCR, and access to single registers.
//!
//! * R15 is not in the table: it is [`CpuState::pc`], whose bit 0 is CPSR.T.
//! * CPSR is kept in parts, each cheap where it is hot: the condition flags ([`FLAGS`], in the x86 sense: C is the
//!   complement of the Arm carry, so that a subtraction's borrow needs nothing), Q, GE (a byte of ones for each set
//!   bit, as parallel additions make it and SEL uses it), ITSTATE, E.
//! * A doubleword register of the extension register file is a vector register of its own, whose low half it is; the
//!   high half has no meaning. Scalar code, which is most of what distributions ship, then needs no extraction or
//!   insertion for a double, one operation for every other single, and NEON doubleword instructions none; a quadword
//!   operand costs one interleave to read and one to write. Sixteen quadword registers would charge the scalar code.
//! * FPSCR is kept in parts, too: rounding, flushing and cumulative exceptions in the host's terms ([`MXCSR`]), the
//!   comparison flags as [`FPFLAGS`], QC as a vector that is not zero ([`QC`]), the rest as bits ([`FPSCR_REST`]).
//!
//! References are to the Arm Architecture Reference Manual for Armv7-A (DDI 0406C), B1.3.3 (CPSR) and B4.1.58 (FPSCR).

use isamorph_ir::{CpuState, Family, FlagSet, GUEST_OFFSET, Pin, RegDef, RegId, RegTable, Type};

/// Offset of the 64-bit exclusive monitor value, after 28 words.
const WIDE: u32 = GUEST_OFFSET + 112;
/// Offset of the vector registers, 64-aligned.
const VECTORS: u32 = GUEST_OFFSET + 128;

const fn int(name: &'static str, number: u8, rank: u8) -> RegDef {
    RegDef { name, ty: Type::I32, offset: GUEST_OFFSET + 4 * number as u32, pin: Pin::Int { rank, number } }
}
const fn word(name: &'static str, slot: u32) -> RegDef {
    RegDef { name, ty: Type::I32, offset: GUEST_OFFSET + 4 * slot, pin: Pin::State }
}
const fn d(name: &'static str, number: u8, rank: u8) -> RegDef {
    RegDef { name, ty: Type::V128, offset: VECTORS + 16 * number as u32, pin: Pin::Vector { rank, number } }
}

/// The registers in their table; the [`RegId`] constants below name the rows. The ranks are the order of use in the
/// code of a distribution (C library, shell, interpreters).
pub static ARM: RegTable = RegTable {
    arch: "arm",
    family: Family::Other,
    regs: &[
        int("r0", 0, 1),
        int("r1", 1, 3),
        int("r2", 2, 2),
        int("r3", 3, 0),
        int("r4", 4, 4),
        int("r5", 5, 6),
        int("r6", 6, 7),
        int("r7", 7, 8),
        int("r8", 8, 10),
        int("r9", 9, 11),
        int("r10", 10, 13),
        int("r11", 11, 14),
        int("r12", 12, 12),
        int("sp", 13, 5),
        int("lr", 14, 9),
        RegDef { name: "flags", ty: Type::Flags, offset: GUEST_OFFSET + 60, pin: Pin::Flags },
        word("q", 16),
        word("ge", 17),
        word("itstate", 18),
        word("e", 19),
        word("tpidruro", 20),
        word("tpidrurw", 21),
        word("excl_addr", 22),
        word("fpflags", 23),
        word("fpscr_rest", 24),
        RegDef { name: "mxcsr", ty: Type::I32, offset: GUEST_OFFSET + 100, pin: Pin::FpControl },
        RegDef { name: "excl_value", ty: Type::I64, offset: WIDE, pin: Pin::State },
        d("d0", 0, 1),
        d("d1", 1, 6),
        d("d2", 2, 8),
        d("d3", 3, 7),
        d("d4", 4, 5),
        d("d5", 5, 3),
        d("d6", 6, 2),
        d("d7", 7, 0),
        d("d8", 8, 4),
        d("d9", 9, 9),
        d("d10", 10, 10),
        d("d11", 11, 11),
        d("d12", 12, 12),
        d("d13", 13, 13),
        d("d14", 14, 14),
        d("d15", 15, 15),
        d("d16", 16, 16),
        d("d17", 17, 17),
        d("d18", 18, 18),
        d("d19", 19, 19),
        d("d20", 20, 20),
        d("d21", 21, 21),
        d("d22", 22, 22),
        d("d23", 23, 23),
        d("d24", 24, 24),
        d("d25", 25, 25),
        d("d26", 26, 26),
        d("d27", 27, 27),
        d("d28", 28, 28),
        d("d29", 29, 29),
        d("d30", 30, 30),
        d("d31", 31, 31),
        RegDef { name: "qc", ty: Type::V128, offset: VECTORS + 512, pin: Pin::State },
    ],
    size: VECTORS + 528,
    addr_bits: 32,
    flags: Some(FLAGS),
    fxsave: None,
};

macro_rules! reg_ids {
    ($($(#[$doc:meta])* $name:ident = $n:literal;)*) => { $($(#[$doc])* pub const $name: RegId = RegId($n);)* };
}
reg_ids! {
    /// The first of the integer registers R0 to R14, which are numbered by their number.
    R0 = 0;
    /// R13, the stack pointer.
    SP = 13;
    /// R14, the link register.
    LR = 14;
    /// N Z C V as S, Z, the complement of C, O.
    FLAGS = 15;
    /// CPSR.Q: 1 after saturation.
    Q = 16;
    /// CPSR.GE, each bit spread over a byte.
    GE = 17;
    /// CPSR.IT: the state of the instruction that is executed next, 0 outside IT blocks.
    ITSTATE = 18;
    /// CPSR.E: 1 if data are big-endian.
    E = 19;
    /// User read-only thread register: thread-local storage.
    TPIDRURO = 20;
    /// User read/write thread register.
    TPIDRURW = 21;
    /// Address of the exclusive monitor, or [`NO_EXCLUSIVE`].
    EXCL_ADDR = 22;
    /// N Z C V of FPSCR, as EFLAGS bits in the sense of [`FLAGS`].
    FPFLAGS = 23;
    /// The bits of FPSCR that have no other home ([`fpscr_bits::REST`]).
    FPSCR_REST = 24;
    /// Rounding, flushing and cumulative exceptions, as an MXCSR (SDM vol. 1, 10.2.3).
    MXCSR = 25;
    /// What the exclusive monitor saw.
    EXCL_VALUE = 26;
    /// The first of the doubleword registers D0 to D31.
    D0 = 27;
    /// FPSCR.QC: not zero after saturation.
    QC = 59;
}

/// The exclusive monitor is open: no address that can be mapped.
pub const NO_EXCLUSIVE: u32 = u32::MAX;

/// Bits of CPSR (DDI 0406C B1.3.3).
pub mod cpsr_bits {
    /// Negative.
    pub const N: u32 = 1 << 31;
    /// Zero.
    pub const Z: u32 = 1 << 30;
    /// Carry.
    pub const C: u32 = 1 << 29;
    /// Overflow.
    pub const V: u32 = 1 << 28;
    /// Saturation has happened.
    pub const Q: u32 = 1 << 27;
    /// Lowest bit of GE.
    pub const GE_SHIFT: u32 = 16;
    /// Data are big-endian.
    pub const E: u32 = 1 << 9;
    /// Thumb state.
    pub const T: u32 = 1 << 5;
    /// Mode: User.
    pub const USER: u32 = 0x10;
}

/// Bits of FPSCR (DDI 0406C B4.1.58).
pub mod fpscr_bits {
    /// Saturation of Advanced SIMD instructions has happened.
    pub const QC: u32 = 1 << 27;
    /// Alternative half-precision format.
    pub const AHP: u32 = 1 << 26;
    /// NaN results are the default NaN.
    pub const DN: u32 = 1 << 25;
    /// Denormals are flushed to zero.
    pub const FZ: u32 = 1 << 24;
    /// Lowest bit of the rounding mode.
    pub const RMODE_SHIFT: u32 = 22;
    /// Length and stride of short vectors.
    pub const LEN_STRIDE: u32 = 0x0037_0000;
    /// Half-precision denormals are flushed (Armv8.2). There is no half-precision arithmetic here.
    pub const FZ16: u32 = 1 << 19;
    /// Cumulative: a denormal input was flushed.
    pub const IDC: u32 = 1 << 7;
    /// Cumulative: inexact, underflow, overflow, division by zero, invalid operation.
    pub const CUMULATIVE: u32 = 0x1f;
    /// The bits of [`super::FPSCR_REST`].
    pub const REST: u32 = AHP | DN | LEN_STRIDE | FZ16 | IDC;
}

/// Bits of MXCSR (SDM vol. 1, 10.2.3).
mod mxcsr_bits {
    pub const DENORMALS_ARE_ZERO: u32 = 1 << 6;
    pub const FLUSH_TO_ZERO: u32 = 1 << 15;
    pub const ROUNDING_SHIFT: u32 = 13;
    /// All exceptions masked: the only way there is on processors without trapped exception handling (VFPv3U, …).
    pub const MASKED: u32 = 0x1f80;
}

/// R0 to R14 as a table register.
pub const fn r(number: u32) -> RegId {
    RegId((number & 15) as u16)
}

/// D0 to D31 as a table register.
pub const fn d_reg(number: u32) -> RegId {
    RegId(D0.0 + (number & 31) as u16)
}

/// Puts a vCPU into the state in which a user program starts: all registers zero, FPSCR zero. The caller sets `pc`
/// (with the Thumb bit) and SP.
pub fn reset_user(state: &mut CpuState) {
    state.bytes_mut(GUEST_OFFSET, (ARM.size - GUEST_OFFSET) as usize).fill(0);
    set_cpsr(state, cpsr_bits::USER);
    set_fpscr(state, 0);
    clear_exclusive(state);
}

/// Opens the exclusive monitor, as the return from an exception does.
pub fn clear_exclusive(state: &mut CpuState) {
    state.set(&ARM, EXCL_ADDR, u64::from(NO_EXCLUSIVE));
}

/// An integer register; 15 is the address of the instruction that comes next.
pub fn read(state: &CpuState, number: u32) -> u32 {
    if number == 15 { state.pc() as u32 & !1 } else { state.get(&ARM, r(number)) as u32 }
}

/// Sets an integer register; 15 is the address that execution goes on at, CPSR.T stays.
pub fn write(state: &mut CpuState, number: u32, value: u32) {
    if number == 15 {
        let thumb = state.pc() as u32 & 1;
        state.set_pc(u64::from(value & !1 | thumb));
    } else {
        state.set(&ARM, r(number), u64::from(value));
    }
}

/// A doubleword register.
pub fn read_d(state: &CpuState, number: u32) -> u64 {
    state.get(&ARM, d_reg(number))
}

/// Sets a doubleword register.
pub fn write_d(state: &mut CpuState, number: u32, bits: u64) {
    state.set(&ARM, d_reg(number), bits);
}

/// A singleword register, S0 to S31.
pub fn read_s(state: &CpuState, number: u32) -> u32 {
    (read_d(state, number >> 1) >> (32 * (number & 1))) as u32
}

/// Sets a singleword register.
pub fn write_s(state: &mut CpuState, number: u32, bits: u32) {
    let shift = 32 * (number & 1);
    let other = read_d(state, number >> 1) & !(0xffff_ffff << shift);
    write_d(state, number >> 1, other | u64::from(bits) << shift);
}

/// The condition flags in the x86 sense as N Z C V at their places in CPSR and FPSCR.
pub const fn nzcv(flags: u32) -> u32 {
    const fn bit(flags: u32, flag: FlagSet, to: u32) -> u32 {
        if flags & flag.bits() != 0 { to } else { 0 }
    }
    bit(flags, FlagSet::S, cpsr_bits::N)
        | bit(flags, FlagSet::Z, cpsr_bits::Z)
        | (bit(flags, FlagSet::C, cpsr_bits::C) ^ cpsr_bits::C)
        | bit(flags, FlagSet::O, cpsr_bits::V)
}

/// N Z C V at their places in CPSR and FPSCR as flags in the x86 sense; other bits are ignored.
pub const fn flags_of(nzcv: u32) -> u32 {
    const fn bit(bits: u32, from: u32, flag: FlagSet) -> u32 {
        if bits & from != 0 { flag.bits() } else { 0 }
    }
    bit(nzcv, cpsr_bits::N, FlagSet::S)
        | bit(nzcv, cpsr_bits::Z, FlagSet::Z)
        | (bit(nzcv, cpsr_bits::C, FlagSet::C) ^ FlagSet::C.bits())
        | bit(nzcv, cpsr_bits::V, FlagSet::O)
}

/// The architectural CPSR.
pub fn cpsr(state: &CpuState) -> u32 {
    let word = |reg| state.get(&ARM, reg) as u32;
    let ge: u32 = (0..4).map(|i| (word(GE) >> (8 * i) & 1) << (cpsr_bits::GE_SHIFT + i)).sum();
    let it = word(ITSTATE);
    let thumb = if state.pc() & 1 != 0 { cpsr_bits::T } else { 0 };
    let saturated = if word(Q) != 0 { cpsr_bits::Q } else { 0 };
    let big = if word(E) != 0 { cpsr_bits::E } else { 0 };
    nzcv(word(FLAGS)) | saturated | ge | it >> 2 << 10 | (it & 3) << 25 | big | thumb | cpsr_bits::USER
}

/// Sets CPSR: condition flags, Q, GE, IT, E, T (bit 0 of the program counter). Mode and masks stay those of User mode.
pub fn set_cpsr(state: &mut CpuState, bits: u32) {
    let ge: u32 = (0..4).filter(|i| bits >> (cpsr_bits::GE_SHIFT + i) & 1 != 0).map(|i| 0xff << (8 * i)).sum();
    let it = bits >> 10 & 0x3f;
    let parts = [
        (FLAGS, flags_of(bits)),
        (Q, u32::from(bits & cpsr_bits::Q != 0)),
        (GE, ge),
        (ITSTATE, if bits & cpsr_bits::T != 0 { it << 2 | bits >> 25 & 3 } else { 0 }),
        (E, u32::from(bits & cpsr_bits::E != 0)),
    ];
    for (reg, value) in parts {
        state.set(&ARM, reg, u64::from(value));
    }
    let thumb = u64::from(bits & cpsr_bits::T != 0);
    state.set_pc(state.pc() & !1 | thumb);
}

/// The architectural FPSCR.
pub fn fpscr(state: &CpuState) -> u32 {
    let word = |reg| state.get(&ARM, reg) as u32;
    let mxcsr = word(MXCSR);
    let flush = if mxcsr & mxcsr_bits::FLUSH_TO_ZERO != 0 { fpscr_bits::FZ } else { 0 };
    let saturated = if state.get_wide(&ARM, QC) != 0 { fpscr_bits::QC } else { 0 };
    nzcv(word(FPFLAGS)) | word(FPSCR_REST) & fpscr_bits::REST | flush | saturated | rounding_of(mxcsr) | sticky(mxcsr)
}

/// Sets FPSCR, all bits that exist.
pub fn set_fpscr(state: &mut CpuState, bits: u32) {
    let saturated = if bits & fpscr_bits::QC != 0 { u128::MAX } else { 0 };
    for (reg, value) in [(FPFLAGS, flags_of(bits)), (FPSCR_REST, bits & fpscr_bits::REST), (MXCSR, mxcsr_of(bits))] {
        state.set(&ARM, reg, u64::from(value));
    }
    state.set_wide(&ARM, QC, saturated);
}

/// Swaps the bits of a rounding mode: Arm counts nearest, up, down, zero; x86 nearest, down, up, zero.
const fn swap_rounding(mode: u32) -> u32 {
    (mode & 1) << 1 | mode >> 1 & 1
}

const fn rounding_of(mxcsr: u32) -> u32 {
    swap_rounding(mxcsr >> mxcsr_bits::ROUNDING_SHIFT & 3) << fpscr_bits::RMODE_SHIFT
}

/// The cumulative exceptions: x86 has a denormal-operand flag between invalid and division by zero.
const fn sticky(mxcsr: u32) -> u32 {
    mxcsr & 1 | mxcsr >> 1 & 0x1e
}

const fn mxcsr_of(fpscr: u32) -> u32 {
    let flush =
        if fpscr & fpscr_bits::FZ != 0 { mxcsr_bits::FLUSH_TO_ZERO | mxcsr_bits::DENORMALS_ARE_ZERO } else { 0 };
    let rounding = swap_rounding(fpscr >> fpscr_bits::RMODE_SHIFT & 3) << mxcsr_bits::ROUNDING_SHIFT;
    let sticky = fpscr & 1 | (fpscr & fpscr_bits::CUMULATIVE & !1) << 1;
    mxcsr_bits::MASKED | flush | rounding | sticky
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_consistent() {
        let mut end = GUEST_OFFSET;
        for def in ARM.regs {
            let aligned = end.next_multiple_of(def.ty.bytes());
            assert!(def.offset >= end && def.offset - aligned < 16, "{}", def.name);
            end = def.offset + def.ty.bytes();
        }
        assert_eq!(end, ARM.size);
        let names = [(SP, "sp"), (LR, "lr"), (FLAGS, "flags"), (TPIDRURO, "tpidruro"), (FPFLAGS, "fpflags")];
        let more = [(MXCSR, "mxcsr"), (EXCL_VALUE, "excl_value"), (d_reg(31), "d31"), (QC, "qc"), (r(12), "r12")];
        for (reg, name) in names.into_iter().chain(more) {
            assert_eq!(ARM.def(reg).name, name);
        }
    }

    #[test]
    fn every_register_has_a_rank_of_its_own() {
        for class in [Pin::Int { rank: 0, number: 0 }, Pin::Vector { rank: 0, number: 0 }] {
            let mut ranks: Vec<u8> = ARM
                .regs
                .iter()
                .filter(|def| std::mem::discriminant(&def.pin) == std::mem::discriminant(&class))
                .filter_map(|def| match def.pin {
                    Pin::Int { rank, .. } | Pin::Vector { rank, .. } => Some(rank),
                    _ => None,
                })
                .collect();
            ranks.sort_unstable();
            assert!(ranks.iter().enumerate().all(|(i, rank)| i == usize::from(*rank)), "{ranks:?}");
        }
    }

    #[test]
    fn cpsr_round_trip() {
        let mut s = CpuState::new();
        reset_user(&mut s);
        assert_eq!(cpsr(&s), 0x10);
        assert_eq!(s.get(&ARM, FLAGS) as u32, FlagSet::C.bits());
        for bits in [0x10, 0xf800_0010, 0x200f_0210, 0x0605_fc30, 0x4000_0c30] {
            set_cpsr(&mut s, bits);
            assert_eq!(cpsr(&s), bits, "{bits:#x}");
        }
        assert_eq!(s.pc() & 1, 1);
    }

    #[test]
    fn fpscr_round_trip() {
        let mut s = CpuState::new();
        reset_user(&mut s);
        assert_eq!(fpscr(&s), 0);
        assert_eq!(s.get(&ARM, MXCSR), 0x1f80);
        for bits in [0xf800_009f, 0x0740_0001, 0x0380_0002, 0x00c0_0010] {
            set_fpscr(&mut s, bits);
            assert_eq!(fpscr(&s), bits, "{bits:#x}");
        }
        // Towards plus infinity is 2 on x86.
        set_fpscr(&mut s, 1 << fpscr_bits::RMODE_SHIFT);
        assert_eq!(s.get(&ARM, MXCSR), 0x1f80 | 2 << 13);
    }

    #[test]
    fn singles_are_halves_of_doubles() {
        let mut s = CpuState::new();
        write_d(&mut s, 3, 0x1111_2222_3333_4444);
        assert_eq!((read_s(&s, 6), read_s(&s, 7)), (0x3333_4444, 0x1111_2222));
        write_s(&mut s, 7, 5);
        assert_eq!(read_d(&s, 3), 0x5_3333_4444);
    }
}
