//! Character back ends: where serial lines, monitors and other streams of bytes lead to on the host.
//!
//! A [`BackEnd`] is the host's end of a stream, a [`FrontEnd`] the machine's: a UART, a monitor. Bytes flow both ways
//! with flow control in both: a back end takes as many bytes as it has room for and says when it has room again, and
//! asks a front end how many it would take before it hands them over.
//!
//! [`Chardevs`] opens back ends from the texts of `-chardev` and `-serial` and serves all of them on one thread.
//!
//! # Locks
//!
//! A front end may call its back end while it holds its own locks; so a back end holds none of its own while it calls
//! its front end.

mod devices;
mod io;
mod listener;
mod mux;
mod ringbuf;
mod spec;
mod stream;
mod terminal;
pub mod testing;

pub use devices::Chardevs;
pub use ringbuf::Ringbuf;
pub use spec::{Address, Kind, Spec, Target, legacy, options};
pub use terminal::restore as restore_terminal;

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What happens to a stream besides bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Somebody is at the other end now.
    Opened,
    /// Nobody is there any more.
    Closed,
    /// The other end sent a break.
    Break,
    /// The back end has room again after it took fewer bytes than it was given.
    Writable,
    /// The user looks at this one of several front ends again. For the first time, it is opened.
    Focused,
}

/// The machine's end of a stream. All of it may be called from any thread.
pub trait FrontEnd: Send + Sync {
    /// How many bytes it would take now. After 0 it must call [`BackEnd::accept`] when that changes.
    fn room(&self) -> usize;
    /// Bytes arrive, no more than there is room for.
    fn receive(&self, data: &[u8]);
    /// Something else happened.
    fn event(&self, event: Event);
}

/// The host's end of a stream. All of it may be called from any thread; nothing waits.
pub trait BackEnd: Send + Sync {
    /// Connects the machine's end, in place of an earlier one.
    fn attach(&self, front: Weak<dyn FrontEnd>);
    /// Takes bytes and says how many. If not all, [`Event::Writable`] follows. Where nobody is at the other end, bytes
    /// are lost.
    fn write(&self, data: &[u8]) -> usize;
    /// The front end has room again.
    fn accept(&self);
    /// Whether somebody is at the other end.
    fn is_open(&self) -> bool;
    /// What it is, as monitors show it.
    fn describe(&self) -> String;
    /// Waits a little until everything is written; before the process ends.
    fn flush(&self) {}
}

/// A place for the front end of a back end.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Option<Weak<dyn FrontEnd>>>);

impl Slot {
    pub(crate) fn set(&self, front: Weak<dyn FrontEnd>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(front);
    }
    pub(crate) fn get(&self) -> Option<Arc<dyn FrontEnd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.upgrade()
    }
    pub(crate) fn event(&self, event: Event) {
        if let Some(front) = self.get() {
            front.event(event);
        }
    }
}

struct Null;

impl BackEnd for Null {
    fn attach(&self, _front: Weak<dyn FrontEnd>) {}
    fn write(&self, data: &[u8]) -> usize {
        data.len()
    }
    fn accept(&self) {}
    fn is_open(&self) -> bool {
        true
    }
    fn describe(&self) -> String {
        "null".to_owned()
    }
}

/// A back end that loses everything and says nothing.
pub fn null() -> Arc<dyn BackEnd> {
    Arc::new(Null)
}
