//! `unsafe` is denied by the workspace; a file opts in with a reason, and each use says why it is sound.

use super::Problem;
use super::source::{Source, words};

/// For the whole file or for one item.
const OPT_IN: &str = "[allow(unsafe_code";

/// Lines of code that may stand between a safety comment and what it justifies.
const REACH: usize = 4;

/// Reports files that use `unsafe` without opting in, opt-ins without a reason, and uses without a justification.
pub fn check(source: &Source, problems: &mut Vec<Problem>) {
    let uses: Vec<(usize, Use)> = source.code.iter().enumerate().flat_map(uses_in).collect();
    let opt_ins: Vec<usize> = (0..source.code.len()).filter(|line| source.code[*line].contains(OPT_IN)).collect();
    let mut report = |line: usize, message: &str| problems.push(Problem::new(&source.path, line + 1, message));
    match (opt_ins.first(), uses.first()) {
        (None, Some((line, _))) => report(*line, "`unsafe` without `#![allow(unsafe_code)]` and a reason in this file"),
        (Some(line), None) => report(*line, "the opt-in to `unsafe` is not needed"),
        _ => {}
    }
    for line in opt_ins.into_iter().filter(|line| !has_reason(source, *line)) {
        report(line, "the opt-in to `unsafe` needs a comment with the reason");
    }
    for (line, kind) in uses {
        if kind == Use::Justified && !has_justification(source, line) {
            report(line, "`unsafe` without `// SAFETY:` above it");
        }
    }
}

#[derive(PartialEq)]
enum Use {
    /// A block or an `impl`: its author claims that something holds.
    Justified,
    /// A declaration: its callers have to.
    Declared,
}

fn uses_in((index, line): (usize, &String)) -> Vec<(usize, Use)> {
    words(line, "unsafe")
        .filter_map(|at| {
            let next = line[at + "unsafe".len()..].trim_start();
            let kind = match next {
                _ if next.starts_with('{') || next.starts_with("impl") || next.is_empty() => Use::Justified,
                // A function pointer's type is no use of `unsafe`.
                _ if next.replace(' ', "").contains("fn(") => return None,
                _ if next.starts_with('(') => return None,
                _ => Use::Declared,
            };
            Some((index, kind))
        })
        .collect()
}

fn has_reason(source: &Source, line: usize) -> bool {
    let in_attribute = source.code[line..].iter().take(3).any(|code| code.contains("reason ="));
    let beside = [line.checked_sub(1), Some(line), Some(line + 1)];
    let is_plain = |comment: &str| comment.trim_start().starts_with("// ");
    in_attribute
        || beside.into_iter().flatten().filter_map(|at| source.comments.get(at)).any(|comment| is_plain(comment))
}

fn has_justification(source: &Source, line: usize) -> bool {
    let mut passed = 0;
    for index in (0..line).rev() {
        if source.comments[index].contains("SAFETY:") {
            return true;
        }
        if !source.code[index].trim().is_empty() {
            passed += 1;
        }
        if passed == REACH {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::rust;

    const GOOD: &str = "#![allow(unsafe_code)] // maps memory\n// SAFETY: it is\n// so.\nlet a = unsafe { b() };\n";

    fn found(text: &str) -> Vec<String> {
        rust(check, "a.rs", text)
    }

    #[test]
    fn justified_code_passes() {
        assert!(found(GOOD).is_empty(), "{:?}", found(GOOD));
        assert!(found("type F = unsafe extern \"C\" fn(u8);\n#[unsafe(naked)]\n// unsafe {\n").is_empty());
        assert!(found("#[allow(unsafe_code)] // a raw address\nunsafe fn f() {}").is_empty());
        assert!(found("// It maps memory.\n#![allow(unsafe_code)]\nunsafe extern \"C\" {}").is_empty());
    }

    #[test]
    fn files_opt_in_with_a_reason() {
        assert!(found("unsafe fn f() {}\n")[0].starts_with("a.rs:1: `unsafe` without `#![allow(unsafe_code)]`"));
        assert!(found("#![allow(unsafe_code)]\nunsafe fn f() {}")[0].contains("needs a comment"));
        assert!(found("#![allow(unsafe_code)] // why\n")[0].contains("not needed"));
    }

    #[test]
    fn blocks_and_impls_are_justified() {
        for used in ["unsafe { f() };", "unsafe impl Send for X {}", "unsafe\n{ f() };"] {
            let text = format!("#![allow(unsafe_code)] // why\n{used}\n");
            assert_eq!(found(&text), ["a.rs:2: `unsafe` without `// SAFETY:` above it"], "{used}");
        }
    }

    #[test]
    fn a_justification_has_a_reach() {
        let far = GOOD.replace("let a", "let b;\nlet c;\nlet d;\nlet e;\nlet a");
        assert_eq!(found(&far), ["a.rs:8: `unsafe` without `// SAFETY:` above it"]);
    }
}
