//! From guest code to placed host code.

use crate::core::{ATTEMPTS, Core};
use crate::lift::Origin;
use crate::regions::Lifted;
use crate::selfmod::{self, SelfModifying};
use crate::trace::{HostCode, Trace};
use isamorph_accel::Stop;
use isamorph_cache::{CodeCache, Entry, Key, PublishError};
use isamorph_code::Compiled;
use isamorph_guest::Limits;
use isamorph_ir::Region;
use isamorph_opt::Optimizer;
use isamorph_x64::{Backend, Scratch, Unsupported};
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

impl Jit {
    /// A JIT with an empty cache.
    pub fn new(core: Arc<Core>, cache: Arc<CodeCache>, backend: Backend) -> Self {
        Jit { core, cache, backend, self_modifying: SelfModifying::new(), lacking: Mutex::default() }
    }
    /// Translates the code of a key. The calling thread's vCPU is not pinned.
    pub fn translate(&self, work: &mut Work, key: Key) -> Result<Translated, Stop> {
        let mut limits = self.core.limits;
        let begun = self.core.wanted.contains(Trace::OUT_ASM).then(Instant::now);
        for _ in 0..ATTEMPTS {
            let origin = self.lift(work, key, limits)?;
            self.optimise(work);
            let placed = match self.compile(work) {
                Ok(()) => self.publish(work, key, &origin, begun),
                Err(_) => return Ok(self.interpret(work, key, &origin)),
            };
            match placed {
                Ok(_) => return Ok(Translated::Placed),
                Err(PublishError::Stale) => {}
                Err(PublishError::TooLarge) if work.region.insns.len() > 1 => {
                    limits = Limits { max_insns: work.region.insns.len() as u32 / 2, ..limits };
                }
                Err(PublishError::TooLarge) => return Ok(self.interpret(work, key, &origin)),
            }
        }
        Ok(Translated::Contended)
    }
    /// Lifts the code of a key. In a page whose code changes it, the region ends with the first store, and depends on
    /// nothing behind that.
    fn lift(&self, work: &mut Work, key: Key, limits: Limits) -> Result<Origin, Stop> {
        let origin = self.core.lift(&mut work.region, key, limits)?;
        let changes = self.self_modifying.has(&origin.ranges);
        match selfmod::first_store(&work.region).filter(|_| changes) {
            Some(max_insns) => self.core.lift(&mut work.region, key, Limits { max_insns, precise: true }),
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
    fn publish(&self, work: &Work, key: Key, origin: &Origin, begun: Option<Instant>) -> Result<Entry, PublishError> {
        let Work { compiled, .. } = work;
        let current = || origin.is_current(&self.core.space);
        let entry = self.cache.publish(key, &origin.ranges, compiled, &current)?;
        if let Some(sink) = self.core.trace(Trace::OUT_ASM, key.pc) {
            let address = entry.address - compiled.entry as usize;
            let took = begun.map(|begun| begun.elapsed()).unwrap_or_default();
            sink.host_code(&HostCode { pc: key.pc, address, bytes: &compiled.code, insns: &compiled.insns, took });
        }
        Ok(entry)
    }
    /// Leaves the region to the interpreter.
    fn interpret(&self, work: &mut Work, key: Key, origin: &Origin) -> Translated {
        let region = std::mem::take(&mut work.region);
        self.core.keep(key, region, origin).map_or(Translated::Contended, Translated::Lifted)
    }
    /// What the emitter lacked, and how many regions it left to the interpreter because of each. A `fork` holds it.
    pub fn lacking(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
