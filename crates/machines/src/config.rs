//! What a machine is built from.

use crate::board::BoardRow;
use crate::control::Actions;
use crate::drives::DriveSetup;
use crate::files::Search;
use crate::topology::Topology;
use isamorph_chardev::{BackEnd, Chardevs};
use isamorph_guest::SystemGuest;
use isamorph_ir::CpuState;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of a file from the host that become part of a machine's memory, at most.
pub(crate) const MAX_FILE: u64 = 1 << 31;

/// What is booted from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootOrder {
    /// Drive letters: `a` floppy, `c` disk, `d` CD, `n` network.
    pub order: String,
    /// The same for the first boot only; empty for none.
    pub once: String,
    /// Whether the firmware offers a menu.
    pub menu: Option<bool>,
    /// Nothing else is tried.
    pub strict: bool,
    /// How long the menu waits, milliseconds.
    pub splash_time: Option<u64>,
    /// After how long the firmware tries again, milliseconds.
    pub reboot_timeout: Option<u64>,
}

impl Default for BootOrder {
    fn default() -> Self {
        BootOrder {
            order: "cad".to_owned(),
            once: String::new(),
            menu: None,
            strict: false,
            splash_time: None,
            reboot_timeout: None,
        }
    }
}

/// Firmware of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Firmware {
    /// The board's usual one.
    #[default]
    Usual,
    /// That file, looked for as usual.
    File(PathBuf),
    /// None: a kernel is entered directly.
    None,
}

/// A kernel that is booted without a boot loader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// A bzImage, or an ELF file.
    pub file: PathBuf,
    /// Its initial RAM disk; for multiboot, modules with their command lines, separated by commas.
    pub initrd: Option<PathBuf>,
    /// Its command line.
    pub command_line: String,
}

/// A device that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceRequest {
    /// The driver.
    pub driver: String,
    /// Its properties.
    pub properties: Vec<(String, String)>,
}

/// What a board knows of its processors.
#[derive(Clone)]
pub struct ProcessorFacts {
    /// Architecture and model.
    pub guest: Arc<dyn SystemGuest>,
    /// Has a processor after its reset start at a physical address.
    pub enter: fn(&mut CpuState, u64),
    /// What the processors' time stamp counters count, in nanoseconds.
    pub ticks: fn() -> u64,
    /// What `cpuid` 1 says in `eax`, and in the upper half in `edx`.
    pub identity: u64,
    /// Their numbers on the interrupt controllers' bus.
    pub ids: Vec<u32>,
}

/// What a machine is built from.
#[derive(Clone)]
pub struct Config {
    /// The board.
    pub board: &'static BoardRow,
    /// Name of the machine, as firmware tables show it.
    pub name: String,
    /// Its UUID.
    pub uuid: [u8; 16],
    /// The processors.
    pub processors: ProcessorFacts,
    /// How many there are.
    pub topology: Topology,
    /// One processor runs at a time.
    pub by_turns: bool,
    /// Whether a processor that halts ends the machine, with status 0.
    pub ends_on_halt: bool,
    /// Bytes of memory.
    pub ram: u64,
    /// File behind the memory.
    pub ram_file: Option<PathBuf>,
    /// Where files are found.
    pub search: Search,
    /// Firmware.
    pub firmware: Firmware,
    /// Expansion ROMs for it.
    pub option_roms: Vec<PathBuf>,
    /// Files for it, by name.
    pub firmware_files: Vec<(String, Vec<u8>)>,
    /// What it boots from.
    pub boot: BootOrder,
    /// Whether floppies need a signature.
    pub floppy_check: bool,
    /// A kernel.
    pub kernel: Option<Kernel>,
    /// Seconds since 1970 that the guest's clock shows at first.
    pub seconds: i64,
    /// Whether there is somebody to look at a screen; if not, the firmware writes to the serial line.
    pub graphics: bool,
    /// Drives.
    pub drives: Vec<DriveSetup>,
    /// Whether there is a display adapter.
    pub vga: bool,
    /// Where the serial lines lead to.
    pub serials: Vec<Option<Arc<dyn BackEnd>>>,
    /// Character back ends, for devices that name one.
    pub chardevs: Arc<Chardevs>,
    /// Further devices.
    pub devices: Vec<DeviceRequest>,
    /// What the guest's doings lead to.
    pub actions: Actions,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("board", &self.board.name).field("topology", &self.topology).finish()
    }
}
