//! Exclusive and ordered accesses, atomic operations (Arm ARM C6.2, B2.12).
//!
//! The exclusive monitor is an address and what was loaded from there. A store exclusive succeeds if memory still has
//! it, which is weaker than the architecture: another processor may have changed it back in between.
//!
//! The host keeps loads and stores in order but for a load that overtakes an earlier store. So loads that acquire are
//! loads, stores that release are followed by a barrier (a later load that acquires may not overtake them), and
//! atomic operations are barriers anyway.

use super::memory::{Indexing, Place};
use super::{Lifter, signed};
use crate::decode::a64::{
    Cas, Casp, LdOp, Ldapr, Ldapur, Ldapursw, Ldapursx, Ldar, Ldxp, Ldxr, Stlr, Stlur, Stxp, Stxr, Swp,
};
use crate::state::{EXCLUSIVE, EXCLUSIVE_HI, EXCLUSIVE_LO, NOT_EXCLUSIVE};
use isamorph_ir::{Addr, AtomicOp, Cond, MemAttr, Op, Type, Value};

/// The type of 2^`size` bytes.
fn sized(size: u32) -> Type {
    [Type::I8, Type::I16, Type::I32, Type::I64][size as usize & 3]
}

fn base(cx: &mut Lifter<'_>, rn: u32) -> u32 {
    let base = cx.x_sp(rn);
    cx.b.addr(Addr::base(base))
}

// ---- exclusive accesses

/// Makes the monitor watch an address.
fn watch(cx: &mut Lifter<'_>, rn: u32, low: Value, high: Option<Value>) {
    let address = cx.x_sp(rn);
    cx.b.set(EXCLUSIVE, address);
    cx.b.set(EXCLUSIVE_LO, low);
    if let Some(high) = high {
        cx.b.set(EXCLUSIVE_HI, high);
    }
}

pub(super) fn ldxr(cx: &mut Lifter<'_>, a: &Ldxr) {
    let addr = base(cx, a.rn);
    let v = cx.b.load(Type::I64, MemAttr::new(1 << a.size).aligned(), addr);
    watch(cx, a.rn, v, None);
    cx.set(a.rt, v);
}

/// A pair of words is watched as one doubleword.
pub(super) fn ldxp(cx: &mut Lifter<'_>, a: &Ldxp) {
    let addr = base(cx, a.rn);
    if a.sz == 0 {
        let both = cx.b.load(Type::I64, MemAttr::new(8).aligned(), addr);
        let first = cx.narrow(both, Type::I32);
        let second = cx.b.field(Type::I32, both, 32);
        watch(cx, a.rn, both, None);
        cx.set(a.rt, first);
        cx.set(a.rt2, second);
    } else {
        let both = cx.b.load(Type::I128, MemAttr::new(16).aligned(), addr);
        let first = cx.b.convert(Op::Trunc, Type::I64, &[both]);
        let second = cx.b.field(Type::I64, both, 64);
        watch(cx, a.rn, first, Some(second));
        cx.set(a.rt, first);
        cx.set(a.rt2, second);
    }
}

/// Stores if the monitor watches the address and `swap`, which compares and swaps, finds there what was loaded.
/// Register `rs` becomes 0 if so, else 1.
fn store_exclusive(cx: &mut Lifter<'_>, rs: u32, rn: u32, swap: impl FnOnce(&mut Lifter<'_>, u32) -> Value) {
    let address = cx.x_sp(rn);
    let watched = cx.b.get(EXCLUSIVE);
    let difference = cx.b.bin(Op::Sub, address, watched);
    let flags = cx.b.flags(difference);
    let block = cx.b.region().blocks.len() as u32;
    let (failed, done) = (block + 2, block + 3);
    cx.b.branch(Cond::Ne, flags, failed);

    cx.next_block();
    let addr = base(cx, rn);
    let old = swap(cx, addr);
    let flags = cx.b.flags(old);
    let status = cx.b.setcc(Cond::Ne, flags);
    finish_store(cx, rs, status);
    cx.b.jump(done);

    cx.next_block();
    let status = cx.constant(Type::I8, 1);
    finish_store(cx, rs, status);
    cx.b.jump(done);
    cx.next_block();
}

fn finish_store(cx: &mut Lifter<'_>, rs: u32, status: Value) {
    let nothing = cx.constant(Type::I64, NOT_EXCLUSIVE);
    cx.b.set(EXCLUSIVE, nothing);
    cx.set(rs, status);
}

pub(super) fn stxr(cx: &mut Lifter<'_>, a: &Stxr) {
    store_exclusive(cx, a.rs, a.rn, |cx, addr| {
        let loaded = cx.b.get(EXCLUSIVE_LO);
        let expected = cx.narrow(loaded, sized(a.size));
        let new = cx.x(a.rt);
        let new = cx.narrow(new, sized(a.size));
        cx.b.cas(addr, expected, new)
    });
}

pub(super) fn stxp(cx: &mut Lifter<'_>, a: &Stxp) {
    store_exclusive(cx, a.rs, a.rn, |cx, addr| {
        let mut expected = cx.b.get(EXCLUSIVE_LO);
        if a.sz == 1 {
            let high = cx.b.get(EXCLUSIVE_HI);
            expected = cx.b.convert(Op::Concat, Type::I128, &[expected, high]);
        }
        let new = pair(cx, a.sz, a.rt, a.rt2);
        cx.b.cas(addr, expected, new)
    });
}

/// Two registers as one integer, the first in the low half.
fn pair(cx: &mut Lifter<'_>, sz: u32, first: u32, second: u32) -> Value {
    let halves = [cx.reg(sz == 1, first), cx.reg(sz == 1, second)];
    cx.b.convert(Op::Concat, if sz == 1 { Type::I128 } else { Type::I64 }, &halves)
}

// ---- ordered accesses

fn load_acquire(cx: &mut Lifter<'_>, size: u32, rt: u32, addr: u32) {
    let v = cx.b.load(Type::I64, MemAttr::new(1 << size).aligned(), addr);
    cx.set(rt, v);
}

fn store_release(cx: &mut Lifter<'_>, size: u32, rt: u32, addr: u32) {
    let v = cx.x(rt);
    cx.b.store(MemAttr::new(1 << size).aligned(), addr, v);
}

/// `STLR` and `STLLR`.
pub(super) fn stlr(cx: &mut Lifter<'_>, a: &Stlr) {
    let addr = base(cx, a.rn);
    store_release(cx, a.size, a.rt, addr);
    cx.b.fence();
}

/// `LDAR` and `LDLAR`.
pub(super) fn ldar(cx: &mut Lifter<'_>, a: &Ldar) {
    let addr = base(cx, a.rn);
    load_acquire(cx, a.size, a.rt, addr);
}

pub(super) fn ldapr(cx: &mut Lifter<'_>, a: &Ldapr) {
    let addr = base(cx, a.rn);
    load_acquire(cx, a.size, a.rt, addr);
}

fn unscaled(cx: &mut Lifter<'_>, rn: u32, imm9: u32) -> u32 {
    let place = Place::new(cx, rn, signed(imm9, 9), Indexing::Offset);
    place.at(cx, 0)
}

pub(super) fn stlur(cx: &mut Lifter<'_>, a: &Stlur) {
    let addr = unscaled(cx, a.rn, a.imm9);
    store_release(cx, a.size, a.rt, addr);
    cx.b.fence();
}

pub(super) fn ldapur(cx: &mut Lifter<'_>, a: &Ldapur) {
    let addr = unscaled(cx, a.rn, a.imm9);
    load_acquire(cx, a.size, a.rt, addr);
}

pub(super) fn ldapursx(cx: &mut Lifter<'_>, a: &Ldapursx) {
    let addr = unscaled(cx, a.rn, a.imm9);
    let v = cx.b.load(Type::I64, MemAttr::new(1 << a.size).aligned().signed(), addr);
    cx.set(a.rt, v);
}

pub(super) fn ldapursw(cx: &mut Lifter<'_>, a: &Ldapursw) {
    let addr = unscaled(cx, a.rn, a.imm9);
    let v = cx.b.load(Type::I32, MemAttr::new(1 << a.size).aligned().signed(), addr);
    cx.set(a.rt, v);
}

// ---- atomic operations (FEAT_LSE)

/// `CAS*`: the register receives the old value in either case.
pub(super) fn cas(cx: &mut Lifter<'_>, a: &Cas) {
    let (expected, new) = (cx.x(a.rs), cx.x(a.rt));
    let (expected, new) = (cx.narrow(expected, sized(a.size)), cx.narrow(new, sized(a.size)));
    let addr = base(cx, a.rn);
    let old = cx.b.cas(addr, expected, new);
    cx.set(a.rs, old);
}

/// `CASP*`: pairs of registers that begin with an even one.
pub(super) fn casp(cx: &mut Lifter<'_>, a: &Casp) {
    if (a.rs | a.rt) & 1 == 1 {
        return cx.undefined();
    }
    let expected = pair(cx, a.sz, a.rs, a.rs + 1);
    let new = pair(cx, a.sz, a.rt, a.rt + 1);
    let addr = base(cx, a.rn);
    let old = cx.b.cas(addr, expected, new);
    let half = if a.sz == 1 { Type::I64 } else { Type::I32 };
    let first = cx.b.convert(Op::Trunc, half, &[old]);
    let second = cx.b.field(half, old, half.bits());
    cx.set(a.rs, first);
    cx.set(a.rs + 1, second);
}

/// `memory = memory op register`; the old value goes to `rt`.
fn fetch(cx: &mut Lifter<'_>, op: AtomicOp, rn: u32, rt: u32, v: Value) {
    let addr = base(cx, rn);
    if rt == 31 && op != AtomicOp::Xchg {
        cx.b.atomic(Op::Rmw, op, addr, v);
        return;
    }
    let old = cx.b.atomic(Op::Fetch, op, addr, v);
    cx.set(rt, old);
}

pub(super) fn ld_op(cx: &mut Lifter<'_>, a: &LdOp) {
    const OPS: [AtomicOp; 8] = [
        AtomicOp::Add,
        AtomicOp::And,
        AtomicOp::Xor,
        AtomicOp::Or,
        AtomicOp::MaxS,
        AtomicOp::MinS,
        AtomicOp::MaxU,
        AtomicOp::MinU,
    ];
    let op = OPS[a.opc as usize & 7];
    let v = cx.x(a.rs);
    let mut v = cx.narrow(v, sized(a.size));
    if op == AtomicOp::And {
        // `LDCLR` clears the bits that are set.
        v = cx.b.un(Op::Not, v);
    }
    fetch(cx, op, a.rn, a.rt, v);
}

pub(super) fn swp(cx: &mut Lifter<'_>, a: &Swp) {
    let v = cx.x(a.rs);
    let v = cx.narrow(v, sized(a.size));
    fetch(cx, AtomicOp::Xchg, a.rn, a.rt, v);
}
