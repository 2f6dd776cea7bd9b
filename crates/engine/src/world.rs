//! What a vCPU's guest code is in: where its bytes are found, and what its accesses reach. A user program and a
//! processor of a machine differ in this, and in nothing else that lifting and interpreting see.

use crate::lift::Origin;
use isamorph_cache::{Key, Range};
use isamorph_guest::{Guest, Limits};
use isamorph_ir::{MemFault, Memory, Region};

/// What an instruction must not store to. It has no effect then; it starts again alone, and the next one is made from
/// what it stored.
#[derive(Clone, Copy)]
pub enum Code<'a> {
    /// Nothing.
    Nothing,
    /// These bytes, as [`Origin::ranges`] names them.
    Ranges(&'a [Range]),
    /// Everything that holds translated code.
    Pages,
}

/// Guest memory around a vCPU.
pub trait World {
    /// The key of the code at a program counter; nothing if what is there cannot be kept.
    ///
    /// # Errors
    /// The code cannot be fetched.
    fn key(&self, pc: u64, mode: u64) -> Result<Option<Key>, MemFault>;
    /// Lifts the code of a key into `region`, but nothing at or behind `end`, while it may change at any moment.
    ///
    /// # Errors
    /// The first instruction cannot be fetched.
    fn lift(
        &self,
        guest: &dyn Guest,
        region: &mut Region,
        key: Key,
        limits: Limits,
        end: u64,
    ) -> Result<Origin, MemFault>;
    /// Whether what a region was made from has not changed since.
    fn is_current(&self, origin: &Origin) -> bool;
    /// Copies code bytes for a listing; returns how many there are.
    fn fetch(&self, addr: u64, out: &mut [u8]) -> usize;
    /// Calls `run` with memory that refuses stores to that code; tells whether one was refused.
    fn with_memory(&self, code: Code<'_>, run: &mut dyn FnMut(&dyn Memory)) -> bool;
}
