//! ACPI's tables (ACPI specification 6.5, chapter 5.2; HPET specification 1.0a, 3.2.4; WAET specification).

use super::loader::{Loader, Zone};
use super::{Facts, GPE_PORT, HPET, PM_PORT, SCI, dsdt};

/// Files that firmware knows by name.
pub(super) const TABLES: &str = "etc/acpi/tables";
pub(super) const RSDP: &str = "etc/acpi/rsdp";

/// What guests know emulated PCs by.
const OEM: &[u8; 6] = b"BOCHS ";
const OEM_TABLE: &[u8; 8] = b"BXPC    ";
const CREATOR: &[u8; 4] = b"BXPC";
const CHECKSUM: u32 = 9;
/// The tables have a multiple of this many bytes.
const ROOM: usize = 0x2_0000;

const LOCAL_APIC: u32 = 0xfee0_0000;
const IO_APIC: u32 = 0xfec0_0000;
/// Interrupts of PCI devices and of power management: level-triggered, active high.
const LEVEL_INTERRUPTS: [u8; 4] = [5, 9, 10, 11];

/// The files.
pub(super) struct Files {
    pub tables: Vec<u8>,
    pub rsdp: Vec<u8>,
    pub loader: Vec<u8>,
}

#[derive(Default)]
struct Builder {
    tables: Vec<u8>,
    loader: Loader,
}

impl Builder {
    /// Adds a table with the usual header, and pointers at offsets of its body, given with their sizes, to what is at
    /// offsets of the file. Gives its own offset.
    fn table(&mut self, signature: &[u8; 4], revision: u8, mut body: Vec<u8>, pointers: &[(u32, u8, u32)]) -> u32 {
        const HEADER: u32 = 36;
        let (start, length) = (self.tables.len() as u32, HEADER + body.len() as u32);
        for (at, size, to) in pointers {
            let at = *at as usize;
            body[at..at + usize::from(*size)].copy_from_slice(&u64::from(*to).to_le_bytes()[..usize::from(*size)]);
        }
        self.tables.extend(signature);
        self.tables.extend(length.to_le_bytes());
        self.tables.extend([revision, 0]);
        self.tables.extend(OEM);
        self.tables.extend(OEM_TABLE);
        self.tables.extend(1u32.to_le_bytes());
        self.tables.extend(CREATOR);
        self.tables.extend(1u32.to_le_bytes());
        self.tables.extend(body);
        for (at, size, _) in pointers {
            self.loader.pointer(TABLES, start + HEADER + at, *size, TABLES);
        }
        self.loader.checksum(TABLES, start + CHECKSUM, start, length);
        start
    }
}

/// All tables, and how firmware puts them together.
pub(super) fn files(facts: &Facts<'_>) -> Files {
    let mut builder = Builder::default();
    builder.loader.allocate(TABLES, 64, Zone::High);
    let facs = builder.tables.len() as u32;
    builder.tables.extend(self::facs());
    let dsdt = builder.table(b"DSDT", 1, dsdt::content(facts), &[]);
    // Offsets are those in the body: firmware control, the 32-bit pointer to the DSDT, and the 64-bit one.
    let mut roots = vec![builder.table(b"FACP", 3, fadt(), &[(0, 4, facs), (4, 4, dsdt), (104, 8, dsdt)])];
    roots.push(builder.table(b"APIC", 3, madt(facts), &[]));
    if facts.hpet {
        roots.push(builder.table(b"HPET", 1, hpet(), &[]));
    }
    // The clock's interrupt need not be acknowledged twice; the timer need not be read twice.
    roots.push(builder.table(b"WAET", 1, 2u32.to_le_bytes().to_vec(), &[]));
    let pointers: Vec<_> = (0..).step_by(4).zip(&roots).map(|(at, root)| (at, 4, *root)).collect();
    let rsdt = builder.table(b"RSDT", 1, vec![0; 4 * roots.len()], &pointers);
    let Builder { mut tables, mut loader } = builder;
    // So that the guest's memory map does not depend on how long the tables are.
    tables.resize(tables.len().next_multiple_of(ROOM), 0);
    let rsdp = [b"RSD PTR \0", &OEM[..], &[0], &rsdt.to_le_bytes()].concat();
    loader.allocate(RSDP, 16, Zone::Bios);
    loader.pointer(RSDP, 16, 4, TABLES);
    loader.checksum(RSDP, 8, 0, rsdp.len() as u32);
    Files { tables, rsdp, loader: loader.finish() }
}

/// The firmware control structure; its lock and wake-up vector are the operating system's.
fn facs() -> Vec<u8> {
    let mut bytes = [&b"FACS"[..], &64u32.to_le_bytes()].concat();
    bytes.resize(64, 0);
    bytes
}

/// A register at a port (5.2.3.2).
fn port(bits: u8, access: u8, address: u16) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&[1, bits, 0, access]);
    bytes[4..6].copy_from_slice(&address.to_le_bytes());
    bytes
}

/// The fixed hardware (5.2.9), from the firmware control pointer on.
fn fadt() -> Vec<u8> {
    // Cache write-back works, C1 exists, there is no sleep button, the clock wakes from S4, there is a reset register,
    // the platform's timer is to be used.
    const FLAGS: u32 = 1 | 1 << 2 | 1 << 5 | 1 << 7 | 1 << 10 | 1 << 15;
    // There are ISA devices and an 8042.
    const BOOT_FLAGS: u16 = 3;
    // Where the clock keeps the century.
    const CENTURY: u8 = 0x32;
    let (events, control, timer) = (PM_PORT, PM_PORT + 4, PM_PORT + 8);
    let mut bytes = Vec::new();
    bytes.extend([0; 8]);
    bytes.extend([1, 0, SCI, 0]);
    bytes.extend(0xb2u32.to_le_bytes());
    bytes.extend([isamorph_devices::piix4::ACPI_ENABLE, isamorph_devices::piix4::ACPI_DISABLE, 0, 0]);
    for block in [events, 0, control, 0, 0, timer, GPE_PORT, 0] {
        bytes.extend(u32::from(block).to_le_bytes());
    }
    // Lengths of the blocks that are there.
    bytes.extend([4, 2, 0, 4, 4, 0, 0, 0]);
    // The deeper sleeps of a processor take longer than is worth while.
    bytes.extend([0xff, 0x0f, 0xff, 0x0f, 0, 0, 0, 0]);
    // No duty cycle, no alarm of days and months, a century.
    bytes.extend([0, 0, 0, 0, CENTURY]);
    bytes.extend(BOOT_FLAGS.to_le_bytes());
    bytes.push(0);
    bytes.extend(FLAGS.to_le_bytes());
    // Reset: register and value.
    bytes.extend(port(8, 1, 0xcf9));
    bytes.extend([0x06, 0, 0, 0]);
    // The 64-bit pointers to the control structure, which the 32-bit one is enough for, and to the DSDT.
    bytes.extend([0; 16]);
    for block in [port(32, 0, events), [0; 12], port(16, 0, control), [0; 12], [0; 12], port(32, 0, timer)] {
        bytes.extend(block);
    }
    bytes.extend(port(32, 0, GPE_PORT));
    bytes.extend([0; 12]);
    bytes
}

/// A processor's local interrupt controller as a row of the table (5.2.12.2, 5.2.12.12).
pub(super) fn local_apic(processor: u32, id: u32) -> Vec<u8> {
    match (u8::try_from(processor), u8::try_from(id)) {
        (Ok(processor), Ok(id)) if id != 255 => vec![0, 8, processor, id, 1, 0, 0, 0],
        _ => [&[9, 16, 0, 0], &id.to_le_bytes()[..], &[1, 0, 0, 0], &processor.to_le_bytes()].concat(),
    }
}

/// The interrupt controllers (5.2.12).
fn madt(facts: &Facts<'_>) -> Vec<u8> {
    let mut bytes = LOCAL_APIC.to_le_bytes().to_vec();
    // There is a pair of 8259 too.
    bytes.extend(1u32.to_le_bytes());
    for (processor, id) in (0..).zip(&facts.apic_ids) {
        bytes.extend(local_apic(processor, *id));
    }
    bytes.extend([1, 12, 0, 0]);
    bytes.extend(IO_APIC.to_le_bytes());
    bytes.extend([0; 4]);
    let mut redirected = |source: u8, input: u32, flags: u16| {
        bytes.extend([2, 10, 0, source]);
        bytes.extend(input.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
    };
    redirected(0, 2, 0);
    for source in LEVEL_INTERRUPTS {
        redirected(source, source.into(), 0x000d);
    }
    // LINT1 of every processor is the NMI.
    bytes.extend([4, 6, 0xff, 0, 0, 1]);
    bytes
}

/// The HPET's table: its identifier, its registers, number 0, no least count, no page protection.
fn hpet() -> Vec<u8> {
    let mut bytes = 0x8086_a201u32.to_le_bytes().to_vec();
    bytes.extend([0; 4]);
    bytes.extend(u64::from(HPET).to_le_bytes());
    bytes.extend([0; 4]);
    bytes
}
