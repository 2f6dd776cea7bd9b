//! An encoding of an instruction.

use iced_x86::Instruction;

/// An encoding.
#[derive(Clone)]
pub struct Form {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it decodes to.
    pub insn: Instruction,
}
