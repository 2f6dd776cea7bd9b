//! From exceptions of an x86 processor to signals (SDM vol. 3, chapter 6; the signals are those that Linux sends).

use crate::abi::FaultRecord;
use crate::signal::info::{SI_KERNEL, SigInfo};
use isamorph_ir::{CpuState, FaultCause, FloatUnit, MemFault, Trap};
use isamorph_x86::state as x86;
use libc::{SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP};

/// What Linux sends for an exception.
enum Cause {
    /// A code, and the address of the instruction.
    At(i32),
    /// No details.
    Kernel,
    /// One of the floating-point codes, from the unmasked bits of a status word.
    Fpu,
    /// The same for SSE.
    Simd,
}

/// One row per exception vector: signal and cause.
const VECTORS: [(i32, Cause); 20] = [
    (SIGFPE, Cause::At(FPE_INTDIV)),   // #DE
    (SIGTRAP, Cause::At(TRAP_BRKPT)),  // #DB; nothing but int1 raises it
    (SIGSEGV, Cause::Kernel),          // NMI: not raised by programs
    (SIGTRAP, Cause::Kernel),          // #BP
    (SIGSEGV, Cause::Kernel),          // #OF
    (SIGSEGV, Cause::Kernel),          // #BR
    (SIGILL, Cause::At(ILL_ILLOPN)),   // #UD
    (SIGSEGV, Cause::Kernel),          // #NM
    (SIGSEGV, Cause::Kernel),          // #DF
    (SIGFPE, Cause::Kernel),           // coprocessor segment overrun
    (SIGSEGV, Cause::Kernel),          // #TS
    (SIGBUS, Cause::Kernel),           // #NP
    (SIGBUS, Cause::Kernel),           // #SS
    (SIGSEGV, Cause::Kernel),          // #GP
    (SIGSEGV, Cause::At(SEGV_MAPERR)), // #PF; failed accesses have a trap of their own
    (SIGSEGV, Cause::Kernel),          // reserved
    (SIGFPE, Cause::Fpu),              // #MF
    (SIGBUS, Cause::At(BUS_ADRALN)),   // #AC
    (SIGSEGV, Cause::Kernel),          // #MC: not raised by programs
    (SIGFPE, Cause::Simd),             // #XM
];

const DIVIDE: u32 = 0;
const PAGE_FAULT: u32 = 14;
const FPU: u32 = 16;
const SIMD: u32 = 19;

const FPE_INTDIV: i32 = 1;
const FPE_FLTDIV: i32 = 3;
const FPE_FLTOVF: i32 = 4;
const FPE_FLTUND: i32 = 5;
const FPE_FLTRES: i32 = 6;
const FPE_FLTINV: i32 = 7;
const TRAP_BRKPT: i32 = 1;
const ILL_ILLOPN: i32 = 2;
const SEGV_MAPERR: i32 = 1;
const SEGV_ACCERR: i32 = 2;
const BUS_ADRALN: i32 = 1;
const BUS_ADRERR: i32 = 2;

/// Bits of a page fault's error code (SDM vol. 3, 4.7).
mod pf {
    pub const PRESENT: u32 = 1;
    pub const WRITE: u32 = 2;
    pub const USER: u32 = 4;
    pub const FETCH: u32 = 16;
}

/// The signal that an exception raises, and what its frame shows.
pub fn signal(state: &CpuState, trap: Trap, last: FaultRecord) -> (SigInfo, FaultRecord) {
    let (info, record) = match trap {
        Trap::Memory(fault) => memory(state, fault),
        Trap::Divide => vector(state, DIVIDE, 0),
        Trap::Float(FloatUnit::X87) => vector(state, FPU, 0),
        Trap::Float(FloatUnit::Vector) => vector(state, SIMD, 0),
        Trap::Exception { code, arg } => vector(state, code, arg as u32),
    };
    let addr = if record.number == PAGE_FAULT { record.addr } else { last.addr };
    (info, FaultRecord { addr, ..record })
}

/// Whether the access was that of an instruction to its own bytes: memory that can be executed can also be read, so
/// that no other access fails there.
fn is_fetch(state: &CpuState, fault: MemFault) -> bool {
    const LONGEST: u64 = 15;
    !fault.write && fault.addr.wrapping_sub(state.pc()) < LONGEST
}

/// Whether the upper bits of an address are copies of bit 47.
fn is_canonical(addr: u64) -> bool {
    addr == ((addr << 16) as i64 >> 16) as u64
}

fn memory(state: &CpuState, fault: MemFault) -> (SigInfo, FaultRecord) {
    let (signo, code, present) = match fault.cause {
        FaultCause::Unmapped => (SIGSEGV, SEGV_MAPERR, 0),
        FaultCause::Protected | FaultCause::Guest { .. } => (SIGSEGV, SEGV_ACCERR, pf::PRESENT),
        FaultCause::NoBacking => (SIGBUS, BUS_ADRERR, 0),
        FaultCause::Misaligned => (SIGSEGV, SI_KERNEL, 0),
    };
    if fault.cause == FaultCause::Misaligned || !is_canonical(fault.addr) {
        // Alignment that an instruction demands is checked as a general protection fault (SDM vol. 1, 4.1.1), and so is
        // the form of an address (3.3.7.1).
        return (SigInfo::kernel(SIGSEGV), FaultRecord { number: 13, error: 0, addr: 0 });
    }
    let write = if fault.write { pf::WRITE } else { 0 };
    let fetch = if is_fetch(state, fault) { pf::FETCH } else { 0 };
    let error = present | pf::USER | write | fetch;
    (SigInfo::fault(signo, code, fault.addr), FaultRecord { number: PAGE_FAULT, error, addr: fault.addr })
}

fn vector(state: &CpuState, number: u32, error: u32) -> (SigInfo, FaultRecord) {
    let record = FaultRecord { number, error, addr: 0 };
    let Some((signo, cause)) = VECTORS.get(number as usize) else { return (SigInfo::kernel(SIGSEGV), record) };
    let code = match cause {
        Cause::Kernel => return (SigInfo::kernel(*signo), record),
        Cause::At(code) => *code,
        Cause::Fpu => float_code(fpu_pending(state)),
        Cause::Simd => float_code(simd_pending(state)),
    };
    (SigInfo::fault(*signo, code, state.pc()), record)
}

/// Exception flags of the x87 unit that are set and not masked (SDM vol. 1, 8.1.3 and 8.1.5).
fn fpu_pending(state: &CpuState) -> u32 {
    let image = x86::fxsave_image(state);
    u32::from(image[2] & !image[0]) & 0x3f
}

/// The same of the SSE unit (SDM vol. 1, 10.2.3).
fn simd_pending(state: &CpuState) -> u32 {
    let image = x86::fxsave_image(state);
    let mxcsr = u32::from_le_bytes([image[24], image[25], image[26], image[27]]);
    mxcsr & !(mxcsr >> 7) & 0x3f
}

/// The code for a set of exception flags I D Z O U P; several at once are told in the order Linux looks at them.
fn float_code(flags: u32) -> i32 {
    match flags {
        f if f & 0x01 != 0 => FPE_FLTINV,
        f if f & 0x04 != 0 => FPE_FLTDIV,
        f if f & 0x08 != 0 => FPE_FLTOVF,
        f if f & 0x12 != 0 => FPE_FLTUND,
        f if f & 0x20 != 0 => FPE_FLTRES,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::Abi;
    use crate::signal::info::Fields;

    fn info(trap: Trap) -> (i32, i32) {
        let mut state = crate::arch::i386::I386.start(0x1234, 0);
        state.set_pc(0x1234);
        let (info, _) = signal(&state, trap, FaultRecord::default());
        (info.signo, info.code)
    }

    #[test]
    fn faults() {
        let fault = |cause| Trap::Memory(MemFault { addr: 0x10, write: true, cause });
        assert_eq!(info(fault(FaultCause::Unmapped)), (SIGSEGV, SEGV_MAPERR));
        assert_eq!(info(fault(FaultCause::Protected)), (SIGSEGV, SEGV_ACCERR));
        assert_eq!(info(fault(FaultCause::NoBacking)), (SIGBUS, BUS_ADRERR));
        assert_eq!(info(fault(FaultCause::Misaligned)), (SIGSEGV, SI_KERNEL));
        let state = crate::arch::i386::I386.start(0, 0);
        let (info, record) = signal(&state, fault(FaultCause::Protected), FaultRecord::default());
        assert_eq!(record, FaultRecord { number: 14, error: 7, addr: 0x10 });
        assert!(matches!(info.fields, Fields::Fault(f) if f.addr.0 == 0x10));
    }

    #[test]
    fn an_address_without_the_form_of_one_is_no_page_fault() {
        let fault = |addr| info(Trap::Memory(MemFault { addr, write: false, cause: FaultCause::Unmapped }));
        assert_eq!(fault(1 << 63), (SIGSEGV, SI_KERNEL));
        assert_eq!(fault(0xffff_8000_0000_0000), (SIGSEGV, SEGV_MAPERR));
    }

    #[test]
    fn fetches_and_earlier_addresses() {
        let mut state = crate::arch::i386::I386.start(0, 0);
        state.set_pc(0x5000);
        let fetch = Trap::Memory(MemFault { addr: 0x5001, write: false, cause: FaultCause::Unmapped });
        let (_, record) = signal(&state, fetch, FaultRecord::default());
        assert_eq!(record.error, pf::USER | pf::FETCH);
        let (_, next) = signal(&state, Trap::Divide, record);
        assert_eq!((next.number, next.addr), (DIVIDE, 0x5001));
    }

    #[test]
    fn vectors() {
        let exception = |code| Trap::Exception { code, arg: 0 };
        assert_eq!(info(Trap::Divide), (SIGFPE, FPE_INTDIV));
        assert_eq!(info(exception(1)), (SIGTRAP, TRAP_BRKPT));
        assert_eq!(info(exception(3)), (SIGTRAP, SI_KERNEL));
        assert_eq!(info(exception(6)), (SIGILL, ILL_ILLOPN));
        assert_eq!(info(exception(13)), (SIGSEGV, SI_KERNEL));
        assert_eq!(info(exception(255)), (SIGSEGV, SI_KERNEL));
    }

    #[test]
    fn floating_point_codes_come_from_unmasked_flags() {
        let mut state = crate::arch::i386::I386.start(0, 0);
        let image = x86::fxsave_image_mut(&mut state);
        image[0] = 0x7b; // zero divide unmasked
        image[2] = 0x24; // zero divide and precision
        assert_eq!(signal(&state, Trap::Float(FloatUnit::X87), FaultRecord::default()).0.code, FPE_FLTDIV);
        let mut state = crate::arch::i386::I386.start(0, 0);
        x86::fxsave_image_mut(&mut state)[24..28].copy_from_slice(&(0x1f80u32 & !(1 << 7) | 1).to_le_bytes());
        assert_eq!(signal(&state, Trap::Float(FloatUnit::Vector), FaultRecord::default()).0.code, FPE_FLTINV);
    }
}
