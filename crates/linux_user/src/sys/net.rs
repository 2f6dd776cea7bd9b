//! Sockets.

use super::forward::forward;
use crate::convert::misc::{MmsgHdr, MsgHdr, SockFprog};
use crate::convert::record::{Long, Model, Record, Ulong};
use crate::convert::time::{Timespec, Timespec64};
use crate::convert::{Buffer, cmsg};
use crate::errno::{EFAULT, EINVAL, Errno};
use crate::kernel::call;
use crate::memory::Access;
use crate::table::{HandlerFn, SysResult};
use crate::task::Cx;
use std::time::{Duration, Instant};

forward! {
    /// `socket(2)`.
    fn socket = call SYS_socket(Val, Val, Val);
    /// `bind(2)`: addresses have one layout everywhere.
    fn bind = call SYS_bind(Val, In(2), Val);
    /// `connect(2)`.
    fn connect = wait SYS_connect(Val, In(2), Val);
    /// `listen(2)`.
    fn listen = call SYS_listen(Val, Val);
    /// `accept(2)`.
    fn accept = wait SYS_accept4(Val, OutSized(2), OutBytes(4), Fixed(0));
    /// `accept4(2)`.
    fn accept4 = wait SYS_accept4(Val, OutSized(2), OutBytes(4), Val);
    /// `getsockname(2)`.
    fn getsockname = call SYS_getsockname(Val, OutSized(2), OutBytes(4));
    /// `getpeername(2)`.
    fn getpeername = call SYS_getpeername(Val, OutSized(2), OutBytes(4));
    /// `socketpair(2)`.
    fn socketpair = call SYS_socketpair(Val, Val, Val, OutBytes(8));
    /// `send(2)`.
    fn send = wait SYS_sendto(Val, In(2), Val, Val, Fixed(0), Fixed(0));
    /// `sendto(2)`.
    fn sendto = wait SYS_sendto(Val, In(2), Val, Val, In(5), Val);
    /// `recv(2)`.
    fn recv = wait SYS_recvfrom(Val, Out(2), Val, Val, Fixed(0), Fixed(0));
    /// `recvfrom(2)`.
    fn recvfrom = wait SYS_recvfrom(Val, Out(2), Val, Val, OutSized(5), OutBytes(4));
    /// `shutdown(2)`.
    fn shutdown = call SYS_shutdown(Val, Val);
}

/// The sub-calls of `socketcall`, from number 1, with the number of their arguments (linux/net.h).
static SOCKETCALLS: [(usize, HandlerFn); 20] = [
    (3, socket),
    (3, bind),
    (3, connect),
    (2, listen),
    (3, accept),
    (3, getsockname),
    (3, getpeername),
    (4, socketpair),
    (4, send),
    (4, recv),
    (6, sendto),
    (6, recvfrom),
    (2, shutdown),
    (5, setsockopt),
    (5, getsockopt),
    (3, sendmsg),
    (3, recvmsg),
    (4, accept4),
    (5, recvmmsg),
    (4, sendmmsg),
];

/// `socketcall(2)`: the arguments are words in memory.
///
/// # Errors
/// `EINVAL` for an unknown sub-call, and what the sub-call returns.
pub fn socketcall(cx: &mut Cx, [number, block, ..]: [u64; 6]) -> SysResult {
    let row = usize::try_from(number).ok().and_then(|n| SOCKETCALLS.get(n.checked_sub(1)?));
    let (count, handler) = *row.ok_or(EINVAL)?;
    let mut args = [0; 6];
    for (slot, word) in args.iter_mut().zip(cx.read_array::<Ulong>(block, count as u64)?) {
        *slot = word.0;
    }
    handler(cx, args)
}

/// Largest address (`struct sockaddr_storage`); the kernel clamps longer ones in messages.
const MAX_ADDRESS: i32 = 128;

/// Most bytes of control messages; the kernel's own limit (`optmem_max`) is lower.
const MAX_CONTROL: u64 = 1 << 20;

/// A `struct msghdr` for the host, with what it points to.
struct HostMessage {
    guest: MsgHdr,
    host: Buffer,
    _iov: Vec<libc::iovec>,
    control: Vec<u8>,
}

impl HostMessage {
    fn new(cx: &Cx, guest: MsgHdr, access: Access) -> Result<Self, Errno> {
        if guest.namelen < 0 {
            return Err(EINVAL);
        }
        if guest.controllen.0 > MAX_CONTROL {
            return Err(Errno(libc::ENOBUFS));
        }
        let iov = cx
            .iovec(guest.iov.0, guest.iovlen.0, access)
            .map_err(|e| if guest.iovlen.0 > crate::memory::IOV_MAX { Errno(libc::EMSGSIZE) } else { e })?;
        let namelen = guest.namelen.min(MAX_ADDRESS);
        let name = cx.host_buffer(guest.name.0, namelen as u64, access)?;
        let mut control = match access {
            Access::Read => Self::outgoing_control(cx, &guest)?,
            Access::Write if guest.control.0 == 0 || guest.controllen.0 == 0 => Vec::new(),
            Access::Write => vec![0; cmsg::host_room(guest.controllen.0 as usize)],
        };
        let header = MsgHdr {
            name: Ulong(if guest.name.0 == 0 { 0 } else { name }),
            namelen: if guest.name.0 == 0 { 0 } else { namelen },
            iov: Ulong(iov.as_ptr() as u64),
            iovlen: Ulong(iov.len() as u64),
            control: Ulong(if control.is_empty() { 0 } else { control.as_mut_ptr() as u64 }),
            controllen: Ulong(control.len() as u64),
            flags: 0,
        };
        Ok(HostMessage { guest, host: Buffer::host(&header), _iov: iov, control })
    }

    fn outgoing_control(cx: &Cx, guest: &MsgHdr) -> Result<Vec<u8>, Errno> {
        if guest.control.0 == 0 {
            return Ok(Vec::new());
        }
        let bytes = cx.read_vec(guest.control.0, guest.controllen.0)?;
        cmsg::to_host(cx.model(), &bytes).ok_or(EINVAL)
    }

    /// The guest's header after a message was received; stores the control messages.
    fn received(&self, cx: &Cx) -> Result<MsgHdr, Errno> {
        let host: MsgHdr = self.host.read();
        let mut guest = self.guest;
        guest.flags = host.flags;
        if guest.name.0 != 0 {
            guest.namelen = host.namelen;
        }
        let used = (host.controllen.0 as usize).min(self.control.len());
        let control = cmsg::to_guest(cx.model(), &self.control[..used], guest.controllen.0 as usize);
        for fd in control.dropped {
            let _ = call(libc::SYS_close, [fd as u64]);
        }
        if control.truncated {
            guest.flags |= libc::MSG_CTRUNC as u32;
        }
        cx.write_bytes(guest.control.0, &control.bytes)
            .or_else(|e| if control.bytes.is_empty() { Ok(()) } else { Err(e) })?;
        guest.controllen = Ulong(control.bytes.len() as u64);
        Ok(guest)
    }
}

/// The error of a bad argument, unless `fd` is no socket, which the kernel looks at first.
fn socket_error(fd: u64, error: Errno) -> Errno {
    let (mut kind, mut len) = (Buffer::default(), Buffer::host(&4_i32));
    let args = [fd, libc::SOL_SOCKET as u64, libc::SO_TYPE as u64, kind.addr(), len.addr()];
    call(libc::SYS_getsockopt, args).err().unwrap_or(error)
}

fn send_one(cx: &mut Cx, fd: u64, guest: MsgHdr, flags: u64) -> SysResult {
    let mut message = HostMessage::new(cx, guest, Access::Read).map_err(|e| socket_error(fd, e))?;
    cx.blocking_call(libc::SYS_sendmsg, [fd, message.host.addr(), flags])
}

fn receive_one(cx: &mut Cx, fd: u64, guest: MsgHdr, flags: u64) -> Result<(u64, MsgHdr), Errno> {
    let mut message = HostMessage::new(cx, guest, Access::Write).map_err(|e| socket_error(fd, e))?;
    let len = cx.blocking_call(libc::SYS_recvmsg, [fd, message.host.addr(), flags])?;
    Ok((len, message.received(cx)?))
}

/// `sendmsg(2)`.
///
/// # Errors
/// What the kernel returns; `EINVAL` for malformed control messages.
pub fn sendmsg(cx: &mut Cx, [fd, msg, flags, ..]: [u64; 6]) -> SysResult {
    let guest = cx.read(msg).map_err(|e| socket_error(fd, e))?;
    send_one(cx, fd, guest, flags)
}

/// `recvmsg(2)`.
///
/// # Errors
/// What the kernel returns.
pub fn recvmsg(cx: &mut Cx, [fd, msg, flags, ..]: [u64; 6]) -> SysResult {
    let guest = cx.read(msg).map_err(|e| socket_error(fd, e))?;
    let (len, header) = receive_one(cx, fd, guest, flags)?;
    cx.write(msg, &header)?;
    Ok(len)
}

/// Handles messages one after the other until one fails; only the failure of the first is reported.
fn each_message(
    cx: &mut Cx,
    fd: u64,
    list: u64,
    count: u64,
    mut handle: impl FnMut(&mut Cx, usize, MsgHdr) -> Result<Option<MmsgHdr>, Errno>,
) -> SysResult {
    let size = MmsgHdr::size(cx.model()) as u64;
    let count = count.min(crate::memory::IOV_MAX) as usize;
    if count == 0 {
        return match socket_error(fd, EFAULT) {
            EFAULT => Ok(0),
            bad => Err(bad),
        };
    }
    for i in 0..count {
        let addr = list + i as u64 * size;
        let one = cx.read::<MmsgHdr>(addr).and_then(|m| handle(cx, i, m.hdr));
        match one.and_then(|done| done.map(|m| cx.write(addr, &m)).transpose()) {
            Ok(Some(())) => {}
            Ok(None) => return Ok(i as u64),
            Err(EFAULT) if i == 0 => return Err(socket_error(fd, EFAULT)),
            Err(e) if i == 0 => return Err(e),
            Err(_) => return Ok(i as u64),
        }
    }
    Ok(count as u64)
}

/// `sendmmsg(2)`.
///
/// # Errors
/// What the kernel returns for the first message.
pub fn sendmmsg(cx: &mut Cx, [fd, list, count, flags, ..]: [u64; 6]) -> SysResult {
    each_message(cx, fd, list, count, |cx, _, hdr| {
        let len = send_one(cx, fd, hdr, flags)?;
        Ok(Some(MmsgHdr { hdr, len: len as u32 }))
    })
}

/// Receives messages until `limit` has passed, which is looked at between messages only.
fn receive_many(cx: &mut Cx, [fd, list, count, flags, ..]: [u64; 6], limit: Option<Duration>) -> SysResult {
    let end = limit.and_then(|l| Instant::now().checked_add(l));
    let once = flags & libc::MSG_WAITFORONE as u64 != 0;
    let flags = flags & !(libc::MSG_WAITFORONE as u64);
    each_message(cx, fd, list, count, |cx, i, hdr| {
        if i > 0 && end.is_some_and(|end| Instant::now() >= end) {
            return Ok(None);
        }
        let dontwait = if once && i > 0 { libc::MSG_DONTWAIT as u64 } else { 0 };
        let (len, hdr) = receive_one(cx, fd, hdr, flags | dontwait)?;
        Ok(Some(MmsgHdr { hdr, len: len as u32 }))
    })
}

/// A timeout of `recvmmsg`, and the time that was left.
fn with_limit(
    cx: &mut Cx,
    args: [u64; 6],
    limit: Option<Timespec>,
    store: impl FnOnce(&Cx, Timespec) -> Result<(), Errno>,
) -> SysResult {
    let Some(limit) = limit else { return receive_many(cx, args, None) };
    let nanos = limit.nanos().ok_or(EINVAL)?;
    let start = Instant::now();
    let received = receive_many(cx, args, Some(Duration::from_nanos(nanos as u64)))?;
    let passed = i64::try_from(start.elapsed().as_nanos()).unwrap_or(i64::MAX);
    store(cx, Timespec::from_nanos(nanos.saturating_sub(passed)))?;
    Ok(received)
}

/// `recvmmsg(2)` with the guest's `time_t`.
///
/// # Errors
/// What the kernel returns for the first message.
pub fn recvmmsg(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    let limit: Option<Timespec> = cx.read_opt(args[4])?;
    with_limit(cx, args, limit, |cx, left| cx.write(args[4], &left))
}

/// `recvmmsg(2)` with 64-bit times.
///
/// # Errors
/// What the kernel returns for the first message.
pub fn recvmmsg_time64(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    let limit: Option<Timespec64> = cx.read_opt(args[4])?;
    with_limit(cx, args, limit.map(Timespec::from), |cx, left| cx.write(args[4], &Timespec64::from(left)))
}

/// What the value of a socket option is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum OptionKind {
    /// The same bytes on guest and host.
    Same,
    /// `long`s.
    Longs,
    /// `struct sock_fprog`.
    Filter,
    /// A 32-bit integer, then addresses, which are aligned for a `long`: `struct group_req` and its relatives.
    Group,
    /// Not supported: structures of tables and pointers.
    Refused,
}

/// `SO_RCVTIMEO_OLD`, `SO_SNDTIMEO_OLD`, `SO_ATTACH_FILTER`, `SO_ATTACH_REUSEPORT_CBPF` (asm-generic/socket.h).
const TIMEOUTS: [i32; 2] = [20, 21];
const FILTERS: [i32; 2] = [26, 51];
/// `MCAST_JOIN_GROUP` … `MCAST_MSFILTER` (linux/in.h).
const MCAST: std::ops::RangeInclusive<i32> = 42..=48;
/// Options of netfilter's tables: `IPT_BASE_CTL` and `IP6T_BASE_CTL` with their successors. Two numbers between them
/// are traffic classes of IPv6.
const TABLES: [i32; 6] = [64, 65, 66, 67, 68, 69];
const IPV6_CLASSES: [i32; 2] = [libc::IPV6_RECVTCLASS, libc::IPV6_TCLASS];
/// `TCP_ZEROCOPY_RECEIVE`.
const ZEROCOPY_RECEIVE: i32 = 35;

fn option_kind(level: i32, name: i32, set: bool) -> OptionKind {
    match level {
        libc::SOL_SOCKET if TIMEOUTS.contains(&name) => OptionKind::Longs,
        libc::SOL_SOCKET if set && FILTERS.contains(&name) => OptionKind::Filter,
        libc::SOL_IPV6 if IPV6_CLASSES.contains(&name) => OptionKind::Same,
        libc::SOL_IP | libc::SOL_IPV6 if MCAST.contains(&name) && set => OptionKind::Group,
        libc::SOL_IP | libc::SOL_IPV6 if MCAST.contains(&name) || TABLES.contains(&name) => OptionKind::Refused,
        libc::SOL_TCP if name == ZEROCOPY_RECEIVE => OptionKind::Refused,
        _ => OptionKind::Same,
    }
}

/// The error of an option that the protocol does not have.
const UNKNOWN_OPTION: Errno = Errno(libc::ENOPROTOOPT);

/// Converts the value of an option that is set.
fn host_option(cx: &Cx, kind: OptionKind, value: u64, len: u64) -> Result<Vec<u8>, Errno> {
    let model = cx.model();
    let bytes = cx.read_vec(value, len.min(1 << 16))?;
    Ok(match kind {
        OptionKind::Longs => {
            let pair = <[Long; 2]>::decode(model, bytes.get(..2 * model.long).ok_or(EINVAL)?);
            Buffer::host(&pair).bytes(16).to_vec()
        }
        OptionKind::Filter => {
            let guest = SockFprog::decode(model, bytes.get(..SockFprog::size(model)).ok_or(EINVAL)?);
            let filter = Ulong(cx.host_ptr(guest.filter.0, u64::from(guest.len) * 8, Access::Read)?);
            Buffer::host(&SockFprog { filter, ..guest }).bytes(SockFprog::size(Model::HOST)).to_vec()
        }
        OptionKind::Group if model.long == 4 => {
            let (interface, rest) = bytes.split_at_checked(4).ok_or(EINVAL)?;
            [interface, &[0; 4], rest].concat()
        }
        _ => bytes,
    })
}

/// `setsockopt(2)`.
///
/// # Errors
/// What the kernel returns; `ENOPROTOOPT` for options that are not supported.
pub fn setsockopt(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    set_option(cx, args).map_err(|e| if matches!(e, EFAULT | EINVAL) { socket_error(args[0], e) } else { e })
}

fn set_option(cx: &mut Cx, [fd, level, name, value, len, _]: [u64; 6]) -> SysResult {
    if (len as i32) < 0 {
        return Err(EINVAL);
    }
    match option_kind(level as i32, name as i32, true) {
        OptionKind::Refused => Err(UNKNOWN_OPTION),
        OptionKind::Same => {
            let value = cx.host_buffer(value, len, Access::Read)?;
            call(libc::SYS_setsockopt, [fd, level, name, value, len])
        }
        kind => {
            let bytes = host_option(cx, kind, value, len)?;
            call(libc::SYS_setsockopt, [fd, level, name, bytes.as_ptr() as u64, bytes.len() as u64])
        }
    }
}

/// `getsockopt(2)`.
///
/// # Errors
/// What the kernel returns; `ENOPROTOOPT` for options that are not supported.
pub fn getsockopt(cx: &mut Cx, args: [u64; 6]) -> SysResult {
    get_option(cx, args).map_err(|e| if matches!(e, EFAULT | EINVAL) { socket_error(args[0], e) } else { e })
}

fn get_option(cx: &mut Cx, [fd, level, name, value, len, _]: [u64; 6]) -> SysResult {
    let room: i32 = cx.read(len)?;
    if room < 0 {
        return Err(EINVAL);
    }
    match option_kind(level as i32, name as i32, false) {
        OptionKind::Refused => Err(UNKNOWN_OPTION),
        OptionKind::Longs => {
            let mut host = Buffer::default();
            let mut host_len = Buffer::host(&16_i32);
            call(libc::SYS_getsockopt, [fd, level, name, host.addr(), host_len.addr()])?;
            let size = 2 * cx.model().long;
            let mut bytes = Buffer::default();
            host.read::<[Long; 2]>().encode(cx.model(), bytes.bytes_mut(size));
            let size = size.min(room as usize);
            cx.write_bytes(value, bytes.bytes(size))?;
            cx.write(len, &(size as i32))?;
            Ok(0)
        }
        _ => {
            if value == 0 && room != 0 {
                return Err(EFAULT);
            }
            let value = cx.host_buffer(value, room as u64, Access::Write)?;
            let len = cx.host_ptr(len, 4, Access::Write)?;
            call(libc::SYS_getsockopt, [fd, level, name, value, len])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_their_kinds() {
        assert_eq!(option_kind(libc::SOL_SOCKET, libc::SO_RCVTIMEO, true), OptionKind::Longs);
        assert_eq!(option_kind(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, true), OptionKind::Filter);
        assert_eq!(option_kind(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, false), OptionKind::Same);
        assert_eq!(option_kind(libc::SOL_IPV6, 42, true), OptionKind::Group);
        assert_eq!(option_kind(libc::SOL_IP, 64, true), OptionKind::Refused);
        assert_eq!(option_kind(libc::SOL_IPV6, 65, true), OptionKind::Refused);
        assert_eq!(option_kind(libc::SOL_IPV6, libc::IPV6_RECVTCLASS, true), OptionKind::Same);
        assert_eq!(option_kind(libc::SOL_TCP, 20, true), OptionKind::Same);
    }

    #[test]
    fn sub_calls_are_in_order() {
        assert_eq!(SOCKETCALLS.len(), 20);
        assert_eq!(SOCKETCALLS.map(|(n, _)| n), [3, 3, 3, 2, 3, 3, 3, 4, 4, 4, 6, 6, 2, 5, 5, 3, 3, 4, 5, 4]);
    }
}
