//! `mremap` as Linux defines it, in the guest's address space.

use crate::code::Released;
use crate::flags::{PAGE, PageFlags, is_page, page_up};
use crate::place::Claim;
use crate::regions::Region;
use crate::space::{State, UserSpace};
use isamorph_host::Errno;
use std::ops::Range;

const EINVAL: Errno = Errno(libc::EINVAL);
const FLAGS: i32 = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP;

/// A move that has been decided on.
struct Move {
    from: Range<u64>,
    /// Nothing is mapped there.
    to: Claim,
    /// `MREMAP_DONTUNMAP`: the old range stays mapped, with fresh contents.
    keep: bool,
}

impl UserSpace {
    /// `mremap` with its flags; `new_addr` counts with `MREMAP_FIXED`. Returns where the mapping is now.
    pub fn remap(&self, old: u64, old_len: u64, len: u64, flags: i32, new_addr: u64) -> Result<u64, Errno> {
        let has = |flag| flags & flag != 0;
        let (may_move, fixed, keep) = (has(libc::MREMAP_MAYMOVE), has(libc::MREMAP_FIXED), has(libc::MREMAP_DONTUNMAP));
        let old_len = page_up(old_len).ok_or(EINVAL)?;
        let len = page_up(len).ok_or(EINVAL)?;
        let impossible = flags & !FLAGS != 0 || (fixed || keep) && !may_move || keep && old_len != len;
        if impossible || !is_page(old) || len == 0 || fixed && !is_page(new_addr) {
            return Err(EINVAL);
        }
        let from = self.inside(old, old_len).ok_or(EINVAL)?;
        let to = if fixed { Some(self.inside(new_addr, len).ok_or(EINVAL)?) } else { None };
        self.change(|state, released| match to {
            Some(to) => self.move_to_fixed(state, from, to, keep, released),
            None => self.resize(state, from, len, (may_move, keep), released),
        })
    }

    fn move_to_fixed(
        &self,
        state: &mut State,
        from: Range<u64>,
        to: Range<u64>,
        keep: bool,
        released: &mut Released,
    ) -> Result<u64, Errno> {
        if from.start < to.end && to.start < from.end {
            return Err(EINVAL);
        }
        if to.start < self.low {
            return Err(Errno(libc::EPERM));
        }
        // The part that a smaller mapping loses goes first, as in the kernel.
        let len = to.end - to.start;
        let kept = from.start..from.end.min(from.start + len);
        if kept.end < from.end {
            self.unmap_locked(state, kept.end..from.end, released)?;
        }
        let region = source(state, &kept)?;
        self.unmap_locked(state, to.clone(), released)?;
        let to = self.claim(state, to).map_err(|_| Errno(libc::ENOMEM))?;
        self.relocate(state, &region, Move { from: kept, to, keep }, released)
    }

    fn resize(
        &self,
        state: &mut State,
        from: Range<u64>,
        len: u64,
        (may_move, keep): (bool, bool),
        released: &mut Released,
    ) -> Result<u64, Errno> {
        let old_len = from.end - from.start;
        if old_len >= len && !keep {
            let tail = from.start + len..from.end;
            if state.regions.at(from.start).is_none() {
                return Err(Errno(libc::EFAULT));
            }
            return self.unmap_locked(state, tail, released).map(|()| from.start);
        }
        let region = source(state, &from)?;
        let wanted = self.inside(from.start, len);
        let in_place = wanted.filter(|w| !keep && region.end == from.end && state.regions.is_free(from.end..w.end));
        // Private memory grows in place by mapping more of it. For the rest the host would need free memory behind the
        // mapping, but there is the reservation: it moves, which a call may always do that says it can.
        if let Some(wanted) = in_place.filter(|_| region.file.is_none() && !region.shared) {
            let extended = self.extend(state, &region, from.end..wanted.end);
            // The host may have something there, which is no reason to fail.
            if extended.is_ok() || !may_move {
                return extended.map(|()| from.start).map_err(|_| Errno(libc::ENOMEM));
            }
        }
        if !may_move {
            return Err(Errno(libc::ENOMEM));
        }
        let to = self.gap(state, len, self.limit).ok_or(Errno(libc::ENOMEM))?;
        self.relocate(state, &region, Move { from, to, keep }, released)
    }

    /// Continues a region of private memory into a free range next to it.
    pub(crate) fn extend(&self, state: &mut State, region: &Region, range: Range<u64>) -> Result<(), Errno> {
        let flags = page_flags(region);
        let (host, len) = self.host_range(&range);
        let Claim { holes, .. } = self.claim(state, range.clone())?;
        let map = |()| self.window.map_anon(host, len, flags.host_prot(), libc::MAP_PRIVATE);
        self.pages.prepare(&range).and_then(map).inspect_err(|_| self.give_back(&holes))?;
        self.pages.fill(range.clone(), flags);
        state.regions.insert(Region { start: range.start, end: range.end, ..region.clone() });
        Ok(())
    }

    fn relocate(
        &self,
        state: &mut State,
        region: &Region,
        Move { from, to, keep }: Move,
        released: &mut Released,
    ) -> Result<u64, Errno> {
        let Claim { range: to, holes } = to;
        let (old, old_len) = self.host_range(&from);
        let (new, len) = self.host_range(&to);
        let prepared = self.pages.prepare(&from).and_then(|()| self.pages.prepare(&to));
        let moved = prepared.and_then(|()| self.relocate_host((old, old_len), (new, len), keep));
        moved.inspect_err(|_| self.give_back(&holes))?;
        let flags = page_flags(region);
        let held = self.pages.any(from.clone(), PageFlags::HELD);
        self.pages.fill(to.clone(), flags);
        if held {
            self.apply(to.clone())?;
        }
        let offset = region.offset + if region.file.is_some() { from.start - region.start } else { 0 };
        if keep {
            self.begin_release(state, from, released);
        } else if old_len != 0 {
            self.set_flags(from.clone(), PageFlags::empty(), released);
            state.regions.remove(from);
        }
        state.regions.insert(Region { start: to.start, end: to.end, offset, ..region.clone() });
        self.release_aliases(state, to.clone(), released);
        Ok(to.start)
    }

    /// Moves host memory. What is one mapping for the guest may be several for the host, because pages with code have
    /// another protection; `mremap` refuses more than one, so that the halves are moved one by one.
    fn relocate_host(&self, old: (usize, usize), new: (usize, usize), keep: bool) -> Result<(), Errno> {
        match self.window.relocate(old.0, old.1, new.0, new.1, keep) {
            Err(Errno(libc::EFAULT)) if old.1 > PAGE as usize => {
                let half = (old.1 / 2) & !(PAGE as usize - 1);
                self.relocate_host((old.0, half), (new.0, half), keep)?;
                self.relocate_host((old.0 + half, old.1 - half), (new.0 + half, new.1 - half), keep)
            }
            result => result,
        }
    }
}

/// The region that contains the whole range. An empty range stands for a second mapping of a shared object.
fn source(state: &State, range: &Range<u64>) -> Result<Region, Errno> {
    let region = state.regions.at(range.start).ok_or(Errno(libc::EFAULT))?;
    if range.end > region.end {
        return Err(Errno(libc::EFAULT));
    }
    if range.is_empty() && !region.shared { Err(EINVAL) } else { Ok(region.clone()) }
}

/// Flags of the pages of a region without translations.
fn page_flags(region: &Region) -> PageFlags {
    let mut flags = PageFlags::from_prot(region.prot) | PageFlags::VALID;
    flags.set(PageFlags::ANON, region.file.is_none());
    flags.set(PageFlags::SHARED, region.shared);
    flags
}
