//! Coprocessor 15 as User mode sees it (DDI 0406C B3.17).

use super::{Lifter, exclusive};
use crate::cpu::Arch;
use crate::decode::coproc::{Cp15Dmb, Cp15Dsb, Cp15Isb, McrThread, MrcThread};
use crate::state::{TPIDRURO, TPIDRURW};

pub(super) fn mrc_thread(cx: &mut Lifter<'_>, a: &MrcThread) {
    if cx.needs(Arch::V6K) {
        let value = cx.b.get(if a.op2 == 3 { TPIDRURO } else { TPIDRURW });
        cx.set_reg(a.rt, value);
    }
}

pub(super) fn mcr_thread(cx: &mut Lifter<'_>, a: &McrThread) {
    if cx.needs(Arch::V6K) {
        let value = cx.reg(a.rt);
        cx.b.set(TPIDRURW, value);
    }
}

pub(super) fn cp15_isb(cx: &mut Lifter<'_>, _: &Cp15Isb) {
    exclusive::barrier(cx, 15);
}

pub(super) fn cp15_dsb(cx: &mut Lifter<'_>, _: &Cp15Dsb) {
    exclusive::barrier(cx, 15);
}

pub(super) fn cp15_dmb(cx: &mut Lifter<'_>, _: &Cp15Dmb) {
    exclusive::barrier(cx, 15);
}
