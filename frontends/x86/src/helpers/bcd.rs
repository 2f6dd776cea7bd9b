//! Decimal adjustment as the pseudo-code of SDM vol. 2 has it (DAA, DAS, AAA, AAS). Flags that the manual calls
//! undefined come out as processors leave them: those of the adjusted AL for S, Z, P; O clear.

use isamorph_ir::{FlagSet, HelperCx, Trap};

/// Packs AX and the flags: S, Z, P from AL.
fn pack(ax: u16, carry: bool, adjust: bool) -> Result<u64, Trap> {
    let al = ax as u8;
    let mut flags = FlagSet::empty();
    flags.set(FlagSet::C, carry);
    flags.set(FlagSet::A, adjust);
    flags.set(FlagSet::Z, al == 0);
    flags.set(FlagSet::S, al & 0x80 != 0);
    flags.set(FlagSet::P, al.count_ones().is_multiple_of(2));
    Ok(u64::from(ax) | u64::from(flags.bits()) << 16)
}

fn unpack(args: [u64; 3]) -> (u16, bool, bool) {
    let flags = FlagSet::from_bits_truncate(args[1] as u32);
    (args[0] as u16, flags.contains(FlagSet::C), flags.contains(FlagSet::A))
}

/// `daa` and `das`: `step` adds or subtracts a byte and tells the carry or borrow.
fn packed(args: [u64; 3], step: fn(u8, u8) -> (u8, bool)) -> Result<u64, Trap> {
    let (ax, carry, adjust) = unpack(args);
    let old = ax as u8;
    let mut al = old;
    let mut carry_out = false;
    let low = old & 0xf > 9 || adjust;
    if low {
        let (stepped, overflow) = step(al, 6);
        al = stepped;
        carry_out = carry || overflow;
    }
    if old > 0x99 || carry {
        al = step(al, 0x60).0;
        carry_out = true;
    }
    pack(ax & 0xff00 | u16::from(al), carry_out, low)
}

/// `aaa` and `aas`: `step` adds or subtracts the correction to AX.
fn unpacked(args: [u64; 3], step: fn(u16) -> u16) -> Result<u64, Trap> {
    let (ax, _, adjust) = unpack(args);
    let needed = ax & 0xf > 9 || adjust;
    let ax = if needed { step(ax) } else { ax };
    pack(ax & 0xff0f, needed, needed)
}

pub(super) fn daa(_cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    packed(args, u8::overflowing_add)
}

pub(super) fn das(_cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    packed(args, u8::overflowing_sub)
}

pub(super) fn aaa(_cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    unpacked(args, |ax| ax.wrapping_add(0x106))
}

pub(super) fn aas(_cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    unpacked(args, |ax| ax.wrapping_sub(6).wrapping_sub(0x100))
}
