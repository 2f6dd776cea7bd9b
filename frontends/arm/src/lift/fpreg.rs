//! The extension register file: singles, doubles, quadwords (DDI 0406C A2.6).

use super::Lifter;
use crate::state::d_reg;
use isamorph_ir::{Lane, Op, Type, Value};

/// Single or double precision of a scalar instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Precision {
    Single,
    Double,
}

impl Precision {
    pub(super) const fn of(dp: u32) -> Self {
        if dp != 0 { Precision::Double } else { Precision::Single }
    }
    /// The scalar lane.
    pub(super) const fn lane(self) -> Lane {
        match self {
            Precision::Single => Lane::S32,
            Precision::Double => Lane::S64,
        }
    }
    /// The number of a register of that kind, from its four bits and its one.
    pub(super) const fn number(self, v: u32, bit: u32) -> u32 {
        match self {
            Precision::Single => v << 1 | bit,
            Precision::Double => bit << 4 | v,
        }
    }
    /// The number of bits.
    pub(super) const fn bits(self) -> u32 {
        match self {
            Precision::Single => 32,
            Precision::Double => 64,
        }
    }
}

impl Lifter<'_> {
    /// Undefined if the processor does not have that doubleword register.
    pub(super) fn has_d(&mut self, number: u32) -> bool {
        self.require(number < if self.cpu.simd { 32 } else { 16 })
    }
    /// A doubleword register: the low half of a vector with anything above.
    pub(super) fn d(&mut self, number: u32) -> Value {
        self.b.get(d_reg(number))
    }
    /// Writes a doubleword register; what is above does not matter.
    pub(super) fn set_d(&mut self, number: u32, value: Value) {
        self.b.set(d_reg(number), value);
    }
    /// A singleword register in lane 0, with anything above.
    pub(super) fn s(&mut self, number: u32) -> Value {
        let d = self.d(number >> 1);
        if number & 1 == 0 { d } else { self.b.vec(Op::VShrImm, Lane::I64, &[d], 32) }
    }
    /// Writes a singleword register with lane 0.
    pub(super) fn set_s(&mut self, number: u32, value: Value) {
        let d = self.d(number >> 1);
        let merged = if number & 1 == 0 {
            self.b.vec(Op::VMoveLane, Lane::I32, &[d, value], 0)
        } else {
            self.b.vec(Op::VZipLo, Lane::I32, &[d, value], 0)
        };
        self.set_d(number >> 1, merged);
    }
    /// A scalar in lane 0.
    pub(super) fn scalar(&mut self, precision: Precision, number: u32) -> Value {
        match precision {
            Precision::Single => self.s(number),
            Precision::Double => self.d(number),
        }
    }
    /// Writes a scalar from lane 0.
    pub(super) fn set_scalar(&mut self, precision: Precision, number: u32, value: Value) {
        match precision {
            Precision::Single => self.set_s(number, value),
            Precision::Double => self.set_d(number, value),
        }
    }
    /// A vector with an integer in its low bits, zero above.
    pub(super) fn vector_of(&mut self, int: Value) -> Value {
        self.b.convert(Op::VFromInt, Type::V128, &[int])
    }
    /// The low 32 bits of a vector.
    pub(super) fn low_word(&mut self, vector: Value) -> Value {
        self.b.convert(Op::VToInt, Type::I32, &[vector])
    }
    /// The low 64 bits of a vector.
    pub(super) fn low_double(&mut self, vector: Value) -> Value {
        self.b.convert(Op::VToInt, Type::I64, &[vector])
    }
}
