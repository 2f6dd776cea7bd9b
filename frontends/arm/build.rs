//! Makes the decoders from the rows in `src/decode`. The module of a row's handler in `src/lift` is named as its file.

use isamorph_decodegen::{Error, Table};

/// The tables: name, width of a word, files of rows.
const TABLES: &[(&str, u32, &[&str])] = &[
    ("a32", 32, &["a32_data", "a32_mem", "a32_control"]),
    ("a32u", 32, &["a32_uncond"]),
    ("t16", 16, &["t16"]),
    ("t32", 32, &["t32_data", "t32_mem", "t32_control"]),
    ("coproc", 32, &["coproc", "vfp"]),
    ("neon", 32, &["neon", "neon_mem", "vfp8"]),
];

fn main() -> Result<(), Error> {
    for (name, width, files) in TABLES {
        let files = files.iter().map(|file| format!("src/decode/{file}.decode"));
        files.fold(Table::new(name, *width), Table::file).write()?;
    }
    Ok(())
}
