//! Repeated string instructions (SDM vol. 2, REP). They run in bulk: as many elements at a time as lie within one page
//! on each side. When a bulk access is refused, the element at the pointers is tried alone, so that a fault leaves the
//! registers at exactly the element that faulted.

use crate::mode::Mode;
use crate::state::{AMD64, DF, EAX, ECX, EDI, EDX, ESI, FLAGS};
use crate::system::{check_segment, io};
use isamorph_ir::{CpuState, FlagSet, HelperCx, HelperFn, RegId, StringOp, Trap};

/// Unit within which an access succeeds or fails as a whole.
const PAGE: u64 = 4096;
/// Bytes that one call handles at most; the instruction is then started again.
const PIECE: u64 = 1 << 14;
/// Bytes up to which a smaller buffer serves: most copies are short, and clearing a page for each would take longer
/// than they do.
const SHORT: usize = 256;
/// Number of the ES register, where destinations are.
const NUMBER_ES: u32 = 0;

/// The parts of a string instruction that its encoding and the mode decide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StringConfig {
    /// Size of an element: 1, 2, 4 or 8.
    pub(crate) bytes: u32,
    /// Size of the pointers and the counter: 2, 4 or 8.
    pub(crate) address_bytes: u32,
    /// Whether linear addresses have 64 bits.
    pub(crate) long: bool,
    /// `repe` (or `rep`) rather than `repne`.
    pub(crate) while_equal: bool,
    /// The number of the source's segment register.
    pub(crate) source: u32,
    /// Whether segments have limits that are to be checked.
    pub(crate) checked: bool,
    /// Whether one element at a time is done, and the instruction is then started again.
    pub(crate) stepped: bool,
    /// Whether it has no `rep` prefix: one element, and the counter is not looked at.
    pub(crate) once: bool,
}

impl StringConfig {
    /// As a helper argument.
    pub(crate) const fn pack(self) -> u32 {
        self.bytes
            | self.address_bytes << 4
            | self.source << 8
            | (self.long as u32) << 16
            | (self.while_equal as u32) << 17
            | (self.checked as u32) << 18
            | (self.stepped as u32) << 19
            | (self.once as u32) << 20
    }
    fn unpack(word: u64) -> Self {
        let bit = |n: u32| word >> n & 1 != 0;
        StringConfig {
            bytes: (word as u32 & 15).max(1),
            address_bytes: (word >> 4) as u32 & 15,
            source: (word >> 8) as u32 & 7,
            long: bit(16),
            while_equal: bit(17),
            checked: bit(18),
            stepped: bit(19),
            once: bit(20),
        }
    }
    /// The mask of linear addresses.
    fn mask(self) -> u64 {
        if self.long { u64::MAX } else { u32::MAX.into() }
    }
}

/// A side of a string instruction: the register that points to it, and whether it is written.
#[derive(Clone, Copy)]
struct Side {
    reg: RegId,
    write: bool,
}

const READ_SOURCE: Side = Side { reg: ESI, write: false };
const READ_DESTINATION: Side = Side { reg: EDI, write: false };
const WRITE_DESTINATION: Side = Side { reg: EDI, write: true };

/// A repeated instruction under way; the registers in the state are always exact.
struct Run<'a, 'b> {
    cx: &'a mut HelperCx<'b>,
    config: StringConfig,
    source_base: u64,
    destination_base: u64,
    /// log2 of the size of an element.
    shift: u32,
    /// Bytes that the buffer holds.
    room: u64,
    forward: bool,
    /// Flags of the last comparison. They are set when the run is over: a fault finds those from before it.
    flags: Option<FlagSet>,
}

impl<'a, 'b> Run<'a, 'b> {
    fn new(cx: &'a mut HelperCx<'b>, [config, source_base, destination_base]: [u64; 3], room: usize) -> Self {
        let forward = cx.state.get(&AMD64, DF) as i32 != -1;
        let config = StringConfig::unpack(config);
        let (shift, room) = (config.bytes.trailing_zeros(), room as u64);
        Run { cx, config, source_base, destination_base, shift, room, forward, flags: None }
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
    /// How many elements are left.
    fn left(&self) -> u64 {
        if self.config.once { 1 } else { self.reg(ECX) }
    }
    fn base(&self, reg: RegId) -> u64 {
        if reg == ESI { self.source_base } else { self.destination_base }
    }
    /// The linear address in an index register.
    fn linear(&self, reg: RegId) -> u64 {
        self.base(reg).wrapping_add(self.reg(reg)) & self.config.mask()
    }
    /// How many elements from `addr` on, in the direction of the run, lie in one page; 0 if the first crosses.
    fn elements_in_page(&self, addr: u64) -> u64 {
        let (offset, size) = (addr % PAGE, self.size());
        match self.forward {
            true => (PAGE - offset) >> self.shift,
            false if offset + size > PAGE => 0,
            false => (offset >> self.shift) + 1,
        }
    }
    /// How many elements from a pointer on, in the direction of the run, come before the pointer wraps.
    fn elements_to_wrap(&self, pointer: u64) -> u64 {
        let distance = if self.forward { mask(self.config.address_bytes) - pointer } else { pointer };
        (distance >> self.shift).saturating_add(if self.forward { 0 } else { 1 })
    }
    /// How many elements to do at once; at least 1.
    fn bulk(&self, sides: &[Side], budget: u64) -> u64 {
        if self.config.stepped {
            return 1;
        }
        let limit = self.left().min((budget.min(self.room) >> self.shift).max(1));
        let near = |n: u64, side: &Side| {
            n.min(self.elements_in_page(self.linear(side.reg))).min(self.elements_to_wrap(self.reg(side.reg)))
        };
        sides.iter().fold(limit, near).max(1)
    }
    /// How far below the pointer the lowest of `n` elements lies.
    fn reach(&self, n: u64) -> u64 {
        if self.forward { 0 } else { (n - 1) * self.size() }
    }
    /// The lowest address of `n` elements.
    fn low(&self, reg: RegId, n: u64) -> u64 {
        self.linear(reg).wrapping_sub(self.reach(n)) & self.config.mask()
    }
    /// Checks `n` elements against the limits of the segments.
    fn check(&self, sides: &[Side], n: u64) -> Result<(), Trap> {
        if !self.config.checked {
            return Ok(());
        }
        sides.iter().try_for_each(|side| {
            let number = if side.reg == ESI { self.config.source } else { NUMBER_ES };
            let offset = self.reg(side.reg).wrapping_sub(self.reach(n));
            check_segment(self.cx.state, number, offset, (n * self.size()) as u32, side.write)
        })
    }
    /// Moves past `n` elements.
    fn advance(&mut self, sides: &[Side], n: u64) {
        let distance = n.wrapping_mul(self.size());
        let step = if self.forward { distance } else { distance.wrapping_neg() };
        for side in sides {
            let v = self.reg(side.reg).wrapping_add(step);
            self.set_reg(side.reg, v);
        }
        if !self.config.once {
            let left = self.reg(ECX).wrapping_sub(n);
            self.set_reg(ECX, left);
        }
    }
    /// Runs a piece. `body` does `n` elements and tells how many it did and whether the run is over; it is asked again
    /// for a single one when more were refused.
    fn piece(
        mut self,
        sides: &[Side],
        mut body: impl FnMut(&mut Self, u64) -> Result<(u64, bool), Trap>,
    ) -> Result<u64, Trap> {
        let mut budget = PIECE;
        while self.left() != 0 {
            if budget == 0 {
                return Ok(1);
            }
            let mut n = self.bulk(sides, budget);
            if n > 1 && self.check(sides, n).is_err() {
                n = 1;
            }
            let mut run = |run: &mut Self, n| run.check(sides, n).and_then(|()| body(run, n));
            let (done, over) = match run(&mut self, n) {
                Err(_) if n > 1 => run(&mut self, 1)?,
                result => result?,
            };
            self.advance(sides, done);
            if over || self.config.once {
                break;
            }
            budget = if self.config.stepped { 0 } else { budget.saturating_sub(done * self.size()) };
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

/// A repeated copy or fill of a user program: flat segments, full width.
const fn plain(bytes: u32, bits: u32) -> u64 {
    let long = bits == Mode::USER_64.bits();
    let config = StringConfig {
        bytes,
        address_bytes: bits / 8,
        long,
        while_equal: true,
        source: NUMBER_ES,
        checked: false,
        stepped: false,
        once: false,
    };
    config.pack() as u64
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
    while rep_movs(cx, [plain(BYTES, BITS), 0, 0])? != 0 {}
    Ok(0)
}

/// All of `rep stos`.
pub(super) fn fill<const BYTES: u32, const BITS: u32>(cx: &mut HelperCx<'_>, _: [u64; 3]) -> Result<u64, Trap> {
    while rep_stos(cx, [plain(BYTES, BITS), 0, 0])? != 0 {}
    Ok(0)
}

/// Runs what has the right buffer for the bytes that are left.
fn sized(cx: &mut HelperCx<'_>, args: [u64; 3], short: HelperFn, long: HelperFn) -> Result<u64, Trap> {
    let run = Run::new(cx, args, SHORT);
    let is_short = run.left() <= SHORT as u64 >> run.shift;
    if is_short { short(cx, args) } else { long(cx, args) }
}

pub(super) fn rep_movs(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    sized(cx, args, movs::<SHORT>, movs::<{ PAGE as usize }>)
}

fn movs<const N: usize>(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let mut buffer = [0; N];
    Run::new(cx, args, N).piece(&[READ_SOURCE, WRITE_DESTINATION], |run, n| {
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
    sized(cx, args, stos::<SHORT>, stos::<{ PAGE as usize }>)
}

fn stos<const N: usize>(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let run = Run::new(cx, args, N);
    let mut buffer = [0; N];
    let size = run.config.bytes as usize;
    let element = run.accumulator().to_le_bytes();
    let mut filled = 0;
    run.piece(&[WRITE_DESTINATION], |run, n| {
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
    sized(cx, args, lods::<SHORT>, lods::<{ PAGE as usize }>)
}

fn lods<const N: usize>(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let mut buffer = [0; N];
    Run::new(cx, args, N).piece(&[READ_SOURCE], |run, n| {
        run.cx.mem.read(run.low(ESI, n), &mut buffer[..(n * run.size()) as usize])?;
        let last = run.element(&buffer, n - 1, n);
        set_part(run.cx.state, EAX, last, run.config.bytes);
        Ok((n, false))
    })
}

pub(super) fn rep_scas(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    sized(cx, args, scas::<SHORT>, scas::<{ PAGE as usize }>)
}

fn scas<const N: usize>(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let mut buffer = [0; N];
    Run::new(cx, args, N).piece(&[READ_DESTINATION], |run, n| {
        run.cx.mem.read(run.low(EDI, n), &mut buffer[..(n * run.size()) as usize])?;
        let acc = run.accumulator();
        Ok(run.compare(n, |run, i| (acc, run.element(&buffer, i, n))))
    })
}

pub(super) fn rep_cmps(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    sized(cx, args, cmps::<SHORT>, cmps::<{ PAGE as usize }>)
}

fn cmps<const N: usize>(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let mut source = [0; N];
    let mut destination = [0; N];
    Run::new(cx, args, N).piece(&[READ_SOURCE, READ_DESTINATION], |run, n| {
        let len = (n * run.size()) as usize;
        run.cx.mem.read(run.low(ESI, n), &mut source[..len])?;
        run.cx.mem.read(run.low(EDI, n), &mut destination[..len])?;
        Ok(run.compare(n, |run, i| (run.element(&source, i, n), run.element(&destination, i, n))))
    })
}

/// `rep ins(config, 0, base of ES)`. The destination is tried before anything is read from the port, because reading
/// may have an effect there.
pub(super) fn rep_ins(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    sized(cx, args, ins::<SHORT>, ins::<{ PAGE as usize }>)
}

fn ins<const N: usize>(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let mut buffer = [0; N];
    let port = cx.state.get(&AMD64, EDX) as u16;
    Run::new(cx, args, N).piece(&[WRITE_DESTINATION], |run, n| {
        let size = run.config.bytes;
        io::check(run.cx, port, size)?;
        let (low, len) = (run.low(EDI, n), n * run.size());
        for end in [low, low.wrapping_add(len - 1) & run.config.mask()] {
            run.cx.mem.update(end, 1, &mut |byte| byte)?;
        }
        for i in 0..n {
            let element = io::input(run.cx, port, size)?.to_le_bytes();
            let at = if run.forward { i } else { n - 1 - i } as usize * size as usize;
            buffer[at..at + size as usize].copy_from_slice(&element[..size as usize]);
        }
        run.cx.mem.write(low, &buffer[..len as usize])?;
        Ok((n, false))
    })
}

/// `rep outs(config, base of the source's segment, 0)`.
pub(super) fn rep_outs(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    sized(cx, args, outs::<SHORT>, outs::<{ PAGE as usize }>)
}

fn outs<const N: usize>(cx: &mut HelperCx<'_>, args: [u64; 3]) -> Result<u64, Trap> {
    let mut buffer = [0; N];
    let port = cx.state.get(&AMD64, EDX) as u16;
    Run::new(cx, args, N).piece(&[READ_SOURCE], |run, n| {
        let size = run.config.bytes;
        io::check(run.cx, port, size)?;
        run.cx.mem.read(run.low(ESI, n), &mut buffer[..(n * run.size()) as usize])?;
        for i in 0..n {
            let element = run.element(&buffer, i, n) as u32;
            io::output(run.cx, port, size, element)?;
        }
        Ok((n, false))
    })
}
