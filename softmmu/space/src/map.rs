//! The tree of a machine together with the spaces that look at it.

use crate::access::AddressSpace;
use crate::flat::{FlatRange, FlatView};
use crate::region::{RegionId, Tree};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Hears of the ranges of an address space.
///
/// First the ranges that are gone are named, then those that are new; a range that stays is not named. The new view is
/// in place only after that, and no other change happens in between.
pub trait Listener: Send + Sync {
    /// A range is about to disappear.
    fn removed(&self, range: &FlatRange);
    /// A range has appeared.
    fn added(&self, range: &FlatRange);
    /// All changes of an update have been told and are in place.
    fn committed(&self) {}
}

struct Watched {
    space: Arc<AddressSpace>,
    listeners: Vec<Arc<dyn Listener>>,
}

#[derive(Default)]
struct Inner {
    tree: Tree,
    spaces: Vec<Watched>,
}

/// The memory map of a machine.
#[derive(Default)]
pub struct Map {
    inner: Mutex<Inner>,
}

impl Map {
    /// A map without regions.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Changes the tree. Whatever `change` does becomes visible at once, at its end. It must not access the map's
    /// spaces' tree in any other way: no update inside an update.
    pub fn update<R>(&self, change: impl FnOnce(&mut Tree) -> R) -> R {
        let mut inner = self.lock();
        let result = change(&mut inner.tree);
        let Inner { tree, spaces } = &mut *inner;
        for watched in spaces {
            watched.renew(tree);
        }
        result
    }
    /// A space that shows a region from its first byte on.
    pub fn space(&self, name: &str, root: RegionId) -> Arc<AddressSpace> {
        let mut inner = self.lock();
        let space = Arc::new(AddressSpace::new(name, root, FlatView::of(&inner.tree, root)));
        inner.spaces.push(Watched { space: space.clone(), listeners: Vec::new() });
        space
    }
    /// Has a listener told of a space's ranges: first of those that are there, then of changes.
    pub fn listen(&self, space: &Arc<AddressSpace>, listener: Arc<dyn Listener>) {
        let mut inner = self.lock();
        let Some(watched) = inner.spaces.iter_mut().find(|w| Arc::ptr_eq(&w.space, space)) else { return };
        space.view().ranges().iter().for_each(|range| listener.added(range));
        listener.committed();
        watched.listeners.push(listener);
    }
    /// The tree as text, as the monitor shows it.
    pub fn listing(&self) -> String {
        let inner = self.lock();
        let spaces: Vec<_> = inner.spaces.iter().map(|w| (w.space.name(), w.space.root())).collect();
        crate::listing::tree(&inner.tree, &spaces)
    }
    /// The flat views as text, as the monitor shows them.
    pub fn flat_listing(&self) -> String {
        let inner = self.lock();
        let spaces: Vec<_> = inner.spaces.iter().map(|w| &*w.space).collect();
        crate::listing::flat(&inner.tree, &spaces)
    }
}

impl Watched {
    /// Brings the space's view up to date and tells the listeners.
    fn renew(&self, tree: &Tree) {
        let (old, new) = (self.space.view(), FlatView::of(tree, self.space.root()));
        let missing = |from: &FlatView, range: &FlatRange| {
            let same = |other: &FlatRange| {
                other.start == range.start && other.len == range.len && other.offset == range.offset
            };
            !from.find(range.start).is_some_and(|other| same(other) && other.is_like(range))
        };
        for range in old.ranges().iter().filter(|range| missing(&new, range)) {
            self.listeners.iter().for_each(|listener| listener.removed(range));
        }
        for range in new.ranges().iter().filter(|range| missing(&old, range)) {
            self.listeners.iter().for_each(|listener| listener.added(range));
        }
        self.space.replace(new);
        self.listeners.iter().for_each(|listener| listener.committed());
    }
}
