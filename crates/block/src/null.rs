//! A disk without contents.

use crate::image::check_range;
use crate::{Image, ImageInfo};
use std::io;

/// Reads zeros and forgets what is written.
#[derive(Debug)]
pub struct NullImage {
    size: u64,
}

impl NullImage {
    /// A disk of `size` bytes.
    pub fn new(size: u64) -> Self {
        NullImage { size }
    }
}

impl Image for NullImage {
    fn size(&self) -> u64 {
        self.size
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.fill(0);
        check_range(self.size, offset, out.len() as u64)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        check_range(self.size, offset, data.len() as u64)
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        check_range(self.size, offset, len)
    }
    fn is_read_only(&self) -> bool {
        false
    }
    fn info(&self) -> ImageInfo {
        ImageInfo {
            file: "null-co://".to_owned(),
            format: "null-co",
            no_snapshots: Some("is writable but does not support snapshots"),
            ..ImageInfo::default()
        }
    }
}
