//! From exceptions of an Arm processor to signals (arch/arm/kernel/traps.c, arch/arm/mm/fault.c).
//!
//! The record of a fault has the number that the kernel calls a trap in `number`, and the fault status in `error`.

use crate::abi::FaultRecord;
use crate::signal::info::SigInfo;
use isamorph_arm::exception;
use isamorph_ir::{CpuState, FaultCause, MemFault, Trap};
use libc::{SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP};

const SEGV_MAPERR: i32 = 1;
const SEGV_ACCERR: i32 = 2;
const BUS_ADRALN: i32 = 1;
const BUS_ADRERR: i32 = 2;
const ILL_ILLOPC: i32 = 1;
const TRAP_BRKPT: i32 = 1;
const FPE_INTDIV: i32 = 1;

/// Numbers of an undefined instruction and of a failed access in signal frames.
const UNDEFINED: u32 = 6;
const ABORT: u32 = 14;

/// Whether an undefined instruction is one that debuggers use as a breakpoint (arch/arm/kernel/ptrace.c): in A32
/// whatever its condition.
const fn is_breakpoint(insn: u64, thumb: bool) -> bool {
    if thumb { matches!(insn, 0xde01 | 0xf7f0_a000) } else { insn & 0x0fff_ffff == 0x07f0_01f0 }
}

/// Fields of the fault status register (DDI 0406C B4.1.52), in the long-descriptor form's older sibling.
mod fsr {
    pub const WRITE: u32 = 1 << 11;
    pub const TRANSLATION: u32 = 0x07;
    pub const PERMISSION: u32 = 0x0f;
    pub const EXTERNAL: u32 = 0x08;
    pub const ALIGNMENT: u32 = 0x01;
}

/// The signal that an exception raises, and what its frame shows.
pub fn signal(state: &CpuState, trap: Trap, last: FaultRecord) -> (SigInfo, FaultRecord) {
    let pc = state.pc() & !1;
    let at = |signo, code| SigInfo::fault(signo, code, pc);
    let undefined = FaultRecord { number: UNDEFINED, error: 0, addr: last.addr };
    match trap {
        Trap::Memory(fault) => memory(fault),
        Trap::Exception { code: exception::BREAKPOINT, .. } => (at(SIGTRAP, TRAP_BRKPT), last),
        Trap::Exception { code: exception::PC_ALIGNMENT, .. } => {
            (at(SIGBUS, BUS_ADRALN), FaultRecord { number: ABORT, error: fsr::ALIGNMENT, addr: pc })
        }
        Trap::Exception { code: exception::UNDEFINED, arg } if is_breakpoint(arg, state.pc() & 1 != 0) => {
            (at(SIGTRAP, TRAP_BRKPT), last)
        }
        Trap::Exception { .. } => (at(SIGILL, ILL_ILLOPC), undefined),
        // Exceptions of arithmetic are never trapped.
        Trap::Divide | Trap::Float(_) => (at(SIGFPE, FPE_INTDIV), undefined),
    }
}

fn memory(fault: MemFault) -> (SigInfo, FaultRecord) {
    let (signo, code, status) = match fault.cause {
        FaultCause::Unmapped => (SIGSEGV, SEGV_MAPERR, fsr::TRANSLATION),
        FaultCause::Protected | FaultCause::Guest { .. } => (SIGSEGV, SEGV_ACCERR, fsr::PERMISSION),
        FaultCause::NoBacking => (SIGBUS, BUS_ADRERR, fsr::EXTERNAL),
        FaultCause::Misaligned => (SIGBUS, BUS_ADRALN, fsr::ALIGNMENT),
    };
    let write = if fault.write { fsr::WRITE } else { 0 };
    let record = FaultRecord { number: ABORT, error: status | write, addr: fault.addr };
    (SigInfo::fault(signo, code, fault.addr), record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::info::Fields;

    fn raise(trap: Trap) -> (SigInfo, FaultRecord) {
        let mut state = CpuState::new();
        state.set_pc(0x5001);
        signal(&state, trap, FaultRecord::default())
    }

    #[test]
    fn faults() {
        let (info, record) = raise(Trap::Memory(MemFault { addr: 0x10, write: true, cause: FaultCause::Protected }));
        assert_eq!((info.signo, info.code), (SIGSEGV, SEGV_ACCERR));
        assert_eq!(record, FaultRecord { number: 14, error: 0x80f, addr: 0x10 });
        let (info, _) = raise(Trap::Memory(MemFault { addr: 1, write: false, cause: FaultCause::Misaligned }));
        assert_eq!((info.signo, info.code), (SIGBUS, BUS_ADRALN));
    }

    #[test]
    fn exceptions_have_the_address_without_the_thumb_bit() {
        let (info, _) = raise(Trap::Exception { code: exception::UNDEFINED, arg: 0 });
        assert_eq!((info.signo, info.code), (SIGILL, ILL_ILLOPC));
        assert!(matches!(info.fields, Fields::Fault(f) if f.addr.0 == 0x5000));
        assert_eq!(raise(Trap::Exception { code: exception::BREAKPOINT, arg: 0 }).0.signo, SIGTRAP);
        let (info, record) = raise(Trap::Exception { code: exception::PC_ALIGNMENT, arg: 0 });
        assert_eq!((info.signo, info.code), (SIGBUS, BUS_ADRALN));
        assert_eq!(record, FaultRecord { number: 14, error: 1, addr: 0x5000 });
    }

    #[test]
    fn undefined_instructions_that_are_breakpoints() {
        let signal_at = |pc, arg| {
            let mut state = CpuState::new();
            state.set_pc(pc);
            let trap = Trap::Exception { code: exception::UNDEFINED, arg };
            signal(&state, trap, FaultRecord::default()).0.signo
        };
        for (pc, insn) in [(0x5001, 0xde01), (0x5001, 0xf7f0_a000), (0x5000, 0xe7f0_01f0), (0x5000, 0x17f0_01f0)] {
            assert_eq!(signal_at(pc, insn), SIGTRAP, "{insn:#x}");
        }
        for (pc, insn) in [(0x5001, 0xde02), (0x5000, 0xde01), (0x5001, 0xe7f0_01f0), (0x5000, 0xe7f0_01f1)] {
            assert_eq!(signal_at(pc, insn), SIGILL, "{insn:#x}");
        }
    }
}
