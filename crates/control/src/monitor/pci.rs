//! `info pci` and `info qtree`.

use super::Session;
use isamorph_devices::pci::{Function, PciBus, reg};
use std::fmt::Write as _;
use std::sync::Arc;

/// What classes are called (PCI Code and ID Assignment Specification, section 1).
const CLASSES: &[(u16, &str)] = &[
    (0x0000, "Class 0000"),
    (0x0100, "SCSI controller"),
    (0x0101, "IDE controller"),
    (0x0106, "SATA controller"),
    (0x0200, "Ethernet controller"),
    (0x0300, "VGA controller"),
    (0x0380, "Display controller"),
    (0x0401, "Audio controller"),
    (0x0500, "RAM controller"),
    (0x0600, "Host bridge"),
    (0x0601, "ISA bridge"),
    (0x0604, "PCI bridge"),
    (0x0680, "Bridge"),
    (0x0700, "Serial port"),
    (0x0c03, "USB controller"),
    (0x0c05, "SMBus"),
];

fn class(code: u16) -> String {
    let found = CLASSES.iter().find(|(known, _)| *known == code);
    found.map_or_else(|| format!("Class {code:04x}"), |(_, name)| (*name).to_owned())
}

/// `info pci`.
pub(super) fn show(session: &Session) -> String {
    let mut text = String::new();
    if let Some(bus) = &session.machine().chips().bus {
        show_bus(&mut text, bus, 0);
    }
    text
}

fn read(function: &Function, offset: usize, size: usize) -> u32 {
    function.read(offset, size).unwrap_or(u32::MAX >> (32 - 8 * size as u32))
}

fn show_bus(text: &mut String, bus: &Arc<PciBus>, number: u32) {
    for function in bus.functions() {
        let (identity, devfn) = (function.identity(), function.devfn());
        let _ = writeln!(text, "  Bus {number:>2}, device {:>3}, function {}:", devfn.slot(), devfn.function());
        let name = class((identity.class >> 8) as u16);
        let _ = writeln!(text, "    {name}: PCI device {:04x}:{:04x}", identity.vendor, identity.device);
        if let Some((vendor, device)) = identity.subsystem.filter(|_| function.secondary().is_none()) {
            let _ = writeln!(text, "      PCI subsystem {vendor:04x}:{device:04x}");
        }
        if identity.pin != 0 {
            let line = read(&function, reg::INTERRUPT, 1);
            let _ = writeln!(text, "      IRQ {line}, pin {}", (b'A' + identity.pin - 1) as char);
        }
        if function.secondary().is_some() {
            show_bridge(&mut *text, &function);
        }
        for (bar, at, size, is_io) in function.regions() {
            show_region(text, &function, bar, at, size, is_io);
        }
        text.push_str("      id \"\"\n");
        if let Some(behind) = function.secondary() {
            show_bus(text, behind, read(&function, SECONDARY, 1));
        }
    }
}

/// Number of the bus behind a bridge (PCI-to-PCI Bridge Architecture Specification, 3.2.5.4).
const SECONDARY: usize = 0x19;

/// Bus numbers and windows of a bridge (3.2.5.3 ff.).
fn show_bridge(text: &mut String, function: &Function) {
    let get = |offset, size| read(function, offset, size);
    let (primary, secondary, subordinate) = (get(0x18, 1), get(SECONDARY, 1), get(0x1a, 1));
    let _ =
        writeln!(text, "      BUS {primary}.\n      secondary bus {secondary}.\n      subordinate bus {subordinate}.");
    let (io_first, io_last) = ((get(0x1c, 1) & 0xf0) << 8, (get(0x1d, 1) & 0xf0) << 8 | 0xfff);
    let _ = writeln!(text, "      IO range [0x{io_first:04x}, 0x{io_last:04x}]");
    for (offset, what) in [(0x20, "memory range"), (0x24, "prefetchable memory range")] {
        let (first, last) = ((get(offset, 2) & 0xfff0) << 16, (get(offset + 2, 2) & 0xfff0) << 16 | 0xf_ffff);
        let _ = writeln!(text, "      {what} [0x{first:08x}, 0x{last:08x}]");
    }
}

fn show_region(text: &mut String, function: &Function, bar: usize, at: Option<u64>, size: u64, is_io: bool) {
    const ROM: usize = 6;
    let raw = if bar < ROM { read(function, reg::BAR0 + 4 * bar, 4) } else { 0 };
    let kind = match (is_io, raw & 6, raw & 8) {
        (true, ..) => "I/O".to_owned(),
        (false, wide, prefetchable) => format!(
            "{} bit {}memory",
            if wide == 4 { 64 } else { 32 },
            if prefetchable != 0 { "prefetchable " } else { "" },
        ),
    };
    let width = if is_io { 4 } else { 8 };
    let _ = match at {
        Some(at) => writeln!(text, "      BAR{bar}: {kind} at 0x{at:0width$x} [0x{:0width$x}]", at + size - 1),
        None => writeln!(text, "      BAR{bar}: {kind} (not mapped)"),
    };
}

/// `info qtree`: buses and what is on them.
pub(super) fn tree(session: &Session) -> String {
    let mut text = String::from("bus: main-system-bus\n  type System\n");
    let machine = session.machine();
    let functions = machine.chips().bus.as_ref().map(|bus| bus.functions()).unwrap_or_default();
    let is_function = |name: &str| functions.iter().any(|function| function.identity().name == name);
    for device in machine.devices().iter().filter(|device| !is_function(device.name())) {
        let _ = writeln!(text, "  dev: {}, id \"\"", device.name());
    }
    if !functions.is_empty() {
        text.push_str("  bus: pci.0\n    type PCI\n");
    }
    for function in functions {
        let (identity, devfn) = (function.identity(), function.devfn());
        let _ = writeln!(text, "    dev: {}, id \"\"", identity.name);
        let _ = writeln!(text, "      addr = {:02x}.{:x}", devfn.slot(), devfn.function());
        let class = class((identity.class >> 8) as u16);
        let _ = writeln!(text, "      class {class}, addr 00:{:02x}.{:x}", devfn.slot(), devfn.function());
    }
    text
}
