//! What both kinds of engine share: the guest, its memory, the bounds of regions, and lifting for the interpreter.

use crate::breakpoints::Breakpoints;
use crate::lift::Origin;
use crate::regions::{Lifted, Regions};
use crate::trace::{Trace, TraceSink};
use crate::world::World;
use isamorph_accel::Stop;
use isamorph_cache::Key;
use isamorph_guest::{Guest, Limits};
use isamorph_ir::{CpuState, RegDef, RegId, RegTable, Region, Trap, Type};
use std::fmt::Write as _;
use std::sync::Arc;

/// Attempts at code that changes while it is translated.
pub const ATTEMPTS: u32 = 16;

/// The shared part.
pub struct Core {
    /// The guest architecture.
    pub guest: Arc<dyn Guest>,
    /// Bounds of a region.
    pub limits: Limits,
    /// Regions for the interpreter.
    pub regions: Arc<Regions>,
    /// Where vCPUs stop.
    pub breakpoints: Arc<Breakpoints>,
    /// Wanted messages.
    pub wanted: Trace,
    sink: Arc<dyn TraceSink>,
}

impl Core {
    /// A core without regions.
    pub fn new(guest: Arc<dyn Guest>, breakpoints: Arc<Breakpoints>, limits: Limits, sink: Arc<dyn TraceSink>) -> Self {
        let (regions, wanted) = (Arc::default(), sink.wanted());
        Core { guest, limits, regions, breakpoints, wanted, sink }
    }
    /// The sink, if it wants messages of that kind about the region at `pc`.
    pub fn trace(&self, kind: Trace, pc: u64) -> Option<&dyn TraceSink> {
        (self.wanted.contains(kind) && self.sink.selects(kind, self.guest.code_address(pc))).then_some(&*self.sink)
    }
    /// Whether regions must not be chained, so that every execution can be told.
    pub fn traces_execution(&self) -> bool {
        self.wanted.intersects(Trace::EXEC | Trace::CPU | Trace::NOCHAIN)
    }
    /// Tells that the region of a key is about to be executed, from host code at `address`, 0 for none.
    pub fn trace_execution(&self, key: Key, address: usize, state: &CpuState) {
        if let Some(sink) = self.trace(Trace::EXEC, key.pc) {
            let symbol = sink.symbol(self.guest.code_address(key.pc)).unwrap_or_default();
            let key = format!("[00000000/{:016x}/{:08x}/00000000]", key.pc, key.mode);
            sink.text(Trace::EXEC, &format!("Trace 0: {address:#x} {key} {symbol}\n"));
        }
        if let Some(sink) = self.trace(Trace::CPU, key.pc) {
            sink.text(Trace::CPU, &registers(self.guest.table(), state));
        }
    }
    /// Lifts the code of a key up to the next breakpoint, with messages.
    pub fn lift(&self, world: &dyn World, region: &mut Region, key: Key, limits: Limits) -> Result<Origin, Stop> {
        let at = self.guest.code_address(key.pc);
        if self.breakpoints.has(at) {
            return Err(Stop::Breakpoint);
        }
        self.lift_up_to(world, region, key, limits, self.breakpoints.next(at))
    }
    /// Lifts one instruction, breakpoint or not.
    pub fn lift_one(&self, world: &dyn World, region: &mut Region, key: Key) -> Result<Origin, Stop> {
        self.lift_up_to(world, region, key, Limits { max_insns: 1, ..self.limits }, u64::MAX)
    }
    fn lift_up_to(
        &self,
        world: &dyn World,
        region: &mut Region,
        key: Key,
        limits: Limits,
        end: u64,
    ) -> Result<Origin, Stop> {
        let lifted = world.lift(&*self.guest, region, key, limits, end);
        let origin = lifted.map_err(|f| Stop::Trap(Trap::Memory(f)))?;
        if let Some(sink) = self.trace(Trace::IN_ASM, key.pc) {
            let symbol = sink.symbol(self.guest.code_address(key.pc));
            sink.text(Trace::IN_ASM, &self.listing(world, region, key.mode, symbol));
        }
        if let Some(sink) = self.trace(Trace::OP, key.pc) {
            sink.text(Trace::OP, &self.region_text(region));
        }
        Ok(origin)
    }
    /// The region of a key as the interpreter wants it, kept for the next time; nothing if it keeps changing.
    pub fn lifted(&self, world: &dyn World, key: Key) -> Result<Option<Arc<Lifted>>, Stop> {
        for _ in 0..ATTEMPTS {
            let mut region = Region::default();
            let origin = self.lift(world, &mut region, key, self.limits)?;
            let kept = self.keep(world, key, region, &origin);
            if kept.is_some() {
                return Ok(kept);
            }
        }
        Ok(None)
    }
    /// Keeps a region for the interpreter unless its guest code has changed.
    pub fn keep(&self, world: &dyn World, key: Key, region: Region, origin: &Origin) -> Option<Arc<Lifted>> {
        let lifted = Arc::new(Lifted { region, ranges: origin.ranges.clone() });
        self.regions.insert(key, lifted, &|| world.is_current(origin))
    }
    /// The guest instructions of a region as text.
    fn listing(&self, world: &dyn World, region: &Region, mode: u64, symbol: Option<&str>) -> String {
        let mut text = format!("IN: {}\n", symbol.unwrap_or_default());
        for insn in &region.insns {
            let mut bytes = vec![0; usize::from(insn.len)];
            let address = self.guest.code_address(insn.pc);
            let got = world.fetch(address, &mut bytes);
            let hex: String = bytes[..got].iter().map(|b| format!("{b:02x} ")).collect();
            let _ = write!(text, "{address:#010x}:  {hex:<24}");
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

/// The integer registers, four to a line.
fn registers(table: &RegTable, state: &CpuState) -> String {
    let width = table.addr_bits as usize / 4;
    let mut text = format!("PC={:0width$x}", state.pc());
    let shown = |def: &RegDef| def.ty.is_int() || def.ty == Type::Flags;
    for (n, (index, def)) in table.regs.iter().enumerate().filter(|(_, def)| shown(def)).enumerate() {
        let value = state.get(table, RegId(index as u16));
        text.push(if n % 4 == 0 { '\n' } else { ' ' });
        let _ = write!(text, "{}={value:0width$x}", def.name.to_uppercase());
    }
    text.push('\n');
    text
}
