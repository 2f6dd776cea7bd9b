//! Lifting of single instructions.

use isamorph_guest::{CodeSource, Guest, Limits};
use isamorph_ir::Region;
use isamorph_x86::X86;

/// Address of the instruction.
pub const PC: u64 = 0x1000;

struct Bytes(Vec<u8>);

impl CodeSource for Bytes {
    fn fetch(&self, pc: u64, out: &mut [u8]) -> usize {
        let rest = self.0.get((pc - PC) as usize..).unwrap_or(&[]);
        let n = rest.len().min(out.len());
        out[..n].copy_from_slice(&rest[..n]);
        n
    }
}

/// Lifts one instruction.
pub fn lift(bytes: &[u8]) -> Region {
    let mut region = Region::default();
    let code = Bytes([bytes, &[0x90; 16]].concat());
    let limits = Limits { max_insns: 1, precise: true };
    X86::i386().lift(&mut region, PC, 32, &code, limits).expect("the bytes can be fetched");
    region
}
