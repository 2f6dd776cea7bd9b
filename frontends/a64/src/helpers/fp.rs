//! Floating-point instructions that are not ops: a descriptor of the operation, and the helper that performs it on the
//! registers that it names.

use super::soft::{BRAIN, DOUBLE, Env, Format, HALF, Number, SINGLE};
use super::{estimate, soft::Class};
use crate::state::{self, A64, FPCR, FPSR, fpsr_bit};
use isamorph_ir::{FlagSet, HelperCx, Rounding, Trap};
use std::cmp::Ordering;

/// Declares an enum and the list of its members.
macro_rules! operations {
    ($($name:ident),* $(,)?) => {
        /// What the helper computes, named like the instruction.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub(crate) enum FpOp { $($name),* }
        impl FpOp {
            const ALL: &'static [FpOp] = &[$(FpOp::$name),*];
        }
    };
}
operations! {
    Fadd, Fsub, Fmul, Fdiv, Fmax, Fmin, Fmaxnm, Fminnm, Fnmul, Fmulx, Fabd, Frecps, Frsqrts, Fsqrt,
    Fmadd, Fmsub, Fnmadd, Fnmsub, Fmla, Fmls,
    Frint, Frint32, Frint64, Frecpe, Frsqrte, Frecpx,
    CmEq, CmGe, CmGt, AcGe, AcGt, CmLe, CmLt,
    FromInt, FromUnsigned, ToInt, ToUnsigned, FromGeneral,
    ToSingle, ToDouble, FromSingle, FromDouble, Fcvtxn, Bfcvt, Bfdot, Bfmmla,
}

/// Which elements an operation takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// Those at the same place.
    Lanes,
    /// Adjacent ones of the first register followed by the second.
    Pairs,
    /// All of a register up to `element`, by halves.
    Across,
    /// Real and imaginary parts; `fraction` is the rotation in units of 90°, `element` the number of a pair.
    Complex,
}

/// An operation on registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) op: FpOp,
    pub(crate) shape: Shape,
    /// log2 of the bytes of an element: 1 half, 2 single, 3 double precision.
    pub(crate) size: u32,
    /// Elements of the result.
    pub(crate) lanes: u32,
    pub(crate) rd: u32,
    pub(crate) rn: u32,
    pub(crate) rm: u32,
    pub(crate) ra: u32,
    /// The number of the element of `rm` that all elements are combined with.
    pub(crate) element: Option<u32>,
    /// `rm` stands for zeros.
    pub(crate) zero: bool,
    pub(crate) rounding: Rounding,
    /// FRINT reports inexact results; the general register is unsigned.
    pub(crate) exact: bool,
    /// Fraction bits of a fixed-point number.
    pub(crate) fraction: u32,
    /// A conversion to wider elements reads the high half, one to narrower elements writes it.
    pub(crate) high: bool,
}

impl Call {
    /// An operation on that many elements of 2^`size` bytes.
    pub(crate) const fn new(op: FpOp, size: u32, lanes: u32, [rd, rn, rm]: [u32; 3]) -> Self {
        Call {
            op,
            shape: Shape::Lanes,
            size,
            lanes,
            rd,
            rn,
            rm,
            ra: rd,
            element: None,
            zero: false,
            rounding: Rounding::Current,
            exact: false,
            fraction: 0,
            high: false,
        }
    }
    /// The same with that rounding; `exact` reports inexact results.
    pub(crate) const fn rounding(self, rounding: Rounding, exact: bool) -> Self {
        Call { rounding, exact, ..self }
    }
    /// The descriptor as a number.
    pub(crate) fn pack(self) -> u64 {
        let mut packer = Packer::default();
        for (value, bits) in [
            (self.op as u32, 8),
            (self.shape as u32, 2),
            (self.size, 2),
            (self.lanes, 4),
            (self.rd, 5),
            (self.rn, 5),
            (self.rm, 5),
            (self.ra, 5),
            (self.element.unwrap_or(8), 4),
            (self.zero.into(), 1),
            (self.rounding as u32, 3),
            (self.exact.into(), 1),
            (self.fraction, 7),
            (self.high.into(), 1),
        ] {
            packer.put(value, bits);
        }
        packer.bits()
    }
    fn unpack(bits: u64) -> Self {
        let mut p = Packer::from(bits);
        let op = FpOp::ALL[p.take(8) as usize];
        let shape = [Shape::Lanes, Shape::Pairs, Shape::Across, Shape::Complex][p.take(2) as usize];
        let (size, lanes) = (p.take(2), p.take(4));
        let [rd, rn, rm, ra] = [5; 4].map(|bits| p.take(bits));
        let element = Some(p.take(4)).filter(|e| *e < 8);
        let zero = p.take(1) != 0;
        let rounding = Rounding::ALL[p.take(3) as usize];
        let exact = p.take(1) != 0;
        let (fraction, high) = (p.take(7), p.take(1) != 0);
        Call { op, shape, size, lanes, rd, rn, rm, ra, element, zero, rounding, exact, fraction, high }
    }
}

/// Small numbers side by side.
#[derive(Default)]
pub(super) struct Packer {
    bits: u64,
    at: u32,
}

impl From<u64> for Packer {
    fn from(bits: u64) -> Self {
        Packer { bits, at: 0 }
    }
}

impl Packer {
    pub(super) fn bits(&self) -> u64 {
        self.bits
    }
    pub(super) fn put(&mut self, value: u32, bits: u32) {
        self.bits |= u64::from(value & ((1 << bits) - 1)) << self.at;
        self.at += bits;
    }
    pub(super) fn take(&mut self, bits: u32) -> u32 {
        let value = (self.bits >> self.at) as u32 & ((1 << bits) - 1);
        self.at += bits;
        value
    }
}

fn format(size: u32) -> Format {
    [BRAIN, HALF, SINGLE, DOUBLE][size as usize]
}

/// Element `i` of a register.
fn element(vector: u128, bits: u32, i: u32) -> u64 {
    (vector >> (bits * i)) as u64 & (u64::MAX >> (64 - bits))
}

/// `float(descriptor, integer)`: performs a [`Call`].
pub(super) fn float(cx: &mut HelperCx<'_>, [descriptor, integer, _]: [u64; 3]) -> Result<u64, Trap> {
    let call = Call::unpack(descriptor);
    let mut env = Env::new(cx.state.get(&A64, FPCR) as u32);
    if call.rounding != Rounding::Current {
        env.rounding = call.rounding;
    }
    let v = |n: u32| cx.state.get_wide(&A64, state::v(n));
    let operands = [v(call.rn), if call.zero { 0 } else { v(call.rm) }, v(call.ra)];
    if matches!(call.op, FpOp::Bfdot | FpOp::Bfmmla) {
        let result = brain_dots(&call, operands);
        cx.state.set_wide(&A64, state::v(call.rd), result);
        return Ok(0);
    }
    let result = match convert(&mut env, &call, operands[0], v(call.rd), integer) {
        Some(result) => result,
        None => arithmetic(&mut env, &call, operands),
    };
    cx.state.set_wide(&A64, state::v(call.rd), result);
    let fpsr = cx.state.get(&A64, FPSR);
    cx.state.set(&A64, FPSR, fpsr | u64::from(env.reported));
    Ok(0)
}

/// Operations whose results have another format than their operands.
fn convert(env: &mut Env, call: &Call, n: u128, old: u128, integer: u64) -> Option<u128> {
    let (from, to) = match call.op {
        FpOp::ToSingle => (HALF, SINGLE),
        FpOp::ToDouble => (HALF, DOUBLE),
        FpOp::FromSingle => (SINGLE, HALF),
        FpOp::FromDouble => (DOUBLE, HALF),
        FpOp::Fcvtxn => (DOUBLE, SINGLE),
        FpOp::Bfcvt => (SINGLE, BRAIN),
        FpOp::FromGeneral => {
            let value = if call.exact { i128::from(integer) } else { i128::from(integer as i64) };
            return Some(env.of_int(format(call.size), value, call.fraction).into());
        }
        _ => return None,
    };
    env.to_odd = call.op == FpOp::Fcvtxn;
    let widens = to.bits() > from.bits();
    let first = if call.high && widens { call.lanes } else { 0 };
    let mut result = 0;
    for i in 0..call.lanes {
        let number = env.unpack_convert(from, element(n, from.bits(), first + i));
        let bits = env.convert(to, from, number);
        result |= u128::from(bits) << (to.bits() * i);
    }
    if call.high && !widens { Some(old & u128::from(u64::MAX) | result << 64) } else { Some(result) }
}

/// Operations on elements of one format.
fn arithmetic(env: &mut Env, call: &Call, [n, m, a]: [u128; 3]) -> u128 {
    let f = format(call.size);
    let bits = f.bits();
    let at = |vector, i| element(vector, bits, i);
    let mut result = 0;
    for i in 0..call.lanes {
        let (x, y) = match call.shape {
            Shape::Lanes => (at(n, i), at(m, call.element.unwrap_or(i))),
            Shape::Pairs => {
                let pick = |k| if k < call.lanes || call.lanes == 1 { at(n, k) } else { at(m, k - call.lanes) };
                (pick(2 * i), pick(2 * i + 1))
            }
            Shape::Across => {
                let all: Vec<u64> = (0..=call.element.unwrap_or(0)).map(|k| at(n, k)).collect();
                return across(env, call, f, &all).into();
            }
            Shape::Complex => complex(call, f, [n, m], i),
        };
        result |= u128::from(one(env, call, f, [x, y, at(a, i)])) << (bits * i);
    }
    result
}

/// The operands of a part of a complex sum or product (Arm ARM, FCADD and FCMLA).
fn complex(call: &Call, f: Format, [n, m]: [u128; 2], i: u32) -> (u64, u64) {
    let (rotation, imaginary) = (call.fraction, i & 1);
    let bits = f.bits();
    let pair = call.element.map_or(i & !1, |pair| 2 * pair);
    let turned = rotation & 1;
    let second = element(m, bits, pair + (imaginary ^ turned));
    let minus = match rotation {
        0 => false,
        1 => imaginary == 0,
        2 => true,
        _ => imaginary != 0,
    };
    let second = if minus { second ^ f.sign() } else { second };
    let first = if call.op == FpOp::Fadd { i } else { (i & !1) + turned };
    (element(n, bits, first), second)
}

/// Combines elements by halves (Arm ARM, Reduce).
fn across(env: &mut Env, call: &Call, f: Format, all: &[u64]) -> u64 {
    if let [only] = all {
        return *only;
    }
    let (low, high) = all.split_at(all.len() / 2);
    let (low, high) = (across(env, call, f, low), across(env, call, f, high));
    one(env, call, f, [low, high, 0])
}

/// The operation on one element of each operand.
// tidy: flat
fn one(env: &mut Env, call: &Call, f: Format, [x, y, z]: [u64; 3]) -> u64 {
    match call.op {
        FpOp::FromInt => {
            return env.of_int(f, ((x << (64 - f.bits())) as i64 >> (64 - f.bits())).into(), call.fraction);
        }
        FpOp::FromUnsigned => return env.of_int(f, x.into(), call.fraction),
        FpOp::Frecpx => return estimate::exponent(env, f, x),
        _ => {}
    }
    let ones = u64::MAX >> (64 - f.bits());
    let a = env.unpack(f, x);
    match call.op {
        FpOp::Fsqrt => return env.sqrt(f, a),
        FpOp::Frint => return env.round_int(f, a, call.exact),
        FpOp::Frint32 => return round_to_size(env, f, a, 32),
        FpOp::Frint64 => return round_to_size(env, f, a, 64),
        FpOp::ToInt => return env.integer(a, call.fraction, f.bits(), false) & ones,
        FpOp::ToUnsigned => return env.integer(a, call.fraction, f.bits(), true) & ones,
        FpOp::Frecpe => return estimate::reciprocal(env, f, a),
        FpOp::Frsqrte => return estimate::root(env, f, a),
        _ => {}
    }
    let b = env.unpack(f, y);
    match call.op {
        FpOp::Fadd => env.add(f, a, b),
        FpOp::Fsub => subtract(env, f, a, b),
        FpOp::Fabd => subtract(env, f, a, b) & !f.sign(),
        FpOp::Fmul => env.mul(f, a, b),
        FpOp::Fnmul => env.mul(f, a, b) ^ f.sign(),
        FpOp::Fmulx => match (a.class, b.class) {
            (Class::Zero, Class::Infinity) | (Class::Infinity, Class::Zero) => {
                f.power(1) | if a.negative != b.negative { f.sign() } else { 0 }
            }
            _ => env.mul(f, a, b),
        },
        FpOp::Fdiv => env.div(f, a, b),
        FpOp::Fmax => extreme(env, f, a, b, Ordering::Greater),
        FpOp::Fmin => extreme(env, f, a, b, Ordering::Less),
        FpOp::Fmaxnm => number_extreme(env, f, a, b, Ordering::Greater),
        FpOp::Fminnm => number_extreme(env, f, a, b, Ordering::Less),
        FpOp::Frecps => step(env, f, a, b, 2),
        FpOp::Frsqrts => step(env, f, a, b, 3),
        FpOp::CmEq | FpOp::CmGe | FpOp::CmGt | FpOp::AcGe | FpOp::AcGt | FpOp::CmLe | FpOp::CmLt => {
            if holds(env, call.op, f, a, b) { ones } else { 0 }
        }
        _ => fused(env, call.op, f, [x, y, z]),
    }
}

/// BFDOT and BFMMLA: sums of products of pairs are added to singles, each step rounded to odd, whatever FPCR says, and
/// nothing is reported (Arm ARM, BFDotAdd).
fn brain_dots(call: &Call, [n, m, mut acc]: [u128; 3]) -> u128 {
    let mut result = 0;
    for i in 0..call.lanes {
        let steps = if call.op == FpOp::Bfmmla {
            [(i / 2 * 2, i % 2 * 2), (i / 2 * 2 + 1, i % 2 * 2 + 1)]
        } else {
            [(i, call.element.unwrap_or(i)); 2]
        };
        let count = if call.op == FpOp::Bfmmla { 2 } else { 1 };
        for (x, y) in steps.into_iter().take(count) {
            let mut env = Env::brain();
            // A pair of them is a single's width: the upper one is a single but for its low half.
            let mut product = |high: bool| {
                let [x, y] = [element(n, 32, x), element(m, 32, y)]
                    .map(|pair| if high { pair & 0xffff_0000 } else { pair << 16 & 0xffff_0000 });
                let (x, y) = (env.unpack(SINGLE, x), env.unpack(SINGLE, y));
                env.mul(SINGLE, x, y)
            };
            let products = [product(false), product(true)];
            let mut add = |a, b| {
                let (a, b) = (env.unpack(SINGLE, a), env.unpack(SINGLE, b));
                env.add(SINGLE, a, b)
            };
            let sum = add(products[0], products[1]);
            let sum = add(element(acc, 32, i), sum);
            acc = acc & !(0xffff_ffff << (32 * i)) | u128::from(sum) << (32 * i);
        }
        result |= u128::from(element(acc, 32, i)) << (32 * i);
    }
    result
}

/// The multiply-adds. An operand is negated before it is looked at, which shows in a NaN.
fn fused(env: &mut Env, op: FpOp, f: Format, [x, y, z]: [u64; 3]) -> u64 {
    let minus = f.sign();
    let (x, z) = match op {
        FpOp::Fmsub | FpOp::Fmls => (x ^ minus, z),
        FpOp::Fnmadd => (x ^ minus, z ^ minus),
        FpOp::Fnmsub => (x, z ^ minus),
        _ => (x, z),
    };
    let [addend, a, b] = [z, x, y].map(|raw| env.unpack(f, raw));
    env.mul_add(f, addend, a, b)
}

fn subtract(env: &mut Env, f: Format, a: Number, b: Number) -> u64 {
    match env.nans(f, &[a, b]) {
        Some(nan) => nan,
        None => env.add(f, a, b.negated(f)),
    }
}

/// FPMax and FPMin: −0 is less than +0. The result is rounded, which flushes it.
fn extreme(env: &mut Env, f: Format, a: Number, b: Number, wanted: Ordering) -> u64 {
    if let Some(nan) = env.nans(f, &[a, b]) {
        return nan;
    }
    let order = match Env::compare(f, a, b) {
        Some(Ordering::Equal) => b.negative.cmp(&a.negative),
        order => order.unwrap_or(Ordering::Equal),
    };
    let chosen = if order == wanted { a } else { b };
    if chosen.is_zero() { chosen.raw & f.sign() } else { chosen.raw }
}

/// FPMaxNum and FPMinNum: a quiet NaN loses against a number.
fn number_extreme(env: &mut Env, f: Format, a: Number, b: Number, wanted: Ordering) -> u64 {
    let worst = f.infinity(wanted == Ordering::Greater);
    let (a, b) = match (a.class, b.class) {
        (Class::QuietNan, Class::QuietNan) => (a, b),
        (Class::QuietNan, _) => (env.unpack(f, worst), b),
        (_, Class::QuietNan) => (a, env.unpack(f, worst)),
        _ => (a, b),
    };
    extreme(env, f, a, b, wanted)
}

/// FPCompareEQ, FPCompareGE, FPCompareGT: only the first is quiet about quiet NaNs.
fn holds(env: &mut Env, op: FpOp, f: Format, a: Number, b: Number) -> bool {
    let (a, b) = match op {
        FpOp::AcGe | FpOp::AcGt => (a.magnitude(f), b.magnitude(f)),
        _ => (a, b),
    };
    let Some(order) = Env::compare(f, a, b) else {
        let signalling = [a, b].iter().any(|n| n.class == Class::SignallingNan);
        if op != FpOp::CmEq || signalling {
            env.reported |= fpsr_bit::IOC;
        }
        return false;
    };
    match op {
        FpOp::CmEq => order.is_eq(),
        FpOp::CmGe | FpOp::AcGe => order.is_ge(),
        FpOp::CmLe => order.is_le(),
        FpOp::CmLt => order.is_lt(),
        _ => order.is_gt(),
    }
}

/// FPRecipStepFused (2 − a·b) and FPRSqrtStepFused ((3 − a·b) / 2).
fn step(env: &mut Env, f: Format, a: Number, b: Number, minuend: u128) -> u64 {
    let a = a.negated(f);
    if let Some(nan) = env.nans(f, &[a, b]) {
        return nan;
    }
    let halved = i32::from(minuend == 3);
    let constant = Number { class: Class::Finite, negative: false, mantissa: minuend, exponent: -halved, raw: 0 };
    match (a.class, b.class) {
        (Class::Infinity, Class::Zero) | (Class::Zero, Class::Infinity) if halved != 0 => f.one_and_a_half(),
        (Class::Infinity, Class::Zero) | (Class::Zero, Class::Infinity) => f.power(1),
        _ => {
            let b = if b.class == Class::Finite { Number { exponent: b.exponent - halved, ..b } } else { b };
            env.mul_add_numbers(f, constant, a, b)
        }
    }
}

/// FRINT32 and FRINT64: a result that does not fit a signed integer of that size is the most negative one.
fn round_to_size(env: &mut Env, f: Format, n: Number, bits: u32) -> u64 {
    let worst = f.power(bits as i32 - 1) | f.sign();
    let fits = match n.class {
        Class::Zero => true,
        Class::Finite => {
            let (magnitude, _) = env.integral(n);
            let limit = 1u128 << (bits - 1);
            n.exponent < 64 && (magnitude < limit || magnitude == limit && n.negative)
        }
        _ => false,
    };
    if fits {
        return env.round_int(f, n, true);
    }
    env.reported |= fpsr_bit::IOC;
    worst
}

/// `fjcvtzs(double)`: the number modulo 2^32, and in bits 63 to 32 the flags: Z if nothing was lost.
pub(super) fn fjcvtzs(cx: &mut HelperCx<'_>, [raw, ..]: [u64; 3]) -> Result<u64, Trap> {
    let mut env = Env::new(cx.state.get(&A64, FPCR) as u32);
    env.rounding = Rounding::Zero;
    let n = env.unpack(DOUBLE, raw);
    let flushed = n.is_zero() && raw << 1 != 0;
    let (low, exact) = match n.class {
        Class::Zero => (0, !n.negative && !flushed),
        Class::Finite => {
            // Bits from 2^84 on do not reach the low 32.
            let (magnitude, inexact) = if n.exponent < 32 { env.integral(n) } else { (0, false) };
            let value = if n.negative { -(magnitude as i128) } else { magnitude as i128 };
            let fits = i32::try_from(value).is_ok() && n.exponent < 32;
            env.reported |= if !fits {
                fpsr_bit::IOC
            } else if inexact {
                fpsr_bit::IXC
            } else {
                0
            };
            (value as u32, fits && !inexact)
        }
        _ => {
            env.reported |= fpsr_bit::IOC;
            (0, false)
        }
    };
    let fpsr = cx.state.get(&A64, FPSR);
    cx.state.set(&A64, FPSR, fpsr | u64::from(env.reported));
    // N, C and V are 0: C is kept complemented.
    let flags = if exact { FlagSet::C | FlagSet::Z } else { FlagSet::C };
    Ok(u64::from(flags.bits()) << 32 | u64::from(low))
}
