//! System registers and instructions as a program at EL0 sees them (Arm ARM C5, D19).

use super::Lifter;
use crate::decode::a64::{Axflag, Cfinv, Mrs, Msr, MsrDit, MsrSsbs, Sys, Xaflag};
use crate::features;
use crate::helpers::{COUNTER, READ_FPSR, WRITE_FPCR, WRITE_FPSR, system::COUNTER_HZ};
use crate::state::{FPCR, FPSR, MXCSR, PSTATE, QC, TPIDR, pstate_bit};
use isamorph_ir::{Addr, Cond, ExitKind, FlagSet, MemAttr, Op, Type, Value};

/// The number of a system register or instruction: op0, op1, CRn, CRm, op2 as an instruction has them.
pub(crate) const fn number(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> u32 {
    op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2
}

/// System registers that a program can name (Arm ARM D19.2).
pub(super) mod register {
    use super::number;
    pub(in crate::lift) const NZCV: u32 = number(3, 3, 4, 2, 0);
    pub(super) const DIT: u32 = number(3, 3, 4, 2, 5);
    pub(super) const SSBS: u32 = number(3, 3, 4, 2, 6);
    pub(super) const FPCR: u32 = number(3, 3, 4, 4, 0);
    pub(super) const FPSR: u32 = number(3, 3, 4, 4, 1);
    pub(super) const TPIDR_EL0: u32 = number(3, 3, 13, 0, 2);
    pub(super) const TPIDRRO_EL0: u32 = number(3, 3, 13, 0, 3);
    pub(super) const CTR_EL0: u32 = number(3, 3, 0, 0, 1);
    pub(super) const DCZID_EL0: u32 = number(3, 3, 0, 0, 7);
    pub(super) const CNTFRQ_EL0: u32 = number(3, 3, 14, 0, 0);
    pub(super) const CNTVCT_EL0: u32 = number(3, 3, 14, 0, 2);
}

/// System instructions that a program can use (Arm ARM C5.3, C5.4).
mod instruction {
    use super::number;
    pub(super) const DC_ZVA: u32 = number(1, 3, 7, 4, 1);
    pub(super) const IC_IVAU: u32 = number(1, 3, 7, 5, 1);
    pub(super) const DC_CVAC: u32 = number(1, 3, 7, 10, 1);
    pub(super) const DC_CVAU: u32 = number(1, 3, 7, 11, 1);
    pub(super) const DC_CVAP: u32 = number(1, 3, 7, 12, 1);
    pub(super) const DC_CIVAC: u32 = number(1, 3, 7, 14, 1);
}

/// log2 of the words in a cache line, and in what `DC ZVA` clears: 64 bytes.
const LINE_LOG2_WORDS: u64 = 4;
/// CTR_EL0: lines of 64 bytes, granules likewise, PIPT instruction cache. Neither IDC nor DIC, so that programs clean
/// and invalidate as they do on most processors.
const CTR: u64 =
    1 << 31 | LINE_LOG2_WORDS << 24 | LINE_LOG2_WORDS << 20 | LINE_LOG2_WORDS << 16 | 3 << 14 | LINE_LOG2_WORDS;

pub(super) fn mrs(cx: &mut Lifter<'_>, a: &Mrs) {
    let reg = number(2 + a.o0, a.op1, a.crn, a.crm, a.op2);
    match read(cx, reg) {
        Some(v) => cx.set(a.rt, v),
        None => cx.undefined(),
    }
}

fn read(cx: &mut Lifter<'_>, reg: u32) -> Option<Value> {
    let constant = match reg {
        register::NZCV => return Some(cx.nzcv_of_flags()),
        register::DIT => return Some(pstate(cx, pstate_bit::DIT)),
        register::SSBS => return Some(pstate(cx, pstate_bit::SSBS)),
        register::FPCR => return Some(cx.b.get(FPCR)),
        register::FPSR => return Some(cx.b.call(READ_FPSR, Type::I64, &[])),
        register::TPIDR_EL0 => return Some(cx.b.get(TPIDR)),
        register::CNTVCT_EL0 => return Some(cx.b.call(COUNTER, Type::I64, &[])),
        // The kernel's; zero for programs.
        register::TPIDRRO_EL0 => 0,
        register::CTR_EL0 => CTR,
        register::DCZID_EL0 => LINE_LOG2_WORDS,
        register::CNTFRQ_EL0 => COUNTER_HZ,
        _ => features::id_register(reg)?,
    };
    Some(cx.constant(Type::I64, constant))
}

/// A bit of PSTATE, where it is.
fn pstate(cx: &mut Lifter<'_>, bit: u32) -> Value {
    let all = cx.b.get(PSTATE);
    let bit = cx.constant(Type::I32, u64::from(bit));
    cx.b.bin(Op::And, all, bit)
}

fn set_pstate(cx: &mut Lifter<'_>, bit: u32, v: Value) {
    let all = cx.b.get(PSTATE);
    let (bit, others) = (cx.constant(Type::I32, u64::from(bit)), cx.constant(Type::I32, !u64::from(bit)));
    let kept = cx.b.bin(Op::And, all, others);
    let new = cx.b.bin(Op::And, v, bit);
    let merged = cx.b.bin(Op::Or, kept, new);
    cx.b.set(PSTATE, merged);
}

pub(super) fn msr(cx: &mut Lifter<'_>, a: &Msr) {
    match number(2 + a.o0, a.op1, a.crn, a.crm, a.op2) {
        register::NZCV => {
            let v = cx.w(a.rt);
            let flags = cx.flags_of_nzcv(v);
            cx.set_flags(flags);
        }
        register::DIT => {
            let v = cx.w(a.rt);
            set_pstate(cx, pstate_bit::DIT, v);
        }
        register::SSBS => {
            let v = cx.w(a.rt);
            set_pstate(cx, pstate_bit::SSBS, v);
        }
        register::TPIDR_EL0 => {
            let v = cx.x(a.rt);
            cx.b.set(TPIDR, v);
        }
        register::FPCR => write_fpcr(cx, a.rt),
        register::FPSR => {
            let v = cx.x(a.rt);
            cx.b.call(WRITE_FPSR, Type::None, &[v]);
            [MXCSR, FPSR, QC].iter().for_each(|reg| cx.b.forget(*reg));
        }
        _ => cx.undefined(),
    }
}

/// FPCR is part of what code means ([`super::Mode`]).
fn write_fpcr(cx: &mut Lifter<'_>, rt: u32) {
    let v = cx.x(rt);
    cx.b.call(WRITE_FPCR, Type::None, &[v]);
    [MXCSR, FPCR].iter().for_each(|reg| cx.b.forget(*reg));
    cx.exit(ExitKind::Resync { next: cx.next() });
}

/// Cache maintenance has nothing to do: stores to code take effect at once.
pub(super) fn sys(cx: &mut Lifter<'_>, a: &Sys) {
    match number(1, a.op1, a.crn, a.crm, a.op2) {
        instruction::DC_ZVA => zero_line(cx, a.rt),
        instruction::IC_IVAU
        | instruction::DC_CVAC
        | instruction::DC_CVAU
        | instruction::DC_CVAP
        | instruction::DC_CIVAC => {}
        _ => cx.undefined(),
    }
}

/// `DC ZVA`: clears the line that contains the address.
fn zero_line(cx: &mut Lifter<'_>, rt: u32) {
    let address = cx.x(rt);
    let mask = cx.constant(Type::I64, !63);
    let line = cx.b.bin(Op::And, address, mask);
    let zero = cx.constant(Type::V128, 0);
    for disp in (0..64).step_by(16) {
        let addr = cx.b.addr(Addr::offset(line, disp));
        cx.b.store(MemAttr::new(16), addr, zero);
    }
}

pub(super) fn msr_dit(cx: &mut Lifter<'_>, a: &MsrDit) {
    let v = cx.constant(Type::I32, if a.imm == 1 { u64::MAX } else { 0 });
    set_pstate(cx, pstate_bit::DIT, v);
}

pub(super) fn msr_ssbs(cx: &mut Lifter<'_>, a: &MsrSsbs) {
    let v = cx.constant(Type::I32, if a.imm == 1 { u64::MAX } else { 0 });
    set_pstate(cx, pstate_bit::SSBS, v);
}

pub(super) fn cfinv(cx: &mut Lifter<'_>, _: &Cfinv) {
    let flags = cx.flags();
    let flags = cx.b.flags_edit(Op::FlagsNot, flags, FlagSet::C);
    cx.set_flags(flags);
}

/// N = 0, Z = Z | V, C = C & !V, V = 0: an unordered comparison becomes what x86 makes of it. Our C is the complement:
/// C | V.
pub(super) fn axflag(cx: &mut Lifter<'_>, _: &Axflag) {
    let overflow = cx.condition_bit(Cond::O, FlagSet::C);
    let zero = cx.condition_bit(Cond::E, FlagSet::C);
    let carry = cx.condition_bit(Cond::B, FlagSet::C);
    let zero = cx.b.bin(Op::Or, zero, overflow);
    let carry = cx.b.bin(Op::Or, carry, overflow);
    set_zero_and_carry(cx, zero, carry);
}

/// The way back: N = !C & !Z, Z = Z & C, C = C | Z, V = !C & Z.
pub(super) fn xaflag(cx: &mut Lifter<'_>, _: &Xaflag) {
    // "Below" is our C, the manual's !C; and the new C is the complement of its C | Z.
    let sign = condition_of_both(cx, Cond::B, Cond::Ne, FlagSet::S);
    let zero = condition_of_both(cx, Cond::Ae, Cond::E, FlagSet::Z);
    let carry = condition_of_both(cx, Cond::B, Cond::Ne, FlagSet::C);
    let overflow = condition_of_both(cx, Cond::B, Cond::E, FlagSet::O);
    let low = cx.b.bin(Op::Or, sign, zero);
    let high = cx.b.bin(Op::Or, carry, overflow);
    let all = cx.b.bin(Op::Or, low, high);
    let flags = cx.b.bits_flags(all);
    cx.set_flags(flags);
}

fn condition_of_both(cx: &mut Lifter<'_>, one: Cond, other: Cond, at: FlagSet) -> Value {
    let (one, other) = (cx.condition_bit(one, at), cx.condition_bit(other, at));
    cx.b.bin(Op::And, one, other)
}

/// Flags with those two bits, each in bit 0; the others are clear.
fn set_zero_and_carry(cx: &mut Lifter<'_>, zero: Value, carry: Value) {
    let zero = super::arith::shift_const(cx, Op::Shl, zero, FlagSet::Z.bits().trailing_zeros());
    let both = cx.b.bin(Op::Or, zero, carry);
    let flags = cx.b.bits_flags(both);
    cx.set_flags(flags);
}
