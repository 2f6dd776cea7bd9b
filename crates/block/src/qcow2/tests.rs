//! Tests of qcow2 images: against a model, against our own checker after every write, against QEMU's tools.

use super::*;
use crate::storage::Event;
use crate::{HostFile, MemoryStorage, RawImage};
use std::path::PathBuf;
use std::process::Command;

/// A storage that others look at too.
struct Shared(Arc<MemoryStorage>);

impl Storage for Shared {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.punch_hole(offset, len)
    }
    fn name(&self) -> &str {
        "shared"
    }
}

/// Numbers that look random and are the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

fn memory(parameters: &Parameters) -> Arc<MemoryStorage> {
    let storage = Arc::new(MemoryStorage::default());
    create(&*storage, parameters).unwrap();
    storage
}

fn clean(storage: &dyn Storage, leaks_allowed: bool) -> Report {
    let report = check(storage).unwrap();
    assert_eq!(report.errors, [""; 0]);
    assert!(leaks_allowed || report.leaks == 0, "{} leaks", report.leaks);
    report
}

/// Does random things to an image and to a vector, and compares.
fn exercise(image: &dyn Image, model: &mut [u8], random: &mut Random, steps: u32) {
    let size = model.len() as u64;
    for _ in 0..steps {
        let offset = random.below(size);
        let most = if random.below(4) == 0 { 40_000 } else { 900 };
        let len = (random.below(most) + 1).min(size - offset);
        let range = offset as usize..(offset + len) as usize;
        match random.below(12) {
            0 => image.flush().unwrap(),
            1 => {
                image.discard(offset, len).unwrap();
                // What it reads as is the image's business: make it known again.
                image.read_at(offset, &mut model[range]).unwrap();
            }
            2..=6 => {
                let fill = random.next() as u8;
                model[range.clone()].fill(fill);
                image.write_at(offset, &model[range]).unwrap();
            }
            _ => {
                let mut out = vec![0xee; len as usize];
                image.read_at(offset, &mut out).unwrap();
                assert!(out == model[range], "bytes at {offset:#x}+{len:#x}");
            }
        }
    }
}

#[test]
fn random_requests_read_back_and_leave_exact_counts() {
    for (seed, cluster_bits) in [9, 10, 12, 16].into_iter().enumerate() {
        for refcount_order in [0, 1, 2, 3, 4, 6] {
            let size = 1 << 20;
            let parameters = Parameters { size, cluster_bits, refcount_order, ..Parameters::default() };
            let storage = memory(&parameters);
            let (mut model, mut random) = (vec![0; size as usize], Random(seed as u64));
            let image = Qcow2Image::open(Shared(storage.clone()), None, false).unwrap();
            exercise(&image, &mut model, &mut random, 300);
            drop(image);
            clean(&*storage, false);
            let image = Qcow2Image::open(Shared(storage), None, true).unwrap();
            let mut out = vec![0; size as usize];
            image.read_at(0, &mut out).unwrap();
            assert!(out == model, "after opening it again");
        }
    }
}

#[test]
fn what_a_crash_leaves_is_consistent_and_has_what_was_flushed() {
    let size = 256 << 10;
    let parameters = Parameters { size, cluster_bits: 9, ..Parameters::default() };
    let storage = memory(&parameters);
    let mut disk = storage.bytes();
    storage.take_events();
    let image = Qcow2Image::open(Shared(storage.clone()), None, false).unwrap();
    let (mut model, mut random) = (vec![0; size as usize], Random(7));
    let (tools, mut states) = (Tools::new("crash"), 0u32);
    for _ in 0..12 {
        exercise(&image, &mut model, &mut random, 6);
        image.flush().unwrap();
        image.write_at(0, &model[..512]).unwrap();
        // The process dies after any write.
        for event in storage.take_events() {
            event.apply(&mut disk).unwrap();
            if matches!(event, Event::Write(..)) {
                clean(&MemoryStorage::new(disk.clone()), true);
                states += 1;
                if let Some(tools) = tools.as_ref().filter(|_| states.is_multiple_of(16)) {
                    std::fs::write(tools.path("left.qcow2"), &disk).unwrap();
                    let checked = Command::new("qemu-img").args(["check", &tools.path("left.qcow2")]).output().unwrap();
                    // 3: nothing but clusters that are counted and not used.
                    assert!(matches!(checked.status.code(), Some(0 | 3)), "{checked:?}");
                }
            }
        }
        let left = Qcow2Image::open(MemoryStorage::new(disk.clone()), None, false).unwrap();
        let mut out = vec![0; size as usize];
        left.read_at(0, &mut out).unwrap();
        assert!(out == model);
    }
    assert!(states > 50, "{states} writes");
}

#[test]
fn an_overlay_hides_what_is_below() {
    let base: Arc<dyn Image> = Arc::new(RawImage::new(MemoryStorage::new(vec![5; 100_352]), true, false).unwrap());
    let size = 200_000;
    let storage = memory(&Parameters { size, cluster_bits: 12, ..Parameters::default() });
    let image = Qcow2Image::open(Shared(storage.clone()), Some(base.clone()), false).unwrap();
    let mut model = vec![5; 100_352];
    model.resize(size as usize, 0);
    exercise(&image, &mut model, &mut Random(3), 400);
    drop(image);
    clean(&*storage, false);
    let mut below = [0; 512];
    base.read_at(0, &mut below).unwrap();
    assert_eq!(below, [5; 512]);
}

#[test]
fn a_table_of_counts_grows() {
    // 512 bytes of 64-bit counts are 64 clusters: the first table has room for 64 * 64.
    let parameters = Parameters { size: 8 << 20, cluster_bits: 9, refcount_order: 6, ..Parameters::default() };
    let storage = memory(&parameters);
    let image = Qcow2Image::open(Shared(storage.clone()), None, false).unwrap();
    for i in 0..8 {
        image.write_at(i << 20, &vec![i as u8 + 1; 1 << 20]).unwrap();
        image.flush().unwrap();
        clean(&*storage, true);
    }
    drop(image);
    assert!(Header::read(&*storage).unwrap().refcount_table_clusters > 1);
    assert_eq!(clean(&*storage, false).allocated, 8 << 11);
}

#[test]
fn an_image_that_was_not_closed_is_repaired() {
    let storage = memory(&Parameters { size: 1 << 20, lazy_refcounts: true, ..Parameters::default() });
    let image = Qcow2Image::open(Shared(storage.clone()), None, false).unwrap();
    image.write_at(70_000, &[1; 100_000]).unwrap();
    drop(image);
    let header = Header::read(&*storage).unwrap();
    // Counts as a writer leaves them that did not come to it.
    let mut block = [0; 8];
    storage.read_at(header.refcount_table, &mut block).unwrap();
    storage.write_at(u64::from_be_bytes(block), &[0; 4096]).unwrap();
    assert!(check(&*storage).unwrap().error_count > 0);
    storage.write_at(at::INCOMPATIBLE as u64, &feature::DIRTY.to_be_bytes()).unwrap();
    drop(Qcow2Image::open(Shared(storage.clone()), None, false).unwrap());
    clean(&*storage, false);
    assert_eq!(Header::read(&*storage).unwrap().incompatible, 0);
}

#[test]
fn what_is_not_implemented_is_named() {
    let refused = |at: usize, value: u64| {
        let storage = memory(&Parameters { size: 1 << 20, ..Parameters::default() });
        storage.write_at(at as u64, &value.to_be_bytes()).unwrap();
        Header::read(&*storage).map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(refused(at::INCOMPATIBLE, 1 << 2), "qcow2 feature 'external data file' is not supported");
    assert_eq!(refused(at::INCOMPATIBLE, 1 << 3), "qcow2 feature 'compression type' (zstd) is not supported");
    assert_eq!(refused(at::INCOMPATIBLE, 1 << 4), "qcow2 feature 'extended L2 entries' is not supported");
    assert_eq!(refused(at::INCOMPATIBLE, 1 << 40), "qcow2 feature bits 0x10000000000 is not supported");
    assert_eq!(refused(at::ENCRYPTION, 1 << 32 | 1), "qcow2 encryption is not supported");
    let storage = memory(&Parameters { size: 1 << 20, ..Parameters::default() });
    storage.write_at(at::INCOMPATIBLE as u64, &feature::CORRUPT.to_be_bytes()).unwrap();
    assert!(Qcow2Image::open(Shared(storage.clone()), None, false).is_err());
    assert!(Qcow2Image::open(Shared(storage), None, true).is_ok());
}

#[test]
fn damaged_images_give_errors() {
    let storage = memory(&Parameters { size: 1 << 18, cluster_bits: 9, ..Parameters::default() });
    let image = Qcow2Image::open(Shared(storage.clone()), None, false).unwrap();
    (0..64).for_each(|i| image.write_at(i * 4096, &[1; 700]).unwrap());
    drop(image);
    let good = storage.bytes();
    let mut random = Random(11);
    for round in 0..1000 {
        let mut bytes = good.clone();
        for _ in 0..=random.below(4) {
            let end = if round % 2 == 0 { 112 } else { bytes.len() as u64 };
            let at = random.below(end) as usize;
            bytes[at] = random.next() as u8;
        }
        if let Ok(image) = Qcow2Image::open(MemoryStorage::new(bytes), None, false) {
            let mut out = vec![0; 3000];
            for _ in 0..10 {
                let offset = random.below(image.size().max(1));
                let _ = image.read_at(offset, &mut out);
                let _ = image.write_at(offset, &out[..random.below(3000) as usize]);
                let _ = image.discard(offset, random.below(9000));
            }
            let _ = image.flush();
        }
    }
}

/// A directory that goes away, and QEMU's tools in it.
struct Tools(PathBuf);

impl Tools {
    fn new(name: &str) -> Option<Self> {
        if Command::new("qemu-img").arg("--version").output().is_err() {
            eprintln!("skipped: qemu-img is not installed");
            return None;
        }
        let directory = std::env::temp_dir().join(format!("isamorph-qcow2-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Some(Tools(directory))
    }
    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
    fn run(&self, program: &str, words: &[&str]) {
        let output = Command::new(program).args(words).current_dir(&self.0).output().unwrap();
        assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn qemus_tools_read_what_we_write() {
    let Some(tools) = Tools::new("ours") else { return };
    for (n, (version, cluster_bits, refcount_order)) in
        [(3, 16, 4), (3, 9, 6), (3, 12, 0), (2, 16, 4), (2, 10, 4)].into_iter().enumerate()
    {
        let size = 3 << 20;
        let (name, raw) = (tools.path(&format!("{n}.qcow2")), tools.path(&format!("{n}.raw")));
        let parameters = Parameters { size, version, cluster_bits, refcount_order, ..Parameters::default() };
        let storage = HostFile::create(&name).unwrap();
        create(&storage, &parameters).unwrap();
        let mut model = vec![0; size as usize];
        let image = Qcow2Image::open(storage, None, false).unwrap();
        exercise(&image, &mut model, &mut Random(n as u64), 400);
        drop(image);
        std::fs::write(&raw, &model).unwrap();
        tools.run("qemu-img", &["check", "-f", "qcow2", &name]);
        tools.run("qemu-img", &["compare", "-f", "qcow2", "-F", "raw", &name, &raw]);
    }
}

#[test]
fn we_read_and_change_what_qemus_tools_write() {
    let Some(tools) = Tools::new("theirs") else { return };
    let size = 2 << 20;
    let mut model: Vec<u8> = (0..size).map(|i| (i / 3000) as u8).collect();
    model[300_000..700_000].fill(0);
    std::fs::write(tools.path("model.raw"), &model).unwrap();
    let options: [&[&str]; 5] = [
        &[],
        &["-c"],
        &["-o", "compat=0.10"],
        &["-c", "-o", "cluster_size=4096,refcount_bits=1"],
        &["-o", "cluster_size=512,refcount_bits=64,lazy_refcounts=on"],
    ];
    for (n, words) in options.into_iter().enumerate() {
        let name = tools.path(&format!("{n}.qcow2"));
        let convert = [&["convert", "-f", "raw", "-O", "qcow2"], words, &["model.raw", &name]].concat();
        tools.run("qemu-img", &convert);
        // A snapshot shares every cluster.
        let counted_once = words.iter().any(|word| word.contains("refcount_bits=1"));
        if !counted_once {
            tools.run("qemu-img", &["snapshot", "-c", "before", &name]);
        }
        let image = Qcow2Image::open(HostFile::open(&name, true).unwrap(), None, false).unwrap();
        let mut changed = model.clone();
        exercise(&image, &mut changed, &mut Random(n as u64), 200);
        drop(image);
        let file = HostFile::open(&name, false).unwrap();
        clean(&file, false);
        let list = snapshots(&file, &Header::read(&file).unwrap()).unwrap();
        assert_eq!(list.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), &["before"][..usize::from(!counted_once)]);
        tools.run("qemu-img", &["check", &name]);
        std::fs::write(tools.path("changed.raw"), &changed).unwrap();
        tools.run("qemu-img", &["compare", "-f", "qcow2", "-F", "raw", &name, "changed.raw"]);
        if !counted_once {
            tools.run("qemu-img", &["snapshot", "-a", "before", &name]);
            tools.run("qemu-img", &["check", &name]);
            tools.run("qemu-img", &["compare", "-f", "qcow2", "-F", "raw", &name, "model.raw"]);
        }
    }
}

#[test]
fn chains_are_opened_as_qemus_tools_make_them() {
    let Some(tools) = Tools::new("chain") else { return };
    std::fs::write(tools.path("base.raw"), vec![9; 1 << 20]).unwrap();
    tools.run("qemu-img", &["create", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "middle.qcow2"]);
    tools.run("qemu-img", &["create", "-f", "qcow2", "-b", "middle.qcow2", "-F", "qcow2", "top.qcow2", "2M"]);
    let opened = crate::open(&tools.path("top.qcow2"), None, crate::Access::Write, false).unwrap();
    assert_eq!((opened.warnings.len(), opened.image.info().backing_depth), (0, 2));
    let mut model = vec![9; 1 << 20];
    model.resize(2 << 20, 0);
    exercise(&*opened.image, &mut model, &mut Random(1), 200);
    drop(opened);
    std::fs::write(tools.path("model.raw"), &model).unwrap();
    tools.run("qemu-img", &["check", "top.qcow2"]);
    tools.run("qemu-img", &["compare", "-F", "raw", "top.qcow2", "model.raw"]);
    // One that names itself.
    tools.run("qemu-img", &["rebase", "-u", "-b", "top.qcow2", "-F", "qcow2", "middle.qcow2"]);
    let error = crate::open(&tools.path("top.qcow2"), None, crate::Access::Read, true).err().unwrap().to_string();
    assert!(error.ends_with("is its own backing file"), "{error}");
}

#[test]
fn a_temporary_overlay_keeps_the_image_as_it_is() {
    let base: Arc<dyn Image> = Arc::new(RawImage::new(MemoryStorage::new(vec![3; 4096]), true, false).unwrap());
    let overlay = crate::temporary_overlay(base.clone()).unwrap();
    overlay.write_at(100, &[1; 100]).unwrap();
    let (mut above, mut below) = ([0; 4096], [0; 4096]);
    overlay.read_at(0, &mut above).unwrap();
    base.read_at(0, &mut below).unwrap();
    assert!(below == [3; 4096] && above[100..200] == [1; 100] && above[200..] == [3; 3896]);
}
