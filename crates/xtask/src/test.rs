//! `cargo xtask test`: everything a change has to pass, on a clean clone.
//!
//! All checks run even when one of them fails, and the test runner comes last, so that its summary ends the output.

use crate::tidy;
use crate::tools::{repository, run, works};

/// A named check.
struct Step {
    name: &'static str,
    command: &'static [&'static str],
}

const STEPS: &[Step] = &[
    Step { name: "format", command: &["cargo", "fmt", "--all", "--check"] },
    Step {
        name: "clippy",
        command: &["cargo", "clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"],
    },
    Step { name: "doc tests", command: &["cargo", "test", "--quiet", "--workspace", "--doc"] },
    Step { name: "release build", command: &["cargo", "build", "--release", "--package", "isamorph"] },
];

/// Runs the checks; false if one failed.
pub fn all() -> bool {
    prepare();
    let mut failed = Vec::new();
    println!("== tidy");
    if !tidy::report(&repository()) {
        failed.push("tidy");
    }
    for step in STEPS {
        println!("== {}", step.name);
        if !run(step.command) {
            failed.push(step.name);
        }
    }
    println!("== tests");
    if !failed.is_empty() {
        println!("failed so far: {}", failed.join(", "));
    }
    run_tests() && failed.is_empty()
}

fn run_tests() -> bool {
    if works(&["cargo", "nextest", "--version"]) {
        return run(&["cargo", "nextest", "run", "--workspace"]);
    }
    println!("cargo-nextest is not installed: cargo test runs the tests");
    run(&["cargo", "test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"])
}

/// What some tests need: what it is, a command that succeeds if it is there, and the Debian packages that it is in.
const TOOLS: &[(&str, &[&str], &[&str])] = &[
    ("gcc for i386", &["i686-linux-gnu-gcc", "--version"], &["gcc-i686-linux-gnu", "libc6-dev-i386-cross"]),
    ("gcc for arm64", &["aarch64-linux-gnu-gcc", "--version"], &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"]),
    ("gcc for armhf", &["arm-linux-gnueabihf-gcc", "--version"], &["gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross"]),
    ("SeaBIOS", &["test", "-e", "/usr/share/seabios/bios-256k.bin"], &["seabios"]),
];

/// The Debian systems whose programs are run.
const SYSROOTS: &[&str] = &["i386", "amd64", "arm64", "armhf"];

/// Installs or builds what some tests need. Those tests skip themselves, and say so, where that is not possible.
fn prepare() {
    println!("== tools");
    for (what, check, packages) in TOOLS {
        prepare_tool(what, check, packages);
    }
    println!("== sysroots");
    let script = repository().join("scripts/sysroot.sh");
    for arch in SYSROOTS {
        if !run(&[&*script.to_string_lossy(), arch]) {
            println!("skipped: tests that run Debian programs of {arch} (scripts/sysroot.sh failed)");
        }
    }
}

fn prepare_tool(what: &str, check: &[&str], packages: &[&str]) {
    if works(check) {
        return println!("{what}: found");
    }
    if !can_install() {
        return println!("skipped: tests that need {what} (installing it needs root and apt-get)");
    }
    println!("{what}: installing");
    let install = ["apt-get", "-q", "-y", "install", "--no-install-recommends"];
    if !(run(&["apt-get", "-q", "update"]) && run(&[&install, packages].concat())) {
        println!("skipped: tests that need {what} (installing it failed)");
    }
}

fn can_install() -> bool {
    works(&["apt-get", "--version"]) && works(&["test", "-w", "/var/lib/dpkg"])
}
