//! T32 loads and stores.

use super::memory::{self, Access, Offset, Place, constant, place};
use super::multiple::{self, Multiple};
use super::{Lifter, branch, exclusive};
use crate::cpu::Arch;
use crate::decode::t32::*;
use isamorph_ir::{Addr, Value};

pub(super) fn block_up(cx: &mut Lifter<'_>, a: &BlockUp) {
    let (load, writeback) = (a.l != 0, a.w != 0);
    multiple::lift(cx, Multiple { load, up: true, before: false, writeback, rn: a.rn, list: a.list });
}

pub(super) fn block_down(cx: &mut Lifter<'_>, a: &BlockDown) {
    let (load, writeback) = (a.l != 0, a.w != 0);
    multiple::lift(cx, Multiple { load, up: false, before: true, writeback, rn: a.rn, list: a.list });
}

fn dual_at(
    cx: &mut Lifter<'_>,
    load: bool,
    (rt, rt2): (u32, u32),
    rn: u32,
    place: impl FnOnce(&mut Lifter<'_>) -> Place,
    w: bool,
) {
    if cx.require(rt != 15 && rt2 != 15 && !(w && rn == 15)) {
        let place = place(cx);
        memory::dual(cx, load, rt, rt2, place);
    }
}

pub(super) fn dual(cx: &mut Lifter<'_>, a: &Dual) {
    let offset = constant(a.u, 4 * a.imm8);
    let w = a.w != 0;
    dual_at(cx, a.l != 0, (a.rt, a.rt2), a.rn, |cx| place(cx, a.rn, offset, true, w), w);
}

pub(super) fn dual_post(cx: &mut Lifter<'_>, a: &DualPost) {
    let offset = constant(a.u, 4 * a.imm8);
    dual_at(cx, a.l != 0, (a.rt, a.rt2), a.rn, |cx| place(cx, a.rn, offset, false, true), true);
}

pub(super) fn strex(cx: &mut Lifter<'_>, a: &Strex) {
    if cx.require(a.rn != 15 && a.rd != 15 && a.rt != 15) {
        exclusive::store(cx, 4, a.rn, a.rd, (a.rt, 0), 4 * a.imm8);
    }
}

pub(super) fn ldrex(cx: &mut Lifter<'_>, a: &Ldrex) {
    if cx.require(a.rn != 15 && a.rt != 15) {
        exclusive::load(cx, 4, a.rn, a.rt, 0, 4 * a.imm8);
    }
}

/// R15 is unpredictable in all of these.
fn exist(cx: &mut Lifter<'_>, regs: &[u32]) -> bool {
    cx.require(!regs.contains(&15))
}

pub(super) fn strex_size(cx: &mut Lifter<'_>, a: &StrexSize) {
    if exist(cx, &[a.rn, a.rd, a.rt]) {
        exclusive::store(cx, 1 << a.half, a.rn, a.rd, (a.rt, 0), 0);
    }
}

pub(super) fn strex_dual(cx: &mut Lifter<'_>, a: &StrexDual) {
    if exist(cx, &[a.rn, a.rd, a.rt, a.rt2]) {
        exclusive::store(cx, 8, a.rn, a.rd, (a.rt, a.rt2), 0);
    }
}

pub(super) fn ldrex_size(cx: &mut Lifter<'_>, a: &LdrexSize) {
    if exist(cx, &[a.rn, a.rt]) {
        exclusive::load(cx, 1 << a.half, a.rn, a.rt, 0, 0);
    }
}

pub(super) fn ldrex_dual(cx: &mut Lifter<'_>, a: &LdrexDual) {
    if exist(cx, &[a.rn, a.rt, a.rt2]) {
        exclusive::load(cx, 8, a.rn, a.rt, a.rt2, 0);
    }
}

pub(super) fn stlex(cx: &mut Lifter<'_>, a: &Stlex) {
    if cx.needs(Arch::V8) && exist(cx, &[a.rn, a.rd, a.rt]) {
        exclusive::store(cx, 1 << a.size, a.rn, a.rd, (a.rt, 0), 0);
    }
}

pub(super) fn stlex_dual(cx: &mut Lifter<'_>, a: &StlexDual) {
    if cx.needs(Arch::V8) && exist(cx, &[a.rn, a.rd, a.rt, a.rt2]) {
        exclusive::store(cx, 8, a.rn, a.rd, (a.rt, a.rt2), 0);
    }
}

pub(super) fn ldaex(cx: &mut Lifter<'_>, a: &Ldaex) {
    if cx.needs(Arch::V8) && exist(cx, &[a.rn, a.rt]) {
        exclusive::load(cx, 1 << a.size, a.rn, a.rt, 0, 0);
    }
}

pub(super) fn ldaex_dual(cx: &mut Lifter<'_>, a: &LdaexDual) {
    if cx.needs(Arch::V8) && exist(cx, &[a.rn, a.rt, a.rt2]) {
        exclusive::load(cx, 8, a.rn, a.rt, a.rt2, 0);
    }
}

pub(super) fn stl(cx: &mut Lifter<'_>, a: &Stl) {
    if cx.needs(Arch::V8) && cx.require(a.rn != 15 && a.rt != 15) {
        exclusive::store_release(cx, 1 << a.size, a.rn, a.rt);
    }
}

pub(super) fn lda(cx: &mut Lifter<'_>, a: &Lda) {
    if cx.needs(Arch::V8) && cx.require(a.rn != 15 && a.rt != 15) {
        exclusive::load_acquire(cx, 1 << a.size, a.rn, a.rt);
    }
}

pub(super) fn table_branch(cx: &mut Lifter<'_>, a: &TableBranch) {
    // R15 as a base is that of the instruction, not rounded down.
    let (base, index) = (cx.reg(a.rn), cx.reg(a.rm));
    let place = Addr { base, index, scale: a.half as u8, disp: 0, seg: Value::NONE };
    let offset = cx.load(1 << a.half, place);
    branch::table(cx, offset);
}

/// A load or store, or with R15 as the destination of a byte or halfword a hint.
fn single(
    cx: &mut Lifter<'_>,
    (signed, size, l): (u32, u32, u32),
    rt: u32,
    rn: u32,
    place: impl FnOnce(&mut Lifter<'_>) -> Place,
) {
    let (load, signed) = (l != 0, signed != 0);
    if !cx.require((load || rn != 15) && !(signed && (!load || size == 2)) && (load || rt != 15)) {
        return;
    }
    if rt == 15 && size != 2 {
        return;
    }
    let place = place(cx);
    memory::single(cx, Access { load, bytes: 1 << size, signed }, rt, place);
}

pub(super) fn ldst_imm12(cx: &mut Lifter<'_>, a: &LdstImm12) {
    let offset = constant(1, a.imm12);
    single(cx, (a.signed, a.size, a.l), a.rt, a.rn, |cx| place(cx, a.rn, offset, true, false));
}

pub(super) fn ldst_imm8(cx: &mut Lifter<'_>, a: &LdstImm8) {
    let (p, u, w) = (a.p != 0, a.u, a.w != 0);
    if !cx.require(p || w) {
        return;
    }
    // P, U and no W would be the unprivileged forms, which User mode has as the plain ones.
    single(cx, (a.signed, a.size, a.l), a.rt, a.rn, |cx| place(cx, a.rn, constant(u, a.imm8), p, w));
}

pub(super) fn ldst_reg(cx: &mut Lifter<'_>, a: &LdstReg) {
    let offset = Offset::Reg { rm: a.rm, kind: 0, amount: a.imm2, add: true };
    single(cx, (a.signed, a.size, a.l), a.rt, a.rn, |cx| place(cx, a.rn, offset, true, false));
}

pub(super) fn ldr_lit_down(cx: &mut Lifter<'_>, a: &LdrLitDown) {
    let offset = constant(0, a.imm12);
    single(cx, (a.signed, a.size, 1), a.rt, 15, |cx| place(cx, 15, offset, true, false));
}
