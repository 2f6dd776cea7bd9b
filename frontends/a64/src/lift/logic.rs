//! Logic, moves, bit fields, shifts and bits (Arm ARM C6.2).

use super::Lifter;
use super::arith::{shift_const, shifted, width};
use crate::decode::a64::{
    Asrv, Bfm, Cls, Clz, Extr, LogicalImm, LogicalShift, Lslv, Lsrv, Movk, Movn, Movz, Rbit, Rev16, Rev32, RevW, RevX,
    Rorv, Sbfm, Ubfm,
};
use isamorph_ir::{FlagSet, Op, Type, Value};

/// Ones in the low `bits` bits.
fn ones(bits: u32) -> u64 {
    u64::MAX.checked_shr(64 - bits).unwrap_or(0)
}

/// The constant of a logical instruction: ones, rotated within an element, the element repeated (Arm ARM,
/// DecodeBitMasks). Nothing if the encoding is reserved.
fn bit_mask(wide: bool, n: u32, immr: u32, imms: u32) -> Option<u64> {
    let length = 31u32.checked_sub((n << 6 | !imms & 0x3f).leading_zeros())?;
    let size = 1 << length;
    let (s, r) = (imms & (size - 1), immr & (size - 1));
    if length == 0 || s == size - 1 || (n == 1 && !wide) {
        return None;
    }
    let run = ones(s + 1);
    let element = if r == 0 { run } else { (run >> r | run << (size - r)) & ones(size) };
    let repeated = (0..64 / size).fold(0, |mask, i| mask | element << (i * size));
    Some(if wide { repeated } else { repeated & ones(32) })
}

/// `AND`, `ORR`, `EOR`, `ANDS`. The last sets PSTATE.C to 0, which is 1 in our sense.
fn logical(cx: &mut Lifter<'_>, opc: u32, x: Value, y: Value) -> Value {
    cx.b.bin([Op::And, Op::Or, Op::Xor, Op::And][opc as usize & 3], x, y)
}

fn set_logic_flags(cx: &mut Lifter<'_>, result: Value) {
    let flags = cx.b.flags(result);
    let flags = cx.b.flags_edit(Op::FlagsSet, flags, FlagSet::C);
    cx.set_flags(flags);
}

pub(super) fn logical_imm(cx: &mut Lifter<'_>, a: &LogicalImm) {
    let Some(mask) = bit_mask(a.sf == 1, a.n, a.immr, a.imms) else { return cx.undefined() };
    let y = cx.constant(width(a.sf), mask);
    let x = cx.reg(a.sf == 1, a.rn);
    let result = if a.rn == 31 && matches!(a.opc, 1 | 2) { y } else { logical(cx, a.opc, x, y) };
    if a.opc == 3 {
        cx.set(a.rd, result);
        set_logic_flags(cx, result);
    } else {
        cx.set_sp(a.rd, result);
    }
}

pub(super) fn logical_shift(cx: &mut Lifter<'_>, a: &LogicalShift) {
    let Some(mut y) = shifted(cx, a.sf == 1, a.rm, a.shift, a.imm6) else { return cx.undefined() };
    if a.n == 1 {
        y = cx.b.un(Op::Not, y);
    }
    // `MOV` and `MVN` are ORs with the zero register.
    let result = if a.rn == 31 && matches!(a.opc, 1 | 2) {
        y
    } else {
        let x = cx.reg(a.sf == 1, a.rn);
        logical(cx, a.opc, x, y)
    };
    cx.set(a.rd, result);
    if a.opc == 3 {
        set_logic_flags(cx, result);
    }
}

/// Whether the field selects a halfword that a W register does not have.
fn beyond(sf: u32, hw: u32) -> bool {
    sf == 0 && hw > 1
}

pub(super) fn movz(cx: &mut Lifter<'_>, a: &Movz) {
    if beyond(a.sf, a.hw) {
        return cx.undefined();
    }
    let v = cx.constant(width(a.sf), u64::from(a.imm16) << (16 * a.hw));
    cx.set(a.rd, v);
}

pub(super) fn movn(cx: &mut Lifter<'_>, a: &Movn) {
    if beyond(a.sf, a.hw) {
        return cx.undefined();
    }
    let v = cx.constant(width(a.sf), !(u64::from(a.imm16) << (16 * a.hw)));
    cx.set(a.rd, v);
}

/// A run of moves builds a constant, which is found out here.
pub(super) fn movk(cx: &mut Lifter<'_>, a: &Movk) {
    if beyond(a.sf, a.hw) {
        return cx.undefined();
    }
    let old = cx.reg(a.sf == 1, a.rd);
    let (mask, bits) = (0xffff << (16 * a.hw), u64::from(a.imm16) << (16 * a.hw));
    let result = match cx.b.region().const_bits(old) {
        Some(known) => cx.constant(width(a.sf), known & !mask | bits),
        None => insert_bits(cx, old, mask, bits),
    };
    cx.set(a.rd, result);
}

/// `old` with constant bits at those of the mask.
fn insert_bits(cx: &mut Lifter<'_>, old: Value, mask: u64, bits: u64) -> Value {
    let ty = cx.b.ty(old);
    let keep = cx.constant(ty, !mask);
    let kept = cx.b.bin(Op::And, old, keep);
    if bits == 0 {
        return kept;
    }
    let new = cx.constant(ty, bits);
    cx.b.bin(Op::Or, kept, new)
}

/// Whether the numbers of a bit-field instruction do not fit its width.
fn misfit(sf: u32, n: u32, immr: u32, imms: u32) -> bool {
    n != sf || (sf == 0 && (immr | imms) > 31)
}

/// The low `bits` bits, zero-extended.
fn low_bits(cx: &mut Lifter<'_>, v: Value, bits: u32) -> Value {
    let ty = cx.b.ty(v);
    if bits >= ty.bits() || cx.b.region().const_bits(v) == Some(0) {
        return v;
    }
    let part = match bits {
        8 => Type::I8,
        16 => Type::I16,
        32 => Type::I32,
        _ => {
            let mask = cx.constant(ty, ones(bits));
            return cx.b.bin(Op::And, v, mask);
        }
    };
    let low = cx.narrow(v, part);
    if ty == Type::I64 { cx.extend(low) } else { cx.b.convert(Op::Zext, ty, &[low]) }
}

pub(super) fn ubfm(cx: &mut Lifter<'_>, a: &Ubfm) {
    if misfit(a.sf, a.n, a.immr, a.imms) {
        return cx.undefined();
    }
    let v = cx.reg(a.sf == 1, a.rn);
    let bits = width(a.sf).bits();
    let result = if a.imms == bits - 1 {
        shift_const(cx, Op::Shr, v, a.immr)
    } else if a.imms >= a.immr {
        let down = shift_const(cx, Op::Shr, v, a.immr);
        low_bits(cx, down, a.imms - a.immr + 1)
    } else {
        // A left shift by itself loses the bits above the field if it ends at the top.
        let field = if a.imms + 1 == a.immr { v } else { low_bits(cx, v, a.imms + 1) };
        shift_const(cx, Op::Shl, field, bits - a.immr)
    };
    cx.set(a.rd, result);
}

pub(super) fn sbfm(cx: &mut Lifter<'_>, a: &Sbfm) {
    if misfit(a.sf, a.n, a.immr, a.imms) {
        return cx.undefined();
    }
    let v = cx.reg(a.sf == 1, a.rn);
    let ty = width(a.sf);
    let top = ty.bits() - 1 - a.imms;
    let part = [Type::I8, Type::I16, Type::I32].into_iter().find(|t| t.bits() == a.imms + 1 && t.bits() < ty.bits());
    let result = match part {
        Some(part) if a.immr == 0 && a.rn != 31 => {
            let low = cx.narrow(v, part);
            cx.b.convert(Op::Sext, ty, &[low])
        }
        // The field goes to the top, and comes down with its sign.
        _ => {
            let up = shift_const(cx, Op::Shl, v, top);
            let at = if a.imms >= a.immr { 0 } else { ty.bits() - a.immr };
            shift_const(cx, Op::Sar, up, if at == 0 { top + a.immr } else { top - at })
        }
    };
    cx.set(a.rd, result);
}

pub(super) fn bfm(cx: &mut Lifter<'_>, a: &Bfm) {
    if misfit(a.sf, a.n, a.immr, a.imms) {
        return cx.undefined();
    }
    let (old, v) = (cx.reg(a.sf == 1, a.rd), cx.reg(a.sf == 1, a.rn));
    let bits = width(a.sf).bits();
    // Lowest bit in the destination, lowest bit in the source, width.
    let (to, from, count) =
        if a.imms >= a.immr { (0, a.immr, a.imms - a.immr + 1) } else { (bits - a.immr, 0, a.imms + 1) };
    let down = shift_const(cx, Op::Shr, v, from);
    let field = if from + count == bits || to + count == bits { down } else { low_bits(cx, down, count) };
    let field = shift_const(cx, Op::Shl, field, to);
    let kept = insert_bits(cx, old, ones(count) << to, 0);
    let result = if a.rn == 31 { kept } else { cx.b.bin(Op::Or, kept, field) };
    cx.set(a.rd, result);
}

/// `EXTR`, and `ROR` by a constant if both sources are the same.
pub(super) fn extr(cx: &mut Lifter<'_>, a: &Extr) {
    if misfit(a.sf, a.n, 0, a.imms) {
        return cx.undefined();
    }
    let low = cx.reg(a.sf == 1, a.rm);
    let result = if a.rn == a.rm {
        shift_const(cx, Op::Ror, low, a.imms)
    } else if a.imms == 0 {
        low
    } else {
        let high = cx.reg(a.sf == 1, a.rn);
        let count = cx.constant(Type::I8, u64::from(a.imms));
        cx.b.multi(Op::Shrd, &[low, high, count, Value::NONE])
    };
    cx.set(a.rd, result);
}

/// A shift by a register, modulo the width.
fn shift(cx: &mut Lifter<'_>, op: Op, sf: u32, [rd, rn, rm]: [u32; 3]) {
    let v = cx.reg(sf == 1, rn);
    let count = cx.reg(sf == 1, rm);
    let count = cx.narrow(count, Type::I8);
    let flags = cx.constant_flags(FlagSet::empty());
    let result = cx.b.multi(op, &[v, count, flags]);
    cx.set(rd, result);
}

pub(super) fn lslv(cx: &mut Lifter<'_>, a: &Lslv) {
    shift(cx, Op::Shl, a.sf, [a.rd, a.rn, a.rm]);
}

pub(super) fn lsrv(cx: &mut Lifter<'_>, a: &Lsrv) {
    shift(cx, Op::Shr, a.sf, [a.rd, a.rn, a.rm]);
}

pub(super) fn asrv(cx: &mut Lifter<'_>, a: &Asrv) {
    shift(cx, Op::Sar, a.sf, [a.rd, a.rn, a.rm]);
}

pub(super) fn rorv(cx: &mut Lifter<'_>, a: &Rorv) {
    shift(cx, Op::Ror, a.sf, [a.rd, a.rn, a.rm]);
}

fn unary(cx: &mut Lifter<'_>, op: Op, wide: bool, rd: u32, rn: u32) {
    let v = cx.reg(wide, rn);
    let result = cx.b.un(op, v);
    cx.set(rd, result);
}

pub(super) fn rbit(cx: &mut Lifter<'_>, a: &Rbit) {
    unary(cx, Op::BitRev, a.sf == 1, a.rd, a.rn);
}

pub(super) fn rev_w(cx: &mut Lifter<'_>, a: &RevW) {
    unary(cx, Op::Bswap, false, a.rd, a.rn);
}

pub(super) fn rev_x(cx: &mut Lifter<'_>, a: &RevX) {
    unary(cx, Op::Bswap, true, a.rd, a.rn);
}

/// Bytes of each word in reverse order: those of the doubleword, then the words change places.
pub(super) fn rev32(cx: &mut Lifter<'_>, a: &Rev32) {
    let v = cx.x(a.rn);
    let reversed = cx.b.un(Op::Bswap, v);
    let result = shift_const(cx, Op::Ror, reversed, 32);
    cx.set(a.rd, result);
}

/// The two bytes of each halfword change places.
pub(super) fn rev16(cx: &mut Lifter<'_>, a: &Rev16) {
    let v = cx.reg(a.sf == 1, a.rn);
    let mask = cx.constant(width(a.sf), 0x00ff_00ff_00ff_00ff);
    let down = shift_const(cx, Op::Shr, v, 8);
    let down = cx.b.bin(Op::And, down, mask);
    let low = cx.b.bin(Op::And, v, mask);
    let up = shift_const(cx, Op::Shl, low, 8);
    let result = cx.b.bin(Op::Or, down, up);
    cx.set(a.rd, result);
}

pub(super) fn clz(cx: &mut Lifter<'_>, a: &Clz) {
    unary(cx, Op::Lzcnt, a.sf == 1, a.rd, a.rn);
}

/// Bits below the sign that are like it: leading zeros, less the sign, after a negative number is complemented.
pub(super) fn cls(cx: &mut Lifter<'_>, a: &Cls) {
    let v = cx.reg(a.sf == 1, a.rn);
    let signs = shift_const(cx, Op::Sar, v, width(a.sf).bits() - 1);
    let folded = cx.b.bin(Op::Xor, v, signs);
    let zeros = cx.b.un(Op::Lzcnt, folded);
    let result = cx.add_const(zeros, -1);
    cx.set(a.rd, result);
}

#[cfg(test)]
mod tests {
    use super::bit_mask;

    #[test]
    fn bit_masks_are_runs_that_repeat() {
        assert_eq!(bit_mask(true, 1, 0, 0), Some(1));
        assert_eq!(bit_mask(true, 1, 1, 0), Some(1 << 63));
        assert_eq!(bit_mask(true, 0, 0, 0b11_1100), Some(0x5555_5555_5555_5555));
        assert_eq!(bit_mask(false, 0, 0, 0b11_0011), Some(0x0f0f_0f0f));
        assert_eq!(bit_mask(false, 0, 4, 0b00_0111), Some(0xf000_000f));
        assert_eq!(bit_mask(true, 1, 0, 63), None, "all ones");
        assert_eq!(bit_mask(true, 0, 0, 0b11_1110), None, "an element of one bit");
        assert_eq!(bit_mask(false, 1, 0, 0), None, "an element of 64 bits in a W register");
        assert_eq!(bit_mask(true, 0, 0, 0b11_1111), None);
    }
}
