//! The same registers and memory here and in QEMU's standard VGA, which takes them from its test protocol, and the
//! pictures that both make of them. Skipped where QEMU is not installed.

use isamorph_devices::vga::Vga;
use isamorph_display::Screen;
use isamorph_ram::{Backing, RamBlock};
use isamorph_space::{AddressSpace, Map, WHOLE};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

const FRAMEBUFFER: u64 = 0xe000_0000;

/// An adapter, wherever it is.
trait Adapter {
    fn out(&mut self, port: u16, size: u32, value: u32);
    fn input(&mut self, port: u16) -> u8;
    fn write(&mut self, addr: u64, data: &[u8]);
    fn ppm(&mut self) -> Vec<u8>;

    fn set(&mut self, port: u16, index: u8, value: u8) {
        self.out(port, 2, u32::from(value) << 8 | u32::from(index));
    }
    fn vbe(&mut self, index: u32, value: u32) {
        self.out(0x1ce, 2, index);
        self.out(0x1cf, 2, value);
    }
}

struct Ours {
    vga: Arc<Vga>,
    ports: Arc<AddressSpace>,
    memory: Arc<AddressSpace>,
}

impl Ours {
    fn new() -> Self {
        let map = Map::new();
        let vram = RamBlock::new("vga.vram", 16 << 20, &Backing::Anonymous).unwrap();
        let vga = Vga::new(&map, vram.clone());
        let places = vga.ports(&map);
        let (io, root) = map.update(|tree| {
            let (io, root) = (tree.container("io", 0x1_0000), tree.container("memory", WHOLE));
            places.into_iter().for_each(|(port, region)| tree.add(io, region, port.into(), 0));
            tree.add(root, vga.legacy_memory(), 0xa0000, 1);
            // As base address 0 would have it.
            let framebuffer = tree.ram("framebuffer", vram);
            tree.add(root, framebuffer, FRAMEBUFFER, 0);
            (io, root)
        });
        Ours { vga, ports: map.space("I/O", io), memory: map.space("memory", root) }
    }
}

impl Adapter for Ours {
    fn out(&mut self, port: u16, size: u32, value: u32) {
        self.ports.store(port.into(), size, value.into()).unwrap();
    }
    fn input(&mut self, port: u16) -> u8 {
        self.ports.load(port.into(), 1).unwrap() as u8
    }
    fn write(&mut self, addr: u64, data: &[u8]) {
        for (i, byte) in data.iter().enumerate() {
            self.memory.store(addr + i as u64, 1, (*byte).into()).unwrap();
        }
    }
    fn ppm(&mut self) -> Vec<u8> {
        self.vga.picture().to_ppm()
    }
}

struct Theirs {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    monitor: BufReader<UnixStream>,
    directory: PathBuf,
}

impl Theirs {
    fn start() -> Option<Self> {
        let directory = std::env::temp_dir().join(format!("isamorph-vga-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let socket = directory.join("qmp");
        let arguments = "-M pc -accel tcg -S -nodefaults -vga std -display none -qtest stdio -qmp";
        let mut command = Command::new("qemu-system-x86_64");
        command.args(arguments.split(' ')).arg(format!("unix:{},server=on,wait=off", socket.display()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().ok()?;
        let (input, output) = (process.stdin.take()?, BufReader::new(process.stdout.take()?));
        let monitor = (0..500).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            UnixStream::connect(&socket).ok()
        });
        let monitor = BufReader::new(monitor.expect("QEMU's monitor"));
        let mut theirs = Theirs { process, input, output, monitor, directory };
        theirs.ask("{\"execute\":\"qmp_capabilities\"}");
        // Base address 0 of slot 2, and memory accesses on.
        for (register, value) in [(0x10, FRAMEBUFFER as u32), (0x04, 3)] {
            theirs.out(0xcf8, 4, 0x8000_1000 | register);
            theirs.out(0xcfc, 4, value);
        }
        Some(theirs)
    }
    fn ask(&mut self, command: &str) {
        writeln!(self.monitor.get_mut(), "{command}").unwrap();
        let mut line = String::new();
        while !line.contains("\"return\"") {
            assert!(!line.contains("\"error\""), "{line}");
            line.clear();
            assert!(self.monitor.read_line(&mut line).unwrap() > 0);
        }
    }
    fn test(&mut self, command: &str) -> String {
        writeln!(self.input, "{command}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert!(line.starts_with("OK"), "{command}: {line}");
        line
    }
}

impl Adapter for Theirs {
    fn out(&mut self, port: u16, size: u32, value: u32) {
        let letter = [' ', 'b', 'w', ' ', 'l'][size as usize];
        self.test(&format!("out{letter} {port:#x} {value:#x}"));
    }
    fn input(&mut self, port: u16) -> u8 {
        let line = self.test(&format!("inb {port:#x}"));
        u8::from_str_radix(line.trim().trim_start_matches("OK 0x"), 16).unwrap()
    }
    fn write(&mut self, addr: u64, data: &[u8]) {
        for (i, part) in data.chunks(256).enumerate() {
            let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
            self.test(&format!("write {:#x} {:#x} 0x{hex}", addr + i as u64 * 256, part.len()));
        }
    }
    fn ppm(&mut self) -> Vec<u8> {
        let file = self.directory.join("screen.ppm");
        self.ask(&format!("{{\"execute\":\"screendump\",\"arguments\":{{\"filename\":\"{}\"}}}}", file.display()));
        std::fs::read(file).unwrap()
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        // It has nothing to lose.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Values of the registers of a BIOS mode, and where its memory is.
struct Mode {
    name: &'static str,
    misc: u8,
    seq: [u8; 5],
    crtc: [u8; 25],
    gc: [u8; 9],
    /// The attribute controller's registers from 16 on.
    attr: [u8; 5],
    window: (u64, usize),
}

const MODES: [Mode; 7] = [
    Mode {
        name: "80 x 25 text",
        misc: 0x67,
        seq: [3, 0, 3, 0, 2],
        // Without a cursor, which blinks.
        crtc: *b"\x5f\x4f\x50\x82\x55\x81\xbf\x1f\0\x4f\x2d\x0e\0\0\0\0\x9c\x8e\x8f\x28\x1f\x96\xb9\xa3\xff",
        gc: [0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff],
        attr: [0x04, 0, 0x0f, 0x08, 0],
        window: (0xb8000, 4000),
    },
    Mode {
        name: "40 x 25 text",
        misc: 0x67,
        seq: [3, 9, 3, 0, 2],
        crtc: *b"\x2d\x27\x28\x90\x2b\xa0\xbf\x1f\0\x4f\x2d\x0e\0\x20\0\0\x9c\x8e\x8f\x14\x1f\x96\xb9\xa3\xff",
        gc: [0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff],
        attr: [0x04, 0, 0x0f, 0, 0],
        window: (0xb8000, 4000),
    },
    Mode {
        name: "CGA, four colours",
        misc: 0x63,
        seq: [3, 9, 3, 0, 2],
        crtc: *b"\x2d\x27\x28\x90\x2b\x80\xbf\x1f\0\xc1\0\0\0\0\0\0\x9c\x8e\x8f\x14\0\x96\xb9\xa2\xff",
        gc: [0, 0, 0, 0, 0, 0x30, 0x0f, 0, 0xff],
        attr: [1, 0, 3, 0, 0],
        window: (0xb8000, 0x4000),
    },
    Mode {
        name: "CGA, two colours",
        misc: 0x63,
        seq: [3, 1, 1, 0, 6],
        crtc: *b"\x5f\x4f\x50\x82\x54\x80\xbf\x1f\0\xc1\0\0\0\0\0\0\x9c\x8e\x8f\x28\0\x96\xb9\xc2\xff",
        gc: [0, 0, 0, 0, 0, 0, 0x0d, 0, 0xff],
        attr: [1, 0, 1, 0, 0],
        window: (0xb8000, 0x4000),
    },
    Mode {
        name: "EGA, 320 x 200 in sixteen colours",
        misc: 0x63,
        seq: [3, 9, 5, 0, 6],
        crtc: *b"\x2d\x27\x28\x90\x2b\x80\xbf\x1f\0\xc0\0\0\0\x50\0\0\x9c\x8e\x8f\x14\0\x96\xb9\xe3\xff",
        gc: [0, 0, 0, 0, 0, 0, 5, 15, 0xff],
        attr: [0x81, 0, 0x0f, 0, 6],
        window: (0xa0000, 8192),
    },
    Mode {
        name: "VGA, 640 x 480 in sixteen colours, the lower part from the start",
        misc: 0xe3,
        seq: [3, 1, 10, 0, 6],
        crtc: *b"\x5f\x4f\x50\x82\x54\x80\x0b\x3e\0\x40\0\0\x04\x50\0\0\xea\x8c\xdf\x28\0\xe7\x04\xe3\x50",
        gc: [0, 0, 0, 0, 0, 0, 5, 15, 0xff],
        attr: [1, 0, 0x0f, 0, 0],
        window: (0xa0000, 40_000),
    },
    Mode {
        name: "VGA, 320 x 200 in 256 colours",
        misc: 0x63,
        seq: [3, 1, 15, 0, 14],
        crtc: *b"\x5f\x4f\x50\x82\x54\x80\xbf\x1f\0\x41\0\0\0\0\0\0\x9c\x8e\x8f\x28\x40\x96\xb9\xa3\xff",
        gc: [0, 0, 0, 0, 0, 0x40, 5, 15, 0xff],
        attr: [0x41, 0, 0x0f, 0, 0],
        window: (0xa0000, 64_000),
    },
];

/// Bytes that look random.
fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// Colours that six bits and eight bits have in common, however the two lowest ones are made.
fn set_palette(adapter: &mut dyn Adapter) {
    adapter.out(0x3c8, 1, 0);
    for value in bytes(77, 768) {
        let value = if value & 8 != 0 { 0x31 | value & 0x0e } else { value & 0x0e };
        adapter.out(0x3c9, 1, value.into());
    }
}

fn set_mode(adapter: &mut dyn Adapter, mode: &Mode) {
    adapter.out(0x3c2, 1, mode.misc.into());
    adapter.set(0x3d4, 0x11, 0);
    for (port, values) in [(0x3c4, &mode.seq[..]), (0x3d4, &mode.crtc[..]), (0x3ce, &mode.gc[..])] {
        values.iter().enumerate().for_each(|(i, value)| adapter.set(port, i as u8, *value));
    }
    adapter.input(0x3da);
    let palette = (0..16).map(|i| (i, i * 3 + 1)).chain(mode.attr.iter().enumerate().map(|(i, v)| (i as u8 + 16, *v)));
    for (index, value) in palette {
        adapter.out(0x3c0, 1, index.into());
        adapter.out(0x3c0, 1, value.into());
    }
    adapter.out(0x3c0, 1, 0x20);
}

/// A font in plane 2, through the window as the BIOS writes it.
fn set_font(adapter: &mut dyn Adapter) {
    for (port, index, value) in [(0x3c4, 2, 4), (0x3c4, 4, 7), (0x3ce, 5, 0), (0x3ce, 6, 0), (0x3ce, 8, 0xff)] {
        adapter.set(port, index, value);
    }
    adapter.write(0xa0000, &bytes(5, 8192));
}

fn same_picture(ours: &mut Ours, theirs: &mut Theirs, name: &str) {
    let (a, b) = (ours.ppm(), theirs.ppm());
    let header = |file: &[u8]| String::from_utf8_lossy(&file[..file.len().min(15)]).into_owned();
    assert_eq!(a.len(), b.len(), "{name}: {:?} {:?}", header(&a), header(&b));
    let first = a.iter().zip(&b).position(|(a, b)| a != b);
    assert_eq!(first, None, "{name}: first difference in {} bytes, {:?}", a.len(), header(&a));
}

#[test]
fn pictures_are_those_of_qemu() {
    let Some(mut theirs) = Theirs::start() else {
        eprintln!("skipped: qemu-system-x86_64 is not installed");
        return;
    };
    let mut ours = Ours::new();
    for mode in &MODES {
        let adapters: [&mut dyn Adapter; 2] = [&mut ours, &mut theirs];
        for adapter in adapters {
            set_font(adapter);
            set_mode(adapter, mode);
            set_palette(adapter);
            let mut content = bytes(9, mode.window.1);
            if mode.name.ends_with("text") {
                // QEMU continues shades into the ninth column too, which IBM's adapter does not.
                content.iter_mut().step_by(2).filter(|c| (0xb0..0xc0).contains(*c)).for_each(|c| *c = b' ');
            }
            adapter.write(mode.window.0, &content);
        }
        same_picture(&mut ours, &mut theirs, mode.name);
    }
    for (depth, width, height) in
        [(4, 320, 200), (8, 320, 200), (15, 640, 40), (16, 328, 30), (24, 320, 20), (32, 320, 20)]
    {
        let adapters: [&mut dyn Adapter; 2] = [&mut ours, &mut theirs];
        for adapter in adapters {
            set_mode(adapter, &MODES[5]);
            set_palette(adapter);
            adapter.vbe(4, 0);
            for (index, value) in [(1, width), (2, height), (3, depth), (4, 0x41), (6, width + 64), (8, 24), (9, 2)] {
                adapter.vbe(index, value);
            }
            adapter.write(FRAMEBUFFER, &bytes(depth.into(), 80_000));
        }
        same_picture(&mut ours, &mut theirs, &format!("{width} x {height} in {depth} bits"));
    }
}
