//! Starting a program.

use crate::abi::Abi;
use crate::convert::path::Sysroot;
use crate::debug::Debugger;
use crate::elf::{self, ElfError, Image, Loaded, Place};
use crate::errno::{EFAULT, Errno};
use crate::signal::{SigSet, Sighand, TaskSignals, host};
use crate::stack;
use crate::sync::Mutex;
use crate::sys::exec::{self, Program};
use crate::task::{Brk, Cx, Process, Task};
use isamorph_accel::Accel;
use isamorph_guest::Guest;
use isamorph_ir::Memory;
use isamorph_ram::{Config, MapRequest, UserSpace};
use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use thiserror::Error;

/// Takes lines for the log.
pub type LogSink = Arc<dyn Fn(&str) + Send + Sync>;

/// What to run, and how.
#[derive(Clone)]
pub struct Options {
    /// The program's file.
    pub program: PathBuf,
    /// Its arguments, the first being the name it was called by.
    pub argv: Vec<CString>,
    /// Its environment.
    pub envp: Vec<CString>,
    /// What `argv[0]` should be instead (`-0`).
    pub argv0: Option<CString>,
    /// Directory with the guest's libraries and files (`-L`).
    pub sysroot: Option<PathBuf>,
    /// Size of the main thread's stack in bytes (`-s`); none for the limit that the process has.
    pub stack_size: Option<u64>,
    /// What `uname` should say about the kernel's release (`-r`).
    pub uname_release: Option<String>,
    /// Whether system calls are logged (`-strace`).
    pub strace: bool,
    /// The emulator's file, which is executed for the programs that the guest executes.
    pub emulator: PathBuf,
    /// The options that those get, before `-0 NAME PROGRAM ARGUMENT…`; the first is the emulator's own name.
    pub emulator_args: Vec<OsString>,
    /// Host address of guest address 0 (`-B`).
    pub guest_base: Option<u64>,
    /// End of the guest's address space (`-R`).
    pub reserved_va: Option<u64>,
    /// Where the log goes (`-D`); none for standard error.
    pub log: Option<LogSink>,
    /// Whether system calls that nobody serves are logged (`-d unimp`).
    pub unimp: bool,
    /// Seed of the random bytes that the program gets at its start (`-seed`); none for the kernel's.
    pub seed: Option<u64>,
    /// Debugs the program (`-g`).
    pub debugger: Option<Arc<dyn Debugger>>,
    /// Called before the process ends, whichever way it is ended by the guest.
    pub at_exit: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl Options {
    /// Options for running `program` with these arguments, everything else at its default.
    pub fn new(program: impl Into<PathBuf>, argv: Vec<CString>, envp: Vec<CString>) -> Self {
        Options {
            program: program.into(),
            argv,
            envp,
            argv0: None,
            sysroot: None,
            stack_size: None,
            uname_release: None,
            strace: false,
            emulator: "/proc/self/exe".into(),
            emulator_args: vec!["isamorph".into()],
            guest_base: None,
            reserved_va: None,
            log: None,
            unimp: false,
            seed: None,
            debugger: None,
            at_exit: None,
        }
    }
    /// Writes to the log, as it is.
    pub fn log_raw(&self, text: &str) {
        match &self.log {
            Some(sink) => sink(text),
            None => crate::kernel::write_stderr(text),
        }
    }
    /// Writes a line about something that is not implemented to the log, if that is wanted.
    pub fn log(&self, line: &str) {
        if self.unimp {
            self.log_raw(&format!("{line}\n"));
        }
    }
    /// Calls [`Options::at_exit`].
    pub fn run_exit_hook(&self) {
        if let Some(hook) = &self.at_exit {
            hook();
        }
    }
}

/// Why a program could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// Its file could not be loaded.
    #[error("Error while loading {}: {error}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: ElfError,
    },
    /// Its interpreter could not be loaded.
    #[error("Could not open '{path}': {error}")]
    Interpreter {
        /// Path of the interpreter as the program names it.
        path: String,
        /// What is wrong.
        error: ElfError,
    },
    /// The address space could not be set up.
    #[error("Unable to set up the guest's address space: {}", crate::strace::message(.0.0))]
    Memory(Errno),
}

impl StartError {
    /// The exit status that the command reports it with.
    pub fn exit_code(&self) -> i32 {
        match self {
            StartError::Load { error: ElfError::Host(_), .. } | StartError::Memory(_) => 1,
            StartError::Load { .. } | StartError::Interpreter { .. } => 255,
        }
    }
}

impl From<Errno> for StartError {
    fn from(e: Errno) -> Self {
        StartError::Memory(e)
    }
}

/// Makes what runs the guest's code, for its memory and architecture.
pub type MakeAccel<'a> = &'a dyn Fn(Arc<UserSpace>, Arc<dyn Guest>) -> Arc<dyn Accel>;

/// Runs a program in this process; it ends with the guest.
///
/// # Errors
/// The program could not be started.
pub fn run(options: Options, make_accel: MakeAccel<'_>) -> Result<Infallible, StartError> {
    let ignored = host::prepare();
    let mut cx = prepare(options, make_accel, ignored)?;
    set_name(&cx.process.exe);
    cx.attach();
    if let Some(debugger) = cx.debugger() {
        debugger.process_starts(&mut cx);
    }
    let status = cx.run();
    crate::sys::process::leave_main_thread(cx, status)
}

/// Gives the process the program's name, which is what `ps` and `/proc/self/comm` show.
fn set_name(program: &Path) {
    let name = program.file_name().and_then(|name| CString::new(name.as_bytes()).ok()).unwrap_or_default();
    let _ = crate::kernel::call(libc::SYS_prctl, [libc::PR_SET_NAME as u64, name.as_ptr() as u64]);
}

/// Loads the program and makes its first thread, ready to run.
fn prepare(options: Options, make_accel: MakeAccel<'_>, ignored: SigSet) -> Result<Cx, StartError> {
    let sysroot = options.sysroot.as_deref().and_then(|p| Sysroot::new(p.as_os_str()));
    let Program { file, path, argv, image } = exec::open_program(&options, sysroot.as_ref())?;
    let abi = image.abi;
    let addr_bits = if abi.model().long == 4 { 32 } else { 64 };
    let config = Config { addr_bits, base: options.guest_base, reserved: options.reserved_va };
    let space = Arc::new(UserSpace::new(config)?);
    let stack = set_up_stack(&space, abi, &options, image.executable_stack)?;

    let load_error = |error| StartError::Load { path: path.clone(), error };
    let place = match (image.relocatable, &image.interpreter) {
        (true, Some(_)) => Place::At(abi.layout().pie_base),
        _ => Place::Anywhere,
    };
    let program = elf::load(&space, &file, &image, place, &path.to_string_lossy()).map_err(load_error)?;
    let interpreter = image.interpreter.as_deref();
    let interpreter = interpreter.map(|name| load_interpreter(&space, name, abi, sysroot.as_ref())).transpose()?;
    // A program that is loaded among the mappings has its heap elsewhere, where it can grow.
    let heap = if image.relocatable && interpreter.is_none() { abi.layout().pie_base } else { program.end };
    let trampoline = map_kernel_code(&space, abi)?;

    let start = stack::Start {
        abi,
        image: &image,
        program,
        interpreter: interpreter.map_or(0, |i| i.bias),
        argv: &argv,
        envp: &options.envp,
        execfn: &CString::new(options.program.as_os_str().as_bytes()).map_err(|_| EFAULT)?,
        random: random_bytes(options.seed)?,
    };
    let ranges = stack::build(&space, &start, stack)?;
    let entry = interpreter.map_or(program.entry, |i| i.entry);
    let state = abi.start(entry, ranges.start_stack);
    let accel = make_accel(space.clone(), abi.guest());
    let vcpu = accel.vcpu(state);
    let process = Process {
        abi,
        space,
        accel,
        exe: path,
        sysroot,
        brk: Mutex::new(Brk { start: heap, end: heap }),
        trampoline,
        personality: AtomicU64::new(0),
        limits: Mutex::default(),
        seccomp: Default::default(),
        threads: AtomicU32::new(1),
        image: ranges,
        options,
    };
    let mask = SigSet(isamorph_host::signal::current_mask());
    let task = Task::new(TaskSignals::new(mask), Arc::new(Sighand::new(ignored)));
    Ok(Cx { process: Arc::new(process), task, vcpu })
}

/// Distance between the stack's lowest address and the mappings, so that it can grow.
const STACK_GAP: u64 = 1 << 20;

fn set_up_stack(
    space: &UserSpace,
    abi: &dyn Abi,
    options: &Options,
    executable: bool,
) -> Result<(u64, u64), StartError> {
    const DEFAULT: u64 = 8 << 20;
    const LARGEST: u64 = 256 << 20;
    let limit = crate::sys::limits::host_limit(libc::RLIMIT_STACK).map_or(DEFAULT, |l| l.min(LARGEST));
    let size = options.stack_size.unwrap_or(limit);
    let stack = stack::map(space, abi, size, executable)?;
    // Programs from before there were protections against execution are all 32-bit ones.
    space.set_read_implies_exec(executable && abi.model().long == 4);
    space.set_mmap_base(stack.0.saturating_sub(STACK_GAP));
    Ok(stack)
}

fn load_interpreter(
    space: &UserSpace,
    name: &[u8],
    abi: &'static dyn Abi,
    sysroot: Option<&Sysroot>,
) -> Result<Loaded, StartError> {
    let path = String::from_utf8_lossy(name).into_owned();
    let fail = |error| StartError::Interpreter { path: path.clone(), error };
    let file = exec::open_guest(name, sysroot).map_err(|e| fail(e.into()))?;
    let image = Image::parse(&file).map_err(fail)?;
    if !std::ptr::eq(image.abi.name(), abi.name()) {
        return Err(fail(ElfError::OtherMachine));
    }
    elf::load(space, &file, &image, Place::Anywhere, &path).map_err(fail)
}

/// Maps the code that the kernel brings along; returns the address of the trampolines.
fn map_kernel_code(space: &UserSpace, abi: &dyn Abi) -> Result<u64, StartError> {
    let page = abi.layout().page;
    let code = |request: MapRequest, bytes: &[u8]| -> Result<u64, StartError> {
        let at = space.map(&MapRequest { len: page, prot: libc::PROT_READ | libc::PROT_WRITE, ..request })?;
        space.write(at, bytes).map_err(|_| EFAULT)?;
        space.protect(at, page, libc::PROT_READ | libc::PROT_EXEC)?;
        Ok(at)
    };
    if let Some((addr, bytes)) = abi.fixed_page() {
        let name = Some("[vectors]".into());
        code(MapRequest { addr, fixed: true, name, ..MapRequest::default() }, &bytes)?;
    }
    code(MapRequest::default(), abi.trampoline())
}

fn random_bytes(seed: Option<u64>) -> Result<[u8; 16], Errno> {
    let mut bytes = [0; 16];
    if let Some(seed) = seed {
        for (word, index) in bytes.chunks_exact_mut(8).zip(1..) {
            word.copy_from_slice(&scramble(seed, index).to_le_bytes());
        }
        return Ok(bytes);
    }
    crate::kernel::random_bytes(&mut bytes)?;
    Ok(bytes)
}

/// Number `index` of the sequence of a seed: SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
/// generators).
fn scramble(seed: u64, index: u64) -> u64 {
    let z = seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_exit_codes() {
        let missing = StartError::Load { path: "nope".into(), error: ElfError::Host(Errno(libc::ENOENT)) };
        assert_eq!(missing.to_string(), "Error while loading nope: No such file or directory");
        assert_eq!(missing.exit_code(), 1);
        let other = StartError::Load { path: "x".into(), error: ElfError::OtherMachine };
        assert_eq!(other.to_string(), "Error while loading x: Invalid ELF image for this architecture");
        assert_eq!(other.exit_code(), 255);
        let error = ElfError::Host(Errno(libc::ENOENT));
        let loader = StartError::Interpreter { path: "/lib/ld-linux.so.2".into(), error };
        assert_eq!(loader.to_string(), "Could not open '/lib/ld-linux.so.2': No such file or directory");
        assert_eq!(loader.exit_code(), 255);
    }
}
