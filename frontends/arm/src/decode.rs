//! Decoding: the tables in `src/decode`, and reading guest code instruction by instruction.

/// A32 instructions with a condition, except those of coprocessors.
pub(crate) mod a32 {
    include!(concat!(env!("OUT_DIR"), "/a32.rs"));
}
/// A32 instructions without a condition, except Advanced SIMD.
pub(crate) mod a32u {
    include!(concat!(env!("OUT_DIR"), "/a32u.rs"));
}
/// 16-bit Thumb instructions.
pub(crate) mod t16 {
    include!(concat!(env!("OUT_DIR"), "/t16.rs"));
}
/// 32-bit Thumb instructions, except those of coprocessors and Advanced SIMD.
pub(crate) mod t32 {
    include!(concat!(env!("OUT_DIR"), "/t32.rs"));
}
/// Coprocessor and floating-point instructions of both instruction sets.
pub(crate) mod coproc {
    include!(concat!(env!("OUT_DIR"), "/coproc.rs"));
}
/// Advanced SIMD instructions of both instruction sets, in the form of A32, and unconditional floating point.
pub(crate) mod neon {
    include!(concat!(env!("OUT_DIR"), "/neon.rs"));
}

use isamorph_decodegen::Row;
use isamorph_guest::{CodeSource, FetchFault};

/// A decoded instruction of any table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Insn {
    A32(a32::Insn),
    A32u(a32u::Insn),
    T16(t16::Insn),
    T32(t32::Insn),
    Coproc(coproc::Insn),
    Neon(neon::Insn),
    /// An encoding that no table has.
    Unallocated,
}

impl Insn {
    /// The row of the instruction.
    pub(crate) fn row(self) -> Option<&'static Row> {
        Some(match self {
            Insn::A32(insn) => insn.kind.row(),
            Insn::A32u(insn) => insn.kind.row(),
            Insn::T16(insn) => insn.kind.row(),
            Insn::T32(insn) => insn.kind.row(),
            Insn::Coproc(insn) => insn.kind.row(),
            Insn::Neon(insn) => insn.kind.row(),
            Insn::Unallocated => return None,
        })
    }
}

/// The tables with their names.
pub(crate) const TABLES: &[(&str, &[Row])] = &[
    ("a32", a32::ROWS),
    ("a32u", a32u::ROWS),
    ("t16", t16::ROWS),
    ("t32", t32::ROWS),
    ("coproc", coproc::ROWS),
    ("neon", neon::ROWS),
];

/// Whether an instruction whose first two bytes are `half` has four (DDI 0406C A6.1).
pub(crate) const fn is_wide(half: u16) -> bool {
    half >= 0xe800
}

/// Decodes an A32 word.
pub(crate) fn decode_a32(word: u32) -> Insn {
    let coprocessor = word >> 26 & 3 == 3 && word >> 24 & 15 != 15 && word >> 24 != 0xfe;
    let vector = matches!(word >> 24, 0xf2 | 0xf3 | 0xfe) || word >> 24 == 0xf4 && word & 1 << 20 == 0;
    let insn = match (word >> 28, coprocessor) {
        (15, false) if vector => neon::decode(word).map(Insn::Neon),
        (15, false) => a32u::decode(word).map(Insn::A32u),
        (15, true) => None,
        (_, true) => coproc::decode(word).map(Insn::Coproc),
        _ => a32::decode(word).map(Insn::A32),
    };
    insn.unwrap_or(Insn::Unallocated)
}

/// Decodes a Thumb instruction; one of 32 bits has its first halfword on top, one of 16 bits nothing there.
pub(crate) fn decode_thumb(word: u32) -> Insn {
    let insn = match word >> 24 {
        0 => t16::decode(word).map(Insn::T16),
        // Element and structure loads and stores of Advanced SIMD.
        0xf9 if word & 1 << 20 == 0 => neon::decode(0xf400_0000 | word & 0x00ff_ffff).map(Insn::Neon),
        0xfe => neon::decode(word).map(Insn::Neon),
        0xef | 0xff => neon::decode(0xf200_0000 | word >> 4 & 1 << 24 | word & 0x00ff_ffff).map(Insn::Neon),
        0xec..=0xee => coproc::decode(word).map(Insn::Coproc),
        _ => t32::decode(word).map(Insn::T32),
    };
    insn.unwrap_or(Insn::Unallocated)
}

/// Guest code, read in pieces.
pub(crate) struct Reader<'a> {
    code: &'a dyn CodeSource,
    at: u64,
    bytes: [u8; WINDOW],
    len: usize,
}

/// Bytes fetched at a time.
const WINDOW: usize = 64;

impl<'a> Reader<'a> {
    /// A reader of that code.
    pub(crate) fn new(code: &'a dyn CodeSource) -> Self {
        Reader { code, at: 0, bytes: [0; WINDOW], len: 0 }
    }
    fn half(&mut self, addr: u64) -> Result<u16, FetchFault> {
        let inside = |reader: &Self| addr.checked_sub(reader.at).filter(|at| at + 2 <= reader.len as u64);
        let at = match inside(self) {
            Some(at) => at,
            None => {
                self.at = addr;
                self.len = self.code.fetch(addr, &mut self.bytes);
                inside(self).ok_or(FetchFault { addr: addr + self.len as u64 })?
            }
        };
        Ok(u16::from_le_bytes([self.bytes[at as usize], self.bytes[at as usize + 1]]))
    }
    /// The instruction at an address and its length in bytes.
    ///
    /// # Errors
    /// It cannot be fetched completely.
    pub(crate) fn fetch(&mut self, addr: u32, thumb: bool) -> Result<(u32, u32), FetchFault> {
        let addr = u64::from(addr);
        let first = self.half(addr)?;
        if thumb && !is_wide(first) {
            return Ok((u32::from(first), 2));
        }
        let second = self.half(addr + 2)?;
        let (low, high) = if thumb { (second, first) } else { (first, second) };
        Ok((u32::from(high) << 16 | u32::from(low), 4))
    }
}
