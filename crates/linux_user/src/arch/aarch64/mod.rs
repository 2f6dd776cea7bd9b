//! Linux for AArch64 programs.

mod calls;
mod frame;
mod prctl;
mod traps;

use crate::abi::{Abi, FaultRecord, Layout};
use crate::arch::cpuinfo;
use crate::convert::misc::Layouts;
use crate::errno::{Errno, NO_RESULT};
use crate::signal::frame::Delivery;
use crate::signal::info::SigInfo;
use crate::table::{SysResult, SyscallTable};
use crate::task::Cx;
use isamorph_a64::features;
use isamorph_a64::state::{self as a64, SP, TPIDR, x};
use isamorph_guest::Guest;
use isamorph_ir::{CpuState, RegId, Trap};
use std::sync::Arc;

/// The architecture.
pub struct AArch64;

/// Length of an instruction.
const INSN_LEN: u64 = 4;

fn get(state: &CpuState, reg: RegId) -> u64 {
    state.get(&a64::A64, reg)
}

fn set(state: &mut CpuState, reg: RegId, value: u64) {
    state.set(&a64::A64, reg, value);
}

impl Abi for AArch64 {
    fn name(&self) -> &'static str {
        "aarch64"
    }
    fn machine(&self) -> &'static str {
        "aarch64"
    }
    fn guest(&self) -> Arc<dyn Guest> {
        Arc::new(isamorph_a64::A64::new())
    }
    fn layouts(&self) -> &'static Layouts {
        &Layouts::AARCH64
    }
    fn elf_machine(&self) -> u16 {
        object::elf::EM_AARCH64.0
    }
    fn layout(&self) -> Layout {
        Layout { signal_stack: frame::MIN_STACK, ..super::LAYOUT_64 }
    }
    fn calls(&self) -> &'static SyscallTable {
        &calls::CALLS
    }
    fn hwcap(&self) -> [u64; 2] {
        [features::hwcap(), features::hwcap2()]
    }
    fn platform(&self) -> &'static str {
        "aarch64"
    }
    fn cpuinfo(&self) -> Option<String> {
        let description = cpuinfo::Description { model: None, architecture: 8, part: 0x051 };
        Some(cpuinfo::text(&description, self.hwcap(), &cpuinfo::AARCH64))
    }
    fn trampoline(&self) -> &'static [u8] {
        frame::TRAMPOLINE
    }

    fn start(&self, entry: u64, sp: u64) -> Box<CpuState> {
        let mut state = CpuState::new();
        a64::reset_user(&mut state);
        state.set_pc(entry);
        set(&mut state, SP, sp);
        prctl::new_keys(&mut state);
        state
    }
    fn syscall(&self, state: &CpuState, code: u32) -> Option<(u64, [u64; 6])> {
        let args = std::array::from_fn(|i| get(state, x(i as u32)));
        // The kernel takes the number as an `int`.
        (code == isamorph_a64::syscall::SVC).then(|| (get(state, x(8)) & 0xffff_ffff, args))
    }
    fn set_result(&self, state: &mut CpuState, result: SysResult) {
        match result {
            Ok(value) => set(state, x(0), value),
            Err(NO_RESULT) => {}
            Err(Errno(e)) => set(state, x(0), -i64::from(e) as u64),
        }
    }
    fn restart(&self, state: &mut CpuState, nr: u64) {
        state.set_pc(state.pc().wrapping_sub(INSN_LEN));
        set(state, x(8), nr);
    }
    fn restart_nr(&self) -> u64 {
        128
    }
    fn stack_pointer(&self, state: &CpuState) -> u64 {
        get(state, SP)
    }
    fn set_stack_pointer(&self, state: &mut CpuState, sp: u64) {
        set(state, SP, sp);
    }
    fn set_tls(&self, _: &Cx, state: &mut CpuState, arg: u64) -> Result<(), Errno> {
        set(state, TPIDR, arg);
        Ok(())
    }
    fn trap(&self, state: &CpuState, trap: Trap, last: FaultRecord) -> (SigInfo, FaultRecord) {
        traps::signal(state, trap, last)
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
    fn every_number_of_the_kernel_has_a_row() {
        let known = (0..=243).chain(260..=294).chain(424..=467);
        assert_eq!(known.filter(|nr| calls::CALLS.get(*nr).is_none()).collect::<Vec<_>>(), []);
        let names: std::collections::HashSet<_> = calls::CALLS.rows().iter().map(|r| r.name).collect();
        assert_eq!(names.len(), calls::CALLS.rows().len());
    }

    #[test]
    fn results_and_restart() {
        let mut s = AArch64.start(0x1000, 0x2000);
        set(&mut s, x(0), 99);
        AArch64.set_result(&mut s, Err(NO_RESULT));
        assert_eq!(get(&s, x(0)), 99);
        s.set_pc(0x1004);
        AArch64.restart(&mut s, 7);
        assert_eq!((s.pc(), get(&s, x(0)), get(&s, x(8))), (0x1000, 99, 7));
        assert_eq!(AArch64.syscall(&s, isamorph_a64::syscall::SVC), Some((7, [99, 0, 0, 0, 0, 0])));
        AArch64.set_result(&mut s, Err(ENOENT));
        assert_eq!(get(&s, x(0)), -2i64 as u64);
    }
}
