//! Memory: the heap, mappings, protection, advice.

use crate::errno::{EINVAL, ENOMEM, Errno};
use crate::kernel::call;
use crate::memory::Access;
use crate::table::SysResult;
use crate::task::{Brk, Cx};
use isamorph_ram::{FileId, MapKind, MapRequest};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

/// `brk(2)`: moves the end of the heap; returns where it is afterwards.
///
/// # Errors
/// None: a failure is an end that did not move.
pub fn brk(cx: &mut Cx, [wanted, ..]: [u64; 6]) -> SysResult {
    let page = cx.abi().layout().page;
    let mut heap = cx.process.brk.lock();
    let Brk { start, end } = *heap;
    if wanted < start || wanted > cx.abi().layout().end {
        return Ok(end);
    }
    let (old, new) = (end.next_multiple_of(page), wanted.next_multiple_of(page));
    let moved = match new.cmp(&old) {
        std::cmp::Ordering::Greater => grow_heap(cx, old, new - old),
        std::cmp::Ordering::Less => cx.space().unmap(new, old - new),
        std::cmp::Ordering::Equal => Ok(()),
    };
    if moved.is_ok() {
        heap.end = wanted;
    }
    Ok(heap.end)
}

fn grow_heap(cx: &Cx, addr: u64, len: u64) -> Result<(), Errno> {
    let request = MapRequest {
        addr,
        len,
        prot: libc::PROT_READ | libc::PROT_WRITE,
        fixed_noreplace: true,
        name: Some("[heap]".into()),
        ..MapRequest::default()
    };
    cx.space().map(&request).map(drop)
}

const MAP_TYPE: i32 = 15;

/// `mmap(2)` with an offset in bytes.
///
/// # Errors
/// As the manual page says.
pub fn mmap(cx: &mut Cx, [addr, len, prot, flags, fd, offset]: [u64; 6]) -> SysResult {
    let flags = flags as i32;
    let shared = match flags & MAP_TYPE {
        libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE => true,
        libc::MAP_PRIVATE => false,
        _ => return Err(EINVAL),
    };
    let is_low = flags & libc::MAP_32BIT != 0 && cx.abi().layouts().map_32bit;
    let anonymous = flags & libc::MAP_ANONYMOUS != 0;
    let kind = if anonymous { MapKind::Anon } else { file(fd as i32, offset)? };
    let request = MapRequest {
        addr,
        len,
        prot: prot as i32 & !(libc::PROT_GROWSDOWN | libc::PROT_GROWSUP),
        kind,
        fixed: flags & libc::MAP_FIXED != 0,
        fixed_noreplace: flags & libc::MAP_FIXED_NOREPLACE != 0 && flags & libc::MAP_FIXED == 0,
        shared,
        grows_down: flags & libc::MAP_GROWSDOWN != 0,
        host_flags: flags,
        name: if anonymous { None } else { name(fd as i32) },
        below: is_low.then_some(1 << 31),
    };
    cx.space().map(&request)
}

/// `mmap2(2)`: the offset is in units of 4096 bytes.
///
/// # Errors
/// As the manual page says.
pub fn mmap2(cx: &mut Cx, [addr, len, prot, flags, fd, pages]: [u64; 6]) -> SysResult {
    mmap(cx, [addr, len, prot, flags, fd, pages << 12])
}

fn file(fd: i32, offset: u64) -> Result<MapKind, Errno> {
    let (dev, inode) = crate::kernel::file_identity(fd)?;
    Ok(MapKind::File { fd, offset, id: FileId { dev, inode } })
}

fn name(fd: i32) -> Option<Arc<str>> {
    let path: PathBuf = std::fs::read_link(format!("/proc/self/fd/{fd}")).ok()?;
    Some(String::from_utf8_lossy(path.as_os_str().as_bytes()).into())
}

/// `munmap(2)`.
///
/// # Errors
/// `EINVAL` for a range that is not pages of the address space.
pub fn munmap(cx: &mut Cx, [addr, len, ..]: [u64; 6]) -> SysResult {
    cx.space().unmap(addr, len).map(|()| 0)
}

/// `mprotect(2)`.
///
/// # Errors
/// As the manual page says.
pub fn mprotect(cx: &mut Cx, [addr, len, prot, ..]: [u64; 6]) -> SysResult {
    cx.space().protect(addr, len, prot as i32).map(|()| 0)
}

/// `pkey_mprotect(2)`. There are no protection keys, so that only the default one, −1, is right.
///
/// # Errors
/// As the manual page says.
pub fn pkey_mprotect(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    if args[3] as i32 == -1 { mprotect(cx, args) } else { Err(EINVAL) }
}

/// `mremap(2)`.
///
/// # Errors
/// As the manual page says.
pub fn mremap(cx: &mut Cx, [old, old_len, len, flags, new, _]: [u64; 6]) -> SysResult {
    cx.space().remap(old, old_len, len, flags as i32, new)
}

/// `madvise(2)`.
///
/// # Errors
/// As the manual page says.
pub fn madvise(cx: &mut Cx, [addr, len, advice, ..]: [u64; 6]) -> SysResult {
    cx.space().advise(addr, len, advice as i32).map(|()| 0)
}

/// `msync(2)`.
///
/// # Errors
/// As the manual page says.
pub fn msync(cx: &mut Cx, [addr, len, flags, ..]: [u64; 6]) -> SysResult {
    cx.space().sync(addr, len, flags as i32).map(|()| 0)
}

/// The host's range of mapped guest pages, for calls that only look at pages.
fn pages(cx: &Cx, addr: u64, len: u64) -> Result<[u64; 2], Errno> {
    let page = cx.abi().layout().page;
    let start = addr & !(page - 1);
    let len = (addr - start).checked_add(len).and_then(|l| l.checked_next_multiple_of(page)).ok_or(EINVAL)?;
    let end = start.checked_add(len).filter(|end| *end <= cx.abi().layout().end).ok_or(ENOMEM)?;
    let mut at = start;
    while at < end {
        at = cx.space().region_at(at).ok_or(ENOMEM)?.end;
    }
    Ok([cx.space().host_ptr(start) as u64, len])
}

/// `mlock(2)`.
///
/// # Errors
/// As the manual page says.
pub fn mlock(cx: &mut Cx, [addr, len, ..]: [u64; 6]) -> SysResult {
    call(libc::SYS_mlock, pages(cx, addr, len)?)
}

/// `mlock2(2)`.
///
/// # Errors
/// As the manual page says.
pub fn mlock2(cx: &mut Cx, [addr, len, flags, ..]: [u64; 6]) -> SysResult {
    let [addr, len] = pages(cx, addr, len)?;
    call(libc::SYS_mlock2, [addr, len, flags])
}

/// `munlock(2)`.
///
/// # Errors
/// As the manual page says.
pub fn munlock(cx: &mut Cx, [addr, len, ..]: [u64; 6]) -> SysResult {
    call(libc::SYS_munlock, pages(cx, addr, len)?)
}

/// `mlockall(2)`. Pages are locked as they are touched: the emulator reserves the whole address space of the guest,
/// which would otherwise be populated.
///
/// # Errors
/// As the manual page says.
pub fn mlockall(_: &mut Cx, [flags, ..]: [u64; 6]) -> SysResult {
    call(libc::SYS_mlockall, [flags | libc::MCL_ONFAULT as u64])
}

/// `mincore(2)`.
///
/// # Errors
/// As the manual page says.
pub fn mincore(cx: &mut Cx, [addr, len, out, ..]: [u64; 6]) -> SysResult {
    let page = cx.abi().layout().page;
    if addr % page != 0 {
        return Err(EINVAL);
    }
    let [host, len] = pages(cx, addr, len)?;
    let out = cx.host_ptr(out, len / page, Access::Write)?;
    call(libc::SYS_mincore, [host, len, out])
}
