//! Width changes of width changes: parts of guest registers that were put in are taken out again.
//!
//! Writing an 8- or 16-bit register is an `ins` into the full one and reading it is a `trunc` or `field`, so the idiom
//! `setcc al; movzx eax, al` arrives as `zext(trunc(ins(eax, setcc, 0)))`. It becomes `zext(setcc)`: the old value of
//! the register is no longer waited for, and the first write is dropped by [`crate::writes`].
//!
//! An `ins` whose only effect is to overwrite an earlier `ins` is not shortened: back ends write parts of a register in
//! place, and going back to the older value would keep that alive for longer.

use crate::eval::eval;
use crate::names::{bits, constant, definition};
use isamorph_ir::{Inst, Op, Region, Type, Value};

/// What a width change turns out to be.
pub(crate) enum Width {
    /// An existing value.
    Is(Value),
    /// Another width change.
    Becomes(Inst),
}

/// A shorter way to say a width change.
pub(crate) fn simplify(region: &mut Region, inst: &Inst) -> Option<Width> {
    let [a, b, ..] = inst.args;
    let part = region.value_type(if inst.op == Op::Ins { b } else { a });
    if let Some(left) = bits(region, a)
        && let Some(right) = if inst.op == Op::Ins { bits(region, b) } else { Some(0) }
    {
        let value = eval(inst, part, left, right)?;
        return Some(Width::Is(constant(region, inst.ty, value)));
    }
    match inst.op {
        Op::Trunc => field_of(region, inst, 0),
        Op::Field => field_of(region, inst, inst.imm),
        Op::Zext => extension(region, inst, part),
        Op::Ins => unchanged(region, inst),
        _ => None,
    }
}

/// The bits from `at` on of a value that was put together.
fn field_of(region: &Region, inst: &Inst, at: u32) -> Option<Width> {
    let source = definition(region, inst.args[0])?;
    let Inst { ty, args: [inner, part, ..], .. } = *source;
    let width = inst.ty.bits();
    match source.op {
        Op::Ins => {
            let (from, to) = (source.imm, source.imm + region.value_type(part).bits());
            if (from, to) == (at, at + width) {
                return Some(Width::Is(part));
            }
            let disjoint = at + width <= from || to <= at;
            disjoint.then(|| take(inst, inner, at))
        }
        Op::Zext | Op::Sext if at == 0 => {
            let narrow = region.value_type(inner);
            match narrow.bits().cmp(&width) {
                std::cmp::Ordering::Equal => Some(Width::Is(inner)),
                std::cmp::Ordering::Greater => Some(take(inst, inner, 0)),
                std::cmp::Ordering::Less => Some(Width::Becomes(Inst { ty: inst.ty, ..*source })),
            }
        }
        Op::Trunc if ty.bits() >= at + width => Some(take(inst, inner, at)),
        Op::Concat if width == ty.bits() / 2 && at.is_multiple_of(width) => {
            Some(Width::Is(if at == 0 { inner } else { part }))
        }
        _ => None,
    }
}

/// The same bits of another value.
fn take(inst: &Inst, from: Value, at: u32) -> Width {
    let mut args = inst.args;
    args[0] = from;
    Width::Becomes(Inst { op: if at == 0 { Op::Trunc } else { Op::Field }, args, imm: at, ..*inst })
}

/// An extension of bits that were extended before, or of the low bits of a value whose other bits are zero.
fn extension(region: &Region, inst: &Inst, part: Type) -> Option<Width> {
    let source = definition(region, inst.args[0])?;
    let inner = source.args[0];
    match source.op {
        Op::Zext => Some(Width::Becomes(Inst { args: source.args, ..*inst })),
        Op::Trunc if region.value_type(inner) == inst.ty && fits(region, inner, part) => Some(Width::Is(inner)),
        _ => None,
    }
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

/// Putting in what is there already.
fn unchanged(region: &Region, inst: &Inst) -> Option<Width> {
    let [old, part, ..] = inst.args;
    let source = definition(region, part)?;
    let same = matches!(source.op, Op::Trunc | Op::Field) && source.args[0] == old && source.imm == inst.imm;
    same.then_some(Width::Is(old))
}
