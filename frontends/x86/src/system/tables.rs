//! Descriptor-table registers, the task register, and questions about selectors (SDM vol. 3, 2.4 and 5.10).

use super::cpu::{Cpu, UD, canonical, gp, mask, np};
use super::descriptor::{Descriptor, kind};
use super::task;
use crate::helpers::Question;
use crate::state::word;
use isamorph_ir::{HelperCx, Trap};

/// A table's base and limit, as `lgdt` reads them.
fn load_table(cx: &mut HelperCx<'_>, addr: u64, size: u64, base: word::Word, limit: word::Word) -> Result<u64, Trap> {
    let cpu = Cpu::new(cx)?;
    cpu.privileged()?;
    let mut raw = [0; 16];
    let bytes = if size == 8 { 10 } else { 6 };
    cpu.mem.read(addr, &mut raw[..bytes])?;
    let raw = u128::from_le_bytes(raw);
    // With 16-bit operands the base has 24 bits.
    let value = (raw >> 16) as u64 & if size == 2 { mask(3) } else { mask(size) };
    if size == 8 && !canonical(value) {
        return Err(gp(0));
    }
    base.set(cpu.state, value);
    limit.set(cpu.state, raw as u64 & 0xffff);
    Ok(0)
}

fn store_table(cx: &mut HelperCx<'_>, addr: u64, size: u64, base: word::Word, limit: word::Word) -> Result<u64, Trap> {
    let cpu = Cpu::new(cx)?;
    let raw = u128::from(base.get(cpu.state)) << 16 | u128::from(limit.get(cpu.state) & 0xffff);
    let bytes = if size == 8 { 10 } else { 6 };
    cpu.mem.write(addr, &raw.to_le_bytes()[..bytes])?;
    Ok(0)
}

/// `load_gdt(address, size)`.
pub(crate) fn load_gdt(cx: &mut HelperCx<'_>, [addr, size, _]: [u64; 3]) -> Result<u64, Trap> {
    load_table(cx, addr, size, word::GDTR_BASE, word::GDTR_LIMIT)
}
/// `load_idt(address, size)`.
pub(crate) fn load_idt(cx: &mut HelperCx<'_>, [addr, size, _]: [u64; 3]) -> Result<u64, Trap> {
    load_table(cx, addr, size, word::IDTR_BASE, word::IDTR_LIMIT)
}
/// `store_gdt(address, size)`.
pub(crate) fn store_gdt(cx: &mut HelperCx<'_>, [addr, size, _]: [u64; 3]) -> Result<u64, Trap> {
    store_table(cx, addr, size, word::GDTR_BASE, word::GDTR_LIMIT)
}
/// `store_idt(address, size)`.
pub(crate) fn store_idt(cx: &mut HelperCx<'_>, [addr, size, _]: [u64; 3]) -> Result<u64, Trap> {
    store_table(cx, addr, size, word::IDTR_BASE, word::IDTR_LIMIT)
}

/// `store_ldt()`: the selector.
pub(crate) fn store_ldt(cx: &mut HelperCx<'_>, _args: [u64; 3]) -> Result<u64, Trap> {
    let cpu = Cpu::new(cx)?;
    if cpu.paragraphs() { Err(UD) } else { Ok(word::LDTR.get(cpu.state)) }
}
/// `store_task()`: the selector.
pub(crate) fn store_task(cx: &mut HelperCx<'_>, _args: [u64; 3]) -> Result<u64, Trap> {
    let cpu = Cpu::new(cx)?;
    if cpu.paragraphs() { Err(UD) } else { Ok(word::TR.get(cpu.state)) }
}

/// `load_ldt(selector)`.
pub(crate) fn load_ldt_register(cx: &mut HelperCx<'_>, [selector, ..]: [u64; 3]) -> Result<u64, Trap> {
    let mut cpu = Cpu::new(cx)?;
    if cpu.paragraphs() {
        return Err(UD);
    }
    cpu.privileged()?;
    load_ldt(&mut cpu, selector & 0xffff, gp, np)?;
    Ok(0)
}

/// A descriptor of the system in the global table, with the upper half of its base in long mode.
fn system_descriptor(cpu: &Cpu<'_>, selector: u64, refuse: fn(u64) -> Trap) -> Result<(u64, Descriptor, u64), Trap> {
    let long = cpu.long_active();
    if selector & 4 != 0 {
        return Err(refuse(selector));
    }
    let addr = cpu.entry(selector, if long { 16 } else { 8 }).ok_or(refuse(selector))?;
    let d = cpu.read_descriptor(addr)?;
    let upper = if long { cpu.system_read(addr.wrapping_add(8), 4)? << 32 } else { 0 };
    Ok((addr, d, d.base() | upper))
}

/// Loads LDTR; `refuse` and `absent` make the exceptions.
pub(super) fn load_ldt(
    cpu: &mut Cpu<'_>,
    selector: u64,
    refuse: fn(u64) -> Trap,
    absent: fn(u64) -> Trap,
) -> Result<(), Trap> {
    let (mut base, mut limit, mut attr) = (0, 0, 0);
    if selector & 0xfffc != 0 {
        let (_, d, at) = system_descriptor(cpu, selector, refuse)?;
        if d.kind() != Some(kind::LDT) {
            return Err(refuse(selector));
        }
        if !d.present() {
            return Err(absent(selector));
        }
        if !canonical(at) {
            return Err(refuse(selector));
        }
        (base, limit, attr) = (at, d.limit(), d.attr());
    }
    for (word, value) in [
        (word::LDTR, selector),
        (word::LDTR_BASE, base),
        (word::LDTR_LIMIT, limit.into()),
        (word::LDTR_ATTR, attr.into()),
    ] {
        word.set(cpu.state, value);
    }
    Ok(())
}

/// `load_task(selector)`: `ltr`.
pub(crate) fn load_task(cx: &mut HelperCx<'_>, [selector, ..]: [u64; 3]) -> Result<u64, Trap> {
    let cpu = Cpu::new(cx)?;
    let selector = selector & 0xffff;
    if cpu.paragraphs() {
        return Err(UD);
    }
    cpu.privileged()?;
    if selector & 0xfffc == 0 {
        return Err(gp(0));
    }
    let (addr, d, base) = system_descriptor(&cpu, selector, gp)?;
    let fits = match d.kind() {
        Some(kind::TSS32) => true,
        Some(kind::TSS16) => !cpu.long_active(),
        _ => false,
    };
    if !fits {
        return Err(gp(selector));
    }
    if !d.present() {
        return Err(np(selector));
    }
    if !canonical(base) {
        return Err(gp(selector));
    }
    task::set_busy(&cpu, addr, true)?;
    for (word, value) in [
        (word::TR, selector),
        (word::TR_BASE, base),
        (word::TR_LIMIT, d.limit().into()),
        (word::TR_ATTR, (d.attr() | task::BUSY).into()),
    ] {
        word.set(cpu.state, value);
    }
    Ok(0)
}

/// `inspect_selector(selector, question)` in a machine; see the helper of that name.
pub(crate) fn inspect(cx: &mut HelperCx<'_>, [selector, question, _]: [u64; 3]) -> Result<u64, Trap> {
    const VALID: u64 = 1 << 32;
    let cpu = Cpu::new(cx)?;
    let selector = selector & 0xffff;
    if cpu.paragraphs() {
        return Err(UD);
    }
    let Some(addr) = cpu.entry(selector, 8).filter(|_| selector & 0xfffc != 0) else { return Ok(0) };
    let d = cpu.read_descriptor(addr)?;
    let conforming = d.is_code() && d.is_conforming();
    let visible = conforming || d.dpl() >= cpu.cpl() && d.dpl() >= (selector & 3) as u32;
    let long = cpu.long_active();
    // SDM vol. 2, tables 3-53 and 3-54: which structures of the system can be asked about.
    let has_limit = match d.kind() {
        None | Some(kind::LDT | kind::TSS32 | kind::TSS32_BUSY) => true,
        Some(kind::TSS16 | kind::TSS16_BUSY) => !long,
        _ => false,
    };
    let has_rights = match d.kind() {
        Some(kind::CALL_GATE32) => true,
        Some(kind::CALL_GATE16 | kind::TASK_GATE) => !long,
        _ => has_limit,
    };
    let (value, holds) = match question {
        q if q == Question::Rights as u64 => (d.high & LAR_MASK, has_rights),
        q if q == Question::Limit as u64 => (d.limit(), has_limit),
        q if q == Question::Readable as u64 => (0, d.is_readable()),
        _ => (0, d.is_writable_data()),
    };
    Ok(if visible && holds { VALID | u64::from(value) } else { 0 })
}

/// What `lar` shows of a descriptor.
const LAR_MASK: u32 = 0x00f0_ff00;

/// `load_segment(number, selector)` in a machine.
pub(crate) fn load_segment(cx: &mut HelperCx<'_>, [number, selector, _]: [u64; 3]) -> Result<u64, Trap> {
    Cpu::new(cx)?.load_data(number as u16, selector)?;
    Ok(0)
}

/// `check_segment(number, bytes and direction, offset)`, see [`super::check_segment`].
pub(crate) fn check(cx: &mut HelperCx<'_>, [what, offset, _]: [u64; 3]) -> Result<u64, Trap> {
    super::check_segment(cx.state, what as u32 & 7, offset, (what >> 8 & 0xff) as u32, what >> 16 & 1 != 0)?;
    Ok(0)
}
