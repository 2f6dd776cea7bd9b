use super::*;
use std::collections::HashMap;

fn facts(boot: &BootOrder) -> Facts<'_> {
    Facts {
        below_4g: 128 << 20,
        above_4g: 0,
        topology: Topology { count: 2, sockets: 1, dies: 1, cores: 2, threads: 1 },
        apic_ids: vec![0, 1],
        processor_id: 0x178b_fbfd_0006_0fb1,
        hpet: true,
        suspend: true,
        serials: [true, false, false, false],
        display: true,
        boot,
        uuid: [0; 16],
        manufacturer: "QEMU",
        product: "Standard PC (i440FX + PIIX, 1996)",
        version: "pc-i440fx-10.0",
    }
}

fn items(change: impl FnOnce(&mut Facts<'_>)) -> Items {
    let (boot, mut items) = (BootOrder::default(), Items::new());
    let mut facts = facts(&boot);
    change(&mut facts);
    add_to(&facts, &mut items).unwrap();
    items
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
}

/// Does what firmware does with the loader's commands: memory with the files in it, and where they are.
struct Firmware {
    files: HashMap<String, (u64, Vec<u8>)>,
}

impl Firmware {
    fn load(items: &Items) -> Self {
        let mut firmware = Firmware { files: HashMap::new() };
        let text = |bytes: &[u8]| String::from_utf8(bytes.iter().copied().take_while(|b| *b != 0).collect()).unwrap();
        for command in items.file("etc/table-loader").unwrap().chunks(128) {
            let first = text(&command[4..60]);
            match u32_at(command, 0) {
                1 => {
                    let zone = command[64];
                    let base = if zone == 2 { 0xf_5a00 } else { 0x7fe_0000 };
                    assert_eq!(base % u64::from(u32_at(command, 60)), 0);
                    let content = items.file(&first).unwrap().to_vec();
                    assert!(firmware.files.insert(first, (base, content)).is_none());
                }
                2 => {
                    let (at, size) = (u32_at(command, 116) as usize, usize::from(command[120]));
                    let base = firmware.files[&text(&command[60..116])].0;
                    let bytes = &mut firmware.files.get_mut(&first).unwrap().1[at..at + size];
                    let mut raw = [0; 8];
                    raw[..size].copy_from_slice(bytes);
                    let sum = u64::from_le_bytes(raw) + base;
                    bytes.copy_from_slice(&sum.to_le_bytes()[..size]);
                }
                3 => {
                    let [at, start, length] = [60, 64, 68].map(|i| u32_at(command, i) as usize);
                    let bytes = &mut firmware.files.get_mut(&first).unwrap().1;
                    bytes[at] = bytes[at].wrapping_sub(sum(&bytes[start..start + length]));
                }
                other => panic!("command {other}"),
            }
        }
        firmware
    }
    fn at(&self, address: u32) -> &[u8] {
        let (base, bytes) = &self.files[acpi::TABLES];
        &bytes[(u64::from(address) - base) as usize..]
    }
    /// A table with its length and a good checksum.
    fn table(&self, address: u32) -> &[u8] {
        let bytes = self.at(address);
        let table = &bytes[..u32_at(bytes, 4) as usize];
        assert_eq!(sum(table), 0, "{:?}", std::str::from_utf8(&table[..4]));
        table
    }
    /// The tables that the root table names.
    fn roots(&self) -> Vec<&[u8]> {
        let rsdp = &self.files[acpi::RSDP].1;
        assert_eq!((&rsdp[..8], sum(rsdp), rsdp.len()), (&b"RSD PTR "[..], 0, 20));
        let rsdt = self.table(u32_at(rsdp, 16));
        assert_eq!(&rsdt[..4], b"RSDT");
        rsdt[36..].chunks(4).map(|pointer| self.table(u32_at(pointer, 0))).collect()
    }
    fn root(&self, signature: &[u8]) -> &[u8] {
        self.roots().into_iter().find(|table| table.starts_with(signature)).unwrap()
    }
}

#[test]
fn firmware_finds_every_table() {
    let firmware = Firmware::load(&items(|_| ()));
    let names: Vec<_> = firmware.roots().iter().map(|table| &table[..4]).collect();
    assert_eq!(names, [b"FACP", b"APIC", b"HPET", b"WAET"]);
    let fadt = firmware.root(b"FACP");
    assert_eq!(fadt.len(), 244, "version 3");
    assert_eq!(&firmware.at(u32_at(fadt, 36))[..4], b"FACS");
    let dsdt = firmware.table(u32_at(fadt, 40));
    assert_eq!(&dsdt[..4], b"DSDT");
    assert_eq!(u32_at(fadt, 140), u32_at(fadt, 40), "both pointers lead to the same table");
    // Events, control, timer, general-purpose events.
    assert_eq!([56, 64, 76, 80].map(|at| u32_at(fadt, at)), [0x600, 0x604, 0x608, 0xafe0]);
    assert_eq!(&fadt[116..132], [1, 8, 0, 1, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0], "reset register");
    let without = Firmware::load(&items(|facts| facts.hpet = false));
    assert_eq!(without.roots().len(), 3);
}

#[test]
fn the_table_of_interrupt_controllers_has_all_processors() {
    let many: Vec<u32> = (0..300).collect();
    let firmware = Firmware::load(&items(|facts| facts.apic_ids = many.clone()));
    let madt = firmware.root(b"APIC");
    let (mut at, mut local, mut redirected) = (44, Vec::new(), Vec::new());
    while at < madt.len() {
        let row = &madt[at..at + usize::from(madt[at + 1])];
        match row[0] {
            0 => local.push(u32::from(row[3])),
            9 => local.push(u32_at(row, 4)),
            2 => redirected.push((row[3], row[4], row[8])),
            _ => {}
        }
        at += row.len();
    }
    assert_eq!((at, local), (madt.len(), many));
    assert_eq!(redirected, [(0, 2, 0), (5, 5, 13), (9, 9, 13), (10, 10, 13), (11, 11, 13)]);
}

#[test]
fn memory_is_as_the_board_has_it() {
    let both = items(|facts| (facts.below_4g, facts.above_4g) = (0xc000_0000, 0x4000_0000));
    let rows: Vec<_> = both.file("etc/e820").unwrap().chunks(20).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1][..8], (1u64 << 32).to_le_bytes());
    assert_eq!(rows[1][8..], [0, 0, 0, 0x40, 0, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(both.item(key::RAM_SIZE), Some(&0x1_0000_0000u64.to_le_bytes()[..]));
    assert_eq!(items(|_| ()).file("etc/e820").unwrap().len(), 20);
}

#[test]
fn without_firmware_the_tables_are_the_same() {
    let items = items(|_| ());
    let placed = place::place(&items, 0x7fe_0000, 0xf_5a00).unwrap();
    let firmware = Firmware::load(&items);
    let at = |address: u64| placed.parts.iter().find(|(at, _)| *at == address).map(|(_, bytes)| bytes);
    assert_eq!((placed.rsdp, at(0xf_5a00)), (0xf_5a00, Some(&firmware.files[acpi::RSDP].1)));
    assert_eq!(at(0x7fe_0000), Some(&firmware.files[acpi::TABLES].1));
    let (_, anchor) = placed.parts.iter().find(|(at, bytes)| at % 16 == 0 && bytes.starts_with(b"_SM_")).unwrap();
    assert_eq!((sum(anchor), sum(&anchor[16..])), (0, 0));
    assert_eq!(at(u32_at(anchor, 24).into()).unwrap(), items.file(smbios::TABLES).unwrap());
    assert!(place::place(&Items::new(), 0, 0).is_none());
}

/// SMBIOS structures as type, formatted part, and texts.
fn structures(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>, Vec<String>)> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (body, rest) = bytes.split_at(usize::from(bytes[1]));
        let end = rest.windows(2).position(|two| two == [0, 0]).unwrap() + 2;
        let texts = rest[..end].split(|b| *b == 0).filter(|text| !text.is_empty());
        let texts = texts.map(|text| String::from_utf8(text.to_vec()).unwrap()).collect();
        all.push((body[0], body.to_vec(), texts));
        bytes = &rest[end..];
    }
    all
}

#[test]
fn smbios_structures() {
    let items = items(|_| ());
    let (anchor, tables) = (items.file(smbios::ANCHOR).unwrap(), items.file(smbios::TABLES).unwrap());
    assert_eq!((sum(anchor), sum(&anchor[16..]), anchor.len()), (0, 0, 31));
    let all = structures(tables);
    let kinds: Vec<_> = all.iter().map(|(kind, body, _)| (*kind, body.len())).collect();
    // The lengths are those of the specification for version 2.8.
    assert_eq!(kinds, [(1, 27), (3, 22), (4, 42), (16, 23), (17, 40), (19, 31), (32, 11), (127, 4)]);
    assert_eq!(usize::from(anchor[22]) | usize::from(anchor[23]) << 8, tables.len());
    assert_eq!(anchor[28], all.len() as u8);
    assert_eq!(all[0].2, ["QEMU", "Standard PC (i440FX + PIIX, 1996)", "pc-i440fx-10.0"]);
    assert_eq!(all[4].1[12..14], [128, 0], "128 MiB");
}

#[test]
fn smbios_of_a_large_machine() {
    let large = items(|facts| {
        (facts.below_4g, facts.above_4g) = (0xc000_0000, 5 << 40);
        facts.topology = Topology { count: 2, sockets: 2, dies: 1, cores: 300, threads: 2 };
    });
    let all = structures(large.file(smbios::TABLES).unwrap());
    let of = |kind: u8| all.iter().filter(|(k, ..)| *k == kind).map(|(_, body, _)| body.clone()).collect::<Vec<_>>();
    assert_eq!(of(4).len(), 2);
    assert_eq!(of(4)[0][0x23], 255, "300 cores are as many as the field can say");
    assert_eq!(u32_at(&of(16)[0], 7), 1 << 31, "the size is in the wide field");
    assert_eq!(of(17).len(), 321);
    assert_eq!(u32_at(&of(19)[1], 4), u32::MAX);
}

/// A walk over definitions by their lengths: every package ends where the one around it says.
fn check_packages(mut bytes: &[u8], depth: u32) -> u32 {
    let mut count = 0;
    while !bytes.is_empty() {
        let opcode = if bytes[0] == 0x5b { 2 } else { 1 };
        let known = matches!(bytes, [0x10, ..] | [0x5b, 0x82, ..]);
        if !known {
            // Something that is no scope and no device: it is at the end of what this test knows.
            return count;
        }
        let extra = usize::from(bytes[opcode] >> 6);
        let low = usize::from(if extra == 0 { bytes[opcode] & 0x3f } else { bytes[opcode] & 15 });
        let length = (0..extra).fold(low, |all, i| all | usize::from(bytes[opcode + 1 + i]) << (4 + 8 * i));
        let (package, rest) = bytes.split_at(opcode + length);
        assert!(depth < 8 && package.len() > opcode + extra);
        count += 1;
        bytes = rest;
    }
    count
}

#[test]
fn the_definition_block_is_well_formed() {
    let firmware = Firmware::load(&items(|_| ()));
    let dsdt = firmware.table(u32_at(firmware.root(b"FACP"), 40));
    assert_eq!(check_packages(&dsdt[36..], 0), 9, "scopes at the top");
    let dir = std::env::temp_dir().join(format!("isamorph-acpi-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let mut sources = Vec::new();
    for (name, table) in [("dsdt", dsdt)].into_iter().chain(
        [("facp", &b"FACP"[..]), ("apic", b"APIC"), ("hpet", b"HPET"), ("waet", b"WAET")]
            .map(|(name, signature)| (name, firmware.root(signature))),
    ) {
        let file = dir.join(format!("{name}.dat"));
        std::fs::write(&file, table).unwrap();
        let run = |arguments: &[&str]| std::process::Command::new("iasl").args(arguments).current_dir(&dir).output();
        let Ok(output) = run(&["-d", &format!("{name}.dat")]) else {
            eprintln!("skipped: iasl is not installed");
            break;
        };
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let source = std::fs::read_to_string(dir.join(format!("{name}.dsl"))).unwrap();
        assert!(!source.contains("Invalid") && !source.contains("ERROR"), "{name}: {source}");
        sources.push(source);
        // What was disassembled can be compiled again without an error.
        let output = run(&["-ve", "-p", "again", &format!("{name}.dsl")]).unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    }
    if let Some(source) = sources.first() {
        for wanted in ["Device (COM1)", "Device (LNKS)", "PRQ0 |= 0x80", "Processor (C001", "Name (_S5", "0x0006FFFF"] {
            assert!(source.contains(wanted), "{wanted}");
        }
        assert!(!source.contains("COM2"));
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
