//! Which value stands for the result of an instruction.
//!
//! Simplification names an existing value instead of building a new one, so most of what is found is a renaming. The
//! map is kept at identity between regions and only undone where it was changed: a region in which nothing is renamed,
//! which is most of them, pays nothing for it.

use isamorph_ir::{Const, ExitKind, ImmKind, Inst, Op, Region, Type, Value};

/// The map from results to the values that stand for them.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// By instruction; itself unless it is in `renamed`.
    value: Vec<Value>,
    renamed: Vec<u32>,
}

impl Names {
    /// Makes room for a region.
    pub fn begin(&mut self, insts: usize) {
        let known = self.value.len();
        self.value.extend((known..insts).map(Value::inst));
    }

    /// Forgets the region.
    pub fn end(&mut self) {
        for index in self.renamed.drain(..) {
            self.value[index as usize] = Value(index);
        }
    }

    /// From now on `value` stands for the result of instruction `index`.
    pub fn rename(&mut self, index: usize, value: Value) {
        self.value[index] = value;
        self.renamed.push(index as u32);
    }

    fn of(&self, value: Value) -> Value {
        value.as_inst().map_or(value, |index| self.value[index])
    }

    /// Whether nothing is renamed.
    pub fn is_empty(&self) -> bool {
        self.renamed.is_empty()
    }

    /// Puts the values that stand for its operands into an instruction and what it refers to.
    pub fn apply(&self, region: &mut Region, index: usize) {
        let inst = &mut region.insts[index];
        // Projections look at the instruction, not at its value.
        let first = usize::from(matches!(inst.op, Op::Flags | Op::FlagsKeep | Op::Second));
        for arg in &mut inst.args[first..] {
            *arg = self.of(*arg);
        }
        match inst.op.info().imm {
            ImmKind::Addr => {
                let addr = &mut region.addrs[inst.imm as usize];
                for part in [&mut addr.base, &mut addr.index, &mut addr.seg] {
                    *part = self.of(*part);
                }
            }
            ImmKind::Exit => match &mut region.exits[inst.imm as usize].kind {
                ExitKind::IndirectCall { target, .. } | ExitKind::Return { target } | ExitKind::Indirect { target } => {
                    *target = self.of(*target);
                }
                _ => {}
            },
            _ => {}
        }
    }
}

/// A constant of the region with those bits, of which the ones above the type's width are dropped.
pub(crate) fn constant(region: &mut Region, ty: Type, bits: u64) -> Value {
    let wanted = Const { ty, bits: u128::from(bits & ty.mask()) };
    // Regions have few constants and the same ones are found again soon.
    let from = region.consts.len().saturating_sub(8);
    let known = region.consts[from..].iter().position(|known| *known == wanted).map(|at| from + at);
    Value::constant(known.unwrap_or_else(|| {
        region.consts.push(wanted);
        region.consts.len() - 1
    }))
}

/// The instruction that defines a value.
pub(crate) fn definition(region: &Region, value: Value) -> Option<&Inst> {
    value.as_inst().map(|index| &region.insts[index])
}

/// The bits of a constant integer of at most 64 bits, or of constant flags.
pub(crate) fn bits(region: &Region, value: Value) -> Option<u64> {
    let constant = region.consts[value.as_const()?];
    (constant.ty.bits() <= 64).then_some(constant.bits as u64)
}
