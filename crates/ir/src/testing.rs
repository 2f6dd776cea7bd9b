//! A made-up guest for tests of the IR, the interpreter and back ends: a register table with a register of every kind
//! that a back end has to place, two helpers, and memory.

use crate::machine::{FaultCause, Helper, HelperCx, HelperFn, MemFault, Memory, Trap};
use crate::state::{GUEST_OFFSET, Pin, RegDef, RegTable};
use crate::types::Type;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Offset of the FXSAVE image in the state.
pub const FXSAVE: u32 = GUEST_OFFSET + 512;

const fn int(name: &'static str, number: u8) -> RegDef {
    let offset = GUEST_OFFSET + 4 * number as u32;
    RegDef { name, ty: Type::I32, offset, pin: Pin::Int { rank: number, number } }
}

const fn vector(name: &'static str, number: u8) -> RegDef {
    let offset = FXSAVE + 160 + 16 * number as u32;
    RegDef { name, ty: Type::V128, offset, pin: Pin::Vector { rank: number, number } }
}

const fn mmx(name: &'static str, number: u8) -> RegDef {
    RegDef { name, ty: Type::V64, offset: FXSAVE + 32 + 16 * number as u32, pin: Pin::X87(number) }
}

const fn memory(name: &'static str, ty: Type, offset: u32) -> RegDef {
    RegDef { name, ty, offset: GUEST_OFFSET + offset, pin: Pin::State }
}

/// Registers of the made-up guest: eight integers that want host registers, flags, integers of other widths that stay
/// in the state, and the registers of an FXSAVE image.
pub static TABLE: RegTable = RegTable {
    arch: "test",
    regs: &[
        int("r0", 0),
        int("r1", 1),
        int("r2", 2),
        int("r3", 3),
        int("r4", 4),
        int("r5", 5),
        int("r6", 6),
        int("r7", 7),
        RegDef { name: "flags", ty: Type::Flags, offset: GUEST_OFFSET + 32, pin: Pin::Flags },
        memory("seg", Type::I32, 36),
        memory("b0", Type::I8, 40),
        memory("h0", Type::I16, 42),
        memory("q0", Type::I64, 48),
        memory("q1", Type::I64, 56),
        vector("x0", 0),
        vector("x1", 1),
        vector("x2", 2),
        vector("x3", 3),
        vector("x4", 4),
        vector("x5", 5),
        vector("x6", 6),
        vector("x7", 7),
        mmx("m0", 0),
        mmx("m1", 1),
        mmx("m2", 2),
        mmx("m3", 3),
        mmx("m4", 4),
        mmx("m5", 5),
        mmx("m6", 6),
        mmx("m7", 7),
        RegDef { name: "fcw", ty: Type::I16, offset: FXSAVE, pin: Pin::State },
        RegDef { name: "fsw", ty: Type::I16, offset: FXSAVE + 2, pin: Pin::State },
        RegDef { name: "ftw", ty: Type::I8, offset: FXSAVE + 4, pin: Pin::State },
        RegDef { name: "mxcsr", ty: Type::I32, offset: FXSAVE + 24, pin: Pin::FpControl },
    ],
    size: FXSAVE + 512,
    addr_bits: 32,
    flags: TABLE_FLAGS,
    fxsave: Some(FXSAVE),
};

const TABLE_FLAGS: Option<crate::RegId> = Some(crate::RegId(8));

/// Helpers of the made-up guest: `mix` returns a value computed from its arguments, `fail` raises exception 77 with
/// its first argument.
pub static HELPERS: &[Helper] = &[row("mix", mix), row("fail", fail)];

const fn row(name: &'static str, run: HelperFn) -> Helper {
    Helper { name, run, fpu: false, string: None }
}

fn mix(_: &mut HelperCx<'_>, [a, b, c]: [u64; 3]) -> Result<u64, Trap> {
    Ok(a.wrapping_mul(3) ^ b.rotate_left(7) ^ c)
}

fn fail(_: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    Err(Trap::Exception { code: 77, arg: args[0] })
}

/// Memory that is mapped byte by byte; nothing is mapped at first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub RefCell<BTreeMap<u64, u8>>);

impl Bytes {
    /// Memory with those bytes at an address.
    pub fn new(addr: u64, bytes: &[u8]) -> Self {
        Bytes(RefCell::new((addr..).zip(bytes.iter().copied()).collect()))
    }
}

impl Memory for Bytes {
    fn read(&self, addr: u64, out: &mut [u8]) -> Result<(), MemFault> {
        for (addr, byte) in (addr..).zip(out) {
            let unmapped = MemFault { addr, write: false, cause: FaultCause::Unmapped };
            *byte = *self.0.borrow().get(&addr).ok_or(unmapped)?;
        }
        Ok(())
    }

    fn write(&self, addr: u64, data: &[u8]) -> Result<(), MemFault> {
        let mut bytes = self.0.borrow_mut();
        if let Some((addr, _)) = (addr..).zip(data).find(|(addr, _)| !bytes.contains_key(addr)) {
            return Err(MemFault { addr, write: true, cause: FaultCause::Unmapped });
        }
        bytes.extend((addr..).zip(data.iter().copied()));
        Ok(())
    }

    fn update(&self, addr: u64, bytes: u32, f: &mut dyn FnMut(u128) -> u128) -> Result<u128, MemFault> {
        let mut raw = [0; 16];
        let raw = &mut raw[..bytes as usize];
        self.read(addr, raw).map_err(|fault| MemFault { write: true, ..fault })?;
        let old = raw.iter().rev().fold(0, |bits, byte| bits << 8 | u128::from(*byte));
        self.write(addr, &f(old).to_le_bytes()[..bytes as usize])?;
        Ok(old)
    }
}
