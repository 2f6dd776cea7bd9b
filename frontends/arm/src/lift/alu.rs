//! Data processing: the sixteen operations and their flags (DDI 0406C A5.2, A8.8).

use super::shift::{Carry, Shifted, arm_carry, set_logical_flags};
use super::{Lifter, branch};
use isamorph_ir::{FlagSet, Op, Value};

/// An operation, numbered as in A32; ORN is T32's alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Alu {
    And,
    Eor,
    Sub,
    Rsb,
    Add,
    Adc,
    Sbc,
    Rsc,
    Tst,
    Teq,
    Cmp,
    Cmn,
    Orr,
    Mov,
    Bic,
    Mvn,
    Orn,
}

impl Alu {
    const A32: [Alu; 16] = [
        Alu::And,
        Alu::Eor,
        Alu::Sub,
        Alu::Rsb,
        Alu::Add,
        Alu::Adc,
        Alu::Sbc,
        Alu::Rsc,
        Alu::Tst,
        Alu::Teq,
        Alu::Cmp,
        Alu::Cmn,
        Alu::Orr,
        Alu::Mov,
        Alu::Bic,
        Alu::Mvn,
    ];
    /// The operation of an A32 opcode.
    pub(super) const fn of_a32(opcode: u32) -> Alu {
        Self::A32[(opcode & 15) as usize]
    }
    /// The operation of a T32 opcode, where 15 as a source or as a destination that only gives flags has a meaning of
    /// its own (DDI 0406C A6.3.1, A6.3.11). PKH is not among them.
    pub(super) const fn of_t32(opcode: u32, s: bool, rn: u32, rd: u32) -> Option<Alu> {
        Some(match (opcode, s && rd == 15, rn == 15) {
            (0, true, _) => Alu::Tst,
            (0, ..) => Alu::And,
            (1, ..) => Alu::Bic,
            (2, _, true) => Alu::Mov,
            (2, ..) => Alu::Orr,
            (3, _, true) => Alu::Mvn,
            (3, ..) => Alu::Orn,
            (4, true, _) => Alu::Teq,
            (4, ..) => Alu::Eor,
            (8, true, _) => Alu::Cmn,
            (8, ..) => Alu::Add,
            (10, ..) => Alu::Adc,
            (11, ..) => Alu::Sbc,
            (13, true, _) => Alu::Cmp,
            (13, ..) => Alu::Sub,
            (14, ..) => Alu::Rsb,
            _ => return None,
        })
    }
}

/// Whether an A32 opcode has no result but flags.
pub(super) const fn only_flags(opcode: u32) -> bool {
    opcode & 12 == 8
}

/// How an operation sets the flags.
enum Flags {
    /// As a logical one.
    Logical,
    /// As this sum.
    Sum(Value),
    /// As this difference.
    Difference(Value),
}

/// `rd = rn op operand`.
pub(super) fn data(cx: &mut Lifter<'_>, alu: Alu, s: bool, rd: u32, rn: u32, operand: Shifted) {
    let first = match alu {
        Alu::Mov | Alu::Mvn => operand.value,
        _ => cx.reg(rn),
    };
    data_of(cx, alu, s, rd, first, operand);
}

/// `rd = first op operand`.
pub(super) fn data_of(cx: &mut Lifter<'_>, alu: Alu, s: bool, rd: u32, first: Value, operand: Shifted) {
    let (result, flags) = compute(cx, alu, first, operand.value);
    if matches!(alu, Alu::Tst | Alu::Teq | Alu::Cmp | Alu::Cmn) {
        return set_flags(cx, result, flags, operand.carry);
    }
    if rd == 15 {
        // With S it is a return from an exception, which User mode has none of.
        if cx.require(!s) {
            branch::alu_write_pc(cx, result, alu == Alu::Mov);
        }
        return;
    }
    if s {
        set_flags(cx, result, flags, operand.carry);
    }
    cx.set_reg(rd, result);
}

fn compute(cx: &mut Lifter<'_>, alu: Alu, a: Value, b: Value) -> (Value, Flags) {
    match alu {
        Alu::And | Alu::Tst => (cx.b.bin(Op::And, a, b), Flags::Logical),
        Alu::Eor | Alu::Teq => (cx.b.bin(Op::Xor, a, b), Flags::Logical),
        Alu::Orr => (cx.b.bin(Op::Or, a, b), Flags::Logical),
        Alu::Mov => (b, Flags::Logical),
        Alu::Mvn => (complement(cx, b), Flags::Logical),
        Alu::Bic => {
            let b = complement(cx, b);
            (cx.b.bin(Op::And, a, b), Flags::Logical)
        }
        Alu::Orn => {
            let b = complement(cx, b);
            (cx.b.bin(Op::Or, a, b), Flags::Logical)
        }
        Alu::Sub | Alu::Cmp => difference(cx.b.bin(Op::Sub, a, b)),
        Alu::Rsb => difference(cx.b.bin(Op::Sub, b, a)),
        Alu::Add | Alu::Cmn => sum(cx.b.bin(Op::Add, a, b)),
        Alu::Adc => {
            let carry = arm_carry(cx);
            sum(cx.b.multi(Op::Adc, &[a, b, carry]))
        }
        Alu::Sbc => {
            let borrow = cx.flags();
            difference(cx.b.multi(Op::Sbb, &[a, b, borrow]))
        }
        Alu::Rsc => {
            let borrow = cx.flags();
            difference(cx.b.multi(Op::Sbb, &[b, a, borrow]))
        }
    }
}

fn sum(value: Value) -> (Value, Flags) {
    (value, Flags::Sum(value))
}

fn difference(value: Value) -> (Value, Flags) {
    (value, Flags::Difference(value))
}

pub(super) fn complement(cx: &mut Lifter<'_>, v: Value) -> Value {
    match cx.constant(v) {
        Some(bits) => cx.int(!bits),
        None => cx.b.un(Op::Not, v),
    }
}

fn set_flags(cx: &mut Lifter<'_>, result: Value, flags: Flags, carry: Carry) {
    match flags {
        Flags::Logical => set_logical_flags(cx, result, carry),
        Flags::Sum(sum) => {
            let flags = cx.b.flags(sum);
            let flags = cx.b.flags_edit(Op::FlagsNot, flags, FlagSet::C);
            cx.set_flags(flags);
        }
        Flags::Difference(difference) => {
            let flags = cx.b.flags(difference);
            cx.set_flags(flags);
        }
    }
}

/// The operand of a constant: its carry is its top bit where it was rotated into place.
pub(super) fn immediate(cx: &mut Lifter<'_>, bits: u32, rotated: bool) -> Shifted {
    let carry = if rotated { Carry::Const(bits >> 31 != 0) } else { Carry::Keep };
    Shifted { value: cx.int(bits), carry }
}

/// A constant of A32: eight bits, rotated right by twice four bits.
pub(super) fn a32_immediate(cx: &mut Lifter<'_>, imm12: u32) -> Shifted {
    let rotation = imm12 >> 8 & 15;
    immediate(cx, (imm12 & 0xff).rotate_right(2 * rotation), rotation != 0)
}

/// A constant of T32 (DDI 0406C A6.3.2, ThumbExpandImm_C).
pub(super) fn t32_immediate(cx: &mut Lifter<'_>, imm12: u32) -> Shifted {
    let byte = imm12 & 0xff;
    match imm12 >> 8 {
        0 => immediate(cx, byte, false),
        1 => immediate(cx, byte | byte << 16, false),
        2 => immediate(cx, byte << 8 | byte << 24, false),
        3 => immediate(cx, byte | byte << 8 | byte << 16 | byte << 24, false),
        _ => immediate(cx, (byte & 0x7f | 0x80).rotate_right(imm12 >> 7 & 31), true),
    }
}
