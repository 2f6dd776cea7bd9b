//! Status registers, IT, SETEND, exceptions (DDI 0406C A8.8, B1.3.3).

use super::Lifter;
use crate::cpu::Arch;
use crate::state::{E, FLAGS, FPFLAGS, FPSCR_REST, GE, MXCSR, Q, QC};
use crate::{exception, helpers};
use isamorph_ir::{Cond, ExitKind, Op, Type, Value};

/// MRS of APSR; User mode has no SPSR.
pub(super) fn mrs(cx: &mut Lifter<'_>, spsr: bool, rd: u32) {
    if cx.require(!spsr) {
        let value = cx.b.call(helpers::READ_APSR, Type::I32, &[]);
        cx.set_reg(rd, value);
    }
}

/// MSR to CPSR, as far as User mode may.
pub(super) fn msr(cx: &mut Lifter<'_>, spsr: bool, mask: u32, value: Value) {
    if !cx.require(!spsr) {
        return;
    }
    let bytes = cx.int(mask);
    cx.b.call(helpers::WRITE_APSR, Type::None, &[value, bytes]);
    for reg in [FLAGS, Q, GE] {
        cx.b.forget(reg);
    }
    super::conditional::flags_changed(cx);
    if mask & 2 != 0 {
        // The byte order may have changed, and with it the meaning of the code that follows.
        cx.exit(ExitKind::Resync { next: cx.next() });
    }
}

/// IT.
pub(super) fn it(cx: &mut Lifter<'_>, cond: u32, mask: u32) {
    if cx.needs(Arch::V6T2) && cx.require(cx.mode.it == 0) {
        cx.mode.it = cond << 4 | mask;
    }
}

/// SETEND.
pub(super) fn setend(cx: &mut Lifter<'_>, big: bool) {
    if cx.needs(Arch::V6) {
        let value = cx.int(u32::from(big));
        cx.b.set(E, value);
        cx.exit(ExitKind::Resync { next: cx.next() });
    }
}

/// SVC.
pub(super) fn svc(cx: &mut Lifter<'_>, code: u32) {
    let next = cx.next();
    cx.exit(ExitKind::Syscall { next, code });
}

/// BKPT.
pub(super) fn bkpt(cx: &mut Lifter<'_>, imm: u32) {
    cx.raise(exception::BREAKPOINT, u64::from(imm));
}

/// VMRS of FPSCR; to R15 the comparison flags become those of APSR.
pub(super) fn read_fpscr(cx: &mut Lifter<'_>, rt: u32) {
    if rt != 15 {
        let value = cx.b.call(helpers::READ_FPSCR, Type::I32, &[]);
        return cx.set_reg(rt, value);
    }
    let bits = cx.b.get(FPFLAGS);
    let flags = match cx.compared {
        (known, flags) if known == bits => flags,
        _ => cx.b.bits_flags(bits),
    };
    cx.set_flags(flags);
}

/// VMSR of FPSCR. If that changes the mode, the code after it is looked up anew.
pub(super) fn write_fpscr(cx: &mut Lifter<'_>, rt: u32) {
    let value = cx.reg(rt);
    let changed = cx.b.call(helpers::WRITE_FPSCR, Type::I32, &[value]);
    for reg in [FPFLAGS, FPSCR_REST, MXCSR, QC] {
        cx.b.forget(reg);
    }
    let tested = cx.b.bin(Op::And, changed, changed);
    let flags = cx.b.flags(tested);
    let it = cx.next_it();
    super::conditional::store_it(cx, it);
    let next = cx.next();
    cx.b.exit_if(Cond::Ne, flags, ExitKind::Resync { next });
}
