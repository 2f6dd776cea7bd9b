//! Task switches (SDM vol. 3, chapter 7).

use super::cpu::{Cpu, cr0, gp, np, ts};
use super::descriptor::{Descriptor, Segment, kind, number};
use super::stack::Stack;
use crate::state::{CR0, EAX, ES, eflag, word};
use isamorph_ir::{Flush, RegId, Trap};

/// What causes a switch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    Jump,
    Call,
    Interrupt,
    /// `iret` of a nested task.
    Return,
}

impl Cause {
    /// Whether the new task knows the old one and can return to it.
    fn nests(self) -> bool {
        matches!(self, Cause::Call | Cause::Interrupt)
    }
}

/// Where a task state has its fields (SDM vol. 3, figures 7-2 and 7-10).
struct Layout {
    /// Size of a register.
    word: u64,
    eip: u64,
    eflags: u64,
    registers: u64,
    /// Segments; ES first, as many as there are.
    segments: u64,
    segment_count: u16,
    ldt: u64,
    /// Length of the whole.
    bytes: u64,
}

const LAYOUT16: Layout = Layout {
    word: 2,
    eip: 0x0e,
    eflags: 0x10,
    registers: 0x12,
    segments: 0x22,
    segment_count: 4,
    ldt: 0x2a,
    bytes: 0x2c,
};
const LAYOUT32: Layout = Layout {
    word: 4,
    eip: 0x20,
    eflags: 0x24,
    registers: 0x28,
    segments: 0x48,
    segment_count: 6,
    ldt: 0x60,
    bytes: 0x68,
};
/// CR3 and the debug-trap flag of the 32-bit one.
const CR3_AT: u64 = 0x1c;
const TRAP_AT: u64 = 0x64;
/// The bit that tells a busy task state from an available one: type 1 or 9, then 3 or 11.
pub(super) const BUSY: u32 = 1 << 9;

fn layout(kind: u32) -> &'static Layout {
    if kind & 8 != 0 { &LAYOUT32 } else { &LAYOUT16 }
}

/// A task state as it was read.
struct Incoming {
    layout: &'static Layout,
    raw: [u8; LAYOUT32.bytes as usize],
}

impl Incoming {
    fn field(&self, at: u64, bytes: u64) -> u64 {
        self.raw[at as usize..][..bytes as usize].iter().rev().fold(0, |v, b| v << 8 | u64::from(*b))
    }
    fn word(&self, at: u64) -> u64 {
        self.field(at, self.layout.word)
    }
    fn segment(&self, number: u16) -> u64 {
        let at = self.layout.segments + self.layout.word * u64::from(number);
        if number < self.layout.segment_count { self.field(at, 2) } else { 0 }
    }
}

/// Changes the task. `next` is where the old one goes on; the new one gets the error code on its stack. From the
/// point on where a fault belongs to the new task, [`Cpu::switched`] is set.
pub(super) fn switch(
    cpu: &mut Cpu<'_>,
    selector: u64,
    cause: Cause,
    next: u64,
    error: Option<u32>,
) -> Result<(), Trap> {
    let (addr, d, kind) = find(cpu, selector, cause)?;
    let mut incoming = Incoming { layout: layout(kind), raw: [0; LAYOUT32.bytes as usize] };
    let bytes = incoming.layout.bytes as usize;
    cpu.sys.read_privileged(d.base(), &mut incoming.raw[..bytes])?;
    let old = word::TR.get(cpu.state);
    save(cpu, cause, next)?;
    if cause.nests() {
        cpu.system_write(d.base(), 2, old)?;
    } else if let Some(old) = cpu.entry(old, 8) {
        set_busy(cpu, old, false)?;
    }
    if cause != Cause::Return {
        set_busy(cpu, addr, true)?;
    }
    for (word, value) in [
        (word::TR, selector),
        (word::TR_BASE, d.base()),
        (word::TR_LIMIT, d.limit().into()),
        (word::TR_ATTR, (d.attr() | BUSY).into()),
    ] {
        word.set(cpu.state, value);
    }
    cpu.set(CR0, cpu.cr0() | cr0::TS);
    cpu.switched = true;
    load_registers(cpu, &incoming, cause.nests());
    load_segments(cpu, &incoming)?;
    if incoming.layout.word == 4 && incoming.field(TRAP_AT, 2) & 1 != 0 {
        cpu.pend_debug(super::debug::TASK_SWITCH);
    }
    if let Some(error) = error {
        let mut stack = Stack::current(cpu);
        stack.push(cpu, incoming.layout.word, error.into())?;
        stack.commit(cpu);
    }
    if cpu.eip() > cpu.segment(number::CS).limit.into() { Err(gp(0)) } else { Ok(()) }
}

/// The task state's descriptor, its address and its type.
fn find(cpu: &Cpu<'_>, selector: u64, cause: Cause) -> Result<(u64, Descriptor, u32), Trap> {
    let (refuse, kinds): (fn(u64) -> Trap, _) = if cause == Cause::Return {
        (ts, [kind::TSS16_BUSY, kind::TSS32_BUSY])
    } else {
        (gp, [kind::TSS16, kind::TSS32])
    };
    if selector & 4 != 0 || selector & 0xfffc == 0 {
        return Err(refuse(selector));
    }
    let addr = cpu.entry(selector, 8).ok_or(refuse(selector))?;
    let d = cpu.read_descriptor(addr)?;
    let kind = d.kind().filter(|kind| kinds.contains(kind)).ok_or(refuse(selector))?;
    if !d.present() {
        return Err(np(selector));
    }
    if u64::from(d.limit()) + 1 < layout(kind).bytes {
        return Err(ts(selector));
    }
    Ok((addr, d, kind))
}

/// Marks a task state's descriptor.
pub(super) fn set_busy(cpu: &Cpu<'_>, addr: u64, busy: bool) -> Result<(), Trap> {
    let high = cpu.read_descriptor(addr)?.high;
    let high = if busy { high | BUSY } else { high & !BUSY };
    cpu.system_write(addr.wrapping_add(5), 1, (high >> 8).into())
}

/// Saves the current task.
fn save(cpu: &Cpu<'_>, cause: Cause, next: u64) -> Result<(), Trap> {
    let layout = layout(word::TR_ATTR.get(cpu.state) as u32 >> 8 & 15);
    let base = word::TR_BASE.get(cpu.state);
    let size = layout.word as usize;
    let nested = if cause == Cause::Return { u64::from(eflag::NT) } else { 0 };
    let at = |offset: u64| base.wrapping_add(offset);
    cpu.system_write(at(layout.eip), size, next)?;
    cpu.system_write(at(layout.eflags), size, cpu.eflags() & !nested)?;
    for n in 0..8 {
        cpu.system_write(at(layout.registers + layout.word * u64::from(n)), size, cpu.get(RegId(EAX.0 + n)))?;
    }
    for n in 0..layout.segment_count {
        cpu.system_write(at(layout.segments + layout.word * u64::from(n)), 2, cpu.get(RegId(ES.0 + n)))?;
    }
    Ok(())
}

/// Loads what needs no checks; the segments are unusable for the moment.
fn load_registers(cpu: &mut Cpu<'_>, incoming: &Incoming, nested: bool) {
    let Layout { word: size, eip, eflags, registers, ldt, .. } = *incoming.layout;
    if size == 4 && cpu.cr0() & cr0::PG != 0 {
        super::control::load_page_tables(cpu, incoming.field(CR3_AT, 4));
    }
    // The upper halves that a 16-bit task state lacks are undefined; an 80386 sets them.
    let upper = if size == 2 { 0xffff_0000 } else { 0 };
    for n in 0..8 {
        cpu.set(RegId(EAX.0 + n), incoming.word(registers + size * u64::from(n)) | upper);
    }
    let image = incoming.word(eflags) | if nested { eflag::NT.into() } else { 0 };
    cpu.set_eflags(image & super::flags::EXISTING);
    for n in 0..6 {
        cpu.set_segment(n, Segment::null(incoming.segment(n), 0));
    }
    let level = if cpu.v86() { 3 } else { (incoming.segment(number::CS) & 3) as u32 };
    cpu.set_level(level);
    cpu.set_eip(incoming.word(eip));
    word::LDTR.set(cpu.state, incoming.field(ldt, 2));
    word::LDTR_ATTR.set(cpu.state, 0);
    // Breakpoints of the old task alone (SDM vol. 3, 17.2.4).
    let dr7 = word::DR7.get(cpu.state) & !0x155;
    word::DR7.set(cpu.state, dr7);
    cpu.flush(Flush::Context);
}

/// Loads LDTR and the segments.
fn load_segments(cpu: &mut Cpu<'_>, incoming: &Incoming) -> Result<(), Trap> {
    let ldt = incoming.field(incoming.layout.ldt, 2);
    super::tables::load_ldt(cpu, ldt, ts, ts)?;
    let eip = cpu.eip();
    if cpu.v86() {
        for n in 0..6 {
            cpu.set_segment(n, Segment::paragraph(incoming.segment(n)));
        }
        cpu.set_eip(eip);
        cpu.level_changed();
        return Ok(());
    }
    let level = cpu.cpl();
    let selector = incoming.segment(number::CS);
    let mut code = if selector & 0xfffc == 0 { Err(ts(0)) } else { cpu.descriptor(selector, ts) }?;
    let fits = if code.is_conforming() { code.dpl() <= level } else { code.dpl() == level };
    if !code.is_code() || !fits {
        return Err(ts(selector));
    }
    if !code.present() {
        return Err(np(selector));
    }
    cpu.mark_accessed(selector, &mut code)?;
    cpu.set_code(Segment::new(selector, code));
    cpu.set_eip(eip);
    let stack = cpu.checked_stack(incoming.segment(number::SS), level, ts, false)?;
    cpu.set_segment(number::SS, stack);
    for n in [number::ES, number::DS, number::FS, number::GS] {
        let segment = cpu.checked_data(incoming.segment(n)).map_err(|trap| match trap {
            // What is #GP for an instruction is #TS here.
            Trap::Exception { code: crate::exception::GP, arg } => ts(arg),
            other => other,
        })?;
        cpu.set_segment(n, segment);
    }
    cpu.level_changed();
    Ok(())
}
