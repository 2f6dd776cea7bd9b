//! What is lifted and what is not: the rows of the decoders' tables, and a count of the encodings without a lift that
//! guests ran into.

use crate::decode::{TABLES, decode_a32, decode_thumb};
pub use isamorph_decodegen::{Field, Row};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

static UNLIFTED: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// The tables, by name, with every encoding that is decoded.
pub fn tables() -> &'static [(&'static str, &'static [Row])] {
    TABLES
}

/// The row that an A32 word belongs to.
pub fn a32_row(word: u32) -> Option<&'static Row> {
    decode_a32(word).row()
}

/// The row that a Thumb instruction belongs to; one of 32 bits has its first halfword on top.
pub fn thumb_row(word: u32) -> Option<&'static Row> {
    decode_thumb(word).row()
}

/// Counts an instruction that is not lifted.
pub(crate) fn count(name: &'static str) {
    let mut counts = UNLIFTED.lock().unwrap_or_else(PoisonError::into_inner);
    *counts.entry(name).or_default() += 1;
}

/// Instructions that were met but are not lifted, by name, with how often they were met in translation.
pub fn unlifted() -> Vec<(String, u64)> {
    let counts = UNLIFTED.lock().unwrap_or_else(PoisonError::into_inner);
    counts.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()
}
