//! Made-up guests for tests of the IR, the interpreter and back ends: register tables with a register of every kind
//! that a back end has to place, two helpers, and memory.

use crate::machine::{FaultCause, Helper, HelperCx, HelperFn, MemFault, Memory, Trap};
use crate::state::{Family, GUEST_OFFSET, Pin, RegDef, RegTable};
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
    family: Family::X86,
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

/// Numbers of the registers in the tables below, which all begin in the same way.
const COMMON: usize = 6;
const WIDE_FXSAVE: u32 = GUEST_OFFSET + 768;
const VECTORS: u32 = GUEST_OFFSET + 512;

macro_rules! numbered {
    ($letter:literal) => {
        [
            concat!($letter, "0"),
            concat!($letter, "1"),
            concat!($letter, "2"),
            concat!($letter, "3"),
            concat!($letter, "4"),
            concat!($letter, "5"),
            concat!($letter, "6"),
            concat!($letter, "7"),
            concat!($letter, "8"),
            concat!($letter, "9"),
            concat!($letter, "10"),
            concat!($letter, "11"),
            concat!($letter, "12"),
            concat!($letter, "13"),
            concat!($letter, "14"),
            concat!($letter, "15"),
            concat!($letter, "16"),
            concat!($letter, "17"),
            concat!($letter, "18"),
            concat!($letter, "19"),
            concat!($letter, "20"),
            concat!($letter, "21"),
            concat!($letter, "22"),
            concat!($letter, "23"),
            concat!($letter, "24"),
            concat!($letter, "25"),
            concat!($letter, "26"),
            concat!($letter, "27"),
            concat!($letter, "28"),
            concat!($letter, "29"),
            concat!($letter, "30"),
            concat!($letter, "31"),
        ]
    };
}
const INT_NAMES: [&str; 32] = numbered!("r");
const VECTOR_NAMES: [&str; 32] = numbered!("x");

/// Flags, a floating-point control register at `control`, integers of several widths in the state; then `N / 2`
/// integers of type `ty` and as many vectors from `vectors` on.
const fn registers<const N: usize>(ty: Type, control: u32, vectors: u32) -> [RegDef; N] {
    let flags = RegDef { name: "flags", ty: Type::Flags, offset: GUEST_OFFSET, pin: Pin::Flags };
    let mut regs = [flags; N];
    regs[1] = RegDef { name: "mxcsr", ty: Type::I32, offset: control, pin: Pin::FpControl };
    regs[2] = memory("b0", Type::I8, 4);
    regs[3] = memory("h0", Type::I16, 6);
    regs[4] = memory("w0", Type::I32, 8);
    regs[5] = memory("q0", Type::I64, 16);
    let half = (N - COMMON) / 2;
    let mut n = 0;
    while n < half {
        let number = n as u8;
        let offset = GUEST_OFFSET + 32 + 8 * n as u32;
        regs[COMMON + n] = RegDef { name: INT_NAMES[n], ty, offset, pin: Pin::Int { rank: number, number } };
        let offset = vectors + 16 * n as u32;
        let pin = Pin::Vector { rank: number, number };
        regs[COMMON + half + n] = RegDef { name: VECTOR_NAMES[n], ty: Type::V128, offset, pin };
        n += 1;
    }
    regs
}

static WIDE_REGS: [RegDef; COMMON + 32] = registers(Type::I64, WIDE_FXSAVE + 24, WIDE_FXSAVE + 160);
static RISC64_REGS: [RegDef; COMMON + 64] = registers(Type::I64, GUEST_OFFSET + 24, VECTORS);
static RISC32_REGS: [RegDef; COMMON + 32] = registers(Type::I32, GUEST_OFFSET + 24, VECTORS);

/// A guest with sixteen 64-bit integer registers, as many vectors and an FXSAVE image, of the x86 family.
pub static WIDE: RegTable = RegTable {
    arch: "test-wide",
    family: Family::X86,
    regs: &WIDE_REGS,
    size: WIDE_FXSAVE + 512,
    addr_bits: 64,
    flags: Some(crate::RegId(0)),
    fxsave: Some(WIDE_FXSAVE),
};

/// A guest with 32 integer registers of 64 bits and as many vectors, of another family.
pub static RISC64: RegTable = RegTable {
    arch: "test-risc64",
    family: Family::Other,
    regs: &RISC64_REGS,
    size: VECTORS + 512,
    addr_bits: 64,
    flags: Some(crate::RegId(0)),
    fxsave: None,
};

/// A guest with sixteen integer registers of 32 bits and as many vectors, of another family.
pub static RISC32: RegTable = RegTable {
    arch: "test-risc32",
    family: Family::Other,
    regs: &RISC32_REGS,
    size: VECTORS + 256,
    addr_bits: 32,
    flags: Some(crate::RegId(0)),
    fxsave: None,
};

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
