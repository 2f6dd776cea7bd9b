//! Instructions in lockstep with `qemu-aarch64`: the same words from the same states there and in the interpreter.

#![allow(dead_code)]

mod jit;

use isamorph_a64::state::fpcr_bit::FZ;
use isamorph_a64::state::fpsr_bit::{IDC, IOC, IXC, OFC, UFC};
use isamorph_a64::{A64, coverage, state};
use isamorph_guest::{CodeSource, Guest, Limits};
use isamorph_interp::{Interpreter, Outcome};
use isamorph_ir::{CpuState, ExitKind, FaultCause, MemFault, Memory, Region, Trap};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub const CODE: u64 = 0x5000_0000;
pub const CODE_BYTES: u64 = 0x10000;
pub const DATA: u64 = 0x4000_0000;
pub const PAGE: usize = 4096;
pub const WINDOW: usize = 1024;
pub const WORDS: usize = 8;
/// Everything but what is not lifted and makes a difference; vectors are then all in one part of a signal's frame.
pub const MAX: &str = "max,sve=off,sme=off,pauth=off";
/// A processor without FEAT_LSE2: ordered accesses have to be aligned.
pub const ALIGNING: &str = "neoverse-n1";
const BRK: u32 = 0xd420_0000;

pub const SIGILL: u64 = 4;
pub const SIGTRAP: u64 = 5;
pub const SIGBUS: u64 = 7;
pub const SIGSEGV: u64 = 11;

/// A state, before or after; `struct record` of the harness.
#[derive(Clone, PartialEq)]
pub struct Record {
    /// X0 … X30, SP.
    pub x: [u64; 32],
    pub pc: u64,
    pub nzcv: u32,
    pub fpcr: u32,
    pub fpsr: u32,
    pub signal: u64,
    pub address: u64,
    pub v: [u128; 32],
    pub code: [u32; WORDS],
    pub data: [u8; WINDOW],
}

const RECORD_BYTES: usize = 38 * 8 + 512 + 4 * WORDS + WINDOW;

impl Record {
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(RECORD_BYTES);
        self.x.iter().for_each(|x| out.extend(x.to_le_bytes()));
        let rest = [self.pc, self.nzcv.into(), self.fpcr.into(), self.fpsr.into(), self.signal, self.address];
        rest.iter().for_each(|x| out.extend(x.to_le_bytes()));
        self.v.iter().for_each(|v| out.extend(v.to_le_bytes()));
        self.code.iter().for_each(|w| out.extend(w.to_le_bytes()));
        out.extend(self.data);
        out
    }
    fn from_bytes(raw: &[u8]) -> Self {
        let word = |i: usize| u64::from_le_bytes(raw[8 * i..][..8].try_into().expect("eight bytes"));
        let vector = |i: usize| u128::from_le_bytes(raw[304 + 16 * i..][..16].try_into().expect("sixteen bytes"));
        let code = |i: usize| u32::from_le_bytes(raw[816 + 4 * i..][..4].try_into().expect("four bytes"));
        Record {
            x: std::array::from_fn(word),
            pc: word(32),
            nzcv: word(33) as u32,
            fpcr: word(34) as u32,
            fpsr: word(35) as u32,
            signal: word(36),
            address: word(37),
            v: std::array::from_fn(vector),
            code: std::array::from_fn(code),
            data: raw[816 + 4 * WORDS..][..WINDOW].try_into().expect("the window"),
        }
    }
}

/// The harness, compiled; nothing if there is no compiler.
fn build() -> Option<PathBuf> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lockstep/harness.c");
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("a64-harness-{}", std::process::id()));
    let compiled = Command::new("aarch64-linux-gnu-gcc")
        // Where random addresses do not lead.
        .args(["-O1", "-static", "-Wl,-Ttext-segment=0x654321000000", "-o"])
        .arg(&program)
        .arg(source)
        .status();
    compiled.is_ok_and(|status| status.success()).then_some(program)
}

/// What an emulator makes of the cases, in order; nothing if it or the compiler is not installed.
fn run(mut emulator: Command, cases: &[Record]) -> Option<Vec<Record>> {
    let program = build();
    let child = program
        .as_ref()
        .and_then(|program| emulator.arg(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok());
    let Some(mut child) = child else {
        eprintln!("skipped: needs aarch64-linux-gnu-gcc and {}", emulator.get_program().display());
        return None;
    };
    let mut input = child.stdin.take().expect("piped");
    let mut output = child.stdout.take().expect("piped");
    let bytes: Vec<u8> = cases.iter().flat_map(Record::to_bytes).collect();
    let writer = std::thread::spawn(move || _ = input.write_all(&bytes));
    let mut raw = Vec::new();
    output.read_to_end(&mut raw).expect("the harness answers");
    writer.join().expect("the writer ends");
    let status = child.wait().expect("the harness ends");
    _ = program.map(std::fs::remove_file);
    let records: Vec<Record> = raw.chunks_exact(RECORD_BYTES).map(Record::from_bytes).collect();
    let next = cases.get(records.len()).map(|case| case.code);
    assert!(status.success() && next.is_none(), "{status}, {} of {}: {next:x?}", records.len(), cases.len());
    Some(records)
}

/// What `qemu-aarch64` makes of the cases.
pub fn reference(cpu: &str, cases: &[Record]) -> Option<Vec<Record>> {
    let mut emulator = Command::new("qemu-aarch64");
    emulator.args(["-cpu", cpu]);
    run(emulator, cases)
}

/// What is to agree with that, by what it is called: the interpreter and compiled code, or the emulator that
/// `ISAMORPH_LOCKSTEP` names.
fn candidates(cases: &[Record]) -> Vec<(&'static str, Vec<Record>)> {
    if let Some(program) = std::env::var_os("ISAMORPH_LOCKSTEP") {
        return run(Command::new(program), cases).map(|records| ("emulated", records)).into_iter().collect();
    }
    let machine = jit::Machine::new();
    let compiled = cases.iter().map(|case| machine.run(case)).collect();
    machine.check();
    vec![("interpreted", cases.iter().map(interpret).collect()), ("compiled", compiled)]
}

/// The data page, which can be written, and the code.
struct Page<'a>(RefCell<[u8; PAGE]>, Code<'a>);

/// The address without the tag in its top byte.
fn untagged(addr: u64) -> u64 {
    ((addr << 8) as i64 >> 8) as u64
}

impl Page<'_> {
    fn place(&self, addr: u64, bytes: usize, write: bool) -> Result<usize, MemFault> {
        let (tagged, addr) = (addr, untagged(addr));
        let end = DATA + PAGE as u64;
        let bad = |addr| Err(MemFault { addr, write, cause: FaultCause::Unmapped });
        if !(DATA..end).contains(&addr) {
            return bad(tagged);
        }
        if addr + bytes as u64 > end { bad(end) } else { Ok((addr - DATA) as usize) }
    }
}

impl Memory for Page<'_> {
    fn read(&self, addr: u64, out: &mut [u8]) -> Result<(), MemFault> {
        if (CODE..CODE + CODE_BYTES).contains(&untagged(addr)) {
            let n = self.1.fetch(untagged(addr), out);
            let missing = MemFault { addr: addr + n as u64, write: false, cause: FaultCause::Unmapped };
            return if n < out.len() { Err(missing) } else { Ok(()) };
        }
        let at = self.place(addr, out.len(), false)?;
        out.copy_from_slice(&self.0.borrow()[at..at + out.len()]);
        Ok(())
    }
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), MemFault> {
        let at = self.place(addr, data.len(), true)?;
        self.0.borrow_mut()[at..at + data.len()].copy_from_slice(data);
        Ok(())
    }
    fn update(&self, addr: u64, bytes: u32, f: &mut dyn FnMut(u128) -> u128) -> Result<u128, MemFault> {
        let at = self.place(addr, bytes as usize, true)?;
        let mut page = self.0.borrow_mut();
        let mut raw = [0; 16];
        raw[..bytes as usize].copy_from_slice(&page[at..at + bytes as usize]);
        let old = u128::from_le_bytes(raw);
        let new = f(old).to_le_bytes();
        page[at..at + bytes as usize].copy_from_slice(&new[..bytes as usize]);
        Ok(old)
    }
}

/// The words of a case, with breakpoints all around.
struct Code<'a>(&'a Record);

impl CodeSource for Code<'_> {
    fn fetch(&self, pc: u64, out: &mut [u8]) -> usize {
        for (i, byte) in out.iter_mut().enumerate() {
            let at = pc + i as u64;
            if !(CODE..CODE + CODE_BYTES).contains(&at) {
                return i;
            }
            let index = (at.wrapping_sub(self.0.pc) / 4) as usize;
            let word = self.0.code.get(index).copied().unwrap_or(BRK);
            *byte = word.to_le_bytes()[(at % 4) as usize];
        }
        out.len()
    }
}

fn load_state(case: &Record) -> Box<CpuState> {
    let mut cpu = CpuState::new();
    state::reset_user(&mut cpu);
    for (n, value) in case.x.iter().enumerate() {
        cpu.set(&state::A64, isamorph_ir::RegId(n as u16), *value);
    }
    for (n, value) in case.v.iter().enumerate() {
        cpu.set_wide(&state::A64, state::v(n as u32), *value);
    }
    state::set_nzcv(&mut cpu, case.nzcv);
    state::set_fpcr(&mut cpu, case.fpcr);
    state::set_fpsr(&mut cpu, case.fpsr);
    cpu.set_pc(case.pc);
    cpu
}

fn store_state(cpu: &CpuState, page: &Page<'_>, code: [u32; WORDS], signal: u64, address: u64) -> Record {
    let page = page.0.borrow();
    Record {
        x: std::array::from_fn(|n| cpu.get(&state::A64, isamorph_ir::RegId(n as u16))),
        pc: cpu.pc(),
        nzcv: state::nzcv(cpu),
        fpcr: state::fpcr(cpu),
        fpsr: state::fpsr(cpu),
        signal,
        address,
        v: std::array::from_fn(|n| cpu.get_wide(&state::A64, state::v(n as u32))),
        code,
        data: page[PAGE - WINDOW..].try_into().expect("the window"),
    }
}

/// What a trap is to a program: signal and address.
fn signal_of(trap: Trap) -> (u64, u64) {
    match trap {
        Trap::Memory(fault) if fault.cause == FaultCause::Misaligned => (SIGBUS, fault.addr),
        Trap::Memory(fault) => (SIGSEGV, fault.addr),
        other => panic!("unexpected trap {other:?}"),
    }
}

/// Runs a case in the interpreter, up to a signal.
pub fn interpret(case: &Record) -> Record {
    let guest = A64::new();
    let mut cpu = load_state(case);
    let mut bytes = [0; PAGE];
    bytes[PAGE - WINDOW..].copy_from_slice(&case.data);
    let page = Page(RefCell::new(bytes), Code(case));
    let mut region = Region::default();
    let mut interpreter = Interpreter::default();
    for _ in 0..64 {
        let (pc, mode) = (cpu.pc(), guest.mode(&cpu));
        let limits = Limits { max_insns: 4, precise: true };
        let done = |cpu: &CpuState, signal, address| store_state(cpu, &page, case.code, signal, address);
        if guest.lift(&mut region, pc, mode, &Code(case), limits).is_err() {
            return done(&cpu, SIGSEGV, pc);
        }
        if let Err(errors) = isamorph_ir::verify::verify(&region, &state::A64, guest.helpers()) {
            panic!("{:x?}: {errors:?}", case.code);
        }
        match interpreter.run(&region, guest.table(), guest.helpers(), &mut cpu, &page) {
            Outcome::Trap { trap, insn } => {
                cpu.set_pc(region.insns[insn].pc);
                let (signal, address) = signal_of(trap);
                return done(&cpu, signal, address);
            }
            Outcome::Exit { exit, target } => match region.exits[exit].kind {
                ExitKind::Direct { pc } | ExitKind::Call { pc, .. } | ExitKind::Resync { next: pc } => cpu.set_pc(pc),
                ExitKind::Exception { pc, code, .. } => {
                    cpu.set_pc(pc);
                    let signal = match code {
                        isamorph_a64::exception::BREAKPOINT => SIGTRAP,
                        isamorph_a64::exception::UNDEFINED => SIGILL,
                        isamorph_a64::exception::PC_ALIGNMENT => SIGBUS,
                        other => panic!("exception {other:#x}"),
                    };
                    return done(&cpu, signal, pc);
                }
                _ => cpu.set_pc(target.expect("a computed exit")),
            },
        }
    }
    panic!("{:x?} does not end", case.code);
}

/// What differs between two states, in words.
pub fn differences(wanted: &Record, got: &Record) -> Vec<String> {
    let mut out = Vec::new();
    let mut note = |name: String, wanted: u128, got: u128| {
        if wanted != got {
            out.push(format!("{name}: {got:#x}, not {wanted:#x}"));
        }
    };
    // Where a branch to a misaligned address leads to no code either, the emulator notices that first.
    if got.pc.is_multiple_of(4) || [wanted.signal, got.signal] != [SIGSEGV, SIGBUS] {
        note("signal".into(), wanted.signal.into(), got.signal.into());
    }
    note("pc".into(), wanted.pc.into(), got.pc.into());
    // An address that is none has none in the signal.
    if wanted.signal == SIGSEGV && wanted.address != 0 {
        let untagged = |address: u64| ((address << 8) as i64 >> 8) as u64;
        note("fault address".into(), untagged(wanted.address).into(), untagged(got.address).into());
    }
    (0..32).for_each(|n| note(format!("x{n}"), wanted.x[n].into(), got.x[n].into()));
    // Vector registers of which a part can be accessed: the manual leaves open how far the access gets.
    // (Cases start at multiples of 0x40.)
    let at_fault = wanted.code.get((wanted.pc % 0x40 / 4) as usize).copied().unwrap_or(BRK);
    let is_partial = wanted.signal == SIGSEGV && at_fault & 0x0e00_0000 == 0x0c00_0000;
    if !is_partial {
        (0..32).for_each(|n| note(format!("v{n}"), wanted.v[n], got.v[n]));
    }
    // Compiled code need not have flags that are overwritten after a fault.
    if wanted.signal == SIGTRAP || std::env::var_os("ISAMORPH_LOCKSTEP").is_none() {
        note("nzcv".into(), wanted.nzcv.into(), got.nzcv.into());
    }
    note("fpcr".into(), wanted.fpcr.into(), got.fpcr.into());
    // The host does not tell that a denormal operand was flushed, calls a flushed result inexact, and what is not
    // valid may have overflowed on the way.
    let both = wanted.fpsr & got.fpsr;
    let mut ignored = IDC;
    ignored |= if wanted.fpcr & FZ != 0 && both & UFC != 0 { IXC } else { 0 };
    ignored |= if both & IOC != 0 { OFC | IXC } else { 0 };
    let fpsr = |record: &Record| u128::from(record.fpsr & !ignored);
    note("fpsr".into(), fpsr(wanted), fpsr(got));
    if is_partial {
        return out;
    }
    if let Some(at) = (0..WINDOW).find(|i| wanted.data[*i] != got.data[*i]) {
        out.push(format!("data[{at:#x}]: {:#x}, not {:#x}", got.data[at], wanted.data[at]));
    }
    out
}

/// A generator of random numbers (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    /// A number that is likely to be special.
    pub fn number(&mut self) -> u64 {
        let bits = self.next();
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << (bits & 63),
            3 => (1u64 << (bits & 63)).wrapping_neg(),
            4 => bits & 0xff,
            5 => u64::from(bits as u32),
            _ => bits,
        }
    }
    /// An address in the data window, mostly aligned.
    pub fn address(&mut self) -> u64 {
        let at = DATA + (PAGE - WINDOW) as u64 + self.below(WINDOW as u64);
        if self.below(4) == 0 { at } else { at & !15 }
    }
    /// A vector whose lanes are likely to be special floating-point numbers.
    pub fn vector(&mut self) -> u128 {
        const SINGLES: [u32; 12] = [
            0,
            0x8000_0000,
            0x7f80_0000,
            0xff80_0000,
            0x7fc0_0001,
            0xffc1_2345,
            0x7f80_0001,
            0xff8a_bcde,
            1,
            0x807f_ffff,
            0x3f80_0000,
            0x7f7f_ffff,
        ];
        const DOUBLES: [u64; 12] = [
            0,
            1 << 63,
            0x7ff0 << 48,
            0xfff0 << 48,
            0x7ff8_0000_0000_0001,
            0xfff8_1234_5678_9abc,
            0x7ff0_0000_0000_0001,
            0xfff4_0000_0000_0000,
            1,
            0x800f_ffff_ffff_ffff,
            0x3ff0 << 48,
            0x7fef_ffff_ffff_ffff,
        ];
        let bits = u128::from(self.next()) << 64 | u128::from(self.next());
        let single = |r: &mut Self| match r.below(3) {
            0 => SINGLES[r.below(12) as usize],
            1 => ((r.next() as i32 >> 16) as f32 / 16.0).to_bits(),
            _ => r.next() as u32,
        };
        let double = |r: &mut Self| match r.below(3) {
            0 => DOUBLES[r.below(12) as usize],
            1 => ((r.next() as i64 >> 44) as f64 / 16.0).to_bits(),
            _ => r.next(),
        };
        match self.below(4) {
            0 => bits,
            1 => (0..4).fold(0, |v, _| v << 32 | u128::from(single(self))),
            2 => (0..2).fold(0, |v, _| v << 64 | u128::from(double(self))),
            _ => u128::from(self.number()) << 64 | u128::from(self.number()),
        }
    }
}

/// A random state with that code. `fp` also varies FPCR.
pub fn random_case(r: &mut Random, code: &[u32], fp: bool) -> Record {
    let mut words = [BRK; WORDS];
    words[..code.len()].copy_from_slice(code);
    let mut x: [u64; 32] = std::array::from_fn(|_| if r.below(3) == 0 { r.number() } else { r.address() });
    x[31] = r.address();
    // Address arithmetic of a memory access needs small offsets, too.
    (0..3).for_each(|_| x[r.below(31) as usize] = r.below(64));
    let fpcr = if fp && r.below(2) == 0 {
        [19, 22, 23, 24, 25, 26].iter().fold(0, |bits, at| bits | (r.below(2) as u32) << at)
    } else {
        0
    };
    let mut data = [0; WINDOW];
    data.chunks_exact_mut(16).for_each(|chunk| chunk.copy_from_slice(&r.vector().to_le_bytes()));
    Record {
        x,
        pc: CODE + 0x40 * r.below(CODE_BYTES / 0x40 - 1),
        nzcv: (r.below(16) as u32) << 28,
        fpcr,
        fpsr: 0,
        signal: 0,
        address: 0,
        v: std::array::from_fn(|_| r.vector()),
        code: words,
        data,
    }
}

/// How many cases for each row: `ISAMORPH_RANDOM_INSNS`, or few.
pub fn rounds() -> u64 {
    std::env::var("ISAMORPH_RANDOM_INSNS").ok().and_then(|n| n.parse().ok()).unwrap_or(24)
}

/// Compares random instructions of every implemented row that `wanted` admits; the words that `usable` refuses are left
/// out. Panics with what differs.
pub fn compare_rows(
    wanted: impl Fn(&coverage::Row) -> bool,
    usable: impl Fn(&coverage::Row, u32) -> bool,
    cpu: &str,
    fp: bool,
) {
    let mut r = Random(std::env::var("ISAMORPH_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1));
    let mut cases = Vec::new();
    for row in coverage::rows().iter().filter(|row| row.implemented() && wanted(row)) {
        for _ in 0..rounds() {
            let Some(word) = row.random(|| r.next() as u32) else { panic!("no word of `{}`", row.name) };
            if usable(row, word) && coverage::row_of(word).is_some_and(|found| found.name == row.name) {
                cases.push((row.name, random_case(&mut r, &[word], fp)));
            }
        }
    }
    compare(cpu, &cases);
}

fn disassemble(pc: u64, word: u32) -> String {
    let mut text = String::new();
    A64::new().disassemble(pc, 0, &word.to_le_bytes(), &mut text);
    format!("{word:#010x} {}", text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Compares cases, each with a name.
pub fn compare(cpu: &str, cases: &[(&str, Record)]) {
    let records: Vec<Record> = cases.iter().map(|(_, case)| case.clone()).collect();
    let Some(reference) = reference(cpu, &records) else { return };
    let candidates = candidates(&records);
    let mut wrong = std::collections::BTreeMap::<String, (usize, String)>::new();
    let expected = cases.iter().zip(&reference);
    let ways = candidates.iter().flat_map(|(way, records)| expected.clone().zip(records).map(move |all| (*way, all)));
    for (way, (((name, case), wanted), got)) in ways {
        // With FEAT_LSE2 small accesses may be misaligned within 16 bytes; here ordered ones may not, atomic ones
        // always.
        if cpu == MAX && got.pc % 4 == 0 && [got.signal, wanted.signal].contains(&SIGBUS) {
            continue;
        }
        let found = differences(wanted, got);
        if !found.is_empty() {
            let entry = wrong.entry(format!("{name} {way}")).or_insert_with(|| {
                let words = case.code.iter().take_while(|word| **word != BRK);
                let text: Vec<String> = words.map(|word| disassemble(case.pc, *word)).collect();
                (0, format!("{}, FPCR {:#x}: {}", text.join("; "), case.fpcr, found.join("; ")))
            });
            entry.0 += 1;
        }
    }
    let list: Vec<String> = wrong.iter().map(|(name, (n, text))| format!("{name} ({n}×): {text}")).collect();
    assert!(
        list.is_empty(),
        "{} of {} cases, {} rows differ:\n{}",
        list.len(),
        cases.len(),
        list.len(),
        list.join("\n")
    );
    eprintln!("{} cases agree", cases.len());
}
