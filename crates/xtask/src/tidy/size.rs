//! Lengths: lines, functions, files.

use super::source::{Source, words};
use super::{Problem, TextFile};

const LINE: usize = 120;
const FUNCTION: usize = 100;
const FILE: usize = 1000;

/// A line of its own: this file is a table, as long and as wide as what it lists.
const TABLE: &str = "// tidy: table";
/// In a comment above a function: its body is a flat list of cases.
const FLAT: &str = "tidy: flat";

/// Reports long lines in code and scripts.
pub fn check_lines(file: &TextFile, problems: &mut Vec<Problem>) {
    let is_code = [".rs", ".sh", ".toml"].iter().any(|ending| file.path.ends_with(ending));
    if !is_code || file.text.lines().any(|line| line == TABLE) {
        return;
    }
    for (index, line) in file.text.lines().enumerate() {
        let length = line.chars().count();
        if length > LINE {
            problems.push(Problem::new(&file.path, index + 1, format!("{length} columns, more than {LINE}")));
        }
    }
}

/// Reports long files.
pub fn check_file(source: &Source, problems: &mut Vec<Problem>) {
    let length = source.lines_of_code();
    if length > FILE && !source.comments.iter().any(|comment| comment == TABLE) {
        problems.push(Problem::new(&source.path, 0, format!("{length} lines of code, more than {FILE}")));
    }
}

/// Reports long functions.
pub fn check_functions(source: &Source, problems: &mut Vec<Problem>) {
    for (index, line) in source.code.iter().enumerate() {
        for at in words(line, "fn") {
            let Some(name) = function_name(&line[at + 2..]) else { continue };
            let Some(last) = body_end(source, index, at) else { continue };
            let length = last - index + 1;
            if length > FUNCTION && !source.comments_above(index).any(|comment| comment.contains(FLAT)) {
                let message = format!("`{name}` has {length} lines, more than {FUNCTION}");
                problems.push(Problem::new(&source.path, index + 1, message));
            }
        }
    }
}

/// The name after `fn`; none in a function pointer's type.
fn function_name(after: &str) -> Option<&str> {
    let name = after.trim_start();
    let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(name.len());
    (end > 0).then(|| &name[..end])
}

/// The line of the brace that closes the body; none for a declaration without a body.
fn body_end(source: &Source, line: usize, column: usize) -> Option<usize> {
    let mut braces = 0;
    let mut brackets = 0;
    for (index, text) in source.code.iter().enumerate().skip(line) {
        let text = if index == line { &text[column..] } else { text.as_str() };
        for c in text.chars() {
            match c {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets -= 1,
                ';' if braces == 0 && brackets == 0 => return None,
                '{' => braces += 1,
                '}' => {
                    braces -= 1;
                    if braces == 0 {
                        return Some(index);
                    }
                }
                _ => {}
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::{rust, text};

    #[test]
    fn long_lines_are_found() {
        let fits = "x".repeat(LINE);
        assert!(text(check_lines, "a.rs", &fits).is_empty());
        assert_eq!(text(check_lines, "a.rs", &format!("\n{fits}é")), ["a.rs:2: 121 columns, more than 120"]);
        assert!(text(check_lines, "a.md", &"x".repeat(500)).is_empty());
        assert!(text(check_lines, "a.rs", &format!("//! Rows.\n// tidy: table\n{fits}x")).is_empty());
    }

    #[test]
    fn long_files_are_found() {
        let long = "x;\n// prose\n\n".repeat(FILE + 1);
        assert_eq!(rust(check_file, "a.rs", &long), ["a.rs: 1001 lines of code, more than 1000"]);
        assert!(rust(check_file, "a.rs", &"x;\n".repeat(FILE)).is_empty());
        assert!(rust(check_file, "a.rs", &format!("\n// tidy: table\n{long}")).is_empty());
    }

    #[test]
    fn long_functions_are_found() {
        let body = "    { x[1](\"}\") };\n";
        let function =
            |lines: usize| format!("fn f<T>(a: [u8; 4])\nwhere T: Copy {{\n{}}}\nfn g();\n", body.repeat(lines));
        let long = function(FUNCTION - 2);
        assert_eq!(rust(check_functions, "a.rs", &long), ["a.rs:1: `f` has 101 lines, more than 100"]);
        assert!(rust(check_functions, "a.rs", &function(FUNCTION - 3)).is_empty());
        assert!(rust(check_functions, "a.rs", &format!("// tidy: flat\n#[inline]\n{long}")).is_empty());
        assert!(rust(check_functions, "a.rs", "type F = fn(u8) -> u8;\ntrait A { fn a(); }\n").is_empty());
    }
}
