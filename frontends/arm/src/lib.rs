//! The A32/T32 front end: decoding, lifting to the IR, CPU state and helpers.
//!
//! Armv5TE to Armv7-A as a user program sees them, and the A32/T32 additions of Armv8. References are to the Arm
//! Architecture Reference Manual for Armv7-A (DDI 0406C) and, for what Armv8 added, for A-profile (DDI 0487).
//!
//! A program counter, wherever the engine or the IR has one, carries CPSR.T in bit 0. The kernel's helper page
//! (0xffff0000) is ordinary code at ordinary addresses here.

pub mod coverage;
mod cpu;
mod decode;
pub mod helpers;
mod lift;
pub mod state;

pub use cpu::Cpu;

use isamorph_guest::{CodeSource, FetchFault, Guest, Limits};
use isamorph_ir::{CpuState, Helper, RegTable, Region};

/// Exceptions: the codes of [`isamorph_ir::ExitKind::Exception`]. The codes of [`isamorph_ir::ExitKind::Syscall`] are
/// the immediates of SVC: 0 for the EABI.
pub mod exception {
    /// Undefined instruction; the argument is the instruction, a wide one of Thumb with its first halfword on top.
    pub const UNDEFINED: u32 = 1;
    /// Breakpoint instruction (a prefetch abort with debug status); the argument is its immediate.
    pub const BREAKPOINT: u32 = 2;
    /// The program counter of an A32 instruction is not a multiple of four.
    pub const PC_ALIGNMENT: u32 = 3;
}

/// A 32-bit Arm processor as a guest.
#[derive(Clone, Copy, Debug)]
pub struct Arm {
    cpu: Cpu,
}

impl Arm {
    /// A processor of that model, in User mode.
    pub const fn new(cpu: Cpu) -> Self {
        Arm { cpu }
    }
    /// The model.
    pub const fn cpu(&self) -> Cpu {
        self.cpu
    }
}

impl Guest for Arm {
    fn table(&self) -> &'static RegTable {
        &state::ARM
    }
    fn helpers(&self) -> &'static [Helper] {
        helpers::HELPERS
    }
    fn mode(&self, state: &CpuState) -> u64 {
        lift::Mode::of(state).number().into()
    }
    fn code_address(&self, pc: u64) -> u64 {
        pc & !1
    }
    fn lift(
        &self,
        region: &mut Region,
        pc: u64,
        mode: u64,
        code: &dyn CodeSource,
        limits: Limits,
    ) -> Result<(), FetchFault> {
        lift::lift_region(region, pc, lift::Mode::from_number(mode as u32), self.cpu.features(), code, limits)
    }
    fn disassemble(&self, pc: u64, _mode: u64, bytes: &[u8], out: &mut String) -> usize {
        disassembly::disassemble(pc, bytes, out)
    }
    fn pc_shift(&self) -> u32 {
        1
    }
}

mod disassembly {
    use capstone::prelude::*;
    use std::cell::RefCell;

    thread_local! {
        // The library's handles cannot be shared among threads.
        static HANDLES: RefCell<[Option<Capstone>; 2]> = const { RefCell::new([None, None]) };
    }

    fn handle(thumb: bool) -> Option<Capstone> {
        let mode = if thumb { arch::arm::ArchMode::Thumb } else { arch::arm::ArchMode::Arm };
        Capstone::new().arm().mode(mode).extra_mode([arch::arm::ArchExtraMode::V8].into_iter()).build().ok()
    }

    /// Writes the first instruction as text; returns its length.
    pub(super) fn disassemble(pc: u64, bytes: &[u8], out: &mut String) -> usize {
        let thumb = pc & 1 != 0;
        HANDLES.with_borrow_mut(|handles| {
            let slot = &mut handles[usize::from(thumb)];
            if slot.is_none() {
                *slot = handle(thumb);
            }
            let decoded = slot.as_ref().and_then(|cs| cs.disasm_count(bytes, pc & !1, 1).ok());
            if let Some(insn) = decoded.as_ref().and_then(|list| list.first()) {
                out.push_str(insn.mnemonic().unwrap_or_default());
                if let Some(operands) = insn.op_str().filter(|text| !text.is_empty()) {
                    *out = format!("{out:<8} {operands}");
                }
                return insn.len().max(1);
            }
            out.push_str("undefined");
            let wide = !thumb || bytes.len() >= 2 && crate::decode::is_wide(u16::from_le_bytes([bytes[0], bytes[1]]));
            if wide { 4 } else { 2 }
        })
    }
}
