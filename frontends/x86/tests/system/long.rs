//! Long mode: interrupts, system calls, compatibility code.

use crate::rig::{CODE, GDT, HANDLERS, Rig, STACKS, Stop, TSS, gate, segment, sel};
use isamorph_x86::exception;
use isamorph_x86::state::{EAX, ECX, EDX, ESP, GS_BASE, SS_ATTR, gpr, word};

const INT_40: &[u8] = &[0xcd, 0x40];
const UD2: &[u8] = &[0x0f, 0x0b];

#[test]
fn frames_always_have_the_stack_and_are_aligned() {
    for level in [0, 3] {
        let mut rig = Rig::long();
        rig.long_gate(0x40, gate(14, 3, sel::LONG0, HANDLERS + 0x400), 0);
        rig.level(level);
        let (code, stack) = rig.selectors();
        let top = STACKS[level as usize] - 4;
        rig.set(ESP, top);
        rig.set_flags(0x202);
        assert_eq!(rig.code(INT_40), Stop::Handler(0x40));
        assert_eq!(rig.stack(8, 5), [CODE + 2, code, 0x202, top, stack]);
        let expected = if level == 0 { (top & !15) - 40 } else { STACKS[0] - 40 };
        assert_eq!(rig.get(ESP), expected);
        // The stack of an inner level is null.
        assert_eq!(rig.selectors(), (sel::LONG0, if level == 0 { stack } else { 0 }));
        assert_eq!(rig.cpl(), 0);
    }
}

#[test]
fn the_interrupt_stack_table_is_used_at_every_level() {
    for level in [0, 3] {
        let mut rig = Rig::long();
        rig.bus.put64(TSS + 0x24, &[0x5000, 0x5800]);
        rig.long_gate(0x40, gate(14, 3, sel::LONG0, HANDLERS + 0x400), 2);
        rig.level(level);
        assert_eq!(rig.code(INT_40), Stop::Handler(0x40));
        assert_eq!(rig.get(ESP), 0x5800 - 40);
    }
}

#[test]
fn gates_and_selectors_are_checked() {
    let rows = [
        (gate(6, 3, sel::LONG0, 0), exception::GP, 0x402 - 0x200),
        (gate(5, 3, sel::LONG0, 0), exception::GP, 0x202),
        (gate(14, 3, sel::CODE0, 0), exception::GP, sel::CODE0),
        (gate(14, 3, sel::LONG0, 0) & !(1 << 47), exception::NP, 0x202),
    ];
    for (gate, vector, error) in rows {
        let mut rig = Rig::long();
        rig.long_gate(0x40, gate, 0);
        assert_eq!(rig.code(INT_40), Stop::Handler(vector));
        assert_eq!(rig.stack(8, 2), [error, CODE]);
    }
}

#[test]
fn iretq_goes_to_user_code_of_both_widths() {
    for (code, width) in [(sel::LONG3, 64), (sel::CODE3, 32)] {
        let mut rig = Rig::long();
        let top = STACKS[0] - 40;
        rig.bus.put64(top, &[0x5000, code, 0x202, 0x6000, sel::DATA3]);
        rig.set(ESP, top);
        // dec eax in 32-bit code, a prefix of the next instruction in 64-bit code: mov eax, -1
        rig.bus.put(0x5000, &[0x48, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x0b]);
        rig.set(EAX, 5);
        assert_eq!(rig.code(&[0x48, 0xcf]), Stop::Handler(6));
        let frame = rig.stack(8, 5);
        assert_eq!(frame[1..2], [code]);
        assert_eq!(frame[3..], [0x6000, sel::DATA3]);
        let result = if width == 64 { u64::MAX } else { 0xffff_ffff };
        assert_eq!(rig.get(EAX), result, "{width}");
    }
}

#[test]
fn system_calls() {
    let mut rig = Rig::long();
    word::STAR.set(&mut rig.cpu, (sel::CODE3 & !3) << 48 | sel::LONG0 << 32);
    // `sysret` goes to the selector 16 above, with the stack 8 above.
    rig.descriptor(sel::CODE3 + 16, segment(0, 0xf_ffff, 0xa0fb));
    word::LSTAR.set(&mut rig.cpu, 0x5000);
    word::FMASK.set(&mut rig.cpu, 0x200);
    rig.level(3);
    rig.set_flags(0x202);
    rig.bus.put(0x5000, &[0x90, 0x48, 0x0f, 0x07]);
    rig.bus.put(CODE, &[0x0f, 0x05, 0x0f, 0x0b]);
    rig.cpu.set_pc(CODE);
    assert_eq!(rig.step(), None);
    assert_eq!((rig.cpu.pc(), rig.cpl(), rig.flags()), (0x5000, 0, 2));
    assert_eq!((rig.get(ECX), rig.get(gpr(11))), (CODE + 2, 0x202));
    assert_eq!(rig.selectors(), (sel::LONG0, sel::LONG0 + 8));
    assert_eq!((rig.step(), rig.step()), (None, None));
    assert_eq!((rig.cpu.pc(), rig.cpl(), rig.flags()), (CODE + 2, 3, 0x202));
    assert_eq!(rig.selectors(), (sel::CODE3 + 16, sel::DATA3));
    // A single step begins with the return, not after the next instruction.
    rig.level(0);
    rig.set(gpr(11), 0x102);
    rig.bus.put(0x5000, &[0x48, 0x0f, 0x07]);
    rig.cpu.set_pc(0x5000);
    assert_eq!(rig.run(), Stop::Handler(exception::DB));
    assert_eq!(rig.stack(8, 3), [CODE + 2, sel::CODE3 + 16, 0x102]);
    // A return address that is none.
    rig.level(0);
    rig.set(ECX, 1 << 63 >> 8);
    assert_eq!(rig.code(&[0x48, 0x0f, 0x07]), Stop::Handler(exception::GP));
}

#[test]
fn fast_calls_of_the_other_kind() {
    let mut rig = Rig::long();
    word::SYSENTER_CS.set(&mut rig.cpu, sel::LONG0);
    word::SYSENTER_ESP.set(&mut rig.cpu, 0x6f00);
    word::SYSENTER_EIP.set(&mut rig.cpu, 0x5000);
    rig.level(3);
    rig.set_flags(0x202);
    rig.bus.put(CODE, &[0x0f, 0x34]);
    rig.bus.put(0x5000, &[0x48, 0x0f, 0x35]);
    rig.cpu.set_pc(CODE);
    assert_eq!(rig.step(), None);
    assert_eq!((rig.cpu.pc(), rig.get(ESP), rig.cpl(), rig.flags()), (0x5000, 0x6f00, 0, 2));
    rig.set(ECX, 0x6000);
    rig.set(EDX, CODE);
    assert_eq!(rig.step(), None);
    assert_eq!((rig.cpu.pc(), rig.get(ESP), rig.cpl()), (CODE, 0x6000, 3));
    assert_eq!(rig.selectors(), ((sel::LONG0 + 32) | 3, (sel::LONG0 + 40) | 3));
    word::SYSENTER_CS.set(&mut rig.cpu, 0);
    assert_eq!(rig.code(&[0x0f, 0x34]), Stop::Handler(exception::GP));
}

#[test]
fn bases_of_gs_are_exchanged() {
    let mut rig = Rig::long();
    rig.set(GS_BASE, 0x1234);
    word::KERNEL_GS_BASE.set(&mut rig.cpu, 0xffff_8000_0000_0000);
    assert_eq!(rig.code(&[0x0f, 0x01, 0xf8, 0xf4]), Stop::Halt(CODE + 4));
    assert_eq!((rig.get(GS_BASE), word::KERNEL_GS_BASE.get(&rig.cpu)), (0xffff_8000_0000_0000, 0x1234));
}

#[test]
fn system_descriptors_have_16_bytes() {
    let mut rig = Rig::long();
    rig.bus.put64(GDT + sel::FREE, &[segment(0x1_0000, 0x67, 0x89), 0x12]);
    rig.set(EAX, sel::FREE);
    assert_eq!(rig.code(&[0x0f, 0x00, 0xd8, 0xf4]), Stop::Halt(CODE + 4));
    assert_eq!(word::TR_BASE.get(&rig.cpu), 0x12_0001_0000);
    assert_eq!(rig.bus.peek(GDT + sel::FREE + 5, 1), 0x8b, "it is busy");
    assert_eq!(rig.code(&[0x0f, 0x00, 0xd8]), Stop::Handler(exception::GP));
    assert_eq!(rig.stack(8, 1), [sel::FREE]);
    // A call gate.
    let mut rig = Rig::long();
    rig.bus.put64(GDT + sel::FREE, &[gate(12, 3, sel::LONG0, 0x5000), 0]);
    rig.level(3);
    rig.bus.put(0x5000, UD2);
    rig.bus.put(0x5800, &[0, 0, 0, 0, sel::FREE as u8 | 3, 0]);
    // call far [0x5800]
    assert_eq!(rig.code(&[0xff, 0x1c, 0x25, 0, 0x58, 0, 0]), Stop::Handler(6));
    let frame = rig.stack(8, 5);
    assert_eq!((frame[0], frame[1], frame[3]), (0x5000, sel::LONG0, STACKS[0] - 32));
    assert_eq!(rig.bus.peek(STACKS[0] - 32, 8), CODE + 7);
    assert_eq!(rig.bus.peek(STACKS[0] - 16, 8), STACKS[3]);
}

#[test]
fn null_stacks_are_for_inner_levels() {
    let mut rig = Rig::long();
    rig.set(EAX, 0);
    assert_eq!(rig.code(&[0x8e, 0xd0, 0xf4]), Stop::Halt(CODE + 3));
    assert_eq!((rig.selectors().1, rig.get(SS_ATTR), rig.cpl()), (0, 0, 0));
    rig.level(3);
    rig.set(EAX, 3);
    assert_eq!(rig.code(&[0x8e, 0xd0]), Stop::Handler(exception::GP));
}

#[test]
fn non_canonical_targets_fault() {
    let mut rig = Rig::long();
    let top = STACKS[0] - 40;
    rig.bus.put64(top, &[1 << 50, sel::LONG3, 2, 0x6000, sel::DATA3]);
    rig.set(ESP, top);
    assert_eq!(rig.code(&[0x48, 0xcf]), Stop::Handler(exception::GP));
    assert_eq!(rig.stack(8, 2), [0, CODE]);
}

#[test]
fn a_fault_of_user_code_sees_the_whole_registers() {
    // 32-bit code leaves no upper halves for the kernel to find.
    let mut rig = Rig::long();
    rig.load(1, sel::CODE3);
    rig.load(2, sel::DATA3);
    rig.set(EAX, 0x1234_5678_0000_0001);
    rig.set(ESP, 0x6000);
    rig.look();
    // std; ud2
    assert_eq!(rig.code(&[0xfd, 0x0f, 0x0b]), Stop::Handler(6));
    assert_eq!((rig.get(EAX), rig.get(isamorph_x86::state::DF)), (1, u64::MAX));
    assert_eq!(rig.stack(8, 3)[2] & 0x400, 0x400);
}
