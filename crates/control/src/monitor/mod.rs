//! The human monitor: commands in text lines, answers in text.
//!
//! [`Session`] executes command lines; the tables of commands are in `commands` and `info`. [`Human`] is the monitor at
//! a terminal: a line editor and a thread that executes, because commands may have to wait for the machine. QMP's
//! `human-monitor-command` uses a session of its own.

mod commands;
mod editor;
mod expression;
mod human;
mod info;
mod memory;
mod paging;
mod pci;
mod registers;

pub use human::Human;

use isamorph_chardev::{BackEnd, Chardevs};
use isamorph_display::input::Input;
use isamorph_display::keys::Key;
use isamorph_machines::Machine;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// What monitors are for: a machine with the parts of it that are not its own.
pub struct Console {
    /// The machine.
    pub machine: Arc<Machine>,
    /// The character back ends.
    pub chardevs: Arc<Chardevs>,
    /// Name that the user gave, if any.
    pub name: Option<String>,
    /// Identifier that the user gave, or zeros.
    pub uuid: String,
}

/// Version of QEMU whose commands and texts these are.
pub const QEMU_VERSION: [u32; 3] = [10, 0, 0];

/// The version as one text.
pub fn version() -> String {
    let [major, minor, micro] = QEMU_VERSION;
    format!("{major}.{minor}.{micro} (Isamorph {})", env!("CARGO_PKG_VERSION"))
}

/// How many milliseconds a monitor waits for a reader.
const PATIENCE: u32 = 5000;

/// Writes all of it; who does not read does not get it.
pub(crate) fn write(back: &dyn BackEnd, text: &str) {
    let mut rest = text.as_bytes();
    for _ in 0..PATIENCE {
        rest = &rest[back.write(rest).min(rest.len())..];
        if rest.is_empty() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Presses keys and releases them after so many milliseconds; does not wait for that.
///
/// # Errors
/// The host has no thread for it.
pub(crate) fn press(input: &Arc<Input>, keys: Vec<Key>, hold: u64) -> io::Result<()> {
    input.press(&keys);
    let input = input.clone();
    let release = move || {
        thread::sleep(Duration::from_millis(hold));
        input.release(&keys);
    };
    thread::Builder::new().name("sendkey".to_owned()).spawn(release).map(drop)
}

/// How long keys are held if nothing is said, milliseconds.
pub(crate) const HOLD: u64 = 100;

/// The host's thread of each processor.
pub(crate) fn threads(machine: &Machine) -> Vec<i32> {
    let count = machine.processor_count();
    (0..count).filter_map(|n| machine.with_processor(n, |_| isamorph_host::signal::gettid())).collect()
}

/// Executes commands one after the other.
pub struct Session {
    console: Arc<Console>,
    /// The processor that commands look at.
    processor: AtomicU32,
}

impl Session {
    /// A session that looks at processor 0.
    pub fn new(console: Arc<Console>) -> Self {
        Session { console, processor: AtomicU32::new(0) }
    }
    /// Looks at another processor.
    pub fn select(&self, processor: u32) {
        self.processor.store(processor, Ordering::Relaxed);
    }
    /// The processor that it looks at.
    pub fn processor(&self) -> u32 {
        self.processor.load(Ordering::Relaxed)
    }
    /// Executes a command line; gives the text to print, which ends with a newline unless it is empty. An error is text
    /// as well.
    pub fn execute(&self, line: &str) -> String {
        commands::execute(self, line).unwrap_or_else(|error| format!("{error}\n"))
    }
    /// Names of commands that begin so, or of what can follow `info `.
    pub fn complete(&self, line: &str) -> Vec<&'static str> {
        match line.strip_prefix("info ") {
            Some(rest) => info::names().filter(|name| name.starts_with(rest)).collect(),
            None => commands::names().filter(|name| name.starts_with(line)).collect(),
        }
    }
    fn machine(&self) -> &Arc<Machine> {
        &self.console.machine
    }
    /// What it is a session of.
    pub fn console(&self) -> &Console {
        &self.console
    }
}
