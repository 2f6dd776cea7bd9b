//! Compression: the packed bytes are compared, and that they unpack to what was packed.

// tidy: table
use super::Case;

const fn bash(name: &'static str, text: &'static str) -> Case {
    Case::script(name, "bash", &["-c"], text)
}

/// The commands.
pub const CASES: &[Case] = &[
    Case::new("gzip", "gzip", &["-nc", "data.bin"]),
    Case::new("gzip_best", "gzip", &["-9nc", "words.txt"]),
    Case::new("gzip_fast", "gzip", &["-1nc", "data.bin"]),
    Case::new("gzip_damaged", "gzip", &["-dc"]).reading("this is no gzip file"),
    Case::new("bzip2", "bzip2", &["-c", "data.bin"]),
    Case::new("bzip2_small_blocks", "bzip2", &["-1c", "words.txt"]),
    Case::new("xz", "xz", &["-T1", "-c", "-1", "data.bin"]),
    Case::new("xz_default", "xz", &["-T1", "-c", "words.txt"]),
    Case::new("xz_threads", "xz", &["-T2", "-c", "--block-size=30000", "-1", "data.bin"]),
    Case::new("xz_x86_filter", "xz", &["-T1", "-c", "--x86", "--lzma2=preset=0", "data.bin"]),
    Case::new("lzma", "xz", &["-T1", "-c", "--format=lzma", "-0", "words.txt"]),
    Case::new("zstd", "zstd", &["-qc", "--single-thread", "data.bin"]),
    Case::new("zstd_threads", "zstd", &["-qc", "-T2", "-5", "data.bin"]),
    Case::new("zstd_better", "zstd", &["-qc", "--single-thread", "-12", "words.txt"]),
    Case::new("zstd_fast", "zstd", &["-qc", "--single-thread", "--fast=3", "data.bin"]),
    Case::new("7z_crc", "7zz", &["h", "-scrcCRC64", "-bd", "-ba", "-mmt1", "data.bin"]).heavy(),
    bash("gzip_round_trip", "gzip -n data.bin && gzip -l data.bin.gz && gzip -t data.bin.gz && gunzip data.bin.gz && md5sum data.bin"),
    bash("zcat", "gzip -n words.txt; zcat words.txt.gz | wc; zgrep -c ka words.txt.gz"),
    bash("bzip2_round_trip", "bzip2 -k data.bin && bzip2 -t data.bin.bz2 && bunzip2 -c data.bin.bz2 | cmp - data.bin && echo same"),
    bash("xz_round_trip", "xz -T1 -k data.bin && xz -t data.bin.xz && xz -dc data.bin.xz | cmp - data.bin && echo same"),
    bash("xz_check_sha256", "xz -T1 -0 -C sha256 -c words.txt | xz -dc | md5sum"),
    bash("zstd_round_trip", "zstd -q -19 --single-thread words.txt && zstd -q -t words.txt.zst && zstd -qdc words.txt.zst | cmp - words.txt && echo same"),
    bash("zstd_long", "cat data.bin words.txt data.bin | zstd -q --long=18 --single-thread | zstd -qd --long=18 | md5sum"),
    bash("zstd_dictionary", "split -n 100 words.txt w.; zstd -q --train w.* -o d --maxdict=2000 && zstd -q -D d w.aa -c | zstd -qd -D d | md5sum").heavy(),
    bash("7z_round_trip", "7zz a -bd -mmt1 -mx1 a.7z data.bin words.txt > /dev/null && 7zz t a.7z > /dev/null && echo tested && 7zz x -so a.7z data.bin | cmp - data.bin && echo same").heavy(),
    bash("zip_round_trip", "7zz a -bd -mmt1 -tzip a.zip words.txt > /dev/null && 7zz x -so a.zip words.txt | md5sum").heavy(),
    bash("damaged_input", "gzip -nc words.txt | head -c 700 | gzip -dc 2>/dev/null | wc -c; bzip2 -c words.txt | tail -c +9 | bzip2 -dc 2>/dev/null; echo $?"),
];
