//! The command under test.

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

/// The folder of what is built.
pub fn target() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    std::path::absolute(target).expect("the working folder exists")
}
