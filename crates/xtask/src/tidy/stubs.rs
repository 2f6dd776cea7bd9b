//! No unfinished code and no ignored tests.

use super::Problem;
use super::source::Source;

const FORBIDDEN: &[&str] = &["todo!(", "unimplemented!(", "#[ignore"];

/// Reports stubs.
pub fn check(source: &Source, problems: &mut Vec<Problem>) {
    for (index, line) in source.code.iter().enumerate() {
        for stub in FORBIDDEN.iter().filter(|stub| line.contains(**stub)) {
            problems.push(Problem::new(&source.path, index + 1, format!("`{stub}` is not allowed")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::rust;

    #[test]
    fn stubs_are_found() {
        let found = rust(check, "a.rs", "fn f() { todo!() }\n#[ignore]\nfn g() { unimplemented!(\"x\") }\n");
        let expected = ["a.rs:1: `todo!(`", "a.rs:2: `#[ignore`", "a.rs:3: `unimplemented!(`"];
        assert_eq!(found, expected.map(|line| format!("{line} is not allowed")));
        assert!(rust(check, "a.rs", "// todo!() in prose\nlet a = \"#[ignore]\";").is_empty());
    }
}
