//! Ops computed out of line: code that has no instruction for an op, or has met operands that its instructions treat
//! differently from the op's definition, calls the interpreter's function for that one op.
//!
//! The operation is described by a word in the state's header, which names the host registers of its operands and its
//! result. The thunk saves every register ([`crate::frame`]), so that the caller need not care, and the function works
//! on what was saved.
#![allow(unsafe_code)] // entered from compiled code, with pointers

use crate::frame::{self, Frame};
use dynasmrt::x64::X64Relocation;
use dynasmrt::{DynasmApi, VecAssembler, dynasm};
use isamorph_interp::Operation;
use isamorph_ir::{FlagSet, Header, Inst, Op, Type};
use std::mem::offset_of;

/// An operation and its registers in one word. From bit 0: op, attribute and immediate (8 bits each), type, three types
/// of operands (4 bits each), three registers of operands and that of the result (5 bits each).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor(pub u64);

const _: () = assert!(Op::ALL.len() <= 256 && Type::ALL.len() <= 16);

impl Descriptor {
    /// `operands` are types and registers in the common numbering (flags are in EFLAGS, whatever the register).
    pub fn new(inst: &Inst, operands: [(Type, u8); 3], result: u8) -> Self {
        let mut word = inst.op as u64 | u64::from(inst.attr) << 8 | u64::from(inst.imm as u8) << 16;
        word |= (inst.ty as u64) << 24;
        for (index, (ty, reg)) in operands.into_iter().enumerate() {
            word |= (ty as u64) << (28 + 4 * index) | u64::from(reg & 31) << (40 + 5 * index);
        }
        Descriptor(word | u64::from(result & 31) << 55)
    }

    fn field(self, at: u32, width: u32) -> u8 {
        (self.0 >> at & ((1 << width) - 1)) as u8
    }

    fn ty(self, at: u32) -> Type {
        Type::from_index(self.field(at, 4)).unwrap_or(Type::None)
    }

    fn result(self) -> usize {
        self.field(55, 5).into()
    }

    fn operation(self, saved: &Frame) -> Option<Operation> {
        let types = [self.ty(28), self.ty(32), self.ty(36)];
        let regs = [self.field(40, 5), self.field(45, 5), self.field(50, 5)];
        let value = |i: usize| saved.read(types[i], regs[i].into());
        Some(Operation {
            op: Op::from_index(self.field(0, 8))?,
            ty: self.ty(24),
            attr: self.field(8, 8),
            imm: self.field(16, 8),
            types,
            values: [value(0), value(1), value(2)],
        })
    }
}

/// Computes the operation on the saved registers. Exceptions stay masked: who may unmask them does not come here.
extern "C" fn compute(saved: *mut Frame, descriptor: u64) {
    const MASKED: u32 = 0x1f80;
    let descriptor = Descriptor(descriptor);
    // SAFETY: the thunk passes the frame that it has just filled in on this thread's stack, and nobody else knows it.
    let saved = unsafe { &mut *saved };
    let Some(operation) = descriptor.operation(saved) else { return };
    let mut mxcsr = saved.mxcsr() | MASKED;
    let (bits, flags) = operation.run(&mut mxcsr).unwrap_or((0, FlagSet::empty()));
    saved.set_mxcsr(saved.mxcsr() | mxcsr & !MASKED);
    if operation.ty.is_vector() {
        saved.set_vector(descriptor.result(), bits);
    } else {
        saved.set_reg(descriptor.result(), bits as u64);
    }
    if operation.op.effects().contains(isamorph_ir::Effects::FLAGS) {
        saved.set_flags(flags);
    }
}

/// Offset of the word in the state.
pub(crate) const DESCRIPTOR: u32 = offset_of!(Header, operation) as u32;

/// The thunk. Called from compiled code; all registers but the result's, and EFLAGS unless the op defines flags, stay.
pub(crate) fn thunk(ops: &mut VecAssembler<X64Relocation>) {
    frame::save(ops);
    dynasm!(ops
        ; .arch x64
        ; mov rdi, rsp
        ; mov rsi, [r15 + DESCRIPTOR as i32]
        ; mov rax, QWORD compute as *const () as i64
        ; call rax
    );
    frame::restore(ops);
    dynasm!(ops; .arch x64; ret);
}
