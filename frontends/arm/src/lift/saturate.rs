//! Saturation to a number of bits and saturating addition; they set Q (DDI 0406C A4.4.5).

use super::{Lifter, shift};
use crate::cpu::Arch;
use crate::state::Q;
use isamorph_ir::{Cond, Op, Type, Value};

/// Sets Q if the flag of a condition holds.
pub(super) fn set_q_if(cx: &mut Lifter<'_>, cond: Cond, flags: Value) {
    let happened = cx.b.setcc(cond, flags);
    let (happened, old) = (cx.b.convert(Op::Zext, Type::I32, &[happened]), cx.b.get(Q));
    let q = cx.b.bin(Op::Or, old, happened);
    cx.b.set(Q, q);
}

/// A signed number brought into the range from `low` to `high`.
fn clamp(cx: &mut Lifter<'_>, value: Value, low: i32, high: i32) -> Value {
    let (low, high) = (cx.int(low as u32), cx.int(high as u32));
    let above = cx.b.bin(Op::Sub, value, high);
    let above = cx.b.flags(above);
    let value = cx.b.select(Cond::G, above, high, value);
    let below = cx.b.bin(Op::Sub, value, low);
    let below = cx.b.flags(below);
    cx.b.select(Cond::L, below, low, value)
}

/// The range of SSAT to `bits` bits (encoded less one), or of USAT to `bits`.
const fn range(unsigned: bool, bits: u32) -> (i32, i32) {
    if unsigned {
        (0, ((1u64 << bits) - 1) as i32)
    } else {
        let top = 1i64 << bits;
        (-top as i32, (top - 1) as i32)
    }
}

/// SSAT and USAT.
pub(super) fn saturate(cx: &mut Lifter<'_>, unsigned: bool, bits: u32, rd: u32, rn: u32, asr: bool, imm5: u32) {
    if !cx.needs(Arch::V6) {
        return;
    }
    let value = cx.reg(rn);
    let value = shift::by_constant(cx, value, if asr { 2 } else { 0 }, imm5).value;
    let (low, high) = range(unsigned, bits);
    let result = clamp(cx, value, low, high);
    changed(cx, value, result);
    cx.set_reg(rd, result);
}

/// SSAT16 and USAT16: both halfwords.
pub(super) fn saturate16(cx: &mut Lifter<'_>, unsigned: bool, bits: u32, rd: u32, rn: u32) {
    if !cx.needs(Arch::V6) {
        return;
    }
    let value = cx.reg(rn);
    let (low, high) = range(unsigned, bits);
    let top = cx.shift(Op::Sar, value, 16);
    let bottom = cx.b.convert(Op::Trunc, Type::I16, &[value]);
    let bottom = cx.b.convert(Op::Sext, Type::I32, &[bottom]);
    let halves = [top, bottom].map(|half| {
        let clamped = clamp(cx, half, low, high);
        changed(cx, half, clamped);
        clamped
    });
    let high = cx.shift(Op::Shl, halves[0], 16);
    let low = cx.bin_const(Op::And, halves[1], 0xffff);
    let result = cx.b.bin(Op::Or, high, low);
    cx.set_reg(rd, result);
}

fn changed(cx: &mut Lifter<'_>, before: Value, after: Value) {
    let difference = cx.b.bin(Op::Sub, before, after);
    let flags = cx.b.flags(difference);
    set_q_if(cx, Cond::Ne, flags);
}

/// A saturating sum or difference.
fn saturated(cx: &mut Lifter<'_>, op: Op, a: Value, b: Value) -> Value {
    let plain = cx.b.bin(op, a, b);
    let flags = cx.b.flags(plain);
    // On overflow the result goes to the end of the range that the first operand is nearer to.
    let sign = cx.shift(Op::Sar, a, 31);
    let end = cx.bin_const(Op::Xor, sign, 0x7fff_ffff);
    let result = cx.b.select(Cond::O, flags, end, plain);
    set_q_if(cx, Cond::O, flags);
    result
}

/// QADD, QSUB, QDADD, QDSUB.
pub(super) fn add(cx: &mut Lifter<'_>, subtract: bool, double: bool, rd: u32, rn: u32, rm: u32) {
    let (m, n) = (cx.reg(rm), cx.reg(rn));
    let n = if double { saturated(cx, Op::Add, n, n) } else { n };
    let result = saturated(cx, if subtract { Op::Sub } else { Op::Add }, m, n);
    cx.set_reg(rd, result);
}
