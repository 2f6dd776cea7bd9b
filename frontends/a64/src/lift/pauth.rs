//! Pointer authentication (Arm ARM D8.10), with an algorithm of our own, as the architecture allows (FEAT_PACIMP), and
//! without FEAT_EPAC and what came later: a failed check leaves an error code in the pointer.
//!
//! User addresses have 48 bits and a tag in the top byte, which is not signed. The code is in bits 54 to 48; bit 55
//! says which half of the address space is meant.

use super::{Lifter, branch, signed};
use crate::decode::a64::{
    Aut, Aut1716, AutLr, BlrAuth, BrAuth, Ldra, Pac, Pac1716, PacLr, Pacga, RetAuth, Xpac, Xpaclri,
};
use crate::state::Key;
use isamorph_ir::{Addr, Cond, ExitKind, MemAttr, Op, Type, Value};

/// Lowest bit of the code.
const CODE_SHIFT: u64 = 48;
/// The bits of the code.
const CODE: u64 = 0x7f << CODE_SHIFT;
/// Bit 55.
const HALF_SHIFT: u64 = 55;
/// The bits that a program's pointer has besides.
const REST: u64 = !CODE;
/// The highest bit of the code, which a pointer that is no proper address gets wrong.
const SPOILT: u64 = 1 << 54;
/// Where a failed check leaves its error code.
const ERROR_SHIFT: u64 = 53;

/// Odd multipliers: digits of the golden ratio, of the square roots of 2 and 3.
const MULTIPLIERS: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0x6a09_e667_f3bc_c909, 0xbb67_ae85_84ca_a73b];

/// Which key, from the fields of an encoding.
fn key(data: u32, b: u32) -> Key {
    match (data, b) {
        (0, 0) => Key::InsnA,
        (0, _) => Key::InsnB,
        (_, 0) => Key::DataA,
        _ => Key::DataB,
    }
}

/// 64 bits that depend on pointer, modifier and key.
fn mix(cx: &mut Lifter<'_>, pointer: Value, modifier: Value, key: Key) -> Value {
    let [low, high] = key.halves().map(|half| cx.b.get(half));
    let [m1, m2, m3] = MULTIPLIERS.map(|m| cx.constant(Type::I64, m));
    let a = cx.b.bin(Op::Xor, pointer, low);
    let a = cx.b.bin(Op::Mul, a, m1);
    let b = cx.b.bin(Op::Xor, modifier, high);
    let b = cx.b.bin(Op::Mul, b, m2);
    let half = cx.constant(Type::I64, 32);
    let b = cx.b.bin(Op::Ror, b, half);
    let sum = cx.b.bin(Op::Add, a, b);
    let turned = cx.b.bin(Op::Ror, sum, half);
    let sum = cx.b.bin(Op::Xor, sum, turned);
    cx.b.bin(Op::Mul, sum, m3)
}

/// The pointer with bits 54 to 48 as bit 55 says.
fn strip(cx: &mut Lifter<'_>, pointer: Value) -> Value {
    let shift = cx.constant(Type::I64, 63 - HALF_SHIFT);
    let up = cx.b.bin(Op::Shl, pointer, shift);
    let sign = cx.constant(Type::I64, 63);
    let sign = cx.b.bin(Op::Sar, up, sign);
    let code = cx.constant(Type::I64, CODE);
    let extension = cx.b.bin(Op::And, sign, code);
    let rest = cx.constant(Type::I64, REST);
    let rest = cx.b.bin(Op::And, pointer, rest);
    cx.b.bin(Op::Or, rest, extension)
}

/// The code of a pointer, at its place.
fn code(cx: &mut Lifter<'_>, stripped: Value, modifier: Value, key: Key) -> Value {
    let mixed = mix(cx, stripped, modifier, key);
    let mask = cx.constant(Type::I64, CODE);
    let shift = cx.constant(Type::I64, 64 - HALF_SHIFT);
    let top = cx.b.bin(Op::Shr, mixed, shift);
    cx.b.bin(Op::And, top, mask)
}

fn compare(cx: &mut Lifter<'_>, a: Value, b: Value) -> Value {
    let difference = cx.b.bin(Op::Sub, a, b);
    cx.b.flags(difference)
}

/// AddPAC: the signed pointer.
fn sign(cx: &mut Lifter<'_>, pointer: Value, modifier: Value, key: Key) -> Value {
    let stripped = strip(cx, pointer);
    let code = code(cx, stripped, modifier, key);
    // What is no proper address does not get a code that would be accepted.
    let flags = compare(cx, pointer, stripped);
    let spoilt = cx.constant(Type::I64, SPOILT);
    let spoilt = cx.b.bin(Op::Xor, code, spoilt);
    let code = cx.b.select(Cond::E, flags, code, spoilt);
    let rest = cx.constant(Type::I64, REST);
    let rest = cx.b.bin(Op::And, pointer, rest);
    cx.b.bin(Op::Or, rest, code)
}

/// Auth: the stripped pointer, with an error code if it was not signed so.
fn check(cx: &mut Lifter<'_>, pointer: Value, modifier: Value, key: Key) -> Value {
    let stripped = strip(cx, pointer);
    let expected = code(cx, stripped, modifier, key);
    let mask = cx.constant(Type::I64, CODE);
    let found = cx.b.bin(Op::And, pointer, mask);
    let flags = compare(cx, found, expected);
    // The number of the key and its complement.
    let error = if matches!(key, Key::InsnA | Key::DataA) { 0b01 } else { 0b10 };
    let clear = cx.constant(Type::I64, !(0b11 << ERROR_SHIFT));
    let wrong = cx.b.bin(Op::And, stripped, clear);
    let error = cx.constant(Type::I64, error << ERROR_SHIFT);
    let wrong = cx.b.bin(Op::Or, wrong, error);
    cx.b.select(Cond::E, flags, stripped, wrong)
}

/// The modifier of a register field: zero if there is none.
fn modifier(cx: &mut Lifter<'_>, none: bool, rn: u32) -> Value {
    if none { cx.constant(Type::I64, 0) } else { cx.x_sp(rn) }
}

pub(super) fn xpaclri(cx: &mut Lifter<'_>, _: &Xpaclri) {
    let v = cx.x(30);
    let v = strip(cx, v);
    cx.set(30, v);
}

pub(super) fn pac_1716(cx: &mut Lifter<'_>, a: &Pac1716) {
    let (pointer, modifier) = (cx.x(17), cx.x(16));
    let v = sign(cx, pointer, modifier, key(0, a.b));
    cx.set(17, v);
}

pub(super) fn aut_1716(cx: &mut Lifter<'_>, a: &Aut1716) {
    let (pointer, modifier) = (cx.x(17), cx.x(16));
    let v = check(cx, pointer, modifier, key(0, a.b));
    cx.set(17, v);
}

pub(super) fn pac_lr(cx: &mut Lifter<'_>, a: &PacLr) {
    let (pointer, modifier) = (cx.x(30), modifier(cx, a.sp == 0, 31));
    let v = sign(cx, pointer, modifier, key(0, a.b));
    cx.set(30, v);
}

pub(super) fn aut_lr(cx: &mut Lifter<'_>, a: &AutLr) {
    let (pointer, modifier) = (cx.x(30), modifier(cx, a.sp == 0, 31));
    let v = check(cx, pointer, modifier, key(0, a.b));
    cx.set(30, v);
}

/// The form without a modifier has 31 in its place.
fn reserved(z: u32, rn: u32) -> bool {
    z == 1 && rn != 31
}

pub(super) fn pac(cx: &mut Lifter<'_>, a: &Pac) {
    if reserved(a.z, a.rn) {
        return cx.undefined();
    }
    let (pointer, modifier) = (cx.x(a.rd), modifier(cx, a.z == 1, a.rn));
    let v = sign(cx, pointer, modifier, key(a.data, a.b));
    cx.set(a.rd, v);
}

pub(super) fn aut(cx: &mut Lifter<'_>, a: &Aut) {
    if reserved(a.z, a.rn) {
        return cx.undefined();
    }
    let (pointer, modifier) = (cx.x(a.rd), modifier(cx, a.z == 1, a.rn));
    let v = check(cx, pointer, modifier, key(a.data, a.b));
    cx.set(a.rd, v);
}

pub(super) fn xpac(cx: &mut Lifter<'_>, a: &Xpac) {
    let v = cx.x(a.rd);
    let v = strip(cx, v);
    cx.set(a.rd, v);
}

/// A code of 32 bits for any two words.
pub(super) fn pacga(cx: &mut Lifter<'_>, a: &Pacga) {
    let (value, modifier) = (cx.x(a.rn), cx.x_sp(a.rm));
    let mixed = mix(cx, value, modifier, Key::Generic);
    let mask = cx.constant(Type::I64, 0xffff_ffff_0000_0000);
    let v = cx.b.bin(Op::And, mixed, mask);
    cx.set(a.rd, v);
}

/// The checked target of a branch; nothing for a reserved encoding.
fn target(cx: &mut Lifter<'_>, z: u32, b: u32, rn: u32, rm: u32) -> Option<Value> {
    if z == 0 && rm != 31 {
        cx.undefined();
        return None;
    }
    let (pointer, modifier) = (cx.x(rn), modifier(cx, z == 0, rm));
    Some(check(cx, pointer, modifier, key(0, b)))
}

pub(super) fn br_auth(cx: &mut Lifter<'_>, a: &BrAuth) {
    if let Some(target) = target(cx, a.z, a.b, a.rn, a.rm) {
        cx.exit(ExitKind::Indirect { target });
    }
}

pub(super) fn blr_auth(cx: &mut Lifter<'_>, a: &BlrAuth) {
    if let Some(target) = target(cx, a.z, a.b, a.rn, a.rm) {
        branch::link(cx);
        cx.exit(ExitKind::IndirectCall { target, ret: cx.next() });
    }
}

pub(super) fn ret_auth(cx: &mut Lifter<'_>, a: &RetAuth) {
    let (pointer, modifier) = (cx.x(30), cx.x_sp(31));
    let target = check(cx, pointer, modifier, key(0, a.b));
    cx.exit(ExitKind::Return { target });
}

/// Loads from a checked address, which has no modifier; the register that held it gets the checked one back.
pub(super) fn ldra(cx: &mut Lifter<'_>, a: &Ldra) {
    let (pointer, none) = (cx.x_sp(a.rn), modifier(cx, true, 31));
    let base = check(cx, pointer, none, key(1, a.b));
    let offset = signed(a.s << 9 | a.imm9, 10) << 3;
    let addr = cx.b.addr(Addr::offset(base, offset as i32));
    let v = cx.b.load(Type::I64, MemAttr::new(8), addr);
    if a.w == 1 {
        let back = cx.add_const(base, offset);
        cx.set_sp(a.rn, back);
    }
    cx.set(a.rt, v);
}
