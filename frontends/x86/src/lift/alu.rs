//! Addition, subtraction, logic and the read-modify-write instructions built on them (SDM vol. 2).

use super::Lifter;
use crate::exception;
use crate::state::{EAX, EBX, ECX, EDX};
use iced_x86::Register;
use isamorph_ir::{AtomicOp, Cond, FlagSet, Op, Type, Value};

/// `dst = dst op src`, all flags.
pub(super) fn binary(cx: &mut Lifter<'_>, op: Op, atomic: AtomicOp) {
    let result = if cx.insn.has_lock_prefix() {
        let src = cx.read_op(1);
        let ea = cx.ea();
        cx.b.atomic(Op::Rmw, atomic, ea, src)
    } else {
        let dst = cx.read_op(0);
        let src = cx.read_op(1);
        let result = cx.b.bin(op, dst, src);
        cx.write_op(0, result);
        result
    };
    cx.set_flags_of(result);
}

/// `cmp` and `test`: only flags.
pub(super) fn compare(cx: &mut Lifter<'_>, op: Op) {
    let a = cx.read_op(0);
    let b = cx.read_op(1);
    let result = cx.b.bin(op, a, b);
    cx.set_flags_of(result);
}

/// `dst = new(dst)`. A locked form that has no atomic op of its own swaps the value in, and starts the instruction
/// again when another processor was faster; nothing was written by then.
fn update(cx: &mut Lifter<'_>, new: impl FnOnce(&mut Lifter<'_>, Value) -> Value) -> Value {
    let old = cx.read_op(0);
    let result = new(cx, old);
    if cx.insn.has_lock_prefix() {
        let ea = cx.ea();
        let seen = cx.b.cas(ea, old, result);
        let flags = cx.b.flags(seen);
        cx.repeat_if(Cond::Ne, flags);
    } else {
        cx.write_op(0, result);
    }
    result
}

/// `adc` and `sbb`.
pub(super) fn with_carry(cx: &mut Lifter<'_>, op: Op) {
    let flags = cx.flags();
    let result = update(cx, |cx, dst| {
        let src = cx.read_op(1);
        cx.b.multi(op, &[dst, src, flags])
    });
    cx.set_flags_of(result);
}

/// `neg`.
pub(super) fn negate(cx: &mut Lifter<'_>) {
    let result = update(cx, |cx, dst| cx.b.un(Op::Neg, dst));
    cx.set_flags_of(result);
}

/// `not`: no flags.
pub(super) fn complement(cx: &mut Lifter<'_>) {
    if cx.insn.has_lock_prefix() {
        let ones = cx.b.iconst(cx.op_type(0), u64::MAX);
        let ea = cx.ea();
        cx.b.atomic(Op::Rmw, AtomicOp::Xor, ea, ones);
    } else {
        let dst = cx.read_op(0);
        let result = cx.b.un(Op::Not, dst);
        cx.write_op(0, result);
    }
}

/// `inc` and `dec`: all flags but carry.
pub(super) fn step(cx: &mut Lifter<'_>, op: Op, atomic: AtomicOp) {
    let old_flags = cx.flags();
    let one = cx.b.iconst(cx.op_type(0), 1);
    let result = if cx.insn.has_lock_prefix() {
        let ea = cx.ea();
        cx.b.atomic(Op::Rmw, atomic, ea, one)
    } else {
        let dst = cx.read_op(0);
        let result = cx.b.bin(op, dst, one);
        cx.write_op(0, result);
        result
    };
    let flags = cx.b.flags_keep(result, old_flags, FlagSet::C);
    cx.set_flags(flags);
}

/// `xadd`: exchange and add.
pub(super) fn xadd(cx: &mut Lifter<'_>) {
    let src = cx.read_op(1);
    let (old, flags_of) = if cx.insn.has_lock_prefix() {
        let ea = cx.ea();
        let old = cx.b.atomic(Op::Fetch, AtomicOp::Add, ea, src);
        (old, old)
    } else {
        let dst = cx.read_op(0);
        let sum = cx.b.bin(Op::Add, dst, src);
        if cx.is_mem(0) {
            cx.write_op(0, sum);
        }
        (dst, sum)
    };
    cx.write_op(1, old);
    if cx.is_reg(0) {
        // Last, because the sum stays when both operands are the same register.
        cx.write_op(0, flags_of);
    }
    cx.set_flags_of(flags_of);
}

/// `cmpxchg`. The accumulator receives the old value in either case: when they were equal, that changes nothing.
pub(super) fn cmpxchg(cx: &mut Lifter<'_>) {
    let ty = cx.op_type(0);
    let acc = cx.gpr_part(EAX, ty);
    let src = cx.read_op(1);
    if cx.insn.has_lock_prefix() {
        let ea = cx.ea();
        let old = cx.b.cas(ea, acc, src);
        let flags = cx.b.flags(old);
        set_accumulator(cx, old, flags);
        cx.set_flags(flags);
        return;
    }
    let dst = cx.read_op(0);
    let difference = cx.b.bin(Op::Sub, acc, dst);
    let flags = cx.b.flags(difference);
    if cx.is_mem(0) {
        let new = cx.b.select(Cond::E, flags, src, dst);
        cx.write_op(0, new);
        set_accumulator(cx, dst, flags);
    } else {
        let register = cx.insn.op0_register();
        let new = replaced(cx, register, Cond::E, flags, src);
        set_accumulator(cx, dst, flags);
        let register = if cx.b.ty(new) == ty { register } else { register.full_register() };
        cx.set_reg(register, new);
    }
    cx.set_flags(flags);
}

/// The accumulator after a comparison: `seen`, which only extends it if they differ.
fn set_accumulator(cx: &mut Lifter<'_>, seen: Value, flags: Value) {
    let seen = match cx.b.ty(seen) {
        Type::I32 => replaced(cx, Register::EAX, Cond::Ne, flags, seen),
        _ => seen,
    };
    cx.set_gpr_part(EAX, seen);
}

/// A register that becomes `new` if the condition holds. In 64-bit mode that is the full register if `new` has 32 bits:
/// one that is not written is not extended either.
fn replaced(cx: &mut Lifter<'_>, register: Register, cond: Cond, flags: Value, new: Value) -> Value {
    let wide = cx.mode.is_long() && cx.b.ty(new) == Type::I32;
    let old = cx.reg(if wide { register.full_register() } else { register });
    let new = if wide { cx.zext(new, Type::I64) } else { new };
    cx.b.select(cond, flags, new, old)
}

/// `cmpxchg8b` and `cmpxchg16b`: edx:eax against memory, ecx:ebx into it; only Z changes. The form without lock is
/// atomic too, which nobody can tell. The wide one needs an aligned operand.
pub(super) fn cmpxchg_pair(cx: &mut Lifter<'_>, half: Type) {
    let whole = if half == Type::I64 { Type::I128 } else { Type::I64 };
    if half == Type::I64 {
        check_alignment(cx, whole.bytes());
    }
    let pair = |cx: &mut Lifter<'_>, lo, hi| {
        let halves = [cx.gpr_part(lo, half), cx.gpr_part(hi, half)];
        cx.b.convert(Op::Concat, whole, &halves)
    };
    let expected = pair(cx, EAX, EDX);
    let new = pair(cx, EBX, ECX);
    let old_flags = cx.flags();
    let ea = cx.ea();
    let seen = cx.b.cas(ea, expected, new);
    let flags = cx.b.flags_keep(seen, old_flags, FlagSet::all().difference(FlagSet::Z));
    let lo = cx.narrow(seen, half);
    let hi = cx.b.field(half, seen, half.bits());
    cx.set_gpr_part(EAX, lo);
    cx.set_gpr_part(EDX, hi);
    cx.set_flags(flags);
}

/// Raises #GP unless the memory operand's address is a multiple of `bytes`.
pub(super) fn check_alignment(cx: &mut Lifter<'_>, bytes: u32) {
    let ea = cx.ea();
    let addr_ty = cx.b.table().addr_type();
    let addr = cx.b.lea(addr_ty, ea);
    let mask = cx.b.iconst(addr_ty, u64::from(bytes - 1));
    let rest = cx.b.bin(Op::And, addr, mask);
    let flags = cx.b.flags(rest);
    cx.raise_if(Cond::Ne, flags, exception::GP, 0);
}
