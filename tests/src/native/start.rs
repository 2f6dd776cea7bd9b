//! Random states for a sequence to start in.

use super::layout::{FXSAVE_LEN, Start, WINDOW_LEN};
use super::random::Random;
use super::sequence::Sequence;

/// The flags that a start may have: arithmetic, direction, and the fixed ones.
const EFLAGS: (u32, u32) = (0xcd5, 0x202);
/// The bits of MXCSR that may be set, as the emulated processor tells them.
const MXCSR_MASK: u32 = 0xffff;

/// A state for the sequence.
pub fn start(sequence: &Sequence, random: &mut Random) -> Start {
    let gpr =
        std::array::from_fn(
            |n| {
                if sequence.relied[n] || random.percent(60) { sequence.gpr[n] } else { random.integer() }
            },
        );
    let mut direction = random.bits() as u32;
    if random.percent(70) {
        direction &= !(1 << 10);
    }
    Start {
        entry: sequence.entry,
        eflags: EFLAGS.1 | direction & EFLAGS.0,
        gpr,
        fxsave: fxsave(random),
        window: window(random),
    }
}

/// x87 and SSE state. Most of the time all exceptions are masked, as they are in programs.
fn fxsave(random: &mut Random) -> [u8; FXSAVE_LEN] {
    let mut image = [0; FXSAVE_LEN];
    let unmasked = if random.percent(12) { random.bits() } else { 0 };
    let control = 0x7f & !(unmasked as u16 & 0x3f) | random.bits() as u16 & 0x0f00;
    // An exception that is pending already would be raised by the first instruction of the unit.
    let mut status = random.bits() as u16 & 0x7f7f & !0x40;
    if random.percent(90) {
        status &= control | !0x3f;
    }
    if status & !control & 0x3f != 0 {
        status |= 0x8080;
    }
    image[..2].copy_from_slice(&control.to_le_bytes());
    image[2..4].copy_from_slice(&status.to_le_bytes());
    image[4] = match random.below(3) {
        0 => 0xff,
        1 => 0,
        _ => random.bits() as u8,
    };
    if random.percent(40) {
        // One or two values on the stack, room for more.
        image[4] = 0xc0;
        image[3] = image[3] & 0xc7 | 6 << 3;
    }
    let masks = 0x1f80 & !((unmasked >> 16) as u32 & 0x1f80);
    let mut mxcsr = masks | random.bits() as u32 & 0xe07f;
    if random.percent(60) {
        mxcsr &= !0x8040;
    }
    image[24..28].copy_from_slice(&mxcsr.to_le_bytes());
    image[28..32].copy_from_slice(&MXCSR_MASK.to_le_bytes());
    for st in image[32..160].chunks_exact_mut(16) {
        st[..10].copy_from_slice(&random.extended());
        if random.percent(30) {
            st[..8].copy_from_slice(&random.lanes().to_le_bytes());
        }
    }
    for lanes in image[160..288].chunks_exact_mut(8) {
        lanes.copy_from_slice(&random.lanes().to_le_bytes());
    }
    image
}

/// Memory: floats, integers, long runs of few different bytes for the string instructions.
fn window(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(WINDOW_LEN);
    let is_sparse = random.percent(25);
    for _ in 0..WINDOW_LEN / 8 {
        let value = if is_sparse {
            random.bits() & random.bits() & random.bits() & 0x0101_0101_0101_0101
        } else {
            random.lanes()
        };
        bytes.extend(value.to_le_bytes());
    }
    for _ in 0..4 {
        let at = random.below((WINDOW_LEN - 10) as u32) as usize;
        bytes[at..at + 10].copy_from_slice(&random.extended());
    }
    bytes
}
