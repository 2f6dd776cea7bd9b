//! From text to regions.

use super::{implied_operand, implied_type};
use crate::X87Op;
use crate::machine::Helper;
use crate::op::{AttrKind, ImmKind, Op};
use crate::region::{Addr, Block, Const, Exit, ExitKind, GuestInsn, Inst, Region, Value};
use crate::state::{RegId, RegTable};
use crate::types::{AtomicOp, Cond, FlagSet, Lane, MemAttr, Type};
use std::collections::HashMap;

/// Why a text is not a region.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// Line number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

type Result<T, E = String> = std::result::Result<T, E>;

/// Reads a region. It is well-formed text, not necessarily a valid region: that is for [`crate::verify`].
///
/// # Errors
/// The first line that cannot be understood.
pub fn parse(text: &str, table: &RegTable, helpers: &[Helper]) -> Result<Region, ParseError> {
    let mut parser =
        Parser { table, helpers, region: Region::default(), values: HashMap::new(), addrs: HashMap::new() };
    for (number, line) in text.lines().enumerate() {
        let code = line.split(';').next().unwrap_or_default();
        let mut cursor = Cursor(code.trim());
        if !cursor.is_empty() {
            let parsed = parser.line(&mut cursor).and_then(|()| cursor.finish());
            parsed.map_err(|message| ParseError { line: number + 1, message })?;
        }
    }
    Ok(parser.region)
}

/// What is left of a line.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    fn finish(&self) -> Result<()> {
        if self.is_empty() { Ok(()) } else { Err(format!("unexpected `{}`", self.0)) }
    }
    /// Skips `token` if it comes next.
    fn eat(&mut self, token: &str) -> bool {
        match self.0.strip_prefix(token) {
            Some(rest) => {
                self.0 = rest.trim_start();
                true
            }
            None => false,
        }
    }
    fn expect(&mut self, token: &str) -> Result<()> {
        if self.eat(token) { Ok(()) } else { Err(format!("expected `{token}` at `{}`", self.0)) }
    }
    fn peek(&self) -> &'a str {
        let end = self.0.find(|c: char| c.is_whitespace() || ",[]:=+<".contains(c)).unwrap_or(self.0.len());
        &self.0[..end]
    }
    /// Skips the whole word `word` if it comes next.
    fn eat_word(&mut self, word: &str) -> bool {
        self.peek() == word && self.eat(word)
    }
    fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.eat_word(word) { Ok(()) } else { Err(format!("expected `{word}` at `{}`", self.0)) }
    }
    fn word(&mut self) -> Result<&'a str> {
        let word = self.peek();
        if word.is_empty() {
            return Err(format!("expected a word at `{}`", self.0));
        }
        self.0 = self.0[word.len()..].trim_start();
        Ok(word)
    }
    fn number<T: TryFrom<u64>>(&mut self) -> Result<T> {
        let word = self.word()?;
        let bits = u64::try_from(number(word)?).map_err(|_| format!("`{word}` is too big"))?;
        T::try_from(bits).map_err(|_| format!("`{word}` is too big"))
    }
}

/// A decimal or hexadecimal number without sign.
fn number(word: &str) -> Result<u128> {
    let parsed = match word.strip_prefix("0x") {
        Some(digits) => u128::from_str_radix(digits, 16),
        None => word.parse(),
    };
    parsed.map_err(|_| format!("`{word}` is not a number"))
}

/// An attribute that follows the op's name: its name, and its encoding.
fn head_attribute(kind: AttrKind, name: &str) -> Option<u8> {
    match kind {
        AttrKind::Cc => Cond::from_text(name).map(|m| m as u8),
        AttrKind::La => Lane::from_text(name).map(|m| m as u8),
        AttrKind::At => AtomicOp::from_text(name).map(|m| m as u8),
        AttrKind::Fs => FlagSet::from_letters(name).map(FlagSet::to_attr),
        AttrKind::Na | AttrKind::Me | AttrKind::X8 => None,
    }
}

/// A memory access such as `m4sa`.
fn access(word: &str) -> Option<MemAttr> {
    let rest = word.strip_prefix('m')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let bytes: u32 = rest[..digits].parse().ok()?;
    if !bytes.is_power_of_two() || bytes > 32 {
        return None;
    }
    rest[digits..].chars().try_fold(MemAttr::new(bytes), |mem, letter| match letter {
        's' => Some(mem.signed()),
        'a' => Some(mem.aligned()),
        'b' => Some(mem.big_endian()),
        _ => None,
    })
}

struct Parser<'t> {
    table: &'t RegTable,
    helpers: &'t [Helper],
    region: Region,
    values: HashMap<String, Value>,
    addrs: HashMap<String, u32>,
}

impl Parser<'_> {
    fn line(&mut self, c: &mut Cursor<'_>) -> Result<()> {
        if c.eat_word("region") {
            self.region.pc = c.number()?;
        } else if c.eat_word("locals") {
            while !c.is_empty() {
                let ty = c.word()?;
                self.region.locals.push(Type::from_text(ty).ok_or_else(|| format!("no type `{ty}`"))?);
            }
        } else if c.eat_word("block") {
            let number: usize = c.number()?;
            if number != self.region.blocks.len() {
                return Err(format!("this is block {}", self.region.blocks.len()));
            }
            self.open_block();
        } else {
            self.inst(c)?;
        }
        Ok(())
    }

    fn open_block(&mut self) {
        let at = self.region.insts.len() as u32;
        self.region.blocks.push(Block { start: at, end: at });
    }

    fn inst(&mut self, c: &mut Cursor<'_>) -> Result<()> {
        if self.region.blocks.is_empty() {
            self.open_block();
        }
        let first = c.word()?;
        let (label, head) = if c.eat("=") { (Some(first), c.word()?) } else { (None, first) };
        let (mut inst, typed) = self.head(head)?;
        self.attribute_word(&mut inst, c)?;
        let mut separated = Separator::default();
        let kind = inst.op.info().imm;
        if matches!(kind, ImmKind::Reg | ImmKind::Addr | ImmKind::Helper | ImmKind::Insn) {
            separated.next(c)?;
            inst.imm = self.immediate(kind, c)?;
        }
        if !typed {
            inst.ty = implied_type(&self.region, self.table, inst.op, inst.imm);
        }
        for number in 0..inst.op.info().args.len() {
            if c.is_empty() {
                break;
            }
            separated.next(c)?;
            inst.args[number] = self.value(c, implied_operand(&inst, number))?;
        }
        let trailing = match kind {
            ImmKind::Fp => !c.is_empty(),
            kind => matches!(kind, ImmKind::U8 | ImmKind::Exit | ImmKind::Block),
        };
        if trailing {
            separated.next(c)?;
            inst.imm = self.immediate(kind, c)?;
        }
        self.define(label, inst)
    }

    fn define(&mut self, label: Option<&str>, inst: Inst) -> Result<()> {
        match (label, inst.result_type()) {
            (Some(label), Type::None) => return Err(format!("`{label}` would be nothing: no result")),
            (Some(label), _) if !label.starts_with('v') => return Err(format!("`{label}` does not start with `v`")),
            (Some(label), _) => {
                let value = Value::inst(self.region.insts.len());
                if self.values.insert(label.to_owned(), value).is_some() {
                    return Err(format!("`{label}` is defined twice"));
                }
            }
            (None, _) => {}
        }
        self.region.insts.push(inst);
        if let Some(block) = self.region.blocks.last_mut() {
            block.end = self.region.insts.len() as u32;
        }
        Ok(())
    }

    /// `op.type.attribute`; also tells whether there was a type.
    fn head(&self, head: &str) -> Result<(Inst, bool)> {
        let mut parts = head.split('.');
        let name = parts.next().unwrap_or_default();
        let op = Op::from_text(name).ok_or_else(|| format!("no op `{name}`"))?;
        let mut inst = Inst { op, ty: Type::None, attr: 0, args: [Value::NONE; 4], imm: 0 };
        let mut typed = false;
        for part in parts {
            if let Some(ty) = Type::from_text(part) {
                inst.ty = ty;
                typed = true;
            } else {
                inst.attr = head_attribute(op.info().attr, part)
                    .ok_or_else(|| format!("`{part}` is no type and no attribute of `{name}`"))?;
            }
        }
        Ok((inst, typed))
    }

    fn attribute_word(&self, inst: &mut Inst, c: &mut Cursor<'_>) -> Result<()> {
        inst.attr = match inst.op.info().attr {
            AttrKind::Me => {
                let word = c.word()?;
                access(word).ok_or_else(|| format!("`{word}` is no memory access"))?.0
            }
            AttrKind::X8 => {
                let word = c.word()?;
                X87Op::from_text(word).ok_or_else(|| format!("`{word}` is no x87 operation"))? as u8
            }
            _ => return Ok(()),
        };
        Ok(())
    }

    fn immediate(&mut self, kind: ImmKind, c: &mut Cursor<'_>) -> Result<u32> {
        match kind {
            ImmKind::No => Ok(0),
            ImmKind::U8 | ImmKind::Fp => c.expect("#").and_then(|()| c.number()),
            ImmKind::Block => c.expect_word("block").and_then(|()| c.number()),
            ImmKind::Reg => self.register(c.word()?),
            ImmKind::Helper => {
                let word = c.word()?;
                let known = self.helpers.iter().position(|h| h.name == word).map(|index| index as u32);
                known.or_else(|| word.parse().ok()).ok_or_else(|| format!("no helper `{word}`"))
            }
            ImmKind::Insn => {
                self.region.insns.push(GuestInsn { pc: c.number()?, len: c.number()? });
                Ok(self.region.insns.len() as u32 - 1)
            }
            ImmKind::Addr => self.address(c),
            ImmKind::Exit => {
                let exit = self.exit(c)?;
                self.region.exits.push(exit);
                Ok(self.region.exits.len() as u32 - 1)
            }
        }
    }

    fn register(&self, word: &str) -> Result<u32> {
        let unknown = || format!("no register `{word}`");
        if let Some(local) = word.strip_prefix('%') {
            return local.parse().map(|local| u32::from(RegId::local(local).0)).map_err(|_| unknown());
        }
        let known = self.table.by_name(word).map(|reg| u32::from(reg.0));
        known.or_else(|| word.parse::<u16>().ok().map(u32::from)).ok_or_else(unknown)
    }

    fn value(&mut self, c: &mut Cursor<'_>, implied: Option<Type>) -> Result<Value> {
        let word = c.word()?;
        if word == "_" {
            return Ok(Value::NONE);
        }
        if word.starts_with('v') {
            return self.values.get(word).copied().ok_or_else(|| format!("`{word}` is not defined"));
        }
        let (negative, digits) = word.strip_prefix('-').map_or((false, word), |digits| (true, digits));
        let bits = number(digits)?;
        // Only a type ends the constant after a colon; one before a space belongs to the address around it.
        let written = c.0.strip_prefix(':').and_then(|rest| Type::from_text(Cursor(rest).peek()));
        if let Some(ty) = written {
            c.eat(":");
            c.eat(ty.text());
        }
        let ty = written.or(implied).ok_or_else(|| format!("`{word}` needs a type, as in `{word}:i32`"))?;
        let mask = if ty.bits() >= 128 { u128::MAX } else { (1 << ty.bits()) - 1 };
        let bits = if negative { bits.wrapping_neg() & mask } else { bits };
        if bits & !mask != 0 {
            return Err(format!("`{word}` does not fit into {ty}"));
        }
        Ok(self.constant(Const { ty, bits }))
    }

    fn constant(&mut self, wanted: Const) -> Value {
        let consts = &mut self.region.consts;
        let index = consts.iter().position(|c| *c == wanted).unwrap_or_else(|| {
            consts.push(wanted);
            consts.len() - 1
        });
        Value::constant(index)
    }

    /// `[…]`, `a0=[…]`, or `a0` after that.
    fn address(&mut self, c: &mut Cursor<'_>) -> Result<u32> {
        if c.0.starts_with('[') {
            return self.tree(c);
        }
        let name = c.word()?;
        if c.eat("=") {
            let index = self.tree(c)?;
            self.addrs.insert(name.to_owned(), index);
            return Ok(index);
        }
        self.addrs.get(name).copied().ok_or_else(|| format!("address `{name}` is not defined"))
    }

    fn tree(&mut self, c: &mut Cursor<'_>) -> Result<u32> {
        let none = Value::NONE;
        let mut addr = Addr { base: none, index: none, scale: 0, disp: 0, seg: none };
        c.expect("[")?;
        if c.eat_word("seg") {
            addr.seg = self.value(c, None)?;
            c.expect(":")?;
        }
        let mut negative = false;
        loop {
            self.term(c, &mut addr, negative)?;
            if c.eat("]") {
                break;
            }
            negative = c.eat("-");
            if !negative {
                c.expect("+")?;
            }
        }
        self.region.addrs.push(addr);
        Ok(self.region.addrs.len() as u32 - 1)
    }

    /// One summand of an address: a plain number is the displacement, a value is the base, a shifted one the index.
    fn term(&mut self, c: &mut Cursor<'_>, addr: &mut Addr, negative: bool) -> Result<()> {
        let word = c.peek();
        let typed = c.0[word.len()..].starts_with(':');
        if !word.starts_with('v') && !typed {
            c.word()?;
            let (minus, digits) = word.strip_prefix('-').map_or((negative, word), |digits| (!negative, digits));
            let size = i64::try_from(number(digits)?).map_err(|_| format!("`{word}` is too big"))?;
            let disp = if minus { -size } else { size };
            addr.disp = i32::try_from(disp).map_err(|_| format!("`{word}` is no 32-bit displacement"))?;
            return Ok(());
        }
        if negative {
            return Err("only a displacement can be subtracted".into());
        }
        let value = self.value(c, None)?;
        if c.eat("<<") {
            addr.index = value;
            addr.scale = c.number()?;
        } else if addr.base.is_none() {
            addr.base = value;
        } else {
            return Err("two bases; an index is written `v1<<0`".into());
        }
        Ok(())
    }

    fn exit(&mut self, c: &mut Cursor<'_>) -> Result<Exit> {
        let address = Some(self.table.addr_type());
        let kind = match c.word()? {
            "direct" => ExitKind::Direct { pc: c.number()? },
            "call" => ExitKind::Call { pc: c.number()?, ret: keyword(c, "ret")? },
            "icall" => ExitKind::IndirectCall { target: self.value(c, address)?, ret: keyword(c, "ret")? },
            "return" => ExitKind::Return { target: self.value(c, address)? },
            "indirect" => ExitKind::Indirect { target: self.value(c, address)? },
            "syscall" => ExitKind::Syscall { next: c.number()?, code: keyword(c, "code")? },
            "exception" => ExitKind::Exception { pc: c.number()?, code: keyword(c, "code")?, arg: keyword(c, "arg")? },
            "resync_to" => ExitKind::ResyncTo { target: self.value(c, address)? },
            "resync" => ExitKind::Resync { next: c.number()? },
            "halt" => ExitKind::Halt { next: c.number()? },
            other => return Err(format!("no kind of exit `{other}`")),
        };
        let mut flags = |word| -> Result<FlagSet, String> {
            if !c.eat_word(word) {
                return Ok(FlagSet::all());
            }
            c.expect("=")?;
            let letters = c.word()?;
            FlagSet::from_letters(letters).ok_or_else(|| format!("`{letters}` are no flags"))
        };
        let (live_flags, ret_flags) = (flags("live")?, flags("retlive")?);
        Ok(Exit { kind, live_flags, ret_flags })
    }
}

/// A number after a word.
fn keyword<T: TryFrom<u64>>(c: &mut Cursor<'_>, word: &str) -> Result<T> {
    c.expect_word(word)?;
    c.number()
}

/// Demands a comma between operands.
#[derive(Default)]
struct Separator(bool);

impl Separator {
    fn next(&mut self, c: &mut Cursor<'_>) -> Result<()> {
        if std::mem::replace(&mut self.0, true) { c.expect(",") } else { Ok(()) }
    }
}
