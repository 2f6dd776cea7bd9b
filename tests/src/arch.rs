//! The guest architectures, as tests and benchmarks need to know them.

use std::path::{Path, PathBuf};

/// An architecture.
#[derive(Debug, PartialEq, Eq)]
pub struct Arch {
    /// Debian's name, which is that of its sysroot.
    pub debian: &'static str,
    /// The name in `isamorph-NAME` and `qemu-NAME`.
    pub name: &'static str,
    /// The C compiler.
    pub compiler: &'static str,
    /// Where its shared libraries are, below `/usr/lib`.
    pub triplet: &'static str,
    /// Its dynamic loader, in the sysroot.
    pub loader: &'static str,
    /// The architectures, in Debian's names, whose programs the host itself runs and which print the same, as a rule;
    /// the first one is the nearest. If it is this one, there is no exception.
    pub references: &'static [&'static str],
}

/// All of them.
pub static ARCHITECTURES: &[Arch] = &[
    Arch {
        debian: "i386",
        name: "i386",
        compiler: "i686-linux-gnu-gcc",
        triplet: "i386-linux-gnu",
        loader: "lib/ld-linux.so.2",
        references: &["i386"],
    },
    Arch {
        debian: "amd64",
        name: "x86_64",
        compiler: "x86_64-linux-gnu-gcc",
        triplet: "x86_64-linux-gnu",
        loader: "lib64/ld-linux-x86-64.so.2",
        references: &["amd64"],
    },
    Arch {
        debian: "arm64",
        name: "aarch64",
        compiler: "aarch64-linux-gnu-gcc",
        triplet: "aarch64-linux-gnu",
        loader: "lib/ld-linux-aarch64.so.1",
        references: &["amd64"],
    },
    Arch {
        debian: "armhf",
        name: "arm",
        compiler: "arm-linux-gnueabihf-gcc",
        triplet: "arm-linux-gnueabihf",
        loader: "lib/ld-linux-armhf.so.3",
        // Floating point as on amd64, `long` as on i386.
        references: &["amd64", "i386"],
    },
];

impl Arch {
    /// The architecture with that name, Debian's or ours.
    ///
    /// # Errors
    /// There is none.
    pub fn find(name: &str) -> Result<&'static Arch, String> {
        let found = ARCHITECTURES.iter().find(|a| a.debian == name || a.name == name);
        found.ok_or_else(|| format!("unknown architecture; there are {}", names().join(", ")))
    }

    /// Whether the host runs its programs.
    pub fn is_native(&self) -> bool {
        self.references == [self.debian]
    }

    /// The Debian system that `scripts/sysroot.sh` makes.
    pub fn sysroot(&self) -> PathBuf {
        repository().join("sysroot").join(self.debian)
    }

    /// QEMU's user-mode emulator, if it is installed.
    pub fn qemu(&self) -> Option<PathBuf> {
        [format!("qemu-{}", self.name), format!("qemu-{}-static", self.name)].iter().find_map(|name| installed(name))
    }
}

/// Debian's names of all architectures.
fn names() -> Vec<&'static str> {
    ARCHITECTURES.iter().map(|a| a.debian).collect()
}

/// The repository's root folder.
pub fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// A program's file, looked up in `PATH` if its name is no path.
pub fn installed(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return std::path::absolute(program).ok().filter(|path| path.exists());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_run_on_the_host() {
        for arch in ARCHITECTURES {
            assert!(!arch.references.is_empty() && arch.references.iter().all(|r| Arch::find(r).unwrap().is_native()));
            assert_eq!((Arch::find(arch.debian), Arch::find(arch.name)), (Ok(arch), Ok(arch)));
        }
        assert!(Arch::find("vax").is_err_and(|e| e.contains("armhf")));
    }
}
