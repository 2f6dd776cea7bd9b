//! Vector floating point of single and double precision (Arm ARM C7.2).
//!
//! Where an instruction works on the low half of registers, the ops are given zeros for the high half, so that nothing
//! is reported for it.

use super::Lifter;
use super::fp::{fcvt_rounding, frint_rounding};
use super::simd::{Form, Width, Zeros, bits};
use super::simd_move::unzip;
use crate::decode::a64;
use crate::helpers::fp::{Call, FpOp, Shape};
use isamorph_ir::{Lane, Op, Rounding, Value};

/// Registers of an instruction: destination and sources.
type Registers = [u32; 3];

/// `v[rd] = op(v[rn], v[rm])`, an op that is zero for zeros.
fn binary(cx: &mut Lifter<'_>, f: Form, op: Op, [rd, rn, rm]: Registers) {
    let (n, m) = (cx.v_low(f, rn), cx.v_low(f, rm));
    let value = cx.fop(op, f.lane, &[n, m]);
    cx.set_v(rd, value, f.bytes());
}

/// Declares handlers: name, type of the arguments, what is done with the form and the registers.
macro_rules! three_same {
    ($($name:ident $args:ident |$cx:ident, $a:ident, $f:ident, $r:ident| $body:expr;)*) => { $(
        pub(super) fn $name($cx: &mut Lifter<'_>, $a: &a64::$args) {
            let $f = Form::float($a.arr);
            let $r = [$a.rd, $a.rn, $a.rm];
            $body
        }
    )* };
}
three_same! {
    fadd_v FaddV |cx, a, f, r| binary(cx, f, Op::FAdd, r);
    fsub_v FsubV |cx, a, f, r| subtract(cx, f, r);
    fmul_v FmulV |cx, a, f, r| binary(cx, f, Op::FMul, r);
    fmax_v FmaxV |cx, a, f, r| binary(cx, f, max_op(a.min), r);
    fmaxnm_v FmaxnmV |cx, a, f, r| binary(cx, f, max_num_op(a.min), r);
    fdiv_v FdivV |cx, a, f, r| divide(cx, f, r);
    fabd_v FabdV |cx, a, f, r| distance(cx, f, r);
    fcm_v FcmV |cx, a, f, r| compare(cx, f, a.how, r);
    faddp_v FaddpV |cx, a, f, r| pairs(cx, f, Op::FAdd, r);
    fmaxp_v FmaxpV |cx, a, f, r| pairs(cx, f, max_op(a.min), r);
    fmaxnmp_v FmaxnmpV |cx, a, f, r| pairs(cx, f, max_num_op(a.min), r);
    fmulx_v FmulxV |cx, a, f, r| multiply_extended(cx, f, r, None);
    frecps_v FrecpsV |cx, a, f, r| cx.float(lanes(f, step_op(a.rsqrt), r));
    fmla_v FmlaV |cx, a, f, r| {
        let m = cx.v_low(f, r[2]);
        fused(cx, f, a.sub != 0, [r[0], r[1]], m);
    };
    fcadd_v FcaddV |cx, a, f, r| complex_add(cx, f, a.rot, r);
    fcmla_v FcmlaV |cx, a, f, r| {
        let m = cx.v_low(f, r[2]);
        complex_multiply(cx, f, a.rot, [r[0], r[1]], m);
    };
}

fn max_op(min: u32) -> Op {
    if min != 0 { Op::FMin } else { Op::FMax }
}

fn max_num_op(min: u32) -> Op {
    if min != 0 { Op::FMinNum } else { Op::FMaxNum }
}

pub(super) fn step_op(rsqrt: u32) -> FpOp {
    if rsqrt != 0 { FpOp::Frsqrts } else { FpOp::Frecps }
}

/// The helper's form of an operation on lanes.
fn lanes(f: Form, op: FpOp, r: Registers) -> Call {
    Call::new(op, f.lane.bytes().trailing_zeros(), f.bytes() / f.lane.bytes(), r)
}

/// Zero minus zero is −0 if rounded downward.
fn subtract(cx: &mut Lifter<'_>, f: Form, [rd, rn, rm]: Registers) {
    let (n, m) = (cx.v_low(f, rn), cx.v_low(f, rm));
    let value = cx.fop(Op::FSub, f.lane, &[n, m]);
    cx.put(f, rd, value);
}

/// Half of a register twice is not 0 / 0.
fn divide(cx: &mut Lifter<'_>, f: Form, [rd, rn, rm]: Registers) {
    let [n, m] = [rn, rm].map(|r| {
        let value = cx.v(r);
        if f.width == Width::Half { cx.halves(value, value) } else { value }
    });
    let value = cx.fop(Op::FDiv, f.lane, &[n, m]);
    cx.put(f, rd, value);
}

/// FMUL where zero times infinity is 2.
pub(super) fn multiply_extended(cx: &mut Lifter<'_>, f: Form, r: Registers, element: Option<u32>) {
    cx.float(Call { element, ..lanes(f, FpOp::Fmulx, r) });
}

/// The destination plus or minus a product.
pub(super) fn fused(cx: &mut Lifter<'_>, f: Form, sub: bool, [rd, rn]: [u32; 2], m: Value) {
    let (mut n, old) = (cx.v_low(f, rn), cx.v_low(f, rd));
    if sub {
        n = negate(cx, f, n);
    }
    let value = cx.fop(Op::FMulAdd, f.lane, &[n, m, old]);
    cx.set_v(rd, value, f.bytes());
}

/// The sign bits of the form's lanes, or of every other one.
fn signs(f: Form, wanted: impl Fn(u32) -> bool) -> u128 {
    let width = bits(f.lane);
    (0..8 * f.bytes() / width).filter(|i| wanted(*i)).fold(0, |all, i| all | 1 << (i * width + width - 1))
}

fn negate(cx: &mut Lifter<'_>, f: Form, value: Value) -> Value {
    let signs = cx.vconst(signs(f, |_| true));
    cx.b.bin(Op::VXor, value, signs)
}

fn absolute(cx: &mut Lifter<'_>, f: Form, value: Value) -> Value {
    let signs = cx.vconst(signs(f, |_| true));
    cx.b.bin(Op::VAndNot, signs, value)
}

fn distance(cx: &mut Lifter<'_>, f: Form, [rd, rn, rm]: Registers) {
    let (n, m) = (cx.v_low(f, rn), cx.v_low(f, rm));
    let value = cx.fop(Op::FSub, f.lane, &[n, m]);
    let signs = cx.vconst(signs(f, |_| true));
    let value = cx.b.bin(Op::VAndNot, signs, value);
    cx.put(f, rd, value);
}

/// Predicates of `FCmpMask`.
const EQUAL: u8 = 0;
const LESS: u8 = 1;
const LESS_OR_EQUAL: u8 = 2;

fn mask(cx: &mut Lifter<'_>, f: Form, predicate: u8, n: Value, m: Value) -> Value {
    let mode = cx.mode.fp().select(predicate);
    cx.b.vec(Op::FCmpMask, f.lane, &[n, m], u32::from(mode.0))
}

/// FCMEQ, FCMGE, FCMGT, FACGE, FACGT.
fn compare(cx: &mut Lifter<'_>, f: Form, how: u32, [rd, rn, rm]: Registers) {
    let (mut n, mut m) = (cx.v_low(f, rn), cx.v_low(f, rm));
    if how & 1 != 0 {
        (n, m) = (absolute(cx, f, n), absolute(cx, f, m));
    }
    let value = match how {
        0 => mask(cx, f, EQUAL, n, m),
        4 | 5 => mask(cx, f, LESS_OR_EQUAL, m, n),
        _ => mask(cx, f, LESS, m, n),
    };
    cx.put(f, rd, value);
}

/// FCMGT, FCMEQ, FCMLT, FCMGE, FCMLE with zero.
fn compare_zero(cx: &mut Lifter<'_>, f: Form, how: u32, [rd, rn]: [u32; 2]) {
    let (n, zero) = (cx.v_low(f, rn), cx.vzero());
    let value = match how {
        0 => mask(cx, f, LESS, zero, n),
        1 => mask(cx, f, EQUAL, n, zero),
        2 => mask(cx, f, LESS, n, zero),
        4 => mask(cx, f, LESS_OR_EQUAL, zero, n),
        _ => mask(cx, f, LESS_OR_EQUAL, n, zero),
    };
    cx.put(f, rd, value);
}

/// The op on adjacent lanes of the first register, then of the second.
fn pairs(cx: &mut Lifter<'_>, f: Form, op: Op, [rd, rn, rm]: Registers) {
    let (n, m) = (cx.v(rn), cx.v(rm));
    let full = Form { lane: f.int(), width: Width::Full };
    let (n, m) = if f.width == Width::Half {
        // The second half is the first once more.
        let both = cx.halves(n, m);
        (both, both)
    } else {
        (n, m)
    };
    let (even, odd) = (unzip(cx, full, n, m, false), unzip(cx, full, n, m, true));
    let value = cx.fop(op, f.lane, &[even, odd]);
    cx.put(f, rd, value);
}

/// The op on the two lowest lanes of a register.
fn scalar_pair(cx: &mut Lifter<'_>, sz: u32, op: Op, [rd, rn]: [u32; 2]) {
    let f = Form::scalar_float(sz);
    let n = cx.v(rn);
    let second = cx.b.vec(Op::VShrBytes, Lane::I8, &[n], f.bytes());
    let value = cx.fop(op, f.lane, &[n, second]);
    cx.put(f, rd, value);
}

pub(super) fn faddp_s(cx: &mut Lifter<'_>, a: &a64::FaddpS) {
    scalar_pair(cx, a.sz, Op::FAdd, [a.rd, a.rn]);
}

pub(super) fn fmaxp_s(cx: &mut Lifter<'_>, a: &a64::FmaxpS) {
    scalar_pair(cx, a.sz, max_op(a.min), [a.rd, a.rn]);
}

pub(super) fn fmaxnmp_s(cx: &mut Lifter<'_>, a: &a64::FmaxnmpS) {
    scalar_pair(cx, a.sz, max_num_op(a.min), [a.rd, a.rn]);
}

/// The op across four singles: on adjacent pairs, then on both results.
fn across(cx: &mut Lifter<'_>, op: Op, [rd, rn]: [u32; 2]) {
    let n = cx.v(rn);
    let full = Form { lane: Lane::I32, width: Width::Full };
    let (even, odd) = (unzip(cx, full, n, n, false), unzip(cx, full, n, n, true));
    let pairs = cx.fop(op, Lane::F32, &[even, odd]);
    let second = cx.b.vec(Op::VShrBytes, Lane::I8, &[pairs], 4);
    let value = cx.fop(op, Lane::S32, &[pairs, second]);
    cx.put(Form::scalar_float(0), rd, value);
}

pub(super) fn fmaxv(cx: &mut Lifter<'_>, a: &a64::Fmaxv) {
    across(cx, max_op(a.min), [a.rd, a.rn]);
}

pub(super) fn fmaxnmv(cx: &mut Lifter<'_>, a: &a64::Fmaxnmv) {
    across(cx, max_num_op(a.min), [a.rd, a.rn]);
}

// ---- complex numbers: pairs of lanes, the real part first

/// Which lanes of each pair.
#[derive(Clone, Copy)]
enum Part {
    Real,
    Imaginary,
    Exchanged,
}

fn part(cx: &mut Lifter<'_>, lane: Lane, value: Value, part: Part) -> Value {
    let (single, double) = match part {
        Part::Real => (0b10_10_00_00, 0b01_00_01_00),
        Part::Imaginary => (0b11_11_01_01, 0b11_10_11_10),
        Part::Exchanged => (0b10_11_00_01, 0b01_00_11_10),
    };
    cx.b.vec(Op::VShuffle, Lane::I32, &[value], if lane == Lane::F32 { single } else { double })
}

/// FCADD: the second operand times i or −i is added.
fn complex_add(cx: &mut Lifter<'_>, f: Form, rot: u32, [rd, rn, rm]: Registers) {
    let (n, m) = (cx.v_low(f, rn), cx.v_low(f, rm));
    let turned = part(cx, f.lane, m, Part::Exchanged);
    let flips = cx.vconst(signs(f, |i| i & 1 == rot));
    let turned = cx.b.bin(Op::VXor, turned, flips);
    let value = cx.fop(Op::FAdd, f.lane, &[n, turned]);
    cx.set_v(rd, value, f.bytes());
}

/// FCMLA: a part of `n` times `m`, which is turned by a multiple of 90°.
pub(super) fn complex_multiply(cx: &mut Lifter<'_>, f: Form, rot: u32, [rd, rn]: [u32; 2], m: Value) {
    let (n, old) = (cx.v_low(f, rn), cx.v_low(f, rd));
    let factor = part(cx, f.lane, n, if rot & 1 == 0 { Part::Real } else { Part::Imaginary });
    let turned = if rot & 1 == 0 { m } else { part(cx, f.lane, m, Part::Exchanged) };
    let flips = cx.vconst(signs(f, |i| match rot {
        0 => false,
        1 => i & 1 == 0,
        2 => true,
        _ => i & 1 != 0,
    }));
    let turned = cx.b.bin(Op::VXor, turned, flips);
    let value = cx.fop(Op::FMulAdd, f.lane, &[factor, turned, old]);
    cx.put(f, rd, value);
}

fn complex_half(q: u32, op: FpOp, rotation: u32, r: Registers) -> Call {
    Call { shape: Shape::Complex, fraction: rotation, ..Call::new(op, 1, 4 << q, r) }
}

pub(super) fn fcadd_vh(cx: &mut Lifter<'_>, a: &a64::FcaddVh) {
    cx.float(complex_half(a.q, FpOp::Fadd, 2 * a.rot + 1, [a.rd, a.rn, a.rm]));
}

pub(super) fn fcmla_vh(cx: &mut Lifter<'_>, a: &a64::FcmlaVh) {
    cx.float(complex_half(a.q, FpOp::Fmla, a.rot, [a.rd, a.rn, a.rm]));
}

pub(super) fn fcmla_elem_half(cx: &mut Lifter<'_>, q: u32, rotation: u32, r: Registers, pair: u32) {
    cx.float(Call { element: Some(pair), ..complex_half(q, FpOp::Fmla, rotation, r) });
}

// ---- products of narrow numbers added to singles

/// Half-precision denormals as zeros.
fn flush_halves(cx: &mut Lifter<'_>, value: Value) -> Value {
    let (exponents, zero) = (cx.splat(Lane::I16, 0x7c00), cx.vzero());
    let exponents = cx.b.bin(Op::VAnd, value, exponents);
    let small = cx.op(Op::VCmpEq, Lane::I16, &[exponents, zero]);
    let fractions = cx.splat(Lane::I16, 0x7fff);
    let dropped = cx.b.bin(Op::VAnd, small, fractions);
    cx.b.bin(Op::VAndNot, dropped, value)
}

/// FMLAL and FMLSL: the first or second half of the half-precision numbers that the form has.
pub(super) fn widening_fused(cx: &mut Lifter<'_>, f: Form, [sub, high]: [bool; 2], [rd, rn]: [u32; 2], m: Value) {
    let n = cx.v(rn);
    let mode = u32::from(cx.mode.fp().select(1).0);
    let wide = |cx: &mut Lifter<'_>, value| {
        let part = if high { cx.b.vec(Op::VShrBytes, Lane::I8, &[value], f.bytes() / 2) } else { value };
        let part = if cx.mode.flush_half { flush_halves(cx, part) } else { part };
        let single = cx.b.vec(Op::FHalfToSingle, Lane::F32, &[part], mode);
        cx.zero_above(single, f.bytes())
    };
    let (mut n, m) = (wide(cx, n), wide(cx, m));
    if sub {
        n = negate(cx, f, n);
    }
    let old = cx.v_low(f, rd);
    let value = cx.fop(Op::FMulAdd, f.lane, &[n, m, old]);
    cx.set_v(rd, value, f.bytes());
}

pub(super) fn fmlal_v(cx: &mut Lifter<'_>, a: &a64::FmlalV) {
    let m = cx.v(a.rm);
    widening_fused(cx, Form::of(a.q, Lane::F32), [a.sub != 0, false], [a.rd, a.rn], m);
}

pub(super) fn fmlal2_v(cx: &mut Lifter<'_>, a: &a64::Fmlal2V) {
    let m = cx.v(a.rm);
    widening_fused(cx, Form::of(a.q, Lane::F32), [a.sub != 0, true], [a.rd, a.rn], m);
}

/// BFMLALB and BFMLALT: the even or odd bfloat16 numbers, which are upper halves of singles.
pub(super) fn brain_fused(cx: &mut Lifter<'_>, top: u32, [rd, rn]: [u32; 2], m: Value) {
    let n = cx.v(rn);
    let [n, m] = [n, m].map(|v| {
        if top == 0 {
            return cx.shl_imm(Lane::I32, v, 16);
        }
        let upper = cx.splat(Lane::I32, 0xffff_0000);
        cx.b.bin(Op::VAnd, v, upper)
    });
    let old = cx.v(rd);
    let value = cx.fop(Op::FMulAdd, Lane::F32, &[n, m, old]);
    cx.set_v(rd, value, 16);
}

pub(super) fn bfmlal_v(cx: &mut Lifter<'_>, a: &a64::BfmlalV) {
    let m = cx.v(a.rm);
    brain_fused(cx, a.top, [a.rd, a.rn], m);
}

pub(super) fn bfdot_v(cx: &mut Lifter<'_>, a: &a64::BfdotV) {
    cx.float(lanes(Form::of(a.q, Lane::F32), FpOp::Bfdot, [a.rd, a.rn, a.rm]));
}

pub(super) fn bfmmla_v(cx: &mut Lifter<'_>, a: &a64::BfmmlaV) {
    cx.float(lanes(Form::of(1, Lane::F32), FpOp::Bfmmla, [a.rd, a.rn, a.rm]));
}

// ---- scalars

pub(super) fn fcm_s(cx: &mut Lifter<'_>, a: &a64::FcmS) {
    compare(cx, Form::scalar_float(a.sz), a.how, [a.rd, a.rn, a.rm]);
}

pub(super) fn fcm_zero_s(cx: &mut Lifter<'_>, a: &a64::FcmZeroS) {
    compare_zero(cx, Form::scalar_float(a.sz), a.how, [a.rd, a.rn]);
}

pub(super) fn fcm_zero_v(cx: &mut Lifter<'_>, a: &a64::FcmZeroV) {
    compare_zero(cx, Form::float(a.arr), a.how, [a.rd, a.rn]);
}

pub(super) fn fmulx_s(cx: &mut Lifter<'_>, a: &a64::FmulxS) {
    multiply_extended(cx, Form::scalar_float(a.sz), [a.rd, a.rn, a.rm], None);
}

pub(super) fn frecps_s(cx: &mut Lifter<'_>, a: &a64::FrecpsS) {
    cx.float(lanes(Form::scalar_float(a.sz), step_op(a.rsqrt), [a.rd, a.rn, a.rm]));
}

pub(super) fn fabd_s(cx: &mut Lifter<'_>, a: &a64::FabdS) {
    distance(cx, Form::scalar_float(a.sz), [a.rd, a.rn, a.rm]);
}

// ---- two registers

pub(super) fn fabs_v(cx: &mut Lifter<'_>, a: &a64::FabsV) {
    let f = Form::float(a.arr);
    let n = cx.v(a.rn);
    let value = absolute(cx, f, n);
    cx.put_from(f, a.rd, value, Zeros::Stay, &[a.rn]);
}

pub(super) fn fneg_v(cx: &mut Lifter<'_>, a: &a64::FnegV) {
    let f = Form::float(a.arr);
    let n = cx.v(a.rn);
    let value = negate(cx, f, n);
    cx.put_from(f, a.rd, value, Zeros::Stay, &[a.rn]);
}

pub(super) fn fsqrt_v(cx: &mut Lifter<'_>, a: &a64::FsqrtV) {
    let f = Form::float(a.arr);
    let n = cx.v_low(f, a.rn);
    let value = cx.fop(Op::FSqrt, f.lane, &[n, n]);
    cx.set_v(a.rd, value, f.bytes());
}

pub(super) fn frint_v(cx: &mut Lifter<'_>, a: &a64::FrintV) {
    let f = Form::float(a.arr);
    let (rounding, exact) = vector_rounding(a.mode);
    let mode = cx.mode.fp().rounding(rounding);
    let mode = if exact { mode } else { mode.quiet() };
    let n = cx.v_low(f, a.rn);
    let value = cx.b.vec(Op::FRoundInt, f.lane, &[n, n], u32::from(mode.0));
    cx.set_v(a.rd, value, f.bytes());
}

/// The rounding of a vector FRINT: fields U, o2 and o1 are those of the scalar's mode in another order.
pub(super) fn vector_rounding(mode: u32) -> (Rounding, bool) {
    frint_rounding(mode & 4 | (mode & 1) << 1 | mode >> 1 & 1)
}

pub(super) fn frint_size_v(cx: &mut Lifter<'_>, a: &a64::FrintSizeV) {
    let op = if a.size != 0 { FpOp::Frint64 } else { FpOp::Frint32 };
    let rounding = if a.exact != 0 { Rounding::Current } else { Rounding::Zero };
    cx.float(lanes(Form::float(a.arr), op, [a.rd, a.rn, a.rn]).rounding(rounding, true));
}

/// FCVTNS and its family within a register.
fn to_int(cx: &mut Lifter<'_>, f: Form, u: u32, rounding: Rounding, [rd, rn]: [u32; 2]) {
    let n = cx.v_low(f, rn);
    let op = if u != 0 { Op::FToIntSatU } else { Op::FToIntSatS };
    let value = cx.fop_rounding(op, f.lane, &[n], rounding);
    cx.set_v(rd, value, f.bytes());
}

/// The rounding of a vector FCVT: fields o2 and o1, which are those of the scalar's rmode exchanged.
pub(super) fn vector_fcvt_rounding(mode: u32) -> Rounding {
    fcvt_rounding((mode & 1) << 1 | mode >> 1)
}

pub(super) fn fcvt_v(cx: &mut Lifter<'_>, a: &a64::FcvtV) {
    to_int(cx, Form::float(a.arr), a.u, vector_fcvt_rounding(a.mode), [a.rd, a.rn]);
}

pub(super) fn fcvt_s_v(cx: &mut Lifter<'_>, a: &a64::FcvtSV) {
    to_int(cx, Form::scalar_float(a.sz), a.u, vector_fcvt_rounding(a.mode), [a.rd, a.rn]);
}

pub(super) fn fcvta_v(cx: &mut Lifter<'_>, a: &a64::FcvtaV) {
    to_int(cx, Form::float(a.arr), a.u, Rounding::NearestAway, [a.rd, a.rn]);
}

pub(super) fn fcvta_s_v(cx: &mut Lifter<'_>, a: &a64::FcvtaSV) {
    to_int(cx, Form::scalar_float(a.sz), a.u, Rounding::NearestAway, [a.rd, a.rn]);
}

fn from_int(cx: &mut Lifter<'_>, f: Form, u: u32, [rd, rn]: [u32; 2]) {
    let n = cx.v_low(f, rn);
    let value = cx.fop(if u != 0 { Op::FFromIntU } else { Op::FFromIntS }, f.lane, &[n]);
    cx.set_v(rd, value, f.bytes());
}

pub(super) fn cvtf_v(cx: &mut Lifter<'_>, a: &a64::CvtfV) {
    from_int(cx, Form::float(a.arr), a.u, [a.rd, a.rn]);
}

pub(super) fn cvtf_s(cx: &mut Lifter<'_>, a: &a64::CvtfS) {
    from_int(cx, Form::scalar_float(a.sz), a.u, [a.rd, a.rn]);
}

/// FCVTL: the half of a register that `q` says, in twice the precision.
pub(super) fn fcvtl(cx: &mut Lifter<'_>, a: &a64::Fcvtl) {
    if a.sz == 0 && cx.mode.alternative_half {
        let call = Call::new(FpOp::ToSingle, 1, 4, [a.rd, a.rn, a.rn]);
        return cx.float(Call { high: a.q != 0, ..call });
    }
    let n = cx.half(a.q, a.rn);
    let value = cx.fop(if a.sz != 0 { Op::FCvtPacked } else { Op::FHalfToSingle }, Lane::F32, &[n]);
    cx.set_v(a.rd, value, 16);
}

/// FCVTN: a register in half the precision.
pub(super) fn fcvtn(cx: &mut Lifter<'_>, a: &a64::Fcvtn) {
    if a.sz == 0 && cx.mode.alternative_half {
        let call = Call::new(FpOp::FromSingle, 2, 4, [a.rd, a.rn, a.rn]);
        return cx.float(Call { high: a.q != 0, ..call });
    }
    let n = cx.v(a.rn);
    let (op, lane) = if a.sz != 0 { (Op::FCvtPacked, Lane::F64) } else { (Op::FSingleToHalf, Lane::F32) };
    let value = cx.fop(op, lane, &[n]);
    cx.put_half(a.q, a.rd, value);
}

pub(super) fn fcvtxn_v(cx: &mut Lifter<'_>, a: &a64::FcvtxnV) {
    let call = Call::new(FpOp::Fcvtxn, 3, 2, [a.rd, a.rn, a.rn]);
    cx.float(Call { high: a.q != 0, ..call });
}

pub(super) fn fcvtxn_s(cx: &mut Lifter<'_>, a: &a64::FcvtxnS) {
    cx.float(Call::new(FpOp::Fcvtxn, 3, 1, [a.rd, a.rn, a.rn]));
}

pub(super) fn bfcvtn(cx: &mut Lifter<'_>, a: &a64::Bfcvtn) {
    let call = Call::new(FpOp::Bfcvt, 2, 4, [a.rd, a.rn, a.rn]);
    cx.float(Call { high: a.q != 0, ..call });
}

/// FRECPE or FRSQRTE.
pub(super) fn estimate_op(rsqrt: u32) -> FpOp {
    if rsqrt != 0 { FpOp::Frsqrte } else { FpOp::Frecpe }
}

pub(super) fn frecpe_v(cx: &mut Lifter<'_>, a: &a64::FrecpeV) {
    cx.float(lanes(Form::float(a.arr), estimate_op(a.rsqrt), [a.rd, a.rn, a.rn]));
}

pub(super) fn frecpe_s(cx: &mut Lifter<'_>, a: &a64::FrecpeS) {
    cx.float(lanes(Form::scalar_float(a.sz), estimate_op(a.rsqrt), [a.rd, a.rn, a.rn]));
}

pub(super) fn frecpx(cx: &mut Lifter<'_>, a: &a64::Frecpx) {
    cx.float(lanes(Form::scalar_float(a.sz), FpOp::Frecpx, [a.rd, a.rn, a.rn]));
}

/// A call that combines all lanes of half precision, of which there are `count`.
pub(super) fn across_half(op: FpOp, count: u32, [rd, rn]: [u32; 2]) -> Call {
    Call { shape: Shape::Across, element: Some(count - 1), ..Call::new(op, 1, 1, [rd, rn, rn]) }
}
