//! Interrupt controllers of the PC, and the lines to them.

use crate::site::{BYTES, Site};
use isamorph_device::{Gate, Line};
use isamorph_devices::apic::{ApicBus, Options, Processor, TscToClock};
use isamorph_devices::hpet::Hpet;
use isamorph_devices::ioapic::IoApic;
use isamorph_devices::pic::Pic;
use isamorph_space::{Endian, IoRules, Sizes};
use std::sync::Arc;

/// Where the processors find their local APICs, and devices the target of their messages.
const LOCAL_APICS: u64 = 0xfee0_0000;

/// Where the I/O APIC is.
const IO_APIC: u64 = 0xfec0_0000;
/// Where the HPET is, and the inputs of the I/O APIC that its timers can choose.
const HPET: u64 = 0xfed0_0000;
const HPET_ROUTES: u32 = 1 << 2;

/// Who drives an interrupt line of the ISA bus.
#[derive(Clone, Copy)]
pub(super) enum Driver {
    /// A device on the bus.
    Isa = 0,
    /// A PCI interrupt that the chipset routes there.
    Pci = 1,
    /// The chipset's own system control interrupt.
    Sci = 2,
    /// A second device on the bus.
    OtherIsa = 3,
}

/// The interrupt lines of the board.
pub(super) struct Interrupts {
    irqs: Vec<Arc<Gate>>,
    pub pic: Arc<Pic>,
    pub io_apic: Arc<IoApic>,
    pub apics: Arc<ApicBus>,
    pub hpet: Arc<Hpet>,
}

impl Interrupts {
    /// An interrupt line of the ISA bus, 0 to 15.
    pub(super) fn irq(&self, number: u32, driver: Driver) -> Line {
        self.irqs.get(number as usize).map_or(Line::unconnected(), |gate| gate.input(driver as u32))
    }
    /// All of them, for one kind of drivers.
    pub(super) fn all(&self, driver: Driver) -> [Line; 16] {
        std::array::from_fn(|number| self.irq(number as u32, driver))
    }
}

/// Builds them. An interrupt line leads to the PIC and to the I/O APIC, to the input of its own number there; line 0
/// leads to input 2 because the PIC's output may be at input 0 (the firmware's tables say so).
pub(super) fn build(site: &mut Site<'_>) -> Interrupts {
    let config = site.config;
    let (clock, ticks) = (site.clock.clone(), config.processors.ticks);
    let tsc_to_clock: TscToClock = Arc::new(move |_, value| clock.now().saturating_add(value.saturating_sub(ticks())));
    let processors = site.wires.iter().zip(&config.processors.ids);
    let processors = processors.map(|(wires, id)| Processor { id: *id, wires: wires.clone() }).collect();
    let options = Options { x2apic: true, tsc_deadline: Some(tsc_to_clock) };
    let apics = ApicBus::new(&site.clock, processors, &options);
    site.map.update(|tree| {
        let region = tree.io("apic-msi", 1 << 20, IoRules::exactly(4, 4), apics.mmio());
        tree.add(site.system, region, LOCAL_APICS, 4096);
    });
    let pic = Pic::new(apics.pic_output());
    let asked = pic.clone();
    apics.set_pic(move || asked.acknowledge());
    site.port("pic", 0x20, 2, BYTES, pic.ports(0));
    site.port("pic", 0xa0, 2, BYTES, pic.ports(1));
    site.port("elcr", 0x4d0, 2, BYTES, pic.level_ports());
    let io_apic = IoApic::new(&apics);
    site.registers("ioapic", IO_APIC, 4096, IoRules::exactly(4, 4), io_apic.registers());
    // The PIC's own output is at input 0 of the I/O APIC's, so that the timer's line goes to input 2.
    let irq = |number| {
        let pin = if number == 0 { 2 } else { number };
        Gate::new(Line::to_all(vec![pic.input(number), io_apic.input(pin)]))
    };
    let irqs: Vec<Arc<Gate>> = (0..16).map(irq).collect();
    let isa = |number: u32| irqs[number as usize].input(Driver::OtherIsa as u32);
    let lines = (0..24).map(|number| if number < 16 { isa(number) } else { io_apic.input(number) }).collect();
    let legacy = [0, 8].map(|number: u32| irqs[number as usize].input(Driver::Isa as u32));
    let hpet = Hpet::new(&site.clock, lines, HPET_ROUTES, legacy, None);
    let wide = Sizes::new(4, 8);
    let rules = IoRules { valid: wide, implemented: wide, endian: Endian::Little };
    site.registers("hpet", HPET, 1024, rules, hpet.registers());
    site.devices.extend(apics.devices());
    site.devices.push(pic.clone());
    site.devices.push(io_apic.clone());
    site.devices.push(hpet.clone());
    Interrupts { irqs, pic, io_apic, apics, hpet }
}
