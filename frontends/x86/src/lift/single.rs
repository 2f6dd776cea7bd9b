//! How instructions end in a machine: interrupt shadows, single steps, breakpoints, code that runs off its segment.
//!
//! Where something happens at the end of each instruction, a region is one instruction (`Mode::is_single`), and all its
//! exits go to the dispatcher, which then looks at interrupts, traps and the new mode.

use super::Lifter;
use crate::state::{CS_LIMIT, EFLAGS_REST, SHADOW, eflag};
use crate::{exception, helpers};
use isamorph_ir::{Cond, ExitKind, Op, Type, Value};

/// What an instruction makes wait for the end of the next one (SDM vol. 3, 6.8.3).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) enum Shadow {
    /// Nothing.
    #[default]
    None = 0,
    /// Interrupts: `sti`.
    Interrupts = 1,
    /// Debug traps and NMIs, too: a load of SS.
    Traps = 3,
}

/// What the end of an instruction has to see to.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Ending {
    /// Whether it has been seen to: before the first exit that goes on.
    settled: bool,
    /// What waits for the end of the next instruction: a value of [`SHADOW`].
    casts: Shadow,
    /// Whether the one before did, in the same region.
    in_shadow: bool,
    /// Whether the instruction takes the place of what follows it: no single-step trap, and the flags are as it made
    /// them.
    takes_over: bool,
}

impl Ending {
    /// Begins an instruction.
    pub(super) fn begin(&mut self) {
        *self = Ending { in_shadow: self.in_shadow, ..Ending::default() };
    }
    fn casts_shadow(self) -> bool {
        self.casts != Shadow::None
    }
}

impl Lifter<'_> {
    /// Leaves the region, which ends it.
    pub(crate) fn exit(&mut self, kind: ExitKind) {
        let kind = self.way_out(kind);
        self.b.exit(kind);
        self.done = true;
    }
    /// Leaves the region if the condition holds.
    pub(crate) fn exit_if(&mut self, cond: Cond, flags: Value, kind: ExitKind) {
        let kind = self.way_out(kind);
        self.b.exit_if(cond, flags, kind);
    }
    /// What an exit is at the end of this instruction, after what has to be done before it.
    fn way_out(&mut self, kind: ExitKind) -> ExitKind {
        if !self.mode.in_machine() || matches!(kind, ExitKind::Exception { .. }) {
            return kind;
        }
        self.settle();
        if !self.mode.is_single() && !self.ending.in_shadow && !self.ending.casts_shadow() {
            return kind;
        }
        match kind {
            ExitKind::Direct { pc } | ExitKind::Call { pc, .. } => ExitKind::Resync { next: pc },
            ExitKind::IndirectCall { target, .. } | ExitKind::Return { target } | ExitKind::Indirect { target } => {
                ExitKind::ResyncTo { target }
            }
            _ => kind,
        }
    }
    /// Does what is due at the end of the instruction, once.
    fn settle(&mut self) {
        if self.ending.settled {
            return;
        }
        self.ending.settled = true;
        if self.ending.casts_shadow() || self.mode.is_shadowed() {
            let shadow = self.b.iconst(Type::I32, self.ending.casts as u64);
            self.b.set(SHADOW, shadow);
        }
        if self.ending.takes_over {
            return;
        }
        if self.mode.is_debugged() {
            let rest = self.b.get(EFLAGS_REST);
            let others = self.b.iconst(Type::I32, u64::from(!eflag::RF));
            let rest = self.b.bin(Op::And, rest, others);
            self.b.set(EFLAGS_REST, rest);
        }
        if self.mode.steps() && self.ending.casts != Shadow::Traps {
            self.call(helpers::SINGLE_STEP, Type::None, &[]);
        }
    }
    /// The instruction leaves the flags as they have to be, and is not followed by a single-step trap.
    pub(super) fn take_over(&mut self) {
        self.ending.takes_over = true;
    }
    /// The instruction makes something wait for the end of the next one.
    pub(super) fn cast_shadow(&mut self, shadow: Shadow) {
        if self.mode.in_machine() {
            self.ending.casts = shadow;
        }
    }
    /// Hands the shadow of an instruction to the next one, if that is to be in the same region, or ends the region
    /// behind an instruction in a shadow.
    pub(super) fn pass_shadow(&mut self) {
        if self.done {
            return;
        }
        if self.ending.in_shadow {
            return self.exit(ExitKind::Direct { pc: self.next });
        }
        self.ending.in_shadow = self.ending.casts_shadow();
    }
    /// Whether the instruction is not all inside the code segment. Where the limit is a value of the state, the check
    /// is lifted.
    pub(super) fn leaves_code_segment(&mut self) -> bool {
        let last = self.insn.next_ip().wrapping_sub(1);
        self.check_code_offset_const(last)
    }
    /// Whether a known offset lies behind the end of the code segment; where the limit is a value of the state, the
    /// check is lifted.
    pub(super) fn check_code_offset_const(&mut self, offset: u64) -> bool {
        if self.mode.ends_elsewhere() {
            let offset = self.b.iconst(Type::I32, offset);
            self.check_code_offset(offset);
        }
        self.mode.last_offset().is_some_and(|last| offset > last)
    }
    /// Raises #GP if an offset (32 bits) lies behind the end of the code segment.
    pub(super) fn check_code_offset(&mut self, offset: Value) {
        let limit = match self.mode.last_offset() {
            Some(last) => self.b.iconst(Type::I32, last),
            None if self.mode.ends_elsewhere() => self.b.get(CS_LIMIT),
            None => return,
        };
        let difference = self.b.bin(Op::Sub, limit, offset);
        let flags = self.b.flags(difference);
        self.raise_if(Cond::B, flags, exception::GP, 0);
    }
}
