//! Kernels made for these tests, and where their parts go.

use super::*;
use std::path::PathBuf;

fn facts() -> Facts {
    Facts { below_4g: 64 << 20, map: None, rsdp: None }
}

fn without_firmware() -> Facts {
    let map = vec![(0, 0x9_fc00, 1), (0x10_0000, 63 << 20, 1)];
    Facts { map: Some(map), rsdp: Some(0xf_6000), ..facts() }
}

/// A file that is gone with it.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("isamorph-boot-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Temporary(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// A kernel of protocol 2.15 with one sector of real-mode code and 3 pages of kernel.
fn linux() -> Vec<u8> {
    let mut file = vec![0; 1024 + 3 * 4096];
    file[0x1f1] = 1;
    file[0x201] = 0x6a;
    file[0x202..0x208].copy_from_slice(b"HdrS\x0f\x02");
    file[0x211] = 1;
    file[0x22c..0x230].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    file[0x238..0x23c].copy_from_slice(&2047u32.to_le_bytes());
    file[1024] = 0xf4;
    file
}

fn planned(file: &[u8], name: &str, initrd: Option<&[u8]>, line: &str, facts: &Facts) -> Result<Plan, String> {
    let file = Temporary::new(&format!("{name}-kernel"), file);
    let initrd = initrd.map(|content| Temporary::new(&format!("{name}-initrd"), content));
    let kernel = Kernel {
        file: file.0.clone(),
        initrd: initrd.as_ref().map(|file| file.0.clone()),
        command_line: line.to_owned(),
    };
    plan(&kernel, &Search::default(), facts)
}

#[test]
fn linux_with_firmware_is_entered_in_real_mode() {
    let plan = planned(&linux(), "linux", Some(&[7; 5000]), "vga=0x317 a", &facts()).unwrap();
    let [setup, line, kernel, initrd] = &plan.blobs[..] else { panic!("{:?}", plan.blobs.len()) };
    assert_eq!(
        (setup.addr, setup.content.len(), kernel.addr, kernel.content.len()),
        (0x1_0000, 1024, 0x10_0000, 12288)
    );
    assert_eq!((line.addr, &line.content[..]), (0x2_0000 - 16, &b"vga=0x317 a\0\0\0\0\0"[..]));
    assert_eq!(initrd.addr, (64 << 20) - 0x2_8000 - 0x2000);
    assert_eq!((long(&setup.content, 0x218), long(&setup.content, 0x21c)), (initrd.addr, 5000));
    assert_eq!((long(&setup.content, 0x228), setup.content[0x210], setup.content[0x211]), (line.addr, 0xb0, 0x81));
    assert_eq!(setup.content[0x1fa..0x1fc], [0x17, 0x03]);
    assert_eq!(plan.start, Start::Real { segment: 0x1000, sp: 0xffe0 });
}

#[test]
fn linux_without_firmware_gets_a_zero_page() {
    let plan = planned(&linux(), "direct", None, "", &without_firmware()).unwrap();
    let page = &plan.blobs[0].content;
    assert_eq!(plan.start, Start::Protected { entry: 0x10_0000, eax: 0, ebx: 0, esi: 0x1_0000 });
    assert_eq!((page.len(), page[0x1e8], long(page, 0x2d0 + 28), long(page, 0x70)), (4096, 2, 63 << 20, 0xf_6000));
    assert_eq!(page[0x202..0x206], *b"HdrS");
    assert_eq!(long(page, 0), 0, "only the header is taken from the file");
}

#[test]
fn multiboot_kernels_get_their_modules() {
    let mut file = vec![0; 4096];
    let words = [0x1bad_b002u32, 1 << 16, 0, 0x10_0100, 0x10_0000, 0, 0x10_4000, 0x10_0200];
    for (i, word) in words.iter().enumerate() {
        file[0x100 + 4 * i..0x104 + 4 * i].copy_from_slice(&word.to_le_bytes());
    }
    let sum = 0u32.wrapping_sub(0x1bad_b002 + (1 << 16));
    file[0x108..0x10c].copy_from_slice(&sum.to_le_bytes());
    let plan = planned(&file, "multiboot", Some(&[9; 10]), "line", &without_firmware()).unwrap();
    let [info, kernel, modules] = &plan.blobs[..] else { panic!("{:?}", plan.blobs.len()) };
    assert_eq!((kernel.addr, kernel.content.len(), modules.addr), (0x10_0000, 0x4000, 0x10_4000));
    let Start::Protected { entry: 0x10_0200, eax: 0x2bad_b002, ebx, .. } = plan.start else {
        panic!("{:?}", plan.start)
    };
    let head = &info.content[(ebx - info.addr) as usize..];
    assert_eq!((long(head, 20), long(head, 44), long(head, 48)), (1, 48, info.addr));
    let list = &info.content[(long(head, 24) - info.addr) as usize..];
    assert_eq!((long(list, 0), long(list, 4)), (0x10_4000, 0x10_400a));
    let line = &info.content[(long(head, 16) - info.addr) as usize..];
    assert!(line.windows(6).any(|text| text == b" line\0"));
    assert_eq!((long(&info.content, 0), long(&info.content, 28 + 8)), (20, 63 << 20));
}

#[test]
fn what_does_not_fit_is_refused() {
    let small = Facts { below_4g: 1 << 20, ..facts() };
    assert!(planned(&linux(), "small", None, "", &small).is_err());
    assert!(planned(&linux(), "long", None, &"x".repeat(3000), &facts()).is_err());
    assert!(planned(&linux(), "large", Some(&vec![0; 64 << 20]), "", &facts()).is_err());
    let whole = linux();
    for len in [0, 1, 0x202, 0x206, 0x250, 1024] {
        assert!(planned(&whole[..len], "cut", None, "", &facts()).is_err(), "{len:#x}");
    }
    for at in 0x1f1..0x268 {
        let mut file = whole.clone();
        file[at] = 0xff;
        let _ = planned(&file, "bent", Some(&[1]), "x", &facts());
    }
}
