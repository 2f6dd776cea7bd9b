//! What is lifted and what is not: the rows of the decoder's table, and a count of the encodings without a lift that
//! guests ran into.

use crate::decode::a64;
pub use isamorph_decodegen::Row;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

static UNLIFTED: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// Every encoding that is decoded.
pub fn rows() -> &'static [Row] {
    a64::ROWS
}

/// The row that a word belongs to.
pub fn row_of(word: u32) -> Option<&'static Row> {
    a64::decode(word).map(|insn| insn.kind.row())
}

/// Counts an instruction that is not lifted; `None` is one that no row has.
pub(crate) fn count(row: Option<&'static Row>) {
    let mut counts = UNLIFTED.lock().unwrap_or_else(PoisonError::into_inner);
    *counts.entry(row.map_or("unallocated", |row| row.name)).or_default() += 1;
}

/// Instructions that were met but are not lifted, by name, with how often they were met in translation.
pub fn unlifted() -> Vec<(String, u64)> {
    let counts = UNLIFTED.lock().unwrap_or_else(PoisonError::into_inner);
    counts.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()
}
