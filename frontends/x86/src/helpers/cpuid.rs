//! Processor identification and the time-stamp counter.

use crate::state::{EAX, EBX, ECX, EDX, I386};
use isamorph_ir::{HelperCx, Trap};
use std::sync::OnceLock;
use std::time::Instant;

/// Feature bits of leaf 1, EDX (SDM vol. 2, table 3-11).
mod feature {
    pub(super) const FPU: u32 = 1 << 0;
    pub(super) const TSC: u32 = 1 << 4;
    pub(super) const CX8: u32 = 1 << 8;
    pub(super) const CMOV: u32 = 1 << 15;
    pub(super) const CLFSH: u32 = 1 << 19;
    pub(super) const MMX: u32 = 1 << 23;
    pub(super) const FXSR: u32 = 1 << 24;
    pub(super) const SSE: u32 = 1 << 25;
    pub(super) const SSE2: u32 = 1 << 26;
}

const FEATURES: u32 = feature::FPU
    | feature::TSC
    | feature::CX8
    | feature::CMOV
    | feature::CLFSH
    | feature::MMX
    | feature::FXSR
    | feature::SSE
    | feature::SSE2;

/// Family 15, model 2, stepping 9.
const SIGNATURE: u32 = 0xf29;
/// Size of a CLFLUSH line in 8-byte units, at its place in leaf 1, EBX.
const CLFLUSH_UNITS: u32 = 8 << 8;
/// Highest basic leaf and highest extended leaf.
const MAX_LEAF: u32 = 2;
const MAX_EXTENDED: u32 = 0x8000_0004;
const BRAND: &[u8; 48] = b"Isamorph virtual processor (Pentium 4 class)\0\0\0\0";
const VENDOR: [u32; 3] = [word(b"Genu"), word(b"ineI"), word(b"ntel")];

const fn word(text: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*text)
}

/// EAX, EBX, ECX, EDX of a leaf: a processor of the Pentium 4 class with exactly the features that are lifted.
fn leaf(number: u32) -> [u32; 4] {
    match number {
        0 => [MAX_LEAF, VENDOR[0], VENDOR[2], VENDOR[1]],
        1 => [SIGNATURE, CLFLUSH_UNITS, 0, FEATURES],
        // Cache descriptors (table 3-12): 4 KiB page TLBs 50h, 5Bh; 8 KiB first-level 66h, 12 Kµop trace cache 70h,
        // 256 KiB second-level 7Ah, no third-level cache 40h.
        2 => [0x665b_5001, 0, 0, 0x007a_7040],
        0x8000_0000 => [MAX_EXTENDED, 0, 0, 0],
        0x8000_0002..=MAX_EXTENDED => brand(number - 0x8000_0002),
        0x8000_0001 => [0; 4],
        // Leaves above the highest give the highest basic one (SDM vol. 2, CPUID).
        _ => leaf(MAX_LEAF),
    }
}

fn brand(part: u32) -> [u32; 4] {
    let text = &BRAND[16 * part as usize..][..16];
    std::array::from_fn(|i| u32::from_le_bytes([text[4 * i], text[4 * i + 1], text[4 * i + 2], text[4 * i + 3]]))
}

pub(super) fn cpuid(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    for (reg, value) in [EAX, EBX, ECX, EDX].into_iter().zip(leaf(args[0] as u32)) {
        cx.state.set(&I386, reg, u64::from(value));
    }
    Ok(0)
}

/// The time-stamp counter runs at 1 GHz from the first use on.
pub(super) fn rdtsc(_cx: &mut HelperCx<'_>, _args: [u64; 3]) -> Result<u64, Trap> {
    static START: OnceLock<Instant> = OnceLock::new();
    Ok(START.get_or_init(Instant::now).elapsed().as_nanos() as u64)
}
