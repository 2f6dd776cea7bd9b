//! Copies of registers that nobody sees because the register is written again.
//!
//! Two-address code starts with a copy: `mov eax, ebx; sub eax, ecx`. The IR's `sub` has three operands, so the copy
//! is only needed if something looks at the register in between: a fault, an exit, a helper, a read. Otherwise the
//! first write goes. It is never carried across an instruction that may fault, and a fault finds the state that it
//! should.
//!
//! Only copies are dropped. A hidden write of a result that was computed for it (`shr eax, 2; lea eax, [eax + 1]`)
//! tells the back end which register to compute that result in, the one where the next result goes as well. For the
//! same reason only registers that want a host integer register are followed; they do not overlap with others. Hidden
//! flags are found by back ends in detail, flag by flag.
//!
//! The instruction becomes a read that nobody uses, which back ends drop: indices stay as they are.

use crate::names::definition;
use isamorph_ir::{Inst, Op, Pin, RegTable, Region, Value};

/// The last write of every register.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    /// By register: one more than the index of the last write.
    last: Vec<u32>,
    /// One more than the index of the last instruction that may have observed registers.
    observed: u32,
}

impl Writes {
    /// Forgets everything.
    pub fn begin(&mut self, table: &RegTable) {
        self.last.clear();
        self.last.resize(table.regs.len(), 0);
        self.observed = 0;
    }

    /// Notes an instruction, and whether it may observe registers other than by a `get`.
    pub fn observe(&mut self, index: usize, observes: bool) {
        self.observed = if observes { index as u32 + 1 } else { self.observed };
    }

    /// Notes a `set`, and drops the one before if that was a copy and this one hides it.
    pub fn write(&mut self, region: &mut Region, table: &RegTable, index: usize) {
        let reg = region.insts[index].reg();
        // Locals are not followed.
        let Some(last) = self.last.get_mut(usize::from(reg.0)) else { return };
        let last = std::mem::replace(last, index as u32 + 1);
        if last > self.observed && matches!(table.def(reg).pin, Pin::Int { .. }) {
            hide(region, last as usize - 1, index);
        }
    }
}

/// Drops the write at `hidden`, which the one at `index` hides, if it is a copy that is not read in between.
fn hide(region: &mut Region, hidden: usize, index: usize) {
    let inst = region.insts[hidden];
    let copy = definition(region, inst.args[0]).is_some_and(|source| source.op == Op::Get);
    let is_read = |other: &Inst| other.op == Op::Get && other.imm == inst.imm;
    if copy && !region.insts[hidden..index].iter().any(is_read) {
        region.insts[hidden] = Inst { op: Op::Get, args: [Value::NONE; 4], ..inst };
    }
}
