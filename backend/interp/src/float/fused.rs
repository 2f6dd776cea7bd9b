//! Multiplication and addition with one rounding, and the rounding of exact results that it needs.

use super::nan::Format;
use super::{Unit, guest_trap, mxcsr};
use crate::vector::{lane_at, with_lane};
use isamorph_host::{cpu, fpexec};
use isamorph_ir::{FpRule, Rounding, Trap};

/// The magnitude of a finite number that is not zero: `significand · 2^exponent`.
#[derive(Clone, Copy)]
struct Magnitude {
    significand: u128,
    exponent: i32,
}

impl Magnitude {
    fn of(format: Format, x: u64) -> Self {
        let (significand, exponent) = format.decomposed(x);
        Magnitude { significand, exponent }
    }

    /// The same with the topmost bit of the significand at bit 125: there is room for a carry, and below for what a
    /// rounding needs to know.
    fn normalized(self) -> Self {
        let up = self.significand.leading_zeros() as i32 - 2;
        let significand = if up < 0 { self.significand >> -up } else { self.significand << up };
        Magnitude { significand, exponent: self.exponent - up }
    }

    /// The significand for a larger exponent; what is shifted out stays visible in the last bit.
    fn at(self, exponent: i32) -> u128 {
        let by = (exponent - self.exponent) as u32;
        let kept = self.significand.checked_shr(by).unwrap_or(0);
        let lost = kept.checked_shl(by).unwrap_or(0) != self.significand;
        kept | u128::from(lost)
    }
}

impl Unit {
    /// `a · b + c`.
    pub(super) fn fused(&mut self, a: u128, b: u128, c: u128) -> Result<u128, Trap> {
        let (double, scalar) = (self.lane.bytes() == 8, self.lane.is_scalar());
        let result = if cpu::features().fma {
            fpexec::fma(double, scalar, &mut self.mxcsr, [a, b, c]).map_err(guest_trap)?
        } else {
            self.fused_lanes(a, b, c)?
        };
        if self.rule == FpRule::X86 {
            return Ok(result);
        }
        let format = self.format();
        let hidden = |i| self.hides_invalid([a, b, c].map(|vector| lane_at(self.lane, vector, i)));
        // Otherwise the addend comes first (Arm ARM, FPMulAdd).
        let result = self.with_nans(result, &[c, a, b]);
        let fixed = self.fix(result, |i| hidden(i).then(|| format.default_nan()));
        if (0..self.lanes()).any(hidden) {
            self.raise(mxcsr::INVALID)?;
        }
        Ok(fixed)
    }

    /// Whether infinity times zero meets a quiet NaN, which is invalid on Arm.
    fn hides_invalid(&self, [a, b, c]: [u64; 3]) -> bool {
        let format = self.format();
        let zero = |x| format.magnitude(self.flushed(x)) == 0;
        let invalid = format.is_infinite(a) && zero(b) || format.is_infinite(b) && zero(a);
        invalid && format.is_nan(c) && !format.is_signalling(c)
    }

    fn fused_lanes(&mut self, a: u128, b: u128, c: u128) -> Result<u128, Trap> {
        let mut result = c;
        for i in 0..self.lanes() {
            let (bits, flags) = self.fused_lane([a, b, c].map(|vector| lane_at(self.lane, vector, i)));
            self.raise(flags)?;
            result = with_lane(self.lane, result, i, bits);
        }
        Ok(result)
    }

    /// One lane, exactly, and the exceptions.
    fn fused_lane(&self, lanes: [u64; 3]) -> (u64, u32) {
        let format = self.format();
        if let Some(nan) = lanes.iter().find(|x| format.is_nan(**x)) {
            let signalling = lanes.iter().any(|x| format.is_signalling(*x));
            return (nan | format.quiet(), if signalling { mxcsr::INVALID } else { 0 });
        }
        let [a, b, c] = lanes.map(|x| self.flushed(x));
        let sign = (a ^ b) & format.sign();
        let (zero, infinite) = (|x| format.magnitude(x) == 0, |x| format.is_infinite(x));
        let infinite_product = infinite(a) || infinite(b);
        let opposite = (sign ^ c) & format.sign() != 0;
        if infinite_product && (zero(a) || zero(b) || infinite(c) && opposite) {
            return (format.sign() | format.default_nan(), mxcsr::INVALID);
        }
        let denormal = [a, b, c].iter().any(|x| format.is_denormal(*x));
        let flags = if denormal { mxcsr::DENORMAL } else { 0 };
        if infinite_product || infinite(c) {
            return (if infinite_product { sign | format.infinity() } else { c }, flags);
        }
        let product = (!zero(a) && !zero(b)).then(|| {
            let (a, b) = (Magnitude::of(format, a), Magnitude::of(format, b));
            Magnitude { significand: a.significand * b.significand, exponent: a.exponent + b.exponent }.normalized()
        });
        let addend = (!zero(c)).then(|| Magnitude::of(format, c).normalized());
        let (negative, sum) = match (product, addend) {
            (None, None) if !opposite => return (c, flags),
            (None, None) => return (self.exact_zero(), flags),
            (Some(product), None) => (sign != 0, product),
            (None, Some(addend)) => (c & format.sign() != 0, addend),
            (Some(product), Some(addend)) => {
                let exponent = product.exponent.max(addend.exponent);
                let (p, q) = (product.at(exponent), addend.at(exponent));
                let significand = if opposite { p.abs_diff(q) } else { p + q };
                let negative = if opposite && q > p { sign == 0 } else { sign != 0 };
                (negative, Magnitude { significand, exponent })
            }
        };
        if sum.significand == 0 {
            return (self.exact_zero(), flags);
        }
        let (bits, raised) = self.rounded_to(format, negative, sum.significand, sum.exponent, true);
        (bits, flags | raised)
    }

    /// The zero that opposite numbers add up to.
    fn exact_zero(&self) -> u64 {
        if self.current_rounding() == Rounding::Down { self.format().sign() } else { 0 }
    }

    /// The number `significand · 2^exponent`, which is not 0, rounded to a format as the control word says, and the
    /// exceptions. `flushes` says whether the control word may ask for zero instead of denormal results.
    pub(super) fn rounded_to(
        &self,
        format: Format,
        negative: bool,
        significand: u128,
        exponent: i32,
        flushes: bool,
    ) -> (u64, u32) {
        let sign = if negative { format.sign() } else { 0 };
        let (lowest, top) = (1 - format.bias(), 127 - significand.leading_zeros() as i32);
        let (scale, below) = (exponent + top, (lowest - exponent - top).max(0));
        let excess = top - format.fraction as i32;
        let (fraction, inexact) = self.shift_rounded(significand, excess + below, negative);
        // Tiny if it would still be below the lowest normal number with as many bits as that has.
        let carried = || self.shift_rounded(significand, excess, negative).0 >> (format.fraction + 1) != 0;
        let tiny = below > 1 || below == 1 && !carried();
        if tiny && flushes && self.mxcsr & mxcsr::FLUSH != 0 {
            return (sign, mxcsr::UNDERFLOW | mxcsr::INEXACT);
        }
        // A carry out of the fraction is one into the exponent.
        let biased = if below > 0 { 0 } else { i64::from(scale - lowest) };
        let bits = i128::from(biased) << format.fraction;
        let bits = u64::try_from(bits + fraction as i128).unwrap_or(u64::MAX);
        if bits >= format.infinity() {
            let largest = u64::from(!self.away_from_zero(negative));
            return (sign | (format.infinity() - largest), mxcsr::OVERFLOW | mxcsr::INEXACT);
        }
        let flags = match (inexact, tiny) {
            (false, _) => 0,
            (true, false) => mxcsr::INEXACT,
            (true, true) => mxcsr::INEXACT | mxcsr::UNDERFLOW,
        };
        (sign | bits, flags)
    }

    /// Whether what is too large becomes infinite, rather than the largest number.
    fn away_from_zero(&self, negative: bool) -> bool {
        match self.current_rounding() {
            Rounding::Down => negative,
            Rounding::Up => !negative,
            Rounding::Zero => false,
            _ => true,
        }
    }

    /// A magnitude shifted right and rounded, and whether something was lost.
    fn shift_rounded(&self, magnitude: u128, by: i32, negative: bool) -> (u128, bool) {
        if by <= 0 {
            return (magnitude << -by, false);
        }
        // Any larger shift leaves less than half of the last bit, too.
        let by = by.min(127) as u32;
        let (kept, lost, half) = (magnitude >> by, magnitude & ((1 << by) - 1), 1 << (by - 1));
        let up = match self.current_rounding() {
            Rounding::Down => negative && lost != 0,
            Rounding::Up => !negative && lost != 0,
            Rounding::Zero => false,
            _ => lost > half || lost == half && kept & 1 != 0,
        };
        (kept + u128::from(up), lost != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;
    use isamorph_ir::{Lane, Op};

    /// Numbers near the ends of the format, near each other, or anything.
    fn operand(format: Format, rng: &mut Rng) -> u64 {
        let sign = if rng.chance(50) { format.sign() } else { 0 };
        let fraction = rng.interesting() & ((1 << format.fraction) - 1);
        let exponents = 1u64 << (format.bits - 1 - format.fraction);
        let middle = exponents / 2;
        let exponent = match rng.below(6) {
            0 => rng.below(3) as u64,
            1 => exponents - 1 - rng.below(3) as u64,
            2 | 3 => middle + rng.below(60) as u64 - 30,
            4 => middle / 2 + rng.below(60) as u64 - 30,
            _ => rng.bits() % exponents,
        };
        sign | exponent << format.fraction | fraction
    }

    #[test]
    fn exact_arithmetic_agrees_with_the_host() {
        if !cpu::features().fma {
            return println!("skipped: the host has no FMA3");
        }
        let mut rng = Rng::new(1);
        for lane in [Lane::S32, Lane::S64] {
            let format = Format::of(lane);
            for _ in 0..200_000 {
                let operands = [0; 3].map(|_| operand(format, &mut rng));
                let control = 0x1f80 | rng.pick(&[0, 0, 0x40, 0x8000, 0x8040]) | (rng.below(4) as u32) << 13;
                let unit = Unit { op: Op::FMulAdd, lane, rule: FpRule::X86, mxcsr: control };
                let (bits, flags) = unit.fused_lane(operands);
                let mut sticky = control;
                let wide = operands.map(u128::from);
                let host = fpexec::fma(lane == Lane::S64, true, &mut sticky, wide).expect("nothing is unmasked");
                let nan = format.is_nan(bits) && format.is_nan(host as u64);
                assert!(nan || u128::from(bits) == host, "{operands:x?} {control:x}: {bits:x}, host {host:x}");
                assert_eq!(control | flags, sticky, "{operands:x?}: {bits:x}");
            }
        }
    }
}
