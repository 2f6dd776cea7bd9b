//! `mmap`, `munmap`, `mprotect`, `madvise`, `msync` as Linux defines them, in the guest's address space.

use crate::code::Released;
use crate::flags::{PAGE, PageFlags, is_page, page_up};
use crate::place::Claim;
use crate::regions::Region;
use crate::space::{State, UserSpace};
use isamorph_host::Errno;
use std::ops::Range;
use std::sync::Arc;

/// Which file is behind a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FileId {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub inode: u64,
}

/// What to map.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MapKind {
    /// Fresh memory.
    #[default]
    Anon,
    /// A part of a file.
    File {
        /// The host's descriptor.
        fd: i32,
        /// Where the part starts.
        offset: u64,
        /// Which file it is, for the list of regions.
        id: FileId,
    },
    /// A System V shared memory segment (`shmat`), which must fit the length. It is detached by unmapping it.
    Segment {
        /// The host's identifier.
        shmid: i32,
        /// What to show in the list of regions.
        id: FileId,
    },
}

/// Arguments of [`UserSpace::map`].
#[derive(Clone, Debug, Default)]
pub struct MapRequest {
    /// Where; a hint unless `fixed` or `fixed_noreplace`.
    pub addr: u64,
    /// Bytes.
    pub len: u64,
    /// `PROT_` bits.
    pub prot: i32,
    /// What.
    pub kind: MapKind,
    /// `MAP_FIXED`.
    pub fixed: bool,
    /// `MAP_FIXED_NOREPLACE`.
    pub fixed_noreplace: bool,
    /// `MAP_SHARED` instead of `MAP_PRIVATE`.
    pub shared: bool,
    /// `MAP_GROWSDOWN`.
    pub grows_down: bool,
    /// Further `MAP_` flags for the host: of them, `NORESERVE`, `POPULATE`, `LOCKED` and `NONBLOCK` count.
    pub host_flags: i32,
    /// Name in the list of regions.
    pub name: Option<Arc<str>>,
    /// End of the addresses that may be chosen, if they are restricted (`MAP_32BIT`).
    pub below: Option<u64>,
}

const ACCESS: i32 = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
/// Bits of a protection that mean nothing on any host (`PROT_SEM`).
const IGNORED: i32 = 8;
const PASSED_FLAGS: i32 = libc::MAP_NORESERVE | libc::MAP_POPULATE | libc::MAP_LOCKED | libc::MAP_NONBLOCK;

impl MapRequest {
    fn check(&self) -> Result<u64, Errno> {
        let misaligned_offset = matches!(self.kind, MapKind::File { offset, .. } if !is_page(offset));
        let exact = self.fixed || self.fixed_noreplace;
        if self.len == 0 || misaligned_offset || exact && !is_page(self.addr) {
            return Err(Errno(libc::EINVAL));
        }
        page_up(self.len).ok_or(Errno(libc::ENOMEM))
    }

    fn flags(&self) -> PageFlags {
        let mut flags = PageFlags::from_prot(self.prot) | PageFlags::VALID;
        flags.set(PageFlags::ANON, self.kind == MapKind::Anon);
        flags.set(PageFlags::SHARED, self.shared);
        flags
    }

    fn region(&self, range: Range<u64>) -> Region {
        let (offset, file) = match self.kind {
            MapKind::Anon => (0, None),
            MapKind::File { offset, id, .. } => (offset, Some(id)),
            MapKind::Segment { id, .. } => (0, Some(id)),
        };
        Region {
            start: range.start,
            end: range.end,
            prot: self.prot & ACCESS,
            shared: self.shared,
            grows_down: self.grows_down,
            offset,
            file,
            name: self.name.clone(),
        }
    }
}

impl UserSpace {
    /// `mmap`: returns where.
    pub fn map(&self, request: &MapRequest) -> Result<u64, Errno> {
        let len = request.check()?;
        self.change(|state, released| {
            let Claim { range, holes } = self.place(state, request, len)?;
            let mapped = self.pages.prepare(&range).and_then(|()| self.map_host(request, &range));
            mapped.inspect_err(|_| self.give_back(&holes))?;
            let start = range.start;
            self.set_flags(range.clone(), request.flags(), released);
            state.regions.insert(request.region(range.clone()));
            self.release_aliases(state, range, released);
            Ok(start)
        })
    }

    /// Changes mappings under the lock, then, without it, drops the translations that the change made stale.
    pub(crate) fn change<R>(&self, f: impl FnOnce(&mut State, &mut Released) -> Result<R, Errno>) -> Result<R, Errno> {
        let mut released = Released::default();
        let result = f(&mut self.lock(), &mut released);
        self.finish_release(released);
        result
    }

    fn map_host(&self, request: &MapRequest, range: &Range<u64>) -> Result<(), Errno> {
        let (host, len) = self.host_range(range);
        let prot = request.flags().host_prot();
        let sharing = if request.shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        let flags = sharing | request.host_flags & PASSED_FLAGS;
        match request.kind {
            MapKind::Anon => self.window.map_anon(host, len, prot, flags),
            MapKind::File { fd, offset, .. } => {
                let offset = i64::try_from(offset).map_err(|_| Errno(libc::EOVERFLOW))?;
                self.window.map_file(host, len, prot, flags, fd, offset)
            }
            MapKind::Segment { shmid, .. } => self.window.attach(host, len, prot & libc::PROT_WRITE != 0, shmid),
        }
    }

    /// Sets the flags of the pages of a range whose contents changed.
    pub(crate) fn set_flags(&self, range: Range<u64>, flags: PageFlags, released: &mut Released) {
        for (page, _) in self.pages.translated(range.clone()) {
            released.note(page, self.pages.bump(page));
        }
        self.pages.fill(range, flags);
    }

    /// `munmap`.
    pub fn unmap(&self, addr: u64, len: u64) -> Result<(), Errno> {
        let range = page_up(len).filter(|len| is_page(addr) && *len != 0).and_then(|len| self.inside(addr, len));
        let range = range.ok_or(Errno(libc::EINVAL))?;
        self.change(|state, released| self.unmap_locked(state, range, released))
    }

    /// Unmaps what is in the range, which is inside the address space.
    pub(crate) fn unmap_locked(
        &self,
        state: &mut State,
        range: Range<u64>,
        released: &mut Released,
    ) -> Result<(), Errno> {
        for part in state.regions.parts(range.clone()) {
            let (host, len) = self.host_range(&(part.start..part.end));
            self.pages.prepare(&(part.start..part.end))?;
            self.window.discard(host, len)?;
            self.set_flags(part.start..part.end, PageFlags::empty(), released);
        }
        state.regions.remove(range);
        Ok(())
    }

    /// `mprotect`. `PROT_GROWSDOWN` extends the change to the start of a mapping that grows.
    pub fn protect(&self, addr: u64, len: u64, prot: i32) -> Result<(), Errno> {
        let grows = prot & libc::PROT_GROWSDOWN != 0;
        let prot = prot & !(libc::PROT_GROWSDOWN | IGNORED);
        if !is_page(addr) || prot & !ACCESS != 0 {
            return Err(Errno(libc::EINVAL));
        }
        let mut range = page_up(len).and_then(|len| self.inside(addr, len)).ok_or(Errno(libc::ENOMEM))?;
        if range.is_empty() {
            return Ok(());
        }
        self.change(|state, released| {
            if grows {
                let region = state.regions.at(addr).filter(|r| r.grows_down).ok_or(Errno(libc::EINVAL))?;
                range.start = region.start;
            }
            let end = state.regions.mapped_until(range.clone());
            self.protect_locked(state, range.start..end, prot, released)?;
            if end == range.end { Ok(()) } else { Err(Errno(libc::ENOMEM)) }
        })
    }

    /// Translations of pages that stay executable stay valid: their bytes do not change, and stores still fault.
    fn protect_locked(
        &self,
        state: &mut State,
        range: Range<u64>,
        prot: i32,
        released: &mut Released,
    ) -> Result<(), Errno> {
        if range.is_empty() {
            return Ok(());
        }
        let access = PageFlags::from_prot(prot);
        let (host, len) = self.host_range(&range);
        let translated = self.pages.any(range.clone(), PageFlags::TRANSLATED);
        // With translations in the range the host must not write before they are dropped.
        let first = if translated { access - PageFlags::WRITE } else { access };
        self.pages.prepare(&range)?;
        self.window.protect(host, len, first.host_prot())?;
        for (run, old) in self.pages.runs(range.clone()) {
            let mut new = (old - PageFlags::ACCESS - PageFlags::HELD) | access;
            if old.intersects(PageFlags::TRANSLATED) {
                new.set(PageFlags::HELD, access.contains(PageFlags::WRITE));
                if !(old.contains(PageFlags::CODE) && self.executable(new)) {
                    new.remove(PageFlags::CODE);
                    released.note(run.start, self.pages.bump(run.start));
                    self.release_aliases(state, run.clone(), released);
                }
            }
            self.pages.fill(run, new);
        }
        state.regions.update(range.clone(), |r| r.prot = prot);
        if translated { self.apply(range) } else { Ok(()) }
    }

    /// End of the addresses that [`map`](Self::map) hands out first.
    pub fn set_mmap_base(&self, top: u64) {
        self.lock().mmap_top = (top & !(PAGE - 1)).min(self.limit);
    }

    /// `madvise`. Advice that would change access behind our back is refused with `EINVAL`, as by a kernel that does
    /// not know it.
    pub fn advise(&self, addr: u64, len: u64, advice: i32) -> Result<(), Errno> {
        const HWPOISON: i32 = 100;
        let range = page_up(len).filter(|_| is_page(addr)).and_then(|len| self.inside(addr, len));
        let range = range.filter(|_| (0..HWPOISON).contains(&advice)).ok_or(Errno(libc::EINVAL))?;
        self.change(|state, released| {
            let done = self.on_parts(state, &range, |host, len| self.window.advise(host, len, advice));
            if changes_contents(advice) {
                self.begin_release(state, range, released);
            }
            done
        })
    }

    /// Does something to the mapped parts of a range; `ENOMEM` if there are holes.
    fn on_parts(
        &self,
        state: &State,
        range: &Range<u64>,
        f: impl Fn(usize, usize) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut mapped = 0;
        for part in state.regions.parts(range.clone()) {
            let (host, len) = self.host_range(&(part.start..part.end));
            f(host, len)?;
            mapped += part.end - part.start;
        }
        if mapped == range.end - range.start { Ok(()) } else { Err(Errno(libc::ENOMEM)) }
    }

    /// `msync`.
    pub fn sync(&self, addr: u64, len: u64, flags: i32) -> Result<(), Errno> {
        let range = page_up(len).and_then(|len| self.inside(addr, len)).ok_or(Errno(libc::ENOMEM))?;
        if !is_page(addr) {
            return Err(Errno(libc::EINVAL));
        }
        self.on_parts(&self.lock(), &range, |host, len| self.window.sync(host, len, flags))
    }
}

/// Whether memory reads differently after that advice.
fn changes_contents(advice: i32) -> bool {
    const DONTNEED_LOCKED: i32 = 24;
    matches!(advice, libc::MADV_DONTNEED | libc::MADV_FREE | libc::MADV_REMOVE | DONTNEED_LOCKED)
}
