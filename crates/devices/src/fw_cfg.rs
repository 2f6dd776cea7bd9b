//! The firmware configuration interface of virtual machines: how firmware and operating systems get what the machine's
//! maker has to say, as numbered items and as files.
//!
//! Reference: "QEMU Firmware Configuration (fw_cfg) Device", docs/specs/fw_cfg in QEMU's manual.

use isamorph_device::{BadState, Device, Dma, DmaError, Exclusive, Snapshot};
use isamorph_space::{Io, IoError};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Numbers of items.
pub mod key {
    /// Four letters by which the interface is recognised.
    pub const SIGNATURE: u16 = 0x00;
    /// What the interface can do.
    pub const ID: u16 = 0x01;
    /// The machine's identifier, 16 bytes.
    pub const UUID: u16 = 0x02;
    /// Bytes of memory, 64 bits.
    pub const RAM_SIZE: u16 = 0x03;
    /// There is no display; 16 bits.
    pub const NO_GRAPHICS: u16 = 0x04;
    /// Processors that are there from the start; 16 bits.
    pub const PROCESSORS: u16 = 0x05;
    /// Bytes of the kernel; 32 bits. Where it goes is item 7.
    pub const KERNEL_ADDRESS: u16 = 0x07;
    /// Bytes of the kernel.
    pub const KERNEL_SIZE: u16 = 0x08;
    /// Where the initial RAM disk goes; 32 bits.
    pub const INITRD_ADDRESS: u16 = 0x0a;
    /// Bytes of the initial RAM disk.
    pub const INITRD_SIZE: u16 = 0x0b;
    /// Memory and processors of NUMA nodes, 64 bits each; the first says how many nodes there are.
    pub const NUMA: u16 = 0x0d;
    /// Whether firmware offers its boot menu; 16 bits.
    pub const BOOT_MENU: u16 = 0x0e;
    /// Processors that there can be, or one more than the largest number of an interrupt controller; 16 bits.
    pub const MOST_PROCESSORS: u16 = 0x0f;
    /// Where the kernel is entered; 32 bits.
    pub const KERNEL_ENTRY: u16 = 0x10;
    /// The kernel.
    pub const KERNEL: u16 = 0x11;
    /// The initial RAM disk.
    pub const INITRD: u16 = 0x12;
    /// Where the kernel's command line goes; 32 bits.
    pub const COMMAND_LINE_ADDRESS: u16 = 0x13;
    /// Bytes of the command line.
    pub const COMMAND_LINE_SIZE: u16 = 0x14;
    /// The command line, with a zero at its end.
    pub const COMMAND_LINE: u16 = 0x15;
    /// Where the kernel's setup code goes; 32 bits.
    pub const SETUP_ADDRESS: u16 = 0x16;
    /// Bytes of the setup code.
    pub const SETUP_SIZE: u16 = 0x17;
    /// The setup code.
    pub const SETUP: u16 = 0x18;
    /// The directory of the files.
    pub const DIRECTORY: u16 = 0x19;
    /// The first file.
    pub const FILES: u16 = 0x20;
    /// A PC's interrupt 0 goes to input 2 of its I/O interrupt controller; 32 bits.
    pub const IRQ0_OVERRIDE: u16 = 0x8002;
}

/// Largest number of bytes of a file's name.
pub const NAME: usize = 55;
/// The interface has the selector and data registers, and the DMA register.
const FEATURES: u32 = 3;
/// What the DMA register reads as.
const DMA_SIGNATURE: u64 = u64::from_be_bytes(*b"QEMU CFG");
/// An item's number without the bit that once asked for writing.
const NUMBER: u16 = 0xbfff;

/// Bits of a DMA command.
mod command {
    pub const ERROR: u32 = 1;
    pub const READ: u32 = 2;
    pub const SKIP: u32 = 4;
    pub const SELECT: u32 = 8;
    pub const WRITE: u32 = 16;
}

/// What the machine's maker has to say.
#[derive(Clone, Default)]
pub struct Items {
    numbered: BTreeMap<u16, Arc<[u8]>>,
    files: BTreeMap<String, Arc<[u8]>>,
}

/// Why there is no such file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FileError {
    /// A name of more than [`NAME`] bytes, or an empty one.
    Name(String),
    /// There is one of that name.
    Exists(String),
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FileError::Name(name) => write!(f, "name too long (max. {NAME} char) or empty: '{name}'"),
            FileError::Exists(name) => write!(f, "duplicate fw_cfg file name: {name}"),
        }
    }
}

impl std::error::Error for FileError {}

impl Items {
    /// Nothing to say but what the interface is.
    pub fn new() -> Self {
        let mut items = Items::default();
        items.set(key::SIGNATURE, b"QEMU");
        items.set(key::ID, &FEATURES.to_le_bytes());
        items
    }
    /// A numbered item.
    pub fn set(&mut self, key: u16, content: &[u8]) {
        self.numbered.insert(key, content.into());
    }
    /// A file.
    ///
    /// # Errors
    /// The name is too long, or taken.
    pub fn add_file(&mut self, name: &str, content: &[u8]) -> Result<(), FileError> {
        if name.is_empty() || name.len() > NAME {
            return Err(FileError::Name(name.to_owned()));
        }
        if self.files.contains_key(name) {
            return Err(FileError::Exists(name.to_owned()));
        }
        self.files.insert(name.to_owned(), content.into());
        Ok(())
    }
    /// The content of a file.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(|content| &**content)
    }
    /// The content of a numbered item.
    pub fn item(&self, key: u16) -> Option<&[u8]> {
        self.numbered.get(&key).map(|content| &**content)
    }
    /// Gives the files their numbers, in the order of their names, and makes the directory.
    fn finish(mut self) -> BTreeMap<u16, Arc<[u8]>> {
        let mut directory = (self.files.len() as u32).to_be_bytes().to_vec();
        for (number, (name, content)) in (key::FILES..).zip(&self.files) {
            directory.extend((content.len() as u32).to_be_bytes());
            directory.extend(number.to_be_bytes());
            directory.extend([0; 2]);
            let mut padded = [0; NAME + 1];
            padded[..name.len()].copy_from_slice(name.as_bytes());
            directory.extend(padded);
            self.numbered.insert(number, content.clone());
        }
        self.numbered.insert(key::DIRECTORY, directory.into());
        self.numbered
    }
}

/// What can be saved of the interface: the items are the machine's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct State {
    /// The selected item and how much of it was read.
    selected: u16,
    offset: u64,
    /// Upper half of the address of the next command.
    address: u32,
}

/// The interface.
pub struct FwCfg {
    items: BTreeMap<u16, Arc<[u8]>>,
    state: Exclusive<State>,
    dma: Dma,
}

impl FwCfg {
    /// The interface to some items, with a way to memory that is open.
    pub fn new(items: Items, dma: Dma) -> Arc<Self> {
        Arc::new(FwCfg { items: items.finish(), state: Exclusive::default(), dma })
    }
    /// Selector and data: two bytes at 0x510.
    pub fn ports(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(Ports(self.clone()))
    }
    /// The DMA register: eight bytes at 0x514, big endian.
    pub fn dma_port(self: &Arc<Self>) -> Arc<dyn Io> {
        Arc::new(DmaPort(self.clone()))
    }
    fn content(&self, state: &State) -> &[u8] {
        self.items.get(&(state.selected & NUMBER)).map_or(&[], |content| content)
    }
    /// Runs the command whose description is at that address, and stores how it ended there.
    fn execute(&self, state: &mut State, at: u64) {
        let mut raw = [0; 16];
        // Without a description there is no place to say so.
        if self.dma.read(at, &mut raw).is_err() {
            return;
        }
        let [word, length, high, low] =
            [0, 4, 8, 12].map(|i| u32::from_be_bytes([raw[i], raw[i + 1], raw[i + 2], raw[i + 3]]));
        let address = u64::from(high) << 32 | u64::from(low);
        if word & command::SELECT != 0 {
            (state.selected, state.offset) = ((word >> 16) as u16, 0);
        }
        let outcome = if word & command::READ != 0 {
            self.read_item(state, address, length)
        } else if word & command::WRITE != 0 {
            Err(Refused) // No item can be written.
        } else {
            if word & command::SKIP != 0 {
                state.offset = state.offset.saturating_add(length.into());
            }
            Ok(())
        };
        let end = if outcome.is_ok() { 0 } else { command::ERROR };
        let _ = self.dma.write(at, &end.to_be_bytes());
    }
    /// Stores the next bytes of the selected item; zeros behind its end.
    fn read_item(&self, state: &mut State, mut address: u64, length: u32) -> Result<(), Refused> {
        let content = self.content(state);
        let mut left = u64::from(length);
        while left > 0 {
            let rest = content.get(usize::try_from(state.offset).unwrap_or(usize::MAX)..).unwrap_or_default();
            let chunk = if rest.is_empty() { &[0; 4096] } else { rest };
            let count = left.min(chunk.len() as u64);
            self.dma.write(address, &chunk[..count as usize])?;
            state.offset = state.offset.saturating_add(count);
            address = address.wrapping_add(count);
            left -= count;
        }
        Ok(())
    }
}

/// A command that cannot be executed.
struct Refused;

impl From<DmaError> for Refused {
    fn from(_: DmaError) -> Self {
        Refused
    }
}

impl Device for FwCfg {
    fn name(&self) -> &str {
        "fw_cfg"
    }
    fn reset(&self) {
        if let Ok(mut state) = self.state.enter() {
            *state = State::default();
        }
    }
    fn drive(&self) {}
}

impl Snapshot for FwCfg {
    type State = State;
    fn save(&self) -> State {
        self.state.enter().map(|state| *state).unwrap_or_default()
    }
    fn restore(&self, saved: &State) -> Result<(), BadState> {
        let State { selected, offset, address } = *saved;
        let mut state = self.state.enter().map_err(|_| BadState("fw_cfg"))?;
        *state = State { selected, offset, address };
        Ok(())
    }
}

struct Ports(Arc<FwCfg>);

impl Io for Ports {
    fn read(&self, _offset: u64, _size: u32) -> Result<u64, IoError> {
        let mut state = self.0.state.enter()?;
        let at = usize::try_from(state.offset).unwrap_or(usize::MAX);
        let byte = self.0.content(&state).get(at).copied().unwrap_or(0);
        state.offset = state.offset.saturating_add(1);
        Ok(byte.into())
    }
    fn write(&self, offset: u64, size: u32, value: u64) -> Result<(), IoError> {
        if offset == 0 && size == 2 {
            let mut state = self.0.state.enter()?;
            (state.selected, state.offset) = (value as u16, 0);
        }
        Ok(())
    }
    /// Bytes are data, and a word is a selection.
    fn accepts(&self, _offset: u64, size: u32, write: bool) -> bool {
        size == 1 || write && size == 2
    }
}

struct DmaPort(Arc<FwCfg>);

impl Io for DmaPort {
    fn read(&self, offset: u64, size: u32) -> Result<u64, IoError> {
        let value = DMA_SIGNATURE >> (64 - 8 * (offset as u32 + size).min(8));
        Ok(value & u64::MAX >> (64 - 8 * size))
    }
    fn write(&self, offset: u64, size: u32, value: u64) -> Result<(), IoError> {
        let mut state = self.0.state.enter()?;
        let at = match (offset, size) {
            (0, 4) => {
                state.address = value as u32;
                return Ok(());
            }
            (4, 4) => u64::from(std::mem::take(&mut state.address)) << 32 | value,
            _ => value,
        };
        self.0.execute(&mut state, at);
        Ok(())
    }
    fn accepts(&self, offset: u64, size: u32, write: bool) -> bool {
        !write || size == 4 || size == 8 && offset == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Registers, hammer};
    use isamorph_device::ManualClock;
    use isamorph_ram::{Backing, RamBlock};
    use isamorph_space::{AddressSpace, Endian, IoRules, Map, Sizes};

    struct Rig {
        fw_cfg: Arc<FwCfg>,
        memory: Arc<AddressSpace>,
        ports: Arc<AddressSpace>,
    }

    impl Rig {
        fn new() -> Self {
            let mut items = Items::new();
            items.set(key::KERNEL, &[1, 2, 3]);
            items.add_file("opt/z", b"last").unwrap();
            items.add_file("etc/a", b"first").unwrap();
            let map = Map::new();
            let block = RamBlock::new("ram", 0x1_0000, &Backing::Anonymous).unwrap();
            let (memory, io) = map.update(|tree| (tree.ram("ram", block), tree.container("io", 0x1_0000)));
            let (memory, ports) = (map.space("memory", memory), map.space("I/O", io));
            let fw_cfg = FwCfg::new(items, Dma::new(memory.clone(), true));
            map.update(|tree| {
                let wide = Sizes::new(1, 8);
                let rules = IoRules { valid: wide, implemented: wide, endian: Endian::Big };
                let dma = tree.io("dma", 8, rules, fw_cfg.dma_port());
                let plain = tree.io("plain", 2, IoRules::exactly(1, 2), fw_cfg.ports());
                tree.add(io, plain, 0x510, 0);
                tree.add(io, dma, 0x514, 0);
            });
            Rig { fw_cfg, memory, ports }
        }
        fn bytes(&self, key: u16, count: usize) -> Vec<u8> {
            self.ports.store(0x510, 2, key.into()).unwrap();
            (0..count).map(|_| self.ports.load(0x511, 1).unwrap() as u8).collect()
        }
        /// Executes a command whose description is at 0x100; its control word afterwards.
        fn command(&self, control: u32, length: u32, address: u64) -> u32 {
            let raw = [&control.to_be_bytes()[..], &length.to_be_bytes(), &address.to_be_bytes()].concat();
            self.memory.write(0x100, &raw).unwrap();
            self.ports.store(0x514, 4, 0).unwrap();
            self.ports.store(0x518, 4, u64::from(0x100u32.swap_bytes())).unwrap();
            (self.memory.load(0x100, 4).unwrap() as u32).swap_bytes()
        }
        fn ram(&self, at: u64, count: usize) -> Vec<u8> {
            let mut bytes = vec![0; count];
            self.memory.read(at, &mut bytes).unwrap();
            bytes
        }
    }

    #[test]
    fn items_are_read_byte_by_byte() {
        let rig = Rig::new();
        assert_eq!(rig.bytes(key::SIGNATURE, 5), b"QEMU\0");
        assert_eq!(rig.bytes(key::ID, 4), [3, 0, 0, 0]);
        assert_eq!(rig.bytes(key::KERNEL, 4), [1, 2, 3, 0]);
        assert_eq!(rig.bytes(0x7777, 1), [0]);
        rig.ports.store(0x511, 1, 9).unwrap();
        assert_eq!(rig.bytes(key::KERNEL, 1), [1], "data cannot be written");
    }

    #[test]
    fn the_directory_is_in_order() {
        let rig = Rig::new();
        let directory = rig.bytes(key::DIRECTORY, 4 + 2 * 64);
        assert_eq!(directory[..4], [0, 0, 0, 2]);
        let row = |i: usize| &directory[4 + 64 * i..68 + 64 * i];
        assert_eq!((&row(0)[..8], &row(0)[8..14]), (&[0, 0, 0, 5, 0, 0x20, 0, 0][..], &b"etc/a\0"[..]));
        assert_eq!((&row(1)[..8], &row(1)[8..14]), (&[0, 0, 0, 4, 0, 0x21, 0, 0][..], &b"opt/z\0"[..]));
        assert_eq!(rig.bytes(0x21, 4), b"last");
    }

    #[test]
    fn names_are_checked() {
        let mut items = Items::new();
        assert_eq!(items.add_file(&"x".repeat(56), b""), Err(FileError::Name("x".repeat(56))));
        items.add_file(&"x".repeat(55), b"1").unwrap();
        assert_eq!(items.add_file(&"x".repeat(55), b"2"), Err(FileError::Exists("x".repeat(55))));
        assert!(items.add_file("", b"").is_err());
    }

    #[test]
    fn transfers_read_and_skip() {
        let rig = Rig::new();
        assert_eq!(rig.ports.load(0x514, 4), Ok(u64::from(u32::from_le_bytes(*b"QEMU"))));
        assert_eq!(rig.ports.load(0x518, 4), Ok(u64::from(u32::from_le_bytes(*b" CFG"))));
        rig.memory.write(0x200, &[0xff; 8]).unwrap();
        assert_eq!(rig.command(0x20_000a, 3, 0x200), 0);
        assert_eq!(rig.ram(0x200, 4), b"fir\xff");
        assert_eq!(rig.command(command::SKIP, 1, 0), 0);
        assert_eq!(rig.command(command::READ, 3, 0x200), 0);
        assert_eq!(rig.ram(0x200, 4), b"t\0\0\xff", "zeros behind the end");
        assert_eq!(rig.command(0x20_0008 | command::WRITE, 1, 0x200), command::ERROR);
        assert_eq!(rig.command(0x20_000a, 1, 0xffff_0000), command::ERROR, "nothing is there");
        assert_eq!(rig.command(0x11_0008, 0, 0), 0, "only selected");
        assert_eq!(rig.ports.load(0x511, 1), Ok(1));
    }

    #[test]
    fn a_saved_state_goes_on() {
        let rig = Rig::new();
        rig.bytes(key::KERNEL, 1);
        let saved = rig.fw_cfg.save();
        rig.fw_cfg.reset();
        assert_eq!(rig.ports.load(0x511, 1), Ok(b'Q'.into()));
        rig.fw_cfg.restore(&saved).unwrap();
        assert_eq!(rig.ports.load(0x511, 1), Ok(2));
    }

    #[test]
    fn random_accesses_do_no_harm() {
        let rig = Rig::new();
        let targets =
            [Registers::new(rig.fw_cfg.ports(), 2, &[1, 2]), Registers::new(rig.fw_cfg.dma_port(), 8, &[1, 2, 4, 8])];
        hammer(3, 20_000, &targets, &ManualClock::new(), |random| {
            let control = (random.value() as u32) << 16 & 0x3f_0000 | random.below(32) as u32;
            rig.command(control, random.below(0x1_0000) as u32, random.value());
        });
    }
}
