//! Instructions between MMX and SSE registers, masked stores, and the end of MMX code.

use super::Lifter;
use super::segmentation::Piece;
use super::simd::{source, vector_type};
use super::x87;
use crate::state;
use iced_x86::{Instruction, Mnemonic, OpKind};
use isamorph_ir::{Addr, Lane, Op, Type, Value, X87Op};

/// Lifts the instruction if it is one of these.
pub(super) fn lift(cx: &mut Lifter<'_>, insn: &Instruction) -> bool {
    use Mnemonic as M;
    match insn.mnemonic() {
        M::Emms => x87::operate(cx, X87Op::Emms, 0),
        M::Movq2dq | M::Movdq2q => resize(cx, insn),
        M::Cvtpi2ps => from_integers(cx, insn, Lane::F32),
        M::Cvtpi2pd => from_integers(cx, insn, Lane::F64),
        M::Cvtps2pi => to_integers(cx, insn, Op::FToIntPacked, Lane::F32),
        M::Cvttps2pi => to_integers(cx, insn, Op::FToIntPackedTrunc, Lane::F32),
        M::Cvtpd2pi => to_integers(cx, insn, Op::FToIntPacked, Lane::F64),
        M::Cvttpd2pi => to_integers(cx, insn, Op::FToIntPackedTrunc, Lane::F64),
        M::Maskmovq | M::Maskmovdqu => masked_store(cx, insn),
        _ => return false,
    }
    true
}

fn resize(cx: &mut Lifter<'_>, insn: &Instruction) {
    let dst = insn.op0_register();
    let value = cx.reg(insn.op1_register());
    let value = cx.b.convert(Op::VResize, vector_type(dst), &[value]);
    cx.set_reg(dst, value);
}

/// CVTPI2PS keeps the high half of its destination; CVTPI2PD fills all of it.
fn from_integers(cx: &mut Lifter<'_>, insn: &Instruction, lane: Lane) {
    let dst = insn.op0_register();
    let src = if cx.is_mem(1) {
        source(cx, insn, Type::V128)
    } else {
        let value = cx.reg(insn.op1_register());
        cx.b.convert(Op::VResize, Type::V128, &[value])
    };
    let mut result = cx.b.vec(Op::FFromIntPacked, lane, &[src], 0);
    if lane == Lane::F32 {
        let old = cx.reg(dst);
        result = cx.b.vec(Op::VMoveLane, Lane::I64, &[old, result], 0);
    }
    cx.set_reg(dst, result);
}

fn to_integers(cx: &mut Lifter<'_>, insn: &Instruction, op: Op, lane: Lane) {
    let dst = insn.op0_register();
    let mut src = source(cx, insn, Type::V128);
    if lane == Lane::F32 && !cx.is_mem(1) {
        // The two high lanes must not raise exceptions; 0 converts exactly.
        src = cx.b.un(Op::VZeroUpper, src);
    }
    let pair = cx.b.vec(op, lane, &[src], 0);
    let result = cx.b.convert(Op::VResize, vector_type(dst), &[pair]);
    cx.set_reg(dst, result);
}

/// MASKMOVQ and MASKMOVDQU: the bytes whose mask byte is negative go to DS:EDI. Done in pieces of 8 bytes: when a
/// piece faults, the repeated instruction stores the ones before it again, which changes nothing.
fn masked_store(cx: &mut Lifter<'_>, insn: &Instruction) {
    let (data, mask) = (cx.reg(insn.op1_register()), cx.reg(insn.op2_register()));
    let bits = cx.b.vec_to(Op::VMoveMask, Type::I32, Lane::I8, &[mask], 0);
    let width = match insn.op0_kind() {
        OpKind::MemorySegDI => Type::I16,
        OpKind::MemorySegEDI => Type::I32,
        _ => Type::I64,
    };
    let offset = cx.gpr_part(state::EDI, width);
    let base = cx.zext(offset, cx.b.table().addr_type());
    let piece = Piece { segment: insn.memory_segment(), bytes: cx.b.ty(data).bytes(), write: true };
    let at = cx.in_segment(piece, Addr::base(base));
    masked_piece(cx, at, data, bits);
    if cx.b.ty(data) == Type::V128 {
        let high = cx.b.vec(Op::VShrBytes, Lane::I8, &[data], 8);
        let bits = cx.b.field(Type::I8, bits, 8);
        let bits = cx.zext(bits, Type::I32);
        masked_piece(cx, Addr { disp: 8, ..at }, high, bits);
    }
}

fn masked_piece(cx: &mut Lifter<'_>, at: Addr, data: Value, bits: Value) {
    let index = cx.b.addr(at);
    let ty = cx.b.table().addr_type();
    let addr = cx.b.lea(ty, index);
    let data = cx.b.convert(Op::VToInt, Type::I64, &[data]);
    cx.masked_store(addr, data, bits);
}
