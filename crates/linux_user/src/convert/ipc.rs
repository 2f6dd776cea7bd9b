//! System V IPC: status structures. The host's are those of x86-64 (asm/sembuf.h, asm-generic/{ipc,msg,shm}buf.h).

use super::record::{SplitTime, Ulong, record};

record! {
    /// `struct ipc64_perm`.
    Perm { key: i32, uid: u32, gid: u32, cuid: u32, cgid: u32, mode: u32, seq: u16, pad: u16, unused: [Ulong; 2], }
    /// `struct semid64_ds` of 32-bit guests.
    SemidDs { perm: Perm, otime: SplitTime, ctime: SplitTime, nsems: Ulong, unused: [Ulong; 2], }
    /// `struct semid64_ds` of x86-64, the only 64-bit architecture with holes next to the times.
    SemidDsX86_64 {
        perm: Perm, otime: i64, unused1: u64, ctime: i64, unused2: u64, nsems: u64, unused: [u64; 2],
    }
    /// `struct msqid64_ds`.
    MsqidDs {
        perm: Perm, stime: SplitTime, rtime: SplitTime, ctime: SplitTime, cbytes: Ulong, qnum: Ulong, qbytes: Ulong,
        lspid: i32, lrpid: i32, unused: [Ulong; 2],
    }
    /// `struct shmid64_ds`.
    ShmidDs {
        perm: Perm, segsz: Ulong, atime: SplitTime, dtime: SplitTime, ctime: SplitTime, cpid: i32, lpid: i32,
        nattch: Ulong, unused: [Ulong; 2],
    }
    /// `struct shminfo64`.
    ShmInfo64 { shmmax: Ulong, shmmin: Ulong, shmmni: Ulong, shmseg: Ulong, shmall: Ulong, unused: [Ulong; 4], }
    /// `struct shm_info`.
    ShmInfo { used_ids: i32, totals: [Ulong; 3], swap: [Ulong; 2], }
    /// `struct seminfo` and the part of `struct msginfo` that has the same form: integers.
    SemInfo { values: [i32; 10], }
    /// `struct msginfo`.
    MsgInfo { values: [i32; 7], segs: u16, }
}

impl From<SemidDsX86_64> for SemidDs {
    fn from(s: SemidDsX86_64) -> Self {
        SemidDs {
            perm: s.perm,
            otime: SplitTime(s.otime),
            ctime: SplitTime(s.ctime),
            nsems: Ulong(s.nsems),
            unused: s.unused.map(Ulong),
        }
    }
}

impl From<SemidDs> for SemidDsX86_64 {
    fn from(s: SemidDs) -> Self {
        SemidDsX86_64 {
            perm: s.perm,
            otime: s.otime.0,
            ctime: s.ctime.0,
            nsems: s.nsems.0,
            unused: s.unused.map(|u| u.0),
            ..SemidDsX86_64::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Model, Record};
    use super::*;

    #[test]
    fn host_layouts_are_the_kernels() {
        assert_eq!(Perm::size(Model::HOST), 48);
        assert_eq!(SemidDsX86_64::size(Model::HOST), size_of::<libc::semid_ds>());
        assert_eq!(MsqidDs::size(Model::HOST), size_of::<libc::msqid_ds>());
        assert_eq!(ShmidDs::size(Model::HOST), size_of::<libc::shmid_ds>());
    }

    #[test]
    fn i386_layouts() {
        assert_eq!(Perm::size(Model::I386), 36);
        assert_eq!(SemidDs::size(Model::I386), 64);
        assert_eq!(MsqidDs::size(Model::I386), 88);
        assert_eq!(ShmidDs::size(Model::I386), 84);
        let mut out = [0; 84];
        ShmidDs { segsz: Ulong(4096), nattch: Ulong(3), ..ShmidDs::default() }.encode(Model::I386, &mut out);
        assert_eq!(u32::decode(Model::I386, &out[36..]), 4096);
        assert_eq!(u32::decode(Model::I386, &out[72..]), 3, "shm_nattch");
    }

    #[test]
    fn semaphore_times_survive() {
        let host = SemidDsX86_64 { otime: 5, ctime: 1 << 33, nsems: 2, ..SemidDsX86_64::default() };
        assert_eq!(SemidDsX86_64::from(SemidDs::from(host)), host);
    }
}
