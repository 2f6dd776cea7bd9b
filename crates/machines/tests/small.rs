//! Small guests, from their first instruction to their end, on the interpreter and on compiled code.

mod common;

use common::{KINDS, Temporary, config, device, make, output, run};
use isamorph_engine::Kind;
use isamorph_machines::{Cause, Config, DeviceRequest, Event, Firmware, Kernel, Machine, RunState, Search, build};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[test]
fn a_sum_is_printed_and_the_processor_halts() {
    // mov $0x3f8,%dx; add %bl,%al; add $'0',%al; out %al,(%dx); mov $'\n',%al; out %al,(%dx); hlt
    let code = [0xba, 0xf8, 0x03, 0x00, 0xd8, 0x04, b'0', 0xee, 0xb0, b'\n', 0xee, 0xf4];
    let file = Temporary::new("sum", &code);
    let name = file.0.to_str().unwrap();
    for kind in KINDS {
        let mut config = config("none", 1, "0x3f8");
        let words = [("file", name), ("addr", "0x1000"), ("force-raw", "on")];
        config.devices.push(device("loader", &words));
        let words = [("addr", "0x1000"), ("cpu-num", "0"), ("registers", "rax:2/rbx:2")];
        config.devices.push(device("loader", &words));
        assert_eq!(run(&config, kind), (0, "4\n".to_owned()), "{kind:?}");
    }
}

#[test]
fn code_that_runs_off_its_segment_faults() {
    // xor %ax,%ax; out %ax,$0x10; inc %ax; jmp to the out. Loaded at 0x10000 it runs at once. Loaded at 0, the
    // processor runs the zeros of the segment at 0x10000; the fetch beyond its limit raises #GP, whose vector is zero,
    // too, and leads to the code. Both print 0, 1, 2 ...
    let file = Temporary::new("count", &[0x31, 0xc0, 0xe7, 0x10, 0x40, 0xeb, 0xfb]);
    for kind in KINDS {
        for addr in ["0x10000", "0"] {
            let mut config = config("none", 1, "0x10");
            config.ends_on_halt = false;
            let words = [("file", file.0.to_str().unwrap()), ("addr", addr), ("force-raw", "on")];
            config.devices.push(device("loader", &words));
            config.devices.push(device("loader", &[("addr", "0x10000"), ("cpu-num", "0")]));
            let machine = make(&config, kind);
            let served = machine.clone();
            let thread = std::thread::spawn(move || served.run());
            machine.resume();
            let (start, mut seen) = (Instant::now(), Vec::new());
            while seen.len() < 64 && start.elapsed() < Duration::from_secs(60) {
                std::thread::sleep(Duration::from_millis(5));
                seen.extend(output(&config));
            }
            machine.quit(Cause::HostQuit);
            assert_eq!(thread.join().unwrap(), 0);
            let counted = (0..=255).cycle().take(seen.len()).collect::<Vec<u8>>();
            assert!(seen.len() >= 64 && seen == counted, "{kind:?} {addr}: {} bytes", seen.len());
        }
    }
}

/// A machine that serves requests on a thread of its own.
struct Served {
    machine: Arc<Machine>,
    thread: std::thread::JoinHandle<i32>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Served {
    fn new(config: &Config, kind: Kind) -> Self {
        let machine = make(config, kind);
        let (served, events) = (machine.clone(), Arc::<Mutex<Vec<Event>>>::default());
        let heard = events.clone();
        machine.subscribe(move |event| heard.lock().unwrap().push(event));
        Served { machine, thread: std::thread::spawn(move || served.run()), events }
    }
    /// Ends it; its status and what was heard.
    fn end(self) -> (i32, Vec<Event>) {
        self.machine.quit(Cause::HostQuit);
        let status = self.thread.join().unwrap();
        let events = self.events.lock().unwrap().clone();
        (status, events)
    }
}

/// Waits until something is so.
fn until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < Duration::from_secs(60), "it does not come to pass");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The empty machine with that code at 0x1000, where it starts.
fn with_code(code: &Temporary, processors: u32, port: &str) -> Config {
    let mut config = config("none", processors, port);
    let words = [("file", code.0.to_str().unwrap()), ("addr", "0x1000"), ("force-raw", "on")];
    config.devices.push(device("loader", &words));
    for index in 0..processors {
        let words = [("addr", "0x1000"), ("cpu-num", &index.to_string())];
        config.devices.push(device("loader", &words));
    }
    config
}

#[test]
fn a_machine_stops_goes_on_and_is_reset() {
    // inc %ax; out %al,$0x10; jmp
    let file = Temporary::new("control", &[0x40, 0xe6, 0x10, 0xeb, 0xfb]);
    for kind in KINDS {
        let config = with_code(&file, 1, "0x10");
        let served = Served::new(&config, kind);
        assert_eq!(served.machine.state(), RunState::Prelaunch);
        served.machine.resume();
        until(|| !output(&config).is_empty());
        served.machine.pause();
        assert_eq!(served.machine.state(), RunState::Paused);
        output(&config);
        let pc = served.machine.with_processor(0, |processor| processor.state().pc()).unwrap();
        assert!((0x1000..0x1005).contains(&pc), "{pc:#x}");
        std::thread::sleep(Duration::from_millis(10));
        assert!(output(&config).is_empty(), "it stands");
        served.machine.reset();
        assert_eq!(served.machine.with_processor(0, |processor| processor.state().pc()), Some(0x1000));
        served.machine.resume();
        until(|| output(&config).first() == Some(&1));
        let (status, events) = served.end();
        assert_eq!(status, 0);
        let expected = [
            Event::Resumed,
            Event::Stopped(RunState::Paused),
            Event::Reset(Cause::HostReset),
            Event::Resumed,
            Event::Shutdown(Cause::HostQuit),
        ];
        assert_eq!(events, expected);
    }
}

#[test]
fn a_processor_that_cannot_go_on_resets_the_machine() {
    // mov $'x',%al; out %al,$0x10; lidt of nothing; mov $1,%ax; lmsw %ax; ud2: an exception in protected mode without
    // an interrupt table is a triple fault.
    let code = [0xb0, b'x', 0xe6, 0x10, 0x0f, 0x01, 0x1e, 0x00, 0x02, 0xb8, 0x01, 0x00, 0x0f, 0x01, 0xf0, 0x0f, 0x0b];
    let file = Temporary::new("triple", &code);
    for kind in KINDS {
        let config = with_code(&file, 1, "0x10");
        let served = Served::new(&config, kind);
        served.machine.resume();
        let mut seen = 0;
        until(|| {
            served.events.lock().unwrap().iter().filter(|e| **e == Event::Reset(Cause::GuestReset)).count() >= 100
        });
        seen += output(&config).len();
        assert!(seen >= 100, "each time from the start");
        assert_eq!(served.end().0, 0);
        let mut config = with_code(&file, 1, "0x10");
        config.actions.reset_on_reboot = false;
        let (status, printed) = run(&config, kind);
        assert_eq!((status, printed.ends_with('x')), (0, true));
    }
}

#[test]
fn processors_run_at_the_same_time_or_take_turns() {
    // mov $200,%cx; 1: lock incw 0x800; loop 1b; lock incw 0x802; 2: cmpw $4,0x802; jne 2b; hlt
    let code = [
        0xb9, 200, 0, 0xf0, 0xff, 0x06, 0, 8, 0xe2, 0xf9, 0xf0, 0xff, 0x06, 2, 8, 0x83, 0x3e, 2, 8, 4, 0x75, 0xf9, 0xf4,
    ];
    let file = Temporary::new("turns", &code);
    for (kind, by_turns) in KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let config = Config { by_turns, ..with_code(&file, 4, "0x10") };
        let machine = make(&config, kind);
        machine.start();
        assert_eq!(machine.run(), 0, "each waits for all others");
        assert_eq!(machine.memory().load(0x800, 2), Ok(800), "{kind:?}, by turns: {by_turns}");
    }
}

#[test]
fn a_guest_ends_the_process_with_a_status() {
    // mov $20,%al; out %al,$0xf4; hlt
    let file = Temporary::new("status", &[0xb0, 20, 0xe6, 0xf4, 0xf4]);
    for kind in KINDS {
        let mut config = with_code(&file, 1, "0x10");
        config.ends_on_halt = false;
        config.devices.push(device("isa-debug-exit", &[("iobase", "0xf4"), ("iosize", "1")]));
        assert_eq!(run(&config, kind).0, 41);
    }
}

#[test]
fn unknown_devices_and_properties_are_refused_by_name() {
    let refused = |request: DeviceRequest| {
        let mut config = config("none", 1, "0x10");
        config.devices.push(request);
        build(&config, &|_| Err("nothing runs it".to_owned())).err().unwrap()
    };
    assert_eq!(refused(device("nec-usb-xhci", &[])), "'nec-usb-xhci' is not a valid device model name");
    assert_eq!(refused(device("loader", &[("speed", "9")])), "Property 'loader.speed' not found");
    assert_eq!(refused(device("ide-hd", &[("drive", "x")])), "No 'IDE' bus found for device");
}

#[test]
fn a_kernel_is_entered_without_firmware() {
    // A multiboot header with addresses. The code prints M if the kernel is told how much memory there is.
    let mut kernel = vec![0; 0x40];
    let words = [0x1bad_b002u32, 0x1_0000, 0xe451_4ffe, 0x10_0000, 0x10_0000, 0, 0, 0x10_0020];
    for (i, word) in words.iter().enumerate() {
        kernel[4 * i..4 * i + 4].copy_from_slice(&word.to_le_bytes());
    }
    // cmp $0x2badb002,%eax; jne 1f; mov (%ebx),%eax; and $1,%al; add $'L',%al; out %al,$0xe9; 1: hlt
    let code = [0x3d, 0x02, 0xb0, 0xad, 0x2b, 0x75, 0x08, 0x8b, 0x03, 0x24, 0x01, 0x04, b'L', 0xe6, 0xe9, 0xf4];
    kernel[0x20..0x20 + code.len()].copy_from_slice(&code);
    let file = Temporary::new("multiboot", &kernel);
    for kind in KINDS {
        let mut config = config("pc", 1, "0xe9");
        config.firmware = Firmware::None;
        config.kernel = Some(Kernel { file: file.0.clone(), ..Kernel::default() });
        assert_eq!(run(&config, kind), (0, "M".to_owned()), "{kind:?}");
    }
}

#[test]
fn firmware_boots_the_same_kernel() {
    if Search::default().find("bios-256k.bin".as_ref()).is_none() {
        eprintln!("skipped: no SeaBIOS");
        return;
    }
    // As above; the firmware says much on its debug port, which is another one.
    let mut kernel = vec![0; 0x40];
    let words = [0x1bad_b002u32, 0x1_0000, 0xe451_4ffe, 0x10_0000, 0x10_0000, 0, 0, 0x10_0020];
    for (i, word) in words.iter().enumerate() {
        kernel[4 * i..4 * i + 4].copy_from_slice(&word.to_le_bytes());
    }
    // mov 44(%ebx),%eax (the length of the memory map); test %eax,%eax; setnz %al; add $'L',%al; out; out %al,$0xf4
    let code = [0x8b, 0x43, 0x2c, 0x85, 0xc0, 0x0f, 0x95, 0xc0, 0x04, b'L', 0xe6, 0xe9, 0xe6, 0xf4, 0xf4];
    kernel[0x20..0x20 + code.len()].copy_from_slice(&code);
    let file = Temporary::new("firmware", &kernel);
    let mut config = config("pc", 1, "0xe9");
    config.ends_on_halt = false;
    config.devices.push(device("isa-debug-exit", &[("iobase", "0xf4"), ("iosize", "1")]));
    config.kernel = Some(Kernel { file: file.0.clone(), ..Kernel::default() });
    assert_eq!(run(&config, Kind::Interp), (i32::from(b'M') << 1 | 1, "M".to_owned()));
}
