//! Runs commands natively and emulated, and compares what they did.

use super::{Case, Group, inputs};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

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

/// What to run, and where.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The Debian system with the programs.
    pub sysroot: PathBuf,
    /// What is compared with native runs.
    pub runner: Runner,
    /// Leaves out what is too much for an interpreter.
    pub is_slow: bool,
    /// How many commands run at the same time.
    pub jobs: usize,
}

impl Setup {
    /// The sysroot that `scripts/sysroot.sh` makes.
    pub fn default_sysroot() -> PathBuf {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        manifest.parent().unwrap_or(manifest).join("sysroot/i386")
    }

    /// Why commands cannot be run here, if so.
    pub fn obstacle(&self) -> Option<String> {
        if !self.sysroot.join(".complete").exists() {
            return Some(format!("no sysroot in {}; `cargo xtask sysroot` makes it", self.sysroot.display()));
        }
        let probe = Case::new("probe", "true", &[]);
        match self.run(&Runner::Native, &probe) {
            Ok(run) if run.status.success() => None,
            Ok(run) => Some(format!("i386 programs do not run natively here: {}", run.stderr.trim())),
            Err(error) => Some(format!("cannot run commands: {error}")),
        }
    }

    fn command(&self, runner: &Runner, case: &Case, folder: &Path) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-s", "KILL", TIMEOUT]).env_clear().envs(environment(folder));
        match runner {
            Runner::Native => {
                // Root is not needed where the kernel lets users make namespaces.
                command.args(["unshare", "--mount"]).args((!is_root()).then_some("--map-root-user"));
                command.args(["sh", "-c", ENTER, "sh"]).arg(&self.sysroot).arg(folder);
                command.arg(format!("/usr/bin/{}", case.program));
            }
            Runner::Emulator(words) => {
                let sysroot = self.sysroot.to_string_lossy();
                command.args(words.iter().map(|word| word.replace("{sysroot}", &sysroot)));
                command.arg(self.sysroot.join("usr/bin").join(case.program)).current_dir(folder);
            }
        }
        command.args(case.args).args(case.script);
        command
    }

    fn run(&self, runner: &Runner, case: &Case) -> io::Result<Run> {
        // Both runs of a command use the same folder, one after the other.
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("isamorph-programs/{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let base = Path::new("/tmp").join(name);
        let folder = base.join("folder");
        inputs::write(&folder)?;
        std::fs::write(base.join("in"), case.stdin)?;
        let mut command = self.command(runner, case, &folder);
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

/// A command's two runs.
pub struct Outcome {
    group: &'static str,
    case: Case,
    native: io::Result<Run>,
    other: io::Result<Run>,
}

impl Outcome {
    /// Whether both runs printed the same and ended in the same way.
    pub fn is_same(&self) -> bool {
        match (&self.native, &self.other) {
            (Ok(native), Ok(other)) => native.stdout == other.stdout && native.status == other.status,
            _ => false,
        }
    }

    /// What the native run printed, and how it ended.
    pub fn native_output(&self) -> String {
        let name = format!("== {}/{}", self.group, self.case.name);
        match &self.native {
            Ok(run) => {
                let stdout = String::from_utf8_lossy(&run.stdout);
                format!("{name}: {}\n{stdout}{}", describe(run.status), run.stderr)
            }
            Err(error) => format!("{name}: cannot run: {error}\n"),
        }
    }

    /// How the runs differ.
    fn difference(&self) -> String {
        let (native, other) = match (&self.native, &self.other) {
            (Ok(native), Ok(other)) => (native, other),
            (Err(error), _) | (_, Err(error)) => return format!("    cannot run: {error}\n"),
        };
        let mut text = String::new();
        if native.status != other.status {
            let _ = writeln!(text, "    native: {}, here: {}", describe(native.status), describe(other.status));
        }
        if native.stdout != other.stdout {
            let (line, expected, found) = first_difference(&native.stdout, &other.stdout);
            let _ = writeln!(text, "    line {line}\n      native: {expected}\n      here:   {found}");
        }
        for line in other.stderr.lines().take(8) {
            let _ = writeln!(text, "    stderr: {line}");
        }
        text
    }
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
        format!("{}/{}", group.name, case.name).contains(filter) && !(setup.is_slow && case.is_heavy)
    };
    let all = groups.iter().flat_map(|group| group.cases.iter().map(move |case| (group, case)));
    let wanted: Vec<(&Group, &Case)> = all.filter(|(group, case)| is_wanted(group, case)).collect();
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    let work = || {
        while let Some((group, case)) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
            let native = setup.run(&Runner::Native, case);
            let other = setup.run(&setup.runner, case);
            let outcome = Outcome { group: group.name, case: **case, native, other };
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
        let result = if outcome.is_same() { "same" } else { "DIFFERENT" };
        let (native, other) = (milliseconds(&outcome.native), milliseconds(&outcome.other));
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
        Outcome { group: "g", case: Case::new("c", "p", &[]), native: run(native), other: run(other) }
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
