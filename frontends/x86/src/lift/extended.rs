//! System instructions of later processors that user code may execute: extended state, segment bases, random numbers,
//! processor numbers.

use super::Lifter;
use crate::exception;
use crate::helpers;
use crate::model::Feature;
use crate::state::{EAX, ECX, EDX, FS_BASE, GS_BASE};
use iced_x86::Mnemonic;
use isamorph_ir::{Cond, FlagSet, HelperId, Op, RegId, Type, Value};

/// Lifts the instruction if it is one of these.
pub(super) fn lift(cx: &mut Lifter<'_>, m: Mnemonic) -> bool {
    use Mnemonic as M;
    match m {
        M::Fxsave | M::Fxsave64 => image(cx, helpers::FXSAVE, helpers::LONG_FXSAVE),
        M::Fxrstor | M::Fxrstor64 => image(cx, helpers::FXRSTOR, helpers::LONG_FXRSTOR),
        M::Xsave | M::Xsave64 | M::Xsaveopt | M::Xsaveopt64 => area(cx, [helpers::XSAVE, helpers::LONG_XSAVE], 0),
        M::Xsavec | M::Xsavec64 => area(cx, [helpers::XSAVE, helpers::LONG_XSAVE], 1),
        M::Xrstor | M::Xrstor64 => area(cx, [helpers::XRSTOR, helpers::LONG_XRSTOR], 0),
        M::Xgetbv => extended_control(cx),
        M::Rdrand | M::Rdseed => random(cx),
        M::Rdtscp => stamp(cx),
        M::Rdpid => {
            let v = cx.b.iconst(cx.op_type(0), PROCESSOR);
            cx.write_op(0, v);
        }
        M::Rdfsbase => read_base(cx, FS_BASE),
        M::Rdgsbase => read_base(cx, GS_BASE),
        M::Wrfsbase => write_base(cx, FS_BASE),
        M::Wrgsbase => write_base(cx, GS_BASE),
        _ => return false,
    }
    true
}

/// TSC_AUX: all virtual processors are number 0 of node 0.
const PROCESSOR: u64 = 0;

/// The address of the memory operand.
fn address(cx: &mut Lifter<'_>) -> Value {
    let ea = cx.ea();
    cx.b.lea(cx.b.table().addr_type(), ea)
}

/// FXSAVE and FXRSTOR.
fn image(cx: &mut Lifter<'_>, narrow: HelperId, long: HelperId) {
    let addr = address(cx);
    cx.call(if cx.mode.is_long() { long } else { narrow }, Type::None, &[addr]);
}

/// XSAVE and XRSTOR: edx:eax names the components.
fn area(cx: &mut Lifter<'_>, [narrow, long]: [HelperId; 2], compact: u64) {
    let addr = address(cx);
    let halves = [EAX, EDX].map(|reg| cx.gpr_part(reg, Type::I32));
    let mask = cx.b.convert(Op::Concat, Type::I64, &halves);
    let compact = cx.b.iconst(Type::I32, compact);
    cx.call(if cx.mode.is_long() { long } else { narrow }, Type::None, &[addr, mask, compact]);
}

/// Writes a 64-bit value to edx:eax.
fn set_pair(cx: &mut Lifter<'_>, v: Value) {
    let lo = cx.narrow(v, Type::I32);
    let hi = cx.b.field(Type::I32, v, 32);
    cx.set_gpr_part(EAX, lo);
    cx.set_gpr_part(EDX, hi);
}

fn extended_control(cx: &mut Lifter<'_>) {
    let register = cx.gpr_part(ECX, Type::I32);
    let uses = cx.b.iconst(Type::I32, u64::from(cx.processor.features.has(Feature::Xgetbv1)));
    let v = cx.call(helpers::XGETBV, Type::I64, &[register, uses]);
    set_pair(cx, v);
}

/// RDRAND and RDSEED: C tells whether there was a number.
fn random(cx: &mut Lifter<'_>) {
    let ty = cx.op_type(0);
    let bytes = cx.b.iconst(Type::I32, u64::from(ty.bytes()));
    let v = cx.call(helpers::RANDOM, Type::I64, &[bytes]);
    // All ones stand for none: then the sum with one has a carry, and the result is zero (SDM vol. 2, RDRAND).
    let one = cx.b.iconst(Type::I64, 1);
    let sum = cx.b.bin(Op::Add, v, one);
    let none = cx.b.flags(sum);
    let zero = cx.b.iconst(Type::I64, 0);
    let v = cx.b.select(Cond::B, none, zero, v);
    let v = cx.narrow(v, ty);
    let flags = cx.b.flags_edit(Op::FlagsNot, none, FlagSet::C);
    let flags = cx.b.flags_edit(Op::FlagsClear, flags, FlagSet::all() - FlagSet::C);
    cx.write_op(0, v);
    cx.set_flags(flags);
}

/// RDTSCP.
fn stamp(cx: &mut Lifter<'_>) {
    let count = cx.call(helpers::RDTSC, Type::I64, &[]);
    set_pair(cx, count);
    let number = cx.b.iconst(Type::I32, PROCESSOR);
    cx.set_gpr_part(ECX, number);
}

fn read_base(cx: &mut Lifter<'_>, base: RegId) {
    let v = cx.b.get(base);
    let v = cx.narrow(v, cx.op_type(0));
    cx.write_op(0, v);
}

/// WRFSBASE and WRGSBASE: the base must be canonical.
fn write_base(cx: &mut Lifter<'_>, base: RegId) {
    let v = cx.read_op(0);
    let v = cx.zext(v, Type::I64);
    let [up, down] = [Op::Shl, Op::Sar];
    let unused = cx.b.iconst(Type::I8, 16);
    let canonical = cx.b.multi(up, &[v, unused, Value::NONE]);
    let canonical = cx.b.multi(down, &[canonical, unused, Value::NONE]);
    let difference = cx.b.bin(Op::Sub, v, canonical);
    let flags = cx.b.flags(difference);
    cx.raise_if(Cond::Ne, flags, exception::GP, 0);
    cx.b.set(base, v);
}
