//! Loads and stores of SIMD and floating-point registers (Arm ARM C6.2 and C7.2: LDR, LDP, LD1 to LD4 and their
//! stores).

use super::simd::{Form, Width, bits, int_lane};
use super::simd_move::{unzip, zip};
use super::{Lifter, signed};
use crate::decode::a64;
use isamorph_ir::{Addr, Lane, MemAttr, Op, Type, Value};

/// Loads that many bytes into a vector, zero above.
fn load(cx: &mut Lifter<'_>, bytes: u32, addr: Addr) -> Value {
    let addr = cx.b.addr(addr);
    if bytes >= 4 {
        return cx.b.load(Type::V128, MemAttr::new(bytes), addr);
    }
    let value = cx.b.load(Type::I32, MemAttr::new(bytes), addr);
    cx.b.convert(Op::VFromInt, Type::V128, &[value])
}

/// Stores that many low bytes of a vector.
fn store(cx: &mut Lifter<'_>, bytes: u32, addr: Addr, value: Value) {
    let addr = cx.b.addr(addr);
    let value = if bytes >= 4 { value } else { cx.b.convert(Op::VToInt, Type::I32, &[value]) };
    cx.b.store(MemAttr::new(bytes), addr, value);
}

/// One register at an address; `write_back` is a base register and what is added to it afterwards.
fn one(cx: &mut Lifter<'_>, is_load: bool, bytes: u32, rt: u32, addr: Addr, write_back: Option<(u32, i64)>) {
    if is_load {
        let value = load(cx, bytes, addr);
        step(cx, write_back);
        cx.set_v(rt, value, bytes);
    } else {
        let value = cx.v(rt);
        store(cx, bytes, addr, value);
        step(cx, write_back);
    }
}

/// Adds to a base register.
fn step(cx: &mut Lifter<'_>, write_back: Option<(u32, i64)>) {
    if let Some((base, n)) = write_back {
        let old = cx.x_sp(base);
        let new = cx.add_const(old, n);
        cx.set_sp(base, new);
    }
}

/// Bytes of an access whose field `sz` is size:opc<1>.
fn access_bytes(sz: u32) -> u32 {
    if sz & 1 != 0 { 16 } else { 1 << (sz >> 1) }
}

pub(super) fn ldr_v_lit(cx: &mut Lifter<'_>, a: &a64::LdrVLit) {
    let target = cx.pc.wrapping_add_signed(4 * signed(a.imm19, 19));
    let base = cx.constant(Type::I64, target);
    one(cx, true, 4 << a.opc, a.rt, Addr::base(base), None);
}

pub(super) fn ldr_v_unscaled(cx: &mut Lifter<'_>, a: &a64::LdrVUnscaled) {
    let addr = Addr::offset(cx.x_sp(a.rn), signed(a.imm9, 9) as i32);
    one(cx, a.l != 0, access_bytes(a.sz), a.rt, addr, None);
}

pub(super) fn ldr_v_indexed(cx: &mut Lifter<'_>, a: &a64::LdrVIndexed) {
    let n = signed(a.imm9, 9);
    let addr = Addr::offset(cx.x_sp(a.rn), if a.pre != 0 { n as i32 } else { 0 });
    one(cx, a.l != 0, access_bytes(a.sz), a.rt, addr, Some((a.rn, n)));
}

pub(super) fn ldr_v_imm(cx: &mut Lifter<'_>, a: &a64::LdrVImm) {
    let bytes = access_bytes(a.sz);
    let addr = Addr::offset(cx.x_sp(a.rn), (a.imm12 * bytes) as i32);
    one(cx, a.l != 0, bytes, a.rt, addr, None);
}

pub(super) fn ldr_v_reg(cx: &mut Lifter<'_>, a: &a64::LdrVReg) {
    let bytes = access_bytes(a.sz);
    let index = match (a.ext, a.sxtx) {
        (_, 1) => cx.x(a.rm),
        (0, _) => {
            let low = cx.w(a.rm);
            cx.extend(low)
        }
        _ => {
            let low = cx.w(a.rm);
            cx.b.convert(Op::Sext, Type::I64, &[low])
        }
    };
    let scale = if a.shift != 0 { bytes.trailing_zeros() } else { 0 };
    // An address tree scales by 8 at most.
    let (index, scale) = if scale > 3 {
        let count = cx.constant(Type::I8, u64::from(scale));
        (cx.b.multi(Op::Shl, &[index, count]), 0)
    } else {
        (index, scale)
    };
    let addr = Addr { index, scale: scale as u8, ..Addr::base(cx.x_sp(a.rn)) };
    one(cx, a.l != 0, bytes, a.rt, addr, None);
}

pub(super) fn ldp_v(cx: &mut Lifter<'_>, a: &a64::LdpV) {
    let bytes = 4 << a.opc;
    let n = signed(a.imm7, 7) * i64::from(bytes);
    // mode: 0 no-allocate hint, 1 post-index, 2 offset, 3 pre-index.
    let first = if a.mode == 1 { 0 } else { n as i32 };
    let write_back = (a.mode & 1 != 0).then_some((a.rn, n));
    let base = cx.x_sp(a.rn);
    let at = [Addr::offset(base, first), Addr::offset(base, first + bytes as i32)];
    if a.l != 0 {
        let values = at.map(|addr| load(cx, bytes, addr));
        step(cx, write_back);
        cx.set_v(a.rt, values[0], bytes);
        cx.set_v(a.rt2, values[1], bytes);
    } else {
        for (rt, addr) in [a.rt, a.rt2].into_iter().zip(at) {
            let value = cx.v(rt);
            store(cx, bytes, addr, value);
        }
        step(cx, write_back);
    }
}

// ---- structures

/// What a post-index structure access adds to its base register: a register, or (31) the bytes accessed.
#[derive(Clone, Copy)]
enum After {
    Nothing,
    Add(u32),
}

fn after(cx: &mut Lifter<'_>, rn: u32, after: After, bytes: u32) {
    match after {
        After::Nothing => {}
        After::Add(31) => step(cx, Some((rn, i64::from(bytes)))),
        After::Add(rm) => {
            let (base, n) = (cx.x_sp(rn), cx.x(rm));
            let sum = cx.b.bin(Op::Add, base, n);
            cx.set_sp(rn, sum);
        }
    }
}

/// LD1 to LD4 and ST1 to ST4 of whole registers: `count` registers from `rt` on; elements are interleaved if `mixed`.
fn multiple(cx: &mut Lifter<'_>, l: u32, f: Form, count: u32, mixed: bool, [rn, rt]: [u32; 2], post: After) {
    let base = cx.x_sp(rn);
    let bytes = f.bytes();
    let at = |i: u32| Addr::offset(base, (i * bytes) as i32);
    if l != 0 {
        let chunks: Vec<Value> = (0..count).map(|i| load(cx, bytes, at(i))).collect();
        let values = if mixed { separate(cx, f, &chunks) } else { chunks };
        after(cx, rn, post, count * bytes);
        for (i, value) in values.into_iter().enumerate() {
            cx.set_v(rt + i as u32, value, bytes);
        }
    } else {
        let values: Vec<Value> = (0..count).map(|i| cx.v(rt + i)).collect();
        let chunks = if mixed { interleave(cx, f, &values) } else { values };
        for (i, value) in chunks.into_iter().enumerate() {
            store(cx, bytes, at(i as u32), value);
        }
        after(cx, rn, post, count * bytes);
    }
}

/// Structures in memory order to one register for each member.
fn separate(cx: &mut Lifter<'_>, f: Form, c: &[Value]) -> Vec<Value> {
    let mut pair = |a, b| [false, true].map(|odd| unzip(cx, f, a, b, odd));
    let values = match *c {
        [a, b] => pair(a, b).to_vec(),
        [a, b, c, d] => {
            let ([ab0, ab1], [cd0, cd1]) = (pair(a, b), pair(c, d));
            let ([m0, m2], [m1, m3]) = (pair(ab0, cd0), pair(ab1, cd1));
            vec![m0, m1, m2, m3]
        }
        _ => return (0..3).map(|k| gather(cx, f, c, |i| 3 * i + k)).collect(),
    };
    values.into_iter().map(|v| cx.zero_above(v, f.bytes())).collect()
}

/// The inverse: one register for each member to memory order.
fn interleave(cx: &mut Lifter<'_>, f: Form, v: &[Value]) -> Vec<Value> {
    let mut pair = |a, b| [false, true].map(|high| zip(cx, f, a, b, high));
    match *v {
        [a, b] => pair(a, b).to_vec(),
        [a, b, c, d] => {
            let ([ac0, ac1], [bd0, bd1]) = (pair(a, c), pair(b, d));
            let ([c0, c1], [c2, c3]) = (pair(ac0, bd0), pair(ac1, bd1));
            vec![c0, c1, c2, c3]
        }
        _ => {
            let lanes = f.bytes() / f.lane.bytes();
            (0..3)
                .map(|chunk| {
                    gather(cx, f, v, |i| {
                        let element = chunk * lanes + i;
                        element % 3 * lanes + element / 3
                    })
                })
                .collect()
        }
    }
}

/// A vector whose lane i is element `from(i)` of the concatenation of three vectors of the form.
fn gather(cx: &mut Lifter<'_>, f: Form, sources: &[Value], from: impl Fn(u32) -> u32) -> Value {
    let (size, lanes) = (f.lane.bytes(), f.bytes() / f.lane.bytes());
    let mut result = cx.vzero();
    for (number, source) in sources.iter().enumerate() {
        // Byte numbers for VShufBytes; 0x80 gives zero.
        let mut selector = [0x80u8; 16];
        for (at, byte) in selector.iter_mut().enumerate().take(f.bytes() as usize) {
            let (lane, part) = (at as u32 / size, at as u32 % size);
            let element = from(lane);
            if element / lanes == number as u32 {
                *byte = (element % lanes * size + part) as u8;
            }
        }
        let selector = cx.vconst(u128::from_le_bytes(selector));
        let part = cx.b.bin(Op::VShufBytes, *source, selector);
        result = cx.b.bin(Op::VOr, result, part);
    }
    result
}

/// Handlers of structure accesses, without and with post-index: name, types of the arguments, form, count, interleaved.
macro_rules! structures {
    ($(
        $name:ident $post:ident $args:ident $post_args:ident |$a:ident| $form:expr, $count:literal, $mixed:literal;
    )*) => { $(
        pub(super) fn $name(cx: &mut Lifter<'_>, $a: &a64::$args) {
            multiple(cx, $a.l, $form, $count, $mixed, [$a.rn, $a.rt], After::Nothing);
        }
        pub(super) fn $post(cx: &mut Lifter<'_>, $a: &a64::$post_args) {
            multiple(cx, $a.l, $form, $count, $mixed, [$a.rn, $a.rt], After::Add($a.rm));
        }
    )* };
}
structures! {
    ld4 ld4_post Ld4 Ld4Post |a| Form::vector(a.arr), 4, true;
    ld3 ld3_post Ld3 Ld3Post |a| Form::vector(a.arr), 3, true;
    ld2 ld2_post Ld2 Ld2Post |a| Form::vector(a.arr), 2, true;
    ld1_x4 ld1_x4_post Ld1X4 Ld1X4Post |a| Form::of(a.q, int_lane(a.size)), 4, false;
    ld1_x3 ld1_x3_post Ld1X3 Ld1X3Post |a| Form::of(a.q, int_lane(a.size)), 3, false;
    ld1_x2 ld1_x2_post Ld1X2 Ld1X2Post |a| Form::of(a.q, int_lane(a.size)), 2, false;
    ld1_x1 ld1_x1_post Ld1X1 Ld1X1Post |a| Form::of(a.q, int_lane(a.size)), 1, false;
}

/// The integer type that carries a lane.
fn carrier(lane: Lane) -> Type {
    if lane == Lane::I64 { Type::I64 } else { Type::I32 }
}

/// The number of registers of a single structure from the field `sel`, where R, the low bit, comes first.
fn members(sel: u32) -> u32 {
    (sel >> 1 | (sel & 1) << 1) + 1
}

/// LD1 to LD4 and ST1 to ST4 of one lane of `count` registers from `rt` on.
fn lanes(cx: &mut Lifter<'_>, l: u32, lane: Lane, idx: u32, count: u32, [rn, rt]: [u32; 2], post: After) {
    let base = cx.x_sp(rn);
    let (size, ty) = (lane.bytes(), carrier(lane));
    let mem = MemAttr::new(size);
    if l != 0 {
        let mut elements = Vec::new();
        for i in 0..count {
            let addr = cx.b.addr(Addr::offset(base, (i * size) as i32));
            elements.push(cx.b.load(ty, mem, addr));
        }
        after(cx, rn, post, count * size);
        for (i, element) in elements.into_iter().enumerate() {
            let rt = rt + i as u32;
            let old = cx.v(rt);
            let new = cx.b.vec(Op::VInsert, lane, &[old, element], idx);
            cx.set_v(rt, new, 16);
        }
    } else {
        for i in 0..count {
            let value = cx.v(rt + i);
            let element = cx.b.vec_to(Op::VExtract, ty, lane, &[value], idx);
            let addr = cx.b.addr(Addr::offset(base, (i * size) as i32));
            cx.b.store(mem, addr, element);
        }
        after(cx, rn, post, count * size);
    }
}

/// LD1R to LD4R.
fn replicate(cx: &mut Lifter<'_>, f: Form, count: u32, [rn, rt]: [u32; 2], post: After) {
    let base = cx.x_sp(rn);
    let size = f.lane.bytes();
    let mut elements = Vec::new();
    for i in 0..count {
        let addr = cx.b.addr(Addr::offset(base, (i * size) as i32));
        elements.push(cx.b.load(carrier(f.lane), MemAttr::new(size), addr));
    }
    after(cx, rn, post, count * size);
    for (i, element) in elements.into_iter().enumerate() {
        let value = if f.width == Width::Half && bits(f.lane) == 64 {
            cx.b.convert(Op::VFromInt, Type::V128, &[element])
        } else {
            let all = cx.b.vec_to(Op::VDup, Type::V128, f.lane, &[element], 0);
            cx.zero_above(all, f.bytes())
        };
        cx.set_v(rt + i as u32, value, f.bytes());
    }
}

/// Handlers of accesses to single lanes, without and with post-index: name, types of the arguments, lane, its number.
macro_rules! single_lanes {
    ($($name:ident $post:ident $args:ident $post_args:ident |$a:ident| $lane:expr, $idx:expr;)*) => { $(
        pub(super) fn $name(cx: &mut Lifter<'_>, $a: &a64::$args) {
            lanes(cx, $a.l, $lane, $idx, members($a.sel), [$a.rn, $a.rt], After::Nothing);
        }
        pub(super) fn $post(cx: &mut Lifter<'_>, $a: &a64::$post_args) {
            lanes(cx, $a.l, $lane, $idx, members($a.sel), [$a.rn, $a.rt], After::Add($a.rm));
        }
    )* };
}
single_lanes! {
    ld_lane_b ld_lane_b_post LdLaneB LdLaneBPost |a| Lane::I8, a.idx;
    ld_lane_h ld_lane_h_post LdLaneH LdLaneHPost |a| Lane::I16, a.idx;
    ld_lane_s ld_lane_s_post LdLaneS LdLaneSPost |a| Lane::I32, a.idx;
    ld_lane_d ld_lane_d_post LdLaneD LdLaneDPost |a| Lane::I64, a.idx;
}

pub(super) fn ld_rep(cx: &mut Lifter<'_>, a: &a64::LdRep) {
    replicate(cx, Form::of(a.q, int_lane(a.size)), members(a.sel), [a.rn, a.rt], After::Nothing);
}

pub(super) fn ld_rep_post(cx: &mut Lifter<'_>, a: &a64::LdRepPost) {
    replicate(cx, Form::of(a.q, int_lane(a.size)), members(a.sel), [a.rn, a.rt], After::Add(a.rm));
}
