//! The AArch64 front end: decoding, lifting to the IR, CPU state and helpers.
//!
//! The processor is as a user program under Linux sees it: EL0, little endian. References are to the Arm Architecture
//! Reference Manual for A-profile (Arm ARM, DDI 0487).

pub mod coverage;
mod decode;
pub mod features;
pub mod helpers;
mod lift;
pub mod state;

use capstone::arch::{BuildsCapstone, arm64};
use isamorph_guest::{CodeSource, FetchFault, Guest, Limits};
use isamorph_ir::{CpuState, Helper, RegTable, Region};

/// Exception classes (Arm ARM D17.2.37, ESR_ELx.EC): the codes of [`isamorph_ir::ExitKind::Exception`].
pub mod exception {
    /// Unknown reason: an undefined instruction. The argument is the instruction.
    pub const UNDEFINED: u32 = 0x00;
    /// PC alignment fault. The argument is the address.
    pub const PC_ALIGNMENT: u32 = 0x22;
    /// `BRK`; the argument is its immediate.
    pub const BREAKPOINT: u32 = 0x3c;
}

/// System-call instructions: the codes of [`isamorph_ir::ExitKind::Syscall`].
pub mod syscall {
    /// `SVC`, with whatever immediate: Linux ignores it.
    pub const SVC: u32 = 0x15;
}

/// An AArch64 processor as a guest.
#[derive(Clone, Copy, Debug, Default)]
pub struct A64;

impl A64 {
    /// A processor running user programs.
    pub const fn new() -> Self {
        A64
    }
}

impl Guest for A64 {
    fn table(&self) -> &'static RegTable {
        &state::A64
    }
    fn helpers(&self) -> &'static [Helper] {
        helpers::HELPERS
    }
    fn mode(&self, state: &CpuState) -> u64 {
        lift::Mode::of(state).number().into()
    }
    fn address_mask(&self) -> u64 {
        u64::MAX >> 8
    }
    fn lift(
        &self,
        region: &mut Region,
        pc: u64,
        mode: u64,
        code: &dyn CodeSource,
        limits: Limits,
    ) -> Result<(), FetchFault> {
        lift::lift_region(region, pc, lift::Mode::from_number(mode as u32), code, limits)
    }
    fn disassemble(&self, pc: u64, _mode: u64, bytes: &[u8], out: &mut String) -> usize {
        use std::fmt::Write as _;
        let word = bytes.first_chunk().map_or(0, |raw: &[u8; 4]| u32::from_le_bytes(*raw));
        let engine = capstone::Capstone::new().arm64().mode(arm64::ArchMode::Arm).build();
        let text = engine.ok().and_then(|engine| {
            let insns = engine.disasm_count(&word.to_le_bytes(), pc, 1).ok()?;
            let insn = insns.first()?;
            let (name, operands) = (insn.mnemonic()?, insn.op_str().unwrap_or_default());
            Some(if operands.is_empty() { name.to_owned() } else { format!("{name:<8} {operands}") })
        });
        match text {
            Some(text) => out.push_str(&text),
            None => _ = write!(out, ".inst    {word:#010x}"),
        }
        4
    }
    fn pc_shift(&self) -> u32 {
        2
    }
}
