//! A channel: its registers and what its units share.

use super::bus_master::BusMaster;
use super::transfer::Activity;
use super::unit::{Deep, Unit, UnitConfig};
use super::{control, device, status};
use isamorph_block::Drive;
use isamorph_device::{Device, Dma, Exclusive, Line};
use isamorph_space::{Io, IoError};
use std::sync::{Arc, Weak};

/// Offsets of the command block.
mod reg {
    pub const DATA: u64 = 0;
    /// Error when read, feature when written.
    pub const ERROR: u64 = 1;
    pub const COUNT: u64 = 2;
    pub const LBA: u64 = 3;
    pub const LBA_LAST: u64 = 5;
    pub const DEVICE: u64 = 6;
    /// Status when read, command when written.
    pub const STATUS: u64 = 7;
}

/// What the units of a channel are doing.
pub(super) struct State {
    pub units: [Option<Unit>; 2],
    /// The unit whose registers are seen, and that gets commands.
    pub selected: usize,
    pub control: u8,
    pub interrupt: bool,
    pub bus_master: BusMaster,
    pub activity: Activity,
    /// Number of the present command: answers for others are dropped.
    pub generation: u64,
}

impl State {
    pub fn unit(&mut self) -> Option<&mut Unit> {
        self.units[self.selected].as_mut()
    }
    pub fn set_status(&mut self, status: u8) {
        if let Some(unit) = self.unit() {
            unit.file.status = status;
        }
    }
    fn status(&self) -> u8 {
        self.units[self.selected].as_ref().map_or(0, |unit| unit.file.status)
    }
    /// Whether a command is being executed, so that registers cannot be written.
    fn is_busy(&self) -> bool {
        self.status() & (status::BUSY | status::DATA_REQUEST) != 0
    }
    /// Nothing is going on any more, whatever answers are still to come.
    pub fn forget(&mut self) {
        self.generation += 1;
        self.activity = Activity::Idle;
    }
}

/// State of a tray.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tray {
    /// It is open.
    pub open: bool,
    /// The guest does not want it to be opened.
    pub locked: bool,
}

/// A channel with up to two units.
pub struct Channel {
    name: String,
    state: Exclusive<State>,
    line: Line,
    pub(super) dma: Option<Dma>,
    pub(super) me: Weak<Channel>,
}

impl Channel {
    /// A channel with its units, its interrupt line, and a way to memory if it has a bus master.
    pub fn new(name: &str, units: [Option<UnitConfig>; 2], line: Line, dma: Option<Dma>) -> Arc<Self> {
        let mut units = units.map(|unit| unit.map(Unit::new));
        for (number, unit) in units.iter_mut().enumerate() {
            if let Some(unit) = unit {
                unit.file.device = if number == 1 { device::SECOND } else { 0 };
            }
        }
        let state = State {
            units,
            selected: 0,
            control: 0,
            interrupt: false,
            bus_master: BusMaster::default(),
            activity: Activity::Idle,
            generation: 0,
        };
        let name = name.to_owned();
        Arc::new_cyclic(|me| Channel { name, state: Exclusive::new(state), line, dma, me: me.clone() })
    }
    /// The eight registers of the command block.
    pub fn command_block(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(CommandBlock(self.clone()))
    }
    /// The register of the control block: device control, alternate status.
    pub fn control_block(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(ControlBlock(self.clone()))
    }
    /// What a CD-ROM drive's tray is like, as the monitor shows it; nothing for a disk.
    pub fn tray(&self, unit: usize) -> Option<Tray> {
        let state = self.state.enter().ok()?;
        let unit = state.units.get(unit)?.as_ref().filter(|unit| unit.config.is_cdrom)?;
        Some(Tray { open: unit.cd.tray_open, locked: unit.cd.locked })
    }
    /// The drives of its units.
    pub fn drives(&self) -> Vec<Arc<Drive>> {
        let drives = |state: &State| state.units.iter().flatten().map(|unit| unit.config.drive.clone()).collect();
        self.state.enter().map_or_else(|_| Vec::new(), |state| drives(&state))
    }
    pub(super) fn enter(&self) -> Result<isamorph_device::Guard<'_, State>, IoError> {
        self.state.enter()
    }
    /// The selected unit wants attention.
    pub(super) fn interrupt(&self, state: &mut State) {
        state.interrupt = true;
        state.bus_master.interrupted();
        self.drive_line(state);
    }
    fn drive_line(&self, state: &State) {
        self.line.set(state.interrupt && state.control & control::NO_INTERRUPT == 0);
    }
    fn clear_interrupt(&self, state: &mut State) {
        state.interrupt = false;
        self.drive_line(state);
    }

    fn read_register(&self, state: &mut State, offset: u64) -> u8 {
        let high_order = state.control & control::HIGH_ORDER != 0;
        let show = |register: Deep| if high_order { register.previous } else { register.last };
        let Some(unit) = state.unit() else { return 0 };
        match offset {
            reg::ERROR => unit.file.error,
            reg::COUNT => show(unit.file.count),
            reg::LBA..=reg::LBA_LAST => show(unit.file.lba[(offset - reg::LBA) as usize]),
            reg::DEVICE => unit.file.device | 0xa0,
            reg::STATUS => {
                let status = unit.file.status;
                self.clear_interrupt(state);
                status
            }
            _ => 0,
        }
    }
    fn write_register(&self, state: &mut State, offset: u64, value: u8) {
        state.control &= !control::HIGH_ORDER;
        if offset == reg::STATUS {
            self.clear_interrupt(state);
            return self.command(state, value);
        }
        if state.is_busy() {
            return;
        }
        // Both units listen; each keeps to itself which one it is.
        for (number, unit) in state.units.iter_mut().enumerate() {
            let Some(unit) = unit else { continue };
            match offset {
                reg::ERROR => unit.file.feature.push(value),
                reg::COUNT => unit.file.count.push(value),
                reg::LBA..=reg::LBA_LAST => unit.file.lba[(offset - reg::LBA) as usize].push(value),
                _ => unit.file.device = value & !device::SECOND | if number == 1 { device::SECOND } else { 0 },
            }
        }
        if offset == reg::DEVICE {
            state.selected = usize::from(value & device::SECOND != 0);
        }
    }
    /// A command, which only a unit that has time executes; DEVICE RESET interrupts a CD-ROM drive in anything.
    fn command(&self, state: &mut State, opcode: u8) {
        if !state.is_busy() || opcode == super::command::DEVICE_RESET {
            self.execute(state, opcode);
        }
    }
    fn write_control(&self, state: &mut State, value: u8) {
        let before = std::mem::replace(&mut state.control, value);
        let changed = before ^ value;
        if changed & value & control::RESET != 0 {
            state.forget();
            state.interrupt = false;
            state.units.iter_mut().flatten().for_each(|unit| unit.file.status = status::BUSY);
        } else if changed & control::RESET != 0 {
            state.selected = 0;
            self.sign_all(state);
        }
        self.drive_line(state);
    }
    fn sign_all(&self, state: &mut State) {
        for (number, unit) in state.units.iter_mut().enumerate() {
            if let Some(unit) = unit {
                unit.software_reset();
                unit.file.device = if number == 1 { device::SECOND } else { 0 };
            }
        }
    }
    /// EXECUTE DEVICE DIAGNOSTIC: both units.
    pub(super) fn diagnose(&self, state: &mut State) {
        state.forget();
        state.selected = 0;
        self.sign_all(state);
        self.interrupt(state);
    }
    /// What software writes to and reads from the bus-master registers.
    pub(super) fn read_bus_master(&self, offset: u64) -> Result<u8, IoError> {
        Ok(self.state.enter()?.bus_master.read(offset))
    }
    pub(super) fn write_bus_master(&self, offset: u64, value: u8) -> Result<(), IoError> {
        let mut state = self.state.enter()?;
        if state.bus_master.write(offset, value) {
            self.bus_master_switched(&mut state);
        }
        Ok(())
    }
}

impl Device for Channel {
    fn name(&self) -> &str {
        &self.name
    }
    fn reset(&self) {
        let Ok(mut state) = self.state.enter() else { return };
        state.forget();
        (state.selected, state.control, state.interrupt) = (0, 0, false);
        state.bus_master = BusMaster::default();
        for (number, unit) in state.units.iter_mut().enumerate() {
            if let Some(unit) = unit {
                unit.power_on();
                unit.file.device = if number == 1 { device::SECOND } else { 0 };
            }
        }
    }
    fn drive(&self) {
        if let Ok(state) = self.state.enter() {
            self.drive_line(&state);
        }
    }
}

struct CommandBlock(Arc<Channel>);

impl Io for CommandBlock {
    fn read(&self, offset: u64, size: u32) -> Result<u64, IoError> {
        let mut state = self.0.enter()?;
        if offset == reg::DATA {
            return Ok(self.0.read_data(&mut state, size));
        }
        let bytes = (0..size.into()).map(|i| self.0.read_register(&mut state, offset + i));
        Ok(bytes.enumerate().fold(0, |value, (i, byte)| value | u64::from(byte) << (8 * i)))
    }
    fn write(&self, offset: u64, size: u32, value: u64) -> Result<(), IoError> {
        let mut state = self.0.enter()?;
        if offset == reg::DATA {
            self.0.write_data(&mut state, size, value);
            return Ok(());
        }
        for (i, byte) in value.to_le_bytes().into_iter().take(size as usize).enumerate() {
            self.0.write_register(&mut state, offset + i as u64, byte);
        }
        Ok(())
    }
}

struct ControlBlock(Arc<Channel>);

impl Io for ControlBlock {
    fn read(&self, _offset: u64, _size: u32) -> Result<u64, IoError> {
        Ok(self.0.enter()?.status().into())
    }
    fn write(&self, _offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        self.0.write_control(&mut *self.0.enter()?, value as u8);
        Ok(())
    }
}
