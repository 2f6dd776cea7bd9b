//! System mode: runs a machine.
//!
//! [`options`] has the options, each a row; [`values`] understands what they say ([`grammar`] is how it is written),
//! [`settings`] is what they come to; [`start`] makes a machine of that and runs it.

pub mod accelerators;
pub mod grammar;
pub mod host;
pub mod monitors;
pub mod options;
pub mod processors;
pub mod settings;
pub mod start;
mod values;

pub use start::run;
