//! Width changes of constants, and extensions of what is extended already.
//!
//! Writing an 8- or 16-bit register is an `ins` into the full one, so a constant that is put together from parts
//! (`mov eax, 0x10000; mov ax, 5`; `movw` and `movt` on Arm) is one constant here. `movzx eax, al` after a load of
//! a byte into `eax` does nothing.
//!
//! Reading a part that was put in before (`setcc al; movzx eax, al`) could take the part itself. That does not pay:
//! back ends compute a part in place when the `ins` is its only use, and would have to keep it in a second register.

use crate::eval::eval;
use crate::names::{bits, constant, definition};
use isamorph_ir::{Op, Region, Type, Value};

/// The value that equals a width change.
pub(crate) fn simplify(region: &mut Region, index: usize) -> Option<Value> {
    let inst = region.insts[index];
    let [a, b, ..] = inst.args;
    if let Some(left) = bits(region, a) {
        let (right, part) = if inst.op == Op::Ins { (bits(region, b)?, b) } else { (0, a) };
        let value = eval(&inst, region.value_type(part), left, right)?;
        return Some(constant(region, inst.ty, value));
    }
    if inst.op != Op::Zext {
        return None;
    }
    let source = definition(region, a)?;
    let whole = source.args[0];
    let same = source.op == Op::Trunc && region.value_type(whole) == inst.ty && fits(region, whole, source.ty);
    same.then_some(whole)
}

/// Whether the bits of a value above those of a narrower type are zero.
fn fits(region: &Region, value: Value, narrow: Type) -> bool {
    definition(region, value).is_some_and(|inst| match inst.op {
        Op::Load => !inst.mem().is_signed() && inst.mem().bytes() <= narrow.bytes(),
        Op::Zext => region.value_type(inst.args[0]).bits() <= narrow.bits(),
        Op::And => bits(region, inst.args[1]).is_some_and(|mask| mask <= narrow.mask()),
        _ => false,
    })
}
