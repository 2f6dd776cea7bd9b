//! Shifter operands: shifts by constants and registers, and their carry (DDI 0406C A8.4).

use super::Lifter;
use crate::state::FLAGS;
use isamorph_ir::{Cond, FlagSet, Op, Type, Value};

/// What an operation does to C besides its result.
#[derive(Clone, Copy)]
pub(super) enum Carry {
    /// Nothing.
    Keep,
    /// Makes it that.
    Const(bool),
    /// The Arm carry is the carry flag of this op.
    Op(Value),
    /// The Arm carry is this bit of the value, whose type is any.
    Bit(Value, u32),
}

/// A shifted value.
#[derive(Clone, Copy)]
pub(super) struct Shifted {
    pub(super) value: Value,
    pub(super) carry: Carry,
}

impl Shifted {
    pub(super) const fn plain(value: Value) -> Self {
        Shifted { value, carry: Carry::Keep }
    }
}

/// The op of a shift type: LSL, LSR, ASR, ROR.
const fn op(kind: u32) -> Op {
    match kind & 3 {
        0 => Op::Shl,
        1 => Op::Shr,
        2 => Op::Sar,
        _ => Op::Ror,
    }
}

/// The flags as the host's carry-in: C is the Arm carry.
pub(super) fn arm_carry(cx: &mut Lifter<'_>) -> Value {
    let flags = cx.flags();
    cx.b.flags_edit(Op::FlagsNot, flags, FlagSet::C)
}

/// A shift by a constant as encoded: 0 stands for 32 (LSR, ASR) or RRX (ROR).
pub(super) fn by_constant(cx: &mut Lifter<'_>, value: Value, kind: u32, amount: u32) -> Shifted {
    match (kind & 3, amount) {
        (0, 0) => Shifted::plain(value),
        (1, 0) => Shifted { value: cx.int(0), carry: Carry::Bit(value, 31) },
        (2, 0) => Shifted { value: cx.shift(Op::Sar, value, 31), carry: Carry::Bit(value, 31) },
        (3, 0) => {
            let (flags, one) = (arm_carry(cx), cx.count(1));
            let shifted = cx.b.multi(Op::Rcr, &[value, one, flags]);
            Shifted { value: shifted, carry: Carry::Op(shifted) }
        }
        (kind, amount) => {
            let shifted = cx.shift(op(kind), value, amount);
            Shifted { value: shifted, carry: Carry::Op(shifted) }
        }
    }
}

/// A shift by the low byte of a register; the carry costs more than the result, so say if it is wanted.
pub(super) fn by_register(cx: &mut Lifter<'_>, value: Value, kind: u32, by: Value, carry: bool) -> Shifted {
    let amount = cx.bin_const(Op::And, by, 0xff);
    let shifted = result_by_register(cx, value, kind, amount);
    let carry = if carry { carry_by_register(cx, value, kind, amount, shifted) } else { Carry::Keep };
    Shifted { value: shifted, carry }
}

fn result_by_register(cx: &mut Lifter<'_>, value: Value, kind: u32, amount: Value) -> Value {
    let shift = |cx: &mut Lifter<'_>, op, count| {
        let (count, flags) = (cx.b.convert(Op::Trunc, Type::I8, &[count]), cx.flags());
        cx.b.multi(op, &[value, count, flags])
    };
    let limit = cx.int(32);
    match kind & 3 {
        3 => shift(cx, Op::Ror, amount),
        2 => {
            let most = cx.int(31);
            let difference = cx.b.bin(Op::Sub, amount, limit);
            let below = cx.b.flags(difference);
            let count = cx.b.select(Cond::B, below, amount, most);
            shift(cx, Op::Sar, count)
        }
        kind => {
            let shifted = shift(cx, op(kind), amount);
            let difference = cx.b.bin(Op::Sub, amount, limit);
            let (below, zero) = (cx.b.flags(difference), cx.int(0));
            cx.b.select(Cond::B, below, shifted, zero)
        }
    }
}

/// The carry of a shift by 0 to 255, of which 0 keeps the old one: the value and the old carry are put side by side in
/// 64 bits, and the shift brings the carry to a known bit.
fn carry_by_register(cx: &mut Lifter<'_>, value: Value, kind: u32, amount: Value, shifted: Value) -> Carry {
    let flags = arm_carry(cx);
    let old = cx.b.setcc(Cond::B, flags);
    let (zero, most) = (cx.int(0), cx.int(63));
    if kind & 3 == 3 {
        let (top, old) = (cx.shift(Op::Shr, shifted, 31), cx.b.convert(Op::Zext, Type::I32, &[old]));
        let tested = cx.b.bin(Op::And, amount, amount);
        let nothing = cx.b.flags(tested);
        return Carry::Bit(cx.b.select(Cond::E, nothing, old, top), 0);
    }
    let difference = cx.b.bin(Op::Sub, amount, most);
    let below = cx.b.flags(difference);
    let count = cx.b.select(Cond::B, below, amount, most);
    let count = cx.b.convert(Op::Trunc, Type::I8, &[count]);
    let all = cx.flags();
    if kind & 3 == 0 {
        let old = cx.b.convert(Op::Zext, Type::I32, &[old]);
        let both = cx.b.convert(Op::Concat, Type::I64, &[value, old]);
        return Carry::Bit(cx.b.multi(Op::Shl, &[both, count, all]), 32);
    }
    let wide = if kind & 3 == 1 {
        cx.b.convert(Op::Concat, Type::I64, &[value, zero])
    } else {
        cx.b.convert(Op::Sext, Type::I64, &[value])
    };
    let (doubled, old) = (cx.shift(Op::Shl, wide, 1), cx.b.convert(Op::Zext, Type::I64, &[old]));
    let both = cx.b.bin(Op::Or, doubled, old);
    Carry::Bit(cx.b.multi(op(kind), &[both, count, all]), 0)
}

/// The condition flags after an operation that sets N and Z by its result and C by the shifter, and keeps V.
pub(super) fn set_logical_flags(cx: &mut Lifter<'_>, result: Value, carry: Carry) {
    let tested = cx.b.bin(Op::And, result, result);
    let old = cx.b.get(FLAGS);
    let others = FlagSet::all() - FlagSet::C;
    let with_carry = match carry {
        Carry::Keep => old,
        Carry::Const(true) => cx.b.flags_edit(Op::FlagsClear, old, FlagSet::C),
        Carry::Const(false) => cx.b.flags_edit(Op::FlagsSet, old, FlagSet::C),
        Carry::Op(op) => {
            let kept = cx.b.flags_keep(op, old, others);
            cx.b.flags_edit(Op::FlagsNot, kept, FlagSet::C)
        }
        Carry::Bit(value, bit) => {
            let ty = cx.b.ty(value);
            let bit = cx.b.iconst(ty, u64::from(bit));
            let bit = cx.b.multi(Op::Bt, &[value, bit, old]);
            let kept = cx.b.flags_keep(bit, old, others);
            cx.b.flags_edit(Op::FlagsNot, kept, FlagSet::C)
        }
    };
    let flags = cx.b.flags_keep(tested, with_carry, FlagSet::C | FlagSet::O);
    cx.set_flags(flags);
}
