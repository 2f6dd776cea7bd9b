//! Integer instructions, lifted and interpreted, against the host's processor in its 32-bit mode on random states.
#![allow(unsafe_code)] // generated code, called from assembly

mod common;

use common::lift;
use iced_x86::{
    Code, CpuidFeature, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register, RflagsBits,
};
use isamorph_guest::{CodeSource, Guest, Limits};
use isamorph_host::map::Reservation;
use isamorph_interp::{Outcome, run};
use isamorph_ir::{CpuState, ExitKind, FaultCause, FlagSet, MemFault, Memory, RegId, Region};
use isamorph_x86::{X86, state};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The low memory that the instructions work in: a page of code, a page for the registers, pages of data. The assembly
/// below has these addresses as numbers.
const CODE: usize = 0x2000_0000;
const REGS: usize = 0x2000_1000;
const DATA: usize = 0x2000_2000;
const DATA_LEN: usize = 0x3000;
/// Where the way back to 64-bit mode is, in the code page.
const BACK: usize = 0x800;

/// Registers at [`REGS`]: eax … edi, EFLAGS, then what the switch of modes needs.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Regs {
    gpr: [u32; 8],
    eflags: u32,
    pad: u32,
    host_rsp: u64,
    entry: u32,
    selector: u32,
}

std::arch::global_asm!(
    ".pushsection .text.native32, \"ax\", @progbits",
    // native32_run(): through the far pointer at REGS + 0x30 to 32-bit mode and back.
    "native32_run: push rbx; push rbp; push r12; push r13; push r14; push r15",
    "call 2f",
    "pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx",
    "ret",
    "2: mov eax, 0x20001028; mov [rax], rsp; mov eax, 0x20001030",
    "jmp fword ptr [rax]",
    // Copied to the code page: load the registers; the instruction follows.
    "native32_enter: .code32",
    "mov ecx, 0x2b; mov ds, ecx; mov es, ecx",
    "mov esp, 0x20001ff0; push dword ptr [0x20001020]; popfd",
    "mov eax, [0x20001000]; mov ecx, [0x20001004]; mov edx, [0x20001008]; mov ebx, [0x2000100c]",
    "mov esp, [0x20001010]; mov ebp, [0x20001014]; mov esi, [0x20001018]; mov edi, [0x2000101c]",
    "native32_enter_end:",
    // Copied behind the instruction: store the registers, leave 32-bit mode.
    "native32_leave:",
    "mov [0x20001010], esp; mov esp, 0x20001ff0; pushfd; pop dword ptr [0x20001020]; cld",
    "mov [0x20001000], eax; mov [0x20001004], ecx; mov [0x20001008], edx; mov [0x2000100c], ebx",
    "mov [0x20001014], ebp; mov [0x20001018], esi; mov [0x2000101c], edi",
    ".byte 0xea; .long 0x20000800; .word 0x33",
    "native32_leave_end: .code64",
    // Copied to BACK.
    "native32_back: mov eax, 0x20001028; mov rsp, [rax]; ret",
    "native32_back_end:",
    ".popsection",
);

unsafe extern "C" {
    fn native32_run();
    static native32_enter: u8;
    static native32_enter_end: u8;
    static native32_leave: u8;
    static native32_leave_end: u8;
    static native32_back: u8;
    static native32_back_end: u8;
}

/// The host's processor in 32-bit mode; one at a time has the low memory.
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
        let (enter, leave, back) = (
            template(&raw const native32_enter, &raw const native32_enter_end),
            template(&raw const native32_leave, &raw const native32_leave_end),
            template(&raw const native32_back, &raw const native32_back_end),
        );
        self.memory.protect(CODE, 4096, libc::PROT_READ | libc::PROT_WRITE).unwrap();
        self.memory.write(CODE, &[enter, insn, leave].concat()).unwrap();
        self.memory.write(CODE + BACK, back).unwrap();
        self.memory.protect(CODE, 4096, libc::PROT_READ | libc::PROT_EXEC).unwrap();
    }
    fn run(&self, machine: &mut Machine) {
        self.memory.write(DATA, &machine.mem).unwrap();
        let regs =
            Regs { gpr: machine.gpr, eflags: machine.eflags, pad: 0, host_rsp: 0, entry: CODE as u32, selector: 0x23 };
        // SAFETY: the page of the registers is mapped; the code works on the registers and the data, and comes back.
        machine.gpr = unsafe {
            std::ptr::write_volatile(REGS as *mut Regs, regs);
            native32_run();
            let regs = std::ptr::read_volatile(REGS as *const Regs);
            machine.eflags = regs.eflags;
            regs.gpr
        };
        isamorph_host::copy::read(DATA, &mut machine.mem).unwrap();
    }
}

/// What an instruction can read and write.
#[derive(Clone, PartialEq, Eq)]
struct Machine {
    gpr: [u32; 8],
    eflags: u32,
    mem: Vec<u8>,
}

struct Flat(RefCell<Vec<u8>>);

impl Flat {
    fn range(addr: u64, len: usize, write: bool) -> Result<std::ops::Range<usize>, MemFault> {
        let at = (addr as usize).wrapping_sub(DATA);
        match at.checked_add(len) {
            Some(end) if end <= DATA_LEN => Ok(at..end),
            _ => Err(MemFault { addr, write, cause: FaultCause::Unmapped }),
        }
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

/// Interprets the code, whose region this is; false if it does not simply go on behind it.
fn interpret(region: &Region, code: &[u8], machine: &mut Machine) -> bool {
    let guest = X86::i386();
    let table = guest.table();
    let mut cpu = CpuState::new();
    state::reset_user(&mut cpu);
    for (n, value) in machine.gpr.iter().enumerate() {
        cpu.set(table, RegId(n as u16), u64::from(*value));
    }
    state::set_eflags(&mut cpu, machine.eflags);
    let mem = Flat(RefCell::new(std::mem::take(&mut machine.mem)));
    let next = common::PC + code.len() as u64;
    let went_on = loop {
        match run(region, table, guest.helpers(), &mut cpu, &mem) {
            Outcome::Exit { exit, .. } if region.exits[exit].kind == ExitKind::Direct { pc: next } => break true,
            Outcome::Exit { exit, .. } if region.exits[exit].kind == ExitKind::Direct { pc: common::PC } => {}
            _ => break false,
        }
    };
    machine.mem = mem.0.into_inner();
    machine.gpr = std::array::from_fn(|n| cpu.get(table, RegId(n as u16)) as u32);
    machine.eflags = state::eflags(&cpu);
    went_on
}

// ---- random states

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, n: u32) -> u32 {
        ((self.next() >> 32) % u64::from(n)) as u32
    }
    fn value(&mut self) -> u32 {
        const VALUES: [u32; 12] =
            [0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX];
        match self.below(4) {
            0 => VALUES[self.below(12) as usize],
            1 => self.below(300),
            _ => self.next() as u32,
        }
    }
    /// An address with room around it, sometimes at the end of a page.
    fn pointer(&mut self) -> u32 {
        let offset = if self.below(3) == 0 { 0xff0 + self.below(24) } else { 0x800 + self.below(0x1800) };
        DATA as u32 + offset
    }
    fn machine(&mut self, insn: &Instruction) -> Machine {
        let mut mem = vec![0; DATA_LEN];
        // Small values repeat, so that comparisons of strings go on for a while.
        let narrow = self.below(2) == 0;
        for chunk in mem.chunks_exact_mut(8) {
            let v = if narrow { self.next() & self.next() & self.next() & 0x0101_0101_0101_0101 } else { self.next() };
            chunk.copy_from_slice(&v.to_le_bytes());
        }
        let mut gpr = std::array::from_fn(|_| self.value());
        for (n, register) in gpr.iter_mut().enumerate().skip(3) {
            if n == 4 || insn.is_string_instruction() || self.below(4) != 0 {
                *register = self.pointer();
            }
        }
        if matches!(insn.mnemonic(), Mnemonic::Div | Mnemonic::Idiv) {
            gpr[0] &= self.value() | 0xff;
            gpr[2] = if self.below(2) == 0 { self.below(20) } else { (gpr[0] as i32 >> 31) as u32 };
        }
        if insn.is_string_instruction() {
            gpr[1] = self.below(200);
            if self.below(3) == 0 {
                gpr[7] = gpr[6].wrapping_add(self.below(24)).wrapping_sub(12);
            }
        }
        let mut set = |r: Register, v: u32| {
            if r != Register::None {
                gpr[r.full_register32().number()] = v;
            }
        };
        if insn.op_kinds().any(|k| k == OpKind::Memory) && insn.mnemonic() != Mnemonic::Xlatb {
            if matches!(insn.mnemonic(), Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc) {
                set(insn.op1_register(), self.below(0x2000).wrapping_sub(0x1000));
            }
            set(insn.memory_index(), self.below(32));
            set(insn.memory_base(), self.pointer());
        }
        Machine { gpr, eflags: 0x202 | self.next() as u32 & 0xcd5, mem }
    }
}

// ---- forms

/// An encoding and what it decodes to.
struct Form {
    bytes: Vec<u8>,
    insn: Instruction,
}

/// The extensions of the integer set.
const EXTENSIONS: &[CpuidFeature] = &[
    CpuidFeature::INTEL8086,
    CpuidFeature::INTEL8086_ONLY,
    CpuidFeature::INTEL186,
    CpuidFeature::INTEL286,
    CpuidFeature::INTEL386,
    CpuidFeature::INTEL486,
    CpuidFeature::CMOV,
    CpuidFeature::CX8,
    CpuidFeature::MULTIBYTENOP,
];

/// Instructions whose outcome depends on more than the state, or that the host does otherwise on purpose.
fn is_compared(insn: &Instruction) -> bool {
    use Mnemonic as M;
    let environment = matches!(
        insn.mnemonic(),
        M::Sgdt | M::Sidt | M::Sldt | M::Str | M::Smsw | M::Lar | M::Lsl | M::Verr | M::Verw | M::Bswap
    );
    let segment =
        (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Register && insn.op_register(n).is_segment_register());
    let far = matches!(insn.mnemonic(), M::Lds | M::Les | M::Lfs | M::Lgs | M::Lss);
    let flags = matches!(insn.mnemonic(), Mnemonic::Popf | Mnemonic::Popfd);
    let nop = matches!(insn.code(), Code::Reservednop_rm32_r32_0F0D | Code::Reservednop_rm16_r16_0F0D);
    insn.flow_control() == FlowControl::Next && !environment && !segment && !far && !flags && !nop
}

/// Register forms with al/eax/cl/ah …, memory forms with base, base and index, base and displacement.
const MODRM: &[u8] = &[0xc2, 0xc0, 0xc6, 0xc4, 0x01, 0x04, 0x43, 0x83];

/// One form for every code, prefix and kind of ModRM byte; the register operand varies.
fn forms() -> Vec<Form> {
    let mut forms = BTreeMap::new();
    let prefixes: [&[u8]; 6] = [&[], &[0x66], &[0xf3], &[0xf2], &[0xf0], &[0x66, 0xf0]];
    for (map, prefix) in [&[][..], &[0x0f]].into_iter().flat_map(|map| prefixes.map(|prefix| (map, prefix))) {
        let is_prefix =
            |o: &u8| map.is_empty() && matches!(o, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
        for opcode in (0..=255u8).filter(|o| !is_prefix(o)) {
            for (kind, modrm) in
                MODRM.iter().enumerate().flat_map(|(kind, m)| (0..8).map(move |reg| (kind, m | reg << 3)))
            {
                // The SIB byte (base eax, index edx) is an immediate for other ModRM bytes.
                let bytes = [prefix, map, &[opcode, modrm, 0x90, 0x05, 0, 0, 0, 0, 0, 0]].concat();
                let insn = Decoder::with_ip(32, &bytes, common::PC, DecoderOptions::NONE).decode();
                let integer = insn.cpuid_features().iter().all(|f| EXTENSIONS.contains(f));
                if !insn.is_invalid() && integer && is_compared(&insn) {
                    let form = Form { bytes: bytes[..insn.len()].to_vec(), insn };
                    let has_modrm = insn.op_kinds().any(|k| k == OpKind::Memory) || insn.op_count() > 1;
                    let kind = if has_modrm && map.len() + prefix.len() < 2 { kind } else { 0 };
                    forms.entry((insn.code() as u32, prefix, kind)).or_insert(form);
                }
            }
        }
    }
    forms.into_values().collect()
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
    let mut bytes = form.bytes.clone();
    let size = match form.insn.op_kind(form.insn.op_count().saturating_sub(1)) {
        OpKind::Immediate8 | OpKind::Immediate8to16 | OpKind::Immediate8to32 if form.insn.op_count() > 0 => 1,
        OpKind::Immediate16 => 2,
        OpKind::Immediate32 => 4,
        _ => 0,
    };
    let implicit = matches!(form.insn.mnemonic(), Mnemonic::Shl | Mnemonic::Shr | Mnemonic::Sal | Mnemonic::Sar)
        || matches!(form.insn.mnemonic(), Mnemonic::Rol | Mnemonic::Ror | Mnemonic::Rcl | Mnemonic::Rcr);
    let (at, end) = (bytes.len() - size, bytes.len());
    match form.insn.mnemonic() {
        Mnemonic::Enter => bytes[end - 3..].copy_from_slice(&[random.next() as u8, 0, random.next() as u8]),
        Mnemonic::Mov if format!("{:?}", form.insn.code()).contains("moffs") => {
            bytes[end - 4..].copy_from_slice(&random.pointer().to_le_bytes());
        }
        _ if implicit && format!("{:?}", form.insn.code()).ends_with("_1") => {}
        _ => bytes[at..].copy_from_slice(&random.value().to_le_bytes()[..size]),
    }
    let insn = Decoder::with_ip(32, &bytes, common::PC, DecoderOptions::NONE).decode();
    Form { bytes, insn }
}

/// Runs the form on random states both ways; the first difference, or how many states were compared.
fn compare(native: &Native, form: &Form, random: &mut Random, rounds: u32) -> Result<u32, String> {
    let mut compared = 0;
    for _ in 0..rounds {
        let form = with_random_immediate(form, random);
        let start = random.machine(&form.insn);
        let (mut ours, mut theirs) = (start.clone(), start.clone());
        if has_undefined_result(&form.insn, &start) || !interpret(&lift(&form.bytes), &form.bytes, &mut ours) {
            continue;
        }
        native.load(&form.bytes);
        native.run(&mut theirs);
        let flags = (FlagSet::all().bits() | state::eflag::DF) & !undefined(&form.insn);
        let equal = ours.gpr == theirs.gpr && (ours.eflags ^ theirs.eflags) & flags == 0 && ours.mem == theirs.mem;
        if !equal {
            let name = format!("{:?} {:02x?}", form.insn.code(), form.bytes);
            return Err(describe(&name, [&start, &ours, &theirs], flags));
        }
        compared += 1;
    }
    Ok(compared)
}

fn describe(name: &str, [start, ours, theirs]: [&Machine; 3], flags: u32) -> String {
    let row = |name: &str, m: &Machine| format!("  {name} {:08x?} {:03x}\n", m.gpr, m.eflags & flags);
    let mut text = format!("{name}\n");
    text += &[row("from  ", start), row("lifted", ours), row("native", theirs)].concat();
    if let Some(at) = ours.mem.iter().zip(&theirs.mem).position(|(a, b)| a != b) {
        let [a, b] = [ours, theirs].map(|m| m.mem[at..].iter().take(8).copied().collect::<Vec<_>>());
        text += &format!("  memory {:x}: lifted {a:02x?} native {b:02x?}\n", DATA + at);
    }
    text
}

#[test]
fn integer_instructions_match_the_processor() {
    let native = Native::new();
    let mut random = Random(0x1234_5678_9abc_def1);
    let forms = forms();
    assert!(forms.len() > 2000, "only {} forms", forms.len());
    let (mut failed, mut counts) = (Vec::new(), BTreeMap::new());
    for form in &forms {
        match compare(&native, form, &mut random, 8) {
            Ok(n) => *counts.entry(form.insn.code()).or_insert(0) += n,
            Err(text) => failed.push(text),
        }
    }
    assert!(failed.is_empty(), "{} forms differ:\n{}", failed.len(), failed[..failed.len().min(40)].concat());
    let never = counts.iter().filter(|(code, n)| **n == 0 && !only_raises(**code));
    let unexpected: Vec<_> = never.map(|(code, _)| code).collect();
    assert!(unexpected.is_empty(), "never got as far as a comparison: {unexpected:?}");
}

/// Forms that only ever raise an exception in user mode, or hardly ever do not.
fn only_raises(code: Code) -> bool {
    const NAMES: &[&str] = &[
        "In", "Out", "Hlt", "Cli", "Sti", "Lldt", "Ltr", "Lgdt", "Lidt", "Lmsw", "Clts", "Mov_cr", "Mov_dr",
        "Mov_r32_", "Inv", "Wb", "Bound",
    ];
    let name = format!("{code:?}");
    NAMES.iter().any(|n| name.starts_with(n)) && !name.starts_with("Inc")
}

// ---- sequences

/// A straight run of instructions as one region.
fn lift_run(bytes: &[u8], count: u32) -> Region {
    struct Run<'a>(&'a [u8]);
    impl CodeSource for Run<'_> {
        fn fetch(&self, pc: u64, out: &mut [u8]) -> usize {
            let rest = &self.0[((pc - common::PC) as usize).min(self.0.len())..];
            let n = rest.len().min(out.len());
            out[..n].copy_from_slice(&rest[..n]);
            n
        }
    }
    let mut region = Region::default();
    let limits = Limits { max_insns: count, precise: false };
    X86::i386().lift(&mut region, common::PC, 32, &Run(bytes), limits).unwrap();
    assert_eq!(region.insns.len(), count as usize);
    region
}

/// Whether an instruction can be part of a sequence: it works on registers and the stack, cannot fault, does not move
/// the stack elsewhere, and neither reads A nor leaves another flag undefined.
fn is_steady(form: &Form) -> bool {
    use Mnemonic as M;
    let insn = &form.insn;
    let registers = insn.op_kinds().all(|k| k as u32 <= OpKind::Immediate32to64 as u32);
    let moves_stack = (0..insn.op_count())
        .any(|n| insn.op_kind(n) == OpKind::Register && insn.op_register(n).full_register32() == Register::ESP);
    let reads_adjust = matches!(insn.mnemonic(), M::Lahf | M::Pushf | M::Pushfd | M::Daa | M::Das | M::Aaa | M::Aas);
    let faults = matches!(insn.mnemonic(), M::Div | M::Idiv | M::Xlatb | M::Enter | M::Leave);
    let defined = undefined(insn) & !FlagSet::A.bits() == 0;
    registers && !moves_stack && !reads_adjust && !faults && defined && !only_raises(insn.code())
}

#[test]
fn sequences_match_the_processor() {
    const LENGTH: u32 = 10;
    let native = Native::new();
    let mut random = Random(0x0dd0_1234_5678_9abc);
    let steady: Vec<Form> = forms().into_iter().filter(is_steady).collect();
    assert!(steady.len() > 200, "only {} forms", steady.len());
    for _ in 0..4000 {
        let parts: Vec<Form> = (0..LENGTH).map(|_| steady_part(&steady, &mut random)).collect();
        let bytes = parts.iter().flat_map(|f| f.bytes.clone()).collect::<Vec<_>>();
        let start = random.machine(&nop().insn);
        let (mut ours, mut theirs) = (start.clone(), start.clone());
        assert!(interpret(&lift_run(&bytes, LENGTH), &bytes, &mut ours));
        native.load(&bytes);
        native.run(&mut theirs);
        let flags = (FlagSet::all().bits() | state::eflag::DF) & !FlagSet::A.bits();
        let equal = ours.gpr == theirs.gpr && (ours.eflags ^ theirs.eflags) & flags == 0 && ours.mem == theirs.mem;
        let names: Vec<_> = parts.iter().map(|f| f.insn.code()).collect();
        assert!(equal, "{}", describe(&format!("{names:?} {bytes:02x?}"), [&start, &ours, &theirs], flags));
    }
}

/// A steady form with a random immediate, if it is still one with that.
fn steady_part(steady: &[Form], random: &mut Random) -> Form {
    let form = with_random_immediate(&steady[random.below(steady.len() as u32) as usize], random);
    if is_steady(&form) { form } else { nop() }
}

fn nop() -> Form {
    let bytes = vec![0x90];
    let insn = Decoder::with_ip(32, &bytes, common::PC, DecoderOptions::NONE).decode();
    Form { bytes, insn }
}
