//! Translation of addresses.

use crate::rig::{PAGES, Rig};
use isamorph_guest::{Access, AccessKind, SystemGuest as _};
use isamorph_ir::FaultCause;
use isamorph_x86::exception;
use isamorph_x86::state::{CR0, CR4, eflag, word};
use isamorph_x86::system::{cr0, cr4, efer};

const USER: usize = 1;
const SUPERVISOR: usize = 0;
const CLOSED: usize = 2;
use AccessKind::{Fetch, Read, Write};

/// Bits of entries.
const P: u64 = 1;
const W: u64 = 2;
const U: u64 = 4;
const A: u64 = 0x20;
const D: u64 = 0x40;
const PS: u64 = 0x80;
const G: u64 = 0x100;
const NX: u64 = 1 << 63;

/// The walk that the rows below take: page tables, registers.
#[derive(Clone, Copy)]
enum Format {
    Narrow,
    Extended,
    Long,
}
use Format::{Extended, Long, Narrow};

/// The address that is looked up, and where its entries are: the tables follow each other from [`PAGES`] on.
const ADDR: u64 = 0x0040_3123;

fn rig(format: Format, cr0_bits: u64, cr4_bits: u64, efer_bits: u64) -> Rig {
    let mut rig = Rig::new("max");
    let (cr4_bits, efer_bits) = match format {
        Narrow => (cr4_bits, efer_bits),
        Extended => (cr4_bits | cr4::PAE, efer_bits),
        Long => (cr4_bits | cr4::PAE, efer_bits | efer::LMA | efer::LME),
    };
    rig.set(CR0, cr0::PE | cr0::PG | cr0_bits);
    rig.set(CR4, cr4_bits);
    word::EFER.set(&mut rig.cpu, efer_bits);
    word::CR3.set(&mut rig.cpu, PAGES);
    rig
}

/// Stores the entries of the levels from the top; returns where each is. The upper ones point to the next table.
fn tables(rig: &mut Rig, format: Format, entries: &[u64]) -> Vec<u64> {
    let shifts: &[u32] = match format {
        Narrow => &[22, 12],
        Extended => &[21, 12],
        Long => &[39, 30, 21, 12],
    };
    if let Extended = format {
        word::PDPTE.set(&mut rig.cpu, PAGES | P);
    }
    let narrow = matches!(format, Narrow);
    let mut places = Vec::new();
    for (n, (entry, shift)) in (0..).zip(entries.iter().zip(shifts)) {
        let index = ADDR >> shift & if narrow { 0x3ff } else { 0x1ff };
        let place = PAGES + 0x1000 * n + index * if narrow { 4 } else { 8 };
        let last = n as usize + 1 == entries.len();
        let value = if last { *entry } else { entry | (PAGES + 0x1000 * (n + 1)) };
        rig.bus.put(place, &value.to_le_bytes()[..if narrow { 4 } else { 8 }]);
        places.push(place);
    }
    places
}

/// A physical page or the error code of the page fault.
fn walk(rig: &Rig, kind: AccessKind, context: usize) -> Result<u64, u64> {
    let access = Access { kind, context };
    match rig.machine().translate(&rig.cpu, &rig.bus, ADDR, access) {
        Ok(mapping) => Ok(mapping.page),
        Err(fault) => {
            assert_eq!((fault.addr, fault.write), (ADDR, kind == Write));
            let FaultCause::Guest { code, arg } = fault.cause else { panic!("{fault:?}") };
            assert_eq!(code, exception::PF);
            Err(arg)
        }
    }
}

struct Row {
    format: Format,
    cr0: u64,
    cr4: u64,
    efer: u64,
    entries: &'static [u64],
    access: (AccessKind, usize),
    want: Result<u64, u64>,
}

const fn row(
    format: Format,
    registers: [u64; 3],
    entries: &'static [u64],
    kind: AccessKind,
    context: usize,
    want: Result<u64, u64>,
) -> Row {
    let [cr0, cr4, efer] = registers;
    Row { format, cr0, cr4, efer, entries, access: (kind, context), want }
}

/// tidy: table
const ROWS: &[Row] = &[
    // Presence, at each level.
    row(Narrow, [0; 3], &[0], Read, SUPERVISOR, Err(0)),
    row(Narrow, [0; 3], &[P | W | U, 0x5000], Write, USER, Err(6)),
    row(Narrow, [0; 3], &[P | W | U, 0x5000 | P | W | U], Write, USER, Ok(0x5000)),
    row(Long, [0; 3], &[P | W | U, P | W | U, P | W | U, 0], Fetch, USER, Err(4)),
    row(Long, [0, 0, efer::NXE], &[P | W | U, P | W | U, 0], Fetch, USER, Err(0x14)),
    row(Long, [0; 3], &[P | W | U, P | W | U, P | W | U, 0x5000 | P], Read, SUPERVISOR, Ok(0x5000)),
    row(Extended, [0; 3], &[P | W | U, 0x12_3456_7000 | P], Read, SUPERVISOR, Ok(0x12_3456_7000)),
    // Privilege is what all levels allow.
    row(Narrow, [0; 3], &[P | W, 0x5000 | P | W | U], Read, USER, Err(5)),
    row(Narrow, [0; 3], &[P | W | U, 0x5000 | P | W], Read, USER, Err(5)),
    row(Narrow, [0; 3], &[P | U, 0x5000 | P | W | U], Write, USER, Err(7)),
    row(Long, [0; 3], &[P | U, P | W | U, P | W | U, 0x5000 | P | W | U], Write, USER, Err(7)),
    // The supervisor writes what is read-only unless WP is set.
    row(Narrow, [0; 3], &[P, 0x5000 | P], Write, SUPERVISOR, Ok(0x5000)),
    row(Narrow, [cr0::WP, 0, 0], &[P | W, 0x5000 | P], Write, SUPERVISOR, Err(3)),
    row(Narrow, [cr0::WP, 0, 0], &[P | W, 0x5000 | P | W], Write, SUPERVISOR, Ok(0x5000)),
    // Pages of 4 MiB, their upper address bits, and the bit above them.
    row(Narrow, [0, cr4::PSE, 0], &[0x80_0000 | P | PS], Read, SUPERVISOR, Ok(0x80_3000)),
    row(Narrow, [0, cr4::PSE, 0], &[0x80_0000 | 0x2_4000 | P | PS], Read, SUPERVISOR, Ok(0x12_0080_3000)),
    row(Narrow, [0, cr4::PSE, 0], &[1 << 21 | P | PS], Read, SUPERVISOR, Err(9)),
    row(Narrow, [0; 3], &[P | PS, 0x5000 | P], Read, SUPERVISOR, Ok(0x5000)),
    // Pages of 2 MiB and 1 GiB.
    row(Extended, [0; 3], &[0x60_0000 | P | PS], Read, SUPERVISOR, Ok(0x60_3000)),
    row(Extended, [0; 3], &[0x60_2000 | P | PS], Read, SUPERVISOR, Err(9)),
    row(Long, [0; 3], &[P, P, 0x60_0000 | P | PS], Read, SUPERVISOR, Ok(0x60_3000)),
    row(Long, [0; 3], &[P, 0x4000_0000 | P | PS], Read, SUPERVISOR, Ok(0x4040_3000)),
    row(Long, [0; 3], &[P, 0x4020_0000 | P | PS], Read, SUPERVISOR, Err(9)),
    row(Long, [0; 3], &[P | PS], Read, SUPERVISOR, Err(9)),
    // Bits above the physical address; what PAE reserves and long mode ignores.
    row(Long, [0; 3], &[P, P, P, 1 << 40 | P], Read, SUPERVISOR, Err(9)),
    row(Long, [0; 3], &[P, P, P, 1 << 52 | 0x5000 | P], Read, SUPERVISOR, Ok(0x5000)),
    row(Extended, [0; 3], &[P, 1 << 52 | 0x5000 | P], Read, SUPERVISOR, Err(9)),
    // NX: reserved unless it is enabled.
    row(Long, [0; 3], &[P, P, P, NX | 0x5000 | P], Read, SUPERVISOR, Err(9)),
    row(Long, [0, 0, efer::NXE], &[P, P, P, NX | 0x5000 | P], Read, SUPERVISOR, Ok(0x5000)),
    row(Long, [0, 0, efer::NXE], &[P, NX | P, P, 0x5000 | P], Fetch, SUPERVISOR, Err(0x11)),
    row(Extended, [0, 0, efer::NXE], &[P, NX | 0x5000 | P], Fetch, SUPERVISOR, Err(0x11)),
    // SMEP and SMAP.
    row(Narrow, [0; 3], &[P | U, 0x5000 | P | U], Fetch, SUPERVISOR, Ok(0x5000)),
    row(Narrow, [0, cr4::SMEP, 0], &[P | U, 0x5000 | P | U], Fetch, SUPERVISOR, Err(0x11)),
    row(Narrow, [0, cr4::SMEP, 0], &[P | U, 0x5000 | P], Fetch, SUPERVISOR, Ok(0x5000)),
    row(Narrow, [0, cr4::SMAP, 0], &[P | U, 0x5000 | P | U], Read, CLOSED, Err(1)),
    row(Narrow, [0, cr4::SMAP, 0], &[P | W | U, 0x5000 | P | W | U], Write, CLOSED, Err(3)),
    row(Narrow, [0, cr4::SMAP, 0], &[P | U, 0x5000 | P], Read, CLOSED, Ok(0x5000)),
    row(Narrow, [0, cr4::SMAP, 0], &[P | U, 0x5000 | P | U], Read, SUPERVISOR, Ok(0x5000)),
    row(Narrow, [0, cr4::SMAP, 0], &[P | U, 0x5000 | P | U], Fetch, CLOSED, Ok(0x5000)),
];

#[test]
fn formats_and_faults() {
    for (n, row) in ROWS.iter().enumerate() {
        let mut rig = rig(row.format, row.cr0, row.cr4, row.efer);
        tables(&mut rig, row.format, row.entries);
        assert_eq!(walk(&rig, row.access.0, row.access.1), row.want, "row {n}");
    }
}

#[test]
fn accessed_and_dirty_bits_are_set() {
    for format in [Narrow, Extended, Long] {
        let mut rig = rig(format, 0, 0, 0);
        let entries = [P | W, P | W, P | W, 0x5000 | P | W];
        let first = if let Long = format { 0 } else { 2 };
        let places = tables(&mut rig, format, &entries[first..]);
        let bits = |rig: &Rig| places.iter().map(|at| rig.bus.peek(*at, 4) & (A | D)).collect::<Vec<_>>();
        let access = |kind| Access { kind, context: SUPERVISOR };
        let read = rig.machine().translate(&rig.cpu, &rig.bus, ADDR, access(Read)).unwrap();
        assert!(bits(&rig).iter().all(|b| *b == A));
        assert!(read.readable && read.executable && !read.writable, "the dirty bit is not set yet");
        let write = rig.machine().translate(&rig.cpu, &rig.bus, ADDR, access(Write)).unwrap();
        let (last, upper) = (*bits(&rig).last().unwrap(), bits(&rig)[0]);
        assert_eq!((last, upper), (A | D, A));
        assert!(write.writable);
        let again = rig.machine().translate(&rig.cpu, &rig.bus, ADDR, access(Read)).unwrap();
        assert!(again.writable, "it is dirty already");
    }
}

#[test]
fn a_fault_sets_no_bits() {
    let mut rig = rig(Narrow, cr0::WP, 0, 0);
    let places = tables(&mut rig, Narrow, &[P | W, 0x5000 | P]);
    assert_eq!(walk(&rig, Write, SUPERVISOR), Err(3));
    assert_eq!(rig.bus.peek(places[1], 4), 0x5000 | P);
}

#[test]
fn sizes_and_global_pages_are_told() {
    for (format, cr4_bits, entries, shift, global) in [
        (Narrow, cr4::PSE, &[P | PS | G][..], 22, false),
        (Narrow, cr4::PSE | cr4::PGE, &[P | PS | G], 22, true),
        (Long, cr4::PGE, &[P, P | PS], 30, false),
        (Long, cr4::PGE, &[P, P, P | PS | G], 21, true),
        (Long, cr4::PGE, &[P, P, P | G, P], 12, false),
    ] {
        let mut rig = rig(format, 0, cr4_bits, 0);
        tables(&mut rig, format, entries);
        let mapping =
            rig.machine().translate(&rig.cpu, &rig.bus, ADDR, Access { kind: Read, context: SUPERVISOR }).unwrap();
        assert_eq!((mapping.size_shift, mapping.global), (shift, global));
    }
}

#[test]
fn without_paging_addresses_have_32_bits_and_line_20_counts() {
    let mut rig = Rig::new("max");
    let access = Access { kind: Read, context: SUPERVISOR };
    let page = |rig: &Rig, addr| rig.machine().translate(&rig.cpu, &rig.bus, addr, access).unwrap().page;
    assert_eq!(page(&rig, 0x1_0010_2345), 0x10_2000);
    word::LINE_20_LOW.set(&mut rig.cpu, 1);
    assert_eq!(page(&rig, 0x10_2345), 0x2000);
}

#[test]
fn addresses_that_are_not_canonical_are_refused() {
    let mut rig = rig(Long, 0, 0, 0);
    tables(&mut rig, Long, &[P, P, P, P]);
    let access = Access { kind: Read, context: SUPERVISOR };
    let fault = rig.machine().translate(&rig.cpu, &rig.bus, 1 << 47, access).unwrap_err();
    assert_eq!(fault.cause, FaultCause::Guest { code: exception::GP, arg: 0 });
}

#[test]
fn contexts_follow_level_and_access_flag() {
    let mut rig = Rig::protected();
    let context = |rig: &Rig| (rig.machine().context(&rig.cpu), rig.machine().privileged_context(&rig.cpu));
    assert_eq!(context(&rig), (SUPERVISOR, SUPERVISOR));
    rig.set(CR4, cr4::SMAP);
    assert_eq!(context(&rig), (CLOSED, CLOSED));
    rig.set_flags(eflag::AC.into());
    assert_eq!(context(&rig), (SUPERVISOR, CLOSED), "implicit accesses do not care");
    rig.level(3);
    assert_eq!(context(&rig), (USER, CLOSED));
}
