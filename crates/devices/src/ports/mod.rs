//! Small devices, each with a port or two.

mod debug_console;
mod exit;
mod fast_gate;
mod panic;
mod test_device;

pub use debug_console::DebugConsole;
pub use exit::ExitPort;
pub use fast_gate::FastGate;
pub use panic::PanicPort;
pub use test_device::TestDevice;
