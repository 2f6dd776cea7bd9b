//! Disk images: what block devices read and write.
//!
//! ```text
//! device ─▶ Drive (name, medium, requests on worker threads) ─▶ Image (raw, qcow2, null-co) ─▶ Storage (a file)
//!                                                                  └─▶ backing Image ─▶ …
//! ```
//!
//! * [`Storage`] is a file of the host that grows as it is written; [`HostFile`] is the real one.
//! * [`Image`] is what a guest sees as a disk: a fixed number of bytes. Every method may be called from any thread.
//! * [`Drive`] is what a device model holds: an image that can be changed, and requests that are served elsewhere, so
//!   that no processor waits for the host's disk.
//! * [`DriveOptions`] are the words of `-drive`; [`open`] turns them, and file names, into images.
//!
//! Images come from strangers: every number in them is checked before it is used as a size or an offset, and what is
//! not understood is refused by name.

mod drive;
mod error;
mod host;
mod image;
mod lock;
mod null;
mod open;
mod options;
pub mod qcow2;
mod raw;
mod storage;
mod worker;

pub use drive::{Drive, Medium};
pub use error::BlockError;
pub use image::{Image, ImageInfo};
pub use lock::{Access, Lock};
pub use null::NullImage;
pub use open::{Format, Opened, open, open_drive, probe, temporary_overlay};
pub use options::{CacheMode, Discard, DriveOptions, Interface, Media};
pub use raw::RawImage;
pub use storage::{HostFile, MemoryStorage, Storage};
pub use worker::{Answer, Operation};

/// Bytes of a sector, in which disks and image formats count.
pub const SECTOR: u64 = 512;
