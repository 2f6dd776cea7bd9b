//! Interrupt lines and other wires between devices.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Something with inputs: an interrupt controller, a gate.
pub trait LineSink: Send + Sync {
    /// Input number `input` has that level now. It may have had it before.
    fn set(&self, input: u32, level: bool);
}

/// A wire to an input of something. Clones are the same wire.
#[derive(Clone, Default)]
pub struct Line {
    to: Option<(Arc<dyn LineSink>, u32)>,
}

impl Line {
    /// A wire to that input.
    pub fn new(to: Arc<dyn LineSink>, input: u32) -> Self {
        Line { to: Some((to, input)) }
    }
    /// A wire that leads nowhere.
    pub const fn unconnected() -> Self {
        Line { to: None }
    }
    /// A wire to all of those.
    pub fn to_all(lines: Vec<Line>) -> Self {
        Line::new(Arc::new(Fan(lines)), 0)
    }
    /// Drives the wire.
    pub fn set(&self, level: bool) {
        if let Some((to, input)) = &self.to {
            to.set(*input, level);
        }
    }
    /// High.
    pub fn raise(&self) {
        self.set(true);
    }
    /// Low.
    pub fn lower(&self) {
        self.set(false);
    }
    /// High and low again: an edge.
    pub fn pulse(&self) {
        self.raise();
        self.lower();
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Line").field(&self.to.as_ref().map(|(_, input)| input)).finish()
    }
}

struct Fan(Vec<Line>);

impl LineSink for Fan {
    fn set(&self, _input: u32, level: bool) {
        self.0.iter().for_each(|line| line.set(level));
    }
}

/// A gate with up to 64 inputs whose output is high while one of them is: a shared interrupt line.
#[derive(Debug)]
pub struct Gate {
    inputs: Mutex<u64>,
    output: Line,
}

impl Gate {
    /// A gate with all inputs low.
    pub fn new(output: Line) -> Arc<Self> {
        Arc::new(Gate { inputs: Mutex::new(0), output })
    }
    /// A wire to one of its inputs, 0 to 63.
    pub fn input(self: &Arc<Self>, number: u32) -> Line {
        Line::new(self.clone(), number)
    }
}

impl LineSink for Gate {
    fn set(&self, input: u32, level: bool) {
        // The output is driven under the lock, so that two inputs that change at once leave it as the later one says.
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        let bit = 1u64.checked_shl(input).unwrap_or(0);
        let now = if level { *inputs | bit } else { *inputs & !bit };
        let before = std::mem::replace(&mut *inputs, now);
        if (before != 0) != (now != 0) {
            self.output.set(now != 0);
        }
    }
}

/// The end of up to 64 wires in tests: shows their levels and counts rising edges.
#[derive(Debug, Default)]
pub struct Probe {
    levels: AtomicU64,
    edges: AtomicU64,
}

impl Probe {
    /// A probe and a wire to its input 0.
    pub fn new() -> (Arc<Self>, Line) {
        let probe = Arc::new(Probe::default());
        (probe.clone(), Line::new(probe, 0))
    }
    /// Whether input 0 is high.
    pub fn is_high(&self) -> bool {
        self.levels() & 1 != 0
    }
    /// The levels of all inputs, input 0 in bit 0.
    pub fn levels(&self) -> u64 {
        self.levels.load(Ordering::Acquire)
    }
    /// Rising edges of all inputs so far.
    pub fn edges(&self) -> u64 {
        self.edges.load(Ordering::Acquire)
    }
}

impl LineSink for Probe {
    fn set(&self, input: u32, level: bool) {
        let bit = 1u64.checked_shl(input).unwrap_or(0);
        let before = if level {
            self.levels.fetch_or(bit, Ordering::AcqRel)
        } else {
            self.levels.fetch_and(!bit, Ordering::AcqRel)
        };
        if level && before & bit == 0 {
            self.edges.fetch_add(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_high_while_an_input_is() {
        let (probe, line) = Probe::new();
        let gate = Gate::new(line);
        let [a, b] = [0, 63].map(|n| gate.input(n));
        a.raise();
        b.raise();
        a.lower();
        assert!(probe.is_high());
        b.lower();
        assert!(!probe.is_high());
        assert_eq!(probe.edges(), 1, "levels that stay are not driven again");
    }

    #[test]
    fn a_fan_reaches_everybody() {
        let ((a, to_a), (b, to_b)) = (Probe::new(), Probe::new());
        let line = Line::to_all(vec![to_a, to_b, Line::unconnected()]);
        line.pulse();
        assert_eq!((a.edges(), b.edges(), a.is_high()), (1, 1, false));
    }
}
