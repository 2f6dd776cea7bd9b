//! Flag words whose bits have different values on guest and host.

/// A flag that both sides know: its value on the guest and on the host.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Bits on the guest.
    pub guest: u32,
    /// Bits on the host.
    pub host: u32,
}

/// A translation of flag words. Bits that it does not mention are the same on both sides, or unknown to both: the
/// kernel decides about those.
#[derive(Clone, Copy, Debug)]
pub struct FlagTable {
    /// Bits that differ.
    pub rows: &'static [Flag],
    /// Bits that are not passed on.
    pub dropped: Flag,
}

impl FlagTable {
    /// The host's word for a guest's.
    pub fn to_host(&self, guest: u32) -> u32 {
        let same = guest & !self.rows.iter().fold(self.dropped.guest, |bits, f| bits | f.guest);
        self.rows.iter().filter(|f| guest & f.guest == f.guest).fold(same, |word, f| word | f.host)
    }
    /// The guest's word for a host's.
    pub fn to_guest(&self, host: u32) -> u32 {
        let same = host & !self.rows.iter().fold(self.dropped.host, |bits, f| bits | f.host);
        self.rows.iter().filter(|f| host & f.host == f.host).fold(same, |word, f| word | f.guest)
    }
}

/// `O_DIRECT`, `O_LARGEFILE`, `O_DIRECTORY`, `O_NOFOLLOW` on x86 (asm-generic/fcntl.h). `O_LARGEFILE` is dropped: a
/// 64-bit host implies it, and shows it in `F_GETFL` whether it was asked for or not.
const X86_DIRECT: u32 = 0o40_000;
const X86_LARGEFILE: u32 = 0o100_000;
const X86_DIRECTORY: u32 = 0o200_000;
const X86_NOFOLLOW: u32 = 0o400_000;

/// Flags of `open` on i386 and x86-64.
pub static OPEN_X86: FlagTable = FlagTable { rows: &[], dropped: Flag { guest: X86_LARGEFILE, host: X86_LARGEFILE } };

/// Flags of `open` on 32-bit Arm and AArch64 (arch/arm64/include/uapi/asm/fcntl.h).
pub static OPEN_ARM: FlagTable = FlagTable {
    rows: &[
        Flag { guest: 0o40_000, host: X86_DIRECTORY },
        Flag { guest: 0o100_000, host: X86_NOFOLLOW },
        Flag { guest: 0o200_000, host: X86_DIRECT },
    ],
    dropped: Flag { guest: 0o400_000, host: X86_LARGEFILE },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x86_keeps_everything_but_largefile() {
        let flags = (libc::O_RDWR | libc::O_CREAT | libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_DIRECT) as u32;
        assert_eq!(OPEN_X86.to_host(flags | 0o100_000), flags);
        assert_eq!(OPEN_X86.to_guest(flags | 0o100_000), flags);
        assert_eq!(OPEN_X86.to_host(libc::O_TMPFILE as u32), libc::O_TMPFILE as u32);
    }

    #[test]
    fn arm_moves_four_flags() {
        let host = OPEN_ARM.to_host(0o40_000 | 0o400_000 | 0o2_000_000);
        assert_eq!(host, (libc::O_DIRECTORY | libc::O_CLOEXEC) as u32);
        assert_eq!(OPEN_ARM.to_guest(libc::O_NOFOLLOW as u32 | libc::O_WRONLY as u32), 0o100_001);
    }
}
