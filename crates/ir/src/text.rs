//! The text form of regions: one instruction per line, made from the op table.
//!
//! ```text
//! region 0x8048000
//! locals i32
//! block 0
//!   insn 0x8048000 2
//!   v1 = get.i32 r0
//!   v2 = load.i32 m4 a0=[v1 + v1<<2 + 16]
//!   v3 = add.i32 v2, 5
//!   v4 = flags v3
//!   store.i32 m4 a0, v3
//!   set r0, v3
//!   exitif.ne v4, direct 0x8048010 live=cz
//!   exit indirect v3
//! ```
//!
//! * A head is `op.type.attribute`; the type is left out where the op or the register implies it. Memory accesses and
//!   x87 operations are words of their own after the head: `m4` is 4 bytes, `m4s` sign-extends, `a` demands alignment
//!   and `b` is big-endian.
//! * Values print as `v` and the number of their instruction; any name that starts with `v` can be written.
//!   Constants are numbers, with `:type` where the operand does not imply it. `_` is an operand that is not there.
//! * `[seg v5: v1 + v2<<1 - 4]` is an address: segment base, base, scaled index, displacement. One that several
//!   instructions share gets a name at its first use: `a0=[…]`, then `a0`.
//! * `#8` is an immediate, `%0` a local, `block 2` a jump target; `;` starts a comment.

mod parse;
mod print;

pub use parse::{ParseError, parse};
pub use print::print;

use crate::op::{Arg, Op, Res};
use crate::region::{Inst, Region};
use crate::state::{RegId, RegTable};
use crate::types::Type;

/// The type of a register or local, if it exists.
pub(crate) fn register_type(region: &Region, table: &RegTable, reg: RegId) -> Option<Type> {
    match reg.as_local() {
        Some(local) => region.locals.get(local).copied(),
        None => table.regs.get(usize::from(reg.0)).map(|def| def.ty),
    }
}

/// The type of an instruction when its head names none.
fn implied_type(region: &Region, table: &RegTable, op: Op, imm: u32) -> Type {
    match (op, op.info().res) {
        (Op::Set, _) => register_type(region, table, RegId(imm as u16)).unwrap_or(Type::None),
        (_, Res::Fl) => Type::Flags,
        _ => Type::None,
    }
}

/// The type of a constant operand when it names none.
fn implied_operand(inst: &Inst, index: usize) -> Option<Type> {
    match inst.op {
        Op::Set => Some(inst.ty),
        op => op.info().args.get(index).copied().unwrap_or(Arg::Any).expected(inst.ty),
    }
}
