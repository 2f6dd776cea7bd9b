//! The code cache: placing compiled regions, finding them, chaining them, and taking them away while other threads run
//! them.
//!
//! * [`CodeCache`] owns the memory (one object mapped twice, never writable and executable at one address) and every
//!   placed region, a translation block.
//! * [`Vcpu`] is a virtual processor's membership: its inline jump cache, and the epoch by which the cache knows when
//!   nobody can be executing a dropped region any more.
//!
//! # Locks
//!
//! In this order: the structure lock (blocks, chunks, page index, links), the vCPU list, one shard of the lookup table.
//! The fault handler takes the structure lock too; that is sound because it does so only when it interrupted compiled
//! code, which holds no lock. The locks are those of the standard library, because they have no state outside
//! themselves: a `fork` that holds them finds them usable in the child.
//!
//! # Reuse of memory
//!
//! Dropping a region unlinks it and hides it, but its code stays. A chunk of memory is reused only after every vCPU has
//! been outside compiled code, or at a safepoint, since all regions of the chunk were dropped; a vCPU that notices on
//! its way back that the epoch has moved empties its shadow stack, which may hold return addresses into the chunk.

mod cache;
mod chunks;
mod epoch;
mod jump_cache;
mod pages;
mod stats;
mod sync;
mod table;
mod tb;
mod view;

pub use cache::{CodeCache, FaultSite, PublishError, Quiescence, Vcpu};
pub use jump_cache::{JUMP_CACHE_ENTRIES, JUMP_CACHES};
pub use pages::PageIndex;
pub use stats::Stats;
pub use table::{Entry, FastMap, Key, KeyHasher};
pub use tb::{Range, TbId};
