//! Reading guest code: a window of bytes at a time, decoded instruction by instruction.

use iced_x86::{Decoder, DecoderError, DecoderOptions, Instruction};
use isamorph_guest::{CodeSource, FetchFault};

/// Longest instruction (SDM vol. 2, 2.3.11).
pub(crate) const MAX_LEN: usize = 15;
/// Bytes fetched at a time: an instruction that starts in the first 64 is complete.
const WINDOW: usize = 64 + MAX_LEN;

/// The operating mode of the processor, as far as it decides the meaning of code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Protected mode, 32-bit code segment.
    Protected32,
    /// 64-bit mode.
    Long,
}

impl Mode {
    /// The mode with that number ([`Mode::number`]).
    pub(crate) fn from_number(number: u32) -> Self {
        if number == Mode::Long.number() { Mode::Long } else { Mode::Protected32 }
    }
    /// The number that stands for the mode outside this crate.
    pub(crate) const fn number(self) -> u32 {
        self.bits()
    }
    /// Default width of addresses, and of what goes over the stack.
    pub(crate) const fn bits(self) -> u32 {
        match self {
            Mode::Protected32 => 32,
            Mode::Long => 64,
        }
    }
    /// The mask of a program counter.
    pub(crate) const fn pc_mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }
}

/// What [`walk`]'s visitor wants next.
pub(crate) enum Next {
    /// The instruction after this one.
    Continue,
    /// The instruction at that address.
    Goto(u64),
    /// Nothing more.
    Stop,
}

/// Decodes instructions from `pc` on and hands them to `visit` until it says stop.
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
        let mut decoder = Decoder::with_ip(mode.bits(), &window[..n], start, DecoderOptions::NONE);
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
        start = goto.unwrap_or(decoder.ip()) & mode.pc_mask();
    }
}
