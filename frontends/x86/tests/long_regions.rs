//! 64-bit mode and processor models: what is not a matter of one instruction's result.

mod common;
mod memory;

use common::PC;
use isamorph_guest::{CodeSource, Guest, Limits};
use isamorph_interp::{Outcome, run};
use isamorph_ir::verify::{check_write_order, verify};
use isamorph_ir::{CpuState, ExitKind, FlagSet, Memory, RegId, Region, Trap};
use isamorph_x86::state::{
    AMD64, CS, EAX, EBP, EBX, ECX, EDI, EDX, ESI, ESP, FS_BASE, GS_BASE, MXCSR, SS, eflags, gpr, reset_user64,
    set_eflags, xmm_reg,
};
use isamorph_x86::{X86, exception, syscall};
use memory::Flat;

const LEN: usize = 0x4000;
const STACK: u64 = 0x3800;
const DATA: u64 = 0x2000;
const UD2: [u8; 2] = [0x0f, 0x0b];

struct Code<'a>(&'a Flat);

impl CodeSource for Code<'_> {
    fn fetch(&self, pc: u64, out: &mut [u8]) -> usize {
        let n = (PC + LEN as u64).saturating_sub(pc).min(out.len() as u64) as usize;
        if self.0.read(pc, &mut out[..n]).is_ok() { n } else { 0 }
    }
}

struct Machine {
    guest: X86,
    cpu: Box<CpuState>,
    mem: Flat,
}

#[derive(Debug, PartialEq, Eq)]
enum Stop {
    Exit(ExitKind),
    Trap(Trap, u64),
}

fn exception(pc: u64, code: u32) -> Stop {
    Stop::Exit(ExitKind::Exception { pc, code, arg: 0 })
}

impl Machine {
    /// A machine with that code, followed by `ud2`.
    fn new(code: &[u8]) -> Self {
        let mut bytes = vec![0; LEN];
        bytes[..code.len()].copy_from_slice(code);
        bytes[code.len()..][..2].copy_from_slice(&UD2);
        let mut cpu = CpuState::new();
        reset_user64(&mut cpu);
        cpu.set_pc(PC);
        cpu.set(&AMD64, ESP, STACK);
        Machine { guest: X86::amd64(), cpu, mem: Flat::new(PC, bytes) }
    }
    fn with(code: &[u8], registers: &[(RegId, u64)]) -> Self {
        let mut m = Self::new(code);
        registers.iter().for_each(|(reg, v)| m.cpu.set(&AMD64, *reg, *v));
        m
    }
    fn get(&self, reg: RegId) -> u64 {
        self.cpu.get(&AMD64, reg)
    }
    fn word(&self, addr: u64) -> u64 {
        let mut raw = [0; 8];
        self.mem.read(addr, &mut raw).unwrap();
        u64::from_le_bytes(raw)
    }
    fn poke(&self, addr: u64, v: u64) {
        self.mem.write(addr, &v.to_le_bytes()).unwrap();
    }
    fn lift(&self) -> Region {
        let mut region = Region::default();
        self.guest.lift(&mut region, self.cpu.pc(), 64, &Code(&self.mem), Limits::default()).unwrap();
        verify(&region, &AMD64, self.guest.helpers()).unwrap();
        check_write_order(&region).unwrap();
        region
    }
    /// Runs until something other than a jump, call or return leaves a region.
    fn run(&mut self) -> Stop {
        for _ in 0..1000 {
            let region = self.lift();
            match run(&region, &AMD64, self.guest.helpers(), &mut self.cpu, &self.mem) {
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
    /// Runs to the `ud2` behind the code.
    fn finish(&mut self, len: usize) {
        assert_eq!(self.run(), exception(PC + len as u64, exception::UD));
    }
}

// ---- control

#[test]
fn calls_push_eight_bytes() {
    // call 1f; ud2; 1: pop %rbx; push %rbx; ret
    let mut m = Machine::new(&[0xe8, 2, 0, 0, 0, 0x0f, 0x0b, 0x5b, 0x53, 0xc3]);
    assert_eq!(m.run(), exception(PC + 5, exception::UD));
    assert_eq!((m.get(EBX), m.get(ESP), m.word(STACK - 8)), (PC + 5, STACK, PC + 5));
}

#[test]
fn computed_branches_take_64_bits() {
    // jmp *%rax
    let mut m = Machine::with(&[0xff, 0xe0], &[(EAX, 0x7fff_1234_5678)]);
    let region = m.lift();
    let outcome = run(&region, &AMD64, m.guest.helpers(), &mut m.cpu, &m.mem);
    assert!(matches!(outcome, Outcome::Exit { target: Some(0x7fff_1234_5678), .. }), "{outcome:?}");
}

#[test]
fn system_calls_keep_the_next_instruction_and_the_flags() {
    let mut m = Machine::new(&[0x0f, 0x05]);
    set_eflags(&mut m.cpu, 0x0001_0ed7 | 0x602);
    let next = PC + 2;
    assert_eq!(m.run(), Stop::Exit(ExitKind::Syscall { next, code: syscall::AMD64_SYSCALL }));
    assert_eq!((m.get(ECX), m.get(gpr(11))), (next, 0xed7));
    let mut m = Machine::new(&[0xcd, 0x80]);
    assert_eq!(m.run(), Stop::Exit(ExitKind::Syscall { next, code: syscall::INT80 }));
}

#[test]
fn counters_are_as_wide_as_addresses() {
    // 1: inc %eax; loop 1b — from a count whose low half is 1
    let mut m = Machine::with(&[0xff, 0xc0, 0xe2, 0xfc], &[(ECX, 3)]);
    m.finish(4);
    assert_eq!((m.get(EAX), m.get(ECX)), (3, 0));
    // jrcxz over inc; inc %eax
    let mut m = Machine::with(&[0xe3, 2, 0xff, 0xc0], &[(ECX, 1 << 32)]);
    m.finish(4);
    assert_eq!(m.get(EAX), 1);
    // jecxz sees the low half.
    let mut m = Machine::with(&[0x67, 0xe3, 2, 0xff, 0xc0], &[(ECX, 1 << 32)]);
    m.finish(5);
    assert_eq!(m.get(EAX), 0);
}

#[test]
fn far_returns_stay_in_64_bit_mode() {
    // lretq to the same segment; to the 32-bit one.
    for (selector, stop) in [(0x33, exception(PC + 2, exception::UD)), (0x23, exception(PC, exception::GP))] {
        let mut m = Machine::new(&[0x48, 0xcb]);
        m.poke(STACK, PC + 2);
        m.poke(STACK + 8, selector);
        assert_eq!(m.run(), stop);
    }
    // iretq: offset, segment, flags, stack pointer, stack segment.
    let mut m = Machine::new(&[0x48, 0xcf]);
    for (n, v) in [PC + 2, 0x33, 0x646, 0x3000, 0x2b].into_iter().enumerate() {
        m.poke(STACK + 8 * n as u64, v);
    }
    m.finish(2);
    assert_eq!((m.get(ESP), eflags(&m.cpu)), (0x3000, 0x646));
    assert_eq!((m.get(CS), m.get(SS)), (0x33, 0x2b));
}

/// Encodings that 64-bit mode gave up.
#[test]
fn old_instructions_are_undefined() {
    let gone: &[&[u8]] = &[
        &[0x06],
        &[0x1e],
        &[0x27],
        &[0x37],
        &[0x60],
        &[0x61],
        &[0x62, 0x01],
        &[0x9a],
        &[0xc5, 0x00],
        &[0xce],
        &[0xd6],
        &[0xea],
    ];
    for code in gone {
        let mut m = Machine::new(&[code, &[0; 8][..]].concat());
        assert_eq!(m.run(), exception(PC, exception::UD), "{code:02x?}");
    }
    // arpl has become movsxd; inc and dec have become prefixes.
    let mut m = Machine::with(&[0x48, 0x63, 0xc8], &[(EAX, 0x8000_0000)]);
    m.finish(3);
    assert_eq!(m.get(ECX), 0xffff_ffff_8000_0000);
}

#[test]
fn privileged_instructions_fault() {
    // swapgs; sysretq; hlt; mov %cr0, %rax; xsetbv
    for code in [&[0x0f, 0x01, 0xf8][..], &[0x48, 0x0f, 0x07], &[0xf4], &[0x0f, 0x20, 0xc0], &[0x0f, 0x01, 0xd1]] {
        assert_eq!(Machine::new(code).run(), exception(PC, exception::GP), "{code:02x?}");
    }
}

// ---- addresses

#[test]
fn addresses_are_relative_to_the_next_instruction() {
    // mov 0xff2(%rip), %rax (0x1000 + 14 + 0xff2 = DATA); lea 0xff2(%rip), %rbx
    let mut m = Machine::new(&[0x48, 0x8b, 0x05, 0xf9, 0x0f, 0, 0, 0x48, 0x8d, 0x1d, 0xf2, 0x0f, 0, 0]);
    m.poke(DATA, 0x1234_5678_9abc_def0);
    m.finish(14);
    assert_eq!((m.get(EAX), m.get(EBX)), (0x1234_5678_9abc_def0, DATA));
}

#[test]
fn segments_have_64_bit_bases() {
    // mov %fs:8, %rax; mov %gs:(%ecx), %rbx; mov %ds:(%rdx), %rdi: ds has no base
    let code = [0x64, 0x48, 0x8b, 0x04, 0x25, 8, 0, 0, 0, 0x65, 0x67, 0x48, 0x8b, 0x19, 0x3e, 0x48, 0x8b, 0x3a];
    let registers = [(FS_BASE, DATA), (GS_BASE, DATA + 8), (ECX, 0xffff_ffff_0000_0008), (EDX, DATA)];
    let mut m = Machine::with(&code, &registers);
    (0..3).for_each(|n| m.poke(DATA + 8 * n, 100 + n));
    m.finish(code.len());
    assert_eq!((m.get(EAX), m.get(EBX), m.get(EDI)), (101, 102, 100));
    // A negative offset from the base, as thread-local variables have it: mov %fs:-8, %rax
    let code = [0x64, 0x48, 0x8b, 0x04, 0x25, 0xf8, 0xff, 0xff, 0xff];
    let mut m = Machine::with(&code, &[(FS_BASE, DATA + 8)]);
    m.poke(DATA, 77);
    m.finish(code.len());
    assert_eq!(m.get(EAX), 77);
}

#[test]
fn bases_are_read_and_written() {
    // wrfsbase %rax; rdfsbase %rbx; wrgsbase %ecx; rdgsbase %rdx
    let code = [
        0xf3, 0x48, 0x0f, 0xae, 0xd0, 0xf3, 0x48, 0x0f, 0xae, 0xc3, 0xf3, 0x0f, 0xae, 0xd9, 0xf3, 0x48, 0x0f, 0xae,
        0xca,
    ];
    let mut m = Machine::with(&code, &[(EAX, 0x7fff_0000_1000), (ECX, u64::MAX)]);
    m.finish(code.len());
    assert_eq!((m.get(EBX), m.get(FS_BASE)), (0x7fff_0000_1000, 0x7fff_0000_1000));
    assert_eq!((m.get(EDX), m.get(GS_BASE)), (0xffff_ffff, 0xffff_ffff));
    let mut m = Machine::with(&code, &[(EAX, 1 << 47)]);
    assert_eq!(m.run(), exception(PC, exception::GP));
    assert_eq!(m.get(FS_BASE), 0);
}

#[test]
fn wide_exchange_needs_alignment() {
    // lock cmpxchg16b (%rsi)
    let code = [0xf0, 0x48, 0x0f, 0xc7, 0x0e];
    let registers = [(EAX, 1), (EDX, 2), (EBX, 3), (ECX, 4)];
    let mut m = Machine::with(&code, &registers);
    m.cpu.set(&AMD64, ESI, DATA);
    m.poke(DATA, 1);
    m.poke(DATA + 8, 2);
    m.finish(code.len());
    assert_eq!((m.word(DATA), m.word(DATA + 8), eflags(&m.cpu) & 0x40), (3, 4, 0x40));
    m.cpu.set(&AMD64, ESI, DATA + 8);
    m.cpu.set_pc(PC);
    assert_eq!(m.run(), exception(PC, exception::GP));
}

// ---- strings

#[test]
fn repeated_copies_count_with_64_bits() {
    // rep movsq
    let mut m = Machine::with(&[0xf3, 0x48, 0xa5], &[(ESI, DATA), (EDI, DATA + 0x800), (ECX, 3)]);
    (0..4).for_each(|n| m.poke(DATA + 8 * n, n + 1));
    m.finish(3);
    assert_eq!((m.get(ECX), m.get(ESI), m.get(EDI)), (0, DATA + 24, DATA + 0x818));
    assert_eq!([0, 8, 16, 24].map(|at| m.word(DATA + 0x800 + at)), [1, 2, 3, 0]);
    // A count of 2^32 reaches the end of memory.
    let mut m = Machine::with(&[0xf3, 0xaa], &[(EDI, DATA), (ECX, 1 << 32)]);
    assert!(matches!(m.run(), Stop::Trap(Trap::Memory(f), PC) if f.addr == PC + LEN as u64));
    assert_eq!(m.get(EDI), PC + LEN as u64);
    // repne scasb with 32-bit addresses
    let mut m = Machine::with(&[0xf2, 0x67, 0xae], &[(EDI, 7 << 32 | DATA), (ECX, 7 << 32 | 9), (EAX, 3)]);
    m.poke(DATA, 0x0003_0000);
    m.finish(3);
    assert_eq!((m.get(EDI), m.get(ECX)), (DATA + 3, 6));
}

// ---- extended state

#[test]
fn save_images_have_sixteen_vector_registers() {
    // fxsave64 (%rax); xorps %xmm15, %xmm15; fxrstor64 (%rax)
    let code = [0x48, 0x0f, 0xae, 0x00, 0x45, 0x0f, 0x57, 0xff, 0x48, 0x0f, 0xae, 0x08];
    let mut m = Machine::with(&code, &[(EAX, DATA)]);
    m.cpu.set_wide(&AMD64, xmm_reg(15), 0x1234 << 100);
    m.finish(code.len());
    assert_eq!(m.cpu.get_wide(&AMD64, xmm_reg(15)), 0x1234 << 100);
}

#[test]
fn extended_state_is_saved_and_restored() {
    // xsavec (%rsi); xrstor (%rsi) with the mask in edx:eax
    let (save, restore) = ([0x0f, 0xc7, 0x26], [0x0f, 0xae, 0x2e]);
    let mut m = Machine::with(&save, &[(ESI, DATA), (EAX, 2)]);
    m.cpu.set_wide(&AMD64, xmm_reg(9), 99);
    m.cpu.set(&AMD64, MXCSR, 0x3f80);
    m.finish(3);
    assert_eq!((m.word(DATA + 512), m.word(DATA + 520)), (2, 2 | 1 << 63));
    assert_eq!((m.word(DATA + 160 + 9 * 16), m.word(DATA + 24) as u32), (99, 0x3f80));
    let mut r = Machine::with(&restore, &[(ESI, DATA), (EAX, 3)]);
    let mut area = [0; 576];
    m.mem.read(DATA, &mut area).unwrap();
    r.mem.write(DATA, &area).unwrap();
    r.cpu.set_wide(&AMD64, xmm_reg(9), 5);
    r.finish(3);
    assert_eq!((r.cpu.get_wide(&AMD64, xmm_reg(9)), r.get(MXCSR)), (99, 0x3f80));
    // A component that the area does not have is initialised; a header with unknown bits is refused.
    r.poke(DATA + 512, 0);
    r.cpu.set_pc(PC);
    r.finish(3);
    assert_eq!((r.cpu.get_wide(&AMD64, xmm_reg(9)), r.get(MXCSR)), (0, 0x1f80));
    r.poke(DATA + 512, 4);
    r.cpu.set_pc(PC);
    assert_eq!(r.run(), Stop::Trap(Trap::Exception { code: exception::GP, arg: 0 }, PC));
    // xgetbv
    let mut m = Machine::with(&[0x0f, 0x01, 0xd0], &[(EAX, u64::MAX), (EDX, u64::MAX)]);
    m.finish(3);
    assert_eq!((m.get(EAX), m.get(EDX)), (3, 0));
    let mut m = Machine::with(&[0x0f, 0x01, 0xd0], &[(ECX, 2)]);
    assert!(matches!(m.run(), Stop::Trap(Trap::Exception { code: exception::GP, .. }, PC)));
}

#[test]
fn random_numbers_set_the_carry() {
    // rdrand %rax; rdseed %rbx
    let mut m = Machine::new(&[0x48, 0x0f, 0xc7, 0xf0, 0x48, 0x0f, 0xc7, 0xfb]);
    set_eflags(&mut m.cpu, 0x8d4);
    m.finish(8);
    assert_ne!(m.get(EAX), m.get(EBX));
    assert_eq!(eflags(&m.cpu) & FlagSet::all().bits(), FlagSet::C.bits());
}

#[test]
fn time_stamps_come_with_the_processor_number() {
    // rdtscp; rdpid %rbx
    let code = [0x0f, 0x01, 0xf9, 0xf3, 0x0f, 0xc7, 0xfb];
    let mut m = Machine::with(&code, &[(EAX, u64::MAX), (EDX, u64::MAX), (ECX, u64::MAX), (EBX, u64::MAX)]);
    m.finish(code.len());
    assert_eq!((m.get(EAX) >> 32, m.get(EDX), m.get(ECX), m.get(EBX)), (0, 0, 0, 0));
}

// ---- flags

/// A region does not produce flags that the code behind it sets anew.
#[test]
fn lookahead_finds_dead_flags() {
    let live = |after: &[u8]| {
        let m = Machine::new(&[&[0x48, 0xff, 0xc0, 0xeb, 0x00][..], after].concat());
        m.lift().exits[0].live_flags
    };
    assert_eq!(live(&[0x48, 0x85, 0xc0]), FlagSet::empty()); // test %rax, %rax
    assert_eq!(live(&[0x48, 0x11, 0xc0]), FlagSet::C); // adc %rax, %rax
    assert_eq!(live(&[0x48, 0xc1, 0xe0, 0x20]), FlagSet::empty()); // shl $32, %rax
    assert_eq!(live(&[0xc1, 0xe0, 0x20]), FlagSet::all()); // shl $32, %eax is none
    assert_eq!(live(&[0xc4, 0xe2, 0xf8, 0xf3, 0xc8, 0x48, 0x85, 0xc0]), FlagSet::empty()); // blsr; test
}

// ---- models

#[test]
fn models_lack_what_came_later() {
    let attempt = |model: &str, code: &[u8]| {
        let mut m = Machine::with(code, &[(EBP, 0x10)]);
        m.guest = X86::amd64().with_model(model).unwrap();
        (m.run(), m.get(EAX))
    };
    // popcnt %ebp, %eax; pshufb; blsr %ebp, %eax
    let undefined = exception(PC, exception::UD);
    for (model, code) in [
        ("core2duo", &[0xf3, 0x0f, 0xb8, 0xc5][..]),
        ("qemu64", &[0x66, 0x0f, 0x38, 0x00, 0xc1]),
        ("Westmere", &[0xc4, 0xe2, 0x78, 0xf3, 0xcd]),
        ("max,-popcnt", &[0xf3, 0x0f, 0xb8, 0xc5]),
    ] {
        assert_eq!(attempt(model, code).0, undefined, "{model}");
        assert_ne!(attempt("max", code).0, undefined, "{code:02x?}");
    }
    // lzcnt %ebp, %eax is bsr without the feature.
    let lzcnt = [0xf3, 0x0f, 0xbd, 0xc5];
    assert_eq!((attempt("max", &lzcnt).1, attempt("Nehalem", &lzcnt).1), (27, 4));
    assert!(X86::amd64().models().all(|m| X86::amd64().with_model(m.name).is_ok()));
    assert!(X86::amd64().models().count() < X86::i386().models().count());
}

#[test]
fn identification_follows_the_model() {
    let ask = |model: &str, leaf: u64, subleaf: u64| {
        let mut m = Machine::with(&[0x0f, 0xa2], &[(EAX, leaf), (ECX, subleaf)]);
        m.guest = X86::amd64().with_model(model).unwrap();
        m.finish(2);
        [EAX, EBX, ECX, EDX].map(|r| m.get(r) as u32)
    };
    assert_eq!(ask("max", 0x8000_0001, 0)[3] & 0x2010_0800, 0x2010_0800); // lm nx syscall
    assert_eq!(ask("Westmere", 1, 0)[2] & 0x0298_2203, 0x0298_2203);
    assert_eq!(ask("Nehalem", 1, 0)[2] & 1 << 25, 0);
    assert_eq!(ask("max", 7, 0)[1], 1 << 0 | 1 << 3 | 1 << 8 | 1 << 9 | 1 << 18 | 1 << 19 | 3 << 23);
    assert_eq!(ask("max", 13, 0), [3, 576, 576, 0]);
    assert_eq!(ask("max", 4, 3)[0] & 0x1f, 3);
    assert_eq!(ask("qemu64", 0, 0)[1].to_le_bytes(), *b"Auth");
}
