//! The x87 unit: the guest's register stack is the host's.

use super::{Access, Emitter};
use crate::Unsupported;
use crate::asm::{Opcode, Rm};
use isamorph_ir::{Cond, Inst, Op, X87Form};

impl Emitter<'_> {
    /// Every x87 op is the instruction that its table row names.
    pub fn x87(&mut self, i: usize, inst: &Inst) -> Result<(), Unsupported> {
        match inst.op {
            Op::X87Status => {
                let m = Rm::Mem(self.scratch_mem(4));
                // fnstsw m16
                self.asm.op(Opcode::one(0xdd), 4, 7, m);
                let d = self.dest(i, None);
                self.asm.op(Opcode::two(0xb7), 4, d, m);
                self.define(i, d);
            }
            Op::X87Cmov => {
                self.ensure_flags(i, inst.args[0]);
                let bytes = match inst.cond() {
                    Cond::B => [0xda, 0xc0],
                    Cond::E => [0xda, 0xc8],
                    Cond::Be => [0xda, 0xd0],
                    Cond::P => [0xda, 0xd8],
                    Cond::Ae => [0xdb, 0xc0],
                    Cond::Ne => [0xdb, 0xc8],
                    Cond::A => [0xdb, 0xd0],
                    Cond::Np => [0xdb, 0xd8],
                    _ => return Err(Unsupported { what: "x87cmov condition" }),
                };
                self.register_form(bytes, inst.imm);
            }
            _ => self.by_form(i, inst)?,
        }
        Ok(())
    }

    fn by_form(&mut self, i: usize, inst: &Inst) -> Result<(), Unsupported> {
        match (inst.x87().form(), inst.op) {
            (X87Form::Reg([0x9b, _]), _) => {
                self.fault_point(&[]);
                self.asm.u8(0x9b);
            }
            (X87Form::Reg(bytes), Op::X87Flags) => {
                self.clobber_flags(i);
                self.register_form(bytes, inst.imm);
                self.flags_defined(i);
            }
            (X87Form::Reg(bytes), _) => self.register_form(bytes, inst.imm),
            (X87Form::Mem(opcode, digit, bytes), Op::X87Mem) => {
                // The opcodes for operands that are stored are odd (SDM vol. 2, tables ).
                let write = opcode & 1 != 0 && matches!(digit, 1 | 2 | 3 | 6 | 7);
                let mem = self.guest_mem(inst.imm, Access { bytes, write });
                self.fault_point(&[]);
                self.asm.op(Opcode::one(opcode), 4, digit, Rm::Mem(mem));
            }
            _ => return Err(Unsupported { what: "x87 form" }),
        }
        Ok(())
    }

    fn register_form(&mut self, bytes: [u8; 2], st: u32) {
        self.fault_point(&[]);
        self.asm.code.extend_from_slice(&[bytes[0], bytes[1] + (st & 7) as u8]);
    }
}
