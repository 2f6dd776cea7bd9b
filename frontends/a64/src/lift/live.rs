//! Which flags an exit leaves live: a look at the first instructions of its successor.
//!
//! Most code sets the flags anew before it reads them, so that the region before need not produce them. Faults on the
//! way do not count as readers, see "Flags are values" in the architecture notes.

use super::branch::{target, target26};
use super::condition;
use super::system::register::NZCV;
use crate::decode::a64::{Kind, decode};
use crate::decode::{Next, walk};
use isamorph_guest::CodeSource;
use isamorph_ir::{ExitKind, FlagSet, Region};

/// Instructions to look at, on all ways together. Few instructions of A64 write flags, so that it takes more of them
/// than on x86 to find one.
const HORIZON: u32 = 20;
/// Conditional branches of which both ways are looked at.
const FORKS: usize = 3;

/// Narrows the live flags of exits to known places.
pub(super) fn narrow_exits(region: &mut Region, code: &dyn CodeSource) {
    let mut lookahead = Lookahead { code, known: Vec::new() };
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
        let mut live = FlagSet::empty();
        let mut ways = [(pc, FlagSet::all()); FORKS + 1];
        let (mut found, mut done, mut count) = (1, 0, 0);
        while done < found && live != FlagSet::all() {
            let (start, mut pending) = ways[done];
            done += 1;
            let walked = walk(self.code, start, |at, word| {
                count += 1;
                let Some(effect) = effect(at, word).filter(|_| count <= HORIZON) else { return Next::Stop };
                live |= pending & effect.reads;
                pending -= effect.kills;
                if pending.is_empty() {
                    return Next::Stop;
                }
                match effect.goes {
                    Goes::On => Next::Continue,
                    Goes::To(to) => Next::Goto(to),
                    Goes::Either(to) if found <= FORKS => {
                        ways[found] = (to, pending);
                        found += 1;
                        Next::Continue
                    }
                    Goes::Either(_) => Next::Stop,
                }
            });
            // What is still pending at the end of the search, or of what can be fetched, may be read by anything.
            let (Ok(()) | Err(_)) = walked;
            live |= pending;
        }
        live
    }
}

/// What an instruction does with the flags.
struct Effect {
    reads: FlagSet,
    kills: FlagSet,
    goes: Goes,
}

/// Where an instruction goes.
enum Goes {
    /// To the next one.
    On,
    /// Always elsewhere.
    To(u64),
    /// To the next one or elsewhere.
    Either(u64),
}

/// The effect of an instruction; nothing if it is not known, or goes somewhere that is not.
fn effect(pc: u64, word: u32) -> Option<Effect> {
    let insn = decode(word)?;
    let (none, all) = (FlagSet::empty(), FlagSet::all());
    let kills_if = |kills: bool| (none, if kills { all } else { none });
    // The condition is at the same place wherever there is one besides branches.
    let reads = condition(word >> 12 & 15).map_or(none, |c| c.reads());
    let (reads, kills) = match insn.kind {
        Kind::B | Kind::Bl => {
            return Some(Effect { reads: none, kills: none, goes: Goes::To(target26(pc, word & 0x3ff_ffff)) });
        }
        Kind::BCond | Kind::Cbz | Kind::Cbnz => {
            let reads = condition(word & 15).filter(|_| insn.kind == Kind::BCond).map_or(none, |c| c.reads());
            return Some(Effect { reads, kills: none, goes: Goes::Either(target(pc, word >> 5 & 0x7_ffff, 19)) });
        }
        Kind::Tbz | Kind::Tbnz => {
            return Some(Effect { reads: none, kills: none, goes: Goes::Either(target(pc, word >> 5 & 0x3fff, 14)) });
        }
        Kind::Br | Kind::Blr | Kind::Ret | Kind::Svc | Kind::Brk | Kind::Udf => return None,
        Kind::AddSubImm | Kind::AddSubShift | Kind::AddSubExt => kills_if(word >> 29 & 1 == 1),
        Kind::LogicalImm | Kind::LogicalShift => kills_if(word >> 29 & 3 == 3),
        Kind::AddSubCarry => (FlagSet::C, if word >> 29 & 1 == 1 { all } else { none }),
        Kind::Fcmp | Kind::FcmpZero => (none, all),
        Kind::CondCmpReg | Kind::CondCmpImm | Kind::Fccmp => (reads, all),
        Kind::CondSelect | Kind::Fcsel => (reads, none),
        Kind::Rmif | Kind::Setf8 | Kind::Setf16 | Kind::Cfinv | Kind::Axflag | Kind::Xaflag => (all, none),
        Kind::Mrs | Kind::Msr if word >> 5 & 0xffff == NZCV => (all, none),
        kind if !kind.row().implemented() => return None,
        _ => (none, none),
    };
    Some(Effect { reads, kills, goes: Goes::On })
}
