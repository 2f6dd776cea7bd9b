//! Execution benchmarks: the same work natively, under Isamorph and under another emulator.
//!
//! Small kernels of our own (`benches/kernels`) cover one kind of code each; Debian programs from the sysroot cover
//! compression, interpreters, cryptography and start-up. The time of a run is the processor time of its process and
//! all children that it waited for. Runs are interleaved, so that noise hits all contenders alike, and the median
//! counts.

mod cold;
mod contender;
mod inputs;
mod kernels;
mod measure;
mod programs;
mod report;

pub use contender::{Contender, contenders};
pub use measure::{Row, Sample, measure};
pub use report::report;

use std::io;
use std::path::{Path, PathBuf};

/// The kinds of benchmarks: letter, description.
pub const CLASSES: &[(char, &str)] = &[
    ('a', "integers, branches"),
    ('b', "calls, returns"),
    ('c', "indirect jumps"),
    ('d', "memory, strings"),
    ('e', "scalar floating point"),
    ('f', "SIMD"),
    ('g', "hashes, 64-bit"),
    ('h', "sorting"),
    ('i', "x87"),
    ('j', "cold code"),
    ('k', "system calls, atomics"),
    ('l', "self-modifying code"),
    ('r', "compression programs"),
    ('p', "interpreter programs"),
    ('o', "cryptography programs"),
    ('s', "start-up of programs"),
];

/// What a benchmark runs.
#[derive(Clone, Debug)]
pub enum Program {
    /// A static executable.
    Kernel(PathBuf),
    /// A program of the sysroot, its name in `/usr/bin`.
    Debian(&'static str),
}

/// A benchmark.
#[derive(Clone, Debug)]
pub struct Benchmark {
    /// Its name; the first letter is its class, but for variants built for the x87.
    pub name: String,
    /// Its letter in [`CLASSES`].
    pub class: char,
    /// What it runs.
    pub program: Program,
    /// The arguments. `{guest}` stands for the words that make the contender run another program.
    pub args: Vec<String>,
    /// What it reads from standard input.
    pub stdin: Option<PathBuf>,
    /// How many times the program is run for one sample.
    pub repeat: u32,
}

impl Benchmark {
    /// Whether time in the kernel is a part of what is measured.
    pub fn counts_system_time(&self) -> bool {
        matches!(self.class, 'k' | 's')
    }

    fn is_selected(&self, only: &[String]) -> bool {
        let class = self.class.to_string();
        only.is_empty() || only.iter().any(|word| *word == class || (word.len() > 1 && self.name.contains(word)))
    }
}

/// Where things are.
#[derive(Clone, Debug)]
pub struct Folders {
    /// The repository.
    pub repository: PathBuf,
    /// The Debian system; programs are left out if it is not there.
    pub sysroot: PathBuf,
    /// Built kernels and input files.
    pub built: PathBuf,
}

impl Default for Folders {
    fn default() -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let repository = manifest.parent().unwrap_or(manifest).to_path_buf();
        Self { sysroot: repository.join("sysroot/i386"), built: repository.join("target/bench-kernels"), repository }
    }
}

/// Builds what is needed and lists the benchmarks whose class or name is in `only` (all if it is empty).
/// `scale` is the amount of work in percent; at 100 most run for about a second natively.
pub fn benchmarks(folders: &Folders, only: &[String], scale: u32) -> io::Result<Vec<Benchmark>> {
    std::fs::create_dir_all(&folders.built)?;
    let mut selected: Vec<Benchmark> =
        kernels::list(folders, scale).into_iter().filter(|b| b.is_selected(only)).collect();
    for benchmark in &selected {
        kernels::build(folders, benchmark)?;
    }
    if folders.sysroot.join(".complete").exists() {
        let programs = programs::list(folders, scale).into_iter().filter(|b| b.is_selected(only));
        let programs: Vec<Benchmark> = programs.collect();
        if !programs.is_empty() {
            inputs::write(folders)?;
        }
        selected.extend(programs);
    } else {
        eprintln!("exec: no sysroot in {}; programs are left out", folders.sysroot.display());
    }
    Ok(selected)
}
