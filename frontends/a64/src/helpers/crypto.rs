//! Steps of SHA-1, SHA-256, SHA-512, SM3 and SM4 (Arm ARM C7.2, the instructions of these names; FIPS 180-4).

use super::fp::Packer;
use crate::state::{self, A64};
use isamorph_ir::{HelperCx, Trap};

/// Declares an enum and the list of its members.
macro_rules! operations {
    ($($name:ident),* $(,)?) => {
        /// What the helper computes, named like the instruction.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub(crate) enum HashOp { $($name),* }
        impl HashOp {
            const ALL: &'static [HashOp] = &[$(HashOp::$name),*];
        }
    };
}
operations! {
    Sha1c, Sha1p, Sha1m, Sha1su0, Sha1h, Sha1su1, Sha256h, Sha256h2, Sha256su0, Sha256su1,
    Sha512h, Sha512h2, Sha512su0, Sha512su1,
    Sm3ss1, Sm3partw1, Sm3partw2, Sm3tt1a, Sm3tt1b, Sm3tt2a, Sm3tt2b, Sm4e, Sm4ekey,
}

/// An operation on registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HashCall {
    pub(crate) op: HashOp,
    pub(crate) rd: u32,
    pub(crate) rn: u32,
    pub(crate) rm: u32,
    pub(crate) ra: u32,
    /// The element of `rm` that SM3TT takes.
    pub(crate) index: u32,
}

impl HashCall {
    /// The descriptor as a number.
    pub(crate) fn pack(self) -> u64 {
        let mut packer = Packer::default();
        let fields = [self.op as u32, self.rd, self.rn, self.rm, self.ra, self.index];
        fields.into_iter().for_each(|value| packer.put(value, 5));
        packer.bits()
    }
    fn unpack(bits: u64) -> Self {
        let mut p = Packer::from(bits);
        let [op, rd, rn, rm, ra, index] = [5; 6].map(|bits| p.take(bits));
        HashCall { op: HashOp::ALL[op as usize], rd, rn, rm, ra, index }
    }
}

type Words = [u32; 4];
type Doubles = [u64; 2];

fn words(v: u128) -> Words {
    std::array::from_fn(|i| (v >> (32 * i)) as u32)
}

fn from_words(w: Words) -> u128 {
    w.iter().rev().fold(0, |v, w| v << 32 | u128::from(*w))
}

fn doubles(v: u128) -> Doubles {
    [v as u64, (v >> 64) as u64]
}

fn from_doubles([low, high]: Doubles) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// `hash(descriptor)`: performs a [`HashCall`].
pub(super) fn hash(cx: &mut HelperCx<'_>, [descriptor, ..]: [u64; 3]) -> Result<u64, Trap> {
    let call = HashCall::unpack(descriptor);
    let v = |r: u32| cx.state.get_wide(&A64, state::v(r));
    let result = compute(&call, v(call.rd), v(call.rn), v(call.rm), v(call.ra));
    cx.state.set_wide(&A64, state::v(call.rd), result);
    Ok(0)
}

// tidy: flat
fn compute(call: &HashCall, d: u128, n: u128, m: u128, a: u128) -> u128 {
    let (dw, nw, mw) = (words(d), words(n), words(m));
    let (dd, nd, md) = (doubles(d), doubles(n), doubles(m));
    match call.op {
        HashOp::Sha1c => sha1(dw, nw[0], mw, choose),
        HashOp::Sha1p => sha1(dw, nw[0], mw, parity),
        HashOp::Sha1m => sha1(dw, nw[0], mw, majority),
        HashOp::Sha1su0 => (d >> 64 | n << 64) ^ d ^ m,
        HashOp::Sha1h => nw[0].rotate_left(30).into(),
        HashOp::Sha1su1 => {
            let t = words(d ^ n >> 32).map(|w| w.rotate_left(1));
            from_words([t[0], t[1], t[2], t[3] ^ t[0].rotate_left(1)])
        }
        HashOp::Sha256h => sha256(dw, nw, mw).0,
        // The halves of the state are exchanged.
        HashOp::Sha256h2 => sha256(nw, dw, mw).1,
        HashOp::Sha256su0 => {
            let next = [dw[1], dw[2], dw[3], nw[0]];
            let sigma = |w: u32| w.rotate_right(7) ^ w.rotate_right(18) ^ w >> 3;
            from_words(std::array::from_fn(|i| dw[i].wrapping_add(sigma(next[i]))))
        }
        HashOp::Sha256su1 => sha256_schedule(dw, nw, mw),
        HashOp::Sha512h => {
            let sigma = |w: u64| w.rotate_right(14) ^ w.rotate_right(18) ^ w.rotate_right(41);
            let choose = |x: u64, y: u64, z: u64| x & y ^ !x & z;
            let high = dd[1].wrapping_add(choose(md[1], nd[0], nd[1])).wrapping_add(sigma(md[1]));
            let t = high.wrapping_add(md[0]);
            let low = dd[0].wrapping_add(choose(t, md[1], nd[0])).wrapping_add(sigma(t));
            from_doubles([low, high])
        }
        HashOp::Sha512h2 => {
            let sigma = |w: u64| w.rotate_right(28) ^ w.rotate_right(34) ^ w.rotate_right(39);
            let majority = |x: u64, y: u64, z: u64| x & y ^ x & z ^ y & z;
            let high = dd[1].wrapping_add(majority(nd[0], md[1], md[0])).wrapping_add(sigma(md[0]));
            let low = dd[0].wrapping_add(majority(high, md[0], md[1])).wrapping_add(sigma(high));
            from_doubles([low, high])
        }
        HashOp::Sha512su0 => {
            let sigma = |w: u64| w.rotate_right(1) ^ w.rotate_right(8) ^ w >> 7;
            from_doubles([dd[0].wrapping_add(sigma(dd[1])), dd[1].wrapping_add(sigma(nd[0]))])
        }
        HashOp::Sha512su1 => {
            let sigma = |w: u64| w.rotate_right(19) ^ w.rotate_right(61) ^ w >> 6;
            from_doubles(std::array::from_fn(|i| dd[i].wrapping_add(sigma(nd[i])).wrapping_add(md[i])))
        }
        HashOp::Sm3ss1 => {
            let sum = nw[3].rotate_left(12).wrapping_add(mw[3]).wrapping_add(words(a)[3]);
            u128::from(sum.rotate_left(7)) << 96
        }
        HashOp::Sm3partw1 => sm3_part1(dw, nw, mw),
        HashOp::Sm3partw2 => {
            let t: Words = std::array::from_fn(|i| nw[i] ^ mw[i].rotate_left(7));
            let mut result: Words = std::array::from_fn(|i| dw[i] ^ t[i]);
            let extra = t[0].rotate_left(15);
            result[3] ^= extra ^ extra.rotate_left(15) ^ extra.rotate_left(23);
            from_words(result)
        }
        HashOp::Sm3tt1a => sm3_first(dw, nw[3], mw[call.index as usize], parity),
        HashOp::Sm3tt1b => sm3_first(dw, nw[3], mw[call.index as usize], majority),
        HashOp::Sm3tt2a => sm3_second(dw, nw[3], mw[call.index as usize], parity),
        HashOp::Sm3tt2b => sm3_second(dw, nw[3], mw[call.index as usize], choose),
        HashOp::Sm4e => {
            sm4(dw, nw, |w| w ^ w.rotate_left(2) ^ w.rotate_left(10) ^ w.rotate_left(18) ^ w.rotate_left(24))
        }
        HashOp::Sm4ekey => sm4(nw, mw, |w| w ^ w.rotate_left(13) ^ w.rotate_left(23)),
    }
}

fn choose(x: u32, y: u32, z: u32) -> u32 {
    x & y ^ !x & z
}

fn parity(x: u32, y: u32, z: u32) -> u32 {
    x ^ y ^ z
}

fn majority(x: u32, y: u32, z: u32) -> u32 {
    x & y ^ x & z ^ y & z
}

/// Four rounds of SHA-1.
fn sha1(mut x: Words, mut e: u32, w: Words, f: fn(u32, u32, u32) -> u32) -> u128 {
    for word in w {
        let sum = x[0].rotate_left(5).wrapping_add(f(x[1], x[2], x[3])).wrapping_add(e).wrapping_add(word);
        e = x[3];
        x = [sum, x[0], x[1].rotate_left(30), x[2]];
    }
    from_words(x)
}

/// Four rounds of SHA-256: both halves of the state.
fn sha256(mut x: Words, mut y: Words, w: Words) -> (u128, u128) {
    for word in w {
        let sigma1 = y[0].rotate_right(6) ^ y[0].rotate_right(11) ^ y[0].rotate_right(25);
        let sigma0 = x[0].rotate_right(2) ^ x[0].rotate_right(13) ^ x[0].rotate_right(22);
        let t = y[3].wrapping_add(sigma1).wrapping_add(choose(y[0], y[1], y[2])).wrapping_add(word);
        let (e, a) = (x[3].wrapping_add(t), t.wrapping_add(sigma0).wrapping_add(majority(x[0], x[1], x[2])));
        y = [e, y[0], y[1], y[2]];
        x = [a, x[0], x[1], x[2]];
    }
    (from_words(x), from_words(y))
}

/// SHA256SU1: two words of the schedule depend on the two before.
fn sha256_schedule(d: Words, n: Words, m: Words) -> u128 {
    let sigma = |w: u32| w.rotate_right(17) ^ w.rotate_right(19) ^ w >> 10;
    let middle = [n[1], n[2], n[3], m[0]];
    let mut out = [0; 4];
    for i in 0..4 {
        let before = if i < 2 { m[i + 2] } else { out[i - 2] };
        out[i] = d[i].wrapping_add(sigma(before)).wrapping_add(middle[i]);
    }
    from_words(out)
}

fn sm3_part1(d: Words, n: Words, m: Words) -> u128 {
    let spread = |w: u32| w ^ w.rotate_left(15) ^ w.rotate_left(23);
    let mut out = [0; 4];
    for i in 0..4 {
        let last = if i < 3 { m[i + 1] } else { out[0] };
        out[i] = spread(d[i] ^ n[i] ^ last.rotate_left(15));
    }
    from_words(out)
}

fn sm3_first(d: Words, n: u32, m: u32, f: fn(u32, u32, u32) -> u32) -> u128 {
    let ss2 = n ^ d[3].rotate_left(12);
    let t = f(d[1], d[2], d[3]).wrapping_add(d[0]).wrapping_add(ss2).wrapping_add(m);
    from_words([d[1], d[2].rotate_left(9), d[3], t])
}

fn sm3_second(d: Words, n: u32, m: u32, f: fn(u32, u32, u32) -> u32) -> u128 {
    let t = f(d[3], d[2], d[1]).wrapping_add(d[0]).wrapping_add(n).wrapping_add(m);
    from_words([d[1], d[2].rotate_left(19), d[3], t ^ t.rotate_left(9) ^ t.rotate_left(17)])
}

/// Four rounds of SM4 or its key schedule, which differ in how the substituted word is spread.
fn sm4(mut x: Words, keys: Words, spread: fn(u32) -> u32) -> u128 {
    for key in keys {
        let word = x[1] ^ x[2] ^ x[3] ^ key;
        let substituted = u32::from_le_bytes(word.to_le_bytes().map(|b| SM4_BOX[usize::from(b)]));
        x = [x[1], x[2], x[3], x[0] ^ spread(substituted)];
    }
    from_words(x)
}

/// The substitution of SM4 (GB/T 32907-2016).
#[rustfmt::skip]
const SM4_BOX: [u8; 256] = [
    0xd6, 0x90, 0xe9, 0xfe, 0xcc, 0xe1, 0x3d, 0xb7, 0x16, 0xb6, 0x14, 0xc2, 0x28, 0xfb, 0x2c, 0x05,
    0x2b, 0x67, 0x9a, 0x76, 0x2a, 0xbe, 0x04, 0xc3, 0xaa, 0x44, 0x13, 0x26, 0x49, 0x86, 0x06, 0x99,
    0x9c, 0x42, 0x50, 0xf4, 0x91, 0xef, 0x98, 0x7a, 0x33, 0x54, 0x0b, 0x43, 0xed, 0xcf, 0xac, 0x62,
    0xe4, 0xb3, 0x1c, 0xa9, 0xc9, 0x08, 0xe8, 0x95, 0x80, 0xdf, 0x94, 0xfa, 0x75, 0x8f, 0x3f, 0xa6,
    0x47, 0x07, 0xa7, 0xfc, 0xf3, 0x73, 0x17, 0xba, 0x83, 0x59, 0x3c, 0x19, 0xe6, 0x85, 0x4f, 0xa8,
    0x68, 0x6b, 0x81, 0xb2, 0x71, 0x64, 0xda, 0x8b, 0xf8, 0xeb, 0x0f, 0x4b, 0x70, 0x56, 0x9d, 0x35,
    0x1e, 0x24, 0x0e, 0x5e, 0x63, 0x58, 0xd1, 0xa2, 0x25, 0x22, 0x7c, 0x3b, 0x01, 0x21, 0x78, 0x87,
    0xd4, 0x00, 0x46, 0x57, 0x9f, 0xd3, 0x27, 0x52, 0x4c, 0x36, 0x02, 0xe7, 0xa0, 0xc4, 0xc8, 0x9e,
    0xea, 0xbf, 0x8a, 0xd2, 0x40, 0xc7, 0x38, 0xb5, 0xa3, 0xf7, 0xf2, 0xce, 0xf9, 0x61, 0x15, 0xa1,
    0xe0, 0xae, 0x5d, 0xa4, 0x9b, 0x34, 0x1a, 0x55, 0xad, 0x93, 0x32, 0x30, 0xf5, 0x8c, 0xb1, 0xe3,
    0x1d, 0xf6, 0xe2, 0x2e, 0x82, 0x66, 0xca, 0x60, 0xc0, 0x29, 0x23, 0xab, 0x0d, 0x53, 0x4e, 0x6f,
    0xd5, 0xdb, 0x37, 0x45, 0xde, 0xfd, 0x8e, 0x2f, 0x03, 0xff, 0x6a, 0x72, 0x6d, 0x6c, 0x5b, 0x51,
    0x8d, 0x1b, 0xaf, 0x92, 0xbb, 0xdd, 0xbc, 0x7f, 0x11, 0xd9, 0x5c, 0x41, 0x1f, 0x10, 0x5a, 0xd8,
    0x0a, 0xc1, 0x31, 0x88, 0xa5, 0xcd, 0x7b, 0xbd, 0x2d, 0x74, 0xd0, 0x12, 0xb8, 0xe5, 0xb4, 0xb0,
    0x89, 0x69, 0x97, 0x4a, 0x0c, 0x96, 0x77, 0x7e, 0x65, 0xb9, 0xf1, 0x09, 0xc5, 0x6e, 0xc6, 0x84,
    0x18, 0xf0, 0x7d, 0xec, 0x3a, 0xdc, 0x4d, 0x20, 0x79, 0xee, 0x5f, 0x3e, 0xd7, 0xcb, 0x39, 0x48,
];
