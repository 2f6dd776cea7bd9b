//! The optimiser: IR to IR, between the front end and the back end.
//!
//! Every region that is translated passes through it, once, so it is one forward walk that looks at each instruction
//! and where its operands come from, and touches nothing that it cannot improve. Passes are functions of that walk:
//!
//! * [`identity`] and [`eval`]: arithmetic on constants, algebraic identities;
//! * [`width`]: chains of width changes;
//! * [`address`]: constants in address trees;
//! * [`flags`]: edited flags and conditions over them;
//! * [`writes`]: register writes that are hidden by later ones.
//!
//! What it replaces stays where it is, without users: back ends count uses anyway and drop what has none, for less than
//! it would take to renumber a region here. Likewise theirs are liveness, dead flags, and the folding of loads and
//! stores into operations, which depend on what the host can do. Repeated register reads are not there to be removed:
//! the [`isamorph_ir::Builder`] hands out the value it knows.
//!
//! The order of effects is never changed: every write of a register that a fault, an exit or a helper could see is
//! still there, at its place.

mod address;
mod eval;
mod flags;
mod identity;
mod names;
mod width;
mod writes;

use isamorph_ir::{ImmKind, Inst, Op, RegTable, Region, Value};
use names::Names;
use width::Width;
use writes::Writes;

/// The optimiser; it keeps its scratch memory from region to region.
#[derive(Debug, Default)]
pub struct Optimizer {
    names: Names,
    writes: Writes,
}

impl Optimizer {
    /// Optimises a region that has passed the verifier.
    pub fn run(&mut self, region: &mut Region, table: &RegTable) {
        self.names.begin(region.insts.len());
        self.writes.begin(table);
        // Values do not cross blocks, and the last instruction of a block observes all registers.
        for index in 0..region.insts.len() {
            self.inst(region, table, index);
        }
        self.names.end();
    }

    fn inst(&mut self, region: &mut Region, table: &RegTable, index: usize) {
        match region.insts[index].op {
            Op::Insn | Op::Flags | Op::Second => return,
            Op::Get => return self.writes.read(region.insts[index].reg()),
            _ => self.names.apply(region, index),
        }
        let mut inst = region.insts[index];
        if inst.op == Op::Set {
            return self.writes.write(region, table, index);
        }
        self.writes.pass(index, &inst);
        if inst.op.info().imm == ImmKind::Addr {
            address::fold(region, table, inst.imm as usize);
        }
        if let Some(value) = simplify(region, table, &mut inst) {
            self.names.rename(index, value);
        } else {
            region.insts[index] = inst;
        }
    }
}

/// The value that equals the result of an instruction, or a simpler way to say the instruction in its place.
fn simplify(region: &mut Region, table: &RegTable, inst: &mut Inst) -> Option<Value> {
    match inst.op {
        Op::Add | Op::Sub | Op::And | Op::Or | Op::Xor | Op::Mul | Op::Not | Op::Neg => identity::simplify(region, inst),
        Op::Shl | Op::Shr | Op::Sar | Op::Rol | Op::Ror => identity::simplify(region, inst),
        Op::Zext | Op::Sext | Op::Trunc | Op::Field | Op::Ins => loop {
            match width::simplify(region, inst)? {
                Width::Is(value) => return Some(value),
                Width::Becomes(shorter) => *inst = shorter,
            }
        },
        Op::Lea => address::simplify(region, table, inst),
        Op::ExitIf | Op::Branch | Op::X87Cmov => {
            flags::condition(region, inst);
            None
        }
        Op::Select | Op::SetCc => {
            flags::condition(region, inst);
            flags::choice(region, inst)
        }
        Op::FlagsSet | Op::FlagsClear | Op::FlagsNot => flags::edit(region, inst),
        Op::FlagsKeep => flags::merge(inst),
        _ => None,
    }
}
