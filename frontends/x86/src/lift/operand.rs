//! Operands: registers, immediates, effective addresses; the services that every instruction family uses.

use super::Lifter;
use crate::{exception, helpers, state};
use iced_x86::{Instruction, OpKind, Register};
use isamorph_ir::{Addr, Cond, ExceptionCode, ExitKind, HelperId, MemAttr, Op, RegId, Type, Value};

/// Where a general-purpose register lives: table row, its own type, and bit offset in the full register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Gpr {
    /// Row of the full register.
    pub(crate) reg: RegId,
    /// Type of the part.
    pub(crate) ty: Type,
    /// First bit of the part.
    pub(crate) bit: u32,
}

/// A run of registers in the decoder's numbering: first, last, number of the first, type, bit offset.
type GprRun = (Register, Register, u16, Type, u32);

/// General-purpose registers; the most frequent first.
const GPRS: [GprRun; 6] = [
    (Register::EAX, Register::R15D, 0, Type::I32, 0),
    (Register::AL, Register::BL, 0, Type::I8, 0),
    (Register::AX, Register::R15W, 0, Type::I16, 0),
    (Register::AH, Register::BH, 0, Type::I8, 8),
    (Register::RAX, Register::R15, 0, Type::I64, 0),
    (Register::SPL, Register::R15L, 4, Type::I8, 0),
];

/// The other registers of the state: first, last, row of the first.
const OTHERS: [(Register, Register, RegId); 4] = [
    (Register::ES, Register::GS, state::ES),
    (Register::XMM0, Register::XMM7, state::XMM0),
    (Register::XMM8, Register::XMM15, state::XMM8),
    (Register::MM0, Register::MM7, state::MM0),
];

fn in_run(r: Register, first: Register, last: Register) -> bool {
    (first..=last).contains(&r)
}

/// Finds the place of a general-purpose register.
pub(crate) fn gpr(r: Register) -> Option<Gpr> {
    let (first, _, number, ty, bit) = GPRS.into_iter().find(|run| in_run(r, run.0, run.1))?;
    Some(Gpr { reg: state::gpr(r as u16 - first as u16 + number), ty, bit })
}

/// The row of a segment, vector, or MMX register.
fn other_reg(r: Register) -> Option<RegId> {
    let (first, _, row) = OTHERS.into_iter().find(|run| in_run(r, run.0, run.1))?;
    Some(RegId(row.0 + r as u16 - first as u16))
}

/// Whether this is a segment register.
pub(crate) fn is_segment(r: Register) -> bool {
    in_run(r, Register::ES, Register::GS)
}

/// The integer type of that many bytes (1, 2, 4, 8), a vector for 16.
pub(crate) const fn type_of_bytes(bytes: u32) -> Type {
    match bytes {
        1 => Type::I8,
        2 => Type::I16,
        8 => Type::I64,
        16 => Type::V128,
        _ => Type::I32,
    }
}

impl Lifter<'_> {
    // ---- registers

    /// The value of a register of any class.
    pub(crate) fn reg(&mut self, r: Register) -> Value {
        let Some(g) = gpr(r) else {
            let Some(row) = other_reg(r) else { return self.b.iconst(Type::I32, 0) };
            let full = self.b.get(row);
            return if is_segment(r) { self.b.convert(Op::Trunc, Type::I16, &[full]) } else { full };
        };
        let full = self.b.get(g.reg);
        self.part(full, g.ty, g.bit)
    }
    /// A part of `full`; one that was taken lately is used again (`test %al,%al`).
    fn part(&mut self, full: Value, ty: Type, bit: u32) -> Value {
        if ty == self.b.ty(full) {
            return full;
        }
        if let Some((.., v)) = self.parts.iter().find(|(f, t, b, _)| (*f, *t, *b) == (full, ty, bit)) {
            return *v;
        }
        let v = if bit == 0 { self.b.convert(Op::Trunc, ty, &[full]) } else { self.b.field(ty, full, bit) };
        self.parts.rotate_right(1);
        self.parts[0] = (full, ty, bit, v);
        v
    }
    /// Writes a general-purpose, vector or MMX register.
    pub(crate) fn set_reg(&mut self, r: Register, v: Value) {
        if let Some(g) = gpr(r) {
            self.set_part(g.reg, v, g.bit);
        } else if let Some(row) = other_reg(r) {
            self.b.set(row, v);
        }
    }
    /// A part of general-purpose register `number` (encoding order) of type `ty` from bit 0.
    pub(crate) fn gpr_part(&mut self, number: RegId, ty: Type) -> Value {
        let full = self.b.get(number);
        self.part(full, ty, 0)
    }
    /// The low part of type `ty` of a general-purpose register.
    pub(crate) fn gpr_part_of(&mut self, r: Register, ty: Type) -> Value {
        match gpr(r) {
            Some(g) => self.gpr_part(g.reg, ty),
            None => self.b.iconst(ty, 0),
        }
    }
    /// Writes the low part of a general-purpose register.
    pub(crate) fn set_gpr_part(&mut self, number: RegId, v: Value) {
        self.set_part(number, v, 0);
    }
    /// Writes a part of a general-purpose register: 32-bit results are zero-extended, narrower ones put into the full
    /// register (SDM vol. 1, 3.4.1.1).
    fn set_part(&mut self, reg: RegId, v: Value, bit: u32) {
        let full_ty = self.b.table().def(reg).ty;
        let v = match self.b.ty(v) {
            ty if ty == full_ty => v,
            Type::I32 => self.zext(v, full_ty),
            _ => {
                let full = self.b.get(reg);
                self.b.insert(full, v, bit)
            }
        };
        self.b.set(reg, v);
    }
    /// The arithmetic flags.
    pub(crate) fn flags(&mut self) -> Value {
        self.b.get(state::FLAGS)
    }
    /// Sets the arithmetic flags.
    pub(crate) fn set_flags(&mut self, f: Value) {
        self.b.set(state::FLAGS, f);
    }
    /// Sets the arithmetic flags to those that `v` defined.
    pub(crate) fn set_flags_of(&mut self, v: Value) {
        let f = self.b.flags(v);
        self.set_flags(f);
    }

    // ---- widths

    /// `v` cut down to `ty`, or itself.
    pub(crate) fn narrow(&mut self, v: Value, ty: Type) -> Value {
        if self.b.ty(v) == ty { v } else { self.b.convert(Op::Trunc, ty, &[v]) }
    }
    /// `v` zero-extended to `ty`, or itself.
    pub(crate) fn zext(&mut self, v: Value, ty: Type) -> Value {
        self.extend(Op::Zext, v, ty)
    }
    /// `v` sign-extended to `ty`, or itself.
    pub(crate) fn sext(&mut self, v: Value, ty: Type) -> Value {
        self.extend(Op::Sext, v, ty)
    }
    fn extend(&mut self, op: Op, v: Value, ty: Type) -> Value {
        if self.b.ty(v) == ty { v } else { self.b.convert(op, ty, &[v]) }
    }
    /// `a + constant`.
    pub(crate) fn add_const(&mut self, a: Value, n: i64) -> Value {
        if n == 0 {
            return a;
        }
        let ty = self.b.ty(a);
        let n = self.b.iconst(ty, n as u64);
        self.b.bin(Op::Add, a, n)
    }

    // ---- operands

    /// Whether operand `n` is in memory.
    pub(crate) fn is_mem(&self, n: u32) -> bool {
        self.insn.op_kind(n) == OpKind::Memory
    }
    /// Whether operand `n` is a register.
    pub(crate) fn is_reg(&self, n: u32) -> bool {
        self.insn.op_kind(n) == OpKind::Register
    }
    /// The type of operand `n`; an immediate has that of operand 0, a 16-byte memory operand is a vector.
    pub(crate) fn op_type(&self, n: u32) -> Type {
        match self.insn.op_kind(n) {
            OpKind::Register => {
                let r = self.insn.op_register(n);
                match gpr(r) {
                    Some(g) => g.ty,
                    None if is_segment(r) => Type::I16,
                    None => other_reg(r).map_or(Type::I32, |row| self.b.table().def(row).ty),
                }
            }
            OpKind::Memory => type_of_bytes(self.insn.memory_size().size() as u32),
            _ if n == 0 => Type::I32,
            _ => self.op_type(0),
        }
    }
    /// The value of operand `n`, of type [`Lifter::op_type`].
    pub(crate) fn read_op(&mut self, n: u32) -> Value {
        let ty = self.op_type(n);
        match self.insn.op_kind(n) {
            OpKind::Register => self.reg(self.insn.op_register(n)),
            OpKind::Memory => self.load_ea(ty),
            _ => {
                let imm = self.imm(n);
                self.b.iconst(ty, imm)
            }
        }
    }
    /// Writes operand `n`: a store, or a register write (which must come after everything that may fault).
    pub(crate) fn write_op(&mut self, n: u32, v: Value) {
        if self.is_reg(n) {
            self.set_reg(self.insn.op_register(n), v);
        } else {
            self.store_ea(v);
        }
    }
    /// Immediate operand `n`, sign-extended as the encoding says.
    pub(crate) fn imm(&self, n: u32) -> u64 {
        self.insn.try_immediate(n).unwrap_or(0)
    }

    // ---- memory

    /// The effective address of the memory operand, the same index every time it is asked for in an instruction, so
    /// that a load and a store fuse.
    pub(crate) fn ea(&mut self) -> u32 {
        if let Some(index) = self.ea {
            return index;
        }
        let addr = self.memory_operand();
        let index = self.b.addr(addr);
        self.ea = Some(index);
        index
    }
    /// Makes `addr` the effective address of this instruction, for those that compute it otherwise.
    pub(crate) fn set_ea(&mut self, addr: Addr) {
        self.ea = Some(self.b.addr(addr));
    }
    /// The address tree of the memory operand.
    pub(crate) fn memory_operand(&mut self) -> Addr {
        let offset = self.memory_offset();
        self.operand_at(offset)
    }
    /// The address tree of the memory operand if its offset is that one.
    pub(crate) fn operand_at(&mut self, offset: Addr) -> Addr {
        match self.memory_piece() {
            Some(piece) => self.in_segment(piece, offset),
            None => Addr { seg: self.segment_base(self.insn.memory_segment()), ..offset },
        }
    }
    /// The width of the memory operand's address: that of its registers, or of its displacement.
    pub(crate) fn address_width(&self) -> Type {
        address_type(&self.insn).unwrap_or(match self.insn.memory_displ_size() {
            2 => Type::I16,
            4 => Type::I32,
            _ => self.b.table().addr_type(),
        })
    }
    /// Whether addresses of this instruction are narrower than those of the guest.
    pub(crate) fn has_narrow_address(&self) -> bool {
        self.address_width() != self.b.table().addr_type()
    }
    /// The offset part of the memory operand's address, which is what `lea` gives.
    pub(crate) fn memory_offset(&mut self) -> Addr {
        let insn = self.insn;
        if insn.is_ip_rel_memory_operand() {
            return self.constant_address(insn.ip_rel_memory_address());
        }
        if address_type(&insn).is_none() {
            return self.constant_address(insn.memory_displacement64());
        }
        if self.has_narrow_address() {
            return Addr::base(self.narrow_address(&insn));
        }
        let part = |cx: &mut Self, r| if r == Register::None { Value::NONE } else { cx.reg(r) };
        let base = part(self, insn.memory_base());
        let index = part(self, insn.memory_index());
        let scale = insn.memory_index_scale().trailing_zeros() as u8;
        Addr { base, index, scale, disp: insn.memory_displacement32() as i32, seg: Value::NONE }
    }
    /// A known address: a displacement where it is one, else a constant base.
    fn constant_address(&mut self, addr: u64) -> Addr {
        let addr_ty = self.b.table().addr_type();
        let disp = addr as i32;
        let (base, disp) = if disp as u64 & addr_ty.mask() == addr & addr_ty.mask() {
            (Value::NONE, disp)
        } else {
            (self.b.iconst(addr_ty, addr), 0)
        };
        Addr { disp, ..Addr::base(base) }
    }
    /// An address of a narrower width than the guest's wraps at that width, then zero-extends (SDM vol. 1, 3.7.5).
    fn narrow_address(&mut self, insn: &Instruction) -> Value {
        let full = self.b.table().addr_type();
        let mut sum = Value::NONE;
        if insn.memory_index() != Register::None {
            sum = self.reg(insn.memory_index());
            if insn.memory_index_scale() > 1 {
                let shift = self.b.iconst(Type::I8, u64::from(insn.memory_index_scale().trailing_zeros()));
                sum = self.b.multi(Op::Shl, &[sum, shift, Value::NONE]);
            }
        }
        if insn.memory_base() != Register::None {
            let base = self.reg(insn.memory_base());
            sum = if sum.is_none() { base } else { self.b.bin(Op::Add, base, sum) };
        }
        let sum = self.add_const(sum, i64::from(insn.memory_displacement32() as i32));
        self.zext(sum, full)
    }
    /// Loads a value of type `ty` from the effective address.
    pub(crate) fn load_ea(&mut self, ty: Type) -> Value {
        let ea = self.ea();
        self.load_at(ty, ea)
    }
    /// Stores to the effective address.
    pub(crate) fn store_ea(&mut self, v: Value) {
        let ea = self.ea();
        self.store_at(ea, v);
    }
    /// Loads a value of type `ty` from an address.
    pub(crate) fn load_at(&mut self, ty: Type, addr: u32) -> Value {
        self.check_alignment(addr, ty.bytes());
        self.b.load(ty, MemAttr::new(ty.bytes()), addr)
    }
    /// Stores all of `v` at an address.
    pub(crate) fn store_at(&mut self, addr: u32, v: Value) {
        let bytes = self.b.ty(v).bytes();
        self.check_alignment(addr, bytes);
        self.b.store(MemAttr::new(bytes), addr, v);
    }
    /// Raises #AC for a misaligned address where that is wanted (SDM vol. 3, 6.15). Operands of 16 bytes have rules of
    /// their own.
    pub(crate) fn check_alignment(&mut self, addr: u32, bytes: u32) {
        if !self.mode.checks_alignment() || !matches!(bytes, 2 | 4 | 8) {
            return;
        }
        let ty = self.b.table().addr_type();
        let linear = self.b.lea(ty, addr);
        let low = self.b.iconst(ty, u64::from(bytes - 1));
        let misaligned = self.b.bin(Op::And, linear, low);
        let flags = self.b.flags(misaligned);
        self.raise_if(Cond::Ne, flags, exception::AC, 0);
    }

    // ---- exits

    /// The instruction always raises that fault.
    pub(crate) fn raise(&mut self, code: ExceptionCode, arg: u64) {
        self.exit(ExitKind::Exception { pc: self.pc, code, arg });
    }
    /// The instruction raises that fault if the condition holds. Comes before every `set` of the instruction.
    pub(crate) fn raise_if(&mut self, cond: Cond, flags: Value, code: ExceptionCode, arg: u64) {
        self.b.exit_if(cond, flags, ExitKind::Exception { pc: self.pc, code, arg });
    }
    /// Leaves to the same instruction again if the condition holds, for what is done in steps or retried.
    pub(crate) fn repeat_if(&mut self, cond: Cond, flags: Value) {
        self.exit_if(cond, flags, ExitKind::Direct { pc: self.pc });
    }
    /// Calls a helper that may read and write any guest register; what is known of registers is forgotten.
    pub(crate) fn call(&mut self, helper: HelperId, ty: Type, args: &[Value]) -> Value {
        let v = self.b.call(helper, ty, args);
        self.b.forget_all();
        self.mmx_ready = false;
        v
    }
    /// Stores the bytes of a 64-bit value whose bits in `mask` are set.
    pub(crate) fn masked_store(&mut self, addr: Value, data: Value, mask: Value) {
        let helper = if self.mode.is_long() { helpers::LONG_MASKED_STORE } else { helpers::MASKED_STORE };
        self.call(helper, Type::None, &[addr, data, mask]);
    }
    /// Flags of `v` compared with zero.
    pub(crate) fn test_zero(&mut self, v: Value) -> Value {
        let t = self.b.bin(Op::And, v, v);
        self.b.flags(t)
    }
}

/// The width of the registers of a memory operand's address; nothing if it is only a displacement.
fn address_type(insn: &Instruction) -> Option<Type> {
    let part = |r: Register| gpr(r).map(|g| g.ty);
    part(insn.memory_base()).or_else(|| part(insn.memory_index()))
}
