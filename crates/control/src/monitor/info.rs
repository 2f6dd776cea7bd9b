//! What `info` can show.

// tidy: table

use super::commands::Answer;
use super::{Session, paging, pci, registers, version};
use isamorph_machines::RunState;
use isamorph_space::Target;
use std::fmt::Write as _;

/// A subcommand.
struct Row {
    name: &'static str,
    help: &'static str,
    run: fn(&Session, &str) -> Answer,
}

const fn row(name: &'static str, help: &'static str, run: fn(&Session, &str) -> Answer) -> Row {
    Row { name, help, run }
}

static ROWS: &[Row] = &[
    row("block", "show the block devices", |s, _| Ok(block(s))),
    row("chardev", "show the character devices", |s, _| {
        let line = |(id, text): &(String, String)| format!("{id}: filename={text}\n");
        Ok(s.console.chardevs.list().iter().map(line).collect())
    }),
    row("cpus", "show infos for each CPU", |s, _| Ok(cpus(s))),
    row("irq", "show the interrupt controllers' inputs", |s, _| Ok(requests(s))),
    row("jit", "show dynamic compiler info", |s, _| Ok(s.machine().accelerator().describe())),
    row("kvm", "show KVM information", |s, _| {
        let on = s.machine().accelerator().name() == "kvm";
        Ok(format!("kvm support: {}\n", if on { "enabled" } else { "disabled" }))
    }),
    row("lapic", "show local apic state", lapic),
    row("mem", "show the active virtual memory mappings", paging::mem),
    row("mice", "show which guest mouse is receiving events", |s, _| {
        let line = |(n, p): (usize, isamorph_display::input::PointerInfo)| {
            let (mark, kind) = (if p.current { '*' } else { ' ' }, if p.absolute { " (absolute)" } else { "" });
            format!("{mark} Mouse #{n}: {}{kind}\n", p.name)
        };
        Ok(s.machine().input().pointers().into_iter().enumerate().map(line).collect())
    }),
    row("mtree", "show memory tree (-f: flat views)", |s, rest| {
        let map = s.machine().map();
        Ok(if rest.split_whitespace().any(|word| word == "-f") { map.flat_listing() } else { map.listing() })
    }),
    row("name", "show the current VM name", |s, _| {
        Ok(s.console.name.as_ref().map_or(String::new(), |n| n.clone() + "\n"))
    }),
    row("pci", "show PCI info", |s, _| Ok(pci::show(s))),
    row("pic", "show PIC state", |s, _| Ok(pic(s))),
    row("qtree", "show device tree", |s, _| Ok(pci::tree(s))),
    row("ramblock", "show system ramblock information", |s, _| Ok(ramblock(s))),
    row("registers", "show the cpu registers (-a: all CPUs)", registers::show),
    row("status", "show the current VM status", |s, _| Ok(status(s))),
    row("tlb", "show virtual to physical memory mappings", paging::tlb),
    row("uuid", "show the current VM UUID", |s, _| Ok(format!("{}\n", s.console.uuid))),
    row("version", "show the version", |_, _| Ok(version() + "\n")),
];

/// The names of the subcommands.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name)
}

/// The list of them.
pub(super) fn help() -> String {
    ROWS.iter().map(|row| format!("info {} -- {}\n", row.name, row.help)).collect()
}

/// Executes one.
pub(super) fn run(session: &Session, rest: &str) -> Answer {
    let (name, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    if name.is_empty() {
        return Ok(help());
    }
    let row = ROWS.iter().find(|row| row.name == name).ok_or_else(|| format!("unknown command: 'info {name}'"))?;
    (row.run)(session, rest.trim())
}

fn status(session: &Session) -> String {
    match session.machine().state() {
        RunState::Running => "VM status: running\n".to_owned(),
        RunState::Paused => "VM status: paused\n".to_owned(),
        other => format!("VM status: paused ({})\n", other.name()),
    }
}

fn cpus(session: &Session) -> String {
    let mark = |n| if n == session.processor() as usize { '*' } else { ' ' };
    let line = |(n, thread)| format!("{} CPU #{n}: thread_id={thread}\n", mark(n));
    super::threads(session.machine()).into_iter().enumerate().map(line).collect()
}

fn block(session: &Session) -> String {
    let mut text = String::new();
    for setup in session.machine().drives() {
        let (drive, name) = (&setup.drive, setup.drive.name());
        let Some(info) = drive.info() else {
            let _ = write!(text, "{name}: [not inserted]\n    Removable device\n\n");
            continue;
        };
        let number = drive.medium().map_or(0, |medium| medium.number);
        let _ = writeln!(text, "{name} (#block{number:03}): {} ({})", info.file, info.format);
        if setup.options.media == isamorph_block::Media::Cdrom {
            text.push_str("    Removable device\n");
        }
        let _ = writeln!(text, "    Cache mode:       {}", drive.cache().name());
        if let Some(backing) = &info.backing_file {
            let _ = writeln!(text, "    Backing file:     {backing} (chain depth: {})", info.backing_depth);
        }
        text.push('\n');
    }
    text
}

fn requests(session: &Session) -> String {
    let (mut text, chips) = (String::new(), session.machine().chips());
    if let Some(pic) = &chips.pic {
        for (n, [irr, imr, isr, _]) in pic.registers().into_iter().enumerate() {
            for input in (0..8).filter(|input| (irr | isr) >> input & 1 != 0) {
                let state = |mask: u8, what| if mask >> input & 1 != 0 { what } else { "" };
                let (wanted, masked, served) =
                    (state(irr, " requested"), state(imr, " masked"), state(isr, " in service"));
                let _ = writeln!(text, "i8259 irq {}:{wanted}{masked}{served}", 8 * n + input);
            }
        }
    }
    if let Some(chip) = &chips.io_apic {
        let (_, irr) = chip.table();
        (0..32).filter(|n| irr >> n & 1 != 0).for_each(|n| {
            let _ = writeln!(text, "ioapic pin {n}: requested");
        });
    }
    if text.is_empty() { "no interrupt is requested\n".to_owned() } else { text }
}

fn pic(session: &Session) -> String {
    let (mut text, chips) = (String::new(), session.machine().chips());
    if let Some(chip) = &chips.io_apic {
        let (table, irr) = chip.table();
        text.push_str("ioapic0: ver=0x20\n");
        for (n, entry) in table.iter().enumerate() {
            let choice = |bit: u32, [off, on]: [&'static str; 2]| if entry >> bit & 1 != 0 { on } else { off };
            let _ = writeln!(
                text,
                "  pin {n:<2} {entry:#018x} dest={} vec={:<3} {} {} {} {}",
                entry >> 56,
                entry & 0xff,
                choice(13, ["active-hi", "active-lo"]),
                choice(15, ["edge", "level"]),
                choice(16, ["", "masked"]),
                choice(11, ["physical", "logical"]),
            );
        }
        let _ = writeln!(text, "  IRR {irr:#010x}");
    }
    if let Some(pic) = &chips.pic {
        for (n, [irr, imr, isr, elcr]) in pic.registers().into_iter().enumerate() {
            let _ = writeln!(text, "pic{n}: irr={irr:02x} imr={imr:02x} isr={isr:02x} elcr={elcr:02x}");
        }
    }
    text
}

fn lapic(session: &Session, rest: &str) -> Answer {
    let index = if rest.is_empty() { u64::from(session.processor()) } else { super::commands::count(rest)? };
    let apics = session.machine().chips().apics.as_ref().ok_or("this machine has no local APIC")?;
    let apic = apics.apics().get(index as usize).ok_or("no such CPU")?;
    Ok(apic.describe())
}

fn ramblock(session: &Session) -> String {
    let mut text = format!("{:>24} {:>20} {:>20} {:>18}\n", "Block Name", "Used", "Host address", "First address");
    let mut seen: Vec<String> = Vec::new();
    for range in session.machine().memory().view().ranges() {
        let (Target::Ram(block) | Target::RomDevice(block, ..)) = &range.target else { continue };
        if seen.iter().all(|name| name != block.name()) {
            seen.push(block.name().to_owned());
            let (name, size, host) = (block.name(), block.size(), block.host_addr());
            let _ = writeln!(text, "{name:>24} {size:#020x} {host:#020x} {:#018x}", range.start);
        }
    }
    text
}
