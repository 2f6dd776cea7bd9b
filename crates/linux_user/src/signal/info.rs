//! `siginfo_t` in the layouts of guest and host.
//!
//! The union behind the three common fields is told apart as the kernel tells it apart when it copies a siginfo to a
//! program of another word size: by signal and code.

use crate::convert::record::{Long, Ulong, record};
use crate::convert::{Model, Record};

/// Size of a `siginfo_t` on every architecture.
pub const SIZE: usize = 128;

/// A siginfo in the layout of the host.
pub type HostInfo = [u8; SIZE];

/// Sent by `kill`.
pub const SI_USER: i32 = 0;
/// Sent by the kernel, without detail.
pub const SI_KERNEL: i32 = 0x80;
/// A timer expired.
pub const SI_TIMER: i32 = -2;
/// An asynchronous input or output was completed, or is possible.
pub const SI_SIGIO: i32 = -5;
/// Sent by `tkill`.
pub const SI_TKILL: i32 = -6;

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SigInfo {
    /// The signal.
    pub signo: i32,
    /// An error number, usually zero.
    pub errno: i32,
    /// Where it comes from.
    pub code: i32,
    /// The details.
    pub fields: Fields,
}

record! {
    /// Who sent it.
    Sender { pid: i32, uid: u32, }
    /// Who sent it, and a value.
    Queued { pid: i32, uid: u32, value: Ulong, }
    /// A timer: its id, overruns, its value.
    Timer { id: i32, overrun: i32, value: Ulong, }
    /// A child: who, its status, times used.
    Child { pid: i32, uid: u32, status: i32, utime: Long, stime: Long, }
    /// The address of a fault.
    Fault { addr: Ulong, }
    /// A file descriptor that is ready.
    Poll { band: Long, fd: i32, }
    /// A refused system call.
    Refused { addr: Ulong, nr: i32, arch: u32, }
}

record! {
    /// The common fields.
    Head { signo: i32, errno: i32, code: i32, }
}

macro_rules! fields {
    ($($kind:ident)*) => {
        /// The details, by kind.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Fields {$(
            #[doc = concat!("See [`", stringify!($kind), "`].")]
            $kind($kind),
        )*}

        impl Fields {
            fn decode(kind: Kind, model: Model, bytes: &[u8]) -> Self {
                match kind { $(Kind::$kind => Fields::$kind(Record::decode(model, bytes)),)* }
            }
            fn encode(&self, model: Model, bytes: &mut [u8]) {
                match self { $(Fields::$kind(f) => { f.encode(model, bytes); })* }
            }
        }

        #[derive(Clone, Copy)]
        enum Kind { $($kind,)* }
    };
}
fields! { Sender Queued Timer Child Fault Poll Refused }

/// Which details a siginfo has. Codes up to zero come from programs, the others from the kernel.
fn kind(signo: i32, code: i32) -> Kind {
    match (code, signo) {
        (SI_USER | SI_TKILL, _) => Kind::Sender,
        (SI_TIMER, _) => Kind::Timer,
        (SI_SIGIO, _) => Kind::Poll,
        (..0, _) => Kind::Queued,
        (SI_KERNEL, _) => Kind::Sender,
        (_, libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGTRAP) => Kind::Fault,
        (_, libc::SIGCHLD) => Kind::Child,
        (_, libc::SIGIO) => Kind::Poll,
        (_, libc::SIGSYS) => Kind::Refused,
        _ => Kind::Queued,
    }
}

/// Where the details start: after three integers, aligned for a pointer.
const fn details(model: Model) -> usize {
    if model.long == 8 { 16 } else { 12 }
}

impl SigInfo {
    /// A fault at an address.
    pub fn fault(signo: i32, code: i32, addr: u64) -> Self {
        SigInfo { signo, errno: 0, code, fields: Fields::Fault(Fault { addr: Ulong(addr) }) }
    }
    /// A signal from the kernel without details.
    pub fn kernel(signo: i32) -> Self {
        SigInfo { signo, errno: 0, code: SI_KERNEL, fields: Fields::Sender(Sender::default()) }
    }
    /// Reads one in the layout of a model.
    pub fn decode(model: Model, bytes: &[u8]) -> Self {
        let Head { signo, errno, code } = Head::decode(model, bytes);
        let rest = bytes.get(details(model)..).unwrap_or(&[]);
        SigInfo { signo, errno, code, fields: Fields::decode(kind(signo, code), model, rest) }
    }
    /// Writes it in the layout of a model.
    pub fn encode(&self, model: Model) -> [u8; SIZE] {
        let mut out = [0; SIZE];
        Head { signo: self.signo, errno: self.errno, code: self.code }.encode(model, &mut out);
        self.fields.encode(model, &mut out[details(model)..]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(bytes: &[u8], offset: usize) -> i32 {
        i32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
    }

    #[test]
    fn a_child_in_both_layouts() {
        let child = Child { pid: 7, uid: 8, status: 9, utime: Long(10), stime: Long(11) };
        let info = SigInfo { signo: libc::SIGCHLD, errno: 0, code: 1, fields: Fields::Child(child) };
        let narrow = info.encode(Model::I386);
        assert_eq!([12, 16, 20, 24, 28].map(|o| at(&narrow, o)), [7, 8, 9, 10, 11]);
        let wide = info.encode(Model::HOST);
        assert_eq!([16, 20, 24, 32, 40].map(|o| at(&wide, o)), [7, 8, 9, 10, 11]);
        assert_eq!(SigInfo::decode(Model::HOST, &wide), info);
        assert_eq!(SigInfo::decode(Model::I386, &narrow), info);
    }

    #[test]
    fn a_fault_and_a_queued_value() {
        let fault = SigInfo::fault(libc::SIGSEGV, 1, 0xdead_b000);
        assert_eq!(at(&fault.encode(Model::I386), 12) as u32, 0xdead_b000);
        assert_eq!(at(&fault.encode(Model::HOST), 16) as u32, 0xdead_b000);
        let queued = Queued { pid: 1, uid: 2, value: Ulong(0x1234_5678) };
        let info = SigInfo { signo: 34, errno: 0, code: -1, fields: Fields::Queued(queued) };
        assert_eq!(at(&info.encode(Model::I386), 20), 0x1234_5678);
        assert_eq!(at(&info.encode(Model::HOST), 24), 0x1234_5678);
    }

    #[test]
    fn a_signal_sent_by_a_program_is_no_fault() {
        let sent = SigInfo::decode(Model::HOST, &SigInfo::fault(libc::SIGSEGV, SI_TKILL, 5).encode(Model::HOST));
        assert!(matches!(sent.fields, Fields::Sender(_)));
    }
}
