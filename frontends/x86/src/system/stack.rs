//! Frames on stacks: of the code that runs, and of more privileged code that is entered.

use super::cpu::{Cpu, Rights, canonical, mask, ss};
use super::descriptor::{Segment, number};
use crate::state::{ESP, rights};
use isamorph_ir::Trap;

/// A stack pointer that moves without being the register yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stack {
    base: u64,
    limit: u32,
    attr: u32,
    /// The part of the register that counts.
    mask: u64,
    rights: Rights,
    /// The selector that an #SS names; 0 for the stack that is in use.
    named: u64,
    /// The stack pointer.
    pub(super) pointer: u64,
}

impl Stack {
    /// The one in use.
    pub(super) fn current(cpu: &Cpu<'_>) -> Self {
        let segment = cpu.segment(number::SS);
        Stack { named: 0, rights: Rights::Current, ..Self::of(cpu.code64(), segment, cpu.get(ESP)) }
    }
    /// One of more privileged code: `wide` if that is 64-bit code.
    pub(super) fn inner(wide: bool, segment: Segment, pointer: u64) -> Self {
        Stack { rights: Rights::System, ..Self::of(wide, segment, pointer) }
    }
    /// The same with the rights of the code that runs.
    pub(super) fn of_program(self) -> Self {
        Stack { rights: Rights::Current, ..self }
    }
    fn of(wide: bool, segment: Segment, pointer: u64) -> Self {
        let Segment { selector, base, limit, attr } = segment;
        let size = if wide {
            8
        } else if attr & rights::BIG != 0 {
            4
        } else {
            2
        };
        let base = if wide { 0 } else { base };
        Stack { base, limit, attr, mask: mask(size), rights: Rights::System, named: selector, pointer }
    }
    /// The address of that many bytes.
    fn locate(&self, pointer: u64, bytes: u64) -> Result<u64, Trap> {
        let offset = pointer & self.mask;
        if self.mask == u64::MAX {
            return if canonical(offset) { Ok(offset) } else { Err(ss(0)) };
        }
        let last = offset + bytes - 1;
        let within = if self.attr & (rights::DOWN | rights::CODE) == rights::DOWN {
            let top = if self.attr & rights::BIG != 0 { mask(4) } else { 0xffff };
            offset > self.limit.into() && last <= top
        } else {
            last <= self.limit.into()
        };
        if within { Ok(self.base.wrapping_add(offset) & mask(4)) } else { Err(ss(self.named)) }
    }
    fn moved(&self, by: u64) -> u64 {
        self.pointer & !self.mask | self.pointer.wrapping_add(by) & self.mask
    }
    /// Pushes that many bytes.
    pub(super) fn push(&mut self, cpu: &Cpu<'_>, bytes: u64, value: u64) -> Result<(), Trap> {
        let pointer = self.moved(bytes.wrapping_neg());
        let addr = self.locate(pointer, bytes)?;
        cpu.write(self.rights, addr, &value.to_le_bytes()[..bytes as usize])?;
        self.pointer = pointer;
        Ok(())
    }
    /// Pops that many bytes.
    pub(super) fn pop(&mut self, cpu: &Cpu<'_>, bytes: u64) -> Result<u64, Trap> {
        let value = self.peek(cpu, 0, bytes)?;
        self.skip(bytes);
        Ok(value)
    }
    /// Reads that many bytes above the top.
    pub(super) fn peek(&self, cpu: &Cpu<'_>, above: u64, bytes: u64) -> Result<u64, Trap> {
        let addr = self.locate(self.moved(above), bytes)?;
        let mut raw = [0; 8];
        cpu.read(self.rights, addr, &mut raw[..bytes as usize])?;
        Ok(u64::from_le_bytes(raw))
    }
    /// Drops that many bytes.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.pointer = self.moved(bytes);
    }
    /// Makes the pointer the register, the part of it that this stack has.
    pub(super) fn commit(&self, cpu: &mut Cpu<'_>) {
        let old = cpu.get(ESP);
        let kept = if self.mask == 0xffff { old & 0xffff_0000 } else { 0 };
        cpu.set(ESP, kept | self.pointer & self.mask);
    }
}
