//! From guest code to placed host code.

use crate::core::{ATTEMPTS, Core};
use crate::lift::Origin;
use crate::regions::Lifted;
use crate::running::{helper_entry, miss_entry};
use crate::selfmod::{self, SelfModifying};
use crate::trace::{HostCode, Trace};
use crate::world::World;
use isamorph_accel::Stop;
use isamorph_cache::{CodeCache, Entry, Key, PublishError};
use isamorph_code::Compiled;
use isamorph_guest::Limits;
use isamorph_host::{Errno, cpu};
use isamorph_ir::Region;
use isamorph_opt::Optimizer;
use isamorph_x64::{Backend, Config, Entries, GuestMemory, Scratch, Unsupported};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The JIT: what all of its vCPUs share.
pub struct Jit {
    /// Guest and memory.
    pub core: Arc<Core>,
    /// Placed code.
    pub cache: Arc<CodeCache>,
    /// The emitter.
    pub backend: Backend,
    /// Pages whose code changes its own page.
    pub self_modifying: SelfModifying,
    /// Regions that the emitter left to the interpreter, by what it lacks.
    lacking: Mutex<BTreeMap<&'static str, u64>>,
}

/// Buffers of a thread that translates.
#[derive(Default)]
pub struct Work {
    region: Region,
    optimizer: Optimizer,
    scratch: Scratch,
    compiled: Compiled,
}

/// What became of the code of a key.
pub enum Translated {
    /// It can be found in the cache.
    Placed,
    /// It is for the interpreter.
    Lifted(Arc<Lifted>),
    /// Somebody keeps changing it.
    Contended,
}

/// The least size of a code cache: room for the thunks and two regions of any size that is compiled.
const TB_SIZE_MIN: usize = 256 << 10;
/// The most: what displacements reach.
const TB_SIZE_MAX: usize = (1 << 31) - (1 << 20);

impl Jit {
    /// A JIT whose code reaches the guest's memory like that.
    ///
    /// # Errors
    /// The host refuses memory for the code cache.
    pub fn build(core: Arc<Core>, memory: GuestMemory, tb_size_bytes: usize) -> Result<Arc<Self>, Errno> {
        let pc_shift = core.guest.pc_shift();
        let config = Config { memory, pc_shift, bmi2: cpu::features().bmi2, precise: core.limits.precise };
        let backend = Backend::new(core.guest.table(), core.guest.helpers(), config);
        let [helper, miss] = [helper_entry as *const () as usize, miss_entry as *const () as usize];
        let thunks = backend.thunks(Entries { helper, miss });
        let cache = CodeCache::new(tb_size_bytes.clamp(TB_SIZE_MIN, TB_SIZE_MAX), &thunks, pc_shift)?;
        Ok(Arc::new(Jit::new(core, Arc::new(cache), backend)))
    }
    fn new(core: Arc<Core>, cache: Arc<CodeCache>, backend: Backend) -> Self {
        Jit { core, cache, backend, self_modifying: SelfModifying::new(), lacking: Mutex::default() }
    }
    /// Translates the code of a key. The calling thread's vCPU is not pinned.
    pub fn translate(&self, work: &mut Work, world: &dyn World, key: Key) -> Result<Translated, Stop> {
        let mut limits = self.core.limits;
        let begun = self.core.wanted.contains(Trace::OUT_ASM).then(Instant::now);
        for _ in 0..ATTEMPTS {
            let origin = self.lift(work, world, key, limits)?;
            self.optimise(work);
            let placed = match self.compile(work) {
                Ok(()) => self.publish(work, world, key, &origin, begun),
                Err(_) => return Ok(self.interpret(work, world, key, &origin)),
            };
            match placed {
                Ok(_) => return Ok(Translated::Placed),
                Err(PublishError::Stale) => {}
                Err(PublishError::TooLarge) if work.region.insns.len() > 1 => {
                    limits = Limits { max_insns: work.region.insns.len() as u32 / 2, ..limits };
                }
                Err(PublishError::TooLarge) => return Ok(self.interpret(work, world, key, &origin)),
            }
        }
        Ok(Translated::Contended)
    }
    /// Lifts the code of a key. In a page whose code changes it, the region ends with the first store, and depends on
    /// nothing behind that.
    fn lift(&self, work: &mut Work, world: &dyn World, key: Key, limits: Limits) -> Result<Origin, Stop> {
        let origin = self.core.lift(world, &mut work.region, key, limits)?;
        let changes = self.self_modifying.has(&origin.ranges);
        match selfmod::first_store(&work.region).filter(|_| changes) {
            Some(max_insns) => self.core.lift(world, &mut work.region, key, Limits { max_insns, precise: true }),
            None => Ok(origin),
        }
    }
    fn optimise(&self, work: &mut Work) {
        work.optimizer.run(&mut work.region, self.core.guest.table());
        if let Some(sink) = self.core.trace(Trace::OP_OPT, work.region.pc) {
            sink.text(Trace::OP_OPT, &self.core.region_text(&work.region));
        }
    }
    fn compile(&self, work: &mut Work) -> Result<(), Unsupported> {
        work.compiled.clear();
        self.backend.compile(&mut work.scratch, &work.region, &mut work.compiled).inspect_err(|u| {
            *self.lacking().entry(u.what).or_default() += 1;
        })
    }
    fn publish(
        &self,
        work: &Work,
        world: &dyn World,
        key: Key,
        origin: &Origin,
        begun: Option<Instant>,
    ) -> Result<Entry, PublishError> {
        let Work { compiled, .. } = work;
        let current = || world.is_current(origin);
        let entry = self.cache.publish(key, &origin.ranges, compiled, &current)?;
        if let Some(sink) = self.core.trace(Trace::OUT_ASM, key.pc) {
            let address = entry.address - compiled.entry as usize;
            let took = begun.map(|begun| begun.elapsed()).unwrap_or_default();
            sink.host_code(&HostCode { pc: key.pc, address, bytes: &compiled.code, insns: &compiled.insns, took });
        }
        Ok(entry)
    }
    /// Leaves the region to the interpreter.
    fn interpret(&self, work: &mut Work, world: &dyn World, key: Key, origin: &Origin) -> Translated {
        let region = std::mem::take(&mut work.region);
        self.core.keep(world, key, region, origin).map_or(Translated::Contended, Translated::Lifted)
    }
    /// What the emitter lacked, and how many regions it left to the interpreter because of each. A `fork` holds it.
    pub fn lacking(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
