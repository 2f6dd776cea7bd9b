//! The cache itself.

use crate::chunks::{Chunks, Placed, State};
use crate::epoch::{Epochs, Slot};
use crate::pages::PageIndex;
use crate::stats::{Counters, Stats};
use crate::sync::lock;
use crate::table::{Entry, FastMap, Key, Table};
use crate::tb::{Range, SiteRef, Tb, TbId};
use crate::view::View;
use isamorph_code::{Compiled, Recipe, Thunk, Thunks};
use isamorph_host::Errno;
use isamorph_host::dual::Snapshot;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, RwLockWriteGuard};
use std::time::Duration;

/// Why a region was not placed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PublishError {
    /// The guest code changed while it was translated.
    Stale,
    /// It is larger than a chunk.
    TooLarge,
}

/// A host instruction that may fault, seen from the guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FaultSite {
    /// The block.
    pub tb: TbId,
    /// Mode of the block.
    pub mode: u64,
    /// Address of the guest instruction.
    pub pc: u64,
    /// Its length.
    pub len: u8,
    /// How to complete the guest's registers.
    pub recipes: Vec<Recipe>,
}

/// Everything that the structure lock protects.
#[derive(Debug)]
struct Blocks {
    tbs: Vec<Option<Box<Tb>>>,
    free: Vec<u32>,
    serial: u32,
    chunks: Chunks,
    pages: PageIndex,
}

/// Placed code, and the ways to find it.
pub struct CodeCache {
    view: View,
    thunks: Thunks,
    pc_shift: u32,
    blocks: Mutex<Blocks>,
    epochs: Epochs,
    table: Table,
    counters: Counters,
}

/// "Invalid argument" (`errno(3)`).
const EINVAL: Errno = Errno(22);

/// Outcome of an attempt to place a region: blocked until an epoch is reached, or done.
enum Attempt {
    Blocked(u64),
    Done(Result<Entry, PublishError>),
}

impl Blocks {
    fn new(first: u32, len: u32) -> Self {
        let (tbs, free) = (Vec::new(), Vec::new());
        Blocks { tbs, free, serial: 0, chunks: Chunks::new(first, len), pages: PageIndex::default() }
    }
    fn get(&self, index: u32) -> Option<&Tb> {
        self.tbs.get(index as usize)?.as_deref()
    }
    fn get_mut(&mut self, index: u32) -> Option<&mut Tb> {
        self.tbs.get_mut(index as usize)?.as_deref_mut()
    }
    /// A block that can be linked to.
    fn live(&self, id: TbId) -> Option<&Tb> {
        self.get(id.index).filter(|t| t.serial == id.serial && t.live)
    }
    fn id(&self, index: u32) -> Option<TbId> {
        self.get(index).map(|t| TbId { index, serial: t.serial })
    }
    /// The block whose code covers an offset, live or not.
    fn covering(&self, offset: u32) -> Option<u32> {
        let list = self.chunks.at(offset);
        let after = list.partition_point(|placed| placed.code <= offset);
        let index = list.get(after.checked_sub(1)?)?.tb;
        self.get(index)?.covers(offset).then_some(index)
    }
    /// A slot for a block.
    fn add(&mut self, tb: Tb) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.tbs.push(None);
            self.tbs.len() as u32 - 1
        });
        self.pages.add(index, &tb.ranges);
        self.chunks.push(Placed { code: tb.code, tb: index });
        self.tbs[index as usize] = Some(Box::new(tb));
        index
    }
}

impl CodeCache {
    /// A cache of `len` bytes with the thunks at its start. `pc_shift` is what a program counter is shifted right by
    /// before it indexes a jump cache.
    ///
    /// # Errors
    /// The host refuses the memory, or `len` has no room for the thunks or is more than displacements reach.
    pub fn new(len: usize, thunks: &Thunks, pc_shift: u32) -> Result<Self, Errno> {
        let fits = len <= i32::MAX as usize && thunks.code.len() + 4096 <= len;
        if !fits {
            return Err(EINVAL);
        }
        let view = View::new(len)?;
        view.write(0, &thunks.code);
        let blocks = Mutex::new(Blocks::new(thunks.code.len() as u32, len as u32));
        let (epochs, table, counters) = (Epochs::new(), Table::default(), Counters::default());
        Ok(CodeCache { view, thunks: thunks.clone(), pc_shift, blocks, epochs, table, counters })
    }
    /// Host address at which the code begins.
    pub fn base(&self) -> usize {
        self.view.base()
    }
    /// Whether a host address lies in the executable view.
    pub fn contains(&self, address: usize) -> bool {
        address.wrapping_sub(self.base()) < self.view.len()
    }
    /// Host address of a thunk.
    pub fn thunk(&self, thunk: Thunk) -> usize {
        self.base() + self.thunks.offsets[thunk as usize] as usize
    }
    /// What the cache did so far.
    pub fn stats(&self) -> Stats {
        self.counters.snapshot()
    }
    /// Bytes of code that chunks hold.
    pub fn used(&self) -> u64 {
        lock(&self.blocks).chunks.used()
    }
    fn offset(&self, address: usize) -> Option<u32> {
        self.contains(address).then(|| (address - self.base()) as u32)
    }
    fn entry(&self, tb: TbId, block: &Tb) -> Entry {
        Entry { tb, address: self.base() + block.entry as usize, indirect: block.indirect }
    }
    /// The code for a key. A vCPU that means to run it asks through [`Vcpu::find`].
    pub fn find(&self, key: Key) -> Option<Entry> {
        self.table.find(key)
    }
    /// Whether a block can still be found.
    pub fn is_live(&self, tb: TbId) -> bool {
        lock(&self.blocks).live(tb).is_some()
    }
    /// The guest instruction to which the host instruction at `address` belongs, if it is one that may fault.
    pub fn fault_at(&self, address: usize) -> Option<FaultSite> {
        let offset = self.offset(address)?;
        let blocks = lock(&self.blocks);
        let index = blocks.covering(offset)?;
        let (tb, block) = (blocks.id(index)?, blocks.get(index)?);
        let (fault, recipes) = block.fault_at(offset)?;
        Some(FaultSite { tb, mode: block.key.mode, pc: fault.pc, len: fault.len, recipes: recipes.to_vec() })
    }
    /// The guest program counter of the block that holds a host address; for logs.
    pub fn block_pc(&self, address: usize) -> Option<u64> {
        let offset = self.offset(address)?;
        let blocks = lock(&self.blocks);
        blocks.get(blocks.covering(offset)?).map(|t| t.key.pc)
    }
}

/// Placing.
impl CodeCache {
    /// Places a region that was made from `ranges` of guest memory. `valid` is asked last, with the structure lock
    /// held: it tells whether the guest code is still the one that was translated. If the key got a block meanwhile,
    /// that one stays. The calling thread's vCPU must not be pinned.
    ///
    /// # Errors
    /// The region is stale, or too large.
    pub fn publish(
        &self,
        key: Key,
        ranges: &[Range],
        compiled: &Compiled,
        valid: &dyn Fn() -> bool,
    ) -> Result<Entry, PublishError> {
        loop {
            match self.try_publish(key, ranges, compiled, valid) {
                Attempt::Done(result) => return result,
                Attempt::Blocked(epoch) => self.wait_for(epoch),
            }
        }
    }
    fn try_publish(&self, key: Key, ranges: &[Range], compiled: &Compiled, valid: &dyn Fn() -> bool) -> Attempt {
        let mut guard = lock(&self.blocks);
        let blocks = &mut *guard;
        if let Some(entry) = self.table.find(key) {
            return Attempt::Done(Ok(entry));
        }
        let len = compiled.code.len() as u32;
        if compiled.code.len() > blocks.chunks.largest() as usize {
            return Attempt::Done(Err(PublishError::TooLarge));
        }
        let at = match blocks.chunks.alloc(len) {
            Some(at) => at,
            None => match self.next_chunk(blocks) {
                Ok(()) => match blocks.chunks.alloc(len) {
                    Some(at) => at,
                    None => return Attempt::Done(Err(PublishError::TooLarge)),
                },
                Err(epoch) => return Attempt::Blocked(epoch),
            },
        };
        if !valid() {
            return Attempt::Done(Err(PublishError::Stale));
        }
        self.place(at, compiled);
        blocks.serial = blocks.serial.wrapping_add(1);
        let index = blocks.add(Tb::new(blocks.serial, key, ranges, compiled, at));
        let id = TbId { index, serial: blocks.serial };
        let entry = self.entry(id, blocks.get(index).expect("it was just added"));
        self.table.insert(key, entry);
        self.counters.published.add(1);
        self.counters.bytes.add(u64::from(len));
        Attempt::Done(Ok(entry))
    }
    /// Copies the code and resolves its references: thunks, and direct exits to their stubs.
    fn place(&self, at: u32, compiled: &Compiled) {
        self.view.write(at, &compiled.code);
        for r in &compiled.relocs {
            self.view.set_displacement(at + r.at, self.thunks.offsets[r.thunk as usize]);
        }
        for l in &compiled.links {
            self.view.set_displacement(at + l.at, at + l.stub);
        }
    }
    /// Goes on to the next chunk; blocked if vCPUs may still be in it.
    fn next_chunk(&self, blocks: &mut Blocks) -> Result<(), u64> {
        let next = blocks.chunks.after(blocks.chunks.current());
        if blocks.chunks.get(next).state == State::Live {
            self.retire(blocks, next);
        }
        if let State::Retired(epoch) = blocks.chunks.get(next).state {
            if !self.epochs.passed(epoch) {
                return Err(epoch);
            }
            for Placed { tb, .. } in blocks.chunks.empty(next) {
                blocks.tbs[tb as usize] = None;
                blocks.free.push(tb);
            }
            self.counters.recycled.add(1);
        }
        blocks.chunks.enter(next);
        // Retiring one chunk ahead gives the vCPUs the time of a whole chunk to leave it, so that nobody waits.
        let ahead = blocks.chunks.after(next);
        if blocks.chunks.count() > 3 && blocks.chunks.get(ahead).state == State::Live {
            self.retire(blocks, ahead);
        }
        Ok(())
    }
    /// Drops all blocks of a chunk and begins to wait for the vCPUs to leave it.
    fn retire(&self, blocks: &mut Blocks, chunk: usize) {
        let tbs = blocks.chunks.get(chunk).tbs.clone();
        let dropped = tbs.iter().filter(|p| self.drop_block(blocks, p.tb)).count();
        self.counters.evicted.add(dropped as u64);
        blocks.chunks.get(chunk).state = State::Retired(self.epochs.advance());
    }
    /// Waits until every vCPU has reached an epoch. Two threads may wait at once: neither is pinned.
    fn wait_for(&self, epoch: u64) {
        self.counters.waits.add(1);
        while !self.epochs.passed(epoch) {
            self.epochs.kick(epoch);
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

/// Chaining and taking away.
impl CodeCache {
    /// Points the direct exit that was left through the stub at `site` at a block. Does nothing if either end is gone
    /// or the exit leads elsewhere. The calling vCPU has been pinned since it left through the stub.
    pub fn link(&self, site: usize, target: TbId) -> bool {
        let Some(offset) = self.offset(site) else { return false };
        let mut guard = lock(&self.blocks);
        let blocks = &mut *guard;
        let Some((entry, poll, pc)) = blocks.live(target).map(|t| (t.entry, t.poll, t.key.pc)) else { return false };
        let Some(from) = blocks.covering(offset) else { return false };
        let Some(source) = blocks.get_mut(from).filter(|t| t.live) else { return false };
        let Some(link) = source.link_at(offset) else { return false };
        let row = &mut source.links[link as usize];
        if row.to.is_some() || row.site.target != pc {
            return false;
        }
        row.to = Some(target.index);
        let to = if row.site.poll { poll } else { entry };
        self.view.patch_displacement(source.displacement(link), to);
        if let Some(t) = blocks.get_mut(target.index) {
            t.incoming.push(SiteRef { tb: from, link });
        }
        self.counters.links.add(1);
        true
    }
    /// Drops every block that was made from a byte of `start .. start + len`; returns how many.
    pub fn invalidate(&self, start: u64, len: u64) -> usize {
        let mut blocks = lock(&self.blocks);
        let mut candidates = Vec::new();
        blocks.pages.collect(start, len, &mut candidates);
        candidates.retain(|&i| blocks.get(i).is_some_and(|t| t.overlaps(start, len)));
        self.drop_blocks(&mut blocks, candidates)
    }
    /// Drops every block that starts in the page of a program counter or in the one before; returns how many.
    pub fn invalidate_pc(&self, pc: u64) -> usize {
        let mut blocks = lock(&self.blocks);
        let near = |&i: &u32| blocks.get(i).is_some_and(|t| t.key.is_near(pc));
        let candidates = (0..blocks.tbs.len() as u32).filter(near).collect();
        self.drop_blocks(&mut blocks, candidates)
    }
    fn drop_blocks(&self, blocks: &mut Blocks, candidates: Vec<u32>) -> usize {
        let dropped = candidates.into_iter().filter(|&i| self.drop_block(blocks, i)).count();
        self.counters.invalidated.add(dropped as u64);
        dropped
    }
    /// Drops a block while other threads may run it; tells whether it was live. First nobody new can find it, then
    /// nobody is led to it, then it leads nowhere: each step leaves a state in which every thread either runs the old
    /// code to its next exit or comes back to the dispatcher.
    fn drop_block(&self, blocks: &mut Blocks, index: u32) -> bool {
        let Some(tb) = blocks.get_mut(index).filter(|t| t.live) else { return false };
        tb.live = false;
        let (key, indirect) = (tb.key, tb.indirect);
        let incoming = std::mem::take(&mut tb.incoming);
        self.table.remove(key);
        // A jump cache is filled under the table's lock, so that nothing is put back behind this.
        self.epochs.vcpus().iter().for_each(|v| v.jumps.drop_entry(key.pc, indirect));
        for site in incoming {
            self.unlink(blocks, site);
        }
        // Its own exits too: the code may be run for a while, and must not outlive the links' other ends.
        for link in 0..blocks.get(index).map_or(0, |t| t.links.len() as u32) {
            let site = SiteRef { tb: index, link };
            let to = blocks.get(index).and_then(|t| t.links[link as usize].to);
            if let Some(target) = to.and_then(|t| blocks.get_mut(t)) {
                target.incoming.retain(|s| *s != site);
                self.unlink(blocks, site);
            }
        }
        let Blocks { tbs, pages, .. } = blocks;
        if let Some(tb) = &tbs[index as usize] {
            pages.remove(index, &tb.ranges);
        }
        true
    }
    /// Points a direct exit back at its stub.
    fn unlink(&self, blocks: &mut Blocks, site: SiteRef) {
        let Some(source) = blocks.get_mut(site.tb) else { return };
        if source.links[site.link as usize].to.take().is_some() {
            self.view.patch_displacement(source.displacement(site.link), source.stub(site.link));
            self.counters.unlinks.add(1);
        }
    }
}

/// A virtual processor's membership in a cache.
pub struct Vcpu {
    cache: Arc<CodeCache>,
    slot: Arc<Slot>,
}

#[allow(unsafe_code)] // the exit request is compiled code's, and therefore a raw address
impl Vcpu {
    /// Joins a cache.
    ///
    /// # Errors
    /// The host refuses memory for the jump cache.
    ///
    /// # Safety
    /// `request`, the exit request of the vCPU's state, stays valid until the value is dropped.
    pub unsafe fn new(cache: Arc<CodeCache>, request: *const AtomicU32) -> Result<Self, Errno> {
        // SAFETY: the caller's promise; `drop` removes the slot.
        let slot = Arc::new(unsafe { Slot::new(cache.pc_shift, request) }?);
        cache.epochs.add(slot.clone());
        Ok(Vcpu { cache, slot })
    }
    /// The bit that the cache sets in the exit request when it only wants the vCPU to pass a safepoint.
    pub const REQUEST: u32 = crate::epoch::REQUEST;

    /// The cache.
    pub fn cache(&self) -> &CodeCache {
        &self.cache
    }
    /// Host address of the jump cache.
    pub fn jump_cache(&self) -> usize {
        self.slot.jumps.current().address()
    }
    /// Makes all computed jumps miss; for a change of mode.
    pub fn clear_jumps(&self) {
        self.slot.jumps.current().clear();
    }
    /// Uses another of [`crate::JUMP_CACHES`] jump caches, whose address is [`Vcpu::jump_cache`] then.
    pub fn choose_jumps(&self, index: usize) {
        self.slot.jumps.choose(index);
    }
    /// Announces that addresses of code will be held from now on, or passes a safepoint if they are held already.
    /// `true` means that the shadow stack must be emptied before compiled code runs, and that addresses from before
    /// are void.
    #[must_use]
    pub fn pin(&self) -> bool {
        self.cache.epochs.pin(&self.slot)
    }
    /// Announces that no address of code is held. Needed before anything that may wait.
    pub fn unpin(&self) {
        self.slot.unpin();
    }
    /// Whether it is pinned.
    pub fn is_pinned(&self) -> bool {
        self.slot.pinned() != 0
    }
    /// The code for a key; the vCPU is pinned.
    pub fn find(&self, key: Key) -> Option<Entry> {
        self.cache.table.find(key)
    }
    /// The code for a key, which is put into the jump cache.
    pub fn find_computed(&self, key: Key) -> Option<Entry> {
        self.cache.table.find_with(key, |e| self.slot.jumps.current().fill(key.pc, e.indirect))
    }
}

impl Drop for Vcpu {
    fn drop(&mut self) {
        self.slot.unpin();
        self.cache.epochs.remove(&self.slot);
    }
}

/// The most code that a forked child gets a copy of; translating anew what it needs is cheaper than copying more.
const COPY_MAX: u32 = 16 << 20;

/// All locks of a cache, held across a `fork`, and the code memory for the child.
pub struct Quiescence<'a> {
    cache: &'a CodeCache,
    copy: Result<Snapshot, Errno>,
    kept: bool,
    blocks: MutexGuard<'a, Blocks>,
    vcpus: RwLockWriteGuard<'a, Vec<Arc<Slot>>>,
    shards: Vec<RwLockWriteGuard<'a, FastMap<Key, Entry>>>,
}

impl CodeCache {
    /// Takes every lock and prepares for a `fork`.
    pub fn quiesce(&self) -> Quiescence<'_> {
        let blocks = lock(&self.blocks);
        let (vcpus, shards) = (self.epochs.vcpus_mut(), self.table.lock_all());
        let end = blocks.chunks.end();
        let kept = end <= COPY_MAX;
        let copy = self.view.snapshot(if kept { end } else { 0 });
        Quiescence { cache: self, copy, kept, blocks, vcpus, shards }
    }
}

impl Quiescence<'_> {
    /// In the child, before compiled code runs: gives it code memory of its own, which until now is the parent's, and
    /// forgets the vCPUs of threads that do not exist there. `survivor` is the calling thread's vCPU.
    ///
    /// # Errors
    /// The host refuses the memory.
    pub fn adopt_in_child(self, survivor: Option<&Vcpu>) -> Result<(), Errno> {
        let Quiescence { cache, copy, kept, mut blocks, mut vcpus, mut shards } = self;
        vcpus.retain(|s| survivor.is_some_and(|v| Arc::ptr_eq(&v.slot, s)));
        cache.view.adopt(copy?)?;
        if kept {
            return Ok(());
        }
        cache.view.write(0, &cache.thunks.code);
        // Identifiers from before the fork must not name new blocks.
        let serial = blocks.serial;
        let empty = Blocks { serial, ..Blocks::new(cache.thunks.code.len() as u32, cache.view.len() as u32) };
        // Giving the parent's memory back would copy every page of it first.
        std::mem::forget(std::mem::replace(&mut *blocks, empty));
        shards.iter_mut().for_each(|s| std::mem::forget(std::mem::take(&mut **s)));
        for slot in vcpus.iter() {
            slot.jumps.clear();
            slot.forget();
        }
        Ok(())
    }
}
