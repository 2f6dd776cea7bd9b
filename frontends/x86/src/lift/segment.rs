//! Segment registers: loads go through a helper that looks at the descriptors.

use super::Lifter;
use crate::{helpers, state};
use iced_x86::Register;
use isamorph_ir::{Addr, Type, Value};

/// Loads a segment register; the helper writes the selector and the base, or raises #GP. Everything else that may
/// fault must have happened.
pub(super) fn load(cx: &mut Lifter<'_>, segment: Register, selector: Value) {
    let number = cx.b.iconst(Type::I32, u64::from(segment as u16 - Register::ES as u16));
    let selector = cx.zext(selector, Type::I32);
    cx.call(helpers::LOAD_SEGMENT, Type::I32, &[number, selector]);
}

/// `lds`, `les`, `lfs`, `lgs`, `lss`: offset and selector from memory.
pub(super) fn load_far(cx: &mut Lifter<'_>, segment: Register) {
    let ty = cx.op_type(0);
    let (offset, selector) = far_pointer(cx, ty);
    load(cx, segment, selector);
    cx.write_op(0, offset);
}

/// Reads a far pointer with an offset of that type from the effective address.
pub(super) fn far_pointer(cx: &mut Lifter<'_>, ty: Type) -> (Value, Value) {
    let tree = cx.memory_operand();
    let offset_at = cx.b.addr(tree);
    let selector_at = cx.b.addr(Addr { disp: tree.disp.wrapping_add(ty.bytes() as i32), ..tree });
    (cx.load_at(ty, offset_at), cx.load_at(Type::I16, selector_at))
}

/// The selector that `push`, `pop` and `mov` see.
pub(super) fn read(cx: &mut Lifter<'_>, segment: Register, ty: Type) -> Value {
    let row = isamorph_ir::RegId(state::ES.0 + segment as u16 - Register::ES as u16);
    let selector = cx.b.get(row);
    if ty == Type::I64 { cx.zext(selector, ty) } else { cx.narrow(selector, ty) }
}
