//! Where vCPUs stop for a debugger.
//!
//! A region never contains a breakpoint: lifting ends before it, and refuses to begin at it. So code that runs does not
//! look for breakpoints at all.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

/// A set of addresses.
#[derive(Debug, Default)]
pub struct Breakpoints {
    set: RwLock<BTreeSet<u64>>,
    /// Their number, so that nobody locks while there are none.
    count: AtomicUsize,
}

impl Breakpoints {
    /// Adds or removes an address.
    pub fn change(&self, addr: u64, on: bool) {
        let mut set = self.set.write().unwrap_or_else(PoisonError::into_inner);
        if on {
            set.insert(addr)
        } else {
            set.remove(&addr)
        };
        self.count.store(set.len(), Ordering::Release);
    }
    fn look<R>(&self, none: R, f: impl FnOnce(&BTreeSet<u64>) -> R) -> R {
        if self.count.load(Ordering::Acquire) == 0 {
            return none;
        }
        f(&self.set.read().unwrap_or_else(PoisonError::into_inner))
    }
    /// Whether the address is one.
    pub fn has(&self, addr: u64) -> bool {
        self.look(false, |set| set.contains(&addr))
    }
    /// The next one above an address; the end of all addresses if there is none.
    pub fn next(&self, addr: u64) -> u64 {
        self.look(u64::MAX, |set| {
            set.range((Bound::Excluded(addr), Bound::Unbounded)).next().copied().unwrap_or(u64::MAX)
        })
    }
}
