//! The 16-bit Thumb instructions. Most set the flags outside IT blocks, and leave them alone inside.

use super::alu::{self, Alu};
use super::bits::{Part, Reverse};
use super::memory::{self, Access, Offset, place};
use super::multiple::{self, Multiple};
use super::shift::{self, Shifted};
use super::{Lifter, bits, branch, multiply, status};
use crate::cpu::Arch;
use crate::decode::t16::*;
use isamorph_ir::Op;

pub(super) fn shift_imm(cx: &mut Lifter<'_>, a: &ShiftImm) {
    let m = cx.reg(a.rm);
    let operand = shift::by_constant(cx, m, a.kind, a.imm5);
    let s = !cx.in_it();
    alu::data(cx, Alu::Mov, s, a.rd, 0, operand);
}

pub(super) fn add_sub_reg(cx: &mut Lifter<'_>, a: &AddSubReg) {
    let m = cx.reg(a.rm);
    let s = !cx.in_it();
    alu::data(cx, if a.sub != 0 { Alu::Sub } else { Alu::Add }, s, a.rd, a.rn, Shifted::plain(m));
}

pub(super) fn add_sub_imm3(cx: &mut Lifter<'_>, a: &AddSubImm3) {
    let imm = alu::immediate(cx, a.imm3, false);
    let s = !cx.in_it();
    alu::data(cx, if a.sub != 0 { Alu::Sub } else { Alu::Add }, s, a.rd, a.rn, imm);
}

pub(super) fn imm8_ops(cx: &mut Lifter<'_>, a: &Imm8Ops) {
    let imm = alu::immediate(cx, a.imm8, false);
    let alu = [Alu::Mov, Alu::Cmp, Alu::Add, Alu::Sub][a.op as usize];
    let s = alu == Alu::Cmp || !cx.in_it();
    alu::data(cx, alu, s, a.rd, a.rd, imm);
}

pub(super) fn data(cx: &mut Lifter<'_>, a: &Data) {
    let s = !cx.in_it();
    let m = cx.reg(a.rm);
    let plain = Shifted::plain(m);
    let alu = match a.op {
        2..=4 | 7 => {
            // LSL, LSR, ASR, ROR by a register.
            let (value, kind) = (cx.reg(a.rd), if a.op == 7 { 3 } else { a.op - 2 });
            let operand = shift::by_register(cx, value, kind, m, s);
            return alu::data(cx, Alu::Mov, s, a.rd, 0, operand);
        }
        9 => {
            // RSB with 0.
            let zero = alu::immediate(cx, 0, false);
            return alu::data(cx, Alu::Rsb, s, a.rd, a.rm, zero);
        }
        13 => return multiply::mul(cx, s, a.rd, a.rd, a.rm),
        0 => Alu::And,
        1 => Alu::Eor,
        5 => Alu::Adc,
        6 => Alu::Sbc,
        8 => Alu::Tst,
        10 => Alu::Cmp,
        11 => Alu::Cmn,
        12 => Alu::Orr,
        14 => Alu::Bic,
        _ => Alu::Mvn,
    };
    alu::data(cx, alu, s, a.rd, a.rd, plain);
}

pub(super) fn add_hi(cx: &mut Lifter<'_>, a: &AddHi) {
    let m = cx.reg(a.rm);
    alu::data(cx, Alu::Add, false, a.rd, a.rd, Shifted::plain(m));
}

pub(super) fn cmp_hi(cx: &mut Lifter<'_>, a: &CmpHi) {
    let m = cx.reg(a.rm);
    alu::data(cx, Alu::Cmp, true, 0, a.rn, Shifted::plain(m));
}

pub(super) fn mov_hi(cx: &mut Lifter<'_>, a: &MovHi) {
    let m = cx.reg(a.rm);
    alu::data(cx, Alu::Mov, false, a.rd, 0, Shifted::plain(m));
}

pub(super) fn bx(cx: &mut Lifter<'_>, a: &Bx) {
    if a.rm == 15 {
        // R15 is even: on to A32 state.
        let target = cx.pc_aligned();
        return cx.exit(isamorph_ir::ExitKind::Direct { pc: u64::from(target) });
    }
    branch::bx(cx, a.rm);
}

pub(super) fn blx(cx: &mut Lifter<'_>, a: &Blx) {
    if cx.require(a.rm != 15) {
        branch::call_indirect(cx, a.rm);
    }
}

pub(super) fn ldr_lit(cx: &mut Lifter<'_>, a: &LdrLit) {
    single(cx, LOAD, a.rt, 15, Offset::Const(4 * a.imm8 as i32));
}

const LOAD: Access = Access { load: true, bytes: 4, signed: false };

fn single(cx: &mut Lifter<'_>, access: Access, rt: u32, rn: u32, offset: Offset) {
    let place = place(cx, rn, offset, true, false);
    memory::single(cx, access, rt, place);
}

pub(super) fn ldst_reg(cx: &mut Lifter<'_>, a: &LdstReg) {
    let (load, bytes, signed) = match a.op {
        0 => (false, 4, false),
        1 => (false, 2, false),
        2 => (false, 1, false),
        3 => (true, 1, true),
        4 => (true, 4, false),
        5 => (true, 2, false),
        6 => (true, 1, false),
        _ => (true, 2, true),
    };
    let offset = Offset::Reg { rm: a.rm, kind: 0, amount: 0, add: true };
    single(cx, Access { load, bytes, signed }, a.rt, a.rn, offset);
}

pub(super) fn ldst_imm(cx: &mut Lifter<'_>, a: &LdstImm) {
    let bytes = if a.b != 0 { 1 } else { 4 };
    let access = Access { load: a.l != 0, bytes, signed: false };
    single(cx, access, a.rt, a.rn, Offset::Const((bytes * a.imm5) as i32));
}

pub(super) fn ldst_half(cx: &mut Lifter<'_>, a: &LdstHalf) {
    let access = Access { load: a.l != 0, bytes: 2, signed: false };
    single(cx, access, a.rt, a.rn, Offset::Const(2 * a.imm5 as i32));
}

pub(super) fn ldst_sp(cx: &mut Lifter<'_>, a: &LdstSp) {
    let access = Access { load: a.l != 0, ..LOAD };
    single(cx, access, a.rt, 13, Offset::Const(4 * a.imm8 as i32));
}

pub(super) fn adr(cx: &mut Lifter<'_>, a: &Adr) {
    let address = cx.pc_aligned().wrapping_add(4 * a.imm8);
    let value = cx.int(address);
    cx.set_reg(a.rd, value);
}

pub(super) fn add_sp_reg(cx: &mut Lifter<'_>, a: &AddSpReg) {
    let sp = cx.reg(13);
    let value = cx.bin_const(Op::Add, sp, 4 * a.imm8);
    cx.set_reg(a.rd, value);
}

pub(super) fn add_sub_sp(cx: &mut Lifter<'_>, a: &AddSubSp) {
    let sp = cx.reg(13);
    let value = cx.bin_const(if a.sub != 0 { Op::Sub } else { Op::Add }, sp, 4 * a.imm7);
    cx.set_reg(13, value);
}

pub(super) fn cbz(cx: &mut Lifter<'_>, a: &Cbz) {
    if cx.needs(Arch::V6T2) && cx.require(cx.mode.it == 0) {
        let target = cx.pc_value().wrapping_add(2 * a.imm);
        branch::compare_zero(cx, a.rn, a.nz != 0, target);
    }
}

pub(super) fn extend(cx: &mut Lifter<'_>, a: &Extend) {
    let part = if a.b != 0 { Part::Byte } else { Part::Half };
    bits::extend(cx, part, a.u != 0, a.rd, 15, a.rm, 0);
}

pub(super) fn push(cx: &mut Lifter<'_>, a: &Push) {
    let list = a.list | a.lr << 14;
    multiple::lift(cx, Multiple { load: false, up: false, before: true, writeback: true, rn: 13, list });
}

pub(super) fn pop(cx: &mut Lifter<'_>, a: &Pop) {
    let list = a.list | a.pc << 15;
    multiple::lift(cx, Multiple { load: true, up: true, before: false, writeback: true, rn: 13, list });
}

pub(super) fn setend(cx: &mut Lifter<'_>, a: &Setend) {
    status::setend(cx, a.e != 0);
}

/// Nothing in User mode.
pub(super) fn cps(cx: &mut Lifter<'_>, _: &Cps) {
    cx.needs(Arch::V6);
}

pub(super) fn rev(cx: &mut Lifter<'_>, a: &Rev) {
    let kind = match a.op {
        0 => Reverse::Bytes,
        1 => Reverse::Halves,
        _ => Reverse::SignedHalf,
    };
    bits::reverse(cx, kind, a.rd, a.rm);
}

pub(super) fn bkpt(cx: &mut Lifter<'_>, a: &Bkpt) {
    status::bkpt(cx, a.imm8);
}

pub(super) fn it(cx: &mut Lifter<'_>, a: &It) {
    status::it(cx, a.cond, a.mask);
}

/// NOP, YIELD, WFE, WFI, SEV: to User mode, all of them nothing.
pub(super) fn hint(cx: &mut Lifter<'_>, _: &Hint) {
    cx.needs(Arch::V6T2);
}

pub(super) fn block(cx: &mut Lifter<'_>, a: &Block) {
    let load = a.l != 0;
    multiple::lift(cx, Multiple { load, up: true, before: false, writeback: true, rn: a.rn, list: a.list });
}

pub(super) fn branch_cond(cx: &mut Lifter<'_>, a: &BranchCond) {
    if cx.require(cx.mode.it == 0) {
        let target = cx.pc_value().wrapping_add_signed((a.imm8 << 24) as i32 >> 23);
        branch::conditional_branch(cx, a.cond, target);
    }
}

pub(super) fn udf(cx: &mut Lifter<'_>, _: &Udf) {
    cx.undefined();
}

pub(super) fn svc(cx: &mut Lifter<'_>, a: &Svc) {
    status::svc(cx, a.imm8);
}

pub(super) fn branch(cx: &mut Lifter<'_>, a: &Branch) {
    let target = cx.pc_value().wrapping_add_signed((a.imm11 << 21) as i32 >> 20);
    branch::direct(cx, target, true);
}
