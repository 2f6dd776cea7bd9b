//! The forward pass: selects, allocates and emits in one walk over the region.

mod alloc;
mod atomic;
mod bits;
mod compare;
mod control;
mod convert;
mod flags;
mod float;
mod guest;
mod int;
mod lanes;
mod mem;
mod muldiv;
mod outside;
mod probe;
mod shift;
mod sums;
pub(crate) mod vector;
mod waiting;
mod wide;
mod x87;

use crate::analysis::{Analysis, NONE};
use crate::asm::{Asm, Mem, NO_REG};
use crate::checker::Checker;
use crate::operation::Descriptor;
use crate::pins::Pins;
use crate::{Backend, Unsupported};
use alloc::{Borrowed, HOME};
use isamorph_code::{Compiled, FaultPoint, Recipe, Reloc, Thunk};
use isamorph_ir::{Cond, Effects, Op, Region, Type, Value};
pub use probe::Access;

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
    /// An EFLAGS image in a slot.
    Slot(u16),
    /// In a slot, as `lahf` and `seto al` leave them in eax.
    Packed(u16),
    /// Only whether this condition holds: a byte in a slot.
    Condition(u16, Cond),
}

/// What is emitted after the hot code.
pub(crate) enum Cold {
    /// The stub of link site `index`.
    Link(usize),
    /// Leaves at the safepoint; the displacement at `at` leads here.
    Safepoint { at: u32 },
    /// Computes an operation out of line and goes on at `back`; the displacement at `at` leads here.
    Operation { at: u32, back: u32, descriptor: Descriptor },
    /// Makes flags that say "unordered" with the help of an integer register, and goes on at `back`; the displacement
    /// at `at` leads here.
    Unordered { at: u32, back: u32, scratch: u8 },
    /// Faults at a point of its own; the displacement at `at` leads here.
    Misaligned { at: u32, point: FaultPoint },
    /// Has the translation made that a probe did not find.
    Miss(probe::Miss),
    /// Brings the guest flags from where they are to where they belong, then leaves through `exit`.
    Exit { at: u32, exit: u32, flags: FlagsLoc, insn: u16 },
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
    constants: Vec<(u32, u128)>,
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
    /// Displacements that refer to constants of the pool.
    constants: &'a mut Vec<(u32, u128)>,
    /// The value in each host register.
    held: [Value; 32],
    /// Registers that must not be given out while the current instruction is emitted.
    locked: u32,
    /// Pinned registers that the current instruction has borrowed.
    borrowed: Vec<Borrowed>,
    /// Spill slots in use.
    slots: u128,
    pub(crate) sums: sums::Sums,
    /// Root of the flags in EFLAGS, or [`NONE`].
    host_flags: u32,
    /// Root of the guest's current flags if they are live, or [`NONE`].
    guest_flags: u32,
    /// Root of the flags in the CPU state, or [`NONE`].
    home_flags: u32,
    /// Current instruction.
    at: usize,
    /// Current guest instruction.
    insn: u16,
    /// Why the region is given up: it needs more slots or registers than there are.
    exhausted: Option<&'static str>,
    pub(crate) checker: Checker,
}

/// Compiles a region.
pub(crate) fn compile(
    backend: &Backend,
    scratch: &mut Scratch,
    region: &Region,
    out: &mut Compiled,
) -> Result<(), Unsupported> {
    let Scratch { analysis, asm, locs, flag_locs, block_offsets, block_refs, cold, constants } = scratch;
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
    constants.clear();
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
        constants,
        held: [Value::NONE; 32],
        locked: 0,
        borrowed: Vec::new(),
        slots: 0,
        sums: sums::Sums::default(),
        host_flags: NONE,
        guest_flags: NONE,
        home_flags: NONE,
        at: 0,
        insn: 0,
        exhausted: None,
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
        for (at, block) in std::mem::take(self.block_refs) {
            let target = self.block_offsets[block as usize];
            self.asm.patch(at, target);
        }
        self.cold_code();
        self.constant_pool();
        Ok(())
    }

    fn begin_block(&mut self, index: usize) {
        self.block_offsets.push(self.asm.pos());
        self.held = [Value::NONE; 32];
        self.sums = sums::Sums::default();
        self.checker.begin_block();
        let entry = self.region.insts.len();
        let live = self.facts.block_flags[self.region.blocks.len() - 1 - index];
        let home = if self.pins.flags_in_state { FlagsLoc::Slot(HOME) } else { FlagsLoc::Host };
        self.flag_locs[entry] = if live.is_empty() { FlagsLoc::Nowhere } else { home };
        self.facts.facts[entry].flag_uses = u16::from(!live.is_empty());
        let root = if live.is_empty() { NONE } else { entry as u32 };
        self.host_flags = if self.pins.flags_in_state { NONE } else { root };
        self.guest_flags = root;
        self.home_flags = root;
    }

    /// Emits one instruction, unless it is dead or emitted as part of a later one.
    fn inst(&mut self, i: usize) -> Result<(), Unsupported> {
        if self.region.insts[i].op == Op::Insn {
            self.begin_insn(self.region.insts[i].imm);
            return Ok(());
        }
        let facts = &self.facts.facts[i];
        let (dead, rmw) = (facts.dead, facts.rmw);
        // The backward pass marks a load before it has seen all of its users.
        self.facts.facts[i].folded &= facts.uses == 1;
        if dead {
            let inst = &self.region.insts[i];
            if inst.op == Op::Set && Some(inst.reg()) == self.pins.flags {
                self.set_guest_flags(NONE);
            }
            return Ok(());
        }
        if self.is_folded(i) || rmw != NONE {
            return Ok(());
        }
        self.locked = 0;
        self.at = i;
        let start = self.asm.pos() as usize;
        self.select(i)?;
        self.give_back();
        if let Some(what) = self.exhausted {
            return Err(Unsupported { what });
        }
        // What a way out overwrites is nobody's business inside the region.
        if !self.region.insts[i].op.effects().contains(Effects::EXIT) {
            self.checker.emitted(&self.asm.code[start..]);
        }
        self.release(i);
        Ok(())
    }

    fn select(&mut self, i: usize) -> Result<(), Unsupported> {
        use Op::*;
        let inst = self.region.insts[i];
        match inst.op {
            Insn => {}
            Get => self.get(i, &inst)?,
            Set => self.set(&inst)?,
            Flags | Trunc | Zext | VFromInt | VToInt if self.facts.facts[i].root != i as u32 => {}
            Concat | Trunc | Field | VFromInt | VToInt if self.is_wide(&inst) => self.wide(i, &inst)?,
            Second => {}
            FlagsKeep => self.flags_merge(i, &inst),
            Add | Sub | And | Or | Xor | Adc | Sbb => self.alu(i, &inst),
            Neg | Not => self.unary(i, &inst),
            Mul | MulU | MulS | DivU | DivS | QuotU | QuotS => self.muldiv(i, &inst)?,
            CmpIf | CmnIf => self.compare_if(i, &inst),
            Shl | Shr | Sar | Rol | Ror | Rcl | Rcr | Shld | Shrd => self.shift(i, &inst),
            Bswap | BitRev | Crc | Bsf | Bsr | Popcnt | Lzcnt | Tzcnt | Bt | Bts | Btr | Btc => self.bits(i, &inst)?,
            Trunc | Zext | Sext | Field | Ins | Concat => self.width(i, &inst),
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

    // ---- faults and thunks

    /// Notes that the next host instruction may fault on behalf of the guest.
    pub fn fault_point(&mut self, recipes: &[Recipe]) {
        let point = self.recovery(recipes);
        self.out.faults.push(point);
    }

    /// A point at which the guest may fault with the state as it is here.
    pub fn recovery(&mut self, recipes: &[Recipe]) -> FaultPoint {
        let first = self.out.recipes.len();
        self.out.recipes.extend_from_slice(recipes);
        self.sum_recipes();
        if self.guest_flags != NONE && self.host_flags != self.guest_flags {
            let offset = |slot| self.slot_mem(slot).disp as u32;
            let recipe = match self.flag_locs[self.guest_flags as usize] {
                FlagsLoc::Slot(slot) => Some(Recipe::FlagsAt { offset: offset(slot) }),
                FlagsLoc::Packed(slot) => Some(Recipe::PackedFlagsAt { offset: offset(slot) }),
                // The others are not what the fault may show.
                _ => None,
            };
            self.out.recipes.extend(recipe);
        }
        for Borrowed { reg, slot, .. } in &self.borrowed {
            let offset = self.slot_mem(*slot).disp as u32;
            self.out.recipes.extend(self.pins.guest(*reg).map(|g| Recipe::Saved { reg: g.0, offset }));
        }
        let recipe_count = (self.out.recipes.len() - first) as u8;
        FaultPoint { at: self.asm.pos(), insn: self.insn, recipe: first as u16, recipe_count }
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
}

/// Whether values of a type live in vector registers.
pub(crate) fn in_vector(ty: Type) -> bool {
    ty.is_vector() || ty == Type::I128
}

/// A memory operand for guest or state memory that has no register.
pub(crate) const EMPTY: Mem = Mem { base: NO_REG, index: NO_REG, scale: 0, disp: 0, addr32: false, gs: false };
