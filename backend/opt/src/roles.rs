//! Which ops the walk stops at, looked up in a table: most instructions concern none of the passes, and the walk must
//! not branch on each to find that out.

use isamorph_ir::{Effects, OPS, Op};

/// What an op means to the passes.
#[derive(Clone, Copy)]
pub(crate) struct Roles(u8);

impl Roles {
    /// It may observe registers, or ends what is known of them.
    pub const OBSERVES: Roles = Roles(1);
    /// It writes a register.
    pub const WRITES: Roles = Roles(2);
    /// Its result or its condition may be simplified.
    pub const VALUE: Roles = Roles(4);

    /// The roles of an op.
    pub fn of(op: Op) -> Roles {
        ROLES[usize::from(op as u8)]
    }

    /// Whether it has that role.
    pub fn contains(self, role: Roles) -> bool {
        self.0 & role.0 != 0
    }
}

/// By op. The size of the table saves the walk a comparison.
static ROLES: [Roles; 256] = {
    let mut roles = [Roles(0); 256];
    let mut op = 0;
    while op < OPS.len() {
        let observes = OPS[op].effects.intersects(OBSERVES) && op != Op::Get as usize;
        roles[op] = Roles(observes as u8);
        op += 1;
    }
    let mut at = 0;
    while at < VALUES.len() {
        roles[VALUES[at] as usize].0 |= Roles::VALUE.0;
        at += 1;
    }
    roles[Op::Set as usize] = Roles::WRITES;
    roles
};

const OBSERVES: Effects =
    Effects::FAULT.union(Effects::EXIT).union(Effects::READ).union(Effects::END).union(Effects::FPENV);

#[rustfmt::skip]
const VALUES: &[Op] = &[
    Op::Add, Op::Sub, Op::And, Op::Or, Op::Xor, Op::Not, Op::Shl, Op::Shr, Op::Sar,
    Op::Zext, Op::Sext, Op::Trunc, Op::Field, Op::Ins,
    Op::ExitIf, Op::Branch, Op::Select, Op::SetCc, Op::X87Cmov, Op::FlagsNot, Op::FlagsKeep,
    Op::Lzcnt,
];
