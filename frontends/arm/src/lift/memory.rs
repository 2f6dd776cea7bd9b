//! Loads and stores of one register or a pair (DDI 0406C A4.6).
//!
//! Words, halfwords and bytes need no alignment from v6 on, and neither do LDM, LDRD and their kin here: Linux repairs
//! those that the processor refuses.

use super::shift;
use super::{Lifter, branch};
use isamorph_ir::{Addr, MemAttr, Op, Type, Value};

/// What is loaded or stored.
#[derive(Clone, Copy)]
pub(super) struct Access {
    pub(super) load: bool,
    pub(super) bytes: u32,
    pub(super) signed: bool,
}

/// An offset from a base register.
#[derive(Clone, Copy)]
pub(super) enum Offset {
    /// A constant.
    Const(i32),
    /// A register shifted by a constant, to be added or subtracted.
    Reg { rm: u32, kind: u32, amount: u32, add: bool },
}

/// An address with what becomes of its base register.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// The address.
    pub(super) addr: Addr,
    /// The base register and its new value.
    pub(super) writeback: Option<(u32, Value)>,
}

/// A constant offset as encoded: magnitude and direction.
pub(super) const fn constant(add: u32, magnitude: u32) -> Offset {
    Offset::Const(if add != 0 { magnitude as i32 } else { (magnitude as i32).wrapping_neg() })
}

impl Lifter<'_> {
    /// The shape of an access in the current byte order.
    pub(super) fn mem(&self, bytes: u32) -> MemAttr {
        let mem = MemAttr::new(bytes);
        if self.mode.big_endian && bytes > 1 { mem.big_endian() } else { mem }
    }
    /// Loads an integer, zero-extended to 32 bits (or 64 for 8 bytes).
    pub(super) fn load(&mut self, bytes: u32, addr: Addr) -> Value {
        let (mem, addr) = (self.mem(bytes), self.b.addr(addr));
        self.b.load(if bytes == 8 { Type::I64 } else { Type::I32 }, mem, addr)
    }
    /// Stores the low bytes of an integer.
    pub(super) fn store(&mut self, bytes: u32, addr: Addr, value: Value) {
        let (mem, addr) = (self.mem(bytes), self.b.addr(addr));
        self.b.store(mem, addr, value);
    }
    /// The address of a base register, R15 read as aligned, and a displacement.
    pub(super) fn base(&mut self, rn: u32, disp: i32) -> Addr {
        if rn == 15 {
            // Without a base the displacement is the address.
            let pc = self.pc_aligned().wrapping_add_signed(disp);
            return Addr::offset(Value::NONE, pc as i32);
        }
        let base = self.reg(rn);
        Addr::offset(base, disp)
    }
    /// Writes a base register back.
    pub(super) fn write_back(&mut self, place: &Place) {
        if let Some((rn, value)) = place.writeback {
            self.set_reg(rn, value);
        }
    }
}

/// The address of `[rn, offset]` (`before`) or `[rn], offset`.
pub(super) fn place(cx: &mut Lifter<'_>, rn: u32, offset: Offset, before: bool, writeback: bool) -> Place {
    let moved = match offset {
        Offset::Const(disp) => cx.base(rn, disp),
        Offset::Reg { rm, kind, amount, add } => indexed(cx, rn, rm, kind, amount, add),
    };
    let addr = if before { moved } else { cx.base(rn, 0) };
    if !writeback {
        return Place { addr, writeback: None };
    }
    let value = match offset {
        Offset::Const(disp) => {
            let base = cx.reg(rn);
            cx.bin_const(Op::Add, base, disp as u32)
        }
        Offset::Reg { .. } => {
            let moved = cx.b.addr(moved);
            cx.b.lea(Type::I32, moved)
        }
    };
    Place { addr, writeback: Some((rn, value)) }
}

fn indexed(cx: &mut Lifter<'_>, rn: u32, rm: u32, kind: u32, amount: u32, add: bool) -> Addr {
    let (base, index) = (cx.reg(rn), cx.reg(rm));
    if add && kind == 0 && amount < 4 {
        return Addr { base, index, scale: amount as u8, disp: 0, seg: Value::NONE };
    }
    let index = shift::by_constant(cx, index, kind, amount).value;
    if add {
        return Addr { base, index, scale: 0, disp: 0, seg: Value::NONE };
    }
    Addr::base(cx.b.bin(Op::Sub, base, index))
}

/// A load or store of one register.
pub(super) fn single(cx: &mut Lifter<'_>, access: Access, rt: u32, place: Place) {
    if !access.load {
        let value = cx.reg(rt);
        cx.store(access.bytes, place.addr, value);
        return cx.write_back(&place);
    }
    let (mem, addr) = (cx.mem(access.bytes), cx.b.addr(place.addr));
    let mem = if access.signed { mem.signed() } else { mem };
    let value = cx.b.load(Type::I32, mem, addr);
    cx.write_back(&place);
    if rt == 15 {
        // `ldr pc, [sp], #4` is `pop {pc}`.
        let is_return = place.writeback.is_some_and(|(rn, _)| rn == 13);
        return branch::exchange(cx, value, is_return);
    }
    cx.set_reg(rt, value);
}

/// LDRD and STRD: two words, the first register's at the lower address.
pub(super) fn dual(cx: &mut Lifter<'_>, load: bool, rt: u32, rt2: u32, place: Place) {
    let second = after(place.addr, 4);
    if !load {
        let (low, high) = (cx.reg(rt), cx.reg(rt2));
        if cx.mode.big_endian {
            cx.store(4, place.addr, low);
            cx.store(4, second, high);
        } else {
            // One access, as LPAE demands.
            let both = cx.b.convert(Op::Concat, Type::I64, &[low, high]);
            cx.store(8, place.addr, both);
        }
        return cx.write_back(&place);
    }
    let (low, high) = if cx.mode.big_endian {
        (cx.load(4, place.addr), cx.load(4, second))
    } else {
        let both = cx.load(8, place.addr);
        (cx.b.convert(Op::Trunc, Type::I32, &[both]), cx.b.field(Type::I32, both, 32))
    };
    cx.write_back(&place);
    cx.set_reg(rt, low);
    cx.set_reg(rt2, high);
}

/// The address some bytes after another.
pub(super) const fn after(addr: Addr, bytes: i32) -> Addr {
    Addr { disp: addr.disp.wrapping_add(bytes), ..addr }
}
