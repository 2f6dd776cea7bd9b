//! The AArch64 CPU state at EL0: register table, NZCV, FPCR and FPSR.
//!
//! Flags are kept in the x86 sense, so that a borrow is what it is: C is the complement of PSTATE.C ([`nzcv`] and
//! [`set_nzcv`] convert). Rounding mode and flushing live in an MXCSR image, which is the host's while compiled code
//! runs, and whose sticky bits are those of FPSR ([`fpcr`], [`fpsr`] and their setters).

use isamorph_ir::{CpuState, Family, FlagSet, GUEST_OFFSET, Pin, RegDef, RegId, RegTable, Type};

/// Offset of the vector registers: 16-aligned, after the integer registers.
const VECTORS: u32 = GUEST_OFFSET + 256;
/// Offset of the rest.
const REST: u32 = VECTORS + 33 * 16;

/// The integer registers from the hottest one on: the order of static use in libc, bash and Python of a
/// distribution.
const HOTTEST: [u8; 32] = [
    0, 1, 31, 2, 19, 20, 3, 21, 22, 4, 23, 29, 24, 25, 5, 26, 30, 27, 28, 6, 7, 8, 9, 10, 16, 11, 12, 13, 14, 17, 15,
    18,
];

const fn rank_of(number: u8) -> u8 {
    let mut rank = 0;
    while HOTTEST[rank as usize] != number {
        rank += 1;
    }
    rank
}

/// Vector registers from the hottest one on: arguments and results, then those that no callee preserves, but for two
/// pairs that scalar code likes.
const fn vector_rank(number: u8) -> u8 {
    match number {
        0..8 => number,
        16..18 => number - 8,
        8..10 => number + 2,
        18.. => number - 6,
        10..16 => number + 16,
    }
}

const fn int(name: &'static str, number: u8) -> RegDef {
    let pin = Pin::Int { rank: rank_of(number), number };
    RegDef { name, ty: Type::I64, offset: GUEST_OFFSET + 8 * number as u32, pin }
}
const fn vector(name: &'static str, number: u8) -> RegDef {
    let pin = Pin::Vector { rank: vector_rank(number), number };
    RegDef { name, ty: Type::V128, offset: VECTORS + 16 * number as u32, pin }
}
const fn rest(name: &'static str, ty: Type, slot: u32, pin: Pin) -> RegDef {
    RegDef { name, ty, offset: REST + 8 * slot, pin }
}

/// Halves of keys for pointer authentication.
const KEY_WORDS: u32 = 10;
const fn key(name: &'static str, word: u32) -> RegDef {
    rest(name, Type::I64, 9 + word, Pin::State)
}

/// The registers of AArch64 in their table; [`RegId`] constants and functions below name the rows.
#[rustfmt::skip]
pub static A64: RegTable = RegTable {
    arch: "aarch64",
    family: Family::Other,
    regs: &[
        int("x0", 0), int("x1", 1), int("x2", 2), int("x3", 3), int("x4", 4), int("x5", 5), int("x6", 6), int("x7", 7),
        int("x8", 8), int("x9", 9), int("x10", 10), int("x11", 11), int("x12", 12), int("x13", 13), int("x14", 14),
        int("x15", 15), int("x16", 16), int("x17", 17), int("x18", 18), int("x19", 19), int("x20", 20), int("x21", 21),
        int("x22", 22), int("x23", 23), int("x24", 24), int("x25", 25), int("x26", 26), int("x27", 27), int("x28", 28),
        int("x29", 29), int("x30", 30), int("sp", 31),
        rest("flags", Type::Flags, 0, Pin::Flags),
        vector("v0", 0), vector("v1", 1), vector("v2", 2), vector("v3", 3), vector("v4", 4), vector("v5", 5),
        vector("v6", 6), vector("v7", 7), vector("v8", 8), vector("v9", 9), vector("v10", 10), vector("v11", 11),
        vector("v12", 12), vector("v13", 13), vector("v14", 14), vector("v15", 15), vector("v16", 16),
        vector("v17", 17), vector("v18", 18), vector("v19", 19), vector("v20", 20), vector("v21", 21),
        vector("v22", 22), vector("v23", 23), vector("v24", 24), vector("v25", 25), vector("v26", 26),
        vector("v27", 27), vector("v28", 28), vector("v29", 29), vector("v30", 30), vector("v31", 31),
        rest("tpidr", Type::I64, 1, Pin::State),
        rest("mxcsr", Type::I32, 2, Pin::FpControl),
        rest("fpcr", Type::I32, 3, Pin::State),
        rest("fpsr", Type::I32, 4, Pin::State),
        RegDef { name: "qc", ty: Type::V128, offset: VECTORS + 32 * 16, pin: Pin::State },
        rest("exclusive", Type::I64, 5, Pin::State),
        rest("exclusive_lo", Type::I64, 6, Pin::State),
        rest("exclusive_hi", Type::I64, 7, Pin::State),
        rest("pstate", Type::I32, 8, Pin::State),
        key("apia_lo", 0), key("apia_hi", 1), key("apib_lo", 2), key("apib_hi", 3), key("apda_lo", 4),
        key("apda_hi", 5), key("apdb_lo", 6), key("apdb_hi", 7), key("apga_lo", 8), key("apga_hi", 9),
    ],
    size: REST + 9 * 8 + 8 * KEY_WORDS,
    addr_bits: 64,
    flags: Some(FLAGS),
    fxsave: None,
};

/// General-purpose register X0 … X30.
pub const fn x(number: u32) -> RegId {
    RegId((number & 31) as u16)
}

/// Vector register V0 … V31.
pub const fn v(number: u32) -> RegId {
    RegId(33 + (number & 31) as u16)
}

macro_rules! reg_ids {
    ($($(#[$doc:meta])* $name:ident = $n:literal;)*) => { $($(#[$doc])* pub const $name: RegId = RegId($n);)* };
}
reg_ids! {
    /// Link register.
    LR = 30;
    /// Stack pointer.
    SP = 31;
    /// The condition flags, C complemented.
    FLAGS = 32;
    /// TPIDR_EL0, the thread pointer.
    TPIDR = 65;
    /// MXCSR image: FPCR's rounding mode and FZ, FPSR's cumulative bits.
    MXCSR = 66;
    /// FPCR as it was written.
    FPCR = 67;
    /// FPSR's cumulative bits that MXCSR does not have: those that helpers set.
    FPSR = 68;
    /// FPSR.QC: set if any bit of this vector is.
    QC = 69;
    /// The address that the exclusive monitor watches, or [`NOT_EXCLUSIVE`].
    EXCLUSIVE = 70;
    /// What was loaded from there: the first (or only) element, zero-extended.
    EXCLUSIVE_LO = 71;
    /// The second doubleword of a pair of doublewords.
    EXCLUSIVE_HI = 72;
    /// PSTATE bits besides NZCV that a program can change, at their places in an SPSR.
    PSTATE = 73;
    /// The low half of the first of five keys for pointer authentication, see [`Key`].
    KEYS = 74;
}

/// A key for pointer authentication (Arm ARM D8.10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// Of instruction addresses.
    InsnA,
    /// Of instruction addresses.
    InsnB,
    /// Of data addresses.
    DataA,
    /// Of data addresses.
    DataB,
    /// Of anything.
    Generic,
}

impl Key {
    /// All of them, in the order of the bits of `prctl(PR_PAC_RESET_KEYS)`.
    pub const ALL: [Key; 5] = [Key::InsnA, Key::InsnB, Key::DataA, Key::DataB, Key::Generic];
    /// Its low and its high half.
    pub const fn halves(self) -> [RegId; 2] {
        let low = KEYS.0 + 2 * self as u16;
        [RegId(low), RegId(low + 1)]
    }
    /// Sets it.
    pub fn set(self, state: &mut CpuState, bits: u128) {
        let [low, high] = self.halves();
        state.set(&A64, low, bits as u64);
        state.set(&A64, high, (bits >> 64) as u64);
    }
}

/// The exclusive monitor watches nothing: an address that nothing has, because it is not aligned.
pub const NOT_EXCLUSIVE: u64 = u64::MAX;

/// Bits of FPCR (Arm ARM C5.2.8).
pub mod fpcr_bit {
    /// Flushes half-precision denormals.
    pub const FZ16: u32 = 1 << 19;
    /// The rounding mode: nearest even, up, down, zero.
    pub const RMODE: u32 = 3 << 22;
    /// Flushes denormals.
    pub const FZ: u32 = 1 << 24;
    /// Every NaN result is the default one.
    pub const DN: u32 = 1 << 25;
    /// Alternative half-precision format.
    pub const AHP: u32 = 1 << 26;
    /// All that can be set; exceptions are not trapped.
    pub const ALL: u32 = FZ16 | RMODE | FZ | DN | AHP;
}

/// Bits of FPSR (Arm ARM C5.2.10).
pub mod fpsr_bit {
    /// Invalid operation.
    pub const IOC: u32 = 1;
    /// Division by zero.
    pub const DZC: u32 = 1 << 1;
    /// Overflow.
    pub const OFC: u32 = 1 << 2;
    /// Underflow.
    pub const UFC: u32 = 1 << 3;
    /// Inexact.
    pub const IXC: u32 = 1 << 4;
    /// A denormal operand was flushed.
    pub const IDC: u32 = 1 << 7;
    /// Saturation.
    pub const QC: u32 = 1 << 27;
    /// All that can be set.
    pub const ALL: u32 = IOC | DZC | OFC | UFC | IXC | IDC | QC;
}

/// Bits of PSTATE as an SPSR has them (Arm ARM C5.2.19).
pub mod pstate_bit {
    /// Data-independent timing.
    pub const DIT: u32 = 1 << 24;
    /// Speculative stores may be bypassed.
    pub const SSBS: u32 = 1 << 12;
}

/// FPSR's cumulative bits from IOC to IXC as MXCSR has them; its bit 1 is the denormal operand, which is not IDC.
const STICKY: [(u32, u32); 5] = [
    (fpsr_bit::IOC, 1),
    (fpsr_bit::DZC, 1 << 2),
    (fpsr_bit::OFC, 1 << 3),
    (fpsr_bit::UFC, 1 << 4),
    (fpsr_bit::IXC, 1 << 5),
];
/// MXCSR: all exceptions masked.
const MXCSR_MASKED: u32 = 0x1f80;
/// MXCSR: denormal operands and results are zero.
const MXCSR_FLUSH: u32 = 1 << 15 | 1 << 6;
/// The sticky bits of MXCSR.
const MXCSR_STICKY: u32 = 0x3f;

/// Puts a vCPU into the state in which a user program starts: all registers zero. The caller sets `pc` and SP.
pub fn reset_user(state: &mut CpuState) {
    state.bytes_mut(GUEST_OFFSET, (A64.size - GUEST_OFFSET) as usize).fill(0);
    state.set(&A64, EXCLUSIVE, NOT_EXCLUSIVE);
    set_nzcv(state, 0);
    set_fpcr(state, 0);
}

/// The condition flags as bits 31 to 28 of the NZCV register.
pub fn nzcv(state: &CpuState) -> u32 {
    let flags = FlagSet::from_bits_truncate(state.get(&A64, FLAGS) as u32);
    let bit = |set: bool, at: u32| u32::from(set) << at;
    bit(flags.contains(FlagSet::S), 31)
        | bit(flags.contains(FlagSet::Z), 30)
        | bit(!flags.contains(FlagSet::C), 29)
        | bit(flags.contains(FlagSet::O), 28)
}

/// Sets the condition flags from bits 31 to 28.
pub fn set_nzcv(state: &mut CpuState, bits: u32) {
    state.set(&A64, FLAGS, u64::from(flags_of_nzcv(bits >> 28).bits()));
}

/// The flags that stand for four bits N, Z, C, V.
pub fn flags_of_nzcv(bits: u32) -> FlagSet {
    let mut flags = FlagSet::empty();
    flags.set(FlagSet::S, bits & 8 != 0);
    flags.set(FlagSet::Z, bits & 4 != 0);
    flags.set(FlagSet::C, bits & 2 == 0);
    flags.set(FlagSet::O, bits & 1 != 0);
    flags
}

/// FPCR.
pub fn fpcr(state: &CpuState) -> u32 {
    state.get(&A64, FPCR) as u32
}

/// Sets FPCR; bits that do not exist stay zero.
pub fn set_fpcr(state: &mut CpuState, bits: u32) {
    let bits = bits & fpcr_bit::ALL;
    let sticky = state.get(&A64, MXCSR) as u32 & MXCSR_STICKY;
    state.set(&A64, FPCR, u64::from(bits));
    state.set(&A64, MXCSR, u64::from(mxcsr_control(bits) | sticky));
}

/// MXCSR for an FPCR, without sticky bits.
pub fn mxcsr_control(fpcr: u32) -> u32 {
    let rounding = [0, 2, 1, 3][(fpcr >> 22 & 3) as usize];
    let flush = if fpcr & fpcr_bit::FZ != 0 { MXCSR_FLUSH } else { 0 };
    MXCSR_MASKED | rounding << 13 | flush
}

/// FPSR.
pub fn fpsr(state: &CpuState) -> u32 {
    let mxcsr = state.get(&A64, MXCSR) as u32;
    let sticky = STICKY.iter().filter(|(_, host)| mxcsr & host != 0).fold(0, |bits, (arm, _)| bits | arm);
    let saturated = if state.get_wide(&A64, QC) != 0 { fpsr_bit::QC } else { 0 };
    state.get(&A64, FPSR) as u32 | sticky | saturated
}

/// Sets FPSR; bits that do not exist stay zero.
pub fn set_fpsr(state: &mut CpuState, bits: u32) {
    let mxcsr = state.get(&A64, MXCSR) as u32 & !MXCSR_STICKY;
    let sticky = STICKY.iter().filter(|(arm, _)| bits & arm != 0).fold(0, |host, (_, bit)| host | bit);
    state.set(&A64, MXCSR, u64::from(mxcsr | sticky));
    state.set_wide(&A64, QC, u128::from(bits & fpsr_bit::QC));
    state.set(&A64, FPSR, u64::from(bits & fpsr_bit::IDC));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_consistent() {
        let names = [(x(0), "x0"), (LR, "x30"), (SP, "sp"), (FLAGS, "flags"), (v(0), "v0"), (v(31), "v31")];
        let more = [(TPIDR, "tpidr"), (MXCSR, "mxcsr"), (QC, "qc"), (EXCLUSIVE, "exclusive"), (PSTATE, "pstate")];
        for (reg, name) in names.into_iter().chain(more) {
            assert_eq!(A64.def(reg).name, name);
        }
        let mut places: Vec<(u32, u32)> = A64.regs.iter().map(|r| (r.offset, r.ty.bytes())).collect();
        places.sort_unstable();
        assert!(places.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0), "registers overlap");
        assert!(places.last().is_some_and(|(at, bytes)| at + bytes <= A64.size));
        assert!(A64.regs.iter().filter(|r| r.ty == Type::V128).all(|r| r.offset % 16 == 0));
    }

    #[test]
    fn ranks_are_a_permutation() {
        let mut ints: Vec<u8> = (0..32).map(rank_of).collect();
        let mut vectors: Vec<u8> = (0..32).map(vector_rank).collect();
        ints.sort_unstable();
        vectors.sort_unstable();
        assert_eq!(ints, (0..32).collect::<Vec<u8>>());
        assert_eq!(vectors, ints);
    }

    #[test]
    fn architectural_registers_read_back() {
        let mut state = CpuState::new();
        reset_user(&mut state);
        assert_eq!((nzcv(&state), fpcr(&state), fpsr(&state)), (0, 0, 0));
        for bits in 0..16 {
            set_nzcv(&mut state, bits << 28);
            assert_eq!(nzcv(&state), bits << 28);
        }
        set_fpsr(&mut state, u32::MAX);
        set_fpcr(&mut state, u32::MAX);
        assert_eq!((fpcr(&state), fpsr(&state)), (fpcr_bit::ALL, fpsr_bit::ALL));
        assert_eq!(state.get(&A64, MXCSR), 0xfffd);
        set_fpcr(&mut state, 1 << 22);
        set_fpsr(&mut state, fpsr_bit::IXC);
        assert_eq!(state.get(&A64, MXCSR), 0x5fa0, "towards plus infinity, inexact");
    }
}
