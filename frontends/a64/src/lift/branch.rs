//! Branches, exception generation, hints and barriers (Arm ARM C4.1.91).

use super::{Lifter, condition, signed};
use crate::decode::a64::{
    B, BCond, Bl, Blr, Br, Brk, Cbnz, Cbz, Clrex, Dmb, Dsb, Hint, Isb, Ret, Sb, Svc, Tbnz, Tbz, Udf,
};
use crate::state::{EXCLUSIVE, LR, NOT_EXCLUSIVE};
use crate::{exception, syscall};
use isamorph_ir::{Cond, ExitKind, Op, Type, Value};

/// The target of a branch with an offset of `width` bits.
pub(super) fn target(pc: u64, offset: u32, width: u32) -> u64 {
    pc.wrapping_add_signed(signed(offset, width) << 2)
}

/// The target of an unconditional branch or call.
pub(super) fn target26(pc: u64, imm26: u32) -> u64 {
    target(pc, imm26, 26)
}

pub(super) fn b(cx: &mut Lifter<'_>, a: &B) {
    let pc = target26(cx.pc, a.imm26);
    cx.exit(ExitKind::Direct { pc });
}

/// A call to the next instruction only gets its address; nothing returns from it.
pub(super) fn bl(cx: &mut Lifter<'_>, a: &Bl) {
    let (pc, ret) = (target26(cx.pc, a.imm26), cx.next());
    link(cx);
    if pc != ret {
        cx.exit(ExitKind::Call { pc, ret });
    }
}

/// X30 = the address of the next instruction.
pub(super) fn link(cx: &mut Lifter<'_>) {
    let ret = cx.constant(Type::I64, cx.next());
    cx.b.set(LR, ret);
}

/// A side exit; the region goes on where the branch is not taken.
fn branch_if(cx: &mut Lifter<'_>, cond: Cond, flags: Value, pc: u64) {
    if pc != cx.next() {
        cx.b.exit_if(cond, flags, ExitKind::Direct { pc });
    }
}

pub(super) fn b_cond(cx: &mut Lifter<'_>, a: &BCond) {
    let pc = target(cx.pc, a.imm19, 19);
    match condition(a.cond) {
        Some(cond) => {
            let flags = cx.flags();
            branch_if(cx, cond, flags, pc);
        }
        None => cx.exit(ExitKind::Direct { pc }),
    }
}

fn compare_and_branch(cx: &mut Lifter<'_>, cond: Cond, wide: bool, rt: u32, imm19: u32) {
    let pc = target(cx.pc, imm19, 19);
    let v = cx.reg(wide, rt);
    let flags = cx.test_zero(v);
    branch_if(cx, cond, flags, pc);
}

pub(super) fn cbz(cx: &mut Lifter<'_>, a: &Cbz) {
    compare_and_branch(cx, Cond::E, a.sf == 1, a.rt, a.imm19);
}

pub(super) fn cbnz(cx: &mut Lifter<'_>, a: &Cbnz) {
    compare_and_branch(cx, Cond::Ne, a.sf == 1, a.rt, a.imm19);
}

/// Branches if the bit is set, or clear. A sign is the flag S; a bit of the upper half is looked for there, because an
/// immediate mask has 32 bits.
fn test_and_branch(cx: &mut Lifter<'_>, set: bool, bit: u32, rt: u32, imm14: u32) {
    let pc = target(cx.pc, imm14, 14);
    if bit == 31 || bit == 63 {
        let v = cx.reg(bit == 63, rt);
        let flags = cx.test_zero(v);
        return branch_if(cx, if set { Cond::S } else { Cond::Ns }, flags, pc);
    }
    let word = if bit < 32 {
        cx.w(rt)
    } else {
        let full = cx.x(rt);
        cx.b.field(Type::I32, full, 32)
    };
    let mask = cx.constant(Type::I32, 1 << (bit & 31));
    let and = cx.b.bin(Op::And, word, mask);
    let flags = cx.b.flags(and);
    branch_if(cx, if set { Cond::Ne } else { Cond::E }, flags, pc);
}

pub(super) fn tbz(cx: &mut Lifter<'_>, a: &Tbz) {
    test_and_branch(cx, false, a.bit, a.rt, a.imm14);
}

pub(super) fn tbnz(cx: &mut Lifter<'_>, a: &Tbnz) {
    test_and_branch(cx, true, a.bit, a.rt, a.imm14);
}

pub(super) fn br(cx: &mut Lifter<'_>, a: &Br) {
    let target = cx.x(a.rn);
    cx.exit(ExitKind::Indirect { target });
}

pub(super) fn blr(cx: &mut Lifter<'_>, a: &Blr) {
    let target = cx.x(a.rn);
    link(cx);
    cx.exit(ExitKind::IndirectCall { target, ret: cx.next() });
}

pub(super) fn ret(cx: &mut Lifter<'_>, a: &Ret) {
    let target = cx.x(a.rn);
    cx.exit(ExitKind::Return { target });
}

/// Linux ignores the immediate.
pub(super) fn svc(cx: &mut Lifter<'_>, _: &Svc) {
    cx.exit(ExitKind::Syscall { next: cx.next(), code: syscall::SVC });
}

pub(super) fn brk(cx: &mut Lifter<'_>, a: &Brk) {
    cx.raise(exception::BREAKPOINT, u64::from(a.imm16));
}

/// Permanently undefined.
pub(super) fn udf(cx: &mut Lifter<'_>, _: &Udf) {
    cx.undefined();
}

/// Those that wait may go on at once; branch targets have no effect without their extension.
pub(super) fn hint(_: &mut Lifter<'_>, _: &Hint) {}

/// The host keeps loads, and stores among themselves, in order: only a barrier between stores and later loads needs an
/// instruction.
fn barrier(cx: &mut Lifter<'_>, crm: u32) {
    const LOADS: u32 = 0b01;
    const STORES: u32 = 0b10;
    if !matches!(crm & 3, LOADS | STORES) {
        cx.b.fence();
    }
}

pub(super) fn dmb(cx: &mut Lifter<'_>, a: &Dmb) {
    barrier(cx, a.crm);
}

pub(super) fn dsb(cx: &mut Lifter<'_>, a: &Dsb) {
    barrier(cx, a.crm);
}

/// Stores to code take effect at once.
pub(super) fn isb(_: &mut Lifter<'_>, _: &Isb) {}

pub(super) fn sb(_: &mut Lifter<'_>, _: &Sb) {}

pub(super) fn clrex(cx: &mut Lifter<'_>, _: &Clrex) {
    let nothing = cx.constant(Type::I64, NOT_EXCLUSIVE);
    cx.b.set(EXCLUSIVE, nothing);
}
