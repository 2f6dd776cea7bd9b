//! The files every command finds in its working folder.

use std::io;
use std::path::Path;

/// Writes the input files into a new folder.
pub fn write(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("words.txt"), words())?;
    std::fs::write(folder.join("numbers.txt"), numbers())?;
    std::fs::write(folder.join("table.csv"), table())?;
    std::fs::write(folder.join("data.bin"), data())
}

/// A linear congruential generator with the constants of Knuth's MMIX; the high bits are good enough.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % limit
    }
}

/// 500 lines of three to nine words out of a few hundred.
fn words() -> String {
    let mut random = Random(1);
    let syllables = ["ka", "ro", "mi", "ten", "su", "la", "vor", "ni"];
    let mut text = String::new();
    for _ in 0..500 {
        let line: Vec<String> = (0..3 + random.below(7))
            .map(|_| (0..1 + random.below(3)).map(|_| syllables[random.below(8) as usize]).collect())
            .collect();
        text += &line.join(" ");
        text.push('\n');
    }
    text
}

/// 300 integers, negative ones too, some of them twice.
fn numbers() -> String {
    let mut random = Random(2);
    (0..300).map(|_| format!("{}\n", random.below(2000) as i64 - 500)).collect()
}

/// 200 rows: key, name, amount.
fn table() -> String {
    let mut random = Random(3);
    let names = ["anna", "bela", "cora", "dora", "emil"];
    let row = |id: usize, random: &mut Random| {
        format!("{id},{},{}.{:02}\n", names[random.below(5) as usize], random.below(900), random.below(100))
    };
    (0..200).map(|id| row(id, &mut random)).collect()
}

/// 96 KiB: records, text and noise.
fn data() -> Vec<u8> {
    let mut random = Random(4);
    let mut bytes = Vec::new();
    for index in 0..2048_u32 {
        bytes.extend_from_slice(&index.to_le_bytes());
        bytes.extend_from_slice(b"record\0\0");
        bytes.extend_from_slice(&(random.below(16) as u32).to_be_bytes());
    }
    bytes.extend_from_slice(words().repeat(2).as_bytes());
    bytes.resize_with(96 << 10, || random.below(256) as u8);
    bytes
}
