//! Files by name: opening, status, links, owners, times, mounts, extended attributes.

use super::forward::forward;
use super::proc_files;
use crate::convert::Buffer;
use crate::convert::path::{ProcFile, proc_file};
use crate::convert::record::Record;
use crate::convert::stat::{STATFS64_SIZE, StatLayout, StatX86_64, Statfs, Ustat};
use crate::convert::time::{Timespec, Timespec64, Timeval, Utimbuf};
use crate::errno::{EFAULT, EINVAL, ENAMETOOLONG, EOVERFLOW, Errno};
use crate::kernel::call;
use crate::memory::Access;
use crate::table::SysResult;
use crate::task::Cx;
use std::ffi::CStr;

/// `AT_FDCWD` as an argument.
const CWD: u64 = libc::AT_FDCWD as u64;

forward! {
    /// `link(2)`.
    fn link = call SYS_linkat(Fixed(CWD), Str, Fixed(CWD), Str, Fixed(0));
    /// `linkat(2)`.
    fn linkat = call SYS_linkat(Val, Str, Val, Str, Val);
    /// `unlink(2)`.
    fn unlink = call SYS_unlinkat(Fixed(CWD), Str, Fixed(0));
    /// `unlinkat(2)`.
    fn unlinkat = call SYS_unlinkat(Val, Str, Val);
    /// `rmdir(2)`.
    fn rmdir = call SYS_unlinkat(Fixed(CWD), Str, Fixed(libc::AT_REMOVEDIR as u64));
    /// `symlink(2)`. The target is text, not a path that exists now.
    fn symlink = call SYS_symlinkat(Str, Fixed(CWD), Str);
    /// `symlinkat(2)`.
    fn symlinkat = call SYS_symlinkat(Str, Val, Str);
    /// `rename(2)`.
    fn rename = call SYS_renameat2(Fixed(CWD), Str, Fixed(CWD), Str, Fixed(0));
    /// `renameat(2)`.
    fn renameat = call SYS_renameat2(Val, Str, Val, Str, Fixed(0));
    /// `renameat2(2)`.
    fn renameat2 = call SYS_renameat2(Val, Str, Val, Str, Val);
    /// `mkdir(2)`.
    fn mkdir = call SYS_mkdirat(Fixed(CWD), Str, Val);
    /// `mkdirat(2)`.
    fn mkdirat = call SYS_mkdirat(Val, Str, Val);
    /// `mknod(2)`.
    fn mknod = call SYS_mknodat(Fixed(CWD), Str, Val, Val);
    /// `mknodat(2)`.
    fn mknodat = call SYS_mknodat(Val, Str, Val, Val);
    /// `chmod(2)`.
    fn chmod = call SYS_fchmodat(Fixed(CWD), Str, Val);
    /// `fchmodat(2)`, which has no flags.
    fn fchmodat = call SYS_fchmodat(Val, Str, Val);
    /// `fchmodat2(2)`.
    fn fchmodat2 = call SYS_fchmodat2(Val, Str, Val, Val);
    /// `chown(2)` with 32-bit ids.
    fn chown = call SYS_fchownat(Fixed(CWD), Str, Val, Val, Fixed(0));
    /// `lchown(2)` with 32-bit ids.
    fn lchown = call SYS_fchownat(Fixed(CWD), Str, Val, Val, Fixed(libc::AT_SYMLINK_NOFOLLOW as u64));
    /// `fchownat(2)`.
    fn fchownat = call SYS_fchownat(Val, Str, Val, Val, Val);
    /// `chown(2)` with 16-bit ids.
    fn chown16 = call SYS_fchownat(Fixed(CWD), Str, Id16, Id16, Fixed(0));
    /// `lchown(2)` with 16-bit ids.
    fn lchown16 = call SYS_fchownat(Fixed(CWD), Str, Id16, Id16, Fixed(libc::AT_SYMLINK_NOFOLLOW as u64));
    /// `fchown(2)` with 16-bit ids.
    fn fchown16 = call SYS_fchown(Val, Id16, Id16);
    /// `truncate(2)`.
    fn truncate = call SYS_truncate(Str, Val);
    /// `access(2)`.
    fn access = call SYS_faccessat(Fixed(CWD), Path, Val);
    /// `faccessat(2)`, which has no flags.
    fn faccessat = call SYS_faccessat(Val, Path, Val);
    /// `faccessat2(2)`.
    fn faccessat2 = call SYS_faccessat2(Val, Path, Val, Val);
    /// `chdir(2)`.
    fn chdir = call SYS_chdir(Str);
    /// `chroot(2)`.
    fn chroot = call SYS_chroot(Str);
    /// `pivot_root(2)`.
    fn pivot_root = call SYS_pivot_root(Str, Str);
    /// `getcwd(2)`.
    fn getcwd = call SYS_getcwd(Out(1), Val);
    /// `statx(2)`: the structure is the same everywhere.
    fn statx = call SYS_statx(Val, PathAt(2), Val, Val, OutBytes(256));
    /// `mount(2)`.
    fn mount = call SYS_mount(Str, Str, Str, Val, InBytes(1));
    /// `umount(2)`.
    fn umount = call SYS_umount2(Str, Fixed(0));
    /// `umount2(2)`.
    fn umount2 = call SYS_umount2(Str, Val);
    /// `open_tree(2)`.
    fn open_tree = call SYS_open_tree(Val, Str, Val);
    /// `move_mount(2)`.
    fn move_mount = call SYS_move_mount(Val, Str, Val, Str, Val);
    /// `fsopen(2)`.
    fn fsopen = call SYS_fsopen(Str, Val);
    /// `fspick(2)`.
    fn fspick = call SYS_fspick(Val, Str, Val);
    /// `mount_setattr(2)`: four 64-bit fields, the same everywhere.
    fn mount_setattr = call SYS_mount_setattr(Val, Str, Val, In(4), Val);
    /// `swapon(2)`.
    fn swapon = call SYS_swapon(Str, Val);
    /// `swapoff(2)`.
    fn swapoff = call SYS_swapoff(Str);
    /// `acct(2)`.
    fn acct = call SYS_acct(Str);
    /// `setxattr(2)`.
    fn setxattr = call SYS_setxattr(Str, Str, In(3), Val, Val);
    /// `lsetxattr(2)`.
    fn lsetxattr = call SYS_lsetxattr(Str, Str, In(3), Val, Val);
    /// `fsetxattr(2)`.
    fn fsetxattr = call SYS_fsetxattr(Val, Str, In(3), Val, Val);
    /// `getxattr(2)`.
    fn getxattr = call SYS_getxattr(Path, Str, Out(3), Val);
    /// `lgetxattr(2)`.
    fn lgetxattr = call SYS_lgetxattr(Path, Str, Out(3), Val);
    /// `fgetxattr(2)`.
    fn fgetxattr = call SYS_fgetxattr(Val, Str, Out(3), Val);
    /// `listxattr(2)`.
    fn listxattr = call SYS_listxattr(Path, Out(2), Val);
    /// `llistxattr(2)`.
    fn llistxattr = call SYS_llistxattr(Path, Out(2), Val);
    /// `flistxattr(2)`.
    fn flistxattr = call SYS_flistxattr(Val, Out(2), Val);
    /// `removexattr(2)`.
    fn removexattr = call SYS_removexattr(Str, Str);
    /// `lremovexattr(2)`.
    fn lremovexattr = call SYS_lremovexattr(Str, Str);
    /// `fremovexattr(2)`.
    fn fremovexattr = call SYS_fremovexattr(Val, Str);
    /// `inotify_add_watch(2)`.
    fn inotify_add_watch = call SYS_inotify_add_watch(Val, Path, Val);
}

/// Opens a file for the guest; `flags` are the guest's.
fn open_at(cx: &mut Cx, dir: u64, path: u64, flags: u64, mode: u64) -> SysResult {
    let text = cx.cstr(path)?;
    let flags = cx.abi().layouts().open.to_host(flags as u32);
    if let Some(file) = proc_files::find(cx, &text) {
        return proc_files::open(cx, file, flags);
    }
    let path = cx.redirect(&text);
    cx.blocking_call(libc::SYS_openat, [dir, path.as_ptr() as u64, flags.into(), mode])
}

/// `open(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn open(cx: &mut Cx, [path, flags, mode, ..]: [u64; 6]) -> SysResult {
    open_at(cx, CWD, path, flags, mode)
}

/// `openat(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn openat(cx: &mut Cx, [dir, path, flags, mode, ..]: [u64; 6]) -> SysResult {
    open_at(cx, dir, path, flags, mode)
}

/// `creat(2)`: its flags are the same everywhere.
///
/// # Errors
/// What the kernel returns.
pub fn creat(cx: &mut Cx, [path, mode, ..]: [u64; 6]) -> SysResult {
    open_at(cx, CWD, path, (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as u64, mode)
}

/// `openat2(2)`: `struct open_how` is three 64-bit fields, of which the first has the flags of `open`.
///
/// # Errors
/// What the kernel returns.
pub fn openat2(cx: &mut Cx, [dir, path, how, size, ..]: [u64; 6]) -> SysResult {
    let mut bytes = cx.read_vec(how, size.min(4096))?;
    let text = cx.cstr(path)?;
    let Some(flags) = bytes.get_mut(..8) else { return Err(EINVAL) };
    let wanted = u64::decode(crate::convert::Model::HOST, flags);
    // Unknown upper bits have to reach the kernel, which refuses them.
    let host = wanted >> 32 << 32 | u64::from(cx.abi().layouts().open.to_host(wanted as u32));
    flags.copy_from_slice(&host.to_le_bytes());
    let path = cx.redirect(&text);
    cx.blocking_call(libc::SYS_openat2, [dir, path.as_ptr() as u64, bytes.as_ptr() as u64, size])
}

/// Status of a file in the guest's layout. A null `path` stands for the descriptor `dir` itself.
fn stat_at(cx: &mut Cx, dir: u64, path: u64, flags: i32, out: u64, layout: StatLayout) -> SysResult {
    let mut host = Buffer::default();
    if path == 0 {
        call(libc::SYS_fstat, [dir, host.addr()])?;
    } else {
        let path = if flags & libc::AT_SYMLINK_NOFOLLOW != 0 { cx.path_nofollow(path)? } else { cx.path(path)? };
        call(libc::SYS_newfstatat, [dir, path.as_ptr() as u64, host.addr(), flags as u64])?;
    }
    let mut bytes = Buffer::default();
    let stat: StatX86_64 = host.read();
    let size =
        stat.encode_as(layout, cx.model(), bytes.bytes_mut(crate::convert::record::MAX_RECORD)).ok_or(EOVERFLOW)?;
    cx.write_bytes(out, bytes.bytes(size))?;
    Ok(0)
}

/// Handlers of the status calls: by path, by path without following a link, by descriptor; one triple per layout.
macro_rules! stat_calls {
    ($($stat:ident $lstat:ident $fstat:ident = $layout:expr;)*) => {$(
        #[doc = concat!("`", stringify!($stat), "(2)`.")]
        ///
        /// # Errors
        /// What the kernel returns; `EOVERFLOW` for a file too large for the structure.
        pub fn $stat(cx: &mut Cx, [path, out, ..]: [u64; 6]) -> SysResult {
            stat_at(cx, CWD, nonnull(path)?, 0, out, $layout(cx))
        }
        #[doc = concat!("`", stringify!($lstat), "(2)`.")]
        ///
        /// # Errors
        /// What the kernel returns; `EOVERFLOW` for a file too large for the structure.
        pub fn $lstat(cx: &mut Cx, [path, out, ..]: [u64; 6]) -> SysResult {
            stat_at(cx, CWD, nonnull(path)?, libc::AT_SYMLINK_NOFOLLOW, out, $layout(cx))
        }
        #[doc = concat!("`", stringify!($fstat), "(2)`.")]
        ///
        /// # Errors
        /// What the kernel returns; `EOVERFLOW` for a file too large for the structure.
        pub fn $fstat(cx: &mut Cx, [fd, out, ..]: [u64; 6]) -> SysResult {
            stat_at(cx, fd, 0, 0, out, $layout(cx))
        }
    )*};
}
stat_calls! {
    stat lstat fstat = |cx: &Cx| cx.abi().layouts().stat;
    stat64 lstat64 fstat64 = |_: &Cx| StatLayout::Stat64;
    oldstat oldlstat oldfstat = |_: &Cx| StatLayout::Old;
}

fn nonnull(addr: u64) -> SysResult {
    if addr == 0 { Err(EFAULT) } else { Ok(addr) }
}

/// `fstatat64(2)` of 32-bit guests.
///
/// # Errors
/// What the kernel returns.
pub fn fstatat64(cx: &mut Cx, [dir, path, out, flags, ..]: [u64; 6]) -> SysResult {
    stat_at(cx, dir, nonnull(path)?, flags as i32, out, StatLayout::Stat64)
}

/// `newfstatat(2)` of 64-bit guests.
///
/// # Errors
/// What the kernel returns.
pub fn newfstatat(cx: &mut Cx, [dir, path, out, flags, ..]: [u64; 6]) -> SysResult {
    let layout = cx.abi().layouts().stat;
    stat_at(cx, dir, nonnull(path)?, flags as i32, out, layout)
}

/// Status of the file system that has the file at `path`, or, if that is null, the file `fd`.
fn host_statfs(cx: &mut Cx, path: u64, fd: u64) -> Result<Statfs, Errno> {
    let mut host = Buffer::default();
    if path == 0 {
        call(libc::SYS_fstatfs, [fd, host.addr()])?;
    } else {
        let path = cx.path(path)?;
        call(libc::SYS_statfs, [path.as_ptr() as u64, host.addr()])?;
    }
    Ok(host.read())
}

fn put_statfs(cx: &Cx, fs: &Statfs, out: u64) -> SysResult {
    if !cx.model().is_host() && !fs.fits_narrow() {
        return Err(EOVERFLOW);
    }
    cx.write(out, fs)?;
    Ok(0)
}

/// `struct statfs64` is packed on i386 and Arm; Arm programs may pass the size with padding at the end.
fn put_statfs64(cx: &Cx, fs: &Statfs, size: u64, out: u64) -> SysResult {
    if size != STATFS64_SIZE as u64 && size != STATFS64_SIZE as u64 + 4 {
        return Err(EINVAL);
    }
    cx.write_bytes(out, &fs.statfs64())?;
    Ok(0)
}

/// `statfs(2)`.
///
/// # Errors
/// What the kernel returns; `EOVERFLOW` when the counts do not fit.
pub fn statfs(cx: &mut Cx, [path, out, ..]: [u64; 6]) -> SysResult {
    let fs = host_statfs(cx, nonnull(path)?, 0)?;
    put_statfs(cx, &fs, out)
}

/// `fstatfs(2)`.
///
/// # Errors
/// What the kernel returns; `EOVERFLOW` when the counts do not fit.
pub fn fstatfs(cx: &mut Cx, [fd, out, ..]: [u64; 6]) -> SysResult {
    let fs = host_statfs(cx, 0, fd)?;
    put_statfs(cx, &fs, out)
}

/// `statfs64(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn statfs64(cx: &mut Cx, [path, size, out, ..]: [u64; 6]) -> SysResult {
    let fs = host_statfs(cx, nonnull(path)?, 0)?;
    put_statfs64(cx, &fs, size, out)
}

/// `fstatfs64(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn fstatfs64(cx: &mut Cx, [fd, size, out, ..]: [u64; 6]) -> SysResult {
    let fs = host_statfs(cx, 0, fd)?;
    put_statfs64(cx, &fs, size, out)
}

/// `ustat(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn ustat(cx: &mut Cx, [dev, out, ..]: [u64; 6]) -> SysResult {
    let mut host = Buffer::default();
    call(libc::SYS_ustat, [dev, host.addr()])?;
    cx.write(out, &host.read::<Ustat>())?;
    Ok(0)
}

/// `readlink(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn readlink(cx: &mut Cx, [path, out, size, ..]: [u64; 6]) -> SysResult {
    readlinkat(cx, [CWD, path, out, size, 0, 0])
}

/// `readlinkat(2)`. The link to the program in `/proc` gives the guest's program.
///
/// # Errors
/// What the kernel returns.
pub fn readlinkat(cx: &mut Cx, [dir, path, out, size, ..]: [u64; 6]) -> SysResult {
    if size as i32 <= 0 {
        return Err(EINVAL);
    }
    let text = cx.cstr(path)?;
    if proc_file(text.to_bytes(), std::process::id()) == Some(ProcFile::Exe) {
        let exe = proc_files::exe(cx);
        let len = exe.as_bytes().len().min(size as usize);
        cx.write_bytes(out, &exe.as_bytes()[..len])?;
        return Ok(len as u64);
    }
    let path = cx.redirect(&text);
    let out = cx.host_buffer(out, size, Access::Write)?;
    call(libc::SYS_readlinkat, [dir, path.as_ptr() as u64, out, size])
}

/// Sets access and modification time; a missing pair stands for now, a null path for the descriptor `dir`.
fn set_times(cx: &mut Cx, dir: u64, path: u64, times: Option<[Timespec; 2]>, flags: u64) -> SysResult {
    let mut host = times.map(|t| Buffer::host(&t));
    let times = host.as_mut().map_or(0, Buffer::addr);
    if path == 0 {
        return call(libc::SYS_utimensat, [dir, 0, times, flags]);
    }
    let path = cx.path(path)?;
    call(libc::SYS_utimensat, [dir, path.as_ptr() as u64, times, flags])
}

/// Times in microseconds, which have to be in range: as nanoseconds they could mean "now" or "leave".
fn from_micros(times: Option<[Timeval; 2]>) -> Result<Option<[Timespec; 2]>, Errno> {
    let valid = times.is_none_or(|pair| pair.iter().all(|t| (0..1_000_000).contains(&t.usec.0)));
    if valid { Ok(times.map(|pair| pair.map(Timespec::from))) } else { Err(EINVAL) }
}

/// `utime(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn utime(cx: &mut Cx, [path, times, ..]: [u64; 6]) -> SysResult {
    let whole = |sec| Timespec { sec, ..Timespec::default() };
    let times: Option<Utimbuf> = cx.read_opt(times)?;
    set_times(cx, CWD, nonnull(path)?, times.map(|t| [whole(t.accessed), whole(t.modified)]), 0)
}

/// `utimes(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn utimes(cx: &mut Cx, [path, times, ..]: [u64; 6]) -> SysResult {
    futimesat(cx, [CWD, nonnull(path)?, times, 0, 0, 0])
}

/// `futimesat(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn futimesat(cx: &mut Cx, [dir, path, times, ..]: [u64; 6]) -> SysResult {
    let times = from_micros(cx.read_opt(times)?)?;
    set_times(cx, dir, path, times, 0)
}

/// `utimensat(2)` with the guest's `time_t`.
///
/// # Errors
/// What the kernel returns.
pub fn utimensat(cx: &mut Cx, [dir, path, times, flags, ..]: [u64; 6]) -> SysResult {
    let times = cx.read_opt(times)?;
    set_times(cx, dir, path, times, flags)
}

/// `utimensat(2)` with 64-bit times.
///
/// # Errors
/// What the kernel returns.
pub fn utimensat_time64(cx: &mut Cx, [dir, path, times, flags, ..]: [u64; 6]) -> SysResult {
    let times: Option<[Timespec64; 2]> = cx.read_opt(times)?;
    set_times(cx, dir, path, times.map(|pair| pair.map(Timespec::from)), flags)
}

/// `fsconfig(2)`: what the value is depends on the command.
///
/// # Errors
/// What the kernel returns.
pub fn fsconfig(cx: &mut Cx, [fd, command, key, value, aux, _]: [u64; 6]) -> SysResult {
    /// `FSCONFIG_SET_BINARY`: `aux` is the size of the value; the other commands take strings or nothing.
    const SET_BINARY: u64 = 2;
    let key = if key == 0 { None } else { Some(cx.cstr(key)?) };
    let text;
    let value = if command == SET_BINARY {
        cx.host_buffer(value, aux, Access::Read)?
    } else if value == 0 {
        0
    } else {
        text = cx.cstr(value)?;
        text.as_ptr() as u64
    };
    let key = key.as_deref().map_or(0, |k| k.as_ptr() as u64);
    call(libc::SYS_fsconfig, [fd, command, key, value, aux])
}

/// Size of `struct file_handle` without the handle, and the most bytes that a handle has (`MAX_HANDLE_SZ`).
const HANDLE_HEADER: u64 = 8;
const MAX_HANDLE: u32 = 128;

/// Host address of the guest's `struct file_handle`, which is the same everywhere.
fn file_handle(cx: &Cx, addr: u64, access: Access) -> SysResult {
    let room: u32 = cx.read(addr)?;
    if room > MAX_HANDLE {
        return Err(EINVAL);
    }
    cx.host_ptr(addr, HANDLE_HEADER + u64::from(room), access)
}

/// `name_to_handle_at(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn name_to_handle_at(cx: &mut Cx, [dir, path, handle, mount, flags, _]: [u64; 6]) -> SysResult {
    let path = cx.path(path)?;
    let handle = file_handle(cx, handle, Access::Write)?;
    let mount = cx.host_ptr(mount, 4, Access::Write)?;
    call(libc::SYS_name_to_handle_at, [dir, path.as_ptr() as u64, handle, mount, flags])
}

/// `open_by_handle_at(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn open_by_handle_at(cx: &mut Cx, [mount, handle, flags, ..]: [u64; 6]) -> SysResult {
    let handle = file_handle(cx, handle, Access::Read)?;
    let flags = cx.abi().layouts().open.to_host(flags as u32);
    cx.blocking_call(libc::SYS_open_by_handle_at, [mount, handle, flags.into()])
}

/// A new anonymous file with that name, as `memfd_create(2)` makes it.
///
/// # Errors
/// What the kernel returns; `EINVAL` for a long name.
pub fn memfd_create(cx: &mut Cx, [name, flags, ..]: [u64; 6]) -> SysResult {
    let name = cx.cstr(name).map_err(|e| if e == ENAMETOOLONG { EINVAL } else { e })?;
    memfd(&name, flags)
}

pub(crate) fn memfd(name: &CStr, flags: u64) -> SysResult {
    call(libc::SYS_memfd_create, [name.as_ptr() as u64, flags])
}
