//! I/O ports: who may use them, and the instructions.

use super::cpu::{Cpu, gp};
use crate::state::word;
use isamorph_ir::{HelperCx, Trap};

/// Where the 32-bit and 64-bit task states tell where the bitmap begins (SDM vol. 1, 19.5.2).
const BITMAP_AT: u64 = 0x66;

/// `port_in(port, bytes)`.
pub(crate) fn port_in(cx: &mut HelperCx<'_>, [port, bytes, _]: [u64; 3]) -> Result<u64, Trap> {
    Ok(input(cx, port as u16, bytes as u32)?.into())
}

/// `port_out(port, bytes, value)`.
pub(crate) fn port_out(cx: &mut HelperCx<'_>, [port, bytes, value]: [u64; 3]) -> Result<u64, Trap> {
    output(cx, port as u16, bytes as u32, value as u32)?;
    Ok(0)
}

/// Reads a port.
pub(crate) fn input(cx: &mut HelperCx<'_>, port: u16, bytes: u32) -> Result<u32, Trap> {
    check(cx, port, bytes)?;
    let mut cpu = Cpu::new(cx)?;
    let value = cpu.sys.port_in(port, bytes);
    cpu.watch_port(port, bytes);
    Ok(value)
}

/// Writes a port.
pub(crate) fn output(cx: &mut HelperCx<'_>, port: u16, bytes: u32, value: u32) -> Result<(), Trap> {
    check(cx, port, bytes)?;
    let mut cpu = Cpu::new(cx)?;
    cpu.sys.port_out(port, bytes, value);
    cpu.watch_port(port, bytes);
    Ok(())
}

/// Whether the code that runs may use these ports: by IOPL, else by the bitmap of its task.
///
/// # Errors
/// It may not.
pub fn check(cx: &mut HelperCx<'_>, port: u16, bytes: u32) -> Result<(), Trap> {
    let cpu = Cpu::new(cx)?;
    let by_level = !cpu.protected() || !cpu.v86() && cpu.cpl() <= cpu.iopl();
    if by_level || cpu.bitmap_allows(port.into(), bytes)? { Ok(()) } else { Err(gp(0)) }
}

impl Cpu<'_> {
    fn bitmap_allows(&self, port: u64, bytes: u32) -> Result<bool, Trap> {
        let (base, limit) = (word::TR_BASE.get(self.state), word::TR_LIMIT.get(self.state));
        let wide = word::TR_ATTR.get(self.state) >> 8 & 8 != 0;
        if !wide || limit < BITMAP_AT + 1 {
            return Ok(false);
        }
        let at = self.system_read(base.wrapping_add(BITMAP_AT), 2)? + port / 8;
        // Two bytes are read always, for ports on both sides of a byte.
        if at + 1 > limit {
            return Ok(false);
        }
        let bits = self.system_read(base.wrapping_add(at), 2)? >> (port % 8);
        Ok(bits & ((1 << bytes) - 1) == 0)
    }
}
