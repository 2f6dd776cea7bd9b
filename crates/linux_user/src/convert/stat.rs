//! File status in all the layouts that Linux has had.

use super::record::{Long, Model, Record, Ulong, record};

record! {
    /// `struct stat` of x86-64.
    StatX86_64 {
        dev: u64, ino: u64, nlink: u64, mode: u32, uid: u32, gid: u32, pad0: u32, rdev: u64, size: i64, blksize: i64,
        blocks: i64, times: [u64; 6], unused: [i64; 3],
    }
    /// `struct stat` of AArch64 and of every later 64-bit architecture (asm-generic/stat.h).
    StatGeneric {
        dev: Ulong, ino: Ulong, mode: u32, nlink: u32, uid: u32, gid: u32, rdev: Ulong, pad1: Ulong, size: Long,
        blksize: i32, pad2: i32, blocks: Long, times: [Ulong; 6], unused: [u32; 2],
    }
    /// `struct stat64` of i386 and 32-bit Arm. `ino_low` repeats the inode number, as the kernel does.
    Stat64 {
        dev: u64, pad0: [u8; 4], ino_low: Ulong, mode: u32, nlink: u32, uid: Ulong, gid: Ulong, rdev: u64,
        pad3: [u8; 4], size: i64, blksize: Ulong, blocks: u64, times: [Ulong; 6], ino: u64,
    }
    /// `struct stat` of i386 and 32-bit Arm, with 16-bit user ids and 32-bit sizes.
    Stat32 {
        dev: Ulong, ino: Ulong, mode: u16, nlink: u16, uid: u16, gid: u16, rdev: Ulong, size: Ulong, blksize: Ulong,
        blocks: Ulong, times: [Ulong; 6], unused: [Ulong; 2],
    }
    /// `struct __old_kernel_stat`, from before Linux 1.0.
    OldStat {
        dev: u16, ino: u16, mode: u16, nlink: u16, uid: u16, gid: u16, rdev: u16, size: Ulong, times: [Ulong; 3],
    }
    /// `struct statfs` with the guest's words (asm-generic/statfs.h).
    Statfs {
        kind: Long, bsize: Long, blocks: Ulong, bfree: Ulong, bavail: Ulong, files: Ulong, ffree: Ulong,
        fsid: [i32; 2], namelen: Long, frsize: Long, flags: Long, spare: [Long; 4],
    }
    /// `struct ustat`.
    Ustat { tfree: i32, tinode: Ulong, fname: [u8; 6], fpack: [u8; 6], }
}

/// Layouts of file status that a call can ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatLayout {
    /// [`StatX86_64`].
    X86_64,
    /// [`StatGeneric`].
    Generic,
    /// [`Stat64`].
    Stat64,
    /// [`Stat32`].
    Stat32,
    /// [`OldStat`].
    Old,
}

/// Folds a 64-bit inode number into 32 bits. Structures with a narrow field would otherwise make the whole call fail,
/// although programs only compare inode numbers.
pub fn fold_inode(ino: u64) -> u32 {
    let folded = ino as u32 ^ (ino >> 32) as u32;
    if folded == 0 && ino != 0 { 1 } else { folded }
}

/// A 16-bit user or group id as the kernel shows a larger one: the overflow id (Documentation/admin-guide/sysctl,
/// `overflowuid`).
pub fn narrow_id(id: u32) -> u16 {
    u16::try_from(id).unwrap_or(65534)
}

/// A user or group id from a 16-bit call: all ones mean "none" in either width.
pub fn widen_id(id: u64) -> u64 {
    if id as u16 == u16::MAX { u64::from(u32::MAX) } else { u64::from(id as u16) }
}

/// A device number of the host as a 16-bit one: 8 bits of major, 8 bits of minor.
fn old_dev(dev: u64) -> u16 {
    let (major, minor) = (dev >> 8 & 0xfff, dev & 0xff | dev >> 12 & 0xfff00);
    (major << 8 | minor & 0xff) as u16
}

impl StatX86_64 {
    /// Writes it in another layout; `None` if the file is too large for that.
    pub fn encode_as(&self, layout: StatLayout, model: Model, out: &mut [u8]) -> Option<usize> {
        let (fits, size) = match layout {
            StatLayout::X86_64 => (self.encode(model, out), Self::size(model)),
            StatLayout::Generic => (self.generic().encode(model, out), StatGeneric::size(model)),
            StatLayout::Stat64 => {
                // Times beyond 2038 are truncated, as by the kernel.
                self.stat64().encode(model, out);
                (true, Stat64::size(model))
            }
            StatLayout::Stat32 => {
                self.stat32().encode(model, out);
                (u32::try_from(self.size).is_ok_and(|s| s <= i32::MAX as u32), Stat32::size(model))
            }
            StatLayout::Old => {
                self.old().encode(model, out);
                (u32::try_from(self.size).is_ok_and(|s| s <= i32::MAX as u32), OldStat::size(model))
            }
        };
        fits.then_some(size)
    }

    fn generic(&self) -> StatGeneric {
        StatGeneric {
            dev: Ulong(self.dev),
            ino: Ulong(self.ino),
            mode: self.mode,
            nlink: self.nlink as u32,
            uid: self.uid,
            gid: self.gid,
            rdev: Ulong(self.rdev),
            size: Long(self.size),
            blksize: self.blksize as i32,
            blocks: Long(self.blocks),
            times: self.times.map(Ulong),
            ..StatGeneric::default()
        }
    }

    fn stat64(&self) -> Stat64 {
        Stat64 {
            dev: self.dev,
            ino_low: Ulong(self.ino as u32 as u64),
            mode: self.mode,
            nlink: self.nlink as u32,
            uid: Ulong(self.uid.into()),
            gid: Ulong(self.gid.into()),
            rdev: self.rdev,
            size: self.size,
            blksize: Ulong(self.blksize as u64),
            blocks: self.blocks as u64,
            times: self.times.map(Ulong),
            ino: self.ino,
            ..Stat64::default()
        }
    }

    fn stat32(&self) -> Stat32 {
        Stat32 {
            dev: Ulong(self.dev),
            ino: Ulong(fold_inode(self.ino).into()),
            mode: self.mode as u16,
            nlink: self.nlink.min(u16::MAX.into()) as u16,
            uid: narrow_id(self.uid),
            gid: narrow_id(self.gid),
            rdev: Ulong(self.rdev),
            size: Ulong(self.size as u64),
            blksize: Ulong(self.blksize as u64),
            blocks: Ulong(self.blocks as u64),
            times: self.times.map(Ulong),
            ..Stat32::default()
        }
    }

    fn old(&self) -> OldStat {
        OldStat {
            dev: old_dev(self.dev),
            ino: self.ino as u16,
            mode: self.mode as u16,
            nlink: self.nlink.min(u16::MAX.into()) as u16,
            uid: narrow_id(self.uid),
            gid: narrow_id(self.gid),
            rdev: old_dev(self.rdev),
            size: Ulong(self.size as u64),
            times: [self.times[0], self.times[2], self.times[4]].map(Ulong),
        }
    }
}

/// Size of `struct statfs64` on i386 and 32-bit Arm: the 64-bit members are packed (`ARCH_PACK_STATFS64`).
pub const STATFS64_SIZE: usize = 84;

impl Statfs {
    /// Whether block and inode counts fit 32 bits; `-1` stands for "unknown" in either width.
    pub fn fits_narrow(&self) -> bool {
        let counts = [self.blocks, self.bfree, self.bavail, self.files, self.ffree];
        counts.into_iter().all(|c| c.0 <= u32::MAX.into() || c.0 == u64::MAX)
    }

    /// `struct statfs64` of a 32-bit guest: narrow words around five packed 64-bit counts.
    pub fn statfs64(&self) -> [u8; STATFS64_SIZE] {
        let mut out = [0; STATFS64_SIZE];
        let words = |at: usize, list: &[i64], out: &mut [u8]| {
            for (slot, v) in out[at..].chunks_exact_mut(4).zip(list) {
                slot.copy_from_slice(&(*v as u32).to_le_bytes());
            }
        };
        words(0, &[self.kind.0, self.bsize.0], &mut out);
        let counts = [self.blocks, self.bfree, self.bavail, self.files, self.ffree];
        for (slot, v) in out[8..48].chunks_exact_mut(8).zip(counts) {
            slot.copy_from_slice(&v.0.to_le_bytes());
        }
        let [fsid0, fsid1] = self.fsid;
        words(48, &[fsid0.into(), fsid1.into(), self.namelen.0, self.frsize.0, self.flags.0], &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> StatX86_64 {
        StatX86_64 {
            dev: 0x10302,
            ino: 0x1_0000_0007,
            nlink: 2,
            mode: 0o100644,
            uid: 1000,
            gid: 70000,
            size: 0x1_2345_6789,
            blksize: 4096,
            blocks: 8,
            times: [1, 2, 3, 4, 5, 6],
            ..StatX86_64::default()
        }
    }

    #[test]
    fn sizes_are_the_kernels() {
        assert_eq!(StatX86_64::size(Model::HOST), size_of::<libc::stat>());
        assert_eq!(StatGeneric::size(Model::LP64), 128);
        assert_eq!(Stat64::size(Model::I386), 96);
        assert_eq!(Stat64::size(Model::ARM), 104);
        assert_eq!(Stat32::size(Model::I386), 64);
        assert_eq!(OldStat::size(Model::I386), 32);
        assert_eq!(Statfs::size(Model::HOST), size_of::<libc::statfs>());
        assert_eq!(Statfs::size(Model::I386), 64);
        assert_eq!(Ustat::size(Model::I386), 20);
    }

    #[test]
    fn stat64_offsets() {
        let mut out = [0; 128];
        assert_eq!(sample().encode_as(StatLayout::Stat64, Model::I386, &mut out), Some(96));
        assert_eq!(u64::decode(Model::I386, &out[44..]), 0x1_2345_6789, "st_size is at 44 on i386");
        assert_eq!(u64::decode(Model::I386, &out[88..]), 0x1_0000_0007, "st_ino ends the structure");
        assert_eq!(u32::decode(Model::I386, &out[28..]), 70000, "st_gid");
        sample().encode_as(StatLayout::Stat64, Model::ARM, &mut out);
        assert_eq!(u64::decode(Model::ARM, &out[48..]), 0x1_2345_6789, "st_size is at 48 on Arm");
    }

    #[test]
    fn narrow_stat_refuses_large_files_and_folds_inodes() {
        let mut out = [0; 128];
        assert_eq!(sample().encode_as(StatLayout::Stat32, Model::I386, &mut out), None);
        let small = StatX86_64 { size: 5, ..sample() };
        assert_eq!(small.encode_as(StatLayout::Stat32, Model::I386, &mut out), Some(64));
        assert_eq!(u32::decode(Model::I386, &out[4..]), 6);
        assert_eq!(u16::decode(Model::I386, &out[14..]), 65534, "st_gid overflows");
        assert_eq!(fold_inode(0x5_0000_0005), 1);
    }

    #[test]
    fn ids_widen() {
        assert_eq!(widen_id(0xffff), 0xffff_ffff);
        assert_eq!(widen_id(0x1_0005), 5);
    }

    #[test]
    fn statfs64_is_packed() {
        let fs = Statfs { kind: Long(0xef53), blocks: Ulong(1 << 40), namelen: Long(255), ..Statfs::default() };
        let out = fs.statfs64();
        assert_eq!(u64::decode(Model::I386, &out[8..]), 1 << 40);
        assert_eq!(u32::decode(Model::I386, &out[56..]), 255);
        assert!(!fs.fits_narrow());
    }
}
