//! The modes of a machine's processor: protected mode with and without flat segments, virtual-8086 mode, 64-bit code,
//! single steps; and that everything is lifted in each of them.

mod machine;

use isamorph_guest::{CodeSource, Guest, Limits};
use isamorph_ir::verify::{check_write_order, verify};
use isamorph_ir::{ExitKind, RegId, Region};
use isamorph_x86::coverage::{table, unlifted};
use isamorph_x86::exception;
use isamorph_x86::state::{CR0, CR4, EAX, EBP, EBX, EDI, ESI, ESP, FS_BASE, SHADOW, SS_ATTR, eflag, eflags, rights};
use machine::{DATA, FLAT_CODE, FLAT_DATA, Machine, Stop};

const HLT: u8 = 0xf4;
/// Where flat code is.
const PC: u64 = 0x1000;
/// Attributes of the stack segment of user code.
const USER: u32 = 3 << rights::DPL_SHIFT;

fn flat(code: &[u8]) -> Machine {
    let mut m = Machine::flat(&[code, &[HLT]].concat());
    m.set(ESP, 0x8000);
    m
}

fn raise(code: u32) -> Stop {
    Stop::Raise(PC, code, 0)
}

// ---- segments

/// Flat code has neither bases nor checks; FS and GS have both.
#[test]
fn flat_segments_cost_nothing() {
    let exits = |code: &[u8]| flat(code).lift().exits.len();
    assert_eq!(exits(&[0x8b, 0x03, 0x50, 0xa5]), 1); // mov eax,[ebx]; push eax; movsd; hlt
    let fs = [0x64, 0xa1, 0x10, 0, 0, 0]; // mov eax,fs:[0x10]
    assert_eq!(exits(&fs), 2);
    let mut m = flat(&fs);
    m.set(FS_BASE, 0x5000).store(0x5010, &[1, 2, 3, 4]);
    m.run();
    assert_eq!(m.get(EAX), 0x0403_0201);
    let mut m = flat(&fs);
    m.segment(4, 0x5000, 0x12, FLAT_DATA);
    assert_eq!(m.run(), raise(exception::GP));
}

#[test]
fn segments_with_bases() {
    // mov [ebp],eax; mov ebx,[esi]; jmp +0
    let code = [0x89, 0x45, 0x00, 0x8b, 0x1e, 0xeb, 0x00, HLT];
    let mut m = Machine::flat(&code);
    m.segment(1, 0x800, 0xffff_ffff, FLAT_CODE).segment(2, 0x1_0000, 0xfff, FLAT_DATA);
    m.segment(3, 0x2_0000, 0xffff_ffff, FLAT_DATA);
    m.set(EBP, 0xffc).set(EAX, 0x1122_3344).set(ESI, 0xffff_0000).store(0x1_0000, &[5, 6, 7, 8]);
    assert_eq!(m.run(), Stop::Halt(0x808));
    assert_eq!((m.bytes(0x1_0ffc), m.get(EBX)), ([0x44, 0x33, 0x22, 0x11], 0x0807_0605));
}

/// Expand-down, read-only and execute-only segments, null selectors (SDM vol. 3, 5.3, 5.5).
#[test]
fn strange_segments() {
    let load = [0x8b, 0x03]; // mov eax,[ebx]
    let store = [0x89, 0x03];
    let runs = |code: &[u8], attributes: u32, limit: u32, offset: u64| {
        let mut m = flat(code);
        m.segment(3, 0, limit, attributes).set(EBX, offset);
        m.run() == Stop::Halt(PC + 3)
    };
    let down = FLAT_DATA | rights::DOWN;
    let read_only = FLAT_DATA & !rights::WRITABLE;
    for (code, attributes, limit, offset, allowed) in [
        (&load, down, 0xfff, 0x1000, true),
        (&load, down, 0xfff, 0xffd, false),
        (&load, down & !rights::BIG, 0xfff, 0xfffd, false),
        (&load, down & !rights::BIG, 0xfff, 0xfffc, true),
        (&load, read_only, 0xffff, 0, true),
        (&store, read_only, 0xffff, 0, false),
        (&store, FLAT_DATA, 0xffff, 0, true),
        (&load, FLAT_CODE, 0xffff, 0, true),
        (&store, FLAT_CODE, 0xffff, 0, false),
        (&load, FLAT_CODE & !rights::WRITABLE, 0xffff, 0, false),
        (&load, 0, 0, 0, false),
    ] {
        assert_eq!(runs(code, attributes, limit, offset), allowed, "{attributes:#x} {limit:#x} {offset:#x}");
    }
    // cs: mov [ebx],eax in an otherwise flat world
    let mut m = flat(&[0x2e, 0x89, 0x03]);
    m.set(EBX, 0x3000);
    assert_ne!(m.run(), Stop::Halt(PC + 4));
}

/// A stack of 16 bits under code of 32 bits: only SP counts and moves.
#[test]
fn narrow_stack_of_wide_code() {
    let mut m = flat(&[0x50, 0x66, 0x53, 0xc9]); // push eax; push bx; leave
    m.segment(2, 0, u32::MAX, FLAT_DATA & !rights::BIG);
    m.set(ESP, 0x1234_0002).set(EAX, 0x5566_7788).set(EBP, 0xffff_2000).store(0x2000, &[1, 2, 3, 4]);
    m.run();
    assert_eq!(m.bytes(0xfffe), [0x88, 0x77, 0x66, 0x55]);
    assert_eq!((m.get(ESP), m.get(EBP)), (0x1234_2004, 0x0403_0201));
}

/// A limit that is neither 64 KiB nor 4 GiB is looked at when the code runs.
#[test]
fn code_ends_at_its_limit() {
    let code = [0x90, 0xeb, 0x7e, HLT]; // nop; jmp +0x7e
    for (limit, stop) in [(0x1080, raise(exception::GP)), (0x1081, Stop::Halt(0x1082)), (0x1001, raise(exception::GP))]
    {
        let mut m = Machine::flat(&code);
        m.segment(1, 0, limit, FLAT_CODE).store(0x1081, &[HLT]);
        let stop = match stop {
            Stop::Raise(_, code, arg) => Stop::Raise(0x1001, code, arg),
            other => other,
        };
        assert_eq!(m.run(), stop, "{limit:#x}");
    }
}

// ---- privilege

#[test]
fn user_code_may_not_do_everything() {
    let privileged: [&[u8]; 8] =
        [&[0xfa], &[0xfb], &[HLT], &[0x0f, 0x08], &[0x0f, 0x20, 0xc0], &[0x0f, 0x32], &[0x0f, 0x06], &[0xe4, 0x60]];
    for code in privileged {
        let mut m = flat(code);
        m.set(SS_ATTR, u64::from(FLAT_DATA | USER));
        let stop = m.run();
        let refused = matches!(stop, Stop::Raise(PC, exception::GP, 0))
            || matches!(stop, Stop::Trap(PC, isamorph_ir::Trap::Exception { code: exception::GP, arg: 0 }));
        assert!(refused, "{code:02x?}: {stop:?}");
    }
    // With IOPL 3 it may clear the interrupt flag.
    let mut m = flat(&[0xfa, 0x0f, 0x0b]);
    m.set(SS_ATTR, u64::from(FLAT_DATA | USER)).set_flags(eflag::IF | eflag::IOPL);
    assert_eq!(m.run(), Stop::Raise(PC + 1, exception::UD, 0));
    assert_eq!(eflags(&m.cpu) & eflag::IF, 0);
}

/// What `popf` may change depends on the privilege level (SDM vol. 2, table 4-16).
#[test]
fn popf_by_privilege() {
    for (user, iopl, expected) in [(0, 0, 0x3202), (USER, 0, 2), (USER, eflag::IOPL, 0x3202)] {
        let mut m = flat(&[0x9d]);
        m.set(SS_ATTR, u64::from(FLAT_DATA | user)).set_flags(iopl).store(0x8000, &0x3202u32.to_le_bytes());
        m.region();
        assert_eq!(eflags(&m.cpu), expected, "{user:#x} {iopl:#x}");
    }
}

#[test]
fn units_can_be_switched_off() {
    const TS: u64 = 8;
    const EM: u64 = 4;
    const MP: u64 = 2;
    const OSFXSR: u64 = 1 << 9;
    let fld1: &[u8] = &[0xd9, 0xe8];
    let wait: &[u8] = &[0x9b];
    let paddb: &[u8] = &[0x0f, 0xfc, 0xc0];
    let xorps: &[u8] = &[0x0f, 0x57, 0xc0];
    let fine = |code: &[u8]| Stop::Halt(PC + 1 + code.len() as u64);
    for (code, cr0, cr4, stop) in [
        (fld1, 0, 0, fine(fld1)),
        (fld1, TS, 0, raise(exception::NM)),
        (fld1, EM, 0, raise(exception::NM)),
        (wait, TS, 0, fine(wait)),
        (wait, TS | MP, 0, raise(exception::NM)),
        (paddb, TS, 0, raise(exception::NM)),
        (paddb, EM, 0, raise(exception::UD)),
        (xorps, 0, 0, raise(exception::UD)),
        (xorps, 0, OSFXSR, fine(xorps)),
        (xorps, TS, OSFXSR, raise(exception::NM)),
    ] {
        let mut m = flat(code);
        m.set(CR0, 0x11 | cr0).set(CR4, cr4);
        assert_eq!(m.run(), stop, "{code:02x?} {cr0:#x} {cr4:#x}");
    }
}

#[test]
fn misaligned_accesses_of_user_code() {
    const AM: u64 = 1 << 18;
    let mut m = flat(&[0x8b, 0x03]);
    m.set(SS_ATTR, u64::from(FLAT_DATA | USER)).set(CR0, 0x11 | AM).set_flags(eflag::AC).set(EBX, 0x2002);
    assert_eq!(m.run(), raise(exception::AC));
    m.set(EBX, 0x2004).limits.max_insns = 1;
    m.region();
    assert_eq!(m.ip(), PC + 2);
}

// ---- regions

#[test]
fn regions_stay_in_their_page() {
    let mut m = flat(&[]);
    m.store(0x1ff0, &[0x90; 32]);
    m.cpu.set_pc(0x1ff0);
    assert_eq!(m.lift().insns.len(), 16);
    // An instruction across the end of the page is the first of its region, and the only one.
    m.store(0x1ffd, &[0xb8, 1, 2, 3, 4]);
    let region = m.lift();
    assert_eq!((region.insns.len(), region.exits[0].kind), (13, ExitKind::Direct { pc: 0x1ffd }));
    m.cpu.set_pc(0x1ffd);
    let region = m.lift();
    assert_eq!((region.insns.len(), region.exits[0].kind), (1, ExitKind::Direct { pc: 0x2002 }));
}

/// Every instruction, in every mode, makes a well-formed region, and the processor of a machine lacks none.
#[test]
fn all_forms_in_all_modes() {
    for (name, m) in modes() {
        let long = m.guest().table().addr_bits == 64;
        for row in table(if long { 64 } else { 32 }) {
            let region = lift(&m, &row.bytes);
            let guest = m.guest();
            let checked = verify(&region, guest.table(), guest.helpers()).and_then(|()| check_write_order(&region));
            assert!(checked.is_ok(), "{name}: {} {:02x?}: {checked:?}\n{region:?}", row.form, row.bytes);
        }
    }
    let missing: Vec<_> = unlifted().into_iter().map(|(name, _)| name).filter(|n| SYSTEM.contains(&&n[..])).collect();
    assert!(missing.is_empty(), "not lifted: {missing:?}");
}

/// What an operating system needs.
#[rustfmt::skip]
const SYSTEM: &[&str] = &[
    "arpl", "clac", "cli", "clts", "cpuid", "hlt", "in", "insb", "insd", "insw", "int", "int1", "int3", "into", "invd",
    "invlpg", "invpcid", "iret", "iretd", "iretq", "lar", "lds", "les", "lfs", "lgdt", "lgs", "lidt", "lldt", "lmsw",
    "lsl", "lss", "ltr", "monitor", "mov", "mwait", "out", "outsb", "outsd", "outsw", "popf", "popfd", "popfq", "rdmsr",
    "rdpid", "rdpmc", "rdtsc", "rdtscp", "retf", "rsm", "sgdt", "sidt", "sldt", "smsw", "stac", "sti", "str", "swapgs",
    "syscall", "sysenter", "sysexit", "sysexitq", "sysret", "sysretq", "verr", "verw", "wbinvd", "wbnoinvd", "wrmsr",
    "xgetbv", "xsetbv",
];

/// Lifts the bytes where the machine is.
fn lift(m: &Machine, bytes: &[u8]) -> Region {
    struct Bytes<'a>(u64, &'a [u8]);
    impl CodeSource for Bytes<'_> {
        fn fetch(&self, pc: u64, out: &mut [u8]) -> usize {
            let at = pc.wrapping_sub(self.0) as usize;
            for (i, slot) in out.iter_mut().enumerate() {
                *slot = self.1.get(at.wrapping_add(i)).copied().unwrap_or(0x90);
            }
            out.len()
        }
    }
    let (guest, pc) = (m.guest(), m.cpu.pc());
    let mut region = Region::default();
    let limits = Limits { max_insns: 1, precise: true };
    guest.lift(&mut region, pc, guest.mode(&m.cpu), &Bytes(pc, bytes), limits).expect("the bytes can be fetched");
    region
}

/// A machine in each mode that lifts something differently.
fn modes() -> Vec<(&'static str, Machine)> {
    let with = |mut m: Machine, change: fn(&mut Machine)| {
        change(&mut m);
        m
    };
    let narrow_code = FLAT_CODE & !rights::BIG;
    let mut protected16 = Machine::flat(&[]);
    protected16.segment(1, 0x100, 0xffff, narrow_code).segment(2, 0, 0xffff, DATA);
    vec![
        ("real", Machine::real(0x1000, 0x100, &[])),
        ("16 bits", protected16),
        ("flat", Machine::flat(&[])),
        (
            "fxsr",
            with(Machine::flat(&[]), |m| {
                m.set(CR4, 0x5_0200);
            }),
        ),
        (
            "based",
            with(Machine::flat(&[]), |m| {
                m.segment(3, 0x1000, 0xffff, FLAT_DATA);
            }),
        ),
        (
            "expand-down",
            with(Machine::flat(&[]), |m| {
                m.segment(3, 0, 0xffff, FLAT_DATA | rights::DOWN);
            }),
        ),
        (
            "short code",
            with(Machine::flat(&[]), |m| {
                m.segment(1, 0, 0x1_2345, FLAT_CODE);
            }),
        ),
        (
            "narrow stack",
            with(Machine::flat(&[]), |m| {
                m.segment(2, 0, u32::MAX, FLAT_DATA & !rights::BIG);
            }),
        ),
        (
            "steps",
            with(Machine::flat(&[]), |m| {
                m.set_flags(eflag::TF);
            }),
        ),
        (
            "resumes",
            with(Machine::flat(&[]), |m| {
                m.set_flags(eflag::RF);
            }),
        ),
        (
            "shadow",
            with(Machine::flat(&[]), |m| {
                m.set(SHADOW, 1);
            }),
        ),
        (
            "user",
            with(Machine::flat(&[]), |m| {
                m.set(SS_ATTR, u64::from(FLAT_DATA | USER));
            }),
        ),
        (
            "virtual",
            with(Machine::real(0x1000, 0x100, &[]), |m| {
                m.set(CR0, 0x11).set(SS_ATTR, u64::from(DATA | USER)).set_flags(eflag::VM);
            }),
        ),
        (
            "aligned",
            with(Machine::flat(&[]), |m| {
                m.set(SS_ATTR, u64::from(FLAT_DATA | USER)).set(CR0, 0x4_0011).set(CR4, 0x200).set_flags(eflag::AC);
            }),
        ),
        (
            "long",
            with(Machine::long(&[]), |m| {
                m.set(CR4, 0x5_0220);
            }),
        ),
        (
            "long user",
            with(Machine::long(&[]), |m| {
                m.set(SS_ATTR, u64::from(FLAT_DATA | USER)).set(CR4, 0x5_0220);
            }),
        ),
        (
            "long steps",
            with(Machine::long(&[]), |m| {
                m.set_flags(eflag::TF);
            }),
        ),
    ]
}

/// 64-bit code of the kernel adds the bases of FS and GS, and checks nothing.
#[test]
fn long_code() {
    let mut m = Machine::long(&[0x65, 0x48, 0x8b, 0x04, 0x25, 8, 0, 0, 0, 0x50, HLT]); // mov rax,gs:[8]; push rax
    let gs_base = RegId(FS_BASE.0 + 1);
    m.set(gs_base, 0x7000).set(ESP, 0x9000).set(ESI, 0).set(EDI, 0).store(0x7008, &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(m.lift().exits.len(), 1);
    assert_eq!(m.run(), Stop::Halt(PC + 11));
    assert_eq!((m.bytes(0x8ff8), m.get(ESP)), ([1, 2, 3, 4, 5, 6, 7, 8], 0x8ff8));
}
