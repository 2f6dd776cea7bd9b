//! A guest process without a program, for tests of system calls.

use crate::abi::Abi;
use crate::arch::i386::I386;
use crate::convert::Record;
use crate::convert::path::Sysroot;
use crate::run::Options;
use crate::signal::{SigSet, Sighand, TaskSignals};
use crate::sync::Mutex;
use crate::table::SysResult;
use crate::task::{Cx, ImageRanges, Process, Task};
use isamorph_accel::{Accel, Stop, Vcpu};
use isamorph_ir::CpuState;
use isamorph_ram::{Config, MapRequest, UserSpace};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// What a test's processor does instead of running code.
pub type Script = fn(&mut CpuState) -> Stop;

/// A processor that follows a script.
struct Scripted {
    state: Box<CpuState>,
    exit: AtomicU32,
    script: Script,
}

impl Vcpu for Scripted {
    fn step(&mut self) -> Option<Stop> {
        Some(self.run())
    }
    fn run(&mut self) -> Stop {
        (self.script)(&mut self.state)
    }
    fn state(&self) -> &CpuState {
        &self.state
    }
    fn state_mut(&mut self) -> &mut CpuState {
        &mut self.state
    }
    fn sync_fpu(&mut self) {}
    fn exit_request(&self) -> *const AtomicU32 {
        &self.exit
    }
}

struct Scripts(Script);

impl Accel for Scripts {
    fn set_breakpoint(&self, _pc: u64, _on: bool) {}
    fn vcpu(&self, state: Box<CpuState>) -> Box<dyn Vcpu> {
        Box::new(Scripted { state, exit: AtomicU32::new(0), script: self.0 })
    }
    fn invalidate(&self, _: u64, _: u64) {}
    fn with_quiescence(&self, fork: &mut dyn FnMut()) {
        fork();
    }
    fn name(&self) -> &'static str {
        "none"
    }
}

/// Guest memory for arguments.
const SCRATCH: u64 = 0x0800_0000;
const SCRATCH_LEN: u64 = 1 << 20;

/// A process, usually of i386, whose system calls can be made by name.
pub struct TestGuest {
    /// Its only thread.
    pub cx: Cx,
    next: u64,
    end: u64,
}

impl TestGuest {
    pub fn new() -> Self {
        Self::with_sysroot(None)
    }
    pub fn with_sysroot(sysroot: Option<&Path>) -> Self {
        Self::build(&I386, sysroot, |_| Stop::Halt)
    }
    /// A process whose processors follow the script.
    pub fn scripted(script: Script) -> Self {
        Self::build(&I386, None, script)
    }
    /// A process of another architecture, with its registers as at the start of a program.
    pub fn of(abi: &'static dyn Abi) -> Self {
        let mut g = Self::build(abi, None, |_| Stop::Halt);
        *g.cx.state_mut() = *abi.start(0, 0);
        g
    }
    fn build(abi: &'static dyn Abi, sysroot: Option<&Path>, script: Script) -> Self {
        let config = Config { addr_bits: abi.guest().table().addr_bits, ..Config::default() };
        let space = Arc::new(UserSpace::new(config).expect("an address space"));
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let fixed = abi.model().long == 4;
        let request = MapRequest { addr: SCRATCH, len: SCRATCH_LEN, prot, fixed, ..MapRequest::default() };
        let scratch = space.map(&request).expect("scratch memory");
        let process = Process {
            abi,
            accel: Arc::new(Scripts(script)),
            exe: "/bin/guest-program".into(),
            sysroot: sysroot.and_then(|p| Sysroot::new(p.as_os_str())),
            brk: Mutex::default(),
            trampoline: 0,
            personality: 0.into(),
            limits: Mutex::default(),
            seccomp: Default::default(),
            threads: AtomicU32::new(1),
            image: ImageRanges::default(),
            options: Options::new("/bin/guest-program", Vec::new(), Vec::new()),
            space,
        };
        let vcpu = process.accel.vcpu(CpuState::new());
        let task = Task::new(TaskSignals::new(SigSet::EMPTY), Arc::new(Sighand::new(SigSet::EMPTY)));
        let (next, end) = (scratch, scratch + SCRATCH_LEN);
        TestGuest { cx: Cx { process: Arc::new(process), task, vcpu }, next, end }
    }
    /// Fresh guest memory, aligned to 16.
    pub fn room(&mut self, len: usize) -> u64 {
        let at = self.next;
        self.next = (at + len as u64).next_multiple_of(16);
        assert!(self.next <= self.end, "scratch memory is used up");
        at
    }
    /// Bytes in guest memory.
    pub fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = self.room(bytes.len());
        self.cx.write_bytes(at, bytes).expect("scratch memory");
        at
    }
    /// A string in guest memory.
    pub fn text(&mut self, text: impl AsRef<str>) -> u64 {
        self.put(format!("{}\0", text.as_ref()).as_bytes())
    }
    /// A structure in guest memory.
    pub fn put_record<T: Record>(&mut self, value: &T) -> u64 {
        let at = self.room(T::size(self.cx.model()));
        self.cx.write(at, value).expect("scratch memory");
        at
    }
    /// A structure from guest memory.
    pub fn get<T: Record>(&self, addr: u64) -> T {
        self.cx.read(addr).expect("readable memory")
    }
    /// Bytes from guest memory.
    pub fn bytes(&self, addr: u64, len: u64) -> Vec<u8> {
        self.cx.read_vec(addr, len).expect("readable memory")
    }
    /// Makes a system call with raw argument registers.
    pub fn call(&mut self, name: &str, args: &[u64]) -> SysResult {
        let rows = self.cx.abi().calls().rows();
        let row = rows.iter().find(|r| r.name == name).unwrap_or_else(|| panic!("no call is named {name}"));
        let mut raw = [0; 6];
        for (slot, value) in raw.iter_mut().zip(args) {
            *slot = value & 0xffff_ffff;
        }
        self.cx.dispatch(row.nr.into(), raw)
    }
    /// Makes a system call that must succeed.
    pub fn ok(&mut self, name: &str, args: &[u64]) -> u64 {
        self.call(name, args).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
}

/// A sequence of numbers that look random and are the same in every run (a linear congruential generator).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }
    pub fn value(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }
    pub fn below(&mut self, end: usize) -> usize {
        self.value() as usize % end
    }
}
