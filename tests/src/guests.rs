//! The programs in `tests/guests`, compiled for guest architectures.

use crate::arch::{self, Arch};
use crate::emulator::target;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program, static, or nothing where there is no compiler for it. Each test has its own, as they may run at once.
///
/// # Panics
/// It does not compile.
pub fn build(arch: &Arch, name: &str, sources: &[&str]) -> Option<PathBuf> {
    if arch::installed(arch.compiler).is_none() {
        println!("skipped: there is no {}", arch.compiler);
        return None;
    }
    let folder = target().join("guests");
    std::fs::create_dir_all(&folder).expect("a folder for the program");
    let program = folder.join(format!("{name}-{}", arch.debian));
    let compiler = Command::new(arch.compiler)
        .args(["-static", "-O2", "-pthread", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&program)
        .args(sources)
        .arg("-lm")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("guests"))
        .output()
        .expect("the compiler runs");
    assert!(compiler.status.success(), "{}", String::from_utf8_lossy(&compiler.stderr));
    Some(program)
}
