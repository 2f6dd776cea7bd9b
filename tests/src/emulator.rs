//! The command under test.

use crate::arch::Arch;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the command, with optimisation, because whole programs take long without; its path.
///
/// # Panics
/// It does not build.
pub fn isamorph() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--package", "isamorph"])
        .current_dir(&root)
        .status();
    assert!(cargo.is_ok_and(|status| status.success()), "isamorph does not build");
    target().join("release/isamorph")
}

/// Whether the command, built before, has user mode for an architecture.
pub fn runs(isamorph: &Path, arch: &Arch) -> bool {
    Command::new(isamorph).args([arch.name, "-version"]).output().is_ok_and(|output| output.status.success())
}

/// The folder of what is built.
pub fn target() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    std::path::absolute(target).expect("the working folder exists")
}
