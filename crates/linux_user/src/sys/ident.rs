//! Users and groups, with the 16-bit ids of the first architectures.
//!
//! A 16-bit id of −1 means "leave it", as the 32-bit −1 does; an id that does not fit reads as 65534.

use super::forward::forward;
use crate::convert::stat::{narrow_id, widen_id};
use crate::errno::{EINVAL, Errno};
use crate::kernel::call;
use crate::table::SysResult;
use crate::task::Cx;

forward! {
    /// `setuid(2)`.
    fn setuid16 = call SYS_setuid(Id16);
    /// `setgid(2)`.
    fn setgid16 = call SYS_setgid(Id16);
    /// `setreuid(2)`.
    fn setreuid16 = call SYS_setreuid(Id16, Id16);
    /// `setregid(2)`.
    fn setregid16 = call SYS_setregid(Id16, Id16);
    /// `setresuid(2)`.
    fn setresuid16 = call SYS_setresuid(Id16, Id16, Id16);
    /// `setresgid(2)`.
    fn setresgid16 = call SYS_setresgid(Id16, Id16, Id16);
    /// `getresuid(2)`.
    fn getresuid = call SYS_getresuid(OutBytes(4), OutBytes(4), OutBytes(4));
    /// `getresgid(2)`.
    fn getresgid = call SYS_getresgid(OutBytes(4), OutBytes(4), OutBytes(4));
}

/// Calls that return an id.
macro_rules! returning {
    ($($(#[$doc:meta])* $name:ident = $nr:ident($pass:expr);)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// None.
        pub fn $name(_: &mut Cx, [id, ..]: [u64; 6]) -> SysResult {
            let pass: fn(u64) -> u64 = $pass;
            call(libc::$nr, [pass(id)]).map(|id| u64::from(narrow_id(id as u32)))
        }
    )*};
}
returning! {
    /// `getuid(2)`.
    getuid16 = SYS_getuid(|_| 0);
    /// `geteuid(2)`.
    geteuid16 = SYS_geteuid(|_| 0);
    /// `getgid(2)`.
    getgid16 = SYS_getgid(|_| 0);
    /// `getegid(2)`.
    getegid16 = SYS_getegid(|_| 0);
    /// `setfsuid(2)`.
    setfsuid16 = SYS_setfsuid(widen_id);
    /// `setfsgid(2)`.
    setfsgid16 = SYS_setfsgid(widen_id);
}

fn three16(cx: &Cx, nr: libc::c_long, out: [u64; 3]) -> SysResult {
    let mut ids = [0u32; 3];
    let base = ids.as_mut_ptr() as u64;
    call(nr, [base, base + 4, base + 8])?;
    for (addr, id) in out.into_iter().zip(ids) {
        cx.write(addr, &narrow_id(id))?;
    }
    Ok(0)
}

/// `getresuid(2)`.
///
/// # Errors
/// `EFAULT`.
pub fn getresuid16(cx: &mut Cx, [r, e, s, ..]: [u64; 6]) -> SysResult {
    three16(cx, libc::SYS_getresuid, [r, e, s])
}

/// `getresgid(2)`.
///
/// # Errors
/// `EFAULT`.
pub fn getresgid16(cx: &mut Cx, [r, e, s, ..]: [u64; 6]) -> SysResult {
    three16(cx, libc::SYS_getresgid, [r, e, s])
}

/// Most supplementary groups.
const NGROUPS_MAX: usize = 65536;

fn groups() -> Result<Vec<u32>, Errno> {
    let count = call(libc::SYS_getgroups, [0, 0])?;
    let mut list = vec![0u32; count as usize];
    let count = call(libc::SYS_getgroups, [count, list.as_mut_ptr() as u64])?;
    list.truncate(count as usize);
    Ok(list)
}

/// The groups of the process for a guest's array of `size` elements; nothing for a size of 0.
fn groups_for(size: u64) -> Result<(Vec<u32>, u64), Errno> {
    let list = groups()?;
    let count = list.len() as u64;
    match size as i32 {
        0 => Ok((Vec::new(), count)),
        n if n < 0 || (n as u64) < count => Err(EINVAL),
        _ => Ok((list, count)),
    }
}

fn group_count(size: u64) -> Result<u64, Errno> {
    if size <= NGROUPS_MAX as u64 { Ok(size) } else { Err(EINVAL) }
}

/// `getgroups(2)`.
///
/// # Errors
/// `EINVAL` for an array that is too small, `EFAULT`.
pub fn getgroups(cx: &mut Cx, [size, list, ..]: [u64; 6]) -> SysResult {
    let (ids, count) = groups_for(size)?;
    cx.write_array(list, &ids)?;
    Ok(count)
}

/// `getgroups(2)` with 16-bit ids.
///
/// # Errors
/// As for [`getgroups`].
pub fn getgroups16(cx: &mut Cx, [size, list, ..]: [u64; 6]) -> SysResult {
    let (ids, count) = groups_for(size)?;
    cx.write_array(list, &ids.into_iter().map(narrow_id).collect::<Vec<_>>())?;
    Ok(count)
}

/// `setgroups(2)`.
///
/// # Errors
/// As the manual page says.
pub fn setgroups(cx: &mut Cx, [size, list, ..]: [u64; 6]) -> SysResult {
    let ids: Vec<u32> = cx.read_array(list, group_count(size)?)?;
    call(libc::SYS_setgroups, [size, ids.as_ptr() as u64])
}

/// `setgroups(2)` with 16-bit ids.
///
/// # Errors
/// As the manual page says.
pub fn setgroups16(cx: &mut Cx, [size, list, ..]: [u64; 6]) -> SysResult {
    let ids: Vec<u16> = cx.read_array(list, group_count(size)?)?;
    let ids: Vec<u32> = ids.into_iter().map(u32::from).collect();
    call(libc::SYS_setgroups, [size, ids.as_ptr() as u64])
}
