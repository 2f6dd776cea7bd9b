//! Interrupts, exceptions, far transfers in protected mode.

use crate::rig::{CODE, HANDLERS, Rig, STACKS, Stop, gate, segment, sel};
use isamorph_guest::{Delivered, Event};
use isamorph_ir::Trap;
use isamorph_x86::exception;
use isamorph_x86::state::{CR0, CS, ESP, SS, eflag, word};
use isamorph_x86::system::{cr0, cr4};

/// An exception and its error code.
type Fault = (u32, u64);

const INT_40: &[u8] = &[0xcd, 0x40];
/// Gate types.
const INTERRUPT16: u64 = 6;
const INTERRUPT32: u64 = 14;
const TRAP32: u64 = 15;
const CALL32: u64 = 12;

/// What `int 0x40` does through a gate, from a level: the level of the handler, or the exception and its error code.
#[test]
fn kinds_of_gates_and_levels() {
    let handler = HANDLERS + 0x400;
    let rows: &[(u64, u64, Result<u32, Fault>)] = &[
        (gate(INTERRUPT32, 3, sel::CODE0, handler), 0, Ok(0)),
        (gate(INTERRUPT32, 3, sel::CODE0, handler), 3, Ok(0)),
        (gate(INTERRUPT32, 3, sel::CODE1, handler), 3, Ok(1)),
        (gate(INTERRUPT32, 3, sel::CODE3, handler), 3, Ok(3)),
        (gate(INTERRUPT32, 3, sel::CONFORMING, handler), 3, Ok(3)),
        (gate(TRAP32, 3, sel::CODE0, handler), 3, Ok(0)),
        (gate(INTERRUPT32, 0, sel::CODE0, handler), 3, Err((exception::GP, 0x202))),
        (gate(INTERRUPT32, 3, sel::CODE3, handler), 0, Err((exception::GP, 0x18))),
        (gate(INTERRUPT32, 3, sel::DATA0, handler), 0, Err((exception::GP, 0x10))),
        (gate(INTERRUPT32, 3, 0, handler), 0, Err((exception::GP, 0))),
        (gate(INTERRUPT32, 3, 0x1000, handler), 0, Err((exception::GP, 0x1000))),
        (gate(INTERRUPT32, 3, sel::ABSENT, handler), 0, Err((exception::NP, 0x60))),
        (gate(CALL32, 3, sel::CODE0, handler), 0, Err((exception::GP, 0x202))),
        (gate(INTERRUPT32, 3, sel::CODE0, handler) & !(1 << 47), 0, Err((exception::NP, 0x202))),
    ];
    for (n, (gate, level, want)) in rows.iter().enumerate() {
        let mut rig = Rig::protected();
        rig.gate(0x40, *gate);
        rig.level(*level);
        match want {
            Ok(to) => {
                rig.bus.put(CODE, INT_40);
                rig.cpu.set_pc(CODE);
                assert_eq!((rig.step(), rig.cpu.pc(), rig.cpl()), (None, handler, *to), "row {n}");
            }
            Err((vector, error)) => {
                assert_eq!(rig.code(INT_40), Stop::Handler(*vector), "row {n}");
                assert_eq!(rig.stack(4, 1)[0], *error, "row {n}");
                // A fault: the frame points to the instruction.
                assert_eq!(rig.stack(4, 2)[1], CODE, "row {n}");
            }
        }
    }
}

#[test]
fn a_frame_has_the_old_stack_only_if_the_level_changes() {
    let mut rig = Rig::protected();
    rig.gate(0x40, gate(INTERRUPT32, 3, sel::CODE0, HANDLERS + 0x400));
    rig.set_flags(0x202);
    assert_eq!(rig.code(INT_40), Stop::Handler(0x40));
    assert_eq!(rig.get(ESP), STACKS[0] - 12);
    assert_eq!(rig.stack(4, 3), [CODE + 2, sel::CODE0, 0x202]);
    assert_eq!(rig.flags(), 2, "an interrupt gate masks");
    rig.level(3);
    rig.set_flags(0x3302);
    rig.gate(0x40, gate(TRAP32, 3, sel::CODE0, HANDLERS + 0x400));
    assert_eq!(rig.code(INT_40), Stop::Handler(0x40));
    assert_eq!(rig.stack(4, 5), [CODE + 2, sel::CODE3, 0x3302, STACKS[3], sel::DATA3]);
    assert_eq!(rig.flags(), 0x3202, "a trap gate does not; TF goes");
    assert_eq!(rig.selectors(), (sel::CODE0, sel::DATA0));
}

#[test]
fn gates_of_16_bits_have_small_frames_and_no_high_offset() {
    let mut rig = Rig::protected();
    rig.gate(0x40, gate(INTERRUPT16, 3, sel::CODE0, HANDLERS + 0x400 + 0x1234_0000));
    rig.set(ESP, STACKS[0]);
    assert_eq!(rig.code(INT_40), Stop::Handler(0x40));
    assert_eq!(rig.get(ESP), STACKS[0] - 6);
    assert_eq!(rig.stack(2, 3), [CODE + 2, sel::CODE0, 2]);
}

#[test]
fn iret_returns_to_every_level() {
    for level in [0, 1, 3] {
        let mut rig = Rig::protected();
        rig.level(level);
        let (code, stack) = rig.selectors();
        rig.gate(0x40, gate(INTERRUPT32, 3, sel::CODE0, 0x5000));
        // The handler returns; behind the `int` is an undefined instruction, so that its handler shows the level.
        rig.bus.put(0x5000, &[0xcf]);
        rig.set_flags(0x246);
        assert_eq!(rig.code(&[0xcd, 0x40, 0x0f, 0x0b]), Stop::Handler(6), "level {level}");
        let frame = rig.stack(4, if level == 0 { 3 } else { 5 });
        assert_eq!(frame[..2], [CODE + 2, code]);
        assert_eq!(frame[2], 0x246 | u64::from(eflag::RF));
        if level != 0 {
            assert_eq!(frame[3..], [STACKS[level as usize], stack]);
        }
    }
}

/// `iret` frames that are refused: EIP, CS, EFLAGS, ESP, SS.
#[test]
fn iret_checks_selectors() {
    let rows: &[([u64; 5], u32, u64)] = &[
        ([CODE, 0, 2, 0, 0], exception::GP, 0),
        ([CODE, sel::DATA0, 2, 0, 0], exception::GP, 0x10),
        ([CODE, sel::CODE3 & !3, 2, 0, 0], exception::GP, 0x18),
        ([CODE, sel::ABSENT, 2, 0, 0], exception::NP, 0x60),
        ([CODE, 0x1000, 2, 0, 0], exception::GP, 0x1000),
        ([CODE, sel::CODE3, 2, 0x6000, sel::DATA0], exception::GP, 0x10),
        ([CODE, sel::CODE3, 2, 0x6000, 0], exception::GP, 0),
        ([CODE, sel::CODE3, 2, 0x6000, sel::CODE3], exception::GP, 0x18),
    ];
    for (frame, vector, error) in rows {
        let mut rig = Rig::protected();
        let top = STACKS[0] - 20;
        for (n, value) in (0..).zip(frame) {
            rig.bus.put(top + 4 * n, &(*value as u32).to_le_bytes());
        }
        rig.set(ESP, top);
        assert_eq!(rig.code(&[0xcf]), Stop::Handler(*vector), "{frame:x?}");
        assert_eq!(rig.stack(4, 2), [*error, CODE], "{frame:x?}");
    }
}

#[test]
fn segments_of_inner_levels_do_not_survive_a_return() {
    let mut rig = Rig::protected();
    rig.load(3, sel::DATA0);
    rig.load(0, sel::DATA3);
    // push SS, ESP, EFLAGS, CS, EIP; iret
    let code = [0x6a, 0x23, 0x68, 0, 0x60, 0, 0, 0x6a, 2, 0x6a, 0x1b, 0x68, 0, 0x50, 0, 0, 0xcf];
    rig.bus.put(0x5000, &[0x0f, 0x0b]);
    assert_eq!(rig.code(&code), Stop::Handler(6));
    assert_eq!(rig.get(isamorph_x86::state::DS), 0);
    assert_eq!(rig.get(isamorph_x86::state::ES), sel::DATA3);
}

#[test]
fn what_user_code_may_not_do() {
    let rows: &[(&[u8], u32)] = &[
        (&[0xf4], exception::GP),             // hlt
        (&[0xfa], exception::GP),             // cli
        (&[0xfb], exception::GP),             // sti
        (&[0xe4, 0x10], exception::GP),       // in
        (&[0x0f, 0x20, 0xc0], exception::GP), // mov eax, cr0
        (&[0x0f, 0x22, 0xd8], exception::GP), // mov cr3, eax
        (&[0x0f, 0x21, 0xf8], exception::GP), // mov eax, dr7
        (&[0x0f, 0x06], exception::GP),       // clts
        (&[0x0f, 0x32], exception::GP),       // rdmsr
        (&[0x0f, 0x30], exception::GP),       // wrmsr
        (&[0x0f, 0x01, 0x38], exception::GP), // invlpg
        (&[0x0f, 0x09], exception::GP),       // wbinvd
        (&[0x0f, 0x01, 0x10], exception::GP), // lgdt
        (&[0x0f, 0x00, 0xd8], exception::GP), // ltr
        (&[0x0f, 0x01, 0xf0], exception::GP), // lmsw
        (&[0x0f, 0x01, 0xca], exception::UD), // clac
        (&[0x0f, 0xaa], exception::UD),       // rsm
        (&[0x8e, 0xc8], exception::UD),       // mov cs, eax
    ];
    for (code, vector) in rows {
        let mut rig = Rig::protected();
        rig.level(3);
        assert_eq!(rig.code(code), Stop::Handler(*vector), "{code:x?}");
        let frame = rig.stack(4, 2);
        assert_eq!(frame[usize::from(*vector == exception::GP)], CODE, "{code:x?}");
    }
}

#[test]
fn io_needs_the_privilege_or_the_bitmap() {
    // in al, 0x10
    let code = [0xe4, 0x10, 0x0f, 0x0b];
    let run = |prepare: &dyn Fn(&mut Rig)| {
        let mut rig = Rig::protected();
        rig.level(3);
        prepare(&mut rig);
        rig.code(&code)
    };
    let allowed = Stop::Handler(exception::UD);
    assert_eq!(run(&|_| ()), Stop::Handler(exception::GP));
    assert_eq!(run(&|rig| rig.set_flags(0x3002)), allowed);
    let bitmap = |rig: &mut Rig, bits: u8| {
        word::TR_LIMIT.set(&mut rig.cpu, 0x6c);
        rig.bus.put(crate::rig::TSS + 0x68, &[0, 0, bits, 0xff, 0xff]);
    };
    assert_eq!(run(&|rig| bitmap(rig, 0)), allowed);
    assert_eq!(run(&|rig| bitmap(rig, 1)), Stop::Handler(exception::GP));
    // A bitmap that ends too early.
    assert_eq!(run(&|rig| word::TR_LIMIT.set(&mut rig.cpu, 0x6a)), Stop::Handler(exception::GP));
}

/// Far jumps to a selector from a level: the level stays, or an exception.
#[test]
fn far_jumps() {
    let rows: &[(u64, u64, Result<(), Fault>)] = &[
        (sel::CODE0, 0, Ok(())),
        (sel::CONFORMING, 3, Ok(())),
        (sel::CODE3, 3, Ok(())),
        (sel::CODE0, 3, Err((exception::GP, 8))),
        (sel::CODE3, 0, Err((exception::GP, 0x18))),
        (sel::CODE0 | 3, 0, Err((exception::GP, 8))),
        (0, 0, Err((exception::GP, 0))),
        (sel::DATA0, 0, Err((exception::GP, 0x10))),
        (sel::ABSENT, 0, Err((exception::NP, 0x60))),
        (0x1000, 0, Err((exception::GP, 0x1000))),
    ];
    for (selector, level, want) in rows {
        let mut rig = Rig::protected();
        rig.level(*level);
        rig.bus.put(0x5000, &[0x0f, 0x0b]);
        let code = [0xea, 0, 0x50, 0, 0, *selector as u8, (selector >> 8) as u8];
        let stop = rig.code(&code);
        match want {
            Ok(()) => {
                assert_eq!((stop, rig.stack(4, 1)[0]), (Stop::Handler(6), 0x5000), "{selector:x}");
                assert_eq!(rig.stack(4, 2)[1], selector & !3 | level, "{selector:x}");
            }
            Err((vector, error)) => {
                assert_eq!((stop, rig.stack(4, 1)[0]), (Stop::Handler(*vector), *error), "{selector:x}");
            }
        }
    }
}

#[test]
fn a_call_gate_changes_the_level_and_copies_parameters() {
    let mut rig = Rig::protected();
    rig.descriptor(sel::FREE, gate(CALL32, 3, sel::CODE0, 0x5000) | 2 << 32);
    rig.level(3);
    // The callee: retf 8. The caller: push 1; push 2; lcall; ud2
    rig.bus.put(0x5000, &[0xca, 8, 0]);
    let code = [0x6a, 1, 0x6a, 2, 0x9a, 0, 0, 0, 0, sel::FREE as u8 | 3, 0, 0x0f, 0x0b];
    rig.bus.put(CODE, &code);
    rig.cpu.set_pc(CODE);
    for _ in 0..3 {
        assert_eq!(rig.step(), None);
    }
    assert_eq!((rig.cpl(), rig.cpu.pc()), (0, 0x5000));
    assert_eq!(rig.stack(4, 6), [CODE + 11, sel::CODE3, 2, 1, STACKS[3] - 8, sel::DATA3]);
    assert_eq!(rig.step(), None);
    assert_eq!((rig.cpl(), rig.get(ESP), rig.cpu.pc()), (3, STACKS[3], CODE + 11));
    assert_eq!(rig.selectors(), (sel::CODE3, sel::DATA3));
    // Without the privilege for the gate.
    rig.descriptor(sel::FREE, gate(CALL32, 0, sel::CODE0, 0x5000));
    assert_eq!(rig.code(&code), Stop::Handler(exception::GP));
    assert_eq!(rig.stack(4, 1), [sel::FREE]);
}

#[test]
fn far_calls_and_returns_at_one_level() {
    let mut rig = Rig::protected();
    rig.bus.put(0x5000, &[0xcb]);
    let code = [0x9a, 0, 0x50, 0, 0, sel::CODE0 as u8, 0, 0xf4];
    assert_eq!(rig.code(&code), Stop::Halt(CODE + 8));
    assert_eq!(rig.get(ESP), STACKS[0]);
}

#[test]
fn faults_while_delivering_become_double_and_triple_faults() {
    // #GP with a gate that is not present: #NP is contributory, so #DF.
    let mut rig = Rig::protected();
    rig.gate(13, 0);
    assert_eq!(rig.code(INT_40), Stop::Handler(exception::DF));
    assert_eq!(rig.stack(4, 2), [0, CODE]);
    // No gate for #DF either.
    let mut rig = Rig::protected();
    rig.gate(13, 0);
    rig.gate(8, 0);
    assert_eq!(rig.code(INT_40), Stop::Shutdown);
    // It stays so until it is reset.
    assert_eq!(rig.run(), Stop::Shutdown);
    assert_eq!(rig.deliver(Event::Interrupt(0x20)), Delivered::Shutdown);
    // #UD is benign: the #NP of its gate is delivered after it.
    let mut rig = Rig::protected();
    rig.gate(6, gate(INTERRUPT32, 0, sel::CODE0, 0) & !(1 << 47));
    assert_eq!(rig.code(&[0x0f, 0x0b]), Stop::Handler(exception::NP));
    assert_eq!(rig.stack(4, 2), [6 << 3 | 3, CODE], "IDT, and not the program's fault");
}

#[test]
fn external_interrupts_ignore_the_level_of_the_gate() {
    let mut rig = Rig::protected();
    rig.level(3);
    rig.gate(0x40, gate(INTERRUPT32, 0, sel::CODE0, HANDLERS + 0x400));
    rig.set_flags(0x202);
    assert_eq!(rig.deliver(Event::Interrupt(0x40)), Delivered::Done);
    assert_eq!(rig.run(), Stop::Handler(0x40));
    assert_eq!(rig.stack(4, 5), [CODE, sel::CODE3, 0x202, STACKS[3], sel::DATA3]);
}

#[test]
fn nmis_are_blocked_until_iret() {
    let mut rig = Rig::protected();
    rig.bus.put(HANDLERS + 0x20, &[0xcf]);
    rig.bus.put(CODE, &[0x90]);
    assert_eq!(rig.deliver(Event::Nmi), Delivered::Done);
    assert!(!isamorph_guest::SystemGuest::wake(rig.machine(), &rig.cpu).nmi);
    assert_eq!(rig.step(), None);
    assert_eq!(rig.cpu.pc(), CODE);
    assert!(isamorph_guest::SystemGuest::wake(rig.machine(), &rig.cpu).nmi);
}

/// Loads of segment registers: register number, selector, level, what comes.
#[test]
fn segment_loads() {
    let rows: &[(u8, u64, u64, Result<(), Fault>)] = &[
        (3, sel::DATA0, 0, Ok(())),
        (3, sel::DATA3, 0, Ok(())),
        (3, 0, 0, Ok(())),
        (3, 3, 3, Ok(())),
        (3, sel::CODE0, 0, Ok(())),
        (3, sel::DATA0, 3, Err((exception::GP, 0x10))),
        (3, sel::CONFORMING, 3, Ok(())),
        (3, sel::TSS, 0, Err((exception::GP, 0x28))),
        (3, 0x1000, 0, Err((exception::GP, 0x1000))),
        (3, 0x0c, 0, Err((exception::GP, 0x0c))),
        (2, sel::DATA0, 0, Ok(())),
        (2, 0, 0, Err((exception::GP, 0))),
        (2, sel::DATA3, 0, Err((exception::GP, 0x20))),
        (2, sel::CODE0, 0, Err((exception::GP, 8))),
        (3, sel::FREE, 0, Err((exception::NP, 0x80))),
        (2, sel::FREE, 0, Err((exception::SS, 0x80))),
    ];
    for (number, selector, level, want) in rows {
        let mut rig = Rig::protected();
        rig.descriptor(sel::FREE, segment(0, 0xf_ffff, 0xc013));
        rig.level(*level);
        rig.set(isamorph_x86::state::EAX, *selector);
        // mov Sw, eax; ud2
        let stop = rig.code(&[0x8e, 0xc0 | number << 3, 0x0f, 0x0b]);
        match want {
            Ok(()) => assert_eq!(stop, Stop::Handler(6), "{number} {selector:x}"),
            Err((vector, error)) => {
                assert_eq!((stop, rig.stack(4, 1)[0]), (Stop::Handler(*vector), *error), "{number} {selector:x}");
            }
        }
    }
}

#[test]
fn loading_marks_a_descriptor_as_accessed() {
    let mut rig = Rig::protected();
    rig.descriptor(sel::FREE, segment(0, 0xf_ffff, 0xc092));
    rig.set(isamorph_x86::state::EAX, sel::FREE);
    assert_eq!(rig.code(&[0x8e, 0xd8, 0xf4]), Stop::Halt(CODE + 3));
    assert_eq!(rig.bus.peek(crate::rig::GDT + sel::FREE + 5, 1), 0x93);
}

#[test]
fn a_page_fault_tells_its_address() {
    let mut rig = Rig::protected();
    // 4 MiB one to one, the second page absent.
    rig.bus.put(crate::rig::PAGES, &(crate::rig::PAGES as u32 + 0x1007).to_le_bytes());
    for n in 0..1024u32 {
        rig.bus.put(crate::rig::PAGES + 0x1000 + 4 * u64::from(n), &(n << 12 | 7).to_le_bytes());
    }
    rig.bus.put(crate::rig::PAGES + 0x1000 + 4 * 0x20, &[0; 4]);
    word::CR3.set(&mut rig.cpu, crate::rig::PAGES);
    rig.set(CR0, cr0::PE | cr0::PG);
    rig.level(3);
    // mov [0x20004], eax
    assert_eq!(rig.code(&[0xa3, 4, 0, 2, 0]), Stop::Handler(exception::PF));
    assert_eq!(word::CR2.get(&rig.cpu), 0x2_0004);
    assert_eq!(rig.stack(4, 3), [6, CODE, sel::CODE3]);
    // An access across the edge of the page faults in the second half.
    rig.level(3);
    assert_eq!(rig.code(&[0xa1, 0xfe, 0xff, 1, 0]), Stop::Handler(exception::PF));
    assert_eq!(word::CR2.get(&rig.cpu), 0x2_0000);
}

#[test]
fn debug_traps() {
    // Single step: the trap comes after one instruction.
    let mut rig = Rig::protected();
    rig.set_flags(0x102);
    assert_eq!(rig.code(&[0x90, 0x90]), Stop::Handler(exception::DB));
    assert_eq!((rig.stack(4, 3), word::DR6.get(&rig.cpu)), (vec![CODE + 1, sel::CODE0, 0x102], 0xffff_4ff0));
    // A breakpoint: a fault, once passed with RF.
    let mut rig = Rig::protected();
    word::DR0.set(&mut rig.cpu, CODE + 1);
    word::DR7.set(&mut rig.cpu, 0x402);
    rig.bus.put(HANDLERS + 0x10, &[0x80, 0x4c, 0x24, 0x0a, 1, 0xcf]);
    assert_eq!(rig.code(&[0x90, 0x40, 0xf4]), Stop::Halt(CODE + 3));
    assert_eq!(word::DR6.get(&rig.cpu), 0xffff_0ff1);
    assert_eq!(rig.get(isamorph_x86::state::EAX), 1);
    // An access to a port.
    let mut rig = Rig::protected();
    rig.set(isamorph_x86::state::CR4, cr4::DE);
    word::DR0.at(2).set(&mut rig.cpu, 0x10);
    word::DR7.set(&mut rig.cpu, 0x400 | 1 << 4 | 2 << 24);
    assert_eq!(rig.code(&[0xe6, 0x10, 0xf4]), Stop::Handler(exception::DB));
    assert_eq!((rig.stack(4, 1)[0], word::DR6.get(&rig.cpu)), (CODE + 2, 0xffff_0ff4));
    // General detect.
    let mut rig = Rig::protected();
    word::DR7.set(&mut rig.cpu, 0x2400);
    assert_eq!(rig.code(&[0x0f, 0x21, 0xf8]), Stop::Handler(exception::DB));
    assert_eq!((rig.stack(4, 1)[0], word::DR6.get(&rig.cpu), word::DR7.get(&rig.cpu)), (CODE, 0xffff_2ff0, 0x400));
}

#[test]
fn traps_have_vectors() {
    for (trap, vector) in [
        (Trap::Divide, exception::DE),
        (Trap::Float(isamorph_ir::FloatUnit::X87), exception::MF),
        (Trap::Float(isamorph_ir::FloatUnit::Vector), exception::XM),
    ] {
        let mut rig = Rig::protected();
        assert_eq!(rig.deliver(Event::Trap(trap)), Delivered::Done);
        assert_eq!(rig.run(), Stop::Handler(vector));
    }
}

#[test]
fn stacks_of_the_task_state_are_checked() {
    // SS0, ESP0: what an interrupt from level 3 runs into.
    let rows: &[(u64, u64, u32, u64)] = &[
        (0, 0x7000, exception::TS, 1),
        (sel::DATA3, 0x7000, exception::TS, 0x21),
        (sel::CODE0, 0x7000, exception::TS, 9),
        (0x1000, 0x7000, exception::TS, 0x1001),
    ];
    for (stack, pointer, vector, error) in rows {
        let mut rig = Rig::protected();
        rig.level(3);
        rig.bus.put64(crate::rig::TSS + 4, &[stack << 32 | pointer]);
        // The exception's own handler runs at level 3.
        rig.gate((*vector).into(), gate(INTERRUPT32, 0, sel::CODE3, HANDLERS + 16 * u64::from(*vector)));
        rig.gate(0x40, gate(INTERRUPT32, 3, sel::CODE0, 0x5000));
        assert_eq!(rig.deliver(Event::Interrupt(0x40)), Delivered::Done);
        assert_eq!(rig.cpu.pc(), HANDLERS + 16 * u64::from(*vector));
        assert_eq!(rig.stack(4, 1), [*error]);
        assert_eq!((rig.get(CS), rig.get(SS)), (sel::CODE3, sel::DATA3));
    }
}
