//! Conversions of half precision that no host has: the alternative format, and from double precision with one rounding
//! (DDI 0487 J1, FPConvert, FPRoundCV).

use super::fixed::report;
use crate::state::{ARM, FPSCR_REST, fpscr, fpscr_bits};
use isamorph_ir::{CpuState, HelperCx, Trap};

/// MXCSR's exceptions.
const INVALID: u32 = 1;
const OVERFLOW: u32 = 1 << 3;
const UNDERFLOW: u32 = 1 << 4;
const INEXACT: u32 = 1 << 5;

/// Bits of the selector: the operand has double precision.
pub(crate) const FROM_DOUBLE: u32 = 1;
/// The result has the alternative format: no infinities and no NaNs, but numbers with that exponent.
pub(crate) const ALTERNATIVE: u32 = 2;
/// The arithmetic is that of Advanced SIMD, whatever FPSCR says.
pub(crate) const STANDARD: u32 = 4;

const INFINITY: u64 = 0x7c00;
const LARGEST_ALTERNATIVE: u64 = 0x7fff;
/// Exponent of the smallest normal number.
const MIN_EXPONENT: i32 = -14;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rounding {
    Nearest,
    Up,
    Down,
    Zero,
}

/// What decides about a conversion besides its operand.
#[derive(Clone, Copy)]
struct Control {
    alternative: bool,
    default_nan: bool,
    flush: bool,
    rounding: Rounding,
}

impl Control {
    fn new(selector: u32, state: &CpuState) -> Self {
        let alternative = selector & ALTERNATIVE != 0;
        if selector & STANDARD != 0 {
            return Control { alternative, default_nan: true, flush: true, rounding: Rounding::Nearest };
        }
        let fpscr = fpscr(state);
        let rounding = match fpscr >> fpscr_bits::RMODE_SHIFT & 3 {
            0 => Rounding::Nearest,
            1 => Rounding::Up,
            2 => Rounding::Down,
            _ => Rounding::Zero,
        };
        let bit = |mask| fpscr & mask != 0;
        Control { alternative, default_nan: bit(fpscr_bits::DN), flush: bit(fpscr_bits::FZ), rounding }
    }
    /// Whether a magnitude is rounded away from zero, by what it loses and half a unit of what it keeps.
    fn rounds_away(self, negative: bool, odd: bool, lost: u64, half: u64) -> bool {
        match self.rounding {
            Rounding::Nearest => lost > half || lost == half && odd,
            Rounding::Up => lost != 0 && !negative,
            Rounding::Down => lost != 0 && negative,
            Rounding::Zero => false,
        }
    }
    /// The magnitude of a number that is too large.
    fn overflow(self, negative: bool) -> (u64, u32) {
        let to_infinity = match self.rounding {
            Rounding::Nearest => true,
            Rounding::Up => !negative,
            Rounding::Down => negative,
            Rounding::Zero => false,
        };
        match (self.alternative, to_infinity) {
            (true, _) => (LARGEST_ALTERNATIVE, INVALID),
            (false, true) => (INFINITY, OVERFLOW | INEXACT),
            (false, false) => (INFINITY - 1, OVERFLOW | INEXACT),
        }
    }
    /// `mantissa` × 2^`exponent`, which is not zero, and the exceptions that it causes.
    fn round(self, negative: bool, mantissa: u64, exponent: i32) -> (u64, u32) {
        let top = mantissa.ilog2() as i32 + exponent;
        let dropped = (top.max(MIN_EXPONENT) - 10 - exponent).min(62) as u32;
        let (kept, lost) = (mantissa >> dropped, mantissa & ((1 << dropped) - 1));
        let away = self.rounds_away(negative, kept & 1 != 0, lost, 1 << (dropped - 1));
        // The leading one of a normal number adds one to the exponent; so does a carry out of the fraction.
        let bits = ((top.max(MIN_EXPONENT) - MIN_EXPONENT) as u64) << 10;
        let bits = bits + kept + u64::from(away);
        if bits >= if self.alternative { LARGEST_ALTERNATIVE + 1 } else { INFINITY } {
            return self.overflow(negative);
        }
        let exceptions = match lost {
            0 => 0,
            _ if top < MIN_EXPONENT => UNDERFLOW | INEXACT,
            _ => INEXACT,
        };
        (bits, exceptions)
    }
    fn nan(self, sign: u64, fraction: u64, is_signalling: bool) -> (u64, u32) {
        match (self.alternative, self.default_nan) {
            (true, _) => (sign, INVALID),
            (false, default) => {
                let nan = INFINITY | 1 << 9;
                (if default { nan } else { sign | nan | fraction }, if is_signalling { INVALID } else { 0 })
            }
        }
    }
}

/// A single or double to half precision. The second argument: [`FROM_DOUBLE`], [`ALTERNATIVE`], [`STANDARD`].
pub(super) fn to_half(cx: &mut HelperCx<'_>, [bits, selector, _]: [u64; 3]) -> Result<u64, Trap> {
    let control = Control::new(selector as u32, cx.state);
    let (exponent_bits, fraction_bits) = if selector as u32 & FROM_DOUBLE != 0 { (11, 52) } else { (8, 23) };
    let top = (1 << exponent_bits) - 1;
    let negative = bits >> (exponent_bits + fraction_bits) & 1 != 0;
    let sign = u64::from(negative) << 15;
    let (exponent, fraction) = ((bits >> fraction_bits) as i32 & top, bits & ((1 << fraction_bits) - 1));
    let (half, exceptions) = match (exponent, fraction) {
        (0, 0) => (sign, 0),
        (0, _) if control.flush => {
            let rest = cx.state.get(&ARM, FPSCR_REST);
            cx.state.set(&ARM, FPSCR_REST, rest | u64::from(fpscr_bits::IDC));
            (sign, 0)
        }
        (e, 0) if e == top && control.alternative => (sign | LARGEST_ALTERNATIVE, INVALID),
        (e, 0) if e == top => (sign | INFINITY, 0),
        (e, _) if e == top => {
            let is_signalling = fraction >> (fraction_bits - 1) == 0;
            control.nan(sign, fraction >> (fraction_bits - 10), is_signalling)
        }
        _ => {
            let leading = u64::from(exponent != 0) << fraction_bits;
            let scale = exponent.max(1) - (top >> 1) - fraction_bits;
            let (magnitude, exceptions) = control.round(negative, fraction | leading, scale);
            (sign | magnitude, exceptions)
        }
    };
    report(cx.state, exceptions);
    Ok(half)
}

/// A number of the alternative format to single precision, which is exact.
pub(super) fn alternative_to_single(_: &mut HelperCx<'_>, [half, ..]: [u64; 3]) -> Result<u64, Trap> {
    let (exponent, fraction) = (half as u32 >> 10 & 31, half as u32 & 0x3ff);
    let leading = if exponent != 0 { 1 << 10 } else { 0 };
    // 2^(exponent - 15 - 10), the exponent of denormals being 1.
    let scale = f32::from_bits((exponent.max(1) + 127 - 25) << 23);
    let magnitude = (fraction | leading) as f32 * scale;
    Ok(u64::from(magnitude.to_bits() | (half as u32 & 0x8000) << 16))
}
