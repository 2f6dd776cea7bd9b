//! Files by descriptor: reading and writing, positions, directories, pipes, locks and other `fcntl` commands.

use super::forward::forward;
use crate::convert::Buffer;
use crate::convert::dirent::{CookieTables, DirentLayout, FIRST_COOKIE, entries};
use crate::convert::misc::{Flock, Flock64, OwnerEx};
use crate::convert::record::{Long, Record};
use crate::convert::stat::StatX86_64;
use crate::errno::{EFAULT, EINVAL, EOVERFLOW, Errno};
use crate::kernel::call;
use crate::memory::Access;
use crate::sync::Mutex;
use crate::table::SysResult;
use crate::task::Cx;
use std::sync::LazyLock;

forward! {
    /// `read(2)`.
    fn read = wait SYS_read(Val, Out(2), Val);
    /// `write(2)`.
    fn write = wait SYS_write(Val, In(2), Val);
    /// `pread64(2)`.
    fn pread64 = wait SYS_pread64(Val, Out(2), Val, Val);
    /// `pwrite64(2)`.
    fn pwrite64 = wait SYS_pwrite64(Val, In(2), Val, Val);
    /// `readv(2)`.
    fn readv = wait SYS_readv(Val, Iovec(2, crate::memory::Access::Write), Val);
    /// `writev(2)`.
    fn writev = wait SYS_writev(Val, Iovec(2, crate::memory::Access::Read), Val);
    /// `preadv(2)`: the host takes the position in two words and needs only the first.
    fn preadv = wait SYS_preadv(Val, Iovec(2, crate::memory::Access::Write), Val, Val, Fixed(0));
    /// `pwritev(2)`.
    fn pwritev = wait SYS_pwritev(Val, Iovec(2, crate::memory::Access::Read), Val, Val, Fixed(0));
    /// `preadv2(2)`.
    fn preadv2 = wait SYS_preadv2(Val, Iovec(2, crate::memory::Access::Write), Val, Val, Fixed(0), Val);
    /// `pwritev2(2)`.
    fn pwritev2 = wait SYS_pwritev2(Val, Iovec(2, crate::memory::Access::Read), Val, Val, Fixed(0), Val);
    /// `preadv2(2)` of 64-bit guests, which pass the position in two words as well.
    fn preadv2_long = wait SYS_preadv2(Val, Iovec(2, crate::memory::Access::Write), Val, Val, Fixed(0), Skip, Val);
    /// `pwritev2(2)` of 64-bit guests.
    fn pwritev2_long = wait SYS_pwritev2(Val, Iovec(2, crate::memory::Access::Read), Val, Val, Fixed(0), Skip, Val);
    /// `sendfile(2)` with the guest's words.
    fn sendfile = wait SYS_sendfile(Val, Val, Update(Codec::of::<Long>()), Val);
    /// `sendfile64(2)`.
    fn sendfile64 = wait SYS_sendfile(Val, Val, Update(Codec::of::<i64>()), Val);
    /// `splice(2)`.
    fn splice = wait SYS_splice(Val, Update(Codec::of::<i64>()), Val, Update(Codec::of::<i64>()), Val, Val);
    /// `tee(2)`.
    fn tee = wait SYS_tee(Val, Val, Val, Val);
    /// `vmsplice(2)`: whether it reads or writes depends on the pipe's end; writable memory does for both.
    fn vmsplice = wait SYS_vmsplice(Val, Iovec(2, crate::memory::Access::Write), Val, Val);
    /// `copy_file_range(2)`.
    fn copy_file_range = wait SYS_copy_file_range(
        Val, Update(Codec::of::<i64>()), Val, Update(Codec::of::<i64>()), Val, Val
    );
    /// `fallocate(2)`.
    fn fallocate = wait SYS_fallocate(Val, Val, Val, Val);
    /// `flock(2)`.
    fn flock = wait SYS_flock(Val, Val);
    /// `pipe(2)`.
    fn pipe = call SYS_pipe2(OutBytes(8), Fixed(0));
    /// `pipe2(2)`.
    fn pipe2 = call SYS_pipe2(OutBytes(8), OpenFlags);
    /// `dup3(2)`, which takes only `O_CLOEXEC`, the same everywhere.
    fn dup3 = call SYS_dup3(Val, Val, Val);
    /// `eventfd(2)`.
    fn eventfd = call SYS_eventfd2(Val, Fixed(0));
    /// `inotify_init(2)`.
    fn inotify_init = call SYS_inotify_init1(Fixed(0));
}

/// Cookies for large positions in directories. One for the process: they are found by the directory's identity.
static COOKIES: LazyLock<Mutex<CookieTables>> = LazyLock::new(Mutex::default);

/// Keeps other threads from the cookies, while this one forks.
pub fn lock_cookies() -> impl Drop {
    COOKIES.lock()
}

/// Device and inode number of a directory that is open; `None` for other files.
fn directory_identity(fd: u64) -> Option<(u64, u64)> {
    let mut host = Buffer::default();
    call(libc::SYS_fstat, [fd, host.addr()]).ok()?;
    let stat: StatX86_64 = host.read();
    (stat.mode & libc::S_IFMT == libc::S_IFDIR).then_some((stat.dev, stat.ino))
}

/// `lseek`, with cookies instead of large directory positions for a 32-bit guest.
fn seek(cx: &Cx, fd: u64, offset: i64, whence: u64) -> Result<u64, Errno> {
    let translated = !cx.model().is_host();
    let cookie = offset as u64;
    let mut target = cookie;
    if translated && whence == libc::SEEK_SET as u64 && (FIRST_COOKIE..2 * FIRST_COOKIE).contains(&cookie) {
        let known = directory_identity(fd).and_then(|id| COOKIES.lock().of(id).position(cookie));
        target = known.unwrap_or(cookie);
    }
    let at = call(libc::SYS_lseek, [fd, target, whence])?;
    if !translated || at < FIRST_COOKIE {
        return Ok(at);
    }
    Ok(directory_identity(fd).map_or(at, |id| COOKIES.lock().of(id).cookie(at)))
}

/// `lseek(2)`.
///
/// # Errors
/// What the kernel returns; `EOVERFLOW` when the position does not fit the guest's word.
pub fn lseek(cx: &mut Cx, [fd, offset, whence, ..]: [u64; 6]) -> SysResult {
    let at = seek(cx, fd, offset as i64, whence)?;
    if cx.model().long == 4 && at > i32::MAX as u64 { Err(EOVERFLOW) } else { Ok(at) }
}

/// `_llseek(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn llseek(cx: &mut Cx, [fd, high, low, out, whence, _]: [u64; 6]) -> SysResult {
    let at = seek(cx, fd, (high << 32 | low & 0xffff_ffff) as i64, whence)?;
    cx.write(out, &at)?;
    Ok(0)
}

/// Most bytes of directory entries that one call returns.
const MAX_DIRENTS: u64 = 1 << 20;

fn read_directory(cx: &mut Cx, fd: u64, out: u64, room: u64, layout: DirentLayout) -> SysResult {
    let model = cx.model();
    // Converted entries are never longer than the host's, so what the host fits in that room fits the guest's.
    let mut host = vec![0u8; room.min(MAX_DIRENTS) as usize];
    let len = call(libc::SYS_getdents64, [fd, host.as_mut_ptr() as u64, host.len() as u64])?;
    let identity = if model.is_host() { None } else { directory_identity(fd) };
    let mut guest = Vec::with_capacity(len as usize);
    {
        let mut tables = COOKIES.lock();
        let mut cookies = identity.map(|id| tables.of(id));
        for entry in entries(&host[..len as usize]) {
            let next = cookies.as_mut().map_or(entry.next, |c| c.cookie(entry.next));
            layout.push(model, &entry, next, &mut guest);
        }
    }
    cx.write_bytes(out, &guest)?;
    Ok(guest.len() as u64)
}

/// `getdents(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn getdents(cx: &mut Cx, [fd, out, room, ..]: [u64; 6]) -> SysResult {
    read_directory(cx, fd, out, room & 0xffff_ffff, DirentLayout::Native)
}

/// `getdents64(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn getdents64(cx: &mut Cx, [fd, out, room, ..]: [u64; 6]) -> SysResult {
    read_directory(cx, fd, out, room & 0xffff_ffff, DirentLayout::Wide)
}

/// `readdir(2)`: one entry in the layout before types were added to it.
///
/// # Errors
/// What the kernel returns; `ENOENT` does not occur: the end of the directory is 0.
pub fn readdir(cx: &mut Cx, [fd, out, ..]: [u64; 6]) -> SysResult {
    let before = call(libc::SYS_lseek, [fd, 0, libc::SEEK_CUR as u64])?;
    let mut host = [0u8; 512];
    let len = call(libc::SYS_getdents64, [fd, host.as_mut_ptr() as u64, host.len() as u64])?;
    let Some(entry) = entries(&host[..len as usize]).next() else { return Ok(0) };
    // The call returns one entry where the host may have read several.
    call(libc::SYS_lseek, [fd, entry.next, libc::SEEK_SET as u64])?;
    let word = cx.model().long;
    let mut bytes = vec![0; 2 * word + 2 + entry.name.len() + 1];
    bytes[..4].copy_from_slice(&crate::convert::stat::fold_inode(entry.ino).to_le_bytes());
    bytes[word..word + 4].copy_from_slice(&(before as u32).to_le_bytes());
    bytes[2 * word..2 * word + 2].copy_from_slice(&(entry.name.len() as u16).to_le_bytes());
    bytes[2 * word + 2..][..entry.name.len()].copy_from_slice(entry.name);
    cx.write_bytes(out, &bytes)?;
    Ok(1)
}

/// The error of a call whose argument is bad, unless its descriptor is not open, which the kernel looks at first.
pub(super) fn descriptor_error(fd: u64, error: Errno) -> Errno {
    call(libc::SYS_fcntl, [fd, libc::F_GETFD as u64]).err().unwrap_or(error)
}

/// Locks in either layout; `fcntl` decides by command.
fn lock<T: Record + Into<Flock64> + From<Flock64>>(cx: &mut Cx, fd: u64, command: i32, addr: u64) -> SysResult {
    let guest: T = cx.read(addr).map_err(|e| descriptor_error(fd, e))?;
    let mut host = Buffer::host::<Flock64>(&guest.into());
    let args = [fd, command as u64, host.addr()];
    let result = if matches!(command, libc::F_SETLKW | libc::F_OFD_SETLKW) {
        cx.blocking_call(libc::SYS_fcntl, args)?
    } else {
        call(libc::SYS_fcntl, args)?
    };
    if matches!(command, libc::F_GETLK | libc::F_OFD_GETLK) {
        let found = T::from(host.read::<Flock64>());
        let mut bytes = Buffer::default();
        let size = T::size(cx.model());
        if !found.encode(cx.model(), bytes.bytes_mut(size)) {
            return Err(EOVERFLOW);
        }
        cx.write_bytes(addr, bytes.bytes(size))?;
    }
    Ok(result)
}

/// What the third argument of an `fcntl` command is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Arg3 {
    /// Nothing or an integer.
    Value,
    /// Flags of `open`.
    Flags,
    /// `struct flock`; the host's command.
    Lock(i32),
    /// `struct flock64`; the host's command.
    Lock64(i32),
    /// Memory of that size that the kernel reads or writes, the same everywhere.
    Same(u64),
}

/// `F_GETLK64`, `F_SETLK64` and `F_SETLKW64` of 32-bit guests (asm-generic/fcntl.h).
const F_GETLK64: i32 = 12;
const F_SETLK64: i32 = 13;
const F_SETLKW64: i32 = 14;
/// `F_GETOWNER_UIDS`, `F_DUPFD_QUERY`, `F_CREATED_QUERY` and the read/write hints of linux/fcntl.h.
const F_GETOWNER_UIDS: i32 = 17;
const F_DUPFD_QUERY: i32 = 1027;
const F_CREATED_QUERY: i32 = 1028;
const RW_HINTS: std::ops::RangeInclusive<i32> = 1035..=1038;

/// The kind of a command's argument; `None` for commands that are not known.
fn fcntl_kind(command: i32, narrow: bool) -> Option<Arg3> {
    Some(match command {
        libc::F_SETFL => Arg3::Flags,
        libc::F_GETLK | libc::F_SETLK | libc::F_SETLKW => Arg3::Lock(command),
        F_GETLK64 if narrow => Arg3::Lock64(libc::F_GETLK),
        F_SETLK64 if narrow => Arg3::Lock64(libc::F_SETLK),
        F_SETLKW64 if narrow => Arg3::Lock64(libc::F_SETLKW),
        libc::F_OFD_GETLK | libc::F_OFD_SETLK | libc::F_OFD_SETLKW => Arg3::Lock64(command),
        F_GETOWN_EX | F_SETOWN_EX => Arg3::Same(OwnerEx::size(crate::convert::Model::HOST) as u64),
        F_GETOWNER_UIDS => Arg3::Same(8),
        command if RW_HINTS.contains(&command) => Arg3::Same(8),
        libc::F_DUPFD
        | libc::F_GETFD
        | libc::F_SETFD
        | libc::F_GETFL
        | libc::F_SETOWN
        | libc::F_GETOWN
        | F_SETSIG
        | F_GETSIG
        | libc::F_SETLEASE
        | libc::F_GETLEASE
        | libc::F_NOTIFY
        | libc::F_DUPFD_CLOEXEC
        | libc::F_SETPIPE_SZ
        | libc::F_GETPIPE_SZ
        | libc::F_ADD_SEALS
        | libc::F_GET_SEALS
        | F_DUPFD_QUERY
        | F_CREATED_QUERY => Arg3::Value,
        _ => return None,
    })
}

/// Owner and signal commands of asm-generic/fcntl.h.
const F_SETSIG: i32 = 10;
const F_GETSIG: i32 = 11;
const F_SETOWN_EX: i32 = 15;
const F_GETOWN_EX: i32 = 16;
/// `F_OWNER_PGRP`.
const OWNER_GROUP: i32 = 2;

/// `F_GETOWN` names a process group by a negative number, which looks like an error where results and errors share a
/// register; the newer command has no such doubt.
fn get_owner(fd: u64) -> SysResult {
    let mut host = Buffer::default();
    call(libc::SYS_fcntl, [fd, F_GETOWN_EX as u64, host.addr()])?;
    let owner: OwnerEx = host.read();
    Ok(if owner.kind == OWNER_GROUP { -i64::from(owner.pid) as u64 } else { owner.pid as u64 })
}

/// `fcntl(2)` and `fcntl64(2)`, which know each other's commands.
///
/// # Errors
/// What the kernel returns; `EINVAL` for an unknown command.
pub fn fcntl(cx: &mut Cx, [fd, command, arg, ..]: [u64; 6]) -> SysResult {
    let command = command as i32;
    let open = cx.abi().layouts().open;
    let narrow = !cx.model().is_host();
    let Some(kind) = fcntl_kind(command, narrow) else { return Err(descriptor_error(fd, EINVAL)) };
    match kind {
        Arg3::Lock(host) => lock::<Flock>(cx, fd, host, arg),
        Arg3::Lock64(host) => lock::<Flock64>(cx, fd, host, arg),
        Arg3::Flags => call(libc::SYS_fcntl, [fd, command as u64, open.to_host(arg as u32).into()]),
        Arg3::Same(size) => {
            if arg == 0 {
                return Err(EFAULT);
            }
            let arg = cx.host_ptr(arg, size, Access::Write)?;
            call(libc::SYS_fcntl, [fd, command as u64, arg])
        }
        Arg3::Value if command == libc::F_GETOWN => get_owner(fd),
        Arg3::Value => {
            let result = call(libc::SYS_fcntl, [fd, command as u64, arg])?;
            Ok(if command == libc::F_GETFL { open.to_guest(result as u32).into() } else { result })
        }
    }
}

/// `fadvise64_64(2)` of Arm, which has the advice before the offsets so that these need no padding.
///
/// # Errors
/// What the kernel returns.
pub fn fadvise_arm(_: &mut Cx, [fd, advice, offset, len, ..]: [u64; 6]) -> SysResult {
    call(libc::SYS_fadvise64, [fd, offset, len, advice])
}

/// `sync_file_range(2)` of Arm, which has the flags before the offsets for the same reason.
///
/// # Errors
/// What the kernel returns.
pub fn sync_file_range2(_: &mut Cx, [fd, flags, offset, len, ..]: [u64; 6]) -> SysResult {
    call(libc::SYS_sync_file_range, [fd, offset, len, flags])
}

/// `cachestat(2)`, whose structures have 64-bit fields on every guest.
///
/// # Errors
/// What the kernel returns.
pub fn cachestat(cx: &mut Cx, [fd, range, out, flags, ..]: [u64; 6]) -> SysResult {
    /// The number is the same on every architecture.
    const SYS_CACHESTAT: libc::c_long = 451;
    let range = cx.host_ptr(range, 16, Access::Read)?;
    let out = cx.host_ptr(out, 40, Access::Write)?;
    call(SYS_CACHESTAT, [fd, range, out, flags])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_commands_have_their_layouts() {
        assert_eq!(fcntl_kind(libc::F_SETLK, true), Some(Arg3::Lock(libc::F_SETLK)));
        assert_eq!(fcntl_kind(F_SETLKW64, true), Some(Arg3::Lock64(libc::F_SETLKW)));
        assert_eq!(fcntl_kind(F_SETLKW64, false), None);
        assert_eq!(fcntl_kind(libc::F_OFD_SETLK, true), Some(Arg3::Lock64(libc::F_OFD_SETLK)));
        assert_eq!(fcntl_kind(9999, true), None);
    }

    #[test]
    fn a_directory_is_told_from_a_file() {
        use std::os::fd::AsRawFd;
        let dir = std::fs::File::open("/").expect("root directory");
        assert!(directory_identity(dir.as_raw_fd() as u64).is_some());
        let file = std::fs::File::open("/proc/self/stat").expect("a file");
        assert!(directory_identity(file.as_raw_fd() as u64).is_none());
    }
}
