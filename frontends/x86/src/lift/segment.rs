//! Segment registers: loads go through a helper that looks at the descriptors.

use super::Lifter;
use super::segmentation::number;
use crate::{helpers, state};
use iced_x86::Register;
use isamorph_ir::{Addr, ExitKind, RegId, Type, Value};

/// Loads a segment register; the helper writes the selector and the base, or raises #GP. Everything else that may
/// fault must have happened.
pub(super) fn load(cx: &mut Lifter<'_>, segment: Register, selector: Value) {
    let number = cx.b.iconst(Type::I32, u64::from(number(segment)));
    let selector = cx.zext(selector, Type::I32);
    cx.call(helpers::LOAD_SEGMENT, Type::I32, &[number, selector]);
}

/// Ends the region behind an instruction that has loaded a segment register, because the mode may be another.
pub(super) fn finish_load(cx: &mut Lifter<'_>) {
    if cx.mode.in_machine() {
        cx.exit(ExitKind::Resync { next: cx.next });
    }
}

/// `lds`, `les`, `lfs`, `lgs`, `lss`: offset and selector from memory.
pub(super) fn load_far(cx: &mut Lifter<'_>, segment: Register) {
    let ty = cx.op_type(0);
    let (offset, selector) = far_pointer(cx, ty);
    load(cx, segment, selector);
    cx.write_op(0, offset);
    finish_load(cx);
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
    let row = RegId(state::ES.0 + number(segment));
    let selector = cx.b.get(row);
    if ty == Type::I64 { cx.zext(selector, ty) } else { cx.narrow(selector, ty) }
}
