//! Conditional execution: A32 condition fields and IT blocks (DDI 0406C A8.3, B1.3.3).
//!
//! An instruction that only computes a register is executed in any case, and its result selected. Others go to a block
//! of their own, together with the instructions after them as long as the condition and the flags are the same.
//!
//! The state's ITSTATE has to be right where an instruction of an IT block may fault, and wherever the region is left;
//! in between it is not kept.

use super::{Lifter, alu};
use crate::decode::{Insn, a32, t16, t32};
use crate::state::ITSTATE;
use isamorph_ir::{Cond, ExitKind, Value};

/// A block of instructions that are executed if a condition holds.
#[derive(Clone, Copy)]
pub(super) struct Group {
    cond: Cond,
    /// Whether the flags are still those that the condition was looked for in, and the block has no end.
    open: bool,
    /// Whether the block has its terminator.
    ended: bool,
    /// What the state's ITSTATE was before the block.
    stored_it: Option<u32>,
}

/// A condition field; nothing for "always".
pub(super) fn condition(field: u32) -> Option<Cond> {
    const TABLE: [Cond; 14] = [
        Cond::E,
        Cond::Ne,
        Cond::Ae,
        Cond::B,
        Cond::S,
        Cond::Ns,
        Cond::O,
        Cond::No,
        Cond::A,
        Cond::Be,
        Cond::Ge,
        Cond::L,
        Cond::G,
        Cond::Le,
    ];
    TABLE.get(field as usize).copied()
}

/// The condition of an instruction; an error for the one that does not exist.
pub(super) fn of(cx: &Lifter<'_>, word: u32) -> Result<Option<Cond>, ()> {
    match (cx.thumb, cx.mode.it) {
        (false, _) => Ok(condition(word >> 28)),
        (true, 0) => Ok(None),
        (true, it) => Ok(condition(it >> 4)),
    }
}

/// Starts an instruction with that condition.
pub(super) fn begin(cx: &mut Lifter<'_>, insn: Insn, cond: Option<Cond>) {
    if cx.group.is_some_and(|group| !group.open || Some(group.cond) != cond) {
        close(cx);
    }
    if cx.mode.it == 0 || may_fault(insn) {
        store_it(cx, cx.mode.it);
    }
    let (pc, len) = (cx.here(), cx.len);
    cx.b.insn(pc, len as u8);
    let Some(cond) = cond.filter(|_| cx.group.is_none()) else { return };
    if only_computes(insn) || is_branch(insn) {
        cx.selected = Some(cond);
        return;
    }
    let flags = cx.flags();
    cx.b.branch(cond.invert(), flags, cx.block + 2);
    next_block(cx);
    cx.group = Some(Group { cond, open: true, ended: false, stored_it: cx.stored_it });
}

fn next_block(cx: &mut Lifter<'_>) {
    cx.b.next_block();
    cx.block += 1;
    cx.compared = (Value::NONE, Value::NONE);
}

/// Ends the block of conditional instructions, if there is one.
pub(super) fn close(cx: &mut Lifter<'_>) {
    let Some(group) = cx.group.take() else { return };
    if group.ended {
        cx.stored_it = group.stored_it;
        if cx.done {
            return;
        }
    } else {
        cx.b.jump(cx.block + 1);
        if cx.stored_it != group.stored_it {
            cx.stored_it = None;
        }
    }
    next_block(cx);
}

/// Ends the region before the next instruction.
pub(super) fn finish(cx: &mut Lifter<'_>) {
    close(cx);
    // The next instruction is already the current one.
    store_it(cx, cx.mode.it);
    let pc = cx.here();
    cx.b.exit(ExitKind::Direct { pc });
    cx.done = true;
}

/// Notes that the instruction ended its block.
pub(super) fn block_ended(cx: &mut Lifter<'_>) {
    match &mut cx.group {
        Some(group) => (group.open, group.ended) = (false, true),
        None => cx.done = true,
    }
}

/// Notes that the flags are no longer those that the open block depends on.
pub(super) fn flags_changed(cx: &mut Lifter<'_>) {
    if let Some(group) = &mut cx.group {
        group.open = false;
    }
}

impl Lifter<'_> {
    /// The ITSTATE of the next instruction (DDI 0406C A2.5.2, ITAdvance).
    pub(super) fn next_it(&self) -> u32 {
        let it = self.mode.it;
        if it & 7 == 0 { 0 } else { it & 0xe0 | it << 1 & 0x1f }
    }
}

/// Makes the state's ITSTATE what it has to be.
pub(super) fn store_it(cx: &mut Lifter<'_>, it: u32) {
    if cx.stored_it != Some(it) {
        let value = cx.int(it);
        cx.b.set(ITSTATE, value);
        cx.stored_it = Some(it);
    }
}

/// Whether an instruction of an IT block may fault, or else show the state; where in doubt, yes.
fn may_fault(insn: Insn) -> bool {
    match insn {
        Insn::T16(insn) => {
            // Below the loads and above them: shifts to high registers, miscellaneous without push, pop and traps.
            let calm = insn.word < 0x4800 || (0xa000..0xb400).contains(&insn.word);
            !calm && !matches!(insn.kind, t16::Kind::Extend | t16::Kind::Rev | t16::Kind::Hint)
        }
        Insn::T32(insn) => !matches!(insn.word >> 24, 0xea | 0xeb | 0xf0..=0xf3 | 0xfa | 0xfb),
        _ => true,
    }
}

/// Whether the instruction is a direct branch, which leaves by a conditional exit.
fn is_branch(insn: Insn) -> bool {
    match insn {
        Insn::A32(insn) => insn.kind == a32::Kind::Branch && insn.word & 1 << 24 == 0,
        Insn::T16(insn) => insn.kind == t16::Kind::Branch,
        Insn::T32(insn) => insn.kind == t32::Kind::Branch,
        _ => false,
    }
}

/// Whether the only thing that an instruction does is to write integer registers by [`Lifter::set_reg`].
fn only_computes(insn: Insn) -> bool {
    match insn {
        Insn::A32(insn) => a32_computes(insn),
        Insn::T16(insn) => t16_computes(insn),
        Insn::T32(insn) => t32_computes(insn),
        _ => false,
    }
}

fn a32_computes(insn: a32::Insn) -> bool {
    use a32::Kind as K;
    let (sets_flags, rd) = (insn.word & 1 << 20 != 0, insn.word >> 12 & 15);
    match insn.kind {
        K::DataImm | K::DataReg | K::DataShiftReg => !sets_flags && rd != 15 && !alu::only_flags(insn.word >> 21 & 15),
        K::Movw | K::Movt | K::Clz | K::Extend | K::Rev | K::Rev16 | K::Revsh | K::Rbit => rd != 15,
        K::BitExtract | K::BitInsert | K::Pkh => rd != 15,
        K::Mul | K::Mla => !sets_flags && insn.word >> 16 & 15 != 15,
        _ => false,
    }
}

fn t16_computes(insn: t16::Insn) -> bool {
    use t16::Kind as K;
    let word = insn.word;
    match insn.kind {
        K::ShiftImm | K::AddSubReg | K::AddSubImm3 | K::Adr | K::AddSpReg | K::Extend | K::Rev => true,
        K::Imm8Ops => word >> 11 & 3 != 1,
        K::Data => !matches!(word >> 6 & 15, 8 | 10 | 11),
        K::AddHi | K::MovHi => word & 0x87 != 0x87,
        _ => false,
    }
}

fn t32_computes(insn: t32::Insn) -> bool {
    use t32::Kind as K;
    let (sets_flags, rd) = (insn.word & 1 << 20 != 0, insn.word >> 8 & 15);
    match insn.kind {
        K::DataImm | K::DataReg | K::ShiftReg => !sets_flags && rd != 15,
        K::AddWide | K::SubWide | K::Movw | K::Movt | K::BitExtract | K::BitInsert => rd != 15,
        K::Clz | K::Extend | K::Reverse | K::Mls => rd != 15,
        K::Mla => rd != 15,
        _ => false,
    }
}
