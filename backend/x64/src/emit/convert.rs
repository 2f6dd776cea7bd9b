//! Floating-point conversions beyond those of SSE2's tables: saturation, unsigned integers, half precision, and the NaN
//! rules of other guests.

use super::Emitter;
use super::float::{Check, cc, op3a, op38, prefix, width_prefix};
use crate::asm::{Opcode, Rm};
use crate::pins::VEC;
use isamorph_ir::{FpRule, Inst, Lane, Op, Rounding, Type};

/// 2⁶³ as a double, upper half: unsigned numbers below it convert like signed ones.
const DOUBLE_LIMIT: u32 = 0x43e0_0000;
/// 2³² as a single.
const SINGLE_LIMIT: u32 = 0x4f80_0000;

impl Emitter<'_> {
    pub(super) fn packed_conversion(&mut self, i: usize, inst: &Inst) {
        let double = inst.lane() == Lane::F64;
        let (prefix, byte) = match inst.op {
            Op::FCvtPacked => (if double { 0x66 } else { 0 }, 0x5a),
            Op::FFromIntPacked if double => (0xf3, 0xe6),
            Op::FFromIntPacked => (0, 0x5b),
            Op::FToIntPacked if double => (0xf2, 0xe6),
            Op::FToIntPacked => (0x66, 0x5b),
            _ if double => (0x66, 0xe6),
            _ => (0xf3, 0x5b),
        };
        let check = if inst.op == Op::FCvtPacked { Self::check_of(inst) } else { Check::None };
        let a = self.reg(inst.args[0]);
        if check == Check::Result {
            self.clobber_flags(i);
        }
        let d = self.float_dest(i, 1 << a, check);
        self.float_fault(inst);
        self.vex_one(Opcode::sse(prefix, byte), d, a);
        if check == Check::Result {
            // What is above two singles is zero.
            let lane = if double { Lane::F32 } else { Lane::F64 };
            self.unless_nan(inst, lane, &[(Type::V128, a)], d);
        }
        self.define(i, d);
    }

    fn clear(&mut self, d: u8) {
        self.vex(Opcode::sse(0x66, 0xef), d, d, d);
    }

    /// Moves between an integer register and lane 0: MOVD, MOVQ.
    fn lane_to_int(&mut self, r: u8, x: u8, wide: bool) {
        self.asm.vex(Opcode::sse(0x66, 0x7e), wide, x - VEC, 0, Rm::Reg(r));
    }

    fn high_lane_to_int(&mut self, r: u8, x: u8) {
        self.asm.vex(op3a(0x16), true, x - VEC, 0, Rm::Reg(r)); // pextrq
        self.asm.u8(1);
    }

    fn int_to_lane(&mut self, x: u8, r: u8, wide: bool) {
        self.asm.vex(Opcode::sse(0x66, 0x6e), wide, x - VEC, 0, Rm::Reg(r));
    }

    /// Integers of the lanes' width: scalars, and packed signed singles.
    pub(super) fn convert_integers(&mut self, i: usize, inst: &Inst) {
        let (lane, unsigned) = (inst.lane(), inst.op == Op::FFromIntU);
        let double = lane.bytes() == 8;
        if !lane.is_scalar() {
            return self.convert_packed_integers(i, inst);
        }
        let a = self.reg(inst.args[0]);
        let t = self.scratch(false);
        let risky = double && unsigned;
        if risky {
            self.clobber_flags(i);
        }
        let d = self.dest_avoiding(i, None, 1 << a | self.unfit_for(i));
        self.lane_to_int(t, a, double);
        let cold = risky.then(|| {
            // Numbers with the top bit look negative to the host.
            self.asm.op(Opcode::one(0x85), 8, t, Rm::Reg(t));
            self.unless_ordinary(cc::SIGN, inst, &[(Type::V128, a)], d)
        });
        self.clear(d);
        self.float_fault(inst);
        // An unsigned word is a signed doubleword.
        self.asm.vex(Opcode::sse(prefix(lane), 0x2a), double || unsigned, d - VEC, d - VEC, Rm::Reg(t));
        cold.into_iter().for_each(|cold| self.resume(cold));
        self.define(i, d);
    }

    fn convert_packed_integers(&mut self, i: usize, inst: &Inst) {
        let (lane, unsigned) = (inst.lane(), inst.op == Op::FFromIntU);
        let a = self.reg(inst.args[0]);
        let (t, u, x) = (self.scratch(false), self.scratch(false), self.scratch(true));
        if unsigned {
            self.clobber_flags(i);
        }
        let d = self.dest_avoiding(i, None, 1 << a | self.unfit_for(i));
        let cold = unsigned.then(|| {
            // Numbers with the top bit look negative to the host.
            self.asm.vex(Opcode::sse(width_prefix(lane), 0x50), false, t, 0, Rm::Reg(a - VEC)); // movmskps
            self.asm.op(Opcode::one(0x85), 4, t, Rm::Reg(t));
            self.unless_ordinary(cc::NOT_EQUAL, inst, &[(Type::V128, a)], d)
        });
        if lane == Lane::F32 {
            self.float_fault(inst);
            self.vex_one(Opcode::two(0x5b), d, a);
        } else {
            self.lane_to_int(t, a, true);
            self.high_lane_to_int(u, a);
            for (half, int) in [(d, t), (x, u)] {
                self.clear(half);
                self.float_fault(inst);
                self.asm.vex(Opcode::sse(0xf2, 0x2a), true, half - VEC, half - VEC, Rm::Reg(int));
            }
            self.vex(Opcode::sse(0x66, 0x14), d, d, x); // unpcklpd
        }
        cold.into_iter().for_each(|cold| self.resume(cold));
        self.define(i, d);
    }

    /// Saturating conversions. The host's give the lowest number for whatever does not fit.
    pub(super) fn saturate(&mut self, i: usize, inst: &Inst) -> bool {
        let (lane, rounding) = (inst.lane(), inst.fp_mode().as_rounding().0);
        // A trap would have to come before the destination is written.
        if rounding == Rounding::NearestAway || inst.fp_mode().rule() == FpRule::X86 {
            return false;
        }
        match (inst.op, lane.is_scalar(), lane) {
            (Op::FToIntSatS, true, _) => self.saturate_signed(i, inst, rounding),
            (_, true, _) => self.saturate_unsigned(i, inst, rounding),
            (_, _, Lane::F32) => self.saturate_words(i, inst, rounding),
            _ => self.saturate_doublewords(i, inst, rounding),
        }
        true
    }

    /// The operand of a conversion that truncates: rounded first, if that is not what is wanted. NaNs, and numbers that
    /// do not fit, stay what they are.
    fn rounded(&mut self, lane: Lane, a: u8, t: u8, rounding: Rounding) -> u8 {
        if matches!(rounding, Rounding::Zero | Rounding::Current) {
            return a;
        }
        if lane.is_scalar() {
            self.vex(op3a(if lane == Lane::S64 { 0x0b } else { 0x0a }), t, a, a);
        } else {
            self.vex_one(op3a(if lane == Lane::F64 { 0x09 } else { 0x08 }), t, a);
        }
        self.asm.u8(rounding as u8);
        t
    }

    /// CVTTSD2SI and relatives; the current rounding mode has instructions of its own.
    fn convert_to_int(&mut self, lane: Lane, wide: bool, r: u8, x: u8, rounding: Rounding) {
        let byte = if rounding == Rounding::Current { 0x2d } else { 0x2c };
        self.asm.vex(Opcode::sse(prefix(lane), byte), wide, r, 0, Rm::Reg(x - VEC));
    }

    fn saturate_signed(&mut self, i: usize, inst: &Inst, rounding: Rounding) {
        let (lane, wide) = (inst.lane(), inst.lane().bytes() == 8);
        let a = self.reg(inst.args[0]);
        let (t, x) = (self.scratch(false), self.scratch(true));
        self.clobber_flags(i);
        let d = self.dest_avoiding(i, None, 1 << a);
        let source = self.rounded(lane, a, x, rounding);
        self.convert_to_int(lane, wide, t, source, rounding);
        let cold = self.unless_lowest(inst, t, wide, &[(Type::V128, a)], d);
        self.int_to_lane(d, t, wide);
        self.resume(cold);
        self.define(i, d);
    }

    /// Unsigned numbers fit into a signed conversion of twice the width, or have to be below its limit. What is
    /// negative or does not fit must not be converted first: that would also be inexact.
    fn saturate_unsigned(&mut self, i: usize, inst: &Inst, rounding: Rounding) {
        let (lane, wide) = (inst.lane(), inst.lane().bytes() == 8);
        let a = self.reg(inst.args[0]);
        let (t, x) = (self.scratch(false), self.scratch(true));
        self.clobber_flags(i);
        let d = self.dest_avoiding(i, None, 1 << a);
        if wide {
            self.asm.vex(op3a(0x16), false, a - VEC, 0, Rm::Reg(t)); // pextrd t, a, 1
            self.asm.u8(1);
        } else {
            self.lane_to_int(t, a, false);
        }
        // Positive numbers are ordered as integers.
        self.asm.op(Opcode::one(0x81), 4, 7, Rm::Reg(t));
        self.asm.u32(if wide { DOUBLE_LIMIT } else { SINGLE_LIMIT });
        let cold = self.unless_ordinary(cc::ABOVE_EQUAL, inst, &[(Type::V128, a)], d);
        let source = self.rounded(lane, a, x, rounding);
        self.convert_to_int(lane, true, t, source, rounding);
        self.int_to_lane(d, t, wide);
        self.resume(cold);
        self.define(i, d);
    }

    /// A lane to an integer register.
    pub(super) fn saturate_lane(&mut self, i: usize, inst: &Inst) -> bool {
        let (lane, rounding) = (inst.lane(), inst.fp_mode().as_rounding().0);
        // A trap would have to come before the destination is written.
        if rounding == Rounding::NearestAway || inst.fp_mode().rule() == FpRule::X86 {
            return false;
        }
        let (unsigned, wide) = (inst.op == Op::FLaneToIntU, inst.ty == Type::I64);
        let a = self.reg(inst.args[0]);
        let (t, x) = (self.scratch(false), self.scratch(true));
        self.clobber_flags(i);
        let d = self.dest(i, None);
        let operands = [(Type::V128, a)];
        // A number that has a fraction and does not fit must not be rounded first: that would be inexact, too.
        let rounds = !matches!(rounding, Rounding::Zero | Rounding::Current);
        let limit = match (unsigned, lane, wide) {
            (true, Lane::S64, true) => DOUBLE_LIMIT,
            (true, Lane::S64, false) => 0x41ef_ffff,
            (true, _, true) => 0x5f00_0000,
            (true, _, false) => SINGLE_LIMIT,
            (false, Lane::S64, false) if rounds => 0x41df_ffff,
            _ => 0,
        };
        let mut cold = None;
        if limit != 0 {
            if lane == Lane::S64 {
                self.asm.vex(op3a(0x16), false, a - VEC, 0, Rm::Reg(t)); // pextrd t, a, 1
                self.asm.u8(1);
            } else {
                self.lane_to_int(t, a, false);
            }
            if !unsigned {
                self.asm.op(Opcode::one(0x81), 4, 4, Rm::Reg(t)); // and
                self.asm.u32(0x7fff_ffff);
            }
            self.asm.op(Opcode::one(0x81), 4, 7, Rm::Reg(t)); // cmp
            self.asm.u32(limit);
            cold = Some(self.unless_ordinary(cc::ABOVE_EQUAL, inst, &operands, d));
        }
        let source = self.rounded(lane, a, x, rounding);
        self.convert_to_int(lane, wide || unsigned, d, source, rounding);
        let cold = cold.unwrap_or_else(|| self.unless_lowest(inst, d, wide, &operands, d));
        self.resume(cold);
        self.define(i, d);
        true
    }

    fn saturate_words(&mut self, i: usize, inst: &Inst, rounding: Rounding) {
        const LARGEST: u128 = u128::from_le_bytes([
            0xff, 0xff, 0xff, 0x4e, 0xff, 0xff, 0xff, 0x4e, 0xff, 0xff, 0xff, 0x4e, 0xff, 0xff, 0xff, 0x4e,
        ]);
        let a = self.reg(inst.args[0]);
        let (t, x) = (self.scratch(true), self.scratch(true));
        self.clobber_flags(i);
        let d = self.dest_avoiding(i, None, 1 << a);
        let operands = [(Type::V128, a)];
        let before = (inst.op == Op::FToIntSatU).then(|| {
            // Numbers below 2³¹ that are not negative, as integers.
            self.load_constant(x, LARGEST);
            self.vex(op38(0x3f), t, a, x); // pmaxud
            self.vex(Opcode::sse(0x66, 0xef), t, t, x);
            self.vex_one(op38(0x17), t, t);
            self.unless_ordinary(cc::NOT_EQUAL, inst, &operands, d)
        });
        let source = self.rounded(inst.lane(), a, x, rounding);
        let prefix = if rounding == Rounding::Current { 0x66 } else { 0xf3 };
        self.vex_one(Opcode::sse(prefix, 0x5b), d, source);
        let cold = before.unwrap_or_else(|| {
            // Whether a lane is the lowest number: all ones shifted left by 31.
            self.vex(Opcode::sse(0x66, 0x76), t, t, t);
            self.asm.vex(Opcode::sse(0x66, 0x72), false, 6, t - VEC, Rm::Reg(t - VEC));
            self.asm.u8(31);
            self.vex(Opcode::sse(0x66, 0x76), t, t, d);
            self.vex_one(op38(0x17), t, t);
            self.unless_ordinary(cc::NOT_EQUAL, inst, &operands, d)
        });
        self.resume(cold);
        self.define(i, d);
    }

    /// Doubles to integers, one after the other: the host converts no vectors of them.
    fn saturate_doublewords(&mut self, i: usize, inst: &Inst, rounding: Rounding) {
        let unsigned = inst.op == Op::FToIntSatU;
        let a = self.reg(inst.args[0]);
        let (t, u, x, y) = (self.scratch(false), self.scratch(false), self.scratch(true), self.scratch(true));
        self.clobber_flags(i);
        let d = self.dest_avoiding(i, None, 1 << a);
        let operands = [(Type::V128, a)];
        let mut cold = Vec::new();
        for half in [1, 3].into_iter().filter(|_| unsigned) {
            self.asm.vex(op3a(0x16), false, a - VEC, 0, Rm::Reg(t)); // pextrd
            self.asm.u8(half);
            self.asm.op(Opcode::one(0x81), 4, 7, Rm::Reg(t));
            self.asm.u32(DOUBLE_LIMIT);
            cold.push(self.unless_ordinary(cc::ABOVE_EQUAL, inst, &operands, d));
        }
        let source = self.rounded(inst.lane(), a, x, rounding);
        self.vex(Opcode::sse(0x66, 0x15), y, source, source); // unpckhpd
        for (int, double) in [(t, source), (u, y)] {
            self.convert_to_int(Lane::S64, true, int, double, rounding);
            if !unsigned {
                cold.push(self.unless_lowest(inst, int, true, &operands, d));
            }
        }
        self.int_to_lane(d, t, true);
        self.asm.vex(op3a(0x22), true, d - VEC, d - VEC, Rm::Reg(u)); // pinsrq
        self.asm.u8(1);
        cold.into_iter().for_each(|cold| self.resume(cold));
        self.define(i, d);
    }

    /// Jumps to the cold path if a converted number is the lowest: only that overflows when 1 is taken from it.
    fn unless_lowest(&mut self, inst: &Inst, int: u8, wide: bool, operands: &[(Type, u8)], d: u8) -> usize {
        self.asm.op(Opcode::one(0x83), if wide { 8 } else { 4 }, 7, Rm::Reg(int));
        self.asm.u8(1);
        self.unless_ordinary(cc::OVERFLOW, inst, operands, d)
    }

    /// Half precision to single. That leaves a signalling NaN one is not the host's way.
    pub(super) fn half_to_single(&mut self, i: usize, inst: &Inst) -> bool {
        let check = Self::check_of(inst);
        if inst.fp_mode().selector() != 0 || check == Check::Result {
            return false;
        }
        let a = self.reg(inst.args[0]);
        let d = self.dest_avoiding(i, None, 1 << a | self.unfit_for(i));
        let mut source = a;
        if inst.lane().is_scalar() {
            self.clear(d);
            self.vex(op3a(0x0e), d, d, a); // pblendw: the lowest word of it
            self.asm.u8(1);
            source = d;
        }
        self.float_fault(inst);
        self.vex_one(op38(0x13), d, source);
        self.define(i, d);
        true
    }

    /// Single to half precision.
    pub(super) fn single_to_half(&mut self, i: usize, inst: &Inst) -> bool {
        const CURRENT_ROUNDING: u8 = 4;
        if !matches!(inst.fp_mode().rule(), FpRule::X86 | FpRule::Arm) {
            return false;
        }
        let a = self.reg(inst.args[0]);
        let d = self.dest_avoiding(i, None, 1 << a | self.unfit_for(i));
        let mut source = a;
        if inst.lane().is_scalar() {
            self.clear(d);
            self.vex(Opcode::sse(0xf3, 0x10), d, d, a); // movss
            source = d;
        }
        self.float_fault(inst);
        // The destination is the r/m operand.
        self.vex_one(op3a(0x1d), source, d);
        self.asm.u8(CURRENT_ROUNDING);
        self.define(i, d);
        true
    }
}
