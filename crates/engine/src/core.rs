//! What both kinds of engine share: the guest, its memory, the bounds of regions, and lifting for the interpreter.

use crate::lift::{self, Origin};
use crate::regions::{Lifted, Regions};
use crate::trace::{Trace, TraceSink};
use isamorph_accel::Stop;
use isamorph_cache::Key;
use isamorph_guest::{FetchFault, Guest, Limits};
use isamorph_ir::{FaultCause, MemFault, Memory, Region, Trap};
use isamorph_ram::UserSpace;
use std::fmt::Write as _;
use std::sync::Arc;

/// Attempts at code that changes while it is translated.
pub const ATTEMPTS: u32 = 16;

/// The shared part.
pub struct Core {
    /// The guest architecture.
    pub guest: Arc<dyn Guest>,
    /// The guest's memory.
    pub space: Arc<UserSpace>,
    /// Bounds of a region.
    pub limits: Limits,
    /// Regions for the interpreter.
    pub regions: Arc<Regions>,
    /// Wanted messages.
    pub wanted: Trace,
    sink: Arc<dyn TraceSink>,
}

impl Core {
    /// A core without regions.
    pub fn new(guest: Arc<dyn Guest>, space: Arc<UserSpace>, limits: Limits, sink: Arc<dyn TraceSink>) -> Self {
        Core { guest, space, limits, regions: Arc::default(), wanted: sink.wanted(), sink }
    }
    /// The sink, if it wants messages of that kind.
    pub fn trace(&self, kind: Trace) -> Option<&dyn TraceSink> {
        self.wanted.contains(kind).then_some(&*self.sink)
    }
    /// Lifts the code of a key, with messages.
    pub fn lift(&self, region: &mut Region, key: Key, limits: Limits) -> Result<Origin, Stop> {
        let origin = lift::lift(&*self.guest, &self.space, region, key, limits).map_err(|f| self.fetch_trap(f))?;
        if let Some(sink) = self.trace(Trace::IN_ASM) {
            sink.text(Trace::IN_ASM, &self.listing(region, key.mode));
        }
        if let Some(sink) = self.trace(Trace::OP) {
            sink.text(Trace::OP, &self.region_text(region));
        }
        Ok(origin)
    }
    /// The region of a key as the interpreter wants it, kept for the next time; nothing if it keeps changing.
    pub fn lifted(&self, key: Key) -> Result<Option<Arc<Lifted>>, Stop> {
        for _ in 0..ATTEMPTS {
            let mut region = Region::default();
            let origin = self.lift(&mut region, key, self.limits)?;
            let kept = self.keep(key, region, &origin);
            if kept.is_some() {
                return Ok(kept);
            }
        }
        Ok(None)
    }
    /// Keeps a region for the interpreter unless its guest code has changed.
    pub fn keep(&self, key: Key, region: Region, origin: &Origin) -> Option<Arc<Lifted>> {
        let lifted = Lifted { region, ranges: origin.ranges.clone() };
        self.regions.insert(key, lifted, &|| origin.is_current(&self.space))
    }
    /// What the guest sees of a failed fetch.
    fn fetch_trap(&self, fault: FetchFault) -> Stop {
        // What can be read and not fetched is protected; otherwise reading says what is wrong.
        let cause = self.space.read(fault.addr, &mut [0]).map_or_else(|f| f.cause, |()| FaultCause::Protected);
        Stop::Trap(Trap::Memory(MemFault { addr: fault.addr, write: false, cause }))
    }
    /// The guest instructions of a region as text.
    fn listing(&self, region: &Region, mode: u32) -> String {
        let mut text = format!("IN: {:#x}\n", region.pc);
        for insn in &region.insns {
            let mut bytes = vec![0; usize::from(insn.len)];
            let got = self.space.fetch(insn.pc, &mut bytes);
            let hex: String = bytes[..got].iter().map(|b| format!("{b:02x} ")).collect();
            let _ = write!(text, "{:#010x}:  {hex:<24}", insn.pc);
            self.guest.disassemble(insn.pc, mode, &bytes[..got], &mut text);
            text.push('\n');
        }
        text
    }
    /// A region in the IR's text form.
    pub fn region_text(&self, region: &Region) -> String {
        isamorph_ir::text::print(region, self.guest.table(), self.guest.helpers())
    }
}
