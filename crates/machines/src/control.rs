//! What the machine is asked to do, and who is told of what it did.
//!
//! Devices, signals and monitors ask; the thread of [`crate::Machine::run`] serves. Requests that come together are
//! served in a fixed order, so that a guest that switches off in the middle of a reset is off.

use isamorph_device::{Request, Requests};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What the machine is doing, with the names that QMP has for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunState {
    /// It has been built and not started.
    Prelaunch,
    /// It runs.
    Running,
    /// Somebody stopped it.
    Paused,
    /// A breakpoint stopped it.
    Debug,
    /// The guest has switched off.
    Shutdown,
    /// A processor cannot go on, and it is no fault of the guest.
    InternalError,
    /// The guest said that it has crashed.
    GuestPanicked,
    /// The guest sleeps.
    Suspended,
}

impl RunState {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            RunState::Prelaunch => "prelaunch",
            RunState::Running => "running",
            RunState::Paused => "paused",
            RunState::Debug => "debug",
            RunState::Shutdown => "shutdown",
            RunState::InternalError => "internal-error",
            RunState::GuestPanicked => "guest-panicked",
            RunState::Suspended => "suspended",
        }
    }
    /// Whether only a reset gets it going again.
    pub const fn needs_reset(self) -> bool {
        matches!(self, RunState::Shutdown | RunState::InternalError | RunState::GuestPanicked)
    }
}

/// Why the machine is reset or ends, with the names that QMP has for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A monitor said `quit`.
    HostQuit,
    /// A monitor said `system_reset`.
    HostReset,
    /// This process got a signal from another one.
    HostSignal,
    /// Somebody at the console ended it.
    HostUi,
    /// The guest switched off.
    GuestShutdown,
    /// The guest asked for a reset, or a processor shut down.
    GuestReset,
    /// The guest said that it has crashed.
    GuestPanic,
}

impl Cause {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Cause::HostQuit => "host-qmp-quit",
            Cause::HostReset => "host-qmp-system-reset",
            Cause::HostSignal => "host-signal",
            Cause::HostUi => "host-ui",
            Cause::GuestShutdown => "guest-shutdown",
            Cause::GuestReset => "guest-reset",
            Cause::GuestPanic => "guest-panic",
        }
    }
    /// Whether the guest is the cause.
    pub const fn is_guest(self) -> bool {
        matches!(self, Cause::GuestShutdown | Cause::GuestReset | Cause::GuestPanic)
    }
}

/// Something that has happened to the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// It stopped.
    Stopped(RunState),
    /// It goes on.
    Resumed,
    /// It was reset.
    Reset(Cause),
    /// It is about to end, or would if it were allowed to.
    Shutdown(Cause),
    /// Its power button was pressed.
    PowerDown,
    /// The guest sleeps.
    Suspended,
    /// The guest was woken.
    WokeUp,
    /// The guest said that it has crashed.
    Panicked,
    /// A processor has come to a breakpoint.
    Breakpoint(u32),
}

/// What a machine does of itself when the guest does something (`-action`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Actions {
    /// The guest reboots: whether that is a reset, or the end.
    pub reset_on_reboot: bool,
    /// The guest switches off: whether that is the end, or the machine only stops.
    pub end_on_shutdown: bool,
    /// The guest crashes.
    pub panic: PanicAction,
}

/// See [`Actions::panic`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PanicAction {
    /// The machine ends, if it ends on shutdown.
    Shutdown,
    /// It ends with a failure.
    ExitFailure,
    /// It stops.
    Pause,
    /// Only the event.
    None,
}

impl Default for Actions {
    fn default() -> Self {
        Actions { reset_on_reboot: true, end_on_shutdown: true, panic: PanicAction::Shutdown }
    }
}

/// What is asked for and not served yet, in the order in which it is served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub breakpoint: Option<u32>,
    pub suspend: bool,
    pub panicked: bool,
    pub end: Option<(Cause, i32)>,
    pub reset: Option<Cause>,
    pub wake_up: bool,
    pub power_down: bool,
    pub stop: Option<RunState>,
    pub resume: bool,
}

struct Inner {
    due: Due,
    /// Requests so far, and how many of them have been served.
    asked: u64,
    served: u64,
    state: RunState,
    ended: bool,
}

type Subscriber = Arc<dyn Fn(Event) + Send + Sync>;

/// The machine's requests and its state.
pub struct Control {
    inner: Mutex<Inner>,
    changed: Condvar,
    subscribers: Mutex<Vec<Subscriber>>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Control").field(&self.state()).finish()
    }
}

/// A request, to be waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) struct Ticket(u64);

impl Control {
    pub(crate) fn new() -> Arc<Self> {
        let (due, state) = (Due::default(), RunState::Prelaunch);
        Arc::new(Control {
            inner: Mutex::new(Inner { due, asked: 0, served: 0, state, ended: false }),
            changed: Condvar::new(),
            subscribers: Mutex::default(),
        })
    }
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// What the machine is doing.
    pub fn state(&self) -> RunState {
        self.lock().state
    }
    pub(crate) fn set_state(&self, state: RunState) {
        self.lock().state = state;
    }
    /// The way of devices' requests.
    pub(crate) fn requests(self: &Arc<Self>) -> Requests {
        let control = self.clone();
        Requests::new(move |request| {
            let _ = control.ask(|due| match request {
                Request::Reset => due.reset = Some(Cause::GuestReset),
                Request::Shutdown => due.end = Some((Cause::GuestShutdown, 0)),
                Request::Exit(status) => due.end = Some((Cause::GuestShutdown, status)),
                Request::Panicked => due.panicked = true,
                Request::Suspend => due.suspend = true,
            });
        })
    }
    /// Asks for something.
    pub(crate) fn ask(&self, change: impl FnOnce(&mut Due)) -> Ticket {
        let mut inner = self.lock();
        change(&mut inner.due);
        inner.asked += 1;
        self.changed.notify_all();
        Ticket(inner.asked)
    }
    /// Waits until a request has been served, or the machine has ended.
    pub(crate) fn wait_for(&self, ticket: Ticket) {
        let inner = self.lock();
        let waits = |inner: &mut Inner| inner.served < ticket.0 && !inner.ended;
        drop(self.changed.wait_while(inner, waits).unwrap_or_else(PoisonError::into_inner));
    }
    /// Waits for requests and takes them. They count as served when the ticket is returned.
    pub(crate) fn take(&self) -> (Due, Ticket) {
        let inner = self.lock();
        let waits = |inner: &mut Inner| inner.due == Due::default();
        let mut inner = self.changed.wait_while(inner, waits).unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut inner.due), Ticket(inner.asked))
    }
    pub(crate) fn served(&self, ticket: Ticket) {
        self.lock().served = ticket.0;
        self.changed.notify_all();
    }
    pub(crate) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }
    /// Has `heard` told of every event from now on, on the machine's thread, which it must not keep waiting.
    pub fn subscribe(&self, heard: impl Fn(Event) + Send + Sync + 'static) {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(heard));
    }
    pub(crate) fn tell(&self, event: Event) {
        let subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        subscribers.iter().for_each(|heard| heard(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_devices_arrive() {
        let control = Control::new();
        let requests = control.requests();
        requests.send(Request::Reset);
        requests.send(Request::Exit(3));
        let (due, ticket) = control.take();
        assert_eq!((due.reset, due.end), (Some(Cause::GuestReset), Some((Cause::GuestShutdown, 3))));
        std::thread::scope(|scope| {
            scope.spawn(|| control.wait_for(ticket));
            control.served(ticket);
        });
    }

    #[test]
    fn nobody_waits_for_a_machine_that_has_ended() {
        let control = Control::new();
        let ticket = control.ask(|due| due.resume = true);
        control.end();
        control.wait_for(ticket);
    }
}
