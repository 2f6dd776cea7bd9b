//! String instructions (SDM vol. 1, 7.3.9). One element is lifted inline; repeated forms run in a helper, in bounded
//! pieces between which the region is left, so that signals stay responsive.

use super::Lifter;
use super::segmentation::{Piece, is_unchecked, number};
use crate::exception;
use crate::helpers::{self, StringConfig};
use crate::state::{DF, EAX, EDI, ESI};
use iced_x86::{Code, Mnemonic, OpKind, Register};
use isamorph_ir::{Addr, Cond, HelperId, Op, RegId, Type, Value};

/// Lifts a string instruction; those for ports are privileged.
pub(super) fn lift(cx: &mut Lifter<'_>) -> bool {
    let (m, in_machine) = (cx.insn.mnemonic(), cx.mode.in_machine());
    let Some(ty) = element_type(m) else {
        match port_element(m) {
            Some((helper, ty)) if in_machine => in_pieces(cx, helper, ty, matches!(helper, helpers::REP_OUTS)),
            _ => cx.raise(exception::GP, 0),
        }
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

/// The helper and the element of a string instruction for ports.
fn port_element(m: Mnemonic) -> Option<(HelperId, Type)> {
    use Mnemonic as M;
    Some(match m {
        M::Insb => (helpers::REP_INS, Type::I8),
        M::Insw => (helpers::REP_INS, Type::I16),
        M::Insd => (helpers::REP_INS, Type::I32),
        M::Outsb => (helpers::REP_OUTS, Type::I8),
        M::Outsw => (helpers::REP_OUTS, Type::I16),
        M::Outsd => (helpers::REP_OUTS, Type::I32),
        _ => return None,
    })
}

/// The width of the pointers and of the counter.
fn pointer_type(cx: &Lifter<'_>) -> Type {
    use OpKind as K;
    let of = |k| match k {
        K::MemorySegSI | K::MemoryESDI => Some(Type::I16),
        K::MemorySegESI | K::MemoryESEDI => Some(Type::I32),
        K::MemorySegRSI | K::MemoryESRDI => Some(Type::I64),
        _ => None,
    };
    cx.insn.op_kinds().find_map(of).unwrap_or(cx.b.table().addr_type())
}

/// The address in an index register, in a segment.
fn pointer(cx: &mut Lifter<'_>, reg: RegId, piece: Piece) -> u32 {
    let part = cx.gpr_part(reg, pointer_type(cx));
    let base = cx.zext(part, cx.b.table().addr_type());
    let addr = cx.in_segment(piece, Addr::base(base));
    cx.b.addr(addr)
}

fn source(cx: &mut Lifter<'_>, ty: Type) -> u32 {
    let segment = cx.insn.memory_segment();
    pointer(cx, ESI, Piece { segment, bytes: ty.bytes(), write: false })
}

fn destination(cx: &mut Lifter<'_>, ty: Type, write: bool) -> u32 {
    pointer(cx, EDI, Piece { segment: Register::ES, bytes: ty.bytes(), write })
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
    let width = pointer_type(cx);
    for reg in regs {
        let old = cx.gpr_part(*reg, width);
        let step = cx.narrow(step, width);
        let new = cx.b.bin(Op::Add, old, step);
        cx.set_gpr_part(*reg, new);
    }
}

fn movs(cx: &mut Lifter<'_>, ty: Type) {
    let src = source(cx, ty);
    let dst = destination(cx, ty, true);
    let v = cx.load_at(ty, src);
    cx.store_at(dst, v);
    advance(cx, ty, &[ESI, EDI]);
}

fn stos(cx: &mut Lifter<'_>, ty: Type) {
    let v = cx.gpr_part(EAX, ty);
    let dst = destination(cx, ty, true);
    cx.store_at(dst, v);
    advance(cx, ty, &[EDI]);
}

fn lods(cx: &mut Lifter<'_>, ty: Type) {
    let src = source(cx, ty);
    let v = cx.load_at(ty, src);
    cx.set_gpr_part(EAX, v);
    advance(cx, ty, &[ESI]);
}

fn scas(cx: &mut Lifter<'_>, ty: Type) {
    let acc = cx.gpr_part(EAX, ty);
    let dst = destination(cx, ty, false);
    let v = cx.load_at(ty, dst);
    let difference = cx.b.bin(Op::Sub, acc, v);
    advance(cx, ty, &[EDI]);
    cx.set_flags_of(difference);
}

fn cmps(cx: &mut Lifter<'_>, ty: Type) {
    let src = source(cx, ty);
    let dst = destination(cx, ty, false);
    let a = cx.load_at(ty, src);
    let b = cx.load_at(ty, dst);
    let difference = cx.b.bin(Op::Sub, a, b);
    advance(cx, ty, &[ESI, EDI]);
    cx.set_flags_of(difference);
}

/// The helper for a copy or fill with flat segments and addresses of full width, which runs to its end.
fn plain_helper(cx: &mut Lifter<'_>, family: Family, ty: Type) -> Option<HelperId> {
    let is_based = matches!(cx.insn.memory_segment(), Register::FS | Register::GS);
    let in_machine = cx.mode.in_machine();
    if in_machine || pointer_type(cx) != cx.b.table().addr_type() || is_based && matches!(family, Family::Movs) {
        return None;
    }
    let by_mode = |narrow, wide| Some(if cx.mode.is_long() { wide } else { narrow });
    match (family, ty) {
        (Family::Movs, Type::I8) => by_mode(helpers::COPY_8, helpers::LONG_COPY_8),
        (Family::Movs, Type::I16) => by_mode(helpers::COPY_16, helpers::LONG_COPY_16),
        (Family::Movs, Type::I32) => by_mode(helpers::COPY_32, helpers::LONG_COPY_32),
        (Family::Movs, Type::I64) => Some(helpers::LONG_COPY_64),
        (Family::Stos, Type::I8) => by_mode(helpers::FILL_8, helpers::LONG_FILL_8),
        (Family::Stos, Type::I16) => by_mode(helpers::FILL_16, helpers::LONG_FILL_16),
        (Family::Stos, Type::I32) => by_mode(helpers::FILL_32, helpers::LONG_FILL_32),
        (Family::Stos, Type::I64) => Some(helpers::LONG_FILL_64),
        _ => None,
    }
}

/// The helper does a piece and says whether there is more to do.
fn repeated(cx: &mut Lifter<'_>, family: Family, ty: Type) {
    if let Some(helper) = plain_helper(cx, family, ty) {
        cx.call(helper, Type::I32, &[]);
        return;
    }
    in_pieces(cx, family.helper(), ty, !matches!(family, Family::Stos | Family::Scas));
}

/// Calls a helper again and again until it is done.
fn in_pieces(cx: &mut Lifter<'_>, helper: HelperId, ty: Type, has_source: bool) {
    let segment = if has_source { cx.insn.memory_segment() } else { Register::ES };
    let unchecked = [segment, Register::ES].iter().all(|s| is_unchecked(cx.mode, *s, false));
    let once = !cx.insn.has_rep_prefix() && !cx.insn.has_repne_prefix();
    let config = StringConfig {
        bytes: ty.bytes(),
        address_bytes: pointer_type(cx).bytes(),
        long: cx.mode.is_long(),
        while_equal: !cx.insn.has_repne_prefix(),
        source: number(segment).into(),
        checked: !unchecked,
        stepped: cx.mode.steps(),
        once,
    };
    let config = cx.b.iconst(Type::I32, u64::from(config.pack()));
    let bases = [segment, Register::ES].map(|segment| match cx.segment_base(segment) {
        Value::NONE => cx.b.iconst(cx.b.table().addr_type(), 0),
        base => base,
    });
    let more = cx.call(helper, Type::I32, &[config, bases[0], bases[1]]);
    if !once {
        let flags = cx.test_zero(more);
        cx.repeat_if(Cond::Ne, flags);
    }
}
