//! Repository checks and developer tasks: `cargo xtask help`.

mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  test             everything a change has to pass: format, clippy, tidy, all tests, Debian programs
  tidy             the rules of this repository that no compiler checks
  sysroot [ARCH]   unpack the Debian programs that tests and benchmarks run, into ./sysroot/ARCH (default i386)
  bench [ARGS]     execution benchmarks against native and QEMU; `bench --help` lists the options
  programs [ARGS]  the Debian program list with any emulator; `programs --help` lists the options";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let done = match args.first().map(String::as_str) {
        Some("test") => test::all(),
        Some("tidy") => tidy::report(&tools::repository()),
        Some("sysroot") => tools::run(&sysroot_command(rest)),
        Some("bench") => tools::run(&workspace_binary("isamorph-benches", "exec", rest)),
        Some("programs") => tools::run(&workspace_binary("isamorph-tests", "programs", rest)),
        Some("help" | "--help" | "-h") => {
            println!("{USAGE}");
            true
        }
        _ => {
            eprintln!("{USAGE}");
            false
        }
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn sysroot_command(rest: &[String]) -> Vec<String> {
    let script = tools::repository().join("scripts/sysroot.sh");
    std::iter::once(script.to_string_lossy().into_owned()).chain(rest.iter().cloned()).collect()
}

fn workspace_binary(package: &str, binary: &str, rest: &[String]) -> Vec<String> {
    let cargo = ["cargo", "run", "--quiet", "--release", "--package", package, "--bin", binary, "--"];
    cargo.iter().map(|word| word.to_string()).chain(rest.iter().cloned()).collect()
}
