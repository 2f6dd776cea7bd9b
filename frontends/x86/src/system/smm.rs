//! System-management mode (SDM vol. 3, chapter 31; the save area of 64-bit processors: AMD64 Architecture Programmer's
//! Manual vol. 2, 10.2.3).

use super::cpu::{Cpu, UD, cr0};
use super::debug::DR7_FIXED;
use super::descriptor::Segment;
use super::walk;
use crate::model::Feature;
use crate::state::{CR0, CR4, eflag, gpr, rights, word};
use isamorph_ir::{Flush, HelperCx, RegId, Trap};

/// Where the handler begins, and where the save area's offsets are counted from, in system-management memory.
const ENTRY: u64 = 0x8000;
/// Revision of the save area: the base can be moved; the format.
const REVISION32: u64 = 0x2_0000;
const REVISION64: u64 = 0x2_0064;
const RELOCATABLE: u64 = 0x2_0000;

/// Where a save area has things, and how large they are.
struct Map {
    revision_at: u64,
    base_at: u64,
    /// Registers: row, offset, bytes.
    rows: &'static [(RegId, u64, usize)],
    words: &'static [(word::Word, u64, usize)],
    eip: u64,
    eflags: u64,
    /// Of each segment register, then LDTR and TR: offsets of selector, attributes, limit, base.
    segments: [[u64; 4]; 8],
    /// Bytes of EIP and of bases.
    width: usize,
    /// Bytes of attributes.
    attr: usize,
}

const LONG_ROWS: &[(RegId, u64, usize)] = &[
    (gpr(0), 0x7ff8, 8),
    (gpr(1), 0x7ff0, 8),
    (gpr(2), 0x7fe8, 8),
    (gpr(3), 0x7fe0, 8),
    (gpr(4), 0x7fd8, 8),
    (gpr(5), 0x7fd0, 8),
    (gpr(6), 0x7fc8, 8),
    (gpr(7), 0x7fc0, 8),
    (gpr(8), 0x7fb8, 8),
    (gpr(9), 0x7fb0, 8),
    (gpr(10), 0x7fa8, 8),
    (gpr(11), 0x7fa0, 8),
    (gpr(12), 0x7f98, 8),
    (gpr(13), 0x7f90, 8),
    (gpr(14), 0x7f88, 8),
    (gpr(15), 0x7f80, 8),
    (CR4, 0x7f48, 4),
    (CR0, 0x7f58, 4),
];
const LONG_WORDS: &[(word::Word, u64, usize)] = &[
    (word::GDTR_BASE, 0x7e68, 8),
    (word::GDTR_LIMIT, 0x7e64, 4),
    (word::IDTR_BASE, 0x7e88, 8),
    (word::IDTR_LIMIT, 0x7e84, 4),
    (word::EFER, 0x7ed0, 8),
    (word::DR6, 0x7f68, 4),
    (word::DR7, 0x7f60, 4),
    (word::CR3, 0x7f50, 8),
];
const fn long_segment(at: u64) -> [u64; 4] {
    [at, at + 2, at + 4, at + 8]
}
static LONG: Map = Map {
    revision_at: 0x7efc,
    base_at: 0x7f00,
    rows: LONG_ROWS,
    words: LONG_WORDS,
    eip: 0x7f78,
    eflags: 0x7f70,
    segments: [
        long_segment(0x7e00),
        long_segment(0x7e10),
        long_segment(0x7e20),
        long_segment(0x7e30),
        long_segment(0x7e40),
        long_segment(0x7e50),
        long_segment(0x7e70),
        long_segment(0x7e90),
    ],
    width: 8,
    attr: 2,
};

const NARROW_ROWS: &[(RegId, u64, usize)] = &[
    (gpr(0), 0x7fd0, 4),
    (gpr(1), 0x7fd4, 4),
    (gpr(2), 0x7fd8, 4),
    (gpr(3), 0x7fdc, 4),
    (gpr(4), 0x7fe0, 4),
    (gpr(5), 0x7fe4, 4),
    (gpr(6), 0x7fe8, 4),
    (gpr(7), 0x7fec, 4),
    (CR4, 0x7f14, 4),
    (CR0, 0x7ffc, 4),
];
const NARROW_WORDS: &[(word::Word, u64, usize)] = &[
    (word::GDTR_BASE, 0x7f74, 4),
    (word::GDTR_LIMIT, 0x7f70, 4),
    (word::IDTR_BASE, 0x7f58, 4),
    (word::IDTR_LIMIT, 0x7f54, 4),
    (word::DR6, 0x7fcc, 4),
    (word::DR7, 0x7fc8, 4),
    (word::CR3, 0x7ff8, 4),
];
const fn narrow_segment(selector: u64, at: u64) -> [u64; 4] {
    [selector, at, at + 4, at + 8]
}
static NARROW: Map = Map {
    revision_at: 0x7efc,
    base_at: 0x7ef8,
    rows: NARROW_ROWS,
    words: NARROW_WORDS,
    eip: 0x7ff0,
    eflags: 0x7ff4,
    segments: [
        narrow_segment(0x7fa8, 0x7f84),
        narrow_segment(0x7fac, 0x7f90),
        narrow_segment(0x7fb0, 0x7f9c),
        narrow_segment(0x7fb4, 0x7f2c),
        narrow_segment(0x7fb8, 0x7f38),
        narrow_segment(0x7fbc, 0x7f44),
        narrow_segment(0x7fc0, 0x7f78),
        narrow_segment(0x7fc4, 0x7f5c),
    ],
    width: 4,
    attr: 4,
};

impl Cpu<'_> {
    fn save_map(&self) -> &'static Map {
        if super::features(self.state).has(Feature::Lm) { &LONG } else { &NARROW }
    }
    fn saved(&self, offset: u64, bytes: usize) -> u64 {
        let mut raw = [0; 8];
        self.sys.read_physical(word::SMBASE.get(self.state).wrapping_add(ENTRY + offset), &mut raw[..bytes]);
        u64::from_le_bytes(raw)
    }
    fn save(&self, offset: u64, bytes: usize, value: u64) {
        self.sys
            .write_physical(word::SMBASE.get(self.state).wrapping_add(ENTRY + offset), &value.to_le_bytes()[..bytes]);
    }
    /// The segment registers, LDTR and TR.
    fn system_segment(&self, n: u16) -> Segment {
        let of = |selector: word::Word, base: word::Word, limit: word::Word, attr: word::Word| Segment {
            selector: selector.get(self.state),
            base: base.get(self.state),
            limit: limit.get(self.state) as u32,
            attr: attr.get(self.state) as u32,
        };
        match n {
            6 => of(word::LDTR, word::LDTR_BASE, word::LDTR_LIMIT, word::LDTR_ATTR),
            7 => of(word::TR, word::TR_BASE, word::TR_LIMIT, word::TR_ATTR),
            _ => self.segment(n),
        }
    }
    fn set_system_segment(&mut self, n: u16, s: Segment) {
        let words = match n {
            6 => [word::LDTR, word::LDTR_BASE, word::LDTR_LIMIT, word::LDTR_ATTR],
            7 => [word::TR, word::TR_BASE, word::TR_LIMIT, word::TR_ATTR],
            _ => return self.set_segment(n, s),
        };
        for (word, value) in words.into_iter().zip([s.selector, s.base, s.limit.into(), s.attr.into()]) {
            word.set(self.state, value);
        }
    }
    /// Saves the state and goes to the handler.
    pub(super) fn enter_smm(&mut self) {
        let map = self.save_map();
        self.save(map.revision_at, 4, if map.width == 8 { REVISION64 } else { REVISION32 });
        self.save(map.base_at, 4, word::SMBASE.get(self.state));
        self.save(map.eip, map.width, self.eip());
        self.save(map.eflags, 4, self.eflags());
        for (row, at, bytes) in map.rows {
            self.save(*at, *bytes, self.get(*row));
        }
        for (word, at, bytes) in map.words {
            self.save(*at, *bytes, word.get(self.state));
        }
        for (n, [selector, attr, limit, base]) in (0..).zip(map.segments) {
            let s = self.system_segment(n);
            self.save(selector, if map.attr == 2 { 2 } else { 4 }, s.selector);
            self.save(attr, map.attr, u64::from(s.attr >> 8 & 0xf0ff));
            self.save(limit, 4, s.limit.into());
            self.save(base, map.width, s.base);
        }
        // Bit 1 remembers if NMIs were blocked before.
        let blocked = word::NMI_BLOCKED.get(self.state);
        word::IN_SMM.set(self.state, 1 | blocked << 1);
        word::NMI_BLOCKED.set(self.state, 1);
        self.start_handler();
    }
    /// The state in which a handler starts (SDM vol. 3, table 31-4).
    fn start_handler(&mut self) {
        let base = word::SMBASE.get(self.state);
        self.widen();
        word::EFER.set(self.state, 0);
        self.set(CR0, self.cr0() & !(cr0::PE | cr0::EM | cr0::TS | cr0::PG));
        self.set(CR4, 0);
        word::DR7.set(self.state, DR7_FIXED);
        self.set_eflags(eflag::FIXED.into());
        let attr = rights::PAGES | 0x9300;
        for n in 0..6 {
            self.set_segment(n, Segment { selector: 0, base: 0, limit: u32::MAX, attr });
        }
        let code = Segment { selector: base >> 4 & 0xffff, base, limit: u32::MAX, attr };
        self.set_segment(super::descriptor::number::CS, code);
        self.set_eip(ENTRY);
        self.flush(Flush::All);
    }
    fn leave_smm(&mut self) {
        let map = self.save_map();
        for (row, at, bytes) in map.rows {
            let value = self.saved(*at, *bytes);
            self.set(*row, value);
        }
        for (word, at, bytes) in map.words {
            let value = self.saved(*at, *bytes);
            word.set(self.state, value);
        }
        for (n, [selector, attr, limit, base]) in (0..).zip(map.segments) {
            let segment = Segment {
                selector: self.saved(selector, 2),
                base: self.saved(base, map.width),
                limit: self.saved(limit, 4) as u32,
                attr: (self.saved(attr, map.attr) as u32 & 0xf0ff) << 8,
            };
            self.set_system_segment(n, segment);
        }
        let flags = self.saved(map.eflags, 4);
        self.set_eflags(flags & super::flags::EXISTING);
        let eip = self.saved(map.eip, map.width);
        self.set_eip(eip);
        // Last: everything was saved at the old base.
        if self.saved(map.revision_at, 4) & RELOCATABLE != 0 {
            let base = self.saved(map.base_at, 4);
            word::SMBASE.set(self.state, base);
        }
        let blocked = word::IN_SMM.get(self.state) >> 1;
        word::IN_SMM.set(self.state, 0);
        word::NMI_BLOCKED.set(self.state, blocked);
        if let Some(pointers) = walk::read_pointers(self, word::CR3.get(self.state)) {
            self.set_pointers(pointers);
        }
        self.flush(Flush::All);
    }
}

/// `resume()`: `rsm`.
pub(crate) fn resume(cx: &mut HelperCx<'_>, _args: [u64; 3]) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    if word::IN_SMM.get(cpu.state) == 0 {
        return Err(UD);
    }
    cpu.leave_smm();
    Ok(cpu.state.pc())
}
