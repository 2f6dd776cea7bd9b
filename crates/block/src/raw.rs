//! Images that are the disk, byte by byte.

use crate::image::{check_range, read_only_error};
use crate::open::{Format, PROBE_SIZE, probe};
use crate::{BlockError, Image, ImageInfo, SECTOR, Storage};
use std::io;

/// A file that is a disk.
pub struct RawImage<S> {
    storage: S,
    size: u64,
    read_only: bool,
    /// Whether the format was guessed: a guest could otherwise write the header of another format into the first
    /// sector, and have any file of the host opened as its backing file the next time.
    guessed: bool,
}

impl<S: Storage> RawImage<S> {
    /// The file's bytes, rounded up to whole sectors.
    ///
    /// # Errors
    /// The host does not tell its size.
    pub fn new(storage: S, read_only: bool, guessed: bool) -> Result<Self, BlockError> {
        let size = storage.len()?.checked_next_multiple_of(SECTOR).unwrap_or(u64::MAX - (SECTOR - 1));
        Ok(RawImage { storage, size, read_only, guessed })
    }
    fn check_write(&self, offset: u64, len: u64) -> io::Result<()> {
        check_range(self.size, offset, len)?;
        if self.read_only { Err(read_only_error()) } else { Ok(()) }
    }
    /// The first sector may not become one that would be taken for another format.
    fn check_first_sector(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if !self.guessed || offset >= PROBE_SIZE as u64 {
            return Ok(());
        }
        let mut first = [0; PROBE_SIZE];
        self.storage.read_at(0, &mut first)?;
        let start = offset as usize;
        let len = data.len().min(PROBE_SIZE - start);
        first[start..start + len].copy_from_slice(&data[..len]);
        match probe(&first) {
            Format::Raw => Ok(()),
            other => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("a guessed raw image does not become {}", other.name()),
            )),
        }
    }
}

impl<S: Storage> Image for RawImage<S> {
    fn size(&self) -> u64 {
        self.size
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        check_range(self.size, offset, out.len() as u64)?;
        self.storage.read_at(offset, out)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check_write(offset, data.len() as u64)?;
        self.check_first_sector(offset, data)?;
        self.storage.write_at(offset, data)
    }
    fn flush(&self) -> io::Result<()> {
        if self.read_only { Ok(()) } else { self.storage.sync() }
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_write(offset, len)?;
        match self.storage.punch_hole(offset, len) {
            // A host that cannot do it is no reason to tell the guest of a failure.
            Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(error),
            _ => Ok(()),
        }
    }
    fn is_read_only(&self) -> bool {
        self.read_only
    }
    fn info(&self) -> ImageInfo {
        ImageInfo {
            file: self.storage.name().to_owned(),
            format: "raw",
            no_snapshots: Some("is writable but does not support snapshots"),
            ..ImageInfo::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStorage;

    #[test]
    fn a_guessed_image_keeps_being_raw() {
        let image = |guessed| RawImage::new(MemoryStorage::new(vec![0; 1500]), false, guessed).unwrap();
        let (guessed, told) = (image(true), image(false));
        assert_eq!(guessed.size(), 1536);
        let header = *b"QFI\xfb\0\0\0\x03";
        assert_eq!(guessed.write_at(0, &header).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        guessed.write_at(0, &header[..2]).unwrap();
        assert!(guessed.write_at(2, &header[2..]).is_err(), "not in two steps either");
        guessed.write_at(512, &header).unwrap();
        told.write_at(0, &header).unwrap();
    }

    #[test]
    fn nothing_is_beyond_the_end() {
        let image = RawImage::new(MemoryStorage::new(vec![7; 1024]), false, false).unwrap();
        let mut sector = [0; 512];
        image.read_at(512, &mut sector).unwrap();
        assert_eq!(sector, [7; 512]);
        assert!(image.read_at(513, &mut sector).is_err() && image.write_at(u64::MAX, &sector).is_err());
        let locked = RawImage::new(MemoryStorage::new(vec![7; 1024]), true, false).unwrap();
        assert!(locked.write_at(0, &sector).is_err() && locked.discard(0, 512).is_err());
    }
}
