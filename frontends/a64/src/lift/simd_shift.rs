//! Shifts by an immediate, and conversions to and from fixed point, which are encoded with them (Arm ARM C7.2).

use super::Lifter;
use super::fp::power_of_two;
use super::simd::{Form, Width, Zeros, bits, int_lane, wide};
use super::simd_misc::{Narrowing, narrow, saturating};
use crate::decode::a64;
use crate::helpers::fp::{Call, FpOp};
use isamorph_ir::{Lane, Op, Rounding, Value};

/// The lane of a field immh:immb: its highest one.
fn lane_of(sh: u32) -> Lane {
    int_lane((sh >> 3).ilog2())
}

/// The count of a left shift.
fn left_count(sh: u32) -> u32 {
    sh - bits(lane_of(sh))
}

/// The count of a right shift: from 1 to the width.
fn right_count(sh: u32) -> u32 {
    2 * bits(lane_of(sh)) - sh
}

/// The form of a vector instruction; nothing if it is reserved.
fn vector(q: u32, sh: u32) -> Option<Form> {
    let lane = lane_of(sh);
    (lane != Lane::I64 || q != 0).then(|| Form::of(q, lane))
}

fn scalar(sh: u32) -> Option<Form> {
    Some(Form { lane: lane_of(sh), width: Width::Scalar })
}

/// Declares handlers: name, type of the arguments, form, and the value of all lanes.
macro_rules! shifts {
    ($($zeros:ident { $(
        $name:ident $args:ident |$cx:ident, $a:ident, $f:ident = $form:expr, $n:ident| $value:expr;
    )* })*) => { $($(
        pub(super) fn $name($cx: &mut Lifter<'_>, $a: &a64::$args) {
            let Some($f) = $form else { return $cx.undefined() };
            let $n = $cx.v($a.rn);
            let value = $value;
            $cx.put_from($f, $a.rd, value, Zeros::$zeros, &[$a.rn, $a.rd]);
        }
    )*)* };
}
shifts! {
    Stay {
        shr_imm_v ShrImmV |cx, a, f = vector(a.q, a.sh), n| right(cx, f, [a.u, a.round, a.acc, a.sh], a.rd, n);
        shr_imm_s ShrImmS |cx, a, f = scalar(a.sh), n| right(cx, f, [a.u, a.round, a.acc, a.sh], a.rd, n);
        shl_imm_v ShlImmV |cx, a, f = vector(a.q, a.sh), n| cx.shl_imm(f.lane, n, left_count(a.sh));
        shl_imm_s ShlImmS |cx, a, f = scalar(a.sh), n| cx.shl_imm(f.lane, n, left_count(a.sh));
        sri_v SriV |cx, a, f = vector(a.q, a.sh), n| insert_right(cx, f, a.sh, a.rd, n);
        sri_s SriS |cx, a, f = scalar(a.sh), n| insert_right(cx, f, a.sh, a.rd, n);
        sli_v SliV |cx, a, f = vector(a.q, a.sh), n| insert_left(cx, f, a.sh, a.rd, n);
        sli_s SliS |cx, a, f = scalar(a.sh), n| insert_left(cx, f, a.sh, a.rd, n);
    }
    Change {
        sqshlu_v SqshluV |cx, a, f = vector(a.q, a.sh), n| saturating_left(cx, f, Kind::SignedToUnsigned, a.sh, n);
        sqshlu_s SqshluS |cx, a, f = scalar(a.sh), n| saturating_left(cx, f, Kind::SignedToUnsigned, a.sh, n);
        qshl_imm_v QshlImmV |cx, a, f = vector(a.q, a.sh), n| saturating_left(cx, f, Kind::of(a.u), a.sh, n);
        qshl_imm_s QshlImmS |cx, a, f = scalar(a.sh), n| saturating_left(cx, f, Kind::of(a.u), a.sh, n);
    }
}

/// SSHR and its family.
fn right(cx: &mut Lifter<'_>, f: Form, [u, round, acc, sh]: [u32; 4], rd: u32, n: Value) -> Value {
    let count = right_count(sh);
    let value = if round != 0 {
        cx.right_imm_rounded(u != 0, f.lane, n, count)
    } else {
        cx.right_imm(u != 0, f.lane, n, count)
    };
    if acc == 0 {
        return value;
    }
    let old = cx.v(rd);
    cx.op(Op::VAdd, f.lane, &[old, value])
}

/// SRI: the bits that the shift leaves free are the destination's.
fn insert_right(cx: &mut Lifter<'_>, f: Form, sh: u32, rd: u32, n: Value) -> Value {
    let count = right_count(sh);
    let shifted = cx.shr_imm(f.lane, n, count);
    let moved = (u64::MAX >> (64 - bits(f.lane))).checked_shr(count).unwrap_or(0);
    let mask = cx.splat(f.lane, moved);
    let old = cx.v(rd);
    cx.b.multi(Op::VSelect, &[mask, shifted, old])
}

/// SLI, likewise.
fn insert_left(cx: &mut Lifter<'_>, f: Form, sh: u32, rd: u32, n: Value) -> Value {
    let count = left_count(sh);
    let shifted = cx.shl_imm(f.lane, n, count);
    let mask = cx.splat(f.lane, u64::MAX << count);
    let old = cx.v(rd);
    cx.b.multi(Op::VSelect, &[mask, shifted, old])
}

/// What a saturating left shift takes and gives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Signed,
    Unsigned,
    SignedToUnsigned,
}

impl Kind {
    fn of(u: u32) -> Self {
        if u != 0 { Kind::Unsigned } else { Kind::Signed }
    }
}

/// SQSHL, UQSHL, SQSHLU: what shifting back does not restore has not fitted.
fn saturating_left(cx: &mut Lifter<'_>, f: Form, kind: Kind, sh: u32, n: Value) -> Value {
    let (lane, count, width) = (f.lane, left_count(sh), bits(f.lane));
    let shifted = cx.shl_imm(lane, n, count);
    let restored = cx.right_imm(kind != Kind::Signed, lane, shifted, count);
    let fits = cx.op(Op::VCmpEq, lane, &[restored, n]);
    let sign = cx.sar_imm(lane, n, width - 1);
    let (lost, extreme) = match kind {
        Kind::Signed => {
            let max = cx.splat(lane, u64::MAX >> (65 - width));
            (cx.vnot(fits), cx.b.bin(Op::VXor, sign, max))
        }
        Kind::Unsigned => (cx.vnot(fits), cx.vconst(u128::MAX)),
        // Negative numbers become zero.
        Kind::SignedToUnsigned => {
            let fine = cx.b.bin(Op::VAndNot, sign, fits);
            (cx.vnot(fine), cx.vnot(sign))
        }
    };
    cx.saturated(f, lost);
    cx.b.multi(Op::VSelect, &[lost, extreme, shifted])
}

// ---- narrowing and widening

/// Shifts lanes of twice the width right and narrows them. `f` says which wide lanes count.
fn shifted_narrow(cx: &mut Lifter<'_>, f: Form, how: Narrowing, round: u32, sh: u32, rn: u32) -> Value {
    let count = right_count(sh);
    let n = cx.v(rn);
    // Bits that truncation drops need not be right.
    let u = matches!(how, Narrowing::Unsigned | Narrowing::Truncate);
    let value = if round != 0 { cx.right_imm_rounded(u, f.lane, n, count) } else { cx.right_imm(u, f.lane, n, count) };
    narrow(cx, f, how, value)
}

fn shrn_vector(cx: &mut Lifter<'_>, q: u32, how: Narrowing, round: u32, sh: u32, [rd, rn]: [u32; 2]) {
    let f = Form::of(1, wide(lane_of(sh)));
    let value = shifted_narrow(cx, f, how, round, sh, rn);
    cx.put_half(q, rd, value);
}

fn shrn_scalar(cx: &mut Lifter<'_>, how: Narrowing, round: u32, sh: u32, [rd, rn]: [u32; 2]) {
    let lane = lane_of(sh);
    let value = shifted_narrow(cx, Form { lane: wide(lane), width: Width::Scalar }, how, round, sh, rn);
    cx.put(Form { lane, width: Width::Scalar }, rd, value);
}

pub(super) fn shrn(cx: &mut Lifter<'_>, a: &a64::Shrn) {
    shrn_vector(cx, a.q, Narrowing::Truncate, a.round, a.sh, [a.rd, a.rn]);
}

pub(super) fn sqshrun_v(cx: &mut Lifter<'_>, a: &a64::SqshrunV) {
    shrn_vector(cx, a.q, Narrowing::SignedToUnsigned, a.round, a.sh, [a.rd, a.rn]);
}

pub(super) fn sqshrun_s(cx: &mut Lifter<'_>, a: &a64::SqshrunS) {
    shrn_scalar(cx, Narrowing::SignedToUnsigned, a.round, a.sh, [a.rd, a.rn]);
}

pub(super) fn qshrn_v(cx: &mut Lifter<'_>, a: &a64::QshrnV) {
    shrn_vector(cx, a.q, saturating(a.u), a.round, a.sh, [a.rd, a.rn]);
}

pub(super) fn qshrn_s(cx: &mut Lifter<'_>, a: &a64::QshrnS) {
    shrn_scalar(cx, saturating(a.u), a.round, a.sh, [a.rd, a.rn]);
}

/// SSHLL and USHLL; by 0 they are SXTL and UXTL.
pub(super) fn shll_imm(cx: &mut Lifter<'_>, a: &a64::ShllImm) {
    let lane = lane_of(a.sh);
    let half = cx.half(a.q, a.rn);
    let value = cx.op(if a.u != 0 { Op::VWidenU } else { Op::VWidenS }, lane, &[half]);
    let value = cx.shl_imm(wide(lane), value, left_count(a.sh));
    cx.set_v(a.rd, value, 16);
}

// ---- fixed point

/// The floating-point lane of an integer lane; nothing for half precision.
fn float_form(f: Form) -> Option<Form> {
    let lane = match (f.lane, f.width) {
        (Lane::I32, Width::Scalar) => Lane::S32,
        (Lane::I64, Width::Scalar) => Lane::S64,
        (Lane::I32, _) => Lane::F32,
        (Lane::I64, _) => Lane::F64,
        _ => return None,
    };
    Some(Form { lane, ..f })
}

/// The helper's form of a conversion that is of half precision.
fn half_precision(f: Form, op: FpOp, sh: u32, [rd, rn]: [u32; 2]) -> Call {
    let call = Call::new(op, 1, f.bytes() / 2, [rd, rn, rn]);
    Call { fraction: right_count(sh), ..call.rounding(Rounding::Current, false) }
}

/// SCVTF and UCVTF: the integer divided by a power of two.
fn from_fixed(cx: &mut Lifter<'_>, f: Option<Form>, u: u32, sh: u32, [rd, rn]: [u32; 2]) {
    let Some(f) = f else { return cx.undefined() };
    let Some(float) = float_form(f) else {
        let op = if u != 0 { FpOp::FromUnsigned } else { FpOp::FromInt };
        return cx.float(half_precision(f, op, sh, [rd, rn]));
    };
    let n = cx.v_low(f, rn);
    let value = cx.fop(if u != 0 { Op::FFromIntU } else { Op::FFromIntS }, float.lane, &[n]);
    let factor = cx.splat(f.lane, power_of_two(float.lane, -(right_count(sh) as i32)));
    let value = cx.fop(Op::FMul, float.lane, &[value, factor]);
    cx.set_v(rd, value, f.bytes());
}

/// FCVTZS and FCVTZU: the number times a power of two, truncated.
fn to_fixed(cx: &mut Lifter<'_>, f: Option<Form>, u: u32, sh: u32, [rd, rn]: [u32; 2]) {
    let Some(f) = f else { return cx.undefined() };
    let Some(float) = float_form(f) else {
        let op = if u != 0 { FpOp::ToUnsigned } else { FpOp::ToInt };
        return cx.float(half_precision(f, op, sh, [rd, rn]).rounding(Rounding::Zero, false));
    };
    let n = cx.v_low(f, rn);
    let factor = cx.splat(f.lane, power_of_two(float.lane, right_count(sh) as i32));
    let value = cx.fop(Op::FMul, float.lane, &[n, factor]);
    let op = if u != 0 { Op::FToIntSatU } else { Op::FToIntSatS };
    let value = cx.fop_rounding(op, float.lane, &[value], Rounding::Zero);
    cx.set_v(rd, value, f.bytes());
}

pub(super) fn cvtf_fixed_v(cx: &mut Lifter<'_>, a: &a64::CvtfFixedV) {
    from_fixed(cx, vector(a.q, a.sh), a.u, a.sh, [a.rd, a.rn]);
}

pub(super) fn cvtf_fixed_s(cx: &mut Lifter<'_>, a: &a64::CvtfFixedS) {
    from_fixed(cx, scalar(a.sh), a.u, a.sh, [a.rd, a.rn]);
}

pub(super) fn fcvtz_fixed_v(cx: &mut Lifter<'_>, a: &a64::FcvtzFixedV) {
    to_fixed(cx, vector(a.q, a.sh), a.u, a.sh, [a.rd, a.rn]);
}

pub(super) fn fcvtz_fixed_s(cx: &mut Lifter<'_>, a: &a64::FcvtzFixedS) {
    to_fixed(cx, scalar(a.sh), a.u, a.sh, [a.rd, a.rn]);
}
