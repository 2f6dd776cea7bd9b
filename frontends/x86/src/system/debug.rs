//! Breakpoints and single steps (SDM vol. 3, chapter 17).

use super::cpu::{Cpu, UD, cr4, fault, gp};
use crate::exception;
use crate::state::{AMD64, EFLAGS_REST, debugged, eflag, word};
use isamorph_ir::{CpuState, HelperCx, Trap};

/// Bits of DR6: breakpoints that were hit, access to debug registers, single step, task switch.
const HIT: u64 = 15;
const ACCESS: u64 = 1 << 13;
pub(super) const SINGLE_STEP: u64 = 1 << 14;
pub(super) const TASK_SWITCH: u64 = 1 << 15;
/// DR6 and DR7 after reset; the bits that are always one.
pub(super) const DR6_FIXED: u64 = 0xffff_0ff0;
pub(super) const DR7_FIXED: u64 = 0x400;
/// The bits of DR6 and DR7 that can be written.
const DR6_WRITABLE: u64 = 0xe00f;
const DR7_WRITABLE: u64 = 0xffff_2bff;
/// DR7.GD: the next access to a debug register is an exception.
const GENERAL_DETECT: u64 = 1 << 13;
/// Kinds of breakpoints in DR7.
const EXECUTE: u64 = 0;
const PORT: u64 = 2;

/// The kind and the length code of breakpoint `n` if it is enabled.
fn breakpoint(state: &CpuState, n: u32) -> Option<(u64, u64)> {
    let dr7 = word::DR7.get(state);
    (dr7 >> (2 * n) & 3 != 0).then(|| (dr7 >> (16 + 4 * n) & 3, dr7 >> (18 + 4 * n) & 3))
}

/// What is to be raised before the next instruction: what the last one left, or a breakpoint at it.
pub(super) fn due(state: &CpuState) -> Option<Trap> {
    let pending = word::PENDING_DEBUG.get(state);
    if pending != 0 {
        return Some(fault(exception::DB, pending));
    }
    let passes = state.get(&AMD64, EFLAGS_REST) as u32 & eflag::RF != 0;
    if passes || !debugged(state) {
        return None;
    }
    let hit =
        |n: &u32| matches!(breakpoint(state, *n), Some((EXECUTE, _))) && word::DR0.at(*n).get(state) == state.pc();
    let bits = (0..4).filter(hit).fold(0, |bits, n| bits | 1 << n);
    (bits != 0).then(|| fault(exception::DB, bits))
}

impl Cpu<'_> {
    /// Leaves a debug trap for before the next instruction.
    pub(super) fn pend_debug(&mut self, bits: u64) {
        let bits = bits | word::PENDING_DEBUG.get(self.state);
        word::PENDING_DEBUG.set(self.state, bits);
    }
    /// Notes in the debug registers why #DB is raised.
    pub(super) fn note_debug(&mut self, bits: u64) {
        word::PENDING_DEBUG.set(self.state, 0);
        // Which breakpoints were hit is told anew each time; the other bits stay until software clears them.
        let dr6 = word::DR6.get(self.state) & !HIT | bits;
        word::DR6.set(self.state, dr6);
        let dr7 = word::DR7.get(self.state) & !GENERAL_DETECT;
        word::DR7.set(self.state, dr7);
    }
    /// Breakpoints on I/O ports, after the access.
    pub(super) fn watch_port(&mut self, port: u16, bytes: u32) {
        if !debugged(self.state) || self.cr4() & cr4::DE == 0 {
            return;
        }
        let (first, last) = (u64::from(port), u64::from(port) + u64::from(bytes) - 1);
        for n in 0..4 {
            if let Some((PORT, length)) = breakpoint(self.state, n) {
                // Lengths 1, 2, 8, 4 have codes 0 to 3.
                let length = [1, 2, 8, 4][length as usize];
                let start = word::DR0.at(n).get(self.state) & !(length - 1);
                if first < start.saturating_add(length) && start <= last {
                    self.pend_debug(1 << n);
                }
            }
        }
    }
    /// The register that a number names; DR4 and DR5 are others' names unless debugging extensions are on.
    fn debug_register(&self, number: u64) -> Result<word::Word, Trap> {
        if self.cpl() != 0 {
            return Err(gp(0));
        }
        if word::DR7.get(self.state) & GENERAL_DETECT != 0 {
            return Err(fault(exception::DB, ACCESS));
        }
        match number {
            0..=3 => Ok(word::DR0.at(number as u32)),
            4 | 5 if self.cr4() & cr4::DE != 0 => Err(UD),
            4 | 6 => Ok(word::DR6),
            5 | 7 => Ok(word::DR7),
            _ => Err(UD),
        }
    }
}

/// `read_dr(number)`.
pub(crate) fn read(cx: &mut HelperCx<'_>, [number, ..]: [u64; 3]) -> Result<u64, Trap> {
    let cpu = Cpu::new(cx)?;
    Ok(cpu.debug_register(number)?.get(cpu.state))
}

/// `write_dr(number, value)`.
pub(crate) fn write(cx: &mut HelperCx<'_>, [number, value, _]: [u64; 3]) -> Result<u64, Trap> {
    let cpu = Cpu::new(cx)?;
    let register = cpu.debug_register(number)?;
    let value = match register {
        word::DR6 | word::DR7 if value >> 32 != 0 => return Err(gp(0)),
        word::DR6 => value & DR6_WRITABLE | DR6_FIXED,
        word::DR7 => value & DR7_WRITABLE | DR7_FIXED,
        _ => value,
    };
    register.set(cpu.state, value);
    Ok(0)
}

/// `single_step()`: an instruction ran with EFLAGS.TF set.
pub(crate) fn single_step(cx: &mut HelperCx<'_>, _args: [u64; 3]) -> Result<u64, Trap> {
    Cpu::new(cx)?.pend_debug(SINGLE_STEP);
    Ok(0)
}
