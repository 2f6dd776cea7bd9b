//! Integer arithmetic, logic, width changes and bit operations.

use super::{Access, Emitter};
use crate::analysis::NONE;
use crate::asm::{Mem, NO_REG, Opcode, Rm};
use isamorph_ir::{Inst, Op, Type, Value};

/// The operation number of an arithmetic op in x86 opcodes (SDM vol. 2, opcode map).
pub(crate) fn alu_number(op: Op) -> u8 {
    match op {
        Op::Or => 1,
        Op::Adc => 2,
        Op::Sbb => 3,
        Op::And => 4,
        Op::Sub => 5,
        Op::Xor => 6,
        _ => 0,
    }
}

/// The number of `cmp`.
pub(crate) const CMP: u8 = 7;

/// The second operand of an arithmetic instruction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Imm(i32),
    Rm(Rm),
}

impl Source {
    /// The registers that it reads, as a mask.
    pub fn registers(self) -> u32 {
        let bit = |r: u8| if r == NO_REG { 0 } else { 1u32 << r };
        match self {
            Source::Imm(_) => 0,
            Source::Rm(Rm::Reg(r)) => bit(r),
            Source::Rm(Rm::Mem(m)) => bit(m.base) | bit(m.index),
        }
    }
}

impl Emitter<'_> {
    /// `add`, `sub`, `adc`, `sbb`, `and`, `or`, `xor`.
    pub fn alu(&mut self, i: usize, inst: &Inst) {
        let facts = self.facts.facts[i];
        // A `dec` keeps the carry, even when nobody wants its result.
        if matches!(inst.op, Op::Sub | Op::And) && facts.uses == 0 && !self.merges_natively(i) {
            return self.compare(i, inst);
        }
        if !self.wants_flags(i) && inst.op == Op::Add && self.add_by_lea(i, inst) {
            return;
        }
        if !self.wants_flags(i) && inst.op == Op::Sub && self.sub_by_lea(i, inst) {
            return;
        }
        let size = inst.ty.bytes();
        if matches!(inst.op, Op::Sub | Op::Xor) && size >= 4 && self.is_same(inst.args[0], inst.args[1]) {
            // Whatever the operands are. Processors know this form as a zero that depends on nothing.
            let d = self.dest(i, None);
            self.clobber_flags(i);
            self.alu_op(alu_number(inst.op), size, Rm::Reg(d), Source::Rm(Rm::Reg(d)));
            self.flags_defined(i);
            return self.define(i, d);
        }
        let (a, b) = self.order(inst);
        let source = self.source(b);
        let d = self.in_place(i, inst, a, source);
        self.carry_in(i, inst);
        self.prepare_merge(i);
        self.clobber_flags(i);
        if self.merges_natively(i) {
            // inc, dec: FE/FF /0, /1.
            let digit = u8::from(inst.op == Op::Sub);
            self.asm.op(Opcode::one(if size == 1 { 0xfe } else { 0xff }), size, digit, Rm::Reg(d.reg));
        } else {
            if let Source::Rm(rm) = source {
                self.fault_if_memory(rm);
            }
            self.alu_op(alu_number(inst.op), size, Rm::Reg(d.reg), source);
        }
        self.flags_defined(i);
        self.finish(i, d);
    }

    fn carry_in(&mut self, i: usize, inst: &Inst) {
        if matches!(inst.op, Op::Adc | Op::Sbb) {
            self.ensure_flags(i, inst.args[2]);
        }
    }

    /// A constant or folded load goes second when the operation commutes. Of two constants the second stays where it
    /// is: `inc` stands for a second operand of one.
    pub fn order(&self, inst: &Inst) -> (Value, Value) {
        let (a, b) = (inst.args[0], inst.args[1]);
        let commutes = !matches!(inst.op, Op::Sub | Op::Sbb);
        let first = a.as_const().is_some() || self.is_operand_folded(a);
        let second = b.as_const().is_some() || self.is_operand_folded(b);
        if commutes && first && !second { (b, a) } else { (a, b) }
    }

    fn is_same(&self, a: Value, b: Value) -> bool {
        a.as_inst().is_some() && self.facts.root(a) == self.facts.root(b) && !self.is_operand_folded(a)
    }

    fn is_operand_folded(&self, v: Value) -> bool {
        self.facts.root(v).is_some_and(|root| self.is_folded(root))
    }

    /// The memory operand that stands for a value, if its load or the reading of its register is emitted as part of the
    /// instruction that uses it.
    pub fn folded(&mut self, v: Value) -> Option<Mem> {
        let root = self.facts.root(v).filter(|root| self.is_folded(*root))?;
        let inst = self.region.insts[root];
        if inst.op == Op::Get {
            return self.pins.in_state(inst.reg()).map(|at| Mem::state(at.offset));
        }
        Some(self.guest_mem(inst.imm, Access::read(inst.mem().bytes())))
    }

    /// The second operand: an immediate, a folded load, or a register.
    pub fn source(&mut self, v: Value) -> Source {
        if let Some(imm) = self.imm32(v) {
            return Source::Imm(imm);
        }
        Source::Rm(self.register_or_folded(v))
    }

    /// An operand in a register or as a folded load, never as an immediate.
    pub fn register_or_folded(&mut self, v: Value) -> Rm {
        match self.folded(v) {
            Some(mem) => Rm::Mem(mem),
            None => Rm::Reg(self.reg(v)),
        }
    }

    /// Guest memory may fault, the CPU state does not.
    pub fn fault_if_memory(&mut self, rm: Rm) {
        if rm.is_guest_memory() {
            self.access_point(false, &[]);
        }
    }

    /// `op rm, source` with the shortest encoding.
    pub fn alu_op(&mut self, number: u8, size: u32, rm: Rm, source: Source) {
        match source {
            Source::Imm(imm) => {
                let short = i8::try_from(imm).is_ok();
                let byte = if size == 1 {
                    0x80
                } else if short {
                    0x83
                } else {
                    0x81
                };
                self.asm.op(Opcode::one(byte), size, number, rm);
                self.imm(imm, if short { 1 } else { size });
            }
            Source::Rm(Rm::Reg(r)) => self.asm.op(Opcode::one(number << 3 | u8::from(size > 1)), size, r, rm),
            Source::Rm(m) => {
                let Rm::Reg(r) = rm else { unreachable!("only one operand is memory") };
                self.asm.op(Opcode::one(number << 3 | 2 | u8::from(size > 1)), size, r, m);
            }
        }
    }

    /// An immediate of 1, 2 or 4 bytes (4 also for 8-byte operations).
    pub fn imm(&mut self, imm: i32, bytes: u32) {
        let raw = imm.to_le_bytes();
        self.asm.code.extend_from_slice(&raw[..bytes.min(4) as usize]);
    }

    /// `cmp` and `test`: a difference or conjunction of which only the flags are used.
    fn compare(&mut self, i: usize, inst: &Inst) {
        let size = inst.ty.bytes();
        let (a, b) = if inst.op == Op::And { self.order_test(inst) } else { (inst.args[0], inst.args[1]) };
        let source = self.source(b);
        let rm = self.register_or_folded(a);
        self.clobber_flags(i);
        self.fault_if_memory(rm);
        if let Source::Rm(rm) = source {
            self.fault_if_memory(rm);
        }
        let test = Opcode::one(if size == 1 { 0x84 } else { 0x85 });
        match (inst.op, source, rm) {
            (Op::Sub, Source::Imm(0), Rm::Reg(a)) => self.asm.op(test, size, a, rm),
            (Op::Sub, s, _) => self.alu_op(CMP, size, rm, s),
            (_, Source::Imm(imm), _) => {
                self.asm.op(Opcode::one(if size == 1 { 0xf6 } else { 0xf7 }), size, 0, rm);
                self.imm(imm, size);
            }
            (_, Source::Rm(Rm::Reg(b)), _) => self.asm.op(test, size, b, rm),
            (_, Source::Rm(b), Rm::Reg(a)) => self.asm.op(test, size, a, b),
            _ => unreachable!("only one operand is memory"),
        }
        self.flags_defined(i);
    }

    /// The operands of `test`, which takes an immediate with memory too: the constant goes second in any case.
    fn order_test(&self, inst: &Inst) -> (Value, Value) {
        let (a, b) = (inst.args[0], inst.args[1]);
        if self.imm32(a).is_some() && b.as_const().is_none() { (b, a) } else { (a, b) }
    }

    /// A sum whose flags nobody wants, without touching EFLAGS.
    fn add_by_lea(&mut self, i: usize, inst: &Inst) -> bool {
        let (a, b) = self.order(inst);
        if inst.ty.bytes() < 4 || self.facts.facts[i].part_of != NONE {
            return false;
        }
        if let Some(imm) = self.imm32(b)
            && self.as_sum(i, a, imm)
        {
            return true;
        }
        let mem = match self.source(b) {
            Source::Imm(disp) => Mem { base: self.reg(a), disp, ..super::EMPTY },
            Source::Rm(Rm::Reg(b)) => {
                let a = self.reg(a);
                if !self.flags_busy(i) && self.facts.facts[i].hint == a && self.can_overwrite(a, i) {
                    // `add` in place is shorter.
                    return false;
                }
                Mem { base: a, index: b, ..super::EMPTY }
            }
            Source::Rm(_) => return false,
        };
        self.lea_to(i, inst.ty, mem);
        true
    }

    fn sub_by_lea(&mut self, i: usize, inst: &Inst) -> bool {
        let Some(imm) = self.imm32(inst.args[1]).filter(|imm| *imm != i32::MIN) else { return false };
        if inst.ty.bytes() < 4 {
            return false;
        }
        if self.as_sum(i, inst.args[0], -imm) {
            return true;
        }
        let mem = Mem { base: self.reg(inst.args[0]), disp: -imm, ..super::EMPTY };
        self.lea_to(i, inst.ty, mem);
        true
    }

    /// `lea` into the result of `i`.
    pub fn lea_to(&mut self, i: usize, ty: Type, mem: Mem) {
        let prefer = Some(mem.base).filter(|b| *b != crate::asm::NO_REG);
        let d = self.dest(i, prefer);
        self.asm.op(Opcode::one(0x8d), if ty == Type::I64 { 8 } else { 4 }, d, Rm::Mem(mem));
        self.define(i, d);
    }

    // ---- two-address form

    /// Gets the first operand into the register where the operation will overwrite it.
    pub fn in_place(&mut self, i: usize, inst: &Inst, a: Value, source: Source) -> Dest {
        if inst.ty.bytes() <= 2
            && let Some(reg) = self.part_dest(i, Some(a))
        {
            return Dest { reg, part: true };
        }
        if let Some(bits) = self.region.const_bits(a).filter(|_| !self.held.contains(&a)) {
            let reg = self.dest_avoiding(i, None, source.registers());
            self.mov_imm(reg, bits);
            return Dest { reg, part: false };
        }
        let ra = self.reg(a);
        let ra = self.twin(i, a).unwrap_or(ra);
        let d = self.dest_avoiding(i, Some(ra), source.registers() & !(1 << ra));
        self.move_int(inst.ty, d, ra);
        Dest { reg: d, part: false }
    }

    /// Whether a value is the low half of a register whose upper half holds something else.
    pub fn is_loose(&self, v: Value) -> bool {
        let wide = |root: usize| self.region.insts[root].ty == Type::I64;
        self.region.value_type(v) == Type::I32 && self.facts.root(v).is_some_and(wide)
    }

    /// The register that holds a value, zero-extended if it is an `i32`.
    pub fn reg_extended(&mut self, v: Value) -> u8 {
        let r = self.reg(v);
        if !self.is_loose(v) {
            return r;
        }
        let t = self.scratch(false);
        self.asm.op(Opcode::one(0x8b), 4, t, Rm::Reg(r));
        t
    }

    /// Zero-extends the first operand that [`Emitter::in_place`] has put into `d`, for operations that do not write all
    /// of their result.
    pub fn extend_in_place(&mut self, d: Dest, a: Value) {
        if self.is_loose(a) {
            self.asm.op(Opcode::one(0x8b), 4, d.reg, Rm::Reg(d.reg));
        }
    }

    /// The register in which the result of `i` is wanted, if it has the same value as operand `a` already.
    pub fn twin(&mut self, i: usize, a: Value) -> Option<u8> {
        let root = self.facts.root(a)?;
        let wanted = self.wanted_register(i)?;
        let same = self.facts.root(self.held[usize::from(wanted)]) == Some(root);
        (same && self.can_overwrite(wanted, i)).then_some(wanted)
    }

    /// Copies an integer; 8- and 16-bit values copy their whole register.
    pub fn move_int(&mut self, ty: Type, to: u8, from: u8) {
        if to != from {
            self.asm.op(Opcode::one(0x8b), if ty == Type::I64 { 8 } else { 4 }, to, Rm::Reg(from));
            self.checker.copied(to, from);
        }
    }

    /// Records the result of an operation in its place.
    pub fn finish(&mut self, i: usize, d: Dest) {
        if d.part { self.define_part(i, d.reg) } else { self.define(i, d.reg) }
    }

    // ---- results that replace the low bits of a register in place

    /// The register whose low bits the result of `i` should replace, if it is to be inserted into the value there,
    /// and `a` (the operand that the operation overwrites) is those low bits already.
    pub fn part_dest(&mut self, i: usize, a: Option<Value>) -> Option<u8> {
        let facts = self.facts.facts[i];
        if facts.part_of == NONE || facts.uses != 1 || facts.hint == 0xff {
            return None;
        }
        let ins = self.region.insts[facts.part_of as usize];
        let old = self.facts.root(ins.args[0])?;
        let here = self.held[usize::from(facts.hint)];
        if here.as_inst() != Some(old)
            || self.sums.is_pending(facts.hint)
            || self.locs[old] != super::Loc::Reg(facts.hint)
        {
            return None;
        }
        // After this instruction only the insertion may read the old value.
        if self.uses_after(here, i) != 1 || a.is_some_and(|a| self.facts.root(a) != Some(old)) {
            return None;
        }
        self.lock(facts.hint);
        Some(facts.hint)
    }

    /// The low bits of `reg` are the result of `i`; the rest is still the old value.
    pub fn define_part(&mut self, i: usize, reg: u8) {
        self.locs[i] = super::Loc::Reg(reg);
        self.checker.defined(i, reg);
    }

    // ---- one operand

    /// `neg`, `not`.
    pub fn unary(&mut self, i: usize, inst: &Inst) {
        let d = self.in_place(i, inst, inst.args[0], Source::Imm(0));
        let size = inst.ty.bytes();
        let neg = inst.op == Op::Neg;
        if neg {
            self.clobber_flags(i);
        }
        self.asm.op(Opcode::one(if size == 1 { 0xf6 } else { 0xf7 }), size, if neg { 3 } else { 2 }, Rm::Reg(d.reg));
        if neg {
            self.flags_defined(i);
        }
        self.finish(i, d);
    }

    // ---- widths

    /// `trunc`, `zext`, `sext`, `field`, `ins`, `concat`.
    pub fn width(&mut self, i: usize, inst: &Inst) {
        match inst.op {
            Op::Ins => self.ins(i, inst),
            Op::Concat => self.concat(i, inst),
            Op::Field => {
                let a = self.reg(inst.args[0]);
                let wide = self.region.value_type(inst.args[0]) == Type::I64;
                let d = self.dest(i, Some(a));
                self.rorx(d, a, inst.imm as u8, wide);
                if inst.ty == Type::I32 {
                    self.asm.op(Opcode::one(0x8b), 4, d, Rm::Reg(d));
                }
                self.define(i, d);
            }
            _ => {
                let a = self.reg(inst.args[0]);
                let d = self.dest(i, Some(a));
                self.extend(inst, d, Rm::Reg(a), self.region.value_type(inst.args[0]).bytes());
                self.define(i, d);
            }
        }
    }

    /// `movzx`, `movsx`, `mov`: extends or truncates `from` bytes to the instruction's type.
    pub fn extend(&mut self, inst: &Inst, d: u8, rm: Rm, from: u32) {
        let signed = inst.op == Op::Sext || inst.op == Op::Load && inst.mem().is_signed();
        let size = if inst.ty == Type::I64 { 8 } else { 4 };
        match (signed, from) {
            (false, 1) => self.asm.op_with(Opcode::two(0xb6), 4, d, rm, false, true),
            (false, 2) => self.asm.op(Opcode::two(0xb7), 4, d, rm),
            (true, 1) => self.asm.op_with(Opcode::two(0xbe), size, d, rm, false, true),
            (true, 2) => self.asm.op(Opcode::two(0xbf), size, d, rm),
            (true, 4) if size == 8 => self.asm.op(Opcode::one(0x63), 8, d, rm),
            (_, 8) if size == 8 => self.asm.op(Opcode::one(0x8b), 8, d, rm),
            _ => self.asm.op(Opcode::one(0x8b), 4, d, rm),
        }
    }

    /// Rotation right without touching the flags.
    pub fn rorx(&mut self, d: u8, a: u8, count: u8, wide: bool) {
        if self.backend.config.bmi2 {
            // VEX.LZ.F2.0F3A F0 /r ib.
            let w = u8::from(wide) << 7;
            self.asm.code.extend_from_slice(&[
                0xc4,
                (if d < 8 { 0x80 } else { 0 }) | 0x40 | (if a < 8 { 0x20 } else { 0 }) | 3,
                w | 0x7b,
                0xf0,
                0xc0 | (d & 7) << 3 | a & 7,
                count,
            ]);
            return;
        }
        self.move_int(Type::I64, d, a);
        self.asm.u8(0x9c); // pushfq
        self.asm.op(Opcode::one(0xc1), if wide { 8 } else { 4 }, 1, Rm::Reg(d));
        self.asm.u8(count);
        self.asm.u8(0x9d); // popfq
    }

    fn ins(&mut self, i: usize, inst: &Inst) {
        let part = inst.args[1];
        let bytes = self.region.value_type(part).bytes();
        let wide = inst.ty == Type::I64;
        if let Some(p) = part.as_inst()
            && self.facts.facts[p].part_of == i as u32
            && self.facts.root(inst.args[0]).is_some_and(|old| self.locs[p] == self.locs[old])
            && let super::Loc::Reg(reg) = self.locs[p]
        {
            // Computed in place.
            return self.define(i, reg);
        }
        let source = self.source(part);
        let old = self.reg(inst.args[0]);
        let d = self.dest_avoiding(i, Some(old), source.registers());
        if d != old || self.is_loose(inst.args[0]) {
            self.asm.op(Opcode::one(0x8b), if wide { 8 } else { 4 }, d, Rm::Reg(old));
        }
        let high_byte = inst.imm == 8 && bytes == 1 && d < 4;
        match source {
            _ if inst.imm == 0 => self.move_part(d, source, bytes),
            Source::Imm(imm) if high_byte => {
                self.asm.u8(0xb4 | d);
                self.asm.u8(imm as u8);
            }
            // mov ah, al: only registers that need no REX prefix.
            Source::Rm(Rm::Reg(r)) if high_byte && r < 4 => {
                self.asm.code.extend_from_slice(&[0x88, 0xc0 | r << 3 | d | 4])
            }
            _ => {
                let width = if wide { 64 } else { 32 };
                self.rorx(d, d, inst.imm as u8, wide);
                self.move_part(d, source, bytes);
                self.rorx(d, d, width - inst.imm as u8, wide);
            }
        }
        self.define(i, d);
    }

    /// Writes the low `bytes` bytes of a register.
    fn move_part(&mut self, d: u8, source: Source, bytes: u32) {
        match source {
            Source::Imm(imm) if bytes <= 2 => {
                self.asm.op(Opcode::one(if bytes == 1 { 0xc6 } else { 0xc7 }), bytes, 0, Rm::Reg(d));
                self.imm(imm, bytes);
            }
            Source::Rm(rm) if bytes <= 2 => {
                self.asm.op(Opcode::one(if bytes == 1 { 0x8a } else { 0x8b }), bytes, d, rm)
            }
            // Low half of a 64-bit register: clear it, then add.
            source => {
                let t = self.scratch(false);
                match source {
                    Source::Imm(imm) => self.mov_imm(t, u64::from(imm as u32)),
                    Source::Rm(rm) => self.asm.op(Opcode::one(0x8b), 4, t, rm),
                }
                let high = self.scratch(false);
                self.rorx(high, d, 32, true);
                self.asm.op(Opcode::one(0x8b), 4, high, Rm::Reg(high));
                self.rorx(high, high, 32, true);
                let sum = Mem { base: high, index: t, ..super::EMPTY };
                self.asm.op(Opcode::one(0x8d), 8, d, Rm::Mem(sum));
            }
        }
    }

    fn concat(&mut self, i: usize, inst: &Inst) {
        let lo = if inst.ty == Type::I64 { self.reg_extended(inst.args[0]) } else { self.reg(inst.args[0]) };
        let hi = self.reg(inst.args[1]);
        let d = self.scratch(false);
        match inst.ty {
            Type::I64 => {
                self.asm.op(Opcode::one(0x8b), 4, d, Rm::Reg(hi));
                self.rorx(d, d, 32, true);
                self.asm.op(Opcode::one(0x8d), 8, d, Rm::Mem(Mem { base: d, index: lo, ..super::EMPTY }));
            }
            Type::I32 => {
                self.rorx(d, hi, 16, false);
                self.asm.op(Opcode::one(0x8b), 2, d, Rm::Reg(lo));
            }
            _ => {
                self.rorx(d, hi, 24, false);
                self.asm.op(Opcode::one(0x8a), 1, d, Rm::Reg(lo));
            }
        }
        self.define(i, d);
    }
}

/// Where a two-address operation overwrites its first operand.
#[derive(Clone, Copy)]
pub(crate) struct Dest {
    pub reg: u8,
    /// Only the low bits of the register are written, in place of an insertion.
    pub part: bool,
}
