//! Lifted regions that the interpreter runs, shared by all vCPUs and dropped when their guest code changes.

use isamorph_cache::{FastMap, Key, PageIndex, Range};
use isamorph_ir::Region;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A region and the guest bytes that it was made from.
#[derive(Debug)]
pub struct Lifted {
    /// The region.
    pub region: Region,
    /// Its guest code.
    pub ranges: Vec<Range>,
}

/// So many regions are kept; then all are dropped, which is simple and rare.
const REGIONS_MAX: usize = 1 << 16;

#[derive(Debug, Default)]
struct Shared {
    keys: FastMap<Key, u32>,
    slots: Vec<Option<(Key, Arc<Lifted>)>>,
    pages: PageIndex,
}

/// The regions.
#[derive(Debug, Default)]
pub struct Regions {
    shared: Mutex<Shared>,
    version: AtomicU64,
}

impl Regions {
    /// The lock; a `fork` holds it.
    pub fn lock(&self) -> impl Drop + use<'_> {
        self.shared()
    }
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// A number that changes whenever a region is dropped. Who keeps regions compares it.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
    /// The region of a key.
    pub fn find(&self, key: Key) -> Option<Arc<Lifted>> {
        let shared = self.shared();
        let index = *shared.keys.get(&key)?;
        shared.slots.get(index as usize)?.as_ref().map(|(_, lifted)| lifted.clone())
    }
    /// Adds a region unless `valid`, which is asked with the lock held, says that its guest code has changed.
    pub fn insert(&self, key: Key, lifted: Arc<Lifted>, valid: &dyn Fn() -> bool) -> Option<Arc<Lifted>> {
        let mut guard = self.shared();
        let shared = &mut *guard;
        if !valid() {
            return None;
        }
        if let Some((_, lifted)) = shared.keys.get(&key).and_then(|i| shared.slots[*i as usize].as_ref()) {
            return Some(lifted.clone());
        }
        if shared.slots.len() >= REGIONS_MAX {
            // Slots are not reused one by one: a dropped region is rare, and this bounds them all.
            *shared = Shared::default();
            self.version.fetch_add(1, Ordering::AcqRel);
        }
        let index = shared.slots.len() as u32;
        shared.pages.add(index, &lifted.ranges);
        shared.slots.push(Some((key, lifted.clone())));
        shared.keys.insert(key, index);
        Some(lifted)
    }
    /// Drops every region that was made from a byte of `start .. start + len`.
    pub fn invalidate(&self, start: u64, len: u64) -> usize {
        let mut shared = self.shared();
        let mut candidates = Vec::new();
        shared.pages.collect(start, len, &mut candidates);
        self.drop_if(&mut shared, candidates, |_, l| l.ranges.iter().any(|r| r.overlaps(start, len)))
    }
    /// Drops every region that starts in the page of a program counter or in the one before.
    pub fn invalidate_pc(&self, pc: u64) -> usize {
        let mut shared = self.shared();
        let all = (0..shared.slots.len() as u32).collect();
        self.drop_if(&mut shared, all, |key, _| key.is_near(pc))
    }
    fn drop_if(&self, shared: &mut Shared, candidates: Vec<u32>, drops: impl Fn(&Key, &Lifted) -> bool) -> usize {
        let Shared { keys, slots, pages } = shared;
        let mut dropped = 0;
        for index in candidates {
            let slot = &mut slots[index as usize];
            if let Some((key, lifted)) = slot.take_if(|(key, lifted)| drops(key, lifted)) {
                keys.remove(&key);
                pages.remove(index, &lifted.ranges);
                dropped += 1;
            }
        }
        if dropped != 0 {
            self.version.fetch_add(1, Ordering::AcqRel);
        }
        dropped
    }
}

/// What one vCPU remembers of the regions, so that it does not take the lock for each.
#[derive(Debug)]
pub struct Recent {
    entries: Vec<Option<(Key, Arc<Lifted>)>>,
    version: u64,
}

const RECENT: usize = 4096;

impl Recent {
    /// Nothing; memory is used from the first region on.
    pub fn new() -> Self {
        Recent { entries: Vec::new(), version: 0 }
    }
    fn index(key: Key) -> usize {
        (key.pc ^ key.pc >> 12) as usize % RECENT
    }
    /// The region of a key.
    pub fn find(&mut self, key: Key, regions: &Regions) -> Option<Arc<Lifted>> {
        let version = regions.version();
        if version != self.version {
            self.entries.fill(None);
            self.version = version;
        }
        let index = Self::index(key);
        if let Some(Some((k, lifted))) = self.entries.get(index)
            && *k == key
        {
            return Some(lifted.clone());
        }
        let lifted = regions.find(key)?;
        self.entries.resize(RECENT, None);
        self.entries[index] = Some((key, lifted.clone()));
        Some(lifted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pc: u64) -> Key {
        Key::at(pc, 0)
    }

    fn lifted(start: u64, len: u32) -> Arc<Lifted> {
        Arc::new(Lifted { region: Region::default(), ranges: vec![Range { start, len }] })
    }

    #[test]
    fn only_overlapping_regions_are_dropped_and_forgotten() {
        let regions = Regions::default();
        regions.insert(key(0x1000), lifted(0x1000, 4), &|| true).unwrap();
        regions.insert(key(0x1ffe), lifted(0x1ffe, 4), &|| true).unwrap();
        let mut recent = Recent::new();
        assert!(recent.find(key(0x1000), &regions).is_some());
        assert!(recent.find(key(0x1ffe), &regions).is_some());
        assert_eq!(regions.invalidate(0x1004, 0x100), 0);
        assert_eq!(regions.invalidate(0x2001, 1), 1);
        assert!(recent.find(key(0x1ffe), &regions).is_none());
        assert!(recent.find(key(0x1000), &regions).is_some());
    }

    #[test]
    fn a_stale_region_is_not_added() {
        let regions = Regions::default();
        assert!(regions.insert(key(0), lifted(0, 4), &|| false).is_none());
        assert!(regions.find(key(0)).is_none());
    }
}
