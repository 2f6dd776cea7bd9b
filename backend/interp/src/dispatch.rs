//! Which function computes which op.

use crate::int::{self, Bit};
use crate::shift::{self, Direction};
use crate::vector::{self, clamp_signed, clamp_unsigned, high_half};
use crate::{Frame, Slot};
use isamorph_ir::{Inst, Lane, Op, Trap, Type};

impl Frame<'_> {
    /// Computes one instruction. Control flow is not here: [`Frame::run`] does it.
    // tidy: flat
    pub(crate) fn eval(&mut self, inst: &Inst) -> Result<Slot, Trap> {
        let (ty, imm) = (inst.ty, inst.imm);
        let operand = |index: usize| self.value(inst.args[index]) as u64;
        let (a, b) = (operand(0), operand(1));
        let flags_at = |index: usize| self.flags(inst.args[index]);
        Ok(match inst.op {
            // State and structure.
            Op::FlagsKeep => {
                let kept = inst.flag_set();
                Slot::flags((self.slot(inst.args[0]).flags - kept) | (flags_at(1) & kept))
            }
            Op::Second => Slot::int(self.slot(inst.args[0]).second),
            // Integer arithmetic.
            Op::Adc => int::add(ty, a, b, int::carry(flags_at(2))),
            Op::Sbb => int::sub(ty, a, b, int::carry(flags_at(2))),
            Op::Neg => int::sub(ty, 0, a, false),
            Op::Not => Slot::int(!a & ty.mask()),
            Op::Mul | Op::MulS => int::mul_signed(ty, a, b),
            Op::MulU => int::mul_unsigned(ty, a, b),
            Op::DivU => int::div_unsigned(ty, a, b, operand(2))?,
            Op::DivS => int::div_signed(ty, a, b, operand(2))?,
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
            Op::Sext => Slot::int(int::sign_extend(self.region.value_type(inst.args[0]), a) as u64 & ty.mask()),
            Op::Trunc => Slot::int(a & ty.mask()),
            Op::Field => Slot::int((self.value(inst.args[0]) >> imm) as u64 & ty.mask()),
            Op::Ins => int::insert(self.region.value_type(inst.args[1]), a, b, imm),
            Op::Concat => Slot::new(self.value(inst.args[1]) << (ty.bits() / 2) | self.value(inst.args[0])),
            // Conditions and flags.
            Op::SetCc => Slot::int(u64::from(inst.cond().holds(flags_at(0)))),
            Op::Select => Slot::int(if inst.cond().holds(flags_at(0)) { b } else { operand(2) }),
            Op::FlagsBits | Op::BitsFlags => Slot::flags(flags_at(0)),
            Op::FlagsSet => Slot::flags(flags_at(0) | inst.flag_set()),
            Op::FlagsClear => Slot::flags(flags_at(0) - inst.flag_set()),
            Op::FlagsNot => Slot::flags(flags_at(0) ^ inst.flag_set()),
            // Memory and helpers.
            Op::Lea => Slot::int(self.address(inst) & ty.mask()),
            Op::Rmw => self.read_modify_write(inst, a, |new, _| new)?,
            Op::Fetch => self.read_modify_write(inst, a, |_, old| old)?,
            Op::Cas => self.compare_and_swap(inst, self.value(inst.args[0]), self.value(inst.args[1]))?,
            Op::Fence => self.fence(),
            Op::Call => self.call(inst, [a, b, operand(2)])?,
            // `Frame::run` does the frequent ops and control flow; the rest are vectors.
            _ => return self.eval_vector(inst),
        })
    }

    /// Vectors, floating point and the x87 unit. Apart, so that integer code does not pay for their set-up.
    // tidy: flat
    #[inline(never)]
    fn eval_vector(&mut self, inst: &Inst) -> Result<Slot, Trap> {
        let (ty, lane, imm) = (inst.ty, inst.lane(), inst.imm);
        let (wide_a, wide_b) = (self.value(inst.args[0]), self.value(inst.args[1]));
        let (a, b) = (wide_a as u64, wide_b as u64);
        let map = |f: fn(u64, u64) -> u64| Slot::new(vector::map2(ty, lane, wide_a, wide_b, f));
        let map_signed = |f: fn(i64, i64) -> i64| Slot::new(vector::map2_signed(ty, lane, wide_a, wide_b, f));
        let saturate = |f: fn(i64, i64) -> i64| {
            Slot::new(vector::map2_signed(ty, lane, wide_a, wide_b, |x, y| clamp_signed(lane, f(x, y))))
        };
        let saturate_unsigned = |f: fn(i64, i64) -> i64| {
            let clamped = |x, y| clamp_unsigned(lane, f(x as i64, y as i64)) as u64;
            Slot::new(vector::map2(ty, lane, wide_a, wide_b, clamped))
        };
        let both = |f: fn(Type, Lane, u128, u128) -> u128| Slot::new(f(ty, lane, wide_a, wide_b));
        let shifted = |f: fn(Type, Lane, u128, u64) -> u128, count| Slot::new(f(ty, lane, wide_a, count));
        Ok(match inst.op {
            // Vectors.
            Op::VAdd => map(u64::wrapping_add),
            Op::VSub => map(u64::wrapping_sub),
            Op::VAddSatS => saturate(|x, y| x + y),
            Op::VAddSatU => saturate_unsigned(|x, y| x + y),
            Op::VSubSatS => saturate(|x, y| x - y),
            Op::VSubSatU => saturate_unsigned(|x, y| x - y),
            Op::VMulLo => map(u64::wrapping_mul),
            Op::VMulHiS => both(|ty, lane, a, b| vector::map2_signed(ty, lane, a, b, |x, y| high_half(lane, x * y))),
            Op::VMulHiU => both(|ty, lane, a, b| vector::map2(ty, lane, a, b, |x, y| high_half(lane, x * y))),
            Op::VMulWideU => both(vector::multiply_wide),
            Op::VMulAddS => both(vector::multiply_add),
            Op::VAvgU => map(|x, y| (x + y + 1) >> 1),
            Op::VMinS => map_signed(i64::min),
            Op::VMinU => map(u64::min),
            Op::VMaxS => map_signed(i64::max),
            Op::VMaxU => map(u64::max),
            Op::VCmpEq => map(|x, y| if x == y { u64::MAX } else { 0 }),
            Op::VCmpGtS => map_signed(|x, y| -i64::from(x > y)),
            Op::VSadU => Slot::new(vector::sum_of_differences(ty, wide_a, wide_b)),
            Op::VAnd => Slot::new(wide_a & wide_b),
            Op::VAndNot => Slot::new(!wide_a & wide_b),
            Op::VOr => Slot::new(wide_a | wide_b),
            Op::VXor => Slot::new(wide_a ^ wide_b),
            Op::VShl => shifted(vector::shift_left, b),
            Op::VShr => shifted(vector::shift_right, b),
            Op::VSar => shifted(vector::shift_right_signed, b),
            Op::VShlImm => shifted(vector::shift_left, imm.into()),
            Op::VShrImm => shifted(vector::shift_right, imm.into()),
            Op::VSarImm => shifted(vector::shift_right_signed, imm.into()),
            Op::VShlBytes => Slot::new(wide_a.checked_shl(8 * imm).unwrap_or(0) & vector::mask(ty)),
            Op::VShrBytes => Slot::new(wide_a.checked_shr(8 * imm).unwrap_or(0)),
            Op::VPackS => both(|ty, lane, a, b| vector::pack(ty, lane, a, b, clamp_signed)),
            Op::VPackU => both(|ty, lane, a, b| vector::pack(ty, lane, a, b, clamp_unsigned)),
            Op::VZipLo => both(vector::zip_low),
            Op::VZipHi => both(vector::zip_high),
            Op::VShuffle => Slot::new(vector::shuffle(lane, wide_a, imm, 0)),
            Op::VShuffleLo => Slot::new(vector::shuffle(Lane::I16, wide_a, imm, 0)),
            Op::VShuffleHi => Slot::new(vector::shuffle(Lane::I16, wide_a, imm, 4)),
            Op::VShuffle2 => Slot::new(vector::shuffle2(ty, lane, wide_a, wide_b, imm)),
            Op::VMoveMask => Slot::int(vector::move_mask(self.region.value_type(inst.args[0]), lane, wide_a)),
            Op::VExtract => Slot::int(vector::lane_at(lane, wide_a, imm)),
            Op::VInsert => Slot::new(vector::with_lane(lane, wide_a, imm, b)),
            Op::VMoveLane => {
                Slot::new(vector::with_lane(lane, wide_a, imm & 15, vector::lane_at(lane, wide_b, imm >> 4)))
            }
            Op::VFromInt => Slot::new(wide_a),
            Op::VToInt | Op::VResize => Slot::new(wide_a & vector::mask(ty)),
            Op::VZeroUpper => Slot::int(a),
            // Floating point.
            Op::FAdd
            | Op::FSub
            | Op::FMul
            | Op::FDiv
            | Op::FMin
            | Op::FMax
            | Op::FSqrt
            | Op::FRcp
            | Op::FRsqrt
            | Op::FCmpMask
            | Op::FCvtLane => self.float(inst, wide_a, wide_b)?,
            Op::FCvtPacked | Op::FFromIntPacked | Op::FToIntPacked | Op::FToIntPackedTrunc => {
                self.float(inst, 0, wide_a)?
            }
            Op::FCmpQuiet | Op::FCmpSignal => self.float_compare(inst, wide_a, wide_b)?,
            Op::FFromInt => self.float_from_int(inst, wide_a, b)?,
            Op::FToInt | Op::FToIntTrunc => self.float_to_int(inst, wide_a)?,
            // The x87 unit.
            Op::X87 => self.x87(inst)?,
            Op::X87Mem => self.x87_mem(inst)?,
            Op::X87Flags => self.x87_flags(inst)?,
            Op::X87Status => Slot::int(self.x87_status()),
            Op::X87Cmov => self.x87_cmov(inst)?,
            op => unreachable!("{op} is computed elsewhere"),
        })
    }
}
