//! How fast guest code runs, compared with native runs and with another emulator.

use clap::Parser;
use isamorph_benches::arch::Arch;
use isamorph_benches::exec::{self, Folders};
use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

/// Execution benchmarks: kernels and Debian programs, natively and emulated.
#[derive(Parser)]
struct Options {
    /// The architecture: i386, amd64, arm64 or armhf
    #[arg(long, default_value = "i386", value_parser = Arch::find)]
    arch: &'static Arch,
    /// Only these classes (one letter) and names (parts of names), with commas between them
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The amount of work in percent; at 100 most benchmarks run for about a second natively
    #[arg(long, default_value_t = 10)]
    scale: u32,
    /// How often everything is run; the median counts
    #[arg(long, default_value_t = 3)]
    reps: usize,
    /// The emulator with its options; by default Isamorph, built first
    #[arg(long)]
    emu: Option<String>,
    /// Another emulator to compare with, by default QEMU; left out if it is not installed
    #[arg(long)]
    vs: Option<String>,
    /// Seconds after which a run is killed
    #[arg(long, default_value_t = 120)]
    timeout: u64,
    /// Also write the tables to a file
    #[arg(long)]
    markdown: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("exec: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything ran and printed what it should.
fn run(options: &Options) -> io::Result<bool> {
    let folders = Folders::default();
    let emulator = match &options.emu {
        Some(command) => command.clone(),
        None => build_isamorph(&folders)?,
    };
    let other = options.vs.clone().unwrap_or_else(|| format!("qemu-{} -L {{sysroot}}", options.arch.name));
    let contenders = exec::contenders(options.arch, &emulator, &other);
    let timeout = Duration::from_secs(options.timeout);
    let mut rows = Vec::new();
    for benchmark in exec::benchmarks(&folders, options.arch, &options.only, options.scale)? {
        let row = exec::measure(&folders, &benchmark, &contenders, options.reps, timeout)?;
        let samples = contenders.iter().zip(&row.samples);
        let cells = samples.map(|(contender, sample)| {
            format!("  {} {:.4}{}", contender.name, sample.seconds, if sample.is_right { "" } else { " WRONG" })
        });
        eprintln!("{:<14}{}", row.name, cells.collect::<String>());
        rows.push(row);
    }
    let text = exec::report(&rows, &contenders);
    println!("{text}");
    if let Some(path) = &options.markdown {
        std::fs::write(path, &text)?;
    }
    Ok(rows.iter().all(|row| row.samples.iter().all(|sample| sample.is_right)))
}

fn build_isamorph(folders: &Folders) -> io::Result<String> {
    let build = ["build", "--quiet", "--release", "--package", "isamorph"];
    let status = Command::new("cargo").args(build).current_dir(&folders.repository).status()?;
    if !status.success() {
        return Err(io::Error::other("isamorph does not build"));
    }
    let program = folders.repository.join("target/release/isamorph");
    Ok(format!("{} -L {{sysroot}}", program.display()))
}
