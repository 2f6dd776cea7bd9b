//! Each third-party dependency has a row with its reason in `docs/dependencies.md`, and each row a dependency.

use super::Problem;
use super::manifest::Workspace;
use std::collections::BTreeSet;

const REASONS: &str = "docs/dependencies.md";

/// Reports dependencies without a reason and reasons without a dependency.
pub fn check(workspace: &Workspace, reasons: &str, problems: &mut Vec<Problem>) {
    let direct = workspace.crates.iter().flat_map(|member| member.dependencies.iter().map(|d| &d.name));
    let used: BTreeSet<&str> = direct.chain(&workspace.dependencies).map(String::as_str).filter(is_foreign).collect();
    let listed: BTreeSet<&str> = reasons.lines().filter_map(listed_name).collect();
    for name in used.difference(&listed) {
        problems.push(Problem::new(REASONS, 0, format!("`{name}` needs a row with its reason")));
    }
    for name in listed.difference(&used) {
        problems.push(Problem::new(REASONS, 0, format!("`{name}` is not a dependency")));
    }
}

fn is_foreign(name: &&str) -> bool {
    !name.starts_with("isamorph")
}

/// The name in a row ``| `name` | reason |``.
fn listed_name(line: &str) -> Option<&str> {
    let (name, _) = line.strip_prefix("| `")?.split_once('`')?;
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::manifest::Crate;

    #[test]
    fn dependencies_and_reasons_agree() {
        let manifest = "name = \"isamorph-a\"\n[dependencies]\nisamorph-b.workspace = true\nlibc.workspace = true\n";
        let workspace =
            Workspace { crates: vec![Crate::parse("crates/a", manifest)], dependencies: vec!["clap".to_owned()] };
        let found = |reasons: &str| {
            let mut problems = Vec::new();
            check(&workspace, reasons, &mut problems);
            problems.iter().map(Problem::to_string).collect::<Vec<_>>()
        };
        assert!(found("| `clap` | options |\n| `libc` | the kernel |\n").is_empty());
        assert_eq!(found("| `clap` | options |\n"), ["docs/dependencies.md: `libc` needs a row with its reason"]);
        let stale = found("| `clap` | options |\n| `libc` | x |\n| `rand` | x |\n");
        assert_eq!(stale, ["docs/dependencies.md: `rand` is not a dependency"]);
    }
}
