//! Advanced SIMD data processing (DDI 0406C A7.4).
//!
//! Doublewords are the low halves of vectors with anything above; quadwords are put together from two of them and taken
//! apart again. What has no short form in ops is a helper. Floating point has the "standard FPSCR value": denormals are
//! flushed, NaNs are the default NaN, to nearest (DDI 0406C A2.7.3).

use super::Lifter;
use crate::decode::neon::*;
use crate::helpers::{self, half};
use crate::state::{self, QC};
use crate::{coverage, cpu::Arch};
use isamorph_ir::{FpMode, FpRule, HelperId, Lane, Op, Rounding, Type, Value};

/// Destination, first and second operand, and whether they are quadwords.
#[derive(Clone, Copy)]
struct Regs {
    d: u32,
    n: u32,
    m: u32,
    quad: bool,
}

/// The registers of an instruction, if they exist.
fn regs(cx: &mut Lifter<'_>, [d, n, m]: [[u32; 2]; 3], q: u32) -> Option<Regs> {
    let number = |[v, bit]: [u32; 2]| bit << 4 | v;
    let r = Regs { d: number(d), n: number(n), m: number(m), quad: q != 0 };
    let odd = r.quad && (r.d | r.n | r.m) & 1 != 0;
    cx.require(cx.cpu.simd && !odd).then_some(r)
}

macro_rules! regs3 {
    ($cx:ident, $a:ident, $q:expr) => {
        match regs($cx, [[$a.vd, $a.d], [$a.vn, $a.n], [$a.vm, $a.m]], $q) {
            Some(regs) => regs,
            None => return,
        }
    };
}

macro_rules! regs2 {
    ($cx:ident, $a:ident, $q:expr) => {
        match regs($cx, [[$a.vd, $a.d], [0, 0], [$a.vm, $a.m]], $q) {
            Some(regs) => regs,
            None => return,
        }
    };
}

/// A doubleword or quadword register.
fn read(cx: &mut Lifter<'_>, number: u32, quad: bool) -> Value {
    let low = cx.d(number);
    if !quad {
        return low;
    }
    let high = cx.d(number + 1);
    cx.b.vec(Op::VZipLo, Lane::I64, &[low, high], 0)
}

fn write(cx: &mut Lifter<'_>, number: u32, quad: bool, value: Value) {
    cx.set_d(number, value);
    if quad {
        let high = cx.b.vec(Op::VZipHi, Lane::I64, &[value, value], 0);
        cx.set_d(number + 1, high);
    }
}

const fn lane(size: u32) -> Lane {
    match size & 3 {
        0 => Lane::I8,
        1 => Lane::I16,
        2 => Lane::I32,
        _ => Lane::I64,
    }
}

/// An instruction that is left to a helper.
fn by_helper(cx: &mut Lifter<'_>, helper: HelperId) {
    let word = cx.int(cx.word);
    cx.b.call(helper, Type::None, &[word]);
    (0..32).for_each(|number| cx.b.forget(state::d_reg(number)));
    cx.b.forget(QC);
}

/// An instruction that is not implemented.
fn missing(cx: &mut Lifter<'_>, name: &'static str) {
    coverage::count(name);
    cx.undefined();
}

fn complement(cx: &mut Lifter<'_>, v: Value) -> Value {
    let ones = cx.b.vec(Op::VCmpEq, Lane::I8, &[v, v], 0);
    cx.b.bin(Op::VXor, v, ones)
}

/// VAND, VBIC, VORR, VORN, VEOR, VBSL, VBIT, VBIF.
pub(super) fn logic(cx: &mut Lifter<'_>, a: &Logic) {
    let r = regs3!(cx, a, a.q);
    let (n, m) = (read(cx, r.n, r.quad), read(cx, r.m, r.quad));
    let result = match (a.u, a.size) {
        (0, 0) => cx.b.bin(Op::VAnd, n, m),
        (0, 1) => cx.b.bin(Op::VAndNot, m, n),
        // VMOV, if both are the same.
        (0, 2) if r.n == r.m => n,
        (0, 2) => cx.b.bin(Op::VOr, n, m),
        (0, _) => {
            let m = complement(cx, m);
            cx.b.bin(Op::VOr, n, m)
        }
        (_, 0) => cx.b.bin(Op::VXor, n, m),
        (_, size) => {
            let d = read(cx, r.d, r.quad);
            let operands = match size {
                1 => [d, n, m],
                2 => [m, n, d],
                _ => [m, d, n],
            };
            cx.b.multi(Op::VSelect, &operands)
        }
    };
    write(cx, r.d, r.quad, result);
}

/// An integer operation on lanes as one op, where there is one: the op, and whether the operands change places.
fn simple_op(opc: u32, unsigned: bool, size: u32) -> Option<(Op, bool)> {
    Some(match (opc, unsigned) {
        (2, true) if size < 2 => (Op::VAvgU, false),
        (6, false) => (Op::VCmpGtS, false),
        (6, true) => (Op::VCmpGtU, false),
        (12, false) => (Op::VMaxS, false),
        (12, true) => (Op::VMaxU, false),
        (13, false) => (Op::VMinS, false),
        (13, true) => (Op::VMinU, false),
        (16, false) => (Op::VAdd, false),
        (16, true) => (Op::VSub, false),
        (17, true) => (Op::VCmpEq, false),
        (19, false) => (Op::VMulLo, false),
        _ => return None,
    })
}

pub(super) fn three_same(cx: &mut Lifter<'_>, a: &ThreeSame) {
    let r = regs3!(cx, a, a.q);
    let (opc, unsigned) = (a.opc << 1 | a.o, a.u != 0);
    // 64-bit lanes: saturating and plain sums, shifts. Pairs: doublewords only. Polynomials: bytes only.
    let wide = matches!(opc, 1 | 5 | 8..=11 | 16);
    let pairs = matches!(opc, 20 | 21 | 23);
    let exists = match opc {
        19 if unsigned => a.size == 0,
        22 => matches!(a.size, 1 | 2),
        23 => !unsigned && a.size != 3,
        _ => a.size != 3 || wide,
    };
    if opc == 24 || opc == 25 {
        return fused_or_missing(cx, a, r);
    }
    if !cx.require(exists && opc < 24 && !(pairs && r.quad)) {
        return;
    }
    let lane = lane(a.size);
    if let Some((op, _)) = simple_op(opc, unsigned, a.size) {
        let (n, m) = (read(cx, r.n, r.quad), read(cx, r.m, r.quad));
        let result = cx.b.vec(op, lane, &[n, m], 0);
        return write(cx, r.d, r.quad, result);
    }
    match composed(cx, r, opc, unsigned, lane) {
        Some(result) => write(cx, r.d, r.quad, result),
        None => by_helper(cx, helpers::SIMD_SAME),
    }
}

/// An integer operation on lanes as a few ops, if that is how to do it.
fn composed(cx: &mut Lifter<'_>, r: Regs, opc: u32, unsigned: bool, lane: Lane) -> Option<Value> {
    if !matches!(opc, 7 | 14 | 15 | 17 | 18 | 23) {
        return None;
    }
    let (n, m) = (read(cx, r.n, r.quad), read(cx, r.m, r.quad));
    Some(match opc {
        7 => {
            let below = cx.b.vec(if unsigned { Op::VCmpGtU } else { Op::VCmpGtS }, lane, &[m, n], 0);
            complement(cx, below)
        }
        14 | 15 => {
            let (most, least) = if unsigned { (Op::VMaxU, Op::VMinU) } else { (Op::VMaxS, Op::VMinS) };
            let (most, least) = (cx.b.vec(most, lane, &[n, m], 0), cx.b.vec(least, lane, &[n, m], 0));
            let difference = cx.b.vec(Op::VSub, lane, &[most, least], 0);
            if opc == 14 {
                return Some(difference);
            }
            let old = read(cx, r.d, r.quad);
            cx.b.vec(Op::VAdd, lane, &[old, difference], 0)
        }
        17 => {
            let (both, zero) = (cx.b.bin(Op::VAnd, n, m), cx.b.bin(Op::VXor, n, n));
            let none = cx.b.vec(Op::VCmpEq, lane, &[both, zero], 0);
            complement(cx, none)
        }
        18 => {
            let (product, old) = (cx.b.vec(Op::VMulLo, lane, &[n, m], 0), read(cx, r.d, r.quad));
            cx.b.vec(if unsigned { Op::VSub } else { Op::VAdd }, lane, &[old, product], 0)
        }
        _ => {
            let both = cx.b.vec(Op::VZipLo, Lane::I64, &[n, m], 0);
            cx.b.vec(Op::VPairAdd, lane, &[both, both], 0)
        }
    })
}

/// VFMA and VFMS; the hash instructions of Armv8 share their opcode.
fn fused_or_missing(cx: &mut Lifter<'_>, a: &ThreeSame, r: Regs) {
    if a.o == 0 {
        return missing(cx, "sha");
    }
    if !cx.require(a.u == 0 && a.size & 1 == 0 && cx.cpu.vfp >= 4) {
        return;
    }
    let [n, m, d] = [r.n, r.m, r.d].map(|number| float_read(cx, number, r.quad));
    let n = if a.size & 2 != 0 { flip_signs(cx, n) } else { n };
    let result = float(cx, Op::FMulAdd, &[n, m, d], 0);
    write(cx, r.d, r.quad, result);
}

// ---- floating point

/// An operand of a floating-point op: what is above a doubleword must raise no exceptions.
fn float_read(cx: &mut Lifter<'_>, number: u32, quad: bool) -> Value {
    let value = read(cx, number, quad);
    if quad { value } else { cx.b.un(Op::VZeroUpper, value) }
}

fn float(cx: &mut Lifter<'_>, op: Op, args: &[Value], selector: u8) -> Value {
    let mode = FpMode::new(FpRule::ArmStandard).select(selector);
    cx.b.vec(op, Lane::F32, args, u32::from(mode.0))
}

fn all_words(cx: &mut Lifter<'_>, bits: u32) -> Value {
    let word = cx.int(bits);
    cx.b.vec_to(Op::VDup, Type::V128, Lane::I32, &[word], 0)
}

fn flip_signs(cx: &mut Lifter<'_>, value: Value) -> Value {
    let signs = all_words(cx, 1 << 31);
    cx.b.bin(Op::VXor, value, signs)
}

fn absolute(cx: &mut Lifter<'_>, value: Value) -> Value {
    let signs = all_words(cx, 1 << 31);
    cx.b.bin(Op::VAndNot, signs, value)
}

/// Predicates of [`Op::FCmpMask`].
const EQUAL: u8 = 0;
const LESS: u8 = 1;
const LESS_EQUAL: u8 = 2;

pub(super) fn float_same(cx: &mut Lifter<'_>, a: &FloatSame) {
    let r = regs3!(cx, a, a.q);
    // The fused forms have an opcode 1100; half precision is Armv8.2.
    if a.opc == 0 {
        let three = ThreeSame::new(cx.word);
        return fused_or_missing(cx, &three, r);
    }
    if !cx.require(a.sz == 0) {
        return;
    }
    let pairs = matches!((a.opc, a.o, a.u, a.op), (1, 0, 1, 0) | (3, 0, 1, _));
    if !cx.require(!(pairs && r.quad)) {
        return;
    }
    let (n, m) = (float_read(cx, r.n, r.quad), float_read(cx, r.m, r.quad));
    let result = match (a.opc, a.o, a.u, a.op) {
        (1, 0, 0, op) => float(cx, if op == 0 { Op::FAdd } else { Op::FSub }, &[n, m], 0),
        (1, 0, _, 0) => {
            let both = cx.b.vec(Op::VZipLo, Lane::I64, &[n, m], 0);
            let sums = float(cx, Op::FPairAdd, &[both, both], 0);
            cx.b.un(Op::VZeroUpper, sums)
        }
        (1, 0, ..) => {
            let difference = float(cx, Op::FSub, &[n, m], 0);
            absolute(cx, difference)
        }
        (1, _, 1, 0) => float(cx, Op::FMul, &[n, m], 0),
        (1, _, 0, op) => {
            let (product, old) = (float(cx, Op::FMul, &[n, m], 0), float_read(cx, r.d, r.quad));
            float(cx, if op == 0 { Op::FAdd } else { Op::FSub }, &[old, product], 0)
        }
        (2, 0, 0, 0) => float(cx, Op::FCmpMask, &[n, m], EQUAL),
        (2, 0, 1, op) => float(cx, Op::FCmpMask, &[m, n], if op == 0 { LESS_EQUAL } else { LESS }),
        (2, 1, 1, op) => {
            let (n, m) = (absolute(cx, n), absolute(cx, m));
            float(cx, Op::FCmpMask, &[m, n], if op == 0 { LESS_EQUAL } else { LESS })
        }
        (3, 0, 0, op) => float(cx, if op == 0 { Op::FMax } else { Op::FMin }, &[n, m], 0),
        (3, 1, 1, op) if cx.cpu.arch >= Arch::V8 => {
            float(cx, if op == 0 { Op::FMaxNum } else { Op::FMinNum }, &[n, m], 0)
        }
        (3, 0, 1, op) => {
            let both = cx.b.vec(Op::VZipLo, Lane::I64, &[n, m], 0);
            let even = cx.b.vec(Op::VShuffle, Lane::I32, &[both], 0b10_10_10_00);
            let odd = cx.b.vec(Op::VShuffle, Lane::I32, &[both], 0b11_11_11_01);
            let (even, odd) = (cx.b.un(Op::VZeroUpper, even), cx.b.un(Op::VZeroUpper, odd));
            float(cx, if op == 0 { Op::FMax } else { Op::FMin }, &[even, odd], 0)
        }
        (3, 1, 0, op) => step(cx, op != 0, n, m),
        _ => return cx.undefined(),
    };
    write(cx, r.d, r.quad, result);
}

/// VRECPS: 2 − nm, and VRSQRTS: (3 − nm) / 2, where infinity times zero is zero.
fn step(cx: &mut Lifter<'_>, root: bool, n: Value, m: Value) -> Value {
    let (infinity, least) = (all_words(cx, 0x7f80_0000), all_words(cx, 0x0080_0000));
    let (abs_n, abs_m) = (absolute(cx, n), absolute(cx, m));
    let mut special = |infinite: Value, zero: Value| {
        let infinite = cx.b.vec(Op::VCmpEq, Lane::I32, &[infinite, infinity], 0);
        let zero = cx.b.vec(Op::VCmpGtS, Lane::I32, &[least, zero], 0);
        cx.b.bin(Op::VAnd, infinite, zero)
    };
    let (one, other) = (special(abs_n, abs_m), special(abs_m, abs_n));
    let special = cx.b.bin(Op::VOr, one, other);
    let (n, m) = (cx.b.bin(Op::VAndNot, special, n), cx.b.bin(Op::VAndNot, special, m));
    let product = float(cx, Op::FMul, &[n, m], 0);
    let from = all_words(cx, if root { 0x4040_0000 } else { 0x4000_0000 });
    let difference = float(cx, Op::FSub, &[from, product], 0);
    if !root {
        return difference;
    }
    let half = all_words(cx, 0x3f00_0000);
    float(cx, Op::FMul, &[difference, half], 0)
}

// ---- other shapes

pub(super) fn three_diff(cx: &mut Lifter<'_>, a: &ThreeDiff) {
    let r = regs3!(cx, a, 0);
    let (wide_first, narrow) = (matches!(a.opc, 1 | 3 | 4 | 6), matches!(a.opc, 4 | 6));
    let odd = wide_first && r.n & 1 != 0 || narrow && r.m & 1 != 0 || !narrow && r.d & 1 != 0;
    let exists = match a.opc {
        9 | 11 | 13 => a.u == 0 && a.size != 0,
        14 => a.u == 0 && a.size == 0,
        15 => false,
        _ => true,
    };
    if a.opc == 14 && a.size == 2 {
        if cx.require(cx.cpu.arch >= Arch::V8 && a.u == 0 && !odd) {
            let (n, m) = (cx.d(r.n), cx.d(r.m));
            let product = cx.b.bin(Op::ClMul, n, m);
            write(cx, r.d, true, product);
        }
        return;
    }
    if cx.require(exists && !odd) {
        by_helper(cx, helpers::SIMD_DIFF);
    }
}

pub(super) fn two_scalar(cx: &mut Lifter<'_>, a: &TwoScalar) {
    let long = matches!(a.opc, 2 | 3 | 6 | 7 | 10 | 11);
    let quad = if long { 0 } else { a.u };
    let Some(r) = regs(cx, [[a.vd, a.d], [a.vn, a.n], [0, 0]], quad) else { return };
    if long && !cx.require(r.d & 1 == 0 && !(a.opc & 1 != 0 && a.u != 0)) {
        return;
    }
    if !cx.require(a.size != 0 && a.opc < 14) {
        return;
    }
    if !matches!(a.opc, 1 | 5 | 9) {
        return by_helper(cx, helpers::SIMD_SCALAR);
    }
    if !cx.require(a.size == 2) {
        return;
    }
    let m = cx.d(a.vm);
    let m = cx.b.vec(Op::VDupLane, Lane::I32, &[m], a.m);
    let m = if r.quad { m } else { cx.b.un(Op::VZeroUpper, m) };
    let n = float_read(cx, r.n, r.quad);
    let product = float(cx, Op::FMul, &[n, m], 0);
    let result = if a.opc == 9 {
        product
    } else {
        let old = float_read(cx, r.d, r.quad);
        float(cx, if a.opc == 1 { Op::FAdd } else { Op::FSub }, &[old, product], 0)
    };
    write(cx, r.d, r.quad, result);
}

pub(super) fn shift_imm(cx: &mut Lifter<'_>, a: &ShiftImm) {
    let (narrows, widens) = (matches!(a.opc, 8 | 9), a.opc == 10);
    let Some(r) = regs(cx, [[a.vd, a.d], [0, 0], [a.vm, a.m]], if narrows || widens { 0 } else { a.q }) else { return };
    let imm = a.l << 6 | a.imm6;
    // Sizes below 8 are another instruction.
    let half_form = (!narrows && !widens) || a.l == 0 && !(narrows && r.m & 1 != 0) && !(widens && r.d & 1 != 0);
    let exists =
        imm >= 8 && half_form && !(a.opc == 4 && a.u == 0) && !(a.opc == 6 && a.u == 0) && !(widens && a.q != 0);
    if a.opc > 10 {
        return fixed_point(cx, a, r);
    }
    if !cx.require(exists) {
        return;
    }
    let bits = (1u32 << imm.ilog2()).max(8);
    let (left, right) = (imm - bits, 2 * bits - imm);
    let lane = lane(bits.ilog2() - 3);
    let simple = match (a.opc, a.u) {
        // Bytes have no shifts of their own.
        _ if bits == 8 => None,
        (0, 0) if bits != 64 || right < 64 => Some((Op::VSarImm, right.min(bits - 1))),
        (0, 1) if right < bits => Some((Op::VShrImm, right)),
        (5, 0) => Some((Op::VShlImm, left)),
        _ => None,
    };
    match simple {
        Some((op, amount)) => {
            let m = read(cx, r.m, r.quad);
            let result = cx.b.vec(op, lane, &[m], amount);
            write(cx, r.d, r.quad, result);
        }
        None => by_helper(cx, helpers::SIMD_SHIFT),
    }
}

/// VCVT between floating point and fixed point.
fn fixed_point(cx: &mut Lifter<'_>, a: &ShiftImm, r: Regs) {
    // Without a fraction it is the conversion of integers; others are rare.
    if !cx.require(a.opc >= 14 && a.l == 0 && a.imm6 & 32 != 0) {
        return;
    }
    let fraction = 64 - a.imm6;
    let scale = |exponent: u32| exponent << 23;
    let m = float_read(cx, r.m, r.quad);
    let result = if a.opc == 14 {
        // From fixed point: dividing by a power of two is exact.
        let number = float(cx, if a.u != 0 { Op::FFromIntU } else { Op::FFromIntS }, &[m], 0);
        let factor = all_words(cx, scale(127 - fraction));
        float(cx, Op::FMul, &[number, factor], 0)
    } else {
        return missing(cx, "vcvt_to_fixed_vector");
    };
    write(cx, r.d, r.quad, result);
}

/// The constant of VMOV and its kin (DDI 0406C A7.4.6, AdvSIMDExpandImm).
fn expand(cmode: u32, op: u32, imm8: u32) -> u64 {
    let word = |bits: u32| u64::from(bits) << 32 | u64::from(bits);
    match cmode {
        0..=7 => word(imm8 << (8 * (cmode >> 1))),
        8..=11 => word((imm8 << (8 * (cmode >> 1 & 1))) * 0x0001_0001),
        12 => word(imm8 << 8 | 0xff),
        13 => word(imm8 << 16 | 0xffff),
        14 if op == 0 => word(imm8 * 0x0101_0101),
        14 => (0..8).filter(|i| imm8 >> i & 1 != 0).map(|i| 0xff << (8 * i)).sum(),
        _ => {
            let exponent = if imm8 & 0x40 == 0 { 1 << 30 } else { 0x1f << 25 };
            word(imm8 >> 7 << 31 | exponent | (imm8 & 0x3f) << 19)
        }
    }
}

pub(super) fn mod_imm(cx: &mut Lifter<'_>, a: &ModImm) {
    let Some(r) = regs(cx, [[a.vd, a.d], [0, 0], [0, 0]], a.q) else { return };
    if !cx.require(!(a.cmode == 15 && a.op != 0)) {
        return;
    }
    let bits = expand(a.cmode, a.op, a.imm);
    let combines = a.cmode < 12 && a.cmode & 1 != 0;
    let inverted = a.op != 0 && a.cmode != 14;
    let bits = if inverted { !bits } else { bits };
    let constant = cx.b.iconst(Type::I64, bits);
    let constant = cx.b.vec_to(Op::VDup, Type::V128, Lane::I64, &[constant], 0);
    let result = match (combines, inverted) {
        (false, _) => constant,
        // VBIC is an AND with the complement.
        (true, true) => {
            let old = read(cx, r.d, r.quad);
            cx.b.bin(Op::VAnd, old, constant)
        }
        (true, false) => {
            let old = read(cx, r.d, r.quad);
            cx.b.bin(Op::VOr, old, constant)
        }
    };
    write(cx, r.d, r.quad, result);
}

pub(super) fn two_misc(cx: &mut Lifter<'_>, a: &TwoMisc) {
    let narrow_or_long = a.group == 2 && matches!(a.opc, 4..=6 | 12 | 14);
    if a.group == 0 && matches!(a.opc, 6 | 7) {
        return aes(cx, a);
    }
    let r = regs2!(cx, a, if narrow_or_long { 0 } else { a.q });
    if narrow_or_long {
        return narrow_misc(cx, a, r);
    }
    match (a.group, a.opc) {
        (1, 8..=15) => float_misc(cx, a, r),
        (3, 12..=15) => convert_misc(cx, a, r),
        (3, 8..=11) => {
            if cx.require(a.size == 2) {
                by_helper(cx, helpers::SIMD_ESTIMATE);
            }
        }
        (3, 0..=7) => convert_rounding(cx, a, r),
        (1, 5) | (2, 5 | 7) => missing(cx, "sha"),
        (2, 8..=15) => round_misc(cx, a, r),
        (2, 0) => {
            if cx.require(a.size == 0) {
                let (d, m) = (read(cx, r.d, r.quad), read(cx, r.m, r.quad));
                write(cx, r.d, r.quad, m);
                write(cx, r.m, r.quad, d);
            }
        }
        (0, 11) => {
            if cx.require(a.size == 0) {
                let m = read(cx, r.m, r.quad);
                let result = complement(cx, m);
                write(cx, r.d, r.quad, result);
            }
        }
        _ => integer_misc(cx, a, r),
    }
}

/// AESE, AESD, AESMC, AESIMC: parts of rounds, which the rounds of the op table contain.
fn aes(cx: &mut Lifter<'_>, a: &TwoMisc) {
    let r = regs2!(cx, a, 1);
    if !cx.require(a.size == 0 && cx.cpu.arch >= Arch::V8) {
        return;
    }
    let m = read(cx, r.m, true);
    let zero = cx.b.bin(Op::VXor, m, m);
    let result = match (a.opc, a.q) {
        (6, decrypt) => {
            let d = read(cx, r.d, true);
            let mixed = cx.b.bin(Op::VXor, d, m);
            cx.b.bin(if decrypt != 0 { Op::AesDecLast } else { Op::AesEncLast }, mixed, zero)
        }
        (_, 0) => {
            // The last decrypting round undoes all of an encrypting one but the mixing of columns.
            let undone = cx.b.bin(Op::AesDecLast, m, zero);
            cx.b.bin(Op::AesEnc, undone, zero)
        }
        _ => cx.b.un(Op::AesImc, m),
    };
    write(cx, r.d, true, result);
}

fn integer_misc(cx: &mut Lifter<'_>, a: &TwoMisc, r: Regs) {
    let exists = match (a.group, a.opc) {
        (0, 0..=2) => a.opc + a.size < 3,
        (0, 3) | (1, 5) => false,
        (0, 10) => a.size == 0,
        (2, 1) => a.size != 3 && r.d != r.m,
        (2, 2 | 3) => a.size != 3 && (r.quad || a.size != 2) && r.d != r.m,
        (3, _) => false,
        _ => a.size != 3,
    };
    if !cx.require(exists) {
        return;
    }
    match (a.group, a.opc) {
        (1, 2) => {
            let m = read(cx, r.m, r.quad);
            let zero = cx.b.bin(Op::VXor, m, m);
            let result = cx.b.vec(Op::VCmpEq, lane(a.size), &[m, zero], 0);
            write(cx, r.d, r.quad, result);
        }
        (1, 6) => {
            let m = read(cx, r.m, r.quad);
            let result = cx.b.vec(Op::VAbs, lane(a.size), &[m], 0);
            write(cx, r.d, r.quad, result);
        }
        _ => by_helper(cx, helpers::SIMD_MISC),
    }
}

fn narrow_misc(cx: &mut Lifter<'_>, a: &TwoMisc, r: Regs) {
    if a.opc >= 12 {
        return half_misc(cx, a, r);
    }
    let (odd, exists) = match a.opc {
        6 => (r.d & 1 != 0, a.q == 0),
        _ => (r.m & 1 != 0, true),
    };
    if cx.require(a.size != 3 && exists && !odd) {
        by_helper(cx, helpers::SIMD_MISC);
    }
}

/// VCVT between half and single precision.
fn half_misc(cx: &mut Lifter<'_>, a: &TwoMisc, r: Regs) {
    if !cx.require(a.size == 1 && a.q == 0) {
        return;
    }
    if a.opc == 12 {
        if cx.require(r.m & 1 == 0) {
            let m = read(cx, r.m, true);
            let result = if cx.mode.alternative_half {
                alternative_from_single(cx, m)
            } else {
                float(cx, Op::FSingleToHalf, &[m], 0)
            };
            write(cx, r.d, false, result);
        }
    } else if cx.require(r.d & 1 == 0) {
        let m = float_read(cx, r.m, false);
        let result =
            if cx.mode.alternative_half { alternative_to_single(cx, m) } else { float(cx, Op::FHalfToSingle, &[m], 0) };
        write(cx, r.d, true, result);
    }
}

/// Four singles in the alternative half-precision format.
fn alternative_from_single(cx: &mut Lifter<'_>, m: Value) -> Value {
    let selector = cx.int(half::ALTERNATIVE | half::STANDARD);
    (0..4).fold(cx.b.bin(Op::VXor, m, m), |result, lane| {
        let single = cx.b.vec_to(Op::VExtract, Type::I32, Lane::I32, &[m], lane);
        let single = cx.b.convert(Op::Zext, Type::I64, &[single]);
        let half = cx.b.call(helpers::TO_HALF, Type::I32, &[single, selector]);
        cx.b.vec(Op::VInsert, Lane::I16, &[result, half], lane)
    })
}

/// Four numbers of the alternative half-precision format as singles.
fn alternative_to_single(cx: &mut Lifter<'_>, m: Value) -> Value {
    (0..4).fold(m, |result, lane| {
        let half = cx.b.vec_to(Op::VExtract, Type::I16, Lane::I16, &[m], lane);
        let half = cx.b.convert(Op::Zext, Type::I32, &[half]);
        let single = cx.b.call(helpers::ALTERNATIVE_TO_SINGLE, Type::I32, &[half]);
        cx.b.vec(Op::VInsert, Lane::I32, &[result, single], lane)
    })
}

/// Comparisons with zero, absolute value, negation of floating-point numbers.
fn float_misc(cx: &mut Lifter<'_>, a: &TwoMisc, r: Regs) {
    if !cx.require(a.size == 2) {
        return;
    }
    let m = float_read(cx, r.m, r.quad);
    let zero = cx.b.bin(Op::VXor, m, m);
    let result = match a.opc & 7 {
        0 => float(cx, Op::FCmpMask, &[zero, m], LESS),
        1 => float(cx, Op::FCmpMask, &[zero, m], LESS_EQUAL),
        2 => float(cx, Op::FCmpMask, &[m, zero], EQUAL),
        3 => float(cx, Op::FCmpMask, &[m, zero], LESS_EQUAL),
        4 => float(cx, Op::FCmpMask, &[m, zero], LESS),
        6 => absolute(cx, m),
        7 => flip_signs(cx, m),
        _ => return missing(cx, "sha"),
    };
    write(cx, r.d, r.quad, result);
}

/// VCVT between integers and floating point.
fn convert_misc(cx: &mut Lifter<'_>, a: &TwoMisc, r: Regs) {
    if !cx.require(a.size == 2) {
        return;
    }
    let m = float_read(cx, r.m, r.quad);
    let result = match a.opc {
        12 => float(cx, Op::FFromIntS, &[m], 0),
        13 => float(cx, Op::FFromIntU, &[m], 0),
        14 => float(cx, Op::FToIntSatS, &[m], Rounding::Zero as u8),
        _ => float(cx, Op::FToIntSatU, &[m], Rounding::Zero as u8),
    };
    write(cx, r.d, r.quad, result);
}

/// VRINTN, X, A, Z, M, P.
fn round_misc(cx: &mut Lifter<'_>, a: &TwoMisc, r: Regs) {
    let rounding = match a.opc {
        8 | 9 => Rounding::NearestEven,
        10 => Rounding::NearestAway,
        11 => Rounding::Zero,
        13 => Rounding::Down,
        _ => Rounding::Up,
    };
    if !cx.require(a.size == 2 && cx.cpu.arch >= Arch::V8) {
        return;
    }
    let quiet = if a.opc == 9 { 0 } else { 8 };
    let m = float_read(cx, r.m, r.quad);
    let result = float(cx, Op::FRoundInt, &[m, m], rounding as u8 | quiet);
    write(cx, r.d, r.quad, result);
}

/// VCVTA, N, P, M.
fn convert_rounding(cx: &mut Lifter<'_>, a: &TwoMisc, r: Regs) {
    if !cx.require(a.size == 2 && cx.cpu.arch >= Arch::V8) {
        return;
    }
    let rounding =
        [Rounding::NearestAway, Rounding::NearestEven, Rounding::Up, Rounding::Down][(a.opc >> 1 & 3) as usize];
    let m = float_read(cx, r.m, r.quad);
    let op = if a.opc & 1 == 0 { Op::FToIntSatS } else { Op::FToIntSatU };
    let result = float(cx, op, &[m], rounding as u8);
    write(cx, r.d, r.quad, result);
}

pub(super) fn vext(cx: &mut Lifter<'_>, a: &Vext) {
    let r = regs3!(cx, a, a.q);
    if !cx.require(r.quad || a.imm4 < 8) {
        return;
    }
    let (n, m) = (read(cx, r.n, r.quad), read(cx, r.m, r.quad));
    let result = if r.quad {
        cx.b.vec_to(Op::VAlign, Type::V128, Lane::I8, &[n, m], a.imm4)
    } else {
        let both = cx.b.vec(Op::VZipLo, Lane::I64, &[n, m], 0);
        cx.b.vec_to(Op::VShrBytes, Type::V128, Lane::I8, &[both], a.imm4)
    };
    write(cx, r.d, r.quad, result);
}

pub(super) fn vtbl(cx: &mut Lifter<'_>, a: &Vtbl) {
    let r = regs3!(cx, a, 0);
    if cx.require(r.n + a.len < 32) {
        by_helper(cx, helpers::SIMD_TABLE);
    }
}

pub(super) fn vdup_lane(cx: &mut Lifter<'_>, a: &VdupLane) {
    let Some(r) = regs(cx, [[a.vd, a.d], [0, 0], [0, 0]], a.q) else { return };
    let size = a.imm4.trailing_zeros();
    if !cx.require(size < 3) {
        return;
    }
    let m = cx.d(a.m << 4 | a.vm);
    let result = cx.b.vec(Op::VDupLane, lane(size), &[m], a.imm4 >> (size + 1));
    write(cx, r.d, r.quad, result);
}
