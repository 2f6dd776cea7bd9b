//! Tests of windows that are shared with the host.

use crate::flags::{PAGE, PageFlags};
use crate::{Config, HostFault, MapRequest, UserSpace};
use isamorph_host::map::Reservation;
use isamorph_host::{Errno, map};
use isamorph_ir::{FaultCause, MemFault, Memory};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const R: i32 = libc::PROT_READ;
const RW: i32 = R | libc::PROT_WRITE;
const RWX: i32 = RW | libc::PROT_EXEC;
const TERABYTE: u64 = 1 << 40;

/// An address space whose mappings go below an address that no other test uses.
fn space() -> (UserSpace, u64) {
    static NEXT: AtomicU64 = AtomicU64::new(0x3000_0000_0000);
    let s = UserSpace::new(Config { addr_bits: 64, ..Config::default() }).unwrap();
    let top = NEXT.fetch_sub(1 << 36, Ordering::Relaxed);
    s.set_mmap_base(top);
    (s, top)
}

fn anon(len: u64, prot: i32) -> MapRequest {
    MapRequest { len, prot, ..MapRequest::default() }
}

fn at(addr: u64, len: u64, prot: i32) -> MapRequest {
    MapRequest { addr, fixed: true, ..anon(len, prot) }
}

fn spans(s: &UserSpace) -> Vec<(u64, u64)> {
    s.regions().iter().map(|r| (r.start, r.end)).collect()
}

/// Whether the host has nothing at an address.
fn vacant(addr: u64) -> bool {
    Reservation::at(addr as usize, PAGE as usize).is_ok()
}

#[test]
fn addresses_are_the_hosts() {
    let (s, top) = space();
    assert_eq!((s.host_base(), s.limit(), s.shares_host()), (0, 0x7fff_ffff_f000, true));
    let addr = s.map(&anon(2 * PAGE, RW)).unwrap();
    assert_eq!(addr, top - 2 * PAGE);
    s.write(addr, &[1, 2, 3]).unwrap();
    assert_eq!((s.host_ptr(addr) as u64, s.guest_addr(addr as usize)), (addr, Some(addr)));
    s.unmap(addr, PAGE).unwrap();
    assert!(vacant(addr) && !vacant(addr + PAGE));
    assert_eq!(s.map(&at(s.limit() - PAGE, 2 * PAGE, RW)), Err(Errno(libc::ENOMEM)));
    drop(s);
    assert!(vacant(addr + PAGE), "nothing stays behind");
}

#[test]
fn what_the_host_has_is_left_alone() {
    let (s, top) = space();
    let theirs = Reservation::at((top - 4 * PAGE) as usize, PAGE as usize).unwrap();
    theirs.map_anon(theirs.start(), theirs.len(), RW, libc::MAP_PRIVATE).unwrap();
    theirs.write(theirs.start(), b"theirs").unwrap();
    let occupied = top - 4 * PAGE;
    let (whole, error) = (at(top - 6 * PAGE, 6 * PAGE, RW), |e| Err(Errno(e)));
    assert_eq!(s.map(&whole), error(libc::ENOMEM));
    assert_eq!(s.map(&MapRequest { fixed: false, fixed_noreplace: true, ..whole.clone() }), error(libc::EEXIST));
    assert!(!s.is_free(occupied, PAGE) && s.is_free(top - PAGE, PAGE));
    assert!(vacant(top - PAGE) && vacant(top - 6 * PAGE), "what was free before stays free");
    assert_eq!(s.map(&anon(3 * PAGE, RW)), Ok(top - 3 * PAGE));
    assert_eq!(s.map(&MapRequest { addr: occupied, ..anon(2 * PAGE, RW) }), Ok(occupied - 2 * PAGE), "a hint fails");
    assert_eq!(s.map(&at(top - 6 * PAGE, 6 * PAGE, RW)), error(libc::ENOMEM));
    assert_eq!(spans(&s), [(occupied - 2 * PAGE, occupied), (top - 3 * PAGE, top)], "and none of it was replaced");
    assert_eq!(s.protect(occupied, PAGE, 0), Err(Errno(libc::ENOMEM)));
    assert_eq!(s.advise(occupied, PAGE, libc::MADV_DONTNEED), Err(Errno(libc::ENOMEM)));
    assert_eq!(s.unmap(top - 6 * PAGE, 6 * PAGE), Ok(()));
    let mut word = [0; 6];
    theirs.read(theirs.start(), &mut word).unwrap();
    assert_eq!(&word, b"theirs");
    let unmapped = |write| MemFault { addr: occupied, write, cause: FaultCause::Unmapped };
    assert_eq!(s.read(occupied, &mut word), Err(unmapped(false)));
    assert_eq!(s.check(occupied, 1, true), Err(unmapped(true)));
    assert_eq!(s.handle_host_fault(occupied as usize, true, false), HostFault::Guest(unmapped(true)));
}

#[test]
fn mappings_grow_and_move_around_the_host() {
    let (s, top) = space();
    let low = top - 16 * PAGE;
    s.map(&at(low, PAGE, RW)).unwrap();
    s.write(low, b"text").unwrap();
    let _theirs = Reservation::at((low + 2 * PAGE) as usize, PAGE as usize).unwrap();
    assert_eq!(s.remap(low, PAGE, 2 * PAGE, 0, 0), Ok(low));
    assert_eq!(s.remap(low, 2 * PAGE, 3 * PAGE, 0, 0), Err(Errno(libc::ENOMEM)));
    assert_eq!(s.remap(low, 2 * PAGE, 3 * PAGE, libc::MREMAP_MAYMOVE, 0), Ok(top - 3 * PAGE));
    let mut text = [0; 4];
    s.read(top - 3 * PAGE, &mut text).unwrap();
    assert_eq!((&text, vacant(low)), (b"text", true));
    let fixed = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    assert_eq!(s.remap(top - 3 * PAGE, PAGE, PAGE, fixed, low + 2 * PAGE), Err(Errno(libc::ENOMEM)));
    s.map(&at(low, PAGE, R)).unwrap();
    assert_eq!(s.remap(top - 3 * PAGE, PAGE, 2 * PAGE, fixed, low), Ok(low));
    assert_eq!(spans(&s), [(low, low + 2 * PAGE), (top - 2 * PAGE, top)]);
    s.read(low, &mut text).unwrap();
    assert_eq!(&text, b"text");
    // A mapping that grows down stops at what the host has.
    let stack = MapRequest { grows_down: true, ..at(low + 8 * PAGE, PAGE, RW) };
    s.map(&stack).unwrap();
    s.unmap(low, 2 * PAGE).unwrap();
    s.write(low + 4 * PAGE, b"down").unwrap();
    assert_eq!(s.region_at(low + 4 * PAGE).map(|r| r.end), Some(low + 9 * PAGE));
    assert!(s.write(low + 2 * PAGE, b"more").is_err());
}

#[test]
fn terabytes_are_reserved_and_used_in_parts() {
    let (s, _) = space();
    let noreserve = |request| MapRequest { host_flags: libc::MAP_NORESERVE, ..request };
    let start = 0x1000_0000_0000;
    s.map(&noreserve(at(start, 15 * TERABYTE, 0))).unwrap();
    let middle = start + 7 * TERABYTE + 5 * PAGE;
    s.protect(middle, 3 * PAGE, RW).unwrap();
    s.write(middle + 2 * PAGE, b"in use").unwrap();
    assert_eq!(s.flags(middle - PAGE), PageFlags::VALID | PageFlags::ANON);
    let protected = |addr| Err(MemFault { addr, write: true, cause: FaultCause::Protected });
    assert_eq!(s.check(middle, 4 * PAGE, true), protected(middle + 3 * PAGE));
    s.protect(start, 15 * TERABYTE, RW).unwrap();
    assert_eq!(s.check(start, 15 * TERABYTE, true), Ok(()));
    s.advise(start, 15 * TERABYTE, libc::MADV_DONTNEED).unwrap();
    assert!(!s.may_hold_code(start, 15 * TERABYTE));
    s.unmap(start + TERABYTE, 13 * TERABYTE).unwrap();
    assert_eq!(spans(&s), [(start, start + TERABYTE), (start + 14 * TERABYTE, start + 15 * TERABYTE)]);
    // More than there is below the usual top goes above it, around the host's own mappings.
    let large = s.map(&noreserve(anon(30 * TERABYTE, 0))).unwrap();
    assert!(large > 0x3000_0000_0000, "{large:#x}");
}

#[test]
fn code_pages_far_apart_do_not_disturb_each_other() {
    let (s, top) = space();
    let dropped = Arc::new(AtomicU64::new(0));
    let seen = dropped.clone();
    s.set_code_hook(Box::new(move |start, len| {
        seen.fetch_add(1, Ordering::Relaxed);
        assert!(len >= PAGE && start != 0);
    }));
    // All of them have the same generation counter.
    let same = |high: u64| high << 32 | (high & 0xf_ffff) << 12;
    let pages: Vec<u64> = (2..5).map(|i| same((top >> 32) - i)).collect();
    for page in &pages {
        s.map(&at(*page, PAGE, RWX)).unwrap();
        assert!(s.protect_code(*page).is_some());
    }
    let generation = s.generation(pages[0]);
    assert_eq!(s.generation(pages[1]), generation, "the test tests nothing otherwise");
    s.write(pages[0], b"x").unwrap();
    assert!(s.generation(pages[1]) != generation && s.is_code(pages[1]) && !s.is_code(pages[0]));
    s.advise(pages[2], pages[0] + PAGE - pages[2], libc::MADV_DONTNEED).unwrap_err();
    for page in &pages {
        s.write(*page, b"y").unwrap();
    }
    assert!(pages.iter().all(|page| !s.flags(*page).intersects(PageFlags::HELD | PageFlags::CODE)));
    // Once for each; and again for the one that seemed to be released by somebody else meanwhile.
    assert_eq!(dropped.load(Ordering::Relaxed), 4);
}

#[test]
fn low_addresses_can_be_asked_for() {
    let (s, _) = space();
    let low = s.map(&MapRequest { below: Some(1 << 31), ..anon(PAGE, RW) }).unwrap();
    assert!((1 << 30..1 << 31).contains(&low), "{low:#x}");
    let hint = MapRequest { addr: 1 << 33, below: Some(1 << 31), ..anon(PAGE, RW) };
    assert_eq!(s.map(&hint), Ok(low - PAGE), "a hint above does not count");
    assert!(map::occupied(low as usize..low as usize + 1).len() == 1);
}
