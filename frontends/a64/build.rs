//! Makes the decoder from the rows in `src/decode`. The module of a row's handler in `src/lift` is named as its file.

use isamorph_decodegen::{Error, Table};

/// The files of rows.
const FILES: &[&str] = &[
    "arith",
    "branch",
    "crypto",
    "fp",
    "logic",
    "memory",
    "ordered",
    "pauth",
    "simd_elem",
    "simd_fp",
    "simd_half",
    "simd_mem",
    "simd_misc",
    "simd_move",
    "simd_shift",
    "simd_three",
    "system",
];

fn main() -> Result<(), Error> {
    let files = FILES.iter().map(|name| format!("src/decode/{name}.decode"));
    files.fold(Table::new("a64", 32), Table::file).write()
}
