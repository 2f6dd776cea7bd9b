//! Ops that only compute: integers, flags and vectors of integers, from operands to a result.
//!
//! The functions are generic over where the operands come from: a region that is being interpreted, or one operation on
//! its own ([`crate::Operation`]).

use crate::int::{self, Bit};
use crate::shift::{self, Direction};
use crate::vector::{self, clamp_signed, clamp_unsigned, high_half};
use crate::{Slot, crypto};
use isamorph_ir::{FlagSet, Inst, Lane, Op, Type};

/// Where an instruction finds its operands.
pub(crate) trait Operands {
    /// The bits of an operand, zero above its type's width; 0 for one that is not there.
    fn value(&self, index: usize) -> u128;
    /// The type of an operand.
    fn ty(&self, index: usize) -> Type;
    /// The value of a flags bundle.
    fn flags(&self, index: usize) -> FlagSet {
        FlagSet::from_bits_truncate(self.value(index) as u32)
    }
}

/// Computes an op on integers and flags, or on vectors.
// tidy: flat
pub(crate) fn eval(inst: &Inst, operands: &impl Operands) -> Slot {
    let (ty, imm) = (inst.ty, inst.imm);
    let operand = |index: usize| operands.value(index) as u64;
    let (a, b) = (operand(0), operand(1));
    let flags_at = |index: usize| operands.flags(index);
    match inst.op {
        // Integer arithmetic.
        Op::Adc => int::add(ty, a, b, int::carry(flags_at(2))),
        Op::Sbb => int::sub(ty, a, b, int::carry(flags_at(2))),
        Op::Neg => int::sub(ty, 0, a, false),
        Op::Not => Slot::int(!a & ty.mask()),
        Op::Mul | Op::MulS => int::mul_signed(ty, a, b),
        Op::MulU => int::mul_unsigned(ty, a, b),
        Op::QuotU => Slot::int(a.checked_div(b).unwrap_or(0)),
        Op::QuotS => int::quotient_signed(ty, a, b),
        Op::CmpIf | Op::CmnIf if !inst.cond().holds(flags_at(2)) => Slot::arith(0, FlagSet::from_attr(imm as u8)),
        Op::CmpIf => Slot::arith(0, int::sub(ty, a, b, false).flags),
        Op::CmnIf => Slot::arith(0, int::add(ty, a, b, false).flags),
        // Shifts.
        Op::Shl => shift::shl(ty, a, b, flags_at(2)),
        Op::Shr => shift::shr(ty, a, b, flags_at(2)),
        Op::Sar => shift::sar(ty, a, b, flags_at(2)),
        Op::Rol => shift::rotate(Direction::Left, ty, a, b, flags_at(2)),
        Op::Ror => shift::rotate(Direction::Right, ty, a, b, flags_at(2)),
        Op::Rcl => shift::rotate_carry(Direction::Left, ty, a, b, flags_at(2)),
        Op::Rcr => shift::rotate_carry(Direction::Right, ty, a, b, flags_at(2)),
        Op::Shld => shift::double(Direction::Left, ty, [a, b], operand(2), flags_at(3)),
        Op::Shrd => shift::double(Direction::Right, ty, [a, b], operand(2), flags_at(3)),
        // Bits.
        Op::Bswap => Slot::int(a.swap_bytes() >> (64 - ty.bits())),
        Op::BitRev => Slot::int(a.reverse_bits() >> (64 - ty.bits())),
        Op::Crc => Slot::int(crypto::crc(a as u32, b, operands.ty(1).bytes(), imm).into()),
        Op::Bsf => int::scan(a, b, a.trailing_zeros()),
        Op::Bsr => int::scan(a, b, 63 - (a | 1).leading_zeros()),
        Op::Popcnt => int::count_ones(a),
        Op::Lzcnt => int::count_zeros(a, a.leading_zeros() - (64 - ty.bits())),
        Op::Tzcnt => int::count_zeros(a, a.trailing_zeros().min(ty.bits())),
        Op::Bt => int::bit(Bit::Test, ty, a, b, flags_at(2)),
        Op::Bts => int::bit(Bit::Set, ty, a, b, flags_at(2)),
        Op::Btr => int::bit(Bit::Clear, ty, a, b, flags_at(2)),
        Op::Btc => int::bit(Bit::Flip, ty, a, b, flags_at(2)),
        // Width changes.
        Op::Zext => Slot::int(a),
        Op::Sext => Slot::int(int::sign_extend(operands.ty(0), a) as u64 & ty.mask()),
        Op::Trunc => Slot::int(a & ty.mask()),
        Op::Field => Slot::int((operands.value(0) >> imm) as u64 & ty.mask()),
        Op::Ins => int::insert(operands.ty(1), a, b, imm),
        Op::Concat => Slot::new(operands.value(1) << (ty.bits() / 2) | operands.value(0)),
        // Conditions and flags.
        Op::SetCc => Slot::int(u64::from(inst.cond().holds(flags_at(0)))),
        Op::Select => Slot::int(if inst.cond().holds(flags_at(0)) { b } else { operand(2) }),
        Op::FlagsBits | Op::BitsFlags => Slot::flags(flags_at(0)),
        Op::FlagsSet => Slot::flags(flags_at(0) | inst.flag_set()),
        Op::FlagsClear => Slot::flags(flags_at(0) - inst.flag_set()),
        Op::FlagsNot => Slot::flags(flags_at(0) ^ inst.flag_set()),
        _ => lanes(inst, operands),
    }
}

/// Vectors of integers, lane by lane.
// tidy: flat
fn lanes(inst: &Inst, operands: &impl Operands) -> Slot {
    let (ty, lane, imm) = (inst.ty, inst.lane(), u64::from(inst.imm));
    let (a, b) = (operands.value(0), operands.value(1));
    let map = |f: fn(u64, u64) -> u64| Slot::new(vector::map2(ty, lane, a, b, f));
    let map_signed = |f: fn(i64, i64) -> i64| Slot::new(vector::map2_signed(ty, lane, a, b, f));
    let saturate =
        |f: fn(i64, i64) -> i64| Slot::new(vector::map2_signed(ty, lane, a, b, |x, y| clamp_signed(lane, f(x, y))));
    let saturate_unsigned = |f: fn(i64, i64) -> i64| {
        let clamped = |x, y| clamp_unsigned(lane, f(x as i64, y as i64)) as u64;
        Slot::new(vector::map2(ty, lane, a, b, clamped))
    };
    let both = |f: fn(Type, Lane, u128, u128) -> u128| Slot::new(f(ty, lane, a, b));
    let shifted = |f: fn(Lane, u64, u64) -> u64, count| Slot::new(vector::map1(ty, lane, a, |x| f(lane, x, count)));
    let shifted_lanes = |f: fn(Lane, u64, u64) -> u64| Slot::new(vector::map2(ty, lane, a, b, |x, y| f(lane, x, y)));
    match inst.op {
        Op::VAdd => map(u64::wrapping_add),
        Op::VSub => map(u64::wrapping_sub),
        Op::VAddSatS => saturate(|x, y| x + y),
        Op::VAddSatU => saturate_unsigned(|x, y| x + y),
        Op::VSubSatS => saturate(|x, y| x - y),
        Op::VSubSatU => saturate_unsigned(|x, y| x - y),
        Op::VMulLo => map(u64::wrapping_mul),
        Op::VMulHiS => both(|ty, lane, a, b| vector::map2_signed(ty, lane, a, b, |x, y| high_half(lane, x * y))),
        Op::VMulHiU => both(|ty, lane, a, b| vector::map2(ty, lane, a, b, |x, y| high_half(lane, x * y))),
        Op::VMulHiRound => both(vector::multiply_high_rounded),
        Op::VMulWideU => both(vector::multiply_wide),
        Op::VMulWideS => both(vector::multiply_wide_signed),
        Op::VMulAddS => both(vector::multiply_add),
        Op::VMulAddUS => both(vector::multiply_add_mixed),
        Op::VAvgU => map(|x, y| (x + y + 1) >> 1),
        Op::VMinS => map_signed(i64::min),
        Op::VMinU => map(u64::min),
        Op::VMaxS => map_signed(i64::max),
        Op::VMaxU => map(u64::max),
        Op::VCmpEq => map(|x, y| if x == y { u64::MAX } else { 0 }),
        Op::VCmpGtS => map_signed(|x, y| -i64::from(x > y)),
        Op::VCmpGtU => map(|x, y| if x > y { u64::MAX } else { 0 }),
        Op::VAbs => Slot::new(vector::map2_signed(ty, lane, a, 0, |x, _| x.wrapping_abs())),
        Op::VPopcnt => map(|x, _| x.count_ones().into()),
        Op::VLzcnt => Slot::new(vector::leading_zeros(ty, lane, a)),
        Op::VSadU => Slot::new(vector::sum_of_differences(ty, a, b)),
        Op::VPairAdd => both(vector::pair_add),
        Op::VShl => shifted(vector::shift_left, b as u64),
        Op::VShr => shifted(vector::shift_right, b as u64),
        Op::VSar => shifted(vector::shift_right_signed, b as u64),
        Op::VShlImm => shifted(vector::shift_left, imm),
        Op::VShrImm => shifted(vector::shift_right, imm),
        Op::VSarImm => shifted(vector::shift_right_signed, imm),
        Op::VShlLanes => shifted_lanes(vector::shift_left),
        Op::VShrLanes => shifted_lanes(vector::shift_right),
        Op::VSarLanes => shifted_lanes(vector::shift_right_signed),
        Op::VPolyMul => map(|x, y| crypto::carryless(x, y) as u64),
        Op::VPolyMulWide => both(vector::multiply_polynomials),
        _ => whole(inst, operands),
    }
}

/// Vectors as a whole: logic, moves between lanes, widths, integers; and what has no lanes.
// tidy: flat
fn whole(inst: &Inst, operands: &impl Operands) -> Slot {
    let (ty, lane, imm) = (inst.ty, inst.lane(), inst.imm);
    let (a, b) = (operands.value(0), operands.value(1));
    let both = |f: fn(Type, Lane, u128, u128) -> u128| Slot::new(f(ty, lane, a, b));
    match inst.op {
        Op::VAnd => Slot::new(a & b),
        Op::VAndNot => Slot::new(!a & b),
        Op::VOr => Slot::new(a | b),
        Op::VXor => Slot::new(a ^ b),
        Op::VSelect => Slot::new((a & b) | (!a & operands.value(2))),
        Op::VBlend => Slot::new(vector::blend(ty, lane, a, b, operands.value(2))),
        Op::VTest => Slot::arith(0, vector::test(a, b)),
        Op::VShlBytes => Slot::new(a.checked_shl(8 * imm).unwrap_or(0) & vector::mask(ty)),
        Op::VShrBytes => Slot::new(a.checked_shr(8 * imm).unwrap_or(0)),
        Op::VAlign => Slot::new(vector::align(ty, a, b, imm)),
        Op::VPackS => both(|ty, lane, a, b| vector::pack(ty, lane, a, b, clamp_signed)),
        Op::VPackU => both(|ty, lane, a, b| vector::pack(ty, lane, a, b, clamp_unsigned)),
        Op::VNarrow => both(|ty, lane, a, b| vector::pack(ty, lane, a, b, |_, x| x)),
        Op::VWidenS => Slot::new(vector::widen_signed(ty, lane, a)),
        Op::VWidenU => Slot::new(vector::widen(ty, lane, a)),
        Op::VZipLo => both(vector::zip_low),
        Op::VZipHi => both(vector::zip_high),
        Op::VShuffle => Slot::new(vector::shuffle(lane, a, imm, 0)),
        Op::VShuffleLo => Slot::new(vector::shuffle(Lane::I16, a, imm, 0)),
        Op::VShuffleHi => Slot::new(vector::shuffle(Lane::I16, a, imm, 4)),
        Op::VShuffle2 => Slot::new(vector::shuffle2(ty, lane, a, b, imm)),
        Op::VShufBytes => Slot::new(vector::shuffle_bytes(ty, a, b)),
        Op::VMoveMask => Slot::int(vector::move_mask(operands.ty(0), lane, a)),
        Op::VExtract => Slot::int(vector::lane_at(lane, a, imm)),
        Op::VInsert => Slot::new(vector::with_lane(lane, a, imm, b as u64)),
        Op::VMoveLane => Slot::new(vector::with_lane(lane, a, imm & 15, vector::lane_at(lane, b, imm >> 4))),
        Op::VDup => Slot::new(vector::duplicate(ty, lane, a as u64)),
        Op::VDupLane => Slot::new(vector::duplicate(ty, lane, vector::lane_at(lane, a, imm))),
        Op::VFromInt => Slot::new(a),
        Op::VToInt | Op::VResize => Slot::new(a & vector::mask(ty)),
        Op::VZeroUpper => Slot::int(a as u64),
        Op::AesEnc => Slot::new(crypto::mix_columns(crypto::encrypt(a)) ^ b),
        Op::AesEncLast => Slot::new(crypto::encrypt(a) ^ b),
        Op::AesDec => Slot::new(crypto::inverse_mix_columns(crypto::decrypt(a)) ^ b),
        Op::AesDecLast => Slot::new(crypto::decrypt(a) ^ b),
        Op::AesImc => Slot::new(crypto::inverse_mix_columns(a)),
        Op::AesKeygen => Slot::new(crypto::expand_key(a, imm as u8)),
        Op::ClMul => {
            let half = |value: u128, high: bool| (if high { value >> 64 } else { value }) as u64;
            Slot::new(crypto::carryless(half(a, imm & 1 != 0), half(b, imm & 0x10 != 0)))
        }
        op => unreachable!("{op} is computed elsewhere"),
    }
}
