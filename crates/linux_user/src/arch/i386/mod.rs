//! Linux for i386 programs, as a 64-bit kernel offers it to them.

mod calls;
mod frame;
mod old;
mod tls;

use crate::abi::{Abi, FaultRecord, Layout};
use crate::arch::x86_traps;
use crate::convert::misc::Layouts;
use crate::errno::{Errno, NO_RESULT};
use crate::signal::frame::Delivery;
use crate::signal::info::SigInfo;
use crate::table::{SysResult, SyscallTable};
use crate::task::Cx;
use isamorph_guest::Guest;
use isamorph_ir::{CpuState, RegId, Trap};
use isamorph_x86::state::{self as x86, EAX, EBP, EBX, ECX, EDI, EDX, ESI, ESP};
use std::sync::Arc;

/// The architecture.
pub struct I386;

/// Vector of the system-call gate (`int 0x80`).
const SYSCALL_VECTOR: u32 = isamorph_x86::syscall::INT80;
/// Length of `int 0x80`.
const SYSCALL_LEN: u64 = 2;

/// CPUID features that programs take from `AT_HWCAP` are those of leaf 1, register edx.
const HWCAP: u64 = 0x0789_fbff;

fn get(state: &CpuState, reg: RegId) -> u64 {
    state.get(&x86::I386, reg)
}

fn set(state: &mut CpuState, reg: RegId, value: u64) {
    state.set(&x86::I386, reg, value);
}

impl Abi for I386 {
    fn name(&self) -> &'static str {
        "i386"
    }
    fn machine(&self) -> &'static str {
        "i686"
    }
    fn guest(&self) -> Arc<dyn Guest> {
        Arc::new(isamorph_x86::X86::i386())
    }
    fn layouts(&self) -> &'static Layouts {
        &Layouts::I386
    }
    fn elf_machine(&self) -> u16 {
        object::elf::EM_386.0
    }
    fn layout(&self) -> Layout {
        Layout {
            end: 0xffff_e000,
            stack_top: 0xffff_e000,
            pie_base: 0x5655_5000,
            page: 0x1000,
            signal_stack: frame::MIN_STACK,
        }
    }
    fn calls(&self) -> &'static SyscallTable {
        &calls::CALLS
    }
    fn hwcap(&self) -> [u64; 2] {
        [HWCAP, 0]
    }
    fn platform(&self) -> &'static str {
        "i686"
    }
    fn trampoline(&self) -> &'static [u8] {
        frame::TRAMPOLINES
    }

    fn start(&self, entry: u64, sp: u64) -> Box<CpuState> {
        let mut state = CpuState::new();
        x86::reset_user(&mut state);
        state.set_pc(entry);
        set(&mut state, ESP, sp);
        state
    }
    fn syscall(&self, state: &CpuState, code: u32) -> Option<(u64, [u64; 6])> {
        let args = [EBX, ECX, EDX, ESI, EDI, EBP].map(|reg| get(state, reg));
        (code == SYSCALL_VECTOR).then(|| (get(state, EAX), args))
    }
    fn set_result(&self, state: &mut CpuState, result: SysResult) {
        match result {
            Ok(value) => set(state, EAX, value),
            Err(NO_RESULT) => {}
            Err(Errno(e)) => set(state, EAX, -i64::from(e) as u64),
        }
    }
    fn restart(&self, state: &mut CpuState, nr: u64) {
        let pc = state.pc().wrapping_sub(SYSCALL_LEN) & 0xffff_ffff;
        state.set_pc(pc);
        set(state, EAX, nr);
    }
    fn restart_nr(&self) -> u64 {
        0
    }
    fn stack_pointer(&self, state: &CpuState) -> u64 {
        get(state, ESP)
    }
    fn set_stack_pointer(&self, state: &mut CpuState, sp: u64) {
        set(state, ESP, sp);
    }
    fn set_tls(&self, cx: &Cx, state: &mut CpuState, arg: u64) -> Result<(), Errno> {
        tls::set_for_clone(cx, state, arg)
    }
    fn trap(&self, state: &CpuState, trap: Trap, last: FaultRecord) -> (SigInfo, FaultRecord) {
        x86_traps::signal(state, trap, last)
    }
    fn push_frame(&self, cx: &mut Cx, delivery: &Delivery) -> Result<(), Errno> {
        frame::push(cx, delivery)
    }
    fn pop_frame(&self, cx: &mut Cx, rt: bool) -> SysResult {
        frame::pop(cx, rt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::ENOENT;

    #[test]
    fn every_number_has_a_row_and_every_name_is_used_once() {
        let rows = calls::CALLS.rows();
        for nr in 0..rows.len() as u64 {
            assert_eq!(calls::CALLS.get(nr).map(|r| u64::from(r.nr)), Some(nr));
        }
        assert!(rows.len() > 460);
        assert!(calls::CALLS.get(rows.len() as u64).is_none());
        let names: std::collections::HashSet<_> = rows.iter().map(|r| r.name).collect();
        assert_eq!(names.len(), rows.len());
    }

    #[test]
    fn arguments_fit_the_registers() {
        for row in calls::CALLS.rows() {
            assert!(row.registers(crate::convert::Model::I386) <= 6, "{}", row.name);
        }
    }

    #[test]
    fn results_and_restart() {
        let mut s = I386.start(0x1000, 0x2000);
        I386.set_result(&mut s, Err(ENOENT));
        assert_eq!(get(&s, EAX), 0xffff_fffe);
        I386.set_result(&mut s, Err(NO_RESULT));
        assert_eq!(get(&s, EAX), 0xffff_fffe);
        s.set_pc(0x1002);
        I386.restart(&mut s, 7);
        assert_eq!((s.pc(), get(&s, EAX)), (0x1000, 7));
        assert_eq!(I386.syscall(&s, 0x80).map(|(nr, _)| nr), Some(7));
        assert!(I386.syscall(&s, 0x81).is_none());
    }
}
