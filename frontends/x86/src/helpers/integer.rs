//! Integer instructions without an op of their own: bits gathered and scattered, random numbers.

use isamorph_ir::{HelperCx, Trap};
use std::fs::File;
use std::io::Read;
use std::sync::OnceLock;

/// PDEP: the low bits of the source to the places that the mask names.
pub(super) fn pdep(_cx: &mut HelperCx<'_>, [mut src, mut mask, _]: [u64; 3]) -> Result<u64, Trap> {
    let mut result = 0;
    while mask != 0 {
        let place = mask & mask.wrapping_neg();
        if src & 1 != 0 {
            result |= place;
        }
        src >>= 1;
        mask ^= place;
    }
    Ok(result)
}

/// PEXT: the bits of the source that the mask names, next to each other.
pub(super) fn pext(_cx: &mut HelperCx<'_>, [src, mut mask, _]: [u64; 3]) -> Result<u64, Trap> {
    let (mut result, mut bit) = (0, 1u64);
    while mask != 0 {
        let place = mask & mask.wrapping_neg();
        if src & place != 0 {
            result |= bit;
        }
        bit <<= 1;
        mask ^= place;
    }
    Ok(result)
}

/// `random(bytes)`: a random number of up to 8 bytes; all ones if the host has none to give, which the caller takes for
/// none.
pub(super) fn random(_cx: &mut HelperCx<'_>, [bytes, ..]: [u64; 3]) -> Result<u64, Trap> {
    static SOURCE: OnceLock<Option<File>> = OnceLock::new();
    let mut raw = [0; 8];
    let wanted = &mut raw[..bytes.min(8) as usize];
    let read = SOURCE.get_or_init(|| File::open("/dev/urandom").ok()).as_ref().map(|mut f| f.read_exact(wanted));
    Ok(if matches!(read, Some(Ok(()))) { u64::from_le_bytes(raw) } else { u64::MAX })
}
