//! Constants inside address trees, and `lea` that computes nothing.
//!
//! Constant parts (registers that were just loaded with an address, flat segments) move into the displacement. A `lea`
//! of one register is what compilers pad code with (`lea esi, [esi + eiz]`); of constants alone it is a constant.
//!
//! Sums and shifts by constants that feed an address are not folded into it, although the tree could hold them: on
//! guests with two-address code such a sum has overwritten its operand, which would have to be kept somewhere for the
//! sake of the address.

use crate::names::{bits, constant};
use isamorph_ir::{Addr, Inst, RegTable, Region, Value};

/// Moves the constants of an address tree into its displacement.
pub(crate) fn fold(region: &mut Region, table: &RegTable, index: usize) {
    let addr = region.addrs[index];
    let is_const = |value: Value| value.as_const().is_some();
    if is_const(addr.base) || is_const(addr.index) || is_const(addr.seg) {
        region.addrs[index] = folded(region, table, addr);
    }
}

fn folded(region: &Region, table: &RegTable, mut addr: Addr) -> Addr {
    let scale = addr.scale;
    for (part, shift) in [(&mut addr.base, 0), (&mut addr.index, scale), (&mut addr.seg, 0)] {
        let Some(value) = bits(region, *part) else { continue };
        let sum = (i64::from(addr.disp) as u64).wrapping_add(value << shift);
        // A displacement is 32 bits, which is all there is of a 32-bit address.
        let disp = sum as i32;
        if table.addr_bits == 32 || i64::from(disp) as u64 == sum {
            addr.disp = disp;
            *part = Value::NONE;
        }
    }
    if addr.index.is_none() {
        addr.scale = 0;
    }
    addr
}

/// The value that equals a `lea`.
pub(crate) fn simplify(region: &mut Region, table: &RegTable, inst: &Inst) -> Option<Value> {
    let addr = region.addrs[inst.imm as usize];
    let mut parts = addr.values();
    match (parts.next(), parts.next()) {
        (None, _) => Some(constant(region, inst.ty, i64::from(addr.disp) as u64 & table.addr_mask())),
        (Some(only), None) if addr.disp == 0 && addr.scale == 0 && inst.ty == table.addr_type() => Some(only),
        _ => None,
    }
}
