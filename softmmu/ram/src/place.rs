//! Where new mappings go.
//!
//! In a window that is shared with the host, a free range of the guest's may hold something of the host's. So whatever
//! is to be mapped is claimed first, which fails there and changes nothing.

use crate::flags::PAGE;
use crate::mapping::MapRequest;
use crate::space::{State, UserSpace};
use isamorph_host::{Errno, map};
use std::ops::Range;

const EEXIST: Errno = Errno(libc::EEXIST);
const ENOMEM: Errno = Errno(libc::ENOMEM);

/// A range in which nothing but the guest has something.
pub(crate) struct Claim {
    /// The range.
    pub range: Range<u64>,
    /// The parts that were free; they must be mapped or [given back](UserSpace::give_back).
    pub holes: Vec<Range<u64>>,
}

impl UserSpace {
    /// Where `mmap` maps.
    pub(crate) fn place(&self, state: &State, request: &MapRequest, len: u64) -> Result<Claim, Errno> {
        if request.fixed || request.fixed_noreplace {
            let range = self.inside(request.addr, len).ok_or(ENOMEM)?;
            if range.start < self.low {
                return Err(Errno(libc::EPERM));
            }
            if request.fixed_noreplace && !state.regions.is_free(range.clone()) {
                return Err(EEXIST);
            }
            return self.claim(state, range).map_err(|e| if e == EEXIST && request.fixed { ENOMEM } else { e });
        }
        let hint = request.addr & !(PAGE - 1);
        let below = request.below.unwrap_or(self.limit).min(self.limit);
        if request.addr != 0 {
            let range = self.inside(hint.max(self.low), len);
            let range = range.filter(|range| range.end <= below && state.regions.is_free(range.clone()));
            if let Some(claim) = range.and_then(|range| self.claim(state, range).ok()) {
                return Ok(claim);
            }
        }
        self.gap(state, len, below).ok_or(ENOMEM)
    }

    /// A free range below the usual top, else anywhere below `below`.
    pub(crate) fn gap(&self, state: &State, len: u64, below: u64) -> Option<Claim> {
        let usual = self.gap_in(state, len, self.low..state.mmap_top.min(below));
        usual.or_else(|| self.gap_in(state, len, self.low..below))
    }

    /// The highest free range inside `window`.
    fn gap_in(&self, state: &State, len: u64, mut window: Range<u64>) -> Option<Claim> {
        loop {
            let start = state.regions.find_gap(len, window.clone(), PAGE)?;
            let range = start..start + len;
            match self.claim(state, range.clone()) {
                Ok(claim) => return Some(claim),
                Err(EEXIST) => {
                    // Below whatever the host has there.
                    let (host, len) = self.host_range(&range);
                    let first = map::occupied(host..host + len).first().map_or(start, |found| found.start as u64);
                    window.end = first.min(range.end - PAGE);
                }
                Err(_) => return None,
            }
        }
    }

    /// Makes sure that nobody else has, or gets, something in the range: `EEXIST`.
    pub(crate) fn claim(&self, state: &State, range: Range<u64>) -> Result<Claim, Errno> {
        let holes = if self.window.is_shared() { state.regions.holes(range.clone()) } else { Vec::new() };
        for (done, hole) in holes.iter().enumerate() {
            let (host, len) = self.host_range(hole);
            self.window.claim(host, len).inspect_err(|_| self.give_back(&holes[..done]))?;
        }
        Ok(Claim { range, holes })
    }

    /// Undoes a claim.
    pub(crate) fn give_back(&self, holes: &[Range<u64>]) {
        for hole in holes {
            let (host, len) = self.host_range(hole);
            let _ = self.window.discard(host, len);
        }
    }

    /// Whether nothing is mapped in the range, and it is inside the address space.
    pub fn is_free(&self, addr: u64, len: u64) -> bool {
        let Some(range) = self.inside(addr, len) else { return false };
        let state = self.lock();
        let claim = state.regions.is_free(range.clone()).then(|| self.claim(&state, range));
        claim.and_then(Result::ok).inspect(|claim| self.give_back(&claim.holes)).is_some()
    }

    /// The range if it ends inside the address space.
    pub(crate) fn inside(&self, addr: u64, len: u64) -> Option<Range<u64>> {
        let end = addr.checked_add(len)?;
        (end <= self.limit).then_some(addr..end)
    }
}
