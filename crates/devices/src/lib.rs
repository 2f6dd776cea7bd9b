//! Devices: register models of real chips.
//!
//! Each module is one chip. It is built with its wires and knows nothing of where they lead; what connects it to a bus
//! and to other chips is a board. `docs/how-to/add-a-device.md` shows the steps.

pub mod pic;
pub mod pit;
pub mod rtc;
