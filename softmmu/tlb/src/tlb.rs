//! A vCPU's translations with all that is known of them.

use crate::table::{Table, Tables};
use crate::{ENTRIES, Entry, NONE, PAGE_SHIFT, index};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What an access is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Reading data.
    Read,
    /// Writing data.
    Write,
    /// Fetching instructions.
    Fetch,
}

/// A translation of a page, whether or not compiled code can use it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// Guest virtual address of its first byte.
    pub addr: u64,
    /// Guest physical address of its first byte.
    pub physical: u64,
    /// Host address of its first byte, if it is memory that is read directly; else 0.
    pub host: u64,
    /// Whether it may be read.
    pub readable: bool,
    /// Whether it may be written.
    pub writable: bool,
    /// Whether instructions may be fetched from it.
    pub executable: bool,
    /// Whether it survives [`Tlb::flush_local`].
    pub global: bool,
    /// log2 of the size of the guest's page that it is a part of.
    pub size_shift: u32,
}

impl Page {
    const EMPTY: Page = Page {
        addr: NONE,
        physical: 0,
        host: 0,
        readable: false,
        writable: false,
        executable: false,
        global: false,
        size_shift: PAGE_SHIFT,
    };
    /// Whether it may be used so.
    pub fn allows(&self, kind: Kind) -> bool {
        match kind {
            Kind::Read => self.readable,
            Kind::Write => self.writable,
            Kind::Fetch => self.executable,
        }
    }
    /// Whether an invalidation of an address drops it.
    fn covers(&self, addr: u64) -> bool {
        self.addr != NONE && self.addr >> self.size_shift == addr >> self.size_shift
    }
}

/// log2 of the pieces of the address space of which it is remembered whether large pages were in use there.
const PIECE_SHIFT: u32 = 30;
/// So many pieces are remembered; more count as everywhere.
const PIECES: usize = 16;

/// Translations that had to make room are kept in so many places, so that working sets larger than a table need no page
/// walks.
const VICTIMS: usize = 8 * ENTRIES;

/// The translations of one context.
struct Context {
    pages: Box<[Cell<Page>]>,
    /// Which of them are in use, so that a flush takes as long as what was filled since the last one.
    filled: RefCell<Vec<u16>>,
    /// Those that had to make room for others; memory is used from the first one on.
    victims: RefCell<Vec<Page>>,
    /// Which of them are in use.
    victims_filled: RefCell<Vec<u16>>,
}

/// The place of an address among the victims.
const fn victim_index(addr: u64) -> usize {
    (addr >> PAGE_SHIFT) as usize % VICTIMS
}

impl Context {
    fn new() -> Self {
        let pages = vec![Cell::new(Page::EMPTY); ENTRIES].into();
        let (filled, victims, victims_filled) = (RefCell::default(), RefCell::default(), RefCell::default());
        Context { pages, filled, victims, victims_filled }
    }
    /// Keeps a page that had to make room.
    fn keep(&self, page: Page) {
        let mut victims = self.victims.borrow_mut();
        if victims.is_empty() {
            victims.resize(VICTIMS, Page::EMPTY);
        }
        let at = victim_index(page.addr);
        if std::mem::replace(&mut victims[at], page).addr == NONE {
            self.victims_filled.borrow_mut().push(at as u16);
        }
    }
    /// Forgets what is kept of an address, which has a newer translation.
    fn forget(&self, addr: u64) {
        if let Some(victim) = self.victims.borrow_mut().get_mut(victim_index(addr))
            && victim.addr == addr
        {
            // It stays in the list of those in use, where an empty one does no harm.
            *victim = Page { readable: false, writable: false, executable: false, ..*victim };
        }
    }
    fn is_empty(&self) -> bool {
        self.filled.borrow().is_empty() && self.victims_filled.borrow().is_empty()
    }
    /// Drops what `drops` says.
    fn flush(&self, table: &Table, drops: impl Fn(&Page) -> bool) {
        self.filled.borrow_mut().retain(|&i| {
            let i = usize::from(i);
            let dropped = drops(&self.pages[i].get());
            if dropped {
                table[i].clear();
                self.pages[i].set(Page::EMPTY);
            }
            !dropped
        });
        let mut victims = self.victims.borrow_mut();
        self.victims_filled.borrow_mut().retain(|&i| {
            let victim = &mut victims[usize::from(i)];
            let dropped = drops(victim);
            if dropped {
                *victim = Page::EMPTY;
            }
            !dropped
        });
    }
}

/// The translations of a vCPU. Only its own thread has this; other threads have its [`Tables`].
pub struct Tlb {
    tables: Arc<Tables>,
    contexts: Box<[Context]>,
    /// Pieces of the address space in which large pages were filled since the last flush of everything.
    large: RefCell<Vec<u64>>,
}

impl Tlb {
    /// Empty, with that many contexts.
    pub fn new(contexts: usize) -> Self {
        let contexts = contexts.max(1);
        let all = (0..contexts).map(|_| Context::new()).collect();
        Tlb { tables: Arc::new(Tables::new(contexts)), contexts: all, large: RefCell::default() }
    }
    /// What other threads need of it.
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }
    /// Address of the table of a context, for compiled code.
    pub fn address(&self, context: usize) -> u64 {
        self.tables.table(context).as_ptr() as u64
    }
    fn context(&self, context: usize) -> &Context {
        &self.contexts[context % self.contexts.len()]
    }
    /// The host address of `bytes` bytes that compiled code could access without asking.
    #[inline]
    pub fn direct(&self, context: usize, addr: u64, bytes: u64, kind: Kind) -> Option<u64> {
        let entry = &self.tables.table(context)[index(addr)];
        let tag = match kind {
            Kind::Read => &entry.read,
            Kind::Write => &entry.write,
            Kind::Fetch => &entry.fetch,
        };
        let last = addr.wrapping_add(bytes.wrapping_sub(1)) & !((1 << PAGE_SHIFT) - 1);
        let is_inside = last == addr & !((1 << PAGE_SHIFT) - 1);
        let hit = is_inside && tag.load(Ordering::Relaxed) == last;
        hit.then(|| addr.wrapping_add(entry.addend.load(Ordering::Relaxed)))
    }
    /// The translation of an address, if it is known to allow that.
    pub fn find(&self, context: usize, addr: u64, kind: Kind) -> Option<Page> {
        let page = self.context(context).pages[index(addr)].get();
        (page.addr == addr >> PAGE_SHIFT << PAGE_SHIFT && page.allows(kind)).then_some(page)
    }
    /// The same of one that had to make room for another. Whoever uses it inserts it again.
    pub fn find_victim(&self, context: usize, addr: u64, kind: Kind) -> Option<Page> {
        let page = *self.context(context).victims.borrow().get(victim_index(addr))?;
        (page.addr == addr >> PAGE_SHIFT << PAGE_SHIFT && page.allows(kind)).then_some(page)
    }
    /// Adds a translation. Compiled code may store to it if `is_direct` allows it, which is asked after the entry is
    /// made: who takes the permission back first changes what `is_direct` says, then calls [`Tables::withdraw`].
    pub fn insert(&self, context: usize, page: Page, is_direct: impl FnOnce() -> bool) {
        let (at, cx) = (index(page.addr), self.context(context));
        match cx.pages[at].replace(page) {
            Page { addr: NONE, .. } => cx.filled.borrow_mut().push(at as u16),
            old if old.addr != page.addr => cx.keep(old),
            _ => {}
        }
        cx.forget(page.addr);
        if page.size_shift > PAGE_SHIFT {
            self.note_large(page.addr);
        }
        let entry = &self.tables.table(context)[at];
        entry.clear();
        if page.host == 0 {
            return;
        }
        entry.addend.store(page.host.wrapping_sub(page.addr), Ordering::SeqCst);
        let set = |tag: &AtomicU64, allowed| {
            if allowed {
                tag.store(page.addr, Ordering::SeqCst);
            }
        };
        set(&entry.read, page.readable);
        set(&entry.fetch, page.executable);
        set(&entry.write, page.writable);
        if page.writable && !is_direct() {
            entry.write.store(NONE, Ordering::SeqCst);
        }
    }
    fn note_large(&self, addr: u64) {
        let mut large = self.large.borrow_mut();
        if large.len() < PIECES && !large.contains(&(addr >> PIECE_SHIFT)) {
            large.push(addr >> PIECE_SHIFT);
        }
    }
    /// Whether the address may be in a large page that is known.
    pub fn may_be_large(&self, addr: u64) -> bool {
        let large = self.large.borrow();
        large.len() >= PIECES || large.contains(&(addr >> PIECE_SHIFT))
    }
    fn each(&self, f: impl Fn(&Context, &Table)) {
        for (i, context) in self.contexts.iter().enumerate() {
            if !context.is_empty() {
                f(context, self.tables.table(i));
            }
        }
    }
    /// Drops everything.
    pub fn flush_all(&self) {
        self.each(|context, table| context.flush(table, |_| true));
        self.large.borrow_mut().clear();
    }
    /// Drops all but global pages.
    pub fn flush_local(&self) {
        self.each(|context, table| context.flush(table, |page| !page.global));
    }
    /// Drops the page of that address, global or not: all of it, if it is a large one.
    pub fn flush_page(&self, addr: u64) {
        if self.may_be_large(addr) {
            return self.each(|context, table| context.flush(table, |page| page.covers(addr)));
        }
        self.each(|context, table| {
            let at = index(addr);
            context.forget(addr >> PAGE_SHIFT << PAGE_SHIFT);
            if context.pages[at].get().covers(addr) {
                table[at].clear();
                context.pages[at].set(Page::EMPTY);
                context.filled.borrow_mut().retain(|&i| usize::from(i) != at);
            }
        });
    }
    /// Calls `f` with every translation of a context.
    pub fn pages(&self, context: usize, mut f: impl FnMut(&Page)) {
        let context = self.context(context);
        context.filled.borrow().iter().for_each(|&i| f(&context.pages[usize::from(i)].get()));
    }
}

impl Entry {
    /// Makes it match nothing.
    pub fn clear(&self) {
        for tag in [&self.read, &self.write, &self.fetch] {
            if tag.load(Ordering::Relaxed) != NONE {
                tag.store(NONE, Ordering::SeqCst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Kind; 3] = [Kind::Read, Kind::Write, Kind::Fetch];

    fn page(addr: u64) -> Page {
        let (readable, writable, executable) = (true, true, true);
        Page { addr, physical: addr ^ 0x7000, host: addr + 0x10_0000, readable, writable, executable, ..Page::EMPTY }
    }

    #[test]
    fn entries_say_what_compiled_code_may_do() {
        let tlb = Tlb::new(2);
        tlb.insert(0, Page { writable: false, ..page(0x5000) }, || true);
        tlb.insert(0, page(0x6000), || false);
        tlb.insert(0, Page { host: 0, ..page(0x7000) }, || true);
        let direct = |addr, kind| tlb.direct(0, addr, 4, kind);
        assert_eq!(ALL.map(|kind| direct(0x5ffc, kind)), [Some(0x10_5ffc), None, Some(0x10_5ffc)]);
        assert_eq!(ALL.map(|kind| direct(0x6000, kind)), [Some(0x10_6000), None, Some(0x10_6000)], "watched");
        assert_eq!(ALL.map(|kind| direct(0x7000, kind)), [None; 3], "a device");
        assert_eq!(direct(0x5ffd, Kind::Read), None, "two pages");
        assert_eq!(tlb.direct(1, 0x5000, 4, Kind::Read), None, "another context");
        let known = |addr| ALL.map(|kind| tlb.find(0, addr, kind).is_some());
        assert_eq!([0x5000, 0x6123, 0x7fff].map(known), [[true, false, true], [true; 3], [true; 3]]);
        // The same place, another page.
        tlb.insert(0, page(0x5000 + (ENTRIES << PAGE_SHIFT) as u64), || true);
        assert_eq!((known(0x5000), direct(0x5000, Kind::Read)), ([false; 3], None));
    }

    #[test]
    fn pages_that_made_room_are_flushed_too() {
        let tlb = Tlb::new(1);
        let other = |addr| addr + (ENTRIES << PAGE_SHIFT) as u64;
        let kept = |addr| tlb.find_victim(0, addr, Kind::Read).is_some();
        let fill = || {
            for addr in [0x5000, 0x6000] {
                tlb.insert(0, Page { global: addr == 0x6000, ..page(addr) }, || true);
                tlb.insert(0, page(other(addr)), || true);
            }
            assert!(kept(0x5000) && kept(0x6000) && !kept(other(0x5000)));
        };
        fill();
        tlb.flush_page(0x5000);
        assert!(!kept(0x5000) && kept(0x6000));
        fill();
        tlb.flush_local();
        assert!(!kept(0x5000) && kept(0x6000));
        fill();
        tlb.flush_all();
        assert!(!kept(0x5000) && !kept(0x6000));
        // What comes back is in the table alone, so that a newer translation has no older copy.
        fill();
        tlb.insert(0, Page { readable: false, ..page(0x5000) }, || true);
        assert!(!kept(0x5000) && kept(other(0x5000)));
    }

    #[test]
    fn flushes_drop_what_they_name() {
        let tlb = Tlb::new(2);
        let known = || {
            let has = |&(context, addr): &(usize, u64)| {
                let found = tlb.find(context, addr, Kind::Read).is_some();
                assert_eq!(tlb.direct(context, addr, 1, Kind::Read).is_some(), found);
                found
            };
            [(0, 0x5000), (1, 0x5000), (0, 0x6000), (0, 0x4020_0000), (0, 0x4020_1000)].iter().map(has).collect()
        };
        let fill = || {
            tlb.insert(0, page(0x5000), || true);
            tlb.insert(1, page(0x5000), || true);
            tlb.insert(0, Page { global: true, ..page(0x6000) }, || true);
            let large = |addr| Page { size_shift: 21, ..page(addr) };
            tlb.insert(0, large(0x4020_0000), || true);
            tlb.insert(0, large(0x4020_1000), || true);
        };
        let flushed = |flush: &dyn Fn()| -> Vec<bool> {
            fill();
            flush();
            known()
        };
        assert_eq!(flushed(&|| ()), [true; 5]);
        assert_eq!(flushed(&|| tlb.flush_page(0x5fff)), [false, false, true, true, true]);
        assert_eq!(flushed(&|| tlb.flush_page(0x6000)), [true, true, false, true, true], "global");
        assert_eq!(flushed(&|| tlb.flush_page(0x403f_f000)), [true, true, true, false, false], "large");
        assert_eq!(flushed(&|| tlb.flush_page(0x4040_0000)), [true; 5], "next to it");
        assert_eq!(flushed(&|| tlb.flush_local()), [false, false, true, false, false]);
        assert_eq!(flushed(&|| tlb.flush_all()), [false; 5]);
        assert_eq!(known(), [false; 5]);
    }

    #[test]
    fn others_take_back_stores() {
        let tlb = Tlb::new(2);
        [0x5000, 0x6000, 0x7000].iter().for_each(|&addr| tlb.insert(1, page(addr), || true));
        let tables = tlb.tables().clone();
        std::thread::spawn(move || tables.withdraw(&(0x10_6000..0x10_7000))).join().unwrap();
        let stores = [0x5000, 0x6000, 0x7000].map(|addr| tlb.direct(1, addr, 1, Kind::Write).is_some());
        assert_eq!(stores, [true, false, true]);
        assert!(tlb.direct(1, 0x6000, 1, Kind::Read).is_some() && tlb.find(1, 0x6000, Kind::Write).is_some());
    }
}
