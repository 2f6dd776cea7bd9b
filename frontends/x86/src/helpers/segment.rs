//! Segment registers and descriptors, as a 64-bit Linux kernel arranges them for 32-bit programs: flat code and data
//! segments, and three entries for thread-local storage. A machine has real ones: [`crate::system`].

use crate::exception;
use crate::state::{self, FS, FS_BASE, GS, GS_BASE, I386, TlsDescriptor, selector};
use crate::system::tables;
use isamorph_ir::{CpuState, HelperCx, RegId, Trap};

/// Segment register numbers (SDM vol. 2, table 3-1) that are special.
const NUMBER_CS: u64 = 1;
const NUMBER_SS: u64 = 2;

/// What a descriptor says to user code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Segment {
    base: u32,
    /// Limit in bytes.
    limit: u32,
    /// The access-rights word as `lar` gives it.
    rights: u32,
}

/// Access rights (SDM vol. 3, 3.4.5): bits 8 – 15 type, S, DPL, P; bits 20 – 23 AVL, L, D/B, G.
mod rights {
    pub(super) const WRITABLE: u32 = 1 << 9;
    pub(super) const DOWN: u32 = 1 << 10;
    pub(super) const CODE: u32 = 1 << 11;
    pub(super) const PRESENT: u32 = 1 << 15;
    /// Accessed, S = 1, DPL 3.
    pub(super) const USER: u32 = 0x7100;
    pub(super) const AVAILABLE: u32 = 1 << 20;
    pub(super) const LONG: u32 = 1 << 21;
    pub(super) const BIG: u32 = 1 << 22;
    pub(super) const PAGES: u32 = 1 << 23;
    /// A flat 32-bit segment.
    pub(super) const FLAT: u32 = USER | PRESENT | BIG | PAGES;
}

/// The segment that a selector of privilege level 3 names.
fn lookup(state: &CpuState, selector: u32) -> Option<Segment> {
    let flat = |more| Some(Segment { base: 0, limit: u32::MAX, rights: more });
    let index = selector >> 3;
    let first = selector::TLS_FIRST;
    match (selector & 0xffff) | 3 {
        _ if selector & 4 != 0 => None,
        selector::USER32_CS => flat(rights::FLAT | rights::CODE | rights::WRITABLE),
        selector::USER_DS => flat(rights::FLAT | rights::WRITABLE),
        selector::USER64_CS => flat(rights::FLAT & !rights::BIG | rights::LONG | rights::CODE | rights::WRITABLE),
        _ if (first..first + selector::TLS_COUNT).contains(&index) => thread_local(state::tls(state, index - first)),
        _ => None,
    }
}

/// The meaning of a thread-local-storage descriptor (Linux `struct user_desc`).
fn thread_local(d: TlsDescriptor) -> Option<Segment> {
    let bit = |n: u32, value: u32| if d.flags >> n & 1 != 0 { value } else { 0 };
    if d.is_empty() {
        return None;
    }
    let contents = (d.flags >> 1 & 3) << 10;
    let readable = if d.flags & 1 << 3 == 0 { rights::WRITABLE } else { 0 };
    let present = if d.flags & TlsDescriptor::NOT_PRESENT == 0 { rights::PRESENT } else { 0 };
    let rights = rights::USER
        | contents
        | readable
        | present
        | bit(0, rights::BIG)
        | bit(4, rights::PAGES)
        | bit(6, rights::AVAILABLE);
    let limit = if rights & rights::PAGES != 0 { d.limit << 12 | 0xfff } else { d.limit };
    Some(Segment { base: d.base, limit, rights })
}

fn protection(selector: u32) -> Trap {
    Trap::Exception { code: exception::GP, arg: u64::from(selector & 0xfffc) }
}

/// The base for a segment register, after the checks of SDM vol. 2, MOV.
fn checked_base(state: &CpuState, number: u64, selector: u32) -> Result<u32, Trap> {
    let stack = number == NUMBER_SS;
    if selector & 0xfffc == 0 && !stack {
        return Ok(0);
    }
    let segment = lookup(state, selector).ok_or(protection(selector))?;
    let code = segment.rights & rights::CODE != 0;
    let writable = segment.rights & rights::WRITABLE != 0;
    if stack && (code || !writable || selector & 3 != 3) || code && !writable {
        return Err(protection(selector));
    }
    if segment.rights & rights::PRESENT == 0 {
        let code = if stack { exception::SS } else { exception::NP };
        return Err(Trap::Exception { code, arg: u64::from(selector & 0xfffc) });
    }
    Ok(segment.base)
}

/// `load_segment(number, selector)`.
///
/// CS cannot be loaded this way (#UD). DS, ES and SS are flat in lifted code, so that a descriptor with another base
/// is refused for them.
pub(super) fn load(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let (number, selector) = (args[0], args[1] as u32 & 0xffff);
    if number == NUMBER_CS || number > 5 {
        return Err(Trap::Exception { code: exception::UD, arg: 0 });
    }
    if cx.mem.system().is_some() {
        return tables::load_segment(cx, args);
    }
    let base = checked_base(cx.state, number, selector)?;
    let row = RegId(state::ES.0 + number as u16);
    match row {
        FS => cx.state.set(&I386, FS_BASE, u64::from(base)),
        GS => cx.state.set(&I386, GS_BASE, u64::from(base)),
        _ if base != 0 => return Err(protection(selector)),
        _ => {}
    }
    cx.state.set(&I386, row, u64::from(selector));
    Ok(0)
}

/// What `inspect_selector` is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Question {
    /// `lar`.
    Rights,
    /// `lsl`.
    Limit,
    /// `verr`.
    Readable,
    /// `verw`.
    Writable,
}

/// `inspect_selector(selector, question)`: the answer, with bit 32 set if the selector can be inspected and the
/// condition holds; 0 otherwise.
pub(super) fn inspect(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    const VALID: u64 = 1 << 32;
    if cx.mem.system().is_some() {
        return tables::inspect(cx, args);
    }
    let Some(segment) = lookup(cx.state, args[0] as u32) else { return Ok(0) };
    let code = segment.rights & rights::CODE != 0;
    let flag = segment.rights & rights::WRITABLE != 0;
    let (value, holds) = match args[1] {
        n if n == Question::Rights as u64 => (segment.rights, true),
        n if n == Question::Limit as u64 => (segment.limit, code || segment.rights & rights::DOWN == 0),
        n if n == Question::Readable as u64 => (0, !code || flag),
        _ => (0, !code && flag),
    };
    Ok(if holds { VALID | u64::from(value) } else { 0 })
}
