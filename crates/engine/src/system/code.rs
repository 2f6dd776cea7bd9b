//! Guest code in a machine: found by the host memory that it is in, and read while it may change at any moment.

use crate::lift::Origin;
use crate::system::direct;
use crate::system::mmu::{GUARDED, Guard, Mmu, PAGE};
use crate::world::{Code, World};
use isamorph_cache::{Key, Range};
use isamorph_guest::{CodeSource, Guest, Limits};
use isamorph_ir::{FaultCause, MemFault, Memory, Region, System};
use isamorph_ram::RamBlock;
use isamorph_tlb::{Kind, Page};
use std::cell::RefCell;
use std::sync::Arc;

/// The longest instruction that may reach into the next page. (x86: 15; SDM vol. 2, 2.3.11.)
const LONGEST: u64 = 15;

/// Whether an instruction there may reach into the next page.
fn may_straddle(pc: u64) -> bool {
    pc % PAGE > PAGE - LONGEST
}

/// A page of code.
struct CodePage {
    /// Address of its first byte.
    addr: u64,
    page: Page,
    /// The memory, if it is memory.
    block: Option<(Arc<RamBlock>, u64)>,
}

impl CodePage {
    fn new(mmu: &Mmu, addr: u64) -> Result<Self, MemFault> {
        let page = mmu.page(mmu.context(), addr, Kind::Fetch)?;
        Ok(CodePage { addr: addr & !(PAGE - 1), page, block: mmu.block(page.host).filter(|_| page.host != 0) })
    }
    fn contains(&self, addr: u64) -> bool {
        addr & !(PAGE - 1) == self.addr
    }
}

/// The code of a region, as far as it may reach.
struct Reachable<'a> {
    mmu: &'a Mmu,
    start: u64,
    /// Where to pretend that code ends.
    end: u64,
    first: CodePage,
    next: Option<CodePage>,
    origin: RefCell<Origin>,
}

impl Reachable<'_> {
    /// Copies bytes of one page; the page is watched before.
    fn copy(&self, from: &CodePage, addr: u64, out: &mut [u8]) -> usize {
        let at = addr % PAGE;
        let len = out.len().min((PAGE - at) as usize).min(usize::try_from(self.end.saturating_sub(addr)).unwrap_or(0));
        let out = &mut out[..len];
        if len == 0 {
            return 0;
        }
        match &from.block {
            Some((block, offset)) => {
                let generation = block.protect_code(offset + at..offset + at + len as u64);
                let mut origin = self.origin.borrow_mut();
                if !origin.pages.iter().any(|(page, _)| *page == from.page.host) {
                    origin.pages.push((from.page.host, generation));
                }
                direct::read(from.page.host + at, out);
            }
            None => self.mmu.read_physical(from.page.physical + at, out),
        }
        len
    }
    /// Notes that the region depends on bytes.
    fn depend(&self, addr: u64, len: u64) {
        let mut origin = self.origin.borrow_mut();
        let count = len.min(PAGE - addr % PAGE);
        origin.add(self.first.page.host + addr % PAGE, count);
        if let Some(next) = self.next.as_ref().filter(|_| len > count) {
            origin.add(next.page.host, len - count);
        }
    }
}

impl CodeSource for Reachable<'_> {
    fn fetch(&self, pc: u64, out: &mut [u8]) -> usize {
        if !self.first.contains(pc) {
            return 0;
        }
        let mut got = self.copy(&self.first, pc, out);
        if self.first.block.is_some() {
            self.depend(pc, got as u64);
        }
        if let Some(next) = &self.next
            && pc == self.start
            && pc.wrapping_add(got as u64) & self.mmu.mask() == next.addr
        {
            let most = out.len().min(LONGEST as usize).max(got);
            got += self.copy(next, next.addr, &mut out[got..most]);
        }
        got
    }
}

impl World for Mmu {
    fn key(&self, pc: u64, mode: u64) -> Result<Option<Key>, MemFault> {
        let page = self.page(self.context(), pc, Kind::Fetch)?.host;
        self.note_executed(pc);
        let next = if may_straddle(pc) {
            let after = (pc | (PAGE - 1)).wrapping_add(1) & self.mask();
            // What cannot be fetched faults when an instruction needs it.
            self.page(self.context(), after, Kind::Fetch).map_or(Some(0), |next| (next.host != 0).then_some(next.host))
        } else {
            Some(0)
        };
        Ok(next.filter(|_| page != 0).map(|next| Key { pc, mode, page, next }))
    }
    fn lift(
        &self,
        guest: &dyn Guest,
        region: &mut Region,
        key: Key,
        limits: Limits,
        end: u64,
    ) -> Result<Origin, MemFault> {
        let start = guest.code_address(key.pc);
        let first = CodePage::new(self, start)?;
        let straddles = may_straddle(start);
        let after = (start | (PAGE - 1)).wrapping_add(1) & self.mask();
        let next = straddles.then(|| CodePage::new(self, after).ok()).flatten();
        let limits = if straddles { Limits { max_insns: 1, ..limits } } else { limits };
        let source = Reachable { mmu: self, start, end, first, next, origin: RefCell::default() };
        if let Err(fault) = guest.lift(region, key.pc, key.mode, &source, limits) {
            let addr = fault.addr & self.mask();
            self.page(self.context(), addr, Kind::Fetch)?;
            // The page can be fetched. So code ends before a breakpoint in the middle of the instruction, which does
            // not count.
            return match end {
                u64::MAX => Err(MemFault { addr, write: false, cause: FaultCause::Unmapped }),
                _ => self.lift(guest, region, key, limits, u64::MAX),
            };
        }
        if source.first.block.is_some() {
            region.insns.iter().for_each(|insn| source.depend(guest.code_address(insn.pc), insn.len.into()));
        }
        Ok(source.origin.into_inner())
    }
    fn is_current(&self, origin: &Origin) -> bool {
        // What came from a device may be something else the next time.
        !origin.pages.is_empty()
            && origin.pages.iter().all(|&(host, generation)| {
                self.block(host).is_some_and(|(block, offset)| block.generation(offset) == generation)
            })
    }
    fn fetch(&self, addr: u64, out: &mut [u8]) -> usize {
        let Ok(page) = self.page(self.context(), addr, Kind::Fetch) else { return 0 };
        let len = out.len().min((PAGE - addr % PAGE) as usize);
        let mut done = len;
        match page.host {
            0 => out[..len].fill(0),
            host => direct::read(host + addr % PAGE, &mut out[..len]),
        }
        if len < out.len() {
            done += self.fetch(addr.wrapping_add(len as u64) & self.mask(), &mut out[len..]);
        }
        done
    }
    fn with_memory(&self, code: Code<'_>, run: &mut dyn FnMut(&dyn Memory)) -> bool {
        self.set_guard(match code {
            Code::Nothing => Guard::Nothing,
            Code::Pages => Guard::Pages,
            Code::Ranges(ranges) if ranges.len() <= GUARDED => {
                Guard::Ranges(std::array::from_fn(|i| ranges.get(i).copied().unwrap_or(Range { start: 0, len: 0 })))
            }
            Code::Ranges(_) => Guard::Pages,
        });
        run(self);
        self.set_guard(Guard::Nothing)
    }
}
