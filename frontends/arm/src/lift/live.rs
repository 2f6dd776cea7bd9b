//! Which flags an exit leaves live: a look at the first instructions of its successor.
//!
//! Most code sets the flags anew before it reads them, so that the region before need not produce them. An instruction
//! that is not known here ends the search with every flag live. Faults on the way do not count as readers, see "Flags
//! are values" in the architecture notes.

use super::alu::{Alu, only_flags};
use super::conditional::condition;
use crate::decode::{Insn, Reader, a32, decode_a32, decode_thumb, t16, t32};
use isamorph_guest::CodeSource;
use isamorph_ir::{ExitKind, FlagSet, Region};

/// Instructions to look at.
const HORIZON: u32 = 6;

/// Narrows the live flags of exits to known places.
pub(super) fn narrow_exits(region: &mut Region, code: &dyn CodeSource) {
    let mut known: Vec<(u64, FlagSet)> = Vec::new();
    let mut live_at = |pc: u64| match known.iter().find(|(at, _)| *at == pc) {
        Some((_, live)) => *live,
        None => {
            let live = search(code, pc);
            known.push((pc, live));
            live
        }
    };
    for exit in &mut region.exits {
        match exit.kind {
            ExitKind::Direct { pc } => exit.live_flags = live_at(pc),
            ExitKind::Call { pc, ret } => {
                exit.live_flags = live_at(pc);
                exit.ret_flags = live_at(ret);
            }
            ExitKind::IndirectCall { ret, .. } => exit.ret_flags = live_at(ret),
            _ => {}
        }
    }
}

/// The flags that code at `pc` may read before it writes them.
fn search(code: &dyn CodeSource, pc: u64) -> FlagSet {
    let (mut live, mut pending) = (FlagSet::empty(), FlagSet::all());
    let (mut at, thumb) = (pc as u32 & !1, pc & 1 != 0);
    let mut reader = Reader::new(code);
    for _ in 0..HORIZON {
        let Ok((word, len)) = reader.fetch(at, thumb) else { break };
        let insn = if thumb { decode_thumb(word) } else { decode_a32(word) };
        let Some(effect) = effect(insn) else { break };
        live |= pending & effect.reads;
        pending -= effect.kills;
        if pending.is_empty() {
            break;
        }
        at = at.wrapping_add(len);
    }
    // What is still pending at the end of the search, or of what can be fetched, may be read by anything.
    live | pending
}

/// What an instruction that goes on to the next one does with the flags.
struct Effect {
    reads: FlagSet,
    kills: FlagSet,
}

const NOTHING: Option<Effect> = Some(Effect { reads: FlagSet::empty(), kills: FlagSet::empty() });

fn effect(insn: Insn) -> Option<Effect> {
    match insn {
        Insn::A32(insn) => {
            let effect = a32_effect(insn)?;
            // A condition reads flags, and an instruction that may not be executed sets none for sure.
            Some(match condition(insn.word >> 28) {
                None => effect,
                Some(cond) => Effect { reads: effect.reads | cond.reads(), kills: FlagSet::empty() },
            })
        }
        Insn::T16(insn) => t16_effect(insn),
        Insn::T32(insn) => t32_effect(insn),
        _ => None,
    }
}

/// The effect of an operation; `carry_out` if its operand comes out of a shifter that has a carry.
fn data(alu: Alu, s: bool, carry_out: bool, reads_carry: bool) -> Option<Effect> {
    let carry = if reads_carry { FlagSet::C } else { FlagSet::empty() };
    let nothing = FlagSet::empty();
    let logical_kills = FlagSet::all() - FlagSet::O - if carry_out { nothing } else { FlagSet::C };
    let (reads, kills) = match alu {
        Alu::Add | Alu::Sub | Alu::Rsb => (nothing, FlagSet::all()),
        Alu::Adc | Alu::Sbc | Alu::Rsc => (FlagSet::C, FlagSet::all()),
        Alu::Cmp | Alu::Cmn => return Some(Effect { reads: carry, kills: FlagSet::all() }),
        Alu::Tst | Alu::Teq => return Some(Effect { reads: carry, kills: logical_kills }),
        _ => (nothing, logical_kills),
    };
    Some(Effect { reads: reads | carry, kills: if s { kills } else { nothing } })
}

fn a32_effect(insn: a32::Insn) -> Option<Effect> {
    use a32::Kind as K;
    let word = insn.word;
    let (op, s, rd) = (word >> 21 & 15, word & 1 << 20 != 0, word >> 12 & 15);
    match insn.kind {
        // An all-zero encoding (andeq r0, r0, r0) is more likely memory that has no code yet.
        K::DataReg if word == 0 => None,
        K::DataImm | K::DataReg | K::DataShiftReg if rd == 15 && !only_flags(op) => None,
        K::DataImm => data(Alu::of_a32(op), s, word >> 8 & 15 != 0, false),
        // A shift by a register may be by 0, and then keeps the carry.
        K::DataShiftReg => data(Alu::of_a32(op), s, false, false),
        K::DataReg => {
            let (kind, imm5) = (word >> 5 & 3, word >> 7 & 31);
            data(Alu::of_a32(op), s, kind != 0 || imm5 != 0, kind == 3 && imm5 == 0)
        }
        K::LdstImm | K::LdstReg if rd == 15 && s => None,
        K::LdstImm | K::Movw | K::Movt | K::ExtraImm | K::ExtraReg | K::Extend | K::Mls | K::Clz => NOTHING,
        K::LdstReg if word >> 5 & 3 != 3 => NOTHING,
        K::Mul | K::Mla | K::MulLong if !s => NOTHING,
        K::BitExtract | K::BitInsert | K::Rev => NOTHING,
        K::Block if !(s && word & 1 << 15 != 0) => NOTHING,
        _ => None,
    }
}

fn t16_effect(insn: t16::Insn) -> Option<Effect> {
    use t16::Kind as K;
    let word = insn.word;
    match insn.kind {
        // An all-zero encoding (movs r0, r0) is more likely memory that has no code yet.
        K::ShiftImm if word == 0 => None,
        K::ShiftImm => data(Alu::Mov, true, word >> 6 & 0x7f != 0, false),
        K::AddSubReg | K::AddSubImm3 => data(Alu::Add, true, false, false),
        K::Imm8Ops => data([Alu::Mov, Alu::Cmp, Alu::Add, Alu::Sub][(word >> 11 & 3) as usize], true, false, false),
        K::Data => match word >> 6 & 15 {
            5 | 6 => data(Alu::Adc, true, false, false),
            9..=11 => data(Alu::Cmp, true, false, false),
            _ => data(Alu::Mov, true, false, false),
        },
        K::CmpHi => data(Alu::Cmp, true, false, false),
        K::AddHi | K::MovHi if word & 0x87 != 0x87 => NOTHING,
        K::LdrLit | K::LdstReg | K::LdstImm | K::LdstHalf | K::LdstSp | K::Adr | K::AddSpReg => NOTHING,
        K::AddSubSp | K::Extend | K::Push | K::Rev | K::Block | K::Cbz => NOTHING,
        K::Pop if word & 1 << 8 == 0 => NOTHING,
        _ => None,
    }
}

fn t32_effect(insn: t32::Insn) -> Option<Effect> {
    use t32::Kind as K;
    let word = insn.word;
    let (op, s, rn, rd) = (word >> 21 & 15, word & 1 << 20 != 0, word >> 16 & 15, word >> 8 & 15);
    let load = s;
    let rt = word >> 12 & 15;
    match insn.kind {
        K::DataImm => {
            let rotated = word >> 26 & 1 != 0 || word >> 14 & 1 != 0;
            data(Alu::of_t32(op, s, rn, rd)?, s, rotated, false)
        }
        K::DataReg if op != 6 => {
            let (kind, imm5) = (word >> 4 & 3, word >> 10 & 0x1c | word >> 6 & 3);
            data(Alu::of_t32(op, s, rn, rd)?, s, kind != 0 || imm5 != 0, kind == 3 && imm5 == 0)
        }
        K::AddWide | K::SubWide | K::Movw | K::Movt | K::BitExtract | K::BitInsert => NOTHING,
        K::Extend | K::Clz | K::Reverse | K::Mla | K::Mls | K::MulLong | K::Divide => NOTHING,
        K::LdstImm12 | K::LdstImm8 | K::LdstReg if !(load && rt == 15) => NOTHING,
        K::Dual | K::DualPost => NOTHING,
        K::BlockUp | K::BlockDown if !(load && word & 1 << 15 != 0) => NOTHING,
        _ => None,
    }
}
