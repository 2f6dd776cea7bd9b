//! The standard VGA: IBM's VGA with the VBE extensions of Bochs, as a PCI function with a linear frame buffer.
//!
//! References: IBM VGA technical reference; FreeVGA project; Bochs VBE (`vbe_dispi_…` of the LGPL'd VGA BIOS); VESA
//! E-EDID. The function is QEMU's `stdvga` (`docs/specs/standard-vga.rst`), which guests have drivers for.
//!
//! # Memory
//!
//! Display memory is an array of four-byte cells, one byte for each plane. In the way that software mostly uses it it
//! is plain memory in the machine's map: the frame buffer always is, and the window at 0xa0000 is an alias of it while
//! accesses there do nothing but move bytes. In every other mode the window is device registers, and every access goes
//! through the write and read modes of the graphics controller ([`memory`]).
//!
//! Cell addresses are as the display reads them. Odd/even addressing and chain 4 therefore use consecutive cells, and
//! not every second or fourth one as IBM's hardware did; software could see that only by changing between modes
//! without clearing the memory.

mod edid;
mod memory;
mod pci;
mod picture;
mod registers;
#[cfg(test)]
mod tests;
mod vbe;

use isamorph_device::{BadState, Device, Exclusive, Snapshot};
use isamorph_display::{Picture, Screen};
use isamorph_ram::{Dirty, RamBlock};
use isamorph_space::{Io, IoError, IoRules, Map, RegionId, Sizes};
use registers::Registers;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of the window at 0xa0000.
const WINDOW: u64 = 0x2_0000;
/// Bytes of a bank.
const BANK: u64 = 0x1_0000;

/// Saved state of a [`Vga`]; the display memory is the machine's to save.
pub type VgaState = Registers;

/// Regions of the map that follow the registers.
struct Regions {
    window: RegionId,
    /// Display memory, shown in the window where that is enough.
    alias: RegionId,
    framebuffer: RegionId,
    /// What the alias shows: offset in the window, offset in memory, bytes.
    shown: Mutex<Option<(u64, u64, u64)>>,
}

/// The adapter.
pub struct Vga {
    map: Arc<Map>,
    memory: Arc<RamBlock>,
    state: Exclusive<Registers>,
    regions: Regions,
    /// What the display that follows the screen has seen of the registers.
    seen: Mutex<Option<Registers>>,
}

impl Vga {
    /// An adapter with that memory, which should be a power of two of at least 256 KiB.
    pub fn new(map: &Arc<Map>, memory: Arc<RamBlock>) -> Arc<Self> {
        let state = Exclusive::new(Registers::new(memory.size()));
        Arc::new_cyclic(|me| {
            let regions = map.update(|tree| {
                let window = tree.container("vga-lowmem", WINDOW.into());
                let sizes = Sizes { min: 1, max: 8, unaligned: true };
                let rules = IoRules { valid: sizes, implemented: sizes, ..IoRules::default() };
                let planes = tree.io("vga-planes", WINDOW.into(), rules, Arc::new(memory::Window(me.clone())));
                tree.add(window, planes, 0, 0);
                let framebuffer = tree.ram("vga.vram", memory.clone());
                tree.set_logged(framebuffer, true);
                let alias = tree.alias("vga.chain4", framebuffer, 0, BANK.into());
                tree.set_enabled(alias, false);
                tree.add(window, alias, 0, 1);
                Regions { window, alias, framebuffer, shown: Mutex::default() }
            });
            Vga { map: map.clone(), memory, state, regions, seen: Mutex::default() }
        })
    }
    /// The window that belongs to 0xa0000, above memory.
    pub fn legacy_memory(&self) -> RegionId {
        self.regions.window
    }
    /// The regions of its ports and where they are.
    pub fn ports(self: &Arc<Self>, map: &Map) -> Vec<(u16, RegionId)> {
        // Index and data registers next to each other are written as one word.
        let rules = IoRules { valid: Sizes::new(1, 4), implemented: Sizes::new(1, 1), ..IoRules::default() };
        let sizes = Sizes { min: 1, max: 2, unaligned: true };
        let vbe_rules = IoRules { valid: sizes, implemented: sizes, ..IoRules::default() };
        map.update(|tree| {
            let mut ports = Vec::new();
            for (base, len, name) in [
                (0x3b4, 2, "vga-mono-crtc"),
                (0x3ba, 1, "vga-mono-status"),
                (0x3c0, 16, "vga"),
                (0x3d4, 2, "vga-crtc"),
                (0x3da, 1, "vga-status"),
            ] {
                let io = Arc::new(Ports { vga: self.clone(), base });
                ports.push((base, tree.io(name, len, rules, io)));
            }
            ports.push((0x1ce, tree.io("vbe", 4, vbe_rules, Arc::new(vbe::Ports(self.clone())))));
            ports
        })
    }
    /// Changes registers, and the map with them.
    fn change<R>(&self, f: impl FnOnce(&mut Registers) -> R) -> Result<R, IoError> {
        let mut state = self.state.enter()?;
        let result = f(&mut state);
        self.show(&state);
        if std::mem::take(&mut state.clear_wanted) {
            self.clear();
        }
        Ok(result)
    }
    fn clear(&self) {
        let zeros = vec![0; 0x1_0000];
        for offset in (0..self.memory.size()).step_by(zeros.len()) {
            let len = (self.memory.size() - offset).min(zeros.len() as u64) as usize;
            // The offsets are in the block.
            let _ = self.memory.write(offset, &zeros[..len]);
        }
    }
    /// Lets the window show memory itself where that does the same.
    fn show(&self, state: &Registers) {
        let wanted = state.direct();
        let mut shown = self.regions.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if *shown == wanted {
            return;
        }
        *shown = wanted;
        self.map.update(|tree| {
            tree.set_enabled(self.regions.alias, wanted.is_some());
            if let Some((at, from, len)) = wanted {
                tree.set_offset(self.regions.alias, at);
                tree.set_alias_offset(self.regions.alias, from);
                tree.set_size(self.regions.alias, len.into());
            }
        });
    }
}

impl Device for Vga {
    fn name(&self) -> &str {
        "vga"
    }
    fn reset(&self) {
        let _ = self.change(|state| *state = Registers::new(self.memory.size()));
    }
    fn drive(&self) {}
}

impl Snapshot for Vga {
    type State = VgaState;
    fn save(&self) -> VgaState {
        self.state.enter().map_or_else(|_| Registers::new(self.memory.size()), |state| state.clone())
    }
    fn restore(&self, state: &VgaState) -> Result<(), BadState> {
        state.check(self.memory.size())?;
        let _ = self.change(|present| *present = state.clone());
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }
}

impl Screen for Vga {
    fn picture(&self) -> Picture {
        picture::draw(&self.save(), &self.memory)
    }
    fn refresh(&self, picture: &mut Picture) -> Range<usize> {
        let state = self.save();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = !self.memory.take_dirty(0..self.memory.size(), Dirty::DISPLAY).is_empty();
        if !changed && seen.as_ref().is_some_and(|seen| seen.looks_like(&state)) && picture.height() > 0 {
            return 0..0;
        }
        let before = std::mem::replace(picture, picture::draw(&state, &self.memory));
        *seen = Some(state);
        if (before.width(), before.height()) != (picture.width(), picture.height()) {
            return 0..picture.height();
        }
        let differs = |y: &usize| before.row(*y) != picture.row(*y);
        let first = (0..picture.height()).find(differs);
        let last = (0..picture.height()).rev().find(differs);
        first.zip(last).map_or(0..0, |(first, last)| first..last + 1)
    }
}

/// Ports from `base` on.
struct Ports {
    vga: Arc<Vga>,
    base: u16,
}

impl Io for Ports {
    fn read(&self, offset: u64, _size: u32) -> Result<u64, IoError> {
        let mut state = self.vga.state.enter()?;
        Ok(state.read(self.base + offset as u16).into())
    }
    fn write(&self, offset: u64, _size: u32, value: u64) -> Result<(), IoError> {
        self.vga.change(|state| state.write(self.base + offset as u16, value as u8))
    }
}
