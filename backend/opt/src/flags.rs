//! Edited flags and the conditions over them.
//!
//! Guests whose carry means the opposite of a borrow (Arm) complement it after every subtraction and before every
//! condition: two complements are none, and one is the opposite condition. On x86 this is only `cmc`, `clc` and `stc`,
//! but it costs next to nothing: one look at where a condition's flags come from.
//!
//! Conditional exits and branches on constant flags do not come from compiled code and are left alone, as are the
//! flags of arithmetic on constants (see [`crate::eval`]).

use crate::names::{bits, constant, definition};
use isamorph_ir::{Cond, FlagSet, Inst, Op, Region, Type, Value};

/// Makes a condition look at the flags from before they were edited, if it can.
pub(crate) fn condition(region: &Region, inst: &mut Inst) {
    while let Some(edit) = definition(region, inst.args[0])
        && let Some(cond) = before_edit(edit, inst.cond())
    {
        inst.attr = cond as u8;
        inst.args[0] = edit.args[0];
    }
}

/// The condition on the operand of an edit of flags that holds when `cond` holds on its result.
fn before_edit(edit: &Inst, cond: Cond) -> Option<Cond> {
    if !matches!(edit.op, Op::FlagsSet | Op::FlagsClear | Op::FlagsNot) {
        return None;
    }
    let edited = edit.flag_set() & cond.reads();
    if edited.is_empty() {
        return Some(cond);
    }
    if edit.op != Op::FlagsNot {
        return None;
    }
    let sign = FlagSet::S | FlagSet::O;
    match cond {
        // Both sides of the comparison of S with O.
        Cond::L | Cond::Ge | Cond::Le | Cond::G if edited == sign => Some(cond),
        Cond::Le | Cond::G | Cond::Be | Cond::A => None,
        _ => Some(cond.invert()),
    }
}

/// The value of `select` or `setcc` that does not depend on its flags.
pub(crate) fn choice(region: &mut Region, inst: &Inst) -> Option<Value> {
    let [flags, a, b, _] = inst.args;
    if inst.op == Op::Select && a == b {
        return Some(a);
    }
    let known = FlagSet::from_bits_truncate(bits(region, flags)? as u32);
    let holds = inst.cond().holds(known);
    Some(match inst.op {
        Op::Select => [b, a][usize::from(holds)],
        _ => constant(region, inst.ty, u64::from(holds)),
    })
}

/// The flags that equal the result of an edit of constant flags or of complemented ones. Two complements of different
/// flags become one, in `inst`.
pub(crate) fn edit(region: &mut Region, inst: &mut Inst) -> Option<Value> {
    let which = inst.flag_set();
    if let Some(known) = bits(region, inst.args[0]) {
        let known = FlagSet::from_bits_truncate(known as u32);
        let result = match inst.op {
            Op::FlagsSet => known | which,
            Op::FlagsClear => known - which,
            _ => known ^ which,
        };
        return Some(constant(region, Type::Flags, u64::from(result.bits())));
    }
    if which.is_empty() {
        return Some(inst.args[0]);
    }
    let source = *definition(region, inst.args[0])?;
    if (inst.op, source.op) != (Op::FlagsNot, Op::FlagsNot) {
        return None;
    }
    inst.args[0] = source.args[0];
    inst.attr ^= source.attr;
    (inst.attr == 0).then_some(inst.args[0])
}

/// A merge of new and old flags in which nothing of one side is left.
pub(crate) fn merge(inst: &mut Inst) -> Option<Value> {
    if inst.flag_set() == FlagSet::all() {
        return Some(inst.args[1]);
    }
    if inst.flag_set().is_empty() {
        *inst = Inst { op: Op::Flags, args: [inst.args[0], Value::NONE, Value::NONE, Value::NONE], ..*inst };
    }
    None
}
