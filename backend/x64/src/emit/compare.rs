//! Conditional comparisons: the flags of a comparison if a condition holds, else constant flags.

use super::Emitter;
use super::int::{CMP, Source};
use crate::asm::{Opcode, Rm};
use isamorph_ir::{FlagSet, Inst, Op};

const ADD: u8 = 0;
const SUB: u8 = 5;

/// An operation on bytes: `mov r, a; add r, b`, or `sub`.
#[derive(Clone, Copy)]
struct ByteOp {
    number: u8,
    a: u8,
    b: u8,
}

/// Operands with which all flags of a byte operation that can occur do occur.
const SAMPLES: [u8; 5] = [0, 1, 0x7f, 0x80, 0xff];

impl ByteOp {
    fn flags(self) -> FlagSet {
        let ByteOp { number, a, b } = self;
        let (signed_a, signed_b) = (a as i8, b as i8);
        let (result, carry, overflow) = match number {
            ADD => (a.wrapping_add(b), a.checked_add(b).is_none(), signed_a.checked_add(signed_b).is_none()),
            _ => (a.wrapping_sub(b), a < b, signed_a.checked_sub(signed_b).is_none()),
        };
        let flag = |set, flag| if set { flag } else { FlagSet::empty() };
        flag(carry, FlagSet::C)
            | flag(overflow, FlagSet::O)
            | flag(result == 0, FlagSet::Z)
            | flag(result > 127, FlagSet::S)
    }

    /// An operation whose result has those of the needed flags.
    fn with_flags(flags: FlagSet, needed: FlagSet) -> Option<Self> {
        let samples = || SAMPLES.into_iter();
        [SUB, ADD]
            .into_iter()
            .flat_map(|number| samples().flat_map(move |a| samples().map(move |b| ByteOp { number, a, b })))
            .find(|op| op.flags() & needed == flags & needed)
    }
}

impl Emitter<'_> {
    /// `cmpif` and `cmnif`.
    pub fn compare_if(&mut self, i: usize, inst: &Inst) {
        let size = inst.ty.bytes();
        let a = self.reg(inst.args[0]);
        let source = self.source(inst.args[1]);
        let t = self.scratch(false);
        self.ensure_flags(i, inst.args[2]);
        self.clobber_flags(i);
        let otherwise = self.short_jump(inst.cond().invert() as u8);
        if inst.op == Op::CmpIf {
            self.alu_op(CMP, size, Rm::Reg(a), source);
        } else {
            self.asm.op(Opcode::one(0x8b), size, t, Rm::Reg(a));
            self.alu_op(ADD, size, Rm::Reg(t), source);
        }
        self.asm.u8(0xeb);
        let done = self.asm.pos();
        self.asm.u8(0);
        self.asm.patch_short(otherwise);
        self.constant_flags(FlagSet::from_attr(inst.imm as u8), self.facts.facts[i].flags_needed, t);
        self.asm.patch_short(done);
        self.flags_defined(i);
    }

    /// A jump under a condition that [`crate::asm::Asm::patch_short`] gives its target.
    pub fn short_jump(&mut self, condition: u8) -> u32 {
        self.asm.u8(0x70 | condition);
        let at = self.asm.pos();
        self.asm.u8(0);
        at
    }

    /// Constant flags, by an operation on a scratch register if there is one that has them.
    fn constant_flags(&mut self, flags: FlagSet, needed: FlagSet, t: u8) {
        let needed = needed - FlagSet::P - FlagSet::A;
        if let Some(ByteOp { number, a, b }) = ByteOp::with_flags(flags, needed) {
            self.mov_imm(t, a.into());
            return self.alu_op(number, 1, Rm::Reg(t), Source::Imm(i32::from(b as i8)));
        }
        self.asm.u8(0x68); // push imm32
        self.asm.u32(flags.bits());
        self.asm.u8(0x9d); // popfq
    }
}
