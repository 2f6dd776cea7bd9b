#![allow(unsafe_code)] // stores to the guest's memory by host address

//! Accesses to RAM of the machine by host address, as compiled code makes them.

use isamorph_host::copy;

/// Reads. A file that has become shorter reads as zeros.
#[inline]
pub fn read(host: u64, out: &mut [u8]) {
    if copy::read(host as usize, out).is_err() {
        out.fill(0);
    }
}

/// Writes to an address that came from a translation. A store behind the end of a file is lost.
#[inline]
pub fn write(host: u64, data: &[u8]) {
    // SAFETY: the address is that of a page of a RAM block, which the memory map that the translation was made from
    // keeps alive, and no Rust object is in there.
    let _ = unsafe { copy::write(host as usize, data) };
}

/// Replaces, atomically.
pub fn update(host: u64, bytes: u32, f: &mut dyn FnMut(u128) -> u128) -> u128 {
    // SAFETY: as above.
    unsafe { copy::update(host as usize, bytes, f) }.unwrap_or_default()
}
