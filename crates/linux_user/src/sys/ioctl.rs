//! `ioctl`: what the argument of a command is comes from a table ([`super::ioctl_table`]).

use super::forward::Codec;
use super::io::descriptor_error;
use super::ioctl_table::{COMMANDS, FAMILIES};
use crate::convert::record::{Ulong, record};
use crate::convert::{Buffer, Model, Record};
use crate::errno::{EFAULT, EINVAL, ENOTTY, EOPNOTSUPP, Errno};
use crate::kernel::call;
use crate::memory::Access;
use crate::sync::Mutex;
use crate::table::SysResult;
use crate::task::Cx;
use std::collections::HashSet;
use std::sync::LazyLock;

/// What the argument of a command is.
#[derive(Clone, Copy)]
pub enum IoctlArg {
    /// Nothing, or an integer.
    Value,
    /// Memory of that size that the kernel reads, the same on guest and host.
    In(u64),
    /// Memory of that size that the kernel writes, or reads and writes, the same on guest and host.
    Out(u64),
    /// Memory, the same on guest and host; size and direction are in the number of the command.
    Encoded,
    /// Memory of that size, the same on guest and host, although the number of the command has the size of a `long`.
    LongCoded(u64),
    /// A structure that is converted both ways.
    Struct(Codec),
    /// `struct ifreq` without pointers or `long`s.
    Ifreq,
    /// A header of that many bytes, with a count at an offset, and that many elements of a size behind it.
    Counted {
        /// Size of the header.
        header: u64,
        /// Offset of the count, a 32-bit integer.
        count: u64,
        /// Size of an element.
        element: u64,
    },
    /// Code.
    Run(fn(&mut Cx, u64, u64, u64) -> SysResult),
}

/// A command that is known.
#[derive(Clone, Copy)]
pub struct Command {
    /// Name in the kernel's headers.
    pub name: &'static str,
    /// The host's number.
    pub number: u32,
    /// What its argument is.
    pub arg: IoctlArg,
    /// Whether it may block, or stop the process.
    pub wait: bool,
}

/// Commands of a driver whose structures have one layout everywhere.
#[derive(Clone, Debug)]
pub struct Family {
    /// What they belong to.
    pub name: &'static str,
    /// The type byte of the numbers.
    pub kind: u8,
    /// Their numbers in the type.
    pub numbers: std::ops::RangeInclusive<u8>,
}

/// Fields of a command's number (asm-generic/ioctl.h).
const SIZE_SHIFT: u32 = 16;
const SIZE_MASK: u32 = 0x3fff;
const DIRECTION_READ: u32 = 1 << 31;

/// Size of the argument in a command's number.
fn encoded_size(number: u32) -> u32 {
    number >> SIZE_SHIFT & SIZE_MASK
}

impl Command {
    /// The guest's number: where it has the size of a `long`, that of the guest's.
    fn guest_number(&self, model: Model) -> u32 {
        match self.arg {
            IoctlArg::LongCoded(_) => self.number & !(SIZE_MASK << SIZE_SHIFT) | (model.long as u32) << SIZE_SHIFT,
            _ => self.number,
        }
    }
}

/// The row of a guest's command.
pub fn find(model: Model, number: u32) -> Option<&'static Command> {
    COMMANDS.iter().find(|c| c.guest_number(model) == number)
}

fn find_family(number: u32) -> Option<&'static Family> {
    let (kind, index) = ((number >> 8) as u8, number as u8);
    FAMILIES.iter().find(|f| f.kind == kind && f.numbers.contains(&index))
}

/// Host address of an argument whose size and direction are in the command's number.
fn encoded_argument(cx: &Cx, number: u32, arg: u64) -> SysResult {
    let size = encoded_size(number);
    if size == 0 {
        return Ok(arg);
    }
    let access = if number & DIRECTION_READ != 0 { Access::Write } else { Access::Read };
    nonnull(arg).and_then(|arg| cx.host_ptr(arg, size.into(), access))
}

fn nonnull(arg: u64) -> SysResult {
    if arg == 0 { Err(EFAULT) } else { Ok(arg) }
}

/// `ioctl(2)`.
///
/// # Errors
/// What the kernel returns; `ENOTTY` for commands that are not known.
pub fn ioctl(cx: &mut Cx, [fd, number, arg, ..]: [u64; 6]) -> SysResult {
    let number = number as u32;
    let result = match (find(cx.model(), number), find_family(number)) {
        (Some(command), _) => serve(cx, command, fd, number, arg),
        (None, Some(_)) => {
            encoded_argument(cx, number, arg).and_then(|arg| call(libc::SYS_ioctl, [fd, number.into(), arg]))
        }
        (None, None) => {
            log_missing(cx, number);
            Err(descriptor_error(fd, ENOTTY))
        }
    };
    result.map_err(|e| if e == EFAULT { descriptor_error(fd, e) } else { e })
}

fn serve(cx: &mut Cx, command: &Command, fd: u64, number: u32, arg: u64) -> SysResult {
    let host = u64::from(command.number);
    let arg = match command.arg {
        IoctlArg::Value => arg,
        IoctlArg::In(size) => cx.host_ptr(nonnull(arg)?, size, Access::Read)?,
        IoctlArg::Out(size) | IoctlArg::LongCoded(size) => cx.host_ptr(nonnull(arg)?, size, Access::Write)?,
        IoctlArg::Encoded => encoded_argument(cx, number, arg)?,
        IoctlArg::Struct(codec) => return with_structure(cx, fd, host, arg, codec),
        IoctlArg::Ifreq => return with_ifreq(cx, fd, host, arg),
        IoctlArg::Counted { header, count, element } => {
            let elements: u32 = cx.read(arg.wrapping_add(count))?;
            let size = header + u64::from(elements).saturating_mul(element);
            cx.host_ptr(nonnull(arg)?, size, Access::Write)?
        }
        IoctlArg::Run(run) => return run(cx, fd, host, arg),
    };
    let args = [fd, host, arg];
    if command.wait { cx.blocking_call(libc::SYS_ioctl, args) } else { call(libc::SYS_ioctl, args) }
}

/// Notes a command that is not known, the first time that it is used.
fn log_missing(cx: &Cx, number: u32) {
    static SEEN: LazyLock<Mutex<HashSet<u32>>> = LazyLock::new(Mutex::default);
    if SEEN.lock().insert(number) {
        let (kind, index, size) = (number >> 8 & 0xff, number & 0xff, encoded_size(number));
        cx.options()
            .log(&format!("ioctl {number:#x} (type {kind:#x}, number {index}, size {size}) is not implemented"));
    }
}

fn with_structure(cx: &Cx, fd: u64, number: u64, arg: u64, codec: Codec) -> SysResult {
    let mut host = codec.load(cx, nonnull(arg)?)?;
    let before = host.clone();
    let result = call(libc::SYS_ioctl, [fd, number, host.addr()])?;
    // A structure that was only read may be in read-only memory.
    if !host.same(&before) {
        codec.store(cx, arg, &host)?;
    }
    Ok(result)
}

record! {
    /// `struct ifmap`.
    IfMap { mem_start: Ulong, mem_end: Ulong, base: u16, irq: u8, dma: u8, port: u8, }
    /// `struct ifreq` with a map, the largest of its members.
    IfreqMap { name: [u8; 16], map: IfMap, }
    /// `struct ifreq` with a pointer.
    IfreqData { name: [u8; 16], data: Ulong, }
    /// `struct ifconf`.
    IfConf { len: i32, list: Ulong, }
    /// `struct serial_struct`.
    Serial {
        kind: i32, line: i32, port: u32, irq: i32, flags: i32, xmit_fifo_size: i32, custom_divisor: i32,
        baud_base: i32, close_delay: u16, io_type: u8, reserved: u8, hub6: i32, closing_wait: u16, closing_wait2: u16,
        iomem_base: Ulong, iomem_reg_shift: u16, port_high: u32, iomap_base: Ulong,
    }
    /// `struct hd_geometry`.
    Geometry { heads: u8, sectors: u8, cylinders: u16, start: Ulong, }
}

/// Size of `struct ifreq`: a name of 16 bytes and a union, the largest member of which is [`IfMap`].
fn ifreq_size(model: Model) -> usize {
    IfreqMap::size(model)
}

/// Bytes of `struct ifreq` that mean the same everywhere: the name, and 16 bytes of the union, enough for an address.
const IFREQ_COMMON: usize = 32;

/// A command with a `struct ifreq` of which at most the first 32 bytes count.
fn with_ifreq(cx: &Cx, fd: u64, number: u64, arg: u64) -> SysResult {
    let mut host = Buffer::default();
    cx.read_bytes(arg, host.bytes_mut(IFREQ_COMMON))?;
    let before = host.clone();
    let result = call(libc::SYS_ioctl, [fd, number, host.addr()])?;
    if !host.same(&before) {
        cx.write_bytes(arg, host.bytes(IFREQ_COMMON))?;
    }
    Ok(result)
}

/// `SIOCGIFCONF`: an array of interfaces.
pub(super) fn interface_list(cx: &mut Cx, fd: u64, number: u64, arg: u64) -> SysResult {
    let model = cx.model();
    let (guest_size, host_size) = (ifreq_size(model), ifreq_size(Model::HOST));
    let guest: IfConf = cx.read(arg)?;
    let room = usize::try_from(guest.len).map_err(|_| EINVAL)? / guest_size;
    let mut list = vec![0u8; if guest.list.0 == 0 { 0 } else { room.min(1 << 16) * host_size }];
    let address = if guest.list.0 == 0 { 0 } else { list.as_mut_ptr() as u64 };
    let mut host = Buffer::host(&IfConf { len: list.len() as i32, list: Ulong(address) });
    let result = call(libc::SYS_ioctl, [fd, number, host.addr()])?;
    let count = host.read::<IfConf>().len as usize / host_size;
    if guest.list.0 != 0 {
        let mut out = vec![0u8; count * guest_size];
        for (from, to) in list.chunks_exact(host_size).zip(out.chunks_exact_mut(guest_size)) {
            to[..IFREQ_COMMON].copy_from_slice(&from[..IFREQ_COMMON]);
        }
        cx.write_bytes(guest.list.0, &out)?;
    }
    cx.write(arg, &IfConf { len: (count * guest_size) as i32, ..guest })?;
    Ok(result)
}

/// Commands of `SIOCETHTOOL` (linux/ethtool.h), from `ETHTOOL_GRXFH` to `ETHTOOL_SRXCLSRLINS`, whose structure has
/// other offsets on i386.
const ETHTOOL_RXNFC: std::ops::RangeInclusive<u32> = 0x29..=0x32;

/// `SIOCETHTOOL`: a `struct ifreq` with a pointer to a structure that starts with a command.
pub(super) fn ethtool(cx: &mut Cx, fd: u64, number: u64, arg: u64) -> SysResult {
    /// The kernel finds the size itself; the largest fixed structures are smaller.
    const ROOM: u64 = 4096;
    let guest: IfreqData = cx.read(arg)?;
    let command: u32 = cx.read(guest.data.0)?;
    if ETHTOOL_RXNFC.contains(&command) {
        return Err(EOPNOTSUPP);
    }
    let data = Ulong(cx.host_buffer(guest.data.0, ROOM, Access::Write)?);
    let mut host = Buffer::host(&IfreqData { data, ..guest });
    call(libc::SYS_ioctl, [fd, number, host.addr()])
}

/// A command that stores one `long`.
pub(super) fn long_result(cx: &mut Cx, fd: u64, number: u64, arg: u64) -> SysResult {
    let mut host = Buffer::default();
    let result = call(libc::SYS_ioctl, [fd, number, host.addr()])?;
    let value: Ulong = host.read();
    let mut bytes = Buffer::default();
    let size = cx.model().long;
    if !value.encode(cx.model(), bytes.bytes_mut(size)) {
        // The number of sectors of a disk of more than 2 TiB does not fit 32 bits (BLKGETSIZE).
        return Err(Errno(libc::EFBIG));
    }
    cx.write_bytes(nonnull(arg)?, bytes.bytes(size))?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_their_sizes() {
        assert_eq!(ifreq_size(Model::I386), 32);
        assert_eq!(ifreq_size(Model::HOST), size_of::<libc::ifreq>());
        assert_eq!(Serial::size(Model::HOST), 72);
        assert_eq!(Serial::size(Model::I386), 60);
        assert_eq!(Geometry::size(Model::I386), 8);
    }

    #[test]
    fn numbers_with_the_size_of_a_long() {
        let flags = find(Model::I386, 0x8004_6601).expect("FS_IOC32_GETFLAGS");
        assert_eq!((flags.name, flags.number), ("FS_IOC_GETFLAGS", 0x8008_6601));
        assert_eq!(find(Model::LP64, 0x8008_6601).map(|c| c.name), Some("FS_IOC_GETFLAGS"));
        assert!(find(Model::I386, 0x8008_6601).is_none());
        assert_eq!(find(Model::I386, 0x8004_1272).map(|c| c.name), Some("BLKGETSIZE64"));
    }

    #[test]
    fn no_number_occurs_twice() {
        for model in [Model::I386, Model::LP64] {
            let mut numbers: Vec<_> = COMMANDS.iter().map(|c| c.guest_number(model)).collect();
            numbers.sort_unstable();
            let count = numbers.len();
            numbers.dedup();
            assert_eq!(numbers.len(), count);
        }
    }

    #[test]
    fn numbers_agree_with_libc() {
        for (name, number) in [
            ("TCGETS", libc::TCGETS),
            ("TIOCGWINSZ", libc::TIOCGWINSZ),
            ("TIOCGPTN", libc::TIOCGPTN),
            ("FIONREAD", libc::FIONREAD),
            ("FICLONE", libc::FICLONE),
            ("TCGETS2", libc::TCGETS2),
            ("BLKSSZGET", libc::BLKSSZGET),
            ("SIOCGIFMTU", libc::SIOCGIFMTU),
        ] {
            assert_eq!(find(Model::LP64, number as u32).map(|c| c.name), Some(name));
        }
    }

    #[test]
    fn families_are_told_by_type() {
        assert_eq!(find_family(0x8004_4501).map(|f| f.name), Some("input"));
        assert!(find_family(0x1234_5678).is_none());
    }
}
