//! Real mode: 16-bit operands and addresses, segments, limits, the stack, the end of the code segment.

mod machine;

use isamorph_guest::{Limits, SystemGuest};
use isamorph_ir::{ExitKind, RegId, Trap};
use isamorph_x86::exception;
use isamorph_x86::state::{
    DF, DS_BASE, EAX, EBP, EBX, ECX, EDI, EDX, ES_LIMIT, ESI, ESP, SHADOW, SS_BASE, eflag, eflags, word,
};
use isamorph_x86::system::{Machine as Processors, Topology};
use machine::{Machine, RAM, Stop, TF};

const HLT: u8 = 0xf4;
const SEG: u16 = 0x1000;
const IP: u16 = 0x100;
const DS_LIMIT: RegId = RegId(ES_LIMIT.0 + 3);
const SS_LIMIT: RegId = RegId(ES_LIMIT.0 + 2);

/// A machine whose code ends with `hlt`.
fn real(code: &[u8]) -> Machine {
    Machine::real(SEG, IP, &[code, &[HLT]].concat())
}

fn gp(ip: u64) -> Stop {
    Stop::Raise(ip, exception::GP, 0)
}

fn ss(ip: u64) -> Stop {
    Stop::Raise(ip, exception::SS, 0)
}

// ---- addresses

/// Every 16-bit form: `mov al, [form]`, with memory that tells its address.
#[test]
fn sixteen_bit_addresses() {
    let (bx, bp, si, di) = (0x8123u64, 0xc345, 0x9567, 0xa789);
    let bases = [bx + si, bx + di, bp + si, bp + di, si, di, bp, bx];
    for modrm in 0..0xc0u8 {
        let (mode, reg, rm) = (modrm >> 6, modrm >> 3 & 7, usize::from(modrm & 7));
        if reg != 0 {
            continue;
        }
        let direct = mode == 0 && rm == 6;
        let (displacement, extra) = match mode {
            0 if direct => (0xfedc, 2),
            0 => (0, 0),
            1 => (-0x11i64 as u64, 1),
            _ => (0xbeef, 2),
        };
        let base = if direct { 0 } else { bases[rm] };
        let offset = base.wrapping_add(displacement) & 0xffff;
        let in_stack = matches!(rm, 2 | 3) || rm == 6 && !direct;
        let mut code = vec![0x8a, modrm];
        code.extend(&displacement.to_le_bytes()[..extra]);
        let mut m = real(&code);
        m.set(EBX, bx).set(EBP, bp).set(ESI, si).set(EDI, di);
        // High halves do not count.
        m.set(EDI, di | 0xdead_0000);
        m.store((if in_stack { 0x3_0000 } else { 0x4_0000 }) + offset, &[0x5a]);
        assert_eq!(m.run(), Stop::Halt(u64::from(IP) + code.len() as u64 + 1), "{modrm:#x}");
        assert_eq!(m.get(EAX), 0x5a, "{modrm:#x}");
    }
}

#[test]
fn prefixes_choose_segments_and_sizes() {
    // mov al,[bx] with each segment prefix
    for (prefix, base) in [(0x26, 0x2_0000), (0x2e, 0x1_0000), (0x36, 0x3_0000), (0x3e, 0x4_0000), (0x64, 0x5_0000)] {
        let mut m = real(&[prefix, 0x8a, 0x07]);
        m.set(EBX, 0x1234).store(base + 0x1234, &[0x77]);
        m.run();
        assert_eq!(m.get(EAX), 0x77, "{prefix:#x}");
    }
    // mov eax,[ebx+ecx*4+8] with operand and address prefixes
    let mut m = real(&[0x66, 0x67, 0x8b, 0x44, 0x8b, 0x08]);
    m.set(EBX, 0x100).set(ECX, 3).store(0x4_0114, &0x1234_5678u32.to_le_bytes());
    m.run();
    assert_eq!(m.get(EAX), 0x1234_5678);
    // mov ax,imm16 keeps the upper half; lea ax,[bx+si] wraps.
    let mut m = real(&[0xb8, 0x34, 0x12, 0x8d, 0x10]);
    m.set(EAX, 0xaaaa_0000).set(EBX, 0xffff).set(ESI, 2).set(EDX, 0x5555_0000);
    m.run();
    assert_eq!((m.get(EAX), m.get(EDX)), (0xaaaa_1234, 0x5555_0001));
}

/// An access must not reach past the limit, 0xffff; the limits of unreal mode are wider.
#[test]
fn limits_are_checked() {
    let word = [0x8b, 0x07]; // mov ax,[bx]
    let mut m = real(&word);
    m.set(EBX, 0xffff);
    assert_eq!(m.run(), gp(IP.into()));
    let mut m = real(&word);
    m.set(EBX, 0xfffe).store(0x4_fffe, &[1, 2]);
    m.run();
    assert_eq!(m.get(EAX), 0x0201);
    // mov [bp],eax: the stack segment; a dword at 0xfffd does not fit.
    let mut m = real(&[0x66, 0x89, 0x46, 0x00]);
    m.set(EBP, 0xfffd).set(EAX, 0x1234_5678);
    assert_eq!(m.run(), ss(IP.into()));
    assert_eq!(m.bytes(0x3_fffd), [0; 3]);
    // mov al,[ebx] beyond 64 KiB, then with a limit of 4 GiB
    let beyond = [0x67, 0x8a, 0x03];
    let mut m = real(&beyond);
    m.set(EBX, 0x1_0000);
    assert_eq!(m.run(), gp(IP.into()));
    let mut m = real(&beyond);
    m.set(EBX, 0x1_0000).set(DS_LIMIT, 0xffff_ffff).store(0x5_0000, &[9]);
    m.run();
    assert_eq!(m.get(EAX), 9);
    // The last byte's offset does not wrap: mov ax,[ebx] at 0xffffffff.
    let mut m = real(&[0x67, 0x8b, 0x03]);
    m.set(EBX, 0xffff_ffff).set(DS_LIMIT, 0xffff_fffe);
    assert_eq!(m.run(), gp(IP.into()));
}

/// A read-modify-write and a load of a far pointer are checked before anything happens.
#[test]
fn whole_operands_are_checked() {
    let mut m = real(&[0x01, 0x07]); // add [bx],ax
    m.set(EBX, 0xffff).set(EAX, 1);
    assert_eq!(m.run(), gp(IP.into()));
    let mut m = real(&[0xc5, 0x37]); // lds si,[bx]
    m.set(EBX, 0xfffd).set(ESI, 7);
    assert_eq!(m.run(), gp(IP.into()));
    assert_eq!(m.get(ESI), 7);
    // bt [bx],ax selects words around the address, which wraps: bit 0x8000 − 1 words … here one word below 0.
    let mut m = real(&[0x0f, 0xa3, 0x07]);
    m.set(EBX, 0).set(EAX, 0xffff).store(0x4_fffe, &[0, 0x80]);
    m.run();
    assert_eq!(eflags(&m.cpu) & 1, 1);
}

// ---- the stack

#[test]
fn stack_pointer_wraps_at_64k() {
    // push ax; pop bx
    let mut m = real(&[0x50, 0x5b]);
    m.set(ESP, 0xabcd_0000).set(EAX, 0x1111_2222);
    m.run();
    assert_eq!((m.word(0x3_fffe), m.get(EBX), m.get(ESP)), (0x2222, 0x2222, 0xabcd_0000));
    // A word across the end does not fit.
    let mut m = real(&[0x50]);
    m.set(ESP, 1);
    assert_eq!(m.run(), ss(IP.into()));
    assert_eq!(m.get(ESP), 1);
    let mut m = real(&[0x58]);
    m.set(ESP, 0xffff);
    assert_eq!(m.run(), ss(IP.into()));
    // pushl $-1 (o32), pushw imm8
    let mut m = real(&[0x66, 0x6a, 0xff, 0x6a, 0xfe]);
    m.set(ESP, 0x100);
    m.run();
    assert_eq!((m.bytes(0x3_00fa), m.get(ESP)), ([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff], 0xfa));
}

#[test]
fn frames_in_16_bits() {
    // enter 4,0; leave
    let mut m = real(&[0xc8, 4, 0, 0]);
    m.set(ESP, 0x5555_0100).set(EBP, 0x7777_1234);
    m.run();
    assert_eq!((m.get(ESP), m.get(EBP), m.word(0x3_00fe)), (0x5555_00fa, 0x7777_00fe, 0x1234));
    let mut m = real(&[0xc9]);
    m.set(ESP, 0x5555_0010).set(EBP, 0x7777_00fe).store(0x3_00fe, &[0x34, 0x12]);
    m.run();
    assert_eq!((m.get(ESP), m.get(EBP)), (0x5555_0100, 0x7777_1234));
    // pusha; popa
    let mut m = real(&[0x60, 0x31, 0xc0, 0x61]);
    m.set(ESP, 0x100).set(EAX, 0x1234).set(EDI, 0x4321);
    m.run();
    assert_eq!((m.get(EAX), m.get(ESP), m.word(0x3_00f0), m.word(0x3_00f6)), (0x1234, 0x100, 0x4321, 0x100));
}

// ---- control

#[test]
fn calls_push_offsets() {
    // call +1; hlt; ret
    let mut m = Machine::real(SEG, IP, &[0xe8, 1, 0, HLT, 0xc3]);
    m.set(ESP, 0x100);
    assert_eq!(m.run(), Stop::Halt(0x104));
    assert_eq!(m.word(0x3_00fe), 0x103);
    // call ax; the target is an offset.
    let mut m = Machine::real(SEG, IP, &[0xff, 0xd0]);
    m.set(ESP, 0x100).set(EAX, 0xffff_0200).store(0x1_0200, &[HLT]);
    assert_eq!(m.run(), Stop::Halt(0x201));
}

#[test]
fn offsets_of_code_wrap_in_jumps_but_not_in_a_row() {
    // jmp +2 at 0xfffe − 2 … the target 0x10001 is 0x0001.
    let mut m = Machine::real(SEG, 0xfffd, &[0xeb, 0x02]);
    m.store(0x1_0001, &[HLT]);
    assert_eq!(m.run(), Stop::Halt(2));
    // nop at 0xffff, and on: #GP at 0x10000.
    let mut m = Machine::real(SEG, 0xffff, &[0x90, HLT]);
    assert_eq!(m.run(), gp(0x1_0000));
    // An instruction across the end: #GP of its own.
    let mut m = Machine::real(SEG, 0xfffe, &[0xb8, 1, 2]);
    assert_eq!(m.run(), gp(0xfffe));
    // jmpl (o32) to 0x10000
    let mut m = Machine::real(SEG, IP, &[0x66, 0xe9, 0xfa, 0xfe, 0, 0]);
    assert_eq!(m.run(), gp(IP.into()));
    // retl to 0x12345
    let mut m = real(&[0x66, 0xc3]);
    m.set(ESP, 0x100).store(0x3_0100, &0x1_2345u32.to_le_bytes());
    assert_eq!(m.run(), gp(IP.into()));
    assert_eq!(m.get(ESP), 0x100);
    // jo with o32 behind the end raises only if it is taken; loopl counts only if it does not raise.
    let mut m = real(&[0x66, 0x0f, 0x80, 0, 0, 1, 0]);
    assert_eq!(m.run(), Stop::Halt(u64::from(IP) + 8));
    let mut m = Machine::real(SEG, 0xfff0, &[0x66, 0xe2, 0x7f]);
    m.set(ECX, 5);
    assert_eq!(m.run(), gp(0xfff0));
    assert_eq!(m.get(ECX), 5);
}

#[test]
fn counters_have_the_size_of_addresses() {
    // 1: inc ax; loop 1b
    let mut m = real(&[0x40, 0xe2, 0xfd]);
    m.set(ECX, 0xaaaa_0003).set(EAX, 0);
    m.run();
    assert_eq!((m.get(EAX), m.get(ECX)), (3, 0xaaaa_0000));
    // jcxz +1; inc ax; hlt
    let mut m = real(&[0xe3, 0x01, 0x40]);
    m.set(ECX, 0x5555_0000);
    m.run();
    assert_eq!(m.get(EAX), 0);
}

// ---- strings

#[test]
fn strings_have_16_bit_pointers() {
    // rep movsw from DS:SI to ES:DI
    let mut m = real(&[0xf3, 0xa5]);
    m.set(ESI, 0xdead_0010).set(EDI, 0xbeef_0020).set(ECX, 0x1111_0004).store(0x4_0010, b"abcdefgh");
    m.run();
    assert_eq!(&m.bytes::<8>(0x2_0020), b"abcdefgh");
    assert_eq!((m.get(ESI), m.get(EDI), m.get(ECX)), (0xdead_0018, 0xbeef_0028, 0x1111_0000));
    // rep stosb wraps at 64 KiB.
    let mut m = real(&[0xf3, 0xaa]);
    m.set(EDI, 0xfffe).set(ECX, 4).set(EAX, 0x5a);
    m.run();
    assert_eq!((m.bytes(0x2_fffe), m.bytes(0x2_0000), m.get(EDI)), ([0x5a; 2], [0x5a; 2], 2));
    // rep stosw from an odd address: the word at 0xffff does not fit; the ones before it are done.
    let mut m = real(&[0xf3, 0xab]);
    m.set(EDI, 0xfffb).set(ECX, 9).set(EAX, 0x2211);
    assert!(matches!(m.run(), Stop::Trap(0x100, Trap::Exception { code: exception::GP, arg: 0 })));
    assert_eq!((m.get(EDI), m.get(ECX), m.bytes(0x2_fffb)), (0xffff, 7, [0x11, 0x22, 0x11, 0x22]));
    // std; es: lodsb
    let mut m = real(&[0xfd, 0x26, 0xac]);
    m.set(ESI, 0).store(0x2_0000, &[0x99]);
    m.run();
    assert_eq!((m.get(EAX), m.get(ESI), m.get(DF) as u32), (0x99, 0xffff, u32::MAX));
    // repne scasb
    let mut m = real(&[0xf2, 0xae]);
    m.set(EDI, 0x40).set(ECX, 100).set(EAX, u64::from(b'z')).store(0x2_0040, b"xyz");
    m.run();
    assert_eq!((m.get(EDI), m.get(ECX), eflags(&m.cpu) & 0x40), (0x43, 97, 0x40));
}

#[test]
fn ports_and_strings() {
    // insw; rep insb; outsb
    let mut m = real(&[0x6d, 0xf3, 0x6c, 0x6e]);
    m.set(EDX, 0x1f0).set(EDI, 0x10).set(ECX, 3).set(ESI, 5).store(0x4_0005, &[0xab]);
    m.run();
    assert_eq!((m.bytes(0x2_0010), m.get(EDI), m.get(ECX)), ([0xf0, 1, 0xf0, 0xf0, 0xf0], 0x15, 0));
    assert_eq!(*m.board.written.borrow(), [(0x1f0, 1, 0xab)]);
    // in al,0x71; out 0x70,ax; in eax,dx
    let mut m = real(&[0xe4, 0x71, 0xe7, 0x70, 0x66, 0xed]);
    m.set(EAX, 0x1200).set(EDX, 0x3fd);
    m.run();
    assert_eq!((m.get(EAX), m.board.written.borrow()[0]), (0x3fd, (0x70, 2, 0x1271)));
}

// ---- between instructions

#[test]
fn shadow_of_sti_is_one_instruction() {
    let mut m = real(&[0xfb, 0x40, 0x41]);
    let region = m.lift();
    assert_eq!(region.insns.len(), 2);
    assert_eq!(region.exits.last().map(|e| e.kind), Some(ExitKind::Resync { next: 0x1_0102 }));
    // Instruction by instruction it is in the state.
    m.limits = Limits { max_insns: 1, precise: true };
    m.region();
    assert_eq!((m.get(SHADOW), m.ip()), (1, 0x101));
    m.region();
    assert_eq!((m.get(SHADOW), m.ip(), m.get(EAX)), (0, 0x102, 1));
    assert_eq!(eflags(&m.cpu) & eflag::IF, eflag::IF);
}

#[test]
fn shadow_of_a_stack_segment() {
    // mov ss,ax; mov sp,imm; hlt
    let mut m = real(&[0x8e, 0xd0, 0xbc, 0x34, 0x12]);
    m.set(EAX, 0x700);
    m.region();
    assert_eq!((m.get(SHADOW), m.get(SS_BASE), m.ip()), (3, 0x7000, 0x102));
    assert_eq!(m.lift().insns.len(), 1);
    m.region();
    assert_eq!((m.get(SHADOW), m.get(ESP), m.ip()), (0, 0x1234, 0x105));
}

#[test]
fn interrupt_flag_ends_regions_only_when_it_is_set() {
    // popf; inc ax
    let mut m = real(&[0x9d, 0x40]);
    m.set(ESP, 0x100).store(0x3_0100, &[0x02, 0x02]);
    m.region();
    assert_eq!((m.ip(), eflags(&m.cpu)), (0x101, 0x202));
    let mut m = real(&[0x9d, 0x40]);
    m.set(ESP, 0x100).set_flags(eflag::IF).store(0x3_0100, &[0x03, 0x30]);
    assert_eq!(m.region(), Some(Stop::Halt(0x103)));
    assert_eq!(eflags(&m.cpu) & !0xd5, 0x3002);
}

/// With the trap flag every instruction leaves a trap for the next one, repeated string instructions at each element;
/// a load of SS puts it off, and an interrupt's handler begins without.
#[test]
fn single_steps() {
    let processors = Processors::new("max", 64, Topology::flat(1)).unwrap();
    let trap = |m: &mut Machine| {
        let pending = processors.wake(&m.cpu).trap.is_some();
        word::PENDING_DEBUG.set(&mut m.cpu, 0);
        pending
    };
    // inc ax; rep stosb; mov ss,bx; jmp +0; int 0x20
    let mut m = real(&[0x40, 0xf3, 0xaa, 0x8e, 0xd3, 0xeb, 0x00, 0xcd, 0x20]);
    word::IDTR_LIMIT.set(&mut m.cpu, 0x3ff);
    m.set_flags(TF).set(ECX, 2).set(ESP, 0x100).store(0x80, &[0x34, 0x12, 0, 0]);
    for (ip, pending) in [(0x101, true), (0x101, true), (0x103, true), (0x105, false), (0x107, true), (0x1234, false)] {
        assert_eq!(m.lift().insns.len(), 1);
        m.region();
        assert_eq!((m.cpu.pc() & 0xffff, trap(&mut m)), (ip, pending));
    }
    assert_eq!((m.get(EAX), m.get(EDI), eflags(&m.cpu) & TF), (1, 2, 0));
}

#[test]
fn loads_of_segments() {
    // mov ds,ax; mov al,[0]; pop es; lss sp,[bx]
    let mut m = real(&[0x8e, 0xd8, 0xa0, 0, 0]);
    m.set(EAX, 0x800).store(0x8000, &[0x42]);
    m.run();
    assert_eq!((m.get(EAX), m.get(DS_BASE)), (0x842, 0x8000));
    let mut m = real(&[0x0f, 0xb2, 0x27]);
    m.set(EBX, 8).store(0x4_0008, &[0x34, 0x12, 0x00, 0x09]);
    m.run();
    assert_eq!((m.get(ESP), m.get(SS_BASE), m.get(SS_LIMIT)), (0x1234, 0x9000, 0xffff));
}

/// Page faults and the like name the access.
#[test]
fn memory_faults_come_through() {
    let mut m = real(&[0x67, 0x8a, 0x03]);
    m.set(DS_LIMIT, 0xffff_ffff).set(EBX, RAM as u64);
    assert!(matches!(m.run(), Stop::Trap(0x100, Trap::Memory(f)) if f.addr == RAM as u64 + 0x4_0000));
}
