//! Multiplication and division (DDI 0406C A4.4.3, A4.4.4).

use super::Lifter;
use super::saturate::set_q_if;
use super::shift::{Carry, set_logical_flags};
use crate::cpu::Arch;
use isamorph_ir::{Cond, FlagSet, Op, Type, Value};

fn product(cx: &mut Lifter<'_>, rn: u32, rm: u32) -> Value {
    let (n, m) = (cx.reg(rn), cx.reg(rm));
    cx.b.bin(Op::Mul, n, m)
}

fn finish(cx: &mut Lifter<'_>, s: bool, rd: u32, result: Value) {
    if s {
        set_logical_flags(cx, result, Carry::Keep);
    }
    cx.set_reg(rd, result);
}

/// MUL.
pub(super) fn mul(cx: &mut Lifter<'_>, s: bool, rd: u32, rn: u32, rm: u32) {
    let result = product(cx, rn, rm);
    finish(cx, s, rd, result);
}

/// MLA.
pub(super) fn mla(cx: &mut Lifter<'_>, s: bool, rd: u32, rn: u32, rm: u32, ra: u32) {
    let (product, a) = (product(cx, rn, rm), cx.reg(ra));
    let result = cx.b.bin(Op::Add, product, a);
    finish(cx, s, rd, result);
}

/// MLS.
pub(super) fn mls(cx: &mut Lifter<'_>, rd: u32, rn: u32, rm: u32, ra: u32) {
    if cx.needs(Arch::V6T2) {
        let (product, a) = (product(cx, rn, rm), cx.reg(ra));
        let result = cx.b.bin(Op::Sub, a, product);
        cx.set_reg(rd, result);
    }
}

/// A register as 64 bits.
fn wide(cx: &mut Lifter<'_>, signed: bool, value: Value) -> Value {
    cx.b.convert(if signed { Op::Sext } else { Op::Zext }, Type::I64, &[value])
}

fn pair(cx: &mut Lifter<'_>, hi: u32, lo: u32) -> Value {
    let (low, high) = (cx.reg(lo), cx.reg(hi));
    cx.b.convert(Op::Concat, Type::I64, &[low, high])
}

fn set_pair(cx: &mut Lifter<'_>, hi: u32, lo: u32, value: Value) {
    let (low, high) = (cx.b.convert(Op::Trunc, Type::I32, &[value]), cx.b.field(Type::I32, value, 32));
    cx.set_reg(lo, low);
    cx.set_reg(hi, high);
}

/// How a long multiplication goes.
#[derive(Clone, Copy)]
pub(super) struct Long {
    pub(super) signed: bool,
    pub(super) accumulate: bool,
    pub(super) s: bool,
}

/// UMULL, UMLAL, SMULL, SMLAL.
pub(super) fn long(cx: &mut Lifter<'_>, how: Long, (hi, lo): (u32, u32), rn: u32, rm: u32) {
    let (n, m) = (cx.reg(rn), cx.reg(rm));
    let (n, m) = (wide(cx, how.signed, n), wide(cx, how.signed, m));
    let product = cx.b.bin(Op::Mul, n, m);
    let result = if how.accumulate {
        let old = pair(cx, hi, lo);
        cx.b.bin(Op::Add, product, old)
    } else {
        product
    };
    if how.s {
        // N and Z of all 64 bits; C and V stay.
        let (tested, old) = (cx.b.bin(Op::And, result, result), cx.flags());
        let flags = cx.b.flags_keep(tested, old, FlagSet::C | FlagSet::O);
        cx.set_flags(flags);
    }
    set_pair(cx, hi, lo, result);
}

/// UMAAL.
pub(super) fn umaal(cx: &mut Lifter<'_>, (hi, lo): (u32, u32), rn: u32, rm: u32) {
    if !cx.needs(Arch::V6) {
        return;
    }
    let values = [rn, rm, hi, lo].map(|r| {
        let value = cx.reg(r);
        wide(cx, false, value)
    });
    let product = cx.b.bin(Op::Mul, values[0], values[1]);
    let sum = cx.b.bin(Op::Add, product, values[2]);
    let sum = cx.b.bin(Op::Add, sum, values[3]);
    set_pair(cx, hi, lo, sum);
}

/// A sign-extended halfword.
fn half(cx: &mut Lifter<'_>, value: Value, top: bool) -> Value {
    if top {
        return cx.shift(Op::Sar, value, 16);
    }
    let low = cx.b.convert(Op::Trunc, Type::I16, &[value]);
    cx.b.convert(Op::Sext, Type::I32, &[low])
}

fn half_product(cx: &mut Lifter<'_>, (rn, n): (u32, bool), (rm, m): (u32, bool)) -> Value {
    let (a, b) = (cx.reg(rn), cx.reg(rm));
    let (a, b) = (half(cx, a, n), half(cx, b, m));
    cx.b.bin(Op::Mul, a, b)
}

/// Adds with Q set on overflow.
fn add_q(cx: &mut Lifter<'_>, a: Value, b: Value) -> Value {
    let sum = cx.b.bin(Op::Add, a, b);
    let flags = cx.b.flags(sum);
    set_q_if(cx, Cond::O, flags);
    sum
}

/// SMULxy, and SMLAxy with an accumulator.
pub(super) fn halves(cx: &mut Lifter<'_>, rd: u32, n: (u32, bool), m: (u32, bool), ra: Option<u32>) {
    let product = half_product(cx, n, m);
    let result = match ra {
        None => product,
        Some(ra) => {
            let a = cx.reg(ra);
            add_q(cx, product, a)
        }
    };
    cx.set_reg(rd, result);
}

/// SMULWy, and SMLAWy with an accumulator: the top 32 bits of a product of 48.
pub(super) fn word_half(cx: &mut Lifter<'_>, rd: u32, rn: u32, (rm, m): (u32, bool), ra: Option<u32>) {
    let (n, b) = (cx.reg(rn), cx.reg(rm));
    let b = half(cx, b, m);
    let (n, b) = (wide(cx, true, n), wide(cx, true, b));
    let product = cx.b.bin(Op::Mul, n, b);
    let product = cx.shift(Op::Sar, product, 16);
    let product = cx.b.convert(Op::Trunc, Type::I32, &[product]);
    let result = match ra {
        None => product,
        Some(ra) => {
            let a = cx.reg(ra);
            add_q(cx, product, a)
        }
    };
    cx.set_reg(rd, result);
}

/// SMLALxy.
pub(super) fn halves_long(cx: &mut Lifter<'_>, (hi, lo): (u32, u32), n: (u32, bool), m: (u32, bool)) {
    let product = half_product(cx, n, m);
    let (product, old) = (wide(cx, true, product), pair(cx, hi, lo));
    let sum = cx.b.bin(Op::Add, old, product);
    set_pair(cx, hi, lo, sum);
}

/// The sum or difference of the products of low and high halves, as 64 bits.
fn dual_product(cx: &mut Lifter<'_>, subtract: bool, swap: bool, rn: u32, rm: u32) -> Value {
    let low = half_product(cx, (rn, false), (rm, swap));
    let high = half_product(cx, (rn, true), (rm, !swap));
    let (low, high) = (wide(cx, true, low), wide(cx, true, high));
    cx.b.bin(if subtract { Op::Sub } else { Op::Add }, low, high)
}

/// SMUAD, SMUSD, SMLAD, SMLSD.
pub(super) fn dual(cx: &mut Lifter<'_>, subtract: bool, swap: bool, rd: u32, (rn, rm): (u32, u32), ra: u32) {
    if !cx.needs(Arch::V6) {
        return;
    }
    let sum = dual_product(cx, subtract, swap, rn, rm);
    let sum = if ra == 15 {
        sum
    } else {
        let a = cx.reg(ra);
        let a = wide(cx, true, a);
        cx.b.bin(Op::Add, sum, a)
    };
    let result = cx.b.convert(Op::Trunc, Type::I32, &[sum]);
    let back = wide(cx, true, result);
    let lost = cx.b.bin(Op::Sub, sum, back);
    let flags = cx.b.flags(lost);
    set_q_if(cx, Cond::Ne, flags);
    cx.set_reg(rd, result);
}

/// SMLALD, SMLSLD.
pub(super) fn dual_long(cx: &mut Lifter<'_>, subtract: bool, swap: bool, (hi, lo): (u32, u32), rn: u32, rm: u32) {
    if !cx.needs(Arch::V6) {
        return;
    }
    let (sum, old) = (dual_product(cx, subtract, swap, rn, rm), pair(cx, hi, lo));
    let result = cx.b.bin(Op::Add, old, sum);
    set_pair(cx, hi, lo, result);
}

/// SMMUL, SMMLA, SMMLS: the top half of a product of 64 bits, added to or subtracted from an accumulator.
pub(super) fn high(cx: &mut Lifter<'_>, subtract: bool, round: bool, rd: u32, (rn, rm): (u32, u32), ra: u32) {
    if !cx.needs(Arch::V6) {
        return;
    }
    let (n, m) = (cx.reg(rn), cx.reg(rm));
    let (n, m) = (wide(cx, true, n), wide(cx, true, m));
    let product = cx.b.bin(Op::Mul, n, m);
    let mut sum = product;
    if ra != 15 || subtract {
        let (zero, a) = (cx.int(0), cx.reg(ra));
        let a = cx.b.convert(Op::Concat, Type::I64, &[zero, a]);
        sum = cx.b.bin(if subtract { Op::Sub } else { Op::Add }, a, product);
    }
    if round {
        let half = cx.b.iconst(Type::I64, 1 << 31);
        sum = cx.b.bin(Op::Add, sum, half);
    }
    let result = cx.b.field(Type::I32, sum, 32);
    cx.set_reg(rd, result);
}

/// SDIV and UDIV: division by zero gives zero.
pub(super) fn divide(cx: &mut Lifter<'_>, unsigned: bool, rd: u32, rn: u32, rm: u32) {
    if !cx.require(cx.cpu.divide) {
        return;
    }
    let (n, m) = (cx.reg(rn), cx.reg(rm));
    let result = cx.b.bin(if unsigned { Op::QuotU } else { Op::QuotS }, n, m);
    cx.set_reg(rd, result);
}
