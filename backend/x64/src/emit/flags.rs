//! Guest flags in EFLAGS: who is there, who must be saved, merging and editing.

use super::alloc::HOME;
use super::{Emitter, FlagsLoc};
use crate::analysis::NONE;
use crate::asm::{Mem, Opcode, Rm};
use dynasmrt::{DynasmApi, dynasm};
use isamorph_ir::{Cond, FlagSet, Inst, Op, Value};

impl Emitter<'_> {
    fn flag_uses(&mut self, root: u32) -> &mut u16 {
        &mut self.facts.facts[root as usize].flag_uses
    }

    /// One use of a flags value is over.
    pub fn release_flags(&mut self, root: usize) {
        let uses = &mut self.facts.facts[root].flag_uses;
        *uses = uses.saturating_sub(1);
        if *uses == 0 {
            if let Some(slot) = self.flag_locs[root].slot() {
                self.free_slot(slot);
            }
            self.flag_locs[root] = FlagsLoc::Nowhere;
            if self.home_flags == root as u32 {
                self.home_flags = NONE;
            }
            if self.host_flags == root as u32 {
                self.host_flags = NONE;
            }
        }
    }

    /// The guest's flags are from now on those of `root` ([`NONE`]: nobody will read them).
    pub fn set_guest_flags(&mut self, root: u32) {
        let old = std::mem::replace(&mut self.guest_flags, root);
        if root != NONE {
            *self.flag_uses(root) += 1;
        }
        if old != NONE {
            self.release_flags(old as usize);
        }
    }

    /// `set` of the guest's flags register.
    pub fn write_guest_flags(&mut self, f: Value) {
        if let Some(root) = self.facts.root(f) {
            return self.set_guest_flags(root as u32);
        }
        // A constant bundle: nobody keeps it, so the flags have no other name than "the guest's".
        let i = self.at;
        self.ensure_flags(i, f);
        self.name_guest_flags(i);
    }

    /// The guest's flags are from now on what EFLAGS hold after instruction `i`.
    fn name_guest_flags(&mut self, i: usize) {
        self.facts.facts[i].flag_uses += 1;
        self.flags_defined(i);
        self.set_guest_flags(i as u32);
        self.facts.facts[i].flag_uses -= 1;
    }

    /// Before a helper is called, which may change the guest's flags: they are where they are at a boundary.
    pub fn pass_guest_flags(&mut self, i: usize) {
        if self.pins.flags_in_state {
            return self.pass_flags_in_state(i);
        }
        if self.guest_flags == NONE {
            return;
        }
        self.ensure_root(i, self.guest_flags);
        // Somebody still wants them as they are now.
        if self.facts.facts[self.guest_flags as usize].flag_uses > 1 {
            self.save_flags();
        }
    }

    fn pass_flags_in_state(&mut self, i: usize) {
        let (home, guest) = (self.home_flags, self.guest_flags);
        // Somebody still wants the ones that are there, or the guest's as they are now.
        if home != NONE && *self.flag_uses(home) > u16::from(home == guest) {
            let slot = self.new_slot(1);
            let t = self.scratch(false);
            self.asm.op(Opcode::one(0x8b), 4, t, Rm::Mem(self.slot_mem(HOME)));
            self.asm.op(Opcode::one(0x89), 8, t, Rm::Mem(self.slot_mem(slot)));
            self.flag_locs[home as usize] = FlagsLoc::Slot(slot);
        }
        if guest != NONE && guest != home {
            if *self.flag_uses(guest) > 1 && self.host_flags == guest {
                self.save_flags();
            }
            self.bring_flags(self.flag_locs[guest as usize], None);
            if self.flag_locs[guest as usize] == FlagsLoc::Host {
                self.flag_locs[guest as usize] = FlagsLoc::Slot(HOME);
            }
        }
        self.clobber_flags(i);
    }

    /// After it: they are what the helper made of them.
    pub fn take_guest_flags(&mut self, i: usize) {
        if self.guest_flags == NONE {
            self.home_flags = NONE;
        } else if self.pins.flags_in_state {
            self.flag_locs[i] = FlagsLoc::Slot(HOME);
            self.home_flags = i as u32;
            self.facts.facts[i].flag_uses += 1;
            self.set_guest_flags(i as u32);
            self.facts.facts[i].flag_uses -= 1;
        } else {
            self.name_guest_flags(i);
        }
    }

    /// Reads a local of type flags.
    pub fn load_flags(&mut self, i: usize, mem: Mem) {
        let t = self.scratch(false);
        self.clobber_flags(i);
        self.asm.op(Opcode::one(0x8b), 4, t, Rm::Mem(mem));
        dynasm!(self.asm; .arch x64; and Rd(t), FlagSet::all().bits() as i32; push Rq(t); popfq);
        self.flags_defined(i);
    }

    /// Writes a local of type flags.
    pub fn store_flags(&mut self, f: Value, mem: Mem) {
        let t = self.scratch(false);
        self.flags_to_register(self.at, f, t);
        self.asm.op(Opcode::one(0x89), 4, t, Rm::Mem(mem));
    }

    /// Reading the guest flags gives whatever they currently are.
    pub fn get_guest_flags(&mut self, i: usize) {
        if self.guest_flags == NONE {
            return;
        }
        let uses = self.facts.facts[i].flag_uses;
        self.facts.facts[i].root = self.guest_flags;
        *self.flag_uses(self.guest_flags) += uses;
    }

    /// Whether EFLAGS hold something that is still needed after instruction `i`.
    pub fn flags_busy(&self, i: usize) -> bool {
        self.host_flags != NONE && self.flag_uses_after(self.host_flags, i) > 0
    }

    /// Uses of a flags value after instruction `i`: its readers, and the guest's flags as long as someone reads those.
    fn flag_uses_after(&self, root: u32, i: usize) -> u16 {
        let facts = self.facts.facts[i];
        let is_root = |v: Value| self.facts.root(v) == Some(root as usize);
        let mut over = u16::from(root == self.guest_flags && !facts.guest_flags_after);
        self.for_each_use(i, &mut |v, flags| over += u16::from(flags && is_root(v)));
        if facts.keep != NONE && is_root(self.region.insts[facts.keep as usize].args[1]) && self.merges_natively(i) {
            over += 1;
        }
        self.facts.facts[root as usize].flag_uses.saturating_sub(over)
    }

    /// Makes EFLAGS free for instruction `i` to overwrite: what is needed later is saved.
    pub fn clobber_flags(&mut self, i: usize) {
        if self.flags_busy(i) {
            self.save_flags();
        }
        self.forget_host_flags();
    }

    /// What EFLAGS hold is no flags value from now on.
    pub fn forget_host_flags(&mut self) {
        if self.host_flags != NONE && self.flag_locs[self.host_flags as usize] == FlagsLoc::Host {
            self.flag_locs[self.host_flags as usize] = FlagsLoc::Nowhere;
        }
        self.host_flags = NONE;
    }

    /// Makes EFLAGS free for a check that comes before a fault, which may have to show the guest's flags.
    pub fn clobber_flags_before_fault(&mut self) {
        if self.backend.config.precise && self.guest_flags != NONE && self.guest_flags == self.host_flags {
            self.save_flags();
        }
        self.clobber_flags(self.at);
    }

    /// Brings a flags value into EFLAGS. What they held and is needed after `i` is saved.
    pub fn ensure_flags(&mut self, i: usize, f: Value) {
        let Some(root) = self.facts.root(f) else {
            // A constant bundle.
            self.clobber_flags(i);
            let bits = self.region.const_bits(f).unwrap_or(0) as u32 & FlagSet::all().bits();
            self.asm.u8(0x68); // push imm32
            self.asm.u32(bits);
            self.asm.u8(0x9d); // popfq
            self.host_flags = NONE;
            return;
        };
        self.ensure_root(i, root as u32);
    }

    /// Brings the flags of an instruction into EFLAGS.
    pub fn ensure_root(&mut self, i: usize, root: u32) {
        if self.host_flags == root {
            return;
        }
        if self.flags_busy(i) {
            self.save_flags();
        }
        let from = self.flag_locs[root as usize];
        if matches!(from, FlagsLoc::Slot(_) | FlagsLoc::Packed(_)) {
            self.load_waiting(from);
            self.host_flags = root;
        }
    }

    /// EFLAGS from a slot.
    pub fn push_flags(&mut self, slot: u16) {
        let m = Rm::Mem(self.slot_mem(slot));
        self.asm.op(Opcode::one(0xff), 4, 6, m); // push
        self.asm.u8(0x9d); // popfq
    }

    /// Instruction `i` has just put its flags into EFLAGS.
    pub fn flags_defined(&mut self, i: usize) {
        let wanted = self.facts.facts[i].flag_uses > 0;
        self.host_flags = if wanted { i as u32 } else { NONE };
        self.flag_locs[i] = if wanted { FlagsLoc::Host } else { FlagsLoc::Nowhere };
        if !wanted {
            return;
        }
        // A merge that the host did by itself is only a name of the result.
        let keep = self.facts.facts[i].keep;
        if keep != NONE && self.merges_natively(i) {
            self.facts.facts[keep as usize].root = i as u32;
            let uses = self.facts.facts[keep as usize].flag_uses;
            *self.flag_uses(i as u32) += uses;
        }
    }

    /// Whether instruction `i` wants its flags.
    pub fn wants_flags(&self, i: usize) -> bool {
        self.facts.facts[i].flag_uses > 0
    }

    /// Whether the host instruction for `i` leaves the flags alone that its `flagsk` projection keeps.
    pub fn merges_natively(&self, i: usize) -> bool {
        let facts = self.facts.facts[i];
        if facts.keep == NONE {
            return false;
        }
        let kept = self.region.insts[facts.keep as usize].flag_set();
        if facts.flags_needed.intersects(kept) {
            return false;
        }
        let inst = &self.region.insts[i];
        let untouched = match inst.op {
            Op::Add | Op::Sub if self.is_step(inst) => FlagSet::C,
            Op::Rol | Op::Ror | Op::Rcl | Op::Rcr if self.reads_only(inst, facts.keep) => {
                FlagSet::S | FlagSet::Z | FlagSet::A | FlagSet::P
            }
            _ => FlagSet::empty(),
        };
        untouched.contains(kept & self.facts.facts[facts.keep as usize].flags_needed)
    }

    /// Whether a rotation's own flags operand, if it has one, is the same bundle that its projection keeps bits of.
    fn reads_only(&self, inst: &Inst, keep: u32) -> bool {
        let (own, old) = (inst.args[2], self.region.insts[keep as usize].args[1]);
        own.is_none() || own == old || own.as_inst().is_some() && self.facts.root(own) == self.facts.root(old)
    }

    /// `add` or `sub` of one, which the host can do as `inc` or `dec`.
    pub fn is_step(&self, inst: &Inst) -> bool {
        matches!(inst.op, Op::Add | Op::Sub) && self.region.const_bits(inst.args[1]) == Some(1)
    }

    /// The old flags that the host instruction for `i` must find in EFLAGS to merge them.
    pub fn prepare_merge(&mut self, i: usize) {
        if self.merges_natively(i) {
            let keep = self.facts.facts[i].keep as usize;
            let old = self.region.insts[keep].args[1];
            self.ensure_flags(i, old);
        }
    }

    /// `flagsk`: nothing to do if the host has merged the flags by itself or none of the kept ones is needed.
    pub fn flags_merge(&mut self, i: usize, inst: &Inst) {
        let root = self.facts.facts[i].root as usize;
        let producer = self.facts.root(inst.args[0]).unwrap_or(i);
        if root == i {
            self.merge_bits(i, inst, producer);
        } else if self.facts.facts[root].keep != i as u32 {
            return;
        }
        // The projection has read both bundles.
        if let Some(old) = self.facts.root(inst.args[1]) {
            self.release_flags(old);
        }
        self.release_flags(producer);
    }

    fn merge_bits(&mut self, i: usize, inst: &Inst, producer: usize) {
        let keep = inst.flag_set().bits();
        let new = self.scratch(false);
        let old = self.scratch(false);
        self.flags_to_register(i, Value::inst(producer), new);
        self.flags_to_register(i, inst.args[1], old);
        self.clobber_flags(i);
        dynasm!(self.asm
            ; .arch x64
            ; and Rd(old), keep as i32
            ; and Rd(new), (FlagSet::all().bits() & !keep) as i32
            ; or Rd(new), Rd(old)
            ; push Rq(new)
            ; popfq
        );
        self.flags_defined(i);
    }

    /// EFLAGS image of a flags value in a register (with other bits set at random). EFLAGS stay as they are.
    fn flags_to_register(&mut self, i: usize, f: Value, reg: u8) {
        let root = self.facts.root(f).map_or(NONE, |r| r as u32);
        if root != NONE && root != self.host_flags {
            match self.flag_locs[root as usize] {
                FlagsLoc::Slot(slot) => {
                    let m = Rm::Mem(self.slot_mem(slot));
                    return self.asm.op(Opcode::one(0x8b), 4, reg, m);
                }
                FlagsLoc::Packed(slot) => {
                    let temp = self.scratch(false);
                    return self.packed_image(slot, reg, temp);
                }
                _ => {}
            }
        }
        self.ensure_flags(i, f);
        dynasm!(self.asm; .arch x64; pushfq; pop Rq(reg));
    }

    /// Conversions and edits of flags bundles.
    pub fn flags_op(&mut self, i: usize, inst: &Inst) {
        match inst.op {
            Op::FlagsBits => self.flags_bits(i, inst),
            Op::BitsFlags => {
                let v = self.reg(inst.args[0]);
                let t = self.scratch(false);
                self.clobber_flags(i);
                dynasm!(self.asm
                    ; .arch x64
                    ; mov Rd(t), Rd(v)
                    ; and Rd(t), FlagSet::all().bits() as i32
                    ; push Rq(t)
                    ; popfq
                );
                self.flags_defined(i);
            }
            _ => self.flags_edit(i, inst),
        }
    }

    fn flags_bits(&mut self, i: usize, inst: &Inst) {
        let d = self.dest(i, None);
        self.flags_to_register(i, inst.args[0], d);
        let busy = self.flags_busy(i);
        if busy {
            self.asm.u8(0x9c);
        }
        dynasm!(self.asm; .arch x64; and Rd(d), FlagSet::all().bits() as i32);
        if busy {
            self.asm.u8(0x9d);
        } else {
            self.clobber_flags(i);
        }
        self.define(i, d);
    }

    fn flags_edit(&mut self, i: usize, inst: &Inst) {
        let named = self.facts.facts[i].root as usize;
        if named != i {
            // The operand itself; where that is the guest's flags, it is known by now whose they are.
            self.facts.facts[i].root = self.facts.facts[named].root;
            return;
        }
        let which = inst.flag_set();
        self.ensure_flags(i, inst.args[0]);
        self.clobber_flags(i);
        match (inst.op, which) {
            (Op::FlagsSet, FlagSet::C) => self.asm.u8(0xf9),
            (Op::FlagsClear, FlagSet::C) => self.asm.u8(0xf8),
            (Op::FlagsNot, FlagSet::C) => self.asm.u8(0xf5),
            _ => {
                let t = self.scratch(false);
                let bits = which.bits() as i32;
                dynasm!(self.asm; .arch x64; pushfq; pop Rq(t));
                match inst.op {
                    Op::FlagsSet => dynasm!(self.asm; .arch x64; or Rd(t), bits),
                    Op::FlagsClear => dynasm!(self.asm; .arch x64; and Rd(t), !bits),
                    _ => dynasm!(self.asm; .arch x64; xor Rd(t), bits),
                }
                dynasm!(self.asm; .arch x64; push Rq(t); popfq);
            }
        }
        self.flags_defined(i);
    }

    /// `setcc` and `select`.
    pub fn conditional(&mut self, i: usize, inst: &Inst) {
        let cond = inst.cond();
        if inst.op == Op::SetCc {
            let cond = self.ensure_condition(i, inst.args[0], cond);
            return self.setcc(i, inst, cond);
        }
        let (a, b) = (self.reg(inst.args[1]), self.reg(inst.args[2]));
        let cond = self.ensure_condition(i, inst.args[0], cond);
        if inst.ty.is_vector() {
            return self.select_vector(i, cond, a, b);
        }
        let d = self.dest(i, Some(b));
        let size = inst.ty.bytes().max(4);
        if d == a && a != b {
            // Already the first one: take the second if the condition fails.
            self.asm.op(Opcode::two(0x40 | cond.invert() as u8), size, d, Rm::Reg(b));
        } else {
            if d != b {
                self.asm.op(Opcode::one(0x8b), size, d, Rm::Reg(b));
            }
            self.asm.op(Opcode::two(0x40 | cond as u8), size, d, Rm::Reg(a));
        }
        self.define(i, d);
    }

    fn setcc(&mut self, i: usize, inst: &Inst, cond: Cond) {
        if inst.ty.bytes() == 1
            && let Some(d) = self.part_dest(i, None)
        {
            self.asm.op(Opcode::two(0x90 | cond as u8), 1, 0, Rm::Reg(d));
            return self.define_part(i, d);
        }
        let d = self.dest(i, None);
        self.asm.op(Opcode::two(0x90 | cond as u8), 1, 0, Rm::Reg(d));
        if inst.ty.bytes() > 1 {
            self.asm.op_with(Opcode::two(0xb6), 4, d, Rm::Reg(d), false, true);
        }
        self.define(i, d);
    }

    /// Branch-free selection has no vector form in SSE2: jump over a copy.
    fn select_vector(&mut self, i: usize, cond: Cond, a: u8, b: u8) {
        let d = self.scratch(true);
        let copy = |e: &mut Self, from: u8| e.asm.op(Opcode::sse(0, 0x28), 4, d - 16, Rm::Reg(from - 16));
        copy(self, b);
        self.asm.u8(0x70 | cond.invert() as u8);
        let at = self.asm.pos();
        self.asm.u8(0);
        copy(self, a);
        self.asm.patch_short(at);
        self.define(i, d);
    }
}
