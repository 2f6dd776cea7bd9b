//! System calls of the first ABI (arch/arm/kernel/sys_oabi-compat.c): the number is in the instruction, and 64-bit
//! arguments may start in any register.

/// Immediates of `svc` are numbers from here on. The kernel without this ABI ignores all others.
const BASE: u32 = 0x90_0000;

/// Calls with structures that have another layout in this ABI.
mod layout {
    /// `stat64`, `lstat64`, `fstat64`, `fstatat64`: no padding before 64-bit members.
    pub const STAT: [u64; 4] = [195, 196, 197, 327];
    /// `fcntl64` with its locks; `epoll_ctl`, `epoll_wait`; `statfs64`, `fstatfs64`.
    pub const PADDED: [u64; 5] = [221, 251, 252, 266, 267];
    /// `semop`, `semtimedop`; `bind`, `connect`, `sendto`, `sendmsg` with addresses of local sockets.
    pub const ROUNDED: [u64; 6] = [298, 312, 282, 283, 290, 296];
}

/// The call of an `svc` instruction of the first ABI, in terms of the second; nothing for one of the second. Calls
/// whose structures differ keep the number of the instruction, which no table has.
pub(super) fn call(code: u32, args: [u64; 6]) -> Option<(u64, [u64; 6])> {
    if code & BASE != BASE {
        return None;
    }
    let nr = u64::from(code ^ BASE);
    if [&layout::STAT[..], &layout::PADDED, &layout::ROUNDED].iter().any(|calls| calls.contains(&nr)) {
        return Some((code.into(), args));
    }
    Some((nr, align_pairs(nr, args)))
}

/// Moves a 64-bit argument to the even register after the odd one that it starts in.
fn align_pairs(nr: u64, args: [u64; 6]) -> [u64; 6] {
    let [a, b, c, d, e, _] = args;
    match nr {
        // pread64, pwrite64
        180 | 181 => [a, b, c, 0, d, e],
        // truncate64, ftruncate64, readahead
        193 | 194 | 225 => [a, 0, b, c, d, 0],
        _ => args,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARGS: [u64; 6] = [1, 2, 3, 4, 5, 6];

    #[test]
    fn the_number_is_in_the_instruction() {
        assert_eq!(call(0, ARGS), None);
        assert_eq!(call(0x90_0004, ARGS).map(|(nr, args)| (nr, args[..3].to_vec())), Some((4, vec![1, 2, 3])));
        assert_eq!(call(0x9f_0002, ARGS).map(|(nr, _)| nr), Some(0xf_0002));
    }

    #[test]
    fn pairs_of_registers_are_aligned() {
        assert_eq!(call(BASE + 180, ARGS).map(|(_, args)| args), Some([1, 2, 3, 0, 4, 5]));
        assert_eq!(call(BASE + 194, ARGS).map(|(_, args)| args[..4].to_vec()), Some(vec![1, 0, 2, 3]));
    }

    #[test]
    fn other_layouts_are_refused() {
        assert_eq!(call(BASE + 195, ARGS), Some(((BASE + 195).into(), ARGS)));
    }
}
