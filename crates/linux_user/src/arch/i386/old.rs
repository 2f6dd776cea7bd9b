//! Calls that only i386 has in this form: arguments in memory, or in another order.

use crate::convert::record::record;
use crate::errno::EINVAL;
use crate::sys::mm;
use crate::table::SysResult;
use crate::task::Cx;

record! {
    /// `struct mmap_arg_struct`.
    MmapArgs { addr: u32, len: u32, prot: u32, flags: u32, fd: i32, offset: u32, }
}

/// The first `mmap`, whose arguments are in memory and whose offset is in bytes.
pub fn mmap(cx: &mut Cx, [args, ..]: [u64; 6]) -> SysResult {
    let a: MmapArgs = cx.read(args)?;
    if !a.offset.is_multiple_of(4096) {
        return Err(EINVAL);
    }
    mm::mmap(cx, [a.addr.into(), a.len.into(), a.prot.into(), a.flags.into(), a.fd as u64, a.offset.into()])
}
