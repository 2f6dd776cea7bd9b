//! Calls of the host's kernel.
#![allow(unsafe_code)] // system calls with pointers

use crate::errno::{EINTR, ERESTARTSYS, Errno};
use crate::signal::SigSet;
use crate::table::SysResult;
use crate::task::Cx;
use isamorph_host::signal as host;

/// Makes a host system call that does not block, or whose interruption need not be noticed at once. Pointers in `args`
/// are host addresses: of guest memory as [`Cx::host_ptr`] gives them, or of buffers of the caller.
pub fn call<const N: usize>(nr: libc::c_long, args: [u64; N]) -> SysResult {
    let mut a = [0; 6];
    a[..N].copy_from_slice(&args);
    // SAFETY: the kernel checks pointers; callers pass memory that it may use as the call demands.
    result(unsafe { host::syscall(nr, a) })
}

/// The time of a clock, seconds and nanoseconds. Most clocks are read without entering the kernel.
///
/// # Errors
/// `EINVAL` for a clock that does not exist.
pub fn clock_gettime(clock: i32) -> Result<[i64; 2], Errno> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is written before the call returns.
    let r = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if r == 0 { Ok([time.tv_sec, time.tv_nsec]) } else { Err(Errno::last()) }
}

/// The kernel's convention: error numbers are returned negated.
fn result(raw: i64) -> SysResult {
    if (-4095..0).contains(&raw) { Err(Errno(-raw as i32)) } else { Ok(raw as u64) }
}

impl Cx {
    /// Makes a host system call that may block. A signal for the guest that arrives before the call has done anything
    /// makes it return [`ERESTARTSYS`]; no arrival is missed, however close before the call it is.
    ///
    /// # Errors
    /// What the kernel returns.
    pub fn blocking_call<const N: usize>(&mut self, nr: libc::c_long, args: [u64; N]) -> SysResult {
        let mut a = [0; 6];
        a[..N].copy_from_slice(&args);
        // SAFETY: as for `call`; the flag lives as long as the thread.
        unsafe { host::safe_syscall(nr, a, self.task.signals.flag()) }.map_or(Err(ERESTARTSYS), result)
    }

    /// Makes a host system call that takes a signal mask for its duration (`ppoll`, `pselect6`, `epoll_pwait`). `call`
    /// gets the host address of the 8-byte mask. Without a mask it is a call without one, and gets a null pointer.
    ///
    /// # Errors
    /// What the kernel returns; `EINTR` leaves the mask in force until the signal is delivered, as the kernel does.
    pub fn masked_call(
        &mut self,
        mask: Option<SigSet>,
        nr: libc::c_long,
        args: impl FnOnce(u64) -> [u64; 6],
    ) -> SysResult {
        let Some(mask) = mask else { return self.blocking_call(nr, args(0)) };
        self.hold_signals()?;
        let host = self.task.signals.host_mask(mask);
        let result = call(nr, args(&raw const host as u64));
        if result == Err(EINTR) {
            self.task.signals.suspend(mask);
        }
        result
    }
}

/// Writes a message to standard error in one piece; if that fails there is nobody to tell. No lock is taken, which
/// another thread might hold when the process forks.
pub fn write_stderr(text: &str) {
    let _ = call(libc::SYS_write, [libc::STDERR_FILENO as u64, text.as_ptr() as u64, text.len() as u64]);
}

/// An entry of this process's own auxiliary vector.
pub fn auxv(kind: u64) -> u64 {
    // SAFETY: reads what the kernel passed at the start.
    unsafe { libc::getauxval(kind) }
}

/// Fills a small buffer with random bytes.
///
/// # Errors
/// What the kernel returns.
pub fn random_bytes(out: &mut [u8]) -> Result<(), Errno> {
    call(libc::SYS_getrandom, [out.as_mut_ptr() as u64, out.len() as u64, 0]).map(|_| ())
}

/// Device and inode of an open file.
///
/// # Errors
/// What the kernel returns.
pub fn file_identity(fd: i32) -> Result<(u64, u64), Errno> {
    // SAFETY: all zeros are a valid value of the structure, which the call fills.
    unsafe {
        let mut data: libc::stat = std::mem::zeroed();
        call(libc::SYS_fstat, [fd as u64, (&raw mut data) as u64])?;
        Ok((data.st_dev, data.st_ino))
    }
}

/// `fork`, or `clone` with a copy of the memory. Returns the child's process id, 0 in the child, and with
/// `CLONE_PIDFD` its file descriptor.
///
/// # Errors
/// What the kernel returns.
pub fn fork_process(flags: u64, exit_signal: i32) -> Result<(u64, i32), Errno> {
    if flags == 0 && exit_signal == libc::SIGCHLD {
        // The C library's function also leaves its own locks consistent.
        // SAFETY: only this thread goes on in the child, and what it needs there has been locked by the caller.
        let pid = unsafe { libc::fork() };
        return if pid < 0 { Err(Errno::last()) } else { Ok((pid as u64, -1)) };
    }
    let mut pidfd = -1i32;
    let pid = call(libc::SYS_clone, [flags | exit_signal as u64, 0, &raw mut pidfd as u64, 0, 0])?;
    Ok((pid, pidfd))
}

/// Size of the stack of a child that shares our memory.
const CHILD_STACK: usize = 1 << 20;

/// Makes a child that shares the memory and runs `child` on a stack of its own and ends with the status that it
/// returns; comes back when
/// it has executed a program or ended. The result is that of [`fork_process`].
///
/// # Errors
/// What the kernel returns.
pub fn vfork_process(flags: u64, exit_signal: i32, child: &mut dyn FnMut() -> i32) -> Result<(u64, i32), Errno> {
    type Child<'a> = &'a mut dyn FnMut() -> i32;
    extern "C" fn enter(child: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the pointer is that of `child` below, which the sleeping parent keeps alive and does not touch.
        unsafe { (*child.cast::<Child<'_>>())() }
    }
    let stack = isamorph_host::map::Reservation::anywhere(CHILD_STACK)?;
    let writable = stack.start() + isamorph_host::map::page_size();
    let top = stack.start() + CHILD_STACK;
    let kind = libc::MAP_PRIVATE | libc::MAP_NORESERVE | libc::MAP_STACK;
    stack.map_anon(writable, top - writable, libc::PROT_READ | libc::PROT_WRITE, kind)?;
    let (mut pidfd, mut child): (i32, Child<'_>) = (-1, child);
    let flags = flags as i32 | libc::CLONE_VM | libc::CLONE_VFORK | exit_signal;
    // SAFETY: the stack is fresh and stays mapped while the child can use it: the parent sleeps until it cannot.
    let pid = unsafe { libc::clone(enter, top as *mut libc::c_void, flags, (&raw mut child).cast(), &raw mut pidfd) };
    if pid < 0 { Err(Errno::last()) } else { Ok((pid as u64, pidfd)) }
}

/// Takes over a file descriptor that a system call just returned.
pub fn own(fd: i32) -> std::fs::File {
    // SAFETY: the caller got it from the kernel, and nobody else has it.
    unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) }
}
