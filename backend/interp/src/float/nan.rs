//! Which NaN an operation gives, and what depends on it: minimum and maximum.

use super::{Unit, mxcsr};
use crate::vector::{lane_at, with_lane};
use isamorph_ir::{FpRule, Lane, Op, Trap};

/// An interchange format of IEEE 754, by the widths of its fields.
#[derive(Clone, Copy)]
pub(super) struct Format {
    /// Width of the number, bits.
    pub(super) bits: u32,
    /// Width of the fraction, bits.
    pub(super) fraction: u32,
}

impl Format {
    pub(super) const HALF: Format = Format { bits: 16, fraction: 10 };
    pub(super) const SINGLE: Format = Format { bits: 32, fraction: 23 };
    pub(super) const DOUBLE: Format = Format { bits: 64, fraction: 52 };

    pub(super) fn of(lane: Lane) -> Format {
        if lane.bytes() == 8 { Format::DOUBLE } else { Format::SINGLE }
    }
    pub(super) fn sign(self) -> u64 {
        1 << (self.bits - 1)
    }
    /// The number without its sign.
    pub(super) fn magnitude(self, x: u64) -> u64 {
        x & (self.sign() - 1)
    }
    pub(super) fn infinity(self) -> u64 {
        (self.sign() - 1) >> self.fraction << self.fraction
    }
    /// The bit that makes a NaN quiet.
    pub(super) fn quiet(self) -> u64 {
        1 << (self.fraction - 1)
    }
    /// The positive default NaN.
    pub(super) fn default_nan(self) -> u64 {
        self.infinity() | self.quiet()
    }
    pub(super) fn is_nan(self, x: u64) -> bool {
        self.magnitude(x) > self.infinity()
    }
    pub(super) fn is_signalling(self, x: u64) -> bool {
        self.is_nan(x) && x & self.quiet() == 0
    }
    pub(super) fn is_infinite(self, x: u64) -> bool {
        self.magnitude(x) == self.infinity()
    }
    pub(super) fn is_denormal(self, x: u64) -> bool {
        self.magnitude(x) != 0 && self.magnitude(x) >> self.fraction == 0
    }
    /// What the exponent is stored with.
    pub(super) fn bias(self) -> i32 {
        (1 << (self.bits - self.fraction - 2)) - 1
    }
    /// The magnitude of a finite number as `significand · 2^exponent`.
    pub(super) fn decomposed(self, x: u64) -> (u128, i32) {
        let magnitude = self.magnitude(x);
        let fraction = magnitude & ((1 << self.fraction) - 1);
        let hidden = u64::from(magnitude >> self.fraction != 0) << self.fraction;
        let biased = (magnitude >> self.fraction).max(1) as i32;
        (u128::from(fraction | hidden), biased - self.bias() - self.fraction as i32)
    }
    /// A number that no operation of two of them makes inexact or invalid.
    fn one(self) -> u64 {
        self.infinity() >> 1 & self.infinity()
    }
}

impl Unit {
    /// The NaN that operands of a lane give, if one of them is a NaN.
    pub(super) fn nan_of(&self, operands: &[u64]) -> Option<u64> {
        let format = self.format();
        let first = operands.iter().find(|x| format.is_nan(**x))?;
        let signalling = operands.iter().find(|x| format.is_signalling(**x));
        Some(match self.rule {
            FpRule::X86 => first | format.quiet(),
            FpRule::Arm => signalling.unwrap_or(first) | format.quiet(),
            FpRule::ArmDefault | FpRule::ArmStandard => format.default_nan(),
        })
    }

    /// The host's result of an operation on these operands with the NaNs of the rule: the host's choice among the
    /// operands, and the sign of its default NaN, may differ.
    pub(super) fn with_nans(&self, result: u128, operands: &[u128]) -> u128 {
        if self.rule == FpRule::X86 {
            return result;
        }
        let format = self.format();
        self.fix(result, |i| {
            let mut lanes = [0; 3];
            operands.iter().zip(&mut lanes).for_each(|(operand, lane)| *lane = lane_at(self.lane, *operand, i));
            let invalid = || format.is_nan(lane_at(self.lane, result, i)).then_some(format.default_nan());
            self.nan_of(&lanes[..operands.len()]).or_else(invalid)
        })
    }

    /// Minimum and maximum of the Arm rules (Arm ARM, FPMin, FPMinNum and relatives). The host compares, but knows
    /// neither NaNs nor the order of zeros.
    pub(super) fn arm_extremum(&mut self, a: u128, b: u128) -> Result<u128, Trap> {
        let format = self.format();
        let minimum = matches!(self.op, Op::FMin | Op::FMinNum);
        let number = matches!(self.op, Op::FMinNum | Op::FMaxNum);
        let farthest = format.infinity() | if minimum { 0 } else { format.sign() };
        let (mut x, mut y, mut nans) = (a, b, [None; 4]);
        for i in 0..self.lanes() {
            let (mut p, mut q) = (lane_at(self.lane, a, i), lane_at(self.lane, b, i));
            let is_quiet = |v| format.is_nan(v) && !format.is_signalling(v);
            if number && is_quiet(p) && !format.is_nan(q) {
                p = farthest;
            } else if number && is_quiet(q) && !format.is_nan(p) {
                q = farthest;
            }
            if let Some(nan) = self.nan_of(&[p, q]) {
                if format.is_signalling(p) || format.is_signalling(q) {
                    self.raise(mxcsr::INVALID)?;
                }
                nans[i as usize] = Some(nan);
                (p, q) = (format.one(), format.one());
            }
            (x, y) = (with_lane(self.lane, x, i, p), with_lane(self.lane, y, i, q));
        }
        let result = self.host(x, y)?;
        Ok(self.fix(result, |i| {
            let (p, q) = (self.flushed(lane_at(self.lane, x, i)), self.flushed(lane_at(self.lane, y, i)));
            let zeros = format.magnitude(p | q) == 0;
            nans[i as usize].or_else(|| zeros.then_some(if minimum { p | q } else { p & q }))
        }))
    }

    /// The number, or zero if it is denormal and denormal operands are.
    pub(super) fn flushed(&self, x: u64) -> u64 {
        let format = self.format();
        if self.mxcsr & mxcsr::DAZ != 0 && format.is_denormal(x) { x & format.sign() } else { x }
    }
}
