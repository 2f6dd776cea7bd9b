//! Nothing in the repository names a folder of one machine.

use super::{Problem, TextFile};

/// Split, so that this file passes its own rule.
const FORBIDDEN: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tmp/", "bash")];

/// Reports absolute paths that exist on one machine only.
pub fn check(file: &TextFile, problems: &mut Vec<Problem>) {
    for (index, line) in file.text.lines().enumerate() {
        for path in FORBIDDEN.iter().filter(|path| line.contains(**path)) {
            problems.push(Problem::new(&file.path, index + 1, format!("`{path}` is a path of one machine")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::text;

    #[test]
    fn paths_of_one_machine_are_found() {
        let bad = format!("ok\ncd {}x\n", FORBIDDEN[0]);
        assert_eq!(text(check, "a.md", &bad), [format!("a.md:2: `{}` is a path of one machine", FORBIDDEN[0])]);
        assert!(text(check, "a.md", "the framework/one and /usr/lib\n").is_empty());
    }
}
