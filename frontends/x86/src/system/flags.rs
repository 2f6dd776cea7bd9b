//! `pushf`, `popf`, `stac`, `clac` where they are not lifted.

use super::cpu::{Cpu, UD, cr4, gp, mask};
use crate::state::{EFLAGS_REST, eflag};
use isamorph_ir::{HelperCx, Trap};

/// The bits of EFLAGS that exist.
pub(super) const EXISTING: u64 = 0x003f_7fd5;

/// `push_flags(size)`: the image that `pushf` pushes.
pub(crate) fn push(cx: &mut HelperCx<'_>, [size, ..]: [u64; 3]) -> Result<u64, Trap> {
    let cpu = Cpu::new(cx)?;
    cpu.allows_flags()?;
    Ok(cpu.eflags() & !u64::from(eflag::RF | eflag::VM) & mask(size))
}

/// `pop_flags(image, size)`.
pub(crate) fn pop(cx: &mut HelperCx<'_>, [image, size, _]: [u64; 3]) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    cpu.allows_flags()?;
    let bits = cpu.loadable_flags(size);
    cpu.load_flags(image, bits);
    cpu.level_changed();
    Ok(0)
}

/// `allow_access()`: `stac`.
pub(crate) fn allow_access(cx: &mut HelperCx<'_>, _args: [u64; 3]) -> Result<u64, Trap> {
    set_access(cx, eflag::AC.into())
}

/// `forbid_access()`: `clac`.
pub(crate) fn forbid_access(cx: &mut HelperCx<'_>, _args: [u64; 3]) -> Result<u64, Trap> {
    set_access(cx, 0)
}

fn set_access(cx: &mut HelperCx<'_>, bit: u64) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    if cpu.cpl() != 0 {
        return Err(UD);
    }
    let rest = cpu.get(EFLAGS_REST) & !u64::from(eflag::AC);
    cpu.set(EFLAGS_REST, rest | bit);
    if cpu.cr4() & cr4::SMAP != 0 {
        cpu.level_changed();
    }
    Ok(0)
}

impl Cpu<'_> {
    /// Virtual-8086 mode needs the privilege for I/O (SDM vol. 3, 20.2.7).
    fn allows_flags(&self) -> Result<(), Trap> {
        if self.v86() && self.iopl() < 3 { Err(gp(0)) } else { Ok(()) }
    }
}
