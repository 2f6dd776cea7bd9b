//! Scalar floating point (Arm ARM C7.2).
//!
//! Single and double precision are ops on the lowest lane. Half precision is computed by helpers, except what is a
//! conversion or a change of bits.

use super::simd::{Form, Width, Zeros};
use super::simd_move::expand_float;
use super::{Lifter, condition};
use crate::decode::a64;
use crate::helpers::fp::{Call, FpOp};
use crate::state::flags_of_nzcv;
use crate::{helpers, state};
use isamorph_ir::{Cond, Lane, Op, Rounding, Type, Value};

/// A field `ftype` that is not reserved: half precision, or an op's lane.
const HALF: u32 = 3;

/// The form of a single- or double-precision scalar.
fn form(ftype: u32) -> Form {
    Form::scalar_float(ftype)
}

/// The form of a half-precision scalar, as bits.
pub(super) const HALF_FORM: Form = Form { lane: Lane::I16, width: Width::Scalar };

/// The form of a scalar of any precision, as bits.
fn bits_form(ftype: u32) -> Form {
    if ftype == HALF { HALF_FORM } else { form(ftype) }
}

/// The integer type of a scalar's bits.
fn bits_type(ftype: u32) -> Type {
    match ftype {
        0 => Type::I32,
        1 => Type::I64,
        _ => Type::I16,
    }
}

impl Lifter<'_> {
    /// Calls the helper for a floating-point operation.
    pub(super) fn float(&mut self, call: Call) {
        let none = self.constant(Type::I64, 0);
        self.float_with(call, none);
    }
    fn float_with(&mut self, call: Call, integer: Value) {
        let descriptor = self.constant(Type::I64, call.pack());
        self.b.call(helpers::FLOAT, Type::None, &[descriptor, integer]);
        self.b.forget(state::v(call.rd));
        self.b.forget(state::FPSR);
    }
    /// A scalar's bits as an integer.
    fn scalar_bits(&mut self, ftype: u32, n: u32) -> Value {
        let value = self.v(n);
        self.b.convert(Op::VToInt, bits_type(ftype), &[value])
    }
    /// Writes a scalar from an integer of its width.
    fn set_scalar_bits(&mut self, n: u32, bits: Value) {
        let bytes = self.b.ty(bits).bytes();
        let value = self.b.convert(Op::VFromInt, Type::V128, &[bits]);
        self.set_v(n, value, bytes);
    }
    /// A floating-point op that rounds to an integral value.
    pub(super) fn fop_rounding(&mut self, op: Op, lane: Lane, args: &[Value], rounding: Rounding) -> Value {
        let mode = self.mode.fp().rounding(rounding);
        self.b.vec(op, lane, args, u32::from(mode.0))
    }
    /// `op(v[rn], v[rm])` on the lowest lane.
    fn scalar_binary(&mut self, op: Op, ftype: u32, [rd, rn, rm]: [u32; 3]) {
        let f = form(ftype);
        let (n, m) = (self.v(rn), self.v(rm));
        let value = self.fop(op, f.lane, &[n, m]);
        // The other lanes are those of the first operand.
        self.put_from(f, rd, value, Zeros::Stay, &[rn]);
    }
    /// The number in the lowest lane in another precision (0 single, 1 double), zero above.
    fn convert_lane(&mut self, from: Lane, value: Value) -> Value {
        let zero = self.vzero();
        self.fop(Op::FCvtLane, from, &[zero, value])
    }
    /// The scalar as single or double precision, and the lane that it has then: half precision becomes single.
    fn single_or_double(&mut self, ftype: u32, n: u32) -> (Value, Lane) {
        let value = self.v(n);
        match ftype {
            HALF => (self.fop(Op::FHalfToSingle, Lane::S32, &[value]), Lane::S32),
            _ => (value, form(ftype).lane),
        }
    }
    /// A half-precision operand of arithmetic as a single: denormals are zeros if FPCR.FZ16 says so.
    fn half_operand(&mut self, mut value: Value) -> Value {
        if self.mode.flush_half {
            let bits = self.b.convert(Op::VToInt, Type::I32, &[value]);
            let (exponent, sign) = (self.constant(Type::I32, 0x7c00), self.constant(Type::I32, 0x8000));
            let exponent = self.b.bin(Op::And, bits, exponent);
            let test = self.b.flags(exponent);
            let zero = self.b.bin(Op::And, bits, sign);
            let bits = self.b.select(Cond::Ne, test, bits, zero);
            value = self.b.convert(Op::VFromInt, Type::V128, &[bits]);
        }
        self.fop(Op::FHalfToSingle, Lane::S32, &[value])
    }
}

/// Declares the two-operand instructions that are one op: name, type of the arguments, op, half-precision operation.
macro_rules! binary {
    ($($name:ident $args:ident $op:ident;)*) => { $(
        pub(super) fn $name(cx: &mut Lifter<'_>, a: &a64::$args) {
            if a.ftype == HALF {
                return half_scalar(cx, FpOp::$args, [a.rd, a.rn, a.rm]);
            }
            cx.scalar_binary(Op::$op, a.ftype, [a.rd, a.rn, a.rm]);
        }
    )* };
}
binary! {
    fadd Fadd FAdd; fsub Fsub FSub; fmul Fmul FMul; fdiv Fdiv FDiv;
    fmax Fmax FMax; fmin Fmin FMin; fmaxnm Fmaxnm FMaxNum; fminnm Fminnm FMinNum;
}

/// Calls the helper for a half-precision scalar operation.
fn half_scalar(cx: &mut Lifter<'_>, op: FpOp, [rd, rn, rm]: [u32; 3]) {
    cx.float(Call::new(op, 1, 1, [rd, rn, rm]));
}

pub(super) fn fnmul(cx: &mut Lifter<'_>, a: &a64::Fnmul) {
    if a.ftype == HALF {
        return half_scalar(cx, FpOp::Fnmul, [a.rd, a.rn, a.rm]);
    }
    let f = form(a.ftype);
    let (n, m) = (cx.v(a.rn), cx.v(a.rm));
    let product = cx.fop(Op::FMul, f.lane, &[n, m]);
    let value = negate(cx, f, product);
    cx.put_from(f, a.rd, value, Zeros::Stay, &[a.rn]);
}

/// Flips the sign of the lowest lane.
fn negate(cx: &mut Lifter<'_>, f: Form, value: Value) -> Value {
    let sign = cx.vconst(1 << (8 * f.bytes() - 1));
    cx.b.bin(Op::VXor, value, sign)
}

/// FMADD, FMSUB, FNMADD, FNMSUB: o1 negates the addend, o0 other than o1 the product.
pub(super) fn fmadd(cx: &mut Lifter<'_>, a: &a64::Fmadd) {
    if a.ftype == HALF {
        let op = [FpOp::Fmadd, FpOp::Fmsub, FpOp::Fnmadd, FpOp::Fnmsub][(a.o1 << 1 | a.o0) as usize];
        return cx.float(Call { ra: a.ra, ..Call::new(op, 1, 1, [a.rd, a.rn, a.rm]) });
    }
    let f = form(a.ftype);
    let (mut n, m, mut addend) = (cx.v(a.rn), cx.v(a.rm), cx.v(a.ra));
    if a.o0 != a.o1 {
        n = negate(cx, f, n);
    }
    if a.o1 != 0 {
        addend = negate(cx, f, addend);
    }
    let value = cx.fop(Op::FMulAdd, f.lane, &[n, m, addend]);
    cx.put_from(f, a.rd, value, Zeros::Stay, &[a.ra]);
}

// ---- one source

pub(super) fn fmov_reg(cx: &mut Lifter<'_>, a: &a64::FmovReg) {
    let value = cx.v(a.rn);
    cx.put_from(bits_form(a.ftype), a.rd, value, Zeros::Stay, &[a.rn]);
}

pub(super) fn fabs(cx: &mut Lifter<'_>, a: &a64::Fabs) {
    let f = bits_form(a.ftype);
    let mask = cx.vconst((1 << (8 * f.bytes() - 1)) - 1);
    let value = cx.v(a.rn);
    let value = cx.b.bin(Op::VAnd, value, mask);
    cx.set_v(a.rd, value, f.bytes());
}

pub(super) fn fneg(cx: &mut Lifter<'_>, a: &a64::Fneg) {
    let f = bits_form(a.ftype);
    let value = cx.v(a.rn);
    let value = negate(cx, f, value);
    cx.put_from(f, a.rd, value, Zeros::Stay, &[a.rn]);
}

pub(super) fn fsqrt(cx: &mut Lifter<'_>, a: &a64::Fsqrt) {
    if a.ftype == HALF {
        return half_scalar(cx, FpOp::Fsqrt, [a.rd, a.rn, a.rn]);
    }
    let f = form(a.ftype);
    let (zero, value) = (cx.vzero(), cx.v(a.rn));
    let value = cx.fop(Op::FSqrt, f.lane, &[zero, value]);
    cx.set_v(a.rd, value, f.bytes());
}

pub(super) fn fcvt_s(cx: &mut Lifter<'_>, a: &a64::FcvtS) {
    if a.ftype == HALF && cx.mode.alternative_half {
        return half_scalar(cx, FpOp::ToSingle, [a.rd, a.rn, a.rn]);
    }
    let (value, lane) = cx.single_or_double(a.ftype, a.rn);
    let value = if lane == Lane::S64 { cx.convert_lane(lane, value) } else { value };
    cx.set_v(a.rd, value, 4);
}

pub(super) fn fcvt_d(cx: &mut Lifter<'_>, a: &a64::FcvtD) {
    if a.ftype == HALF && cx.mode.alternative_half {
        return half_scalar(cx, FpOp::ToDouble, [a.rd, a.rn, a.rn]);
    }
    let (value, lane) = cx.single_or_double(a.ftype, a.rn);
    let value = cx.convert_lane(lane, value);
    cx.set_v(a.rd, value, 8);
}

pub(super) fn fcvt_h(cx: &mut Lifter<'_>, a: &a64::FcvtH) {
    if a.ftype == 0 && !cx.mode.alternative_half {
        let value = cx.v(a.rn);
        let value = cx.fop(Op::FSingleToHalf, Lane::S32, &[value]);
        return cx.set_v(a.rd, value, 2);
    }
    // By way of single precision it would be rounded twice.
    let op = if a.ftype == 0 { FpOp::FromSingle } else { FpOp::FromDouble };
    half_scalar(cx, op, [a.rd, a.rn, a.rn]);
}

/// The rounding of FRINT by its field, and whether inexact results are reported.
pub(super) fn frint_rounding(mode: u32) -> (Rounding, bool) {
    match mode {
        0 => (Rounding::NearestEven, false),
        1 => (Rounding::Up, false),
        2 => (Rounding::Down, false),
        3 => (Rounding::Zero, false),
        4 => (Rounding::NearestAway, false),
        6 => (Rounding::Current, true),
        _ => (Rounding::Current, false),
    }
}

pub(super) fn frint(cx: &mut Lifter<'_>, a: &a64::Frint) {
    let (rounding, exact) = frint_rounding(a.mode);
    if a.ftype == HALF {
        return cx.float(Call::new(FpOp::Frint, 1, 1, [a.rd, a.rn, a.rn]).rounding(rounding, exact));
    }
    let f = form(a.ftype);
    let mode = cx.mode.fp().rounding(rounding);
    let mode = if exact { mode } else { mode.quiet() };
    let (zero, value) = (cx.vzero(), cx.v(a.rn));
    let value = cx.b.vec(Op::FRoundInt, f.lane, &[zero, value], u32::from(mode.0));
    cx.set_v(a.rd, value, f.bytes());
}

/// FRINT32X, FRINT32Z, FRINT64X, FRINT64Z: `exact` rounds as FPCR says, else towards zero.
pub(super) fn frint_size(cx: &mut Lifter<'_>, a: &a64::FrintSize) {
    let f = form(a.ftype);
    let op = if a.size != 0 { FpOp::Frint64 } else { FpOp::Frint32 };
    let rounding = if a.exact != 0 { Rounding::Current } else { Rounding::Zero };
    let size = f.bytes().trailing_zeros();
    cx.float(Call::new(op, size, 1, [a.rd, a.rn, a.rn]).rounding(rounding, true));
}

pub(super) fn bfcvt(cx: &mut Lifter<'_>, a: &a64::Bfcvt) {
    half_scalar(cx, FpOp::Bfcvt, [a.rd, a.rn, a.rn]);
}

// ---- comparison, selection, immediate

/// The flags of a comparison; `signal` reports quiet NaNs too.
fn compare(cx: &mut Lifter<'_>, ftype: u32, signal: u32, n: Value, m: Value) -> Value {
    let (lane, [n, m]) = match ftype {
        // Comparing does not tell a quiet NaN from a converted signalling one, but reports the latter by converting.
        HALF => (Lane::S32, [n, m].map(|v| cx.half_operand(v))),
        _ => (form(ftype).lane, [n, m]),
    };
    let mode = u32::from(cx.mode.fp().select(signal as u8).0);
    let result = cx.b.vec_to(Op::FCmpOrder, Type::I32, lane, &[n, m], mode);
    cx.b.flags(result)
}

pub(super) fn fcmp(cx: &mut Lifter<'_>, a: &a64::Fcmp) {
    let (n, m) = (cx.v(a.rn), cx.v(a.rm));
    let flags = compare(cx, a.ftype, a.e, n, m);
    cx.set_flags(flags);
}

pub(super) fn fcmp_zero(cx: &mut Lifter<'_>, a: &a64::FcmpZero) {
    let (n, zero) = (cx.v(a.rn), cx.vzero());
    let flags = compare(cx, a.ftype, a.e, n, zero);
    cx.set_flags(flags);
}

/// FCCMP: where the condition does not hold, zeros are compared, which reports nothing, and the flags are the
/// immediate.
pub(super) fn fccmp(cx: &mut Lifter<'_>, a: &a64::Fccmp) {
    let Some(cond) = condition(a.cond) else {
        let (n, m) = (cx.v(a.rn), cx.v(a.rm));
        let flags = compare(cx, a.ftype, a.e, n, m);
        return cx.set_flags(flags);
    };
    let old = cx.flags();
    let zero = cx.constant(bits_type(a.ftype), 0);
    let [n, m] = [a.rn, a.rm].map(|r| {
        let bits = cx.scalar_bits(a.ftype, r);
        let bits = cx.b.select(cond, old, bits, zero);
        cx.b.convert(Op::VFromInt, Type::V128, &[bits])
    });
    let flags = compare(cx, a.ftype, a.e, n, m);
    let compared = cx.b.flags_bits(flags);
    let immediate = cx.constant(Type::I32, u64::from(flags_of_nzcv(a.nzcv).bits()));
    let bits = cx.b.select(cond, old, compared, immediate);
    let flags = cx.b.bits_flags(bits);
    cx.set_flags(flags);
}

pub(super) fn fcsel(cx: &mut Lifter<'_>, a: &a64::Fcsel) {
    let Some(cond) = condition(a.cond) else {
        let value = cx.v(a.rn);
        return cx.put_from(bits_form(a.ftype), a.rd, value, Zeros::Stay, &[a.rn]);
    };
    let flags = cx.flags();
    let (n, m) = (cx.scalar_bits(a.ftype, a.rn), cx.scalar_bits(a.ftype, a.rm));
    let bits = cx.b.select(cond, flags, n, m);
    cx.set_scalar_bits(a.rd, bits);
}

pub(super) fn fmov_imm(cx: &mut Lifter<'_>, a: &a64::FmovImm) {
    let bytes = bits_type(a.ftype).bytes();
    let value = cx.vconst(u128::from(expand_float(a.imm8, 8 * bytes)));
    cx.set_v(a.rd, value, bytes);
}

// ---- general registers

pub(super) fn fmov_w_s(cx: &mut Lifter<'_>, a: &a64::FmovWS) {
    let bits = cx.scalar_bits(0, a.rn);
    cx.set(a.rd, bits);
}

pub(super) fn fmov_x_d(cx: &mut Lifter<'_>, a: &a64::FmovXD) {
    let bits = cx.scalar_bits(1, a.rn);
    cx.set(a.rd, bits);
}

pub(super) fn fmov_s_w(cx: &mut Lifter<'_>, a: &a64::FmovSW) {
    let bits = cx.w(a.rn);
    cx.set_scalar_bits(a.rd, bits);
}

pub(super) fn fmov_d_x(cx: &mut Lifter<'_>, a: &a64::FmovDX) {
    let bits = cx.x(a.rn);
    cx.set_scalar_bits(a.rd, bits);
}

pub(super) fn fmov_x_top(cx: &mut Lifter<'_>, a: &a64::FmovXTop) {
    let value = cx.v(a.rn);
    let bits = cx.b.vec_to(Op::VExtract, Type::I64, Lane::I64, &[value], 1);
    cx.set(a.rd, bits);
}

pub(super) fn fmov_top_x(cx: &mut Lifter<'_>, a: &a64::FmovTopX) {
    let (old, bits) = (cx.v(a.rd), cx.x(a.rn));
    let value = cx.b.vec(Op::VInsert, Lane::I64, &[old, bits], 1);
    cx.set_v(a.rd, value, 16);
}

pub(super) fn fmov_r_h(cx: &mut Lifter<'_>, a: &a64::FmovRH) {
    let bits = cx.scalar_bits(HALF, a.rn);
    let bits = cx.b.convert(Op::Zext, Type::I64, &[bits]);
    cx.set(a.rd, bits);
}

pub(super) fn fmov_h_r(cx: &mut Lifter<'_>, a: &a64::FmovHR) {
    let full = cx.w(a.rn);
    let bits = cx.narrow(full, Type::I16);
    cx.set_scalar_bits(a.rd, bits);
}

/// A general register as a floating-point number of single or double precision.
fn from_int(cx: &mut Lifter<'_>, sf: u32, unsigned: bool, rn: u32, lane: Lane) -> Value {
    let zero = cx.vzero();
    if unsigned && sf != 0 {
        let bits = cx.x(rn);
        let value = cx.b.convert(Op::VFromInt, Type::V128, &[bits]);
        if lane == Lane::S64 {
            return cx.fop(Op::FFromIntU, lane, &[value]);
        }
        // Rounded once: halve a large number, keeping what is lost sticky.
        return single_from_unsigned(cx, bits, zero);
    }
    let value = match (sf, unsigned) {
        (0, true) => {
            let low = cx.w(rn);
            cx.extend(low)
        }
        _ => cx.reg(sf != 0, rn),
    };
    cx.fop(Op::FFromInt, lane, &[zero, value])
}

/// An unsigned 64-bit number as a single: one that does not fit a signed number is halved first, with the bit that is
/// lost put into the lowest one, so that it is rounded once; doubling is exact.
fn single_from_unsigned(cx: &mut Lifter<'_>, bits: Value, zero: Value) -> Value {
    let one = cx.constant(Type::I64, 1);
    let count = cx.constant(Type::I8, 1);
    let half = cx.b.multi(Op::Shr, &[bits, count]);
    let lost = cx.b.bin(Op::And, bits, one);
    let half = cx.b.bin(Op::Or, half, lost);
    let test = cx.test_zero(bits);
    let number = cx.b.select(Cond::S, test, half, bits);
    let value = cx.fop(Op::FFromInt, Lane::S32, &[zero, number]);
    // Doubling is adding 1 to the exponent; a halved number is never zero.
    let unit = cx.constant(Type::I32, 1 << 23);
    let none = cx.constant(Type::I32, 0);
    let step = cx.b.select(Cond::S, test, unit, none);
    let raw = cx.b.convert(Op::VToInt, Type::I32, &[value]);
    let raw = cx.b.bin(Op::Add, raw, step);
    cx.b.convert(Op::VFromInt, Type::V128, &[raw])
}

/// SCVTF and UCVTF of a general register, divided by 2^`fraction`.
fn to_float(cx: &mut Lifter<'_>, sf: u32, unsigned: bool, ftype: u32, [rd, rn]: [u32; 2], fraction: u32) {
    if ftype == HALF {
        let call = Call { fraction, exact: unsigned, ..Call::new(FpOp::FromGeneral, 1, 1, [rd, 0, 0]) };
        let value = cx.reg(sf != 0, rn);
        let value = if unsigned || sf != 0 { cx.extend(value) } else { cx.b.convert(Op::Sext, Type::I64, &[value]) };
        return cx.float_with(call, value);
    }
    let f = form(ftype);
    let value = from_int(cx, sf, unsigned, rn, f.lane);
    let value = if fraction == 0 { value } else { scale(cx, f, value, -(fraction as i32)) };
    cx.set_v(rd, value, f.bytes());
}

/// The lowest lane times a power of two.
fn scale(cx: &mut Lifter<'_>, f: Form, value: Value, exponent: i32) -> Value {
    let factor = power_of_two(f.lane, exponent);
    let factor = cx.vconst(u128::from(factor));
    cx.fop(Op::FMul, f.lane, &[value, factor])
}

/// The bits of 2^exponent.
pub(super) fn power_of_two(lane: Lane, exponent: i32) -> u64 {
    match lane {
        Lane::S32 | Lane::F32 => u64::from((127 + exponent) as u32) << 23,
        _ => ((1023 + exponent) as u64) << 52,
    }
}

pub(super) fn scvtf_int(cx: &mut Lifter<'_>, a: &a64::ScvtfInt) {
    to_float(cx, a.sf, false, a.ftype, [a.rd, a.rn], 0);
}

pub(super) fn ucvtf_int(cx: &mut Lifter<'_>, a: &a64::UcvtfInt) {
    to_float(cx, a.sf, true, a.ftype, [a.rd, a.rn], 0);
}

pub(super) fn scvtf_fixed(cx: &mut Lifter<'_>, a: &a64::ScvtfFixed) {
    to_float(cx, a.sc >> 6, false, a.ftype, [a.rd, a.rn], 64 - (a.sc & 63));
}

pub(super) fn ucvtf_fixed(cx: &mut Lifter<'_>, a: &a64::UcvtfFixed) {
    to_float(cx, a.sc >> 6, true, a.ftype, [a.rd, a.rn], 64 - (a.sc & 63));
}

/// FCVTNS and its family: the number in the lowest lane times 2^`fraction`, rounded, to a general register.
#[derive(Clone, Copy)]
struct ToInt {
    sf: u32,
    unsigned: bool,
    ftype: u32,
    rounding: Rounding,
    fraction: u32,
    rd: u32,
    rn: u32,
}

fn to_int(cx: &mut Lifter<'_>, t: ToInt) {
    let (mut value, mut lane) = (cx.v(t.rn), Lane::S32);
    match t.ftype {
        HALF => value = cx.half_operand(value),
        _ => lane = form(t.ftype).lane,
    }
    if t.fraction != 0 {
        // As a double a single can be scaled without overflow.
        if lane == Lane::S32 {
            value = cx.convert_lane(lane, value);
            lane = Lane::S64;
        }
        value = scale(cx, form(1), value, t.fraction as i32);
    }
    let op = if t.unsigned { Op::FLaneToIntU } else { Op::FLaneToIntS };
    let ty = if t.sf != 0 { Type::I64 } else { Type::I32 };
    let mode = cx.mode.fp().rounding(t.rounding);
    let result = cx.b.vec_to(op, ty, lane, &[value], u32::from(mode.0));
    cx.set(t.rd, result);
}

/// The rounding of FCVT by its field rmode.
pub(super) fn fcvt_rounding(rmode: u32) -> Rounding {
    [Rounding::NearestEven, Rounding::Up, Rounding::Down, Rounding::Zero][(rmode & 3) as usize]
}

pub(super) fn fcvt_int(cx: &mut Lifter<'_>, a: &a64::FcvtInt) {
    let rounding = fcvt_rounding(a.rmode);
    to_int(cx, ToInt { sf: a.sf, unsigned: a.u != 0, ftype: a.ftype, rounding, fraction: 0, rd: a.rd, rn: a.rn });
}

pub(super) fn fcvta_int(cx: &mut Lifter<'_>, a: &a64::FcvtaInt) {
    let rounding = Rounding::NearestAway;
    to_int(cx, ToInt { sf: a.sf, unsigned: a.u != 0, ftype: a.ftype, rounding, fraction: 0, rd: a.rd, rn: a.rn });
}

fn fixed(cx: &mut Lifter<'_>, sc: u32, unsigned: bool, ftype: u32, [rd, rn]: [u32; 2]) {
    let rounding = Rounding::Zero;
    to_int(cx, ToInt { sf: sc >> 6, unsigned, ftype, rounding, fraction: 64 - (sc & 63), rd, rn });
}

pub(super) fn fcvtzs_fixed(cx: &mut Lifter<'_>, a: &a64::FcvtzsFixed) {
    fixed(cx, a.sc, false, a.ftype, [a.rd, a.rn]);
}

pub(super) fn fcvtzu_fixed(cx: &mut Lifter<'_>, a: &a64::FcvtzuFixed) {
    fixed(cx, a.sc, true, a.ftype, [a.rd, a.rn]);
}

/// FJCVTZS writes the flags too: a helper.
pub(super) fn fjcvtzs(cx: &mut Lifter<'_>, a: &a64::Fjcvtzs) {
    let bits = cx.scalar_bits(1, a.rn);
    let result = cx.b.call(helpers::FJCVTZS, Type::I64, &[bits]);
    cx.b.forget(state::FPSR);
    // The result is in the low half, Z in bit 32.
    let z = cx.b.field(Type::I32, result, 32);
    let low = cx.narrow(result, Type::I32);
    let flags = cx.b.bits_flags(z);
    cx.set(a.rd, low);
    cx.b.set(state::FLAGS, flags);
}
