//! Interrupts and exceptions (SDM vol. 3, chapter 6).

use super::cpu::{Cpu, Rights, canonical, gp, np, ts};
use super::descriptor::{Descriptor, Segment, kind, number};
use super::stack::Stack;
use super::task::{self, Cause};
use crate::decode::{MAX_LEN, uses_stack_segment};
use crate::exception;
use crate::mode::Mode;
use crate::state::{EFLAGS_REST, ESP, SHADOW, eflag, rights, word};
use isamorph_guest::Delivered;
use isamorph_ir::{FaultCause, FloatUnit, Trap};

/// Bytes of a page.
const PAGE: usize = 4096;

/// Where an interruption comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// Outside: an interrupt, or an NMI.
    External,
    /// An exception of the processor.
    Exception,
    /// `int n`.
    Software,
    /// `int3`, `into`.
    Breakpoint,
    /// `int1`.
    Privileged,
}

/// What is delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Interruption {
    pub(super) vector: u8,
    pub(super) error: Option<u32>,
    pub(super) origin: Origin,
    /// Where the interrupted program goes on.
    pub(super) eip: u64,
}

impl Interruption {
    /// Whether the privilege level of the gate matters.
    fn is_software(&self) -> bool {
        matches!(self.origin, Origin::Software | Origin::Breakpoint)
    }
    /// Bit 0 of error codes: not the program's fault (SDM vol. 3, 6.13).
    fn ext(&self) -> u64 {
        u64::from(!self.is_software())
    }
    /// The error code that names the gate.
    fn gate_error(&self) -> u64 {
        u64::from(self.vector) << 3 | 2
    }
    /// EFLAGS as the handler finds them on its stack. A fault sets RF (SDM vol. 3, 17.3.1.1); nothing else has it.
    fn image(&self, cpu: &Cpu<'_>) -> u64 {
        let rf = u64::from(eflag::RF);
        let fault =
            self.origin == Origin::Exception && !matches!(u32::from(self.vector), exception::DB | exception::BP);
        if fault { cpu.eflags() | rf } else { cpu.eflags() & !rf }
    }
}

/// The exceptions that push an error code.
const WITH_ERROR: u32 = 1 << exception::DF
    | 1 << exception::TS
    | 1 << exception::NP
    | 1 << exception::SS
    | 1 << exception::GP
    | 1 << exception::PF
    | 1 << exception::AC;
/// The exceptions of which two are one too many (SDM vol. 3, table 6-4).
const CONTRIBUTORY: u32 =
    1 << exception::DE | 1 << exception::TS | 1 << exception::NP | 1 << exception::SS | 1 << exception::GP;

/// The gates that a table of 8-byte entries may have.
const GATES: [u32; 5] =
    [kind::TASK_GATE, kind::INTERRUPT_GATE16, kind::TRAP_GATE16, kind::INTERRUPT_GATE32, kind::TRAP_GATE32];
/// The segment registers that an interrupt of virtual-8086 mode pushes and clears, in this order.
const V86_FRAME: [u16; 4] = [number::GS, number::FS, number::DS, number::ES];

/// The vector and the argument of a trap.
pub(super) fn vector_of(trap: Trap) -> (u32, u64) {
    match trap {
        Trap::Exception { code, arg } => (code, arg),
        Trap::Memory(fault) => match fault.cause {
            FaultCause::Guest { code, arg } => (code, arg),
            FaultCause::Misaligned | FaultCause::Unmapped | FaultCause::Protected | FaultCause::NoBacking => {
                (exception::GP, 0)
            }
        },
        Trap::Divide => (exception::DE, 0),
        Trap::Float(FloatUnit::X87) => (exception::MF, 0),
        Trap::Float(FloatUnit::Vector) => (exception::XM, 0),
    }
}

/// What the second of two exceptions becomes (SDM vol. 3, table 6-5); nothing stands for a shutdown.
fn combine(first: Option<u32>, second: u32) -> Option<u32> {
    let contributory = CONTRIBUTORY >> second & 1 != 0;
    match first {
        Some(exception::DF) if contributory || second == exception::PF => None,
        Some(exception::PF) if contributory || second == exception::PF => Some(exception::DF),
        Some(code) if CONTRIBUTORY >> code & 1 != 0 && contributory => Some(exception::DF),
        _ => Some(second),
    }
}

impl Cpu<'_> {
    /// Delivers an exception at the program counter, and those that come of it.
    pub(super) fn raise(&mut self, trap: Trap) -> Delivered {
        let trap = if self.misses_stack(trap) { super::cpu::ss(0) } else { trap };
        self.raise_after(None, trap)
    }
    /// Whether it is an address that is none, which raises #GP, but #SS where the stack segment is meant; memory does
    /// not know the segment, so the instruction is asked.
    fn misses_stack(&self, trap: Trap) -> bool {
        let Trap::Memory(fault) = trap else { return false };
        let (pc, mut bytes) = (self.state.pc(), [0; MAX_LEN]);
        let in_page = (PAGE - pc as usize % PAGE).min(MAX_LEN);
        matches!(fault.cause, FaultCause::Guest { code: exception::GP, .. })
            && [MAX_LEN, in_page].iter().any(|len| self.read(Rights::System, pc, &mut bytes[..*len]).is_ok())
            && uses_stack_segment(Mode::of(self.state), &bytes)
    }
    /// The same, for an exception that comes of delivering something else.
    fn raise_after(&mut self, mut first: Option<u32>, mut trap: Trap) -> Delivered {
        loop {
            let (second, arg) = vector_of(trap);
            let Some(vector) = combine(first, second) else {
                word::SHUT_DOWN.set(self.state, 1);
                return Delivered::Shutdown;
            };
            let arg = if vector == exception::DF { 0 } else { arg };
            self.note(vector, arg, trap);
            let error = (WITH_ERROR >> vector & 1 != 0 && self.protected()).then_some(arg as u32);
            let eip = self.eip();
            let interruption = Interruption { vector: vector as u8, error, origin: Origin::Exception, eip };
            match self.interrupt(&interruption) {
                Ok(()) => return Delivered::Done,
                Err(next) => trap = next,
            }
            first = Some(vector);
        }
    }
    /// What an exception leaves in registers besides its error code.
    fn note(&mut self, vector: u32, arg: u64, trap: Trap) {
        match (vector, trap) {
            (exception::PF, Trap::Memory(fault)) => word::CR2.set(self.state, fault.addr),
            (exception::DB, _) => {
                // Without an argument it is a single step.
                self.note_debug(if arg == 0 { super::debug::SINGLE_STEP } else { arg });
            }
            _ => {}
        }
    }
    /// Delivers what comes from outside.
    pub(super) fn external(&mut self, vector: u8) -> Delivered {
        let eip = self.eip();
        match self.interrupt(&Interruption { vector, error: None, origin: Origin::External, eip }) {
            Ok(()) => Delivered::Done,
            Err(trap) => self.raise_after(None, trap),
        }
    }
    /// Follows the gate of an interruption. If it fails before the end, the state is as it was.
    pub(super) fn interrupt(&mut self, what: &Interruption) -> Result<(), Trap> {
        let done = if !self.protected() {
            self.interrupt_real(what)
        } else if self.v86() && what.origin == Origin::Software && self.iopl() < 3 {
            return Err(gp(0));
        } else if self.long_active() {
            self.interrupt_long(what)
        } else {
            self.interrupt_protected(what)
        };
        match done {
            Ok(()) => {
                self.set(SHADOW, 0);
                Ok(())
            }
            // The error codes of what goes wrong on the way tell if the program asked for it; a page fault's does not.
            Err(Trap::Exception { code, arg }) if WITH_ERROR >> code & 1 != 0 => {
                Err(Trap::Exception { code, arg: arg | what.ext() })
            }
            Err(other) => Err(other),
        }
    }
    /// SDM vol. 3, 20.1.4.
    fn interrupt_real(&mut self, what: &Interruption) -> Result<(), Trap> {
        let offset = 4 * u64::from(what.vector);
        if offset + 3 > word::IDTR_LIMIT.get(self.state) {
            return Err(idt(what));
        }
        let entry = self.system_read(word::IDTR_BASE.get(self.state).wrapping_add(offset), 4)?;
        let mut stack = Stack::current(self);
        for value in [self.eflags(), self.segment(number::CS).selector, what.eip] {
            stack.push(self, 2, value)?;
        }
        stack.commit(self);
        self.clear_flags(eflag::IF | eflag::TF | eflag::AC | eflag::RF);
        self.load_paragraph(number::CS, entry >> 16);
        self.set_eip(entry & 0xffff);
        Ok(())
    }
    fn clear_flags(&mut self, bits: u32) {
        let rest = self.get(EFLAGS_REST) & !u64::from(bits);
        self.set(EFLAGS_REST, rest);
    }
    /// What every handler in protected mode finds cleared.
    fn enter_handler(&mut self, masks: bool) {
        let always = eflag::TF | eflag::VM | eflag::RF | eflag::NT;
        self.clear_flags(if masks { always | eflag::IF } else { always });
    }
    /// The gate at an offset of the interrupt descriptor table, checked: its type, whether the program may use it.
    fn interrupt_gate(&self, what: &Interruption, size: u64, kinds: &[u32]) -> Result<(u64, Descriptor, u32), Trap> {
        let offset = size * u64::from(what.vector);
        if offset + size - 1 > word::IDTR_LIMIT.get(self.state) {
            return Err(idt(what));
        }
        let addr = word::IDTR_BASE.get(self.state).wrapping_add(offset);
        let gate = self.read_descriptor(addr)?;
        let kind = gate.kind().filter(|kind| kinds.contains(kind)).ok_or(idt(what))?;
        if what.is_software() && gate.dpl() < self.cpl() {
            return Err(idt(what));
        }
        if !gate.present() {
            return Err(Trap::Exception { code: exception::NP, arg: what.gate_error() });
        }
        Ok((addr, gate, kind))
    }
    /// The code segment that a gate leads to.
    fn handler_code(&self, gate: Descriptor) -> Result<Descriptor, Trap> {
        let selector = gate.gate_selector();
        if selector & 0xfffc == 0 {
            return Err(gp(0));
        }
        let code = self.descriptor(selector, gp)?;
        if !code.is_code() || code.dpl() > self.cpl() {
            return Err(gp(selector));
        }
        if !code.present() {
            return Err(np(selector));
        }
        Ok(code)
    }
    /// The level at which the handler runs.
    fn handler_level(&self, code: Descriptor) -> u32 {
        if code.is_conforming() { self.cpl() } else { code.dpl() }
    }
    /// SDM vol. 3, 6.12: gates of 8 bytes.
    fn interrupt_protected(&mut self, what: &Interruption) -> Result<(), Trap> {
        let (_, gate, kind) = self.interrupt_gate(what, 8, &GATES)?;
        if kind == kind::TASK_GATE {
            return task::switch(self, gate.gate_selector(), Cause::Interrupt, what.eip, what.error);
        }
        let wide = kind & 8 != 0;
        let size = if wide { 4 } else { 2 };
        let mut code = self.handler_code(gate)?;
        let level = self.handler_level(code);
        let inward = level < self.cpl();
        if self.v86() && level != 0 {
            return Err(gp(gate.gate_selector()));
        }
        let (mut stack, segment) = if inward {
            let (segment, pointer) = self.inner_stack(level)?;
            (Stack::inner(false, segment, pointer), Some(segment))
        } else {
            (Stack::current(self), None)
        };
        let offset = gate.gate_offset(wide);
        if offset > code.limit().into() {
            return Err(gp(0));
        }
        if self.v86() {
            for n in V86_FRAME {
                stack.push(self, size, self.segment(n).selector)?;
            }
        }
        if inward {
            stack.push(self, size, self.segment(number::SS).selector)?;
            stack.push(self, size, self.get(ESP))?;
        }
        for value in [what.image(self), self.segment(number::CS).selector, what.eip] {
            stack.push(self, size, value)?;
        }
        if let Some(error) = what.error {
            stack.push(self, size, error.into())?;
        }
        self.mark_accessed(gate.gate_selector(), &mut code)?;
        if self.v86() {
            V86_FRAME.into_iter().for_each(|n| self.set_segment(n, Segment::null(0, 0)));
        }
        self.enter_handler(kind & 1 == 0);
        if let Some(segment) = segment {
            self.set_segment(number::SS, segment);
        }
        stack.commit(self);
        self.set_code(Segment::new(gate.gate_selector() & !3 | u64::from(level), code));
        self.set_eip(offset);
        self.level_changed();
        Ok(())
    }
    /// The stack that the task state has for a level (SDM vol. 3, 7.2.1).
    pub(super) fn inner_stack(&self, level: u32) -> Result<(Segment, u64), Trap> {
        let selector = word::TR.get(self.state);
        let wide = word::TR_ATTR.get(self.state) >> 8 & 8 != 0;
        let (size, offset) = if wide { (4, 4 + 8 * u64::from(level)) } else { (2, 2 + 4 * u64::from(level)) };
        if offset + size + 1 > word::TR_LIMIT.get(self.state) {
            return Err(ts(selector));
        }
        let addr = word::TR_BASE.get(self.state).wrapping_add(offset);
        let pointer = self.system_read(addr, size as usize)?;
        let stack = self.system_read(addr.wrapping_add(size), 2)?;
        if stack & 0xfffc == 0 {
            return Err(ts(0));
        }
        Ok((self.checked_stack(stack, level, ts, false)?, pointer))
    }
    /// SDM vol. 3, 6.14: gates of 16 bytes.
    fn interrupt_long(&mut self, what: &Interruption) -> Result<(), Trap> {
        let (addr, gate, kind) = self.interrupt_gate(what, 16, &[kind::INTERRUPT_GATE32, kind::TRAP_GATE32])?;
        let high = self.system_read(addr.wrapping_add(8), 4)?;
        let target = gate.gate_offset(true) | high << 32;
        let mut code = self.handler_code(gate)?;
        if !code.has(rights::LONG) || code.has(rights::BIG) {
            return Err(gp(gate.gate_selector()));
        }
        let level = self.handler_level(code);
        let inward = level < self.cpl();
        let table = u64::from(gate.stack_table());
        let pointer = if table != 0 {
            self.long_stack(0x1c + 8 * table)?
        } else if inward {
            self.long_stack(4 + 8 * u64::from(level))?
        } else {
            self.pointer(ESP)
        };
        if !canonical(target) {
            return Err(gp(0));
        }
        let old = self.segment(number::SS);
        let segment = if inward { Segment::null(level.into(), level) } else { old };
        let mut stack = Stack::inner(true, segment, pointer & !15);
        if level == 3 {
            stack = stack.of_program();
        }
        let frame = [old.selector, self.pointer(ESP), what.image(self), self.segment(number::CS).selector, what.eip];
        for value in frame {
            stack.push(self, 8, value)?;
        }
        if let Some(error) = what.error {
            stack.push(self, 8, error.into())?;
        }
        self.mark_accessed(gate.gate_selector(), &mut code)?;
        self.enter_handler(kind & 1 == 0);
        self.set_segment(number::SS, segment);
        self.set_code(Segment::new(gate.gate_selector() & !3 | u64::from(level), code));
        self.set(ESP, stack.pointer);
        self.set_eip(target);
        self.level_changed();
        Ok(())
    }
    /// A stack pointer of the 64-bit task state.
    pub(super) fn long_stack(&self, offset: u64) -> Result<u64, Trap> {
        if offset + 7 > word::TR_LIMIT.get(self.state) {
            return Err(ts(word::TR.get(self.state)));
        }
        let pointer = self.system_read(word::TR_BASE.get(self.state).wrapping_add(offset), 8)?;
        if canonical(pointer) { Ok(pointer) } else { Err(super::cpu::ss(0)) }
    }
}

fn idt(what: &Interruption) -> Trap {
    Trap::Exception { code: exception::GP, arg: what.gate_error() }
}
