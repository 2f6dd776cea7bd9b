//! Vector instructions of SSSE3 and SSE4 that are more than one op (SDM vol. 2 has them under their names).

use super::Lifter;
use super::simd::{Alignment, load, source, vector_type};
use crate::helpers;
use iced_x86::{Instruction, Mnemonic};
use isamorph_ir::{Cond, HelperId, Lane, Op, Type, Value};

/// Lifts the instruction if it is one of these.
pub(super) fn lift(cx: &mut Lifter<'_>, insn: &Instruction) -> bool {
    pairs(cx, insn) || widths(cx, insn) || choices(cx, insn) || others(cx, insn)
}

/// The second operand and the first as vectors.
fn operands(cx: &mut Lifter<'_>, insn: &Instruction) -> (Value, Value) {
    let dst = insn.op0_register();
    let src = source(cx, insn, vector_type(dst));
    (cx.reg(dst), src)
}

// ---- adjacent lanes, signs, alignment

fn pairs(cx: &mut Lifter<'_>, insn: &Instruction) -> bool {
    use Mnemonic as M;
    match insn.mnemonic() {
        M::Phsubw => adjacent(cx, insn, Op::VSub, Lane::I32),
        M::Phsubd => adjacent(cx, insn, Op::VSub, Lane::I64),
        M::Phaddsw => adjacent(cx, insn, Op::VAddSatS, Lane::I32),
        M::Phsubsw => adjacent(cx, insn, Op::VSubSatS, Lane::I32),
        M::Psignb => sign(cx, insn, Lane::I8),
        M::Psignw => sign(cx, insn, Lane::I16),
        M::Psignd => sign(cx, insn, Lane::I32),
        M::Palignr => align(cx, insn),
        M::Hsubps => horizontal_difference(cx, insn, Lane::F32, [0b10_00_10_00, 0b11_01_11_01]),
        M::Hsubpd => horizontal_difference(cx, insn, Lane::F64, [0b00, 0b11]),
        _ => return false,
    }
    true
}

/// `op` on adjacent pairs of lanes, those of the first operand then those of the second; `pair` is the lane of a pair.
fn adjacent(cx: &mut Lifter<'_>, insn: &Instruction, op: Op, pair: Lane) {
    let (old, src) = operands(cx, insn);
    let bits = pair.bytes() * 4;
    let lane = if pair == Lane::I32 { Lane::I16 } else { Lane::I32 };
    let even = cx.b.vec(Op::VNarrow, pair, &[old, src], 0);
    let [a, b] = [old, src].map(|v| cx.b.vec(Op::VShrImm, pair, &[v], bits));
    let odd = cx.b.vec(Op::VNarrow, pair, &[a, b], 0);
    let result = cx.b.vec(op, lane, &[even, odd], 0);
    cx.set_reg(insn.op0_register(), result);
}

/// HSUBPS and HSUBPD: the even lanes less the odd ones, by the selectors of the two.
fn horizontal_difference(cx: &mut Lifter<'_>, insn: &Instruction, lane: Lane, selectors: [u32; 2]) {
    let (old, src) = operands(cx, insn);
    let [even, odd] = selectors.map(|s| cx.b.vec(Op::VShuffle2, lane, &[old, src], s));
    let result = cx.b.vec(Op::FSub, lane, &[even, odd], 0);
    cx.set_reg(insn.op0_register(), result);
}

/// PSIGN: the first operand negated where the second is negative, and zero where that is zero.
fn sign(cx: &mut Lifter<'_>, insn: &Instruction, lane: Lane) {
    let (old, src) = operands(cx, insn);
    let zero = cx.b.vconst(cx.b.ty(old), 0);
    let negative = cx.b.vec(Op::VCmpGtS, lane, &[zero, src], 0);
    let flipped = cx.b.bin(Op::VXor, old, negative);
    let negated = cx.b.vec(Op::VSub, lane, &[flipped, negative], 0);
    let none = cx.b.vec(Op::VCmpEq, lane, &[src, zero], 0);
    let result = cx.b.bin(Op::VAndNot, none, negated);
    cx.set_reg(insn.op0_register(), result);
}

/// PALIGNR: the second operand below the first, shifted right by bytes.
fn align(cx: &mut Lifter<'_>, insn: &Instruction) {
    let (old, src) = operands(cx, insn);
    let ty = cx.b.ty(old);
    let (count, bytes) = (u32::from(insn.immediate8()), ty.bytes());
    let zero = cx.b.vconst(ty, 0);
    let result = match count {
        n if n <= bytes => cx.b.vec(Op::VAlign, Lane::I8, &[src, old], n),
        n if n < 2 * bytes => cx.b.vec(Op::VAlign, Lane::I8, &[old, zero], n - bytes),
        _ => zero,
    };
    cx.set_reg(insn.op0_register(), result);
}

// ---- wider lanes

fn widths(cx: &mut Lifter<'_>, insn: &Instruction) -> bool {
    use Mnemonic as M;
    let (op, from, steps) = match insn.mnemonic() {
        M::Pmovsxbw => (Op::VWidenS, Lane::I8, 1),
        M::Pmovsxbd => (Op::VWidenS, Lane::I8, 2),
        M::Pmovsxbq => (Op::VWidenS, Lane::I8, 3),
        M::Pmovsxwd => (Op::VWidenS, Lane::I16, 1),
        M::Pmovsxwq => (Op::VWidenS, Lane::I16, 2),
        M::Pmovsxdq => (Op::VWidenS, Lane::I32, 1),
        M::Pmovzxbw => (Op::VWidenU, Lane::I8, 1),
        M::Pmovzxbd => (Op::VWidenU, Lane::I8, 2),
        M::Pmovzxbq => (Op::VWidenU, Lane::I8, 3),
        M::Pmovzxwd => (Op::VWidenU, Lane::I16, 1),
        M::Pmovzxwq => (Op::VWidenU, Lane::I16, 2),
        M::Pmovzxdq => (Op::VWidenU, Lane::I32, 1),
        _ => return false,
    };
    let mut v = narrow_source(cx, insn);
    let lanes = [Lane::I8, Lane::I16, Lane::I32].into_iter().skip_while(|l| *l != from);
    for lane in lanes.take(steps) {
        v = cx.b.vec(op, lane, &[v], 0);
    }
    cx.set_reg(insn.op0_register(), v);
    true
}

/// The second operand, of which memory may hold as few as two bytes.
fn narrow_source(cx: &mut Lifter<'_>, insn: &Instruction) -> Value {
    if cx.is_mem(1) && insn.memory_size().size() == 2 {
        let low = cx.load_ea(Type::I16);
        return cx.b.convert(Op::VFromInt, Type::V128, &[low]);
    }
    source(cx, insn, Type::V128)
}

// ---- blending

fn choices(cx: &mut Lifter<'_>, insn: &Instruction) -> bool {
    use Mnemonic as M;
    match insn.mnemonic() {
        M::Pblendvb => blend(cx, insn, Lane::I8),
        M::Blendvps => blend(cx, insn, Lane::I32),
        M::Blendvpd => blend(cx, insn, Lane::I64),
        M::Pblendw => blend_by_constant(cx, insn, 2),
        M::Blendps => blend_by_constant(cx, insn, 4),
        M::Blendpd => blend_by_constant(cx, insn, 8),
        M::Insertps => insert_single(cx, insn),
        _ => return false,
    }
    true
}

/// PBLENDVB and its family: XMM0 tells where the second operand is taken.
fn blend(cx: &mut Lifter<'_>, insn: &Instruction, lane: Lane) {
    let (old, src) = operands(cx, insn);
    let mask = cx.b.get(crate::state::XMM0);
    let result = cx.b.vec(Op::VBlend, lane, &[mask, src, old], 0);
    cx.set_reg(insn.op0_register(), result);
}

/// All ones in the lanes of `bytes` bytes whose bits in `lanes` are set.
fn lane_mask(lanes: u8, bytes: u32) -> u128 {
    let ones = u128::MAX >> (128 - 8 * bytes);
    (0..16 / bytes).filter(|n| lanes >> n & 1 != 0).fold(0, |mask, n| mask | ones << (8 * bytes * n))
}

fn blend_by_constant(cx: &mut Lifter<'_>, insn: &Instruction, bytes: u32) {
    let (old, src) = operands(cx, insn);
    let mask = cx.b.vconst(Type::V128, lane_mask(insn.immediate8(), bytes));
    let result = cx.b.multi(Op::VSelect, &[mask, src, old]);
    cx.set_reg(insn.op0_register(), result);
}

/// INSERTPS: one lane of the second operand to one of the first, then some lanes to zero.
fn insert_single(cx: &mut Lifter<'_>, insn: &Instruction) {
    let imm = insn.immediate8();
    let dst = insn.op0_register();
    let (src, from) = if cx.is_mem(1) {
        (load(cx, insn, Type::V128, Alignment::Any), 0)
    } else {
        (cx.reg(insn.op1_register()), imm >> 6)
    };
    let old = cx.reg(dst);
    let selector = u32::from(from << 4 | imm >> 4 & 3);
    let mut result = cx.b.vec(Op::VMoveLane, Lane::I32, &[old, src], selector);
    if imm & 15 != 0 {
        let kept = cx.b.vconst(Type::V128, lane_mask(!imm & 15, 4));
        result = cx.b.bin(Op::VAnd, result, kept);
    }
    cx.set_reg(dst, result);
}

// ---- tests, sums of products, helpers

fn others(cx: &mut Lifter<'_>, insn: &Instruction) -> bool {
    use Mnemonic as M;
    match insn.mnemonic() {
        M::Ptest => {
            let (first, second) = operands(cx, insn);
            let tested = cx.b.convert(Op::VTest, Type::I32, &[first, second]);
            cx.set_flags_of(tested);
        }
        M::Dpps => dot_product(cx, insn, Lane::F32),
        M::Dppd => dot_product(cx, insn, Lane::F64),
        M::Crc32 => crc32(cx),
        M::Mpsadbw => by_helper(cx, insn, helpers::MPSADBW),
        M::Phminposuw => by_helper(cx, insn, helpers::PHMINPOSUW),
        M::Pcmpestri | M::Pcmpestri64 => compare_strings(cx, insn, Strings { explicit: true, index: true }),
        M::Pcmpestrm | M::Pcmpestrm64 => compare_strings(cx, insn, Strings { explicit: true, index: false }),
        M::Pcmpistri => compare_strings(cx, insn, Strings { explicit: false, index: true }),
        M::Pcmpistrm => compare_strings(cx, insn, Strings { explicit: false, index: false }),
        M::Sha1rnds4 => by_helper(cx, insn, helpers::SHA1_ROUNDS),
        M::Sha1nexte => by_helper(cx, insn, helpers::SHA1_NEXT_E),
        M::Sha1msg1 => by_helper(cx, insn, helpers::SHA1_MESSAGE1),
        M::Sha1msg2 => by_helper(cx, insn, helpers::SHA1_MESSAGE2),
        M::Sha256rnds2 => by_helper(cx, insn, helpers::SHA256_ROUNDS),
        M::Sha256msg1 => by_helper(cx, insn, helpers::SHA256_MESSAGE1),
        M::Sha256msg2 => by_helper(cx, insn, helpers::SHA256_MESSAGE2),
        _ => return false,
    }
    true
}

/// DPPS and DPPD: products of the lanes that the high half of the immediate names, summed in pairs, the sum in the
/// lanes that the low half names. Lanes that are not named are zeroed first, so that they raise no exception.
fn dot_product(cx: &mut Lifter<'_>, insn: &Instruction, lane: Lane) {
    let (old, src) = operands(cx, insn);
    let (imm, bytes) = (insn.immediate8(), lane.bytes());
    let factors = cx.b.vconst(Type::V128, lane_mask(imm >> 4, bytes));
    let [a, b] = [old, src].map(|v| cx.b.bin(Op::VAnd, v, factors));
    let mut sum = cx.b.vec(Op::FMul, lane, &[a, b], 0);
    let sums = if lane == Lane::F32 { 2 } else { 1 };
    for _ in 0..sums {
        sum = cx.b.vec(Op::FPairAdd, lane, &[sum, sum], 0);
    }
    let kept = cx.b.vconst(Type::V128, lane_mask(imm, bytes));
    let result = cx.b.bin(Op::VAnd, sum, kept);
    cx.set_reg(insn.op0_register(), result);
}

/// CRC32 with Castagnoli's polynomial.
fn crc32(cx: &mut Lifter<'_>) {
    let data = cx.read_op(1);
    let sum = cx.gpr_part_of(cx.insn.op0_register(), Type::I32);
    let sum = cx.b.convert(Op::Crc, Type::I32, &[sum, data]);
    cx.set_reg(cx.insn.op0_register(), sum);
}

/// The second operand as two integers, and the first's number with the immediate.
fn helper_arguments(cx: &mut Lifter<'_>, insn: &Instruction, alignment: Alignment) -> [Value; 3] {
    let src = if cx.is_mem(1) { load(cx, insn, Type::V128, alignment) } else { cx.reg(insn.op1_register()) };
    let halves = [0, 1].map(|n| cx.b.vec_to(Op::VExtract, Type::I64, Lane::I64, &[src], n));
    let imm = if insn.op_count() > 2 { insn.immediate8() } else { 0 };
    let what = insn.op0_register().number() as u64 | u64::from(imm) << 8;
    [halves[0], halves[1], cx.b.iconst(Type::I32, what)]
}

/// An instruction on two vectors that a helper does.
fn by_helper(cx: &mut Lifter<'_>, insn: &Instruction, helper: HelperId) {
    let arguments = helper_arguments(cx, insn, Alignment::Checked);
    cx.call(helper, Type::None, &arguments);
}

/// Which of the four string comparisons it is.
#[derive(Clone, Copy)]
struct Strings {
    /// Lengths are in eax and edx (or rax and rdx).
    explicit: bool,
    /// The result is an index in ecx, not a mask in XMM0.
    index: bool,
}

/// PCMPESTRI and its family; the memory operand need not be aligned.
fn compare_strings(cx: &mut Lifter<'_>, insn: &Instruction, kind: Strings) {
    // Bytes that are equal each, and the lowest index: how strings are compared.
    if !kind.explicit && kind.index && insn.immediate8() & 0x4d == 0x08 {
        return compare_bytes(cx, insn);
    }
    let [lo, hi, what] = helper_arguments(cx, insn, Alignment::Any);
    // With REX.W the lengths are 64-bit numbers.
    let wide = matches!(insn.mnemonic(), Mnemonic::Pcmpestri64 | Mnemonic::Pcmpestrm64);
    let flags = u64::from(kind.explicit) | u64::from(kind.index) << 1 | u64::from(wide) << 2;
    let what = cx.b.region().const_bits(what).unwrap_or(0) | flags << 16;
    let what = cx.b.iconst(Type::I32, what);
    cx.call(helpers::COMPARE_STRINGS, Type::None, &[lo, hi, what]);
}

/// PCMPISTRI of bytes by "equal each", the lowest index (SDM vol. 2, 4.1). Everything happens on masks of 16 bits.
fn compare_bytes(cx: &mut Lifter<'_>, insn: &Instruction) {
    let second = if cx.is_mem(1) { load(cx, insn, Type::V128, Alignment::Any) } else { cx.reg(insn.op1_register()) };
    let first = cx.reg(insn.op0_register());
    let zero = cx.b.vconst(Type::V128, 0);
    let mut equal = |a, b| {
        let lanes = cx.b.vec(Op::VCmpEq, Lane::I8, &[a, b], 0);
        cx.b.vec_to(Op::VMoveMask, Type::I32, Lane::I8, &[lanes], 0)
    };
    let (same, first_ends, second_ends) = (equal(first, second), equal(first, zero), equal(second, zero));
    // The bits from the first zero on: behind the end of the string.
    let [first_past, second_past] = [first_ends, second_ends].map(|ends| {
        let negative = cx.b.un(Op::Neg, ends);
        cx.b.bin(Op::Or, ends, negative)
    });
    // Elements behind both ends count as equal, those behind one as different.
    let either = cx.b.bin(Op::Or, first_past, second_past);
    let neither = cx.b.un(Op::Not, either);
    let inside = cx.b.bin(Op::And, same, neither);
    let both = cx.b.bin(Op::And, first_past, second_past);
    let mut result = cx.b.bin(Op::Or, inside, both);
    match insn.immediate8() >> 4 & 3 {
        1 => result = cx.b.un(Op::Not, result),
        3 => {
            let valid = cx.b.un(Op::Not, second_past);
            result = cx.b.bin(Op::Xor, result, valid);
        }
        _ => {}
    }
    let all = cx.b.iconst(Type::I32, 0xffff);
    let result = cx.b.bin(Op::And, result, all);
    let end = cx.b.iconst(Type::I32, 1 << 16);
    let bounded = cx.b.bin(Op::Or, result, end);
    let index = cx.b.un(Op::Tzcnt, bounded);
    let flags = string_flags(cx, result, first_ends, second_ends);
    cx.set_gpr_part(crate::state::ECX, index);
    cx.set_flags(flags);
}

/// The flags of a string comparison: C if there is a result, Z and S if the second and the first string end, O for the
/// lowest bit of the result.
fn string_flags(cx: &mut Lifter<'_>, result: Value, first_ends: Value, second_ends: Value) -> Value {
    let one = cx.b.iconst(Type::I32, 1);
    let mut bits = Value::NONE;
    for (mask, place) in [(result, 0u32), (second_ends, 6), (first_ends, 7), (cx.b.bin(Op::And, result, one), 11)] {
        let tested = cx.test_zero(mask);
        let bit = cx.b.setcc(Cond::Ne, tested);
        let mut bit = cx.zext(bit, Type::I32);
        if place > 0 {
            let count = cx.b.iconst(Type::I8, u64::from(place));
            bit = cx.b.multi(Op::Shl, &[bit, count, Value::NONE]);
        }
        bits = if bits.is_none() { bit } else { cx.b.bin(Op::Or, bits, bit) };
    }
    cx.b.bits_flags(bits)
}
