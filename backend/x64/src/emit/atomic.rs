//! Atomic read-modify-write and compare-and-swap.

use super::{Access, Emitter};
use crate::Unsupported;
use crate::asm::{Mem, Opcode, Rm};
use isamorph_code::Recipe;
use isamorph_ir::{AtomicOp, Cond, Inst, Op, Type, Value};

const RAX: u8 = 0;

/// The operation number in x86 opcodes, for `op reg, reg` and `lock op [mem], reg`.
fn number(kind: AtomicOp) -> u8 {
    match kind {
        AtomicOp::Or => 1,
        AtomicOp::And => 4,
        AtomicOp::Sub => 5,
        AtomicOp::Xor => 6,
        _ => 0,
    }
}

/// The condition of old − operand under which a minimum or maximum takes the operand.
fn extreme(kind: AtomicOp) -> Option<Cond> {
    match kind {
        AtomicOp::MinS => Some(Cond::G),
        AtomicOp::MaxS => Some(Cond::L),
        AtomicOp::MinU => Some(Cond::A),
        AtomicOp::MaxU => Some(Cond::B),
        _ => None,
    }
}

fn sized(byte: u8, size: u32) -> Opcode {
    Opcode::one(byte | u8::from(size > 1))
}

impl Emitter<'_> {
    /// `rmw`, `fetch`, `cas`.
    pub fn atomic(&mut self, i: usize, inst: &Inst) -> Result<(), Unsupported> {
        if inst.ty == Type::I128 {
            return self.cas_wide(i, inst);
        }
        self.settle(RAX);
        let used = self.facts.facts[i].uses > 0;
        match (inst.op, inst.atomic()) {
            (Op::Cas, _) => self.cas(i, inst),
            (_, AtomicOp::Xchg) => self.exchange(i, inst),
            (_, kind) if !used && extreme(kind).is_none() => self.locked_op(i, inst),
            (Op::Fetch, AtomicOp::Add) => self.exchange_add(i, inst),
            _ => self.cas_loop(i, inst),
        }
        Ok(())
    }

    fn locked_op(&mut self, i: usize, inst: &Inst) {
        let size = inst.ty.bytes();
        let source = self.source(inst.args[0]);
        let mem = self.guest_mem(inst.imm, Access::write(inst.ty.bytes()));
        self.clobber_flags(i);
        self.access_point(false, &[]);
        self.asm.u8(0xf0);
        self.alu_op(number(inst.atomic()), size, Rm::Mem(mem), source);
        self.flags_defined(i);
    }

    /// A copy of an operand in a register of its own.
    fn copy_of(&mut self, v: Value) -> u8 {
        let r = self.reg(v);
        let d = self.scratch(false);
        self.copy_register(d, r);
        d
    }

    fn exchange(&mut self, i: usize, inst: &Inst) {
        let mem = self.guest_mem(inst.imm, Access::write(inst.ty.bytes()));
        let d = self.copy_of(inst.args[0]);
        self.access_point(false, &[]);
        let size = inst.ty.bytes();
        self.asm.op_with(sized(0x86, size), size, d, Rm::Mem(mem), size == 1, false);
        if inst.op == Op::Rmw {
            // The new value is the operand.
            let v = self.reg_extended(inst.args[0]);
            self.copy_register(d, v);
        }
        self.define(i, d);
    }

    fn exchange_add(&mut self, i: usize, inst: &Inst) {
        let mem = self.guest_mem(inst.imm, Access::write(inst.ty.bytes()));
        let d = self.copy_of(inst.args[0]);
        let size = inst.ty.bytes();
        self.clobber_flags(i);
        self.access_point(false, &[]);
        self.asm.u8(0xf0);
        self.asm.op_with(Opcode::two(0xc0 | u8::from(size > 1)), size, d, Rm::Mem(mem), size == 1, false);
        self.flags_defined(i);
        self.define(i, d);
    }

    /// rax put aside in a scratch register, and the recipe that says so.
    fn rax_aside(&mut self) -> (u8, Vec<Recipe>) {
        self.lock(RAX);
        let save = self.scratch(false);
        self.copy_register(save, RAX);
        let recipe = self.pins.guest(RAX).map(|g| Recipe::Moved { reg: g.0, host: save });
        (save, recipe.into_iter().collect())
    }

    /// An address that does not depend on rax.
    fn mem_without_rax(&mut self, inst: &Inst) -> Mem {
        let mem = self.guest_mem(inst.imm, Access::write(inst.ty.bytes()));
        if mem.base != RAX && mem.index != RAX {
            return mem;
        }
        self.computed_address(mem)
    }

    /// A memory operand with its address in a scratch register.
    pub fn computed_address(&mut self, mem: Mem) -> Mem {
        let t = self.scratch(false);
        let size = if self.backend.table.addr_bits == 64 || self.translates() { 8 } else { 4 };
        let plain = Mem { gs: false, addr32: false, ..mem };
        self.asm.op(Opcode::one(0x8d), size, t, Rm::Mem(plain));
        self.unlock(mem, 1 << t);
        Mem { base: t, gs: mem.gs, ..super::EMPTY }
    }

    /// The general form: load, compute, `lock cmpxchg`, again if another thread was faster.
    fn cas_loop(&mut self, i: usize, inst: &Inst) {
        let size = inst.ty.bytes();
        let mem = self.mem_without_rax(inst);
        let v = {
            let r = self.reg(inst.args[0]);
            if r == RAX { self.copy_of(inst.args[0]) } else { r }
        };
        self.clobber_flags(i);
        let (save, recipes) = self.rax_aside();
        let t = self.scratch(false);
        self.access_point(false, &recipes);
        let load = Inst { ty: inst.ty, op: Op::Load, attr: 0, ..*inst };
        self.extend(&load, RAX, Rm::Mem(mem), size);
        let again = self.asm.pos();
        self.copy_register(t, RAX);
        self.combine(inst, t, v);
        self.access_point(false, &recipes);
        self.asm.u8(0xf0);
        self.asm.op_with(Opcode::two(0xb0 | u8::from(size > 1)), size, t, Rm::Mem(mem), size == 1, false);
        self.asm.u8(0x75);
        let at = self.asm.pos();
        self.asm.u8((again as i64 - (i64::from(at) + 1)) as u8);
        if self.wants_flags(i) {
            // The flags are those of the operation: do it once more on the old value.
            self.copy_register(t, RAX);
            self.combine(inst, t, v);
        }
        self.asm.op(Opcode::one(0x87), 8, RAX, Rm::Reg(save)); // xchg
        self.checker.copied(RAX, save);
        self.flags_defined(i);
        self.define(i, if inst.op == Op::Fetch { save } else { t });
    }

    /// The operation of an atomic access: `t = t op v`, with the value of `t` in rax too.
    fn combine(&mut self, inst: &Inst, t: u8, v: u8) {
        let size = inst.ty.bytes();
        let operand = super::int::Source::Rm(Rm::Reg(v));
        match extreme(inst.atomic()) {
            None => self.alu_op(number(inst.atomic()), size, Rm::Reg(t), operand),
            Some(cond) => {
                self.alu_op(super::int::CMP, size, Rm::Reg(RAX), operand);
                self.asm.op(Opcode::two(0x40 | cond as u8), size.max(4), t, Rm::Reg(v));
            }
        }
    }

    fn cas(&mut self, i: usize, inst: &Inst) {
        let size = inst.ty.bytes();
        let opcode = Opcode::two(0xb0 | u8::from(size > 1));
        let (expected, new) = (inst.args[0], inst.args[1]);
        if self.is_in(expected, RAX) && self.wanted_register(i) == Some(RAX) && self.can_overwrite(RAX, i) {
            let mem = self.guest_mem(inst.imm, Access::write(inst.ty.bytes()));
            let n = self.reg(new);
            self.clobber_flags(i);
            self.lock(RAX);
            self.access_point(false, &[]);
            self.asm.u8(0xf0);
            self.asm.op_with(opcode, size, n, Rm::Mem(mem), size == 1, false);
            if inst.ty == Type::I32 {
                // A successful exchange leaves rax alone, and it is zero-extended already.
                self.asm.op(Opcode::one(0x8b), 4, RAX, Rm::Reg(RAX));
            }
            self.flags_defined(i);
            return self.define(i, RAX);
        }
        let mem = self.mem_without_rax(inst);
        let n = {
            let r = self.reg(new);
            if r == RAX { self.copy_of(new) } else { r }
        };
        let e = self.reg(expected);
        self.clobber_flags(i);
        let (save, recipes) = self.rax_aside();
        self.copy_register(RAX, e);
        self.access_point(false, &recipes);
        self.asm.u8(0xf0);
        self.asm.op_with(opcode, size, n, Rm::Mem(mem), size == 1, false);
        self.flags_defined(i);
        let d = self.scratch(false);
        self.asm.op(Opcode::one(0x8b), if size == 8 { 8 } else { 4 }, d, Rm::Reg(RAX));
        self.copy_register(RAX, save);
        self.define(i, d);
    }
}
