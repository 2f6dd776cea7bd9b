//! The command: one binary that is called by many names.
//!
//! * [`names`] finds out what it is asked to be, [`options`] reads the options of user mode, [`user`] runs a program,
//!   [`system`] runs a machine, [`demo`] shows what the translator does. [`binfmt`] and [`chroot`] are for whole
//!   foreign file systems.
//! * [`sink`] turns what the engine tells into log text ([`log`], [`listing`], [`symbols`]), into [`statistics`] and
//!   into a map for `perf` ([`perf_map`]).
//!
//! Nothing is done at the start that a program does not need: no configuration is read, no logging framework is set up,
//! and symbols are read only when something is to be logged.

pub mod binfmt;
pub mod chroot;
pub mod cpu;
pub mod demo;
pub mod end;
pub mod gdb;
pub mod listing;
pub mod log;
pub mod log_items;
pub mod names;
pub mod options;
pub mod perf_map;
pub mod sink;
pub mod statistics;
pub mod symbols;
pub mod system;
pub mod user;
pub mod value;

use end::End;
use names::{Call, Role};
use std::convert::Infallible;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// The version of QEMU whose command line and messages this follows. Scripts look for it.
const QEMU_VERSION: &str = "10.0.0";

/// Understands the command line, name included, and does what it says. Returns unless a guest was run.
pub fn main(command_line: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut call = Call::new(command_line);
    let name = call.name.clone();
    let end = match &call.role {
        Role::User(_) => user::run(call).err(),
        Role::Demo => demo::run(std::mem::take(&mut call.arguments)).err(),
        Role::Binfmt => Some(match binfmt::run(std::mem::take(&mut call.arguments)) {
            Ok(text) => End::Text(text),
            Err(end) => end,
        }),
        Role::Chroot => in_root(call).err(),
        Role::System { architecture, kvm } => {
            let mut arguments = std::mem::take(&mut call.arguments);
            if *kvm {
                arguments.insert(0, "-enable-kvm".into());
            }
            match system::run(&name, architecture, &arguments) {
                Ok(status) => std::process::exit(status),
                Err(End::Help) => Some(End::Text(system::start::help(&name))),
                Err(end) => Some(end),
            }
        }
        Role::Help => Some(End::Help),
        Role::Unsupported(what) => Some(End::unsupported(&format!("{name}: {what}"))),
    };
    let text = match end {
        None => return ExitCode::SUCCESS,
        Some(End::Help) => help(&name),
        Some(End::Version) => version(&name),
        Some(End::Text(text)) => text,
        Some(End::Failed { message, status }) => {
            eprintln!("{message}");
            return ExitCode::from(status);
        }
    };
    // Whoever reads only the first line closes the pipe early.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// Runs a command in another root file system, whatever architecture it is of.
fn in_root(call: Call) -> Result<Infallible, End> {
    let arguments = chroot::enter(call.arguments)?;
    user::run(Call { name: call.name, role: Role::User(None), preserves_argv0: false, arguments })
}

/// The version. Whatever looks for "version N.N.N" finds QEMU's, and under QEMU's names it is where QEMU has it.
fn version(name: &str) -> String {
    let own = env!("CARGO_PKG_VERSION");
    let architecture = name.strip_prefix("isamorph-").map(|architecture| architecture.trim_end_matches("-static"));
    match architecture {
        Some(architecture) => format!("{name} {own} (compatible with qemu-{architecture} version {QEMU_VERSION})\n"),
        None if name.starts_with("qemu-system-") || name == "kvm" => {
            format!("QEMU emulator version {QEMU_VERSION} (Isamorph {own})\n")
        }
        None if name.starts_with("qemu-") => format!("{name} version {QEMU_VERSION} (Isamorph {own})\n"),
        None => format!("{name} {own} (compatible with QEMU user mode version {QEMU_VERSION})\n"),
    }
}

fn help(name: &str) -> String {
    format!(
        "\
usage: {name} [options] program [arguments...]
       isamorph [i386] [options] program [arguments...]
       isamorph demo [--rounds N] [--save FILE]
       isamorph binfmt install|status|remove [ARCHITECTURE...]
       isamorph chroot DIRECTORY [COMMAND [ARGUMENT...]]
Runs Linux programs of another processor. Without its name, the architecture is the program's.

Options and associated environment variables:

{options}
-E and -U change the guest's environment and take lists: -E VAR1=value,VAR2=value -U VAR3
Double dashes do as well as single ones; an option wins over its variable.
",
        options = options::help()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_where_scripts_look_for_them() {
        let qemu = version("qemu-i386");
        assert!(qemu.starts_with("qemu-i386 version 10.0.0 ("), "{qemu}");
        for name in ["isamorph-i386", "isamorph-i386-static", "isamorph", "qemu-i386-static"] {
            let text = version(name);
            let (_, after) = text.split_once("version ").expect("a version");
            assert!(after.starts_with(QEMU_VERSION) && !after.contains("version"), "{text}");
            assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text}");
        }
    }
}
