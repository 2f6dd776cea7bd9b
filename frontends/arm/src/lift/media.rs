//! Parallel addition and subtraction, sums of absolute differences (DDI 0406C A4.4.6, A5.4).
//!
//! Bytes and halfwords of a register are the low lanes of a vector. GE, a byte of ones for each of its bits, is what a
//! comparison of vectors gives. The forms that exchange halfwords or halve are helpers; hardly any code has them.

use super::Lifter;
use crate::cpu::Arch;
use crate::helpers;
use crate::state::GE;
use isamorph_ir::{Lane, Op, Type, Value};

/// The number range of a parallel operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Range {
    /// Modular; GE says which lanes stayed in range.
    Modular,
    /// Saturating.
    Saturating,
    /// Halving.
    Halving,
}

/// A parallel operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Parallel {
    Add16,
    Asx,
    Sax,
    Sub16,
    Add8,
    Sub8,
}

impl Parallel {
    /// By the field of A32.
    pub(super) const fn of_a32(op: u32) -> Option<Parallel> {
        Some(match op {
            0 => Parallel::Add16,
            1 => Parallel::Asx,
            2 => Parallel::Sax,
            3 => Parallel::Sub16,
            4 => Parallel::Add8,
            7 => Parallel::Sub8,
            _ => return None,
        })
    }
    /// By the field of T32.
    pub(super) const fn of_t32(op: u32) -> Option<Parallel> {
        Some(match op {
            0 => Parallel::Add8,
            1 => Parallel::Add16,
            2 => Parallel::Asx,
            4 => Parallel::Sub8,
            5 => Parallel::Sub16,
            6 => Parallel::Sax,
            _ => return None,
        })
    }
}

fn vector(cx: &mut Lifter<'_>, value: Value) -> Value {
    cx.b.convert(Op::VFromInt, Type::V128, &[value])
}

fn word(cx: &mut Lifter<'_>, vector: Value) -> Value {
    cx.b.convert(Op::VToInt, Type::I32, &[vector])
}

/// SADD16 and its kin.
pub(super) fn parallel(cx: &mut Lifter<'_>, op: Option<Parallel>, unsigned: bool, range: Range, regs: [u32; 3]) {
    let Some(op) = op else { return cx.undefined() };
    if !cx.needs(Arch::V6) {
        return;
    }
    let [rd, rn, rm] = regs;
    let (n, m) = (cx.reg(rn), cx.reg(rm));
    let lane = if matches!(op, Parallel::Add8 | Parallel::Sub8) { Lane::I8 } else { Lane::I16 };
    let subtract = matches!(op, Parallel::Sub8 | Parallel::Sub16);
    if range == Range::Halving || matches!(op, Parallel::Asx | Parallel::Sax) {
        let selector = cx.int(helpers::media::selector(op as u32, unsigned, range as u32));
        let result = cx.b.call(helpers::PARALLEL, Type::I32, &[selector, n, m]);
        cx.b.forget(GE);
        return cx.set_reg(rd, result);
    }
    let (n, m) = (vector(cx, n), vector(cx, m));
    let saturating = match (subtract, unsigned) {
        (false, false) => Op::VAddSatS,
        (false, true) => Op::VAddSatU,
        (true, false) => Op::VSubSatS,
        (true, true) => Op::VSubSatU,
    };
    let bounded = cx.b.vec(saturating, lane, &[n, m], 0);
    if range == Range::Saturating {
        let result = word(cx, bounded);
        return cx.set_reg(rd, result);
    }
    let plain = cx.b.vec(if subtract { Op::VSub } else { Op::VAdd }, lane, &[n, m], 0);
    let ge = in_range(cx, lane, subtract, unsigned, [n, m, plain, bounded]);
    let (result, ge) = (word(cx, plain), word(cx, ge));
    cx.b.set(GE, ge);
    cx.set_reg(rd, result);
}

/// The lanes that GE is set for: signed ones with a result of at least zero, unsigned sums that carry, unsigned
/// differences that do not borrow.
fn in_range(
    cx: &mut Lifter<'_>,
    lane: Lane,
    subtract: bool,
    unsigned: bool,
    [n, m, plain, bounded]: [Value; 4],
) -> Value {
    let ones = cx.b.vec(Op::VCmpEq, lane, &[n, n], 0);
    match (subtract, unsigned) {
        (_, false) => cx.b.vec(Op::VCmpGtS, lane, &[bounded, ones], 0),
        (false, true) => {
            let same = cx.b.vec(Op::VCmpEq, lane, &[plain, bounded], 0);
            cx.b.bin(Op::VXor, same, ones)
        }
        (true, true) => {
            let most = cx.b.vec(Op::VMaxU, lane, &[n, m], 0);
            cx.b.vec(Op::VCmpEq, lane, &[most, n], 0)
        }
    }
}

/// Sums of halfwords.
pub(super) fn add_halves(cx: &mut Lifter<'_>, a: Value, b: Value) -> Value {
    let (a, b) = (vector(cx, a), vector(cx, b));
    let sum = cx.b.vec(Op::VAdd, Lane::I16, &[a, b], 0);
    word(cx, sum)
}

/// USAD8 and USADA8.
pub(super) fn sum_of_differences(cx: &mut Lifter<'_>, rd: u32, rn: u32, rm: u32, ra: u32) {
    if !cx.needs(Arch::V6) {
        return;
    }
    let (n, m) = (cx.reg(rn), cx.reg(rm));
    let (n, m) = (vector(cx, n), vector(cx, m));
    let sum = cx.b.bin(Op::VSadU, n, m);
    let sum = word(cx, sum);
    let result = if ra == 15 {
        sum
    } else {
        let a = cx.reg(ra);
        cx.b.bin(Op::Add, sum, a)
    };
    cx.set_reg(rd, result);
}
