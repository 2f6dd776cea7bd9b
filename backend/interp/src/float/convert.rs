//! Conversions and roundings that are computed here: not every host has an instruction for them.

use super::nan::Format;
use super::{Unit, encoding, guest_trap, mxcsr};
use crate::vector::{lane_at, with_lane};
use isamorph_host::cpu;
use isamorph_host::fpexec;
use isamorph_ir::{FpRule, Lane, Op, Rounding, Trap};

/// The format on the other side of a conversion between formats.
fn other(lane: Lane) -> Lane {
    match lane {
        Lane::F32 => Lane::F64,
        Lane::F64 => Lane::F32,
        Lane::S32 => Lane::S64,
        _ => Lane::S32,
    }
}

/// A number rounded to an integral value.
fn integral(value: f64, rounding: Rounding) -> f64 {
    match rounding {
        Rounding::NearestEven | Rounding::Current => value.round_ties_even(),
        Rounding::Down => value.floor(),
        Rounding::Up => value.ceil(),
        Rounding::Zero => value.trunc(),
        Rounding::NearestAway => value.round(),
    }
}

/// The value of a lane; a signalling NaN becomes a quiet one.
fn value(lane: Lane, bits: u64) -> f64 {
    if lane.bytes() == 8 { f64::from_bits(bits) } else { f64::from(f32::from_bits(bits as u32)) }
}

/// The inverse of [`value`] for what a lane can hold.
fn bits(lane: Lane, value: f64) -> u64 {
    if lane.bytes() == 8 { value.to_bits() } else { (value as f32).to_bits().into() }
}

impl Unit {
    /// The rounding mode that the control word asks for.
    pub(super) fn current_rounding(&self) -> Rounding {
        [Rounding::NearestEven, Rounding::Down, Rounding::Up, Rounding::Zero]
            [(self.mxcsr >> mxcsr::ROUNDING & 3) as usize]
    }

    fn resolved(&self, rounding: Rounding) -> Rounding {
        if rounding == Rounding::Current { self.current_rounding() } else { rounding }
    }

    /// From single to double precision or back.
    pub(super) fn convert_format(&mut self, a: u128, b: u128) -> Result<u128, Trap> {
        let result = self.host(a, b)?;
        let to = other(self.lane);
        let format = Format::of(to);
        if matches!(self.rule, FpRule::X86 | FpRule::Arm) {
            return Ok(result);
        }
        let lanes = if to.is_scalar() { 1 } else { 2 };
        Ok((0..lanes)
            .filter(|i| format.is_nan(lane_at(to, result, *i)))
            .fold(result, |vector, i| with_lane(to, vector, i, format.default_nan())))
    }

    /// Rounds the lanes of `b` to integral values.
    pub(super) fn round_lanes(&mut self, rounding: Rounding, quiet: bool, a: u128, b: u128) -> Result<u128, Trap> {
        if self.rule == FpRule::X86 && rounding != Rounding::NearestAway && cpu::features().sse41 {
            return self.round_on_host(rounding as u8 | u8::from(quiet) << 3, a, b);
        }
        let (format, rounding) = (self.format(), self.resolved(rounding));
        let mut result = if self.lane.is_scalar() { a } else { b };
        for i in 0..self.lanes() {
            let x = self.flushed(lane_at(self.lane, b, i));
            let rounded = match self.nan_of(&[x]) {
                Some(nan) => {
                    self.raise(if format.is_signalling(x) { mxcsr::INVALID } else { 0 })?;
                    nan
                }
                None => bits(self.lane, integral(value(self.lane, x), rounding)),
            };
            if rounded != x && !quiet && !format.is_nan(x) {
                self.raise(mxcsr::INEXACT)?;
            }
            result = with_lane(self.lane, result, i, rounded);
        }
        Ok(result)
    }

    /// ROUNDPS, ROUNDPD, ROUNDSS, ROUNDSD, whose immediate is the selector.
    fn round_on_host(&mut self, selector: u8, a: u128, b: u128) -> Result<u128, Trap> {
        let byte = match self.lane {
            Lane::F32 => 0x08,
            Lane::F64 => 0x09,
            Lane::S32 => 0x0a,
            _ => 0x0b,
        };
        let mut result = a;
        fpexec::sse(Some(0x66), &[0x3a, byte], Some(selector), &mut self.mxcsr, &mut result, b).map_err(guest_trap)?;
        Ok(result)
    }

    /// Lanes to integers of their width, saturated.
    pub(super) fn lanes_to_int(&mut self, rounding: Rounding, signed: bool, a: u128) -> Result<u128, Trap> {
        let mut result = 0;
        for i in 0..self.lanes() {
            let int = self.saturated(lane_at(self.lane, a, i), rounding, signed, 8 * self.lane.bytes())?;
            result = with_lane(self.lane, result, i, int);
        }
        Ok(result)
    }

    /// A number as an integer of a width, saturated; 0 for a NaN (Arm ARM, FPToFixed).
    pub(super) fn saturated(&mut self, bits: u64, rounding: Rounding, signed: bool, width: u32) -> Result<u64, Trap> {
        let power = |exponent: u32| 2f64.powi(exponent as i32);
        let (low, high) = if signed { (-power(width - 1), power(width - 1)) } else { (0.0, power(width)) };
        let x = value(self.lane, self.flushed(bits));
        let rounded = integral(x, self.resolved(rounding));
        if x.is_nan() || rounded < low || rounded >= high {
            self.raise(mxcsr::INVALID)?;
        } else if rounded != x {
            self.raise(mxcsr::INEXACT)?;
        }
        // The casts saturate, and give 0 for a NaN.
        Ok(match (width, signed) {
            (64, true) => rounded as i64 as u64,
            (64, false) => rounded as u64,
            (_, true) => u64::from(rounded as i32 as u32),
            (_, false) => u64::from(rounded as u32),
        })
    }

    /// Integers of the lanes' width to floating point.
    pub(super) fn lanes_from_int(&mut self, signed: bool, a: u128) -> Result<u128, Trap> {
        let mut result = 0;
        for i in 0..self.lanes() {
            let x = lane_at(self.lane, a, i);
            let number = match (self.lane.bytes(), signed) {
                (8, false) if x >> 63 != 0 => {
                    // Half of it, with what was lost in the last bit, is rounded as it would be; then doubled.
                    let half = self.double_from_int(x >> 1 | x & 1)?;
                    half + (1 << Format::DOUBLE.fraction)
                }
                (8, _) => self.double_from_int(x)?,
                (_, true) => self.narrowed(f64::from(x as i32))?,
                (_, false) => self.narrowed(f64::from(x as u32))?,
            };
            result = with_lane(self.lane, result, i, number);
        }
        Ok(result)
    }

    fn double_from_int(&mut self, int: u64) -> Result<u64, Trap> {
        let (prefix, opcode) = encoding(Op::FFromInt, Lane::S64);
        let (mut result, mut int) = (0, int);
        fpexec::sse_int(prefix, true, &[opcode], &mut self.mxcsr, &mut result, &mut int).map_err(guest_trap)?;
        Ok(result as u64)
    }

    fn narrowed(&mut self, value: f64) -> Result<u64, Trap> {
        let (prefix, opcode) = encoding(Op::FCvtLane, Lane::S64);
        let (mut result, operand) = (0, u128::from(value.to_bits()));
        fpexec::sse(prefix, &[opcode], None, &mut self.mxcsr, &mut result, operand).map_err(guest_trap)?;
        Ok(result as u64)
    }

    /// How many half-precision numbers take part in a conversion.
    fn halves(&self) -> u32 {
        if self.lane.is_scalar() { 1 } else { 4 }
    }

    /// Half-precision numbers, of which no denormal is flushed. `raw` leaves signalling NaNs as they are.
    pub(super) fn half_to_single(&mut self, raw: bool, a: u128) -> Result<u128, Trap> {
        const WIDENED: u32 = Format::SINGLE.fraction - Format::HALF.fraction;
        let mut result = 0;
        for i in 0..self.halves() {
            let half = lane_at(Lane::I16, a, i);
            let (sign, magnitude) = (half >> 15 << 31, Format::HALF.magnitude(half));
            let wide = if Format::HALF.is_nan(half) {
                let nan = sign | Format::SINGLE.infinity() | magnitude << WIDENED;
                if Format::HALF.is_signalling(half) && !raw {
                    self.raise(mxcsr::INVALID)?;
                }
                if raw { nan & u64::from(u32::MAX) } else { self.nan_of(&[nan & u64::from(u32::MAX)]).unwrap_or(nan) }
            } else if Format::HALF.is_infinite(half) {
                sign | Format::SINGLE.infinity()
            } else {
                // The fields of a half as those of a single are 2¹¹² times too small, also of a denormal one.
                let scaled = f32::from_bits((magnitude << WIDENED) as u32) * f32::from_bits((127 + 112) << 23);
                sign | u64::from(scaled.to_bits())
            };
            result = with_lane(Lane::F32, result, i, wide);
        }
        Ok(result)
    }

    /// Single to half precision.
    pub(super) fn single_to_half(&mut self, a: u128) -> Result<u128, Trap> {
        let mut result = 0;
        for i in 0..self.halves() {
            let x = self.flushed(lane_at(Lane::F32, a, i));
            let half = match self.nan_of(&[x]) {
                Some(nan) => {
                    self.raise(if Format::SINGLE.is_signalling(x) { mxcsr::INVALID } else { 0 })?;
                    (nan >> 31 << 15) | Format::HALF.infinity() | (nan >> 13 & 0x3ff)
                }
                None => self.narrow_number(x)?,
            };
            result = with_lane(Lane::I16, result, i, half);
        }
        Ok(result)
    }

    /// A single that is no NaN.
    fn narrow_number(&mut self, x: u64) -> Result<u64, Trap> {
        let (sign, magnitude) = (x >> 31 << 15, Format::SINGLE.magnitude(x));
        if magnitude == 0 || Format::SINGLE.is_infinite(x) {
            return Ok(sign | if magnitude == 0 { 0 } else { Format::HALF.infinity() });
        }
        let (significand, exponent) = Format::SINGLE.decomposed(x);
        let (half, flags) = self.rounded_to(Format::HALF, sign != 0, significand, exponent, false);
        let denormal = if Format::SINGLE.is_denormal(x) { mxcsr::DENORMAL } else { 0 };
        self.raise(flags | denormal)?;
        Ok(half)
    }
}
