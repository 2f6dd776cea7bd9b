//! Which function computes which op.

use crate::compute::{self, Operands};
use crate::{Frame, Slot, int};
use isamorph_ir::{Inst, Op, Trap, Type, rules};

/// The operands of an instruction of a region.
pub(crate) struct Args<'a, 'b> {
    frame: &'a Frame<'b>,
    inst: &'a Inst,
}

impl Operands for Args<'_, '_> {
    fn value(&self, index: usize) -> u128 {
        self.frame.value(self.inst.args[index])
    }
    fn ty(&self, index: usize) -> Type {
        self.frame.region.value_type(self.inst.args[index])
    }
}

impl<'b> Frame<'b> {
    pub(crate) fn operands<'a>(&'a self, inst: &'a Inst) -> Args<'a, 'b> {
        Args { frame: self, inst }
    }

    /// Computes one instruction. Control flow and the most frequent ops are not here: [`Frame::run`] does them.
    pub(crate) fn eval(&mut self, inst: &Inst) -> Result<Slot, Trap> {
        let operand = |index: usize| self.value(inst.args[index]) as u64;
        Ok(match inst.op {
            // State and structure.
            Op::FlagsKeep => {
                let kept = inst.flag_set();
                Slot::flags((self.slot(inst.args[0]).flags - kept) | (self.flags(inst.args[1]) & kept))
            }
            Op::Second => Slot::int(self.slot(inst.args[0]).second),
            // Division, which may fail.
            Op::DivU => int::div_unsigned(inst.ty, operand(0), operand(1), operand(2))?,
            Op::DivS => int::div_signed(inst.ty, operand(0), operand(1), operand(2))?,
            // Memory and helpers.
            Op::Lea => Slot::int(self.address(inst) & inst.ty.mask()),
            Op::Rmw => self.read_modify_write(inst, operand(0), |new, _| new)?,
            Op::Fetch => self.read_modify_write(inst, operand(0), |_, old| old)?,
            Op::Cas => self.compare_and_swap(inst, self.value(inst.args[0]), self.value(inst.args[1]))?,
            Op::Fence => self.fence(),
            Op::Call => self.call(inst, [operand(0), operand(1), operand(2)])?,
            // The x87 unit.
            Op::X87 => self.x87(inst)?,
            Op::X87Mem => self.x87_mem(inst)?,
            Op::X87Flags => self.x87_flags(inst)?,
            Op::X87Status => Slot::int(self.x87_status()),
            Op::X87Cmov => self.x87_cmov(inst)?,
            op if rules::is_float(op) => self.float(inst)?,
            _ => compute::eval(inst, &self.operands(inst)),
        })
    }
}
