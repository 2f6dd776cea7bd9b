//! Several front ends on one back end: one of them gets the input, all of them write.
//!
//! The escape character, Ctrl-a unless it is changed, and a letter make things happen that no front end sees.

use crate::io::{Interest, Io, Source};
use crate::{BackEnd, Event, FrontEnd, Slot};
use rustix::event::PollFlags;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Input that waits for a front end without room. As long as there is space, escapes are still seen.
const WAITING: usize = 4096;

/// A function to call.
type Hook = Box<dyn Fn() + Send + Sync>;

/// What escapes do outside of the stream.
pub(crate) struct Hooks {
    pub quit: Mutex<Option<Hook>>,
    pub commit: Mutex<Option<Hook>>,
    pub escape: AtomicU8,
}

impl Default for Hooks {
    fn default() -> Self {
        Hooks { quit: Mutex::default(), commit: Mutex::default(), escape: AtomicU8::new(1) }
    }
}

fn call(hook: &Mutex<Option<Hook>>) {
    if let Some(hook) = &*hook.lock().unwrap_or_else(PoisonError::into_inner) {
        hook();
    }
}

#[derive(Default)]
struct State {
    /// The front end that gets the input.
    focus: usize,
    /// The escape character was the last one.
    escaped: bool,
    /// Every line of output begins with the time.
    stamps: bool,
    at_line_start: bool,
    /// Ports whose front ends wait for room.
    owed: Vec<usize>,
}

/// The multiplexer. It is the front end of the back end that is shared.
pub(crate) struct Mux {
    below: Arc<dyn BackEnd>,
    ports: Mutex<Vec<Arc<Port>>>,
    state: Mutex<State>,
    hooks: Arc<Hooks>,
    io: Arc<Io>,
    /// A front end has room again.
    accepted: AtomicBool,
    started: Instant,
}

/// One front end's view of the shared back end.
struct Port {
    mux: Weak<Mux>,
    index: usize,
    front: Slot,
    waiting: Mutex<VecDeque<u8>>,
    /// The user has looked at it since the back end was opened: until then it does not count as open.
    seen: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mux {
    pub(crate) fn new(io: &Arc<Io>, below: Arc<dyn BackEnd>, hooks: Arc<Hooks>) -> Arc<Self> {
        let mux = Arc::new(Mux {
            below,
            ports: Mutex::default(),
            state: Mutex::default(),
            hooks,
            io: io.clone(),
            accepted: AtomicBool::new(false),
            started: Instant::now(),
        });
        let weak: Weak<Self> = Arc::downgrade(&mux);
        mux.below.attach(weak.clone());
        io.add(weak);
        mux
    }
    /// A back end for one more front end. The first one has the focus.
    pub(crate) fn port(self: &Arc<Self>) -> Arc<dyn BackEnd> {
        let mut ports = lock(&self.ports);
        let port = Arc::new(Port {
            mux: Arc::downgrade(self),
            index: ports.len(),
            front: Slot::default(),
            waiting: Mutex::default(),
            seen: AtomicBool::new(false),
        });
        ports.push(port.clone());
        port
    }
    fn focused(&self) -> Option<Arc<Port>> {
        let focus = lock(&self.state).focus;
        lock(&self.ports).get(focus).cloned()
    }
    /// Gives the focus to the next front end.
    fn next(&self) {
        {
            let count = lock(&self.ports).len().max(1);
            let mut state = lock(&self.state);
            state.focus = (state.focus + 1) % count;
        }
        if let Some(port) = self.focused() {
            port.show();
        }
    }
    fn say(&self, text: &str) {
        self.below.write(text.as_bytes());
    }
    fn help(&self) {
        let escape = match self.hooks.escape.load(Ordering::Relaxed) {
            control @ 1..=26 => format!("C-{}", char::from(control - 1 + b'a')),
            other => format!("0x{other:02x}"),
        };
        self.say("\r\n");
        for (key, meaning) in [
            ("h", "print this help"),
            ("x", "exit emulator"),
            ("s", "save disk data back to file (if -snapshot)"),
            ("t", "toggle console timestamps"),
            ("b", "send break (magic sysrq)"),
            ("c", "switch between console and monitor"),
            (escape.as_str(), &format!("sends {escape}")),
        ] {
            self.say(&format!("{escape} {key}    {meaning}\r\n"));
        }
    }
    /// The byte after the escape character; true if it goes on to the front end.
    fn command(&self, byte: u8) -> bool {
        match byte {
            b'h' | b'?' => self.help(),
            b'x' => {
                self.say("isamorph: Terminated\r\n");
                call(&self.hooks.quit);
            }
            b's' => call(&self.hooks.commit),
            b't' => {
                let mut state = lock(&self.state);
                state.stamps = !state.stamps;
                state.at_line_start = false;
            }
            b'b' => self.focused().into_iter().for_each(|port| port.front.event(Event::Break)),
            b'c' => self.next(),
            _ => return byte == self.hooks.escape.load(Ordering::Relaxed),
        }
        false
    }
    /// Looks at a byte of input; true if it goes on to the front end.
    fn filter(&self, byte: u8) -> bool {
        let escape = self.hooks.escape.load(Ordering::Relaxed);
        let was_escaped = {
            let mut state = lock(&self.state);
            let begins = byte == escape && !state.escaped;
            std::mem::replace(&mut state.escaped, begins)
        };
        if was_escaped { self.command(byte) } else { byte != escape }
    }
    /// Output with the time at the beginning of each line.
    fn stamp(&self, data: &[u8]) -> Option<Vec<u8>> {
        let mut state = lock(&self.state);
        if !state.stamps {
            return None;
        }
        let mut out = Vec::with_capacity(data.len() + 16);
        for byte in data {
            if state.at_line_start {
                let time = self.started.elapsed();
                let (seconds, rest) = (time.as_secs(), time.subsec_millis());
                let stamp = format!("[{:02}:{:02}:{:02}.{rest:03}] ", seconds / 3600, seconds / 60 % 60, seconds % 60);
                out.extend(stamp.bytes());
            }
            state.at_line_start = *byte == b'\n';
            out.push(*byte);
        }
        Some(out)
    }
    fn write(&self, index: usize, data: &[u8]) -> usize {
        if let Some(stamped) = self.stamp(data) {
            self.below.write(&stamped);
            return data.len();
        }
        let taken = self.below.write(data);
        if taken < data.len() {
            lock(&self.state).owed.push(index);
        }
        taken
    }
}

impl FrontEnd for Mux {
    fn room(&self) -> usize {
        self.focused().map_or(WAITING, |port| WAITING - lock(&port.waiting).len().min(WAITING))
    }
    fn receive(&self, data: &[u8]) {
        for byte in data.iter().filter(|byte| self.filter(**byte)) {
            if let Some(port) = self.focused() {
                lock(&port.waiting).push_back(*byte);
                port.deliver();
            }
        }
    }
    fn event(&self, event: Event) {
        let ports = lock(&self.ports).clone();
        match event {
            Event::Opened | Event::Closed => {
                let seen = ports.iter().filter(|port| port.seen.swap(false, Ordering::SeqCst));
                seen.filter(|_| event == Event::Closed).for_each(|port| port.front.event(event));
                if event == Event::Opened {
                    self.focused().into_iter().for_each(|port| port.show());
                }
            }
            Event::Break => self.focused().into_iter().for_each(|port| port.front.event(event)),
            Event::Writable => {
                let owed = std::mem::take(&mut lock(&self.state).owed);
                owed.iter().filter_map(|index| ports.get(*index)).for_each(|port| port.front.event(event));
            }
            Event::Focused => {}
        }
    }
}

impl Port {
    /// The user looks at it.
    fn show(&self) {
        let again = self.seen.swap(true, Ordering::SeqCst);
        self.front.event(if again { Event::Focused } else { Event::Opened });
    }
    /// Hands over what waits, as far as there is room.
    fn deliver(&self) {
        let Some(front) = self.front.get() else { return };
        loop {
            let room = front.room();
            let chunk: Vec<u8> = {
                let mut waiting = lock(&self.waiting);
                let length = waiting.len().min(room);
                waiting.drain(..length).collect()
            };
            if chunk.is_empty() {
                return;
            }
            front.receive(&chunk);
        }
    }
}

/// Front ends say that they have room while they hold their locks: the bytes come from the thread.
impl Source for Mux {
    fn interests(&self) -> Vec<Interest> {
        Vec::new()
    }
    fn ready(&self, _fd: &Arc<OwnedFd>, _flags: PollFlags) {}
    fn patience(&self) -> Option<Duration> {
        self.accepted.load(Ordering::SeqCst).then_some(Duration::ZERO)
    }
    fn retry(&self) {
        if self.accepted.swap(false, Ordering::SeqCst) {
            let ports = lock(&self.ports).clone();
            ports.iter().for_each(|port| port.deliver());
            self.below.accept();
        }
    }
}

impl BackEnd for Port {
    fn attach(&self, front: Weak<dyn FrontEnd>) {
        self.front.set(front);
        if let Some(mux) = self.mux.upgrade().filter(|mux| lock(&mux.state).focus == self.index) {
            if mux.below.is_open() {
                self.show();
            }
            mux.below.accept();
        }
    }
    fn write(&self, data: &[u8]) -> usize {
        self.mux.upgrade().map_or(data.len(), |mux| mux.write(self.index, data))
    }
    fn accept(&self) {
        if let Some(mux) = self.mux.upgrade() {
            mux.accepted.store(true, Ordering::SeqCst);
            mux.io.wake();
        }
    }
    fn is_open(&self) -> bool {
        self.mux.upgrade().is_some_and(|mux| mux.below.is_open())
    }
    fn describe(&self) -> String {
        self.mux.upgrade().map_or_else(|| "mux".to_owned(), |mux| mux.below.describe())
    }
    fn flush(&self) {
        if let Some(mux) = self.mux.upgrade() {
            mux.below.flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Listener, Recorder};

    type Fronts = [(Arc<dyn BackEnd>, Arc<Listener>); 2];

    fn rig() -> (Arc<Recorder>, Arc<Mux>, Fronts, Arc<Hooks>) {
        let (io, _thread) = Io::start().unwrap();
        let (recorder, hooks) = (Recorder::new(), Arc::new(Hooks::default()));
        let mux = Mux::new(&io, recorder.clone(), hooks.clone());
        let fronts = [0, 1].map(|_| {
            let (port, front) = (mux.port(), Listener::new(usize::MAX));
            port.attach(front.weak());
            (port, front)
        });
        (recorder, mux, fronts, hooks)
    }

    #[test]
    fn one_front_end_has_the_focus() {
        let (recorder, _mux, [(first, serial), (second, monitor)], _) = rig();
        recorder.send(b"ab\x01\x01c");
        assert_eq!((serial.take(), monitor.take()), (b"ab\x01c".to_vec(), vec![]));
        recorder.send(b"\x01cinfo");
        assert_eq!((serial.take(), monitor.take()), (vec![], b"info".to_vec()));
        assert_eq!(monitor.events(), [Event::Opened], "for the first time");
        recorder.send(b"\x01cx");
        assert_eq!((serial.take(), serial.events()), (b"x".to_vec(), vec![Event::Opened, Event::Focused]));
        recorder.event(Event::Closed);
        recorder.event(Event::Opened);
        assert_eq!((serial.events(), monitor.events()), (vec![Event::Closed, Event::Opened], vec![Event::Closed]));
        assert_eq!(first.write(b"1") + second.write(b"2"), 2, "both write");
        assert_eq!(recorder.take(), b"12");
    }

    #[test]
    fn escapes_act() {
        let (recorder, _mux, [(port, serial), _], hooks) = rig();
        let quits = Arc::new(AtomicU8::new(0));
        let count = quits.clone();
        *lock(&hooks.quit) = Some(Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        serial.events();
        recorder.send(b"\x01b");
        assert_eq!(serial.events(), [Event::Break]);
        recorder.send(b"\x01h");
        let help = String::from_utf8(recorder.take()).unwrap();
        assert!(help.contains("C-a x") && help.contains("C-a C-a"), "{help}");
        recorder.send(b"\x01t");
        port.write(b"a\nb");
        let stamped = String::from_utf8(recorder.take()).unwrap();
        assert!(stamped.starts_with("a\n[00:00:"), "{stamped}");
        recorder.send(b"\x01x");
        assert_eq!(quits.load(Ordering::Relaxed), 1);
        hooks.escape.store(2, Ordering::Relaxed);
        recorder.send(b"\x01x\x02x");
        assert_eq!((quits.load(Ordering::Relaxed), serial.take()), (2, b"\x01x".to_vec()));
    }

    #[test]
    fn a_front_end_without_room_gets_its_bytes_later_and_escapes_now() {
        let (recorder, _mux, [(port, serial), (_, monitor)], _) = rig();
        serial.set_room(2);
        recorder.send(b"abcd\x01cm");
        assert_eq!((serial.take(), monitor.take()), (b"ab".to_vec(), b"m".to_vec()));
        serial.set_room(9);
        port.accept();
        assert_eq!(serial.wait(2), b"cd");
    }

    #[test]
    fn who_waits_for_room_is_told() {
        let (recorder, _mux, [(port, serial), (_, monitor)], _) = rig();
        recorder.set_room(1);
        assert_eq!(port.write(b"ab"), 1);
        serial.events();
        monitor.events();
        recorder.set_room(10);
        assert_eq!((serial.events(), monitor.events()), (vec![Event::Writable], vec![]));
    }
}
