//! The ISA bridge of a PC: routing of PCI interrupts, and the reset control register.
//!
//! References: Intel 82371FB/82371SB (PIIX, PIIX3) datasheet, order number 290550.

use crate::pci::{Bank, Devfn, Identity, Layout, PciBus, Registers};
use isamorph_device::{BadState, Device, Exclusive, Line, LineSink, Request, Requests, Snapshot};
use isamorph_space::{Io, IoError};
use std::sync::{Arc, Mutex, PoisonError};

const IDENTITY: Identity = Identity::new("PIIX3", 0x8086, 0x7000, 0x06_01_00);

/// The chip's own registers start here.
const BANK: usize = 0x40;
/// Where each of the four PCI interrupts goes (2.2.8).
const ROUTES: usize = 0x60;
/// A route that leads nowhere.
const NOWHERE: u8 = 0x80;
/// Values after a reset that are not zero.
const RESET: &[(usize, u8)] = &[
    (0x4c, 0x4d),
    (0x4e, 0x03),
    (ROUTES, NOWHERE),
    (ROUTES + 1, NOWHERE),
    (ROUTES + 2, NOWHERE),
    (ROUTES + 3, NOWHERE),
    (0x69, 0x02),
    (0x70, 0x80),
    (0x76, 0x0c),
    (0x77, 0x0c),
    (0x78, 0x02),
    (0xa0, 0x08),
    (0xa8, 0x0f),
];

/// Reset control: reset the processor now; what kind of reset, which is stored.
const RESET_NOW: u8 = 4;
const RESET_KIND: u8 = 2;

#[derive(Clone, Copy, Debug)]
struct Routing {
    routes: [u8; 4],
    /// Levels of the four PCI interrupts.
    levels: [bool; 4],
}

impl Routing {
    fn level(&self, irq: u8) -> bool {
        self.routes.iter().zip(self.levels).any(|(route, level)| *route == irq && level)
    }
}

/// The ISA bridge.
pub struct Piix3 {
    routing: Mutex<Routing>,
    irqs: [Line; 16],
    reset_control: Exclusive<u8>,
    requests: Requests,
}

impl Piix3 {
    /// A bridge with wires to the interrupt controllers, one per ISA interrupt.
    pub fn new(irqs: [Line; 16], requests: Requests) -> Arc<Self> {
        let routing = Routing { routes: [NOWHERE; 4], levels: [false; 4] };
        Arc::new(Piix3 { routing: Mutex::new(routing), irqs, reset_control: Exclusive::new(0), requests })
    }
    /// The four PCI interrupts, PIRQA to PIRQD.
    pub fn pirqs(self: &Arc<Self>) -> [Line; 4] {
        [0, 1, 2, 3].map(|pirq| Line::new(self.clone(), pirq))
    }
    /// Puts it on a bus, as function 0 of its device.
    pub fn plug(self: &Arc<Self>, bus: &PciBus, slot: u8) {
        let mut reset = [0; 0x100 - BANK];
        RESET.iter().for_each(|(at, value)| reset[at - BANK] = *value);
        let bank = Bank::new(BANK as u8, &reset).writable(&[0xff; 0x100 - BANK]).registers(self.clone());
        let layout = Layout::new(IDENTITY).multifunction().command(0, 0x0507, 0x0200).bank(bank);
        bus.plug(&bus.socket(Devfn::new(slot, 0)), layout);
    }
    /// The reset control register: one byte at 0xcf9.
    pub fn reset_control(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(ResetControl(self.clone()))
    }
    /// Changes routes or levels and drives the interrupts that may have changed.
    fn change(&self, change: impl FnOnce(&mut Routing)) {
        let mut routing = self.routing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *routing;
        change(&mut routing);
        for (irq, line) in (0..).zip(&self.irqs) {
            let level = routing.level(irq);
            if level != before.level(irq) {
                line.set(level);
            }
        }
    }
}

impl LineSink for Piix3 {
    fn set(&self, input: u32, level: bool) {
        self.change(|routing| routing.levels[input as usize & 3] = level);
    }
}

impl Registers for Piix3 {
    fn written(&self, bytes: &mut [u8]) {
        let at = ROUTES - BANK;
        self.change(|routing| routing.routes.copy_from_slice(&bytes[at..at + 4]));
    }
}

impl Device for Piix3 {
    fn name(&self) -> &str {
        IDENTITY.name
    }
    fn reset(&self) {
        if let Ok(mut control) = self.reset_control.enter() {
            *control = 0;
        }
    }
    fn drive(&self) {
        let routing = *self.routing.lock().unwrap_or_else(PoisonError::into_inner);
        for (irq, line) in (0..).zip(&self.irqs).filter(|(irq, _)| routing.routes.contains(irq)) {
            line.set(routing.level(irq));
        }
    }
}

/// The reset control register; routes are in configuration space, and levels are those of the lines.
impl Snapshot for Piix3 {
    type State = u8;
    fn save(&self) -> u8 {
        self.reset_control.enter().map_or(0, |control| *control)
    }
    fn restore(&self, saved: &u8) -> Result<(), BadState> {
        BadState::unless(saved & !RESET_KIND == 0, "reset control register")?;
        *self.reset_control.enter().map_err(|_| BadState("reset control register"))? = *saved;
        Ok(())
    }
}

struct ResetControl(Arc<Piix3>);

impl Io for ResetControl {
    fn read(&self, _offset: u64, _size: u32) -> Result<u64, IoError> {
        Ok((*self.0.reset_control.enter()?).into())
    }
    fn write(&self, _offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        let value = value as u8;
        *self.0.reset_control.enter()? = value & RESET_KIND;
        if value & RESET_NOW != 0 {
            self.0.requests.send(Request::Reset);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::Pins;
    use crate::testing::{Registers, hammer};
    use isamorph_device::{ManualClock, Probe};
    use isamorph_space::{Map, WHOLE};

    struct Rig {
        chip: Arc<Piix3>,
        bus: Arc<PciBus>,
        irqs: Arc<Probe>,
        requests: Arc<Mutex<Vec<Request>>>,
    }

    impl Rig {
        fn new() -> Self {
            let (irqs, requests) = (Arc::new(Probe::default()), Arc::new(Mutex::new(Vec::new())));
            let log = requests.clone();
            let serve = Requests::new(move |request| log.lock().unwrap().push(request));
            let chip = Piix3::new(std::array::from_fn(|irq| Line::new(irqs.clone(), irq as u32)), serve);
            let map = Map::new();
            let root = map.update(|tree| tree.container("all", WHOLE));
            let space = map.space("all", root);
            let bus = PciBus::new(&map, root, root, space, Pins { lines: chip.pirqs(), first: 3 });
            chip.plug(&bus, 1);
            Rig { chip, bus, irqs, requests }
        }
        fn route(&self, pirq: usize, to: u32) {
            self.bus.function(Devfn::new(1, 0)).unwrap().write(ROUTES + pirq, 1, to).unwrap();
        }
    }

    #[test]
    fn interrupts_follow_their_routes() {
        let rig = Rig::new();
        let pirqs = rig.chip.pirqs();
        pirqs[0].raise();
        assert_eq!(rig.irqs.levels(), 0, "no route");
        rig.route(0, 10);
        assert_eq!(rig.irqs.levels(), 1 << 10);
        rig.route(1, 10);
        pirqs[1].raise();
        pirqs[0].lower();
        assert_eq!(rig.irqs.levels(), 1 << 10, "shared");
        rig.route(1, 11);
        assert_eq!(rig.irqs.levels(), 1 << 11, "moved");
        rig.route(1, 0x8b);
        assert_eq!(rig.irqs.levels(), 0, "switched off");
        rig.route(1, 11);
        rig.bus.reset();
        assert_eq!(rig.irqs.levels(), 0, "routes are gone after a reset");
    }

    #[test]
    fn reset_control() {
        let rig = Rig::new();
        let port = rig.chip.reset_control();
        port.write(0, 1, 2).unwrap();
        assert_eq!((port.read(0, 1), rig.requests.lock().unwrap().len()), (Ok(2), 0));
        port.write(0, 1, 6).unwrap();
        assert_eq!((port.read(0, 1), rig.requests.lock().unwrap().clone()), (Ok(2), vec![Request::Reset]));
        let saved = rig.chip.save();
        rig.chip.reset();
        assert_eq!(port.read(0, 1), Ok(0));
        rig.chip.restore(&saved).unwrap();
        assert_eq!(port.read(0, 1), Ok(2));
        assert!(rig.chip.restore(&4).is_err());
    }

    #[test]
    fn random_accesses_do_no_harm() {
        let rig = Rig::new();
        let function = rig.bus.function(Devfn::new(1, 0)).unwrap();
        let target = Registers::new(rig.chip.reset_control(), 1, &[1]);
        hammer(4, 20_000, &[target], &ManualClock::new(), |random| {
            rig.route(random.below(4) as usize, random.value() as u32);
            rig.chip.pirqs()[random.below(4) as usize].set(random.below(2) == 0);
            function.write(random.below(63) as usize * 4 + 4, 4, random.value() as u32).unwrap();
        });
        rig.chip.pirqs().iter().for_each(Line::lower);
        assert_eq!(rig.irqs.levels(), 0);
    }

    #[test]
    fn registers_after_a_reset() {
        let rig = Rig::new();
        let function = rig.bus.function(Devfn::new(1, 0)).unwrap();
        for (at, value) in [
            (0x00, 0x7000_8086),
            (0x04, 0x0200_0000),
            (0x08, 0x0601_0000),
            (0x0c, 0x0080_0000),
            (0x4c, 0x0003_004d),
            (0x60, 0x8080_8080),
            (0x68, 0x0000_0200),
            (0x70, 0x0000_0080),
            (0x74, 0x0c0c_0000),
            (0x78, 0x0000_0002),
            (0xa0, 0x0000_0008),
            (0xa8, 0x0000_000f),
        ] {
            assert_eq!(function.read(at, 4), Ok(value), "{at:#x}");
        }
    }
}
