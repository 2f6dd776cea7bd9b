//! Host memory mappings: thin wrappers around the system calls, and [`Reservation`], a range of address space inside
//! which mapping is safe because no Rust object lives there.
#![allow(unsafe_code)] // mmap and its relatives; the window's memory is accessed through raw addresses

use crate::copy;
use std::fmt;
use std::ops::Range;

/// An error number of the host kernel.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// The calling thread's last error.
    pub fn last() -> Self {
        Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }

    /// Turns the `-1`/`errno` convention of libc into a result.
    pub fn check(result: i32) -> Result<(), Errno> {
        if result == -1 { Err(Errno::last()) } else { Ok(()) }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {self})", self.0)
    }
}

impl std::error::Error for Errno {}

impl From<Errno> for std::io::Error {
    fn from(e: Errno) -> Self {
        std::io::Error::from_raw_os_error(e.0)
    }
}

/// Size of a host page.
pub fn page_size() -> usize {
    // SAFETY: sysconf has no preconditions.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// `mmap`. Protection and flags are libc's constants.
///
/// # Safety
/// With `MAP_FIXED`, the range must not hold anything that Rust code uses.
pub unsafe fn mmap(addr: usize, len: usize, prot: i32, flags: i32, fd: i32, offset: i64) -> Result<usize, Errno> {
    // SAFETY: the caller answers for the range.
    let p = unsafe { libc::mmap(addr as *mut libc::c_void, len, prot, flags, fd, offset) };
    if p == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(p as usize) }
}

/// `munmap`.
///
/// # Safety
/// The range must not hold anything that Rust code uses.
pub unsafe fn munmap(addr: usize, len: usize) -> Result<(), Errno> {
    // SAFETY: the caller answers for the range.
    Errno::check(unsafe { libc::munmap(addr as *mut libc::c_void, len) })
}

/// `mprotect`.
///
/// # Safety
/// The range must not hold anything that Rust code uses in a way that the protection forbids.
pub unsafe fn mprotect(addr: usize, len: usize, prot: i32) -> Result<(), Errno> {
    // SAFETY: the caller answers for the range.
    Errno::check(unsafe { libc::mprotect(addr as *mut libc::c_void, len, prot) })
}

/// `madvise`.
///
/// # Safety
/// Advice that changes contents (`MADV_DONTNEED`, ...) must not be given about memory that Rust code uses.
pub unsafe fn madvise(addr: usize, len: usize, advice: i32) -> Result<(), Errno> {
    // SAFETY: the caller answers for the range.
    Errno::check(unsafe { libc::madvise(addr as *mut libc::c_void, len, advice) })
}

/// `mremap`; `new_addr` counts only with `MREMAP_FIXED` (or as the hint of `MREMAP_DONTUNMAP`).
///
/// # Safety
/// Neither range may hold anything that Rust code uses.
pub unsafe fn mremap(old: usize, old_len: usize, len: usize, flags: i32, new_addr: usize) -> Result<usize, Errno> {
    // SAFETY: the caller answers for the ranges.
    let p = unsafe { libc::mremap(old as *mut libc::c_void, old_len, len, flags, new_addr as *mut libc::c_void) };
    if p == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(p as usize) }
}

/// `msync`.
pub fn msync(addr: usize, len: usize, flags: i32) -> Result<(), Errno> {
    // SAFETY: msync only writes memory back to its file.
    Errno::check(unsafe { libc::msync(addr as *mut libc::c_void, len, flags) })
}

/// Flags of a range that is reserved and not accessible.
const HOLD: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

/// A range of host address space that belongs to its owner: at first inaccessible, later whatever the owner maps
/// there. Rust references never point into it; its memory is accessed with [`copy`] or by generated code.
///
/// A range that is too large to be kept free of others can be [shared](Reservation::shared) with them. Then only the
/// parts that the owner has [claimed](Reservation::claim) belong to it.
///
/// All addresses are absolute host addresses; what is not entirely inside the range is refused with `EINVAL`.
#[derive(Debug)]
pub struct Reservation {
    start: usize,
    len: usize,
    /// Whether there may be something else inside.
    shared: bool,
}

impl Reservation {
    /// Reserves `len` bytes anywhere.
    pub fn anywhere(len: usize) -> Result<Self, Errno> {
        // SAFETY: not a fixed mapping.
        let start = unsafe { mmap(0, len, libc::PROT_NONE, HOLD, -1, 0) }?;
        Ok(Reservation { start, len, shared: false })
    }

    /// Reserves exactly this range; `EEXIST` if something is already there.
    pub fn at(start: usize, len: usize) -> Result<Self, Errno> {
        // SAFETY: MAP_FIXED_NOREPLACE never replaces a mapping.
        let got = unsafe { mmap(start, len, libc::PROT_NONE, HOLD | libc::MAP_FIXED_NOREPLACE, -1, 0) }?;
        let reservation = Reservation { start: got, len, shared: false };
        // Kernels before 4.17 take the address as a hint; dropping the reservation gives it back.
        if got == start { Ok(reservation) } else { Err(Errno(libc::EEXIST)) }
    }

    /// A range in which nothing is reserved: others may have, and make, mappings there.
    ///
    /// # Safety
    /// Apart from [`claim`](Self::claim) and reading, whoever has it names only memory that was claimed and not
    /// discarded since.
    pub unsafe fn shared(start: usize, len: usize) -> Self {
        Reservation { start, len, shared: true }
    }

    /// Whether others may have mappings inside.
    pub fn is_shared(&self) -> bool {
        self.shared
    }

    /// Makes sure that a part of the range belongs to the owner: `EEXIST` if somebody else has something there.
    pub fn claim(&self, addr: usize, len: usize) -> Result<(), Errno> {
        self.check(addr, len)?;
        if self.shared { Reservation::at(addr, len).map(std::mem::forget) } else { Ok(()) }
    }

    /// First address.
    pub fn start(&self) -> usize {
        self.start
    }

    /// Length in bytes.
    #[allow(clippy::len_without_is_empty)] // an empty range cannot be reserved
    pub fn len(&self) -> usize {
        self.len
    }

    /// The range of addresses.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.len
    }

    /// Whether the whole range is inside.
    pub fn contains(&self, addr: usize, len: usize) -> bool {
        addr >= self.start && len <= self.len && addr - self.start <= self.len - len
    }

    fn check(&self, addr: usize, len: usize) -> Result<(), Errno> {
        if self.contains(addr, len) { Ok(()) } else { Err(Errno(libc::EINVAL)) }
    }

    /// Maps fresh memory, replacing what is there. `flags` are libc's, without placement flags.
    pub fn map_anon(&self, addr: usize, len: usize, prot: i32, flags: i32) -> Result<(), Errno> {
        self.map(addr, len, prot, flags | libc::MAP_ANONYMOUS, -1, 0)
    }

    /// Maps a file, replacing what is there. `flags` are libc's, without placement flags.
    pub fn map_file(&self, addr: usize, len: usize, prot: i32, flags: i32, fd: i32, offset: i64) -> Result<(), Errno> {
        self.map(addr, len, prot, flags & !libc::MAP_ANONYMOUS, fd, offset)
    }

    fn map(&self, addr: usize, len: usize, prot: i32, flags: i32, fd: i32, offset: i64) -> Result<(), Errno> {
        self.check(addr, len)?;
        // A mapping that could grow would leave the range.
        let flags = flags & !(libc::MAP_FIXED_NOREPLACE | libc::MAP_GROWSDOWN) | libc::MAP_FIXED;
        // SAFETY: the range is inside the reservation, where nothing of Rust's lives.
        unsafe { mmap(addr, len, prot, flags, fd, offset) }.map(drop)
    }

    /// Attaches a System V shared memory segment, replacing what is there; `EINVAL` if it is longer than `len`.
    /// Dropping or discarding the range detaches it.
    pub fn attach(&self, addr: usize, len: usize, write: bool, shmid: i32) -> Result<(), Errno> {
        self.check(addr, len)?;
        // SAFETY: an all-zero shmid_ds is a value; the kernel fills it in.
        let mut segment: libc::shmid_ds = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to that structure.
        Errno::check(unsafe { libc::shmctl(shmid, libc::IPC_STAT, &mut segment) })?;
        if segment.shm_segsz > len {
            return Err(Errno(libc::EINVAL));
        }
        let flags = libc::SHM_REMAP | if write { 0 } else { libc::SHM_RDONLY };
        // SAFETY: as in `map`: the segment's size does not change.
        let p = unsafe { libc::shmat(shmid, addr as *const libc::c_void, flags) };
        if p as isize == -1 { Err(Errno::last()) } else { Ok(()) }
    }

    /// Changes the protection.
    pub fn protect(&self, addr: usize, len: usize, prot: i32) -> Result<(), Errno> {
        self.check(addr, len)?;
        // SAFETY: as in `map`.
        unsafe { mprotect(addr, len, prot) }
    }

    /// Drops what is mapped there; the range stays reserved, if it was.
    pub fn discard(&self, addr: usize, len: usize) -> Result<(), Errno> {
        if !self.shared {
            return self.map(addr, len, libc::PROT_NONE, HOLD, -1, 0);
        }
        self.check(addr, len)?;
        // SAFETY: the owner names only what it claimed, where nothing of Rust's lives.
        unsafe { munmap(addr, len) }
    }

    /// `madvise`.
    pub fn advise(&self, addr: usize, len: usize, advice: i32) -> Result<(), Errno> {
        self.check(addr, len)?;
        // SAFETY: as in `map`.
        unsafe { madvise(addr, len, advice) }
    }

    /// `msync`.
    pub fn sync(&self, addr: usize, len: usize, flags: i32) -> Result<(), Errno> {
        self.check(addr, len)?;
        msync(addr, len, flags)
    }

    /// Moves a mapping inside the reservation to `new`, replacing what is there, with a new length. Unless `keep`
    /// (`MREMAP_DONTUNMAP`), the old range becomes inaccessible and stays reserved.
    pub fn relocate(&self, old: usize, old_len: usize, new: usize, len: usize, keep: bool) -> Result<(), Errno> {
        self.check(old, old_len)?;
        self.check(new, len)?;
        let extra = if keep { libc::MREMAP_DONTUNMAP } else { 0 };
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | extra;
        // SAFETY: both ranges are inside the reservation, and belong to the owner.
        unsafe { mremap(old, old_len, len, flags, new) }?;
        if !keep && old_len != 0 && !self.shared {
            // Another thread's mmap could take the hole before this line; NOREPLACE then leaves it alone.
            // SAFETY: nothing is replaced.
            let _ = unsafe { mmap(old, old_len, libc::PROT_NONE, HOLD | libc::MAP_FIXED_NOREPLACE, -1, 0) };
        }
        Ok(())
    }

    /// [`copy::read`]. It is harmless anywhere, so that only the host's protection decides.
    #[inline]
    pub fn read(&self, addr: usize, out: &mut [u8]) -> Result<(), usize> {
        copy::read(addr, out)
    }

    /// [`copy::write`] inside the reservation; outside, the first address is reported bad.
    #[inline]
    pub fn write(&self, addr: usize, data: &[u8]) -> Result<(), usize> {
        if !self.contains(addr, data.len()) {
            return Err(addr);
        }
        // SAFETY: no Rust object lives in the reservation.
        unsafe { copy::write(addr, data) }
    }

    /// [`copy::update`] inside the reservation; outside, the first address is reported bad.
    #[inline]
    pub fn update(&self, addr: usize, bytes: u32, f: &mut dyn FnMut(u128) -> u128) -> Result<u128, usize> {
        if !self.contains(addr, bytes as usize) {
            return Err(addr);
        }
        // SAFETY: no Rust object lives in the reservation.
        unsafe { copy::update(addr, bytes, f) }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.shared {
            return;
        }
        // SAFETY: the range is the reservation's own.
        let _ = unsafe { munmap(self.start, self.len) };
    }
}

/// What is mapped in this process between two addresses, in order; each range is whole, even if it reaches over them.
/// Nothing if the host does not tell.
pub fn occupied(range: Range<usize>) -> Vec<Range<usize>> {
    let text = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let parse = |line: &str| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        Some(address(start)?..address(end)?)
    };
    let overlaps = |found: &Range<usize>| found.start < range.end && range.start < found.end;
    text.lines().filter_map(parse).filter(overlaps).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;

    #[test]
    fn reservation_checks_bounds() {
        let page = page_size();
        let r = Reservation::anywhere(4 * page).unwrap();
        let at = r.start();
        assert_eq!(r.map_anon(at + 3 * page, 2 * page, RW, libc::MAP_PRIVATE), Err(Errno(libc::EINVAL)));
        assert_eq!(r.protect(at - page, page, RW), Err(Errno(libc::EINVAL)));
        assert_eq!(r.discard(at, usize::MAX), Err(Errno(libc::EINVAL)));
        assert_eq!(r.write(at + 4 * page - 1, &[0; 2]), Err(at + 4 * page - 1));
        r.map_anon(at + page, page, RW, libc::MAP_PRIVATE).unwrap();
        crate::fault::install().unwrap();
        r.write(at + page, b"hello").unwrap();
        let mut buf = [0; 5];
        r.read(at + page, &mut buf).unwrap();
        assert_eq!(&buf, b"hello");
        r.relocate(at + page, page, at + 2 * page, page, false).unwrap();
        r.read(at + 2 * page, &mut buf).unwrap();
        assert_eq!(&buf, b"hello");
        assert_eq!(r.read(at + page, &mut buf), Err(at + page));
        r.discard(at + 2 * page, page).unwrap();
        assert_eq!(r.read(at + 2 * page, &mut buf), Err(at + 2 * page));
    }

    #[test]
    fn what_is_shared_must_be_claimed() {
        let page = page_size();
        let theirs = Reservation::anywhere(page).unwrap();
        let (at, start) = (theirs.start(), theirs.start() - 8 * page);
        // SAFETY: only the claimed page is named.
        let r = unsafe { Reservation::shared(start, 16 * page) };
        assert!(occupied(at..at + page).iter().any(|found| found.contains(&at)));
        assert_eq!(r.claim(at, page), Err(Errno(libc::EEXIST)));
        assert_eq!(r.claim(start - page, page), Err(Errno(libc::EINVAL)));
        drop(theirs);
        r.claim(at, page).unwrap();
        r.map_anon(at, page, RW, libc::MAP_PRIVATE).unwrap();
        r.write(at, b"mine").unwrap();
        r.discard(at, page).unwrap();
        assert_eq!(Reservation::at(at, page).map(|r| r.start()), Ok(at), "given back");
    }

    #[test]
    fn reservation_at_does_not_replace() {
        let page = page_size();
        let r = Reservation::anywhere(page).unwrap();
        assert_eq!(Reservation::at(r.start(), page).unwrap_err(), Errno(libc::EEXIST));
        let start = r.start();
        drop(r);
        assert_eq!(Reservation::at(start, page).unwrap().start(), start);
    }
}
