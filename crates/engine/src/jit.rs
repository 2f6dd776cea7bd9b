//! A vCPU that runs compiled code.

use crate::interp::Stepper;
use crate::running::{Pending, Running, load_x87, save_x87};
use crate::translate::{Jit, Translated, Work};
use crate::user::UserWorld;
use isamorph_accel::{Stop, Vcpu};
use isamorph_cache::{Key, Vcpu as Member};
use isamorph_code::ExitReason;
use isamorph_host::Errno;
use isamorph_host::fault::AltStack;
use isamorph_ir::{CpuState, Trap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Length of a save image.
const IMAGE: usize = 512;

/// How the code that is looked for is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Via {
    /// Once.
    Dispatch,
    /// An exit that was left through the stub at this host address leads there.
    Link(usize),
    /// A computed jump leads there.
    Computed,
}

/// A vCPU that runs compiled code, and interprets what cannot be compiled.
pub struct JitVcpu {
    running: Box<Running>,
    world: UserWorld,
    stepper: Stepper,
    work: Work,
    /// Whether the host's x87 unit holds the guest's, instead of the save image.
    fpu_live: bool,
    mode: u64,
    /// Compiled code's stack is no place for a signal frame.
    _stack: AltStack,
}

impl JitVcpu {
    /// A vCPU of the calling thread with that state.
    ///
    /// # Errors
    /// The host refuses the memory; the state comes back.
    pub fn new(jit: Arc<Jit>, world: UserWorld, state: Box<CpuState>) -> Result<Self, (Errno, Box<CpuState>)> {
        let stack = match AltStack::install() {
            Ok(stack) => stack,
            Err(e) => return Err((e, state)),
        };
        let running = Box::new(Running::new(jit, world.clone(), state)?);
        let mode = running.jit.core.guest.mode(&running.state);
        let (stepper, work) = (Stepper::new(), Work::default());
        Ok(JitVcpu { running, world, stepper, work, fpu_live: false, mode, _stack: stack })
    }
    /// Runs until the caller is needed.
    fn dispatch(&mut self) -> Stop {
        let mut via = Via::Dispatch;
        loop {
            if self.running.member.pin() {
                self.running.empty_shadow();
                via = Via::Dispatch;
            }
            if let Some(stop) = self.poll() {
                return stop;
            }
            let key = self.key();
            let entry = match self.find(key, via) {
                Some(entry) => entry,
                None => match self.make(key, via) {
                    Ok(next) => {
                        via = next;
                        continue;
                    }
                    Err(stop) => return stop,
                },
            };
            match self.enter(entry) {
                Ok(next) => via = next,
                Err(stop) => return stop,
            }
        }
    }
    /// Serves the exit request. The cache's own wish was granted by passing here.
    fn poll(&mut self) -> Option<Stop> {
        let request = &self.running.state.header.exit_request;
        if request.load(Ordering::Relaxed) == 0 {
            return None;
        }
        (request.swap(0, Ordering::SeqCst) & !Member::REQUEST != 0).then_some(Stop::Interrupted)
    }
    /// The key of the code that comes next.
    fn key(&mut self) -> Key {
        let Running { jit, state, .. } = &*self.running;
        let key = Key::at(state.pc(), jit.core.guest.mode(state));
        if key.mode != self.mode {
            // Jump cache and shadow stack know only program counters.
            self.mode = key.mode;
            self.running.member.clear_jumps();
            self.running.empty_shadow();
        }
        key
    }
    /// The entry of placed code; where it is wanted again, it is made reachable without the dispatcher.
    fn find(&self, key: Key, via: Via) -> Option<usize> {
        let Running { jit, member, state, .. } = &*self.running;
        if jit.core.traces_execution() {
            let entry = member.find(key)?;
            jit.core.trace_execution(key, entry.address, state);
            return Some(entry.address);
        }
        let entry = match via {
            Via::Computed => member.find_computed(key)?,
            Via::Dispatch | Via::Link(_) => member.find(key)?,
        };
        if let Via::Link(site) = via {
            jit.cache.link(site, entry.tb);
        }
        Some(entry.address)
    }
    /// Translates, or interprets what cannot be compiled; says how the code that comes next is wanted.
    fn make(&mut self, key: Key, via: Via) -> Result<Via, Stop> {
        self.running.member.unpin();
        let lifted = match self.stepper.find(&self.running.jit.core, key) {
            Some(lifted) => lifted,
            None => match self.running.jit.translate(&mut self.work, &self.world, key)? {
                Translated::Placed => return Ok(via),
                Translated::Lifted(lifted) => lifted,
                Translated::Contended => return self.step(),
            },
        };
        self.save_fpu();
        let Running { jit, state, .. } = &mut *self.running;
        self.stepper.run(&jit.core, &self.world, state, &lifted).map_or(Ok(Via::Dispatch), Err)
    }
    /// Interprets one instruction, which stores into its own page.
    fn alone(&mut self) -> Result<Via, Stop> {
        self.running.jit.self_modifying.note(self.running.state.pc());
        self.step()
    }
    /// Interprets one instruction.
    fn step(&mut self) -> Result<Via, Stop> {
        self.running.member.unpin();
        self.save_fpu();
        let Running { jit, state, .. } = &mut *self.running;
        self.stepper.alone(&jit.core, &self.world, state).map_or(Ok(Via::Dispatch), Err)
    }
    /// Runs compiled code from an entry; says how it was left.
    fn enter(&mut self, entry: usize) -> Result<Via, Stop> {
        self.load_fpu();
        let reason = self.running.enter(entry);
        let header = &self.running.state.header;
        match reason {
            Some(ExitReason::Link) => Ok(Via::Link(header.exit_arg as usize)),
            Some(ExitReason::Indirect) => Ok(Via::Computed),
            Some(ExitReason::Safepoint) => Ok(Via::Dispatch),
            Some(ExitReason::Syscall) => Err(Stop::Syscall(header.exit_code as u32)),
            Some(ExitReason::Exception) => {
                Err(Stop::Trap(Trap::Exception { code: header.exit_code as u32, arg: header.exit_arg }))
            }
            Some(ExitReason::Halt) => Err(Stop::Halt),
            Some(ExitReason::Fault | ExitReason::Helper) => match self.running.take_pending() {
                Some(Pending::Trap(trap)) => Err(Stop::Trap(trap)),
                Some(Pending::Alone) => self.alone(),
                Some(Pending::Interpret) => self.step(),
                None => Ok(Via::Dispatch),
            },
            None => unreachable!("the thunks store a reason"),
        }
    }
    fn image(&mut self) -> Option<&mut [u8]> {
        let offset = self.running.jit.core.guest.table().fxsave?;
        Some(self.running.state.bytes_mut(offset, IMAGE))
    }
    fn save_fpu(&mut self) {
        if std::mem::take(&mut self.fpu_live)
            && let Some(image) = self.image()
        {
            save_x87(image);
        }
    }
    fn load_fpu(&mut self) {
        if !std::mem::replace(&mut self.fpu_live, true)
            && let Some(image) = self.image()
        {
            load_x87(image);
        }
    }
}

impl Vcpu for JitVcpu {
    fn run(&mut self) -> Stop {
        self.running.make_current();
        let stop = self.dispatch();
        self.running.member.unpin();
        stop
    }
    fn step(&mut self) -> Option<Stop> {
        self.running.make_current();
        JitVcpu::step(self).err()
    }
    fn state(&self) -> &CpuState {
        &self.running.state
    }
    fn state_mut(&mut self) -> &mut CpuState {
        &mut self.running.state
    }
    fn sync_fpu(&mut self) {
        self.save_fpu();
    }
    fn exit_request(&self) -> *const AtomicU32 {
        &raw const self.running.state.header.exit_request
    }
}
