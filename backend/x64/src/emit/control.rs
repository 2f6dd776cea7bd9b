//! Entries, exits, branches between blocks, helper calls, and the cold code after the hot code.

use super::alloc::HOME;
use super::{Cold, Emitter, FlagsLoc, Loc};
use crate::GuestMemory;
use crate::analysis::NONE;
use crate::asm::{Mem, Opcode, Rm};
use crate::pins::VEC;
use dynasmrt::{DynasmApi, dynasm};
use isamorph_code::{FaultPoint, LinkSite, Thunk};
use isamorph_ir::{ExitKind, Header, Inst, Op, Type, Value};
use std::mem::offset_of;

/// The register that carries the guest program counter at computed jumps and returns.
const PC: u8 = 9;
const RCX: u8 = 1;
/// Bytes of the longest instruction of any guest.
const LONGEST: u64 = 15;
/// Scratch register of the flag-free comparison.
const SPARE: u8 = 10;
/// The other one.
const LAST: u8 = 11;

impl Emitter<'_> {
    fn wide_pc(&self) -> bool {
        self.backend.table.addr_bits == 64
    }

    // ---- entries

    /// The three entries: computed jumps compare the address, backward links poll the exit request, the rest comes in
    /// at the main entry.
    pub fn entries(&mut self) {
        let flags_live = self.facts.block_flags.last().is_some_and(|f| !f.is_empty()) && !self.pins.flags_in_state;
        let pc = self.region.pc;
        self.out.indirect_entry = self.asm.pos();
        // Whoever is sent on from here may need its flags, even if this region does not.
        self.compare_pc(pc, !self.pins.flags_in_state, Thunk::IndirectMiss);
        self.out.poll_entry = self.asm.pos();
        if flags_live {
            // mov r10, rcx; mov ecx, [exit_request]; jrcxz
            dynasm!(self.asm; .arch x64; mov Rq(SPARE), rcx);
            let request = Mem::state(offset_of!(Header, exit_request) as u32);
            self.asm.op(Opcode::one(0x8b), 4, RCX, Rm::Mem(request));
            self.flagless_jump_if_zero(|e| {
                e.asm.u8(0xe9);
                e.safepoint_field();
            });
        } else {
            let request = Mem::state(offset_of!(Header, exit_request) as u32);
            self.asm.op(Opcode::one(0x83), 4, 7, Rm::Mem(request));
            self.asm.u8(0);
            self.asm.code.extend_from_slice(&[0x0f, 0x85]);
            self.safepoint_field();
        }
        self.out.entry = self.asm.pos();
    }

    fn safepoint_field(&mut self) {
        let at = self.asm.pos();
        self.asm.u32(0);
        self.cold.push(Cold::Safepoint { at });
    }

    /// Goes to `thunk` unless r9 is `pc`.
    fn compare_pc(&mut self, pc: u64, keep_flags: bool, thunk: Thunk) {
        if keep_flags {
            dynasm!(self.asm; .arch x64; mov Rq(SPARE), rcx);
            let back = (pc as i64).wrapping_neg();
            match i32::try_from(back) {
                _ if !self.wide_pc() => self.lea_rcx(4, Mem { base: PC, disp: back as i32, ..super::EMPTY }),
                Ok(disp) => self.lea_rcx(8, Mem { base: PC, disp, ..super::EMPTY }),
                Err(_) => {
                    self.mov_imm(RCX, back as u64);
                    self.lea_rcx(8, Mem { base: PC, index: RCX, ..super::EMPTY });
                }
            }
            self.flagless_jump_if_zero(|e| e.branch_to_thunk(0xe9, thunk));
            return;
        }
        match i32::try_from(pc as i64) {
            _ if !self.wide_pc() => dynasm!(self.asm; .arch x64; cmp Rd(PC), pc as i32),
            Ok(pc) => dynasm!(self.asm; .arch x64; cmp Rq(PC), pc),
            Err(_) => {
                self.mov_imm(SPARE, pc);
                dynasm!(self.asm; .arch x64; cmp Rq(PC), Rq(SPARE));
            }
        }
        self.asm.u8(0x0f);
        self.branch_to_thunk(0x85, thunk);
    }

    /// `lea rcx, mem`: how far r9 is from what it should be.
    fn lea_rcx(&mut self, size: u32, mem: Mem) {
        self.asm.op(Opcode::one(0x8d), size, RCX, Rm::Mem(mem));
    }

    /// With the guest's rcx in r10: goes on if rcx is zero, else does what `otherwise` emits; rcx is restored on both
    /// ways and EFLAGS stay as they are.
    fn flagless_jump_if_zero(&mut self, otherwise: impl FnOnce(&mut Self)) {
        self.asm.u8(0xe3); // jrcxz
        let at = self.asm.pos();
        self.asm.u8(0);
        dynasm!(self.asm; .arch x64; mov rcx, Rq(SPARE));
        otherwise(self);
        self.asm.patch_short(at);
        dynasm!(self.asm; .arch x64; mov rcx, Rq(SPARE));
    }

    // ---- exits

    /// Brings the guest's flags into EFLAGS if what comes next may read them.
    fn settle_flags(&mut self, exit: u32) {
        let live = self.region.exits[exit as usize].live_flags;
        if !live.is_empty() {
            let target = self.region.exits[exit as usize].kind.target();
            self.restore_guest_flags(target);
        }
    }

    /// Brings the guest's flags to where they are at a boundary. `target` is still needed.
    fn restore_guest_flags(&mut self, target: Option<Value>) {
        if !self.guest_flags_settled() {
            self.bring_flags(self.flag_locs[self.guest_flags as usize], target);
        }
    }

    /// Whether the guest's flags are where they are at a boundary, or nobody reads them.
    fn guest_flags_settled(&self) -> bool {
        self.guest_flags == NONE
            || if self.pins.flags_in_state {
                self.flag_locs[self.guest_flags as usize] == FlagsLoc::Slot(HOME)
            } else {
                self.host_flags == self.guest_flags
            }
    }

    /// Brings flags to where the guest's are at a boundary, which leaves its values behind but for `target`.
    pub fn bring_flags(&mut self, from: FlagsLoc, target: Option<Value>) {
        let taken = target.and_then(|v| self.facts.root(v)).map(|root| self.locs[root]);
        let mut free = [PC, SPARE, LAST].into_iter().filter(|r| taken != Some(Loc::Reg(*r)));
        let (Some(t), Some(u)) = (free.next(), free.next()) else { return };
        match from {
            FlagsLoc::Slot(slot) if !self.pins.flags_in_state => self.push_flags(slot),
            FlagsLoc::Packed(slot) if !self.pins.flags_in_state => self.unpack_flags(slot, Some(t)),
            _ if !self.pins.flags_in_state => return,
            FlagsLoc::Slot(slot) => self.asm.op(Opcode::one(0x8b), 4, t, Rm::Mem(self.slot_mem(slot))),
            FlagsLoc::Packed(slot) => self.packed_image(slot, t, u),
            _ => dynasm!(self.asm; .arch x64; pushfq; pop Rq(t)),
        }
        if self.pins.flags_in_state {
            self.asm.op(Opcode::one(0x89), 4, t, Rm::Mem(self.slot_mem(HOME)));
        } else {
            self.host_flags = self.guest_flags;
        }
    }

    /// Leaves the region here.
    pub fn exit(&mut self, exit: u32, settled: bool) {
        if !settled {
            self.settle_all();
            self.settle_flags(exit);
        }
        let facts = self.region.exits[exit as usize];
        match facts.kind {
            ExitKind::Direct { pc } => self.jump_to(pc),
            ExitKind::Call { pc, ret } if self.is_linkable(pc) => {
                self.link(&[0xe8], pc);
                self.landing_pad(ret, !facts.ret_flags.is_empty());
            }
            ExitKind::Call { pc, ret } => {
                self.mov_imm(PC, pc);
                self.call_looked_up();
                self.landing_pad(ret, !facts.ret_flags.is_empty());
            }
            ExitKind::IndirectCall { target, ret } => {
                self.target_to_pc(target);
                self.call_looked_up();
                self.landing_pad(ret, !facts.ret_flags.is_empty());
            }
            ExitKind::Return { target } => {
                self.target_to_pc(target);
                self.asm.u8(0xc3);
            }
            ExitKind::Indirect { target } => {
                self.target_to_pc(target);
                self.jump_looked_up();
            }
            ExitKind::Syscall { next, code } => {
                self.store_word(offset_of!(Header, exit_code), u64::from(code));
                self.leave(next, Thunk::Syscall);
            }
            ExitKind::Exception { pc, code, arg } => {
                self.store_word(offset_of!(Header, exit_code), u64::from(code));
                self.store_word(offset_of!(Header, exit_arg), arg);
                self.leave(pc, Thunk::Exception);
            }
            // At a safepoint the dispatcher looks at everything again.
            ExitKind::Resync { next } => self.leave(next, Thunk::Safepoint),
            ExitKind::ResyncTo { target } => {
                self.target_to_pc(target);
                self.asm.op(Opcode::one(0x89), 8, PC, Rm::Mem(Mem::state(offset_of!(Header, pc) as u32)));
                self.branch_to_thunk(0xe9, Thunk::Safepoint);
            }
            ExitKind::Halt { next } => self.leave(next, Thunk::Halt),
        }
    }

    fn leave(&mut self, pc: u64, thunk: Thunk) {
        self.store_pc(pc);
        self.branch_to_thunk(0xe9, thunk);
    }

    /// Stores the guest program counter; the upper half of a 32-bit guest's is always zero.
    fn store_pc(&mut self, pc: u64) {
        if self.wide_pc() {
            return self.store_word(offset_of!(Header, pc), pc);
        }
        self.asm.op(Opcode::one(0xc7), 4, 0, Rm::Mem(Mem::state(offset_of!(Header, pc) as u32)));
        self.asm.u32(pc as u32);
    }

    /// Stores a constant to a 64-bit field of the header without touching a register or the flags.
    fn store_word(&mut self, offset: usize, value: u64) {
        if let Ok(imm) = i32::try_from(value as i64) {
            self.asm.op(Opcode::one(0xc7), 8, 0, Rm::Mem(Mem::state(offset as u32)));
            return self.asm.u32(imm as u32);
        }
        for (at, half) in [(0, value as u32), (4, (value >> 32) as u32)] {
            self.asm.op(Opcode::one(0xc7), 4, 0, Rm::Mem(Mem::state(offset as u32 + at)));
            self.asm.u32(half);
        }
    }

    fn target_to_pc(&mut self, target: Value) {
        if let Some(bits) = self.region.const_bits(target) {
            return self.mov_imm(PC, bits);
        }
        let t = self.reg(target);
        // A guest with 32-bit addresses may leave for code of another with wider ones.
        let size = if self.region.value_type(target) == Type::I64 { 8 } else { 4 };
        if t != PC || self.is_loose(target) {
            self.asm.op(Opcode::one(0x8b), size, PC, Rm::Reg(t));
        }
    }

    /// r10 = where the jump cache says r9 is translated. Leaves the flags alone.
    fn look_up(&mut self) {
        let shift = self.backend.config.pc_shift;
        let jump_cache = Mem::state(offset_of!(Header, jump_cache) as u32);
        if shift == 0 {
            self.asm.op(Opcode::two(0xb7), 4, SPARE, Rm::Reg(PC));
        } else {
            self.rorx(SPARE, PC, shift as u8, false);
            self.asm.op(Opcode::two(0xb7), 4, SPARE, Rm::Reg(SPARE));
        }
        self.asm.op(Opcode::one(0x8b), 8, 11, Rm::Mem(jump_cache));
        let entry = Mem { base: 11, index: SPARE, scale: 2, ..super::EMPTY };
        self.asm.op(Opcode::one(0x8b), 4, SPARE, Rm::Mem(entry));
        // lea r11, [rip + thunk 0]: the start of the cache.
        self.asm.code.extend_from_slice(&[0x4c, 0x8d, 0x1d]);
        let at = self.asm.pos();
        self.out.relocs.push(isamorph_code::Reloc { at, thunk: Thunk::IndirectMiss });
        self.asm.u32(0);
        self.asm.op(Opcode::one(0x8d), 8, SPARE, Rm::Mem(Mem { base: 11, index: SPARE, ..super::EMPTY }));
    }

    fn jump_looked_up(&mut self) {
        self.look_up();
        dynasm!(self.asm; .arch x64; jmp r10);
    }

    fn call_looked_up(&mut self) {
        self.look_up();
        dynasm!(self.asm; .arch x64; call r10);
    }

    /// Where a call comes back: the shadow stack led here, the guest's return address in r9 must agree.
    fn landing_pad(&mut self, ret: u64, flags_live: bool) {
        // A return that belongs elsewhere may have flags for whoever called.
        let keep_flags = (flags_live || self.translates()) && !self.pins.flags_in_state;
        self.compare_pc(ret, keep_flags, Thunk::Indirect);
        if self.is_linkable(ret) {
            self.link(&[0xe9], ret);
        } else {
            self.jump_looked_up();
        }
    }

    fn jump_to(&mut self, pc: u64) {
        if self.is_linkable(pc) {
            self.link(&[0xe9], pc);
        } else {
            self.mov_imm(PC, pc);
            self.jump_looked_up();
        }
    }

    /// Whether code at an address can be reached from here without being looked up. Where addresses are translated it
    /// can as long as the two share a page, because the region itself was found by its page: and what is at the end of
    /// the page may reach into the next one.
    fn is_linkable(&self, pc: u64) -> bool {
        const PAGE: u64 = 1 << isamorph_tlb::PAGE_SHIFT;
        !self.translates() || (pc ^ self.region.pc) < PAGE && pc % PAGE <= PAGE - LONGEST
    }

    /// A linkable jump or call: `opcode` and a displacement that leads to a stub until it is linked.
    fn link(&mut self, opcode: &[u8], target: u64) {
        self.asm.align_field(opcode.len() as u32);
        self.asm.code.extend_from_slice(opcode);
        let here = self.region.insns.get(usize::from(self.insn)).map_or(self.region.pc, |insn| insn.pc);
        let site = LinkSite { at: self.asm.pos(), stub: 0, stub_end: 0, target, poll: target <= here };
        self.asm.u32(0);
        self.out.links.push(site);
        self.cold.push(Cold::Link(self.out.links.len() - 1));
    }

    /// Leaves the region if a condition holds.
    pub fn exit_if(&mut self, inst: &Inst) {
        let (cond, exit) = (inst.cond(), inst.imm);
        let facts = self.region.exits[exit as usize];
        self.settle_all();
        if let Some(t) = facts.kind.target() {
            self.reg_or_const(t);
        }
        let cond = self.ensure_condition(self.at, inst.args[0], cond);
        let settled = facts.live_flags.is_empty() || self.guest_flags_settled();
        if let (ExitKind::Direct { pc }, true) = (facts.kind, settled)
            && self.is_linkable(pc)
        {
            return self.link(&[0x0f, 0x80 | cond as u8], pc);
        }
        if facts.kind.target().is_none() {
            self.asm.code.extend_from_slice(&[0x0f, 0x80 | cond as u8]);
            let at = self.asm.pos();
            self.asm.u32(0);
            let flags = if settled { FlagsLoc::Nowhere } else { self.flag_locs[self.guest_flags as usize] };
            self.cold.push(Cold::Exit { at, exit, flags, insn: self.insn });
            return;
        }
        // A computed target: its register is only known here.
        self.asm.code.extend_from_slice(&[0x0f, 0x80 | cond.invert() as u8]);
        let at = self.asm.pos();
        self.asm.u32(0);
        if !settled {
            let host_flags = self.host_flags;
            self.bring_flags(self.flag_locs[self.guest_flags as usize], facts.kind.target());
            self.host_flags = host_flags;
        }
        self.exit(exit, true);
        let here = self.asm.pos();
        self.asm.patch(at, here);
    }

    fn reg_or_const(&mut self, v: Value) {
        if v.as_const().is_none() {
            self.reg(v);
        }
    }

    // ---- branches inside the region

    /// `jump` and `branch`: the guest's flags are in EFLAGS at every block boundary.
    pub fn branch(&mut self, inst: &Inst) {
        self.settle_all();
        if inst.op == Op::Jump {
            self.restore_guest_flags(None);
            self.asm.u8(0xe9);
            return self.block_field(inst.imm);
        }
        self.ensure_flags(self.at, inst.args[0]);
        if self.pins.flags_in_state {
            self.restore_guest_flags(None);
        }
        if self.pins.flags_in_state || self.guest_flags_settled() {
            self.asm.code.extend_from_slice(&[0x0f, 0x80 | inst.cond() as u8]);
            return self.block_field(inst.imm);
        }
        let from = self.flag_locs[self.guest_flags as usize];
        self.asm.code.extend_from_slice(&[0x0f, 0x80 | inst.cond().invert() as u8]);
        let at = self.asm.pos();
        self.asm.u32(0);
        self.load_waiting(from);
        self.asm.u8(0xe9);
        self.block_field(inst.imm);
        let here = self.asm.pos();
        self.asm.patch(at, here);
        self.load_waiting(from);
    }

    fn block_field(&mut self, block: u32) {
        self.block_refs.push((self.asm.pos(), block));
        self.asm.u32(0);
    }

    // ---- helpers

    /// Calls a helper through its thunk, which synchronises the guest's registers with the state.
    pub fn call(&mut self, i: usize, inst: &Inst) {
        self.settle_all();
        for (word, &arg) in inst.args.iter().filter(|a| !a.is_none()).enumerate() {
            let ty = self.region.value_type(arg);
            let r = self.reg_extended(arg);
            let r = if ty.bytes() < 4 {
                let t = self.scratch(false);
                let byte = if ty.bytes() == 1 { 0xb6 } else { 0xb7 };
                self.asm.op_with(Opcode::two(byte), 4, t, Rm::Reg(r), false, ty.bytes() == 1);
                t
            } else {
                r
            };
            self.asm.op(Opcode::one(0x89), 8, r, Rm::Mem(self.scratch_mem(word as u32)));
            self.locked = 0;
        }
        self.spill_everything(i);
        self.pass_guest_flags(i);
        let done = self.string_instruction(inst.imm);
        let pc = self.region.insns[usize::from(self.insn)].pc;
        self.store_pc(pc);
        self.mov_imm(PC, u64::from(inst.imm));
        let fpu = self.backend.helpers.get(inst.imm as usize).is_some_and(|h| h.fpu);
        self.branch_to_thunk(0xe8, if fpu { Thunk::HelperFpu } else { Thunk::Helper });
        if let Some(at) = done {
            let here = self.asm.pos();
            self.asm.patch(at, here);
        }
        self.take_guest_flags(i);
        if self.facts.facts[i].uses > 0 {
            self.locked = 0;
            let d = self.scratch(false);
            let m = self.scratch_mem(3);
            self.asm.op(Opcode::one(0x8b), if inst.ty.bytes() == 8 { 8 } else { 4 }, d, Rm::Mem(m));
            self.define(i, d);
        }
    }

    /// A copy or fill that the host has an instruction for is done in place if it goes upward: rdi, rsi, rcx and rax
    /// are the guest's own registers, so that even a fault in the middle leaves them right. Gives the place of the
    /// jump over the call that serves the other direction. EFLAGS stay as they are.
    fn string_instruction(&mut self, helper: u32) -> Option<u32> {
        let op = self.backend.helpers.get(helper as usize)?.string?;
        let source = if op.copy { 6 } else { 0 };
        let in_place = self.pins.host(op.destination) == Some(7)
            && self.pins.host(op.source) == Some(source)
            && self.pins.host(op.count) == Some(RCX);
        if !in_place || self.backend.config.memory != (GuestMemory::Direct { base: 0 }) {
            return None;
        }
        let (direction, _) = self.state_mem(op.direction);
        dynasm!(self.asm; .arch x64; mov Rq(SPARE), rcx);
        self.asm.op(Opcode::one(0x8b), 4, RCX, Rm::Mem(direction));
        self.asm.op(Opcode::one(0x8d), 4, RCX, Rm::Mem(Mem { base: RCX, disp: -1, ..super::EMPTY }));
        self.asm.code.extend_from_slice(&[0xe3, 5]); // jrcxz over the jump to the call
        self.asm.u8(0xe9);
        let downward = self.asm.pos();
        self.asm.u32(0);
        dynasm!(self.asm; .arch x64; mov rcx, Rq(SPARE));
        self.fault_point(&[]);
        if !self.wide_pc() {
            self.asm.u8(0x67);
        }
        if op.bytes == 2 {
            self.asm.u8(0x66);
        }
        self.asm.u8(0xf3);
        if op.bytes == 8 {
            self.asm.u8(0x48);
        }
        let byte = if op.copy { 0xa4 } else { 0xaa };
        self.asm.u8(byte | u8::from(op.bytes > 1));
        self.asm.u8(0xe9);
        let done = self.asm.pos();
        self.asm.u32(0);
        let here = self.asm.pos();
        self.asm.patch(downward, here);
        dynasm!(self.asm; .arch x64; mov rcx, Rq(SPARE));
        Some(done)
    }

    /// Moves every live value to a spill slot: helpers overwrite scratch registers, and may change guest registers.
    fn spill_everything(&mut self, i: usize) {
        for host in 0..VEC {
            self.compute_sums_of(host);
        }
        for r in (0..32u8).filter(|r| self.pins.is_scratch(*r) || self.pins.guest(*r).is_some()) {
            let v = std::mem::replace(&mut self.held[usize::from(r)], Value::NONE);
            let Some(root) = self.facts.root(v) else { continue };
            if self.locs[root] != Loc::Reg(r) {
                continue;
            }
            if self.uses_after(v, i) == 0 {
                continue;
            }
            let slot = self.new_slot(if r >= VEC { 2 } else { 1 });
            self.spill_move(r, slot, true);
            self.locs[root] = Loc::Slot(slot);
        }
    }

    // ---- cold code

    /// Stubs of link sites, safepoints, exits that first restore flags.
    pub fn cold_code(&mut self) {
        let mut next = 0;
        // Cold exits add link sites of their own, so the list grows while it is worked off.
        while next < self.cold.len() {
            let here = self.asm.pos();
            match self.cold[next] {
                Cold::Link(index) => self.link_stub(index, here),
                Cold::Safepoint { at } => {
                    self.asm.patch(at, here);
                    self.leave(self.region.pc, Thunk::Safepoint);
                }
                Cold::Operation { at, back, descriptor } => self.cold_operation(at, back, descriptor),
                Cold::Unordered { at, back, scratch } => self.cold_unordered(at, back, scratch),
                Cold::Misaligned { at, point } => {
                    self.asm.patch(at, here);
                    self.out.faults.push(FaultPoint { at: here, ..point });
                    self.asm.code.extend_from_slice(&[0x0f, 0x0b]); // ud2
                }
                Cold::Miss(miss) => self.cold_miss(miss),
                Cold::Exit { at, exit, flags, insn } => {
                    self.asm.patch(at, here);
                    self.insn = insn;
                    if flags != FlagsLoc::Nowhere {
                        self.bring_flags(flags, None);
                    }
                    self.exit(exit, true);
                }
            }
            next += 1;
        }
    }

    fn link_stub(&mut self, index: usize, here: u32) {
        let site = self.out.links[index];
        self.asm.patch(site.at, here);
        self.store_pc(site.target);
        // The return address names the site; the thunk takes it off the shadow stack again.
        self.branch_to_thunk(0xe8, Thunk::Link);
        self.out.links[index].stub = here;
        self.out.links[index].stub_end = self.asm.pos();
    }
}
