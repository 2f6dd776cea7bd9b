//! The helpers that transfer control. Each returns the next linear program counter.

use super::cpu::Cpu;
use super::deliver::{Interruption, Origin};
use super::transfer::Far;
use isamorph_ir::{HelperCx, Trap};

impl Cpu<'_> {
    /// What a transfer returns. A fault after a task switch belongs to the new task, which takes it before its first
    /// instruction.
    fn arrive(&mut self, done: Result<(), Trap>) -> Result<u64, Trap> {
        if let Err(trap) = done {
            if !self.switched {
                return Err(trap);
            }
            // A shutdown is in the state.
            self.raise(trap);
        }
        Ok(self.state.pc())
    }
}

fn far(cx: &mut HelperCx<'_>, [what, offset, next]: [u64; 3], call: bool) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    let next = cpu.eip_of(next);
    let far = Far { selector: what & 0xffff, offset, size: what >> 16, next, call };
    let done = cpu.far(&far);
    cpu.arrive(done)
}

/// `far_jump(selector and size, offset, next)`.
pub(crate) fn far_jump(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    far(cx, args, false)
}

/// `far_call(selector and size, offset, next)`.
pub(crate) fn far_call(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    far(cx, args, true)
}

/// `far_return(size, bytes to release)`.
pub(crate) fn far_return(cx: &mut HelperCx<'_>, [size, release, _]: [u64; 3]) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    let done = cpu.far_return(size, release);
    cpu.arrive(done)
}

/// `interrupt(vector, kind, next)`: kind 0 is `int n`, 1 `int3` and `into`, 2 `int1`.
pub(crate) fn interrupt(cx: &mut HelperCx<'_>, [vector, kind, next]: [u64; 3]) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    let origin = match kind {
        0 => Origin::Software,
        1 => Origin::Breakpoint,
        _ => Origin::Privileged,
    };
    let eip = cpu.eip_of(next);
    let done = cpu.interrupt(&Interruption { vector: vector as u8, error: None, origin, eip });
    cpu.arrive(done)
}

/// `interrupt_return(size, next)`: `iret`.
pub(crate) fn interrupt_return(cx: &mut HelperCx<'_>, [size, next, _]: [u64; 3]) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    let next = cpu.eip_of(next);
    let done = cpu.iret(size, next);
    cpu.arrive(done)
}
