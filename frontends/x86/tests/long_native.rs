//! Every instruction of 64-bit mode, lifted and interpreted, against the host's processor on random states.
#![allow(unsafe_code)] // generated code, called from assembly

mod common;
mod form;
mod memory;
mod random;

use common::{everything, lift_for};
use form::Form;
use iced_x86::{
    Code, CpuidFeature, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register, RflagsBits,
};
use isamorph_guest::Guest;
use isamorph_host::map::Reservation;
use isamorph_interp::{Outcome, run};
use isamorph_ir::{CpuState, ExitKind, FlagSet, Region};
use isamorph_x86::{X86, state};
use memory::Flat;
use random::Random;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Low memory that the instructions work in: a page of code, a page for the registers, pages of data. The assembly
/// below has these addresses as numbers.
const CODE: usize = 0x3000_0000;
const STATE: usize = 0x3000_1000;
const DATA: usize = 0x3000_2000;
const DATA_LEN: usize = 0x3000;

/// Registers at [`STATE`].
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq)]
struct Regs {
    image: [u8; 512],
    host_image: [u8; 512],
    gpr: [u64; 16],
    rflags: u64,
    host_rsp: u64,
}

std::arch::global_asm!(
    ".pushsection .text.native64, \"ax\", @progbits",
    // native64_run(code): the registers are at STATE.
    "native64_run: push rbx; push rbp; push r12; push r13; push r14; push r15",
    "fxsave64 [0x30001200]; fxrstor64 [0x30001000]",
    "mov [0x30001488], rsp",
    "jmp rdi",
    // Copied to the code page: load the registers; the instruction follows.
    "native64_enter: mov rsp, 0x30001ff0; push qword ptr [0x30001480]; popfq",
    "mov rax, [0x30001400]; mov rcx, [0x30001408]; mov rdx, [0x30001410]; mov rbx, [0x30001418]",
    "mov rsp, [0x30001420]; mov rbp, [0x30001428]; mov rsi, [0x30001430]; mov rdi, [0x30001438]",
    "mov r8, [0x30001440]; mov r9, [0x30001448]; mov r10, [0x30001450]; mov r11, [0x30001458]",
    "mov r12, [0x30001460]; mov r13, [0x30001468]; mov r14, [0x30001470]; mov r15, [0x30001478]",
    "native64_enter_end:",
    // Copied behind the instruction: store the registers and go back.
    "native64_leave: mov [0x30001420], rsp; mov rsp, 0x30001ff0; pushfq; pop qword ptr [0x30001480]; cld",
    "mov [0x30001400], rax; mov [0x30001408], rcx; mov [0x30001410], rdx; mov [0x30001418], rbx",
    "mov [0x30001428], rbp; mov [0x30001430], rsi; mov [0x30001438], rdi",
    "mov [0x30001440], r8; mov [0x30001448], r9; mov [0x30001450], r10; mov [0x30001458], r11",
    "mov [0x30001460], r12; mov [0x30001468], r13; mov [0x30001470], r14; mov [0x30001478], r15",
    "fxsave64 [0x30001000]; fxrstor64 [0x30001200]",
    "mov rsp, [0x30001488]",
    "pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx",
    "ret",
    "native64_leave_end:",
    ".popsection",
);

unsafe extern "C" {
    fn native64_run(code: usize);
    static native64_enter: u8;
    static native64_enter_end: u8;
    static native64_leave: u8;
    static native64_leave_end: u8;
}

/// The host's processor; one at a time has the low memory.
struct Native {
    memory: Reservation,
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

fn template(start: *const u8, end: *const u8) -> &'static [u8] {
    // SAFETY: both are labels of the assembly above, in this order.
    unsafe { std::slice::from_raw_parts(start, end.offset_from(start) as usize) }
}

impl Native {
    fn new() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let len = DATA + DATA_LEN - CODE;
        let memory = Reservation::at(CODE, len).unwrap();
        memory.map_anon(CODE, len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE).unwrap();
        Native { memory, _alone: alone }
    }
    fn load(&self, insn: &[u8]) {
        let enter = template(&raw const native64_enter, &raw const native64_enter_end);
        let leave = template(&raw const native64_leave, &raw const native64_leave_end);
        self.memory.protect(CODE, 4096, libc::PROT_READ | libc::PROT_WRITE).unwrap();
        self.memory.write(CODE, &[enter, insn, leave].concat()).unwrap();
        self.memory.protect(CODE, 4096, libc::PROT_READ | libc::PROT_EXEC).unwrap();
    }
    fn run(&self, machine: &mut Machine) {
        self.memory.write(DATA, &machine.mem).unwrap();
        let Machine { image, gpr, rflags, .. } = *machine;
        let regs = Regs { image, host_image: [0; 512], gpr, rflags, host_rsp: 0 };
        // SAFETY: the page of the registers is mapped; the code works on the registers and the data, and comes back.
        let after = unsafe {
            std::ptr::write_volatile(STATE as *mut Regs, regs);
            native64_run(CODE);
            std::ptr::read_volatile(STATE as *const Regs)
        };
        (machine.image, machine.gpr, machine.rflags) = (after.image, after.gpr, after.rflags);
        isamorph_host::copy::read(DATA, &mut machine.mem).unwrap();
    }
}

/// What an instruction can read and write.
#[derive(Clone, PartialEq)]
struct Machine {
    image: [u8; 512],
    gpr: [u64; 16],
    rflags: u64,
    mem: Vec<u8>,
}

/// Interprets the code, whose region this is; false if it does not simply go on behind it.
fn interpret(region: &Region, code: &[u8], machine: &mut Machine) -> bool {
    let guest = X86::amd64();
    let table = guest.table();
    let mut cpu = CpuState::new();
    state::reset_user64(&mut cpu);
    state::fxsave_image_mut(&mut cpu).copy_from_slice(&machine.image);
    for (n, value) in machine.gpr.iter().enumerate() {
        cpu.set(table, state::gpr(n as u16), *value);
    }
    state::set_eflags(&mut cpu, machine.rflags as u32);
    let mem = Flat::new(DATA as u64, std::mem::take(&mut machine.mem));
    let next = common::PC + code.len() as u64;
    let went_on = loop {
        match run(region, table, guest.helpers(), &mut cpu, &mem) {
            Outcome::Exit { exit, .. } if region.exits[exit].kind == ExitKind::Direct { pc: next } => break true,
            Outcome::Exit { exit, .. } if region.exits[exit].kind == ExitKind::Direct { pc: common::PC } => {}
            _ => break false,
        }
    };
    machine.mem = mem.into_bytes();
    machine.image.copy_from_slice(state::fxsave_image(&cpu));
    machine.gpr = std::array::from_fn(|n| cpu.get(table, state::gpr(n as u16)));
    machine.rflags = u64::from(state::eflags(&cpu));
    went_on
}

// ---- random states

impl Random {
    fn value(&mut self) -> u64 {
        const VALUES: [u64; 10] = [0, 1, 0x7f, 0x80, 0xffff, 1 << 31, 0xffff_ffff, 1 << 63, (1 << 63) - 1, u64::MAX];
        match self.below(4) {
            0 => self.pick(&VALUES),
            1 => self.below(300),
            2 => self.lanes(),
            _ => self.next(),
        }
    }
    /// An address with room around it, sometimes at the end of a page; aligned often enough.
    fn pointer(&mut self) -> u64 {
        let offset = if self.below(4) == 0 { 0xff0 + self.below(24) } else { 0x800 + self.below(0x1800) };
        DATA as u64 + if self.below(2) == 0 { offset & !15 } else { offset }
    }
    fn image(&mut self) -> [u8; 512] {
        let mut image = [0; 512];
        // All exceptions masked; any rounding, precision, flush and denormal modes, sticky bits, tags and top.
        let control = 0x7f | (self.next() & 0x0f00) as u16;
        let status = (self.next() & 0x7f7f) as u16 & !0x40;
        image[..2].copy_from_slice(&control.to_le_bytes());
        image[2..4].copy_from_slice(&status.to_le_bytes());
        image[4] = if self.below(2) == 0 { 0xff } else { self.next() as u8 };
        let mxcsr = 0x1f80 | (self.next() & 0xe07f) as u32;
        image[24..28].copy_from_slice(&mxcsr.to_le_bytes());
        image[28..32].copy_from_slice(&state::MXCSR_MASK.to_le_bytes());
        for st in 0..8 {
            let value = self.extended();
            image[32 + 16 * st..][..10].copy_from_slice(&value);
        }
        for chunk in image[160..416].chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.lanes().to_le_bytes());
        }
        image
    }
    fn machine(&mut self, insn: &Instruction) -> Machine {
        let mut mem = vec![0; DATA_LEN];
        // Small values repeat, so that comparisons of strings go on for a while.
        let narrow = self.below(2) == 0;
        for chunk in mem.chunks_exact_mut(8) {
            let v = if narrow { self.next() & self.next() & self.next() & 0x0101_0101_0101_0101 } else { self.lanes() };
            chunk.copy_from_slice(&v.to_le_bytes());
        }
        let mut gpr = std::array::from_fn(|_| self.value());
        for (n, register) in gpr.iter_mut().enumerate().skip(3) {
            if n == 4 || insn.is_string_instruction() || self.below(3) == 0 {
                *register = self.pointer();
            }
        }
        if matches!(insn.mnemonic(), Mnemonic::Div | Mnemonic::Idiv) {
            gpr[0] &= self.value() | 0xff;
            gpr[2] = if self.below(2) == 0 { self.below(20) } else { (gpr[0] as i64 >> 63) as u64 };
        }
        if matches!(insn.mnemonic(), Mnemonic::Maskmovq | Mnemonic::Maskmovdqu) {
            gpr[7] = self.pointer();
        }
        if insn.is_string_instruction() {
            gpr[1] = self.below(200);
            gpr[7] =
                if self.below(3) == 0 { gpr[6].wrapping_add(self.below(24)).wrapping_sub(12) } else { self.pointer() };
        }
        let garbage = self.next() << 32;
        let mut set = |r: Register, v: u64| {
            if r.is_gpr() {
                gpr[r.number()] = if r.is_gpr32() { v & 0xffff_ffff | garbage } else { v };
            }
        };
        if insn.op_kinds().any(|k| k == OpKind::Memory) {
            if matches!(insn.mnemonic(), Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc)
                && insn.op1_kind() == OpKind::Register
            {
                set(insn.op1_register().full_register(), self.below(0x2000).wrapping_sub(0x1000));
            }
            let (index, base) = (self.below(32), self.pointer());
            if insn.mnemonic() != Mnemonic::Xlatb {
                set(insn.memory_index(), index);
            }
            set(insn.memory_base(), base);
        }
        Machine { image: self.image(), gpr, rflags: 0x202 | self.next() & 0xcd5, mem }
    }
}

// ---- forms

/// Instructions whose outcome depends on more than the state, or that the host does otherwise on purpose.
fn is_compared(insn: &Instruction) -> bool {
    use Mnemonic as M;
    let environment = matches!(
        insn.mnemonic(),
        M::Sgdt
            | M::Sidt
            | M::Sldt
            | M::Str
            | M::Smsw
            | M::Lar
            | M::Lsl
            | M::Verr
            | M::Verw
            | M::Cpuid
            | M::Rdtsc
            | M::Rdtscp
            | M::Rdpid
            | M::Rdrand
            | M::Rdseed
            | M::Xgetbv
            | M::Rdfsbase
            | M::Rdgsbase
            | M::Wrfsbase
            | M::Wrgsbase
            | M::Lfs
            | M::Lgs
            | M::Lss
            | M::Popf
            | M::Popfq
    );
    // Images, whose reserved bytes belong to the processor; formats of 16-bit code.
    let image = matches!(
        insn.mnemonic(),
        M::Fxsave | M::Fxsave64 | M::Fxrstor | M::Fxrstor64 | M::Fnsave | M::Frstor | M::Fnstenv | M::Fldenv
    );
    let saves = format!("{:?}", insn.mnemonic()).starts_with("Xsave") || insn.mnemonic() == M::Xrstor;
    let segment =
        (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Register && insn.op_register(n).is_segment_register());
    // An undocumented alias that differs from the canonical encoding when the stack is empty; prefetches that hosts
    // do not know as such; a swap of 16 bits, which is undefined.
    let odd =
        matches!(insn.code(), Code::Fstpnce_sti | Code::Bswap_r16) || format!("{:?}", insn.code()).ends_with("0F0D");
    // With REX.B it is an exchange with r8, whose prefix the decoder does not tell.
    let pause = insn.mnemonic() == M::Pause && insn.len() > 2;
    let odd = odd || pause;
    let ordinary = insn.flow_control() == FlowControl::Next && !insn.is_privileged();
    ordinary && !environment && !image && !saves && !segment && !odd
}

/// Register forms and memory forms: base, base and index (SIB byte 0x90), base and displacement.
const MODRM: &[u8] = &[0xc2, 0xc0, 0xc6, 0x01, 0x04, 0x43, 0x83];
const PREFIXES: [&[u8]; 8] = [&[], &[0x66], &[0xf3], &[0xf2], &[0xf0], &[0x66, 0xf0], &[0x67], &[0x66, 0xf2]];
const REX: [&[u8]; 6] = [&[], &[0x40], &[0x48], &[0x45], &[0x4c], &[0x4b]];

fn legacy_forms() -> Vec<Form> {
    let mut forms = BTreeMap::new();
    for map in [&[][..], &[0x0f], &[0x0f, 0x38], &[0x0f, 0x3a]] {
        for (n, prefix) in PREFIXES.iter().enumerate() {
            for (rex_index, rex) in REX.iter().enumerate() {
                for opcode in (0..=255u8).filter(|o| !is_prefix(map, *o)) {
                    for (kind, modrm) in
                        MODRM.iter().enumerate().flat_map(|(k, m)| (0..8).map(move |r| (k, m | r << 3)))
                    {
                        let bytes = [*prefix, rex, map, &[opcode, modrm, 0x90, 0x05, 0, 0, 0, 0, 0, 0, 0, 0]].concat();
                        let Some(form) = decoded(&bytes) else { continue };
                        // Few kinds of operands where the prefixes vary.
                        let plain = map.len() + prefix.len() < 2 && rex_index < 3;
                        let kind = if plain { kind } else { usize::from(kind > 2) };
                        forms.entry((form.insn.code() as u32, n, rex_index, kind)).or_insert(form);
                    }
                }
            }
        }
    }
    forms.into_values().collect()
}

/// BMI1 and BMI2: the second source, or the destination, is rax or r9.
fn vex_forms() -> Vec<Form> {
    let mut forms = BTreeMap::new();
    for (map, pp, wide, register) in
        (0..32u8).map(|n| (2 + (n & 1), n >> 1 & 3, n >> 3 & 1, [0, 9][usize::from(n >> 4)]))
    {
        for opcode in 0..=255u8 {
            for (kind, modrm) in
                [0xc0u8, 0x01].iter().enumerate().flat_map(|(k, m)| (0..8).map(move |r| (k, m | r << 3)))
            {
                let vex = [0xc4, 0xe0 | map, wide << 7 | (!register & 15) << 3 | pp];
                let bytes = [&vex[..], &[opcode, modrm, 0x90, 0x05, 0, 0, 0]].concat();
                let Some(form) = decoded(&bytes) else { continue };
                let bits = [CpuidFeature::BMI1, CpuidFeature::BMI2];
                if form.insn.cpuid_features().iter().all(|f| bits.contains(f)) {
                    forms.entry((form.insn.code() as u32, register, kind)).or_insert(form);
                }
            }
        }
    }
    forms.into_values().collect()
}

/// Whether an opcode of a map is a prefix, or leads to another map or encoding.
fn is_prefix(map: &[u8], opcode: u8) -> bool {
    match map {
        [] => {
            matches!(opcode, 0x0f | 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x62 | 0x64..=0x67 | 0xc4 | 0xc5)
                || matches!(opcode, 0xf0 | 0xf2 | 0xf3)
        }
        [0x0f] => matches!(opcode, 0x38 | 0x3a),
        _ => false,
    }
}

fn decoded(bytes: &[u8]) -> Option<Form> {
    let insn = Decoder::with_ip(64, bytes, common::PC, DecoderOptions::NONE).decode();
    let form = Form { bytes: bytes[..insn.len()].to_vec(), insn };
    (!insn.is_invalid() && is_compared(&insn)).then_some(form)
}

/// The flags that the manual leaves undefined.
fn undefined(insn: &Instruction) -> u32 {
    let bits = insn.rflags_undefined();
    let table = [
        (RflagsBits::CF, FlagSet::C),
        (RflagsBits::PF, FlagSet::P),
        (RflagsBits::AF, FlagSet::A),
        (RflagsBits::ZF, FlagSet::Z),
        (RflagsBits::SF, FlagSet::S),
        (RflagsBits::OF, FlagSet::O),
    ];
    table.iter().filter(|(b, _)| bits & b != 0).fold(0, |all, (_, f)| all | f.bits())
}

/// Whether the manual leaves the result itself undefined in that state.
fn has_undefined_result(insn: &Instruction, machine: &Machine) -> bool {
    let double = matches!(insn.mnemonic(), Mnemonic::Shld | Mnemonic::Shrd);
    let word = insn.op0_kind() == OpKind::Register && insn.op0_register().is_gpr16() || insn.memory_size().size() == 2;
    let count = if insn.op_count() == 3 && insn.op_kind(2) != OpKind::Register {
        insn.immediate8()
    } else {
        machine.gpr[1] as u8
    };
    double && word && count & 31 > 16
}

fn with_random_immediate(form: &Form, random: &mut Random) -> Form {
    use OpKind as K;
    let mut bytes = form.bytes.clone();
    let size = match (0..form.insn.op_count()).map(|n| form.insn.op_kind(n)).next_back() {
        Some(K::Immediate8 | K::Immediate8to16 | K::Immediate8to32 | K::Immediate8to64) => 1,
        Some(K::Immediate16) => 2,
        Some(K::Immediate32 | K::Immediate32to64) => 4,
        Some(K::Immediate64) => 8,
        _ => 0,
    };
    let end = bytes.len();
    let name = format!("{:?}", form.insn.code());
    if form.insn.mnemonic() == Mnemonic::Enter {
        bytes[end - 3..].copy_from_slice(&[random.next() as u8, 0, random.next() as u8]);
    } else if name.contains("moffs") {
        let size = if form.insn.memory_displ_size() == 8 { 8 } else { 4 };
        bytes[end - size..].copy_from_slice(&random.pointer().to_le_bytes()[..size]);
    } else if !name.ends_with("_1") {
        bytes[end - size..].copy_from_slice(&random.value().to_le_bytes()[..size]);
    }
    let insn = Decoder::with_ip(64, &bytes, common::PC, DecoderOptions::NONE).decode();
    Form { bytes, insn }
}

/// What may differ, set to zero: pointers to the last x87 instruction and operand, unused bytes.
fn normalise(machine: &mut Machine, flags: u32) {
    machine.image[6..24].fill(0);
    machine.image[28..32].fill(0);
    machine.image[32..160].chunks_exact_mut(16).for_each(|st| st[10..].fill(0));
    machine.image[416..].fill(0);
    machine.rflags &= u64::from(flags);
}

/// Runs the form on random states both ways; the first difference, or how many states were compared.
fn compare(native: &Native, form: &Form, random: &mut Random, rounds: u32) -> Result<u32, String> {
    let mut compared = 0;
    for _ in 0..rounds {
        let form = with_random_immediate(form, random);
        let mut start = random.machine(&form.insn);
        if form.insn.mnemonic() == Mnemonic::Ldmxcsr {
            start.mem.chunks_exact_mut(4).for_each(|word| word[2..].fill(0));
        }
        let (mut ours, mut theirs) = (start.clone(), start.clone());
        let region = lift_for(everything(X86::amd64()), &form.bytes);
        if has_undefined_result(&form.insn, &start) || !interpret(&region, &form.bytes, &mut ours) {
            continue;
        }
        native.load(&form.bytes);
        native.run(&mut theirs);
        let flags = (FlagSet::all().bits() | state::eflag::DF) & !undefined(&form.insn);
        for machine in [&mut start, &mut ours, &mut theirs] {
            normalise(machine, flags);
        }
        if ours != theirs {
            let name = format!("{:?} {:02x?}", form.insn.code(), form.bytes);
            return Err(describe(&name, [&start, &ours, &theirs]));
        }
        compared += 1;
    }
    Ok(compared)
}

fn describe(name: &str, [start, ours, theirs]: [&Machine; 3]) -> String {
    let mut text =
        format!("{name} flags {:03x}, lifted {:03x} native {:03x}\n", start.rflags, ours.rflags, theirs.rflags);
    for n in (0..16).filter(|n| ours.gpr[*n] != theirs.gpr[*n]) {
        text += &format!("  r{n} {:x}: lifted {:x} native {:x}\n", start.gpr[n], ours.gpr[n], theirs.gpr[n]);
    }
    for at in (0..512).step_by(8) {
        let [from, a, b] = [start, ours, theirs].map(|m| &m.image[at..at + 8]);
        if a != b {
            text += &format!("  image+{at} {from:02x?}: lifted {a:02x?} native {b:02x?}\n");
        }
    }
    if let Some(at) = ours.mem.iter().zip(&theirs.mem).position(|(a, b)| a != b) {
        let [a, b] = [ours, theirs].map(|m| m.mem[at..].iter().take(8).copied().collect::<Vec<_>>());
        text += &format!("  memory {:x}: lifted {a:02x?} native {b:02x?}\n", DATA + at);
    }
    text
}

/// Whether the host has what the instruction needs.
fn is_available(insn: &Instruction) -> bool {
    use CpuidFeature as F;
    insn.cpuid_features().iter().all(|f| match f {
        F::SSE3 => is_x86_feature_detected!("sse3"),
        F::SSSE3 => is_x86_feature_detected!("ssse3"),
        F::SSE4_1 => is_x86_feature_detected!("sse4.1"),
        F::SSE4_2 => is_x86_feature_detected!("sse4.2"),
        F::AES => is_x86_feature_detected!("aes"),
        F::PCLMULQDQ => is_x86_feature_detected!("pclmulqdq"),
        F::SHA => is_x86_feature_detected!("sha"),
        F::ADX => is_x86_feature_detected!("adx"),
        F::BMI1 => is_x86_feature_detected!("bmi1"),
        F::BMI2 => is_x86_feature_detected!("bmi2"),
        F::LZCNT => is_x86_feature_detected!("lzcnt"),
        F::POPCNT => is_x86_feature_detected!("popcnt"),
        F::MOVBE => is_x86_feature_detected!("movbe"),
        _ => true,
    })
}

fn check(forms: &[Form], rounds: u32) {
    isamorph_host::fault::install().unwrap();
    let native = Native::new();
    let mut random = Random(0x1234_5678_9abc_def1);
    let (mut failed, mut counts) = (Vec::new(), BTreeMap::new());
    for form in forms.iter().filter(|f| is_available(&f.insn)) {
        match compare(&native, form, &mut random, rounds) {
            Ok(n) => *counts.entry(form.insn.code()).or_insert(0) += n,
            Err(text) => failed.push(text),
        }
    }
    assert!(failed.is_empty(), "{} forms differ:\n{}", failed.len(), failed[..failed.len().min(40)].concat());
    let never: Vec<_> = counts.iter().filter(|(_, n)| **n == 0).map(|(code, _)| code).collect();
    println!("{} codes of {} forms; never compared: {never:?}", counts.len(), forms.len());
}

#[test]
fn instructions_match_the_processor() {
    let forms = legacy_forms();
    assert!(forms.len() > 5000, "only {} forms", forms.len());
    check(&forms, 4);
}

#[test]
fn bit_manipulation_matches_the_processor() {
    let forms = vex_forms();
    assert!(forms.len() > 80, "only {} forms", forms.len());
    check(&forms, 50);
}
