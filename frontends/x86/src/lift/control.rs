//! Jumps, calls, returns and loops (SDM vol. 1, 6.4).

use super::stack::{load_above, push_values, release, set_eflags_image};
use super::{Lifter, segment};
use crate::exception;
use crate::state::{ECX, ESP, selector};
use iced_x86::{Code, OpKind, Register};
use isamorph_ir::{Cond, ExitKind, Op, Type, Value};

/// The target of a near direct branch, if the instruction is one.
pub(super) fn direct_target(insn: &iced_x86::Instruction) -> Option<u64> {
    match insn.op0_kind() {
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => Some(insn.near_branch_target()),
        _ => None,
    }
}

/// The address that a near direct branch goes to; nothing if it is behind the end of the segment, which raises #GP.
fn target(cx: &mut Lifter<'_>) -> Option<Option<u64>> {
    let offset = direct_target(&cx.insn)?;
    if cx.check_code_offset_const(offset) {
        return Some(None);
    }
    Some(Some(cx.mode.linear(offset)))
}

/// The computed target of a near branch.
fn computed_target(cx: &mut Lifter<'_>) -> Value {
    let v = cx.read_op(0);
    cx.code_address(v)
}

/// `jmp`.
pub(super) fn jmp(cx: &mut Lifter<'_>) {
    if let Some(target) = target(cx) {
        match target {
            Some(pc) => cx.exit(ExitKind::Direct { pc }),
            None => cx.raise(exception::GP, 0),
        }
    } else if let Some(far) = Far::of(cx) {
        let offset = far.target(cx);
        cx.exit(ExitKind::Indirect { target: offset });
    } else {
        let target = computed_target(cx);
        cx.exit(ExitKind::Indirect { target });
    }
}

/// `jcc`: a side exit; the region goes on where the jump is not taken.
pub(super) fn jcc(cx: &mut Lifter<'_>, cond: Cond) {
    let flags = cx.flags();
    branch(cx, cond, flags, |_| {});
}

/// Goes to the target of the instruction if the condition holds. `write` writes registers, once it is known that the
/// target is in the segment.
fn branch(cx: &mut Lifter<'_>, cond: Cond, flags: Value, write: impl FnOnce(&mut Lifter<'_>)) {
    let Some(offset) = direct_target(&cx.insn) else { return };
    if cx.mode.last_offset().is_some_and(|last| offset > last) {
        cx.raise_if(cond, flags, exception::GP, 0);
        return write(cx);
    }
    if cx.mode.ends_elsewhere() {
        // The target if the jump is taken, else the start of the segment, which is always in it.
        let [there, here] = [offset, 0].map(|n| cx.b.iconst(Type::I32, n));
        let offset = cx.b.select(cond, flags, there, here);
        cx.check_code_offset(offset);
    }
    write(cx);
    let pc = cx.mode.linear(offset);
    if pc != cx.next {
        cx.exit_if(cond, flags, ExitKind::Direct { pc });
    }
}

/// The return address as the call pushes it: as wide as the operand size of the call.
fn return_address(cx: &mut Lifter<'_>) -> Value {
    let ty = match cx.insn.code() {
        Code::Call_rel16 | Code::Call_rm16 | Code::Call_m1616 | Code::Call_ptr1616 => Type::I16,
        Code::Call_m1632 => Type::I32,
        _ => cx.b.table().addr_type(),
    };
    cx.b.iconst(ty, cx.mode.offset(cx.next))
}

/// `call`. A call to the next instruction only pushes its address (position-independent code); as nothing returns
/// from it, the shadow return stack stays as it is.
pub(super) fn call(cx: &mut Lifter<'_>) {
    let ret = return_address(cx);
    if let Some(target) = target(cx) {
        let Some(pc) = target else { return cx.raise(exception::GP, 0) };
        push_values(cx, &[ret]);
        if pc != cx.next {
            cx.exit(ExitKind::Call { pc, ret: cx.next });
        }
    } else if let Some(far) = Far::of(cx) {
        let target = far.target(cx);
        let cs = segment::read(cx, Register::CS, cx.b.ty(ret));
        push_values(cx, &[cs, ret]);
        cx.exit(ExitKind::Indirect { target });
    } else {
        let target = computed_target(cx);
        push_values(cx, &[ret]);
        cx.exit(ExitKind::IndirectCall { target, ret: cx.next });
    }
}

/// Bytes that a return releases besides the return address.
pub(super) fn parameter_bytes(cx: &Lifter<'_>) -> u32 {
    if cx.insn.op_count() == 1 { u32::from(cx.insn.immediate16()) } else { 0 }
}

/// `ret`.
pub(super) fn ret(cx: &mut Lifter<'_>) {
    let ty = match cx.insn.code() {
        Code::Retnw | Code::Retnw_imm16 => Type::I16,
        _ => cx.b.table().addr_type(),
    };
    let v = load_above(cx, ty, 0);
    let target = cx.code_address(v);
    release(cx, ty.bytes() + parameter_bytes(cx));
    cx.exit(ExitKind::Return { target });
}

/// `retf`: to the same code segment.
pub(super) fn ret_far(cx: &mut Lifter<'_>) {
    let ty = match cx.insn.code() {
        Code::Retfw | Code::Retfw_imm16 => Type::I16,
        Code::Retfq | Code::Retfq_imm16 => Type::I64,
        _ => Type::I32,
    };
    let target = load_above(cx, ty, 0);
    let cs = load_above(cx, Type::I16, ty.bytes());
    check_code_segment(cx, cs);
    let target = cx.zext(target, cx.b.table().addr_type());
    release(cx, 2 * ty.bytes() + parameter_bytes(cx));
    cx.exit(ExitKind::Indirect { target });
}

/// `iret` to the same privilege level: offset, code segment, EFLAGS; in 64-bit mode also the stack pointer and its
/// segment.
pub(super) fn iret(cx: &mut Lifter<'_>) {
    let ty = match cx.insn.code() {
        Code::Iretw => Type::I16,
        Code::Iretq => Type::I64,
        _ => Type::I32,
    };
    let target = load_above(cx, ty, 0);
    let cs = load_above(cx, Type::I16, ty.bytes());
    let image = load_above(cx, ty, 2 * ty.bytes());
    check_code_segment(cx, cs);
    let target = cx.zext(target, cx.b.table().addr_type());
    if cx.mode.is_long() {
        let sp = load_above(cx, ty, 3 * ty.bytes());
        let ss = load_above(cx, Type::I16, 4 * ty.bytes());
        check_selector(cx, ss, selector::USER_DS);
        let sp = cx.zext(sp, Type::I64);
        cx.b.set(ESP, sp);
    } else {
        release(cx, 3 * ty.bytes());
    }
    set_eflags_image(cx, image);
    cx.exit(ExitKind::Indirect { target });
}

/// A far target.
pub(super) enum Far {
    /// In the instruction: offset and selector.
    Pointer(u64, u64),
    /// In memory, with an offset of that type.
    Memory(Type),
}

impl Far {
    /// The far target of a `jmp` or `call`, if it has one.
    pub(super) fn of(cx: &Lifter<'_>) -> Option<Self> {
        let insn = &cx.insn;
        match insn.op0_kind() {
            OpKind::FarBranch16 => {
                Some(Far::Pointer(u64::from(insn.far_branch16()), u64::from(insn.far_branch_selector())))
            }
            OpKind::FarBranch32 => {
                Some(Far::Pointer(u64::from(insn.far_branch32()), u64::from(insn.far_branch_selector())))
            }
            _ => match insn.code() {
                Code::Jmp_m1616 | Code::Call_m1616 => Some(Far::Memory(Type::I16)),
                Code::Jmp_m1632 | Code::Call_m1632 => Some(Far::Memory(Type::I32)),
                Code::Jmp_m1664 | Code::Call_m1664 => Some(Far::Memory(Type::I64)),
                _ => None,
            },
        }
    }
    /// The offset, after a check that the code segment stays the same.
    fn target(self, cx: &mut Lifter<'_>) -> Value {
        let addr_ty = cx.b.table().addr_type();
        match self {
            Far::Pointer(offset, selector) => {
                let selector = cx.b.iconst(Type::I16, selector);
                check_code_segment(cx, selector);
                cx.b.iconst(addr_ty, offset)
            }
            Far::Memory(ty) => {
                let (offset, selector) = segment::far_pointer(cx, ty);
                check_code_segment(cx, selector);
                cx.zext(offset, addr_ty)
            }
        }
    }
}

/// Raises #GP unless the selector (16 bits) is that of user code in this mode: no other code segment can be entered.
fn check_code_segment(cx: &mut Lifter<'_>, selector: Value) {
    let user = if cx.mode.is_long() { selector::USER64_CS } else { selector::USER32_CS };
    check_selector(cx, selector, user);
}

/// Raises #GP unless the selector (16 bits) is that one.
fn check_selector(cx: &mut Lifter<'_>, selector: Value, wanted: u32) {
    let user = cx.b.iconst(Type::I16, u64::from(wanted));
    let difference = cx.b.bin(Op::Sub, selector, user);
    let flags = cx.b.flags(difference);
    cx.raise_if(Cond::Ne, flags, exception::GP, 0);
}

/// The width of the counter of `loop` and `jecxz`: the address size.
fn counter_type(code: Code) -> Type {
    use Code as C;
    match code {
        C::Loop_rel8_16_CX | C::Loop_rel8_32_CX | C::Loope_rel8_16_CX | C::Loope_rel8_32_CX => Type::I16,
        C::Loopne_rel8_16_CX | C::Loopne_rel8_32_CX | C::Jcxz_rel8_16 | C::Jcxz_rel8_32 => Type::I16,
        C::Loop_rel8_16_RCX | C::Loop_rel8_64_RCX | C::Loope_rel8_16_RCX | C::Loope_rel8_64_RCX => Type::I64,
        C::Loopne_rel8_16_RCX | C::Loopne_rel8_64_RCX | C::Jrcxz_rel8_16 | C::Jrcxz_rel8_64 => Type::I64,
        _ => Type::I32,
    }
}

/// `loop`, `loope`, `loopne`: the counter goes down without touching the flags.
pub(super) fn loop_(cx: &mut Lifter<'_>, also: Option<Cond>) {
    let counter = cx.gpr_part(ECX, counter_type(cx.insn.code()));
    let less = cx.add_const(counter, -1);
    let not_zero = cx.test_zero(less);
    let guest = cx.flags();
    let taken = match also {
        None => not_zero,
        Some(cond) => {
            let a = cx.b.setcc(Cond::Ne, not_zero);
            let b = cx.b.setcc(cond, guest);
            let both = cx.b.bin(Op::And, a, b);
            cx.b.flags(both)
        }
    };
    branch(cx, Cond::Ne, taken, |cx| cx.set_gpr_part(ECX, less));
}

/// `jcxz`, `jecxz`, `jrcxz`.
pub(super) fn jump_count_zero(cx: &mut Lifter<'_>) {
    let counter = cx.gpr_part(ECX, counter_type(cx.insn.code()));
    let flags = cx.test_zero(counter);
    branch(cx, Cond::E, flags, |_| {});
}
