//! A32 branches, status registers, hints, exceptions.

use super::{Lifter, alu, branch, status};
use crate::cpu::Arch;
use crate::decode::a32::*;

/// A signed offset in words.
fn offset(imm24: u32) -> i32 {
    (imm24 << 8) as i32 >> 6
}

pub(super) fn branch(cx: &mut Lifter<'_>, a: &Branch) {
    let target = cx.pc_value().wrapping_add_signed(offset(a.imm24));
    if a.link != 0 {
        branch::call(cx, target, false);
    } else {
        branch::direct(cx, target, false);
    }
}

pub(super) fn bx(cx: &mut Lifter<'_>, a: &Bx) {
    branch::bx(cx, a.rm);
}

pub(super) fn bxj(cx: &mut Lifter<'_>, a: &Bxj) {
    branch::bx(cx, a.rm);
}

pub(super) fn blx(cx: &mut Lifter<'_>, a: &Blx) {
    if cx.require(a.rm != 15) {
        branch::call_indirect(cx, a.rm);
    }
}

pub(super) fn bkpt(cx: &mut Lifter<'_>, a: &Bkpt) {
    status::bkpt(cx, a.imm);
}

pub(super) fn svc(cx: &mut Lifter<'_>, a: &Svc) {
    status::svc(cx, a.imm24);
}

pub(super) fn udf(cx: &mut Lifter<'_>, _: &Udf) {
    cx.undefined();
}

pub(super) fn mrs(cx: &mut Lifter<'_>, a: &Mrs) {
    if cx.require(a.rd != 15) {
        status::mrs(cx, a.r != 0, a.rd);
    }
}

pub(super) fn msr_reg(cx: &mut Lifter<'_>, a: &MsrReg) {
    if cx.require(a.mask != 0) {
        let value = cx.reg(a.rn);
        status::msr(cx, a.r != 0, a.mask, value);
    }
}

pub(super) fn msr_imm(cx: &mut Lifter<'_>, a: &MsrImm) {
    if cx.require(a.mask != 0) {
        let operand = alu::a32_immediate(cx, a.imm12);
        status::msr(cx, a.r != 0, a.mask, operand.value);
    }
}

/// NOP, YIELD, WFE, WFI, SEV, DBG: to User mode, all of them nothing.
pub(super) fn hint(cx: &mut Lifter<'_>, _: &Hint) {
    cx.needs(Arch::V6);
}
