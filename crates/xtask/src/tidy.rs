//! The rules of this repository that no compiler checks.
//!
//! | module | rules |
//! |---|---|
//! | `layers` | crates import lower layers only; front ends and back ends stay apart; the code map is complete |
//! | `dependencies` | each third-party crate has its reason written down |
//! | `decode` | decoders know neither IR nor memory |
//! | `unsafety` | `unsafe` is opted into per file, with a reason, and justified per block |
//! | `stubs` | no unfinished code, no ignored tests |
//! | `size` | lengths of lines, functions and files |
//! | `paths` | nothing names a folder of one machine |

mod decode;
mod dependencies;
mod layers;
mod manifest;
mod paths;
mod size;
mod source;
mod stubs;
mod unsafety;

use source::Source;
use std::fmt;
use std::path::Path;

/// A broken rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    file: String,
    /// From 1; 0 if the whole file is meant.
    line: usize,
    message: String,
}

impl Problem {
    fn new(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

/// A text file of the repository.
struct TextFile {
    path: String,
    text: String,
}

const RUST_RULES: &[fn(&Source, &mut Vec<Problem>)] =
    &[decode::check, unsafety::check, stubs::check, size::check_functions, size::check_file];
const TEXT_RULES: &[fn(&TextFile, &mut Vec<Problem>)] = &[size::check_lines, paths::check];

/// Prints what is wrong in a repository; true if nothing is.
pub fn report(root: &Path) -> bool {
    match check(root) {
        Ok(problems) => {
            problems.iter().for_each(|problem| println!("{problem}"));
            println!("tidy: {} problems", problems.len());
            problems.is_empty()
        }
        Err(error) => {
            println!("tidy: {error}");
            false
        }
    }
}

/// All broken rules in a repository.
fn check(root: &Path) -> std::io::Result<Vec<Problem>> {
    let mut files = Vec::new();
    collect(root, root, &mut files)?;
    let mut problems = Vec::new();
    for file in &files {
        TEXT_RULES.iter().for_each(|rule| rule(file, &mut problems));
        if file.path.ends_with(".rs") {
            let source = Source::new(&file.path, &file.text);
            RUST_RULES.iter().for_each(|rule| rule(&source, &mut problems));
        }
    }
    let workspace = manifest::Workspace::read(root)?;
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    layers::check(&workspace, &read("docs/ARCHITECTURE.md"), &mut problems);
    dependencies::check(&workspace, &read("docs/dependencies.md"), &mut problems);
    problems.sort();
    problems.dedup();
    Ok(problems)
}

/// Folders with nothing of ours in them.
const SKIPPED: &[&str] = &["target", "sysroot", ".git"];

/// Reads the text files below a folder. Files that are not UTF-8 are data.
fn collect(root: &Path, folder: &Path, files: &mut Vec<TextFile>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        let kind = entry.file_type()?;
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            collect(root, &path, files)?;
        } else if kind.is_file()
            && let Ok(text) = std::fs::read_to_string(&path)
        {
            let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            files.push(TextFile { path: relative, text });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages of one rule for one Rust file.
    pub fn rust(rule: fn(&Source, &mut Vec<Problem>), path: &str, text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        rule(&Source::new(path, text), &mut problems);
        problems.iter().map(Problem::to_string).collect()
    }

    /// The messages of one rule for one text file.
    pub fn text(rule: fn(&TextFile, &mut Vec<Problem>), path: &str, text: &str) -> Vec<String> {
        let mut problems = Vec::new();
        rule(&TextFile { path: path.to_owned(), text: text.to_owned() }, &mut problems);
        problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn this_repository_is_tidy() {
        let problems = check(&crate::tools::repository()).expect("the repository can be read");
        let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert!(lines.is_empty(), "{}", lines.join("\n"));
    }
}
