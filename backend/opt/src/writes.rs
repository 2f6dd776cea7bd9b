//! Register writes that nobody sees because the register is written again.
//!
//! They come from idioms that build a value in steps (`setcc al; movzx eax, al`, `mov eax, 1; shl eax, cl`). Without
//! the first write the value need not pass through the guest's register at all.
//!
//! A write may only go if nothing looks at the registers before the next one: no fault, no exit, no helper, no read.
//! So a write is never carried across an instruction that may fault, and a fault finds the state that it should.
//! Only registers that want a host integer register are followed. They do not overlap with others, and the rest is not
//! written twice in a row (flags are: back ends find that out in detail, flag by flag).
//!
//! The instruction becomes a read that nobody uses, which back ends drop: indices stay as they are.

use isamorph_ir::{Effects, Inst, Op, Pin, RegId, RegTable, Region, Value};

/// Effects that may observe registers, or that end what is known of them.
const OBSERVES: Effects =
    Effects::FAULT.union(Effects::EXIT).union(Effects::READ).union(Effects::END).union(Effects::FPENV);

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

    /// Notes what an instruction other than `get` and `set` may see.
    pub fn pass(&mut self, index: usize, inst: &Inst) {
        if inst.op.effects().intersects(OBSERVES) {
            self.observed = index as u32 + 1;
        }
    }

    /// Notes a `get`.
    pub fn read(&mut self, reg: RegId) {
        if reg.as_local().is_none() {
            self.last[usize::from(reg.0)] = 0;
        }
    }

    /// Notes a `set`, and drops the one before if this one hides it.
    pub fn write(&mut self, region: &mut Region, table: &RegTable, index: usize) {
        let reg = region.insts[index].reg();
        if reg.as_local().is_some() || !matches!(table.def(reg).pin, Pin::Int { .. }) {
            return;
        }
        let last = std::mem::replace(&mut self.last[usize::from(reg.0)], index as u32 + 1);
        if last > self.observed {
            let hidden = &mut region.insts[last as usize - 1];
            *hidden = Inst { op: Op::Get, args: [Value::NONE; 4], ..*hidden };
        }
    }
}
