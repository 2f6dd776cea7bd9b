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

/// Cross compilers of the guest architectures, and the Debian packages that they are in.
const COMPILERS: &[(&str, &[&str])] = &[
    ("i686-linux-gnu-gcc", &["gcc-i686-linux-gnu", "libc6-dev-i386-cross"]),
    ("aarch64-linux-gnu-gcc", &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"]),
    ("arm-linux-gnueabihf-gcc", &["gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross"]),
];

/// The Debian systems whose programs are run.
const SYSROOTS: &[&str] = &["i386", "amd64", "arm64", "armhf"];

/// Installs or builds what some tests need. Those tests skip themselves, and say so, where that is not possible.
fn prepare() {
    println!("== tools");
    for (compiler, packages) in COMPILERS {
        prepare_compiler(compiler, packages);
    }
    println!("== sysroots");
    let script = repository().join("scripts/sysroot.sh");
    for arch in SYSROOTS {
        if !run(&[&*script.to_string_lossy(), arch]) {
            println!("skipped: tests that run Debian programs of {arch} (scripts/sysroot.sh failed)");
        }
    }
}

fn prepare_compiler(compiler: &str, packages: &[&str]) {
    if works(&[compiler, "--version"]) {
        return println!("{compiler}: found");
    }
    if !can_install() {
        return println!("skipped: tests that need {compiler} (installing it needs root and apt-get)");
    }
    println!("{compiler}: installing");
    let install = ["apt-get", "-q", "-y", "install", "--no-install-recommends"];
    if !(run(&["apt-get", "-q", "update"]) && run(&[&install, packages].concat())) {
        println!("skipped: tests that need {compiler} (installing it failed)");
    }
}

fn can_install() -> bool {
    works(&["apt-get", "--version"]) && works(&["test", "-w", "/var/lib/dpkg"])
}
