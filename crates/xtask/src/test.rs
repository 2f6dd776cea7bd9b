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

/// Installs or builds what some tests need. Those tests skip themselves, and say so, where that is not possible.
fn prepare() {
    println!("== tools");
    if works(&["i686-linux-gnu-gcc", "--version"]) {
        println!("i686-linux-gnu-gcc: found");
    } else if can_install() {
        println!("i686-linux-gnu-gcc: installing");
        let installed = run(&["apt-get", "-q", "update"])
            && run(&[
                "apt-get",
                "-q",
                "-y",
                "install",
                "--no-install-recommends",
                "gcc-i686-linux-gnu",
                "libc6-dev-i386-cross",
            ]);
        if !installed {
            println!("skipped: tests that compile i386 programs (installing the cross compiler failed)");
        }
    } else {
        println!(
            "skipped: tests that compile i386 programs (no i686-linux-gnu-gcc; installing needs root and apt-get)"
        );
    }
    println!("== sysroot");
    let script = repository().join("scripts/sysroot.sh");
    if !run(&[script.to_string_lossy()]) {
        println!("skipped: tests that run Debian programs (scripts/sysroot.sh failed)");
    }
}

fn can_install() -> bool {
    works(&["apt-get", "--version"]) && works(&["test", "-w", "/var/lib/dpkg"])
}
