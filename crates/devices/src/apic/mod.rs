//! Local APICs, one per processor, and the bus between them, the I/O APICs and whatever sends messages.
//!
//! References: Intel SDM volume 3, chapter 11 (APIC) and section 11.12 (x2APIC).
//!
//! # Locks
//!
//! A local APIC is never locked while another one is, or while the I/O APIC or the PIC is asked something: what a
//! register write causes elsewhere happens after the writer's lock has been released.

mod local;
mod registers;

#[cfg(test)]
mod tests;

pub use local::State;

use isamorph_accel::{Controller, Signals, Wires};
use isamorph_device::{BadState, Clock, Device, Exclusive, Line, LineSink, Snapshot, Timer};
use isamorph_space::{Io, IoError, initiator};
use local::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// How a message is delivered, in the encoding of ICR, LVT and redirection entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// The vector, to every destination.
    Fixed,
    /// The vector, to the one that does the least important work.
    LowestPriority,
    /// System management.
    Smi,
    /// Not maskable.
    Nmi,
    /// Initialisation.
    Init,
    /// Start-up, at the page of that number.
    Startup,
    /// The vector comes from the PIC.
    External,
}

impl Delivery {
    /// From bits 10:8; nothing for the reserved one.
    pub fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits & 7 {
            0 => Delivery::Fixed,
            1 => Delivery::LowestPriority,
            2 => Delivery::Smi,
            4 => Delivery::Nmi,
            5 => Delivery::Init,
            6 => Delivery::Startup,
            7 => Delivery::External,
            _ => return None,
        })
    }
}

/// Whom a message is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Destination {
    /// A number, or a set of them.
    pub address: u32,
    /// It is compared with logical destination registers.
    pub logical: bool,
    /// It has 32 bits, not 8: all ones are then 32 ones.
    pub wide: bool,
}

/// A message to local APICs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// For whom.
    pub to: Destination,
    /// How.
    pub delivery: Delivery,
    /// The vector, where there is one.
    pub vector: u8,
    /// It comes from a level, and the sender wants to know about the end of the interrupt.
    pub level: bool,
}

impl Message {
    /// The message that a write to the interrupt area means (section 11.11): `address` is the offset in the area.
    /// Nothing if its delivery mode is reserved.
    pub fn signalled(address: u64, data: u32) -> Option<Self> {
        let to = Destination { address: (address >> 12 & 0xff) as u32, logical: address & 4 != 0, wide: false };
        let delivery = Delivery::from_bits(u64::from(data >> 8))?;
        Some(Message { to, delivery, vector: data as u8, level: data & 0x8000 != 0 })
    }
}

/// Someone who wants to know about the ends of interrupts that come from levels: an I/O APIC.
pub trait EoiListener: Send + Sync {
    /// A processor has ended an interrupt with that vector.
    fn end_of_interrupt(&self, vector: u8);
}

/// A processor on the bus.
pub struct Processor {
    /// Its APIC's number after a reset.
    pub id: u32,
    /// Its inputs.
    pub wires: Arc<Wires>,
}

/// When a processor's time stamp counter has a value, on the clock: number of the processor, value.
pub type TscToClock = Arc<dyn Fn(usize, u64) -> u64 + Send + Sync>;

/// What the processors' APICs can do besides the usual.
#[derive(Clone)]
pub struct Options {
    /// There is an x2APIC mode.
    pub x2apic: bool,
    /// The timer can compare the time stamp counter, which that function maps to the clock.
    pub tsc_deadline: Option<TscToClock>,
}

/// What a change of a local APIC causes elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Effect {
    #[default]
    Nothing,
    /// A message to those that it addresses.
    Send(Message),
    /// One to the sender itself, if `with_self`, and to all others, if `with_others`.
    Broadcast { message: Message, with_self: bool, with_others: bool },
    /// The end of an interrupt that came from a level.
    EndOfInterrupt(u8),
}

/// One processor's local APIC.
pub struct Apic {
    index: usize,
    bus: Weak<ApicBus>,
    wires: Arc<Wires>,
    clock: Arc<dyn Clock>,
    state: Exclusive<State>,
    timer: OnceLock<Timer>,
    options: Options,
    name: String,
}

impl Apic {
    fn new(bus: &Weak<ApicBus>, clock: &Arc<dyn Clock>, index: usize, at: Processor, options: Options) -> Arc<Self> {
        let apic = Arc::new(Apic {
            index,
            bus: bus.clone(),
            wires: at.wires,
            clock: clock.clone(),
            state: Exclusive::new(State::new(at.id, index == 0)),
            timer: OnceLock::new(),
            options,
            name: format!("apic{index}"),
        });
        let weak = Arc::downgrade(&apic);
        let _ = apic.timer.set(Timer::new(clock, move || {
            if let Some(apic) = weak.upgrade() {
                let _ = apic.change(State::tick);
            }
        }));
        apic.wires.connect(apic.clone());
        apic
    }
    /// Changes the state, then drives the processor's input and arms the timer.
    fn change<R>(&self, f: impl FnOnce(&mut State, u64) -> R) -> Result<R, IoError> {
        let mut state = self.state.enter()?;
        let now = self.clock.now();
        let result = f(&mut state, now);
        // A deadline that has passed already need not wait for the host's timer.
        state.tick(now);
        if state.wants_processor() {
            self.wires.raise(Signals::INTERRUPT);
        } else {
            self.wires.lower(Signals::INTERRUPT);
        }
        if let Some(timer) = self.timer.get() {
            match state.next_tick() {
                // Arming is dear, and most changes have nothing to do with the timer.
                Some(at) if timer.deadline() != Some(at) => timer.set(at),
                None if timer.deadline().is_some() => timer.cancel(),
                _ => {}
            }
        }
        Ok(result)
    }
    /// As [`Apic::change`], with effects elsewhere.
    fn act(&self, f: impl FnOnce(&mut State, u64) -> Effect) -> Result<(), IoError> {
        let effect = self.change(f)?;
        if let Some(bus) = self.bus.upgrade() {
            bus.perform(self.index, effect);
        }
        Ok(())
    }
    /// A message has arrived.
    fn deliver(&self, message: &Message) {
        let signal = match message.delivery {
            Delivery::Fixed | Delivery::LowestPriority => {
                let _ = self.change(|state, _| state.accept(message.vector, message.level));
                return;
            }
            Delivery::External => {
                let _ = self.change(|state, _| state.expect_external());
                return;
            }
            Delivery::Startup => return self.wires.start(message.vector),
            Delivery::Init => {
                let _ = self.change(|state, _| state.initialise());
                Signals::INIT
            }
            Delivery::Smi => Signals::SMI,
            Delivery::Nmi => Signals::NMI,
        };
        self.wires.raise(signal);
    }
    /// A local pin has that level.
    fn set_pin(&self, pin: Pin, level: bool) {
        let delivery = self.change(|state, _| state.set_pin(pin, level)).unwrap_or(None);
        if let Some(delivery) = delivery {
            let to = Destination { address: 0, logical: false, wide: false };
            self.deliver(&Message { to, delivery, vector: 0, level: false });
        }
    }
    /// The registers, as the monitor shows them.
    pub fn describe(&self) -> String {
        let now = self.clock.now();
        self.state.enter().map_or_else(|_| String::new(), |state| state.describe(now))
    }
}

impl Controller for Apic {
    fn acknowledge(&self) -> Option<u8> {
        let taken = self.change(|state, _| state.acknowledge()).ok()?;
        match taken {
            local::Taken::Vector(vector) => Some(vector),
            local::Taken::Nothing => None,
            // The PIC drives this APIC's input when it answers.
            local::Taken::AskPic => self.bus.upgrade().and_then(|bus| Some((bus.pic.get()?)())),
        }
    }
    fn read(&self, register: u32) -> Option<u64> {
        self.read_msr(register)
    }
    fn write(&self, register: u32, value: u64) -> Option<()> {
        self.write_msr(register, value)
    }
}

impl Device for Apic {
    fn name(&self) -> &str {
        &self.name
    }
    fn reset(&self) {
        if let Ok(mut state) = self.state.enter() {
            state.reset();
        }
    }
    fn drive(&self) {
        let _ = self.change(|_, _| ());
    }
}

impl Snapshot for Apic {
    type State = State;
    fn save(&self) -> State {
        self.state.enter().map_or_else(|_| State::new(0, false), |state| state.clone())
    }
    fn restore(&self, saved: &State) -> Result<(), BadState> {
        saved.check(self.options.x2apic)?;
        if let Ok(mut state) = self.state.enter() {
            state.clone_from(saved);
        }
        Ok(())
    }
}

/// Asks the PIC for a vector.
type Acknowledge = Box<dyn Fn() -> u8 + Send + Sync>;

/// The bus with all local APICs.
pub struct ApicBus {
    apics: Vec<Arc<Apic>>,
    listeners: Mutex<Vec<Weak<dyn EoiListener>>>,
    pic: OnceLock<Acknowledge>,
}

impl ApicBus {
    /// A bus with the APICs of those processors, connected to their wires. The first processor is the one that boots.
    pub fn new(clock: &Arc<dyn Clock>, processors: Vec<Processor>, options: &Options) -> Arc<Self> {
        Arc::new_cyclic(|bus| {
            let connect = |(index, processor)| Apic::new(bus, clock, index, processor, options.clone());
            let apics = processors.into_iter().enumerate().map(connect).collect();
            ApicBus { apics, listeners: Mutex::default(), pic: OnceLock::new() }
        })
    }
    /// The APICs, in the order of the processors.
    pub fn apics(&self) -> &[Arc<Apic>] {
        &self.apics
    }
    /// All of them as devices.
    pub fn devices(&self) -> Vec<Arc<dyn Device>> {
        self.apics.iter().map(|apic| apic.clone() as Arc<dyn Device>).collect()
    }
    /// How the PIC is asked for its vector; once.
    pub fn set_pic(&self, acknowledge: impl Fn() -> u8 + Send + Sync + 'static) {
        // The first one stays.
        let _ = self.pic.set(Box::new(acknowledge));
    }
    /// The wire for the PIC's output: pin LINT0 of every processor, and the interrupt input itself of the one that
    /// boots while its APIC is off.
    pub fn pic_output(self: &Arc<Self>) -> Line {
        Line::new(Arc::new(Pins { bus: Arc::downgrade(self), pin: Pin::Lint0 }), 0)
    }
    /// The wire for the machine's non-maskable interrupt: pin LINT1 of every processor.
    pub fn nmi_input(self: &Arc<Self>) -> Line {
        Line::new(Arc::new(Pins { bus: Arc::downgrade(self), pin: Pin::Lint1 }), 0)
    }
    /// From now on `listener` hears of the ends of interrupts that come from levels.
    pub fn listen(&self, listener: Weak<dyn EoiListener>) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
    }
    /// The interrupt area: 1 MiB at 0xfee00000, accessed four bytes at a time. The first page is the local APIC of
    /// the processor that makes the access; writes elsewhere are messages.
    pub fn mmio(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(Area(Arc::downgrade(self)))
    }
    /// Sends a message.
    pub fn send(&self, message: &Message) {
        let addressed = |apic: &&Arc<Apic>| apic.state.enter().is_ok_and(|state| state.is_addressed(&message.to));
        let addressed: Vec<&Arc<Apic>> = self.apics.iter().filter(addressed).collect();
        if message.delivery == Delivery::LowestPriority {
            // A processor that has the interrupt already (section 11.6.2.4), else the least important work.
            let rank = |apic: &&&Arc<Apic>| apic.state.enter().map_or(u8::MAX, |state| state.rank(message.vector));
            addressed.iter().min_by_key(rank).into_iter().for_each(|apic| apic.deliver(message));
        } else {
            addressed.iter().for_each(|apic| apic.deliver(message));
        }
    }
    fn perform(&self, from: usize, effect: Effect) {
        match effect {
            Effect::Nothing => {}
            Effect::Send(message) => self.send(&message),
            Effect::Broadcast { message, with_self, with_others } => {
                let reached = |apic: &&Arc<Apic>| if apic.index == from { with_self } else { with_others };
                self.apics.iter().filter(reached).for_each(|apic| apic.deliver(&message));
            }
            Effect::EndOfInterrupt(vector) => {
                let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
                listeners.iter().filter_map(Weak::upgrade).for_each(|listener| listener.end_of_interrupt(vector));
            }
        }
    }
}

/// A wire to the same pin of all processors.
struct Pins {
    bus: Weak<ApicBus>,
    pin: Pin,
}

impl LineSink for Pins {
    fn set(&self, _input: u32, level: bool) {
        if let Some(bus) = self.bus.upgrade() {
            bus.apics.iter().for_each(|apic| apic.set_pin(self.pin, level));
        }
    }
}

struct Area(Weak<ApicBus>);

impl Area {
    fn with<R>(&self, f: impl FnOnce(&ApicBus, &Apic) -> Result<R, IoError>) -> Result<R, IoError> {
        let bus = self.0.upgrade().ok_or(IoError::Refused)?;
        f(&bus, bus.apics.get(initiator::get() as usize).ok_or(IoError::Refused)?)
    }
}

impl Io for Area {
    fn read(&self, offset: u64, _size: u32) -> Result<u64, IoError> {
        self.with(|_, apic| if offset < 0x1000 { apic.read_mapped(offset).map(u64::from) } else { Ok(0) })
    }
    fn write(&self, offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        // The first 16 bytes are reserved in the APIC, so that a write there can only be a message to number 0.
        if (0x10..0x1000).contains(&offset) {
            return self.with(|_, apic| apic.write_mapped(offset, value as u32));
        }
        self.with(|bus, _| {
            if let Some(message) = Message::signalled(offset, value as u32) {
                bus.send(&message);
            }
            Ok(())
        })
    }
}
