//! The differentiated definition block: the devices of the board that nobody finds by looking for them.

use super::Facts;
use super::aml::*;

/// Interrupts that PCI interrupt links can be given.
const LINK_INTERRUPTS: [u32; 3] = [5, 10, 11];
/// Slots of the bus.
const SLOTS: u64 = 32;
/// Ports of the serial lines, and their interrupts.
const SERIALS: [(u16, u8); 4] = [(0x3f8, 4), (0x2f8, 3), (0x3e8, 4), (0x2e8, 3)];

/// The block's terms.
pub(super) fn content(facts: &Facts<'_>) -> Vec<u8> {
    let mut terms = vec![
        scope("\\_SB", [device("PCI0", [name("_HID", eisa_id("PNP0A03")), name("_UID", int(0))])]),
        scope("\\_SB.PCI0", [routes(), windows(facts)]),
        scope("\\_SB.PCI0", functions(facts)),
        scope("\\_SB.PCI0", fixed_ports()),
        scope("\\_SB", links()),
        scope("\\_GPE", [name("_HID", text("ACPI0006"))]),
        scope("\\_SB", [processors(facts)]),
        scope("\\", sleeps(facts)),
    ];
    if facts.hpet {
        terms.push(scope("\\_SB", [hpet()]));
    }
    terms.into_iter().flat_map(Term::bytes).collect()
}

/// Interrupt routing: the pins of successive slots use the links in turn. Slot 1's first pin is the power management's,
/// whose interrupt is fixed.
fn routes() -> Term {
    let links = ["LNKD", "LNKA", "LNKB", "LNKC"];
    let rows = (0..SLOTS * 4).map(|i| {
        let (slot, pin) = (i / 4, i % 4);
        let link = if (slot, pin) == (1, 0) { "LNKS" } else { links[(slot + pin) as usize % 4] };
        package(vec![int(slot << 16 | 0xffff), int(pin), path(link), int(0)])
    });
    method("_PRT", 0, false, [give(package(rows.collect()))])
}

/// What the bus hands on: everything that is not RAM or the board's own.
fn windows(facts: &Facts<'_>) -> Term {
    let hole = (facts.above_4g + (1 << 32)).next_multiple_of(1 << 30);
    let display = Window::Memory { cacheable: true };
    name(
        "_CRS",
        resources([
            word_window(Window::Bus, 0, 0xff),
            io(0xcf8, 1, 8),
            word_window(Window::Io, 0, 0xcf7),
            word_window(Window::Io, 0xd00, 0xffff),
            dword_window(display, 0xa_0000, 0xb_ffff),
            dword_window(Window::Memory { cacheable: false }, facts.below_4g as u32, super::PCI_END),
            qword_window(Window::Memory { cacheable: true }, hole, hole + (2 << 30) - 1),
        ]),
    )
}

/// The functions of the chipset with what is behind them.
fn functions(facts: &Facts<'_>) -> Vec<Term> {
    let route_registers = [
        region("P40C", Space::PciConfig, 0x60, 4),
        scope(
            "\\_SB",
            [field("PCI0.S08.P40C", Access::Byte, false, &[("PRQ0", 8), ("PRQ1", 8), ("PRQ2", 8), ("PRQ3", 8)])],
        ),
    ];
    let bridge = [name("_ADR", int(0x1_0000))].into_iter().chain(route_registers).chain(isa_devices(facts));
    vec![
        device("S00", [name("_ADR", int(0))]),
        device("S08", bridge),
        device("S09", [name("_ADR", int(0x1_0001))]),
        device("S0B", [name("_ADR", int(0x1_0003))]),
    ]
}

fn isa_devices(facts: &Facts<'_>) -> Vec<Term> {
    let present = || name("_STA", int(15));
    let uses = |descriptors: Vec<Term>| name("_CRS", resources(descriptors));
    let mut devices = vec![
        device(
            "KBD",
            [name("_HID", eisa_id("PNP0303")), present(), uses(vec![io(0x60, 1, 1), io(0x64, 1, 1), irq(1)])],
        ),
        device("MOU", [name("_HID", eisa_id("PNP0F13")), present(), uses(vec![irq(12)])]),
        device("RTC", [name("_HID", eisa_id("PNP0B00")), uses(vec![io(0x70, 1, 8), irq(8)])]),
    ];
    for ((number, (port, interrupt)), _) in (1..).zip(SERIALS).zip(&facts.serials).filter(|(_, there)| **there) {
        devices.push(device(
            &format!("COM{number}"),
            [
                name("_HID", eisa_id("PNP0501")),
                name("_UID", int(number)),
                present(),
                uses(vec![io(port, 0, 8), irq(interrupt)]),
            ],
        ));
    }
    devices
}

/// Ports of the board that no device of the bus may be given.
fn fixed_ports() -> [Term; 2] {
    let taken = |port, length| name("_CRS", resources([io(port, 1, length)]));
    [
        device(
            "GPE0",
            [
                name("_HID", text("PNP0A06")),
                name("_UID", text("GPE0 resources")),
                name("_STA", int(11)),
                taken(super::GPE_PORT, 4),
            ],
        ),
        device("FWCF", [name("_HID", text("QEMU0002")), name("_STA", int(11)), taken(0x510, 12)]),
    ]
}

/// The interrupt links: LNKA to LNKD can be given an interrupt, by a register of the ISA bridge; LNKS has the one of
/// power management.
fn links() -> Vec<Term> {
    let has_none = || and(int(0x80), argument(0));
    let status = method("IQST", 1, false, [when(has_none(), [give(int(9))]), give(int(11))]);
    let current = method(
        "IQCR",
        1,
        true,
        [
            name("PRR0", resources([interrupts(&[0])])),
            create_dword_field(path("PRR0"), 5, "PRRI"),
            when(less(argument(0), int(0x80)), [store(argument(0), path("PRRI"))]),
            give(path("PRR0")),
        ],
    );
    let link = |number: u64| {
        let (link, register) = (format!("LNK{}", char::from(b'A' + number as u8)), format!("PRQ{number}"));
        device(
            &link,
            [
                name("_HID", eisa_id("PNP0C0F")),
                name("_UID", int(number)),
                name("_PRS", resources([interrupts(&LINK_INTERRUPTS)])),
                method("_STA", 0, false, [give(call("IQST", [path(&register)]))]),
                method("_DIS", 0, false, [set_bits(path(&register), int(0x80))]),
                method("_CRS", 0, false, [give(call("IQCR", [path(&register)]))]),
                method(
                    "_SRS",
                    1,
                    false,
                    [create_dword_field(argument(0), 5, "PRRI"), store(path("PRRI"), path(&register))],
                ),
            ],
        )
    };
    let fixed = device(
        "LNKS",
        [
            name("_HID", eisa_id("PNP0C0F")),
            name("_UID", int(4)),
            name("_PRS", resources([interrupts(&[super::SCI.into()])])),
            method("_STA", 0, false, [give(int(11))]),
            method("_DIS", 0, false, []),
            method("_CRS", 0, false, [give(path("_PRS"))]),
            method("_SRS", 1, false, []),
        ],
    );
    [status, current].into_iter().chain((0..4).map(link)).chain([fixed]).collect()
}

/// The HPET, if its registers look like one.
fn hpet() -> Term {
    let (vendor, period) = (|| local(0), || local(1));
    device(
        "HPET",
        [
            name("_HID", eisa_id("PNP0103")),
            name("_UID", int(0)),
            region("HPTM", Space::Memory, super::HPET.into(), 0x400),
            field("HPTM", Access::DWord, true, &[("VEND", 32), ("PRD", 32)]),
            method(
                "_STA",
                0,
                false,
                [
                    store(path("VEND"), vendor()),
                    store(path("PRD"), period()),
                    shift_right(vendor(), 16),
                    when(either(equal(vendor(), int(0)), equal(vendor(), int(0xffff))), [give(int(0))]),
                    when(either(equal(period(), int(0)), greater(period(), int(100_000_000))), [give(int(0))]),
                    give(int(15)),
                ],
            ),
            name("_CRS", resources([memory32_fixed(super::HPET, 0x400)])),
        ],
    )
}

/// The processors, each with its row of the interrupt controllers' table.
fn processors(facts: &Facts<'_>) -> Term {
    let head = [name("_HID", text("ACPI0010")), name("_CID", eisa_id("PNP0A05"))];
    // The numbers of processor objects are bytes; those behind them are found by the table alone.
    let rows = (0..facts.apic_ids.len().min(255)).map(|i| {
        let row = buffer(&super::acpi::local_apic(i as u32, facts.apic_ids[i]));
        processor(&format!("C{i:03X}"), i as u8, [name("_STA", int(15)), name("_MAT", row)])
    });
    device("CPUS", head.into_iter().chain(rows))
}

/// What the sleep type fields of the power management's control register mean.
fn sleeps(facts: &Facts<'_>) -> Vec<Term> {
    let sleep = |object: &str, kind| name(object, package(vec![int(kind), int(kind), int(0), int(0)]));
    let suspend = facts.suspend.then(|| sleep("_S3", 1));
    suspend.into_iter().chain([sleep("_S4", 2), sleep("_S5", 0)]).collect()
}
