//! Files that images are kept in.

use crate::{BlockError, host};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A file that grows as it is written. What was never written reads as zeros, beyond its end too.
pub trait Storage: Send + Sync {
    /// Number of bytes.
    ///
    /// # Errors
    /// The host fails.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no bytes.
    ///
    /// # Errors
    /// The host fails.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads bytes.
    ///
    /// # Errors
    /// The host fails.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// Writes bytes.
    ///
    /// # Errors
    /// The host fails.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Brings what was written to the disk. Writes after it come after those before it, whatever happens.
    ///
    /// # Errors
    /// The host fails.
    fn sync(&self) -> io::Result<()>;
    /// Gives space back; the bytes read as zeros.
    ///
    /// # Errors
    /// The host fails or cannot do it.
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Its name, for messages.
    fn name(&self) -> &str;
}

/// A file or a block device of the host.
#[derive(Debug)]
pub struct HostFile {
    file: File,
    name: String,
    is_device: bool,
}

impl HostFile {
    /// Opens a file.
    ///
    /// # Errors
    /// The host does not open it, or it is neither a regular file nor a block device.
    pub fn open(name: &str, write: bool) -> Result<Self, BlockError> {
        let failed = |error| BlockError::Open { name: name.to_owned(), error };
        // Without it a pipe would be waited for, before it can be refused.
        let flags = libc::O_NONBLOCK;
        let mut options = File::options();
        let file = options.read(true).write(write).custom_flags(flags).open(Path::new(name)).map_err(failed)?;
        Self::from_file(file, name)
    }
    /// Makes a file, or empties the one that is there.
    ///
    /// # Errors
    /// The host does not make it.
    pub fn create(name: &str) -> Result<Self, BlockError> {
        let failed = |error| BlockError::Open { name: name.to_owned(), error };
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(true).open(name).map_err(failed)?;
        Self::from_file(file, name)
    }
    /// An open file.
    ///
    /// # Errors
    /// It is neither a regular file nor a block device.
    pub fn from_file(file: File, name: &str) -> Result<Self, BlockError> {
        let failed = |error| BlockError::Open { name: name.to_owned(), error };
        let kind = file.metadata().map_err(failed)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            let text = if kind.is_dir() { "Is a directory" } else { "neither a file nor a block device" };
            return Err(failed(io::Error::other(text)));
        }
        Ok(HostFile { file, name: name.to_owned(), is_device: kind.is_block_device() })
    }
    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }
    /// Sets the file's length; what is added reads as zeros.
    ///
    /// # Errors
    /// The host does not do it.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

impl Storage for HostFile {
    fn len(&self) -> io::Result<u64> {
        if self.is_device { host::block_device_size(&self.file) } else { Ok(self.file.metadata()?.len()) }
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < out.len() {
            match self.file.read_at(&mut out[done..], offset.saturating_add(done as u64)) {
                Ok(0) => {
                    out[done..].fill(0);
                    break;
                }
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        host::punch_hole(&self.file, offset, len)
    }
    fn name(&self) -> &str {
        &self.name
    }
}

/// One thing that was done to a [`MemoryStorage`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Bytes were written at an offset.
    Write(u64, Vec<u8>),
    /// Everything before was brought to the disk.
    Sync,
}

/// A file in memory that remembers what was done to it: for tests of what a crash leaves behind.
#[derive(Debug, Default)]
pub struct MemoryStorage {
    inner: Mutex<(Vec<u8>, Vec<Event>)>,
}

impl MemoryStorage {
    /// A file with those bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        MemoryStorage { inner: Mutex::new((bytes, Vec::new())) }
    }
    fn lock(&self) -> MutexGuard<'_, (Vec<u8>, Vec<Event>)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().0.clone()
    }
    /// What was done since the last call.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.lock().1)
    }
}

/// Writes bytes into a vector that grows as needed.
fn put(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) -> io::Result<()> {
    let full = || io::Error::from(io::ErrorKind::StorageFull);
    let start = usize::try_from(offset).map_err(|_| full())?;
    // A test that writes beyond this has made a mistake.
    let end = start.checked_add(data.len()).filter(|end| *end <= 1 << 26).ok_or_else(full)?;
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[start..end].copy_from_slice(data);
    Ok(())
}

impl Event {
    /// Does it again, to other bytes.
    ///
    /// # Errors
    /// The bytes would become too many.
    pub fn apply(&self, bytes: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Event::Write(offset, data) => put(bytes, *offset, data),
            Event::Sync => Ok(()),
        }
    }
}

impl Storage for MemoryStorage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().0.len() as u64)
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.lock();
        let rest = usize::try_from(offset).ok().and_then(|at| inner.0.get(at..)).unwrap_or_default();
        let there = rest.len().min(out.len());
        out[..there].copy_from_slice(&rest[..there]);
        out[there..].fill(0);
        Ok(())
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut inner = self.lock();
        put(&mut inner.0, offset, data)?;
        inner.1.push(Event::Write(offset, data.to_vec()));
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        self.lock().1.push(Event::Sync);
        Ok(())
    }
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        let end = offset.saturating_add(len).min(self.len()?);
        self.write_at(offset, &vec![0; end.saturating_sub(offset) as usize])
    }
    fn name(&self) -> &str {
        "memory"
    }
}
