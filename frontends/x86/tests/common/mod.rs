//! Lifting of single instructions.

use isamorph_guest::{CodeSource, Guest, Limits};
use isamorph_ir::Region;
use isamorph_x86::X86;

/// Address of the instruction.
pub const PC: u64 = 0x1000;

#[allow(dead_code)] // likewise
struct Bytes(Vec<u8>);

impl CodeSource for Bytes {
    fn fetch(&self, pc: u64, out: &mut [u8]) -> usize {
        let rest = self.0.get((pc - PC) as usize..).unwrap_or(&[]);
        let n = rest.len().min(out.len());
        out[..n].copy_from_slice(&rest[..n]);
        n
    }
}

/// Lifts one instruction for that processor.
#[allow(dead_code)] // likewise
pub fn lift_for(guest: X86, bytes: &[u8]) -> Region {
    let mut region = Region::default();
    let code = Bytes([bytes, &[0x90; 16]].concat());
    let limits = Limits { max_insns: 1, precise: true };
    let mode = guest.table().addr_bits.into();
    guest.lift(&mut region, PC, mode, &code, limits).expect("the bytes can be fetched");
    region
}

/// The processor with every feature.
#[allow(dead_code)] // not every test file lifts single instructions
pub fn everything(guest: X86) -> X86 {
    guest.with_model("max,+sha-ni").expect("a model")
}

/// Lifts one instruction of 32-bit code.
#[allow(dead_code)] // not every test file has 32-bit code
pub fn lift(bytes: &[u8]) -> Region {
    lift_for(everything(X86::i386()), bytes)
}
