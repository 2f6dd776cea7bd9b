use super::*;
use crate::testing::{Registers, hammer};
use isamorph_device::ManualClock;
use std::sync::atomic::{AtomicU32, Ordering};

/// MSRs.
const BASE: u32 = 0x1b;
const X2: u32 = 0x800;

struct Rig {
    clock: Arc<ManualClock>,
    wires: Vec<Arc<Wires>>,
    bus: Arc<ApicBus>,
}

impl Rig {
    /// Two APICs, enabled by software, nothing masked by priority.
    fn new() -> Self {
        let (clock, wires) = (ManualClock::new(), vec![Wires::new(), Wires::new()]);
        let processors = (0..).zip(&wires).map(|(id, wires)| Processor { id, wires: wires.clone() }).collect();
        let tsc: TscToClock = Arc::new(|_, value| value / 2);
        let options = Options { x2apic: true, tsc_deadline: Some(tsc) };
        let bus = ApicBus::new(&(clock.clone() as Arc<dyn Clock>), processors, &options);
        let rig = Rig { clock, wires, bus };
        (0..2).for_each(|cpu| rig.write(cpu, 0xf0, 0x1ff));
        rig
    }
    fn as_cpu<R>(cpu: u32, f: impl FnOnce() -> R) -> R {
        let before = initiator::get();
        initiator::set(cpu);
        let result = f();
        initiator::set(before);
        result
    }
    fn write(&self, cpu: u32, offset: u64, value: u32) {
        Self::as_cpu(cpu, || self.bus.mmio().write(offset, 4, value.into()).unwrap());
    }
    fn read(&self, cpu: u32, offset: u64) -> u32 {
        Self::as_cpu(cpu, || self.bus.mmio().read(offset, 4).unwrap() as u32)
    }
    fn msr(&self, cpu: usize, register: u32, value: u64) -> Option<()> {
        self.wires[cpu].controller().unwrap().write(register, value)
    }
    fn read_msr(&self, cpu: usize, register: u32) -> Option<u64> {
        self.wires[cpu].controller().unwrap().read(register)
    }
    fn wanted(&self, cpu: usize) -> bool {
        self.wires[cpu].pending().contains(Signals::INTERRUPT)
    }
    fn take(&self, cpu: usize) -> Option<u8> {
        self.wanted(cpu).then(|| self.wires[cpu].controller().unwrap().acknowledge())?
    }
    fn fixed(&self, address: u32, vector: u8) {
        let to = Destination { address, logical: false, wide: false };
        self.bus.send(&Message { to, delivery: Delivery::Fixed, vector, level: false });
    }
}

#[test]
fn registers_after_reset() {
    let rig = Rig::new();
    rig.bus.devices().iter().for_each(|device| device.reset());
    let values = [(0x20, 1 << 24), (0x30, 0x50014), (0x80, 0), (0xd0, 0), (0xe0, !0), (0xf0, 0xff), (0x350, 0x10000)];
    for (offset, value) in values {
        assert_eq!(rig.read(1, offset), value, "{offset:#x}");
    }
    assert_eq!(rig.read(0, 0x350), 0x700, "the PIC reaches the processor that boots");
    assert_eq!((rig.read_msr(0, BASE), rig.read_msr(1, BASE)), (Some(0xfee0_0900), Some(0xfee0_0800)));
}

#[test]
fn the_highest_vector_above_the_priority_is_taken() {
    let rig = Rig::new();
    rig.fixed(0, 0x31);
    rig.fixed(0, 0x52);
    assert_eq!((rig.take(0), rig.take(0), rig.take(1)), (Some(0x52), None, None));
    assert_eq!(rig.read(0, 0xa0), 0x50);
    rig.fixed(0, 0x5f);
    assert!(!rig.wanted(0), "the same class waits");
    rig.fixed(0, 0x61);
    assert_eq!(rig.take(0), Some(0x61));
    rig.write(0, 0xb0, 0);
    assert!(!rig.wanted(0));
    rig.write(0, 0xb0, 0);
    assert_eq!(rig.take(0), Some(0x5f));
    rig.write(0, 0xb0, 0);
    rig.msr(0, u32::MAX, 3).unwrap();
    assert_eq!((rig.wanted(0), rig.read(0, 0x80), rig.read_msr(0, u32::MAX)), (false, 0x30, Some(3)));
    rig.msr(0, u32::MAX, 2).unwrap();
    assert_eq!(rig.take(0), Some(0x31));
}

#[test]
fn an_apic_that_software_has_disabled_takes_no_interrupts() {
    let rig = Rig::new();
    rig.write(0, 0x320, 0x40);
    rig.write(0, 0xf0, 0xff);
    assert_eq!(rig.read(0, 0x320), 0x10040, "all masks are set");
    rig.write(0, 0x320, 0x40);
    assert_eq!(rig.read(0, 0x320), 0x10040, "and stay");
    rig.fixed(0, 0x31);
    assert_eq!((rig.wanted(0), rig.read(0, 0x210)), (false, 0));
}

#[test]
fn commands_reach_their_destinations() {
    let rig = Rig::new();
    // Physical, from 1 to 0; all but the sender; all; the sender.
    for (high, low, expected) in [
        (0u32, 0x0041u32, [Some(0x41), None]),
        (0xff00_0000, 0x0042, [Some(0x42), Some(0x42)]),
        (0, 0xc0043, [Some(0x43), None]),
        (0, 0x80044, [Some(0x44), Some(0x44)]),
        (0, 0x40045, [None, Some(0x45)]),
    ] {
        rig.write(1, 0x310, high);
        rig.write(1, 0x300, low);
        assert_eq!([rig.take(0), rig.take(1)], expected, "{low:#x}");
        (0..2).for_each(|cpu| rig.write(cpu, 0xb0, 0));
    }
}

#[test]
fn logical_destinations_are_sets_or_clusters() {
    let rig = Rig::new();
    rig.write(0, 0xd0, 1 << 24);
    rig.write(1, 0xd0, 2 << 24);
    let send = |address, vector| {
        let to = Destination { address, logical: true, wide: false };
        rig.bus.send(&Message { to, delivery: Delivery::Fixed, vector, level: false });
        let taken = [rig.take(0), rig.take(1)].map(|vector| vector.is_some());
        (0..2).for_each(|cpu| rig.write(cpu, 0xb0, 0));
        taken
    };
    assert_eq!(
        [send(1, 0x31), send(2, 0x31), send(3, 0x31), send(4, 0x31)],
        [[true, false], [false, true], [true; 2], [false; 2]]
    );
    for cpu in 0..2 {
        rig.write(cpu, 0xe0, 0);
        rig.write(cpu, 0xd0, 0x1100_0000 << cpu);
    }
    assert_eq!([send(0x11, 0x31), send(0x21, 0x31), send(0x22, 0x31)], [[true, false], [false; 2], [false, true]]);
    assert_eq!(send(0xf3, 0x31), [true; 2], "cluster 15 is all of them");
}

#[test]
fn the_lowest_priority_is_the_idler_processor_or_the_one_that_has_it() {
    let rig = Rig::new();
    rig.write(0, 0x80, 0x20);
    let to = Destination { address: 0xff, logical: false, wide: false };
    let send = || rig.bus.send(&Message { to, delivery: Delivery::LowestPriority, vector: 0x51, level: false });
    send();
    assert_eq!([rig.wanted(0), rig.take(1).is_some()], [false, true]);
    rig.write(1, 0x80, 0xf0);
    send();
    assert!(!rig.wanted(0), "processor 1 serves it, and gets it again");
    rig.write(1, 0xf0, 0x3ff);
    send();
    assert_eq!(rig.take(0), Some(0x51), "unless it does not look at that");
}

#[test]
fn signals_that_are_no_interrupts() {
    let rig = Rig::new();
    for (low, signal) in
        [(0x400, Signals::NMI), (0x200, Signals::SMI), (0x4500, Signals::INIT), (0x608, Signals::START)]
    {
        rig.write(0, 0x310, 1 << 24);
        rig.write(0, 0x300, low);
        assert_eq!(rig.wires[1].take(Signals::all()), signal);
    }
    assert_eq!(rig.wires[1].start_vector(), 8);
    rig.write(0, 0x300, 0x8500);
    assert!(rig.wires[1].pending().is_empty(), "INIT that is taken back");
    assert_eq!(rig.read(1, 0xf0), 0xff, "INIT resets the APIC");
}

#[test]
fn messages_are_writes_to_the_area() {
    let rig = Rig::new();
    let message = |address: u64, data: u64| rig.bus.mmio().write(address, 4, data).unwrap();
    message(0x1000, 0x41);
    assert_eq!([rig.take(0), rig.take(1)], [None, Some(0x41)]);
    message(0, 0x42);
    assert_eq!([rig.take(0), rig.take(1)], [Some(0x42), None], "number 0 shares its page with the registers");
    message(0x0ff000, 0x451);
    assert_eq!(rig.wires[1].take(Signals::NMI), Signals::NMI);
    message(0x1000, 0x351);
    assert!(rig.wires[1].pending().is_empty(), "a reserved mode");
}

#[test]
fn levels_are_reported_at_their_end() {
    #[derive(Default)]
    struct Ends(AtomicU32);
    impl EoiListener for Ends {
        fn end_of_interrupt(&self, vector: u8) {
            self.0.fetch_add(vector.into(), Ordering::Relaxed);
        }
    }
    let (rig, ends) = (Rig::new(), Arc::new(Ends::default()));
    let weak: Weak<Ends> = Arc::downgrade(&ends);
    rig.bus.listen(weak);
    rig.fixed(0, 0x31);
    let to = Destination { address: 0, logical: false, wide: false };
    rig.bus.send(&Message { to, delivery: Delivery::Fixed, vector: 0x42, level: true });
    assert_eq!(rig.read(0, 0x1a0), 4, "trigger mode of vector 0x42");
    rig.take(0);
    rig.write(0, 0xb0, 0);
    assert_eq!(ends.0.load(Ordering::Relaxed), 0x42);
    rig.take(0);
    rig.write(0, 0xb0, 0);
    assert_eq!(ends.0.load(Ordering::Relaxed), 0x42, "edges are not");
}

#[test]
fn the_timer_ends_once_or_again_and_again() {
    let rig = Rig::new();
    rig.write(0, 0x3e0, 0xb);
    rig.write(0, 0x320, 0x40);
    rig.write(0, 0x380, 1000);
    rig.clock.advance(400);
    assert_eq!(rig.read(0, 0x390), 600);
    rig.clock.advance(599);
    assert_eq!(rig.take(0), None);
    rig.clock.advance(1);
    assert_eq!((rig.take(0), rig.read(0, 0x390)), (Some(0x40), 0));
    rig.write(0, 0xb0, 0);
    rig.clock.advance(5000);
    assert_eq!(rig.take(0), None);
    rig.write(0, 0x3e0, 0x3);
    rig.write(0, 0x320, 0x20040);
    rig.write(0, 0x380, 10_000);
    let mut ends = 0;
    for _ in 0..1600 {
        rig.clock.advance(1000);
        ends += u32::from(rig.take(0).is_some());
        rig.write(0, 0xb0, 0);
    }
    assert_eq!(ends, 10, "divided by 16");
    rig.write(0, 0x380, 0);
    rig.clock.advance(1_000_000);
    assert_eq!(rig.take(0), None);
}

#[test]
fn the_timer_waits_for_a_time_stamp() {
    let rig = Rig::new();
    assert_eq!(rig.msr(0, 0x6e0, 500), Some(()));
    assert_eq!(rig.read_msr(0, 0x6e0), Some(0), "in another mode nothing happens");
    rig.write(0, 0x320, 0x40040);
    rig.msr(0, 0x6e0, 500).unwrap();
    assert_eq!(rig.read_msr(0, 0x6e0), Some(500));
    rig.clock.advance(249);
    assert_eq!(rig.take(0), None);
    rig.clock.advance(1);
    assert_eq!((rig.take(0), rig.read_msr(0, 0x6e0)), (Some(0x40), Some(0)));
    rig.write(0, 0xb0, 0);
    rig.msr(0, 0x6e0, 10).unwrap();
    rig.clock.advance(0);
    assert_eq!(rig.take(0), Some(0x40), "one that has passed");
    rig.msr(0, 0x6e0, 10_000).unwrap();
    rig.msr(0, 0x6e0, 0).unwrap();
    rig.clock.advance(100_000);
    rig.write(0, 0xb0, 0);
    assert_eq!(rig.take(0), None);
}

#[test]
fn the_pic_passes_through_lint0_or_past_the_apic() {
    let rig = Rig::new();
    let line = rig.bus.pic_output();
    let asked = Arc::new(AtomicU32::new(0));
    let (count, pic) = (asked.clone(), line.clone());
    rig.bus.set_pic(move || {
        count.fetch_add(1, Ordering::Relaxed);
        pic.lower();
        0x08
    });
    line.raise();
    assert_eq!([rig.take(0), rig.take(0), rig.take(1)], [Some(0x08), None, None]);
    rig.write(0, 0x350, 0x10700);
    line.raise();
    assert!(!rig.wanted(0), "masked");
    rig.msr(0, BASE, 0xfee0_0100).unwrap();
    assert_eq!(rig.take(0), Some(0x08), "the pin is the interrupt input while the APIC is off");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let to = Destination { address: 1, logical: false, wide: false };
    rig.bus.send(&Message { to, delivery: Delivery::External, vector: 0, level: false });
    assert_eq!(rig.take(1), Some(0x08), "an I/O APIC says that the PIC has something");
}

#[test]
fn local_pins_have_modes() {
    let rig = Rig::new();
    let nmi = rig.bus.nmi_input();
    nmi.pulse();
    assert!(rig.wires[0].pending().is_empty(), "masked");
    rig.write(0, 0x360, 0x400);
    nmi.pulse();
    assert_eq!(rig.wires[0].take(Signals::all()), Signals::NMI);
    rig.write(0, 0x360, 0x8044);
    nmi.raise();
    assert_eq!((rig.take(0), rig.read(0, 0x360)), (Some(0x44), 0xc044));
    rig.write(0, 0xb0, 0);
    assert_eq!(rig.take(0), Some(0x44), "the level is still there");
    nmi.lower();
    rig.write(0, 0xb0, 0);
    assert_eq!((rig.take(0), rig.read(0, 0x360)), (None, 0x8044));
}

#[test]
fn errors_are_latched_by_a_write_and_interrupt() {
    let rig = Rig::new();
    rig.write(0, 0x370, 0x33);
    rig.write(0, 0x300, 0x40005);
    assert_eq!(rig.read(0, 0x280), 0);
    assert_eq!(rig.take(0), Some(0x33));
    rig.write(0, 0x280, 0);
    assert_eq!(rig.read(0, 0x280), 0x20);
    rig.write(0, 0x3f0, 0);
    rig.fixed(0, 3);
    rig.write(0, 0x280, 0);
    assert_eq!(rig.read(0, 0x280), 0xc0);
    rig.write(0, 0x280, 0);
    assert_eq!(rig.read(0, 0x280), 0);
}

#[test]
fn modes_change_only_as_the_manual_allows() {
    let rig = Rig::new();
    let (off, xapic, x2apic) = (0xfee0_0100, 0xfee0_0900, 0xfee0_0d00);
    assert_eq!(rig.msr(0, BASE, 0xfee0_0500), None, "x2APIC without enable");
    assert_eq!(rig.msr(0, BASE, x2apic), Some(()));
    assert_eq!(rig.msr(0, BASE, xapic), None);
    assert_eq!(rig.msr(0, BASE, off), Some(()));
    assert_eq!(rig.msr(0, BASE, x2apic), None);
    assert_eq!(rig.msr(0, BASE, xapic), Some(()));
    assert_eq!(rig.msr(0, BASE, xapic | 1), None, "reserved");
    let old = Options { x2apic: false, tsc_deadline: None };
    let processors = vec![Processor { id: 0, wires: rig.wires[1].clone() }];
    let bus = ApicBus::new(&(rig.clock.clone() as Arc<dyn Clock>), processors, &old);
    assert_eq!(bus.apics()[0].write_msr(BASE, x2apic), None);
    assert_eq!(bus.apics()[0].write_msr(0x6e0, 1), None);
}

#[test]
fn x2apic_registers_are_msrs() {
    let rig = Rig::new();
    assert_eq!(rig.read_msr(1, X2 + 2), None);
    rig.msr(0, BASE, 0xfee0_0d00).unwrap();
    rig.msr(1, BASE, 0xfee0_0c00).unwrap();
    assert!(Rig::as_cpu(1, || rig.bus.mmio().read(0x20, 4)).is_err(), "not in memory any more");
    assert_eq!((rig.read_msr(1, X2 + 2), rig.read_msr(1, X2 + 0xd)), (Some(1), Some(2)));
    rig.msr(0, X2 + 0x30, 1 << 32 | 0x41).unwrap();
    assert_eq!(rig.take(1), Some(0x41));
    assert_eq!(rig.msr(1, X2 + 0xb, 1), None);
    rig.msr(1, X2 + 0xb, 0).unwrap();
    rig.msr(0, X2 + 0x30, 3 << 32 | 0x842).unwrap();
    assert_eq!([rig.take(0), rig.take(1)], [Some(0x42); 2], "logical");
    rig.msr(1, X2 + 0x3f, 0x51).unwrap();
    assert_eq!(rig.take(1), Some(0x51));
    for (number, value) in
        [(2, 0), (0xe, 0), (0x31, 0), (0x30, 0x1000), (0x32, 0x80000), (8, 0x100), (0x39, 0), (0x100, 0)]
    {
        assert_eq!(rig.msr(0, X2 + number, value), None, "{number:#x}");
    }
    assert_eq!((rig.read_msr(0, X2 + 0xb), rig.read_msr(0, X2 + 0x3f), rig.read_msr(0, X2 + 9)), (None, None, None));
    rig.fixed(0xff, 0x61);
    assert_eq!([rig.take(0), rig.take(1)], [Some(0x61); 2], "everybody, in eight bits");
}

#[test]
fn saved_state_comes_back() {
    let rig = Rig::new();
    rig.write(0, 0x3e0, 0xb);
    rig.write(0, 0x320, 0x40);
    rig.write(0, 0x380, 1000);
    rig.fixed(0, 0x31);
    let state = rig.bus.apics()[0].save();
    let other = Rig::new();
    other.bus.apics()[0].restore(&state).unwrap();
    other.bus.apics()[0].drive();
    assert_eq!(other.bus.apics()[0].save(), state);
    assert_eq!(other.take(0), Some(0x31));
    other.clock.advance(1000);
    assert_eq!(other.take(0), Some(0x40));
    let mut bad = state;
    bad.dfr = 3;
    assert!(other.bus.apics()[0].restore(&bad).is_err());
    assert!(rig.bus.apics()[0].describe().contains("IRR      49"));
}

#[test]
fn random_accesses() {
    let rig = Rig::new();
    let (pic, nmi) = (rig.bus.pic_output(), rig.bus.nmi_input());
    rig.bus.set_pic(|| 0x20);
    let registers = [Registers::new(rig.bus.mmio(), 0x1000, &[4]), Registers::new(rig.bus.mmio(), 0x10_0000, &[4])];
    hammer(3, 60_000, &registers, &rig.clock, |random| {
        initiator::set(random.below(3) as u32);
        let cpu = random.below(2) as usize;
        let register = [BASE, 0x6e0, u32::MAX, X2 + random.below(0x40) as u32][random.below(4) as usize];
        let _ = rig.msr(cpu, register, random.value());
        let _ = rig.read_msr(cpu, register);
        if random.below(20) == 0 {
            let _ = rig.msr(cpu, BASE, 0xfee0_0800);
        }
        rig.take(cpu);
        pic.set(random.below(2) == 0);
        nmi.set(random.below(2) == 0);
    });
    initiator::set(0);
    for apic in rig.bus.apics() {
        apic.restore(&apic.save()).unwrap();
    }
}
