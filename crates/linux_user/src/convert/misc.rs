//! Structures of calls that have only one or two: locks, messages, queues, polling, system information.

use super::flags::FlagTable;
use super::record::{Long, Model, Ulong, record};
use super::stat::StatLayout;

/// What an architecture's structures look like beyond its [`Model`].
#[derive(Clone, Copy, Debug)]
pub struct Layouts {
    /// Word size and alignment.
    pub model: Model,
    /// Layout of `struct stat` in the calls without a suffix.
    pub stat: StatLayout,
    /// Flags of `open`.
    pub open: &'static FlagTable,
    /// Size of `struct epoll_event`: it is packed on x86-64.
    pub epoll_event: usize,
    /// Whether `struct semid64_ds` has a hole behind each time, as on x86-64 alone.
    pub semid_holes: bool,
    /// Whether `mmap` knows `MAP_32BIT`, as on x86-64 alone.
    pub map_32bit: bool,
}

impl Layouts {
    /// i386.
    pub const I386: Layouts = Layouts {
        model: Model::I386,
        stat: StatLayout::Stat32,
        open: &super::flags::OPEN_X86,
        epoll_event: 12,
        semid_holes: false,
        map_32bit: false,
    };
    /// x86-64.
    pub const X86_64: Layouts = Layouts {
        model: Model::LP64,
        stat: StatLayout::X86_64,
        open: &super::flags::OPEN_X86,
        epoll_event: 12,
        semid_holes: true,
        map_32bit: true,
    };
    /// 32-bit Arm.
    pub const ARM: Layouts = Layouts {
        model: Model::ARM,
        stat: StatLayout::Stat32,
        open: &super::flags::OPEN_ARM,
        epoll_event: 16,
        semid_holes: false,
        map_32bit: false,
    };
    /// AArch64.
    pub const AARCH64: Layouts = Layouts {
        model: Model::LP64,
        stat: StatLayout::Generic,
        open: &super::flags::OPEN_ARM,
        epoll_event: 16,
        semid_holes: false,
        map_32bit: false,
    };
}

record! {
    /// `struct flock`: offsets in the guest's words.
    Flock { kind: i16, whence: i16, start: Long, len: Long, pid: i32, }
    /// `struct flock64`.
    Flock64 { kind: i16, whence: i16, start: i64, len: i64, pid: i32, }
    /// `struct f_owner_ex`.
    OwnerEx { kind: i32, pid: i32, }
    /// `struct iovec`.
    Iovec { base: Ulong, len: Ulong, }
    /// `struct msghdr`.
    MsgHdr {
        name: Ulong, namelen: i32, iov: Ulong, iovlen: Ulong, control: Ulong, controllen: Ulong, flags: u32,
    }
    /// `struct mmsghdr`.
    MmsgHdr { hdr: MsgHdr, len: u32, }
    /// `struct sock_fprog`: a filter program.
    SockFprog { len: u16, filter: Ulong, }
    /// `struct mq_attr`.
    MqAttr { flags: Long, maxmsg: Long, msgsize: Long, curmsgs: Long, reserved: [Long; 4], }
    /// The last argument of `pselect6`: a signal mask and its size.
    SigmaskArg { set: Ulong, size: Ulong, }
    /// `struct sysinfo`, without the padding that makes it 64 bytes on a 32-bit guest.
    Sysinfo {
        uptime: Long, loads: [Ulong; 3], memory: [Ulong; 6], procs: u16, pad: u16, high: [Ulong; 2], mem_unit: u32,
    }
    /// `struct file_handle` without the handle.
    FileHandle { bytes: u32, kind: i32, }
}

impl From<Flock> for Flock64 {
    fn from(l: Flock) -> Self {
        Flock64 { kind: l.kind, whence: l.whence, start: l.start.0, len: l.len.0, pid: l.pid }
    }
}

impl From<Flock64> for Flock {
    fn from(l: Flock64) -> Self {
        Flock { kind: l.kind, whence: l.whence, start: Long(l.start), len: Long(l.len), pid: l.pid }
    }
}

impl Sysinfo {
    /// Memory sizes in units that fit the guest's words: the kernel scales by pages for its 32-bit programs.
    pub fn scaled(mut self, model: Model) -> Self {
        let widest = self.memory.iter().chain(&self.high).map(|v| v.0).max().unwrap_or(0);
        if model.is_host() || widest <= u32::MAX.into() {
            return self;
        }
        let mut shift = 0;
        while shift < 31 && (widest >> shift > u32::MAX.into() || self.mem_unit << shift < 4096) {
            shift += 1;
        }
        for v in self.memory.iter_mut().chain(&mut self.high) {
            v.0 >>= shift;
        }
        self.mem_unit <<= shift;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Record;
    use super::*;

    #[test]
    fn host_layouts_are_the_kernels() {
        assert_eq!(Flock64::size(Model::HOST), size_of::<libc::flock>());
        assert_eq!(MsgHdr::size(Model::HOST), size_of::<libc::msghdr>());
        assert_eq!(MmsgHdr::size(Model::HOST), size_of::<libc::mmsghdr>());
        assert_eq!(Sysinfo::size(Model::HOST), size_of::<libc::sysinfo>());
        assert_eq!(MqAttr::size(Model::HOST), size_of::<libc::mq_attr>());
        assert_eq!(SockFprog::size(Model::HOST), size_of::<libc::sock_fprog>());
    }

    #[test]
    fn i386_sizes() {
        assert_eq!(Flock::size(Model::I386), 16);
        assert_eq!(Flock64::size(Model::I386), 24);
        assert_eq!(Flock64::size(Model::ARM), 32);
        assert_eq!(MsgHdr::size(Model::I386), 28);
        assert_eq!(MmsgHdr::size(Model::I386), 32);
        assert_eq!(Sysinfo::size(Model::I386), 56);
    }

    #[test]
    fn memory_sizes_are_scaled_to_fit() {
        let mut info = Sysinfo { mem_unit: 1, ..Sysinfo::default() };
        info.memory[0] = Ulong(1 << 36);
        let scaled = info.scaled(Model::I386);
        assert_eq!(scaled.memory[0].0 * u64::from(scaled.mem_unit), 1 << 36);
        assert_eq!(scaled.mem_unit, 4096);
        assert_eq!(info.scaled(Model::HOST), info);
    }
}
