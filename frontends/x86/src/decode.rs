//! Reading guest code: a window of bytes at a time, decoded instruction by instruction.

use crate::mode::Mode;
use iced_x86::{Decoder, DecoderError, DecoderOptions, Instruction, OpKind, Register};
use isamorph_guest::{CodeSource, FetchFault};

/// Longest instruction (SDM vol. 2, 2.3.11).
pub(crate) const MAX_LEN: usize = 15;
/// Bytes fetched at a time: an instruction that starts in the first 64 is complete.
const WINDOW: usize = 64 + MAX_LEN;

/// What [`walk`]'s visitor wants next.
pub(crate) enum Next {
    /// The instruction after this one.
    Continue,
    /// The instruction at that linear address.
    Goto(u64),
    /// Nothing more.
    Stop,
}

/// Decodes instructions from the linear address `pc` on and hands them to `visit` until it says stop. Their own
/// addresses are offsets in the code segment, so that branches wrap as they do there.
///
/// # Errors
/// An instruction could not be fetched completely; the fault tells the first missing byte.
pub(crate) fn walk(
    code: &dyn CodeSource,
    mode: Mode,
    pc: u64,
    mut visit: impl FnMut(&Instruction) -> Next,
) -> Result<(), FetchFault> {
    let mut insn = Instruction::default();
    let mut start = pc;
    loop {
        let mut window = [0; WINDOW];
        let n = code.fetch(start, &mut window);
        let offset = mode.offset(start);
        let mut decoder = Decoder::with_ip(mode.code_bits(), &window[..n], offset, DecoderOptions::NONE);
        let mut goto = None;
        while n < WINDOW || decoder.position() + MAX_LEN <= WINDOW {
            decoder.decode_out(&mut insn);
            if insn.is_invalid() && decoder.last_error() == DecoderError::NoMoreBytes {
                return Err(FetchFault { addr: start.wrapping_add(n as u64) & mode.pc_mask() });
            }
            match visit(&insn) {
                Next::Continue => {}
                Next::Goto(to) => {
                    goto = Some(to);
                    break;
                }
                Next::Stop => return Ok(()),
            }
        }
        start = goto.unwrap_or_else(|| mode.linear(decoder.ip()));
    }
}

/// Whether an instruction accesses the stack segment, by its first operand in memory or else by what it does. It
/// decides between #SS and #GP for an address that is none (SDM vol. 3, 6.15).
pub(crate) fn uses_stack_segment(mode: Mode, bytes: &[u8]) -> bool {
    let insn = Decoder::new(mode.code_bits(), bytes, DecoderOptions::NONE).decode();
    match insn.op_kinds().any(|kind| kind == OpKind::Memory) {
        true => insn.memory_segment() == Register::SS,
        false => insn.is_stack_instruction(),
    }
}
