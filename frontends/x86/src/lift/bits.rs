//! Bit tests, bit scans, byte swaps (SDM vol. 2, BT…, BSF, BSR, BSWAP).

use super::Lifter;
use iced_x86::OpKind;
use isamorph_ir::{Addr, AtomicOp, Op, Type, Value};

/// `bt`, `bts`, `btr`, `btc`: register forms and bit strings in memory.
pub(super) fn test(cx: &mut Lifter<'_>, op: Op) {
    let ty = cx.op_type(0);
    let bit_mask = u64::from(ty.bits() - 1);
    if cx.insn.op_kind(1) != OpKind::Register {
        let bit = cx.b.iconst(ty, cx.imm(1) & bit_mask);
        return apply(cx, op, bit);
    }
    let offset = cx.read_op(1);
    if cx.is_mem(0) {
        bit_string_address(cx, offset);
    }
    apply(cx, op, offset);
}

/// A register bit offset is signed and selects any operand-sized unit around the address.
fn bit_string_address(cx: &mut Lifter<'_>, offset: Value) {
    let ty = cx.b.ty(offset);
    let addr_ty = cx.b.table().addr_type();
    let shift = cx.b.iconst(Type::I8, u64::from(ty.bits().trailing_zeros()));
    let unit = cx.b.multi(Op::Sar, &[offset, shift, Value::NONE]);
    let unit = cx.sext(unit, addr_ty);
    let tree = cx.memory_offset();
    let (base, disp) = if tree.index.is_none() && !tree.base.is_none() {
        (tree.base, tree.disp)
    } else {
        let tree = cx.b.addr(tree);
        (cx.b.lea(addr_ty, tree), 0)
    };
    let scale = ty.bytes().trailing_zeros() as u8;
    let offset = Addr { base, index: unit, scale, disp, seg: Value::NONE };
    let offset = if cx.has_narrow_address() { wrapped(cx, offset) } else { offset };
    let addr = cx.operand_at(offset);
    cx.set_ea(addr);
}

/// The offset truncated to the width of the address.
fn wrapped(cx: &mut Lifter<'_>, offset: Addr) -> Addr {
    let addr_ty = cx.b.table().addr_type();
    let offset = cx.b.addr(offset);
    let offset = cx.b.lea(addr_ty, offset);
    let offset = cx.narrow(offset, cx.address_width());
    Addr::base(cx.zext(offset, addr_ty))
}

fn apply(cx: &mut Lifter<'_>, op: Op, bit: Value) {
    let flags = cx.flags();
    let result = if cx.insn.has_lock_prefix() && op != Op::Bt {
        let old = fetch(cx, op, bit);
        cx.b.multi(Op::Bt, &[old, bit, flags])
    } else {
        let dst = cx.read_op(0);
        let result = cx.b.multi(op, &[dst, bit, flags]);
        if op != Op::Bt {
            cx.write_op(0, result);
        }
        result
    };
    cx.set_flags_of(result);
}

/// Changes one bit atomically; gives the old unit.
fn fetch(cx: &mut Lifter<'_>, op: Op, bit: Value) -> Value {
    let ty = cx.b.ty(bit);
    let width_mask = cx.b.iconst(ty, u64::from(ty.bits() - 1));
    let count = cx.b.bin(Op::And, bit, width_mask);
    let count = cx.narrow(count, Type::I8);
    let one = cx.b.iconst(ty, 1);
    // A count of zero leaves the flags operand in place, which nobody reads.
    let flags = cx.flags();
    let mask = cx.b.multi(Op::Shl, &[one, count, flags]);
    let (kind, mask) = match op {
        Op::Bts => (AtomicOp::Or, mask),
        Op::Btr => (AtomicOp::And, cx.b.un(Op::Not, mask)),
        _ => (AtomicOp::Xor, mask),
    };
    let ea = cx.ea();
    cx.b.atomic(Op::Fetch, kind, ea, mask)
}

/// `bsf`, `bsr`: the destination stays when the source is zero, all 64 bits of it.
pub(super) fn scan(cx: &mut Lifter<'_>, op: Op) {
    let dst = cx.insn.op0_register();
    let mut src = cx.read_op(1);
    let mut old = cx.reg(dst);
    let wide = cx.mode.is_long() && cx.b.ty(src) == Type::I32;
    if wide {
        src = cx.zext(src, Type::I64);
        old = cx.reg(dst.full_register());
    }
    let result = cx.b.bin(op, src, old);
    cx.set_reg(if wide { dst.full_register() } else { dst }, result);
    cx.set_flags_of(result);
}

/// `popcnt`, `lzcnt`, `tzcnt`.
pub(super) fn count(cx: &mut Lifter<'_>, op: Op) {
    let src = cx.read_op(1);
    let result = cx.b.un(op, src);
    cx.write_op(0, result);
    cx.set_flags_of(result);
}

/// `bswap`; the 16-bit form is undefined and gives zero on processors.
pub(super) fn bswap(cx: &mut Lifter<'_>) {
    let v = cx.read_op(0);
    let result = if cx.b.ty(v) == Type::I16 { cx.b.iconst(Type::I16, 0) } else { cx.b.un(Op::Bswap, v) };
    cx.write_op(0, result);
}
