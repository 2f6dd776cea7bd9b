//! A32 data processing, multiplication and media instructions.

use super::alu::{self, Alu};
use super::bits::{Part, Reverse};
use super::media::{Parallel, Range};
use super::multiply::Long;
use super::{Lifter, bits, media, multiply, saturate, shift};
use crate::decode::a32::*;

/// Without S the comparing opcodes are other instructions, those of which that exist have rows of their own.
fn is_free(op: u32, s: u32) -> bool {
    s == 0 && alu::only_flags(op)
}

pub(super) fn data_reg(cx: &mut Lifter<'_>, a: &DataReg) {
    if !cx.require(!is_free(a.op, a.s)) {
        return;
    }
    let m = cx.reg(a.rm);
    let operand = shift::by_constant(cx, m, a.kind, a.imm5);
    alu::data(cx, Alu::of_a32(a.op), a.s != 0, a.rd, a.rn, operand);
}

pub(super) fn data_shift_reg(cx: &mut Lifter<'_>, a: &DataShiftReg) {
    if !cx.require(!is_free(a.op, a.s)) {
        return;
    }
    let (m, by) = (cx.reg(a.rm), cx.reg(a.rs));
    let operand = shift::by_register(cx, m, a.kind, by, a.s != 0);
    alu::data(cx, Alu::of_a32(a.op), a.s != 0, a.rd, a.rn, operand);
}

pub(super) fn data_imm(cx: &mut Lifter<'_>, a: &DataImm) {
    if !cx.require(!is_free(a.op, a.s)) {
        return;
    }
    let operand = alu::a32_immediate(cx, a.imm12);
    let add = matches!(a.op, 2 | 4);
    if let (true, 15, 0, Some(bits)) = (add, a.rn, a.s, cx.constant(operand.value)) {
        // ADR. R15 is a multiple of 4 in A32 state.
        let pc = cx.pc_value();
        let address = if a.op == 4 { pc.wrapping_add(bits) } else { pc.wrapping_sub(bits) };
        let value = cx.int(address);
        return alu::data(cx, Alu::Mov, false, a.rd, 15, shift::Shifted::plain(value));
    }
    alu::data(cx, Alu::of_a32(a.op), a.s != 0, a.rd, a.rn, operand);
}

pub(super) fn movw(cx: &mut Lifter<'_>, a: &Movw) {
    if cx.require(a.rd != 15) {
        bits::move_wide(cx, a.rd, a.imm);
    }
}

pub(super) fn movt(cx: &mut Lifter<'_>, a: &Movt) {
    if cx.require(a.rd != 15) {
        bits::move_top(cx, a.rd, a.imm);
    }
}

/// R15 is unpredictable as the destination of what follows.
fn writes(cx: &mut Lifter<'_>, regs: &[u32]) -> bool {
    cx.require(!regs.contains(&15))
}

pub(super) fn mul(cx: &mut Lifter<'_>, a: &Mul) {
    if writes(cx, &[a.rd]) {
        multiply::mul(cx, a.s != 0, a.rd, a.rn, a.rm);
    }
}

pub(super) fn mla(cx: &mut Lifter<'_>, a: &Mla) {
    if writes(cx, &[a.rd]) {
        multiply::mla(cx, a.s != 0, a.rd, a.rn, a.rm, a.ra);
    }
}

pub(super) fn umaal(cx: &mut Lifter<'_>, a: &Umaal) {
    if writes(cx, &[a.hi, a.lo]) {
        multiply::umaal(cx, (a.hi, a.lo), a.rn, a.rm);
    }
}

pub(super) fn mls(cx: &mut Lifter<'_>, a: &Mls) {
    if writes(cx, &[a.rd]) {
        multiply::mls(cx, a.rd, a.rn, a.rm, a.ra);
    }
}

pub(super) fn mul_long(cx: &mut Lifter<'_>, a: &MulLong) {
    if writes(cx, &[a.hi, a.lo]) {
        let how = Long { signed: a.signed != 0, accumulate: a.acc != 0, s: a.s != 0 };
        multiply::long(cx, how, (a.hi, a.lo), a.rn, a.rm);
    }
}

pub(super) fn sat_add(cx: &mut Lifter<'_>, a: &SatAdd) {
    if writes(cx, &[a.rd]) {
        saturate::add(cx, a.op & 1 != 0, a.op & 2 != 0, a.rd, a.rn, a.rm);
    }
}

pub(super) fn smla_half(cx: &mut Lifter<'_>, a: &SmlaHalf) {
    if writes(cx, &[a.rd]) {
        multiply::halves(cx, a.rd, (a.rn, a.n != 0), (a.rm, a.m != 0), Some(a.ra));
    }
}

pub(super) fn smul_half(cx: &mut Lifter<'_>, a: &SmulHalf) {
    if writes(cx, &[a.rd]) {
        multiply::halves(cx, a.rd, (a.rn, a.n != 0), (a.rm, a.m != 0), None);
    }
}

pub(super) fn smlaw(cx: &mut Lifter<'_>, a: &Smlaw) {
    if writes(cx, &[a.rd]) {
        multiply::word_half(cx, a.rd, a.rn, (a.rm, a.m != 0), Some(a.ra));
    }
}

pub(super) fn smulw(cx: &mut Lifter<'_>, a: &Smulw) {
    if writes(cx, &[a.rd]) {
        multiply::word_half(cx, a.rd, a.rn, (a.rm, a.m != 0), None);
    }
}

pub(super) fn smlal_half(cx: &mut Lifter<'_>, a: &SmlalHalf) {
    if writes(cx, &[a.hi, a.lo]) {
        multiply::halves_long(cx, (a.hi, a.lo), (a.rn, a.n != 0), (a.rm, a.m != 0));
    }
}

pub(super) fn clz(cx: &mut Lifter<'_>, a: &Clz) {
    if writes(cx, &[a.rd]) {
        bits::clz(cx, a.rd, a.rm);
    }
}

pub(super) fn crc32(cx: &mut Lifter<'_>, a: &Crc32) {
    if writes(cx, &[a.rd]) {
        bits::crc(cx, a.c != 0, a.size, a.rd, a.rn, a.rm);
    }
}

pub(super) fn parallel(cx: &mut Lifter<'_>, a: &super::super::decode::a32::Parallel) {
    let range = match a.kind & 3 {
        1 => Range::Modular,
        2 => Range::Saturating,
        3 => Range::Halving,
        _ => return cx.undefined(),
    };
    if writes(cx, &[a.rd]) {
        media::parallel(cx, Parallel::of_a32(a.op), a.kind & 4 != 0, range, [a.rd, a.rn, a.rm]);
    }
}

pub(super) fn pkh(cx: &mut Lifter<'_>, a: &Pkh) {
    if writes(cx, &[a.rd]) {
        bits::pack(cx, a.tb != 0, a.rd, a.rn, a.rm, a.imm5);
    }
}

pub(super) fn extend(cx: &mut Lifter<'_>, a: &Extend) {
    let part = match a.op {
        0 => Part::Bytes,
        2 => Part::Byte,
        _ => Part::Half,
    };
    if writes(cx, &[a.rd]) {
        bits::extend(cx, part, a.u != 0, a.rd, a.rn, a.rm, a.rot);
    }
}

pub(super) fn saturate(cx: &mut Lifter<'_>, a: &Saturate) {
    if writes(cx, &[a.rd]) {
        super::saturate::saturate(cx, a.u != 0, a.bits, a.rd, a.rn, a.asr != 0, a.imm5);
    }
}

pub(super) fn saturate16(cx: &mut Lifter<'_>, a: &Saturate16) {
    if writes(cx, &[a.rd]) {
        super::saturate::saturate16(cx, a.u != 0, a.bits, a.rd, a.rn);
    }
}

pub(super) fn sel(cx: &mut Lifter<'_>, a: &Sel) {
    if writes(cx, &[a.rd]) {
        bits::select(cx, a.rd, a.rn, a.rm);
    }
}

fn reverse(cx: &mut Lifter<'_>, kind: Reverse, rd: u32, rm: u32) {
    if writes(cx, &[rd]) {
        bits::reverse(cx, kind, rd, rm);
    }
}

pub(super) fn rev(cx: &mut Lifter<'_>, a: &Rev) {
    reverse(cx, Reverse::Bytes, a.rd, a.rm);
}

pub(super) fn rev16(cx: &mut Lifter<'_>, a: &Rev16) {
    reverse(cx, Reverse::Halves, a.rd, a.rm);
}

pub(super) fn rbit(cx: &mut Lifter<'_>, a: &Rbit) {
    reverse(cx, Reverse::Bits, a.rd, a.rm);
}

pub(super) fn revsh(cx: &mut Lifter<'_>, a: &Revsh) {
    reverse(cx, Reverse::SignedHalf, a.rd, a.rm);
}

pub(super) fn mul_dual(cx: &mut Lifter<'_>, a: &MulDual) {
    if writes(cx, &[a.rd]) {
        multiply::dual(cx, a.sub != 0, a.swap != 0, a.rd, (a.rn, a.rm), a.ra);
    }
}

pub(super) fn mul_dual_long(cx: &mut Lifter<'_>, a: &MulDualLong) {
    if writes(cx, &[a.hi, a.lo]) {
        multiply::dual_long(cx, a.sub != 0, a.swap != 0, (a.hi, a.lo), a.rn, a.rm);
    }
}

pub(super) fn mul_high(cx: &mut Lifter<'_>, a: &MulHigh) {
    if writes(cx, &[a.rd]) {
        multiply::high(cx, false, a.round != 0, a.rd, (a.rn, a.rm), a.ra);
    }
}

pub(super) fn mul_high_sub(cx: &mut Lifter<'_>, a: &MulHighSub) {
    if writes(cx, &[a.rd]) {
        multiply::high(cx, true, a.round != 0, a.rd, (a.rn, a.rm), a.ra);
    }
}

pub(super) fn divide(cx: &mut Lifter<'_>, a: &Divide) {
    if writes(cx, &[a.rd]) {
        multiply::divide(cx, a.u != 0, a.rd, a.rn, a.rm);
    }
}

pub(super) fn usada8(cx: &mut Lifter<'_>, a: &Usada8) {
    if writes(cx, &[a.rd]) {
        media::sum_of_differences(cx, a.rd, a.rn, a.rm, a.ra);
    }
}

pub(super) fn bit_extract(cx: &mut Lifter<'_>, a: &BitExtract) {
    if writes(cx, &[a.rd]) {
        bits::extract(cx, a.u != 0, a.rd, a.rn, a.lsb, a.widthm1);
    }
}

pub(super) fn bit_insert(cx: &mut Lifter<'_>, a: &BitInsert) {
    if writes(cx, &[a.rd]) {
        bits::insert(cx, a.rd, a.rn, a.lsb, a.msb);
    }
}
