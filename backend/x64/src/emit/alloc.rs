//! Allocation: which register or slot holds each value, for how long, and who gives way.

use super::{Emitter, Loc, in_vector};
use crate::analysis::NONE;
use crate::asm::{Mem, NO_REG, Opcode, Rm};
use crate::pins::VEC;
use isamorph_ir::{Addr, Effects, ImmKind, Op, Type, Value};

/// A pinned register whose content waits in a slot.
pub(super) struct Borrowed {
    pub reg: u8,
    pub slot: u16,
    /// What the register held.
    held: Value,
    /// The value whose only place it was.
    lives_here: Option<usize>,
}

/// The slot of flags that are in the CPU state as the guest's.
pub(super) const HOME: u16 = 0x7fff;

impl Emitter<'_> {
    // ---- uses

    pub(super) fn remaining(&self, v: Value) -> u16 {
        self.facts.root(v).map_or(0, |r| self.facts.facts[r].uses)
    }

    /// Uses of a register's value that come after the current instruction, which reads the values in `here`.
    pub(super) fn uses_after(&self, v: Value, i: usize) -> u16 {
        let Some(root) = self.facts.root(v) else { return 0 };
        let mut here = 0;
        // The flags of an instruction have the same root as its value.
        self.for_each_use(i, &mut |u, flags| here += u16::from(!flags && self.facts.root(u) == Some(root)));
        self.facts.facts[root].uses.saturating_sub(here)
    }

    /// The values that an instruction reads, together with those of the load and the operation that it absorbs, and
    /// whether each is a flags bundle.
    pub(super) fn for_each_use(&self, i: usize, f: &mut impl FnMut(Value, bool)) {
        self.for_each_direct_use(i, f);
        if self.facts.facts[i].absorbs {
            self.for_each_absorbed(i, &mut |u| self.for_each_direct_use(u, f));
        }
    }

    /// The instructions that are emitted as part of `i`: a load, or an operation with its load.
    pub(super) fn for_each_absorbed(&self, i: usize, f: &mut impl FnMut(usize)) {
        for u in self.region.insts[i].args.iter().filter_map(|v| v.as_inst()) {
            if self.facts.facts[u].rmw == i as u32 {
                f(u);
                self.region.insts[u]
                    .args
                    .iter()
                    .filter_map(|v| v.as_inst())
                    .filter(|l| self.is_folded(*l))
                    .for_each(&mut *f);
            } else if self.is_folded(u) {
                f(u);
            }
        }
    }

    pub(super) fn for_each_direct_use(&self, i: usize, f: &mut impl FnMut(Value, bool)) {
        let (inst, facts) = (&self.region.insts[i], &self.facts.facts[i]);
        for (slot, &v) in inst.args.iter().enumerate() {
            let flags = facts.flag_slots >> slot & 1 != 0;
            if flags || facts.value_slots >> slot & 1 != 0 {
                f(v, flags);
            }
        }
        match inst.op.info().imm {
            ImmKind::Addr => self.region.addrs[inst.imm as usize].values().for_each(|v| f(v, false)),
            ImmKind::Exit => {
                self.region.exits[inst.imm as usize].kind.target().into_iter().for_each(|v| f(v, false));
            }
            _ => {}
        }
    }

    /// Counts down the uses of what an emitted instruction read.
    pub(super) fn release(&mut self, i: usize) {
        self.release_direct(i);
        if self.facts.facts[i].absorbs {
            // A store absorbs at most an operation with its load and one more.
            let mut list = [None; 4];
            let mut places = list.iter_mut();
            self.for_each_absorbed(i, &mut |u| {
                if let Some(place) = places.next() {
                    *place = Some(u);
                }
            });
            list.into_iter().flatten().for_each(|u| self.release_direct(u));
        }
    }

    pub(super) fn release_direct(&mut self, i: usize) {
        let region = self.region;
        let (inst, facts) = (&region.insts[i], &self.facts.facts[i]);
        let (flag_slots, value_slots) = (facts.flag_slots, facts.value_slots);
        let used = 8 - (flag_slots | value_slots).leading_zeros() as usize;
        for (slot, &v) in inst.args[..used].iter().enumerate() {
            if flag_slots >> slot & 1 != 0 {
                if let Some(root) = self.facts.root(v) {
                    self.release_flags(root);
                }
            } else if value_slots >> slot & 1 != 0 {
                self.release_value(v);
            }
        }
        match inst.op.info().imm {
            ImmKind::Addr => {
                let Addr { base, index, seg, .. } = region.addrs[inst.imm as usize];
                [base, index, seg].into_iter().for_each(|v| self.release_value(v));
            }
            ImmKind::Exit => {
                let target = region.exits[inst.imm as usize].kind.target();
                target.into_iter().for_each(|v| self.release_value(v));
            }
            _ => {}
        }
    }

    pub(super) fn release_value(&mut self, v: Value) {
        let Some(root) = self.facts.root(v) else { return };
        let uses = &mut self.facts.facts[root].uses;
        *uses = uses.saturating_sub(1);
        if *uses == 0 {
            self.free(root);
        }
    }

    pub(super) fn free(&mut self, root: usize) {
        match std::mem::replace(&mut self.locs[root], Loc::Nowhere) {
            Loc::Slot(slot) => self.free_slot(slot),
            Loc::Reg(r) if self.pins.is_scratch(r) && self.held[usize::from(r)].as_inst() == Some(root) => {
                self.held[usize::from(r)] = Value::NONE;
            }
            _ => {}
        }
    }

    // ---- registers

    pub fn lock(&mut self, reg: u8) {
        self.locked |= 1 << reg;
    }

    /// A free register of the wanted kind, spilling or borrowing if there is none. It is locked.
    pub fn scratch(&mut self, vector: bool) -> u8 {
        let class = if vector { 0xffff_0000 } else { 0xffff };
        let candidates = self.pins.scratch & class & !self.locked;
        let pick = |want: &dyn Fn(u8) -> bool| (0..32u8).find(|r| candidates >> r & 1 != 0 && want(*r));
        let reg = pick(&|r| self.held[usize::from(r)].is_none())
            .or_else(|| pick(&|r| self.remaining(self.held[usize::from(r)]) == 0))
            .or_else(|| pick(&|_| true));
        let Some(reg) = reg else { return self.borrow(vector) };
        self.vacate(reg);
        self.lock(reg);
        reg
    }

    /// Makes a register's current value survive its overwriting: another register that holds it takes over, or it is
    /// copied or spilled.
    pub fn vacate(&mut self, reg: u8) {
        self.compute_sums_of(reg);
        let v = std::mem::replace(&mut self.held[usize::from(reg)], Value::NONE);
        let Some(root) = self.facts.root(v) else { return };
        if self.facts.facts[root].uses == 0 || self.locs[root] != Loc::Reg(reg) {
            return;
        }
        if let Some(other) = (0..32u8).find(|r| *r != reg && self.held[usize::from(*r)].as_inst() == Some(root)) {
            self.locs[root] = Loc::Reg(other);
            return;
        }
        let class: u32 = if reg >= VEC { 0xffff_0000 } else { 0xffff };
        let free = self.pins.scratch & class & !self.locked & !(1 << reg);
        if let Some(to) = (0..32u8).find(|r| free >> r & 1 != 0 && self.held[usize::from(*r)].is_none()) {
            self.copy_register(to, reg);
            self.held[usize::from(to)] = Value::inst(root);
            self.locs[root] = Loc::Reg(to);
        } else {
            let slot = self.new_slot(if reg >= VEC { 2 } else { 1 });
            self.spill_move(reg, slot, true);
            self.locs[root] = Loc::Slot(slot);
        }
    }

    /// A pinned register that the current instruction has nothing to do with; its content waits in a slot until the
    /// instruction is over. It is locked.
    pub(super) fn borrow(&mut self, vector: bool) -> u8 {
        let registers = if vector { VEC..32 } else { 0..VEC };
        // One that is borrowed already and no longer in use.
        let idle = |b: &&Borrowed| self.locked >> b.reg & 1 == 0 && self.held[usize::from(b.reg)].is_none();
        if let Some(reg) = self.borrowed.iter().filter(idle).map(|b| b.reg).find(|reg| registers.contains(reg)) {
            self.lock(reg);
            return reg;
        }
        let leaves = self.region.insts[self.at].op.effects();
        let stays = !leaves.intersects(Effects::EXIT | Effects::END) && self.region.insts[self.at].op != Op::Call;
        let Some(reg) = registers.clone().find(|r| stays && self.may_borrow(*r)) else {
            self.exhausted = Some("more registers in one instruction than the host has");
            return registers.start;
        };
        let slot = self.new_slot(if vector { 2 } else { 1 });
        self.spill_move(reg, slot, true);
        let held = std::mem::replace(&mut self.held[usize::from(reg)], Value::NONE);
        let lives_here = self.facts.root(held).filter(|root| self.locs[*root] == Loc::Reg(reg));
        if let Some(root) = lives_here {
            self.locs[root] = Loc::Slot(slot);
        }
        self.borrowed.push(Borrowed { reg, slot, held, lives_here });
        self.lock(reg);
        reg
    }

    /// Whether the current instruction neither reads, writes nor implies a pinned register.
    pub(super) fn may_borrow(&self, reg: u8) -> bool {
        const IMPLIED: u32 = 0b111; // rax, rcx, rdx
        let lent = self.borrowed.iter().fold(self.locked | IMPLIED, |mask, b| mask | 1 << b.reg);
        let free = self.pins.guest(reg).is_some() && lent >> reg & 1 == 0;
        let v = self.held[usize::from(reg)];
        free && self.facts.facts[self.at].hint != reg
            && !self.sums.is_pending(reg)
            && !self.has_sums(reg)
            && (self.facts.root(v).is_none() || self.uses_after(v, self.at) == self.remaining(v))
    }

    /// Puts the content of borrowed registers back; what they hold now and is still needed moves.
    pub(super) fn give_back(&mut self) {
        while let Some(Borrowed { reg, slot, held, lives_here }) = self.borrowed.pop() {
            self.locked = self.borrowed.iter().fold(1 << reg, |mask, b| mask | 1 << b.reg);
            self.vacate(reg);
            self.spill_move(reg, slot, false);
            self.free_slot(slot);
            self.held[usize::from(reg)] = held;
            if let Some(root) = lives_here {
                self.locs[root] = Loc::Reg(reg);
            }
        }
    }

    /// Register-to-register copy of the whole register.
    pub fn copy_register(&mut self, to: u8, from: u8) {
        if to >= VEC {
            self.asm.op(Opcode::sse(0, 0x28), 4, to - VEC, Rm::Reg(from - VEC));
        } else {
            self.asm.op(Opcode::one(0x8b), 8, to, Rm::Reg(from));
        }
        self.checker.copied(to, from);
    }

    pub fn new_slot(&mut self, words: u32) -> u16 {
        let mask: u128 = (1 << words) - 1;
        let at = (0..128 - words).step_by(words as usize).find(|at| self.slots & mask << at == 0);
        let at = at.unwrap_or_else(|| {
            self.exhausted = Some("more live values than spill slots");
            126
        });
        self.slots |= mask << at;
        at as u16 | if words == 2 { 0x8000 } else { 0 }
    }

    pub fn free_slot(&mut self, slot: u16) {
        if slot == HOME {
            return;
        }
        let mask: u128 = if slot & 0x8000 != 0 { 3 } else { 1 };
        self.slots &= !(mask << (slot & 0x7fff));
    }

    pub fn slot_mem(&self, slot: u16) -> Mem {
        if slot == HOME {
            return Mem::state(self.pins.flags.map_or(0, |flags| self.backend.table.def(flags).offset));
        }
        let base = std::mem::offset_of!(isamorph_ir::Header, spill) as u32;
        Mem::state(base + u32::from(slot & 0x7fff) * 8)
    }

    pub fn spill_move(&mut self, reg: u8, slot: u16, store: bool) {
        let m = Rm::Mem(self.slot_mem(slot));
        if reg >= VEC {
            self.asm.op(Opcode::sse(0, if store { 0x11 } else { 0x10 }), 4, reg - VEC, m);
        } else {
            self.asm.op(Opcode::one(if store { 0x89 } else { 0x8b }), 8, reg, m);
        }
        self.checker.spilled(reg, slot, store);
    }

    // ---- operands

    /// The register that holds a value, loading or materialising it if need be. It is locked.
    pub fn reg(&mut self, v: Value) -> u8 {
        if let Some(c) = v.as_const() {
            let c = self.region.consts[c];
            return self.const_reg(v, c.ty, c.bits);
        }
        let root = self.facts.root(v).unwrap_or(0);
        let reg = match self.locs[root] {
            Loc::Reg(r) => r,
            Loc::Slot(slot) => {
                let r = self.scratch(slot & 0x8000 != 0);
                self.spill_move(r, slot, false);
                self.free_slot(slot);
                self.locs[root] = Loc::Reg(r);
                self.held[usize::from(r)] = Value::inst(root);
                r
            }
            Loc::Sum { host, add } => self.compute_sum(root, host, add),
            Loc::Nowhere => {
                self.checker.used(root, NO_REG, self.region, &self.asm.code);
                unreachable!("value {} is used before it is emitted", v.0)
            }
        };
        self.lock(reg);
        if self.exhausted.is_none() {
            self.checker.used(root, reg, self.region, &self.asm.code);
        }
        reg
    }

    pub(super) fn const_reg(&mut self, v: Value, ty: Type, bits: u128) -> u8 {
        if let Some(r) = (0..32u8).find(|r| self.held[usize::from(*r)] == v) {
            self.lock(r);
            return r;
        }
        let r = self.scratch(in_vector(ty));
        if in_vector(ty) {
            self.vector_const(r, bits);
        } else {
            self.mov_imm(r, bits as u64);
        }
        self.held[usize::from(r)] = v;
        r
    }

    /// Loads a constant into an integer register without touching the flags.
    pub fn mov_imm(&mut self, reg: u8, bits: u64) {
        if bits >> 32 == 0 {
            if reg >= 8 {
                self.asm.u8(0x41);
            }
            self.asm.u8(0xb8 | reg & 7);
            self.asm.u32(bits as u32);
        } else if let Ok(imm) = i32::try_from(bits as i64) {
            self.asm.op(Opcode::one(0xc7), 8, 0, Rm::Reg(reg));
            self.asm.u32(imm as u32);
        } else {
            self.asm.u8(0x48 | reg >> 3);
            self.asm.u8(0xb8 | reg & 7);
            self.asm.u32(bits as u32);
            self.asm.u32((bits >> 32) as u32);
        }
    }

    /// The value as a sign-extended 32-bit immediate of an operation of that type, if it is one.
    pub fn imm32(&self, v: Value) -> Option<i32> {
        let c = self.region.consts[v.as_const()?];
        let bits = c.bits as u64;
        match c.ty {
            Type::I8 => Some(i32::from(bits as i8)),
            Type::I16 => Some(i32::from(bits as i16)),
            Type::I32 => Some(bits as i32),
            _ => i32::try_from(bits as i64).ok(),
        }
    }

    // ---- results

    /// The register to compute the result of `i` in: where it is wanted, else `prefer` if its value dies here, else a
    /// scratch register. What the register held and is still needed has been saved; it is locked, and the caller
    /// writes it before anything else is allocated.
    pub fn dest(&mut self, i: usize, prefer: Option<u8>) -> u8 {
        self.dest_avoiding(i, prefer, 0)
    }

    /// As [`Emitter::dest`], but none of the registers in the mask `avoid`, which the instruction reads after it has
    /// begun to write its result.
    pub fn dest_avoiding(&mut self, i: usize, prefer: Option<u8>, avoid: u32) -> u8 {
        let facts = self.facts.facts[i];
        let vector = in_vector(self.region.insts[i].ty);
        let usable = |r: u8| avoid >> r & 1 == 0;
        let reg = if self.wanted_register(i).is_some_and(usable) && self.can_overwrite(facts.hint, i) {
            facts.hint
        } else if let Some(p) = prefer
            .filter(|p| usable(*p) && self.pins.is_scratch(*p) && self.uses_after(self.held[usize::from(*p)], i) == 0)
        {
            p
        } else {
            return self.scratch(vector);
        };
        self.held[usize::from(reg)] = Value::NONE;
        self.lock(reg);
        reg
    }

    /// The pinned register that a `set` will write the result of `i` to, if it may be computed there.
    pub fn wanted_register(&self, i: usize) -> Option<u8> {
        let facts = self.facts.facts[i];
        (facts.hint != 0xff && facts.part_of == NONE).then_some(facts.hint)
    }

    /// Whether a pinned register can take a new value now: nothing after this instruction needs the old one, or
    /// another register has it too.
    pub fn can_overwrite(&self, reg: u8, i: usize) -> bool {
        if self.has_sums_after(reg, i) {
            return false;
        }
        let v = self.held[usize::from(reg)];
        let Some(root) = self.facts.root(v) else { return true };
        if self.locs[root] != Loc::Reg(reg) || self.uses_after(v, i) == 0 {
            return true;
        }
        false
    }

    /// Records that `reg` now holds the result of `i`.
    pub fn define(&mut self, i: usize, reg: u8) {
        self.checker.defined(i, reg);
        self.sums.forget_pending(reg);
        if self.facts.facts[i].uses == 0 && self.facts.facts[i].hint != reg {
            return;
        }
        self.held[usize::from(reg)] = Value::inst(i);
        self.locs[i] = Loc::Reg(reg);
    }
}
