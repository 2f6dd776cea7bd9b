//! Transfers of control that look at descriptors and gates: helpers do them and tell where to go on.

use super::control::{Far, parameter_bytes};
use super::{Lifter, segment};
use crate::helpers;
use iced_x86::{Code, Mnemonic};
use isamorph_ir::{Cond, ExitKind, HelperId, Type, Value};

/// What sort of software interrupt it is, for `helpers::INTERRUPT`.
#[derive(Clone, Copy)]
enum Software {
    /// `int n`.
    Int = 0,
    /// `int3` and `into`, which virtual-8086 mode always allows.
    Trap = 1,
    /// `int1`, which no gate's privilege level keeps from.
    Debug = 2,
}

/// Lifts the instruction if it is one of these.
pub(super) fn lift(cx: &mut Lifter<'_>, m: Mnemonic) -> bool {
    use Mnemonic as M;
    match m {
        M::Jmp => return far(cx, helpers::FAR_JUMP),
        M::Call => return far(cx, helpers::FAR_CALL),
        M::Retf => {
            let arguments = [operand_bytes(cx), parameter_bytes(cx).into(), cx.next];
            transfer(cx, helpers::FAR_RETURN, arguments);
        }
        M::Iret | M::Iretd | M::Iretq => {
            cx.take_over();
            let arguments = [operand_bytes(cx), cx.next, 0];
            transfer(cx, helpers::IRET, arguments);
        }
        M::Int => software(cx, cx.imm(0) & 0xff, Software::Int),
        M::Int3 => software(cx, 3, Software::Trap),
        M::Int1 => software(cx, 1, Software::Debug),
        M::Into => {
            let flags = cx.flags();
            cx.exit_if(Cond::No, flags, ExitKind::Direct { pc: cx.next });
            software(cx, 4, Software::Trap);
        }
        M::Syscall => enter(cx, helpers::SYSCALL),
        M::Sysenter => enter(cx, helpers::SYSENTER),
        M::Sysret | M::Sysretq => leave(cx, helpers::SYSRET),
        M::Sysexit | M::Sysexitq => leave(cx, helpers::SYSEXIT),
        M::Rsm => {
            cx.take_over();
            transfer(cx, helpers::RSM, [0; 3]);
        }
        _ => return false,
    }
    true
}

/// Calls a helper that transfers control, and goes where it says.
fn transfer(cx: &mut Lifter<'_>, helper: HelperId, arguments: [u64; 3]) {
    let arguments = arguments.map(|n| cx.b.iconst(Type::I64, n));
    transfer_with(cx, helper, &arguments);
}

fn transfer_with(cx: &mut Lifter<'_>, helper: HelperId, arguments: &[Value]) {
    let target = cx.call(helper, Type::I64, arguments);
    cx.exit(ExitKind::ResyncTo { target });
}

/// The operand size of a far return, in bytes.
fn operand_bytes(cx: &Lifter<'_>) -> u64 {
    match cx.insn.code() {
        Code::Retfw | Code::Retfw_imm16 | Code::Iretw => 2,
        Code::Retfq | Code::Retfq_imm16 | Code::Iretq | Code::Sysretq | Code::Sysexitq => 8,
        _ => 4,
    }
}

/// A far jump or call; false if the instruction is a near one.
fn far(cx: &mut Lifter<'_>, helper: HelperId) -> bool {
    let Some(far) = Far::of(cx) else { return false };
    let (offset, selector, size) = match far {
        Far::Pointer(offset, selector) => {
            let size = if cx.insn.op0_kind() == iced_x86::OpKind::FarBranch16 { 2 } else { 4 };
            let [offset, selector] = [offset, selector].map(|n| cx.b.iconst(Type::I64, n));
            (offset, selector, size)
        }
        Far::Memory(ty) => {
            let (offset, selector) = segment::far_pointer(cx, ty);
            (cx.zext(offset, Type::I64), cx.zext(selector, Type::I64), ty.bytes())
        }
    };
    let selector = cx.add_const(selector, i64::from(size) << 16);
    let next = cx.b.iconst(Type::I64, cx.next);
    transfer_with(cx, helper, &[selector, offset, next]);
    true
}

/// A software interrupt: its handler starts with TF clear, so that no single-step trap follows.
fn software(cx: &mut Lifter<'_>, vector: u64, kind: Software) {
    cx.take_over();
    let arguments = [vector, kind as u64, cx.next];
    transfer(cx, helpers::INTERRUPT, arguments);
}

fn enter(cx: &mut Lifter<'_>, helper: HelperId) {
    cx.take_over();
    let next = cx.next;
    transfer(cx, helper, [next, 0, 0]);
}

fn leave(cx: &mut Lifter<'_>, helper: HelperId) {
    cx.take_over();
    let size = operand_bytes(cx);
    transfer(cx, helper, [size, 0, 0]);
}
