//! The host bridge of a PC: which accesses of a processor go to RAM and which to the PCI bus.
//!
//! References: Intel 82441FX (PMC) datasheet, order number 290549.

use crate::pci::{Bank, Devfn, Identity, Layout, PciBus, Registers};
use isamorph_ram::RamBlock;
use isamorph_space::{AddressSpace, Io, IoError, IoRules, Map, RegionId, Tree, WHOLE};
use std::sync::{Arc, Mutex, PoisonError};

const IDENTITY: Identity = Identity::new("i440FX", 0x8086, 0x1237, 0x06_00_00).revision(2);

/// The chip's own registers start here.
const BANK: usize = 0x40;
/// Programmable attribute map: seven registers (3.2.18).
const PAM: usize = 0x59;
/// System management RAM control (3.2.20).
const SMRAM: usize = 0x72;
const SMRAM_ENABLE: u8 = 0x08;
const SMRAM_LOCK: u8 = 0x10;
const SMRAM_OPEN: u8 = 0x40;
/// What it is after a reset.
const SMRAM_RESET: u8 = 0x02;
/// Where firmware of virtual machines finds the size of RAM, in units of 8 MiB.
const RAM_SIZE: usize = 0x57;

/// What software sees at 0xa0000 is a display's memory, or that of the system management mode.
const SMRAM_START: u64 = 0xa_0000;
const SMRAM_SIZE: u64 = 0x2_0000;

/// A part of the memory below 1 MiB whose accesses can be sent to RAM or to the bus.
struct Segment {
    start: u64,
    size: u64,
    /// Register and shift of its two bits: bit 0 sends reads to RAM, bit 1 writes.
    register: usize,
    shift: u8,
}

/// The segments: the BIOS, and twelve of 16 KiB below it.
fn segments() -> [Segment; 13] {
    std::array::from_fn(|i| match i {
        0 => Segment { start: 0xf_0000, size: 0x1_0000, register: PAM, shift: 4 },
        _ => Segment {
            start: 0xc_0000 + 0x4000 * (i as u64 - 1),
            size: 0x4000,
            register: PAM + i.div_ceil(2),
            shift: if i % 2 == 1 { 0 } else { 4 },
        },
    })
}

/// The parts of a machine's memory map that the bridge arranges.
pub struct Memory {
    /// What processors see. RAM is in it; the bus shows where RAM is not.
    pub system: RegionId,
    /// What is on the bus.
    pub pci: RegionId,
    /// All of RAM from address 0 on, as a region that is nowhere, and its memory.
    pub ram: RegionId,
    /// The memory of `ram`.
    pub block: Arc<RamBlock>,
}

/// The host bridge.
pub struct I440fx {
    map: Arc<Map>,
    /// For each segment what is shown for each value of its bits.
    shown: Vec<[RegionId; 4]>,
    /// The bus at 0xa0000, which hides the RAM there, whether anybody is there or not.
    display: [RegionId; 2],
    /// The RAM at 0xa0000 in the system management mode.
    smram: RegionId,
    smm: RegionId,
    state: Mutex<State>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct State {
    attributes: [u8; 13],
    smram: u8,
}

impl I440fx {
    /// Puts the bridge into slot 0 of a bus. After this the map shows memory as it is after a reset.
    pub fn plug(bus: &Arc<PciBus>, memory: &Memory) -> Arc<Self> {
        let map = bus.map();
        let bus_space = map.space("i440FX-bus", memory.pci);
        let bridge = map.update(|tree| Arc::new(Self::arrange(tree, map, memory, bus_space)));
        let mut reset = [0; 0x100 - BANK];
        reset[SMRAM - BANK] = SMRAM_RESET;
        reset[RAM_SIZE - BANK] = (memory.block.size() >> 23).min(255) as u8;
        // Registers without an effect here are stored.
        let bank = Bank::new(BANK as u8, &reset).writable(&[0xff; 0x100 - BANK]).registers(bridge.clone());
        bus.plug(&bus.socket(Devfn::new(0, 0)), Layout::new(IDENTITY).bank(bank));
        bridge
    }
    fn arrange(tree: &mut Tree, map: &Arc<Map>, memory: &Memory, bus: Arc<AddressSpace>) -> Self {
        let Memory { system, pci, ram, block } = memory;
        // Where the bus has nothing, RAM below must not be seen. Of regions of the same priority the last one is seen.
        let mut hide = |start: u64, size: u64| {
            let nobody = tree.io("pci-nobody", size.into(), IoRules::default(), Arc::new(Nobody));
            tree.add(*system, nobody, start, 1);
            nobody
        };
        let hidden = hide(SMRAM_START, SMRAM_SIZE);
        hide(0xc_0000, 0x4_0000);
        let shown = segments().map(|Segment { start, size, .. }| {
            let copier = Copier { start, bus: bus.clone(), block: block.clone() };
            let choices = [
                tree.alias("pam-pci", *pci, start, size.into()),
                tree.alias("pam-rom", *ram, start, size.into()),
                tree.io("pam-copy", size.into(), IoRules::exactly(1, 8), Arc::new(copier)),
                tree.alias("pam-ram", *ram, start, size.into()),
            ];
            tree.set_readonly(choices[1], true);
            for (attribute, region) in choices.into_iter().enumerate() {
                tree.add(*system, region, start, 1);
                tree.set_enabled(region, attribute == 0);
            }
            choices
        });
        let display = tree.alias("smram-region", *pci, SMRAM_START, SMRAM_SIZE.into());
        tree.add(*system, display, SMRAM_START, 1);
        let smm = tree.container("memory", WHOLE);
        let all = tree.alias("memory", *system, 0, WHOLE);
        let smram = tree.alias("smram-low", *ram, SMRAM_START, SMRAM_SIZE.into());
        tree.add(smm, all, 0, 0);
        tree.add(smm, smram, SMRAM_START, 1);
        tree.set_enabled(smram, false);
        let state = Mutex::new(State { attributes: [0; 13], smram: 0 });
        I440fx { map: map.clone(), shown: shown.to_vec(), display: [hidden, display], smram, smm, state }
    }
    /// What a processor in the system management mode sees.
    pub fn smm_memory(&self) -> RegionId {
        self.smm
    }
}

impl Registers for I440fx {
    fn written(&self, bytes: &mut [u8]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut attributes = [0; 13];
        for (attribute, segment) in attributes.iter_mut().zip(segments()) {
            *attribute = bytes[segment.register - BANK] >> segment.shift & 3;
        }
        let smram = &mut bytes[SMRAM - BANK];
        // A locked register stays as it is, and closed, until a reset.
        if state.smram & SMRAM_LOCK != 0 {
            *smram = state.smram;
        } else if *smram & SMRAM_LOCK != 0 {
            *smram &= !SMRAM_OPEN;
        }
        let new = State { attributes, smram: *smram };
        if new == *state {
            return;
        }
        self.map.update(|tree| {
            for (regions, (old, new)) in self.shown.iter().zip(state.attributes.into_iter().zip(attributes)) {
                if old != new {
                    tree.set_enabled(regions[usize::from(old)], false);
                    tree.set_enabled(regions[usize::from(new)], true);
                }
            }
            self.display.iter().for_each(|region| tree.set_enabled(*region, new.smram & SMRAM_OPEN == 0));
            tree.set_enabled(self.smram, new.smram & SMRAM_ENABLE != 0);
        });
        *state = new;
    }
    fn replaced(&self, bytes: &mut [u8]) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).smram &= !SMRAM_LOCK;
        self.written(bytes);
    }
}

/// An address that nobody on the bus answers at.
struct Nobody;

impl Io for Nobody {
    fn read(&self, _offset: u64, _size: u32) -> Result<u64, IoError> {
        Err(IoError::Refused)
    }
    fn write(&self, _offset: u64, _size: u32, _value: u64) -> Result<(), IoError> {
        Err(IoError::Refused)
    }
    fn accepts(&self, _offset: u64, _size: u32, _write: bool) -> bool {
        false
    }
}

/// A segment that is read from the bus and written to RAM, while firmware copies itself.
struct Copier {
    start: u64,
    bus: Arc<AddressSpace>,
    block: Arc<RamBlock>,
}

impl Io for Copier {
    fn read(&self, offset: u64, size: u32) -> Result<u64, IoError> {
        Ok(self.bus.load(self.start + offset, size).unwrap_or(u64::MAX >> (64 - 8 * size)))
    }
    fn write(&self, offset: u64, size: u32, value: u64) -> Result<(), IoError> {
        let bytes = value.to_le_bytes();
        self.block.write(self.start + offset, &bytes[..size as usize]).map_err(|_| IoError::Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::{Function, Pins};
    use crate::testing::{Registers, hammer};
    use isamorph_device::{Device, Line, ManualClock, Snapshot};
    use isamorph_ram::Backing;
    use isamorph_space::Failure;

    /// A machine with 1 MiB of RAM and a ROM on the bus at 0xc0000, whose bytes are 0xee; RAM is 0x11.
    struct Rig {
        memory: Arc<AddressSpace>,
        smm: Arc<AddressSpace>,
        function: Arc<Function>,
        block: Arc<RamBlock>,
    }

    impl Rig {
        fn new() -> Self {
            let map = Map::new();
            let [block, bios] = [("pc.ram", 0x10_0000, 0x11), ("pc.bios", 0x4_0000, 0xee)].map(|(name, size, fill)| {
                let block = RamBlock::new(name, size, &Backing::Anonymous).unwrap();
                block.write(0, &vec![fill; size as usize]).unwrap();
                block
            });
            let (system, io, memory) = map.update(|tree| {
                let [system, pci, io] = ["system", "pci", "io"].map(|name| tree.container(name, WHOLE));
                let ram = tree.ram("pc.ram", block.clone());
                let low = tree.alias("ram-below-4g", ram, 0, 0x10_0000);
                let rom = tree.rom("pc.bios", bios);
                tree.add(system, low, 0, 0);
                tree.add(system, pci, 0, -1);
                tree.add(pci, rom, 0xc_0000, 0);
                (system, io, Memory { system, pci, ram, block })
            });
            let space = map.space("memory", system);
            let lines = [Line::unconnected(), Line::unconnected(), Line::unconnected(), Line::unconnected()];
            let bus = PciBus::new(&map, memory.pci, io, space.clone(), Pins { lines, first: 3 });
            let bridge = I440fx::plug(&bus, &memory);
            let function = bus.function(Devfn::new(0, 0)).unwrap();
            Rig { memory: space, smm: map.space("smm", bridge.smm_memory()), function, block: memory.block }
        }
        fn set(&self, at: usize, value: u32) {
            self.function.write(at, 1, value).unwrap();
        }
        /// What is read after a store of 0x55.
        fn store(&self, at: u64) -> u64 {
            self.memory.store(at, 1, 0x55).unwrap();
            self.memory.load(at, 1).unwrap()
        }
    }

    #[test]
    fn each_segment_has_two_bits() {
        let rig = Rig::new();
        for segment in segments() {
            let last = segment.start + segment.size - 1;
            let ends = [segment.start, last];
            let seen = |rig: &Rig| ends.map(|at| rig.memory.load(at, 1).unwrap());
            assert_eq!((seen(&rig), rig.store(last)), ([0xee; 2], 0xee), "ROM at first");
            rig.set(segment.register, 1 << segment.shift);
            assert_eq!((seen(&rig), rig.store(last)), ([0x11; 2], 0x11), "RAM that cannot be written");
            rig.set(segment.register, 2 << segment.shift);
            assert_eq!((seen(&rig), rig.store(last)), ([0xee; 2], 0xee), "written behind the ROM");
            rig.set(segment.register, 3 << segment.shift);
            assert_eq!((seen(&rig), rig.store(segment.start)), ([0x11, 0x55], 0x55), "RAM");
            let others = segments().map(|other| rig.memory.load(other.start + 1, 1).unwrap());
            assert_eq!(others.iter().filter(|value| **value == 0x11).count(), 1, "no other one");
            rig.set(segment.register, 0);
            assert_eq!(seen(&rig), [0xee; 2]);
        }
        assert_eq!(segments()[12].start + segments()[12].size, 0xf_0000);
    }

    #[test]
    fn management_memory_is_open_until_it_is_locked() {
        let rig = Rig::new();
        let both = |rig: &Rig| [&rig.memory, &rig.smm].map(|space| space.load(0xa_0000, 1));
        let (hidden, ram) = (Err(Failure::Unassigned), Ok(0x11));
        assert_eq!(both(&rig), [hidden; 2]);
        rig.set(SMRAM, 0x0a);
        assert_eq!(both(&rig), [hidden, ram]);
        rig.set(SMRAM, 0x4a);
        assert_eq!(both(&rig), [ram; 2]);
        rig.set(SMRAM, 0x5a);
        assert_eq!((both(&rig), rig.function.read(SMRAM, 1)), ([hidden, ram], Ok(0x1a)));
        rig.set(SMRAM, 0x42);
        assert_eq!(both(&rig), [hidden, ram]);
        rig.function.reset();
        assert_eq!((both(&rig), rig.function.read(SMRAM, 1)), ([hidden; 2], Ok(2)));
    }

    #[test]
    fn a_saved_state_brings_the_map_back() {
        let rig = Rig::new();
        rig.set(PAM, 0x30);
        rig.set(SMRAM, 0x1a);
        let saved = rig.function.save();
        rig.function.reset();
        assert_eq!(rig.store(0xf_0000), 0xee);
        rig.function.restore(&saved).unwrap();
        assert_eq!((rig.store(0xf_0000), rig.smm.load(0xa_0000, 1)), (0x55, Ok(0x11)));
        assert_eq!(rig.function.save(), saved);
        assert!(rig.function.restore(&[0; 256]).is_err());
    }

    #[test]
    fn random_accesses_do_no_harm() {
        let rig = Rig::new();
        let copier = |start| Copier { start, bus: rig.memory.clone(), block: rig.block.clone() };
        let target = Registers::new(Arc::new(copier(0xf_0000)), 0x1_0000, &[1, 2, 4, 8]);
        hammer(5, 10_000, &[target], &ManualClock::new(), |random| {
            rig.set(PAM + random.below(8) as usize, random.value() as u32);
            rig.set(BANK + random.below(0xc0) as usize, random.value() as u32);
            let at = 0xa_0000 + random.below(0x6_0000);
            let _ = rig.memory.store(at, 8, random.value());
            let _ = rig.smm.load(at, 8);
        });
        rig.function.reset();
        assert_eq!(rig.memory.load(0xf_0000, 1), Ok(0xee));
    }

    #[test]
    fn registers_after_a_reset() {
        let rig = Rig::new();
        for (at, value) in [(0, 0x1237_8086), (8, 0x0600_0002), (0x54, 0), (0x58, 0), (0x70, 0x0002_0000)] {
            assert_eq!(rig.function.read(at, 4), Ok(value), "{at:#x}");
        }
    }
}
