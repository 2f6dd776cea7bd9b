//! Moves, extensions, exchanges, conditional moves and sets.

use super::operand::{is_segment, type_of_bytes};
use super::single::Shadow;
use super::{Lifter, segment};
use crate::exception;
use crate::state::{EAX, EBX, EDX};
use iced_x86::{OpKind, Register};
use isamorph_ir::{Addr, AtomicOp, Cond, FlagSet, MemAttr, Op, Type, Value};

/// `mov`, including segment registers; control and debug registers are privileged.
pub(super) fn mov(cx: &mut Lifter<'_>) {
    let [dst, src] = [0, 1].map(|n| match cx.insn.op_kind(n) {
        OpKind::Register => cx.insn.op_register(n),
        _ => Register::None,
    });
    if is_privileged(dst) || is_privileged(src) {
        return cx.raise(exception::GP, 0);
    }
    if is_segment(dst) {
        let selector = cx.read_op(1);
        let selector = cx.narrow(selector, Type::I16);
        segment::load(cx, dst, selector);
        if dst == Register::SS {
            cx.cast_shadow(Shadow::Traps);
        }
        return segment::finish_load(cx);
    }
    let v = cx.read_op(1);
    // A selector is zero-extended to a register, but stored in 16 bits.
    let v = if is_segment(src) && cx.is_reg(0) { cx.zext(v, cx.op_type(0)) } else { v };
    cx.write_op(0, v);
}

/// Whether this is a control, debug or test register.
fn is_privileged(r: Register) -> bool {
    [(Register::CR0, Register::CR15), (Register::DR0, Register::DR15), (Register::TR0, Register::TR7)]
        .into_iter()
        .any(|(first, last)| (first..=last).contains(&r))
}

/// `movzx`, `movsx`, `movsxd`.
pub(super) fn extend(cx: &mut Lifter<'_>, signed: bool) {
    let ty = cx.op_type(0);
    let v = if cx.is_mem(1) {
        let mem = MemAttr::new(cx.op_type(1).bytes());
        let ea = cx.ea();
        cx.check_alignment(ea, mem.bytes());
        cx.b.load(ty, if signed { mem.signed() } else { mem }, ea)
    } else {
        let src = cx.read_op(1);
        if signed { cx.sext(src, ty) } else { cx.zext(src, ty) }
    };
    cx.write_op(0, v);
}

/// `lea`: the offset, without the segment's base.
pub(super) fn lea(cx: &mut Lifter<'_>) {
    let tree = cx.memory_offset();
    let ty = cx.op_type(0);
    let v = if tree.base.is_none() && tree.index.is_none() {
        cx.b.iconst(ty, tree.disp as u64)
    } else if tree.disp == 0 && tree.index.is_none() {
        match cx.b.region().const_bits(tree.base) {
            Some(bits) => cx.b.iconst(ty, bits),
            None => cx.narrow(tree.base, ty),
        }
    } else {
        let tree = cx.b.addr(tree);
        cx.b.lea(ty, tree)
    };
    cx.write_op(0, v);
}

/// `xchg`: with memory it is always locked.
pub(super) fn xchg(cx: &mut Lifter<'_>) {
    let memory = if cx.is_mem(0) { 0 } else { 1 };
    if cx.is_mem(memory) {
        let new = cx.read_op(1 - memory);
        let ea = cx.ea();
        let old = cx.b.atomic(Op::Fetch, AtomicOp::Xchg, ea, new);
        return cx.write_op(1 - memory, old);
    }
    let a = cx.read_op(0);
    let b = cx.read_op(1);
    cx.write_op(0, b);
    cx.write_op(1, a);
}

/// `cbw`, `cwde`, `cdqe`: sign-extends the accumulator's half.
pub(super) fn sign_extend_acc(cx: &mut Lifter<'_>, from: Type) {
    let to = type_of_bytes(2 * from.bytes());
    let half = cx.gpr_part(EAX, from);
    let v = cx.sext(half, to);
    cx.set_gpr_part(EAX, v);
}

/// `cwd`, `cdq`, `cqo`: fills the data register with the accumulator's sign.
pub(super) fn spread_sign(cx: &mut Lifter<'_>, ty: Type) {
    let acc = cx.gpr_part(EAX, ty);
    let count = cx.b.iconst(Type::I8, u64::from(ty.bits() - 1));
    let sign = cx.b.multi(Op::Sar, &[acc, count, Value::NONE]);
    cx.set_gpr_part(EDX, sign);
}

/// `xlat`: AL = table\[AL\].
pub(super) fn xlat(cx: &mut Lifter<'_>) {
    let addr_ty = cx.b.table().addr_type();
    let al = cx.gpr_part(EAX, Type::I8);
    let width = cx.address_width();
    let offset = if cx.has_narrow_address() {
        let bx = cx.gpr_part(EBX, width);
        let al = cx.zext(al, width);
        let sum = cx.b.bin(Op::Add, bx, al);
        Addr::base(cx.zext(sum, addr_ty))
    } else {
        let index = cx.zext(al, addr_ty);
        Addr { index, ..Addr::base(cx.b.get(EBX)) }
    };
    let addr = cx.operand_at(offset);
    cx.set_ea(addr);
    let v = cx.load_ea(Type::I8);
    cx.set_gpr_part(EAX, v);
}

/// `setcc`.
pub(super) fn setcc(cx: &mut Lifter<'_>, cond: Cond) {
    let flags = cx.flags();
    let v = cx.b.setcc(cond, flags);
    cx.write_op(0, v);
}

/// `cmovcc`: the source is read in either case.
pub(super) fn cmov(cx: &mut Lifter<'_>, cond: Cond) {
    let src = cx.read_op(1);
    let dst = cx.read_op(0);
    let flags = cx.flags();
    let v = cx.b.select(cond, flags, src, dst);
    cx.write_op(0, v);
}

/// `salc` (undocumented): AL = carry ? −1 : 0.
pub(super) fn salc(cx: &mut Lifter<'_>) {
    let flags = cx.flags();
    let carry = cx.b.setcc(Cond::B, flags);
    let v = cx.b.un(Op::Neg, carry);
    cx.set_gpr_part(EAX, v);
}

/// The flags in the low byte of EFLAGS, besides O.
const LOW_FLAGS: u32 = FlagSet::all().difference(FlagSet::O).bits();

/// `lahf`.
pub(super) fn lahf(cx: &mut Lifter<'_>) {
    let flags = cx.flags();
    let bits = cx.b.flags_bits(flags);
    let low = cx.narrow(bits, Type::I8);
    let fixed = cx.b.iconst(Type::I8, 2);
    let ah = cx.b.bin(Op::Or, low, fixed);
    cx.set_reg(Register::AH, ah);
}

/// `sahf`: O stays.
pub(super) fn sahf(cx: &mut Lifter<'_>) {
    let flags = cx.flags();
    let old = cx.b.flags_bits(flags);
    let overflow = cx.b.iconst(Type::I32, u64::from(FlagSet::O.bits()));
    let kept = cx.b.bin(Op::And, old, overflow);
    let ah = cx.reg(Register::AH);
    let ah = cx.zext(ah, Type::I32);
    let low = cx.b.iconst(Type::I32, u64::from(LOW_FLAGS));
    let new = cx.b.bin(Op::And, ah, low);
    let bits = cx.b.bin(Op::Or, new, kept);
    let flags = cx.b.bits_flags(bits);
    cx.set_flags(flags);
}
