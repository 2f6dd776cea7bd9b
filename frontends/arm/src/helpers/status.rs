//! Status registers as a whole.

use crate::state::{self, ARM, FPSCR_REST, cpsr_bits};
use isamorph_ir::{HelperCx, Trap};

/// The bits of CPSR that User mode may read: N Z C V Q GE, and the mode (DDI 0406C B1.3.3, B9.3.8).
const READABLE: u32 = 0xf80f_0000 | cpsr_bits::E | cpsr_bits::USER;

/// MRS of APSR.
pub(super) fn read_apsr(cx: &mut HelperCx<'_>, _: [u64; 3]) -> Result<u64, Trap> {
    Ok(u64::from(state::cpsr(cx.state) & READABLE))
}

/// MSR to CPSR: a value, and the mask of bytes, of which User mode has E (bit 1), GE (bit 2) and N Z C V Q (bit 3).
pub(super) fn write_apsr(cx: &mut HelperCx<'_>, [value, mask, _]: [u64; 3]) -> Result<u64, Trap> {
    let ge = if mask & 4 != 0 { 0xf << cpsr_bits::GE_SHIFT } else { 0 };
    let flags = if mask & 8 != 0 { 0xf800_0000 } else { 0 };
    let endianness = if mask & 2 != 0 { cpsr_bits::E } else { 0 };
    let writable = endianness | ge | flags;
    let old = state::cpsr(cx.state);
    state::set_cpsr(cx.state, old & !writable | value as u32 & writable);
    Ok(0)
}

/// VMRS of FPSCR.
pub(super) fn read_fpscr(cx: &mut HelperCx<'_>, _: [u64; 3]) -> Result<u64, Trap> {
    Ok(u64::from(state::fpscr(cx.state)))
}

/// VMSR of FPSCR; tells whether bits changed that decide what instructions mean.
pub(super) fn write_fpscr(cx: &mut HelperCx<'_>, [value, ..]: [u64; 3]) -> Result<u64, Trap> {
    let before = cx.state.get(&ARM, FPSCR_REST);
    state::set_fpscr(cx.state, value as u32);
    let deciding = u64::from(state::fpscr_bits::REST & !state::fpscr_bits::IDC);
    Ok(u64::from((before ^ cx.state.get(&ARM, FPSCR_REST)) & deciding != 0))
}
