//! 128-bit integers. They live in vector registers, where loads and stores of 16 bytes are one access; the halves come
//! and go by `movq`, `pinsrq` and `pextrq`.

use super::{Access, Emitter};
use crate::Unsupported;
use crate::asm::{Mem, Opcode, Rm};
use crate::pins::VEC;
use isamorph_code::Recipe;
use isamorph_ir::{Inst, Op, Type};

const RAX: u8 = 0;
const RCX: u8 = 1;
const RDX: u8 = 2;
const RBX: u8 = 3;
/// What `cmpxchg16b` reads and writes besides memory.
const PAIRS: [u8; 4] = [RAX, RCX, RDX, RBX];

const MOVQ_TO: Opcode = Opcode::sse(0x66, 0x6e);
const MOVQ_FROM: Opcode = Opcode::sse(0x66, 0x7e);
const PINSR: Opcode = Opcode { prefix: 0x66, map: 3, byte: 0x22 };
const PEXTR: Opcode = Opcode { prefix: 0x66, map: 3, byte: 0x16 };

impl Emitter<'_> {
    /// Whether an op makes or takes apart a 128-bit integer.
    pub fn is_wide(&self, inst: &Inst) -> bool {
        match inst.op {
            Op::Concat | Op::VToInt => inst.ty == Type::I128,
            Op::Trunc | Op::Field | Op::VFromInt => self.region.value_type(inst.args[0]) == Type::I128,
            _ => false,
        }
    }

    /// `concat`, `vtoi`, `vfromi`, `trunc`, `field`.
    pub fn wide(&mut self, i: usize, inst: &Inst) -> Result<(), Unsupported> {
        if !self.backend.host.sse41 {
            return Err(Unsupported { what: "128-bit integers without SSE4.1" });
        }
        match inst.op {
            Op::Concat => {
                let (lo, hi) = (self.reg(inst.args[0]), self.reg(inst.args[1]));
                let d = self.dest(i, None);
                self.pair_to_vector(d, lo, hi);
                self.define(i, d);
            }
            // Of a constant; others are the same register.
            Op::VFromInt | Op::VToInt => {
                let a = self.reg(inst.args[0]);
                let d = self.dest(i, None);
                self.copy_register(d, a);
                self.define(i, d);
            }
            _ => {
                let a = self.reg(inst.args[0]);
                let from = if inst.op == Op::Field { inst.imm } else { 0 };
                self.part_of_wide(i, inst.ty, a, from);
            }
        }
        Ok(())
    }

    fn pair_to_vector(&mut self, d: u8, lo: u8, hi: u8) {
        self.asm.op(MOVQ_TO, 8, d - VEC, Rm::Reg(lo));
        self.asm.op(PINSR, 8, d - VEC, Rm::Reg(hi));
        self.asm.u8(1);
    }

    fn vector_to_pair(&mut self, lo: u8, hi: u8, v: u8) {
        self.asm.op(MOVQ_FROM, 8, v - VEC, Rm::Reg(lo));
        self.asm.op(PEXTR, 8, v - VEC, Rm::Reg(hi));
        self.asm.u8(1);
    }

    /// Bits of a 128-bit integer from bit `from` on.
    fn part_of_wide(&mut self, i: usize, ty: Type, a: u8, from: u32) {
        let size = if ty == Type::I64 { 8 } else { 4 };
        if from == 64 {
            let d = self.dest(i, None);
            self.asm.op(PEXTR, 8, a - VEC, Rm::Reg(d));
            self.asm.u8(1);
            if size == 4 {
                self.asm.op(Opcode::one(0x8b), 4, d, Rm::Reg(d));
            }
            return self.define(i, d);
        }
        let mut shifted = a;
        if from > 0 {
            shifted = self.scratch(true);
            self.copy_register(shifted, a);
            self.asm.op(Opcode::sse(0x66, 0x73), 4, 3, Rm::Reg(shifted - VEC)); // psrldq
            self.asm.u8((from / 8) as u8);
        }
        let d = self.dest(i, None);
        self.asm.op(MOVQ_FROM, size, shifted - VEC, Rm::Reg(d));
        self.define(i, d);
    }

    /// `cmpxchg16b`: the registers that it works on wait in slots.
    pub fn cas_wide(&mut self, i: usize, inst: &Inst) -> Result<(), Unsupported> {
        if !self.backend.host.sse41 || !self.backend.host.cmpxchg16b {
            return Err(Unsupported { what: "128-bit compare-and-swap" });
        }
        PAIRS.into_iter().for_each(|r| self.settle(r));
        let mem = self.mem_apart(inst.imm);
        self.clobber_flags(i);
        let (expected, new) = (self.reg(inst.args[0]), self.reg(inst.args[1]));
        let d = self.dest(i, None);
        let slots = PAIRS.map(|r| {
            let slot = self.new_slot(1);
            self.spill_move(r, slot, true);
            slot
        });
        let recipe = |(r, slot): (&u8, &u16)| {
            let offset = self.slot_mem(*slot).disp as u32;
            self.pins.guest(*r).map(|g| Recipe::Saved { reg: g.0, offset })
        };
        let recipes: Vec<Recipe> = PAIRS.iter().zip(&slots).filter_map(recipe).collect();
        self.vector_to_pair(RAX, RDX, expected);
        self.vector_to_pair(RBX, RCX, new);
        self.fault_point(&recipes);
        self.asm.u8(0xf0);
        self.asm.op(Opcode::two(0xc7), 8, 1, Rm::Mem(mem));
        self.pair_to_vector(d, RAX, RDX);
        for (r, slot) in PAIRS.into_iter().zip(slots) {
            self.spill_move(r, slot, false);
            self.free_slot(slot);
        }
        self.flags_defined(i);
        self.define(i, d);
        Ok(())
    }

    /// An address that depends on none of the registers of a compare-and-swap.
    fn mem_apart(&mut self, addr: u32) -> Mem {
        PAIRS.into_iter().for_each(|r| self.lock(r));
        let mem = self.guest_mem(addr, Access::write(16));
        if !PAIRS.contains(&mem.base) && !PAIRS.contains(&mem.index) {
            return mem;
        }
        self.computed_address(mem)
    }
}
