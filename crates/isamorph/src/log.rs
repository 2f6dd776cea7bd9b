//! The log: a file or standard error.

use isamorph_linux_user::kernel;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;

/// Where log text goes. Each text is written at once, and without a lock, which a `fork` of the guest could leave
/// locked for ever in the child.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    fd: RawFd,
}

/// Descriptors below are left to the guest, which may expect its files to get the lowest numbers.
const LOWEST_FD: u64 = 900;

impl Log {
    /// Standard error.
    pub const STDERR: Log = Log { fd: 2 };

    /// A file; `%d` in its name is the process id.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn file(name: &OsStr, append: bool) -> io::Result<Self> {
        let bytes = name.as_bytes();
        let name = match bytes.windows(2).position(|two| two == b"%d") {
            Some(at) => {
                let id = std::process::id().to_string();
                [&bytes[..at], id.as_bytes(), &bytes[at + 2..]].concat()
            }
            None => bytes.to_vec(),
        };
        let mut options = OpenOptions::new();
        if !append {
            options.write(true).create(true).truncate(true).open(OsStr::from_bytes(&name))?;
        }
        let file = options.write(false).truncate(false).append(true).create(true).open(OsStr::from_bytes(&name))?;
        let duplicate =
            |lowest| kernel::call(libc::SYS_fcntl, [file.as_raw_fd() as u64, libc::F_DUPFD_CLOEXEC as u64, lowest]);
        let fd = duplicate(LOWEST_FD).or_else(|_| duplicate(3)).map_err(|e| io::Error::from_raw_os_error(e.0))?;
        Ok(Log { fd: fd as RawFd })
    }

    /// Writes a text. What cannot be written is lost.
    pub fn write(self, text: &str) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match kernel::call(libc::SYS_write, [self.fd as u64, rest.as_ptr() as u64, rest.len() as u64]) {
                Ok(0) => return,
                Ok(written) => rest = &rest[(written as usize).min(rest.len())..],
                Err(e) if e.0 == libc::EINTR => {}
                Err(_) => return,
            }
        }
    }
}
