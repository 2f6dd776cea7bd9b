//! The x86 front end: decoding, lifting to the IR, CPU state and helpers.
//!
//! One front end for every mode of the processor; here are the two that user programs see, 32-bit protected mode and
//! 64-bit mode.
//! References are to the Intel 64 and IA-32 Architectures Software Developer's Manual (SDM).

pub mod coverage;
mod decode;
pub mod helpers;
mod lift;
pub mod model;
pub mod state;

use decode::Mode;
use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter};
use isamorph_guest::{CodeSource, FetchFault, Guest, Limits};
use isamorph_ir::{CpuState, Helper, RegTable, Region};
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

/// An x86 processor as a guest.
#[derive(Clone, Copy, Debug)]
pub struct X86 {
    mode: Mode,
    model: Model,
}

impl X86 {
    /// The most capable processor, running 32-bit user programs.
    pub const fn i386() -> Self {
        X86 { mode: Mode::Protected32, model: model::BEST }
    }
    /// The most capable processor, running 64-bit user programs.
    pub const fn amd64() -> Self {
        X86 { mode: Mode::Long, model: model::BEST }
    }
    /// The same mode with another model: one of [`model::MODELS`] by its name, perhaps with features added or removed
    /// (`Nehalem,+aes,-popcnt`).
    ///
    /// # Errors
    /// There is no such model or feature, or it does not have this processor's mode.
    pub fn with_model(self, text: &str) -> Result<Self, ModelError> {
        Ok(X86 { mode: self.mode, model: model::parse(self.mode, text)? })
    }
    /// The models that can run programs of this mode, for listing.
    pub fn models(&self) -> impl Iterator<Item = &'static Model> + use<> {
        let needs_long = self.mode == Mode::Long;
        model::MODELS.iter().filter(move |m| !needs_long || m.features.has(Feature::Lm))
    }
}

impl X86 {
    fn processor(&self, mode: u64) -> lift::Processor {
        let index = model::MODELS.iter().position(|m| m.name == self.model.name).unwrap_or(0);
        lift::Processor { mode: Mode::from_number(mode as u32), features: self.model.features, model: index as u32 }
    }
}

impl Guest for X86 {
    fn table(&self) -> &'static RegTable {
        state::table(self.mode)
    }
    fn helpers(&self) -> &'static [Helper] {
        helpers::HELPERS
    }
    fn mode(&self, _state: &CpuState) -> u64 {
        self.mode.number().into()
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
        let insn = Decoder::with_ip(Mode::from_number(mode as u32).bits(), bytes, pc, DecoderOptions::NONE).decode();
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
