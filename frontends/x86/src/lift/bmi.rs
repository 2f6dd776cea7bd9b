//! BMI1, BMI2 and ADX (SDM vol. 2 has them under their names).

use super::Lifter;
use crate::helpers;
use crate::state::EDX;
use iced_x86::Mnemonic;
use isamorph_ir::{Cond, FlagSet, Op, Type, Value};

/// Lifts the instruction if it is one of these.
pub(super) fn lift(cx: &mut Lifter<'_>, m: Mnemonic) -> bool {
    use Mnemonic as M;
    match m {
        M::Andn => and_not(cx),
        M::Blsr => lowest(cx, Op::And),
        M::Blsmsk => lowest(cx, Op::Xor),
        M::Blsi => isolate(cx),
        M::Bextr => extract(cx),
        M::Bzhi => zero_high(cx),
        M::Mulx => multiply(cx),
        M::Pdep => by_helper(cx, helpers::PDEP),
        M::Pext => by_helper(cx, helpers::PEXT),
        M::Rorx => rotate(cx),
        M::Sarx => shift(cx, Op::Sar),
        M::Shlx => shift(cx, Op::Shl),
        M::Shrx => shift(cx, Op::Shr),
        M::Adcx => add_with_carry(cx),
        M::Adox => add_with_overflow(cx),
        _ => return false,
    }
    true
}

fn and_not(cx: &mut Lifter<'_>) {
    let first = cx.read_op(1);
    let second = cx.read_op(2);
    let complement = cx.b.un(Op::Not, first);
    let result = cx.b.bin(Op::And, complement, second);
    cx.write_op(0, result);
    cx.set_flags_of(result);
}

/// BLSR and BLSMSK: the operand with what is below it. Carry is the borrow: the operand was zero.
fn lowest(cx: &mut Lifter<'_>, op: Op) {
    let src = cx.read_op(1);
    let one = cx.b.iconst(cx.b.ty(src), 1);
    let below = cx.b.bin(Op::Sub, src, one);
    combine(cx, op, src, below);
}

/// BLSI: the operand with its negative. Carry is that of the negation: the operand was not zero.
fn isolate(cx: &mut Lifter<'_>) {
    let src = cx.read_op(1);
    let negative = cx.b.un(Op::Neg, src);
    combine(cx, Op::And, src, negative);
}

/// `dst = op(src, other)` with the carry of `other`.
fn combine(cx: &mut Lifter<'_>, op: Op, src: Value, other: Value) {
    let carry = cx.b.flags(other);
    let result = cx.b.bin(op, src, other);
    let flags = cx.b.flags_keep(result, carry, FlagSet::C);
    cx.write_op(0, result);
    cx.set_flags(flags);
}

/// A number of bits (8 wide) compared with the width of `ty`: condition B if there are fewer.
fn below_width(cx: &mut Lifter<'_>, count: Value, ty: Type) -> Value {
    let width = cx.b.iconst(Type::I8, u64::from(ty.bits()));
    let difference = cx.b.bin(Op::Sub, count, width);
    cx.b.flags(difference)
}

/// `count` ones, all if there are as many as the type is wide; `below` tells.
fn ones(cx: &mut Lifter<'_>, ty: Type, count: Value, below: Value) -> Value {
    let flags = cx.flags();
    let all = cx.b.iconst(ty, u64::MAX);
    let above = cx.b.multi(Op::Shl, &[all, count, flags]);
    let some = cx.b.un(Op::Not, above);
    cx.b.select(Cond::B, below, some, all)
}

fn zero_high(cx: &mut Lifter<'_>) {
    let src = cx.read_op(1);
    let count = cx.read_op(2);
    let count = cx.narrow(count, Type::I8);
    let below = below_width(cx, count, cx.b.ty(src));
    let mask = ones(cx, cx.b.ty(src), count, below);
    let result = cx.b.bin(Op::And, src, mask);
    let carry = cx.b.flags_edit(Op::FlagsNot, below, FlagSet::C);
    let flags = cx.b.flags_keep(result, carry, FlagSet::C);
    cx.write_op(0, result);
    cx.set_flags(flags);
}

/// BEXTR: start and length are in the two low bytes of the control.
fn extract(cx: &mut Lifter<'_>) {
    let src = cx.read_op(1);
    let control = cx.read_op(2);
    let ty = cx.b.ty(src);
    let start = cx.narrow(control, Type::I8);
    let length = cx.b.field(Type::I8, control, 8);
    let inside = below_width(cx, start, ty);
    let flags = cx.flags();
    let shifted = cx.b.multi(Op::Shr, &[src, start, flags]);
    let zero = cx.b.iconst(ty, 0);
    let shifted = cx.b.select(Cond::B, inside, shifted, zero);
    let short = below_width(cx, length, ty);
    let mask = ones(cx, ty, length, short);
    let result = cx.b.bin(Op::And, shifted, mask);
    cx.write_op(0, result);
    cx.set_flags_of(result);
}

/// MULX: the high half to the first operand, the low half to the second; the high one stays if they are the same.
fn multiply(cx: &mut Lifter<'_>) {
    let factor = cx.read_op(2);
    let other = cx.gpr_part(EDX, cx.b.ty(factor));
    let lo = cx.b.bin(Op::MulU, other, factor);
    let hi = cx.b.second(lo);
    cx.write_op(1, lo);
    cx.write_op(0, hi);
}

fn by_helper(cx: &mut Lifter<'_>, helper: isamorph_ir::HelperId) {
    let src = cx.read_op(1);
    let mask = cx.read_op(2);
    let result = cx.call(helper, cx.b.ty(src), &[src, mask]);
    cx.write_op(0, result);
}

fn rotate(cx: &mut Lifter<'_>) {
    let src = cx.read_op(1);
    let count = cx.imm(2) & u64::from(cx.b.ty(src).bits() - 1);
    let result = if count == 0 {
        src
    } else {
        let count = cx.b.iconst(Type::I8, count);
        cx.b.multi(Op::Ror, &[src, count, Value::NONE])
    };
    cx.write_op(0, result);
}

fn shift(cx: &mut Lifter<'_>, op: Op) {
    let src = cx.read_op(1);
    let count = cx.read_op(2);
    let count = cx.narrow(count, Type::I8);
    let flags = cx.flags();
    let result = cx.b.multi(op, &[src, count, flags]);
    cx.write_op(0, result);
}

fn add_with_carry(cx: &mut Lifter<'_>) {
    let old = cx.flags();
    let [dst, src] = [0, 1].map(|n| cx.read_op(n));
    let sum = cx.b.multi(Op::Adc, &[dst, src, old]);
    let flags = cx.b.flags_keep(sum, old, FlagSet::all() - FlagSet::C);
    cx.write_op(0, sum);
    cx.set_flags(flags);
}

/// ADOX: the overflow flag serves as the carry.
fn add_with_overflow(cx: &mut Lifter<'_>) {
    let old = cx.flags();
    let [dst, src] = [0, 1].map(|n| cx.read_op(n));
    let carry = cx.b.setcc(Cond::O, old);
    let negative = cx.b.un(Op::Neg, carry);
    let carry = cx.b.flags(negative);
    let sum = cx.b.multi(Op::Adc, &[dst, src, carry]);
    let sum_flags = cx.b.flags(sum);
    let clear = cx.b.flags_edit(Op::FlagsClear, old, FlagSet::O);
    let clear = cx.b.flags_bits(clear);
    let set = cx.b.flags_edit(Op::FlagsSet, old, FlagSet::O);
    let set = cx.b.flags_bits(set);
    let bits = cx.b.select(Cond::B, sum_flags, set, clear);
    let flags = cx.b.bits_flags(bits);
    cx.write_op(0, sum);
    cx.set_flags(flags);
}
