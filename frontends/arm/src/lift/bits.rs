//! Bit fields, extension, reversal, counting, CRC (DDI 0406C A4.4.6, A8.8; DDI 0487 F5.1 CRC32).

use super::{Lifter, alu};
use crate::cpu::Arch;
use isamorph_ir::{Op, Type, Value};

const fn ones(width: u32) -> u32 {
    if width >= 32 { u32::MAX } else { (1 << width) - 1 }
}

/// SBFX and UBFX.
pub(super) fn extract(cx: &mut Lifter<'_>, unsigned: bool, rd: u32, rn: u32, lsb: u32, widthm1: u32) {
    if !cx.needs(Arch::V6T2) || !cx.require(lsb + widthm1 < 32) {
        return;
    }
    let (value, width) = (cx.reg(rn), widthm1 + 1);
    let narrow = match width {
        8 => Some(Type::I8),
        16 => Some(Type::I16),
        _ => None,
    };
    let result = match (narrow, lsb, unsigned) {
        (_, 0, _) if width == 32 => value,
        (Some(ty), 0, _) => {
            let part = cx.b.convert(Op::Trunc, ty, &[value]);
            cx.b.convert(if unsigned { Op::Zext } else { Op::Sext }, Type::I32, &[part])
        }
        (_, 0, true) => cx.bin_const(Op::And, value, ones(width)),
        (_, lsb, true) => {
            let shifted = cx.shift(Op::Shr, value, lsb);
            if lsb + width == 32 { shifted } else { cx.bin_const(Op::And, shifted, ones(width)) }
        }
        (_, lsb, false) => {
            let up = 32 - width - lsb;
            let top = if up == 0 { value } else { cx.shift(Op::Shl, value, up) };
            cx.shift(Op::Sar, top, 32 - width)
        }
    };
    cx.set_reg(rd, result);
}

/// BFI, and BFC where the source is R15.
pub(super) fn insert(cx: &mut Lifter<'_>, rd: u32, rn: u32, lsb: u32, msb: u32) {
    if !cx.needs(Arch::V6T2) || !cx.require(msb >= lsb) {
        return;
    }
    let mask = ones(msb - lsb + 1) << lsb;
    let old = cx.reg(rd);
    let kept = cx.bin_const(Op::And, old, !mask);
    if rn == 15 {
        return cx.set_reg(rd, kept);
    }
    let value = cx.reg(rn);
    let placed = if lsb == 0 { value } else { cx.shift(Op::Shl, value, lsb) };
    let placed = cx.bin_const(Op::And, placed, mask);
    let result = cx.b.bin(Op::Or, kept, placed);
    cx.set_reg(rd, result);
}

/// What an extension takes from its source.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The lowest byte.
    Byte,
    /// The low halfword.
    Half,
    /// Bytes 0 and 2, to halfwords.
    Bytes,
}

/// SXTB and its kin, which rotate first and add `rn` unless it is R15.
pub(super) fn extend(cx: &mut Lifter<'_>, part: Part, unsigned: bool, rd: u32, rn: u32, rm: u32, rot: u32) {
    if !cx.needs(Arch::V6) {
        return;
    }
    let value = cx.reg(rm);
    let value = if rot == 0 { value } else { cx.shift(Op::Ror, value, 8 * rot) };
    let extended = match part {
        Part::Byte => narrow(cx, Type::I8, unsigned, value),
        Part::Half => narrow(cx, Type::I16, unsigned, value),
        Part::Bytes if unsigned => cx.bin_const(Op::And, value, 0x00ff_00ff),
        Part::Bytes => {
            let low = narrow(cx, Type::I8, false, value);
            let low = cx.bin_const(Op::And, low, 0xffff);
            let high = cx.shift(Op::Shl, value, 8);
            let high = cx.shift(Op::Sar, high, 8);
            let high = cx.bin_const(Op::And, high, 0xffff_0000);
            cx.b.bin(Op::Or, low, high)
        }
    };
    let result = match (rn, part) {
        (15, _) => extended,
        (_, Part::Bytes) => {
            let base = cx.reg(rn);
            super::media::add_halves(cx, base, extended)
        }
        _ => {
            let base = cx.reg(rn);
            cx.b.bin(Op::Add, base, extended)
        }
    };
    cx.set_reg(rd, result);
}

fn narrow(cx: &mut Lifter<'_>, ty: Type, unsigned: bool, value: Value) -> Value {
    let part = cx.b.convert(Op::Trunc, ty, &[value]);
    cx.b.convert(if unsigned { Op::Zext } else { Op::Sext }, Type::I32, &[part])
}

/// A way to reverse a register.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reverse {
    /// The bytes.
    Bytes,
    /// The bytes of each halfword.
    Halves,
    /// The bits.
    Bits,
    /// The bytes of the low halfword, sign-extended.
    SignedHalf,
}

/// REV, REV16, RBIT, REVSH.
pub(super) fn reverse(cx: &mut Lifter<'_>, kind: Reverse, rd: u32, rm: u32) {
    if !cx.needs(if kind == Reverse::Bits { Arch::V6T2 } else { Arch::V6 }) {
        return;
    }
    let value = cx.reg(rm);
    let result = match kind {
        Reverse::Bits => cx.b.un(Op::BitRev, value),
        Reverse::Bytes => cx.b.un(Op::Bswap, value),
        Reverse::Halves => {
            let swapped = cx.b.un(Op::Bswap, value);
            cx.shift(Op::Ror, swapped, 16)
        }
        Reverse::SignedHalf => {
            let swapped = cx.b.un(Op::Bswap, value);
            cx.shift(Op::Sar, swapped, 16)
        }
    };
    cx.set_reg(rd, result);
}

/// CLZ.
pub(super) fn clz(cx: &mut Lifter<'_>, rd: u32, rm: u32) {
    let value = cx.reg(rm);
    let zeros = cx.b.un(Op::Lzcnt, value);
    cx.set_reg(rd, zeros);
}

/// CRC32 and CRC32C of a byte, halfword or word.
pub(super) fn crc(cx: &mut Lifter<'_>, castagnoli: bool, size: u32, rd: u32, rn: u32, rm: u32) {
    if !cx.needs(Arch::V8) {
        return;
    }
    let (sum, data) = (cx.reg(rn), cx.reg(rm));
    let data = match size {
        0 => cx.b.convert(Op::Trunc, Type::I8, &[data]),
        1 => cx.b.convert(Op::Trunc, Type::I16, &[data]),
        _ => data,
    };
    let polynomial = u32::from(!castagnoli);
    let inst = isamorph_ir::Inst {
        op: Op::Crc,
        ty: Type::I32,
        attr: 0,
        args: [sum, data, Value::NONE, Value::NONE],
        imm: polynomial,
    };
    let result = cx.b.push(inst);
    cx.set_reg(rd, result);
}

/// MOVW.
pub(super) fn move_wide(cx: &mut Lifter<'_>, rd: u32, imm16: u32) {
    if cx.needs(Arch::V6T2) {
        let value = cx.int(imm16);
        cx.set_reg(rd, value);
    }
}

/// MOVT.
pub(super) fn move_top(cx: &mut Lifter<'_>, rd: u32, imm16: u32) {
    if !cx.needs(Arch::V6T2) {
        return;
    }
    let old = cx.reg(rd);
    let result = match cx.constant(old) {
        Some(bits) => cx.int(bits & 0xffff | imm16 << 16),
        None => {
            let low = cx.bin_const(Op::And, old, 0xffff);
            cx.bin_const(Op::Or, low, imm16 << 16)
        }
    };
    cx.set_reg(rd, result);
}

/// PKHBT and PKHTB.
pub(super) fn pack(cx: &mut Lifter<'_>, top_first: bool, rd: u32, rn: u32, rm: u32, imm5: u32) {
    if !cx.needs(Arch::V6) {
        return;
    }
    let (n, m) = (cx.reg(rn), cx.reg(rm));
    let m = super::shift::by_constant(cx, m, if top_first { 2 } else { 0 }, imm5).value;
    let (high, low) = if top_first { (n, m) } else { (m, n) };
    let high = cx.bin_const(Op::And, high, 0xffff_0000);
    let low = cx.bin_const(Op::And, low, 0xffff);
    let result = cx.b.bin(Op::Or, high, low);
    cx.set_reg(rd, result);
}

/// SEL: bytes of `rn` where GE is set, of `rm` elsewhere.
pub(super) fn select(cx: &mut Lifter<'_>, rd: u32, rn: u32, rm: u32) {
    if !cx.needs(Arch::V6) {
        return;
    }
    let (n, m, mask) = (cx.reg(rn), cx.reg(rm), cx.b.get(crate::state::GE));
    let taken = cx.b.bin(Op::And, n, mask);
    let rest = alu::complement(cx, mask);
    let rest = cx.b.bin(Op::And, m, rest);
    let result = cx.b.bin(Op::Or, taken, rest);
    cx.set_reg(rd, result);
}
