//! Cryptography (Arm ARM C7.2): AES is ops, what is only bitwise too; the hashes are helpers.

use super::Lifter;
use super::simd::bits;
use crate::decode::a64;
use crate::helpers;
use crate::helpers::crypto::{HashCall, HashOp};
use crate::state;
use isamorph_ir::{Lane, Op, Type, Value};

/// Declares instructions on whole registers: name, type of the arguments, and the value.
macro_rules! whole {
    ($($name:ident $args:ident |$cx:ident, $a:ident| $value:expr;)*) => { $(
        pub(super) fn $name($cx: &mut Lifter<'_>, $a: &a64::$args) {
            let value = $value;
            $cx.set_v($a.rd, value, 16);
        }
    )* };
}
whole! {
    aese Aese |cx, a| round(cx, Op::AesEncLast, a.rd, a.rn);
    aesd Aesd |cx, a| round(cx, Op::AesDecLast, a.rd, a.rn);
    aesmc Aesmc |cx, a| mix(cx, a.rn);
    aesimc Aesimc |cx, a| {
        let n = cx.v(a.rn);
        cx.b.un(Op::AesImc, n)
    };
    eor3 Eor3 |cx, a| {
        let [n, m, b] = [a.rn, a.rm, a.ra].map(|r| cx.v(r));
        let two = cx.b.bin(Op::VXor, n, m);
        cx.b.bin(Op::VXor, two, b)
    };
    bcax Bcax |cx, a| {
        let [n, m, b] = [a.rn, a.rm, a.ra].map(|r| cx.v(r));
        let masked = cx.b.bin(Op::VAndNot, b, m);
        cx.b.bin(Op::VXor, n, masked)
    };
    rax1 Rax1 |cx, a| {
        let [n, m] = [a.rn, a.rm].map(|r| cx.v(r));
        let rotated = rotate_right(cx, Lane::I64, m, 63);
        cx.b.bin(Op::VXor, n, rotated)
    };
    xar Xar |cx, a| {
        let [n, m] = [a.rn, a.rm].map(|r| cx.v(r));
        let both = cx.b.bin(Op::VXor, n, m);
        rotate_right(cx, Lane::I64, both, a.imm6)
    };
}

/// AESE and AESD: the round key comes first, so that the host's round gets it as its state and no key at its end.
fn round(cx: &mut Lifter<'_>, op: Op, rd: u32, rn: u32) -> Value {
    let (d, n) = (cx.v(rd), cx.v(rn));
    let keyed = cx.b.bin(Op::VXor, d, n);
    let zero = cx.vzero();
    cx.b.bin(op, keyed, zero)
}

/// AESMC: a round after the inverse of its first two steps leaves the mixing of columns.
fn mix(cx: &mut Lifter<'_>, rn: u32) -> Value {
    let (n, zero) = (cx.v(rn), cx.vzero());
    let unshifted = cx.b.bin(Op::AesDecLast, n, zero);
    cx.b.bin(Op::AesEnc, unshifted, zero)
}

fn rotate_right(cx: &mut Lifter<'_>, lane: Lane, value: Value, n: u32) -> Value {
    if n == 0 {
        return value;
    }
    let (low, high) = (cx.shr_imm(lane, value, n), cx.shl_imm(lane, value, bits(lane) - n));
    cx.b.bin(Op::VOr, low, high)
}

/// Calls the helper for a step of a hash.
fn hash(cx: &mut Lifter<'_>, op: HashOp, [rd, rn, rm, ra]: [u32; 4]) {
    let descriptor = cx.constant(Type::I64, HashCall { op, rd, rn, rm, ra, index: 0 }.pack());
    call(cx, rd, descriptor);
}

fn call(cx: &mut Lifter<'_>, rd: u32, descriptor: Value) {
    cx.b.call(helpers::HASH, Type::None, &[descriptor]);
    cx.b.forget(state::v(rd));
}

/// Declares steps of hashes: name, type of the arguments, operation, registers.
macro_rules! hashes {
    ($($name:ident $args:ident |$a:ident| $op:expr, $registers:expr;)*) => { $(
        pub(super) fn $name(cx: &mut Lifter<'_>, $a: &a64::$args) {
            hash(cx, $op, $registers);
        }
    )* };
}
hashes! {
    sha1c Sha1c |a| HashOp::Sha1c, [a.rd, a.rn, a.rm, 0];
    sha1p Sha1p |a| HashOp::Sha1p, [a.rd, a.rn, a.rm, 0];
    sha1m Sha1m |a| HashOp::Sha1m, [a.rd, a.rn, a.rm, 0];
    sha1su0 Sha1su0 |a| HashOp::Sha1su0, [a.rd, a.rn, a.rm, 0];
    sha1h Sha1h |a| HashOp::Sha1h, [a.rd, a.rn, 0, 0];
    sha1su1 Sha1su1 |a| HashOp::Sha1su1, [a.rd, a.rn, 0, 0];
    sha256h Sha256h |a| HashOp::Sha256h, [a.rd, a.rn, a.rm, 0];
    sha256h2 Sha256h2 |a| HashOp::Sha256h2, [a.rd, a.rn, a.rm, 0];
    sha256su0 Sha256su0 |a| HashOp::Sha256su0, [a.rd, a.rn, 0, 0];
    sha256su1 Sha256su1 |a| HashOp::Sha256su1, [a.rd, a.rn, a.rm, 0];
    sha512h Sha512h |a| HashOp::Sha512h, [a.rd, a.rn, a.rm, 0];
    sha512h2 Sha512h2 |a| HashOp::Sha512h2, [a.rd, a.rn, a.rm, 0];
    sha512su0 Sha512su0 |a| HashOp::Sha512su0, [a.rd, a.rn, 0, 0];
    sha512su1 Sha512su1 |a| HashOp::Sha512su1, [a.rd, a.rn, a.rm, 0];
    sm3ss1 Sm3ss1 |a| HashOp::Sm3ss1, [a.rd, a.rn, a.rm, a.ra];
    sm3partw1 Sm3partw1 |a| HashOp::Sm3partw1, [a.rd, a.rn, a.rm, 0];
    sm3partw2 Sm3partw2 |a| HashOp::Sm3partw2, [a.rd, a.rn, a.rm, 0];
    sm4e Sm4e |a| HashOp::Sm4e, [a.rd, a.rn, 0, 0];
    sm4ekey Sm4ekey |a| HashOp::Sm4ekey, [a.rd, a.rn, a.rm, 0];
}

/// SM3TT1A, SM3TT1B, SM3TT2A, SM3TT2B.
pub(super) fn sm3tt(cx: &mut Lifter<'_>, a: &a64::Sm3tt) {
    let op = [HashOp::Sm3tt1a, HashOp::Sm3tt1b, HashOp::Sm3tt2a, HashOp::Sm3tt2b][(a.two << 1 | a.b) as usize];
    let call_of = HashCall { op, rd: a.rd, rn: a.rn, rm: a.rm, ra: 0, index: a.imm2 };
    let descriptor = cx.constant(Type::I64, call_of.pack());
    call(cx, a.rd, descriptor);
}
