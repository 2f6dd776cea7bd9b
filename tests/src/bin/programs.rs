//! Runs the list of Debian programs with any emulator and prints where it differs from native runs.

use clap::Parser;
use isamorph_tests::arch::{self, Arch};
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
    /// The architecture: i386, amd64, arm64 or armhf
    #[arg(long, default_value = "i386", value_parser = Arch::find)]
    arch: &'static Arch,
    /// The folder with the Debian programs; by default the architecture's in the repository
    #[arg(long)]
    sysroot: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runner = match options.emu.as_str() {
        "native" => Runner::Native,
        command => Runner::Emulator(absolute(command)),
    };
    let sysroot = options.sysroot.unwrap_or_else(|| options.arch.sysroot());
    let mut setup = Setup::new(options.arch, sysroot, runner);
    (setup.is_slow, setup.jobs) = (options.slow, options.jobs);
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
    if let Some(found) = arch::installed(program) {
        *program = found.to_string_lossy().into_owned();
    }
    words
}
