//! Interpreting: the interpreter's vCPU, and single instructions for the JIT.

use crate::core::Core;
use crate::regions::{Lifted, Recent};
use crate::user::UserWorld;
use crate::world::{Code, World};
use isamorph_accel::{Stop, Vcpu};
use isamorph_cache::Key;
use isamorph_interp::{Interpreter, Outcome};
use isamorph_ir::{CpuState, ExitKind, Region, Trap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The key of the code at a state's program counter; nothing if it cannot be kept.
pub fn key(core: &Core, world: &dyn World, state: &CpuState) -> Result<Option<Key>, Stop> {
    world.key(state.pc(), core.guest.mode(state)).map_err(|f| Stop::Trap(Trap::Memory(f)))
}

/// Interprets regions for one vCPU. The state's save image holds the floating-point registers.
pub struct Stepper {
    recent: Recent,
    interpreter: Interpreter,
}

impl Stepper {
    /// A stepper that has seen nothing.
    pub fn new() -> Self {
        Stepper { recent: Recent::new(), interpreter: Interpreter::default() }
    }
    /// A region that is kept for a key.
    pub fn find(&mut self, core: &Core, key: Key) -> Option<Arc<Lifted>> {
        self.recent.find(key, &core.regions)
    }
    /// Runs the region at the program counter.
    pub fn step(&mut self, core: &Core, world: &dyn World, state: &mut CpuState) -> Option<Stop> {
        let key = match key(core, world, state) {
            Ok(Some(key)) => key,
            Ok(None) => return self.alone(core, world, state),
            Err(stop) => return Some(stop),
        };
        let lifted = match self.find(core, key) {
            Some(lifted) => lifted,
            None => match core.lifted(world, key) {
                Ok(Some(lifted)) => lifted,
                Ok(None) => return self.alone(core, world, state),
                Err(stop) => return Some(stop),
            },
        };
        self.run(core, world, state, &lifted)
    }
    /// Runs a region.
    pub fn run(&mut self, core: &Core, world: &dyn World, state: &mut CpuState, lifted: &Lifted) -> Option<Stop> {
        if core.traces_execution() {
            core.trace_execution(Key::at(state.pc(), core.guest.mode(state)), 0, state);
        }
        let (outcome, refused) = self.interpret(core, world, Code::Ranges(&lifted.ranges), state, &lifted.region);
        if refused && matches!(outcome, Outcome::Trap { .. }) {
            leave(core, state, &lifted.region, outcome);
            return self.alone(core, world, state);
        }
        leave(core, state, &lifted.region, outcome)
    }
    /// Runs one instruction, whatever it stores to.
    pub fn alone(&mut self, core: &Core, world: &dyn World, state: &mut CpuState) -> Option<Stop> {
        let (pc, mode) = (state.pc(), core.guest.mode(state));
        let key = world.key(pc, mode).ok().flatten().map(Key::alone);
        if let Some(lifted) = key.and_then(|key| self.find(core, key)) {
            return self.run_alone(core, world, state, &lifted.region);
        }
        let mut region = Region::default();
        let origin = match core.lift_one(world, &mut region, key.unwrap_or(Key::at(pc, mode))) {
            Ok(origin) => origin,
            Err(stop) => return Some(stop),
        };
        let lifted = Arc::new(Lifted { region, ranges: origin.ranges.clone() });
        if let Some(key) = key {
            // Accesses to devices come back again and again.
            core.regions.insert(key, lifted.clone(), &|| world.is_current(&origin));
        }
        self.run_alone(core, world, state, &lifted.region)
    }
    fn run_alone(&mut self, core: &Core, world: &dyn World, state: &mut CpuState, region: &Region) -> Option<Stop> {
        let (outcome, _) = self.interpret(core, world, Code::Nothing, state, region);
        leave(core, state, region, outcome)
    }
    /// Runs a region with memory that refuses stores to that code; tells whether one was refused.
    fn interpret(
        &mut self,
        core: &Core,
        world: &dyn World,
        code: Code<'_>,
        state: &mut CpuState,
        region: &Region,
    ) -> (Outcome, bool) {
        let mut outcome = Outcome::Exit { exit: 0, target: None };
        let refused = world.with_memory(code, &mut |memory| {
            outcome = self.interpreter.run(region, core.guest.table(), core.guest.helpers(), state, memory);
        });
        (outcome, refused)
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
        ExitKind::IndirectCall { .. } | ExitKind::Return { .. } | ExitKind::Indirect { .. } => {
            (target.unwrap_or_default() & core.guest.table().addr_mask(), None)
        }
        // It may lead to code with wider addresses.
        ExitKind::ResyncTo { .. } => (target.unwrap_or_default(), None),
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
    world: UserWorld,
    state: Box<CpuState>,
    stepper: Stepper,
}

impl InterpVcpu {
    /// A vCPU with that state.
    pub fn new(core: Arc<Core>, world: UserWorld, state: Box<CpuState>) -> Self {
        InterpVcpu { core, world, state, stepper: Stepper::new() }
    }
}

impl Vcpu for InterpVcpu {
    fn step(&mut self) -> Option<Stop> {
        self.stepper.alone(&self.core, &self.world, &mut self.state)
    }
    fn run(&mut self) -> Stop {
        loop {
            let request = &self.state.header.exit_request;
            if request.load(Ordering::Relaxed) != 0 {
                request.store(0, Ordering::SeqCst);
                return Stop::Interrupted;
            }
            if let Some(stop) = self.stepper.step(&self.core, &self.world, &mut self.state) {
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
