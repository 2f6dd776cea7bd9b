//! Counters of what the cache did.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares the counters and their snapshot from one list.
macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What the cache did so far.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats { $($(#[$doc])* pub $name: u64),* }

        /// The running counters.
        #[derive(Debug, Default)]
        pub struct Counters { $(pub $name: Counter),* }

        impl Counters {
            /// Their values now.
            pub fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.0.load(Ordering::Relaxed)),* }
            }
        }
    };
}

counters! {
    /// Blocks placed.
    published,
    /// Bytes of code placed.
    bytes,
    /// Direct exits pointed at their targets.
    links,
    /// Direct exits pointed back at their stubs.
    unlinks,
    /// Blocks dropped because guest code changed.
    invalidated,
    /// Blocks dropped to make room.
    evicted,
    /// Chunks emptied to make room.
    recycled,
    /// Times a thread had to wait for others to leave a chunk.
    waits,
}

/// One counter.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}
