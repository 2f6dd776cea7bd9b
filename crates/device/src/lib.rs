//! What a device model is made of, and what it gets when it is built.
//!
//! A device is a state machine behind a lock ([`Exclusive`]). It gets its wires when it is built: interrupt [`Line`]s,
//! a [`Clock`] for its [`Timer`]s, a [`Dma`] view of memory, host back ends. It never learns interrupt numbers, bus
//! addresses or the machine. Its registers are an [`isamorph_space::Io`], whose sizes and byte order the address space
//! enforces.
//!
//! # Locks
//!
//! A device may hold its own lock while it drives lines, arms timers and transfers memory. Lines lead from devices to
//! interrupt controllers to processors and never back, so that the locks on the way are always taken in that order. A
//! transfer may lead back to the device that makes it: then [`Exclusive::enter`] finds the lock taken by its own
//! thread, and the access is refused. It is refused too, after a while, if it leads to a device that waits for the one
//! that makes it. A timer's callback runs on a thread of the machine with no lock held.

mod clock;
mod dma;
mod exclusive;
mod line;
mod request;
mod snapshot;

pub use clock::{Clock, ManualClock, Schedule, Timer, TimerId, VirtualClock};
pub use dma::{Dma, DmaError};
pub use exclusive::{Exclusive, Guard};
pub use line::{Gate, Line, LineSink, Probe};
pub use request::{Request, Requests};
pub use snapshot::{BadState, Snapshot};

/// A device of a machine, as boards, resets and snapshots see it.
pub trait Device: Send + Sync {
    /// Its name among the devices of the machine, as snapshots and the monitor show it.
    fn name(&self) -> &str;
    /// Takes the state that it has after power-on or a bus reset. Lines are left alone: those who read them may still
    /// have their own reset before them.
    fn reset(&self);
    /// Drives its lines as its state says. Called after all devices were reset, and after all were restored.
    fn drive(&self);
}
