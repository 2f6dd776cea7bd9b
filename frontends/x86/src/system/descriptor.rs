//! Segment descriptors and segment registers (SDM vol. 3, chapters 3 and 5).

use super::cpu::{Cpu, gp, mask, np, ss};
use crate::state::{CS_BASE, EDI, ES, ES_ATTR, ES_BASE, ES_LIMIT, FS_BASE, GS_BASE, SS_ATTR, rights, word};
use isamorph_ir::{Flush, RegId, Trap};

/// Numbers of the segment registers (SDM vol. 2, table 3-1).
pub(super) mod number {
    pub(crate) const ES: u16 = 0;
    pub(crate) const CS: u16 = 1;
    pub(crate) const SS: u16 = 2;
    pub(crate) const DS: u16 = 3;
    pub(crate) const FS: u16 = 4;
    pub(crate) const GS: u16 = 5;
}

/// Types of descriptors of the system (SDM vol. 3, table 3-2).
pub(super) mod kind {
    pub(crate) const TSS16: u32 = 1;
    pub(crate) const LDT: u32 = 2;
    pub(crate) const TSS16_BUSY: u32 = 3;
    pub(crate) const CALL_GATE16: u32 = 4;
    pub(crate) const TASK_GATE: u32 = 5;
    pub(crate) const INTERRUPT_GATE16: u32 = 6;
    pub(crate) const TRAP_GATE16: u32 = 7;
    pub(crate) const TSS32: u32 = 9;
    pub(crate) const TSS32_BUSY: u32 = 11;
    pub(crate) const CALL_GATE32: u32 = 12;
    pub(crate) const INTERRUPT_GATE32: u32 = 14;
    pub(crate) const TRAP_GATE32: u32 = 15;
}

/// What of the upper half of a descriptor the attributes of a segment register keep.
const ATTRIBUTES: u32 = 0x00f0_ff00;
/// Attributes of segments in virtual-8086 mode: present, level 3, data, writable, accessed.
pub(super) const V86_ATTR: u32 = 0xf300;

/// A descriptor of 8 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Descriptor {
    pub(super) low: u32,
    pub(super) high: u32,
}

impl Descriptor {
    pub(super) fn base(self) -> u64 {
        u64::from(self.high & 0xff00_0000 | (self.high & 0xff) << 16 | self.low >> 16)
    }
    /// The last offset.
    pub(super) fn limit(self) -> u32 {
        let limit = self.low & 0xffff | self.high & 0xf_0000;
        if self.has(rights::PAGES) { limit << 12 | 0xfff } else { limit }
    }
    pub(super) fn attr(self) -> u32 {
        self.high & ATTRIBUTES
    }
    pub(super) fn has(self, bits: u32) -> bool {
        self.high & bits == bits
    }
    pub(super) fn dpl(self) -> u32 {
        self.high >> rights::DPL_SHIFT & 3
    }
    pub(super) fn present(self) -> bool {
        self.has(rights::PRESENT)
    }
    /// The type of a descriptor of the system; nothing for code and data.
    pub(super) fn kind(self) -> Option<u32> {
        if self.has(rights::ORDINARY) { None } else { Some(self.high >> 8 & 15) }
    }
    pub(super) fn is_code(self) -> bool {
        self.has(rights::ORDINARY | rights::CODE)
    }
    pub(super) fn is_conforming(self) -> bool {
        self.has(rights::DOWN)
    }
    pub(super) fn is_writable_data(self) -> bool {
        self.has(rights::ORDINARY | rights::WRITABLE) && !self.is_code()
    }
    pub(super) fn is_readable(self) -> bool {
        self.has(rights::ORDINARY) && (!self.is_code() || self.has(rights::WRITABLE))
    }
    /// Of a gate: the selector of the code.
    pub(super) fn gate_selector(self) -> u64 {
        u64::from(self.low >> 16)
    }
    /// Of a 64-bit interrupt gate: which stack of the interrupt stack table, 0 for none.
    pub(super) fn stack_table(self) -> u32 {
        self.high & 7
    }
    /// Of a gate: the offset in the code; a 16-bit one has no high half.
    pub(super) fn gate_offset(self, wide: bool) -> u64 {
        u64::from(self.low & 0xffff | if wide { self.high & 0xffff_0000 } else { 0 })
    }
}

/// A value for a segment register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Segment {
    pub(super) selector: u64,
    pub(super) base: u64,
    pub(super) limit: u32,
    pub(super) attr: u32,
}

impl Segment {
    pub(super) fn new(selector: u64, descriptor: Descriptor) -> Self {
        Segment { selector, base: descriptor.base(), limit: descriptor.limit(), attr: descriptor.attr() }
    }
    /// A null selector. As the stack segment it keeps the privilege level.
    pub(super) fn null(selector: u64, level: u32) -> Self {
        Segment { selector, base: 0, limit: 0, attr: level << rights::DPL_SHIFT }
    }
    /// A flat one of that level, as `syscall` and `sysenter` make them.
    pub(super) fn flat(selector: u64, attr: u32, level: u32) -> Self {
        let attr = attr | level << rights::DPL_SHIFT;
        Segment { selector, base: 0, limit: u32::MAX, attr }
    }
    /// A paragraph of virtual-8086 mode.
    pub(super) fn paragraph(selector: u64) -> Self {
        Segment { selector: selector & 0xffff, base: (selector & 0xffff) << 4, limit: 0xffff, attr: V86_ATTR }
    }
    pub(super) fn is_long(&self) -> bool {
        self.attr & rights::LONG != 0
    }
}

/// The row with a segment's base.
pub(super) fn base_row(number: u16) -> RegId {
    match number {
        number::FS => FS_BASE,
        number::GS => GS_BASE,
        _ => RegId(ES_BASE.0 + number),
    }
}

impl Cpu<'_> {
    pub(super) fn segment(&self, number: u16) -> Segment {
        Segment {
            selector: self.get(RegId(ES.0 + number)),
            base: self.get(base_row(number)),
            limit: self.get(RegId(ES_LIMIT.0 + number)) as u32,
            attr: self.get(RegId(ES_ATTR.0 + number)) as u32,
        }
    }
    pub(super) fn set_segment(&mut self, number: u16, segment: Segment) {
        self.set(RegId(ES.0 + number), segment.selector & 0xffff);
        self.set(base_row(number), segment.base);
        self.set(RegId(ES_LIMIT.0 + number), segment.limit.into());
        self.set(RegId(ES_ATTR.0 + number), segment.attr.into());
    }
    /// Loads CS of a privilege level; the caller loads SS, which holds the level. 64-bit code has no base.
    pub(super) fn set_code(&mut self, segment: Segment) {
        let was_long = self.code64();
        self.set_segment(number::CS, segment);
        if self.code64() {
            self.set(CS_BASE, 0);
            if !was_long {
                self.widen();
            }
        }
    }
    /// Code of 32-bit processors leaves the upper halves of registers as they are, and so does the step of string
    /// instructions.
    pub(super) fn widen(&mut self) {
        for row in 0..=EDI.0 {
            let low = self.get(RegId(row)) & mask(4);
            self.set(RegId(row), low);
        }
        let flags = self.eflags();
        self.set_eflags(flags);
    }
    /// Sets the current privilege level in the attributes of the stack segment.
    pub(super) fn set_level(&mut self, level: u32) {
        let attr = self.get(SS_ATTR) as u32 & !(3 << rights::DPL_SHIFT);
        self.set(SS_ATTR, u64::from(attr | level << rights::DPL_SHIFT));
    }
    /// Address of a selector's descriptor of that many bytes, if it is within its table.
    pub(super) fn entry(&self, selector: u64, bytes: u64) -> Option<u64> {
        let (base, limit) = if selector & 4 == 0 {
            (word::GDTR_BASE.get(self.state), word::GDTR_LIMIT.get(self.state))
        } else if word::LDTR_ATTR.get(self.state) as u32 & rights::PRESENT != 0 {
            (word::LDTR_BASE.get(self.state), word::LDTR_LIMIT.get(self.state))
        } else {
            return None;
        };
        let offset = selector & 0xfff8;
        (offset + bytes - 1 <= limit).then(|| base.wrapping_add(offset))
    }
    pub(super) fn read_descriptor(&self, addr: u64) -> Result<Descriptor, Trap> {
        let raw = self.system_read(addr, 8)?;
        Ok(Descriptor { low: raw as u32, high: (raw >> 32) as u32 })
    }
    /// The descriptor of a selector; `refuse` makes the exception if there is none.
    pub(super) fn descriptor(&self, selector: u64, refuse: fn(u64) -> Trap) -> Result<Descriptor, Trap> {
        let addr = self.entry(selector, 8).ok_or(refuse(selector))?;
        self.read_descriptor(addr)
    }
    /// Notes in its descriptor that a segment was loaded.
    pub(super) fn mark_accessed(&self, selector: u64, descriptor: &mut Descriptor) -> Result<(), Trap> {
        if !descriptor.has(rights::ACCESSED) && selector & 0xfffc != 0 {
            descriptor.high |= rights::ACCESSED;
            if let Some(addr) = self.entry(selector, 8) {
                self.system_write(addr.wrapping_add(5), 1, (descriptor.high >> 8).into())?;
            }
        }
        Ok(())
    }
    /// `mov`, `pop`, `lds` …: every segment register but CS.
    pub(super) fn load_data(&mut self, number: u16, selector: u64) -> Result<(), Trap> {
        let selector = selector & 0xffff;
        if self.paragraphs() {
            self.load_paragraph(number, selector);
            return Ok(());
        }
        let segment = if number == number::SS {
            self.checked_stack(selector, self.cpl(), gp, self.code64())?
        } else {
            self.checked_data(selector)?
        };
        self.set_segment(number, segment);
        Ok(())
    }
    /// Real mode changes neither limit nor attributes; that is how "big real mode" is made.
    pub(super) fn load_paragraph(&mut self, number: u16, selector: u64) {
        let paragraph = Segment::paragraph(selector);
        if self.v86() {
            self.set_segment(number, paragraph);
        } else {
            self.set(RegId(ES.0 + number), paragraph.selector);
            self.set(base_row(number), paragraph.base);
        }
    }
    /// SDM vol. 2, MOV: what DS, ES, FS and GS may be loaded with.
    pub(super) fn checked_data(&self, selector: u64) -> Result<Segment, Trap> {
        if selector & 0xfffc == 0 {
            return Ok(Segment::null(selector, 0));
        }
        let mut d = self.descriptor(selector, gp)?;
        let reachable = d.is_code() && d.is_conforming() || (selector & 3) as u32 <= d.dpl() && self.cpl() <= d.dpl();
        if !d.is_readable() || !reachable {
            return Err(gp(selector));
        }
        if !d.present() {
            return Err(np(selector));
        }
        self.mark_accessed(selector, &mut d)?;
        Ok(Segment::new(selector, d))
    }
    /// The stack segment for code of that level; `refuse` makes the exception for what cannot be one. 64-bit code of
    /// the inner levels may have none.
    pub(super) fn checked_stack(
        &self,
        selector: u64,
        level: u32,
        refuse: fn(u64) -> Trap,
        long: bool,
    ) -> Result<Segment, Trap> {
        if selector & 0xfffc == 0 {
            let allowed = long && level != 3 && (selector & 3) as u32 == level;
            return if allowed { Ok(Segment::null(selector, level)) } else { Err(refuse(0)) };
        }
        let mut d = self.descriptor(selector, refuse)?;
        if (selector & 3) as u32 != level || d.dpl() != level || !d.is_writable_data() {
            return Err(refuse(selector));
        }
        if !d.present() {
            return Err(ss(selector));
        }
        self.mark_accessed(selector, &mut d)?;
        Ok(Segment::new(selector, d))
    }
    /// After a return to an outer level: segment registers do not keep what that level could not have loaded.
    pub(super) fn drop_inner_segments(&mut self) {
        let level = self.cpl();
        for n in [number::ES, number::DS, number::FS, number::GS] {
            let segment = self.segment(n);
            let dpl = segment.attr >> rights::DPL_SHIFT & 3;
            let conforming = segment.attr & (rights::CODE | rights::DOWN) == rights::CODE | rights::DOWN;
            if dpl < level && !conforming && segment.attr & rights::PRESENT != 0 {
                // The base stays: FS and GS of 64-bit code may have got theirs from an MSR.
                self.set_segment(n, Segment { selector: 0, attr: segment.attr & !rights::PRESENT, ..segment });
            }
        }
    }
    /// The privilege level or mode may be another now: so may the meaning of addresses.
    pub(super) fn level_changed(&mut self) {
        self.flush(Flush::Context);
    }
}
