//! Integer arithmetic and its flags. Operands are zero above their type's width, and so are results.

use crate::Slot;
use isamorph_ir::{FlagSet, Op, Trap, Type};

/// The flag if the condition holds.
pub(crate) fn flag(flag: FlagSet, condition: bool) -> FlagSet {
    if condition { flag } else { FlagSet::empty() }
}

/// Whether the carry flag is set.
pub(crate) fn carry(flags: FlagSet) -> bool {
    flags.contains(FlagSet::C)
}

/// The most significant bit of a value of that type.
pub(crate) fn sign(ty: Type, bits: u64) -> bool {
    bits >> (ty.bits() - 1) & 1 != 0
}

/// The value of a two's complement number.
pub(crate) fn sign_extend(ty: Type, bits: u64) -> i64 {
    let unused = 64 - ty.bits();
    ((bits << unused) as i64) >> unused
}

/// The flags that only depend on the result: S, Z, P.
pub(crate) fn result_flags(ty: Type, bits: u64) -> FlagSet {
    flag(FlagSet::S, sign(ty, bits))
        | flag(FlagSet::Z, bits == 0)
        | flag(FlagSet::P, (bits as u8).count_ones().is_multiple_of(2))
}

/// The ops that make up most of any program.
#[inline]
pub(crate) fn basic(op: Op, ty: Type, a: u64, b: u64) -> (u64, FlagSet) {
    match op {
        Op::Add => sum(ty, a, b, false),
        Op::Sub => difference(ty, a, b, false),
        Op::And => bitwise(ty, a & b),
        Op::Or => bitwise(ty, a | b),
        _ => bitwise(ty, a ^ b),
    }
}

/// Sum of three; the carries out of every bit are the majority of the operands and the complement of the result.
#[inline]
fn sum(ty: Type, a: u64, b: u64, carry: bool) -> (u64, FlagSet) {
    let sum = a.wrapping_add(b).wrapping_add(u64::from(carry)) & ty.mask();
    let carries = (a & b) | ((a | b) & !sum);
    let flags = flag(FlagSet::C, sign(ty, carries))
        | flag(FlagSet::A, carries & 8 != 0)
        | flag(FlagSet::O, sign(ty, (a ^ sum) & (b ^ sum)));
    (sum, flags | result_flags(ty, sum))
}

/// `a + b + carry`.
pub(crate) fn add(ty: Type, a: u64, b: u64, carry: bool) -> Slot {
    let (bits, flags) = sum(ty, a, b, carry);
    Slot::arith(bits, flags)
}

/// Difference of three.
#[inline]
fn difference(ty: Type, a: u64, b: u64, borrow: bool) -> (u64, FlagSet) {
    let difference = a.wrapping_sub(b).wrapping_sub(u64::from(borrow)) & ty.mask();
    let borrows = (!a & b) | ((!a | b) & difference);
    let flags = flag(FlagSet::C, sign(ty, borrows))
        | flag(FlagSet::A, borrows & 8 != 0)
        | flag(FlagSet::O, sign(ty, (a ^ b) & (a ^ difference)));
    (difference, flags | result_flags(ty, difference))
}

/// `a − b − borrow`.
pub(crate) fn sub(ty: Type, a: u64, b: u64, borrow: bool) -> Slot {
    let (bits, flags) = difference(ty, a, b, borrow);
    Slot::arith(bits, flags)
}

/// The result of a bitwise op; A, which is undefined, is 0.
#[inline]
fn bitwise(ty: Type, bits: u64) -> (u64, FlagSet) {
    (bits, result_flags(ty, bits))
}

/// The flags of a product. S and P, which are undefined, are those of the low half; Z and A are 0.
fn product_flags(ty: Type, low: u64, overflow: bool) -> FlagSet {
    flag(FlagSet::C | FlagSet::O, overflow) | (result_flags(ty, low) - FlagSet::Z)
}

/// Signed product: low half, and high half as the second result.
pub(crate) fn mul_signed(ty: Type, a: u64, b: u64) -> Slot {
    let product = i128::from(sign_extend(ty, a)) * i128::from(sign_extend(ty, b));
    let low = product as u64 & ty.mask();
    let high = (product >> ty.bits()) as u64 & ty.mask();
    let overflow = product != i128::from(sign_extend(ty, low));
    Slot { second: high, ..Slot::arith(low, product_flags(ty, low, overflow)) }
}

/// Unsigned product: low half, and high half as the second result.
pub(crate) fn mul_unsigned(ty: Type, a: u64, b: u64) -> Slot {
    let product = u128::from(a) * u128::from(b);
    let low = product as u64 & ty.mask();
    let high = (product >> ty.bits()) as u64;
    Slot { second: high, ..Slot::arith(low, product_flags(ty, low, high != 0)) }
}

/// Unsigned division of `high:low`: quotient, and remainder as the second result.
pub(crate) fn div_unsigned(ty: Type, high: u64, low: u64, divisor: u64) -> Result<Slot, Trap> {
    let dividend = u128::from(high) << ty.bits() | u128::from(low);
    let divisor = u128::from(divisor);
    let quotient = dividend.checked_div(divisor).ok_or(Trap::Divide)?;
    if quotient > u128::from(ty.mask()) {
        return Err(Trap::Divide);
    }
    Ok(Slot { second: (dividend % divisor) as u64, ..Slot::int(quotient as u64) })
}

/// Signed division of `high:low`: quotient, and remainder as the second result.
pub(crate) fn div_signed(ty: Type, high: u64, low: u64, divisor: u64) -> Result<Slot, Trap> {
    let dividend = i128::from(sign_extend(ty, high)) << ty.bits() | i128::from(low);
    let divisor = i128::from(sign_extend(ty, divisor));
    let quotient = dividend.checked_div(divisor).ok_or(Trap::Divide)?;
    let bits = quotient as u64 & ty.mask();
    if i128::from(sign_extend(ty, bits)) != quotient {
        return Err(Trap::Divide);
    }
    Ok(Slot { second: (dividend % divisor) as u64 & ty.mask(), ..Slot::int(bits) })
}

/// Signed quotient, which wraps; 0 if the divisor is 0.
pub(crate) fn quotient_signed(ty: Type, a: u64, b: u64) -> Slot {
    let (a, b) = (sign_extend(ty, a), sign_extend(ty, b));
    Slot::int(if b == 0 { 0 } else { a.wrapping_div(b) as u64 & ty.mask() })
}

/// The result of a bit scan of `a` that found `index`, or `other` if there is no bit. All flags but Z are undefined;
/// they are 0.
pub(crate) fn scan(a: u64, other: u64, index: u32) -> Slot {
    if a == 0 { Slot::arith(other, FlagSet::Z) } else { Slot::arith(u64::from(index), FlagSet::empty()) }
}

/// Number of set bits.
pub(crate) fn count_ones(a: u64) -> Slot {
    Slot::arith(u64::from(a.count_ones()), flag(FlagSet::Z, a == 0))
}

/// The result of counting the zeros of `a`; the undefined flags are 0.
pub(crate) fn count_zeros(a: u64, count: u32) -> Slot {
    Slot::arith(u64::from(count), flag(FlagSet::C, a == 0) | flag(FlagSet::Z, count == 0))
}

/// What a bit op does with the bit it has tested.
#[derive(Clone, Copy)]
pub(crate) enum Bit {
    /// Nothing.
    Test,
    /// Sets it.
    Set,
    /// Clears it.
    Clear,
    /// Flips it.
    Flip,
}

/// Tests bit `index` (mod width) into C.
pub(crate) fn bit(what: Bit, ty: Type, a: u64, index: u64, old: FlagSet) -> Slot {
    let bit = 1 << (index % u64::from(ty.bits()));
    let result = match what {
        Bit::Test => a,
        Bit::Set => a | bit,
        Bit::Clear => a & !bit,
        Bit::Flip => a ^ bit,
    };
    Slot::arith(result, (old - FlagSet::C) | flag(FlagSet::C, a & bit != 0))
}

/// `a` with `part`, of type `narrow`, at bit offset `at`.
pub(crate) fn insert(narrow: Type, a: u64, part: u64, at: u32) -> Slot {
    Slot::int((a & !(narrow.mask() << at)) | part << at)
}
