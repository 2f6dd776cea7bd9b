//! What the processors of a machine share: whoever must hear of changes of memory that compiled code touches directly.

use crate::regions::Regions;
use isamorph_cache::{CodeCache, FastMap};
use isamorph_ram::Watcher;
use isamorph_space::{FlatRange, Listener};
use isamorph_tlb::Tables;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was made from guest code by one lane.
pub struct Made {
    /// For the interpreter.
    pub regions: Arc<Regions>,
    /// Compiled.
    pub cache: Option<Arc<CodeCache>>,
}

/// Passes on what memory and the memory map tell.
#[derive(Default)]
pub struct Observer {
    made: Vec<Made>,
    processors: Mutex<Vec<Listening>>,
    data_stores: Mutex<FastMap<u64, DataStores>>,
}

/// A processor.
struct Listening {
    tables: Arc<Tables>,
    request: Arc<Request>,
}

/// Stores next to the code of a page.
#[derive(Clone, Copy)]
struct DataStores {
    count: u32,
    limit: u32,
}

/// So many stores to a page that hit no code make its translations go, and the stores fast. If it is executed after
/// that all the same, it takes [`PATIENCE`] times as many the next time.
const DATA_STORES: u32 = 16;
const PATIENCE: u32 = 8;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Observer {
    /// One that drops translations from there.
    pub fn new(made: Vec<Made>) -> Arc<Self> {
        Arc::new(Observer { made, ..Observer::default() })
    }
    /// Has a processor told.
    pub fn add(&self, tables: Arc<Tables>, request: Arc<Request>) {
        lock(&self.processors).push(Listening { tables, request });
    }
    /// Forgets one.
    pub fn remove(&self, tables: &Arc<Tables>) {
        lock(&self.processors).retain(|p| !Arc::ptr_eq(&p.tables, tables));
    }
    /// Drops translations of these bytes of host memory.
    pub fn invalidate(&self, host: Range<u64>) {
        for Made { regions, cache } in &self.made {
            regions.invalidate(host.start, host.end - host.start);
            if let Some(cache) = cache {
                cache.invalidate(host.start, host.end - host.start);
            }
        }
    }
    /// Drops all translations of code at that program counter.
    pub fn invalidate_pc(&self, pc: u64) {
        for Made { regions, cache } in &self.made {
            regions.invalidate_pc(pc);
            if let Some(cache) = cache {
                cache.invalidate_pc(pc);
            }
        }
    }
    /// Notes a store that hit no code to the page of host memory that holds some; tells whether its translations are
    /// to be dropped, because it seems to be used for data now.
    pub fn is_data(&self, page: u64) -> bool {
        let mut stores = lock(&self.data_stores);
        let DataStores { count, limit } = stores.entry(page).or_insert(DataStores { count: 0, limit: DATA_STORES });
        *count += 1;
        let enough = *count >= *limit;
        if enough {
            (*count, *limit) = (0, limit.saturating_mul(PATIENCE));
        }
        enough
    }
}

impl Watcher for Observer {
    fn withdraw(&self, host: Range<u64>) {
        lock(&self.processors).iter().for_each(|p| p.tables.withdraw(&host));
    }
    fn code_changed(&self, host: Range<u64>) {
        self.invalidate(host);
    }
}

impl Listener for Observer {
    fn removed(&self, _: &FlatRange) {}
    fn added(&self, _: &FlatRange) {}
    fn committed(&self) {
        // Each compares the generation of the view.
        lock(&self.processors).iter().for_each(|p| p.request.raise(KICK));
    }
}

/// The bit of an exit request that kicks set.
pub const KICK: u32 = 1;
/// The bit that a vCPU sets for itself when translations of addresses were flushed.
pub const FLUSHED: u32 = 2;

/// The exit request of a vCPU, as other threads reach it.
#[derive(Default)]
pub struct Request(Mutex<Option<RawRequest>>);

/// Where it is.
struct RawRequest(*const AtomicU32);

#[allow(unsafe_code)] // the word lies in the vCPU's state, which compiled code addresses
// SAFETY: it leads to an atomic, which may be used from any thread.
unsafe impl Send for RawRequest {}

#[allow(unsafe_code)] // as above
impl Request {
    /// A way to that word.
    ///
    /// # Safety
    /// It is valid until [`Request::detach`].
    pub unsafe fn new(word: *const AtomicU32) -> Arc<Self> {
        Arc::new(Request(Mutex::new(Some(RawRequest(word)))))
    }
    /// Sets bits of it; nothing if the vCPU is gone.
    pub fn raise(&self, bits: u32) {
        if let Some(RawRequest(word)) = &*lock(&self.0) {
            // SAFETY: it has not been detached.
            unsafe { &**word }.fetch_or(bits, Ordering::SeqCst);
        }
    }
    /// The word is going away.
    pub fn detach(&self) {
        *lock(&self.0) = None;
    }
}
