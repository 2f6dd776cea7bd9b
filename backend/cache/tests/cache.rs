#![allow(unsafe_code)] // runs the machine code that it places

//! The code cache with hand-made x86-64 code: a block is a C function that returns a number.

use isamorph_cache::{CodeCache, Entry, Key, PublishError, Range, Vcpu};
use isamorph_code::{Compiled, FaultPoint, LinkSite, Recipe, Reloc, THUNK_COUNT, Thunk, Thunks};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// What the only thunk of these tests returns.
const THUNK_RESULT: u32 = 0x7700;

/// `mov eax, n; ret`
fn number(n: u32) -> Vec<u8> {
    let mut code = vec![0xb8];
    code.extend(n.to_le_bytes());
    code.push(0xc3);
    code
}

fn thunks() -> Thunks {
    Thunks { code: number(THUNK_RESULT), offsets: [0; THUNK_COUNT] }
}

fn cache(len: usize) -> Arc<CodeCache> {
    Arc::new(CodeCache::new(len, &thunks(), 0).expect("memory"))
}

/// A block that returns `n`, padded to `size`.
fn leaf(n: u32, size: usize) -> Compiled {
    let mut code = number(n);
    code.resize(size.max(code.len()), 0xcc);
    Compiled { code, ..Compiled::default() }
}

/// A block that goes to `target` when linked and returns `n` when not.
fn jumper(target: u64, n: u32) -> Compiled {
    let mut code = vec![0xe9, 0, 0, 0, 0, 0xcc, 0xcc, 0xcc];
    code.extend(number(n));
    let stub_end = code.len() as u32;
    let links = vec![LinkSite { at: 1, stub: 8, stub_end, target, poll: false }];
    Compiled { code, links, ..Compiled::default() }
}

fn key(pc: u64) -> Key {
    Key::at(pc, 0)
}

fn publish(cache: &CodeCache, pc: u64, len: u32, compiled: &Compiled) -> Entry {
    cache.publish(key(pc), &[Range { start: pc, len }], compiled, &|| true).expect("published")
}

fn run(entry: &Entry) -> u32 {
    // SAFETY: the tests place functions of this type.
    unsafe { std::mem::transmute::<usize, extern "C" fn() -> u32>(entry.address)() }
}

/// Host address inside the stub of a [`jumper`].
fn stub_of(entry: &Entry) -> usize {
    entry.address + 10
}

#[test]
fn a_placed_block_is_found_and_runs() {
    let cache = cache(1 << 20);
    let entry = publish(&cache, 0x1000, 4, &leaf(42, 0));
    assert_eq!(cache.find(key(0x1000)), Some(entry));
    assert_eq!(cache.find(Key::at(0x1000, 1)), None);
    assert_eq!(entry.address % 16, 0);
    assert_eq!(run(&entry), 42);
    assert_eq!((cache.stats().published, cache.block_pc(entry.address + 3)), (1, Some(0x1000)));
}

#[test]
fn the_first_block_of_a_key_stays() {
    let cache = cache(1 << 20);
    let first = publish(&cache, 0x1000, 4, &leaf(1, 0));
    assert_eq!(publish(&cache, 0x1000, 4, &leaf(2, 0)), first);
}

#[test]
fn a_stale_or_oversized_block_is_refused() {
    let cache = cache(1 << 20);
    let ranges = [Range { start: 0, len: 1 }];
    assert_eq!(cache.publish(key(0), &ranges, &leaf(1, 0), &|| false), Err(PublishError::Stale));
    assert_eq!(cache.publish(key(0), &ranges, &leaf(1, 1 << 20), &|| true), Err(PublishError::TooLarge));
    assert_eq!(cache.find(key(0)), None);
}

#[test]
fn references_to_thunks_are_resolved() {
    let cache = cache(1 << 20);
    let relocs = vec![Reloc { at: 1, thunk: Thunk::Link }];
    let block = Compiled { code: vec![0xe9, 0, 0, 0, 0], relocs, ..Compiled::default() };
    assert_eq!(run(&publish(&cache, 0x1000, 1, &block)), THUNK_RESULT);
}

#[test]
fn exits_are_linked_and_unlinked_with_their_target() {
    let cache = cache(1 << 20);
    let a = publish(&cache, 0x1000, 4, &jumper(0x5000, 1));
    let b = publish(&cache, 0x5000, 4, &leaf(2, 0));
    assert_eq!(run(&a), 1);
    assert!(cache.link(stub_of(&a), b.tb));
    assert_eq!(run(&a), 2);
    assert!(!cache.link(stub_of(&a), b.tb), "it is linked already");
    assert_eq!(cache.invalidate(0x5000, 1), 1);
    assert_eq!(run(&a), 1, "back to the stub");
    assert!(!cache.link(stub_of(&a), b.tb), "the target is gone");
    let b = publish(&cache, 0x5000, 4, &leaf(3, 0));
    assert!(cache.link(stub_of(&a), b.tb));
    assert_eq!(run(&a), 3);
}

#[test]
fn a_polling_exit_is_linked_to_the_polling_entry() {
    let cache = cache(1 << 20);
    let mut from = jumper(0x5000, 1);
    from.links[0].poll = true;
    let mut code = number(2);
    code.resize(16, 0xcc);
    code.extend(number(3));
    let a = publish(&cache, 0x1000, 4, &from);
    let b = publish(&cache, 0x5000, 4, &Compiled { code, poll_entry: 16, ..Compiled::default() });
    assert!(cache.link(stub_of(&a), b.tb));
    assert_eq!(run(&a), 3);
}

#[test]
fn a_dropped_block_leads_nowhere_and_links_nowhere() {
    let cache = cache(1 << 20);
    let a = publish(&cache, 0x1000, 4, &jumper(0x5000, 1));
    let b = publish(&cache, 0x5000, 4, &leaf(2, 0));
    assert!(cache.link(stub_of(&a), b.tb));
    cache.invalidate(0x1000, 4);
    assert_eq!(run(&a), 1, "a thread that still runs it must come back");
    assert!(!cache.link(stub_of(&a), b.tb));
    assert!(!cache.is_live(a.tb));
    // The other end must not remember a link of a block that is gone.
    cache.invalidate(0x5000, 4);
    assert_eq!((cache.stats().links, cache.stats().unlinks), (1, 1));
}

#[test]
fn a_block_linked_to_itself_is_unlinked() {
    let cache = cache(1 << 20);
    let a = publish(&cache, 0x1000, 4, &jumper(0x1000, 1));
    assert!(cache.link(stub_of(&a), a.tb));
    cache.invalidate(0x1000, 1);
    assert_eq!(run(&a), 1);
}

#[test]
fn only_what_overlaps_is_dropped() {
    let cache = cache(1 << 20);
    publish(&cache, 0x1010, 16, &leaf(1, 0));
    assert_eq!(cache.invalidate(0x1000, 16), 0);
    assert_eq!(cache.invalidate(0x1020, 0x1000), 0);
    assert_eq!(cache.invalidate(0x101f, 1), 1);
    assert_eq!(cache.find(key(0x1010)), None);
}

#[test]
fn a_block_is_dropped_through_its_second_page_and_far_parts() {
    let cache = cache(1 << 20);
    publish(&cache, 0x1ffc, 8, &leaf(1, 0));
    assert_eq!(cache.invalidate(0x2000, 0x1000), 1);
    let ranges = [Range { start: 0x3000, len: 4 }, Range { start: 0x9000, len: 4 }];
    cache.publish(key(0x3000), &ranges, &leaf(1, 0), &|| true).expect("published");
    assert_eq!(cache.invalidate(0x5000, 0x1000), 0);
    assert_eq!(cache.invalidate(0x9003, 1), 1);
    assert_eq!(cache.invalidate(0x3000, 1), 0, "the index forgot it in every page");
}

#[test]
fn huge_ranges_and_the_last_page() {
    let cache = cache(1 << 20);
    publish(&cache, u64::MAX - 3, 4, &leaf(1, 0));
    publish(&cache, 0x1000, 4, &leaf(1, 0));
    assert_eq!(cache.invalidate(0x2000, u64::MAX - 0x2000 + 1), 1);
    assert_eq!(cache.invalidate(0, u64::MAX), 1);
}

#[test]
fn faults_are_found_by_host_address_even_in_dropped_blocks() {
    let cache = cache(1 << 20);
    for i in 0..100u64 {
        publish(&cache, 0x9000 + i, 1, &leaf(1, 40));
    }
    let block = Compiled {
        code: vec![0x90; 64],
        faults: vec![
            FaultPoint { at: 5, insn: 0, recipe: 0, recipe_count: 0 },
            FaultPoint { at: 9, insn: 1, recipe: 1, recipe_count: 1 },
        ],
        recipes: vec![Recipe::FlagsAt { offset: 8 }, Recipe::Offset { reg: 3, add: -4 }],
        insns: vec![(0x1000, 2, 0), (0x1002, 3, 8)],
        ..Compiled::default()
    };
    let entry = publish(&cache, 0x1000, 5, &block);
    publish(&cache, 0x2000, 5, &leaf(1, 0));
    for _ in 0..2 {
        let site = cache.fault_at(entry.address + 9).expect("a fault point");
        assert_eq!((site.pc, site.len, site.tb), (0x1002, 3, entry.tb));
        assert_eq!(site.recipes, [Recipe::Offset { reg: 3, add: -4 }]);
        assert!(cache.fault_at(entry.address + 5).expect("a fault point").recipes.is_empty());
        assert_eq!(cache.fault_at(entry.address + 6), None);
        cache.invalidate(0x1000, 1);
    }
    assert_eq!(cache.fault_at(cache.base() - 1), None);
}

#[test]
fn jump_caches_of_all_vcpus_forget_a_dropped_block() {
    let (r0, r1) = (AtomicU32::new(0), AtomicU32::new(0));
    let cache = cache(1 << 20);
    // SAFETY: the requests outlive the vCPUs.
    let vcpus = [&r0, &r1].map(|r| unsafe { Vcpu::new(cache.clone(), r) }.expect("memory"));
    let entry = publish(&cache, 0x1234, 4, &leaf(1, 0));
    // SAFETY: the index is inside the jump cache.
    let probe = |v: &Vcpu| unsafe { *(v.jump_cache() as *const u32).add(0x1234) };
    for v in &vcpus {
        assert_eq!(v.find_computed(key(0x1234)), Some(entry));
        assert_eq!(probe(v), entry.indirect);
    }
    cache.invalidate(0x1234, 1);
    vcpus.iter().for_each(|v| assert_eq!(probe(v), 0));
    assert_eq!(vcpus[0].find_computed(key(0x1234)), None);
}

/// A thread that runs and places blocks of its own choosing and checks that each is what it should be.
fn churn(cache: &Arc<CodeCache>, seed: u64, rounds: u32) {
    let request = AtomicU32::new(0);
    // SAFETY: the request outlives the vCPU.
    let vcpu = unsafe { Vcpu::new(cache.clone(), &request) }.expect("memory");
    let mut random = seed;
    for _ in 0..rounds {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let pc = random >> 40 & 0xfff;
        let target = (pc + 1) & 0xfff;
        let _moved = vcpu.pin();
        if let Some(entry) = vcpu.find(key(pc)) {
            let got = u64::from(run(&entry));
            assert!((pc..=0xfff).contains(&got), "{got:#x} from {pc:#x}");
            if let Some(to) = vcpu.find(key(target)) {
                cache.link(stub_of(&entry), to.tb);
            }
        } else {
            vcpu.unpin();
            // Each block goes to the next one, and the last one ends the chain.
            let mut block = if pc == 0xfff { leaf(0xfff, 0) } else { jumper(target, pc as u32) };
            block.code.resize(300, 0xcc);
            publish(cache, pc, 1, &block);
        }
        if random >> 60 == 0 {
            let _ = vcpu.pin();
            cache.invalidate(pc, 1);
        }
        vcpu.unpin();
    }
}

#[test]
fn threads_run_link_drop_and_evict_at_once() {
    let cache = cache(256 << 10);
    std::thread::scope(|s| {
        for seed in 1..4 {
            let cache = &cache;
            s.spawn(move || churn(cache, seed, 60_000));
        }
    });
    let stats = cache.stats();
    assert!(stats.recycled > 10 && stats.links > 100 && stats.invalidated > 100, "{stats:?}");
}

#[test]
fn a_vcpu_inside_compiled_code_is_asked_to_leave_before_its_chunk_is_reused() {
    let cache = cache(256 << 10);
    // spin: cmp dword [rdi], 0; je spin; mov eax, 9; ret
    let mut spin = vec![0x83, 0x3f, 0x00, 0x74, 0xfb];
    spin.extend(number(9));
    let entry = publish(&cache, 0x1000, 1, &Compiled { code: spin, ..Compiled::default() });
    let (entered, left) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|s| {
        s.spawn(|| {
            let request = AtomicU32::new(0);
            // SAFETY: the request outlives the vCPU.
            let vcpu = unsafe { Vcpu::new(cache.clone(), &request) }.expect("memory");
            assert!(vcpu.pin());
            entered.store(true, Ordering::SeqCst);
            // SAFETY: the block is a function of this type.
            let f = unsafe { std::mem::transmute::<usize, extern "C" fn(*const AtomicU32) -> u32>(entry.address) };
            assert_eq!(f(&request), 9);
            assert_eq!(request.load(Ordering::SeqCst), Vcpu::REQUEST);
            left.store(true, Ordering::SeqCst);
            assert!(vcpu.pin(), "the epoch moved");
            // From here on it is outside for as long as it likes, and nobody waits for it.
            vcpu.unpin();
        });
        while !entered.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        for pc in 0..2000 {
            publish(&cache, 0x10_0000 + pc, 1, &leaf(1, 400));
        }
    });
    assert!(left.load(Ordering::SeqCst));
    assert_eq!(cache.find(key(0x1000)), None);
    assert!(cache.stats().recycled > 2);
}

/// Twenty megabytes of code, or a little: a forked child gets a copy of a little only.
fn child_of_a_cache_with(blocks: u64) {
    let (r0, r1) = (AtomicU32::new(0), AtomicU32::new(0));
    let cache = cache(32 << 20);
    // SAFETY: the requests outlive the vCPUs.
    let [mine, other] = [&r0, &r1].map(|r| unsafe { Vcpu::new(cache.clone(), r) }.expect("memory"));
    for pc in 0..blocks {
        publish(&cache, 0x1000 + pc, 1, &leaf(pc as u32, 4000));
    }
    let _ = (mine.pin(), other.pin());
    mine.unpin();
    cache.quiesce().adopt_in_child(Some(&mine)).expect("memory");
    let kept = blocks < 1000;
    assert_eq!(mine.pin(), !kept, "without the code, return addresses are void");
    match mine.find(key(0x1001)) {
        Some(entry) => assert_eq!((kept, run(&entry)), (true, 1)),
        None => assert!(!kept),
    }
    mine.unpin();
    // The other vCPU, pinned for ever, is not waited for.
    for pc in 0..12_000 {
        let entry = publish(&cache, 0x10_0000 + pc, 1, &leaf(7, 4000));
        assert_eq!(run(&entry), 7);
    }
    assert!(cache.stats().recycled > 2);
}

#[test]
fn a_child_keeps_a_little_code() {
    child_of_a_cache_with(50);
}

#[test]
fn a_child_starts_anew_instead_of_copying_much() {
    child_of_a_cache_with(5000);
}
