//! Conversions between floating point and fixed point (DDI 0406C A2.7.6, FPToFixed, FixedToFP).

use crate::state::{ARM, FPSCR_REST, MXCSR, fpscr, fpscr_bits};
use isamorph_ir::{CpuState, HelperCx, Trap};

/// MXCSR's invalid and inexact.
const INVALID: u32 = 1;
const INEXACT: u32 = 1 << 5;

/// What a number is converted to.
#[derive(Clone, Copy)]
struct Target {
    bits: u32,
    signed: bool,
    fraction: u32,
}

/// Sets cumulative exceptions in the host's terms.
pub(super) fn report(state: &mut CpuState, exceptions: u32) {
    let old = state.get(&ARM, MXCSR);
    state.set(&ARM, MXCSR, old | u64::from(exceptions));
}

/// A denormal becomes zero if FPSCR.FZ says so.
fn flush(state: &mut CpuState, value: f64, denormal: bool) -> f64 {
    if !denormal || fpscr(state) & fpscr_bits::FZ == 0 {
        return value;
    }
    let rest = state.get(&ARM, FPSCR_REST);
    state.set(&ARM, FPSCR_REST, rest | u64::from(fpscr_bits::IDC));
    0f64.copysign(value)
}

/// A number in fixed point, truncated and saturated, and the exceptions that it causes.
fn to_fixed(value: f64, target: Target) -> (i64, u32) {
    let (low, high) = if target.signed {
        (-(1i128 << (target.bits - 1)), (1i128 << (target.bits - 1)) - 1)
    } else {
        (0, (1i128 << target.bits) - 1)
    };
    if value.is_nan() {
        return (0, INVALID);
    }
    let negative = value.is_sign_negative();
    let raw = value.abs().to_bits();
    let exponent = (raw >> 52) as i32;
    let mantissa = u128::from(raw & ((1 << 52) - 1) | if exponent != 0 { 1 << 52 } else { 0 });
    let shift = exponent.max(1) - 1075 + target.fraction as i32;
    if shift > 60 {
        return (if negative { low } else { high } as i64, INVALID);
    }
    let (magnitude, inexact) = if shift >= 0 {
        (mantissa << shift, false)
    } else {
        // Far below one, only whether it is zero matters.
        let places = (-shift).min(100) as u32;
        let part = mantissa & ((1 << places) - 1);
        (mantissa >> places, part != 0)
    };
    let exact = if negative { -(magnitude as i128) } else { magnitude as i128 };
    let bounded = exact.clamp(low, high);
    let exceptions = match (bounded != exact, inexact) {
        (true, _) => INVALID,
        (false, true) => INEXACT,
        _ => 0,
    };
    (bounded as i64, exceptions)
}

/// VCVT between floating point and fixed point. The second argument: double precision (bit 0), unsigned (1), 32 bits
/// rather than 16 (2), to fixed point (3), places after the point (from 8 on).
pub(super) fn convert(cx: &mut HelperCx<'_>, [bits, selector, _]: [u64; 3]) -> Result<u64, Trap> {
    let bit = |n: u32| selector >> n & 1 != 0;
    let (double, signed, fraction) = (bit(0), !bit(1), (selector >> 8) as u32 & 63);
    let size = if bit(2) { 32 } else { 16 };
    if bit(3) {
        let (value, denormal) = if double {
            let value = f64::from_bits(bits);
            (value, value.is_subnormal())
        } else {
            let value = f32::from_bits(bits as u32);
            (f64::from(value), value.is_subnormal())
        };
        let value = flush(cx.state, value, denormal);
        let target = Target { bits: size, signed, fraction };
        let (int, exceptions) = to_fixed(value, target);
        report(cx.state, exceptions);
        return Ok(if double { int as u64 } else { u64::from(int as u32) });
    }
    let spare = 64 - size;
    let int = if signed { (bits as i64) << spare >> spare } else { (bits << spare >> spare) as i64 };
    let scale = f64::from_bits(u64::from(1023 - fraction) << 52);
    if double {
        return Ok((int as f64 * scale).to_bits());
    }
    // To nearest, whatever FPSCR says; the host's rounding mode is the emulator's here.
    let single = int as f32;
    if single as i64 != int {
        report(cx.state, INEXACT);
    }
    Ok(u64::from((single * scale as f32).to_bits()))
}
