//! Loads and stores of integer registers (Arm ARM C6.2).

use super::arith::extended;
use super::{Lifter, signed};
use crate::decode::a64::{
    Ldp, Ldpsw, LdrImm, LdrImm9, LdrLit, LdrReg, LdrswImm, LdrswImm9, LdrswLit, LdrswReg, LdrsxImm, LdrsxImm9,
    LdrsxReg, PrfmImm, PrfmLit, PrfmReg, Prfum, Stp, StrImm, StrImm9, StrReg,
};
use isamorph_ir::{Addr, MemAttr, Type, Value};

/// How an access moves its base register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Indexing {
    /// Not at all.
    Offset,
    /// The base is the address, and moves afterwards.
    Post,
    /// The base moves, and is the address.
    Pre,
}

impl Indexing {
    /// From the two bits of most encodings; what is neither is a plain offset.
    pub(super) fn from_mode(mode: u32) -> Self {
        match mode {
            1 => Self::Post,
            3 => Self::Pre,
            _ => Self::Offset,
        }
    }
}

/// An address relative to a base register, and what becomes of the base.
pub(super) struct Place {
    base: Value,
    rn: u32,
    offset: i32,
    indexing: Indexing,
}

impl Place {
    /// Base X`rn` or SP.
    pub(super) fn new(cx: &mut Lifter<'_>, rn: u32, offset: i64, indexing: Indexing) -> Self {
        // Every encoding's offset fits: at most 12 bits times 16.
        Place { base: cx.x_sp(rn), rn, offset: offset as i32, indexing }
    }
    /// The address of the byte that many bytes after the first one.
    pub(super) fn at(&self, cx: &mut Lifter<'_>, bytes: u32) -> u32 {
        let offset = if self.indexing == Indexing::Post { 0 } else { self.offset };
        cx.b.addr(Addr::offset(self.base, offset + bytes as i32))
    }
    /// Moves the base. Comes after all accesses and other register writes.
    pub(super) fn write_back(self, cx: &mut Lifter<'_>) {
        if self.indexing != Indexing::Offset {
            let moved = cx.add_const(self.base, i64::from(self.offset));
            cx.set_sp(self.rn, moved);
        }
    }
}

/// What a load gives.
#[derive(Clone, Copy)]
enum Extend {
    /// The bytes and zeros above.
    Zero,
    /// The bytes sign-extended to an X register.
    SignX,
    /// The bytes sign-extended to a W register.
    SignW,
}

/// Loads 2^`size` bytes.
fn load(cx: &mut Lifter<'_>, size: u32, extend: Extend, addr: u32) -> Value {
    let mem = MemAttr::new(1 << size);
    match extend {
        Extend::Zero => cx.b.load(Type::I64, mem, addr),
        Extend::SignX => cx.b.load(Type::I64, mem.signed(), addr),
        Extend::SignW => cx.b.load(Type::I32, mem.signed(), addr),
    }
}

fn load_place(cx: &mut Lifter<'_>, size: u32, extend: Extend, rt: u32, place: Place) {
    let addr = place.at(cx, 0);
    let v = load(cx, size, extend, addr);
    cx.set(rt, v);
    place.write_back(cx);
}

fn store_place(cx: &mut Lifter<'_>, size: u32, rt: u32, place: Place) {
    let v = cx.x(rt);
    let addr = place.at(cx, 0);
    cx.b.store(MemAttr::new(1 << size), addr, v);
    place.write_back(cx);
}

// ---- an offset of twelve bits, scaled

fn scaled(cx: &mut Lifter<'_>, rn: u32, imm12: u32, size: u32) -> Place {
    Place::new(cx, rn, i64::from(imm12) << size, Indexing::Offset)
}

pub(super) fn str_imm(cx: &mut Lifter<'_>, a: &StrImm) {
    let place = scaled(cx, a.rn, a.imm12, a.size);
    store_place(cx, a.size, a.rt, place);
}

pub(super) fn ldr_imm(cx: &mut Lifter<'_>, a: &LdrImm) {
    let place = scaled(cx, a.rn, a.imm12, a.size);
    load_place(cx, a.size, Extend::Zero, a.rt, place);
}

pub(super) fn ldrsx_imm(cx: &mut Lifter<'_>, a: &LdrsxImm) {
    let place = scaled(cx, a.rn, a.imm12, a.size);
    load_place(cx, a.size, Extend::SignX, a.rt, place);
}

pub(super) fn ldrsw_imm(cx: &mut Lifter<'_>, a: &LdrswImm) {
    let place = scaled(cx, a.rn, a.imm12, a.size);
    load_place(cx, a.size, Extend::SignW, a.rt, place);
}

// ---- an offset of nine bits; unprivileged accesses are like others here

fn nine(cx: &mut Lifter<'_>, rn: u32, imm9: u32, mode: u32) -> Place {
    Place::new(cx, rn, signed(imm9, 9), Indexing::from_mode(mode))
}

pub(super) fn str_imm9(cx: &mut Lifter<'_>, a: &StrImm9) {
    let place = nine(cx, a.rn, a.imm9, a.mode);
    store_place(cx, a.size, a.rt, place);
}

pub(super) fn ldr_imm9(cx: &mut Lifter<'_>, a: &LdrImm9) {
    let place = nine(cx, a.rn, a.imm9, a.mode);
    load_place(cx, a.size, Extend::Zero, a.rt, place);
}

pub(super) fn ldrsx_imm9(cx: &mut Lifter<'_>, a: &LdrsxImm9) {
    let place = nine(cx, a.rn, a.imm9, a.mode);
    load_place(cx, a.size, Extend::SignX, a.rt, place);
}

pub(super) fn ldrsw_imm9(cx: &mut Lifter<'_>, a: &LdrswImm9) {
    let place = nine(cx, a.rn, a.imm9, a.mode);
    load_place(cx, a.size, Extend::SignW, a.rt, place);
}

// ---- a register as offset

/// The address `X[rn] + extend(R[rm]) << scale`; `option` is LSL or UXTX (3), SXTX (7), UXTW (2), SXTW (6).
pub(super) fn indexed(cx: &mut Lifter<'_>, rn: u32, rm: u32, signed: u32, wide: u32, scale: u32) -> u32 {
    let index = extended(cx, true, rm, signed << 2 | 2 | wide);
    let base = cx.x_sp(rn);
    if scale <= 3 {
        return cx.b.addr(Addr { base, index, scale: scale as u8, disp: 0, seg: Value::NONE });
    }
    let shifted = super::arith::shift_const(cx, isamorph_ir::Op::Shl, index, scale);
    cx.b.addr(Addr { base, index: shifted, scale: 0, disp: 0, seg: Value::NONE })
}

pub(super) fn str_reg(cx: &mut Lifter<'_>, a: &StrReg) {
    let addr = indexed(cx, a.rn, a.rm, a.signed, a.wide, a.s * a.size);
    let v = cx.x(a.rt);
    cx.b.store(MemAttr::new(1 << a.size), addr, v);
}

pub(super) fn ldr_reg(cx: &mut Lifter<'_>, a: &LdrReg) {
    let addr = indexed(cx, a.rn, a.rm, a.signed, a.wide, a.s * a.size);
    let v = load(cx, a.size, Extend::Zero, addr);
    cx.set(a.rt, v);
}

pub(super) fn ldrsx_reg(cx: &mut Lifter<'_>, a: &LdrsxReg) {
    let addr = indexed(cx, a.rn, a.rm, a.signed, a.wide, a.s * a.size);
    let v = load(cx, a.size, Extend::SignX, addr);
    cx.set(a.rt, v);
}

pub(super) fn ldrsw_reg(cx: &mut Lifter<'_>, a: &LdrswReg) {
    let addr = indexed(cx, a.rn, a.rm, a.signed, a.wide, a.s * a.size);
    let v = load(cx, a.size, Extend::SignW, addr);
    cx.set(a.rt, v);
}

// ---- literals

/// The address of a literal.
pub(super) fn literal(cx: &mut Lifter<'_>, imm19: u32) -> u32 {
    let base = cx.constant(Type::I64, cx.pc.wrapping_add_signed(signed(imm19, 19) << 2));
    cx.b.addr(Addr::base(base))
}

pub(super) fn ldr_lit(cx: &mut Lifter<'_>, a: &LdrLit) {
    let addr = literal(cx, a.imm19);
    let v = load(cx, 2 + a.sf, Extend::Zero, addr);
    cx.set(a.rt, v);
}

pub(super) fn ldrsw_lit(cx: &mut Lifter<'_>, a: &LdrswLit) {
    let addr = literal(cx, a.imm19);
    let v = load(cx, 2, Extend::SignX, addr);
    cx.set(a.rt, v);
}

// ---- pairs

fn load_pair(cx: &mut Lifter<'_>, size: u32, extend: Extend, rts: [u32; 2], place: Place) {
    let [first, second] = [0, 1 << size].map(|bytes| {
        let addr = place.at(cx, bytes);
        load(cx, size, extend, addr)
    });
    cx.set(rts[0], first);
    cx.set(rts[1], second);
    place.write_back(cx);
}

pub(super) fn stp(cx: &mut Lifter<'_>, a: &Stp) {
    let size = 2 + a.sf;
    let place = Place::new(cx, a.rn, signed(a.imm7, 7) << size, Indexing::from_mode(a.mode));
    for (rt, bytes) in [(a.rt, 0), (a.rt2, 1 << size)] {
        let v = cx.x(rt);
        let addr = place.at(cx, bytes);
        cx.b.store(MemAttr::new(1 << size), addr, v);
    }
    place.write_back(cx);
}

pub(super) fn ldp(cx: &mut Lifter<'_>, a: &Ldp) {
    let size = 2 + a.sf;
    let place = Place::new(cx, a.rn, signed(a.imm7, 7) << size, Indexing::from_mode(a.mode));
    load_pair(cx, size, Extend::Zero, [a.rt, a.rt2], place);
}

pub(super) fn ldpsw(cx: &mut Lifter<'_>, a: &Ldpsw) {
    let place = Place::new(cx, a.rn, signed(a.imm7, 7) << 2, Indexing::from_mode(a.mode));
    load_pair(cx, 2, Extend::SignX, [a.rt, a.rt2], place);
}

// ---- prefetches: only hints

pub(super) fn prfm_imm(_: &mut Lifter<'_>, _: &PrfmImm) {}

pub(super) fn prfm_lit(_: &mut Lifter<'_>, _: &PrfmLit) {}

pub(super) fn prfm_reg(_: &mut Lifter<'_>, _: &PrfmReg) {}

pub(super) fn prfum(_: &mut Lifter<'_>, _: &Prfum) {}
