//! The FXSAVE image in signal frames (SDM vol. 1, 10.5.1).

use isamorph_x86::state::MXCSR_MASK;
use std::ops::Range;

/// Where MXCSR is.
pub const MXCSR: Range<usize> = 24..28;
/// Where its mask is.
const MASK: Range<usize> = 28..32;

/// A handler starts with a fresh floating-point state, whatever the interrupted code was doing (SDM vol. 1, table 8-1
/// for `finit`; 10.2.3 for MXCSR).
pub fn initialise(image: &mut [u8]) {
    image.fill(0);
    image[0..2].copy_from_slice(&0x037fu16.to_le_bytes());
    image[MXCSR].copy_from_slice(&0x1f80u32.to_le_bytes());
    image[MASK].copy_from_slice(&MXCSR_MASK.to_le_bytes());
}

/// Clears what would fault when the image is loaded: reserved bits of MXCSR.
pub fn sanitise(image: &mut [u8]) {
    let word = &image[MXCSR];
    let mxcsr = u32::from_le_bytes([word[0], word[1], word[2], word[3]]) & MXCSR_MASK;
    image[MXCSR].copy_from_slice(&mxcsr.to_le_bytes());
    image[MASK].copy_from_slice(&MXCSR_MASK.to_le_bytes());
}
