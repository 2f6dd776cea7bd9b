//! What the handlers of SIMD and floating-point instructions share: how an instruction divides its registers, reading
//! and writing them, lane operations that are more than one op.
//!
//! Every value is a `v128`. An instruction that writes a scalar or 64 bits clears the rest of the register (Arm ARM
//! C1.2.5). Often the rest is known to be zero already; [`Extents`] remembers that.

use super::Lifter;
use crate::state;
use isamorph_ir::{Lane, Op, Type, Value};

/// How much of a register an instruction writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Width {
    /// The lowest lane.
    Scalar,
    /// The low 64 bits.
    Half,
    /// All 128 bits.
    Full,
}

/// How an instruction divides its registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Form {
    /// The lanes.
    pub(super) lane: Lane,
    /// How many of them.
    pub(super) width: Width,
}

/// Integer lanes by the usual field `size`.
const INT_LANES: [Lane; 4] = [Lane::I8, Lane::I16, Lane::I32, Lane::I64];

/// The integer lane of a field `size`.
pub(super) fn int_lane(size: u32) -> Lane {
    INT_LANES[(size & 3) as usize]
}

/// The integer lane of that many bits.
pub(super) fn lane_of_bits(bits: u32) -> Lane {
    int_lane(bits.trailing_zeros().wrapping_sub(3))
}

/// Width of a lane in bits.
pub(super) fn bits(lane: Lane) -> u32 {
    lane.bytes() * 8
}

/// The lane of twice the width.
pub(super) fn wide(lane: Lane) -> Lane {
    lane_of_bits(2 * bits(lane))
}

impl Form {
    /// All lanes of 64 or (`q` = 1) 128 bits.
    pub(super) fn of(q: u32, lane: Lane) -> Self {
        Form { lane, width: if q & 1 != 0 { Width::Full } else { Width::Half } }
    }
    /// Integers, from a field Q:size.
    pub(super) fn vector(arr: u32) -> Self {
        Self::of(arr >> 2, int_lane(arr))
    }
    /// Floating point, from a field Q:sz.
    pub(super) fn float(arr: u32) -> Self {
        Self::of(arr >> 1, if arr & 1 != 0 { Lane::F64 } else { Lane::F32 })
    }
    /// One integer, from a field `size`.
    pub(super) fn scalar(size: u32) -> Self {
        Form { lane: int_lane(size), width: Width::Scalar }
    }
    /// One floating-point number, from a field `sz`.
    pub(super) fn scalar_float(sz: u32) -> Self {
        Form { lane: if sz & 1 != 0 { Lane::S64 } else { Lane::S32 }, width: Width::Scalar }
    }
    /// Bytes of a register that are written with something else than zero.
    pub(super) fn bytes(self) -> u32 {
        match self.width {
            Width::Scalar => self.lane.bytes(),
            Width::Half => 8,
            Width::Full => 16,
        }
    }
    /// The integer lane of the same width.
    pub(super) fn int(self) -> Lane {
        lane_of_bits(bits(self.lane))
    }
}

/// For each vector register, a value that it was given and how many of its low bytes may be other than zero.
pub(crate) struct Extents([(Value, u32); 32]);

impl Extents {
    /// Nothing is known.
    pub(super) const fn new() -> Self {
        Extents([(Value::NONE, 16); 32])
    }
}

/// What happens where all operands are zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Zeros {
    /// The result is zero.
    Stay,
    /// It may be anything.
    Change,
}

impl Lifter<'_> {
    /// The value of V0 … V31.
    pub(super) fn v(&mut self, n: u32) -> Value {
        self.b.get(state::v(n))
    }
    /// How many low bytes of a register may be other than zero.
    pub(super) fn extent(&mut self, n: u32) -> u32 {
        let (value, bytes) = self.extents.0[(n & 31) as usize];
        if !value.is_none() && self.v(n) == value { bytes } else { 16 }
    }
    /// The value of a register with what is above the form's bytes replaced by zero.
    pub(super) fn v_low(&mut self, f: Form, n: u32) -> Value {
        let value = self.v(n);
        if self.extent(n) <= f.bytes() { value } else { self.zero_above(value, f.bytes()) }
    }
    /// Writes a register with a value that is zero above that many bytes.
    pub(super) fn set_v(&mut self, n: u32, value: Value, extent: u32) {
        self.b.set(state::v(n), value);
        self.extents.0[(n & 31) as usize] = (value, extent);
    }
    /// Writes a register with the part of a value that the form says, and zero above.
    pub(super) fn put(&mut self, f: Form, n: u32, value: Value) {
        let value = self.zero_above(value, f.bytes());
        self.set_v(n, value, f.bytes());
    }
    /// The same for a value that was computed from the registers `from`, and is zero where they all are.
    pub(super) fn put_from(&mut self, f: Form, n: u32, value: Value, zeros: Zeros, from: &[u32]) {
        if zeros == Zeros::Stay && from.iter().all(|r| self.extent(*r) <= f.bytes()) {
            self.set_v(n, value, f.bytes());
        } else {
            self.put(f, n, value);
        }
    }
    /// The low bytes of a value, and zero above.
    pub(super) fn zero_above(&mut self, value: Value, bytes: u32) -> Value {
        match bytes {
            16 => value,
            8 => self.b.un(Op::VZeroUpper, value),
            4 => {
                let zero = self.vzero();
                self.b.vec(Op::VMoveLane, Lane::I32, &[zero, value], 0)
            }
            _ => {
                let mask = self.vconst((1 << (8 * bytes)) - 1);
                self.b.bin(Op::VAnd, value, mask)
            }
        }
    }

    // ---- constants

    /// A constant vector.
    pub(super) fn vconst(&mut self, bits: u128) -> Value {
        self.b.vconst(Type::V128, bits)
    }
    /// Zero.
    pub(super) fn vzero(&mut self) -> Value {
        self.vconst(0)
    }
    /// Low bits of a number in every lane.
    pub(super) fn splat(&mut self, lane: Lane, value: u64) -> Value {
        self.vconst(splat_bits(lane, value))
    }

    // ---- ops

    /// An op without an immediate.
    pub(super) fn op(&mut self, op: Op, lane: Lane, args: &[Value]) -> Value {
        self.b.vec(op, lane, args, 0)
    }
    /// A floating-point op by the processor's rules.
    pub(super) fn fop(&mut self, op: Op, lane: Lane, args: &[Value]) -> Value {
        let mode = u32::from(self.mode.fp().0);
        self.b.vec(op, lane, args, mode)
    }
    /// Bitwise complement.
    pub(super) fn vnot(&mut self, a: Value) -> Value {
        let ones = self.vconst(u128::MAX);
        self.b.bin(Op::VXor, a, ones)
    }
    /// Shifts lanes left by a constant; the width or more gives zero.
    pub(super) fn shl_imm(&mut self, lane: Lane, a: Value, n: u32) -> Value {
        match lane {
            _ if n == 0 => a,
            _ if n >= bits(lane) => self.vzero(),
            Lane::I8 => {
                let shifted = self.b.vec(Op::VShlImm, Lane::I16, &[a], n);
                let mask = self.splat(lane, 0xff << n);
                self.b.bin(Op::VAnd, shifted, mask)
            }
            _ => self.b.vec(Op::VShlImm, lane, &[a], n),
        }
    }
    /// Shifts lanes right by a constant, shifting zeros in; the width or more gives zero.
    pub(super) fn shr_imm(&mut self, lane: Lane, a: Value, n: u32) -> Value {
        match lane {
            _ if n == 0 => a,
            _ if n >= bits(lane) => self.vzero(),
            Lane::I8 => {
                let shifted = self.b.vec(Op::VShrImm, Lane::I16, &[a], n);
                let mask = self.splat(lane, 0xff >> n);
                self.b.bin(Op::VAnd, shifted, mask)
            }
            _ => self.b.vec(Op::VShrImm, lane, &[a], n),
        }
    }
    /// Shifts lanes right by a constant, shifting the sign in; the width or more gives the sign.
    pub(super) fn sar_imm(&mut self, lane: Lane, a: Value, n: u32) -> Value {
        let n = n.min(bits(lane) - 1);
        match lane {
            _ if n == 0 => a,
            Lane::I8 if n == 7 => {
                let zero = self.vzero();
                self.op(Op::VCmpGtS, lane, &[zero, a])
            }
            Lane::I8 => {
                let shifted = self.shr_imm(lane, a, n);
                let sign = self.splat(lane, 0x80 >> n);
                let flipped = self.b.bin(Op::VXor, shifted, sign);
                self.op(Op::VSub, lane, &[flipped, sign])
            }
            _ => self.b.vec(Op::VSarImm, lane, &[a], n),
        }
    }
    /// Shifts lanes right by a constant, logically if `u`.
    pub(super) fn right_imm(&mut self, u: bool, lane: Lane, a: Value, n: u32) -> Value {
        if u { self.shr_imm(lane, a, n) } else { self.sar_imm(lane, a, n) }
    }
    /// The same, rounded to nearest with ties upward; `n` is 1 up to the width.
    pub(super) fn right_imm_rounded(&mut self, u: bool, lane: Lane, a: Value, n: u32) -> Value {
        let shifted = if n >= bits(lane) && u { self.vzero() } else { self.right_imm(u, lane, a, n) };
        // The highest bit that is shifted out.
        let bit = self.shr_imm(lane, a, n - 1);
        let one = self.splat(lane, 1);
        let bit = self.b.bin(Op::VAnd, bit, one);
        self.op(Op::VAdd, lane, &[shifted, bit])
    }
    /// The high half of a register's bits in the low half; what is above does not matter.
    pub(super) fn high_half(&mut self, a: Value) -> Value {
        self.op(Op::VZipHi, Lane::I64, &[a, a])
    }
    /// The low half of `low`, then the low half of `high`.
    pub(super) fn halves(&mut self, low: Value, high: Value) -> Value {
        self.op(Op::VZipLo, Lane::I64, &[low, high])
    }
    /// The half of a register that a widening instruction reads: the low one, or (`q`) the high one.
    pub(super) fn half(&mut self, q: u32, n: u32) -> Value {
        let value = self.v(n);
        if q != 0 { self.high_half(value) } else { value }
    }
    /// Writes the result of a narrowing instruction, which is in the low half of `value`: clearing the high half, or
    /// (`q`) to the high half, keeping the low one.
    pub(super) fn put_half(&mut self, q: u32, rd: u32, value: Value) {
        if q == 0 {
            let value = self.zero_above(value, 8);
            return self.set_v(rd, value, 8);
        }
        let old = self.v(rd);
        let both = self.halves(old, value);
        self.set_v(rd, both, 16);
    }
    /// Notes saturation if any bit of the form's part of `difference` is set.
    pub(super) fn saturated(&mut self, f: Form, difference: Value) {
        let difference = self.zero_above(difference, f.bytes());
        let old = self.b.get(state::QC);
        let new = self.b.bin(Op::VOr, old, difference);
        self.b.set(state::QC, new);
    }
}

/// Low bits of a number in every lane.
pub(super) fn splat_bits(lane: Lane, value: u64) -> u128 {
    let bits = bits(lane);
    let element = u128::from(value) & (u128::MAX >> (128 - bits));
    (0..128 / bits).fold(0, |all, i| all | element << (i * bits))
}
