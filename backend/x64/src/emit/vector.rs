//! Vector and floating-point ops. Almost all are one host instruction in two-address form: a table from (op, lane).
//!
//! 64-bit vectors are computed in the low halves of xmm registers; the upper halves hold nothing of meaning.

use super::Emitter;
use super::int::Source;
use crate::Unsupported;
use crate::asm::{Opcode, Rm};
use crate::pins::VEC;
use isamorph_host::cpu::features;
use isamorph_ir::op::ImmKind;
use isamorph_ir::{FpRule, Inst, Lane, Op, Type, Value, rules};

/// Mandatory prefix of a floating-point instruction for a lane.
fn fp_prefix(lane: Lane) -> u8 {
    match lane {
        Lane::F64 => 0x66,
        Lane::S32 => 0xf3,
        Lane::S64 => 0xf2,
        _ => 0,
    }
}

/// Picks the opcode byte of an integer lane; 0 means that there is none.
fn by_lane(lane: Lane, bytes: [u8; 4]) -> Option<Opcode> {
    let byte = match lane {
        Lane::I8 => bytes[0],
        Lane::I16 => bytes[1],
        Lane::I32 => bytes[2],
        Lane::I64 => bytes[3],
        _ => 0,
    };
    (byte != 0).then_some(Opcode::sse(0x66, byte))
}

/// SSE4.1 forms (0F 38).
fn by_lane_38(lane: Lane, bytes: [u8; 4]) -> Option<Opcode> {
    by_lane(lane, bytes).map(|o| Opcode { map: 2, ..o })
}

/// `d = d op s`: the host instruction of an op with two vector operands (SDM vol. 2, opcode maps).
// tidy: flat
fn two_operands(inst: &Inst) -> Option<Opcode> {
    let lane = inst.lane();
    let float = |byte| Some(Opcode::sse(fp_prefix(lane), byte));
    match inst.op {
        Op::VAdd => by_lane(lane, [0xfc, 0xfd, 0xfe, 0xd4]),
        Op::VSub => by_lane(lane, [0xf8, 0xf9, 0xfa, 0xfb]),
        Op::VAddSatS => by_lane(lane, [0xec, 0xed, 0, 0]),
        Op::VAddSatU => by_lane(lane, [0xdc, 0xdd, 0, 0]),
        Op::VSubSatS => by_lane(lane, [0xe8, 0xe9, 0, 0]),
        Op::VSubSatU => by_lane(lane, [0xd8, 0xd9, 0, 0]),
        Op::VMulLo => by_lane(lane, [0, 0xd5, 0, 0]).or_else(|| by_lane_38(lane, [0, 0, 0x40, 0])),
        Op::VMulHiS => by_lane(lane, [0, 0xe5, 0, 0]),
        Op::VMulHiU => by_lane(lane, [0, 0xe4, 0, 0]),
        Op::VMulWideU => by_lane(lane, [0, 0, 0xf4, 0]),
        Op::VMulAddS => by_lane(lane, [0, 0xf5, 0, 0]),
        Op::VAvgU => by_lane(lane, [0xe0, 0xe3, 0, 0]),
        Op::VMinS => by_lane(lane, [0, 0xea, 0, 0]).or_else(|| by_lane_38(lane, [0x38, 0, 0x39, 0])),
        Op::VMinU => by_lane(lane, [0xda, 0, 0, 0]).or_else(|| by_lane_38(lane, [0, 0x3a, 0x3b, 0])),
        Op::VMaxS => by_lane(lane, [0, 0xee, 0, 0]).or_else(|| by_lane_38(lane, [0x3c, 0, 0x3d, 0])),
        Op::VMaxU => by_lane(lane, [0xde, 0, 0, 0]).or_else(|| by_lane_38(lane, [0, 0x3e, 0x3f, 0])),
        Op::VCmpEq => by_lane(lane, [0x74, 0x75, 0x76, 0]).or_else(|| by_lane_38(lane, [0, 0, 0, 0x29])),
        Op::VCmpGtS => by_lane(lane, [0x64, 0x65, 0x66, 0]).or_else(|| by_lane_38(lane, [0, 0, 0, 0x37])),
        Op::VSadU => Some(Opcode::sse(0x66, 0xf6)),
        Op::VAnd => Some(Opcode::sse(0x66, 0xdb)),
        Op::VAndNot => Some(Opcode::sse(0x66, 0xdf)),
        Op::VOr => Some(Opcode::sse(0x66, 0xeb)),
        Op::VXor => Some(Opcode::sse(0x66, 0xef)),
        Op::VShl => by_lane(lane, [0, 0xf1, 0xf2, 0xf3]),
        Op::VShr => by_lane(lane, [0, 0xd1, 0xd2, 0xd3]),
        Op::VSar => by_lane(lane, [0, 0xe1, 0xe2, 0]),
        Op::VPackS => by_lane(lane, [0, 0x63, 0x6b, 0]),
        Op::VPackU => by_lane(lane, [0, 0x67, 0, 0]).or_else(|| by_lane_38(lane, [0, 0, 0x2b, 0])),
        Op::VZipLo => by_lane(lane, [0x60, 0x61, 0x62, 0x6c]),
        Op::VZipHi => by_lane(lane, [0x68, 0x69, 0x6a, 0x6d]),
        Op::VShuffle2 => float(0xc6),
        Op::FAdd => float(0x58),
        Op::FMul => float(0x59),
        Op::FSub => float(0x5c),
        Op::FMin => float(0x5d),
        Op::FDiv => float(0x5e),
        Op::FMax => float(0x5f),
        Op::FSqrt => float(0x51),
        Op::FRcp => float(0x53),
        Op::FRsqrt => float(0x52),
        Op::FCmpMask => float(0xc2),
        Op::FCvtLane => float(0x5a),
        Op::VMoveLane => move_lane(inst),
        _ => None,
    }
}

/// Lane moves that are one SSE2 instruction: (bytes, to, from).
fn move_lane(inst: &Inst) -> Option<Opcode> {
    match (inst.lane().bytes(), inst.imm & 15, inst.imm >> 4) {
        (4, 0, 0) => Some(Opcode::sse(0xf3, 0x10)),
        (8, 0, 0) => Some(Opcode::sse(0xf2, 0x10)),
        (8, 1, 0) => Some(Opcode::sse(0x66, 0x14)),
        (8, 0, 1) => Some(Opcode::sse(0, 0x12)),
        (8, 1, 1) => Some(Opcode::sse(0x66, 0xc6)),
        (4, _, _) => Some(Opcode { prefix: 0x66, map: 3, byte: 0x21 }),
        _ => None,
    }
}

/// The immediate byte that follows a two-operand instruction, if it has one.
fn immediate(inst: &Inst) -> Option<u8> {
    match (inst.op, inst.lane().bytes(), inst.imm & 15, inst.imm >> 4) {
        (Op::VShuffle2, ..) => Some(inst.imm as u8),
        (Op::FCmpMask, ..) => Some(inst.fp_mode().selector()),
        (Op::VMoveLane, 8, 1, 1) => Some(2),
        (Op::VMoveLane, 4, 0, 0) => None,
        (Op::VMoveLane, 4, to, from) => Some((from << 6 | to << 4) as u8),
        _ => None,
    }
}

/// `d = op s`: the host instruction of an op with one vector operand, and its immediate.
fn one_operand(inst: &Inst) -> Option<(Opcode, Option<u8>)> {
    let double = inst.lane() == Lane::F64;
    let pick = |single: (u8, u8), pd: (u8, u8)| {
        let (prefix, byte) = if double { pd } else { single };
        Some((Opcode::sse(prefix, byte), None))
    };
    let shuffle = |prefix| Some((Opcode::sse(prefix, 0x70), Some(inst.imm as u8)));
    match inst.op {
        Op::FCvtPacked => pick((0, 0x5a), (0x66, 0x5a)),
        Op::FFromIntPacked => pick((0, 0x5b), (0xf3, 0xe6)),
        Op::FToIntPacked => pick((0x66, 0x5b), (0xf2, 0xe6)),
        Op::FToIntPackedTrunc => pick((0xf3, 0x5b), (0x66, 0xe6)),
        Op::VShuffle if inst.ty == Type::V128 && inst.lane() == Lane::I32 => shuffle(0x66),
        Op::VShuffle if inst.ty == Type::V64 && inst.lane() == Lane::I16 => shuffle(0xf2),
        Op::VShuffleLo => shuffle(0xf2),
        Op::VShuffleHi if inst.ty == Type::V128 => shuffle(0xf3),
        Op::VZeroUpper => Some((Opcode::sse(0xf3, 0x7e), None)),
        _ => None,
    }
}

/// `d = d op imm`: immediate shifts: opcode and `/digit`.
fn shift_imm(inst: &Inst) -> Option<(Opcode, u8)> {
    let digit = match inst.op {
        Op::VShrImm => 2,
        Op::VSarImm => 4,
        Op::VShlImm => 6,
        Op::VShrBytes => return Some((Opcode::sse(0x66, 0x73), 3)),
        Op::VShlBytes => return Some((Opcode::sse(0x66, 0x73), 7)),
        _ => return None,
    };
    let byte = match inst.lane() {
        Lane::I16 => 0x71,
        Lane::I32 => 0x72,
        Lane::I64 if inst.op != Op::VSarImm => 0x73,
        _ => return None,
    };
    Some((Opcode::sse(0x66, byte), digit))
}

/// Whether the second operand may be a memory operand of the host instruction.
pub(crate) fn takes_memory(inst: &Inst) -> bool {
    let available = two_operands(inst).is_some_and(is_available);
    inst.ty == Type::V128 && !has_foreign_rule(inst) && inst.op != Op::VMoveLane && available
}

/// Whether the host has an instruction of the tables: those of the maps 0F 38 and 0F 3A came with SSE4.
fn is_available(opcode: Opcode) -> bool {
    let host = features();
    match (opcode.map, opcode.byte) {
        (1, _) => true,
        (2, 0x37) => host.sse42,
        _ => host.sse41,
    }
}

/// Whether an op follows other rules than those of the host's instructions.
pub(super) fn has_foreign_rule(inst: &Inst) -> bool {
    inst.op.info().imm == ImmKind::Fp && inst.fp_mode().rule() != FpRule::X86
}

/// How many bytes that memory operand has.
pub(crate) fn memory_width(inst: &Inst) -> u32 {
    let fp = inst.op.info().text.starts_with('f');
    if fp && inst.lane().is_scalar() { inst.lane().bytes() } else { 16 }
}

impl Emitter<'_> {
    /// All vector and floating-point ops.
    pub fn vector(&mut self, i: usize, inst: &Inst) -> Result<(), Unsupported> {
        if inst.ty == Type::V256 {
            return Err(Unsupported { what: "256-bit vectors" });
        }
        if self.needs_care(inst) {
            if !self.float(i, inst) {
                self.outside(i, inst)?;
            }
        } else if let Some(opcode) = two_operands(inst) {
            self.two_address(i, inst, opcode);
        } else if let Some((opcode, imm)) = one_operand(inst) {
            let a = self.reg(inst.args[0]);
            let d = self.dest(i, Some(a));
            self.float_fault(inst);
            self.asm.op(opcode, 4, d - VEC, Rm::Reg(a - VEC));
            imm.into_iter().for_each(|b| self.asm.u8(b));
            self.define(i, d);
        } else if let Some((opcode, digit)) = shift_imm(inst) {
            self.shift_vector(i, inst, opcode, digit);
        } else {
            self.mixed(i, inst)?;
        }
        Ok(())
    }

    /// A shift by a constant.
    fn shift_vector(&mut self, i: usize, inst: &Inst, opcode: Opcode, digit: u8) {
        let count = inst.imm as u8;
        if inst.op == Op::VShrBytes && inst.ty == Type::V64 {
            // What is above the 64 bits must not come down.
            let a = self.reg(inst.args[0]);
            let d = self.dest(i, Some(a));
            self.asm.op(Opcode::sse(0xf3, 0x7e), 4, d - VEC, Rm::Reg(a - VEC));
            self.asm.op(opcode, 4, digit, Rm::Reg(d - VEC));
            self.asm.u8(count);
            return self.define(i, d);
        }
        let (d, a) = self.apart(i, inst.args[0]);
        if d == a {
            self.asm.op(opcode, 4, digit, Rm::Reg(d - VEC));
        } else {
            // The destination is the second register of this form.
            self.asm.vex(opcode, false, digit, d - VEC, Rm::Reg(a - VEC));
        }
        self.asm.u8(count);
        self.define(i, d);
    }

    /// The registers of the result and of the first operand; on a host without VEX the operand is copied to where the
    /// result will be.
    fn apart(&mut self, i: usize, a: Value) -> (u8, u8) {
        if self.backend.host.avx2 {
            let a = self.reg(a);
            (self.dest(i, Some(a)), a)
        } else {
            let d = self.copy_operand(i, a, Source::Imm(0));
            (d, d)
        }
    }

    /// `d = a op r` where r may be an integer register.
    fn between(&mut self, opcode: Opcode, wide: bool, [d, a]: [u8; 2], r: u8) {
        if d == a {
            self.asm.op(opcode, if wide { 8 } else { 4 }, d - VEC, Rm::Reg(r));
        } else {
            self.asm.vex(opcode, wide, d - VEC, a - VEC, Rm::Reg(r));
        }
    }

    /// Whether the tables' instruction for an op is not all there is to it, or not on this host.
    fn needs_care(&self, inst: &Inst) -> bool {
        let newer = two_operands(inst).is_some_and(|opcode| !is_available(opcode));
        newer || has_foreign_rule(inst) || inst.op > Op::FToIntPackedTrunc && rules::is_float(inst.op)
    }

    /// An unmasked exception is raised at the instruction.
    pub(super) fn float_fault(&mut self, inst: &Inst) {
        if inst.op.effects().contains(isamorph_ir::Effects::FPENV) {
            self.fault_point(&[]);
        }
    }

    /// Gets the first operand into the register that the result will be computed in. If the operation may fault, that
    /// is no pinned register with another value.
    pub(super) fn copy_operand(&mut self, i: usize, a: Value, source: Source) -> u8 {
        let ra = self.reg(a);
        let faults = self.region.insts[i].op.effects().contains(isamorph_ir::Effects::FPENV);
        let wanted = self.wanted_register(i).filter(|_| faults).map_or(0, |r| 1 << r);
        let d = self.dest_avoiding(i, Some(ra), (vector_mask(source) | wanted) & !(1 << ra));
        self.move_vector(d, ra);
        d
    }

    pub(super) fn move_vector(&mut self, to: u8, from: u8) {
        if to != from {
            self.asm.op(Opcode::sse(0, 0x28), 4, to - VEC, Rm::Reg(from - VEC));
            self.checker.copied(to, from);
        }
    }

    fn two_address(&mut self, i: usize, inst: &Inst, opcode: Opcode) {
        let narrow = inst.ty == Type::V64;
        let rm = self.register_or_folded(inst.args[1]);
        // The packed forms of these have one operand.
        let is_unary = !inst.lane().is_scalar() && matches!(inst.op, Op::FSqrt | Op::FRcp | Op::FRsqrt);
        let by_steps = narrow && matches!(inst.op, Op::VPackS | Op::VPackU | Op::VZipHi);
        if self.backend.host.avx2 && !is_unary && !by_steps && !rm.is_guest_memory() {
            return self.three_operands(i, inst, opcode, rm);
        }
        let source = Source::Rm(rm);
        let d = if is_unary { self.dest(i, None) } else { self.copy_operand(i, inst.args[0], source) };
        let rm = unnumbered(rm);
        match inst.op {
            Op::VPackS | Op::VPackU if narrow => {
                // Both halves side by side, then narrowed onto themselves.
                self.asm.op(Opcode::sse(0x66, 0x6c), 4, d - VEC, rm);
                self.asm.op(opcode, 4, d - VEC, Rm::Reg(d - VEC));
            }
            Op::VZipHi if narrow => {
                // The low zip of the low halves is the whole interleaving; its upper half is wanted.
                self.asm.op(Opcode { byte: opcode.byte - 8, ..opcode }, 4, d - VEC, rm);
                self.asm.op(Opcode::sse(0x66, 0x73), 4, 3, Rm::Reg(d - VEC));
                self.asm.u8(8);
            }
            _ => {
                if rm.is_guest_memory() {
                    self.fault_point(&[]);
                } else {
                    self.float_fault(inst);
                }
                self.asm.op(opcode, 4, d - VEC, rm);
                immediate(inst).into_iter().for_each(|b| self.asm.u8(b));
            }
        }
        self.define(i, d);
    }

    /// The VEX form of an instruction, which leaves its first operand alone; where that is not needed, the shorter one.
    /// Memory operands that must be aligned for the guest's sake are not for this form, which does not check.
    fn three_operands(&mut self, i: usize, inst: &Inst, opcode: Opcode, rm: Rm) {
        let a = self.reg(inst.args[0]);
        let d = self.dest(i, Some(a));
        self.float_fault(inst);
        if d == a {
            self.asm.op(opcode, 4, d - VEC, unnumbered(rm));
        } else {
            self.asm.vex(opcode, false, d - VEC, a - VEC, unnumbered(rm));
        }
        immediate(inst).into_iter().for_each(|b| self.asm.u8(b));
        self.define(i, d);
    }

    /// Ops between vectors and integers or flags.
    fn mixed(&mut self, i: usize, inst: &Inst) -> Result<(), Unsupported> {
        match inst.op {
            Op::VMoveMask => self.move_mask(i, inst),
            Op::VExtract => self.extract(i, inst)?,
            Op::VInsert => self.vector_insert(i, inst)?,
            Op::VFromInt => self.int_to_vector(i, inst),
            Op::VToInt => {
                let a = self.reg(inst.args[0]);
                let d = self.dest(i, None);
                let size = if inst.ty == Type::I64 { 8 } else { 4 };
                self.asm.op(Opcode::sse(0x66, 0x7e), size, a - VEC, Rm::Reg(d));
                self.define(i, d);
            }
            Op::VResize => {
                let a = self.reg(inst.args[0]);
                let d = self.dest(i, Some(a));
                self.asm.op(Opcode::sse(0xf3, 0x7e), 4, d - VEC, Rm::Reg(a - VEC));
                self.define(i, d);
            }
            Op::FCmpQuiet | Op::FCmpSignal => self.compare_host(i, inst),
            _ if self.scalar_conversion(i, inst) => {}
            _ if self.lanes(i, inst) => {}
            _ => self.outside(i, inst)?,
        }
        Ok(())
    }

    /// Comparisons with the host's flags.
    pub(super) fn compare_host(&mut self, i: usize, inst: &Inst) {
        let (a, b) = (self.reg(inst.args[0]), self.reg(inst.args[1]));
        self.clobber_flags(i);
        self.fault_point(&[]);
        let prefix = if inst.lane().bytes() == 8 { 0x66 } else { 0 };
        let byte = if inst.op == Op::FCmpQuiet { 0x2e } else { 0x2f };
        self.asm.op(Opcode::sse(prefix, byte), 4, a - VEC, Rm::Reg(b - VEC));
        self.flags_defined(i);
    }

    /// Between lane 0 and an integer register; no rule but the "standard" one makes a difference. False if the op is
    /// another.
    pub(super) fn scalar_conversion(&mut self, i: usize, inst: &Inst) -> bool {
        match inst.op {
            Op::FFromInt => {
                let v = self.reg(inst.args[1]);
                let (d, a) = self.apart(i, inst.args[0]);
                let wide = self.region.value_type(inst.args[1]) == Type::I64;
                self.fault_point(&[]);
                self.between(Opcode::sse(fp_prefix(inst.lane()), 0x2a), wide, [d, a], v);
                self.define(i, d);
            }
            Op::FToInt | Op::FToIntTrunc => {
                let a = self.reg(inst.args[0]);
                let d = self.dest(i, None);
                let byte = if inst.op == Op::FToInt { 0x2d } else { 0x2c };
                let size = if inst.ty == Type::I64 { 8 } else { 4 };
                self.fault_point(&[]);
                self.asm.op(Opcode::sse(fp_prefix(inst.lane()), byte), size, d, Rm::Reg(a - VEC));
                self.define(i, d);
            }
            _ => return false,
        }
        true
    }

    fn move_mask(&mut self, i: usize, inst: &Inst) {
        let a = self.reg(inst.args[0]);
        let d = self.dest(i, None);
        let opcode = match inst.lane() {
            Lane::I8 => Opcode::sse(0x66, 0xd7),
            lane if lane.bytes() == 8 => Opcode::sse(0x66, 0x50),
            _ => Opcode::sse(0, 0x50),
        };
        self.asm.op(opcode, 4, d, Rm::Reg(a - VEC));
        if self.region.value_type(inst.args[0]) == Type::V64 {
            self.asm.op_with(Opcode::two(0xb6), 4, d, Rm::Reg(d), false, true);
        }
        self.define(i, d);
    }

    fn extract(&mut self, i: usize, inst: &Inst) -> Result<(), Unsupported> {
        let a = self.reg(inst.args[0]);
        let lane = inst.lane().bytes();
        if lane == 2 {
            let d = self.dest(i, None);
            self.asm.op(Opcode::sse(0x66, 0xc5), 4, d, Rm::Reg(a - VEC));
            self.asm.u8(inst.imm as u8);
            self.define(i, d);
            return Ok(());
        }
        let opcode = Opcode { prefix: 0x66, map: 3, byte: if lane == 1 { 0x14 } else { 0x16 } };
        if !self.backend.host.sse41 {
            return self.outside(i, inst);
        }
        let d = self.dest(i, None);
        self.asm.op(opcode, if lane == 8 { 8 } else { 4 }, a - VEC, Rm::Reg(d));
        self.asm.u8(inst.imm as u8);
        self.define(i, d);
        Ok(())
    }

    fn vector_insert(&mut self, i: usize, inst: &Inst) -> Result<(), Unsupported> {
        let lane = inst.lane().bytes();
        if lane != 2 && !self.backend.host.sse41 {
            return self.outside(i, inst);
        }
        let v = self.reg(inst.args[1]);
        let (d, a) = self.apart(i, inst.args[0]);
        let opcode = match lane {
            2 => Opcode::sse(0x66, 0xc4),
            1 => Opcode { prefix: 0x66, map: 3, byte: 0x20 },
            _ => Opcode { prefix: 0x66, map: 3, byte: 0x22 },
        };
        self.between(opcode, lane == 8, [d, a], v);
        self.asm.u8(inst.imm as u8);
        self.define(i, d);
        Ok(())
    }

    fn int_to_vector(&mut self, i: usize, inst: &Inst) {
        let ty = self.region.value_type(inst.args[0]);
        let mut v = self.reg(inst.args[0]);
        if ty.bytes() < 4 {
            let t = self.scratch(false);
            self.extend_unsigned(t, v, ty.bytes());
            v = t;
        }
        let d = self.dest(i, None);
        self.asm.op(Opcode::sse(0x66, 0x6e), if ty == Type::I64 { 8 } else { 4 }, d - VEC, Rm::Reg(v));
        self.define(i, d);
    }

    fn extend_unsigned(&mut self, to: u8, from: u8, bytes: u32) {
        let byte = if bytes == 1 { 0xb6 } else { 0xb7 };
        self.asm.op_with(Opcode::two(byte), 4, to, Rm::Reg(from), false, bytes == 1);
    }

    /// A constant in a vector register.
    pub fn vector_const(&mut self, reg: u8, bits: u128) {
        let x = reg - VEC;
        if bits == 0 {
            // pxor does not touch the flags.
            return self.asm.op(Opcode::sse(0x66, 0xef), 4, x, Rm::Reg(x));
        }
        if bits == u128::MAX {
            // So does pcmpeqd.
            return self.asm.op(Opcode::sse(0x66, 0x76), 4, x, Rm::Reg(x));
        }
        self.load_constant(reg, bits);
    }

    /// Loads a constant from the region's pool.
    pub fn load_constant(&mut self, reg: u8, bits: u128) {
        // movaps, with ModRM for a displacement from the next instruction.
        let x = reg - VEC;
        if x >= 8 {
            self.asm.u8(0x44);
        }
        self.asm.code.extend_from_slice(&[0x0f, 0x28, (x & 7) << 3 | 5]);
        self.constants.push((self.asm.pos(), bits));
        self.asm.u32(0);
    }

    /// The constants that the region's code refers to, each once.
    pub fn constant_pool(&mut self) {
        let mut references = std::mem::take(self.constants);
        references.sort_unstable_by_key(|(_, bits)| *bits);
        let mut placed = None;
        for (at, bits) in &references {
            if placed.is_none_or(|(known, _)| known != *bits) {
                while !self.asm.pos().is_multiple_of(16) {
                    self.asm.u8(0xcc);
                }
                placed = Some((*bits, self.asm.pos()));
                self.asm.code.extend_from_slice(&bits.to_le_bytes());
            }
            if let Some((_, here)) = placed {
                self.asm.patch(*at, here);
            }
        }
        references.clear();
        *self.constants = references;
    }

    /// Reading an MMX register: movq2dq. It also puts the x87 unit into MMX state, as every MMX instruction does.
    pub fn get_mmx(&mut self, i: usize, number: u8) -> Result<(), Unsupported> {
        let d = self.dest(i, None);
        self.asm.op(Opcode::sse(0xf3, 0xd6), 4, d - VEC, Rm::Reg(number));
        self.define(i, d);
        Ok(())
    }

    /// Writing an MMX register: movdq2q.
    pub fn set_mmx(&mut self, number: u8, v: Value) -> Result<(), Unsupported> {
        let r = self.reg(v);
        self.asm.op(Opcode::sse(0xf2, 0xd6), 4, number, Rm::Reg(r - VEC));
        Ok(())
    }
}

/// A vector operand with the number that instructions have for it.
fn unnumbered(rm: Rm) -> Rm {
    match rm {
        Rm::Reg(r) => Rm::Reg(r - VEC),
        memory => memory,
    }
}

/// The vector registers that a source reads (integer registers of an address do not conflict with a vector result).
fn vector_mask(source: Source) -> u32 {
    match source {
        Source::Rm(Rm::Reg(r)) => 1 << r,
        _ => 0,
    }
}
