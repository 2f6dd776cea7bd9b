//! Power management and the system management bus of a PC (PIIX4, function 3).
//!
//! References: Intel 82371AB (PIIX4) datasheet, order number 290562; ACPI specification 6.5, chapter 4.8.
//!
//! The general-purpose events are not the chip's: they are a block of registers of virtual machines at fixed ports,
//! which shares the interrupt.

mod acpi;
mod smbus;
#[cfg(test)]
mod tests;

use crate::pci::{Bank, Devfn, Identity, Layout, PciBus, Registers};
use acpi::{Acpi, Sleep};
use isamorph_device::{BadState, Clock, Device, Exclusive, Line, Request, Requests, Snapshot, Timer};
use isamorph_space::{Io, IoError, IoRules, Map, RegionId};
use smbus::Smbus;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

const IDENTITY: Identity = Identity::new("PIIX4_PM", 0x8086, 0x7113, 0x06_80_00).revision(3).pin(1);

/// The chip's own registers start here.
const BANK: usize = 0x40;
/// Base of the power management ports (7.1.13), and their switch (7.1.23).
const PM_BASE: usize = 0x40;
const PM_SWITCH: usize = 0x80;
/// Device activity B (7.1.17), byte 3: writes to the command port raise an SMI.
const APMC: usize = 0x5b;
const APMC_ENABLE: u8 = 0x02;
/// Base of the bus controller's ports (7.1.24), and their switch (7.1.25).
const SMBUS_BASE: usize = 0x90;
const SMBUS_SWITCH: usize = 0xd2;
/// Values after a reset that are not zero; 0x5f, 0x63 and 0x67 announce a disk and a serial line.
const RESET: &[(usize, u8)] = &[
    (PM_BASE, 0x01),
    (0x5f, 0x10),
    (0x63, 0x60),
    (0x67, 0x08),
    (SMBUS_BASE, 0x01),
    (SMBUS_BASE + 1, 0xb1),
    (SMBUS_SWITCH, 0x09),
];

/// Commands of firmware's power management port, as the tables name them.
pub const ACPI_ENABLE: u8 = 0xf1;
/// Hands power management back to firmware.
pub const ACPI_DISABLE: u8 = 0xf0;

/// The wires of the chip.
pub struct Wires {
    /// The system control interrupt.
    pub sci: Line,
    /// The system management interrupt, if the processors have one.
    pub smi: Option<Line>,
    /// Sleep and power-off.
    pub requests: Requests,
}

/// A block of ports that the chip moves.
struct Window {
    region: RegionId,
    /// Where it is.
    at: Option<u64>,
}

struct Windows {
    pm: Window,
    smbus: Window,
}

/// The registers that are not in configuration space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    acpi: Acpi,
    smbus: Smbus,
    /// The two bytes of the command port.
    command: [u8; 2],
    /// Writes to the command port raise an SMI.
    has_smi: bool,
}

/// Power management.
pub struct Piix4 {
    state: Exclusive<State>,
    windows: Mutex<Option<Windows>>,
    bus: Arc<PciBus>,
    clock: Arc<dyn Clock>,
    timer: OnceLock<Timer>,
    wires: Wires,
}

impl Piix4 {
    /// Puts it on a bus, as function 3 of a slot.
    pub fn plug(bus: &Arc<PciBus>, slot: u8, clock: &Arc<dyn Clock>, wires: Wires) -> Arc<Self> {
        let has_smi = wires.smi.is_some();
        let chip = Arc::new(Piix4 {
            state: Exclusive::default(),
            windows: Mutex::new(None),
            bus: bus.clone(),
            clock: clock.clone(),
            timer: OnceLock::new(),
            wires,
        });
        let weak: Weak<Self> = Arc::downgrade(&chip);
        let _ = chip.timer.set(Timer::new(clock, move || weak.upgrade().into_iter().for_each(|chip| chip.drive())));
        chip.windows.lock().unwrap_or_else(PoisonError::into_inner).replace(chip.make_windows(bus.map()));
        let mut reset = [0; 0x100 - BANK];
        RESET.iter().for_each(|(at, value)| reset[at - BANK] = *value);
        if !has_smi {
            // Firmware takes this as a sign that it has set up the system management mode before, and leaves it alone.
            reset[APMC - BANK] |= APMC_ENABLE;
        }
        let bank = Bank::new(BANK as u8, &reset).writable(&[0xff; 0x100 - BANK]).registers(chip.clone());
        let layout = Layout::new(IDENTITY).command(0, 0x0507, 0x0280).bank(bank);
        bus.plug(&bus.socket(Devfn::new(slot, 3)), layout);
        chip
    }
    fn make_windows(self: &Arc<Self>, map: &Map) -> Windows {
        let registers = |part| Arc::new(Ports { chip: self.clone(), part }) as Arc<dyn Io>;
        map.update(|tree| Windows {
            pm: Window { region: tree.io("piix4-pm", 64, IoRules::exactly(1, 4), registers(Part::Acpi)), at: None },
            smbus: Window { region: tree.io("pm-smbus", 64, IoRules::exactly(1, 1), registers(Part::Smbus)), at: None },
        })
    }
    /// Firmware's command port and the status byte behind it: two bytes at 0xb2.
    pub fn command_ports(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(Ports { chip: self.clone(), part: Part::Command })
    }
    /// Status and enables of the general-purpose events: four bytes at 0xafe0.
    pub fn event_ports(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(Ports { chip: self.clone(), part: Part::Events })
    }
    /// Somebody pressed the power button. Nothing happens unless the guest waits for it.
    pub fn press_power_button(&self) {
        let _ = self.change(|state, _| state.acpi.press_power_button());
    }
    /// The machine wakes from a sleep; its firmware will find out by the status.
    pub fn wake(&self) {
        let _ = self.change(|state, _| state.acpi.wake());
    }
    /// A general-purpose event happened, or its cause is gone.
    pub fn set_event(&self, number: u8, on: bool) {
        let _ = self.change(|state, _| state.acpi.set_event(number, on));
    }
    /// Changes the state and does what follows: interrupt, timer.
    fn change<R>(&self, change: impl FnOnce(&mut State, u64) -> R) -> Result<R, IoError> {
        let mut state = self.state.enter()?;
        let now = self.clock.now();
        let result = change(&mut state, now);
        let level = state.acpi.interrupt(now);
        if let Some(timer) = self.timer.get() {
            match state.acpi.next_event().filter(|_| !level) {
                Some(at) => timer.set(at),
                None => timer.cancel(),
            }
        }
        self.wires.sci.set(level);
        Ok(result)
    }
    fn write_acpi(&self, offset: u64, size: u32, value: u64) -> Result<(), IoError> {
        let sleep = self.change(|state, now| state.acpi.write(offset, size, value, now))?;
        match sleep {
            Some(Sleep::Off) => self.wires.requests.send(Request::Shutdown),
            Some(Sleep::Suspend) => self.wires.requests.send(Request::Suspend),
            None => {}
        }
        Ok(())
    }
    fn write_command(&self, offset: u64, value: u8) -> Result<(), IoError> {
        let raises = self.change(|state, _| {
            state.command[offset as usize & 1] = value;
            if offset & 1 != 0 {
                return false;
            }
            match value {
                ACPI_ENABLE => state.acpi.set_enabled(true),
                ACPI_DISABLE => state.acpi.set_enabled(false),
                _ => return state.has_smi,
            }
            false
        })?;
        // Outside of the lock: the processor that has written handles it before its next instruction.
        if let Some(smi) = self.wires.smi.as_ref().filter(|_| raises) {
            smi.pulse();
        }
        Ok(())
    }
    fn place(&self, bytes: &[u8]) {
        let base = |at: usize| u64::from(u16::from_le_bytes([bytes[at - BANK], bytes[at + 1 - BANK]]) & 0xffc0);
        let placed = |at: usize, switch: usize| {
            let on = bytes[switch - BANK] & 1 != 0;
            Some(base(at)).filter(|base| on && *base != 0)
        };
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Windows { pm, smbus }) = &mut *windows else { return };
        let (_, ports) = self.bus.regions();
        for (window, at) in [(pm, placed(PM_BASE, PM_SWITCH)), (smbus, placed(SMBUS_BASE, SMBUS_SWITCH))] {
            if window.at != at {
                self.bus.map().update(|tree| match at {
                    Some(at) => tree.add(ports, window.region, at, 0),
                    None => tree.remove(window.region),
                });
                window.at = at;
            }
        }
    }
}

impl Registers for Piix4 {
    fn written(&self, bytes: &mut [u8]) {
        // Bit 0 of both bases says that they are ports.
        bytes[PM_BASE - BANK] |= 1;
        bytes[SMBUS_BASE - BANK] |= 1;
        self.place(bytes);
        if let Ok(mut state) = self.state.enter() {
            state.has_smi = bytes[APMC - BANK] & APMC_ENABLE != 0;
        }
    }
}

impl Device for Piix4 {
    fn name(&self) -> &str {
        IDENTITY.name
    }
    fn reset(&self) {
        if let Ok(mut state) = self.state.enter() {
            state.acpi.reset();
            state.smbus = Smbus::default();
            state.command = [0; 2];
        }
    }
    fn drive(&self) {
        let _ = self.change(|_, _| ());
    }
}

impl Snapshot for Piix4 {
    type State = State;
    fn save(&self) -> State {
        self.state.enter().map_or_else(|_| State::default(), |state| state.clone())
    }
    fn restore(&self, saved: &State) -> Result<(), BadState> {
        let State { acpi, smbus, command, has_smi } = saved.clone();
        BadState::unless(smbus.is_possible(), "block of the system management bus")?;
        let mut state = self.state.enter().map_err(|_| BadState("power management"))?;
        *state = State { acpi, smbus, command, has_smi };
        Ok(())
    }
}

/// A block of the chip's ports.
#[derive(Clone, Copy)]
enum Part {
    Acpi,
    Events,
    Smbus,
    Command,
}

struct Ports {
    chip: Arc<Piix4>,
    part: Part,
}

impl Io for Ports {
    fn read(&self, offset: u64, size: u32) -> Result<u64, IoError> {
        let part = self.part;
        self.chip.change(|state, now| match part {
            Part::Acpi => state.acpi.read(offset, size, now),
            Part::Events => state.acpi.read_events(offset, size),
            Part::Smbus => state.smbus.read(offset).into(),
            Part::Command => state.command[offset as usize & 1].into(),
        })
    }
    fn write(&self, offset: u64, size: u32, value: u64) -> Result<(), IoError> {
        match self.part {
            Part::Acpi => self.chip.write_acpi(offset, size, value),
            Part::Events => self.chip.change(|state, _| state.acpi.write_events(offset, size, value)),
            Part::Smbus => self.chip.change(|state, _| state.smbus.write(offset, value as u8)),
            Part::Command => self.chip.write_command(offset, value as u8),
        }
    }
}
