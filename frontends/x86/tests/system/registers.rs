//! Reset, control registers, model-specific registers, identification.

use crate::rig::{CODE, Rig, Stop};
use isamorph_guest::SystemGuest as _;
use isamorph_ir::{CONTROLLER_PRIORITY, CpuState, Flush};
use isamorph_x86::exception;
use isamorph_x86::state::{
    AMD64, CR0, CR4, CS, CS_ATTR, CS_BASE, CS_LIMIT, EAX, EBX, ECX, EDX, ES, ES_ATTR, ES_BASE, ES_LIMIT, FS_BASE,
    MXCSR, cpl, eflags, fxsave_image, word,
};
use isamorph_x86::system::{FREQUENCY, Machine, Topology, cr0, cr4, efer, msr};

#[test]
fn power_on() {
    let machine = Machine::new("qemu64", 64, Topology::flat(2)).unwrap();
    let mut cpu = CpuState::new();
    machine.reset(&mut cpu, 1);
    let get = |reg| cpu.get(&AMD64, reg);
    assert_eq!((get(CR0), get(CR4), eflags(&cpu), cpl(&cpu)), (0x6000_0010, 0, 2, 0));
    assert_eq!((get(CS), get(CS_BASE), get(CS_LIMIT), get(CS_ATTR)), (0xf000, 0xffff_0000, 0xffff, 0x9b00));
    assert_eq!((get(ES), get(ES_BASE), get(ES_LIMIT), get(ES_ATTR)), (0, 0, 0xffff, 0x9300));
    assert_eq!((cpu.pc(), get(EDX), get(EAX)), (0xffff_fff0, 0xf06b1, 0));
    assert_eq!((get(MXCSR), &fxsave_image(&cpu)[..5]), (0x1f80, &[0x7f, 3, 0, 0, 0][..]));
    for (word, want) in [
        (word::GDTR_LIMIT, 0xffff),
        (word::IDTR_LIMIT, 0xffff),
        (word::LDTR_LIMIT, 0xffff),
        (word::TR_LIMIT, 0xffff),
        (word::LDTR_ATTR, 0x8200),
        (word::TR_ATTR, 0x8b00),
        (word::GDTR_BASE, 0),
        (word::CR2, 0),
        (word::CR3, 0),
        (word::EFER, 0),
        (word::SMBASE, 0x3_0000),
        (word::PAT, 0x0007_0406_0007_0406),
        (word::MISC_ENABLE, 1),
        (word::DR0, 0),
        (word::DR6, 0xffff_0ff0),
        (word::DR7, 0x400),
        (word::LINE_20_LOW, 0),
        (word::INDEX, 1),
    ] {
        let name = word::WORDS.iter().find(|(_, w, _)| *w == word).map(|(name, ..)| *name);
        assert_eq!(word.get(&cpu), want, "{name:?}");
    }
    let wake = machine.wake(&cpu);
    assert!(!wake.interrupt && wake.nmi && wake.smi && !wake.waits_for_start && wake.trap.is_none());
}

/// Control registers: number, value, whether it is #GP at level 0.
#[test]
fn control_registers_are_checked() {
    let rows: &[(u8, u64, bool)] = &[
        (0, cr0::PG, true),
        (0, cr0::PE | cr0::NW, true),
        (0, cr0::PE | cr0::NW | cr0::CD, false),
        (4, 1 << 11, true),
        (4, 1, true),
        (4, cr4::PAE | cr4::PGE | cr4::SMEP | cr4::SMAP | cr4::OSFXSR, false),
        (4, cr4::PCIDE, true),
        (2, 0x1234_5678, false),
        (3, 0x1234_5000, false),
    ];
    for (number, value, refused) in rows {
        let mut rig = Rig::protected();
        rig.set(EAX, *value);
        let stop = rig.code(&[0x0f, 0x22, 0xc0 | number << 3, 0x0f, 0x20, 0xc3 | number << 3, 0xf4]);
        if *refused {
            assert_eq!((stop, rig.stack(4, 2)), (Stop::Handler(exception::GP), vec![0, CODE]), "{number} {value:x}");
        } else {
            let want = if *number == 0 { value | cr0::ET } else { *value };
            assert_eq!((stop, rig.get(EBX)), (Stop::Halt(CODE + 7), want), "{number} {value:x}");
        }
    }
}

#[test]
fn long_mode_has_conditions() {
    let mut rig = Rig::long();
    // Paging cannot be turned off by 64-bit code, nor PAE at all.
    rig.set(EAX, cr0::PE);
    assert_eq!(rig.code(&[0x0f, 0x22, 0xc0]), Stop::Handler(exception::GP));
    rig.set(EAX, 0);
    assert_eq!(rig.code(&[0x0f, 0x22, 0xe0]), Stop::Handler(exception::GP));
    // LME does not change while paging is on.
    rig.set(ECX, 0xc000_0080);
    rig.set(EAX, efer::SCE);
    rig.set(EDX, 0);
    assert_eq!(rig.code(&[0x0f, 0x30]), Stop::Handler(exception::GP));
    // LMA cannot be written.
    rig.set(EAX, efer::LME | efer::NXE);
    assert_eq!(rig.code(&[0x0f, 0x30, 0xf4]), Stop::Halt(CODE + 3));
    assert_eq!(word::EFER.get(&rig.cpu), efer::LME | efer::NXE | efer::LMA);
}

#[test]
fn translations_are_dropped() {
    let rows: &[(&[u8], u64, Flush)] = &[
        (&[0x0f, 0x22, 0xd8], 0x1000, Flush::Local), // mov cr3, eax
        (&[0x0f, 0x22, 0xe0], cr4::PGE, Flush::All), // mov cr4, eax
        (&[0x0f, 0x22, 0xc0], cr0::PE | cr0::WP, Flush::All),
        (&[0x0f, 0x01, 0x38], 0x1234, Flush::Page(0x1234)), // invlpg [eax]
    ];
    for (code, value, want) in rows {
        let mut rig = Rig::protected();
        rig.set(EAX, *value);
        rig.bus.put(CODE, code);
        rig.cpu.set_pc(CODE);
        rig.bus.flushes.borrow_mut().clear();
        assert_eq!(rig.step(), None);
        assert_eq!(*rig.bus.flushes.borrow(), [*want], "{code:x?}");
    }
}

#[test]
fn clts_and_lmsw() {
    let mut rig = Rig::protected();
    rig.set(CR0, cr0::PE | cr0::TS | cr0::ET);
    assert_eq!(rig.code(&[0x0f, 0x06, 0xf4]), Stop::Halt(CODE + 3));
    assert_eq!(rig.get(CR0), cr0::PE | cr0::ET);
    // PE stays.
    rig.set(EAX, cr0::TS | cr0::MP);
    assert_eq!(rig.code(&[0x0f, 0x01, 0xf0, 0xf4]), Stop::Halt(CODE + 4));
    assert_eq!(rig.get(CR0), cr0::PE | cr0::ET | cr0::TS | cr0::MP);
}

/// Runs `wrmsr`, then `rdmsr`; nothing if the write is refused.
fn write_and_read(rig: &mut Rig, number: u64, value: u64) -> Option<u64> {
    rig.set(ECX, number);
    rig.set(EAX, value & 0xffff_ffff);
    rig.set(EDX, value >> 32);
    match rig.code(&[0x0f, 0x30, 0x31, 0xc0, 0x0f, 0x32, 0xf4]) {
        Stop::Halt(_) => Some(rig.get(EDX) << 32 | rig.get(EAX)),
        Stop::Handler(exception::GP) => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn model_specific_registers() {
    let high = 0xffff_8000_0000_1000;
    let rows: &[(u64, u64, Option<u64>)] = &[
        (0x174, 0x10, Some(0x10)),
        (0x175, high, Some(high)),
        (0x176, 1 << 50, None),
        (0xc000_0081, u64::MAX, Some(u64::MAX)),
        (0xc000_0082, 1 << 47, None),
        (0xc000_0082, high, Some(high)),
        (0xc000_0084, 1 << 32, None),
        (0xc000_0100, high, Some(high)),
        (0xc000_0102, high, Some(high)),
        (0xc000_0103, 7, Some(7)),
        (0x277, 0x0007_0106_0007_0406, Some(0x0007_0106_0007_0406)),
        (0x277, 2, None),
        (0x200, 0x8000_0006, Some(0x8000_0006)),
        (0x20f, 0x800, Some(0x800)),
        (0x26f, 0x0606_0606_0606_0606, Some(0x0606_0606_0606_0606)),
        (0x26f, 3, None),
        (0x2ff, 0xc06, Some(0xc06)),
        (0x2ff, 1 << 12, None),
        (0x402, 9, Some(9)),
        (0x400, u64::MAX, Some(u64::MAX)),
        (0x400, 9, None),
        (0x401, 9, None),
        (0x401, 0, Some(0)),
        (0xfe, 0, None),
        (0xc000_0080, 1 << 4, None),
        (0x1b, 0xfee0_0900, None),
    ];
    for (number, value, want) in rows {
        let mut rig = Rig::protected();
        assert_eq!(write_and_read(&mut rig, *number, *value), *want, "{number:x} {value:x}");
    }
    let mut rig = Rig::protected();
    rig.set(FS_BASE, 5);
    write_and_read(&mut rig, 0xc000_0100, high);
    assert_eq!(rig.get(FS_BASE), high);
    // What is not there reads as zero, and is counted.
    assert_eq!(write_and_read(&mut rig, 0xdead, 5), Some(0));
    assert!(msr::unknown().iter().any(|(number, count)| *number == 0xdead && *count >= 2));
}

#[test]
fn registers_of_the_interrupt_controller() {
    let mut rig = Rig::long();
    rig.bus.controller.borrow_mut().extend([(CONTROLLER_PRIORITY, 0), (0x1b, 0xfee0_0900), (0x6e0, 0), (0x808, 0)]);
    // mov cr8, rax; mov rbx, cr8; hlt
    rig.set(EAX, 5);
    assert_eq!(rig.code(&[0x44, 0x0f, 0x22, 0xc0, 0x44, 0x0f, 0x20, 0xc3, 0xf4]), Stop::Halt(CODE + 9));
    assert_eq!((rig.get(EBX), rig.bus.controller.borrow()[&CONTROLLER_PRIORITY]), (5, 5));
    rig.set(EAX, 16);
    assert_eq!(rig.code(&[0x44, 0x0f, 0x22, 0xc0]), Stop::Handler(exception::GP));
    assert_eq!(write_and_read(&mut rig, 0x1b, 0xfee0_0d00), Some(0xfee0_0d00));
    assert_eq!(write_and_read(&mut rig, 0x808, 0x20), Some(0x20));
    assert_eq!(write_and_read(&mut rig, 0x80b, 0), None);
    // Deadlines are told without the offset of this processor's counter.
    word::TSC_OFFSET.set(&mut rig.cpu, 1000);
    assert_eq!(write_and_read(&mut rig, 0x6e0, 5000), Some(5000));
    assert_eq!(rig.bus.controller.borrow()[&0x6e0], 4000);
}

#[test]
fn the_counter_counts_and_can_be_set() {
    let mut rig = Rig::protected();
    let read = |rig: &mut Rig| {
        assert_eq!(rig.code(&[0x0f, 0x31, 0xf4]), Stop::Halt(CODE + 3));
        rig.get(EDX) << 32 | rig.get(EAX)
    };
    let first = read(&mut rig);
    assert!(read(&mut rig) > first);
    let far = 1 << 50;
    assert!(write_and_read(&mut rig, 0x10, far).is_some_and(|value| (far..far + FREQUENCY * 60).contains(&value)));
    assert!(read(&mut rig) >= far);
    // User code may be kept from it.
    rig.set(CR4, cr4::TSD);
    rig.level(3);
    assert_eq!(rig.code(&[0x0f, 0x31]), Stop::Handler(exception::GP));
}

fn cpuid(rig: &mut Rig, leaf: u64, subleaf: u64) -> [u64; 4] {
    rig.set(EAX, leaf);
    rig.set(ECX, subleaf);
    assert_eq!(rig.code(&[0x0f, 0xa2, 0xf4]), Stop::Halt(CODE + 3));
    [EAX, EBX, ECX, EDX].map(|reg| rig.get(reg))
}

#[test]
fn identification() {
    let mut rig = Rig::protected();
    assert_eq!(cpuid(&mut rig, 1, 0)[3] & 0x200, 0, "a local APIC is claimed only if there is one");
    rig.bus.controller.borrow_mut().insert(0x1b, 0xfee0_0900);
    let [_, ebx, ecx, edx] = cpuid(&mut rig, 1, 0);
    // PSE, MSR, PAE, APIC, SEP, MTRR, PGE, PAT are there; the hypervisor bit; XSAVE is not enabled.
    assert_eq!(edx & 0x1_3a68, 0x1_3a68);
    assert_eq!((ecx >> 31 & 1, ecx >> 27 & 1, ebx >> 24), (1, 0, 0));
    let old = rig.get(CR4);
    rig.set(CR4, old | cr4::OSXSAVE);
    assert_eq!(cpuid(&mut rig, 1, 0)[2] >> 27 & 1, 1);
    assert_eq!(cpuid(&mut rig, 0x4000_0000, 0)[1], u64::from(u32::from_le_bytes(*b"TCGT")));
    assert_eq!(cpuid(&mut rig, 0x15, 0), [1, 1, FREQUENCY, 0]);
    assert_eq!(cpuid(&mut rig, 7, 0)[1] >> 7 & 1, 1, "SMEP");
}

#[test]
fn topology_has_bits_for_each_level() {
    let topology = Topology { threads: 2, cores: 3, sockets: 2 };
    let ids: Vec<u32> = (0..12).map(|n| topology.apic_id(n)).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]);
    let machine = Machine::new("max", 64, topology).unwrap();
    let mut rig = Rig::protected();
    let mut other = rig.cpu.fork();
    machine.reset(&mut other, 7);
    for word in [word::TOPOLOGY, word::INDEX] {
        let value = word.get(&other);
        word.set(&mut rig.cpu, value);
    }
    let [_, ebx, _, edx] = cpuid(&mut rig, 1, 0);
    assert_eq!((ebx >> 24, ebx >> 16 & 0xff, edx >> 28 & 1), (9, 6, 1));
    assert_eq!(cpuid(&mut rig, 0xb, 0), [1, 2, 0x100, 9]);
    assert_eq!(cpuid(&mut rig, 0xb, 1), [3, 6, 0x201, 9]);
}

#[test]
fn models_decide_what_there_is() {
    assert!(Machine::new("max,-smap", 64, Topology::flat(1)).is_ok());
    assert!(Machine::new("max,+nonsense", 64, Topology::flat(1)).is_err());
    let mut rig = Rig::protected();
    let machine = Machine::new("max,-smap", 64, Topology::flat(1)).unwrap();
    let mut other = rig.cpu.fork();
    machine.reset(&mut other, 0);
    for n in 0..2 {
        let value = word::FEATURES.at(n).get(&other);
        word::FEATURES.at(n).set(&mut rig.cpu, value);
    }
    rig.set(EAX, cr4::SMAP);
    assert_eq!(rig.code(&[0x0f, 0x22, 0xe0]), Stop::Handler(exception::GP));
    // Without long mode, EFER has no LME.
    let machine = Machine::new("max", 32, Topology::flat(1)).unwrap();
    let mut other = rig.cpu.fork();
    machine.reset(&mut other, 0);
    for n in 0..2 {
        let value = word::FEATURES.at(n).get(&other);
        word::FEATURES.at(n).set(&mut rig.cpu, value);
    }
    assert_eq!(write_and_read(&mut rig, 0xc000_0080, efer::LME), None);
}
