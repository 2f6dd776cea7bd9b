//! The x87 environment in the format of 16-bit code (SDM vol. 1, figures 8-11 and 8-12): seven words, followed by the
//! registers in the form that `fnsave` stores.
//!
//! The pointers to the last instruction and its operand read as zero, see [`state::saved_image`].

use super::fpu::correct;
use crate::state;
use isamorph_ir::{HelperCx, Trap};

/// Bytes of the environment, of a register, and of everything.
const ENVIRONMENT: usize = 14;
const REGISTER: usize = 10;
const WHOLE: usize = ENVIRONMENT + 8 * REGISTER;
/// Where the image has the registers, and how far apart.
const FIRST: usize = 32;
const STRIDE: usize = 16;
/// Exception masks in the control word; what tells of an unmasked exception in the status word.
const MASKS: u16 = 0x3f;
const SUMMARY: u16 = 0x8080;

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// Number of the register that is the top of the stack.
fn top(status: u16) -> usize {
    usize::from(status >> 11 & 7)
}

/// The two-bit tag of a register that is not empty (SDM vol. 1, 8.1.7): valid, zero, or special.
fn classify(register: &[u8]) -> u16 {
    let exponent = half(register, 8) & 0x7fff;
    let significand = register[..8].iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b));
    match (exponent, significand) {
        (0, 0) => 1,
        (0 | 0x7fff, _) => 2,
        _ if significand >> 63 == 0 => 2,
        _ => 0,
    }
}

/// The full tag word. The image has the registers in stack order, the tags in that of their numbers.
fn tags(image: &[u8]) -> u16 {
    (0..8).fold(0, |word, number| {
        let at = FIRST + STRIDE * ((number + 8 - top(half(image, 2))) % 8);
        let tag = if image[4] >> number & 1 == 0 { 3 } else { classify(&image[at..]) };
        word | tag << (2 * number)
    })
}

fn environment(image: &[u8]) -> [u8; ENVIRONMENT] {
    let mut stored = [0; ENVIRONMENT];
    stored[..4].copy_from_slice(&image[..4]);
    stored[4..6].copy_from_slice(&tags(image).to_le_bytes());
    stored
}

/// Brings the registers, which keep their numbers, into the order of a stack with another top.
fn move_top(image: &mut [u8], new: usize) {
    let distance = (top(half(image, 2)) + 8 - new) % 8;
    image[FIRST..FIRST + 8 * STRIDE].rotate_right(STRIDE * distance);
}

fn load(image: &mut [u8], stored: &[u8]) {
    move_top(image, top(half(stored, 2)));
    image[..4].copy_from_slice(&stored[..4]);
    let word = half(stored, 4);
    image[4] = (0..8).filter(|n| word >> (2 * n) & 3 != 3).fold(0, |tags, n| tags | 1 << n);
    correct(image);
}

/// `fnstenv(address)`; then all exceptions are masked.
pub(super) fn store_environment(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    cx.mem.write(args[0], &environment(state::fxsave_image(cx.state)))?;
    let image = state::fxsave_image_mut(cx.state);
    let (control, status) = (half(image, 0) | MASKS, half(image, 2) & !SUMMARY);
    image[..2].copy_from_slice(&control.to_le_bytes());
    image[2..4].copy_from_slice(&status.to_le_bytes());
    Ok(0)
}

/// `fldenv(address)`.
pub(super) fn load_environment(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let mut stored = [0; ENVIRONMENT];
    cx.mem.read(args[0], &mut stored)?;
    load(state::fxsave_image_mut(cx.state), &stored);
    Ok(0)
}

/// `fnsave(address)`; then the unit is initialised.
pub(super) fn save(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let image = state::fxsave_image(cx.state);
    let mut stored = [0; WHOLE];
    stored[..ENVIRONMENT].copy_from_slice(&environment(image));
    for (n, register) in stored[ENVIRONMENT..].chunks_exact_mut(REGISTER).enumerate() {
        register.copy_from_slice(&image[FIRST + STRIDE * n..][..REGISTER]);
    }
    cx.mem.write(args[0], &stored)?;
    let image = state::fxsave_image_mut(cx.state);
    move_top(image, 0);
    image[..5].copy_from_slice(&[0x7f, 0x03, 0, 0, 0]);
    Ok(0)
}

/// `frstor(address)`.
pub(super) fn restore(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let mut stored = [0; WHOLE];
    cx.mem.read(args[0], &mut stored)?;
    let image = state::fxsave_image_mut(cx.state);
    load(image, &stored);
    for (n, register) in stored[ENVIRONMENT..].chunks_exact(REGISTER).enumerate() {
        image[FIRST + STRIDE * n..][..REGISTER].copy_from_slice(register);
    }
    Ok(0)
}
