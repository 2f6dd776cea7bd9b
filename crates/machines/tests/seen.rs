//! What is at which address, compared with what QEMU 10.0.2 shows for its `pc`: `info mtree -f` with
//! `-M pc -m 256 -S`.

mod common;

use common::{config, make};
use isamorph_engine::Kind;
use isamorph_machines::{Machine, Search};

/// Memory: first and last address, kind, name.
const MEMORY: [(u64, u64, &str, &str); 9] = [
    (0, 0x9_ffff, "ram", "pc.ram"),
    (0xa_0000, 0xb_ffff, "i/o", "vga-planes"),
    (0xc_0000, 0xd_ffff, "rom", "pc.rom"),
    (0xe_0000, 0xf_ffff, "rom", "pc.bios"),
    (0x10_0000, 0xfff_ffff, "ram", "pc.ram"),
    (0xfec0_0000, 0xfec0_0fff, "i/o", "ioapic"),
    (0xfed0_0000, 0xfed0_03ff, "i/o", "hpet"),
    (0xfee0_0000, 0xfeef_ffff, "i/o", "apic-msi"),
    (0xfffc_0000, 0xffff_ffff, "rom", "pc.bios"),
];

/// Ports: first and last, with QEMU's names.
const PORTS: [(u64, u64, &str); 41] = [
    (0x00, 0x07, "dma-chan"),
    (0x08, 0x0f, "dma-cont"),
    (0x20, 0x21, "pic"),
    (0x40, 0x43, "pit"),
    (0x60, 0x60, "i8042-data"),
    (0x61, 0x61, "pcspk"),
    (0x64, 0x64, "i8042-cmd"),
    (0x70, 0x70, "rtc-index"),
    (0x71, 0x71, "rtc"),
    (0x80, 0x80, "ioport80"),
    (0x81, 0x83, "dma-page"),
    (0x87, 0x87, "dma-page"),
    (0x89, 0x8b, "dma-page"),
    (0x8f, 0x8f, "dma-page"),
    (0x92, 0x92, "port92"),
    (0xa0, 0xa1, "pic"),
    (0xb2, 0xb3, "apm-io"),
    (0xc0, 0xcf, "dma-chan"),
    (0xd0, 0xdf, "dma-cont"),
    (0x170, 0x177, "ide"),
    (0x1ce, 0x1d1, "vbe"),
    (0x1f0, 0x1f7, "ide"),
    (0x376, 0x376, "ide"),
    (0x3b4, 0x3b5, "vga"),
    (0x3ba, 0x3ba, "vga"),
    (0x3c0, 0x3cf, "vga"),
    (0x3d4, 0x3d5, "vga"),
    (0x3da, 0x3da, "vga"),
    (0x3f6, 0x3f6, "ide"),
    (0x3f8, 0x3ff, "serial"),
    (0x4d0, 0x4d0, "elcr"),
    (0x4d1, 0x4d1, "elcr"),
    (0x510, 0x511, "fwcfg"),
    (0x514, 0x51b, "fwcfg.dma"),
    (0xcf8, 0xcf8, "pci-conf-idx"),
    (0xcf9, 0xcf9, "piix-reset-control"),
    (0xcfa, 0xcfb, "pci-conf-idx"),
    (0xcfc, 0xcff, "pci-conf-data"),
    (0xafe0, 0xafe3, "acpi-gpe0"),
    (0xb100, 0xb13f, "pm-smbus"),
    // This test's own.
    (0xe9, 0xe9, "isa-debugcon"),
];

/// Ranges of a space's view: first and last address, kind, name.
fn view(machine: &Machine, name: &str) -> Vec<(u64, u64, String, String)> {
    let listing = machine.map().flat_listing();
    let mut views = listing.split("FlatView #");
    let found = views.find(|view| view.contains(&format!(" AS \"{name}\""))).expect("the view");
    let range = |line: &str| {
        let (first, rest) = line.trim().split_once('-')?;
        let (last, rest) = rest.split_once(" (prio ")?;
        let (_, rest) = rest.split_once(", ")?;
        let (kind, name) = rest.split_once("): ")?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some((number(first)?, number(last)?, kind.to_owned(), name.split(' ').next()?.to_owned()))
    };
    found.lines().filter_map(range).collect()
}

#[test]
fn the_pc_looks_like_qemus() {
    let search = Search::default();
    if ["bios-256k.bin", "vgabios-stdvga.bin"].iter().any(|name| search.find(name.as_ref()).is_none()) {
        eprintln!("skipped: no SeaBIOS");
        return;
    }
    let mut config = config("pc", 1, "0xe9");
    (config.ram, config.vga) = (256 << 20, true);
    config.serials = vec![Some(isamorph_chardev::null())];
    let machine = make(&config, Kind::Interp);
    let memory = view(&machine, "memory");
    let expected = MEMORY.map(|(first, last, kind, name)| (first, last, kind.to_owned(), name.to_owned()));
    assert_eq!(memory, expected);
    let ports = view(&machine, "I/O");
    for (first, last, name) in PORTS {
        let covers = ports.iter().any(|(start, end, ..)| *start <= first && last <= *end);
        assert!(covers, "{name} at {first:#x}");
    }
    for (first, last, _, name) in ports {
        // One range of ours may be several of QEMU's.
        let known =
            PORTS.iter().any(|(start, end, _)| first <= *start && *end <= last || *start <= first && last <= *end);
        assert!(known, "{name} at {first:#x}");
    }
}
