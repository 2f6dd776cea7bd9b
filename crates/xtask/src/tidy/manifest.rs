//! What the rules need to know from the `Cargo.toml` files: members, names, dependencies.
//!
//! The manifests of this repository are written one dependency to a line, so reading lines is enough.

use std::io;
use std::path::Path;

/// The workspace's crates.
#[derive(Default)]
pub struct Workspace {
    /// The members.
    pub crates: Vec<Crate>,
    /// The names under `[workspace.dependencies]`.
    pub dependencies: Vec<String>,
}

/// A crate of the workspace.
pub struct Crate {
    /// Its folder below the repository's root.
    pub folder: String,
    /// Its name.
    pub name: String,
    /// What it depends on.
    pub dependencies: Vec<Dependency>,
    /// Whether it takes the workspace's lints.
    pub has_lints: bool,
}

/// A dependency of a crate.
pub struct Dependency {
    /// The dependency's name.
    pub name: String,
    /// Whether only the crate's tests and benchmarks use it.
    pub for_tests: bool,
}

impl Workspace {
    /// Reads all manifests.
    pub fn read(root: &Path) -> io::Result<Self> {
        let manifest = std::fs::read_to_string(root.join("Cargo.toml"))?;
        let crates = members(&manifest)
            .into_iter()
            .map(|folder| {
                let text = std::fs::read_to_string(root.join(&folder).join("Cargo.toml"))?;
                Ok(Crate::parse(&folder, &text))
            })
            .collect::<io::Result<_>>()?;
        let dependencies = keys(&manifest, |section| section == "workspace.dependencies").collect();
        Ok(Self { crates, dependencies })
    }

    /// The crate with a name.
    pub fn find(&self, name: &str) -> Option<&Crate> {
        self.crates.iter().find(|candidate| candidate.name == name)
    }
}

impl Crate {
    /// Reads a crate's manifest.
    pub fn parse(folder: &str, text: &str) -> Self {
        let kind = |wanted: &'static str, for_tests: bool| {
            keys(text, move |section| section.rsplit('.').next() == Some(wanted))
                .map(move |name| Dependency { name, for_tests })
        };
        let dependencies = kind("dependencies", false)
            .chain(kind("build-dependencies", false))
            .chain(kind("dev-dependencies", true))
            .collect();
        let name = text.lines().find_map(|line| line.strip_prefix("name = ")).unwrap_or_default();
        Self {
            folder: folder.to_owned(),
            name: name.trim_matches('"').to_owned(),
            dependencies,
            has_lints: keys(text, |section| section == "lints").any(|key| key == "workspace"),
        }
    }
}

/// The quoted words of the `members` list.
fn members(manifest: &str) -> Vec<String> {
    let list = manifest.split_once("\nmembers = [").and_then(|(_, rest)| rest.split_once(']'));
    let Some((list, _)) = list else { return Vec::new() };
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The first word of each entry in the sections that are wanted.
fn keys(manifest: &str, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
    let mut inside = false;
    manifest.lines().filter_map(move |line| {
        if let Some(section) = line.strip_prefix('[') {
            inside = wanted(section.trim_end_matches(']'));
            return None;
        }
        let end = line.find(['.', '=', ' '])?;
        (inside && end > 0 && !line.starts_with('#')).then(|| line[..end].to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_read() {
        let text = "\
[package]
name = \"isamorph-x\"

[dependencies]
# why
libc.workspace = true
foo = { version = \"1\" }
[dev-dependencies]
bar = \"1\"
[target.'cfg(unix)'.dependencies]
baz = \"1\"
[lints]
workspace = true
";
        let parsed = Crate::parse("crates/x", text);
        let names = parsed.dependencies.iter().map(|d| (d.name.as_str(), d.for_tests)).collect::<Vec<_>>();
        assert_eq!(parsed.name, "isamorph-x");
        assert_eq!(names, [("libc", false), ("foo", false), ("baz", false), ("bar", true)]);
        assert!(parsed.has_lints);
    }

    #[test]
    fn members_are_read() {
        assert_eq!(members("[workspace]\nmembers = [\n  \"a/b\", \"c\",\n]\n[x]\ny = [\"d\"]\n"), ["a/b", "c"]);
    }
}
