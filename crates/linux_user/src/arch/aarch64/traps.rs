//! From exceptions of an AArch64 processor to signals (arch/arm64/kernel/traps.c, arch/arm64/mm/fault.c).
//!
//! The record of a fault has the exception syndrome in `error` (Arm ARM D17.2.37, ESR_ELx), as signal frames show it;
//! zero is none.

use crate::abi::FaultRecord;
use crate::signal::info::SigInfo;
use isamorph_a64::exception;
use isamorph_ir::{CpuState, FaultCause, MemFault, Trap};
use libc::{SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP};

const SEGV_MAPERR: i32 = 1;
const SEGV_ACCERR: i32 = 2;
const BUS_ADRALN: i32 = 1;
const BUS_ADRERR: i32 = 2;
const ILL_ILLOPC: i32 = 1;
const TRAP_BRKPT: i32 = 1;
const FPE_FLTUNK: i32 = 14;

/// Fields of ESR_ELx.
mod esr {
    /// Instruction abort and data abort from a lower exception level.
    pub const INSTRUCTION_ABORT: u32 = 0x20;
    pub const DATA_ABORT: u32 = 0x24;
    /// A 32-bit instruction.
    pub const IL: u32 = 1 << 25;
    /// The access was a write.
    pub const WRITE: u32 = 1 << 6;
    /// Fault status: translation and permission fault, level 3; external abort; alignment fault.
    pub const TRANSLATION: u32 = 0x07;
    pub const PERMISSION: u32 = 0x0f;
    pub const EXTERNAL: u32 = 0x10;
    pub const ALIGNMENT: u32 = 0x21;

    pub const fn syndrome(class: u32) -> u32 {
        class << 26 | IL
    }
}

/// An address without the tag in its top byte (`untagged_addr`).
fn untagged(addr: u64) -> u64 {
    ((addr << 8) as i64 >> 8) as u64
}

/// The signal that an exception raises, and what its frame shows.
pub fn signal(state: &CpuState, trap: Trap, last: FaultRecord) -> (SigInfo, FaultRecord) {
    let pc = state.pc();
    let at = |signo, code| SigInfo::fault(signo, code, pc);
    let none = FaultRecord::default();
    match trap {
        Trap::Memory(fault) => memory(pc, fault),
        Trap::Exception { code: exception::BREAKPOINT, .. } => (at(SIGTRAP, TRAP_BRKPT), last),
        Trap::Exception { code: exception::PC_ALIGNMENT, .. } => {
            let error = esr::syndrome(exception::PC_ALIGNMENT);
            (at(SIGBUS, BUS_ADRALN), FaultRecord { error, addr: pc, ..none })
        }
        Trap::Exception { .. } => (at(SIGILL, ILL_ILLOPC), none),
        // Exceptions of arithmetic are never trapped at EL0.
        Trap::Divide | Trap::Float(_) => (at(SIGFPE, FPE_FLTUNK), none),
    }
}

fn memory(pc: u64, fault: MemFault) -> (SigInfo, FaultRecord) {
    let (signo, code, status) = match fault.cause {
        FaultCause::Unmapped => (SIGSEGV, SEGV_MAPERR, esr::TRANSLATION),
        FaultCause::Protected | FaultCause::Guest { .. } => (SIGSEGV, SEGV_ACCERR, esr::PERMISSION),
        FaultCause::NoBacking => (SIGBUS, BUS_ADRERR, esr::EXTERNAL),
        FaultCause::Misaligned => (SIGBUS, BUS_ADRALN, esr::ALIGNMENT),
    };
    let fetch = !fault.write && fault.addr == pc;
    let class = if fetch { esr::INSTRUCTION_ABORT } else { esr::DATA_ABORT };
    let write = if fault.write { esr::WRITE } else { 0 };
    let addr = untagged(fault.addr);
    let record = FaultRecord { number: 0, error: esr::syndrome(class) | status | write, addr };
    (SigInfo::fault(signo, code, addr), record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::info::Fields;

    fn raise(trap: Trap) -> (SigInfo, FaultRecord) {
        let mut state = CpuState::new();
        state.set_pc(0x5000);
        signal(&state, trap, FaultRecord::default())
    }

    fn fault(addr: u64, write: bool, cause: FaultCause) -> (SigInfo, FaultRecord) {
        raise(Trap::Memory(MemFault { addr, write, cause }))
    }

    #[test]
    fn faults() {
        let (info, record) = fault(0x10, true, FaultCause::Protected);
        assert_eq!((info.signo, info.code), (SIGSEGV, SEGV_ACCERR));
        assert_eq!(record.error, 0x9200_004f, "data abort, write, permission fault");
        assert_eq!(fault(0x10, false, FaultCause::Misaligned).0.signo, SIGBUS);
        assert_eq!(fault(0x5000, false, FaultCause::Unmapped).1.error, 0x8200_0007, "instruction abort");
    }

    #[test]
    fn addresses_have_no_tags() {
        let (info, record) = fault(0x3400_0000_0000_1000, false, FaultCause::Unmapped);
        assert!(matches!(info.fields, Fields::Fault(f) if f.addr.0 == 0x1000));
        assert_eq!(record.addr, 0x1000);
    }

    #[test]
    fn exceptions() {
        let exception = |code| raise(Trap::Exception { code, arg: 0 }).0;
        let kinds = [exception::BREAKPOINT, exception::PC_ALIGNMENT, exception::UNDEFINED].map(exception);
        assert_eq!(kinds.map(|i| (i.signo, i.code)), [(SIGTRAP, 1), (SIGBUS, 1), (SIGILL, 1)]);
    }
}
