//! The x87 unit: opcodes D8 to DF and FWAIT.

use super::Lifter;
use crate::{helpers, state};
use iced_x86::{Code, Instruction, OpKind, Register};
use isamorph_ir::{Addr, Cond, HelperId, RegId, Type, X87Form, X87Op};

/// Lifts the instruction if it is one of these.
pub(super) fn lift(cx: &mut Lifter<'_>, insn: &Instruction) -> bool {
    let code = insn.code();
    if let Some(kind) = operation(code) {
        lift_operation(cx, insn, kind);
        return true;
    }
    match code {
        Code::Fnstsw_AX => {
            let status = cx.b.x87_status();
            cx.set_gpr_part(state::EAX, status);
        }
        Code::Fnstenv_m14byte => image(cx, helpers::STORE_ENVIRONMENT),
        Code::Fldenv_m14byte => image(cx, helpers::LOAD_ENVIRONMENT),
        Code::Fnsave_m94byte => image(cx, helpers::SAVE_FPU),
        Code::Frstor_m94byte => image(cx, helpers::RESTORE_FPU),
        // No operation since the 387, not even the check for pending exceptions.
        Code::Fneni | Code::Fndisi | Code::Fnsetpm => {}
        _ => match move_condition(code) {
            Some(cond) => {
                let flags = cx.flags();
                cx.b.x87_cmov(cond, flags, stack_register(insn));
                forget_mmx(cx);
            }
            None => return false,
        },
    }
    true
}

macro_rules! operations {
    ($($kind:ident $($code:ident)*;)*) => {
        /// The operation that an encoding stands for.
        fn operation(code: Code) -> Option<X87Op> {
            Some(match code {
                $($(Code::$code)|* => X87Op::$kind,)*
                _ => return None,
            })
        }
    };
}

// Several codes on a row: undocumented encodings that every processor since the 387 has.
#[rustfmt::skip]
operations! {
    AddM32 Fadd_m32fp; MulM32 Fmul_m32fp; ComM32 Fcom_m32fp; ComPopM32 Fcomp_m32fp; SubM32 Fsub_m32fp;
    SubRM32 Fsubr_m32fp; DivM32 Fdiv_m32fp; DivRM32 Fdivr_m32fp; AddSt0 Fadd_st0_sti; MulSt0 Fmul_st0_sti;
    ComSt Fcom_st0_sti Fcom_st0_sti_DCD0; ComPop Fcomp_st0_sti Fcomp_st0_sti_DCD8 Fcomp_st0_sti_DED0;
    SubSt0 Fsub_st0_sti; SubRSt0 Fsubr_st0_sti; DivSt0 Fdiv_st0_sti; DivRSt0 Fdivr_st0_sti; LdM32 Fld_m32fp;
    StM32 Fst_m32fp; StPopM32 Fstp_m32fp; LdEnv Fldenv_m28byte; LdCw Fldcw_m2byte; StEnv Fnstenv_m28byte;
    StCw Fnstcw_m2byte; Ld Fld_sti; Xch Fxch_st0_sti Fxch_st0_sti_DDC8 Fxch_st0_sti_DFC8; Nop Fnop;
    StPop Fstpnce_sti Fstp_sti Fstp_sti_DFD0 Fstp_sti_DFD8; Chs Fchs; Abs Fabs; Tst Ftst; Xam Fxam; Ld1 Fld1;
    LdL2t Fldl2t; LdL2e Fldl2e; LdPi Fldpi; LdLg2 Fldlg2; LdLn2 Fldln2; LdZ Fldz; F2xm1 F2xm1; Yl2x Fyl2x; Ptan Fptan;
    Patan Fpatan; Xtract Fxtract; Prem1 Fprem1; DecStp Fdecstp; IncStp Fincstp; Prem Fprem; Yl2xp1 Fyl2xp1;
    Sqrt Fsqrt; SinCos Fsincos; RndInt Frndint; Scale Fscale; Sin Fsin; Cos Fcos; AddI32 Fiadd_m32int;
    MulI32 Fimul_m32int; ComI32 Ficom_m32int; ComPopI32 Ficomp_m32int; SubI32 Fisub_m32int; SubRI32 Fisubr_m32int;
    DivI32 Fidiv_m32int; DivRI32 Fidivr_m32int; UcomPp Fucompp; LdI32 Fild_m32int; SttPopI32 Fisttp_m32int;
    StI32 Fist_m32int; StPopI32 Fistp_m32int; LdM80 Fld_m80fp; StPopM80 Fstp_m80fp; Clex Fnclex; Init Fninit;
    Ucomi Fucomi_st0_sti; Comi Fcomi_st0_sti; AddM64 Fadd_m64fp; MulM64 Fmul_m64fp; ComM64 Fcom_m64fp;
    ComPopM64 Fcomp_m64fp; SubM64 Fsub_m64fp; SubRM64 Fsubr_m64fp; DivM64 Fdiv_m64fp; DivRM64 Fdivr_m64fp;
    AddSti Fadd_sti_st0; MulSti Fmul_sti_st0; SubRSti Fsubr_sti_st0; SubSti Fsub_sti_st0; DivRSti Fdivr_sti_st0;
    DivSti Fdiv_sti_st0; LdM64 Fld_m64fp; SttPopI64 Fisttp_m64int; StM64 Fst_m64fp; StPopM64 Fstp_m64fp;
    Rstor Frstor_m108byte; Save Fnsave_m108byte; StSw Fnstsw_m2byte; Free Ffree_sti; St Fst_sti; Ucom Fucom_st0_sti;
    UcomPop Fucomp_st0_sti; AddI16 Fiadd_m16int; MulI16 Fimul_m16int; ComI16 Ficom_m16int; ComPopI16 Ficomp_m16int;
    SubI16 Fisub_m16int; SubRI16 Fisubr_m16int; DivI16 Fidiv_m16int; DivRI16 Fidivr_m16int; AddPop Faddp_sti_st0;
    MulPop Fmulp_sti_st0; ComPp Fcompp; SubRPop Fsubrp_sti_st0; SubPop Fsubp_sti_st0; DivRPop Fdivrp_sti_st0;
    DivPop Fdivp_sti_st0; LdI16 Fild_m16int; SttPopI16 Fisttp_m16int; StI16 Fist_m16int; StPopI16 Fistp_m16int;
    LdBcd Fbld_m80bcd; LdI64 Fild_m64int; StPopBcd Fbstp_m80bcd; StPopI64 Fistp_m64int; FreePop Ffreep_sti;
    UcomiPop Fucomip_st0_sti; ComiPop Fcomip_st0_sti;
    Wait Wait;
}

/// The condition of FCMOVcc.
fn move_condition(code: Code) -> Option<Cond> {
    Some(match code {
        Code::Fcmovb_st0_sti => Cond::B,
        Code::Fcmove_st0_sti => Cond::E,
        Code::Fcmovbe_st0_sti => Cond::Be,
        Code::Fcmovu_st0_sti => Cond::P,
        Code::Fcmovnb_st0_sti => Cond::Ae,
        Code::Fcmovne_st0_sti => Cond::Ne,
        Code::Fcmovnbe_st0_sti => Cond::A,
        Code::Fcmovnu_st0_sti => Cond::Np,
        _ => return None,
    })
}

/// The number of the stack register that is named besides ST(0).
fn stack_register(insn: &Instruction) -> u32 {
    let number = |r: Register| if r.is_st() { r as u32 - Register::ST0 as u32 } else { 0 };
    number(insn.op0_register()).max(number(insn.op1_register()))
}

fn lift_operation(cx: &mut Lifter<'_>, insn: &Instruction, kind: X87Op) {
    match kind.form() {
        X87Form::Mem(..) => {
            let addr = cx.ea();
            cx.b.x87_mem(kind, addr);
            if matches!(kind, X87Op::StEnv | X87Op::Save) {
                clear_pointers(cx);
            }
            forget_mmx(cx);
        }
        X87Form::Reg(_) if matches!(kind, X87Op::Comi | X87Op::ComiPop | X87Op::Ucomi | X87Op::UcomiPop) => {
            let result = cx.b.x87_flags(kind, stack_register(insn));
            forget_mmx(cx);
            cx.set_flags_of(result);
        }
        X87Form::Reg(_) => operate(cx, kind, stack_register(insn)),
    }
}

/// Environments in the format of 16-bit code.
fn image(cx: &mut Lifter<'_>, helper: HelperId) {
    let ea = cx.ea();
    let addr = cx.b.lea(cx.b.table().addr_type(), ea);
    cx.call(helper, Type::None, &[addr]);
}

/// Overwrites the pointers to the last instruction and its operand in an environment that was stored (SDM vol. 1,
/// figure 8-9), see [`state::saved_image`]. The memory was written just before, so that this does not fault.
fn clear_pointers(cx: &mut Lifter<'_>) {
    let tree = cx.memory_operand();
    let zero = cx.b.iconst(Type::I64, 0);
    for offset in [12, 20] {
        let at = cx.b.addr(Addr { disp: tree.disp.wrapping_add(offset), ..tree });
        cx.store_at(at, zero);
    }
}

/// A register operation.
pub(super) fn operate(cx: &mut Lifter<'_>, kind: X87Op, st: u32) {
    cx.b.x87(kind, st);
    forget_mmx(cx);
}

/// An MMX instruction reports a pending x87 exception before it does anything else (SDM vol. 3, 13.5); then MMX code
/// causes none.
pub(super) fn report_pending(cx: &mut Lifter<'_>, insn: &Instruction) {
    let names_mmx = |n| insn.op_kind(n) == OpKind::Register && insn.op_register(n).is_mm();
    if !cx.mmx_ready && (0..insn.op_count()).any(names_mmx) {
        cx.b.x87(X87Op::Wait, 0);
        cx.mmx_ready = true;
    }
}

/// Forgets the MMX registers: they are the registers of the stack, and every use after an x87 operation makes the
/// transition to MMX again.
fn forget_mmx(cx: &mut Lifter<'_>) {
    cx.mmx_ready = false;
    for n in 0..8 {
        cx.b.forget(RegId(state::MM0.0 + n));
    }
}
