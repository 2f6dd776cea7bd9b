//! Lifting: instructions to IR.
//!
//! [`lift_region`] walks guest code and gives every instruction to the handler of its row. A handler reads registers,
//! computes, accesses memory, and only then writes registers, so that a fault finds the state before the instruction.

mod arith;
mod branch;
mod crypto;
mod flags;
mod fp;
mod live;
mod logic;
mod memory;
mod ordered;
mod pauth;
mod simd;
mod simd_elem;
mod simd_fp;
mod simd_half;
mod simd_mem;
mod simd_misc;
mod simd_move;
mod simd_shift;
mod simd_three;
mod system;

pub(crate) use system::number as system_register;

use crate::decode::{Next, a64, walk};
use crate::state::{self, A64, SP, fpcr_bit};
use crate::{coverage, exception};
use isamorph_guest::{CodeSource, FetchFault, Limits};
use isamorph_ir::{Builder, Cond, CpuState, ExitKind, FlagSet, FpMode, FpRule, Op, Region, Type, Value};

include!(concat!(env!("OUT_DIR"), "/a64_dispatch.rs"));

/// The bits of FPCR that decide what instructions do and that the host's control register does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mode {
    /// FPCR.DN: a NaN result is the default NaN.
    pub(crate) default_nan: bool,
    /// FPCR.AHP: half-precision numbers have the alternative format.
    pub(crate) alternative_half: bool,
    /// FPCR.FZ16: half-precision denormals are flushed.
    pub(crate) flush_half: bool,
}

impl Mode {
    fn of_fpcr(fpcr: u32) -> Self {
        Mode {
            default_nan: fpcr & fpcr_bit::DN != 0,
            alternative_half: fpcr & fpcr_bit::AHP != 0,
            flush_half: fpcr & fpcr_bit::FZ16 != 0,
        }
    }
    /// The mode of a vCPU.
    pub(crate) fn of(state: &CpuState) -> Self {
        Self::of_fpcr(state::fpcr(state))
    }
    /// The mode with that number.
    pub(crate) fn from_number(number: u32) -> Self {
        Mode { default_nan: number & 1 != 0, alternative_half: number & 2 != 0, flush_half: number & 4 != 0 }
    }
    /// The number that stands for the mode outside this crate.
    pub(crate) fn number(self) -> u32 {
        u32::from(self.default_nan) | u32::from(self.alternative_half) << 1 | u32::from(self.flush_half) << 2
    }
    /// How floating-point ops behave.
    pub(crate) fn fp(self) -> FpMode {
        FpMode::new(if self.default_nan { FpRule::ArmDefault } else { FpRule::Arm })
    }
}

/// The region being lifted, and what the handlers need.
pub(crate) struct Lifter<'r> {
    /// Where the IR goes.
    pub(crate) b: Builder<'r>,
    /// Address of the instruction.
    pub(crate) pc: u64,
    /// The instruction.
    pub(crate) word: u32,
    /// The processor's mode.
    pub(crate) mode: Mode,
    /// Low halves of registers that were taken last: full value and half.
    halves: [(Value, Value); 4],
    /// What is known of the upper parts of vector registers.
    extents: simd::Extents,
    /// Whether a terminator ended the region.
    done: bool,
}

impl<'r> Lifter<'r> {
    fn new(region: &'r mut Region, pc: u64, mode: Mode) -> Self {
        let halves = [(Value::NONE, Value::NONE); 4];
        let (b, extents) = (Builder::new(region, &A64, pc), simd::Extents::new());
        Lifter { b, pc, word: 0, mode, halves, extents, done: false }
    }
    /// Lifts one instruction.
    fn step(&mut self, pc: u64, word: u32) {
        self.pc = pc;
        self.word = word;
        self.b.insn(pc, 4);
        let insn = a64::decode(word);
        if !insn.is_some_and(|insn| a64(self, insn)) {
            coverage::count(insn.map(|insn| insn.kind.row()));
            self.undefined();
        }
    }
    /// The address of the next instruction.
    pub(crate) fn next(&self) -> u64 {
        self.pc.wrapping_add(4)
    }

    // ---- leaving the region

    /// Leaves the region.
    pub(crate) fn exit(&mut self, kind: ExitKind) {
        self.b.exit(kind);
        self.done = true;
    }
    /// Raises an exception at this instruction.
    pub(crate) fn raise(&mut self, code: u32, arg: u64) {
        self.exit(ExitKind::Exception { pc: self.pc, code, arg });
    }
    /// The encoding is undefined, reserved or not implemented. May come after other ops of the instruction, if none of
    /// them has an effect.
    pub(crate) fn undefined(&mut self) {
        self.raise(exception::UNDEFINED, u64::from(self.word));
    }
    /// Goes on in a new block: nothing that was computed so far is known there.
    pub(crate) fn next_block(&mut self) {
        self.b.next_block();
        self.halves.fill((Value::NONE, Value::NONE));
    }

    // ---- integer registers; number 31 is the zero register, or the stack pointer in the methods named so

    /// A constant.
    pub(crate) fn constant(&mut self, ty: Type, bits: u64) -> Value {
        self.b.iconst(ty, bits)
    }
    /// X0 … X30, XZR.
    pub(crate) fn x(&mut self, n: u32) -> Value {
        if n == 31 { self.constant(Type::I64, 0) } else { self.b.get(state::x(n)) }
    }
    /// X0 … X30, SP.
    pub(crate) fn x_sp(&mut self, n: u32) -> Value {
        self.b.get(if n == 31 { SP } else { state::x(n) })
    }
    /// W0 … W30, WZR.
    pub(crate) fn w(&mut self, n: u32) -> Value {
        if n == 31 {
            return self.constant(Type::I32, 0);
        }
        let full = self.x(n);
        self.low_half(full)
    }
    /// The register as X if `wide` (the usual meaning of a field `sf`), else as W.
    pub(crate) fn reg(&mut self, wide: bool, n: u32) -> Value {
        if wide { self.x(n) } else { self.w(n) }
    }
    /// The same, with SP instead of the zero register.
    pub(crate) fn reg_sp(&mut self, wide: bool, n: u32) -> Value {
        let full = self.x_sp(n);
        if wide { full } else { self.low_half(full) }
    }
    /// Writes X0 … X30 or nothing; an `i32` is a write to W, which clears the upper half.
    pub(crate) fn set(&mut self, n: u32, v: Value) {
        if n != 31 {
            let full = self.extend(v);
            self.b.set(state::x(n), full);
        }
    }
    /// Writes X0 … X30 or SP, likewise.
    pub(crate) fn set_sp(&mut self, n: u32, v: Value) {
        let full = self.extend(v);
        self.b.set(if n == 31 { SP } else { state::x(n) }, full);
    }

    // ---- small conveniences

    fn low_half(&mut self, full: Value) -> Value {
        if let Some((_, half)) = self.halves.iter().find(|(v, _)| *v == full) {
            return *half;
        }
        let half = match self.b.region().const_bits(full) {
            Some(bits) => self.constant(Type::I32, bits),
            None => self.b.convert(Op::Trunc, Type::I32, &[full]),
        };
        self.remember(full, half);
        half
    }
    fn remember(&mut self, full: Value, half: Value) {
        self.halves.rotate_right(1);
        self.halves[0] = (full, half);
    }
    /// An integer, zero-extended to 64 bits.
    pub(crate) fn extend(&mut self, v: Value) -> Value {
        let ty = self.b.ty(v);
        if ty == Type::I64 {
            return v;
        }
        if let Some(bits) = self.b.region().const_bits(v) {
            return self.constant(Type::I64, bits);
        }
        let full = self.b.convert(Op::Zext, Type::I64, &[v]);
        if ty == Type::I32 {
            self.remember(full, v);
        }
        full
    }
    /// The low bits of an integer.
    pub(crate) fn narrow(&mut self, v: Value, ty: Type) -> Value {
        if self.b.ty(v) == ty {
            return v;
        }
        match ty {
            Type::I32 if self.b.ty(v) == Type::I64 => self.low_half(v),
            _ => match self.b.region().const_bits(v) {
                Some(bits) => self.constant(ty, bits),
                None => self.b.convert(Op::Trunc, ty, &[v]),
            },
        }
    }
    /// A value plus a constant.
    pub(crate) fn add_const(&mut self, v: Value, n: i64) -> Value {
        if n == 0 {
            return v;
        }
        let ty = self.b.ty(v);
        let c = self.constant(ty, n as u64);
        self.b.bin(Op::Add, v, c)
    }

    // ---- flags (C is the complement of PSTATE.C, see `state`)

    /// The condition flags.
    pub(crate) fn flags(&mut self) -> Value {
        self.b.get(state::FLAGS)
    }
    /// Sets the condition flags.
    pub(crate) fn set_flags(&mut self, flags: Value) {
        self.b.set(state::FLAGS, flags);
    }
    /// Flags with Z = (v = 0), which are not the guest's.
    pub(crate) fn test_zero(&mut self, v: Value) -> Value {
        let and = self.b.bin(Op::And, v, v);
        self.b.flags(and)
    }
    /// A constant set of flags.
    pub(crate) fn constant_flags(&mut self, flags: FlagSet) -> Value {
        self.constant(Type::Flags, u64::from(flags.bits()))
    }
}

/// The condition of a field `cond`; nothing for the two that always hold (Arm ARM C1.2.4).
pub(crate) fn condition(field: u32) -> Option<Cond> {
    const CONDITIONS: [Cond; 14] = [
        Cond::E,
        Cond::Ne,
        Cond::Ae,
        Cond::B,
        Cond::S,
        Cond::Ns,
        Cond::O,
        Cond::No,
        Cond::A,
        Cond::Be,
        Cond::Ge,
        Cond::L,
        Cond::G,
        Cond::Le,
    ];
    CONDITIONS.get(field as usize).copied()
}

/// The low `width` bits of a field as a signed number.
pub(crate) fn signed(field: u32, width: u32) -> i64 {
    i64::from((field << (32 - width)) as i32 >> (32 - width))
}

/// Lifts the code at `pc`: straight on past conditional branches that are not taken, to the first instruction that
/// always goes elsewhere, the limit, or the end of what can be fetched.
pub(crate) fn lift_region(
    region: &mut Region,
    pc: u64,
    mode: Mode,
    code: &dyn CodeSource,
    limits: Limits,
) -> Result<(), FetchFault> {
    let mut cx = Lifter::new(region, pc, mode);
    if pc >> 56 != 0 && pc >> 55 & 1 == 0 {
        // A branch drops the tag (Arm ARM, BranchAddr), so that the program counter has none. Here it is seen late.
        let untagged = pc << 8 >> 8;
        cx.b.insn(pc, 4);
        cx.exit(ExitKind::Direct { pc: untagged });
        cx.b.finish();
        return Ok(());
    }
    if !pc.is_multiple_of(4) {
        // Arm ARM D1.3.4: before the instruction is fetched.
        cx.b.insn(pc, 4);
        cx.raise(exception::PC_ALIGNMENT, pc);
        cx.b.finish();
        return Ok(());
    }
    let mut count = 0;
    let walked = walk(code, pc, |at, word| {
        cx.step(at, word);
        count += 1;
        if cx.done {
            return Next::Stop;
        }
        if count >= limits.max_insns {
            cx.exit(ExitKind::Direct { pc: cx.next() });
            return Next::Stop;
        }
        Next::Continue
    });
    if let Err(fault) = walked {
        if count == 0 {
            return Err(fault);
        }
        // The instruction that cannot be fetched faults when execution reaches it, not before.
        cx.exit(ExitKind::Direct { pc: cx.next() });
    }
    cx.b.finish();
    if !limits.precise {
        live::narrow_exits(region, code);
    }
    Ok(())
}
