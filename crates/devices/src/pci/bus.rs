//! Buses: places for functions, their wires, and interrupt routing.

use super::function::{Function, Layout, Wires};
use super::reg;
use isamorph_device::{Device, Dma, Gate, Line, LineSink};
use isamorph_space::{AddressSpace, Map, RegionId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// A place on a bus: slot 0 to 31, function 0 to 7.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Devfn(u8);

impl Devfn {
    /// That function of that slot.
    pub const fn new(slot: u8, function: u8) -> Self {
        Devfn(slot << 3 | function & 7)
    }
    /// As the byte of a configuration address.
    pub const fn from_byte(byte: u8) -> Self {
        Devfn(byte)
    }
    /// The byte of a configuration address.
    pub const fn byte(self) -> u8 {
        self.0
    }
    /// The slot.
    pub const fn slot(self) -> u8 {
        self.0 >> 3
    }
    /// The function.
    pub const fn function(self) -> u8 {
        self.0 & 7
    }
}

/// Where the interrupt pins of a bus lead: four lines, which the pins of successive slots use in turn.
#[derive(Clone, Debug)]
pub struct Pins {
    /// The lines.
    pub lines: [Line; 4],
    /// The line of slot 0's pin INTA; slot 1 has the next one.
    pub first: u8,
}

impl Pins {
    /// The number of the line that a pin (0 for INTA) of a slot is wired to.
    pub fn line_of(first: u8, slot: u8, pin: u8) -> u8 {
        first.wrapping_add(slot).wrapping_add(pin) & 3
    }
}

/// The interrupt pin of a function, behind the switch of its command register.
#[derive(Default)]
pub(super) struct Intx {
    levels: Mutex<Levels>,
    output: OnceLock<Line>,
}

#[derive(Default)]
struct Levels {
    wanted: bool,
    disabled: bool,
}

impl Intx {
    fn change(&self, change: impl FnOnce(&mut Levels)) {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let before = levels.wanted && !levels.disabled;
        change(&mut levels);
        let now = levels.wanted && !levels.disabled;
        if let Some(output) = self.output.get().filter(|_| before != now) {
            output.set(now);
        }
    }
    /// Whether the function wants an interrupt, whatever its switch says.
    pub(super) fn is_wanted(&self) -> bool {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner).wanted
    }
    pub(super) fn set_disabled(&self, disabled: bool) {
        self.change(|levels| levels.disabled = disabled);
    }
}

impl LineSink for Intx {
    fn set(&self, _input: u32, level: bool) {
        self.change(|levels| levels.wanted = level);
    }
}

/// The wires of a place on a bus, with which the chip that goes there is built.
#[derive(Clone)]
pub struct Socket {
    devfn: Devfn,
    intx: Arc<Intx>,
    dma: Dma,
}

impl Socket {
    /// The place.
    pub fn devfn(&self) -> Devfn {
        self.devfn
    }
    /// The interrupt line, which the function's [`pin`](super::Identity::pin) says the end of.
    pub fn interrupt(&self) -> Line {
        Line::new(self.intx.clone(), 0)
    }
    /// The way to memory; open while the function is a bus master.
    pub fn dma(&self) -> Dma {
        self.dma.clone()
    }
}

/// A bus.
pub struct PciBus {
    map: Arc<Map>,
    memory: RegionId,
    ports: RegionId,
    space: Arc<AddressSpace>,
    functions: Mutex<BTreeMap<Devfn, Arc<Function>>>,
    first_pin: u8,
    /// One per line, with an input per slot.
    lines: [Arc<Gate>; 4],
    /// One per pin of a slot, with an input per function.
    slots: Mutex<BTreeMap<(u8, u8), Arc<Gate>>>,
}

impl PciBus {
    /// An empty bus. Base addresses are addresses in the regions `memory` and `ports`; bus masters see `space`.
    pub fn new(map: &Arc<Map>, memory: RegionId, ports: RegionId, space: Arc<AddressSpace>, pins: Pins) -> Arc<Self> {
        let Pins { lines, first } = pins;
        Arc::new(PciBus {
            map: map.clone(),
            memory,
            ports,
            space,
            functions: Mutex::default(),
            first_pin: first,
            lines: lines.map(Gate::new),
            slots: Mutex::default(),
        })
    }
    fn functions_mut(&self) -> MutexGuard<'_, BTreeMap<Devfn, Arc<Function>>> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// The map that its regions are in.
    pub fn map(&self) -> &Arc<Map> {
        &self.map
    }
    /// What base addresses are addresses in: memory, ports.
    pub fn regions(&self) -> (RegionId, RegionId) {
        (self.memory, self.ports)
    }
    pub(super) fn master_space(&self) -> Arc<AddressSpace> {
        self.space.clone()
    }
    /// The wires of a place.
    pub fn socket(&self, devfn: Devfn) -> Socket {
        Socket { devfn, intx: Arc::default(), dma: Dma::new(self.space.clone(), false) }
    }
    /// Puts a function on the bus, instead of what was in its place.
    pub fn plug(&self, socket: &Socket, layout: Layout) -> Arc<Function> {
        let Socket { devfn, intx, dma } = socket.clone();
        let pin = layout.template.reset[reg::INTERRUPT + 1];
        let line = pin.checked_sub(1).map_or(Line::unconnected(), |pin| self.pin(devfn, pin));
        let _ = intx.output.set(line);
        let wires = Wires { devfn, intx, dma, map: self.map.clone(), memory: self.memory, ports: self.ports };
        let function = Function::new(layout, wires);
        self.functions_mut().insert(devfn, function.clone());
        function
    }
    /// The wire of a pin (0 for INTA) of a function.
    pub(super) fn pin(&self, devfn: Devfn, pin: u8) -> Line {
        let line = &self.lines[usize::from(Pins::line_of(self.first_pin, devfn.slot(), pin))];
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = slots.entry((devfn.slot(), pin)).or_insert_with(|| Gate::new(line.input(devfn.slot().into())));
        gate.input(devfn.function().into())
    }
    /// The function at a place.
    pub fn function(&self, devfn: Devfn) -> Option<Arc<Function>> {
        self.functions_mut().get(&devfn).cloned()
    }
    /// All functions in the order of their places.
    pub fn functions(&self) -> Vec<Arc<Function>> {
        self.functions_mut().values().cloned().collect()
    }
    /// The function at a place of a bus: number 0 is this one, others are behind bridges, which know their numbers.
    pub fn find(&self, bus: u8, devfn: Devfn) -> Option<Arc<Function>> {
        if bus == 0 {
            return self.function(devfn);
        }
        self.bridge_to(bus)?.find_behind(bus, devfn)
    }
    /// The bridge whose range of bus numbers has that one.
    fn bridge_to(&self, bus: u8) -> Option<Arc<Function>> {
        let leads = |function: &Arc<Function>| {
            function.secondary().is_some() && function.bus_numbers().is_some_and(|numbers| numbers.contains(&bus))
        };
        self.functions().into_iter().find(leads)
    }
}

impl Function {
    /// The numbers of the bus behind a bridge and of those behind that.
    fn bus_numbers(&self) -> Option<std::ops::RangeInclusive<u8>> {
        let numbers = self.read(super::bridge::BUS_NUMBERS, 4).ok()?.to_le_bytes();
        (numbers[1] != 0).then_some(numbers[1]..=numbers[2])
    }
    fn find_behind(&self, bus: u8, devfn: Devfn) -> Option<Arc<Function>> {
        let (secondary, numbers) = (self.secondary()?, self.bus_numbers()?);
        if bus == *numbers.start() {
            return secondary.function(devfn);
        }
        secondary.bridge_to(bus)?.find_behind(bus, devfn)
    }
}

impl Device for PciBus {
    fn name(&self) -> &str {
        "pci"
    }
    /// Resets every function on it and behind its bridges: configuration space, not the chips.
    fn reset(&self) {
        for function in self.functions() {
            function.reset();
            if let Some(secondary) = function.secondary() {
                secondary.reset();
            }
        }
    }
    fn drive(&self) {}
}
