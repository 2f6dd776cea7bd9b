//! Floating-point ops that the host's instructions do not settle alone: those of the Arm rules, and those beyond SSE2.
//!
//! The hot path is the host's instruction and a check for what the rules treat differently; nearly always that is
//! whether the result is a NaN. The cold path computes the op out of line, from operands that the hot path leaves
//! alone.

use super::{Cold, Emitter};
use crate::asm::{Opcode, Rm};
use crate::pins::VEC;
use isamorph_ir::{Effects, FpRule, Inst, Lane, Op, Rounding, Type};

/// Condition numbers of host jumps.
pub(super) mod cc {
    pub(in crate::emit) const OVERFLOW: u8 = 0;
    pub(in crate::emit) const ABOVE_EQUAL: u8 = 3;
    pub(in crate::emit) const NOT_EQUAL: u8 = 5;
    pub(in crate::emit) const SIGN: u8 = 8;
    pub(in crate::emit) const PARITY: u8 = 10;
}

/// What decides, after the instruction, whether its result is the op's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Nothing: it always is.
    None,
    /// The result is no NaN.
    Result,
}

/// Prefix of an instruction on such lanes.
pub(super) fn prefix(lane: Lane) -> u8 {
    match lane {
        Lane::F64 => 0x66,
        Lane::S32 => 0xf3,
        Lane::S64 => 0xf2,
        _ => 0,
    }
}

/// Prefix of an instruction that only tells the precisions apart.
pub(super) fn width_prefix(lane: Lane) -> u8 {
    if lane.bytes() == 8 { 0x66 } else { 0 }
}

/// 66 0F 38.
pub(super) const fn op38(byte: u8) -> Opcode {
    Opcode { prefix: 0x66, map: 2, byte }
}

/// 66 0F 3A.
pub(super) const fn op3a(byte: u8) -> Opcode {
    Opcode { prefix: 0x66, map: 3, byte }
}

/// The instruction of an op with two operands that needs no more than a check of its result.
fn binary(inst: &Inst) -> Option<Opcode> {
    let lane = inst.lane();
    let plain = |byte| Some(Opcode::sse(prefix(lane), byte));
    let horizontal = |byte| Some(Opcode::sse(if lane.bytes() == 8 { 0x66 } else { 0xf2 }, byte));
    match inst.op {
        Op::FAdd => plain(0x58),
        Op::FSub => plain(0x5c),
        Op::FMul => plain(0x59),
        Op::FDiv => plain(0x5e),
        Op::FSqrt => plain(0x51),
        Op::FCmpMask => plain(0xc2),
        Op::FCvtLane => plain(0x5a),
        Op::FPairAdd => horizontal(0x7c),
        Op::FAddSub => horizontal(0xd0),
        Op::FRoundInt if inst.fp_mode().as_rounding().0 != Rounding::NearestAway => Some(op3a(match lane {
            Lane::F32 => 0x08,
            Lane::F64 => 0x09,
            Lane::S32 => 0x0a,
            _ => 0x0b,
        })),
        _ => None,
    }
}

impl Emitter<'_> {
    /// Emits a floating-point op that is not in the tables of SSE2, or follows another rule than the host. False if it
    /// has to be computed out of line.
    // tidy: flat
    pub fn float(&mut self, i: usize, inst: &Inst) -> bool {
        let host = self.backend.host;
        let rule = inst.fp_mode().rule();
        if !host.avx2 || rule == FpRule::ArmStandard {
            return false;
        }
        match inst.op {
            Op::FCmpQuiet | Op::FCmpSignal => self.compare_host(i, inst),
            Op::FCmpOrder => self.compare_order(i, inst),
            Op::FFromInt | Op::FToInt | Op::FToIntTrunc => return self.scalar_conversion(i, inst),
            Op::FCvtPacked | Op::FFromIntPacked | Op::FToIntPacked | Op::FToIntPackedTrunc => {
                self.packed_conversion(i, inst);
            }
            Op::FMulAdd if host.fma => self.fused(i, inst),
            Op::FMin | Op::FMax | Op::FMinNum | Op::FMaxNum if rule != FpRule::X86 => self.extremum(i, inst),
            Op::FMinNum | Op::FMaxNum => self.host_extremum(i, inst),
            Op::FFromIntS | Op::FFromIntU => self.convert_integers(i, inst),
            Op::FToIntSatS | Op::FToIntSatU => return self.saturate(i, inst),
            Op::FLaneToIntS | Op::FLaneToIntU => return self.saturate_lane(i, inst),
            Op::FHalfToSingle if host.f16c => return self.half_to_single(i, inst),
            Op::FSingleToHalf if host.f16c => return self.single_to_half(i, inst),
            _ => match binary(inst) {
                Some(opcode) => self.binary_float(i, inst, opcode),
                None => return false,
            },
        }
        true
    }

    /// Whether the result of an instruction that makes NaNs of NaNs and, unless it only converts, of invalid operands
    /// is the op's.
    pub(super) fn check_of(inst: &Inst) -> Check {
        let keeps_nans = matches!(inst.op, Op::FCvtLane | Op::FCvtPacked | Op::FRoundInt | Op::FHalfToSingle);
        match inst.fp_mode().rule() {
            _ if inst.op == Op::FCmpMask => Check::None,
            FpRule::X86 => Check::None,
            FpRule::Arm if keeps_nans => Check::None,
            _ => Check::Result,
        }
    }

    /// The register for a result whose operands, in the mask, must survive if it is to be checked.
    pub(super) fn float_dest(&mut self, i: usize, operands: u32, check: Check) -> u8 {
        match check {
            Check::None => self.dest_avoiding(i, None, self.unfit_for(i)),
            Check::Result => self.dest_avoiding(i, None, operands),
        }
    }

    /// Whether an unmasked exception may be raised at an instruction of this op: only x86 guests unmask them.
    fn may_trap(&self, inst: &Inst) -> bool {
        inst.fp_mode().rule() == FpRule::X86 && inst.op.effects().contains(Effects::FPENV)
    }

    /// An instruction that may trap must not be preceded by a change of a pinned register; this masks the wanted one.
    pub(super) fn unfit_for(&self, i: usize) -> u32 {
        let inst = &self.region.insts[i];
        let steps =
            matches!(inst.op, Op::FHalfToSingle | Op::FSingleToHalf | Op::FMulAdd | Op::FFromIntS | Op::FFromIntU);
        self.wanted_register(i).filter(|_| steps && self.may_trap(inst)).map_or(0, |r| 1 << r)
    }

    /// Jumps to the cold path if a register holds a NaN among the lanes of an op.
    pub(super) fn unless_nan(&mut self, inst: &Inst, lane: Lane, operands: &[(Type, u8)], d: u8) {
        let cold = if lane.is_scalar() {
            self.vex_one(Opcode::sse(width_prefix(lane), 0x2e), d, d);
            self.unless_ordinary(cc::PARITY, inst, operands, d)
        } else {
            // A vector is unordered with itself where it has NaNs.
            let t = self.scratch(true);
            self.unordered(t, lane, d, d);
            self.unless_ordinary(cc::NOT_EQUAL, inst, operands, d)
        };
        self.resume(cold);
    }

    /// Z = no lane of `a` and `b` is a NaN.
    fn unordered(&mut self, t: u8, lane: Lane, a: u8, b: u8) {
        self.vex(Opcode::sse(width_prefix(lane), 0xc2), t, a, b);
        self.asm.u8(3);
        self.vex_one(op38(0x17), t, t);
    }

    fn binary_float(&mut self, i: usize, inst: &Inst, opcode: Opcode) {
        let check = Self::check_of(inst);
        let (a, b) = (self.reg(inst.args[0]), self.reg(inst.args[1]));
        if check == Check::Result {
            self.clobber_flags(i);
        }
        let d = self.float_dest(i, 1 << a | 1 << b, check);
        self.float_fault(inst);
        let one = !inst.lane().is_scalar() && matches!(inst.op, Op::FSqrt | Op::FRoundInt);
        if one {
            self.vex_one(opcode, d, b);
        } else {
            self.vex(opcode, d, a, b);
        }
        if matches!(inst.op, Op::FCmpMask | Op::FRoundInt) {
            self.asm.u8(inst.fp_mode().selector());
        }
        if check == Check::Result {
            let lane = match (inst.op, inst.lane()) {
                (Op::FCvtLane, Lane::S32) => Lane::S64,
                (Op::FCvtLane, _) => Lane::S32,
                (_, lane) => lane,
            };
            self.unless_nan(inst, lane, &[(Type::V128, a), (Type::V128, b)], d);
        }
        self.define(i, d);
    }

    fn fused(&mut self, i: usize, inst: &Inst) {
        let check = Self::check_of(inst);
        let [a, b, c] = [0, 1, 2].map(|index| self.reg(inst.args[index]));
        if check == Check::Result {
            self.clobber_flags(i);
        }
        let kept = if check == Check::Result { 1 << c } else { 0 };
        let d = self.dest_avoiding(i, Some(c), 1 << a | 1 << b | kept | self.unfit_for(i));
        // VFMADD231: the destination is the addend.
        self.move_vector(d, c);
        self.float_fault(inst);
        let byte = if inst.lane().is_scalar() { 0xb9 } else { 0xb8 };
        self.asm.vex(op38(byte), inst.lane().bytes() == 8, d - VEC, a - VEC, Rm::Reg(b - VEC));
        if check == Check::Result {
            let operands = [(Type::V128, a), (Type::V128, b), (Type::V128, c)];
            self.unless_nan(inst, inst.lane(), &operands, d);
        }
        self.define(i, d);
    }

    /// Minimum and maximum by the Arm rules. The host gives its second operand for two zeros; both orders together have
    /// the right sign.
    fn extremum(&mut self, i: usize, inst: &Inst) {
        let lane = inst.lane();
        let minimum = matches!(inst.op, Op::FMin | Op::FMinNum);
        let opcode = Opcode::sse(prefix(lane), if minimum { 0x5d } else { 0x5f });
        let (a, b) = (self.reg(inst.args[0]), self.reg(inst.args[1]));
        let t = self.scratch(true);
        self.clobber_flags(i);
        let d = self.dest_avoiding(i, None, 1 << a | 1 << b);
        let operands = [(Type::V128, a), (Type::V128, b)];
        let cold = if lane.is_scalar() {
            self.vex_one(Opcode::sse(width_prefix(lane), 0x2e), a, b);
            self.unless_ordinary(cc::PARITY, inst, &operands, d)
        } else {
            self.unordered(t, lane, a, b);
            self.unless_ordinary(cc::NOT_EQUAL, inst, &operands, d)
        };
        self.vex(opcode, t, b, a);
        self.vex(opcode, d, a, b);
        let merge = Opcode::sse(width_prefix(lane), if minimum { 0x56 } else { 0x54 });
        if lane.is_scalar() {
            // The other lanes are those of the first operand.
            self.vex(merge, t, t, d);
            self.vex(Opcode::sse(prefix(lane), 0x10), d, a, t);
        } else {
            self.vex(merge, d, d, t);
        }
        self.resume(cold);
        self.define(i, d);
    }

    /// The host's minimum and maximum.
    fn host_extremum(&mut self, i: usize, inst: &Inst) {
        let byte = if inst.op == Op::FMinNum { 0x5d } else { 0x5f };
        let (a, b) = (self.reg(inst.args[0]), self.reg(inst.args[1]));
        let d = self.dest(i, Some(a));
        self.float_fault(inst);
        self.vex(Opcode::sse(prefix(inst.lane()), byte), d, a, b);
        self.define(i, d);
    }

    /// UCOMIS and COMIS into flags that integer conditions understand: `seta; sbb` makes Z or S and C of C and Z. O
    /// says that the operands are unordered.
    fn compare_order(&mut self, i: usize, inst: &Inst) {
        let (a, b) = (self.reg(inst.args[0]), self.reg(inst.args[1]));
        let t = self.scratch(false);
        self.clobber_flags(i);
        self.float_fault(inst);
        let byte = if inst.fp_mode().selector() == 0 { 0x2e } else { 0x2f };
        self.vex_one(Opcode::sse(width_prefix(inst.lane()), byte), a, b);
        self.asm.code.extend_from_slice(&[0x0f, 0x80 | cc::PARITY]);
        let at = self.asm.pos();
        self.asm.u32(0);
        self.asm.op(Opcode::two(0x97), 1, 0, Rm::Reg(t)); // seta
        self.asm.op(Opcode::one(0x80), 1, 3, Rm::Reg(t)); // sbb t, 0
        self.asm.u8(0);
        let back = self.asm.pos();
        self.cold.push(Cold::Unordered { at, back, scratch: t });
        self.flags_defined(i);
    }

    /// The cold path of [`Emitter::compare_order`]: −128 − 1 overflows, and sets nothing else.
    pub fn cold_unordered(&mut self, at: u32, back: u32, scratch: u8) {
        let here = self.asm.pos();
        self.asm.patch(at, here);
        self.mov_imm(scratch, 0x80);
        self.asm.op(Opcode::one(0x80), 1, 5, Rm::Reg(scratch)); // sub t, 1
        self.asm.u8(1);
        self.asm.u8(0xe9);
        let jump = self.asm.pos();
        self.asm.u32(0);
        self.asm.patch(jump, back);
    }
}
