//! What devices ask of the machine.

use std::fmt;
use std::sync::Arc;

/// A request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// Reset everything.
    Reset,
    /// Switch off.
    Shutdown,
    /// End the process with that status.
    Exit(i32),
    /// The guest's operating system says that it has crashed.
    Panicked,
    /// The guest sleeps until something wakes it.
    Suspend,
}

/// The way of requests to the machine, which serves them soon, on a thread of its own.
#[derive(Clone)]
pub struct Requests(Arc<dyn Fn(Request) + Send + Sync>);

impl Requests {
    /// A way to `serve`, which must not call back into devices.
    pub fn new(serve: impl Fn(Request) + Send + Sync + 'static) -> Self {
        Requests(Arc::new(serve))
    }
    /// Asks.
    pub fn send(&self, request: Request) {
        (self.0)(request);
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Requests")
    }
}
