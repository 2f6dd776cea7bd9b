//! System V semaphores, messages and shared memory; POSIX message queues.

use super::forward::forward;
use super::time::sigevent;
use crate::convert::Buffer;
use crate::convert::ipc::{MsqidDs, SemidDs, SemidDsX86_64, ShmInfo, ShmInfo64, ShmidDs};
use crate::convert::misc::MqAttr;
use crate::convert::record::{Long, Model, Record, Ulong};
use crate::convert::time::{Sigevent, Timespec, Timespec64};
use crate::errno::{EINVAL, ENOSYS, Errno};
use crate::kernel::call;
use crate::memory::Access;
use crate::table::SysResult;
use crate::task::Cx;
use isamorph_ram::MapRequest;

forward! {
    /// `msgget(2)`.
    fn msgget = call SYS_msgget(Val, Val);
    /// `semget(2)`.
    fn semget = call SYS_semget(Val, Val, Val);
    /// `shmget(2)`.
    fn shmget = call SYS_shmget(Val, Val, Val);
    /// `mq_open(3)`.
    fn mq_open = call SYS_mq_open(Str, OpenFlags, Val, Get(Codec::of::<MqAttr>()));
    /// `mq_unlink(3)`.
    fn mq_unlink = call SYS_mq_unlink(Str);
    /// `mq_timedsend(3)` with the guest's `time_t`.
    fn mq_timedsend = wait SYS_mq_timedsend(Val, In(2), Val, Val, Get(Codec::of::<Timespec>()));
    /// `mq_timedsend(3)` with 64-bit times.
    fn mq_timedsend_time64 = wait SYS_mq_timedsend(Val, In(2), Val, Val, Get(Codec::of::<Timespec64>()));
    /// `mq_timedreceive(3)` with the guest's `time_t`.
    fn mq_timedreceive = wait SYS_mq_timedreceive(Val, Out(2), Val, OutBytes(4), Get(Codec::of::<Timespec>()));
    /// `mq_timedreceive(3)` with 64-bit times.
    fn mq_timedreceive_time64 = wait SYS_mq_timedreceive(
        Val, Out(2), Val, OutBytes(4), Get(Codec::of::<Timespec64>())
    );
    /// `mq_getsetattr(2)`.
    fn mq_getsetattr = call SYS_mq_getsetattr(Val, Get(Codec::of::<MqAttr>()), Put(Codec::of::<MqAttr>()));
}

/// `mq_notify(3)`. With `SIGEV_THREAD` the value is the address of a cookie that the kernel hands back.
///
/// # Errors
/// What the kernel returns.
pub fn mq_notify(cx: &mut Cx, [queue, event, ..]: [u64; 6]) -> SysResult {
    /// Size of the cookie (`NOTIFY_COOKIE_LEN`).
    const COOKIE: u64 = 32;
    if event == 0 {
        return call(libc::SYS_mq_notify, [queue, 0]);
    }
    let mut host = sigevent(cx, event)?;
    let mut parsed: Sigevent = host.read();
    if parsed.notify == libc::SIGEV_THREAD {
        parsed.value = Ulong(cx.host_ptr(parsed.value.0, COOKIE, Access::Read)?);
        host = Buffer::host(&parsed);
    }
    call(libc::SYS_mq_notify, [queue, host.addr()])
}

/// Commands that all three kinds of objects have (linux/ipc.h).
const IPC_SET: i32 = 1;
const IPC_STAT: i32 = 2;
const IPC_INFO: i32 = 3;
/// The bit of a command that asks for the structures of Linux 2.4 and later. The calls that `ipc` does not multiplex
/// imply it; without it `ipc` means structures with 16-bit ids, which no C library has used for two decades.
const IPC_64: u64 = 0x100;

/// Makes a control call with a structure of the guest's layout `G` that the host knows as `H`.
fn control<G, H>(cx: &Cx, nr: libc::c_long, args: &[u64], command: i32, addr: u64) -> SysResult
where
    G: Record + From<H>,
    H: Record + From<G> + Default,
{
    let mut host = if command == IPC_SET { Buffer::host(&H::from(cx.read::<G>(addr)?)) } else { Buffer::default() };
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    all[args.len()] = host.addr();
    let result = call(nr, all)?;
    if command != IPC_SET {
        cx.write(addr, &G::from(host.read::<H>()))?;
    }
    Ok(result)
}

/// Commands of `semctl` (linux/sem.h).
mod sem {
    pub const GETALL: i32 = 13;
    pub const SETVAL: i32 = 16;
    pub const SETALL: i32 = 17;
    pub const STAT: i32 = 18;
    pub const INFO: i32 = 19;
    pub const STAT_ANY: i32 = 20;
}

/// Number of semaphores in a set.
fn set_size(id: u64) -> SysResult {
    let mut host = Buffer::default();
    call(libc::SYS_semctl, [id, 0, IPC_STAT as u64, host.addr()])?;
    Ok(host.read::<SemidDsX86_64>().nsems)
}

/// `semctl(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn semctl(cx: &mut Cx, [id, number, command, arg, ..]: [u64; 6]) -> SysResult {
    let command = (command & !IPC_64) as i32;
    let args = [id, number, command as u64];
    let arg = match command {
        IPC_SET | IPC_STAT | sem::STAT | sem::STAT_ANY if cx.abi().layouts().semid_holes => {
            return control::<SemidDsX86_64, SemidDsX86_64>(cx, libc::SYS_semctl, &args, command, arg);
        }
        IPC_SET | IPC_STAT | sem::STAT | sem::STAT_ANY => {
            return control::<SemidDs, SemidDsX86_64>(cx, libc::SYS_semctl, &args, command, arg);
        }
        sem::GETALL => cx.host_ptr(arg, 2 * set_size(id)?, Access::Write)?,
        sem::SETALL => cx.host_ptr(arg, 2 * set_size(id)?, Access::Read)?,
        // `struct seminfo` is ten integers.
        IPC_INFO | sem::INFO => cx.host_ptr(arg, 40, Access::Write)?,
        sem::SETVAL => arg,
        _ => 0,
    };
    call(libc::SYS_semctl, [id, number, command as u64, arg])
}

/// Size of `struct sembuf`: three 16-bit integers.
const SEMBUF: u64 = 6;

/// `semop(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn semop(cx: &mut Cx, [id, ops, count, ..]: [u64; 6]) -> SysResult {
    semop_until(cx, id, ops, count, None)
}

fn semop_until(cx: &mut Cx, id: u64, ops: u64, count: u64, limit: Option<Timespec>) -> SysResult {
    let ops = cx.host_buffer(ops, count.saturating_mul(SEMBUF), Access::Read)?;
    let mut host = limit.map(|t| Buffer::host(&t));
    let limit = host.as_mut().map_or(0, Buffer::addr);
    cx.blocking_call(libc::SYS_semtimedop, [id, ops, count, limit])
}

/// `semtimedop(2)` with the guest's `time_t`.
///
/// # Errors
/// What the kernel returns.
pub fn semtimedop(cx: &mut Cx, [id, ops, count, limit, ..]: [u64; 6]) -> SysResult {
    let limit = cx.read_opt(limit)?;
    semop_until(cx, id, ops, count, limit)
}

/// `semtimedop(2)` with 64-bit times.
///
/// # Errors
/// What the kernel returns.
pub fn semtimedop_time64(cx: &mut Cx, [id, ops, count, limit, ..]: [u64; 6]) -> SysResult {
    let limit: Option<Timespec64> = cx.read_opt(limit)?;
    semop_until(cx, id, ops, count, limit.map(Timespec::from))
}

/// Largest message that is copied; the kernel's limit (`kernel.msgmax`) is 8 KiB unless someone raised it.
const MAX_MESSAGE: u64 = 1 << 24;

/// `msgsnd(2)`: the text follows a `long`.
///
/// # Errors
/// What the kernel returns.
pub fn msgsnd(cx: &mut Cx, [id, message, len, flags, ..]: [u64; 6]) -> SysResult {
    if len > MAX_MESSAGE {
        return Err(EINVAL);
    }
    let kind: Long = cx.read(message)?;
    let text = cx.read_vec(message + cx.model().long as u64, len)?;
    let host = [&kind.0.to_le_bytes()[..], &text].concat();
    cx.blocking_call(libc::SYS_msgsnd, [id, host.as_ptr() as u64, len, flags])
}

/// `msgrcv(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn msgrcv(cx: &mut Cx, [id, message, room, kind, flags, _]: [u64; 6]) -> SysResult {
    if room > i32::MAX as u64 {
        return Err(EINVAL);
    }
    let mut host = vec![0u8; 8 + room.min(MAX_MESSAGE) as usize];
    let len = cx.blocking_call(libc::SYS_msgrcv, [id, host.as_mut_ptr() as u64, host.len() as u64 - 8, kind, flags])?;
    cx.write(message, &Long::decode(Model::HOST, &host))?;
    cx.write_bytes(message + cx.model().long as u64, &host[8..8 + len as usize])?;
    Ok(len)
}

/// `msgctl(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn msgctl(cx: &mut Cx, [id, command, arg, ..]: [u64; 6]) -> SysResult {
    const STAT: i32 = 11;
    const INFO: i32 = 12;
    const STAT_ANY: i32 = 13;
    let command = (command & !IPC_64) as i32;
    let args = [id, command as u64];
    match command {
        IPC_SET | IPC_STAT | STAT | STAT_ANY => control::<MsqidDs, MsqidDs>(cx, libc::SYS_msgctl, &args, command, arg),
        // `struct msginfo` is integers.
        IPC_INFO | INFO => call(libc::SYS_msgctl, [id, command as u64, cx.host_ptr(arg, 32, Access::Write)?]),
        _ => call(libc::SYS_msgctl, [id, command as u64, 0]),
    }
}

/// `shmctl(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn shmctl(cx: &mut Cx, [id, command, arg, ..]: [u64; 6]) -> SysResult {
    const STAT: i32 = 13;
    const INFO: i32 = 14;
    const STAT_ANY: i32 = 15;
    let command = (command & !IPC_64) as i32;
    let args = [id, command as u64];
    match command {
        IPC_SET | IPC_STAT | STAT | STAT_ANY => control::<ShmidDs, ShmidDs>(cx, libc::SYS_shmctl, &args, command, arg),
        IPC_INFO => shm_limits(cx, id, arg),
        INFO => control::<ShmInfo, ShmInfo>(cx, libc::SYS_shmctl, &args, command, arg),
        _ => call(libc::SYS_shmctl, [id, command as u64, 0]),
    }
}

/// The limits of shared memory; those of a 64-bit host are clamped to what the guest's words hold.
fn shm_limits(cx: &Cx, id: u64, out: u64) -> SysResult {
    let mut host = Buffer::default();
    let result = call(libc::SYS_shmctl, [id, IPC_INFO as u64, host.addr()])?;
    let mut info: ShmInfo64 = host.read();
    if !cx.model().is_host() {
        for value in [&mut info.shmmax, &mut info.shmmin, &mut info.shmmni, &mut info.shmseg, &mut info.shmall] {
            value.0 = value.0.min(i32::MAX as u64);
        }
    }
    cx.write(out, &info)?;
    Ok(result)
}

/// Flags of `shmat` (linux/shm.h).
const SHM_RDONLY: u64 = 0o10_000;
const SHM_RND: u64 = 0o20_000;
const SHM_REMAP: u64 = 0o40_000;
const SHM_EXEC: u64 = 0o100_000;

/// What the list of regions shows for a segment; also how `shmdt` knows one.
const SEGMENT_NAME: &str = "/SYSV";

/// `shmat(2)`: the segment takes the place of a mapping of its size in the guest's address space.
///
/// # Errors
/// What the kernel returns.
pub fn shmat(cx: &mut Cx, [id, addr, flags, ..]: [u64; 6]) -> SysResult {
    let mut host = Buffer::default();
    call(libc::SYS_shmctl, [id, IPC_STAT as u64, host.addr()])?;
    let segment: ShmidDs = host.read();
    let page = cx.abi().layout().page;
    let addr = if flags & SHM_RND != 0 { addr / page * page } else { addr };
    if !addr.is_multiple_of(page) || addr == 0 && flags & SHM_REMAP != 0 {
        return Err(EINVAL);
    }
    let write = if flags & SHM_RDONLY == 0 { libc::PROT_WRITE } else { 0 };
    let exec = if flags & SHM_EXEC != 0 { libc::PROT_EXEC } else { 0 };
    let len = segment.segsz.0.next_multiple_of(page);
    let at = cx.space().map(&MapRequest {
        addr,
        len,
        prot: libc::PROT_READ | write | exec,
        fixed: flags & SHM_REMAP != 0,
        fixed_noreplace: addr != 0 && flags & SHM_REMAP == 0,
        shared: true,
        name: Some(format!("{SEGMENT_NAME}{:08x}", segment.perm.key).into()),
        ..MapRequest::default()
    });
    // A range that is taken is EINVAL here, not EEXIST as for mmap.
    let at = at.map_err(|e| if e == Errno(libc::EEXIST) { EINVAL } else { e })?;
    let target = cx.space().host_ptr(at) as u64;
    match call(libc::SYS_shmat, [id, target, flags & SHM_RDONLY | SHM_REMAP]) {
        Ok(_) => Ok(at),
        Err(e) => {
            let _ = cx.space().unmap(at, len);
            Err(e)
        }
    }
}

/// `shmdt(2)`.
///
/// # Errors
/// `EINVAL` if no segment is attached there.
pub fn shmdt(cx: &mut Cx, [addr, ..]: [u64; 6]) -> SysResult {
    let region = cx.space().region_at(addr).filter(|r| r.start == addr).ok_or(EINVAL)?;
    if !region.name.is_some_and(|name| name.starts_with(SEGMENT_NAME)) {
        return Err(EINVAL);
    }
    cx.space().unmap(addr, region.end - region.start)?;
    Ok(0)
}

/// `ipc(2)`: all of System V IPC in one call of the older architectures (linux/ipc.h).
///
/// # Errors
/// `ENOSYS` for an unknown sub-call, and what the sub-call returns.
pub fn ipc(cx: &mut Cx, [number, first, second, third, ptr, fifth]: [u64; 6]) -> SysResult {
    let version = number >> 16;
    let needs_64 = |command: u64| if command & IPC_64 != 0 || !takes_structure(command) { Ok(()) } else { Err(EINVAL) };
    match number & 0xffff {
        1 => semop(cx, [first, ptr, second & 0xffff_ffff, 0, 0, 0]),
        2 => semget(cx, [first, second, third, 0, 0, 0]),
        3 => {
            needs_64(third)?;
            let arg = cx.read_word(ptr)?;
            semctl(cx, [first, second, third, arg, 0, 0])
        }
        4 => semtimedop(cx, [first, ptr, second & 0xffff_ffff, fifth & 0xffff_ffff, 0, 0]),
        11 => msgsnd(cx, [first, ptr, second & 0xffff_ffff, third, 0, 0]),
        12 if version == 0 => {
            let [message, kind] = cx.read::<[Long; 2]>(ptr)?.map(|w| w.0);
            let message = message as u64 & if cx.model().long == 4 { 0xffff_ffff } else { u64::MAX };
            msgrcv(cx, [first, message, second & 0xffff_ffff, kind as u64, third, 0])
        }
        12 => msgrcv(cx, [first, ptr, second & 0xffff_ffff, fifth, third, 0]),
        13 => msgget(cx, [first, second, 0, 0, 0, 0]),
        14 => {
            needs_64(second)?;
            msgctl(cx, [first, second, ptr, 0, 0, 0])
        }
        21 if version == 1 => Err(EINVAL),
        21 => {
            let at = shmat(cx, [first, ptr, second, 0, 0, 0])?;
            cx.write_word(third & 0xffff_ffff, at)?;
            Ok(0)
        }
        22 => shmdt(cx, [ptr, 0, 0, 0, 0, 0]),
        23 => shmget(cx, [first, second & 0xffff_ffff, third, 0, 0, 0]),
        24 => {
            needs_64(second)?;
            shmctl(cx, [first, second, ptr, 0, 0, 0])
        }
        _ => Err(ENOSYS),
    }
}

/// Whether a control command has one of the structures that changed with [`IPC_64`].
fn takes_structure(command: u64) -> bool {
    matches!(command as i32, IPC_SET | IPC_STAT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_status_commands_need_the_new_structures() {
        assert!(takes_structure(2));
        assert!(!takes_structure(0) && !takes_structure(16));
    }

    #[test]
    fn the_host_agrees_about_semaphore_sets() {
        let id = call(libc::SYS_semget, [libc::IPC_PRIVATE as u64, 3, 0o600]).expect("semaphores");
        let size = set_size(id);
        call(libc::SYS_semctl, [id, 0, libc::IPC_RMID as u64, 0]).expect("removal");
        assert_eq!(size, Ok(3));
    }
}
