//! Locks that keep two programs from writing to one image.
//!
//! The locks are those that QEMU and its tools take, so that they notice us and we notice them: for every permission
//! that is held, one byte from 100 on has a shared lock; for every permission that others may not have, one byte from
//! 200 on. Whoever finds a lock that contradicts what it wants gives up.

use crate::host::{is_byte_locked, lock_byte};
use crate::{BlockError, HostFile, Storage};

/// First byte for permissions that are held, and for those that nobody else may have.
const HELD: u64 = 100;
const RULED_OUT: u64 = 200;

/// Permissions, by the number of their bytes.
const NAMES: [(u64, &str); 4] = [(0, "consistent read"), (1, "write"), (2, "write unchanged"), (3, "resize")];
const CONSISTENT_READ: u64 = 1;
const WRITE: u64 = 2;
const WRITE_UNCHANGED: u64 = 4;
const RESIZE: u64 = 8;

/// What an image is opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reading; others may read.
    Read,
    /// Writing; others may not write.
    Write,
    /// Anything, whatever others do (`file.locking=off`, `force-share`).
    Unlocked,
}

/// Locks of an open file. They go away with it.
#[derive(Debug)]
pub struct Lock(());

impl Lock {
    /// Takes the locks for an access.
    ///
    /// # Errors
    /// Someone else's use of the file contradicts it.
    pub fn take(file: &HostFile, access: Access) -> Result<Self, BlockError> {
        let all = CONSISTENT_READ | WRITE | WRITE_UNCHANGED | RESIZE;
        let (held, shared) = match access {
            Access::Read => (CONSISTENT_READ, CONSISTENT_READ | WRITE_UNCHANGED),
            Access::Write => (CONSISTENT_READ | WRITE | RESIZE, CONSISTENT_READ | WRITE_UNCHANGED),
            Access::Unlocked => return Ok(Lock(())),
        };
        let ruled_out = all & !shared;
        for (base, set) in [(HELD, held), (RULED_OUT, ruled_out)] {
            for (bit, _) in NAMES.iter().filter(|(bit, _)| set >> bit & 1 != 0) {
                // A file system without locks is used without them.
                if lock_byte(file.file(), base + bit).is_err() {
                    return Ok(Lock(()));
                }
            }
        }
        let find = |base: u64, set: u64| {
            let locked = |at: u64| is_byte_locked(file.file(), at).unwrap_or(false);
            NAMES.iter().find(|(bit, _)| set >> bit & 1 != 0 && locked(base + bit))
        };
        let locked = |permission, shared| BlockError::Locked { name: file.name().to_owned(), permission, shared };
        if let Some((_, permission)) = find(RULED_OUT, held) {
            return Err(locked(permission, false));
        }
        match find(HELD, ruled_out) {
            Some((_, permission)) => Err(locked(permission, true)),
            None => Ok(Lock(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_share_and_a_writer_is_alone() {
        let path = std::env::temp_dir().join(format!("isamorph-lock-{}", std::process::id()));
        std::fs::write(&path, [0; 512]).unwrap();
        let name = path.to_str().unwrap();
        let open = || HostFile::open(name, true).unwrap();
        let (a, b, c) = (open(), open(), open());
        Lock::take(&a, Access::Read).unwrap();
        Lock::take(&b, Access::Read).unwrap();
        let error = Lock::take(&c, Access::Write).unwrap_err().to_string();
        assert_eq!(error, format!("Failed to get \"write\" lock\nIs another process using the image [{name}]?"));
        drop((a, b, c));
        let (a, b) = (open(), open());
        Lock::take(&a, Access::Write).unwrap();
        let error = Lock::take(&b, Access::Read).unwrap_err().to_string();
        assert!(error.starts_with("Failed to get shared \"write\" lock\n"), "{error}");
        Lock::take(&b, Access::Unlocked).unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
