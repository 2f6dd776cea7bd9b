//! The guest architectures.

pub mod i386;

use crate::abi::Abi;

/// All of them.
pub static ALL: &[&dyn Abi] = &[&i386::I386];
