//! Interpreting: the interpreter's vCPU, and single instructions for the JIT.

use crate::core::Core;
use crate::guarded::{Code, Guarded};
use crate::regions::{Lifted, Recent};
use isamorph_accel::{Stop, Vcpu};
use isamorph_cache::Key;
use isamorph_interp::{Interpreter, Outcome};
use isamorph_ir::{CpuState, ExitKind, Memory, Region, Trap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The key of the code at a state's program counter.
pub fn key(core: &Core, state: &CpuState) -> Key {
    Key { pc: state.pc(), mode: core.guest.mode(state) }
}

/// Interprets regions for one vCPU. The state's save image holds the floating-point registers.
pub struct Stepper {
    recent: Recent,
    interpreter: Interpreter,
    single: Region,
}

impl Stepper {
    /// A stepper that has seen nothing.
    pub fn new() -> Self {
        Stepper { recent: Recent::new(), interpreter: Interpreter::default(), single: Region::default() }
    }
    /// A region that is kept for a key.
    pub fn find(&mut self, core: &Core, key: Key) -> Option<Arc<Lifted>> {
        self.recent.find(key, &core.regions)
    }
    /// Runs the region at the program counter.
    pub fn step(&mut self, core: &Core, state: &mut CpuState) -> Option<Stop> {
        let key = key(core, state);
        let lifted = match self.find(core, key) {
            Some(lifted) => lifted,
            None => match core.lifted(key) {
                Ok(Some(lifted)) => lifted,
                Ok(None) => return self.alone(core, state),
                Err(stop) => return Some(stop),
            },
        };
        self.run(core, state, &lifted)
    }
    /// Runs a region.
    pub fn run(&mut self, core: &Core, state: &mut CpuState, lifted: &Lifted) -> Option<Stop> {
        if core.traces_execution() {
            core.trace_execution(key(core, state), 0, state);
        }
        let memory = Guarded::new(core, Code::Ranges(&lifted.ranges));
        let outcome = self.interpret(core, state, &lifted.region, &memory);
        if memory.has_refused() && matches!(outcome, Outcome::Trap { .. }) {
            leave(core, state, &lifted.region, outcome);
            return self.alone(core, state);
        }
        leave(core, state, &lifted.region, outcome)
    }
    /// Runs one instruction, whatever it stores to.
    pub fn alone(&mut self, core: &Core, state: &mut CpuState) -> Option<Stop> {
        let mut region = std::mem::take(&mut self.single);
        let stop = match core.lift_one(&mut region, key(core, state)) {
            Ok(_) => {
                let outcome = self.interpret(core, state, &region, &Guarded::new(core, Code::Nothing));
                leave(core, state, &region, outcome)
            }
            Err(stop) => Some(stop),
        };
        self.single = region;
        stop
    }
    fn interpret(&mut self, core: &Core, state: &mut CpuState, region: &Region, memory: &dyn Memory) -> Outcome {
        self.interpreter.run(region, core.guest.table(), core.guest.helpers(), state, memory)
    }
}

/// Puts the program counter where the region was left to; tells whether the caller is needed.
fn leave(core: &Core, state: &mut CpuState, region: &Region, outcome: Outcome) -> Option<Stop> {
    let (exit, target) = match outcome {
        Outcome::Exit { exit, target } => (exit, target),
        Outcome::Trap { trap, insn } => {
            state.set_pc(region.insns.get(insn).map_or(region.pc, |i| i.pc));
            return Some(Stop::Trap(trap));
        }
    };
    let (pc, stop) = match region.exits[exit].kind {
        ExitKind::Direct { pc } | ExitKind::Call { pc, .. } | ExitKind::Resync { next: pc } => (pc, None),
        ExitKind::IndirectCall { .. }
        | ExitKind::Return { .. }
        | ExitKind::Indirect { .. }
        | ExitKind::ResyncTo { .. } => (target.unwrap_or_default() & core.guest.table().addr_mask(), None),
        ExitKind::Syscall { next, code } => (next, Some(Stop::Syscall(code))),
        ExitKind::Exception { pc, code, arg } => (pc, Some(Stop::Trap(Trap::Exception { code, arg }))),
        ExitKind::Halt { next } => (next, Some(Stop::Halt)),
    };
    state.set_pc(pc);
    stop
}

/// A vCPU that interprets.
pub struct InterpVcpu {
    core: Arc<Core>,
    state: Box<CpuState>,
    stepper: Stepper,
}

impl InterpVcpu {
    /// A vCPU with that state.
    pub fn new(core: Arc<Core>, state: Box<CpuState>) -> Self {
        InterpVcpu { core, state, stepper: Stepper::new() }
    }
}

impl Vcpu for InterpVcpu {
    fn step(&mut self) -> Option<Stop> {
        self.stepper.alone(&self.core, &mut self.state)
    }
    fn run(&mut self) -> Stop {
        loop {
            let request = &self.state.header.exit_request;
            if request.load(Ordering::Relaxed) != 0 {
                request.store(0, Ordering::SeqCst);
                return Stop::Interrupted;
            }
            if let Some(stop) = self.stepper.step(&self.core, &mut self.state) {
                return stop;
            }
        }
    }
    fn state(&self) -> &CpuState {
        &self.state
    }
    fn state_mut(&mut self) -> &mut CpuState {
        &mut self.state
    }
    fn sync_fpu(&mut self) {
        // The interpreter works on the save image.
    }
    fn exit_request(&self) -> *const AtomicU32 {
        &raw const self.state.header.exit_request
    }
}
