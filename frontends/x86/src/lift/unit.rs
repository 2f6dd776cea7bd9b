//! Which unit an instruction needs, and whether the operating system lets it be used (SDM vol. 3, 2.5, 13.1).

use crate::exception;
use crate::mode::Mode;
use iced_x86::{Code, CpuidFeature, Instruction, Mnemonic, OpKind, Register};
use isamorph_ir::ExceptionCode;

/// The units that can be switched off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// The x87 unit, and the state that is saved with it.
    X87,
    /// `wait`, which looks at another bit.
    Wait,
    /// The MMX registers.
    Mmx,
    /// The SSE registers and MXCSR.
    Sse,
    /// Extended state.
    Xsave,
    /// Access to segment bases.
    Bases,
}

/// The unit that an instruction needs.
fn unit(insn: &Instruction) -> Option<Unit> {
    use Mnemonic as M;
    match insn.mnemonic() {
        M::Wait => return Some(Unit::Wait),
        M::Fxsave | M::Fxsave64 | M::Fxrstor | M::Fxrstor64 => return Some(Unit::X87),
        M::Ldmxcsr | M::Stmxcsr => return Some(Unit::Sse),
        M::Emms => return Some(Unit::Mmx),
        M::Xsave | M::Xsave64 | M::Xsaveopt | M::Xsaveopt64 | M::Xsavec | M::Xsavec64 => return Some(Unit::Xsave),
        M::Xrstor | M::Xrstor64 | M::Xgetbv | M::Xsetbv => return Some(Unit::Xsave),
        M::Rdfsbase | M::Rdgsbase | M::Wrfsbase | M::Wrgsbase => return Some(Unit::Bases),
        _ => {}
    }
    let names = |is: fn(Register) -> bool| {
        (0..insn.op_count()).any(|n| insn.op_kind(n) == OpKind::Register && is(insn.op_register(n)))
    };
    if names(Register::is_xmm) {
        Some(Unit::Sse)
    } else if names(Register::is_mm) {
        Some(Unit::Mmx)
    } else if is_x87(insn.code()) {
        Some(Unit::X87)
    } else {
        None
    }
}

fn is_x87(code: Code) -> bool {
    use CpuidFeature as C;
    code.cpuid_features()
        .iter()
        .any(|f| matches!(f, C::FPU | C::FPU287 | C::FPU287XL_ONLY | C::FPU387 | C::FPU387SL_ONLY))
}

/// The exception that an instruction raises because the unit that it needs is switched off.
pub(super) fn refusal(mode: Mode, insn: &Instruction) -> Option<ExceptionCode> {
    if !mode.in_machine() {
        return None;
    }
    let absent = match unit(insn)? {
        Unit::Mmx => mode.emulates_fpu(),
        Unit::Sse => !mode.has_sse(),
        Unit::Xsave => !mode.has_osxsave(),
        Unit::Bases => !mode.has_fsgsbase(),
        Unit::X87 | Unit::Wait => false,
    };
    let asleep = match unit(insn)? {
        Unit::X87 | Unit::Mmx | Unit::Sse => mode.has_no_fpu(),
        Unit::Xsave => mode.has_no_fpu() && !matches!(insn.mnemonic(), Mnemonic::Xgetbv | Mnemonic::Xsetbv),
        Unit::Wait => mode.wait_traps(),
        Unit::Bases => false,
    };
    match (absent, asleep) {
        (true, _) => Some(exception::UD),
        (_, true) => Some(exception::NM),
        _ => None,
    }
}
