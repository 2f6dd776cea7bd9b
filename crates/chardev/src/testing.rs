//! A back end for tests of front ends: it keeps what it gets, as far as it is told to, and says what it is told.

use crate::{BackEnd, Event, FrontEnd, Slot};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Such a back end.
pub struct Recorder {
    front: Slot,
    state: Mutex<State>,
}

struct State {
    written: Vec<u8>,
    room: usize,
    input: VecDeque<u8>,
}

impl Default for Recorder {
    fn default() -> Self {
        let state = State { written: Vec::new(), room: usize::MAX, input: VecDeque::new() };
        Recorder { front: Slot::default(), state: Mutex::new(state) }
    }
}

impl Recorder {
    /// A recorder that takes everything.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
    /// From now on it takes that many more bytes. Tells the front end.
    pub fn set_room(&self, room: usize) {
        self.with(|state| state.room = room);
        self.front.event(Event::Writable);
    }
    /// What has been written since the last call.
    pub fn take(&self) -> Vec<u8> {
        self.with(|state| std::mem::take(&mut state.written))
    }
    /// Sends bytes to the front end, now or when it has room.
    pub fn send(&self, data: &[u8]) {
        self.with(|state| state.input.extend(data));
        self.deliver();
    }
    /// Sends an event to the front end.
    pub fn event(&self, event: Event) {
        self.front.event(event);
    }
    /// Bytes that the front end has had no room for yet.
    pub fn waiting(&self) -> usize {
        self.with(|state| state.input.len())
    }
    /// Hands over what there is room for. Front ends may call [`BackEnd::accept`] with their locks held, which is why
    /// that does not do this.
    pub fn deliver(&self) {
        let Some(front) = self.front.get() else { return };
        loop {
            let room = front.room();
            let chunk: Vec<u8> = self.with(|state| {
                let length = state.input.len().min(room);
                state.input.drain(..length).collect()
            });
            if chunk.is_empty() {
                return;
            }
            front.receive(&chunk);
        }
    }
}

impl BackEnd for Recorder {
    fn attach(&self, front: Weak<dyn FrontEnd>) {
        self.front.set(front);
    }
    fn write(&self, data: &[u8]) -> usize {
        self.with(|state| {
            let taken = data.len().min(state.room);
            state.room -= if state.room == usize::MAX { 0 } else { taken };
            state.written.extend(&data[..taken]);
            taken
        })
    }
    fn accept(&self) {}
    fn is_open(&self) -> bool {
        true
    }
    fn describe(&self) -> String {
        "recorder".to_owned()
    }
}

/// A front end that keeps what it gets.
#[derive(Default)]
pub struct Listener {
    state: Mutex<(Vec<u8>, Vec<Event>, usize)>,
}

impl Listener {
    /// A front end with that much room.
    pub fn new(room: usize) -> Arc<Self> {
        Arc::new(Listener { state: Mutex::new((Vec::new(), Vec::new(), room)) })
    }
    fn with<R>(&self, f: impl FnOnce(&mut (Vec<u8>, Vec<Event>, usize)) -> R) -> R {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
    /// The bytes that have arrived since the last call.
    pub fn take(&self) -> Vec<u8> {
        self.with(|state| std::mem::take(&mut state.0))
    }
    /// The events that have arrived since the last call.
    pub fn events(&self) -> Vec<Event> {
        self.with(|state| std::mem::take(&mut state.1))
    }
    /// Gives it room for so many more bytes.
    pub fn set_room(&self, room: usize) {
        self.with(|state| state.2 = room);
    }
    /// As [`Arc::downgrade`], with the type that back ends want.
    pub fn weak(self: &Arc<Self>) -> Weak<dyn FrontEnd> {
        let weak: Weak<Self> = Arc::downgrade(self);
        weak
    }
    /// Waits until `wanted` bytes have arrived, at most ten seconds, and gives them.
    pub fn wait(&self, wanted: usize) -> Vec<u8> {
        for _ in 0..1000 {
            if self.with(|state| state.0.len() >= wanted) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        self.take()
    }
}

impl FrontEnd for Listener {
    fn room(&self) -> usize {
        self.with(|state| state.2)
    }
    fn receive(&self, data: &[u8]) {
        self.with(|state| {
            state.2 = state.2.saturating_sub(data.len());
            state.0.extend(data);
        });
    }
    fn event(&self, event: Event) {
        self.with(|state| state.1.push(event));
    }
}
