//! Integer lane operations that are too rare to be ops.

use super::estimate;
use super::fp::Packer;
use crate::state::{self, A64, QC};
use isamorph_ir::{HelperCx, Trap};

/// Declares an enum and the list of its members.
macro_rules! operations {
    ($($name:ident),* $(,)?) => {
        /// What the helper computes, named like the instruction.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub(crate) enum IntOp { $($name),* }
        impl IntOp {
            const ALL: &'static [IntOp] = &[$(IntOp::$name),*];
        }
    };
}
operations! { Sqrdmlah, Sqrdmlsh, Suqadd, Usqadd, Urecpe, Ursqrte }

/// An operation on registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IntCall {
    pub(crate) op: IntOp,
    /// log2 of the bytes of an element.
    pub(crate) size: u32,
    /// Elements of the result.
    pub(crate) lanes: u32,
    pub(crate) rd: u32,
    pub(crate) rn: u32,
    pub(crate) rm: u32,
    /// The number of the element of `rm` that all elements are combined with.
    pub(crate) element: Option<u32>,
}

impl IntCall {
    /// The descriptor as a number.
    pub(crate) fn pack(self) -> u64 {
        let mut packer = Packer::default();
        let element = self.element.unwrap_or(8);
        let fields = [self.op as u32, self.size, self.lanes, self.rd, self.rn, self.rm, element];
        fields.into_iter().for_each(|value| packer.put(value, 5));
        packer.bits()
    }
    fn unpack(bits: u64) -> Self {
        let mut p = Packer::from(bits);
        let [op, size, lanes, rd, rn, rm, element] = [5; 7].map(|bits| p.take(bits));
        let element = Some(element).filter(|e| *e < 8);
        IntCall { op: IntOp::ALL[op as usize], size, lanes, rd, rn, rm, element }
    }
}

/// `int_lanes(descriptor)`: performs an [`IntCall`].
pub(super) fn int_lanes(cx: &mut HelperCx<'_>, [descriptor, ..]: [u64; 3]) -> Result<u64, Trap> {
    let call = IntCall::unpack(descriptor);
    let bits = 8 << call.size;
    let mask = u128::MAX >> (128 - bits);
    let v = |n: u32| cx.state.get_wide(&A64, state::v(n));
    let (d, n, m) = (v(call.rd), v(call.rn), v(call.rm));
    let (mut result, mut saturated) = (0, false);
    for i in 0..call.lanes {
        let at = |vector: u128, i: u32| vector >> (bits * i) & mask;
        let signed = |value: u128| (value << (128 - bits)) as i128 >> (128 - bits);
        let (acc, a, b) = (at(d, i), at(n, i), at(m, call.element.unwrap_or(i)));
        let (low, high) = (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1);
        let product = signed(a).wrapping_mul(signed(b)).wrapping_mul(2);
        let round = 1i128 << (bits - 1);
        let (value, low, high) = match call.op {
            IntOp::Sqrdmlah => (((signed(acc) << bits) + product + round) >> bits, low, high),
            IntOp::Sqrdmlsh => (((signed(acc) << bits) - product + round) >> bits, low, high),
            IntOp::Suqadd => (signed(acc) + a as i128, low, high),
            IntOp::Usqadd => (acc as i128 + signed(a), 0, mask as i128),
            IntOp::Urecpe => (estimate::integer_reciprocal(a as u32).into(), 0, mask as i128),
            IntOp::Ursqrte => (estimate::integer_root(a as u32).into(), 0, mask as i128),
        };
        saturated |= value < low || value > high;
        result |= (value.clamp(low, high) as u128 & mask) << (bits * i);
    }
    cx.state.set_wide(&A64, state::v(call.rd), result);
    if saturated {
        cx.state.set_wide(&A64, QC, 1);
    }
    Ok(0)
}
