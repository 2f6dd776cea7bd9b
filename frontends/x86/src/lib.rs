//! The x86 front end: decoding, lifting to the IR, CPU state and helpers.
//!
//! One front end for every mode of the processor. User programs see two, 32-bit protected mode and 64-bit mode; a
//! machine's processor has them all, and is two guests: one for 16- and 32-bit code, one for 64-bit code.
//! References are to the Intel 64 and IA-32 Architectures Software Developer's Manual (SDM).

pub mod coverage;
mod decode;
pub mod helpers;
mod lift;
mod mode;
pub mod model;
pub mod state;
pub mod system;

use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter};
use isamorph_guest::{CodeSource, FetchFault, Guest, Limits};
use isamorph_ir::{CpuState, Helper, RegTable, Region};
use mode::Mode;
use model::{Feature, Model, ModelError};

/// Exception vectors (SDM vol. 3, table 6-1): the codes of [`isamorph_ir::ExitKind::Exception`].
pub mod exception {
    /// #DE, divide error.
    pub const DE: u32 = 0;
    /// #DB, debug: `int1`, single step.
    pub const DB: u32 = 1;
    /// #BP, `int3`; a trap.
    pub const BP: u32 = 3;
    /// #OF, `into`; a trap.
    pub const OF: u32 = 4;
    /// #BR, `bound`.
    pub const BR: u32 = 5;
    /// #UD, undefined opcode.
    pub const UD: u32 = 6;
    /// #NM, no x87 unit.
    pub const NM: u32 = 7;
    /// #DF, double fault.
    pub const DF: u32 = 8;
    /// #TS, invalid task state; the argument is the selector.
    pub const TS: u32 = 10;
    /// #NP, segment not present; the argument is the selector.
    pub const NP: u32 = 11;
    /// #SS, stack segment fault.
    pub const SS: u32 = 12;
    /// #GP, general protection; the argument is the error code.
    pub const GP: u32 = 13;
    /// #PF, page fault.
    pub const PF: u32 = 14;
    /// #MF, x87 floating-point error.
    pub const MF: u32 = 16;
    /// #AC, alignment check.
    pub const AC: u32 = 17;
    /// #XM, SIMD floating-point error.
    pub const XM: u32 = 19;
}

/// System-call instructions: the codes of [`isamorph_ir::ExitKind::Syscall`].
pub mod syscall {
    /// `int $0x80`.
    pub const INT80: u32 = 0x80;
    /// `syscall` in 64-bit mode: rcx = the next instruction, r11 = RFLAGS (SDM vol. 2, SYSCALL).
    pub const AMD64_SYSCALL: u32 = 0x100;
}

/// An x86 processor as a guest: that of a Linux program, or one of a machine as far as it runs code of one width.
#[derive(Clone, Copy, Debug)]
pub struct X86 {
    /// The mode of the program; for a machine one that has the same registers.
    mode: Mode,
    in_machine: bool,
    model: Model,
}

impl X86 {
    /// The most capable processor, running 32-bit user programs.
    pub const fn i386() -> Self {
        X86 { mode: Mode::USER_32, in_machine: false, model: model::BEST }
    }
    /// The most capable processor, running 64-bit user programs.
    pub const fn amd64() -> Self {
        X86 { mode: Mode::USER_64, in_machine: false, model: model::BEST }
    }
    /// A machine's processor of that model, when it runs 16- and 32-bit code.
    pub const fn narrow(model: Model) -> Self {
        X86 { mode: Mode::USER_32, in_machine: true, model }
    }
    /// The same when it runs 64-bit code.
    pub const fn long(model: Model) -> Self {
        X86 { mode: Mode::USER_64, in_machine: true, model }
    }
    /// The same mode with another model: one of [`model::MODELS`] by its name, perhaps with features added or removed
    /// (`Nehalem,+aes,-popcnt`).
    ///
    /// # Errors
    /// There is no such model or feature, or it does not have this processor's mode.
    pub fn with_model(self, text: &str) -> Result<Self, ModelError> {
        Ok(X86 { model: model::parse(self.mode, text)?, ..self })
    }
    /// The models that can run programs of this mode, for listing.
    pub fn models(&self) -> impl Iterator<Item = &'static Model> + use<> {
        let needs_long = self.mode.is_long();
        model::MODELS.iter().filter(move |m| !needs_long || m.features.has(Feature::Lm))
    }
    fn processor(&self, mode: u64) -> lift::Processor {
        let index = model::MODELS.iter().position(|m| m.name == self.model.name).unwrap_or(0);
        lift::Processor { mode: Mode::from_number(mode), features: self.model.features, model: index as u32 }
    }
}

impl Guest for X86 {
    fn table(&self) -> &'static RegTable {
        state::table(self.mode)
    }
    fn helpers(&self) -> &'static [Helper] {
        helpers::HELPERS
    }
    fn mode(&self, state: &CpuState) -> u64 {
        if self.in_machine { Mode::of(state).number() } else { self.mode.number() }
    }
    fn lift(
        &self,
        region: &mut Region,
        pc: u64,
        mode: u64,
        code: &dyn CodeSource,
        limits: Limits,
    ) -> Result<(), FetchFault> {
        lift::lift_region(region, pc, self.processor(mode), code, limits)
    }
    fn disassemble(&self, pc: u64, mode: u64, bytes: &[u8], out: &mut String) -> usize {
        let bits = Mode::from_number(mode).code_bits();
        let insn = Decoder::with_ip(bits, bytes, pc, DecoderOptions::NONE).decode();
        let mut formatter = GasFormatter::new();
        // As the logs of QEMU and objdump look: size suffixes, operands in a column of their own.
        let options = formatter.options_mut();
        options.set_gas_show_mnemonic_size_suffix(true);
        options.set_first_operand_char_index(9);
        options.set_space_after_operand_separator(true);
        options.set_uppercase_hex(false);
        options.set_branch_leading_zeros(false);
        formatter.format(&insn, out);
        insn.len().max(1)
    }
    fn pc_shift(&self) -> u32 {
        0
    }
}
