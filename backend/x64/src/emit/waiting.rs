//! Flags that wait in a slot for their reader while EFLAGS are used for something else.
//!
//! `popfq` takes longer than twenty cycles. A single reader that asks for a condition finds its answer instead of the
//! flags; everything else goes through `lahf` and `sahf`, with the overflow flag in al (SDM vol. 2, LAHF, SAHF, SETcc).

use super::{Emitter, FlagsLoc};
use crate::analysis::NONE;
use crate::asm::{Opcode, Rm};
use crate::pins::VEC;
use isamorph_ir::{Cond, FlagSet, Op, Value};

const RAX: u8 = 0;
/// The header's scratch word in which rax waits if there is no register for it.
const RAX_WORD: u32 = 5;
/// Left rotation by which a packed overflow flag gets to its place in EFLAGS.
const OVERFLOW_PLACE: u8 = FlagSet::O.bits().trailing_zeros() as u8;

const MOV_LOAD: Opcode = Opcode::one(0x8b);
const MOV_STORE: Opcode = Opcode::one(0x89);

impl FlagsLoc {
    /// The slot that it takes.
    pub fn slot(self) -> Option<u16> {
        match self {
            FlagsLoc::Slot(slot) | FlagsLoc::Packed(slot) | FlagsLoc::Condition(slot, _) => Some(slot),
            FlagsLoc::Nowhere | FlagsLoc::Host => None,
        }
    }
}

impl Emitter<'_> {
    /// Keeps what EFLAGS hold in a slot. EFLAGS stay as they are.
    pub fn save_flags(&mut self) {
        let root = self.host_flags;
        if root == NONE || self.flag_locs[root as usize].slot().is_some() {
            return;
        }
        let slot = self.new_slot(1);
        self.flag_locs[root as usize] = match self.sole_condition(root) {
            Some(cond) => {
                self.asm.op(Opcode::two(0x90 | cond as u8), 1, 0, Rm::Mem(self.slot_mem(slot)));
                FlagsLoc::Condition(slot, cond)
            }
            None => {
                self.pack_flags(slot);
                FlagsLoc::Packed(slot)
            }
        };
    }

    /// The condition that a flags value is still needed for, if its only reader is an instruction of this block that
    /// asks for one.
    fn sole_condition(&self, root: u32) -> Option<Cond> {
        let here = self.facts.facts[self.at];
        let guests = root == self.guest_flags;
        if guests && (self.backend.config.precise || here.guest_flags_after || !here.reread.is_empty()) {
            return None;
        }
        if self.facts.facts[root as usize].flag_uses != 1 + u16::from(guests) {
            return None;
        }
        for (i, inst) in self.region.insts.iter().enumerate().skip(self.at) {
            let slots = self.facts.facts[i].flag_slots;
            let reads = |slot: usize| slots >> slot & 1 != 0 && self.facts.root(inst.args[slot]) == Some(root as usize);
            if (0..inst.args.len()).any(reads) {
                let asks = matches!(inst.op, Op::SetCc | Op::Select | Op::ExitIf);
                return asks.then(|| inst.cond());
            }
            if inst.op.effects().contains(isamorph_ir::Effects::END) {
                return None;
            }
        }
        None
    }

    /// Brings the flags that `cond` reads into EFLAGS; gives the condition to ask for there.
    pub fn ensure_condition(&mut self, i: usize, flags: Value, cond: Cond) -> Cond {
        if let Some(root) = self.facts.root(flags)
            && let FlagsLoc::Condition(slot, kept) = self.flag_locs[root]
            && self.host_flags != root as u32
        {
            self.clobber_flags(i);
            // cmp byte [slot], 0
            self.asm.op(Opcode::one(0x80), 1, 7, Rm::Mem(self.slot_mem(slot)));
            self.asm.u8(0);
            return if kept == cond { Cond::Ne } else { Cond::E };
        }
        self.ensure_flags(i, flags);
        cond
    }

    /// A scratch register that holds nothing, or none.
    fn idle_scratch(&self) -> Option<u8> {
        let idle = self.pins.scratch & !self.locked;
        (1..VEC).find(|r| idle >> r & 1 != 0 && self.held[usize::from(*r)].is_none())
    }

    /// EFLAGS into a slot.
    fn pack_flags(&mut self, slot: u16) {
        let temp = self.idle_scratch();
        self.move_rax(temp, true);
        self.asm.code.extend_from_slice(&[0x9f, 0x0f, 0x90, 0xc0]); // lahf; seto al
        self.asm.op(MOV_STORE, 4, RAX, Rm::Mem(self.slot_mem(slot)));
        self.move_rax(temp, false);
    }

    /// EFLAGS from packed flags, with the help of a scratch register if there is one.
    pub fn unpack_flags(&mut self, slot: u16, temp: Option<u8>) {
        self.move_rax(temp, true);
        self.asm.op(MOV_LOAD, 4, RAX, Rm::Mem(self.slot_mem(slot)));
        self.asm.code.extend_from_slice(&[0x04, 0x7f, 0x9e]); // add al, 127; sahf
        self.move_rax(temp, false);
    }

    /// Puts rax aside, or back. The allocator does not notice.
    fn move_rax(&mut self, temp: Option<u8>, aside: bool) {
        let place = temp.map_or_else(|| Rm::Mem(self.scratch_mem(RAX_WORD)), Rm::Reg);
        self.asm.op(if aside { MOV_STORE } else { MOV_LOAD }, 8, RAX, place);
        self.checker.copied(RAX, RAX);
    }

    /// Brings flags from a slot into EFLAGS while values may be in any register.
    pub fn load_waiting(&mut self, from: FlagsLoc) {
        match from {
            FlagsLoc::Slot(slot) => self.push_flags(slot),
            FlagsLoc::Packed(slot) => {
                let temp = self.idle_scratch();
                self.unpack_flags(slot, temp);
            }
            _ => {}
        }
    }

    /// The EFLAGS image of packed flags in a register; EFLAGS stay as they are.
    pub fn packed_image(&mut self, slot: u16, reg: u8, temp: u8) {
        let mut mem = self.slot_mem(slot);
        self.asm.op(Opcode::two(0xb6), 4, temp, Rm::Mem(mem));
        self.rorx(temp, temp, 32 - OVERFLOW_PLACE, false);
        mem.disp += 1;
        self.asm.op(Opcode::two(0xb6), 4, reg, Rm::Mem(mem));
        let sum = crate::asm::Mem { base: reg, index: temp, ..super::EMPTY };
        self.asm.op(Opcode::one(0x8d), 4, reg, Rm::Mem(sum));
    }
}
