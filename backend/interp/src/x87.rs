//! The x87 unit: every operation runs on the host's unit, on the guest's FXSAVE image.
//!
//! The image does not keep the instruction and data pointers of the last operation (as with a processor that has
//! lost them, they read as 0), because those of the host would be meaningless.

use crate::float::guest_trap;
use crate::regs::{enter_mmx, image, read_u16};
use crate::{Frame, Slot};
use isamorph_host::fpexec;
use isamorph_host::fpu::FxImage;
use isamorph_ir::{FlagSet, FloatUnit, Inst, Trap, X87Form, X87Op};
use std::ops::Range;

/// Opcode, pointers to the last instruction and to its operand in an FXSAVE image (SDM vol. 1, table 10-2).
const POINTERS: Range<usize> = 6..24;
/// The same in a 32-bit protected-mode environment (SDM vol. 1, figure 8-9), without the reserved last word.
const ENV_POINTERS: Range<usize> = 12..26;
/// Control, status, tags and pointers, and the registers: what x87 operations change of an image.
const PARTS: [Range<usize>; 2] = [0..24, 32..160];
/// Exceptions that keep a store from writing its result when they are unmasked: invalid, overflow, underflow.
const NO_RESULT: u16 = 0x19;

/// What an x87 operation does with its memory operand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Transfer {
    /// Reads it.
    Load,
    /// Writes a number.
    StoreNumber,
    /// Writes control or status words, whatever exceptions are pending.
    StoreControl,
}

/// By opcode and digit (SDM vol. 2, appendix A, tables ).
fn transfer(opcode: u8, digit: u8) -> Transfer {
    match (opcode, digit) {
        (0xd9 | 0xdd, 6 | 7) => Transfer::StoreControl,
        (0xd9, 2 | 3) | (0xdb | 0xdf, 1..=3 | 7) | (0xdd, 1..=3) | (0xdf, 6) => Transfer::StoreNumber,
        _ => Transfer::Load,
    }
}

impl Frame<'_> {
    /// Offset of the FXSAVE image. The x87 ops belong to guests that have one; without one they are undefined.
    fn image_offset(&self) -> Result<u32, Trap> {
        self.table.fxsave.ok_or(Trap::Float(FloatUnit::X87))
    }

    /// Runs `operate` on a copy of the image, and keeps the copy if it succeeds.
    fn on_image<T>(&mut self, operate: impl FnOnce(&mut FxImage) -> Result<T, Trap>) -> Result<T, Trap> {
        let base = self.image_offset()?;
        let mut copy = FxImage([0; 512]);
        copy.0.copy_from_slice(self.state.bytes(base, 512));
        let result = operate(&mut copy)?;
        copy.0[POINTERS].fill(0);
        for part in PARTS {
            self.state.bytes_mut(base + part.start as u32, part.len()).copy_from_slice(&copy.0[part]);
        }
        Ok(result)
    }

    pub(crate) fn x87(&mut self, inst: &Inst) -> Result<Slot, Trap> {
        let kind = inst.x87();
        if kind == X87Op::Emms {
            return self.empty_mmx();
        }
        self.on_image(|image| fpexec::x87_reg(image, register_form(kind, inst.imm)).map(drop).map_err(guest_trap))?;
        Ok(Slot::default())
    }

    /// EMMS empties the tag word; like every MMX instruction it reports a pending exception first, and makes register 0
    /// the top of the stack (SDM vol. 3, table 13-1).
    fn empty_mmx(&mut self) -> Result<Slot, Trap> {
        self.on_image(|image| fpexec::x87_reg(image, register_form(X87Op::Wait, 0)).map(drop).map_err(guest_trap))?;
        let base = self.image_offset()?;
        enter_mmx(self.state, base);
        self.state.bytes_mut(base + image::FTW, 1)[0] = 0;
        Ok(Slot::default())
    }

    pub(crate) fn x87_mem(&mut self, inst: &Inst) -> Result<Slot, Trap> {
        let X87Form::Mem(opcode, digit, size) = inst.x87().form() else { return Ok(Slot::default()) };
        let (addr, mem, transfer) = (self.address(inst), self.mem, transfer(opcode, digit));
        self.on_image(|image| {
            let mut buffer = [0; 128];
            if transfer != Transfer::StoreControl {
                report_pending(image)?;
            }
            if transfer == Transfer::Load {
                mem.read(addr, &mut buffer[..size as usize])?;
            }
            fpexec::x87_mem(image, opcode, digit, &mut buffer).map_err(guest_trap)?;
            if matches!(inst.x87(), X87Op::StEnv | X87Op::Save) {
                buffer[ENV_POINTERS].fill(0);
            }
            let stored = match transfer {
                Transfer::Load => false,
                Transfer::StoreControl => true,
                Transfer::StoreNumber => unmasked_exceptions(image) & NO_RESULT == 0,
            };
            if !stored && transfer == Transfer::StoreNumber {
                // The operand is writable, or there is a fault instead of the exception.
                buffer.fill(0);
                // What cannot be read cannot be written either, and that is the fault to report.
                let _ = mem.read(addr, &mut buffer[..size as usize]);
            }
            if transfer != Transfer::Load {
                mem.write(addr, &buffer[..size as usize])?;
            }
            Ok(Slot::default())
        })
    }

    /// A comparison into flags. Its result is undefined; it is 0.
    pub(crate) fn x87_flags(&mut self, inst: &Inst) -> Result<Slot, Trap> {
        let bytes = register_form(inst.x87(), inst.imm);
        let eflags = self.on_image(|image| fpexec::x87_reg(image, bytes).map_err(guest_trap))?;
        Ok(Slot { flags: FlagSet::from_bits_truncate(eflags), ..Slot::default() })
    }

    pub(crate) fn x87_cmov(&mut self, inst: &Inst) -> Result<Slot, Trap> {
        // FCMOVE with the zero flag standing for the condition, so that the stack is checked in either case.
        const FCMOVE: [u8; 2] = [0xda, 0xc8];
        let zero = if inst.cond().holds(self.flags(inst.args[0])) { FlagSet::Z } else { FlagSet::empty() };
        let bytes = [FCMOVE[0], FCMOVE[1] + inst.imm as u8];
        self.on_image(|image| fpexec::x87_reg_flags_in(image, bytes, zero.bits()).map_err(guest_trap))?;
        Ok(Slot::default())
    }

    pub(crate) fn x87_status(&self) -> u64 {
        self.table.fxsave.map_or(0, |base| u64::from(read_u16(self.state, base + image::FSW)))
    }
}

/// Raises a pending exception, which comes before any of the memory operand.
fn report_pending(image: &mut FxImage) -> Result<(), Trap> {
    if unmasked_exceptions(image) == 0 {
        return Ok(());
    }
    fpexec::x87_reg(image, register_form(X87Op::Wait, 0)).map(drop).map_err(guest_trap)
}

/// The opcode bytes of a register form.
fn register_form(kind: X87Op, st: u32) -> [u8; 2] {
    match kind.form() {
        X87Form::Reg([first, second]) => [first, second + st as u8],
        X87Form::Mem(opcode, digit, _) => [opcode, digit],
    }
}

/// The unmasked ones of the exceptions in the status word.
fn unmasked_exceptions(image: &FxImage) -> u16 {
    let word = |at: usize| u16::from_le_bytes([image.0[at], image.0[at + 1]]);
    word(image::FSW as usize) & !word(0) & 0x3f
}
