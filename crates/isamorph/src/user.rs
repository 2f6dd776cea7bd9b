//! User mode: runs one program.

use crate::cpu;
use crate::end::End;
use crate::gdb::Stub;
use crate::log::Log;
use crate::log_items::LogItems;
use crate::names::{self, Call, Role};
use crate::options::{EnvironmentEdit, Settings};
use crate::perf_map::PerfMap;
use crate::sink::Sink;
use crate::statistics::Statistics;
use crate::symbols::Symbols;
use isamorph_accel::Accel;
use isamorph_engine::{Engine, EngineConfig, Kind};
use isamorph_guest::Guest;
use isamorph_linux_user::elf::ElfError;
use isamorph_linux_user::run::LogSink;
use isamorph_linux_user::{Options, StartError, kernel};
use isamorph_ram::UserSpace;
use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Bit of `AT_FLAGS`: the kernel put the program's `argv[0]` after its path (`binfmt_misc`, flag `P`).
const AT_FLAGS_PRESERVE_ARGV0: u64 = 1;

/// Runs the program that the call's arguments name, with what options and environment say. Only a failure returns.
///
/// # Errors
/// Why it cannot be run, or what else was asked for.
pub fn run(call: Call) -> Result<Infallible, End> {
    let Call { name, role, preserves_argv0, mut arguments } = call;
    let Role::User(wanted) = role else { return Err(End::unsupported(&name)) };
    let mut settings = Settings { architecture: wanted, ..Settings::default() };
    settings.take_environment(|variable| std::env::var_os(variable))?;
    let options = settings.take_arguments(&arguments)?;
    arguments.drain(..options);
    if arguments.is_empty() {
        return Err(End::failed("qemu: no user program specified"));
    }
    let program = PathBuf::from(&arguments[0]);
    let preserves_argv0 = preserves_argv0 || kernel::auxv(libc::AT_FLAGS) & AT_FLAGS_PRESERVE_ARGV0 != 0;
    if preserves_argv0 && arguments.len() > 1 {
        arguments.remove(0);
    }
    check_file(&program)?;
    let runner = Arc::new(Runner::new(&settings)?);
    let architecture = names::architecture_of(&program, wanted, &name)?;
    settings.cpu.as_deref().map_or(Ok(()), |model| cpu::check(model, architecture))?;
    let model = settings.cpu.clone();
    let options = runner.clone().options(settings, program, arguments)?;
    let make_accel = |space, guest| runner.make_accel(space, cpu::processor(model.as_deref(), guest));
    isamorph_linux_user::run(options, &make_accel).map_err(|e| start_error(&name, &e))
}

/// Refuses what the kernel would not execute.
fn check_file(program: &Path) -> Result<(), End> {
    let fail = |message| End::failed(format!("Error while loading {}: {message}", program.display()));
    let data = fs::metadata(program).map_err(|e| fail(os_message(&e)))?;
    if !data.is_file() || data.permissions().mode() & 0o111 == 0 {
        return Err(fail(os_message(&io::Error::from_raw_os_error(libc::EACCES))));
    }
    Ok(())
}

/// An error's text without its number.
fn os_message(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), isamorph_linux_user::strace::message)
}

/// The messages and exit statuses of QEMU.
fn start_error(name: &str, error: &StartError) -> End {
    let named = |status| End::Failed { message: format!("{name}: {error}"), status };
    match error {
        StartError::Load { error: ElfError::NotElf | ElfError::Host(_), .. } => End::failed(error.to_string()),
        StartError::Load { path, error } => {
            End::Failed { message: format!("{name}: {}: {error}", path.display()), status: 255 }
        }
        StartError::Interpreter { .. } => named(255),
        StartError::Memory(_) => named(1),
    }
}

/// What the engine is made with.
struct Runner {
    sink: Arc<Sink>,
    kind: Kind,
    tb_size: Option<usize>,
    one_insn: bool,
    precise: bool,
    engine: OnceLock<Arc<Engine>>,
}

impl Runner {
    fn new(settings: &Settings) -> Result<Self, End> {
        let log = match &settings.log_file {
            Some(name) => Log::file(name, settings.log_append).map_err(|e| {
                End::failed(format!("qemu: Error opening logfile {}: {}", name.to_string_lossy(), os_message(&e)))
            })?,
            None => Log::STDERR,
        };
        let map = settings.perf_map.then(PerfMap::new).transpose();
        let perf_map = map.map_err(|e| End::failed(format!("qemu: -perfmap: {}", os_message(&e))))?;
        let sink = Arc::new(Sink {
            log,
            items: settings.log_items,
            filter: settings.log_filter.clone(),
            symbols: OnceLock::new(),
            perf_map,
            statistics: settings.statistics.then(Statistics::default),
        });
        let kind = settings.kind.unwrap_or(Kind::Jit);
        let Settings { tb_size, one_insn, precise, .. } = *settings;
        Ok(Runner { sink, kind, tb_size, one_insn, precise, engine: OnceLock::new() })
    }

    /// The options of the Linux layer.
    fn options(
        self: Arc<Self>,
        settings: Settings,
        program: PathBuf,
        arguments: Vec<OsString>,
    ) -> Result<Options, End> {
        let mut options = Options::new(program, c_strings(arguments)?, environment(&settings.environment)?);
        options.emulator_args.extend(settings.inherited());
        options.debugger = settings.gdb.as_ref().map(Stub::listen).transpose()?;
        options.argv0 = settings.argv0.map(c_string).transpose()?;
        options.sysroot = settings.sysroot;
        options.stack_size = settings.stack_size;
        options.uname_release = settings.uname_release;
        options.guest_base = settings.guest_base;
        options.reserved_va = settings.reserved_va;
        options.seed = settings.seed;
        options.strace = settings.strace || settings.log_items.contains(LogItems::STRACE);
        options.unimp = settings.log_items.contains(LogItems::UNIMP);
        let log = self.sink.log;
        let write: LogSink = Arc::new(move |text: &str| log.write(text));
        options.log = Some(write);
        if self.sink.statistics.is_some() {
            options.at_exit = Some(Arc::new(move || self.report()));
        }
        Ok(options)
    }

    /// Makes the engine for a program that has been loaded.
    fn make_accel(&self, space: Arc<UserSpace>, guest: Arc<dyn Guest>) -> Arc<dyn Accel> {
        if self.sink.items.contains(LogItems::PAGE) {
            self.sink.log.write(&mappings(&space));
        }
        if !self.sink.is_idle() {
            let _ = self.sink.symbols.set(Symbols::of(&space));
        }
        let mut config = EngineConfig::new(guest, space);
        config.kind = self.kind;
        config.tb_size_bytes = self.tb_size.unwrap_or(config.tb_size_bytes);
        // Whoever looks at single instructions looks at their flags, too.
        config.precise = self.precise || self.one_insn;
        if self.one_insn {
            config.max_insns = 1;
        }
        config.log = self.sink.clone();
        // A host that does not give memory to the compiler may still have some for the interpreter.
        let engine =
            Engine::new(config.clone()).or_else(|_| Engine::new(EngineConfig { kind: Kind::Interp, ..config }));
        let engine = engine.expect("an interpreter needs nothing from the host but handlers for its faults");
        self.engine.get_or_init(|| engine).clone()
    }

    fn report(&self) {
        if let (Some(statistics), Some(engine)) = (&self.sink.statistics, self.engine.get()) {
            self.sink.log.write(&statistics.report(engine));
        }
    }
}

fn c_string(text: OsString) -> Result<CString, End> {
    CString::new(text.into_vec()).map_err(|_| End::failed("qemu: an argument with a null byte"))
}

fn c_strings(list: Vec<OsString>) -> Result<Vec<CString>, End> {
    list.into_iter().map(c_string).collect()
}

/// This process's environment with changes.
fn environment(edits: &[EnvironmentEdit]) -> Result<Vec<CString>, End> {
    let mut variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    for edit in edits {
        let (name, value) = match edit {
            EnvironmentEdit::Unset(name) => (name.clone(), None),
            EnvironmentEdit::Set(text) => {
                let bytes = text.as_bytes();
                let equals = bytes.iter().position(|byte| *byte == b'=');
                let equals = equals.ok_or_else(|| End::failed("qemu: -E wants var=value"))?;
                let part = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
                (part(&bytes[..equals]), Some(part(&bytes[equals + 1..])))
            }
        };
        variables.retain(|(other, _)| *other != name);
        variables.extend(value.map(|value| (name, value)));
    }
    c_strings(variables.into_iter().map(|(name, value)| [name, "=".into(), value].into_iter().collect()).collect())
}

/// The guest's mappings in the form of QEMU's `-d page`.
fn mappings(space: &UserSpace) -> String {
    let width = if space.limit() > 1 << 32 { 16 } else { 8 };
    let mut text = format!("guest_base  {:#x}\n", space.host_base());
    let _ = writeln!(text, "{:<width$} {:<width$} {:<width$} prot", "start", "end", "size");
    for region in space.regions() {
        let letter = |bit, letter| if region.prot & bit != 0 { letter } else { '-' };
        let prot: String = [letter(libc::PROT_READ, 'r'), letter(libc::PROT_WRITE, 'w'), letter(libc::PROT_EXEC, 'x')]
            .iter()
            .collect();
        let (start, end) = (region.start, region.end);
        let _ = writeln!(text, "{start:0width$x}-{end:0width$x} {:0width$x} {prot}", end - start);
    }
    text
}
