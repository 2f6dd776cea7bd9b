//! Boards: the only place that wires processors, buses and devices; and the loop that runs them.
//!
//! [`build`] makes a [`Machine`] from a [`Config`]: a [`BoardRow`] says which board, and whoever calls says how the
//! processors are run. The machine has a thread for each processor and one for timers; its own thread serves what is
//! asked of it ([`Machine::run`]).

mod bare;
mod board;
mod boot;
mod config;
mod control;
mod devices;
mod drives;
mod elf;
mod files;
mod firmware;
mod machine;
mod pc;
mod processor;
mod site;
mod timers;
mod topology;
mod turns;

pub use board::{BOARDS, BoardRow, board, default_board};
pub use config::{BootOrder, Config, DeviceRequest, Firmware, Kernel, ProcessorFacts};
pub use control::{Actions, Cause, Control, Event, PanicAction, RunState};
pub use devices::{DEVICES, DeviceRow, device_help};
pub use drives::{DriveSetup, open_drives};
pub use files::{Search, read_limited};
pub use machine::{Chips, Machine};
pub use site::{Accelerate, World, build};
pub use topology::Topology;
