//! What a guest sees as a disk.

use std::io;

/// A disk: a fixed number of bytes that are read and written at any offset, from any thread.
///
/// Requests that run at the same time and touch the same bytes are made in any order. A write that was answered may
/// still be in memory of this process or of the host until [`Image::flush`].
pub trait Image: Send + Sync {
    /// Number of bytes.
    fn size(&self) -> u64;
    /// Reads bytes.
    ///
    /// # Errors
    /// They are not all in the image, or the host fails.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Writes bytes.
    ///
    /// # Errors
    /// They are not all in the image, the image is read-only, or the host fails.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Brings everything that was written to the host's disk.
    ///
    /// # Errors
    /// The host fails.
    fn flush(&self) -> io::Result<()>;
    /// The guest does not need those bytes any more; what they read as is up to the image.
    ///
    /// # Errors
    /// They are not all in the image, the image is read-only, or the host fails.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Whether it cannot be written.
    fn is_read_only(&self) -> bool;
    /// What it is, as the monitor shows it.
    fn info(&self) -> ImageInfo;
}

/// What an image is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ImageInfo {
    /// Name of the file.
    pub file: String,
    /// Name of the format.
    pub format: &'static str,
    /// Name of the backing file, if there is one.
    pub backing_file: Option<String>,
    /// Number of backing files below each other.
    pub backing_depth: u32,
    /// Why internal snapshots cannot be kept in it; nothing if they can.
    pub no_snapshots: Option<&'static str>,
}

/// The bytes `offset..offset + len` are in an image of `size` bytes.
pub(crate) fn check_range(size: u64, offset: u64, len: u64) -> io::Result<()> {
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "beyond the end of the image")),
    }
}

pub(crate) fn read_only_error() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the image is read-only")
}
