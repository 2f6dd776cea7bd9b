//! What is lifted and what is not: a count of the encodings that guests ran into, and a survey of the whole map.

use crate::mode::Mode;
use iced_x86::{Code, Decoder, DecoderOptions, EncodingKind, Mnemonic};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

static UNLIFTED: Mutex<BTreeMap<u32, u64>> = Mutex::new(BTreeMap::new());

/// The name of a mnemonic in lower case.
pub(crate) fn name(mnemonic: Mnemonic) -> String {
    format!("{mnemonic:?}").to_lowercase()
}

/// Counts an instruction that no family lifts.
pub(crate) fn count(mnemonic: Mnemonic) {
    let mut counts = UNLIFTED.lock().unwrap_or_else(PoisonError::into_inner);
    *counts.entry(mnemonic as u32).or_default() += 1;
}

/// Instructions that were met but are not lifted, by name, with how often they were met in translation.
pub fn unlifted() -> Vec<(String, u64)> {
    let counts = UNLIFTED.lock().unwrap_or_else(PoisonError::into_inner);
    let named = Mnemonic::values().filter_map(|m| counts.get(&(m as u32)).map(|n| (name(m), *n)));
    named.collect()
}

/// A form of an instruction and whether it is lifted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Name of the mnemonic.
    pub mnemonic: String,
    /// Name of the form: mnemonic and operands.
    pub form: String,
    /// Bytes of an encoding.
    pub bytes: Vec<u8>,
    /// Whether it is lifted.
    pub lifted: bool,
}

/// Every form that decodes in 32-bit (or 64-bit) mode, in legacy encodings (no VEX, EVEX), found by trying opcode maps,
/// prefixes and ModRM bytes, and whether a lift of it succeeds.
///
/// # Panics
/// `bits` is neither 32 nor 64.
pub fn table(bits: u32) -> Vec<Row> {
    let mode = Mode::from_number(bits.into());
    assert_eq!(mode.bits(), bits);
    let mut rows: BTreeMap<Code, Row> = BTreeMap::new();
    for map in [&[][..], &[0x0f], &[0x0f, 0x38], &[0x0f, 0x3a]] {
        for prefix in &PREFIXES[..if mode.is_long() { 9 } else { 5 }] {
            for opcode in 0..=255u8 {
                for modrm in 0..=255u8 {
                    survey(mode, &[prefix, map, &[opcode, modrm, 0x25, 0, 1, 2, 3, 4, 5, 6, 7]].concat(), &mut rows);
                }
            }
        }
    }
    rows.into_values().collect()
}

/// Prefixes to try; those from REX.W on are for 64-bit mode.
const PREFIXES: [&[u8]; 9] =
    [&[], &[0x66], &[0xf3], &[0xf2], &[0x67], &[0x48], &[0x66, 0x48], &[0xf3, 0x48], &[0xf2, 0x48]];

fn survey(mode: Mode, bytes: &[u8], rows: &mut BTreeMap<Code, Row>) {
    let insn = Decoder::new(mode.bits(), bytes, DecoderOptions::NONE).decode();
    let code = insn.code();
    if insn.is_invalid() || rows.contains_key(&code) || code.encoding() != EncodingKind::Legacy {
        return;
    }
    let bytes = bytes[..insn.len()].to_vec();
    let lifted = crate::lift::is_lifted(mode, &bytes);
    rows.insert(code, Row { mnemonic: name(insn.mnemonic()), form: format!("{code:?}"), bytes, lifted });
}
