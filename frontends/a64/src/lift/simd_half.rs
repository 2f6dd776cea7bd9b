//! Vector floating point of half precision (Arm ARM C7.2): all of it is a helper's work.

use super::Lifter;
use super::fp::HALF_FORM;
use super::simd::{Form, Zeros, splat_bits};
use super::simd_fp::{across_half, estimate_op, step_op, vector_fcvt_rounding, vector_rounding};
use crate::decode::a64;
use crate::helpers::fp::{Call, FpOp, Shape};
use isamorph_ir::{Lane, Op, Rounding};

/// An operation on 4 or (`q`) 8 lanes.
fn lanes(q: u32, op: FpOp, registers: [u32; 3]) -> Call {
    Call::new(op, 1, 4 << q, registers)
}

/// An operation on the lowest lane.
fn scalar(op: FpOp, registers: [u32; 3]) -> Call {
    Call::new(op, 1, 1, registers)
}

fn pairs(call: Call) -> Call {
    Call { shape: Shape::Pairs, ..call }
}

/// FCMEQ, FCMGE, FCMGT, FACGE, FACGT.
fn compare_op(how: u32) -> FpOp {
    match how {
        0 => FpOp::CmEq,
        4 => FpOp::CmGe,
        5 => FpOp::AcGe,
        6 => FpOp::CmGt,
        _ => FpOp::AcGt,
    }
}

/// The same with zero as the second operand.
fn compare_zero(call: Call, how: u32) -> Call {
    let op = match how {
        0 => FpOp::CmGt,
        1 => FpOp::CmEq,
        2 => FpOp::CmLt,
        4 => FpOp::CmGe,
        _ => FpOp::CmLe,
    };
    Call { op, zero: true, ..call }
}

fn either(condition: u32, yes: FpOp, no: FpOp) -> FpOp {
    if condition != 0 { yes } else { no }
}

/// Declares handlers: name, type of the arguments, the call.
macro_rules! calls {
    ($($name:ident $args:ident |$a:ident| $call:expr;)*) => { $(
        pub(super) fn $name(cx: &mut Lifter<'_>, $a: &a64::$args) {
            cx.float($call);
        }
    )* };
}
calls! {
    fadd_h FaddH |a| lanes(a.q, either(a.sub, FpOp::Fsub, FpOp::Fadd), [a.rd, a.rn, a.rm]);
    fmul_h FmulH |a| lanes(a.q, FpOp::Fmul, [a.rd, a.rn, a.rm]);
    fdiv_h FdivH |a| lanes(a.q, FpOp::Fdiv, [a.rd, a.rn, a.rm]);
    fmla_h FmlaH |a| lanes(a.q, either(a.sub, FpOp::Fmls, FpOp::Fmla), [a.rd, a.rn, a.rm]);
    fmulx_h FmulxH |a| lanes(a.q, FpOp::Fmulx, [a.rd, a.rn, a.rm]);
    fmax_h FmaxH |a| lanes(a.q, either(a.min, FpOp::Fmin, FpOp::Fmax), [a.rd, a.rn, a.rm]);
    fmaxnm_h FmaxnmH |a| lanes(a.q, either(a.min, FpOp::Fminnm, FpOp::Fmaxnm), [a.rd, a.rn, a.rm]);
    frecps_h FrecpsH |a| lanes(a.q, step_op(a.rsqrt), [a.rd, a.rn, a.rm]);
    fabd_h FabdH |a| lanes(a.q, FpOp::Fabd, [a.rd, a.rn, a.rm]);
    fcm_h FcmH |a| lanes(a.q, compare_op(a.how), [a.rd, a.rn, a.rm]);
    faddp_h FaddpH |a| pairs(lanes(a.q, FpOp::Fadd, [a.rd, a.rn, a.rm]));
    fmaxp_h FmaxpH |a| pairs(lanes(a.q, either(a.min, FpOp::Fmin, FpOp::Fmax), [a.rd, a.rn, a.rm]));
    fmaxnmp_h FmaxnmpH |a| pairs(lanes(a.q, either(a.min, FpOp::Fminnm, FpOp::Fmaxnm), [a.rd, a.rn, a.rm]));
    fcm_zero_h FcmZeroH |a| compare_zero(lanes(a.q, FpOp::CmEq, [a.rd, a.rn, a.rn]), a.how);
    fcvt_hv FcvtHv |a| lanes(a.q, either(a.u, FpOp::ToUnsigned, FpOp::ToInt), [a.rd, a.rn, a.rn])
        .rounding(vector_fcvt_rounding(a.mode), false);
    fcvta_h FcvtaH |a| lanes(a.q, either(a.u, FpOp::ToUnsigned, FpOp::ToInt), [a.rd, a.rn, a.rn])
        .rounding(Rounding::NearestAway, false);
    cvtf_h CvtfH |a| lanes(a.q, either(a.u, FpOp::FromUnsigned, FpOp::FromInt), [a.rd, a.rn, a.rn]);
    frecpe_h FrecpeH |a| lanes(a.q, estimate_op(a.rsqrt), [a.rd, a.rn, a.rn]);
    fsqrt_h FsqrtH |a| lanes(a.q, FpOp::Fsqrt, [a.rd, a.rn, a.rn]);

    fcm_sh FcmSh |a| scalar(compare_op(a.how), [a.rd, a.rn, a.rm]);
    fmulx_sh FmulxSh |a| scalar(FpOp::Fmulx, [a.rd, a.rn, a.rm]);
    frecps_sh FrecpsSh |a| scalar(step_op(a.rsqrt), [a.rd, a.rn, a.rm]);
    fabd_sh FabdSh |a| scalar(FpOp::Fabd, [a.rd, a.rn, a.rm]);
    fcm_zero_sh FcmZeroSh |a| compare_zero(scalar(FpOp::CmEq, [a.rd, a.rn, a.rn]), a.how);
    fcvt_sh FcvtSh |a| scalar(either(a.u, FpOp::ToUnsigned, FpOp::ToInt), [a.rd, a.rn, a.rn])
        .rounding(vector_fcvt_rounding(a.mode), false);
    fcvta_sh FcvtaSh |a| scalar(either(a.u, FpOp::ToUnsigned, FpOp::ToInt), [a.rd, a.rn, a.rn])
        .rounding(Rounding::NearestAway, false);
    cvtf_sh CvtfSh |a| scalar(either(a.u, FpOp::FromUnsigned, FpOp::FromInt), [a.rd, a.rn, a.rn]);
    frecpe_sh FrecpeSh |a| scalar(estimate_op(a.rsqrt), [a.rd, a.rn, a.rn]);
    frecpx_h FrecpxH |a| scalar(FpOp::Frecpx, [a.rd, a.rn, a.rn]);

    faddp_sh FaddpSh |a| pairs(scalar(FpOp::Fadd, [a.rd, a.rn, a.rn]));
    fmaxp_sh FmaxpSh |a| pairs(scalar(either(a.min, FpOp::Fmin, FpOp::Fmax), [a.rd, a.rn, a.rn]));
    fmaxnmp_sh FmaxnmpSh |a| pairs(scalar(either(a.min, FpOp::Fminnm, FpOp::Fmaxnm), [a.rd, a.rn, a.rn]));
    fmaxv_h FmaxvH |a| across_half(either(a.min, FpOp::Fmin, FpOp::Fmax), 4 << a.q, [a.rd, a.rn]);
    fmaxnmv_h FmaxnmvH |a| across_half(either(a.min, FpOp::Fminnm, FpOp::Fmaxnm), 4 << a.q, [a.rd, a.rn]);
}

pub(super) fn frint_h(cx: &mut Lifter<'_>, a: &a64::FrintH) {
    let (rounding, exact) = vector_rounding(a.mode);
    cx.float(lanes(a.q, FpOp::Frint, [a.rd, a.rn, a.rn]).rounding(rounding, exact));
}

/// FABS and FNEG only change sign bits.
pub(super) fn fabs_h(cx: &mut Lifter<'_>, a: &a64::FabsH) {
    let f = Form::of(a.q, HALF_FORM.lane);
    let signs = splat_bits(Lane::I16, 0x8000);
    let signs = cx.vconst(if a.q != 0 { signs } else { u128::from(signs as u64) });
    let n = cx.v(a.rn);
    let value = if a.neg != 0 { cx.b.bin(Op::VXor, n, signs) } else { cx.b.bin(Op::VAndNot, signs, n) };
    cx.put_from(f, a.rd, value, Zeros::Stay, &[a.rn]);
}
