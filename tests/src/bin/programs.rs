//! Runs the list of Debian programs with any emulator and prints where it differs from native runs.

use clap::Parser;
use isamorph_tests::programs::{self, GROUPS, Runner, Setup};
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs Debian programs natively and under an emulator, and compares output and exit status.
#[derive(Parser)]
struct Options {
    /// The emulator with its options; `{sysroot}` stands for the sysroot. Native runs are compared if it is `native`
    #[arg(long, default_value = "target/release/isamorph -L {sysroot}")]
    emu: String,
    /// Only commands whose `group/name` contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Leave out what takes an interpreter long
    #[arg(long)]
    slow: bool,
    /// Print what the commands print natively, too
    #[arg(long)]
    show: bool,
    /// Commands to run at the same time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// The folder with the Debian programs
    #[arg(long, default_value_os_t = Setup::default_sysroot())]
    sysroot: PathBuf,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runner = match options.emu.as_str() {
        "native" => Runner::Native,
        command => Runner::Emulator(absolute(command)),
    };
    let setup = Setup { sysroot: options.sysroot, runner, is_slow: options.slow, jobs: options.jobs };
    if let Some(obstacle) = setup.obstacle() {
        eprintln!("programs: {obstacle}");
        return ExitCode::FAILURE;
    }
    let outcomes = programs::run_cases(&setup, GROUPS, &options.only);
    if options.show {
        outcomes.iter().for_each(|outcome| println!("{}", outcome.native_output()));
    }
    print!("{}", programs::report(&outcomes));
    if outcomes.iter().all(programs::Outcome::is_same) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The words of a command, with the full path of its program: commands run in other folders, with another `PATH`.
fn absolute(command: &str) -> Vec<String> {
    let mut words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    let Some(program) = words.first_mut() else { return words };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = match program.contains('/') {
        true => std::path::absolute(&*program).ok(),
        false => std::env::split_paths(&path).map(|folder| folder.join(&*program)).find(|file| file.exists()),
    };
    if let Some(found) = found {
        *program = found.to_string_lossy().into_owned();
    }
    words
}
