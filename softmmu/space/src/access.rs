//! Accesses to an address space.

use crate::flat::{FlatRange, FlatView, Target};
use crate::region::{Endian, Io, IoError, IoRules, RegionId, Sizes};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Why an access was not made, or not all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// Nothing is there, or nothing that takes such an access.
    Unassigned,
    /// A device refused it.
    Refused,
    /// It came from a transfer of the device that it went to.
    Reentered,
}

impl From<IoError> for Failure {
    fn from(error: IoError) -> Self {
        match error {
            IoError::Refused => Failure::Refused,
            IoError::Reentered => Failure::Reentered,
        }
    }
}

/// An address space: what a processor, a bus or a device sees.
///
/// An access that fails in part goes on behind that part, as on a bus: reads of what is not there give ones where the
/// caller asked for registers ([`AddressSpace::load`]) and leave the buffer zero otherwise; the first failure is
/// reported.
pub struct AddressSpace {
    name: String,
    root: RegionId,
    view: RwLock<Arc<FlatView>>,
    generation: AtomicU64,
}

impl AddressSpace {
    pub(crate) fn new(name: &str, root: RegionId, view: FlatView) -> Self {
        AddressSpace { name: name.to_owned(), root, view: RwLock::new(Arc::new(view)), generation: AtomicU64::new(1) }
    }
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
    pub(crate) fn root(&self) -> RegionId {
        self.root
    }
    pub(crate) fn replace(&self, view: FlatView) {
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
        self.generation.fetch_add(1, Ordering::Release);
    }
    /// What it looks like now.
    pub fn view(&self) -> Arc<FlatView> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
    /// Changes whenever the view does; never 0.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Reads bytes. What cannot be read is zero.
    ///
    /// # Errors
    /// The first failure, if any part could not be read.
    pub fn read(&self, addr: u64, out: &mut [u8]) -> Result<(), Failure> {
        out.fill(0);
        walk(&self.view(), addr, out.len(), |range, at, span| {
            let part = &mut out[span];
            match readable(range) {
                Some(block) => block.read(range.offset_of(at), part).map_err(|_| Failure::Refused),
                None => io_read(range, at, part),
            }
        })
    }
    /// Writes bytes.
    ///
    /// # Errors
    /// The first failure, if any part could not be written. Writes to read-only memory are ignored, which is no
    /// failure.
    pub fn write(&self, addr: u64, data: &[u8]) -> Result<(), Failure> {
        walk(&self.view(), addr, data.len(), |range, at, span| {
            let part = &data[span];
            match &range.target {
                Target::Ram(_) if range.readonly => Ok(()),
                Target::Ram(block) => block.write(range.offset_of(at), part).map_err(|_| Failure::Refused),
                _ => io_write(range, at, part),
            }
        })
    }
    /// One load of `size` bytes (1, 2, 4 or 8) as a processor makes it, little endian; ones where nothing is.
    ///
    /// # Errors
    /// The load failed; `Ok` and errors carry no value then, callers that go on use all ones.
    pub fn load(&self, addr: u64, size: u32) -> Result<u64, Failure> {
        let mut raw = [0; 8];
        self.read(addr, &mut raw[..size as usize])?;
        Ok(u64::from_le_bytes(raw))
    }
    /// One store of `size` bytes as a processor makes it, little endian.
    ///
    /// # Errors
    /// The store failed.
    pub fn store(&self, addr: u64, size: u32, value: u64) -> Result<(), Failure> {
        self.write(addr, &value.to_le_bytes()[..size as usize])
    }
}

/// The memory that reads of a range come from directly.
fn readable(range: &FlatRange) -> Option<&isamorph_ram::RamBlock> {
    match &range.target {
        Target::Ram(block) | Target::RomDevice(block, ..) => Some(block),
        Target::Io(..) => None,
    }
}

/// Calls `f` with each range that the bytes from `addr` on lie in, the first address in it, and which bytes those are;
/// wraps at the end of the space. Gives the first failure, and that nothing is there as one.
fn walk(
    view: &FlatView,
    addr: u64,
    len: usize,
    mut f: impl FnMut(&FlatRange, u64, std::ops::Range<usize>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut result = Ok(());
    let mut done = 0;
    while done < len {
        let at = addr.wrapping_add(done as u64);
        let left = len - done;
        let up_to = |end: u128| left.min(usize::try_from(end - u128::from(at)).unwrap_or(usize::MAX));
        let (count, outcome) = match view.find(at) {
            Some(range) => {
                let count = match &range.target {
                    // A register takes all of an access that begins there, though others may answer at the addresses
                    // behind it: the ports 0xcf8 and 0xcf9 of PCs are such.
                    Target::Io(_, rules) => first_size(rules, range.offset_of(at), left),
                    _ => up_to(range.end()),
                };
                (count, f(range, at, done..done + count))
            }
            None => (up_to(view.next_start(at).map_or(crate::WHOLE, u128::from)), Err(Failure::Unassigned)),
        };
        result = result.and(outcome);
        done += count;
    }
    result
}

/// The size of the first of the accesses that `left` bytes at an offset are made of: as large as the device allows, and
/// aligned unless its handlers do unaligned ones.
fn first_size(rules: &IoRules, offset: u64, left: usize) -> usize {
    let aligned = if rules.implemented.unaligned || offset == 0 { 8 } else { 1 << offset.trailing_zeros().min(3) };
    let most = (rules.valid.max as usize).clamp(1, 8).min(aligned).min(left);
    1 << most.ilog2()
}

fn is_allowed(valid: Sizes, offset: u64, size: u32) -> bool {
    (valid.min..=valid.max).contains(&size) && (valid.unaligned || offset.is_multiple_of(size.into()))
}

/// Steps of the handlers' size that an access of `size` bytes is made of.
fn step(rules: &IoRules, size: u32) -> u32 {
    size.min(rules.implemented.max).max(rules.implemented.min)
}

fn bits(bytes: u32) -> u64 {
    if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 }
}

fn device(target: &Target) -> Option<(&dyn Io, &IoRules)> {
    match target {
        Target::Io(io, rules) | Target::RomDevice(_, io, rules) => Some((&**io, rules)),
        Target::Ram(_) => None,
    }
}

fn io_read(range: &FlatRange, addr: u64, out: &mut [u8]) -> Result<(), Failure> {
    let Some((io, rules)) = device(&range.target) else { return Err(Failure::Unassigned) };
    let (mut result, mut done) = (Ok(()), 0);
    while done < out.len() {
        let offset = range.offset_of(addr.wrapping_add(done as u64));
        let size = first_size(rules, offset, out.len() - done);
        match read_register(io, rules, offset, size as u32) {
            Ok(value) => {
                let bytes = value.to_le_bytes();
                let part = &mut out[done..done + size];
                part.copy_from_slice(&bytes[..size]);
                if rules.endian == Endian::Big {
                    part.reverse();
                }
            }
            Err(failure) => result = result.and(Err(failure)),
        }
        done += size;
    }
    result
}

fn io_write(range: &FlatRange, addr: u64, data: &[u8]) -> Result<(), Failure> {
    let Some((io, rules)) = device(&range.target) else { return Err(Failure::Unassigned) };
    let (mut result, mut done) = (Ok(()), 0);
    while done < data.len() {
        let offset = range.offset_of(addr.wrapping_add(done as u64));
        let size = first_size(rules, offset, data.len() - done);
        let mut raw = [0; 8];
        raw[..size].copy_from_slice(&data[done..done + size]);
        if rules.endian == Endian::Big {
            raw[..size].reverse();
        }
        let value = u64::from_le_bytes(raw);
        let rings = |bell: &&crate::region::Doorbell| {
            bell.offset == offset
                && (bell.size == 0 || bell.size == size as u32)
                && bell.value.is_none_or(|wanted| wanted == value)
        };
        match range.doorbells.iter().find(rings) {
            Some(bell) => bell.notifier.notify(),
            None => result = result.and(write_register(io, rules, offset, size as u32, value)),
        }
        done += size;
    }
    result
}

/// One read of a register as the guest makes it, in the sizes that the handler has.
fn read_register(io: &dyn Io, rules: &IoRules, offset: u64, size: u32) -> Result<u64, Failure> {
    if !is_allowed(rules.valid, offset, size) || !io.accepts(offset, size, false) {
        return Err(Failure::Unassigned);
    }
    let step = step(rules, size);
    let mut value = 0;
    for i in (0..size).step_by(step as usize) {
        let part = io.read(offset.wrapping_add(i.into()), step)? & bits(step);
        value |=
            if rules.endian == Endian::Big { part << (8 * size.saturating_sub(step + i)) } else { part << (8 * i) };
    }
    Ok(value & bits(size))
}

/// One write of a register as the guest makes it, in the sizes that the handler has.
fn write_register(io: &dyn Io, rules: &IoRules, offset: u64, size: u32, value: u64) -> Result<(), Failure> {
    if !is_allowed(rules.valid, offset, size) || !io.accepts(offset, size, true) {
        return Err(Failure::Unassigned);
    }
    let step = step(rules, size);
    for i in (0..size).step_by(step as usize) {
        let shift = if rules.endian == Endian::Big { 8 * size.saturating_sub(step + i) } else { 8 * i };
        io.write(offset.wrapping_add(i.into()), step, value >> shift & bits(step))?;
    }
    Ok(())
}
