//! Single instructions, executed here and by `qemu-arm`, compared in all that they leave behind.

use isamorph_arm::{Arm, Cpu, exception, state};
use isamorph_guest::{CodeSource, Guest, Limits};
use isamorph_interp::Outcome;
use isamorph_ir::{CpuState, ExitKind, MemFault, Memory, Region, verify};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Where the code is.
pub const CODE: u32 = 0x1000_0000;
/// Where the memory is that it may access.
pub const DATA: u32 = 0x2000_0000;
/// How much of it there is.
pub const DATA_BYTES: usize = 0x4000;
const CHANGES: usize = 64;
const SIGILL: u32 = 4;
const SIGBUS: u32 = 7;

/// A register state, as the harness has it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Registers {
    pub r: [u32; 15],
    pub cpsr: u32,
    pub fpscr: u32,
    pub d: [u64; 32],
}

impl Registers {
    const BYTES: usize = 328;
    fn encode(&self, out: &mut Vec<u8>) {
        let words = self.r.iter().chain([&self.cpsr, &self.fpscr, &0]);
        words.for_each(|w| out.extend(w.to_le_bytes()));
        self.d.iter().for_each(|d| out.extend(d.to_le_bytes()));
    }
    fn decode(raw: &[u8]) -> Self {
        let word = |i: usize| u32::from_le_bytes(raw[4 * i..4 * i + 4].try_into().expect("four bytes"));
        let double = |i: usize| u64::from_le_bytes(raw[72 + 8 * i..80 + 8 * i].try_into().expect("eight bytes"));
        Registers { r: std::array::from_fn(word), cpsr: word(15), fpscr: word(16), d: std::array::from_fn(double) }
    }
}

/// What to execute.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub thumb: bool,
    pub code: Vec<u8>,
    pub insns: u32,
    pub before: Registers,
}

/// What it left behind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct After {
    /// Nothing after an undefined instruction.
    pub registers: Option<Registers>,
    /// Words of memory that changed.
    pub changes: Vec<(u32, u32)>,
}

/// What memory holds at first.
fn pattern(offset: u32) -> u32 {
    (offset + DATA).wrapping_mul(2_654_435_761)
}

struct Data(RefCell<Vec<u8>>);

impl Data {
    fn new() -> Self {
        Data(RefCell::new((0..DATA_BYTES as u32 / 4).flat_map(|i| pattern(4 * i).to_le_bytes()).collect()))
    }
    fn range(&self, addr: u64, len: usize, write: bool) -> Result<std::ops::Range<usize>, MemFault> {
        let at = addr.wrapping_sub(u64::from(DATA)) as usize;
        let end = at.checked_add(len).filter(|end| *end <= DATA_BYTES);
        end.map(|end| at..end).ok_or(MemFault { addr, write, cause: isamorph_ir::FaultCause::Unmapped })
    }
    fn changes(&self) -> Vec<(u32, u32)> {
        let bytes = self.0.borrow();
        let words = bytes.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]));
        words.zip(0..).map(|(w, i)| (4 * i, w)).filter(|(at, w)| *w != pattern(*at)).take(CHANGES).collect()
    }
}

impl Memory for Data {
    fn read(&self, addr: u64, out: &mut [u8]) -> Result<(), MemFault> {
        let range = self.range(addr, out.len(), false)?;
        out.copy_from_slice(&self.0.borrow()[range]);
        Ok(())
    }
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), MemFault> {
        let range = self.range(addr, data.len(), true)?;
        self.0.borrow_mut()[range].copy_from_slice(data);
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

struct Code<'a>(&'a [u8]);

impl CodeSource for Code<'_> {
    fn fetch(&self, pc: u64, out: &mut [u8]) -> usize {
        let rest = self.0.get((pc - u64::from(CODE)) as usize..).unwrap_or(&[]);
        let n = rest.len().min(out.len());
        out[..n].copy_from_slice(&rest[..n]);
        n
    }
}

/// Lifts the code of a case from where the vCPU is, checked.
fn lift(guest: &Arm, case: &Case, cpu: &CpuState) -> Region {
    let mut region = Region::default();
    let limits = Limits { max_insns: case.insns, precise: true };
    let lifted = guest.lift(&mut region, cpu.pc(), guest.mode(cpu), &Code(&case.code), limits);
    lifted.expect("the code can be fetched");
    let checked = verify::verify(&region, guest.table(), guest.helpers());
    if let Err(error) = checked.and_then(|()| verify::check_write_order(&region)) {
        let text = isamorph_ir::text::print(&region, guest.table(), guest.helpers());
        panic!("{} {:02x?}: {error}\n{text}", case.name, case.code);
    }
    region
}

/// Executes a case in the interpreter; nothing if it ends elsewhere than behind the code or in an undefined
/// instruction.
pub fn interpret(guest: &Arm, case: &Case) -> Option<After> {
    let mut cpu = CpuState::new();
    state::reset_user(&mut cpu);
    cpu.set_pc(u64::from(CODE) | u64::from(case.thumb));
    load(&mut cpu, &case.before, case.thumb);
    let data = Data::new();
    let end = (u64::from(CODE) + case.code.len() as u64) | u64::from(case.thumb);
    while cpu.pc() != end {
        let region = lift(guest, case, &cpu);
        match isamorph_interp::run(&region, guest.table(), guest.helpers(), &mut cpu, &data) {
            Outcome::Exit { exit, .. } => match region.exits[exit].kind {
                ExitKind::Direct { pc } if pc == end => cpu.set_pc(pc),
                ExitKind::Resync { next } => cpu.set_pc(next),
                ExitKind::Exception { code: exception::UNDEFINED, .. } => {
                    return Some(After { registers: None, changes: data.changes() });
                }
                _ => return None,
            },
            Outcome::Trap { .. } => return None,
        }
    }
    Some(After { registers: Some(store(&cpu)), changes: data.changes() })
}

fn load(cpu: &mut CpuState, from: &Registers, thumb: bool) {
    (0..15).for_each(|i| state::write(cpu, i, from.r[i as usize]));
    (0..32).for_each(|i| state::write_d(cpu, i, from.d[i as usize]));
    state::set_cpsr(cpu, from.cpsr & !0x20 | u32::from(thumb) << 5);
    state::set_fpscr(cpu, from.fpscr);
}

/// The bits of CPSR that are compared: N Z C V Q GE.
const CPSR: u32 = 0xf80f_0000;

fn store(cpu: &CpuState) -> Registers {
    Registers {
        r: std::array::from_fn(|i| state::read(cpu, i as u32)),
        cpsr: state::cpsr(cpu) & CPSR,
        fpscr: state::fpscr(cpu),
        d: std::array::from_fn(|i| state::read_d(cpu, i as u32)),
    }
}

/// The harness, built once; nothing, said aloud, if there is no compiler or no `qemu-arm`.
pub fn harness() -> Option<&'static PathBuf> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(build).as_ref()
}

fn build() -> Option<PathBuf> {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("arm-lockstep-{}", std::process::id()));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lockstep/harness.c");
    let mut compiler = Command::new("arm-linux-gnueabihf-gcc");
    let built = compiler.args(["-O1", "-static", "-marm", "-o"]).arg(&out).arg(source).status();
    let has_qemu = Command::new("qemu-arm").arg("--version").stdout(Stdio::null()).status().is_ok();
    match built {
        Ok(status) if has_qemu => {
            assert!(status.success(), "the harness does not compile");
            Some(out)
        }
        _ => {
            eprintln!("skipped: needs arm-linux-gnueabihf-gcc and qemu-arm");
            None
        }
    }
}

/// Executes cases under `qemu-arm`; nothing for an alignment fault, which Linux would have repaired.
pub fn emulate(harness: &Path, cases: &[Case]) -> Vec<Option<After>> {
    let mut child = Command::new("qemu-arm")
        .args(["-cpu", "max"])
        .arg(harness)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("qemu-arm starts");
    let mut input = Vec::new();
    for case in cases {
        case.before.encode(&mut input);
        input.extend(u32::from(case.thumb).to_le_bytes());
        input.extend((case.code.len() as u32).to_le_bytes());
        let mut code = case.code.clone();
        code.resize(16, 0);
        input.extend(code);
    }
    let mut pipe = child.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(move || pipe.write_all(&input));
    let mut output = child.stdout.take().expect("a pipe");
    let results = cases.iter().map(|case| read_result(&mut output, case)).collect();
    writer.join().expect("the writer ends").expect("everything was written");
    child.wait().expect("qemu-arm ends");
    results
}

fn read_result(output: &mut impl Read, case: &Case) -> Option<After> {
    let mut raw = vec![0; Registers::BYTES + 8 + 8 * CHANGES];
    output.read_exact(&mut raw).unwrap_or_else(|e| panic!("{} {:02x?}: {e}", case.name, case.code));
    let word = |i: usize| u32::from_le_bytes(raw[Registers::BYTES + 4 * i..][..4].try_into().expect("four bytes"));
    let mut registers = Registers::decode(&raw);
    registers.cpsr &= CPSR;
    let signal = word(0);
    if signal == SIGBUS {
        return None;
    }
    assert!(signal == 0 || signal == SIGILL, "{} {:02x?}: signal {signal}\n{:x?}", case.name, case.code, case.before);
    let changes = (0..word(1) as usize).map(|i| (word(2 + i), word(2 + CHANGES + i))).collect();
    Some(After { registers: (signal == 0).then_some(registers), changes })
}

/// The newest processor.
pub fn guest() -> Arm {
    Arm::new(Cpu::Max)
}
