//! Far jumps, calls and returns, `iret` (SDM vol. 2, JMP, CALL, RET, IRET; vol. 3, 5.8).

use super::cpu::{Cpu, canonical, gp, mask, np};
use super::descriptor::{Descriptor, Segment, kind, number};
use super::stack::Stack;
use super::task::{self, Cause};
use crate::state::{CS, ESP, debugged, eflag, rights, word};
use isamorph_ir::{FlagSet, Trap};

/// A far jump or call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Far {
    pub(super) selector: u64,
    pub(super) offset: u64,
    /// Operand size, bytes.
    pub(super) size: u64,
    /// EIP of the instruction after it.
    pub(super) next: u64,
    pub(super) call: bool,
}

impl Far {
    fn rpl(&self) -> u32 {
        (self.selector & 3) as u32
    }
}

/// What an instruction returns to.
struct Target {
    code: Segment,
    eip: u64,
    level: u32,
}

impl Cpu<'_> {
    pub(super) fn far(&mut self, far: &Far) -> Result<(), Trap> {
        if self.paragraphs() {
            return self.far_paragraph(far);
        }
        if far.selector & 0xfffc == 0 {
            return Err(gp(0));
        }
        let d = self.descriptor(far.selector, gp)?;
        let long = self.long_active();
        match d.kind() {
            None if d.is_code() => self.far_code(far, d),
            Some(kind::CALL_GATE16) if !long => self.far_gate(far, d, 2),
            Some(kind::CALL_GATE32) => self.far_gate(far, d, if long { 8 } else { 4 }),
            Some(kind::TASK_GATE | kind::TSS16 | kind::TSS32) if !long => self.far_task(far, d),
            _ => Err(gp(far.selector)),
        }
    }
    fn far_paragraph(&mut self, far: &Far) -> Result<(), Trap> {
        let eip = far.offset & mask(far.size);
        if eip > self.segment(number::CS).limit.into() {
            return Err(gp(0));
        }
        if far.call {
            let mut stack = Stack::current(self);
            stack.push(self, far.size, self.get(CS))?;
            stack.push(self, far.size, far.next)?;
            stack.commit(self);
        }
        self.load_paragraph(number::CS, far.selector);
        self.set_eip(eip);
        Ok(())
    }
    /// Where code may begin.
    fn check_offset(&self, code: Descriptor, eip: u64) -> Result<(), Trap> {
        let long = self.long_active() && code.has(rights::LONG);
        let inside = if long { canonical(eip) } else { eip <= code.limit().into() };
        if inside { Ok(()) } else { Err(gp(0)) }
    }
    /// A segment cannot be 64-bit and 32-bit code.
    fn check_width(&self, selector: u64, code: Descriptor) -> Result<(), Trap> {
        let both = self.long_active() && code.has(rights::LONG | rights::BIG);
        if both { Err(gp(selector)) } else { Ok(()) }
    }
    fn far_code(&mut self, far: &Far, mut code: Descriptor) -> Result<(), Trap> {
        let level = self.cpl();
        let reachable =
            if code.is_conforming() { code.dpl() <= level } else { far.rpl() <= level && code.dpl() == level };
        if !reachable {
            return Err(gp(far.selector));
        }
        if !code.present() {
            return Err(np(far.selector));
        }
        self.check_width(far.selector, code)?;
        let eip = far.offset & mask(far.size);
        let mut stack = Stack::current(self);
        if far.call {
            stack.push(self, far.size, self.get(CS))?;
            stack.push(self, far.size, far.next)?;
        }
        self.check_offset(code, eip)?;
        self.mark_accessed(far.selector, &mut code)?;
        stack.commit(self);
        self.set_code(Segment::new(far.selector & !3 | u64::from(level), code));
        self.set_eip(eip);
        Ok(())
    }
    fn check_gate(&self, far: &Far, gate: Descriptor) -> Result<(), Trap> {
        if gate.dpl() < self.cpl() || gate.dpl() < far.rpl() {
            return Err(gp(far.selector));
        }
        if gate.present() { Ok(()) } else { Err(np(far.selector)) }
    }
    fn far_task(&mut self, far: &Far, d: Descriptor) -> Result<(), Trap> {
        self.check_gate(far, d)?;
        let selector = if d.kind() == Some(kind::TASK_GATE) { d.gate_selector() } else { far.selector };
        task::switch(self, selector, if far.call { Cause::Call } else { Cause::Jump }, far.next, None)
    }
    /// Through a call gate of that operand size.
    fn far_gate(&mut self, far: &Far, gate: Descriptor, size: u64) -> Result<(), Trap> {
        self.check_gate(far, gate)?;
        let mut eip = gate.gate_offset(size != 2);
        if size == 8 {
            let addr = self.entry(far.selector, 16).ok_or(gp(far.selector))?;
            let upper = self.read_descriptor(addr.wrapping_add(8))?;
            if upper.high >> 8 & 0x1f != 0 {
                return Err(gp(far.selector));
            }
            eip |= u64::from(upper.low) << 32;
        }
        let selector = gate.gate_selector();
        if selector & 0xfffc == 0 {
            return Err(gp(0));
        }
        let mut code = self.descriptor(selector, gp)?;
        let level = self.cpl();
        let jumps_inward = !far.call && !code.is_conforming() && code.dpl() != level;
        if !code.is_code() || code.dpl() > level || jumps_inward {
            return Err(gp(selector));
        }
        if size == 8 && (!code.has(rights::LONG) || code.has(rights::BIG)) {
            return Err(gp(selector));
        }
        if !code.present() {
            return Err(np(selector));
        }
        self.check_offset(code, eip)?;
        if far.call && !code.is_conforming() && code.dpl() < level {
            self.call_inward(far, gate, code, size)?;
        } else {
            let mut stack = Stack::current(self);
            if far.call {
                stack.push(self, size, self.get(CS))?;
                stack.push(self, size, far.next)?;
            }
            self.mark_accessed(selector, &mut code)?;
            stack.commit(self);
            self.set_code(Segment::new(selector & !3 | u64::from(level), code));
        }
        self.set_eip(eip);
        self.level_changed();
        Ok(())
    }
    /// The part of a call through a gate that changes the level, the stack and CS.
    fn call_inward(&mut self, far: &Far, gate: Descriptor, mut code: Descriptor, size: u64) -> Result<(), Trap> {
        let level = code.dpl();
        let old = Stack::current(self);
        let (segment, pointer) = if size == 8 {
            (Segment::null(level.into(), level), self.long_stack(4 + 8 * u64::from(level))?)
        } else {
            self.inner_stack(level)?
        };
        let mut stack = Stack::inner(size == 8, segment, pointer);
        stack.push(self, size, self.segment(number::SS).selector)?;
        stack.push(self, size, self.pointer(ESP))?;
        let parameters = if size == 8 { 0 } else { u64::from(gate.high & 31) };
        for n in (0..parameters).rev() {
            let value = old.peek(self, n * size, size)?;
            stack.push(self, size, value)?;
        }
        stack.push(self, size, self.get(CS))?;
        stack.push(self, size, far.next)?;
        let selector = gate.gate_selector();
        self.mark_accessed(selector, &mut code)?;
        self.set_segment(number::SS, segment);
        self.set_code(Segment::new(selector & !3 | u64::from(level), code));
        stack.commit(self);
        Ok(())
    }
    /// What a far return or `iret` may go to (SDM vol. 2, RET).
    fn return_target(&self, selector: u64, eip: u64) -> Result<Target, Trap> {
        let level = (selector & 3) as u32;
        if selector & 0xfffc == 0 {
            return Err(gp(0));
        }
        let mut code = self.descriptor(selector, gp)?;
        let fits = if code.is_conforming() { code.dpl() <= level } else { code.dpl() == level };
        if !code.is_code() || level < self.cpl() || !fits {
            return Err(gp(selector));
        }
        if !code.present() {
            return Err(np(selector));
        }
        self.check_width(selector, code)?;
        self.check_offset(code, eip)?;
        self.mark_accessed(selector, &mut code)?;
        Ok(Target { code: Segment::new(selector, code), eip, level })
    }
    /// `retf`: releases that many bytes of parameters.
    pub(super) fn far_return(&mut self, size: u64, release: u64) -> Result<(), Trap> {
        let mut stack = Stack::current(self);
        let eip = stack.pop(self, size)?;
        let selector = stack.pop(self, size)? & 0xffff;
        if self.paragraphs() {
            stack.skip(release);
            return self.return_paragraph(&stack, selector, eip);
        }
        let target = self.return_target(selector, eip)?;
        stack.skip(release);
        if target.level > self.cpl() {
            let pointer = stack.pop(self, size)?;
            let outer = stack.pop(self, size)?;
            self.return_outward(target, outer, pointer, release)
        } else {
            stack.commit(self);
            self.set_code(target.code);
            self.set_eip(target.eip);
            Ok(())
        }
    }
    fn return_paragraph(&mut self, stack: &Stack, selector: u64, eip: u64) -> Result<(), Trap> {
        if eip > self.segment(number::CS).limit.into() {
            return Err(gp(0));
        }
        stack.commit(self);
        self.load_paragraph(number::CS, selector);
        self.set_eip(eip);
        Ok(())
    }
    /// Goes on with another stack: that of an outer level, or any after an `iret` of 64-bit code.
    fn return_outward(&mut self, target: Target, selector: u64, pointer: u64, release: u64) -> Result<(), Trap> {
        let long = self.long_active() && target.code.is_long();
        let segment = self.checked_stack(selector & 0xffff, target.level, gp, long)?;
        let outward = target.level > self.cpl();
        self.set_segment(number::SS, segment);
        self.set_code(target.code);
        let mut stack = Stack::inner(long, segment, pointer);
        stack.skip(release);
        stack.commit(self);
        if outward {
            self.drop_inner_segments();
        }
        self.set_eip(target.eip);
        self.level_changed();
        Ok(())
    }
    /// Loads the bits of EFLAGS that the mask has. RF is kept only where something looks at it.
    pub(super) fn load_flags(&mut self, image: u64, bits: u32) {
        let bits = u64::from(bits);
        let rf = if debugged(self.state) { 0 } else { u64::from(eflag::RF) };
        let flags = (self.eflags() & !bits | image & bits) & !rf;
        self.set_eflags(flags);
    }
    /// The bits of EFLAGS that `iret` and `popf` of that size load (SDM vol. 2, IRET, POPF).
    pub(super) fn loadable_flags(&self, size: u64) -> u32 {
        let mut bits = FlagSet::all().bits() | eflag::DF | eflag::TF | eflag::NT;
        if size > 2 {
            bits |= eflag::AC | eflag::ID;
        }
        let level = if self.protected() { self.cpl() } else { 0 };
        if level <= self.iopl() {
            bits |= eflag::IF;
        }
        if level == 0 {
            bits |= eflag::IOPL;
        }
        bits
    }
    /// `iret`; `next` is the EIP after it, for the task that it may leave.
    pub(super) fn iret(&mut self, size: u64, next: u64) -> Result<(), Trap> {
        let flags = self.eflags() as u32;
        if self.protected() && flags & eflag::VM == 0 && flags & eflag::NT != 0 {
            return if self.long_active() { Err(gp(0)) } else { self.return_task(next) };
        }
        if self.v86() && self.iopl() < 3 {
            return Err(gp(0));
        }
        let mut stack = Stack::current(self);
        let eip = stack.pop(self, size)?;
        let selector = stack.pop(self, size)? & 0xffff;
        let image = stack.pop(self, size)?;
        let mut bits = self.loadable_flags(size);
        if size > 2 {
            bits |= eflag::RF;
        }
        if self.paragraphs() {
            self.return_paragraph(&stack, selector, eip)?;
        } else if size == 4 && !self.long_active() && image as u32 & eflag::VM != 0 && self.cpl() == 0 {
            self.return_to_v86(stack, selector, eip, image)?;
            word::NMI_BLOCKED.set(self.state, 0);
            return Ok(());
        } else {
            let target = self.return_target(selector, eip)?;
            if target.level > self.cpl() || self.code64() {
                let pointer = stack.pop(self, size)?;
                let outer = stack.pop(self, size)?;
                if self.cpl() == 0 && size > 2 {
                    bits |= eflag::VIF | eflag::VIP;
                }
                self.return_outward(target, outer, pointer, 0)?;
            } else {
                stack.commit(self);
                self.set_code(target.code);
                self.set_eip(target.eip);
            }
        }
        word::NMI_BLOCKED.set(self.state, 0);
        self.load_flags(image, bits);
        self.level_changed();
        Ok(())
    }
    /// The task that the current one is nested in goes on (SDM vol. 3, 7.4).
    fn return_task(&mut self, next: u64) -> Result<(), Trap> {
        let selector = self.system_read(word::TR_BASE.get(self.state), 2)?;
        word::NMI_BLOCKED.set(self.state, 0);
        task::switch(self, selector, Cause::Return, next, None)
    }
    /// SDM vol. 3, 20.2.5.
    fn return_to_v86(&mut self, mut stack: Stack, selector: u64, eip: u64, image: u64) -> Result<(), Trap> {
        let mut frame = [0; 6];
        for slot in &mut frame {
            *slot = stack.pop(self, 4)?;
        }
        let [pointer, outer, es, ds, fs, gs] = frame;
        self.set_eflags(image | u64::from(eflag::FIXED));
        let selectors = [es, selector, outer, ds, fs, gs];
        for (n, selector) in (0..).zip(selectors) {
            self.set_segment(n, Segment::paragraph(selector));
        }
        self.load_flags(image, 0);
        self.set(ESP, pointer & mask(4));
        self.set_eip(eip & 0xffff);
        self.level_changed();
        Ok(())
    }
}
