//! The backward pass: how often each value is used, which flags are needed, which loads fold into their users, and
//! which host register each result would best be computed in.

use crate::pins::{Pins, StateReg};
use isamorph_ir::{Effects, FlagSet, Inst, Op, RegId, Region, Type, Value};
use std::ops::Range;

/// No instruction, no register.
pub const NONE: u32 = u32::MAX;

/// Facts about one instruction.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Instruction whose value this one's operand chain denotes: itself, or the source of a truncation.
    pub root: u32,
    /// Uses of the value (of its root) that will be emitted.
    pub uses: u16,
    /// Uses of the flags that the instruction (as a root) defines.
    pub flag_uses: u16,
    /// Flags of it that anything reads, in attribute form.
    pub flags_needed: FlagSet,
    /// Which operand slots read flags, one bit each.
    pub flag_slots: u8,
    /// Which operand slots read other values.
    pub value_slots: u8,
    /// Whether a load or an operation is emitted as part of this instruction.
    pub absorbs: bool,
    /// The `flagsk` projection whose kept bits are needed, or [`NONE`].
    pub keep: u32,
    /// The `second` projection that is used, or [`NONE`].
    pub second: u32,
    /// Whether anything after the instruction (or its own way out) may read the guest's flags before they are written.
    pub guest_flags_after: bool,
    /// What the guest instruction has read of its flags before this point, at which it may fault: it reads them again
    /// when it is repeated.
    pub reread: FlagSet,
    /// The instruction is not emitted.
    pub dead: bool,
    /// A load that is emitted as a memory operand of its only user.
    pub folded: bool,
    /// The store or operation that this load–operate–store chain is emitted at, or [`NONE`].
    pub rmw: u32,
    /// Host register in which the result is wanted, or 0xff.
    pub hint: u8,
    /// The `ins` whose old operand the low bits should be computed in place of, or [`NONE`].
    pub part_of: u32,
}

const FRESH: Facts = Facts {
    root: NONE,
    uses: 0,
    flag_uses: 0,
    flags_needed: FlagSet::empty(),
    flag_slots: 0,
    value_slots: 0,
    absorbs: false,
    keep: NONE,
    second: NONE,
    guest_flags_after: false,
    reread: FlagSet::empty(),
    dead: false,
    folded: false,
    rmw: NONE,
    hint: 0xff,
    part_of: NONE,
};

/// The facts of a region, reused from region to region.
#[derive(Debug, Default)]
pub struct Analysis {
    /// By instruction; one more at the end stands for the flags at entry.
    pub facts: Vec<Facts>,
    /// Flags that each block reads before it writes them, last block first.
    pub block_flags: Vec<FlagSet>,
    stamps: Vec<(u32, u32)>,
    /// By register: the epoch of the write to the CPU state that comes next, if nothing reads the register before.
    rewritten: Vec<u32>,
}

/// The state of the walk.
struct Walk {
    /// Guest flags needed after the current point.
    flags: FlagSet,
    /// Flags that are read after the current point from the value that the guest's flags were set to. Whoever starts
    /// again in between reads them from the guest's.
    by_value: FlagSet,
    /// The flags that the guest has.
    all_flags: FlagSet,
    /// Bumped at every point where state may be observed.
    epoch: u32,
    /// Bumped for a host register whenever its guest register is read.
    reg_epoch: [u32; 32],
}

impl Analysis {
    /// The root instruction of a value, or `None` for a constant or an empty slot.
    pub fn root(&self, v: Value) -> Option<usize> {
        v.as_inst().map(|i| self.facts[i].root as usize)
    }

    /// Analyses the region.
    pub fn run(&mut self, region: &Region, pins: &Pins, precise: bool) {
        self.facts.clear();
        self.facts.resize(region.insts.len() + 1, FRESH);
        self.stamps.clear();
        self.block_flags.clear();
        self.stamps.resize(region.insts.len(), (0, 0));
        self.rewritten.clear();
        let mut read = FlagSet::empty();
        for (i, inst) in region.insts.iter().enumerate() {
            self.facts[i].root = self.find_root(region, i, inst);
            read = if inst.op == Op::Insn { FlagSet::empty() } else { read | flags_consumed(inst) };
            if inst.op.effects().contains(Effects::FAULT) || inst.op == Op::Call {
                self.facts[i].reread = read;
            }
        }
        self.facts[region.insts.len()].root = region.insts.len() as u32;
        let (flags, by_value) = (pins.flag_set, FlagSet::empty());
        let mut walk = Walk { flags, by_value, all_flags: flags, epoch: 1, reg_epoch: [0; 32] };
        for block in region.blocks.iter().rev() {
            self.block(region, pins, precise, &mut walk, block.start as usize..block.end as usize);
        }
    }

    /// A truncation is the same register, and so is the extension of what a 32-bit operation has left in one (SDM
    /// vol. 1, 3.4.1.1); a `flags` projection is its producer's flags; reading the guest flags is the producer that
    /// wrote them (resolved by the forward pass).
    fn find_root(&self, region: &Region, i: usize, inst: &Inst) -> u32 {
        let is_name = match inst.op {
            Op::Flags => true,
            Op::Trunc => region.value_type(inst.args[0]).is_int(),
            // 128-bit integers live in vector registers.
            Op::VFromInt => region.value_type(inst.args[0]) == Type::I128,
            Op::VToInt => inst.ty == Type::I128,
            Op::Zext if inst.ty == Type::I64 && region.value_type(inst.args[0]) == Type::I32 => {
                self.root(inst.args[0]).is_some_and(|root| region.insts[root].ty == Type::I32)
            }
            _ => false,
        };
        self.root(inst.args[0]).filter(|_| is_name).map_or(i as u32, |root| root as u32)
    }

    fn block(&mut self, region: &Region, pins: &Pins, precise: bool, walk: &mut Walk, range: Range<usize>) {
        walk.epoch += 1;
        walk.flags = walk.all_flags;
        walk.by_value = FlagSet::empty();
        let start = range.start;
        for i in range.rev() {
            let inst = &region.insts[i];
            if inst.op == Op::Insn {
                continue;
            }
            let effects = inst.op.effects();
            // Floating-point operations fault where the guest unmasks an exception.
            let faults = effects.intersects(Effects::FAULT | Effects::FPENV);
            if faults || inst.op == Op::Call {
                walk.flags |= walk.by_value;
            }
            let on_exit = matches!(inst.op, Op::ExitIf) && !region.exits[inst.imm as usize].live_flags.is_empty();
            self.facts[i].guest_flags_after = on_exit || !walk.flags.is_empty();
            self.exits_and_state(region, pins, walk, i, inst);
            self.liveness(region, i, inst);
            if self.facts[i].dead {
                continue;
            }
            self.hints(region, pins, walk, i, inst);
            if inst.op != Op::Set {
                walk.by_value |= self.flags_taken(inst, i) & walk.all_flags;
            }
            if faults {
                walk.flags |= walk.by_value;
            }
            if faults || effects.contains(Effects::EXIT) || matches!(inst.op, Op::Call) {
                walk.epoch += 1;
                if precise && faults {
                    walk.flags = walk.all_flags;
                }
            }
            if self.fold(region, pins, i, inst, start) {
                walk.epoch += 1;
                walk.flags |= walk.by_value;
                self.facts[i].guest_flags_after |= !walk.by_value.is_empty();
            }
            if !self.facts[i].absorbs {
                walk.flags |= self.facts[i].reread;
            }
        }
        self.block_flags.push(walk.flags);
    }

    /// Follows the guest flags as a variable: needed at exits, killed by writes, passed on by reads.
    fn exits_and_state(&mut self, region: &Region, pins: &Pins, walk: &mut Walk, i: usize, inst: &Inst) {
        match inst.op {
            Op::Exit => walk.flags = region.exits[inst.imm as usize].live_flags & walk.all_flags,
            Op::ExitIf => walk.flags |= region.exits[inst.imm as usize].live_flags & walk.all_flags,
            Op::Jump | Op::Branch => walk.flags = walk.all_flags,
            Op::Set if Some(inst.reg()) == pins.flags => {
                if walk.flags.is_empty() {
                    self.facts[i].dead = true;
                } else {
                    self.need(inst.args[0], walk.flags);
                    self.facts[i].flag_slots = 1;
                }
                walk.flags = FlagSet::empty();
                walk.by_value = FlagSet::empty();
            }
            Op::Set => self.facts[i].dead = self.is_rewritten(pins, walk, inst.reg()),
            Op::Get if Some(inst.reg()) == pins.flags => walk.flags |= self.facts[i].flags_needed,
            Op::Get if inst.reg().as_local().is_none() => {
                if let Some(epoch) = self.rewritten.get_mut(usize::from(inst.reg().0)) {
                    *epoch = 0;
                }
            }
            _ => {}
        }
    }

    /// Whether a write of a register to the CPU state is followed by another one before anything can see it. Registers
    /// that live in host registers are left alone: their writes say where a result should be computed.
    fn is_rewritten(&mut self, pins: &Pins, walk: &Walk, reg: RegId) -> bool {
        let at = usize::from(reg.0);
        if pins.in_state(reg).is_none() {
            return false;
        }
        if self.rewritten.len() <= at {
            self.rewritten.resize(at + 1, 0);
        }
        std::mem::replace(&mut self.rewritten[at], walk.epoch) == walk.epoch
    }

    /// The flags that an instruction reads from values.
    fn flags_taken(&self, inst: &Inst, i: usize) -> FlagSet {
        let Facts { flag_slots, flags_needed, .. } = self.facts[i];
        if inst.op == Op::FlagsKeep {
            return flags_needed & inst.flag_set();
        }
        let slots = (0..inst.args.len()).filter(|slot| flag_slots >> slot & 1 != 0);
        slots.fold(FlagSet::empty(), |taken, slot| taken | flags_read(inst, slot, flags_needed))
    }

    /// Records that a flags value is read.
    fn need(&mut self, f: Value, which: FlagSet) {
        if let Some(i) = f.as_inst() {
            self.facts[i].flags_needed |= which;
            let root = self.facts[i].root as usize;
            self.facts[root].flags_needed |= which;
            self.facts[root].flag_uses += 1;
        }
    }

    fn liveness(&mut self, region: &Region, i: usize, inst: &Inst) {
        let info = inst.op.info();
        let facts = self.facts[i];
        if facts.dead {
            return;
        }
        let used = facts.uses > 0 || facts.flag_uses > 0 || !facts.flags_needed.is_empty() || facts.second != NONE;
        if !info.effects.is_pinned() && !used && !matches!(inst.op, Op::Insn) {
            self.facts[i].dead = true;
            return;
        }
        match inst.op {
            // Projections and truncations are names of their operand: its uses were counted through the root.
            Op::Flags => return,
            Op::FlagsKeep => return self.keep(i, inst),
            Op::Second => return self.second(i, inst),
            Op::Trunc | Op::Zext | Op::VFromInt | Op::VToInt if facts.root != i as u32 => return,
            Op::FlagsSet | Op::FlagsClear | Op::FlagsNot if self.is_idle_edit(i, inst) => return,
            _ => {}
        }
        let needed = facts.flags_needed;
        let mut slots = facts.flag_slots;
        for (slot, &arg) in inst.args[..info.args.len()].iter().enumerate() {
            if arg.is_none() {
                continue;
            }
            if info.args[slot].expected(inst.ty).unwrap_or_else(|| region.value_type(arg)) == Type::Flags {
                let read = flags_read(inst, slot, needed);
                if !read.is_empty() && facts.flag_slots == 0 {
                    self.need(arg, read);
                    slots |= 1 << slot;
                }
            } else {
                self.use_value(arg);
                self.facts[i].value_slots |= 1 << slot;
            }
        }
        self.facts[i].flag_slots = slots;
        if let Some(a) = inst.addr() {
            region.addrs[a].values().for_each(|v| self.use_value(v));
        }
        if info.imm == isamorph_ir::ImmKind::Exit
            && let Some(target) = region.exits[inst.imm as usize].kind.target()
        {
            self.use_value(target);
        }
    }

    /// The second result keeps its producer; a repeated projection is a name of the earlier one.
    fn second(&mut self, i: usize, inst: &Inst) {
        let Some(producer) = self.root(inst.args[0]) else { return };
        let later = std::mem::replace(&mut self.facts[producer].second, i as u32);
        if later != NONE {
            self.facts[i].uses += self.facts[later as usize].uses;
            self.facts[later as usize].root = i as u32;
        }
    }

    /// A merge of new and old flags: if none of the kept bits is needed it is just a name of the new ones.
    fn keep(&mut self, i: usize, inst: &Inst) {
        let kept = self.facts[i].flags_needed & inst.flag_set();
        let Some(producer) = self.root(inst.args[0]) else { return };
        let fresh = self.facts[i].flags_needed - inst.flag_set();
        self.facts[producer].flags_needed |= fresh;
        if kept.is_empty() {
            self.facts[i].root = producer as u32;
            self.facts[producer].flag_uses += self.facts[i].flag_uses;
        } else {
            self.facts[producer].flag_uses += 1;
            self.facts[producer].keep = i as u32;
            self.need(inst.args[1], kept);
        }
    }

    /// An edit of flags that nobody reads is a name of its operand. True if it is one.
    fn is_idle_edit(&mut self, i: usize, inst: &Inst) -> bool {
        let facts = self.facts[i];
        let Some(operand) = self.root(inst.args[0]).filter(|_| !facts.flags_needed.intersects(inst.flag_set())) else {
            return false;
        };
        self.facts[i].root = operand as u32;
        self.facts[operand].flags_needed |= facts.flags_needed;
        self.facts[operand].flag_uses += facts.flag_uses;
        if let Some(named) = inst.args[0].as_inst() {
            self.facts[named].flags_needed |= facts.flags_needed;
        }
        true
    }

    fn use_value(&mut self, v: Value) {
        if let Some(root) = self.root(v) {
            self.facts[root].uses += 1;
            if root as u32 != v.0 {
                self.facts[v.0 as usize].uses += 1;
            }
        }
    }

    /// Where results should go: into the pinned register that a later `set` writes, if nothing observes it in between.
    fn hints(&mut self, region: &Region, pins: &Pins, walk: &mut Walk, i: usize, inst: &Inst) {
        let stamp = |walk: &Walk, host: u8| (walk.epoch, walk.reg_epoch[usize::from(host)]);
        let facts = self.facts[i];
        if facts.hint != 0xff && self.stamps[i] != stamp(walk, facts.hint) {
            self.facts[i].hint = 0xff;
            self.facts[i].part_of = NONE;
        }
        match inst.op {
            Op::Set => {
                // A wider operation would leave more than the value in the register.
                if let (Some(host), Some(v)) = (pins.host(inst.reg()), self.root(inst.args[0]))
                    && region.insts[v].ty.bytes() <= inst.ty.bytes()
                {
                    self.facts[v].hint = host;
                    self.facts[v].part_of = NONE;
                    self.stamps[v] = stamp(walk, host);
                }
            }
            Op::Get => {
                if let Some(host) = pins.host(inst.reg()) {
                    walk.reg_epoch[usize::from(host)] += 1;
                }
            }
            Op::Ins if self.facts[i].hint != 0xff && inst.imm == 0 => {
                let (old, part) = (self.root(inst.args[0]), inst.args[1].as_inst());
                if let (Some(_), Some(p)) = (old, part)
                    && self.facts[p].root == p as u32
                    && self.facts[p].uses == 1
                    && region.insts[p].ty.bytes() <= 2
                {
                    self.facts[p].hint = self.facts[i].hint;
                    self.facts[p].part_of = i as u32;
                    self.stamps[p] = self.stamps[i];
                }
            }
            // A merged select or insert would best reuse the register too.
            _ => {}
        }
    }

    /// Marks a load, or a read of a register in the CPU state, that the instruction can take as a memory operand, and
    /// read-modify-write chains. True if the instruction has thereby become a point where the guest may fault.
    fn fold(&mut self, region: &Region, pins: &Pins, i: usize, inst: &Inst, start: usize) -> bool {
        if inst.op == Op::Store {
            self.fold_rmw(region, i, inst, start);
            return false;
        }
        if self.facts[i].rmw != NONE {
            return false;
        }
        for (slot, folds) in self.foldable_slots(i, inst) {
            if !folds {
                continue;
            }
            let Some(l) = self.root(inst.args[slot]).filter(|l| self.facts[*l].uses == 1) else { continue };
            let folds = match region.insts[l].op {
                Op::Load => {
                    inst.args[slot].as_inst() == Some(l)
                        && can_fold(inst, &region.insts[l])
                        && quiet_between(region, l + 1, i)
                }
                Op::Get => {
                    pins.in_state(region.insts[l].reg()).is_some_and(|at| can_fold_state(inst, at))
                        && unchanged_between(region, l, i)
                }
                _ => false,
            };
            if folds {
                self.facts[l].folded = true;
                self.facts[i].absorbs = true;
                return region.insts[l].op == Op::Load;
            }
        }
        false
    }

    /// The operand slots, and whether the host instruction for this op can take each from memory, the better one first.
    fn foldable_slots(&self, i: usize, inst: &Inst) -> [(usize, bool); 2] {
        let integer = inst.ty.is_int();
        let (first, second) = match inst.op {
            // `cmp` and `test` write neither operand.
            Op::Sub => (self.facts[i].uses == 0 && self.facts[i].keep == NONE, true),
            Op::And if self.facts[i].uses == 0 => (self.facts[i].keep == NONE, true),
            Op::Add | Op::Adc | Op::And | Op::Or | Op::Xor | Op::Mul => (inst.args[1].as_inst().is_some(), true),
            Op::Sbb => (false, true),
            _ if inst.ty.is_vector() => {
                return [(1, crate::emit::vector::takes_memory(inst) && inst.args[0] != inst.args[1]), (0, false)];
            }
            _ => (false, false),
        };
        // One operand given twice would be needed twice.
        let folds = integer && inst.args[0] != inst.args[1];
        [(1, folds && second), (0, folds && first)]
    }

    /// `store a, op(load a, x)` where the loaded value and the result have no other use.
    fn fold_rmw(&mut self, region: &Region, i: usize, inst: &Inst, start: usize) {
        let Some(o) = inst.args[0].as_inst().filter(|&o| o >= start) else { return };
        let op = &region.insts[o];
        let by_value = is_shift(op.op) && op.args[1].as_const().is_none();
        if !rmw_op(op.op)
            || by_value
            || self.facts[o].uses != 1
            || self.facts[o].root != o as u32
            || inst.mem().0 & !7 != 0
        {
            return;
        }
        let Some(l) = op.args[0].as_inst() else { return };
        let load = &region.insts[l];
        if load.op == Op::Load
            && load.imm == inst.imm
            && load.attr == inst.attr
            && load.ty.bytes() == inst.mem().bytes()
            && load.ty.is_int()
            && self.facts[l].uses == 0
            && !op.args[1..].contains(&op.args[0])
            && self.only_user(region, l, o)
            && self.only_user(region, o, i)
            && quiet_between(region, l + 1, i)
        {
            self.facts[l].folded = true;
            self.facts[o].rmw = i as u32;
            self.facts[o].absorbs = true;
            self.facts[i].absorbs = true;
        }
    }

    /// Whether nothing between `value` and its user at `user` reads it. Uses are counted only later in the backward
    /// walk, so look ahead instead. Projections of flags are not reads.
    fn only_user(&self, region: &Region, value: usize, user: usize) -> bool {
        region.insts[value + 1..user]
            .iter()
            .filter(|inst| !matches!(inst.op, Op::Flags | Op::FlagsKeep))
            .all(|inst| region.uses(inst).all(|v| v.as_inst() != Some(value)))
    }
}

/// The flags that an operand slot of type flags is read for.
fn flags_read(inst: &Inst, slot: usize, needed: FlagSet) -> FlagSet {
    match inst.op {
        Op::SetCc | Op::Select | Op::ExitIf | Op::Branch | Op::X87Cmov | Op::CmpIf | Op::CmnIf => inst.cond().reads(),
        Op::Adc | Op::Sbb => FlagSet::C,
        Op::Rcl | Op::Rcr => FlagSet::C | needed,
        Op::Bt | Op::Bts | Op::Btr | Op::Btc => needed - FlagSet::C,
        Op::FlagsSet | Op::FlagsClear => needed - inst.flag_set(),
        Op::FlagsNot => needed,
        Op::FlagsBits => FlagSet::all(),
        _ if slot > 0 => needed,
        _ => FlagSet::all(),
    }
}

fn can_fold(inst: &Inst, load: &Inst) -> bool {
    if load.mem().is_big_endian() || inst.ty != load.ty {
        return false;
    }
    if inst.ty.is_int() {
        let whole = load.ty.bytes() == load.mem().bytes() && !load.mem().is_aligned();
        return whole && !(inst.op == Op::Mul && inst.ty == Type::I8);
    }
    // The host checks the alignment of whole vectors, and of nothing else.
    crate::emit::vector::memory_width(inst) == load.mem().bytes()
        && (load.mem().bytes() < 16) != load.mem().is_aligned()
}

/// Whether an operation can read a register where it is in the CPU state.
fn can_fold_state(inst: &Inst, at: StateReg) -> bool {
    if inst.ty.is_int() {
        return at.ty.is_int() && inst.ty.bytes() <= at.ty.bytes() && !(inst.op == Op::Mul && inst.ty == Type::I8);
    }
    // A memory operand of 16 bytes must be aligned.
    at.ty == Type::V128 && (at.offset.is_multiple_of(16) || crate::emit::vector::memory_width(inst) < 16)
}

/// Whether a register in the CPU state is the same at instruction `to` as at its reading `get`.
fn unchanged_between(region: &Region, get: usize, to: usize) -> bool {
    let reg = region.insts[get].imm;
    region.insts[get + 1..to].iter().all(|inst| inst.op != Op::Call && (inst.op != Op::Set || inst.imm != reg))
}

/// Whether nothing between two instructions writes memory, can fault, or changes a register, so that a load may move
/// down.
fn quiet_between(region: &Region, from: usize, to: usize) -> bool {
    region.insts[from..to].iter().all(|inst| {
        let e = inst.op.effects();
        !e.intersects(Effects::FAULT | Effects::STORE | Effects::WRITE | Effects::EXIT | Effects::END)
            && inst.op != Op::Insn
    })
}

/// The flags that an operation computes with.
fn flags_consumed(inst: &Inst) -> FlagSet {
    match inst.op {
        Op::Adc | Op::Sbb => FlagSet::C,
        Op::Rcl | Op::Rcr | Op::FlagsBits => FlagSet::all(),
        Op::SetCc | Op::Select | Op::CmpIf | Op::CmnIf => inst.cond().reads(),
        _ => FlagSet::empty(),
    }
}

/// Operations that the host can apply to memory; shifts only by a constant.
fn rmw_op(op: Op) -> bool {
    use Op::*;
    matches!(op, Add | Sub | Adc | Sbb | And | Or | Xor | Neg | Not) || is_shift(op)
}

/// Shifts and rotations that have a memory form.
pub(crate) fn is_shift(op: Op) -> bool {
    matches!(op, Op::Shl | Op::Shr | Op::Sar | Op::Rol | Op::Ror)
}
