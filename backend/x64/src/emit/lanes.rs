//! Vector ops that need more than SSE2, as VEX instructions: one for most, short sequences for some. On a host without
//! AVX2 these ops are computed out of line.

use super::Emitter;
use crate::asm::{Opcode, Rm};
use crate::pins::VEC;
use isamorph_ir::{Inst, Lane, Op, Type};

/// 66 0F.
const fn op(byte: u8) -> Opcode {
    Opcode::sse(0x66, byte)
}

/// 66 0F 38.
const fn op38(byte: u8) -> Opcode {
    Opcode { prefix: 0x66, map: 2, byte }
}

/// 66 0F 3A.
const fn op3a(byte: u8) -> Opcode {
    Opcode { prefix: 0x66, map: 3, byte }
}

const PAND: Opcode = op(0xdb);
const PANDN: Opcode = op(0xdf);
const POR: Opcode = op(0xeb);
const PXOR: Opcode = op(0xef);
const PUNPCKLQDQ: Opcode = op(0x6c);
const PUNPCKHQDQ: Opcode = op(0x6d);
const PCMPGTQ: Opcode = op38(0x37);

/// Picks an opcode byte by the width of the lane; 0 means that there is none.
fn by_width(lane: Lane, bytes: [u8; 4]) -> Option<u8> {
    Some(bytes[lane.bytes().trailing_zeros() as usize]).filter(|byte| *byte != 0)
}

/// `d = a op b` in one instruction, and VEX.W.
fn three_operands(inst: &Inst) -> Option<(Opcode, bool)> {
    let lane = inst.lane();
    let wide = lane == Lane::I64;
    let narrow = |opcode| Some((opcode, false));
    match inst.op {
        Op::VShlLanes => by_width(lane, [0, 0, 0x47, 0x47]).map(|byte| (op38(byte), wide)),
        Op::VShrLanes => by_width(lane, [0, 0, 0x45, 0x45]).map(|byte| (op38(byte), wide)),
        Op::VSarLanes => by_width(lane, [0, 0, 0x46, 0]).map(|byte| (op38(byte), false)),
        Op::VMulWideS => narrow(op38(0x28)),
        Op::VMulHiRound if lane == Lane::I16 => narrow(op38(0x0b)),
        Op::VMulAddUS => narrow(op38(0x04)),
        Op::VPairAdd if inst.ty == Type::V128 => by_width(lane, [0, 0x01, 0x02, 0]).map(|byte| (op38(byte), false)),
        Op::VPairAdd if lane == Lane::I64 => narrow(op(0xd4)),
        Op::VNarrow if lane == Lane::I64 && inst.ty == Type::V64 => narrow(op(0x62)),
        Op::VShufBytes if inst.ty == Type::V128 => narrow(op38(0x00)),
        Op::AesEnc => narrow(op38(0xdc)),
        Op::AesEncLast => narrow(op38(0xdd)),
        Op::AesDec => narrow(op38(0xde)),
        Op::AesDecLast => narrow(op38(0xdf)),
        _ => None,
    }
}

/// `d = op a` in one instruction.
fn one_operand(inst: &Inst) -> Option<Opcode> {
    let (lane, first) = (inst.lane(), inst.imm == 0);
    match inst.op {
        Op::VAbs => by_width(lane, [0x1c, 0x1d, 0x1e, 0]).map(op38),
        Op::VWidenS => by_width(lane, [0x20, 0x23, 0x25, 0]).map(op38),
        Op::VWidenU => by_width(lane, [0x30, 0x33, 0x35, 0]).map(op38),
        Op::VDupLane if first => by_width(lane, [0x78, 0x79, 0x58, 0x59]).map(op38),
        Op::AesImc => Some(op38(0xdb)),
        _ => None,
    }
}

impl Emitter<'_> {
    /// A VEX instruction with a second source. Registers are numbered as everywhere in the emitter.
    pub fn vex(&mut self, opcode: Opcode, d: u8, a: u8, b: u8) {
        self.asm.vex(opcode, false, d - VEC, a - VEC, Rm::Reg(b - VEC));
    }

    /// A VEX instruction with one source.
    pub fn vex_one(&mut self, opcode: Opcode, d: u8, a: u8) {
        self.asm.vex(opcode, false, d - VEC, 0, Rm::Reg(a - VEC));
    }

    /// The same with an immediate.
    fn vex_imm(&mut self, opcode: Opcode, d: u8, a: u8, b: u8, imm: u8) {
        self.vex(opcode, d, a, b);
        self.asm.u8(imm);
    }

    /// A shift by a constant: opcode byte by the width of the lane, and digit.
    fn vex_shift(&mut self, byte: u8, digit: u8, d: u8, a: u8, count: u8) {
        self.asm.vex(op(byte), false, digit, d - VEC, Rm::Reg(a - VEC));
        self.asm.u8(count);
    }

    fn all_ones(&mut self, d: u8) {
        self.vex(op(0x76), d, d, d);
    }

    fn zero(&mut self, d: u8) {
        self.vex(PXOR, d, d, d);
    }

    /// Emits a vector op that the host has VEX instructions for. False if it has not.
    // tidy: flat
    pub fn lanes(&mut self, i: usize, inst: &Inst) -> bool {
        let host = self.backend.host;
        let aes = (Op::AesEnc..=Op::AesKeygen).contains(&inst.op);
        if !host.avx2 || aes && !host.aes || inst.op == Op::ClMul && !host.pclmulqdq {
            return false;
        }
        if let Some((opcode, wide)) = three_operands(inst) {
            let (a, b) = (self.reg(inst.args[0]), self.reg(inst.args[1]));
            let d = self.dest(i, Some(a));
            self.asm.vex(opcode, wide, d - VEC, a - VEC, Rm::Reg(b - VEC));
            self.define(i, d);
            return true;
        }
        if let Some(opcode) = one_operand(inst) {
            let a = self.reg(inst.args[0]);
            let d = self.dest(i, Some(a));
            self.vex_one(opcode, d, a);
            self.define(i, d);
            return true;
        }
        let (ty, lane) = (inst.ty, inst.lane());
        match (inst.op, lane) {
            (Op::VDup, _) => self.duplicate(i, inst),
            (Op::VTest, _) => self.vector_test(i, inst),
            (Op::VBlend | Op::VSelect, _) => self.choose(i, inst),
            (Op::ClMul, _) => self.immediate_form(i, inst, op3a(0x44), false),
            (Op::VAlign, _) if ty == Type::V128 => self.immediate_form(i, inst, op3a(0x0f), true),
            (Op::VNarrow, Lane::I64) => self.take_even_words(i, inst),
            (Op::VNarrow, _) => self.narrow(i, inst),
            (Op::VPairAdd, Lane::I8) => self.pair_add_bytes(i, inst),
            (Op::VMulLo, Lane::I8) => self.multiply_bytes(i, inst),
            (Op::VSarImm, Lane::I64) => self.shift_right_signed(i, inst, false),
            (Op::VSarLanes, Lane::I64) => self.shift_right_signed(i, inst, true),
            (Op::VAlign | Op::VShufBytes | Op::VPairAdd, _) => self.joined(i, inst),
            _ => return self.lanes_by_steps(i, inst),
        }
        true
    }

    /// More of them.
    fn lanes_by_steps(&mut self, i: usize, inst: &Inst) -> bool {
        match (inst.op, inst.lane()) {
            (Op::VDupLane, lane) => self.duplicate_lane(i, inst, lane),
            (Op::VCmpGtU, Lane::I64) => self.greater_unsigned_wide(i, inst),
            (Op::VCmpGtU, lane) => self.greater_unsigned(i, inst, lane),
            (Op::VAbs, _) => self.absolute_wide(i, inst),
            (Op::AesKeygen, _) => {
                let a = self.reg(inst.args[0]);
                let d = self.dest(i, Some(a));
                self.vex_one(op3a(0xdf), d, a);
                self.asm.u8(inst.imm as u8);
                self.define(i, d);
            }
            (Op::VPopcnt, _) => self.count_bits_of_bytes(i, inst),
            _ => return false,
        }
        true
    }

    /// An instruction with two operands, in this order or the other, and the op's immediate.
    fn immediate_form(&mut self, i: usize, inst: &Inst, opcode: Opcode, swapped: bool) {
        let (a, b) = (self.reg(inst.args[0]), self.reg(inst.args[1]));
        let d = self.dest(i, Some(a));
        let (first, second) = if swapped { (b, a) } else { (a, b) };
        self.vex_imm(opcode, d, first, second, inst.imm as u8);
        self.define(i, d);
    }

    /// An integer in every lane.
    fn duplicate(&mut self, i: usize, inst: &Inst) {
        let r = self.reg(inst.args[0]);
        let d = self.dest(i, None);
        self.asm.vex(op(0x6e), inst.lane() == Lane::I64, d - VEC, 0, Rm::Reg(r));
        let byte = by_width(inst.lane(), [0x78, 0x79, 0x58, 0x59]).unwrap_or(0x58);
        self.vex_one(op38(byte), d, d);
        self.define(i, d);
    }

    /// A lane other than the lowest in every lane.
    fn duplicate_lane(&mut self, i: usize, inst: &Inst, lane: Lane) {
        let a = self.reg(inst.args[0]);
        let d = self.dest(i, Some(a));
        match lane.bytes() {
            8 => self.vex(PUNPCKHQDQ, d, a, a),
            4 => {
                self.vex_one(op(0x70), d, a);
                self.asm.u8(inst.imm as u8 * 0x55);
            }
            bytes => {
                self.vex_shift(0x73, 3, d, a, inst.imm as u8 * bytes as u8);
                self.vex_one(op38(if bytes == 1 { 0x78 } else { 0x79 }), d, d);
            }
        }
        self.define(i, d);
    }

    fn vector_test(&mut self, i: usize, inst: &Inst) {
        let (a, b) = (self.reg(inst.args[0]), self.reg(inst.args[1]));
        self.clobber_flags(i);
        self.vex_one(op38(0x17), a, b);
        self.flags_defined(i);
    }

    /// Bits or lanes of the second operand where the first says so, else of the third.
    fn choose(&mut self, i: usize, inst: &Inst) {
        let [mask, yes, no] = [0, 1, 2].map(|index| self.reg(inst.args[index]));
        if inst.op == Op::VBlend {
            let d = self.dest(i, Some(no));
            let byte = by_width(inst.lane(), [0x4c, 0, 0x4a, 0x4b]).unwrap_or(0x4c);
            // The register of the mask is in the immediate's upper half.
            self.vex_imm(op3a(byte), d, no, yes, (mask - VEC) << 4);
            return self.define(i, d);
        }
        let t = self.scratch(true);
        let d = self.dest(i, Some(no));
        self.vex(PAND, t, mask, yes);
        self.vex(PANDN, d, mask, no);
        self.vex(POR, d, d, t);
        self.define(i, d);
    }

    /// Ops on 64-bit vectors that the host does on both operands side by side in one register.
    fn joined(&mut self, i: usize, inst: &Inst) {
        let (a, b) = (self.reg(inst.args[0]), self.reg(inst.args[1]));
        let t = self.scratch(true);
        let d = self.dest(i, Some(a));
        match inst.op {
            Op::VAlign => {
                self.vex(PUNPCKLQDQ, d, a, b);
                self.vex_shift(0x73, 3, d, d, inst.imm as u8);
            }
            Op::VShufBytes => {
                // Numbers up to 15 find the eight bytes twice.
                self.vex(PUNPCKLQDQ, t, a, a);
                self.vex(op38(0x00), d, t, b);
            }
            _ if inst.ty == Type::V64 => {
                let byte = by_width(inst.lane(), [0, 0x01, 0x02, 0]).unwrap_or(0x02);
                self.vex(PUNPCKLQDQ, t, a, b);
                self.vex(op38(byte), d, t, t);
            }
            _ => {
                self.vex(PUNPCKLQDQ, t, a, b);
                self.vex(PUNPCKHQDQ, d, a, b);
                self.vex(op(0xd4), d, d, t);
            }
        }
        self.define(i, d);
    }

    /// The low halves of 64-bit lanes: SHUFPS.
    fn take_even_words(&mut self, i: usize, inst: &Inst) {
        self.immediate_form(i, &Inst { imm: 0x88, ..*inst }, Opcode::two(0xc6), false);
    }

    /// The low halves of 16- and 32-bit lanes: cleared above, then packed with unsigned saturation.
    fn narrow(&mut self, i: usize, inst: &Inst) {
        let (a, b) = (self.reg(inst.args[0]), self.reg(inst.args[1]));
        let (t, u) = (self.scratch(true), self.scratch(true));
        let d = self.dest(i, None);
        let bytes = inst.lane() == Lane::I16;
        let pack = if bytes { op(0x67) } else { op38(0x2b) };
        let joined = inst.ty == Type::V64;
        let first = if joined { t } else { a };
        if joined {
            self.vex(PUNPCKLQDQ, t, a, b);
        }
        if bytes {
            self.all_ones(u);
            self.vex_shift(0x71, 2, u, u, 8);
            if !joined {
                self.vex(PAND, t, b, u);
            }
            self.vex(PAND, d, first, u);
        } else {
            self.zero(u);
            if !joined {
                self.vex_imm(op3a(0x0e), t, u, b, 0x55);
            }
            self.vex_imm(op3a(0x0e), d, u, first, 0x55);
        }
        self.vex(pack, d, d, if joined { d } else { t });
        self.define(i, d);
    }

    /// Sums of adjacent bytes: as 16-bit lanes, then narrowed.
    fn pair_add_bytes(&mut self, i: usize, inst: &Inst) {
        let (a, b) = (self.reg(inst.args[0]), self.reg(inst.args[1]));
        let (t, u) = (self.scratch(true), self.scratch(true));
        let joined = inst.ty == Type::V64;
        let d = self.dest_avoiding(i, None, 1 << a | 1 << b);
        let first = if joined { d } else { a };
        if joined {
            self.vex(PUNPCKLQDQ, d, a, b);
        } else {
            self.vex_shift(0x71, 2, t, b, 8);
            self.vex(op(0xfc), t, t, b);
        }
        self.vex_shift(0x71, 2, u, first, 8);
        self.vex(op(0xfc), d, u, first);
        self.all_ones(u);
        self.vex_shift(0x71, 2, u, u, 8);
        self.vex(PAND, d, d, u);
        if !joined {
            self.vex(PAND, t, t, u);
        }
        self.vex(op(0x67), d, d, if joined { d } else { t });
        self.define(i, d);
    }

    /// Products of bytes: of the even ones and of the odd ones as 16-bit lanes.
    fn multiply_bytes(&mut self, i: usize, inst: &Inst) {
        const PMULLW: Opcode = op(0xd5);
        let (a, b) = (self.reg(inst.args[0]), self.reg(inst.args[1]));
        let (t, u) = (self.scratch(true), self.scratch(true));
        let d = self.dest_avoiding(i, None, 1 << a | 1 << b);
        self.vex_shift(0x71, 2, t, a, 8);
        self.vex_shift(0x71, 2, u, b, 8);
        self.vex(PMULLW, t, t, u);
        self.vex_shift(0x71, 6, t, t, 8);
        self.vex(PMULLW, d, a, b);
        self.vex_shift(0x71, 6, d, d, 8);
        self.vex_shift(0x71, 2, d, d, 8);
        self.vex(POR, d, d, t);
        self.define(i, d);
    }

    /// Arithmetic shift of 64-bit lanes: negative ones are complemented before and after a logical shift.
    fn shift_right_signed(&mut self, i: usize, inst: &Inst, by_lane: bool) {
        let a = self.reg(inst.args[0]);
        let b = if by_lane { self.reg(inst.args[1]) } else { a };
        let t = self.scratch(true);
        let d = self.dest_avoiding(i, None, 1 << a | 1 << b);
        self.zero(t);
        self.vex(PCMPGTQ, t, t, a);
        self.vex(PXOR, d, a, t);
        if by_lane {
            self.asm.vex(op38(0x45), true, d - VEC, d - VEC, Rm::Reg(b - VEC));
        } else {
            self.vex_shift(0x73, 2, d, d, inst.imm.min(255) as u8);
        }
        self.vex(PXOR, d, d, t);
        self.define(i, d);
    }

    /// Unsigned comparison: the smaller one of the two is not the first.
    fn greater_unsigned(&mut self, i: usize, inst: &Inst, lane: Lane) {
        let (a, b) = (self.reg(inst.args[0]), self.reg(inst.args[1]));
        let t = self.scratch(true);
        let d = self.dest_avoiding(i, None, 1 << a);
        let minimum = match lane {
            Lane::I8 => op(0xda),
            Lane::I16 => op38(0x3a),
            _ => op38(0x3b),
        };
        let equal = by_width(lane, [0x74, 0x75, 0x76, 0]).unwrap_or(0x76);
        self.vex(minimum, d, a, b);
        self.vex(op(equal), d, d, a);
        self.all_ones(t);
        self.vex(PXOR, d, d, t);
        self.define(i, d);
    }

    /// Unsigned comparison of 64-bit lanes: signed, with the sign bits flipped.
    fn greater_unsigned_wide(&mut self, i: usize, inst: &Inst) {
        let (a, b) = (self.reg(inst.args[0]), self.reg(inst.args[1]));
        let t = self.scratch(true);
        let d = self.dest_avoiding(i, None, 1 << a | 1 << b);
        self.all_ones(t);
        self.vex_shift(0x73, 6, t, t, 63);
        self.vex(PXOR, d, a, t);
        self.vex(PXOR, t, b, t);
        self.vex(PCMPGTQ, d, d, t);
        self.define(i, d);
    }

    /// Absolute value of 64-bit lanes.
    fn absolute_wide(&mut self, i: usize, inst: &Inst) {
        let a = self.reg(inst.args[0]);
        let t = self.scratch(true);
        let d = self.dest_avoiding(i, None, 1 << a);
        self.zero(t);
        self.vex(PCMPGTQ, t, t, a);
        self.vex(PXOR, d, a, t);
        self.vex(op(0xfb), d, d, t);
        self.define(i, d);
    }

    /// Set bits of bytes, four at a time from a table.
    fn count_bits_of_bytes(&mut self, i: usize, inst: &Inst) {
        const COUNTS: u128 = 0x0403_0302_0302_0201_0302_0201_0201_0100;
        const LOW: u128 = u128::from_le_bytes([0x0f; 16]);
        let a = self.reg(inst.args[0]);
        let (t, table) = (self.scratch(true), self.scratch(true));
        let d = self.dest_avoiding(i, None, 1 << a);
        self.load_constant(t, LOW);
        self.vex_shift(0x72, 2, d, a, 4);
        self.vex(PAND, d, d, t);
        self.vex(PAND, t, a, t);
        self.load_constant(table, COUNTS);
        self.vex(op38(0x00), d, table, d);
        self.vex(op38(0x00), t, table, t);
        self.vex(op(0xfc), d, d, t);
        self.define(i, d);
    }
}
