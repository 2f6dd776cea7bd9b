//! The interpreter: the executable meaning of every op.
//!
//! It is what compiled code is tested against, it repeats single instructions for the JIT, and it runs guests on its
//! own. It is written to be read: an op is one line of `dispatch.rs`, which names the function that computes it.
//! Floating-point ops run on the host's unit through `isamorph_host::fpexec`, with the guest's control words.
//!
//! Regions must have passed the verifier.

mod compute;
mod crypto;
mod dispatch;
mod float;
mod int;
mod mem;
mod operation;
pub mod random;
mod regs;
mod shift;
mod vector;
mod x87;

pub use operation::Operation;

use isamorph_ir::{CpuState, FlagSet, Helper, Inst, Memory, Op, RegTable, Region, Trap, Value};

/// How a region was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Through an exit.
    Exit {
        /// Index into [`Region::exits`].
        exit: usize,
        /// The computed target, if the exit has one.
        target: Option<u64>,
    },
    /// By a guest exception. The register writes that come before it in the region have happened.
    Trap {
        /// What happened.
        trap: Trap,
        /// Index into [`Region::insns`] of the guest instruction.
        insn: usize,
    },
}

/// Runs a region to its exit.
pub fn run(region: &Region, table: &RegTable, helpers: &[Helper], state: &mut CpuState, mem: &dyn Memory) -> Outcome {
    Interpreter::default().run(region, table, helpers, state, mem)
}

/// An interpreter; it keeps its scratch memory from region to region.
#[derive(Debug, Default)]
pub struct Interpreter {
    slots: Vec<Slot>,
    locals: Vec<u128>,
}

impl Interpreter {
    /// Runs a region to its exit. Jumps back inside the region do not poll the exit request.
    pub fn run(
        &mut self,
        region: &Region,
        table: &RegTable,
        helpers: &[Helper],
        state: &mut CpuState,
        mem: &dyn Memory,
    ) -> Outcome {
        self.slots.resize(region.insts.len().max(self.slots.len()), Slot::default());
        self.locals.clear();
        self.locals.resize(region.locals.len(), 0);
        let (slots, locals) = (&mut self.slots[..], &mut self.locals[..]);
        let mut frame = Frame { region, table, helpers, state, mem, slots, locals, insn: 0 };
        match frame.run() {
            Ok(exit) => Outcome::Exit { exit, target: region.exits[exit].kind.target().map(|v| frame.value(v) as u64) },
            Err(trap) => Outcome::Trap { trap, insn: frame.insn },
        }
    }
}

/// What an instruction defined. A value of type flags is in `bits`, as EFLAGS bits.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The result, zero above its type's width.
    bits: u128,
    /// What the `second` projection gives.
    second: u64,
    /// What the `flags` projection gives.
    flags: FlagSet,
}

impl Default for Slot {
    fn default() -> Self {
        Slot::new(0)
    }
}

impl Slot {
    fn new(bits: u128) -> Self {
        Slot { bits, second: 0, flags: FlagSet::empty() }
    }
    fn int(bits: u64) -> Self {
        Slot::new(u128::from(bits))
    }
    fn arith(bits: u64, flags: FlagSet) -> Self {
        Slot { bits: u128::from(bits), second: 0, flags }
    }
    fn flags(flags: FlagSet) -> Self {
        Slot::int(u64::from(flags.bits()))
    }
}

/// One run of one region.
struct Frame<'a> {
    region: &'a Region,
    table: &'a RegTable,
    helpers: &'a [Helper],
    state: &'a mut CpuState,
    mem: &'a dyn Memory,
    slots: &'a mut [Slot],
    locals: &'a mut [u128],
    /// The current guest instruction.
    insn: usize,
}

impl Frame<'_> {
    /// Runs to an exit and gives its index.
    fn run(&mut self) -> Result<usize, Trap> {
        let region = self.region;
        let mut at = 0;
        loop {
            let inst = &region.insts[at];
            let taken = |frame: &Self| inst.cond().holds(frame.flags(inst.args[0]));
            match inst.op {
                Op::Insn => self.insn = inst.imm as usize,
                Op::Exit => return Ok(inst.imm as usize),
                Op::ExitIf if taken(self) => return Ok(inst.imm as usize),
                Op::Jump => {
                    at = region.blocks[inst.imm as usize].start as usize;
                    continue;
                }
                Op::Branch if taken(self) => {
                    at = region.blocks[inst.imm as usize].start as usize;
                    continue;
                }
                Op::ExitIf | Op::Branch => {}
                // The frequent ops write their parts of the slot straight from registers; a slot that goes through
                // memory is read back in other pieces than it was written in, which the host's store buffer dislikes.
                Op::Get => self.slots[at].bits = self.get(inst.reg()),
                Op::Set => self.set(inst.reg(), self.typed(inst)),
                Op::Load => self.slots[at].bits = self.load(inst)?,
                Op::Store => self.store(inst, self.typed(inst))?,
                Op::Flags => self.slots[at].bits = u128::from(self.slot_flags(inst.args[0]).bits()),
                Op::Add | Op::Sub | Op::And | Op::Or | Op::Xor => {
                    let (a, b) = (self.value(inst.args[0]) as u64, self.value(inst.args[1]) as u64);
                    let (bits, flags) = int::basic(inst.op, inst.ty, a, b);
                    let slot = &mut self.slots[at];
                    (slot.bits, slot.flags) = (u128::from(bits), flags);
                }
                _ => self.slots[at] = self.eval(inst)?,
            }
            at += 1;
        }
    }

    /// The bits of a value; 0 for an operand that is not there.
    fn value(&self, value: Value) -> u128 {
        match (value.as_inst(), value.as_const()) {
            (Some(inst), _) => self.slots[inst].bits,
            (None, Some(constant)) => self.region.consts[constant].bits,
            (None, None) => 0,
        }
    }

    /// The first operand, of the instruction's type; integers are read as 64 bits.
    fn typed(&self, inst: &Inst) -> u128 {
        let v = inst.args[0];
        if inst.ty.is_int() { u128::from(self.value(v) as u64) } else { self.value(v) }
    }

    /// The value of a flags bundle.
    fn flags(&self, value: Value) -> FlagSet {
        FlagSet::from_bits_truncate(self.value(value) as u32)
    }

    /// The flags that an instruction defined.
    fn slot_flags(&self, value: Value) -> FlagSet {
        value.as_inst().map_or(FlagSet::empty(), |inst| self.slots[inst].flags)
    }

    /// What an instruction defined besides its result.
    fn slot(&self, value: Value) -> Slot {
        value.as_inst().map_or_else(Slot::default, |inst| self.slots[inst])
    }
}
