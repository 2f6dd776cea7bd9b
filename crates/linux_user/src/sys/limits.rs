//! Limits, capabilities, names of the machine, `prctl`, random numbers.

use super::forward::forward;
use super::seccomp;
use crate::convert::record::{Long, Ulong, record};
use crate::convert::time::Rusage;
use crate::convert::{Buffer, Record};
use crate::errno::{EFAULT, EINVAL, EPERM, Errno};
use crate::kernel::call;
use crate::table::SysResult;
use crate::task::Cx;
use std::sync::atomic::Ordering;

record! {
    /// `struct rlimit` with the guest's words.
    Limit { soft: Ulong, hard: Ulong, }
    /// `struct rlimit64`.
    Limit64 { soft: u64, hard: u64, }
    /// `struct sysinfo`.
    Sysinfo {
        uptime: Long, loads: [Ulong; 3], memory: [Ulong; 6], procs: u16, pad: u16, high: [Ulong; 2], unit: u32,
    }
}

const INFINITY: u64 = u64::MAX;

/// Limits that the guest sees but that must not hit the emulator, which reserves and maps much more than the guest.
const KEPT: [u64; 2] = [libc::RLIMIT_AS as u64, libc::RLIMIT_DATA as u64];

/// The soft limit that this process has; nothing if it is infinite.
pub fn host_limit(resource: u32) -> Option<u64> {
    get_host(0, resource.into()).ok().map(|l| l.soft).filter(|l| *l != INFINITY)
}

fn get_host(pid: u64, resource: u64) -> Result<Limit64, Errno> {
    let mut out = Buffer::default();
    call(libc::SYS_prlimit64, [pid, resource, 0, out.addr()])?;
    Ok(out.read())
}

fn is_self(pid: u64) -> bool {
    pid == 0 || pid == u64::from(std::process::id())
}

/// Sets a limit if `new` is given; returns the old one.
fn limit(cx: &Cx, pid: u64, resource: u64, new: Option<Limit64>) -> Result<Limit64, Errno> {
    if new.is_some_and(|l| l.soft > l.hard) {
        return Err(EINVAL);
    }
    if let (true, Some(slot)) = (is_self(pid), KEPT.iter().position(|r| *r == resource)) {
        let mut kept = cx.process.limits.lock();
        let old = match kept[slot] {
            Some((soft, hard)) => Limit64 { soft, hard },
            None => get_host(0, resource)?,
        };
        if let Some(l) = new {
            kept[slot] = Some((l.soft, l.hard));
        }
        return Ok(old);
    }
    let old = get_host(pid, resource)?;
    if let Some(l) = new {
        call(libc::SYS_prlimit64, [pid, resource, Buffer::host(&l).addr(), 0])?;
    }
    Ok(old)
}

/// A limit in the guest's word; what does not fit is `infinity`.
fn narrow(cx: &Cx, l: Limit64, infinity: u64) -> Limit {
    let word = |v: u64| Ulong(if cx.model().long == 4 && v >= infinity { infinity } else { v });
    Limit { soft: word(l.soft), hard: word(l.hard) }
}

const INFINITY32: u64 = 0xffff_ffff;
/// What `getrlimit` returned before it had unsigned limits.
const OLD_INFINITY32: u64 = 0x7fff_ffff;

/// `getrlimit(2)`.
///
/// # Errors
/// As the manual page says.
pub fn getrlimit(cx: &mut Cx, [resource, out, ..]: [u64; 6]) -> SysResult {
    let l = limit(cx, 0, resource, None)?;
    cx.write(out, &narrow(cx, l, INFINITY32)).map(|()| 0)
}

/// `getrlimit(2)` with signed limits.
///
/// # Errors
/// As the manual page says.
pub fn old_getrlimit(cx: &mut Cx, [resource, out, ..]: [u64; 6]) -> SysResult {
    let l = limit(cx, 0, resource, None)?;
    cx.write(out, &narrow(cx, l, OLD_INFINITY32)).map(|()| 0)
}

/// `setrlimit(2)`.
///
/// # Errors
/// As the manual page says.
pub fn setrlimit(cx: &mut Cx, [resource, new, ..]: [u64; 6]) -> SysResult {
    let narrow = cx.model().long == 4;
    let wide = |w: Ulong| if narrow && w.0 == INFINITY32 { INFINITY } else { w.0 };
    let l: Limit = cx.read(new)?;
    limit(cx, 0, resource, Some(Limit64 { soft: wide(l.soft), hard: wide(l.hard) })).map(|_| 0)
}

/// `prlimit(2)`.
///
/// # Errors
/// As the manual page says.
pub fn prlimit64(cx: &mut Cx, [pid, resource, new, old, ..]: [u64; 6]) -> SysResult {
    let new = cx.read_opt::<Limit64>(new)?;
    let before = limit(cx, pid, resource, new)?;
    cx.write_opt(old, &before).map(|()| 0)
}

forward! {
    /// `getrusage(2)`.
    fn getrusage = call SYS_getrusage(Val, Put(Codec::of::<Rusage>()));
    /// `capget(2)`; the structures are the same everywhere.
    fn capget = call SYS_capget(OutBytes(8), OutBytes(24));
    /// `capset(2)`.
    fn capset = call SYS_capset(OutBytes(8), InBytes(24));
    /// `sethostname(2)`.
    fn sethostname = call SYS_sethostname(In(1), Val);
    /// `setdomainname(2)`.
    fn setdomainname = call SYS_setdomainname(In(1), Val);
    /// `getrandom(2)`.
    fn getrandom = wait SYS_getrandom(Out(1), Val, Val);
}

/// `sysinfo(2)`: sizes are given in a unit in which they fit into the guest's words.
///
/// # Errors
/// `EFAULT`.
pub fn sysinfo(cx: &mut Cx, [out, ..]: [u64; 6]) -> SysResult {
    let mut host = Buffer::default();
    call(libc::SYS_sysinfo, [host.addr()])?;
    let mut info: Sysinfo = host.read();
    if cx.model().long == 4 {
        scale(&mut info, cx.abi().layout().page as u32);
    }
    // On 32-bit architectures the structure ends with padding that fills it up to 64 bytes.
    let mut bytes = [0; 112];
    let len = if cx.model().long == 4 { 64 } else { Sysinfo::size(cx.model()) };
    info.encode(cx.model(), &mut bytes);
    cx.write_bytes(out, &bytes[..len]).map(|()| 0)
}

fn scale(info: &mut Sysinfo, page: u32) {
    if info.memory.iter().all(|m| m.0 <= u64::from(u32::MAX)) {
        return;
    }
    while info.unit < page {
        info.unit <<= 1;
        info.memory.iter_mut().chain(&mut info.high).for_each(|m| m.0 >>= 1);
    }
}

/// Length of a field of `struct new_utsname`.
const NAME: usize = 65;
/// Of `struct oldold_utsname`.
const OLDOLD_NAME: usize = 9;

/// The names, the architecture's and the chosen release among them; each ends with a zero.
fn names(cx: &Cx) -> Result<[[u8; NAME]; 6], Errno> {
    let mut names = [[0u8; NAME]; 6];
    call(libc::SYS_uname, [names.as_mut_ptr() as u64])?;
    if let Some(release) = &cx.options().uname_release {
        names[2] = field(release);
    }
    names[4] = field(cx.abi().machine());
    Ok(names)
}

fn field(text: &str) -> [u8; NAME] {
    let mut out = [0; NAME];
    let len = text.len().min(NAME - 1);
    out[..len].copy_from_slice(&text.as_bytes()[..len]);
    out
}

/// `uname(2)`.
///
/// # Errors
/// `EFAULT`.
pub fn uname(cx: &mut Cx, [out, ..]: [u64; 6]) -> SysResult {
    cx.write_bytes(out, names(cx)?.as_flattened()).map(|()| 0)
}

/// `uname` without the domain name.
///
/// # Errors
/// `EFAULT`.
pub fn olduname(cx: &mut Cx, [out, ..]: [u64; 6]) -> SysResult {
    cx.write_bytes(out, names(cx)?[..5].as_flattened()).map(|()| 0)
}

/// The first `uname`, with names of eight letters.
///
/// # Errors
/// `EFAULT`.
pub fn oldolduname(cx: &mut Cx, [out, ..]: [u64; 6]) -> SysResult {
    let mut bytes = [0; 5 * OLDOLD_NAME];
    for (slot, name) in bytes.chunks_exact_mut(OLDOLD_NAME).zip(names(cx)?) {
        slot[..OLDOLD_NAME - 1].copy_from_slice(&name[..OLDOLD_NAME - 1]);
    }
    cx.write_bytes(out, &bytes).map(|()| 0)
}

/// `personality(2)`. Kept here: the host's personality is that of the emulator. `READ_IMPLIES_EXEC` takes effect.
///
/// # Errors
/// None.
pub fn personality(cx: &mut Cx, [wanted, ..]: [u64; 6]) -> SysResult {
    const QUERY: u64 = 0xffff_ffff;
    const READ_IMPLIES_EXEC: u64 = 0x0040_0000;
    let old = cx.personality();
    if wanted != QUERY {
        cx.process.personality.store(wanted, Ordering::Relaxed);
        if (old ^ wanted) & READ_IMPLIES_EXEC != 0 {
            cx.space().set_read_implies_exec(wanted & READ_IMPLIES_EXEC != 0);
        }
    }
    Ok(old)
}

/// What an operation of `prctl` does with its second argument.
enum Prctl {
    /// All arguments are numbers.
    Numbers,
    /// It writes an `int` there.
    WritesInt,
    /// It reads the name of a thread there.
    ReadsName,
    /// It writes the name of a thread there.
    WritesName,
    /// It would change how the emulator runs.
    Refused(Errno),
}

fn prctl_kind(option: i32) -> Prctl {
    const PR_SET_PTRACER: i32 = 0x5961_6d61;
    match option {
        libc::PR_GET_PDEATHSIG | libc::PR_GET_CHILD_SUBREAPER | libc::PR_GET_TSC => Prctl::WritesInt,
        libc::PR_SET_NAME => Prctl::ReadsName,
        libc::PR_GET_NAME => Prctl::WritesName,
        libc::PR_SET_PDEATHSIG
        | libc::PR_GET_DUMPABLE
        | libc::PR_SET_DUMPABLE
        | libc::PR_GET_KEEPCAPS
        | libc::PR_SET_KEEPCAPS
        | libc::PR_GET_TIMING
        | libc::PR_SET_TIMING
        | libc::PR_CAPBSET_READ
        | libc::PR_CAPBSET_DROP
        | libc::PR_GET_SECUREBITS
        | libc::PR_SET_SECUREBITS
        | libc::PR_GET_TIMERSLACK
        | libc::PR_SET_TIMERSLACK
        | libc::PR_SET_CHILD_SUBREAPER
        | libc::PR_GET_NO_NEW_PRIVS
        | libc::PR_SET_NO_NEW_PRIVS
        | libc::PR_GET_THP_DISABLE
        | libc::PR_SET_THP_DISABLE
        | libc::PR_CAP_AMBIENT
        | PR_SET_PTRACER => Prctl::Numbers,
        // Setting the memory map of the process would move the emulator's.
        libc::PR_SET_MM => Prctl::Refused(EPERM),
        _ => Prctl::Refused(EINVAL),
    }
}

/// `prctl(2)`.
///
/// # Errors
/// As the manual page says; `EINVAL` for what is not supported.
pub fn prctl(cx: &mut Cx, [option, second, third, fourth, fifth, _]: [u64; 6]) -> SysResult {
    const NAME: usize = 16;
    let mut name = [0u8; NAME];
    let at = name.as_mut_ptr() as u64;
    match option as i32 {
        libc::PR_GET_SECCOMP => return Ok(seccomp::mode(cx)),
        libc::PR_SET_SECCOMP => return seccomp::set_mode(cx, second, third),
        _ => {}
    }
    match prctl_kind(option as i32) {
        Prctl::Numbers => call(libc::SYS_prctl, [option, second, third, fourth, fifth]),
        Prctl::Refused(error) => Err(error),
        Prctl::WritesInt => {
            call(libc::SYS_prctl, [option, at, 0, 0, 0])?;
            cx.write_bytes(second, &name[..4]).map(|()| 0)
        }
        Prctl::WritesName => {
            call(libc::SYS_prctl, [option, at, 0, 0, 0])?;
            cx.write_bytes(second, &name).map(|()| 0)
        }
        Prctl::ReadsName => {
            let text = match cx.cstr_max(second, NAME, EINVAL) {
                Ok(text) => text.into_bytes(),
                Err(EFAULT) => return Err(EFAULT),
                // Longer names are cut.
                Err(_) => cx.read_vec(second, NAME as u64 - 1)?,
            };
            name[..text.len()].copy_from_slice(&text);
            call(libc::SYS_prctl, [option, at, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::Model;

    #[test]
    fn sysinfo_is_scaled_when_it_does_not_fit() {
        let mut info = Sysinfo { memory: [Ulong(5 << 30); 6], unit: 1, ..Sysinfo::default() };
        scale(&mut info, 4096);
        assert_eq!((info.unit, info.memory[0].0), (4096, 5 << 18));
        let small = Sysinfo { memory: [Ulong(7); 6], unit: 1, ..Sysinfo::default() };
        let mut same = small;
        scale(&mut same, 4096);
        assert_eq!(same, small);
    }

    #[test]
    fn sysinfo_is_the_kernels() {
        assert_eq!(Sysinfo::size(Model::HOST), size_of::<libc::sysinfo>());
        assert!(Sysinfo::size(Model::I386) <= 64);
    }

    #[test]
    fn names_are_cut() {
        assert_eq!(field("i686")[..5], *b"i686\0");
        assert_eq!(field(&"x".repeat(100))[NAME - 1], 0);
    }
}
