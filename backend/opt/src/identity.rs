//! Arithmetic on constants, and with operands that make it pointless.
//!
//! What pays on x86 code is `xor reg, reg` and `sub reg, reg`: the result is the constant 0, which does not depend on
//! the register and goes into stores, comparisons and divisions as an immediate. Next are `and x, 0` and `or x, -1`,
//! with which compilers write a short constant, and `and x, x` and `or x, x`.
//!
//! Only the value is replaced. The instruction stays for the users of its flags; back ends drop it if there are none.

use crate::eval::eval;
use crate::names::{bits, constant};
use isamorph_ir::{Inst, Op, Region, Type, Value};

/// The value that equals the result of an arithmetic instruction.
pub(crate) fn simplify(region: &mut Region, inst: &Inst) -> Option<Value> {
    let [a, b, ..] = inst.args;
    if a == b {
        return match inst.op {
            Op::Xor | Op::Sub => Some(constant(region, inst.ty, 0)),
            Op::And | Op::Or => Some(a),
            _ => None,
        };
    }
    let right = bits(region, b);
    if let Some(left) = bits(region, a)
        && (right.is_some() || b.is_none())
    {
        let value = eval(inst, Type::None, left, right.unwrap_or(0))?;
        return Some(constant(region, inst.ty, value));
    }
    let ones = inst.ty.mask();
    match (inst.op, right?) {
        (Op::Add | Op::Sub | Op::Or | Op::Xor, 0) | (Op::Mul, 1) => Some(a),
        (Op::And, mask) if mask == ones => Some(a),
        (Op::And | Op::Mul, 0) => Some(b),
        (Op::Or, mask) if mask == ones => Some(b),
        (Op::Shl | Op::Shr | Op::Sar | Op::Rol | Op::Ror, count)
            if count & if ones == u64::MAX { 63 } else { 31 } == 0 =>
        {
            Some(a)
        }
        _ => None,
    }
}
