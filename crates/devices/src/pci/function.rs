//! Functions: identity, layout, and configuration space in operation.

use super::bar::{Bar, Kind};
use super::bridge::Behind;
use super::bus::{Devfn, Intx, PciBus};
use super::config::{Bank, SIZE, Template, get16, set_bits16};
use super::reg;
use isamorph_device::{BadState, Device, Dma, Exclusive, Snapshot};
use isamorph_space::{IoError, Map, RegionId, Tree};
use std::sync::Arc;

/// What a function says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name, as the monitor shows it.
    pub name: &'static str,
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
    /// Class, subclass and programming interface, a byte each.
    pub class: u32,
    /// Revision.
    pub revision: u8,
    /// Subsystem vendor and subsystem, if it has them.
    pub subsystem: Option<(u16, u16)>,
    /// Interrupt pin, 1 to 4 for INTA to INTD, or 0.
    pub pin: u8,
}

impl Identity {
    /// A function without an interrupt pin, in the subsystem that emulated machines have: Red Hat's 1af4:1100.
    pub const fn new(name: &'static str, vendor: u16, device: u16, class: u32) -> Self {
        Identity { name, vendor, device, class, revision: 0, subsystem: Some((0x1af4, 0x1100)), pin: 0 }
    }
    /// Another revision.
    #[must_use]
    pub const fn revision(mut self, revision: u8) -> Self {
        self.revision = revision;
        self
    }
    /// With an interrupt pin, 1 to 4.
    #[must_use]
    pub const fn pin(mut self, pin: u8) -> Self {
        self.pin = pin;
        self
    }
    /// With another subsystem (vendor first), or none.
    #[must_use]
    pub const fn subsystem(mut self, subsystem: Option<(u16, u16)>) -> Self {
        self.subsystem = subsystem;
        self
    }
}

/// What a function's configuration space is made of.
pub struct Layout {
    identity: Identity,
    pub(super) template: Template,
    /// Base address registers with their offsets.
    bars: Vec<(usize, Bar)>,
    banks: Vec<Bank>,
    /// Offset of the link that the next capability is hung on to, and where that capability goes.
    link: usize,
    free: usize,
    /// What is behind it, if it is a bridge.
    pub(super) behind: Option<Behind>,
}

impl Layout {
    /// The header of a device (type 0).
    pub fn new(identity: Identity) -> Self {
        let mut layout = Layout::common(identity);
        if let Some((vendor, device)) = identity.subsystem {
            layout.template.set(reg::SUBSYSTEM, 4, u32::from(vendor) | u32::from(device) << 16, 0);
        }
        layout
    }
    /// The fields that all headers share.
    pub(super) fn common(identity: Identity) -> Self {
        let mut template = Template::new();
        let Identity { vendor, device, class, revision, pin, .. } = identity;
        template.set(reg::VENDOR, 4, u32::from(vendor) | u32::from(device) << 16, 0);
        template.set(reg::REVISION, 4, u32::from(revision) | class << 8, 0);
        // I/O, memory, master, SERR and the interrupt switch can be set in the command register.
        template.set(reg::COMMAND, 2, 0, 0x0507);
        template.clearable[reg::STATUS + 1] = 0xf9;
        // The size of cache lines is stored; nobody holds the bus for longer than it takes.
        template.set(0x0c, 2, 0, 0x00ff);
        template.set(reg::INTERRUPT, 2, u32::from(pin) << 8, 0xff);
        Layout { identity, template, bars: vec![], banks: vec![], link: reg::CAPABILITIES, free: 0x40, behind: None }
    }
    /// With a region behind base address register `number`.
    #[must_use]
    pub fn bar(mut self, number: u8, bar: Bar) -> Self {
        let offset = reg::BAR0 + 4 * usize::from(number);
        bar.describe(offset, &mut self.template);
        self.bars.push((offset, bar));
        self
    }
    /// With an expansion ROM.
    #[must_use]
    pub fn rom(mut self, region: RegionId, size: u64) -> Self {
        let offset = if self.template.reset[reg::HEADER] & 0x7f == 1 { reg::BRIDGE_ROM } else { reg::ROM };
        let bar = Bar::rom(region, size);
        bar.describe(offset, &mut self.template);
        self.bars.push((offset, bar));
        self
    }
    /// With registers of its own.
    #[must_use]
    pub fn bank(mut self, bank: Bank) -> Self {
        self.template.add(&bank);
        self.free = self.free.max(bank.range().end.next_multiple_of(4));
        self.banks.push(bank);
        self
    }
    /// With a capability behind all registers so far. The bank's first two bytes, which it leaves zero, become the
    /// identifier and the link; its offset is chosen here.
    #[must_use]
    pub fn capability(mut self, id: u8, mut bank: Bank) -> Self {
        bank.offset = self.free;
        bank.reset[0] = id;
        self.template.reset[self.link] = bank.offset as u8;
        self.link = bank.offset + 1;
        set_bits16(&mut self.template.reset, reg::STATUS, reg::STATUS_CAPABILITIES, true);
        self.bank(bank)
    }
    /// As one of several functions of its device.
    #[must_use]
    pub fn multifunction(mut self) -> Self {
        self.template.reset[reg::HEADER] |= reg::MULTIFUNCTION;
        self
    }
    /// With other values after a reset in the command and status registers, and other writable bits of the command
    /// register.
    #[must_use]
    pub fn command(mut self, reset: u16, writable: u16, status: u16) -> Self {
        let status = status | get16(&self.template.reset, reg::STATUS);
        self.template.set(reg::COMMAND, 2, reset.into(), writable.into());
        self.template.set(reg::STATUS, 2, status.into(), 0);
        self
    }
}

#[derive(Debug)]
struct State {
    bytes: [u8; SIZE],
    /// Where the region of each base address register is.
    placed: Vec<Option<u64>>,
}

/// A function on a bus.
pub struct Function {
    layout: Layout,
    devfn: Devfn,
    state: Exclusive<State>,
    intx: Arc<Intx>,
    dma: Dma,
    map: Arc<Map>,
    /// Where its base addresses are addresses in.
    memory: RegionId,
    ports: RegionId,
}

/// What a bus gives to a function.
pub(super) struct Wires {
    pub devfn: Devfn,
    pub intx: Arc<Intx>,
    pub dma: Dma,
    pub map: Arc<Map>,
    pub memory: RegionId,
    pub ports: RegionId,
}

impl Function {
    pub(super) fn new(layout: Layout, wires: Wires) -> Arc<Self> {
        let Wires { devfn, intx, dma, map, memory, ports } = wires;
        let state = State { bytes: layout.template.reset, placed: vec![None; layout.bars.len()] };
        let function =
            Arc::new(Function { layout, devfn, state: Exclusive::new(state), intx, dma, map, memory, ports });
        function.reset();
        function
    }
    /// What it says of itself.
    pub fn identity(&self) -> &Identity {
        &self.layout.identity
    }
    /// Its place on its bus.
    pub fn devfn(&self) -> Devfn {
        self.devfn
    }
    /// The bus behind it, if it is a bridge.
    pub fn secondary(&self) -> Option<&Arc<PciBus>> {
        self.layout.behind.as_ref().map(Behind::bus)
    }
    /// Reads `size` bytes (1, 2 or 4) of configuration space.
    ///
    /// # Errors
    /// The bytes are not all there, or the function's own transfer asks.
    pub fn read(&self, offset: usize, size: usize) -> Result<u32, IoError> {
        let range = checked(offset, size)?;
        let mut state = self.state.enter()?;
        self.refresh(&mut state.bytes, &range);
        let mut raw = [0; 4];
        raw[..size].copy_from_slice(&state.bytes[range]);
        Ok(u32::from_le_bytes(raw))
    }
    /// Writes `size` bytes (1, 2 or 4) of configuration space.
    ///
    /// # Errors
    /// The bytes are not all there, or the function's own transfer asks.
    pub fn write(&self, offset: usize, size: usize, value: u32) -> Result<(), IoError> {
        let range = checked(offset, size)?;
        let mut state = self.state.enter()?;
        for (at, value) in range.clone().zip(value.to_le_bytes()) {
            state.bytes[at] = self.layout.template.merge(at, state.bytes[at], value);
        }
        for bank in self.banks_at(&range) {
            if let Some(registers) = &bank.registers {
                registers.written(&mut state.bytes[bank.range()]);
            }
        }
        self.obey(&mut state);
        Ok(())
    }
    /// The regions behind its base address registers: number of the register (6 for the ROM), base address if it is
    /// mapped, size, and whether it is in the I/O space.
    pub fn regions(&self) -> Vec<(usize, Option<u64>, u64, bool)> {
        let Ok(state) = self.state.enter() else { return Vec::new() };
        let number = |offset: usize, bar: &Bar| if bar.kind == Kind::Rom { 6 } else { (offset - reg::BAR0) / 4 };
        let rows = self.layout.bars.iter().zip(&state.placed);
        rows.map(|((offset, bar), at)| (number(*offset, bar), *at, bar.size, bar.kind == Kind::Io)).collect()
    }
    /// Brings registers that change by themselves up to date.
    fn refresh(&self, bytes: &mut [u8; SIZE], range: &std::ops::Range<usize>) {
        for bank in self.banks_at(range) {
            if let Some(registers) = &bank.registers {
                registers.refresh(&mut bytes[bank.range()]);
            }
        }
        set_bits16(bytes, reg::STATUS, reg::STATUS_INTERRUPT, self.intx.is_wanted());
    }
    /// Begins with that content.
    fn begin(&self, state: &mut State, bytes: [u8; SIZE]) {
        state.bytes = bytes;
        for bank in &self.layout.banks {
            if let Some(registers) = &bank.registers {
                registers.replaced(&mut state.bytes[bank.range()]);
            }
        }
        self.obey(state);
    }
    fn banks_at(&self, range: &std::ops::Range<usize>) -> impl Iterator<Item = &Bank> {
        let (start, end) = (range.start, range.end);
        self.layout.banks.iter().filter(move |bank| bank.range().start < end && start < bank.range().end)
    }
    /// Does what the command register and the base address registers say.
    fn obey(&self, state: &mut State) {
        let command = get16(&state.bytes, reg::COMMAND);
        self.dma.set_enabled(command & reg::COMMAND_MASTER != 0);
        self.intx.set_disabled(command & reg::COMMAND_NO_INTERRUPT != 0);
        if let Some(behind) = &self.layout.behind {
            behind.obey(&state.bytes);
        }
        let State { bytes, placed } = state;
        let places: Vec<_> = self.layout.bars.iter().map(|(offset, bar)| bar.place(bytes, *offset)).collect();
        if places == *placed {
            return;
        }
        self.map.update(|tree| {
            for ((new, old), (_, bar)) in places.iter().zip(&*placed).zip(&self.layout.bars) {
                if new != old {
                    self.place(tree, bar, *new);
                }
            }
        });
        *placed = places;
    }
    fn place(&self, tree: &mut Tree, bar: &Bar, at: Option<u64>) {
        let space = if bar.kind == Kind::Io { self.ports } else { self.memory };
        match at {
            // Above what the board has put there, such as the rest of the bus.
            Some(at) => tree.add(space, bar.region, at, 1),
            None => tree.remove(bar.region),
        }
    }
}

impl Device for Function {
    fn name(&self) -> &str {
        self.layout.identity.name
    }
    fn reset(&self) {
        if let Ok(mut state) = self.state.enter() {
            self.begin(&mut state, self.layout.template.reset);
        }
    }
    fn drive(&self) {}
}

/// Configuration space of a function; that of a table of messages ([`MsiX`](super::MsiX)) has to be restored after it.
impl Snapshot for Function {
    type State = [u8; SIZE];
    fn save(&self) -> [u8; SIZE] {
        let Ok(mut state) = self.state.enter() else { return self.layout.template.reset };
        self.refresh(&mut state.bytes, &(0..SIZE));
        state.bytes
    }
    fn restore(&self, bytes: &[u8; SIZE]) -> Result<(), BadState> {
        let identity = reg::VENDOR..reg::COMMAND;
        BadState::unless(bytes[identity.clone()] == self.layout.template.reset[identity], "PCI identity")?;
        let mut state = self.state.enter().map_err(|_| BadState("PCI function"))?;
        self.begin(&mut state, *bytes);
        Ok(())
    }
}

/// The bytes of an access, if they are all in configuration space.
fn checked(offset: usize, size: usize) -> Result<std::ops::Range<usize>, IoError> {
    if size <= 4 && offset <= SIZE - size { Ok(offset..offset + size) } else { Err(IoError::Refused) }
}
