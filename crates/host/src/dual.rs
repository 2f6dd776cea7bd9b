//! Memory for generated code: one object mapped twice, once writable and once executable, never both at once.
#![allow(unsafe_code)] // raw views of the same memory

use crate::map::{self, Errno, Reservation};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Code memory with a writable and an executable view.
///
/// The views are shared mappings: after a `fork` the child must [`adopt`](DualMap::adopt) a [`Snapshot`] taken before
/// it, or parent and child would write into each other's code.
#[derive(Debug)]
pub struct DualMap {
    rw: Reservation,
    rx: Reservation,
    /// Serialises [`write`](DualMap::write) and [`read`](DualMap::read).
    lock: Mutex<()>,
}

/// A private copy of a [`DualMap`]'s contents; see [`DualMap::snapshot`].
#[derive(Debug)]
pub struct Snapshot {
    fd: OwnedFd,
}

fn memory_object(len: usize) -> Result<OwnedFd, Errno> {
    // SAFETY: the name is a NUL-terminated string.
    let fd = unsafe { libc::memfd_create(c"isamorph-code".as_ptr(), libc::MFD_CLOEXEC) };
    Errno::check(fd)?;
    // SAFETY: the descriptor is new and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: the descriptor is open.
    Errno::check(unsafe { libc::ftruncate(fd.as_raw_fd(), len as i64) })?;
    Ok(fd)
}

impl DualMap {
    /// Memory of `len` bytes, rounded up to whole pages; at most 2 GiB, so that every displacement fits 32 bits.
    pub fn new(len: usize) -> Result<Self, Errno> {
        if len == 0 || len > 1 << 31 {
            return Err(Errno(libc::EINVAL));
        }
        let len = len.next_multiple_of(map::page_size());
        let fd = memory_object(len)?;
        let dual = DualMap { rw: Reservation::anywhere(len)?, rx: Reservation::anywhere(len)?, lock: Mutex::new(()) };
        dual.map_views(&fd)?;
        Ok(dual)
    }

    fn map_views(&self, fd: &OwnedFd) -> Result<(), Errno> {
        let views = [(&self.rw, libc::PROT_READ | libc::PROT_WRITE), (&self.rx, libc::PROT_READ | libc::PROT_EXEC)];
        for (view, prot) in views {
            view.map_file(view.start(), view.len(), prot, libc::MAP_SHARED, fd.as_raw_fd(), 0)?;
        }
        Ok(())
    }

    /// Address of the executable view.
    pub fn rx_base(&self) -> usize {
        self.rx.start()
    }

    /// Length in bytes.
    #[allow(clippy::len_without_is_empty)] // never empty
    pub fn len(&self) -> usize {
        self.rw.len()
    }

    fn locked(&self, at: usize, len: usize) -> MutexGuard<'_, ()> {
        let inside = at <= self.len() && len <= self.len() - at;
        assert!(inside, "{len} bytes at {at:#x} are outside the code memory");
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores bytes. They must not be reachable by running code until this returns.
    ///
    /// # Panics
    /// If the range is not inside.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        let _guard = self.locked(at, bytes.len());
        let to = (self.rw.start() + at) as *mut u8;
        // SAFETY: the range is inside the writable view, which no reference points into; the lock excludes others.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// Replaces four bytes that running code may be executing, in one store, after everything written before. They
    /// must not cross a 16-byte boundary, so that instruction fetch sees the old or the new value.
    ///
    /// # Panics
    /// If the range is not inside, or crosses a 16-byte boundary.
    pub fn store_u32(&self, at: usize, value: u32) {
        assert!(at % 16 <= 12, "{at:#x}: a patched field must not cross a 16-byte boundary");
        let _guard = self.locked(at, 4);
        let to = (self.rw.start() + at) as *mut u32;
        if at.is_multiple_of(4) {
            // SAFETY: aligned, inside the writable view.
            unsafe { AtomicU32::from_ptr(to) }.store(value, Ordering::Release);
        } else {
            // Rust's atomics must be aligned. The processor's stores are atomic inside a cache line and in order.
            // SAFETY: inside the writable view; `asm!` without options is a compiler barrier for memory.
            unsafe { std::arch::asm!("mov dword ptr [{to}], {value:e}", to = in(reg) to, value = in(reg) value) };
        }
    }

    /// Copies bytes out.
    ///
    /// # Panics
    /// If the range is not inside.
    pub fn read(&self, at: usize, out: &mut [u8]) {
        let _guard = self.locked(at, out.len());
        let from = (self.rw.start() + at) as *const u8;
        // SAFETY: as in `write`.
        unsafe { std::ptr::copy_nonoverlapping(from, out.as_mut_ptr(), out.len()) };
    }

    /// Copies the first `used` bytes for a child process that is about to be forked. With `used` = 0 the child starts
    /// with zeroes. No other thread may write between this and the fork.
    pub fn snapshot(&self, used: usize) -> Result<Snapshot, Errno> {
        let fd = memory_object(self.len())?;
        let _guard = self.locked(0, used);
        let mut done = 0;
        while done < used {
            let from = (self.rw.start() + done) as *const libc::c_void;
            // SAFETY: the source is inside the writable view.
            let n = unsafe { libc::pwrite(fd.as_raw_fd(), from, used - done, done as i64) };
            if n <= 0 {
                return Err(Errno::last());
            }
            done += n as usize;
        }
        Ok(Snapshot { fd })
    }

    /// In a forked child, before any code runs: puts the snapshot in place of the memory shared with the parent. The
    /// addresses of both views stay.
    pub fn adopt(&self, snapshot: Snapshot) -> Result<(), Errno> {
        self.map_views(&snapshot.fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(map: &DualMap, at: usize) -> u32 {
        // SAFETY: the tests put `mov eax, imm32; ret` there.
        let f: extern "C" fn() -> u32 = unsafe { std::mem::transmute(map.rx_base() + at) };
        f()
    }

    #[test]
    fn code_runs_and_is_patched() {
        let map = DualMap::new(100).unwrap();
        assert_eq!(map.len(), map::page_size());
        map.write(0, &[0xb8, 7, 0, 0, 0, 0xc3]);
        assert_eq!(run(&map, 0), 7);
        map.store_u32(1, 0x1234_5678);
        assert_eq!(run(&map, 0), 0x1234_5678);
        let mut back = [0; 6];
        map.read(0, &mut back);
        assert_eq!(back, [0xb8, 0x78, 0x56, 0x34, 0x12, 0xc3]);
    }

    #[test]
    fn no_view_is_writable_and_executable() {
        let map = DualMap::new(1 << 16).unwrap();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let views: Vec<&str> = maps.lines().filter(|l| l.contains("memfd:isamorph-code")).collect();
        assert!(views.iter().any(|l| l.starts_with(&format!("{:x}-", map.rx_base())) && l.contains(" r-xs ")));
        assert!(!views.iter().any(|l| l.contains("wx")), "{views:?}");
    }

    #[test]
    #[should_panic(expected = "16-byte boundary")]
    fn patches_do_not_cross() {
        DualMap::new(64).unwrap().store_u32(13, 0);
    }

    #[test]
    #[should_panic(expected = "outside")]
    fn writes_stay_inside() {
        DualMap::new(4096).unwrap().write(4090, &[0; 7]);
    }

    #[test]
    fn adopting_a_snapshot_separates() {
        let map = DualMap::new(4096).unwrap();
        map.write(0, &[0xb8, 1, 0, 0, 0, 0xc3]);
        let snapshot = map.snapshot(6).unwrap();
        map.store_u32(1, 2);
        assert_eq!(run(&map, 0), 2);
        map.adopt(snapshot).unwrap();
        assert_eq!(run(&map, 0), 1);
        map.store_u32(1, 3);
        assert_eq!(run(&map, 0), 3);
    }
}
