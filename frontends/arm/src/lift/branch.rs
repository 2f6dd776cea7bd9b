//! Branches, and writes of R15 by other instructions (DDI 0406C A2.3.1, A4.3).

use super::conditional::store_it;
use super::{Lifter, conditional};
use crate::cpu::Arch;
use crate::state::LR;
use isamorph_ir::{Cond, ExitKind, Op, Value};

/// Goes to a known place, if the condition holds that this instruction has.
pub(super) fn direct(cx: &mut Lifter<'_>, target: u32, thumb: bool) {
    let pc = u64::from(target | u32::from(thumb));
    match cx.selected.take() {
        None => cx.exit(ExitKind::Direct { pc }),
        Some(cond) => {
            let flags = cx.flags();
            exit_if(cx, cond, flags, pc);
        }
    }
}

/// Goes to a known place if a condition holds.
pub(super) fn exit_if(cx: &mut Lifter<'_>, cond: Cond, flags: Value, pc: u64) {
    let it = cx.next_it();
    store_it(cx, it);
    cx.b.exit_if(cond, flags, ExitKind::Direct { pc });
}

/// Calls a known place.
pub(super) fn call(cx: &mut Lifter<'_>, target: u32, thumb: bool) {
    let ret = cx.next();
    let link = cx.int(ret as u32);
    cx.b.set(LR, link);
    cx.exit(ExitKind::Call { pc: u64::from(target | u32::from(thumb)), ret });
}

/// Calls a computed place; bit 0 of the target tells the instruction set.
pub(super) fn call_indirect(cx: &mut Lifter<'_>, rm: u32) {
    let target = cx.reg(rm);
    let ret = cx.next();
    let link = cx.int(ret as u32);
    cx.b.set(LR, link);
    cx.exit(ExitKind::IndirectCall { target, ret });
}

/// Goes to a computed place; bit 0 of the target tells the instruction set.
pub(super) fn exchange(cx: &mut Lifter<'_>, target: Value, is_return: bool) {
    cx.exit(if is_return { ExitKind::Return { target } } else { ExitKind::Indirect { target } });
}

/// BX and BXJ.
pub(super) fn bx(cx: &mut Lifter<'_>, rm: u32) {
    let target = cx.reg(rm);
    exchange(cx, target, rm == 14);
}

/// R15 as the destination of data processing: as BX in A32 state from v7 on, else a branch in the same state.
pub(super) fn alu_write_pc(cx: &mut Lifter<'_>, target: Value, moved: bool) {
    let is_return = moved && target == cx.reg(14);
    let target = match (cx.thumb, cx.cpu.arch >= Arch::V7) {
        (true, _) => cx.bin_const(Op::Or, target, 1),
        (false, true) => target,
        (false, false) => cx.bin_const(Op::And, target, !3),
    };
    exchange(cx, target, is_return);
}

/// The branch of TBB and TBH: twice the offset from R15.
pub(super) fn table(cx: &mut Lifter<'_>, offset: Value) {
    let base = cx.pc_value() | 1;
    let doubled = cx.shift(Op::Shl, offset, 1);
    let target = cx.bin_const(Op::Add, doubled, base);
    exchange(cx, target, false);
}

/// CBZ and CBNZ.
pub(super) fn compare_zero(cx: &mut Lifter<'_>, rn: u32, not: bool, target: u32) {
    let value = cx.reg(rn);
    let tested = cx.b.bin(Op::And, value, value);
    let flags = cx.b.flags(tested);
    let cond = if not { Cond::Ne } else { Cond::E };
    exit_if(cx, cond, flags, u64::from(target | 1));
}

/// A direct branch with a condition of its own (T16, T32 outside IT blocks).
pub(super) fn conditional_branch(cx: &mut Lifter<'_>, field: u32, target: u32) {
    match conditional::condition(field) {
        None => cx.exit(ExitKind::Direct { pc: u64::from(target | 1) }),
        Some(cond) => {
            let flags = cx.flags();
            exit_if(cx, cond, flags, u64::from(target | 1));
        }
    }
}
