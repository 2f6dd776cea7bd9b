//! Directory entries, and directory positions that fit a 32-bit guest.
//!
//! Some file systems (ext4, most of all) hand out 64-bit hashes as positions in a directory. The C library of a 32-bit
//! guest refuses positions that its `long` cannot hold, so such directories look unreadable. Positions are therefore
//! replaced by cookies below 2³¹, and `lseek` takes them back.

use super::record::{Model, Record, Writer};
use super::stat::fold_inode;
use std::collections::HashMap;

/// Positions below this are their own cookies; cookies for larger ones start here.
pub const FIRST_COOKIE: u64 = 1 << 30;

/// Cookies for the positions of one directory.
#[derive(Default, Debug)]
pub struct Cookies {
    positions: Vec<u64>,
    known: HashMap<u64, u32>,
}

impl Cookies {
    /// The cookie of a position; the same one each time.
    pub fn cookie(&mut self, position: u64) -> u64 {
        if position < FIRST_COOKIE {
            return position;
        }
        let next = self.positions.len() as u32;
        let index = *self.known.entry(position).or_insert(next);
        if index == next {
            self.positions.push(position);
        }
        // 2^30 distinct positions need 16 GiB here before cookies repeat.
        FIRST_COOKIE + u64::from(index) % FIRST_COOKIE
    }
    /// The position of a cookie; `None` if it was never handed out.
    pub fn position(&self, cookie: u64) -> Option<u64> {
        match cookie.checked_sub(FIRST_COOKIE) {
            None => Some(cookie),
            Some(index) => self.positions.get(usize::try_from(index).ok()?).copied(),
        }
    }
}

/// Most directories whose cookies are kept; the ones read longest ago are forgotten.
const MAX_DIRECTORIES: usize = 64;

/// Cookies of the directories that were read lately. They are found by the directory's identity, not by descriptor, so
/// that descriptors that were duplicated, inherited or sent to another thread agree.
#[derive(Default, Debug)]
pub struct CookieTables {
    tables: HashMap<(u64, u64), (u64, Cookies)>,
    clock: u64,
}

impl CookieTables {
    /// The cookies of the directory with that device and inode number.
    pub fn of(&mut self, identity: (u64, u64)) -> &mut Cookies {
        self.clock += 1;
        let clock = self.clock;
        if self.tables.len() >= MAX_DIRECTORIES && !self.tables.contains_key(&identity) {
            let oldest = self.tables.iter().min_by_key(|(_, (used, _))| *used).map(|(id, _)| *id);
            oldest.and_then(|id| self.tables.remove(&id));
        }
        let (used, cookies) = self.tables.entry(identity).or_default();
        *used = clock;
        cookies
    }
}

/// One entry of the host's `getdents64`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// Inode number.
    pub ino: u64,
    /// Position of the next entry.
    pub next: u64,
    /// Type of the file, `DT_…`.
    pub kind: u8,
    /// Name, without the terminating NUL.
    pub name: &'a [u8],
}

/// Offset of the name in `struct linux_dirent64`.
const NAME64: usize = 19;

/// The entries in a buffer that `getdents64` filled.
pub fn entries(mut rest: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::decode(Model::HOST, rest.get(16..18)?));
        let record = rest.get(..len.max(NAME64))?;
        rest = rest.get(len.max(NAME64)..)?;
        let name = record[NAME64..].split(|b| *b == 0).next().unwrap_or(&[]);
        Some(Entry {
            ino: u64::decode(Model::HOST, record),
            next: u64::decode(Model::HOST, &record[8..]),
            kind: record[18],
            name,
        })
    })
}

/// Layouts of a directory entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DirentLayout {
    /// `struct linux_dirent64`.
    Wide,
    /// `struct linux_dirent` in the guest's words, the type in the last byte.
    Native,
}

impl DirentLayout {
    /// Size of an entry with a name of that length.
    pub fn size(self, model: Model, name: usize) -> usize {
        match self {
            DirentLayout::Wide => (NAME64 + name + 1).next_multiple_of(8),
            DirentLayout::Native => (2 * model.long + 2 + name + 2).next_multiple_of(model.long),
        }
    }

    /// The largest host buffer whose entries surely fit `room` bytes of guest buffer. Narrow entries are never longer
    /// than the host's; those of equal words are at most as long rounded up.
    pub fn host_room(self, room: usize) -> usize {
        room & !7
    }

    /// Appends an entry to `out`; `next` is its position as the guest shall see it.
    pub fn push(self, model: Model, entry: &Entry<'_>, next: u64, out: &mut Vec<u8>) {
        let start = out.len();
        let size = self.size(model, entry.name.len());
        out.resize(start + size, 0);
        let record = &mut out[start..];
        match self {
            DirentLayout::Wide => {
                let mut w = Writer::new(model, record);
                entry.ino.put(&mut w);
                next.put(&mut w);
                (size as u16).put(&mut w);
                entry.kind.put(&mut w);
                record[NAME64..NAME64 + entry.name.len()].copy_from_slice(entry.name);
            }
            DirentLayout::Native => {
                let word = model.long;
                let ino = if word == 4 { u64::from(fold_inode(entry.ino)) } else { entry.ino };
                record[..word].copy_from_slice(&ino.to_le_bytes()[..word]);
                record[word..2 * word].copy_from_slice(&next.to_le_bytes()[..word]);
                record[2 * word..2 * word + 2].copy_from_slice(&(size as u16).to_le_bytes());
                record[2 * word + 2..2 * word + 2 + entry.name.len()].copy_from_slice(entry.name);
                record[size - 1] = entry.kind;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_buffer() -> Vec<u8> {
        let mut out = Vec::new();
        let list: [(u64, u64, u8, &[u8]); 3] = [
            (0x1_0000_0001, 0x1234_5678_9abc_def0, 4, b"."),
            (7, 12, 8, b"a-rather-long-name"),
            (9, i64::MAX as u64, 8, b"b"),
        ];
        for (ino, next, kind, name) in list {
            DirentLayout::Wide.push(Model::HOST, &Entry { ino, next, kind, name }, next, &mut out);
        }
        out
    }

    #[test]
    fn host_entries_are_read() {
        let bytes = host_buffer();
        let list: Vec<_> = entries(&bytes).collect();
        assert_eq!(list.len(), 3);
        assert_eq!(list[1], Entry { ino: 7, next: 12, kind: 8, name: b"a-rather-long-name" });
        assert_eq!(entries(&bytes[..10]).count(), 0);
    }

    #[test]
    fn native_entries_of_i386() {
        let mut out = Vec::new();
        DirentLayout::Native.push(Model::I386, &Entry { ino: 5, next: 0, kind: 4, name: b"ab" }, 77, &mut out);
        assert_eq!(out, [5, 0, 0, 0, 77, 0, 0, 0, 16, 0, b'a', b'b', 0, 0, 0, 4]);
    }

    #[test]
    fn converted_entries_never_grow() {
        for name in 1..=255 {
            let host = DirentLayout::Wide.size(Model::HOST, name);
            for model in [Model::I386, Model::ARM, Model::LP64] {
                assert!(DirentLayout::Native.size(model, name) <= host, "{name} {model:?}");
            }
        }
    }

    #[test]
    fn cookies_fit_and_come_back() {
        let mut c = Cookies::default();
        let big = [1 << 30, 0x7fff_ffff_ffff_ffff, 0x1234_5678_9abc_def0];
        for p in big {
            let cookie = c.cookie(p);
            assert!((FIRST_COOKIE..1 << 31).contains(&cookie));
            assert_eq!(c.cookie(p), cookie);
            assert_eq!(c.position(cookie), Some(p));
        }
        assert_eq!(c.cookie(17), 17);
        assert_eq!(c.position(17), Some(17));
        assert_eq!(c.position(FIRST_COOKIE + 99), None);
    }

    #[test]
    fn old_directories_are_forgotten() {
        let mut t = CookieTables::default();
        t.of((1, 1)).cookie(1 << 40);
        for i in 0..MAX_DIRECTORIES as u64 {
            t.of((2, i)).cookie(1 << 40);
        }
        assert_eq!(t.tables.len(), MAX_DIRECTORIES);
        assert_eq!(t.of((2, 63)).position(FIRST_COOKIE), Some(1 << 40));
        assert_eq!(t.of((1, 1)).position(FIRST_COOKIE), None);
    }
}
