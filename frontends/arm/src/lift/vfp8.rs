//! Unconditional floating-point instructions of Armv8 (DDI 0487 F6.1).

use super::Lifter;
use super::fpreg::Precision;
use super::vfp::{binary, regs, round, to_int};
use crate::decode::neon::{VcvtMode, Vmaxnm, VrintMode, Vsel};
use isamorph_ir::{Cond, Op, Rounding};

/// The rounding modes of the instruction's field: A, N, P, M.
const ROUNDING: [Rounding; 4] = [Rounding::NearestAway, Rounding::NearestEven, Rounding::Up, Rounding::Down];

pub(super) fn vsel(cx: &mut Lifter<'_>, a: &Vsel) {
    let Some(r) = regs(cx, a.dp, [a.vd, a.d], [a.vn, a.n], [a.vm, a.m], 5) else { return };
    let cond = [Cond::E, Cond::O, Cond::Ge, Cond::G][a.cc as usize];
    let (n, m) = (cx.scalar(r.precision, r.n), cx.scalar(r.precision, r.m));
    let [n, m] = [n, m].map(|value| match r.precision {
        Precision::Single => cx.low_word(value),
        Precision::Double => cx.low_double(value),
    });
    let flags = cx.flags();
    let selected = cx.b.select(cond, flags, n, m);
    let selected = cx.vector_of(selected);
    cx.set_scalar(r.precision, r.d, selected);
}

/// VMAXNM and VMINNM.
pub(super) fn vmaxnm(cx: &mut Lifter<'_>, a: &Vmaxnm) {
    let Some(r) = regs(cx, a.dp, [a.vd, a.d], [a.vn, a.n], [a.vm, a.m], 5) else { return };
    let result = binary(cx, r, if a.min != 0 { Op::FMinNum } else { Op::FMaxNum });
    cx.set_scalar(r.precision, r.d, result);
}

/// VRINTA, N, P, M.
pub(super) fn vrint_mode(cx: &mut Lifter<'_>, a: &VrintMode) {
    if let Some(r) = regs(cx, a.dp, [a.vd, a.d], [0, 0], [a.vm, a.m], 5) {
        round(cx, r, ROUNDING[a.rm as usize], false);
    }
}

/// VCVTA, N, P, M to an integer.
pub(super) fn vcvt_mode(cx: &mut Lifter<'_>, a: &VcvtMode) {
    let from = Precision::of(a.dp);
    let (d, m) = (Precision::Single.number(a.vd, a.d), from.number(a.vm, a.m));
    if !cx.require(cx.cpu.vfp >= 5) {
        return;
    }
    let value = cx.scalar(from, m);
    let value = to_int(cx, from, value, a.signed != 0, ROUNDING[a.rm as usize]);
    cx.set_s(d, value);
}
