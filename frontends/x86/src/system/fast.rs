//! `syscall`, `sysenter` and their returns; `swapgs` (SDM vol. 2; for `syscall` outside of 64-bit code: AMD64
//! Architecture Programmer's Manual vol. 3).

use super::cpu::{Cpu, UD, canonical, efer, gp, mask};
use super::descriptor::{Segment, number};
use crate::model::Vendor;
use crate::state::{ECX, EDX, ESP, GS_BASE, eflag, gpr, rights, word};
use isamorph_ir::{HelperCx, Trap};

/// Attributes of flat segments, without their level: code of 32 and of 64 bits, data.
const CODE32: u32 = rights::PAGES | rights::BIG | 0x9b00;
const CODE64: u32 = rights::PAGES | rights::LONG | 0x9b00;
const DATA: u32 = rights::PAGES | rights::BIG | 0x9300;
const R11: isamorph_ir::RegId = gpr(11);

impl Cpu<'_> {
    fn is_amd(&self) -> bool {
        super::model(self.state).vendor == Vendor::Amd
    }
    /// Flat code and the stack that belongs to it.
    fn set_flat(&mut self, code: u64, stack: u64, attr: u32, level: u32) {
        self.set_segment(number::SS, Segment::flat(stack, DATA, level));
        self.set_code(Segment::flat(code, attr, level));
    }
    /// The end of `syscall`, `sysret` and `sysenter`: unlike other instructions they trap if the flags that they leave
    /// have TF.
    fn arrived(&mut self) -> u64 {
        if self.eflags() & u64::from(eflag::TF) != 0 {
            self.pend_debug(super::debug::SINGLE_STEP);
        }
        self.level_changed();
        self.state.pc()
    }
    fn clear(&mut self, bits: u64) {
        let flags = self.eflags() & !bits;
        self.set_eflags(flags);
    }
    /// Whether `syscall` and `sysret` exist here: Intel's processors have them in 64-bit code only.
    fn has_syscall(&self) -> Result<(), Trap> {
        let enabled = word::EFER.get(self.state) & efer::SCE != 0;
        if enabled && self.protected() && (self.code64() || self.is_amd()) { Ok(()) } else { Err(UD) }
    }
}

/// `system_call(next)`: `syscall`.
pub(crate) fn system_call(cx: &mut HelperCx<'_>, [next, ..]: [u64; 3]) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    cpu.has_syscall()?;
    let star = word::STAR.get(cpu.state);
    let selector = star >> 32 & 0xfffc;
    let eip = cpu.eip_of(next);
    cpu.set(ECX, eip);
    if cpu.long_active() {
        let flags = cpu.eflags() & !u64::from(eflag::RF);
        let entry = if cpu.code64() { word::LSTAR } else { word::CSTAR }.get(cpu.state);
        cpu.set_flat(selector, selector + 8, CODE64, 0);
        cpu.set(ECX, eip);
        cpu.set(R11, flags);
        cpu.clear(word::FMASK.get(cpu.state) | u64::from(eflag::RF));
        cpu.set_eip(entry);
    } else {
        cpu.set_flat(selector, selector + 8, CODE32, 0);
        cpu.clear((eflag::VM | eflag::IF | eflag::RF).into());
        cpu.set_eip(star & mask(4));
    }
    Ok(cpu.arrived())
}

/// `system_return(size)`: `sysret`.
pub(crate) fn system_return(cx: &mut HelperCx<'_>, [size, ..]: [u64; 3]) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    cpu.has_syscall()?;
    cpu.privileged()?;
    let selector = word::STAR.get(cpu.state) >> 48 & 0xfffc;
    let target = cpu.get(ECX);
    let wide = size == 8;
    if wide && !canonical(target) {
        return Err(gp(0));
    }
    if cpu.long_active() {
        let image = cpu.get(R11) & super::flags::EXISTING & !u64::from(eflag::RF | eflag::VM);
        cpu.set_eflags(image);
    } else {
        let flags = cpu.eflags() | u64::from(eflag::IF);
        cpu.set_eflags(flags);
    }
    let code = if wide { selector + 16 } else { selector };
    cpu.set_flat(code | 3, (selector + 8) | 3, if wide { CODE64 } else { CODE32 }, 3);
    cpu.set_eip(if wide { target } else { target & mask(4) });
    Ok(cpu.arrived())
}

/// `system_enter(next)`: `sysenter`.
pub(crate) fn system_enter(cx: &mut HelperCx<'_>, _args: [u64; 3]) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    let selector = word::SYSENTER_CS.get(cpu.state) & 0xfffc;
    let long = cpu.long_active();
    if long && cpu.is_amd() {
        return Err(UD);
    }
    if !cpu.protected() || selector == 0 {
        return Err(gp(0));
    }
    cpu.clear((eflag::VM | eflag::IF | eflag::RF).into());
    let width = if long { u64::MAX } else { mask(4) };
    let pointer = word::SYSENTER_ESP.get(cpu.state) & width;
    let target = word::SYSENTER_EIP.get(cpu.state) & width;
    cpu.set_flat(selector, selector + 8, if long { CODE64 } else { CODE32 }, 0);
    cpu.set(ESP, pointer);
    cpu.set_eip(target);
    Ok(cpu.arrived())
}

/// `system_exit(size)`: `sysexit`.
pub(crate) fn system_exit(cx: &mut HelperCx<'_>, [size, ..]: [u64; 3]) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    let selector = word::SYSENTER_CS.get(cpu.state) & 0xfffc;
    if cpu.long_active() && cpu.is_amd() {
        return Err(UD);
    }
    if !cpu.protected() || selector == 0 || cpu.cpl() != 0 {
        return Err(gp(0));
    }
    let (pointer, target) = (cpu.get(ECX), cpu.get(EDX));
    if size == 8 {
        if !canonical(pointer) || !canonical(target) {
            return Err(gp(0));
        }
        cpu.set_flat((selector + 32) | 3, (selector + 40) | 3, CODE64, 3);
        cpu.set(ESP, pointer);
        cpu.set_eip(target);
    } else {
        cpu.set_flat((selector + 16) | 3, (selector + 24) | 3, CODE32, 3);
        cpu.set(ESP, pointer & mask(4));
        cpu.set_eip(target & mask(4));
    }
    cpu.level_changed();
    Ok(cpu.state.pc())
}

/// `swap_gs()`.
pub(crate) fn swap_gs(cx: &mut HelperCx<'_>, _args: [u64; 3]) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    if !cpu.code64() {
        return Err(UD);
    }
    cpu.privileged()?;
    let (visible, hidden) = (cpu.get(GS_BASE), word::KERNEL_GS_BASE.get(cpu.state));
    cpu.set(GS_BASE, hidden);
    word::KERNEL_GS_BASE.set(cpu.state, visible);
    Ok(0)
}

/// `monitor()`: what `monitor` refuses. `mwait` after it does not wait.
pub(crate) fn monitor(cx: &mut HelperCx<'_>, _args: [u64; 3]) -> Result<u64, Trap> {
    let cpu = Cpu::new(cx)?;
    check_monitor(&cpu)
}

/// `monitor_wait()`: likewise.
pub(crate) fn monitor_wait(cx: &mut HelperCx<'_>, _args: [u64; 3]) -> Result<u64, Trap> {
    let cpu = Cpu::new(cx)?;
    check_monitor(&cpu)
}

fn check_monitor(cpu: &Cpu<'_>) -> Result<u64, Trap> {
    if !super::features(cpu.state).has(crate::model::Feature::Monitor) || cpu.cpl() != 0 {
        return Err(UD);
    }
    // No extensions, no hints of `monitor`.
    if cpu.get(ECX) & mask(4) != 0 { Err(gp(0)) } else { Ok(0) }
}
