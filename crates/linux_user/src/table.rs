//! The format of a system-call table: one row per number, shared handlers, arguments in one canonical form.
//!
//! A row names the call, says what its arguments are, and says who serves it:
//!
//! ```text
//! 180 pread64(Fd, Ptr, Size, Off64) => run(io::pread64);   // a handler of this crate
//! 224 gettid()                      => host(SYS_gettid);   // the host's call; numbers mean the same to both
//!  17 break()                       => refuse(ENOSYS);     // answered with that error, by name
//! ```
//!
//! The kinds of the arguments serve two purposes. They bring the guest's registers into the form that every handler
//! takes, whatever the guest's word size: signed kinds sign-extended, unsigned kinds zero-extended to 64 bits, a
//! 64-bit value that the guest passes in two registers joined into one. And they tell `-strace` how to print them.

use crate::convert::Model;
use crate::errno::Errno;
use crate::task::Cx;

/// What a system call returns: the guest's result register, or an error. The `ERESTART…` values ask for the call to be
/// made again, see [`crate::signal`].
pub type SysResult = Result<u64, Errno>;

/// Code that serves a system call. Arguments are canonical (see [`Arg`]); those a row does not name are zero.
pub type HandlerFn = fn(&mut Cx, [u64; 6]) -> SysResult;

/// Who serves a system call.
#[derive(Clone, Copy)]
pub enum Handler {
    /// A function of this crate.
    Run(HandlerFn),
    /// The host's system call of that number, with the same (integer) arguments.
    Host(libc::c_long),
    /// Nobody: the error it gets.
    Refused(Errno),
}

/// What an argument is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arg {
    /// A C `int`, sign-extended.
    Int,
    /// A C `unsigned int`.
    Uint,
    /// A signed word of the guest.
    Long,
    /// An unsigned word of the guest, printed in decimal.
    Size,
    /// An unsigned word of the guest, printed in hexadecimal.
    Hex,
    /// A guest address.
    Ptr,
    /// The guest address of a string.
    Str,
    /// A signed 64-bit value. On a 32-bit guest it is in two registers, low half first, of which the first is an even
    /// one where the data model aligns 64-bit values.
    Off64,
    /// A signed 64-bit value that the call takes as two words wherever they are, low half first.
    Split64,
    /// A file descriptor.
    Fd,
    /// A directory's file descriptor, or `AT_FDCWD`.
    DirFd,
    /// Permission bits.
    Mode,
    /// Flags of `open`.
    OpenFlags,
    /// Flags of the `…at` calls.
    AtFlags,
    /// Mode of `access`.
    Access,
    /// Origin of `lseek`.
    Whence,
    /// Protection of a mapping.
    Prot,
    /// Flags of a mapping.
    MapFlags,
    /// Flags of `clone`.
    CloneFlags,
    /// A signal number.
    Signal,
    /// What `sigprocmask` does.
    MaskHow,
    /// A clock.
    Clock,
    /// Operation of `futex`.
    FutexOp,
}

impl Arg {
    /// Whether the value is signed, and its width in bits (0 = the guest's word).
    const fn shape(self) -> (bool, u32) {
        match self {
            Arg::Int | Arg::Fd | Arg::DirFd | Arg::Whence | Arg::Clock | Arg::Signal | Arg::MaskHow => (true, 32),
            Arg::Uint | Arg::Mode | Arg::OpenFlags | Arg::AtFlags | Arg::Access | Arg::FutexOp => (false, 32),
            Arg::Long => (true, 0),
            Arg::Off64 | Arg::Split64 => (true, 64),
            Arg::Size | Arg::Hex | Arg::Ptr | Arg::Str | Arg::Prot | Arg::MapFlags | Arg::CloneFlags => (false, 0),
        }
    }
}

impl Arg {
    /// Number of registers that it takes.
    const fn registers(self, model: Model) -> usize {
        if self.shape().1 == 64 && model.long == 4 { 2 } else { 1 }
    }
    /// Its first register when `next` is the first that is free: 64-bit values start in an even one where they are
    /// aligned (AAPCS32, 6.4).
    const fn first_register(self, next: usize, model: Model) -> usize {
        let aligned = matches!(self, Arg::Off64) && model.long == 4 && model.align64 == 8;
        if aligned { next.next_multiple_of(2) } else { next }
    }
}

/// How `-strace` prints a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ret {
    /// In decimal.
    Int,
    /// In hexadecimal.
    Ptr,
    /// Not at all: the call does not return.
    Never,
}

/// A row of a table.
#[derive(Clone, Copy)]
pub struct Row {
    /// Number of the call.
    pub nr: u32,
    /// Its name, as in the kernel's table.
    pub name: &'static str,
    /// What its arguments are.
    pub args: &'static [Arg],
    /// What it returns.
    pub ret: Ret,
    /// Who serves it.
    pub handler: Handler,
}

impl Row {
    /// Brings raw argument registers into canonical form.
    pub fn canonical(&self, raw: [u64; 6], model: Model) -> [u64; 6] {
        let mut out = [0; 6];
        let mut next = 0;
        for (slot, kind) in out.iter_mut().zip(self.args) {
            next = kind.first_register(next, model);
            let word = |at: usize| raw.get(at).copied().unwrap_or(0);
            let (signed, width) = kind.shape();
            *slot = match (width, model.long) {
                (64, 4) => word(next) & 0xffff_ffff | word(next + 1) << 32,
                (64, _) | (0, 8) => word(next),
                _ if signed => word(next) as i32 as u64,
                _ => u64::from(word(next) as u32),
            };
            next += kind.registers(model);
        }
        out
    }
    /// Registers that the arguments take up to the end of the last.
    pub fn registers(&self, model: Model) -> usize {
        self.args.iter().fold(0, |next, kind| kind.first_register(next, model) + kind.registers(model))
    }
}

/// One past the highest number that is found by index. Rows with higher ones, which an architecture may have a few of,
/// are the last of its table.
pub const MAX_CALLS: usize = 512;

/// The system calls of a guest architecture.
pub struct SyscallTable {
    rows: &'static [Row],
    index: [u16; MAX_CALLS],
}

impl SyscallTable {
    /// A table of these rows. Numbers that occur twice, and low numbers after high ones, do not compile.
    pub const fn new(rows: &'static [Row]) -> Self {
        let mut index = [u16::MAX; MAX_CALLS];
        let mut i = 0;
        while i < rows.len() {
            let slot = rows[i].nr as usize;
            if slot < MAX_CALLS {
                assert!(index[slot] == u16::MAX, "a system call number occurs twice");
                index[slot] = i as u16;
            }
            assert!(i == 0 || slot < MAX_CALLS || rows[i - 1].nr < rows[i].nr, "high numbers are not in order");
            assert!(i == 0 || slot >= MAX_CALLS || (rows[i - 1].nr as usize) < MAX_CALLS, "a low number is at the end");
            i += 1;
        }
        SyscallTable { rows, index }
    }
    /// The row of a number.
    pub fn get(&self, nr: u64) -> Option<&'static Row> {
        match usize::try_from(nr).ok().and_then(|nr| self.index.get(nr)) {
            Some(at) => self.rows.get(usize::from(*at)),
            None => self.rows.iter().rev().take_while(|r| r.nr as usize >= MAX_CALLS).find(|r| u64::from(r.nr) == nr),
        }
    }
    /// All rows.
    pub fn rows(&self) -> &'static [Row] {
        self.rows
    }
}

/// Writes a [`SyscallTable`]; the module documentation shows the rows.
macro_rules! syscalls {
    ($(#[$doc:meta])* $vis:vis static $table:ident; $(
        $nr:literal $name:ident ( $($arg:ident),* ) $(-> $ret:ident)? => $how:ident ( $($what:tt)* ) ;
    )*) => {
        $(#[$doc])*
        $vis static $table: $crate::table::SyscallTable = $crate::table::SyscallTable::new(&[$(
            $crate::table::Row {
                nr: $nr,
                name: stringify!($name),
                args: &[$($crate::table::Arg::$arg),*],
                ret: $crate::table::syscalls!(@ret $($ret)?),
                handler: $crate::table::syscalls!(@how $how $($what)*),
            },
        )*]);
    };
    (@ret) => { $crate::table::Ret::Int };
    (@ret $ret:ident) => { $crate::table::Ret::$ret };
    (@how run $($what:tt)*) => { $crate::table::Handler::Run($($what)*) };
    (@how host $what:ident) => { $crate::table::Handler::Host(libc::$what) };
    (@how refuse $what:ident) => { $crate::table::Handler::Refused($crate::errno::$what) };
}
pub(crate) use syscalls;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(args: &'static [Arg]) -> Row {
        Row { nr: 1, name: "test", args, ret: Ret::Int, handler: Handler::Host(0) }
    }

    #[test]
    fn signed_kinds_are_sign_extended() {
        let out = row(&[Arg::Int, Arg::Uint, Arg::Long, Arg::Ptr]).canonical([0xffff_ffff; 6], Model::I386);
        assert_eq!(out, [u64::MAX, 0xffff_ffff, u64::MAX, 0xffff_ffff, 0, 0]);
    }

    #[test]
    fn a_pair_of_registers_is_one_argument() {
        let out = row(&[Arg::Fd, Arg::Off64, Arg::Int]).canonical([3, 0x89ab_cdef, 0x0123_4567, 9, 0, 0], Model::I386);
        assert_eq!(out, [3, 0x0123_4567_89ab_cdef, 9, 0, 0, 0]);
    }

    #[test]
    fn a_pair_is_aligned_where_the_abi_says() {
        let raw = [3, 0xdead, 0x89ab_cdef, 0x0123_4567, 9, 0];
        let aligned = row(&[Arg::Fd, Arg::Off64, Arg::Int]);
        assert_eq!(aligned.canonical(raw, Model::ARM), [3, 0x0123_4567_89ab_cdef, 9, 0, 0, 0]);
        assert_eq!((aligned.registers(Model::ARM), aligned.registers(Model::I386)), (5, 4));
        let split = row(&[Arg::Fd, Arg::Split64]);
        assert_eq!(split.canonical([3, 1, 2, 0, 0, 0], Model::ARM), [3, 2 << 32 | 1, 0, 0, 0, 0]);
    }

    #[test]
    fn high_numbers_are_found() {
        static ROWS: [Row; 2] = [
            Row { nr: 5, name: "low", args: &[], ret: Ret::Int, handler: Handler::Host(0) },
            Row { nr: 0xf0002, name: "high", args: &[], ret: Ret::Int, handler: Handler::Host(0) },
        ];
        static TABLE: SyscallTable = SyscallTable::new(&ROWS);
        assert_eq!(TABLE.get(0xf0002).map(|r| r.name), Some("high"));
        assert_eq!(TABLE.get(5).map(|r| r.name), Some("low"));
        assert!(TABLE.get(6).is_none() && TABLE.get(0xf0003).is_none() && TABLE.get(u64::MAX).is_none());
    }

    #[test]
    fn a_wide_guest_needs_no_pairs() {
        let out =
            row(&[Arg::Off64, Arg::Long, Arg::Int]).canonical([1 << 40, u64::MAX, 1 << 32 | 7, 0, 0, 0], Model::LP64);
        assert_eq!(out, [1 << 40, u64::MAX, 7, 0, 0, 0]);
    }
}
