//! Integer operations of Advanced SIMD in full generality, lane by lane (DDI 0406C A8.8). The lifter has ops for those
//! that matter; these are the others. The argument is the instruction in its A32 form.

use crate::state::{self, ARM, QC};
use isamorph_ir::{CpuState, HelperCx, Trap};

/// The fields that most instructions share.
#[derive(Clone, Copy)]
struct Word(u32);

impl Word {
    const fn bits(self, low: u32, width: u32) -> u32 {
        self.0 >> low & ((1 << width) - 1)
    }
    const fn bit(self, n: u32) -> bool {
        self.0 >> n & 1 != 0
    }
    const fn d(self) -> u32 {
        self.bits(22, 1) << 4 | self.bits(12, 4)
    }
    const fn n(self) -> u32 {
        self.bits(7, 1) << 4 | self.bits(16, 4)
    }
    const fn m(self) -> u32 {
        self.bits(5, 1) << 4 | self.bits(0, 4)
    }
}

fn read(state: &CpuState, number: u32, quad: bool) -> u128 {
    let low = u128::from(state::read_d(state, number));
    if quad { low | u128::from(state::read_d(state, number + 1)) << 64 } else { low }
}

fn write(state: &mut CpuState, number: u32, quad: bool, bits: u128) {
    state::write_d(state, number, bits as u64);
    if quad {
        state::write_d(state, number + 1, (bits >> 64) as u64);
    }
}

/// A lane as a number.
fn lane(vector: u128, index: u32, bits: u32, signed: bool) -> i128 {
    let raw = vector >> (index * bits) << (128 - bits);
    if signed { raw as i128 >> (128 - bits) } else { (raw >> (128 - bits)) as i128 }
}

fn ones(bits: u32) -> u128 {
    u128::MAX >> (128 - bits)
}

/// A number brought into the range of a lane; whether that changed it is added to `saturated`.
fn clamp(value: i128, bits: u32, signed: bool, saturated: &mut bool) -> i128 {
    let (low, high) = if signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, ones(bits) as i128) };
    let bounded = value.clamp(low, high);
    *saturated |= bounded != value;
    bounded
}

/// The product of polynomials over {0, 1}.
fn poly(a: i128, b: i128) -> i128 {
    (0..8).filter(|i| b >> i & 1 != 0).fold(0, |sum, i| sum ^ (a & 0xff) << i)
}

/// A shift to the left, or with a negative amount to the right.
fn shift(value: i128, by: i32, bits: u32, round: bool, saturate: Option<(bool, &mut bool)>) -> i128 {
    if by >= 0 {
        let shifted = if by < 64 { value << by } else { value.signum() << 100 };
        return saturate.map_or(shifted, |(signed, flag)| clamp(shifted, bits, signed, flag));
    }
    let by = (-by).min(100);
    (value + if round { 1 << (by - 1) } else { 0 }) >> by
}

/// Builds a vector of lanes.
fn build(count: u32, bits: u32, mut f: impl FnMut(u32) -> i128) -> u128 {
    (0..count).fold(0, |v, i| v | (f(i) as u128 & ones(bits)) << (i * bits))
}

fn set_qc(state: &mut CpuState, saturated: bool) {
    if saturated {
        state.set_wide(&ARM, QC, u128::MAX);
    }
}

/// Three registers of the same length.
pub(super) fn three_same(cx: &mut HelperCx<'_>, [word, ..]: [u64; 3]) -> Result<u64, Trap> {
    let w = Word(word as u32);
    let (quad, unsigned, size) = (w.bit(6), w.bit(24), w.bits(20, 2));
    let (bits, opc) = (8 << size, w.bits(8, 4) << 1 | w.bits(4, 1));
    let [n, m, old] = [w.n(), w.m(), w.d()].map(|r| read(cx.state, r, quad));
    let mut saturated = false;
    let count = if quad { 128 } else { 64 } / bits;
    let pairs = matches!(opc, 20 | 21 | 23);
    let result = build(count, bits, |i| {
        let get = |v, i| lane(v, i, bits, !unsigned);
        let (a, b) = if pairs {
            let (from, at) = if i < count / 2 { (n, 2 * i) } else { (m, 2 * i - count) };
            (get(from, at), get(from, at + 1))
        } else {
            (get(n, i), get(m, i))
        };
        same_lane(opc, unsigned, bits, a, b, get(old, i), &mut saturated)
    });
    set_qc(cx.state, saturated);
    write(cx.state, w.d(), quad, result);
    Ok(0)
}

fn same_lane(opc: u32, unsigned: bool, bits: u32, a: i128, b: i128, old: i128, saturated: &mut bool) -> i128 {
    let mask = |holds: bool| if holds { -1 } else { 0 };
    // Shifts have the value in the second operand, and the amount in the low byte of the first.
    let by = i32::from(a as i8);
    match opc {
        0 => (a + b) >> 1,
        1 => clamp(a + b, bits, !unsigned, saturated),
        2 => (a + b + 1) >> 1,
        4 => (a - b) >> 1,
        5 => clamp(a - b, bits, !unsigned, saturated),
        6 => mask(a > b),
        7 => mask(a >= b),
        8 => shift(b, by, bits, false, None),
        9 => shift(b, by, bits, false, Some((!unsigned, saturated))),
        10 => shift(b, by, bits, true, None),
        11 => shift(b, by, bits, true, Some((!unsigned, saturated))),
        12 | 20 => a.max(b),
        13 | 21 => a.min(b),
        14 => (a - b).abs(),
        15 => old + (a - b).abs(),
        16 if unsigned => a - b,
        16 | 23 => a + b,
        17 if unsigned => mask(a == b),
        17 => mask(a & b != 0),
        18 if unsigned => old - a * b,
        18 => old + a * b,
        19 if unsigned => poly(a, b),
        19 => a * b,
        // VQDMULH, and rounding VQRDMULH; both are signed.
        _ => {
            let signed = |v: i128| v << (128 - bits) >> (128 - bits);
            doubling_high(signed(a), signed(b), bits, unsigned, saturated)
        }
    }
}

fn doubling_high(a: i128, b: i128, bits: u32, round: bool, saturated: &mut bool) -> i128 {
    let rounding = if round { 1 << (bits - 1) } else { 0 };
    clamp((2 * a * b + rounding) >> bits, bits, true, saturated)
}

/// Three registers of different lengths, and two registers and a scalar where the result is long.
pub(super) fn three_diff(cx: &mut HelperCx<'_>, [word, ..]: [u64; 3]) -> Result<u64, Trap> {
    let w = Word(word as u32);
    let (unsigned, bits, opc) = (w.bit(24), 8 << w.bits(20, 2), w.bits(8, 4));
    let wide_first = matches!(opc, 1 | 3 | 4 | 6);
    let narrow = matches!(opc, 4 | 6);
    let (n, m) = (read(cx.state, w.n(), wide_first), read(cx.state, w.m(), narrow));
    let old = read(cx.state, w.d(), !narrow);
    let mut saturated = false;
    let signed = !unsigned || matches!(opc, 9 | 11 | 13);
    let result = build(64 / bits, if narrow { bits } else { 2 * bits }, |i| {
        let a = lane(n, i, if wide_first { 2 * bits } else { bits }, signed);
        let b = lane(m, i, if narrow { 2 * bits } else { bits }, signed);
        long_lane(opc, bits, unsigned, [a, b, lane(old, i, 2 * bits, signed)], &mut saturated)
    });
    set_qc(cx.state, saturated);
    write(cx.state, w.d(), !narrow, result);
    Ok(0)
}

fn long_lane(opc: u32, bits: u32, unsigned: bool, [a, b, old]: [i128; 3], saturated: &mut bool) -> i128 {
    // The narrowing forms round if they are "unsigned".
    let rounding = if unsigned { 1 << (bits - 1) } else { 0 };
    let mut saturating = |value| clamp(value, 2 * bits, true, saturated);
    match opc {
        0 | 1 => a + b,
        2 | 3 => a - b,
        4 => (a + b + rounding) >> bits,
        6 => (a - b + rounding) >> bits,
        5 => old + (a - b).abs(),
        7 => (a - b).abs(),
        8 => old + a * b,
        10 => old - a * b,
        12 => a * b,
        14 => poly(a, b),
        9 | 11 => {
            let product = saturating(2 * a * b);
            saturating(if opc == 9 { old + product } else { old - product })
        }
        _ => saturating(2 * a * b),
    }
}

/// Two registers and a scalar, integers.
pub(super) fn two_scalar(cx: &mut HelperCx<'_>, [word, ..]: [u64; 3]) -> Result<u64, Trap> {
    let w = Word(word as u32);
    let (bits, opc) = (8 << w.bits(20, 2), w.bits(8, 4));
    let (register, index) =
        if bits == 16 { (w.bits(0, 3), w.bits(5, 1) << 1 | w.bits(3, 1)) } else { (w.bits(0, 4), w.bits(5, 1)) };
    let scalar = read(cx.state, register, false);
    let mut saturated = false;
    let long = matches!(opc, 2 | 3 | 6 | 7 | 10 | 11);
    let quad = long || w.bit(24);
    let (n, old) = (read(cx.state, w.n(), !long && quad), read(cx.state, w.d(), quad));
    let signed = !(long && w.bit(24)) || matches!(opc, 3 | 7 | 11);
    let b = lane(scalar, index, bits, signed);
    let result = if long {
        let opc = [8, 9, 10, 11, 12, 13][(opc / 4 * 2 + (opc & 1)) as usize];
        build(64 / bits, 2 * bits, |i| {
            let operands = [lane(n, i, bits, signed), b, lane(old, i, 2 * bits, signed)];
            long_lane(opc, bits, false, operands, &mut saturated)
        })
    } else {
        build(if quad { 128 } else { 64 } / bits, bits, |i| {
            let (a, old) = (lane(n, i, bits, true), lane(old, i, bits, true));
            match opc {
                0 => old + a * b,
                4 => old - a * b,
                8 => a * b,
                _ => doubling_high(a, b, bits, opc == 13, &mut saturated),
            }
        })
    };
    set_qc(cx.state, saturated);
    write(cx.state, w.d(), quad, result);
    Ok(0)
}

/// Two registers and a shift amount.
pub(super) fn shift_imm(cx: &mut HelperCx<'_>, [word, ..]: [u64; 3]) -> Result<u64, Trap> {
    let w = Word(word as u32);
    let (unsigned, opc, imm) = (w.bit(24), w.bits(8, 4), w.bits(7, 1) << 6 | w.bits(16, 6));
    // The highest set bit tells the size, the rest the amount.
    let bits = (1u32 << imm.ilog2()).max(8);
    let (left, right) = ((imm - bits) as i32, (2 * bits - imm) as i32);
    let mut saturated = false;
    if (8..10).contains(&opc) {
        // Narrowing: the source has twice the width.
        let m = read(cx.state, w.m(), true);
        // VSHRN and VRSHRN do not saturate; VQSHRUN has signed operands and unsigned results.
        let (plain, from_signed, to_signed) = (opc == 8 && !unsigned, opc == 8 || !unsigned, opc == 9 && !unsigned);
        let result = build(64 / bits, bits, |i| {
            let shifted = shift(lane(m, i, 2 * bits, from_signed), -right, bits, w.bit(6), None);
            if plain { shifted } else { clamp(shifted, bits, to_signed, &mut saturated) }
        });
        set_qc(cx.state, saturated);
        write(cx.state, w.d(), false, result);
        return Ok(0);
    }
    if opc == 10 {
        let m = read(cx.state, w.m(), false);
        let result = build(64 / bits, 2 * bits, |i| lane(m, i, bits, !unsigned) << left);
        write(cx.state, w.d(), true, result);
        return Ok(0);
    }
    let quad = w.bit(6);
    let (m, old) = (read(cx.state, w.m(), quad), read(cx.state, w.d(), quad));
    let result = build(if quad { 128 } else { 64 } / bits, bits, |i| {
        let value = lane(m, i, bits, opc == 6 || !unsigned);
        let before = lane(old, i, bits, false);
        match (opc, unsigned) {
            (0..=3, _) => {
                let shifted = shift(value, -right, bits, opc & 2 != 0, None);
                shifted + if opc & 1 != 0 { before } else { 0 }
            }
            // VSRI and VSLI leave the bits that nothing is shifted into.
            (4, _) => {
                let kept = ones(bits) & !(ones(bits).checked_shr(right as u32).unwrap_or(0));
                before & kept as i128 | (value & ones(bits) as i128) >> right
            }
            (5, true) => before & ((1i128 << left) - 1) | value << left,
            (5, false) => value << left,
            (6, _) => clamp(shift(value, left, 128, false, None), bits, false, &mut saturated),
            _ => shift(value, left, bits, false, Some((!unsigned, &mut saturated))),
        }
    });
    set_qc(cx.state, saturated);
    write(cx.state, w.d(), quad, result);
    Ok(0)
}

/// Two registers, miscellaneous.
pub(super) fn two_misc(cx: &mut HelperCx<'_>, [word, ..]: [u64; 3]) -> Result<u64, Trap> {
    let w = Word(word as u32);
    let (group, opc, bits, quad) = (w.bits(16, 2), w.bits(7, 4), 8 << w.bits(18, 2), w.bit(6));
    let (m, old) = (read(cx.state, w.m(), quad), read(cx.state, w.d(), quad));
    let width = if quad { 128 } else { 64 };
    let mut saturated = false;
    let result = match (group, opc) {
        (0, 4 | 5 | 12 | 13) => build(width / (2 * bits), 2 * bits, |i| {
            let signed = opc & 1 == 0;
            let sum = lane(m, 2 * i, bits, signed) + lane(m, 2 * i + 1, bits, signed);
            sum + if opc >= 12 { lane(old, i, 2 * bits, signed) } else { 0 }
        }),
        (2, 1..=3) => return permute(cx, w, opc, bits, quad, [old, m]),
        (2, _) => return narrow(cx, w, opc, bits),
        (0, 0..=2) => {
            let container = 64 >> opc;
            build(width / bits, bits, |i| lane(m, i ^ (container / bits - 1), bits, false))
        }
        _ => build(width / bits, bits, |i| misc_lane(group, opc, bits, lane(m, i, bits, true), &mut saturated)),
    };
    set_qc(cx.state, saturated);
    write(cx.state, w.d(), quad, result);
    Ok(0)
}

fn misc_lane(group: u32, opc: u32, bits: u32, value: i128, saturated: &mut bool) -> i128 {
    let mask = |holds: bool| if holds { -1 } else { 0 };
    let raw = value as u128 & ones(bits);
    match (group, opc) {
        // Leading bits equal to the sign, after it.
        (0, 8) => {
            i128::from((((value ^ value << 1) as u128 & ones(bits)) | 1).leading_zeros()) - 128 + i128::from(bits)
        }
        (0, 9) => i128::from(raw.leading_zeros()) - 128 + i128::from(bits),
        (0, 10) => i128::from(raw.count_ones()),
        (0, 11) => !value,
        (0, 14) => clamp(value.abs(), bits, true, saturated),
        (0, _) => clamp(-value, bits, true, saturated),
        (_, 0) => mask(value > 0),
        (_, 1) => mask(value >= 0),
        (_, 2) => mask(value == 0),
        (_, 3) => mask(value <= 0),
        (_, 4) => mask(value < 0),
        (_, 6) => value.abs(),
        _ => -value,
    }
}

/// VTRN, VUZP, VZIP.
fn permute(cx: &mut HelperCx<'_>, w: Word, opc: u32, bits: u32, quad: bool, [d, m]: [u128; 2]) -> Result<u64, Trap> {
    let count = if quad { 128 } else { 64 } / bits;
    let both = |at: u32| if at < count { lane(d, at, bits, false) } else { lane(m, at - count, bits, false) };
    let from = |second: u32, i: u32| match opc {
        1 => (i & !1) + second + if i & 1 != 0 { count } else { 0 },
        2 => 2 * i + second,
        _ => (i + second * count) / 2 + if i & 1 != 0 { count } else { 0 },
    };
    let results = [0, 1].map(|second| build(count, bits, |i| both(from(second, i))));
    write(cx.state, w.d(), quad, results[0]);
    write(cx.state, w.m(), quad, results[1]);
    Ok(0)
}

/// VMOVN, VQMOVN, VQMOVUN, and VSHLL by the width.
fn narrow(cx: &mut HelperCx<'_>, w: Word, opc: u32, bits: u32) -> Result<u64, Trap> {
    let mut saturated = false;
    if opc == 6 {
        let m = read(cx.state, w.m(), false);
        let result = build(64 / bits, 2 * bits, |i| lane(m, i, bits, false) << bits);
        write(cx.state, w.d(), true, result);
        return Ok(0);
    }
    let m = read(cx.state, w.m(), true);
    let result = build(64 / bits, bits, |i| match (opc, w.bit(6)) {
        (4, false) => lane(m, i, 2 * bits, false),
        (4, true) => clamp(lane(m, i, 2 * bits, true), bits, false, &mut saturated),
        (_, unsigned) => clamp(lane(m, i, 2 * bits, !unsigned), bits, !unsigned, &mut saturated),
    });
    set_qc(cx.state, saturated);
    write(cx.state, w.d(), false, result);
    Ok(0)
}

/// VTBL and VTBX.
pub(super) fn table(cx: &mut HelperCx<'_>, [word, ..]: [u64; 3]) -> Result<u64, Trap> {
    let w = Word(word as u32);
    let bytes = 8 * (w.bits(8, 2) + 1);
    let table: Vec<u8> = (0..bytes / 8).flat_map(|i| state::read_d(cx.state, w.n() + i).to_le_bytes()).collect();
    let (indexes, old) = (state::read_d(cx.state, w.m()).to_le_bytes(), state::read_d(cx.state, w.d()).to_le_bytes());
    let outside = |i: usize| if w.bit(6) { old[i] } else { 0 };
    let result = std::array::from_fn(|i| table.get(usize::from(indexes[i])).copied().unwrap_or_else(|| outside(i)));
    state::write_d(cx.state, w.d(), u64::from_le_bytes(result));
    Ok(0)
}
