//! Floating-point and vector encodings against Capstone.

use capstone::arch::{BuildsCapstone, arm64};
use isamorph_a64::coverage;
use isamorph_a64::{A64, exception};
use isamorph_guest::{CodeSource, Guest, Limits};
use isamorph_ir::{ExitKind, Region};
use std::collections::BTreeMap;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 32) as u32
    }
}

fn engine() -> capstone::Capstone {
    capstone::Capstone::new().arm64().mode(arm64::ArchMode::Arm).build().expect("Capstone starts")
}

/// What Capstone calls a word, if it is an instruction.
fn name_of(engine: &capstone::Capstone, word: u32) -> Option<String> {
    let insns = engine.disasm_count(&word.to_le_bytes(), 0x1000, 1).ok()?;
    Some(insns.first()?.mnemonic()?.to_owned())
}

struct Word(u32);

impl CodeSource for Word {
    fn fetch(&self, _: u64, out: &mut [u8]) -> usize {
        let n = out.len().min(4);
        out[..n].copy_from_slice(&self.0.to_le_bytes()[..n]);
        n
    }
}

/// Whether a word is lifted to something else than an undefined instruction.
fn is_lifted(word: u32) -> bool {
    let mut region = Region::default();
    let limits = Limits { max_insns: 1, precise: true };
    A64::new().lift(&mut region, 0x1000, 0, &Word(word), limits).expect("the word can be fetched");
    let undefined = |kind| matches!(kind, ExitKind::Exception { code: exception::UNDEFINED, .. });
    !region.exits.iter().any(|exit| undefined(exit.kind))
}

/// Random words that no row has are not instructions.
#[test]
fn no_vector_instruction_is_left_out() {
    let engine = engine();
    let mut r = Random(5);
    let mut names = BTreeMap::new();
    for _ in 0..1_000_000 {
        // Groups x111 and x1x0 with the vector bit.
        let bits = r.next();
        let word = if bits & 1 << 27 != 0 { bits | 7 << 25 } else { bits & !(1 << 25) | 3 << 26 };
        if coverage::row_of(word).is_some() {
            continue;
        }
        if let Some(name) = name_of(&engine, word) {
            names.entry(name).or_insert(word);
        }
    }
    assert!(names.is_empty(), "{names:x?}");
}

/// What is lifted is an instruction, and the other way round. Two loads into one register are not for Capstone.
#[test]
fn vector_rows_are_what_capstone_decodes() {
    let engine = engine();
    let mut r = Random(6);
    let mut wrong = BTreeMap::new();
    let of_mine = |module: &str| module.starts_with("simd") || matches!(module, "fp" | "crypto");
    for row in coverage::rows().iter().filter(|row| row.implemented() && of_mine(row.module)) {
        for _ in 0..200 {
            let Some(word) = row.random(|| r.next()) else { continue };
            if row.name == "ldp_v" && word & 31 == word >> 10 & 31 {
                continue;
            }
            let name = name_of(&engine, word);
            if name.is_some() != is_lifted(word) {
                wrong.entry(row.name).or_insert((word, name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:x?}");
}
