//! Shifts and rotations.

use super::Emitter;
use super::int::Source;
use crate::asm::{Opcode, Rm};
use isamorph_ir::{Inst, Op, Type, Value};

const RCX: u8 = 1;

/// The `/digit` of a shift group instruction (SDM vol. 2, group 2).
fn digit(op: Op) -> u8 {
    match op {
        Op::Rol => 0,
        Op::Ror => 1,
        Op::Rcl => 2,
        Op::Rcr => 3,
        Op::Shl => 4,
        Op::Shr => 5,
        _ => 7,
    }
}

impl Emitter<'_> {
    /// Shifts and rotations by a constant or by a value.
    pub fn shift(&mut self, i: usize, inst: &Inst) {
        let double = matches!(inst.op, Op::Shld | Op::Shrd);
        let (count, old) = if double { (inst.args[2], inst.args[3]) } else { (inst.args[1], inst.args[2]) };
        let plain = matches!(inst.op, Op::Shl | Op::Shr | Op::Sar);
        match self.imm32(count) {
            Some(n) => self.shift_imm(i, inst, n as u8, old),
            None if plain && !self.wants_flags(i) && inst.ty.bytes() >= 4 && self.backend.config.bmi2 => {
                self.shift_vex(i, inst);
            }
            None => self.shift_cl(i, inst, count, old),
        }
    }

    fn shift_imm(&mut self, i: usize, inst: &Inst, count: u8, old: Value) {
        let source = self.fill(inst);
        let d = self.in_place(i, inst, inst.args[0], source);
        self.extend_in_place(d, inst.args[0]);
        self.old_flags(i, inst, old);
        self.clobber_flags(i);
        self.shift_rm_imm(inst, Rm::Reg(d.reg), source, count);
        self.flags_defined(i);
        self.finish(i, d);
    }

    /// `shl rm, count` and its relatives.
    pub fn shift_rm_imm(&mut self, inst: &Inst, rm: Rm, fill: Source, count: u8) {
        let size = inst.ty.bytes();
        if let Source::Rm(Rm::Reg(r)) = fill {
            self.asm.op(Opcode::two(if inst.op == Op::Shld { 0xa4 } else { 0xac }), size, r, rm);
        } else {
            self.asm.op(Opcode::one(if size == 1 { 0xc0 } else { 0xc1 }), size, digit(inst.op), rm);
        }
        self.asm.u8(count);
    }

    /// The operand that a double shift fills from.
    fn fill(&mut self, inst: &Inst) -> Source {
        match inst.op {
            Op::Shld | Op::Shrd => Source::Rm(Rm::Reg(self.reg(inst.args[1]))),
            _ => Source::Imm(0),
        }
    }

    /// The host keeps the old flags where the guest does, if it finds them in EFLAGS.
    pub fn old_flags(&mut self, i: usize, inst: &Inst, old: Value) {
        let carries_in = matches!(inst.op, Op::Rcl | Op::Rcr);
        if (carries_in || self.wants_flags(i)) && !old.is_none() {
            self.ensure_flags(i, old);
        }
        self.prepare_merge(i);
    }

    /// shlx, shrx, sarx: any registers, no flags.
    fn shift_vex(&mut self, i: usize, inst: &Inst) {
        let (a, c) = (self.reg(inst.args[0]), self.reg(inst.args[1]));
        let d = self.dest(i, Some(a));
        let pp = match inst.op {
            Op::Shl => 1,
            Op::Shr => 3,
            _ => 2,
        };
        let inv = |r: u8, bit: u8| if r < 8 { bit } else { 0 };
        let w = u8::from(inst.ty == Type::I64) << 7;
        self.asm.code.extend_from_slice(&[
            0xc4,
            inv(d, 0x80) | 0x40 | inv(a, 0x20) | 2,
            w | (!c & 15) << 3 | pp,
            0xf7,
            0xc0 | (d & 7) << 3 | a & 7,
        ]);
        self.define(i, d);
    }

    /// By `cl`: the count goes to rcx, whose guest value waits in a scratch register meanwhile.
    fn shift_cl(&mut self, i: usize, inst: &Inst, count: Value, old: Value) {
        self.settle(RCX);
        let c = self.reg(count);
        let mut fill = self.fill(inst);
        if c == RCX {
            let avoid = Source::Rm(Rm::Reg(RCX));
            let d = self.shift_place(i, inst, fill, avoid);
            self.shift_by_cl(i, inst, d, fill, old);
            return self.define(i, d);
        }
        let save = self.scratch(false);
        self.copy_register(save, RCX);
        if fill == Source::Rm(Rm::Reg(RCX)) {
            fill = Source::Rm(Rm::Reg(save));
        }
        let a = self.reg(inst.args[0]);
        let d = self.scratch(false);
        self.move_int(inst.ty, d, a);
        self.asm.op(Opcode::one(0x8b), 4, RCX, Rm::Reg(c));
        self.shift_by_cl(i, inst, d, fill, old);
        self.copy_register(RCX, save);
        self.define(i, d);
    }

    /// The register to shift in: not the count's (unless it is also the operand) nor the filler's.
    fn shift_place(&mut self, i: usize, inst: &Inst, fill: Source, count: Source) -> u8 {
        let a = self.reg(inst.args[0]);
        let avoid = (fill.registers() | count.registers()) & !(1 << a);
        let d = self.dest_avoiding(i, Some(a), avoid);
        if d != a || self.is_loose(inst.args[0]) {
            // A count of zero need not write the register.
            self.asm.op(Opcode::one(0x8b), if inst.ty == Type::I64 { 8 } else { 4 }, d, Rm::Reg(a));
        }
        d
    }

    fn shift_by_cl(&mut self, i: usize, inst: &Inst, d: u8, fill: Source, old: Value) {
        let size = inst.ty.bytes();
        self.old_flags(i, inst, old);
        self.clobber_flags(i);
        if let Source::Rm(Rm::Reg(r)) = fill {
            self.asm.op(Opcode::two(if inst.op == Op::Shld { 0xa5 } else { 0xad }), size, r, Rm::Reg(d));
        } else {
            self.asm.op(Opcode::one(if size == 1 { 0xd2 } else { 0xd3 }), size, digit(inst.op), Rm::Reg(d));
        }
        self.flags_defined(i);
    }
}
