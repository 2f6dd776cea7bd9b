//! Conversions between the guest's and the host's forms of what system calls exchange: structures, flag words,
//! directory entries, control messages, paths. Nothing here calls the kernel or knows about a guest's registers.

pub mod cmsg;
pub mod dirent;
pub mod flags;
pub mod ipc;
pub mod misc;
pub mod path;
pub mod record;
pub mod stat;
pub mod time;

pub use record::{Buffer, Model, Record};

#[cfg(test)]
mod header_tests;
