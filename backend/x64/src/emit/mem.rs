//! Guest memory: address trees, loads and stores, read-modify-write.

use super::int::Source;
use super::{Access, Emitter};
use crate::analysis::is_shift;
use crate::asm::{Mem, NO_REG, Opcode, Rm};
use crate::pins::VEC;
use crate::{GuestMemory, Unsupported};
use isamorph_ir::{Addr, Inst, Op, Type, Value};

impl Emitter<'_> {
    /// The host memory operand for an access through address tree `index`.
    pub fn guest_mem(&mut self, index: u32, access: Access) -> Mem {
        let addr = self.region.addrs[index as usize];
        let GuestMemory::Direct { base } = self.backend.config.memory else {
            return self.translated_mem(&addr, access);
        };
        let mem = self.effective_mem(&addr);
        let simple = mem.index == NO_REG && mem.disp == 0 && mem.base != NO_REG;
        // A pinned register alone is a zero-extended 32-bit address already.
        let addr32 = self.backend.table.addr_bits == 32 && !(simple && self.pins.guest(mem.base).is_some());
        Mem { addr32, gs: base != 0, ..mem }
    }

    /// An operand whose effective address, as `lea` has it, is the guest's.
    pub fn effective_mem(&mut self, addr: &Addr) -> Mem {
        let before = self.locked;
        let mem = self.offset_mem(addr);
        if addr.seg.is_none() { mem } else { self.add_segment(mem, addr.seg, before) }
    }

    /// base + (index << scale) + disp.
    fn offset_mem(&mut self, addr: &Addr) -> Mem {
        let mut mem = Mem { disp: addr.disp, ..super::EMPTY };
        // A displacement of the host is sign-extended: in a guest with 64-bit addresses it may not wrap.
        let wraps = self.backend.table.addr_bits == 32;
        let displaced = |disp: i32, imm: i32, scale: u8| {
            let sum = i64::from(disp) + (i64::from(imm) << scale);
            if wraps { Some(sum as i32) } else { i32::try_from(sum).ok() }
        };
        if let Some(disp) = self.imm32(addr.base).and_then(|imm| displaced(mem.disp, imm, 0)) {
            mem.disp = disp;
        } else if !addr.base.is_none() {
            mem.base = self.term(addr.base, 0, &mut mem.disp);
        }
        if let Some(disp) = self.imm32(addr.index).and_then(|imm| displaced(mem.disp, imm, addr.scale)) {
            mem.disp = disp;
        } else if !addr.index.is_none() {
            (mem.index, mem.scale) = (self.term(addr.index, addr.scale, &mut mem.disp), addr.scale);
        }
        if mem.base == NO_REG && mem.index != NO_REG && mem.scale == 0 {
            (mem.base, mem.index) = (mem.index, NO_REG);
        }
        mem
    }

    fn add_segment(&mut self, mut mem: Mem, seg: Value, before: u32) -> Mem {
        let seg = self.reg(seg);
        if mem.base == NO_REG {
            mem.base = seg;
        } else if mem.index == NO_REG {
            (mem.index, mem.scale) = (seg, 0);
        } else {
            let t = self.scratch(false);
            let size = if self.backend.table.addr_bits == 32 { 4 } else { 8 };
            self.asm.op(Opcode::one(0x8d), size, t, Rm::Mem(mem));
            self.unlock(mem, before | 1 << seg | 1 << t);
            mem = Mem { base: t, index: seg, ..super::EMPTY };
        }
        mem
    }

    /// The registers of an address that has been computed into another register may be given out again, but for those
    /// in the mask `kept`.
    pub fn unlock(&mut self, mem: Mem, kept: u32) {
        for r in [mem.base, mem.index].into_iter().filter(|r| *r != NO_REG) {
            self.locked &= !(1 << r) | kept;
        }
    }

    /// `lea`.
    pub fn lea(&mut self, i: usize, inst: &Inst) {
        let addr = self.region.addrs[inst.imm as usize];
        let mem = self.effective_mem(&addr);
        if mem.base == NO_REG && mem.index == NO_REG {
            let d = self.dest(i, None);
            self.mov_imm(d, mem.disp as u64 & inst.ty.mask() & self.backend.table.addr_mask());
            return self.define(i, d);
        }
        // An address wraps at its own width, whatever takes it.
        let ty = if self.backend.table.addr_bits == 32 { Type::I32 } else { inst.ty };
        self.lea_to(i, ty, mem);
    }

    /// Loads.
    pub fn load(&mut self, i: usize, inst: &Inst) -> Result<(), Unsupported> {
        let attr = inst.mem();
        let mem = self.guest_mem(inst.imm, Access::read(attr.bytes()));
        self.check_alignment(inst, mem);
        if super::in_vector(inst.ty) {
            let d = self.dest(i, None);
            self.access_point(attr.is_aligned(), &[]);
            self.load_vector(d, attr.bytes(), attr.is_aligned(), mem);
            self.define(i, d);
            return Ok(());
        }
        if inst.ty.bytes() == attr.bytes()
            && attr.bytes() <= 2
            && !attr.is_big_endian()
            && let Some(d) = self.part_dest(i, None)
        {
            self.access_point(false, &[]);
            self.asm.op(Opcode::one(if attr.bytes() == 1 { 0x8a } else { 0x8b }), attr.bytes(), d, Rm::Mem(mem));
            self.define_part(i, d);
            return Ok(());
        }
        let last = if mem.index == NO_REG { mem.base } else { mem.index };
        let d = self.dest(i, Some(last).filter(|r| *r != NO_REG));
        self.access_point(false, &[]);
        self.extend(inst, d, Rm::Mem(mem), attr.bytes());
        if attr.is_big_endian() && attr.bytes() > 1 {
            self.swap_bytes(inst, d, attr.bytes());
        }
        self.define(i, d);
        Ok(())
    }

    /// Byte swap after a big-endian load: movbe would need a register operand of the access size.
    fn swap_bytes(&mut self, inst: &Inst, d: u8, bytes: u32) {
        self.bswap(d, bytes == 8);
        if bytes == 2 {
            self.rorx(d, d, 16, false);
            self.extend(inst, d, Rm::Reg(d), 2);
        } else if inst.mem().is_signed() && bytes == 4 && inst.ty == Type::I64 {
            self.asm.op(Opcode::one(0x63), 8, d, Rm::Reg(d));
        }
    }

    /// A vector load of 4, 8 or 16 bytes, zero above.
    pub fn load_vector(&mut self, d: u8, bytes: u32, aligned: bool, mem: Mem) {
        let opcode = match bytes {
            4 => Opcode::sse(0xf3, 0x10),
            8 => Opcode::sse(0xf3, 0x7e),
            _ => Opcode::sse(0, if aligned { 0x28 } else { 0x10 }),
        };
        self.asm.op(opcode, 4, d - VEC, Rm::Mem(mem));
    }

    /// Stores, and the operations that end in one.
    pub fn store(&mut self, inst: &Inst) -> Result<(), Unsupported> {
        if let Some(o) = inst.args[0].as_inst()
            && self.facts.facts[o].rmw != crate::analysis::NONE
        {
            self.read_modify_write(o, inst.imm);
            return Ok(());
        }
        let attr = inst.mem();
        if attr.is_big_endian() && attr.bytes() > 1 {
            self.store_swapped(inst);
            return Ok(());
        }
        if super::in_vector(inst.ty) {
            let v = self.reg(inst.args[0]);
            let mem = self.guest_mem(inst.imm, Access::write(attr.bytes()));
            self.check_alignment(inst, mem);
            self.access_point(attr.is_aligned(), &[]);
            self.store_vector(v, attr.bytes(), attr.is_aligned(), mem);
            return Ok(());
        }
        let source = match self.imm32(inst.args[0]) {
            Some(imm) => Source::Imm(imm),
            None => Source::Rm(Rm::Reg(self.reg(inst.args[0]))),
        };
        let mem = self.guest_mem(inst.imm, Access::write(attr.bytes()));
        self.check_alignment(inst, mem);
        self.access_point(false, &[]);
        self.store_int(attr.bytes(), source, mem);
        Ok(())
    }

    /// The host checks alignment only for whole vectors; smaller accesses that must be aligned test the low bits of the
    /// address, and meet an undefined instruction if they are not.
    fn check_alignment(&mut self, inst: &Inst, mem: Mem) {
        let bytes = inst.mem().bytes();
        if !inst.mem().is_aligned() || !(2..16).contains(&bytes) {
            return;
        }
        self.clobber_flags_before_fault();
        let plain = mem.index == NO_REG && mem.base != NO_REG && (mem.disp as u32).is_multiple_of(bytes);
        let low = if plain {
            mem.base
        } else {
            let t = self.scratch(false);
            self.asm.op(Opcode::one(0x8d), 4, t, Rm::Mem(Mem { addr32: false, gs: false, ..mem }));
            t
        };
        self.asm.op(Opcode::one(0xf6), 1, 0, Rm::Reg(low));
        self.asm.u8(bytes as u8 - 1);
        self.asm.code.extend_from_slice(&[0x0f, 0x85]); // jnz
        let at = self.asm.pos();
        self.asm.u32(0);
        let point = self.recovery(&[]);
        self.cold.push(super::Cold::Misaligned { at, point });
    }

    fn store_int(&mut self, bytes: u32, source: Source, mem: Mem) {
        match source {
            Source::Imm(imm) => {
                self.asm.op(Opcode::one(if bytes == 1 { 0xc6 } else { 0xc7 }), bytes, 0, Rm::Mem(mem));
                self.imm(imm, bytes);
            }
            Source::Rm(Rm::Reg(r)) => {
                // The address may need the same byte-register rules as any r/m operand; only the source is a byte.
                let opcode = Opcode::one(if bytes == 1 { 0x88 } else { 0x89 });
                self.asm.op_with(opcode, bytes, r, Rm::Mem(mem), bytes == 1, false);
            }
            Source::Rm(_) => {}
        }
    }

    fn store_swapped(&mut self, inst: &Inst) {
        let bytes = inst.mem().bytes();
        let mut v = self.reg(inst.args[0]);
        let mem = self.guest_mem(inst.imm, Access::write(bytes));
        self.check_alignment(inst, mem);
        let opcode = if self.backend.host.movbe {
            Opcode { prefix: 0, map: 2, byte: 0xf1 }
        } else {
            let t = self.scratch(false);
            self.copy_register(t, v);
            self.bswap(t, bytes == 8);
            if bytes == 2 {
                self.rorx(t, t, 16, false);
            }
            v = t;
            Opcode::one(0x89)
        };
        self.access_point(false, &[]);
        self.asm.op(opcode, bytes, v, Rm::Mem(mem));
    }

    /// A vector store of 4, 8 or 16 bytes.
    pub fn store_vector(&mut self, v: u8, bytes: u32, aligned: bool, mem: Mem) {
        let opcode = match bytes {
            4 => Opcode::sse(0xf3, 0x11),
            8 => Opcode::sse(0x66, 0xd6),
            _ => Opcode::sse(0, if aligned { 0x29 } else { 0x11 }),
        };
        self.asm.op(opcode, 4, v - VEC, Rm::Mem(mem));
    }

    /// `op [mem], x`: operation `o`, whose first operand was loaded from where its result goes.
    fn read_modify_write(&mut self, o: usize, addr: u32) {
        let inst = self.region.insts[o];
        let size = inst.ty.bytes();
        let binary = !matches!(inst.op, Op::Neg | Op::Not);
        let source = if binary && !is_shift(inst.op) { self.source(inst.args[1]) } else { Source::Imm(0) };
        let mem = Rm::Mem(self.guest_mem(addr, Access::write(size)));
        if matches!(inst.op, Op::Adc | Op::Sbb) {
            self.ensure_flags(o, inst.args[2]);
        }
        if is_shift(inst.op) {
            self.old_flags(o, &inst, inst.args[2]);
        } else {
            self.prepare_merge(o);
        }
        if inst.op != Op::Not {
            self.clobber_flags(o);
        }
        let group = |byte: u8| Opcode::one(if size == 1 { byte } else { byte | 1 });
        match inst.op {
            Op::Neg | Op::Not => {
                self.access_point(false, &[]);
                self.asm.op(group(0xf6), size, if inst.op == Op::Neg { 3 } else { 2 }, mem);
            }
            op if is_shift(op) => {
                let count = self.imm32(inst.args[1]).unwrap_or(0) as u8;
                self.access_point(false, &[]);
                self.shift_rm_imm(&inst, mem, Source::Imm(0), count);
            }
            _ if self.merges_natively(o) => {
                self.access_point(false, &[]);
                self.asm.op(group(0xfe), size, u8::from(inst.op == Op::Sub), mem);
            }
            op => {
                self.access_point(false, &[]);
                self.alu_op(super::int::alu_number(op), size, mem, source);
            }
        }
        if inst.op != Op::Not {
            self.flags_defined(o);
        }
    }

    // ---- the CPU state

    /// Loads a state field of a type.
    pub fn load_typed(&mut self, d: u8, ty: Type, mem: Mem) {
        match ty {
            Type::I8 => self.asm.op_with(Opcode::two(0xb6), 4, d, Rm::Mem(mem), false, true),
            Type::I16 => self.asm.op(Opcode::two(0xb7), 4, d, Rm::Mem(mem)),
            Type::I64 => self.asm.op(Opcode::one(0x8b), 8, d, Rm::Mem(mem)),
            _ if ty.is_vector() => self.load_vector(d, ty.bytes(), false, mem),
            _ => self.asm.op(Opcode::one(0x8b), 4, d, Rm::Mem(mem)),
        }
    }

    /// Stores a value to a state field of a type.
    pub fn store_typed(&mut self, v: Value, ty: Type, mem: Mem) {
        if ty.is_vector() {
            let r = self.reg(v);
            return self.store_vector(r, ty.bytes(), false, mem);
        }
        let source = match self.imm32(v) {
            Some(imm) => Source::Imm(imm),
            None => Source::Rm(Rm::Reg(self.reg(v))),
        };
        self.store_int(ty.bytes(), source, mem);
    }
}
