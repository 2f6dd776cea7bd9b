//! Processors of a machine: guest code with its operating system, whose addresses are translated and whose exceptions
//! and interrupts are delivered here.
//!
//! * `mmu` is a processor's way to memory, devices and ports; `direct` its accesses by host address.
//! * `code` finds and reads guest code in memory that has more than one address.
//! * `observer` is told of changes by memory and the memory map.
//! * `processor` is the loop: signals, exceptions, halts. `interp` and `jit` run guest code in between.

mod code;
mod direct;
mod interp;
mod jit;
mod mmu;
mod observer;
mod processor;

use crate::Kind;
use crate::breakpoints::Breakpoints;
use crate::core::Core;
use crate::running::on_fault;
use crate::system::interp::InterpRunner;
use crate::system::jit::JitRunner;
use crate::system::mmu::{Mmu, Surroundings};
use crate::system::observer::{Made, Observer};
use crate::system::processor::{MachineProcessor, Runner};
use crate::trace::{NoTrace, TraceSink};
use crate::translate::Jit;
use isamorph_accel::{Processor, Processors, Wires};
use isamorph_cache::Stats;
use isamorph_guest::{Limits, SystemGuest};
use isamorph_host::fault;
use isamorph_ir::CpuState;
use isamorph_space::{AddressSpace, Map};
use isamorph_x64::GuestMemory;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;

/// What an engine for a machine is made of.
#[derive(Clone)]
pub struct SystemConfig {
    /// The processors' architecture.
    pub guest: Arc<dyn SystemGuest>,
    /// The map that `memory` belongs to.
    pub map: Arc<Map>,
    /// Guest-physical memory.
    pub memory: Arc<AddressSpace>,
    /// I/O ports.
    pub ports: Arc<AddressSpace>,
    /// Compile or interpret.
    pub kind: Kind,
    /// Size of a code cache in bytes; there is one for each lane of the guest.
    pub tb_size_bytes: usize,
    /// Most guest instructions of a region.
    pub max_insns: u32,
    /// Receives messages.
    pub log: Arc<dyn TraceSink>,
}

impl SystemConfig {
    /// The usual choice for a machine: compile, 64 MiB of code, no messages.
    pub fn new(
        guest: Arc<dyn SystemGuest>,
        map: Arc<Map>,
        memory: Arc<AddressSpace>,
        ports: Arc<AddressSpace>,
    ) -> Self {
        let max_insns = Limits::default().max_insns;
        let (kind, tb_size_bytes) = (Kind::Jit, 64 << 20);
        SystemConfig { guest, map, memory, ports, kind, tb_size_bytes, max_insns, log: Arc::new(NoTrace) }
    }
}

/// Makes the processors of a machine.
pub struct SystemEngine {
    around: Surroundings,
    cores: Vec<Arc<Core>>,
    jits: Vec<Arc<Jit>>,
    breakpoints: Arc<Breakpoints>,
    kind: Kind,
    log: Arc<dyn TraceSink>,
}

impl SystemEngine {
    /// An engine. It registers itself with the memory map and with the host's fault handler.
    ///
    /// # Errors
    /// What the host refuses, as text.
    pub fn new(config: SystemConfig) -> Result<Arc<Self>, String> {
        let SystemConfig { guest, map, memory, ports, kind, tb_size_bytes, max_insns, log } = config;
        let limits = Limits { max_insns: max_insns.max(1), precise: false };
        let breakpoints = Arc::<Breakpoints>::default();
        let core = |lane: &Arc<_>| Arc::new(Core::new(Arc::clone(lane), breakpoints.clone(), limits, log.clone()));
        let cores: Vec<Arc<Core>> = guest.lanes().iter().map(core).collect();
        fault::install().map_err(|e| format!("no fault handler: {e:?}"))?;
        fault::set_callback(on_fault);
        let jit = |core: &Arc<Core>| Jit::build(core.clone(), GuestMemory::Translated, tb_size_bytes);
        let jits: Vec<Arc<Jit>> = match kind {
            Kind::Jit => cores.iter().map(jit).collect::<Result<_, _>>(),
            Kind::Interp => Ok(Vec::new()),
        }
        .map_err(|e| format!("no memory for compiled code: {e:?}"))?;
        let cache = |lane: usize| jits.get(lane).map(|jit| jit.cache.clone());
        let made = |(lane, core): (usize, &Arc<Core>)| Made { regions: core.regions.clone(), cache: cache(lane) };
        let made = cores.iter().enumerate().map(made).collect();
        let observer = Observer::new(made);
        map.listen(&memory, observer.clone());
        let around = Surroundings { guest, memory, ports, observer };
        Ok(Arc::new(SystemEngine { around, cores, jits, breakpoints, kind, log }))
    }
    /// What the code cache of each lane did; nothing if code is interpreted.
    pub fn cache_stats(&self) -> Vec<Stats> {
        self.jits.iter().map(|jit| jit.cache.stats()).collect()
    }
    /// What the emitter lacks, and how many regions of each lane were left to the interpreter because of it.
    pub fn lacking(&self) -> Vec<(&'static str, u64)> {
        self.jits.iter().flat_map(|jit| jit.lacking().iter().map(|(what, n)| (*what, *n)).collect::<Vec<_>>()).collect()
    }
    fn runner(&self, state: Box<CpuState>, mmu: &Rc<Mmu>) -> Result<Box<dyn Runner>, String> {
        let guest = self.around.guest.clone();
        Ok(match self.kind {
            Kind::Jit => Box::new(JitRunner::new(guest, &self.jits, mmu, state)?),
            Kind::Interp => Box::new(InterpRunner::new(guest, &self.cores, state)),
        })
    }
}

impl Processors for SystemEngine {
    fn processor(&self, index: u32, mut state: Box<CpuState>, wires: Arc<Wires>) -> Result<Box<dyn Processor>, String> {
        let mmu = Rc::new(Mmu::new(self.around.clone(), wires.clone(), &mut state));
        let runner = self.runner(state, &mmu)?;
        Ok(Box::new(MachineProcessor::new(self.around.clone(), index, mmu, runner, wires, self.log.clone())))
    }
    fn set_breakpoint(&self, addr: u64, on: bool) {
        self.breakpoints.change(addr, on);
        self.around.observer.invalidate_pc(addr);
    }
    fn describe(&self) -> String {
        let mut text = format!("accelerator: {}\n", self.name());
        for (lane, stats) in self.around.guest.lanes().iter().zip(self.cache_stats()) {
            let _ = writeln!(text, "{} code: {stats:?}", lane.table().arch);
        }
        for (what, regions) in self.lacking() {
            let _ = writeln!(text, "not compiled because of {what}: {regions} regions");
        }
        text
    }
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Jit => "tcg",
            Kind::Interp => "interp",
        }
    }
}
