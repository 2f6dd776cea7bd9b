//! The list of internal snapshots.

use super::header::{Header, be32, be64};
use crate::{BlockError, Storage};

/// An internal snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Its number, as a text.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Bytes of the machine's state; 0 if there is none.
    pub vm_state_size: u64,
    /// When it was taken: seconds since 1970.
    pub date: u32,
    /// The guest's time, nanoseconds.
    pub vm_clock: u64,
    /// Bytes of the disk, if the snapshot says it.
    pub disk_size: Option<u64>,
    /// Offset and entries of its L1 table.
    pub(super) l1: (u64, u32),
}

/// Length of the part that all snapshots have.
const FIXED: usize = 40;
/// Bytes of the list at most.
const MAX_BYTES: u64 = 64 << 20;

/// The snapshots of an image.
///
/// # Errors
/// The list is malformed, or the host fails.
pub fn snapshots(storage: &dyn Storage, header: &Header) -> Result<Vec<Snapshot>, BlockError> {
    Ok(read_list(storage, header)?.0)
}

/// The snapshots, and the bytes of the list.
pub(super) fn read_list(storage: &dyn Storage, header: &Header) -> Result<(Vec<Snapshot>, u64), BlockError> {
    let (mut list, mut at) = (Vec::new(), header.snapshot_table);
    let end = storage.len()?;
    for _ in 0..header.snapshots {
        let mut fixed = [0; FIXED];
        storage.read_at(at, &mut fixed)?;
        let be16 = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]) as usize;
        let (id_len, name_len, extra_len) = (be16(12), be16(14), be32(&fixed, 36) as usize);
        if extra_len > 1024 || at >= end || at - header.snapshot_table > MAX_BYTES {
            return Err(BlockError::malformed("Snapshot table is malformed"));
        }
        let mut rest = vec![0; extra_len + id_len + name_len];
        storage.read_at(at + FIXED as u64, &mut rest)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        list.push(Snapshot {
            id: text(&rest[extra_len..extra_len + id_len]),
            name: text(&rest[extra_len + id_len..]),
            vm_state_size: if extra_len >= 8 { be64(&rest, 0) } else { be32(&fixed, 32).into() },
            date: be32(&fixed, 16),
            vm_clock: be64(&fixed, 24),
            disk_size: (extra_len >= 16).then(|| be64(&rest, 8)),
            l1: (be64(&fixed, 0), be32(&fixed, 8)),
        });
        at += (FIXED + rest.len()).next_multiple_of(8) as u64;
    }
    Ok((list, at - header.snapshot_table))
}
