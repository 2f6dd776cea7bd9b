//! Linux for x86-64 programs.

mod calls;
mod frame;
mod prctl;
mod vsyscall;

use crate::abi::{Abi, FaultRecord, Layout};
use crate::arch::x86_traps;
use crate::convert::misc::Layouts;
use crate::errno::{EPERM, Errno, NO_RESULT};
use crate::signal::frame::Delivery;
use crate::signal::info::SigInfo;
use crate::table::{SysResult, SyscallTable};
use crate::task::Cx;
use isamorph_guest::Guest;
use isamorph_ir::{CpuState, RegId, Trap};
use isamorph_x86::state::{self as x86, EAX, EDI, EDX, ESI, ESP, FS_BASE, gpr};
use std::sync::Arc;

/// The architecture.
pub struct X86_64;

/// Length of `syscall`.
const SYSCALL_LEN: u64 = 2;

/// CPUID features that programs take from `AT_HWCAP` are those of leaf 1, register edx.
const HWCAP: u64 = 0x0789_fbff;
/// `HWCAP2_FSGSBASE`.
const HWCAP2: u64 = 1 << 1;

fn get(state: &CpuState, reg: RegId) -> u64 {
    state.get(&x86::AMD64, reg)
}

fn set(state: &mut CpuState, reg: RegId, value: u64) {
    state.set(&x86::AMD64, reg, value);
}

impl Abi for X86_64 {
    fn name(&self) -> &'static str {
        "x86_64"
    }
    fn machine(&self) -> &'static str {
        "x86_64"
    }
    fn guest(&self) -> Arc<dyn Guest> {
        Arc::new(isamorph_x86::X86::amd64())
    }
    fn layouts(&self) -> &'static Layouts {
        &Layouts::X86_64
    }
    fn elf_machine(&self) -> u16 {
        object::elf::EM_X86_64.0
    }
    fn layout(&self) -> Layout {
        Layout { signal_stack: frame::MIN_STACK, ..super::LAYOUT_64 }
    }
    fn calls(&self) -> &'static SyscallTable {
        &calls::CALLS
    }
    fn hwcap(&self) -> [u64; 2] {
        [HWCAP, HWCAP2]
    }
    fn platform(&self) -> &'static str {
        "x86_64"
    }
    fn trampoline(&self) -> &'static [u8] {
        &[]
    }

    fn start(&self, entry: u64, sp: u64) -> Box<CpuState> {
        let mut state = CpuState::new();
        x86::reset_user64(&mut state);
        state.set_pc(entry);
        set(&mut state, ESP, sp);
        state
    }
    /// `syscall` only: `int 0x80` is refused, as by a kernel without `CONFIG_IA32_EMULATION`.
    fn syscall(&self, state: &CpuState, code: u32) -> Option<(u64, [u64; 6])> {
        let args = [EDI, ESI, EDX, gpr(10), gpr(8), gpr(9)].map(|reg| get(state, reg));
        (code == isamorph_x86::syscall::AMD64_SYSCALL).then(|| (get(state, EAX), args))
    }
    fn set_result(&self, state: &mut CpuState, result: SysResult) {
        match result {
            Ok(value) => set(state, EAX, value),
            Err(NO_RESULT) => {}
            Err(Errno(e)) => set(state, EAX, -i64::from(e) as u64),
        }
    }
    fn restart(&self, state: &mut CpuState, nr: u64) {
        state.set_pc(state.pc().wrapping_sub(SYSCALL_LEN));
        set(state, EAX, nr);
    }
    fn restart_nr(&self) -> u64 {
        219
    }
    fn stack_pointer(&self, state: &CpuState) -> u64 {
        get(state, ESP)
    }
    fn set_stack_pointer(&self, state: &mut CpuState, sp: u64) {
        set(state, ESP, sp);
    }
    fn set_tls(&self, _: &Cx, state: &mut CpuState, arg: u64) -> Result<(), Errno> {
        if arg >= super::LAYOUT_64.end {
            return Err(EPERM);
        }
        set(state, FS_BASE, arg);
        Ok(())
    }
    fn trap(&self, state: &CpuState, trap: Trap, last: FaultRecord) -> (SigInfo, FaultRecord) {
        x86_traps::signal(state, trap, last)
    }
    fn enter_kernel_page(&self, cx: &mut Cx) -> bool {
        vsyscall::enter(cx)
    }
    fn push_frame(&self, cx: &mut Cx, delivery: &Delivery) -> Result<(), Errno> {
        frame::push(cx, delivery)
    }
    fn pop_frame(&self, cx: &mut Cx, _: bool) -> SysResult {
        frame::pop(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::ENOENT;

    #[test]
    fn numbers_are_the_hosts() {
        for row in calls::CALLS.rows() {
            let crate::table::Handler::Host(host) = row.handler else { continue };
            assert_eq!(i64::from(row.nr), host, "{}", row.name);
        }
        let names: std::collections::HashSet<_> = calls::CALLS.rows().iter().map(|r| r.name).collect();
        assert_eq!(names.len(), calls::CALLS.rows().len());
    }

    #[test]
    fn every_number_of_the_kernel_has_a_row() {
        let known = (0..=335).chain(424..=467);
        assert_eq!(known.filter(|nr| calls::CALLS.get(*nr).is_none()).collect::<Vec<_>>(), []);
    }

    #[test]
    fn results_and_restart() {
        let mut s = X86_64.start(0x1000, 0x2000);
        X86_64.set_result(&mut s, Err(ENOENT));
        assert_eq!(get(&s, EAX), -2i64 as u64);
        X86_64.set_result(&mut s, Err(NO_RESULT));
        assert_eq!(get(&s, EAX), -2i64 as u64);
        s.set_pc(0x1002);
        X86_64.restart(&mut s, 7);
        assert_eq!((s.pc(), get(&s, EAX)), (0x1000, 7));
        assert_eq!(X86_64.syscall(&s, isamorph_x86::syscall::AMD64_SYSCALL).map(|(nr, _)| nr), Some(7));
        assert!(X86_64.syscall(&s, 0x80).is_none());
    }
}
