//! Translations of guest virtual addresses, as compiled code probes them.
//!
//! A table is an array of [`ENTRIES`] entries, indexed by the low bits of the page number; compiled code finds the
//! table of the current context through `Header::tlb`. An access may use an entry if the tag for its kind is the
//! address of its page; the host address is then the guest address plus the addend. Whatever cannot be accessed by an
//! ordinary host instruction (devices, pages whose stores have to be noticed) has no tag.
//!
//! [`Tlb`] belongs to the vCPU's thread and knows more of each translation than compiled code needs. [`Tables`] is the
//! part that other threads reach, to take back the permission to store.

mod table;
mod tlb;

pub use table::{Table, Tables};
pub use tlb::{Kind, Page, Tlb};

use std::sync::atomic::AtomicU64;

/// Entries of a table.
pub const ENTRIES: usize = 1024;
/// log2 of the size of a page.
pub const PAGE_SHIFT: u32 = 12;
/// log2 of the size of an entry, bytes.
pub const ENTRY_SHIFT: u32 = 5;
/// A tag that no page has.
pub const NONE: u64 = u64::MAX;

/// A translation. Its own vCPU fills it; other threads may clear tags at any time.
#[repr(C, align(32))]
#[derive(Debug)]
pub struct Entry {
    /// Address of the page if it may be read.
    pub read: AtomicU64,
    /// Address of the page if it may be written.
    pub write: AtomicU64,
    /// Address of the page if instructions may be fetched from it. Compiled code does not look at it.
    pub fetch: AtomicU64,
    /// What makes a host address of a guest address.
    pub addend: AtomicU64,
}

impl Entry {
    /// An entry that nothing matches.
    pub const fn empty() -> Self {
        Entry {
            read: AtomicU64::new(NONE),
            write: AtomicU64::new(NONE),
            fetch: AtomicU64::new(NONE),
            addend: AtomicU64::new(0),
        }
    }
}

/// The index of an address.
pub const fn index(addr: u64) -> usize {
    (addr >> PAGE_SHIFT) as usize % ENTRIES
}
