//! What the command is asked to be, from the name it is called by and its first argument.

use crate::end::End;
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

/// A guest architecture that user mode knows of.
#[derive(Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Its name, as in `isamorph-NAME` and `qemu-NAME`.
    pub name: &'static str,
    /// Debian's name for it.
    pub debian: Option<&'static str>,
    /// ELF machine number and class (1 is 32-bit, 2 is 64-bit).
    pub(crate) elf: (u16, u8),
}

impl Architecture {
    /// Whether this build runs its programs.
    pub fn is_supported(&self) -> bool {
        isamorph_linux_user::arch::ALL.iter().any(|abi| abi.name() == self.name)
    }
}

/// The architectures. `armhf` and `armel` are both `arm`.
pub static ARCHITECTURES: &[Architecture] = &[
    Architecture { name: "i386", debian: None, elf: (3, 1) },
    Architecture { name: "x86_64", debian: Some("amd64"), elf: (62, 2) },
    Architecture { name: "arm", debian: Some("armhf"), elf: (40, 1) },
    Architecture { name: "arm", debian: Some("armel"), elf: (40, 1) },
    Architecture { name: "aarch64", debian: Some("arm64"), elf: (183, 2) },
];

/// Parts of QEMU other than user mode, without their prefix.
const OTHER_TOOLS: &[&str] = &["img", "io", "nbd"];

/// The architectures of machines.
const MACHINES: &[&str] = &["i386", "x86_64"];

/// What to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Role {
    /// User mode for an architecture; none to take it from the program.
    User(Option<&'static Architecture>),
    /// A machine.
    System {
        /// Its processors' architecture.
        architecture: &'static str,
        /// The name means KVM.
        kvm: bool,
    },
    /// The demonstration.
    Demo,
    /// Rules by which the kernel runs foreign programs.
    Binfmt,
    /// A command in another root file system.
    Chroot,
    /// Help.
    Help,
    /// Known, but not there.
    Unsupported(String),
}

/// How the command was called.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    /// The name it was called by, without directories; with the architecture where that was an argument.
    pub name: String,
    /// What to be.
    pub role: Role,
    /// Whether the program is followed by the `argv[0]` that it should get (`P` of `binfmt_misc`).
    pub preserves_argv0: bool,
    /// The arguments that are left.
    pub arguments: Vec<OsString>,
}

fn architecture(name: &str) -> Option<&'static Architecture> {
    ARCHITECTURES.iter().find(|a| a.name == name || a.debian == Some(name))
}

/// The role that a word asks for, whether it comes from the command's name or an argument.
fn role(word: &str) -> Option<Role> {
    let plain = word.strip_suffix("-static").unwrap_or(word);
    if let Some(found) = architecture(plain) {
        let refused = || Role::Unsupported(format!("{plain}: {} programs", found.name));
        return Some(if found.is_supported() { Role::User(Some(found)) } else { refused() });
    }
    if let Some(architecture) = word.strip_prefix("system-").and_then(|name| MACHINES.iter().find(|m| **m == name)) {
        return Some(Role::System { architecture, kvm: false });
    }
    match word {
        "demo" => Some(Role::Demo),
        "binfmt" => Some(Role::Binfmt),
        "chroot" => Some(Role::Chroot),
        "help" => Some(Role::Help),
        _ if word.starts_with("system-") || OTHER_TOOLS.contains(&word) => Some(Role::Unsupported(word.to_owned())),
        _ => None,
    }
}

impl Call {
    /// Understands a command line, its name included.
    pub fn new(command_line: impl IntoIterator<Item = OsString>) -> Self {
        let mut arguments: Vec<OsString> = command_line.into_iter().collect();
        let path = if arguments.is_empty() { OsString::new() } else { arguments.remove(0) };
        let name = Path::new(&path).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = if name.is_empty() { "isamorph".to_owned() } else { name };
        let preserving = name.strip_suffix("-binfmt-P");
        let preserves_argv0 = preserving.is_some();
        let word = preserving.unwrap_or(&name);
        let word = word.strip_prefix("isamorph-").or_else(|| word.strip_prefix("qemu-")).or(preserving);
        if let Some(role) = word.and_then(role) {
            return Call { name, role, preserves_argv0, arguments };
        }
        if name == "kvm" {
            let role = Role::System { architecture: "x86_64", kvm: true };
            return Call { name, role, preserves_argv0, arguments };
        }
        let first = arguments.first().and_then(|a| a.to_str()).and_then(|word| Some((word.to_owned(), role(word)?)));
        let Some((word, role)) = first else {
            return Call { name, role: Role::User(None), preserves_argv0, arguments };
        };
        arguments.remove(0);
        let name = if matches!(role, Role::User(_) | Role::System { .. }) { format!("{name}-{word}") } else { name };
        Call { name, role, preserves_argv0, arguments }
    }
}

/// Machine and class of an ELF file.
fn elf(program: &Path) -> Option<(u16, u8)> {
    let mut start = [0; 20];
    std::fs::File::open(program).and_then(|mut file| file.read_exact(&mut start)).ok()?;
    start.starts_with(b"\x7fELF").then(|| (u16::from_le_bytes([start[18], start[19]]), start[4]))
}

/// The architecture whose program that is; nothing if it is not known, of which loading will tell more.
///
/// # Errors
/// It is one that is not supported, or not the one that was asked for under the command's `name`.
pub fn architecture_of(
    program: &Path,
    wanted: Option<&'static Architecture>,
    name: &str,
) -> Result<Option<&'static Architecture>, End> {
    let Some(elf) = elf(program) else { return Ok(wanted) };
    if let Some(wanted) = wanted {
        let message = format!("{name}: {}: Invalid ELF image for this architecture", program.display());
        return if elf == wanted.elf { Ok(Some(wanted)) } else { Err(End::Failed { message, status: 255 }) };
    }
    match ARCHITECTURES.iter().find(|a| a.elf == elf) {
        Some(found) if !found.is_supported() => {
            Err(End::unsupported(&format!("{}: {} programs", program.display(), found.name)))
        }
        found => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &[&str]) -> Call {
        Call::new(line.iter().map(OsString::from))
    }

    fn user(line: &[&str]) -> Option<&'static str> {
        match call(line).role {
            Role::User(Some(found)) => Some(found.name),
            Role::User(None) => None,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn the_name_decides() {
        for name in ["isamorph-i386", "qemu-i386", "qemu-i386-static", "/usr/bin/qemu-i386", "isamorph-i386-static"] {
            assert_eq!(user(&[name, "prog"]), Some("i386"), "{name}");
            assert_eq!(call(&[name, "prog"]).arguments, ["prog"], "{name}");
        }
        assert_eq!(call(&["isamorph-demo"]).role, Role::Demo);
        assert!(call(&["/usr/libexec/qemu-binfmt/i386-binfmt-P", "prog", "name"]).preserves_argv0);
        assert_eq!(user(&["/usr/libexec/qemu-binfmt/i386-binfmt-P", "prog", "name"]), Some("i386"));
    }

    #[test]
    fn the_first_argument_decides_otherwise() {
        for name in ["isamorph", "other", ""] {
            assert_eq!(user(&[name, "i386", "prog"]), Some("i386"));
            assert_eq!(call(&[name, "i386", "prog"]).arguments, ["prog"]);
            assert_eq!(user(&[name, "./i386", "prog"]), None);
            assert_eq!(user(&[name, "prog", "i386"]), None);
            assert_eq!(call(&[name, "demo", "--rounds", "3"]).arguments, ["--rounds", "3"]);
            assert_eq!(call(&[name, "help"]).role, Role::Help);
        }
        assert_eq!(call(&["isamorph", "i386"]).name, "isamorph-i386");
        assert_eq!(call(&[]).name, "isamorph");
    }

    #[test]
    fn what_is_missing_is_known() {
        let missing = ARCHITECTURES.iter().filter(|a| !a.is_supported());
        let missing = missing.flat_map(|a| [Some(a.name), a.debian]).flatten();
        for name in missing.chain(["system-arm", "system-aarch64", "img", "io", "nbd"]) {
            for line in [vec!["isamorph", name], vec![&format!("isamorph-{name}")], vec![&format!("qemu-{name}")]] {
                assert!(matches!(call(&line).role, Role::Unsupported(_)), "{line:?}");
            }
        }
    }

    #[test]
    fn machines_have_names() {
        for architecture in ["i386", "x86_64"] {
            let system = || Role::System { architecture, kvm: false };
            for line in [vec![format!("qemu-system-{architecture}")], vec![format!("isamorph-system-{architecture}")]] {
                let called = Call::new(line.iter().map(OsString::from));
                assert_eq!((called.role, called.name), (system(), line[0].clone()));
            }
            let called = call(&["isamorph", &format!("system-{architecture}"), "-S"]);
            assert_eq!((called.role, called.name), (system(), format!("isamorph-system-{architecture}")));
            assert_eq!(called.arguments, ["-S"]);
        }
        assert_eq!(call(&["/usr/bin/kvm", "-S"]).role, Role::System { architecture: "x86_64", kvm: true });
    }

    #[test]
    fn every_architecture_that_runs_has_a_name() {
        for abi in isamorph_linux_user::arch::ALL {
            let found = ARCHITECTURES.iter().find(|a| a.name == abi.name()).expect("a name");
            assert_eq!(found.elf.0, abi.elf_machine());
            for name in [Some(found.name), found.debian].into_iter().flatten() {
                assert_eq!(user(&[&format!("qemu-{name}-static"), "prog"]), Some(found.name));
                assert_eq!(user(&["isamorph", name, "prog"]), Some(found.name));
            }
        }
    }
}
