//! Crates import only crates of strictly lower layers. The layers are those of the code map in
//! `docs/ARCHITECTURE.md`, which therefore has to list every crate.

use super::Problem;
use super::manifest::{Crate, Workspace};

const MAP: &str = "docs/ARCHITECTURE.md";

/// The layer of folders that may import everything, `–` in the map.
const TOP: u32 = u32::MAX;

/// Reports imports against the layers, and crates that are not in the map.
pub fn check(workspace: &Workspace, map: &str, problems: &mut Vec<Problem>) {
    let rows = read_map(map);
    let layer = |folder: &str| rows.iter().find(|row| row.folder == folder).map(|row| row.layer);
    for row in &rows {
        if !workspace.crates.iter().any(|member| member.folder == row.folder) {
            problems.push(Problem::new(MAP, row.line, format!("there is no crate `{}`", row.folder)));
        }
    }
    for member in &workspace.crates {
        let manifest = format!("{}/Cargo.toml", member.folder);
        let mut report = |message: String| problems.push(Problem::new(&manifest, 0, message));
        if !member.has_lints {
            report("`[lints] workspace = true` is missing".to_owned());
        }
        let Some(own) = layer(&member.folder) else {
            report(format!("`{}` is missing from the code map in {MAP}", member.folder));
            continue;
        };
        for other in imports(workspace, member) {
            if layer(&other.folder).is_some_and(|other| other >= own) {
                report(format!("`{}` is not on a lower layer than `{}`", other.folder, member.folder));
            }
            if are_kept_apart(&member.folder, &other.folder) {
                report(format!(
                    "`{}` may not know `{}`: front ends and back ends stay apart",
                    member.folder, other.folder
                ));
            }
        }
    }
}

/// The crates of this workspace that a crate's own code, not just its tests, depends on.
fn imports<'a>(workspace: &'a Workspace, member: &'a Crate) -> impl Iterator<Item = &'a Crate> {
    member.dependencies.iter().filter(|dependency| !dependency.for_tests).filter_map(|d| workspace.find(&d.name))
}

fn are_kept_apart(one: &str, other: &str) -> bool {
    let side = |folder: &str| folder.split('/').next().map(str::to_owned).unwrap_or_default();
    matches!((side(one).as_str(), side(other).as_str()), ("frontends", "backend") | ("backend", "frontends"))
}

struct Row {
    line: usize,
    layer: u32,
    folder: String,
}

/// The rows `| layer | `folder`, … | what it is |` of the map.
fn read_map(map: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, line) in map.lines().enumerate() {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let (Some(layer), Some(folders)) = (cells.next(), cells.next()) else { continue };
        let layer = if layer == "–" { Some(TOP) } else { layer.parse().ok() };
        let Some(layer) = layer else { continue };
        for folder in folders.split('`').skip(1).step_by(2) {
            rows.push(Row { line: index + 1, layer, folder: folder.to_owned() });
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP_TEXT: &str = "\
| layer | crate | what |
|---|---|---|
| 0 | `crates/a` | x |
| 1 | `frontends/f` | x |
| 2 | `backend/b` | x |
| – | `tests`, `benches` | x |
";

    fn member(folder: &str, imports: &str) -> Crate {
        let name = folder.rsplit('/').next().unwrap_or_default();
        let text = format!("name = \"isamorph-{name}\"\n[dependencies]\n{imports}\n[lints]\nworkspace = true\n");
        Crate::parse(folder, &text)
    }

    fn found(changed: Crate) -> Vec<String> {
        let all = ["crates/a", "frontends/f", "backend/b", "tests", "benches"];
        let unchanged = all.iter().filter(|folder| **folder != changed.folder).map(|folder| member(folder, ""));
        let mut workspace = Workspace { crates: unchanged.collect(), ..Workspace::default() };
        workspace.crates.push(changed);
        let mut problems = Vec::new();
        check(&workspace, MAP_TEXT, &mut problems);
        problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn lower_layers_may_be_imported() {
        assert!(found(member("frontends/f", "isamorph-a.workspace = true")).is_empty());
        assert!(found(member("tests", "isamorph-b.workspace = true")).is_empty());
        assert!(found(member("crates/a", "[dev-dependencies]\nisamorph-b.workspace = true")).is_empty());
    }

    #[test]
    fn other_layers_may_not_be_imported() {
        let upwards = found(member("crates/a", "isamorph-f.workspace = true"));
        assert_eq!(upwards, ["crates/a/Cargo.toml: `frontends/f` is not on a lower layer than `crates/a`"]);
        let sideways = found(member("tests", "isamorph-benches.workspace = true"));
        assert_eq!(sideways, ["tests/Cargo.toml: `benches` is not on a lower layer than `tests`"]);
    }

    #[test]
    fn front_ends_and_back_ends_stay_apart() {
        let found = found(member("backend/b", "isamorph-f.workspace = true"));
        let expected =
            "backend/b/Cargo.toml: `backend/b` may not know `frontends/f`: front ends and back ends stay apart";
        assert_eq!(found, [expected]);
    }

    #[test]
    fn the_map_and_the_workspace_agree() {
        let unknown = found(member("crates/new", ""));
        assert_eq!(
            unknown,
            ["crates/new/Cargo.toml: `crates/new` is missing from the code map in docs/ARCHITECTURE.md"]
        );
        let mut problems = Vec::new();
        check(&Workspace::default(), MAP_TEXT, &mut problems);
        assert_eq!(problems[0].to_string(), "docs/ARCHITECTURE.md:3: there is no crate `crates/a`");
    }

    #[test]
    fn lints_are_taken_from_the_workspace() {
        let bare = Crate::parse("crates/a", "name = \"isamorph-a\"\n");
        assert_eq!(found(bare), ["crates/a/Cargo.toml: `[lints] workspace = true` is missing"]);
    }
}
