//! From regions to text.

use super::{implied_operand, implied_type, register_type};
use crate::X87Op;
use crate::machine::Helper;
use crate::op::{AttrKind, ImmKind};
use crate::region::{Addr, Exit, ExitKind, Inst, Region, Value};
use crate::state::{RegId, RegTable};
use crate::types::{AtomicOp, Cond, FlagSet, Lane, MemAttr, Type};
use std::fmt::Write;

/// Writes a region as text. Anything that is out of range prints as a number or `?`, so that broken regions can be
/// looked at.
pub fn print(region: &Region, table: &RegTable, helpers: &[Helper]) -> String {
    let mut printer = Printer { region, table, helpers, addrs: AddrNames::new(region), out: String::new() };
    printer.region();
    printer.out
}

/// Which addresses are shared, and in what order addresses are first used.
struct AddrNames {
    names: Vec<Option<usize>>,
    printed: Vec<bool>,
}

impl AddrNames {
    fn new(region: &Region) -> Self {
        let mut uses = vec![0; region.addrs.len()];
        let (mut names, mut next) = (vec![None; region.addrs.len()], 0);
        let used = || region.insts.iter().filter_map(Inst::addr).filter(|addr| *addr < region.addrs.len());
        used().for_each(|addr| uses[addr] += 1);
        for addr in used() {
            if uses[addr] > 1 && names[addr].is_none() {
                names[addr] = Some(next);
                next += 1;
            }
        }
        AddrNames { names, printed: vec![false; region.addrs.len()] }
    }
}

struct Printer<'a> {
    region: &'a Region,
    table: &'a RegTable,
    helpers: &'a [Helper],
    addrs: AddrNames,
    out: String,
}

impl Printer<'_> {
    fn region(&mut self) {
        let region = self.region;
        self.put(format_args!("region {:#x}\n", region.pc));
        if !region.locals.is_empty() {
            let types: Vec<_> = region.locals.iter().map(|ty| ty.text()).collect();
            self.put(format_args!("locals {}\n", types.join(" ")));
        }
        for (index, inst) in region.insts.iter().enumerate() {
            for (number, block) in region.blocks.iter().enumerate() {
                if block.start as usize == index {
                    self.put(format_args!("block {number}\n"));
                }
            }
            self.inst(index, inst);
            self.out.push('\n');
        }
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.out.write_fmt(text);
    }

    fn inst(&mut self, index: usize, inst: &Inst) {
        let info = inst.op.info();
        self.out.push_str("  ");
        if inst.result_type() != Type::None {
            self.put(format_args!("v{index} = "));
        }
        self.out.push_str(info.text);
        if inst.ty != implied_type(self.region, self.table, inst.op, inst.imm) {
            self.put(format_args!(".{}", inst.ty));
        }
        self.attribute(inst);
        let mut operands = Operands::default();
        if matches!(info.imm, ImmKind::Reg | ImmKind::Addr | ImmKind::Helper | ImmKind::Insn) {
            operands.next(&mut self.out);
            self.immediate(inst);
        }
        let used = inst.args.iter().rposition(|v| !v.is_none()).map_or(0, |last| last + 1);
        for (number, value) in inst.args[..used].iter().enumerate() {
            operands.next(&mut self.out);
            self.value(*value, implied_operand(inst, number));
        }
        let trailing = match info.imm {
            ImmKind::Fp => inst.imm != 0,
            kind => matches!(kind, ImmKind::U8 | ImmKind::Exit | ImmKind::Block),
        };
        if trailing {
            operands.next(&mut self.out);
            self.immediate(inst);
        }
    }

    fn attribute(&mut self, inst: &Inst) {
        let name = match inst.op.info().attr {
            AttrKind::Na => return,
            AttrKind::Cc => Cond::from_index(inst.attr).map(Cond::text),
            AttrKind::La => Lane::from_index(inst.attr).map(Lane::text),
            AttrKind::At => AtomicOp::from_index(inst.attr).map(AtomicOp::text),
            AttrKind::Fs => return self.put(format_args!(".{}", FlagSet::from_attr(inst.attr).letters())),
            AttrKind::Me => return self.access(inst.mem()),
            AttrKind::X8 => {
                let name = X87Op::from_index(inst.attr).map_or("?", X87Op::text);
                return self.put(format_args!(" {name}"));
            }
        };
        self.put(format_args!(".{}", name.unwrap_or("?")));
    }

    fn access(&mut self, mem: MemAttr) {
        self.put(format_args!(" m{}", mem.bytes()));
        let letters = [(mem.is_signed(), 's'), (mem.is_aligned(), 'a'), (mem.is_big_endian(), 'b')];
        self.out.extend(letters.into_iter().filter(|(on, _)| *on).map(|(_, letter)| letter));
    }

    fn immediate(&mut self, inst: &Inst) {
        let (region, index) = (self.region, inst.imm as usize);
        match inst.op.info().imm {
            ImmKind::No => {}
            ImmKind::U8 => self.put(format_args!("#{index}")),
            ImmKind::Fp => self.put(format_args!("#{index:#x}")),
            ImmKind::Block => self.put(format_args!("block {index}")),
            ImmKind::Reg => self.register(inst.reg()),
            ImmKind::Helper => match self.helpers.get(index) {
                Some(helper) => self.out.push_str(helper.name),
                None => self.put(format_args!("{index}")),
            },
            ImmKind::Insn => match region.insns.get(index) {
                Some(insn) => self.put(format_args!("{:#x} {}", insn.pc, insn.len)),
                None => self.out.push('?'),
            },
            ImmKind::Addr => self.address(index),
            ImmKind::Exit => match region.exits.get(index) {
                Some(exit) => self.exit(exit),
                None => self.out.push('?'),
            },
        }
    }

    fn register(&mut self, reg: RegId) {
        match reg.as_local() {
            Some(local) => self.put(format_args!("%{local}")),
            None if register_type(self.region, self.table, reg).is_some() => {
                self.out.push_str(self.table.def(reg).name);
            }
            None => self.put(format_args!("{}", reg.0)),
        }
    }

    fn address(&mut self, index: usize) {
        let Some(addr) = self.region.addrs.get(index) else { return self.out.push('?') };
        if let Some(name) = self.addrs.names[index] {
            self.put(format_args!("a{name}"));
            if self.addrs.printed[index] {
                return;
            }
            self.addrs.printed[index] = true;
            self.out.push('=');
        }
        self.tree(addr);
    }

    fn tree(&mut self, addr: &Addr) {
        self.out.push('[');
        if !addr.seg.is_none() {
            self.out.push_str("seg ");
            self.value(addr.seg, None);
            self.out.push_str(": ");
        }
        let mut sum = false;
        if !addr.base.is_none() {
            self.value(addr.base, None);
            sum = true;
        }
        if !addr.index.is_none() {
            self.out.push_str(if sum { " + " } else { "" });
            self.value(addr.index, None);
            self.put(format_args!("<<{}", addr.scale));
            sum = true;
        }
        match (sum, addr.disp) {
            (true, 0) => {}
            (true, disp) => {
                let sign = if disp < 0 { '-' } else { '+' };
                self.put(format_args!(" {sign} {}", Number(u128::from(disp.unsigned_abs()), Type::I32)));
            }
            (false, disp) => self.put(format_args!("{disp}")),
        }
        self.out.push(']');
    }

    fn exit(&mut self, exit: &Exit) {
        let address = Some(self.table.addr_type());
        match exit.kind {
            ExitKind::Direct { pc } => self.put(format_args!("direct {pc:#x}")),
            ExitKind::Call { pc, ret } => self.put(format_args!("call {pc:#x} ret {ret:#x}")),
            ExitKind::IndirectCall { target, ret } => {
                self.out.push_str("icall ");
                self.value(target, address);
                self.put(format_args!(" ret {ret:#x}"));
            }
            ExitKind::Return { target } => {
                self.out.push_str("return ");
                self.value(target, address);
            }
            ExitKind::Indirect { target } => {
                self.out.push_str("indirect ");
                self.value(target, address);
            }
            ExitKind::Syscall { next, code } => self.put(format_args!("syscall {next:#x} code {code}")),
            ExitKind::Exception { pc, code, arg } => {
                self.put(format_args!("exception {pc:#x} code {code} arg {arg}"));
            }
            ExitKind::Resync { next } => self.put(format_args!("resync {next:#x}")),
            ExitKind::ResyncTo { target } => {
                self.out.push_str("resync_to ");
                self.value(target, address);
            }
            ExitKind::Halt { next } => self.put(format_args!("halt {next:#x}")),
        }
        if exit.live_flags != FlagSet::all() {
            self.put(format_args!(" live={}", exit.live_flags.letters()));
        }
        if exit.ret_flags != FlagSet::all() {
            self.put(format_args!(" retlive={}", exit.ret_flags.letters()));
        }
    }

    fn value(&mut self, value: Value, implied: Option<Type>) {
        if let Some(index) = value.as_inst() {
            return self.put(format_args!("v{index}"));
        }
        match value.as_const().and_then(|index| self.region.consts.get(index)) {
            Some(c) if implied == Some(c.ty) => self.put(format_args!("{}", Number(c.bits, c.ty))),
            Some(c) => self.put(format_args!("{}:{}", Number(c.bits, c.ty), c.ty)),
            None => self.out.push(if value.is_none() { '_' } else { '?' }),
        }
    }
}

/// Puts a space before the first operand and a comma between the others.
#[derive(Default)]
struct Operands(bool);

impl Operands {
    fn next(&mut self, out: &mut String) {
        out.push_str(if self.0 { ", " } else { " " });
        self.0 = true;
    }
}

/// The bits of a constant: small numbers and small negative ones in decimal, others in hexadecimal.
struct Number(u128, Type);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Number(bits, ty) = *self;
        let negative = if ty.is_int() { (bits as u64).wrapping_neg() & ty.mask() } else { u64::MAX };
        match bits {
            0..=99 => write!(f, "{bits}"),
            _ if (1..=99).contains(&negative) => write!(f, "-{negative}"),
            _ => write!(f, "{bits:#x}"),
        }
    }
}
