//! Guest registers: reading and writing them where they live.

use super::{Emitter, Loc};
use crate::Unsupported;
use crate::asm::{Mem, Opcode, Rm};
use crate::pins::VEC;
use isamorph_ir::{Inst, RegId, Type, Value};

impl Emitter<'_> {
    pub(super) fn get(&mut self, i: usize, inst: &Inst) -> Result<(), Unsupported> {
        let reg = inst.reg();
        if Some(reg) == self.pins.flags {
            self.get_guest_flags(i);
        } else if let Some(host) = self.pins.host(reg) {
            self.settle(host);
            self.held[usize::from(host)] = Value::inst(i);
            self.locs[i] = Loc::Reg(host);
            self.checker.defined(i, host);
        } else {
            self.get_from_state(i, inst)?;
        }
        Ok(())
    }

    pub(super) fn set(&mut self, inst: &Inst) -> Result<(), Unsupported> {
        let (reg, v) = (inst.reg(), inst.args[0]);
        if Some(reg) == self.pins.flags {
            self.write_guest_flags(v);
        } else if let Some(host) = self.pins.host(reg) {
            self.set_pinned(host, v);
        } else {
            self.set_in_state(reg, inst.ty, v)?;
        }
        Ok(())
    }

    pub(super) fn set_pinned(&mut self, host: u8, v: Value) {
        let root = self.facts.root(v);
        if let Some(root) = root
            && let Loc::Sum { host: from, add } = self.locs[root]
        {
            return self.set_to_sum(host, root, from, add);
        }
        self.sums.forget_pending(host);
        let now = self.held[usize::from(host)];
        if now == v || root.is_some() && self.facts.root(now) == root {
            return;
        }
        if let Some(c) = v.as_const()
            && host < VEC
            && !self.held.contains(&v)
        {
            self.vacate(host);
            self.mov_imm(host, self.region.consts[c].bits as u64);
            self.held[usize::from(host)] = v;
            return;
        }
        let from = self.reg(v);
        self.vacate(host);
        if host >= VEC {
            self.copy_register(host, from);
        } else {
            let size = if inst_is_wide(self.region.value_type(v)) { 8 } else { 4 };
            self.asm.op(Opcode::one(0x8b), size, host, Rm::Reg(from));
            if self.is_loose(v) {
                // Half of a value is not the value.
                return;
            }
            self.checker.copied(host, from);
        }
        self.held[usize::from(host)] = v;
        if let Some(root) = root {
            // The pinned register is the better home: it frees a scratch register.
            self.held[usize::from(host)] = Value::inst(root);
            if self.pins.is_scratch(from) && self.locs[root] == Loc::Reg(from) {
                self.held[usize::from(from)] = Value::NONE;
                self.locs[root] = Loc::Reg(host);
            }
        }
    }

    pub(super) fn get_from_state(&mut self, i: usize, inst: &Inst) -> Result<(), Unsupported> {
        let (mem, x87) = self.state_mem(inst.reg());
        if let Some(number) = x87 {
            return self.get_mmx(i, number);
        }
        if self.is_fp_control(inst.reg()) {
            // stmxcsr
            let m = Rm::Mem(self.scratch_mem(4));
            self.asm.op(Opcode::two(0xae), 4, 3, m);
            let d = self.dest(i, None);
            self.asm.op(Opcode::one(0x8b), 4, d, m);
            self.define(i, d);
            return Ok(());
        }
        if inst.ty == Type::Flags {
            self.load_flags(i, mem);
            return Ok(());
        }
        let d = self.dest(i, None);
        self.load_typed(d, inst.ty, mem);
        self.define(i, d);
        Ok(())
    }

    pub(super) fn set_in_state(&mut self, reg: RegId, ty: Type, v: Value) -> Result<(), Unsupported> {
        let (mem, x87) = self.state_mem(reg);
        if let Some(number) = x87 {
            return self.set_mmx(number, v);
        }
        if self.is_fp_control(reg) {
            let r = self.reg(v);
            let m = Rm::Mem(self.scratch_mem(4));
            self.asm.op(Opcode::one(0x89), 4, r, m);
            // ldmxcsr
            self.asm.op(Opcode::two(0xae), 4, 2, m);
            return Ok(());
        }
        if ty == Type::Flags {
            self.store_flags(v, mem);
        } else {
            self.store_typed(v, ty, mem);
        }
        Ok(())
    }

    /// Where a register that is not pinned lives: in the state, or in the x87 register file.
    pub fn state_mem(&self, reg: RegId) -> (Mem, Option<u8>) {
        if let Some(local) = reg.as_local() {
            return (self.slot_mem(2 * local as u16), None);
        }
        let def = self.backend.table.def(reg);
        let x87 = if let isamorph_ir::Pin::X87(n) = def.pin { Some(n) } else { None };
        (Mem::state(def.offset), x87)
    }

    pub(super) fn is_fp_control(&self, reg: RegId) -> bool {
        reg.as_local().is_none() && self.backend.table.def(reg).pin == isamorph_ir::Pin::FpControl
    }

    /// A scratch word of the header.
    pub fn scratch_mem(&self, word: u32) -> Mem {
        Mem::state(std::mem::offset_of!(isamorph_ir::Header, scratch) as u32 + 8 * word)
    }
}

fn inst_is_wide(ty: Type) -> bool {
    ty == Type::I64
}
