//! What is compared: the host's processor, Isamorph, another emulator.

use super::{Benchmark, Folders, Program, native_arch};
use crate::arch::{self, Arch};
use std::process::Command;

/// A way to run programs of an architecture.
#[derive(Clone, Debug)]
pub struct Contender {
    /// Its name in reports.
    pub name: String,
    /// The architecture of the programs that it runs.
    pub(super) arch: &'static Arch,
    /// The emulator and its options; nothing for native runs.
    pub(super) prefix: Vec<String>,
}

/// The contenders: native, the emulator, and what it is compared with, if that is installed.
pub fn contenders(arch: &'static Arch, emulator: &str, other: &str) -> Vec<Contender> {
    let emulators = [emulator, other].into_iter().filter_map(|command| Contender::emulator(arch, command));
    std::iter::once(Contender::native(arch)).chain(emulators).collect()
}

impl Contender {
    /// The host's processor, for the nearest architecture whose programs it runs.
    pub fn native(arch: &'static Arch) -> Self {
        Self { name: "native".to_owned(), arch: native_arch(arch), prefix: Vec::new() }
    }

    /// An emulator with its options, `{sysroot}` standing for the sysroot; none if it is not installed.
    fn emulator(arch: &'static Arch, command: &str) -> Option<Self> {
        let sysroot = arch.sysroot();
        let sysroot = sysroot.to_string_lossy();
        let mut prefix: Vec<String> =
            command.split_whitespace().map(|word| word.replace("{sysroot}", &sysroot)).collect();
        let program = prefix.first_mut()?;
        let Some(path) = arch::installed(program) else {
            eprintln!("exec: {program} is not installed; left out");
            return None;
        };
        *program = path.to_string_lossy().into_owned();
        let name = path.file_name()?.to_string_lossy().into_owned();
        Some(Self { name, arch, prefix })
    }

    /// The words that start a program, without the program's own arguments.
    pub fn words(&self, folders: &Folders, program: &Program) -> Vec<String> {
        let file = match program {
            Program::Kernel(name) => folders.kernel(self.arch, name),
            Program::Debian(name) => self.arch.sysroot().join("usr/bin").join(name),
        };
        let mut words = self.prefix.clone();
        if words.is_empty() && matches!(program, Program::Debian(_)) {
            words = native_loader(self.arch);
        }
        words.push(file.to_string_lossy().into_owned());
        words
    }

    /// The command of a benchmark.
    pub fn command(&self, folders: &Folders, benchmark: &Benchmark) -> Command {
        let words = self.words(folders, &benchmark.program);
        let guest = self.words(folders, &Program::Debian("")).join(" ");
        let guest = guest.trim_end_matches('/');
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(benchmark.args.iter().map(|arg| arg.replace("{guest}", guest)));
        command.env_clear().envs([
            ("PATH", "/usr/bin:/bin"),
            ("LC_ALL", "C"),
            ("OPENSSL_CONF", "/dev/null"),
            ("PYTHONHASHSEED", "0"),
        ]);
        if let Program::Debian(name) = benchmark.program
            && name.starts_with("python")
        {
            command.env("PYTHONHOME", self.arch.sysroot().join("usr"));
        }
        command
    }
}

/// The sysroot's own loader, so that its programs run without the host's libraries.
fn native_loader(arch: &Arch) -> Vec<String> {
    let sysroot = arch.sysroot();
    let path = |name: &str| sysroot.join(name).to_string_lossy().into_owned();
    vec![path(arch.loader), "--library-path".to_owned(), path(&format!("usr/lib/{}", arch.triplet))]
}
