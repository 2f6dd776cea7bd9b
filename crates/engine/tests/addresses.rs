//! Program counters that carry more than an address, addresses that carry more than a place, and what else decides the
//! meaning of code.

mod common;

use common::*;
use isamorph_accel::{Accel, Stop};
use isamorph_engine::EngineConfig;
use isamorph_guest::{CodeSource, FetchFault, Guest, Limits};
use isamorph_ir::testing::TABLE;
use isamorph_ir::{CpuState, ExitKind, FaultCause, Helper, MemFault, Memory, RegId, RegTable, Region, Trap};
use std::sync::Arc;

/// The made-up guest with peculiarities: program counters have bit 0 set, addresses of accesses have only 31 bits, and
/// where `r6` is not zero system calls have other numbers.
struct Peculiar;

impl Guest for Peculiar {
    fn table(&self) -> &'static RegTable {
        Toy.table()
    }
    fn helpers(&self) -> &'static [Helper] {
        Toy.helpers()
    }
    fn mode(&self, state: &CpuState) -> u64 {
        (state.get(&TABLE, RegId(6)) != 0).into()
    }
    fn code_address(&self, pc: u64) -> u64 {
        pc & !1
    }
    fn address_mask(&self) -> u64 {
        0x7fff_ffff
    }
    fn lift(
        &self,
        region: &mut Region,
        pc: u64,
        mode: u64,
        source: &dyn CodeSource,
        limits: Limits,
    ) -> Result<(), FetchFault> {
        assert_eq!(pc & 1, 1);
        Toy.lift(region, pc & !1, mode, source, limits)?;
        region.pc |= 1;
        region.insns.iter_mut().for_each(|insn| insn.pc |= 1);
        for exit in &mut region.exits {
            exit.kind = match exit.kind {
                ExitKind::Direct { pc } => ExitKind::Resync { next: pc | 1 },
                ExitKind::Syscall { next, code } => {
                    ExitKind::Syscall { next: next | 1, code: code + 100 * (mode as u32) }
                }
                other => other,
            };
        }
        Ok(())
    }
    fn disassemble(&self, pc: u64, mode: u64, bytes: &[u8], out: &mut String) -> usize {
        Toy.disassemble(pc, mode, bytes, out)
    }
    fn pc_shift(&self) -> u32 {
        3
    }
}

fn peculiar(config: &mut EngineConfig) {
    config.guest = Arc::new(Peculiar);
}

#[test]
fn code_is_watched_at_its_address() {
    all(|variant| {
        let machine = Machine::with(variant, peculiar);
        // Stores into the next page of code.
        let next = (CODE + 0x1000) as u32;
        machine.load(CODE, &[I::Load(0, 1, 0), I::Store(0, 2, 0), I::Jmp(next)]);
        machine.load(next.into(), &[I::Sys(5), I::Halt]);
        machine.load(DATA, &[I::Sys(5), I::Halt]);
        let mut vcpu = machine.vcpu(CODE | 1);
        for (index, stop) in [(0, Stop::Syscall(5)), (1, Stop::Halt), (0, Stop::Syscall(5))] {
            let state = vcpu.state_mut();
            state.set(&TABLE, RegId(1), DATA + SIZE * index);
            state.set(&TABLE, RegId(2), next.into());
            state.set_pc(CODE | 1);
            assert_eq!(vcpu.run(), stop);
        }
        assert_eq!(vcpu.state().pc(), u64::from(next) + SIZE + 1);
    });
}

#[test]
fn faults_show_the_whole_program_counter() {
    all(|variant| {
        let machine = Machine::with(variant, peculiar);
        machine.load(CODE, &[I::Mov(0, 1), I::Load(0, 0, 0x1000)]);
        let mut vcpu = machine.vcpu(CODE | 1);
        let fault = MemFault { addr: 0x1001, write: false, cause: FaultCause::Unmapped };
        assert_eq!(vcpu.run(), Stop::Trap(Trap::Memory(fault)));
        assert_eq!(vcpu.state().pc(), CODE + SIZE + 1);
    });
}

#[test]
fn the_interpreter_ignores_tags() {
    let machine = Machine::with(Variant::Interp, peculiar);
    machine.load(CODE, &[I::Mov(0, 0x8000_0000), I::Store(0, 0, DATA as u32), I::Load(1, 0, DATA as u32), I::Sys(1)]);
    let mut vcpu = machine.vcpu(CODE | 1);
    assert_eq!((vcpu.run(), regs(&*vcpu)[1]), (Stop::Syscall(1), 0x8000_0000));
    let mut word = [0; 4];
    machine.space.read(DATA, &mut word).unwrap();
    assert_eq!(word, [0, 0, 0, 0x80]);
}

#[test]
fn a_change_of_mode_is_seen_behind_a_resync() {
    all(|variant| {
        let machine = Machine::with(variant, peculiar);
        machine.load(CODE, &[I::Plus(6, 1), I::Jmp(at(2)), I::Sys(5)]);
        let mut vcpu = machine.vcpu(CODE | 1);
        for (before, code) in [(0, 105), (u32::MAX, 5), (7, 105), (u32::MAX, 5)] {
            vcpu.state_mut().set(&TABLE, RegId(6), before.into());
            vcpu.state_mut().set_pc(CODE | 1);
            assert_eq!(vcpu.run(), Stop::Syscall(code));
        }
        assert!(machine.engine.name() == "interp" || machine.compiled_all());
    });
}
