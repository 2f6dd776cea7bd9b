//! A machine's processor that runs compiled code, and interprets single instructions that cannot be made by it:
//! accesses to devices and over the end of a page, stores to code, whatever faults.

use crate::interp::Stepper;
use crate::running::{Miss, Pending, Running, Translated, load_x87, save_x87};
use crate::system::mmu::{Guard, Mmu};
use crate::system::observer::FLUSHED;
use crate::system::processor::Runner;
use crate::translate::{Jit, Translated as Outcome, Work};
use isamorph_accel::Stop;
use isamorph_cache::{JUMP_CACHES, Key};
use isamorph_code::ExitReason;
use isamorph_guest::SystemGuest;
use isamorph_host::fault::AltStack;
use isamorph_ir::{CpuState, Memory, Trap};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Length of a save image.
const IMAGE: usize = 512;

impl Translated for Mmu {
    fn memory(&self) -> &dyn Memory {
        self
    }
    fn miss(&self, _: &mut CpuState, addr: u64, bytes: u32, write: bool) -> Miss {
        if self.prepare(addr, bytes, write) { Miss::Retry } else { Miss::Alone }
    }
    fn guard(&self, on: bool) -> bool {
        self.set_guard(if on { Guard::Pages } else { Guard::Nothing })
    }
}

/// How the code that is looked for is wanted.
#[derive(Clone, Copy)]
enum Via {
    /// Once.
    Dispatch,
    /// An exit that was left through the stub at this host address leads there.
    Link(usize),
    /// A computed jump leads there.
    Computed,
}

/// Why the dispatcher returns.
enum Leave {
    /// The loop has to look.
    Look,
    /// The guest stopped.
    Stop(Stop),
}

impl From<Option<Stop>> for Leave {
    fn from(stop: Option<Stop>) -> Self {
        stop.map_or(Leave::Look, Leave::Stop)
    }
}

/// Which mode of a lane has which jump cache.
#[derive(Default)]
struct Modes {
    caches: [Option<JumpCacheOf>; JUMP_CACHES],
    uses: u64,
}

/// A jump cache in use.
#[derive(Clone, Copy)]
struct JumpCacheOf {
    mode: u64,
    /// When it was used last.
    used: u64,
    /// Whether what it leads to may have moved.
    stale: bool,
}

impl Modes {
    /// The jump cache of a mode, and whether it has to be emptied.
    fn choose(&mut self, mode: u64) -> (usize, bool) {
        self.uses += 1;
        let known = self.caches.iter().position(|cache| cache.is_some_and(|c| c.mode == mode));
        let oldest = || (0..JUMP_CACHES).min_by_key(|&i| self.caches[i].map_or(0, |c| c.used)).unwrap_or(0);
        let index = known.unwrap_or_else(oldest);
        let is_new = known.is_none() || self.caches[index].is_some_and(|c| c.stale);
        self.caches[index] = Some(JumpCacheOf { mode, used: self.uses, stale: false });
        (index, is_new)
    }
    /// Code may have moved.
    fn forget(&mut self) {
        self.caches.iter_mut().flatten().for_each(|cache| cache.stale = true);
    }
}

/// Runs compiled code.
pub struct JitRunner {
    guest: Arc<dyn SystemGuest>,
    running: Box<Running>,
    /// One for each lane.
    steppers: Vec<Stepper>,
    work: Work,
    lane: usize,
    mode: u64,
    /// One for each lane.
    modes: Vec<Modes>,
    /// Whether the host's x87 unit holds the guest's, instead of the save image.
    fpu_live: bool,
    /// Compiled code's stack is no place for a signal frame.
    _stack: AltStack,
}

impl JitRunner {
    /// A runner of the calling thread with that state; each lane of the guest has a JIT.
    ///
    /// # Errors
    /// What the host refuses, as text.
    pub fn new(
        guest: Arc<dyn SystemGuest>,
        jits: &[Arc<Jit>],
        mmu: &Rc<Mmu>,
        state: Box<CpuState>,
    ) -> Result<Self, String> {
        let refused = |e| format!("no memory for compiled code: {e:?}");
        let stack = AltStack::install().map_err(refused)?;
        let running = Box::new(Running::for_machine(jits, mmu.clone(), state).map_err(refused)?);
        let steppers = jits.iter().map(|_| Stepper::new()).collect();
        let modes = jits.iter().map(|_| Modes::default()).collect();
        // No guest has the mode of all ones, so that the first run chooses a jump cache.
        let (work, mode) = (Work::default(), u64::MAX);
        Ok(JitRunner { guest, running, steppers, work, lane: 0, mode, modes, fpu_live: false, _stack: stack })
    }
    /// Takes over what the state and the translations of addresses say now.
    fn prepare(&mut self, mmu: &Mmu) {
        let state = &mut *self.running.state;
        mmu.set_context(state);
        let lane = self.guest.lane(state);
        let is_other_lane = lane != self.lane;
        if is_other_lane {
            self.save_fpu();
            self.lane = lane;
            self.running.set_lane(lane);
        }
        let mode = self.running.jit.core.guest.mode(&self.running.state);
        let flushed = mmu.take_flushed();
        if flushed {
            self.running.state.header.exit_request.fetch_and(!FLUSHED, Ordering::SeqCst);
            self.modes.iter_mut().for_each(Modes::forget);
        }
        if mode != self.mode || flushed || is_other_lane {
            self.mode = mode;
            let (index, is_new) = self.modes[lane].choose(mode);
            let Running { member, state, .. } = &mut *self.running;
            member.choose_jumps(index);
            if is_new {
                member.clear_jumps();
            }
            state.header.jump_cache = member.jump_cache() as u64;
            self.running.empty_shadow();
        }
    }
    /// Runs until the loop has to look.
    fn dispatch(&mut self, mmu: &Mmu) -> Leave {
        let mut via = Via::Dispatch;
        loop {
            if self.running.member.pin() {
                self.running.empty_shadow();
                via = Via::Dispatch;
            }
            if self.running.state.header.exit_request.load(Ordering::Relaxed) != 0 {
                return Leave::Look;
            }
            let key = match crate::interp::key(&self.running.jit.core, mmu, &self.running.state) {
                Ok(Some(key)) => key,
                Ok(None) => return self.alone(mmu),
                Err(stop) => return Leave::Stop(stop),
            };
            let entry = match self.find(key, via) {
                Some(entry) => entry,
                None => match self.make(mmu, key) {
                    Ok(()) => continue,
                    Err(leave) => return leave,
                },
            };
            match self.enter(entry) {
                Ok(next) => via = next,
                Err(Some(leave)) => return leave,
                Err(None) => return self.alone(mmu),
            }
        }
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
    /// Translates, or interprets what cannot be compiled.
    fn make(&mut self, mmu: &Mmu, key: Key) -> Result<(), Leave> {
        self.running.member.unpin();
        let Running { jit, .. } = &*self.running;
        let stepper = &mut self.steppers[self.lane];
        let lifted = match stepper.find(&jit.core, key) {
            Some(lifted) => lifted,
            None => match jit.translate(&mut self.work, mmu, key).map_err(Leave::Stop)? {
                Outcome::Placed => return Ok(()),
                Outcome::Lifted(lifted) => lifted,
                Outcome::Contended => return Err(self.alone(mmu)),
            },
        };
        self.save_fpu();
        let Running { jit, state, .. } = &mut *self.running;
        Err(self.steppers[self.lane].run(&jit.core, mmu, state, &lifted).into())
    }
    /// Interprets one instruction.
    fn alone(&mut self, mmu: &Mmu) -> Leave {
        self.running.member.unpin();
        self.save_fpu();
        let Running { jit, state, .. } = &mut *self.running;
        self.steppers[self.lane].alone(&jit.core, mmu, state).into()
    }
    /// Runs compiled code from an entry; says how it was left. Nothing: one instruction is to be interpreted.
    fn enter(&mut self, entry: usize) -> Result<Via, Option<Leave>> {
        self.load_fpu();
        let reason = self.running.enter(entry);
        let header = &self.running.state.header;
        let stop = match reason {
            Some(ExitReason::Link) => return Ok(Via::Link(header.exit_arg as usize)),
            Some(ExitReason::Indirect) => return Ok(Via::Computed),
            Some(ExitReason::Safepoint) => return Err(Some(Leave::Look)),
            Some(ExitReason::Syscall) => Stop::Syscall(header.exit_code as u32),
            Some(ExitReason::Exception) => {
                Stop::Trap(Trap::Exception { code: header.exit_code as u32, arg: header.exit_arg })
            }
            Some(ExitReason::Halt) => Stop::Halt,
            Some(ExitReason::Fault | ExitReason::Helper) => match self.running.take_pending() {
                Some(Pending::Trap(trap)) => Stop::Trap(trap),
                Some(Pending::Alone | Pending::Interpret) => return Err(None),
                None => return Err(Some(Leave::Look)),
            },
            None => unreachable!("the thunks store a reason"),
        };
        Err(Some(Leave::Stop(stop)))
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

impl Runner for JitRunner {
    fn state(&mut self) -> &mut CpuState {
        &mut self.running.state
    }
    fn complete(&mut self) {
        self.save_fpu();
    }
    fn request(&self) -> *const AtomicU32 {
        &raw const self.running.state.header.exit_request
    }
    fn run(&mut self, mmu: &Mmu) -> Option<Stop> {
        self.running.make_current();
        self.prepare(mmu);
        let leave = self.dispatch(mmu);
        self.running.member.unpin();
        match leave {
            Leave::Look => None,
            Leave::Stop(stop) => Some(stop),
        }
    }
    fn step(&mut self, mmu: &Mmu) -> Option<Stop> {
        self.running.make_current();
        self.prepare(mmu);
        match self.alone(mmu) {
            Leave::Look => None,
            Leave::Stop(stop) => Some(stop),
        }
    }
}
