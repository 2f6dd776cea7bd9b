//! Debian programs, run natively and under an emulator: standard output and exit status must be the same.
//!
//! The tables in the submodules are the acceptance list of user mode. A command belongs there if it always prints the
//! same, on any machine. Both runs see the same working folder with the same input files, the same environment and, as
//! far as the command can tell, the same file system: the native one is a `chroot` into the sysroot, the emulated one
//! gets the sysroot as its `-L` folder.
//!
//! For an architecture whose programs the host does not run, the native run is one of the same command of another
//! architecture, as most commands print the same everywhere; for the rest it is a run under QEMU.

mod bash;
mod busybox;
mod compression;
mod coreutils;
mod inputs;
mod lua;
mod openssl;
mod perl;
mod python;
mod runner;
mod sqlite;
mod text;

pub use runner::{Outcome, Runner, Setup, report, run_cases};

/// Commands that print something else on other architectures. Where the host does not run their programs, only QEMU
/// tells what is right.
const PECULIAR: &[&str] = &["coreutils/od_long_double", "sqlite/math", "text/file"];

/// A command and what it reads.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name, unique in its group.
    pub name: &'static str,
    /// The program, a name in `/usr/bin`.
    pub program: &'static str,
    /// Its arguments.
    pub args: &'static [&'static str],
    /// One more argument: the script.
    pub script: Option<&'static str>,
    /// What it reads from standard input.
    pub stdin: &'static str,
    /// Too much work for the interpreter.
    pub is_heavy: bool,
}

impl Case {
    /// A command with arguments only.
    const fn new(name: &'static str, program: &'static str, args: &'static [&'static str]) -> Self {
        Self { name, program, args, script: None, stdin: "", is_heavy: false }
    }

    /// A command whose last argument is a script.
    const fn script(
        name: &'static str,
        program: &'static str,
        option: &'static [&'static str],
        text: &'static str,
    ) -> Self {
        Self { name, program, args: option, script: Some(text), stdin: "", is_heavy: false }
    }

    /// The same, reading a text.
    const fn reading(self, stdin: &'static str) -> Self {
        Self { stdin, ..self }
    }

    /// The same, for the JIT only.
    const fn heavy(self) -> Self {
        Self { is_heavy: true, ..self }
    }
}

/// A named table of commands.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// Its commands.
    pub cases: &'static [Case],
}

/// All tables.
pub const GROUPS: &[Group] = &[
    Group { name: "busybox", cases: busybox::CASES },
    Group { name: "bash", cases: bash::CASES },
    Group { name: "coreutils", cases: coreutils::CASES },
    Group { name: "text", cases: text::CASES },
    Group { name: "compression", cases: compression::CASES },
    Group { name: "openssl", cases: openssl::CASES },
    Group { name: "perl", cases: perl::CASES },
    Group { name: "python", cases: python::CASES },
    Group { name: "sqlite", cases: sqlite::CASES },
    Group { name: "lua", cases: lua::CASES },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique() {
        for group in GROUPS {
            let names: HashSet<_> = group.cases.iter().map(|case| case.name).collect();
            assert_eq!(names.len(), group.cases.len(), "in {}", group.name);
        }
    }
}
