//! A machine's processor, interpreted.

use crate::core::Core;
use crate::interp::Stepper;
use crate::system::mmu::Mmu;
use crate::system::processor::Runner;
use isamorph_accel::Stop;
use isamorph_guest::SystemGuest;
use isamorph_ir::CpuState;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// Interprets regions. The state's save image holds the floating-point registers.
pub struct InterpRunner {
    guest: Arc<dyn SystemGuest>,
    lanes: Vec<(Arc<Core>, Stepper)>,
    state: Box<CpuState>,
}

impl InterpRunner {
    /// A runner with that state; each lane of the guest has a core.
    pub fn new(guest: Arc<dyn SystemGuest>, cores: &[Arc<Core>], state: Box<CpuState>) -> Self {
        let lanes = cores.iter().map(|core| (core.clone(), Stepper::new())).collect();
        InterpRunner { guest, lanes, state }
    }
}

impl Runner for InterpRunner {
    fn state(&mut self) -> &mut CpuState {
        &mut self.state
    }
    fn request(&self) -> *const AtomicU32 {
        &raw const self.state.header.exit_request
    }
    fn run(&mut self, mmu: &Mmu) -> Option<Stop> {
        let InterpRunner { guest, lanes, state } = self;
        mmu.set_context(state);
        let (core, stepper) = &mut lanes[guest.lane(state)];
        stepper.step(core, mmu, state)
    }
    fn step(&mut self, mmu: &Mmu) -> Option<Stop> {
        let InterpRunner { guest, lanes, state } = self;
        mmu.set_context(state);
        let (core, stepper) = &mut lanes[guest.lane(state)];
        stepper.alone(core, mmu, state)
    }
}
