//! Real mode, virtual-8086 mode, ways from mode to mode, system management.

use crate::rig::{CODE, HANDLERS, PAGES, Rig, STACKS, Stop, gate, sel};
use isamorph_guest::{Delivered, Event, SystemGuest as _};
use isamorph_x86::exception;
use isamorph_x86::state::{
    CR0, CR4, CS, CS_BASE, CS_LIMIT, DS, DS_BASE, EAX, EBX, ECX, ES, ESP, GS, MXCSR, SS, eflag, word,
};
use isamorph_x86::system::{Machine, Topology, cr0, cr4, efer};

#[test]
fn real_mode_interrupts_and_returns() {
    let mut rig = Rig::real();
    rig.set_flags(0x202);
    assert_eq!(rig.code(&[0xcd, 0x40]), Stop::Handler(0x40));
    assert_eq!(rig.stack(2, 3), [CODE + 2, 0, 0x202]);
    assert_eq!((rig.flags(), rig.get(ESP)), (2, STACKS[0] - 6));
    // The handler returns: sti is undone, the stack is where it was.
    let mut rig = Rig::real();
    rig.bus.put(HANDLERS + 0x400, &[0xfb, 0xcf]);
    assert_eq!(rig.code(&[0xcd, 0x40, 0xf4]), Stop::Halt(CODE + 3));
    assert_eq!((rig.flags(), rig.get(ESP)), (2, STACKS[0]));
}

#[test]
fn real_mode_faults_have_no_error_code_and_the_table_has_a_limit() {
    let mut rig = Rig::real();
    // A word across the end of the segment: mov ax, [0xffff]
    assert_eq!(rig.code(&[0xa1, 0xff, 0xff]), Stop::Handler(exception::GP));
    assert_eq!(rig.stack(2, 2), [CODE, 0]);
    let mut rig = Rig::real();
    word::IDTR_LIMIT.set(&mut rig.cpu, 4 * 0x40 + 2);
    assert_eq!(rig.code(&[0xcd, 0x40]), Stop::Handler(exception::GP));
    word::IDTR_LIMIT.set(&mut rig.cpu, 0);
    assert_eq!(rig.code(&[0xcd, 0x40]), Stop::Shutdown);
}

#[test]
fn far_transfers_of_real_mode() {
    let mut rig = Rig::real();
    // lcall 0x500:0; hlt — lret at 0x5000
    rig.bus.put(0x5000, &[0xcb]);
    assert_eq!(rig.code(&[0x9a, 0, 0, 0, 5, 0xf4]), Stop::Halt(CODE + 6));
    assert_eq!((rig.get(CS), rig.get(CS_BASE), rig.get(ESP)), (0, 0, STACKS[0]));
    // ljmp 0x500:0 ; hlt
    rig.bus.put(0x5000, &[0xf4]);
    assert_eq!(rig.code(&[0xea, 0, 0, 0, 5]), Stop::Halt(0x5001));
    assert_eq!((rig.get(CS), rig.get(CS_BASE)), (0x500, 0x5000));
}

/// Running off the end of the code segment is #GP, not a jump to its start.
#[test]
fn the_end_of_the_code_segment() {
    let mut rig = Rig::real();
    rig.bus.put(0x2_fffe, &[0x90, 0x90]);
    rig.bus.put(0x2_0000, &[0xf4]);
    assert_eq!(rig.code(&[0xea, 0xfe, 0xff, 0, 0x20]), Stop::Handler(exception::GP));
    assert_eq!(rig.stack(2, 2)[1], 0x2000);
}

#[test]
fn big_real_mode_keeps_limits() {
    let mut rig = Rig::protected();
    // cr0 = 0: mov cr0, eax; then 16-bit code after a far jump: mov ds, bx; mov eax, [ecx]; hlt
    let code = [
        0x0f, 0x22, 0xc0, // mov cr0, eax
        0x66, 0xea, 0x00, 0x50, 0x00, 0x00, // ljmpw 0:0x5000
    ];
    rig.bus.put(0x5000, &[0x66, 0x8e, 0xdb, 0x8b, 0x01, 0xf4]);
    rig.set(EAX, 0x10);
    rig.set(EBX, 0x100);
    rig.set(ECX, 0x3_0000);
    rig.bus.put(0x3_1000, &[0x78, 0x56, 0x34, 0x12]);
    assert_eq!(rig.code(&code), Stop::Halt(0x5006));
    // The code segment is still a 32-bit one, as on the real thing; the data segment reaches beyond 64 KiB.
    assert_eq!((rig.get(EAX), rig.get(DS_BASE)), (0x1234_5678, 0x1000));
}

#[test]
fn from_real_to_long_mode() {
    let mut rig = Rig::long();
    // Back to the state after power-on, with the tables that are there.
    let (gdt, idt) = (word::GDTR_BASE.get(&rig.cpu), word::IDTR_BASE.get(&rig.cpu));
    Machine::new("max", 64, Topology::flat(1)).unwrap().reset(&mut rig.cpu, 0);
    word::GDTR_BASE.set(&mut rig.cpu, gdt);
    word::IDTR_BASE.set(&mut rig.cpu, idt);
    rig.set(CS, 0);
    rig.set(CS_BASE, 0);
    rig.set(ESP, STACKS[0]);
    rig.look();
    let code = [
        0x66,
        0xb8,
        0x20,
        0,
        0,
        0, // mov eax, CR4.PAE
        0x0f,
        0x22,
        0xe0, // mov cr4, eax
        0x66,
        0xb8,
        0,
        0,
        0x10,
        0, // mov eax, PAGES
        0x0f,
        0x22,
        0xd8, // mov cr3, eax
        0x66,
        0xb9,
        0x80,
        0,
        0,
        0xc0, // mov ecx, EFER
        0x0f,
        0x32, // rdmsr
        0x66,
        0x0d,
        0,
        1,
        0,
        0, // or eax, LME
        0x0f,
        0x30, // wrmsr
        0x66,
        0xb8,
        1,
        0,
        0,
        0x80, // mov eax, PG | PE
        0x0f,
        0x22,
        0xc0, // mov cr0, eax
        0xea,
        0,
        0x50,
        sel::LONG0 as u8,
        0, // ljmp LONG0:0x5000
    ];
    // mov rax, -1; hlt
    rig.bus.put(0x5000, &[0x48, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff, 0xf4]);
    assert_eq!(u64::from(u32::from_le_bytes([0, 0, 0x10, 0])), PAGES);
    assert_eq!(rig.code(&code), Stop::Halt(0x5008));
    assert_eq!(rig.get(EAX), u64::MAX);
    assert_eq!(word::EFER.get(&rig.cpu), efer::LME | efer::LMA);
    assert_eq!(rig.get(CR0), cr0::PG | cr0::PE | cr0::ET);
}

/// Sets up virtual-8086 mode with that I/O privilege, code at 0x500:0 and a stack at 0x600:0x800.
fn virtual_8086(iopl: u64) -> Rig {
    let mut rig = Rig::protected();
    let frame = [0, 0x500, 0x2_0002 | iopl << 12, 0x800, 0x600, 0x111, 0x222, 0x333, 0x444];
    let top = STACKS[0] - 36;
    for (n, value) in (0..).zip(frame) {
        rig.bus.put(top + 4 * n, &(value as u32).to_le_bytes());
    }
    rig.set(ESP, top);
    rig.bus.put(CODE, &[0xcf]);
    rig.cpu.set_pc(CODE);
    assert_eq!(rig.step(), None);
    rig
}

#[test]
fn virtual_8086_mode_and_back() {
    let mut rig = virtual_8086(0);
    assert_eq!((rig.cpl(), rig.cpu.pc(), rig.get(ESP)), (3, 0x5000, 0x800));
    assert_eq!((rig.get(DS), rig.get(DS_BASE), rig.get(CS_LIMIT)), (0x222, 0x2220, 0xffff));
    // mov al, [0]; then an exception: ud2
    rig.bus.put(0x2220, &[0x5a]);
    rig.bus.put(0x5000, &[0xa0, 0, 0, 0x0f, 0x0b]);
    assert_eq!(rig.run(), Stop::Handler(6));
    let flags = 0x2_0002 | u64::from(eflag::RF);
    assert_eq!(rig.stack(4, 9), [3, 0x500, flags, 0x800, 0x600, 0x111, 0x222, 0x333, 0x444]);
    assert_eq!(rig.get(EAX) & 0xff, 0x5a);
    assert_eq!((rig.get(DS), rig.get(ES), rig.get(GS), rig.cpl()), (0, 0, 0, 0));
    assert_eq!(rig.get(ESP), STACKS[0] - 36);
}

#[test]
fn privilege_in_virtual_8086_mode() {
    // Instruction, what happens with IOPL 0 and with IOPL 3.
    let refused = Stop::Handler(exception::GP);
    let done = Stop::Handler(exception::UD);
    let rows: &[(&[u8], Stop, Stop)] = &[
        (&[0xfa], refused, done),       // cli
        (&[0x9c, 0x9d], refused, done), // pushf; popf
        (&[0xcd, 0x40], refused, Stop::Handler(0x40)),
        (&[0xcc], Stop::Handler(3), Stop::Handler(3)),
        (&[0xf4], refused, refused),       // hlt
        (&[0xe4, 0x10], refused, refused), // in: the bitmap counts, not the level
        (&[0x0f, 0x20, 0xc0], refused, refused),
        (&[0x0f, 0x00, 0xc0], done, done), // sldt is undefined
    ];
    for (code, low, high) in rows {
        for (iopl, want) in [(0, low), (3, high)] {
            let mut rig = virtual_8086(iopl);
            rig.gate(0x40, gate(14, 3, sel::CODE0, HANDLERS + 0x400));
            rig.gate(3, gate(14, 3, sel::CODE0, HANDLERS + 0x30));
            rig.bus.put(0x5000, &[code, &[0x0f, 0x0b][..]].concat());
            assert_eq!(rig.run(), *want, "{code:x?} {iopl}");
        }
    }
}

#[test]
fn init_and_start_up() {
    let mut rig = Rig::protected();
    rig.set(CR4, cr4::PAE);
    word::LSTAR.set(&mut rig.cpu, 0x1234);
    rig.set(MXCSR, 0x1fa0);
    assert_eq!(rig.deliver(Event::Init { boot: false }), Delivered::Done);
    assert!(rig.machine().wake(&rig.cpu).waits_for_start);
    assert_eq!((rig.get(CR4), word::LSTAR.get(&rig.cpu), rig.get(MXCSR)), (0, 0x1234, 0x1fa0));
    rig.bus.put(0x9000, &[0xf4]);
    rig.deliver(Event::Start(9));
    assert_eq!((rig.get(CS), rig.get(CS_BASE), rig.cpu.pc()), (0x900, 0x9000, 0x9000));
    assert!(!rig.machine().wake(&rig.cpu).waits_for_start);
    // A second one has no effect.
    rig.deliver(Event::Start(7));
    assert_eq!(rig.run(), Stop::Halt(0x9001));
    assert_eq!(rig.deliver(Event::Init { boot: true }), Delivered::Done);
    assert_eq!(rig.cpu.pc(), 0xffff_fff0);
}

#[test]
fn address_line_20() {
    let mut rig = Rig::real();
    rig.bus.put(0x0, &[0x11]);
    rig.bus.put(0x10_0000, &[0x22]);
    rig.set(DS_BASE, 0xf_fff0);
    let read = |rig: &mut Rig| {
        assert_eq!(rig.code(&[0xa0, 0x10, 0, 0xf4]), Stop::Halt(CODE + 4));
        rig.get(EAX) & 0xff
    };
    assert_eq!(read(&mut rig), 0x22);
    rig.deliver(Event::AddressLine20(false));
    assert_eq!(read(&mut rig), 0x11);
    rig.deliver(Event::AddressLine20(true));
    assert_eq!(read(&mut rig), 0x22);
}

#[test]
fn system_management_mode_and_back() {
    for long in [true, false] {
        let mut rig = if long { Rig::long() } else { Rig::protected() };
        if !long {
            // A processor without long mode has the other save area.
            let machine = Machine::new("pentium3", 64, Topology::flat(1)).unwrap();
            let mut other = rig.cpu.fork();
            machine.reset(&mut other, 0);
            for n in 0..2 {
                let features = word::FEATURES.at(n).get(&other);
                word::FEATURES.at(n).set(&mut rig.cpu, features);
            }
        }
        rig.level(3);
        rig.set(EBX, 0x1234_5678);
        rig.set_flags(0x246);
        rig.cpu.set_pc(CODE);
        let before: Vec<u64> = (0..19).map(|n| rig.get(isamorph_ir::RegId(n))).collect();
        let words: Vec<u64> =
            [word::CR3, word::EFER, word::TR_BASE, word::GDTR_LIMIT].iter().map(|w| w.get(&rig.cpu)).collect();
        // mov bx, 0; then the base moves: mov dword [0x38000 + at], 0x20000; rsm
        let at: u32 = 0x3_8000 + if long { 0x7f00 } else { 0x7ef8 };
        let mut handler = vec![0xbb, 0, 0, 0x67, 0x66, 0xc7, 0x05];
        handler.extend(at.to_le_bytes());
        handler.extend([0, 0, 2, 0, 0x0f, 0xaa]);
        rig.bus.put(0x3_8000, &handler);
        assert_eq!(rig.deliver(Event::Smi), Delivered::Done);
        assert_eq!((rig.cpu.pc(), rig.get(CS), rig.get(CR0) & cr0::PE), (0x3_8000, 0x3000, 0));
        assert_eq!(rig.bus.peek(0x3_fefc, 4), if long { 0x2_0064 } else { 0x2_0000 });
        assert!(!rig.machine().wake(&rig.cpu).smi && !rig.machine().wake(&rig.cpu).nmi);
        for _ in 0..3 {
            assert_eq!(rig.step(), None);
        }
        let after: Vec<u64> = (0..19).map(|n| rig.get(isamorph_ir::RegId(n))).collect();
        assert_eq!(after, before);
        let restored: Vec<u64> =
            [word::CR3, word::EFER, word::TR_BASE, word::GDTR_LIMIT].iter().map(|w| w.get(&rig.cpu)).collect();
        assert_eq!(restored, words);
        assert_eq!((rig.cpu.pc(), rig.cpl(), word::SMBASE.get(&rig.cpu)), (CODE, 3, 0x2_0000));
        assert!(rig.machine().wake(&rig.cpu).smi && rig.machine().wake(&rig.cpu).nmi);
        // Outside of it, `rsm` is undefined.
        rig.level(0);
        assert_eq!(rig.code(&[0x0f, 0xaa]), Stop::Handler(exception::UD));
    }
}

#[test]
fn stacks_of_16_bits_wrap() {
    let mut rig = Rig::real();
    rig.set(SS, 0x1000);
    rig.set(isamorph_x86::state::SS_BASE, 0x1_0000);
    rig.set(ESP, 0xabcd_0002);
    // The frame of an interrupt goes around the end: flags at 0, the rest at the top.
    assert_eq!(rig.code(&[0xcd, 0x40]), Stop::Handler(0x40));
    assert_eq!(rig.get(ESP), 0xabcd_fffc);
    assert_eq!((rig.bus.peek(0x1_0000, 2), rig.bus.peek(0x1_fffc, 2)), (2, CODE + 2));
}
