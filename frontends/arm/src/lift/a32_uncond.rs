//! A32 unconditional instructions.

use super::{Lifter, branch, exclusive, status};
use crate::cpu::Arch;
use crate::decode::a32u::*;

pub(super) fn setend(cx: &mut Lifter<'_>, a: &Setend) {
    status::setend(cx, a.e != 0);
}

/// Nothing in User mode.
pub(super) fn cps(cx: &mut Lifter<'_>, _: &Cps) {
    cx.needs(Arch::V6);
}

pub(super) fn preload_imm(_: &mut Lifter<'_>, _: &PreloadImm) {}

pub(super) fn preload_reg(_: &mut Lifter<'_>, _: &PreloadReg) {}

pub(super) fn pli_imm(cx: &mut Lifter<'_>, _: &PliImm) {
    cx.needs(Arch::V7);
}

pub(super) fn pli_reg(cx: &mut Lifter<'_>, _: &PliReg) {
    cx.needs(Arch::V7);
}

pub(super) fn clrex(cx: &mut Lifter<'_>, _: &Clrex) {
    if cx.needs(Arch::V6K) {
        exclusive::clear(cx);
    }
}

fn barrier(cx: &mut Lifter<'_>, option: u32) {
    if cx.needs(Arch::V7) {
        exclusive::barrier(cx, option);
    }
}

pub(super) fn dsb(cx: &mut Lifter<'_>, a: &Dsb) {
    barrier(cx, a.option);
}

pub(super) fn dmb(cx: &mut Lifter<'_>, a: &Dmb) {
    barrier(cx, a.option);
}

pub(super) fn isb(cx: &mut Lifter<'_>, a: &Isb) {
    barrier(cx, a.option);
}

pub(super) fn sb(cx: &mut Lifter<'_>, _: &Sb) {
    if cx.needs(Arch::V8) {
        exclusive::barrier(cx, 15);
    }
}

pub(super) fn blx_imm(cx: &mut Lifter<'_>, a: &BlxImm) {
    let offset = (a.imm24 << 8) as i32 >> 6 | (a.h << 1) as i32;
    let target = cx.pc_value().wrapping_add_signed(offset);
    branch::call(cx, target, true);
}
