//! Reciprocal and reciprocal square root estimates (Arm ARM, FPRecipEstimate, FPRSqrtEstimate and the integer forms).

use super::soft::{Class, Env, Format, Number};
use crate::state::fpsr_bit;
use isamorph_ir::Rounding;

/// An estimate of 1/a: `a` is 256 to 511 for 0.5 to 1, the result 256 to 511 for 1 to 2 (RecipEstimate).
fn recip_estimate(a: u32) -> u32 {
    let a = a * 2 + 1;
    ((1 << 19) / a).div_ceil(2)
}

/// An estimate of 1/√a: `a` is 128 to 511 for 0.25 to 1, the result 256 to 511 for 1 to 2 (RecipSqrtEstimate).
fn root_estimate(a: u32) -> u32 {
    let a = if a < 256 { a * 2 + 1 } else { ((a >> 1 << 1) + 1) * 2 };
    let mut b = 512;
    while a * (b + 1) * (b + 1) < 1 << 28 {
        b += 1;
    }
    b.div_ceil(2)
}

/// URECPE.
pub(super) fn integer_reciprocal(a: u32) -> u32 {
    if a >> 31 == 0 { u32::MAX } else { recip_estimate(a >> 23) << 23 }
}

/// URSQRTE.
pub(super) fn integer_root(a: u32) -> u32 {
    if a >> 30 == 0 { u32::MAX } else { root_estimate(a >> 23) << 23 }
}

/// FRECPE.
pub(super) fn reciprocal(env: &mut Env, f: Format, n: Number) -> u64 {
    let sign = if n.negative { f.sign() } else { 0 };
    let fraction_bits = f.fraction_bits();
    let bias = f.power(0) >> fraction_bits;
    match n.class {
        Class::QuietNan | Class::SignallingNan => return env.nan(f, n),
        Class::Infinity => return sign,
        Class::Zero => {
            env.reported |= fpsr_bit::DZC;
            return f.infinity(n.negative);
        }
        Class::Finite => {}
    }
    // The highest mantissa bit is worth 2^exponent.
    let exponent = n.exponent + 127 - n.mantissa.leading_zeros() as i32;
    if exponent < -(bias as i32) - 1 {
        env.reported |= fpsr_bit::OFC | fpsr_bit::IXC;
        let to_infinity = match env.rounding {
            Rounding::Up => !n.negative,
            Rounding::Down => n.negative,
            Rounding::Zero => false,
            _ => true,
        };
        return if to_infinity { f.infinity(n.negative) } else { f.infinity(n.negative) - 1 };
    }
    // Flushing: an input that is so large that the result would be denormal.
    let field = exponent + bias as i32;
    if env.flushes(f) && field >= 2 * bias as i32 - 1 {
        env.reported |= fpsr_bit::UFC;
        return sign;
    }
    // Nine bits from the leading one on.
    let top = 127 - n.mantissa.leading_zeros();
    let scaled = if top >= 8 { n.mantissa >> (top - 8) } else { n.mantissa << (8 - top) } as u32;
    let estimate = u64::from(recip_estimate(scaled) & 0xff);
    let mut fraction = estimate << (fraction_bits - 8);
    let mut result = 2 * bias as i32 - 1 - field;
    if result <= 0 {
        // A denormal result: shift the leading one in.
        fraction = 1 << (fraction_bits - 1) | fraction >> 1;
        if result == -1 {
            fraction >>= 1;
        }
        result = 0;
    }
    sign | (result as u64) << fraction_bits | fraction & ((1 << fraction_bits) - 1)
}

/// FRSQRTE.
pub(super) fn root(env: &mut Env, f: Format, n: Number) -> u64 {
    match n.class {
        Class::QuietNan | Class::SignallingNan => return env.nan(f, n),
        Class::Zero => {
            env.reported |= fpsr_bit::DZC;
            return f.infinity(n.negative);
        }
        _ if n.negative => return env.invalid(f),
        Class::Infinity => return 0,
        Class::Finite => {}
    }
    let top = 127 - n.mantissa.leading_zeros();
    let exponent = n.exponent + top as i32;
    let leading = if top >= 8 { n.mantissa >> (top - 8) } else { n.mantissa << (8 - top) } as u32;
    // 0.25 to 1 times an even power of two.
    let odd = exponent & 1 != 0;
    let scaled = if odd { leading } else { leading >> 1 };
    let estimate = u64::from(root_estimate(scaled) & 0xff);
    // a = s · 2^(2k) with s from 0.25 to 1, so 1/√a is from 1 to 2 times 2^-k.
    let k = if odd { (exponent + 1) / 2 } else { (exponent + 2) / 2 };
    f.power(-k) | estimate << (f.fraction_bits() - 8)
}

/// FRECPX: the exponent inverted, the fraction zero.
pub(super) fn exponent(env: &mut Env, f: Format, raw: u64) -> u64 {
    let n = env.unpack(f, raw);
    if n.is_nan() {
        return env.nan(f, n);
    }
    let mask = f.infinity(false);
    let field = n.raw & mask;
    // Infinity stands for the smallest, zero and denormals for the largest.
    let result = if field == 0 { mask - (1 << f.fraction_bits()) } else { !field & mask };
    n.raw & f.sign() | result
}
