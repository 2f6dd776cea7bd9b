//! String instructions (SDM vol. 1, 7.3.9). One element is lifted inline; repeated forms run in a helper, in bounded
//! pieces between which the region is left, so that signals stay responsive.

use super::Lifter;
use crate::exception;
use crate::helpers::{self, StringConfig};
use crate::state::{DF, EAX, EDI, ESI};
use iced_x86::{Code, Mnemonic, OpKind, Register};
use isamorph_ir::{Addr, Cond, HelperId, Op, RegId, Type, Value};

/// Lifts a string instruction; those for ports are privileged.
pub(super) fn lift(cx: &mut Lifter<'_>) -> bool {
    let Some(ty) = element_type(cx.insn.mnemonic()) else {
        cx.raise(exception::GP, 0);
        return true;
    };
    let family = Family::of(cx.insn.code());
    if cx.insn.has_rep_prefix() || cx.insn.has_repne_prefix() {
        repeated(cx, family, ty);
        return true;
    }
    match family {
        Family::Movs => movs(cx, ty),
        Family::Stos => stos(cx, ty),
        Family::Lods => lods(cx, ty),
        Family::Scas => scas(cx, ty),
        Family::Cmps => cmps(cx, ty),
    }
    true
}

#[derive(Clone, Copy)]
enum Family {
    Movs,
    Stos,
    Lods,
    Scas,
    Cmps,
}

impl Family {
    /// Ports are out by now; the scalar SSE instructions of the same names are no string instructions.
    fn of(code: Code) -> Self {
        use Code as C;
        match code {
            C::Stosb_m8_AL | C::Stosw_m16_AX | C::Stosd_m32_EAX | C::Stosq_m64_RAX => Family::Stos,
            C::Lodsb_AL_m8 | C::Lodsw_AX_m16 | C::Lodsd_EAX_m32 | C::Lodsq_RAX_m64 => Family::Lods,
            C::Scasb_AL_m8 | C::Scasw_AX_m16 | C::Scasd_EAX_m32 | C::Scasq_RAX_m64 => Family::Scas,
            C::Cmpsb_m8_m8 | C::Cmpsw_m16_m16 | C::Cmpsd_m32_m32 | C::Cmpsq_m64_m64 => Family::Cmps,
            _ => Family::Movs,
        }
    }
    fn helper(self) -> HelperId {
        match self {
            Family::Movs => helpers::REP_MOVS,
            Family::Stos => helpers::REP_STOS,
            Family::Lods => helpers::REP_LODS,
            Family::Scas => helpers::REP_SCAS,
            Family::Cmps => helpers::REP_CMPS,
        }
    }
}

fn element_type(m: Mnemonic) -> Option<Type> {
    use Mnemonic as M;
    Some(match m {
        M::Movsb | M::Stosb | M::Lodsb | M::Scasb | M::Cmpsb => Type::I8,
        M::Movsw | M::Stosw | M::Lodsw | M::Scasw | M::Cmpsw => Type::I16,
        M::Movsd | M::Stosd | M::Lodsd | M::Scasd | M::Cmpsd => Type::I32,
        M::Movsq | M::Stosq | M::Lodsq | M::Scasq | M::Cmpsq => Type::I64,
        _ => return None,
    })
}

/// Whether the instruction addresses with SI and DI.
fn narrow_address(cx: &Lifter<'_>) -> bool {
    cx.insn.op_kinds().any(|k| matches!(k, OpKind::MemorySegSI | OpKind::MemoryESDI | OpKind::MemorySegDI))
}

/// The address in an index register, with the base of a segment.
fn pointer(cx: &mut Lifter<'_>, reg: RegId, segment: Register) -> u32 {
    let seg = cx.segment_base(segment);
    let base = if narrow_address(cx) {
        let part = cx.gpr_part(reg, Type::I16);
        cx.zext(part, cx.b.table().addr_type())
    } else {
        cx.b.get(reg)
    };
    cx.b.addr(Addr { seg, ..Addr::base(base) })
}

fn source(cx: &mut Lifter<'_>) -> u32 {
    pointer(cx, ESI, cx.insn.memory_segment())
}

fn destination(cx: &mut Lifter<'_>) -> u32 {
    pointer(cx, EDI, Register::ES)
}

/// Moves index registers by one element in the direction of DF.
fn advance(cx: &mut Lifter<'_>, ty: Type, regs: &[RegId]) {
    let df = cx.b.get(DF);
    let step = if ty == Type::I8 {
        df
    } else {
        let shift = cx.b.iconst(Type::I8, u64::from(ty.bytes().trailing_zeros()));
        cx.b.multi(Op::Shl, &[df, shift, Value::NONE])
    };
    let narrow = narrow_address(cx);
    for reg in regs {
        let width = if narrow { Type::I16 } else { cx.b.table().def(*reg).ty };
        let old = cx.gpr_part(*reg, width);
        let step = cx.narrow(step, width);
        let new = cx.b.bin(Op::Add, old, step);
        cx.set_gpr_part(*reg, new);
    }
}

fn movs(cx: &mut Lifter<'_>, ty: Type) {
    let src = source(cx);
    let dst = destination(cx);
    let v = cx.load_at(ty, src);
    cx.store_at(dst, v);
    advance(cx, ty, &[ESI, EDI]);
}

fn stos(cx: &mut Lifter<'_>, ty: Type) {
    let v = cx.gpr_part(EAX, ty);
    let dst = destination(cx);
    cx.store_at(dst, v);
    advance(cx, ty, &[EDI]);
}

fn lods(cx: &mut Lifter<'_>, ty: Type) {
    let src = source(cx);
    let v = cx.load_at(ty, src);
    cx.set_gpr_part(EAX, v);
    advance(cx, ty, &[ESI]);
}

fn scas(cx: &mut Lifter<'_>, ty: Type) {
    let acc = cx.gpr_part(EAX, ty);
    let dst = destination(cx);
    let v = cx.load_at(ty, dst);
    let difference = cx.b.bin(Op::Sub, acc, v);
    advance(cx, ty, &[EDI]);
    cx.set_flags_of(difference);
}

fn cmps(cx: &mut Lifter<'_>, ty: Type) {
    let src = source(cx);
    let dst = destination(cx);
    let a = cx.load_at(ty, src);
    let b = cx.load_at(ty, dst);
    let difference = cx.b.bin(Op::Sub, a, b);
    advance(cx, ty, &[ESI, EDI]);
    cx.set_flags_of(difference);
}

/// The helper for a copy or fill with flat segments and 32-bit addresses, which runs to its end.
fn plain_helper(cx: &mut Lifter<'_>, family: Family, ty: Type) -> Option<HelperId> {
    if narrow_address(cx) || !cx.segment_base(cx.insn.memory_segment()).is_none() && matches!(family, Family::Movs) {
        return None;
    }
    match (family, ty) {
        (Family::Movs, Type::I8) => Some(helpers::COPY_8),
        (Family::Movs, Type::I16) => Some(helpers::COPY_16),
        (Family::Movs, Type::I32) => Some(helpers::COPY_32),
        (Family::Stos, Type::I8) => Some(helpers::FILL_8),
        (Family::Stos, Type::I16) => Some(helpers::FILL_16),
        (Family::Stos, Type::I32) => Some(helpers::FILL_32),
        _ => None,
    }
}

/// The helper does a piece and says whether there is more to do.
fn repeated(cx: &mut Lifter<'_>, family: Family, ty: Type) {
    if let Some(helper) = plain_helper(cx, family, ty) {
        cx.call(helper, Type::I32, &[]);
        return;
    }
    let config = StringConfig {
        bytes: ty.bytes(),
        narrow_address: narrow_address(cx),
        while_equal: !cx.insn.has_repne_prefix(),
    };
    let config = cx.b.iconst(Type::I32, u64::from(config.pack()));
    let seg = match cx.insn.memory_segment() {
        _ if matches!(family, Family::Stos | Family::Scas) => Value::NONE,
        segment => cx.segment_base(segment),
    };
    let seg = if seg.is_none() { cx.b.iconst(Type::I32, 0) } else { seg };
    let more = cx.call(family.helper(), Type::I32, &[config, seg]);
    let flags = cx.test_zero(more);
    cx.repeat_if(Cond::Ne, flags);
}
