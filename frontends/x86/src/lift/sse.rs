//! SSE instructions that are more than one op: moves of parts, conversions to and from integers, comparisons into
//! flags, the control register. MMX forms of the same instructions come along where the type
//! of the operand is the only difference.

use super::Lifter;
use super::operand::gpr;
use super::simd::{Alignment, load, source, store, vector_type};
use crate::{exception, state};
use iced_x86::{Instruction, Mnemonic, Register};
use isamorph_ir::{Cond, Lane, Op, Type, Value};

/// Lifts the instruction if it is one of these.
pub(super) fn lift(cx: &mut Lifter<'_>, insn: &Instruction) -> bool {
    moves(cx, insn) || lanes(cx, insn) || scalars(cx, insn) || control(cx, insn)
}

// ---- moves

fn moves(cx: &mut Lifter<'_>, insn: &Instruction) -> bool {
    use Mnemonic as M;
    match insn.mnemonic() {
        M::Movaps | M::Movapd | M::Movdqa | M::Movntps | M::Movntpd | M::Movntdq | M::Movntdqa => {
            copy(cx, insn, Alignment::Checked);
        }
        M::Movups | M::Movupd | M::Movdqu | M::Lddqu | M::Movntq => copy(cx, insn, Alignment::Any),
        M::Movss => scalar_move(cx, insn, Lane::I32),
        M::Movsd => scalar_move(cx, insn, Lane::I64),
        M::Movd | M::Movq => move_low(cx, insn),
        M::Movlps | M::Movlpd => low_half(cx, insn),
        M::Movhps | M::Movhpd => high_half(cx, insn),
        M::Movhlps => merge(cx, insn, |cx, old, src| cx.b.vec(Op::VMoveLane, Lane::I64, &[old, src], LANE_0_FROM_1)),
        M::Movlhps => merge(cx, insn, |cx, old, src| cx.b.vec(Op::VZipLo, Lane::I64, &[old, src], 0)),
        M::Movsldup => map(cx, insn, |cx, src| cx.b.vec(Op::VShuffle, Lane::I32, &[src], 0b10_10_00_00)),
        M::Movshdup => map(cx, insn, |cx, src| cx.b.vec(Op::VShuffle, Lane::I32, &[src], 0b11_11_01_01)),
        M::Movddup => map(cx, insn, |cx, src| cx.b.vec(Op::VZipLo, Lane::I64, &[src, src], 0)),
        M::Movnti => {
            let value = cx.reg(insn.op1_register());
            store(cx, insn, value, Alignment::Any);
        }
        _ => return false,
    }
    true
}

/// Selectors of [`Op::VMoveLane`]: destination lane in bits 3:0, source lane in bits 7:4.
const LANE_0_FROM_0: u32 = 0x00;
const LANE_0_FROM_1: u32 = 0x10;

/// A move of whole vectors.
fn copy(cx: &mut Lifter<'_>, insn: &Instruction, alignment: Alignment) {
    if cx.is_mem(0) {
        let value = cx.reg(insn.op1_register());
        return store(cx, insn, value, alignment);
    }
    let dst = insn.op0_register();
    let value = if cx.is_mem(1) { load(cx, insn, vector_type(dst), alignment) } else { cx.reg(insn.op1_register()) };
    cx.set_reg(dst, value);
}

/// `dst = f(src)`.
fn map(cx: &mut Lifter<'_>, insn: &Instruction, f: impl FnOnce(&mut Lifter<'_>, Value) -> Value) {
    let dst = insn.op0_register();
    let src = source(cx, insn, vector_type(dst));
    let result = f(cx, src);
    cx.set_reg(dst, result);
}

/// `dst = f(dst, src)`.
fn merge(cx: &mut Lifter<'_>, insn: &Instruction, f: impl FnOnce(&mut Lifter<'_>, Value, Value) -> Value) {
    let dst = insn.op0_register();
    let src = source(cx, insn, vector_type(dst));
    let old = cx.reg(dst);
    let result = f(cx, old, src);
    cx.set_reg(dst, result);
}

/// MOVSS and MOVSD: a load clears the rest of the register, a move between registers keeps it.
fn scalar_move(cx: &mut Lifter<'_>, insn: &Instruction, lane: Lane) {
    if cx.is_mem(0) || cx.is_mem(1) {
        return copy(cx, insn, Alignment::Any);
    }
    merge(cx, insn, |cx, old, src| cx.b.vec(Op::VMoveLane, lane, &[old, src], LANE_0_FROM_0));
}

/// The type of a general register.
fn integer_type(register: Register) -> Type {
    gpr(register).map_or(Type::I32, |g| g.ty)
}

/// MOVD and MOVQ: between the low part of a vector register and anything else, clearing the rest.
fn move_low(cx: &mut Lifter<'_>, insn: &Instruction) {
    if cx.is_mem(0) || cx.is_mem(1) {
        return copy(cx, insn, Alignment::Any);
    }
    let (to, from) = (insn.op0_register(), insn.op1_register());
    if to.is_gpr() {
        let value = cx.reg(from);
        let low = cx.b.convert(Op::VToInt, integer_type(to), &[value]);
        return cx.set_reg(to, low);
    }
    let value = cx.reg(from);
    let low = match vector_type(to) {
        ty if from.is_gpr() => cx.b.convert(Op::VFromInt, ty, &[value]),
        Type::V128 => cx.b.un(Op::VZeroUpper, value),
        _ => value,
    };
    cx.set_reg(to, low);
}

/// MOVLPS and MOVLPD: the low half from or to memory.
fn low_half(cx: &mut Lifter<'_>, insn: &Instruction) {
    if cx.is_mem(0) {
        return copy(cx, insn, Alignment::Any);
    }
    merge(cx, insn, |cx, old, src| cx.b.vec(Op::VMoveLane, Lane::I64, &[old, src], LANE_0_FROM_0));
}

/// MOVHPS and MOVHPD: the high half from or to memory.
fn high_half(cx: &mut Lifter<'_>, insn: &Instruction) {
    if cx.is_mem(0) {
        let value = cx.reg(insn.op1_register());
        let high = cx.b.vec(Op::VZipHi, Lane::I64, &[value, value], 0);
        return store(cx, insn, high, Alignment::Any);
    }
    merge(cx, insn, |cx, old, src| cx.b.vec(Op::VZipLo, Lane::I64, &[old, src], 0));
}

// ---- single lanes and masks as integers

fn lanes(cx: &mut Lifter<'_>, insn: &Instruction) -> bool {
    use Mnemonic as M;
    match insn.mnemonic() {
        M::Pmovmskb => mask(cx, insn, Lane::I8),
        M::Movmskps => mask(cx, insn, Lane::F32),
        M::Movmskpd => mask(cx, insn, Lane::F64),
        M::Pextrb => extract(cx, insn, Lane::I8),
        M::Pextrw => extract(cx, insn, Lane::I16),
        M::Pextrd | M::Extractps => extract(cx, insn, Lane::I32),
        M::Pextrq => extract(cx, insn, Lane::I64),
        M::Pinsrb => insert(cx, insn, Lane::I8),
        M::Pinsrw => insert(cx, insn, Lane::I16),
        M::Pinsrd => insert(cx, insn, Lane::I32),
        M::Pinsrq => insert(cx, insn, Lane::I64),
        _ => return false,
    }
    true
}

fn mask(cx: &mut Lifter<'_>, insn: &Instruction, lane: Lane) {
    let value = cx.reg(insn.op1_register());
    let bits = cx.b.vec_to(Op::VMoveMask, Type::I32, lane, &[value], 0);
    cx.set_reg(insn.op0_register(), bits);
}

/// The number of the lane that the immediate selects; its high bits are ignored.
fn selected(insn: &Instruction, ty: Type, lane: Lane) -> u32 {
    u32::from(insn.immediate8()) % (ty.bytes() / lane.bytes())
}

fn extract(cx: &mut Lifter<'_>, insn: &Instruction, lane: Lane) {
    let src = insn.op1_register();
    let value = cx.reg(src);
    let ty = if lane == Lane::I64 { Type::I64 } else { Type::I32 };
    let element = cx.b.vec_to(Op::VExtract, ty, lane, &[value], selected(insn, vector_type(src), lane));
    if cx.is_mem(0) {
        store(cx, insn, element, Alignment::Any);
    } else {
        cx.set_reg(insn.op0_register(), element);
    }
}

fn insert(cx: &mut Lifter<'_>, insn: &Instruction, lane: Lane) {
    let dst = insn.op0_register();
    let element = integer_source(cx, insn);
    let old = cx.reg(dst);
    let result = cx.b.vec(Op::VInsert, lane, &[old, element], selected(insn, vector_type(dst), lane));
    cx.set_reg(dst, result);
}

/// The second operand as an integer: a general register, or memory zero-extended to `i32` at least.
fn integer_source(cx: &mut Lifter<'_>, insn: &Instruction) -> Value {
    if !cx.is_mem(1) {
        return cx.reg(insn.op1_register());
    }
    let ty = if insn.memory_size().size() == 8 { Type::I64 } else { Type::I32 };
    load(cx, insn, ty, Alignment::Any)
}

// ---- scalars against integers and flags

fn scalars(cx: &mut Lifter<'_>, insn: &Instruction) -> bool {
    use Mnemonic as M;
    match insn.mnemonic() {
        M::Cvtsi2ss => from_integer(cx, insn, Lane::S32),
        M::Cvtsi2sd => from_integer(cx, insn, Lane::S64),
        M::Cvtss2si => to_integer(cx, insn, Op::FToInt, Lane::S32),
        M::Cvtsd2si => to_integer(cx, insn, Op::FToInt, Lane::S64),
        M::Cvttss2si => to_integer(cx, insn, Op::FToIntTrunc, Lane::S32),
        M::Cvttsd2si => to_integer(cx, insn, Op::FToIntTrunc, Lane::S64),
        M::Ucomiss => compare(cx, insn, Op::FCmpQuiet, Lane::S32),
        M::Ucomisd => compare(cx, insn, Op::FCmpQuiet, Lane::S64),
        M::Comiss => compare(cx, insn, Op::FCmpSignal, Lane::S32),
        M::Comisd => compare(cx, insn, Op::FCmpSignal, Lane::S64),
        _ => return false,
    }
    true
}

fn from_integer(cx: &mut Lifter<'_>, insn: &Instruction, lane: Lane) {
    let dst = insn.op0_register();
    let value = integer_source(cx, insn);
    let old = cx.reg(dst);
    let result = cx.b.vec(Op::FFromInt, lane, &[old, value], 0);
    cx.set_reg(dst, result);
}

fn to_integer(cx: &mut Lifter<'_>, insn: &Instruction, op: Op, lane: Lane) {
    let dst = insn.op0_register();
    let src = source(cx, insn, Type::V128);
    let value = cx.b.vec_to(op, integer_type(dst), lane, &[src], 0);
    cx.set_reg(dst, value);
}

/// UCOMISS and its family: Z, P and C from the comparison; O, A and S are cleared.
fn compare(cx: &mut Lifter<'_>, insn: &Instruction, op: Op, lane: Lane) {
    let second = source(cx, insn, Type::V128);
    let first = cx.reg(insn.op0_register());
    let result = cx.b.vec_to(op, Type::I32, lane, &[first, second], 0);
    let flags = cx.b.flags(result);
    cx.set_flags(flags);
}

// ---- control register

fn control(cx: &mut Lifter<'_>, insn: &Instruction) -> bool {
    use Mnemonic as M;
    match insn.mnemonic() {
        M::Ldmxcsr => load_control(cx),
        M::Stmxcsr => {
            // Arithmetic sets the sticky bits behind the builder's back.
            cx.b.forget(state::MXCSR);
            let value = cx.b.get(state::MXCSR);
            cx.store_ea(value);
        }
        _ => return false,
    }
    true
}

/// LDMXCSR: setting a reserved bit is a general-protection fault (SDM vol. 1, 10.2.3).
fn load_control(cx: &mut Lifter<'_>) {
    let value = cx.load_ea(Type::I32);
    let reserved = cx.b.iconst(Type::I32, !u64::from(state::MXCSR_MASK));
    let bad = cx.b.bin(Op::And, value, reserved);
    let bad = cx.b.flags(bad);
    cx.raise_if(Cond::Ne, bad, exception::GP, 0);
    cx.b.set(state::MXCSR, value);
}
