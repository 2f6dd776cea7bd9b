//! The address space itself: where the window is, and access to its memory.

use crate::code::{CodeHook, Released};
use crate::flags::{PAGE, PageFlags, Pages, page_up, pages};
use crate::regions::{Region, Regions, STACK_GAP};
use isamorph_host::Errno;
use isamorph_host::map::{self, Reservation};
use isamorph_ir::{FaultCause, MemFault, Memory};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What an address space should be like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Width of a guest address. Up to 40 bits, the whole window is reserved; a larger one is all that the host has for
    /// a process, and shared with it.
    pub addr_bits: u32,
    /// Host address of guest address 0; none to choose: 0 if possible, else anywhere. In a shared window only 0 is.
    pub base: Option<u64>,
    /// End of the addresses that the guest can map, if that is less than all.
    pub reserved: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Config { addr_bits: 32, base: None, reserved: None }
    }
}

/// Inaccessible memory after the window, so that an access at its end that reaches over it faults.
const GUARD: u64 = 64 << 10;
/// End of the host's memory for processes (x86-64 with four levels of page tables).
const HOST_END: u64 = (1 << 47) - PAGE;
/// Largest window that is reserved.
const RESERVED_MAX: u64 = 1 << 40;

/// What the map lock protects.
pub(crate) struct State {
    pub regions: Regions,
    /// End of the addresses that are handed out first.
    pub mmap_top: u64,
    /// How large a region that grows down may become.
    pub stack_limit: u64,
}

/// The memory of a guest process. See the crate's documentation.
pub struct UserSpace {
    pub(crate) window: Reservation,
    /// Added to a guest address it gives the host's.
    base: u64,
    /// First guest address that can be mapped.
    pub(crate) low: u64,
    /// End of the guest addresses that can be mapped.
    pub(crate) limit: u64,
    pub(crate) pages: Pages,
    state: Mutex<State>,
    pub(crate) hook: OnceLock<CodeHook>,
    read_implies_exec: AtomicBool,
}

/// Lowest address that the host's kernel lets a process map.
fn lowest() -> u64 {
    const USUAL: u64 = 64 << 10;
    let text = std::fs::read_to_string("/proc/sys/vm/mmap_min_addr").ok();
    let value = text.and_then(|t| t.trim().parse().ok()).unwrap_or(USUAL);
    page_up(value).unwrap_or(USUAL).max(PAGE)
}

impl UserSpace {
    /// Reserves the window, if it is small enough. Also installs the host's fault handlers, which accesses rely on.
    pub fn new(config: Config) -> Result<Self, Errno> {
        if map::page_size() as u64 != PAGE {
            return Err(Errno(libc::ENOSYS));
        }
        isamorph_host::fault::install()?;
        let all = 1u64.checked_shl(config.addr_bits).map_or(HOST_END, |all| all.min(HOST_END));
        let limit = config.reserved.map_or(all, |r| r.min(all)) & !(PAGE - 1);
        let low = lowest();
        if limit <= low {
            return Err(Errno(libc::EINVAL));
        }
        let (window, base) =
            if limit <= RESERVED_MAX { reserve(config.base, low, limit) } else { share(config.base, limit) }?;
        let state = State { regions: Regions::default(), mmap_top: limit, stack_limit: 8 << 20 };
        Ok(UserSpace {
            window,
            base,
            low,
            limit,
            pages: Pages::new((limit / PAGE) as usize)?,
            state: Mutex::new(state),
            hook: OnceLock::new(),
            read_implies_exec: AtomicBool::new(false),
        })
    }

    /// Host address of guest address 0: 0 if guest addresses are host addresses.
    pub fn host_base(&self) -> u64 {
        self.base
    }

    /// First guest address that can be mapped.
    pub fn lowest(&self) -> u64 {
        self.low
    }

    /// End of the guest addresses that can be mapped.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether the guest's addresses are the host's, with memory of the host's among them that is not the guest's. Host
    /// calls then must not be left to find bad guest memory.
    pub fn shares_host(&self) -> bool {
        self.window.is_shared()
    }

    /// Host address of a guest address.
    #[inline]
    pub fn host_ptr(&self, addr: u64) -> usize {
        self.base.wrapping_add(addr) as usize
    }

    /// Guest address of a host address in the window or the guard after it.
    pub fn guest_addr(&self, host: usize) -> Option<u64> {
        let guest = (host as u64).wrapping_sub(self.base);
        (guest < self.limit + GUARD).then_some(guest)
    }

    /// Flags of the page that contains `addr`.
    #[inline]
    pub fn flags(&self, addr: u64) -> PageFlags {
        self.pages.get(addr)
    }

    /// Whether memory that can be read can also be executed, as on processors without NX (`READ_IMPLIES_EXEC`).
    pub fn set_read_implies_exec(&self, on: bool) {
        self.read_implies_exec.store(on, Ordering::Relaxed);
    }

    /// Whether code can be fetched from a page with these flags.
    pub(crate) fn executable(&self, flags: PageFlags) -> bool {
        let readable = || self.read_implies_exec.load(Ordering::Relaxed) && flags.contains(PageFlags::READ);
        flags.contains(PageFlags::VALID) && (flags.contains(PageFlags::EXEC) || readable())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f`, which forks, while no other thread changes the address space, so that the child finds it consistent.
    /// `f` must not use the address space.
    pub fn with_lock<R>(&self, f: impl FnOnce() -> R) -> R {
        let _guard = self.lock();
        f()
    }

    /// All mappings, in order.
    pub fn regions(&self) -> Vec<Region> {
        self.lock().regions.iter().cloned().collect()
    }

    /// The mapping that contains `addr`.
    pub fn region_at(&self, addr: u64) -> Option<Region> {
        self.lock().regions.at(addr).cloned()
    }

    /// What is wrong with an access to the page at `addr`, if anything is.
    fn refusal(&self, addr: u64, write: bool) -> Option<FaultCause> {
        let flags = self.pages.get(addr);
        if flags.allows(write) {
            None
        } else if flags.contains(PageFlags::VALID) {
            Some(FaultCause::Protected)
        } else if self.grow_down(addr) {
            None
        } else {
            Some(FaultCause::Unmapped)
        }
    }

    /// Whether the guest may read, or write, the range; if not, the first bad address.
    pub fn check(&self, addr: u64, len: u64, write: bool) -> Result<(), MemFault> {
        let bad = |addr, cause| Err(MemFault { addr, write, cause });
        let Some(end) = addr.checked_add(len) else { return bad(addr, FaultCause::Unmapped) };
        for (run, flags) in self.pages.runs(addr..end) {
            // A page at a time where something is wrong: the attempt may make it right.
            for page in pages(run).take_while(|_| !flags.allows(write)) {
                if let Some(cause) = self.refusal(page, write) {
                    return bad(page.max(addr), cause);
                }
            }
        }
        Ok(())
    }

    /// Like [`check`](Self::check) for a write; then also releases the code pages of the range, so that the kernel can
    /// write there on behalf of a system call. A translator may protect them again at any time: a call that fails with
    /// `EFAULT` after this succeeded should be made again.
    pub fn prepare_write(&self, addr: u64, len: u64) -> Result<(), MemFault> {
        self.check(addr, len, true)?;
        self.release_range(addr..addr + len);
        Ok(())
    }

    /// Does an access whose pages allow it. `access` fails with the first bad host address.
    fn access<R>(
        &self,
        addr: u64,
        len: usize,
        write: bool,
        mut access: impl FnMut(usize) -> Result<R, usize>,
    ) -> Result<R, MemFault> {
        let host = self.host_ptr(addr);
        // Nearly every access: within one page that allows it and holds no translated code.
        let flags = self.pages.get(addr);
        let one_page = addr % PAGE + (len as u64) <= PAGE;
        if one_page
            && flags.allows(write)
            && !(write && flags.intersects(PageFlags::TRANSLATED))
            && let Ok(done) = access(host)
        {
            return Ok(done);
        }
        loop {
            if write { self.prepare_write(addr, len as u64) } else { self.check(addr, len as u64, false) }?;
            if let Ok(done) = access(host) {
                return Ok(done);
            }
            // Either another thread changed the mapping since we looked, or there is nothing behind it. With the lock
            // held, flags and host agree, so that the second attempt tells.
            let _guard = self.lock();
            let steady = |page| self.pages.get(page).allows(write) && !(write && self.is_held(page));
            if !pages(addr..addr + len as u64).all(steady) {
                continue;
            }
            let no_backing =
                |bad| MemFault { addr: (bad as u64).wrapping_sub(self.base), write, cause: FaultCause::NoBacking };
            return access(host).map_err(no_backing);
        }
    }

    /// Whether the host refuses stores because of translated code.
    pub(crate) fn is_held(&self, page: u64) -> bool {
        self.pages.get(page).intersects(PageFlags::TRANSLATED)
    }

    /// Reads code at `pc`: as many bytes as there are in executable memory; returns their number.
    pub fn fetch(&self, pc: u64, out: &mut [u8]) -> usize {
        let mut done = 0;
        while done < out.len() {
            let Some(addr) = pc.checked_add(done as u64) else { break };
            if !self.executable(self.pages.get(addr)) {
                break;
            }
            let n = ((PAGE - addr % PAGE) as usize).min(out.len() - done);
            if self.window.read(self.host_ptr(addr), &mut out[done..done + n]).is_err() {
                break;
            }
            done += n;
        }
        done
    }

    /// Grows the region above `addr` down to it, if it is one that grows and is near enough.
    pub(crate) fn grow_down(&self, addr: u64) -> bool {
        let page = addr & !(PAGE - 1);
        if page < self.low || page >= self.limit {
            return false;
        }
        let mut state = self.lock();
        let Some(above) = state.regions.next_from(page).filter(|r| r.grows_down).cloned() else {
            return state.regions.at(page).is_some();
        };
        let floor = state.regions.last_below(page).map_or(0, |r| r.end + STACK_GAP);
        if page < floor || above.end - page > state.stack_limit {
            return false;
        }
        let range = page..above.start;
        self.extend(&mut state, &above, range).is_ok()
    }

    /// How large a mapping that grows down may become (`RLIMIT_STACK`).
    pub fn set_stack_limit(&self, bytes: u64) {
        self.lock().stack_limit = bytes;
    }

    /// The guest's part of a host range.
    pub(crate) fn host_range(&self, range: &Range<u64>) -> (usize, usize) {
        (self.host_ptr(range.start), (range.end - range.start) as usize)
    }
}

impl Drop for UserSpace {
    fn drop(&mut self) {
        if self.window.is_shared() {
            let _ = self.unmap_locked(&mut self.lock(), 0..self.limit, &mut Released::default());
        }
    }
}

/// A window of all of the host's memory for processes.
#[allow(unsafe_code, reason = "a promise about which parts of it are used")]
fn share(base: Option<u64>, limit: u64) -> Result<(Reservation, u64), Errno> {
    if base.is_some_and(|base| base != 0) {
        return Err(Errno(libc::EINVAL));
    }
    // SAFETY: `map`, `remap` and `grow_down` claim what they map; everything else is done to regions, which are what
    // was mapped in that way.
    Ok((unsafe { Reservation::shared(0, limit as usize) }, 0))
}

/// A reserved window and its base.
fn reserve(base: Option<u64>, low: u64, limit: u64) -> Result<(Reservation, u64), Errno> {
    // Addresses below `low` stay free by themselves at the bottom of the host's memory, and nowhere else.
    let at = |base: u64| {
        let end = base.checked_add(limit + GUARD).ok_or(Errno(libc::EINVAL))?;
        let start = if base == 0 { low } else { base };
        Reservation::at(start as usize, (end - start) as usize).map(|window| (window, base))
    };
    if let Some(base) = base {
        return if base.is_multiple_of(PAGE) { at(base) } else { Err(Errno(libc::EINVAL)) };
    }
    at(0).or_else(|_| {
        let window = Reservation::anywhere((limit + GUARD) as usize)?;
        let base = window.start() as u64;
        Ok((window, base))
    })
}

impl Memory for UserSpace {
    fn read(&self, addr: u64, out: &mut [u8]) -> Result<(), MemFault> {
        self.access(addr, out.len(), false, |host| self.window.read(host, out))
    }

    fn write(&self, addr: u64, data: &[u8]) -> Result<(), MemFault> {
        self.access(addr, data.len(), true, |host| self.window.write(host, data))
    }

    fn update(&self, addr: u64, bytes: u32, f: &mut dyn FnMut(u128) -> u128) -> Result<u128, MemFault> {
        self.access(addr, bytes as usize, true, |host| self.window.update(host, bytes, f))
    }
}
