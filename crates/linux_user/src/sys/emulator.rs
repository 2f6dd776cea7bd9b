//! The emulator's own file, which executes what the guest executes.
//!
//! Usually `/proc/self/exe` leads to it. A root file system that a program enters may have no `/proc`; so before a
//! program changes its root, the file is opened, and the descriptor is handed on from program to program. The guest
//! does not close it.

use crate::errno::EBADF;
use crate::kernel::call;
use crate::sys::fs;
use crate::table::SysResult;
use crate::task::Cx;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};

/// The descriptor; −1 for none.
static FILE: AtomicI32 = AtomicI32::new(-1);

/// Above what programs open, and below the usual limit of 1024.
const LEAST: u64 = 1000;

/// Opens the file, if it is not open, before its path leads nowhere.
pub fn keep(path: &Path) {
    if descriptor().is_none()
        && let Ok(path) = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())
        && let Ok(fd) = call(libc::SYS_openat, [libc::AT_FDCWD as u64, path.as_ptr() as u64, libc::O_PATH as u64])
    {
        if let Ok(kept) = call(libc::SYS_fcntl, [fd, libc::F_DUPFD as u64, LEAST]) {
            adopt(kept as i32);
        }
        let _ = call(libc::SYS_close, [fd]);
    }
}

/// Closes the file if its path leads to it: programs that count their descriptors see one less.
pub fn release(path: &Path) {
    if path.exists() {
        let fd = FILE.swap(-1, Ordering::Relaxed);
        if fd >= 0 {
            let _ = call(libc::SYS_close, [fd as u64]);
        }
    }
}

/// The emulator that executed this one has opened it.
pub fn adopt(fd: i32) {
    FILE.store(fd, Ordering::Relaxed);
}

/// The descriptor, if there is one.
pub fn descriptor() -> Option<i32> {
    Some(FILE.load(Ordering::Relaxed)).filter(|fd| *fd >= 0)
}

/// `close(2)`.
///
/// # Errors
/// As the manual page says.
pub fn close(_: &mut Cx, [fd, ..]: [u64; 6]) -> SysResult {
    if descriptor() == Some(fd as i32) { Err(EBADF) } else { call(libc::SYS_close, [fd]) }
}

/// `close_range(2)`.
///
/// # Errors
/// As the manual page says.
pub fn close_range(_: &mut Cx, [first, last, flags, ..]: [u64; 6]) -> SysResult {
    let range = |first: u32, last: u32| call(libc::SYS_close_range, [first.into(), last.into(), flags]);
    let (first, last) = (first as u32, last as u32);
    let Some(own) = descriptor().map(|fd| fd as u32).filter(|fd| (first..=last).contains(fd)) else {
        return range(first, last);
    };
    let before = if first < own { range(first, own - 1) } else { Ok(0) };
    let after = if own < last { range(own + 1, last) } else { Ok(0) };
    before.and(after)
}

/// `chroot(2)`.
///
/// # Errors
/// As the manual page says.
pub fn chroot(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    keep(&cx.options().emulator);
    let result = fs::chroot(cx, args);
    release(&cx.options().emulator);
    result
}

/// `pivot_root(2)`.
///
/// # Errors
/// As the manual page says.
pub fn pivot_root(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    keep(&cx.options().emulator);
    let result = fs::pivot_root(cx, args);
    release(&cx.options().emulator);
    result
}
