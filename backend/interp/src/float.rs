//! Floating point on vector lanes, executed by the host's unit under the guest's MXCSR.

use crate::regs::image;
use crate::{Frame, Slot};
use isamorph_host::fpexec::{self, FpTrap};
use isamorph_host::fpu::DEFAULT_MXCSR;
use isamorph_ir::{FlagSet, FloatUnit, Inst, Lane, Op, Trap, Type};

/// Prefix and opcode of the SSE instruction that is an op on that lane, after the 0x0f byte (SDM vol. 2).
fn encoding(op: Op, lane: Lane) -> (Option<u8>, u8) {
    let plain = match lane {
        Lane::F64 => Some(0x66),
        Lane::S32 => Some(0xf3),
        Lane::S64 => Some(0xf2),
        _ => None,
    };
    let double = lane == Lane::F64;
    match op {
        Op::FAdd => (plain, 0x58),
        Op::FSub => (plain, 0x5c),
        Op::FMul => (plain, 0x59),
        Op::FDiv => (plain, 0x5e),
        Op::FMin => (plain, 0x5d),
        Op::FMax => (plain, 0x5f),
        Op::FSqrt => (plain, 0x51),
        Op::FRsqrt => (plain, 0x52),
        Op::FRcp => (plain, 0x53),
        Op::FCmpMask => (plain, 0xc2),
        Op::FCvtLane | Op::FCvtPacked => (plain, 0x5a),
        Op::FCmpQuiet => ((lane == Lane::S64).then_some(0x66), 0x2e),
        Op::FCmpSignal => ((lane == Lane::S64).then_some(0x66), 0x2f),
        Op::FFromInt => (plain, 0x2a),
        Op::FToIntTrunc => (plain, 0x2c),
        Op::FToInt => (plain, 0x2d),
        Op::FFromIntPacked if double => (Some(0xf3), 0xe6),
        Op::FFromIntPacked => (None, 0x5b),
        Op::FToIntPacked if double => (Some(0xf2), 0xe6),
        Op::FToIntPacked => (Some(0x66), 0x5b),
        Op::FToIntPackedTrunc if double => (Some(0x66), 0xe6),
        Op::FToIntPackedTrunc => (Some(0xf3), 0x5b),
        _ => (plain, 0),
    }
}

/// The guest's exception for what the host raised.
pub(crate) fn guest_trap(trap: FpTrap) -> Trap {
    match trap {
        FpTrap::X87 => Trap::Float(FloatUnit::X87),
        FpTrap::Simd => Trap::Float(FloatUnit::Vector),
        // The encodings are SSE2 and x87 ones, which every host has; what is left is a host without memory.
        FpTrap::Illegal | FpTrap::Operand | FpTrap::NoMemory => panic!("floating-point unit not usable: {trap:?}"),
    }
}

impl Frame<'_> {
    /// Runs a host instruction under the guest's MXCSR, and keeps the exception flags that it sets. A guest without
    /// an FXSAVE image has the default control word and no flags.
    fn with_mxcsr<T>(&mut self, run: impl FnOnce(&mut u32) -> Result<T, FpTrap>) -> Result<T, Trap> {
        let at = self.table.fxsave.map(|base| base + image::MXCSR);
        let mut mxcsr = at.map_or(DEFAULT_MXCSR, |at| {
            let bytes = self.state.bytes(at, 4);
            u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        });
        let result = run(&mut mxcsr);
        if let Some(at) = at {
            self.state.bytes_mut(at, 4).copy_from_slice(&mxcsr.to_le_bytes());
        }
        result.map_err(guest_trap)
    }

    /// An op that is one SSE instruction on two registers.
    pub(crate) fn float(&mut self, inst: &Inst, a: u128, b: u128) -> Result<Slot, Trap> {
        let (prefix, opcode) = encoding(inst.op, inst.lane());
        let imm = (inst.op == Op::FCmpMask).then_some(inst.imm as u8);
        let mut result = a;
        self.with_mxcsr(|mxcsr| fpexec::sse(prefix, &[opcode], imm, mxcsr, &mut result, b))?;
        Ok(Slot::new(result))
    }

    /// A comparison. Its result is undefined; it is 0.
    pub(crate) fn float_compare(&mut self, inst: &Inst, a: u128, b: u128) -> Result<Slot, Trap> {
        let (prefix, opcode) = encoding(inst.op, inst.lane());
        let mut unchanged = a;
        let eflags = self.with_mxcsr(|mxcsr| fpexec::sse(prefix, &[opcode], None, mxcsr, &mut unchanged, b))?;
        Ok(Slot { flags: FlagSet::from_bits_truncate(eflags), ..Slot::default() })
    }

    /// Signed integer to lane 0 of `a`.
    pub(crate) fn float_from_int(&mut self, inst: &Inst, a: u128, int: u64) -> Result<Slot, Trap> {
        let (prefix, opcode) = encoding(inst.op, inst.lane());
        let wide = self.region.value_type(inst.args[1]) == Type::I64;
        let (mut result, mut int) = (a, int);
        self.with_mxcsr(|mxcsr| fpexec::sse_int(prefix, wide, &[opcode], mxcsr, &mut result, &mut int))?;
        Ok(Slot::new(result))
    }

    /// Lane 0 to a signed integer.
    pub(crate) fn float_to_int(&mut self, inst: &Inst, a: u128) -> Result<Slot, Trap> {
        let (prefix, opcode) = encoding(inst.op, inst.lane());
        let (mut unchanged, mut int) = (a, 0);
        let wide = inst.ty == Type::I64;
        self.with_mxcsr(|mxcsr| fpexec::sse_int(prefix, wide, &[opcode], mxcsr, &mut unchanged, &mut int))?;
        Ok(Slot::int(int & inst.ty.mask()))
    }
}
