//! Programs: finding out what a file is, and executing it.
//!
//! A guest's program is executed by executing the emulator again, which makes the kernel do everything that belongs to
//! an `execve`: closing files, resetting signals, ending other threads. What is not a guest's program is left to the
//! kernel.

use crate::abi::Abi;
use crate::convert::path::Sysroot;
use crate::elf::{self, ElfError, Image};
use crate::errno::{E2BIG, EFAULT, EINVAL, ELOOP, Errno};
use crate::kernel::call;
use crate::run::{Options, StartError};
use crate::sys::emulator;
use crate::table::SysResult;
use crate::task::Cx;
use isamorph_host::signal::{MaskHow, sigprocmask};
use std::borrow::Cow;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes at the start of a file that say what it is (`BINPRM_BUF_SIZE`).
const START: usize = 256;
/// Interpreters of interpreters that are followed.
const NESTING: usize = 5;

/// A program that is to be loaded into this process.
pub struct Program {
    /// Its file.
    pub file: File,
    /// Where that is.
    pub path: PathBuf,
    /// Its arguments.
    pub argv: Vec<CString>,
    /// What is in the file.
    pub image: Image,
}

/// The first line of a script: its interpreter and one argument.
#[derive(Debug, PartialEq, Eq)]
struct Script {
    interpreter: Vec<u8>,
    argument: Option<Vec<u8>>,
}

/// The `#!` line at the start of a file, if there is one.
fn script(start: &[u8]) -> Option<Script> {
    let rest = start.strip_prefix(b"#!")?;
    let line = rest.split(|b| *b == b'\n' || *b == 0).next()?.trim_ascii();
    let mut parts = line.splitn(2, |b| *b == b' ' || *b == b'\t');
    let interpreter = parts.next().filter(|i| !i.is_empty())?.to_vec();
    let argument = parts.next().map(|a| a.trim_ascii().to_vec()).filter(|a| !a.is_empty());
    Some(Script { interpreter, argument })
}

fn read_start(file: &File) -> Result<Vec<u8>, Errno> {
    let mut start = vec![0; START];
    let len = file.read_at(&mut start, 0).map_err(errno)?;
    start.truncate(len);
    Ok(start)
}

fn errno(e: std::io::Error) -> Errno {
    Errno(e.raw_os_error().unwrap_or(libc::EIO))
}

/// Opens a file by a path of the guest.
///
/// # Errors
/// What the host says.
pub fn open_guest(path: &[u8], sysroot: Option<&Sysroot>) -> Result<File, Errno> {
    let host = host_path(path, sysroot)?;
    File::open(OsStr::from_bytes(host.as_bytes())).map_err(errno)
}

fn host_path(path: &[u8], sysroot: Option<&Sysroot>) -> Result<CString, Errno> {
    let path = CString::new(path).map_err(|_| EINVAL)?;
    Ok(sysroot.map_or(Cow::Borrowed(&*path), |root| root.redirect(&path)).into_owned())
}

/// Opens the program of a run, and if it is a script the interpreter that runs it.
///
/// # Errors
/// Why it cannot be run.
pub fn open_program(options: &Options, sysroot: Option<&Sysroot>) -> Result<Program, StartError> {
    let fail = |path: &Path, error| StartError::Load { path: path.to_owned(), error };
    let mut argv = options.argv.clone();
    if let Some(name) = &options.argv0 {
        argv.splice(..argv.len().min(1), [name.clone()]);
    }
    let mut path = options.program.clone();
    for _ in 0..NESTING {
        let bad = |error: ElfError| fail(&path, error);
        let file = File::open(&path).map_err(|e| bad(errno(e).into()))?;
        let start = read_start(&file).map_err(|e| bad(e.into()))?;
        let Some(script) = script(&start) else {
            let image = Image::parse(&file).map_err(bad)?;
            let path = real_path(&file).unwrap_or(path);
            return Ok(Program { file, path, argv, image });
        };
        let name = path.as_os_str().as_bytes();
        argv = script_arguments(&script, name, &argv).map_err(|e| bad(e.into()))?;
        let interpreter = host_path(&script.interpreter, sysroot).map_err(|e| bad(e.into()))?;
        path = OsString::from_vec(interpreter.into_bytes()).into();
    }
    Err(fail(&path, ELOOP.into()))
}

fn script_arguments(script: &Script, name: &[u8], argv: &[CString]) -> Result<Vec<CString>, Errno> {
    let head = [Some(&script.interpreter[..]), script.argument.as_deref(), Some(name)];
    let head = head.into_iter().flatten().map(|text| CString::new(text).map_err(|_| EINVAL));
    head.chain(argv.iter().skip(1).cloned().map(Ok)).collect()
}

/// The absolute path of an open file, as the kernel knows it.
fn real_path(file: &File) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

/// Whether a file is to be executed by the emulator: a program of a supported architecture, or a script for one. The
/// host's own programs are left to the host, unless a program of the same architecture executes them.
fn is_guest(file: &File, cx: &Cx) -> bool {
    let mut start = read_start(file);
    for _ in 0..NESTING {
        let Ok(bytes) = &start else { return false };
        let Some(script) = script(bytes) else {
            return elf::identify(bytes).is_ok_and(|abi| abi.name() == cx.abi().name() || !is_native(abi));
        };
        start = open_guest(&script.interpreter, cx.process.sysroot.as_ref()).and_then(|file| read_start(&file));
    }
    false
}

/// Whether the host runs programs of the architecture, and always does.
fn is_native(abi: &dyn Abi) -> bool {
    abi.name() == std::env::consts::ARCH
}

/// Most strings of an argument list, far more than fit on a stack.
const MOST_STRINGS: usize = 1 << 20;
/// Longest string of an argument list (`MAX_ARG_STRLEN`).
const LONGEST: usize = 128 << 10;

/// Reads a list of strings that ends with a null pointer.
fn strings(cx: &Cx, list: u64) -> Result<Vec<CString>, Errno> {
    let mut out = Vec::new();
    if list == 0 {
        return Ok(out);
    }
    let word = cx.model().long as u64;
    loop {
        let at = list.checked_add(out.len() as u64 * word).ok_or(EFAULT)?;
        match cx.read_word(at)? {
            0 => return Ok(out),
            _ if out.len() >= MOST_STRINGS => return Err(E2BIG),
            addr => out.push(cx.cstr_max(addr, LONGEST, E2BIG)?),
        }
    }
}

/// `execve(2)`.
///
/// # Errors
/// As the manual page says.
pub fn execve(cx: &mut Cx, [path, argv, envp, ..]: [u64; 6]) -> SysResult {
    let path = cx.path(path)?;
    let lists = (strings(cx, argv)?, strings(cx, envp)?);
    execute(cx, libc::AT_FDCWD, path, lists, 0)
}

/// `execveat(2)`.
///
/// # Errors
/// As the manual page says.
pub fn execveat(cx: &mut Cx, [dir, path, argv, envp, flags, _]: [u64; 6]) -> SysResult {
    let path = cx.path(path)?;
    let lists = (strings(cx, argv)?, strings(cx, envp)?);
    execute(cx, dir as i32, path, lists, flags as i32)
}

/// Executes a file. Only a failure returns.
fn execute(cx: &mut Cx, dir: i32, path: CString, (argv, envp): (Vec<CString>, Vec<CString>), flags: i32) -> SysResult {
    let file = open_at(dir, &path, flags);
    if !file.as_ref().is_ok_and(|file| is_guest(file, cx)) {
        let at = At { dir, path, flags };
        return replace_process(cx, at, argv, envp);
    }
    call(
        libc::SYS_faccessat2,
        [dir as u64, path.as_ptr() as u64, libc::X_OK as u64, (libc::AT_EACCESS | flags & libc::AT_EMPTY_PATH) as u64],
    )?;
    let Some(emulator) = emulator(cx)? else {
        // A rule of `binfmt_misc` may know more.
        return replace_process(cx, At { dir, path, flags }, argv, envp);
    };
    let program = program_path(dir, path, flags, file.ok().as_ref())?;
    let mut list = emulator_arguments(cx, argv.first(), program)?;
    list.extend(argv.into_iter().skip(1));
    replace_process(cx, emulator, list, envp)
}

/// How the emulator is executed from here, if it can be.
fn emulator(cx: &Cx) -> Result<Option<At>, Errno> {
    let path = &cx.options().emulator;
    if path.exists() {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| EINVAL)?;
        return Ok(Some(At { dir: libc::AT_FDCWD, path, flags: 0 }));
    }
    let at = |dir| At { dir, path: CString::default(), flags: libc::AT_EMPTY_PATH };
    Ok(emulator::descriptor().map(at))
}

fn emulator_arguments(cx: &Cx, argv0: Option<&CString>, program: CString) -> Result<Vec<CString>, Errno> {
    let options = cx.options().emulator_args.iter().map(|a| CString::new(a.as_bytes()).map_err(|_| EINVAL));
    let mut list = options.collect::<Result<Vec<_>, _>>()?;
    if let Some(fd) = emulator::descriptor() {
        list.extend([c"-emulator-fd".to_owned(), CString::new(fd.to_string()).map_err(|_| EINVAL)?]);
    }
    list.extend([c"-0".to_owned(), argv0.cloned().unwrap_or_default(), program]);
    Ok(list)
}

fn open_at(dir: i32, path: &CStr, flags: i32) -> Result<File, Errno> {
    let follow = if flags & libc::AT_SYMLINK_NOFOLLOW != 0 { libc::O_NOFOLLOW } else { 0 };
    if path.is_empty() && flags & libc::AT_EMPTY_PATH != 0 {
        return File::open(format!("/proc/self/fd/{dir}")).map_err(errno);
    }
    let open_flags = (libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | follow) as u64;
    let fd = call(libc::SYS_openat, [dir as u64, path.as_ptr() as u64, open_flags])?;
    Ok(crate::kernel::own(fd as i32))
}

/// A path under which the emulator finds the file after the old descriptors are gone. One that looks like an option is
/// made to look like a path.
fn program_path(dir: i32, path: CString, flags: i32, file: Option<&File>) -> Result<CString, Errno> {
    let bytes = path.as_bytes();
    let by_descriptor = flags & libc::AT_EMPTY_PATH != 0 && bytes.is_empty();
    let relative_to_dir = dir != libc::AT_FDCWD && !bytes.starts_with(b"/");
    if by_descriptor || relative_to_dir {
        let file = file.ok_or(EINVAL)?;
        if let Some(real) = real_path(file).filter(|p| p.exists()) {
            return CString::new(real.into_os_string().into_vec()).map_err(|_| EINVAL);
        }
        // A file without a name: the descriptor stays open in the program.
        let kept = call(libc::SYS_fcntl, [file.as_raw_fd() as u64, libc::F_DUPFD as u64, 3])?;
        return CString::new(format!("/proc/self/fd/{kept}")).map_err(|_| EINVAL);
    }
    if bytes.starts_with(b"-") { CString::new([b"./", bytes].concat()).map_err(|_| EINVAL) } else { Ok(path) }
}

/// A file to execute.
struct At {
    dir: i32,
    path: CString,
    flags: i32,
}

fn pointers(list: &[CString]) -> Vec<u64> {
    list.iter().map(|s| s.as_ptr() as u64).chain([0]).collect()
}

/// The host's `execveat`. The program inherits the guest's signal mask.
fn replace_process(cx: &mut Cx, at: At, argv: Vec<CString>, envp: Vec<CString>) -> SysResult {
    cx.hold_signals()?;
    let (args, env) = (pointers(&argv), pointers(&envp));
    // A `vfork` child does not come back to free what it allocated: its parent does.
    cx.task.exec_memory = argv.into_iter().chain(envp).chain([at.path]).collect();
    let path = cx.task.exec_memory.last().map_or(0, |p| p.as_ptr() as u64);
    if !cx.task.vforked {
        cx.options().run_exit_hook();
    }
    sigprocmask(MaskHow::Set, cx.task.signals.mask.0);
    let host_args = [at.dir as u64, path, args.as_ptr() as u64, env.as_ptr() as u64, at.flags as u64];
    let ignored = cx.task.sighand.ignored();
    let result = crate::signal::host::with_ignored(ignored, || call(libc::SYS_execveat, host_args));
    cx.task.signals.pending().assume_held();
    cx.task.exec_memory = Vec::new();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
        script(text).map(|s| (s.interpreter, s.argument))
    }

    #[test]
    fn first_lines_of_scripts() {
        assert_eq!(parsed(b"#!/bin/sh\necho"), Some((b"/bin/sh".to_vec(), None)));
        assert_eq!(parsed(b"#! /bin/sh -e  -x \n"), Some((b"/bin/sh".to_vec(), Some(b"-e  -x".to_vec()))));
        assert_eq!(parsed(b"#!/usr/bin/env\tpython3"), Some((b"/usr/bin/env".to_vec(), Some(b"python3".to_vec()))));
        assert_eq!(parsed(b"#!\n"), None);
        assert_eq!(parsed(b"#!   "), None);
        assert_eq!(parsed(b"\x7fELF"), None);
        assert_eq!(parsed(b""), None);
    }

    #[test]
    fn arguments_of_scripts() {
        let script = Script { interpreter: b"/bin/sh".to_vec(), argument: Some(b"-e".to_vec()) };
        let args = [c"name".to_owned(), c"one".to_owned()];
        let list = script_arguments(&script, b"/tmp/script", &args).unwrap();
        assert_eq!(list, [c"/bin/sh", c"-e", c"/tmp/script", c"one"].map(CStr::to_owned));
    }

    #[test]
    fn paths_that_look_like_options() {
        let path = |p: &CStr| program_path(libc::AT_FDCWD, p.to_owned(), 0, None).unwrap();
        assert_eq!(path(c"-x"), c"./-x".to_owned());
        assert_eq!(path(c"/bin/x"), c"/bin/x".to_owned());
    }

    #[test]
    fn missing_programs_are_reported() {
        let options = Options::new("/isamorph-none", vec![], vec![]);
        let error = open_program(&options, None).err().unwrap();
        assert_eq!(error.to_string(), "Error while loading /isamorph-none: No such file or directory");
        let options = Options::new("/proc/self/stat", vec![], vec![]);
        assert_eq!(open_program(&options, None).err().unwrap().exit_code(), 255);
    }
}
