//! The smallest guests, on the host's KVM. Where there is none, the tests say so and pass.

use isamorph_accel::{Left, Processor, Processors, Signals, Wires};
use isamorph_guest::SystemGuest;
use isamorph_ir::CpuState;
use isamorph_kvm::{KvmAccel, KvmConfig, KvmMachine};
use isamorph_ram::{Backing, RamBlock};
use isamorph_space::{Io, IoError, IoRules, Map, WHOLE};
use isamorph_x86::state::{AMD64, CS, CS_BASE, EAX, EBX, EDX, EFLAGS_REST};
use isamorph_x86::system::{Machine, Topology};
use std::sync::{Arc, Mutex};

/// Ports that remember what is written, and answer with the number of the access.
#[derive(Default)]
struct Recorder(Mutex<Vec<(u64, u64)>>, Mutex<Option<(usize, Arc<Wires>)>>);

impl Io for Recorder {
    fn read(&self, _: u64, _: u32) -> Result<u64, IoError> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
    fn write(&self, port: u64, _: u32, value: u64) -> Result<(), IoError> {
        let mut seen = self.0.lock().unwrap();
        seen.push((port, value));
        // An endless guest is stopped after some accesses.
        if let Some((most, wires)) = &*self.1.lock().unwrap()
            && seen.len() >= *most
        {
            wires.raise(Signals::ATTENTION);
        }
        Ok(())
    }
}

struct Rig {
    ports: Arc<Recorder>,
    wires: Arc<Wires>,
    processor: Box<dyn Processor>,
}

/// A machine with that code at that physical address, in real mode with CS base `base` and the program counter `ip`.
fn rig(at: u64, code: &[u8], base: u64, ip: u64, setup: impl Fn(&mut CpuState)) -> Option<Rig> {
    let map = Map::new();
    let block = RamBlock::new("pc.ram", 0x10_0000, &Backing::Anonymous).unwrap();
    block.write(at, code).unwrap();
    let recorder = Arc::new(Recorder::default());
    let (memory, ports) = map.update(|t| {
        let root = t.container("system", WHOLE);
        let ram = t.ram("ram", block);
        t.add(root, ram, 0, 0);
        (root, t.io("ports", 0x1_0000, IoRules::exactly(1, 4), recorder.clone()))
    });
    let (memory, ports) = (map.space("memory", memory), map.space("I/O", ports));
    let topology = Topology { threads: 1, cores: 1, sockets: 1 };
    let guest: Arc<dyn SystemGuest> = Arc::new(Machine::new("qemu64", 64, topology).unwrap());
    let mut state = CpuState::new();
    guest.reset(&mut state, 0);
    state.set(&AMD64, CS, base >> 4);
    state.set(&AMD64, CS_BASE, base);
    state.set_pc(base + ip);
    setup(&mut state);
    let config = KvmConfig { guest, map, memory, ports, model: Vec::new() };
    let machine = match KvmMachine::new(config) {
        Ok(machine) => machine,
        Err(text) => {
            eprintln!("skipped: {text}");
            return None;
        }
    };
    let wires = Wires::new();
    let processor = KvmAccel(machine).processor(0, state, wires.clone()).unwrap();
    Some(Rig { ports: recorder, wires, processor })
}

/// The registers of the first demonstration.
fn two_and_two(state: &mut CpuState) {
    state.set(&AMD64, EAX, 2);
    state.set(&AMD64, EBX, 2);
    state.set(&AMD64, EFLAGS_REST, 0);
}

#[test]
fn a_sum_is_printed() {
    // mov dx, 0x3f8; add al, bl; add al, '0'; out dx, al; mov al, '\n'; out dx, al; hlt
    let code = [0xba, 0xf8, 0x03, 0x00, 0xd8, 0x04, 0x30, 0xee, 0xb0, 0x0a, 0xee, 0xf4];
    let Some(mut rig) = rig(0x1000, &code, 0, 0x1000, two_and_two) else { return };
    assert_eq!(rig.processor.run(), Left::Halted);
    assert_eq!(*rig.ports.0.lock().unwrap(), [(0x3f8, 0x34), (0x3f8, 0x0a)]);
    assert_eq!(rig.processor.state().get(&AMD64, EDX) & 0xffff, 0x3f8);
    assert_eq!(rig.processor.state().pc(), 0x1000 + code.len() as u64);
}

/// xor ax, ax; again: out 0x10, ax; inc ax; jmp again
const COUNTER: [u8; 7] = [0x31, 0xc0, 0xe7, 0x10, 0x40, 0xeb, 0xfb];

#[test]
fn a_counter_counts() {
    let Some(mut rig) = rig(0x1_0000, &COUNTER, 0x1_0000, 0, |_| {}) else { return };
    *rig.ports.1.lock().unwrap() = Some((100, rig.wires.clone()));
    assert_eq!(rig.processor.run(), Left::Attention);
    let seen = rig.ports.0.lock().unwrap().clone();
    assert!(seen.len() >= 100);
    assert!(seen.iter().enumerate().all(|(n, access)| *access == (0x10, n as u64)), "{seen:?}");
}

/// The code is at 0, and the program counter at the start of a segment of zeros: running off its end is a general
/// protection fault, and the empty vector table leads to 0.
#[test]
fn a_segment_ends() {
    let Some(mut rig) = rig(0, &COUNTER, 0x1_0000, 0, |_| {}) else { return };
    *rig.ports.1.lock().unwrap() = Some((10, rig.wires.clone()));
    assert_eq!(rig.processor.run(), Left::Attention);
    assert_eq!(rig.ports.0.lock().unwrap()[..3], [(0x10, 0), (0x10, 1), (0x10, 2)]);
}

#[test]
fn attention_gets_a_processor_out() {
    // jmp $
    let Some(mut rig) = rig(0x1000, &[0xeb, 0xfe], 0, 0x1000, |_| {}) else { return };
    let wires = rig.wires.clone();
    let waker = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        wires.raise(Signals::ATTENTION);
    });
    assert_eq!(rig.processor.run(), Left::Attention);
    waker.join().unwrap();
    rig.wires.take(Signals::ATTENTION);
    assert_eq!(rig.processor.step(), None);
    assert_eq!(rig.processor.state().pc(), 0x1000);
    assert_eq!(rig.processor.translate(0x1234), Some(0x1234));
}
