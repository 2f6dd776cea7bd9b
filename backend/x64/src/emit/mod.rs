//! The forward pass: selects, allocates and emits in one walk over the region.

mod atomic;
mod control;
mod flags;
mod int;
mod mem;
mod muldiv;
mod shift;
mod sums;
pub(crate) mod vector;
mod x87;

use crate::analysis::{Analysis, NONE};
use crate::asm::{Asm, Mem, NO_REG, Opcode, Rm};
use crate::checker::Checker;
use crate::pins::{Pins, VEC};
use crate::{Backend, Unsupported};
use isamorph_code::{Compiled, FaultPoint, Recipe, Reloc, Thunk};
use isamorph_ir::{ImmKind, Inst, Op, RegId, Region, Type, Value};

/// Registers that hold neither guest state nor anything fixed: r9–r14, xmm8–xmm15.
const SCRATCH: u32 = 0x7e00 | 0xff00_0000;

/// Where a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loc {
    /// Not yet, no longer, or only as part of another instruction.
    Nowhere,
    /// In a host register (0–15 integer, 16–31 vector).
    Reg(u8),
    /// In a spill slot of the state header.
    Slot(u16),
    /// A pinned register plus a constant, see [`sums`].
    Sum { host: u8, add: i32 },
}

/// Where a flags value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FlagsLoc {
    Nowhere,
    Host,
    Slot(u16),
}

/// What is emitted after the hot code.
pub(crate) enum Cold {
    /// The stub of link site `index`.
    Link(usize),
    /// Leaves at the safepoint; the displacement at `at` leads here.
    Safepoint { at: u32 },
    /// Brings the guest flags back from their slot, then leaves through `exit`.
    Exit { at: u32, exit: u32, flags_slot: Option<u16>, insn: u16 },
}

/// Buffers reused from region to region.
#[derive(Default)]
pub struct Scratch {
    pub(crate) analysis: Analysis,
    asm: Asm,
    locs: Vec<Loc>,
    flag_locs: Vec<FlagsLoc>,
    block_offsets: Vec<u32>,
    block_refs: Vec<(u32, u32)>,
    cold: Vec<Cold>,
}

/// One region being emitted.
pub(crate) struct Emitter<'a> {
    pub backend: &'a Backend,
    pub pins: &'a Pins,
    pub region: &'a Region,
    pub facts: &'a mut Analysis,
    pub asm: &'a mut Asm,
    pub out: &'a mut Compiled,
    locs: &'a mut Vec<Loc>,
    flag_locs: &'a mut Vec<FlagsLoc>,
    block_offsets: &'a mut Vec<u32>,
    block_refs: &'a mut Vec<(u32, u32)>,
    pub cold: &'a mut Vec<Cold>,
    /// The value in each host register.
    held: [Value; 32],
    /// Registers that must not be given out while the current instruction is emitted.
    locked: u32,
    /// Spill slots in use.
    slots: u128,
    pub(crate) sums: sums::Sums,
    /// Root of the flags in EFLAGS, or [`NONE`].
    host_flags: u32,
    /// Root of the guest's current flags if they are live, or [`NONE`].
    guest_flags: u32,
    /// Current instruction.
    at: usize,
    /// Current guest instruction.
    insn: u16,
    /// More values were alive than there are spill slots; the region is given up.
    out_of_slots: bool,
    pub(crate) checker: Checker,
}

/// Compiles a region.
pub(crate) fn compile(
    backend: &Backend,
    scratch: &mut Scratch,
    region: &Region,
    out: &mut Compiled,
) -> Result<(), Unsupported> {
    let Scratch { analysis, asm, locs, flag_locs, block_offsets, block_refs, cold } = scratch;
    analysis.run(region, &backend.pins, backend.config.precise);
    out.clear();
    asm.code.clear();
    let n = region.insts.len() + 1;
    locs.clear();
    locs.resize(n, Loc::Nowhere);
    flag_locs.clear();
    flag_locs.resize(n, FlagsLoc::Nowhere);
    block_offsets.clear();
    block_refs.clear();
    cold.clear();
    let mut e = Emitter {
        backend,
        pins: &backend.pins,
        region,
        facts: analysis,
        asm,
        out,
        locs,
        flag_locs,
        block_offsets,
        block_refs,
        cold,
        held: [Value::NONE; 32],
        locked: 0,
        slots: 0,
        sums: sums::Sums::default(),
        host_flags: NONE,
        guest_flags: NONE,
        at: 0,
        insn: 0,
        out_of_slots: false,
        checker: Checker::default(),
    };
    e.region()?;
    out.code.extend_from_slice(&asm.code);
    Ok(())
}

impl Emitter<'_> {
    fn region(&mut self) -> Result<(), Unsupported> {
        // Locals have fixed slots at the bottom of the spill area, two words each for vectors.
        self.slots = match self.region.locals.len() {
            n if n > 32 => return Err(Unsupported { what: "more than 32 locals" }),
            n => (1 << (2 * n)) - 1,
        };
        self.entries();
        for (index, block) in self.region.blocks.iter().enumerate() {
            self.begin_block(index);
            for i in block.start as usize..block.end as usize {
                self.inst(i)?;
            }
        }
        if self.out_of_slots {
            return Err(Unsupported { what: "more live values than spill slots" });
        }
        for (at, block) in std::mem::take(self.block_refs) {
            let target = self.block_offsets[block as usize];
            self.asm.patch(at, target);
        }
        self.cold_code();
        Ok(())
    }

    fn begin_block(&mut self, index: usize) {
        self.block_offsets.push(self.asm.pos());
        self.held = [Value::NONE; 32];
        self.sums = sums::Sums::default();
        self.checker.begin_block();
        let entry = self.region.insts.len();
        let live = self.facts.block_flags[self.region.blocks.len() - 1 - index];
        self.flag_locs[entry] = if live.is_empty() { FlagsLoc::Nowhere } else { FlagsLoc::Host };
        self.facts.facts[entry].flag_uses = u16::from(!live.is_empty());
        let root = if live.is_empty() { NONE } else { entry as u32 };
        self.host_flags = root;
        self.guest_flags = root;
    }

    /// Emits one instruction, unless it is dead or emitted as part of a later one.
    fn inst(&mut self, i: usize) -> Result<(), Unsupported> {
        let facts = self.facts.facts[i];
        // The backward pass marks a load before it has seen all of its users.
        self.facts.facts[i].folded &= facts.uses == 1;
        if facts.dead {
            let inst = &self.region.insts[i];
            if inst.op == Op::Set && Some(inst.reg()) == self.pins.flags {
                self.set_guest_flags(NONE);
            }
            return Ok(());
        }
        if self.is_folded(i) || facts.rmw != NONE {
            return Ok(());
        }
        self.locked = 0;
        self.at = i;
        let start = self.asm.pos() as usize;
        self.select(i)?;
        // What a way out overwrites is nobody's business inside the region.
        if !self.region.insts[i].op.effects().contains(isamorph_ir::Effects::EXIT) {
            self.checker.emitted(&self.asm.code[start..]);
        }
        self.release(i);
        Ok(())
    }

    fn select(&mut self, i: usize) -> Result<(), Unsupported> {
        use Op::*;
        let inst = self.region.insts[i];
        if inst.ty == Type::I128 {
            return Err(Unsupported { what: "128-bit integers" });
        }
        match inst.op {
            Insn => self.begin_insn(inst.imm),
            Get => self.get(i, &inst)?,
            Set => self.set(&inst)?,
            Flags | Trunc if self.facts.facts[i].root != i as u32 => {}
            Second => {}
            FlagsKeep => self.flags_merge(i, &inst),
            Add | Sub | And | Or | Xor | Adc | Sbb => self.alu(i, &inst),
            Neg | Not => self.unary(i, &inst),
            Mul | MulU | MulS | DivU | DivS => self.muldiv(i, &inst)?,
            Shl | Shr | Sar | Rol | Ror | Rcl | Rcr | Shld | Shrd => self.shift(i, &inst),
            Bswap | Bsf | Bsr | Popcnt | Lzcnt | Tzcnt | Bt | Bts | Btr | Btc => self.bits(i, &inst)?,
            Trunc | Zext | Sext | Field | Ins | Concat => self.width(i, &inst)?,
            SetCc | Select => self.conditional(i, &inst),
            FlagsBits | BitsFlags | FlagsSet | FlagsClear | FlagsNot => self.flags_op(i, &inst),
            Load => self.load(i, &inst)?,
            Store => self.store(&inst)?,
            Lea => self.lea(i, &inst),
            Rmw | Fetch | Cas => self.atomic(i, &inst)?,
            Fence => self.asm.code.extend_from_slice(&[0x0f, 0xae, 0xf0]),
            ExitIf => self.exit_if(&inst),
            Exit => self.exit(inst.imm, false),
            Jump | Branch => self.branch(&inst),
            Call => self.call(i, &inst),
            X87 | X87Mem | X87Flags | X87Status | X87Cmov => self.x87(i, &inst)?,
            Flags => return Err(Unsupported { what: "flags of a constant" }),
            _ => self.vector(i, &inst)?,
        }
        Ok(())
    }

    fn begin_insn(&mut self, index: u32) {
        self.insn = index as u16;
        let insn = self.region.insns[index as usize];
        self.out.insns.push((insn.pc, insn.len, self.asm.pos()));
    }

    /// Whether a load is emitted as an operand of its only user.
    pub fn is_folded(&self, i: usize) -> bool {
        self.facts.facts[i].folded
    }

    // ---- uses

    fn remaining(&self, v: Value) -> u16 {
        self.facts.root(v).map_or(0, |r| self.facts.facts[r].uses)
    }

    /// Uses of a register's value that come after the current instruction, which reads the values in `here`.
    fn uses_after(&self, v: Value, i: usize) -> u16 {
        let Some(root) = self.facts.root(v) else { return 0 };
        let mut here = 0;
        // The flags of an instruction have the same root as its value.
        self.for_each_use(i, &mut |u, flags| here += u16::from(!flags && self.facts.root(u) == Some(root)));
        self.facts.facts[root].uses.saturating_sub(here)
    }

    /// The values that an instruction reads, together with those of the load and the operation that it absorbs, and
    /// whether each is a flags bundle.
    fn for_each_use(&self, i: usize, f: &mut impl FnMut(Value, bool)) {
        self.for_each_direct_use(i, f);
        if self.facts.facts[i].absorbs {
            self.for_each_absorbed(i, &mut |u| self.for_each_direct_use(u, f));
        }
    }

    /// The instructions that are emitted as part of `i`: a load, or an operation with its load.
    fn for_each_absorbed(&self, i: usize, f: &mut impl FnMut(usize)) {
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

    fn for_each_direct_use(&self, i: usize, f: &mut impl FnMut(Value, bool)) {
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
    fn release(&mut self, i: usize) {
        let mut list = [(Value::NONE, false); 16];
        let mut n = 0;
        self.for_each_use(i, &mut |v, flags| {
            if n < list.len() {
                list[n] = (v, flags);
                n += 1;
            }
        });
        for (v, flags) in &list[..n] {
            let Some(root) = self.facts.root(*v) else { continue };
            if *flags {
                self.release_flags(root);
            } else {
                let uses = &mut self.facts.facts[root].uses;
                *uses = uses.saturating_sub(1);
                if *uses == 0 {
                    self.free(root);
                }
            }
        }
    }

    fn free(&mut self, root: usize) {
        match std::mem::replace(&mut self.locs[root], Loc::Nowhere) {
            Loc::Slot(slot) => self.free_slot(slot),
            Loc::Reg(r) if SCRATCH >> r & 1 != 0 && self.held[usize::from(r)].as_inst() == Some(root) => {
                self.held[usize::from(r)] = Value::NONE;
            }
            _ => {}
        }
    }

    // ---- registers

    pub fn lock(&mut self, reg: u8) {
        self.locked |= 1 << reg;
    }

    /// A free register of the wanted kind, spilling if there is none. It is locked.
    pub fn scratch(&mut self, vector: bool) -> u8 {
        let class = if vector { 0xffff_0000 } else { 0xffff };
        let candidates = SCRATCH & class & !self.locked;
        let pick = |want: &dyn Fn(u8) -> bool| (0..32u8).find(|r| candidates >> r & 1 != 0 && want(*r));
        let reg = pick(&|r| self.held[usize::from(r)].is_none())
            .or_else(|| pick(&|r| self.remaining(self.held[usize::from(r)]) == 0))
            .or_else(|| pick(&|_| true));
        let Some(reg) = reg else {
            unreachable!("an instruction locks fewer registers than there are scratch registers")
        };
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
        let free = SCRATCH & class & !self.locked & !(1 << reg);
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

    /// Register-to-register copy of the whole register.
    pub fn copy_register(&mut self, to: u8, from: u8) {
        if to >= VEC {
            self.asm.op(Opcode::sse(0, 0x28), 4, to - VEC, Rm::Reg(from - VEC));
        } else {
            self.asm.op(Opcode::one(0x8b), 8, to, Rm::Reg(from));
        }
        self.checker.copied(to, from);
    }

    fn new_slot(&mut self, words: u32) -> u16 {
        let mask: u128 = (1 << words) - 1;
        let at = (0..128 - words).step_by(words as usize).find(|at| self.slots & mask << at == 0);
        let at = at.unwrap_or_else(|| {
            self.out_of_slots = true;
            126
        });
        self.slots |= mask << at;
        at as u16 | if words == 2 { 0x8000 } else { 0 }
    }

    fn free_slot(&mut self, slot: u16) {
        let mask: u128 = if slot & 0x8000 != 0 { 3 } else { 1 };
        self.slots &= !(mask << (slot & 0x7fff));
    }

    pub fn slot_mem(&self, slot: u16) -> Mem {
        let base = std::mem::offset_of!(isamorph_ir::Header, spill) as u32;
        Mem::state(base + u32::from(slot & 0x7fff) * 8)
    }

    fn spill_move(&mut self, reg: u8, slot: u16, store: bool) {
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
        self.checker.used(root, reg, self.region, &self.asm.code);
        reg
    }

    fn const_reg(&mut self, v: Value, ty: Type, bits: u128) -> u8 {
        if let Some(r) = (0..32u8).find(|r| self.held[usize::from(*r)] == v) {
            self.lock(r);
            return r;
        }
        let r = self.scratch(ty.is_vector());
        if ty.is_vector() {
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
        let vector = self.region.insts[i].ty.is_vector();
        let usable = |r: u8| avoid >> r & 1 == 0;
        let reg = if self.wanted_register(i).is_some_and(usable) && self.can_overwrite(facts.hint, i) {
            facts.hint
        } else if let Some(p) = prefer
            .filter(|p| usable(*p) && SCRATCH >> p & 1 != 0 && self.uses_after(self.held[usize::from(*p)], i) == 0)
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

    // ---- faults and thunks

    /// Notes that the next host instruction may fault on behalf of the guest.
    pub fn fault_point(&mut self, recipes: &[Recipe]) {
        let first = self.out.recipes.len();
        self.out.recipes.extend_from_slice(recipes);
        self.sum_recipes();
        if self.guest_flags != NONE
            && self.host_flags != self.guest_flags
            && let FlagsLoc::Slot(slot) = self.flag_locs[self.guest_flags as usize]
        {
            let offset = self.slot_mem(slot).disp as u32;
            self.out.recipes.push(Recipe::FlagsAt { offset });
        }
        let recipe_count = (self.out.recipes.len() - first) as u8;
        let point = FaultPoint { at: self.asm.pos(), insn: self.insn, recipe: first as u16, recipe_count };
        self.out.faults.push(point);
    }

    /// `jmp` (0xe9) or `call` (0xe8) to a thunk.
    pub fn branch_to_thunk(&mut self, opcode: u8, thunk: Thunk) {
        self.asm.u8(opcode);
        self.thunk_field(thunk);
    }

    fn thunk_field(&mut self, thunk: Thunk) {
        let at = self.asm.pos();
        self.out.relocs.push(Reloc { at, thunk });
        self.asm.u32(0);
    }

    // ---- guest registers

    fn get(&mut self, i: usize, inst: &Inst) -> Result<(), Unsupported> {
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

    fn set(&mut self, inst: &Inst) -> Result<(), Unsupported> {
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

    fn set_pinned(&mut self, host: u8, v: Value) {
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
            self.checker.copied(host, from);
        }
        self.held[usize::from(host)] = v;
        if let Some(root) = root {
            // The pinned register is the better home: it frees a scratch register.
            self.held[usize::from(host)] = Value::inst(root);
            if SCRATCH >> from & 1 != 0 && self.locs[root] == Loc::Reg(from) {
                self.held[usize::from(from)] = Value::NONE;
                self.locs[root] = Loc::Reg(host);
            }
        }
    }

    fn get_from_state(&mut self, i: usize, inst: &Inst) -> Result<(), Unsupported> {
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

    fn set_in_state(&mut self, reg: RegId, ty: Type, v: Value) -> Result<(), Unsupported> {
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

    fn is_fp_control(&self, reg: RegId) -> bool {
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

/// A memory operand for guest or state memory that has no register.
pub(crate) const EMPTY: Mem = Mem { base: NO_REG, index: NO_REG, scale: 0, disp: 0, addr32: false, gs: false };
