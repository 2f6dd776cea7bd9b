//! The options of user mode: one row each, from which parsing, help, environment twins and documentation come.
//!
//! The syntax is QEMU's: one dash or two, a value is the next argument, the first argument without a dash is the
//! program, and what follows belongs to it. Environment variables are read first, so that options win.

use crate::cpu;
use crate::end::End;
use crate::gdb::Stub;
use crate::log_items::LogItems;
use crate::names::Architecture;
use crate::value;
use isamorph_engine::Kind;
use isamorph_linux_user::sys::emulator;
use std::ffi::{OsStr, OsString};
use std::ops::RangeInclusive;
use std::path::PathBuf;

/// What the options say.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The architecture, if it is known without the program.
    pub architecture: Option<&'static Architecture>,
    /// The gdb stub.
    pub gdb: Option<Stub>,
    /// The CPU model.
    pub cpu: Option<OsString>,
    /// Directory with the guest's libraries and files.
    pub sysroot: Option<PathBuf>,
    /// Size of the guest's stack in bytes.
    pub stack_size: Option<u64>,
    /// Changes of the guest's environment, in order.
    pub environment: Vec<EnvironmentEdit>,
    /// The guest's `argv[0]`.
    pub argv0: Option<OsString>,
    /// What `uname` says about the kernel's release.
    pub uname_release: Option<String>,
    /// Host address of guest address 0.
    pub guest_base: Option<u64>,
    /// End of the guest's address space.
    pub reserved_va: Option<u64>,
    /// What is logged (`-d`).
    pub log_items: LogItems,
    /// Whether system calls are logged (`-strace`).
    pub strace: bool,
    /// Guest addresses of the code that is logged; empty for all.
    pub log_filter: Vec<RangeInclusive<u64>>,
    /// Where the log goes; none for standard error.
    pub log_file: Option<OsString>,
    /// Whether the log file keeps what is in it.
    pub log_append: bool,
    /// Whether every guest instruction is a region of its own.
    pub one_insn: bool,
    /// Whether the flags in a signal frame are exact even where nothing reads them any more.
    pub precise: bool,
    /// Size of the code cache in bytes.
    pub tb_size: Option<usize>,
    /// Seed of the random numbers that a program gets at its start.
    pub seed: Option<u64>,
    /// Compile or interpret.
    pub kind: Option<Kind>,
    /// Whether `/tmp/perf-PID.map` is written.
    pub perf_map: bool,
    /// Whether the work done is summed up at the end.
    pub statistics: bool,
    /// Every option that was given or set by its environment twin, with its last value.
    pub given: Vec<(&'static OptionRow, OsString)>,
}

/// A change of the guest's environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvironmentEdit {
    /// `NAME=VALUE`.
    Set(OsString),
    /// `NAME`.
    Unset(OsString),
}

/// One option.
pub struct OptionRow {
    /// Its name without the dash.
    pub name: &'static str,
    /// Another name.
    pub alias: Option<&'static str>,
    /// How help calls its value; none if it takes none.
    pub value: Option<&'static str>,
    /// Its twin in the environment.
    pub variable: Option<&'static str>,
    /// What it does, one line.
    pub help: &'static str,
    /// Whether programs that the guest executes get it too.
    pub inherited: bool,
    /// Takes a value; an option without one gets an empty text.
    apply: fn(&mut Settings, &OsStr) -> Result<(), End>,
}

impl std::fmt::Debug for OptionRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "-{}", self.name)
    }
}

/// Rows from lines `name, alias value variable inherited: help => action`.
macro_rules! options {
    ($($name:literal $(| $alias:literal)? $(<$value:literal>)? $($variable:ident)? ; $inherited:ident ; $help:literal
        => $apply:expr;)*) => {
        /// The options, in the order of the help text.
        // tidy: flat
        pub static OPTIONS: &[OptionRow] = &[$(OptionRow {
            name: $name,
            alias: options!(@some $($alias)?),
            value: options!(@some $($value)?),
            variable: options!(@some $(stringify!($variable))?),
            help: $help,
            inherited: options!(@inherited $inherited),
            apply: $apply,
        }),*];
    };
    (@some) => { None };
    (@some $value:expr) => { Some($value) };
    (@inherited inherited) => { true };
    (@inherited once) => { false };
}

options! {
    "h" | "help"; once; "print this help" => |_, _| Err(End::Help);
    "g" <"port|path"> QEMU_GDB; once; "wait for gdb at a port or socket; with ',suspend=n' run meanwhile"
        => |s, v| { s.gdb = Some(Stub::parse(v)?); Ok(()) };
    "L" <"path"> QEMU_LD_PREFIX; inherited; "look for the guest's absolute paths below this directory first"
        => |s, v| { s.sysroot = Some(v.into()); Ok(()) };
    "s" <"size"> QEMU_STACK_SIZE; inherited; "size of the guest's stack in bytes; suffixes K, M, G"
        => |s, v| { s.stack_size = Some(value::size("-s", v)?); Ok(()) };
    "cpu" <"model"> QEMU_CPU; once; "CPU model; 'help' lists them"
        => |s, v| { s.cpu = Some(v.into()); cpu::check(v, s.architecture) };
    "E" <"var=value"> QEMU_SET_ENV; once; "set variables of the guest's environment; several with commas"
        => |s, v| { s.environment.extend(value::list(v).map(EnvironmentEdit::Set)); Ok(()) };
    "U" <"var"> QEMU_UNSET_ENV; once; "unset variables of the guest's environment; several with commas"
        => |s, v| { s.environment.extend(value::list(v).map(EnvironmentEdit::Unset)); Ok(()) };
    "0" <"argv0"> QEMU_ARGV0; once; "what the guest gets as argv[0]" => |s, v| { s.argv0 = Some(v.into()); Ok(()) };
    "r" <"uname"> QEMU_UNAME; inherited; "what uname says about the kernel's release"
        => |s, v| { s.uname_release = Some(value::text("-r", v)?.to_owned()); Ok(()) };
    "B" <"address"> QEMU_GUEST_BASE; inherited; "host address of guest address 0"
        => |s, v| { s.guest_base = Some(value::number("-B", v)?); Ok(()) };
    "R" <"size"> QEMU_RESERVED_VA; inherited; "size of the guest's address space; suffixes K, M, G"
        => |s, v| { s.reserved_va = Some(value::size("-R", v)?).filter(|size| *size != 0); Ok(()) };
    "t" <"rtsig"> QEMU_RTSIG_MAP; inherited; "map of real-time signals; accepted, all of them are the guest's anyway"
        => |_, v| value::signal_map(v);
    "d" <"items"> QEMU_LOG; inherited; "what to log, separated by commas; 'help' lists the items"
        => |s, v| { s.log_items = LogItems::parse(value::text("-d", v)?)?; Ok(()) };
    "dfilter" <"range,.."> QEMU_DFILTER; inherited; "log only code in START..END, START+SIZE or END-SIZE"
        => |s, v| { s.log_filter = value::ranges(v)?; Ok(()) };
    "D" <"logfile"> QEMU_LOG_FILENAME; inherited; "write the log to this file; %d is the process id"
        => |s, v| { s.log_file = Some(v.into()); Ok(()) };
    "p" <"pagesize"> QEMU_PAGESIZE; inherited; "page size; accepted, it is the host's" => |_, v| value::page_size(v);
    "one-insn-per-tb" QEMU_ONE_INSN_PER_TB; inherited; "translate every guest instruction on its own"
        => |s, _| { s.one_insn = true; Ok(()) };
    "tb-size" <"size"> QEMU_TB_SIZE; inherited; "size of the code cache in MiB"
        => |s, v| { s.tb_size = Some(value::mebibytes("-tb-size", v)?).filter(|size| *size != 0); Ok(()) };
    "strace" QEMU_STRACE; inherited; "log system calls"
        => |s, _| { s.strace = true; Ok(()) };
    "seed" <"number"> QEMU_RAND_SEED; inherited; "seed of the random bytes that a program gets at its start"
        => |s, v| { s.seed = Some(value::number("-seed", v)?); Ok(()) };
    "trace" <"[[enable=]pattern][,..]"> QEMU_TRACE; once; "trace points (not supported yet)"
        => |_, _| Err(End::unsupported("-trace"));
    "plugin" <"[file=]file[,..]"> QEMU_PLUGIN; once; "load a plugin (not supported yet)"
        => |_, _| Err(End::unsupported("-plugin"));
    "version" QEMU_VERSION; once; "print the version" => |_, _| Err(End::Version);
    "perfmap" QEMU_PERFMAP; inherited; "write /tmp/perf-PID.map, which tells perf what the code in the cache is"
        => |s, _| { s.perf_map = true; Ok(()) };
    "jitdump" QEMU_JITDUMP; once; "write jit-PID.dump for perf (not supported yet)"
        => |_, _| Err(End::unsupported("-jitdump"));
    "accel" <"name[,prop=value]">; inherited; "jit (or tcg) compiles, interp interprets; 'help' lists the properties"
        => value::accelerator;
    "stats"; inherited; "print at the end what was translated" => |s, _| { s.statistics = true; Ok(()) };
    "emulator-fd" <"number">; once; "the open file of the emulator; for programs that the guest executes"
        => |_, v| { emulator::adopt(value::number("-emulator-fd", v)? as i32); Ok(()) };
    "log-append"; inherited; "keep what is in the log file; programs that the guest executes do"
        => |s, _| { s.log_append = true; Ok(()) };
}

/// The row of an option by its name without dashes.
pub fn find(name: &str) -> Option<&'static OptionRow> {
    OPTIONS.iter().find(|row| row.name == name || row.alias == Some(name))
}

impl Settings {
    /// Takes an option's value and remembers it.
    fn take(&mut self, row: &'static OptionRow, value: &OsStr) -> Result<(), End> {
        (row.apply)(self, value)?;
        self.given.retain(|(other, _)| other.name != row.name);
        self.given.push((row, value.to_owned()));
        Ok(())
    }

    /// Reads the environment.
    ///
    /// # Errors
    /// A variable has no valid value, or asks for help.
    pub fn take_environment(&mut self, variable: impl Fn(&str) -> Option<OsString>) -> Result<(), End> {
        for row in OPTIONS {
            if let Some(value) = row.variable.and_then(&variable) {
                self.take(row, if row.value.is_some() { &value } else { OsStr::new("") })?;
            }
        }
        Ok(())
    }

    /// Reads options up to the program; returns how many arguments they are.
    ///
    /// # Errors
    /// An option is unknown, lacks its value, has no valid one, or asks for help.
    pub fn take_arguments(&mut self, arguments: &[OsString]) -> Result<usize, End> {
        let mut at = 0;
        while let Some(argument) = arguments.get(at) {
            let text = argument.as_encoded_bytes();
            let Some(name) = text.strip_prefix(b"-") else { break };
            at += 1;
            if name == b"-" {
                break;
            }
            let name = String::from_utf8_lossy(name.strip_prefix(b"-").unwrap_or(name)).into_owned();
            let row = find(&name).ok_or_else(|| End::failed(format!("qemu: unknown option '{name}'")))?;
            let value = match (row.value, arguments.get(at)) {
                (None, _) => OsStr::new(""),
                (Some(_), Some(value)) => {
                    at += 1;
                    value
                }
                (Some(_), None) => {
                    return Err(End::failed(format!("qemu: missing argument for option '{name}'")));
                }
            };
            self.take(row, value)?;
        }
        Ok(at)
    }

    /// The options for programs that the guest executes.
    pub fn inherited(&self) -> Vec<OsString> {
        let mut list = Vec::new();
        for (row, value) in self.given.iter().filter(|(row, _)| row.inherited && row.name != "log-append") {
            list.push(format!("-{}", row.name).into());
            list.extend(row.value.map(|_| value.clone()));
        }
        if self.log_file.is_some() {
            list.push("-log-append".into());
        }
        list
    }
}

/// The option list of the help text.
pub fn help() -> String {
    let mut text = format!("{:<28} {:<20} Description\n", "Argument", "Env-variable");
    for row in OPTIONS {
        let argument = format!("-{}{}", row.name, row.value.map_or(String::new(), |value| format!(" {value}")));
        let variable = row.variable.unwrap_or_default();
        text.push_str(&format!("{argument:<28} {variable:<20} {}\n", row.help));
    }
    text
}

/// The option list as documentation shows it.
pub fn markdown() -> String {
    let mut text = String::from("| option | environment | what it does |\n|---|---|---|\n");
    for row in OPTIONS {
        let alias = row.alias.map_or(String::new(), |alias| format!(", `-{alias}`"));
        let value = row.value.map_or(String::new(), |value| format!(" {}", value.replace('|', "\\|")));
        let variable = row.variable.map_or(String::new(), |name| format!("`{name}`"));
        text.push_str(&format!("| `-{}{value}`{alias} | {variable} | {} |\n", row.name, row.help));
    }
    text
}
