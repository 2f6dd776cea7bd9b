//! Floating-point arithmetic on integers, for what the host has no instruction: half precision, conversions with other
//! roundings, reciprocal estimates and steps (Arm ARM, shared/functions/float). Slow and plain.

use crate::state::{fpcr_bit, fpsr_bit};
use isamorph_ir::Rounding;

/// A binary interchange format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Format {
    /// Bits of the exponent.
    exponent: u32,
    /// Bits of the fraction.
    fraction: u32,
}

/// Half precision.
pub(crate) const HALF: Format = Format { exponent: 5, fraction: 10 };
/// The upper half of a single: what machine learning uses.
pub(crate) const BRAIN: Format = Format { exponent: 8, fraction: 7 };
/// Single precision.
pub(crate) const SINGLE: Format = Format { exponent: 8, fraction: 23 };
/// Double precision.
pub(crate) const DOUBLE: Format = Format { exponent: 11, fraction: 52 };

impl Format {
    /// Width in bits.
    pub(crate) const fn bits(self) -> u32 {
        1 + self.exponent + self.fraction
    }
    const fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }
    /// The largest value of the exponent field.
    const fn top(self) -> u64 {
        (1 << self.exponent) - 1
    }
    /// The sign bit.
    pub(crate) const fn sign(self) -> u64 {
        1 << (self.bits() - 1)
    }
    const fn signed(self, negative: bool) -> u64 {
        if negative { self.sign() } else { 0 }
    }
    /// Infinity.
    pub(crate) const fn infinity(self, negative: bool) -> u64 {
        self.top() << self.fraction | self.signed(negative)
    }
    /// The default NaN.
    pub(crate) const fn default_nan(self) -> u64 {
        self.infinity(false) | 1 << (self.fraction - 1)
    }
    /// The largest finite number.
    const fn largest(self, negative: bool) -> u64 {
        self.infinity(negative) - 1
    }
    /// 1.5.
    pub(crate) const fn one_and_a_half(self) -> u64 {
        self.power(0) | 1 << (self.fraction - 1)
    }
    /// Bits of the fraction.
    pub(crate) const fn fraction_bits(self) -> u32 {
        self.fraction
    }
    /// A power of two.
    pub(crate) const fn power(self, exponent: i32) -> u64 {
        ((exponent + self.bias()) as u64) << self.fraction
    }
}

/// What a number is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    Zero,
    Finite,
    Infinity,
    QuietNan,
    SignallingNan,
}

/// A number taken apart. A finite one is `mantissa · 2^exponent`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Number {
    pub(crate) class: Class,
    pub(crate) negative: bool,
    pub(crate) mantissa: u128,
    pub(crate) exponent: i32,
    /// The bits that it was made of.
    pub(crate) raw: u64,
}

impl Number {
    /// Whether it is a NaN.
    pub(crate) fn is_nan(self) -> bool {
        matches!(self.class, Class::QuietNan | Class::SignallingNan)
    }
    pub(crate) fn is_zero(self) -> bool {
        self.class == Class::Zero
    }
    pub(crate) fn is_infinite(self) -> bool {
        self.class == Class::Infinity
    }
    /// The same with the sign flipped.
    pub(crate) fn negated(self, format: Format) -> Self {
        Number { negative: !self.negative, raw: self.raw ^ format.sign(), ..self }
    }
    /// The magnitude.
    pub(crate) fn magnitude(self, format: Format) -> Self {
        Number { negative: false, raw: self.raw & !format.sign(), ..self }
    }
    /// The finite number with its highest mantissa bit at `top`.
    fn normalised(self, top: u32) -> Self {
        let shift = top as i32 - (127 - self.mantissa.leading_zeros() as i32);
        Number { mantissa: self.mantissa << shift, exponent: self.exponent - shift, ..self }
    }
}

/// How an operation is to be done, and what it reported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Env {
    /// Rounding of results.
    pub(crate) rounding: Rounding,
    /// To odd instead (FCVTXN).
    pub(crate) to_odd: bool,
    /// What is too large is infinite however it is rounded.
    overflows: bool,
    pub(crate) default_nan: bool,
    flush: bool,
    flush_half: bool,
    pub(crate) alternative_half: bool,
    /// FPSR's cumulative bits.
    pub(crate) reported: u32,
}

impl Env {
    /// As FPCR says.
    pub(crate) fn new(fpcr: u32) -> Self {
        let rounding = [Rounding::NearestEven, Rounding::Up, Rounding::Down, Rounding::Zero][(fpcr >> 22 & 3) as usize];
        Env {
            rounding,
            to_odd: false,
            overflows: false,
            default_nan: fpcr & fpcr_bit::DN != 0,
            flush: fpcr & fpcr_bit::FZ != 0,
            flush_half: fpcr & fpcr_bit::FZ16 != 0,
            alternative_half: fpcr & fpcr_bit::AHP != 0,
            reported: 0,
        }
    }
    /// For sums of bfloat16 products (FPMulBF16, FPAddBF16).
    pub(crate) fn brain() -> Self {
        Env { to_odd: true, overflows: true, ..Self::new(fpcr_bit::DN | fpcr_bit::FZ) }
    }
    /// Whether denormals of a format are flushed.
    pub(crate) fn flushes(&self, format: Format) -> bool {
        if format == HALF { self.flush_half } else { self.flush }
    }
    /// Reports an invalid operation, whose result is the default NaN.
    pub(crate) fn invalid(&mut self, format: Format) -> u64 {
        self.reported |= fpsr_bit::IOC;
        format.default_nan()
    }

    // ---- taking apart, putting together

    /// An operand of arithmetic (FPUnpack).
    pub(crate) fn unpack(&mut self, format: Format, raw: u64) -> Number {
        let number = Self::take_apart(format, raw, self.flushes(format), false);
        if number.is_zero() && raw & !format.sign() != 0 && format != HALF {
            self.reported |= fpsr_bit::IDC;
        }
        number
    }
    /// An operand of a conversion (FPUnpackCV): half-precision denormals are not flushed, and the format may be the
    /// alternative one.
    pub(crate) fn unpack_convert(&mut self, format: Format, raw: u64) -> Number {
        if format == HALF {
            Self::take_apart(format, raw, false, self.alternative_half)
        } else {
            self.unpack(format, raw)
        }
    }
    fn take_apart(format: Format, raw: u64, flush: bool, alternative: bool) -> Number {
        let raw = raw & (u64::MAX >> (64 - format.bits()));
        let negative = raw & format.sign() != 0;
        let field = raw >> format.fraction & format.top();
        let fraction = raw & ((1 << format.fraction) - 1);
        let number =
            |class, mantissa: u64, exponent| Number { class, negative, mantissa: mantissa.into(), exponent, raw };
        let lowest = 1 - format.bias() - format.fraction as i32;
        if field == 0 {
            let zero = fraction == 0 || flush;
            return if zero { number(Class::Zero, 0, 0) } else { number(Class::Finite, fraction, lowest) };
        }
        if field == format.top() && !alternative {
            let class = match fraction {
                0 => Class::Infinity,
                _ if fraction >> (format.fraction - 1) != 0 => Class::QuietNan,
                _ => Class::SignallingNan,
            };
            return number(class, 0, 0);
        }
        number(Class::Finite, fraction | 1 << format.fraction, lowest + field as i32 - 1)
    }
    /// Rounds a finite number, not zero, to a format (FPRound). `sticky`: it is a little larger in magnitude.
    pub(crate) fn round(&mut self, format: Format, n: Number, sticky: bool) -> u64 {
        let flush = self.flushes(format);
        self.round_with(format, n, sticky, flush, false)
    }
    fn round_with(&mut self, format: Format, n: Number, sticky: bool, flush: bool, alternative: bool) -> u64 {
        let n = n.normalised(126);
        let minimum = 1 - format.bias();
        let exponent = n.exponent + 126;
        if flush && exponent < minimum {
            self.reported |= fpsr_bit::UFC;
            return format.signed(n.negative);
        }
        // Bits below the format's lowest one.
        let drop = 126 - format.fraction as i32 + (minimum - exponent).max(0);
        let (mut kept, rest, half) = match drop {
            0..=126 => (n.mantissa >> drop, n.mantissa & ((1 << drop) - 1), 1u128 << (drop - 1)),
            127 => (0, n.mantissa, 1 << 126),
            _ => (0, 1, 2),
        };
        let inexact = rest != 0 || sticky;
        let tiny = exponent < minimum;
        if tiny && inexact {
            self.reported |= fpsr_bit::UFC;
        }
        let up = match self.rounding {
            _ if self.to_odd => kept & 1 == 0 && inexact,
            Rounding::NearestEven => rest > half || rest == half && (sticky || kept & 1 != 0),
            Rounding::NearestAway => rest >= half,
            Rounding::Up => inexact && !n.negative,
            Rounding::Down => inexact && n.negative,
            _ => false,
        };
        kept += u128::from(up);
        // A carry into the next binade is a carry into the exponent field.
        let field = if tiny { 0 } else { (exponent + format.bias() - 1) as u128 };
        let packed = (field << format.fraction) + kept;
        let limit = u128::from(format.infinity(false)) + if alternative { 1 << format.fraction } else { 0 };
        if packed >= limit {
            return self.overflow(format, n.negative, alternative);
        }
        if inexact {
            self.reported |= fpsr_bit::IXC;
        }
        packed as u64 | format.signed(n.negative)
    }
    fn overflow(&mut self, format: Format, negative: bool, alternative: bool) -> u64 {
        if alternative {
            self.reported |= fpsr_bit::IOC;
            return format.signed(negative) | (format.sign() - 1);
        }
        self.reported |= fpsr_bit::OFC | fpsr_bit::IXC;
        let to_infinity = match self.rounding {
            _ if self.to_odd => self.overflows,
            Rounding::Up => !negative,
            Rounding::Down => negative,
            Rounding::Zero => false,
            _ => true,
        };
        if to_infinity { format.infinity(negative) } else { format.largest(negative) }
    }

    // ---- NaNs

    /// The result for a NaN operand (FPProcessNaN).
    pub(crate) fn nan(&mut self, format: Format, n: Number) -> u64 {
        if n.class == Class::SignallingNan {
            self.reported |= fpsr_bit::IOC;
        }
        if self.default_nan { format.default_nan() } else { n.raw | 1 << (format.fraction - 1) }
    }
    /// The result if any operand is a NaN: the first signalling one, else the first (FPProcessNaNs).
    pub(crate) fn nans(&mut self, format: Format, operands: &[Number]) -> Option<u64> {
        let of = |class| operands.iter().find(|n| n.class == class).copied();
        let n = of(Class::SignallingNan).or_else(|| of(Class::QuietNan))?;
        Some(self.nan(format, n))
    }

    // ---- arithmetic

    /// The exact sum of two finite numbers, of which zero has mantissa 0.
    fn sum(a: Number, b: Number) -> (Number, bool) {
        if a.mantissa == 0 {
            return (b, false);
        }
        if b.mantissa == 0 {
            return (a, false);
        }
        let (a, b) = (a.normalised(125), b.normalised(125));
        let (large, small) = if (a.exponent, a.mantissa) >= (b.exponent, b.mantissa) { (a, b) } else { (b, a) };
        let distance = (large.exponent - small.exponent) as u32;
        let shifted = small.mantissa.checked_shr(distance).unwrap_or(0);
        let sticky = distance >= 128 || shifted << distance != small.mantissa;
        let mantissa = if large.negative == small.negative {
            large.mantissa + shifted
        } else {
            // With bits lost the exact difference is a little less.
            large.mantissa - shifted - u128::from(sticky)
        };
        (Number { mantissa, ..large }, sticky)
    }
    /// Rounds the exact sum of two finite numbers; an exact zero has the sign that the rounding mode says.
    fn round_sum(&mut self, format: Format, a: Number, b: Number) -> u64 {
        if a.mantissa == 0 && b.mantissa == 0 && a.negative == b.negative {
            return format.signed(a.negative);
        }
        let (sum, sticky) = Self::sum(a, b);
        if sum.mantissa == 0 {
            return format.signed(self.rounding == Rounding::Down);
        }
        self.round(format, sum, sticky)
    }
    /// a + b.
    pub(crate) fn add(&mut self, format: Format, a: Number, b: Number) -> u64 {
        if let Some(nan) = self.nans(format, &[a, b]) {
            return nan;
        }
        match (a.is_infinite(), b.is_infinite()) {
            (true, true) if a.negative != b.negative => self.invalid(format),
            (true, _) => format.infinity(a.negative),
            (_, true) => format.infinity(b.negative),
            _ => self.round_sum(format, a, b),
        }
    }
    /// a · b, exactly; the operands are finite or zero.
    fn product(a: Number, b: Number) -> Number {
        let negative = a.negative != b.negative;
        let class = if a.is_zero() || b.is_zero() { Class::Zero } else { Class::Finite };
        Number { class, negative, mantissa: a.mantissa * b.mantissa, exponent: a.exponent + b.exponent, raw: 0 }
    }
    /// a · b.
    pub(crate) fn mul(&mut self, format: Format, a: Number, b: Number) -> u64 {
        if let Some(nan) = self.nans(format, &[a, b]) {
            return nan;
        }
        let negative = a.negative != b.negative;
        if a.is_infinite() && b.is_zero() || a.is_zero() && b.is_infinite() {
            return self.invalid(format);
        }
        if a.is_infinite() || b.is_infinite() {
            return format.infinity(negative);
        }
        let product = Self::product(a, b);
        if product.is_zero() { format.signed(negative) } else { self.round(format, product, false) }
    }
    /// addend + a · b, rounded once (FPMulAdd).
    pub(crate) fn mul_add(&mut self, format: Format, addend: Number, a: Number, b: Number) -> u64 {
        let no_product = a.is_infinite() && b.is_zero() || a.is_zero() && b.is_infinite();
        if addend.class == Class::QuietNan && no_product {
            return self.invalid(format);
        }
        if let Some(nan) = self.nans(format, &[addend, a, b]) {
            return nan;
        }
        self.mul_add_numbers(format, addend, a, b)
    }
    /// The same without NaN operands.
    pub(crate) fn mul_add_numbers(&mut self, format: Format, addend: Number, a: Number, b: Number) -> u64 {
        let no_product = a.is_infinite() && b.is_zero() || a.is_zero() && b.is_infinite();
        let infinite = a.is_infinite() || b.is_infinite();
        let negative = a.negative != b.negative;
        if no_product || infinite && addend.is_infinite() && addend.negative != negative {
            return self.invalid(format);
        }
        if infinite || addend.is_infinite() {
            return format.infinity(if infinite { negative } else { addend.negative });
        }
        self.round_sum(format, addend, Self::product(a, b))
    }
    /// a / b.
    pub(crate) fn div(&mut self, format: Format, a: Number, b: Number) -> u64 {
        if let Some(nan) = self.nans(format, &[a, b]) {
            return nan;
        }
        let negative = a.negative != b.negative;
        match (a.class, b.class) {
            (Class::Infinity, Class::Infinity) | (Class::Zero, Class::Zero) => self.invalid(format),
            (Class::Infinity, _) => format.infinity(negative),
            (_, Class::Zero) => {
                self.reported |= fpsr_bit::DZC;
                format.infinity(negative)
            }
            (Class::Zero, _) | (_, Class::Infinity) => format.signed(negative),
            _ => {
                let (a, b) = (a.normalised(126), b.normalised(60));
                let (mantissa, rest) = (a.mantissa / b.mantissa, a.mantissa % b.mantissa);
                let quotient = Number { negative, mantissa, exponent: a.exponent - b.exponent, ..a };
                self.round(format, quotient, rest != 0)
            }
        }
    }
    /// √a.
    pub(crate) fn sqrt(&mut self, format: Format, a: Number) -> u64 {
        match a.class {
            Class::QuietNan | Class::SignallingNan => self.nan(format, a),
            Class::Zero => format.signed(a.negative),
            _ if a.negative => self.invalid(format),
            Class::Infinity => format.infinity(false),
            Class::Finite => {
                let mut a = a.normalised(126);
                if a.exponent & 1 != 0 {
                    a = Number { mantissa: a.mantissa >> 1, exponent: a.exponent + 1, ..a };
                }
                let root = a.mantissa.isqrt();
                let rest = a.mantissa - root * root;
                self.round(format, Number { mantissa: root, exponent: a.exponent / 2, ..a }, rest != 0)
            }
        }
    }
    /// How `a` compares with `b`; nothing if a NaN is among them.
    pub(crate) fn compare(format: Format, a: Number, b: Number) -> Option<std::cmp::Ordering> {
        // Sign and magnitude of the bits order the numbers of a format; a flushed denormal is zero.
        let key = |n: Number| match (n.is_zero(), (n.raw & !format.sign()) as i64) {
            (true, _) => 0,
            (_, magnitude) if n.negative => -magnitude,
            (_, magnitude) => magnitude,
        };
        (!a.is_nan() && !b.is_nan()).then(|| key(a).cmp(&key(b)))
    }

    // ---- conversions

    /// A number in another format (FPConvert).
    pub(crate) fn convert(&mut self, to: Format, from: Format, n: Number) -> u64 {
        let alternative = to == HALF && self.alternative_half;
        match n.class {
            Class::QuietNan | Class::SignallingNan if alternative => {
                self.reported |= fpsr_bit::IOC;
                to.signed(n.negative)
            }
            Class::QuietNan | Class::SignallingNan => {
                let nan = self.nan(from, n);
                if self.default_nan {
                    return to.default_nan();
                }
                let fraction = nan & ((1 << from.fraction) - 1);
                let moved = if to.fraction >= from.fraction {
                    fraction << (to.fraction - from.fraction)
                } else {
                    fraction >> (from.fraction - to.fraction)
                };
                to.infinity(n.negative) | moved
            }
            Class::Infinity if alternative => {
                self.reported |= fpsr_bit::IOC;
                to.signed(n.negative) | (to.sign() - 1)
            }
            Class::Infinity => to.infinity(n.negative),
            Class::Zero => to.signed(n.negative),
            // Half-precision results are not flushed (FPRoundCV).
            Class::Finite => self.round_with(to, n, false, to != HALF && self.flushes(to), alternative),
        }
    }
    /// An integer divided by 2^fraction as a number.
    pub(crate) fn of_int(&mut self, format: Format, value: i128, fraction: u32) -> u64 {
        if value == 0 {
            return 0;
        }
        let n = Number {
            class: Class::Finite,
            negative: value < 0,
            mantissa: value.unsigned_abs(),
            exponent: -(fraction as i32),
            raw: 0,
        };
        self.round(format, n, false)
    }
    /// The integral value nearest to a finite number by the rounding mode, and whether it differs.
    pub(crate) fn integral(&self, n: Number) -> (u128, bool) {
        if n.exponent >= 0 {
            return (n.mantissa.checked_shl(n.exponent as u32).unwrap_or(u128::MAX), false);
        }
        let drop = n.exponent.unsigned_abs();
        let (kept, rest, half) = if drop > 120 {
            (0, u128::from(n.mantissa != 0), 2)
        } else {
            (n.mantissa >> drop, n.mantissa & ((1 << drop) - 1), 1 << (drop - 1))
        };
        let up = match self.rounding {
            Rounding::NearestEven => rest > half || rest == half && kept & 1 != 0,
            Rounding::NearestAway => rest >= half,
            Rounding::Up => rest != 0 && !n.negative,
            Rounding::Down => rest != 0 && n.negative,
            _ => false,
        };
        (kept + u128::from(up), rest != 0)
    }
    /// A number times 2^fraction as an integer of that many bits, saturated (FPToFixed).
    pub(crate) fn integer(&mut self, n: Number, fraction: u32, bits: u32, unsigned: bool) -> u64 {
        let (low, high) =
            if unsigned { (0, (1i128 << bits) - 1) } else { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) };
        let mut out_of_range = |value: i128| {
            self.reported |= fpsr_bit::IOC;
            value as u64
        };
        match n.class {
            Class::QuietNan | Class::SignallingNan => out_of_range(0),
            Class::Infinity => out_of_range(if n.negative { low } else { high }),
            Class::Zero => 0,
            Class::Finite if n.exponent + fraction as i32 > 66 => out_of_range(if n.negative { low } else { high }),
            Class::Finite => {
                let (magnitude, inexact) = self.integral(Number { exponent: n.exponent + fraction as i32, ..n });
                let value = if n.negative { -(magnitude as i128) } else { magnitude as i128 };
                if value < low || value > high {
                    self.reported |= fpsr_bit::IOC;
                    return value.clamp(low, high) as u64;
                }
                if inexact {
                    self.reported |= fpsr_bit::IXC;
                }
                value as u64
            }
        }
    }
    /// A number rounded to an integral value (FPRoundInt).
    pub(crate) fn round_int(&mut self, format: Format, n: Number, exact: bool) -> u64 {
        match n.class {
            Class::QuietNan | Class::SignallingNan => self.nan(format, n),
            Class::Infinity | Class::Zero => {
                if n.is_zero() {
                    format.signed(n.negative)
                } else {
                    n.raw
                }
            }
            Class::Finite if n.exponent >= 0 => n.raw,
            Class::Finite => {
                let (mantissa, inexact) = self.integral(n);
                if inexact && exact {
                    self.reported |= fpsr_bit::IXC;
                }
                if mantissa == 0 {
                    return format.signed(n.negative);
                }
                let reported = self.reported;
                let result = self.round(format, Number { mantissa, exponent: 0, ..n }, false);
                self.reported = reported;
                result
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that are likely to be special.
    fn numbers() -> Vec<u32> {
        let mut seed = 1u32;
        let mut random = || {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            seed
        };
        let special = [0, 1, 0x007f_ffff, 0x0080_0000, 0x3f80_0000, 0x3f80_0001, 0x7f7f_ffff, 0x7f80_0000];
        let mut list: Vec<u32> = special.into_iter().flat_map(|n| [n, n | 1 << 31]).collect();
        list.extend((0..150).map(|_| random()).filter(|n| !f32::from_bits(*n).is_nan()));
        // Close to each other, so that differences are small.
        list.extend((0..150).map(|_| 0x3f00_0000 | random() & 0x80ff_0fff));
        list
    }

    /// The result of an operation on singles, by this module.
    fn result(f: impl Fn(&mut Env, Number, Number) -> u64, a: u32, b: u32) -> u64 {
        let mut env = Env::new(0);
        let (a, b) = (env.unpack(SINGLE, a.into()), env.unpack(SINGLE, b.into()));
        f(&mut env, a, b)
    }

    #[test]
    fn arithmetic_is_the_host_s() {
        let bits = |x: f32| if x.is_nan() { SINGLE.default_nan() } else { x.to_bits().into() };
        for a in numbers() {
            for b in numbers() {
                let (x, y) = (f32::from_bits(a), f32::from_bits(b));
                let show = format!("{a:#x} {b:#x}");
                assert_eq!(result(|env, a, b| env.add(SINGLE, a, b), a, b), bits(x + y), "+ {show}");
                assert_eq!(result(|env, a, b| env.mul(SINGLE, a, b), a, b), bits(x * y), "* {show}");
                assert_eq!(result(|env, a, b| env.div(SINGLE, a, b), a, b), bits(x / y), "/ {show}");
                assert_eq!(result(|env, a, b| env.mul_add(SINGLE, b, a, b), a, b), bits(x.mul_add(y, y)), "fma {show}");
            }
            let x = f32::from_bits(a);
            assert_eq!(result(|env, a, _| env.sqrt(SINGLE, a), a, 0), bits(x.sqrt()), "sqrt {a:#x}");
            let double = result(|env, a, _| env.convert(DOUBLE, SINGLE, a), a, 0);
            assert_eq!(double, f64::from(x).to_bits(), "widened {a:#x}");
        }
    }

    #[test]
    fn every_half_precision_number_survives_a_conversion() {
        for raw in 0..=0xffff {
            let mut env = Env::new(0);
            let number = env.unpack_convert(HALF, raw);
            let single = env.convert(SINGLE, HALF, number);
            let number = env.unpack(SINGLE, single);
            let back = env.convert(HALF, SINGLE, number);
            // A signalling NaN becomes quiet.
            let quiet = if raw & 0x7fff > 0x7c00 { raw | 0x200 } else { raw };
            assert_eq!(back, quiet);
        }
    }

    #[test]
    fn rounding_modes_differ_where_they_should() {
        let of = |fpcr: u32, value: i128| Env::new(fpcr).of_int(HALF, value, 0);
        // 2049 lies between 2048 and 2050.
        let modes = [0u32, 1, 2, 3].map(|mode| mode << 22);
        assert_eq!(modes.map(|fpcr| of(fpcr, 2049)), [0x6800, 0x6801, 0x6800, 0x6800]);
        assert_eq!(modes.map(|fpcr| of(fpcr, -2049)), [0xe800, 0xe800, 0xe801, 0xe800]);
        assert_eq!(modes.map(|fpcr| of(fpcr, 1 << 20)), [0x7c00, 0x7c00, 0x7bff, 0x7bff]);
    }
}
