#![allow(unsafe_code)] // the exit request lies in the vCPU's state, which compiled code addresses

//! Epochs: how the cache knows that nobody can be executing what was dropped before.
//!
//! A vCPU is *pinned* while it may execute compiled code or holds the address of some. Pinning publishes the epoch it
//! saw. After a chunk is retired the epoch advances; when every vCPU is unpinned or pinned at the new epoch, nobody
//! executes the chunk: code looked up under an old pin is left, and new lookups do not find it.

use crate::jump_cache::JumpCaches;
use crate::sync::{read, write};
use isamorph_host::Errno;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The bit of a vCPU's exit request by which the cache asks it to pass a safepoint. It is not one that the caller of
/// the vCPU uses, so that the vCPU can tell whether anybody else wants something.
pub const REQUEST: u32 = 1 << 31;

/// A vCPU as the cache sees it.
#[derive(Debug)]
pub struct Slot {
    /// Its jump caches.
    pub jumps: JumpCaches,
    /// The epoch it is pinned at, or 0.
    pinned: AtomicU64,
    /// The epoch of its last pin; only its own thread uses it.
    seen: AtomicU64,
    request: *const AtomicU32,
}

// SAFETY: the pointer leads to an atomic, which may be used from any thread; `Slot::new` demands that it stays valid.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

impl Slot {
    /// A vCPU that is outside compiled code.
    ///
    /// # Safety
    /// `request` stays valid until the slot is removed from its [`Epochs`].
    pub unsafe fn new(shift: u32, request: *const AtomicU32) -> Result<Self, Errno> {
        Ok(Slot { jumps: JumpCaches::new(shift)?, pinned: AtomicU64::new(0), seen: AtomicU64::new(0), request })
    }
    /// Whether it cannot be executing code that was dropped before `epoch` began.
    fn passed(&self, epoch: u64) -> bool {
        let at = self.pinned.load(Ordering::SeqCst);
        at == 0 || at >= epoch
    }
    /// The epoch it is pinned at, or 0.
    pub fn pinned(&self) -> u64 {
        self.pinned.load(Ordering::SeqCst)
    }
    /// Leaves compiled code for a time.
    pub fn unpin(&self) {
        self.pinned.store(0, Ordering::SeqCst);
        self.withdraw();
    }
    fn request(&self) -> &AtomicU32 {
        // SAFETY: valid as long as the slot is in the list, from which its owner removes it, and the epochs reach only
        // slots in the list, under its lock.
        unsafe { &*self.request }
    }
    /// Takes back the wish that it pass a safepoint, which it has done.
    fn withdraw(&self) {
        if self.request().load(Ordering::SeqCst) & REQUEST != 0 {
            self.request().fetch_and(!REQUEST, Ordering::SeqCst);
        }
    }
    /// Makes the next pin report that the epoch moved.
    pub fn forget(&self) {
        self.seen.store(0, Ordering::Relaxed);
    }
}

/// The epoch and the vCPUs.
#[derive(Debug)]
pub struct Epochs {
    now: AtomicU64,
    vcpus: RwLock<Vec<Arc<Slot>>>,
}

impl Epochs {
    /// No vCPU.
    pub fn new() -> Self {
        Epochs { now: AtomicU64::new(1), vcpus: RwLock::default() }
    }
    /// Adds a vCPU.
    pub fn add(&self, slot: Arc<Slot>) {
        write(&self.vcpus).push(slot);
    }
    /// Removes a vCPU; its exit request is not touched any more.
    pub fn remove(&self, slot: &Arc<Slot>) {
        write(&self.vcpus).retain(|s| !Arc::ptr_eq(s, slot));
    }
    /// The vCPUs, to look at.
    pub fn vcpus(&self) -> RwLockReadGuard<'_, Vec<Arc<Slot>>> {
        read(&self.vcpus)
    }
    /// The vCPUs, to change.
    pub fn vcpus_mut(&self) -> RwLockWriteGuard<'_, Vec<Arc<Slot>>> {
        write(&self.vcpus)
    }
    /// Pins a vCPU at the current epoch; tells whether the epoch moved since its last pin.
    pub fn pin(&self, slot: &Slot) -> bool {
        let mut now = self.now.load(Ordering::SeqCst);
        loop {
            slot.pinned.store(now, Ordering::SeqCst);
            // Whoever advances the epoch looks at the pins afterwards. So either it saw this pin, or this sees its
            // epoch; in the second case the shadow stack must be emptied, and the pin published again.
            let again = self.now.load(Ordering::SeqCst);
            if again == now {
                return slot.seen.swap(now, Ordering::Relaxed) != now;
            }
            now = again;
        }
    }
    /// Begins a new epoch and asks the vCPUs that are in an older one to pass a safepoint.
    pub fn advance(&self) -> u64 {
        let epoch = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.kick(epoch);
        epoch
    }
    /// Whether every vCPU has reached `epoch`.
    pub fn passed(&self, epoch: u64) -> bool {
        self.vcpus().iter().all(|s| s.passed(epoch))
    }
    /// Asks the vCPUs that have not reached `epoch` to pass a safepoint.
    pub fn kick(&self, epoch: u64) {
        for slot in self.vcpus().iter().filter(|s| !s.passed(epoch)) {
            slot.request().fetch_or(REQUEST, Ordering::SeqCst);
            // One that left meanwhile may be about to block in a system call, which must not be called off for this.
            if slot.passed(epoch) {
                slot.withdraw();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(request: &AtomicU32) -> Arc<Slot> {
        // SAFETY: the tests drop the epochs before the request.
        Arc::new(unsafe { Slot::new(0, request) }.expect("memory"))
    }

    #[test]
    fn an_unpinned_vcpu_passes_and_is_not_disturbed() {
        let request = AtomicU32::new(0);
        let epochs = Epochs::new();
        let s = slot(&request);
        epochs.add(s.clone());
        let e = epochs.advance();
        assert!(epochs.passed(e));
        assert_eq!(request.load(Ordering::SeqCst), 0);
        assert!(epochs.pin(&s), "the shadow stack must be emptied");
        assert!(!epochs.pin(&s));
    }

    #[test]
    fn a_pinned_vcpu_is_asked_and_passes_at_its_next_pin() {
        let request = AtomicU32::new(0);
        let epochs = Epochs::new();
        let s = slot(&request);
        epochs.add(s.clone());
        epochs.pin(&s);
        let e = epochs.advance();
        assert!(!epochs.passed(e));
        assert_eq!(request.load(Ordering::SeqCst), REQUEST);
        assert!(epochs.pin(&s));
        assert!(epochs.passed(e));
        request.fetch_or(1, Ordering::SeqCst);
        s.unpin();
        assert_eq!(request.load(Ordering::SeqCst), 1, "only its own wish is taken back");
    }

    #[test]
    fn a_removed_vcpu_is_not_waited_for() {
        let request = AtomicU32::new(0);
        let epochs = Epochs::new();
        let s = slot(&request);
        epochs.add(s.clone());
        epochs.pin(&s);
        let e = epochs.advance();
        epochs.remove(&s);
        assert!(epochs.passed(e));
    }
}
