//! The registers of compiled code that has called Rust in the middle of an instruction.
//!
//! Thunks that promise to keep every register save all of them in a frame on the host's stack. Whoever is called works
//! on the frame.

use crate::asm::{Asm, Mem, Opcode, Rm};
use dynasmrt::x64::X64Relocation;
use dynasmrt::{DynasmApi, VecAssembler, dynasm};
use isamorph_ir::{FlagSet, Header, Type};
use std::mem::offset_of;

/// The registers of compiled code, by their x86 numbers. Those of the stack and the state pointer are not in here.
#[repr(C, align(16))]
#[derive(Debug)]
pub struct Frame {
    ints: [u64; 16],
    vectors: [u128; 16],
    eflags: u64,
    mxcsr: u32,
    unused: u32,
}

impl Frame {
    /// An integer register.
    pub fn reg(&self, number: usize) -> u64 {
        self.ints[number & 15]
    }
    /// Sets an integer register.
    pub fn set_reg(&mut self, number: usize, value: u64) {
        self.ints[number & 15] = value;
    }
    /// A vector register.
    pub fn vector(&self, number: usize) -> u128 {
        self.vectors[number & 15]
    }
    /// Sets a vector register.
    pub fn set_vector(&mut self, number: usize, value: u128) {
        self.vectors[number & 15] = value;
    }
    /// The arithmetic flags.
    pub fn flags(&self) -> FlagSet {
        FlagSet::from_bits_truncate(self.eflags as u32)
    }
    /// Sets the arithmetic flags.
    pub fn set_flags(&mut self, flags: FlagSet) {
        self.eflags = self.eflags & !u64::from(FlagSet::all().bits()) | u64::from(flags.bits());
    }
    /// The floating-point control and status register.
    pub fn mxcsr(&self) -> u32 {
        self.mxcsr
    }
    /// Sets it.
    pub fn set_mxcsr(&mut self, value: u32) {
        self.mxcsr = value;
    }
    /// The value of a type in the register with that number.
    pub(crate) fn read(&self, ty: Type, reg: usize) -> u128 {
        match ty {
            Type::None => 0,
            Type::Flags => u128::from(self.flags().bits()),
            Type::V128 => self.vector(reg),
            Type::V64 => u128::from(self.vector(reg) as u64),
            _ => u128::from(self.reg(reg) & ty.mask()),
        }
    }
}

type Ops = VecAssembler<X64Relocation>;

pub(crate) const SHADOW_SP: i32 = offset_of!(Header, shadow_sp) as i32;
const HOST_SP: i32 = offset_of!(Header, host_sp) as i32;
const HOST_MXCSR: i32 = offset_of!(Header, host_mxcsr) as i32;
const SIZE: i32 = size_of::<Frame>() as i32;
const EFLAGS: i32 = offset_of!(Frame, eflags) as i32;
const MXCSR: i32 = offset_of!(Frame, mxcsr) as i32;

/// Changes to the host's stack and saves every register in a frame at its top. The host's control word is loaded.
pub(crate) fn save(ops: &mut Ops) {
    dynasm!(ops
        ; .arch x64
        ; mov [r15 + SHADOW_SP], rsp
        ; mov rsp, [r15 + HOST_SP]
        ; lea rsp, [rsp - SIZE]
    );
    move_all(ops, false);
    dynasm!(ops
        ; .arch x64
        ; pushfq
        ; pop QWORD [rsp + EFLAGS]
        ; stmxcsr [rsp + MXCSR]
        ; ldmxcsr [r15 + HOST_MXCSR]
    );
}

/// Loads every register from the frame and changes back to the shadow stack.
pub(crate) fn restore(ops: &mut Ops) {
    dynasm!(ops
        ; .arch x64
        ; ldmxcsr [rsp + MXCSR]
        ; push QWORD [rsp + EFLAGS]
        ; popfq
    );
    move_all(ops, true);
    dynasm!(ops; .arch x64; mov rsp, [r15 + SHADOW_SP]);
}

/// All but the stack pointer and the state, which nobody changes.
fn move_all(ops: &mut Ops, load: bool) {
    const RSP: u8 = 4;
    let at = |disp: i32| Rm::Mem(Mem { base: RSP, disp, ..Mem::state(0) });
    let mut asm = Asm::default();
    for r in (0..15u8).filter(|r| *r != RSP) {
        asm.op(Opcode::one(if load { 0x8b } else { 0x89 }), 8, r, at(8 * i32::from(r)));
    }
    for x in 0..16u8 {
        let place = offset_of!(Frame, vectors) as i32 + 16 * i32::from(x);
        asm.op(Opcode::sse(0, if load { 0x28 } else { 0x29 }), 4, x, at(place));
    }
    ops.extend(asm.code);
}
