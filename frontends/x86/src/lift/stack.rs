//! The stack (SDM vol. 1, 6.2): every form of push and pop, frames, EFLAGS.

use super::operand::is_segment;
use super::segmentation::Piece;
use super::single::Shadow;
use super::{Lifter, segment};
use crate::helpers;
use crate::state::{DF, EBP, EFLAGS_REST, ESP, eflag};
use iced_x86::{Code, OpKind, Register};
use isamorph_ir::{Addr, AtomicOp, Cond, ExitKind, Op, RegId, Type, Value};

/// The order of `pusha`, which 64-bit mode does not have: eax first, edi at the lowest address.
const ALL: [RegId; 8] = [RegId(0), RegId(1), RegId(2), RegId(3), RegId(4), RegId(5), RegId(6), RegId(7)];

/// The operand size of a stack instruction whose operands do not tell it: 16 bits, or what the mode pushes.
fn implicit_type(cx: &Lifter<'_>) -> Type {
    use Code as C;
    match cx.insn.code() {
        C::Pushw_ES | C::Pushw_CS | C::Pushw_SS | C::Pushw_DS | C::Pushw_FS | C::Pushw_GS => Type::I16,
        C::Popw_ES | C::Popw_SS | C::Popw_DS | C::Popw_FS | C::Popw_GS => Type::I16,
        C::Push_imm16 | C::Pushw_imm8 | C::Pushaw | C::Popaw | C::Pushfw | C::Popfw => Type::I16,
        C::Enterw_imm16_imm8 | C::Leavew => Type::I16,
        _ => cx.b.table().addr_type(),
    }
}

/// The type of the stack pointer as far as it counts: SP, ESP or RSP (SDM vol. 1, 6.2.3).
fn pointer_type(cx: &Lifter<'_>) -> Type {
    if cx.mode.has_wide_stack() { cx.b.table().addr_type() } else { Type::I16 }
}

/// The stack pointer and a distance from it.
fn moved(cx: &mut Lifter<'_>, by: i64) -> Value {
    let sp = cx.gpr_part(ESP, pointer_type(cx));
    cx.add_const(sp, by)
}

/// Sets the stack pointer, to a value of its type.
fn set_pointer(cx: &mut Lifter<'_>, v: Value) {
    cx.set_gpr_part(ESP, v);
}

/// The address of some bytes of the stack, at a distance from where a register points.
fn slot(cx: &mut Lifter<'_>, reg: RegId, distance: i32, bytes: u32, write: bool) -> u32 {
    let offset = match pointer_type(cx) {
        Type::I16 => {
            let pointer = cx.gpr_part(reg, Type::I16);
            let pointer = cx.add_const(pointer, i64::from(distance));
            Addr::base(cx.zext(pointer, cx.b.table().addr_type()))
        }
        _ => Addr::offset(cx.b.get(reg), distance),
    };
    let addr = cx.in_segment(Piece { segment: Register::SS, bytes, write }, offset);
    cx.b.addr(addr)
}

/// Stores `v` at a distance from the stack pointer.
fn store_slot(cx: &mut Lifter<'_>, distance: i32, v: Value) {
    let bytes = cx.b.ty(v).bytes();
    let slot = slot(cx, ESP, distance, bytes, true);
    cx.store_at(slot, v);
}

/// Pushes values, the first one first.
pub(super) fn push_values(cx: &mut Lifter<'_>, values: &[Value]) {
    let mut depth = 0;
    for v in values {
        depth += cx.b.ty(*v).bytes() as i32;
        store_slot(cx, -depth, *v);
    }
    let sp = moved(cx, -i64::from(depth));
    set_pointer(cx, sp);
}

/// Loads the value at `offset` above the stack pointer.
pub(super) fn load_above(cx: &mut Lifter<'_>, ty: Type, offset: u32) -> Value {
    let slot = slot(cx, ESP, offset as i32, ty.bytes(), false);
    cx.load_at(ty, slot)
}

/// Moves the stack pointer up.
pub(super) fn release(cx: &mut Lifter<'_>, bytes: u32) {
    let sp = moved(cx, i64::from(bytes));
    set_pointer(cx, sp);
}

/// `push`.
pub(super) fn push(cx: &mut Lifter<'_>) {
    let v = match cx.insn.op_kind(0) {
        OpKind::Register if is_segment(cx.insn.op0_register()) => {
            segment::read(cx, cx.insn.op0_register(), implicit_type(cx))
        }
        OpKind::Register | OpKind::Memory => cx.read_op(0),
        _ => cx.b.iconst(implicit_type(cx), cx.imm(0)),
    };
    push_values(cx, &[v]);
}

/// `pop`. A memory destination that is relative to the stack pointer sees it already moved.
pub(super) fn pop(cx: &mut Lifter<'_>) {
    if cx.is_mem(0) {
        return pop_to_memory(cx);
    }
    let r = cx.insn.op0_register();
    if is_segment(r) {
        let ty = implicit_type(cx);
        let v = load_above(cx, Type::I16, 0);
        segment::load(cx, r, v);
        release(cx, ty.bytes());
        if r == Register::SS {
            cx.cast_shadow(Shadow::Traps);
        }
        return segment::finish_load(cx);
    }
    let ty = cx.op_type(0);
    let v = load_above(cx, ty, 0);
    release(cx, ty.bytes());
    cx.write_op(0, v);
}

fn pop_to_memory(cx: &mut Lifter<'_>) {
    let ty = cx.op_type(0);
    let v = load_above(cx, ty, 0);
    let mut offset = cx.memory_offset();
    if matches!(cx.insn.memory_base(), Register::ESP | Register::RSP) {
        if cx.has_narrow_address() {
            let moved = cx.narrow(offset.base, Type::I32);
            let moved = cx.add_const(moved, i64::from(ty.bytes()));
            offset.base = cx.zext(moved, cx.b.table().addr_type());
        } else {
            offset.disp = offset.disp.wrapping_add(ty.bytes() as i32);
        }
    }
    let tree = cx.operand_at(offset);
    cx.set_ea(tree);
    cx.write_op(0, v);
    release(cx, ty.bytes());
}

/// `pusha`, `pushad`: the stack pointer is pushed as it was before.
pub(super) fn push_all(cx: &mut Lifter<'_>) {
    let ty = implicit_type(cx);
    let values = ALL.map(|reg| cx.gpr_part(reg, ty));
    push_values(cx, &values);
}

/// `popa`, `popad`: the saved stack pointer is skipped.
pub(super) fn pop_all(cx: &mut Lifter<'_>) {
    let ty = implicit_type(cx);
    let popped = ALL.map(|reg| match reg {
        ESP => Value::NONE,
        _ => load_above(cx, ty, (7 - u32::from(reg.0)) * ty.bytes()),
    });
    for (reg, v) in ALL.into_iter().zip(popped) {
        if reg != ESP {
            cx.set_gpr_part(reg, v);
        }
    }
    release(cx, 8 * ty.bytes());
}

/// Bits of a 32-bit value under a mask.
fn masked(cx: &mut Lifter<'_>, v: Value, mask: u32) -> Value {
    let mask = cx.b.iconst(Type::I32, u64::from(mask));
    cx.b.bin(Op::And, v, mask)
}

/// EFLAGS as `pushf` stores it.
pub(super) fn eflags_image(cx: &mut Lifter<'_>) -> Value {
    let flags = cx.flags();
    let arith = cx.b.flags_bits(flags);
    // DF is 1 or −1: only −1 has the bit.
    let df = cx.gpr_part(DF, Type::I32);
    let direction = masked(cx, df, eflag::DF);
    let rest = cx.b.get(EFLAGS_REST);
    let rest = masked(cx, rest, !(eflag::RF | eflag::VM));
    let fixed = cx.b.iconst(Type::I32, u64::from(eflag::FIXED));
    let v = cx.b.bin(Op::Or, arith, direction);
    let v = cx.b.bin(Op::Or, v, rest);
    cx.b.bin(Op::Or, v, fixed)
}

/// The bits of EFLAGS besides the arithmetic flags and DF that `popf` changes here (SDM vol. 2, table 4-16).
fn writable_flags(cx: &Lifter<'_>, ty: Type) -> u32 {
    let mut bits = eflag::USER;
    if cx.mode.in_machine() && cx.mode.allows_io() {
        bits |= eflag::IF;
    }
    if cx.mode.is_kernel() {
        bits |= eflag::IOPL;
    }
    if ty == Type::I16 { bits & 0xffff } else { bits }
}

/// Sets from `v`, 16 bits wide or more, what code may change in EFLAGS.
pub(super) fn set_eflags_image(cx: &mut Lifter<'_>, v: Value) {
    let writable = writable_flags(cx, cx.b.ty(v));
    let v = if cx.b.ty(v) == Type::I64 { cx.narrow(v, Type::I32) } else { cx.zext(v, Type::I32) };
    let flags = cx.b.bits_flags(v);
    // DF (bit 10) to bit 1: 1 − 2·DF.
    let nine = cx.b.iconst(Type::I8, 9);
    let shifted = cx.b.multi(Op::Shr, &[v, nine, Value::NONE]);
    let twice = masked(cx, shifted, 2);
    let one = cx.b.iconst(Type::I32, 1);
    let df = cx.b.bin(Op::Sub, one, twice);
    let rest = cx.b.get(EFLAGS_REST);
    let kept = masked(cx, rest, !writable);
    let new = masked(cx, v, writable);
    let rest = cx.b.bin(Op::Or, kept, new);
    let df = cx.sext(df, cx.b.table().def(DF).ty);
    cx.b.set(DF, df);
    cx.b.set(EFLAGS_REST, rest);
    cx.set_flags(flags);
}

/// `pushf`.
pub(super) fn pushf(cx: &mut Lifter<'_>) {
    let image = if is_sensitive(cx) {
        let size = cx.b.iconst(Type::I32, u64::from(implicit_type(cx).bytes()));
        cx.call(helpers::PUSHF, Type::I32, &[size])
    } else {
        eflags_image(cx)
    };
    let v = match implicit_type(cx) {
        Type::I64 => cx.zext(image, Type::I64),
        ty => cx.narrow(image, ty),
    };
    push_values(cx, &[v]);
}

/// Whether `pushf` and `popf` depend on more than the flags: in virtual-8086 mode with IOPL below 3 (SDM vol. 3,
/// 20.2.7).
fn is_sensitive(cx: &Lifter<'_>) -> bool {
    cx.mode.is_virtual() && !cx.mode.allows_io()
}

/// `popf`.
pub(super) fn popf(cx: &mut Lifter<'_>) {
    let ty = implicit_type(cx);
    let v = load_above(cx, ty, 0);
    if is_sensitive(cx) {
        let size = cx.b.iconst(Type::I32, u64::from(ty.bytes()));
        let image = cx.zext(v, Type::I32);
        cx.call(helpers::POPF, Type::None, &[image, size]);
        release(cx, ty.bytes());
        return cx.exit(ExitKind::Resync { next: cx.next });
    }
    let before = cx.b.get(EFLAGS_REST);
    release(cx, ty.bytes());
    set_eflags_image(cx, v);
    if cx.mode.in_machine() {
        notice_changes(cx, before);
    }
}

/// Leaves the region if the flags are others than before that the dispatcher looks at: those that are part of the
/// mode, and an interrupt flag that was clear.
fn notice_changes(cx: &mut Lifter<'_>, before: Value) {
    let after = cx.b.get(EFLAGS_REST);
    let changed = cx.b.bin(Op::Xor, before, after);
    let in_mode = masked(cx, changed, eflag::TF | eflag::AC);
    let set = cx.b.bin(Op::And, changed, after);
    let enabled = masked(cx, set, eflag::IF);
    let seen = cx.b.bin(Op::Or, in_mode, enabled);
    let flags = cx.test_zero(seen);
    cx.exit_if(Cond::Ne, flags, ExitKind::Resync { next: cx.next });
}

/// `enter`: a frame, with copies of the outer frames' pointers for nesting levels above 0.
pub(super) fn enter(cx: &mut Lifter<'_>) {
    let ty = implicit_type(cx);
    let bytes = ty.bytes() as i32;
    let locals = i32::from(cx.insn.immediate16());
    let level = i32::from(cx.insn.immediate8_2nd() & 31);
    let old_bp = cx.gpr_part(EBP, ty);
    store_slot(cx, -bytes, old_bp);
    let frame = frame_pointer(cx, ty);
    for i in 1..level {
        let outer = slot(cx, EBP, -i * bytes, ty.bytes(), false);
        let outer = cx.load_at(ty, outer);
        store_slot(cx, -(i + 1) * bytes, outer);
    }
    if level > 0 {
        store_slot(cx, -(level + 1) * bytes, frame);
    }
    let depth = (level + 1) * bytes + locals;
    probe(cx, ty, -depth);
    let sp = moved(cx, -i64::from(depth));
    cx.set_gpr_part(EBP, frame);
    set_pointer(cx, sp);
}

/// The frame pointer that `enter` makes: the stack pointer below the old one, in the operand size.
fn frame_pointer(cx: &mut Lifter<'_>, ty: Type) -> Value {
    let frame = moved(cx, -i64::from(ty.bytes()));
    if ty.bytes() <= cx.b.ty(frame).bytes() {
        return cx.narrow(frame, ty);
    }
    let sp = cx.b.get(ESP);
    cx.b.insert(sp, frame, 0)
}

/// Faults unless the stack can be written at the lowest address of a new frame (SDM vol. 2, ENTER). A user program's is
/// only read, which is as near as a fault gets without a write.
fn probe(cx: &mut Lifter<'_>, ty: Type, distance: i32) {
    let in_machine = cx.mode.in_machine();
    let slot = slot(cx, ESP, distance, ty.bytes(), in_machine);
    if in_machine {
        let zero = cx.b.iconst(ty, 0);
        cx.b.atomic(Op::Fetch, AtomicOp::Or, slot, zero);
    } else {
        cx.load_at(ty, slot);
    }
}

/// `leave`.
pub(super) fn leave(cx: &mut Lifter<'_>) {
    let ty = implicit_type(cx);
    let saved = slot(cx, EBP, 0, ty.bytes(), false);
    let saved = cx.load_at(ty, saved);
    let bp = cx.gpr_part(EBP, pointer_type(cx));
    let sp = cx.add_const(bp, i64::from(ty.bytes()));
    set_pointer(cx, sp);
    cx.set_gpr_part(EBP, saved);
}
