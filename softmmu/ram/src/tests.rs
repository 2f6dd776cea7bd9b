//! Tests of the address space as a whole.
#![allow(unsafe_code)] // forks, raw stores, files

use crate::*;
use isamorph_host::fault::{self, AltStack, FaultContext, Verdict};
use isamorph_ir::{FaultCause, MemFault, Memory};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

const R: i32 = libc::PROT_READ;
const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
const RX: i32 = libc::PROT_READ | libc::PROT_EXEC;
const RWX: i32 = RW | libc::PROT_EXEC;

fn err<T>(errno: i32) -> Result<T, Errno> {
    Err(Errno(errno))
}

fn space() -> UserSpace {
    UserSpace::new(Config::default()).unwrap()
}

fn anon(len: u64, prot: i32) -> MapRequest {
    MapRequest { len, prot, ..Default::default() }
}

fn fixed(addr: u64, len: u64, prot: i32) -> MapRequest {
    MapRequest { addr, fixed: true, ..anon(len, prot) }
}

fn file_with(content: &[u8]) -> File {
    // SAFETY: the name is a C string.
    let fd = unsafe { libc::memfd_create(c"test".as_ptr(), 0) };
    // SAFETY: the descriptor is new.
    let mut file = unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(fd) };
    file.write_all(content).unwrap();
    file
}

fn of_file(file: &File, len: u64, prot: i32, shared: bool) -> MapRequest {
    let kind = MapKind::File { fd: file.as_raw_fd(), offset: 0, id: FileId { dev: 1, inode: 2 } };
    MapRequest { kind, shared, ..anon(len, prot) }
}

fn get(space: &UserSpace, addr: u64) -> Result<u32, MemFault> {
    let mut word = [0; 4];
    space.read(addr, &mut word)?;
    Ok(u32::from_le_bytes(word))
}

fn put(space: &UserSpace, addr: u64, value: u32) -> Result<(), MemFault> {
    space.write(addr, &value.to_le_bytes())
}

fn bad(addr: u64, write: bool, cause: FaultCause) -> MemFault {
    MemFault { addr, write, cause }
}

/// Start, end and protection of all regions.
fn spans(space: &UserSpace) -> Vec<(u64, u64, i32)> {
    space.regions().iter().map(|r| (r.start, r.end, r.prot)).collect()
}

/// Records what the code hook is called with.
fn recorded(space: &UserSpace) -> Arc<Mutex<Vec<(u64, u64)>>> {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let log = calls.clone();
    space.set_code_hook(Box::new(move |start, len| log.lock().unwrap().push((start, len))));
    calls
}

fn taken(calls: &Mutex<Vec<(u64, u64)>>) -> Vec<(u64, u64)> {
    std::mem::take(&mut calls.lock().unwrap())
}

#[test]
fn window_is_at_zero_if_possible_and_else_anywhere() {
    let first = space();
    assert_eq!(first.host_base(), 0, "guest addresses are host addresses");
    let second = space();
    assert_ne!(second.host_base(), 0);
    for s in [&first, &second] {
        let at = s.map(&anon(PAGE, RW)).unwrap();
        assert_eq!(at, s.limit() - PAGE);
        put(s, at, 7).unwrap();
        let mut word = [0; 4];
        s.window.read(s.host_ptr(at), &mut word).unwrap();
        assert_eq!(word, [7, 0, 0, 0]);
        assert_eq!(s.guest_addr(s.host_ptr(at)), Some(at));
        assert_eq!(get(s, 0xffff_fffe), Err(bad(1 << 32, false, FaultCause::Unmapped)));
        assert_eq!(get(s, u64::MAX - 1), Err(bad(u64::MAX - 1, false, FaultCause::Unmapped)));
        assert_eq!(s.map(&fixed(0, PAGE, RW)), err(libc::EPERM));
    }
}

#[test]
fn window_where_asked_for() {
    let base = Some(0x20_0000_0000);
    let s = UserSpace::new(Config { base, reserved: Some(0x1000_0000), ..Config::default() }).unwrap();
    assert_eq!((s.host_base(), s.limit()), (0x20_0000_0000, 0x1000_0000));
    assert_eq!(s.map(&fixed(0x1000_0000, PAGE, RW)), err(libc::ENOMEM));
    assert_eq!(s.map(&anon(PAGE, RW)), Ok(0x1000_0000 - PAGE));
    assert_eq!(UserSpace::new(Config { base, ..Config::default() }).err(), Some(Errno(libc::EEXIST)));
    assert_eq!(UserSpace::new(Config { base, addr_bits: 47, reserved: None }).err(), Some(Errno(libc::EINVAL)));
}

#[test]
fn map_places_and_refuses_as_linux_does() {
    let s = space();
    s.set_mmap_base(0x4000_0000);
    assert_eq!(s.map(&anon(5000, RW)), Ok(0x4000_0000 - 2 * PAGE));
    assert_eq!(s.map(&MapRequest { addr: 0x1234_5678, ..anon(PAGE, RW) }), Ok(0x1234_5000));
    let taken = MapRequest { addr: 0x1234_5000, ..anon(PAGE, RW) };
    assert_eq!(s.map(&taken), Ok(0x4000_0000 - 3 * PAGE), "a hint is only a hint");
    assert_eq!(s.map(&MapRequest { fixed_noreplace: true, ..taken }), err(libc::EEXIST));
    assert_eq!(s.map(&anon(0, RW)), err(libc::EINVAL));
    assert_eq!(s.map(&fixed(1, PAGE, RW)), err(libc::EINVAL));
    assert_eq!(s.map(&anon(u64::MAX, RW)), err(libc::ENOMEM));
    assert_eq!(s.map(&anon(1 << 32, RW)), err(libc::ENOMEM));
    assert_eq!(s.map(&fixed(0xffff_f000, 2 * PAGE, RW)), err(libc::ENOMEM));
    let no_file = MapKind::File { fd: -1, offset: 0, id: FileId::default() };
    assert_eq!(s.map(&MapRequest { kind: no_file, ..anon(PAGE, R) }), err(libc::EBADF));
    let odd = MapKind::File { fd: 0, offset: 5, id: FileId::default() };
    assert_eq!(s.map(&MapRequest { kind: odd, ..anon(PAGE, R) }), err(libc::EINVAL));
    assert!(s.is_free(0x2000_0000, PAGE) && !s.is_free(0x1234_4000, 2 * PAGE) && !s.is_free(1 << 32, PAGE));
}

#[test]
fn access_obeys_protection_page_by_page() {
    let s = space();
    let at = 0x10_0000;
    s.map(&fixed(at, 4 * PAGE, RW)).unwrap();
    put(&s, at + PAGE - 2, 0x1234_5678).unwrap();
    assert_eq!(get(&s, at + PAGE - 2), Ok(0x1234_5678));
    s.protect(at + PAGE, PAGE, R).unwrap();
    assert_eq!(put(&s, at + PAGE - 2, 0), Err(bad(at + PAGE, true, FaultCause::Protected)));
    assert_eq!(get(&s, at + PAGE - 2), Ok(0x1234_5678), "the refused write changed nothing");
    s.protect(at + PAGE, PAGE, 0).unwrap();
    assert_eq!(get(&s, at + PAGE + 8), Err(bad(at + PAGE + 8, false, FaultCause::Protected)));
    s.unmap(at + 2 * PAGE, PAGE).unwrap();
    assert_eq!(get(&s, at + 2 * PAGE), Err(bad(at + 2 * PAGE, false, FaultCause::Unmapped)));
    assert_eq!(spans(&s), [(at, at + PAGE, RW), (at + PAGE, at + 2 * PAGE, 0), (at + 3 * PAGE, at + 4 * PAGE, RW)]);
    assert_eq!(s.update(at + 3 * PAGE, 4, &mut |v| v + 5), Ok(0));
    assert_eq!(get(&s, at + 3 * PAGE), Ok(5));
    assert_eq!(s.update(at + PAGE - 1, 2, &mut |v| v), Err(bad(at + PAGE, true, FaultCause::Protected)));
    assert_eq!(s.check(at, PAGE, true), Ok(()));
    assert_eq!(s.check(at, 2 * PAGE, false), Err(bad(at + PAGE, false, FaultCause::Protected)));
}

#[test]
fn unmap_and_protect_refuse_as_linux_does() {
    let s = space();
    let at = 0x10_0000;
    s.map(&fixed(at, 2 * PAGE, RW)).unwrap();
    assert_eq!(s.unmap(at + 1, PAGE), err(libc::EINVAL));
    assert_eq!(s.unmap(at, 0), err(libc::EINVAL));
    assert_eq!(s.unmap(0xffff_f000, 2 * PAGE), err(libc::EINVAL));
    assert_eq!(s.unmap(at + 0x10_0000, PAGE), Ok(()), "unmapping nothing is fine");
    assert_eq!(s.protect(at + 1, PAGE, R), err(libc::EINVAL));
    assert_eq!(s.protect(at, PAGE, 0x40), err(libc::EINVAL));
    assert_eq!(s.protect(at, 0, R), Ok(()));
    assert_eq!(s.protect(at + PAGE, 2 * PAGE, R), err(libc::ENOMEM), "runs into a hole");
    assert_eq!(spans(&s), [(at, at + PAGE, RW), (at + PAGE, at + 2 * PAGE, R)], "up to which it took effect");
}

#[test]
fn files_are_mapped() {
    let s = space();
    let file = file_with(&[0x41; 5000]);
    let private = s.map(&of_file(&file, 3 * PAGE, RW, false)).unwrap();
    let shared = s.map(&of_file(&file, 2 * PAGE, RW, true)).unwrap();
    put(&s, private, 1).unwrap();
    assert_eq!(get(&s, shared), Ok(0x4141_4141));
    put(&s, shared + 8, 2).unwrap();
    assert_eq!(get(&s, private + 5000), Ok(0));
    let end = private + 2 * PAGE;
    assert_eq!(get(&s, end), Err(bad(end, false, FaultCause::NoBacking)));
    assert_eq!(put(&s, end - 2, 0), Err(bad(end, true, FaultCause::NoBacking)));
    s.sync(shared, PAGE, libc::MS_SYNC).unwrap();
    let read_only = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    assert_eq!(s.map(&of_file(&read_only, PAGE, RW, true)), err(libc::EACCES));
    let part = s.map(&of_file(&read_only, PAGE, R, true)).unwrap();
    assert_eq!(s.protect(part, PAGE, RW), err(libc::EACCES));
    s.unmap(private, PAGE).unwrap();
    let rest = s.region_at(private + PAGE).unwrap();
    assert_eq!((rest.start, rest.offset, rest.file), (private + PAGE, PAGE, Some(FileId { dev: 1, inode: 2 })));
    assert!(s.flags(shared).contains(PageFlags::SHARED) && !s.flags(shared).contains(PageFlags::ANON));
}

#[test]
fn shared_memory_segments_are_attached() {
    let s = space();
    // SAFETY: no pointers.
    let shmid = unsafe { libc::shmget(libc::IPC_PRIVATE, 5000, 0o600) };
    assert!(shmid >= 0);
    let segment = |len, prot| {
        let kind = MapKind::Segment { shmid, id: FileId { dev: 0, inode: shmid as u64 } };
        s.map(&MapRequest { kind, shared: true, ..anon(len, prot) })
    };
    let (first, second) = (segment(5000, RW), segment(5000, R));
    assert_eq!(segment(PAGE, R), err(libc::EINVAL), "longer than the range");
    // SAFETY: no pointers. The segment lives until it is detached.
    assert_eq!(unsafe { libc::shmctl(shmid, libc::IPC_RMID, std::ptr::null_mut()) }, 0);
    let (first, second) = (first.unwrap(), second.unwrap());
    put(&s, first + 4990, 6).unwrap();
    assert_eq!(get(&s, second + 4990), Ok(6));
    assert_eq!(put(&s, second, 6), Err(bad(second, true, FaultCause::Protected)));
    s.unmap(first, 2 * PAGE).unwrap();
    assert_eq!(get(&s, second + 4990), Ok(6));
}

#[test]
fn fetch_stops_where_execution_would() {
    let s = space();
    let at = 0x10_0000;
    s.map(&fixed(at, 2 * PAGE, RW)).unwrap();
    s.write(at + PAGE - 4, &[1, 2, 3, 4, 5, 6]).unwrap();
    s.protect(at, PAGE, RX).unwrap();
    let mut code = [0; 8];
    assert_eq!(s.fetch(at + PAGE - 4, &mut code), 4);
    assert_eq!(code[..5], [1, 2, 3, 4, 0]);
    s.set_read_implies_exec(true);
    assert_eq!(s.fetch(at + PAGE - 4, &mut code), 8);
    assert_eq!(s.fetch(at + 2 * PAGE - 3, &mut code), 3);
    assert_eq!(s.fetch(at - 1, &mut code), 0);
    assert_eq!(s.fetch(u64::MAX - 2, &mut code), 0);
}

#[test]
fn stores_release_code_pages() {
    let s = space();
    let at = s.map(&anon(4 * PAGE, RWX)).unwrap();
    let calls = recorded(&s);
    let before = s.protect_code(at).unwrap();
    s.protect_code(at + PAGE + 5).unwrap();
    assert!(s.is_code(at + 100) && s.is_code(at + PAGE) && !s.is_code(at + 2 * PAGE));
    assert_eq!(get(&s, at), Ok(0));
    assert_eq!(taken(&calls), []);
    put(&s, at + PAGE - 2, 9).unwrap();
    assert_eq!(taken(&calls), [(at, 2 * PAGE)]);
    assert!(!s.is_code(at) && !s.is_code(at + PAGE));
    assert_eq!(s.generation(at), before + 1);
    put(&s, at + 2, 9).unwrap();
    assert_eq!(s.update(at, 4, &mut |v| v + 1), Ok(9 << 16));
    assert_eq!(taken(&calls), [], "the page is an ordinary one again");
    s.protect_code(at).unwrap();
    s.update(at, 4, &mut |v| v + 1).unwrap();
    assert_eq!(taken(&calls), [(at, PAGE)]);
    s.protect_code(at + 3 * PAGE).unwrap();
    s.prepare_write(at, 4 * PAGE).unwrap();
    assert_eq!(taken(&calls), [(at + 3 * PAGE, PAGE)]);
    assert_eq!(s.protect_code(at - PAGE), None, "nothing there");
}

#[test]
fn the_hook_runs_before_the_page_becomes_writable() {
    let s = Arc::new(space());
    let at = s.map(&anon(PAGE, RWX)).unwrap();
    let (held, host) = (Arc::new(AtomicU32::new(0)), s.host_ptr(at));
    let (seen, me) = (held.clone(), Arc::downgrade(&s));
    s.set_code_hook(Box::new(move |_, _| {
        // The hook may use the address space, and a store still faults.
        let s = me.upgrade().unwrap();
        let refused = s.window.write(host, &[1]) == Err(host);
        let unmarked = !s.is_code(at) && s.regions().len() == 1;
        seen.store(1 + u32::from(refused) + u32::from(unmarked), Ordering::Relaxed);
    }));
    for release in [|s: &UserSpace, at| put(s, at, 1).unwrap(), |s: &UserSpace, at| s.release_code(at)] {
        s.protect_code(at).unwrap();
        release(&s, at);
        assert_eq!(held.swap(0, Ordering::Relaxed), 3);
        assert_eq!(s.window.write(host, &[1]), Ok(()));
    }
    s.protect_code(at).unwrap();
    s.protect(at, PAGE, RW).unwrap();
    assert_eq!(held.swap(0, Ordering::Relaxed), 3, "also when it stops being executable");
    assert_eq!(s.window.write(host, &[1]), Ok(()));
}

#[test]
fn a_page_protected_again_during_release_stays_protected() {
    let s = Arc::new(space());
    let at = s.map(&anon(PAGE, RWX)).unwrap();
    let (me, again) = (Arc::downgrade(&s), AtomicU32::new(0));
    s.set_code_hook(Box::new(move |start, _| {
        if again.fetch_add(1, Ordering::Relaxed) == 0 {
            me.upgrade().unwrap().protect_code(start).unwrap();
        }
    }));
    let first = s.protect_code(at).unwrap();
    s.release_code(at);
    assert!(s.is_code(at), "another translator came between");
    assert_eq!(s.window.write(s.host_ptr(at), &[1]), Err(s.host_ptr(at)));
    put(&s, at, 1).unwrap();
    assert_eq!((s.is_code(at), s.generation(at)), (false, first + 2));
}

#[test]
fn changed_mappings_drop_code() {
    let s = space();
    let calls = recorded(&s);
    let at = 0x10_0000;
    let protected = |prot| {
        s.map(&fixed(at, 4 * PAGE, prot)).unwrap();
        s.protect_code(at + PAGE).unwrap();
        taken(&calls);
    };
    let dropped = |what: &str| {
        assert_eq!(taken(&calls), [(at + PAGE, PAGE)], "{what}");
        assert!(!s.is_code(at + PAGE), "{what}");
    };
    protected(RX);
    s.unmap(at, 4 * PAGE).unwrap();
    dropped("unmap");
    protected(RWX);
    s.map(&fixed(at, 4 * PAGE, RWX)).unwrap();
    dropped("map over");
    put(&s, at + PAGE, 1).unwrap();
    protected(RWX);
    s.protect(at, 4 * PAGE, RW).unwrap();
    dropped("no longer executable");
    put(&s, at + PAGE, 1).unwrap();
    protected(RWX);
    s.advise(at, 4 * PAGE, libc::MADV_DONTNEED).unwrap();
    dropped("madvise");
    put(&s, at + PAGE, 1).unwrap();
    protected(RWX);
    let to = s.remap(at, 4 * PAGE, 8 * PAGE, libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED, 0x80_0000).unwrap();
    dropped("mremap");
    put(&s, to + PAGE, 1).unwrap();
}

#[test]
fn code_survives_a_change_of_write_permission() {
    let s = space();
    let calls = recorded(&s);
    let at = s.map(&anon(2 * PAGE, RX)).unwrap();
    let generation = s.protect_code(at).unwrap();
    assert_eq!(put(&s, at, 1), Err(bad(at, true, FaultCause::Protected)));
    s.protect(at, 2 * PAGE, RWX).unwrap();
    assert_eq!((taken(&calls), s.is_code(at), s.generation(at)), (vec![], true, generation));
    put(&s, at + PAGE, 1).unwrap();
    assert_eq!(taken(&calls), []);
    put(&s, at, 1).unwrap();
    assert_eq!(taken(&calls), [(at, PAGE)], "a store is noticed all the same");
    s.protect_code(at).unwrap();
    s.protect(at, 2 * PAGE, RX).unwrap();
    assert!(s.is_code(at));
    assert_eq!(put(&s, at, 1), Err(bad(at, true, FaultCause::Protected)));
}

#[test]
fn host_faults_are_explained() {
    let s = space();
    let at = 0x10_0000;
    s.map(&fixed(at, 2 * PAGE, RWX)).unwrap();
    s.protect(at, PAGE, R).unwrap();
    let explain = |addr, write, bus| s.handle_host_fault(s.host_ptr(addr), write, bus);
    assert_eq!(explain(at + 4, true, false), HostFault::Guest(bad(at + 4, true, FaultCause::Protected)));
    assert_eq!(explain(at - 4, false, false), HostFault::Guest(bad(at - 4, false, FaultCause::Unmapped)));
    assert_eq!(explain(at, false, true), HostFault::Guest(bad(at, false, FaultCause::NoBacking)));
    assert_eq!(explain(at, false, false), HostFault::Retry);
    assert_eq!(explain((1 << 32) + 8, true, false), HostFault::Guest(bad((1 << 32) + 8, true, FaultCause::Unmapped)));
    s.protect_code(at + PAGE).unwrap();
    assert_eq!(explain(at + PAGE + 8, true, false), HostFault::CodeStore(at + PAGE));
    assert_eq!(explain(at + PAGE + 8, false, false), HostFault::Retry);
    let mine = 5;
    assert_eq!(s.handle_host_fault(&raw const mine as usize, true, false), HostFault::NotGuest);
}

static SPACE: OnceLock<UserSpace> = OnceLock::new();
static STORES: AtomicU64 = AtomicU64::new(0);

fn on_fault(cx: &mut FaultContext<'_>) -> Verdict {
    let bus = cx.signal() == libc::SIGBUS;
    match SPACE.get().unwrap().handle_host_fault(cx.addr(), cx.is_write(), bus) {
        HostFault::CodeStore(page) => {
            STORES.fetch_add(1, Ordering::Relaxed);
            SPACE.get().unwrap().release_code(page);
            Verdict::Resume
        }
        HostFault::Retry => Verdict::Resume,
        _ => Verdict::NotMine,
    }
}

/// Stores as compiled code does them: raw, with the signal handler sorting it out.
#[test]
fn raw_stores_race_with_translation() {
    const ROUNDS: u32 = 2000;
    let s = SPACE.get_or_init(space);
    let at = s.map(&anon(PAGE, RWX)).unwrap();
    fault::set_callback(on_fault);
    // What a "translation" saw of the word, or 0 when there is none.
    static TRANSLATED: Mutex<Option<u32>> = Mutex::new(None);
    s.set_code_hook(Box::new(|_, _| *TRANSLATED.lock().unwrap() = None));
    let host = s.host_ptr(at) as *mut u32;
    // SAFETY: the page stays mapped, and is accessed atomically; faults of stores are resolved by the handler.
    let word = unsafe { AtomicU32::from_ptr(host) };
    std::thread::scope(|scope| {
        let translator = scope.spawn(|| {
            while word.load(Ordering::SeqCst) < ROUNDS {
                let generation = s.protect_code(at).unwrap();
                let seen = get(s, at).unwrap();
                let mut translated = TRANSLATED.lock().unwrap();
                if s.generation(at) == generation {
                    *translated = Some(seen);
                }
            }
        });
        let _stack = AltStack::install().unwrap();
        for n in 1..=ROUNDS {
            // Now and then wait until there is something to drop.
            while n % 16 == 0 && TRANSLATED.lock().unwrap().is_none() {
                std::thread::yield_now();
            }
            word.store(n, Ordering::SeqCst);
            let translated = *TRANSLATED.lock().unwrap();
            assert!(translated.is_none_or(|seen| seen == n), "round {n}: stale translation of {translated:?}");
        }
        translator.join().unwrap();
    });
    let handled = STORES.load(Ordering::Relaxed);
    assert!(handled >= u64::from(ROUNDS / 16), "the handler was needed only {handled} times");
}

#[test]
fn remap_resizes_and_moves() {
    let s = space();
    let may = libc::MREMAP_MAYMOVE;
    let to = may | libc::MREMAP_FIXED;
    let at = 0x10_0000;
    s.map(&fixed(at, 2 * PAGE, RW)).unwrap();
    put(&s, at + PAGE, 11).unwrap();
    assert_eq!(s.remap(at, 2 * PAGE, 4 * PAGE, 0, 0), Ok(at), "grows in place");
    put(&s, at + 3 * PAGE, 12).unwrap();
    assert_eq!(s.remap(at, 4 * PAGE, 2 * PAGE, 0, 0), Ok(at), "shrinks");
    assert_eq!(get(&s, at + 2 * PAGE), Err(bad(at + 2 * PAGE, false, FaultCause::Unmapped)));
    s.map(&fixed(at + 2 * PAGE, PAGE, R)).unwrap();
    assert_eq!(s.remap(at, 2 * PAGE, 3 * PAGE, 0, 0), err(libc::ENOMEM), "no room");
    let moved = s.remap(at, 2 * PAGE, 3 * PAGE, may, 0).unwrap();
    assert_eq!((get(&s, moved + PAGE), get(&s, moved + 2 * PAGE)), (Ok(11), Ok(0)));
    assert_eq!(get(&s, at), Err(bad(at, false, FaultCause::Unmapped)));
    assert_eq!(s.remap(moved, 3 * PAGE, 2 * PAGE, to, at), Ok(at));
    assert_eq!(get(&s, at + PAGE), Ok(11));
    assert_eq!(s.remap(at, 2 * PAGE, 2 * PAGE, may | libc::MREMAP_DONTUNMAP, 0).map(|a| get(&s, a + PAGE)), Ok(Ok(11)));
    assert_eq!(get(&s, at + PAGE), Ok(0), "fresh memory stays behind");
    for (args, want) in [
        ((at + 1, PAGE, PAGE, may, 0), libc::EINVAL),
        ((at, PAGE, 0, may, 0), libc::EINVAL),
        ((at, PAGE, PAGE, libc::MREMAP_FIXED, 0x50_0000), libc::EINVAL),
        ((at, PAGE, PAGE, to, at), libc::EINVAL),
        ((at, PAGE, 2 * PAGE, may | libc::MREMAP_DONTUNMAP, 0), libc::EINVAL),
        ((at, PAGE, PAGE, 0x100, 0), libc::EINVAL),
        ((at + 0x10_0000, PAGE, 2 * PAGE, may, 0), libc::EFAULT),
        ((at, 8 * PAGE, 9 * PAGE, may, 0), libc::EFAULT),
        ((at, 0, PAGE, may, 0), libc::EINVAL),
        ((at, PAGE, 1 << 32, may, 0), libc::ENOMEM),
        ((at, PAGE, PAGE, to, 0), libc::EPERM),
    ] {
        let (old, old_len, len, flags, new) = args;
        assert_eq!(s.remap(old, old_len, len, flags, new), err(want), "{args:x?}");
    }
}

#[test]
fn remap_of_shared_memory_and_of_pages_with_code() {
    let s = space();
    let may = libc::MREMAP_MAYMOVE;
    let file = file_with(&[0x42; 8192]);
    let at = s.map(&of_file(&file, PAGE, RW, true)).unwrap();
    let twin = s.remap(at, 0, PAGE, may, 0).unwrap();
    put(&s, at, 5).unwrap();
    assert_eq!((get(&s, twin), twin != at), (Ok(5), true));
    let larger = s.remap(at, PAGE, 2 * PAGE, may, 0).unwrap();
    assert_eq!(get(&s, larger + PAGE), Ok(0x4242_4242));
    let region = s.region_at(larger).unwrap();
    assert_eq!((region.end - region.start, region.shared), (2 * PAGE, true));

    let code = s.map(&anon(16 * PAGE, RWX)).unwrap();
    for i in 0..16 {
        put(&s, code + i * PAGE, i as u32).unwrap();
    }
    for i in [1, 5, 6, 11] {
        s.protect_code(code + i * PAGE).unwrap();
    }
    let calls = recorded(&s);
    let moved = s.remap(code, 16 * PAGE, 20 * PAGE, may | libc::MREMAP_FIXED, 0x80_0000).unwrap();
    assert_eq!(taken(&calls).len(), 3);
    for i in 0..16 {
        assert_eq!(get(&s, moved + i * PAGE), Ok(i as u32));
        put(&s, moved + i * PAGE, 1).unwrap();
        assert!(!s.is_code(moved + i * PAGE));
    }
    put(&s, moved + 19 * PAGE, 1).unwrap();
}

#[test]
fn stacks_grow_down() {
    let s = space();
    let top = 0x1000_0000;
    s.set_stack_limit(0x10_0000);
    let request = MapRequest { grows_down: true, ..fixed(top - PAGE, PAGE, RW) };
    s.map(&request).unwrap();
    put(&s, top - 5 * PAGE, 3).unwrap();
    assert_eq!(spans(&s), [(top - 5 * PAGE, top, RW)]);
    let far = top - 0x20_0000;
    assert_eq!(get(&s, far), Err(bad(far, false, FaultCause::Unmapped)));
    let deep = s.host_ptr(top - 9 * PAGE);
    assert_eq!(s.handle_host_fault(deep, true, false), HostFault::Retry);
    assert_eq!(get(&s, top - 9 * PAGE), Ok(0));
    s.map(&fixed(top - 300 * PAGE, PAGE, RW)).unwrap();
    s.set_stack_limit(1 << 30);
    let near = top - 60 * PAGE;
    assert_eq!(get(&s, near), Err(bad(near, false, FaultCause::Unmapped)), "too near to the mapping below");
    s.protect(top - PAGE, PAGE, R | libc::PROT_GROWSDOWN).unwrap();
    assert_eq!(spans(&s)[1], (top - 9 * PAGE, top, R));
    assert_eq!(s.protect(top - 300 * PAGE, PAGE, R | libc::PROT_GROWSDOWN), err(libc::EINVAL));
}

#[test]
fn advice() {
    let s = space();
    let at = s.map(&anon(2 * PAGE, RW)).unwrap();
    put(&s, at, 1).unwrap();
    s.advise(at, PAGE, libc::MADV_DONTNEED).unwrap();
    assert_eq!(get(&s, at), Ok(0));
    assert_eq!(s.advise(at + 1, PAGE, libc::MADV_NORMAL), err(libc::EINVAL));
    assert_eq!(s.advise(at, PAGE, 102), err(libc::EINVAL));
    assert_eq!(s.advise(at - PAGE, 2 * PAGE, libc::MADV_NORMAL), err(libc::ENOMEM));
    assert_eq!(s.sync(at - PAGE, 2 * PAGE, libc::MS_ASYNC), err(libc::ENOMEM));
}

#[test]
fn a_forked_child_has_its_own_consistent_space() {
    let s = Arc::new(space());
    let at = s.map(&anon(2 * PAGE, RWX)).unwrap();
    put(&s, at, 1).unwrap();
    s.protect_code(at).unwrap();
    let stop = Arc::new(AtomicU32::new(0));
    let busy = {
        let (s, stop) = (s.clone(), stop.clone());
        std::thread::spawn(move || {
            while stop.load(Ordering::Relaxed) == 0 {
                let at = s.map(&anon(PAGE, RW)).unwrap();
                s.unmap(at, PAGE).unwrap();
            }
        })
    };
    for _ in 0..20 {
        // SAFETY: the child uses the address space and leaves.
        let pid = s.with_lock(|| unsafe { libc::fork() });
        if pid == 0 {
            let mine = put(&s, at, 2).is_ok() && get(&s, at) == Ok(2) && s.map(&anon(PAGE, RW)).is_ok();
            // SAFETY: leaves the child.
            unsafe { libc::_exit(if mine { 7 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: waits for the child.
        assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
        assert_eq!(libc::WEXITSTATUS(status), 7, "status {status:#x}");
    }
    stop.store(1, Ordering::Relaxed);
    busy.join().unwrap();
    assert_eq!((get(&s, at), s.is_code(at)), (Ok(1), true));
}

#[test]
fn two_threads_share_the_space() {
    let s = space();
    std::thread::scope(|scope| {
        for t in 0..3u32 {
            let s = &s;
            scope.spawn(move || {
                for i in 0..300 {
                    let at = s.map(&anon(3 * PAGE, RWX)).unwrap();
                    s.protect_code(at + PAGE).unwrap();
                    put(s, at + PAGE - 2, t << 16 | i).unwrap();
                    assert_eq!(get(s, at + PAGE - 2), Ok(t << 16 | i));
                    s.unmap(at, 3 * PAGE).unwrap();
                }
            });
        }
    });
    assert_eq!(spans(&s), []);
}

/// A page of a file mapped for writing and for execution, and the calls of the hook.
fn two_views(s: &UserSpace, file: &File) -> (u64, u64) {
    let view = |prot| s.map(&of_file(file, 2 * PAGE, prot, true)).unwrap();
    (view(RW), view(RX))
}

#[test]
fn a_store_through_another_view_releases_the_code() {
    let (s, file) = (space(), file_with(&[0; 2 * PAGE as usize]));
    let (writable, code) = two_views(&s, &file);
    let calls = recorded(&s);
    let before = s.protect_code(code + PAGE).unwrap();
    assert!(s.is_code(writable + PAGE) && !s.is_code(writable));
    assert_eq!(s.window.write(s.host_ptr(writable + PAGE), &[1]), Err(s.host_ptr(writable + PAGE)));
    put(&s, writable + PAGE, 5).unwrap();
    let mut seen = taken(&calls);
    seen.sort_unstable();
    let mut expected = [(writable + PAGE, PAGE), (code + PAGE, PAGE)];
    expected.sort_unstable();
    assert_eq!(seen, expected);
    assert_eq!((get(&s, code + PAGE), s.generation(code + PAGE)), (Ok(5), before + 1));
    put(&s, writable + PAGE, 6).unwrap();
    assert_eq!(taken(&calls), [], "both are ordinary pages again");
}

#[test]
fn a_new_or_newly_writable_view_releases_the_code() {
    let (s, file) = (space(), file_with(&[0; 2 * PAGE as usize]));
    let (writable, code) = two_views(&s, &file);
    let calls = recorded(&s);
    let dropped = |calls: &_| taken(calls).iter().any(|(start, len)| (*start..start + len).contains(&code));
    s.protect(writable, 2 * PAGE, R).unwrap();
    s.protect_code(code).unwrap();
    s.protect(writable, 2 * PAGE, RW).unwrap();
    assert!(dropped(&calls) && !s.is_code(code));
    s.protect_code(code).unwrap();
    s.map(&of_file(&file, PAGE, RW, true)).unwrap();
    assert!(dropped(&calls) && !s.is_code(code));
    s.protect_code(code).unwrap();
    s.remap(writable, 0, PAGE, libc::MREMAP_MAYMOVE, 0).unwrap();
    assert!(dropped(&calls) && !s.is_code(code));
    s.protect_code(code).unwrap();
    s.map(&of_file(&file, PAGE, RW, false)).unwrap();
    assert_eq!(taken(&calls), [], "a private copy is something else");
}

#[test]
fn another_view_opens_only_when_the_code_is_gone() {
    let (s, file) = (Arc::new(space()), file_with(&[0; 2 * PAGE as usize]));
    let (writable, code) = two_views(&s, &file);
    let (me, nested, dropped) = (Arc::downgrade(&s), AtomicU32::new(0), Arc::new(AtomicU32::new(0)));
    let count = dropped.clone();
    s.set_code_hook(Box::new(move |start, _| {
        // While one thread is about to drop the translations, another one wants to store, too.
        if nested.fetch_add(1, Ordering::Relaxed) == 0 {
            me.upgrade().unwrap().release_code(writable);
        }
        count.fetch_add(u32::from(start == code), Ordering::Relaxed);
    }));
    s.protect_code(code).unwrap();
    s.release_code(writable);
    assert_eq!(dropped.load(Ordering::Relaxed), 2, "each has to, because neither can wait for the other");
}
