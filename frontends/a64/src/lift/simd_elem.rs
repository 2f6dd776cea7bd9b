//! Instructions with an element as an operand (Arm ARM C7.2, "by element").

use super::Lifter;
use super::fp::HALF_FORM;
use super::simd::{Form, Width, Zeros, wide};
use super::simd_fp::{brain_fused, complex_multiply, fcmla_elem_half, fused, multiply_extended, widening_fused};
use super::simd_misc::{doubled_onto, doubled_product, wide_product, wide_scalar};
use super::simd_three::{accumulate, dot, doubling_high, rare, rounding_accumulate};
use crate::decode::a64;
use crate::helpers::fp::{Call, FpOp};
use isamorph_ir::{Lane, Op, Value};

/// One element of a register in all lanes.
fn element(cx: &mut Lifter<'_>, lane: Lane, rm: u32, idx: u32) -> Value {
    let m = cx.v(rm);
    cx.b.vec(Op::VDupLane, lane, &[m], idx)
}

/// Registers of an instruction, and the number of the element of the last one.
type Operands = [u32; 4];

fn multiply(cx: &mut Lifter<'_>, f: Form, [rd, rn, rm, idx]: Operands) {
    let (n, m) = (cx.v(rn), element(cx, f.lane, rm, idx));
    let value = cx.op(Op::VMulLo, f.lane, &[n, m]);
    cx.put_from(f, rd, value, Zeros::Stay, &[rn]);
}

fn multiply_accumulate(cx: &mut Lifter<'_>, f: Form, sub: u32, [rd, rn, rm, idx]: Operands) {
    let (n, m) = (cx.v(rn), element(cx, f.lane, rm, idx));
    let value = cx.op(Op::VMulLo, f.lane, &[n, m]);
    accumulate(cx, f, rd, sub != 0, value);
}

/// SMULL and UMULL.
fn long(cx: &mut Lifter<'_>, lane: Lane, [q, u]: [u32; 2], [rd, rn, rm, idx]: Operands) {
    let (n, m) = (cx.half(q, rn), element(cx, lane, rm, idx));
    let value = wide_product(cx, u, lane, n, m);
    cx.set_v(rd, value, 16);
}

/// SMLAL and its family.
fn long_accumulate(cx: &mut Lifter<'_>, lane: Lane, [q, u, sub]: [u32; 3], [rd, rn, rm, idx]: Operands) {
    let (n, m) = (cx.half(q, rn), element(cx, lane, rm, idx));
    let value = wide_product(cx, u, lane, n, m);
    accumulate(cx, Form::of(1, wide(lane)), rd, sub != 0, value);
}

/// SQDMULL of a half, or (no `q`) of scalars.
fn doubled(cx: &mut Lifter<'_>, lane: Lane, q: Option<u32>, [rd, rn, rm, idx]: Operands) {
    let f = q.map_or(wide_scalar(lane), |_| Form::of(1, wide(lane)));
    let (n, m) = (cx.half(q.unwrap_or(0), rn), element(cx, lane, rm, idx));
    let value = doubled_product(cx, f, lane, n, m);
    cx.put(f, rd, value);
}

/// SQDMLAL and SQDMLSL, likewise.
fn doubled_accumulate(cx: &mut Lifter<'_>, lane: Lane, q: Option<u32>, sub: u32, [rd, rn, rm, idx]: Operands) {
    let f = q.map_or(wide_scalar(lane), |_| Form::of(1, wide(lane)));
    let (n, m) = (cx.half(q.unwrap_or(0), rn), element(cx, lane, rm, idx));
    let value = doubled_onto(cx, f, lane, sub != 0, rd, [n, m]);
    cx.put(f, rd, value);
}

fn high(cx: &mut Lifter<'_>, f: Form, round: u32, [rd, rn, rm, idx]: Operands) {
    let (n, m) = (cx.v(rn), element(cx, f.lane, rm, idx));
    let value = doubling_high(cx, f, round != 0, n, m);
    cx.put(f, rd, value);
}

fn high_accumulate(cx: &mut Lifter<'_>, f: Form, sub: u32, [rd, rn, rm, idx]: Operands) {
    rare(cx, f, rounding_accumulate(sub), [rd, rn, rm], Some(idx));
}

/// The form of a scalar integer.
const fn scalar(lane: Lane) -> Form {
    Form { lane, width: Width::Scalar }
}

/// The number of an element from H:L:M, of which H comes last in the encoding.
const fn h_first_of_3(idx: u32) -> u32 {
    idx >> 1 | (idx & 1) << 2
}

/// The same from H:L.
const fn h_first_of_2(idx: u32) -> u32 {
    idx >> 1 | (idx & 1) << 1
}

/// The same from H alone.
const fn whole(idx: u32) -> u32 {
    idx
}

/// Declares handlers: name, type of the arguments, how the element's number is read, what is done.
macro_rules! by_element {
    ($($name:ident $args:ident |$cx:ident, $a:ident, $o:ident = $number:ident| $body:expr;)*) => { $(
        pub(super) fn $name($cx: &mut Lifter<'_>, $a: &a64::$args) {
            let $o = [$a.rd, $a.rn, $a.rm, $number($a.idx)];
            $body
        }
    )* };
}
by_element! {
    mla_elem_h MlaElemH |cx, a, o = h_first_of_3| multiply_accumulate(cx, Form::of(a.q, Lane::I16), a.sub, o);
    mla_elem_w MlaElemW |cx, a, o = h_first_of_2| multiply_accumulate(cx, Form::of(a.q, Lane::I32), a.sub, o);
    mul_elem_h MulElemH |cx, a, o = h_first_of_3| multiply(cx, Form::of(a.q, Lane::I16), o);
    mul_elem_w MulElemW |cx, a, o = h_first_of_2| multiply(cx, Form::of(a.q, Lane::I32), o);
    mlal_elem_h MlalElemH |cx, a, o = h_first_of_3| long_accumulate(cx, Lane::I16, [a.q, a.u, a.sub], o);
    mlal_elem_w MlalElemW |cx, a, o = h_first_of_2| long_accumulate(cx, Lane::I32, [a.q, a.u, a.sub], o);
    mull_elem_h MullElemH |cx, a, o = h_first_of_3| long(cx, Lane::I16, [a.q, a.u], o);
    mull_elem_w MullElemW |cx, a, o = h_first_of_2| long(cx, Lane::I32, [a.q, a.u], o);
    qdmlal_elem_h QdmlalElemH |cx, a, o = h_first_of_3| doubled_accumulate(cx, Lane::I16, Some(a.q), a.sub, o);
    qdmlal_elem_w QdmlalElemW |cx, a, o = h_first_of_2| doubled_accumulate(cx, Lane::I32, Some(a.q), a.sub, o);
    qdmull_elem_h QdmullElemH |cx, a, o = h_first_of_3| doubled(cx, Lane::I16, Some(a.q), o);
    qdmull_elem_w QdmullElemW |cx, a, o = h_first_of_2| doubled(cx, Lane::I32, Some(a.q), o);
    qdmulh_elem_h QdmulhElemH |cx, a, o = h_first_of_3| high(cx, Form::of(a.q, Lane::I16), a.round, o);
    qdmulh_elem_w QdmulhElemW |cx, a, o = h_first_of_2| high(cx, Form::of(a.q, Lane::I32), a.round, o);
    qrdmlah_elem_h QrdmlahElemH |cx, a, o = h_first_of_3| high_accumulate(cx, Form::of(a.q, Lane::I16), a.sub, o);
    qrdmlah_elem_w QrdmlahElemW |cx, a, o = h_first_of_2| high_accumulate(cx, Form::of(a.q, Lane::I32), a.sub, o);
    qdmlal_elem_sh QdmlalElemSh |cx, a, o = h_first_of_3| doubled_accumulate(cx, Lane::I16, None, a.sub, o);
    qdmlal_elem_sw QdmlalElemSw |cx, a, o = h_first_of_2| doubled_accumulate(cx, Lane::I32, None, a.sub, o);
    qdmull_elem_sh QdmullElemSh |cx, a, o = h_first_of_3| doubled(cx, Lane::I16, None, o);
    qdmull_elem_sw QdmullElemSw |cx, a, o = h_first_of_2| doubled(cx, Lane::I32, None, o);
    qdmulh_elem_sh QdmulhElemSh |cx, a, o = h_first_of_3| high(cx, scalar(Lane::I16), a.round, o);
    qdmulh_elem_sw QdmulhElemSw |cx, a, o = h_first_of_2| high(cx, scalar(Lane::I32), a.round, o);
    qrdmlah_elem_sh QrdmlahElemSh |cx, a, o = h_first_of_3| high_accumulate(cx, scalar(Lane::I16), a.sub, o);
    qrdmlah_elem_sw QrdmlahElemSw |cx, a, o = h_first_of_2| high_accumulate(cx, scalar(Lane::I32), a.sub, o);
    dot_elem DotElem |cx, a, o = h_first_of_2| dots(cx, a.q, [a.u != 0; 2], o);
    sudot_elem SudotElem |cx, a, o = h_first_of_2| dots(cx, a.q, [a.us != 0, a.us == 0], o);
    fmla_elem_h FmlaElemH |cx, a, o = h_first_of_3| half_accumulate(cx, Form::of(a.q, Lane::I16), a.sub, o);
    fmla_elem_sh FmlaElemSh |cx, a, o = h_first_of_3| half_accumulate(cx, HALF_FORM, a.sub, o);
    fmul_elem_h FmulElemH |cx, a, o = h_first_of_3| half_multiply(cx, Form::of(a.q, Lane::I16), a.ext, o);
    fmul_elem_sh FmulElemSh |cx, a, o = h_first_of_3| half_multiply(cx, HALF_FORM, a.ext, o);
    fmla_elem_s FmlaElemS |cx, a, o = h_first_of_2| float_accumulate(cx, Form::of(a.q, Lane::F32), a.sub, o);
    fmla_elem_ss FmlaElemSs |cx, a, o = h_first_of_2| float_accumulate(cx, Form::scalar_float(0), a.sub, o);
    fmul_elem_s FmulElemS |cx, a, o = h_first_of_2| float_multiply(cx, Form::of(a.q, Lane::F32), a.ext, o);
    fmul_elem_ss FmulElemSs |cx, a, o = h_first_of_2| float_multiply(cx, Form::scalar_float(0), a.ext, o);
    fmla_elem_d FmlaElemD |cx, a, o = whole| float_accumulate(cx, Form::of(1, Lane::F64), a.sub, o);
    fmla_elem_sd FmlaElemSd |cx, a, o = whole| float_accumulate(cx, Form::scalar_float(1), a.sub, o);
    fmul_elem_d FmulElemD |cx, a, o = whole| float_multiply(cx, Form::of(1, Lane::F64), a.ext, o);
    fmul_elem_sd FmulElemSd |cx, a, o = whole| float_multiply(cx, Form::scalar_float(1), a.ext, o);
}

/// FCMLA: the element is a pair, the real part first.
pub(super) fn fcmla_elem_s(cx: &mut Lifter<'_>, a: &a64::FcmlaElemS) {
    let f = Form::of(1, Lane::F32);
    let m = element(cx, Lane::I64, a.rm, whole(a.idx));
    complex_multiply(cx, f, a.rot, [a.rd, a.rn], m);
}

pub(super) fn fcmla_elem_h(cx: &mut Lifter<'_>, a: &a64::FcmlaElemH) {
    // Q and H side by side; with 64 bits there are two pairs, of which L tells one.
    let (q, h) = (a.qh >> 1, a.qh & 1);
    fcmla_elem_half(cx, q, a.rot, [a.rd, a.rn, a.rm], h << 1 | a.idx);
}

/// FMLAL, FMLAL2 and so on: U and opcode<3> are the same.
pub(super) fn fmlal_elem(cx: &mut Lifter<'_>, a: &a64::FmlalElem) {
    let m = element(cx, Lane::I16, a.rm, h_first_of_3(a.idx));
    widening_fused(cx, Form::of(a.q, Lane::F32), [a.sub != 0, a.hi != 0], [a.rd, a.rn], m);
}

pub(super) fn bfmlal_elem(cx: &mut Lifter<'_>, a: &a64::BfmlalElem) {
    let m = element(cx, Lane::I16, a.rm, h_first_of_3(a.idx));
    brain_fused(cx, a.top, [a.rd, a.rn], m);
}

pub(super) fn bfdot_elem(cx: &mut Lifter<'_>, a: &a64::BfdotElem) {
    let call = Call::new(FpOp::Bfdot, 2, 2 << a.q, [a.rd, a.rn, a.rm]);
    cx.float(Call { element: Some(h_first_of_2(a.idx)), ..call });
}

fn dots(cx: &mut Lifter<'_>, q: u32, u: [bool; 2], [rd, rn, rm, idx]: Operands) {
    let (n, m) = (cx.v(rn), element(cx, Lane::I32, rm, idx));
    let value = dot(cx, u, n, m);
    accumulate(cx, Form::of(q, Lane::I32), rd, false, value);
}

fn half_call(f: Form, op: FpOp, [rd, rn, rm, idx]: Operands) -> Call {
    Call { element: Some(idx), ..Call::new(op, 1, f.bytes() / 2, [rd, rn, rm]) }
}

fn half_accumulate(cx: &mut Lifter<'_>, f: Form, sub: u32, o: Operands) {
    cx.float(half_call(f, if sub != 0 { FpOp::Fmls } else { FpOp::Fmla }, o));
}

fn half_multiply(cx: &mut Lifter<'_>, f: Form, ext: u32, o: Operands) {
    cx.float(half_call(f, if ext != 0 { FpOp::Fmulx } else { FpOp::Fmul }, o));
}

/// One element of a register in all lanes that the form has.
fn float_element(cx: &mut Lifter<'_>, f: Form, rm: u32, idx: u32) -> Value {
    if f.width == Width::Scalar && idx == 0 {
        return cx.v(rm);
    }
    let value = element(cx, f.int(), rm, idx);
    // What is computed of other lanes must not be reported.
    if f.width == Width::Half { cx.zero_above(value, 8) } else { value }
}

fn float_accumulate(cx: &mut Lifter<'_>, f: Form, sub: u32, [rd, rn, rm, idx]: Operands) {
    let m = float_element(cx, f, rm, idx);
    fused(cx, f, sub != 0, [rd, rn], m);
}

fn float_multiply(cx: &mut Lifter<'_>, f: Form, ext: u32, [rd, rn, rm, idx]: Operands) {
    if ext != 0 {
        return multiply_extended(cx, f, [rd, rn, rm], Some(idx));
    }
    let (n, m) = (cx.v_low(f, rn), float_element(cx, f, rm, idx));
    let value = cx.fop(Op::FMul, f.lane, &[n, m]);
    cx.set_v(rd, value, f.bytes());
}
