//! Threads with locks, signals and code patching (`tests/guests/stress.c`), and corners of signals, threads and memory
//! (`tests/guests/corners.c`): natively and in every way to run guest code the programs must print the same.
//! `ISAMORPH_STRESS_SECONDS` says how long each run of the first takes; 60 is the acceptance test.

use isamorph_tests::arch::Arch;
use isamorph_tests::emulator::isamorph;
use isamorph_tests::guests;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const STRESS: &[&str] = &["stress.c", "stress_code.c", "stress_locks.c", "stress_process.c", "stress_signals.c"];
const CORNERS: &[&str] = &["corners.c"];

/// A program, or nothing where there is no compiler for it.
fn build(name: &str, sources: &[&str]) -> Option<PathBuf> {
    guests::build(Arch::find("i386").expect("an architecture"), name, sources)
}

fn seconds() -> String {
    std::env::var("ISAMORPH_STRESS_SECONDS").unwrap_or_else(|_| "3".to_owned())
}

fn run(words: &[&str], program: &Path, args: &[&str]) -> Output {
    let program = [program.to_str().expect("a path in UTF-8")];
    let words: Vec<&str> = [words, &program, args].concat();
    Command::new(words[0]).args(&words[1..]).output().expect("it starts")
}

/// Runs a program natively and here, with arguments for each. The program describes what goes wrong.
fn compare(program: &Path, options: &[&str], native: &[&str], here: &[&str]) {
    let isamorph = isamorph();
    let words = [&[isamorph.to_str().expect("a path in UTF-8")], options].concat();
    let native = run(&[], program, native);
    assert!(native.status.success(), "natively: {}", String::from_utf8_lossy(&native.stderr));
    let here = run(&words, program, here);
    assert!(here.status.success(), "{}: {}", here.status, String::from_utf8_lossy(&here.stderr));
    assert_eq!(String::from_utf8_lossy(&here.stdout), String::from_utf8_lossy(&native.stdout));
}

fn stress(name: &str, options: &[&str]) {
    let Some(program) = build(name, STRESS) else { return };
    compare(&program, options, &["1", "1"], &[&seconds(), "1"]);
}

#[test]
fn compiled() {
    stress("stress-jit", &["-accel", "jit"]);
}

/// Code is evicted all the time.
#[test]
fn compiled_with_a_tiny_cache() {
    stress("stress-tiny", &["-accel", "jit", "-tb-size", "1"]);
}

#[test]
fn interpreted() {
    stress("stress-interp", &["-accel", "interp"]);
}

#[test]
fn corners() {
    let Some(program) = build("corners", CORNERS) else { return };
    compare(&program, &["-accel", "jit"], &[], &[]);
    compare(&program, &["-accel", "interp"], &[], &[]);
}
