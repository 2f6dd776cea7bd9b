//! Ops that are computed by a call of the interpreter's function: those that have no lowering on this host, and the
//! cold paths of those whose instructions do not fit all operands.

use super::{Cold, Emitter};
use crate::Unsupported;
use crate::asm::{Mem, Opcode, Rm};
use crate::operation::{DESCRIPTOR, Descriptor};
use isamorph_code::Thunk;
use isamorph_interp::Operation;
use isamorph_ir::{Effects, Family, FpRule, Inst, Type};

impl Emitter<'_> {
    /// An op without a lowering.
    pub fn outside(&mut self, i: usize, inst: &Inst) -> Result<(), Unsupported> {
        let traps = inst.op.effects().contains(Effects::FPENV)
            && inst.fp_mode().rule() == FpRule::X86
            && self.backend.table.family == Family::X86;
        if !Operation::covers(inst.op) || inst.ty == Type::I128 || traps {
            return Err(Unsupported { what: inst.op.text() });
        }
        let mut operands = [(Type::None, 0); 3];
        for (index, &arg) in inst.args.iter().enumerate().filter(|(_, arg)| !arg.is_none()) {
            let ty = self.region.value_type(arg);
            match ty {
                Type::Flags => operands[index] = (ty, 0),
                Type::I128 | Type::V256 => return Err(Unsupported { what: "wide operands" }),
                _ => operands[index] = (ty, self.reg(arg)),
            }
        }
        for &arg in inst.args.iter().filter(|arg| self.region.value_type(**arg) == Type::Flags) {
            self.ensure_flags(i, arg);
        }
        let d = self.dest(i, None);
        let flags = inst.op.effects().contains(Effects::FLAGS);
        if flags {
            self.clobber_flags(i);
        }
        self.call_operation(Descriptor::new(inst, operands, d));
        self.define(i, d);
        if flags {
            self.flags_defined(i);
        }
        Ok(())
    }

    fn call_operation(&mut self, descriptor: Descriptor) {
        for (offset, half) in [(0, descriptor.0 as u32), (4, (descriptor.0 >> 32) as u32)] {
            self.asm.op(Opcode::one(0xc7), 4, 0, Rm::Mem(Mem::state(DESCRIPTOR + offset)));
            self.asm.u32(half);
        }
        self.branch_to_thunk(0xe8, Thunk::Operation);
    }

    /// Jumps to a cold path under a condition (its x86 number); the cold path computes the result of `inst` in `d` and
    /// comes back to where [`Emitter::resume`] says. The operands must be untouched there.
    pub fn unless_ordinary(&mut self, condition: u8, inst: &Inst, operands: &[(Type, u8)], d: u8) -> usize {
        self.asm.code.extend_from_slice(&[0x0f, 0x80 | condition]);
        let at = self.asm.pos();
        self.asm.u32(0);
        let mut all = [(Type::None, 0); 3];
        all[..operands.len()].copy_from_slice(operands);
        self.cold.push(Cold::Operation { at, back: 0, descriptor: Descriptor::new(inst, all, d) });
        self.cold.len() - 1
    }

    /// Where a cold path goes on.
    pub fn resume(&mut self, cold: usize) {
        let here = self.asm.pos();
        if let Some(Cold::Operation { back, .. }) = self.cold.get_mut(cold) {
            *back = here;
        }
    }

    /// The code of a cold path.
    pub fn cold_operation(&mut self, at: u32, back: u32, descriptor: Descriptor) {
        let here = self.asm.pos();
        self.asm.patch(at, here);
        self.call_operation(descriptor);
        self.asm.u8(0xe9);
        let jump = self.asm.pos();
        self.asm.u32(0);
        self.asm.patch(jump, back);
    }
}
