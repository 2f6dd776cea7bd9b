//! A made-up guest with eight-byte instructions, small enough to read: opcode, two registers, a free byte, and a 32-bit
//! immediate.
#![allow(dead_code)] // not every test uses every part

use isamorph_accel::{Accel, Stop, Vcpu};
use isamorph_engine::{Engine, EngineConfig, Kind};
use isamorph_guest::{CodeSource, FetchFault, Guest, Limits};
use isamorph_ir::testing::{HELPERS, TABLE};
use isamorph_ir::{
    Addr, Builder, Cond, CpuState, ExitKind, Helper, HelperId, Lane, MemAttr, Memory, Op, RegId, RegTable, Region,
    Type, X87Op,
};
use isamorph_ram::{Config, MapRequest, UserSpace};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Size of an instruction.
pub const SIZE: u64 = 8;
const FLAGS: RegId = RegId(8);
/// The first vector register.
pub const VECTOR0: RegId = RegId(14);

/// An instruction.
#[derive(Clone, Copy, Debug)]
pub enum I {
    /// `r[a] = imm`
    Mov(u8, u32),
    /// `r[a] += r[b] + imm`, which sets the flags.
    Add(u8, u8, u32),
    /// `r[a] += imm`, which sets the flags.
    Plus(u8, u32),
    /// `r[a] = mem32[r[b] + imm]`
    Load(u8, u8, u32),
    /// `mem32[r[b] + imm] = r[a]`
    Store(u8, u8, u32),
    /// `pc = imm`
    Jmp(u32),
    /// `if Z = 0 { pc = imm }`
    Jnz(u32),
    /// `r7 = return address; pc = imm`
    Call(u32),
    /// `pc = r7`
    Ret,
    /// `pc = r[a]`
    JmpR(u8),
    /// System call number `imm`.
    Sys(u32),
    /// `r[a] /= r[b]`
    Div(u8, u8),
    /// `r[a] = helper[imm](r[a], r[b])`
    Helper(u8, u8, u32),
    /// Stops the processor.
    Halt,
    /// Pushes 1.0 onto the register stack.
    One,
    /// Adds the two topmost numbers of the register stack.
    AddP,
    /// Pops a number to `mem32[r[b] + imm]`.
    Pop(u8, u32),
    /// `x[a] += x[b]`, in 32-bit lanes.
    VAdd(u8, u8),
}

impl I {
    fn fields(self) -> (u8, u8, u8, u32) {
        match self {
            I::Mov(a, imm) => (0, a, 0, imm),
            I::Add(a, b, imm) => (1, a, b, imm),
            I::Plus(a, imm) => (2, a, 0, imm),
            I::Load(a, b, imm) => (3, a, b, imm),
            I::Store(a, b, imm) => (4, a, b, imm),
            I::Jmp(imm) => (5, 0, 0, imm),
            I::Jnz(imm) => (6, 0, 0, imm),
            I::Call(imm) => (7, 0, 0, imm),
            I::Ret => (8, 0, 0, 0),
            I::JmpR(a) => (9, a, 0, 0),
            I::Sys(imm) => (10, 0, 0, imm),
            I::Div(a, b) => (11, a, b, 0),
            I::Helper(a, b, imm) => (12, a, b, imm),
            I::Halt => (13, 0, 0, 0),
            I::One => (14, 0, 0, 0),
            I::AddP => (15, 0, 0, 0),
            I::Pop(b, imm) => (16, 0, b, imm),
            I::VAdd(a, b) => (17, a, b, 0),
        }
    }
    /// The encoding.
    pub fn bytes(self) -> [u8; SIZE as usize] {
        let (op, a, b, imm) = self.fields();
        let i = imm.to_le_bytes();
        [op, a, b, 0, i[0], i[1], i[2], i[3]]
    }
}

/// Encodes a program.
pub fn code(program: &[I]) -> Vec<u8> {
    program.iter().flat_map(|i| i.bytes()).collect()
}

/// The made-up guest.
pub struct Toy;

/// Code of the exception of an unknown opcode.
pub const UNDEFINED: u32 = 6;

impl Toy {
    /// Lifts one instruction; tells whether it ended the region.
    fn lift_one(b: &mut Builder<'_>, pc: u64, raw: [u8; SIZE as usize]) -> bool {
        let imm = u32::from_le_bytes([raw[4], raw[5], raw[6], raw[7]]);
        let (ra, rb) = (RegId(u16::from(raw[1] & 7)), RegId(u16::from(raw[2] & 7)));
        let next = pc + SIZE;
        let word = MemAttr::new(4);
        let exit = |b: &mut Builder<'_>, kind| {
            b.exit(kind);
            true
        };
        match raw[0] {
            0 => {
                let v = b.iconst(Type::I32, imm.into());
                b.set(ra, v);
            }
            1 | 2 => {
                let mut v = b.iconst(Type::I32, imm.into());
                if raw[0] == 1 {
                    let other = b.get(rb);
                    v = b.bin(Op::Add, other, v);
                }
                let old = b.get(ra);
                let sum = b.bin(Op::Add, old, v);
                let flags = b.flags(sum);
                b.set(ra, sum);
                b.set(FLAGS, flags);
            }
            3 | 4 => {
                let base = b.get(rb);
                let addr = b.addr(Addr::offset(base, imm as i32));
                if raw[0] == 3 {
                    let v = b.load(Type::I32, word, addr);
                    b.set(ra, v);
                } else {
                    let v = b.get(ra);
                    b.store(word, addr, v);
                }
            }
            5 => return exit(b, ExitKind::Direct { pc: imm.into() }),
            6 => {
                let flags = b.get(FLAGS);
                b.exit_if(Cond::Ne, flags, ExitKind::Direct { pc: imm.into() });
                return exit(b, ExitKind::Direct { pc: next });
            }
            7 => {
                let v = b.iconst(Type::I32, next);
                b.set(RegId(7), v);
                return exit(b, ExitKind::Call { pc: imm.into(), ret: next });
            }
            8 => {
                let target = b.get(RegId(7));
                return exit(b, ExitKind::Return { target });
            }
            9 => {
                let target = b.get(ra);
                return exit(b, ExitKind::Indirect { target });
            }
            10 => return exit(b, ExitKind::Syscall { next, code: imm }),
            11 => {
                let (low, high, by) = (b.get(ra), b.iconst(Type::I32, 0), b.get(rb));
                let q = b.multi(Op::DivU, &[high, low, by]);
                b.set(ra, q);
            }
            12 => {
                let args = [b.get(ra), b.get(rb)];
                let v = b.call(HelperId(imm as u16), Type::I32, &args);
                b.set(ra, v);
            }
            13 => return exit(b, ExitKind::Halt { next }),
            14 => b.x87(X87Op::Ld1, 0),
            15 => b.x87(X87Op::AddPop, 1),
            16 => {
                let base = b.get(rb);
                let addr = b.addr(Addr::offset(base, imm as i32));
                b.x87_mem(X87Op::StPopM32, addr);
            }
            17 => {
                let vector = |r: RegId| RegId(VECTOR0.0 + r.0);
                let operands = [b.get(vector(ra)), b.get(vector(rb))];
                let v = b.vec(Op::VAdd, Lane::I32, &operands, 0);
                b.set(vector(ra), v);
            }
            _ => return exit(b, ExitKind::Exception { pc, code: UNDEFINED, arg: 0 }),
        }
        false
    }
}

impl Guest for Toy {
    fn table(&self) -> &'static RegTable {
        &TABLE
    }
    fn helpers(&self) -> &'static [Helper] {
        HELPERS
    }
    fn mode(&self, _: &CpuState) -> u64 {
        0
    }
    fn lift(
        &self,
        region: &mut Region,
        pc: u64,
        _: u64,
        source: &dyn CodeSource,
        limits: Limits,
    ) -> Result<(), FetchFault> {
        let mut b = Builder::new(region, &TABLE, pc);
        let mut at = pc;
        loop {
            let mut raw = [0; SIZE as usize];
            let got = source.fetch(at, &mut raw);
            let count = (at - pc) / SIZE;
            if got < raw.len() {
                if count == 0 {
                    return Err(FetchFault { addr: at + got as u64 });
                }
                b.exit(ExitKind::Direct { pc: at });
                break;
            }
            if count >= limits.max_insns.into() {
                b.exit(ExitKind::Direct { pc: at });
                break;
            }
            b.insn(at, SIZE as u8);
            if Self::lift_one(&mut b, at, raw) {
                break;
            }
            at += SIZE;
        }
        b.finish();
        Ok(())
    }
    fn disassemble(&self, pc: u64, _: u64, bytes: &[u8], out: &mut String) -> usize {
        let _ = write!(out, "op{} at {pc:x}", bytes.first().copied().unwrap_or(0));
        SIZE as usize
    }
    fn pc_shift(&self) -> u32 {
        3
    }
}

/// Where programs are put.
pub const CODE: u64 = 0x4000_0000;
/// Where data is.
pub const DATA: u64 = 0x4100_0000;

/// An address space with an engine.
pub struct Machine {
    pub space: Arc<UserSpace>,
    pub engine: Arc<Engine>,
}

/// `PROT_READ | PROT_WRITE | PROT_EXEC`
pub const RWX: i32 = 7;

impl Machine {
    /// A machine with 1 MiB for code, writable, and 1 MiB of data.
    pub fn new(variant: Variant) -> Self {
        Self::with(variant, |_| {})
    }
    /// The same with a changed configuration.
    pub fn with(variant: Variant, change: impl FnOnce(&mut EngineConfig)) -> Self {
        let base = (variant == Variant::JitElsewhere).then(elsewhere);
        let space = Arc::new(UserSpace::new(Config { base, ..Config::default() }).expect("a window"));
        let mut config = EngineConfig::new(Arc::new(Toy), space.clone());
        config.kind = if variant == Variant::Interp { Kind::Interp } else { Kind::Jit };
        change(&mut config);
        let engine = Engine::new(config).expect("an engine");
        let machine = Machine { space, engine };
        machine.map(CODE, RWX);
        machine.map(DATA, 3);
        machine
    }
    /// Maps 1 MiB of zeroes.
    pub fn map(&self, addr: u64, prot: i32) {
        let request = MapRequest { addr, len: 1 << 20, prot, fixed: true, ..MapRequest::default() };
        assert_eq!(self.space.map(&request), Ok(addr));
    }
    /// Puts a program into memory.
    pub fn load(&self, at: u64, program: &[I]) {
        self.space.write(at, &code(program)).expect("code memory");
    }
    /// A vCPU that starts at `pc`.
    pub fn vcpu(&self, pc: u64) -> Box<dyn Vcpu> {
        let mut state = CpuState::new();
        state.set_pc(pc);
        self.engine.vcpu(state)
    }
    /// Whether code was compiled, and nothing was left to the interpreter.
    pub fn compiled_all(&self) -> bool {
        self.engine.cache_stats().is_some_and(|s| s.published > 0) && self.engine.lacking().is_empty()
    }
    /// Runs a program to its first stop; gives the stop and the registers.
    pub fn run(&self, program: &[I]) -> (Stop, [u32; 8]) {
        self.load(CODE, program);
        let mut vcpu = self.vcpu(CODE);
        (vcpu.run(), regs(&*vcpu))
    }
}

/// The integer registers.
pub fn regs(vcpu: &dyn Vcpu) -> [u32; 8] {
    std::array::from_fn(|i| vcpu.state().get(&TABLE, RegId(i as u16)) as u32)
}

/// How a test runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Variant {
    /// Interpreted.
    Interp,
    /// Compiled; guest addresses are host addresses if the host allows it.
    Jit,
    /// Compiled; the guest's memory is somewhere else.
    JitElsewhere,
}

/// Where the guest's memory is then; every machine of the process takes another place.
fn elsewhere() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0x2000_0000_0000);
    NEXT.fetch_add(1 << 33, Ordering::Relaxed)
}

/// Runs a test in every way.
pub fn all(test: impl Fn(Variant)) {
    test(Variant::Interp);
    test(Variant::Jit);
    test(Variant::JitElsewhere);
}

/// Address of instruction `index` of a program at [`CODE`].
pub fn at(index: u64) -> u32 {
    (CODE + SIZE * index) as u32
}
