//! Interrupts, flag control, processor identification, hints, and what user code may not do.

use super::{Lifter, stack};
use crate::state::{self, DF, EAX, ECX, EDX};
use crate::{exception, helpers, syscall};
use iced_x86::Mnemonic;
use isamorph_ir::{Addr, Cond, ExitKind, FlagSet, MemAttr, Op, Type, Value};

/// Lifts an instruction of this family; false if it is none.
pub(super) fn lift(cx: &mut Lifter<'_>, m: Mnemonic) -> bool {
    use Mnemonic as M;
    match m {
        M::Clc => edit_flags(cx, Op::FlagsClear),
        M::Stc => edit_flags(cx, Op::FlagsSet),
        M::Cmc => edit_flags(cx, Op::FlagsNot),
        M::Cld => set_direction(cx, 1),
        M::Std => set_direction(cx, u64::MAX),
        M::Int => interrupt(cx),
        M::Int1 => trap(cx, exception::DB),
        M::Int3 => trap(cx, exception::BP),
        M::Into => into(cx),
        M::Bound => bound(cx),
        M::Ud0 | M::Ud1 | M::Ud2 | M::Sysenter => cx.raise(exception::UD, 0),
        M::Syscall if cx.mode.is_long() => system_call(cx),
        M::Syscall | M::Sysret | M::Sysexit if !cx.mode.is_long() => cx.raise(exception::UD, 0),
        M::Mfence => cx.b.fence(),
        M::Clflush | M::Clflushopt | M::Clwb => touch(cx),
        M::Cpuid => cpuid(cx),
        M::Rdtsc => rdtsc(cx),
        M::Movbe => movbe(cx),
        M::Sgdt | M::Sidt | M::Sldt | M::Str | M::Smsw => table_register(cx, m),
        M::Lar | M::Lsl | M::Verr | M::Verw => inspect_selector(cx, m),
        M::Arpl => arpl(cx),
        _ if is_hint(m) => {}
        _ if is_privileged(m) => cx.raise(exception::GP, 0),
        _ => return false,
    }
    true
}

/// Instructions without an effect that user code can see: loads and stores are ordered anyway, and hints of later
/// processors were made of no-operations.
fn is_hint(m: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        m,
        M::Nop
            | M::Reservednop
            | M::Pause
            | M::Endbr32
            | M::Endbr64
            | M::Lfence
            | M::Sfence
            | M::Rdsspd
            | M::Rdsspq
            | M::Cldemote
            | M::Prefetchit0
            | M::Prefetchit1
            | M::Prefetchwt1
            | M::Prefetch
            | M::Prefetchw
            | M::Prefetchnta
            | M::Prefetcht0
            | M::Prefetcht1
            | M::Prefetcht2
    )
}

/// Instructions that need privilege level 0, or I/O privilege (SDM vol. 3, 6.9).
fn is_privileged(m: Mnemonic) -> bool {
    use Mnemonic as M;
    matches!(
        m,
        M::Hlt
            | M::Cli
            | M::Sti
            | M::In
            | M::Out
            | M::Clts
            | M::Lgdt
            | M::Lidt
            | M::Lldt
            | M::Ltr
            | M::Lmsw
            | M::Invd
            | M::Wbinvd
            | M::Wbnoinvd
            | M::Invlpg
            | M::Rdmsr
            | M::Wrmsr
            | M::Rdpmc
            | M::Swapgs
            | M::Xsetbv
            | M::Sysret
            | M::Sysretq
            | M::Sysexit
            | M::Sysexitq
    )
}

/// `clc`, `stc`, `cmc`.
fn edit_flags(cx: &mut Lifter<'_>, op: Op) {
    let flags = cx.flags();
    let flags = cx.b.flags_edit(op, flags, FlagSet::C);
    cx.set_flags(flags);
}

fn set_direction(cx: &mut Lifter<'_>, step: u64) {
    let step = cx.b.iconst(cx.b.table().def(DF).ty, step);
    cx.b.set(DF, step);
}

/// A trap: reported after the instruction.
fn trap(cx: &mut Lifter<'_>, code: u32) {
    cx.exit(ExitKind::Exception { pc: cx.next, code, arg: 0 });
}

/// `int n`: the system call, the two vectors that user code may raise, else #GP with the gate's error code.
fn interrupt(cx: &mut Lifter<'_>) {
    let vector = cx.imm(0) as u32 & 0xff;
    match vector {
        syscall::INT80 => cx.exit(ExitKind::Syscall { next: cx.next, code: vector }),
        exception::BP | exception::OF => trap(cx, vector),
        _ => cx.raise(exception::GP, u64::from(vector << 3 | 2)),
    }
}

/// `syscall` leaves the next instruction's address in rcx and RFLAGS in r11 (SDM vol. 2, SYSCALL).
fn system_call(cx: &mut Lifter<'_>) {
    let image = stack::eflags_image(cx);
    let image = cx.zext(image, Type::I64);
    let next = cx.b.iconst(Type::I64, cx.next);
    cx.b.set(ECX, next);
    cx.b.set(state::gpr(11), image);
    cx.exit(ExitKind::Syscall { next: cx.next, code: syscall::AMD64_SYSCALL });
}

fn into(cx: &mut Lifter<'_>) {
    let flags = cx.flags();
    cx.b.exit_if(Cond::O, flags, ExitKind::Exception { pc: cx.next, code: exception::OF, arg: 0 });
}

/// `bound`: signed index against a pair of limits in memory.
fn bound(cx: &mut Lifter<'_>) {
    let ty = cx.op_type(0);
    let index = cx.read_op(0);
    let tree = cx.memory_operand();
    let limits = [0, ty.bytes()].map(|offset| {
        let at = cx.b.addr(Addr { disp: tree.disp.wrapping_add(offset as i32), ..tree });
        cx.load_at(ty, at)
    });
    for (limit, outside) in limits.into_iter().zip([Cond::L, Cond::G]) {
        let difference = cx.b.bin(Op::Sub, index, limit);
        let flags = cx.b.flags(difference);
        cx.raise_if(outside, flags, exception::BR, 0);
    }
}

/// `clflush` faults as a load of a byte does.
fn touch(cx: &mut Lifter<'_>) {
    let ea = cx.ea();
    cx.b.load(Type::I8, MemAttr::new(1), ea);
}

fn cpuid(cx: &mut Lifter<'_>) {
    let [leaf, subleaf] = [EAX, ECX].map(|reg| cx.gpr_part(reg, Type::I32));
    let which = cx.b.convert(Op::Concat, Type::I64, &[leaf, subleaf]);
    let features = cx.b.iconst(Type::I64, cx.processor.features.bits());
    let model = cx.b.iconst(Type::I32, u64::from(cx.processor.model));
    cx.call(helpers::CPUID, Type::I32, &[which, features, model]);
}

fn rdtsc(cx: &mut Lifter<'_>) {
    let count = cx.call(helpers::RDTSC, Type::I64, &[]);
    let lo = cx.narrow(count, Type::I32);
    let hi = cx.b.field(Type::I32, count, 32);
    cx.set_gpr_part(EAX, lo);
    cx.set_gpr_part(EDX, hi);
}

/// `movbe`: a big-endian load or store.
fn movbe(cx: &mut Lifter<'_>) {
    let ty = cx.op_type(0);
    let mem = MemAttr::new(ty.bytes()).big_endian();
    let ea = cx.ea();
    if cx.is_mem(1) {
        let v = cx.b.load(ty, mem, ea);
        cx.write_op(0, v);
    } else {
        let v = cx.read_op(1);
        cx.b.store(mem, ea, v);
    }
}

/// What the system registers show to user code: the values that Linux substitutes when UMIP hides the real ones.
fn table_register(cx: &mut Lifter<'_>, m: Mnemonic) {
    const GDT_BASE: u64 = 0xffff_ffff_fffe_0000;
    const IDT_BASE: u64 = 0xffff_ffff_ffff_0000;
    const CR0: u64 = 0x8005_0033;
    const TSS_SELECTOR: u64 = 0x40;
    let value = match m {
        Mnemonic::Sgdt => return descriptor_table(cx, GDT_BASE),
        Mnemonic::Sidt => return descriptor_table(cx, IDT_BASE),
        Mnemonic::Sldt => 0,
        Mnemonic::Str => TSS_SELECTOR,
        _ => CR0,
    };
    let ty = if cx.is_mem(0) { Type::I16 } else { cx.op_type(0) };
    let v = cx.b.iconst(ty, value);
    cx.write_op(0, v);
}

/// Stores a descriptor-table register: a limit of zero and the base.
fn descriptor_table(cx: &mut Lifter<'_>, base: u64) {
    let tree = cx.memory_operand();
    let base_ty = cx.b.table().addr_type();
    for (offset, ty, value) in [(0, Type::I16, 0), (2, base_ty, base)] {
        let at = cx.b.addr(Addr { disp: tree.disp.wrapping_add(offset), ..tree });
        let v = cx.b.iconst(ty, value);
        cx.store_at(at, v);
    }
}

/// `lar`, `lsl`, `verr`, `verw`: Z tells whether the selector is valid; the first two give a value if it is.
fn inspect_selector(cx: &mut Lifter<'_>, m: Mnemonic) {
    let gives_value = matches!(m, Mnemonic::Lar | Mnemonic::Lsl);
    let operand = u32::from(gives_value);
    let selector = if cx.is_mem(operand) { cx.load_ea(Type::I16) } else { cx.read_op(operand) };
    let selector = cx.narrow(selector, Type::I16);
    let selector = cx.zext(selector, Type::I32);
    let question = match m {
        Mnemonic::Lar => helpers::Question::Rights,
        Mnemonic::Lsl => helpers::Question::Limit,
        Mnemonic::Verr => helpers::Question::Readable,
        _ => helpers::Question::Writable,
    };
    let question = cx.b.iconst(Type::I32, question as u64);
    let answer = cx.call(helpers::INSPECT_SELECTOR, Type::I64, &[selector, question]);
    // Bit 32 of the answer: valid. As Z of a flags bundle that keeps the other flags.
    let valid = cx.b.field(Type::I32, answer, 32);
    let none = cx.test_zero(valid);
    if gives_value {
        let value = cx.narrow(answer, Type::I32);
        let value = match cx.op_type(0) {
            Type::I64 => cx.zext(value, Type::I64),
            ty => cx.narrow(value, ty),
        };
        let old = cx.read_op(0);
        let value = cx.b.select(Cond::Ne, none, value, old);
        cx.write_op(0, value);
    }
    set_zero_flag(cx, Cond::Ne, none);
}

/// Sets Z to whether the condition holds for `of`; the other flags stay.
fn set_zero_flag(cx: &mut Lifter<'_>, cond: Cond, of: Value) {
    let old = cx.flags();
    let set = cx.b.flags_edit(Op::FlagsSet, old, FlagSet::Z);
    let set = cx.b.flags_bits(set);
    let clear = cx.b.flags_edit(Op::FlagsClear, old, FlagSet::Z);
    let clear = cx.b.flags_bits(clear);
    let bits = cx.b.select(cond, of, set, clear);
    let flags = cx.b.bits_flags(bits);
    cx.set_flags(flags);
}

/// Stores 16 bits to the memory operand if the condition holds; otherwise nothing has to be writable there.
fn store_if(cx: &mut Lifter<'_>, cond: Cond, of: Value, v: Value) {
    let bytes = [3, 0].map(|mask| cx.b.iconst(Type::I32, mask));
    let bytes = cx.b.select(cond, of, bytes[0], bytes[1]);
    let ea = cx.ea();
    let addr = cx.b.lea(cx.b.table().addr_type(), ea);
    let v = cx.zext(v, Type::I64);
    cx.masked_store(addr, v, bytes);
}

/// `arpl`: raises the privilege level of a selector to that of another.
fn arpl(cx: &mut Lifter<'_>) {
    let dst = if cx.is_mem(0) { cx.load_ea(Type::I16) } else { cx.read_op(0) };
    let dst = cx.narrow(dst, Type::I16);
    let src = cx.read_op(1);
    let src = cx.narrow(src, Type::I16);
    let level = cx.b.iconst(Type::I16, 3);
    let dst_level = cx.b.bin(Op::And, dst, level);
    let src_level = cx.b.bin(Op::And, src, level);
    let difference = cx.b.bin(Op::Sub, dst_level, src_level);
    let below = cx.b.flags(difference);
    let cleared = cx.b.iconst(Type::I16, !3);
    let rest = cx.b.bin(Op::And, dst, cleared);
    let raised = cx.b.bin(Op::Or, rest, src_level);
    let new = cx.b.select(Cond::B, below, raised, dst);
    if cx.is_mem(0) {
        cx.check_write_if(Cond::B, below);
        store_if(cx, Cond::B, below, new);
    } else if let Some(place) = super::operand::gpr(cx.insn.op0_register()) {
        cx.set_gpr_part(place.reg, new);
    }
    set_zero_flag(cx, Cond::B, below);
}
