//! Guest-physical address spaces: a tree of memory regions, what it looks like from above, and accesses through that
//! view.
//!
//! * [`Tree`] is what boards and buses build and change: containers, RAM, ROM, device registers, ROM devices and
//!   aliases, each with an offset and a priority in its parent.
//! * [`FlatView`] is what a processor or a device sees of it at one instant: disjoint ranges in order of their
//!   addresses. It never changes; a change of the tree makes a new one, which is swapped in at the end of a
//!   [`Map::update`], so that nobody sees half of it.
//! * [`AddressSpace`] is a root of the tree with its current view, and the one place where accesses go that are not
//!   plain RAM accesses of compiled code: vCPU slow paths, DMA, exits of a hypervisor, debuggers.
//! * [`Window`] is a translated range for rings and other structures that a device touches all the time.
//! * [`Listener`]s hear of every range that appears or disappears: hypervisor memory slots, TLBs.
//!
//! Ranges end at most at 2^64, so that lengths are `u128` where a whole space can be meant.

mod access;
mod flat;
pub mod initiator;
mod listing;
mod map;
mod region;
mod window;

pub use access::{AddressSpace, Failure};
pub use flat::{FlatRange, FlatView, Target};
pub use map::{Listener, Map};
pub use region::{Endian, Io, IoError, IoRules, Notifier, RegionId, Sizes, Tree};
pub use window::Window;

/// Size of a space that covers every 64-bit address.
pub const WHOLE: u128 = 1 << 64;

#[cfg(test)]
mod tests;
