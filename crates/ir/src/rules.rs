//! What the rows of the op table leave open: the types, lanes and immediates that an op admits.
//!
//! The verifier enforces these rules and the random generator draws from them, so an op that is added with a row alone
//! gets the widest rule of its shape.

use crate::op::{AttrKind, ImmKind, Op, Res, X87Form, X87Op};
use crate::region::Inst;
use crate::types::{AtomicOp, FlagSet, FpMode, Lane, MemAttr, Rounding, Type};

const INTS: &[Type] = &[Type::I8, Type::I16, Type::I32, Type::I64];
const INTS_FROM_16: &[Type] = &[Type::I16, Type::I32, Type::I64];
const INTS_FROM_32: &[Type] = &[Type::I32, Type::I64];
const INTS_AND_128: &[Type] = &[Type::I8, Type::I16, Type::I32, Type::I64, Type::I128];
const WIDE_INTS: &[Type] = &[Type::I16, Type::I32, Type::I64, Type::I128];
const VECTORS: &[Type] = &[Type::V64, Type::V128];
const STORABLE: &[Type] = &[Type::I8, Type::I16, Type::I32, Type::I64, Type::I128, Type::V64, Type::V128];
const REGISTER: &[Type] = &[Type::I8, Type::I16, Type::I32, Type::I64, Type::V64, Type::V128, Type::Flags];

/// The types that an op's instruction may have.
pub fn types(op: Op) -> &'static [Type] {
    match op {
        Op::Get | Op::Set => REGISTER,
        Op::Load | Op::Store => STORABLE,
        Op::Cas => INTS_AND_128,
        Op::Call => &[Type::None, Type::I8, Type::I16, Type::I32, Type::I64],
        Op::Mul | Op::Shld | Op::Shrd | Op::Bsf | Op::Bsr | Op::Popcnt | Op::Lzcnt | Op::Tzcnt => INTS_FROM_16,
        Op::Bt | Op::Bts | Op::Btr | Op::Btc | Op::Zext | Op::Sext | Op::Ins | Op::Lea => INTS_FROM_16,
        Op::Bswap | Op::BitRev => INTS_FROM_32,
        Op::FToInt | Op::FToIntTrunc | Op::FLaneToIntS | Op::FLaneToIntU => INTS_FROM_32,
        Op::QuotU | Op::QuotS | Op::CmpIf | Op::CmnIf => INTS_FROM_32,
        Op::Concat => WIDE_INTS,
        Op::VToInt => INTS_AND_128,
        Op::SetCc => &[Type::I8],
        Op::X87Status => &[Type::I16],
        Op::FlagsBits
        | Op::FCmpQuiet
        | Op::FCmpSignal
        | Op::FCmpOrder
        | Op::VTest
        | Op::Crc
        | Op::VMoveMask
        | Op::X87Flags => &[Type::I32],
        Op::VExtract => INTS,
        Op::VShuffleLo | Op::VShuffleHi | Op::VShuffle2 | Op::VZeroUpper => &[Type::V128],
        _ if (Op::AesEnc..=Op::ClMul).contains(&op) => &[Type::V128],
        _ if is_float(op) => &[Type::V128],
        _ if is_vector(op) => VECTORS,
        _ => match op.info().res {
            Res::No => &[Type::None],
            Res::T => INTS,
            Res::Fl => &[Type::Flags],
        },
    }
}

/// Whether the op works on vectors of integers (the rows from `vadd` to `clmul`).
pub fn is_vector(op: Op) -> bool {
    (Op::VAdd..=Op::ClMul).contains(&op)
}

/// Whether the op works on floating-point lanes (the rows from `fadd` to `fs2h`).
pub fn is_float(op: Op) -> bool {
    (Op::FAdd..=Op::FSingleToHalf).contains(&op)
}

/// The lanes that an op of that type admits.
pub fn lanes(op: Op, ty: Type) -> &'static [Lane] {
    use Lane::{F32, F64, I8, I16, I32, I64, S32, S64};
    match op {
        Op::VAddSatS | Op::VAddSatU | Op::VSubSatS | Op::VSubSatU | Op::VAvgU => &[I8, I16],
        Op::VMulLo if ty == Type::V64 => &[I8, I16, I32],
        Op::VMulLo => &[I8, I16, I32, I64],
        Op::VMulAddUS | Op::VPopcnt | Op::VPolyMul => &[I8],
        // As 64-bit lanes it is `clmul`.
        Op::VPolyMulWide => &[I8],
        Op::VMulHiRound => &[I16, I32],
        Op::VLzcnt => &[I8, I16, I32],
        Op::VWidenS | Op::VWidenU => &[I8, I16, I32],
        Op::VNarrow => &[I16, I32, I64],
        Op::VBlend => &[I8, I32, I64],
        Op::FPairAdd | Op::FAddSub => &[F32, F64],
        Op::FHalfToSingle | Op::FSingleToHalf => &[F32, S32],
        Op::FCmpOrder | Op::FLaneToIntS | Op::FLaneToIntU => &[S32, S64],
        Op::VMulHiS | Op::VMulHiU | Op::VMulAddS => &[I16],
        Op::VMulWideU | Op::VMulWideS => &[I32],
        Op::VMoveLane => &[I32, I64],
        Op::VMinS | Op::VMinU | Op::VMaxS | Op::VMaxU if ty == Type::V64 => &[I8, I16, I32],
        Op::VShl | Op::VShr | Op::VShlImm | Op::VShrImm => &[I16, I32, I64],
        Op::VSar | Op::VSarImm => &[I16, I32, I64],
        Op::VPackS | Op::VPackU if ty == Type::V64 => &[I16, I32],
        Op::VPackS | Op::VPackU => &[I16, I32, I64],
        Op::VZipLo | Op::VZipHi if ty == Type::V64 => &[I8, I16, I32],
        Op::VShuffle if ty == Type::V64 => &[I16],
        Op::VShuffle => &[I32],
        Op::VShuffle2 => &[F32, F64],
        Op::VMoveMask => &[I8, F32, F64],
        Op::FRcp | Op::FRsqrt => &[F32, S32],
        Op::FCmpQuiet | Op::FCmpSignal | Op::FCvtLane | Op::FFromInt | Op::FToInt | Op::FToIntTrunc => &[S32, S64],
        Op::FCvtPacked | Op::FFromIntPacked | Op::FToIntPacked | Op::FToIntPackedTrunc => &[F32, F64],
        _ if is_float(op) => &[F32, F64, S32, S64],
        _ => &[I8, I16, I32, I64],
    }
}

/// Whether operand `index` of an instruction may have type `operand`, for operands that the table declares as
/// [`crate::Arg::Any`]. Projections and register writes have rules of their own, which need the region.
pub fn any_operand(inst: &Inst, index: usize, operand: Type) -> bool {
    let (ty, lane) = (inst.ty, inst.lane());
    let int_or_128 = operand.is_int() || operand == Type::I128;
    match inst.op {
        Op::Zext | Op::Sext | Op::Ins => operand.is_int() && operand.bits() < ty.bits(),
        Op::Trunc | Op::Field => int_or_128 && operand.bits() > ty.bits(),
        Op::Call => operand.is_int(),
        Op::VMoveMask => VECTORS.contains(&operand) && (lane == Lane::I8 || operand == Type::V128),
        Op::VExtract => VECTORS.contains(&operand) && lane.bytes() <= ty.bytes(),
        Op::VInsert => operand.is_int() && operand.bytes() >= lane.bytes(),
        Op::VFromInt => int_or_128 && operand.bits() <= ty.bits(),
        Op::VToInt => VECTORS.contains(&operand) && ty.bits() <= operand.bits(),
        Op::VResize => VECTORS.contains(&operand) && operand != ty,
        Op::Crc => operand.is_int(),
        Op::VDup => operand.is_int() && operand.bytes() >= lane.bytes(),
        Op::FFromInt => index == 1 && INTS_FROM_32.contains(&operand),
        _ => true,
    }
}

/// Whether the small immediate of an instruction is in range; `operands` are the types of its first two operands.
pub fn small_imm(inst: &Inst, operands: [Type; 2]) -> bool {
    let imm = inst.imm;
    let lanes_of = |ty: Type| ty.bytes() / inst.lane().bytes();
    match inst.op {
        Op::Field => [8, 16, 32, 64].contains(&imm) && imm + inst.ty.bits() <= operands[0].bits(),
        Op::Ins => [0, 8, 16, 32].contains(&imm) && imm + operands[1].bits() <= inst.ty.bits(),
        Op::VExtract => imm < lanes_of(operands[0]),
        Op::VInsert => imm < lanes_of(inst.ty),
        Op::VMoveLane => imm & 15 < lanes_of(inst.ty) && imm >> 4 < lanes_of(inst.ty),
        Op::X87Cmov => imm < 8,
        Op::VDupLane => imm < lanes_of(inst.ty),
        Op::VAlign => imm <= inst.ty.bytes(),
        Op::CmpIf | Op::CmnIf => imm < 64,
        Op::Crc => imm < 2,
        Op::ClMul => imm & !0x11 == 0,
        op if op.info().imm == ImmKind::Fp => imm < 64 && fp_selector(op, inst.fp_mode()),
        Op::X87 | Op::X87Flags => imm < if takes_st(inst.x87()) { 8 } else { 1 },
        _ => imm < 256,
    }
}

/// Whether a floating-point op has that selector.
fn fp_selector(op: Op, mode: FpMode) -> bool {
    match op {
        Op::FCmpMask => mode.selector() < 8,
        Op::FCmpOrder | Op::FHalfToSingle => mode.selector() < 2,
        Op::FRoundInt => mode.selector() & 7 < Rounding::ALL.len() as u8,
        Op::FToIntSatS | Op::FToIntSatU | Op::FLaneToIntS | Op::FLaneToIntU => {
            mode.selector() < Rounding::ALL.len() as u8
        }
        _ => mode.selector() == 0,
    }
}

/// Whether the attribute byte is in range for the op and its type.
pub fn attribute(inst: &Inst) -> bool {
    let attr = usize::from(inst.attr);
    match inst.op.info().attr {
        AttrKind::Na => attr == 0,
        AttrKind::Cc => attr < crate::Cond::ALL.len(),
        AttrKind::La => {
            attr < Lane::ALL.len()
                && lanes(inst.op, inst.ty).contains(&inst.lane())
                && (!inst.ty.is_vector() || inst.lane().bytes() <= inst.ty.bytes())
        }
        AttrKind::Me => inst.mem().is_valid() && access(inst.ty, inst.mem(), inst.op == Op::Store),
        AttrKind::Fs => attr < 64,
        AttrKind::At => attr < crate::AtomicOp::ALL.len(),
        AttrKind::X8 => attr < X87Op::ALL.len() && x87_kind(inst.x87()) == inst.op,
    }
}

/// Whether a memory access fits a value of that type.
fn access(ty: Type, mem: MemAttr, store: bool) -> bool {
    mem.bytes() <= ty.bytes()
        && (!mem.is_signed() || (ty.is_int() && !store))
        && (!mem.is_big_endian() || ty.is_int())
        && (ty != Type::I128 || mem.bytes() == 16)
        && (!ty.is_vector() || mem.bytes() >= 4)
}

/// The op whose attribute an x87 operation can be.
pub fn x87_kind(kind: X87Op) -> Op {
    match (kind, kind.form()) {
        (X87Op::Ucomi | X87Op::Comi | X87Op::UcomiPop | X87Op::ComiPop, _) => Op::X87Flags,
        (_, X87Form::Reg(_)) => Op::X87,
        (_, X87Form::Mem(..)) => Op::X87Mem,
    }
}

/// Whether an x87 operation has a register operand besides ST(0); others have 0 as their immediate. The opcodes
/// without one are those of `fnop` and above after 0xd9, and those that are not a multiple of 8 (SDM vol. 2, table A-8
/// ff.).
pub fn takes_st(kind: X87Op) -> bool {
    match kind.form() {
        X87Form::Reg([0x9b, _]) => false,
        X87Form::Reg([first, second]) => second % 8 == 0 && !(first == 0xd9 && second >= 0xd0),
        X87Form::Mem(..) => false,
    }
}

/// Whether only the flags of an op are defined, not its result.
pub fn has_undefined_result(op: Op) -> bool {
    use Op::{CmnIf, CmpIf, FCmpOrder, FCmpQuiet, FCmpSignal, VTest, X87Flags};
    matches!(op, CmpIf | CmnIf | VTest | FCmpQuiet | FCmpSignal | FCmpOrder | X87Flags)
}

/// The flags of an op that have no defined value: hosts differ in them, and so may the interpreter and compiled code.
///
/// Shifts are taken at their worst, a count above 1 and, for narrow types, above the width.
pub fn undefined_flags(inst: &Inst) -> FlagSet {
    let Inst { op, ty, .. } = *inst;
    let narrow = if ty.bits() < 32 { FlagSet::C } else { FlagSet::empty() };
    match op {
        Op::And | Op::Or | Op::Xor => FlagSet::A,
        Op::Mul | Op::MulU | Op::MulS => FlagSet::all() - FlagSet::C - FlagSet::O,
        Op::Shl | Op::Shr | Op::Sar => FlagSet::A | FlagSet::O | narrow,
        // A double shift of an i16 by more than 16 has no defined result at all.
        Op::Shld | Op::Shrd if ty == Type::I16 => FlagSet::all(),
        Op::Shld | Op::Shrd => FlagSet::A | FlagSet::O,
        Op::Rol | Op::Ror | Op::Rcl | Op::Rcr => FlagSet::O,
        Op::Bsf | Op::Bsr => FlagSet::all() - FlagSet::Z,
        Op::CmpIf | Op::CmnIf => FlagSet::A | FlagSet::P,
        Op::FCmpOrder => FlagSet::A | FlagSet::P,
        Op::Lzcnt | Op::Tzcnt => FlagSet::all() - FlagSet::Z - FlagSet::C,
        // The bit tests keep the others on every x86, but the manual only promises Z.
        Op::Bt | Op::Bts | Op::Btr | Op::Btc => FlagSet::all() - FlagSet::Z - FlagSet::C,
        Op::Rmw | Op::Fetch => match inst.atomic() {
            AtomicOp::Add | AtomicOp::Sub => FlagSet::empty(),
            AtomicOp::And | AtomicOp::Or | AtomicOp::Xor => FlagSet::A,
            _ => FlagSet::all(),
        },
        Op::Cas if ty == Type::I128 => FlagSet::all() - FlagSet::Z,
        _ => FlagSet::empty(),
    }
}
