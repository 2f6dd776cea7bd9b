//! Copies of lanes, permutations, table lookups and immediates (Arm ARM C7.2: DUP, INS, SMOV, UMOV, EXT, TBL, UZP1,
//! TRN1, ZIP1, MOVI and those with them).

use super::Lifter;
use super::simd::{Form, Width, bits, int_lane, splat_bits, wide};
use crate::decode::a64;
use isamorph_ir::{Lane, Op, Type, Value};

/// The lane and its number in a field imm5; nothing for the reserved pattern.
fn lane_and_index(imm5: u32) -> Option<(Lane, u32)> {
    let size = imm5.trailing_zeros();
    (size < 4).then(|| (int_lane(size), imm5 >> (size + 1)))
}

pub(super) fn dup_elem_v(cx: &mut Lifter<'_>, a: &a64::DupElemV) {
    let Some((lane, index)) = lane_and_index(a.imm5) else { return cx.undefined() };
    let f = Form::of(a.q, lane);
    if lane == Lane::I64 && f.width == Width::Half {
        return cx.undefined();
    }
    let value = cx.v(a.rn);
    let all = cx.b.vec(Op::VDupLane, lane, &[value], index);
    cx.put(f, a.rd, all);
}

pub(super) fn dup_elem_s(cx: &mut Lifter<'_>, a: &a64::DupElemS) {
    let Some((lane, index)) = lane_and_index(a.imm5) else { return cx.undefined() };
    let value = cx.v(a.rn);
    let value = cx.b.vec(Op::VShrBytes, Lane::I8, &[value], index * lane.bytes());
    cx.put(Form { lane, width: Width::Scalar }, a.rd, value);
}

pub(super) fn dup_gen(cx: &mut Lifter<'_>, a: &a64::DupGen) {
    let Some((lane, _)) = lane_and_index(a.imm5) else { return cx.undefined() };
    let f = Form::of(a.q, lane);
    if lane == Lane::I64 && f.width == Width::Half {
        return cx.undefined();
    }
    let value = cx.reg(lane == Lane::I64, a.rn);
    let all = cx.b.vec_to(Op::VDup, Type::V128, lane, &[value], 0);
    cx.put(f, a.rd, all);
}

pub(super) fn umov(cx: &mut Lifter<'_>, a: &a64::Umov) {
    match lane_and_index(a.imm5) {
        Some((lane, index)) if (lane == Lane::I64) == (a.q != 0) => {
            let ty = if a.q != 0 { Type::I64 } else { Type::I32 };
            let value = cx.v(a.rn);
            let element = cx.b.vec_to(Op::VExtract, ty, lane, &[value], index);
            cx.set(a.rd, element);
        }
        _ => cx.undefined(),
    }
}

pub(super) fn smov(cx: &mut Lifter<'_>, a: &a64::Smov) {
    let ty = if a.q != 0 { Type::I64 } else { Type::I32 };
    match lane_and_index(a.imm5) {
        Some((lane, index)) if lane.bytes() < ty.bytes() => {
            let element = [Type::I8, Type::I16, Type::I32][lane.bytes().trailing_zeros() as usize];
            let value = cx.v(a.rn);
            let part = cx.b.vec_to(Op::VExtract, element, lane, &[value], index);
            let full = cx.b.convert(Op::Sext, ty, &[part]);
            cx.set(a.rd, full);
        }
        _ => cx.undefined(),
    }
}

pub(super) fn ins_gen(cx: &mut Lifter<'_>, a: &a64::InsGen) {
    let Some((lane, index)) = lane_and_index(a.imm5) else { return cx.undefined() };
    let value = cx.reg(lane == Lane::I64, a.rn);
    let old = cx.v(a.rd);
    let new = cx.b.vec(Op::VInsert, lane, &[old, value], index);
    cx.set_v(a.rd, new, 16);
}

pub(super) fn ins_elem(cx: &mut Lifter<'_>, a: &a64::InsElem) {
    let Some((lane, to)) = lane_and_index(a.imm5) else { return cx.undefined() };
    let from = a.imm4 >> lane.bytes().trailing_zeros();
    let (old, value) = (cx.v(a.rd), cx.v(a.rn));
    let new = if lane.bytes() >= 4 {
        cx.b.vec(Op::VMoveLane, lane, &[old, value], to | from << 4)
    } else {
        let element = cx.b.vec_to(Op::VExtract, Type::I32, lane, &[value], from);
        cx.b.vec(Op::VInsert, lane, &[old, element], to)
    };
    cx.set_v(a.rd, new, 16);
}

pub(super) fn ext(cx: &mut Lifter<'_>, a: &a64::Ext) {
    let (n, m) = (cx.v(a.rn), cx.v(a.rm));
    if a.q != 0 {
        let value = cx.b.vec(Op::VAlign, Lane::I8, &[n, m], a.imm4);
        return cx.set_v(a.rd, value, 16);
    }
    if a.imm4 > 7 {
        return cx.undefined();
    }
    let both = cx.halves(n, m);
    let value = cx.b.vec(Op::VShrBytes, Lane::I8, &[both], a.imm4);
    cx.put(Form::of(0, Lane::I8), a.rd, value);
}

/// TBL and TBX: bytes of up to four registers by number.
pub(super) fn tbl(cx: &mut Lifter<'_>, a: &a64::Tbl) {
    let f = Form::of(a.q, Lane::I8);
    let numbers = cx.v(a.rm);
    // Numbers from 16 on become 0x80 and more, for which VShufBytes gives zero; smaller ones keep their low bits.
    let bias = cx.splat(Lane::I8, 0x70);
    let mut result = Value::NONE;
    for i in 0..=a.len {
        let relative = if i == 0 {
            numbers
        } else {
            let first = cx.splat(Lane::I8, u64::from(16 * i));
            cx.op(Op::VSub, Lane::I8, &[numbers, first])
        };
        let selector = cx.op(Op::VAddSatU, Lane::I8, &[relative, bias]);
        let table = cx.v(a.rn + i);
        let part = cx.b.bin(Op::VShufBytes, table, selector);
        result = if i == 0 { part } else { cx.b.bin(Op::VOr, result, part) };
    }
    if a.tbx != 0 {
        let last = cx.splat(Lane::I8, u64::from(16 * a.len + 15));
        let beyond = cx.op(Op::VCmpGtU, Lane::I8, &[numbers, last]);
        let old = cx.v(a.rd);
        result = cx.b.multi(Op::VSelect, &[beyond, old, result]);
    }
    cx.put(f, a.rd, result);
}

// ---- permutations

/// The even or odd lanes of `a`, then those of `b`.
pub(super) fn unzip(cx: &mut Lifter<'_>, f: Form, a: Value, b: Value, odd: bool) -> Value {
    if f.width != Width::Full {
        let both = cx.halves(a, b);
        return unzip(cx, Form { width: Width::Full, ..f }, both, both, odd);
    }
    match f.lane {
        Lane::I64 => cx.op(if odd { Op::VZipHi } else { Op::VZipLo }, Lane::I64, &[a, b]),
        Lane::I32 => cx.b.vec(Op::VShuffle2, Lane::F32, &[a, b], if odd { 0b11_01_11_01 } else { 0b10_00_10_00 }),
        lane => {
            let [a, b] = [a, b].map(|v| if odd { cx.shr_imm(wide(lane), v, bits(lane)) } else { v });
            cx.op(Op::VNarrow, wide(lane), &[a, b])
        }
    }
}

/// Lanes of the low or high halves of `a` and `b`, alternating.
pub(super) fn zip(cx: &mut Lifter<'_>, f: Form, a: Value, b: Value, high: bool) -> Value {
    if f.width == Width::Full {
        return cx.op(if high { Op::VZipHi } else { Op::VZipLo }, f.lane, &[a, b]);
    }
    let all = cx.op(Op::VZipLo, f.lane, &[a, b]);
    if high { cx.b.vec(Op::VShrBytes, Lane::I8, &[all], 8) } else { all }
}

/// Even (odd) lanes of `a` in the even lanes, those of `b` in the odd ones.
fn transpose(cx: &mut Lifter<'_>, f: Form, a: Value, b: Value, odd: bool) -> Value {
    if f.lane == Lane::I64 {
        return unzip(cx, f, a, b, odd);
    }
    let (lane, width) = (wide(f.lane), bits(f.lane));
    let mask = cx.splat(lane, u64::MAX >> (64 - width));
    let (low, high) = if odd {
        (cx.shr_imm(lane, a, width), cx.b.bin(Op::VAndNot, mask, b))
    } else {
        (cx.b.bin(Op::VAnd, a, mask), cx.shl_imm(lane, b, width))
    };
    cx.b.bin(Op::VOr, low, high)
}

pub(super) fn uzp(cx: &mut Lifter<'_>, a: &a64::Uzp) {
    permute(cx, a.arr, [a.rd, a.rn, a.rm], a.hi, unzip);
}

pub(super) fn trn(cx: &mut Lifter<'_>, a: &a64::Trn) {
    permute(cx, a.arr, [a.rd, a.rn, a.rm], a.hi, transpose);
}

pub(super) fn zip_pairs(cx: &mut Lifter<'_>, a: &a64::ZipPairs) {
    permute(cx, a.arr, [a.rd, a.rn, a.rm], a.hi, zip);
}

fn permute(
    cx: &mut Lifter<'_>,
    arr: u32,
    [rd, rn, rm]: [u32; 3],
    hi: u32,
    f: fn(&mut Lifter<'_>, Form, Value, Value, bool) -> Value,
) {
    let form = Form::vector(arr);
    let (n, m) = (cx.v(rn), cx.v(rm));
    let value = f(cx, form, n, m, hi != 0);
    cx.put(form, rd, value);
}

// ---- immediates

/// An 8-bit immediate as a floating-point number of that width (Arm ARM, VFPExpandImm).
pub(super) fn expand_float(imm8: u32, width: u32) -> u64 {
    let exponent_bits = match width {
        16 => 5,
        32 => 8,
        _ => 11,
    };
    let fraction_bits = width - 1 - exponent_bits;
    let (sign, low) = (u64::from(imm8 >> 7), u64::from(imm8 & 0x3f));
    let b = u64::from(imm8 >> 6 & 1);
    // NOT(b), then copies of b, then two bits.
    let copies = if b != 0 { (1 << (exponent_bits - 3)) - 1 } else { 0 };
    let exponent = (b ^ 1) << (exponent_bits - 1) | copies << 2 | low >> 4;
    sign << (width - 1) | exponent << fraction_bits | (low & 15) << (fraction_bits - 4)
}

/// The 64 bits of a modified immediate (Arm ARM, AdvSIMDExpandImm).
fn expand(op: u32, cmode: u32, imm8: u32) -> u64 {
    let imm = u64::from(imm8);
    let low = |lane, value| splat_bits(lane, value) as u64;
    match cmode >> 1 {
        shift @ 0..4 => low(Lane::I32, imm << (8 * shift)),
        shift @ 4..6 => low(Lane::I16, imm << (8 * (shift - 4))),
        6 if cmode & 1 == 0 => low(Lane::I32, imm << 8 | 0xff),
        6 => low(Lane::I32, imm << 16 | 0xffff),
        _ => match (cmode & 1, op) {
            (0, 0) => low(Lane::I8, imm),
            (0, _) => (0..8).filter(|i| imm >> i & 1 != 0).fold(0, |all, i| all | 0xff << (8 * i)),
            (_, 0) => low(Lane::I32, expand_float(imm8, 32)),
            _ => expand_float(imm8, 64),
        },
    }
}

/// MOVI, MVNI, ORR, BIC and FMOV with an immediate.
pub(super) fn mod_imm(cx: &mut Lifter<'_>, a: &a64::ModImm) {
    let f = Form::of(a.q, Lane::I64);
    if a.cmode == 15 && a.op != 0 && a.q == 0 {
        return cx.undefined();
    }
    let imm = expand(a.op, a.cmode, a.imm8);
    let both = |imm| if f.width == Width::Full { splat_bits(Lane::I64, imm) } else { u128::from(imm) };
    let combines = a.cmode < 12 && a.cmode & 1 != 0;
    if !combines {
        let inverted = a.op != 0 && a.cmode < 14;
        let value = cx.vconst(both(if inverted { !imm } else { imm }));
        let extent = if imm == 0 && !inverted { 0 } else { f.bytes() };
        return cx.set_v(a.rd, value, extent);
    }
    let old = cx.v(a.rd);
    let value = if a.op == 0 {
        let imm = cx.vconst(both(imm));
        cx.b.bin(Op::VOr, old, imm)
    } else {
        let imm = cx.vconst(both(!imm));
        cx.b.bin(Op::VAnd, old, imm)
    };
    cx.put_from(f, a.rd, value, super::simd::Zeros::Stay, &[a.rd]);
}

/// FMOV of a half-precision immediate.
pub(super) fn fmov_v_half(cx: &mut Lifter<'_>, a: &a64::FmovVHalf) {
    let f = Form::of(a.q, Lane::I16);
    let all = splat_bits(Lane::I16, expand_float(a.imm8, 16));
    let value = cx.vconst(if a.q != 0 { all } else { u128::from(all as u64) });
    cx.set_v(a.rd, value, f.bytes());
}
