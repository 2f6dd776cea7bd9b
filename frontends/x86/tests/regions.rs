//! Regions: how they are formed, how they end, and what small programs do when they run.

use isamorph_guest::{CodeSource, FetchFault, Guest, Limits};
use isamorph_interp::{Outcome, run};
use isamorph_ir::verify::{check_write_order, verify};
use isamorph_ir::{CpuState, ExitKind, FaultCause, FlagSet, MemFault, Memory, RegId, Region, Trap};
use isamorph_x86::state::{
    EAX, EBX, ECX, EDI, EDX, ES, ESI, ESP, FS, FS_BASE, GS, GS_BASE, I386, MXCSR, SS, TlsDescriptor, XMM0, eflags,
    reset_user, set_eflags, set_tls,
};
use isamorph_x86::{X86, exception};
use std::cell::RefCell;

/// Guest memory: code and data from 0x1000 on; what is beyond is unmapped.
const BASE: u64 = 0x1000;
const LEN: usize = 0x4000;
const END: u32 = 0x5000;
const STACK: u32 = 0x4000;

struct Flat(RefCell<Vec<u8>>);

impl Flat {
    fn with_code(code: &[u8]) -> Self {
        let mut bytes = vec![0; LEN];
        bytes[..code.len()].copy_from_slice(code);
        Flat(RefCell::new(bytes))
    }
    fn range(addr: u64, len: usize, write: bool) -> Result<std::ops::Range<usize>, MemFault> {
        let at = addr.wrapping_sub(BASE) as usize;
        let end = at.saturating_add(len);
        if end <= LEN {
            return Ok(at..end);
        }
        let addr = if at < LEN { BASE + LEN as u64 } else { addr };
        Err(MemFault { addr, write, cause: FaultCause::Unmapped })
    }
}

impl Memory for Flat {
    fn read(&self, addr: u64, out: &mut [u8]) -> Result<(), MemFault> {
        out.copy_from_slice(&self.0.borrow()[Self::range(addr, out.len(), false)?]);
        Ok(())
    }
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), MemFault> {
        self.0.borrow_mut()[Self::range(addr, data.len(), true)?].copy_from_slice(data);
        Ok(())
    }
    fn update(&self, addr: u64, bytes: u32, f: &mut dyn FnMut(u128) -> u128) -> Result<u128, MemFault> {
        let mut raw = [0; 16];
        self.read(addr, &mut raw[..bytes as usize])?;
        let old = u128::from_le_bytes(raw);
        self.write(addr, &f(old).to_le_bytes()[..bytes as usize])?;
        Ok(old)
    }
}

impl CodeSource for Flat {
    fn fetch(&self, pc: u64, out: &mut [u8]) -> usize {
        let n = (BASE + LEN as u64).saturating_sub(pc).min(out.len() as u64) as usize;
        if pc < BASE || self.read(pc, &mut out[..n]).is_err() { 0 } else { n }
    }
}

fn lift_with(code: &Flat, pc: u64, limits: Limits) -> Result<Region, FetchFault> {
    let guest = X86::i386();
    let mut region = Region::default();
    guest.lift(&mut region, pc, 32, code, limits)?;
    verify(&region, guest.table(), guest.helpers()).unwrap();
    check_write_order(&region).unwrap();
    Ok(region)
}

fn lift(code: &[u8]) -> Region {
    lift_with(&Flat::with_code(code), BASE, Limits::default()).unwrap()
}

struct Machine {
    cpu: Box<CpuState>,
    mem: Flat,
}

/// Why a machine stopped.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    Exit(ExitKind),
    Trap(Trap, u64),
}

impl Machine {
    fn new(code: &[u8]) -> Self {
        let mut cpu = CpuState::new();
        reset_user(&mut cpu);
        cpu.set_pc(BASE);
        cpu.set(&I386, ESP, u64::from(STACK));
        Machine { cpu, mem: Flat::with_code(code) }
    }
    fn get(&self, reg: RegId) -> u32 {
        self.cpu.get(&I386, reg) as u32
    }
    fn set(&mut self, reg: RegId, value: u32) -> &mut Self {
        self.cpu.set(&I386, reg, u64::from(value));
        self
    }
    fn word(&self, addr: u32) -> u32 {
        let mut raw = [0; 4];
        self.mem.read(u64::from(addr), &mut raw).unwrap();
        u32::from_le_bytes(raw)
    }
    /// Runs until something other than a jump, call or return leaves a region.
    fn run(&mut self) -> Stop {
        let guest = X86::i386();
        for _ in 0..10_000 {
            let region = lift_with(&self.mem, self.cpu.pc(), Limits::default()).unwrap();
            match run(&region, guest.table(), guest.helpers(), &mut self.cpu, &self.mem) {
                Outcome::Trap { trap, insn } => return Stop::Trap(trap, region.insns[insn].pc),
                Outcome::Exit { exit, target } => match region.exits[exit].kind {
                    ExitKind::Direct { pc } | ExitKind::Call { pc, .. } => self.cpu.set_pc(pc),
                    kind => match target {
                        Some(pc) => self.cpu.set_pc(pc),
                        None => return Stop::Exit(kind),
                    },
                },
            }
        }
        panic!("the program does not end");
    }
}

fn fault(addr: u32, write: bool, pc: u64) -> Stop {
    Stop::Trap(Trap::Memory(MemFault { addr: u64::from(addr), write, cause: FaultCause::Unmapped }), pc)
}

fn exception(pc: u64, code: u32, arg: u64) -> Stop {
    Stop::Exit(ExitKind::Exception { pc, code, arg })
}

const UD2: [u8; 2] = [0x0f, 0x0b];

fn exits(region: &Region) -> Vec<ExitKind> {
    region.exits.iter().map(|e| e.kind).collect()
}

// ---- shape of regions

#[test]
fn region_goes_on_past_conditional_jumps() {
    // 1: dec eax; jnz 1b; test ecx,ecx; jz +0x10; ret
    let region = lift(&[0x48, 0x75, 0xfd, 0x85, 0xc9, 0x74, 0x10, 0xc3]);
    assert_eq!(region.insns.len(), 5);
    assert_eq!(exits(&region)[..2], [ExitKind::Direct { pc: BASE }, ExitKind::Direct { pc: BASE + 0x17 }]);
    assert!(matches!(exits(&region)[2], ExitKind::Return { .. }));
}

#[test]
fn limit_ends_a_region() {
    let code = Flat::with_code(&[0x90; 100]);
    let region = lift_with(&code, BASE, Limits { max_insns: 70, precise: false }).unwrap();
    assert_eq!(region.insns.len(), 70);
    assert_eq!(exits(&region), [ExitKind::Direct { pc: BASE + 70 }]);
}

#[test]
fn unfetchable_instruction_faults_when_it_is_reached() {
    let code = Flat::with_code(&[]);
    // mov eax, imm32 with its last byte missing, after a nop.
    code.write(u64::from(END) - 5, &[0x90, 0xb8, 1, 2, 3]).unwrap();
    let region = lift_with(&code, u64::from(END) - 5, Limits::default()).unwrap();
    assert_eq!(exits(&region), [ExitKind::Direct { pc: u64::from(END) - 4 }]);
    let refused = lift_with(&code, u64::from(END) - 4, Limits::default());
    assert_eq!(refused.unwrap_err(), FetchFault { addr: u64::from(END) });
    assert_eq!(lift_with(&code, 0, Limits::default()).unwrap_err(), FetchFault { addr: 0 });
}

#[test]
fn call_to_the_next_instruction_only_pushes() {
    // call +0; pop ebx; ret
    let region = lift(&[0xe8, 0, 0, 0, 0, 0x5b, 0xc3]);
    assert_eq!(region.insns.len(), 3);
    let mut m = Machine::new(&[&[0xe8, 0, 0, 0, 0, 0x5b][..], &UD2].concat());
    m.run();
    assert_eq!((m.get(EBX), m.get(ESP)), (BASE as u32 + 5, STACK));
}

/// Whatever the bytes are, the region is well-formed; opcodes of two and three bytes are frequent.
#[test]
fn random_bytes_make_well_formed_regions() {
    let mut seed = 0x1234_5678_9abc_def1u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    for _ in 0..20_000 {
        let mut code: Vec<u8> = (0..48).map(|_| next()).collect();
        for at in (0..40).step_by(9) {
            match next() % 8 {
                0 => code[at] = 0x0f,
                1 => code[at..at + 2].copy_from_slice(&[0x0f, 0x38]),
                2 => code[at..at + 2].copy_from_slice(&[0x66, 0x0f]),
                3 => code[at] = 0x67,
                _ => {}
            }
        }
        let region = lift(&code);
        assert!(!region.insns.is_empty());
        let mut text = String::new();
        assert!((1..=15).contains(&X86::i386().disassemble(BASE, 32, &code, &mut text)));
    }
}

// ---- flags at exits

/// The live flags at the exit of a jump to that code.
fn live_before(code: &[u8], precise: bool) -> FlagSet {
    let mut bytes = vec![0xeb, 0x0e];
    bytes.resize(16, 0xf4);
    bytes.extend_from_slice(code);
    let region = lift_with(&Flat::with_code(&bytes), BASE, Limits { max_insns: 64, precise }).unwrap();
    assert_eq!(exits(&region), [ExitKind::Direct { pc: BASE + 16 }]);
    region.exits[0].live_flags
}

#[test]
fn lookahead_finds_dead_flags() {
    let (none, all, carry) = (FlagSet::empty(), FlagSet::all(), FlagSet::C);
    let cases: [(&[u8], FlagSet); 12] = [
        (&[0x39, 0xc8], none),                         // cmp
        (&[0x89, 0xc8, 0x8b, 0x01, 0x85, 0xc0], none), // mov; mov; test
        (&[0x75, 0x00], all),                          // jne
        (&[0x11, 0xc8], carry),                        // adc
        (&[0x40, 0x85, 0xc0], carry - carry),          // inc; test
        (&[0x40, 0x72, 0x00], carry),                  // inc; jc
        (&[0x0f, 0x94, 0xc0, 0x85, 0xc0], FlagSet::Z), // sete; test
        (&[0xd3, 0xe0, 0x72, 0x00], all),              // shl %cl; jc
        (&[0xc1, 0xe0, 0x03], none),                   // shl $3
        (&[0xeb, 0x02, 0, 0, 0x85, 0xc0], none),       // jmp; test
        (&[0xc3], all),                                // ret
        (&[0x00, 0x00], all),                          // no code yet
    ];
    for (code, live) in cases {
        assert_eq!(live_before(code, false), live, "{code:02x?}");
        assert_eq!(live_before(code, true), all, "{code:02x?}");
    }
}

#[test]
fn calls_look_at_both_ends() {
    // call f; adc eax, ecx; hlt …; f: xor eax, eax; ret
    let mut code = vec![0xe8, 0x0b, 0, 0, 0, 0x11, 0xc8];
    code.resize(16, 0xf4);
    code.extend_from_slice(&[0x31, 0xc0, 0xc3]);
    let region = lift(&code);
    assert_eq!(exits(&region), [ExitKind::Call { pc: BASE + 16, ret: BASE + 5 }]);
    assert_eq!((region.exits[0].live_flags, region.exits[0].ret_flags), (FlagSet::empty(), FlagSet::C));
}

// ---- exceptions and system calls

#[test]
fn exceptions_have_the_manuals_codes() {
    let cases: [(&[u8], Stop); 13] = [
        (&[0x66; 16], exception(BASE, exception::GP, 0)),
        (&UD2, exception(BASE, exception::UD, 0)),
        (&[0xf4], exception(BASE, exception::GP, 0)),
        (&[0xfa], exception(BASE, exception::GP, 0)),
        (&[0xcc], exception(BASE + 1, exception::BP, 0)),
        (&[0xcd, 3], exception(BASE + 2, exception::BP, 0)),
        (&[0xcd, 0x81], exception(BASE, exception::GP, 0x81 << 3 | 2)),
        (&[0xf1], exception(BASE + 1, exception::DB, 0)),
        (&[0xd4, 0], exception(BASE, exception::DE, 0)),
        (&[0xf0, 0x89, 0xc8], exception(BASE, exception::UD, 0)),
        (&[0x0f, 0x34], exception(BASE, exception::UD, 0)),
        (&[0x0f, 0x20, 0xc0], exception(BASE, exception::GP, 0)),
        (&[0xcd, 0x80], Stop::Exit(ExitKind::Syscall { next: BASE + 2, code: 0x80 })),
    ];
    for (code, stop) in cases {
        assert_eq!(Machine::new(code).run(), stop, "{code:02x?}");
    }
    let mut divide = Machine::new(&[0xf7, 0xf1]);
    assert_eq!(divide.run(), Stop::Trap(Trap::Divide, BASE));
}

#[test]
fn into_and_bound_depend_on_the_state() {
    let code = [&[0xce][..], &UD2].concat();
    assert_eq!(Machine::new(&code).run(), exception(BASE + 1, exception::UD, 0));
    let mut overflow = Machine::new(&code);
    set_eflags(&mut overflow.cpu, 0xa02);
    assert_eq!(overflow.run(), exception(BASE + 1, exception::OF, 0));
    for (index, stop) in [(-2, exception::BR), (-1, exception::UD), (5, exception::UD), (6, exception::BR)] {
        let mut m = Machine::new(&[&[0x62, 0x01][..], &UD2].concat());
        m.mem.write(0x2000, &[&(-1i32).to_le_bytes()[..], &5i32.to_le_bytes()].concat()).unwrap();
        m.set(ECX, 0x2000).set(EAX, index as u32);
        let pc = if stop == exception::UD { BASE + 2 } else { BASE };
        assert_eq!(m.run(), exception(pc, stop, 0), "{index}");
    }
}

#[test]
fn faults_leave_the_state_alone() {
    // push eax with the stack at the end of memory; pop [esp-4]; xadd [edi], eax
    let mut m = Machine::new(&[0x50]);
    m.set(ESP, 0x1000);
    assert_eq!(m.run(), fault(0xffc, true, BASE));
    assert_eq!(m.get(ESP), 0x1000);
    let mut m = Machine::new(&[0x0f, 0xc1, 0x07]);
    m.set(EDI, END).set(EAX, 7);
    assert_eq!(m.run(), fault(END, false, BASE));
    assert_eq!((m.get(EAX), eflags(&m.cpu)), (7, 0x202));
}

// ---- calls, returns, loops

#[test]
fn calls_and_returns_nest() {
    // call f; call *%ecx; ud2; f: inc eax; ret $0 (f at 0x10)
    let mut code = vec![0xe8, 0x0b, 0, 0, 0, 0xff, 0xd1, 0x0f, 0x0b];
    code.resize(16, 0xf4);
    code.extend_from_slice(&[0x40, 0xc2, 4, 0]);
    let mut m = Machine::new(&code);
    m.set(ECX, BASE as u32 + 16);
    assert_eq!(m.run(), exception(BASE + 7, exception::UD, 0));
    assert_eq!((m.get(EAX), m.get(ESP)), (2, STACK + 8));
}

#[test]
fn loops_count_without_flags() {
    // stc; 1: inc eax; loop 1b; jecxz +2; ud2; loopne -2 …
    let mut m = Machine::new(&[0xf9, 0x40, 0xe2, 0xfd, 0xe3, 0x02, 0x0f, 0x0b, 0xf4]);
    m.set(ECX, 5);
    assert_eq!(m.run(), exception(BASE + 8, exception::GP, 0));
    assert_eq!((m.get(EAX), m.get(ECX)), (5, 0));
    assert_ne!(eflags(&m.cpu) & 1, 0);
    // 1: cmp eax, edx (equal); loope 1b: runs down; with edx = 1 it stops at once.
    for (edx, left) in [(0, 0), (1, 8)] {
        let mut m = Machine::new(&[&[0x39, 0xd0, 0xe1, 0xfc][..], &UD2].concat());
        m.set(ECX, 9).set(EDX, edx);
        m.run();
        assert_eq!(m.get(ECX), left);
    }
}

#[test]
fn eflags_survive_the_stack() {
    // std; stc; pushf; pop eax; push ecx; popf; pushf; pop edx; ud2
    let mut m = Machine::new(&[0xfd, 0xf9, 0x9c, 0x58, 0x51, 0x9d, 0x9c, 0x5a, 0x0f, 0x0b]);
    m.set(ECX, 0xffff_ffff);
    m.run();
    assert_eq!(m.get(EAX), 0x603);
    // IOPL, RF, VM, VIF, VIP stay; IF stays set.
    assert_eq!(m.get(EDX), 0x0024_4fd7);
    assert_eq!(eflags(&m.cpu), 0x0024_4fd7);
}

#[test]
fn far_transfers_stay_in_the_code_segment() {
    // ljmp $0x23, $0x1010
    let mut code = vec![0xea, 0x10, 0x10, 0, 0, 0x23, 0];
    code.resize(16, 0xf4);
    code.extend_from_slice(&UD2);
    assert_eq!(Machine::new(&code).run(), exception(BASE + 16, exception::UD, 0));
    code[5] = 0x33;
    assert_eq!(Machine::new(&code).run(), exception(BASE, exception::GP, 0));
    // lcall $0x23, $0x1010; ud2 …; lret
    let mut code = vec![0x9a, 0x10, 0x10, 0, 0, 0x23, 0, 0x0f, 0x0b];
    code.resize(16, 0xf4);
    code.push(0xcb);
    let mut m = Machine::new(&code);
    assert_eq!(m.run(), exception(BASE + 7, exception::UD, 0));
    assert_eq!((m.get(ESP), m.word(STACK - 4), m.word(STACK - 8)), (STACK, 0x23, BASE as u32 + 7));
}

// ---- segments

#[test]
fn thread_local_storage_goes_through_descriptors() {
    // mov %eax, %gs; mov %gs:4, %ecx; ud2
    let code = [0x8e, 0xe8, 0x65, 0x8b, 0x0d, 4, 0, 0, 0, 0x0f, 0x0b];
    let mut m = Machine::new(&code);
    m.mem.write(0x2004, &0x1234_5678u32.to_le_bytes()).unwrap();
    set_tls(&mut m.cpu, 0, TlsDescriptor { base: 0x2000, limit: 0xfffff, flags: 0x51 });
    m.set(EAX, 0x63);
    assert_eq!(m.run(), exception(BASE + 9, exception::UD, 0));
    assert_eq!((m.get(ECX), m.get(GS), m.get(GS_BASE)), (0x1234_5678, 0x63, 0x2000));
}

#[test]
fn selectors_go_over_the_stack() {
    // push %ds; pop %fs; push %cs; pop %eax; les (%ecx), %edx; ud2
    let mut m = Machine::new(&[0x1e, 0x0f, 0xa1, 0x0e, 0x58, 0xc4, 0x11, 0x0f, 0x0b]);
    m.mem.write(0x2000, &[1, 2, 3, 4, 3, 0]).unwrap();
    m.set(ECX, 0x2000);
    assert_eq!(m.run(), exception(BASE + 7, exception::UD, 0));
    assert_eq!((m.get(FS), m.get(EAX), m.get(EDX), m.get(ES)), (0x2b, 0x23, 0x0403_0201, 3));
    assert_eq!((m.get(ESP), m.word(STACK - 4)), (STACK, 0x23));
}

#[test]
fn bad_selectors_are_refused() {
    let gp = |selector: u64| Stop::Trap(Trap::Exception { code: exception::GP, arg: selector }, BASE);
    let load = |code: &[u8], selector| {
        let mut m = Machine::new(&[code, &UD2].concat());
        m.set(EAX, selector);
        (m.run(), m)
    };
    let (fs, ss) = (&[0x8e, 0xe0][..], &[0x8e, 0xd0][..]);
    assert_eq!(load(fs, 0x6b).0, gp(0x68)); // empty descriptor
    assert_eq!(load(fs, 0x0f).0, gp(0x0c)); // local descriptor table
    assert_eq!(load(ss, 0).0, gp(0));
    assert_eq!(load(ss, 0x23).0, gp(0x20));
    for (code, selector, reg) in [(fs, 3, FS), (fs, 0x2b, FS), (ss, 0x2b, SS)] {
        let (stop, m) = load(code, selector);
        assert_eq!(stop, exception(BASE + 2, exception::UD, 0));
        assert_eq!((m.get(reg), m.get(FS_BASE)), (selector, 0));
    }
}

// ---- strings

/// A machine that repeats the instruction, with esi, edi, ecx.
fn string(code: &[u8], esi: u32, edi: u32, ecx: u32) -> Machine {
    let mut m = Machine::new(&[code, &UD2].concat());
    let pattern: Vec<u8> = (0..0x1000u32).map(|i| ((i * 7) >> 2) as u8).collect();
    m.mem.write(0x2000, &pattern).unwrap();
    m.set(ESI, esi).set(EDI, edi).set(ECX, ecx);
    m
}

#[test]
fn repeated_moves_stop_at_the_faulting_element() {
    let mut m = string(&[0xf3, 0xa5], 0x2ff2, END - 10, 100);
    assert_eq!(m.run(), fault(END, true, BASE));
    assert_eq!((m.get(ESI), m.get(EDI), m.get(ECX)), (0x2ffa, END - 2, 98));
    // Backwards, with the source running out below memory.
    let mut m = string(&[0xf3, 0xa4], 0x1004, 0x3000, 100);
    set_eflags(&mut m.cpu, 0x602);
    assert_eq!(m.run(), fault(0xfff, false, BASE));
    assert_eq!((m.get(ESI), m.get(EDI), m.get(ECX)), (0xfff, 0x2ffb, 95));
}

#[test]
fn overlapping_moves_repeat_the_bytes_between() {
    for (size, code) in [(1, &[0xf3, 0xa4][..]), (2, &[0x66, 0xf3, 0xa5]), (4, &[0xf3, 0xa5])] {
        for distance in 0..9u32 {
            for backward in [false, true] {
                let count = 700 / size;
                let (esi, edi) = (0x2800, if backward { 0x2800 - distance } else { 0x2800 + distance });
                let mut m = string(code, esi, edi, count);
                set_eflags(&mut m.cpu, if backward { 0x602 } else { 0x202 });
                let mut expected = m.mem.0.borrow().clone();
                for i in 0..count {
                    let step = if backward { (i * size).wrapping_neg() } else { i * size };
                    let at = |reg: u32| (reg.wrapping_add(step) - BASE as u32) as usize;
                    expected.copy_within(at(esi)..at(esi) + size as usize, at(edi));
                }
                m.run();
                assert!(*m.mem.0.borrow() == expected, "size {size} distance {distance} backward {backward}");
                assert_eq!(m.get(ECX), 0);
            }
        }
    }
}

#[test]
fn long_repetitions_come_in_pieces() {
    // scasb over memory that does not have the byte.
    let mut m = string(&[0xf2, 0xae], 0, 0x3000, 0xffff_ffff);
    m.set(EAX, 0x55);
    assert_eq!(m.run(), fault(END, false, BASE));
    assert_eq!(m.get(EDI), END);
    assert_eq!(eflags(&m.cpu), 0x202);
    let region = lift(&[0xf2, 0xae]);
    assert_eq!(region.exits[0].kind, ExitKind::Direct { pc: BASE });
}

#[test]
fn comparisons_stop_with_the_flags_of_the_last_pair() {
    // repe cmpsb: equal for 20 bytes, then below.
    let mut m = string(&[0xf3, 0xa6], 0x2000, 0x3000, 50);
    let mut copy = [0; 64];
    m.mem.read(0x2000, &mut copy).unwrap();
    copy[20] += 1;
    m.mem.write(0x3000, &copy).unwrap();
    m.run();
    assert_eq!((m.get(ESI), m.get(EDI), m.get(ECX)), (0x2015, 0x3015, 29));
    assert_eq!(eflags(&m.cpu) & 0x8d5, 0x95); // C P A S: −1
    // A count of zero changes nothing.
    let mut m = string(&[0xf3, 0xa6], 0x2000, 0x3000, 0);
    set_eflags(&mut m.cpu, 0xad7);
    m.run();
    assert_eq!((eflags(&m.cpu), m.get(ESI)), (0xad7, 0x2000));
}

// ---- save images

#[test]
fn save_images_go_to_memory_and_back() {
    // fxsave (%eax); fxrstor (%ecx); ud2
    let mut m = Machine::new(&[0x0f, 0xae, 0x00, 0x0f, 0xae, 0x09, 0x0f, 0x0b]);
    m.mem.write(0x3000, &[0x11; 512]).unwrap();
    m.mem.write(0x3018, &0x3f80u32.to_le_bytes()).unwrap();
    m.set(EAX, 0x2000).set(ECX, 0x3000);
    assert_eq!(m.run(), exception(BASE + 6, exception::UD, 0));
    assert_eq!((m.word(0x2000), m.word(0x2018), m.word(0x201c)), (0x037f, 0x1f80, 0xffff));
    assert_eq!((m.get(XMM0), m.get(MXCSR)), (0x1111_1111, 0x3f80));
    // Reserved bits of MXCSR, misaligned addresses.
    let gp = |pc| Stop::Trap(Trap::Exception { code: exception::GP, arg: 0 }, pc);
    m.mem.write(0x301a, &[1]).unwrap();
    m.cpu.set_pc(BASE);
    assert_eq!(m.run(), gp(BASE + 3));
    m.set(EAX, 0x2008).cpu.set_pc(BASE);
    assert_eq!(m.run(), gp(BASE));
}

// ---- identification

#[test]
fn cpuid_describes_what_is_lifted() {
    let mut ask = |leaf| {
        let mut m = Machine::new(&[0x0f, 0xa2, 0x0f, 0x0b]);
        m.set(EAX, leaf);
        m.run();
        [EAX, EBX, ECX, EDX].map(|r| m.get(r))
    };
    let [max, b, c, d] = ask(0);
    assert_eq!(max, 13);
    assert_eq!([b, d, c].map(u32::to_le_bytes).concat(), b"GenuineIntel");
    let [signature, _, ecx, edx] = ask(1);
    // sse3 pclmulqdq ssse3 cx16 sse4.1 sse4.2 movbe popcnt aes xsave osxsave rdrand
    assert_eq!((signature >> 8 & 15, ecx), (6, 0x4ed8_2203));
    assert_eq!(edx, 0x0788_8111);
    let brand: Vec<u8> = (0x8000_0002..=0x8000_0004).flat_map(&mut ask).flat_map(u32::to_le_bytes).collect();
    assert!(String::from_utf8(brand).unwrap().starts_with("Isamorph"));
}

#[test]
fn time_stamps_increase() {
    // rdtsc; mov %eax, %ebx; rdtsc; ud2
    let mut m = Machine::new(&[0x0f, 0x31, 0x89, 0xc3, 0x0f, 0x31, 0x0f, 0x0b]);
    m.run();
    assert!(m.get(EAX).wrapping_sub(m.get(EBX)) as i32 > 0);
}

#[test]
fn selectors_can_be_inspected() {
    // lsl %eax, %ecx; lar %eax, %edx; ud2
    let mut m = Machine::new(&[0x0f, 0x03, 0xc8, 0x0f, 0x02, 0xd0, 0x0f, 0x0b]);
    m.set(EAX, 0x2b);
    m.run();
    assert_eq!((m.get(ECX), m.get(EDX)), (0xffff_ffff, 0x00c0_f300));
    assert_ne!(eflags(&m.cpu) & 0x40, 0);
    m.set(EAX, 0x7b).set(ECX, 1).cpu.set_pc(BASE);
    m.run();
    assert_eq!((m.get(ECX), eflags(&m.cpu) & 0x40), (1, 0));
}

#[test]
fn disassembly_is_gas_syntax() {
    let mut text = String::new();
    assert_eq!(X86::i386().disassemble(BASE, 32, &[0x8b, 0x44, 0x24, 0x08], &mut text), 4);
    assert_eq!(text, "movl     8(%esp), %eax");
    assert_eq!(X86::i386().disassemble(BASE, 32, &[], &mut String::new()), 1);
}
