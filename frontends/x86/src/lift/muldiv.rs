//! Multiplication and division (SDM vol. 2, MUL, IMUL, DIV, IDIV).

use super::Lifter;
use crate::state::{EAX, EDX};
use isamorph_ir::{Op, Type, Value};

/// Writes a pair of results: edx:eax and its narrower forms, or ah:al as ax.
fn set_pair(cx: &mut Lifter<'_>, lo: Value, hi: Value) {
    if cx.b.ty(lo) == Type::I8 {
        let ax = cx.b.convert(Op::Concat, Type::I16, &[lo, hi]);
        cx.set_gpr_part(EAX, ax);
    } else {
        cx.set_gpr_part(EAX, lo);
        cx.set_gpr_part(EDX, hi);
    }
}

/// The one-operand forms of `mul` and `imul`.
pub(super) fn multiply_wide(cx: &mut Lifter<'_>, op: Op) {
    let src = cx.read_op(0);
    let acc = cx.gpr_part(EAX, cx.op_type(0));
    let lo = cx.b.bin(op, acc, src);
    let hi = cx.b.second(lo);
    set_pair(cx, lo, hi);
    cx.set_flags_of(lo);
}

/// `imul` with one, two or three operands.
pub(super) fn imul(cx: &mut Lifter<'_>) {
    let first = match cx.insn.op_count() {
        1 => return multiply_wide(cx, Op::MulS),
        2 => 0,
        _ => 1,
    };
    let a = cx.read_op(first);
    let b = cx.read_op(first + 1);
    let product = cx.b.bin(Op::Mul, a, b);
    cx.write_op(0, product);
    cx.set_flags_of(product);
}

/// `div` and `idiv`: quotient to the low, remainder to the high register; the flags are undefined and stay.
pub(super) fn divide(cx: &mut Lifter<'_>, op: Op) {
    let ty = cx.op_type(0);
    let divisor = cx.read_op(0);
    let lo = cx.gpr_part(EAX, ty);
    let hi = if ty == Type::I8 {
        let eax = cx.b.get(EAX);
        cx.b.field(Type::I8, eax, 8)
    } else {
        cx.gpr_part(EDX, ty)
    };
    let quotient = cx.b.multi(op, &[hi, lo, divisor]);
    let remainder = cx.b.second(quotient);
    set_pair(cx, quotient, remainder);
}
