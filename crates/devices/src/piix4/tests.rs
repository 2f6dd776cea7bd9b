use super::*;
use crate::pci::Pins;
use crate::testing::{Registers as Target, hammer};
use isamorph_device::{ManualClock, Probe};
use isamorph_space::{AddressSpace, Failure, WHOLE};

const SECOND: u64 = 1_000_000_000;

struct Rig {
    clock: Arc<ManualClock>,
    chip: Arc<Piix4>,
    bus: Arc<PciBus>,
    ports: Arc<AddressSpace>,
    sci: Arc<Probe>,
    smi: Arc<Probe>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Rig {
    /// With the ports where firmware puts them.
    fn new() -> Self {
        let map = Map::new();
        let root = map.update(|tree| tree.container("io", WHOLE));
        let ports = map.space("I/O", root);
        let lines = std::array::from_fn(|_| Line::unconnected());
        let bus = PciBus::new(&map, root, root, ports.clone(), Pins { lines, first: 3 });
        let (clock, (sci, sci_line), (smi, smi_line)) = (ManualClock::new(), Probe::new(), Probe::new());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = requests.clone();
        let wires = Wires {
            sci: sci_line,
            smi: Some(smi_line),
            requests: Requests::new(move |request| log.lock().unwrap().push(request)),
        };
        let chip = Piix4::plug(&bus, 1, &(clock.clone() as Arc<dyn Clock>), wires);
        let rig = Rig { clock, chip, bus, ports, sci, smi, requests };
        rig.config(PM_BASE, 4, 0x601);
        rig.config(PM_SWITCH, 1, 1);
        rig
    }
    fn config(&self, at: usize, size: usize, value: u32) {
        self.bus.function(Devfn::new(1, 3)).unwrap().write(at, size, value).unwrap();
    }
    fn read(&self, port: u64, size: u32) -> u64 {
        self.ports.load(port, size).unwrap()
    }
    fn write(&self, port: u64, size: u32, value: u64) {
        self.ports.store(port, size, value).unwrap();
    }
    fn command(&self, value: u8) {
        self.chip.command_ports().write(0, 1, value.into()).unwrap();
    }
}

#[test]
fn its_ports_move() {
    let rig = Rig::new();
    assert_eq!(rig.read(0x604, 2), 0);
    rig.config(PM_BASE, 4, 0xb000);
    assert_eq!((rig.ports.load(0x604, 2), rig.ports.load(0xb004, 2)), (Err(Failure::Unassigned), Ok(0)));
    rig.config(PM_SWITCH, 1, 0);
    assert!(rig.ports.load(0xb004, 2).is_err());
    rig.config(SMBUS_BASE, 4, 0x701);
    assert_eq!(rig.ports.load(0x700, 1), Ok(0), "the bus is on after a reset");
    rig.bus.reset();
    assert_eq!((rig.ports.load(0x700, 1).is_err(), rig.ports.load(0xb100, 1)), (true, Ok(0)));
    let function = rig.bus.function(Devfn::new(1, 3)).unwrap();
    for (at, value) in [(0, 0x7113_8086), (4, 0x0280_0000), (8, 0x0680_0003), (0x3c, 0x100), (0x40, 1), (0x90, 0xb101)]
    {
        assert_eq!(function.read(at, 4), Ok(value), "{at:#x}");
    }
}

#[test]
fn the_timer_counts_and_reports_its_top_bit() {
    let rig = Rig::new();
    rig.clock.advance(SECOND);
    assert_eq!(rig.read(0x608, 4), 3_579_545);
    assert_eq!(rig.read(0x609, 1), 3_579_545 >> 8 & 0xff);
    rig.write(0x600, 2, 1);
    assert_eq!(rig.read(0x600, 2) & 1, 0);
    rig.command(ACPI_ENABLE);
    rig.write(0x602, 2, 1);
    // 2^23 ticks are 2.343 seconds.
    rig.clock.advance(SECOND * 134 / 100);
    assert!(!rig.sci.is_high());
    rig.clock.advance(SECOND / 100);
    assert_eq!((rig.sci.is_high(), rig.read(0x600, 2) & 1), (true, 1));
    rig.write(0x600, 2, 1);
    assert!(!rig.sci.is_high());
    rig.clock.advance(SECOND * 235 / 100);
    assert_eq!((rig.sci.is_high(), rig.sci.edges()), (true, 2));
    rig.clock.advance(SECOND * 1000);
    assert_eq!(rig.read(0x608, 4), (1_004_700 * 3_579_545 / 1000) & 0xff_ffff);
}

#[test]
fn the_power_button() {
    let rig = Rig::new();
    rig.chip.press_power_button();
    assert_eq!(rig.read(0x600, 2) & 0x100, 0, "nobody waits for it");
    rig.write(0x600, 4, 0x0120_0000);
    rig.chip.press_power_button();
    assert_eq!((rig.read(0x600, 4), rig.sci.is_high()), (0x0120_0101, false), "ACPI is off");
    rig.command(ACPI_ENABLE);
    assert_eq!((rig.read(0x604, 2), rig.sci.is_high()), (1, true));
    rig.write(0x601, 1, 1);
    assert!(!rig.sci.is_high());
    rig.command(ACPI_DISABLE);
    assert_eq!(rig.read(0x604, 2), 0);
}

#[test]
fn general_purpose_events() {
    let rig = Rig::new();
    let events = rig.chip.event_ports();
    rig.command(ACPI_ENABLE);
    events.write(2, 2, 2).unwrap();
    rig.chip.set_event(1, true);
    events.write(0, 2, 2).unwrap();
    assert_eq!((rig.sci.is_high(), events.read(0, 4)), (true, Ok(0x0002_0002)), "it is still there");
    rig.chip.set_event(1, false);
    assert!(rig.sci.is_high());
    events.write(0, 1, 2).unwrap();
    assert_eq!((rig.sci.is_high(), events.read(0, 4)), (false, Ok(0x0002_0000)));
}

#[test]
fn sleeps_are_requests() {
    let rig = Rig::new();
    rig.write(0x604, 2, 0x0000);
    assert!(rig.requests.lock().unwrap().is_empty());
    rig.write(0x604, 2, 0x2400);
    rig.write(0x604, 2, 0x2000);
    rig.write(0x604, 2, 0x2c00);
    assert_eq!(*rig.requests.lock().unwrap(), [Request::Suspend, Request::Shutdown]);
    assert_eq!(rig.read(0x604, 2), 0xc00, "the command is not stored");
    rig.chip.reset();
    rig.chip.wake();
    rig.chip.reset();
    assert_eq!(rig.read(0x600, 2) & 0x8100, 0x8000, "why it woke is known after the reset");
}

#[test]
fn commands_are_management_interrupts_if_firmware_wants_that() {
    let rig = Rig::new();
    rig.command(7);
    assert_eq!(rig.smi.edges(), 0);
    rig.config(0x58, 4, 1 << 25);
    rig.command(7);
    rig.command(ACPI_ENABLE);
    rig.chip.command_ports().write(1, 1, 9).unwrap();
    assert_eq!(rig.smi.edges(), 1, "neither a command of ACPI nor the status byte is one");
    let ports = rig.chip.command_ports();
    assert_eq!((ports.read(0, 1), ports.read(1, 1)), (Ok(ACPI_ENABLE.into()), Ok(9)));
}

#[test]
fn nobody_answers_on_the_system_management_bus() {
    let rig = Rig::new();
    let base = 0xb100;
    rig.write(base + 4, 1, 0xa0);
    rig.write(base + 2, 1, 0x48);
    assert_eq!((rig.read(base, 1), rig.read(base + 2, 1), rig.read(base + 4, 1)), (4, 8, 0xa0));
    rig.write(base, 1, 0xff);
    assert_eq!(rig.read(base, 1), 0);
    for i in 0..32 {
        rig.write(base + 7, 1, i);
    }
    rig.read(base + 2, 1);
    assert_eq!([0; 3].map(|_: u8| rig.read(base + 7, 1)), [0, 1, 2]);
}

#[test]
fn a_saved_state_goes_on() {
    let rig = Rig::new();
    rig.write(0x600, 4, 0x0120_0000);
    rig.command(ACPI_ENABLE);
    rig.chip.press_power_button();
    let saved = rig.chip.save();
    rig.chip.reset();
    rig.chip.drive();
    assert!(!rig.sci.is_high());
    rig.chip.restore(&saved).unwrap();
    rig.chip.drive();
    assert_eq!((rig.sci.is_high(), rig.chip.save() == saved), (true, true));
}

#[test]
fn random_accesses_do_no_harm() {
    let rig = Rig::new();
    let part = |part| Arc::new(Ports { chip: rig.chip.clone(), part }) as Arc<dyn Io>;
    let targets = [
        Target::new(part(Part::Acpi), 64, &[1, 2, 4]),
        Target::new(part(Part::Events), 4, &[1, 2, 4]),
        Target::new(part(Part::Smbus), 64, &[1]),
        Target::new(part(Part::Command), 2, &[1]),
    ];
    let function = rig.bus.function(Devfn::new(1, 3)).unwrap();
    hammer(7, 20_000, &targets, &rig.clock, |random| match random.below(4) {
        0 => rig.chip.press_power_button(),
        1 => rig.chip.set_event(random.value() as u8, random.below(2) == 0),
        _ => function.write(random.below(63) as usize * 4 + 4, 4, random.value() as u32).unwrap(),
    });
}
