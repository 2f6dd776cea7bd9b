//! Task switches.

use crate::rig::{CODE, PAGES, Rig, STACKS, Stop, TSS, gate, segment, sel};
use isamorph_x86::exception;
use isamorph_x86::state::{CR0, DS, EAX, EBX, ESP, eflag, word};
use isamorph_x86::system::cr0;

/// The other task: its state, its code, its selector.
const OTHER: u64 = 0x3800;
const START: u64 = 0x5000;
const SELECTOR: u64 = sel::FREE;

/// Makes the state of the other task, of 32 or 16 bits; its code segment is given.
fn other(rig: &mut Rig, wide: bool, code: u64) {
    if wide {
        rig.descriptor(SELECTOR, segment(OTHER, 0x67, 0x89));
        for (at, value) in [(0x20, START), (0x24, 2), (0x28, 0x1111), (0x38, 0x6f00), (0x4c, code)] {
            rig.bus.put(OTHER + at, &(value as u32).to_le_bytes());
        }
        for at in [0x48, 0x50, 0x54] {
            rig.bus.put(OTHER + at, &[sel::DATA0 as u8]);
        }
    } else {
        rig.descriptor(SELECTOR, segment(OTHER, 0x2b, 0x81));
        for (at, value) in [(0x0e, START), (0x10, 2), (0x12, 0x1111), (0x1a, 0x6f00), (0x24, code)] {
            rig.bus.put(OTHER + at, &(value as u16).to_le_bytes());
        }
        for at in [0x22, 0x26, 0x28] {
            rig.bus.put(OTHER + at, &[sel::DATA0 as u8]);
        }
    }
}

fn far(opcode: u8, selector: u64) -> [u8; 8] {
    [opcode, 0, 0, 0, 0, selector as u8, 0, 0xf4]
}

#[test]
fn a_call_switches_and_iret_returns() {
    for wide in [true, false] {
        let mut rig = Rig::protected();
        other(&mut rig, wide, sel::CODE0);
        rig.set(EBX, 0x77);
        // inc ebx; iret
        rig.bus.put(START, &[0x43, 0xcf]);
        rig.bus.put(CODE, &far(0x9a, SELECTOR));
        rig.cpu.set_pc(CODE);
        assert_eq!(rig.step(), None);
        let upper = if wide { 0 } else { 0xffff_0000 };
        assert_eq!((rig.cpu.pc(), rig.get(EAX), rig.get(ESP)), (START, upper | 0x1111, upper | 0x6f00), "{wide}");
        assert_eq!(rig.flags() & u64::from(eflag::NT), u64::from(eflag::NT));
        assert_eq!(rig.get(CR0) & cr0::TS, cr0::TS);
        assert_eq!((word::TR.get(&rig.cpu), rig.bus.peek(OTHER, 2)), (SELECTOR, sel::TSS));
        let kind = rig.bus.peek(crate::rig::GDT + SELECTOR + 5, 1);
        assert_eq!(kind, if wide { 0x8b } else { 0x83 });
        // The old task is saved.
        assert_eq!((rig.bus.peek(TSS + 0x20, 4), rig.bus.peek(TSS + 0x34, 4)), (CODE + 7, 0x77));
        assert_eq!(rig.run(), Stop::Halt(CODE + 8));
        assert_eq!((rig.get(EBX), rig.get(ESP), word::TR.get(&rig.cpu)), (0x77, STACKS[0], sel::TSS));
        assert_eq!(rig.flags() & u64::from(eflag::NT), 0);
        // The other one is saved too, after its `iret`, and available again.
        let eip = if wide { rig.bus.peek(OTHER + 0x20, 4) } else { rig.bus.peek(OTHER + 0x0e, 2) };
        assert_eq!(eip, START + 2);
        assert_eq!(rig.bus.peek(crate::rig::GDT + SELECTOR + 5, 1), if wide { 0x89 } else { 0x81 });
    }
}

#[test]
fn a_jump_does_not_nest() {
    let mut rig = Rig::protected();
    other(&mut rig, true, sel::CODE0);
    rig.bus.put(START, &[0xf4]);
    assert_eq!(rig.code(&far(0xea, SELECTOR)), Stop::Halt(START + 1));
    assert_eq!(rig.flags() & u64::from(eflag::NT), 0);
    assert_eq!(rig.bus.peek(OTHER, 2), 0);
    assert_eq!(rig.bus.peek(crate::rig::GDT + sel::TSS + 5, 1), 0x89, "the old one is available");
}

#[test]
fn an_exception_through_a_task_gate_brings_its_error_code() {
    let mut rig = Rig::protected();
    other(&mut rig, true, sel::CODE0);
    rig.gate(13, gate(5, 0, SELECTOR, 0));
    rig.bus.put(START, &[0xf4]);
    // mov ds, 0x1000
    rig.set(EAX, 0x1000);
    assert_eq!(rig.code(&[0x8e, 0xd8]), Stop::Halt(START + 1));
    assert_eq!((rig.get(ESP), rig.stack(4, 1)[0]), (0x6efc, 0x1000));
    assert_eq!(rig.bus.peek(TSS + 0x20, 4), CODE, "the fault is repeated by a return");
}

#[test]
fn what_refuses_a_switch() {
    let rows: &[(u64, u32, u64)] = &[
        (segment(OTHER, 0x67, 0x8b), exception::GP, SELECTOR),
        (segment(OTHER, 0x67, 0x09), exception::NP, SELECTOR),
        (segment(OTHER, 0x66, 0x89), exception::TS, SELECTOR),
        (segment(OTHER, 0x2a, 0x81), exception::TS, SELECTOR),
    ];
    for (descriptor, vector, error) in rows {
        let mut rig = Rig::protected();
        other(&mut rig, true, sel::CODE0);
        rig.descriptor(SELECTOR, *descriptor);
        assert_eq!(rig.code(&far(0xea, SELECTOR)), Stop::Handler(*vector));
        assert_eq!(rig.stack(4, 2), [*error, CODE]);
        assert_eq!(word::TR.get(&rig.cpu), sel::TSS);
    }
}

#[test]
fn a_bad_segment_faults_in_the_new_task() {
    let mut rig = Rig::protected();
    other(&mut rig, true, sel::CODE0);
    rig.bus.put(OTHER + 0x54, &(0x1000u32).to_le_bytes());
    assert_eq!(rig.code(&far(0xea, SELECTOR)), Stop::Handler(exception::TS));
    assert_eq!(rig.stack(4, 2), [0x1000, START]);
    assert_eq!((word::TR.get(&rig.cpu), rig.get(DS)), (SELECTOR, 0x1000));
    // An instruction of it is not the place of the fault: the old one's is.
    assert_eq!(rig.bus.peek(TSS + 0x20, 4), CODE + 7);
}

#[test]
fn tasks_have_page_tables_and_levels_of_their_own() {
    let mut rig = Rig::protected();
    other(&mut rig, true, sel::CODE3);
    for at in [0x48, 0x50, 0x54] {
        rig.bus.put(OTHER + at, &[sel::DATA3 as u8]);
    }
    rig.bus.put64(OTHER + 4, &[sel::DATA0 << 32 | 0x6f00]);
    // Two directories: the same page, but for 0x20000, which is elsewhere in the second.
    for (n, page) in [(0u64, 0x2_0007u32), (1, 0x2_1007)] {
        let (directory, table) = (PAGES + 0x2000 * n, PAGES + 0x2000 * n + 0x1000);
        rig.bus.put(directory, &(table as u32 | 7).to_le_bytes());
        for entry in 0..0x40u32 {
            rig.bus.put(table + 4 * u64::from(entry), &(entry << 12 | 7).to_le_bytes());
        }
        rig.bus.put(table + 4 * 0x20, &page.to_le_bytes());
    }
    rig.bus.put(0x2_0000, &[1]);
    rig.bus.put(0x2_1000, &[2]);
    rig.bus.put(OTHER + 0x1c, &(PAGES as u32 + 0x2000).to_le_bytes());
    word::CR3.set(&mut rig.cpu, PAGES);
    let cr0 = rig.get(CR0);
    rig.set(CR0, cr0 | cr0::PG);
    rig.look();
    // mov al, [0x20000]; ud2
    rig.bus.put(START, &[0xa0, 0, 0, 2, 0, 0x0f, 0x0b]);
    assert_eq!(rig.code(&far(0xea, SELECTOR)), Stop::Handler(6));
    assert_eq!((rig.get(EAX) & 0xff, rig.stack(4, 2)[1]), (2, sel::CODE3));
    assert_eq!(word::CR3.get(&rig.cpu), PAGES + 0x2000);
}
