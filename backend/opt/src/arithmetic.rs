//! Arithmetic on constants, and arithmetic that changes nothing.
//!
//! Only where nobody asks for the flags. If somebody does, the instruction stays anyway and gives the value for free,
//! while a constant in its place costs the host another instruction. So this does next to nothing for x86 code, whose
//! arithmetic always defines flags: `xor reg, reg` is best left as it is. It is for guests that build addresses with
//! sums of constants and the program counter (Arm), and for the sums that front ends add themselves.

use crate::eval::eval;
use crate::names::{bits, constant, definition};
use isamorph_ir::{Inst, Op, Region, Type, Value};

/// The value that equals the result of instruction `index`.
pub(crate) fn simplify(region: &mut Region, index: usize) -> Option<Value> {
    let inst = &region.insts[index];
    let [a, b, ..] = inst.args;
    if b.as_inst().is_some() {
        return None;
    }
    let inst = *inst;
    let right = bits(region, b);
    let value = match bits(region, a) {
        Some(left) if right.is_some() || b.is_none() => eval(&inst, Type::None, left, right.unwrap_or(0)).map(Err),
        _ => neutral(&inst, right?).map(Ok),
    }?;
    if wants_flags(region, index) {
        return None;
    }
    Some(value.unwrap_or_else(|bits| constant(region, inst.ty, bits)))
}

/// The leading zeros of reversed bits are the trailing ones, which is how Arm code finds the first byte of a mask.
pub(crate) fn leading_zeros(region: &mut Region, index: usize) -> Option<Value> {
    let reversed = definition(region, region.insts[index].args[0]).filter(|inst| inst.op == Op::BitRev)?.args[0];
    let inst = &mut region.insts[index];
    (inst.op, inst.args[0]) = (Op::Tzcnt, reversed);
    None
}

/// The operand that the other one, a constant, leaves as it is.
fn neutral(inst: &Inst, right: u64) -> Option<Value> {
    let [a, b, ..] = inst.args;
    let ones = right == inst.ty.mask();
    match inst.op {
        Op::Add | Op::Sub | Op::Or | Op::Xor | Op::Shl | Op::Shr | Op::Sar if right == 0 => Some(a),
        Op::And if ones => Some(a),
        Op::And if right == 0 => Some(b),
        Op::Or if ones => Some(b),
        _ => None,
    }
}

/// Whether the flags of an instruction seem to be asked for: front ends do that next, or after they have written the
/// result. That it is a guess does no harm, since the instruction stays where it is.
fn wants_flags(region: &Region, index: usize) -> bool {
    let value = Value::inst(index);
    let next = region.insts[index + 1..].iter().take(2);
    next.into_iter().any(|inst| matches!(inst.op, Op::Flags | Op::FlagsKeep) && inst.args[0] == value)
}
