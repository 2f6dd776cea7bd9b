//! Guest memory with translated addresses, for tests: a few pages with rights of their own, far apart on the host.

use isamorph_ir::{FaultCause, MemFault, Memory};
use isamorph_tlb::{ENTRIES, Entry, NONE, PAGE_SHIFT, index};
use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;

const PAGE: u64 = 1 << PAGE_SHIFT;

/// A page and what it may be used for.
struct Page {
    addr: u64,
    readable: bool,
    writable: bool,
    bytes: Box<[u8; PAGE as usize]>,
}

/// The pages, and the translations of them that compiled code uses.
#[derive(Default)]
pub struct Paged {
    pages: RefCell<Vec<Page>>,
    table: Vec<Entry>,
    /// How often a translation was made.
    pub fills: Cell<u64>,
}

impl Paged {
    pub fn new() -> Self {
        Paged { table: (0..ENTRIES).map(|_| Entry::empty()).collect(), ..Default::default() }
    }

    /// Maps these pages (address, readable, writable) and nothing else.
    pub fn map(&self, pages: &[(u64, bool, bool)]) {
        let page = |&(addr, readable, writable): &(u64, bool, bool)| Page {
            addr,
            readable,
            writable,
            bytes: Box::new([0; PAGE as usize]),
        };
        *self.pages.borrow_mut() = pages.iter().map(page).collect();
        self.flush();
    }

    fn flush(&self) {
        for entry in &self.table {
            for tag in [&entry.read, &entry.write, &entry.fetch] {
                tag.store(NONE, Ordering::Relaxed);
            }
        }
    }

    /// Sets all bytes by a rule, and forgets the translations.
    pub fn fill(&self, rule: impl Fn(usize) -> u8) {
        for page in self.pages.borrow_mut().iter_mut() {
            page.bytes.iter_mut().enumerate().for_each(|(i, byte)| *byte = rule(i));
        }
        self.flush();
    }

    /// All bytes.
    pub fn contents(&self) -> Vec<u8> {
        self.pages.borrow().iter().flat_map(|page| page.bytes.to_vec()).collect()
    }

    /// Host address of the table.
    pub fn table(&self) -> u64 {
        self.table.as_ptr() as u64
    }

    /// What the access would be refused with. It must not reach into the next page.
    pub fn check(&self, addr: u64, bytes: u64, write: bool) -> Result<(), MemFault> {
        let inside = addr % PAGE + bytes <= PAGE;
        let pages = self.pages.borrow();
        let page = pages.iter().find(|page| page.addr == addr & !(PAGE - 1));
        match page {
            Some(page) if inside && (if write { page.writable } else { page.readable }) => Ok(()),
            _ => Err(MemFault { addr, write, cause: FaultCause::Protected }),
        }
    }

    /// Makes the translation.
    pub fn insert(&self, addr: u64) {
        self.fills.set(self.fills.get() + 1);
        let pages = self.pages.borrow();
        let Some(page) = pages.iter().find(|page| page.addr == addr & !(PAGE - 1)) else { return };
        let entry = &self.table[index(addr)];
        entry.addend.store((page.bytes.as_ptr() as u64).wrapping_sub(page.addr), Ordering::Relaxed);
        entry.read.store(if page.readable { page.addr } else { NONE }, Ordering::Relaxed);
        entry.write.store(if page.writable { page.addr } else { NONE }, Ordering::Relaxed);
    }

    fn with<R>(&self, addr: u64, bytes: usize, write: bool, f: impl FnOnce(&mut [u8]) -> R) -> Result<R, MemFault> {
        self.check(addr, bytes as u64, write)?;
        let mut pages = self.pages.borrow_mut();
        let page = pages.iter_mut().find(|page| page.addr == addr & !(PAGE - 1)).expect("checked");
        let at = (addr % PAGE) as usize;
        Ok(f(&mut page.bytes[at..at + bytes]))
    }
}

impl Memory for Paged {
    fn read(&self, addr: u64, out: &mut [u8]) -> Result<(), MemFault> {
        self.with(addr, out.len(), false, |bytes| out.copy_from_slice(bytes))
    }
    fn write(&self, addr: u64, data: &[u8]) -> Result<(), MemFault> {
        self.with(addr, data.len(), true, |bytes| bytes.copy_from_slice(data))
    }
    fn update(&self, addr: u64, bytes: u32, f: &mut dyn FnMut(u128) -> u128) -> Result<u128, MemFault> {
        self.with(addr, bytes as usize, true, |place| {
            let mut raw = [0; 16];
            raw[..place.len()].copy_from_slice(place);
            let old = u128::from_le_bytes(raw);
            place.copy_from_slice(&f(old).to_le_bytes()[..place.len()]);
            old
        })
    }
}
