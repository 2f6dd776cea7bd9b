//! The loop of a machine's processor: signals from outside, exceptions of the guest, halts.

use crate::system::mmu::{Mmu, Surroundings};
use crate::system::observer::{KICK, Request};
use crate::trace::{Trace, TraceSink};
use isamorph_accel::{Left, Processor, Signals, Stop, Wires};
use isamorph_guest::{Delivered, Event};
use isamorph_ir::{CpuState, HelperCx};
use isamorph_space::initiator;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs guest code between two looks at what else there is.
pub trait Runner {
    /// The state; floating-point registers may be elsewhere until [`Runner::complete`].
    fn state(&mut self) -> &mut CpuState;
    /// Brings the floating-point registers into the state.
    fn complete(&mut self) {}
    /// The exit request of the state.
    fn request(&self) -> *const AtomicU32;
    /// Runs until the loop has to look: at a stop, or, if there is none, at signals and at what the guest may have
    /// changed.
    fn run(&mut self, mmu: &Mmu) -> Option<Stop>;
    /// Runs one instruction, breakpoint or not.
    fn step(&mut self, mmu: &Mmu) -> Option<Stop>;
}

/// A processor of a machine.
pub struct MachineProcessor {
    around: Surroundings,
    index: u32,
    mmu: Rc<Mmu>,
    runner: Box<dyn Runner>,
    wires: Arc<Wires>,
    request: Arc<Request>,
    /// Where the program counter was when the processor halted. Whoever moves it has the processor go on.
    halted: Option<u64>,
    /// What was last told about address line 20.
    line_20_low: bool,
    /// Whether the state may have been changed from outside.
    touched: bool,
    log: Option<Arc<dyn TraceSink>>,
}

impl MachineProcessor {
    /// Processor `index` with that way to memory, run by `runner`.
    pub fn new(
        around: Surroundings,
        index: u32,
        mmu: Rc<Mmu>,
        runner: Box<dyn Runner>,
        wires: Arc<Wires>,
        log: Arc<dyn TraceSink>,
    ) -> Self {
        let request = Self::attach(&*runner, &wires);
        around.observer.add(mmu.tlb().tables().clone(), request.clone());
        let log = log.wanted().contains(Trace::INT).then_some(log);
        MachineProcessor {
            around,
            index,
            mmu,
            runner,
            wires,
            request,
            halted: None,
            line_20_low: false,
            touched: true,
            log,
        }
    }
    /// Has signals kick the vCPU.
    #[allow(unsafe_code)] // the exit request lies in the vCPU's state
    fn attach(runner: &dyn Runner, wires: &Wires) -> Arc<Request> {
        // SAFETY: `drop` detaches it before the runner, and the state in it, goes.
        let request = unsafe { Request::new(runner.request()) };
        let kicked = request.clone();
        wires.attach(Some(Box::new(move || kicked.raise(KICK))));
        request
    }
    /// Has the guest take an event.
    fn deliver(&mut self, event: Event) -> Result<(), Left> {
        if let Some(log) = &self.log {
            let pc = self.runner.state().pc();
            log.text(Trace::INT, &format!("{}: {event:x?} at {pc:#x}\n", self.index));
        }
        self.halted = None;
        let mut cx = HelperCx { state: self.runner.state(), mem: &*self.mmu };
        let delivered = self.around.guest.deliver(&mut cx, event);
        self.mmu.set_context(cx.state);
        match delivered {
            Delivered::Done => Ok(()),
            Delivered::Shutdown => Err(Left::Shutdown),
        }
    }
    /// Takes notice of what is pending, most urgent first; says what the caller has to do with it.
    fn look(&mut self) -> Result<(), Left> {
        loop {
            let pending = self.wires.pending();
            let low = pending.contains(Signals::LINE_20_LOW);
            if low != self.line_20_low {
                self.line_20_low = low;
                let halted = self.halted;
                self.deliver(Event::AddressLine20(!low))?;
                self.halted = halted;
                continue;
            }
            let wake = self.around.guest.wake(self.runner.state());
            if self.take(pending, Signals::INIT) {
                self.deliver(Event::Init { boot: self.index == 0 })?;
            } else if pending.contains(Signals::START) {
                self.wires.take(Signals::START);
                if wake.waits_for_start {
                    self.deliver(Event::Start(self.wires.start_vector()))?;
                }
            } else if pending.contains(Signals::ATTENTION) {
                return Err(Left::Attention);
            } else if wake.waits_for_start {
                return Err(Left::Halted);
            } else if wake.smi && self.take(pending, Signals::SMI) {
                self.deliver(Event::Smi)?;
            } else if let Some(trap) = wake.trap.filter(|_| self.halted.is_none()) {
                self.deliver(Event::Trap(trap))?;
            } else if wake.nmi && self.take(pending, Signals::NMI) {
                self.deliver(Event::Nmi)?;
            } else if wake.interrupt && pending.contains(Signals::INTERRUPT) {
                let vector = self.wires.controller().and_then(|controller| controller.acknowledge());
                match vector {
                    Some(vector) => self.deliver(Event::Interrupt(vector))?,
                    // It has gone, and its level with it or soon.
                    None => return self.go_on(),
                }
            } else {
                return self.go_on();
            }
        }
    }
    /// Takes a signal if it is among those that were pending.
    fn take(&self, pending: Signals, signal: Signals) -> bool {
        pending.contains(signal) && !self.wires.take(signal).is_empty()
    }
    /// Nothing is pending that would wake a halted processor.
    fn go_on(&self) -> Result<(), Left> {
        if self.halted.is_some() { Err(Left::Halted) } else { Ok(()) }
    }
    /// Takes over what may have been changed from outside.
    fn begin(&mut self) {
        initiator::set(self.index);
        if std::mem::take(&mut self.touched) {
            self.mmu.reload(self.runner.state());
            let pc = self.runner.state().pc();
            self.halted = self.halted.filter(|at| *at == pc);
        }
    }
    /// Serves a stop of the runner.
    fn serve(&mut self, stop: Stop) -> Result<(), Left> {
        match stop {
            Stop::Trap(trap) => self.deliver(Event::Trap(trap)),
            Stop::Breakpoint => Err(Left::Breakpoint),
            Stop::Halt => {
                self.halted = Some(self.runner.state().pc());
                Ok(())
            }
            Stop::Interrupted => Ok(()),
            // A machine has no system calls that leave it.
            Stop::Syscall(_) => Err(Left::Failed),
        }
    }
}

impl Processor for MachineProcessor {
    fn run(&mut self) -> Left {
        self.begin();
        let left = loop {
            // Before the look, so that what comes after it is seen the next time.
            clear(self.runner.request());
            self.mmu.follow_map();
            if let Err(left) = self.look() {
                break left;
            }
            if let Some(stop) = self.runner.run(&self.mmu)
                && let Err(left) = self.serve(stop)
            {
                break left;
            }
        };
        self.runner.complete();
        left
    }
    fn step(&mut self) -> Option<Left> {
        self.begin();
        match self.look() {
            // Whoever has it step has its thread's attention.
            Ok(()) | Err(Left::Attention) => {}
            Err(left) => return Some(left),
        }
        let stop = self.runner.step(&self.mmu);
        self.runner.complete();
        self.serve(stop?).err()
    }
    fn state(&mut self) -> &CpuState {
        self.runner.complete();
        self.runner.state()
    }
    fn state_mut(&mut self) -> &mut CpuState {
        self.runner.complete();
        self.touched = true;
        self.runner.state()
    }
    fn translate(&mut self, addr: u64) -> Option<u64> {
        if self.touched {
            self.begin();
        }
        self.mmu.look(addr)
    }
}

/// Grants an exit request: whoever made it has changed what it is about before.
#[allow(unsafe_code)] // the exit request lies in the vCPU's state
fn clear(request: *const AtomicU32) {
    // SAFETY: it is that of a runner that is alive.
    unsafe { &*request }.swap(0, Ordering::SeqCst);
}

impl Drop for MachineProcessor {
    fn drop(&mut self) {
        self.wires.attach(None);
        self.request.detach();
        self.around.observer.remove(self.mmu.tlb().tables());
    }
}
