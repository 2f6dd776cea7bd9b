//! The optimiser: IR to IR, between the front end and the back end.
//!
//! Every region that is translated passes through it, once. It is one forward walk that looks at each instruction and
//! at where its operands come from, and touches nothing that it cannot improve. Passes are functions of that walk:
//!
//! * `writes`: copies of registers that are hidden by later writes;
//! * `width`: width changes;
//! * `flags`: edited flags and conditions over them;
//! * `arithmetic` and `eval`: arithmetic on constants, or without effect.
//!
//! What is replaced stays where it is, without users: back ends count uses anyway and drop what has none, for less than
//! it would take to renumber a region here.
//!
//! # What is not here
//!
//! A pass has to pay for itself in host code. For x86 code on an x86 host little is left to do: the front end's
//! [`isamorph_ir::Builder`] hands out known register values, the back end finds dead flags and dead values, takes
//! constants and sums into addresses and loads and stores into operations, and guest registers have homes in host
//! registers. Measured on the code of BusyBox and the C library, these made the host code larger and slower to make:
//!
//! * dropping hidden register writes other than copies, see `writes`;
//! * replacing `xor reg, reg` by 0 and other results by constants while their flags are used, see `arithmetic`;
//! * taking values out of the `ins` that put them into a register, see `width`;
//! * folding sums into sums and addresses: two-address code has overwritten the operand, which would have to be kept.
//!
//! These made no difference: constants in address trees, `lea` without effect, `select` between equal values.

mod arithmetic;
mod eval;
mod flags;
mod names;
mod roles;
mod width;
mod writes;

use isamorph_ir::{Op, RegTable, Region, Value};
use names::Names;
use roles::Roles;
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
        // Values do not cross blocks, and the last instruction of a block may observe all registers.
        for index in 0..region.insts.len() {
            if !self.names.is_empty() {
                self.names.apply(region, index);
            }
            let roles = Roles::of(region.insts[index].op);
            self.writes.observe(index, roles.contains(Roles::OBSERVES));
            if roles.contains(Roles::WRITES) {
                self.writes.write(region, table, index);
            } else if roles.contains(Roles::VALUE)
                && let Some(value) = simplify(region, index)
            {
                self.names.rename(index, value);
            }
        }
        self.names.end();
    }
}

/// The value that equals the result of an instruction; an instruction may also become a simpler one in its place.
fn simplify(region: &mut Region, index: usize) -> Option<Value> {
    match region.insts[index].op {
        Op::Zext | Op::Sext | Op::Trunc | Op::Field | Op::Ins => width::simplify(region, index),
        Op::ExitIf | Op::Branch | Op::Select | Op::SetCc | Op::X87Cmov => flags::condition(region, index),
        Op::FlagsNot => flags::complement(region, index),
        Op::FlagsKeep => flags::merge(region, index),
        Op::Lzcnt => arithmetic::leading_zeros(region, index),
        _ => arithmetic::simplify(region, index),
    }
}
