//! The `isamorph` command. See the library.

fn main() -> std::process::ExitCode {
    isamorph::main(std::env::args_os())
}
