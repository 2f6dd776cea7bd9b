//! Random i386 instructions under `isamorph` and on the host's processor. `ISAMORPH_NATIVE_CASES` sets the number of
//! cases of each test, `ISAMORPH_NATIVE_SEED` what the random choices start from.

use isamorph_tests::emulator;
use isamorph_tests::native::{self, Mode, Setup};
use std::path::Path;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Compares runs with these properties of `-accel`.
fn check(accel: &str, is_precise: bool) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("native-{accel}"));
    std::fs::create_dir_all(&folder).expect("a folder for the runner");
    let program = match native::compile(&folder) {
        Ok(program) => program,
        Err(reason) => return println!("skipped: {reason}"),
    };
    if let Err(error) = std::process::Command::new(&program).stdin(std::process::Stdio::null()).status() {
        return println!("skipped: i386 programs do not run natively here: {error}");
    }
    let command = vec![emulator::isamorph().to_string_lossy().into_owned(), "-accel".into(), accel.into()];
    let modes = vec![Mode { name: accel.into(), command, is_precise }];
    let cases = setting("ISAMORPH_NATIVE_CASES", 20_000);
    let seed = setting("ISAMORPH_NATIVE_SEED", 1);
    let summary = native::run(&Setup { cases, seed, modes, only: String::new() }, &program).expect("the runner runs");
    let report = summary.report();
    println!("{report}");
    assert_eq!(summary.failed(), 0, "\n{report}");
    assert!(summary.faults * 10 >= summary.cases, "too few faults:\n{report}");
    assert!(summary.instructions >= 2 * summary.cases, "too short:\n{report}");
}

#[test]
fn compiled_instructions_do_what_the_processor_does() {
    check("jit", false);
}

#[test]
fn compiled_instructions_show_exact_flags_at_faults() {
    check("jit,precise=on", true);
}

#[test]
fn compiled_one_by_one_they_do_the_same() {
    check("jit,one-insn-per-tb=on", false);
}

#[test]
fn interpreted_instructions_do_what_the_processor_does() {
    check("interp", true);
}
