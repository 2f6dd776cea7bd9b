//! Floating point on vector lanes.
//!
//! Arithmetic is executed by the host's unit under the guest's MXCSR; what the guest's rules decide differently from
//! the host's is put right afterwards, lane by lane ([`nan`]). Conversions that not every host has are computed here
//! ([`convert`]).

mod convert;
mod fused;
mod nan;

use crate::compute::Operands;
use crate::{Frame, Slot, vector};
use isamorph_host::fpexec::{self, FpTrap};
use isamorph_host::fpu::DEFAULT_MXCSR;
use isamorph_ir::{FlagSet, FloatUnit, FpRule, Inst, Lane, Op, Trap, Type};
use nan::Format;

/// Bits of MXCSR (SDM vol. 1, 10.2.3).
mod mxcsr {
    /// Invalid operation.
    pub(super) const INVALID: u32 = 1;
    /// A denormal operand.
    pub(super) const DENORMAL: u32 = 1 << 1;
    /// Overflow.
    pub(super) const OVERFLOW: u32 = 1 << 3;
    /// Underflow.
    pub(super) const UNDERFLOW: u32 = 1 << 4;
    /// Inexact.
    pub(super) const INEXACT: u32 = 1 << 5;
    /// All sticky bits.
    pub(super) const STICKY: u32 = 0x3f;
    /// Denormal operands are zero.
    pub(super) const DAZ: u32 = 1 << 6;
    /// Denormal results are zero.
    pub(super) const FLUSH: u32 = 1 << 15;
    /// Place of the exception masks.
    pub(super) const MASKS: u32 = 7;
    /// Place of the rounding mode.
    pub(super) const ROUNDING: u32 = 13;
    /// To nearest even, denormal operands and results are zero, exceptions masked: Arm's "standard FPSCR value".
    pub(super) const STANDARD: u32 = 0x9fc0;
}

/// Prefix and opcode of the SSE instruction that is an op on that lane, after the 0x0f byte (SDM vol. 2).
// tidy: flat
fn encoding(op: Op, lane: Lane) -> (Option<u8>, u8) {
    let plain = match lane {
        Lane::F64 => Some(0x66),
        Lane::S32 => Some(0xf3),
        Lane::S64 => Some(0xf2),
        _ => None,
    };
    let double = lane == Lane::F64;
    match op {
        Op::FAdd => (plain, 0x58),
        Op::FSub => (plain, 0x5c),
        Op::FMul => (plain, 0x59),
        Op::FDiv => (plain, 0x5e),
        Op::FMin | Op::FMinNum => (plain, 0x5d),
        Op::FMax | Op::FMaxNum => (plain, 0x5f),
        Op::FSqrt => (plain, 0x51),
        Op::FRsqrt => (plain, 0x52),
        Op::FRcp => (plain, 0x53),
        Op::FCmpMask => (plain, 0xc2),
        Op::FCvtLane | Op::FCvtPacked => (plain, 0x5a),
        Op::FCmpQuiet | Op::FCmpOrder => ((lane == Lane::S64).then_some(0x66), 0x2e),
        Op::FCmpSignal => ((lane == Lane::S64).then_some(0x66), 0x2f),
        Op::FFromInt => (plain, 0x2a),
        Op::FToIntTrunc => (plain, 0x2c),
        Op::FToInt => (plain, 0x2d),
        Op::FFromIntPacked if double => (Some(0xf3), 0xe6),
        Op::FFromIntPacked => (None, 0x5b),
        Op::FToIntPacked if double => (Some(0xf2), 0xe6),
        Op::FToIntPacked => (Some(0x66), 0x5b),
        Op::FToIntPackedTrunc if double => (Some(0x66), 0xe6),
        Op::FToIntPackedTrunc => (Some(0xf3), 0x5b),
        Op::FPairAdd => (Some(if double { 0x66 } else { 0xf2 }), 0x7c),
        Op::FAddSub => (Some(if double { 0x66 } else { 0xf2 }), 0xd0),
        _ => (plain, 0),
    }
}

/// The guest's exception for what the host raised.
pub(crate) fn guest_trap(trap: FpTrap) -> Trap {
    match trap {
        FpTrap::X87 => Trap::Float(FloatUnit::X87),
        FpTrap::Simd => Trap::Float(FloatUnit::Vector),
        // The encodings are SSE2 and x87 ones, which every host has, or were asked for; what is left is a host
        // without memory.
        FpTrap::Illegal | FpTrap::Operand | FpTrap::NoMemory => panic!("floating-point unit not usable: {trap:?}"),
    }
}

impl Frame<'_> {
    /// Computes a floating-point op under the guest's MXCSR, and keeps the exception flags that it sets. A guest
    /// without the register has the default control word and no flags.
    pub(crate) fn float(&mut self, inst: &Inst) -> Result<Slot, Trap> {
        let at = self.table.fp_control();
        let mut mxcsr = at.map_or(DEFAULT_MXCSR, |at| {
            let bytes = self.state.bytes(at, 4);
            u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        });
        let result = eval(inst, &self.operands(inst), &mut mxcsr);
        if let Some(at) = at {
            self.state.bytes_mut(at, 4).copy_from_slice(&mxcsr.to_le_bytes());
        }
        result
    }
}

/// Computes a floating-point op under the control word `mxcsr`, which gets the exception flags.
pub(crate) fn eval(inst: &Inst, operands: &impl Operands, mxcsr: &mut u32) -> Result<Slot, Trap> {
    let rule = inst.fp_mode().rule();
    let control = if rule == FpRule::ArmStandard { mxcsr::STANDARD } else { *mxcsr };
    let mut unit = Unit { op: inst.op, lane: inst.lane(), rule, mxcsr: control };
    let result = unit.eval(inst, operands);
    *mxcsr |= unit.mxcsr & mxcsr::STICKY;
    result
}

/// A floating-point unit during one operation.
struct Unit {
    op: Op,
    lane: Lane,
    rule: FpRule,
    mxcsr: u32,
}

impl Unit {
    // tidy: flat
    fn eval(&mut self, inst: &Inst, operands: &impl Operands) -> Result<Slot, Trap> {
        let (a, b) = (operands.value(0), operands.value(1));
        let x86 = self.rule == FpRule::X86;
        let (rounding, quiet) = inst.fp_mode().as_rounding();
        Ok(Slot::new(match inst.op {
            Op::FAdd | Op::FSub | Op::FMul | Op::FDiv | Op::FAddSub => self.arithmetic(a, b)?,
            Op::FPairAdd if x86 => self.host(a, b)?,
            Op::FPairAdd => self.pair_add(a, b)?,
            Op::FSqrt => self.square_root(a, b)?,
            Op::FRcp | Op::FRsqrt => self.host(a, b)?,
            Op::FMin | Op::FMax | Op::FMinNum | Op::FMaxNum if x86 => self.host(a, b)?,
            Op::FMin | Op::FMax | Op::FMinNum | Op::FMaxNum => self.arm_extremum(a, b)?,
            Op::FMulAdd => self.fused(a, b, operands.value(2))?,
            Op::FCmpMask => self.host_with(&[encoding(self.op, self.lane).1], Some(inst.fp_mode().selector()), a, b)?,
            Op::FCvtLane => self.convert_format(a, b)?,
            Op::FCvtPacked => self.convert_format(0, a)?,
            Op::FFromIntPacked | Op::FToIntPacked | Op::FToIntPackedTrunc => self.host(0, a)?,
            Op::FCmpQuiet | Op::FCmpSignal => return self.compare(a, b),
            Op::FCmpOrder => return self.compare_order(a, b, inst.fp_mode().selector() != 0),
            Op::FFromInt => self.lane_from_int(operands.ty(1) == Type::I64, a, b as u64)?,
            Op::FToInt | Op::FToIntTrunc => {
                let int = self.lane_to_int(inst.ty == Type::I64, a)?;
                return Ok(Slot::int(int & inst.ty.mask()));
            }
            Op::FLaneToIntS | Op::FLaneToIntU => {
                let (lane, signed) = (vector::lane_at(inst.lane(), a, 0), inst.op == Op::FLaneToIntS);
                return self.saturated(lane, rounding, signed, inst.ty.bits()).map(Slot::int);
            }
            Op::FRoundInt => self.round_lanes(rounding, quiet, a, b)?,
            Op::FToIntSatS => self.lanes_to_int(rounding, true, a)?,
            Op::FToIntSatU => self.lanes_to_int(rounding, false, a)?,
            Op::FFromIntS => self.lanes_from_int(true, a)?,
            Op::FFromIntU => self.lanes_from_int(false, a)?,
            Op::FHalfToSingle => self.half_to_single(inst.fp_mode().selector() != 0, a)?,
            Op::FSingleToHalf => self.single_to_half(a)?,
            op => unreachable!("{op} is computed elsewhere"),
        }))
    }

    /// Raises exceptions: sets their flags, and traps if one of them is not masked.
    fn raise(&mut self, flags: u32) -> Result<(), Trap> {
        self.mxcsr |= flags;
        if flags & !(self.mxcsr >> mxcsr::MASKS) & mxcsr::STICKY != 0 {
            return Err(Trap::Float(FloatUnit::Vector));
        }
        Ok(())
    }

    /// The host's instruction for the op, on the op's lanes.
    fn host(&mut self, a: u128, b: u128) -> Result<u128, Trap> {
        self.host_with(&[encoding(self.op, self.lane).1], None, a, b)
    }

    fn host_with(&mut self, opcode: &[u8], imm: Option<u8>, a: u128, b: u128) -> Result<u128, Trap> {
        let mut result = a;
        let prefix = encoding(self.op, self.lane).0;
        fpexec::sse(prefix, opcode, imm, &mut self.mxcsr, &mut result, b).map_err(guest_trap)?;
        Ok(result)
    }

    /// The exceptions of an operation some of whose results were flushed to zero: Arm reports that as underflow alone,
    /// the host as inexact, too (Arm ARM, FPRound). The control word is the standard one.
    fn exceptions_by_lane(&self, a: u128, b: u128) -> Result<u32, Trap> {
        let scalar = if self.lane.bytes() == 8 { Lane::S64 } else { Lane::S32 };
        let (prefix, opcode) = encoding(self.op, scalar);
        (0..self.lanes()).try_fold(0, |found, i| {
            let [mut result, operand] = [a, b].map(|v| u128::from(vector::lane_at(self.lane, v, i)));
            let mut sticky = mxcsr::STANDARD;
            fpexec::sse(prefix, &[opcode], None, &mut sticky, &mut result, operand).map_err(guest_trap)?;
            let flushed = sticky & mxcsr::UNDERFLOW != 0 && self.format().magnitude(result as u64) == 0;
            Ok(found | sticky & mxcsr::STICKY & !if flushed { mxcsr::INEXACT } else { 0 })
        })
    }

    /// How many lanes the op works on.
    fn lanes(&self) -> u32 {
        if self.lane.is_scalar() { 1 } else { 16 / self.lane.bytes() }
    }

    fn format(&self) -> Format {
        Format::of(self.lane)
    }

    /// `vector` with the lanes that the op works on replaced where `f` gives something else.
    fn fix(&self, vector: u128, f: impl Fn(u32) -> Option<u64>) -> u128 {
        (0..self.lanes()).fold(vector, |vector, i| match f(i) {
            Some(x) => vector::with_lane(self.lane, vector, i, x),
            None => vector,
        })
    }

    /// Sum, difference, product, quotient: the host's, with the rule's NaNs.
    fn arithmetic(&mut self, a: u128, b: u128) -> Result<u128, Trap> {
        let result = self.host(a, b)?;
        if self.rule == FpRule::ArmStandard && self.mxcsr & mxcsr::UNDERFLOW != 0 {
            self.mxcsr = mxcsr::STANDARD | self.exceptions_by_lane(a, b)?;
        }
        Ok(self.with_nans(result, &[a, b]))
    }

    fn square_root(&mut self, a: u128, b: u128) -> Result<u128, Trap> {
        let result = self.host(a, b)?;
        Ok(self.with_nans(result, &[b]))
    }

    /// The even lanes of both operands plus the odd ones.
    fn pair_add(&mut self, a: u128, b: u128) -> Result<u128, Trap> {
        let count = self.lanes();
        let at = |i| vector::lane_at(self.lane, if i < count { a } else { b }, i % count);
        let gather = |odd| (0..count).fold(0, |v, i| vector::with_lane(self.lane, v, i, at(2 * i + odd)));
        let (even, odd) = (gather(0), gather(1));
        self.op = Op::FAdd;
        self.arithmetic(even, odd)
    }

    /// A comparison. Its result is undefined; it is 0.
    fn compare(&mut self, a: u128, b: u128) -> Result<Slot, Trap> {
        let (prefix, opcode) = encoding(self.op, self.lane);
        let mut unchanged = a;
        let eflags = fpexec::sse(prefix, &[opcode], None, &mut self.mxcsr, &mut unchanged, b).map_err(guest_trap)?;
        Ok(Slot { flags: FlagSet::from_bits_truncate(eflags), ..Slot::default() })
    }

    /// A comparison with the flags of integers: the host says Z P C.
    fn compare_order(&mut self, a: u128, b: u128, signals: bool) -> Result<Slot, Trap> {
        self.op = if signals { Op::FCmpSignal } else { Op::FCmpQuiet };
        let found = self.compare(a, b)?.flags;
        let flags = if found.contains(FlagSet::P) {
            FlagSet::O
        } else if found.contains(FlagSet::C) {
            FlagSet::C | FlagSet::S
        } else {
            found & FlagSet::Z
        };
        Ok(Slot { flags, ..Slot::default() })
    }

    /// Signed integer to lane 0 of `a`.
    fn lane_from_int(&mut self, wide: bool, a: u128, int: u64) -> Result<u128, Trap> {
        let (prefix, opcode) = encoding(Op::FFromInt, self.lane);
        let (mut result, mut int) = (a, int);
        fpexec::sse_int(prefix, wide, &[opcode], &mut self.mxcsr, &mut result, &mut int).map_err(guest_trap)?;
        Ok(result)
    }

    /// Lane 0 to a signed integer.
    fn lane_to_int(&mut self, wide: bool, a: u128) -> Result<u64, Trap> {
        let (prefix, opcode) = encoding(self.op, self.lane);
        let (mut unchanged, mut int) = (a, 0);
        fpexec::sse_int(prefix, wide, &[opcode], &mut self.mxcsr, &mut unchanged, &mut int).map_err(guest_trap)?;
        Ok(int)
    }
}
