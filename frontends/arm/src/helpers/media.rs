//! Parallel addition and subtraction in full generality (DDI 0406C A5.4.1, A5.4.2).

use crate::state::{ARM, GE};
use isamorph_ir::{HelperCx, Trap};

/// The first argument of [`parallel`]: operation, signedness and range as the lifter numbers them.
pub(crate) const fn selector(op: u32, unsigned: bool, range: u32) -> u32 {
    op | (unsigned as u32) << 4 | range << 8
}

/// An operation on lanes: the bits of a lane, and for each lane of the result the lane of the second operand and
/// whether it is subtracted. Odd lanes take the latter from `odd`.
struct Shape {
    bits: u32,
    exchange: bool,
    subtract: [bool; 2],
}

/// In the order of the lifter's operations: ADD16, ASX, SAX, SUB16, ADD8, SUB8.
const SHAPES: [Shape; 6] = [
    Shape { bits: 16, exchange: false, subtract: [false, false] },
    Shape { bits: 16, exchange: true, subtract: [true, false] },
    Shape { bits: 16, exchange: true, subtract: [false, true] },
    Shape { bits: 16, exchange: false, subtract: [true, true] },
    Shape { bits: 8, exchange: false, subtract: [false, false] },
    Shape { bits: 8, exchange: false, subtract: [true, true] },
];

fn lane(word: u32, index: u32, bits: u32, unsigned: bool) -> i32 {
    let raw = word >> (index * bits) << (32 - bits);
    if unsigned { (raw >> (32 - bits)) as i32 } else { raw as i32 >> (32 - bits) }
}

/// A parallel operation on two words; sets GE if it is a modular one.
pub(super) fn parallel(cx: &mut HelperCx<'_>, [selector, n, m]: [u64; 3]) -> Result<u64, Trap> {
    let (unsigned, range) = (selector >> 4 & 1 != 0, selector >> 8);
    let shape = &SHAPES[(selector & 15) as usize % SHAPES.len()];
    let (mut result, mut ge) = (0u32, 0u32);
    let ones = u32::MAX >> (32 - shape.bits);
    for index in 0..32 / shape.bits {
        let subtract = shape.subtract[index as usize & 1];
        let a = lane(n as u32, index, shape.bits, unsigned);
        let b = lane(m as u32, index ^ u32::from(shape.exchange), shape.bits, unsigned);
        let exact = if subtract { a - b } else { a + b };
        let value = match range {
            1 if unsigned => exact.clamp(0, ones as i32),
            1 => exact.clamp(-(ones as i32 / 2) - 1, ones as i32 / 2),
            2 => exact >> 1,
            _ => exact,
        };
        let reached = if unsigned && !subtract { exact > ones as i32 } else { exact >= 0 };
        result |= (value as u32 & ones) << (index * shape.bits);
        ge |= if reached { ones << (index * shape.bits) } else { 0 };
    }
    if range == 0 {
        cx.state.set(&ARM, GE, u64::from(ge));
    }
    Ok(u64::from(result))
}
