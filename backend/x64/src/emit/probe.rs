//! Translated guest addresses: the probe of the vCPU's table of translations before each access.
//!
//! A probe finds the entry for the page of the access's first byte, compares its tag with the page of the last byte,
//! and leaves the entry's addend in a register: the access itself is then one host instruction at guest address plus
//! addend, which does not fault. A mismatch goes to a cold path that has the entry filled and tries again, or leaves
//! with the state as it was before the instruction.

use super::{Cold, Emitter};
use crate::GuestMemory;
use crate::analysis::NONE;
use crate::asm::{Mem, NO_REG, Opcode, Rm};
use isamorph_code::{FaultPoint, Recipe, Thunk};
use isamorph_ir::{Addr, Header, Value};
use isamorph_tlb::{ENTRIES, ENTRY_SHIFT, Entry, PAGE_SHIFT};
use std::mem::offset_of;

/// What an instruction does with memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// Bytes.
    pub bytes: u32,
    /// Whether it writes, or reads in order to write.
    pub write: bool,
}

impl Access {
    const WRITES: u32 = 1 << 31;
    pub(crate) fn read(bytes: u32) -> Self {
        Access { bytes, write: false }
    }
    pub(crate) fn write(bytes: u32) -> Self {
        Access { bytes, write: true }
    }
    /// As compiled code passes it.
    fn word(self) -> u32 {
        self.bytes | if self.write { Self::WRITES } else { 0 }
    }
    /// What compiled code has passed.
    pub fn from_word(word: u64) -> Self {
        let word = word as u32;
        Access { bytes: word & !Self::WRITES, write: word & Self::WRITES != 0 }
    }
    /// Offset of the tag in an entry.
    fn tag(self) -> i32 {
        (if self.write { offset_of!(Entry, write) } else { offset_of!(Entry, read) }) as i32
    }
}

/// A probe that failed: the displacement at `at` leads to its cold path.
#[derive(Clone, Copy)]
pub(crate) struct Miss {
    at: u32,
    /// Start of the probe.
    back: u32,
    /// Guest address, in registers that still have what they had.
    address: Address,
    /// A register that the cold path may use.
    via: u8,
    access: Access,
    point: FaultPoint,
}

/// A guest address.
#[derive(Clone, Copy)]
enum Address {
    Constant(u64),
    /// The effective address of an operand.
    Effective(Mem),
}

const PAGE: u64 = 1 << PAGE_SHIFT;
const ADDEND: i32 = offset_of!(Entry, addend) as i32;
const _: () = assert!(1 << ENTRY_SHIFT == size_of::<Entry>());

const LEA: Opcode = Opcode::one(0x8d);
const MOV: Opcode = Opcode::one(0x8b);
/// `op r/m, imm32`.
const GROUP: Opcode = Opcode::one(0x81);
const AND: u8 = 4;
const CMP: u8 = 7;

fn table() -> Rm {
    Rm::Mem(Mem::state(offset_of!(Header, tlb) as u32))
}

fn at(base: u8, disp: i32) -> Rm {
    Rm::Mem(Mem { base, disp, ..super::EMPTY })
}

impl Emitter<'_> {
    /// Whether guest addresses are translated.
    pub fn translates(&self) -> bool {
        self.backend.config.memory == GuestMemory::Translated
    }

    /// The fault point of an access that [`Emitter::guest_mem`] has made ready. A translated one has one already,
    /// unless the host checks its alignment.
    pub fn access_point(&mut self, aligned: bool, recipes: &[Recipe]) {
        if aligned || !self.translates() {
            self.fault_point(recipes);
        }
    }

    /// The host memory operand for an access through a translated address.
    pub fn translated_mem(&mut self, addr: &Addr, access: Access) -> Mem {
        self.clobber_flags_before_probe();
        if let Some(address) = self.constant_address(addr) {
            return self.probe_constant(address, access);
        }
        let before = self.locked;
        let mem = self.effective_mem(addr);
        let wide = self.backend.table.addr_bits == 64;
        let pinned = mem.base != NO_REG && self.pins.guest(mem.base).is_some();
        let simple = mem.index == NO_REG && mem.base != NO_REG;
        let in_place = if wide {
            simple && mem.disp.checked_add(access.bytes as i32).is_some()
        } else {
            // Anything else must wrap at 4 GiB; a pinned register is a zero-extended address already.
            simple && mem.disp == 0 && pinned
        };
        let mem = if in_place { mem } else { self.effective_in_register(mem, before) };
        self.probe(mem, access)
    }

    fn constant_address(&self, addr: &Addr) -> Option<u64> {
        let known = |v: Value| if v.is_none() { Some(0) } else { self.region.const_bits(v) };
        let mask = self.backend.table.addr_mask();
        let offset = known(addr.base)?.wrapping_add(known(addr.index)? << addr.scale).wrapping_add(addr.disp as u64);
        Some(known(addr.seg)?.wrapping_add(offset & mask) & mask)
    }

    /// The address in a register of its own; those that it was made from may be given out again.
    fn effective_in_register(&mut self, mem: Mem, before: u32) -> Mem {
        let a = self.scratch(false);
        let size = if self.backend.table.addr_bits == 64 { 8 } else { 4 };
        self.asm.op(LEA, size, a, Rm::Mem(mem));
        self.unlock(mem, before | 1 << a);
        Mem { base: a, ..super::EMPTY }
    }

    /// Probes for the address in `mem`, which is a register and a displacement.
    fn probe(&mut self, mem: Mem, access: Access) -> Mem {
        let (entry, page) = (self.scratch(false), self.scratch(false));
        let size = if self.backend.table.addr_bits == 64 { 8 } else { 4 };
        let point = self.recovery(&[]);
        let back = self.asm.pos();
        let shift = (PAGE_SHIFT - ENTRY_SHIFT) as u8;
        if mem.disp == 0 && self.backend.config.bmi2 {
            self.rorx(entry, mem.base, shift, false);
        } else {
            self.asm.op(if mem.disp == 0 { MOV } else { LEA }, 4, entry, address_or_register(mem));
            self.asm.op(Opcode::one(0xc1), 4, 5, Rm::Reg(entry)); // shr
            self.asm.u8(shift);
        }
        self.asm.op(GROUP, 4, AND, Rm::Reg(entry));
        self.asm.u32((ENTRIES as u32 - 1) << ENTRY_SHIFT);
        self.asm.op(Opcode::one(0x03), 8, entry, table()); // add
        let last = Mem { disp: mem.disp + (access.bytes as i32 - 1), ..mem };
        self.asm.op(if last.disp == 0 { MOV } else { LEA }, size, page, address_or_register(last));
        self.asm.op(GROUP, size, AND, Rm::Reg(page));
        self.asm.u32(PAGE.wrapping_neg() as u32);
        self.asm.op(Opcode::one(0x3b), 8, page, at(entry, access.tag())); // cmp
        self.miss(Miss { at: 0, back, address: Address::Effective(mem), via: page, access, point });
        self.asm.op(MOV, 8, entry, at(entry, ADDEND));
        self.locked &= !(1 << page);
        Mem { index: entry, ..mem }
    }

    /// The same for an address that is known now.
    fn probe_constant(&mut self, address: u64, access: Access) -> Mem {
        let page = address & !(PAGE - 1);
        let entry = self.scratch(false);
        if address - page + u64::from(access.bytes) > PAGE {
            self.mov_imm(entry, address);
            return self.probe(Mem { base: entry, ..super::EMPTY }, access);
        }
        let via = self.scratch(false);
        let point = self.recovery(&[]);
        let back = self.asm.pos();
        let offset = (isamorph_tlb::index(address) << ENTRY_SHIFT) as i32;
        let tag = at(entry, offset + access.tag());
        self.asm.op(MOV, 8, entry, table());
        let short = i32::try_from(page as i64).is_ok();
        if short {
            self.asm.op(GROUP, 8, CMP, tag);
            self.asm.u32(page as u32);
        } else {
            self.mov_imm(via, page);
            self.asm.op(Opcode::one(0x3b), 8, via, tag);
        }
        self.miss(Miss { at: 0, back, address: Address::Constant(address), via, access, point });
        self.asm.op(MOV, 8, entry, at(entry, offset + ADDEND));
        if short {
            self.locked &= !(1 << via);
            Mem { base: entry, disp: address as i32, ..super::EMPTY }
        } else {
            Mem { base: via, index: entry, disp: (address - page) as i32, ..super::EMPTY }
        }
    }

    /// `jne` to a cold path.
    fn miss(&mut self, miss: Miss) {
        self.asm.code.extend_from_slice(&[0x0f, 0x85]);
        let at = self.asm.pos();
        self.asm.u32(0);
        self.cold.push(Cold::Miss(Miss { at, ..miss }));
    }

    /// The cold path of a probe.
    pub fn cold_miss(&mut self, miss: Miss) {
        let Miss { at, back, address, via, access, point } = miss;
        let here = self.asm.pos();
        self.asm.patch(at, here);
        let addr = match address {
            Address::Constant(addr) => {
                self.mov_imm(via, addr);
                via
            }
            Address::Effective(mem) if mem.disp == 0 => mem.base,
            Address::Effective(mem) => {
                self.asm.op(LEA, 8, via, Rm::Mem(mem));
                via
            }
        };
        self.asm.op(Opcode::one(0x89), 8, addr, Rm::Mem(Mem::state(offset_of!(Header, exit_arg) as u32)));
        self.asm.op(Opcode::one(0xc7), 4, 0, Rm::Mem(Mem::state(offset_of!(Header, exit_code) as u32)));
        self.asm.u32(access.word());
        self.branch_to_thunk(0xe8, Thunk::Miss);
        // The site is known by the return address.
        self.out.faults.push(FaultPoint { at: self.asm.pos(), ..point });
        self.asm.u8(0xe9);
        let jump = self.asm.pos();
        self.asm.u32(0);
        self.asm.patch(jump, back);
    }

    /// Makes EFLAGS free for a probe: what the current instruction reads itself is needed too, and so is what it has
    /// read, should it start again.
    fn clobber_flags_before_probe(&mut self) {
        let root = self.host_flags;
        if root == NONE {
            return;
        }
        let facts = self.facts.facts[self.at];
        let guests = root == self.guest_flags;
        let dead = guests && !facts.guest_flags_after && facts.reread.is_empty() && !self.backend.config.precise;
        if self.facts.facts[root as usize].flag_uses > u16::from(dead) {
            self.save_flags();
        }
        self.forget_host_flags();
    }
}

/// The operand of a `mov` or `lea`.
fn address_or_register(mem: Mem) -> Rm {
    if mem.disp == 0 { Rm::Reg(mem.base) } else { Rm::Mem(mem) }
}
