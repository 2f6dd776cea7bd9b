//! Integer instructions with one operand, across lanes, and with operands and results of different widths
//! (Arm ARM C7.2).

use super::Lifter;
use super::simd::{Form, Width, Zeros, bits, int_lane, wide};
use super::simd_three::{accumulate, distance, rare, saturating_add, saturating_sub, wrapped_minimum};
use crate::decode::a64;
use crate::helpers::simd::IntOp;
use isamorph_ir::{Lane, Op, Value};

/// Declares handlers: name, type of the arguments, the form, whether zeros stay zero, and the value of all lanes.
macro_rules! two_misc {
    ($($zeros:ident { $(
        $name:ident $args:ident |$cx:ident, $a:ident, $f:ident = $form:expr, $n:ident| $value:expr;
    )* })*) => { $($(
        pub(super) fn $name($cx: &mut Lifter<'_>, $a: &a64::$args) {
            let $f = $form;
            let $n = $cx.v($a.rn);
            let value = $value;
            $cx.put_from($f, $a.rd, value, Zeros::$zeros, &[$a.rn]);
        }
    )*)* };
}

const DOUBLE: u32 = 3;

two_misc! {
    Stay {
        rev64_v Rev64V |cx, a, f = Form::vector(a.arr), n| reverse(cx, f.lane.bytes(), 8, n);
        rev32_v Rev32V |cx, a, f = Form::of(a.q, int_lane(a.size)), n| reverse(cx, f.lane.bytes(), 4, n);
        rev16_v Rev16V |cx, a, f = Form::of(a.q, Lane::I8), n| reverse(cx, f.lane.bytes(), 2, n);
        addlp Addlp |cx, a, f = Form::vector(a.arr), n| add_pairs(cx, f.lane, a.u != 0, n);
        cnt_v CntV |cx, a, f = Form::of(a.q, Lane::I8), n| cx.op(Op::VPopcnt, f.lane, &[n]);
        rbit_v RbitV |cx, a, f = Form::of(a.q, Lane::I8), n| reverse_bits(cx, f.lane, n);
        abs_v AbsV |cx, a, f = Form::vector(a.arr), n| magnitude(cx, f.lane, a.neg, n);
        abs_s AbsS |cx, a, f = Form::scalar(DOUBLE), n| magnitude(cx, f.lane, a.neg, n);
        cmlt_zero_v CmltZeroV |cx, a, f = Form::vector(a.arr), n| cx.sar_imm(f.lane, n, bits(f.lane) - 1);
        cmlt_zero_s CmltZeroS |cx, a, f = Form::scalar(DOUBLE), n| cx.sar_imm(f.lane, n, bits(f.lane) - 1);
    }
    Change {
        cls_v ClsV |cx, a, f = Form::vector(a.arr), n| leading_signs(cx, f.lane, n);
        clz_v ClzV |cx, a, f = Form::vector(a.arr), n| cx.op(Op::VLzcnt, f.lane, &[n]);
        not_v NotV |cx, a, f = Form::of(a.q, Lane::I8), n| cx.vnot(n);
        qabs_v QabsV |cx, a, f = Form::vector(a.arr), n| saturating_magnitude(cx, f, a.neg, n);
        qabs_s QabsS |cx, a, f = Form::scalar(a.size), n| saturating_magnitude(cx, f, a.neg, n);
        cmp_zero_v CmpZeroV |cx, a, f = Form::vector(a.arr), n| compare_zero(cx, f.lane, a.u, a.le, n);
        cmp_zero_s CmpZeroS |cx, a, f = Form::scalar(DOUBLE), n| compare_zero(cx, f.lane, a.u, a.le, n);
    }
}

/// Reverses the elements of that many bytes in each container of so many bytes.
fn reverse(cx: &mut Lifter<'_>, element: u32, container: u32, n: Value) -> Value {
    if element == 4 {
        return cx.b.vec(Op::VShuffle, Lane::I32, &[n], 0b10_11_00_01);
    }
    let mut selector = [0; 16];
    for (i, byte) in (0u8..).zip(&mut selector) {
        // Flipping these bits of a byte's number reverses elements but not the bytes in them.
        *byte = i ^ (container - element) as u8;
    }
    let selector = cx.vconst(u128::from_le_bytes(selector));
    cx.b.bin(Op::VShufBytes, n, selector)
}

/// Reverses the bits of each byte: a table of nibbles.
fn reverse_bits(cx: &mut Lifter<'_>, lane: Lane, n: Value) -> Value {
    let table = |shift: u32| u128::from_le_bytes(std::array::from_fn(|i| (i as u8).reverse_bits() >> shift));
    let (low_table, high_table) = (cx.vconst(table(0)), cx.vconst(table(4)));
    let mask = cx.splat(lane, 15);
    let low = cx.b.bin(Op::VAnd, n, mask);
    let high = cx.shr_imm(lane, n, 4);
    let (low, high) = (cx.b.bin(Op::VShufBytes, low_table, low), cx.b.bin(Op::VShufBytes, high_table, high));
    cx.b.bin(Op::VOr, low, high)
}

/// Sums of adjacent pairs in lanes of twice the width.
fn add_pairs(cx: &mut Lifter<'_>, lane: Lane, u: bool, n: Value) -> Value {
    let (long, width) = (wide(lane), bits(lane));
    let even = if u {
        let low = cx.splat(long, u64::MAX >> (64 - width));
        cx.b.bin(Op::VAnd, n, low)
    } else if lane == Lane::I32 {
        let evens = cx.b.vec(Op::VShuffle, Lane::I32, &[n], 0b00_00_10_00);
        cx.op(Op::VWidenS, lane, &[evens])
    } else {
        let up = cx.shl_imm(long, n, width);
        cx.sar_imm(long, up, width)
    };
    let odd = if !u && lane == Lane::I32 {
        let odds = cx.b.vec(Op::VShuffle, Lane::I32, &[n], 0b00_00_11_01);
        cx.op(Op::VWidenS, lane, &[odds])
    } else {
        cx.right_imm(u, long, n, width)
    };
    cx.op(Op::VAdd, long, &[even, odd])
}

/// UADALP and SADALP.
pub(super) fn adalp(cx: &mut Lifter<'_>, a: &a64::Adalp) {
    let f = Form::vector(a.arr);
    let n = cx.v(a.rn);
    let sums = add_pairs(cx, f.lane, a.u != 0, n);
    accumulate(cx, Form { lane: wide(f.lane), ..f }, a.rd, false, sums);
}

fn magnitude(cx: &mut Lifter<'_>, lane: Lane, neg: u32, n: Value) -> Value {
    if neg == 0 {
        return cx.op(Op::VAbs, lane, &[n]);
    }
    let zero = cx.vzero();
    cx.op(Op::VSub, lane, &[zero, n])
}

fn saturating_magnitude(cx: &mut Lifter<'_>, f: Form, neg: u32, n: Value) -> Value {
    let value = magnitude(cx, f.lane, neg, n);
    wrapped_minimum(cx, f, value)
}

/// Bits equal to the sign after it: leading zeros of the number with its sign and its neighbours compared.
fn leading_signs(cx: &mut Lifter<'_>, lane: Lane, n: Value) -> Value {
    let sign = cx.sar_imm(lane, n, bits(lane) - 1);
    let flipped = cx.b.bin(Op::VXor, n, sign);
    let count = cx.op(Op::VLzcnt, lane, &[flipped]);
    let one = cx.splat(lane, 1);
    cx.op(Op::VSub, lane, &[count, one])
}

/// CMGT, CMGE, CMEQ, CMLE with zero.
fn compare_zero(cx: &mut Lifter<'_>, lane: Lane, u: u32, le: u32, n: Value) -> Value {
    match (u, le) {
        (0, 0) => {
            let zero = cx.vzero();
            cx.op(Op::VCmpGtS, lane, &[n, zero])
        }
        (0, _) => {
            let zero = cx.vzero();
            cx.op(Op::VCmpEq, lane, &[n, zero])
        }
        (_, 0) => {
            let minus_one = cx.vconst(u128::MAX);
            cx.op(Op::VCmpGtS, lane, &[n, minus_one])
        }
        _ => {
            let one = cx.splat(lane, 1);
            cx.op(Op::VCmpGtS, lane, &[one, n])
        }
    }
}

pub(super) fn suqadd_v(cx: &mut Lifter<'_>, a: &a64::SuqaddV) {
    let op = if a.u != 0 { IntOp::Usqadd } else { IntOp::Suqadd };
    rare(cx, Form::vector(a.arr), op, [a.rd, a.rn, a.rn], None);
}

pub(super) fn suqadd_s(cx: &mut Lifter<'_>, a: &a64::SuqaddS) {
    let op = if a.u != 0 { IntOp::Usqadd } else { IntOp::Suqadd };
    rare(cx, Form::scalar(a.size), op, [a.rd, a.rn, a.rn], None);
}

pub(super) fn urecpe(cx: &mut Lifter<'_>, a: &a64::Urecpe) {
    let op = if a.rsqrt != 0 { IntOp::Ursqrte } else { IntOp::Urecpe };
    rare(cx, Form::of(a.q, Lane::I32), op, [a.rd, a.rn, a.rn], None);
}

// ---- narrowing

/// How a number is made to fit half its width.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Narrowing {
    /// Its low half.
    Truncate,
    /// Signed to signed, saturating.
    Signed,
    /// Signed to unsigned.
    SignedToUnsigned,
    /// Unsigned to unsigned.
    Unsigned,
}

/// Lanes of twice the width of `lane`, narrowed into the low half. `f` says what counts for saturation: the wide lanes.
pub(super) fn narrow(cx: &mut Lifter<'_>, f: Form, how: Narrowing, value: Value) -> Value {
    let half = bits(f.lane) / 2;
    let clamped = match how {
        Narrowing::Truncate => value,
        Narrowing::Unsigned => {
            let high = cx.splat(f.lane, (1 << half) - 1);
            cx.op(Op::VMinU, f.lane, &[value, high])
        }
        Narrowing::Signed | Narrowing::SignedToUnsigned => {
            let (low, high) = match how {
                Narrowing::Signed => (-(1i64 << (half - 1)), (1 << (half - 1)) - 1),
                _ => (0, (1 << half) - 1),
            };
            let (low, high) = (cx.splat(f.lane, low as u64), cx.splat(f.lane, high));
            let clamped = cx.op(Op::VMinS, f.lane, &[value, high]);
            cx.op(Op::VMaxS, f.lane, &[clamped, low])
        }
    };
    if how != Narrowing::Truncate {
        let difference = cx.b.bin(Op::VXor, value, clamped);
        cx.saturated(f, difference);
    }
    if f.lane == Lane::I64 {
        return cx.b.vec(Op::VShuffle, Lane::I32, &[clamped], 0b10_00_10_00);
    }
    let zero = cx.vzero();
    cx.op(Op::VNarrow, f.lane, &[clamped, zero])
}

/// A narrowing of a whole register to the half that `q` says.
pub(super) fn narrow_vector(cx: &mut Lifter<'_>, q: u32, size: u32, how: Narrowing, [rd, value]: [u32; 2]) {
    let f = Form::of(1, wide(int_lane(size)));
    let value = cx.v(value);
    let value = narrow(cx, f, how, value);
    cx.put_half(q, rd, value);
}

fn narrow_scalar(cx: &mut Lifter<'_>, size: u32, how: Narrowing, [rd, rn]: [u32; 2]) {
    let lane = int_lane(size);
    let value = cx.v(rn);
    let value = narrow(cx, Form { lane: wide(lane), width: Width::Scalar }, how, value);
    cx.put(Form { lane, width: Width::Scalar }, rd, value);
}

/// SQXTN or UQXTN.
pub(super) fn saturating(u: u32) -> Narrowing {
    if u != 0 { Narrowing::Unsigned } else { Narrowing::Signed }
}

pub(super) fn xtn(cx: &mut Lifter<'_>, a: &a64::Xtn) {
    narrow_vector(cx, a.q, a.size, Narrowing::Truncate, [a.rd, a.rn]);
}

pub(super) fn sqxtun_v(cx: &mut Lifter<'_>, a: &a64::SqxtunV) {
    narrow_vector(cx, a.q, a.size, Narrowing::SignedToUnsigned, [a.rd, a.rn]);
}

pub(super) fn sqxtun_s(cx: &mut Lifter<'_>, a: &a64::SqxtunS) {
    narrow_scalar(cx, a.size, Narrowing::SignedToUnsigned, [a.rd, a.rn]);
}

pub(super) fn qxtn_v(cx: &mut Lifter<'_>, a: &a64::QxtnV) {
    narrow_vector(cx, a.q, a.size, saturating(a.u), [a.rd, a.rn]);
}

pub(super) fn qxtn_s(cx: &mut Lifter<'_>, a: &a64::QxtnS) {
    narrow_scalar(cx, a.size, saturating(a.u), [a.rd, a.rn]);
}

// ---- across lanes

/// ADDV, SADDLV, UADDLV: a sum of all lanes, in a lane of the given width.
fn sum_across(cx: &mut Lifter<'_>, f: Form, n: Value, result: Lane) -> Value {
    // Adding the halves of what is left: the upper lanes that this leaves do not matter.
    let mut value = n;
    let mut bytes = f.bytes();
    while bytes > f.lane.bytes() {
        bytes /= 2;
        let high = cx.b.vec(Op::VShrBytes, Lane::I8, &[value], bytes);
        value = cx.op(Op::VAdd, f.lane, &[value, high]);
    }
    cx.zero_above(value, result.bytes())
}

pub(super) fn addv(cx: &mut Lifter<'_>, a: &a64::Addv) {
    let f = Form::vector(a.arr);
    let n = cx.v_low(f, a.rn);
    let value = if f.lane == Lane::I8 { byte_sum(cx, f, n) } else { sum_across(cx, f, n, f.lane) };
    cx.put(Form { width: Width::Scalar, ..f }, a.rd, value);
}

/// The sum of all bytes, in the lowest 16 bits. What is above the form's bytes must be zero.
fn byte_sum(cx: &mut Lifter<'_>, f: Form, n: Value) -> Value {
    let zero = cx.vzero();
    let sums = cx.b.bin(Op::VSadU, n, zero);
    if f.width == Width::Half {
        return sums;
    }
    let high = cx.high_half(sums);
    cx.op(Op::VAdd, Lane::I32, &[sums, high])
}

pub(super) fn addlv(cx: &mut Lifter<'_>, a: &a64::Addlv) {
    let f = Form::vector(a.arr);
    let long = wide(f.lane);
    let value = if a.u != 0 && f.lane == Lane::I8 {
        let n = cx.v_low(f, a.rn);
        byte_sum(cx, f, n)
    } else {
        let n = cx.v(a.rn);
        let pairs = add_pairs(cx, f.lane, a.u != 0, n);
        sum_across(cx, Form { lane: long, ..f }, pairs, long)
    };
    cx.put(Form { lane: long, width: Width::Scalar }, a.rd, value);
}

/// SMAXV and its family, by halves.
fn extreme_across(cx: &mut Lifter<'_>, arr: u32, op: Op, [rd, rn]: [u32; 2]) {
    let f = Form::vector(arr);
    let mut value = cx.v(rn);
    let mut bytes = f.bytes();
    while bytes > f.lane.bytes() {
        bytes /= 2;
        let high = cx.b.vec(Op::VShrBytes, Lane::I8, &[value], bytes);
        value = cx.op(op, f.lane, &[value, high]);
    }
    cx.put(Form { width: Width::Scalar, ..f }, rd, value);
}

pub(super) fn maxv(cx: &mut Lifter<'_>, a: &a64::Maxv) {
    extreme_across(cx, a.arr, if a.u != 0 { Op::VMaxU } else { Op::VMaxS }, [a.rd, a.rn]);
}

pub(super) fn minv(cx: &mut Lifter<'_>, a: &a64::Minv) {
    extreme_across(cx, a.arr, if a.u != 0 { Op::VMinU } else { Op::VMinS }, [a.rd, a.rn]);
}

// ---- widening

fn widen_op(u: u32) -> Op {
    if u != 0 { Op::VWidenU } else { Op::VWidenS }
}

/// The half of a register that `q` says, with its lanes widened.
fn widened(cx: &mut Lifter<'_>, q: u32, u: u32, lane: Lane, n: u32) -> Value {
    let half = cx.half(q, n);
    cx.op(widen_op(u), lane, &[half])
}

/// SHLL: shifted by the width of the lanes.
pub(super) fn shll(cx: &mut Lifter<'_>, a: &a64::Shll) {
    let lane = int_lane(a.size);
    let zero = cx.vzero();
    let op = if a.q != 0 { Op::VZipHi } else { Op::VZipLo };
    let n = cx.v(a.rn);
    let value = cx.op(op, lane, &[zero, n]);
    cx.set_v(a.rd, value, 16);
}

/// Products of the low lanes of two halves, in lanes of twice the width.
pub(super) fn wide_product(cx: &mut Lifter<'_>, u: u32, lane: Lane, n: Value, m: Value) -> Value {
    match lane {
        Lane::I8 => {
            let [n, m] = [n, m].map(|v| cx.op(widen_op(u), lane, &[v]));
            cx.op(Op::VMulLo, Lane::I16, &[n, m])
        }
        Lane::I16 => {
            let low = cx.op(Op::VMulLo, lane, &[n, m]);
            let high = cx.op(if u != 0 { Op::VMulHiU } else { Op::VMulHiS }, lane, &[n, m]);
            cx.op(Op::VZipLo, lane, &[low, high])
        }
        _ => {
            let [n, m] = [n, m].map(|v| cx.op(Op::VZipLo, Lane::I32, &[v, v]));
            cx.op(if u != 0 { Op::VMulWideU } else { Op::VMulWideS }, Lane::I32, &[n, m])
        }
    }
}

/// Twice the signed product, saturated: only the most negative number squared does not fit.
pub(super) fn doubled_product(cx: &mut Lifter<'_>, f: Form, lane: Lane, n: Value, m: Value) -> Value {
    let product = wide_product(cx, 0, lane, n, m);
    let doubled = cx.op(Op::VAdd, f.lane, &[product, product]);
    wrapped_minimum(cx, f, doubled)
}

/// Declares widening instructions: name, type of the arguments, and the value from the arguments and both halves.
macro_rules! widening {
    ($($name:ident $args:ident |$cx:ident, $a:ident, $lane:ident, $n:ident, $m:ident| $value:expr;)*) => { $(
        pub(super) fn $name($cx: &mut Lifter<'_>, $a: &a64::$args) {
            let $lane = int_lane($a.size);
            let ($n, $m) = ($cx.half($a.q, $a.rn), $cx.half($a.q, $a.rm));
            let value = $value;
            $cx.set_v($a.rd, value, 16);
        }
    )* };
}
widening! {
    addl Addl |cx, a, lane, n, m| sum_wide(cx, Op::VAdd, a.u, lane, n, m);
    subl Subl |cx, a, lane, n, m| sum_wide(cx, Op::VSub, a.u, lane, n, m);
    abdl Abdl |cx, a, lane, n, m| wide_distance(cx, a.u, lane, n, m);
    mull Mull |cx, a, lane, n, m| wide_product(cx, a.u, lane, n, m);
    abal Abal |cx, a, lane, n, m| {
        let value = wide_distance(cx, a.u, lane, n, m);
        onto(cx, Op::VAdd, lane, a.rd, value)
    };
    mlal Mlal |cx, a, lane, n, m| {
        let value = wide_product(cx, a.u, lane, n, m);
        onto(cx, Op::VAdd, lane, a.rd, value)
    };
    mlsl Mlsl |cx, a, lane, n, m| {
        let value = wide_product(cx, a.u, lane, n, m);
        onto(cx, Op::VSub, lane, a.rd, value)
    };
    qdmull_v QdmullV |cx, a, lane, n, m| doubled_product(cx, Form::of(1, wide(lane)), lane, n, m);
    qdmlal_v QdmlalV |cx, a, lane, n, m| doubled_onto(cx, Form::of(1, wide(lane)), lane, false, a.rd, [n, m]);
    qdmlsl_v QdmlslV |cx, a, lane, n, m| doubled_onto(cx, Form::of(1, wide(lane)), lane, true, a.rd, [n, m]);
}

fn sum_wide(cx: &mut Lifter<'_>, op: Op, u: u32, lane: Lane, n: Value, m: Value) -> Value {
    let [n, m] = [n, m].map(|v| cx.op(widen_op(u), lane, &[v]));
    cx.op(op, wide(lane), &[n, m])
}

fn wide_distance(cx: &mut Lifter<'_>, u: u32, lane: Lane, n: Value, m: Value) -> Value {
    let value = distance(cx, lane, u, n, m);
    cx.op(Op::VWidenU, lane, &[value])
}

/// The destination, plus or minus a value in lanes of twice the width of `lane`.
fn onto(cx: &mut Lifter<'_>, op: Op, lane: Lane, rd: u32, value: Value) -> Value {
    let old = cx.v(rd);
    cx.op(op, wide(lane), &[old, value])
}

/// SQDMLAL and SQDMLSL: both steps saturate.
pub(super) fn doubled_onto(cx: &mut Lifter<'_>, f: Form, lane: Lane, sub: bool, rd: u32, [n, m]: [Value; 2]) -> Value {
    let product = doubled_product(cx, f, lane, n, m);
    let old = cx.v(rd);
    if sub { saturating_sub(cx, f, false, old, product) } else { saturating_add(cx, f, false, old, product) }
}

/// The form of the result of a scalar widening instruction.
pub(super) fn wide_scalar(lane: Lane) -> Form {
    Form { lane: wide(lane), width: Width::Scalar }
}

pub(super) fn qdmull_s(cx: &mut Lifter<'_>, a: &a64::QdmullS) {
    let lane = int_lane(a.size);
    let (n, m) = (cx.v(a.rn), cx.v(a.rm));
    let value = doubled_product(cx, wide_scalar(lane), lane, n, m);
    cx.put(wide_scalar(lane), a.rd, value);
}

pub(super) fn qdmlal_s(cx: &mut Lifter<'_>, a: &a64::QdmlalS) {
    let lane = int_lane(a.size);
    let (n, m) = (cx.v(a.rn), cx.v(a.rm));
    let value = doubled_onto(cx, wide_scalar(lane), lane, false, a.rd, [n, m]);
    cx.put(wide_scalar(lane), a.rd, value);
}

pub(super) fn qdmlsl_s(cx: &mut Lifter<'_>, a: &a64::QdmlslS) {
    let lane = int_lane(a.size);
    let (n, m) = (cx.v(a.rn), cx.v(a.rm));
    let value = doubled_onto(cx, wide_scalar(lane), lane, true, a.rd, [n, m]);
    cx.put(wide_scalar(lane), a.rd, value);
}

pub(super) fn addw(cx: &mut Lifter<'_>, a: &a64::Addw) {
    let lane = int_lane(a.size);
    let m = widened(cx, a.q, a.u, lane, a.rm);
    let n = cx.v(a.rn);
    let value = cx.op(Op::VAdd, wide(lane), &[n, m]);
    cx.set_v(a.rd, value, 16);
}

pub(super) fn subw(cx: &mut Lifter<'_>, a: &a64::Subw) {
    let lane = int_lane(a.size);
    let m = widened(cx, a.q, a.u, lane, a.rm);
    let n = cx.v(a.rn);
    let value = cx.op(Op::VSub, wide(lane), &[n, m]);
    cx.set_v(a.rd, value, 16);
}

/// ADDHN, RADDHN, SUBHN, RSUBHN: the high halves of sums or differences.
fn high_narrow(cx: &mut Lifter<'_>, op: Op, [q, round, size]: [u32; 3], [rd, rn, rm]: [u32; 3]) {
    let f = Form::of(1, wide(int_lane(size)));
    let half = bits(f.lane) / 2;
    let (n, m) = (cx.v(rn), cx.v(rm));
    let mut value = cx.op(op, f.lane, &[n, m]);
    if round != 0 {
        let bias = cx.splat(f.lane, 1 << (half - 1));
        value = cx.op(Op::VAdd, f.lane, &[value, bias]);
    }
    let high = cx.shr_imm(f.lane, value, half);
    let value = narrow(cx, f, Narrowing::Truncate, high);
    cx.put_half(q, rd, value);
}

pub(super) fn addhn(cx: &mut Lifter<'_>, a: &a64::Addhn) {
    high_narrow(cx, Op::VAdd, [a.q, a.round, a.size], [a.rd, a.rn, a.rm]);
}

pub(super) fn subhn(cx: &mut Lifter<'_>, a: &a64::Subhn) {
    high_narrow(cx, Op::VSub, [a.q, a.round, a.size], [a.rd, a.rn, a.rm]);
}

pub(super) fn pmull(cx: &mut Lifter<'_>, a: &a64::Pmull) {
    let (n, m) = (cx.half(a.q, a.rn), cx.half(a.q, a.rm));
    let value = cx.op(Op::VPolyMulWide, Lane::I8, &[n, m]);
    cx.set_v(a.rd, value, 16);
}

pub(super) fn pmull_d(cx: &mut Lifter<'_>, a: &a64::PmullD) {
    let (n, m) = (cx.v(a.rn), cx.v(a.rm));
    let halves = if a.q != 0 { 0x11 } else { 0 };
    let value = cx.b.vec(Op::ClMul, Lane::I8, &[n, m], halves);
    cx.set_v(a.rd, value, 16);
}
