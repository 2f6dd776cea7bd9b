//! Building regions: one method per op form, and the map from guest registers to their current values.

use crate::op::{Op, X87Op};
use crate::region::{Addr, Block, Const, Exit, ExitKind, GuestInsn, Inst, Region, Value};
use crate::state::{Pin, RegId, RegTable};
use crate::types::{AtomicOp, Cond, FlagSet, Lane, MemAttr, Type};

/// Builds one region. The guest-register map makes redundant reads vanish: a register that was read or written in this
/// block is not read again.
pub struct Builder<'a> {
    region: &'a mut Region,
    table: &'static RegTable,
    current: Vec<Value>,
    block_start: u32,
}

impl<'a> Builder<'a> {
    /// Starts an empty region at `pc`, in its first block.
    pub fn new(region: &'a mut Region, table: &'static RegTable, pc: u64) -> Self {
        region.clear(pc);
        Builder { region, table, current: vec![Value::NONE; table.regs.len()], block_start: 0 }
    }
    /// The region so far.
    pub fn region(&self) -> &Region {
        self.region
    }
    /// The register table.
    pub fn table(&self) -> &'static RegTable {
        self.table
    }
    /// Appends an instruction.
    pub fn push(&mut self, inst: Inst) -> Value {
        self.region.insts.push(inst);
        Value::inst(self.region.insts.len() - 1)
    }
    fn op(&mut self, op: Op, ty: Type, attr: u8, args: &[Value], imm: u32) -> Value {
        let mut slots = [Value::NONE; 4];
        slots[..args.len()].copy_from_slice(args);
        self.push(Inst { op, ty, attr, args: slots, imm })
    }
    /// A constant of an integer type (or flags as EFLAGS bits); bits above its width are dropped.
    pub fn iconst(&mut self, ty: Type, bits: u64) -> Value {
        self.constant(Const { ty, bits: u128::from(bits & ty.mask()) })
    }
    /// A constant of a vector type; bits above its width must be zero.
    pub fn vconst(&mut self, ty: Type, bits: u128) -> Value {
        self.constant(Const { ty, bits })
    }
    fn constant(&mut self, wanted: Const) -> Value {
        // Looking back a little finds the repeats that matter without a hash table.
        let from = self.region.consts.len().saturating_sub(8);
        if let Some(i) = self.region.consts[from..].iter().position(|c| *c == wanted) {
            return Value::constant(from + i);
        }
        self.region.consts.push(wanted);
        Value::constant(self.region.consts.len() - 1)
    }
    /// The type of a value.
    pub fn ty(&self, v: Value) -> Type {
        self.region.value_type(v)
    }

    // ---- guest instructions, blocks, exits

    /// Starts a guest instruction.
    pub fn insn(&mut self, pc: u64, len: u8) {
        self.region.insns.push(GuestInsn { pc, len });
        let index = self.region.insns.len() as u32 - 1;
        self.op(Op::Insn, Type::None, 0, &[], index);
    }
    /// Ends the current block (whose last instruction must be a terminator) and starts the next one.
    pub fn next_block(&mut self) {
        let end = self.region.insts.len() as u32;
        self.region.blocks.push(Block { start: self.block_start, end });
        self.block_start = end;
        self.current.fill(Value::NONE);
    }
    /// Ends the region after its last terminator.
    pub fn finish(mut self) {
        self.next_block();
    }
    /// Declares a local.
    pub fn local(&mut self, ty: Type) -> RegId {
        self.region.locals.push(ty);
        RegId::local(self.region.locals.len() as u16 - 1)
    }
    fn new_exit(&mut self, kind: ExitKind) -> u32 {
        self.region.exits.push(Exit { kind, live_flags: FlagSet::all(), ret_flags: FlagSet::all() });
        self.region.exits.len() as u32 - 1
    }
    /// Leaves the region.
    pub fn exit(&mut self, kind: ExitKind) {
        let e = self.new_exit(kind);
        self.op(Op::Exit, Type::None, 0, &[], e);
    }
    /// Leaves the region if the condition holds.
    pub fn exit_if(&mut self, cond: Cond, flags: Value, kind: ExitKind) {
        let e = self.new_exit(kind);
        self.op(Op::ExitIf, Type::None, cond as u8, &[flags], e);
    }
    /// Goes to a block.
    pub fn jump(&mut self, block: u32) {
        self.op(Op::Jump, Type::None, 0, &[], block);
    }
    /// Goes to a block if the condition holds, else on to the next block.
    pub fn branch(&mut self, cond: Cond, flags: Value, block: u32) {
        self.op(Op::Branch, Type::None, cond as u8, &[flags], block);
    }

    // ---- guest registers

    /// The current value of a register.
    pub fn get(&mut self, reg: RegId) -> Value {
        if let Some(local) = reg.as_local() {
            return self.op(Op::Get, self.region.locals[local], 0, &[], u32::from(reg.0));
        }
        let at = usize::from(reg.0);
        if self.current[at].is_none() {
            self.current[at] = self.op(Op::Get, self.table.regs[at].ty, 0, &[], u32::from(reg.0));
        }
        self.current[at]
    }
    /// Writes a register. Writes come after everything in their guest instruction that may fault.
    pub fn set(&mut self, reg: RegId, v: Value) {
        let ty = self.ty(v);
        if reg.as_local().is_none() {
            let at = usize::from(reg.0);
            // Writing an MMX register also changes the rest of the x87 register that it is part of.
            let has_effects = matches!(self.table().def(reg).pin, Pin::X87(_));
            if self.current[at] == v && !has_effects {
                return;
            }
            self.current[at] = v;
        }
        self.op(Op::Set, ty, 0, &[v], u32::from(reg.0));
    }
    /// Forgets what is known of a register, after something wrote it behind the builder's back (a helper).
    pub fn forget(&mut self, reg: RegId) {
        self.current[usize::from(reg.0)] = Value::NONE;
    }
    /// Forgets all registers.
    pub fn forget_all(&mut self) {
        self.current.fill(Value::NONE);
    }

    // ---- op forms

    /// One operand of the result's type.
    pub fn un(&mut self, op: Op, a: Value) -> Value {
        let ty = self.ty(a);
        self.op(op, ty, 0, &[a], 0)
    }
    /// Two operands of the result's type.
    pub fn bin(&mut self, op: Op, a: Value, b: Value) -> Value {
        let ty = self.ty(a);
        self.op(op, ty, 0, &[a, b], 0)
    }
    /// Three or more operands; the first has the result's type. For `adc`, shifts, division, bit tests.
    pub fn multi(&mut self, op: Op, args: &[Value]) -> Value {
        let ty = self.ty(args[0]);
        self.op(op, ty, 0, args, 0)
    }
    /// A width change, `concat`, `vfromi`, `vtoi`, `vresize`: an explicit result type.
    pub fn convert(&mut self, op: Op, ty: Type, args: &[Value]) -> Value {
        self.op(op, ty, 0, args, 0)
    }
    /// Bits of a wider integer from `bit` on.
    pub fn field(&mut self, ty: Type, v: Value, bit: u32) -> Value {
        self.op(Op::Field, ty, 0, &[v], bit)
    }
    /// `old` with `v` put in at `bit`.
    pub fn insert(&mut self, old: Value, v: Value, bit: u32) -> Value {
        let ty = self.ty(old);
        self.op(Op::Ins, ty, 0, &[old, v], bit)
    }
    /// The flags that `v` defined.
    pub fn flags(&mut self, v: Value) -> Value {
        self.op(Op::Flags, Type::Flags, 0, &[v], 0)
    }
    /// The flags that `v` defined, with `keep` taken from `old`.
    pub fn flags_keep(&mut self, v: Value, old: Value, keep: FlagSet) -> Value {
        self.op(Op::FlagsKeep, Type::Flags, keep.to_attr(), &[v, old], 0)
    }
    /// Sets, clears or complements flags ([`Op::FlagsSet`], [`Op::FlagsClear`], [`Op::FlagsNot`]).
    pub fn flags_edit(&mut self, op: Op, f: Value, which: FlagSet) -> Value {
        self.op(op, Type::Flags, which.to_attr(), &[f], 0)
    }
    /// The second result of `v`.
    pub fn second(&mut self, v: Value) -> Value {
        let ty = self.ty(v);
        self.op(Op::Second, ty, 0, &[v], 0)
    }
    /// 1 if the condition holds, else 0, as `i8`.
    pub fn setcc(&mut self, cond: Cond, f: Value) -> Value {
        self.op(Op::SetCc, Type::I8, cond as u8, &[f], 0)
    }
    /// `a` if the condition holds, else `b`.
    pub fn select(&mut self, cond: Cond, f: Value, a: Value, b: Value) -> Value {
        let ty = self.ty(a);
        self.op(Op::Select, ty, cond as u8, &[f, a, b], 0)
    }
    /// Flags as EFLAGS bits, `i32`.
    pub fn flags_bits(&mut self, f: Value) -> Value {
        self.op(Op::FlagsBits, Type::I32, 0, &[f], 0)
    }
    /// Flags from EFLAGS bits.
    pub fn bits_flags(&mut self, v: Value) -> Value {
        self.op(Op::BitsFlags, Type::Flags, 0, &[v], 0)
    }

    // ---- memory

    /// Adds an address tree; a load and a store that use the same index fuse into one read-modify-write.
    pub fn addr(&mut self, addr: Addr) -> u32 {
        self.region.addrs.push(addr);
        self.region.addrs.len() as u32 - 1
    }
    /// Loads and extends to `ty`.
    pub fn load(&mut self, ty: Type, mem: MemAttr, addr: u32) -> Value {
        self.op(Op::Load, ty, mem.0, &[], addr)
    }
    /// Stores the low bytes of `v`.
    pub fn store(&mut self, mem: MemAttr, addr: u32, v: Value) {
        let ty = self.ty(v);
        self.op(Op::Store, ty, mem.0, &[v], addr);
    }
    /// The address itself.
    pub fn lea(&mut self, ty: Type, addr: u32) -> Value {
        self.op(Op::Lea, ty, 0, &[], addr)
    }
    /// [`Op::Rmw`] or [`Op::Fetch`].
    pub fn atomic(&mut self, op: Op, kind: AtomicOp, addr: u32, v: Value) -> Value {
        let ty = self.ty(v);
        self.op(op, ty, kind as u8, &[v], addr)
    }
    /// Compare and swap; gives the old value.
    pub fn cas(&mut self, addr: u32, expected: Value, new: Value) -> Value {
        let ty = self.ty(new);
        self.op(Op::Cas, ty, 0, &[expected, new], addr)
    }
    /// Full memory barrier.
    pub fn fence(&mut self) {
        self.op(Op::Fence, Type::None, 0, &[], 0);
    }
    /// Calls a helper with up to three integers. What it may write must be forgotten by the caller.
    pub fn call(&mut self, helper: crate::HelperId, ty: Type, args: &[Value]) -> Value {
        self.op(Op::Call, ty, 0, args, u32::from(helper.0))
    }

    // ---- vectors and floating point

    /// A vector op on lanes with one or two operands of the result's type, and an immediate.
    pub fn vec(&mut self, op: Op, lane: Lane, args: &[Value], imm: u32) -> Value {
        let ty = self.ty(args[0]);
        self.op(op, ty, lane as u8, args, imm)
    }
    /// A vector op whose result type is not that of its first operand.
    pub fn vec_to(&mut self, op: Op, ty: Type, lane: Lane, args: &[Value], imm: u32) -> Value {
        self.op(op, ty, lane as u8, args, imm)
    }
    /// Register-stack operation.
    pub fn x87(&mut self, kind: X87Op, st: u32) {
        self.op(Op::X87, Type::None, kind as u8, &[], st);
    }
    /// x87 operation with memory.
    pub fn x87_mem(&mut self, kind: X87Op, addr: u32) {
        self.op(Op::X87Mem, Type::None, kind as u8, &[], addr);
    }
    /// x87 comparison into flags.
    pub fn x87_flags(&mut self, kind: X87Op, st: u32) -> Value {
        self.op(Op::X87Flags, Type::I32, kind as u8, &[], st)
    }
    /// x87 status word.
    pub fn x87_status(&mut self) -> Value {
        self.op(Op::X87Status, Type::I16, 0, &[], 0)
    }
    /// x87 conditional move.
    pub fn x87_cmov(&mut self, cond: Cond, f: Value, st: u32) {
        self.op(Op::X87Cmov, Type::None, cond as u8, &[f], st);
    }
}
