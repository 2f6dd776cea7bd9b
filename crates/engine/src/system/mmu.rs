//! A processor's way to memory, devices and ports: translations of addresses, and the accesses that compiled code does
//! not make itself.
//!
//! What decides translation is taken from the state whenever [`System::flush`] announces a change, so that an access
//! needs no state. A page is looked up in the [`Tlb`], which knows more of it than compiled code; what is not there is
//! asked of the guest's page walk.

use crate::system::direct;
use crate::system::observer::{FLUSHED, Observer};
use isamorph_accel::Wires;
use isamorph_cache::Range;
use isamorph_guest::{Access, AccessKind, Mapping, Physical, SystemGuest};
use isamorph_ir::state::{GUEST_BYTES, GUEST_OFFSET};
use isamorph_ir::{CpuState, FaultCause, Flush, MemFault, Memory, System};
use isamorph_ram::{RamBlock, Watcher};
use isamorph_space::{AddressSpace, FlatView, Target};
use isamorph_tlb::{Kind, Page, Tlb};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Size of a page.
pub const PAGE: u64 = 1 << isamorph_tlb::PAGE_SHIFT;

/// What a machine's processors have in common.
#[derive(Clone)]
pub struct Surroundings {
    /// The architecture.
    pub guest: Arc<dyn SystemGuest>,
    /// Guest-physical memory.
    pub memory: Arc<AddressSpace>,
    /// I/O ports.
    pub ports: Arc<AddressSpace>,
    /// Who hears of changes of memory.
    pub observer: Arc<Observer>,
}

/// Which stores are refused for now, see [`crate::world::Code`].
#[derive(Clone, Copy)]
pub enum Guard {
    /// None.
    Nothing,
    /// Those to these bytes of host memory.
    Ranges([Range; GUARDED]),
    /// Those to translated code.
    Pages,
}

/// A region in one page, with an instruction from the page before or what was read ahead, has no more pieces.
pub const GUARDED: usize = 3;

/// RAM that is one piece for the guest and for the host.
#[derive(Clone, Copy, Default)]
struct Ram {
    physical: u64,
    len: u64,
    host: u64,
}

impl Ram {
    /// The host address of bytes that are all inside.
    fn host(&self, physical: u64, bytes: u64) -> Option<u64> {
        let offset = physical.wrapping_sub(self.physical);
        (offset < self.len && self.len - offset >= bytes).then(|| self.host + offset)
    }
}

/// Bits of the note of pages that were executed.
const EXECUTED: u64 = 4096;

/// The memory of a machine as one of its processors sees it.
pub struct Mmu {
    around: Surroundings,
    wires: Arc<Wires>,
    watcher: Arc<dyn Watcher>,
    tlb: Tlb,
    /// What translations are made from. It also keeps the memory alive that they lead to.
    view: RefCell<Arc<FlatView>>,
    generation: Cell<u64>,
    /// The range of RAM in which a page walk was last.
    walked: Cell<Ram>,
    /// What decides translation.
    state: RefCell<Box<CpuState>>,
    context: Cell<usize>,
    privileged: Cell<usize>,
    mask: Cell<u64>,
    guard: Cell<Guard>,
    refused: Cell<bool>,
    /// Whether a translation of an address of code was flushed since the dispatcher has looked.
    flushed: Cell<bool>,
    /// Pages in which code was looked up since then, by the low bits of their number.
    executed: Box<[Cell<u64>]>,
}

impl Mmu {
    /// The memory of a processor in that state.
    pub fn new(around: Surroundings, wires: Arc<Wires>, state: &mut CpuState) -> Self {
        let tlb = Tlb::new(around.guest.contexts());
        // In this order: a view that is newer than its generation is only fetched once too often.
        let generation = around.memory.generation();
        let view = around.memory.view();
        let watcher: Arc<dyn Watcher> = around.observer.clone();
        let mmu = Mmu {
            around,
            wires,
            watcher,
            tlb,
            view: RefCell::new(view),
            generation: Cell::new(generation),
            walked: Cell::new(Ram::default()),
            state: RefCell::new(state.fork()),
            context: Cell::new(0),
            privileged: Cell::new(0),
            mask: Cell::new(u64::MAX),
            guard: Cell::new(Guard::Nothing),
            refused: Cell::new(false),
            flushed: Cell::new(false),
            executed: (0..EXECUTED / 64).map(|_| Cell::new(0)).collect(),
        };
        mmu.take_state(state);
        mmu
    }
    /// The translations.
    pub fn tlb(&self) -> &Tlb {
        &self.tlb
    }
    /// Takes over what decides translation.
    fn take_state(&self, state: &mut CpuState) {
        let mut own = self.state.borrow_mut();
        own.bytes_mut(GUEST_OFFSET, GUEST_BYTES).copy_from_slice(state.bytes(GUEST_OFFSET, GUEST_BYTES));
        own.set_pc(state.pc());
        self.set_privilege(state);
    }
    /// Goes on with the privilege of that state.
    fn set_privilege(&self, state: &mut CpuState) {
        self.privileged.set(self.around.guest.privileged_context(state));
        self.set_context(state);
    }
    /// Goes on in the context of that state; what else decides translation has not changed.
    pub fn set_context(&self, state: &mut CpuState) {
        let guest = &self.around.guest;
        self.context.set(guest.context(state));
        let lane = guest.lanes().get(guest.lane(state));
        self.mask.set(lane.map_or(u64::MAX, |lane| lane.table().addr_mask()));
        state.header.tlb = self.tlb.address(self.context.get());
    }
    /// Forgets everything: anything in the state may have changed.
    pub fn reload(&self, state: &mut CpuState) {
        self.flush(state, Flush::All);
    }
    /// Whether code may be somewhere else now than at the last call, at the same addresses. Whoever remembers where
    /// code is, other than by its [`isamorph_cache::Key`], forgets it.
    pub fn take_flushed(&self) -> bool {
        let flushed = self.flushed.take();
        if flushed {
            self.executed.iter().for_each(|word| word.set(0));
        }
        flushed
    }
    /// Notes that code at an address is looked up.
    pub fn note_executed(&self, addr: u64) {
        let bit = addr / PAGE % EXECUTED;
        let word = &self.executed[(bit / 64) as usize];
        word.set(word.get() | 1 << (bit % 64));
    }
    fn may_be_executed(&self, addr: u64) -> bool {
        let bit = addr / PAGE % EXECUTED;
        self.executed[(bit / 64) as usize].get() >> (bit % 64) & 1 != 0
    }
    /// Whether the memory map has changed; translations are flushed then.
    pub fn follow_map(&self) -> bool {
        let generation = self.around.memory.generation();
        if generation == self.generation.get() {
            return false;
        }
        self.generation.set(generation);
        self.tlb.flush_all();
        self.walked.set(Ram::default());
        self.flushed.set(true);
        // Nothing leads to the old view's memory any more.
        *self.view.borrow_mut() = self.around.memory.view();
        true
    }
    /// Which stores are refused from now on; tells whether one was.
    pub fn set_guard(&self, guard: Guard) -> bool {
        self.guard.set(guard);
        self.refused.take()
    }
    /// The context of ordinary accesses.
    pub fn context(&self) -> usize {
        self.context.get()
    }
    /// Addresses end there.
    pub fn mask(&self) -> u64 {
        self.mask.get()
    }
}

/// Translation.
impl Mmu {
    /// The page of an address, if it may be used so.
    pub fn page(&self, context: usize, addr: u64, kind: Kind) -> Result<Page, MemFault> {
        if let Some(page) = self.tlb.find(context, addr, kind) {
            return Ok(page);
        }
        match self.tlb.find_victim(context, addr, kind) {
            Some(page) => {
                self.insert(context, page);
                Ok(page)
            }
            None => self.fill(context, addr, kind),
        }
    }
    #[cold]
    fn fill(&self, context: usize, addr: u64, kind: Kind) -> Result<Page, MemFault> {
        self.follow_map();
        let access = Access {
            kind: match kind {
                Kind::Read => AccessKind::Read,
                Kind::Write => AccessKind::Write,
                Kind::Fetch => AccessKind::Fetch,
            },
            context,
        };
        let mapping = self.around.guest.translate(&self.state.borrow(), self, addr, access)?;
        let Mapping { page: physical, size_shift, readable, writable, executable, global } = mapping;
        let page = Page {
            addr: addr & !(PAGE - 1),
            physical,
            host: self.host_page(physical),
            readable: readable || kind == Kind::Read,
            writable: writable || kind == Kind::Write,
            executable: executable || kind == Kind::Fetch,
            global,
            size_shift,
        };
        self.insert(context, page);
        Ok(page)
    }
    fn insert(&self, context: usize, page: Page) {
        self.tlb.insert(context, page, || self.is_direct(page.physical));
    }
    /// The host address of a physical page that is memory as a whole, at least for reading; else 0.
    fn host_page(&self, physical: u64) -> u64 {
        let view = self.view.borrow();
        let Some(range) = view.find(physical) else { return 0 };
        let (Target::Ram(block) | Target::RomDevice(block, ..)) = &range.target else { return 0 };
        let offset = range.offset_of(physical);
        let whole = u128::from(physical) + u128::from(PAGE) <= range.end()
            && offset.checked_add(PAGE).is_some_and(|end| end <= block.size());
        if !whole {
            return 0;
        }
        block.set_watcher(&self.watcher);
        block.host_addr() as u64 + offset
    }
    /// Remembers the range of RAM that holds an address for the next page walk.
    fn remember_ram(&self, physical: u64) {
        let view = self.view.borrow();
        if let Some(range) = view.find(physical)
            && let Target::Ram(block) = &range.target
            && let Ok(len) = u64::try_from(range.len)
            && range.offset.checked_add(len).is_some_and(|end| end <= block.size())
        {
            let host = block.host_addr() as u64 + range.offset;
            self.walked.set(Ram { physical: range.start, len, host });
        }
    }
    /// Whether stores to a physical page need not be noticed.
    fn is_direct(&self, physical: u64) -> bool {
        self.ram(physical, PAGE, |block, offset, readonly| !readonly && !block.is_watched(offset..offset + PAGE))
            .unwrap_or(false)
    }
    /// Calls `f` with the block of RAM that holds that many bytes, where they are in it, and whether it ignores stores.
    fn ram<R>(&self, physical: u64, len: u64, f: impl FnOnce(&RamBlock, u64, bool) -> R) -> Option<R> {
        let view = self.view.borrow();
        let range = view.find(physical)?;
        let Target::Ram(block) = &range.target else { return None };
        let inside = u128::from(physical) + u128::from(len) <= range.end();
        inside.then(|| f(block, range.offset_of(physical), range.readonly))
    }
    /// The block that holds a page of host memory, and where it is in it.
    pub fn block(&self, host: u64) -> Option<(Arc<RamBlock>, u64)> {
        let view = self.view.borrow();
        view.ranges().iter().find_map(|range| match &range.target {
            Target::Ram(block) | Target::RomDevice(block, ..) => {
                let offset = host.checked_sub(block.host_addr() as u64).filter(|o| *o < block.size())?;
                Some((block.clone(), offset))
            }
            Target::Io(..) => None,
        })
    }
    /// Makes an access possible for compiled code, unless it has to be made by the interpreter.
    pub fn prepare(&self, addr: u64, bytes: u32, write: bool) -> bool {
        let (context, kind) = (self.context.get(), if write { Kind::Write } else { Kind::Read });
        if addr & (PAGE - 1) > PAGE - u64::from(bytes) {
            return false;
        }
        let Ok(page) = self.page(context, addr, kind) else { return false };
        if self.tlb.direct(context, addr, u64::from(bytes), kind).is_none() && page.host != 0 {
            // Somebody wanted to know of stores, and may know by now.
            self.insert(context, page);
        }
        self.tlb.direct(context, addr, u64::from(bytes), kind).is_some()
    }
    /// The physical address of a virtual one without any effect.
    pub fn look(&self, addr: u64) -> Option<u64> {
        struct Look<'a>(&'a Mmu);
        impl Physical for Look<'_> {
            fn load(&self, addr: u64, bytes: u32) -> u64 {
                Physical::load(self.0, addr, bytes)
            }
            fn set_bits(&self, _: u64, _: u32, _: u64, _: u64) -> bool {
                true
            }
        }
        self.follow_map();
        let state = self.state.borrow();
        let find =
            |context, kind| self.around.guest.translate(&state, &Look(self), addr, Access { kind, context }).ok();
        let mapping =
            find(self.privileged.get(), AccessKind::Read).or_else(|| find(self.context.get(), AccessKind::Read))?;
        Some(mapping.page + addr % PAGE)
    }
}

/// Accesses.
impl Mmu {
    /// The parts of an access in each page: address, and which bytes.
    fn parts(&self, addr: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> + use<> {
        let (mask, mut done) = (self.mask.get(), 0);
        std::iter::from_fn(move || {
            let at = addr.wrapping_add(done as u64) & mask;
            let count = (len - done).min((PAGE - at % PAGE) as usize);
            let part = done..done + count;
            done += count;
            (count != 0).then_some((at, part))
        })
    }
    fn load(&self, context: usize, addr: u64, out: &mut [u8]) -> Result<(), MemFault> {
        if let Some(host) = self.tlb.direct(context, addr, out.len() as u64, Kind::Read) {
            direct::read(host, out);
            return Ok(());
        }
        if addr % PAGE + out.len() as u64 > PAGE {
            // Whatever can be refused is refused before anything is done.
            self.parts(addr, out.len()).try_for_each(|(at, _)| self.page(context, at, Kind::Read).map(drop))?;
        }
        for (at, part) in self.parts(addr, out.len()) {
            let (page, out) = (self.page(context, at, Kind::Read)?, &mut out[part]);
            match page.host {
                0 => self.load_physical(page.physical + at % PAGE, out),
                host => direct::read(host + at % PAGE, out),
            }
        }
        Ok(())
    }
    fn store(&self, context: usize, addr: u64, data: &[u8]) -> Result<(), MemFault> {
        if let Some(host) = self.tlb.direct(context, addr, data.len() as u64, Kind::Write) {
            direct::write(host, data);
            return Ok(());
        }
        if addr % PAGE + data.len() as u64 > PAGE {
            for (at, part) in self.parts(addr, data.len()) {
                let page = self.page(context, at, Kind::Write)?;
                self.check(at, page.physical + at % PAGE, part.len() as u64)?;
            }
        }
        for (at, part) in self.parts(addr, data.len()) {
            let (page, data) = (self.page(context, at, Kind::Write)?, &data[part]);
            let physical = page.physical + at % PAGE;
            match self.tlb.direct(context, at, data.len() as u64, Kind::Write) {
                Some(host) => direct::write(host, data),
                None => {
                    self.check(at, physical, data.len() as u64)?;
                    self.store_physical(physical, data);
                    self.reopen(context, &page);
                }
            }
        }
        Ok(())
    }
    /// Lets stores to a page be direct again, if whoever wanted to know of one knows now.
    fn reopen(&self, context: usize, page: &Page) {
        if page.host != 0 && self.is_direct(page.physical) {
            self.insert(context, *page);
        }
    }
    /// Refuses a store to guarded code.
    fn check(&self, addr: u64, physical: u64, len: u64) -> Result<(), MemFault> {
        let guard = self.guard.get();
        let hit = |block: &RamBlock, offset: u64, readonly: bool| match guard {
            Guard::Nothing => false,
            _ if readonly => false,
            Guard::Pages => block.holds_code(offset..offset + len),
            Guard::Ranges(ranges) => {
                let host = block.host_addr() as u64 + offset;
                ranges.iter().any(|r| r.len != 0 && r.overlaps(host, len))
            }
        };
        let is_guarded = !matches!(guard, Guard::Nothing);
        if is_guarded && self.ram(physical, len, hit).unwrap_or(false) {
            self.refused.set(true);
            return Err(MemFault { addr, write: true, cause: FaultCause::Protected });
        }
        Ok(())
    }
    fn load_physical(&self, physical: u64, out: &mut [u8]) {
        let len = out.len() as u64;
        let read = |block: &RamBlock, offset: u64, _| block.read(offset, out).is_ok();
        if self.ram(physical, len, read).unwrap_or(false) {
            return;
        }
        for (at, part) in registers(out.len()) {
            let bytes = part.len();
            let value = self.around.memory.load(physical.wrapping_add(at), bytes as u32).unwrap_or(u64::MAX);
            out[part].copy_from_slice(&value.to_le_bytes()[..bytes]);
        }
        self.follow_map();
    }
    fn store_physical(&self, physical: u64, data: &[u8]) {
        let mut data_page = None;
        let write = |block: &RamBlock, offset: u64, readonly: bool| {
            let end = offset + data.len() as u64;
            if readonly {
                return;
            }
            let holds_code = block.holds_code(offset..end);
            // The bytes are in the block.
            let _ = block.write(offset, data);
            let page = offset & !(PAGE - 1);
            if !holds_code && block.holds_code(page..page + PAGE) {
                let host = block.host_addr() as u64 + page;
                data_page = self.around.observer.is_data(host).then_some(page);
            }
            if let Some(page) = data_page {
                block.release_code(page);
            }
        };
        if self.ram(physical, data.len() as u64, write).is_some() {
            return;
        }
        for (at, part) in registers(data.len()) {
            let mut raw = [0; 8];
            raw[..part.len()].copy_from_slice(&data[part.clone()]);
            // Nobody answers for a store to where nothing is.
            let addr = physical.wrapping_add(at);
            let _ = self.around.memory.store(addr, part.len() as u32, u64::from_le_bytes(raw));
        }
        self.follow_map();
    }
    /// The same as [`Memory::update`] where the host's atomic instruction cannot do it: a device, or two pages.
    fn update_slowly(&self, addr: u64, bytes: u32, f: &mut dyn FnMut(u128) -> u128) -> Result<u128, MemFault> {
        let (context, len) = (self.context.get(), bytes as usize);
        for (at, part) in self.parts(addr, len) {
            let page = self.page(context, at, Kind::Write)?;
            self.check(at, page.physical + at % PAGE, part.len() as u64)?;
        }
        let mut raw = [0; 16];
        self.load(context, addr, &mut raw[..len])?;
        let old = u128::from_le_bytes(raw);
        self.store(context, addr, &f(old).to_le_bytes()[..len])?;
        Ok(old)
    }
}

/// The accesses to registers that a number of bytes is made of: powers of two up to 8.
fn registers(len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let left = len - done;
        let count = 1 << left.checked_ilog2()?.min(3);
        done += count;
        Some(((done - count) as u64, done - count..done))
    })
}

impl Memory for Mmu {
    fn read(&self, addr: u64, out: &mut [u8]) -> Result<(), MemFault> {
        self.load(self.context.get(), addr, out)
    }
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), MemFault> {
        self.store(self.context.get(), addr, data)
    }
    fn update(&self, addr: u64, bytes: u32, f: &mut dyn FnMut(u128) -> u128) -> Result<u128, MemFault> {
        let (context, len) = (self.context.get(), u64::from(bytes));
        if let Some(host) = self.tlb.direct(context, addr, len, Kind::Write) {
            return Ok(direct::update(host, bytes, f));
        }
        if addr % PAGE + len > PAGE {
            return self.update_slowly(addr, bytes, f);
        }
        let page = self.page(context, addr, Kind::Write)?;
        let physical = page.physical + addr % PAGE;
        self.check(addr, physical, len)?;
        if let Some(host) = self.tlb.direct(context, addr, len, Kind::Write) {
            return Ok(direct::update(host, bytes, f));
        }
        let done = self.ram(
            physical,
            len,
            |block, offset, readonly| {
                if readonly { None } else { block.update(offset, bytes, f).ok() }
            },
        );
        match done.flatten() {
            Some(old) => {
                self.reopen(context, &page);
                Ok(old)
            }
            None => self.update_slowly(addr, bytes, f),
        }
    }
    fn system(&self) -> Option<&dyn System> {
        Some(self)
    }
}

impl System for Mmu {
    fn read_privileged(&self, addr: u64, out: &mut [u8]) -> Result<(), MemFault> {
        self.load(self.privileged.get(), addr, out)
    }
    fn write_privileged(&self, addr: u64, data: &[u8]) -> Result<(), MemFault> {
        // Instructions that store so end their region, and would take a refusal for an exception.
        let guard = self.guard.replace(Guard::Nothing);
        let stored = self.store(self.privileged.get(), addr, data);
        self.guard.set(guard);
        stored
    }
    fn read_physical(&self, addr: u64, out: &mut [u8]) {
        self.load_physical(addr, out);
    }
    fn write_physical(&self, addr: u64, data: &[u8]) {
        self.store_physical(addr, data);
    }
    fn port_in(&self, port: u16, bytes: u32) -> u32 {
        let value = self.around.ports.load(port.into(), bytes).unwrap_or(u64::MAX);
        self.follow_map();
        value as u32 & (u32::MAX >> (32 - 8 * bytes.clamp(1, 4)))
    }
    fn port_out(&self, port: u16, bytes: u32, value: u32) {
        // Nobody answers for a port that is not there.
        let _ = self.around.ports.store(port.into(), bytes, value.into());
        self.follow_map();
    }
    fn flush(&self, state: &mut CpuState, what: Flush) {
        if what == Flush::Context {
            // Frequent: each entry to the operating system, and each return from there.
            return self.set_privilege(state);
        }
        self.take_state(state);
        match what {
            Flush::Context => {}
            Flush::All => self.tlb.flush_all(),
            Flush::Local => self.tlb.flush_local(),
            Flush::Page(addr) => {
                let addr = addr & self.mask.get();
                let may_matter = self.may_be_executed(addr) || self.tlb.may_be_large(addr);
                self.tlb.flush_page(addr);
                if !may_matter {
                    return;
                }
            }
        }
        self.flushed.set(true);
        state.header.exit_request.fetch_or(FLUSHED, Ordering::SeqCst);
    }
    fn controller_read(&self, register: u32) -> Option<u64> {
        self.wires.controller()?.read(register)
    }
    fn controller_write(&self, register: u32, value: u64) -> Option<()> {
        self.wires.controller()?.write(register, value)
    }
}

impl Physical for Mmu {
    fn load(&self, addr: u64, bytes: u32) -> u64 {
        let mut raw = [0; 8];
        let out = &mut raw[..bytes.min(8) as usize];
        match self.walked.get().host(addr, out.len() as u64) {
            Some(host) => direct::read(host, out),
            None => {
                self.load_physical(addr, out);
                self.remember_ram(addr);
            }
        }
        u64::from_le_bytes(raw)
    }
    fn set_bits(&self, addr: u64, bytes: u32, old: u64, bits: u64) -> bool {
        let mut is_old = false;
        let mut set = |value: u128| {
            is_old = value == u128::from(old);
            if is_old { value | u128::from(bits) } else { value }
        };
        let is_ram = self.ram(addr, bytes.into(), |block, offset, readonly| {
            // Tables in read-only memory stay as they are, and are as good as marked.
            readonly || block.update(offset, bytes, &mut set).is_err()
        });
        is_ram != Some(false) || is_old
    }
}
