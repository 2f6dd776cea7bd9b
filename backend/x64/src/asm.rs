//! Encoding of host instructions whose shape is only known at run time: any register, any address tree.
//!
//! Fixed sequences are written with `dynasm!` (this type is a `DynasmApi`); instructions that come out of a table with
//! a memory operand of any form go through [`Asm::op`], which is the one place that knows REX, ModRM and SIB
//! (SDM vol. 2, chapter 2).

use dynasmrt::{AssemblyOffset, DynasmApi};

/// No register in a memory operand.
pub const NO_REG: u8 = 0xff;

/// The register that holds the CPU state.
pub const STATE: u8 = 15;

/// A memory operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mem {
    /// Base register or [`NO_REG`].
    pub base: u8,
    /// Index register (not rsp) or [`NO_REG`].
    pub index: u8,
    /// Left shift of the index.
    pub scale: u8,
    /// Displacement.
    pub disp: i32,
    /// The address wraps at 32 bits (address-size prefix).
    pub addr32: bool,
    /// The address is relative to the gs base.
    pub gs: bool,
}

impl Mem {
    /// A field of the CPU state.
    pub const fn state(offset: u32) -> Self {
        Mem { base: STATE, index: NO_REG, scale: 0, disp: offset as i32, addr32: false, gs: false }
    }
}

/// The register-or-memory operand of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rm {
    /// A register (integer or vector, as the instruction says).
    Reg(u8),
    /// Memory.
    Mem(Mem),
}

impl Rm {
    /// Whether it is memory other than the CPU state.
    pub fn is_guest_memory(self) -> bool {
        matches!(self, Rm::Mem(mem) if mem.base != STATE)
    }
}

/// An opcode: mandatory prefix (0 = none), escape map (0: one byte, 1: 0F, 2: 0F 38, 3: 0F 3A), opcode byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opcode {
    /// 0x66, 0xf2, 0xf3 or 0.
    pub prefix: u8,
    /// Escape map.
    pub map: u8,
    /// Opcode byte.
    pub byte: u8,
}

impl Opcode {
    /// One-byte opcode.
    pub const fn one(byte: u8) -> Self {
        Opcode { prefix: 0, map: 0, byte }
    }
    /// Two-byte opcode (0F).
    pub const fn two(byte: u8) -> Self {
        Opcode { prefix: 0, map: 1, byte }
    }
    /// Two-byte opcode with a mandatory prefix.
    pub const fn sse(prefix: u8, byte: u8) -> Self {
        Opcode { prefix, map: 1, byte }
    }
}

/// A growing piece of host code.
#[derive(Debug, Default)]
pub struct Asm {
    /// The bytes so far.
    pub code: Vec<u8>,
}

impl Asm {
    /// Offset of the next byte.
    pub fn pos(&self) -> u32 {
        self.code.len() as u32
    }
    /// One byte.
    pub fn u8(&mut self, byte: u8) {
        self.code.push(byte);
    }
    /// Four bytes, little endian.
    pub fn u32(&mut self, value: u32) {
        self.code.extend_from_slice(&value.to_le_bytes());
    }
    /// Instruction with a ModRM byte. `size` is the operand size in bytes: 2 adds the operand-size prefix, 8 sets
    /// REX.W, 1 makes the registers byte registers. `byte_rm` says that only the r/m operand is a byte register.
    pub fn op(&mut self, opcode: Opcode, size: u32, reg: u8, rm: Rm) {
        self.op_with(opcode, size, reg, rm, size == 1, size == 1);
    }
    /// As [`Asm::op`], saying of each operand whether it is a byte register (numbers 4 to 7 then need a REX prefix).
    pub fn op_with(&mut self, opcode: Opcode, size: u32, reg: u8, rm: Rm, byte_reg: bool, byte_rm: bool) {
        let (mut x, mut b) = (0, 0);
        let mut rex_needed = byte_reg && (4..8).contains(&reg);
        match rm {
            Rm::Reg(r) => {
                b = r >> 3;
                rex_needed |= byte_rm && (4..8).contains(&r);
            }
            Rm::Mem(m) => {
                if m.gs {
                    self.u8(0x65);
                }
                if m.addr32 {
                    self.u8(0x67);
                }
                if m.base != NO_REG {
                    b = m.base >> 3;
                }
                if m.index != NO_REG {
                    x = m.index >> 3;
                }
            }
        }
        if size == 2 {
            self.u8(0x66);
        }
        if opcode.prefix != 0 {
            self.u8(opcode.prefix);
        }
        let rex = 0x40 | u8::from(size == 8) << 3 | (reg >> 3) << 2 | x << 1 | b;
        if rex != 0x40 || rex_needed {
            self.u8(rex);
        }
        match opcode.map {
            1 => self.u8(0x0f),
            2 => self.code.extend_from_slice(&[0x0f, 0x38]),
            3 => self.code.extend_from_slice(&[0x0f, 0x3a]),
            _ => {}
        }
        self.u8(opcode.byte);
        self.modrm(reg & 7, rm);
    }
    /// Instruction with a 128-bit VEX prefix (SDM vol. 2, 2.3.5): `reg` and `rm` as in [`Asm::op`], and a second source
    /// (0 if there is none). `wide` is VEX.W.
    pub fn vex(&mut self, opcode: Opcode, wide: bool, reg: u8, second: u8, rm: Rm) {
        let (x, b) = match rm {
            Rm::Reg(r) => (0, r >> 3),
            Rm::Mem(m) => {
                if m.gs {
                    self.u8(0x65);
                }
                if m.addr32 {
                    self.u8(0x67);
                }
                let high = |r: u8| if r == NO_REG { 0 } else { r >> 3 };
                (high(m.index), high(m.base))
            }
        };
        let prefix = match opcode.prefix {
            0x66 => 1,
            0xf3 => 2,
            0xf2 => 3,
            _ => 0,
        };
        // The register fields are stored inverted.
        let last = u8::from(wide) << 7 | (!second & 15) << 3 | prefix;
        let inverted_r = (!reg >> 3 & 1) << 7;
        if opcode.map == 1 && !wide && x == 0 && b == 0 {
            self.code.extend_from_slice(&[0xc5, inverted_r | last]);
        } else {
            let first = inverted_r | (!x & 1) << 6 | (!b & 1) << 5 | opcode.map;
            self.code.extend_from_slice(&[0xc4, first, last]);
        }
        self.u8(opcode.byte);
        self.modrm(reg & 7, rm);
    }
    fn modrm(&mut self, reg: u8, rm: Rm) {
        let m = match rm {
            Rm::Reg(r) => return self.u8(0xc0 | reg << 3 | r & 7),
            Rm::Mem(m) => m,
        };
        if m.base == NO_REG {
            // [disp32] or [index * scale + disp32]: a SIB byte without base.
            let index = if m.index == NO_REG { 4 } else { m.index & 7 };
            self.u8(reg << 3 | 4);
            self.u8(m.scale << 6 | index << 3 | 5);
            return self.u32(m.disp as u32);
        }
        let mode = match m.disp {
            0 if m.base & 7 != 5 => 0,
            -128..=127 => 1,
            _ => 2,
        };
        if m.index != NO_REG || m.base & 7 == 4 {
            let index = if m.index == NO_REG { 4 } else { m.index & 7 };
            self.u8(mode << 6 | reg << 3 | 4);
            self.u8(m.scale << 6 | index << 3 | m.base & 7);
        } else {
            self.u8(mode << 6 | reg << 3 | m.base & 7);
        }
        match mode {
            1 => self.u8(m.disp as u8),
            2 => self.u32(m.disp as u32),
            _ => {}
        }
    }
    /// Pads with a multi-byte no-op so that a 4-byte field `lead` bytes ahead does not cross a 16-byte boundary.
    pub fn align_field(&mut self, lead: u32) {
        let over = (self.pos() + lead) % 16;
        if over > 12 {
            self.nop(16 - over);
        }
    }
    /// No-ops of `len` bytes in all (SDM vol. 2, NOP).
    pub fn nop(&mut self, len: u32) {
        const NOPS: [&[u8]; 4] = [&[], &[0x90], &[0x66, 0x90], &[0x0f, 0x1f, 0x00]];
        let mut left = len;
        while left > 0 {
            let n = left.min(3);
            self.code.extend_from_slice(NOPS[n as usize]);
            left -= n;
        }
    }
    /// Sets the 4-byte displacement at `at` so that it leads to `target` (both offsets in this code).
    pub fn patch(&mut self, at: u32, target: u32) {
        let disp = target.wrapping_sub(at + 4);
        self.code[at as usize..at as usize + 4].copy_from_slice(&disp.to_le_bytes());
    }
    /// Sets the 1-byte displacement at `at` so that it leads here.
    pub fn patch_short(&mut self, at: u32) {
        self.code[at as usize] = (self.pos() - at - 1) as u8;
    }
}

impl Extend<u8> for Asm {
    fn extend<T: IntoIterator<Item = u8>>(&mut self, iter: T) {
        self.code.extend(iter);
    }
}

impl<'a> Extend<&'a u8> for Asm {
    fn extend<T: IntoIterator<Item = &'a u8>>(&mut self, iter: T) {
        self.code.extend(iter);
    }
}

impl DynasmApi for Asm {
    fn offset(&self) -> AssemblyOffset {
        AssemblyOffset(self.code.len())
    }
    fn push(&mut self, byte: u8) {
        self.code.push(byte);
    }
    fn align(&mut self, alignment: usize, with: u8) {
        while !self.code.len().is_multiple_of(alignment) {
            self.code.push(with);
        }
    }
}
