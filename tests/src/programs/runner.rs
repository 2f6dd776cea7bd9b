//! Runs commands natively and emulated, and compares what they did.

use super::{Case, Group, PECULIAR, inputs};
use crate::arch::{Arch, repository};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The name of the reference that is not native.
const QEMU: &str = "qemu";

/// Seconds after which a command is killed.
const TIMEOUT: &str = "90";

/// Enters the sysroot `$1` with the host's processes, devices and `/tmp`, and runs a command in the folder `$2` of it.
/// The mounts are the shell's own: it has a mount namespace to itself.
const ENTER: &str = r#"mount --rbind /proc "$1/proc" && mount --rbind /dev "$1/dev" && mount --bind /tmp "$1/tmp" &&
    root=$1 && folder=$2 && shift 2 && exec /usr/sbin/chroot "$root" /usr/bin/env -C "$folder" "$@""#;

/// How a command is run.
#[derive(Clone, Debug)]
pub enum Runner {
    /// By the host's processor, in the sysroot.
    Native,
    /// By an emulator: its program and options. `{sysroot}` stands for the sysroot.
    Emulator(Vec<String>),
}

/// What a command's output is compared with.
#[derive(Clone, Debug)]
struct Reference {
    name: &'static str,
    sysroot: PathBuf,
    runner: Runner,
}

/// What to run, and where.
#[derive(Clone, Debug)]
pub struct Setup {
    arch: &'static Arch,
    sysroot: PathBuf,
    runner: Runner,
    /// All of them, QEMU last.
    references: Vec<Reference>,
    /// Leaves out what is too much for an interpreter.
    pub is_slow: bool,
    /// How many commands run at the same time.
    pub jobs: usize,
}

impl Setup {
    /// Runs programs of an architecture in a Debian system.
    pub fn new(arch: &'static Arch, sysroot: PathBuf, runner: Runner) -> Self {
        let native = |name: &&'static str| {
            let own = *name == arch.debian;
            let sysroot = if own { sysroot.clone() } else { repository().join("sysroot").join(name) };
            Reference { name, sysroot, runner: Runner::Native }
        };
        let mut references: Vec<Reference> = arch.references.iter().map(native).collect();
        if let Some(qemu) = arch.qemu().filter(|_| !arch.is_native()) {
            let words = [&*qemu.to_string_lossy(), "-L", "{sysroot}"].map(str::to_owned);
            references.push(Reference {
                name: "qemu",
                sysroot: sysroot.clone(),
                runner: Runner::Emulator(words.into()),
            });
        }
        Setup { arch, sysroot, runner, references, is_slow: false, jobs: 1 }
    }

    /// Why commands cannot be run here, if so.
    pub fn obstacle(&self) -> Option<String> {
        let probe = Case::new("probe", "true", &[]);
        let native = self.references.iter().filter(|r| matches!(r.runner, Runner::Native));
        let missing = |name: &str, sysroot: &Path| {
            let text = format!("no sysroot in {}; `cargo xtask sysroot {name}` makes it", sysroot.display());
            (!sysroot.join(".complete").exists()).then_some(text)
        };
        if let Some(missing) = missing(self.arch.debian, &self.sysroot) {
            return Some(missing);
        }
        for Reference { name, sysroot, runner } in native {
            if let Some(missing) = missing(name, sysroot) {
                return Some(missing);
            }
            match run(sysroot, runner, &probe) {
                Ok(run) if run.status.success() => {}
                Ok(run) => return Some(format!("{name} programs do not run here: {}", run.stderr.trim())),
                Err(error) => return Some(format!("cannot run commands: {error}")),
            }
        }
        None
    }

    /// What a command is compared with.
    fn references(&self, group: &Group, case: &Case) -> impl Iterator<Item = &Reference> {
        let asks_qemu = !self.arch.is_native() && PECULIAR.contains(&&*format!("{}/{}", group.name, case.name));
        self.references.iter().filter(move |r| asks_qemu == (r.name == QEMU))
    }

    /// Why a command is left out, if it is.
    fn left_out(&self, group: &Group, case: &Case) -> Option<&'static str> {
        if self.is_slow && case.is_heavy {
            return Some("too slow");
        }
        self.references(group, case).next().is_none().then_some("QEMU is not installed")
    }

    /// Runs a command, then what it is compared with, up to the first that does the same.
    fn compare(&self, group: &Group, case: &Case) -> Outcome {
        let other = run(&self.sysroot, &self.runner, case);
        let mut outcome = Outcome { group: group.name, case: *case, references: Vec::new(), other };
        for reference in self.references(group, case) {
            outcome.references.push((reference.name, run(&reference.sysroot, &reference.runner, case)));
            if outcome.is_same() {
                break;
            }
        }
        outcome
    }
}

fn command(sysroot: &Path, runner: &Runner, case: &Case, folder: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", TIMEOUT]).env_clear().envs(environment(folder));
    match runner {
        Runner::Native => {
            // Root is not needed where the kernel lets users make namespaces.
            command.args(["unshare", "--mount"]).args((!is_root()).then_some("--map-root-user"));
            command.args(["sh", "-c", ENTER, "sh"]).arg(sysroot).arg(folder);
            command.arg(format!("/usr/bin/{}", case.program));
        }
        Runner::Emulator(words) => {
            let text = sysroot.to_string_lossy();
            command.args(words.iter().map(|word| word.replace("{sysroot}", &text)));
            command.arg(sysroot.join("usr/bin").join(case.program)).current_dir(folder);
        }
    }
    command.args(case.args).args(case.script);
    command
}

fn run(sysroot: &Path, runner: &Runner, case: &Case) -> io::Result<Run> {
    // All runs of a command use the same folder, one after the other.
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("isamorph-programs/{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let base = Path::new("/tmp").join(name);
    let folder = base.join("folder");
    inputs::write(&folder)?;
    std::fs::write(base.join("in"), case.stdin)?;
    let mut command = command(sysroot, runner, case, &folder);
    command.stdin(File::open(base.join("in"))?);
    command.stdout(File::create(base.join("out"))?).stderr(File::create(base.join("err"))?);
    let start = Instant::now();
    let status = command.status()?;
    let time = start.elapsed();
    let stdout = std::fs::read(base.join("out"))?;
    let stderr = String::from_utf8_lossy(&std::fs::read(base.join("err"))?).into_owned();
    std::fs::remove_dir_all(&base)?;
    Ok(Run { stdout, stderr, status, time })
}

/// What every command sees, native or not.
fn environment(folder: &Path) -> [(&'static str, String); 10] {
    [
        ("PATH", "/usr/bin:/bin".into()),
        ("HOME", folder.to_string_lossy().into_owned()),
        ("LC_ALL", "C".into()),
        ("LANG", "C".into()),
        ("TZ", "UTC0".into()),
        ("OPENSSL_CONF", "/dev/null".into()),
        ("PYTHONHOME", "/usr".into()),
        ("PYTHONHASHSEED", "0".into()),
        ("PYTHONDONTWRITEBYTECODE", "1".into()),
        ("PYTHONWARNINGS", "ignore".into()),
    ]
}

fn is_root() -> bool {
    Command::new("id").arg("-u").stdin(Stdio::null()).output().is_ok_and(|output| output.stdout == b"0\n")
}

/// What a command did.
struct Run {
    stdout: Vec<u8>,
    stderr: String,
    status: ExitStatus,
    time: Duration,
}

/// A command's runs.
pub struct Outcome {
    group: &'static str,
    case: Case,
    /// With the names of what it was compared with.
    references: Vec<(&'static str, io::Result<Run>)>,
    other: io::Result<Run>,
}

impl Outcome {
    /// Whether it printed the same and ended in the same way as one that it was compared with.
    pub fn is_same(&self) -> bool {
        self.same_as().is_some()
    }

    /// The name of that one.
    fn same_as(&self) -> Option<&'static str> {
        let other = self.other.as_ref().ok()?;
        let is_same = |run: &Run| run.stdout == other.stdout && run.status == other.status;
        self.references.iter().find(|(_, run)| run.as_ref().is_ok_and(is_same)).map(|(name, _)| *name)
    }

    /// What the native run printed, and how it ended.
    pub fn native_output(&self) -> String {
        let name = format!("== {}/{}", self.group, self.case.name);
        match self.references.first() {
            Some((_, Ok(run))) => {
                let stdout = String::from_utf8_lossy(&run.stdout);
                format!("{name}: {}\n{stdout}{}", describe(run.status), run.stderr)
            }
            Some((_, Err(error))) => format!("{name}: cannot run: {error}\n"),
            None => format!("{name}: nothing to compare with\n"),
        }
    }

    /// How the runs differ.
    fn difference(&self) -> String {
        let mut text = String::new();
        let other = match &self.other {
            Ok(other) => other,
            Err(error) => return format!("    cannot run: {error}\n"),
        };
        for (name, run) in &self.references {
            match run {
                Ok(run) => text += &difference(name, run, other),
                Err(error) => text += &format!("    {name}: cannot run: {error}\n"),
            }
        }
        for line in other.stderr.lines().take(8) {
            let _ = writeln!(text, "    stderr: {line}");
        }
        text
    }
}

fn difference(name: &str, expected: &Run, found: &Run) -> String {
    let mut text = String::new();
    if expected.status != found.status {
        let _ = writeln!(text, "    {name}: {}, here: {}", describe(expected.status), describe(found.status));
    }
    if expected.stdout != found.stdout {
        let (line, expected, found) = first_difference(&expected.stdout, &found.stdout);
        let _ = writeln!(text, "    line {line}\n      {:<8}{expected}\n      here:   {found}", format!("{name}:"));
    }
    text
}

fn describe(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("signal {signal}"),
        None => format!("exit status {}", status.code().unwrap_or_default()),
    }
}

/// The first line that differs: its number and both versions, shortened.
fn first_difference(native: &[u8], other: &[u8]) -> (usize, String, String) {
    let show = |line: Option<&[u8]>| match line {
        Some(line) => String::from_utf8_lossy(line).chars().take(160).collect::<String>().escape_debug().to_string(),
        None => "(end of output)".to_owned(),
    };
    let (mut native, mut other) = (native.split(|b| *b == b'\n'), other.split(|b| *b == b'\n'));
    for number in 1.. {
        let (expected, found) = (native.next(), other.next());
        if expected != found || expected.is_none() {
            return (number, show(expected), show(found));
        }
    }
    (0, String::new(), String::new())
}

/// Runs the commands of the groups whose `group/name` contains the filter.
pub fn run_cases(setup: &Setup, groups: &[Group], filter: &str) -> Vec<Outcome> {
    let is_wanted = |group: &Group, case: &Case| {
        let name = format!("{}/{}", group.name, case.name);
        let left_out = setup.left_out(group, case).filter(|_| name.contains(filter));
        if let Some(reason) = left_out {
            println!("skipped: {name}: {reason}");
        }
        name.contains(filter) && left_out.is_none()
    };
    let all = groups.iter().flat_map(|group| group.cases.iter().map(move |case| (group, case)));
    let wanted: Vec<(&Group, &Case)> = all.filter(|(group, case)| is_wanted(group, case)).collect();
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    let work = || {
        while let Some((group, case)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            let outcome = setup.compare(group, case);
            outcomes.lock().expect("no thread panics").push(outcome);
        }
    };
    std::thread::scope(|scope| (0..setup.jobs.max(1)).for_each(|_| drop(scope.spawn(work))));
    outcomes.into_inner().expect("no thread panics")
}

/// A table of the outcomes, the differences, and the count.
pub fn report(outcomes: &[Outcome]) -> String {
    let mut text = format!("{:<32} {:>10} {:>10}  result\n", "command", "native ms", "here ms");
    let milliseconds = |run: &io::Result<Run>| run.as_ref().map_or(0.0, |run| run.time.as_secs_f64() * 1e3);
    let mut rows: Vec<&Outcome> = outcomes.iter().collect();
    rows.sort_by_key(|outcome| (outcome.group, outcome.case.name));
    for outcome in &rows {
        let name = format!("{}/{}", outcome.group, outcome.case.name);
        let result = match outcome.same_as() {
            Some(name) if outcome.references.len() > 1 => format!("same as {name}"),
            Some(_) => "same".to_owned(),
            None => "DIFFERENT".to_owned(),
        };
        let native = outcome.references.first().map_or(0.0, |(_, run)| milliseconds(run));
        let other = milliseconds(&outcome.other);
        let _ = writeln!(text, "{name:<32} {native:>10.1} {other:>10.1}  {result}");
        if !outcome.is_same() {
            text += &outcome.difference();
        }
    }
    let same = rows.iter().filter(|outcome| outcome.is_same()).count();
    let _ = writeln!(text, "{same} of {} commands do the same as natively", rows.len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(native: (&str, i32), other: (&str, i32)) -> Outcome {
        let run = |(stdout, status): (&str, i32)| {
            Ok(Run {
                stdout: stdout.into(),
                stderr: "complaint".into(),
                status: ExitStatus::from_raw(status),
                time: Duration::ZERO,
            })
        };
        let references = vec![("native", run(native))];
        Outcome { group: "g", case: Case::new("c", "p", &[]), references, other: run(other) }
    }

    #[test]
    fn one_of_several_is_enough() {
        let mut both = outcome(("a\n", 0), ("b\n", 0));
        assert!(!both.is_same());
        both.references.extend(outcome(("b\n", 0), ("", 0)).references.pop().map(|(_, run)| ("qemu", run)));
        assert!(report(&[both]).contains("same as qemu\n"));
    }

    #[test]
    fn same_output_and_status_are_the_same() {
        let outcomes = [outcome(("a\n", 256), ("a\n", 256))];
        assert!(outcomes[0].is_same());
        assert!(report(&outcomes).ends_with("1 of 1 commands do the same as natively\n"));
    }

    #[test]
    fn different_output_is_shown() {
        let text = report(&[outcome(("a\nb\n", 0), ("a\nc\n", 0))]);
        assert!(text.contains("line 2\n      native: b\n      here:   c\n    stderr: complaint\n"), "{text}");
        assert!(text.ends_with("0 of 1 commands do the same as natively\n"));
    }

    #[test]
    fn missing_output_is_shown() {
        assert_eq!(first_difference(b"a\n", b"a"), (2, String::new(), "(end of output)".to_owned()));
    }

    #[test]
    fn different_endings_are_shown() {
        let text = report(&[outcome(("", 3 << 8), ("", 11))]);
        assert!(text.contains("native: exit status 3, here: signal 11"), "{text}");
    }
}
