//! Shifts and rotates (SDM vol. 2, SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR, SHLD, SHRD).

use super::Lifter;
use crate::state::ECX;
use iced_x86::OpKind;
use isamorph_ir::{Op, Type, Value};

/// The count operand, and the flags operand: the old flags unless the op replaces all of them. Nothing for a constant
/// count of zero, which changes nothing.
fn count_and_flags(cx: &mut Lifter<'_>, operand: u32, rotate: bool) -> Option<(Value, Value)> {
    if cx.insn.op_kind(operand) == OpKind::Register {
        return Some((cx.gpr_part(ECX, Type::I8), cx.flags()));
    }
    let mask = if cx.op_type(0) == Type::I64 { 0x3f } else { 0x1f };
    let count = cx.imm(operand) & mask;
    if count == 0 {
        return None;
    }
    let flags = if rotate { cx.flags() } else { Value::NONE };
    Some((cx.b.iconst(Type::I8, count), flags))
}

/// What a shift by a constant zero leaves: the access to memory, the extension of a 32-bit register.
fn untouched(cx: &mut Lifter<'_>) {
    let v = cx.read_op(0);
    if cx.is_mem(0) || cx.b.ty(v) == Type::I32 {
        cx.write_op(0, v);
    }
}

/// `op dst, count`.
pub(super) fn shift(cx: &mut Lifter<'_>, op: Op) {
    let rotate = matches!(op, Op::Rol | Op::Ror | Op::Rcl | Op::Rcr);
    let Some((count, flags)) = count_and_flags(cx, 1, rotate) else { return untouched(cx) };
    let dst = cx.read_op(0);
    let result = cx.b.multi(op, &[dst, count, flags]);
    cx.write_op(0, result);
    cx.set_flags_of(result);
}

/// `op dst, src, count`: double-precision shifts.
pub(super) fn double(cx: &mut Lifter<'_>, op: Op) {
    let Some((count, flags)) = count_and_flags(cx, 2, false) else { return untouched(cx) };
    let dst = cx.read_op(0);
    let src = cx.read_op(1);
    let result = cx.b.multi(op, &[dst, src, count, flags]);
    cx.write_op(0, result);
    cx.set_flags_of(result);
}
