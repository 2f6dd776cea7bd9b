//! What is compared: the host's processor, Isamorph, another emulator.

use super::{Benchmark, Folders, Program};
use std::path::PathBuf;
use std::process::Command;

/// A way to run i386 programs.
#[derive(Clone, Debug)]
pub struct Contender {
    /// Its name in reports.
    pub name: String,
    /// The emulator and its options; nothing for native runs.
    pub(super) prefix: Vec<String>,
}

/// The contenders: native, the emulator, and what it is compared with, if that is installed.
pub fn contenders(folders: &Folders, emulator: &str, other: &str) -> Vec<Contender> {
    let emulators = [emulator, other].into_iter().filter_map(|command| Contender::emulator(folders, command));
    std::iter::once(Contender::native()).chain(emulators).collect()
}

impl Contender {
    /// The host's processor.
    pub fn native() -> Self {
        Self { name: "native".to_owned(), prefix: Vec::new() }
    }

    /// An emulator with its options, `{sysroot}` standing for the sysroot; none if it is not installed.
    fn emulator(folders: &Folders, command: &str) -> Option<Self> {
        let sysroot = folders.sysroot.to_string_lossy();
        let mut prefix: Vec<String> =
            command.split_whitespace().map(|word| word.replace("{sysroot}", &sysroot)).collect();
        let program = prefix.first_mut()?;
        let Some(path) = find(program) else {
            eprintln!("exec: {program} is not installed; left out");
            return None;
        };
        *program = path.to_string_lossy().into_owned();
        let name = path.file_name()?.to_string_lossy().into_owned();
        Some(Self { name, prefix })
    }

    /// The words that start a program, without the program's own arguments.
    pub fn words(&self, folders: &Folders, program: &Program) -> Vec<String> {
        let file = match program {
            Program::Kernel(file) => file.clone(),
            Program::Debian(name) => folders.sysroot.join("usr/bin").join(name),
        };
        let mut words = self.prefix.clone();
        if words.is_empty() && matches!(program, Program::Debian(_)) {
            words = native_loader(folders);
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
            command.env("PYTHONHOME", folders.sysroot.join("usr"));
        }
        command
    }
}

/// The sysroot's own loader, so that its programs run without the host's libraries.
fn native_loader(folders: &Folders) -> Vec<String> {
    let path = |name: &str| folders.sysroot.join(name).to_string_lossy().into_owned();
    vec![path("lib/ld-linux.so.2"), "--library-path".to_owned(), path("usr/lib/i386-linux-gnu")]
}

/// A program's file, looked up in `PATH` if its name is no path.
fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return std::path::absolute(program).ok().filter(|path| path.exists());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.exists())
}
