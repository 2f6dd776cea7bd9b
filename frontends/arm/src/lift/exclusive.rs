//! Exclusive accesses, load-acquire and store-release, SWP (DDI 0406C A3.4; DDI 0487 F3, F5).
//!
//! A load remembers its address and what was there; a store succeeds if the address is the same and memory still has
//! that value, which one compare-and-swap finds out. Where the address is another, the swap puts back what is there.
//! Loads and stores of the host are acquires and releases already; only a later load may overtake a store, which the
//! fence of STL prevents.

use super::Lifter;
use crate::state::{EXCL_ADDR, EXCL_VALUE, NO_EXCLUSIVE};
use isamorph_ir::{Addr, AtomicOp, Cond, MemAttr, Op, Type, Value};

/// Bytes by the size field of A32: word, doubleword, byte, halfword.
pub(super) const fn a32_bytes(size: u32) -> u32 {
    [4, 8, 1, 2][(size & 3) as usize]
}

const fn ty(bytes: u32) -> Type {
    match bytes {
        1 => Type::I8,
        2 => Type::I16,
        4 => Type::I32,
        _ => Type::I64,
    }
}

/// The bytes of a doubleword or word in memory order as the registers see them, and the other way round. With
/// big-endian data, each word of a doubleword is swapped by itself.
fn in_order(cx: &mut Lifter<'_>, value: Value, bytes: u32) -> Value {
    if !cx.mode.big_endian {
        return value;
    }
    match bytes {
        1 => value,
        2 => {
            let wide = cx.b.convert(Op::Zext, Type::I32, &[value]);
            let swapped = cx.b.un(Op::Bswap, wide);
            cx.b.field(Type::I16, swapped, 16)
        }
        4 => cx.b.un(Op::Bswap, value),
        _ => {
            let swapped = cx.b.un(Op::Bswap, value);
            let half = cx.count(32);
            cx.b.multi(Op::Ror, &[swapped, half])
        }
    }
}

/// LDREX and LDAEX.
pub(super) fn load(cx: &mut Lifter<'_>, bytes: u32, rn: u32, rt: u32, rt2: u32, disp: u32) {
    let place = cx.base(rn, disp as i32);
    let place = cx.b.addr(place);
    let raw = cx.b.load(ty(bytes), MemAttr::new(bytes).aligned(), place);
    let addr = cx.b.lea(Type::I32, place);
    let seen = if bytes == 8 { raw } else { cx.b.convert(Op::Zext, Type::I64, &[raw]) };
    let value = in_order(cx, raw, bytes);
    cx.b.set(EXCL_ADDR, addr);
    cx.b.set(EXCL_VALUE, seen);
    match bytes {
        8 => {
            let (low, high) = (cx.b.convert(Op::Trunc, Type::I32, &[value]), cx.b.field(Type::I32, value, 32));
            cx.set_reg(rt, low);
            cx.set_reg(rt2, high);
        }
        4 => cx.set_reg(rt, value),
        _ => {
            let value = cx.b.convert(Op::Zext, Type::I32, &[value]);
            cx.set_reg(rt, value);
        }
    }
}

/// STREX and STLEX.
pub(super) fn store(cx: &mut Lifter<'_>, bytes: u32, rn: u32, rd: u32, pair: (u32, u32), disp: u32) {
    let place = cx.base(rn, disp as i32);
    let place = cx.b.addr(place);
    let addr = cx.b.lea(Type::I32, place);
    let new = new_value(cx, bytes, pair);
    let (watched, seen) = (cx.b.get(EXCL_ADDR), cx.b.get(EXCL_VALUE));
    let expected = if bytes == 8 { seen } else { cx.b.convert(Op::Trunc, ty(bytes), &[seen]) };
    let apart = cx.b.bin(Op::Sub, addr, watched);
    let same = cx.b.flags(apart);
    let stored = cx.b.select(Cond::E, same, new, expected);
    let old = cx.b.cas(place, expected, stored);
    let swapped = cx.b.flags(old);
    let missed = cx.b.setcc(Cond::Ne, swapped);
    let elsewhere = cx.b.setcc(Cond::Ne, same);
    let failed = cx.b.bin(Op::Or, missed, elsewhere);
    let failed = cx.b.convert(Op::Zext, Type::I32, &[failed]);
    clear(cx);
    cx.set_reg(rd, failed);
}

fn new_value(cx: &mut Lifter<'_>, bytes: u32, (rt, rt2): (u32, u32)) -> Value {
    let low = cx.reg(rt);
    let value = match bytes {
        8 => {
            let high = cx.reg(rt2);
            cx.b.convert(Op::Concat, Type::I64, &[low, high])
        }
        4 => low,
        _ => cx.b.convert(Op::Trunc, ty(bytes), &[low]),
    };
    in_order(cx, value, bytes)
}

/// CLREX.
pub(super) fn clear(cx: &mut Lifter<'_>) {
    let none = cx.int(NO_EXCLUSIVE);
    cx.b.set(EXCL_ADDR, none);
}

/// LDA, LDAB, LDAH.
pub(super) fn load_acquire(cx: &mut Lifter<'_>, bytes: u32, rn: u32, rt: u32) {
    let (place, mem) = (cx.base(rn, 0), cx.mem(bytes).aligned());
    let place = cx.b.addr(place);
    let value = cx.b.load(Type::I32, mem, place);
    cx.set_reg(rt, value);
}

/// STL, STLB, STLH.
pub(super) fn store_release(cx: &mut Lifter<'_>, bytes: u32, rn: u32, rt: u32) {
    let (place, mem, value) = (cx.base(rn, 0), cx.mem(bytes).aligned(), cx.reg(rt));
    let place = cx.b.addr(place);
    cx.b.store(mem, place, value);
    cx.b.fence();
}

/// SWP and SWPB.
pub(super) fn swap(cx: &mut Lifter<'_>, byte: bool, rn: u32, rt: u32, rt2: u32) {
    let bytes = if byte { 1 } else { 4 };
    let (base, value) = (cx.reg(rn), cx.reg(rt2));
    let place = cx.b.addr(Addr::base(base));
    let value = if byte { cx.b.convert(Op::Trunc, Type::I8, &[value]) } else { value };
    let value = in_order(cx, value, bytes);
    let old = cx.b.atomic(Op::Fetch, AtomicOp::Xchg, place, value);
    let old = in_order(cx, old, bytes);
    let old = if byte { cx.b.convert(Op::Zext, Type::I32, &[old]) } else { old };
    cx.set_reg(rt, old);
}

/// DMB and DSB; ISB is one, too. The host orders everything but loads before the stores in front of them.
pub(super) fn barrier(cx: &mut Lifter<'_>, option: u32) {
    // ISHST, NSHST, OSHST, ST order only stores.
    let only_stores = option & 3 == 2;
    if !only_stores {
        cx.b.fence();
    }
}
