//! Vector and x87 instructions, lifted and interpreted, against the host's processor on random states.
#![allow(unsafe_code)] // generated code, called from assembly

mod common;
mod form;
mod forms;
mod memory;
mod random;

use common::lift;
use form::Form;
use iced_x86::{Code, CpuidFeature, Mnemonic, OpKind};
use isamorph_guest::Guest;
use isamorph_host::map::{self, Reservation};
use isamorph_interp::{Outcome, run};
use isamorph_ir::{CpuState, ExitKind, FaultCause, FlagSet, Region, Trap};
use isamorph_x86::{X86, exception, state};
use memory::Flat;
use random::Random;

/// What an instruction can read and write: the FXSAVE image, registers, flags, memory.
#[repr(C, align(64))]
#[derive(Clone, PartialEq)]
struct Machine {
    image: [u8; 512],
    /// Where the host's own image goes meanwhile.
    host: [u8; 512],
    mem: [u8; 512],
    /// eax, ecx, edx, edi; ecx and edi hold the address of `mem` while the instruction runs.
    regs: [u64; 4],
    eflags: u64,
}

// native(&mut machine, code): runs the code between loading and storing the machine's registers.
std::arch::global_asm!(
    ".pushsection .text.native_test, \"ax\", @progbits",
    "native_test_run: mov r8, rdi; mov r9, rsi",
    "fxsave64 [r8 + 512]",
    "fxrstor64 [r8]",
    "mov rax, [r8 + 1536]; lea rcx, [r8 + 1024]; mov rdx, [r8 + 1552]; lea rdi, [r8 + 1024]",
    "push qword ptr [r8 + 1568]; popfq",
    "call r9",
    "pushfq; pop qword ptr [r8 + 1568]",
    "mov [r8 + 1536], rax; mov [r8 + 1552], rdx",
    "fxsave64 [r8]",
    "fxrstor64 [r8 + 512]",
    "ret",
    ".popsection",
);

unsafe extern "C" {
    fn native_test_run(machine: *mut Machine, code: usize);
}

/// A page of code.
struct Page(Reservation);

impl Page {
    fn new() -> Self {
        let page = Reservation::anywhere(map::page_size()).unwrap();
        page.map_anon(page.start(), page.len(), libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE).unwrap();
        Page(page)
    }
    fn load(&self, insn: &[u8]) {
        let Page(page) = self;
        page.protect(page.start(), page.len(), libc::PROT_READ | libc::PROT_WRITE).unwrap();
        page.write(page.start(), &[insn, &[0xc3]].concat()).unwrap();
        page.protect(page.start(), page.len(), libc::PROT_READ | libc::PROT_EXEC).unwrap();
    }
    fn run(&self, machine: &mut Machine) {
        // SAFETY: the page holds one instruction that works on the machine's registers and memory, and a return.
        unsafe { native_test_run(machine, self.0.start()) }
    }
}

/// Guest memory: `Machine::mem` at this address.
const MEM: u64 = 0x2000;

const REGS: [isamorph_ir::RegId; 4] = [state::EAX, state::ECX, state::EDX, state::EDI];

/// Interprets the region on the machine.
fn interpret(region: &Region, machine: &mut Machine) -> Outcome {
    let guest = X86::i386();
    let table = guest.table();
    let mut cpu = CpuState::new();
    state::reset_user(&mut cpu);
    state::fxsave_image_mut(&mut cpu).copy_from_slice(&machine.image);
    for (reg, value) in REGS.iter().zip(machine.regs) {
        cpu.set(table, *reg, value);
    }
    cpu.set(table, state::ECX, MEM);
    cpu.set(table, state::EDI, MEM);
    cpu.set(table, state::FLAGS, machine.eflags & u64::from(FlagSet::all().bits()));
    let mem = Flat::new(MEM, machine.mem.to_vec());
    let outcome = run(region, table, guest.helpers(), &mut cpu, &mem);
    machine.mem.copy_from_slice(&mem.into_bytes());
    machine.image.copy_from_slice(state::fxsave_image(&cpu));
    machine.regs[0] = cpu.get(table, state::EAX);
    machine.regs[2] = cpu.get(table, state::EDX);
    machine.eflags = cpu.get(table, state::FLAGS);
    outcome
}

// ---- random states

impl Random {
    fn machine(&mut self) -> Machine {
        let mut m = Machine {
            image: [0; 512],
            host: [0; 512],
            mem: [0; 512],
            regs: [0; 4],
            eflags: 0x202 | self.next() & 0x8d5,
        };
        // All exceptions masked; any rounding, precision, flush and denormal modes, sticky bits, tags and top.
        let control = 0x7f | (self.next() & 0x0f00) as u16;
        let status = (self.next() & 0x7f7f) as u16 & !0x40;
        m.image[..2].copy_from_slice(&control.to_le_bytes());
        m.image[2..4].copy_from_slice(&status.to_le_bytes());
        m.image[4] = if self.below(2) == 0 { 0xff } else { self.next() as u8 };
        let mxcsr = 0x1f80 | (self.next() & 0xe07f) as u32;
        m.image[24..28].copy_from_slice(&mxcsr.to_le_bytes());
        m.image[28..32].copy_from_slice(&state::MXCSR_MASK.to_le_bytes());
        for st in 0..8 {
            let value = self.extended();
            m.image[32 + 16 * st..][..10].copy_from_slice(&value);
            if self.below(2) == 0 {
                m.image[32 + 16 * st..][..8].copy_from_slice(&self.lanes().to_le_bytes());
            }
        }
        for chunk in m.image[160..288].chunks_exact_mut(8).chain(m.mem.chunks_exact_mut(8)) {
            chunk.copy_from_slice(&self.lanes().to_le_bytes());
        }
        if self.below(3) == 0 {
            let value = self.extended();
            m.mem[..10].copy_from_slice(&value);
        }
        m.regs[0] = self.lanes() & 0xffff_ffff;
        m.regs[2] = self.lanes() & 0xffff_ffff;
        m
    }
}

// ---- comparison

/// What may differ, set to zero: pointers to the last x87 instruction and operand, unused bytes, host addresses.
fn normalise(form: &Form, machine: &mut Machine) {
    machine.host.fill(0);
    machine.image[6..24].fill(0);
    machine.image[28..32].fill(0);
    for st in 0..8 {
        machine.image[32 + 16 * st + 10..][..6].fill(0);
    }
    machine.image[288..].fill(0);
    machine.eflags &= u64::from(FlagSet::all().bits());
    machine.regs[0] &= 0xffff_ffff;
    machine.regs[2] &= 0xffff_ffff;
    match form.insn.code() {
        Code::Fnstenv_m28byte | Code::Fnsave_m108byte => machine.mem[12..28].fill(0),
        Code::Fnstenv_m14byte | Code::Fnsave_m94byte => machine.mem[6..14].fill(0),
        _ => {}
    }
}

/// Not compared: images, whose reserved bytes belong to the processor; an undocumented alias
/// that differs from the canonical encoding when the stack is empty.
fn is_compared(form: &Form) -> bool {
    use Code as C;
    !matches!(form.insn.code(), C::Fstpnce_sti | C::Fxsave_m512byte | C::Fxrstor_m512byte)
}

fn with_random_immediate(form: &Form, random: &mut Random) -> Vec<u8> {
    let mut bytes = form.bytes.clone();
    if form.insn.op_kinds().any(|k| k == OpKind::Immediate8) {
        let small = random.below(80) as u8;
        *bytes.last_mut().unwrap() = if random.below(2) == 0 { small } else { random.next() as u8 };
    }
    bytes
}

/// Runs the form on random states in both ways; the first difference.
fn differences(page: &Page, form: &Form, random: &mut Random, rounds: u32) -> Option<String> {
    let mut region = Region::default();
    for round in 0..rounds {
        if round % 4 == 0 {
            let form = with_random_immediate(form, random);
            region = lift(&form);
            page.load(&form);
        }
        let mut start = random.machine();
        if form.insn.mnemonic() == Mnemonic::Ldmxcsr {
            start.mem[2..4].fill(0);
        }
        let (mut ours, mut theirs) = (start.clone(), start.clone());
        page.run(&mut theirs);
        let outcome = interpret(&region, &mut ours);
        normalise(form, &mut ours);
        normalise(form, &mut theirs);
        normalise(form, &mut start);
        if !matches!(outcome, Outcome::Exit { .. }) || ours != theirs {
            return Some(describe(form, &outcome, &start, &ours, &theirs));
        }
    }
    None
}

fn describe(form: &Form, outcome: &Outcome, start: &Machine, ours: &Machine, theirs: &Machine) -> String {
    let mut text = format!("{:?} {:02x?}: {outcome:?}\n", form.insn.code(), form.bytes);
    let mut row = |name: String, start: &[u8], ours: &[u8], theirs: &[u8]| {
        if ours != theirs {
            text +=
                &format!("  {name}: from {start:02x?}\n    interpreted {ours:02x?}\n    native      {theirs:02x?}\n");
        }
    };
    for at in (0..288).step_by(16) {
        row(format!("image+{at}"), &start.image[at..at + 16], &ours.image[at..at + 16], &theirs.image[at..at + 16]);
    }
    for at in (0..512).step_by(16) {
        row(format!("mem+{at}"), &start.mem[at..at + 16], &ours.mem[at..at + 16], &theirs.mem[at..at + 16]);
    }
    for i in 0..4 {
        let [a, b, c] = [start, ours, theirs].map(|m| m.regs[i].to_le_bytes());
        row(format!("reg {i}"), &a, &b, &c);
    }
    let [a, b, c] = [start, ours, theirs].map(|m| m.eflags.to_le_bytes());
    row("eflags".into(), &a, &b, &c);
    text
}

fn check(forms: Vec<Form>, rounds: u32) {
    isamorph_host::fault::install().unwrap();
    let page = Page::new();
    let mut random = Random(0x1234_5678_9abc_def1);
    let compared: Vec<_> = forms.into_iter().filter(is_compared).collect();
    let failed: Vec<_> = compared.iter().filter_map(|f| differences(&page, f, &mut random, rounds)).collect();
    assert!(failed.is_empty(), "{} of {} forms differ:\n{}", failed.len(), compared.len(), failed.concat());
}

fn is_x87(form: &Form) -> bool {
    form.bytes.iter().find(|b| **b != 0x66).is_some_and(|b| matches!(b, 0x9b | 0xd8..=0xdf))
}

/// xmm0, mm0 or eax with xmm2, mm2 or edx; with memory at ecx.
fn vector_forms(extensions: &[CpuidFeature]) -> Vec<Form> {
    let modrm = (0..8).map(|reg| reg << 3).flat_map(|reg| [0xc2 | reg, 1 | reg]);
    forms::forms(extensions, modrm).into_values().filter(|f| !is_x87(f)).collect()
}

#[test]
fn vector_instructions_match_the_processor() {
    check(vector_forms(forms::COMPLETE), 60);
}

#[test]
fn instructions_of_later_extensions_match_the_processor() {
    let available = std::arch::is_x86_feature_detected!("sha") && std::arch::is_x86_feature_detected!("aes");
    check(if available { vector_forms(forms::LATER) } else { Vec::new() }, 60);
}

/// PCMPISTRI with immediates that are lifted without the helper, on strings that agree for a while.
#[test]
fn string_comparisons_match_the_processor() {
    let immediates = [0x08, 0x0a, 0x18, 0x1a, 0x28, 0x38, 0x3a, 0x48, 0x0c, 0x40];
    let forms = immediates.iter().flat_map(|imm| [0xc1, 0x11].map(|modrm| vec![0x66, 0x0f, 0x3a, 0x63, modrm, *imm]));
    let available = std::arch::is_x86_feature_detected!("sse4.2");
    let page = Page::new();
    let mut random = Random(0xfeed_1234_5678_9abc);
    for form in forms.filter_map(decoded).filter(|_| available) {
        let region = lift(&form.bytes);
        page.load(&form.bytes);
        for _ in 0..200 {
            let mut start = random.machine();
            let text: [u8; 16] = std::array::from_fn(|_| b"aaaabc\0"[random.below(7) as usize]);
            let mut other = text;
            other[random.below(16) as usize] = b"ab\0"[random.below(3) as usize];
            start.image[160 + 32..][..16].copy_from_slice(&text);
            start.image[160 + 16..][..16].copy_from_slice(&other);
            start.image[160..][..16].copy_from_slice(&text);
            start.mem[..16].copy_from_slice(&other);
            let (mut ours, mut theirs) = (start.clone(), start.clone());
            page.run(&mut theirs);
            let outcome = interpret(&region, &mut ours);
            normalise(&form, &mut ours);
            normalise(&form, &mut theirs);
            assert!(ours == theirs, "{}", describe(&form, &outcome, &start, &ours, &theirs));
        }
    }
}

/// Every register form by its bytes, so that every stack register occurs.
#[test]
fn x87_register_forms_match_the_processor() {
    let all = (0xd8..=0xdfu8).flat_map(|first| (0xc0..=0xffu8).map(move |second| vec![first, second]));
    let forms = all.filter_map(decoded).collect();
    check(forms, 40);
}

#[test]
fn x87_memory_forms_match_the_processor() {
    let all = (0xd8..=0xdfu8).flat_map(|first| (0..8u8).map(move |digit| vec![first, digit << 3 | 1]));
    // With an operand-size prefix, environments have the format of 16-bit code.
    let narrow = [[0xd9, 0x21], [0xd9, 0x31], [0xdd, 0x21], [0xdd, 0x31]].map(|[op, modrm]| vec![0x66, op, modrm]);
    check(all.chain(narrow).filter_map(decoded).collect(), 80);
}

fn decoded(bytes: Vec<u8>) -> Option<Form> {
    let insn = iced_x86::Decoder::with_ip(32, &bytes, common::PC, iced_x86::DecoderOptions::NONE).decode();
    (!insn.is_invalid()).then_some(Form { bytes, insn })
}

/// LDMXCSR refuses reserved bits, and packed operands must be aligned; the state is as before.
#[test]
fn faults_leave_the_state_alone() {
    isamorph_host::fault::install().unwrap();
    let mut start = Random(7).machine();
    start.mem[..4].copy_from_slice(&0x1_1f80u32.to_le_bytes());
    let attempt = |bytes: &[u8]| {
        let (region, mut machine) = (lift(bytes), start.clone());
        let outcome = interpret(&region, &mut machine);
        assert!(machine.image == start.image && machine.mem == start.mem, "{bytes:02x?}");
        (region, outcome)
    };
    let (region, outcome) = attempt(&[0x0f, 0xae, 0x11]); // ldmxcsr (%ecx)
    let Outcome::Exit { exit, .. } = outcome else { panic!("{outcome:?}") };
    assert!(matches!(region.exits[exit].kind, ExitKind::Exception { pc: common::PC, code: exception::GP, arg: 0 }));
    let misaligned =
        |outcome| matches!(outcome, Outcome::Trap { trap: Trap::Memory(f), .. } if f.cause == FaultCause::Misaligned);
    assert!(misaligned(attempt(&[0x0f, 0x58, 0x41, 0x04]).1)); // addps 4(%ecx), %xmm0
    assert!(misaligned(attempt(&[0x66, 0x0f, 0x7f, 0x41, 0x08]).1)); // movdqa %xmm0, 8(%ecx)
}
