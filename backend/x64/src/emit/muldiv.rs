//! Multiplication and division. The wide forms use rax and rdx, whose guest values wait in scratch registers unless
//! the results belong there anyway.

use super::{Emitter, Loc};
use crate::Unsupported;
use crate::analysis::NONE;
use crate::asm::{Mem, Opcode, Rm};
use isamorph_code::Recipe;
use isamorph_ir::{Cond, Inst, Op, Type, Value};

const RAX: u8 = 0;
const RDX: u8 = 2;

/// What rax and rdx are put aside to, if anything.
struct Aside {
    rax: Option<u8>,
    rdx: Option<u8>,
}

impl Emitter<'_> {
    /// `mul`, `mulu`, `muls`, `divu`, `divs`.
    pub fn muldiv(&mut self, i: usize, inst: &Inst) -> Result<(), Unsupported> {
        if inst.op != Op::Mul {
            self.settle(RAX);
            self.settle(RDX);
        }
        match (inst.op, inst.ty) {
            (Op::Mul, Type::I8) => return Err(Unsupported { what: "mul.i8" }),
            (Op::Mul, _) => self.mul_low(i, inst),
            (Op::MulU | Op::MulS, Type::I8) => self.mul_byte(i, inst),
            (Op::MulU | Op::MulS, _) => self.mul_wide(i, inst),
            (Op::QuotU | Op::QuotS, _) => self.quotient(i, inst),
            (_, Type::I8) => self.div_byte(i, inst),
            _ => self.div(i, inst),
        }
        Ok(())
    }

    fn mul_low(&mut self, i: usize, inst: &Inst) {
        let size = inst.ty.bytes();
        let (a, b) = if self.imm32(inst.args[1]).is_some() { (0, 1) } else { (1, 0) };
        if let Some(imm) = self.imm32(inst.args[b]) {
            let source = self.register_or_folded(inst.args[a]);
            let prefer = if let Rm::Reg(r) = source { Some(r) } else { None };
            let d = self.dest(i, prefer);
            self.clobber_flags(i);
            self.fault_if_memory(source);
            let short = i8::try_from(imm).is_ok();
            self.asm.op(Opcode::one(if short { 0x6b } else { 0x69 }), size, d, source);
            self.imm(imm, if short { 1 } else { size });
            self.flags_defined(i);
            return self.define(i, d);
        }
        let (a, b) = self.order(inst);
        let rm = self.register_or_folded(b);
        let d = self.in_place(i, inst, a, super::int::Source::Rm(rm));
        self.clobber_flags(i);
        self.fault_if_memory(rm);
        self.asm.op(Opcode::two(0xaf), size, d.reg, rm);
        self.flags_defined(i);
        self.finish(i, d);
    }

    /// Whether the result of `i` is wanted in `reg` and may go there now.
    fn belongs(&self, i: u32, reg: u8, user: usize) -> bool {
        i != NONE && self.wanted_register(i as usize) == Some(reg) && self.can_overwrite(reg, user)
    }

    fn put_aside(&mut self, rax_free: bool, rdx_free: bool) -> Aside {
        self.lock(RAX);
        self.lock(RDX);
        let save = |e: &mut Self, reg: u8, free: bool| {
            (!free).then(|| {
                let to = e.scratch(false);
                e.copy_register(to, reg);
                to
            })
        };
        Aside { rax: save(self, RAX, rax_free), rdx: save(self, RDX, rdx_free) }
    }

    /// A register with the value of an operand that survives the loading of rax and rdx.
    fn away_from_fixed(&mut self, v: Value) -> u8 {
        let r = self.reg(v);
        if r != RAX && r != RDX {
            return r;
        }
        let t = self.scratch(false);
        self.copy_register(t, r);
        t
    }

    /// Hands out the results from rax and rdx and puts back what was there.
    fn results(&mut self, i: usize, aside: &Aside) {
        let second = self.facts.facts[i].second;
        self.keep_locked(aside);
        let hand_out = |e: &mut Self, value: u32, reg: u8, aside: Option<u8>| {
            let used = value != NONE && e.facts.facts[value as usize].uses > 0;
            if let Some(saved) = aside {
                if used {
                    let d = e.scratch(false);
                    e.copy_register(d, reg);
                    e.define(value as usize, d);
                }
                e.copy_register(reg, saved);
            } else {
                e.held[usize::from(reg)] = Value::NONE;
                if used {
                    e.define(value as usize, reg);
                }
            }
        };
        hand_out(self, i as u32, RAX, aside.rax);
        hand_out(self, second, RDX, aside.rdx);
    }

    fn mul_wide(&mut self, i: usize, inst: &Inst) {
        let size = inst.ty.bytes();
        let (a, b) = (self.reg(inst.args[0]), inst.args[1]);
        let square = inst.args[0] == b;
        let rb = if square { RAX } else { self.away_from_fixed(b) };
        let second = self.facts.facts[i].second;
        let (rax, rdx) = (self.belongs(i as u32, RAX, i), self.belongs(second, RDX, i));
        let aside = self.put_aside(rax, rdx);
        self.move_int(inst.ty, RAX, a);
        self.clobber_flags(i);
        let digit = if inst.op == Op::MulU { 4 } else { 5 };
        self.asm.op(Opcode::one(0xf7), size, digit, Rm::Reg(rb));
        self.flags_defined(i);
        self.results(i, &aside);
    }

    /// 8-bit product: al × r in ax.
    fn mul_byte(&mut self, i: usize, inst: &Inst) {
        let a = self.reg(inst.args[0]);
        let rb = self.away_from_fixed(inst.args[1]);
        let aside = self.put_aside(false, true);
        self.move_int(inst.ty, RAX, a);
        self.clobber_flags(i);
        let digit = if inst.op == Op::MulU { 4 } else { 5 };
        self.asm.op(Opcode::one(0xf6), 1, digit, Rm::Reg(rb));
        self.flags_defined(i);
        self.byte_results(i, &aside);
    }

    /// After the operation only what was put aside must stay where it is.
    fn keep_locked(&mut self, aside: &Aside) {
        self.locked = 1 << RAX | 1 << RDX;
        aside.rax.into_iter().chain(aside.rdx).for_each(|r| self.lock(r));
    }

    /// al and ah as the two results of `i`.
    fn byte_results(&mut self, i: usize, aside: &Aside) {
        let second = self.facts.facts[i].second;
        self.keep_locked(aside);
        if self.facts.facts[i].uses > 0 {
            let d = self.scratch(false);
            self.asm.op(Opcode::one(0x8b), 4, d, Rm::Reg(RAX));
            self.define(i, d);
        }
        if second != NONE {
            let d = self.scratch(false);
            self.rorx(d, RAX, 8, false);
            self.define(second as usize, d);
        }
        if let Some(saved) = aside.rax {
            self.copy_register(RAX, saved);
        }
    }

    /// Recovery recipes for what has been put aside.
    fn aside_recipes(&self, aside: &Aside) -> Vec<Recipe> {
        [(RAX, aside.rax), (RDX, aside.rdx)]
            .into_iter()
            .filter_map(|(reg, to)| Some(Recipe::Moved { reg: self.pins.guest(reg)?.0, host: to? }))
            .collect()
    }

    fn div(&mut self, i: usize, inst: &Inst) {
        let size = inst.ty.bytes();
        let (hi, lo) = (self.reg(inst.args[0]), self.reg(inst.args[1]));
        let d = self.away_from_fixed(inst.args[2]);
        let second = self.facts.facts[i].second;
        // A fault must find rax and rdx as the guest had them, so results may only go there when the operands are
        // there already.
        let rax = lo == RAX && self.belongs(i as u32, RAX, i);
        let rdx = hi == RDX && self.belongs(second, RDX, i);
        let aside = self.put_aside(rax, rdx);
        match (lo, hi) {
            (RDX, RAX) => self.asm.op(Opcode::one(0x87), 8, RAX, Rm::Reg(RDX)),
            (RDX, _) => {
                self.move_int(Type::I64, RAX, lo);
                self.move_int(Type::I64, RDX, hi);
            }
            _ => {
                self.move_int(Type::I64, RDX, hi);
                self.move_int(Type::I64, RAX, lo);
            }
        }
        self.clobber_flags(i);
        let recipes = self.aside_recipes(&aside);
        self.fault_point(&recipes);
        self.asm.op(Opcode::one(0xf7), size, if inst.op == Op::DivU { 6 } else { 7 }, Rm::Reg(d));
        self.results(i, &aside);
    }

    /// A division that never faults. Where the host's would (by zero, or the least number by −1), and for all other
    /// divisions by 0 and −1, the quotient is the product.
    fn quotient(&mut self, i: usize, inst: &Inst) {
        let size = inst.ty.bytes();
        let a = self.reg(inst.args[0]);
        let d = self.away_from_fixed(inst.args[1]);
        let rax = self.belongs(i as u32, RAX, i);
        let aside = self.put_aside(rax, false);
        self.move_int(inst.ty, RAX, a);
        self.clobber_flags(i);
        let signed = inst.op == Op::QuotS;
        let ordinary = if signed {
            let next = Mem { base: d, disp: 1, ..super::EMPTY };
            self.asm.op(Opcode::one(0x8d), size, RDX, Rm::Mem(next));
            self.alu_op(super::int::CMP, size, Rm::Reg(RDX), super::int::Source::Imm(1));
            self.short_jump(Cond::A as u8)
        } else {
            self.asm.op(Opcode::one(0x85), size, d, Rm::Reg(d));
            self.short_jump(Cond::Ne as u8)
        };
        self.asm.op(Opcode::two(0xaf), size, RAX, Rm::Reg(d));
        self.asm.u8(0xeb);
        let done = self.asm.pos();
        self.asm.u8(0);
        self.asm.patch_short(ordinary);
        if signed {
            if size == 8 {
                self.asm.u8(0x48);
            }
            self.asm.u8(0x99); // cdq, cqo
        } else {
            self.asm.op(Opcode::one(0x33), 4, RDX, Rm::Reg(RDX));
        }
        self.asm.op(Opcode::one(0xf7), size, if signed { 7 } else { 6 }, Rm::Reg(d));
        self.asm.patch_short(done);
        self.results(i, &aside);
    }

    /// 8-bit division: ax by r, quotient in al, remainder in ah.
    fn div_byte(&mut self, i: usize, inst: &Inst) {
        let (hi, lo) = (self.reg(inst.args[0]), self.reg(inst.args[1]));
        let d = self.away_from_fixed(inst.args[2]);
        let aside = self.put_aside(false, true);
        let t = self.scratch(false);
        self.asm.op_with(Opcode::two(0xb6), 4, t, Rm::Reg(hi), false, true);
        self.rorx(t, t, 24, false);
        self.asm.op_with(Opcode::two(0xb6), 4, RAX, Rm::Reg(lo), false, true);
        let sum = Mem { base: RAX, index: t, ..super::EMPTY };
        self.asm.op(Opcode::one(0x8d), 4, RAX, Rm::Mem(sum));
        self.clobber_flags(i);
        let recipes = self.aside_recipes(&aside);
        self.fault_point(&recipes);
        self.asm.op(Opcode::one(0xf6), 1, if inst.op == Op::DivU { 6 } else { 7 }, Rm::Reg(d));
        self.byte_results(i, &aside);
    }

    /// Where a value is, for instructions with fixed registers.
    pub fn is_in(&self, v: Value, reg: u8) -> bool {
        self.facts.root(v).is_some_and(|root| self.locs[root] == Loc::Reg(reg))
    }
}
