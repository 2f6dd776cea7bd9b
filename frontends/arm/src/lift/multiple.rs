//! LDM, STM, PUSH, POP and their kin for floating-point registers (DDI 0406C A8.8.58, A8.8.199, A8.8.332).

use super::fpreg::Precision;
use super::{Lifter, branch};
use isamorph_ir::{Addr, MemAttr, Op, Type, Value};

/// Several registers from or to consecutive words.
#[derive(Clone, Copy)]
pub(super) struct Multiple {
    pub(super) load: bool,
    /// Upwards from the base, or downwards to it.
    pub(super) up: bool,
    /// Whether the base's own word is left out.
    pub(super) before: bool,
    pub(super) writeback: bool,
    pub(super) rn: u32,
    pub(super) list: u32,
}

/// Lifts it. No register is written before the last access.
pub(super) fn lift(cx: &mut Lifter<'_>, op: Multiple) {
    let count = op.list.count_ones();
    if !cx.require(count != 0 && op.rn != 15) {
        return;
    }
    let (base, bytes) = (cx.reg(op.rn), 4 * count as i32);
    let first = match (op.up, op.before) {
        (true, false) => 0,
        (true, true) => 4,
        (false, false) => 4 - bytes,
        (false, true) => -bytes,
    };
    let places = (0..16).filter(|r| op.list >> r & 1 != 0).zip(0..);
    let places = places.map(|(r, i)| (r, Addr::offset(base, first + 4 * i)));
    let mut loaded = [None; 16];
    for (r, addr) in places {
        if op.load {
            loaded[r as usize] = Some(cx.load(4, addr));
        } else {
            let value = cx.reg(r);
            cx.store(4, addr, value);
        }
    }
    // A base that is loaded is not written back.
    if op.writeback && !(op.load && op.list >> op.rn & 1 != 0) {
        let moved = cx.bin_const(Op::Add, base, if op.up { bytes } else { -bytes } as u32);
        cx.set_reg(op.rn, moved);
    }
    for (r, value) in loaded.iter().enumerate().take(15) {
        if let Some(value) = value {
            cx.set_reg(r as u32, *value);
        }
    }
    if let Some(target) = loaded[15] {
        branch::exchange(cx, target, op.rn == 13);
    }
}

/// A scalar in memory.
pub(super) fn load_scalar(cx: &mut Lifter<'_>, precision: Precision, addr: Addr) -> Value {
    if cx.mode.big_endian {
        let int = cx.load(precision.bits() / 8, addr);
        return cx.vector_of(int);
    }
    let (mem, addr) = (MemAttr::new(precision.bits() / 8), cx.b.addr(addr));
    cx.b.load(Type::V128, mem, addr)
}

/// Stores a scalar register.
pub(super) fn store_scalar(cx: &mut Lifter<'_>, precision: Precision, number: u32, addr: Addr) {
    let value = cx.scalar(precision, number);
    if cx.mode.big_endian {
        let int = if precision == Precision::Double { cx.low_double(value) } else { cx.low_word(value) };
        return cx.store(precision.bits() / 8, addr, int);
    }
    let (mem, addr) = (MemAttr::new(precision.bits() / 8), cx.b.addr(addr));
    cx.b.store(mem, addr, value);
}

/// VLDM, VSTM, VPUSH, VPOP: base register, upwards, writeback. An odd number of words for doubles is FLDMX, which has a
/// word of padding.
pub(super) fn vector(
    cx: &mut Lifter<'_>,
    precision: Precision,
    first: u32,
    words: u32,
    load: bool,
    (rn, up, writeback): (u32, bool, bool),
) {
    let count = if precision == Precision::Double { words / 2 } else { words };
    let most = if precision == Precision::Double && cx.cpu.simd || precision == Precision::Single { 32 } else { 16 };
    if !cx.require(
        count != 0
            && !(precision == Precision::Double && count > 16)
            && first + count <= most
            && !(rn == 15 && (writeback || cx.thumb)),
    ) {
        return;
    }
    let bytes = 4 * words as i32;
    let step = precision.bits() as i32 / 8;
    let mut values = Vec::new();
    for i in 0..count {
        let place = cx.base(rn, step * i as i32 - if up { 0 } else { bytes });
        if load {
            values.push(load_scalar(cx, precision, place));
        } else {
            store_scalar(cx, precision, first + i, place);
        }
    }
    for (number, value) in (first..).zip(values) {
        cx.set_scalar(precision, number, value);
    }
    if writeback {
        let base = cx.reg(rn);
        let moved = cx.bin_const(Op::Add, base, if up { bytes } else { -bytes } as u32);
        cx.set_reg(rn, moved);
    }
}
