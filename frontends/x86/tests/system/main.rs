//! The system architecture: page walks, gates, privilege, tasks, modes. Each test sets up memory as an operating system
//! would, and runs a few instructions.

mod gates;
mod hostile;
mod long;
mod modes;
mod registers;
mod rig;
mod tasks;
mod walks;
