//! Which flags an exit leaves live: a look at the first instructions of its successor.
//!
//! Most code sets the flags anew before it reads them, so that the region before need not produce them. An instruction
//! that is not in the table below ends the search with every flag live. Faults on the way do not count as readers, see
//! "Flags are values" in the architecture notes.

use super::condition;
use super::control::direct_target;
use crate::decode::{Next, walk};
use crate::mode::Mode;
use iced_x86::{FlowControl, Instruction, Mnemonic, OpKind, RflagsBits};
use isamorph_guest::CodeSource;
use isamorph_ir::{ExitKind, FlagSet, Region};

/// Instructions to look at.
const HORIZON: u32 = 6;

/// Narrows the live flags of exits to known places.
pub(super) fn narrow_exits(region: &mut Region, mode: Mode, code: &dyn CodeSource) {
    let mut lookahead = Lookahead { mode, code, known: Vec::new() };
    for exit in &mut region.exits {
        match exit.kind {
            ExitKind::Direct { pc } => exit.live_flags = lookahead.live_at(pc),
            ExitKind::Call { pc, ret } => {
                exit.live_flags = lookahead.live_at(pc);
                exit.ret_flags = lookahead.live_at(ret);
            }
            ExitKind::IndirectCall { ret, .. } => exit.ret_flags = lookahead.live_at(ret),
            _ => {}
        }
    }
}

/// What was found out about successors.
struct Lookahead<'a> {
    mode: Mode,
    code: &'a dyn CodeSource,
    known: Vec<(u64, FlagSet)>,
}

impl Lookahead<'_> {
    /// The flags that code at `pc` may read before it writes them.
    fn live_at(&mut self, pc: u64) -> FlagSet {
        if let Some((_, live)) = self.known.iter().find(|(at, _)| *at == pc) {
            return *live;
        }
        let live = self.search(pc);
        self.known.push((pc, live));
        live
    }
    fn search(&self, pc: u64) -> FlagSet {
        let (mut live, mut pending) = (FlagSet::empty(), FlagSet::all());
        let (mut count, mut jumps) = (0, 0);
        let walked = walk(self.code, self.mode, pc, |insn| {
            count += 1;
            let Some(effect) = effect(self.mode, insn) else { return Next::Stop };
            live |= pending & effect.reads;
            pending -= effect.kills;
            if pending.is_empty() || count == HORIZON {
                return Next::Stop;
            }
            match effect.jump {
                None => Next::Continue,
                Some(to) if jumps == 0 => {
                    jumps += 1;
                    Next::Goto(to)
                }
                Some(_) => Next::Stop,
            }
        });
        // What is still pending at the end of the search, or of what can be fetched, may be read by anything.
        let (Ok(()) | Err(_)) = walked;
        live | pending
    }
}

/// What an instruction does with the flags.
struct Effect {
    reads: FlagSet,
    kills: FlagSet,
    /// Where it jumps or calls, if it always does.
    jump: Option<u64>,
}

/// The effect of an instruction; nothing if it is not known.
fn effect(mode: Mode, insn: &Instruction) -> Option<Effect> {
    use Mnemonic as M;
    let (none, all, carry) = (FlagSet::empty(), FlagSet::all(), FlagSet::C);
    let (reads, kills) = match insn.mnemonic() {
        // An all-zero encoding (add %al,(%eax)) is more likely memory that has no code yet.
        M::Add if is_zeros(insn) => return None,
        M::Add | M::Sub | M::And | M::Or | M::Xor | M::Cmp | M::Test | M::Neg => (none, all),
        M::Xadd | M::Cmpxchg | M::Mul | M::Imul | M::Bsf | M::Bsr => (none, all),
        M::Comiss | M::Comisd | M::Ucomiss | M::Ucomisd | M::Popcnt => (none, all),
        M::Ptest | M::Lzcnt | M::Tzcnt | M::Andn | M::Blsi | M::Blsmsk | M::Blsr | M::Bzhi | M::Bextr => (none, all),
        M::Fcomi | M::Fcomip | M::Fucomi | M::Fucomip => (none, all),
        M::Adc | M::Sbb => (carry, all),
        M::Inc | M::Dec => (none, all - carry),
        M::Bt | M::Bts | M::Btr | M::Btc => (none, carry),
        M::Shl | M::Sal | M::Shr | M::Sar if counts_by_constant(insn, 1) => (none, all),
        M::Shld | M::Shrd if counts_by_constant(insn, 2) => (none, all),
        M::Rol | M::Ror if counts_by_constant(insn, 1) => (none, carry | FlagSet::O),
        // A count of zero would keep the flags.
        M::Shl | M::Sal | M::Shr | M::Sar | M::Rol | M::Ror | M::Shld | M::Shrd => (none, none),
        M::Adcx => (carry, carry),
        M::Adox => (FlagSet::O, FlagSet::O),
        M::Rcl | M::Rcr => (carry, none),
        M::Stc | M::Clc => (none, carry),
        M::Cmc => (carry, carry),
        // Neither reads nor writes an arithmetic flag, by the decoder's tables.
        _ if keeps_flags(insn) => (none, none),
        M::Jmp | M::Call => {
            let jump = Some(mode.linear(direct_target(insn)?));
            return Some(Effect { reads: none, kills: none, jump });
        }
        m if super::is_setcc(m) || super::is_cmov(m) => (condition(insn)?.reads(), none),
        _ => return None,
    };
    Some(Effect { reads, kills, jump: None })
}

/// Whether an instruction neither reads nor writes arithmetic flags and goes on to the next one.
fn keeps_flags(insn: &Instruction) -> bool {
    const ARITHMETIC: u32 =
        RflagsBits::CF | RflagsBits::PF | RflagsBits::AF | RflagsBits::ZF | RflagsBits::SF | RflagsBits::OF;
    insn.flow_control() == FlowControl::Next && (insn.rflags_read() | insn.rflags_modified()) & ARITHMETIC == 0
}

fn is_zeros(insn: &Instruction) -> bool {
    insn.len() == 2 && insn.code() == iced_x86::Code::Add_rm8_r8 && insn.op1_register() == iced_x86::Register::AL
}

fn counts_by_constant(insn: &Instruction, operand: u32) -> bool {
    let bytes = match insn.op0_kind() {
        OpKind::Register => insn.op0_register().size(),
        _ => insn.memory_size().size(),
    };
    let mask = if bytes == 8 { 0x3f } else { 0x1f };
    insn.op_kind(operand) != OpKind::Register && insn.try_immediate(operand).is_ok_and(|n| n & mask != 0)
}
