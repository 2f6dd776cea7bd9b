//! SMBIOS tables: what the machine says of its parts (DMTF DSP0134, version 2.8).
//!
//! The structure about the firmware itself (type 0) is the firmware's own.

use super::Facts;

/// Files that firmware knows by name.
pub(super) const ANCHOR: &str = "etc/smbios/smbios-anchor";
pub(super) const TABLES: &str = "etc/smbios/smbios-tables";

/// Handles: the type of the structure in the upper byte, but for memory, which has more structures than a byte counts.
const ARRAY: u16 = 0x1000;
const DEVICE: u16 = 0x1100;
const MAPPED: u16 = 0x1300;
/// A memory device has 16 GiB at most.
const MODULE: u64 = 16 << 30;
const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;
/// The unspecified value of most enumerations.
const OTHER: u8 = 1;
const UNKNOWN: u8 = 2;
const SAFE: u8 = 3;

#[derive(Default)]
struct Tables {
    bytes: Vec<u8>,
    count: u16,
    longest: usize,
}

/// A structure in the making: its formatted part and its texts.
struct Structure {
    body: Vec<u8>,
    texts: Vec<String>,
}

impl Structure {
    fn new(kind: u8, handle: u16) -> Self {
        let [low, high] = handle.to_le_bytes();
        Structure { body: vec![kind, 0, low, high], texts: vec![] }
    }
    /// The number of a text, 0 for an empty one; the same text has one number.
    fn text(mut self, text: &str) -> Self {
        let number = match self.texts.iter().position(|known| known == text) {
            _ if text.is_empty() => 0,
            Some(at) => at + 1,
            None => {
                self.texts.push(text.to_owned());
                self.texts.len()
            }
        };
        self.body.push(number as u8);
        self
    }
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.body.extend_from_slice(bytes);
        self
    }
    fn word(self, value: u16) -> Self {
        self.raw(&value.to_le_bytes())
    }
    fn dword(self, value: u32) -> Self {
        self.raw(&value.to_le_bytes())
    }
    fn qword(self, value: u64) -> Self {
        self.raw(&value.to_le_bytes())
    }
}

impl Tables {
    fn add(&mut self, structure: Structure) {
        let start = self.bytes.len();
        let Structure { mut body, texts } = structure;
        body[1] = body.len() as u8;
        self.bytes.extend(body);
        for text in &texts {
            // A zero would end the text early, and an empty text the structure.
            self.bytes.extend(text.bytes().filter(|byte| *byte != 0));
            self.bytes.push(0);
        }
        self.bytes.extend(if texts.is_empty() { &[0, 0][..] } else { &[0] });
        self.count += 1;
        self.longest = self.longest.max(self.bytes.len() - start);
    }
}

/// Anchor and tables. The anchor's address is filled in by the firmware.
pub(super) fn files(facts: &Facts<'_>) -> (Vec<u8>, Vec<u8>) {
    let mut tables = Tables::default();
    tables.add(system(facts));
    tables.add(chassis(facts));
    for socket in 0..facts.topology.sockets {
        tables.add(processor(facts, socket));
    }
    memory(facts, &mut tables);
    // Booted without errors; nothing follows.
    tables.add(Structure::new(32, 0x2000).raw(&[0; 7]));
    tables.add(Structure::new(127, 0x7f00));
    (anchor(&tables), tables.bytes)
}

fn system(facts: &Facts<'_>) -> Structure {
    // The first three fields of a UUID are little endian here (7.2.1).
    let mut uuid = facts.uuid;
    uuid[..4].reverse();
    uuid[4..6].reverse();
    uuid[6..8].reverse();
    // Woken by the power switch.
    Structure::new(1, 0x0100)
        .text(facts.manufacturer)
        .text(facts.product)
        .text(facts.version)
        .text("")
        .raw(&uuid)
        .raw(&[6])
        .text("")
        .text("")
}

fn chassis(facts: &Facts<'_>) -> Structure {
    Structure::new(3, 0x0300)
        .text(facts.manufacturer)
        .raw(&[OTHER])
        .text(facts.version)
        .text("")
        .text("")
        .raw(&[SAFE, SAFE, SAFE, UNKNOWN])
        .dword(0)
        // Height, power cords, contained elements and their length.
        .raw(&[0; 4])
        .text("")
}

fn processor(facts: &Facts<'_>, socket: u32) -> Structure {
    const CENTRAL: u8 = 3;
    const MEGAHERTZ: u16 = 2000;
    // Populated and enabled.
    const STATUS: u8 = 0x41;
    const NO_CACHE: u16 = 0xffff;
    let cores = facts.topology.dies.saturating_mul(facts.topology.cores);
    let threads = cores.saturating_mul(facts.topology.threads);
    let narrow = |number: u32| number.min(255) as u8;
    Structure::new(4, 0x0400 + socket as u16)
        .text(&format!("CPU {socket}"))
        .raw(&[CENTRAL, 0xfe])
        .text(facts.manufacturer)
        .qword(facts.processor_id)
        .text(facts.version)
        .raw(&[0])
        .word(0)
        .word(MEGAHERTZ)
        .word(MEGAHERTZ)
        .raw(&[STATUS, OTHER])
        .word(NO_CACHE)
        .word(NO_CACHE)
        .word(NO_CACHE)
        .text("")
        .text("")
        .text("")
        .raw(&[narrow(cores), narrow(cores), narrow(threads)])
        .word(UNKNOWN.into())
        // The family, again.
        .word(OTHER.into())
}

fn memory(facts: &Facts<'_>, tables: &mut Tables) {
    let total = facts.below_4g + facts.above_4g;
    let modules = total.div_ceil(MODULE).max(1);
    tables.add(array(total, modules as u16));
    for module in 0..modules {
        let size = (total - (module * MODULE).min(total)).min(MODULE);
        tables.add(module_of(facts, module as u16, size));
    }
    tables.add(mapped(0, 0, facts.below_4g));
    if facts.above_4g > 0 {
        tables.add(mapped(1, 1 << 32, facts.above_4g));
    }
}

fn array(total: u64, modules: u16) -> Structure {
    const SYSTEM: u8 = 3;
    const MULTI_BIT: u8 = 6;
    const NO_ERRORS: u16 = 0xfffe;
    // From 2 TiB on the size is in the wide field.
    let kib = total / KIB;
    let (narrow, wide) = if kib < 1 << 31 { (kib as u32, 0) } else { (1 << 31, total) };
    Structure::new(16, ARRAY).raw(&[OTHER, SYSTEM, MULTI_BIT]).dword(narrow).word(NO_ERRORS).word(modules).qword(wide)
}

fn module_of(facts: &Facts<'_>, number: u16, size: u64) -> Structure {
    const UNKNOWN_WIDTH: u16 = 0xffff;
    const DIMM: u8 = 9;
    const RAM: u8 = 7;
    const DETAIL_OTHER: u16 = 2;
    let mib = size / MIB;
    Structure::new(17, DEVICE + number)
        .word(ARRAY)
        .word(0xfffe)
        .word(UNKNOWN_WIDTH)
        .word(UNKNOWN_WIDTH)
        .word(mib.min(0x7fff) as u16)
        .raw(&[DIMM, 0])
        .text(&format!("DIMM {number}"))
        .text("")
        .raw(&[RAM])
        .word(DETAIL_OTHER)
        .word(0)
        .text(facts.manufacturer)
        .text("")
        .text("")
        .text("")
        .raw(&[0])
        // The size again if it does not fit above, speed, voltages.
        .dword(if mib >= 0x7fff { mib as u32 } else { 0 })
        .raw(&[0; 8])
}

fn mapped(number: u16, start: u64, size: u64) -> Structure {
    let end = start + size - 1;
    let narrow = end / KIB < 1 << 32;
    let (first, last) = if narrow { ((start / KIB) as u32, (end / KIB) as u32) } else { (u32::MAX, u32::MAX) };
    let (wide_first, wide_last) = if narrow { (0, 0) } else { (start, end) };
    Structure::new(19, MAPPED + number)
        .dword(first)
        .dword(last)
        .word(ARRAY)
        .raw(&[1])
        .qword(wide_first)
        .qword(wide_last)
}

/// The entry point of version 2.1 and later (5.2.1).
fn anchor(tables: &Tables) -> Vec<u8> {
    const LENGTH: u8 = 31;
    let mut bytes = b"_SM_".to_vec();
    bytes.extend([0, LENGTH, 2, 8]);
    bytes.extend((tables.longest as u16).to_le_bytes());
    bytes.extend([0; 6]);
    bytes.extend(b"_DMI_\0");
    bytes.extend((tables.bytes.len() as u16).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(tables.count.to_le_bytes());
    bytes.push(0x28);
    finish(&mut bytes, 0);
    bytes
}

/// Completes the anchor with the address of the tables and its two checksums.
pub(super) fn finish(anchor: &mut [u8], tables: u32) {
    const INNER: usize = 0x10;
    anchor[0x18..0x1c].copy_from_slice(&tables.to_le_bytes());
    (anchor[4], anchor[INNER + 5]) = (0, 0);
    let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    anchor[INNER + 5] = sum(&anchor[INNER..]);
    anchor[4] = sum(anchor);
}
