//! Addition, subtraction, multiplication, division, conditional compare and select (Arm ARM C6.2).

use super::{Lifter, condition};
use crate::decode::a64::{
    AddSubCarry, AddSubExt, AddSubImm, AddSubShift, Adr, Adrp, CondCmpImm, CondCmpReg, CondSelect, Crc32, Crc32X,
    MulAdd, MulAddLong, MulHigh, Rmif, Sdiv, Setf8, Setf16, Udiv,
};
use crate::state::flags_of_nzcv;
use isamorph_ir::{FlagSet, Inst, Op, Type, Value};

/// The type of a width field.
pub(super) fn width(sf: u32) -> Type {
    if sf == 1 { Type::I64 } else { Type::I32 }
}

fn page_offset(immhi: u32, immlo: u32) -> i64 {
    super::signed(immhi << 2 | immlo, 21)
}

pub(super) fn adr(cx: &mut Lifter<'_>, a: &Adr) {
    let address = cx.constant(Type::I64, cx.pc.wrapping_add_signed(page_offset(a.immhi, a.immlo)));
    cx.set(a.rd, address);
}

pub(super) fn adrp(cx: &mut Lifter<'_>, a: &Adrp) {
    let page = (cx.pc & !0xfff).wrapping_add_signed(page_offset(a.immhi, a.immlo) << 12);
    let address = cx.constant(Type::I64, page);
    cx.set(a.rd, address);
}

/// The sum or difference, which is a value of its own even if one operand is zero; without flags a copy will do.
fn add_sub(cx: &mut Lifter<'_>, sub: bool, flags: bool, x: Value, y: Value) -> Value {
    let zero = |v: Value| cx.b.region().const_bits(v) == Some(0);
    match (sub, zero(x), zero(y)) {
        (_, _, true) if !flags => x,
        (false, true, _) if !flags => y,
        (true, true, _) => cx.b.un(Op::Neg, y),
        (true, ..) => cx.b.bin(Op::Sub, x, y),
        (false, ..) => cx.b.bin(Op::Add, x, y),
    }
}

/// Sets the flags that an addition or subtraction defined. PSTATE.C is the carry of an addition, so that our C is its
/// complement; after a subtraction it is the complement of the borrow, so that our C is the borrow.
fn set_flags_of(cx: &mut Lifter<'_>, sub: bool, v: Value) {
    let mut flags = cx.b.flags(v);
    if !sub {
        flags = cx.b.flags_edit(Op::FlagsNot, flags, FlagSet::C);
    }
    cx.set_flags(flags);
}

pub(super) fn add_sub_imm(cx: &mut Lifter<'_>, a: &AddSubImm) {
    let x = cx.reg_sp(a.sf == 1, a.rn);
    let y = cx.constant(width(a.sf), u64::from(a.imm12) << (12 * a.sh));
    let result = add_sub(cx, a.op == 1, a.s == 1, x, y);
    if a.s == 1 {
        cx.set(a.rd, result);
        set_flags_of(cx, a.op == 1, result);
    } else {
        cx.set_sp(a.rd, result);
    }
}

pub(super) fn add_sub_shift(cx: &mut Lifter<'_>, a: &AddSubShift) {
    let Some(y) = shifted(cx, a.sf == 1, a.rm, a.shift, a.imm6) else { return cx.undefined() };
    let x = cx.reg(a.sf == 1, a.rn);
    let result = add_sub(cx, a.op == 1, a.s == 1, x, y);
    cx.set(a.rd, result);
    if a.s == 1 {
        set_flags_of(cx, a.op == 1, result);
    }
}

/// A register shifted by a constant: LSL, LSR, ASR, ROR. Nothing if the amount is too large for the width.
pub(super) fn shifted(cx: &mut Lifter<'_>, wide: bool, rm: u32, shift: u32, amount: u32) -> Option<Value> {
    if !wide && amount > 31 {
        return None;
    }
    let v = cx.reg(wide, rm);
    Some(shift_const(cx, [Op::Shl, Op::Shr, Op::Sar, Op::Ror][shift as usize & 3], v, amount))
}

/// A shift by a constant less than the width. The flags that it defines are not used; a rotation wants some to keep.
pub(super) fn shift_const(cx: &mut Lifter<'_>, op: Op, v: Value, amount: u32) -> Value {
    if amount == 0 || cx.b.region().const_bits(v) == Some(0) {
        return v;
    }
    let count = cx.constant(Type::I8, u64::from(amount));
    let flags = if op == Op::Ror { cx.constant_flags(FlagSet::empty()) } else { Value::NONE };
    cx.b.multi(op, &[v, count, flags])
}

/// A register extended as the field `option` says (Arm ARM, ExtendReg), before it is shifted.
pub(super) fn extended(cx: &mut Lifter<'_>, wide: bool, rm: u32, option: u32) -> Value {
    let ty = if wide { Type::I64 } else { Type::I32 };
    let from = [Type::I8, Type::I16, Type::I32, Type::I64][option as usize & 3];
    if from.bits() >= ty.bits() {
        return cx.reg(wide, rm);
    }
    let full = cx.reg(wide, rm);
    let part = cx.narrow(full, from);
    let op = if option & 4 == 0 { Op::Zext } else { Op::Sext };
    if let Some(bits) = cx.b.region().const_bits(part) {
        let up = 64 - from.bits();
        let sign_extended = ((bits << up) as i64 >> up) as u64;
        return cx.constant(ty, if op == Op::Zext { bits } else { sign_extended });
    }
    if op == Op::Zext && wide { cx.extend(part) } else { cx.b.convert(op, ty, &[part]) }
}

pub(super) fn add_sub_ext(cx: &mut Lifter<'_>, a: &AddSubExt) {
    let y = extended(cx, a.sf == 1, a.rm, a.option);
    let y = shift_const(cx, Op::Shl, y, a.imm3);
    let x = cx.reg_sp(a.sf == 1, a.rn);
    let result = add_sub(cx, a.op == 1, a.s == 1, x, y);
    if a.s == 1 {
        cx.set(a.rd, result);
        set_flags_of(cx, a.op == 1, result);
    } else {
        cx.set_sp(a.rd, result);
    }
}

/// `ADC` adds PSTATE.C, the complement of ours; `SBC` subtracts its complement, which is ours.
pub(super) fn add_sub_carry(cx: &mut Lifter<'_>, a: &AddSubCarry) {
    let (x, y) = (cx.reg(a.sf == 1, a.rn), cx.reg(a.sf == 1, a.rm));
    let mut flags = cx.flags();
    if a.op == 0 {
        flags = cx.b.flags_edit(Op::FlagsNot, flags, FlagSet::C);
    }
    let result = cx.b.multi(if a.op == 1 { Op::Sbb } else { Op::Adc }, &[x, y, flags]);
    cx.set(a.rd, result);
    if a.s == 1 {
        set_flags_of(cx, a.op == 1, result);
    }
}

/// `CCMP` and `CCMN`: the flags of a comparison, or those in the instruction.
fn conditional_compare(cx: &mut Lifter<'_>, sub: bool, x: Value, y: Value, cond: u32, nzcv: u32) {
    let Some(cond) = condition(cond) else {
        let result = cx.b.bin(if sub { Op::Sub } else { Op::Add }, x, y);
        return set_flags_of(cx, sub, result);
    };
    let mut otherwise = flags_of_nzcv(nzcv);
    if !sub {
        // They are complemented together with the flags of the sum.
        otherwise.toggle(FlagSet::C);
    }
    let flags = cx.flags();
    let result = cx.b.push(Inst {
        op: if sub { Op::CmpIf } else { Op::CmnIf },
        ty: cx.b.ty(x),
        attr: cond as u8,
        args: [x, y, flags, Value::NONE],
        imm: u32::from(otherwise.to_attr()),
    });
    set_flags_of(cx, sub, result);
}

pub(super) fn cond_cmp_reg(cx: &mut Lifter<'_>, a: &CondCmpReg) {
    let (x, y) = (cx.reg(a.sf == 1, a.rn), cx.reg(a.sf == 1, a.rm));
    conditional_compare(cx, a.op == 1, x, y, a.cond, a.nzcv);
}

pub(super) fn cond_cmp_imm(cx: &mut Lifter<'_>, a: &CondCmpImm) {
    let x = cx.reg(a.sf == 1, a.rn);
    let y = cx.constant(width(a.sf), u64::from(a.imm5));
    conditional_compare(cx, a.op == 1, x, y, a.cond, a.nzcv);
}

/// `CSEL`, `CSINC`, `CSINV`, `CSNEG`. Of the zero register they give 0 and 1 or 0 and −1 (`CSET`, `CSETM`).
pub(super) fn cond_select(cx: &mut Lifter<'_>, a: &CondSelect) {
    let x = cx.reg(a.sf == 1, a.rn);
    let Some(cond) = condition(a.cond) else { return cx.set(a.rd, x) };
    let flags = cx.flags();
    if a.rn == 31 && a.rm == 31 && (a.op ^ a.o2) == 1 {
        let bit = cx.b.setcc(cond.invert(), flags);
        let wide = cx.b.convert(Op::Zext, width(a.sf), &[bit]);
        let result = if a.op == 1 { cx.b.un(Op::Neg, wide) } else { wide };
        return cx.set(a.rd, result);
    }
    let y = cx.reg(a.sf == 1, a.rm);
    let y = match (a.op, a.o2) {
        (0, 0) => y,
        (0, _) => cx.add_const(y, 1),
        (_, 0) => cx.b.un(Op::Not, y),
        _ => cx.b.un(Op::Neg, y),
    };
    let result = cx.b.select(cond, flags, x, y);
    cx.set(a.rd, result);
}

pub(super) fn udiv(cx: &mut Lifter<'_>, a: &Udiv) {
    let (x, y) = (cx.reg(a.sf == 1, a.rn), cx.reg(a.sf == 1, a.rm));
    let result = cx.b.bin(Op::QuotU, x, y);
    cx.set(a.rd, result);
}

pub(super) fn sdiv(cx: &mut Lifter<'_>, a: &Sdiv) {
    let (x, y) = (cx.reg(a.sf == 1, a.rn), cx.reg(a.sf == 1, a.rm));
    let result = cx.b.bin(Op::QuotS, x, y);
    cx.set(a.rd, result);
}

/// `CRC32*` with the polynomial of ISO 3309, or `CRC32C*` with Castagnoli's, over `data`.
fn checksum(cx: &mut Lifter<'_>, castagnoli: u32, rd: u32, rn: u32, data: Value) {
    let sum = cx.w(rn);
    let args = [sum, data, Value::NONE, Value::NONE];
    let result = cx.b.push(Inst { op: Op::Crc, ty: Type::I32, attr: 0, args, imm: 1 - castagnoli });
    cx.set(rd, result);
}

pub(super) fn crc32(cx: &mut Lifter<'_>, a: &Crc32) {
    let word = cx.w(a.rm);
    let data = cx.narrow(word, [Type::I8, Type::I16, Type::I32][a.sz as usize % 3]);
    checksum(cx, a.c, a.rd, a.rn, data);
}

pub(super) fn crc32_x(cx: &mut Lifter<'_>, a: &Crc32X) {
    let data = cx.x(a.rm);
    checksum(cx, a.c, a.rd, a.rn, data);
}

/// `addend + x·y` or `addend − x·y`.
fn accumulate(cx: &mut Lifter<'_>, negative: bool, addend: Value, x: Value, y: Value) -> Value {
    let product = cx.b.bin(Op::Mul, x, y);
    add_sub(cx, negative, false, addend, product)
}

pub(super) fn mul_add(cx: &mut Lifter<'_>, a: &MulAdd) {
    let (x, y, addend) = (cx.reg(a.sf == 1, a.rn), cx.reg(a.sf == 1, a.rm), cx.reg(a.sf == 1, a.ra));
    let result = accumulate(cx, a.o0 == 1, addend, x, y);
    cx.set(a.rd, result);
}

pub(super) fn mul_add_long(cx: &mut Lifter<'_>, a: &MulAddLong) {
    // UXTW or SXTW.
    let option = if a.u == 1 { 2 } else { 6 };
    let (x, y, addend) = (extended(cx, true, a.rn, option), extended(cx, true, a.rm, option), cx.x(a.ra));
    let result = accumulate(cx, a.o0 == 1, addend, x, y);
    cx.set(a.rd, result);
}

pub(super) fn mul_high(cx: &mut Lifter<'_>, a: &MulHigh) {
    let (x, y) = (cx.x(a.rn), cx.x(a.rm));
    let low = cx.b.bin(if a.u == 1 { Op::MulU } else { Op::MulS }, x, y);
    let high = cx.b.second(low);
    cx.set(a.rd, high);
}

/// Rotates a register and takes the flags that the mask names from its low four bits.
pub(super) fn rmif(cx: &mut Lifter<'_>, a: &Rmif) {
    let v = cx.x(a.rn);
    let rotated = shift_const(cx, Op::Ror, v, a.imm6);
    let word = cx.narrow(rotated, Type::I32);
    let nzcv = shift_const(cx, Op::Shl, word, 28);
    // Our C is the complement, so that the mask that names C has it clear.
    cx.merge_nzcv(nzcv, flags_of_nzcv(a.mask ^ 2));
}

/// N and Z of the low bits; V if the bit above them is not their sign; C stays.
fn set_flags_of_part(cx: &mut Lifter<'_>, rn: u32, part: Type) {
    let word = cx.w(rn);
    let low = cx.narrow(word, part);
    let signs = cx.test_zero(low);
    let signs = cx.b.flags_bits(signs);
    let above = shift_const(cx, Op::Shr, word, 1);
    let differ = cx.b.bin(Op::Xor, word, above);
    let nzcv = shift_const(cx, Op::Shl, differ, 28 + 1 - part.bits());
    cx.merge_eflags(signs, FlagSet::S | FlagSet::Z);
    cx.merge_nzcv(nzcv, FlagSet::O);
}

pub(super) fn setf8(cx: &mut Lifter<'_>, a: &Setf8) {
    set_flags_of_part(cx, a.rn, Type::I8);
}

pub(super) fn setf16(cx: &mut Lifter<'_>, a: &Setf16) {
    set_flags_of_part(cx, a.rn, Type::I16);
}
