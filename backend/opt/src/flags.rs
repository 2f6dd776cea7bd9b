//! Edited flags and the conditions over them.
//!
//! Guests whose carry means the opposite of a borrow (Arm) complement it after every subtraction and before every
//! condition: two complements are none, and one is the opposite condition. On x86 this is only `cmc`, `clc` and `stc`,
//! but it costs next to nothing: one look at where a condition's flags come from.
//!
//! Conditions on constant flags do not come from compiled code and are left alone.

use crate::names::definition;
use isamorph_ir::{Cond, FlagSet, Inst, Op, Region, Value};

/// Makes a condition look at the flags from before they were edited, if it can.
pub(crate) fn condition(region: &mut Region, index: usize) -> Option<Value> {
    let mut inst = region.insts[index];
    while let Some(edit) = definition(region, inst.args[0])
        && let Some(cond) = before_edit(edit, inst.cond())
    {
        inst.attr = cond as u8;
        inst.args[0] = edit.args[0];
        region.insts[index] = inst;
    }
    None
}

/// The condition on the operand of an edit of flags that holds when `cond` holds on its result.
fn before_edit(edit: &Inst, cond: Cond) -> Option<Cond> {
    if !matches!(edit.op, Op::FlagsSet | Op::FlagsClear | Op::FlagsNot) {
        return None;
    }
    let edited = edit.flag_set() & cond.reads();
    match cond {
        // The flags that it reads are the same before and after: it stays with those that are current, and an edit
        // that nobody sees is none to the back end.
        _ if edited.is_empty() || edit.op != Op::FlagsNot => None,
        // Both sides of the comparison of S with O.
        Cond::L | Cond::Ge | Cond::Le | Cond::G if edited == FlagSet::S | FlagSet::O => Some(cond),
        Cond::Le | Cond::G | Cond::Be | Cond::A => None,
        _ => Some(cond.invert()),
    }
}

/// The flags that equal the complement of a complement. Two complements of different flags become one.
pub(crate) fn complement(region: &mut Region, index: usize) -> Option<Value> {
    let inst = region.insts[index];
    let inner = *definition(region, inst.args[0]).filter(|inner| inner.op == Op::FlagsNot)?;
    if inst.attr == inner.attr {
        return Some(inner.args[0]);
    }
    region.insts[index] = Inst { attr: inst.attr ^ inner.attr, ..inner };
    None
}

/// A merge of new and old flags that keeps none of the old ones is a projection.
pub(crate) fn merge(region: &mut Region, index: usize) -> Option<Value> {
    let inst = &mut region.insts[index];
    if inst.attr == 0 {
        *inst = Inst { op: Op::Flags, args: [inst.args[0], Value::NONE, Value::NONE, Value::NONE], ..*inst };
    }
    None
}
