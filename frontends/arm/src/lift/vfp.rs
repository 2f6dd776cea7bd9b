//! Scalar floating point (DDI 0406C A7.5 to A7.9).
//!
//! A scalar is lane 0 of a vector. Ops with a scalar lane take the rest from their first operand, which does not matter
//! here. Short vectors (FPSCR.LEN above 1), which Armv7 deprecates, are undefined, and counted as `short_vector`.

use super::fpreg::Precision;
use super::{Lifter, status};
use crate::coverage;
use crate::decode::coproc::*;
use crate::helpers::{self, half};
use isamorph_ir::{Lane, Op, Rounding, Type, Value};

/// The numbers of the registers of an instruction.
#[derive(Clone, Copy)]
pub(super) struct Regs {
    pub(super) precision: Precision,
    pub(super) d: u32,
    pub(super) n: u32,
    pub(super) m: u32,
}

/// The registers, if the processor has them, and the version of the extension.
pub(super) fn regs(cx: &mut Lifter<'_>, dp: u32, d: [u32; 2], n: [u32; 2], m: [u32; 2], version: u32) -> Option<Regs> {
    let precision = Precision::of(dp);
    let [d, n, m] = [d, n, m].map(|[v, bit]| precision.number(v, bit));
    if cx.mode.short_vectors {
        coverage::count("short_vector");
        cx.undefined();
        return None;
    }
    let most = d.max(n).max(m);
    let exist = cx.cpu.vfp >= version && (precision == Precision::Single || most < if cx.cpu.simd { 32 } else { 16 });
    cx.require(exist).then_some(Regs { precision, d, n, m })
}

/// A floating-point op with scalar lanes.
fn float(cx: &mut Lifter<'_>, op: Op, precision: Precision, args: &[Value]) -> Value {
    let mode = u32::from(cx.mode.fp().0);
    cx.b.vec(op, precision.lane(), args, mode)
}

fn sign_mask(cx: &mut Lifter<'_>, precision: Precision) -> Value {
    let bits = match precision {
        Precision::Single => cx.int(1 << 31),
        Precision::Double => cx.b.iconst(Type::I64, 1 << 63),
    };
    cx.vector_of(bits)
}

fn negate(cx: &mut Lifter<'_>, precision: Precision, value: Value) -> Value {
    let mask = sign_mask(cx, precision);
    cx.b.bin(Op::VXor, value, mask)
}

/// An operation on two operands.
pub(super) fn binary(cx: &mut Lifter<'_>, r: Regs, op: Op) -> Value {
    let (n, m) = (cx.scalar(r.precision, r.n), cx.scalar(r.precision, r.m));
    float(cx, op, r.precision, &[n, m])
}

macro_rules! regs3 {
    ($cx:ident, $a:ident, $version:expr) => {
        match regs($cx, $a.dp, [$a.vd, $a.d], [$a.vn, $a.n], [$a.vm, $a.m], $version) {
            Some(regs) => regs,
            None => return,
        }
    };
}

macro_rules! regs2 {
    ($cx:ident, $a:ident, $version:expr) => {
        match regs($cx, $a.dp, [$a.vd, $a.d], [0, 0], [$a.vm, $a.m], $version) {
            Some(regs) => regs,
            None => return,
        }
    };
}

/// `d = ±d + ±(n × m)` with two roundings.
fn multiply_add(cx: &mut Lifter<'_>, r: Regs, negate_product: bool, negate_addend: bool) {
    let product = binary(cx, r, Op::FMul);
    let product = if negate_product { negate(cx, r.precision, product) } else { product };
    let addend = cx.scalar(r.precision, r.d);
    let addend = if negate_addend { negate(cx, r.precision, addend) } else { addend };
    let sum = float(cx, Op::FAdd, r.precision, &[addend, product]);
    cx.set_scalar(r.precision, r.d, sum);
}

pub(super) fn vmla(cx: &mut Lifter<'_>, a: &Vmla) {
    let r = regs3!(cx, a, 2);
    multiply_add(cx, r, a.sub != 0, false);
}

/// VNMLS, and with `add` VNMLA.
pub(super) fn vnmla(cx: &mut Lifter<'_>, a: &Vnmla) {
    let r = regs3!(cx, a, 2);
    multiply_add(cx, r, a.add != 0, true);
}

pub(super) fn vmul(cx: &mut Lifter<'_>, a: &Vmul) {
    let r = regs3!(cx, a, 2);
    let product = binary(cx, r, Op::FMul);
    let product = if a.neg != 0 { negate(cx, r.precision, product) } else { product };
    cx.set_scalar(r.precision, r.d, product);
}

pub(super) fn vadd(cx: &mut Lifter<'_>, a: &Vadd) {
    let r = regs3!(cx, a, 2);
    let sum = binary(cx, r, if a.sub != 0 { Op::FSub } else { Op::FAdd });
    cx.set_scalar(r.precision, r.d, sum);
}

pub(super) fn vdiv(cx: &mut Lifter<'_>, a: &Vdiv) {
    let r = regs3!(cx, a, 2);
    let quotient = binary(cx, r, Op::FDiv);
    cx.set_scalar(r.precision, r.d, quotient);
}

/// `d = ±d + ±n × m` with one rounding.
fn fused(cx: &mut Lifter<'_>, r: Regs, negate_product: bool, negate_addend: bool) {
    let (n, m) = (cx.scalar(r.precision, r.n), cx.scalar(r.precision, r.m));
    let n = if negate_product { negate(cx, r.precision, n) } else { n };
    let addend = cx.scalar(r.precision, r.d);
    let addend = if negate_addend { negate(cx, r.precision, addend) } else { addend };
    let sum = float(cx, Op::FMulAdd, r.precision, &[n, m, addend]);
    cx.set_scalar(r.precision, r.d, sum);
}

pub(super) fn vfma(cx: &mut Lifter<'_>, a: &Vfma) {
    let r = regs3!(cx, a, 4);
    fused(cx, r, a.sub != 0, false);
}

/// VFNMS, and with `sub` VFNMA.
pub(super) fn vfnma(cx: &mut Lifter<'_>, a: &Vfnma) {
    let r = regs3!(cx, a, 4);
    fused(cx, r, a.sub != 0, true);
}

/// The constant of VMOV (DDI 0406C A7.5.1, VFPExpandImm).
fn expand(imm8: u32, precision: Precision) -> u64 {
    let (sign, inverted, low) = (u64::from(imm8 >> 7), imm8 & 0x40 == 0, u64::from(imm8 & 0x3f));
    // Bit 6 is inverted on top of the exponent, and repeated below.
    match precision {
        Precision::Single => sign << 31 | if inverted { 1 << 30 } else { 0x1f << 25 } | low << 19,
        Precision::Double => sign << 63 | if inverted { 1 << 62 } else { 0xff << 54 } | low << 48,
    }
}

pub(super) fn vmov_imm(cx: &mut Lifter<'_>, a: &VmovImm) {
    let Some(r) = regs(cx, a.dp, [a.vd, a.d], [0, 0], [0, 0], 3) else { return };
    let ty = if a.dp != 0 { Type::I64 } else { Type::I32 };
    let bits = cx.b.iconst(ty, expand(a.imm, r.precision));
    let value = cx.vector_of(bits);
    cx.set_scalar(r.precision, r.d, value);
}

pub(super) fn vmov_reg(cx: &mut Lifter<'_>, a: &VmovReg) {
    let r = regs2!(cx, a, 2);
    let value = cx.scalar(r.precision, r.m);
    cx.set_scalar(r.precision, r.d, value);
}

pub(super) fn vabs(cx: &mut Lifter<'_>, a: &Vabs) {
    let r = regs2!(cx, a, 2);
    let (mask, value) = (sign_mask(cx, r.precision), cx.scalar(r.precision, r.m));
    let value = cx.b.bin(Op::VAndNot, mask, value);
    cx.set_scalar(r.precision, r.d, value);
}

pub(super) fn vneg(cx: &mut Lifter<'_>, a: &Vneg) {
    let r = regs2!(cx, a, 2);
    let value = cx.scalar(r.precision, r.m);
    let value = negate(cx, r.precision, value);
    cx.set_scalar(r.precision, r.d, value);
}

pub(super) fn vsqrt(cx: &mut Lifter<'_>, a: &Vsqrt) {
    let r = regs2!(cx, a, 2);
    let value = cx.scalar(r.precision, r.m);
    let root = float(cx, Op::FSqrt, r.precision, &[value, value]);
    cx.set_scalar(r.precision, r.d, root);
}

pub(super) fn vcmp(cx: &mut Lifter<'_>, a: &Vcmp) {
    let r = regs2!(cx, a, 2);
    let (d, m) = (cx.scalar(r.precision, r.d), cx.scalar(r.precision, r.m));
    compare(cx, r.precision, d, m, a.e);
}

pub(super) fn vcmp_zero(cx: &mut Lifter<'_>, a: &VcmpZero) {
    let Some(r) = regs(cx, a.dp, [a.vd, a.d], [0, 0], [0, 0], 2) else { return };
    let (d, zero) = (cx.scalar(r.precision, r.d), cx.int(0));
    let zero = cx.vector_of(zero);
    compare(cx, r.precision, d, zero, a.e);
}

/// Sets the flags of FPSCR. Nearly always, VMRS makes them those of APSR right away: it finds them as they are.
fn compare(cx: &mut Lifter<'_>, precision: Precision, a: Value, b: Value, signal: u32) {
    let mode = u32::from(cx.mode.fp().select(signal as u8).0);
    let order = cx.b.vec_to(Op::FCmpOrder, Type::I32, precision.lane(), &[a, b], mode);
    let flags = cx.b.flags(order);
    let bits = cx.b.flags_bits(flags);
    cx.b.set(crate::state::FPFLAGS, bits);
    cx.compared = (bits, flags);
}

/// Conversions between double and single precision; `dp` is that of the source.
pub(super) fn vcvt_precision(cx: &mut Lifter<'_>, a: &VcvtPrecision) {
    let (from, to) =
        if a.dp != 0 { (Precision::Double, Precision::Single) } else { (Precision::Single, Precision::Double) };
    let (d, m) = (to.number(a.vd, a.d), from.number(a.vm, a.m));
    let double = if a.dp != 0 { m } else { d };
    if !cx.has_d(double) {
        return;
    }
    let value = cx.scalar(from, m);
    let converted = float(cx, Op::FCvtLane, from, &[value, value]);
    cx.set_scalar(to, d, converted);
}

/// Integers are in single registers.
pub(super) fn vcvt_from_int(cx: &mut Lifter<'_>, a: &VcvtFromInt) {
    let to = Precision::of(a.dp);
    let (d, m) = (to.number(a.vd, a.d), Precision::Single.number(a.vm, a.m));
    if to == Precision::Double && !cx.has_d(d) {
        return;
    }
    let value = cx.s(m);
    let value = from_int(cx, to, value, a.signed != 0);
    cx.set_scalar(to, d, value);
}

/// The 32-bit integer in lane 0 as a floating-point number.
fn from_int(cx: &mut Lifter<'_>, to: Precision, value: Value, signed: bool) -> Value {
    if to == Precision::Single {
        return float(cx, if signed { Op::FFromIntS } else { Op::FFromIntU }, to, &[value]);
    }
    let int = cx.low_word(value);
    let wide = cx.b.convert(if signed { Op::Sext } else { Op::Zext }, Type::I64, &[int]);
    let wide = cx.vector_of(wide);
    float(cx, Op::FFromIntS, to, &[wide])
}

pub(super) fn vcvt_to_int(cx: &mut Lifter<'_>, a: &VcvtToInt) {
    let from = Precision::of(a.dp);
    let (d, m) = (Precision::Single.number(a.vd, a.d), from.number(a.vm, a.m));
    if from == Precision::Double && !cx.has_d(m) {
        return;
    }
    let rounding = if a.zero != 0 { Rounding::Zero } else { Rounding::Current };
    let value = cx.scalar(from, m);
    let value = to_int(cx, from, value, a.signed != 0, rounding);
    cx.set_s(d, value);
}

/// Lane 0 as a 32-bit integer, saturated.
pub(super) fn to_int(cx: &mut Lifter<'_>, from: Precision, value: Value, signed: bool, rounding: Rounding) -> Value {
    let mode = u32::from(cx.mode.fp().rounding(rounding).0);
    if from == Precision::Double {
        let op = if signed { Op::FLaneToIntS } else { Op::FLaneToIntU };
        let int = cx.b.vec_to(op, Type::I32, Lane::S64, &[value], mode);
        return cx.vector_of(int);
    }
    cx.b.vec(if signed { Op::FToIntSatS } else { Op::FToIntSatU }, Lane::S32, &[value], mode)
}

/// VCVTB and VCVTT from half precision: `top` selects the half of a single register. To double precision is Armv8.
pub(super) fn vcvt_from_half(cx: &mut Lifter<'_>, a: &VcvtFromHalf) {
    let to = Precision::of(a.dp);
    let (d, version) = (to.number(a.vd, a.d), if a.dp != 0 { 5 } else { 3 });
    if !cx.require(cx.cpu.vfp >= version) || to == Precision::Double && !cx.has_d(d) {
        return;
    }
    let value = cx.s(Precision::Single.number(a.vm, a.m));
    let value = if a.top != 0 { cx.b.vec(Op::VShrImm, Lane::I32, &[value], 16) } else { value };
    let single = if cx.mode.alternative_half {
        let half = cx.low_word(value);
        let bits = cx.b.call(helpers::ALTERNATIVE_TO_SINGLE, Type::I32, &[half]);
        cx.vector_of(bits)
    } else {
        float(cx, Op::FHalfToSingle, Precision::Single, &[value])
    };
    let value = match to {
        Precision::Single => single,
        Precision::Double => float(cx, Op::FCvtLane, Precision::Single, &[single, single]),
    };
    cx.set_scalar(to, d, value);
}

/// VCVTB and VCVTT from single to half precision.
pub(super) fn vcvt_to_half(cx: &mut Lifter<'_>, a: &VcvtToHalf) {
    if !cx.require(cx.cpu.vfp >= 3) {
        return;
    }
    let value = cx.s(Precision::Single.number(a.vm, a.m));
    let half = if cx.mode.alternative_half {
        half_by_helper(cx, value, half::ALTERNATIVE)
    } else {
        let half = float(cx, Op::FSingleToHalf, Precision::Single, &[value]);
        cx.low_word(half)
    };
    set_half(cx, Precision::Single.number(a.vd, a.d), half, a.top);
}

/// VCVTB and VCVTT from double to half precision (Armv8).
pub(super) fn vcvt_double_to_half(cx: &mut Lifter<'_>, a: &VcvtDoubleToHalf) {
    let m = Precision::Double.number(a.vm, a.m);
    if !cx.require(cx.cpu.vfp >= 5) || !cx.has_d(m) {
        return;
    }
    let value = cx.d(m);
    let format = if cx.mode.alternative_half { half::ALTERNATIVE } else { 0 };
    let half = half_by_helper(cx, value, half::FROM_DOUBLE | format);
    set_half(cx, Precision::Single.number(a.vd, a.d), half, a.top);
}

/// Lane 0 as a half-precision number.
pub(super) fn half_by_helper(cx: &mut Lifter<'_>, value: Value, selector: u32) -> Value {
    let (bits, selector) = (cx.low_double(value), cx.int(selector));
    cx.b.call(helpers::TO_HALF, Type::I32, &[bits, selector])
}

/// Writes half of a single register.
fn set_half(cx: &mut Lifter<'_>, d: u32, half: Value, top: u32) {
    let half = cx.b.convert(Op::Trunc, Type::I16, &[half]);
    let old = cx.s(d);
    let old = cx.low_word(old);
    let merged = cx.b.insert(old, half, 16 * top);
    let merged = cx.vector_of(merged);
    cx.set_s(d, merged);
}

pub(super) fn round(cx: &mut Lifter<'_>, r: Regs, rounding: Rounding, exact: bool) {
    let mode = cx.mode.fp().rounding(rounding);
    let mode = if exact { mode } else { mode.quiet() };
    let value = cx.scalar(r.precision, r.m);
    let rounded = cx.b.vec(Op::FRoundInt, r.precision.lane(), &[value, value], u32::from(mode.0));
    cx.set_scalar(r.precision, r.d, rounded);
}

/// VRINTR and VRINTZ.
pub(super) fn vrint(cx: &mut Lifter<'_>, a: &Vrint) {
    let r = regs2!(cx, a, 5);
    round(cx, r, if a.zero != 0 { Rounding::Zero } else { Rounding::Current }, false);
}

pub(super) fn vrintx(cx: &mut Lifter<'_>, a: &Vrintx) {
    let r = regs2!(cx, a, 5);
    round(cx, r, Rounding::Current, true);
}

/// Between floating point and fixed point, in the same register.
pub(super) fn vcvt_fixed(cx: &mut Lifter<'_>, a: &VcvtFixed) {
    let Some(r) = regs(cx, a.dp, [a.vd, a.d], [0, 0], [0, 0], 3) else { return };
    // The lowest bit of the immediate is on top in the encoding.
    let imm = (a.imm & 15) << 1 | a.imm >> 4;
    let size = if a.sx != 0 { 32 } else { 16 };
    if !cx.require(imm <= size) {
        return;
    }
    let fraction = size - imm;
    let selector = u32::from(r.precision == Precision::Double) | a.u << 1 | a.sx << 2 | a.to << 3 | fraction << 8;
    let (value, selector) = (cx.scalar(r.precision, r.d), cx.int(selector));
    let bits = cx.low_double(value);
    let result = cx.b.call(helpers::FIXED, Type::I64, &[bits, selector]);
    let result = cx.vector_of(result);
    cx.set_scalar(r.precision, r.d, result);
}

// ---- loads and stores

pub(super) fn vldr(cx: &mut Lifter<'_>, a: &Vldr) {
    let precision = Precision::of(a.dp);
    let number = precision.number(a.vd, a.d);
    if precision == Precision::Double && !cx.has_d(number) {
        return;
    }
    let disp = if a.u != 0 { 4 * a.imm8 as i32 } else { -4 * a.imm8 as i32 };
    let place = cx.base(a.rn, disp);
    if a.l != 0 {
        let value = super::multiple::load_scalar(cx, precision, place);
        cx.set_scalar(precision, number, value);
    } else {
        super::multiple::store_scalar(cx, precision, number, place);
    }
}

pub(super) fn vldm(cx: &mut Lifter<'_>, a: &Vldm) {
    let precision = Precision::of(a.dp);
    let first = precision.number(a.vd, a.d);
    super::multiple::vector(cx, precision, first, a.imm8, a.l != 0, (a.rn, true, a.w != 0));
}

pub(super) fn vldm_down(cx: &mut Lifter<'_>, a: &VldmDown) {
    let precision = Precision::of(a.dp);
    let first = precision.number(a.vd, a.d);
    super::multiple::vector(cx, precision, first, a.imm8, a.l != 0, (a.rn, false, true));
}

// ---- transfers

pub(super) fn vmov_single(cx: &mut Lifter<'_>, a: &VmovSingle) {
    let number = Precision::Single.number(a.vn, a.n);
    if !cx.require(a.rt != 15) {
        return;
    }
    if a.l != 0 {
        let value = cx.s(number);
        let value = cx.low_word(value);
        cx.set_reg(a.rt, value);
    } else {
        let value = cx.reg(a.rt);
        let value = cx.vector_of(value);
        cx.set_s(number, value);
    }
}

/// VMOV between a general register and half precision (Armv8.2); what is above becomes zero.
pub(super) fn vmov_half(cx: &mut Lifter<'_>, a: &VmovHalf) {
    let number = Precision::Single.number(a.vn, a.n);
    if !cx.require(cx.cpu.vfp >= 5 && a.rt != 15) {
        return;
    }
    let value = if a.l != 0 { cx.s(number) } else { cx.reg(a.rt) };
    let word = if a.l != 0 { cx.low_word(value) } else { value };
    let half = cx.bin_const(Op::And, word, 0xffff);
    if a.l != 0 {
        cx.set_reg(a.rt, half);
    } else {
        let half = cx.vector_of(half);
        cx.set_s(number, half);
    }
}

pub(super) fn vmov_pair(cx: &mut Lifter<'_>, a: &VmovPair) {
    let first = Precision::Single.number(a.vm, a.m);
    if !cx.require(a.rt != 15 && a.rt2 != 15 && first != 31) {
        return;
    }
    if a.l != 0 {
        let values = [first, first + 1].map(|number| {
            let value = cx.s(number);
            cx.low_word(value)
        });
        cx.set_reg(a.rt, values[0]);
        cx.set_reg(a.rt2, values[1]);
    } else {
        for (reg, number) in [(a.rt, first), (a.rt2, first + 1)] {
            let value = cx.reg(reg);
            let value = cx.vector_of(value);
            cx.set_s(number, value);
        }
    }
}

pub(super) fn vmov_double(cx: &mut Lifter<'_>, a: &VmovDouble) {
    let number = Precision::Double.number(a.vm, a.m);
    if !cx.require(a.rt != 15 && a.rt2 != 15) || !cx.has_d(number) {
        return;
    }
    if a.l != 0 {
        let value = cx.d(number);
        let both = cx.low_double(value);
        let (low, high) = (cx.b.convert(Op::Trunc, Type::I32, &[both]), cx.b.field(Type::I32, both, 32));
        cx.set_reg(a.rt, low);
        cx.set_reg(a.rt2, high);
    } else {
        let (low, high) = (cx.reg(a.rt), cx.reg(a.rt2));
        let both = cx.b.convert(Op::Concat, Type::I64, &[low, high]);
        let value = cx.vector_of(both);
        cx.set_d(number, value);
    }
}

/// The lane that the opcode fields select: its type and number; nothing if they select none.
fn lane(opc: u32) -> Option<(Lane, u32)> {
    match opc {
        _ if opc & 8 != 0 => Some((Lane::I8, opc & 7)),
        _ if opc & 1 != 0 => Some((Lane::I16, opc >> 1 & 3)),
        _ if opc & 2 == 0 => Some((Lane::I32, opc >> 2 & 1)),
        _ => None,
    }
}

/// A lane other than a word is Advanced SIMD.
fn selected_lane(cx: &mut Lifter<'_>, opc: u32, number: u32) -> Option<(Lane, u32)> {
    let found = lane(opc).filter(|(lane, _)| *lane == Lane::I32 || cx.cpu.simd);
    if found.is_none() {
        cx.undefined();
        return None;
    }
    if cx.has_d(number) { found } else { None }
}

pub(super) fn vmov_to_lane(cx: &mut Lifter<'_>, a: &VmovToLane) {
    let number = Precision::Double.number(a.vd, a.d);
    if !cx.require(a.rt != 15) {
        return;
    }
    let Some((lane, index)) = selected_lane(cx, a.opc, number) else { return };
    let (old, value) = (cx.d(number), cx.reg(a.rt));
    let merged = cx.b.vec(Op::VInsert, lane, &[old, value], index);
    cx.set_d(number, merged);
}

pub(super) fn vmov_from_lane(cx: &mut Lifter<'_>, a: &VmovFromLane) {
    let number = Precision::Double.number(a.vn, a.n);
    if !cx.require(a.rt != 15) {
        return;
    }
    let Some((lane, index)) = selected_lane(cx, a.opc, number) else { return };
    if lane == Lane::I32 && !cx.require(a.u == 0) {
        return;
    }
    let value = cx.d(number);
    let ty = match lane {
        Lane::I8 => Type::I8,
        Lane::I16 => Type::I16,
        _ => Type::I32,
    };
    let part = cx.b.vec_to(Op::VExtract, ty, lane, &[value], index);
    let part = match (ty, a.u != 0) {
        (Type::I32, _) => part,
        (_, true) => cx.b.convert(Op::Zext, Type::I32, &[part]),
        (_, false) => cx.b.convert(Op::Sext, Type::I32, &[part]),
    };
    cx.set_reg(a.rt, part);
}

pub(super) fn vdup(cx: &mut Lifter<'_>, a: &Vdup) {
    let number = Precision::Double.number(a.vd, a.d);
    let lane = match (a.b, a.e) {
        (0, 0) => Lane::I32,
        (0, _) => Lane::I16,
        (_, 0) => Lane::I8,
        _ => return cx.undefined(),
    };
    if !cx.require(cx.cpu.simd && a.rt != 15 && !(a.q != 0 && number & 1 != 0)) {
        return;
    }
    let value = cx.reg(a.rt);
    let all = cx.b.vec_to(Op::VDup, Type::V128, lane, &[value], 0);
    for i in 0..=a.q {
        cx.set_d(number + i, all);
    }
}

pub(super) fn vmrs(cx: &mut Lifter<'_>, a: &Vmrs) {
    status::read_fpscr(cx, a.rt);
}

pub(super) fn vmsr(cx: &mut Lifter<'_>, a: &Vmsr) {
    if cx.require(a.rt != 15) {
        status::write_fpscr(cx, a.rt);
    }
}
