//! Calls that belong to no other subject.

use super::forward::forward;
use crate::convert::misc::Iovec;
use crate::errno::{EFAULT, EINVAL, EPERM, Errno};
use crate::kernel::call;
use crate::memory::{Access, IOV_MAX};
use crate::table::SysResult;
use crate::task::Cx;

forward! {
    /// `syslog(2)`.
    fn syslog = call SYS_syslog(Val, Out(2), Val);
    /// `add_key(2)`.
    fn add_key = call SYS_add_key(Str, Str, In(3), Val, Val);
    /// `request_key(2)`.
    fn request_key = call SYS_request_key(Str, Str, Str, Val);
}

/// What a transfer between processes does with the caller's memory.
fn transfer(
    cx: &mut Cx,
    nr: libc::c_long,
    local: Access,
    [pid, list, count, remote, remote_count, flags]: [u64; 6],
) -> SysResult {
    let own = pid == u64::from(std::process::id());
    // The host address of another process's guest memory is known only if it is the guest address.
    if !own && cx.space().host_base() != 0 {
        return Err(EPERM);
    }
    let theirs = match local {
        Access::Read => Access::Write,
        Access::Write => Access::Read,
    };
    let local = cx.iovec(list, count, local)?;
    let remote = if own { cx.iovec(remote, remote_count, theirs)? } else { foreign_iovec(cx, remote, remote_count)? };
    call(nr, [pid, local.as_ptr() as u64, count, remote.as_ptr() as u64, remote_count, flags])
}

/// Buffers in another process's guest memory.
fn foreign_iovec(cx: &Cx, addr: u64, count: u64) -> Result<Vec<libc::iovec>, Errno> {
    if count > IOV_MAX {
        return Err(EINVAL);
    }
    let end = cx.abi().layout().end;
    let list = cx.read_array::<Iovec>(addr, count)?;
    if list.iter().any(|v| v.base.0.saturating_add(v.len.0) > end) {
        return Err(EFAULT);
    }
    let host = |v: &Iovec| libc::iovec { iov_base: v.base.0 as *mut libc::c_void, iov_len: v.len.0 as usize };
    Ok(list.iter().map(host).collect())
}

/// `process_vm_readv(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn process_vm_readv(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    transfer(cx, libc::SYS_process_vm_readv, Access::Write, args)
}

/// `process_vm_writev(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn process_vm_writev(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    transfer(cx, libc::SYS_process_vm_writev, Access::Read, args)
}
