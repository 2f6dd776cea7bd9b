//! Estimates of reciprocals and reciprocal square roots (DDI 0406C A2.7.5).

use crate::state::{self, ARM, MXCSR};
use isamorph_ir::{CpuState, HelperCx, Trap};

/// MXCSR's invalid, division by zero, underflow.
const INVALID: u32 = 1;
const BY_ZERO: u32 = 1 << 2;
const UNDERFLOW: u32 = 1 << 4;
const DEFAULT_NAN: u32 = 0x7fc0_0000;
const INFINITY: u32 = 0x7f80_0000;

/// The estimate of 1/a for a from 256 to 511 (256 stands for a half), from 256 (one) to 511.
const fn reciprocal(a: u32) -> u32 {
    ((1 << 19) / (2 * a + 1) + 1) >> 1
}

/// The estimate of 1/√a for a from 128 (a quarter) to 511.
const fn reciprocal_root(a: u32) -> u32 {
    let a = if a < 256 { 2 * a + 1 } else { 2 * ((a & !1) + 1) };
    let mut b = 512;
    while a * (b + 1) * (b + 1) < 1 << 28 {
        b += 1;
    }
    b.div_ceil(2)
}

fn unsigned(x: u32, root: bool) -> u32 {
    match (root, x >> 30) {
        (false, 0 | 1) | (true, 0) => u32::MAX,
        (false, _) => reciprocal(x >> 23) << 23,
        (true, _) => reciprocal_root(x >> 23) << 23,
    }
}

fn float(x: u32, root: bool) -> (u32, u32) {
    let (sign, exponent, fraction) = (x & 1 << 31, x >> 23 & 0xff, x & 0x007f_ffff);
    if exponent == 0xff && fraction != 0 {
        return (DEFAULT_NAN, if fraction >> 22 == 0 { INVALID } else { 0 });
    }
    // Denormals are zeros.
    if exponent == 0 {
        return (sign | INFINITY, BY_ZERO);
    }
    if root && sign != 0 {
        return (DEFAULT_NAN, INVALID);
    }
    if exponent == 0xff {
        return (sign, 0);
    }
    if root {
        // An even power of two stays under the root.
        let scaled = if exponent & 1 == 0 { 0x100 | fraction >> 15 } else { 0x80 | fraction >> 16 };
        return (((380 - exponent) / 2) << 23 | (reciprocal_root(scaled) & 0xff) << 15, 0);
    }
    if exponent >= 253 {
        return (sign, UNDERFLOW);
    }
    (sign | (253 - exponent) << 23 | (reciprocal(0x100 | fraction >> 15) & 0xff) << 15, 0)
}

fn words(state: &mut CpuState, word: u32, mut f: impl FnMut(u32) -> u32) {
    let (d, m) = (word >> 18 & 16 | word >> 12 & 15, word >> 1 & 16 | word & 15);
    for i in 0..2 * (1 + (word >> 6 & 1)) {
        let result = f((state::read_d(state, m + i / 2) >> (32 * (i & 1))) as u32);
        let shift = 32 * (i & 1);
        let other = state::read_d(state, d + i / 2) & !(0xffff_ffff << shift);
        state::write_d(state, d + i / 2, other | u64::from(result) << shift);
    }
}

/// VRECPE and VRSQRTE; the argument is the instruction in its A32 form.
pub(super) fn estimate(cx: &mut HelperCx<'_>, [word, ..]: [u64; 3]) -> Result<u64, Trap> {
    let word = word as u32;
    let (root, is_float) = (word >> 7 & 1 != 0, word >> 8 & 1 != 0);
    let mut exceptions = 0;
    words(cx.state, word, |x| {
        if !is_float {
            return unsigned(x, root);
        }
        let (result, raised) = float(x, root);
        exceptions |= raised;
        result
    });
    let old = cx.state.get(&ARM, MXCSR);
    cx.state.set(&ARM, MXCSR, old | u64::from(exceptions));
    Ok(0)
}
