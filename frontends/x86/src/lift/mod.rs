//! Lifting: instructions to IR.
//!
//! [`lift_region`] walks guest code and gives every instruction to its family. A family reads operands, computes,
//! stores, and only then writes registers, so that a fault finds the state before the instruction.

mod alu;
mod bcd;
mod bits;
mod bmi;
mod control;
mod data;
mod extended;
mod live;
mod mmx;
mod muldiv;
pub(crate) mod operand;
mod packed;
mod privileged;
mod segment;
mod segmentation;
mod shift;
mod simd;
mod single;
mod sse;
mod stack;
mod string;
mod system;
mod transfer;
mod unit;
mod x87;

use crate::decode::{MAX_LEN, Next, walk};
use crate::mode::Mode;
use crate::model::{Feature, FeatureSet};
use crate::{coverage, exception, state};
use iced_x86::{Instruction, Mnemonic};
use isamorph_guest::{CodeSource, FetchFault, Limits};
use isamorph_ir::{AtomicOp, Builder, Cond, ExitKind, Op, Region, Type, Value};

/// What of the processor decides the meaning of code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processor {
    /// Its mode.
    pub(crate) mode: Mode,
    /// What it has.
    pub(crate) features: FeatureSet,
    /// Index of its model.
    pub(crate) model: u32,
}

/// The instruction being lifted, and what the families need to lift it.
pub(crate) struct Lifter<'r> {
    /// Where the IR goes.
    pub(crate) b: Builder<'r>,
    /// The instruction.
    pub(crate) insn: Instruction,
    /// Its address.
    pub(crate) pc: u64,
    /// The address after it.
    pub(crate) next: u64,
    /// The processor's mode.
    pub(crate) mode: Mode,
    /// The processor.
    pub(crate) processor: Processor,
    /// The address index of the memory operand, once it was asked for.
    ea: Option<u32>,
    /// Parts of registers that were taken last: full value, type, bit offset, part. A region is one block, so that they
    /// stay valid.
    parts: [(Value, Type, u32, Value); 4],
    /// Whether an MMX instruction has looked for pending x87 exceptions, and none can have come up since.
    mmx_ready: bool,
    /// What the end of the instruction has to see to besides going on.
    ending: single::Ending,
    /// Whether a terminator ended the region.
    done: bool,
}

impl<'r> Lifter<'r> {
    fn new(region: &'r mut Region, pc: u64, processor: Processor) -> Self {
        let mode = processor.mode;
        let b = Builder::new(region, state::table(mode), pc);
        let parts = [(Value::NONE, Type::None, 0, Value::NONE); 4];
        let insn = Instruction::default();
        let ending = single::Ending::default();
        Lifter { b, insn, pc, next: pc, mode, processor, ea: None, parts, mmx_ready: false, ending, done: false }
    }
    /// Lifts one instruction; false if no family knows it (the region then ends with #UD).
    fn step(&mut self, insn: &Instruction) -> bool {
        self.insn = *insn;
        self.pc = self.mode.linear(insn.ip());
        self.next = self.mode.linear(insn.next_ip());
        self.ea = None;
        self.ending.begin();
        self.b.insn(self.pc, insn.len().max(1) as u8);
        if self.leaves_code_segment() {
            self.raise(exception::GP, 0);
            return true;
        }
        if insn.is_invalid() {
            // The processor reads no more than 15 bytes (SDM vol. 3, 6.15, #GP).
            let too_long = insn.len() == MAX_LEN;
            self.raise(if too_long { exception::GP } else { exception::UD }, 0);
            return true;
        }
        if let Some(code) = unit::refusal(self.mode, insn) {
            self.raise(code, 0);
            return true;
        }
        let known = (self.processor.features.allows(insn) || is_reinterpreted(insn)) && dispatch(self, insn);
        if !known {
            self.raise(exception::UD, 0);
        }
        known
    }
    /// Lifts the next instruction of a region, `before` of which came before it; whether the region goes on.
    fn advance(&mut self, insn: &Instruction, before: u32, limits: Limits) -> bool {
        if before > 0 && self.leaves_page(self.mode.linear(insn.ip()), insn.len()) {
            self.exit(ExitKind::Direct { pc: self.next });
            return false;
        }
        if !self.step(insn) {
            coverage::count(insn.mnemonic());
        }
        if !self.done && (before + 1 >= limits.max_insns || self.mode.is_single() || self.leaves_page(self.next, 1)) {
            self.exit(ExitKind::Direct { pc: self.next });
        }
        self.pass_shadow();
        !self.done
    }
    /// Whether those bytes are not all in the page where the region begins. A machine's regions stay in it, because
    /// what comes behind it may be mapped elsewhere tomorrow; the first instruction alone may reach out of it.
    fn leaves_page(&self, pc: u64, len: usize) -> bool {
        const PAGE: u64 = 4096;
        let start = self.b.region().pc;
        let last = pc.wrapping_add(len as u64 - 1) & self.mode.pc_mask();
        self.mode.in_machine() && (pc / PAGE != start / PAGE || last / PAGE != start / PAGE)
    }
}

/// Lifts the code at `pc`: straight on past conditional jumps that are not taken, to the first instruction that always
/// goes elsewhere, the limit, or the end of what can be fetched.
pub(crate) fn lift_region(
    region: &mut Region,
    pc: u64,
    processor: Processor,
    code: &dyn CodeSource,
    limits: Limits,
) -> Result<(), FetchFault> {
    let mode = processor.mode;
    let mut cx = Lifter::new(region, pc, processor);
    let mut count = 0;
    let walked = walk(code, mode, pc, |insn| {
        let goes_on = cx.advance(insn, count, limits);
        count += 1;
        if goes_on { Next::Continue } else { Next::Stop }
    });
    if let Err(fault) = walked {
        if count == 0 {
            return Err(fault);
        }
        // The instruction that cannot be fetched faults when execution reaches it, not before.
        cx.exit(ExitKind::Direct { pc: cx.next });
    }
    cx.b.finish();
    if !limits.precise {
        live::narrow_exits(region, mode, code);
    }
    Ok(())
}

/// Whether a lift of that encoding succeeds.
pub(crate) fn is_lifted(mode: Mode, bytes: &[u8]) -> bool {
    struct Bytes<'a>(&'a [u8]);
    impl CodeSource for Bytes<'_> {
        fn fetch(&self, pc: u64, out: &mut [u8]) -> usize {
            let rest = self.0.get(pc as usize..).unwrap_or(&[]);
            let n = rest.len().min(out.len());
            out[..n].copy_from_slice(&rest[..n]);
            n
        }
    }
    let mut region = Region::default();
    let mut cx = Lifter::new(&mut region, 0, Processor { mode, features: FeatureSet::ALL, model: 0 });
    let mut lifted = false;
    let walked = walk(&Bytes(bytes), mode, 0, |insn| {
        lifted = !insn.is_invalid() && cx.step(insn);
        Next::Stop
    });
    walked.is_ok() && lifted
}

/// Instructions that are others to a processor without their feature: the F3 prefix of `lzcnt` and `tzcnt` is ignored
/// (SDM vol. 2, LZCNT, TZCNT).
fn is_reinterpreted(insn: &Instruction) -> bool {
    matches!(insn.mnemonic(), Mnemonic::Lzcnt | Mnemonic::Tzcnt)
}

/// Finds the family of an instruction; false if there is none.
fn dispatch(cx: &mut Lifter<'_>, insn: &Instruction) -> bool {
    if cx.mode.in_machine() && (privileged::lift(cx, insn.mnemonic()) || transfer::lift(cx, insn.mnemonic())) {
        return true;
    }
    if insn.is_string_instruction() {
        return string::lift(cx);
    }
    arithmetic(cx, insn.mnemonic())
        || movement(cx, insn.mnemonic())
        || control(cx, insn.mnemonic())
        || system::lift(cx, insn.mnemonic())
        || extended::lift(cx, insn.mnemonic())
        || bmi::lift(cx, insn.mnemonic())
        || simd::lift_simd(cx, insn)
}

/// Arithmetic, logic, shifts, bits.
fn arithmetic(cx: &mut Lifter<'_>, m: Mnemonic) -> bool {
    use Mnemonic as M;
    match m {
        M::Add => alu::binary(cx, Op::Add, AtomicOp::Add),
        M::Sub => alu::binary(cx, Op::Sub, AtomicOp::Sub),
        M::And => alu::binary(cx, Op::And, AtomicOp::And),
        M::Or => alu::binary(cx, Op::Or, AtomicOp::Or),
        M::Xor => alu::binary(cx, Op::Xor, AtomicOp::Xor),
        M::Cmp => alu::compare(cx, Op::Sub),
        M::Test => alu::compare(cx, Op::And),
        M::Adc => alu::with_carry(cx, Op::Adc),
        M::Sbb => alu::with_carry(cx, Op::Sbb),
        M::Inc => alu::step(cx, Op::Add, AtomicOp::Add),
        M::Dec => alu::step(cx, Op::Sub, AtomicOp::Sub),
        M::Neg => alu::negate(cx),
        M::Not => alu::complement(cx),
        M::Xadd => alu::xadd(cx),
        M::Cmpxchg => alu::cmpxchg(cx),
        M::Cmpxchg8b => alu::cmpxchg_pair(cx, Type::I32),
        M::Cmpxchg16b => alu::cmpxchg_pair(cx, Type::I64),
        M::Shl | M::Sal => shift::shift(cx, Op::Shl),
        M::Shr => shift::shift(cx, Op::Shr),
        M::Sar => shift::shift(cx, Op::Sar),
        M::Rol => shift::shift(cx, Op::Rol),
        M::Ror => shift::shift(cx, Op::Ror),
        M::Rcl => shift::shift(cx, Op::Rcl),
        M::Rcr => shift::shift(cx, Op::Rcr),
        M::Shld => shift::double(cx, Op::Shld),
        M::Shrd => shift::double(cx, Op::Shrd),
        M::Mul => muldiv::multiply_wide(cx, Op::MulU),
        M::Imul => muldiv::imul(cx),
        M::Div => muldiv::divide(cx, Op::DivU),
        M::Idiv => muldiv::divide(cx, Op::DivS),
        M::Bt => bits::test(cx, Op::Bt),
        M::Bts => bits::test(cx, Op::Bts),
        M::Btr => bits::test(cx, Op::Btr),
        M::Btc => bits::test(cx, Op::Btc),
        M::Tzcnt if cx.processor.features.has(Feature::Bmi1) => bits::count(cx, Op::Tzcnt),
        M::Lzcnt if cx.processor.features.has(Feature::Lzcnt) => bits::count(cx, Op::Lzcnt),
        M::Bsf | M::Tzcnt => bits::scan(cx, Op::Bsf),
        M::Bsr | M::Lzcnt => bits::scan(cx, Op::Bsr),
        M::Popcnt => bits::count(cx, Op::Popcnt),
        M::Bswap => bits::bswap(cx),
        M::Daa | M::Das | M::Aaa | M::Aas => bcd::adjust(cx, m),
        M::Aam => bcd::aam(cx),
        M::Aad => bcd::aad(cx),
        _ => return false,
    }
    true
}

/// Data movement and the stack.
fn movement(cx: &mut Lifter<'_>, m: Mnemonic) -> bool {
    use Mnemonic as M;
    match m {
        M::Mov => data::mov(cx),
        M::Movzx => data::extend(cx, false),
        M::Movsx | M::Movsxd => data::extend(cx, true),
        M::Lea => data::lea(cx),
        M::Xchg => data::xchg(cx),
        M::Cbw => data::sign_extend_acc(cx, Type::I8),
        M::Cwde => data::sign_extend_acc(cx, Type::I16),
        M::Cdqe => data::sign_extend_acc(cx, Type::I32),
        M::Cwd => data::spread_sign(cx, Type::I16),
        M::Cdq => data::spread_sign(cx, Type::I32),
        M::Cqo => data::spread_sign(cx, Type::I64),
        M::Xlatb => data::xlat(cx),
        M::Lahf => data::lahf(cx),
        M::Sahf => data::sahf(cx),
        M::Salc => data::salc(cx),
        M::Push => stack::push(cx),
        M::Pop => stack::pop(cx),
        M::Pusha | M::Pushad => stack::push_all(cx),
        M::Popa | M::Popad => stack::pop_all(cx),
        M::Pushf | M::Pushfd | M::Pushfq => stack::pushf(cx),
        M::Popf | M::Popfd | M::Popfq => stack::popf(cx),
        M::Enter => stack::enter(cx),
        M::Leave => stack::leave(cx),
        M::Lds => segment::load_far(cx, iced_x86::Register::DS),
        M::Les => segment::load_far(cx, iced_x86::Register::ES),
        M::Lfs => segment::load_far(cx, iced_x86::Register::FS),
        M::Lgs => segment::load_far(cx, iced_x86::Register::GS),
        M::Lss => segment::load_far(cx, iced_x86::Register::SS),
        _ => match condition(&cx.insn) {
            Some(cond) if is_setcc(m) => data::setcc(cx, cond),
            Some(cond) if is_cmov(m) => data::cmov(cx, cond),
            _ => return false,
        },
    }
    true
}

/// Jumps, calls, returns, loops.
fn control(cx: &mut Lifter<'_>, m: Mnemonic) -> bool {
    use Mnemonic as M;
    match m {
        M::Jmp => control::jmp(cx),
        M::Call => control::call(cx),
        M::Ret => control::ret(cx),
        M::Retf => control::ret_far(cx),
        M::Iret | M::Iretd | M::Iretq => control::iret(cx),
        M::Loop => control::loop_(cx, None),
        M::Loope => control::loop_(cx, Some(Cond::E)),
        M::Loopne => control::loop_(cx, Some(Cond::Ne)),
        M::Jcxz | M::Jecxz | M::Jrcxz => control::jump_count_zero(cx),
        _ if cx.insn.is_jcc_short_or_near() => match condition(&cx.insn) {
            Some(cond) => control::jcc(cx, cond),
            None => return false,
        },
        _ => return false,
    }
    true
}

fn is_setcc(m: Mnemonic) -> bool {
    (Mnemonic::Seta..=Mnemonic::Sets).contains(&m)
}

fn is_cmov(m: Mnemonic) -> bool {
    (Mnemonic::Cmova..=Mnemonic::Cmovs).contains(&m)
}

/// The condition of a `jcc`, `setcc`, `cmovcc`: the decoder's numbering is that of the encoding, from 1.
fn condition(insn: &Instruction) -> Option<Cond> {
    (insn.condition_code() as u8).checked_sub(1).and_then(Cond::from_index)
}
