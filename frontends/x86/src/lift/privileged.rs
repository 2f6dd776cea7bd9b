//! What the operating system uses: control registers, tables, ports, the interrupt flag. In a machine these
//! instructions do what they are for; a user program's are in the module `system`.

use super::Lifter;
use super::single::Shadow;
use crate::state::{CR0, EAX, EDX, EFLAGS_REST, eflag};
use crate::{exception, helpers};
use iced_x86::{Mnemonic, OpKind, Register};
use isamorph_ir::{ExitKind, HelperId, Op, Type, Value};

/// Lifts the instruction if it is one of these.
pub(super) fn lift(cx: &mut Lifter<'_>, m: Mnemonic) -> bool {
    registers(cx, m) || tables(cx, m) || flags_and_ports(cx, m)
}

/// Control, debug and model-specific registers, and what they stand for.
fn registers(cx: &mut Lifter<'_>, m: Mnemonic) -> bool {
    use Mnemonic as M;
    match m {
        M::Mov => return special_move(cx),
        M::Clts => changing(cx, helpers::CLTS, &[]),
        M::Smsw => {
            let v = cx.b.get(CR0);
            write_word(cx, v);
        }
        M::Lmsw => {
            let v = cx.read_op(0);
            let v = cx.zext(v, Type::I64);
            changing(cx, helpers::LMSW, &[v]);
        }
        M::Rdmsr => only(cx, helpers::RDMSR),
        M::Wrmsr => changing(cx, helpers::WRMSR, &[]),
        M::Rdpmc => only(cx, helpers::RDPMC),
        M::Rdtsc | M::Rdtscp => {
            let with_aux = cx.b.iconst(Type::I32, u64::from(m == M::Rdtscp));
            let count = cx.call(helpers::SYSTEM_RDTSC, Type::I64, &[with_aux]);
            set_pair(cx, count);
        }
        M::Rdpid => {
            let v = cx.call(helpers::READ_TSC_AUX, Type::I64, &[]);
            let v = cx.narrow(v, cx.op_type(0));
            cx.write_op(0, v);
        }
        M::Xsetbv => changing(cx, helpers::XSETBV, &[]),
        M::Swapgs => only(cx, helpers::SWAPGS),
        M::Invlpg => {
            let addr = linear(cx);
            changing(cx, helpers::INVLPG, &[addr]);
        }
        M::Invpcid => {
            let kind = cx.read_op(0);
            let kind = cx.zext(kind, Type::I64);
            let addr = linear(cx);
            changing(cx, helpers::INVPCID, &[kind, addr]);
        }
        M::Invd | M::Wbinvd | M::Wbnoinvd => {
            if !cx.mode.is_kernel() {
                cx.raise(exception::GP, 0);
            }
        }
        _ => return false,
    }
    true
}

/// Descriptor tables and what is in them.
fn tables(cx: &mut Lifter<'_>, m: Mnemonic) -> bool {
    use Mnemonic as M;
    if needs_descriptors(m) && !cx.mode.has_descriptors() {
        cx.raise(exception::UD, 0);
        return true;
    }
    match m {
        M::Lgdt => table(cx, helpers::LGDT),
        M::Lidt => table(cx, helpers::LIDT),
        M::Sgdt => table(cx, helpers::SGDT),
        M::Sidt => table(cx, helpers::SIDT),
        M::Lldt => load_selector(cx, helpers::LLDT),
        M::Ltr => load_selector(cx, helpers::LTR),
        M::Sldt => store_selector(cx, helpers::SLDT),
        M::Str => store_selector(cx, helpers::STR),
        _ => return false,
    }
    true
}

/// Instructions that real mode and virtual-8086 mode do not have.
fn needs_descriptors(m: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(m, M::Lldt | M::Ltr | M::Sldt | M::Str | M::Lar | M::Lsl | M::Verr | M::Verw | M::Arpl)
}

/// The interrupt flag, waiting, I/O ports.
fn flags_and_ports(cx: &mut Lifter<'_>, m: Mnemonic) -> bool {
    use Mnemonic as M;
    match m {
        M::Cli | M::Sti if !cx.mode.allows_io() => cx.raise(exception::GP, 0),
        M::Cli => set_interrupt_flag(cx, 0),
        M::Sti => {
            set_interrupt_flag(cx, eflag::IF);
            cx.cast_shadow(Shadow::Interrupts);
        }
        M::Hlt if cx.mode.is_kernel() => cx.exit(ExitKind::Halt { next: cx.next }),
        M::Hlt => cx.raise(exception::GP, 0),
        M::In => port_in(cx),
        M::Out => port_out(cx),
        // The helpers switch to the other context at once; the mode does not depend on it.
        M::Stac => only(cx, helpers::STAC),
        M::Clac => only(cx, helpers::CLAC),
        M::Monitor => only(cx, helpers::MONITOR),
        M::Mwait => changing(cx, helpers::MWAIT, &[]),
        _ => return false,
    }
    true
}

/// Calls a helper that does all of it, and goes on.
fn only(cx: &mut Lifter<'_>, helper: HelperId) {
    cx.call(helper, Type::None, &[]);
}

/// Calls a helper that may change the mode, or how addresses are translated, and ends the region.
fn changing(cx: &mut Lifter<'_>, helper: HelperId, arguments: &[Value]) {
    cx.call(helper, Type::None, arguments);
    cx.exit(ExitKind::Resync { next: cx.next });
}

/// The linear address of the memory operand.
fn linear(cx: &mut Lifter<'_>) -> Value {
    let ea = cx.ea();
    let addr = cx.b.lea(cx.b.table().addr_type(), ea);
    cx.zext(addr, Type::I64)
}

/// Writes a 64-bit value to edx:eax.
fn set_pair(cx: &mut Lifter<'_>, v: Value) {
    let lo = cx.narrow(v, Type::I32);
    let hi = cx.b.field(Type::I32, v, 32);
    cx.set_gpr_part(EAX, lo);
    cx.set_gpr_part(EDX, hi);
}

/// Writes a value to a register operand, or 16 bits of it to memory.
fn write_word(cx: &mut Lifter<'_>, v: Value) {
    let ty = if cx.is_mem(0) { Type::I16 } else { cx.op_type(0) };
    let v = if ty.bits() > cx.b.ty(v).bits() { cx.zext(v, ty) } else { cx.narrow(v, ty) };
    cx.write_op(0, v);
}

// ---- control and debug registers

/// A register with a number that is read and written by helpers.
struct Special {
    number: u64,
    read: HelperId,
    write: HelperId,
}

/// The control or debug register with that name.
fn special(r: Register) -> Option<Special> {
    let from = |first: Register| r as u64 - first as u64;
    if (Register::CR0..=Register::CR15).contains(&r) {
        return Some(Special { number: from(Register::CR0), read: helpers::READ_CR, write: helpers::WRITE_CR });
    }
    let debug = (Register::DR0..=Register::DR15).contains(&r);
    debug.then(|| Special { number: from(Register::DR0), read: helpers::READ_DR, write: helpers::WRITE_DR })
}

/// `mov` to and from control and debug registers; false if it is another `mov`.
fn special_move(cx: &mut Lifter<'_>) -> bool {
    let register = |n: u32| match cx.insn.op_kind(n) {
        OpKind::Register => special(cx.insn.op_register(n)),
        _ => None,
    };
    let (target, source) = (register(0), register(1));
    if let Some(target) = target {
        let number = cx.b.iconst(Type::I32, target.number);
        let v = cx.read_op(1);
        let v = cx.zext(v, Type::I64);
        changing(cx, target.write, &[number, v]);
    } else if let Some(source) = source {
        let number = cx.b.iconst(Type::I32, source.number);
        let v = cx.call(source.read, Type::I64, &[number]);
        let v = cx.narrow(v, cx.op_type(0));
        cx.write_op(0, v);
    } else {
        let test = |n: u32| (Register::TR0..=Register::TR7).contains(&cx.insn.op_register(n));
        let is_test = (0..2).any(|n| cx.insn.op_kind(n) == OpKind::Register && test(n));
        if is_test {
            cx.raise(exception::UD, 0);
        }
        return is_test;
    }
    true
}

// ---- tables

/// LGDT, LIDT, SGDT, SIDT: how much of the base there is depends on the operand size (SDM vol. 2, LGDT).
fn table(cx: &mut Lifter<'_>, helper: HelperId) {
    use iced_x86::Code as C;
    let bytes = match cx.insn.code() {
        C::Lgdt_m1632_16 | C::Lidt_m1632_16 | C::Sgdt_m1632_16 | C::Sidt_m1632_16 => 2,
        C::Lgdt_m1632 | C::Lidt_m1632 | C::Sgdt_m1632 | C::Sidt_m1632 => 4,
        _ => 8,
    };
    let addr = linear(cx);
    let bytes = cx.b.iconst(Type::I32, bytes);
    cx.call(helper, Type::None, &[addr, bytes]);
}

fn load_selector(cx: &mut Lifter<'_>, helper: HelperId) {
    let selector = if cx.is_mem(0) { cx.load_ea(Type::I16) } else { cx.read_op(0) };
    let selector = cx.narrow(selector, Type::I16);
    let selector = cx.zext(selector, Type::I32);
    cx.call(helper, Type::None, &[selector]);
}

fn store_selector(cx: &mut Lifter<'_>, helper: HelperId) {
    let selector = cx.call(helper, Type::I32, &[]);
    write_word(cx, selector);
}

// ---- flags and ports

fn set_interrupt_flag(cx: &mut Lifter<'_>, flag: u32) {
    let rest = cx.b.get(EFLAGS_REST);
    let others = cx.b.iconst(Type::I32, u64::from(!eflag::IF));
    let rest = cx.b.bin(Op::And, rest, others);
    let flag = cx.b.iconst(Type::I32, flag.into());
    let rest = cx.b.bin(Op::Or, rest, flag);
    cx.b.set(EFLAGS_REST, rest);
}

/// The port that operand `n` names.
fn port(cx: &mut Lifter<'_>, n: u32) -> Value {
    match cx.insn.op_kind(n) {
        OpKind::Register => {
            let dx = cx.gpr_part(EDX, Type::I16);
            cx.zext(dx, Type::I32)
        }
        _ => cx.b.iconst(Type::I32, cx.imm(n) & 0xff),
    }
}

fn port_in(cx: &mut Lifter<'_>) {
    let ty = cx.op_type(0);
    let port = port(cx, 1);
    let bytes = cx.b.iconst(Type::I32, u64::from(ty.bytes()));
    let v = cx.call(helpers::IN, Type::I32, &[port, bytes]);
    let v = cx.narrow(v, ty);
    cx.write_op(0, v);
}

/// A write to a port may change what is mapped where, so that the code behind it is looked up again.
fn port_out(cx: &mut Lifter<'_>) {
    let v = cx.read_op(1);
    let port = port(cx, 0);
    let bytes = cx.b.iconst(Type::I32, u64::from(cx.b.ty(v).bytes()));
    let v = cx.zext(v, Type::I32);
    changing(cx, helpers::OUT, &[port, bytes, v]);
}
