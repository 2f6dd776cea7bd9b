//! The host's calls on files that the standard library does not have.
#![allow(unsafe_code)] // fcntl, fallocate and ioctl have no safe form in the standard library

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// `BLKGETSIZE64` of `linux/fs.h`: size of a block device, bytes.
const BLKGETSIZE64: libc::c_ulong = 0x8008_1272;

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn lock_of(start: u64, exclusive: bool) -> libc::flock {
    let kind = if exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start as libc::off_t,
        l_len: 1,
        l_pid: 0,
    }
}

/// Takes a shared lock of one byte; it belongs to the open file, not to the process.
pub fn lock_byte(file: &File, at: u64) -> io::Result<()> {
    let mut lock = lock_of(at, false);
    // SAFETY: the descriptor is open and the structure lives until the call returns.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) })
}

/// Whether an open file other than this one has a lock of that byte.
pub fn is_byte_locked(file: &File, at: u64) -> io::Result<bool> {
    let mut lock = lock_of(at, true);
    // SAFETY: the descriptor is open and the structure lives until the call returns.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) })?;
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}

/// Number of bytes of a block device.
pub fn block_device_size(file: &File) -> io::Result<u64> {
    let mut size = 0u64;
    // SAFETY: the call writes eight bytes to `size`.
    check(unsafe { libc::ioctl(file.as_raw_fd(), BLKGETSIZE64, &raw mut size) })?;
    Ok(size)
}

/// Gives the bytes of a file back to the host's file system; they read as zeros.
pub fn punch_hole(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: the descriptor is open; the call takes no pointer.
    check(unsafe { libc::fallocate(file.as_raw_fd(), mode, offset as libc::off_t, len as libc::off_t) })
}
