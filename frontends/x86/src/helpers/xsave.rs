//! The XSAVE area (SDM vol. 1, chapter 13), of which this processor has the x87 and SSE components: they lie as in an
//! FXSAVE image, the header follows.

use super::cpuid::{XCR0, XSAVE_BYTES};
use crate::exception;
use crate::mode::Mode;
use crate::state::{self, FXSAVE_BYTES, MXCSR_MASK};
use isamorph_ir::{HelperCx, Trap};

const PROTECTION: Trap = Trap::Exception { code: exception::GP, arg: 0 };
/// State components.
const X87: u64 = 1;
const SSE: u64 = 2;
/// Where the parts of the image lie: the x87 control, MXCSR and its mask, the x87 registers, the SSE registers.
const CONTROL: std::ops::Range<usize> = 0..24;
const MXCSR: std::ops::Range<usize> = 24..32;
const REGISTERS: std::ops::Range<usize> = 32..160;
/// Bit of XCOMP_BV: the area is compacted.
const COMPACTED: u64 = 1 << 63;

/// The vector registers of the image that a mode has.
const fn vectors(bits: u32) -> std::ops::Range<usize> {
    160..if bits == Mode::USER_64.bits() { 416 } else { 288 }
}

/// The components that are enabled: for programs, all.
fn enabled(cx: &HelperCx<'_>) -> u64 {
    if cx.mem.system().is_some() { state::word::XCR0.get(cx.state) } else { XCR0.into() }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.iter().skip(at).take(8).rev().fold(0, |v, b| v << 8 | u64::from(*b))
}

/// `xsave(address, mask, compact)`: stores the components of the mask. They count as in use always: the area has all of
/// them. The header says which, and if it is compacted.
pub(super) fn save<const BITS: u32>(cx: &mut HelperCx<'_>, [addr, mask, compact]: [u64; 3]) -> Result<u64, Trap> {
    if !addr.is_multiple_of(64) {
        return Err(PROTECTION);
    }
    let wanted = mask & enabled(cx);
    let mut area = [0; XSAVE_BYTES as usize];
    cx.mem.read(addr, &mut area)?;
    let own = state::saved_image(cx.state);
    let mut copy = |range: std::ops::Range<usize>| area[range.clone()].copy_from_slice(&own[range]);
    if wanted & X87 != 0 {
        copy(CONTROL);
        copy(REGISTERS);
    }
    if wanted & SSE != 0 {
        copy(MXCSR);
        copy(vectors(BITS));
    }
    let old = word(&area, FXSAVE_BYTES);
    let (present, format) = if compact != 0 { (wanted, wanted | COMPACTED) } else { (old & !mask | wanted, 0) };
    area[FXSAVE_BYTES..][..8].copy_from_slice(&present.to_le_bytes());
    if compact != 0 {
        area[FXSAVE_BYTES + 8..][..8].copy_from_slice(&format.to_le_bytes());
    }
    cx.mem.write(addr, &area)?;
    Ok(0)
}

/// `xrstor(address, mask)`: loads the components of the mask that the area has, and initialises those that it has not.
pub(super) fn restore<const BITS: u32>(cx: &mut HelperCx<'_>, [addr, mask, _]: [u64; 3]) -> Result<u64, Trap> {
    if !addr.is_multiple_of(64) {
        return Err(PROTECTION);
    }
    let mut area = [0; XSAVE_BYTES as usize];
    cx.mem.read(addr, &mut area)?;
    let (present, format) = (word(&area, FXSAVE_BYTES), word(&area, FXSAVE_BYTES + 8));
    let compacted = format & COMPACTED != 0;
    let all = enabled(cx);
    let known = if compacted { format & !COMPACTED } else { all };
    let reserved = area[FXSAVE_BYTES + 16..].iter().any(|b| *b != 0);
    if present & !known != 0 || known & !all != 0 || !compacted && format != 0 || reserved {
        return Err(PROTECTION);
    }
    let wanted = mask & all;
    let mxcsr = word(&area, MXCSR.start) as u32;
    let loads_mxcsr = wanted & SSE != 0 && (present & SSE != 0 || !compacted);
    if loads_mxcsr && mxcsr & !MXCSR_MASK != 0 {
        return Err(PROTECTION);
    }
    let mut image = [0; FXSAVE_BYTES];
    image[..2].copy_from_slice(&0x037fu16.to_le_bytes());
    image[MXCSR][..4].copy_from_slice(&0x1f80u32.to_le_bytes());
    let source = |component: u64| if present & component != 0 { &area[..FXSAVE_BYTES] } else { &image[..] };
    let own = state::fxsave_image_mut(cx.state);
    if wanted & X87 != 0 {
        own[CONTROL].copy_from_slice(&source(X87)[CONTROL]);
        own[REGISTERS].copy_from_slice(&source(X87)[REGISTERS]);
        super::fpu::correct(own);
    }
    if wanted & SSE != 0 {
        own[vectors(BITS)].copy_from_slice(&source(SSE)[vectors(BITS)]);
        // The standard form takes MXCSR from the area even if the registers are initialised (SDM vol. 1, 13.8.1).
        let from = if loads_mxcsr { &area } else { &image[..] };
        own[MXCSR][..4].copy_from_slice(&from[MXCSR][..4]);
    }
    Ok(0)
}

/// `xgetbv(register)`: XCR0, or which of its components are in use, which is all of them.
pub(super) fn control(cx: &mut HelperCx<'_>, [register, uses, _]: [u64; 3]) -> Result<u64, Trap> {
    match register {
        0 => Ok(enabled(cx)),
        1 if uses != 0 => Ok(enabled(cx)),
        _ => Err(PROTECTION),
    }
}
