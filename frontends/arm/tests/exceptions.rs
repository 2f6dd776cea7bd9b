//! Exceptions that the lifter raises, and what they say.

use isamorph_arm::{Arm, Cpu, exception};
use isamorph_guest::{CodeSource, Guest, Limits};
use isamorph_ir::{ExitKind, Region};

struct Code(&'static [u8]);

impl CodeSource for Code {
    fn fetch(&self, _: u64, out: &mut [u8]) -> usize {
        let n = self.0.len().min(out.len());
        out[..n].copy_from_slice(&self.0[..n]);
        n
    }
}

/// The exception that code raises at once: code and argument.
fn raised(pc: u64, code: &'static [u8]) -> (u32, u64) {
    let mut region = Region::default();
    let limits = Limits { max_insns: 1, precise: false };
    Arm::new(Cpu::Max).lift(&mut region, pc, 0, &Code(code), limits).expect("the code can be fetched");
    match region.exits.first().map(|exit| exit.kind) {
        Some(ExitKind::Exception { pc: at, code, arg }) if at == pc => (code, arg),
        other => panic!("{other:?}"),
    }
}

#[test]
fn undefined_instructions_are_told() {
    assert_eq!(raised(0x1000, &[0xf0, 0x01, 0xf0, 0xe7]), (exception::UNDEFINED, 0xe7f0_01f0));
    assert_eq!(raised(0x1001, &[0x01, 0xde]), (exception::UNDEFINED, 0xde01));
    assert_eq!(raised(0x1003, &[0xf0, 0xf7, 0x00, 0xa0]), (exception::UNDEFINED, 0xf7f0_a000));
}

#[test]
fn a32_code_is_aligned() {
    // Even if nothing can be fetched there.
    assert_eq!(raised(0x1002, &[]), (exception::PC_ALIGNMENT, 0));
}
