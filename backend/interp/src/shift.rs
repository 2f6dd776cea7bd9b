//! Shifts and rotates. The count is masked to 5 bits (6 for i64) whatever the width; a masked count of zero leaves
//! the operand and the old flags.
//!
//! Flags that have no defined value follow one formula for all counts: it gives the defined value where there is one,
//! and 0 for A.

use crate::Slot;
use crate::int::{carry, flag, result_flags, sign, sign_extend};
use isamorph_ir::{FlagSet, Type};

/// Which way a rotate goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Towards the most significant bit.
    Left,
    /// Towards the least significant bit.
    Right,
}

/// The count as the processor takes it.
fn masked(ty: Type, count: u64) -> u32 {
    count as u32 & if ty == Type::I64 { 63 } else { 31 }
}

/// O after a shift or rotate to the left: whether the sign differs from the carry.
fn left_overflow(ty: Type, result: u64, carry: bool) -> FlagSet {
    flag(FlagSet::O, sign(ty, result) != carry)
}

/// O after a shift or rotate to the right: whether the two topmost bits differ.
fn right_overflow(ty: Type, result: u64) -> FlagSet {
    flag(FlagSet::O, sign(ty, result ^ result << 1))
}

fn shifted(ty: Type, result: u64, carry: bool, overflow: FlagSet) -> Slot {
    Slot::arith(result, flag(FlagSet::C, carry) | overflow | result_flags(ty, result))
}

/// Shift left.
pub(crate) fn shl(ty: Type, a: u64, count: u64, old: FlagSet) -> Slot {
    let n = masked(ty, count);
    if n == 0 {
        return Slot::arith(a, old);
    }
    let wide = u128::from(a) << n;
    let result = wide as u64 & ty.mask();
    let carry = wide >> ty.bits() & 1 != 0;
    shifted(ty, result, carry, left_overflow(ty, result, carry))
}

/// Logical shift right.
pub(crate) fn shr(ty: Type, a: u64, count: u64, old: FlagSet) -> Slot {
    let n = masked(ty, count);
    if n == 0 {
        return Slot::arith(a, old);
    }
    let result = a >> n;
    shifted(ty, result, a >> (n - 1) & 1 != 0, right_overflow(ty, result))
}

/// Arithmetic shift right.
pub(crate) fn sar(ty: Type, a: u64, count: u64, old: FlagSet) -> Slot {
    let n = masked(ty, count);
    if n == 0 {
        return Slot::arith(a, old);
    }
    let value = sign_extend(ty, a);
    let result = (value >> n) as u64 & ty.mask();
    shifted(ty, result, value >> (n - 1) & 1 != 0, FlagSet::empty())
}

/// Rotate; only C and O change.
pub(crate) fn rotate(direction: Direction, ty: Type, a: u64, count: u64, old: FlagSet) -> Slot {
    let (n, width) = (masked(ty, count), ty.bits());
    if n == 0 {
        return Slot::arith(a, old);
    }
    let left = if direction == Direction::Left { n % width } else { (width - n % width) % width };
    let wide = u128::from(a) << left;
    let result = (wide as u64 | (wide >> width) as u64) & ty.mask();
    let kept = old - FlagSet::C - FlagSet::O;
    let changed = match direction {
        Direction::Left => flag(FlagSet::C, result & 1 != 0) | left_overflow(ty, result, result & 1 != 0),
        Direction::Right => flag(FlagSet::C, sign(ty, result)) | right_overflow(ty, result),
    };
    Slot::arith(result, kept | changed)
}

/// Rotate of the operand with the carry above it; only C and O change.
pub(crate) fn rotate_carry(direction: Direction, ty: Type, a: u64, count: u64, old: FlagSet) -> Slot {
    let (n, width) = (masked(ty, count), ty.bits() + 1);
    if n == 0 {
        return Slot::arith(a, old);
    }
    let left = if direction == Direction::Left { n % width } else { (width - n % width) % width };
    // At most 65 bits wide; shifting by up to 64 loses nothing that the second term does not bring back.
    let ring = u128::from(carry(old)) << ty.bits() | u128::from(a);
    let turned = ring << left | ring >> (width - left);
    let result = turned as u64 & ty.mask();
    let carry = turned >> ty.bits() & 1 != 0;
    let overflow = match direction {
        Direction::Left => left_overflow(ty, result, carry),
        Direction::Right => right_overflow(ty, result),
    };
    Slot::arith(result, (old - FlagSet::C - FlagSet::O) | flag(FlagSet::C, carry) | overflow)
}

/// Shift of `a` that brings in bits of `b`. An i16 shifted by more than 16, which has no defined result, goes on with
/// the bits of `a`, as Intel's processors do.
pub(crate) fn double(direction: Direction, ty: Type, [a, b]: [u64; 2], count: u64, old: FlagSet) -> Slot {
    let (n, width) = (masked(ty, count), ty.bits());
    if n == 0 {
        return Slot::arith(a, old);
    }
    // `a` on both sides of `b`, where the count can reach that far.
    let [wide_a, wide_b] = [u128::from(a), u128::from(b)];
    let narrow = width < 64;
    let (repeated, total) = if narrow { (wide_a, 3 * width) } else { (0, 2 * width) };
    match direction {
        Direction::Left => {
            let ring = wide_a << (total - width) | wide_b << (total - 2 * width) | repeated;
            let result = (ring >> (total - width - n)) as u64 & ty.mask();
            let carry = ring >> (total - n) & 1 != 0;
            shifted(ty, result, carry, left_overflow(ty, result, carry))
        }
        Direction::Right => {
            let ring = repeated << (total - width) | wide_b << width | wide_a;
            let result = (ring >> n) as u64 & ty.mask();
            shifted(ty, result, ring >> (n - 1) & 1 != 0, right_overflow(ty, result))
        }
    }
}
