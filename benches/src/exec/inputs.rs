//! Input files of the program benchmarks.

use super::{Contender, Folders, Program};
use std::io;
use std::path::PathBuf;
use std::process::Command;

/// The scripts, by file name.
const SCRIPTS: &[(&str, &str)] = &[
    ("mix.py", include_str!("../../programs/mix.py")),
    ("mix.pl", include_str!("../../programs/mix.pl")),
    ("mix.lua", include_str!("../../programs/mix.lua")),
    ("mix.sql", include_str!("../../programs/mix.sql")),
    ("mix.sh", include_str!("../../programs/mix.sh")),
    ("mix.awk", include_str!("../../programs/mix.awk")),
];
/// Packed versions of the data: ending, program.
const PACKED: &[(&str, &str)] = &[("gz", "gzip"), ("bz2", "bzip2"), ("xz", "xz")];
const MIX_SIZE: usize = 3 << 20;

/// The path of an input file.
pub fn path(folders: &Folders, name: &str) -> PathBuf {
    folders.built.join("inputs").join(name)
}

/// Writes the input files that are missing.
pub fn write(folders: &Folders, native: &Contender) -> io::Result<()> {
    std::fs::create_dir_all(folders.built.join("inputs"))?;
    for (name, text) in SCRIPTS {
        std::fs::write(path(folders, name), text)?;
    }
    let mix = path(folders, "mix.bin");
    if !mix.exists() {
        let data = mixed_data();
        std::fs::write(path(folders, "big.bin"), data.repeat(16))?;
        std::fs::write(&mix, data)?;
    }
    for (ending, program) in PACKED {
        let packed = path(folders, &format!("mix.bin.{ending}"));
        if !packed.exists() {
            let words = native.words(folders, &Program::Debian(program));
            let output = Command::new(&words[0]).args(&words[1..]).arg("-c").arg(&mix).output()?;
            std::fs::write(packed, output.stdout)?;
        }
    }
    Ok(())
}

/// Two thirds words of uneven frequency, then records, then noise.
fn mixed_data() -> Vec<u8> {
    let mut state = 7_u64;
    let mut below = |limit: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % limit
    };
    let letters = b"etaoinshrdlucm";
    let words: Vec<Vec<u8>> =
        (0..3000).map(|_| (0..2 + below(8)).map(|_| letters[below(letters.len() as u64) as usize]).collect()).collect();
    let mut data = Vec::with_capacity(MIX_SIZE);
    while data.len() < MIX_SIZE * 2 / 3 {
        // The product of two uniform numbers prefers the first words.
        let index = below(3000) * below(3000) / 3000;
        data.extend_from_slice(&words[index as usize]);
        data.extend_from_slice(if below(40) == 0 { b".\n" } else { b" " });
    }
    while data.len() < MIX_SIZE * 11 / 12 {
        data.extend_from_slice(&(data.len() as u32).wrapping_mul(2654435761).to_le_bytes());
        data.extend_from_slice(&[0, 0, below(4) as u8, (data.len() >> 8) as u8, 0, 1]);
        data.extend_from_slice(b"rec");
    }
    data.resize_with(MIX_SIZE, || below(256) as u8);
    data
}
