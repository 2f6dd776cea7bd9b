//! The engine: guest code run by compiling it, or by interpreting it, behind one [`Accel`].
//!
//! * `lift` reads guest code that may change at any moment; `core` adds messages and the interpreter's regions.
//! * `interp` is the interpreter's vCPU, which the JIT borrows for single instructions and for ops that the emitter
//!   lacks.
//! * `translate` makes code, `jit` is the dispatcher of the vCPU that runs it, `running` the boundary where Rust and
//!   compiled code call each other, and `shadow` the stack that compiled code runs on.
//!
//! The floating-point registers of a JIT vCPU are in two places while it is outside compiled code: the thunks have
//! saved vector registers and MXCSR in the state's save image, and the x87 unit stays in the host until
//! [`Vcpu::sync_fpu`].

mod breakpoints;
mod core;
mod guarded;
mod interp;
mod jit;
mod lift;
mod regions;
mod running;
mod selfmod;
mod shadow;
mod system;
mod trace;
mod translate;
mod user;
mod world;

pub use running::on_fault;
pub use system::{SystemConfig, SystemEngine};
pub use trace::{HostCode, NoTrace, Trace, TraceSink};

use crate::core::Core;
use crate::interp::InterpVcpu;
use crate::jit::JitVcpu;
use crate::regions::Regions;
use crate::running::Running;
use crate::translate::Jit;
use crate::user::UserWorld;
use isamorph_accel::{Accel, Vcpu};
use isamorph_cache::{CodeCache, Stats};
use isamorph_guest::{Guest, Limits};
use isamorph_host::{Errno, fault};
use isamorph_ir::CpuState;
use isamorph_ram::UserSpace;
use isamorph_x64::GuestMemory;
use std::sync::Arc;

/// How guest code is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It is compiled.
    Jit,
    /// It is interpreted.
    Interp,
}

/// What an engine is made of.
#[derive(Clone)]
pub struct EngineConfig {
    /// The guest architecture.
    pub guest: Arc<dyn Guest>,
    /// The guest's memory.
    pub space: Arc<UserSpace>,
    /// Compile or interpret.
    pub kind: Kind,
    /// Size of the code cache in bytes.
    pub tb_size_bytes: usize,
    /// Most guest instructions of a region.
    pub max_insns: u32,
    /// Flags are exact wherever a fault can show them; see [`Limits::precise`].
    pub precise: bool,
    /// Receives messages.
    pub log: Arc<dyn TraceSink>,
}

impl EngineConfig {
    /// The usual choice for a guest: compile, 32 MiB of code, no messages.
    pub fn new(guest: Arc<dyn Guest>, space: Arc<UserSpace>) -> Self {
        let Limits { max_insns, precise } = Limits::default();
        let (kind, tb_size_bytes) = (Kind::Jit, 32 << 20);
        EngineConfig { guest, space, kind, tb_size_bytes, max_insns, precise, log: Arc::new(NoTrace) }
    }
}

/// Runs guest code.
pub struct Engine {
    core: Arc<Core>,
    world: UserWorld,
    jit: Option<Arc<Jit>>,
    code: Code,
}

/// Whatever was made from guest code. The guest's memory owns one, so that it must not refer to the memory.
#[derive(Clone)]
struct Code {
    regions: Arc<Regions>,
    cache: Option<Arc<CodeCache>>,
}

impl Code {
    fn invalidate(&self, start: u64, len: u64) {
        self.regions.invalidate(start, len);
        if let Some(cache) = &self.cache {
            cache.invalidate(start, len);
        }
    }
}

impl Engine {
    /// An engine. It registers itself with the guest's memory, which tells it of changed code, and with the host's
    /// fault handler.
    ///
    /// # Errors
    /// The host refuses memory for the code cache, or the fault handler.
    pub fn new(config: EngineConfig) -> Result<Arc<Self>, Errno> {
        let EngineConfig { guest, space, kind, tb_size_bytes, max_insns, precise, log } = config;
        let limits = Limits { max_insns: max_insns.max(1), precise };
        let world = UserWorld { space, address_mask: guest.address_mask() };
        let core = Arc::new(Core::new(guest, Arc::default(), limits, log));
        let jit = match kind {
            Kind::Jit => {
                let memory = GuestMemory::Direct { base: world.space.host_base() };
                Some(Jit::build(core.clone(), memory, tb_size_bytes)?)
            }
            Kind::Interp => None,
        };
        fault::install()?;
        fault::set_callback(on_fault);
        let code = Code { regions: core.regions.clone(), cache: jit.as_ref().map(|j| j.cache.clone()) };
        let hook = code.clone();
        world.space.set_code_hook(Box::new(move |start, len| hook.invalidate(start, len)));
        Ok(Arc::new(Engine { core, world, jit, code }))
    }
    /// What the code cache did; nothing if there is none.
    pub fn cache_stats(&self) -> Option<Stats> {
        self.jit.as_ref().map(|j| j.cache.stats())
    }
    /// What the emitter lacks, and how many regions were left to the interpreter because of each.
    pub fn lacking(&self) -> Vec<(&'static str, u64)> {
        self.jit.as_ref().map_or_else(Vec::new, |j| j.lacking().iter().map(|(what, n)| (*what, *n)).collect())
    }
}

impl Accel for Engine {
    fn vcpu(&self, state: Box<CpuState>) -> Box<dyn Vcpu> {
        let Some(jit) = &self.jit else {
            return Box::new(InterpVcpu::new(self.core.clone(), self.world.clone(), state));
        };
        match JitVcpu::new(jit.clone(), self.world.clone(), state) {
            Ok(vcpu) => Box::new(vcpu),
            // Without memory for its caches the vCPU still runs, slowly.
            Err((_, state)) => Box::new(InterpVcpu::new(self.core.clone(), self.world.clone(), state)),
        }
    }
    fn invalidate(&self, start: u64, len: u64) {
        self.code.invalidate(start, len);
    }
    fn set_breakpoint(&self, pc: u64, on: bool) {
        let addr = self.core.guest.code_address(pc);
        self.core.breakpoints.change(addr, on);
        self.code.invalidate(addr, 1);
    }
    fn with_quiescence(&self, fork: &mut dyn FnMut()) {
        let _regions = self.core.regions.lock();
        let Some(jit) = &self.jit else { return fork() };
        let _lacking = jit.lacking();
        let quiescence = jit.cache.quiesce();
        let parent = std::process::id();
        fork();
        if std::process::id() != parent {
            // The child cannot go on with code memory that its parent changes.
            let adopted = Running::with_current(|member| quiescence.adopt_in_child(member));
            adopted.expect("memory for the code of a forked process");
        }
    }
    fn name(&self) -> &'static str {
        if self.jit.is_some() { "tcg" } else { "interp" }
    }
}
