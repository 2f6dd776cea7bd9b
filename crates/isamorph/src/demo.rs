//! `isamorph demo`: what the translator does, shown on a guest program that is built in.
//!
//! Everything is measured from outside, by running this command again with options that anybody can use.

use crate::end::End;
use crate::options::OPTIONS;
use clap::Parser;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The guest program: `demo/demo.c` as `demo/build.sh` makes it.
pub static PROGRAM: &[u8] = include_bytes!("../demo/demo.elf");

/// How many instructions the guest program executes in a round, to within a thousandth: one of its loops takes paths
/// of different lengths. A test counts them.
pub const INSNS_PER_ROUND: u64 = 309_200;

/// Rounds in which executions of regions are counted: enough for the rounds to outweigh the picture.
const COUNTED_ROUNDS: u32 = 2;

/// One round in so many is left to the interpreter, which takes longer.
const INTERPRETER_SHARE: u32 = 100;

/// Times are the best of so many.
const REPETITIONS: u32 = 3;

/// Shows what isamorph does: runs a small i386 program that is built in, and tells what it was translated to, how long
/// that took and how fast it runs.
#[derive(Parser, Debug)]
#[command(name = "isamorph demo")]
struct Arguments {
    /// How many rounds the program does
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Write the program to this file, and do nothing else
    #[arg(long)]
    save: Option<PathBuf>,
}

/// Runs the demonstration.
///
/// # Errors
/// The arguments are wrong, a file cannot be written, or the program does not run as it should.
pub fn run(arguments: Vec<OsString>) -> Result<(), End> {
    let name = OsString::from("isamorph demo");
    let arguments = Arguments::try_parse_from([name].into_iter().chain(arguments)).map_err(|error| {
        let text = error.to_string();
        if error.use_stderr() { End::failed(text.trim_end()) } else { End::Text(text) }
    })?;
    let failed = |error: io::Error| End::failed(format!("isamorph demo: {error}"));
    if let Some(path) = arguments.save {
        return save(&path).map_err(failed);
    }
    let folder = Folder::new().map_err(failed)?;
    let demo = Demo { program: folder.0.join("demo"), log: folder.0.join("log"), rounds: arguments.rounds };
    let text = save(&demo.program).and_then(|()| demo.show(&mut io::stdout().lock()));
    match text {
        // Whoever has seen enough closes the pipe.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(failed(error)),
        _ => Ok(()),
    }
}

fn save(path: &Path) -> io::Result<()> {
    fs::write(path, PROGRAM)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// A temporary folder, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("isamorph-demo-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Demo {
    program: PathBuf,
    log: PathBuf,
    rounds: u32,
}

/// A run with what it printed and how long it took.
struct Run {
    output: Vec<u8>,
    time: Duration,
}

/// The region that is executed most often.
struct Hottest {
    /// Guest address.
    pc: u64,
    /// How often it was executed.
    count: u64,
    /// How often any region was.
    total: u64,
}

/// Runs a command, which has to succeed.
fn timed(command: &mut Command) -> io::Result<Run> {
    let begun = Instant::now();
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output()?;
    let time = begun.elapsed();
    if !status.success() {
        let message = String::from_utf8_lossy(&stderr).into_owned();
        return Err(io::Error::other(format!("the program ended with {status}\n{message}")));
    }
    Ok(Run { output: stdout, time })
}

impl Demo {
    /// This command with options, ready to run the program.
    fn isamorph(&self, options: &[&str], rounds: u32) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("isamorph").args(options).arg("-D").arg(&self.log).arg(&self.program).arg(rounds.to_string());
        for variable in OPTIONS.iter().filter_map(|row| row.variable) {
            command.env_remove(variable);
        }
        command
    }

    fn native(&self, rounds: u32) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(rounds.to_string());
        command
    }

    fn take_log(&self) -> io::Result<String> {
        let text = fs::read(&self.log)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn show(&self, out: &mut dyn Write) -> io::Result<()> {
        let size = PROGRAM.len();
        writeln!(out, "A static i386 program of {size} bytes (crates/isamorph/demo/demo.c), run by isamorph:\n")?;
        let run = timed(&mut self.isamorph(&["-stats"], self.rounds))?;
        out.write_all(&run.output)?;
        writeln!(out, "\nWhat was translated (-stats); the first region also pays for tables of the decoder:\n")?;
        write!(out, "{}", self.take_log()?)?;
        self.show_speed(out, &run.output)?;
        self.show_hottest(out)
    }

    /// Times of whole rounds: start and picture are in a run without rounds, and subtracted.
    fn show_speed(&self, out: &mut dyn Write, expected: &[u8]) -> io::Result<()> {
        let few = (self.rounds / INTERPRETER_SHARE).max(1);
        writeln!(out, "\nHow fast it runs: a round of some {INSNS_PER_ROUND} guest instructions takes\n")?;
        let native = measure(self.rounds, |rounds| self.native(rounds));
        let jit = measure(self.rounds, |rounds| self.isamorph(&["-accel", "jit"], rounds))?;
        let interp = measure(few, |rounds| self.isamorph(&["-accel", "interp"], rounds))?;
        let base = native.as_ref().ok().map(|(time, _)| *time);
        match &native {
            Ok((time, run)) => {
                show_row(out, "this processor, natively", *time, base)?;
                check_same(expected, &run.output)?;
            }
            Err(error) => writeln!(out, "  this processor, natively    not possible on this host: {error}")?,
        }
        show_row(out, "compiled (-accel jit)", jit.0, base)?;
        show_row(out, "interpreted (-accel interp)", interp.0, base)?;
        check_same(expected, &jit.1.output)?;
        check_same(&timed(&mut self.isamorph(&[], few))?.output, &interp.1.output)?;
        writeln!(out, "\nAll of them print the same.")
    }

    fn show_hottest(&self, out: &mut dyn Write) -> io::Result<()> {
        let Hottest { pc, count, total } = self.hottest()?;
        writeln!(
            out,
            "\nThe region that is executed most, {count} of {total} times in {COUNTED_ROUNDS} rounds, on each"
        )?;
        writeln!(out, "level; host code is shown as emitted, before its jumps are linked:\n")?;
        let range = format!("{pc:#x}..{pc:#x}");
        let options = ["-d", "in_asm,op,out_asm", "-dfilter", &range];
        timed(&mut self.isamorph(&options, 1))?;
        write!(out, "{}", self.take_log()?)?;
        writeln!(out, "Try it: isamorph demo --save demo; isamorph {} ./demo", options.join(" "))
    }

    /// Counts executions of regions by the log of them.
    fn hottest(&self) -> io::Result<Hottest> {
        timed(&mut self.isamorph(&["-d", "exec"], COUNTED_ROUNDS))?;
        let mut counts = HashMap::<u64, u64>::new();
        for pc in self.take_log()?.lines().filter_map(traced_pc) {
            *counts.entry(pc).or_default() += 1;
        }
        let total = counts.values().sum();
        let hottest = counts.into_iter().max_by_key(|&(pc, count)| (count, pc));
        let (pc, count) = hottest.ok_or_else(|| io::Error::other("nothing was executed"))?;
        Ok(Hottest { pc, count, total })
    }
}

/// The time of a round, and a run with all of them.
fn measure(rounds: u32, command: impl Fn(u32) -> Command) -> io::Result<(Duration, Run)> {
    let best = |rounds| {
        let mut best = timed(&mut command(rounds))?;
        for _ in 1..REPETITIONS {
            let run = timed(&mut command(rounds))?;
            best.time = best.time.min(run.time);
        }
        io::Result::Ok(best)
    };
    let start = best(0)?;
    let run = best(rounds)?;
    Ok((run.time.saturating_sub(start.time) / rounds, run))
}

fn show_row(out: &mut dyn Write, what: &str, time: Duration, base: Option<Duration>) -> io::Result<()> {
    let seconds = time.as_secs_f64().max(f64::MIN_POSITIVE);
    let millions = INSNS_PER_ROUND as f64 / seconds / 1e6;
    let ratio = base.map_or(String::new(), |base| format!("{:8.2} x", seconds / base.as_secs_f64().max(1e-9)));
    writeln!(out, "  {what:<28}{:10.1} us {millions:8.0} million instructions/s {ratio}", seconds * 1e6)
}

fn check_same(one: &[u8], other: &[u8]) -> io::Result<()> {
    if one == other { Ok(()) } else { Err(io::Error::other("runs of the program print different things")) }
}

/// The guest address in a line of `-d exec`: `Trace 0: HOST [CS_BASE/PC/FLAGS/CFLAGS] SYMBOL`.
fn traced_pc(line: &str) -> Option<u64> {
    let (_, key) = line.strip_prefix("Trace ")?.split_once('[')?;
    u64::from_str_radix(key.split('/').nth(1)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_the_execution_log() {
        let line = "Trace 0: 0x7f4bb0c00517 [00000000/0000000008049000/00000020/00000000] _start";
        assert_eq!(traced_pc(line), Some(0x0804_9000));
        assert_eq!(traced_pc("Trace 0: 0x7f4b"), None);
        assert_eq!(traced_pc("IN: _start"), None);
    }

    #[test]
    fn arguments() {
        let parse = |list: &[&str]| run(list.iter().map(OsString::from).collect());
        assert!(matches!(parse(&["--help"]), Err(End::Text(text)) if text.contains("--rounds")));
        assert!(matches!(parse(&["--rounds", "0"]), Err(End::Failed { status: 1, .. })));
        assert!(matches!(parse(&["more"]), Err(End::Failed { status: 1, .. })));
    }
}
