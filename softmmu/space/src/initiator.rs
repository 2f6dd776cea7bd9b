//! Who makes the accesses of the calling thread: registers that each processor has for itself, at the same address,
//! want to know.

use std::cell::Cell;

thread_local! {
    static PROCESSOR: Cell<u32> = const { Cell::new(0) };
}

/// From now on the calling thread makes its accesses for that processor. Threads that are no processors count as
/// processor 0.
pub fn set(processor: u32) {
    PROCESSOR.set(processor);
}

/// The processor for which the calling thread makes its accesses.
pub fn get() -> u32 {
    PROCESSOR.get()
}
