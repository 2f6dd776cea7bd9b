//! The memory of a user program.

use crate::guarded::Guarded;
use crate::lift::{Origin, Watched};
use crate::world::{Code, World};
use isamorph_cache::Key;
use isamorph_guest::{FetchFault, Guest, Limits};
use isamorph_ir::{FaultCause, MemFault, Memory, Region};
use isamorph_ram::UserSpace;
use std::sync::Arc;

/// A user program's memory as its vCPUs see it.
#[derive(Clone)]
pub struct UserWorld {
    /// The memory.
    pub space: Arc<UserSpace>,
    /// See [`Guest::address_mask`].
    pub address_mask: u64,
}

impl UserWorld {
    /// Memory that refuses stores to that code.
    pub fn guarded<'a>(&'a self, code: Code<'a>) -> Guarded<'a> {
        Guarded::new(&self.space, self.address_mask, code)
    }
    /// What the guest sees of a failed fetch.
    fn fetch_fault(&self, FetchFault { addr }: FetchFault) -> MemFault {
        // What can be read and not fetched is protected; otherwise reading says what is wrong.
        let cause = self.space.read(addr, &mut [0]).map_or_else(|f| f.cause, |()| FaultCause::Protected);
        MemFault { addr, write: false, cause }
    }
}

impl World for UserWorld {
    fn key(&self, pc: u64, mode: u64) -> Result<Option<Key>, MemFault> {
        Ok(Some(Key::at(pc, mode)))
    }
    fn lift(
        &self,
        guest: &dyn Guest,
        region: &mut Region,
        key: Key,
        limits: Limits,
        end: u64,
    ) -> Result<Origin, MemFault> {
        let source = Watched::new(&self.space, end);
        guest.lift(region, key.pc, key.mode, &source, limits).map_err(|f| self.fetch_fault(f))?;
        Ok(source.origin(guest, region))
    }
    fn is_current(&self, origin: &Origin) -> bool {
        origin.pages.iter().all(|&(page, generation)| self.space.generation(page) == generation)
    }
    fn fetch(&self, addr: u64, out: &mut [u8]) -> usize {
        self.space.fetch(addr, out)
    }
    fn with_memory(&self, code: Code<'_>, run: &mut dyn FnMut(&dyn Memory)) -> bool {
        let memory = self.guarded(code);
        run(&memory);
        memory.has_refused()
    }
}
