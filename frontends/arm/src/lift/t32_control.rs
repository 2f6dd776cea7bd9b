//! T32 branches and miscellaneous control.

use super::{Lifter, branch, exclusive, status};
use crate::cpu::Arch;
use crate::decode::t32::*;

/// The offset of the long forms: I1 and I2 are the complements of J1 and J2 exclusive-ored with the sign.
fn long_offset(s: u32, j1: u32, j2: u32, low: u32) -> i32 {
    let (i1, i2) = (1 ^ j1 ^ s, 1 ^ j2 ^ s);
    ((s << 31 | i1 << 30 | i2 << 29 | low << 7) as i32) >> 7
}

pub(super) fn branch_cond(cx: &mut Lifter<'_>, a: &BranchCond) {
    if cx.require(cx.mode.it == 0) {
        let offset = (a.s << 31 | a.j2 << 30 | a.j1 << 29 | a.imm6 << 23 | a.imm11 << 12) as i32 >> 11;
        let target = cx.pc_value().wrapping_add_signed(offset);
        branch::conditional_branch(cx, a.cond, target);
    }
}

pub(super) fn branch(cx: &mut Lifter<'_>, a: &Branch) {
    let target = cx.pc_value().wrapping_add_signed(long_offset(a.s, a.j1, a.j2, a.imm10 << 12 | a.imm11 << 1));
    branch::direct(cx, target, true);
}

pub(super) fn bl(cx: &mut Lifter<'_>, a: &Bl) {
    let target = cx.pc_value().wrapping_add_signed(long_offset(a.s, a.j1, a.j2, a.imm10 << 12 | a.imm11 << 1));
    branch::call(cx, target, true);
}

pub(super) fn blx_imm(cx: &mut Lifter<'_>, a: &BlxImm) {
    let target = cx.pc_aligned().wrapping_add_signed(long_offset(a.s, a.j1, a.j2, a.imm10 << 12 | a.imm10l << 2));
    branch::call(cx, target, false);
}

pub(super) fn msr(cx: &mut Lifter<'_>, a: &Msr) {
    if cx.require(a.mask != 0 && a.rn != 15) {
        let value = cx.reg(a.rn);
        status::msr(cx, a.r != 0, a.mask, value);
    }
}

pub(super) fn mrs(cx: &mut Lifter<'_>, a: &Mrs) {
    if cx.require(a.rd != 15) {
        status::mrs(cx, a.r != 0, a.rd);
    }
}

/// NOP, YIELD, WFE, WFI, SEV, DBG: to User mode, all of them nothing.
pub(super) fn hint(_: &mut Lifter<'_>, _: &Hint) {}

/// Nothing in User mode.
pub(super) fn cps(_: &mut Lifter<'_>, _: &Cps) {}

pub(super) fn clrex(cx: &mut Lifter<'_>, _: &Clrex) {
    exclusive::clear(cx);
}

pub(super) fn dsb(cx: &mut Lifter<'_>, a: &Dsb) {
    exclusive::barrier(cx, a.option);
}

pub(super) fn dmb(cx: &mut Lifter<'_>, a: &Dmb) {
    exclusive::barrier(cx, a.option);
}

pub(super) fn isb(cx: &mut Lifter<'_>, a: &Isb) {
    exclusive::barrier(cx, a.option);
}

pub(super) fn sb(cx: &mut Lifter<'_>, _: &Sb) {
    if cx.needs(Arch::V8) {
        exclusive::barrier(cx, 15);
    }
}

pub(super) fn bxj(cx: &mut Lifter<'_>, a: &Bxj) {
    branch::bx(cx, a.rm);
}

pub(super) fn udf(cx: &mut Lifter<'_>, _: &Udf) {
    cx.undefined();
}
