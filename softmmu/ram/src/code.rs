//! Pages that hold translated code; see the crate's documentation for the protocol.

use crate::flags::{PAGE, PageFlags, pages};
use crate::space::{State, UserSpace};
use isamorph_ir::{FaultCause, MemFault};
use std::ops::Range;

/// Drops the translations of code in `start .. start + len`. It is called without any lock of the address space.
pub type CodeHook = Box<dyn Fn(u64, u64) + Send + Sync>;

/// What a fault in host memory means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostFault {
    /// A store to a page (its guest address) that holds translated code: [`UserSpace::release_code`], then go on.
    CodeStore(u64),
    /// The guest has no such memory.
    Guest(MemFault),
    /// By now the guest may do that (another thread changed the protection, or a stack grew): go on.
    Retry,
    /// The address is not the guest's.
    NotGuest,
}

/// Pages whose translations are being dropped, with the generation that this gave them.
#[derive(Default)]
pub(crate) struct Released(Vec<(u64, u32)>);

impl UserSpace {
    /// Registers what drops translations. It can be set once; later calls are ignored.
    pub fn set_code_hook(&self, hook: CodeHook) {
        let _ = self.hook.set(hook);
    }

    /// Marks a page as holding translated code, before its bytes are read for translation: stores to it fault from now
    /// on. Returns its generation, or nothing if code cannot be fetched from it.
    ///
    /// Must not be called with a lock held that the hook takes.
    pub fn protect_code(&self, page: u64) -> Option<u32> {
        let page = page & !(PAGE - 1);
        let state = self.lock();
        if !self.executable(self.pages.get(page)) {
            return None;
        }
        for alias in self.aliases(&state, page) {
            self.hold(alias).ok()?;
        }
        self.hold(page).ok()?;
        Some(self.pages.generation(page))
    }

    /// Marks a page as holding translated code, or as another view of such a page. Under the map lock.
    fn hold(&self, page: u64) -> Result<(), isamorph_host::Errno> {
        let mut flags = self.pages.get(page);
        if flags.contains(PageFlags::WRITE) && !flags.contains(PageFlags::HELD) {
            flags |= PageFlags::HELD;
            self.window.protect(self.host_ptr(page), PAGE as usize, flags.host_prot())?;
        }
        self.pages.set(page, flags | PageFlags::CODE)
    }

    /// The other pages that show the same page of a shared file.
    fn aliases(&self, state: &State, page: u64) -> Vec<u64> {
        let shared = self.pages.get(page).contains(PageFlags::SHARED);
        let ranges = if shared { state.regions.aliases(page..page + PAGE) } else { Vec::new() };
        ranges.into_iter().map(|range| range.start).collect()
    }

    /// Whether there may be translations of code in the page that contains `addr`.
    pub fn is_code(&self, addr: u64) -> bool {
        self.pages.get(addr).contains(PageFlags::CODE)
    }

    /// Whether code in the range may be translated at any moment, so that the host then refuses to write there: it has
    /// been, or the range is for code and stores both.
    pub fn may_hold_code(&self, addr: u64, len: u64) -> bool {
        let both = PageFlags::WRITE | PageFlags::EXEC;
        let may = |flags: PageFlags| flags.intersects(PageFlags::TRANSLATED) || flags.contains(both);
        self.pages.runs(addr..addr.saturating_add(len)).any(|(_, flags)| may(flags))
    }

    /// How often translations of the page that contains `addr` have been dropped, modulo 2³².
    pub fn generation(&self, addr: u64) -> u32 {
        self.pages.generation(addr)
    }

    /// Drops the translations of a page and makes it writable again, if the guest may write it.
    pub fn release_code(&self, page: u64) {
        let page = page & !(PAGE - 1);
        self.release_range(page..page + PAGE);
    }

    /// [`release_code`](Self::release_code) for the code pages of a range.
    pub(crate) fn release_range(&self, range: Range<u64>) {
        if !self.pages.any(range.clone(), PageFlags::TRANSLATED) {
            return;
        }
        let mut released = Released::default();
        {
            let state = self.lock();
            self.begin_release(&state, range, &mut released);
        }
        self.finish_release(released);
    }

    /// First step, under the map lock: the pages of the range, and other views of them, hold no code any more, but
    /// still cannot be written.
    pub(crate) fn begin_release(&self, state: &State, range: Range<u64>, released: &mut Released) {
        for (page, _) in self.pages.translated(range) {
            if self.drop_code(page, released) {
                self.release_aliases(state, page..page + PAGE, released);
            }
        }
    }

    /// The same for the other views alone. Those that can be executed count even without translations: another thread
    /// may be about to drop them, and this one must not go on to the last step before they are gone.
    pub(crate) fn release_aliases(&self, state: &State, range: Range<u64>, released: &mut Released) {
        if !self.pages.get(range.start).contains(PageFlags::SHARED) {
            return;
        }
        for page in state.regions.aliases(range).into_iter().flat_map(pages) {
            if !self.drop_code(page, released) && self.executable(self.pages.get(page)) {
                released.note(page, self.pages.bump(page));
            }
        }
    }

    /// The same for one page; false if there was nothing to do.
    fn drop_code(&self, page: u64, released: &mut Released) -> bool {
        let flags = self.pages.get(page);
        let translated = flags.intersects(PageFlags::TRANSLATED);
        if translated {
            self.set_translated(page, flags - PageFlags::CODE);
            released.note(page, self.pages.bump(page));
        }
        translated
    }

    /// Changes the flags of a page with translations. Such a page has its own already, so that there is room for them.
    pub(crate) fn set_translated(&self, page: u64, flags: PageFlags) {
        let _ = self.pages.set(page, flags);
    }

    /// The other steps, without the lock.
    pub(crate) fn finish_release(&self, released: Released) {
        if released.0.is_empty() {
            return;
        }
        for run in released.runs() {
            if let Some(hook) = self.hook.get() {
                hook(run.start, run.end - run.start);
            }
        }
        let _guard = self.lock();
        let ours = |(page, generation): &&(u64, u32)| {
            self.pages.get(*page) & PageFlags::TRANSLATED == PageFlags::HELD
                && self.pages.generation(*page) == *generation
        };
        let mut opened = Released::default();
        for (page, generation) in released.0.iter().filter(ours) {
            self.set_translated(*page, self.pages.get(*page) - PageFlags::HELD);
            opened.note(*page, *generation);
        }
        for run in opened.runs() {
            // If the host refuses, the next store faults, and is told so by `handle_host_fault`.
            let _ = self.apply(run);
        }
    }

    /// Gives the host's pages of a range the protection that their flags say. Under the map lock.
    pub(crate) fn apply(&self, range: Range<u64>) -> Result<(), isamorph_host::Errno> {
        let mut runs = self.pages.runs(range).peekable();
        while let Some((mut run, flags)) = runs.next() {
            let prot = flags.host_prot();
            while let Some((next, _)) = runs.next_if(|(_, flags)| flags.host_prot() == prot) {
                run.end = next.end;
            }
            let (host, len) = self.host_range(&run);
            self.window.protect(host, len, prot)?;
        }
        Ok(())
    }

    /// Tells what a fault at a host address means. `bus`: it came as SIGBUS.
    ///
    /// For signal handlers: it may take the map lock, which compiled code and recoverable accesses do not hold.
    pub fn handle_host_fault(&self, host_addr: usize, write: bool, bus: bool) -> HostFault {
        let Some(addr) = self.guest_addr(host_addr) else { return HostFault::NotGuest };
        if bus {
            return HostFault::Guest(MemFault { addr, write, cause: FaultCause::NoBacking });
        }
        if let Err(fault) = self.check(addr, 1, write) {
            return HostFault::Guest(fault);
        }
        let page = addr & !(PAGE - 1);
        if write && self.is_held(page) {
            return HostFault::CodeStore(page);
        }
        let _guard = self.lock();
        // Reading the flags under the lock, and making sure that the host agrees, rules out endless repetition.
        let applied = self.pages.get(page).contains(PageFlags::VALID).then(|| self.apply(page..page + PAGE));
        match applied {
            Some(Err(_)) => HostFault::Guest(MemFault { addr, write, cause: FaultCause::Protected }),
            _ => HostFault::Retry,
        }
    }
}

impl Released {
    /// Adds a page.
    pub fn note(&mut self, page: u64, generation: u32) {
        self.0.push((page, generation));
    }

    /// The pages as contiguous ranges.
    fn runs(&self) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for (page, _) in &self.0 {
            match runs.last_mut() {
                Some(last) if last.end == *page => last.end += PAGE,
                _ => runs.push(*page..page + PAGE),
            }
        }
        runs
    }
}
