//! A32 loads and stores.

use super::exclusive::a32_bytes;
use super::memory::{self, Access, Offset, constant, place};
use super::multiple::{self, Multiple};
use super::{Lifter, exclusive};
use crate::cpu::Arch;
use crate::decode::a32::*;

/// The addressing bits of an instruction: index before the access, write the base back.
fn index(cx: &mut Lifter<'_>, p: u32, w: u32, rn: u32, offset: Offset) -> Option<memory::Place> {
    let writeback = p == 0 || w != 0;
    cx.require(!(writeback && rn == 15)).then(|| place(cx, rn, offset, p != 0, writeback))
}

fn shifted(u: u32, rm: u32, kind: u32, amount: u32) -> Offset {
    Offset::Reg { rm, kind, amount, add: u != 0 }
}

pub(super) fn ldst_imm(cx: &mut Lifter<'_>, a: &LdstImm) {
    let access = Access { load: a.l != 0, bytes: if a.b != 0 { 1 } else { 4 }, signed: false };
    if let Some(place) = index(cx, a.p, a.w, a.rn, constant(a.u, a.imm12)) {
        memory::single(cx, access, a.rt, place);
    }
}

pub(super) fn ldst_reg(cx: &mut Lifter<'_>, a: &LdstReg) {
    let access = Access { load: a.l != 0, bytes: if a.b != 0 { 1 } else { 4 }, signed: false };
    if let Some(place) = index(cx, a.p, a.w, a.rn, shifted(a.u, a.rm, a.kind, a.imm5)) {
        memory::single(cx, access, a.rt, place);
    }
}

pub(super) fn extra_reg(cx: &mut Lifter<'_>, a: &ExtraReg) {
    extra(cx, (a.p, a.w, a.l, a.sh), a.rn, a.rt, shifted(a.u, a.rm, 0, 0));
}

pub(super) fn extra_imm(cx: &mut Lifter<'_>, a: &ExtraImm) {
    extra(cx, (a.p, a.w, a.l, a.sh), a.rn, a.rt, constant(a.u, a.imm));
}

/// Halfwords and signed bytes; without L, the signed forms are doublewords.
fn extra(cx: &mut Lifter<'_>, (p, w, l, sh): (u32, u32, u32, u32), rn: u32, rt: u32, offset: Offset) {
    let double = l == 0 && sh != 1;
    if !cx.require(rt != 15 && !(double && (rt & 1 != 0 || rt == 14))) {
        return;
    }
    let Some(place) = index(cx, p, w, rn, offset) else { return };
    if double {
        return memory::dual(cx, sh == 2, rt, rt + 1, place);
    }
    let access = Access { load: l != 0, bytes: if sh == 2 { 1 } else { 2 }, signed: sh != 1 };
    memory::single(cx, access, rt, place);
}

pub(super) fn block(cx: &mut Lifter<'_>, a: &Block) {
    // With S: the registers of User mode, or a return from an exception.
    if cx.require(a.s == 0) {
        let (load, up, before, writeback) = (a.l != 0, a.u != 0, a.p != 0, a.w != 0);
        // Downwards, "before" leaves the base's word out as well.
        multiple::lift(cx, Multiple { load, up, before, writeback, rn: a.rn, list: a.list });
    }
}

pub(super) fn swp(cx: &mut Lifter<'_>, a: &Swp) {
    if cx.require(a.rt != 15 && a.rn != 15 && a.rt2 != 15) {
        exclusive::swap(cx, a.b != 0, a.rn, a.rt, a.rt2);
    }
}

/// Whether an exclusive access of that size exists.
fn has_exclusive(cx: &mut Lifter<'_>, size: u32, rn: u32, rt: u32) -> bool {
    cx.needs(if size == 0 { Arch::V6 } else { Arch::V6K })
        && cx.require(rn != 15 && rt != 15 && !(size == 1 && (rt & 1 != 0 || rt == 14)))
}

pub(super) fn strex(cx: &mut Lifter<'_>, a: &Strex) {
    if has_exclusive(cx, a.size, a.rn, a.rt) && cx.require(a.rd != 15) {
        exclusive::store(cx, a32_bytes(a.size), a.rn, a.rd, (a.rt, a.rt + 1), 0);
    }
}

pub(super) fn ldrex(cx: &mut Lifter<'_>, a: &Ldrex) {
    if has_exclusive(cx, a.size, a.rn, a.rt) {
        exclusive::load(cx, a32_bytes(a.size), a.rn, a.rt, a.rt + 1, 0);
    }
}

pub(super) fn stlex(cx: &mut Lifter<'_>, a: &Stlex) {
    if cx.needs(Arch::V8) && has_exclusive(cx, a.size, a.rn, a.rt) && cx.require(a.rd != 15) {
        exclusive::store(cx, a32_bytes(a.size), a.rn, a.rd, (a.rt, a.rt + 1), 0);
    }
}

pub(super) fn ldaex(cx: &mut Lifter<'_>, a: &Ldaex) {
    if cx.needs(Arch::V8) && has_exclusive(cx, a.size, a.rn, a.rt) {
        exclusive::load(cx, a32_bytes(a.size), a.rn, a.rt, a.rt + 1, 0);
    }
}

pub(super) fn stl(cx: &mut Lifter<'_>, a: &Stl) {
    if cx.needs(Arch::V8) && cx.require(a.rn != 15 && a.rt != 15) {
        exclusive::store_release(cx, a32_bytes(a.size), a.rn, a.rt);
    }
}

pub(super) fn lda(cx: &mut Lifter<'_>, a: &Lda) {
    if cx.needs(Arch::V8) && cx.require(a.rn != 15 && a.rt != 15) {
        exclusive::load_acquire(cx, a32_bytes(a.size), a.rn, a.rt);
    }
}
