//! One op with its operands, apart from any region: what a back end calls for an op that it has no code for.

use crate::compute::{self, Operands};
use crate::float;
use isamorph_ir::op::{ImmKind, Res};
use isamorph_ir::{Effects, FlagSet, Inst, Op, Trap, Type, Value, rules};

/// Most operands that an operation has.
pub const OPERANDS: usize = 3;

/// An op that does nothing but compute, with its operands.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// What it does.
    pub op: Op,
    /// Type of its result.
    pub ty: Type,
    /// Attribute byte.
    pub attr: u8,
    /// Immediate.
    pub imm: u8,
    /// Types of the operands.
    pub types: [Type; OPERANDS],
    /// Operands, zero above their type's width; flags as EFLAGS bits.
    pub values: [u128; OPERANDS],
}

impl Operands for Operation {
    fn value(&self, index: usize) -> u128 {
        self.values.get(index).copied().unwrap_or(0)
    }
    fn ty(&self, index: usize) -> Type {
        self.types.get(index).copied().unwrap_or(Type::None)
    }
}

impl Operation {
    /// Whether an op can be computed on its own: it has a result, and does not touch the guest's state or memory.
    pub fn covers(op: Op) -> bool {
        let info = op.info();
        info.res == Res::T
            && info.args.len() <= OPERANDS
            && matches!(info.imm, ImmKind::No | ImmKind::U8 | ImmKind::Fp)
            && (info.effects - Effects::FLAGS - Effects::FPENV).is_empty()
            && op != Op::Second
    }

    /// The result and the flags. The exception flags of floating-point ops are added to `mxcsr`, which rules them.
    ///
    /// # Errors
    /// A floating-point exception that `mxcsr` does not mask.
    pub fn run(&self, mxcsr: &mut u32) -> Result<(u128, FlagSet), Trap> {
        let Operation { op, ty, attr, imm, .. } = *self;
        let inst = Inst { op, ty, attr, args: [Value::NONE; 4], imm: imm.into() };
        let slot = if rules::is_float(op) { float::eval(&inst, self, mxcsr)? } else { compute::eval(&inst, self) };
        Ok((slot.bits, slot.flags))
    }
}
