//! Execution benchmarks: the same work natively, under Isamorph and under another emulator. For an architecture whose
//! programs the host does not run, native runs are those of the same program built for the nearest that it runs.
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

use crate::arch::{self, Arch};
use std::io;
use std::path::PathBuf;

/// The architecture whose programs the host runs for comparison: the same, or the nearest.
fn native_arch(arch: &'static Arch) -> &'static Arch {
    arch::ARCHITECTURES.iter().find(|a| arch.references.first() == Some(&a.debian)).unwrap_or(arch)
}

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
    /// A static executable, by the kernel's name.
    Kernel(String),
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
    /// Built kernels and input files.
    pub built: PathBuf,
}

impl Default for Folders {
    fn default() -> Self {
        let repository = arch::repository();
        Self { built: repository.join("target/bench-kernels"), repository }
    }
}

impl Folders {
    /// A built kernel.
    fn kernel(&self, arch: &Arch, name: &str) -> PathBuf {
        self.built.join(arch.debian).join(name)
    }
}

/// Builds what is needed and lists the benchmarks of an architecture whose class or name is in `only` (all if it is
/// empty). `scale` is the amount of work in percent; at 100 most run for about a second natively.
pub fn benchmarks(folders: &Folders, arch: &'static Arch, only: &[String], scale: u32) -> io::Result<Vec<Benchmark>> {
    let mut selected: Vec<Benchmark> = kernels::list(arch, scale).into_iter().filter(|b| b.is_selected(only)).collect();
    let native = native_arch(arch);
    let guest = (!arch.is_native()).then_some(arch);
    for arch in [native].into_iter().chain(guest) {
        if let Some(missing) = kernels::missing_compiler(arch) {
            eprintln!("exec: {missing} is not installed; kernels are left out");
            selected.clear();
        }
        for benchmark in &selected {
            kernels::build(folders, arch, benchmark)?;
        }
    }
    let missing = [arch, native].into_iter().find(|arch| !arch.sysroot().join(".complete").exists());
    if missing.is_none() {
        let programs = programs::list(folders, scale).into_iter().filter(|b| b.is_selected(only));
        let programs: Vec<Benchmark> = programs.collect();
        if !programs.is_empty() {
            inputs::write(folders, &Contender::native(arch))?;
        }
        selected.extend(programs);
    } else {
        let missing = missing.map(|arch| arch.sysroot().display().to_string()).unwrap_or_default();
        eprintln!("exec: no sysroot in {missing}; programs are left out");
    }
    Ok(selected)
}
