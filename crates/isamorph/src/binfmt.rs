//! `isamorph binfmt`: has the kernel run foreign programs through this binary.
//!
//! The interface is the kernel's Documentation/admin-guide/binfmt-misc.rst. The flags of a rule:
//! `P` keeps the program's own `argv[0]`, `O` passes the program as an open file, `C` gives it its own credentials (so
//! that `sudo` works), and `F` opens the interpreter when the rule is made, so that the rule also works in other root
//! file systems and containers. `F` wants a binary that needs no other file: a static one.

use crate::end::End;
use crate::names::{ARCHITECTURES, Architecture};
use object::elf::{FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the kernel has its rules.
const RULES: &str = "/proc/sys/fs/binfmt_misc";
/// Where rules lie that are made again at each start of the system (`binfmt.d(5)`).
const PERSISTENT: &str = "/etc/binfmt.d";

const USAGE: &str = "\
usage: isamorph binfmt install [--path FILE] [--persistent] [ARCHITECTURE...]
       isamorph binfmt status
       isamorph binfmt remove [--persistent] [ARCHITECTURE...]
Has the kernel run foreign programs through this binary, from anywhere. Without architectures: all that the host does
not run by itself. --path names another binary, --persistent also makes (or removes) a file in /etc/binfmt.d.
";

/// The options of a command.
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    path: Option<PathBuf>,
    persistent: bool,
    architectures: Vec<&'static Architecture>,
}

/// Does what the arguments say; gives the text to print.
///
/// # Errors
/// The arguments are wrong, or the kernel refuses.
pub fn run(arguments: Vec<OsString>) -> Result<String, End> {
    let mut words = arguments.iter().map(|a| a.to_string_lossy().into_owned());
    let verb = words.next().unwrap_or_default();
    let request = parse(words)?;
    match verb.as_str() {
        "install" => install(&request),
        "remove" => remove(&request),
        "status" => Ok(status(Path::new(RULES))),
        _ => Err(End::Text(USAGE.to_owned())),
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Request, End> {
    let mut request = Request::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--path" => {
                let path = words.next().ok_or_else(|| End::failed("binfmt: --path wants a file"))?;
                request.path = Some(path.into());
            }
            "--persistent" => request.persistent = true,
            name => {
                let found = ARCHITECTURES.iter().find(|a| a.name == name || a.debian == Some(name));
                let found = found.filter(|a| a.is_supported());
                request.architectures.push(found.ok_or_else(|| {
                    End::failed(format!("binfmt: there is no architecture or option '{name}'\n{USAGE}"))
                })?);
            }
        }
    }
    if request.architectures.is_empty() {
        request.architectures = ARCHITECTURES.iter().filter(|a| a.is_supported() && !is_native(a)).collect();
    }
    // armhf and armel are one rule.
    request.architectures.dedup_by_key(|a| a.name);
    Ok(request)
}

/// Whether the host's kernel runs such programs.
fn is_native(architecture: &Architecture) -> bool {
    architecture.name == std::env::consts::ARCH || std::env::consts::ARCH == "x86_64" && architecture.name == "i386"
}

fn rule_name(architecture: &Architecture) -> String {
    format!("isamorph-{}", architecture.name)
}

/// The line that makes a rule: files whose first twenty bytes are the header of a program, static or not, of that
/// architecture, little-endian, whatever the operating system's ABI byte says.
fn rule(architecture: &Architecture, binary: &Path, is_static: bool) -> String {
    let (machine, class) = architecture.elf;
    let mut magic = *b"\x7fELF\0\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\0\0";
    magic[4] = class;
    magic[18..].copy_from_slice(&machine.to_le_bytes());
    let mut mask = [0xff; 20];
    // The ABI byte and its version; ET_EXEC is 2, ET_DYN is 3.
    (mask[7], mask[8], mask[16]) = (0, 0, 0xfe);
    let flags = if is_static { "POCF" } else { "POC" };
    let text = |bytes: &[u8]| bytes.iter().fold(String::new(), |text, byte| text + &format!("\\x{byte:02x}"));
    format!(":{}:M::{}:{}:{}:{flags}", rule_name(architecture), text(&magic), text(&mask), binary.display())
}

/// Whether a program needs no other file to run.
fn is_static(binary: &Path) -> io::Result<bool> {
    let bytes = fs::read(binary)?;
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidData);
    let header = FileHeader64::<object::Endianness>::parse(&*bytes).map_err(invalid)?;
    let endian = header.endian().map_err(invalid)?;
    let segments = header.program_headers(endian, &*bytes).map_err(invalid)?;
    Ok(segments.iter().all(|segment| segment.p_type(endian) != PT_INTERP))
}

fn failure(what: &str, error: &io::Error) -> End {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => " (rules are root's)",
        io::ErrorKind::NotFound => " (is binfmt_misc mounted? mount -t binfmt_misc none /proc/sys/fs/binfmt_misc)",
        _ => "",
    };
    End::failed(format!("binfmt: {what}: {error}{hint}"))
}

fn install(request: &Request) -> Result<String, End> {
    let own = || std::env::current_exe().and_then(fs::canonicalize);
    let binary = request.path.clone().map_or_else(own, fs::canonicalize);
    let binary = binary.map_err(|e| failure("the binary", &e))?;
    let is_static = is_static(&binary).map_err(|e| failure(&binary.display().to_string(), &e))?;
    let mut text = String::new();
    if !is_static {
        text.push_str("The binary is not static: the rules do not reach into other root file systems (no flag F).\n");
    }
    for architecture in &request.architectures {
        let (name, line) = (rule_name(architecture), rule(architecture, &binary, is_static));
        let at = Path::new(RULES).join(&name);
        if at.exists() {
            fs::write(&at, "-1").map_err(|e| failure(&name, &e))?;
        }
        fs::write(Path::new(RULES).join("register"), &line).map_err(|e| failure(&name, &e))?;
        let _ = writeln!(text, "{name}: installed");
        if request.persistent {
            let file = Path::new(PERSISTENT).join(format!("{name}.conf"));
            fs::create_dir_all(PERSISTENT).map_err(|e| failure(PERSISTENT, &e))?;
            fs::write(&file, line + "\n").map_err(|e| failure(&file.display().to_string(), &e))?;
            let _ = writeln!(text, "{}: written", file.display());
        }
    }
    Ok(text)
}

fn remove(request: &Request) -> Result<String, End> {
    let mut text = String::new();
    for architecture in &request.architectures {
        let name = rule_name(architecture);
        let at = Path::new(RULES).join(&name);
        if at.exists() {
            fs::write(&at, "-1").map_err(|e| failure(&name, &e))?;
            let _ = writeln!(text, "{name}: removed");
        } else {
            let _ = writeln!(text, "{name}: not installed");
        }
        let file = Path::new(PERSISTENT).join(format!("{name}.conf"));
        if request.persistent && file.exists() {
            fs::remove_file(&file).map_err(|e| failure(&file.display().to_string(), &e))?;
            let _ = writeln!(text, "{}: removed", file.display());
        }
    }
    Ok(text)
}

/// What the kernel has for each architecture, ours or another's.
fn status(rules: &Path) -> String {
    let mut text = String::new();
    let general = fs::read_to_string(rules.join("status")).unwrap_or_else(|_| "not mounted".to_owned());
    let _ = writeln!(text, "binfmt_misc: {}", general.trim());
    let mut names: Vec<&str> = ARCHITECTURES.iter().filter(|a| a.is_supported()).map(|a| a.name).collect();
    names.dedup();
    for name in names {
        let found = ["isamorph", "qemu"].iter().find_map(|who| {
            let rule = format!("{who}-{name}");
            fs::read_to_string(rules.join(&rule)).ok().map(|state| (rule, state))
        });
        let Some((rule, state)) = found else {
            let _ = writeln!(text, "{name}: no rule");
            continue;
        };
        let field = |key: &str| state.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim();
        let enabled = state.lines().next().unwrap_or_default();
        let _ = writeln!(text, "{name}: {rule} {enabled}, {}, flags {}", field("interpreter"), field("flags:"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_what_the_kernel_takes() {
        let aarch64 = ARCHITECTURES.iter().find(|a| a.name == "aarch64").unwrap();
        let line = rule(aarch64, Path::new("/usr/bin/isamorph"), true);
        let magic = format!(r"\x7f\x45\x4c\x46\x02\x01\x01{}\x02\x00\xb7\x00", r"\x00".repeat(9));
        let ones = r"\xff".repeat(7);
        let mask = format!(r"{ones}\x00\x00{ones}\xfe\xff\xff\xff");
        assert_eq!(line, format!(":isamorph-aarch64:M::{magic}:{mask}:/usr/bin/isamorph:POCF"));
        assert!(rule(aarch64, Path::new("/x"), false).ends_with(":/x:POC"));
        assert!(line.len() < 1920, "the kernel takes no longer ones");
    }

    #[test]
    fn what_the_host_runs_is_left_out_unless_named() {
        let names = |words: &[&str]| -> Vec<_> {
            let request = parse(words.iter().map(|w| (*w).to_owned())).unwrap();
            request.architectures.iter().map(|a| a.name).collect()
        };
        assert_eq!(names(&[]), ["arm", "aarch64"]);
        assert_eq!(names(&["--persistent", "i386", "arm64"]), ["i386", "aarch64"]);
        assert!(parse(["z80".to_owned()].into_iter()).is_err());
        assert!(parse(["--path".to_owned()].into_iter()).is_err());
    }

    #[test]
    fn status_reads_the_rules() {
        let dir = std::env::temp_dir().join(format!("isamorph-binfmt-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("status"), "enabled\n").unwrap();
        let state = "enabled\ninterpreter /usr/bin/qemu-aarch64\nflags: OCF\noffset 0\n";
        fs::write(dir.join("qemu-aarch64"), state).unwrap();
        let text = status(&dir);
        fs::remove_dir_all(&dir).unwrap();
        assert!(text.contains("binfmt_misc: enabled\n"), "{text}");
        assert!(text.contains("aarch64: qemu-aarch64 enabled, /usr/bin/qemu-aarch64, flags OCF\n"), "{text}");
        assert!(text.contains("arm: no rule\n"), "{text}");
    }
}
