//! Vector instructions that are long or rare. The arguments of all of them: the low and the high half of the second
//! operand, and the number of the first operand's register in bits 7:0 with the immediate in bits 15:8.

use crate::state::{AMD64, EAX, ECX, EDX, FLAGS, XMM0, xmm_reg};
use isamorph_ir::{CpuState, FlagSet, HelperCx, RegId, Trap};

/// The operands of a helper of this family.
struct Operands<'a> {
    state: &'a mut CpuState,
    dst: RegId,
    first: u128,
    second: u128,
    imm: u8,
}

impl<'a> Operands<'a> {
    fn new(cx: &'a mut HelperCx<'_>, [lo, hi, what]: [u64; 3]) -> Self {
        let dst = xmm_reg(what as u16 & 15);
        let first = cx.state.get_wide(&AMD64, dst);
        Operands { state: cx.state, dst, first, second: u128::from(lo) | u128::from(hi) << 64, imm: (what >> 8) as u8 }
    }
    fn finish(self, result: u128) -> Result<u64, Trap> {
        self.state.set_wide(&AMD64, self.dst, result);
        Ok(0)
    }
}

/// MPSADBW: sums of absolute differences of four bytes of the second operand with eight places of the first.
pub(super) fn mpsadbw(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let o = Operands::new(cx, args);
    let (a, b) = (o.first.to_le_bytes(), o.second.to_le_bytes());
    let (from, block) = (usize::from(o.imm >> 2 & 1) * 4, usize::from(o.imm & 3) * 4);
    let sum = |n: usize| (0..4).map(|i| u16::from(a[from + n + i].abs_diff(b[block + i]))).sum::<u16>();
    let result = (0..8).fold(0, |v, n| v | u128::from(sum(n)) << (16 * n));
    o.finish(result)
}

/// PHMINPOSUW: the least unsigned word and its index.
pub(super) fn phminposuw(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let o = Operands::new(cx, args);
    let word = |n: u32| (o.second >> (16 * n)) as u16;
    let least = (0..8).min_by_key(|n| word(*n)).unwrap_or(0);
    let result = u128::from(word(least)) | u128::from(least) << 16;
    o.finish(result)
}

// ---- string comparison (SDM vol. 2, 4.1)

/// A string of up to 16 bytes or 8 words.
struct Text {
    elements: [i32; 16],
    length: usize,
}

/// The immediate of a string comparison.
#[derive(Clone, Copy)]
struct Control(u8);

impl Control {
    fn is_words(self) -> bool {
        self.0 & 1 != 0
    }
    fn count(self) -> usize {
        if self.is_words() { 8 } else { 16 }
    }
    /// The elements, extended as the format says, and the length: the given one, or up to the first zero.
    fn text(self, bits: u128, length: Option<i64>) -> Text {
        let signed = self.0 & 2 != 0;
        let elements: [i32; 16] = std::array::from_fn(|n| match (self.is_words(), signed) {
            (true, _) if n >= 8 => 0,
            (true, false) => i32::from((bits >> (16 * n)) as u16),
            (true, true) => i32::from((bits >> (16 * n)) as i16),
            (false, false) => i32::from((bits >> (8 * n)) as u8),
            (false, true) => i32::from((bits >> (8 * n)) as i8),
        });
        let count = self.count();
        let implicit = || elements[..count].iter().position(|e| *e == 0).unwrap_or(count);
        let length = length.map_or_else(implicit, |l| l.unsigned_abs().min(count as u64) as usize);
        Text { elements, length }
    }
    /// Whether element `i` of the first operand and `j` of the second count as equal, where one of them may be behind
    /// the end of its string (SDM vol. 2, table 4-7).
    fn override_equal(self, equal: bool, first_valid: bool, second_valid: bool) -> bool {
        match (first_valid, second_valid, self.0 >> 2 & 3) {
            (true, true, _) => equal,
            (false, false, 2 | 3) => true,
            (false, true, 3) => true,
            _ => false,
        }
    }
    /// The bit of the intermediate result for element `j` of the second operand.
    fn aggregate(self, a: &Text, b: &Text, j: usize) -> bool {
        let count = self.count();
        let equal = |i: usize, j: usize| {
            let same = a.elements[i] == b.elements[j];
            self.override_equal(same, i < a.length, j < b.length)
        };
        match self.0 >> 2 & 3 {
            0 => (0..count).any(|i| equal(i, j)),
            1 => (0..count).step_by(2).any(|i| {
                let inside = (a.elements[i]..=a.elements[i + 1]).contains(&b.elements[j]);
                inside && i + 1 < a.length && j < b.length
            }),
            2 => equal(j, j),
            _ => (0..count - j).all(|i| equal(i, j + i)),
        }
    }
    /// The result, after the polarity.
    fn compare(self, a: &Text, b: &Text) -> u32 {
        let bits = (0..self.count()).filter(|j| self.aggregate(a, b, *j)).fold(0, |bits, j| bits | 1 << j);
        let all = (1u32 << self.count()) - 1;
        match self.0 >> 4 & 3 {
            1 => bits ^ all,
            3 => bits ^ ((1u32 << b.length) - 1),
            _ => bits,
        }
    }
    /// The result as a mask of bits or of elements.
    fn mask(self, result: u32) -> u128 {
        if self.0 & 0x40 == 0 {
            return u128::from(result);
        }
        let (width, ones) = if self.is_words() { (16, 0xffff) } else { (8, 0xff) };
        (0..self.count()).filter(|n| result >> n & 1 != 0).fold(0, |mask, n| mask | ones << (width * n))
    }
}

/// PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM; bits 18:16 of the last argument: explicit lengths, an index is wanted,
/// the lengths are 64-bit numbers. Writes ecx or XMM0, and the flags.
pub(super) fn compare_strings(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let [explicit, index, wide] = [16, 17, 18].map(|bit| args[2] >> bit & 1 != 0);
    let o = Operands::new(cx, args);
    let control = Control(o.imm);
    let length = |reg| {
        let v = o.state.get(&AMD64, reg);
        explicit.then_some(if wide { v as i64 } else { i64::from(v as i32) })
    };
    let (a, b) = (control.text(o.first, length(EAX)), control.text(o.second, length(EDX)));
    let result = control.compare(&a, &b);
    if index {
        let found = if result == 0 {
            control.count() as u32
        } else if o.imm & 0x40 == 0 {
            result.trailing_zeros()
        } else {
            31 - result.leading_zeros()
        };
        o.state.set(&AMD64, ECX, u64::from(found));
    } else {
        o.state.set_wide(&AMD64, XMM0, control.mask(result));
    }
    let mut flags = FlagSet::empty();
    flags.set(FlagSet::C, result != 0);
    flags.set(FlagSet::Z, b.length < control.count());
    flags.set(FlagSet::S, a.length < control.count());
    flags.set(FlagSet::O, result & 1 != 0);
    o.state.set(&AMD64, FLAGS, u64::from(flags.bits()));
    Ok(0)
}

// ---- SHA (SDM vol. 2 has the operations; FIPS 180-4 the functions)

/// Word `n` of a vector, 0 the lowest.
fn word(v: u128, n: u32) -> u32 {
    (v >> (32 * n)) as u32
}

/// A vector from its words, the lowest first.
fn vector(words: [u32; 4]) -> u128 {
    words.into_iter().rev().fold(0, |v, w| v << 32 | u128::from(w))
}

fn words(v: u128) -> [u32; 4] {
    std::array::from_fn(|n| word(v, n as u32))
}

/// SHA1RNDS4: four rounds with the function and the constant that the immediate names.
pub(super) fn sha1_rounds(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let o = Operands::new(cx, args);
    let [mut d, mut c, mut b, mut a] = words(o.first);
    let mut e = 0u32;
    const CONSTANTS: [u32; 4] = [0x5a82_7999, 0x6ed9_eba1, 0x8f1b_bcdc, 0xca62_c1d6];
    let kind = usize::from(o.imm & 3);
    for n in 0..4 {
        let f = match kind {
            0 => b & c ^ !b & d,
            2 => b & c ^ b & d ^ c & d,
            _ => b ^ c ^ d,
        };
        // The first word of the message already has E added to it.
        let w = word(o.second, 3 - n);
        let next = f.wrapping_add(a.rotate_left(5)).wrapping_add(w).wrapping_add(e).wrapping_add(CONSTANTS[kind]);
        (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
    }
    o.finish(vector([d, c, b, a]))
}

/// SHA1NEXTE: adds the rotated A of four rounds ago to the highest word of the message.
pub(super) fn sha1_next_e(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let o = Operands::new(cx, args);
    let mut w = words(o.second);
    w[3] = w[3].wrapping_add(word(o.first, 3).rotate_left(30));
    o.finish(vector(w))
}

/// SHA1MSG1.
pub(super) fn sha1_message1(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let o = Operands::new(cx, args);
    let shifted = o.first << 64 | o.second >> 64;
    let result = o.first ^ shifted;
    o.finish(result)
}

/// SHA1MSG2.
pub(super) fn sha1_message2(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let o = Operands::new(cx, args);
    let w16 = (word(o.first, 3) ^ word(o.second, 2)).rotate_left(1);
    let w17 = (word(o.first, 2) ^ word(o.second, 1)).rotate_left(1);
    let w18 = (word(o.first, 1) ^ word(o.second, 0)).rotate_left(1);
    let w19 = (word(o.first, 0) ^ w16).rotate_left(1);
    o.finish(vector([w19, w18, w17, w16]))
}

/// SHA256RNDS2: two rounds; XMM0 has the two words of the message with their constants added.
pub(super) fn sha256_rounds(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let o = Operands::new(cx, args);
    let message = o.state.get_wide(&AMD64, XMM0);
    let [mut f, mut e, mut b, mut a] = words(o.second);
    let [mut h, mut g, mut d, mut c] = words(o.first);
    for n in 0..2 {
        let choice = e & f ^ !e & g;
        let majority = a & b ^ a & c ^ b & c;
        let sum1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let sum0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t = choice.wrapping_add(sum1).wrapping_add(word(message, n)).wrapping_add(h);
        let next = t.wrapping_add(majority).wrapping_add(sum0);
        (h, g, f, e, d, c, b, a) = (g, f, e, t.wrapping_add(d), c, b, a, next);
    }
    o.finish(vector([f, e, b, a]))
}

fn sigma0(w: u32) -> u32 {
    w.rotate_right(7) ^ w.rotate_right(18) ^ w >> 3
}

fn sigma1(w: u32) -> u32 {
    w.rotate_right(17) ^ w.rotate_right(19) ^ w >> 10
}

/// SHA256MSG1.
pub(super) fn sha256_message1(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let o = Operands::new(cx, args);
    let w = words(o.first);
    let next = [w[1], w[2], w[3], word(o.second, 0)];
    let result = vector(std::array::from_fn(|n| w[n].wrapping_add(sigma0(next[n]))));
    o.finish(result)
}

/// SHA256MSG2.
pub(super) fn sha256_message2(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let o = Operands::new(cx, args);
    let w = words(o.first);
    let w16 = w[0].wrapping_add(sigma1(word(o.second, 2)));
    let w17 = w[1].wrapping_add(sigma1(word(o.second, 3)));
    let w18 = w[2].wrapping_add(sigma1(w16));
    let w19 = w[3].wrapping_add(sigma1(w17));
    o.finish(vector([w16, w17, w18, w19]))
}
