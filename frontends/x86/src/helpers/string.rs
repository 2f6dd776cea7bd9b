//! Repeated string instructions (SDM vol. 2, REP). They run in bulk: as many elements at a time as lie within one page
//! on each side. When a bulk access is refused, the element at the pointers is tried alone, so that a fault leaves the
//! registers at exactly the element that faulted.

use crate::decode::Mode;
use crate::state::{AMD64, DF, EAX, ECX, EDI, ESI, FLAGS};
use isamorph_ir::{CpuState, FlagSet, HelperCx, MemFault, RegId, StringOp, Trap};

/// Unit within which an access succeeds or fails as a whole.
const PAGE: u64 = 4096;
/// Bytes that one call handles at most; the instruction is then started again.
const PIECE: u64 = 1 << 16;

/// The parts of a repeated string instruction that its encoding decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StringConfig {
    /// Size of an element: 1, 2, 4 or 8.
    pub(crate) bytes: u32,
    /// Size of the pointers and the counter: 2, 4 or 8.
    pub(crate) address_bytes: u32,
    /// Width of linear addresses.
    pub(crate) mode: Mode,
    /// `repe` (or `rep`) rather than `repne`.
    pub(crate) while_equal: bool,
}

impl StringConfig {
    /// As a helper argument.
    pub(crate) fn pack(self) -> u32 {
        self.bytes | self.address_bytes << 8 | u32::from(self.while_equal) << 16 | self.mode.number() << 24
    }
    fn unpack(word: u64) -> Self {
        StringConfig {
            bytes: (word as u32 & 15).max(1),
            address_bytes: (word >> 8) as u32 & 15,
            mode: Mode::from_number((word >> 24) as u32),
            while_equal: word >> 16 & 1 != 0,
        }
    }
}

/// A repeated instruction under way; the registers in the state are always exact.
struct Run<'a, 'b> {
    cx: &'a mut HelperCx<'b>,
    config: StringConfig,
    source_base: u64,
    forward: bool,
    /// Flags of the last comparison. They are set when the run is over: a fault finds those from before it.
    flags: Option<FlagSet>,
}

impl<'a, 'b> Run<'a, 'b> {
    fn new(cx: &'a mut HelperCx<'b>, args: [u64; 3]) -> Self {
        let forward = cx.state.get(&AMD64, DF) as i32 != -1;
        Run { cx, config: StringConfig::unpack(args[0]), source_base: args[1], forward, flags: None }
    }
    /// A pointer or the counter.
    fn reg(&self, reg: RegId) -> u64 {
        self.cx.state.get(&AMD64, reg) & mask(self.config.address_bytes)
    }
    fn set_reg(&mut self, reg: RegId, v: u64) {
        set_part(self.cx.state, reg, v, self.config.address_bytes);
    }
    fn size(&self) -> u64 {
        u64::from(self.config.bytes)
    }
    /// The linear address in an index register.
    fn linear(&self, reg: RegId) -> u64 {
        let base = if reg == ESI { self.source_base } else { 0 };
        base.wrapping_add(self.reg(reg)) & self.config.mode.pc_mask()
    }
    /// How many elements from `addr` on, in the direction of the run, lie in one page; 0 if the first crosses.
    fn elements_in_page(&self, addr: u64) -> u64 {
        let (offset, size) = (addr % PAGE, self.size());
        match self.forward {
            true => (PAGE - offset) / size,
            false if offset + size > PAGE => 0,
            false => offset / size + 1,
        }
    }
    /// How many elements to do at once with these index registers; at least 1.
    fn bulk(&self, regs: &[RegId], budget: u64) -> u64 {
        // Pointers may wrap in the middle of a page if they are narrower than addresses.
        if self.config.address_bytes * 8 < self.config.mode.bits() {
            return 1;
        }
        let limit = self.reg(ECX).min((budget / self.size()).max(1));
        regs.iter().map(|r| self.elements_in_page(self.linear(*r))).fold(limit, u64::min).max(1)
    }
    /// The lowest address of `n` elements.
    fn low(&self, reg: RegId, n: u64) -> u64 {
        let addr = self.linear(reg);
        if self.forward { addr } else { addr.wrapping_sub((n - 1) * self.size()) & self.config.mode.pc_mask() }
    }
    /// Moves past `n` elements.
    fn advance(&mut self, regs: &[RegId], n: u64) {
        let distance = n.wrapping_mul(self.size());
        let step = if self.forward { distance } else { distance.wrapping_neg() };
        for reg in regs {
            let v = self.reg(*reg).wrapping_add(step);
            self.set_reg(*reg, v);
        }
        let left = self.reg(ECX).wrapping_sub(n);
        self.set_reg(ECX, left);
    }
    /// Runs a piece. `body` does `n` elements and tells how many it did and whether the run is over; it is asked again
    /// for a single one when more were refused.
    fn piece(
        mut self,
        regs: &[RegId],
        mut body: impl FnMut(&mut Self, u64) -> Result<(u64, bool), MemFault>,
    ) -> Result<u64, Trap> {
        let mut budget = PIECE;
        while self.reg(ECX) != 0 {
            if budget == 0 {
                return Ok(1);
            }
            let n = self.bulk(regs, budget);
            let (done, over) = match body(&mut self, n) {
                Err(_) if n > 1 => body(&mut self, 1)?,
                result => result?,
            };
            self.advance(regs, done);
            if over {
                break;
            }
            budget = budget.saturating_sub(done * self.size());
        }
        if let Some(flags) = self.flags {
            self.cx.state.set(&AMD64, FLAGS, u64::from(flags.bits()));
        }
        Ok(0)
    }
    /// The element of a buffer that comes `i`-th in the direction of the run.
    fn element(&self, buffer: &[u8], i: u64, n: u64) -> u64 {
        let size = self.config.bytes as usize;
        let at = if self.forward { i } else { n - 1 - i } as usize * size;
        let mut raw = [0; 8];
        raw[..size].copy_from_slice(&buffer[at..at + size]);
        u64::from_le_bytes(raw)
    }
    fn accumulator(&self) -> u64 {
        self.cx.state.get(&AMD64, EAX) & mask(self.config.bytes)
    }
    /// Compares elements in turn until the condition of the repetition fails; keeps the flags of the last comparison
    /// and tells how many were compared and whether it failed.
    fn compare(&mut self, n: u64, pair: impl Fn(&Self, u64) -> (u64, u64)) -> (u64, bool) {
        let stop = (0..n).find(|i| {
            let (a, b) = pair(self, *i);
            (a == b) != self.config.while_equal
        });
        let done = stop.map_or(n, |i| i + 1);
        let (a, b) = pair(self, done - 1);
        self.flags = Some(sub_flags(a, b, 8 * self.config.bytes));
        (done, stop.is_some())
    }
}

/// The bits of `bytes` bytes.
fn mask(bytes: u32) -> u64 {
    u64::MAX >> (64 - 8 * bytes)
}

/// Writes a part of an integer register as instructions do: 32 bits are zero-extended.
fn set_part(state: &mut CpuState, reg: RegId, v: u64, bytes: u32) {
    let mask = mask(bytes);
    let old = if bytes < 4 { state.get(&AMD64, reg) } else { 0 };
    state.set(&AMD64, reg, old & !mask | v & mask);
}

/// The flags of `a - b`, both `bits` wide and zero-extended.
fn sub_flags(a: u64, b: u64, bits: u32) -> FlagSet {
    let difference = a.wrapping_sub(b) & mask(bits / 8);
    let sign = 1 << (bits - 1);
    let mut flags = FlagSet::empty();
    flags.set(FlagSet::C, a < b);
    flags.set(FlagSet::P, (difference as u8).count_ones().is_multiple_of(2));
    flags.set(FlagSet::A, (a ^ b ^ difference) & 0x10 != 0);
    flags.set(FlagSet::Z, difference == 0);
    flags.set(FlagSet::S, difference & sign != 0);
    flags.set(FlagSet::O, (a ^ b) & (a ^ difference) & sign != 0);
    flags
}

const fn plain(bytes: u32, mode: Mode) -> StringConfig {
    StringConfig { bytes, address_bytes: mode.bits() / 8, mode, while_equal: true }
}

/// What [`copy`] is to a host with string instructions.
pub(super) const fn copy_op(bytes: u32) -> Option<StringOp> {
    Some(StringOp { copy: true, bytes, destination: EDI, source: ESI, count: ECX, direction: DF })
}

/// What [`fill`] is to a host with string instructions.
pub(super) const fn fill_op(bytes: u32) -> Option<StringOp> {
    Some(StringOp { copy: false, bytes, destination: EDI, source: EAX, count: ECX, direction: DF })
}

/// All of `rep movs` with flat segments.
pub(super) fn copy<const BYTES: u32, const BITS: u32>(cx: &mut HelperCx<'_>, _: [u64; 3]) -> Result<u64, Trap> {
    while rep_movs(cx, [u64::from(plain(BYTES, Mode::from_number(BITS)).pack()), 0, 0])? != 0 {}
    Ok(0)
}

/// All of `rep stos`.
pub(super) fn fill<const BYTES: u32, const BITS: u32>(cx: &mut HelperCx<'_>, _: [u64; 3]) -> Result<u64, Trap> {
    while rep_stos(cx, [u64::from(plain(BYTES, Mode::from_number(BITS)).pack()), 0, 0])? != 0 {}
    Ok(0)
}

type Buffer = [u8; PAGE as usize];

pub(super) fn rep_movs(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let mut buffer: Buffer = [0; PAGE as usize];
    Run::new(cx, args).piece(&[ESI, EDI], |run, n| {
        let size = run.size();
        let ahead = run.linear(EDI).wrapping_sub(run.linear(ESI));
        // A destination that overlaps the source in the direction of the copy repeats the bytes in between.
        let overlap = if run.forward { ahead } else { ahead.wrapping_neg() };
        let (n, period) = match overlap {
            0 => (n, n * size),
            d if d >= n * size => (n, n * size),
            d if d < size || !run.forward => (1, size),
            d => (n, d),
        };
        let (len, period) = ((n * size) as usize, period as usize);
        run.cx.mem.read(run.low(ESI, n), &mut buffer[..period])?;
        for i in period..len {
            buffer[i] = buffer[i - period];
        }
        run.cx.mem.write(run.low(EDI, n), &buffer[..len])?;
        Ok((n, false))
    })
}

pub(super) fn rep_stos(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let run = Run::new(cx, args);
    let mut buffer: Buffer = [0; PAGE as usize];
    let size = run.config.bytes as usize;
    let element = run.accumulator().to_le_bytes();
    let mut filled = 0;
    run.piece(&[EDI], |run, n| {
        let len = n as usize * size;
        if len > filled {
            match size {
                1 => buffer[filled..len].fill(element[0]),
                2 => repeat(&mut buffer[filled..len], [element[0], element[1]]),
                4 => repeat(&mut buffer[filled..len], [element[0], element[1], element[2], element[3]]),
                _ => repeat(&mut buffer[filled..len], element),
            }
            filled = len;
        }
        run.cx.mem.write(run.low(EDI, n), &buffer[..len])?;
        Ok((n, false))
    })
}

/// Repeats an element; its size is known here, so that each copy is one store.
fn repeat<const N: usize>(buffer: &mut [u8], element: [u8; N]) {
    for slot in buffer.chunks_exact_mut(N) {
        slot.copy_from_slice(&element);
    }
}

pub(super) fn rep_lods(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let mut buffer: Buffer = [0; PAGE as usize];
    Run::new(cx, args).piece(&[ESI], |run, n| {
        run.cx.mem.read(run.low(ESI, n), &mut buffer[..(n * run.size()) as usize])?;
        let last = run.element(&buffer, n - 1, n);
        set_part(run.cx.state, EAX, last, run.config.bytes);
        Ok((n, false))
    })
}

pub(super) fn rep_scas(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let mut buffer: Buffer = [0; PAGE as usize];
    Run::new(cx, args).piece(&[EDI], |run, n| {
        run.cx.mem.read(run.low(EDI, n), &mut buffer[..(n * run.size()) as usize])?;
        let acc = run.accumulator();
        Ok(run.compare(n, |run, i| (acc, run.element(&buffer, i, n))))
    })
}

pub(super) fn rep_cmps(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let mut source: Buffer = [0; PAGE as usize];
    let mut destination: Buffer = [0; PAGE as usize];
    Run::new(cx, args).piece(&[ESI, EDI], |run, n| {
        let len = (n * run.size()) as usize;
        run.cx.mem.read(run.low(ESI, n), &mut source[..len])?;
        run.cx.mem.read(run.low(EDI, n), &mut destination[..len])?;
        Ok(run.compare(n, |run, i| (run.element(&source, i, n), run.element(&destination, i, n))))
    })
}
