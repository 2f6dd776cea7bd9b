//! The FXSAVE image in guest memory (SDM vol. 2, FXSAVE, FXRSTOR). The state keeps the registers in the same form.

use crate::exception;
use crate::mode::Mode;
use crate::state::{self, FXSAVE_BYTES, MXCSR_MASK};
use isamorph_ir::{HelperCx, Trap};

/// Bytes of the image that the processor reads and writes; the rest belongs to software.
const USED: usize = 464;
/// Offset of MXCSR, and of the mask that is only ever stored.
const MXCSR: usize = 24;
const MASK: usize = 28;

/// The bits of the x87 control word that exist, and the one that always reads as one (SDM vol. 1, 8.1.5).
const CONTROL: u16 = 0x1f7f;
const CONTROL_FIXED: u16 = 0x40;
/// The exception flags of the status word, and the two bits that tell of an unmasked one (SDM vol. 1, 8.1.3).
const EXCEPTIONS: u16 = 0x3f;
const SUMMARY: u16 = 0x8080;

const PROTECTION: Trap = Trap::Exception { code: exception::GP, arg: 0 };

/// End of the vector registers that code of a mode has: those behind are left alone.
const fn end(bits: u32) -> usize {
    if bits == Mode::USER_64.bits() { 416 } else { 288 }
}

fn check_alignment(addr: u64) -> Result<(), Trap> {
    if addr.is_multiple_of(16) { Ok(()) } else { Err(PROTECTION) }
}

pub(super) fn fxsave<const BITS: u32>(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    check_alignment(args[0])?;
    // The bytes that stay as they are have to be writable, too.
    let mut image = [0; FXSAVE_BYTES];
    cx.mem.read(args[0], &mut image)?;
    image[..end(BITS)].copy_from_slice(&state::saved_image(cx.state)[..end(BITS)]);
    cx.mem.write(args[0], &image)?;
    Ok(0)
}

pub(super) fn fxrstor<const BITS: u32>(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    check_alignment(args[0])?;
    let mut image = [0; FXSAVE_BYTES];
    cx.mem.read(args[0], &mut image[..USED])?;
    let word = |at: usize| u32::from_le_bytes([image[at], image[at + 1], image[at + 2], image[at + 3]]);
    if word(MXCSR) & !MXCSR_MASK != 0 {
        return Err(PROTECTION);
    }
    let own = state::fxsave_image_mut(cx.state);
    own[..MASK].copy_from_slice(&image[..MASK]);
    own[MASK + 4..end(BITS)].copy_from_slice(&image[MASK + 4..end(BITS)]);
    correct(own);
    Ok(0)
}

/// Brings the x87 control and status word of an image that was loaded into a form that can exist.
pub(super) fn correct(image: &mut [u8]) {
    let half = |at: usize| u16::from_le_bytes([image[at], image[at + 1]]);
    let control = half(0) & CONTROL | CONTROL_FIXED;
    let pending = half(2) & !control & EXCEPTIONS != 0;
    let status = if pending { half(2) | SUMMARY } else { half(2) & !SUMMARY };
    image[..2].copy_from_slice(&control.to_le_bytes());
    image[2..4].copy_from_slice(&status.to_le_bytes());
    image[5] = 0;
}
