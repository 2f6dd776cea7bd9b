//! Compares random i386 instructions under an emulator with the host's processor.

use clap::Parser;
use isamorph_tests::native::{self, EXCLUDED, Mode, Setup};
use std::process::ExitCode;

/// Runs random instruction sequences natively and under an emulator, and compares all they leave behind.
#[derive(Parser)]
struct Options {
    /// The emulator with its options, once for each way to run it. With `flags:` in front, its faults show exact flags
    #[arg(long, default_values_t = [
        "target/release/isamorph -accel jit".to_owned(),
        "flags:target/release/isamorph -accel jit,precise=on".to_owned(),
        "flags:target/release/isamorph -accel interp".to_owned(),
    ])]
    emu: Vec<String>,
    /// How many cases to run
    #[arg(long, default_value_t = 50_000)]
    cases: u64,
    /// What the random choices start from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only encodings whose name (the decoder's, such as `Shld_rm32_r32_CL`) contains this
    #[arg(long, default_value = "")]
    only: String,
}

fn mode(text: &str) -> Mode {
    let (is_precise, command) = match text.strip_prefix("flags:") {
        Some(command) => (true, command),
        None => (false, text),
    };
    let command = command.split_whitespace().map(str::to_owned).collect();
    Mode { name: text.to_owned(), command, is_precise }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let modes = options.emu.iter().map(|text| mode(text)).collect();
    let folder = std::env::temp_dir().join(format!("isamorph-native-{}", std::process::id()));
    let setup = Setup { cases: options.cases, seed: options.seed, modes, only: options.only };
    let compared = std::fs::create_dir_all(&folder)
        .map_err(|error| error.to_string())
        .and_then(|()| native::compile(&folder))
        .and_then(|program| native::run(&setup, &program).map_err(|error| error.to_string()));
    drop(std::fs::remove_dir_all(&folder));
    match compared {
        Ok(summary) => {
            for (reason, names) in EXCLUDED {
                println!("not compared, {reason}: {names:?}");
            }
            print!("{}", summary.report());
            if summary.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("native: {error}");
            ExitCode::FAILURE
        }
    }
}
