//! A machine while it is being built.

use crate::config::Config;
use crate::control::Control;
use crate::devices;
use crate::machine::{Chips, Entry, Hook, Machine, Parts};
use isamorph_accel::{Processors, Wires};
use isamorph_block::Drive;
use isamorph_device::{Clock, Device, Line, Requests, VirtualClock};
use isamorph_devices::rtc::Rtc;
use isamorph_display::Screen;
use isamorph_display::input::Input;
use isamorph_guest::SystemGuest;
use isamorph_ram::{Backing, RamBlock};
use isamorph_space::{AddressSpace, Io, IoRules, Map, RegionId, WHOLE};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Registers of devices whose accesses are single bytes.
pub(crate) const BYTES: IoRules = IoRules::exactly(1, 1);

/// What is there before the board's own parts are.
pub(crate) struct Site<'a> {
    pub config: &'a Config,
    pub map: Arc<Map>,
    /// Everything that processors see in memory.
    pub system: RegionId,
    /// The I/O ports.
    pub io: RegionId,
    pub memory: Arc<AddressSpace>,
    pub ports: Arc<AddressSpace>,
    pub virtual_clock: Arc<VirtualClock>,
    pub clock: Arc<dyn Clock>,
    pub requests: Requests,
    pub wires: Vec<Arc<Wires>>,
    /// In the order in which they are reset: those that others drive come first.
    pub devices: Vec<Arc<dyn Device>>,
    pub on_reset: Vec<Hook>,
    pub on_power_down: Vec<Hook>,
    pub on_end: Vec<Hook>,
    /// Interrupt lines that further devices may have; none on boards without an ISA bus.
    pub irqs: Vec<Line>,
    pub rtc: Option<Arc<Rtc>>,
    pub input: Arc<Input>,
    pub screens: Vec<Arc<dyn Screen>>,
    pub chips: Chips,
    /// Processors that start at a physical address of their own.
    pub entries: Vec<Entry>,
}

impl Site<'_> {
    /// A device's registers at a port.
    pub(crate) fn port(&self, name: &str, at: u64, size: u64, rules: IoRules, io: Arc<dyn Io>) -> RegionId {
        self.map.update(|tree| {
            let region = tree.io(name, size.into(), rules, io);
            tree.add(self.io, region, at, 0);
            region
        })
    }
    /// A device's registers in memory.
    pub(crate) fn registers(&self, name: &str, at: u64, size: u64, rules: IoRules, io: Arc<dyn Io>) {
        self.map.update(|tree| {
            let region = tree.io(name, size.into(), rules, io);
            tree.add(self.system, region, at, 0);
        });
    }
    /// Regions that a device has made for its ports.
    pub(crate) fn add_ports(&self, ports: &[(u16, RegionId)]) {
        self.map.update(|tree| ports.iter().for_each(|(at, region)| tree.add(self.io, *region, (*at).into(), 0)));
    }
    /// A block of memory of the machine.
    pub(crate) fn block(&self, name: &str, size: u64, file: Option<&Path>) -> Result<Arc<RamBlock>, String> {
        let backing = match file {
            None => Backing::Anonymous,
            Some(path) => Backing::File(ram_file(path, size)?, true),
        };
        RamBlock::new(name, size, &backing).map_err(|e| format!("cannot set up guest memory '{name}': {e}"))
    }
}

/// What the guest has written reaches the host's disk.
fn flush(drive: &Arc<Drive>) {
    drive.drain();
    if let Err(error) = drive.flush() {
        eprintln!("{}: {error}", drive.name());
    }
}

/// A file of that size for memory; a new one, without a name, if `path` is a directory.
fn ram_file(path: &Path, size: u64) -> Result<File, String> {
    let refused = |e: std::io::Error| format!("can't open backing store {} for guest RAM: {e}", path.display());
    let open = |path: &Path| File::options().read(true).write(true).create(true).truncate(false).open(path);
    let file = if path.is_dir() {
        let name = path.join(format!("isamorph-{}.ram", std::process::id()));
        let file = open(&name).map_err(refused)?;
        std::fs::remove_file(&name).map_err(refused)?;
        file
    } else {
        open(path).map_err(refused)?
    };
    if file.metadata().map_err(refused)?.len() < size {
        file.set_len(size).map_err(refused)?;
    }
    Ok(file)
}

/// What processors are made from.
pub struct World<'a> {
    /// The memory map.
    pub map: &'a Arc<Map>,
    /// Memory as processors see it.
    pub memory: &'a Arc<AddressSpace>,
    /// The I/O ports.
    pub ports: &'a Arc<AddressSpace>,
    /// The processors' architecture.
    pub guest: &'a Arc<dyn SystemGuest>,
    /// How many processors there are.
    pub processors: u32,
}

impl std::fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("processors", &self.processors).finish()
    }
}

/// Makes whatever runs the processors of a machine.
pub type Accelerate<'a> = &'a dyn Fn(&World<'_>) -> Result<Arc<dyn Processors>, String>;

/// Builds a machine. It does not run yet: [`Machine::resume`] starts it, [`Machine::run`] serves it.
///
/// # Errors
/// What is wrong with the configuration, or what the host refuses.
pub fn build(config: &Config, accelerate: Accelerate<'_>) -> Result<Arc<Machine>, String> {
    let (count, most) = (config.topology.count, config.board.max_processors);
    if config.topology.most() > most {
        let name = config.board.name;
        return Err(format!("Invalid SMP CPUs {count}. The max CPUs supported by machine '{name}' is {most}"));
    }
    let map = Map::new();
    let (system, io) = map.update(|tree| (tree.container("system", WHOLE), tree.container("io", 1 << 16)));
    let (memory, ports) = (map.space("memory", system), map.space("I/O", io));
    let (control, virtual_clock) = (Control::new(), VirtualClock::new());
    let mut site = Site {
        config,
        map,
        system,
        io,
        memory,
        ports,
        clock: virtual_clock.clone(),
        virtual_clock,
        requests: control.requests(),
        wires: (0..count).map(|_| Wires::new()).collect(),
        devices: Vec::new(),
        on_reset: Vec::new(),
        on_power_down: Vec::new(),
        on_end: Vec::new(),
        irqs: Vec::new(),
        rtc: None,
        input: Input::new(),
        screens: Vec::new(),
        chips: Chips::default(),
        entries: Vec::new(),
    };
    let drives: Vec<_> = config.drives.iter().map(|setup| setup.drive.clone()).collect();
    site.on_end.push(Box::new(move || drives.iter().for_each(flush)));
    (config.board.build)(&mut site, config)?;
    config.devices.iter().try_for_each(|request| devices::attach(&mut site, request))?;
    let guest = &config.processors.guest;
    let accelerator =
        accelerate(&World { map: &site.map, memory: &site.memory, ports: &site.ports, guest, processors: count })?;
    let Site {
        map,
        memory,
        ports,
        virtual_clock,
        wires,
        devices,
        on_reset,
        on_power_down,
        on_end,
        entries,
        input,
        screens,
        chips,
        ..
    } = site;
    let parts = Parts {
        name: config.board.name.to_owned(),
        map,
        memory,
        ports,
        clock: virtual_clock,
        guest: guest.clone(),
        wires,
        devices,
        control,
        on_reset,
        on_power_down,
        on_end,
        drives: config.drives.clone(),
        input,
        screens,
        chips,
        entries,
        enter: config.processors.enter,
        actions: config.actions,
        ends_on_halt: config.ends_on_halt,
    };
    Machine::new(parts, accelerator, config.by_turns)
}
