//! Helpers: what lifted code calls instead of being lifted itself, because it is rare, long, or needs more than
//! registers and memory.

mod bcd;
mod cpuid;
mod environment;
mod fpu;
mod integer;
mod segment;
mod simd;
mod string;
mod vector;
mod xsave;

pub(crate) use segment::Question;
pub(crate) use string::StringConfig;

use crate::system::{control, debug, entry, fast, flags, io, msr, smm, tables};
use isamorph_ir::{Helper, HelperId};

/// Declares the helper table: the numbers and the rows from one list.
macro_rules! helpers {
    ($($(#[$doc:meta])* $id:ident = $name:literal, $run:path, fpu: $fpu:literal $(, $string:expr)?;)*) => {
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Number { $($id),* }
        $($(#[$doc])* pub const $id: HelperId = HelperId(Number::$id as u16);)*
        /// Every helper; [`HelperId`] is the index.
        pub static HELPERS: &[Helper] = &[$(Helper {
            name: $name,
            run: $run,
            fpu: $fpu,
            string: [$($string,)? None][0],
        }),*];
    };
}

helpers! {
    /// `cpuid(leaf and subleaf, features, model)`: writes eax, ebx, ecx, edx.
    CPUID = "cpuid", cpuid::cpuid, fpu: false;
    /// `rdtsc()`: the time-stamp counter, 64 bits.
    RDTSC = "rdtsc", cpuid::rdtsc, fpu: false;
    /// `load_segment(number, selector)`: writes the segment register and its base, or traps.
    LOAD_SEGMENT = "load_segment", segment::load, fpu: false;
    /// `inspect_selector(selector, question)`: bit 32 = valid, low half = the answer.
    INSPECT_SELECTOR = "inspect_selector", segment::inspect, fpu: false;
    /// `rep movsb` with 32-bit addresses and flat segments.
    COPY_8 = "copy_8", string::copy::<1, 32>, fpu: false, string::copy_op(1);
    /// `rep movsw`, likewise.
    COPY_16 = "copy_16", string::copy::<2, 32>, fpu: false, string::copy_op(2);
    /// `rep movsd`, likewise.
    COPY_32 = "copy_32", string::copy::<4, 32>, fpu: false, string::copy_op(4);
    /// `rep stosb`, likewise.
    FILL_8 = "fill_8", string::fill::<1, 32>, fpu: false, string::fill_op(1);
    /// `rep stosw`, likewise.
    FILL_16 = "fill_16", string::fill::<2, 32>, fpu: false, string::fill_op(2);
    /// `rep stosd`, likewise.
    FILL_32 = "fill_32", string::fill::<4, 32>, fpu: false, string::fill_op(4);
    /// `rep movsb` in 64-bit mode with 64-bit addresses.
    LONG_COPY_8 = "long_copy_8", string::copy::<1, 64>, fpu: false, string::copy_op(1);
    /// `rep movsw`, likewise.
    LONG_COPY_16 = "long_copy_16", string::copy::<2, 64>, fpu: false, string::copy_op(2);
    /// `rep movsd`, likewise.
    LONG_COPY_32 = "long_copy_32", string::copy::<4, 64>, fpu: false, string::copy_op(4);
    /// `rep movsq`, likewise.
    LONG_COPY_64 = "long_copy_64", string::copy::<8, 64>, fpu: false, string::copy_op(8);
    /// `rep stosb`, likewise.
    LONG_FILL_8 = "long_fill_8", string::fill::<1, 64>, fpu: false, string::fill_op(1);
    /// `rep stosw`, likewise.
    LONG_FILL_16 = "long_fill_16", string::fill::<2, 64>, fpu: false, string::fill_op(2);
    /// `rep stosd`, likewise.
    LONG_FILL_32 = "long_fill_32", string::fill::<4, 64>, fpu: false, string::fill_op(4);
    /// `rep stosq`, likewise.
    LONG_FILL_64 = "long_fill_64", string::fill::<8, 64>, fpu: false, string::fill_op(8);
    /// `rep_movs(config, segment base, base of ES)`: 1 if there is more to do. The others have the same arguments.
    REP_MOVS = "rep_movs", string::rep_movs, fpu: false;
    /// `rep_stos`.
    REP_STOS = "rep_stos", string::rep_stos, fpu: false;
    /// `rep_lods`.
    REP_LODS = "rep_lods", string::rep_lods, fpu: false;
    /// `rep_scas`: writes the flags.
    REP_SCAS = "rep_scas", string::rep_scas, fpu: false;
    /// `rep_cmps`: writes the flags.
    REP_CMPS = "rep_cmps", string::rep_cmps, fpu: false;
    /// `rep_ins`: reads the port in dx.
    REP_INS = "rep_ins", string::rep_ins, fpu: false;
    /// `rep_outs`: writes it.
    REP_OUTS = "rep_outs", string::rep_outs, fpu: false;
    /// `daa(eax, flags)`: AX in the low half, flags in the high half.
    DAA = "daa", bcd::daa, fpu: false;
    /// `das(eax, flags)`.
    DAS = "das", bcd::das, fpu: false;
    /// `aaa(eax, flags)`.
    AAA = "aaa", bcd::aaa, fpu: false;
    /// `aas(eax, flags)`.
    AAS = "aas", bcd::aas, fpu: false;
    /// `masked_store(address, 8 bytes, mask)`: stores the bytes whose bits in the mask are set; 32-bit addresses.
    MASKED_STORE = "masked_store", simd::masked_store::<32>, fpu: false;
    /// The same with 64-bit addresses.
    LONG_MASKED_STORE = "long_masked_store", simd::masked_store::<64>, fpu: false;
    /// The vector helpers' arguments: halves of the second operand; the first's register and the immediate.
    MPSADBW = "mpsadbw", vector::mpsadbw, fpu: true;
    /// Likewise.
    PHMINPOSUW = "phminposuw", vector::phminposuw, fpu: true;
    /// Likewise; with the kind of comparison in the third argument's bits 18:16.
    COMPARE_STRINGS = "compare_strings", vector::compare_strings, fpu: true;
    /// Likewise.
    SHA1_ROUNDS = "sha1_rounds", vector::sha1_rounds, fpu: true;
    /// Likewise.
    SHA1_NEXT_E = "sha1_next_e", vector::sha1_next_e, fpu: true;
    /// Likewise.
    SHA1_MESSAGE1 = "sha1_message1", vector::sha1_message1, fpu: true;
    /// Likewise.
    SHA1_MESSAGE2 = "sha1_message2", vector::sha1_message2, fpu: true;
    /// Likewise.
    SHA256_ROUNDS = "sha256_rounds", vector::sha256_rounds, fpu: true;
    /// Likewise.
    SHA256_MESSAGE1 = "sha256_message1", vector::sha256_message1, fpu: true;
    /// Likewise.
    SHA256_MESSAGE2 = "sha256_message2", vector::sha256_message2, fpu: true;
    /// `fxsave(address)`: stores the save image.
    FXSAVE = "fxsave", fpu::fxsave::<32>, fpu: true;
    /// `fxrstor(address)`: loads the save image.
    FXRSTOR = "fxrstor", fpu::fxrstor::<32>, fpu: true;
    /// The same in 64-bit mode, which has more registers.
    LONG_FXSAVE = "long_fxsave", fpu::fxsave::<64>, fpu: true;
    /// Likewise.
    LONG_FXRSTOR = "long_fxrstor", fpu::fxrstor::<64>, fpu: true;
    /// `fnstenv(address)` in the format of 16-bit code.
    STORE_ENVIRONMENT = "store_environment", environment::store_environment, fpu: true;
    /// `fldenv(address)`, likewise.
    LOAD_ENVIRONMENT = "load_environment", environment::load_environment, fpu: true;
    /// `fnsave(address)`, likewise.
    SAVE_FPU = "save_fpu", environment::save, fpu: true;
    /// `frstor(address)`, likewise.
    RESTORE_FPU = "restore_fpu", environment::restore, fpu: true;
    /// `xsave(address, components, compact)`.
    XSAVE = "xsave", xsave::save::<32>, fpu: true;
    /// `xrstor(address, components)`.
    XRSTOR = "xrstor", xsave::restore::<32>, fpu: true;
    /// The same in 64-bit mode.
    LONG_XSAVE = "long_xsave", xsave::save::<64>, fpu: true;
    /// Likewise.
    LONG_XRSTOR = "long_xrstor", xsave::restore::<64>, fpu: true;
    /// `xgetbv(register, whether there is a register 1)`.
    XGETBV = "xgetbv", xsave::control, fpu: false;
    /// `pdep(source, mask)`.
    PDEP = "pdep", integer::pdep, fpu: false;
    /// `pext(source, mask)`.
    PEXT = "pext", integer::pext, fpu: false;
    /// `random(bytes)`: all ones if there is no number.
    RANDOM = "random", integer::random, fpu: false;
    // What only a machine has: `crate::system`. Those that return a program counter return the next linear one, `next`
    // is the linear one after the instruction, sizes are in bytes.
    /// `far_jump(selector, with the operand size from bit 16 on; offset; next)`: the next program counter.
    FAR_JUMP = "far_jump", entry::far_jump, fpu: false;
    /// `far_call`, likewise.
    FAR_CALL = "far_call", entry::far_call, fpu: false;
    /// `far_return(operand size, bytes to release)`: the next program counter.
    FAR_RETURN = "far_return", entry::far_return, fpu: false;
    /// `interrupt(vector, kind, next)`: kind 0 is `int n`, 1 `int3` and `into`, 2 `int1`; the next program counter.
    INTERRUPT = "interrupt", entry::interrupt, fpu: false;
    /// `interrupt_return(operand size, next)`: the next program counter.
    IRET = "interrupt_return", entry::interrupt_return, fpu: false;
    /// `system_call(next)`: `syscall`; the next program counter.
    SYSCALL = "system_call", fast::system_call, fpu: false;
    /// `system_return(operand size)`: `sysret`; the next program counter.
    SYSRET = "system_return", fast::system_return, fpu: false;
    /// `system_enter(next)`: `sysenter`; the next program counter.
    SYSENTER = "system_enter", fast::system_enter, fpu: false;
    /// `system_exit(operand size)`: `sysexit`; the next program counter.
    SYSEXIT = "system_exit", fast::system_exit, fpu: false;
    /// `resume()`: `rsm`; the next program counter.
    RSM = "resume", smm::resume, fpu: false;
    /// `read_cr(number)`.
    READ_CR = "read_cr", control::read, fpu: false;
    /// `write_cr(number, value)`.
    WRITE_CR = "write_cr", control::write, fpu: false;
    /// `read_dr(number)`.
    READ_DR = "read_dr", debug::read, fpu: false;
    /// `write_dr(number, value)`.
    WRITE_DR = "write_dr", debug::write, fpu: false;
    /// `clear_switched()`: `clts`.
    CLTS = "clear_switched", control::clear_switched, fpu: false;
    /// `load_status(value)`: `lmsw`.
    LMSW = "load_status", control::load_status, fpu: false;
    /// `read_msr()`: ecx, edx:eax.
    RDMSR = "read_msr", msr::read, fpu: false;
    /// `write_msr()`: likewise.
    WRMSR = "write_msr", msr::write, fpu: false;
    /// `read_counter()`: `rdpmc`.
    RDPMC = "read_counter", msr::read_counter, fpu: false;
    /// `time_stamp(1 for rdtscp)`: the counter, 64 bits; `rdtscp` writes ecx.
    SYSTEM_RDTSC = "time_stamp", msr::time_stamp, fpu: false;
    /// `read_tsc_aux()`: what `rdpid` tells.
    READ_TSC_AUX = "read_tsc_aux", msr::read_processor, fpu: false;
    /// `write_extended()`: `xsetbv`; ecx, edx:eax.
    XSETBV = "write_extended", control::write_extended, fpu: false;
    /// `invalidate_page(linear address)`: `invlpg`.
    INVLPG = "invalidate_page", control::invalidate_page, fpu: false;
    /// `invalidate_context(type, linear address)`: `invpcid`.
    INVPCID = "invalidate_context", control::invalidate_context, fpu: false;
    /// `port_in(port, bytes)`.
    IN = "port_in", io::port_in, fpu: false;
    /// `port_out(port, bytes, value)`.
    OUT = "port_out", io::port_out, fpu: false;
    /// `load_gdt(linear address, operand size)`.
    LGDT = "load_gdt", tables::load_gdt, fpu: false;
    /// `load_idt(linear address, operand size)`.
    LIDT = "load_idt", tables::load_idt, fpu: false;
    /// `store_gdt(linear address, operand size)`.
    SGDT = "store_gdt", tables::store_gdt, fpu: false;
    /// `store_idt(linear address, operand size)`.
    SIDT = "store_idt", tables::store_idt, fpu: false;
    /// `load_ldt(selector)`.
    LLDT = "load_ldt", tables::load_ldt_register, fpu: false;
    /// `load_task(selector)`: `ltr`.
    LTR = "load_task", tables::load_task, fpu: false;
    /// `store_ldt()`: the selector.
    SLDT = "store_ldt", tables::store_ldt, fpu: false;
    /// `store_task()`: the selector.
    STR = "store_task", tables::store_task, fpu: false;
    /// `push_flags(operand size)`: the image.
    PUSHF = "push_flags", flags::push, fpu: false;
    /// `pop_flags(image, operand size)`.
    POPF = "pop_flags", flags::pop, fpu: false;
    /// `allow_access()`: `stac`.
    STAC = "allow_access", flags::allow_access, fpu: false;
    /// `forbid_access()`: `clac`.
    CLAC = "forbid_access", flags::forbid_access, fpu: false;
    /// `swap_gs()`.
    SWAPGS = "swap_gs", fast::swap_gs, fpu: false;
    /// `monitor()`: the checks.
    MONITOR = "monitor", fast::monitor, fpu: false;
    /// `monitor_wait()`: the checks.
    MWAIT = "monitor_wait", fast::monitor_wait, fpu: false;
    /// `check_segment(segment number, bytes << 8, 1 << 16 for a write; offset)`.
    CHECK_SEGMENT = "check_segment", tables::check, fpu: false;
    /// `single_step()`: an instruction ran with EFLAGS.TF set.
    SINGLE_STEP = "single_step", debug::single_step, fpu: false;
}
