//! Condition flags as numbers: for the instructions that move or edit them (Arm ARM C5.2.9, FEAT_FlagM).

use super::Lifter;
use isamorph_ir::{Cond, FlagSet, Op, Type, Value};

impl Lifter<'_> {
    fn and_const(&mut self, v: Value, mask: u32) -> Value {
        let mask = self.constant(Type::I32, u64::from(mask));
        self.b.bin(Op::And, v, mask)
    }
    /// A shift, to the left if positive.
    fn moved(&mut self, v: Value, by: i32) -> Value {
        super::arith::shift_const(self, if by < 0 { Op::Shr } else { Op::Shl }, v, by.unsigned_abs())
    }
    /// EFLAGS bits of the flags in bits 31 to 28, where the other bits do not matter.
    fn eflags_of_nzcv(&mut self, nzcv: Value) -> Value {
        let nz = self.moved(nzcv, -24);
        let nz = self.and_const(nz, FlagSet::S.bits() | FlagSet::Z.bits());
        let not = self.b.un(Op::Not, nzcv);
        let c = self.moved(not, -29);
        let c = self.and_const(c, FlagSet::C.bits());
        let v = self.moved(nzcv, -17);
        let v = self.and_const(v, FlagSet::O.bits());
        let nzc = self.b.bin(Op::Or, nz, c);
        self.b.bin(Op::Or, nzc, v)
    }
    /// Flags from bits 31 to 28.
    pub(super) fn flags_of_nzcv(&mut self, nzcv: Value) -> Value {
        let bits = self.eflags_of_nzcv(nzcv);
        self.b.bits_flags(bits)
    }
    /// The guest's flags in bits 31 to 28, `i32`.
    pub(super) fn nzcv_of_flags(&mut self) -> Value {
        let flags = self.flags();
        let bits = self.b.flags_bits(flags);
        let nz = self.and_const(bits, FlagSet::S.bits() | FlagSet::Z.bits());
        let nz = self.moved(nz, 24);
        let not = self.b.un(Op::Not, bits);
        let c = self.and_const(not, FlagSet::C.bits());
        let c = self.moved(c, 29);
        let v = self.and_const(bits, FlagSet::O.bits());
        let v = self.moved(v, 17);
        let nzc = self.b.bin(Op::Or, nz, c);
        self.b.bin(Op::Or, nzc, v)
    }
    /// Takes the flags in `which` from bits 31 to 28, and leaves the others.
    pub(super) fn merge_nzcv(&mut self, nzcv: Value, which: FlagSet) {
        let new = self.eflags_of_nzcv(nzcv);
        self.merge_eflags(new, which);
    }
    /// Takes the flags in `which` from EFLAGS bits, and leaves the others.
    pub(super) fn merge_eflags(&mut self, new: Value, which: FlagSet) {
        let flags = self.flags();
        let old = self.b.flags_bits(flags);
        let old = self.and_const(old, !which.bits());
        let new = self.and_const(new, which.bits());
        let both = self.b.bin(Op::Or, old, new);
        let flags = self.b.bits_flags(both);
        self.set_flags(flags);
    }
    /// The bit that a condition on the guest's flags is, at the place of an EFLAGS bit.
    pub(super) fn condition_bit(&mut self, cond: Cond, at: FlagSet) -> Value {
        let flags = self.flags();
        let bit = self.b.setcc(cond, flags);
        let bit = self.b.convert(Op::Zext, Type::I32, &[bit]);
        self.moved(bit, at.bits().trailing_zeros() as i32)
    }
}
