//! MMX, SSE and x87 code: the entry point, the operands, and the families of instructions that are one op.
//!
//! Most vector instructions are one row of [`family`]: the op, its lane, and the shape of its operands. The same row
//! serves the MMX and the SSE form, because the type of the values, not the op, tells the width. Reading or writing an
//! MMX register implies the transition of the x87 unit to MMX (SDM vol. 1, 9.5); whoever executes the IR does it.

use super::{Lifter, mmx, packed, sse, x87};
use iced_x86::{Instruction, Mnemonic, OpKind, Register};
use isamorph_ir::{Lane, MemAttr, Op, Rounding, Type, Value};

/// Lifts a SIMD or x87 instruction; `false` if it is none, or one that has no lifting. String instructions, two of
/// which share their mnemonics with scalar double-precision ones, must not come here.
pub(crate) fn lift_simd(cx: &mut Lifter<'_>, insn: &Instruction) -> bool {
    x87::report_pending(cx, insn);
    if let Some(row) = family(insn.mnemonic()) {
        lift_family(cx, insn, row);
        return true;
    }
    sse::lift(cx, insn) || packed::lift(cx, insn) || mmx::lift(cx, insn) || x87::lift(cx, insn)
}

/// How the operands of an instruction become those of its op; `dst` is the first operand, `src` the second.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `dst = op(dst, src)`.
    Binary,
    /// `dst = op(dst, src, imm8)`.
    BinaryImm,
    /// `dst = op(src)`.
    Unary,
    /// `dst = op(src, imm8)`.
    UnaryImm,
    /// `dst = op(src, src)`: packed forms of ops that take the other lanes of scalar forms from their first operand.
    Packed,
    /// `dst = op(src, src, imm8)`, likewise.
    PackedImm,
    /// `dst = op(dst, src)` with a count in a vector, or the op's immediate form of it.
    Shift,
}

/// A row of the table of families.
#[derive(Clone, Copy)]
struct Family {
    shape: Shape,
    op: Op,
    lane: Lane,
}

macro_rules! families {
    ($($shape:ident { $($mnemonic:ident $op:ident $lane:ident;)* })*) => {
        /// The family of an instruction.
        fn family(mnemonic: Mnemonic) -> Option<Family> {
            Some(match mnemonic {
                $($(Mnemonic::$mnemonic => Family { shape: Shape::$shape, op: Op::$op, lane: Lane::$lane },)*)*
                _ => return None,
            })
        }
    };
}

// Ops without lanes have I8. SDM vol. 2 has the instructions under their names.
families! {
    Binary {
        // Integer arithmetic.
        Paddb VAdd I8; Paddw VAdd I16; Paddd VAdd I32; Paddq VAdd I64;
        Psubb VSub I8; Psubw VSub I16; Psubd VSub I32; Psubq VSub I64;
        Paddsb VAddSatS I8; Paddsw VAddSatS I16; Paddusb VAddSatU I8; Paddusw VAddSatU I16;
        Psubsb VSubSatS I8; Psubsw VSubSatS I16; Psubusb VSubSatU I8; Psubusw VSubSatU I16;
        Pmullw VMulLo I16; Pmulld VMulLo I32; Pmulhw VMulHiS I16; Pmulhuw VMulHiU I16;
        Pmuludq VMulWideU I32; Pmaddwd VMulAddS I16; Psadbw VSadU I8;
        Pavgb VAvgU I8; Pavgw VAvgU I16; Pmuldq VMulWideS I32; Pmulhrsw VMulHiRound I16; Pmaddubsw VMulAddUS I8;
        Phaddw VPairAdd I16; Phaddd VPairAdd I32; Pshufb VShufBytes I8;
        Pminsb VMinS I8; Pminsw VMinS I16; Pminsd VMinS I32; Pminub VMinU I8; Pminuw VMinU I16; Pminud VMinU I32;
        Pmaxsb VMaxS I8; Pmaxsw VMaxS I16; Pmaxsd VMaxS I32; Pmaxub VMaxU I8; Pmaxuw VMaxU I16; Pmaxud VMaxU I32;
        Pcmpeqb VCmpEq I8; Pcmpeqw VCmpEq I16; Pcmpeqd VCmpEq I32; Pcmpeqq VCmpEq I64;
        Pcmpgtb VCmpGtS I8; Pcmpgtw VCmpGtS I16; Pcmpgtd VCmpGtS I32; Pcmpgtq VCmpGtS I64;
        // Bitwise.
        Pand VAnd I8; Andps VAnd I8; Andpd VAnd I8; Pandn VAndNot I8; Andnps VAndNot I8; Andnpd VAndNot I8;
        Por VOr I8; Orps VOr I8; Orpd VOr I8; Pxor VXor I8; Xorps VXor I8; Xorpd VXor I8;
        // Packing and interleaving.
        Packsswb VPackS I16; Packssdw VPackS I32; Packuswb VPackU I16; Packusdw VPackU I32;
        Punpcklbw VZipLo I8; Punpcklwd VZipLo I16; Punpckldq VZipLo I32; Punpcklqdq VZipLo I64;
        Punpckhbw VZipHi I8; Punpckhwd VZipHi I16; Punpckhdq VZipHi I32; Punpckhqdq VZipHi I64;
        Unpcklps VZipLo I32; Unpcklpd VZipLo I64; Unpckhps VZipHi I32; Unpckhpd VZipHi I64;
        // Floating point.
        Addps FAdd F32; Addpd FAdd F64; Addss FAdd S32; Addsd FAdd S64;
        Subps FSub F32; Subpd FSub F64; Subss FSub S32; Subsd FSub S64;
        Mulps FMul F32; Mulpd FMul F64; Mulss FMul S32; Mulsd FMul S64;
        Divps FDiv F32; Divpd FDiv F64; Divss FDiv S32; Divsd FDiv S64;
        Minps FMin F32; Minpd FMin F64; Minss FMin S32; Minsd FMin S64;
        Maxps FMax F32; Maxpd FMax F64; Maxss FMax S32; Maxsd FMax S64;
        Sqrtss FSqrt S32; Sqrtsd FSqrt S64; Rcpss FRcp S32; Rsqrtss FRsqrt S32;
        Cvtss2sd FCvtLane S32; Cvtsd2ss FCvtLane S64;
        Haddps FPairAdd F32; Haddpd FPairAdd F64; Addsubps FAddSub F32; Addsubpd FAddSub F64;
        // Cryptography.
        Aesenc AesEnc I8; Aesenclast AesEncLast I8; Aesdec AesDec I8; Aesdeclast AesDecLast I8;
    }
    PackedImm {
        Roundps FRoundInt F32; Roundpd FRoundInt F64;
    }
    Packed {
        Sqrtps FSqrt F32; Sqrtpd FSqrt F64; Rcpps FRcp F32; Rsqrtps FRsqrt F32;
    }
    BinaryImm {
        Shufps VShuffle2 F32; Shufpd VShuffle2 F64;
        Roundss FRoundInt S32; Roundsd FRoundInt S64; Pclmulqdq ClMul I8;
        Cmpps FCmpMask F32; Cmppd FCmpMask F64; Cmpss FCmpMask S32; Cmpsd FCmpMask S64;
    }
    Unary {
        Pabsb VAbs I8; Pabsw VAbs I16; Pabsd VAbs I32; Aesimc AesImc I8;
        Cvtdq2ps FFromIntPacked F32; Cvtdq2pd FFromIntPacked F64; Cvtps2pd FCvtPacked F32; Cvtpd2ps FCvtPacked F64;
        Cvtps2dq FToIntPacked F32; Cvtpd2dq FToIntPacked F64;
        Cvttps2dq FToIntPackedTrunc F32; Cvttpd2dq FToIntPackedTrunc F64;
    }
    UnaryImm {
        Aeskeygenassist AesKeygen I8;
        Pshufd VShuffle I32; Pshufw VShuffle I16; Pshuflw VShuffleLo I8; Pshufhw VShuffleHi I8;
    }
    Shift {
        Psllw VShl I16; Pslld VShl I32; Psllq VShl I64; Psrlw VShr I16; Psrld VShr I32; Psrlq VShr I64;
        Psraw VSar I16; Psrad VSar I32; Pslldq VShlBytes I8; Psrldq VShrBytes I8;
    }
}

fn lift_family(cx: &mut Lifter<'_>, insn: &Instruction, row: Family) {
    let Family { shape, op, lane } = row;
    let dst = insn.op0_register();
    let ty = vector_type(dst);
    let imm = u32::from(insn.immediate8());
    let result = match shape {
        Shape::Shift if insn.op1_kind() == OpKind::Immediate8 => {
            let (op, count) = immediate_shift(op, lane, imm);
            let value = cx.reg(dst);
            cx.b.vec(op, lane, &[value], count)
        }
        Shape::Binary | Shape::BinaryImm | Shape::Shift => {
            let src = source(cx, insn, ty);
            let old = cx.reg(dst);
            let imm = match (shape, op) {
                (Shape::BinaryImm, _) => small_immediate(op, imm),
                _ => 0,
            };
            cx.b.vec(op, lane, &[old, src], imm)
        }
        Shape::Packed | Shape::PackedImm => {
            let src = source(cx, insn, ty);
            let imm = if shape == Shape::PackedImm { small_immediate(op, imm) } else { 0 };
            cx.b.vec(op, lane, &[src, src], imm)
        }
        Shape::Unary | Shape::UnaryImm => {
            let src = source(cx, insn, ty);
            cx.b.vec(op, lane, &[src], if shape == Shape::UnaryImm { imm } else { 0 })
        }
    };
    cx.set_reg(dst, result);
}

/// The immediate as the op has it: other bits are reserved, and ignored.
fn small_immediate(op: Op, imm: u32) -> u32 {
    match op {
        // The predicate (SDM vol. 2, CMPPS).
        Op::FCmpMask => imm & 7,
        // The mode, or bit 2 for that of MXCSR, whatever the mode; bit 3 to not report inexact results (table 4-17).
        Op::FRoundInt if imm & 4 != 0 => imm & 8 | Rounding::Current as u32,
        Op::FRoundInt => imm & 11,
        Op::ClMul => imm & 0x11,
        _ => imm,
    }
}

/// The immediate form of a shift, with the count reduced to the smallest one that has the same effect.
fn immediate_shift(op: Op, lane: Lane, count: u32) -> (Op, u32) {
    let bits = lane.bytes() * 8;
    match op {
        Op::VShl => (Op::VShlImm, count.min(bits)),
        Op::VShr => (Op::VShrImm, count.min(bits)),
        Op::VSar => (Op::VSarImm, count.min(bits - 1)),
        whole => (whole, count.min(Type::V128.bytes())),
    }
}

/// The type of a vector register's value: `v64` for MMX, `v128` for SSE.
pub(super) fn vector_type(register: Register) -> Type {
    if register.is_mm() { Type::V64 } else { Type::V128 }
}

/// The second operand as a vector: a register, or as many bytes of memory as the instruction reads.
///
/// 16-byte operands must be aligned (SDM vol. 1, 4.1.1), except those of some moves, which use [`load`]. Narrower ones
/// are zero-extended to `ty`.
pub(super) fn source(cx: &mut Lifter<'_>, insn: &Instruction, ty: Type) -> Value {
    if cx.is_mem(1) { load(cx, insn, ty, Alignment::Checked) } else { cx.reg(insn.op1_register()) }
}

/// What happens to a 16-byte operand at an address that is not a multiple of 16. Narrower ones may be anywhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alignment {
    /// It faults.
    Checked,
    /// Nothing.
    Any,
}

/// The memory operand, zero-extended to `ty`.
pub(super) fn load(cx: &mut Lifter<'_>, insn: &Instruction, ty: Type, alignment: Alignment) -> Value {
    let addr = cx.ea();
    cx.b.load(ty, access(insn, alignment), addr)
}

/// Stores the low bytes of `value`, as many as the instruction writes.
pub(super) fn store(cx: &mut Lifter<'_>, insn: &Instruction, value: Value, alignment: Alignment) {
    let addr = cx.ea();
    cx.b.store(access(insn, alignment), addr, value);
}

fn access(insn: &Instruction, alignment: Alignment) -> MemAttr {
    let bytes = insn.memory_size().size() as u32;
    let mem = MemAttr::new(bytes);
    if alignment == Alignment::Checked && bytes == Type::V128.bytes() { mem.aligned() } else { mem }
}
