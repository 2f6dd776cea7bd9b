//! Guest registers and locals.
//!
//! MMX registers are the significands of the x87 registers. Touching one makes the unit ready for MMX: the top of the
//! stack becomes register 0 and all registers become valid; writing one sets its exponent and sign to all ones
//! (SDM vol. 1, 9.5.1 and 9.5.2).

use crate::Frame;
use isamorph_ir::{CpuState, Pin, RegId};

/// Offsets in an FXSAVE image (SDM vol. 1, table 10-2).
pub(crate) mod image {
    /// Status word.
    pub(crate) const FSW: u32 = 2;
    /// Abridged tag word: one bit per physical register, set if it is not empty.
    pub(crate) const FTW: u32 = 4;
    /// ST(0); the others follow in stack order.
    pub(crate) const ST: u32 = 32;
    /// Distance from one ST(i) to the next.
    pub(crate) const STRIDE: u32 = 16;
    /// Shift of the field TOP in the status word.
    pub(crate) const TOP_SHIFT: u32 = 11;
}

impl Frame<'_> {
    pub(crate) fn get(&mut self, reg: RegId) -> u128 {
        match reg.as_local() {
            Some(local) => self.locals[local],
            None => {
                self.prepare(reg);
                self.state.get_wide(self.table, reg)
            }
        }
    }

    pub(crate) fn set(&mut self, reg: RegId, bits: u128) {
        match reg.as_local() {
            Some(local) => self.locals[local] = bits,
            None => {
                self.prepare(reg);
                self.state.set_wide(self.table, reg, bits);
                let def = self.table.def(reg);
                if matches!(def.pin, Pin::X87(_)) {
                    self.state.bytes_mut(def.offset + def.ty.bytes(), 2).fill(0xff);
                }
            }
        }
    }

    /// Makes the x87 unit ready for MMX if the register is one of its.
    fn prepare(&mut self, reg: RegId) {
        if let (Pin::X87(_), Some(base)) = (self.table.def(reg).pin, self.table.fxsave) {
            enter_mmx(self.state, base);
        }
    }
}

/// Makes the x87 unit ready for MMX.
pub(crate) fn enter_mmx(state: &mut CpuState, base: u32) {
    state.bytes_mut(base + image::FTW, 1)[0] = 0xff;
    let status = read_u16(state, base + image::FSW);
    let top = usize::from(status >> image::TOP_SHIFT & 7);
    if top == 0 {
        return;
    }
    // The image has ST(i) = physical register top + i at place i; with top = 0 they are in physical order.
    let stack = state.bytes_mut(base + image::ST, 8 * image::STRIDE as usize);
    stack.rotate_right(top * image::STRIDE as usize);
    let status = status & !(7 << image::TOP_SHIFT);
    state.bytes_mut(base + image::FSW, 2).copy_from_slice(&status.to_le_bytes());
}

/// A 16-bit word of the state.
pub(crate) fn read_u16(state: &CpuState, offset: u32) -> u16 {
    let bytes = state.bytes(offset, 2);
    u16::from_le_bytes([bytes[0], bytes[1]])
}
