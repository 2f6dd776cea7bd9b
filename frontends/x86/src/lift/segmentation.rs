//! Segments: bases and limits of data accesses (SDM vol. 3, 5.3), and the offsets that code counts in.

use super::Lifter;
use super::operand::is_segment;
use crate::mode::Mode;
use crate::state::{CS_BASE, DS_BASE, ES_BASE, ES_LIMIT, FS_BASE, GS_BASE, SS_BASE};
use crate::{exception, helpers};
use iced_x86::{InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};
use isamorph_ir::{Addr, Cond, Op, RegId, Type, Value};

/// The number of a segment register (SDM vol. 2, table 3-1).
pub(super) const fn number(segment: Register) -> u16 {
    segment as u16 - Register::ES as u16
}

/// The row of a segment's base.
fn base_row(segment: Register) -> RegId {
    match segment {
        Register::ES => ES_BASE,
        Register::CS => CS_BASE,
        Register::SS => SS_BASE,
        Register::FS => FS_BASE,
        Register::GS => GS_BASE,
        _ => DS_BASE,
    }
}

/// A piece of a segment that an instruction accesses.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    /// The segment.
    pub(super) segment: Register,
    /// How many bytes.
    pub(super) bytes: u32,
    /// Whether they are written.
    pub(super) write: bool,
}

/// What `helpers::CHECK_SEGMENT` is asked about an access; it has eight bits for the number of bytes.
fn question(piece: Piece) -> u64 {
    u64::from(number(piece.segment)) | u64::from(piece.bytes.min(0xff)) << 8 | u64::from(piece.write) << 16
}

/// Whether accesses have nothing added to their offset but the bases of FS and GS, and nothing checked.
pub(super) fn is_unchecked(mode: Mode, segment: Register, write: bool) -> bool {
    let flat = mode.is_flat() && !matches!(segment, Register::FS | Register::GS);
    // Code can never be written (SDM vol. 3, 3.4.5.1).
    !mode.in_machine() || mode.is_long() || flat && !(segment == Register::CS && write)
}

impl Lifter<'_> {
    /// The base of a segment, or nothing for the flat ones.
    pub(crate) fn segment_base(&mut self, segment: Register) -> Value {
        let flat = is_unchecked(self.mode, segment, false) && !matches!(segment, Register::FS | Register::GS);
        if flat || !is_segment(segment) { Value::NONE } else { self.b.get(base_row(segment)) }
    }
    /// The linear address of an offset in a segment, checked against the segment's limit and type.
    pub(super) fn in_segment(&mut self, piece: Piece, offset: Addr) -> Addr {
        if is_unchecked(self.mode, piece.segment, piece.write) {
            return Addr { seg: self.segment_base(piece.segment), ..offset };
        }
        let offset = self.offset_value(offset);
        self.check_access(piece, offset);
        let seg = self.b.get(base_row(piece.segment));
        Addr { seg, ..Addr::base(offset) }
    }
    /// The sum of an address without its segment.
    fn offset_value(&mut self, offset: Addr) -> Value {
        let ty = self.b.table().addr_type();
        if offset.index.is_none() {
            if offset.base.is_none() {
                return self.b.iconst(ty, offset.disp as u64);
            }
            if offset.disp == 0 {
                return offset.base;
            }
        }
        let tree = self.b.addr(offset);
        self.b.lea(ty, tree)
    }
    /// Raises #GP or #SS unless the segment allows the access. The limit of a plain segment is compared here; a helper
    /// knows the others.
    fn check_access(&mut self, piece: Piece, offset: Value) {
        let Piece { segment, bytes, write } = Piece { bytes: piece.bytes.max(1), ..piece };
        if self.is_strange(segment, write) {
            let what = self.b.iconst(Type::I32, question(Piece { segment, bytes, write }));
            self.call(helpers::CHECK_SEGMENT, Type::None, &[what, offset]);
            return;
        }
        // In 64 bits, so that the last byte's offset does not wrap.
        let limit = self.b.get(RegId(ES_LIMIT.0 + number(segment)));
        let limit = self.zext(limit, Type::I64);
        let first = self.zext(offset, Type::I64);
        let last = self.add_const(first, i64::from(bytes) - 1);
        let difference = self.b.bin(Op::Sub, last, limit);
        let flags = self.b.flags(difference);
        let code = if segment == Register::SS { exception::SS } else { exception::GP };
        self.raise_if(Cond::A, flags, code, 0);
    }
    /// Whether only the helper knows if an access is allowed.
    fn is_strange(&self, segment: Register, write: bool) -> bool {
        let code_is_written = segment == Register::CS && write && self.mode.has_descriptors();
        self.mode.has_strange_segments() || code_is_written
    }
    /// Raises #GP or #SS unless the memory operand, which was checked for reading, may be written if the condition
    /// holds.
    pub(super) fn check_write_if(&mut self, cond: Cond, flags: Value) {
        let segment = self.insn.memory_segment();
        if is_unchecked(self.mode, segment, true) || !self.is_strange(segment, true) {
            return;
        }
        let bytes = self.insn.memory_size().size() as u32;
        let [write, read] = [true, false].map(|write| question(Piece { segment, bytes, write }));
        let [write, read] = [write, read].map(|n| self.b.iconst(Type::I32, n));
        let what = self.b.select(cond, flags, write, read);
        let offset = self.memory_offset();
        let offset = self.offset_value(offset);
        self.call(helpers::CHECK_SEGMENT, Type::None, &[what, offset]);
    }
    /// What the instruction does with its memory operand; nothing if it only names it.
    pub(super) fn memory_piece(&self) -> Option<Piece> {
        let segment = self.insn.memory_segment();
        if is_unchecked(self.mode, segment, true) {
            return Some(Piece { segment, bytes: 0, write: false });
        }
        let mut factory = InstructionInfoFactory::new();
        let info = factory.info(&self.insn);
        let operand = (0..self.insn.op_count()).find(|n| self.insn.op_kind(*n) == OpKind::Memory)?;
        let access = info.op_access(operand);
        if matches!(access, OpAccess::None | OpAccess::NoMemAccess) {
            return None;
        }
        // ARPL writes what it changes, and asks for that itself.
        let write = !matches!(access, OpAccess::Read | OpAccess::CondRead) && self.insn.mnemonic() != Mnemonic::Arpl;
        Some(Piece { segment, bytes: self.insn.memory_size().size() as u32, write })
    }

    // ---- code

    /// The address of the code at an offset, which is checked against the segment's limit: the target of a jump.
    pub(super) fn code_address(&mut self, offset: Value) -> Value {
        let narrow = self.b.ty(offset) == Type::I16;
        let offset = self.zext(offset, self.b.table().addr_type());
        if !self.mode.is_long() && (!narrow || self.mode.ends_elsewhere()) {
            self.check_code_offset(offset);
        }
        match self.mode.code_base() {
            0 => offset,
            base => {
                let base = self.b.iconst(self.b.table().addr_type(), base);
                self.b.bin(Op::Add, offset, base)
            }
        }
    }
}
