//! Running and timing.

#![allow(unsafe_code)] // `wait4` and `kill`: the standard library does not tell a child's processor time

use super::{Benchmark, Contender, Folders};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// What a contender needed for a benchmark.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Seconds of processor time, the median over all repetitions.
    pub seconds: f64,
    /// Whether output and exit status were those of the native run.
    pub is_right: bool,
}

/// A benchmark with the samples of all contenders, in their order.
#[derive(Clone, Debug)]
pub struct Row {
    /// The benchmark's name.
    pub name: String,
    /// The benchmark's class.
    pub class: char,
    /// One for each contender.
    pub samples: Vec<Sample>,
}

/// Measures a benchmark.
pub fn measure(
    folders: &Folders,
    benchmark: &Benchmark,
    contenders: &[Contender],
    repetitions: usize,
    timeout: Duration,
) -> io::Result<Row> {
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); contenders.len()];
    for _ in 0..repetitions {
        for (contender, runs) in contenders.iter().zip(&mut runs) {
            // What fails once is not tried again.
            if runs.last().is_none_or(|run| run.status == 0) {
                runs.push(run_repeatedly(folders, benchmark, contender, timeout)?);
            }
        }
    }
    let samples = runs
        .iter()
        .enumerate()
        .map(|(index, runs_of_one)| Sample {
            seconds: median(runs_of_one.iter().map(|run| run.seconds).collect()),
            is_right: is_right(contenders, &runs, index),
        })
        .collect();
    Ok(Row { name: benchmark.name.clone(), class: benchmark.class, samples })
}

/// Whether a contender always did what the native run did. Where that is one of another architecture, it may also be
/// what another emulator of the same one did.
fn is_right(contenders: &[Contender], runs: &[Vec<Run>], index: usize) -> bool {
    let is_judge = |other: usize| other == 0 || (other != index && contenders[0].arch != contenders[index].arch);
    let results = (0..runs.len()).filter(|other| is_judge(*other)).filter_map(|other| runs[other].first());
    let mut results = results.map(Run::result);
    results.any(|result| runs[index].iter().all(|run| run.result() == result))
}

#[derive(Clone, Copy)]
struct Run {
    seconds: f64,
    status: i32,
    output: u64,
}

impl Run {
    fn result(&self) -> (i32, u64) {
        (self.status, self.output)
    }
}

fn run_repeatedly(
    folders: &Folders,
    benchmark: &Benchmark,
    contender: &Contender,
    timeout: Duration,
) -> io::Result<Run> {
    let mut total = Run { seconds: 0.0, status: 0, output: 0 };
    for _ in 0..benchmark.repeat {
        let run = run_once(folders, benchmark, contender, timeout)?;
        total.seconds += run.seconds / f64::from(benchmark.repeat);
        total.status = if total.status == 0 { run.status } else { total.status };
        total.output = total.output.rotate_left(1) ^ run.output;
    }
    Ok(total)
}

fn run_once(folders: &Folders, benchmark: &Benchmark, contender: &Contender, timeout: Duration) -> io::Result<Run> {
    let folder = folders.built.join(format!("run-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let output = folders.built.join(format!("output-{}", std::process::id()));
    let stdin: PathBuf = benchmark.stdin.clone().unwrap_or_else(|| "/dev/null".into());
    let child = contender
        .command(folders, benchmark)
        .current_dir(&folder)
        .stdin(File::open(stdin)?)
        .stdout(File::create(&output)?)
        .stderr(Stdio::null())
        .spawn()?;
    let (status, user, system) = wait(child, timeout)?;
    let seconds = if benchmark.counts_system_time() { user + system } else { user };
    let hash = hash_file(&output)?;
    std::fs::remove_file(&output)?;
    std::fs::remove_dir_all(&folder)?;
    Ok(Run { seconds, status, output: hash })
}

/// Waits for a process; its wait status, user and system seconds. A process that takes too long is killed.
fn wait(child: Child, timeout: Duration) -> io::Result<(i32, f64, f64)> {
    let pid = child.id() as libc::pid_t;
    let (finished, is_finished) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if is_finished.recv_timeout(timeout) == Err(mpsc::RecvTimeoutError::Timeout) {
            // SAFETY: takes two integers. The process has not been waited for, so the number is still its own.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    });
    let mut status = 0;
    // SAFETY: all-zero bytes are a valid `rusage`.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live variables of the right types.
    let waited = unsafe { libc::wait4(pid, &mut status, 0, &mut usage) };
    let error = io::Error::last_os_error();
    drop(finished);
    let _ = watchdog.join();
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    if waited == pid { Ok((status, seconds(usage.ru_utime), seconds(usage.ru_stime))) } else { Err(error) }
}

fn hash_file(path: &std::path::Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut hasher = DefaultHasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0_u64;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            length.hash(&mut hasher);
            return Ok(hasher.finish());
        }
        length += read as u64;
        hasher.write(&buffer[..read]);
    }
}

/// The middle one; the mean of both middle ones of an even number.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn processor_time_is_measured() {
        let work = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done; exit 3";
        let child = Command::new("sh").args(["-c", work]).spawn().expect("there is a shell");
        let (status, user, _) = wait(child, Duration::from_secs(60)).expect("it ends");
        assert_eq!(libc::WEXITSTATUS(status), 3);
        assert!(user > 0.01, "{user}");
    }

    #[test]
    fn hanging_processes_are_killed() {
        let child = Command::new("sleep").arg("100").spawn().expect("there is a `sleep`");
        let (status, ..) = wait(child, Duration::from_millis(50)).expect("it ends");
        assert_eq!(libc::WTERMSIG(status), libc::SIGKILL);
    }
}
