//! Guest memory in user mode: the guest's address space as a window of the host's, what is mapped in it and with which
//! protection, and which pages hold code that has been translated.
//!
//! A guest page is a host page, and the host's memory management does the work: compiled code accesses the window
//! directly. What the host cannot know is in the [`PageFlags`] of each page, which are read without a lock, and in a
//! list of [`Region`]s, which is what `/proc/self/maps` shows.
//!
//! # Windows
//!
//! A window of up to 40 bits is reserved as a whole, so that what is free for the guest is free. A larger one is shared
//! with the host, as guest addresses that are host addresses: 47 bits. There the regions say what is the guest's.
//! Mapping claims what it maps, and fails, or goes elsewhere, where the host has something; nothing else is ever done
//! to memory outside of the regions. Flags are kept for runs of pages, as programs reserve terabytes at once.
//!
//! # Pages that hold translated code
//!
//! [`UserSpace::protect_code`] marks a page `CODE` and takes away the host's write permission (`HELD`). A store then
//! faults; whoever handles it calls [`UserSpace::release_code`], which works in three steps:
//!
//! 1. under the lock: clear `CODE`, bump the page's generation;
//! 2. without the lock: call the hook, which drops the translations;
//! 3. under the lock: unless the page has become `CODE` again or somebody else has released it since, clear `HELD` and
//!    let the host write.
//!
//! A translator reads the generation with `protect_code` before it reads the bytes, and publishes its translation only
//! if the generation is still the same, under the lock that the hook takes. So no translation of old bytes survives the
//! moment when the page becomes writable, and no lock of this crate is held while the hook runs.
//!
//! A page of a shared file may be mapped more than once, as by a just-in-time compiler that writes its code through one
//! mapping and runs it through another. Then every mapping of the page is treated as holding the code. What other
//! processes store is not noticed.

mod block;
mod code;
mod flags;
mod mapping;
mod place;
mod regions;
mod remap;
mod space;

pub use block::{Backing, Dirty, GRANULE, OutOfBlock, RamBlock, Watcher};
pub use code::{CodeHook, HostFault};
pub use flags::{PAGE, PageFlags};
pub use isamorph_host::Errno;
pub use mapping::{FileId, MapKind, MapRequest};
pub use regions::Region;
pub use space::{Config, UserSpace};

#[cfg(test)]
mod shared_tests;
#[cfg(test)]
mod tests;
