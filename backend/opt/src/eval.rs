//! The value of an integer op whose operands are constants, as the interpreter computes it.
//!
//! Only what addresses and wide constants are put together with is here; products, rotates, division and bit scans of
//! constants do not come from compilers.

use isamorph_ir::{Inst, Op, Type};

/// The result of an op, or nothing if it is not one of those that are computed here. `part` is the type of the operand
/// of a width change, for `ins` that of the second one; bits above the width of an operand are zero.
pub(crate) fn eval(inst: &Inst, part: Type, a: u64, b: u64) -> Option<u64> {
    let count = b & if inst.ty == Type::I64 { 63 } else { 31 };
    let result = match inst.op {
        Op::Add => a.wrapping_add(b),
        Op::Sub => a.wrapping_sub(b),
        Op::And => a & b,
        Op::Or => a | b,
        Op::Xor => a ^ b,
        Op::Not => !a,
        Op::Shl => a << count,
        Op::Shr => a >> count,
        Op::Sar => (sign_extend(inst.ty, a) >> count) as u64,
        Op::Zext | Op::Trunc => a,
        Op::Sext => sign_extend(part, a) as u64,
        Op::Field => a >> inst.imm,
        Op::Ins => a & !(part.mask() << inst.imm) | b << inst.imm,
        _ => return None,
    };
    Some(result & inst.ty.mask())
}

fn sign_extend(ty: Type, bits: u64) -> i64 {
    let unused = 64 - ty.bits();
    ((bits << unused) as i64) >> unused
}
