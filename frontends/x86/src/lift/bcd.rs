//! Decimal adjustment (SDM vol. 2, AAA, AAD, AAM, AAS, DAA, DAS).

use super::Lifter;
use crate::exception;
use crate::helpers;
use crate::state::EAX;
use iced_x86::Mnemonic;
use isamorph_ir::{Op, Type, Value};

/// `daa`, `das`, `aaa`, `aas`: a helper computes AX and the flags, packed into one word.
pub(super) fn adjust(cx: &mut Lifter<'_>, m: Mnemonic) {
    let helper = match m {
        Mnemonic::Daa => helpers::DAA,
        Mnemonic::Das => helpers::DAS,
        Mnemonic::Aaa => helpers::AAA,
        _ => helpers::AAS,
    };
    let eax = cx.b.get(EAX);
    let flags = cx.flags();
    let bits = cx.b.flags_bits(flags);
    let packed = cx.call(helper, Type::I32, &[eax, bits]);
    let ax = cx.narrow(packed, Type::I16);
    let bits = cx.b.field(Type::I16, packed, 16);
    let bits = cx.zext(bits, Type::I32);
    let flags = cx.b.bits_flags(bits);
    cx.set_gpr_part(EAX, ax);
    cx.set_flags(flags);
}

/// Sets S Z P of AL; C O A are undefined and cleared.
fn set_ax(cx: &mut Lifter<'_>, al: Value, ah: Value) {
    let tested = cx.b.bin(Op::And, al, al);
    let ax = cx.b.convert(Op::Concat, Type::I16, &[al, ah]);
    cx.set_gpr_part(EAX, ax);
    cx.set_flags_of(tested);
}

/// `aam`: AL divided by the immediate.
pub(super) fn aam(cx: &mut Lifter<'_>) {
    let base = cx.imm(0) & 0xff;
    if base == 0 {
        return cx.raise(exception::DE, 0);
    }
    let al = cx.gpr_part(EAX, Type::I8);
    let zero = cx.b.iconst(Type::I8, 0);
    let base = cx.b.iconst(Type::I8, base);
    let quotient = cx.b.multi(Op::DivU, &[zero, al, base]);
    let remainder = cx.b.second(quotient);
    set_ax(cx, remainder, quotient);
}

/// `aad`: AL + AH times the immediate.
pub(super) fn aad(cx: &mut Lifter<'_>) {
    let eax = cx.b.get(EAX);
    let ax = cx.narrow(eax, Type::I16);
    let ah = cx.b.field(Type::I8, eax, 8);
    let ah = cx.zext(ah, Type::I16);
    let base = cx.b.iconst(Type::I16, cx.imm(0) & 0xff);
    let product = cx.b.bin(Op::Mul, ah, base);
    let sum = cx.b.bin(Op::Add, product, ax);
    let al = cx.narrow(sum, Type::I8);
    let zero = cx.b.iconst(Type::I8, 0);
    set_ax(cx, al, zero);
}
