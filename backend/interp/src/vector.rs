//! Vectors of integers. A vector is its bits, zero above its type's width; lane 0 is the lowest.

use crate::crypto;
use crate::int::flag;
use isamorph_ir::{FlagSet, Lane, Type};

/// The mask of a vector or integer type.
pub(crate) fn mask(ty: Type) -> u128 {
    if ty.bits() >= 128 { u128::MAX } else { (1 << ty.bits()) - 1 }
}

fn lane_bits(lane: Lane) -> u32 {
    8 * lane.bytes()
}

fn lane_mask(lane: Lane) -> u64 {
    u64::MAX >> (64 - lane_bits(lane))
}

fn sign_extend(lane: Lane, x: u64) -> i64 {
    let unused = 64 - lane_bits(lane);
    ((x << unused) as i64) >> unused
}

/// The lane of twice the width.
fn double(lane: Lane) -> Lane {
    match lane {
        Lane::I8 => Lane::I16,
        Lane::I16 => Lane::I32,
        _ => Lane::I64,
    }
}

/// The lane of half the width.
fn half(lane: Lane) -> Lane {
    match lane {
        Lane::I64 => Lane::I32,
        Lane::I32 => Lane::I16,
        _ => Lane::I8,
    }
}

/// Lane number `index`.
pub(crate) fn lane_at(lane: Lane, vector: u128, index: u32) -> u64 {
    (vector >> (index * lane_bits(lane))) as u64 & lane_mask(lane)
}

/// The vector with lane `index` replaced by the low bits of `x`.
pub(crate) fn with_lane(lane: Lane, vector: u128, index: u32, x: u64) -> u128 {
    let at = index * lane_bits(lane);
    (vector & !(u128::from(lane_mask(lane)) << at)) | u128::from(x & lane_mask(lane)) << at
}

/// The vector whose lane `i` is the low bits of `f(i)`.
fn build(ty: Type, lane: Lane, f: impl Fn(u32) -> u64) -> u128 {
    (0..ty.bytes() / lane.bytes()).fold(0, |vector, i| with_lane(lane, vector, i, f(i)))
}

/// `f` of every lane.
pub(crate) fn map1(ty: Type, lane: Lane, a: u128, f: impl Fn(u64) -> u64) -> u128 {
    build(ty, lane, |i| f(lane_at(lane, a, i)))
}

/// `f` of the lanes of two vectors.
pub(crate) fn map2(ty: Type, lane: Lane, a: u128, b: u128, f: impl Fn(u64, u64) -> u64) -> u128 {
    build(ty, lane, |i| f(lane_at(lane, a, i), lane_at(lane, b, i)))
}

/// `f` of the sign-extended lanes of two vectors.
pub(crate) fn map2_signed(ty: Type, lane: Lane, a: u128, b: u128, f: impl Fn(i64, i64) -> i64) -> u128 {
    map2(ty, lane, a, b, |x, y| f(sign_extend(lane, x), sign_extend(lane, y)) as u64)
}

/// The nearest number that a signed lane can hold.
pub(crate) fn clamp_signed(lane: Lane, x: i64) -> i64 {
    let max = (lane_mask(lane) >> 1) as i64;
    x.clamp(-max - 1, max)
}

/// The nearest number that an unsigned lane can hold.
pub(crate) fn clamp_unsigned(lane: Lane, x: i64) -> i64 {
    x.clamp(0, lane_mask(lane) as i64)
}

/// The high half of the product of two lanes of at most 32 bits.
pub(crate) fn high_half<T>(lane: Lane, product: T) -> T
where
    T: std::ops::Shr<u32, Output = T>,
{
    product >> lane_bits(lane)
}

/// Unsigned products of the even lanes.
pub(crate) fn multiply_wide(ty: Type, lane: Lane, a: u128, b: u128) -> u128 {
    build(ty, double(lane), |i| lane_at(lane, a, 2 * i).wrapping_mul(lane_at(lane, b, 2 * i)))
}

/// Signed products of the even lanes.
pub(crate) fn multiply_wide_signed(ty: Type, lane: Lane, a: u128, b: u128) -> u128 {
    let even = |vector, i| sign_extend(lane, lane_at(lane, vector, 2 * i));
    build(ty, double(lane), |i| even(a, i).wrapping_mul(even(b, i)) as u64)
}

/// Twice the signed product of the lanes, rounded to its high half.
pub(crate) fn multiply_high_rounded(ty: Type, lane: Lane, a: u128, b: u128) -> u128 {
    let half = 1 << (lane_bits(lane) - 1);
    map2_signed(ty, lane, a, b, |x, y| high_half(lane, (2 * x).wrapping_mul(y).wrapping_add(half)))
}

/// Products of unsigned lanes of `a` and signed lanes of `b`, adjacent ones added with signed saturation.
pub(crate) fn multiply_add_mixed(ty: Type, lane: Lane, a: u128, b: u128) -> u128 {
    let product = |i| lane_at(lane, a, i) as i64 * sign_extend(lane, lane_at(lane, b, i));
    build(ty, double(lane), |i| clamp_signed(double(lane), product(2 * i) + product(2 * i + 1)) as u64)
}

/// Products of the low half's lanes as polynomials.
pub(crate) fn multiply_polynomials(ty: Type, lane: Lane, a: u128, b: u128) -> u128 {
    build(ty, double(lane), |i| crypto::carryless(lane_at(lane, a, i), lane_at(lane, b, i)) as u64)
}

/// Sums of adjacent pairs of the lanes of `a` followed by those of `b`.
pub(crate) fn pair_add(ty: Type, lane: Lane, a: u128, b: u128) -> u128 {
    let count = ty.bytes() / lane.bytes();
    let at = |i| if i < count { lane_at(lane, a, i) } else { lane_at(lane, b, i - count) };
    build(ty, lane, |i| at(2 * i).wrapping_add(at(2 * i + 1)))
}

/// Signed products of the lanes, adjacent ones added.
pub(crate) fn multiply_add(ty: Type, lane: Lane, a: u128, b: u128) -> u128 {
    let product = |i| sign_extend(lane, lane_at(lane, a, i)).wrapping_mul(sign_extend(lane, lane_at(lane, b, i)));
    build(ty, double(lane), |i| product(2 * i).wrapping_add(product(2 * i + 1)) as u64)
}

/// Sum of the absolute differences of the bytes in each 64-bit lane.
pub(crate) fn sum_of_differences(ty: Type, a: u128, b: u128) -> u128 {
    let difference = |i| lane_at(Lane::I8, a, i).abs_diff(lane_at(Lane::I8, b, i));
    build(ty, Lane::I64, |i| (8 * i..8 * i + 8).map(difference).sum())
}

/// A lane shifted left; too far gives 0.
pub(crate) fn shift_left(lane: Lane, x: u64, count: u64) -> u64 {
    if count >= u64::from(lane_bits(lane)) { 0 } else { x << count }
}

/// A lane shifted right; too far gives 0.
pub(crate) fn shift_right(lane: Lane, x: u64, count: u64) -> u64 {
    if count >= u64::from(lane_bits(lane)) { 0 } else { x >> count }
}

/// A lane shifted right arithmetically; too far gives the sign.
pub(crate) fn shift_right_signed(lane: Lane, x: u64, count: u64) -> u64 {
    (sign_extend(lane, x) >> count.min(u64::from(lane_bits(lane)) - 1)) as u64
}

/// Number of leading zeros of every lane.
pub(crate) fn leading_zeros(ty: Type, lane: Lane, a: u128) -> u128 {
    map1(ty, lane, a, |x| u64::from(x.leading_zeros() - (64 - lane_bits(lane))))
}

/// Narrows the lanes of `a`, then those of `b`, with `clamp` to the narrow lane.
pub(crate) fn pack(ty: Type, lane: Lane, a: u128, b: u128, clamp: impl Fn(Lane, i64) -> i64) -> u128 {
    let (narrow, count) = (half(lane), ty.bytes() / lane.bytes());
    build(ty, narrow, |i| {
        let wide = if i < count { lane_at(lane, a, i) } else { lane_at(lane, b, i - count) };
        clamp(narrow, sign_extend(lane, wide)) as u64
    })
}

/// The low half of the lanes, sign-extended.
pub(crate) fn widen_signed(ty: Type, lane: Lane, a: u128) -> u128 {
    build(ty, double(lane), |i| sign_extend(lane, lane_at(lane, a, i)) as u64)
}

/// The low half of the lanes, zero-extended.
pub(crate) fn widen(ty: Type, lane: Lane, a: u128) -> u128 {
    build(ty, double(lane), |i| lane_at(lane, a, i))
}

/// The same lane everywhere.
pub(crate) fn duplicate(ty: Type, lane: Lane, x: u64) -> u128 {
    build(ty, lane, |_| x)
}

/// Lanes of `a` where the sign of `mask` is set, else of `b`.
pub(crate) fn blend(ty: Type, lane: Lane, mask: u128, a: u128, b: u128) -> u128 {
    build(ty, lane, |i| lane_at(lane, if sign_extend(lane, lane_at(lane, mask, i)) < 0 { a } else { b }, i))
}

/// Bytes from number `first` on of `a` followed by `b`.
pub(crate) fn align(ty: Type, a: u128, b: u128, first: u32) -> u128 {
    let low = a.checked_shr(8 * first).unwrap_or(0);
    (low | b.checked_shl(ty.bits() - 8 * first).unwrap_or(0)) & mask(ty)
}

/// Bytes of `a` by the numbers in `indices`; 0 where their top bit is set.
pub(crate) fn shuffle_bytes(ty: Type, a: u128, indices: u128) -> u128 {
    map1(ty, Lane::I8, indices, |index| {
        if index & 0x80 != 0 { 0 } else { lane_at(Lane::I8, a, index as u32 & (ty.bytes() - 1)) }
    })
}

/// The flags of a test of two vectors.
pub(crate) fn test(a: u128, b: u128) -> FlagSet {
    flag(FlagSet::Z, a & b == 0) | flag(FlagSet::C, !a & b == 0)
}

/// Interleaves the lanes of two vectors, from lane `from` on.
fn interleave(ty: Type, lane: Lane, a: u128, b: u128, from: u32) -> u128 {
    build(ty, lane, |i| lane_at(lane, if i % 2 == 0 { a } else { b }, from + i / 2))
}

/// Interleaves the low halves.
pub(crate) fn zip_low(ty: Type, lane: Lane, a: u128, b: u128) -> u128 {
    interleave(ty, lane, a, b, 0)
}

/// Interleaves the high halves.
pub(crate) fn zip_high(ty: Type, lane: Lane, a: u128, b: u128) -> u128 {
    interleave(ty, lane, a, b, ty.bytes() / lane.bytes() / 2)
}

/// Replaces the four lanes from `first` on by those among them that the 2-bit fields of the selector name.
pub(crate) fn shuffle(lane: Lane, a: u128, selector: u32, first: u32) -> u128 {
    (0..4).fold(a, |vector, i| with_lane(lane, vector, first + i, lane_at(lane, a, first + (selector >> (2 * i) & 3))))
}

/// Low half of the lanes chosen from `a`, high half from `b`, by consecutive fields of the selector.
pub(crate) fn shuffle2(ty: Type, lane: Lane, a: u128, b: u128, selector: u32) -> u128 {
    let count = ty.bytes() / lane.bytes();
    let width = count.trailing_zeros();
    build(ty, lane, |i| lane_at(lane, if i < count / 2 { a } else { b }, selector >> (width * i) & (count - 1)))
}

/// Sign bits of the lanes, lane 0 in bit 0.
pub(crate) fn move_mask(ty: Type, lane: Lane, a: u128) -> u64 {
    let lanes = ty.bytes() / lane.bytes();
    (0..lanes).fold(0, |bits, i| bits | (lane_at(lane, a, i) >> (lane_bits(lane) - 1)) << i)
}
