//! What tests of machines share.
#![allow(dead_code)] // each test uses a part of it

use isamorph_chardev::Chardevs;
use isamorph_engine::{Kind, SystemConfig, SystemEngine};
use isamorph_ir::CpuState;
use isamorph_machines::{
    Actions, BootOrder, Config, DeviceRequest, Firmware, Machine, ProcessorFacts, Search, Topology, board, build,
};
use isamorph_x86::state::{AMD64, CS, CS_BASE};
use isamorph_x86::system;
use std::path::PathBuf;
use std::sync::Arc;

fn enter(state: &mut CpuState, addr: u64) {
    state.set(&AMD64, CS_BASE, addr & !0xffff);
    state.set(&AMD64, CS, addr >> 4 & 0xf000);
    state.set_pc(addr);
}

/// A file that is gone with it.
pub struct Temporary(pub PathBuf);

impl Temporary {
    pub fn new(name: &str, content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("isamorph-small-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Temporary(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub fn device(driver: &str, properties: &[(&str, &str)]) -> DeviceRequest {
    let properties = properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    DeviceRequest { driver: driver.to_owned(), properties }
}

/// A machine of a board whose port is heard of at `port`.
pub fn config(board_name: &str, processors: u32, port: &str) -> Config {
    let grouping = system::Topology { threads: 1, cores: processors as u16, sockets: 1 };
    let guest = Arc::new(system::Machine::new("qemu64", 64, grouping).unwrap());
    let chardevs = Chardevs::new().unwrap();
    chardevs.add("ringbuf,id=out,size=65536").unwrap();
    let ids = (0..processors).map(|index| grouping.apic_id(index)).collect();
    Config {
        board: board(board_name).unwrap(),
        name: String::new(),
        uuid: [0; 16],
        processors: ProcessorFacts { guest, enter, ticks: system::ticks, identity: 0, ids },
        topology: Topology::new(Some(processors), None, None, None, None, None).unwrap(),
        by_turns: false,
        ends_on_halt: true,
        ram: 16 << 20,
        ram_file: None,
        search: Search::default(),
        firmware: Firmware::Usual,
        option_roms: Vec::new(),
        firmware_files: Vec::new(),
        boot: BootOrder::default(),
        floppy_check: true,
        kernel: None,
        seconds: 0,
        graphics: true,
        drives: Vec::new(),
        vga: false,
        serials: Vec::new(),
        chardevs,
        devices: vec![device("isa-debugcon", &[("iobase", port), ("chardev", "out")])],
        actions: Actions::default(),
    }
}

pub fn make(config: &Config, kind: Kind) -> Arc<Machine> {
    build(config, &|world| {
        let (map, memory, ports) = (world.map.clone(), world.memory.clone(), world.ports.clone());
        let config = SystemConfig { kind, ..SystemConfig::new(world.guest.clone(), map, memory, ports) };
        Ok(SystemEngine::new(config)?)
    })
    .unwrap()
}

pub fn output(config: &Config) -> Vec<u8> {
    config.chardevs.ringbuf("out").unwrap().read(1 << 20)
}

pub const KINDS: [Kind; 2] = [Kind::Interp, Kind::Jit];

/// Runs it to its end; status and output.
pub fn run(config: &Config, kind: Kind) -> (i32, String) {
    let machine = make(config, kind);
    machine.start();
    let status = machine.run();
    (status, String::from_utf8_lossy(&output(config)).into_owned())
}
