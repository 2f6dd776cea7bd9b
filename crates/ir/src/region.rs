//! Regions: the unit of translation. One entry, blocks of SSA values, typed exits.

use crate::op::{ImmKind, Op, Res};
use crate::types::{AtomicOp, Cond, FlagSet, FpMode, Lane, MemAttr, Type};
use crate::{RegId, X87Op};

/// A value: the result of an instruction, a constant of the region, or nothing.
///
/// Values are SSA inside a block and die at its end; what crosses blocks goes through guest registers and locals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Value(pub u32);

impl Value {
    /// An operand slot that is not used.
    pub const NONE: Value = Value(u32::MAX);
    const CONST: u32 = 1 << 31;
    /// The result of instruction `index`.
    pub const fn inst(index: usize) -> Self {
        Value(index as u32)
    }
    /// Constant number `index` of the region.
    pub const fn constant(index: usize) -> Self {
        Value(index as u32 | Self::CONST)
    }
    /// The index of the defining instruction.
    pub const fn as_inst(self) -> Option<usize> {
        if self.0 & Self::CONST == 0 { Some(self.0 as usize) } else { None }
    }
    /// The index into the constants.
    pub const fn as_const(self) -> Option<usize> {
        if self.0 & Self::CONST != 0 && self.0 != u32::MAX { Some((self.0 & !Self::CONST) as usize) } else { None }
    }
    /// Whether the slot is not used.
    pub const fn is_none(self) -> bool {
        self.0 == u32::MAX
    }
}

/// One instruction: 24 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inst {
    /// What it does.
    pub op: Op,
    /// Type of its result, or of its operation when it has none.
    pub ty: Type,
    /// Attribute byte; [`crate::OpInfo::attr`] says what it holds.
    pub attr: u8,
    /// Operands, [`Value::NONE`] where unused.
    pub args: [Value; 4],
    /// Immediate; [`crate::OpInfo::imm`] says what it holds.
    pub imm: u32,
}

impl Inst {
    /// The attribute as a condition.
    pub fn cond(&self) -> Cond {
        Cond::from_index(self.attr).unwrap_or(Cond::O)
    }
    /// The attribute as a lane.
    pub fn lane(&self) -> Lane {
        Lane::from_index(self.attr).unwrap_or(Lane::I8)
    }
    /// The attribute as a memory access.
    pub fn mem(&self) -> MemAttr {
        MemAttr(self.attr)
    }
    /// The attribute as a set of flags.
    pub fn flag_set(&self) -> FlagSet {
        FlagSet::from_attr(self.attr)
    }
    /// The attribute as an atomic operation.
    pub fn atomic(&self) -> AtomicOp {
        AtomicOp::from_index(self.attr).unwrap_or(AtomicOp::Add)
    }
    /// The attribute as an x87 operation.
    pub fn x87(&self) -> X87Op {
        X87Op::from_index(self.attr).unwrap_or(X87Op::Nop)
    }
    /// The immediate as the rules of a floating-point op.
    pub fn fp_mode(&self) -> FpMode {
        FpMode(self.imm as u8)
    }
    /// The immediate as a register.
    pub fn reg(&self) -> RegId {
        RegId(self.imm as u16)
    }
    /// The type of what it defines.
    pub fn result_type(&self) -> Type {
        match self.op.info().res {
            Res::No => Type::None,
            Res::T => self.ty,
            Res::Fl => Type::Flags,
        }
    }
    /// The address it uses, if any.
    pub fn addr(&self) -> Option<usize> {
        (self.op.info().imm == ImmKind::Addr).then_some(self.imm as usize)
    }
}

/// A constant with its type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Const {
    /// Type; vectors wider than 128 bits have no constants.
    pub ty: Type,
    /// Bits, zero above the type's width.
    pub bits: u128,
}

/// An address tree: `segment + ((base + (index << scale) + disp) mod 2^width)`.
///
/// The offset wraps at the guest's address width; the sum with the segment base wraps there too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Addr {
    /// Base, an integer of the address width, or nothing.
    pub base: Value,
    /// Index, an integer of the address width, or nothing.
    pub index: Value,
    /// Left shift of the index, 0 to 3.
    pub scale: u8,
    /// Sign-extended displacement.
    pub disp: i32,
    /// Base of the segment, an integer of the address width, or nothing.
    pub seg: Value,
}

impl Addr {
    /// An address with only a base.
    pub const fn base(base: Value) -> Self {
        Addr { base, index: Value::NONE, scale: 0, disp: 0, seg: Value::NONE }
    }
    /// An address relative to a base.
    pub const fn offset(base: Value, disp: i32) -> Self {
        Addr { base, index: Value::NONE, scale: 0, disp, seg: Value::NONE }
    }
    /// The values that the tree reads.
    pub fn values(&self) -> impl Iterator<Item = Value> + use<> {
        [self.base, self.index, self.seg].into_iter().filter(|v| !v.is_none())
    }
}

/// Number of an architectural exception, in the guest's own numbering (x86: vector; Arm: exception class).
pub type ExceptionCode = u32;

/// Why and where a region is left. Program counters are guest virtual addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExitKind {
    /// To a known place; chainable.
    Direct {
        /// Next program counter.
        pc: u64,
    },
    /// A call to a known place; the return address is pushed on the shadow stack.
    Call {
        /// Next program counter.
        pc: u64,
        /// Where the call returns to.
        ret: u64,
    },
    /// A call to a computed place.
    IndirectCall {
        /// Next program counter.
        target: Value,
        /// Where the call returns to.
        ret: u64,
    },
    /// A return.
    Return {
        /// Next program counter.
        target: Value,
    },
    /// A computed jump.
    Indirect {
        /// Next program counter.
        target: Value,
    },
    /// A system call; execution goes on at `next`.
    Syscall {
        /// Program counter after the instruction.
        next: u64,
        /// Which system-call instruction, in the guest's own numbering.
        code: u32,
    },
    /// An exception of the instruction at `pc`.
    Exception {
        /// Program counter of the instruction, or the one after it for a trap.
        pc: u64,
        /// Which exception.
        code: ExceptionCode,
        /// Its argument (error code).
        arg: u64,
    },
    /// To a known place, which is looked up each time: what besides the program counter decides the meaning of the code
    /// there may have changed.
    Resync {
        /// Next program counter.
        next: u64,
    },
    /// The same to a computed place: far jumps, returns from interrupts.
    ResyncTo {
        /// Next program counter; 64 bits wide if need be, also where addresses are narrower.
        target: Value,
    },
    /// The processor stops until an interrupt.
    Halt {
        /// Program counter after the instruction.
        next: u64,
    },
}

impl ExitKind {
    /// The computed target, if there is one.
    pub fn target(&self) -> Option<Value> {
        match *self {
            Self::IndirectCall { target, .. }
            | Self::Return { target }
            | Self::Indirect { target }
            | Self::ResyncTo { target } => Some(target),
            _ => None,
        }
    }
}

/// A way out of a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exit {
    /// Why and where.
    pub kind: ExitKind,
    /// The flags that whatever comes next may read before it writes them. The region former narrows this by looking
    /// at the successor; the default is all of them.
    pub live_flags: FlagSet,
    /// For calls: the same for the code at the return address.
    pub ret_flags: FlagSet,
}

/// A guest instruction that a region covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GuestInsn {
    /// Its address.
    pub pc: u64,
    /// Its length in bytes.
    pub len: u8,
}

/// A run of instructions with one entry at the top; side exits may leave it in the middle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// First instruction.
    pub start: u32,
    /// One past the last instruction, which is a terminator.
    pub end: u32,
}

/// The unit of translation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Guest address of the entry.
    pub pc: u64,
    /// Instructions, block after block.
    pub insts: Vec<Inst>,
    /// Blocks in order; the first is the entry.
    pub blocks: Vec<Block>,
    /// Constants.
    pub consts: Vec<Const>,
    /// Address trees.
    pub addrs: Vec<Addr>,
    /// Exits.
    pub exits: Vec<Exit>,
    /// Guest instructions in translation order.
    pub insns: Vec<GuestInsn>,
    /// Types of the locals.
    pub locals: Vec<Type>,
}

impl Region {
    /// Empties the region for reuse, keeping its allocations.
    pub fn clear(&mut self, pc: u64) {
        let Region { pc: p, insts, blocks, consts, addrs, exits, insns, locals } = self;
        *p = pc;
        insts.clear();
        blocks.clear();
        consts.clear();
        addrs.clear();
        exits.clear();
        insns.clear();
        locals.clear();
    }
    /// The type of a value; `None` for an unused slot.
    pub fn value_type(&self, v: Value) -> Type {
        if let Some(c) = v.as_const() {
            self.consts[c].ty
        } else if let Some(i) = v.as_inst() {
            self.insts[i].result_type()
        } else {
            Type::None
        }
    }
    /// The bits of a constant of at most 64 bits.
    pub fn const_bits(&self, v: Value) -> Option<u64> {
        v.as_const().map(|c| self.consts[c].bits as u64)
    }
    /// Every value that an instruction reads: operands, parts of its address, and the target of its exit.
    pub fn uses(&self, inst: &Inst) -> impl Iterator<Item = Value> + use<> {
        let mut list = [Value::NONE; 7];
        list[..4].copy_from_slice(&inst.args);
        match inst.op.info().imm {
            ImmKind::Addr => {
                let a = &self.addrs[inst.imm as usize];
                list[4..].copy_from_slice(&[a.base, a.index, a.seg]);
            }
            ImmKind::Exit => list[4] = self.exits[inst.imm as usize].kind.target().unwrap_or(Value::NONE),
            _ => {}
        }
        list.into_iter().filter(|v| !v.is_none())
    }
}
