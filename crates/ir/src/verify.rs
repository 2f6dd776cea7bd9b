//! The verifier: whether a region says only what the op table allows.
//!
//! Front ends and passes are checked with it in tests and debug builds; back ends and the interpreter rely on it.

use crate::machine::Helper;
use crate::op::{Arg, Effects, ImmKind, Op, Res};
use crate::region::{ExitKind, Inst, Region, Value};
use crate::rules;
use crate::state::RegTable;
use crate::text::register_type;
use crate::types::Type;

/// What is wrong with a region.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instruction {inst}: {message}")]
pub struct VerifyError {
    /// Index of the instruction.
    pub inst: usize,
    /// What is wrong with it.
    pub message: String,
}

type Check = Result<(), String>;

/// Checks a region.
///
/// # Errors
/// The first violation.
pub fn verify(region: &Region, table: &RegTable, helpers: &[Helper]) -> Result<(), VerifyError> {
    let mut at = 0;
    for (number, block) in region.blocks.iter().enumerate() {
        let (start, end) = (block.start as usize, block.end as usize);
        if start != at || end <= start || end > region.insts.len() {
            return Err(VerifyError { inst: at, message: format!("block {number} is {start}..{end}, after {at}") });
        }
        for inst in start..end {
            let verifier = Verifier { region, table, helpers, start, index: inst, block: number };
            verifier.inst(inst + 1 == end).map_err(|message| VerifyError { inst, message })?;
        }
        at = end;
    }
    if at != region.insts.len() || at == 0 {
        return Err(VerifyError { inst: at, message: "the region does not end in a block".into() });
    }
    Ok(())
}

/// Checks that in every guest instruction the ops that may fault come before the first register write, so that a fault
/// finds the state from before the instruction.
///
/// Exceptions: helpers leave the state as the manual says when they fail; the x87 ops are a write of their own, and an
/// instruction may continue with one (`fldenv` after its address was written back).
///
/// # Errors
/// The first op that may fault after a write.
pub fn check_write_order(region: &Region) -> Result<(), VerifyError> {
    let mut written = None;
    for (index, inst) in region.insts.iter().enumerate() {
        match inst.op {
            Op::Insn => written = None,
            Op::Set if inst.reg().as_local().is_none() => written = written.or(Some(index)),
            Op::Call | Op::X87 | Op::X87Mem | Op::X87Flags | Op::X87Cmov => {}
            op if op.effects().contains(Effects::FAULT) => {
                if let Some(write) = written {
                    let message = format!("`{op}` may fault after the write at {write}");
                    return Err(VerifyError { inst: index, message });
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn ensure(condition: bool, message: impl FnOnce() -> String) -> Check {
    if condition { Ok(()) } else { Err(message()) }
}

struct Verifier<'a> {
    region: &'a Region,
    table: &'a RegTable,
    helpers: &'a [Helper],
    /// First instruction of the block.
    start: usize,
    /// The instruction.
    index: usize,
    /// Number of the block.
    block: usize,
}

impl Verifier<'_> {
    fn inst(&self, last: bool) -> Check {
        let inst = &self.region.insts[self.index];
        let ends = inst.op.effects().contains(Effects::END);
        ensure(ends == last, || match last {
            true => "the block does not end with a terminator".into(),
            false => format!("terminator `{}` in the middle of a block", inst.op),
        })?;
        self.result(inst)?;
        ensure(rules::attribute(inst), || format!("attribute {:#x} is not one of `{}`", inst.attr, inst.op))?;
        self.operands(inst)?;
        self.immediate(inst)?;
        self.projection(inst)
    }

    fn result(&self, inst: &Inst) -> Check {
        // `store` and `set` carry the type of their operand; other ops without a result have none.
        let typed = inst.op.info().res != Res::No || matches!(inst.op, Op::Store | Op::Set);
        ensure(if typed { rules::types(inst.op).contains(&inst.ty) } else { inst.ty == Type::None }, || {
            format!("`{}` cannot have type {}", inst.op, inst.ty)
        })
    }

    fn operands(&self, inst: &Inst) -> Check {
        let args = inst.op.info().args;
        for (number, value) in inst.args.iter().enumerate() {
            let Some(arg) = args.get(number) else {
                ensure(value.is_none(), || format!("operand {number} of `{}` is one too many", inst.op))?;
                continue;
            };
            if value.is_none() {
                self.missing(inst, *arg, number)?;
                continue;
            }
            let ty = self.value(*value)?;
            let fits = match arg.expected(inst.ty) {
                Some(expected) => ty == expected,
                None => rules::any_operand(inst, number, ty),
            };
            ensure(fits, || format!("operand {number} of `{}.{}` cannot be {ty}", inst.op, inst.ty))?;
        }
        Ok(())
    }

    /// An operand that is not there: the arguments of a call end anywhere; old flags may be left out where a constant
    /// count makes sure that they are not wanted.
    fn missing(&self, inst: &Inst, arg: Arg, number: usize) -> Check {
        let mask = if inst.ty == Type::I64 { 63 } else { 31 };
        let constant_count = |count: Value| self.region.const_bits(count).is_some_and(|bits| bits & mask != 0);
        let allowed = match (arg, inst.op) {
            (Arg::OptFl, _) => number > 0 && constant_count(inst.args[number - 1]),
            (_, Op::Call) => inst.args[number..].iter().all(|v| v.is_none()),
            _ => false,
        };
        ensure(allowed, || format!("operand {number} of `{}` is missing", inst.op))
    }

    /// The type of a value that is used here: it is a constant, or defined earlier in the block.
    fn value(&self, value: Value) -> Result<Type, String> {
        if let Some(constant) = value.as_const() {
            let c = self.region.consts.get(constant).ok_or_else(|| format!("no constant {constant}"))?;
            let fits = c.ty.bits() >= 128 || c.bits >> c.ty.bits() == 0;
            ensure(fits && c.ty.bytes() <= 16, || format!("constant {:#x} does not fit into {}", c.bits, c.ty))?;
            return Ok(c.ty);
        }
        let defined = value.as_inst().filter(|at| (self.start..self.index).contains(at));
        let ty = defined.map_or(Type::None, |at| self.region.insts[at].result_type());
        ensure(ty != Type::None, || format!("v{} is not defined earlier in the block", value.0))?;
        Ok(ty)
    }

    fn immediate(&self, inst: &Inst) -> Check {
        let index = inst.imm as usize;
        let in_table = |len: usize, what: &str| ensure(index < len, || format!("no {what} {index}"));
        match inst.op.info().imm {
            ImmKind::No => ensure(index == 0, || format!("`{}` has no immediate", inst.op)),
            ImmKind::U8 | ImmKind::Fp => {
                let operands = [self.region.value_type(inst.args[0]), self.region.value_type(inst.args[1])];
                ensure(rules::small_imm(inst, operands), || {
                    format!("immediate {index} of `{}` is out of range", inst.op)
                })
            }
            ImmKind::Addr => in_table(self.region.addrs.len(), "address").and_then(|()| self.address(index)),
            ImmKind::Reg => self.register(inst),
            ImmKind::Exit => in_table(self.region.exits.len(), "exit").and_then(|()| self.exit(index)),
            ImmKind::Helper => in_table(self.helpers.len(), "helper"),
            ImmKind::Insn => in_table(self.region.insns.len(), "guest instruction"),
            ImmKind::Block => {
                in_table(self.region.blocks.len(), "block")?;
                let falls_through = inst.op == Op::Branch;
                ensure(!falls_through || self.block + 1 < self.region.blocks.len(), || {
                    "no block follows the branch".into()
                })
            }
        }
    }

    fn register(&self, inst: &Inst) -> Check {
        let id = inst.imm;
        let known = u16::try_from(id).ok().and_then(|_| register_type(self.region, self.table, inst.reg()));
        let ty = known.ok_or_else(|| format!("no register {id:#x}"))?;
        let value = if inst.op == Op::Set { self.value(inst.args[0])? } else { inst.ty };
        ensure(ty == inst.ty && ty == value, || format!("the register is {ty}, not {value}"))
    }

    fn address(&self, index: usize) -> Check {
        let addr = &self.region.addrs[index];
        let width = self.table.addr_type();
        for value in addr.values() {
            let ty = self.value(value)?;
            ensure(ty == width, || format!("addresses are made of {width}, not {ty}"))?;
        }
        ensure(addr.scale < 4, || format!("scale {} is above 3", addr.scale))
    }

    fn exit(&self, index: usize) -> Check {
        let Some(target) = self.region.exits[index].kind.target() else { return Ok(()) };
        ensure(!target.is_none(), || "the exit has no target".into())?;
        let ty = self.value(target)?;
        // Code with narrow addresses may call code with wide ones.
        let wide = matches!(self.region.exits[index].kind, ExitKind::ResyncTo { .. }) && ty == Type::I64;
        ensure(ty == self.table.addr_type() || wide, || format!("an exit to {ty}"))
    }

    /// `flags`, `flagsk` and `second` look at ops that have what they ask for.
    fn projection(&self, inst: &Inst) -> Check {
        let wanted = match inst.op {
            Op::Flags | Op::FlagsKeep => Effects::FLAGS,
            Op::Second => Effects::SECOND,
            _ => return Ok(()),
        };
        let producer = inst.args[0].as_inst().map(|at| &self.region.insts[at]);
        let has = producer.is_some_and(|p| p.op.effects().contains(wanted));
        ensure(has, || format!("`{}` of something that has none", inst.op))?;
        ensure(inst.op != Op::Second || producer.is_some_and(|p| p.ty == inst.ty), || {
            "`second` has the type of the first result".into()
        })
    }
}
