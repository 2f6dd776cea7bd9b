//! Guest memory as system calls use it: typed access, strings, vectors, and pointers for the host kernel.

use crate::convert::record::{MAX_RECORD, Ulong};
use crate::convert::{Buffer, Record};
use crate::errno::{EFAULT, EINVAL, ENAMETOOLONG, Errno};
use crate::task::Cx;
use isamorph_ir::Memory;
use std::ffi::CString;

/// What the host kernel will do with guest memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read from it.
    Read,
    /// Write to it.
    Write,
}

/// Longest string that a system call takes: a path with its terminating zero is at most this long.
pub const PATH_MAX: usize = 4096;

/// Most elements of a vector of buffers (`UIO_MAXIOV`).
pub const IOV_MAX: u64 = 1024;

impl Cx {
    /// Reads a structure in the guest's layout.
    ///
    /// # Errors
    /// `EFAULT` when it is not all in readable memory.
    pub fn read<T: Record>(&self, addr: u64) -> Result<T, Errno> {
        let size = T::size(self.model());
        if size > MAX_RECORD {
            return Ok(T::decode(self.model(), &self.read_vec(addr, size as u64)?));
        }
        let mut room = Buffer::default();
        let bytes = room.bytes_mut(size);
        self.read_bytes(addr, bytes)?;
        Ok(T::decode(self.model(), bytes))
    }
    /// Writes a structure in the guest's layout. Padding becomes zero, and values that do not fit are truncated.
    ///
    /// # Errors
    /// `EFAULT` when it is not all in writable memory.
    pub fn write<T: Record>(&self, addr: u64, value: &T) -> Result<(), Errno> {
        let size = T::size(self.model());
        if size > MAX_RECORD {
            return self.write_array(addr, std::slice::from_ref(value));
        }
        let mut room = Buffer::default();
        let bytes = room.bytes_mut(size);
        value.encode(self.model(), bytes);
        self.write_bytes(addr, bytes)
    }
    /// Reads the structure at `addr`, or nothing when the address is null.
    ///
    /// # Errors
    /// As for [`Cx::read`].
    pub fn read_opt<T: Record>(&self, addr: u64) -> Result<Option<T>, Errno> {
        if addr == 0 { Ok(None) } else { self.read(addr).map(Some) }
    }
    /// Writes the structure unless the address is null.
    ///
    /// # Errors
    /// As for [`Cx::write`].
    pub fn write_opt<T: Record>(&self, addr: u64, value: &T) -> Result<(), Errno> {
        if addr == 0 { Ok(()) } else { self.write(addr, value) }
    }
    /// Reads an array of `count` structures.
    ///
    /// # Errors
    /// As for [`Cx::read`]; `EINVAL` when the array cannot fit in memory.
    pub fn read_array<T: Record>(&self, addr: u64, count: u64) -> Result<Vec<T>, Errno> {
        let size = T::size(self.model());
        let bytes = self.read_vec(addr, array_len(count, size)?)?;
        Ok(bytes.chunks_exact(size).map(|one| T::decode(self.model(), one)).collect())
    }
    /// Writes an array of structures.
    ///
    /// # Errors
    /// As for [`Cx::write`].
    pub fn write_array<T: Record>(&self, addr: u64, values: &[T]) -> Result<(), Errno> {
        let size = T::size(self.model());
        let mut bytes = vec![0; size * values.len()];
        for (slot, value) in bytes.chunks_exact_mut(size).zip(values) {
            value.encode(self.model(), slot);
        }
        self.write_bytes(addr, &bytes)
    }
    /// Reads a word of the guest's size.
    ///
    /// # Errors
    /// As for [`Cx::read`].
    pub fn read_word(&self, addr: u64) -> Result<u64, Errno> {
        self.read::<Ulong>(addr).map(|w| w.0)
    }
    /// Writes a word of the guest's size.
    ///
    /// # Errors
    /// As for [`Cx::write`].
    pub fn write_word(&self, addr: u64, value: u64) -> Result<(), Errno> {
        self.write(addr, &Ulong(value))
    }
    /// Reads bytes.
    ///
    /// # Errors
    /// `EFAULT` when they are not all in readable memory.
    pub fn read_bytes(&self, addr: u64, out: &mut [u8]) -> Result<(), Errno> {
        self.space().read(addr, out).map_err(|_| EFAULT)
    }
    /// Reads `len` bytes, at most a quarter of a 32-bit address space.
    ///
    /// # Errors
    /// `EFAULT` when they are not all in readable memory.
    pub fn read_vec(&self, addr: u64, len: u64) -> Result<Vec<u8>, Errno> {
        if len > 1 << 30 {
            return Err(EFAULT);
        }
        self.space().check(addr, len, false).map_err(|_| EFAULT)?;
        let mut out = vec![0; len as usize];
        self.read_bytes(addr, &mut out)?;
        Ok(out)
    }
    /// Writes bytes; translations of code that they overlap are dropped.
    ///
    /// # Errors
    /// `EFAULT` when they are not all in writable memory.
    pub fn write_bytes(&self, addr: u64, data: &[u8]) -> Result<(), Errno> {
        self.space().write(addr, data).map_err(|_| EFAULT)
    }
    /// Reads a C string of at most [`PATH_MAX`] bytes with its zero.
    ///
    /// # Errors
    /// `EFAULT`, or `ENAMETOOLONG` when there is no zero in that length.
    pub fn cstr(&self, addr: u64) -> Result<CString, Errno> {
        self.cstr_max(addr, PATH_MAX, ENAMETOOLONG)
    }
    /// Reads a C string of at most `max` bytes with its zero; a longer one fails with `too_long`.
    ///
    /// # Errors
    /// `EFAULT`, or `too_long`.
    pub fn cstr_max(&self, addr: u64, max: usize, too_long: Errno) -> Result<CString, Errno> {
        // Most strings are short. A chunk does not cross a page, so that what is behind the string need not be mapped.
        let mut chunk = [0; 256];
        let mut text = Vec::new();
        while text.len() < max {
            let at = addr + text.len() as u64;
            let n = (chunk.len() - at as usize % chunk.len()).min(max - text.len());
            let chunk = &mut chunk[..n];
            self.read_bytes(at, chunk)?;
            let end = chunk.iter().position(|b| *b == 0);
            text.extend_from_slice(&chunk[..end.unwrap_or(n)]);
            if end.is_some() {
                return CString::new(text).map_err(|_| EINVAL);
            }
        }
        Err(too_long)
    }
    /// A pointer to guest memory for the host kernel: `len` bytes that are readable, or writable with no translated
    /// code left in them. A null address gives a null pointer.
    ///
    /// # Errors
    /// `EFAULT` when they are not all accessible.
    pub fn host_ptr(&self, addr: u64, len: u64, access: Access) -> Result<u64, Errno> {
        if addr == 0 {
            return Ok(0);
        }
        let ready = match access {
            Access::Read => self.space().check(addr, len, false),
            Access::Write => self.space().prepare_write(addr, len),
        };
        ready.map_err(|_| EFAULT)?;
        Ok(self.space().host_ptr(addr) as u64)
    }
    /// A `struct iovec` array for the host kernel that covers the guest's buffers.
    ///
    /// # Errors
    /// `EFAULT` for the array or a buffer, `EINVAL` for a bad count or length.
    pub fn iovec(&self, addr: u64, count: u64, access: Access) -> Result<Vec<libc::iovec>, Errno> {
        if count > IOV_MAX {
            return Err(EINVAL);
        }
        let mut total = 0u64;
        let mut out = Vec::with_capacity(count as usize);
        for [base, len] in self.read_array::<[Ulong; 2]>(addr, count)? {
            total = total.checked_add(len.0).filter(|t| *t <= i32::MAX as u64).ok_or(EINVAL)?;
            let good = self.transferable(base.0, len.0, access);
            let host = if len.0 == 0 { 0 } else { self.host_buffer(base.0, good, access)? };
            out.push(libc::iovec { iov_base: host as *mut libc::c_void, iov_len: good as usize });
            if good != len.0 {
                break;
            }
        }
        Ok(out)
    }
}

fn array_len(count: u64, size: usize) -> Result<u64, Errno> {
    count.checked_mul(size as u64).filter(|len| *len <= 1 << 30).ok_or(EINVAL)
}
