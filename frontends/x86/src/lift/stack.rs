//! The stack (SDM vol. 1, 6.2): every form of push and pop, frames, EFLAGS.

use super::operand::is_segment;
use super::{Lifter, segment};
use crate::state::{DF, EBP, EFLAGS_REST, ESP, eflag};
use iced_x86::{Code, OpKind, Register};
use isamorph_ir::{Addr, Op, RegId, Type, Value};

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

/// Stores `v` below the stack pointer; does not move it.
pub(super) fn store_below(cx: &mut Lifter<'_>, v: Value) -> Value {
    let bytes = cx.b.ty(v).bytes();
    let sp = cx.b.get(ESP);
    let slot = cx.b.addr(Addr::offset(sp, -(bytes as i32)));
    cx.store_at(slot, v);
    cx.add_const(sp, -i64::from(bytes))
}

/// Pushes a value.
pub(super) fn push_value(cx: &mut Lifter<'_>, v: Value) {
    let sp = store_below(cx, v);
    cx.b.set(ESP, sp);
}

/// Loads the value at `offset` above the stack pointer.
pub(super) fn load_above(cx: &mut Lifter<'_>, ty: Type, offset: u32) -> Value {
    let sp = cx.b.get(ESP);
    let slot = cx.b.addr(Addr::offset(sp, offset as i32));
    cx.load_at(ty, slot)
}

/// Moves the stack pointer up.
pub(super) fn release(cx: &mut Lifter<'_>, bytes: u32) {
    let sp = cx.b.get(ESP);
    let sp = cx.add_const(sp, i64::from(bytes));
    cx.b.set(ESP, sp);
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
    push_value(cx, v);
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
        return release(cx, ty.bytes());
    }
    let ty = cx.op_type(0);
    let v = load_above(cx, ty, 0);
    release(cx, ty.bytes());
    cx.write_op(0, v);
}

fn pop_to_memory(cx: &mut Lifter<'_>) {
    let ty = cx.op_type(0);
    let v = load_above(cx, ty, 0);
    let mut tree = cx.memory_operand();
    if matches!(cx.insn.memory_base(), Register::ESP | Register::RSP) {
        if cx.has_narrow_address() {
            let moved = cx.narrow(tree.base, Type::I32);
            let moved = cx.add_const(moved, i64::from(ty.bytes()));
            tree.base = cx.zext(moved, cx.b.table().addr_type());
        } else {
            tree.disp = tree.disp.wrapping_add(ty.bytes() as i32);
        }
    }
    cx.set_ea(tree);
    cx.write_op(0, v);
    release(cx, ty.bytes());
}

/// `pusha`, `pushad`: the stack pointer is pushed as it was before.
pub(super) fn push_all(cx: &mut Lifter<'_>) {
    let ty = implicit_type(cx);
    let sp = cx.b.get(ESP);
    for (i, reg) in ALL.into_iter().enumerate() {
        let v = cx.gpr_part(reg, ty);
        let slot = cx.b.addr(Addr::offset(sp, -((i as i32 + 1) * ty.bytes() as i32)));
        cx.store_at(slot, v);
    }
    let sp = cx.add_const(sp, -i64::from(8 * ty.bytes()));
    cx.b.set(ESP, sp);
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

/// Sets from `v`, 16 bits wide or more, what user code may change in EFLAGS (SDM vol. 2, table 4-16).
pub(super) fn set_eflags_image(cx: &mut Lifter<'_>, v: Value) {
    let user = if cx.b.ty(v) == Type::I16 { eflag::USER & 0xffff } else { eflag::USER };
    let v = if cx.b.ty(v) == Type::I64 { cx.narrow(v, Type::I32) } else { cx.zext(v, Type::I32) };
    let flags = cx.b.bits_flags(v);
    // DF (bit 10) to bit 1: 1 − 2·DF.
    let nine = cx.b.iconst(Type::I8, 9);
    let shifted = cx.b.multi(Op::Shr, &[v, nine, Value::NONE]);
    let twice = masked(cx, shifted, 2);
    let one = cx.b.iconst(Type::I32, 1);
    let df = cx.b.bin(Op::Sub, one, twice);
    let rest = cx.b.get(EFLAGS_REST);
    let kept = masked(cx, rest, !user);
    let new = masked(cx, v, user);
    let rest = cx.b.bin(Op::Or, kept, new);
    let df = cx.sext(df, cx.b.table().def(DF).ty);
    cx.b.set(DF, df);
    cx.b.set(EFLAGS_REST, rest);
    cx.set_flags(flags);
}

/// `pushf`.
pub(super) fn pushf(cx: &mut Lifter<'_>) {
    let image = eflags_image(cx);
    let v = match implicit_type(cx) {
        Type::I64 => cx.zext(image, Type::I64),
        ty => cx.narrow(image, ty),
    };
    push_value(cx, v);
}

/// `popf`.
pub(super) fn popf(cx: &mut Lifter<'_>) {
    let ty = implicit_type(cx);
    let v = load_above(cx, ty, 0);
    release(cx, ty.bytes());
    set_eflags_image(cx, v);
}

/// `enter`: a frame, with copies of the outer frames' pointers for nesting levels above 0.
pub(super) fn enter(cx: &mut Lifter<'_>) {
    let ty = implicit_type(cx);
    let bytes = ty.bytes() as i32;
    let locals = i32::from(cx.insn.immediate16());
    let level = i32::from(cx.insn.immediate8_2nd() & 31);
    let sp = cx.b.get(ESP);
    let bp = cx.b.get(EBP);
    let store = |cx: &mut Lifter<'_>, slot: i32, v| {
        let slot = cx.b.addr(Addr::offset(sp, -slot * bytes));
        cx.store_at(slot, v);
    };
    let old_bp = cx.narrow(bp, ty);
    store(cx, 1, old_bp);
    let frame = cx.add_const(sp, -i64::from(bytes));
    for i in 1..level {
        let outer = cx.b.addr(Addr::offset(bp, -i * bytes));
        let outer = cx.load_at(ty, outer);
        store(cx, i + 1, outer);
    }
    if level > 0 {
        let link = cx.narrow(frame, ty);
        store(cx, level + 1, link);
    }
    // The lowest address of the new frame must be writable (SDM vol. 2, ENTER); reading is as near as a fault gets.
    let depth = (level + 1) * bytes + locals;
    let lowest = cx.b.addr(Addr::offset(sp, -depth));
    cx.load_at(ty, lowest);
    let sp = cx.add_const(sp, -i64::from(depth));
    let frame = cx.narrow(frame, ty);
    cx.set_gpr_part(EBP, frame);
    cx.b.set(ESP, sp);
}

/// `leave`.
pub(super) fn leave(cx: &mut Lifter<'_>) {
    let ty = implicit_type(cx);
    let bp = cx.b.get(EBP);
    let saved = cx.b.addr(Addr::base(bp));
    let saved = cx.load_at(ty, saved);
    let sp = cx.add_const(bp, i64::from(ty.bytes()));
    cx.b.set(ESP, sp);
    cx.set_gpr_part(EBP, saved);
}
