//! `isamorph chroot`: enters a root file system, foreign or not, and runs a command there.
//!
//! Without being root, a user namespace makes the caller root inside (`user_namespaces(7)`). What the command executes
//! is followed by the emulator itself: no rule of `binfmt_misc` is needed. Since the host's libraries cannot be seen
//! from inside, the emulator must be a static binary.

#![allow(unsafe_code)] // namespaces and mounts have no safe calls in the standard library

use crate::end::End;
use isamorph_linux_user::sys::emulator;
use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::chroot;
use std::path::{Path, PathBuf};

const USAGE: &str = "\
usage: isamorph chroot DIRECTORY [COMMAND [ARGUMENT...]]
Runs a command (default: /bin/sh -i) with DIRECTORY as its root, as root of a user namespace if the caller is not root.
/proc, /sys and /dev are those of the host where the directory has a place for them.
";

/// Where a process finds its own program.
const EMULATOR: &str = "/proc/self/exe";

/// What lies in the new root as it does in the host's.
const SHARED: [&str; 3] = ["proc", "sys", "dev"];

/// Enters the root; gives the command line to run inside.
///
/// # Errors
/// The arguments are wrong, or the kernel refuses.
pub fn enter(arguments: Vec<OsString>) -> Result<Vec<OsString>, End> {
    let mut arguments = arguments.into_iter();
    let root = arguments.next().map(PathBuf::from).ok_or(End::Text(USAGE.to_owned()))?;
    if root.as_os_str() == "--help" {
        return Err(End::Text(USAGE.to_owned()));
    }
    let mut command: Vec<_> = arguments.collect();
    if command.is_empty() {
        command = ["/bin/sh", "-i"].map(OsString::from).to_vec();
    }
    let fail = |what: &str| {
        let what = what.to_owned();
        move |e: io::Error| End::failed(format!("chroot: {what}: {e}"))
    };
    if !root.is_dir() {
        return Err(End::failed(format!("chroot: {}: not a directory", root.display())));
    }
    emulator::keep(Path::new(EMULATOR));
    separate().map_err(fail("a new namespace"))?;
    for name in SHARED {
        let (from, to) = (Path::new("/").join(name), root.join(name));
        if to.is_dir() && fs::read_dir(&to).is_ok_and(|mut inside| inside.next().is_none()) {
            bind(&from, &to).map_err(fail(&to.display().to_string()))?;
        }
    }
    chroot(&root).and_then(|()| std::env::set_current_dir("/")).map_err(fail(&root.display().to_string()))?;
    emulator::release(Path::new(EMULATOR));
    command[0] = find(&command[0]).ok_or_else(|| End::Failed {
        message: format!("chroot: {}: not found in {}", command[0].to_string_lossy(), root.display()),
        status: 127,
    })?;
    Ok(command)
}

/// Puts the process into a mount namespace of its own, and into a user namespace in which it is root unless it is root.
fn separate() -> io::Result<()> {
    // SAFETY: no arguments.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    let is_root = user == 0;
    let flags = libc::CLONE_NEWNS | if is_root { 0 } else { libc::CLONE_NEWUSER };
    // SAFETY: the process has one thread yet, and nothing depends on its namespaces.
    check(unsafe { libc::unshare(flags) })?;
    if !is_root {
        // A process without privileges may map only itself, and must give up changing its groups for that.
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
        fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    }
    // What is mounted here is not to be seen outside.
    mount(Path::new("none"), Path::new("/"), libc::MS_REC | libc::MS_PRIVATE)
}

fn bind(from: &Path, to: &Path) -> io::Result<()> {
    mount(from, to, libc::MS_BIND | libc::MS_REC)
}

fn mount(from: &Path, to: &Path, flags: libc::c_ulong) -> io::Result<()> {
    let [from, to] = [from, to].map(|path| CString::new(path.as_os_str().as_bytes()));
    let (from, to) = (from?, to?);
    // SAFETY: both are strings, and the type and the data are not used with these flags.
    check(unsafe { libc::mount(from.as_ptr(), to.as_ptr(), std::ptr::null(), flags, std::ptr::null()) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The file of a command, by the usual search path if it is a plain name.
fn find(command: &OsString) -> Option<OsString> {
    if command.as_bytes().contains(&b'/') {
        return Path::new(command).exists().then(|| command.clone());
    }
    let places = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    places.iter().map(|place| Path::new(place).join(command)).find(|path| path.is_file()).map(PathBuf::into_os_string)
}
