//! Memory, atomics and helper calls.

use crate::{Frame, Slot, int, vector};
use isamorph_ir::{AtomicOp, FaultCause, FlagSet, HelperCx, Inst, MemFault, Trap, Type, Value};
use std::sync::atomic::{Ordering, fence};

impl Frame<'_> {
    /// The address of an instruction: the offset wraps at the address width, and so does its sum with the segment.
    pub(crate) fn address(&self, inst: &Inst) -> u64 {
        let addr = &self.region.addrs[inst.imm as usize];
        let part = |value: Value| self.value(value) as u64;
        let scaled = part(addr.index) << addr.scale;
        let offset = part(addr.base).wrapping_add(scaled).wrapping_add_signed(addr.disp.into());
        let mask = self.table.addr_mask();
        part(addr.seg).wrapping_add(offset & mask) & mask
    }

    /// The address of an access, which may have to be aligned.
    fn accessed(&self, inst: &Inst, write: bool) -> Result<u64, Trap> {
        let (addr, mem) = (self.address(inst), inst.mem());
        if mem.is_aligned() && addr % u64::from(mem.bytes()) != 0 {
            return Err(MemFault { addr, write, cause: FaultCause::Misaligned }.into());
        }
        Ok(addr)
    }

    pub(crate) fn load(&self, inst: &Inst) -> Result<u128, Trap> {
        let mem = inst.mem();
        let mut raw = [0; 16];
        let bytes = &mut raw[..mem.bytes() as usize];
        self.mem.read(self.accessed(inst, false)?, bytes)?;
        if mem.is_big_endian() {
            bytes.reverse();
        }
        let bits = u128::from_le_bytes(raw);
        if !mem.is_signed() {
            return Ok(bits);
        }
        let unused = 64 - 8 * mem.bytes();
        Ok(u128::from((((bits as u64) << unused) as i64 >> unused) as u64 & inst.ty.mask()))
    }

    pub(crate) fn store(&self, inst: &Inst, bits: u128) -> Result<(), Trap> {
        let mem = inst.mem();
        let mut raw = bits.to_le_bytes();
        let bytes = &mut raw[..mem.bytes() as usize];
        if mem.is_big_endian() {
            bytes.reverse();
        }
        Ok(self.mem.write(self.accessed(inst, true)?, bytes)?)
    }

    /// `rmw` and `fetch`: `result` picks what the op defines from what was computed and the old value.
    pub(crate) fn read_modify_write(
        &self,
        inst: &Inst,
        operand: u64,
        result: fn(u128, u128) -> u128,
    ) -> Result<Slot, Trap> {
        let compute = |old: u128| apply(inst.atomic(), inst.ty, old as u64, operand);
        let old = self.mem.update(self.address(inst), inst.ty.bytes(), &mut |old| compute(old).bits)?;
        let computed = compute(old);
        Ok(Slot { bits: result(computed.bits, old), ..computed })
    }

    /// `cas`: the flags are those of `expected − old`; 128-bit values must be aligned, and have only Z.
    pub(crate) fn compare_and_swap(&self, inst: &Inst, expected: u128, new: u128) -> Result<Slot, Trap> {
        let swap = &mut |old| if old == expected { new } else { old };
        let addr = self.address(inst);
        if inst.ty == Type::I128 && !addr.is_multiple_of(16) {
            return Err(MemFault { addr, write: true, cause: FaultCause::Misaligned }.into());
        }
        let old = self.mem.update(addr, inst.ty.bytes(), swap)?;
        let flags = if inst.ty == Type::I128 {
            int::flag(FlagSet::Z, old == expected)
        } else {
            int::sub(inst.ty, expected as u64, old as u64, false).flags
        };
        Ok(Slot { flags, ..Slot::new(old) })
    }

    pub(crate) fn fence(&self) -> Slot {
        fence(Ordering::SeqCst);
        Slot::default()
    }

    pub(crate) fn call(&mut self, inst: &Inst, args: [u64; 3]) -> Result<Slot, Trap> {
        let helper = &self.helpers[inst.imm as usize];
        let result = (helper.run)(&mut HelperCx { state: self.state, mem: self.mem }, args)?;
        Ok(Slot::new(u128::from(result) & vector::mask(inst.ty)))
    }
}

fn bitwise(ty: Type, bits: u64) -> Slot {
    Slot::arith(bits, int::result_flags(ty, bits))
}

fn apply(op: AtomicOp, ty: Type, old: u64, operand: u64) -> Slot {
    let signed = |v| int::sign_extend(ty, v);
    match op {
        AtomicOp::Add => int::add(ty, old, operand, false),
        AtomicOp::Sub => int::sub(ty, old, operand, false),
        AtomicOp::And => bitwise(ty, old & operand),
        AtomicOp::Or => bitwise(ty, old | operand),
        AtomicOp::Xor => bitwise(ty, old ^ operand),
        AtomicOp::Xchg => Slot::int(operand),
        AtomicOp::MinU => Slot::int((old & ty.mask()).min(operand & ty.mask())),
        AtomicOp::MaxU => Slot::int((old & ty.mask()).max(operand & ty.mask())),
        AtomicOp::MinS => Slot::int(if signed(old) <= signed(operand) { old } else { operand } & ty.mask()),
        AtomicOp::MaxS => Slot::int(if signed(old) >= signed(operand) { old } else { operand } & ty.mask()),
    }
}
