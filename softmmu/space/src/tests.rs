use crate::region::Content;
use crate::*;
use isamorph_ram::{Backing, RamBlock};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A device that remembers what was done to it; a read gives bytes that count up with the offset.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Log {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Io for Log {
    fn read(&self, offset: u64, size: u32) -> Result<u64, IoError> {
        self.0.lock().unwrap().push(format!("r{size}@{offset:x}"));
        Ok((0..u64::from(size)).fold(0, |value, i| value | ((offset + i) & 0xff) << (8 * i)))
    }
    fn write(&self, offset: u64, size: u32, value: u64) -> Result<(), IoError> {
        self.0.lock().unwrap().push(format!("w{size}@{offset:x}={value:x}"));
        Ok(())
    }
    fn accepts(&self, offset: u64, _size: u32, _write: bool) -> bool {
        offset < 0x1000
    }
}

fn ram(name: &str, size: u64) -> Arc<RamBlock> {
    RamBlock::new(name, size, &Backing::Anonymous).unwrap()
}

/// A space of one device.
fn device(rules: IoRules) -> (Arc<Log>, Arc<AddressSpace>) {
    let (map, log) = (Map::new(), Arc::new(Log::default()));
    let root = map.update(|t| t.io("log", 0x2000, rules, log.clone()));
    (log, map.space("test", root))
}

#[test]
fn a_register_takes_the_whole_access_that_begins_there() {
    let (map, wide, byte) = (Map::new(), Arc::new(Log::default()), Arc::new(Log::default()));
    let root = map.update(|t| {
        let root = t.io("address", 4, IoRules::exactly(1, 4), wide.clone());
        let reset = t.io("reset", 1, IoRules::exactly(1, 1), byte.clone());
        t.add(root, reset, 1, 1);
        root
    });
    let ports = map.space("ports", root);
    ports.store(0, 4, 0x8000_0000).unwrap();
    ports.store(1, 1, 6).unwrap();
    assert_eq!((wide.take(), byte.take()), (vec!["w4@0=80000000".to_owned()], vec!["w1@0=6".to_owned()]));
}

// ---- what is seen at an address

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Size of the random spaces.
const SMALL: u64 = 64;

fn random_tree(tree: &mut Tree, random: &mut Random) -> Vec<RegionId> {
    let mut ids = vec![tree.container("root", SMALL.into())];
    for i in 0..12 {
        let (name, size) = (format!("r{i}"), 1 + random.below(SMALL));
        let id = match random.below(5) {
            0 => tree.container(&name, size.into()),
            1 => tree.ram(&name, ram(&name, size)),
            2 => tree.io(&name, size.into(), IoRules::default(), Arc::new(Log::default())),
            3 => tree.rom_device(&name, ram(&name, size), IoRules::default(), Arc::new(Log::default())),
            // Aliases look at what has no parent that could contain them, so that there are no circles.
            _ => {
                let of = ids[random.below(ids.len() as u64) as usize];
                if of == ids[0] {
                    tree.container(&name, size.into())
                } else {
                    tree.alias(&name, of, random.below(SMALL), size.into())
                }
            }
        };
        // Only into older containers and with smaller numbers: no circles here either.
        let parents: Vec<_> =
            ids.iter().copied().filter(|p| !matches!(tree.region(*p).content, Content::Alias(..))).collect();
        let parent = if i < 4 { ids[0] } else { parents[random.below(parents.len() as u64) as usize] };
        if !is_aliased_below(tree, &ids, parent, id) {
            tree.add(parent, id, random.below(SMALL), random.below(3) as i32 - 1);
        }
        ids.push(id);
    }
    for id in &ids[1..] {
        tree.set_enabled(*id, random.below(8) != 0);
        tree.set_readonly(*id, random.below(4) == 0);
        tree.set_direct(*id, random.below(2) == 0);
    }
    ids
}

/// Whether putting an alias into `parent` could make a circle: it shows something that `parent` is in.
fn is_aliased_below(tree: &Tree, ids: &[RegionId], parent: RegionId, child: RegionId) -> bool {
    let Content::Alias(of, _) = tree.region(child).content else { return false };
    let mut seen = vec![of];
    loop {
        let more: Vec<_> = ids
            .iter()
            .chain([&child])
            .copied()
            .filter(|id| !seen.contains(id))
            .filter(|id| {
                tree.region(*id).parent.is_some_and(|p| seen.contains(&p))
                    || seen.iter().any(|s| matches!(tree.region(*s).content, Content::Alias(a, _) if a == *id))
            })
            .collect();
        if more.is_empty() {
            return seen.contains(&parent);
        }
        seen.extend(more);
    }
}

/// Who serves an address, by looking: the region, the offset in it, and whether it is read-only.
fn look(tree: &Tree, id: RegionId, base: i128, addr: i128, readonly: bool) -> Option<(RegionId, i128, bool)> {
    let region = tree.region(id);
    let start = base + i128::from(region.offset);
    if !region.enabled || addr < start || addr >= start + region.size as i128 {
        return None;
    }
    let readonly = readonly | region.readonly;
    if let Content::Alias(of, from) = region.content {
        return look(tree, of, start - i128::from(from) - i128::from(tree.region(of).offset), addr, readonly);
    }
    let inside = region.children.iter().find_map(|child| look(tree, *child, start, addr, readonly));
    let own = || (!matches!(region.content, Content::Container)).then_some((id, addr - start, readonly));
    inside.or_else(own)
}

#[test]
fn a_view_is_what_looking_at_each_address_finds() {
    for seed in 0..3000 {
        let (mut tree, mut random) = (Tree::default(), Random(seed));
        let ids = random_tree(&mut tree, &mut random);
        let view = FlatView::of(&tree, ids[0]);
        for addr in 0..SMALL + 2 {
            let expected = look(&tree, ids[0], 0, addr.into(), false);
            let found = view.find(addr).map(|r| (r.region, i128::from(r.offset_of(addr)), r.readonly));
            assert_eq!(found, expected, "seed {seed}, address {addr}");
        }
        let ranges = view.ranges();
        assert!(ranges.windows(2).all(|w| w[0].end() <= w[1].start.into()), "seed {seed}: disjoint and in order");
    }
}

#[test]
fn a_region_may_cover_every_address() {
    let mut tree = Tree::default();
    let root = tree.container("system", WHOLE);
    let all = tree.io("all", WHOLE, IoRules::default(), Arc::new(Log::default()));
    let top = tree.ram("top", ram("top", 0x1000));
    tree.add(root, all, 0, -1);
    tree.add(root, top, 0xffff_ffff_ffff_f000, 0);
    let view = FlatView::of(&tree, root);
    let ends: Vec<_> = view.ranges().iter().map(|r| (r.start, r.end())).collect();
    assert_eq!(ends, [(0, WHOLE - 0x1000), (0xffff_ffff_ffff_f000, WHOLE)]);
    assert_eq!(view.find(u64::MAX).unwrap().offset_of(u64::MAX), 0xfff);
}

#[test]
fn what_reaches_beyond_its_container_is_cut_off() {
    let mut tree = Tree::default();
    let root = tree.container("root", 0x1000);
    let inner = tree.container("inner", 0x10);
    let memory = tree.ram("ram", ram("ram", 0x1000));
    tree.add(root, inner, 0x100, 0);
    tree.add(inner, memory, 8, 0);
    let view = FlatView::of(&tree, root);
    assert_eq!(view.ranges().len(), 1);
    assert_eq!((view.ranges()[0].start, view.ranges()[0].len, view.ranges()[0].offset), (0x108, 8, 0));
}

#[test]
fn of_equal_priorities_the_last_one_is_seen() {
    let mut tree = Tree::default();
    let root = tree.container("root", 0x1000);
    let [a, b] = ["a", "b"].map(|name| tree.ram(name, ram(name, 0x100)));
    tree.add(root, a, 0, 0);
    tree.add(root, b, 0x80, 0);
    assert_eq!(FlatView::of(&tree, root).find(0x80).unwrap().region, b);
    tree.add(root, a, 0, 0);
    assert_eq!(FlatView::of(&tree, root).find(0x80).unwrap().region, a);
}

// ---- accesses

#[test]
fn reads_and_writes_go_through_memory_and_devices() {
    let (map, log) = (Map::new(), Arc::new(Log::default()));
    let root = map.update(|t| {
        let root = t.container("root", 0x10000);
        let memory = t.ram("ram", ram("ram", 0x1000));
        let io = t.io("log", 0x10, IoRules::exactly(1, 4), log.clone());
        t.add(root, memory, 0, 0);
        t.add(root, io, 0x1000, 0);
        root
    });
    let space = map.space("memory", root);
    space.write(0xffc, &[1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    assert_eq!(log.take(), ["w4@0=8070605"]);
    let mut out = [0xee; 8];
    space.read(0xffc, &mut out).unwrap();
    assert_eq!(out, [1, 2, 3, 4, 0, 1, 2, 3]);
    assert_eq!(space.read(0x100e, &mut out), Err(Failure::Unassigned));
    assert_eq!(out, [14, 15, 0, 0, 0, 0, 0, 0], "what is there is read");
}

#[test]
fn roms_ignore_writes() {
    let (map, block) = (Map::new(), ram("bios", 0x100));
    let root = map.update(|t| t.rom("bios", block.clone()));
    let space = map.space("memory", root);
    block.write(0, &[7]).unwrap();
    assert_eq!(space.store(0, 1, 9), Ok(()));
    assert_eq!(space.load(0, 1), Ok(7));
}

#[test]
fn flash_is_read_directly_and_written_through_its_device() {
    let (map, log) = (Map::new(), Arc::new(Log::default()));
    let root = map.update(|t| t.rom_device("flash", ram("flash", 0x100), IoRules::exactly(1, 4), log.clone()));
    let space = map.space("memory", root);
    assert_eq!(space.load(4, 4), Ok(0));
    space.store(4, 1, 0x90).unwrap();
    map.update(|t| t.set_direct(root, false));
    assert_eq!(space.load(4, 2), Ok(0x0504));
    assert_eq!(log.take(), ["w1@4=90", "r2@4"]);
}

/// Access of `size` at `offset` under rules: what the handlers get.
fn calls(rules: IoRules, offset: u64, size: u32) -> Vec<String> {
    let (log, space) = device(rules);
    let _ = space.load(offset, size);
    log.take()
}

#[test]
fn sizes_are_adjusted() {
    let rules = |valid: (u32, u32), implemented: (u32, u32)| IoRules {
        valid: Sizes::new(valid.0, valid.1),
        implemented: Sizes::new(implemented.0, implemented.1),
        endian: Endian::Little,
    };
    assert_eq!(calls(rules((1, 8), (1, 8)), 8, 8), ["r8@8"]);
    assert_eq!(calls(rules((1, 8), (1, 4)), 8, 8), ["r4@8", "r4@c"]);
    assert_eq!(calls(rules((1, 4), (1, 1)), 8, 4), ["r1@8", "r1@9", "r1@a", "r1@b"]);
    assert_eq!(calls(rules((1, 4), (4, 4)), 8, 1), ["r4@8"], "implemented larger than asked for");
    assert_eq!(calls(rules((4, 4), (4, 4)), 8, 2), [""; 0], "not valid");
    assert_eq!(calls(rules((1, 4), (1, 4)), 6, 4), ["r2@6", "r2@8"], "an unaligned access is split");
    assert_eq!(calls(rules((4, 4), (4, 4)), 6, 4), [""; 0], "its parts are not valid");
    assert_eq!(calls(rules((1, 4), (1, 4)), 0x1000, 4), [""; 0], "the device does not accept it");
}

#[test]
fn big_endian_registers_have_their_first_byte_on_top() {
    let (log, space) = device(IoRules { endian: Endian::Big, ..IoRules::exactly(1, 4) });
    space.write(0, &[0x12, 0x34, 0x56, 0x78]).unwrap();
    assert_eq!(log.take(), ["w4@0=12345678"]);
    let mut out = [0; 4];
    space.read(0, &mut out).unwrap();
    assert_eq!(out, [3, 2, 1, 0]);
    let narrow = IoRules { implemented: Sizes::new(1, 1), endian: Endian::Big, ..IoRules::exactly(1, 4) };
    let (log, space) = device(narrow);
    space.write(0, &[0x12, 0x34]).unwrap();
    assert_eq!(log.take(), ["w1@0=12", "w1@1=34"]);
}

// ---- changes

#[derive(Default)]
struct Count(AtomicU64);

impl Notifier for Count {
    fn notify(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn doorbells_ring_instead_of_the_device() {
    let (map, log, bell) = (Map::new(), Arc::new(Log::default()), Arc::new(Count::default()));
    let root = map.update(|t| {
        let root = t.io("queues", 0x100, IoRules::exactly(1, 4), log.clone());
        t.add_doorbell(root, 0x10, 2, Some(3), bell.clone());
        root
    });
    let space = map.space("memory", root);
    space.store(0x10, 2, 3).unwrap();
    space.store(0x10, 2, 4).unwrap();
    space.store(0x10, 4, 3).unwrap();
    assert_eq!(bell.0.load(Ordering::Relaxed), 1);
    assert_eq!(log.take(), ["w2@10=4", "w4@10=3"]);
}

#[derive(Default)]
struct Changes(Mutex<Vec<String>>);

impl Listener for Changes {
    fn removed(&self, range: &FlatRange) {
        self.0.lock().unwrap().push(format!("-{:x}+{:x}", range.start, range.len));
    }
    fn added(&self, range: &FlatRange) {
        self.0.lock().unwrap().push(format!("+{:x}+{:x}", range.start, range.len));
    }
    fn committed(&self) {
        self.0.lock().unwrap().push("done".into());
    }
}

#[test]
fn listeners_hear_of_differences_and_windows_follow() {
    let (map, changes) = (Map::new(), Arc::new(Changes::default()));
    let (root, bar) = map.update(|t| {
        let root = t.container("root", 0x10000);
        let memory = t.ram("ram", ram("ram", 0x1000));
        let bar = t.ram("vram", ram("vram", 0x1000));
        t.add(root, memory, 0, 0);
        t.add(root, bar, 0x4000, 0);
        (root, bar)
    });
    let space = map.space("memory", root);
    map.listen(&space, changes.clone());
    let window = Window::new(space.clone(), 0x4000, 0x10);
    window.write(0, &[5]).unwrap();
    assert_eq!(window.read(0xf, &mut [0; 2]), Err(Failure::Unassigned));
    map.update(|t| t.set_offset(bar, 0x8000));
    assert_eq!(window.read(0, &mut [0]), Err(Failure::Unassigned));
    assert_eq!(space.load(0x8000, 1), Ok(5));
    assert_eq!(*changes.0.lock().unwrap(), ["+0+1000", "+4000+1000", "done", "-4000+1000", "+8000+1000", "done"]);
}

#[test]
fn nobody_sees_half_of_an_update() {
    let map = Map::new();
    let (root, a, b) = map.update(|t| {
        let root = t.container("root", 0x10000);
        let [a, b] = ["a", "b"].map(|name| t.ram(name, ram(name, 0x1000)));
        t.add(root, a, 0, 0);
        t.add(root, b, 0x1000, 0);
        (root, a, b)
    });
    let space = map.space("memory", root);
    let done = &AtomicU64::new(0);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while done.load(Ordering::Relaxed) == 0 {
                assert_eq!(space.view().ranges().len(), 2, "both or none have moved");
                assert!(space.load(0, 1).is_ok() && space.load(0x1fff, 1).is_ok());
            }
        });
        for i in 0..2000 {
            map.update(|t| {
                t.set_offset(a, if i % 2 == 0 { 0x1000 } else { 0 });
                t.set_offset(b, if i % 2 == 0 { 0 } else { 0x1000 });
            });
        }
        done.store(1, Ordering::Relaxed);
        reader.join().unwrap();
    });
}

#[test]
fn listings_have_the_form_of_the_monitor() {
    let map = Map::new();
    let root = map.update(|t| {
        let root = t.container("system", WHOLE);
        let memory = t.ram("pc.ram", ram("pc.ram", 0x10_0000));
        let low = t.alias("ram-below-4g", memory, 0, 0xa0000);
        let vga = t.io("vga-lowmem", 0x20000, IoRules::default(), Arc::new(Log::default()));
        t.add(root, low, 0, 0);
        t.add(root, vga, 0xa0000, 1);
        root
    });
    map.space("memory", root);
    assert_eq!(
        map.listing(),
        "address-space: memory\n  \
         0000000000000000-ffffffffffffffff (prio 0, i/o): system\n    \
         0000000000000000-000000000009ffff (prio 0, ram): alias ram-below-4g @pc.ram \
         0000000000000000-000000000009ffff\n    \
         00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem\n\n\
         memory-region: pc.ram\n  \
         0000000000000000-00000000000fffff (prio 0, ram): pc.ram\n\n"
    );
    assert_eq!(
        map.flat_listing(),
        "FlatView #0\n AS \"memory\", root: system\n Root memory region: system\n  \
         0000000000000000-000000000009ffff (prio 0, ram): pc.ram\n  \
         00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem\n\n"
    );
}
