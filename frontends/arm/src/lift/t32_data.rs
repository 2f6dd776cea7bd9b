//! T32 data processing.

use super::alu::{self, Alu};
use super::bits::{Part, Reverse};
use super::media::{self, Range};
use super::multiply::Long;
use super::shift::{self, Shifted};
use super::{Lifter, bits, multiply};
use crate::decode::t32::*;
use isamorph_ir::Op;

/// R15, and for most instructions R13, is unpredictable as a destination.
fn writes(cx: &mut Lifter<'_>, regs: &[u32]) -> bool {
    cx.require(!regs.contains(&15))
}

fn data(cx: &mut Lifter<'_>, op: u32, s: u32, rd: u32, rn: u32, operand: Shifted) {
    let Some(alu) = Alu::of_t32(op, s != 0, rn, rd) else { return cx.undefined() };
    let compares = matches!(alu, Alu::Tst | Alu::Teq | Alu::Cmp | Alu::Cmn);
    if cx.require(rd != 15 || compares) {
        alu::data(cx, alu, s != 0, rd, rn, operand);
    }
}

pub(super) fn data_imm(cx: &mut Lifter<'_>, a: &DataImm) {
    let operand = alu::t32_immediate(cx, a.imm12);
    data(cx, a.op, a.s, a.rd, a.rn, operand);
}

pub(super) fn data_reg(cx: &mut Lifter<'_>, a: &DataReg) {
    if a.op == 6 {
        if cx.require(a.s == 0 && a.kind & 1 == 0) && writes(cx, &[a.rd]) {
            bits::pack(cx, a.kind == 2, a.rd, a.rn, a.rm, a.imm5);
        }
        return;
    }
    let m = cx.reg(a.rm);
    let operand = shift::by_constant(cx, m, a.kind, a.imm5);
    data(cx, a.op, a.s, a.rd, a.rn, operand);
}

fn wide(cx: &mut Lifter<'_>, op: Op, rd: u32, rn: u32, imm: u32) {
    if !writes(cx, &[rd]) {
        return;
    }
    let value = if rn == 15 {
        // ADR.
        let pc = cx.pc_aligned();
        let address = if op == Op::Add { pc.wrapping_add(imm) } else { pc.wrapping_sub(imm) };
        cx.int(address)
    } else {
        let n = cx.reg(rn);
        cx.bin_const(op, n, imm)
    };
    cx.set_reg(rd, value);
}

pub(super) fn add_wide(cx: &mut Lifter<'_>, a: &AddWide) {
    wide(cx, Op::Add, a.rd, a.rn, a.imm12);
}

pub(super) fn sub_wide(cx: &mut Lifter<'_>, a: &SubWide) {
    wide(cx, Op::Sub, a.rd, a.rn, a.imm12);
}

pub(super) fn movw(cx: &mut Lifter<'_>, a: &Movw) {
    if writes(cx, &[a.rd]) {
        bits::move_wide(cx, a.rd, a.imm4 << 12 | a.imm12);
    }
}

pub(super) fn movt(cx: &mut Lifter<'_>, a: &Movt) {
    if writes(cx, &[a.rd]) {
        bits::move_top(cx, a.rd, a.imm4 << 12 | a.imm12);
    }
}

pub(super) fn saturate(cx: &mut Lifter<'_>, a: &Saturate) {
    // ASR by 0 is the form for halfwords, which has a row of its own.
    if writes(cx, &[a.rd]) && cx.require(a.asr == 0 || a.imm5 != 0) {
        super::saturate::saturate(cx, a.u != 0, a.bits, a.rd, a.rn, a.asr != 0, a.imm5);
    }
}

pub(super) fn saturate16(cx: &mut Lifter<'_>, a: &Saturate16) {
    if writes(cx, &[a.rd]) {
        super::saturate::saturate16(cx, a.u != 0, a.bits, a.rd, a.rn);
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

pub(super) fn shift_reg(cx: &mut Lifter<'_>, a: &ShiftReg) {
    if writes(cx, &[a.rd]) {
        let (n, by) = (cx.reg(a.rn), cx.reg(a.rm));
        let operand = shift::by_register(cx, n, a.kind, by, a.s != 0);
        alu::data(cx, Alu::Mov, a.s != 0, a.rd, 0, operand);
    }
}

pub(super) fn extend(cx: &mut Lifter<'_>, a: &Extend) {
    let part = match a.op {
        0 => Part::Half,
        1 => Part::Bytes,
        _ => Part::Byte,
    };
    if writes(cx, &[a.rd]) {
        bits::extend(cx, part, a.u != 0, a.rd, a.rn, a.rm, a.rot);
    }
}

pub(super) fn parallel(cx: &mut Lifter<'_>, a: &Parallel) {
    let range = match a.kind {
        0 => Range::Modular,
        1 => Range::Saturating,
        _ => Range::Halving,
    };
    if writes(cx, &[a.rd]) {
        media::parallel(cx, media::Parallel::of_t32(a.op), a.u != 0, range, [a.rd, a.rn, a.rm]);
    }
}

pub(super) fn sat_add(cx: &mut Lifter<'_>, a: &SatAdd) {
    if writes(cx, &[a.rd]) {
        super::saturate::add(cx, a.op & 2 != 0, a.op & 1 != 0, a.rd, a.rn, a.rm);
    }
}

pub(super) fn reverse(cx: &mut Lifter<'_>, a: &super::super::decode::t32::Reverse) {
    let kind = [Reverse::Bytes, Reverse::Halves, Reverse::Bits, Reverse::SignedHalf][a.op as usize];
    if writes(cx, &[a.rd]) {
        bits::reverse(cx, kind, a.rd, a.rm);
    }
}

pub(super) fn sel(cx: &mut Lifter<'_>, a: &Sel) {
    if writes(cx, &[a.rd]) {
        bits::select(cx, a.rd, a.rn, a.rm);
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

pub(super) fn mla(cx: &mut Lifter<'_>, a: &Mla) {
    if !writes(cx, &[a.rd]) {
        return;
    }
    match a.ra {
        15 => multiply::mul(cx, false, a.rd, a.rn, a.rm),
        ra => multiply::mla(cx, false, a.rd, a.rn, a.rm, ra),
    }
}

pub(super) fn mls(cx: &mut Lifter<'_>, a: &Mls) {
    if writes(cx, &[a.rd, a.ra]) {
        multiply::mls(cx, a.rd, a.rn, a.rm, a.ra);
    }
}

/// R15 as an accumulator stands for none.
fn accumulator(ra: u32) -> Option<u32> {
    (ra != 15).then_some(ra)
}

pub(super) fn smla_half(cx: &mut Lifter<'_>, a: &SmlaHalf) {
    if writes(cx, &[a.rd]) {
        multiply::halves(cx, a.rd, (a.rn, a.n != 0), (a.rm, a.m != 0), accumulator(a.ra));
    }
}

pub(super) fn smlaw(cx: &mut Lifter<'_>, a: &Smlaw) {
    if writes(cx, &[a.rd]) {
        multiply::word_half(cx, a.rd, a.rn, (a.rm, a.m != 0), accumulator(a.ra));
    }
}

pub(super) fn mul_dual(cx: &mut Lifter<'_>, a: &MulDual) {
    if writes(cx, &[a.rd]) {
        multiply::dual(cx, false, a.swap != 0, a.rd, (a.rn, a.rm), a.ra);
    }
}

pub(super) fn mul_dual_sub(cx: &mut Lifter<'_>, a: &MulDualSub) {
    if writes(cx, &[a.rd]) {
        multiply::dual(cx, true, a.swap != 0, a.rd, (a.rn, a.rm), a.ra);
    }
}

pub(super) fn mul_high(cx: &mut Lifter<'_>, a: &MulHigh) {
    if writes(cx, &[a.rd]) {
        multiply::high(cx, false, a.round != 0, a.rd, (a.rn, a.rm), a.ra);
    }
}

pub(super) fn mul_high_sub(cx: &mut Lifter<'_>, a: &MulHighSub) {
    if writes(cx, &[a.rd, a.ra]) {
        multiply::high(cx, true, a.round != 0, a.rd, (a.rn, a.rm), a.ra);
    }
}

pub(super) fn usada8(cx: &mut Lifter<'_>, a: &Usada8) {
    if writes(cx, &[a.rd]) {
        media::sum_of_differences(cx, a.rd, a.rn, a.rm, a.ra);
    }
}

pub(super) fn mul_long(cx: &mut Lifter<'_>, a: &MulLong) {
    if writes(cx, &[a.hi, a.lo]) {
        let how = Long { signed: a.u == 0, accumulate: a.acc != 0, s: false };
        multiply::long(cx, how, (a.hi, a.lo), a.rn, a.rm);
    }
}

pub(super) fn divide(cx: &mut Lifter<'_>, a: &Divide) {
    if writes(cx, &[a.rd]) {
        multiply::divide(cx, a.u != 0, a.rd, a.rn, a.rm);
    }
}

pub(super) fn smlal_half(cx: &mut Lifter<'_>, a: &SmlalHalf) {
    if writes(cx, &[a.hi, a.lo]) {
        multiply::halves_long(cx, (a.hi, a.lo), (a.rn, a.n != 0), (a.rm, a.m != 0));
    }
}

pub(super) fn mul_dual_long(cx: &mut Lifter<'_>, a: &MulDualLong) {
    if writes(cx, &[a.hi, a.lo]) {
        multiply::dual_long(cx, a.sub != 0, a.swap != 0, (a.hi, a.lo), a.rn, a.rm);
    }
}

pub(super) fn umaal(cx: &mut Lifter<'_>, a: &Umaal) {
    if writes(cx, &[a.hi, a.lo]) {
        multiply::umaal(cx, (a.hi, a.lo), a.rn, a.rm);
    }
}
