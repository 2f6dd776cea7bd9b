//! Linux for 32-bit Arm programs (EABI, hard and soft float).

mod calls;
mod frame;
mod helpers_page;
mod oabi;
mod private;
mod traps;

use crate::abi::{Abi, FaultRecord, Layout};
use crate::arch::cpuinfo;
use crate::convert::misc::Layouts;
use crate::errno::{Errno, NO_RESULT};
use crate::signal::frame::Delivery;
use crate::signal::info::SigInfo;
use crate::table::{SysResult, SyscallTable};
use crate::task::Cx;
use isamorph_arm::Cpu;
use isamorph_arm::state::{self as a32, SP, TPIDRURO, r};
use isamorph_guest::Guest;
use isamorph_ir::{CpuState, RegId, Trap};
use std::sync::Arc;

/// The architecture.
pub struct Arm;

fn get(state: &CpuState, reg: RegId) -> u64 {
    state.get(&a32::ARM, reg)
}

fn set(state: &mut CpuState, reg: RegId, value: u64) {
    state.set(&a32::ARM, reg, value);
}

/// The model that programs run on.
const CPU: Cpu = Cpu::Max;

/// Length of the `svc` before a program counter, whose bit 0 tells the instruction set.
fn svc_len(pc: u64) -> u64 {
    if pc & 1 != 0 { 2 } else { 4 }
}

impl Abi for Arm {
    fn name(&self) -> &'static str {
        "arm"
    }
    fn machine(&self) -> &'static str {
        "armv7l"
    }
    fn guest(&self) -> Arc<dyn Guest> {
        Arc::new(isamorph_arm::Arm::new(CPU))
    }
    fn layouts(&self) -> &'static Layouts {
        &Layouts::ARM
    }
    fn elf_machine(&self) -> u16 {
        object::elf::EM_ARM.0
    }
    fn layout(&self) -> Layout {
        Layout {
            end: helpers_page::ADDRESS,
            stack_top: helpers_page::ADDRESS - 0x1000,
            pie_base: 0x0040_0000,
            page: 0x1000,
            signal_stack: frame::MIN_STACK,
        }
    }
    fn calls(&self) -> &'static SyscallTable {
        &calls::CALLS
    }
    fn hwcap(&self) -> [u64; 2] {
        [CPU.hwcap().into(), CPU.hwcap2().into()]
    }
    fn platform(&self) -> &'static str {
        "v7l"
    }
    fn cpuinfo(&self) -> Option<String> {
        let model = Some("ARMv7 Processor rev 0 (v7l)");
        let description = cpuinfo::Description { model, architecture: 7, part: 0xc0f };
        Some(cpuinfo::text(&description, self.hwcap(), &cpuinfo::ARM))
    }
    fn trampoline(&self) -> &'static [u8] {
        frame::TRAMPOLINES
    }
    fn fixed_page(&self) -> Option<(u64, Vec<u8>)> {
        Some((helpers_page::ADDRESS, helpers_page::contents()))
    }

    fn start(&self, entry: u64, sp: u64) -> Box<CpuState> {
        let mut state = CpuState::new();
        a32::reset_user(&mut state);
        // Bit 0 of the entry tells the instruction set.
        state.set_pc(entry);
        set(&mut state, SP, sp);
        state
    }
    fn syscall(&self, state: &CpuState, code: u32) -> Option<(u64, [u64; 6])> {
        let args = std::array::from_fn(|i| get(state, r(i as u32)));
        Some(oabi::call(code, args).unwrap_or_else(|| (get(state, r(7)), args)))
    }
    fn set_result(&self, state: &mut CpuState, result: SysResult) {
        match result {
            Ok(value) => set(state, r(0), value),
            Err(NO_RESULT) => {}
            Err(Errno(e)) => set(state, r(0), -i64::from(e) as u64),
        }
    }
    /// A call leaves R7 alone, where its number still is; in the first ABI it is in the instruction.
    fn restart(&self, state: &mut CpuState, _: u64) {
        let pc = state.pc().wrapping_sub(svc_len(state.pc())) & 0xffff_ffff;
        state.set_pc(pc);
    }
    fn restart_nr(&self) -> u64 {
        0
    }
    fn stack_pointer(&self, state: &CpuState) -> u64 {
        get(state, SP)
    }
    fn set_stack_pointer(&self, state: &mut CpuState, sp: u64) {
        set(state, SP, sp);
    }
    fn set_tls(&self, _: &Cx, state: &mut CpuState, arg: u64) -> Result<(), Errno> {
        set(state, TPIDRURO, arg);
        Ok(())
    }
    fn trap(&self, state: &CpuState, trap: Trap, last: FaultRecord) -> (SigInfo, FaultRecord) {
        traps::signal(state, trap, last)
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
    use crate::convert::Model;
    use crate::errno::ENOENT;

    #[test]
    fn names_are_unique_and_new_numbers_are_there() {
        let names: std::collections::HashSet<_> = calls::CALLS.rows().iter().map(|r| r.name).collect();
        assert_eq!(names.len(), calls::CALLS.rows().len());
        assert_eq!((424..=467).filter(|nr| calls::CALLS.get(*nr).is_none()).collect::<Vec<_>>(), []);
        assert_eq!(calls::CALLS.get(0xf0005).map(|r| r.name), Some("set_tls"));
    }

    #[test]
    fn arguments_fit_the_registers() {
        for row in calls::CALLS.rows() {
            assert!(row.registers(Model::ARM) <= 6, "{}", row.name);
        }
    }

    #[test]
    fn results_and_restart() {
        let mut s = Arm.start(0x1000, 0x2000);
        set(&mut s, r(0), 99);
        set(&mut s, r(7), 7);
        for (after, svc) in [(0x1004, 0x1000), (0x1003, 0x1001)] {
            s.set_pc(after);
            Arm.restart(&mut s, 7);
            assert_eq!((s.pc(), get(&s, r(0)), get(&s, r(7))), (svc, 99, 7));
        }
        assert_eq!(Arm.syscall(&s, 0).map(|(nr, args)| (nr, args[0])), Some((7, 99)));
        assert_eq!(Arm.syscall(&s, 0x90_0004).map(|(nr, args)| (nr, args[0])), Some((4, 99)));
        Arm.set_result(&mut s, Err(ENOENT));
        assert_eq!(get(&s, r(0)), 0xffff_fffe);
    }
}
