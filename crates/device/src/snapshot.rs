//! State of a device, taken away and put back.

/// A device whose state can be saved and restored.
///
/// The state is what the device's registers are made of, without its wires, as one value. A device keeps it as one
/// structure apart from its wires, or fills it by destructuring itself exhaustively, so that a field cannot be
/// forgotten. Lines and timers are not part of it: [`crate::Device::drive`] sets them as the state says.
pub trait Snapshot {
    /// The state.
    type State: Clone + PartialEq + std::fmt::Debug;
    /// A copy of the state.
    fn save(&self) -> Self::State;
    /// Puts a state in place of the present one.
    ///
    /// # Errors
    /// The state is one that the device cannot have; nothing has changed.
    fn restore(&self, state: &Self::State) -> Result<(), BadState>;
}

/// A state that a device cannot have, with the part of it that is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadState(pub &'static str);

impl BadState {
    /// Fails with that part's name unless `good`.
    ///
    /// # Errors
    /// It is not good.
    pub fn unless(good: bool, part: &'static str) -> Result<(), BadState> {
        if good { Ok(()) } else { Err(BadState(part)) }
    }
}

impl std::fmt::Display for BadState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "saved state: {} is out of range", self.0)
    }
}

impl std::error::Error for BadState {}
