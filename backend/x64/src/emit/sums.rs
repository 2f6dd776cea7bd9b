//! Sums of a pinned register and a constant that are not computed until someone needs them in a register.
//!
//! A run of pushes or pops moves the guest's stack pointer at every instruction, but each address is the same host
//! register with another displacement. So `add` and `sub` of a constant only note the sum; addresses take it as
//! displacement; and a `set` of the register it started from leaves the sum *pending*: the guest register is the host
//! register plus a constant, which the recovery table says should a fault need it. At the latest on the way out of the
//! region the sum is made good with one `lea`.
//!
//! Sums count from a virtual origin of their register, so that settling one does not change the others.

use super::{Emitter, Loc};
use crate::analysis::NONE;
use crate::asm::{Mem, Opcode, Rm};
use crate::pins::VEC;
use isamorph_code::Recipe;
use isamorph_ir::{Type, Value};

/// The sums of a block.
#[derive(Debug)]
pub(crate) struct Sums {
    /// How far each host register is from its virtual origin.
    origin: [i32; VEC as usize],
    /// The value of the guest register in each host register, if it is a sum: its root and distance from the origin.
    pending: [(u32, i32); VEC as usize],
    /// The host registers whose guest registers are sums, one bit each.
    pending_set: u32,
    /// Roots that were noted as sums in this block.
    roots: Vec<u32>,
}

impl Default for Sums {
    fn default() -> Self {
        Sums { origin: [0; VEC as usize], pending: [(NONE, 0); VEC as usize], pending_set: 0, roots: Vec::new() }
    }
}

impl Sums {
    /// The guest register got another value.
    pub fn forget_pending(&mut self, host: u8) {
        self.pending_set &= !(1 << host);
        if let Some(p) = self.pending.get_mut(usize::from(host)) {
            *p = (NONE, 0);
        }
    }
    /// Whether the guest register is not what the host register holds.
    pub fn is_pending(&self, host: u8) -> bool {
        self.pending_set >> host & 1 != 0
    }
    /// The host registers whose guest registers are sums.
    fn pending_hosts(&self) -> impl Iterator<Item = u8> + use<> {
        let set = self.pending_set;
        (0..VEC).filter(move |host| set >> host & 1 != 0)
    }
}

impl Emitter<'_> {
    /// Notes that the result of `i` is `a` plus a constant. False if that cannot be kept as a sum.
    pub fn as_sum(&mut self, i: usize, a: Value, imm: i32) -> bool {
        let Some(root) = self.facts.root(a) else { return false };
        let (host, from) = match self.locs[root] {
            Loc::Reg(host) if host < VEC && self.pins.guest(host).is_some() => {
                (host, self.sums.origin[usize::from(host)])
            }
            Loc::Sum { host, add } => (host, add),
            _ => return false,
        };
        let Some(add) = from.checked_add(imm) else { return false };
        if self.pins.guest(host).is_none_or(|g| self.backend.table.def(g).ty != self.region.insts[i].ty) {
            return false;
        }
        self.locs[i] = Loc::Sum { host, add };
        self.sums.roots.push(i as u32);
        true
    }

    fn distance(&self, host: u8, add: i32) -> i32 {
        add.wrapping_sub(self.sums.origin[usize::from(host)])
    }

    /// `lea to, [host + distance]`.
    fn lea_sum(&mut self, to: u8, host: u8, distance: i32) {
        let wide = self.pins.guest(host).is_some_and(|g| self.backend.table.def(g).ty == Type::I64);
        let mem = Mem { base: host, disp: distance, ..super::EMPTY };
        if distance == 0 {
            self.asm.op(Opcode::one(0x8b), if wide { 8 } else { 4 }, to, Rm::Reg(host));
        } else {
            self.asm.op(Opcode::one(0x8d), if wide { 8 } else { 4 }, to, Rm::Mem(mem));
        }
    }

    /// The register to read a sum from. If the guest register is this sum and nothing in the current instruction
    /// depends on the host register yet, it is settled, else computed aside.
    pub fn compute_sum(&mut self, root: usize, host: u8, add: i32) -> u8 {
        if self.sums.pending[usize::from(host)].0 == root as u32 && self.locked >> host & 1 == 0 {
            self.settle(host);
            self.lock(host);
            return host;
        }
        let t = self.scratch(false);
        self.lea_sum(t, host, self.distance(host, add));
        self.checker.defined(root, t);
        self.locs[root] = Loc::Reg(t);
        self.held[usize::from(t)] = Value::inst(root);
        t
    }

    /// A term of an address: the register, and what a sum adds to the displacement.
    pub fn term(&mut self, v: Value, scale: u8, disp: &mut i32) -> u8 {
        if let Some(root) = self.facts.root(v)
            && let Loc::Sum { host, add } = self.locs[root]
        {
            let sum = i64::from(*disp) + (i64::from(self.distance(host, add)) << scale);
            let wraps = self.backend.table.addr_bits == 32;
            if wraps || i32::try_from(sum).is_ok() {
                *disp = sum as i32;
                self.lock(host);
                return host;
            }
        }
        self.reg(v)
    }

    /// `set` of a pinned register to a sum.
    pub fn set_to_sum(&mut self, host: u8, root: usize, from: u8, add: i32) {
        if host == from {
            self.sums.pending[usize::from(host)] = (root as u32, add);
            self.sums.pending_set |= 1 << host;
            return;
        }
        self.vacate(host);
        self.lea_sum(host, from, self.distance(from, add));
        self.sums.forget_pending(host);
        self.checker.defined(root, host);
        self.held[usize::from(host)] = Value::inst(root);
        self.locs[root] = Loc::Reg(host);
    }

    /// Makes the host register hold what its guest register is.
    pub fn settle(&mut self, host: u8) {
        if !self.sums.is_pending(host) {
            return;
        }
        let (root, add) = self.sums.pending[usize::from(host)];
        self.sums.forget_pending(host);
        let here = &mut self.sums.origin[usize::from(host)];
        let (from, distance) = (*here, add.wrapping_sub(*here));
        *here = add;
        if let Some(old) = self.facts.root(self.held[usize::from(host)])
            && self.locs[old] == Loc::Reg(host)
        {
            // What the register held is a sum from now on.
            self.locs[old] = Loc::Sum { host, add: from };
            self.sums.roots.push(old as u32);
        }
        if distance != 0 {
            self.lea_sum(host, host, distance);
        }
        self.checker.defined(root as usize, host);
        self.held[usize::from(host)] = Value::inst(root as usize);
        if matches!(self.locs[root as usize], Loc::Sum { .. }) {
            self.locs[root as usize] = Loc::Reg(host);
        }
    }

    /// Settles every guest register.
    pub fn settle_all(&mut self) {
        if self.sums.pending_set != 0 {
            (0..VEC).for_each(|host| self.settle(host));
        }
    }

    fn live_sums(&self, host: u8) -> impl Iterator<Item = usize> + '_ {
        let of_host = move |root: &usize| matches!(self.locs[*root], Loc::Sum { host: h, .. } if h == host);
        self.sums.roots.iter().map(|r| *r as usize).filter(of_host).filter(|root| self.facts.facts[*root].uses > 0)
    }

    /// Whether a sum of this register is needed after instruction `i`.
    pub fn has_sums_after(&self, host: u8, i: usize) -> bool {
        host < VEC && self.live_sums(host).any(|root| self.uses_after(Value::inst(root), i) > 0)
    }

    /// Whether a sum of this register is alive.
    pub fn has_sums(&self, host: u8) -> bool {
        host < VEC && self.live_sums(host).next().is_some()
    }

    /// Before a register changes: computes the sums of it that are still needed.
    pub fn compute_sums_of(&mut self, host: u8) {
        if host >= VEC || self.pins.is_scratch(host) || self.sums.roots.is_empty() {
            return;
        }
        loop {
            let next = self.live_sums(host).next();
            let Some(root) = next else { return };
            let Loc::Sum { add, .. } = self.locs[root] else { return };
            let t = self.scratch(false);
            self.lea_sum(t, host, self.distance(host, add));
            self.checker.defined(root, t);
            self.locs[root] = Loc::Reg(t);
            self.held[usize::from(t)] = Value::inst(root);
        }
    }

    /// What a fault must add to the registers whose guest registers are pending sums.
    pub fn sum_recipes(&mut self) {
        if self.sums.pending_set == 0 {
            return;
        }
        for host in self.sums.pending_hosts() {
            let (_, add) = self.sums.pending[usize::from(host)];
            let distance = self.distance(host, add);
            if distance != 0
                && let Some(guest) = self.pins.guest(host)
            {
                self.out.recipes.push(Recipe::Offset { reg: guest.0, add: distance });
            }
        }
    }
}
