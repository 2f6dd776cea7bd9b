//! Integer instructions with two operands and a result of the same type (Arm ARM C7.2).
//!
//! A function without `cx.put` computes all lanes of a register; by-element and scalar forms share it.

use super::Lifter;
use super::simd::{Form, Width, Zeros, bits, wide};
use super::simd_move::unzip;
use crate::decode::a64;
use crate::helpers;
use crate::helpers::simd::{IntCall, IntOp};
use crate::state;
use isamorph_ir::{Lane, Op, Type, Value};

/// Registers of an instruction: destination and two sources.
type Registers = [u32; 3];

/// `v[rd] = compute(v[rn], v[rm])`.
fn three(
    cx: &mut Lifter<'_>,
    f: Form,
    [rd, rn, rm]: Registers,
    zeros: Zeros,
    compute: impl FnOnce(&mut Lifter<'_>, Value, Value) -> Value,
) {
    let (n, m) = (cx.v(rn), cx.v(rm));
    let value = compute(cx, n, m);
    cx.put_from(f, rd, value, zeros, &[rn, rm]);
}

/// Declares handlers: name, type of the arguments, the form, whether zeros stay zero, and the value of all lanes.
macro_rules! three_same {
    ($($zeros:ident { $(
        $name:ident $args:ident |$cx:ident, $a:ident, $f:ident = $form:expr, $n:ident, $m:ident| $value:expr;
    )* })*) => { $($(
        pub(super) fn $name(cx: &mut Lifter<'_>, $a: &a64::$args) {
            let $f = $form;
            three(cx, $f, [$a.rd, $a.rn, $a.rm], Zeros::$zeros, |$cx, $n, $m| $value);
        }
    )*)* };
}

const DOUBLE: u32 = 3;

three_same! {
    Stay {
        hadd_v HaddV |cx, a, f = Form::vector(a.arr), n, m| halving_add(cx, f.lane, a.u != 0, n, m);
        rhadd_v RhaddV |cx, a, f = Form::vector(a.arr), n, m| rounding_halving_add(cx, f.lane, a.u != 0, n, m);
        hsub_v HsubV |cx, a, f = Form::vector(a.arr), n, m| halving_sub(cx, f.lane, a.u != 0, n, m);
        max_v MaxV |cx, a, f = Form::vector(a.arr), n, m| cx.op(max_op(a.u), f.lane, &[n, m]);
        min_v MinV |cx, a, f = Form::vector(a.arr), n, m| cx.op(min_op(a.u), f.lane, &[n, m]);
        abd_v AbdV |cx, a, f = Form::vector(a.arr), n, m| distance(cx, f.lane, a.u, n, m);
        add_v AddV |cx, a, f = Form::vector(a.arr), n, m| cx.op(Op::VAdd, f.lane, &[n, m]);
        sub_v SubV |cx, a, f = Form::vector(a.arr), n, m| cx.op(Op::VSub, f.lane, &[n, m]);
        mul_v MulV |cx, a, f = Form::vector(a.arr), n, m| cx.op(Op::VMulLo, f.lane, &[n, m]);
        pmul_v PmulV |cx, a, f = Form::of(a.q, Lane::I8), n, m| cx.op(Op::VPolyMul, f.lane, &[n, m]);
        shl_v ShlV |cx, a, f = Form::vector(a.arr), n, m| shift(cx, f.lane, a.u != 0, false, n, m);
        rshl_v RshlV |cx, a, f = Form::vector(a.arr), n, m| shift(cx, f.lane, a.u != 0, true, n, m);
        cmgt_v CmgtV |cx, a, f = Form::vector(a.arr), n, m| cx.op(gt_op(a.u), f.lane, &[n, m]);
        cmtst_v CmtstV |cx, a, f = Form::vector(a.arr), n, m| test(cx, f.lane, n, m);
        shl_s ShlS |cx, a, f = Form::scalar(DOUBLE), n, m| shift(cx, f.lane, a.u != 0, false, n, m);
        rshl_s RshlS |cx, a, f = Form::scalar(DOUBLE), n, m| shift(cx, f.lane, a.u != 0, true, n, m);
        add_s AddS |cx, a, f = Form::scalar(DOUBLE), n, m| cx.op(Op::VAdd, f.lane, &[n, m]);
        sub_s SubS |cx, a, f = Form::scalar(DOUBLE), n, m| cx.op(Op::VSub, f.lane, &[n, m]);
        cmgt_s CmgtS |cx, a, f = Form::scalar(DOUBLE), n, m| cx.op(gt_op(a.u), f.lane, &[n, m]);
        cmtst_s CmtstS |cx, a, f = Form::scalar(DOUBLE), n, m| test(cx, f.lane, n, m);
    }
    Change {
        cmge_v CmgeV |cx, a, f = Form::vector(a.arr), n, m| at_least(cx, f.lane, a.u, n, m);
        cmeq_v CmeqV |cx, a, f = Form::vector(a.arr), n, m| cx.op(Op::VCmpEq, f.lane, &[n, m]);
        cmge_s CmgeS |cx, a, f = Form::scalar(DOUBLE), n, m| at_least(cx, f.lane, a.u, n, m);
        cmeq_s CmeqS |cx, a, f = Form::scalar(DOUBLE), n, m| cx.op(Op::VCmpEq, f.lane, &[n, m]);
        maxp_v MaxpV |cx, a, f = Form::vector(a.arr), n, m| pairs(cx, f, max_op(a.u), n, m);
        minp_v MinpV |cx, a, f = Form::vector(a.arr), n, m| pairs(cx, f, min_op(a.u), n, m);
        addp_v AddpV |cx, a, f = Form::vector(a.arr), n, m| pairs(cx, f, Op::VAdd, n, m);
        qadd_v QaddV |cx, a, f = Form::vector(a.arr), n, m| saturating_add(cx, f, a.u != 0, n, m);
        qadd_s QaddS |cx, a, f = Form::scalar(a.size), n, m| saturating_add(cx, f, a.u != 0, n, m);
        qsub_v QsubV |cx, a, f = Form::vector(a.arr), n, m| saturating_sub(cx, f, a.u != 0, n, m);
        qsub_s QsubS |cx, a, f = Form::scalar(a.size), n, m| saturating_sub(cx, f, a.u != 0, n, m);
        qshl_v QshlV |cx, a, f = Form::vector(a.arr), n, m| saturating_shift(cx, f, a.u != 0, false, n, m);
        qshl_s QshlS |cx, a, f = Form::scalar(a.size), n, m| saturating_shift(cx, f, a.u != 0, false, n, m);
        qrshl_v QrshlV |cx, a, f = Form::vector(a.arr), n, m| saturating_shift(cx, f, a.u != 0, true, n, m);
        qrshl_s QrshlS |cx, a, f = Form::scalar(a.size), n, m| saturating_shift(cx, f, a.u != 0, true, n, m);
        qdmulh_v QdmulhV |cx, a, f = Form::vector(a.arr), n, m| doubling_high(cx, f, a.round != 0, n, m);
        qdmulh_s QdmulhS |cx, a, f = Form::scalar(a.size), n, m| doubling_high(cx, f, a.round != 0, n, m);
    }
}

fn max_op(u: u32) -> Op {
    if u != 0 { Op::VMaxU } else { Op::VMaxS }
}

fn min_op(u: u32) -> Op {
    if u != 0 { Op::VMinU } else { Op::VMinS }
}

fn gt_op(u: u32) -> Op {
    if u != 0 { Op::VCmpGtU } else { Op::VCmpGtS }
}

/// AND, BIC, ORR, ORN, EOR, BSL, BIT, BIF.
pub(super) fn logical_v(cx: &mut Lifter<'_>, a: &a64::LogicalV) {
    let f = Form::of(a.q, Lane::I8);
    let (n, m) = (cx.v(a.rn), cx.v(a.rm));
    let value = match (a.u, a.size) {
        (0, 0) => cx.b.bin(Op::VAnd, n, m),
        (0, 1) => cx.b.bin(Op::VAndNot, m, n),
        // MOV of a register.
        (0, 2) if a.rn == a.rm => return cx.put_from(f, a.rd, n, Zeros::Stay, &[a.rn]),
        (0, 2) => cx.b.bin(Op::VOr, n, m),
        (0, _) => {
            let m = cx.vnot(m);
            let value = cx.b.bin(Op::VOr, n, m);
            return cx.put(f, a.rd, value);
        }
        (_, 0) if a.rn == a.rm => {
            let zero = cx.vzero();
            return cx.set_v(a.rd, zero, 0);
        }
        (_, 0) => cx.b.bin(Op::VXor, n, m),
        (_, how) => {
            let d = cx.v(a.rd);
            let value = match how {
                1 => cx.b.multi(Op::VSelect, &[d, n, m]),
                2 => cx.b.multi(Op::VSelect, &[m, n, d]),
                _ => cx.b.multi(Op::VSelect, &[m, d, n]),
            };
            return cx.put_from(f, a.rd, value, Zeros::Stay, &[a.rd, a.rn, a.rm]);
        }
    };
    cx.put_from(f, a.rd, value, Zeros::Stay, &[a.rn, a.rm]);
}

/// (a + b) / 2, towards minus infinity, without overflow: common bits and half of the differing ones.
fn halving_add(cx: &mut Lifter<'_>, lane: Lane, u: bool, n: Value, m: Value) -> Value {
    let (common, differing) = (cx.b.bin(Op::VAnd, n, m), cx.b.bin(Op::VXor, n, m));
    let half = cx.right_imm(u, lane, differing, 1);
    cx.op(Op::VAdd, lane, &[common, half])
}

/// (a + b + 1) / 2, likewise.
fn rounding_halving_add(cx: &mut Lifter<'_>, lane: Lane, u: bool, n: Value, m: Value) -> Value {
    if u && lane.bytes() <= 2 {
        return cx.op(Op::VAvgU, lane, &[n, m]);
    }
    let (any, differing) = (cx.b.bin(Op::VOr, n, m), cx.b.bin(Op::VXor, n, m));
    let half = cx.right_imm(u, lane, differing, 1);
    cx.op(Op::VSub, lane, &[any, half])
}

/// (a − b) / 2, likewise.
fn halving_sub(cx: &mut Lifter<'_>, lane: Lane, u: bool, n: Value, m: Value) -> Value {
    let (borrow, differing) = (cx.b.bin(Op::VAndNot, n, m), cx.b.bin(Op::VXor, n, m));
    let half = cx.right_imm(u, lane, differing, 1);
    cx.op(Op::VSub, lane, &[half, borrow])
}

/// |a − b|.
pub(super) fn distance(cx: &mut Lifter<'_>, lane: Lane, u: u32, n: Value, m: Value) -> Value {
    let (high, low) = (cx.op(max_op(u), lane, &[n, m]), cx.op(min_op(u), lane, &[n, m]));
    cx.op(Op::VSub, lane, &[high, low])
}

/// All ones where a ≥ b.
fn at_least(cx: &mut Lifter<'_>, lane: Lane, u: u32, n: Value, m: Value) -> Value {
    if lane == Lane::I64 {
        let less = cx.op(gt_op(u), lane, &[m, n]);
        return cx.vnot(less);
    }
    let high = cx.op(max_op(u), lane, &[n, m]);
    cx.op(Op::VCmpEq, lane, &[high, n])
}

/// All ones where a and b have a common bit.
fn test(cx: &mut Lifter<'_>, lane: Lane, n: Value, m: Value) -> Value {
    let common = if n == m { n } else { cx.b.bin(Op::VAnd, n, m) };
    let zero = cx.vzero();
    let none = cx.op(Op::VCmpEq, lane, &[common, zero]);
    cx.vnot(none)
}

/// The op on adjacent lanes of `n`, then of `m`.
fn pairs(cx: &mut Lifter<'_>, f: Form, op: Op, n: Value, m: Value) -> Value {
    if f.lane == Lane::I64 {
        let (even, odd) = (cx.op(Op::VZipLo, f.lane, &[n, m]), cx.op(Op::VZipHi, f.lane, &[n, m]));
        return cx.op(op, f.lane, &[even, odd]);
    }
    let fold = |cx: &mut Lifter<'_>, v| {
        let odd = cx.shr_imm(wide(f.lane), v, bits(f.lane));
        cx.op(op, f.lane, &[v, odd])
    };
    let (a, b) = if f.width != Width::Full {
        let both = cx.halves(n, m);
        let folded = fold(cx, both);
        (folded, folded)
    } else if n == m {
        let folded = fold(cx, n);
        (folded, folded)
    } else {
        (fold(cx, n), fold(cx, m))
    };
    unzip(cx, Form { width: Width::Full, ..f }, a, b, false)
}

/// ADDP of the two doublewords of a register.
pub(super) fn addp_s(cx: &mut Lifter<'_>, a: &a64::AddpS) {
    let n = cx.v(a.rn);
    let high = cx.high_half(n);
    let sum = cx.op(Op::VAdd, Lane::I64, &[n, high]);
    cx.put(Form::scalar(DOUBLE), a.rd, sum);
}

// ---- accumulation

/// MLA and MLS: adds to or subtracts from the destination.
pub(super) fn accumulate(cx: &mut Lifter<'_>, f: Form, rd: u32, sub: bool, value: Value) {
    let old = cx.v(rd);
    let new = cx.op(if sub { Op::VSub } else { Op::VAdd }, f.lane, &[old, value]);
    cx.put(f, rd, new);
}

pub(super) fn mla_v(cx: &mut Lifter<'_>, a: &a64::MlaV) {
    let f = Form::vector(a.arr);
    let (n, m) = (cx.v(a.rn), cx.v(a.rm));
    let product = cx.op(Op::VMulLo, f.lane, &[n, m]);
    accumulate(cx, f, a.rd, false, product);
}

pub(super) fn mls_v(cx: &mut Lifter<'_>, a: &a64::MlsV) {
    let f = Form::vector(a.arr);
    let (n, m) = (cx.v(a.rn), cx.v(a.rm));
    let product = cx.op(Op::VMulLo, f.lane, &[n, m]);
    accumulate(cx, f, a.rd, true, product);
}

pub(super) fn aba_v(cx: &mut Lifter<'_>, a: &a64::AbaV) {
    let f = Form::vector(a.arr);
    let (n, m) = (cx.v(a.rn), cx.v(a.rm));
    let value = distance(cx, f.lane, a.u, n, m);
    accumulate(cx, f, a.rd, false, value);
}

// ---- saturation

/// The largest signed number of a lane.
fn signed_max(lane: Lane) -> u64 {
    u64::MAX >> (65 - bits(lane))
}

/// `value`, or where the sign bit of `overflow` is set the extreme of the sign of `like`; notes saturation.
fn saturate_signed(cx: &mut Lifter<'_>, f: Form, value: Value, overflow: Value, like: Value) -> Value {
    let width = bits(f.lane);
    let mask = cx.sar_imm(f.lane, overflow, width - 1);
    let max = cx.splat(f.lane, signed_max(f.lane));
    let sign = cx.sar_imm(f.lane, like, width - 1);
    let extreme = cx.b.bin(Op::VXor, sign, max);
    cx.saturated(f, mask);
    cx.b.multi(Op::VSelect, &[mask, extreme, value])
}

/// SQADD and UQADD.
pub(super) fn saturating_add(cx: &mut Lifter<'_>, f: Form, u: bool, n: Value, m: Value) -> Value {
    let sum = cx.op(Op::VAdd, f.lane, &[n, m]);
    if f.lane.bytes() <= 2 {
        let value = cx.op(if u { Op::VAddSatU } else { Op::VAddSatS }, f.lane, &[n, m]);
        let difference = cx.b.bin(Op::VXor, sum, value);
        cx.saturated(f, difference);
        return value;
    }
    if u {
        let carry = cx.op(Op::VCmpGtU, f.lane, &[n, sum]);
        cx.saturated(f, carry);
        return cx.b.bin(Op::VOr, sum, carry);
    }
    let (a, b) = (cx.b.bin(Op::VXor, n, sum), cx.b.bin(Op::VXor, m, sum));
    let overflow = cx.b.bin(Op::VAnd, a, b);
    saturate_signed(cx, f, sum, overflow, n)
}

/// SQSUB and UQSUB.
pub(super) fn saturating_sub(cx: &mut Lifter<'_>, f: Form, u: bool, n: Value, m: Value) -> Value {
    let sum = cx.op(Op::VSub, f.lane, &[n, m]);
    if f.lane.bytes() <= 2 {
        let value = cx.op(if u { Op::VSubSatU } else { Op::VSubSatS }, f.lane, &[n, m]);
        let difference = cx.b.bin(Op::VXor, sum, value);
        cx.saturated(f, difference);
        return value;
    }
    if u {
        let borrow = cx.op(Op::VCmpGtU, f.lane, &[m, n]);
        cx.saturated(f, borrow);
        return cx.b.bin(Op::VAndNot, borrow, sum);
    }
    let (a, b) = (cx.b.bin(Op::VXor, n, m), cx.b.bin(Op::VXor, n, sum));
    let overflow = cx.b.bin(Op::VAnd, a, b);
    saturate_signed(cx, f, sum, overflow, n)
}

/// SQDMULH and SQRDMULH: the high half of twice the product. Only the most negative number squared does not fit; its
/// result wraps to the most negative number, which no other product gives.
pub(super) fn doubling_high(cx: &mut Lifter<'_>, f: Form, round: bool, n: Value, m: Value) -> Value {
    let lane = f.lane;
    let high = match (round, lane) {
        (true, _) => cx.op(Op::VMulHiRound, lane, &[n, m]),
        (_, Lane::I16) => {
            let (high, low) = (cx.op(Op::VMulHiS, lane, &[n, m]), cx.op(Op::VMulLo, lane, &[n, m]));
            let (high, low) = (cx.shl_imm(lane, high, 1), cx.shr_imm(lane, low, 15));
            cx.b.bin(Op::VOr, high, low)
        }
        _ => {
            let even = cx.op(Op::VMulWideS, Lane::I32, &[n, m]);
            let [n, m] = [n, m].map(|v| cx.shr_imm(Lane::I64, v, 32));
            let odd = cx.op(Op::VMulWideS, Lane::I32, &[n, m]);
            let even = cx.shr_imm(Lane::I64, even, 31);
            let odd = cx.shl_imm(Lane::I64, odd, 1);
            let low = cx.splat(Lane::I64, 0xffff_ffff);
            cx.b.multi(Op::VSelect, &[low, even, odd])
        }
    };
    wrapped_minimum(cx, f, high)
}

/// Replaces the most negative number by the largest, and notes saturation.
pub(super) fn wrapped_minimum(cx: &mut Lifter<'_>, f: Form, value: Value) -> Value {
    let minimum = cx.splat(f.lane, 1 << (bits(f.lane) - 1));
    let wrapped = cx.op(Op::VCmpEq, f.lane, &[value, minimum]);
    cx.saturated(f, wrapped);
    cx.b.bin(Op::VXor, value, wrapped)
}

// ---- shifts by a register: the count is the lowest byte of each lane, signed; negative ones shift right

/// The counts, sign-extended to their lanes, and the same negated.
fn counts(cx: &mut Lifter<'_>, lane: Lane, m: Value) -> [Value; 2] {
    let drop = bits(lane) - 8;
    let left = cx.shl_imm(lane, m, drop);
    let left = cx.sar_imm(lane, left, drop);
    let zero = cx.vzero();
    [left, cx.op(Op::VSub, lane, &[zero, left])]
}

/// `n` shifted right by the lanes of `count`, rounded if asked for; meaningful where the count is positive.
fn right(cx: &mut Lifter<'_>, lane: Lane, u: bool, round: bool, n: Value, count: Value) -> Value {
    let shifted = cx.op(if u { Op::VShrLanes } else { Op::VSarLanes }, lane, &[n, count]);
    if !round {
        return shifted;
    }
    let one = cx.splat(lane, 1);
    let before = cx.op(Op::VSub, lane, &[count, one]);
    let bit = cx.op(if u { Op::VShrLanes } else { Op::VSarLanes }, lane, &[n, before]);
    let bit = cx.b.bin(Op::VAnd, bit, one);
    cx.op(Op::VAdd, lane, &[shifted, bit])
}

/// SSHL, USHL, SRSHL, URSHL.
fn shift(cx: &mut Lifter<'_>, lane: Lane, u: bool, round: bool, n: Value, m: Value) -> Value {
    let [left, back] = counts(cx, lane, m);
    let up = cx.op(Op::VShlLanes, lane, &[n, left]);
    let down = right(cx, lane, u, round, n, back);
    let zero = cx.vzero();
    let negative = cx.op(Op::VCmpGtS, lane, &[zero, left]);
    cx.b.multi(Op::VSelect, &[negative, down, up])
}

/// SQSHL, UQSHL, SQRSHL, UQRSHL.
fn saturating_shift(cx: &mut Lifter<'_>, f: Form, u: bool, round: bool, n: Value, m: Value) -> Value {
    let lane = f.lane;
    let [left, back] = counts(cx, lane, m);
    let up = cx.op(Op::VShlLanes, lane, &[n, left]);
    let restored = cx.op(if u { Op::VShrLanes } else { Op::VSarLanes }, lane, &[up, left]);
    let fits = cx.op(Op::VCmpEq, lane, &[restored, n]);
    let zero = cx.vzero();
    let negative = cx.op(Op::VCmpGtS, lane, &[zero, left]);
    let fine = cx.b.bin(Op::VOr, fits, negative);
    let lost = cx.vnot(fine);
    cx.saturated(f, lost);
    let extreme = if u {
        cx.vconst(u128::MAX)
    } else {
        let sign = cx.sar_imm(lane, n, bits(lane) - 1);
        let max = cx.splat(lane, signed_max(lane));
        cx.b.bin(Op::VXor, sign, max)
    };
    let up = cx.b.multi(Op::VSelect, &[lost, extreme, up]);
    let down = right(cx, lane, u, round, n, back);
    cx.b.multi(Op::VSelect, &[negative, down, up])
}

// ---- dot products, matrix products, rare ones

/// Sums of products of four adjacent bytes in 32-bit lanes; `u` says which operand is unsigned.
pub(super) fn dot(cx: &mut Lifter<'_>, u: [bool; 2], n: Value, m: Value) -> Value {
    let mut split = |v, u: bool| {
        let even = if u {
            let low = cx.splat(Lane::I16, 0xff);
            cx.b.bin(Op::VAnd, v, low)
        } else {
            let up = cx.shl_imm(Lane::I16, v, 8);
            cx.sar_imm(Lane::I16, up, 8)
        };
        [even, cx.right_imm(u, Lane::I16, v, 8)]
    };
    let ([n0, n1], [m0, m1]) = (split(n, u[0]), split(m, u[1]));
    let (even, odd) = (cx.op(Op::VMulAddS, Lane::I16, &[n0, m0]), cx.op(Op::VMulAddS, Lane::I16, &[n1, m1]));
    cx.op(Op::VAdd, Lane::I32, &[even, odd])
}

pub(super) fn dot_v(cx: &mut Lifter<'_>, a: &a64::DotV) {
    let (n, m) = (cx.v(a.rn), cx.v(a.rm));
    let value = dot(cx, [a.u != 0; 2], n, m);
    accumulate(cx, Form::of(a.q, Lane::I32), a.rd, false, value);
}

pub(super) fn usdot_v(cx: &mut Lifter<'_>, a: &a64::UsdotV) {
    let (n, m) = (cx.v(a.rn), cx.v(a.rm));
    let value = dot(cx, [true, false], n, m);
    accumulate(cx, Form::of(a.q, Lane::I32), a.rd, false, value);
}

/// SMMLA and its family: rows of eight bytes of `n` times rows of `m`.
fn matrix(cx: &mut Lifter<'_>, u: [bool; 2], [rd, rn, rm]: Registers) {
    let (n, m) = (cx.v(rn), cx.v(rm));
    let rows = [cx.halves(n, n), cx.high_half(n)];
    let [first, second] = rows.map(|row| dot(cx, u, row, m));
    let value = cx.op(Op::VPairAdd, Lane::I32, &[first, second]);
    accumulate(cx, Form::of(1, Lane::I32), rd, false, value);
}

pub(super) fn mmla_v(cx: &mut Lifter<'_>, a: &a64::MmlaV) {
    matrix(cx, [a.u != 0; 2], [a.rd, a.rn, a.rm]);
}

pub(super) fn usmmla_v(cx: &mut Lifter<'_>, a: &a64::UsmmlaV) {
    matrix(cx, [true, false], [a.rd, a.rn, a.rm]);
}

/// Calls the helper for a rare operation on integer lanes.
pub(super) fn rare(cx: &mut Lifter<'_>, f: Form, op: IntOp, [rd, rn, rm]: Registers, element: Option<u32>) {
    let (size, lanes) = (f.lane.bytes().trailing_zeros(), f.bytes() / f.lane.bytes());
    let descriptor = IntCall { op, size, lanes, rd, rn, rm, element }.pack();
    let descriptor = cx.constant(Type::I64, descriptor);
    cx.b.call(helpers::INT_LANES, Type::None, &[descriptor]);
    cx.b.forget(state::v(rd));
    cx.b.forget(state::QC);
}

/// SQRDMLAH or SQRDMLSH.
pub(super) fn rounding_accumulate(sub: u32) -> IntOp {
    if sub != 0 { IntOp::Sqrdmlsh } else { IntOp::Sqrdmlah }
}

pub(super) fn qrdmlah_v(cx: &mut Lifter<'_>, a: &a64::QrdmlahV) {
    rare(cx, Form::vector(a.arr), rounding_accumulate(a.sub), [a.rd, a.rn, a.rm], None);
}

pub(super) fn qrdmlah_s(cx: &mut Lifter<'_>, a: &a64::QrdmlahS) {
    rare(cx, Form::scalar(a.size), rounding_accumulate(a.sub), [a.rd, a.rn, a.rm], None);
}
