//! Advanced SIMD element and structure loads and stores (DDI 0406C A7.7).
//!
//! Elements go one by one, in memory order, unless a register is one element of 64 bits or its elements are adjacent.
//! As everywhere, registers are written after the last access.

use super::Lifter;
use super::memory::after;
use crate::decode::neon::*;
use isamorph_ir::{Addr, Lane, MemAttr, Op, Type, Value};

const fn lane(size: u32) -> Lane {
    match size & 3 {
        0 => Lane::I8,
        1 => Lane::I16,
        2 => Lane::I32,
        _ => Lane::I64,
    }
}

/// The base register moves on by what was accessed (R13 as the index), or by another register; R15: not at all.
fn write_back(cx: &mut Lifter<'_>, rn: u32, rm: u32, bytes: u32) {
    if rm == 15 {
        return;
    }
    let base = cx.reg(rn);
    let step = if rm == 13 { cx.int(bytes) } else { cx.reg(rm) };
    let moved = cx.b.bin(Op::Add, base, step);
    cx.set_reg(rn, moved);
}

/// Registers of the multiple forms by the type field: how many structures side by side, elements of a structure, and
/// the distance of their registers.
const fn shape(kind: u32) -> Option<(u32, u32, u32)> {
    Some(match kind {
        0 => (1, 4, 1),
        1 => (1, 4, 2),
        2 => (4, 1, 1),
        3 => (2, 2, 2),
        4 => (1, 3, 1),
        5 => (1, 3, 2),
        6 => (3, 1, 1),
        7 => (1, 1, 1),
        8 => (1, 2, 1),
        9 => (1, 2, 2),
        10 => (2, 1, 1),
        _ => return None,
    })
}

pub(super) fn ldst_multiple(cx: &mut Lifter<'_>, a: &LdstMultiple) {
    let Some((repeat, elements, step)) = shape(a.kind) else { return cx.undefined() };
    let first = a.d << 4 | a.vd;
    let last = first + repeat - 1 + (elements - 1) * step;
    let aligned = match a.kind {
        4..=7 => a.align & 2 == 0,
        8..=10 => a.align != 3,
        _ => true,
    };
    if !cx.require(cx.cpu.simd && aligned && last < 32 && a.rn != 15 && !(elements > 1 && a.size == 3)) {
        return;
    }
    let base = cx.base(a.rn, 0);
    let mut values: Vec<(u32, Value)> = Vec::new();
    if elements == 1 {
        for i in 0..repeat {
            let place = after(base, 8 * i as i32);
            if a.l != 0 {
                let value = load_whole(cx, a.size, place);
                values.push((first + i, value));
            } else {
                let value = cx.d(first + i);
                store_whole(cx, a.size, place, value);
            }
        }
    } else {
        structures(cx, a, (first, repeat, elements, step), base, &mut values);
    }
    for (number, value) in values {
        cx.set_d(number, value);
    }
    write_back(cx, a.rn, a.rm, 8 * repeat * elements);
}

/// A register whose elements are adjacent. In big-endian order each element is swapped by itself.
fn load_whole(cx: &mut Lifter<'_>, size: u32, place: Addr) -> Value {
    if cx.mode.big_endian && size != 0 {
        let bytes = 1 << size;
        let none = cx.int(0);
        let mut value = cx.vector_of(none);
        for i in 0..8 / bytes {
            let element = cx.load(bytes, after(place, (i * bytes) as i32));
            value = cx.b.vec(Op::VInsert, lane(size), &[value, element], i);
        }
        return value;
    }
    let place = cx.b.addr(place);
    cx.b.load(Type::V128, MemAttr::new(8), place)
}

fn store_whole(cx: &mut Lifter<'_>, size: u32, place: Addr, value: Value) {
    if cx.mode.big_endian && size != 0 {
        let bytes = 1 << size;
        for i in 0..8 / bytes {
            let element = extract(cx, size, value, i);
            cx.store(bytes, after(place, (i * bytes) as i32), element);
        }
        return;
    }
    let place = cx.b.addr(place);
    cx.b.store(MemAttr::new(8), place, value);
}

fn extract(cx: &mut Lifter<'_>, size: u32, value: Value, index: u32) -> Value {
    let ty = [Type::I8, Type::I16, Type::I32, Type::I64][(size & 3) as usize];
    cx.b.vec_to(Op::VExtract, ty, lane(size), &[value], index)
}

/// VLD2 to VLD4 and VST2 to VST4: element e of structure i is lane i of register e.
fn structures(
    cx: &mut Lifter<'_>,
    a: &LdstMultiple,
    (first, repeat, elements, step): (u32, u32, u32, u32),
    base: Addr,
    values: &mut Vec<(u32, Value)>,
) {
    let (bytes, mut at) = (1 << a.size, 0);
    for r in 0..repeat {
        let numbers: Vec<u32> = (0..elements).map(|e| first + r + e * step).collect();
        let mut current: Vec<Value> = numbers.iter().map(|number| cx.d(*number)).collect();
        for i in 0..8 / bytes {
            for value in &mut current {
                let place = after(base, at);
                if a.l != 0 {
                    let element = cx.load(bytes, place);
                    *value = cx.b.vec(Op::VInsert, lane(a.size), &[*value, element], i);
                } else {
                    let element = extract(cx, a.size, *value, i);
                    cx.store(bytes, place, element);
                }
                at += bytes as i32;
            }
        }
        if a.l != 0 {
            values.extend(numbers.into_iter().zip(current));
        }
    }
}

pub(super) fn ldst_lane(cx: &mut Lifter<'_>, a: &LdstLane) {
    let (elements, first) = (a.count + 1, a.d << 4 | a.vd);
    // The index is on top; below it are spacing and alignment.
    let (index, rest) = (a.index >> (a.size + 1), a.index & ((2 << a.size) - 1));
    let spacing = if a.size > 0 && elements > 1 && rest >> a.size & 1 != 0 { 2 } else { 1 };
    let alignment = rest & ((1 << a.size.max(1)) - 1);
    let exists = match (elements, a.size) {
        (1, 0) => rest == 0,
        (1, 1) => rest & 2 == 0,
        (1, _) => rest & 4 == 0 && matches!(rest & 3, 0 | 3),
        (2, 2) => rest & 2 == 0,
        (3, 0) => rest == 0,
        (3, 1) => rest & 1 == 0,
        (3, _) => rest & 3 == 0,
        (4, 2) => alignment != 3,
        _ => true,
    };
    let last = first + (elements - 1) * spacing;
    if !cx.require(cx.cpu.simd && exists && last < 32 && a.rn != 15) {
        return;
    }
    let (base, bytes) = (cx.base(a.rn, 0), 1 << a.size);
    let mut values = Vec::new();
    for e in 0..elements {
        let (number, place) = (first + e * spacing, after(base, (e * bytes) as i32));
        let old = cx.d(number);
        if a.l != 0 {
            let element = cx.load(bytes, place);
            values.push((number, cx.b.vec(Op::VInsert, lane(a.size), &[old, element], index)));
        } else {
            let element = extract(cx, a.size, old, index);
            cx.store(bytes, place, element);
        }
    }
    for (number, value) in values {
        cx.set_d(number, value);
    }
    write_back(cx, a.rn, a.rm, elements * bytes);
}

pub(super) fn ld_all_lanes(cx: &mut Lifter<'_>, a: &LdAllLanes) {
    let (elements, first) = (a.count + 1, a.d << 4 | a.vd);
    // VLD4 of words with an alignment of 16 bytes has the size that nothing else has.
    let size = if elements == 4 && a.size == 3 && a.a != 0 { 2 } else { a.size };
    let exists = size != 3 && !(elements == 1 && size == 0 && a.a != 0) && !(elements == 3 && a.a != 0);
    // T: a second register for VLD1, every other register for the rest.
    let spacing = if elements > 1 { 1 + a.t } else { 1 };
    let copies = if elements == 1 { 1 + a.t } else { 1 };
    let last = first + (elements - 1) * spacing + copies - 1;
    if !cx.require(cx.cpu.simd && exists && last < 32 && a.rn != 15) {
        return;
    }
    let (base, bytes) = (cx.base(a.rn, 0), 1 << size);
    let mut values = Vec::new();
    for e in 0..elements {
        let element = cx.load(bytes, after(base, (e * bytes) as i32));
        let all = cx.b.vec_to(Op::VDup, Type::V128, lane(size), &[element], 0);
        values.extend((0..copies).map(|copy| (first + e * spacing + copy, all)));
    }
    for (number, value) in values {
        cx.set_d(number, value);
    }
    write_back(cx, a.rn, a.rm, elements * bytes);
}
