//! Guest memory in user mode: the guest's address space as a window of the host's, what is mapped in it and with which
//! protection, and which pages hold code that has been translated.
//!
//! A guest page is a host page, and the host's memory management does the work: compiled code accesses the window
//! directly. What the host cannot know is in a byte of [`PageFlags`] per page, which is read without a lock, and in a
//! list of [`Region`]s, which is what `/proc/self/maps` shows.
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

mod code;
mod flags;
mod mapping;
mod regions;
mod remap;
mod space;

pub use code::{CodeHook, HostFault};
pub use flags::{PAGE, PageFlags};
pub use isamorph_host::Errno;
pub use mapping::{FileId, MapKind, MapRequest};
pub use regions::Region;
pub use space::{Config, UserSpace};

#[cfg(test)]
mod tests;
