//! Floating point, Advanced SIMD and cryptography against `qemu-aarch64`.

mod lockstep;

use isamorph_a64::coverage::{Row, row_of, rows};
use lockstep::{MAX, Random, compare, compare_rows, random_case, rounds};

/// Whether a row is of vectors and works on floating-point numbers.
fn is_vector_float(row: &Row) -> bool {
    row.module == "simd_fp" || row.module == "simd_half" || row.name.starts_with('f') || row.name.contains("cvtf_fixed")
}

#[test]
fn vector_integers_agree() {
    let modules = ["simd_three", "simd_misc", "simd_shift", "simd_elem", "simd_move"];
    compare_rows(|row| modules.contains(&row.module) && !is_vector_float(row), |_, _| true, MAX, false);
}

#[test]
fn vector_floating_point_agrees() {
    compare_rows(|row| row.module.starts_with("simd") && is_vector_float(row), |_, _| true, MAX, true);
}

/// Two results in one register are left out.
fn is_predictable(row: &Row, word: u32) -> bool {
    row.name != "ldp_v" || word & 31 != word >> 10 & 31
}

#[test]
fn vector_loads_and_stores_agree() {
    compare_rows(|row| row.module == "simd_mem", is_predictable, MAX, false);
}

/// Several instructions in a region see each other's results, and what is known of the upper parts of registers.
#[test]
fn vector_sequences_agree() {
    let mut r = Random(4);
    let wanted = |row: &&Row| row.implemented() && (row.module.starts_with("simd") || row.module == "fp");
    let rows: Vec<&Row> = rows().iter().filter(wanted).collect();
    let mut cases = Vec::new();
    for _ in 0..100 * rounds() {
        let mut code = Vec::new();
        while code.len() < 6 {
            let row = rows[r.below(rows.len() as u64) as usize];
            // Few registers, so that there is something to see.
            let Some(word) = row.random(|| r.next() as u32 & 0xffe7_7ce7) else { continue };
            if is_predictable(row, word) && row_of(word).is_some_and(|found| found.name == row.name) {
                code.push(word);
            }
        }
        cases.push(("sequence", random_case(&mut r, &code, true)));
    }
    compare(MAX, &cases);
}

#[test]
fn scalar_floating_point_agrees() {
    compare_rows(|row| row.module == "fp", |_, _| true, MAX, true);
}

#[test]
fn cryptography_agrees() {
    compare_rows(|row| row.module == "crypto", |_, _| true, MAX, false);
}
