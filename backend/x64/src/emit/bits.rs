//! Bits: their order, counts, scans, tests; cyclic redundancy checks.

use super::Emitter;
use super::int::{Dest, Source};
use crate::Unsupported;
use crate::asm::{Mem, Opcode, Rm};
use isamorph_ir::{Inst, Op};

impl Emitter<'_> {
    /// Byte and bit order, bit scans and counts, bit tests, checks.
    pub fn bits(&mut self, i: usize, inst: &Inst) -> Result<(), Unsupported> {
        let size = inst.ty.bytes();
        if size == 1 || size == 2 && inst.op == Op::Bswap {
            return Err(Unsupported { what: "bit operation on a narrow type" });
        }
        match inst.op {
            Op::Bswap => {
                let d = self.in_place(i, inst, inst.args[0], Source::Imm(0));
                self.bswap(d.reg, size == 8);
                self.finish(i, d);
            }
            Op::Bsf | Op::Bsr => {
                let source = Source::Rm(Rm::Reg(self.reg(inst.args[0])));
                let d = self.in_place(i, inst, inst.args[1], source);
                self.extend_in_place(d, inst.args[1]);
                self.clobber_flags(i);
                let Source::Rm(rm) = source else { return Ok(()) };
                self.asm.op(Opcode::two(if inst.op == Op::Bsf { 0xbc } else { 0xbd }), size, d.reg, rm);
                self.flags_defined(i);
                self.finish(i, d);
            }
            Op::Popcnt if self.backend.host.popcnt => self.bit_count(i, inst),
            Op::Lzcnt if self.backend.host.lzcnt => self.bit_count(i, inst),
            Op::Tzcnt if self.backend.host.bmi1 => self.bit_count(i, inst),
            Op::Popcnt | Op::Lzcnt | Op::Tzcnt => return self.outside(i, inst),
            Op::BitRev => self.reverse_bits(i, inst),
            Op::Crc if inst.imm == 0 && self.backend.host.sse42 => self.crc(i, inst),
            Op::Crc => return self.outside(i, inst),
            _ => self.bit_test(i, inst),
        }
        Ok(())
    }

    fn bit_count(&mut self, i: usize, inst: &Inst) {
        let a = self.reg(inst.args[0]);
        let d = self.dest(i, Some(a));
        self.clobber_flags(i);
        let byte = match inst.op {
            Op::Popcnt => 0xb8,
            Op::Lzcnt => 0xbd,
            _ => 0xbc,
        };
        self.asm.op(Opcode::sse(0xf3, byte), inst.ty.bytes(), d, Rm::Reg(a));
        self.flags_defined(i);
        self.define(i, d);
    }

    fn bit_test(&mut self, i: usize, inst: &Inst) {
        let source = match self.imm32(inst.args[1]) {
            Some(bit) => Source::Imm(bit),
            None => Source::Rm(Rm::Reg(self.reg(inst.args[1]))),
        };
        let d = if inst.op == Op::Bt && self.facts.facts[i].uses == 0 {
            Dest { reg: self.reg(inst.args[0]), part: false }
        } else {
            let d = self.in_place(i, inst, inst.args[0], source);
            self.extend_in_place(d, inst.args[0]);
            d
        };
        if self.wants_flags(i) && !(self.facts.facts[i].flags_needed - isamorph_ir::FlagSet::C).is_empty() {
            self.ensure_flags(i, inst.args[2]);
        }
        self.clobber_flags(i);
        let number = match inst.op {
            Op::Bt => 4,
            Op::Bts => 5,
            Op::Btr => 6,
            _ => 7,
        };
        match source {
            Source::Imm(bit) => {
                self.asm.op(Opcode::two(0xba), inst.ty.bytes(), number, Rm::Reg(d.reg));
                self.asm.u8(bit as u8);
            }
            Source::Rm(Rm::Reg(b)) => self.asm.op(Opcode::two(0x83 | number << 3), inst.ty.bytes(), b, Rm::Reg(d.reg)),
            Source::Rm(_) => {}
        }
        self.flags_defined(i);
        if self.facts.facts[i].uses > 0 {
            self.finish(i, d);
        }
    }

    /// Reverses the bytes of a register.
    pub fn bswap(&mut self, reg: u8, wide: bool) {
        if wide || reg >= 8 {
            self.asm.u8(0x40 | u8::from(wide) << 3 | reg >> 3);
        }
        self.asm.code.extend_from_slice(&[0x0f, 0xc8 | reg & 7]);
    }

    /// Reverses bytes, then exchanges the halves, quarters and eighths of each.
    fn reverse_bits(&mut self, i: usize, inst: &Inst) {
        let size = inst.ty.bytes();
        let d = self.in_place(i, inst, inst.args[0], Source::Imm(0)).reg;
        let (t, mask) = (self.scratch(false), self.scratch(false));
        self.clobber_flags(i);
        self.bswap(d, size == 8);
        for (shift, bits) in [(4, 0x0f), (2, 0x33), (1, 0x55)] {
            self.mov_imm(mask, (0x0101_0101_0101_0101 * bits) & inst.ty.mask());
            self.asm.op(Opcode::one(0x8b), size, t, Rm::Reg(d));
            self.asm.op(Opcode::one(0xc1), size, 5, Rm::Reg(t)); // shr
            self.asm.u8(shift);
            self.asm.op(Opcode::one(0x23), size, d, Rm::Reg(mask));
            self.asm.op(Opcode::one(0x23), size, t, Rm::Reg(mask));
            if shift == 4 {
                self.asm.op(Opcode::one(0xc1), size, 4, Rm::Reg(d)); // shl
                self.asm.u8(shift);
                self.asm.op(Opcode::one(0x0b), size, d, Rm::Reg(t));
            } else {
                let sum = Mem { base: t, index: d, scale: shift, ..super::EMPTY };
                self.asm.op(Opcode::one(0x8d), size, d, Rm::Mem(sum));
            }
        }
        self.define(i, d);
    }

    /// `crc32` (SDM vol. 2): Castagnoli's polynomial.
    fn crc(&mut self, i: usize, inst: &Inst) {
        let size = self.region.value_type(inst.args[1]).bytes();
        let data = self.reg(inst.args[1]);
        let d = self.in_place(i, inst, inst.args[0], Source::Rm(Rm::Reg(data))).reg;
        let opcode = Opcode { prefix: 0xf2, map: 2, byte: if size == 1 { 0xf0 } else { 0xf1 } };
        self.asm.op_with(opcode, size, d, Rm::Reg(data), false, size == 1);
        self.define(i, d);
    }
}
