//! The code around regions: entering and leaving compiled code, helper calls, computed jumps that miss.

use crate::asm::{Asm, Mem, Opcode, Rm};
use crate::frame::{self, SHADOW_SP};
use crate::operation;
use crate::pins::VEC;
use crate::{Backend, Config, Entries};
use dynasmrt::x64::X64Relocation;
use dynasmrt::{DynasmApi, DynasmLabelApi, VecAssembler, dynasm};
use isamorph_code::{ExitReason, THUNK_COUNT, Thunk, Thunks};
use isamorph_ir::{FlagSet, Header, Pin, RegId, Type};
use std::mem::offset_of;

const EXIT_REASON: i32 = offset_of!(Header, exit_reason) as i32;
const EXIT_ARG: i32 = offset_of!(Header, exit_arg) as i32;
const PC: i32 = offset_of!(Header, pc) as i32;
const HOST_SP: i32 = offset_of!(Header, host_sp) as i32;
const SHADOW_TOP: i32 = offset_of!(Header, shadow_top) as i32;
const JUMP_CACHE: i32 = offset_of!(Header, jump_cache) as i32;
const HOST_MXCSR: i32 = offset_of!(Header, host_mxcsr) as i32;

type Ops = VecAssembler<X64Relocation>;

/// Emits the thunks of a cache.
pub(crate) fn emit(backend: &Backend, entries: Entries) -> Thunks {
    let mut ops = Ops::new(0);
    let mut thunks = Thunks { code: Vec::new(), offsets: [0; THUNK_COUNT] };
    let mut at = |ops: &Ops, thunk: Thunk| thunks.offsets[thunk as usize] = ops.offset().0 as u32;

    at(&ops, Thunk::IndirectMiss);
    dynasm!(ops; .arch x64; ->miss: ; mov [r15 + PC], r9);
    reason(&mut ops, ExitReason::Indirect);
    at(&ops, Thunk::Underflow);
    dynasm!(ops; .arch x64; mov rsp, [r15 + SHADOW_TOP]);
    at(&ops, Thunk::Indirect);
    probe(&mut ops, backend.config);
    at(&ops, Thunk::Link);
    // The last byte of the stub's call is inside the stub, the return address no longer.
    dynasm!(ops; .arch x64; pop r9; lea r9, [r9 - 1]; mov [r15 + EXIT_ARG], r9);
    reason(&mut ops, ExitReason::Link);
    at(&ops, Thunk::Miss);
    miss(&mut ops, entries.miss);
    for (thunk, why) in [
        (Thunk::Safepoint, ExitReason::Safepoint),
        (Thunk::Syscall, ExitReason::Syscall),
        (Thunk::Exception, ExitReason::Exception),
        (Thunk::Halt, ExitReason::Halt),
        (Thunk::Fault, ExitReason::Fault),
    ] {
        at(&ops, thunk);
        if thunk == Thunk::Fault {
            dynasm!(ops; .arch x64; ->fault:);
            interrupted_flags(&mut ops, backend);
        }
        reason(&mut ops, why);
    }
    at(&ops, Thunk::Enter);
    enter(&mut ops, backend);
    leave(&mut ops, backend);
    at(&ops, Thunk::Helper);
    helper(&mut ops, backend, entries.helper, None);
    at(&ops, Thunk::HelperFpu);
    helper(&mut ops, backend, entries.helper, backend.table.fxsave);
    trapped(&mut ops);
    at(&ops, Thunk::Operation);
    operation::thunk(&mut ops);
    thunks.code = ops.finalize().expect("every label of the thunks is defined in this file");
    thunks
}

/// The recovery of a fault has put the guest's flags into EFLAGS, wherever they belong otherwise.
fn interrupted_flags(ops: &mut Ops, backend: &Backend) {
    if let Some(flags) = backend.pins.flags.filter(|_| backend.pins.flags_in_state) {
        let offset = backend.table.def(flags).offset as i32;
        dynasm!(ops; .arch x64; pushfq; pop r10; mov [r15 + offset], r10d);
    }
}

/// Has the translation made that an access lacks, see [`Entries::miss`].
fn miss(ops: &mut Ops, entry: usize) {
    frame::save(ops);
    dynasm!(ops
        ; .arch x64
        ; mov rdi, r15
        ; mov rsi, rsp
        ; mov rdx, [r15 + SHADOW_SP]
        ; mov rdx, [rdx]
        ; mov rax, QWORD entry as i64
        ; call rax
        ; test eax, eax
        ; jnz >leaves
    );
    frame::restore(ops);
    dynasm!(ops; .arch x64; ret; leaves:);
    frame::restore(ops);
    dynasm!(ops; .arch x64; lea rsp, [rsp + 8]; jmp ->fault);
}

/// Leaves for a reason.
fn reason(ops: &mut Ops, why: ExitReason) {
    dynasm!(ops; .arch x64; mov DWORD [r15 + EXIT_REASON], why as i32; jmp ->leave);
}

/// Goes where the jump cache says that r9 is translated. EFLAGS stay as they are.
fn probe(ops: &mut Ops, config: Config) {
    let shift = config.pc_shift as i8;
    match shift {
        0 => dynasm!(ops; .arch x64; mov r10d, r9d),
        _ if config.bmi2 => dynasm!(ops; .arch x64; rorx r10d, r9d, shift),
        _ => dynasm!(ops; .arch x64; mov r10d, r9d; pushfq; shr r10d, shift; popfq),
    }
    dynasm!(ops
        ; .arch x64
        ; movzx r10d, r10w
        ; mov r11, [r15 + JUMP_CACHE]
        ; mov r10d, [r11 + r10 * 4]
        ; lea r11, [->miss]
        ; lea r10, [r10 + r11]
        ; jmp r10
    );
}

/// `extern "C" fn(state, code)`.
fn enter(ops: &mut Ops, backend: &Backend) {
    dynasm!(ops
        ; .arch x64
        ; push rbx
        ; push rbp
        ; push r12
        ; push r13
        ; push r14
        ; push r15
        ; sub rsp, 8
        ; mov r15, rdi
        ; mov r11, rsi
        ; mov [r15 + HOST_SP], rsp
        ; mov rsp, [r15 + SHADOW_SP]
    );
    load_guest(ops, backend, false);
    dynasm!(ops; .arch x64; jmp r11);
}

/// The way out: everything goes to the state.
fn leave(ops: &mut Ops, backend: &Backend) {
    dynasm!(ops; .arch x64; ->leave:);
    save_guest(ops, backend);
    dynasm!(ops
        ; .arch x64
        ; mov [r15 + SHADOW_SP], rsp
        ; ->out:
        ; mov rsp, [r15 + HOST_SP]
        ; add rsp, 8
        ; pop r15
        ; pop r14
        ; pop r13
        ; pop r12
        ; pop rbp
        ; pop rbx
        ; ret
    );
}

/// Calls the helper whose number is in r9d. With an image, the whole floating-point state goes through it.
fn helper(ops: &mut Ops, backend: &Backend, entry: usize, image: Option<u32>) {
    let wide = backend.table.addr_bits == 64;
    if let Some(image) = image.map(|offset| offset as i32) {
        load_unpinned_vectors(ops, backend);
        if wide {
            dynasm!(ops; .arch x64; fxsave64 [r15 + image]);
        } else {
            dynasm!(ops; .arch x64; fxsave [r15 + image]);
        }
    }
    save_guest(ops, backend);
    dynasm!(ops
        ; .arch x64
        ; mov [r15 + SHADOW_SP], rsp
        ; mov rsp, [r15 + HOST_SP]
        ; mov rdi, r15
        ; mov esi, r9d
        ; mov rax, QWORD entry as i64
        ; call rax
        ; test eax, eax
        ; jnz ->trapped
    );
    if let Some(image) = image.map(|offset| offset as i32) {
        if wide {
            dynasm!(ops; .arch x64; fxrstor64 [r15 + image]);
        } else {
            dynasm!(ops; .arch x64; fxrstor [r15 + image]);
        }
    }
    dynasm!(ops; .arch x64; mov rsp, [r15 + SHADOW_SP]);
    load_guest(ops, backend, image.is_some());
    dynasm!(ops; .arch x64; ret);
}

/// The save image of an x86 guest has the vector registers at their places by number. Those that have no host register
/// are only there: what is in the host registers of their numbers is about to be saved over them.
fn load_unpinned_vectors(ops: &mut Ops, backend: &Backend) {
    let mut asm = Asm::default();
    for (i, def) in backend.table.regs.iter().enumerate() {
        if let Pin::Vector { number, .. } = def.pin
            && backend.pins.host(RegId(i as u16)).is_none()
        {
            asm.op(Opcode::sse(0, 0x10), 4, number, Rm::Mem(Mem::state(def.offset)));
        }
    }
    ops.extend(asm.code);
}

/// A helper trapped: the state is complete already, and the call's return address is dropped.
fn trapped(ops: &mut Ops) {
    dynasm!(ops
        ; .arch x64
        ; ->trapped:
        ; add QWORD [r15 + SHADOW_SP], 8
        ; mov DWORD [r15 + EXIT_REASON], ExitReason::Helper as i32
        ; jmp ->out
    );
}

/// Pinned registers and control words from the state. r11 is kept.
fn load_guest(ops: &mut Ops, backend: &Backend, fpu_loaded: bool) {
    if let Some(offset) = fp_control(backend).filter(|_| !fpu_loaded) {
        dynasm!(ops; .arch x64; ldmxcsr [r15 + offset]);
    }
    if let Some(flags) = backend.pins.flags.filter(|_| !backend.pins.flags_in_state) {
        let offset = backend.table.def(flags).offset as i32;
        dynasm!(ops; .arch x64; mov r10d, [r15 + offset]; and r10d, FlagSet::all().bits() as i32; push r10; popfq);
    }
    pinned(ops, backend, true);
}

/// Pinned registers and control words to the state. r9 is kept.
fn save_guest(ops: &mut Ops, backend: &Backend) {
    pinned(ops, backend, false);
    if let Some(flags) = backend.pins.flags {
        let offset = backend.table.def(flags).offset as i32;
        let bits = FlagSet::all().bits() as i32;
        if backend.pins.flags_in_state {
            // What regions store there is the whole of EFLAGS.
            dynasm!(ops; .arch x64; and DWORD [r15 + offset], bits);
        } else {
            dynasm!(ops; .arch x64; pushfq; pop r10; and r10d, bits; mov [r15 + offset], r10d);
        }
    }
    if let Some(offset) = fp_control(backend) {
        dynasm!(ops; .arch x64; stmxcsr [r15 + offset]; ldmxcsr [r15 + HOST_MXCSR]);
    }
}

fn fp_control(backend: &Backend) -> Option<i32> {
    backend.table.regs.iter().find(|r| r.pin == Pin::FpControl).map(|r| r.offset as i32)
}

fn pinned(ops: &mut Ops, backend: &Backend, load: bool) {
    let mut asm = Asm::default();
    for (reg, host) in backend.pins.iter() {
        let def = backend.table.def(reg);
        let m = Rm::Mem(Mem::state(def.offset));
        if host >= VEC {
            asm.op(Opcode::sse(0, if load { 0x10 } else { 0x11 }), 4, host - VEC, m);
        } else {
            let size = if def.ty == Type::I64 { 8 } else { 4 };
            asm.op(Opcode::one(if load { 0x8b } else { 0x89 }), size, host, m);
        }
    }
    ops.extend(asm.code);
}
