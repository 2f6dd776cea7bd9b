//! A machine that has been built: what runs it, and what can be done with it from outside.

use crate::control::{Actions, Cause, Control, Due, Event, PanicAction, RunState};
use crate::drives::DriveSetup;
use crate::processor::{Context, Thread};
use crate::timers::Timers;
use crate::turns::Turns;
use isamorph_accel::{Processor, Processors, Signals, Wires};
use isamorph_device::{Device, VirtualClock};
use isamorph_devices::apic::ApicBus;
use isamorph_devices::ioapic::IoApic;
use isamorph_devices::pci::PciBus;
use isamorph_devices::pic::Pic;
use isamorph_display::Screen;
use isamorph_display::input::Input;
use isamorph_guest::SystemGuest;
use isamorph_ir::{CpuState, RegId, RegTable};
use isamorph_space::{AddressSpace, Map};
use std::sync::{Arc, Mutex, PoisonError};

/// Something to be done when something happens to the machine.
pub(crate) type Hook = Box<dyn Fn() + Send + Sync>;

/// Chips that monitors show something of, as far as the board has them.
#[derive(Clone, Default)]
pub struct Chips {
    /// The first PCI bus.
    pub bus: Option<Arc<PciBus>>,
    /// The pair of 8259s.
    pub pic: Option<Arc<Pic>>,
    /// The processors' interrupt controllers.
    pub apics: Option<Arc<ApicBus>>,
    /// The I/O APIC.
    pub io_apic: Option<Arc<IoApic>>,
}

/// Where a processor starts that does not start at its firmware.
#[derive(Clone)]
pub(crate) struct Entry {
    pub processor: u32,
    /// Physical address.
    pub addr: u64,
    /// Registers with their values.
    pub registers: Vec<(&'static RegTable, RegId, u64)>,
}

/// What a board has made.
pub(crate) struct Parts {
    pub name: String,
    pub map: Arc<Map>,
    pub memory: Arc<AddressSpace>,
    pub ports: Arc<AddressSpace>,
    pub clock: Arc<VirtualClock>,
    pub guest: Arc<dyn SystemGuest>,
    pub wires: Vec<Arc<Wires>>,
    pub devices: Vec<Arc<dyn Device>>,
    pub control: Arc<Control>,
    /// Done after the devices' reset and before that of the processors: whatever a loader put into memory.
    pub on_reset: Vec<Hook>,
    /// Done when the power button is pressed.
    pub on_power_down: Vec<Hook>,
    /// Done when the machine has ended: data of the guest reaches the host.
    pub on_end: Vec<Hook>,
    pub drives: Vec<DriveSetup>,
    pub input: Arc<Input>,
    pub screens: Vec<Arc<dyn Screen>>,
    pub chips: Chips,
    /// Processors that start at a physical address of their own.
    pub entries: Vec<Entry>,
    /// Has a processor after its reset start there.
    pub enter: fn(&mut CpuState, u64),
    pub actions: Actions,
    pub ends_on_halt: bool,
}

/// A machine. Every method may be called from any thread but those of its processors, and not from a device or a
/// subscriber to its events.
pub struct Machine {
    parts: Parts,
    processors: Vec<Thread>,
    timers: Timers,
    turns: Option<Arc<Turns>>,
    /// How the processors are run.
    accelerator: Arc<dyn Processors>,
    /// Held while the processors are started and stopped.
    running: Mutex<bool>,
}

impl Machine {
    /// Starts the threads of a machine; its processors do not run yet.
    pub(crate) fn new(parts: Parts, accelerator: Arc<dyn Processors>, by_turns: bool) -> Result<Arc<Self>, String> {
        let timers = Timers::start(&parts.clock).map_err(|e| e.to_string())?;
        let turns = (by_turns && parts.wires.len() > 1).then(Turns::new);
        let (processors, control, ends_on_halt) = (accelerator.clone(), parts.control.clone(), parts.ends_on_halt);
        let context = Context { processors, control, turns: turns.clone(), ends_on_halt };
        let start = |(index, wires): (usize, &Arc<Wires>)| {
            let mut state = CpuState::new();
            parts.guest.reset(&mut state, index as u32);
            Thread::start(&context, index as u32, state, wires.clone())
        };
        let processors = parts.wires.iter().enumerate().map(start).collect::<Result<_, _>>()?;
        let machine = Machine { parts, processors, timers, turns, accelerator, running: Mutex::new(false) };
        machine.reset_all();
        Ok(Arc::new(machine))
    }

    /// Name of the board.
    pub fn name(&self) -> &str {
        &self.parts.name
    }
    /// What it is doing.
    pub fn state(&self) -> RunState {
        self.parts.control.state()
    }
    /// Its memory map.
    pub fn map(&self) -> &Arc<Map> {
        &self.parts.map
    }
    /// Memory as processors see it.
    pub fn memory(&self) -> &Arc<AddressSpace> {
        &self.parts.memory
    }
    /// The I/O ports.
    pub fn ports(&self) -> &Arc<AddressSpace> {
        &self.parts.ports
    }
    /// The guest's clock.
    pub fn clock(&self) -> &Arc<VirtualClock> {
        &self.parts.clock
    }
    /// Its devices, in the order in which they are reset.
    pub fn devices(&self) -> &[Arc<dyn Device>] {
        &self.parts.devices
    }
    /// The device of that name.
    pub fn device(&self, name: &str) -> Option<&Arc<dyn Device>> {
        self.parts.devices.iter().find(|device| device.name() == name)
    }
    /// Its drives.
    pub fn drives(&self) -> &[DriveSetup] {
        &self.parts.drives
    }
    /// The way of keys and pointers to its devices.
    pub fn input(&self) -> &Arc<Input> {
        &self.parts.input
    }
    /// What its displays show.
    pub fn screens(&self) -> &[Arc<dyn Screen>] {
        &self.parts.screens
    }
    /// Its interrupt controllers and buses.
    pub fn chips(&self) -> &Chips {
        &self.parts.chips
    }
    /// How many processors it has.
    pub fn processor_count(&self) -> u32 {
        self.processors.len() as u32
    }
    /// The architecture of its processors.
    pub fn guest(&self) -> &Arc<dyn SystemGuest> {
        &self.parts.guest
    }
    /// What runs its processors.
    pub fn accelerator(&self) -> &Arc<dyn Processors> {
        &self.accelerator
    }
    /// Does something with a processor on its own thread, between two instructions, and waits for the result. Nothing
    /// if there is no such processor.
    pub fn with_processor<R: Send + 'static>(
        &self,
        index: u32,
        job: impl FnOnce(&mut dyn Processor) -> R + Send + 'static,
    ) -> Option<R> {
        self.processors.get(index as usize).map(|thread| thread.with(job))
    }
    /// Sends a processor a non-maskable interrupt.
    pub fn send_nmi(&self, index: u32) {
        if let Some(thread) = self.processors.get(index as usize) {
            thread.wires().raise(Signals::NMI);
        }
    }
    /// Has `heard` told of every event from now on; it must not wait for the machine.
    pub fn subscribe(&self, heard: impl Fn(Event) + Send + Sync + 'static) {
        self.parts.control.subscribe(heard);
    }

    fn ask(&self, change: impl FnOnce(&mut Due)) {
        let control = &self.parts.control;
        control.wait_for(control.ask(change));
    }
    /// Stops it, and returns when it stands.
    pub fn pause(&self) {
        self.ask(|due| due.stop = Some(RunState::Paused));
    }
    /// Lets it go on as soon as [`Machine::run`] serves it. Does not wait.
    pub fn start(&self) {
        let _ = self.parts.control.ask(|due| due.resume = true);
    }
    /// Lets it go on.
    pub fn resume(&self) {
        self.ask(|due| due.resume = true);
    }
    /// Resets it; it goes on or stands as before.
    pub fn reset(&self) {
        self.ask(|due| due.reset = Some(Cause::HostReset));
    }
    /// Presses its power button.
    pub fn power_down(&self) {
        self.ask(|due| due.power_down = true);
    }
    /// Wakes a guest that sleeps.
    pub fn wake_up(&self) {
        self.ask(|due| due.wake_up = true);
    }
    /// Ends it, whatever the actions say. Does not wait.
    pub fn quit(&self, cause: Cause) {
        let _ = self.parts.control.ask(|due| due.end = Some((cause, 0)));
    }

    /// Serves requests until the machine ends; returns the exit status. It belongs on the process's main thread.
    pub fn run(&self) -> i32 {
        let control = &self.parts.control;
        let status = loop {
            let (due, ticket) = control.take();
            let end = self.serve(due);
            control.served(ticket);
            if let Some(status) = end {
                break status;
            }
        };
        self.stand();
        self.parts.on_end.iter().for_each(|hook| hook());
        control.end();
        status
    }
    /// Serves requests in their order; the exit status if the machine ends.
    fn serve(&self, due: Due) -> Option<i32> {
        let control = &self.parts.control;
        if let Some(index) = due.breakpoint {
            self.stop(RunState::Debug);
            control.tell(Event::Breakpoint(index));
        }
        if due.suspend {
            self.stop(RunState::Suspended);
            control.tell(Event::Suspended);
        }
        let mut end = due.end;
        if due.panicked {
            end = end.or(self.panicked());
        }
        if let Some(status) = end.and_then(|(cause, status)| self.end(cause, status)) {
            return Some(status);
        }
        if let Some(status) = due.reset.and_then(|cause| self.serve_reset(cause)) {
            return Some(status);
        }
        if due.wake_up && self.state() == RunState::Suspended {
            self.reset_all();
            control.tell(Event::WokeUp);
            self.go();
        }
        if due.power_down {
            control.tell(Event::PowerDown);
            self.parts.on_power_down.iter().for_each(|hook| hook());
        }
        if let Some(state) = due.stop {
            self.stop(state);
        }
        if due.resume && !self.state().needs_reset() {
            self.go();
        }
        None
    }
    /// The guest has crashed: what follows from it.
    fn panicked(&self) -> Option<(Cause, i32)> {
        self.parts.control.tell(Event::Panicked);
        match self.parts.actions.panic {
            PanicAction::Shutdown if self.parts.actions.end_on_shutdown => Some((Cause::GuestPanic, 0)),
            PanicAction::Shutdown | PanicAction::Pause => {
                self.stop(RunState::GuestPanicked);
                None
            }
            PanicAction::ExitFailure => Some((Cause::GuestPanic, 1)),
            PanicAction::None => None,
        }
    }
    fn end(&self, cause: Cause, status: i32) -> Option<i32> {
        self.parts.control.tell(Event::Shutdown(cause));
        if cause == Cause::GuestShutdown && status == 0 && !self.parts.actions.end_on_shutdown {
            self.stop(RunState::Shutdown);
            return None;
        }
        Some(status)
    }
    fn serve_reset(&self, cause: Cause) -> Option<i32> {
        if cause == Cause::GuestReset && !self.parts.actions.reset_on_reboot {
            return self.end(Cause::GuestShutdown, 0);
        }
        let goes_on = self.stand();
        self.reset_all();
        self.parts.control.tell(Event::Reset(cause));
        if self.state().needs_reset() {
            self.parts.control.set_state(RunState::Paused);
        } else if goes_on {
            self.let_run();
        }
        None
    }

    /// Stops the processors and the clock; whether they ran.
    fn stand(&self) -> bool {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        self.processors.iter().for_each(Thread::stop);
        self.processors.iter().for_each(Thread::wait_until_it_stands);
        self.parts.clock.stop();
        std::mem::replace(&mut *running, false)
    }
    fn let_run(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        *running = true;
        self.parts.clock.start();
        self.timers.wake();
        self.processors.iter().for_each(Thread::run);
    }
    fn stop(&self, state: RunState) {
        let ran = self.stand();
        self.parts.control.set_state(state);
        if ran {
            self.parts.control.tell(Event::Stopped(state));
        }
    }
    fn go(&self) {
        if self.state() != RunState::Running {
            self.parts.control.set_state(RunState::Running);
            self.let_run();
            self.parts.control.tell(Event::Resumed);
        }
    }
    /// Resets everything in three phases: the devices' states, then the processors, then the lines that the devices
    /// drive. The processors stand.
    fn reset_all(&self) {
        self.parts.devices.iter().for_each(|device| device.reset());
        self.parts.on_reset.iter().for_each(|hook| hook());
        for (index, thread) in self.processors.iter().enumerate() {
            let edges = Signals::NMI | Signals::SMI | Signals::INIT | Signals::START;
            thread.wires().take(edges | Signals::LINE_20_LOW);
            let guest = self.parts.guest.clone();
            let enter = self.parts.enter;
            let entry = self.parts.entries.iter().rfind(|entry| entry.processor == index as u32).cloned();
            let waits = index != 0 && entry.is_none();
            thread.with(move |processor| {
                let state = processor.state_mut();
                guest.reset(state, index as u32);
                if let Some(entry) = entry {
                    enter(state, entry.addr);
                    entry.registers.iter().for_each(|(table, register, value)| state.set(table, *register, *value));
                }
            });
            // The others wait until the first one starts them (SDM vol. 3, 9.4.1).
            if waits {
                thread.wires().raise(Signals::INIT);
            }
        }
        self.parts.devices.iter().for_each(|device| device.drive());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stand();
        if let Some(turns) = &self.turns {
            turns.close();
        }
    }
}
