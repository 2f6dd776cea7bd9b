//! Running other programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The repository's root folder.
pub fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_path_buf()
}

/// Runs a command in the repository's root, with its output shown; false if it failed.
pub fn run<S: AsRef<str>>(command: &[S]) -> bool {
    let words: Vec<&str> = command.iter().map(AsRef::as_ref).collect();
    let Some((program, args)) = words.split_first() else { return false };
    match Command::new(program).args(args).current_dir(repository()).status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("xtask: cannot run {program}: {error}");
            false
        }
    }
}

/// Whether a command can be run and succeeds; its output is dropped.
pub fn works(command: &[&str]) -> bool {
    let Some((program, args)) = command.split_first() else { return false };
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
