//! Translation benchmark: nanoseconds per guest instruction, phase by phase.
//!
//! All of a file's code is translated once, region after region in order of address, as if each region had been
//! reached by falling out of the one before. Regions go through the phases in batches, so that reading the clock costs
//! nothing and the buffers are reused as they are in the engine.

use isamorph_code::Compiled;
use isamorph_guest::{CodeSource, Guest, Limits};
use isamorph_ir::Region;
use isamorph_ir::verify::verify;
use isamorph_opt::Optimizer;
use isamorph_x64::{Backend, Config, GuestMemory, Scratch};
use isamorph_x86::X86;
use object::{Object, ObjectSection, SectionKind};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// Regions that go through a phase together.
const BATCH: usize = 256;

/// Where the time goes.
pub const PHASES: &[&str] = &["decode and lift", "optimise", "compile"];

/// What it took to translate a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// Regions.
    pub regions: usize,
    /// Regions that the back end left to the interpreter.
    pub refused: usize,
    /// Guest instructions.
    pub instructions: usize,
    /// Bytes of guest code.
    pub guest_bytes: u64,
    /// Bytes of host code.
    pub host_bytes: usize,
    /// Time per phase, as in [`PHASES`].
    pub times: [Duration; PHASES.len()],
}

impl Cost {
    /// Nanoseconds per guest instruction in a phase.
    pub fn per_instruction(&self, phase: usize) -> f64 {
        self.times[phase].as_secs_f64() * 1e9 / self.instructions.max(1) as f64
    }
}

/// A section of code.
struct Code {
    address: u64,
    bytes: Vec<u8>,
}

impl CodeSource for Code {
    fn fetch(&self, pc: u64, out: &mut [u8]) -> usize {
        let start = pc.checked_sub(self.address).and_then(|offset| usize::try_from(offset).ok());
        let rest = start.and_then(|start| self.bytes.get(start..)).unwrap_or_default();
        let length = rest.len().min(out.len());
        out[..length].copy_from_slice(&rest[..length]);
        length
    }
}

/// Sends an x86 ELF file's code, of either width, through the first `phases` of [`PHASES`], and tells the cost.
pub fn translate(file: &Path, phases: usize) -> io::Result<Cost> {
    let data = std::fs::read(file)?;
    let parsed = object::File::parse(&*data).map_err(io::Error::other)?;
    let guest = if parsed.is_64() { X86::amd64() } else { X86::i386() };
    let mut bench = Bench::new(guest, phases);
    for section in parsed.sections().filter(|section| section.kind() == SectionKind::Text) {
        let bytes = section.data().map_err(io::Error::other)?.to_vec();
        bench.section(&Code { address: section.address(), bytes });
    }
    Ok(bench.cost)
}

struct Bench {
    phases: usize,
    guest: X86,
    backend: Backend,
    regions: Vec<Region>,
    optimizer: Optimizer,
    scratch: Scratch,
    compiled: Compiled,
    cost: Cost,
}

impl Bench {
    fn new(guest: X86, phases: usize) -> Self {
        let config = Config {
            memory: GuestMemory::Direct { base: 0 },
            pc_shift: guest.pc_shift(),
            bmi2: std::is_x86_feature_detected!("bmi2"),
            precise: false,
        };
        Self {
            phases,
            backend: Backend::new(guest.table(), guest.helpers(), config),
            guest,
            regions: vec![Region::default(); BATCH],
            optimizer: Optimizer::default(),
            scratch: Scratch::default(),
            compiled: Compiled::default(),
            cost: Cost::default(),
        }
    }

    fn section(&mut self, code: &Code) {
        let end = code.address + code.bytes.len() as u64;
        let mut pc = code.address;
        while pc < end {
            let start = pc;
            let count = self.lift(code, &mut pc, end);
            self.cost.regions += count;
            self.cost.guest_bytes += pc - start;
            if self.phases > 1 {
                self.optimise(count);
            }
            if self.phases > 2 {
                self.compile(count);
            }
        }
    }

    /// Lifts up to a batch of regions; returns how many.
    fn lift(&mut self, code: &Code, pc: &mut u64, end: u64) -> usize {
        let mode = self.guest.mode(&isamorph_ir::CpuState::new());
        let start = Instant::now();
        let mut count = 0;
        while count < BATCH && *pc < end {
            let region = &mut self.regions[count];
            let lifted = self.guest.lift(region, *pc, mode, code, Limits::default());
            let next = region.insns.iter().map(|insn| insn.pc + u64::from(insn.len)).max();
            // Bytes that cannot be fetched or decoded are skipped one by one.
            *pc = next.filter(|next| lifted.is_ok() && next > pc).unwrap_or(*pc + 1);
            let (table, helpers) = (self.guest.table(), self.guest.helpers());
            debug_assert!(lifted.is_err() || verify(region, table, helpers).is_ok(), "{:#x}: {region:?}", region.pc);
            count += usize::from(lifted.is_ok());
        }
        self.cost.times[0] += start.elapsed();
        self.cost.instructions += self.regions[..count].iter().map(|region| region.insns.len()).sum::<usize>();
        count
    }

    fn optimise(&mut self, count: usize) {
        let start = Instant::now();
        for region in &mut self.regions[..count] {
            self.optimizer.run(region, self.guest.table());
        }
        self.cost.times[1] += start.elapsed();
    }

    fn compile(&mut self, count: usize) {
        let start = Instant::now();
        for region in &self.regions[..count] {
            self.compiled.clear();
            let compiled = self.backend.compile(&mut self.scratch, region, &mut self.compiled);
            self.cost.refused += usize::from(compiled.is_err());
            self.cost.host_bytes += self.compiled.code.len();
        }
        self.cost.times[2] += start.elapsed();
    }
}
