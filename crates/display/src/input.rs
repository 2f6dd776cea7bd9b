//! Input on its way from users to devices.

use crate::keys::Key;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A button of a pointer; a wheel's step is a button that is pressed and released.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Button {
    Left,
    Middle,
    Right,
    WheelUp,
    WheelDown,
    Side,
    Extra,
    WheelLeft,
    WheelRight,
}

/// Names of the buttons, as QMP has them.
const BUTTONS: &[(&str, Button)] = &[
    ("left", Button::Left),
    ("middle", Button::Middle),
    ("right", Button::Right),
    ("wheel-up", Button::WheelUp),
    ("wheel-down", Button::WheelDown),
    ("side", Button::Side),
    ("extra", Button::Extra),
    ("wheel-left", Button::WheelLeft),
    ("wheel-right", Button::WheelRight),
];

impl Button {
    /// The button of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        BUTTONS.iter().find(|(other, _)| *other == name).map(|(_, button)| *button)
    }
}

/// A direction in which pointers move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Axis {
    /// To the right.
    X,
    /// Downwards.
    Y,
}

/// Largest absolute coordinate.
pub const ABSOLUTE_MAX: u32 = 0x7fff;

/// Something that a pointer does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PointerEvent {
    /// A button is pressed, or released.
    Button(Button, bool),
    /// It moves by so much.
    Move(Axis, i32),
    /// It is at that place, from 0 to [`ABSOLUTE_MAX`].
    At(Axis, u32),
}

/// A device with keys.
pub trait KeyboardSink: Send + Sync {
    /// A key is pressed (again, if it is held), or released.
    fn key(&self, key: Key, down: bool);
}

/// A device that points.
pub trait PointerSink: Send + Sync {
    /// Whether it takes places; if not, it takes movements.
    fn is_absolute(&self) -> bool;
    /// Things that happen at the same time.
    fn pointer(&self, events: &[PointerEvent]);
}

/// A pointer, as monitors list it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PointerInfo {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: usize,
    /// It gets the events of its kind.
    pub current: bool,
    /// It takes places.
    pub absolute: bool,
}

#[derive(Default)]
struct Devices {
    /// The last one gets the events.
    keyboards: Vec<Arc<dyn KeyboardSink>>,
    /// In the order in which they were added, with their numbers' order of use in `order`: the last one that takes
    /// events of a kind gets them.
    pointers: Vec<(String, Arc<dyn PointerSink>)>,
    order: Vec<usize>,
    held: Vec<Key>,
}

impl Devices {
    fn pointer(&self, absolute: bool) -> Option<usize> {
        self.order.iter().rev().copied().find(|index| self.pointers[*index].1.is_absolute() == absolute)
    }
}

/// The input devices of a machine.
#[derive(Default)]
pub struct Input {
    devices: Mutex<Devices>,
}

impl Input {
    /// No devices.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
    fn lock(&self) -> MutexGuard<'_, Devices> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// From now on that device gets the keys.
    pub fn add_keyboard(&self, keyboard: Arc<dyn KeyboardSink>) {
        self.lock().keyboards.push(keyboard);
    }
    /// From now on that device gets the pointer events of its kind.
    pub fn add_pointer(&self, name: &str, pointer: Arc<dyn PointerSink>) {
        let mut devices = self.lock();
        let index = devices.pointers.len();
        devices.pointers.push((name.to_owned(), pointer));
        devices.order.push(index);
    }
    /// The pointer of that number gets the events of its kind; false if there is none.
    pub fn select_pointer(&self, index: usize) -> bool {
        let mut devices = self.lock();
        let exists = index < devices.pointers.len();
        if exists {
            devices.order.retain(|other| *other != index);
            devices.order.push(index);
        }
        exists
    }
    /// All pointers.
    pub fn pointers(&self) -> Vec<PointerInfo> {
        let devices = self.lock();
        let current = [false, true].map(|absolute| devices.pointer(absolute));
        let info = |(index, (name, sink)): (usize, &(String, Arc<dyn PointerSink>))| PointerInfo {
            name: name.clone(),
            index,
            current: current.contains(&Some(index)),
            absolute: sink.is_absolute(),
        };
        devices.pointers.iter().enumerate().map(info).collect()
    }
    /// A key is pressed or released.
    pub fn key(&self, key: Key, down: bool) {
        let keyboard = {
            let mut devices = self.lock();
            devices.held.retain(|other| *other != key);
            if down {
                devices.held.push(key);
            }
            devices.keyboards.last().cloned()
        };
        if let Some(keyboard) = keyboard {
            keyboard.key(key, down);
        }
    }
    /// Presses keys in their order.
    pub fn press(&self, keys: &[Key]) {
        keys.iter().for_each(|key| self.key(*key, true));
    }
    /// Releases keys, the last one first.
    pub fn release(&self, keys: &[Key]) {
        keys.iter().rev().for_each(|key| self.key(*key, false));
    }
    /// Releases every key that is held: whoever held them has gone.
    pub fn release_all(&self) {
        let held = self.lock().held.clone();
        self.release(&held);
    }
    /// Pointer events that happen at the same time. Places go to devices that take them, all else to the one that was
    /// used last.
    pub fn pointer(&self, events: &[PointerEvent]) {
        let is_place = |event: &PointerEvent| matches!(event, PointerEvent::At(..));
        let is_move = |event: &PointerEvent| matches!(event, PointerEvent::Move(..));
        let sink = {
            let devices = self.lock();
            let wanted = if events.iter().any(is_place) {
                devices.pointer(true)
            } else if events.iter().any(is_move) {
                devices.pointer(false)
            } else {
                devices.order.last().copied()
            };
            wanted.map(|index| devices.pointers[index].1.clone())
        };
        if let Some(sink) = sink {
            sink.pointer(events);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::parse_chord;

    #[derive(Default)]
    struct Log {
        keys: Mutex<Vec<(Option<&'static str>, bool)>>,
        events: Mutex<Vec<PointerEvent>>,
        absolute: bool,
    }

    impl KeyboardSink for Log {
        fn key(&self, key: Key, down: bool) {
            self.keys.lock().unwrap().push((key.name(), down));
        }
    }

    impl PointerSink for Log {
        fn is_absolute(&self) -> bool {
            self.absolute
        }
        fn pointer(&self, events: &[PointerEvent]) {
            self.events.lock().unwrap().extend(events);
        }
    }

    #[test]
    fn the_last_keyboard_gets_the_keys() {
        let (input, [old, new]) = (Input::new(), [Arc::new(Log::default()), Arc::new(Log::default())]);
        input.add_keyboard(old.clone());
        input.add_keyboard(new.clone());
        let keys = parse_chord("ctrl-c").unwrap();
        input.press(&keys);
        input.release_all();
        input.release_all();
        let expected = [(Some("ctrl"), true), (Some("c"), true), (Some("c"), false), (Some("ctrl"), false)];
        assert_eq!(*new.keys.lock().unwrap(), expected);
        assert!(old.keys.lock().unwrap().is_empty());
    }

    #[test]
    fn places_and_movements_go_where_they_are_understood() {
        let tablet = Arc::new(Log { absolute: true, ..Log::default() });
        let (input, mouse) = (Input::new(), Arc::new(Log::default()));
        input.add_pointer("mouse", mouse.clone());
        input.add_pointer("tablet", tablet.clone());
        let (place, step) = (PointerEvent::At(Axis::X, 5), PointerEvent::Move(Axis::Y, -1));
        let click = PointerEvent::Button(Button::Left, true);
        [place, step, click].iter().for_each(|event| input.pointer(&[*event]));
        assert!(input.select_pointer(0) && !input.select_pointer(2));
        input.pointer(&[click]);
        assert_eq!(*tablet.events.lock().unwrap(), [place, click]);
        assert_eq!(*mouse.events.lock().unwrap(), [step, click]);
        let info = input.pointers();
        assert!(info.iter().all(|info| info.current) && info[1].absolute);
        assert_eq!(Button::from_name("wheel-up"), Some(Button::WheelUp));
    }
}
