//! How fast guest code is translated.

use clap::Parser;
use isamorph_benches::arch;
use isamorph_benches::translate::{Cost, PHASES, translate};
use isamorph_x86::coverage;
use std::path::PathBuf;
use std::process::ExitCode;

/// Translation benchmark: nanoseconds per guest instruction and phase, the best of some repetitions.
#[derive(Parser)]
struct Options {
    /// i386 ELF files; by default libraries and programs of the sysroot
    files: Vec<PathBuf>,
    /// How often each file is translated
    #[arg(long, default_value_t = 5)]
    reps: usize,
    /// How many of the phases are run
    #[arg(long, default_value_t = PHASES.len())]
    phases: usize,
}

const DEFAULT_FILES: &[&str] = &[
    "usr/bin/busybox",
    "usr/lib/i386-linux-gnu/libc.so.6",
    "usr/lib/i386-linux-gnu/libcrypto.so.3",
    "usr/bin/python3.11",
];

fn main() -> ExitCode {
    let options = Options::parse();
    let files = if options.files.is_empty() {
        let sysroot = arch::repository().join("sysroot/i386");
        DEFAULT_FILES.iter().map(|file| sysroot.join(file)).collect()
    } else {
        options.files
    };
    println!(
        "| file | guest instructions | regions | refused | {} | host bytes per guest byte |",
        PHASES.join(" ns | ") + " ns"
    );
    println!("|---|--:|--:|--:|{}--:|", "--:|".repeat(PHASES.len()));
    for file in files {
        let costs: Result<Vec<Cost>, _> = (0..options.reps.max(1)).map(|_| translate(&file, options.phases)).collect();
        match costs {
            Ok(costs) => print_row(&file.to_string_lossy(), &costs),
            Err(error) => {
                eprintln!("translate: {}: {error}", file.display());
                return ExitCode::FAILURE;
            }
        }
    }
    let unlifted = coverage::unlifted();
    if !unlifted.is_empty() {
        let names: Vec<String> = unlifted.iter().map(|(name, count)| format!("{name} {count}")).collect();
        println!("\nMet but not lifted: {}", names.join(", "));
    }
    ExitCode::SUCCESS
}

fn print_row(file: &str, costs: &[Cost]) {
    let first = &costs[0];
    let best = |phase| costs.iter().map(|cost| cost.per_instruction(phase)).fold(f64::INFINITY, f64::min);
    let times: String = (0..PHASES.len()).map(|phase| format!(" {:.1} |", best(phase))).collect();
    let name = file.rsplit('/').next().unwrap_or(file);
    let growth = first.host_bytes as f64 / first.guest_bytes.max(1) as f64;
    println!("| {name} | {} | {} | {} |{times} {growth:.2} |", first.instructions, first.regions, first.refused);
}
