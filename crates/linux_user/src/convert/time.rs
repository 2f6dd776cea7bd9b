//! Times, timers and resource usage.

use super::record::{Long, Nsec, Ulong, record};

record! {
    /// `struct timespec` with the guest's `time_t`.
    Timespec { sec: Long, nsec: Long, }
    /// `struct __kernel_timespec`: 64-bit on every guest.
    Timespec64 { sec: i64, nsec: Nsec, }
    /// `struct timeval` with the guest's `time_t`.
    Timeval { sec: Long, usec: Long, }
    /// `struct timeval` with 64-bit members on every guest, as socket options use it.
    Timeval64 { sec: i64, usec: i64, }
    /// `struct timezone`.
    Timezone { minutes_west: i32, dst_time: i32, }
    /// `struct itimerspec` with the guest's `time_t`.
    Itimerspec { interval: Timespec, value: Timespec, }
    /// `struct __kernel_itimerspec`.
    Itimerspec64 { interval: Timespec64, value: Timespec64, }
    /// `struct itimerval`.
    Itimerval { interval: Timeval, value: Timeval, }
    /// `struct utimbuf`.
    Utimbuf { accessed: Long, modified: Long, }
    /// `struct tms`.
    Tms { user: Long, system: Long, child_user: Long, child_system: Long, }
    /// `struct timex` of `adjtimex`.
    Timex {
        modes: u32,
        offset: Long,
        freq: Long,
        maxerror: Long,
        esterror: Long,
        status: i32,
        constant: Long,
        precision: Long,
        tolerance: Long,
        time: Timeval,
        tick: Long,
        ppsfreq: Long,
        jitter: Long,
        shift: i32,
        stabil: Long,
        jitcnt: Long,
        calcnt: Long,
        errcnt: Long,
        stbcnt: Long,
        tai: i32,
        reserved: [i32; 11],
    }
    /// `struct rusage`.
    Rusage { user: Timeval, system: Timeval, counters: [Long; 14], }
    /// The part of `struct sigevent` that the kernel looks at.
    Sigevent { value: Ulong, signo: i32, notify: i32, thread: i32, }
}

/// Size of `struct sigevent` on every architecture: it is padded to this (asm-generic/siginfo.h).
pub const SIGEVENT_SIZE: usize = 64;

/// Nanoseconds in a second.
pub const NANOS: i64 = 1_000_000_000;

/// Value of `nsec` that asks `utimensat` to set the current time.
pub const UTIME_NOW: i64 = 0x3fff_ffff;

impl Timespec {
    /// The time in nanoseconds, saturating; `None` if it is not normalised or negative, which the kernel refuses.
    pub fn nanos(self) -> Option<i64> {
        let valid = self.sec.0 >= 0 && (0..NANOS).contains(&self.nsec.0);
        valid.then(|| self.sec.0.saturating_mul(NANOS).saturating_add(self.nsec.0))
    }
    /// The time from a number of nanoseconds; negative ones give zero.
    pub fn from_nanos(nanos: i64) -> Self {
        let n = nanos.max(0);
        Timespec { sec: Long(n / NANOS), nsec: Long(n % NANOS) }
    }
}

impl From<Timespec64> for Timespec {
    fn from(t: Timespec64) -> Self {
        Timespec { sec: Long(t.sec), nsec: Long(t.nsec.0) }
    }
}

impl From<Timespec> for Timespec64 {
    fn from(t: Timespec) -> Self {
        Timespec64 { sec: t.sec.0, nsec: Nsec(t.nsec.0) }
    }
}

impl From<Itimerspec64> for Itimerspec {
    fn from(t: Itimerspec64) -> Self {
        Itimerspec { interval: t.interval.into(), value: t.value.into() }
    }
}

impl From<Itimerspec> for Itimerspec64 {
    fn from(t: Itimerspec) -> Self {
        Itimerspec64 { interval: t.interval.into(), value: t.value.into() }
    }
}

impl From<Timeval> for Timespec {
    fn from(t: Timeval) -> Self {
        Timespec { sec: t.sec, nsec: Long(t.usec.0.saturating_mul(1000)) }
    }
}

impl From<Timespec> for Timeval {
    fn from(t: Timespec) -> Self {
        Timeval { sec: t.sec, usec: Long(t.nsec.0 / 1000) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Model, Record};
    use super::*;

    #[test]
    fn host_layouts_are_the_kernels() {
        assert_eq!(Timespec::size(Model::HOST), size_of::<libc::timespec>());
        assert_eq!(Itimerval::size(Model::HOST), size_of::<libc::itimerval>());
        assert_eq!(Timex::size(Model::HOST), size_of::<libc::timex>());
        assert_eq!(Rusage::size(Model::HOST), size_of::<libc::rusage>());
        assert_eq!(Tms::size(Model::HOST), size_of::<libc::tms>());
    }

    #[test]
    fn i386_sizes() {
        assert_eq!(Timespec::size(Model::I386), 8);
        assert_eq!(Timex::size(Model::I386), 128);
        assert_eq!(Rusage::size(Model::I386), 72);
        assert_eq!(Itimerspec64::size(Model::I386), 32);
    }

    #[test]
    fn garbage_above_nanoseconds_is_ignored() {
        let bytes: Vec<u8> = [5_u64, 0xdead_beef_0000_0007].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(Timespec64::decode(Model::I386, &bytes), Timespec64 { sec: 5, nsec: Nsec(7) });
        assert_ne!(Timespec64::decode(Model::HOST, &bytes).nsec, Nsec(7));
    }

    #[test]
    fn nanoseconds() {
        let t = Timespec { sec: Long(2), nsec: Long(5) };
        assert_eq!(t.nanos(), Some(2_000_000_005));
        assert_eq!(Timespec::from_nanos(2_000_000_005), t);
        assert_eq!(Timespec { sec: Long(0), nsec: Long(NANOS) }.nanos(), None);
        assert_eq!(Timespec { sec: Long(i64::MAX), nsec: Long(0) }.nanos(), Some(i64::MAX));
    }
}
